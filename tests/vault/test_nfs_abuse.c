/* The NFS port among enemies: each loses its own connection at most, others are served meanwhile,
 * memory stays within its bound. */
#include "tests/lib/random.h"
#include "tests/vault/nfs_port_world.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { STALL_MS = 300 };
static const uint32_t LAST = 0x80000000u;

/* What makes the server hang up: its first words, then as much more as asked. */
struct lie {
    const char *name;
    uint32_t words[12];
    size_t count;
};
static const struct lie lies[] = {
    {"a record longer than any", {0x80000000u | 0x7fffffff}, 1},
    {"a record a little too long", {0x80000000u | (RPC_RECORD_MAX + 4)}, 1},
    {"a fragment too long", {RPC_RECORD_MAX + 4}, 1},
    {"an empty record", {0x80000000u}, 1},
    {"an empty fragment", {0}, 1},
    {"a record of odd length", {0x80000000u | 6, 0, 0}, 3},
    {"a reply", {0x80000000u | 24, 7, 1, 0, 0, 0, 0}, 7},
    {"a reply that denies", {0x80000000u | 20, 7, 1, 1, 0, 2}, 6},
    {"no direction", {0x80000000u | 40, 7, 9, 2, 400000, 3, 0, 0, 0, 0, 0}, 11},
    {"a scrap of a call", {0x80000000u | 16, 7, 0, 2, 400000}, 5},
    {"one word", {0x80000000u | 4, 7}, 2},
    {"another protocol", {0x47455420, 0x2f204854}, 2}, /* "GET / HT" */
};

static void tell(int fd, const uint32_t *words, size_t count)
{
    uint8_t bytes[64];
    for (size_t i = 0; i < count; i++)
        raw_put(bytes + i * 4, words[i]);
    cr_assert(raw_send(fd, bytes, count * 4));
}

Test(nfs_abuse, a_lie_ends_its_connection_alone)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int good = join(&world);
    for (uint32_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        int fd = join(&world);
        cr_assert(answers(fd, i));
        tell(fd, lies[i].words, lies[i].count);
        cr_assert(raw_ended(fd), "%s", lies[i].name);
        close(fd);
        cr_assert(answers(good, i), "after %s", lies[i].name);
    }
    cr_assert_eq(nfsd_figures(world.nfsd).refused_lies, sizeof lies / sizeof *lies);
    close(good);
    world_end(&world);
}

Test(nfs_abuse, what_was_asked_before_a_lie_is_answered)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    uint8_t bytes[256];
    size_t len = raw_call(bytes, 1, ECHO_PROGRAM, ECHO_VERSION, ECHO_BACK, "true", 4);
    len += raw_call(bytes + len, 2, ECHO_PROGRAM, ECHO_VERSION, ECHO_SLOW, "slow", 4);
    raw_put(bytes + len, 0);
    cr_assert(raw_send(fd, bytes, len + 4));
    uint8_t reply[64];
    cr_assert_eq(raw_reply(fd, reply, sizeof reply), 28);
    cr_assert_eq(raw_reply(fd, reply, sizeof reply), 28);
    cr_assert(raw_ended(fd));
    close(fd);
    world_end(&world);
}

Test(nfs_abuse, endless_fragments_end_and_take_no_memory)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    for (int large = 0; large < 2; large++) {
        int fd = join(&world);
        size_t size = large ? 200000 : 1;
        uint8_t *fragment = calloc(1, 4 + size);
        raw_put(fragment, (uint32_t)size);
        int sent = 0;
        while (raw_send(fd, fragment, 4 + size)) /* EPIPE or a reset, once the server has seen it */
            cr_assert_leq(++sent, 1000000);
        cr_assert_leq(nfsd_figures(world.nfsd).buffer_bytes, 24 << 20);
        free(fragment);
        close(fd);
    }
    cr_assert_eq(nfsd_figures(world.nfsd).refused_lies, 2);
    world_end(&world);
}

