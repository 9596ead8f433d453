/* NFSv3: bytes of files: READ WRITE COMMIT. No copy is made between the tree and the record. */
#include "drivers/vault/nfs/nfs3_int.h"

#include <string.h>

enum { READ_HEAD = 4 + 4 + NFS3_ATTRIBUTES_BYTES + 12, LARGE = 256 << 10 };

static enum nfsstat3 may(const struct nfs3_call *call, unsigned wanted)
{
    const struct view_file *file = &call->file[0];
    if (file->kind != INODE_FILE)
        return file->kind == INODE_DIRECTORY ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
    return permit_data(&call->who, file, wanted) ? NFS3_OK : NFS3ERR_ACCES;
}

enum nfsstat3 nfs3_read(struct nfs3_call *call)
{
    struct err err = {0};
    struct view_file *file = &call->file[0];
    uint64_t offset = call->args.offset;
    size_t count = call->args.n[0] < RPC_DATA_MAX ? call->args.n[0] : RPC_DATA_MAX;
    const struct export *export = call->of[0];
    enum nfsstat3 status = may(call, MAY_READ);
    if (status != NFS3_OK)
        return status;
    if (offset >= file->size)
        count = 0;
    else if (count > file->size - offset)
        count = (size_t)(file->size - offset);
    if (!nfsd_results_room(call->rpc, READ_HEAD + ((count + 3) & ~(size_t)3), &err))
        return NFS3ERR_JUKEBOX;
    if (count >= LARGE)
        nfsd_call_is_large(call->rpc);
    uint8_t *data = call->rpc->results + READ_HEAD;
    ssize_t got = 0;
    if (count > 0)
        got = export->ops->read(export->tree, file->file, data, count, offset, &err);
    if (got < 0)
        return nfs3_failed(call, &err);
    if ((size_t)got < count &&
        !export->ops->stat(export->tree, file->file, file->generation, file, &err))
        return nfs3_failed(call, &err); /* cut meanwhile: as it is now */
    bool end = offset + (size_t)got >= file->size;
    uint8_t *at = nfs3_put_after(call->rpc->results + 4, export, file);
    at = nfs3_put_u32(at, (uint32_t)got);
    at = nfs3_put_u32(at, end);
    nfs3_put_u32(at, (uint32_t)got);
    call->at = data + got;
    for (; got & 3; got++)
        *call->at++ = 0;
    return NFS3_OK;
}

/* Written by another than root: who runs it must not get the owner's rights by it. */
static bool clear_ids(struct nfs3_call *call, struct view_change *ret, struct err *err)
{
    const struct export *export = call->of[0];
    uint16_t mode = nfs3_without_ids(call->file[0].mode);
    struct view_attributes set = {.set_mode = true, .mode = mode};
    if (call->who.root || mode == call->file[0].mode)
        return true;
    nfsd_call_is_slow(call->rpc);
    return export->ops->set(export->tree, NULL, call->file[0].file, &set, ret, err);
}

/* The bits go first: by the time the bytes are there it may be late, and they set anew. */
static bool write_bytes(struct nfs3_call *call, bool stable, struct err *err)
{
    const struct nfs3_args *args = &call->args;
    const struct export *export = call->of[0];
    struct view_change cleared = {0};
    struct view_change *change = &call->change[0];
    bool ok = clear_ids(call, &cleared, err) &&
              export->ops->write(export->tree, call->file[0].file, args->data, args->n[0],
                                 args->offset, stable, change, err);
    if (cleared.before.file)
        change->before = cleared.before;
    return ok;
}

static enum nfsstat3 write_once(struct nfs3_call *call, bool stable)
{
    struct err err = {0};
    const struct nfs3_args *args = &call->args;
    const struct export *export = call->of[0];
    uint64_t file = call->file[0].file;
    struct view_caller caller = nfs3_caller(call);
    struct nfs3_seen_write what = {.volume = export->id,
                                   .file = file,
                                   .offset = args->offset,
                                   .count = args->n[0],
                                   .stable = stable,
                                   .data = args->data};
    uint64_t key = nfs3_seen_key(call->nfs3->seen, &caller, &what);
    switch (nfs3_seen_begin(call->nfs3->seen, key)) {
    case NFS3_SEEN_DONE: /* the file as it is now, the first included */
        return export->ops->stat(export->tree, file, call->file[0].generation,
                                 &call->change[0].after, &err)
                   ? NFS3_OK
                   : nfs3_failed(call, &err);
    case NFS3_SEEN_CALLED_OFF:
        return NFS3ERR_JUKEBOX;
    case NFS3_SEEN_NOT:
        break;
    }
    bool ok = write_bytes(call, stable, &err);
    bool late = nfsd_call_was_late(call->rpc);
    nfs3_seen_end(call->nfs3->seen, key,
                  ok     ? NFS3_SEEN_DONE
                  : late ? NFS3_SEEN_CALLED_OFF
                         : NFS3_SEEN_NOT);
    return ok ? NFS3_OK : nfs3_failed(call, &err);
}

enum nfsstat3 nfs3_write(struct nfs3_call *call)
{
    const struct nfs3_args *args = &call->args;
    uint32_t count = args->n[0];
    bool stable = args->n[1] != UNSTABLE; /* DATA_SYNC costs no less */
    enum nfsstat3 status = may(call, MAY_WRITE);
    if (status != NFS3_OK)
        return status;
    if (args->n[1] > FILE_SYNC || count > args->data_len)
        return NFS3ERR_INVAL;
    if (stable)
        nfsd_call_is_slow(call->rpc);
    else if (count >= LARGE)
        nfsd_call_is_large(call->rpc);
    status = write_once(call, stable);
    if (status != NFS3_OK)
        return status;
    call->at = nfs3_put_change(call->at, call->of[0], &call->change[0]);
    call->at = nfs3_put_u32(call->at, count);
    call->at = nfs3_put_u32(call->at, stable ? FILE_SYNC : UNSTABLE);
    call->at = nfs3_put_u64(call->at, call->nfs3->verifier);
    return NFS3_OK;
}

/* All of the file, whatever range is asked for. */
enum nfsstat3 nfs3_commit(struct nfs3_call *call)
{
    struct err err = {0};
    const struct export *export = call->of[0];
    enum nfsstat3 status = may(call, MAY_WRITE);
    if (status != NFS3_OK)
        return status;
    if (!export->ops->commit(export->tree, call->file[0].file, &call->change[0], &err))
        return nfs3_failed(call, &err);
    call->at = nfs3_put_change(call->at, export, &call->change[0]);
    call->at = nfs3_put_u64(call->at, call->nfs3->verifier);
    return NFS3_OK;
}
