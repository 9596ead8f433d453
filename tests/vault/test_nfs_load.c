/* Many calls at once: who waits holds up nobody else, and a point in time is one. */
#include "tests/vault/nfs_world.h"

#include "tests/lib/random.h"
#include <stdatomic.h>

TestSuite(nfs_load);

enum { RECORD = 8192 };

/* ---- a store that answers when the test says so ---- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool closed;
    unsigned waiting;
    enum err_code fails;
};

static bool at_gate(void *arg, const struct memory_call *call, struct err *err)
{
    struct gate *gate = arg;
    if (call->op != MEMORY_READ)
        return true;
    pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    pthread_cond_broadcast(&gate->moved);
    while (gate->closed)
        pthread_cond_wait(&gate->moved, &gate->lock);
    gate->waiting--;
    enum err_code fails = gate->fails;
    pthread_mutex_unlock(&gate->lock);
    return fails == ERR_NONE || err_set(err, fails, "as the test wishes");
}

static void gate_set(struct gate *gate, bool closed)
{
    pthread_mutex_lock(&gate->lock);
    gate->closed = closed;
    pthread_cond_broadcast(&gate->moved);
    pthread_mutex_unlock(&gate->lock);
}

static void gate_wait(struct gate *gate, unsigned count)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->waiting < count)
        pthread_cond_wait(&gate->moved, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

/* A file of one sealed megabyte, of which nothing is in memory. */
static struct fh cold_file(struct nfs_world *n, struct gate *gate)
{
    AUTO(client) struct client c;
    client_open(&c, n->port, "/v");
    struct fh fh = made_file(&c, &c.root, "cold", 0600);
    AUTO(mem) uint8_t *bytes = own_alloc(1 << 20, &c.err);
    clock_random(bytes, 1 << 20);
    STATUS(do_write(&c, &fh, 0, bytes, 1 << 20, FILE_SYNC), NFS3_OK);
    world_ok(&n->w, vault_swap(n->w.vault, "v", NULL, &n->w.err));
    world_ok(&n->w, vault_seal(n->w.vault, "v", &n->w.err));
    nfs_world_unserve(n);
    world_reopen(&n->w);
    nfs_world_serve(n);
    memory_io_hook(n->w.memory, at_gate, gate);
    return fh;
}

static size_t encoded(void *to, size_t size, zdrproc_t encode, void *args)
{
    ZDR zdr;
    libnfs_zdrmem_create(&zdr, to, (uint32_t)size, ZDR_ENCODE);
    cr_assert(encode(&zdr, args));
    size_t len = libnfs_zdr_getpos(&zdr);
    libnfs_zdr_destroy(&zdr);
    return len;
}

Test(nfs_load, of_cold_reads_lets_others_of_the_same_connection_pass)
{
    enum { COLD = 5, WARM = 20 };
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    nfs_world_begin(&n);
    struct fh fh = cold_file(&n, &gate);
    gate.closed = true;
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    uint8_t args[256];
    for (uint32_t i = 0; i < COLD; i++) {
        READ3args read = {.file = fh3(&fh), .offset = (uint64_t)i * 2 * RECORD, .count = RECORD};
        size_t len = encoded(args, sizeof args, (zdrproc_t)zdr_READ3args, &read);
        client_ok(&c, nfs_caller_send(&c.nfs, i, NFS_PROGRAM, NFS3_READ, args, len, &c.err));
    }
    gate_wait(&gate, 1);
    GETATTR3args getattr = {fh3(&fh)};
    for (uint32_t i = 0; i < WARM; i++) {
        size_t len = encoded(args, sizeof args, (zdrproc_t)zdr_GETATTR3args, &getattr);
        struct nfs_caller_answer answer;
        client_ok(&c,
                  nfs_caller_send(&c.nfs, 100 + i, NFS_PROGRAM, NFS3_GETATTR, args, len, &c.err));
        client_ok(&c, nfs_caller_receive(&c.nfs, &answer, &c.err));
        cr_assert_eq(answer.xid, 100 + i, "call %u was answered first", answer.xid);
    }
    gate_set(&gate, false);
    unsigned seen = 0;
    for (uint32_t i = 0; i < COLD; i++) {
        struct nfs_caller_answer answer;
        client_ok(&c, nfs_caller_receive(&c.nfs, &answer, &c.err));
        cr_assert(answer.xid < COLD && answer.len > RECORD);
        seen |= 1U << answer.xid;
    }
    cr_assert_eq(seen, (1U << COLD) - 1);
    memory_io_hook(n.w.memory, NULL, NULL);
    nfs_world_end(&n);
}

struct part {
    struct nfs_world *n;
    struct fh fh;
    enum nfsstat3 status;
    uint64_t size; /* as the answer has it */
};

static void *write_part_of_a_record(void *arg)
{
    struct part *part = arg;
    AUTO(client) struct client c;
    client_open(&c, part->n->port, "/v");
    part->status = do_write(&c, &part->fh, (1 << 19) + 100, "part", 4, UNSTABLE);
    return NULL;
}