Test(nfs_abuse, a_version_or_credentials_it_does_not_take_are_answered)
{
    static const uint32_t rows[][12] = {
        {0x80000000u | 40, 5, 0, 3, 400000, 3, 0, 0, 0, 0, 0},          /* RPC version 3 */
        {0x80000000u | 40, 5, 0, 2, 400000, 3, 0, 6, 0, 0, 0},          /* RPCSEC_GSS */
        {0x80000000u | 40, 5, 0, 2, 400000, 3, 0, 1, 0xffffffff, 0, 0}, /* lying length */
        {0x80000000u | 40, 5, 0, 2, 400000, 3, 0, 0, 0, 0, 0x7ffffffc}, /* the verifier's */
    };
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t reply[64];
        tell(fd, rows[i], 11);
        cr_assert_eq(raw_reply(fd, reply, sizeof reply), i ? 20 : 24);
        cr_assert_eq(raw_get(reply + 8), 1, "denied");
        cr_assert(answers(fd, (uint32_t)i));
    }
    close(fd);
    world_end(&world);
}

Test(nfs_abuse, resets_in_the_middle_of_replies_leave_nothing_behind)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    struct rnd rnd = rnd_begin("nfs_abuse");
    int good = join(&world);
    for (uint32_t i = 0; i < 100; i++) {
        int fd = join(&world);
        for (uint32_t call = 0; call < 12; call++)
            if (rnd_chance(&rnd, 70))
                ask_many(fd, call, (uint32_t)rnd_below(&rnd, RPC_DATA_MAX));
            else
                ask(fd, call, ECHO_SLOW, "slow", 4);
        uint8_t some[5000];
        cr_assert(raw_read(fd, some, 1 + rnd_below(&rnd, sizeof some)));
        raw_reset(fd);
        cr_assert(answers(good, i));
    }
    close(good);
    cr_assert(echo_await_gone(world.echo, 1));
    nfsd_stop(world.nfsd);
    world_start(&world);
    cr_assert_eq(nfsd_figures(world.nfsd).buffer_bytes, 0);
    world_end(&world);
}

Test(nfs_abuse, who_reads_no_replies_is_left)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){.stall_ms = STALL_MS});
    int fd = raw_connect(world.port, 4096);
    int good = join(&world);
    for (uint32_t i = 0; i < 40; i++)
        ask_many(fd, i, RPC_DATA_MAX);
    for (uint32_t i = 0; nfsd_figures(world.nfsd).stalled == 0; i++) {
        cr_assert(answers(good, i));
        cr_assert_leq(nfsd_figures(world.nfsd).buffer_bytes, 8 << 20);
        IGNORE(raw_stirs(good, 10));
        cr_assert_leq(i, 2000);
    }
    cr_assert(raw_ended(fd));
    close(fd);
    close(good);
    world_end(&world);
}

Test(nfs_abuse, who_is_cut_off_holds_up_no_call_and_no_other_client)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = raw_connect_as(world.port, 4096, 2);
    int other = join(&world);
    for (uint32_t i = 0; i < 8; i++)
        ask_many(fd, i, RPC_DATA_MAX); /* and reads none */
    cr_assert(raw_stirs(fd, 20000));   /* the first is on its way, and the connection full */
    const uint8_t address[16] = {[10] = 0xff, 0xff, 127, 0, 0, 2};
    uint64_t before = nfsd_figures(world.nfsd).connections;
    nfsd_cut(world.nfsd, address);
    cr_assert(echo_await_gone(world.echo, 1)); /* its thread has left its replies */
    cr_assert_eq(before, 2);
    cr_assert(answers(other, 1));
    cr_assert_eq(nfsd_figures(world.nfsd).stalled, 0);
    close(fd);
    close(other);
    world_end(&world);
}

Test(nfs_abuse, a_stalled_reader_does_not_keep_slow_calls_of_its_own_for_ever)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){.stall_ms = STALL_MS});
    int fd = raw_connect(world.port, 4096);
    for (uint32_t i = 0; i < 8; i++)
        ask(fd, i, ECHO_HELD, "held", 4);
    for (uint32_t i = 0; i < 40; i++)
        ask_many(fd, i, RPC_DATA_MAX);
    cr_assert(echo_await_held(world.echo, 8));
    echo_let_go(world.echo);
    cr_assert(echo_await_gone(world.echo, 1));
    cr_assert_eq(nfsd_figures(world.nfsd).stalled, 1);
    close(fd);
    world_end(&world);
}

