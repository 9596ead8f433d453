/* One call on the server: receiving, handled, held, answered. States: README.md. */
#include "agent/rpc/server_int.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include <assert.h>
#include <string.h>

enum {
    RECEIVE_MS = 120000, /* for one whole request to arrive */
    HOLD_MS = 1000,      /* a status waits that long for the client's END_STREAM */
    LINGER_MS = 2000,    /* then the stream is reset */
    DISCARD_MAX = 2 * RPC_MESSAGE_MAX,
    WATCHED_BYTES = 64 << 10,                   /* an answer below that is left to h2 alone */
    CALLS_PER_CONNECTION = 2 * RPC_STREAMS_MAX, /* resetting streams does not free handlers */
};

static void call_free(struct rpc_call *call)
{
    if (!call)
        return;
    if (call->server) {
        call->server->receiving_bytes -= call->counted;
        call->server->call_count--;
        LIST_REMOVE(call, link);
        if (call->server->draining && !call->server->call_count)
            timer_set(call->server->again, 0, 0);
    }
    if (call->due)
        LIST_REMOVE(call, due_link);
    timer_free(call->timer);
    intake_done(call);
    status_trailers_done(&call->held);
    own_free(call->held_frame);
    caller_unref(call->caller);
    own_free(call);
}
OWN_DEFINE(rpc_call, struct rpc_call, call_free);

static void detach(struct rpc_call *call)
{
    if (call->stream)
        h2_stream_set_user(call->stream, NULL);
    call->stream = NULL;
    call->conn = NULL;
}

/* The one line per call; refusals of strangers are worth more notice than a working day. */
static void log_end(const struct rpc_call *call, const struct err *why)
{
    unsigned long long ms = clock_mono_ms() - call->begun_ms;
    const struct rpc_peer *peer = &call->caller->peer;
    if (why)
        log_info("rpc failed path=%s cn=%s peer=%s code=%s ms=%llu: %s", call->path, peer->cn,
                 peer->address, err_code_name(why->code), ms, why->text);
    else
        log_debug("rpc done path=%s cn=%s peer=%s ms=%llu", call->path, peer->cn, peer->address,
                  ms);
}

static void cancel(struct rpc_call *call)
{
    if (call->cancelled)
        return;
    call->cancelled = true;
    void (*fn)(void *arg) = call->on_cancel;
    call->on_cancel = NULL;
    if (fn)
        fn(call->on_cancel_arg);
}

static void fill_status(struct rpc_call *call, const struct err *why,
                        const ProtobufCMessage *detail)
{
    bool alone = !call->headers_sent && !call->held_frame;
    status_trailers_fill(&call->held, why, detail, alone);
}

static bool send_headers(struct rpc_call *call)
{
    const struct h2_header headers[] = {
        {":status", "200"},
        {"content-type", "application/grpc"},
        {"grpc-accept-encoding", "identity"},
    };
    if (call->headers_sent)
        return true;
    call->headers_sent = h2_answer(call->stream, headers, sizeof headers / sizeof *headers, true);
    return call->headers_sent;
}

static bool send_frame(struct rpc_call *call, const uint8_t *frame, size_t len)
{
    call->sent_bytes += len;
    return send_headers(call) && h2_send(call->stream, frame, len);
}

/* Last word on the stream: trailers behind what is queued, or one block of headers alone. */
static void send_status(struct rpc_call *call)
{
    const struct status_trailers *held = &call->held;
    bool ok = !call->held_frame || send_frame(call, call->held_frame, call->held_len);
    own_free(TAKE(call->held_frame));
    if (ok)
        ok = call->headers_sent ? h2_finish(call->stream, held->headers, held->count)
                                : h2_answer(call->stream, held->headers, held->count, false);
    if (!ok)
        h2_reset(call->stream, H2_INTERNAL_ERROR);
    conn_kick(call->conn);
}

static void send_http_status(struct rpc_call *call)
{
    char number[8];
    str_format(number, sizeof number, "%d", call->http_status);
    struct h2_header header = {":status", number};
    if (!h2_answer(call->stream, &header, 1, false))
        h2_reset(call->stream, H2_INTERNAL_ERROR);
    conn_kick(call->conn);
}

static void answer(struct rpc_call *call)
{
    call->state = CALL_ANSWERED;
    call->moved_ms = clock_mono_ms();
    log_end(call, call->refusal.code ? &call->refusal : NULL);
    if (call->http_status)
        send_http_status(call);
    else
        send_status(call);
    if (call->ended)
        timer_stop(call->timer);
    else
        timer_set(call->timer, LINGER_MS, 0);
}

