/* The NFS port: calls are answered whole and in any number, slow ones hold up no others, limits
 * refuse, an end lets go out what is under way. */
#include "agent/base/own.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/vault/nfs_port_world.h"
#include <errno.h>
#include <pthread.h>

Test(nfs_server, answers_what_is_asked)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    ask(fd, 7, ECHO_NULL, NULL, 0);
    expect(fd, 7, NULL, 0);
    ask(fd, 8, ECHO_BACK, "four", 4);
    expect(fd, 8, "four", 4);
    ask(fd, 9, ECHO_SILENT, NULL, 0);
    ask(fd, 10, ECHO_SLOW, "slow", 4);
    expect(fd, 10, "slow", 4);
    close(fd);
    cr_assert(echo_await_gone(world.echo, 1));
    struct nfsd_figures figures = nfsd_figures(world.nfsd);
    cr_assert_eq(figures.calls, 4);
    cr_assert_eq(figures.bytes_in, 4 * RAW_HEAD + 8);
    cr_assert_eq(figures.bytes_out, 3 * RPC_HEAD_BYTES + 8);
    world_end(&world);
}

Test(nfs_server, says_what_it_does_not_have)
{
    const struct {
        uint32_t program, version, procedure, accept, low, high;
    } rows[] = {
        {ECHO_PROGRAM + 1, ECHO_VERSION, 0, RPC_PROG_UNAVAIL, 0, 0},
        {ECHO_PROGRAM, 2, 0, RPC_PROG_MISMATCH, 3, 3},
        {ECHO_PROGRAM, 4, 0, RPC_PROG_MISMATCH, 3, 3},
        {ECHO_PROGRAM, ECHO_VERSION, ECHO_PROCEDURES, RPC_PROC_UNAVAIL, 0, 0},
        {ECHO_PROGRAM, ECHO_VERSION, UINT32_MAX, RPC_PROC_UNAVAIL, 0, 0},
        {ECHO_PROGRAM, ECHO_VERSION, ECHO_MANY, RPC_GARBAGE_ARGS, 0, 0},
    };
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t call[64];
        uint8_t reply[64];
        cr_assert(raw_send(
            fd, call,
            raw_call(call, i, rows[i].program, rows[i].version, rows[i].procedure, NULL, 0)));
        bool mismatch = rows[i].accept == RPC_PROG_MISMATCH;
        cr_assert_eq(raw_reply(fd, reply, sizeof reply), mismatch ? 32 : 24);
        cr_assert_eq(raw_get(reply), i);
        cr_assert_eq(raw_get(reply + 20), rows[i].accept);
        cr_assert(!mismatch ||
                  (raw_get(reply + 24) == rows[i].low && raw_get(reply + 28) == rows[i].high));
    }
    close(fd);
    world_end(&world);
}

Test(nfs_server, answers_records_of_every_size_in_one_stream)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    static const uint32_t sizes[] = {0,     4,      400,    4000,    4052,    4056,    4060,
                                     4096,  8192,   8196,   32768,   65536,   131000,  131072,
                                     65536, 262144, 524288, 1048576, 1048700, 1056728, 4};
    uint8_t *bytes = malloc(RPC_RECORD_MAX);
    for (size_t i = 0; i < RPC_RECORD_MAX; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 4096);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            ask(fd, i, round ? ECHO_SLOW : ECHO_BACK, bytes, sizes[i]);
            expect(fd, i, bytes, sizes[i]);
        }
    free(bytes);
    close(fd);
    world_end(&world);
}

Test(nfs_server, answers_a_pipeline_in_any_order_but_each_whole)
{
    enum { CALLS = 400 };
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    uint8_t *calls = malloc(CALLS * (RAW_HEAD + 9000));
    size_t len = 0;
    for (uint32_t i = 0; i < CALLS; i++) {
        uint8_t args[9000];
        size_t size = i % 7 == 3 ? 8192 : i % 5 * 4;
        memset(args, (int)i, sizeof args);
        len += raw_call(calls + len, i, ECHO_PROGRAM, ECHO_VERSION,
                        i % 3 == 1 ? ECHO_SLOW : ECHO_BACK, args, size);
    }
    cr_assert(raw_send(fd, calls, len));
    bool seen[CALLS] = {0};
    for (uint32_t i = 0; i < CALLS; i++) {
        uint8_t reply[9000];
        size_t got = raw_reply(fd, reply, sizeof reply);
        cr_assert_geq(got, 24);
        uint32_t xid = raw_get(reply);
        cr_assert(xid < CALLS && !seen[xid]);
        seen[xid] = true;
        cr_assert_eq(got - 24, xid % 7 == 3 ? 8192 : xid % 5 * 4);
        for (size_t at = 24; at < got; at++)
            cr_assert_eq(reply[at], (uint8_t)xid);
    }
    free(calls);
    close(fd);
    world_end(&world);
}

