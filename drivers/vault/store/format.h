/* The format's bytes (FORMAT.md): numbers, sums, hashes, and a reader that never runs over. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

enum {
    VAULT_VERSION = 1,
    RECORD_SHIFT = 13,
    RECORD_BYTES = 1 << RECORD_SHIFT,
    FRAME_ITEMS = 16,
    FRAME_RAW_MAX = FRAME_ITEMS * RECORD_BYTES,
    NODE_FAN = 256,
    HASH_BYTES = 32,
    PACK_TARGET_BYTES = 64 << 20,
    FILE_MAX_SHIFT = 46, /* 64 TiB */
};

struct hash {
    uint8_t bytes[HASH_BYTES];
};

/* Where an item lies, for ever. */
struct addr {
    uint32_t pack, frame;
    uint8_t item;
};

/* The top of a file's map. `stored` false: all of it is holes. */
struct root {
    uint8_t level;
    bool stored;
    struct addr addr;
    uint64_t birth;
    struct hash hash; /* of the content below, sizes apart */
};

/* Bytes under construction. */
struct bytes {
    uint8_t *data;
    size_t len, capacity;
};
void bytes_done(struct bytes *b);
OWN_DEFINE_INPLACE(bytes, struct bytes, bytes_done);
bool bytes_add(struct bytes *b, const void *data, size_t len, struct err *err) MUST;
bool bytes_u8(struct bytes *b, uint8_t n, struct err *err) MUST;
bool bytes_u16(struct bytes *b, uint16_t n, struct err *err) MUST;
bool bytes_u32(struct bytes *b, uint32_t n, struct err *err) MUST;
bool bytes_u64(struct bytes *b, uint64_t n, struct err *err) MUST;
bool bytes_varint(struct bytes *b, uint64_t n, struct err *err) MUST;
/* varint length, then the bytes. */
bool bytes_text(struct bytes *b, const char *text, struct err *err) MUST;

/* A cursor over hostile bytes: past the end everything reads as 0 and `bad` is set for good. */
struct cursor {
    const uint8_t *at, *end;
    bool bad;
};
struct cursor cursor_over(const void *data, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
uint64_t cursor_varint(struct cursor *c); /* longer than 10 bytes, or over 64 bits: bad */
const uint8_t *cursor_take(struct cursor *c,
                           size_t len); /* NULL and bad when there are not so many */
/* At most max - 1 bytes, no NUL within, into ret, terminated. */
bool cursor_text(struct cursor *c, char *ret, size_t max);
static inline size_t cursor_left(const struct cursor *c) { return (size_t)(c->end - c->at); }

uint64_t format_sum(uint64_t seed, const void *data, size_t len);
/* Of several pieces: each is summed with the sum before it as its seed. */
struct format_piece {
    const void *data;
    size_t len;
};
uint64_t format_sum_of(uint64_t seed, const struct format_piece *pieces, size_t count);

/* SHA-256, by the library that store/README.md names and why. */
void hash_bytes(const void *data, size_t len, struct hash *ret);
/* Of at most 4 pieces, as of their joined bytes. */
void hash_pieces(const struct format_piece *pieces, size_t count, struct hash *ret);
/* What nothing but zeros counts as: -1 a record, 0 a leaf, n a node of level n. */
const struct hash *hash_zero(int level);
bool hash_equal(const struct hash *a, const struct hash *b);
bool format_is_zero(const void *data, size_t len);
