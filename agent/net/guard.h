/* Watches the frames of a client from outside nghttp2: how much nonsense, and how slowly. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A bucket of tokens: `burst` at once, `per_s` each second. */
struct bucket {
    uint64_t milli; /* thousandths of a token */
    uint64_t burst, per_s, filled_ms;
};

struct guard {
    struct bucket resets, chatter;
    uint8_t head[9];
    size_t preface_left, head_len, body_left;
    bool in_block;              /* HEADERS without END_HEADERS went before */
    bool greeted;               /* SETTINGS have come */
    uint64_t begun_ms, part_ms; /* of the connection; of the frame or block that is not whole */
};

void guard_init(struct guard *guard, uint64_t now_ms);
/* Looks at bytes as they arrive. NULL, or why this peer has to go. */
const char *guard_bytes(struct guard *guard, const uint8_t *bytes, size_t len, uint64_t now_ms);
/* A stream was reset by either side. */
const char *guard_reset(struct guard *guard, uint64_t now_ms);
/* Useful bytes went out: what a peer says about them is no chatter. */
void guard_sent(struct guard *guard);
/* NULL, or what the peer began and did not end in time. */
const char *guard_late(const struct guard *guard, uint64_t now_ms);
