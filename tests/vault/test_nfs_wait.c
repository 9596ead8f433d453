/* A call that waits for the store holds up no other call of its connection, and its own reply comes
 * when the store has answered. */
#include "tests/lib/nfs_raw.h"
#include "tests/vault/nfs_world.h"

enum { BYTES = 65536, CALL_NULL = 0, CALL_READ = 6 };

/* Holds reads of the store up until it is let go. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned waiting;
    bool open;
};

static bool wait_at(void *arg, const struct memory_call *call, struct err *err)
{
    struct gate *gate = arg;
    (void)err;
    if (call->op != MEMORY_READ)
        return true;
    pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    return true;
}

static void await_reader(struct gate *gate)
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

static uint64_t fill(struct nfs_world *n, const char *name, char sign, uint64_t *ret_volume,
                     uint32_t *ret_generation)
{
    const struct view_attributes all = {.set_mode = true, .mode = 0666};
    struct view_file file;
    char bytes[BYTES];
    AUTO(view) struct view *view = world_view(&n->w, "v", NULL, NULL);
    memset(bytes, sign, sizeof bytes);
    for (size_t i = 0; i < BYTES; i += 8) /* no pattern: it is stored */
        bytes[i] = (char)(i * 31 / 8);
    world_ok(&n->w, view_create(view, NULL, VIEW_ROOT, name, INODE_FILE, NULL, &all, &file, NULL,
                                &n->w.err));
    world_ok(&n->w, view_write(view, file.file, bytes, sizeof bytes, 0, true, NULL, &n->w.err));
    *ret_volume = view_volume_id(view);
    *ret_generation = file.generation;
    return file.file;
}

static void send_read(int fd, uint32_t xid, uint64_t volume, uint64_t file, uint32_t generation)
{
    uint8_t args[4 + HANDLE_BYTES + 12] = {0};
    uint8_t call[RAW_HEAD + sizeof args];
    const struct handle handle = {volume, file, generation};
    raw_put(args, HANDLE_BYTES);
    handle_encode(&handle, args + 4);
    raw_put(args + 4 + HANDLE_BYTES + 8, BYTES);
    cr_assert(
        raw_send(fd, call, raw_call(call, xid, NFS_PROGRAM, 3, CALL_READ, args, sizeof args)));
}

/* The next reply's xid; a READ's has the bytes with that sign. */
static uint32_t take_reply(int fd, char sign)
{
    enum { DATA_AT = 24 + 4 + 4 + 84 + 12 };
    static uint8_t reply[BYTES + 1000];
    size_t len = raw_reply(fd, reply, sizeof reply);
    cr_assert_geq(len, 24, "no reply");
    if (len > 24) {
        cr_assert_eq(raw_get(reply + 24), 0);
        cr_assert_eq(len, DATA_AT + BYTES);
        cr_assert_eq(reply[DATA_AT + 5], (uint8_t)sign);
    }
    return raw_get(reply);
}

/* A file that only the store has, shown by a clone, and one that is in memory. */
struct shown {
    uint64_t volume, file;
    uint32_t generation;
};

static void serve_cold(struct nfs_world *n, struct shown *ret_cold, struct shown *ret_warm)
{
    struct err *err = &n->w.err;
    ret_cold->file = fill(n, "cold", 'c', &ret_cold->volume, &ret_cold->generation);
    world_ok(&n->w, vault_snapshot_create(n->w.vault, (const char *[]){"v"}, 1, "s", err));
    world_ok(&n->w, vault_seal(n->w.vault, "v", err));
    world_ok(&n->w, vault_clone_create(n->w.vault, "v", "k", "s", NULL, 0, err));
    ret_warm->file = fill(n, "warm", 'w', &ret_warm->volume, &ret_warm->generation);
    nfs_world_unserve(n);
    world_reopen(&n->w); /* nothing of the store is in memory */
    nfs_world_serve(n);
    AUTO(view) struct view *view = view_open(n->w.vault, "v", NULL, "k", err);
    struct view_file file;
    world_ok(&n->w, view && view_lookup(view, VIEW_ROOT, "cold", &file, err));
    *ret_cold = (struct shown){view_volume_id(view), file.file, file.generation};
}

static void ask(int fd, uint32_t xid, const struct shown *at)
{
    send_read(fd, xid, at->volume, at->file, at->generation);
}

Test(nfs_wait, a_read_that_waits_for_the_store_holds_up_no_other_call)
{
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct shown cold, warm;
    nfs_world_begin(&n);
    serve_cold(&n, &cold, &warm);
    int fd = raw_connect(n.port, 0);
    ask(fd, 1, &warm);
    cr_assert_eq(take_reply(fd, 'w'), 1);
    memory_io_hook(n.w.memory, wait_at, &gate);
    uint8_t call[RAW_HEAD];
    ask(fd, 2, &warm);
    ask(fd, 3, &cold);
    await_reader(&gate);
    ask(fd, 4, &cold); /* waits with it */
    ask(fd, 5, &warm);
    cr_assert(raw_send(fd, call, raw_call(call, 6, NFS_PROGRAM, 3, CALL_NULL, NULL, 0)));
    cr_assert_eq(take_reply(fd, 'w'), 2, "what was answered before goes out at once");
    cr_assert_eq(take_reply(fd, 'w'), 5);
    cr_assert_eq(take_reply(fd, 'w'), 6);
    let_go(&gate);
    cr_assert_eq(take_reply(fd, 'c') + take_reply(fd, 'c'), 3 + 4);
    close(fd);
    nfs_world_end(&n);
}

/* Never a hang: the client is told to come again, once, and what comes at last is nobody's. */
Test(nfs_wait, a_read_that_waits_too_long_is_told_to_come_again)
{
    enum { ROUNDS = 20, STATUS_AT = 24 };
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct shown cold, warm;
    uint8_t reply[256];
    nfs_world_begin(&n);
    n.late_ms = 100;
    serve_cold(&n, &cold, &warm);
    memory_io_hook(n.w.memory, wait_at, &gate);
    int fd = raw_connect(n.port, 0);
    uint64_t begin = clock_mono_ms();
    for (uint32_t xid = 1; xid <= ROUNDS; xid++) { /* more than wait for the store at once */
        ask(fd, xid, &cold);
        ask(fd, 1000 + xid, &warm);
        uint32_t late = 0;
        uint32_t warmed = 0;
        while (!late || !warmed) {
            static uint8_t large[BYTES + 1000];
            size_t len = raw_reply(fd, large, sizeof large);
            cr_assert_geq(len, STATUS_AT + 4, "no reply");
            *(raw_get(large) > 1000 ? &warmed : &late) = raw_get(large);
            if (raw_get(large) > 1000)
                continue;
            cr_assert_eq(raw_get(large + STATUS_AT), NFS3ERR_JUKEBOX);
            cr_assert_eq(len, STATUS_AT + 8, "a status, and no attributes");
        }
        cr_assert_eq(late, xid);
        cr_assert_eq(warmed, 1000 + xid);
    }
    cr_assert_geq(clock_mono_ms() - begin, ROUNDS * 100);
    let_go(&gate);
    ask(fd, 99, &cold);
    cr_assert_eq(take_reply(fd, 'c'), 99, "no late reply comes twice");
    nfs_world_unserve(&n); /* every call has ended */
    cr_assert_eq(raw_reply(fd, reply, sizeof reply), 0, "an answer that nobody waits for");
    close(fd);
    world_end(&n.w);
}
