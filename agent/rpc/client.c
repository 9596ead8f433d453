/* The gRPC client: blocking, one connection, mutual TLS. */
#include "agent/rpc/client.h"

#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include "agent/net/h2.h"
#include "agent/net/sock.h"
#include "agent/rpc/frame.h"
#include "agent/rpc/message.h"
#include "agent/rpc/status.h"
#include "agent/rpc/ticket.h"
#include <assert.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECT_DEFAULT_MS = 5000,
    HANDSHAKE_TRIES = 3,
    CALL_DEFAULT_MS = 60000,
    GRACE_MS = 1000, /* the server's own verdict on a deadline is the better one to show */
};

enum { CANCEL_SLICE_MS = 250 };

struct rpc_client {
    char *host, *server_name, *cert_file, *ticket_file;
    uint16_t port;
    char label[300]; /* "agent 'host:port'" */
    uint64_t connect_timeout_ms;
    struct tls_context *tls;
    struct ticket ticket;
    uint8_t ticket_digest[TICKET_DIGEST];
    bool ticket_is_new;
    struct h2 *h2;      /* NULL: not connected */
    char farewell[160]; /* why the agent ended the last connection, as far as it said */
    size_t open;        /* calls in flight: a stream's reader may call, too */
    bool (*is_cancelled)(void *arg);
    void *arg;
};

/* One call in flight. Bytes gather here and leave the flow-control window only when they are
 * asked for, so that a slow reader slows the server. */
struct exchange {
    struct rpc_client *client; /* once begun */
    struct h2_stream *stream;  /* NULL once closed */
    struct status_reply status;
    struct str raw;
    size_t raw_head, unconsumed;
    struct frame_reader in;
    bool ended;
    uint32_t code;
};

/* Open calls learn that their stream is gone. */
static void disconnect(struct rpc_client *client)
{
    if (client->h2)
        IGNORE(!str_copy(client->farewell, sizeof client->farewell, h2_farewell_text(client->h2)));
    h2_free(TAKE(client->h2));
}

static void exchange_done(struct exchange *exchange)
{
    if (exchange->stream) {
        struct err err = {0};
        h2_stream_set_user(exchange->stream, NULL);
        h2_reset(exchange->stream, H2_CANCEL);
        if (h2_work(exchange->client->h2, &err) <= 0)
            disconnect(exchange->client);
    }
    if (exchange->client)
        exchange->client->open--;
    status_reply_done(&exchange->status);
    str_done(&exchange->raw);
    frame_reader_done(&exchange->in);
}
OWN_DEFINE_INPLACE(exchange, struct exchange, exchange_done);

static void on_header(struct h2_stream *stream, const char *name, const char *value)
{
    struct exchange *exchange = h2_stream_user(stream);
    if (exchange)
        status_reply_header(&exchange->status, name, value);
}

static void on_headers_done(struct h2_stream *stream) { (void)stream; }

static void on_data(struct h2_stream *stream, const void *bytes, size_t len)
{
    struct exchange *exchange = h2_stream_user(stream);
    if (!exchange) {
        h2_consume(stream, len);
        return;
    }
    str_append_n(&exchange->raw, bytes, len);
    exchange->unconsumed += len;
}

static void on_end(struct h2_stream *stream)
{
    struct exchange *exchange = h2_stream_user(stream);
    if (exchange)
        exchange->ended = true;
}

static void on_closed(struct h2_stream *stream, uint32_t code)
{
    struct exchange *exchange = h2_stream_user(stream);
    if (!exchange)
        return;
    exchange->stream = NULL;
    exchange->code = code;
}

static const struct h2_handler client_handler = {
    .header = on_header,
    .headers_done = on_headers_done,
    .data = on_data,
    .end = on_end,
    .closed = on_closed,
};

static bool open_ticket(struct rpc_client *client, const struct rpc_client_options *options,
                        struct err *err)
{
    char text[600];
    str_format(text, sizeof text, "%s %s", client->label, client->server_name);
    if (!options->ticket_file)
        return true;
    client->ticket_file = own_strdup(options->ticket_file, err);
    if (!client->ticket_file || !tls_context_digest(client->tls, text, client->ticket_digest, err))
        return false;
    ticket_load(&client->ticket, client->ticket_file, client->ticket_digest);
    return true;
}