static void *cut_within_a_record(void *arg)
{
    struct part *part = arg;
    AUTO(client) struct client c;
    client_open(&c, part->n->port, "/v");
    sattr3 set = {.size = {1, {.size = (1 << 20) - 100}}};
    part->status = do_setattr(&c, &part->fh, &set, NULL);
    return NULL;
}

static void *write_part_again(void *arg)
{
    struct part *part = arg;
    AUTO(client) struct client c;
    client_open(&c, part->n->port, "/v");
    uint64_t far = (1 << 20) - 2; /* the end of the file moves */
    WRITE3args args = {
        .file = fh3(&part->fh), .offset = far, .count = 4, .data = {4, (char[]){"part"}}};
    WRITE3res res;
    client_ok(&c, NFS_CALL_AS(&c.nfs, 77, WRITE, &args, &res, &c.err));
    part->status = res.status;
    if (res.status == NFS3_OK)
        part->size = res.WRITE3res_u.resok.file_wcc.after.post_op_attr_u.attributes.size;
    return NULL;
}

Test(nfs_load, of_one_write_sent_twice_is_one_write_while_it_waits)
{
    enum { TWICE = 2 };
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    nfs_world_begin(&n);
    struct part parts[TWICE] = {{.n = &n, .fh = cold_file(&n, &gate)}};
    parts[1] = parts[0];
    pthread_t threads[TWICE];
    char back[4];
    gate.closed = true;
    for (int i = 0; i < TWICE; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, write_part_again, &parts[i]), 0);
        gate_wait(&gate, 1);
    }
    gate_set(&gate, false);
    for (int i = 0; i < TWICE; i++) {
        pthread_join(threads[i], NULL);
        STATUS(parts[i].status, NFS3_OK);
        cr_assert_eq(parts[i].size, (1 << 20) + 2);
    }
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    STATUS(do_read(&c, &parts[0].fh, (1 << 20) - 2, back, 4, NULL, NULL), NFS3_OK);
    cr_assert(memcmp(back, "part", 4) == 0);
    memory_io_hook(n.w.memory, NULL, NULL);
    nfs_world_end(&n);
}

Test(nfs_load, of_a_write_that_needs_the_store_holds_up_no_other_writer)
{
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    nfs_world_begin(&n);
    struct part part = {.n = &n, .fh = cold_file(&n, &gate)}, cut = part;
    pthread_t thread, cutting;
    char record[RECORD] = {0}, back[4];
    gate.closed = true;
    cr_assert_eq(pthread_create(&thread, NULL, write_part_of_a_record, &part), 0);
    cr_assert_eq(pthread_create(&cutting, NULL, cut_within_a_record, &cut), 0);
    gate_wait(&gate, 2);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    STATUS(do_write(&c, &part.fh, 0, record, RECORD, FILE_SYNC), NFS3_OK);
    made_file(&c, &c.root, "other", 0600);
    gate_set(&gate, false);
    pthread_join(thread, NULL);
    pthread_join(cutting, NULL);
    STATUS(part.status, NFS3_OK);
    STATUS(cut.status, NFS3_OK);
    STATUS(do_read(&c, &part.fh, (1 << 19) + 100, back, 4, NULL, NULL), NFS3_OK);
    cr_assert(memcmp(back, "part", 4) == 0);
    memory_io_hook(n.w.memory, NULL, NULL);
    nfs_world_end(&n);
}

Test(nfs_load, on_a_store_that_fails_is_told_as_what_it_is)
{
    struct nfs_world n;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    nfs_world_begin(&n);
    struct fh fh = cold_file(&n, &gate);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    const struct {
        enum err_code code;
        enum nfsstat3 status;
    } cases[] = {{ERR_UNAVAILABLE, NFS3ERR_JUKEBOX}, {ERR_TIMEOUT, NFS3ERR_JUKEBOX},
                 {ERR_NO_MEMORY, NFS3ERR_JUKEBOX},   {ERR_IO, NFS3ERR_IO},
                 {ERR_CORRUPT, NFS3ERR_IO},          {ERR_NONE, NFS3_OK}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gate.fails = cases[i].code;
        enum nfsstat3 got = do_read(&c, &fh, 1 << 19, NULL, RECORD, NULL, NULL);
        cr_assert_eq(got, cases[i].status, "%s is told as %d", err_code_name(cases[i].code), got);
    }
    memory_io_hook(n.w.memory, NULL, NULL);
    nfs_world_end(&n);
}

Test(nfs_load, beyond_what_the_box_holds_is_told_to_come_again_later)
{
    struct nfs_world n = {.of.rule.squash = EXPORT_SQUASH_NONE};
    world_begin_with(&n.w, &(struct vault_options){.seal_by_hand = true,
                                                   .layer_bytes = 1 << 20,
                                                   .frozen_bytes = 1 << 20,
                                                   .wait_ms = 200});
    world_ok(&n.w, export_nets_parse("127.0.0.1", &n.of.rule, &n.w.err));
    world_ok(&n.w, vault_volume_create(n.w.vault, "v", &n.w.err));
    nfs_world_serve(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0600);
    AUTO(mem) uint8_t *bytes = own_alloc(1 << 20, &c.err);
    enum nfsstat3 status = NFS3_OK;
    uint64_t offset = 0;
    for (int i = 0; i < 64 && status == NFS3_OK; i++, offset += 1 << 20)
        status = do_write(&c, &fh, offset, bytes, 1 << 20, UNSTABLE);
    STATUS(status, NFS3ERR_JUKEBOX);
    STATUS(do_read(&c, &fh, 0, NULL, RECORD, NULL, NULL), NFS3_OK);
    world_ok(&n.w, vault_seal(n.w.vault, "v", &n.w.err));
    STATUS(do_write(&c, &fh, offset, bytes, 1 << 20, UNSTABLE), NFS3_OK);
    nfs_world_end(&n);
}

