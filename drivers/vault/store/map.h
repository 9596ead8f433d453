/* Maps: persistent trees from a file's records to addresses (FORMAT.md 2.2). */
#pragma once
#include "drivers/vault/store/pack.h"

enum place_kind { PLACE_HOLE, PLACE_STORED, PLACE_PATTERN };

/* What a node says of one of its 256 places. */
struct place {
    uint8_t kind, pattern; /* index into the node's patterns */
    uint8_t item;
    uint32_t pack, frame;
    uint64_t birth;
};
enum {
    PATTERN_SEGMENTS = 4,
    PATTERN_BYTES = 64,
    PATTERN_GAP = 4,           /* zeros that part two segments, at least */
    NODE_BYTES_MAX = 24 << 10, /* encoded; the largest there can be is less */
    MAP_LEVELS = 5,
    FRAMES_MAX = 1 << 20, /* of a pack */
};
struct pattern {
    uint8_t segments;
    struct {
        uint16_t offset;
        uint8_t len;
    } at[PATTERN_SEGMENTS];
    uint8_t bytes[PATTERN_BYTES]; /* one behind the other */
};
struct node {
    uint8_t level;
    uint64_t prefix; /* record >> 8 * (level + 1), of every record below: its place in the file */
    struct place places[NODE_FAN];
    struct hash hashes[NODE_FAN]; /* level above 0 */
    struct pattern *patterns;     /* owned */
    size_t pattern_count;
};
void node_done(struct node *node);
OWN_DEFINE_INPLACE(node, struct node, node_done);
/* Canonical: a node has one encoding, whatever the order of its patterns. INVALID: only holes. */
bool node_encode(const struct node *node, struct bytes *to, struct err *err) MUST;
/* Hostile bytes in; CORRUPT says what is wrong, anything not canonical included. ret is overwritten
 * and empty after an error. */
bool node_decode(const void *data, size_t len, struct node *ret, struct err *err) MUST;
/* True when the record can be a pattern; all zeros is none (a hole). */
bool pattern_of(const uint8_t *record, struct pattern *ret);
void pattern_show(const struct pattern *pattern, uint8_t *ret_record);
bool pattern_equal(const struct pattern *a, const struct pattern *b);

/* Where a map's nodes and records are read from: the family (with its caches), or a test's memory.
 */
struct map_source {
    /* Bytes of one item of a node frame, owned by the caller. */
    bool (*node)(void *arg, struct addr addr, struct bytes *ret, struct err *err);
    bool (*record_hash)(void *arg, struct addr addr, struct hash *ret, struct err *err);
    void *arg;
    /* What map_node would give, held until let_go; for who reads the same nodes again and again.
     * NULL: none. */
    const struct node *(*hold)(void *arg, struct addr addr, int level, uint64_t first_record,
                               uint64_t birth, struct err *err);
    void (*let_go)(const struct node *node);
};

uint8_t map_level(uint64_t size); /* the least level that covers a file of that size */
/* The node an address promises: of that level, for that first record, nothing in it younger than
 * itself. So no two paths lead to one node, and a walk ends. */
bool map_node(const struct map_source *source, struct addr addr, int level, uint64_t first_record,
              uint64_t birth, struct node *ret, struct err *err) MUST;

/* Places of records [first, first + count), holes included; patterns shown into a record by the
 * callback's `pattern` (else NULL). Stops when fn returns false (with its error). */
typedef bool map_visit(void *arg, uint64_t record, const struct place *place,
                       const struct pattern *pattern, struct err *err);
bool map_walk(const struct map_source *source, const struct root *root, uint64_t first,
              uint64_t count, map_visit *fn, void *arg, struct err *err) MUST;
/* Everything stored below root that is born after `after`: nodes (before what is below them, the
 * top too) and records (level -1), ascending. Subtrees born at or before it are not read. */
typedef bool map_item(void *arg, int level, uint64_t first_record, struct addr addr, uint64_t birth,
                      struct err *err);
bool map_items(const struct map_source *source, const struct root *root, uint64_t after,
               map_item *fn, void *arg, struct err *err) MUST;

/* An update: changes in ascending record order; writes new nodes and tells what died. At most a
 * node a level is in memory; nodes no change touches are kept by address. After an error only
 * abandon. */
struct map_update;
struct map_sink {
    /* A finished node, children before parents. Says where it will lie. */
    bool (*node)(void *arg, const struct bytes *encoded, struct addr *ret_addr, struct err *err);
    /* A record or node that the new map no longer has, once each. */
    bool (*dead)(void *arg, struct addr addr, uint64_t birth, struct err *err);
    void *arg;
    /* Items born at or before this are somebody else's (a clone's start): not told, not read for.
     */
    uint64_t told_after;
};
/* birth: of what is new, not before anything of the base. base NULL or not stored: an empty file.
 */
struct map_update *map_update_begin(const struct map_source *source, const struct map_sink *sink,
                                    const struct root *base, uint64_t birth, struct err *err) MUST;
struct map_change {
    uint64_t record;
    enum place_kind kind;
    struct addr addr; /* stored */
    struct hash hash; /* stored, pattern: of the content */
    struct pattern pattern;
};
bool map_update_set(struct map_update *update, const struct map_change *change, struct err *err)
    MUST;
/* Everything of the base from this record on dies, before what is set at or behind it, which must
 * not have been set yet. Of several the least counts. */
bool map_update_cut(struct map_update *update, uint64_t record, struct err *err) MUST;
/* Ends it for a file of `size` bytes: what of the base lies at or behind size dies, nothing may
 * have been set there (INVALID). Frees the update, also on error. */
bool map_update_end(struct map_update *update, uint64_t size, struct root *ret_root,
                    struct err *err) MUST;
void map_update_abandon(struct map_update *update);
OWN_DEFINE(map_update, struct map_update, map_update_abandon);