struct rpc_client *rpc_client_new(const struct rpc_client_options *options, struct err *err)
{
    AUTO(rpc_client) struct rpc_client *client = own_alloc(sizeof *client, err);
    if (!client)
        return NULL;
    const char *name = options->server_name ? options->server_name : options->host;
    client->host = own_strdup(options->host, err);
    client->server_name = own_strdup(name, err);
    client->cert_file = own_strdup(options->cert_file, err);
    if (!client->host || !client->server_name || !client->cert_file)
        return NULL;
    client->port = options->port;
    client->connect_timeout_ms =
        options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_DEFAULT_MS;
    str_format(client->label, sizeof client->label, "agent '%.250s:%u'", client->host,
               client->port);
    struct tls_files files = {options->ca_file, options->cert_file, options->key_file};
    client->tls = tls_context_new(TLS_CLIENT, &files, err);
    return client->tls && open_ticket(client, options, err) ? TAKE(client) : NULL;
}

void rpc_client_free(struct rpc_client *client)
{
    if (!client)
        return;
    disconnect(client);
    if (client->ticket_file && client->ticket_is_new)
        IGNORE(ticket_save(&client->ticket, client->ticket_file, client->ticket_digest));
    ticket_done(&client->ticket);
    tls_context_free(client->tls);
    own_free(client->ticket_file);
    own_free(client->host);
    own_free(client->server_name);
    own_free(client->cert_file);
    own_free(client);
}

static bool shake_hands(struct rpc_client *client, struct tls *tls, uint64_t deadline_ms,
                        struct err *err)
{
    for (;;) {
        enum tls_step step = tls_handshake(tls, err);
        if (step == TLS_DONE)
            return tls_check_name(tls, client->server_name, err);
        if (step == TLS_FAILED)
            return false;
        if (!sock_wait(tls_fd(tls), step == TLS_WANT_READ, step == TLS_WANT_WRITE, deadline_ms))
            return err_set(err, ERR_UNAVAILABLE, "no TLS handshake within %llu ms",
                           (unsigned long long)client->connect_timeout_ms);
    }
}

/* ret_again: the agent is there, but let the handshake go; it does so with some of many at once. */
static struct h2 *open_connection(struct rpc_client *client, uint64_t deadline_ms, bool *ret_again,
                                  struct err *err)
{
    *ret_again = false;
    AUTO(fd) int fd = sock_connect(client->host, client->port, deadline_ms, err);
    if (fd < 0)
        return NULL;
    AUTO(tls) struct tls *tls = tls_new(client->tls, fd, err);
    if (!tls)
        return NULL;
    fd = -1;
    bool tries_ticket = ticket_is_good(&client->ticket) &&
                        tls_session_use(tls, client->ticket.bytes, client->ticket.len);
    if (!shake_hands(client, tls, deadline_ms, err)) {
        if (tries_ticket) /* it may be what the agent minds: a whole handshake tells */
            ticket_done(&client->ticket);
        *ret_again =
            (err->code == ERR_UNAVAILABLE || tries_ticket) && clock_mono_ms() < deadline_ms;
        return NULL;
    }
    if (!tls_is_resumed(tls) && ticket_take(&client->ticket, tls))
        client->ticket_is_new = true;
    struct h2 *h2 = h2_new(TLS_CLIENT, tls, &client_handler, client, err);
    if (h2)
        TAKE(tls);
    return h2;
}

static struct h2 *connect_patiently(struct rpc_client *client, struct err *err)
{
    uint64_t deadline_ms = clock_mono_ms() + client->connect_timeout_ms;
    struct h2 *h2 = NULL;
    bool again = true;
    for (int left = HANDSHAKE_TRIES; !h2 && again && left > 0; left--) {
        err_clear(err);
        h2 = open_connection(client, deadline_ms, &again, err);
    }
    return h2;
}

static bool fail_connect(struct rpc_client *client, const struct err *why, struct err *err)
{
    if (why->code == ERR_UNAVAILABLE)
        return err_set(err, why->code, "%s does not answer: %s", client->label, why->text);
    if (why->code == ERR_UNAUTHENTICATED)
        return err_set(err, why->code, "%s cannot be trusted or does not trust '%s': %s",
                       client->label, client->cert_file, why->text);
    return err_set(err, why->code, "%s: %s", client->label, why->text);
}

