/* NFSv3 calls of Direct NFS: what is asked, and what is kept of the answer. */
#include "dnfs.h"
#include "sim.h"
#include <errno.h>
#include <sys/random.h>

nfs_fh3 dnfs_wire(struct dnfs_fh *fh) { return (nfs_fh3){{fh->len, fh->data}}; }

static bool fh_take(struct dnfs_fh *fh, const nfs_fh3 *from)
{
    if (from->data.data_len > sizeof fh->data)
        return false;
    fh->len = from->data.data_len;
    memcpy(fh->data, from->data.data_val, fh->len);
    return true;
}

static void attr_take(struct dnfs_call *c, const fattr3 *a)
{
    c->has_attr = true;
    c->folder = a->type == NF3DIR;
    c->size = a->size;
}

static void post_take(struct dnfs_call *c, const post_op_attr *a)
{
    if (a->attributes_follow)
        attr_take(c, &a->post_op_attr_u.attributes);
}

/* ---- mounting ---- */

static int start_fsinfo(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_fsinfo_async(rpc, dnfs_answer, &c->args.fsinfo, c);
}

static void take_fsinfo(struct dnfs_call *c, const void *result)
{
    const FSINFO3resok *r = &((const FSINFO3res *)result)->FSINFO3res_u.resok;

    c->size = r->rtmax;
    c->count = r->wtmax;
}

static size_t transfer_size(uint64_t said)
{
    return said < 4096 ? 4096 : said > DNFS_IO_MAX ? DNFS_IO_MAX : (size_t)said;
}

bool dnfs_mount(struct dnfs_mount *m)
{
    struct dnfs_call c = {.start = start_fsinfo, .take = take_fsinfo};

    if (m->mounted)
        return true;
    if (!dnfs_mnt(m))
        return false;
    c.args.fsinfo.fsroot = dnfs_wire(&m->root);
    if (!dnfs_run(m->server, &c))
        return false;
    m->server->rtmax = transfer_size(c.size);
    m->server->wtmax = transfer_size(c.count);
    m->mounted = true;
    return true;
}

/* ---- names and attributes ---- */

static diropargs3 dirop(struct dnfs_fh *dir, const char *name)
{
    return (diropargs3){dnfs_wire(dir), (char *)name};
}

static int start_lookup(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_lookup_async(rpc, dnfs_answer, &c->args.lookup, c);
}

static void take_lookup(struct dnfs_call *c, const void *result)
{
    const LOOKUP3resok *r = &((const LOOKUP3res *)result)->LOOKUP3res_u.resok;

    c->has_fh = fh_take(&c->fh, &r->object);
    post_take(c, &r->obj_attributes);
    if (!c->has_fh)
        c->status = NFS3ERR_BADHANDLE;
}

bool dnfs_lookup(struct dnfs_server *s, struct dnfs_fh *dir, const char *name, struct dnfs_call *c)
{
    *c = (struct dnfs_call){
        .start = start_lookup, .take = take_lookup, .args.lookup.what = dirop(dir, name)};
    return dnfs_run(s, c);
}

static int start_getattr(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_getattr_async(rpc, dnfs_answer, &c->args.getattr, c);
}

static void take_getattr(struct dnfs_call *c, const void *result)
{
    attr_take(c, &((const GETATTR3res *)result)->GETATTR3res_u.resok.obj_attributes);
}

bool dnfs_getattr(struct dnfs_server *s, struct dnfs_fh *fh, struct dnfs_call *c)
{
    *c = (struct dnfs_call){
        .start = start_getattr, .take = take_getattr, .args.getattr.object = dnfs_wire(fh)};
    return dnfs_run(s, c);
}

static int start_access(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_access_async(rpc, dnfs_answer, &c->args.access, c);
}

static void take_access(struct dnfs_call *c, const void *result)
{
    c->access = ((const ACCESS3res *)result)->ACCESS3res_u.resok.access;
}