Test(nfs_abuse, who_stops_in_a_record_or_says_nothing_or_drips_is_left)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){.stall_ms = STALL_MS});
    int silent = join(&world);
    int half = join(&world);
    int half_large = join(&world);
    int drip = join(&world);
    int good = join(&world);
    uint8_t bytes[8192] = {0};
    raw_put(bytes, LAST | 1000);
    cr_assert(raw_send(half, bytes, 500));
    raw_put(bytes, LAST | 900000);
    cr_assert(raw_send(half_large, bytes, sizeof bytes));
    cr_assert(answers(drip, 1));
    cr_assert(raw_send(drip, bytes, 4));
    for (uint32_t i = 0; !raw_stirs(drip, 5); i++) {
        IGNORE(raw_send(drip, "x", 1));
        cr_assert(answers(good, i));
        cr_assert_leq(i, 4000);
    }
    cr_assert(raw_ended(drip));
    cr_assert(raw_ended(half));
    cr_assert(raw_ended(half_large));
    cr_assert(raw_ended(silent));
    cr_assert(answers(good, 1));
    close(silent);
    close(half);
    close(half_large);
    close(drip);
    close(good);
    world_end(&world);
}

Test(nfs_abuse, a_good_connection_may_be_silent_for_longer_than_a_stall)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){.stall_ms = 50});
    int fd = join(&world);
    ask_many(fd, 1, 300000); /* large buffers are given back meanwhile */
    expect_many(fd, 1, 300000);
    cr_assert_not(raw_stirs(fd, 400));
    cr_assert(answers(fd, 2));
    close(fd);
    world_end(&world);
}

/* ---- those who may use nothing: 127.0.0.2 ---- */

static bool all_are_known;
static bool knows(void *arg, const struct nfsd_peer *peer)
{
    (void)arg;
    return all_are_known || peer->address[15] != 2;
}

static int join_as_stranger(const struct world *world)
{
    int fd = raw_connect_as(world->port, 0, 2);
    cr_assert(fd >= 0);
    return fd;
}

Test(nfs_abuse, a_stranger_is_answered_and_lent_no_memory)
{
    enum { LARGE = 8192, FITS = 4096 - RAW_HEAD };
    struct world world;
    uint8_t bytes[LARGE] = {0};
    all_are_known = false;
    world_begin(&world, (struct nfsd_options){.knows = knows});
    int fd = join_as_stranger(&world);
    ask(fd, 1, ECHO_BACK, bytes, FITS);
    expect(fd, 1, bytes, FITS);
    raw_put(bytes, LAST | LARGE);
    cr_assert(raw_send(fd, bytes, 4)); /* ended at its word: no byte of it is waited for */
    cr_assert(raw_ended(fd));
    cr_assert_eq(nfsd_figures(world.nfsd).refused_lies, 1);
    cr_assert_eq(nfsd_figures(world.nfsd).buffer_bytes, 0);
    close(fd);
    fd = join_as_stranger(&world);
    cr_assert(answers(fd, 2));
    all_are_known = true;
    nfsd_judge(world.nfsd);
    ask(fd, 3, ECHO_BACK, bytes, LARGE);
    expect(fd, 3, bytes, LARGE);
    close(fd);
    fd = join(&world);
    ask(fd, 6, ECHO_BACK, bytes, LARGE);
    expect(fd, 6, bytes, LARGE);
    close(fd);
    world_end(&world);
}

Test(nfs_abuse, an_idle_stranger_goes_and_an_idle_client_stays)
{
    struct world world;
    all_are_known = false;
    world_begin(&world, (struct nfsd_options){.knows = knows, .idle_ms = 50});
    int stranger = join_as_stranger(&world);
    int client = join(&world);
    cr_assert(answers(client, 1));
    cr_assert(answers(stranger, 1));
    cr_assert(raw_ended(stranger));
    cr_assert_not(raw_stirs(client, 100));
    cr_assert(answers(client, 2));
    close(stranger);
    close(client);
    world_end(&world);
}

Test(nfs_abuse, strangers_share_few_connections)
{
    enum { MAX = 24, SHARE = MAX / 8 };
    struct world world;
    int fds[MAX];
    all_are_known = false;
    world_begin(&world, (struct nfsd_options){.knows = knows, .connections_max = MAX});
    for (uint32_t i = 0; i < SHARE; i++) {
        fds[i] = join_as_stranger(&world);
        cr_assert(answers(fds[i], i));
    }
    int more = join_as_stranger(&world);
    cr_assert(raw_ended(more));
    cr_assert_eq(nfsd_figures(world.nfsd).refused_stranger, 1);
    close(more);
    for (uint32_t i = SHARE; i < MAX - 1; i++) {
        fds[i] = join(&world);
        cr_assert(answers(fds[i], i));
    }
    all_are_known = true;
    nfsd_judge(world.nfsd);
    fds[MAX - 1] = join_as_stranger(&world);
    cr_assert(answers(fds[MAX - 1], 1), "a client by now");
    for (int i = 0; i < MAX; i++)
        close(fds[i]);
    world_end(&world);
}

