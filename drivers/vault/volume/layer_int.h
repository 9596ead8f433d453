/* What the files of a layer share: layer.c (reading, writing), layer_file.c (data files),
 * layer_commit.c (what is durable), layer_log.c (the presence log). Lock order: a file's, then the
 * layer's. */
#pragma once
#include "drivers/vault/volume/layer.h"
#include "drivers/vault/volume/presence.h"
#include <pthread.h>
#include <stdatomic.h>

enum {
    RECORD_BITS = FILE_MAX_SHIFT - RECORD_SHIFT,
    FILE_BITS = 24,
    GROUP_BITS = 12, /* records whose presence is counted together */
    CHUNK_RECORDS = 64,
    LOG_HEADER = 32,
    LOG_FIXED = 48, /* a log record without records */
    LOG_RECORDS_MAX = 4096,
};
#define RECORDS_MAX (UINT64_C(1) << RECORD_BITS)
#define NONE UINT64_MAX
#define CELL_DIRTY PRESENCE_FLAG(0)  /* changed since the last commit took it */
#define CELL_HOLE PRESENCE_FLAG(1)   /* zeros; its value is 0 */
#define CELL_LOGGED PRESENCE_FLAG(2) /* the log on disk says: present */

struct lfile {
    uint64_t file;
    pthread_mutex_t lock; /* bytes of the data file and their sums change together */
    int fd;               /* -1: not open now */
    unsigned pins;
    unsigned writes;     /* how many have ended */
    bool made;           /* the folder's entry of it is known, or will be synced */
    bool unsynced;       /* data written since the last sync */
    bool opening;        /* somebody opens it, without the lock */
    bool recent;         /* used since the clock hand came by */
    bool sized, changed; /* size and time were told; and not yet logged */
    bool must_sync;      /* another size, or a client set them: the log's sync may not be saved */
    bool cutting;        /* cut or trim are not yet logged */
    uint64_t size, mtime_us, cut;
    uint64_t trim;    /* logged records from here on are no more; NONE */
    uint64_t records; /* present or hole */
    uint64_t last;    /* none from here on */
    uint64_t top;     /* none from here on is present in the data file */
    uint64_t *dirty;  /* records with CELL_DIRTY, perhaps twice, perhaps gone again */
    size_t dirty_count, dirty_capacity;
    size_t dirty_reserved; /* of its room: of a write between its bytes and their sums */
    uint64_t debt;
};

struct waiter {
    struct waiter *next;
    uint64_t file;
    bool done, ok;
    struct err err;
};

struct layer {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* under way became 0, a batch ended */
    char *path;
    int dir, log;
    uint64_t sequence, seed;
    atomic_uint refs;
    bool frozen, dropped, broken, folder_unsynced;
    char *why; /* of broken; NULL when there was no memory for it */
    unsigned under_way;
    struct presence cells, groups, by_number; /* by_number: file -> index + 1 in files */
    size_t reserved;
    struct lfile **files;
    size_t file_count, file_capacity;
    struct lfile **open; /* those with a descriptor */
    size_t open_count, open_capacity, hand;
    _Atomic uint64_t debt;
    uint64_t *sorted; /* keys of all cells, once frozen and asked for */
    struct waiter *waiters;
    bool committing, evicting; /* evicting: a data file is synced to be closed */
    uint64_t log_end, log_synced;
};

static inline uint64_t cell_key(uint64_t file, uint64_t record)
{
    return file << RECORD_BITS | record;
}
static inline uint64_t group_key(uint64_t file, uint64_t record)
{
    return file << (RECORD_BITS - GROUP_BITS) | record >> GROUP_BITS;
}
static inline bool cell_present(const struct presence_cell *cell)
{
    return cell && !(cell->key & CELL_HOLE);
}

/* layer_file.c; all under the layer's lock, which nobody holds while a disk works */
struct lfile *layer_file_find(const struct layer *layer, uint64_t file);
struct lfile *layer_file_get(struct layer *layer, uint64_t file, struct err *err) MUST;
/* Opens the data file and keeps it so until layer_unpin; one that is not open is opened without the
 * lock. make: for a write. */
bool layer_pin(struct layer *layer, struct lfile *f, bool make, struct err *err) MUST;
/* The same of one that may have been written before us: it counts as unsynced from here on. */
bool layer_pin_unsynced(struct layer *layer, struct lfile *f, struct err *err) MUST;
void layer_unpin(struct lfile *f);
void layer_file_free(struct lfile *f);

/* layer.c; under the layer's lock, too */
bool layer_room(struct layer *layer, size_t more, struct err *err) MUST;
void layer_set(struct layer *layer, struct lfile *f, uint64_t record, uint64_t sum);
void layer_trim(struct layer *layer, struct lfile *f, uint64_t record);
void layer_mark_dirty(struct lfile *f, struct presence_cell *cell, uint64_t record);
/* Beside what is reserved. */
bool layer_dirty_room(struct lfile *f, size_t more, struct err *err) MUST;
bool layer_is_broken(const struct layer *layer, struct err *err);
void layer_break(struct layer *layer, const struct err *why);
uint64_t layer_sum(const struct layer *layer, const void *record); /* never 0 */

/* layer_log.c */
bool log_header(const struct layer *layer, struct bytes *to, struct err *err) MUST;
/* What a file says, `records` of (number, sum) beside it; trim only in the first record. */
struct log_pair {
    uint64_t record, sum;
};
bool log_file(const struct layer *layer, struct bytes *to, const struct lfile *f,
              const struct log_pair *pairs, size_t count, struct err *err) MUST;
bool log_mark(const struct layer *layer, struct bytes *to, struct err *err) MUST;
/* Fills an empty layer from its log; sets log_end and log_synced. */
bool log_replay(struct layer *layer, const uint8_t *bytes, size_t len, bool clean, struct err *err)
    MUST;