/* A connection that ended while nobody looked is replaced before it is used. */
static bool ensure_connected(struct rpc_client *client, struct err *err)
{
    struct err why = {0};
    if (client->h2 && h2_work(client->h2, &why) <= 0)
        disconnect(client);
    if (client->h2 && h2_is_going(client->h2) && client->open)
        return err_set(err, ERR_UNAVAILABLE, "%s is shutting down", client->label);
    if (client->h2 && h2_is_going(client->h2))
        disconnect(client);
    if (client->h2)
        return true;
    struct err reason = {0};
    client->farewell[0] = '\0';
    client->h2 = connect_patiently(client, &reason);
    return client->h2 || fail_connect(client, &reason, err);
}

/* Returns when something arrived; false after a while without, at the deadline at the latest. A
 * broken connection shows as a closed stream. */
static bool move(struct rpc_client *client, uint64_t deadline_ms)
{
    struct err err = {0};
    if (!client->h2)
        return true;
    uint64_t before = h2_received(client->h2);
    int wanted = h2_work(client->h2, &err);
    if (wanted <= 0) {
        disconnect(client);
        return true;
    }
    if (wanted & H2_AGAIN || h2_received(client->h2) != before)
        return true;
    uint64_t slice = clock_mono_ms() + CANCEL_SLICE_MS;
    return sock_wait(tls_fd(h2_tls(client->h2)), wanted & LOOP_READ, wanted & LOOP_WRITE,
                     slice < deadline_ms ? slice : deadline_ms);
}

static bool has_status(const struct exchange *exchange)
{
    return exchange->ended || (!exchange->stream && exchange->status.grpc_status >= 0);
}

static bool is_cancelled(const struct rpc_client *client)
{
    return client->is_cancelled && client->is_cancelled(client->arg);
}

enum arrival { ARRIVAL_MESSAGE, ARRIVAL_END, ARRIVAL_FAILED };

/* The next message out of what has arrived already; FRAME_MORE when there is none. */
static enum frame_event next_buffered(struct exchange *exchange, struct err *err)
{
    if (exchange->raw.failed) {
        err_set(err, ERR_NO_MEMORY, "no memory for the reply");
        return FRAME_FAILED;
    }
    if (!exchange->raw.len)
        return FRAME_MORE;
    const uint8_t *bytes = (const uint8_t *)exchange->raw.text + exchange->raw_head;
    size_t len = exchange->raw.len - exchange->raw_head;
    enum frame_event event = frame_read(&exchange->in, &bytes, &len, RPC_MESSAGE_MAX, err);
    exchange->raw_head = exchange->raw.len - len;
    if (!len) {
        str_clear(&exchange->raw);
        exchange->raw_head = 0;
    }
    return event;
}

static void make_room(struct exchange *exchange)
{
    if (exchange->stream && exchange->unconsumed)
        h2_consume(exchange->stream, exchange->unconsumed);
    exchange->unconsumed = 0;
}

static enum arrival fail_arrival(struct rpc_client *client, const struct exchange *exchange,
                                 struct err *err)
{
    if (exchange->code == H2_REFUSED_STREAM)
        err_set(err, ERR_UNAVAILABLE, "%s is shutting down", client->label);
    else if (client->farewell[0])
        err_set(err, ERR_UNAVAILABLE, "%s ended the connection: %s", client->label,
                client->farewell);
    else
        err_set(err, ERR_UNAVAILABLE, "%s: the connection was lost during the call", client->label);
    return ARRIVAL_FAILED;
}

static bool wait_more(struct rpc_client *client, uint64_t deadline_ms, struct err *err)
{
    if (move(client, deadline_ms))
        return true;
    if (is_cancelled(client))
        return err_set(err, ERR_CANCELLED, "stopped while waiting for %s", client->label);
    return clock_mono_ms() < deadline_ms ||
           err_set(err, ERR_TIMEOUT, "%s gave no answer in time", client->label);
}

static enum arrival next_arrival(struct rpc_client *client, struct exchange *exchange,
                                 uint64_t deadline_ms, struct err *err)
{
    for (;;) {
        enum frame_event event = next_buffered(exchange, err);
        if (event == FRAME_MESSAGE)
            return ARRIVAL_MESSAGE;
        if (event == FRAME_FAILED)
            return ARRIVAL_FAILED;
        /* A status is final, whatever the stream's end looks like. */
        if (has_status(exchange))
            return ARRIVAL_END;
        if (!exchange->stream)
            return fail_arrival(client, exchange, err);
        make_room(exchange);
        if (!wait_more(client, deadline_ms, err))
            return ARRIVAL_FAILED;
    }
}

