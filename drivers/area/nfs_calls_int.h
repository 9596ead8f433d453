/* What nfs_calls and nfs_change share: a call encoded by libnfs, its answer guarded and decoded. */
#pragma once
#include "drivers/area/nfs_calls.h"
#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs-raw-nfs.h>

struct nfs_call {
    uint32_t program, version, procedure;
    zdrproc_t encode; /* NULL: no arguments */
    void *args;
    const void *data; /* opaque bytes behind the arguments, never copied; NULL: none */
    size_t data_len;
};
#define NFS_CALL(program_, version_, procedure_, encode_, args_)                                   \
    {                                                                                              \
        .program = (program_), .version = (version_), .procedure = (procedure_),                   \
        .encode = (zdrproc_t)(encode_), .args = (args_)                                            \
    }

/* How the answer to a call looks; both shapes without the status in front. */
struct nfs_answer {
    const char *what;
    const char *good, *bad;
    zdrproc_t decode;
};

void nfs_zdr_done(ZDR *zdr);
OWN_DEFINE_INPLACE(zdr, ZDR, nfs_zdr_done);

/* One call and its whole answer, unguarded, in the link's scratch room. */
enum nfs_outcome nfs_converse(const struct nfs_asking *ask, const struct nfs_call *call,
                              size_t *ret_len, struct err *err);
enum nfs_outcome nfs_ask_for(const struct nfs_asking *ask, const struct nfs_call *call,
                             const struct nfs_answer *answer, ZDR *zdr, void *result,
                             struct err *err);
/* The two halves, for several calls of one kind under way. */
enum nfs_outcome nfs_send_call(const struct nfs_asking *ask, const struct nfs_call *call,
                               uint32_t *ret_xid, struct err *err);
enum nfs_outcome nfs_next_answer(const struct nfs_asking *ask, const struct nfs_answer *answer,
                                 uint32_t *ret_xid, ZDR *zdr, void *result, struct err *err);
bool nfs_attr_ok(struct nfs_link *link, const struct nfs_attr *attr, struct err *err);
struct nfs_attr nfs_post_attr_of(const post_op_attr *from);
struct nfs_handle nfs_handle_of(const char *bytes, uint32_t len);
nfs_fh3 nfs_to_fh3(const struct nfs_handle *handle);
