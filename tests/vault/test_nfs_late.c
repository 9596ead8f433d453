/* A disk or a store that hangs: what waits for it is told in time to come again, and all else goes
 * on. */
#include "tests/lib/nfs_raw.h"
#include "tests/vault/nfs_world.h"

TestSuite(nfs_late, .timeout = 120);

enum { LATE_MS = 200, RECORD = 8192 };

/* Holds reads of the store up until it is let go. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned waiting;
    bool open;
};

static void wait_here(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static bool wait_at(void *arg, const struct memory_call *call, struct err *err)
{
    (void)err;
    if (call->op == MEMORY_READ)
        wait_here(arg);
    return true;
}

static void let_go(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void begin(struct nfs_world *n, uint64_t late_ms)
{
    nfs_world_begin(n);
    nfs_world_unserve(n);
    n->late_ms = late_ms;
    nfs_world_serve(n);
}

static enum nfsstat3 do_fsstat(struct client *c)
{
    FSSTAT3args args = {fh3(&c->root)};
    FSSTAT3res res;
    client_ok(c, NFS_CALL(&c->nfs, FSSTAT, &args, &res, &c->err));
    return res.status;
}

static struct gate space_gate = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};

static bool space_at_gate(void *tree, struct nfsd_space *ret, struct err *err)
{
    wait_here(&space_gate);
    return nfsd_vault_tree.space(tree, ret, err);
}

Test(nfs_late, a_question_for_space_that_the_store_holds_is_told_to_come_again)
{
    struct nfs_world n;
    begin(&n, LATE_MS);
    AUTO(client) struct client c;
    struct nfsd_tree_ops ops = nfsd_vault_tree;
    ops.space = space_at_gate;
    n.of.ops = &ops;
    client_open(&c, n.port, "/v");
    STATUS(do_fsstat(&c), NFS3ERR_JUKEBOX);
    STATUS(do_getattr(&c, &c.root, NULL), NFS3_OK);
    let_go(&space_gate);
    STATUS(do_fsstat(&c), NFS3_OK);
    nfs_world_end(&n);
}

/* ---- a store that hangs ---- */

/* A clone that shows what the store alone has: its file "cold", of records 'c'. */
static void serve_cold(struct nfs_world *n, uint64_t late_ms)
{
    enum { RECORDS = 4 };
    const struct view_attributes all = {.set_mode = true, .mode = 0666};
    struct err *err = &n->w.err;
    struct view_file file;
    char bytes[RECORD];
    nfs_world_begin(n);
    {
        AUTO(view) struct view *view = world_view(&n->w, "v", NULL, NULL);
        world_ok(&n->w, view_create(view, NULL, VIEW_ROOT, "cold", INODE_FILE, NULL, &all, &file,
                                    NULL, err));
        for (uint64_t i = 0; i < RECORDS; i++) {
            memset(bytes, 'c', sizeof bytes);
            memset(bytes + 512, (int)i, 512);
            world_ok(&n->w,
                     view_write(view, file.file, bytes, sizeof bytes, i * RECORD, true, NULL, err));
        }
    }
    world_ok(&n->w, vault_snapshot_create(n->w.vault, (const char *[]){"v"}, 1, "s", err));
    world_ok(&n->w, vault_seal(n->w.vault, "v", err));
    world_ok(&n->w, vault_clone_create(n->w.vault, "v", "k", "s", NULL, 0, err));
    nfs_world_unserve(n);
    world_reopen(&n->w);
    n->late_ms = late_ms;
    nfs_world_serve(n);
}

/* ---- many at once ---- */

/* Replies as they come: those that a store held say JUKEBOX. */
struct heard {
    unsigned jukebox;
    uint32_t xid; /* of the last that was something else */
};

static void hear(int fd, struct heard *heard)
{
    enum { STATUS_AT = 24 };
    uint8_t reply[256];
    size_t len = raw_reply(fd, reply, sizeof reply);
    cr_assert_geq(len, STATUS_AT + 4, "no reply");
    if (raw_get(reply + STATUS_AT) == NFS3ERR_JUKEBOX)
        heard->jukebox++;
    else
        heard->xid = raw_get(reply);
}

static void send_raw(int fd, uint32_t xid, uint32_t procedure, const struct fh *fh, uint32_t count)
{
    uint8_t args[4 + HANDLE_BYTES + 12] = {0};
    uint8_t call[RAW_HEAD + sizeof args];
    size_t len = 4 + HANDLE_BYTES + (count ? 12 : 0);
    raw_put(args, HANDLE_BYTES);
    memcpy(args + 4, fh->bytes, HANDLE_BYTES);
    raw_put(args + 4 + HANDLE_BYTES + 8, count);
    cr_assert(raw_send(fd, call, raw_call(call, xid, NFS_PROGRAM, 3, procedure, args, len)));
}

/* A GETATTR is answered, whatever else is heard before. */
static void is_heard(int fd, uint32_t xid, const struct fh *fh, struct heard *heard)
{
    send_raw(fd, xid, NFS3_GETATTR, fh, 0);
    while (heard->xid != xid)
        hear(fd, heard);
}

/* More than there is memory for, then more than may wait at all. */
Test(nfs_late, a_connection_with_hundreds_of_held_calls_goes_on_in_bounded_memory)
{
    enum { MANY = 200, MORE = 400, EACH = 20, OTHERS = 100000, MOST_THREADS = 560 };
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct heard heard = {0};
    struct fh file;
    uint8_t reply[256];
    serve_cold(&n, 1000);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v/k");
    STATUS(do_lookup(&c, &c.root, "cold", &file, NULL), NFS3_OK);
    memory_io_hook(n.w.memory, wait_at, &gate);
    int fd = raw_connect(n.port, 0);
    for (uint32_t i = 1; i <= MANY; i++) {
        send_raw(fd, i, NFS3_READ, &file, RECORD);
        if (i % EACH == 0)
            is_heard(fd, OTHERS + i, &file, &heard);
    }
    while (heard.jukebox < MANY) /* in time, though the gate is closed */
        hear(fd, &heard);
    for (uint32_t i = MANY + 1; i <= MANY + MORE; i++) {
        send_raw(fd, i, NFS3_READ, &file, RECORD);
        if (i % EACH == 0)
            is_heard(fd, OTHERS + i, &file, &heard);
    }
    while (heard.jukebox < MANY + MORE)
        hear(fd, &heard);
    is_heard(fd, 2 * OTHERS, &file, &heard);
    struct nfsd_figures figures = nfsd_figures(n.nfsd);
    cr_assert_leq(figures.threads, MOST_THREADS);
    cr_assert_leq(figures.buffer_bytes, 24 << 20);
    let_go(&gate);
    nfs_world_unserve(&n); /* every call has ended */
    cr_assert_eq(raw_reply(fd, reply, sizeof reply), 0, "an answer that nobody waits for");
    close(fd);
    world_end(&n.w);
}
