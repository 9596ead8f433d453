/* Connections of Direct NFS: several to a server; each call is sent again, under the same
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

void dnfs_answer(struct rpc_context *rpc, int status, void *data, void *arg)
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

/* ---- mounting ---- */

struct mnt {
    int state;  /* of the connection, then of the call: 0 under way, 1 done, -1 failed */
    int status; /* mountstat3 */
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
    fhandle3 fh;

    (void)rpc;
    m->state = -1;
    if (status != RPC_STATUS_SUCCESS)
        return;
    m->status = (int)r->fhs_status;
    m->state = 1;
    if (r->fhs_status != MNT3_OK)
        return;
    fh = r->mountres3_u.mountinfo.fhandle;
    if (fh.fhandle3_len > sizeof m->root.data) {
        m->state = -1;
        return;
    }
    m->root.len = fh.fhandle3_len;
    memcpy(m->root.data, fh.fhandle3_val, fh.fhandle3_len);
}

static bool mnt_step(struct rpc_context *rpc, struct mnt *m, int wait_ms)
{
    int64_t end = now_ms() + wait_ms;

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
         mnt_step(rpc, out, DNFS_TIMEO_MS);
    if (ok) {
        out->state = 0;
        ok = rpc_mount3_mnt_async(rpc, on_mounted, (char *)m->export, out) == 0 &&
             mnt_step(rpc, out, DNFS_TIMEO_MS);
    }
    if (!ok && rpc_get_error(rpc))
        copy_text(s->why, sizeof s->why, rpc_get_error(rpc));
    rpc_destroy_context(rpc);
    return ok;
}

static void on_unmounted(struct rpc_context *rpc, int status, void *data, void *arg)
{
    struct mnt *m = arg;

    (void)rpc;
    (void)status;
    (void)data;
    m->state = -1;
}

void dnfs_umnt(struct dnfs_mount *m)
{
    enum { WAIT_MS = 2000 };
    struct rpc_context *rpc = rpc_init_context();
    struct mnt out = {0};

    if (!rpc)
        die("out of memory");
    if (connect_to(rpc, m->server->path[0], m->server->mount_port, MOUNT_PROGRAM,
                   on_mount_connected, &out) == 0 &&
        mnt_step(rpc, &out, WAIT_MS)) {
        out.state = 0;
        if (rpc_mount3_umnt_async(rpc, on_unmounted, m->export, &out) == 0)
            mnt_step(rpc, &out, WAIT_MS);
    }
    rpc_destroy_context(rpc);
}

/* A server keeps a list of who uses what; who leaves in peace says so, once. */
static void umnt_all(void)
{
    struct dnfs_mount *m;

    for (int i = 0; (m = oranfstab_nth(i)); i++)
        if (m->mounted)
            dnfs_umnt(m);
}

bool dnfs_mnt(struct dnfs_mount *m)
{
    static bool known;
    int64_t end = now_ms() + (int64_t)m->server->patience_s * 1000;
    struct mnt got;

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
        errno = got.status <= ENOTDIR ? got.status : EIO;
        return false;
    }
    m->root = got.root;
    if (!known)
        known = atexit(umnt_all) == 0;
    return true;
}