struct request {
    const char *service, *method;
    uint64_t timeout_ms;  /* for grpc-timeout; 0: none */
    const uint8_t *frame; /* NULL: messages follow */
    size_t frame_len;
};

static bool begin(struct rpc_client *client, struct exchange *exchange,
                  const struct request *request, struct err *err)
{
    char path[256];
    char timeout[16];
    char authority[300];
    if (!str_format(path, sizeof path, "/%s/%s", request->service, request->method))
        return err_set(err, ERR_INVALID, "method name is too long");
    if (!ensure_connected(client, err))
        return false;
    frame_format_timeout(request->timeout_ms, timeout);
    str_format(authority, sizeof authority, strchr(client->host, ':') ? "[%s]:%u" : "%s:%u",
               client->host, client->port);
    const struct h2_header headers[] = {
        {":method", "POST"},
        {":scheme", "https"},
        {":path", path},
        {":authority", authority},
        {"content-type", "application/grpc"},
        {"te", "trailers"},
        {"user-agent", "evercopy-c"},
        {"grpc-timeout", timeout},
    };
    size_t count = sizeof headers / sizeof *headers - (request->timeout_ms ? 0 : 1);
    status_reply_init(&exchange->status);
    exchange->stream = h2_request(client->h2, headers, count, exchange, err);
    if (!exchange->stream)
        return err_wrap(err, "%s", client->label);
    exchange->client = client;
    client->open++;
    if (!request->frame)
        return true;
    if (!h2_send(exchange->stream, request->frame, request->frame_len) ||
        !h2_finish(exchange->stream, NULL, 0))
        return err_set(err, ERR_NO_MEMORY, "no memory for the request");
    return true;
}

/* The one reply of a unary call and its status. */
static ProtobufCMessage *finish_unary(struct rpc_client *client, struct exchange *exchange,
                                      const ProtobufCMessageDescriptor *output,
                                      uint64_t deadline_ms, struct err *err)
{
    enum arrival arrival = next_arrival(client, exchange, deadline_ms, err);
    if (arrival == ARRIVAL_FAILED)
        return NULL;
    if (arrival == ARRIVAL_END) {
        if (status_reply_judge(&exchange->status, err))
            err_set(err, ERR_INTERNAL, "%s: the reply holds no message", client->label);
        return NULL;
    }
    ProtobufCMessage *reply =
        message_unpack_reply(output, exchange->in.bytes, exchange->in.len, err);
    if (!reply)
        return NULL;
    arrival = next_arrival(client, exchange, deadline_ms, err);
    if (arrival == ARRIVAL_END && status_reply_judge(&exchange->status, err))
        return reply;
    if (arrival == ARRIVAL_MESSAGE)
        err_set(err, ERR_INTERNAL, "%s: more than one message in the reply", client->label);
    protobuf_c_message_free_unpacked(reply, NULL);
    return NULL;
}

ProtobufCMessage *rpc_client_call(struct rpc_client *client, const char *service,
                                  const char *method, const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                                  struct err *err)
{
    struct request what = {.service = service, .method = method};
    AUTO(mem) uint8_t *frame = message_pack(request, &what.frame_len, err);
    if (!frame)
        return NULL;
    what.frame = frame;
    what.timeout_ms = timeout_ms ? timeout_ms : CALL_DEFAULT_MS;
    for (int attempt = 0;; attempt++) {
        AUTO(exchange) struct exchange exchange = {0};
        struct err why = {0};
        if (!begin(client, &exchange, &what, err))
            return NULL;
        uint64_t deadline_ms = clock_mono_ms() + what.timeout_ms + GRACE_MS;
        ProtobufCMessage *reply = finish_unary(client, &exchange, output, deadline_ms, &why);
        if (reply)
            return reply;
        /* Refused means never begun, so that asking again is safe even for a mutation. */
        if (attempt || exchange.stream || exchange.code != H2_REFUSED_STREAM) {
            *err = why;
            return NULL;
        }
        disconnect(client);
    }
}

static bool hand_over(const struct exchange *exchange, const ProtobufCMessageDescriptor *output,
                      bool (*each)(void *arg, const ProtobufCMessage *message), void *arg,
                      struct err *err)
{
    ProtobufCMessage *message =
        message_unpack_reply(output, exchange->in.bytes, exchange->in.len, err);
    if (!message)
        return false;
    bool goes_on = each(arg, message);
    protobuf_c_message_free_unpacked(message, NULL);
    return goes_on || err_set(err, ERR_CANCELLED, "stopped by the reader");
}