/* ---- a point in time ---- */

enum { WRITERS = 4, SNAPSHOTS = 6, SLOTS = 64 };

/* Each writer writes numbers one after the other, each to the slot after the last. */
struct writer {
    struct nfs_world *n;
    int index;
    atomic_bool *stop;
    atomic_uint_least64_t sent, acknowledged;
};

static void *write_numbers(void *arg)
{
    struct writer *w = arg;
    AUTO(client) struct client c;
    client_open(&c, w->n->port, "/v");
    char name[16];
    str_format(name, sizeof name, "w%d", w->index);
    struct fh fh = made_file(&c, &c.root, name, 0600);
    uint64_t record[RECORD / sizeof(uint64_t)] = {0};
    for (uint64_t number = 1; !atomic_load(w->stop); number++) {
        record[0] = record[RECORD / sizeof(uint64_t) - 1] = number;
        atomic_store(&w->sent, number);
        STATUS(do_write(&c, &fh, number % SLOTS * RECORD, record, RECORD,
                        (enum stable_how)(number % 3)),
               NFS3_OK);
        atomic_store(&w->acknowledged, number);
    }
    return NULL;
}

/* The highest number in a file; all lower ones are where they belong. */
static uint64_t highest(struct client *c, int index)
{
    static uint64_t bytes[SLOTS * RECORD / sizeof(uint64_t)];
    const size_t words = RECORD / sizeof(uint64_t);
    char name[16];
    struct fh fh;
    uint32_t len = 0;
    uint64_t most = 0;
    str_format(name, sizeof name, "w%d", index);
    if (do_lookup(c, &c->root, name, &fh, NULL) != NFS3_OK)
        return 0;
    memset(bytes, 0, sizeof bytes);
    STATUS(do_read(c, &fh, 0, bytes, sizeof bytes, &len, NULL), NFS3_OK);
    for (size_t i = 0; i < SLOTS; i++)
        most = bytes[i * words] > most ? bytes[i * words] : most;
    for (size_t i = 0; i < SLOTS; i++) {
        uint64_t wanted = most < SLOTS && i > most % SLOTS ? 0 : most - (most + SLOTS - i) % SLOTS;
        cr_assert_eq(bytes[i * words], wanted, "slot %zu of %d holds %llu, not %llu", i, index,
                     (unsigned long long)bytes[i * words], (unsigned long long)wanted);
        cr_assert_eq(bytes[i * words + words - 1], wanted, "a torn record");
    }
    return most;
}

Test(nfs_load, is_cut_by_a_snapshot_at_one_point_that_holds_what_was_acknowledged)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    atomic_bool stop = false;
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    uint64_t before[SNAPSHOTS][WRITERS], after[SNAPSHOTS][WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.n = &n, .index = i, .stop = &stop};
        cr_assert_eq(pthread_create(&threads[i], NULL, write_numbers, &writers[i]), 0);
    }
    for (int s = 0; s < SNAPSHOTS; s++) {
        char name[16];
        uint64_t goal = atomic_load(&writers[0].acknowledged) + 50;
        while (atomic_load(&writers[0].acknowledged) < goal)
            sched_yield();
        str_format(name, sizeof name, "s%d", s);
        for (int i = 0; i < WRITERS; i++)
            before[s][i] = atomic_load(&writers[i].acknowledged);
        world_snapshot(&n.w, "v", name);
        for (int i = 0; i < WRITERS; i++)
            after[s][i] = atomic_load(&writers[i].sent);
        world_ok(&n.w, vault_clone_create(n.w.vault, "v", name, name, NULL, 0, &n.w.err));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (int turn = 0; turn < 2; turn++) {
        for (int s = 0; s < SNAPSHOTS; s++) {
            char path[32];
            str_format(path, sizeof path, "/v/s%d", s);
            AUTO(client) struct client c;
            client_open(&c, n.port, path);
            for (int i = 0; i < WRITERS; i++) {
                uint64_t most = highest(&c, i);
                cr_assert(before[s][i] <= most && most <= after[s][i],
                          "snapshot %d has writer %d at %llu, not %llu..%llu", s, i,
                          (unsigned long long)most, (unsigned long long)before[s][i],
                          (unsigned long long)after[s][i]);
            }
        }
        world_ok(&n.w, vault_seal(n.w.vault, "v", &n.w.err)); /* the same, out of the store */
    }
    nfs_world_end(&n);
}
