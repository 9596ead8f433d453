/* Raw HTTP/2 bytes over a real TLS connection: what no library would let a client say. */
#pragma once
#include "agent/net/sock.h"
#include "agent/net/tls.h"
#include "tests/rpc/world.h"
#include <sys/socket.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { CONTINUATION = 9, UNHEARD_OF = 0x5a };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* What is to be sent, gathered before it is. */
struct bytes {
    uint8_t *at;
    size_t len, capacity;
};

static inline void bytes_done(struct bytes *bytes) { own_free(bytes->at); }
OWN_DEFINE_INPLACE(bytes, struct bytes, bytes_done);

static inline void add(struct bytes *to, const void *from, size_t len)
{
    struct err err = {0};
    while (to->len + len > to->capacity) {
        to->capacity = to->capacity ? to->capacity * 2 : 4096;
        to->at = own_realloc(to->at, to->capacity, &err);
        cr_ok(to->at, err);
    }
    if (len)
        memcpy(to->at + to->len, from, len);
    to->len += len;
}

static inline void add_head(struct bytes *to, size_t len, int type, int flags, uint32_t stream)
{
    const uint8_t head[9] = {
        (uint8_t)(len >> 16),    (uint8_t)(len >> 8),    (uint8_t)len,
        (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    add(to, head, sizeof head);
}

static inline void add_frame(struct bytes *to, int type, int flags, uint32_t stream,
                             const void *payload, size_t len)
{
    add_head(to, len, type, flags, stream);
    add(to, payload, len);
}

/* A literal header that is not indexed (RFC 7541 section 6.2.2); texts below 127 bytes. */
static inline void add_literal(struct bytes *to, const char *name, const char *value)
{
    const uint8_t name_head[2] = {0, (uint8_t)strlen(name)};
    const uint8_t value_head = (uint8_t)strlen(value);
    add(to, name_head, 2);
    add(to, name, strlen(name));
    add(to, &value_head, 1);
    add(to, value, strlen(value));
}

static inline void add_request_block(struct bytes *to, const char *path)
{
    add(to, "\x83\x87", 2); /* :method POST, :scheme https */
    add_literal(to, ":path", path);
    add_literal(to, ":authority", "x");
    add_literal(to, "content-type", "application/grpc");
    add_literal(to, "te", "trailers");
}

static inline void add_request(struct bytes *to, uint32_t stream, int flags, const char *path)
{
    AUTO(bytes) struct bytes block = {0};
    add_request_block(&block, path);
    add_frame(to, HEADERS, flags, stream, block.at, block.len);
}

static inline void add_greeting(struct bytes *to)
{
    add(to, PREFACE, 24);
    add_frame(to, SETTINGS, 0, 0, NULL, 0);
}

struct wire {
    struct tls_context *context;
    struct tls *tls;
    int fd;
    bool closed;
    int goaway; /* its code, -1: none */
    uint64_t pongs, resets, data_bytes;
    uint8_t head[9];
    size_t head_len, body_left, body_at;
    uint8_t body[16];
};

/* Kept over the connections of one test, so that a thousand of them cost no thousand handshakes. */
static struct tls_context *wire_context;
static uint8_t *wire_session;
static size_t wire_session_len;

static inline void wire_end(void)
{
    own_free(TAKE(wire_session));
    tls_context_free(TAKE(wire_context));
}

static inline bool wire_shake_hands(struct tls *tls, struct err *err)
{
    uint64_t until = clock_mono_ms() + 20000;
    enum tls_step step;
    while ((step = tls_handshake(tls, err)) == TLS_WANT_READ || step == TLS_WANT_WRITE)
        if (!sock_wait(tls_fd(tls), step == TLS_WANT_READ, step == TLS_WANT_WRITE, until))
            return err_set(err, ERR_TIMEOUT, "no handshake");
    return step == TLS_DONE;
}

static inline bool wire_try(struct wire *wire, struct tls_context *context, struct err *err)
{
    *wire = (struct wire){.goaway = -1};
    wire->fd = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 5000, err);
    if (wire->fd < 0)
        return false;
    wire->tls = tls_new(context, wire->fd, err);
    cr_ok(wire->tls, *err);
    if (wire_session && context == wire_context)
        IGNORE(tls_session_use(wire->tls, wire_session, wire_session_len));
    return wire_shake_hands(wire->tls, err);
}

static inline void wire_open(struct wire *wire)
{
    struct err err = {0};
    struct tls_files files = {in_dir("bundle/ca.crt"), in_dir("bundle/host.crt"),
                              in_dir("bundle/host.key")};
    uint32_t seconds;
    if (!wire_context)
        wire_context = tls_context_new(TLS_CLIENT, &files, &err);
    cr_ok(wire_context, err);
    cr_ok(wire_try(wire, wire_context, &err), err);
    if (!wire_session)
        cr_ok(tls_session_save(wire->tls, &wire_session, &wire_session_len, &seconds, &err), err);
}

static inline void wire_close(struct wire *wire) { tls_free(TAKE(wire->tls)); }
OWN_DEFINE_INPLACE(wire, struct wire, wire_close);

static inline void wire_frame(struct wire *wire)
{
    if (wire->head[3] == GOAWAY)
        wire->goaway =
            wire->body[4] << 24 | wire->body[5] << 16 | wire->body[6] << 8 | wire->body[7];
    wire->pongs += wire->head[3] == PING && wire->head[4] & ACK;
    wire->resets += wire->head[3] == RST_STREAM;
}

static inline void wire_parse(struct wire *wire, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (wire->head_len < 9) {
            wire->head[wire->head_len++] = bytes[i];
            wire->body_left = (size_t)wire->head[0] << 16 | wire->head[1] << 8 | wire->head[2];
            wire->body_at = 0;
        } else {
            if (wire->body_at < sizeof wire->body)
                wire->body[wire->body_at] = bytes[i];
            wire->body_at++;
            wire->body_left--;
            wire->data_bytes += wire->head[3] == DATA;
        }
        if (wire->head_len == 9 && !wire->body_left) {
            wire_frame(wire);
            wire->head_len = 0;
        }
    }
}