bool rpc_client_stream(struct rpc_client *client, const char *service, const char *method,
                       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
                       uint64_t idle_timeout_ms,
                       bool (*each)(void *arg, const ProtobufCMessage *message), void *arg,
                       struct err *err)
{
    struct request what = {.service = service, .method = method};
    AUTO(mem) uint8_t *frame = message_pack(request, &what.frame_len, err);
    if (!frame)
        return false;
    what.frame = frame;
    AUTO(exchange) struct exchange exchange = {0};
    if (!begin(client, &exchange, &what, err))
        return false;
    for (;;) {
        uint64_t deadline_ms = idle_timeout_ms ? clock_mono_ms() + idle_timeout_ms : UINT64_MAX;
        switch (next_arrival(client, &exchange, deadline_ms, err)) {
        case ARRIVAL_MESSAGE:
            if (!hand_over(&exchange, output, each, arg, err))
                return false;
            break;
        case ARRIVAL_END:
            return status_reply_judge(&exchange.status, err);
        case ARRIVAL_FAILED:
            return false;
        }
    }
}

struct rpc_upload {
    struct exchange exchange;
    const ProtobufCMessageDescriptor *output;
    bool finished;
};

struct rpc_upload *rpc_client_upload(struct rpc_client *client, const char *service,
                                     const char *method, const ProtobufCMessageDescriptor *output,
                                     struct err *err)
{
    struct request what = {.service = service, .method = method};
    AUTO(rpc_upload) struct rpc_upload *upload = own_alloc(sizeof *upload, err);
    if (!upload)
        return NULL;
    upload->output = output;
    return begin(client, &upload->exchange, &what, err) ? TAKE(upload) : NULL;
}

/* The agent's last word, or the loss of the connection, as an error; an early reply is none. */
static bool judge_early(struct rpc_upload *upload, struct err *err)
{
    struct exchange *exchange = &upload->exchange;
    if (has_status(exchange))
        return exchange->status.grpc_status == 0 || status_reply_judge(&exchange->status, err);
    if (!exchange->stream)
        fail_arrival(exchange->client, exchange, err);
    return exchange->stream;
}

bool rpc_upload_is_over(struct rpc_upload *upload)
{
    struct exchange *exchange = &upload->exchange;
    struct rpc_client *client = exchange->client;
    struct err why = {0};
    if (exchange->stream && !has_status(exchange) && h2_work(client->h2, &why) <= 0)
        disconnect(client);
    return !exchange->stream || has_status(exchange);
}

bool rpc_upload_send(struct rpc_upload *upload, const ProtobufCMessage *message, uint64_t wait_ms,
                     struct err *err)
{
    struct exchange *exchange = &upload->exchange;
    uint64_t deadline_ms = clock_mono_ms() + (wait_ms ? wait_ms : CALL_DEFAULT_MS);
    assert(!upload->finished);
    if (rpc_upload_is_over(upload))
        return judge_early(upload, err);
    size_t len;
    AUTO(mem) uint8_t *frame = message_pack(message, &len, err);
    if (!frame)
        return false;
    if (!h2_send(exchange->stream, frame, len))
        return err_set(err, ERR_NO_MEMORY, "no memory for the request");
    while (!rpc_upload_is_over(upload) && h2_queued(exchange->stream) >= H2_QUEUE_HIGH)
        if (!wait_more(exchange->client, deadline_ms, err))
            return false;
    return judge_early(upload, err);
}

ProtobufCMessage *rpc_upload_finish(struct rpc_upload *upload, uint64_t timeout_ms, struct err *err)
{
    struct exchange *exchange = &upload->exchange;
    uint64_t deadline_ms = clock_mono_ms() + (timeout_ms ? timeout_ms : CALL_DEFAULT_MS);
    assert(!upload->finished);
    upload->finished = true;
    if (exchange->stream && !has_status(exchange) && !h2_finish(exchange->stream, NULL, 0)) {
        err_set(err, ERR_NO_MEMORY, "no memory for the request");
        return NULL;
    }
    return finish_unary(exchange->client, exchange, upload->output, deadline_ms, err);
}

void rpc_upload_free(struct rpc_upload *upload)
{
    if (!upload)
        return;
    exchange_done(&upload->exchange);
    own_free(upload);
}

void rpc_client_on_wait(struct rpc_client *client, bool (*fn)(void *arg), void *arg)
{
    client->is_cancelled = fn;
    client->arg = arg;
}
