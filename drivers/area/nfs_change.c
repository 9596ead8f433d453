/* NFSv3 calls that change something: for the vault's objects, which are written over NFS. */
#include "drivers/area/nfs_calls_int.h"

#include <string.h>

enum { FILE_MODE = 0600, FOLDER_MODE = 0700 };

/* Where the answer lies is the same for CREATE and MKDIR. */
static enum nfs_outcome take_made(const struct nfs_asking *ask, const post_op_fh3 *object,
                                  const post_op_attr *attributes, struct nfs_handle *ret_handle,
                                  struct nfs_attr *ret_attr, struct err *err)
{
    const nfs_fh3 *handle = &object->post_op_fh3_u.handle;
    struct nfs_attr attr = nfs_post_attr_of(attributes);
    if (!nfs_attr_ok(ask->link, &attr, err))
        return NFS_FAILED;
    *ret_attr = attr;
    *ret_handle = object->handle_follows
                      ? nfs_handle_of(handle->data.data_val, handle->data.data_len)
                      : (struct nfs_handle){0};
    return NFS_DONE;
}

static sattr3 with_mode(uint32_t mode)
{
    sattr3 attributes = {.mode = {.set_it = 1, .set_mode3_u = {.mode = mode}}};
    return attributes;
}

enum nfs_outcome nfs_call_make(const struct nfs_asking *ask, const struct nfs_handle *dir,
                               const char *name, enum nfs_kind kind, struct nfs_handle *ret_handle,
                               struct nfs_attr *ret_attr, struct err *err)
{
    static const struct nfs_answer create = {"create", "?F?A?W?A", "?W?A",
                                             (zdrproc_t)zdr_CREATE3res};
    static const struct nfs_answer mkdir = {"make a directory", "?F?A?W?A", "?W?A",
                                            (zdrproc_t)zdr_MKDIR3res};
    bool is_file = kind == NFS_KIND_FILE;
    diropargs3 where = {.dir = nfs_to_fh3(dir), .name = (char *)name};
    CREATE3args file = {.where = where};
    MKDIR3args folder = {.where = where, .attributes = with_mode(FOLDER_MODE)};
    file.how.mode = UNCHECKED;
    file.how.createhow3_u.obj_attributes = with_mode(FILE_MODE);
    file.how.createhow3_u.obj_attributes.size.set_it = 1;
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_MKDIR, zdr_MKDIR3args, &folder);
    if (is_file)
        call = (struct nfs_call)NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_CREATE, zdr_CREATE3args, &file);
    AUTO(zdr) ZDR zdr = {0};
    union {
        CREATE3res create;
        MKDIR3res mkdir;
    } result = {0};
    enum nfs_outcome outcome =
        nfs_ask_for(ask, &call, is_file ? &create : &mkdir, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    const CREATE3resok *created = &result.create.CREATE3res_u.resok;
    const MKDIR3resok *made = &result.mkdir.MKDIR3res_u.resok;
    return take_made(ask, is_file ? &created->obj : &made->obj,
                     is_file ? &created->obj_attributes : &made->obj_attributes, ret_handle,
                     ret_attr, err);
}

/* All of WRITE's arguments but the bytes, which follow by themselves. */
static uint32_t encode_write(ZDR *zdr, WRITE3args *args)
{
    return zdr_nfs_fh3(zdr, &args->file) && zdr_offset3(zdr, &args->offset) &&
           zdr_count3(zdr, &args->count) && zdr_stable_how(zdr, &args->stable);
}

static uint64_t verifier_of(const char bytes[NFS3_WRITEVERFSIZE])
{
    uint64_t verifier;
    memcpy(&verifier, bytes, sizeof verifier);
    return verifier;
}

enum nfs_outcome nfs_write_ask(const struct nfs_asking *ask, const struct nfs_handle *handle,
                               uint64_t offset, const void *bytes, uint32_t len, uint32_t *ret_xid,
                               struct err *err)
{
    WRITE3args args = {
        .file = nfs_to_fh3(handle), .offset = offset, .count = len, .stable = UNSTABLE};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_WRITE, encode_write, &args);
    call.data = bytes;
    call.data_len = len;
    return nfs_send_call(ask, &call, ret_xid, err);
}

