/* NFSv3: names: LOOKUP CREATE MKDIR SYMLINK MKNOD REMOVE RMDIR RENAME LINK. What stands under a
 * name is looked at for rights alone: a replay finds its first answer in the tree, whatever is
 * there now. */
#include "drivers/vault/nfs/nfs3_int.h"

#include <string.h>

enum { SET_GID_BIT = 02000, SET_ID_BITS = 06000 };

/* A name that may be made or taken away. */
static enum nfsstat3 fit(const struct nfs3_text *name)
{
    if (name->wrong)
        return name->wrong;
    bool dots = strcmp(name->text, ".") == 0 || strcmp(name->text, "..") == 0;
    return dots ? NFS3ERR_INVAL : NFS3_OK;
}

/* NFS3_OK with file 0 when nothing has that name. */
static enum nfsstat3 peek(struct nfs3_call *call, unsigned which, const struct nfs3_text *name,
                          struct view_file *ret)
{
    struct err err = {0};
    const struct export *export = call->of[which];
    *ret = (struct view_file){0};
    if (export->ops->lookup(export->tree, call->file[which].file, name->text, ret, &err) ||
        err.code == ERR_NOT_FOUND)
        return NFS3_OK;
    return nfs3_failed(call, &err);
}

enum nfsstat3 nfs3_lookup(struct nfs3_call *call)
{
    struct err err = {0};
    struct view_file found;
    const struct export *export = call->of[0];
    const struct nfs3_text *name = &call->args.name[0];
    enum nfsstat3 status = nfs3_folder(call, 0, MAY_EXECUTE);
    if (status == NFS3_OK)
        status = name->wrong;
    if (status != NFS3_OK)
        return status;
    if (!export->ops->lookup(export->tree, call->file[0].file, name->text, &found, &err))
        return nfs3_failed(call, &err);
    call->at = nfs3_put_handle(call->at, export, &found);
    call->at = nfs3_put_after(call->at, export, &found);
    call->at = nfs3_put_after(call->at, export, &call->file[0]);
    return NFS3_OK;
}

/* ---- making ---- */

/* Whose a new file is, and which bits of its mode it gets. */
static void made_by(const struct nfs3_call *call, bool folder, uint16_t mode,
                    struct view_attributes *set)
{
    const struct view_file *in = &call->file[0];
    const struct who *who = &call->who;
    bool inherits = in->mode & SET_GID_BIT;
    if (!who->root)
        set->set_uid = set->set_gid = false; /* SETATTR says what is right there */
    if (!set->set_uid)
        set->uid = who->uid;
    if (!set->set_gid)
        set->gid = inherits ? in->gid : who->gid;
    if (!set->set_mode)
        set->mode = mode;
    if (!nfs3_in_group(who, set->gid))
        set->mode &= (uint16_t)~SET_GID_BIT;
    if (folder && inherits)
        set->mode |= SET_GID_BIT;
    set->set_uid = set->set_gid = set->set_mode = true;
}

static enum nfsstat3 make(struct nfs3_call *call, uint8_t kind)
{
    struct err err = {0};
    struct view_caller caller = nfs3_caller(call);
    const struct export *export = call->of[0];
    struct view_file made;
    const char *target = kind == INODE_SYMLINK ? call->args.target.text : NULL;
    if (!export->ops->create(export->tree, &caller, call->file[0].file, call->args.name[0].text,
                             kind, target, &call->args.set, &made, &call->change[0], &err))
        return nfs3_failed(call, &err);
    call->at = nfs3_put_u32(call->at, 1);
    call->at = nfs3_put_handle(call->at, export, &made);
    call->at = nfs3_put_after(call->at, export, &made);
    call->at = nfs3_put_change(call->at, export, &call->change[0]);
    return NFS3_OK;
}

/* What is asked of a file that is there already, or of its folder when it is not. */
static enum nfsstat3 may_make(struct nfs3_call *call)
{
    struct view_file there;
    enum nfsstat3 status = nfs3_folder(call, 0, MAY_EXECUTE);
    if (status == NFS3_OK)
        status = fit(&call->args.name[0]);
    if (status == NFS3_OK)
        status = call->args.set_wrong;
    if (status == NFS3_OK)
        status = peek(call, 0, &call->args.name[0], &there);
    if (status != NFS3_OK)
        return status;
    if (!there.file)
        return nfs3_folder(call, 0, MAY_WRITE | MAY_EXECUTE);
    if (call->args.set.unchecked && call->args.set.set_size && there.kind == INODE_FILE &&
        !permit_data(&call->who, &there, MAY_WRITE))
        return NFS3ERR_ACCES;
    return NFS3_OK;
}

/* An exclusive file has its mode from the SETATTR that follows; till then it is its owner's. */
enum nfsstat3 nfs3_create(struct nfs3_call *call)
{
    enum { MODE_EXCLUSIVE = 0600, MODE = 0644 };
    struct view_attributes *set = &call->args.set;
    enum nfsstat3 status = may_make(call);
    if (status != NFS3_OK)
        return status;
    made_by(call, false, set->exclusive ? MODE_EXCLUSIVE : MODE, set);
    return make(call, INODE_FILE);
}

