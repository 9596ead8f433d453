/* NFSv3 calls of Direct NFS: several connections to a server, each call sent again, under the same
 * transaction id, until it is answered. */
#include "dnfs.h"
#include "sim.h"
#include <errno.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RETRY_MS = 100, TURN_MS = 50 };

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint32_t next_xid(void)
{
    static uint32_t xid;

    if (!xid && getrandom(&xid, sizeof xid, 0) != (ssize_t)sizeof xid)
        xid = (uint32_t)getpid() << 16;
    return ++xid;
}

/* ---- connections ---- */

static void on_connected(struct rpc_context *rpc, int status, void *data, void *arg)
{
    struct dnfs_chan *c = arg;

    (void)rpc;
    (void)data;
    c->state = status == RPC_STATUS_SUCCESS ? CHAN_UP : CHAN_BROKEN;
}

static int connect_to(struct rpc_context *rpc, const char *host, int port, int program, rpc_cb cb,
                      void *arg)
{
    if (port)
        return rpc_connect_port_async(rpc, host, port, program, 3, cb, arg);
    return rpc_connect_program_async(rpc, host, program, 3, cb, arg);
}

static void chan_open(struct dnfs_server *s, int i)
{
    struct dnfs_chan *c = &s->chan[i];

    c->again_ms = now_ms() + RETRY_MS;
    c->since_ms = now_ms();
    c->rpc = rpc_init_context();
    if (!c->rpc)
        die("out of memory");
    c->state = CHAN_CONNECTING;
    if (connect_to(c->rpc, s->path[i % s->paths], s->nfs_port, NFS_PROGRAM, on_connected, c) < 0)
        c->state = CHAN_BROKEN;
}

/* Its calls come back unanswered and are sent again on the next connection. */
static void chan_close(struct dnfs_server *s, int i)
{
    struct dnfs_chan *c = &s->chan[i];
    struct rpc_context *rpc = c->rpc;

    c->rpc = NULL;
    if (rpc) {
        const char *why = rpc_get_error(rpc);

        if (why)
            copy_text(s->why, sizeof s->why, why);
        rpc_destroy_context(rpc);
    }
    c->state = CHAN_DOWN;
    for (int k = 0; k < s->flights; k++)
        if (s->flight[k]->sent && s->flight[k]->chan == i)
            s->flight[k]->sent = false;
}