Test(nfs_server, a_slow_call_holds_up_no_other_and_no_reply_before_it)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    uint8_t calls[512];
    size_t len = raw_call(calls, 1, ECHO_PROGRAM, ECHO_VERSION, ECHO_BACK, "one.", 4);
    len += raw_call(calls + len, 2, ECHO_PROGRAM, ECHO_VERSION, ECHO_HELD, "two.", 4);
    len += raw_call(calls + len, 3, ECHO_PROGRAM, ECHO_VERSION, ECHO_BACK, "three...", 8);
    cr_assert(raw_send(fd, calls, len));
    expect(fd, 1, "one.", 4);
    expect(fd, 3, "three...", 8);
    for (uint32_t i = 10; i < 20; i++) { /* the room its arguments lie in is not used anew */
        ask_many(fd, i, 300000);
        expect_many(fd, i, 300000);
        ask(fd, i, ECHO_BACK, "sixteen bytes of", 16);
        expect(fd, i, "sixteen bytes of", 16);
    }
    echo_let_go(world.echo);
    expect(fd, 2, "two.", 4);
    close(fd);
    world_end(&world);
}

Test(nfs_server, lets_a_bounded_number_of_calls_wait_and_goes_on_with_the_rest)
{
    enum { WAIT = 4, ASKED = 10 };
    struct world world;
    uint8_t reply[64];
    world_begin(&world, (struct nfsd_options){.slow_max = 2 * WAIT});
    int fd = join(&world);
    int other = raw_connect_as(world.port, 0, 2);
    for (uint32_t i = 0; i < WAIT; i++)
        ask(fd, i, ECHO_HELD, "wait", 4);
    cr_assert(echo_await_held(world.echo, WAIT));
    for (uint32_t i = WAIT; i < ASKED; i++) {
        ask(fd, i, ECHO_HELD, "wait", 4);
        cr_assert_eq(raw_reply(fd, reply, sizeof reply), 24);
        cr_assert(raw_get(reply) == i && raw_get(reply + 20) == RPC_SYSTEM_ERR);
        ask(fd, 100 + i, ECHO_SLOW, "slow", 4); /* what asks for no room has some */
        expect(fd, 100 + i, "slow", 4);
    }
    ask(other, 7, ECHO_HELD, "more", 4); /* another client has room of its own */
    cr_assert(echo_await_held(world.echo, WAIT + 1));
    echo_let_go(world.echo);
    expect(other, 7, "more", 4);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < WAIT; i++) {
        cr_assert_eq(raw_reply(fd, reply, sizeof reply), 28);
        sum += raw_get(reply);
    }
    cr_assert_eq(sum, 0 + 1 + 2 + 3);
    close(fd);
    close(other);
    world_end(&world);
}

Test(nfs_server, refuses_connections_above_its_limits_and_takes_new_ones_when_others_have_gone)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){.connections_max = 8});
    int fds[8];
    for (uint32_t i = 0; i < 8; i++) {
        fds[i] = join(&world);
        cr_assert(answers(fds[i], i));
    }
    int ninth = join(&world);
    cr_assert(raw_ended(ninth));
    cr_assert_eq(nfsd_figures(world.nfsd).refused_full, 1);
    close(ninth);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    cr_assert(echo_await_gone(world.echo, 1));
    int fd = -1;
    for (uint32_t i = 0; i < 1000; i++) { /* the last one may still be closing */
        fd = join(&world);
        if (answers(fd, i))
            break;
        close(fd);
        fd = -1;
    }
    cr_assert(fd >= 0);
    close(fd);
    world_end(&world);
}

static void *stop(void *arg)
{
    nfsd_stop(arg);
    return NULL;
}

Test(nfs_server, an_end_answers_what_is_under_way)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    int fd = join(&world);
    int idle = join(&world);
    cr_assert(answers(idle, 1));
    ask(fd, 5, ECHO_HELD, "late", 4);
    cr_assert(echo_await_held(world.echo, 1));
    pthread_t stopper;
    cr_assert_eq(pthread_create(&stopper, NULL, stop, world.nfsd), 0);
    cr_assert(raw_ended(idle)); /* it is under way */
    echo_let_go(world.echo);
    expect(fd, 5, "late", 4);
    cr_assert_eq(pthread_join(stopper, NULL), 0);
    world.nfsd = NULL;
    cr_assert(raw_ended(fd));
    close(fd);
    close(idle);
    world_end(&world);
}

