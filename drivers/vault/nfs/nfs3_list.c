/* NFSv3: what is in a folder: READDIR READDIRPLUS. Answers are never longer than the client asked,
 * nor than LIST_MAX. */
#include "drivers/vault/nfs/nfs3_int.h"

#include <string.h>

enum {
    LIST_MAX = (128 << 10) - 64, /* with its head it fits where many small replies do */
    LIST_HEAD = 4 + NFS3_ATTRIBUTES_BYTES + 8, /* as the client counts: without the status */
    LIST_END = 8,                              /* no further entry; whether that was all */
    COOKIE_SELF = 1,
    COOKIE_PARENT = 2, /* an entry's cookie is the tree's and COOKIE_SHIFT: 3 at least */
    COOKIE_SHIFT = 1,
    ENTRY_BYTES = 4 + 8 + 4 + 8, /* besides the name */
};

struct listing {
    struct nfs3_call *call;
    uint8_t *at, *end;
    size_t names_left; /* bytes of names and numbers, READDIRPLUS */
    bool plus, look;   /* look: attributes and handles too */
    bool full, any;
};

static size_t padded(size_t len) { return (len + 3) & ~(size_t)3; }

static bool put_entry(struct listing *l, uint64_t cookie, const char *name,
                      const struct view_file *file)
{
    const struct export *export = l->call->of[0];
    size_t len = strlen(name);
    size_t names = ENTRY_BYTES + padded(len);
    size_t wanted =
        names + (l->plus ? 8 : 0) + (l->look ? NFS3_ATTRIBUTES_BYTES + NFS3_HANDLE_BYTES : 0);
    bool enough = l->any && l->plus && l->names_left < names;
    if (enough || (size_t)(l->end - l->at) < wanted) {
        l->full = true;
        return false;
    }
    l->names_left -= names < l->names_left ? names : l->names_left;
    l->any = true;
    l->at = nfs3_put_u32(l->at, 1);
    l->at = nfs3_put_u64(l->at, file->file);
    l->at = nfs3_put_opaque(l->at, name, len);
    l->at = nfs3_put_u64(l->at, cookie);
    if (l->plus) {
        l->at = nfs3_put_after(l->at, export, l->look ? file : NULL);
        l->at = nfs3_put_u32(l->at, l->look);
    }
    if (l->look)
        l->at = nfs3_put_handle(l->at, export, file);
    return true;
}

static bool on_entry(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    return put_entry(arg, cookie + COOKIE_SHIFT, name, file);
}

/* "." and "..", then the tree's entries. */
static bool put_entries(struct listing *l, uint64_t cookie, bool *ret_end, struct err *err)
{
    const struct export *export = l->call->of[0];
    const struct view_file *folder = &l->call->file[0];
    struct view_file parent = *folder;
    if (cookie < COOKIE_SELF && !put_entry(l, COOKIE_SELF, ".", folder))
        return true;
    if (cookie < COOKIE_PARENT) {
        if (!export->ops->lookup(export->tree, folder->file, "..", &parent, err))
            return false;
        if (!put_entry(l, COOKIE_PARENT, "..", &parent))
            return true;
    }
    uint64_t after = cookie > COOKIE_PARENT ? cookie - COOKIE_SHIFT : 0;
    return export->ops->list(export->tree, folder->file, after, on_entry, l, ret_end, err);
}

static enum nfsstat3 list(struct nfs3_call *call, struct listing *l, size_t asked)
{
    struct err err = {0};
    uint64_t cookie = call->args.offset;
    bool end = false;
    size_t size = asked < LIST_MAX ? asked : LIST_MAX;
    enum nfsstat3 status = nfs3_folder(call, 0, MAY_READ);
    if (status != NFS3_OK)
        return status;
    if (cookie && call->args.verifier != NFS3_COOKIES)
        return NFS3ERR_BAD_COOKIE;
    if (size < LIST_HEAD + LIST_END)
        return NFS3ERR_TOOSMALL;
    if (!nfsd_results_room(call->rpc, 4 + size, &err))
        return NFS3ERR_JUKEBOX;
    uint8_t *from = call->rpc->results + 4;
    l->call = call;
    l->look = l->plus && permit_mode(&call->who, &call->file[0], MAY_EXECUTE);
    l->end = from + size - LIST_END;
    l->at = nfs3_put_after(from, call->of[0], &call->file[0]);
    l->at = nfs3_put_u64(l->at, NFS3_COOKIES);
    if (!put_entries(l, cookie, &end, &err))
        return nfs3_failed(call, &err);
    if (l->full && !l->any)
        return NFS3ERR_TOOSMALL;
    l->at = nfs3_put_u32(l->at, 0);
    call->at = nfs3_put_u32(l->at, end && !l->full);
    return NFS3_OK;
}

enum nfsstat3 nfs3_readdir(struct nfs3_call *call)
{
    struct listing l = {0};
    return list(call, &l, call->args.n[0]);
}

enum nfsstat3 nfs3_readdirplus(struct nfs3_call *call)
{
    struct listing l = {.plus = true, .names_left = call->args.n[0]};
    return list(call, &l, call->args.n[1]);
}