/* Clients lose a status that arrives while they still send (README.md, "Early errors"). */
static void answer_or_hold(struct rpc_call *call)
{
    intake_drop(call);
    call->state = CALL_HELD;
    if (call->ended)
        answer(call);
    else
        timer_set(call->timer, HOLD_MS, 0);
}

static void refuse(struct rpc_call *call, const struct err *why)
{
    call->refusal = *why;
    fill_status(call, why, NULL);
    answer_or_hold(call);
}

void call_abort(struct rpc_call *call, const struct err *why)
{
    if (call->stream && call->state < CALL_HELD)
        refuse(call, why);
    if (call->owed)
        cancel(call);
}

static void abort_as(struct rpc_call *call, enum err_code code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    call_abort(call, &err);
}

static void on_timer(void *arg)
{
    struct rpc_call *call = arg;
    switch (call->state) {
    case CALL_RECEIVING:
        abort_as(call, ERR_TIMEOUT, "the request did not arrive in time");
        break;
    case CALL_HANDLED:
        abort_as(call, ERR_TIMEOUT, "the call's deadline passed");
        break;
    case CALL_HELD:
        answer(call);
        break;
    case CALL_ANSWERED:
        if (h2_queued(
                call->stream)) { /* a reply on its way is not cut; call_tick has an eye on it */
            timer_set(call->timer, LINGER_MS, 0);
            break;
        }
        h2_reset(call->stream, H2_NO_ERROR);
        conn_kick(call->conn);
        break;
    }
}

/* What the client has taken so far; a queue that shrinks is a sign of life. */
static void note_movement(struct rpc_call *call, uint64_t now)
{
    size_t queued = h2_queued(call->stream);
    size_t gone = call->sent_bytes - queued;
    if (gone != call->gone_bytes || !queued)
        call->moved_ms = now;
    call->gone_bytes = gone;
}

void call_tick(struct rpc_call *call, uint64_t now)
{
    bool waits = call->wants;
    if (!call->stream || (call->state != CALL_HANDLED && call->state != CALL_ANSWERED))
        return;
    if (!waits)
        note_movement(call, now);
    if (now < call->moved_ms || now - call->moved_ms < RPC_IDLE_MS)
        return;
    call->moved_ms = now;
    if (waits) {
        abort_as(call, ERR_TIMEOUT, "nothing came on the stream for too long");
        return;
    }
    log_info("rpc reader takes nothing path=%s peer=%s", call->path, call->caller->peer.address);
    h2_reset(call->stream, H2_CANCEL);
    conn_kick(call->conn);
    if (call->owed)
        cancel(call);
}

static bool on_begin(void *arg, struct h2_stream *stream)
{
    struct conn *conn = arg;
    struct err err = {0};
    if (conn->caller->refs > CALLS_PER_CONNECTION)
        return false;
    AUTO(rpc_call) struct rpc_call *call = own_alloc(sizeof *call, &err);
    if (!call)
        return false;
    call->timer = timer_new(conn->server->loop, on_timer, call, &err);
    if (!call->timer)
        return false;
    call->conn = conn;
    call->stream = stream;
    call->caller = conn->caller;
    call->caller->refs++;
    call->arg = conn->server->options.arg;
    call->begun_ms = clock_mono_ms();
    call->deadline_ms = UINT64_MAX;
    message_budget_init(&call->budget, RPC_BUDGET_MAX);
    call->server = conn->server;
    LIST_INSERT_HEAD(&call->server->calls, call, link);
    call->server->call_count++;
    h2_stream_set_user(stream, TAKE(call));
    return true;
}

static const struct rpc_method *find_method(const struct rpc_server *server, const char *path)
{
    for (size_t i = 0; path[0] == '/' && i < server->options.method_count; i++) {
        const struct rpc_method *method = &server->options.methods[i];
        size_t len = strlen(method->service);
        if (strncmp(path + 1, method->service, len) == 0 && path[1 + len] == '/' &&
            strcmp(path + len + 2, method->name) == 0)
            return method;
    }
    return NULL;
}

static bool is_grpc_type(const char *value)
{
    if (!str_starts(value, "application/grpc"))
        return false;
    const char *rest = value + strlen("application/grpc");
    return !*rest || *rest == ';' || str_equal(rest, "+proto") || str_starts(rest, "+proto;");
}

