/* Packs of a map test, in memory: nodes and record hashes by address; deaths and calls are counted.
 */
#pragma once
#include "drivers/vault/store/dead.h"

struct map_memory_death {
    struct addr addr;
    uint64_t birth;
};
struct map_memory {
    /* Pack n holds records when n is even, nodes and dead list chunks when it is odd. */
    struct map_memory_pack {
        struct bytes *nodes;
        struct hash *hashes;
        size_t count, capacity;
    } * packs;
    size_t pack_count, pack_capacity;
    struct map_memory_death *deaths;
    size_t death_count, death_capacity;
    /* Counted until the test sets them to 0. */
    uint64_t nodes_read, hashes_read, nodes_written, node_bytes;
    size_t sealing; /* packs from this on are being written and cannot be read; 0: none */
    long fail;      /* the call of source or sink that fails, from 1; 0: none */
};
void map_memory_done(struct map_memory *memory);
OWN_DEFINE_INPLACE(map_memory, struct map_memory, map_memory_done);

/* What comes next goes into a new pair of packs. */
bool map_memory_generation(struct map_memory *memory, struct err *err) MUST;
/* A record whose content has that hash. */
bool map_memory_record(struct map_memory *memory, const struct hash *hash, struct addr *ret,
                       struct err *err) MUST;
struct map_source map_memory_source(struct map_memory *memory);
/* Deaths are appended to memory->deaths. */
struct map_sink map_memory_sink(struct map_memory *memory);
/* A dead_put. */
bool map_memory_put(void *arg, const struct bytes *chunk, struct addr *ret_addr, struct err *err)
    MUST;
