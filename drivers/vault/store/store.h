/* The store: families of volumes in packs on an io (FORMAT.md). One box owns a store at a time.
 * Everything here may block; calls of different families run beside each other, those that change a
 * family take its lock. */
#pragma once
#include "drivers/vault/store/dead.h"
#include "drivers/vault/store/inode.h"

struct store_options {
    size_t cache_bytes;        /* raw frames kept in memory; 0: 64 MiB */
    size_t dir_bytes;          /* pack directories kept in memory; 0: 32 MiB */
    int zstd_level;            /* 0: 1 */
    unsigned threads;          /* that compress; 0: one per processor, at most 4 */
    uint64_t thin_bytes_per_s; /* 0: no bound */
    uint64_t reserve_bytes;    /* at most so much room is kept for deleting when full; 0: none */
    const char *dir_cache; /* a local folder for copies of directories of remote packs, or NULL */
    bool read_only;        /* takes no ownership, sweeps and changes nothing */
};
struct store;
/* Makes the identity where there is none (unless read_only: NOT_FOUND). Takes ownership: another
 * box that still writes is fenced at its next commit. io is borrowed. */
struct store *store_open(struct io *io, const uint8_t box_id[16],
                         const struct store_options *options, struct err *err) MUST;
void store_close(struct store *store);
OWN_DEFINE(store, struct store, store_close);
uint64_t store_seed(const struct store *store);
void store_id(const struct store *store, uint8_t ret[16]);
struct io *store_io(struct store *store);
/* The reserve (FORMAT.md 2.7) is made again when it was given up and there is room; cheap. */
void store_tend(struct store *store);
bool store_reserve(struct io *io, uint64_t *ret_bytes, struct err *err) MUST; /* what it takes */
/* Ids of the families that exist; owned. */
uint64_t *store_families(struct store *store, size_t *ret_count, struct err *err) MUST;

/* ---- a family ---- */
struct family;
/* create: EXISTS when it is there (one without volumes and packs is as good as none); else
 * NOT_FOUND when it is not. Recovery as FORMAT.md section 5. */
struct family *family_open(struct store *store, uint64_t id, bool create, struct err *err) MUST;
void family_close(struct family *family);
OWN_DEFINE(family, struct family, family_close);
uint64_t family_id(const struct family *family);

struct volume_row {
    uint64_t id, created_us, start; /* of its line */
    bool clone;
    char name[128];
    struct root table; /* the sealed head's file table */
    uint64_t slots;    /* in it */
    uint64_t sealed;   /* the sequence up to which it is sealed */
    struct volume_origin {
        uint64_t volume, sequence;
    } origins[16];
    size_t origin_count;
};
struct snapshot_row {
    uint64_t volume, sequence, id, created_us;
    char name[128];
    bool hidden;
    struct root table;
    uint64_t slots, logical_bytes;
    struct hash identity;
    uint64_t lock_remaining_ms; /* as last told; 0: none */
    uint32_t pins;              /* clones that stand on it */
};
/* Owned arrays (own_free), by creation; snapshots by sequence, hidden ones included. */
struct volume_row *family_volumes(struct family *family, size_t *ret_count, struct err *err) MUST;
struct snapshot_row *family_snapshots(struct family *family, uint64_t volume, size_t *ret_count,
                                      struct err *err) MUST;
/* A clone's table and slots are its first source's, or none when it is composed. `sealed` becomes
 * `start`. NOT_FOUND while a source is not sealed. */
bool family_volume_add(struct family *family, const struct volume_row *row, struct err *err) MUST;
/* Frees what only it had. PRECONDITION while it has snapshots (hidden ones too), BUSY while it is
 * sealed. */
bool family_volume_drop(struct family *family, uint64_t volume, struct err *err) MUST;
/* Frees what only it had, at that cost; hidden instead while pinned. PRECONDITION while locked. */
bool family_snapshot_drop(struct family *family, uint64_t volume, uint64_t sequence,
                          struct err *err) MUST;
/* Exactly what dropping the set would free (shared between its members included; locked and cloned
 * ones bring nothing). `now`: bytes of packs that go at once; `later`: the dead share of others,
 * which thinning brings. */
bool family_reclaimable(struct family *family, uint64_t volume, const uint64_t *sequences,
                        size_t count, uint64_t *ret_now, uint64_t *ret_later, struct err *err) MUST;
/* Locks: remaining time up (longer of what is left and what is asked for; 0 only saves what is
 * left); it counts on within boot_id, as clock_boot_id has it; every pack it references is locked
 * too where io can. Only extends. */
/* now_ms: clock_boot_ms() as remaining_ms was counted from. */
bool family_lock(struct family *family, uint64_t volume, uint64_t sequence, uint64_t remaining_ms,
                 uint64_t now_ms, const char *boot_id, uint64_t until_us, struct err *err) MUST;