/* libnfs does not always say that the other side has gone; the socket does. */
static bool chan_ended(int fd, int revents)
{
    char byte;
    ssize_t n;

    if (revents & (POLLERR | POLLHUP | POLLNVAL))
        return true;
    if (!(revents & POLLIN))
        return false;
    n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void chan_serve(struct dnfs_server *s, int i, int revents)
{
    struct dnfs_chan *c = &s->chan[i];

    if (revents && (chan_ended(rpc_get_fd(c->rpc), revents) || rpc_service(c->rpc, revents) < 0))
        c->state = CHAN_BROKEN;
    if (c->state == CHAN_CONNECTING && now_ms() - c->since_ms > DNFS_TIMEO_MS)
        c->state = CHAN_BROKEN;
    for (int k = 0; c->state == CHAN_UP && k < s->flights; k++)
        if (s->flight[k]->sent && s->flight[k]->chan == i &&
            now_ms() - s->flight[k]->sent_ms > DNFS_TIMEO_MS)
            c->state = CHAN_BROKEN;
    if (c->state == CHAN_BROKEN)
        chan_close(s, i);
}

/* ---- calls ---- */

static void on_answer(struct rpc_context *rpc, int status, void *data, void *arg)
{
    struct dnfs_call *c = arg;

    (void)rpc;
    if (!c->sent)
        return;
    c->sent = false;
    if (status != RPC_STATUS_SUCCESS) { /* lost: sent again as it was */
        c->again_ms = now_ms() + RETRY_MS;
        return;
    }
    c->status = (int)*(const nfsstat3 *)data; /* each answer begins with it */
    if (c->status == NFS3ERR_JUKEBOX) {
        c->xid = next_xid();
        c->again_ms = now_ms() + RETRY_MS;
        return;
    }
    if (c->status == NFS3_OK)
        c->take(c, data);
    c->done = true;
}

static void unflight(struct dnfs_server *s, const struct dnfs_call *c)
{
    for (int k = 0; k < s->flights; k++)
        if (s->flight[k] == c) {
            s->flight[k] = s->flight[--s->flights];
            return;
        }
}

/* One connection serves until there is more to send than one call. */
static int chan_for(struct dnfs_server *s)
{
    int want = s->flights > 1 ? DNFS_PATHS : 1;

    for (int k = 0; k < want; k++) {
        int i = s->next_chan++ % want;

        if (s->chan[i].state == CHAN_DOWN && now_ms() >= s->chan[i].again_ms)
            chan_open(s, i);
        if (s->chan[i].state == CHAN_UP)
            return i;
    }
    return -1;
}

static void send_out(struct dnfs_server *s)
{
    for (int k = 0; k < s->flights; k++) {
        struct dnfs_call *c = s->flight[k];
        int i;

        if (c->sent || c->done || now_ms() < c->again_ms)
            continue;
        i = chan_for(s);
        if (i < 0)
            return;
        rpc_set_next_xid(s->chan[i].rpc, c->xid);
        c->chan = i;
        c->sent = true;
        c->sent_ms = now_ms();
        if (c->start(s->chan[i].rpc, c) != 0) {
            c->sent = false;
            s->chan[i].state = CHAN_BROKEN;
            chan_close(s, i);
        }
    }
}

/* Calls that waited too long end as a hard mount's never would. */
static void give_up(struct dnfs_server *s)
{
    for (int k = 0; k < s->flights; k++) {
        struct dnfs_call *c = s->flight[k];

        if (c->done || now_ms() - c->first_ms < (int64_t)s->patience_s * 1000)
            continue;
        fflush(stdout);
        fprintf(stderr, "oracle-sim: Direct NFS: server '%s' does not answer: %s\n", s->name,
                s->why[0] ? s->why : "no reply");
        if (c->sent)
            chan_close(s, c->chan);
        c->status = -1;
        c->done = true;
    }
}

static void turn(struct dnfs_server *s, int wait_ms)
{
    struct pollfd p[DNFS_PATHS];
    int of[DNFS_PATHS], n = 0;

    send_out(s);
    for (int i = 0; i < DNFS_PATHS; i++) {
        if (!s->chan[i].rpc)
            continue;
        p[n] =
            (struct pollfd){rpc_get_fd(s->chan[i].rpc), (short)rpc_which_events(s->chan[i].rpc), 0};
        of[n++] = i;
    }
    if (poll(p, (nfds_t)n, wait_ms) < 0 && errno != EINTR)
        die("poll: %s", strerror(errno));
    for (int i = 0; i < n; i++)
        chan_serve(s, of[i], p[i].revents);
    give_up(s);
    for (int k = s->flights - 1; k >= 0; k--)
        if (s->flight[k]->done)
            unflight(s, s->flight[k]);
}

void dnfs_begin(struct dnfs_server *s, struct dnfs_call *c)
{
    while (s->flights == DNFS_FLIGHT)
        turn(s, TURN_MS);
    c->done = c->sent = false;
    c->xid = next_xid();
    c->first_ms = now_ms();
    c->again_ms = 0;
    s->flight[s->flights++] = c;
    turn(s, 0);
}

void dnfs_wait(struct dnfs_server *s, struct dnfs_call *c, int n)
{
    for (int i = 0; i < n; i++)
        while (!c[i].done)
            turn(s, TURN_MS);
}

bool dnfs_errno(const struct dnfs_call *c)
{
    static const int beyond[][2] = {{NFS3ERR_NAMETOOLONG, ENAMETOOLONG},
                                    {NFS3ERR_NOTEMPTY, ENOTEMPTY},
                                    {NFS3ERR_DQUOT, EDQUOT},
                                    {NFS3ERR_STALE, ESTALE},
                                    {NFS3ERR_NOTSUPP, ENOTSUP},
                                    {-1, ETIMEDOUT}};

    if (c->status == NFS3_OK)
        return true;
    errno = c->status > 0 && c->status <= NFS3ERR_ROFS ? c->status : EIO;
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++)
        if (c->status == beyond[i][0])
            errno = beyond[i][1];
    return false;
}

bool dnfs_run(struct dnfs_server *s, struct dnfs_call *c)
{
    dnfs_begin(s, c);
    dnfs_wait(s, c, 1);
    return dnfs_errno(c);
}

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

struct mnt {
    int state; /* of the connection, then of the call: 0 under way, 1 done, -1 failed */
    mountstat3 status;
    struct dnfs_fh root;
};

static void on_mount_connected(struct rpc_context *rpc, int status, void *data, void *arg)
{
    struct mnt *m = arg;

    (void)rpc;
    (void)data;
    m->state = status == RPC_STATUS_SUCCESS ? 1 : -1;
}