bool dnfs_can_read(struct dnfs_server *s, struct dnfs_fh *fh)
{
    struct dnfs_call c = {
        .start = start_access, .take = take_access, .args.access = {dnfs_wire(fh), ACCESS3_READ}};

    if (!dnfs_run(s, &c))
        return false;
    errno = EACCES;
    return (c.access & ACCESS3_READ) != 0;
}

static int start_setattr(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_setattr_async(rpc, dnfs_answer, &c->args.setattr, c);
}

static void take_nothing(struct dnfs_call *c, const void *result)
{
    (void)c;
    (void)result;
}

static bool set_attributes(struct dnfs_server *s, struct dnfs_fh *fh, sattr3 attributes)
{
    struct dnfs_call c = {.start = start_setattr,
                          .take = take_nothing,
                          .args.setattr = {.object = dnfs_wire(fh), .new_attributes = attributes}};

    return dnfs_run(s, &c);
}

bool dnfs_resize(struct dnfs_server *s, struct dnfs_fh *fh, uint64_t size)
{
    return set_attributes(s, fh, (sattr3){.size = {.set_it = 1, .set_size3_u.size = size}});
}

static void take_made(struct dnfs_call *c, const post_op_fh3 *obj)
{
    c->has_fh = obj->handle_follows && fh_take(&c->fh, &obj->post_op_fh3_u.handle);
}

static int start_create(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_create_async(rpc, dnfs_answer, &c->args.create, c);
}

static void take_create(struct dnfs_call *c, const void *result)
{
    take_made(c, &((const CREATE3res *)result)->CREATE3res_u.resok.obj);
}

static sattr3 with_mode(mode_t mode)
{
    return (sattr3){.mode = {.set_it = 1, .set_mode3_u.mode = mode}};
}

/* EXCLUSIVE: sent again after a crash of the server it still finds its own file, not "exists". */
static void how_once(createhow3 *how)
{
    how->mode = EXCLUSIVE;
    if (getrandom(how->createhow3_u.verf, sizeof how->createhow3_u.verf, 0) < 0)
        die("no random numbers");
}

bool dnfs_create(struct dnfs_server *s, struct dnfs_fh *dir, const char *name, enum dnfs_how how,
                 mode_t mode, struct dnfs_fh *ret)
{
    struct dnfs_call c = {
        .start = start_create, .take = take_create, .args.create.where = dirop(dir, name)};
    createhow3 *h = &c.args.create.how;

    if (how == DNFS_ONCE) {
        how_once(h);
    } else {
        h->mode = UNCHECKED;
        h->createhow3_u.obj_attributes = with_mode(mode);
        h->createhow3_u.obj_attributes.size.set_it = 1;
    }
    if (!dnfs_run(s, &c) || (!c.has_fh && !dnfs_lookup(s, dir, name, &c)))
        return false;
    *ret = c.fh;
    return how != DNFS_ONCE || set_attributes(s, ret, with_mode(mode));
}

static int start_mkdir(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_mkdir_async(rpc, dnfs_answer, &c->args.mkdir, c);
}

bool dnfs_make_folder(struct dnfs_server *s, struct dnfs_fh *dir, const char *name, mode_t mode)
{
    struct dnfs_call c = {.start = start_mkdir,
                          .take = take_nothing,
                          .args.mkdir = {dirop(dir, name), with_mode(mode)}};

    return dnfs_run(s, &c);
}

static int start_remove(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_remove_async(rpc, dnfs_answer, &c->args.remove, c);
}

bool dnfs_remove(struct dnfs_server *s, struct dnfs_fh *dir, const char *name)
{
    struct dnfs_call c = {
        .start = start_remove, .take = take_nothing, .args.remove.object = dirop(dir, name)};

    return dnfs_run(s, &c);
}

static int start_rename(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_rename_async(rpc, dnfs_answer, &c->args.rename, c);
}

bool dnfs_move(struct dnfs_server *s, struct dnfs_fh *from, const char *old, struct dnfs_fh *to,
               const char *name)
{
    struct dnfs_call c = {.start = start_rename,
                          .take = take_nothing,
                          .args.rename = {dirop(from, old), dirop(to, name)}};

    return dnfs_run(s, &c);
}

