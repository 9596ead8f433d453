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
    PER_PEER_DEFAULT = 64,
    REFUSED_MAX = 32,  /* connections kept only to say why they are refused */
    REFUSED_EACH = 4,  /* of one certificate */
    REFUSED_MS = 5000, /* and for how long */
    HANDSHAKES_MAX = 128,
    TICK_MS = 1000,
    TRIM_AFTER = 64, /* closed connections, some 50 KiB each */
    REST_MS = 2000,
    KEEPALIVE_MS = 60000,  /* of silence before a PING, and again before we give up */
    IDLE_MS = 15 * 60000,  /* without a call */
    QUEUE_MAX = 256 << 20, /* answers not yet taken, all connections together */
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
    if (!conn->again) {
        TAILQ_INSERT_TAIL(&conn->server->kicked, conn, kicked);
        conn->server->kicked_count++;
    }
    conn->again = true;
    set_again(conn->server);
}

static void conn_unkick(struct conn *conn)
{
    if (!conn->again)
        return;
    TAILQ_REMOVE(&conn->server->kicked, conn, kicked);
    conn->server->kicked_count--;
    conn->again = false;
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
    conn_unkick(conn);
    if (conn->refusal) {
        conn->server->refused_count--;
        conn->tenant->refused--;
        own_free(conn->refusal);
    }
    if (conn->tenant && !--conn->tenant->conns) {
        LIST_REMOVE(conn->tenant, link);
        own_free(conn->tenant);
    }
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
    server->closed++;
    conn_free(conn);
    if (server->draining)
        set_again(server);
}

/* Not from inside a handler of this connection. */
static void conn_end(struct conn *conn, const struct err *why)
{
    h2_farewell(conn->h2, H2_NO_ERROR, why->text);
    conn_close(conn, why);
}

static void conn_pump(struct conn *conn)
{
    struct err err = {0};
    conn_unkick(conn);
    if (conn->doomed) {
        err_set(&err, ERR_UNAUTHENTICATED, "%s",
                conn->refusal ? conn->refusal->text : "no longer admitted");
        conn_end(conn, &err);
        return;
    }
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

static struct tenant *tenant_of(struct rpc_server *server, const char *fingerprint, struct err *err)
{
    struct tenant *tenant;
    LIST_FOREACH(tenant, &server->tenants, link)
    if (strcmp(tenant->fingerprint, fingerprint) == 0)
        return tenant;
    tenant = own_alloc(sizeof *tenant, err);
    if (!tenant)
        return NULL;
    str_copy(tenant->fingerprint, sizeof tenant->fingerprint, fingerprint);
    LIST_INSERT_HEAD(&server->tenants, tenant, link);
    return tenant;
}

static bool is_busy(const struct conn *conn) { return conn->caller->refs > 1; }

/* The certificate with the most connections loses its oldest idle one to one that has fewer. */
static struct conn *who_gives_way(struct rpc_server *server, const struct tenant *newcomer)
{
    const struct tenant *most = newcomer;
    const struct tenant *tenant;
    struct conn *oldest = NULL;
    struct conn *conn;
    LIST_FOREACH(tenant, &server->tenants, link)
    if (tenant->conns > most->conns)
        most = tenant;
    if (most == newcomer)
        return NULL;
    LIST_FOREACH(conn, &server->conns, link)
    if (conn->tenant == most && !is_busy(conn))
        oldest = conn;
    return oldest;
}

/* conn is not yet in the server's list, but counted as its tenant's. */
static bool has_room(struct conn *conn, struct err *err)
{
    struct rpc_server *server = conn->server;
    if (conn->tenant->conns - conn->tenant->refused > server->options.connections_per_peer_max)
        return err_set(err, ERR_LIMIT, "this certificate has %zu connections to the agent already",
                       server->options.connections_per_peer_max);
    if (server->conn_count < server->options.connections_max)
        return true;
    struct conn *other = who_gives_way(server, conn->tenant);
    if (!other)
        return err_set(err, ERR_LIMIT, "the agent has %zu connections, as many as it takes",
                       server->conn_count);
    struct err why = {0};
    err_set(&why, ERR_LIMIT, "gives way: its certificate has more connections than any other");
    conn_end(other, &why);
    return true;
}

static bool set_refusal(struct conn *conn, const struct err *why, struct err *err)
{
    conn->refusal = own_alloc(sizeof *conn->refusal, err);
    if (!conn->refusal)
        return false;
    *conn->refusal = *why;
    conn->server->refused_count++;
    conn->tenant->refused++;
    return true;
}

static bool refuse_all_calls(struct conn *conn, const struct err *why, struct err *err)
{
    const struct rpc_peer *peer = &conn->caller->peer;
    if (conn->server->refused_count >= REFUSED_MAX || conn->tenant->refused >= REFUSED_EACH) {
        *err = *why; /* too many have to be told; this one sees the connection end */
        return false;
    }
    if (!set_refusal(conn, why, err))
        return false;
    log_warning("connection takes no calls peer=%s cn=%s serial=%s: %s", peer->address, peer->cn,
                peer->serial, why->text);
    return true;
}

static bool may_come(struct conn *conn, struct err *err)
{
    const struct rpc_server_options *options = &conn->server->options;
    if (!options->admit_peer || options->admit_peer(options->arg, &conn->caller->peer, err))
        return true;
    return err->code == ERR_NONE ? err_set(err, ERR_UNAUTHENTICATED, "not admitted") : false;
}

static bool judge_newcomer(struct conn *conn, struct err *err)
{
    struct err why = {0};
    if (may_come(conn, &why) && has_room(conn, &why))
        return true;
    return refuse_all_calls(conn, &why, err);
}

static bool conn_open(struct rpc_server *server, struct tls **tls, const char *address,
                      struct err *err)
{
    AUTO(conn) struct conn *conn = own_alloc(sizeof *conn, err);
    if (!conn)
        return false;
    conn->server = server;
    conn->heard_ms = conn->opened_ms = conn->used_ms = clock_mono_ms();
    conn->caller = caller_new(tls_peer(*tls), address, err);
    if (conn->caller)
        conn->caller->peer.resumed = tls_is_resumed(*tls);
    conn->tenant = conn->caller ? tenant_of(server, conn->caller->peer.fingerprint, err) : NULL;
    if (!conn->tenant)
        return false;
    conn->tenant->conns++;
    if (!judge_newcomer(conn, err))
        return false;
    conn->h2 = h2_new(TLS_SERVER, *tls, &call_handler, conn, err);
    if (!conn->h2)
        return false;
    h2_set_budget(conn->h2, &server->budget);
    int fd = tls_fd(TAKE(*tls));
    conn->watch = watch_new(server->loop, fd, on_ready, conn, err);
    if (!conn->watch)
        return false;
    LIST_INSERT_HEAD(&server->conns, conn, link);
    server->conn_count++;
    conn_kick(TAKE(conn)); /* our SETTINGS go out, and TLS may hold bytes already */
    return true;
}

/* Who may stay is judged when the certificate is known; a few beyond the limit are let in for it.
 */
static bool admit(void *arg)
{
    const struct rpc_server *server = arg;
    return !server->draining && server->conn_count < server->options.connections_max + REFUSED_MAX;
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
        if (server->draining && call->on_drain)
            call_drain(call); /* the call may be gone now */
        else
            intake_deliver(call);
    }
    for (size_t left = server->kicked_count; left && !TAILQ_EMPTY(&server->kicked); left--)
        conn_pump(TAILQ_FIRST(&server->kicked));
    IGNORE(check_drained(server)); /* nothing follows */
}

