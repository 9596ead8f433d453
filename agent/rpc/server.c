/* The gRPC server: listener, connections, keepalive, drain. Calls are in call.c. */
#include "agent/rpc/server.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/net/listener.h"
#include "agent/rpc/server_int.h"
#include <assert.h>
#include <string.h>

enum {
    CONNECTIONS_DEFAULT = 1024,
    CONNECTIONS_PER_CERTIFICATE = 128,
    HANDSHAKES_MAX = 128,
    TICK_MS = 1000,
    KEEPALIVE_MS = 60000, /* of silence before a PING, and again before we give up */
};

_Static_assert((int)RPC_STREAMS_MAX == H2_STREAMS_MAX, "one limit, told twice");
_Static_assert((int)RPC_HEADER_MAX == H2_HEADER_MAX, "one limit, told twice");

static void set_again(struct rpc_server *server)
{
    if (!server->again_set)
        timer_set(server->again, 0, 0);
    server->again_set = true;
}

void conn_kick(struct conn *conn)
{
    conn->again = true;
    set_again(conn->server);
}

void call_kick(struct rpc_call *call)
{
    if (!call->server || call->due)
        return;
    call->due = true;
    LIST_INSERT_HEAD(&call->server->due, call, due_link);
    set_again(call->server);
}

static void conn_free(struct conn *conn)
{
    if (!conn)
        return;
    watch_free(conn->watch);
    h2_free(conn->h2);
    caller_unref(conn->caller);
    own_free(conn);
}
OWN_DEFINE(conn, struct conn, conn_free);

static void conn_close(struct conn *conn, const struct err *why)
{
    struct rpc_server *server = conn->server;
    if (why)
        log_info("connection ended peer=%s cn=%s: %s", conn->caller->peer.address,
                 conn->caller->peer.cn, why->text);
    LIST_REMOVE(conn, link);
    server->conn_count--;
    conn_free(conn);
    if (server->draining)
        set_again(server);
}

static void conn_pump(struct conn *conn)
{
    struct err err = {0};
    conn->again = false;
    int wanted = h2_work(conn->h2, &err);
    if (wanted <= 0) {
        conn_close(conn, wanted < 0 ? &err : NULL);
        return;
    }
    uint64_t bytes = h2_received(conn->h2);
    if (bytes != conn->heard_bytes) {
        conn->heard_bytes = bytes;
        conn->heard_ms = clock_mono_ms();
        conn->pinged = false;
    }
    if (wanted & H2_AGAIN)
        conn_kick(conn);
    int events = wanted & (LOOP_READ | LOOP_WRITE);
    if (events != conn->events && !watch_set(conn->watch, events, &err)) {
        conn_close(conn, &err);
        return;
    }
    conn->events = events;
}

static void on_ready(void *arg, int events)
{
    (void)events;
    conn_pump(arg);
}

static bool is_crowded(const struct rpc_server *server, const char *fingerprint)
{
    size_t count = 0;
    for (struct conn *conn = LIST_FIRST(&server->conns); conn; conn = LIST_NEXT(conn, link))
        count += strcmp(conn->caller->peer.fingerprint, fingerprint) == 0;
    return count >= CONNECTIONS_PER_CERTIFICATE;
}

static bool conn_open(struct rpc_server *server, struct tls **tls, const char *address,
                      struct err *err)
{
    AUTO(conn) struct conn *conn = own_alloc(sizeof *conn, err);
    if (!conn)
        return false;
    conn->server = server;
    conn->heard_ms = clock_mono_ms();
    conn->caller = caller_new(tls_peer(*tls), address, err);
    if (!conn->caller)
        return false;
    if (is_crowded(server, conn->caller->peer.fingerprint))
        return err_set(err, ERR_LIMIT, "more than %d connections with one certificate",
                       CONNECTIONS_PER_CERTIFICATE);
    conn->h2 = h2_new(TLS_SERVER, *tls, &call_handler, conn, err);
    if (!conn->h2)
        return false;
    int fd = tls_fd(TAKE(*tls));
    conn->watch = watch_new(server->loop, fd, on_ready, conn, err);
    if (!conn->watch)
        return false;
    LIST_INSERT_HEAD(&server->conns, conn, link);
    server->conn_count++;
    conn_kick(TAKE(conn)); /* our SETTINGS go out, and TLS may hold bytes already */
    return true;
}

static bool admit(void *arg)
{
    const struct rpc_server *server = arg;
    return !server->draining && server->conn_count < server->options.connections_max;
}

static void refused(void *arg, const char *address, const struct err *err)
{
    (void)arg;
    log_info("connection refused peer=%s: %s", address, err->text);
}

static void accepted(void *arg, struct tls *tls, const char *address)
{
    AUTO(tls) struct tls *owned = tls;
    struct err err = {0};
    if (!conn_open(arg, &owned, address, &err))
        refused(arg, address, &err);
}

