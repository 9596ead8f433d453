/* One HTTP/2 connection over TLS, server or client: streams with headers, bytes and trailers. */
#pragma once
#include "agent/net/tls.h"

enum {
    H2_AGAIN = 4,              /* beside LOOP_READ and LOOP_WRITE: call h2_work again soon */
    H2_QUEUE_HIGH = 256 << 10, /* bytes of one stream not yet sent, where `room` starts to tell */
    H2_QUEUE_MAX = 32 << 20,   /* of all streams together, where h2_send refuses */
    H2_STREAMS_MAX = 128,
    H2_HEADER_MAX = 16 << 10,
};
/* RFC 9113 section 7, the ones we speak. CONNECTION_LOST is ours: the connection ended first. */
enum {
    H2_NO_ERROR = 0,
    H2_INTERNAL_ERROR = 2,
    H2_REFUSED_STREAM = 7,
    H2_CANCEL = 8,
    H2_ENHANCE_YOUR_CALM = 11,
    H2_CONNECTION_LOST = 0xffff,
};

struct h2;
struct h2_stream;

/* What many connections may queue together. */
struct h2_budget {
    size_t queued, max;
};

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
void h2_set_budget(struct h2 *h2, struct h2_budget *budget); /* before the first stream; borrowed */
uint64_t h2_received(const struct h2 *h2);                   /* bytes so far, to tell a live peer */
uint64_t h2_begun(const struct h2 *h2);                      /* streams so far, either side's */
/* To be asked every second or so: true with err when the peer is too slow to be kept, in what it
 * sends or in what it takes. */
bool h2_is_stuck(struct h2 *h2, struct err *err) MUST;
void h2_rest(struct h2 *h2); /* nothing moves: memory for moving is given back */
/* The last words: GOAWAY with a code and a reason in text, as far as the socket takes them. The
 * owner frees the connection then. Not from inside a handler. */
void h2_farewell(struct h2 *h2, uint32_t code, const char *why);
/* What the other side's GOAWAY gave as its reason, else "". */
const char *h2_farewell_text(const struct h2 *h2);
void h2_ping(struct h2 *h2);
void h2_drain(struct h2 *h2);          /* GOAWAY: open streams go on, new ones are refused */
bool h2_is_going(const struct h2 *h2); /* either side said GOAWAY: no new requests */

/* Client: NULL with err. Always followed by h2_finish. */
struct h2_stream *h2_request(struct h2 *h2, const struct h2_header *headers, size_t count,
                             void *user, struct err *err) MUST;
/* Server: the reply's headers; with_body false makes them the last word. */
bool h2_answer(struct h2_stream *stream, const struct h2_header *headers, size_t count,
               bool with_body) MUST;
/* Queues a copy; false when memory ran out, or the peer takes too little of what is queued. */
bool h2_send(struct h2_stream *stream, const void *bytes, size_t len) MUST;
/* No more bytes follow; trailers (copied) go behind what is queued. */
bool h2_finish(struct h2_stream *stream, const struct h2_header *trailers, size_t count) MUST;
void h2_reset(struct h2_stream *stream, uint32_t code);
void h2_consume(struct h2_stream *stream, size_t len);
size_t h2_queued(const struct h2_stream *stream);
void h2_stream_set_user(struct h2_stream *stream, void *user);
void *h2_stream_user(const struct h2_stream *stream);
void *h2_arg(const struct h2_stream *stream); /* h2_new's */