enum nfsstat3 nfs3_mkdir(struct nfs3_call *call)
{
    enum { MODE = 0755 };
    enum nfsstat3 status = may_make(call);
    if (status != NFS3_OK)
        return status;
    call->args.set.set_size = false;
    made_by(call, true, MODE, &call->args.set);
    return make(call, INODE_DIRECTORY);
}

enum nfsstat3 nfs3_symlink(struct nfs3_call *call)
{
    enum { MODE = 0777 };
    enum nfsstat3 status = may_make(call);
    if (status == NFS3_OK)
        status = call->args.target.wrong;
    if (status != NFS3_OK)
        return status;
    call->args.set.set_mode = call->args.set.set_size = false;
    made_by(call, false, MODE, &call->args.set);
    return make(call, INODE_SYMLINK);
}

enum nfsstat3 nfs3_mknod(struct nfs3_call *call)
{
    uint32_t kind = call->args.n[0];
    bool node = kind == NF3CHR || kind == NF3BLK || kind == NF3SOCK || kind == NF3FIFO;
    return node ? NFS3ERR_NOTSUPP : NFS3ERR_BADTYPE;
}

/* ---- taking away ---- */

static enum nfsstat3 may_take(struct nfs3_call *call, unsigned which, const struct nfs3_text *name,
                              struct view_file *ret)
{
    enum nfsstat3 status = nfs3_folder(call, which, MAY_WRITE | MAY_EXECUTE);
    if (status == NFS3_OK)
        status = fit(name);
    if (status == NFS3_OK)
        status = peek(call, which, name, ret);
    if (status == NFS3_OK && ret->file && !permit_remove(&call->who, &call->file[which], ret))
        status = NFS3ERR_ACCES;
    return status;
}

static enum nfsstat3 take_away(struct nfs3_call *call, bool folder)
{
    struct err err = {0};
    struct view_caller caller = nfs3_caller(call);
    struct view_file there;
    const struct export *export = call->of[0];
    const struct nfs3_text *name = &call->args.name[0];
    enum nfsstat3 status = may_take(call, 0, name, &there);
    if (status != NFS3_OK)
        return status;
    if (!export->ops->remove(export->tree, &caller, call->file[0].file, name->text, folder,
                             &call->change[0], &err))
        return err.code == ERR_EXISTS ? NFS3ERR_NOTEMPTY : nfs3_failed(call, &err);
    call->at = nfs3_put_change(call->at, export, &call->change[0]);
    return NFS3_OK;
}

enum nfsstat3 nfs3_remove(struct nfs3_call *call) { return take_away(call, false); }
enum nfsstat3 nfs3_rmdir(struct nfs3_call *call) { return take_away(call, true); }

/* ---- other names ---- */

static enum nfsstat3 may_rename(struct nfs3_call *call, struct view_file *ret_there)
{
    struct view_file moved;
    enum nfsstat3 status = may_take(call, 0, &call->args.name[0], &moved);
    if (status == NFS3_OK)
        status = may_take(call, 1, &call->args.name[1], ret_there);
    if (status != NFS3_OK || !moved.file)
        return status;
    bool folder = moved.kind == INODE_DIRECTORY;
    if (ret_there->file && (ret_there->kind == INODE_DIRECTORY) != folder)
        return folder ? NFS3ERR_NOTDIR : NFS3ERR_ISDIR;
    bool away = call->file[0].file != call->file[1].file;
    if (folder && away && !permit_mode(&call->who, &moved, MAY_WRITE))
        return NFS3ERR_ACCES; /* its ".." changes */
    return NFS3_OK;
}

enum nfsstat3 nfs3_rename(struct nfs3_call *call)
{
    struct err err = {0};
    struct view_caller caller = nfs3_caller(call);
    struct view_file there;
    const struct export *export = call->of[0];
    if (export->id != call->of[1]->id)
        return NFS3ERR_XDEV;
    enum nfsstat3 status = may_rename(call, &there);
    if (status != NFS3_OK)
        return status;
    if (!export->ops->rename(export->tree, &caller, call->file[0].file, call->args.name[0].text,
                             call->file[1].file, call->args.name[1].text, &call->change[0],
                             &call->change[1], &err))
        return err.code == ERR_EXISTS ? NFS3ERR_NOTEMPTY : nfs3_failed(call, &err);
    call->at = nfs3_put_change(call->at, export, &call->change[0]);
    call->at = nfs3_put_change(call->at, export, &call->change[1]);
    return NFS3_OK;
}

enum nfsstat3 nfs3_link(struct nfs3_call *call)
{
    struct err err = {0};
    struct view_caller caller = nfs3_caller(call);
    struct view_file linked;
    const struct export *export = call->of[0];
    if (export->id != call->of[1]->id)
        return NFS3ERR_XDEV;
    enum nfsstat3 status = nfs3_folder(call, 1, MAY_WRITE | MAY_EXECUTE);
    if (status == NFS3_OK)
        status = fit(&call->args.name[0]);
    if (status == NFS3_OK && call->file[0].kind != INODE_FILE)
        status = NFS3ERR_INVAL;
    if (status != NFS3_OK)
        return status;
    if (!export->ops->link(export->tree, &caller, call->file[0].file, call->file[1].file,
                           call->args.name[0].text, &linked, &call->change[1], &err))
        return nfs3_failed(call, &err);
    call->at = nfs3_put_after(call->at, export, &linked);
    call->at = nfs3_put_change(call->at, export, &call->change[1]);
    return NFS3_OK;
}