/* True when the connection has to end, with the reason. */
static bool is_over(struct conn *conn, uint64_t now, struct err *err)
{
    if (is_busy(conn) || h2_begun(conn->h2) != conn->begun)
        conn->used_ms = now;
    conn->begun = h2_begun(conn->h2);
    if (conn->refusal && now - conn->opened_ms >= REFUSED_MS)
        *err = *conn->refusal;
    else if (conn->pinged && now - conn->heard_ms >= 2ull * KEEPALIVE_MS)
        err_set(err, ERR_TIMEOUT, "no sign of life for %d seconds", 2 * KEEPALIVE_MS / 1000);
    else if (now - conn->used_ms >= IDLE_MS)
        err_set(err, ERR_TIMEOUT, "no call for %d minutes", IDLE_MS / 60000);
    else
        IGNORE(h2_is_stuck(conn->h2, err));
    return err->code != ERR_NONE;
}

/* Who is refused now ends in the loop's next turn. */
static void conn_recheck(struct conn *conn)
{
    struct err why = {0};
    struct err err = {0};
    if (conn->refusal || may_come(conn, &why))
        return;
    conn->doomed = true;
    IGNORE(!set_refusal(conn, &why, &err)); /* it ends, told or not */
    conn_kick(conn);
}

static void conn_tick(struct conn *conn, uint64_t now)
{
    struct err err = {0};
    if (conn->caller->peer.not_after_us <= clock_wall_us())
        conn_recheck(conn);
    if (is_over(conn, now, &err)) {
        conn_end(conn, &err);
        return;
    }
    uint64_t silent_ms = now - conn->heard_ms;
    if (silent_ms >= KEEPALIVE_MS && !conn->pinged) {
        conn->pinged = true;
        h2_ping(conn->h2);
        conn_kick(conn);
    } else if (silent_ms >= REST_MS && !conn->again) {
        h2_rest(conn->h2);
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
    if (server->closed >= TRIM_AFTER) {
        server->closed = 0;
        own_trim();
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
    if (!server->options.connections_per_peer_max)
        server->options.connections_per_peer_max = PER_PEER_DEFAULT;
    server->budget.max = QUEUE_MAX;
    TAILQ_INIT(&server->kicked);
    server->again = timer_new(loop, on_again, server, err);
    server->tick = timer_new(loop, on_tick, server, err);
    if (!server->again || !server->tick || !open_listener(server, err))
        return NULL;
    timer_set(server->tick, TICK_MS, TICK_MS);
    return TAKE(server);
}

uint16_t rpc_server_port(const struct rpc_server *server) { return server->port; }

bool rpc_server_use(struct rpc_server *server, const char *ca_file, const char *cert_file,
                    const char *key_file, struct err *err)
{
    struct tls_files files = {ca_file, cert_file, key_file};
    AUTO(tls_context) struct tls_context *tls = tls_context_new(TLS_SERVER, &files, err);
    if (tls && server->listener)
        listener_use(server->listener, tls);
    return tls != NULL;
}

void rpc_server_recheck(struct rpc_server *server)
{
    for (struct conn *conn = LIST_FIRST(&server->conns); conn; conn = LIST_NEXT(conn, link))
        conn_recheck(conn);
}

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
    for (struct rpc_call *call = LIST_FIRST(&server->calls); call; call = LIST_NEXT(call, link))
        if (call->on_drain)
            call_kick(call);
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
