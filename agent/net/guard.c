/* Watches the frames of a client from outside nghttp2: how much nonsense, and how slowly. */
#include "agent/net/guard.h"

enum {
    PREFACE_BYTES = 24,
    RESET_BURST = 500, /* streams begun and reset: what "rapid reset" needs thousands of */
    RESET_PER_S = 33,
    CHATTER_BURST = 2000, /* frames that carry nothing */
    CHATTER_PER_S = 200,
    CREDIT = 4,          /* frames of chatter that a frame of use may bring along */
    REQUEST_CREDIT = 20, /* and a request */
    DEAR = 20,           /* SETTINGS and GOAWAY, of which an honest client has one */
    PADDING_MAX = 256,
    GREETING_MS = 10000,
    PART_MS = 30000,
};

/* RFC 9113 section 6 */
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY };
enum { CONTINUATION = 9 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

static void fill(struct bucket *bucket, uint64_t tokens)
{
    bucket->milli += tokens * 1000;
    if (bucket->milli > bucket->burst * 1000)
        bucket->milli = bucket->burst * 1000;
}

static bool take(struct bucket *bucket, uint64_t tokens, uint64_t now_ms)
{
    if (now_ms > bucket->filled_ms) {
        uint64_t passed = now_ms - bucket->filled_ms;
        bucket->milli += (passed < 3600000 ? passed : 3600000) * bucket->per_s;
        bucket->filled_ms = now_ms;
        fill(bucket, 0);
    }
    if (bucket->milli < tokens * 1000)
        return false;
    bucket->milli -= tokens * 1000;
    return true;
}

void guard_init(struct guard *guard, uint64_t now_ms)
{
    *guard = (struct guard){
        .resets = {RESET_BURST * 1000ull, RESET_BURST, RESET_PER_S, now_ms},
        .chatter = {CHATTER_BURST * 1000ull, CHATTER_BURST, CHATTER_PER_S, now_ms},
        .preface_left = PREFACE_BYTES,
        .begun_ms = now_ms,
    };
}

const char *guard_reset(struct guard *guard, uint64_t now_ms)
{
    return take(&guard->resets, 1, now_ms) ? NULL : "too many streams were reset";
}

void guard_sent(struct guard *guard) { fill(&guard->chatter, CREDIT); }

static const char *chatter(struct guard *guard, uint64_t tokens, const char *why, uint64_t now_ms)
{
    return take(&guard->chatter, tokens, now_ms) ? NULL : why;
}

static const char *judge_data(struct guard *guard, size_t len, int flags, uint64_t now_ms)
{
    if (len > ((flags & PADDED) ? PADDING_MAX : 0)) {
        fill(&guard->chatter, CREDIT);
        return NULL;
    }
    return flags & END_STREAM ? NULL : chatter(guard, 1, "too many empty DATA frames", now_ms);
}

/* A frame's head is whole. */
static const char *judge(struct guard *guard, size_t len, uint64_t now_ms)
{
    int flags = guard->head[4];
    switch (guard->head[3]) {
    case DATA:
        return judge_data(guard, len, flags, now_ms);
    case HEADERS:
        fill(&guard->chatter, REQUEST_CREDIT);
        guard->in_block = !(flags & END_HEADERS);
        return NULL;
    case CONTINUATION:
        guard->in_block = !(flags & END_HEADERS);
        return chatter(guard, DEAR, "too many CONTINUATION frames", now_ms);
    case RST_STREAM:
        return guard_reset(guard, now_ms);
    case SETTINGS:
        guard->greeted = true;
        return chatter(guard, flags & ACK ? 1 : DEAR, "too many SETTINGS frames", now_ms);
    case PING:
        return chatter(guard, 1, "too many PING frames", now_ms);
    case GOAWAY:
        return chatter(guard, DEAR, "too many GOAWAY frames", now_ms);
    default:
        return chatter(guard, 1, "too many frames that carry nothing", now_ms);
    }
}

static size_t skip(size_t *left, size_t len)
{
    size_t n = *left < len ? *left : len;
    *left -= n;
    return n;
}

const char *guard_bytes(struct guard *guard, const uint8_t *bytes, size_t len, uint64_t now_ms)
{
    const char *why = NULL;
    size_t at = skip(&guard->preface_left, len);
    while (at < len) {
        if (guard->head_len == sizeof guard->head) {
            at += skip(&guard->body_left, len - at);
        } else {
            guard->head[guard->head_len++] = bytes[at++];
            if (guard->head_len < sizeof guard->head)
                continue;
            guard->body_left = (size_t)guard->head[0] << 16 | guard->head[1] << 8 | guard->head[2];
            const char *found = judge(guard, guard->body_left, now_ms);
            why = why ? why : found;
        }
        if (guard->head_len == sizeof guard->head && !guard->body_left) {
            guard->head_len = 0;
            if (!guard->in_block)
                guard->part_ms = 0;
        }
    }
    bool is_part = guard->head_len || guard->in_block;
    if (!is_part)
        guard->part_ms = 0;
    else if (!guard->part_ms)
        guard->part_ms = now_ms ? now_ms : 1;
    return why;
}

const char *guard_late(const struct guard *guard, uint64_t now_ms)
{
    if (!guard->greeted && now_ms - guard->begun_ms > GREETING_MS)
        return "no HTTP/2 greeting in time";
    if (guard->part_ms && now_ms - guard->part_ms > PART_MS)
        return guard->in_block ? "request headers were begun and not ended"
                               : "a frame was begun and not ended";
    return NULL;
}
