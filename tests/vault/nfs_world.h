/* A vault in memory that is served: exports, the 22 procedures, MOUNT, a port; and clients of it.
 */
#pragma once
#include "drivers/vault/nfs/exports.h"
#include "drivers/vault/nfs/handle.h"
#include "drivers/vault/nfs/mount.h"
#include "drivers/vault/nfs/nfs3.h"
#include "tests/lib/nfs_caller.h"
#include "tests/lib/vault_exports.h"
#include "tests/vault/volume_world.h"
#include <pthread.h>

struct nfs_world {
    struct world w; /* first */
    struct vault_exports of;
    struct exports *exports;
    struct nfs3 *nfs3;
    struct nfsd_program programs[2];
    struct nfsd *nfsd;
    uint16_t port;
    uint64_t late_ms; /* as the server's option */
};

static inline void nfs_world_serve(struct nfs_world *n)
{
    static const char *const listen[] = {"127.0.0.1", "::1"};
    n->of.vault = n->w.vault;
    struct exports_options exports = vault_exports(&n->of);
    n->exports = exports_new(&exports, &n->w.err);
    world_ok(&n->w, n->exports != NULL);
    n->nfs3 = nfs3_new(&(struct nfs3_options){n->exports, vault_verifier(n->w.vault)}, &n->w.err);
    world_ok(&n->w, n->nfs3 != NULL);
    n->programs[0] = nfs3_program(n->nfs3);
    n->programs[1] = mount3_program(n->exports);
    n->nfsd = nfsd_start(&(struct nfsd_options){.listen = listen,
                                                .listen_count = 2,
                                                .programs = n->programs,
                                                .program_count = 2,
                                                .late_ms = n->late_ms},
                         &n->w.err);
    world_ok(&n->w, n->nfsd != NULL);
    n->port = nfsd_port(n->nfsd);
}

static inline void nfs_world_unserve(struct nfs_world *n)
{
    nfsd_stop(n->nfsd);
    nfs3_free(n->nfs3);
    exports_free(n->exports);
}

/* A volume "v"; loopback may all, as whoever it says it is. */
static inline void nfs_world_begin(struct nfs_world *n)
{
    *n = (struct nfs_world){.of.rule.squash = EXPORT_SQUASH_NONE};
    world_begin(&n->w);
    world_ok(&n->w, export_nets_parse("127.0.0.0/8 ::1", &n->of.rule, &n->w.err));
    world_ok(&n->w, vault_volume_create(n->w.vault, "v", &n->w.err));
    nfs_world_serve(n);
}

static inline void nfs_world_end(struct nfs_world *n)
{
    nfs_world_unserve(n);
    world_end(&n->w);
}

/* ---- a client ---- */

struct fh {
    char bytes[64];
    uint32_t len;
};

static inline struct fh fh_of(const nfs_fh3 *from)
{
    struct fh fh = {.len = from->data.data_len};
    cr_assert(fh.len <= sizeof fh.bytes);
    memcpy(fh.bytes, from->data.data_val, fh.len);
    return fh;
}

static inline nfs_fh3 fh3(struct fh *fh)
{
    return (nfs_fh3){.data = {.data_len = fh->len, .data_val = fh->bytes}};
}

struct client {
    struct nfs_caller nfs;
    struct fh root;
    struct err err;
};

static inline void client_ok(struct client *c, bool ok) { cr_assert(ok, "%s", c->err.text); }

static inline void client_open(struct client *c, uint16_t port, const char *path)
{
    size_t len = 0;
    *c = (struct client){0};
    client_ok(c, nfs_caller_open(&c->nfs, NULL, port, &c->err));
    client_ok(c, nfs_caller_mount(&c->nfs, path, (uint8_t *)c->root.bytes, &len, &c->err));
    c->root.len = (uint32_t)len;
}

static inline void client_as(struct client *c, uint32_t uid, uint32_t gid)
{
    c->nfs.uid = uid;
    c->nfs.gid = gid;
    c->nfs.group_count = 0;
}

static inline void client_done(struct client *c) { nfs_caller_close(&c->nfs); }
OWN_DEFINE_INPLACE(client, struct client, client_done);

/* ---- procedures: the status; what else is wanted by pointer, NULL is fine ---- */

