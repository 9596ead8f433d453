/* NFS version 3 (RFC 1813): 22 procedures over the exports. */
#pragma once
#include "drivers/vault/nfs/exports.h"

struct nfs3;
struct nfs3_options {
    struct exports *exports;
    uint64_t verifier; /* of writes: changes with each start */
};
struct nfs3 *nfs3_new(const struct nfs3_options *options, struct err *err) MUST;
void nfs3_free(struct nfs3 *nfs3);
OWN_DEFINE(nfs3, struct nfs3, nfs3_free);
struct nfsd_program nfs3_program(struct nfs3 *nfs3); /* 100003 */
