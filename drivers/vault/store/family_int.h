/* What the store's files share: the bodies of store and family, and how rows are changed. */
#pragma once
#include "agent/base/pool.h"
#include "drivers/vault/store/cache.h"
#include "drivers/vault/store/edit.h"
#include "drivers/vault/store/nodes.h"
#include <pthread.h>
#include <stdatomic.h>

struct store {
    struct io *io;
    uint64_t seed, created_us;
    uint8_t id[16], box_id[16];
    uint32_t epoch; /* 0: read only */
    int zstd_level;
    unsigned threads;
    uint64_t thin_bytes_per_s;
    bool read_only;
    struct cache *cache;
    struct nodes *nodes;
    struct lane *lane; /* presses frames */
    struct {
        pthread_mutex_t lock;         /* held while it is made or given up, io included */
        uint64_t most;                /* 0: none is kept */
        uint64_t there, thinning;     /* thinning: how many families are */
        atomic_uint_fast64_t largest; /* pack so far */
        atomic_bool gone;             /* given up, and not made again yet */
    } reserve;
};

/* An object that no row names any more; retried until it is gone. */
struct doomed {
    char name[IO_NAME_MAX];
    uint64_t bytes;
    uint64_t not_before_us; /* locked until then */
    bool unheard;           /* whether it was written is not known; it was never counted */
};

enum { STREAMS = 16 };
/* A reader that comes along in order. */
struct stream {
    struct addr top; /* of its map */
    uint64_t next, ahead, used;
};

/* Where packs are looked up: in these rows, or (NULL) in the present ones. */
struct source {
    struct family *family;
    const struct table *table;
};

/* ---- reserve.c ---- */
/* Finds out what there is, and makes what may be; no room for it is no error. */
bool store_reserve_open(struct store *store, struct err *err) MUST;
void store_reserve_close(struct store *store);
/* It is as large as it should be, else NO_SPACE: before what fills the store. */
bool store_reserve_keep(struct store *store, struct err *err) MUST;
/* Made again if it was given up, else NO_SPACE: before what only adds. */
bool store_reserve_again(struct store *store, struct err *err) MUST;
/* NO_SPACE while it is given up. No io. */
bool store_reserve_is_whole(struct store *store, struct err *err) MUST;
/* Gives it up when the error says that the store is full: try once more when true. */
bool store_reserve_give(struct store *store, const struct err *why);
/* io_put of what frees more than it takes. */
bool store_reserve_put(struct store *store, const char *name, const void *bytes, size_t len,
                       struct err *err) MUST;
void store_reserve_note_pack(struct store *store, uint64_t bytes);
void store_reserve_thinning(struct store *store, int more); /* 1: it begins, -1: it ends */

/* No claim above ours was there when it was looked. */
bool store_is_owner(struct store *store);

struct family {
    struct source source; /* of the family itself: the present rows */
    struct store *store;
    uint64_t id;
    /* Held through a change, io included. */
    pthread_mutex_t change;
    bool fenced;
    struct edit pending; /* a commit of which is not known whether it is there; next NULL: none */
    struct bytes pending_bytes;
    uint64_t first_commit; /* the oldest that is there */
    uint64_t tables[2];    /* the newest, and the one before it; 0: none */
    struct doomed *doomed;
    size_t doomed_count, doomed_capacity;
    /* Held for moments. */
    pthread_mutex_t look;
    struct table *table;
    uint32_t next_pack; /* above every number given away */
    uint64_t object_bytes;
    uint64_t *sealing; /* volumes */
    size_t sealing_count, sealing_capacity;
    bool thinning;
    struct stream readers[STREAMS];
    uint64_t stream_clock;
};

enum { COMMITS_A_TABLE = 64, DROP_MEMORY = 48 << 20, NOTE_MAX = 64 << 10 };

/* Another store for copies of this one's packs: its sums begin alike. INVALID when it is this one,
 * PRECONDITION when it is something else. */
bool store_make_like(struct io *io, const struct store *store, struct err *err) MUST;
/* A folder in which nothing is yet is no family. */
bool family_is_there(struct store *store, uint64_t id, bool *ret_there, struct err *err) MUST;

/* Exactly that many lower-case hexadecimal digits. */
bool family_hex(const char *text, size_t digits, uint64_t *ret);
/* "commit", "table", "note"; NULL and 0: the folder of the family or of that kind. */
void family_folder(uint64_t family, const char *kind, char ret[IO_NAME_MAX]);
void family_object(uint64_t family, const char *kind, uint64_t number, char ret[IO_NAME_MAX]);
/* "PPPPPPPP-GGGG" */
bool family_parse_pack(const char *name, uint64_t *ret_pack, uint64_t *ret_generation);
struct pack_key family_pack_key(const struct family *family, uint32_t pack, uint16_t generation);

/* A note as it lies in the store. */
bool family_note_check(const struct store *store, uint64_t family, uint64_t id, const void *data,
                       size_t len, struct err *err) MUST;
/* For tools: over rows that were made otherwise (taken over, also on error). Nothing of it is
 * recovered or owned: it is read from. */
struct family *family_bare(struct store *store, uint64_t id, struct table *table, struct err *err)
    MUST;
/* The rows as they are; to be unreferenced. */
struct table *family_table(struct family *family);
/* Locks for a change, after what was left unknown has been found out. Without it nothing is locked
 * when it fails. */
bool family_change_begin(struct family *family, struct err *err) MUST;
void family_change_end(struct family *family);
uint64_t family_lock_left(const struct table_lock *lock); /* ms */
/* AUTO(change_lock) struct family *locked = NULL; unlocks once it is set. */
static inline void own_auto_change_lock(struct family **family)
{
    if (*family)
        family_change_end(*family);
}
/* Ends, writes and applies the edit (taken over, also on error), deletes what no row names any
 * more. Only within a change. ret_taken: it was not known at once what became of it; its packs are
 * the family's to delete or keep, also after an error. */
bool family_commit(struct family *family, struct edit *edit, bool *ret_taken, struct err *err) MUST;
void family_doom(struct family *family, const char *name, uint64_t bytes, uint64_t not_before_us);
/* A pack whose end was not heard of: deleted if it is there and surely ours. */
void family_doom_unheard(struct family *family, const struct pack_key *key);
bool family_is_doomed(const struct family *family, const char *name);
/* Deletes what is doomed, as far as it goes. */
void family_delete_doomed(struct family *family);
void family_count_bytes(struct family *family, int64_t change);

/* NOT_FOUND "was deleted" when the rows have it not. */
bool family_locate(const struct source *source, uint32_t pack, struct cache_pack *ret,
                   struct err *err) MUST;
/* A frame by address, through the cache, whatever generation holds it now. */
struct cache_frame *family_frame(const struct source *source, struct addr addr, struct err *err)
    MUST;
struct map_source family_source_of(const struct source *source);
/* Every item of a volume's sealed head that was born after its start. */
bool family_each_item(void *arg, const struct table_volume *volume, dead_item *fn, void *fn_arg,
                      struct err *err) MUST;
/* Inodes of a file table's record, checked. */
bool family_inodes(struct family *family, const struct root *table, uint64_t record,
                   struct inode ret[RECORD_BYTES / INODE_BYTES], struct err *err) MUST;
