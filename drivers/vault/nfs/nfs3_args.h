/* Arguments of the NFSv3 procedures, out of a stranger's bytes: one walk, each length held against
 * what is there. Pure; fuzzed. */
#pragma once
#include "drivers/vault/nfs/handle.h"
#include "drivers/vault/volume/vault.h"

#include <nfsc/libnfs-raw-nfs.h>

enum { NFS3_PROCEDURES = 22, NFS3_TARGET_MAX = 1023 };

/* A name or a target, ended by NUL, in the record. wrong: what a procedure that needs it answers;
 * NFS3_OK when it is one ("." and ".." are). */
struct nfs3_text {
    const char *text;
    enum nfsstat3 wrong;
};
struct nfs3_args {
    struct handle handle[2];
    bool known[2]; /* the handle is one of ours */
    struct nfs3_text name[2], target;
    struct view_attributes set; /* guard, exclusive, unchecked and verifier too */
    enum nfsstat3 set_wrong;    /* times that are none */
    uint64_t offset;            /* or cookie */
    uint64_t verifier;          /* of a cookie */
    uint32_t n[3];              /* the procedure's plain numbers, in order */
    uint8_t *data;              /* of WRITE */
    uint32_t data_len;
};
/* False: GARBAGE_ARGS. Names are moved within the bytes, which are not read again. */
bool nfs3_args_decode(uint32_t procedure, uint8_t *bytes, size_t len, struct nfs3_args *ret);