static inline enum nfsstat3 do_lookup(struct client *c, struct fh *dir, const char *name,
                                      struct fh *ret, struct fattr3 *ret_attr)
{
    LOOKUP3args args = {.what = {fh3(dir), (char *)(uintptr_t)name}};
    LOOKUP3res res;
    client_ok(c, NFS_CALL(&c->nfs, LOOKUP, &args, &res, &c->err));
    if (res.status == NFS3_OK) {
        LOOKUP3resok *ok = &res.LOOKUP3res_u.resok;
        cr_assert(ok->obj_attributes.attributes_follow && ok->dir_attributes.attributes_follow);
        if (ret)
            *ret = fh_of(&ok->object);
        if (ret_attr)
            *ret_attr = ok->obj_attributes.post_op_attr_u.attributes;
    }
    return res.status;
}

static inline enum nfsstat3 do_getattr(struct client *c, struct fh *fh, struct fattr3 *ret)
{
    GETATTR3args args = {fh3(fh)};
    GETATTR3res res;
    client_ok(c, NFS_CALL(&c->nfs, GETATTR, &args, &res, &c->err));
    if (res.status == NFS3_OK && ret)
        *ret = res.GETATTR3res_u.resok.obj_attributes;
    return res.status;
}

/* wcc data that are true: what was before is what this client saw, what is after is later. */
static inline void wcc_is_right(const wcc_data *wcc, const struct fattr3 *before)
{
    cr_assert(wcc->before.attributes_follow && wcc->after.attributes_follow);
    const wcc_attr *b = &wcc->before.pre_op_attr_u.attributes;
    cr_assert_eq(b->size, before->size);
    cr_assert_eq(b->mtime.seconds, before->mtime.seconds);
    cr_assert_eq(b->mtime.nseconds, before->mtime.nseconds);
    cr_assert_eq(b->ctime.nseconds, before->ctime.nseconds);
    const fattr3 *a = &wcc->after.post_op_attr_u.attributes;
    cr_assert(a->ctime.seconds > b->ctime.seconds ||
                  (a->ctime.seconds == b->ctime.seconds && a->ctime.nseconds > b->ctime.nseconds),
              "the change is not to be seen");
}

static inline enum nfsstat3 do_create(struct client *c, struct fh *dir, const char *name,
                                      enum createmode3 how, const sattr3 *set, uint64_t verifier,
                                      struct fh *ret)
{
    CREATE3args args = {.where = {fh3(dir), (char *)(uintptr_t)name}, .how = {.mode = how}};
    CREATE3res res;
    struct fattr3 before;
    if (how == EXCLUSIVE)
        memcpy(args.how.createhow3_u.verf, &verifier, sizeof verifier);
    else if (set)
        args.how.createhow3_u.obj_attributes = *set;
    enum nfsstat3 known = do_getattr(c, dir, &before);
    client_ok(c, NFS_CALL(&c->nfs, CREATE, &args, &res, &c->err));
    if (res.status == NFS3_OK) {
        CREATE3resok *ok = &res.CREATE3res_u.resok;
        cr_assert(known == NFS3_OK && ok->obj.handle_follows &&
                  ok->obj_attributes.attributes_follow);
        if (ret)
            *ret = fh_of(&ok->obj.post_op_fh3_u.handle);
    }
    return res.status;
}

static inline struct fh made_file(struct client *c, struct fh *dir, const char *name, uint32_t mode)
{
    struct fh fh;
    sattr3 set = {.mode = {1, {mode}}};
    cr_assert_eq(do_create(c, dir, name, GUARDED, &set, 0, &fh), NFS3_OK, "create '%s'", name);
    return fh;
}

static inline enum nfsstat3 do_mkdir(struct client *c, struct fh *dir, const char *name,
                                     uint32_t mode, struct fh *ret)
{
    MKDIR3args args = {.where = {fh3(dir), (char *)(uintptr_t)name},
                       .attributes = {.mode = {1, {mode}}}};
    MKDIR3res res;
    client_ok(c, NFS_CALL(&c->nfs, MKDIR, &args, &res, &c->err));
    if (res.status == NFS3_OK && ret)
        *ret = fh_of(&res.MKDIR3res_u.resok.obj.post_op_fh3_u.handle);
    return res.status;
}

static inline enum nfsstat3 do_symlink(struct client *c, struct fh *dir, const char *name,
                                       const char *target, struct fh *ret)
{
    SYMLINK3args args = {.where = {fh3(dir), (char *)(uintptr_t)name},
                         .symlink = {.symlink_data = (char *)(uintptr_t)target}};
    SYMLINK3res res;
    client_ok(c, NFS_CALL(&c->nfs, SYMLINK, &args, &res, &c->err));
    if (res.status == NFS3_OK && ret)
        *ret = fh_of(&res.SYMLINK3res_u.resok.obj.post_op_fh3_u.handle);
    return res.status;
}

