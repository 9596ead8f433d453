/* Raw frames and pack directories in memory, each within a budget. A frame that several want at
 * once is read once; the others wait. Whoever reads a pack's frames one after the other gets
 * read-ahead unasked. Thread-safe; everything that reads may block. */
#pragma once
#include "drivers/vault/store/pack.h"

struct cache_options {
    size_t frame_bytes; /* 0: 64 MiB */
    size_t dir_bytes;   /* 0: 32 MiB */
    unsigned threads;   /* that read ahead; 0: one per processor, at most 4 */
    bool no_stream;     /* no read-ahead unasked */
    const char *folder; /* copies of directories of remote packs; NULL: none. Made when missing */
    uint64_t folder_bytes; /* 0: 4 GiB; nothing more is copied above it */
};
struct cache;
/* io is borrowed and must outlive the cache. */
struct cache *cache_new(struct io *io, const struct cache_options *options, struct err *err) MUST;
void cache_free(struct cache *cache); /* every frame has been released */
OWN_DEFINE(cache, struct cache, cache_free);

/* The pack of a call: its present generation, and the bytes of that object as the family's table
 * says them. */
struct cache_pack {
    struct pack_key key;
    uint64_t object_bytes;
};

/* A frame, held in memory until it is released. */
struct cache_frame;
struct cache_frame *cache_get(struct cache *cache, const struct cache_pack *pack, uint32_t frame,
                              struct err *err) MUST;
void cache_release(struct cache_frame *frame); /* NULL is fine */
OWN_DEFINE(cache_frame, struct cache_frame, cache_release);
const struct pack_row *cache_row(const struct cache_frame *frame);
const uint8_t *cache_raw(const struct cache_frame *frame, size_t *ret_len);
/* An item's bytes within the frame. CORRUPT when it is not here: whoever has its address was
 * promised it. */
bool cache_item(const struct cache_frame *frame, uint8_t item, const uint8_t **ret, size_t *ret_len,
                struct err *err) MUST;

/* Content hash of a record, from the pack's directory. */
bool cache_hash(struct cache *cache, const struct cache_pack *pack, uint32_t frame, uint8_t item,
                struct hash *ret, struct err *err) MUST;
/* File and record numbers that a data frame holds: what an error names. */
bool cache_subject(struct cache *cache, const struct cache_pack *pack, uint32_t frame,
                   uint64_t *ret_file, uint64_t ret_records[FRAME_ITEMS], uint8_t *ret_count,
                   struct err *err) MUST;

/* Frames [first, first + count) will be wanted soon: they are read in few large pieces and made
 * ready by other threads. Never waits, never fails; does less when there is no room. */
void cache_prefetch(struct cache *cache, const struct cache_pack *pack, uint32_t first,
                    uint32_t count);

/* Forgets what is kept of a pack (all its generations), copies included: it was thinned or is gone.
 * Frames that are held stay good until their release. */
void cache_forget(struct cache *cache, uint64_t family, uint32_t pack);
void cache_forget_family(struct cache *cache, uint64_t family);

/* Lets go of every frame and directory that nobody holds, for idle times. */
void cache_drop(struct cache *cache);

struct cache_stat {
    uint64_t hits, misses, waits;  /* of cache_get: there, read, read by somebody else meanwhile */
    uint64_t ahead, ahead_unused;  /* frames made ready by prefetch; of them evicted unread */
    size_t frame_bytes, dir_bytes; /* now */
};
void cache_stat(struct cache *cache, struct cache_stat *ret);
