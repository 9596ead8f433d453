/* A family's rows in memory and what each change makes of them (FORMAT.md 2.5, 3). Pure: no io, no
 * clock. A table is shared by reference and changed only while it has one; readers hold old ones.
 */
#pragma once
#include "drivers/vault/store/masks.h"
#include "drivers/vault/store/store.h"

/* Items of `list` born at or below `cut`; its chunks born later are not kept any more. */
struct table_list {
    unsigned refs;
    struct addr seal; /* the seal frame that tells of it */
    struct dead_list list;
};
struct segment {
    struct table_list *list;
    uint64_t cut;
};
/* Shared by the tables that copy it. */
struct deaths {
    struct segment *segments;
    size_t count, capacity;
    unsigned *refs; /* NULL while there are no segments */
};

struct table_lock {
    uint64_t remaining_ms; /* as last told; 0: none */
    uint64_t boot_ms;      /* when it ends, by the clock of boot_id */
    char boot_id[40];
};
struct table_bad {
    unsigned refs;
    size_t count;
    struct bad_record records[];
};
struct table_snapshot {
    struct snapshot_row row; /* lock_remaining_ms and pins are made when asked for */
    struct table_lock lock;
    struct addr seal;
    struct deaths deaths; /* since the snapshot before it */
    struct table_bad *bad;
    uint32_t pins;
};
struct table_volume {
    struct volume_row row;
    bool sealed; /* once at least: `seal` is its newest seal frame */
    struct addr seal;
    struct deaths deaths; /* since its last snapshot */
};
struct table_pack {
    uint32_t number;
    uint16_t generation;
    uint64_t bytes;           /* of the object */
    uint64_t items;           /* in this generation, dead ones included */
    uint64_t locked_until_us; /* where the backend keeps it */
    struct masks *live;
};

struct table {
    unsigned refs;
    uint64_t family, number; /* of the last commit it knows */
    uint32_t epoch, next_pack;
    uint8_t box_id[16];
    struct table_volume *volumes; /* by creation */
    size_t volume_count, volume_capacity;
    struct table_snapshot *snapshots; /* by volume, sequence */
    size_t snapshot_count, snapshot_capacity;
    struct table_pack *packs; /* by number */
    size_t pack_count, pack_capacity;
};
struct table *table_new(uint64_t family, struct err *err) MUST;
struct table *table_copy(const struct table *table, struct err *err) MUST;
struct table *table_ref(struct table *table);
void table_unref(struct table *table);
OWN_DEFINE(table, struct table, table_unref);

/* NULL when there is none. */
struct table_volume *table_volume(const struct table *table, uint64_t volume);
struct table_snapshot *table_snapshot(const struct table *table, uint64_t volume,
                                      uint64_t sequence);
struct table_pack *table_pack(const struct table *table, uint32_t pack);
/* The first snapshot of the line at or after `sequence`. */
struct table_snapshot *table_next(const struct table *table, uint64_t volume, uint64_t sequence);
/* The sequence of the last snapshot of the line below `sequence`, else the line's start. */
uint64_t table_before(const struct table *table, uint64_t volume, uint64_t sequence);
/* What died between the snapshot before `sequence` (of a snapshot, or UINT64_MAX: the head) and it.
 */
const struct deaths *table_deaths(const struct table *table, uint64_t volume, uint64_t sequence);

/* For who makes rows: one more segment, with a reference of its own to the list. */
bool deaths_add(struct deaths *deaths, struct table_list *list, uint64_t cut, struct err *err) MUST;
void table_list_unref(struct table_list *list);
OWN_DEFINE(table_list, struct table_list, table_list_unref);

/* ---- changes ---- */
enum change_kind {
    CHANGE_VOLUME_ADDED = 1,
    CHANGE_VOLUME_DROPPED,
    CHANGE_SEALED,
    CHANGE_SNAPSHOT_DROPPED,
    CHANGE_LOCKED,
    CHANGE_THINNED,
    CHANGE_FREED,
    CHANGE_OWNER,
    CHANGE_HIDDEN,
    CHANGE_KINDS
};
struct change_freed {
    uint32_t pack;
    struct masks *gone; /* NULL: all that lives */
};
/* Its fields by kind: the table in commit.c says which. */
struct change {
    uint8_t kind;
    uint64_t volume, sequence;
    struct volume_row row;        /* added */
    struct snapshot_row snapshot; /* sealed: table, slots; the rest when named */
    bool named;
    uint64_t cut; /* sealed: the last snapshot's sequence */
    struct addr seal;
    struct table_pack *packs; /* sealed, thinned: owned with their masks */
    size_t pack_count, pack_capacity;
    struct dead_list *lists; /* sealed: owned */
    size_t list_count;
    struct bad_record *bad; /* owned */
    size_t bad_count;
    struct table_lock lock;
    uint64_t until_us;
    uint32_t *locked; /* packs; owned */
    size_t locked_count;
    struct change_freed *freed; /* owned */
    size_t freed_count;
    uint32_t epoch;
    uint8_t box_id[16];
};
void change_done(struct change *change);
OWN_DEFINE_INPLACE(change, struct change, change_done);

/* Applies; CORRUPT when the change does not fit the rows (the table is then unusable). meta: where
 * the frames are collected that nobody needs any more (dead list chunks, seal frames), or NULL in a
 * replay, whose commits say them. */
bool table_apply(struct table *table, const struct change *change, struct freed *meta,
                 struct err *err) MUST;
bool table_free_item(const struct table *table, struct freed *freed, struct addr addr,
                     struct err *err) MUST;
/* What was collected, as a change; consumes nothing. */
bool table_freed_change(struct freed *freed, struct change *ret, struct err *err) MUST;

/* The next hidden snapshot that no clone needs any more. */
struct table_snapshot *table_unpinned(const struct table *table);

/* ---- rows taken from another table of the family: what a copy of it has ---- */
/* A snapshot, its volume with it where there is none yet; nothing is dead before it as yet. EXISTS.
 * When all are taken: table_head_to_newest. */
bool table_take_snapshot(struct table *to, const struct table *from, uint64_t volume,
                         uint64_t sequence, struct err *err) MUST;
/* Each line's head is its newest snapshot, since which nothing died. */
void table_head_to_newest(struct table *table);
/* What died before a snapshot since the one before it in `to`: as `from` says when it has both,
 * else nothing is known. */
bool table_take_deaths(struct table *to, const struct table *from, uint64_t volume,
                       uint64_t sequence, struct err *err) MUST;
/* A pack's row put in, or in place of the one of that number; its masks are referenced. */
bool table_put_pack(struct table *table, const struct table_pack *pack, struct err *err) MUST;
