/* One HTTP/2 connection over TLS, server or client, over nghttp2. */
#include "agent/net/h2.h"

#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include "agent/base/str.h"
#include "agent/net/guard.h"
#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <string.h>
#include <sys/queue.h>

enum {
    RECORD_BYTES = 16384,  /* one TLS record */
    FRAME_MAX = 16384 + 9, /* what nghttp2 hands out at once */
    READS_PER_TURN = 32,   /* then the next connection has its turn */
    STREAM_WINDOW = 1 << 20,
    CONNECTION_WINDOW = 4 << 20,
    CLOGGED = 256,     /* frames waiting for a full socket: no more is read */
    STALL_MS = 120000, /* in which STALL_BYTES of what waits must have gone */
    STALL_BYTES = 64 << 10,
    FAREWELL_MAX = 256,
    HEADERS_PER_MESSAGE = 32,
    HEADER_OVERHEAD = 32, /* RFC 9113 section 6.5.2 counts so */
};

struct queue {
    uint8_t *bytes;
    size_t head, len, capacity; /* len counts from head */
};

struct h2_stream {
    struct h2 *h2;
    int32_t id;
    void *user;
    struct queue out;
    struct h2_header *trailers; /* owned, and their texts */
    size_t trailer_count;
    bool finished, was_full, room_due;
    size_t header_bytes, unconsumed;
    TAILQ_ENTRY(h2_stream) link;
};

struct h2 {
    enum tls_side side;
    struct tls *tls;
    const struct h2_handler *handler;
    void *arg;
    nghttp2_session *session;
    TAILQ_HEAD(h2_streams, h2_stream) streams;
    uint8_t *record; /* on demand: frames on their way into TLS */
    size_t record_head, record_len;
    uint64_t received, begun;
    bool going, eof, room_due;
    struct guard guard; /* a server's */
    const char *calm;   /* why the peer must go */
    struct h2_budget *budget;
    size_t queued;               /* of all streams */
    uint64_t taken;              /* bytes of bodies that left their queues */
    uint64_t stall_ms, stall_at; /* since when something waits, and taken at that time */
    char farewell[FAREWELL_MAX];
};

static void count_queued(struct h2 *h2, size_t more, size_t less)
{
    h2->queued = h2->queued + more - less;
    if (h2->budget)
        h2->budget->queued = h2->budget->queued + more - less;
}

static void stream_free(struct h2_stream *stream)
{
    if (!stream)
        return;
    count_queued(stream->h2, 0, stream->out.len);
    for (size_t i = 0; i < stream->trailer_count; i++) {
        own_free((char *)stream->trailers[i].name);
        own_free((char *)stream->trailers[i].value);
    }
    own_free(stream->trailers);
    own_free(stream->out.bytes);
    own_free(stream);
}
OWN_DEFINE(stream, struct h2_stream, stream_free);

static struct h2_stream *stream_new(struct h2 *h2, int32_t id, struct err *err)
{
    struct h2_stream *stream = own_alloc(sizeof *stream, err);
    if (!stream)
        return NULL;
    stream->h2 = h2;
    stream->id = id;
    h2->begun++;
    TAILQ_INSERT_TAIL(&h2->streams, stream, link);
    return stream;
}

