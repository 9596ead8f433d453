/* A server with the echo program, for tests of the port. */
#pragma once
#include "drivers/vault/nfs/server.h"
#include "tests/lib/nfs_raw.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct world {
    struct echo *echo;
    struct nfsd_program program;
    struct nfsd_options options;
    struct nfsd *nfsd;
    uint16_t port;
};

static inline void world_start(struct world *world)
{
    static const char *const loopback[] = {"127.0.0.1"};
    struct err err = {0};
    struct nfsd_options *o = &world->options;
    if (!o->listen) {
        o->listen = loopback;
        o->listen_count = 1;
    }
    o->programs = &world->program;
    o->program_count = 1;
    world->nfsd = nfsd_start(o, &err);
    cr_assert(world->nfsd, "%s", err.text);
    world->port = nfsd_port(world->nfsd);
}

static inline void world_begin(struct world *world, struct nfsd_options options)
{
    *world = (struct world){.echo = echo_new(), .options = options};
    cr_assert(world->echo);
    world->program = echo_program(world->echo);
    world_start(world);
}

static inline void world_end(struct world *world)
{
    nfsd_stop(world->nfsd);
    echo_free(world->echo);
}

static inline int join(const struct world *world)
{
    int fd = raw_connect(world->port, 0);
    cr_assert(fd >= 0);
    return fd;
}

static inline void ask(int fd, uint32_t xid, uint32_t procedure, const void *args, size_t len)
{
    uint8_t *call = malloc(RAW_HEAD + len);
    size_t size = raw_call(call, xid, ECHO_PROGRAM, ECHO_VERSION, procedure, args, len);
    cr_assert(raw_send(fd, call, size));
    free(call);
}

static inline void ask_many(int fd, uint32_t xid, uint32_t size)
{
    uint8_t args[4];
    raw_put(args, size);
    ask(fd, xid, ECHO_MANY, args, 4);
}

/* The next reply is that call's, with those results. */
static inline void expect(int fd, uint32_t xid, const void *results, size_t len)
{
    uint8_t *reply = malloc(RPC_RECORD_MAX + 64);
    size_t got = raw_reply(fd, reply, RPC_RECORD_MAX + 64);
    cr_assert_eq(got, 24 + len, "%zu bytes", got);
    cr_assert_eq(raw_get(reply), xid, "reply to %u, not %u", raw_get(reply), xid);
    cr_assert_eq(raw_get(reply + 20), RPC_SUCCESS);
    cr_assert(len == 0 || memcmp(reply + 24, results, len) == 0);
    free(reply);
}

static inline void expect_many(int fd, uint32_t xid, size_t size)
{
    uint8_t *bytes = malloc(size);
    memset(bytes, (int)xid, size);
    expect(fd, xid, bytes, size);
    free(bytes);
}

static inline bool answers(int fd, uint32_t xid)
{
    uint8_t call[RAW_HEAD];
    uint8_t reply[64];
    size_t size = raw_call(call, xid, ECHO_PROGRAM, ECHO_VERSION, ECHO_NULL, NULL, 0);
    return raw_send(fd, call, size) && raw_reply(fd, reply, sizeof reply) == 24 &&
           raw_get(reply) == xid;
}