static inline enum nfsstat3 do_remove(struct client *c, struct fh *dir, const char *name)
{
    REMOVE3args args = {.object = {fh3(dir), (char *)(uintptr_t)name}};
    REMOVE3res res;
    client_ok(c, NFS_CALL(&c->nfs, REMOVE, &args, &res, &c->err));
    return res.status;
}

static inline enum nfsstat3 do_rmdir(struct client *c, struct fh *dir, const char *name)
{
    RMDIR3args args = {.object = {fh3(dir), (char *)(uintptr_t)name}};
    RMDIR3res res;
    client_ok(c, NFS_CALL(&c->nfs, RMDIR, &args, &res, &c->err));
    return res.status;
}

static inline enum nfsstat3 do_rename(struct client *c, struct fh *from, const char *name,
                                      struct fh *to, const char *new_name)
{
    RENAME3args args = {.from = {fh3(from), (char *)(uintptr_t)name},
                        .to = {fh3(to), (char *)(uintptr_t)new_name}};
    RENAME3res res;
    client_ok(c, NFS_CALL(&c->nfs, RENAME, &args, &res, &c->err));
    return res.status;
}

static inline enum nfsstat3 do_link(struct client *c, struct fh *file, struct fh *dir,
                                    const char *name)
{
    LINK3args args = {.file = fh3(file), .link = {fh3(dir), (char *)(uintptr_t)name}};
    LINK3res res;
    client_ok(c, NFS_CALL(&c->nfs, LINK, &args, &res, &c->err));
    return res.status;
}

static inline enum nfsstat3 do_setattr(struct client *c, struct fh *fh, const sattr3 *set,
                                       const nfstime3 *guard)
{
    SETATTR3args args = {.object = fh3(fh), .new_attributes = *set};
    SETATTR3res res;
    if (guard) {
        args.guard.check = 1;
        args.guard.sattrguard3_u.obj_ctime = *guard;
    }
    client_ok(c, NFS_CALL(&c->nfs, SETATTR, &args, &res, &c->err));
    return res.status;
}

static inline uint32_t do_access(struct client *c, struct fh *fh)
{
    ACCESS3args args = {fh3(fh), 0x3f};
    ACCESS3res res;
    client_ok(c, NFS_CALL(&c->nfs, ACCESS, &args, &res, &c->err));
    cr_assert_eq(res.status, NFS3_OK);
    return res.ACCESS3res_u.resok.access;
}

static inline enum nfsstat3 do_write(struct client *c, struct fh *fh, uint64_t offset,
                                     const void *bytes, uint32_t len, enum stable_how how)
{
    WRITE3args args = {.file = fh3(fh),
                       .offset = offset,
                       .count = len,
                       .stable = how,
                       .data = {len, (char *)(uintptr_t)bytes}};
    WRITE3res res;
    client_ok(c, NFS_CALL(&c->nfs, WRITE, &args, &res, &c->err));
    if (res.status == NFS3_OK) {
        cr_assert_eq(res.WRITE3res_u.resok.count, len);
        cr_assert(res.WRITE3res_u.resok.committed >= how);
    }
    return res.status;
}

/* Bytes read; to may be NULL. */
static inline enum nfsstat3 do_read(struct client *c, struct fh *fh, uint64_t offset, void *to,
                                    uint32_t len, uint32_t *ret_len, bool *ret_end)
{
    READ3args args = {.file = fh3(fh), .offset = offset, .count = len};
    READ3res res;
    client_ok(c, NFS_CALL(&c->nfs, READ, &args, &res, &c->err));
    if (res.status == NFS3_OK) {
        READ3resok *ok = &res.READ3res_u.resok;
        cr_assert(ok->data.data_len == ok->count && ok->count <= len);
        if (to)
            memcpy(to, ok->data.data_val, ok->count);
        if (ret_len)
            *ret_len = ok->count;
        if (ret_end)
            *ret_end = ok->eof;
    }
    return res.status;
}

static inline enum nfsstat3 do_commit(struct client *c, struct fh *fh, uint64_t *ret_verifier)
{
    COMMIT3args args = {.file = fh3(fh)};
    COMMIT3res res;
    client_ok(c, NFS_CALL(&c->nfs, COMMIT, &args, &res, &c->err));
    if (res.status == NFS3_OK && ret_verifier)
        memcpy(ret_verifier, res.COMMIT3res_u.resok.verf, sizeof *ret_verifier);
    return res.status;
}

#define STATUS(call, wanted)                                                                       \
    do {                                                                                           \
        int status_got = (int)(call);                                                              \
        cr_assert_eq(status_got, (int)(wanted), "%s is %d, not %s", #call, status_got, #wanted);   \
    } while (0)