static void on_mounted(struct rpc_context *rpc, int status, void *data, void *arg)
{
    struct mnt *m = arg;
    const mountres3 *r = data;
    nfs_fh3 fh;

    (void)rpc;
    m->state = -1;
    if (status != RPC_STATUS_SUCCESS)
        return;
    m->status = r->fhs_status;
    m->state = 1;
    if (r->fhs_status != MNT3_OK)
        return;
    fh = (nfs_fh3){{r->mountres3_u.mountinfo.fhandle.fhandle3_len,
                    r->mountres3_u.mountinfo.fhandle.fhandle3_val}};
    if (!fh_take(&m->root, &fh))
        m->state = -1;
}

static bool mnt_step(struct rpc_context *rpc, struct mnt *m)
{
    int64_t end = now_ms() + DNFS_TIMEO_MS;

    while (m->state == 0 && now_ms() < end) {
        struct pollfd p = {rpc_get_fd(rpc), (short)rpc_which_events(rpc), 0};

        if (poll(&p, 1, TURN_MS) > 0 &&
            (chan_ended(p.fd, p.revents) || rpc_service(rpc, p.revents) < 0))
            return false;
    }
    return m->state == 1;
}

static bool mnt_try(const struct dnfs_mount *m, int path, struct mnt *out)
{
    struct dnfs_server *s = m->server;
    struct rpc_context *rpc = rpc_init_context();
    bool ok;

    if (!rpc)
        die("out of memory");
    *out = (struct mnt){0};
    ok = connect_to(rpc, s->path[path % s->paths], s->mount_port, MOUNT_PROGRAM, on_mount_connected,
                    out) == 0 &&
         mnt_step(rpc, out);
    if (ok) {
        out->state = 0;
        ok = rpc_mount3_mnt_async(rpc, on_mounted, (char *)m->export, out) == 0 &&
             mnt_step(rpc, out);
    }
    if (!ok && rpc_get_error(rpc))
        copy_text(s->why, sizeof s->why, rpc_get_error(rpc));
    rpc_destroy_context(rpc);
    return ok;
}

static int start_fsinfo(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_fsinfo_async(rpc, on_answer, &c->args.fsinfo, c);
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
    int64_t end = now_ms() + (int64_t)m->server->patience_s * 1000;
    struct mnt got;

    if (m->mounted)
        return true;
    for (int path = 0; !mnt_try(m, path, &got); path++) {
        if (now_ms() >= end) {
            fprintf(stderr, "oracle-sim: Direct NFS: '%s:%s' cannot be mounted: %s\n",
                    m->server->name, m->export, m->server->why);
            errno = ETIMEDOUT;
            return false;
        }
        poll(NULL, 0, RETRY_MS);
    }
    if (got.status != MNT3_OK) {
        errno = (int)got.status <= ENOTDIR ? (int)got.status : EIO;
        return false;
    }
    m->root = got.root;
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
    return rpc_nfs3_lookup_async(rpc, on_answer, &c->args.lookup, c);
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
    return rpc_nfs3_getattr_async(rpc, on_answer, &c->args.getattr, c);
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
    return rpc_nfs3_access_async(rpc, on_answer, &c->args.access, c);
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
    return rpc_nfs3_setattr_async(rpc, on_answer, &c->args.setattr, c);
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
    return rpc_nfs3_create_async(rpc, on_answer, &c->args.create, c);
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
    return rpc_nfs3_mkdir_async(rpc, on_answer, &c->args.mkdir, c);
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
    return rpc_nfs3_remove_async(rpc, on_answer, &c->args.remove, c);
}

bool dnfs_remove(struct dnfs_server *s, struct dnfs_fh *dir, const char *name)
{
    struct dnfs_call c = {
        .start = start_remove, .take = take_nothing, .args.remove.object = dirop(dir, name)};

    return dnfs_run(s, &c);
}

static int start_rename(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_rename_async(rpc, on_answer, &c->args.rename, c);
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
    return rpc_nfs3_read_async(rpc, on_answer, &c->args.read, c);
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
    return rpc_nfs3_write_async(rpc, on_answer, &c->args.write, c);
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
    return rpc_nfs3_commit_async(rpc, on_answer, &c->args.commit, c);
}

static void take_commit(struct dnfs_call *c, const void *result)
{
    memcpy(c->verf, ((const COMMIT3res *)result)->COMMIT3res_u.resok.verf, sizeof c->verf);
}

bool dnfs_commit(struct dnfs_server *s, struct dnfs_fh *fh, uint64_t at, size_t n,
                 struct dnfs_call *c)
{
    *c = (struct dnfs_call){
        .start = start_commit, .take = take_commit, .args.commit = {dnfs_wire(fh), at, (count3)n}};
    return dnfs_run(s, c);
}

/* ---- folders ---- */

static int start_list(struct rpc_context *rpc, struct dnfs_call *c)
{
    return rpc_nfs3_readdirplus_async(rpc, on_answer, &c->args.list, c);
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