static void stream_close(struct h2_stream *stream, uint32_t code)
{
    struct h2 *h2 = stream->h2;
    TAILQ_REMOVE(&h2->streams, stream, link);
    if (stream->unconsumed)
        IGNORE(nghttp2_session_consume_connection(h2->session, stream->unconsumed));
    h2->handler->closed(stream, code);
    stream_free(stream);
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static bool queue_append(struct queue *q, const void *bytes, size_t len)
{
    if (!len)
        return true;
    if (q->head && q->head + q->len + len > q->capacity) {
        memmove(q->bytes, q->bytes + q->head, q->len);
        q->head = 0;
    }
    if (q->len + len > q->capacity) {
        size_t capacity = q->capacity ? q->capacity : 256;
        while (capacity < q->len + len)
            capacity *= 2;
        struct err err = {0};
        uint8_t *grown = own_realloc(q->bytes, capacity, &err);
        if (!grown)
            return false;
        q->bytes = grown;
        q->capacity = capacity;
    }
    memcpy(q->bytes + q->head + q->len, bytes, len);
    q->len += len;
    return true;
}

static size_t queue_take(struct queue *q, uint8_t *to, size_t size)
{
    size_t n = q->len < size ? q->len : size;
    if (n)
        memcpy(to, q->bytes + q->head, n);
    q->head += n;
    q->len -= n;
    if (!q->len)
        q->head = 0;
    return n;
}

static size_t fill_headers(nghttp2_nv *nv, const struct h2_header *headers, size_t count)
{
    assert(count <= HEADERS_PER_MESSAGE);
    for (size_t i = 0; i < count; i++)
        nv[i] = (nghttp2_nv){.name = (uint8_t *)headers[i].name,
                             .value = (uint8_t *)headers[i].value,
                             .namelen = strlen(headers[i].name),
                             .valuelen = strlen(headers[i].value)};
    return count;
}

/* nghttp2 asks for the next bytes of a body. */
static ssize_t on_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t size,
                       uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)arg;
    struct h2_stream *stream = source->ptr;
    if (!stream->out.len && !stream->finished)
        return NGHTTP2_ERR_DEFERRED;
    size_t n = queue_take(&stream->out, to, size);
    count_queued(stream->h2, 0, n);
    stream->h2->taken += n;
    if (n)
        guard_sent(&stream->h2->guard);
    if (stream->was_full && stream->out.len < H2_QUEUE_HIGH) {
        stream->was_full = false;
        stream->room_due = true;
        stream->h2->room_due = true;
    }
    if (stream->finished && !stream->out.len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->trailer_count) {
            nghttp2_nv nv[HEADERS_PER_MESSAGE];
            size_t count = fill_headers(nv, stream->trailers, stream->trailer_count);
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, id, nv, count) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h2 = arg;
    if (h2->side == TLS_CLIENT || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct err err = {0};
    struct h2_stream *stream = stream_new(h2, frame->hd.stream_id, &err);
    if (!stream)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (h2->calm || !h2->handler->begin(h2->arg, stream)) {
        TAILQ_REMOVE(&h2->streams, stream, link);
        stream_free(stream);
        /* REFUSED tells a client that it may ask again: nothing was begun. */
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                         NGHTTP2_REFUSED_STREAM);
    }
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    (void)flags;
    struct h2 *h2 = arg;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    if (!stream)
        return 0;
    stream->header_bytes += name_len + value_len + HEADER_OVERHEAD;
    if (stream->header_bytes > H2_HEADER_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset */
    h2->handler->header(stream, (const char *)name, (const char *)value);
    return 0;
}

static void hear_farewell(struct h2 *h2, const nghttp2_goaway *goaway)
{
    h2->going = true;
    size_t len = goaway->opaque_data_len;
    if (len >= sizeof h2->farewell)
        len = 0; /* more than a sentence */
    for (size_t i = 0; i < len; i++)
        if (goaway->opaque_data[i] < ' ' || goaway->opaque_data[i] > '~')
            len = 0;
    if (len)
        memcpy(h2->farewell, goaway->opaque_data, len);
    h2->farewell[len] = '\0';
}