Test(nfs_abuse, half_records_of_one_client_take_its_share_alone)
{
    enum { MANY = 60 };
    struct world world;
    world_begin(&world, (struct nfsd_options){.buffer_bytes = 32 << 20});
    uint8_t bytes[8192] = {0};
    int fds[MANY];
    raw_put(bytes, LAST | 1000000);
    for (int i = 0; i < MANY; i++) {
        fds[i] = join(&world);
        cr_assert(raw_send(fds[i], bytes, sizeof bytes));
    }
    int other = raw_connect_as(world.port, 0, 2);
    cr_assert(other >= 0);
    uint8_t *large = calloc(1, RPC_DATA_MAX);
    for (uint32_t i = 0; i < 30; i++) {
        ask(other, i, ECHO_BACK, large, RPC_DATA_MAX);
        expect(other, i, large, RPC_DATA_MAX);
        cr_assert_leq(nfsd_figures(world.nfsd).buffer_bytes, 16 << 20);
    }
    free(large);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    close(other);
    world_end(&world);
}

static void *read_large(void *arg)
{
    const struct world *world = arg;
    int fd = join(world);
    for (uint32_t i = 0; i < 4; i++) {
        ask_many(fd, i, RPC_DATA_MAX);
        expect_many(fd, i, RPC_DATA_MAX);
    }
    close(fd);
    return NULL;
}

Test(nfs_abuse, memory_that_comes_back_is_waited_for)
{
    enum { MANY = 24 };
    struct world world;
    world_begin(&world, (struct nfsd_options){.buffer_bytes = 16 << 20}); /* three at a time */
    pthread_t threads[MANY];
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, read_large, &world), 0);
    for (int i = 0; i < MANY; i++)
        pthread_join(threads[i], NULL);
    world_end(&world);
}

static void *send_two(void *arg)
{
    const struct world *world = arg;
    static const uint8_t large[RPC_DATA_MAX];
    uint8_t reply[64];
    int fd = join(world);
    for (uint32_t i = 0; i < 2; i++)
        ask(fd, i, ECHO_TAKEN, large, sizeof large);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(raw_reply(fd, reply, sizeof reply), 24);
    close(fd);
    return NULL;
}

/* Each connection that is served waits for a second buffer beside the one its call lies in. */
Test(nfs_abuse, connections_whose_hands_are_full_do_not_wait_for_one_another)
{
    enum { MANY = 8, AT_ONCE = 3, ROUNDS = 5 };
    for (int round = 0; round < ROUNDS; round++) {
        struct world world;
        pthread_t threads[MANY];
        world_begin(&world, (struct nfsd_options){.buffer_bytes = 16 << 20});
        for (int i = 0; i < MANY; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, send_two, &world), 0);
        cr_assert(echo_await_held(world.echo, AT_ONCE));
        echo_let_go(world.echo);
        for (int i = 0; i < MANY; i++)
            pthread_join(threads[i], NULL);
        cr_assert_eq(nfsd_figures(world.nfsd).starved, 0);
        world_end(&world);
    }
}

Test(nfs_abuse, ten_thousand_connections_are_refused_and_one_is_served)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){.connections_max = 64, .client_connections_max = 32});
    int good = raw_connect_as(world.port, 0, 2);
    int fds[32];
    cr_assert(answers(good, 0));
    for (uint32_t i = 0; i < 32; i++) {
        fds[i] = join(&world);
        cr_assert(answers(fds[i], i));
    }
    for (uint32_t i = 0; i < 10000; i++) {
        int fd = join(&world);
        if (i % 100 == 0)
            cr_assert(raw_ended(fd) && answers(good, i));
        raw_reset(fd);
    }
    struct nfsd_figures figures = nfsd_figures(world.nfsd);
    cr_assert_eq(figures.connections, 33);
    cr_assert_eq(figures.threads, 33);
    cr_assert_geq(figures.refused_client, 9000); /* a reset may come before it is taken */
    cr_assert_eq(figures.buffer_bytes, 0);
    for (int i = 0; i < 32; i++)
        close(fds[i]);
    close(good);
    world_end(&world);
}