/* Copies survivors out of packs with a quarter or more dead, those with the least to keep first.
 * Some for which there is no room stay: NO_SPACE, behind the others. False with CANCELLED when
 * `stop`. */
bool family_thin(struct family *family, bool (*stop)(void *arg), void *arg, uint64_t *ret_freed,
                 struct err *err) MUST;

/* Notes: the id is a snapshot's or a clone's. put NULL removes. get: NOT_FOUND when there is none.
 */
bool family_note_put(struct family *family, uint64_t id, const char *text, struct err *err) MUST;
char *family_note_get(struct family *family, uint64_t id, struct err *err) MUST;

struct family_stat {
    uint64_t stored_bytes; /* all objects */
    uint64_t pack_count, frame_count;
    uint64_t live_items, dead_items;
    uint64_t dead_bytes; /* in dead frames, packs not yet gone */
};
bool family_stat(struct family *family, struct family_stat *ret, struct err *err) MUST;

/* ---- reading ---- */
/* Records [first, first + count) of a file's map into `to`; holes become zeros. CORRUPT names pack,
 * frame and the file's record. Sequential readers get read-ahead. */
bool family_read(struct family *family, const struct root *root, uint64_t first, uint64_t count,
                 void *to, struct err *err) MUST;
/* For seal and tools: nodes and hashes through the caches. */
struct map_source family_source(struct family *family);
/* A slot of a file table. NOT_FOUND when free. */
bool family_inode(struct family *family, const struct root *table, uint64_t file, struct inode *ret,
                  struct err *err) MUST;

/* ---- sealing a layer: one at a time a volume; several volumes at once may ---- */
struct seal;
/* EXISTS: the layer is sealed already (a commit may have arrived unheard): drop it. BUSY: another
 * seal of the volume. FENCED: another box owns the store. NO_SPACE: what room there is, is kept for
 * deleting. */
struct seal *seal_begin(struct family *family, uint64_t volume, uint64_t sequence, struct err *err)
    MUST;
bool seal_file_begin(struct seal *seal, uint64_t file, const struct root *base, struct err *err)
    MUST;
/* Ascending, below the size that seal_file_end will tell; bytes NULL or all zero: a hole. Copied
 * before it returns. */
bool seal_record(struct seal *seal, uint64_t record, const void *bytes, struct err *err) MUST;
/* Everything from this record on dies, before what follows is set. */
bool seal_cut(struct seal *seal, uint64_t record, struct err *err) MUST;
bool seal_file_end(struct seal *seal, uint64_t size, struct root *ret_root, struct err *err) MUST;
/* A removed file: all of its map dies. */
bool seal_file_gone(struct seal *seal, const struct root *root, struct err *err) MUST;
struct seal_result {
    struct root table; /* written as file 0 by the caller, like any other */
    uint64_t slots;
    bool named; /* else an internal swap */
    char name[128];
    uint64_t id, created_us, logical_bytes;
    struct hash identity;
    const struct bad_record {
        uint64_t file, record;
    } * bad; /* stored, but the block check said no; borrowed, rows as bad.h makes them */
    size_t bad_count;
};
/* Durable and visible when it returns. Frees the seal, also on error (then nothing is left that the
 * next opening does not sweep). */
bool seal_commit(struct seal *seal, const struct seal_result *result, struct err *err) MUST;
void seal_abandon(struct seal *seal);
OWN_DEFINE(seal, struct seal, seal_abandon);
struct seal_stat {
    uint64_t records, holes, patterns, raw_bytes, stored_bytes;
};
void seal_stat(const struct seal *seal, struct seal_stat *ret);

/* Records of a sealed snapshot that the block check refused, those of states before it that are in
 * it still included: rows of bad.h; owned. */
struct bad_record *family_bad_records(struct family *family, uint64_t volume, uint64_t sequence,
                                      size_t *ret_count, struct err *err) MUST;
/* The same of the newest sealed state, snapshot or not. CORRUPT: its seal frame is damaged. */
struct bad_record *family_bad_head(struct family *family, uint64_t volume, size_t *ret_count,
                                   struct err *err) MUST;

/* What a sealed map's files hash to: paths in strictly ascending byte order, else INVALID. Of a
 * directory only the path counts; root NULL or not stored is a file of holes. */
struct identity;
struct identity *identity_begin(struct err *err) MUST;
bool identity_add(struct identity *identity, uint8_t kind, const char *path, uint64_t size,
                  const struct root *root, struct err *err) MUST;
void identity_end(struct identity *identity, struct hash *ret); /* frees */
void identity_abandon(struct identity *identity);
OWN_DEFINE(identity, struct identity, identity_abandon);