enum nfs_outcome nfs_write_take(const struct nfs_asking *ask, uint32_t *ret_xid,
                                uint32_t *ret_written, uint64_t *ret_verifier, struct err *err)
{
    static const struct nfs_answer answer = {"write", "?W?Auu8", "?W?A", (zdrproc_t)zdr_WRITE3res};
    AUTO(zdr) ZDR zdr = {0};
    WRITE3res result = {0};
    enum nfs_outcome outcome = nfs_next_answer(ask, &answer, ret_xid, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    *ret_written = result.WRITE3res_u.resok.count;
    *ret_verifier = verifier_of(result.WRITE3res_u.resok.verf);
    return NFS_DONE;
}

enum nfs_outcome nfs_call_commit(const struct nfs_asking *ask, const struct nfs_handle *handle,
                                 uint64_t *ret_verifier, struct err *err)
{
    static const struct nfs_answer answer = {"commit", "?W?A8", "?W?A", (zdrproc_t)zdr_COMMIT3res};
    COMMIT3args args = {.file = nfs_to_fh3(handle)};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_COMMIT, zdr_COMMIT3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    COMMIT3res result = {0};
    enum nfs_outcome outcome = nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
    if (outcome == NFS_DONE)
        *ret_verifier = verifier_of(result.COMMIT3res_u.resok.verf);
    return outcome;
}

enum nfs_outcome nfs_call_rename(const struct nfs_asking *ask, const struct nfs_handle *dir,
                                 const char *from, const char *to, struct err *err)
{
    static const struct nfs_answer answer = {"rename", "?W?A?W?A", "?W?A?W?A",
                                             (zdrproc_t)zdr_RENAME3res};
    RENAME3args args = {.from = {.dir = nfs_to_fh3(dir), .name = (char *)from},
                        .to = {.dir = nfs_to_fh3(dir), .name = (char *)to}};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_RENAME, zdr_RENAME3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    RENAME3res result = {0};
    return nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
}

enum nfs_outcome nfs_call_link(const struct nfs_asking *ask, const struct nfs_handle *file,
                               const struct nfs_handle *dir, const char *name, struct err *err)
{
    static const struct nfs_answer answer = {"link", "?A?W?A", "?A?W?A", (zdrproc_t)zdr_LINK3res};
    LINK3args args = {.file = nfs_to_fh3(file),
                      .link = {.dir = nfs_to_fh3(dir), .name = (char *)name}};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_LINK, zdr_LINK3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    LINK3res result = {0};
    return nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
}

enum nfs_outcome nfs_call_remove(const struct nfs_asking *ask, const struct nfs_handle *dir,
                                 const char *name, struct err *err)
{
    static const struct nfs_answer answer = {"remove", "?W?A", "?W?A", (zdrproc_t)zdr_REMOVE3res};
    REMOVE3args args = {.object = {.dir = nfs_to_fh3(dir), .name = (char *)name}};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_REMOVE, zdr_REMOVE3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    REMOVE3res result = {0};
    return nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
}

enum nfs_outcome nfs_call_space(const struct nfs_asking *ask, const struct nfs_handle *root,
                                uint64_t *ret_total, uint64_t *ret_free, struct err *err)
{
    static const struct nfs_answer answer = {"ask for space", "?Ahhhhhhu", "?A",
                                             (zdrproc_t)zdr_FSSTAT3res};
    FSSTAT3args args = {.fsroot = nfs_to_fh3(root)};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_FSSTAT, zdr_FSSTAT3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    FSSTAT3res result = {0};
    enum nfs_outcome outcome = nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    *ret_total = result.FSSTAT3res_u.resok.tbytes;
    *ret_free = result.FSSTAT3res_u.resok.abytes;
    return NFS_DONE;
}