/* Also those resets that a peer provokes by breaking rules on a stream of its own. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct h2 *h2 = arg;
    if (frame->hd.type == NGHTTP2_RST_STREAM && h2->side == TLS_SERVER &&
        frame->rst_stream.error_code != NGHTTP2_NO_ERROR && !h2->calm)
        h2->calm = guard_reset(&h2->guard, clock_mono_ms());
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h2 = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        hear_farewell(h2, &frame->goaway);
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    if (!stream)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        h2->handler->headers_done(stream);
    bool carries_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (carries_end && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        h2->handler->end(stream);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t len, void *arg)
{
    (void)flags;
    struct h2 *h2 = arg;
    struct h2_stream *stream = stream_of(session, id);
    if (!stream) {
        IGNORE(nghttp2_session_consume(session, id, len));
        return 0;
    }
    stream->unconsumed += len;
    h2->handler->data(stream, bytes, len);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    (void)arg;
    struct h2_stream *stream = stream_of(session, id);
    if (stream)
        stream_close(stream, code);
    return 0;
}

static int make_session(struct h2 *h2, nghttp2_session_callbacks *callbacks, nghttp2_option *option)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_option_set_no_auto_window_update(option, 1);
    return h2->side == TLS_SERVER
               ? nghttp2_session_server_new2(&h2->session, callbacks, h2, option)
               : nghttp2_session_client_new2(&h2->session, callbacks, h2, option);
}

static int open_session(struct h2 *h2)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);
    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0)
        rc = make_session(h2, callbacks, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    if (rc != 0)
        return rc;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADER_MAX},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    size_t count = sizeof settings / sizeof *settings;
    rc = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                 h2->side == TLS_SERVER ? count - 1 : count);
    return rc ? rc
              : nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                      CONNECTION_WINDOW);
}

struct h2 *h2_new(enum tls_side side, struct tls *tls, const struct h2_handler *handler, void *arg,
                  struct err *err)
{
    AUTO(h2) struct h2 *h2 = own_alloc(sizeof *h2, err);
    if (!h2)
        return NULL;
    TAILQ_INIT(&h2->streams);
    h2->side = side;
    h2->handler = handler;
    h2->arg = arg;
    guard_init(&h2->guard, clock_mono_ms());
    int rc = open_session(h2);
    if (rc != 0) {
        err_set(err, ERR_NO_MEMORY, "open HTTP/2 session: %s", nghttp2_strerror(rc));
        return NULL;
    }
    h2->tls = tls;
    return TAKE(h2);
}

void h2_free(struct h2 *h2)
{
    if (!h2)
        return;
    struct h2_stream *stream;
    while ((stream = TAILQ_FIRST(&h2->streams)))
        stream_close(stream, H2_CONNECTION_LOST);
    nghttp2_session_del(h2->session);
    tls_free(h2->tls);
    own_free(h2->record);
    own_free(h2);
}

static bool feed(struct h2 *h2, const uint8_t *bytes, size_t len, struct err *err)
{
    h2->received += len;
    if (h2->side == TLS_SERVER && !h2->calm)
        h2->calm = guard_bytes(&h2->guard, bytes, len, clock_mono_ms());
    ssize_t rc = nghttp2_session_mem_recv(h2->session, bytes, len);
    if (rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
        h2->calm = nghttp2_strerror((int)rc);
    return rc >= 0 || h2->calm ||
           err_set(err, ERR_UNAVAILABLE, "HTTP/2: %s", nghttp2_strerror((int)rc));
}

/* True with *ret_again when bytes may be left inside TLS, where poll cannot see them. */
static bool read_all(struct h2 *h2, bool *ret_again, struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    for (int turn = 0; turn < READS_PER_TURN; turn++) {
        size_t len = 0;
        enum tls_step step = tls_read(h2->tls, bytes, sizeof bytes, &len, err);
        if (step == TLS_FAILED)
            return false;
        if (step == TLS_CLOSED)
            h2->eof = true;
        if (step != TLS_DONE)
            return true;
        if (!feed(h2, bytes, len, err))
            return false;
        if (h2->calm)
            return true;
    }
    *ret_again = true;
    return true;
}

/* Gathers small frames into one record; a frame that straddles its end waits in the buffer. */
static bool fill_record(struct h2 *h2, struct err *err)
{
    while (h2->record_len < RECORD_BYTES) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(h2->session, &bytes);
        if (n < 0)
            return err_set(err, ERR_UNAVAILABLE, "HTTP/2: %s", nghttp2_strerror((int)n));
        if (n == 0)
            return true;
        assert((size_t)n <= FRAME_MAX);
        if (!h2->record)
            h2->record = own_alloc(RECORD_BYTES + FRAME_MAX, err);
        if (!h2->record)
            return false;
        memcpy(h2->record + h2->record_len, bytes, (size_t)n);
        h2->record_len += (size_t)n;
    }
    return true;
}

