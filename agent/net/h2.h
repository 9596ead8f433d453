/* One HTTP/2 connection over TLS, server or client: streams with headers, bytes and trailers. */
#pragma once
#include "agent/net/tls.h"

enum {
    H2_AGAIN = 4,              /* beside LOOP_READ and LOOP_WRITE: call h2_work again soon */
    H2_QUEUE_HIGH = 256 << 10, /* bytes of one stream not yet sent, where `room` starts to tell */
    H2_STREAMS_MAX = 128,
    H2_HEADER_MAX = 16 << 10,
};
/* RFC 9113 section 7, the ones we speak. CONNECTION_LOST is ours: the connection ended first. */
enum {
    H2_NO_ERROR = 0,
    H2_INTERNAL_ERROR = 2,
    H2_REFUSED_STREAM = 7,
    H2_CANCEL = 8,
    H2_CONNECTION_LOST = 0xffff,
};

struct h2;
struct h2_stream;

struct h2_header {
    const char *name, *value;
};

/* Called from h2_work and h2_free only. A stream may be answered in any of them. */
struct h2_handler {
    /* Server: a request begins; sets h2_stream_set_user. False refuses it. Client: NULL. */
    bool (*begin)(void *arg, struct h2_stream *stream);
    /* One header or trailer; value is terminated and holds no NUL. */
    void (*header)(struct h2_stream *stream, const char *name, const char *value);
    void (*headers_done)(struct h2_stream *stream);
    /* Bytes of the body; h2_consume gives their room in the window back, now or later. */
    void (*data)(struct h2_stream *stream, const void *bytes, size_t len);
    /* The other side has sent all it will. */
    void (*end)(struct h2_stream *stream);
    /* The queue fell below H2_QUEUE_HIGH again. NULL: not interested. */
    void (*room)(struct h2_stream *stream);
    /* The last word about a stream, which is gone afterwards. */
    void (*closed)(struct h2_stream *stream, uint32_t code);
};

/* Takes tls (after its handshake) over on success. handler is borrowed. */
struct h2 *h2_new(enum tls_side side, struct tls *tls, const struct h2_handler *handler, void *arg,
                  struct err *err) MUST;
void h2_free(struct h2 *h2); /* every open stream is told CONNECTION_LOST */
OWN_DEFINE(h2, struct h2, h2_free);
/* Reads and writes what the socket allows; returns what to wait for, 0 when the connection ended in
 * peace, -1 with err when it broke. Not from inside a handler. */
int h2_work(struct h2 *h2, struct err *err) MUST;
struct tls *h2_tls(struct h2 *h2);
uint64_t h2_received(const struct h2 *h2); /* bytes so far, to tell a live peer */
void h2_ping(struct h2 *h2);
void h2_drain(struct h2 *h2);          /* GOAWAY: open streams go on, new ones are refused */
bool h2_is_going(const struct h2 *h2); /* either side said GOAWAY: no new requests */

/* Client: NULL with err. Always followed by h2_finish. */
struct h2_stream *h2_request(struct h2 *h2, const struct h2_header *headers, size_t count,
                             void *user, struct err *err) MUST;
/* Server: the reply's headers; with_body false makes them the last word. */
bool h2_answer(struct h2_stream *stream, const struct h2_header *headers, size_t count,
               bool with_body) MUST;
/* Queues a copy; false when memory ran out. */
bool h2_send(struct h2_stream *stream, const void *bytes, size_t len) MUST;
/* No more bytes follow; trailers (copied) go behind what is queued. */
bool h2_finish(struct h2_stream *stream, const struct h2_header *trailers, size_t count) MUST;
void h2_reset(struct h2_stream *stream, uint32_t code);
void h2_consume(struct h2_stream *stream, size_t len);
size_t h2_queued(const struct h2_stream *stream);
void h2_stream_set_user(struct h2_stream *stream, void *user);
void *h2_stream_user(const struct h2_stream *stream);
void *h2_arg(const struct h2_stream *stream); /* h2_new's */