static void on_header(struct h2_stream *stream, const char *name, const char *value)
{
    struct rpc_call *call = h2_stream_user(stream);
    uint64_t ms;
    if (!call || call->headers_done)
        return;
    if (strcmp(name, ":method") == 0) {
        call->is_post = strcmp(value, "POST") == 0;
    } else if (strcmp(name, ":path") == 0) {
        call->method = find_method(call->server, value);
        str_copy(call->path, sizeof call->path, value);
    } else if (strcmp(name, "content-type") == 0) {
        call->is_grpc = is_grpc_type(value);
    } else if (strcmp(name, "grpc-encoding") == 0) {
        call->is_encoded = strcmp(value, "identity") != 0;
    } else if (strcmp(name, "grpc-timeout") == 0 && frame_parse_timeout(value, &ms)) {
        call->deadline_ms = call->begun_ms + ms;
    }
}

static bool admit(struct rpc_call *call, struct err *err)
{
    if (call->conn->refusal) {
        *err = *call->conn->refusal;
        return false;
    }
    if (!call->is_post || !call->is_grpc) {
        call->http_status = call->is_post ? 415 : 405;
        return err_set(err, ERR_INVALID, "not a gRPC request");
    }
    if (!call->method)
        return err_set(err, ERR_UNSUPPORTED, "there is no method '%s'", call->path);
    if (call->is_encoded)
        return err_set(err, ERR_UNSUPPORTED, "compressed messages are not supported");
    struct err why = {0};
    if (call->server->options.authorize(call->arg, &call->caller->peer, call->method, &why))
        return true;
    if (!why.code)
        err_set(&why, ERR_DENIED, "not allowed");
    *err = why;
    return false;
}

/* Never later than the client's deadline, and never without end for one answer. */
static void set_deadline(struct rpc_call *call, uint64_t most_ms)
{
    uint64_t left = rpc_call_time_left_ms(call);
    if (left > most_ms)
        left = most_ms;
    if (left == UINT64_MAX)
        timer_stop(call->timer);
    else
        timer_set(call->timer, left, 0);
}

void call_dispatch(struct rpc_call *call)
{
    call->state = CALL_HANDLED;
    call->owed = true;
    call->moved_ms = clock_mono_ms();
    set_deadline(call, call->method->streams ? UINT64_MAX : RPC_CALL_MAX_MS);
    call->method->handler(call, call->request);
}

static void on_headers_done(struct h2_stream *stream)
{
    struct rpc_call *call = h2_stream_user(stream);
    if (!call || call->headers_done)
        return;
    call->headers_done = true;
    struct err err = {0};
    if (!admit(call, &err))
        refuse(call, &err);
    else if (call->method->streams & RPC_CLIENT_STREAM)
        call_dispatch(call);
    else
        set_deadline(call, RECEIVE_MS);
}

static void on_data(struct h2_stream *stream, const void *bytes, size_t len)
{
    struct rpc_call *call = h2_stream_user(stream);
    if (!call) {
        h2_consume(stream, len);
    } else if (call->state < CALL_HELD) {
        intake_data(call, bytes, len);
    } else {
        h2_consume(stream, len);
        call->discarded += len;
        if (call->state == CALL_HELD && call->discarded > DISCARD_MAX)
            answer(call);
    }
}

static void on_end(struct h2_stream *stream)
{
    struct rpc_call *call = h2_stream_user(stream);
    if (!call)
        return;
    call->ended = true;
    if (call->state == CALL_HELD)
        answer(call);
    else if (call->state < CALL_HELD)
        intake_end(call);
}

static void on_room(struct h2_stream *stream)
{
    struct rpc_call *call = h2_stream_user(stream);
    if (call && call->on_room)
        call->on_room(call->on_room_arg);
}

static void on_closed(struct h2_stream *stream, uint32_t code)
{
    (void)code;
    struct rpc_call *call = h2_stream_user(stream);
    if (!call)
        return;
    call->stream = NULL;
    call->conn = NULL;
    intake_drop(call);
    if (!call->owed) {
        call_free(call);
        return;
    }
    timer_stop(call->timer);
    cancel(call);
}

const struct h2_handler call_handler = {
    .begin = on_begin,
    .header = on_header,
    .headers_done = on_headers_done,
    .data = on_data,
    .end = on_end,
    .room = on_room,
    .closed = on_closed,
};

