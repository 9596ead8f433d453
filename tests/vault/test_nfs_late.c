/* A disk or a store that hangs: what waits for it is told in time to come again, all else goes on,
 * and nothing that was told so lands when it lets go. */
#include "agent/base/sys_hold.h"
#include "tests/lib/nfs_raw.h"
#include "tests/vault/nfs_world.h"
#include <sched.h>

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

static void await_waiter(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (!gate->waiting)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
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

static enum nfsstat3 write_as(struct client *c, uint32_t xid, struct fh *fh, uint64_t offset,
                              char sign, uint32_t len, enum stable_how how)
{
    char bytes[RECORD];
    memset(bytes, sign, sizeof bytes);
    WRITE3args args = {
        .file = fh3(fh), .offset = offset, .count = len, .stable = how, .data = {len, bytes}};
    WRITE3res res;
    client_ok(c, NFS_CALL_AS(&c->nfs, xid, WRITE, &args, &res, &c->err));
    return res.status;
}

static char sign_at(struct client *c, struct fh *fh, uint64_t offset)
{
    char byte = 0;
    STATUS(do_read(c, fh, offset, &byte, 1, NULL, NULL), NFS3_OK);
    return byte;
}

static enum nfsstat3 remove_as(struct client *c, uint32_t xid, const char *name)
{
    REMOVE3args args = {.object = {fh3(&c->root), (char *)(uintptr_t)name}};
    REMOVE3res res;
    client_ok(c, NFS_CALL_AS(&c->nfs, xid, REMOVE, &args, &res, &c->err));
    return res.status;
}

static enum nfsstat3 do_fsstat(struct client *c)
{
    FSSTAT3args args = {fh3(&c->root)};
    FSSTAT3res res;
    client_ok(c, NFS_CALL(&c->nfs, FSSTAT, &args, &res, &c->err));
    return res.status;
}

static void other_volume_goes_on(struct client *c, struct fh *fh)
{
    char bytes[16];
    STATUS(do_getattr(c, fh, NULL), NFS3_OK);
    STATUS(do_read(c, fh, 0, bytes, sizeof bytes, NULL, NULL), NFS3_OK);
    STATUS(do_fsstat(c), NFS3_OK);
}

/* Each of what a held fsync keeps is told in time, and done when it comes again. */
Test(nfs_late, calls_that_a_sync_holds_are_told_to_come_again_and_the_others_go_on)
{
    struct nfs_world n;
    begin(&n, LATE_MS);
    world_ok(&n.w, vault_volume_create(n.w.vault, "other", &n.w.err));
    AUTO(client) struct client c;
    AUTO(client) struct client other;
    client_open(&c, n.port, "/v");
    client_open(&other, n.port, "/other");
    struct fh file = made_file(&c, &c.root, "file", 0600);
    struct fh theirs = made_file(&other, &other.root, "file", 0600);
    STATUS(write_as(&c, 0, &file, 0, 'a', RECORD, UNSTABLE), NFS3_OK);
    sys_hold(SYS_HOLD_SYNC, NULL);
    uint64_t before = clock_mono_ms();
    STATUS(do_commit(&c, &file, NULL), NFS3ERR_JUKEBOX);
    cr_assert_geq(clock_mono_ms() - before, LATE_MS);
    STATUS(write_as(&c, 0, &file, RECORD, 'b', RECORD, FILE_SYNC), NFS3ERR_JUKEBOX);
    STATUS(do_getattr(&c, &file, NULL), NFS3_OK);
    cr_assert_eq(sign_at(&c, &file, 0), 'a');
    STATUS(do_fsstat(&c), NFS3_OK);
    other_volume_goes_on(&other, &theirs);
    STATUS(write_as(&other, 0, &theirs, 0, 'o', RECORD, UNSTABLE), NFS3_OK);
    cr_assert_geq(sys_held(), 1);
    sys_hold(0, NULL);
    STATUS(do_commit(&c, &file, NULL), NFS3_OK);
    STATUS(write_as(&c, 0, &file, RECORD, 'b', RECORD, FILE_SYNC), NFS3_OK);
    cr_assert_eq(sign_at(&c, &file, RECORD), 'b');
    nfs_world_end(&n);
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

/* Until so many calls are held: who sends one knows by that that it has come so far. */
static void await_held(size_t count)
{
    while (sys_held() < count)
        IGNORE(sched_yield() != 0);
}

static void send_write(struct client *c, uint32_t xid, const struct fh *fh, enum stable_how how)
{
    uint8_t args[4 + HANDLE_BYTES + 20 + 8] = {0};
    uint8_t *at = args + 4;
    cr_assert_eq(fh->len, HANDLE_BYTES);
    raw_put(args, fh->len);
    memcpy(at, fh->bytes, fh->len);
    at += fh->len + 8;
    raw_put(at, 8);
    raw_put(at + 4, how);
    raw_put(at + 8, 8);
    memset(at + 12, 'f', 8); /* zeros would not go to the disk */
    client_ok(c,
              nfs_caller_send(&c->nfs, xid, NFS_PROGRAM, NFS3_WRITE, args, sizeof args, &c->err));
}

/* One WRITE has the volume's lock, the rest wait for that: each is told, and those whose turn comes
 * only then leave all as it is. */
Test(nfs_late, changes_whose_turn_comes_late_touch_nothing_and_neither_does_a_copy_of_theirs)
{
    enum { XID = 7000 };
    struct nfs_world n;
    struct nfs_caller_answer answer;
    begin(&n, LATE_MS);
    AUTO(client) struct client first;
    AUTO(client) struct client c;
    client_open(&first, n.port, "/v");
    client_open(&c, n.port, "/v");
    struct fh file = made_file(&c, &c.root, "file", 0600);
    struct fh gone = made_file(&c, &c.root, "gone", 0600);
    struct fh ids = made_file(&c, &c.root, "ids", 04777);
    struct fattr3 attr;
    STATUS(write_as(&c, 0, &file, 0, 'a', RECORD, FILE_SYNC), NFS3_OK);
    sys_hold(SYS_HOLD_WRITE, NULL);
    send_write(&first, XID, &gone, FILE_SYNC);
    await_held(1);
    STATUS(write_as(&c, XID + 1, &file, 0, 'b', RECORD, FILE_SYNC), NFS3ERR_JUKEBOX);
    STATUS(remove_as(&c, XID + 2, "gone"), NFS3ERR_JUKEBOX);
    client_as(&c, 5, 5);
    STATUS(write_as(&c, XID + 5, &ids, 0, 'b', RECORD, UNSTABLE), NFS3ERR_JUKEBOX);
    client_as(&c, 0, 0);
    client_ok(&first, nfs_caller_receive(&first.nfs, &answer, &first.err));
    cr_assert_eq(answer.xid, XID);
    cr_assert_eq(raw_get(answer.results), NFS3ERR_JUKEBOX, "it has begun; it may be done twice");
    sys_hold(0, NULL);
    STATUS(write_as(&first, XID + 1, &file, 0, 'b', RECORD, FILE_SYNC), NFS3ERR_JUKEBOX);
    STATUS(remove_as(&first, XID + 2, "gone"), NFS3ERR_JUKEBOX);
    cr_assert_eq(sign_at(&c, &file, 0), 'a');
    STATUS(do_getattr(&c, &gone, NULL), NFS3_OK);
    client_as(&first, 5, 5);
    STATUS(write_as(&first, XID + 5, &ids, 0, 'b', RECORD, UNSTABLE), NFS3ERR_JUKEBOX);
    STATUS(do_getattr(&c, &ids, &attr), NFS3_OK);
    cr_assert(attr.mode == 04777 && attr.size == 0);
    STATUS(write_as(&first, XID + 6, &ids, 0, 'b', RECORD, UNSTABLE), NFS3_OK);
    STATUS(do_getattr(&c, &ids, &attr), NFS3_OK);
    cr_assert(attr.mode == 0777 && attr.size == RECORD);
    STATUS(write_as(&c, XID + 3, &file, 0, 'b', RECORD, FILE_SYNC), NFS3_OK);
    cr_assert_eq(sign_at(&c, &file, 0), 'b');
    STATUS(remove_as(&c, XID + 4, "gone"), NFS3_OK);
    STATUS(remove_as(&c, XID + 4, "gone"), NFS3_OK);
    STATUS(do_getattr(&c, &gone, NULL), NFS3ERR_STALE);
    nfs_world_end(&n);
}

/* Asked again under another number it would find its own doing. */
Test(nfs_late, a_change_of_names_that_has_begun_is_answered_when_it_is_done)
{
    enum { XID = 7000 };
    struct nfs_world n;
    struct nfs_caller_answer answer;
    uint8_t args[4 + HANDLE_BYTES + 8];
    begin(&n, LATE_MS);
    AUTO(client) struct client c;
    AUTO(client) struct client other;
    client_open(&c, n.port, "/v");
    client_open(&other, n.port, "/v");
    struct fh file = made_file(&c, &c.root, "gone", 0600);
    STATUS(write_as(&other, 0, &file, 0, 'a', RECORD, UNSTABLE), NFS3_OK);
    raw_put(args, HANDLE_BYTES);
    memcpy(args + 4, c.root.bytes, HANDLE_BYTES);
    raw_put(args + 4 + HANDLE_BYTES, 4);
    memcpy(args + 4 + HANDLE_BYTES + 4, "gone", 4);
    sys_hold(SYS_HOLD_SYNC, NULL);
    client_ok(&c,
              nfs_caller_send(&c.nfs, XID, NFS_PROGRAM, NFS3_REMOVE, args, sizeof args, &c.err));
    await_held(1);
    STATUS(do_commit(&other, &file, NULL), NFS3ERR_STALE); /* it has gone from memory */
    cr_assert_not(raw_stirs(c.nfs.fd, 2 * LATE_MS));
    sys_hold(0, NULL);
    client_ok(&c, nfs_caller_receive(&c.nfs, &answer, &c.err));
    cr_assert(answer.xid == XID && raw_get(answer.results) == NFS3_OK);
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

/* Part of a record is written over what the store has of it: that is read before its turn. */
Test(nfs_late, a_write_that_was_called_off_does_not_land_behind_what_was_written_since)
{
    enum { XID = 7000, PART = 100 };
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct fh file;
    serve_cold(&n, LATE_MS);
    AUTO(client) struct client c;
    AUTO(client) struct client again;
    client_open(&c, n.port, "/v/k");
    client_open(&again, n.port, "/v/k");
    STATUS(do_lookup(&c, &c.root, "cold", &file, NULL), NFS3_OK);
    memory_io_hook(n.w.memory, wait_at, &gate);
    STATUS(write_as(&c, XID, &file, PART, 'x', PART, UNSTABLE), NFS3ERR_JUKEBOX);
    STATUS(write_as(&c, XID + 1, &file, 0, 'm', RECORD, UNSTABLE), NFS3_OK);
    STATUS(write_as(&c, XID + 2, &file, PART, 'x', PART, UNSTABLE), NFS3_OK);
    STATUS(write_as(&c, XID + 3, &file, 0, 'n', RECORD, FILE_SYNC), NFS3_OK);
    await_waiter(&gate);
    let_go(&gate);
    STATUS(write_as(&again, XID, &file, PART, 'x', PART, UNSTABLE), NFS3ERR_JUKEBOX);
    cr_assert_eq(sign_at(&c, &file, PART), 'n');
    nfs_world_end(&n);
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
/* Memory takes a WRITE at once, until it does not. */
Test(nfs_late, a_write_that_no_memory_takes_is_told_to_come_again)
{
    struct nfs_world n;
    begin(&n, LATE_MS);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh file = made_file(&c, &c.root, "file", 0600);
    STATUS(write_as(&c, 0, &file, 0, 'a', RECORD, UNSTABLE), NFS3_OK);
    sys_hold(SYS_HOLD_WRITE, NULL);
    STATUS(write_as(&c, 0, &file, 0, 'b', RECORD, UNSTABLE), NFS3ERR_JUKEBOX);
    STATUS(write_as(&c, 0, &file, RECORD, 'b', RECORD, UNSTABLE), NFS3ERR_JUKEBOX);
    STATUS(do_getattr(&c, &file, NULL), NFS3_OK);
    sys_hold(0, NULL);
    STATUS(write_as(&c, 0, &file, RECORD, 'b', RECORD, UNSTABLE), NFS3_OK);
    cr_assert_eq(sign_at(&c, &file, 0), 'b', "it had begun");
    nfs_world_end(&n);
}