Test(nfs_server, a_restart_gets_its_port_back_at_once)
{
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    world.options.port = world.port;
    for (uint32_t i = 0; i < 3; i++) {
        int fd = join(&world);
        cr_assert(answers(fd, i));
        nfsd_stop(world.nfsd); /* closes first, so TIME_WAIT is the server's */
        close(fd);
        world_start(&world);
        cr_assert_eq(world.port, world.options.port);
    }
    world_end(&world);
}

Test(nfs_server, listens_on_both_families_with_one_port)
{
    static const char *const both[] = {"0.0.0.0", "::"};
    struct world world;
    world_begin(&world, (struct nfsd_options){.listen = both, .listen_count = 2});
    int fd = join(&world);
    cr_assert(answers(fd, 1));
    close(fd);
    struct err err = {0};
    static const char *const four[] = {"127.0.0.1"};
    struct nfsd_options second = {.listen = four, .listen_count = 1, .port = world.port};
    cr_assert_null(nfsd_start(&second, &err));
    cr_assert(strstr(err.text, "127.0.0.1"), "%s", err.text);
    static const char *const name[] = {"localhost"};
    second.listen = name;
    err_clear(&err);
    cr_assert_null(nfsd_start(&second, &err));
    cr_assert_eq(err.code, ERR_CONFIG);
    world_end(&world);
}

Test(nfs_server, listens_on_as_many_addresses_as_it_says)
{
    char text[NFSD_LISTEN_MAX + 1][16];
    const char *addresses[NFSD_LISTEN_MAX + 1];
    struct world world;
    struct err err = {0};
    for (int i = 0; i <= NFSD_LISTEN_MAX; i++) {
        str_format(text[i], sizeof text[i], "127.0.0.%d", i + 1);
        addresses[i] = text[i];
    }
    world_begin(&world,
                (struct nfsd_options){.listen = addresses, .listen_count = NFSD_LISTEN_MAX});
    int fd = join(&world);
    cr_assert(answers(fd, 1));
    close(fd);
    struct nfsd_options more = world.options;
    more.listen_count++;
    cr_assert_null(nfsd_start(&more, &err));
    cr_assert_eq(err.code, ERR_CONFIG);
    world_end(&world);
}

/* Some calls of every kind, as far as they get. */
static void try_calls(const struct world *world)
{
    static uint8_t call[RAW_HEAD + 200000];
    static uint8_t reply[400000];
    uint8_t size[4];
    raw_put(size, 300000);
    int fd = raw_connect(world->port, 0);
    const struct {
        uint32_t procedure;
        const void *args;
        size_t len;
    } rows[] = {{ECHO_NULL, NULL, 0},
                {ECHO_MANY, size, 4},
                {ECHO_SLOW, "slow", 4},
                {ECHO_BACK, call, 200000},
                {ECHO_SLOW, call, 9000}};
    for (uint32_t i = 0; fd >= 0 && i < sizeof rows / sizeof *rows; i++) {
        size_t len = raw_call(call, i, ECHO_PROGRAM, ECHO_VERSION, rows[i].procedure, NULL, 0);
        raw_put(call, 0x80000000u | (uint32_t)(len - 4 + rows[i].len));
        if (!raw_send(fd, call, len) ||
            !raw_send(fd, rows[i].args ? rows[i].args : "", rows[i].len) ||
            !raw_reply(fd, reply, sizeof reply))
            break;
    }
    if (fd >= 0)
        close(fd);
}

Test(nfs_server, what_fails_within_costs_a_call_or_a_connection_and_no_more)
{
    enum { ROUNDS = 24 };
    struct world world;
    world_begin(&world, (struct nfsd_options){0});
    for (long nth = 1; nth <= 2 * ROUNDS; nth++) {
        if (nth <= ROUNDS)
            own_fault(nth);
        else
            sys_fault(nth - ROUNDS, nth % 2 ? ECONNRESET : ENOMEM);
        try_calls(&world);
        own_fault(0);
        sys_fault(0, 0);
        int fd = join(&world);
        cr_assert(answers(fd, (uint32_t)nth), "after failure %ld", nth);
        close(fd);
    }
    world_end(&world);
}
