/* NFSv3: what a file is, and what may be made of it: GETATTR SETATTR ACCESS READLINK. */
#include "drivers/vault/nfs/nfs3_int.h"
#include "drivers/vault/volume/tree.h"

#include <string.h>

enum nfsstat3 nfs3_getattr(struct nfs3_call *call)
{
    call->at = nfs3_put_attributes(call->at, call->of[0], &call->file[0]);
    return NFS3_OK;
}

/* As chmod, chown, utimes and truncate of a kernel answer. */
static enum nfsstat3 may_set(const struct nfs3_call *call, const struct view_attributes *set)
{
    const struct view_file *file = &call->file[0];
    const struct who *who = &call->who;
    bool owner = who->root || who->uid == file->uid;
    bool times = set->set_mtime || set->set_atime;
    bool now = (!set->set_mtime || set->mtime_now) && (!set->set_atime || set->atime_now);
    if (set->set_uid && !who->root && (!owner || set->uid != file->uid))
        return NFS3ERR_PERM;
    if (set->set_gid && (!owner || (set->gid != file->gid && !nfs3_in_group(who, set->gid))))
        return NFS3ERR_PERM;
    if (set->set_mode && !owner)
        return NFS3ERR_PERM;
    if (times && !now && !owner)
        return NFS3ERR_PERM;
    if (times && !owner && !permit_mode(who, file, MAY_WRITE))
        return NFS3ERR_ACCES;
    if (set->set_size && file->kind == INODE_DIRECTORY)
        return NFS3ERR_ISDIR;
    if (set->set_size && file->kind != INODE_FILE)
        return NFS3ERR_INVAL;
    if (set->set_size && !permit_data(who, file, MAY_WRITE))
        return NFS3ERR_ACCES;
    return NFS3_OK;
}

/* The bits that a change of owner, or of the content by another than root, takes away. */
static void adjust_mode(const struct nfs3_call *call, struct view_attributes *set)
{
    enum { SET_GID_BIT = 02000, ID_BITS = 06000 };
    const struct view_file *file = &call->file[0];
    bool cut = set->set_size && !call->who.root;
    if (file->kind != INODE_DIRECTORY && (set->set_uid || set->set_gid || cut)) {
        if (!set->set_mode)
            set->mode = file->mode;
        uint16_t mode = nfs3_without_ids(set->mode);
        set->set_mode = set->set_mode || mode != file->mode;
        set->mode = mode;
    }
    uint32_t gid = set->set_gid ? set->gid : file->gid;
    if (set->set_mode && !nfs3_in_group(&call->who, gid))
        set->mode &= (uint16_t)~SET_GID_BIT;
}

enum nfsstat3 nfs3_setattr(struct nfs3_call *call)
{
    struct err err = {0};
    struct view_caller caller = nfs3_caller(call);
    struct view_attributes *set = &call->args.set;
    enum nfsstat3 status = call->args.set_wrong ? call->args.set_wrong : may_set(call, set);
    if (status != NFS3_OK)
        return status;
    adjust_mode(call, set);
    if (!call->of[0]->ops->set(call->of[0]->tree, &caller, call->file[0].file, set,
                               &call->change[0], &err))
        return nfs3_failed(call, &err);
    call->at = nfs3_put_change(call->at, call->of[0], &call->change[0]);
    return NFS3_OK;
}

enum nfsstat3 nfs3_access(struct nfs3_call *call)
{
    const struct view_file *file = &call->file[0];
    bool folder = file->kind == INODE_DIRECTORY;
    unsigned change = folder ? MAY_WRITE | MAY_EXECUTE : MAY_WRITE;
    uint32_t may = 0;
    if (permit_mode(&call->who, file, MAY_READ))
        may |= ACCESS3_READ;
    if (permit_mode(&call->who, file, MAY_EXECUTE))
        may |= folder ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
    if (!call->of[0]->rule.read_only && permit_mode(&call->who, file, change))
        may |= ACCESS3_MODIFY | ACCESS3_EXTEND | (folder ? ACCESS3_DELETE : 0);
    call->at = nfs3_put_after(call->at, call->of[0], file);
    call->at = nfs3_put_u32(call->at, may & call->args.n[0]);
    return NFS3_OK;
}

/* An ingested link may be longer than one that a client makes. */
enum nfsstat3 nfs3_readlink(struct nfs3_call *call)
{
    struct err err = {0};
    char target[TREE_TARGET_MAX + 1];
    if (call->file[0].kind != INODE_SYMLINK)
        return NFS3ERR_INVAL;
    if (!call->of[0]->ops->readlink(call->of[0]->tree, call->file[0].file, target, sizeof target,
                                    &err))
        return nfs3_failed(call, &err);
    if (!nfsd_results_room(call->rpc, NFSD_RESULTS_FEW + sizeof target, &err))
        return NFS3ERR_JUKEBOX;
    call->at = nfs3_put_after(call->rpc->results + 4, call->of[0], &call->file[0]);
    call->at = nfs3_put_opaque(call->at, target, strlen(target));
    return NFS3_OK;
}
