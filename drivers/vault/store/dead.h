/* Dead lists (FORMAT.md 2.4): what died between two sequences, sorted by birth. */
#pragma once
#include "drivers/vault/store/map.h"

struct dead_chunk {
    struct addr addr; /* a FRAME_DEAD frame, item 0 */
    uint64_t birth_min, birth_max;
    uint64_t items;
};
struct dead_list {
    struct dead_chunk *chunks; /* ascending by birth */
    size_t count, capacity;
    uint64_t items;
};
void dead_list_done(struct dead_list *list);
OWN_DEFINE_INPLACE(dead_list, struct dead_list, dead_list_done);

enum { DEAD_CHUNK_RUNS = 4096 };
/* Collects in any order within a memory bound (half a MiB at least); what does not fit becomes a
 * further list. */
struct dead_writer;
/* put: writes a chunk's bytes as a frame and says where. */
typedef bool dead_put(void *arg, const struct bytes *chunk, struct addr *ret_addr, struct err *err);
struct dead_writer *dead_writer_new(size_t memory_max, dead_put *put, void *arg, struct err *err)
    MUST;
bool dead_add(struct dead_writer *writer, struct addr addr, uint64_t birth, struct err *err) MUST;
/* Frees the writer, also on error; lists: owned array of *ret_count. */
bool dead_finish(struct dead_writer *writer, struct dead_list **ret_lists, size_t *ret_count,
                 struct err *err) MUST;
void dead_abandon(struct dead_writer *writer);
OWN_DEFINE(dead_writer, struct dead_writer, dead_abandon);

/* The items of a list with after < birth <= cut, chunk by chunk: reads only what overlaps, through
 * source->node (a chunk's frame is one item, 0). CORRUPT before anything of a bad chunk is told. */
typedef bool dead_item(void *arg, struct addr addr, uint64_t birth, struct err *err);
bool dead_walk(const struct map_source *source, const struct dead_list *list, uint64_t after,
               uint64_t cut, dead_item *fn, void *arg, struct err *err) MUST;