/* ---- bytes ---- */

static int start_read(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_read_async(rpc, dnfs_answer, &c->args.read, c);
}

static void take_read(struct dnfs_call *c, const void *result)
{
    const READ3resok *r = &((const READ3res *)result)->READ3res_u.resok;

    c->count = r->data.data_len;
    c->eof = r->eof != 0;
    if (c->count > c->args.read.count) {
        c->status = NFS3ERR_SERVERFAULT;
        return;
    }
    if (c->count)
        memcpy(c->to, r->data.data_val, c->count);
}

void dnfs_read_call(struct dnfs_call *c, struct dnfs_fh *fh, void *to, size_t n, uint64_t at)
{
    *c = (struct dnfs_call){.start = start_read,
                            .take = take_read,
                            .to = to,
                            .args.read = {dnfs_wire(fh), at, (count3)n}};
}

static int start_write(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_write_async(rpc, dnfs_answer, &c->args.write, c);
}

static void take_write(struct dnfs_call *c, const void *result)
{
    const WRITE3resok *r = &((const WRITE3res *)result)->WRITE3res_u.resok;

    c->count = r->count;
    memcpy(c->verf, r->verf, sizeof c->verf);
    if (!c->count || c->count > c->args.write.count ||
        (c->args.write.stable == FILE_SYNC && r->committed != FILE_SYNC))
        c->status = NFS3ERR_SERVERFAULT;
}

void dnfs_write_call(struct dnfs_call *c, struct dnfs_fh *fh, char *from, size_t n, uint64_t at,
                     bool stable)
{
    *c = (struct dnfs_call){.start = start_write, .take = take_write};
    c->args.write.file = dnfs_wire(fh);
    c->args.write.offset = at;
    c->args.write.count = (count3)n;
    c->args.write.stable = stable ? FILE_SYNC : UNSTABLE;
    c->args.write.data.data_len = (u_int)n;
    c->args.write.data.data_val = from;
}

static int start_commit(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_commit_async(rpc, dnfs_answer, &c->args.commit, c);
}

static void take_commit(struct dnfs_call *c, const void *result)
{
    memcpy(c->verf, ((const COMMIT3res *)result)->COMMIT3res_u.resok.verf, sizeof c->verf);
}

bool dnfs_commit(struct dnfs_server *s, struct dnfs_fh *fh, struct dnfs_call *c)
{
    *c = (struct dnfs_call){
        .start = start_commit, .take = take_commit, .args.commit.file = dnfs_wire(fh)};
    return dnfs_run(s, c);
}

/* ---- folders ---- */

static int start_list(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_readdirplus_async(rpc, dnfs_answer, &c->args.list, c);
}

static void take_list(struct dnfs_call *c, const void *result)
{
    const READDIRPLUS3resok *r = &((const READDIRPLUS3res *)result)->READDIRPLUS3res_u.resok;

    memcpy(c->verf, r->cookieverf, sizeof c->verf);
    c->eof = r->reply.eof != 0;
    for (const entryplus3 *e = r->reply.entries; e; e = e->nextentry) {
        c->cookie = e->cookie;
        c->count++;
        if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0 && !names_add(c->to, e->name))
            die("out of memory");
    }
    if (!c->eof && !c->count)
        c->status = NFS3ERR_SERVERFAULT;
}

bool dnfs_page(struct dnfs_server *s, struct dnfs_fh *dir, struct dnfs_call *c,
               struct disk_names *names)
{
    uint64_t cookie = c->cookie;
    char verf[8];

    memcpy(verf, c->verf, sizeof verf);
    *c = (struct dnfs_call){.start = start_list, .take = take_list, .to = names, .cookie = cookie};
    c->args.list.dir = dnfs_wire(dir);
    c->args.list.cookie = cookie;
    memcpy(c->args.list.cookieverf, verf, sizeof verf);
    c->args.list.dircount = 8192;
    c->args.list.maxcount = 32768;
    return dnfs_run(s, c);
}
