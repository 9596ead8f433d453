/* What the writer, the directory, the scan and the reader of packs share (FORMAT.md 2.1). */
#pragma once
#include "drivers/vault/store/pack.h"

enum {
    PACK_HEADER = 32,
    PACK_FOOTER = 80,
    PACK_FRAME_HEADER = 40,
    PACK_ROW = 16,
    PACK_SUBJECT_MAX = 10 * (1 + FRAME_ITEMS),
    PACK_FRAMES_MAX = 1 << 16,
    PACK_FRAMES_FULL = PACK_FRAMES_MAX / 2,
    PACK_BYTES_MAX = 1 << 30,
    CODEC_PLAIN = 0,
    CODEC_ZSTD = 1,
};
/* The longest a frame can be. */
enum { PACK_FRAME_MAX = PACK_FRAME_HEADER + PACK_SUBJECT_MAX + FRAME_RAW_MAX };

uint64_t pack_seed(const struct pack_key *key);
void pack_header(const struct pack_key *key, uint8_t ret[PACK_HEADER]);
void pack_put(uint8_t *at, uint64_t n, size_t bytes); /* little endian */
uint64_t pack_take(const uint8_t *at, size_t bytes);

struct frame_header {
    uint8_t kind, codec, items;
    uint16_t present, subject_bytes;
    uint32_t frame, raw, stored;
    uint64_t birth, sum;
};
/* With the sum of what follows it. */
void frame_header_put(const struct frame_header *header, uint64_t seed, const void *subject,
                      const void *stored, uint8_t ret[PACK_FRAME_HEADER]);
/* False when no frame of ours begins so. */
bool frame_header_take(const uint8_t from[PACK_FRAME_HEADER], struct frame_header *ret);
static inline uint32_t frame_header_bytes(const struct frame_header *h)
{
    return PACK_FRAME_HEADER + h->subject_bytes + h->stored;
}
/* Whether the sum holds, over a frame that lies whole in memory. */
bool frame_sum_holds(const uint8_t *frame, const struct frame_header *header, uint64_t seed);
/* Unpacks `stored` into raw; false with CORRUPT or NO_MEMORY. */
bool frame_unpack(const struct frame_header *header, const uint8_t *stored, uint8_t *raw,
                  struct err *err) MUST;

bool subject_put(struct bytes *to, uint64_t file, const uint64_t *records, int count,
                 struct err *err) MUST;
/* False (cursor bad) when it is none of that many records, ascending. */
bool subject_take(struct cursor *from, int count, uint64_t *ret_file, uint64_t *ret_records);

/* Rows, births, subjects and hashes as they are collected by a writer or a scan. */
struct pack_index {
    struct bytes rows, subjects, hashes;
    uint64_t *births;
    size_t birth_count, birth_capacity;
    uint64_t items, raw_bytes;
    uint32_t frames;
};
void pack_index_done(struct pack_index *index);
OWN_DEFINE_INPLACE(pack_index, struct pack_index, pack_index_done);
/* Rows of nothing until `frame` is the next. */
bool pack_index_skip(struct pack_index *index, uint32_t frame, struct err *err) MUST;
bool pack_index_add(struct pack_index *index, const struct frame_header *header, uint64_t offset,
                    const void *subject, const struct hash *hashes, struct err *err) MUST;
bool pack_index_births(const struct pack_index *index, struct bytes *to, struct err *err) MUST;
/* A directory of it that needs no object; takes what index owns. */
const struct pack_key *pack_dir_key(const struct pack_dir *dir);
struct pack_dir *pack_dir_of(const struct pack_key *key, struct pack_index *index, struct err *err)
    MUST;