void call_orphan(struct rpc_call *call)
{
    assert(call->owed && !call->stream);
    LIST_REMOVE(call, link);
    if (call->due)
        LIST_REMOVE(call, due_link);
    call->due = false;
    call->server->receiving_bytes -= call->counted;
    call->server->call_count--;
    call->server = NULL;
    timer_free(TAKE(call->timer));
    cancel(call);
}

const struct rpc_peer *rpc_call_peer(const struct rpc_call *call) { return &call->caller->peer; }
const struct rpc_method *rpc_call_method(const struct rpc_call *call) { return call->method; }
void *rpc_call_arg(const struct rpc_call *call) { return call->arg; }
bool rpc_call_is_cancelled(const struct rpc_call *call) { return call->cancelled; }

void rpc_call_on_cancel(struct rpc_call *call, void (*fn)(void *arg), void *arg)
{
    call->on_cancel = fn;
    call->on_cancel_arg = arg;
}

void rpc_call_on_drain(struct rpc_call *call, void (*fn)(void *arg), void *arg)
{
    call->on_drain = fn;
    call->on_drain_arg = arg;
    if (call->server && call->server->draining)
        call_kick(call);
}

void call_drain(struct rpc_call *call)
{
    void (*fn)(void *arg) = call->on_drain;
    call->on_drain = NULL;
    if (fn && call->owed && !call->cancelled)
        fn(call->on_drain_arg);
}

uint64_t rpc_call_time_left_ms(const struct rpc_call *call)
{
    if (call->deadline_ms == UINT64_MAX)
        return UINT64_MAX;
    uint64_t now = clock_mono_ms();
    return call->deadline_ms > now ? call->deadline_ms - now : 0;
}

static uint8_t *pack(struct rpc_call *call, const ProtobufCMessage *message, size_t *ret_len,
                     struct err *err)
{
    assert(message->descriptor == call->method->output);
    return message_pack(message, ret_len, err);
}

/* The handler's debt is paid; what is queued goes on without the call when it is little. */
static void finish(struct rpc_call *call, const struct err *why, const ProtobufCMessage *detail)
{
    assert(call->owed);
    call->owed = false;
    call->on_cancel = NULL;
    call->on_drain = NULL;
    call->on_room = NULL;
    call->on_message = NULL;
    if (!call->stream) {
        call_free(call);
        return;
    }
    if (call->state >= CALL_HELD) /* answered over the handler's head */
        return;
    if (why)
        call->refusal = *why;
    fill_status(call, why, detail);
    answer_or_hold(call);
    if (call->state == CALL_ANSWERED && h2_queued(call->stream) < WATCHED_BYTES) {
        detach(call);
        call_free(call);
    }
}

void rpc_call_receive(struct rpc_call *call, void (*fn)(void *arg, const ProtobufCMessage *message),
                      void *arg)
{
    assert((call->method->streams & RPC_CLIENT_STREAM) && !call->on_message);
    call->on_message = fn;
    call->on_message_arg = arg;
    rpc_call_next(call);
}

void rpc_call_next(struct rpc_call *call)
{
    assert(call->owed && !call->wants && !call->end_told);
    call->wants = true;
    call->moved_ms = clock_mono_ms();
    call_kick(call);
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *reply)
{
    struct err err = {0};
    if (call->stream && call->state < CALL_HELD)
        call->held_frame = pack(call, reply, &call->held_len, &err);
    finish(call, err.code ? &err : NULL, NULL);
}

void rpc_call_fail(struct rpc_call *call, const struct err *err, const ProtobufCMessage *detail)
{
    finish(call, err, detail);
}

bool rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct err err = {0};
    size_t len;
    if (!call->stream || call->state >= CALL_HELD)
        return false;
    AUTO(mem) uint8_t *frame = pack(call, message, &len, &err);
    if (frame && send_frame(call, frame, len)) {
        conn_kick(call->conn);
        return true;
    }
    if (frame)
        err_set(&err, ERR_NO_MEMORY, "cannot queue %zu bytes", len);
    /* A message is lost: the stream must not look complete to the client. */
    call->cancelled = true;
    refuse(call, &err);
    return false;
}

size_t rpc_call_queued(const struct rpc_call *call)
{
    return call->stream ? h2_queued(call->stream) : 0;
}

void rpc_call_on_room(struct rpc_call *call, void (*fn)(void *arg), void *arg)
{
    call->on_room = fn;
    call->on_room_arg = arg;
}

void rpc_call_end(struct rpc_call *call) { finish(call, NULL, NULL); }