/* True when drain's callback was called: the server may be gone. */
static bool check_drained(struct rpc_server *server)
{
    if (!server->draining || !server->drained)
        return false;
    if ((server->conn_count || server->call_count) && clock_mono_ms() < server->drain_deadline_ms)
        return false;
    while (!LIST_EMPTY(&server->conns))
        conn_close(LIST_FIRST(&server->conns), NULL);
    void (*drained)(void *arg) = server->drained;
    server->drained = NULL;
    drained(server->drained_arg);
    return true;
}

static void on_again(void *arg)
{
    struct rpc_server *server = arg;
    server->again_set = false;
    struct rpc_call *call;
    while ((call = LIST_FIRST(&server->due))) { /* ends: what has arrived is bounded */
        LIST_REMOVE(call, due_link);
        call->due = false;
        intake_deliver(call);
    }
    struct conn *conn = LIST_FIRST(&server->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        if (conn->again)
            conn_pump(conn);
        conn = next;
    }
    IGNORE(check_drained(server)); /* nothing follows */
}

static void conn_tick(struct conn *conn, uint64_t now)
{
    if (now - conn->heard_ms < KEEPALIVE_MS)
        return;
    struct err err = {0};
    if (conn->pinged && now - conn->heard_ms >= 2ull * KEEPALIVE_MS) {
        err_set(&err, ERR_TIMEOUT, "no sign of life for %d seconds", 2 * KEEPALIVE_MS / 1000);
        conn_close(conn, &err);
    } else if (!conn->pinged) {
        conn->pinged = true;
        h2_ping(conn->h2);
        conn_kick(conn);
    }
}

static void on_tick(void *arg)
{
    struct rpc_server *server = arg;
    uint64_t now = clock_mono_ms();
    struct conn *conn = LIST_FIRST(&server->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        conn_tick(conn, now);
        conn = next;
    }
    struct rpc_call *call = LIST_FIRST(&server->calls);
    while (call) {
        struct rpc_call *next = LIST_NEXT(call, link);
        call_tick(call, now);
        call = next;
    }
    IGNORE(check_drained(server)); /* nothing follows */
}

static void check_methods(const struct rpc_server_options *options)
{
    for (size_t i = 0; i < options->method_count; i++) {
        const struct rpc_method *method = &options->methods[i];
        assert(method->service && method->name && method->handler && method->output);
        assert(message_is_bounded(method->input));
    }
    assert(options->authorize && options->handshakes);
}

static bool open_listener(struct rpc_server *server, struct err *err)
{
    const struct rpc_server_options *options = &server->options;
    struct tls_files files = {options->ca_file, options->cert_file, options->key_file};
    AUTO(tls_context) struct tls_context *tls = tls_context_new(TLS_SERVER, &files, err);
    if (!tls)
        return false;
    struct listener_options listen = {
        .host = options->listen_host,
        .port = options->listen_port,
        .tls = tls,
        .lane = options->handshakes,
        .handshakes_max = HANDSHAKES_MAX,
        .handshake_ms = RPC_HANDSHAKE_MS,
        .admit = admit,
        .accepted = accepted,
        .failed = refused,
        .arg = server,
    };
    server->listener = listener_new(server->loop, &listen, err);
    if (!server->listener)
        return false;
    server->port = listener_port(server->listener);
    return true;
}

OWN_DEFINE(rpc_server, struct rpc_server, rpc_server_free);

struct rpc_server *rpc_server_new(struct loop *loop, const struct rpc_server_options *options,
                                  struct err *err)
{
    check_methods(options);
    AUTO(rpc_server) struct rpc_server *server = own_alloc(sizeof *server, err);
    if (!server)
        return NULL;
    server->loop = loop;
    server->options = *options;
    if (!server->options.connections_max)
        server->options.connections_max = CONNECTIONS_DEFAULT;
    server->again = timer_new(loop, on_again, server, err);
    server->tick = timer_new(loop, on_tick, server, err);
    if (!server->again || !server->tick || !open_listener(server, err))
        return NULL;
    timer_set(server->tick, TICK_MS, TICK_MS);
    return TAKE(server);
}

uint16_t rpc_server_port(const struct rpc_server *server) { return server->port; }

void rpc_server_drain(struct rpc_server *server, void (*done)(void *arg), void *arg)
{
    assert(!server->draining && done);
    server->draining = true;
    server->drained = done;
    server->drained_arg = arg;
    server->drain_deadline_ms = clock_mono_ms() + RPC_DRAIN_MS;
    listener_free(TAKE(server->listener));
    for (struct conn *conn = LIST_FIRST(&server->conns); conn; conn = LIST_NEXT(conn, link)) {
        h2_drain(conn->h2);
        conn_kick(conn);
    }
    set_again(server);
}

void rpc_server_free(struct rpc_server *server)
{
    if (!server)
        return;
    listener_free(server->listener);
    server->draining = false;
    while (!LIST_EMPTY(&server->conns))
        conn_close(LIST_FIRST(&server->conns), NULL);
    while (!LIST_EMPTY(&server->calls))
        call_orphan(LIST_FIRST(&server->calls));
    timer_free(server->again);
    timer_free(server->tick);
    own_free(server);
}