/* True with *ret_blocked when the socket is full; the record then stays as it is. */
static bool write_all(struct h2 *h2, bool *ret_blocked, struct err *err)
{
    for (;;) {
        if (!h2->record_len && !fill_record(h2, err))
            return false;
        if (!h2->record_len)
            break;
        size_t len = 0;
        enum tls_step step =
            tls_write(h2->tls, h2->record + h2->record_head, h2->record_len, &len, err);
        if (step == TLS_FAILED)
            return false;
        if (step == TLS_CLOSED)
            return err_set(err, ERR_UNAVAILABLE, "the connection was closed");
        if (step != TLS_DONE) {
            *ret_blocked = true;
            return true;
        }
        h2->record_head += len;
        h2->record_len -= len;
        if (!h2->record_len)
            h2->record_head = 0;
    }
    own_free(TAKE(h2->record));
    return true;
}

/* Handlers only queue and submit here; streams close while frames are read or written. */
static void tell_room(struct h2 *h2)
{
    h2->room_due = false;
    for (struct h2_stream *stream = TAILQ_FIRST(&h2->streams); stream;
         stream = TAILQ_NEXT(stream, link)) {
        bool due = stream->room_due;
        stream->room_due = false;
        if (due && !stream->was_full && h2->handler->room)
            h2->handler->room(stream);
    }
}

static bool is_clogged(const struct h2 *h2)
{
    return h2->record_len && nghttp2_session_get_outbound_queue_size(h2->session) > CLOGGED;
}

static int send_away(struct h2 *h2, struct err *err)
{
    h2_farewell(h2, H2_ENHANCE_YOUR_CALM, h2->calm);
    err_set(err, ERR_LIMIT, "sent away: %s", h2->calm);
    return -1;
}

int h2_work(struct h2 *h2, struct err *err)
{
    bool again = false;
    bool blocked = false;
    if (is_clogged(h2) && !write_all(h2, &blocked, err))
        return -1;
    if (blocked && is_clogged(h2))
        return LOOP_WRITE; /* who does not read our answers is not listened to */
    if (!h2->eof && !read_all(h2, &again, err))
        return -1;
    if (h2->eof)
        return 0;
    if (!h2->calm && !write_all(h2, &blocked, err))
        return -1;
    if (h2->calm)
        return send_away(h2, err);
    if (h2->room_due) {
        tell_room(h2);
        again = true; /* what they queued goes out in the next turn */
    }
    bool reads = nghttp2_session_want_read(h2->session);
    if (!reads && !nghttp2_session_want_write(h2->session) && !h2->record_len)
        return 0;
    return LOOP_READ | (blocked ? LOOP_WRITE : 0) | (again ? H2_AGAIN : 0);
}

struct tls *h2_tls(struct h2 *h2) { return h2->tls; }
uint64_t h2_received(const struct h2 *h2) { return h2->received; }
uint64_t h2_begun(const struct h2 *h2) { return h2->begun; }
const char *h2_farewell_text(const struct h2 *h2) { return h2->farewell; }
void h2_set_budget(struct h2 *h2, struct h2_budget *budget) { h2->budget = budget; }
void h2_rest(struct h2 *h2) { tls_rest(h2->tls); }

void h2_farewell(struct h2 *h2, uint32_t code, const char *why)
{
    struct err ignored = {0};
    bool blocked = false;
    size_t len = strlen(why);
    int32_t last = nghttp2_session_get_last_proc_stream_id(h2->session);
    h2->going = true;
    IGNORE(nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, last, code, (const uint8_t *)why,
                                 len < FAREWELL_MAX ? len : FAREWELL_MAX - 1));
    IGNORE(!write_all(h2, &blocked, &ignored)); /* the connection ends either way */
}

/* Little by little is no progress: a peer that takes a byte now and then holds a whole answer. */
static bool takes_too_little(struct h2 *h2, uint64_t now_ms)
{
    bool waits = h2->queued || h2->record_len;
    if (!waits)
        h2->stall_ms = 0;
    else if (!h2->stall_ms || h2->taken - h2->stall_at >= STALL_BYTES) {
        h2->stall_ms = now_ms;
        h2->stall_at = h2->taken;
    }
    return waits && now_ms - h2->stall_ms > STALL_MS;
}

bool h2_is_stuck(struct h2 *h2, struct err *err)
{
    uint64_t now_ms = clock_mono_ms();
    const char *why = h2->side == TLS_SERVER ? guard_late(&h2->guard, now_ms) : NULL;
    if (!why && takes_too_little(h2, now_ms))
        why = "answers were asked for and not taken";
    if (why)
        err_set(err, ERR_TIMEOUT, "%s", why);
    return why != NULL;
}