/* Takes what has come. */
static inline void wire_read(struct wire *wire)
{
    static uint8_t bytes[16384];
    struct err err = {0};
    size_t len = 0;
    enum tls_step step;
    while (!wire->closed &&
           (step = tls_read(wire->tls, bytes, sizeof bytes, &len, &err)) != TLS_WANT_READ) {
        if (step == TLS_DONE)
            wire_parse(wire, bytes, len);
        else
            wire->closed = true;
    }
}

/* False when the connection ended first. deaf: takes nothing of what the server says. */
static inline bool wire_send(struct wire *wire, const struct bytes *bytes, bool deaf, uint64_t ms)
{
    struct err err = {0};
    uint64_t until = clock_mono_ms() + ms;
    for (size_t at = 0, len = 0; at < bytes->len && !wire->closed; at += len) {
        size_t piece = bytes->len - at < 16384 ? bytes->len - at : 16384;
        len = 0;
        enum tls_step step = tls_write(wire->tls, bytes->at + at, piece, &len, &err);
        if (step == TLS_FAILED || step == TLS_CLOSED)
            wire->closed = true;
        if (step == TLS_DONE && !deaf)
            wire_read(wire);
        if (step != TLS_DONE) {
            len = 0;
            if (!sock_wait(wire->fd, !deaf, true, until))
                return false;
            if (!deaf)
                wire_read(wire);
        }
    }
    return !wire->closed;
}

/* Reads until the server ends the connection; false when it does not within ms. */
static inline bool wire_ends(struct wire *wire, uint64_t ms)
{
    uint64_t until = clock_mono_ms() + ms;
    wire_read(wire);
    while (!wire->closed && sock_wait(wire->fd, true, false, until))
        wire_read(wire);
    return wire->closed;
}

/* The server answers a PING: it listens, and has taken what was sent before. */
static inline bool wire_lives(struct wire *wire)
{
    AUTO(bytes) struct bytes ping = {0};
    uint64_t before = wire->pongs;
    uint64_t until = clock_mono_ms() + 5000;
    add_frame(&ping, PING, 0, 0, "stillson", 8);
    if (!wire_send(wire, &ping, false, 5000))
        return false;
    while (!wire->closed && wire->pongs == before && sock_wait(wire->fd, true, false, until))
        wire_read(wire);
    return wire->pongs != before;
}