/* The server's process: few descriptors, until the pipe's other end closes. */
static void serve_poorly(int ready, int end)
{
    struct world world;
    struct rlimit few = {40, 40};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    world_begin(&world, (struct nfsd_options){0});
    cr_assert_eq(write(ready, &world.port, sizeof world.port), (ssize_t)sizeof world.port);
    char byte;
    IGNORE(read(end, &byte, 1) != 0);
    world_end(&world);
}

Test(nfs_abuse, out_of_descriptors_it_refuses_instead_of_letting_wait)
{
    int ready[2];
    int end[2];
    cr_assert(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        close(end[1]);
        serve_poorly(ready[1], end[0]);
        _exit(0);
    }
    close(end[0]);
    close(ready[1]);
    uint16_t port;
    cr_assert_eq(read(ready[0], &port, sizeof port), (ssize_t)sizeof port);
    int fds[80];
    int served = 0;
    for (uint32_t i = 0; i < 80; i++) {
        fds[i] = raw_connect(port, 0);
        cr_assert(fds[i] >= 0);
        served += answers(fds[i], i); /* or ended, in much less than the client's patience */
    }
    cr_assert(served >= 20 && served < 40, "%d", served);
    for (int i = 0; i < 80; i++)
        close(fds[i]);
    close(end[1]);
    close(ready[0]);
    int status;
    cr_assert(waitpid(child, &status, 0) == child && status == 0);
}

/* Random bytes, and random changes of good calls: whatever comes back, it is no crash and no hang.
 */
Test(nfs_abuse, noise_is_survived)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){.stall_ms = STALL_MS});
    struct rnd rnd = rnd_begin("nfs_noise");
    int good = join(&world);
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t bytes[2048];
        size_t len = 0;
        int fd = join(&world);
        while (len < 1000) {
            uint8_t args[200];
            for (size_t n = 0; n < sizeof args; n++)
                args[n] = (uint8_t)rnd_next(&rnd);
            len += raw_call(bytes + len, i, ECHO_PROGRAM, ECHO_VERSION,
                            (uint32_t)rnd_below(&rnd, ECHO_HELD), args, rnd_below(&rnd, 50) * 4);
        }
        for (uint64_t n = rnd_below(&rnd, 8); n > 0; n--)
            bytes[rnd_below(&rnd, len)] = (uint8_t)rnd_next(&rnd);
        IGNORE(raw_send(fd, bytes, len));
        if (rnd_chance(&rnd, 50))
            shutdown(fd, SHUT_WR);
        raw_reset(fd);
        cr_assert(i % 16 || answers(good, i));
    }
    close(good);
    world_end(&world);
}

/* Its processor time, once somebody could not be taken for a while. */
static void serve_without_room(int ready, int end)
{
    struct world world;
    struct rlimit none = {3, 3};
    struct timespec used;
    char byte;
    world_begin(&world, (struct nfsd_options){0});
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    cr_assert_eq(write(ready, &world.port, sizeof world.port), (ssize_t)sizeof world.port);
    IGNORE(read(end, &byte, 1) != 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    uint64_t us = (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
    cr_assert_eq(write(ready, &us, sizeof us), (ssize_t)sizeof us);
    world_end(&world);
}

Test(nfs_abuse, a_listener_that_cannot_accept_is_not_tried_without_a_pause)
{
    enum { WATCHED_MS = 500 };
    int ready[2], end[2];
    uint16_t port;
    uint64_t us = 0;
    cr_assert(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        close(end[1]);
        serve_without_room(ready[1], end[0]);
        _exit(0);
    }
    close(end[0]);
    close(ready[1]);
    cr_assert_eq(read(ready[0], &port, sizeof port), (ssize_t)sizeof port);
    int fd = raw_connect(port, 0);
    cr_assert_not(raw_stirs(fd, WATCHED_MS));
    close(end[1]);
    cr_assert_eq(read(ready[0], &us, sizeof us), (ssize_t)sizeof us);
    cr_expect_lt(us, WATCHED_MS * 1000 / 5, "%llu us", (unsigned long long)us);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    close(fd);
    close(ready[0]);
}