void h2_ping(struct h2 *h2)
{
    IGNORE(
        nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL)); /* the next tick tries again */
}

void h2_drain(struct h2 *h2)
{
    h2->going = true;
    int32_t last = nghttp2_session_get_last_proc_stream_id(h2->session);
    IGNORE(nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0));
}

bool h2_is_going(const struct h2 *h2) { return h2->going || h2->eof; }

struct h2_stream *h2_request(struct h2 *h2, const struct h2_header *headers, size_t count,
                             void *user, struct err *err)
{
    struct h2_stream *stream = stream_new(h2, 0, err);
    if (!stream)
        return NULL;
    stream->user = user;
    nghttp2_nv nv[HEADERS_PER_MESSAGE];
    fill_headers(nv, headers, count);
    nghttp2_data_provider body = {.source.ptr = stream, .read_callback = on_body};
    stream->id = nghttp2_submit_request(h2->session, NULL, nv, count, &body, stream);
    if (stream->id >= 0)
        return stream;
    err_set(err, ERR_UNAVAILABLE, "HTTP/2: %s", nghttp2_strerror(stream->id));
    TAILQ_REMOVE(&h2->streams, stream, link);
    stream_free(stream);
    return NULL;
}

bool h2_answer(struct h2_stream *stream, const struct h2_header *headers, size_t count,
               bool with_body)
{
    nghttp2_nv nv[HEADERS_PER_MESSAGE];
    fill_headers(nv, headers, count);
    nghttp2_data_provider body = {.source.ptr = stream, .read_callback = on_body};
    return nghttp2_submit_response(stream->h2->session, stream->id, nv, count,
                                   with_body ? &body : NULL) == 0;
}

/* A body that ran dry sleeps inside nghttp2; waking one that is awake changes nothing. */
static void wake_body(struct h2_stream *stream)
{
    IGNORE(nghttp2_session_resume_data(stream->h2->session, stream->id));
}

bool h2_send(struct h2_stream *stream, const void *bytes, size_t len)
{
    struct h2 *h2 = stream->h2;
    bool too_much = h2->queued + len > H2_QUEUE_MAX ||
                    (h2->budget && h2->budget->queued + len > h2->budget->max);
    if (too_much || !queue_append(&stream->out, bytes, len))
        return false;
    count_queued(h2, len, 0);
    if (stream->out.len >= H2_QUEUE_HIGH)
        stream->was_full = true;
    wake_body(stream);
    return true;
}

static bool copy_trailers(struct h2_stream *stream, const struct h2_header *trailers, size_t count)
{
    struct err err = {0};
    stream->trailers = own_alloc(sizeof *stream->trailers * (count ? count : 1), &err);
    if (!stream->trailers)
        return false;
    for (size_t i = 0; i < count; i++) {
        stream->trailers[i].name = own_strdup(trailers[i].name, &err);
        stream->trailers[i].value = own_strdup(trailers[i].value, &err);
        stream->trailer_count++;
        if (!stream->trailers[i].name || !stream->trailers[i].value)
            return false;
    }
    return true;
}

bool h2_finish(struct h2_stream *stream, const struct h2_header *trailers, size_t count)
{
    assert(!stream->finished);
    if (count && !copy_trailers(stream, trailers, count))
        return false;
    stream->finished = true;
    wake_body(stream);
    return true;
}

void h2_reset(struct h2_stream *stream, uint32_t code)
{
    IGNORE(nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, code));
}

void h2_consume(struct h2_stream *stream, size_t len)
{
    assert(len <= stream->unconsumed);
    stream->unconsumed -= len;
    IGNORE(nghttp2_session_consume(stream->h2->session, stream->id, len));
}

size_t h2_queued(const struct h2_stream *stream) { return stream->out.len; }
void h2_stream_set_user(struct h2_stream *stream, void *user) { stream->user = user; }
void *h2_stream_user(const struct h2_stream *stream) { return stream->user; }
void *h2_arg(const struct h2_stream *stream) { return stream->h2->arg; }
