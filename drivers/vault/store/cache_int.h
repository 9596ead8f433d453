/* What the cache's files share: slots, which hold a frame or a directory, and copies of
 * directories. */
#pragma once
#include "agent/base/pool.h"
#include "drivers/vault/store/cache.h"
#include <pthread.h>

enum { SLOT_DIR = UINT32_MAX }; /* the frame number of a directory's slot */
struct slot_key {
    uint64_t family;
    uint32_t pack, frame;
    uint16_t generation;
};
enum slot_state { SLOT_LOADING, SLOT_READY, SLOT_FAILED };
enum slot_list { LIST_DATA, LIST_OTHER, LIST_DIRS, LIST_COUNT };

/* A frame or a directory. In the table while it can be found, in a list while nobody holds it. */
struct cache_frame {
    struct slot_key key;
    struct cache *cache;
    struct cache_frame *chain;         /* of the table */
    struct cache_frame *newer, *older; /* of its list */
    enum slot_state state;
    enum slot_list list;
    bool in_table, in_list;
    uint32_t refs;
    size_t bytes;
    pthread_cond_t loaded;
    struct err *failure;
    bool ahead; /* made by read-ahead, not asked for yet */
    struct pack_row row;
    uint8_t *raw;
    size_t len;
    struct pack_dir *dir;
};

struct slot_line {
    struct cache_frame *newest, *oldest;
    size_t bytes; /* of all slots of this kind, held ones too */
};

/* Somebody reads a pack's frames in order. */
struct stream {
    uint64_t family;
    uint32_t pack, last;
    uint16_t generation;
    uint32_t run;   /* steps in order so far */
    uint32_t asked; /* the first frame that was not asked for ahead */
    uint64_t used;  /* when */
};
enum { STREAMS = 32 };

/* Copies of directories that a folder holds. */
struct copies {
    char *folder; /* NULL: none are kept */
    struct copy_key {
        uint64_t family;
        uint32_t pack;
        uint16_t generation;
    } * keys;
    size_t count, capacity;
    uint64_t bytes, bytes_max;
};

struct cache {
    struct io *io;
    struct cache_options options;
    pthread_mutex_t lock; /* over all that follows */
    struct cache_frame **table;
    size_t table_size; /* a power of two */
    struct slot_line lines[LIST_COUNT];
    struct copies copies;
    struct stream streams[STREAMS];
    uint64_t clock, added;
    struct cache_stat stat;
    uint8_t *spare[16]; /* buffers of FRAME_RAW_MAX */
    size_t spare_count;
    struct lane *lane;
    uint32_t coming, coming_max; /* frames that jobs under way are to bring */
};

/* ---- slots (cache.c); all with the lock held ---- */
struct cache_frame *slot_find(struct cache *cache, const struct slot_key *key);
/* A new one, loading, in the table, held once. */
struct cache_frame *slot_add(struct cache *cache, const struct slot_key *key, struct err *err) MUST;
/* Ends its loading and wakes who waits; failure: why it failed (copied for the waiters unless it is
 * read-ahead's), NULL: it is ready. */
void slot_loaded(struct cache_frame *slot, size_t bytes, const struct err *failure);
void slot_release(struct cache_frame *slot);
struct slot_key slot_key_of(const struct cache_pack *pack, uint32_t frame);

/* ---- what loads; without the lock ---- */
/* Room for a frame: what was used before, or new; NULL when there is none. */
uint8_t *slot_buffer(struct cache *cache);
/* Gives it to the slot, smaller where the frame is; without memory for that, false. raw NULL: not
 * loaded. */
bool slot_take(struct cache_frame *slot, uint8_t *raw, size_t len, bool loaded);
/* The pack's directory, held. */
struct cache_frame *cache_dir(struct cache *cache, const struct cache_pack *pack, struct err *err)
    MUST;
void cache_dir_release(struct cache_frame *slot);

/* ---- read-ahead (cache_ahead.c) ---- */
/* Somebody asked for this frame; with the lock held. True when a piece should be read ahead. */
bool stream_seen(struct cache *cache, const struct cache_pack *pack, uint32_t frame,
                 uint32_t *ret_first, uint32_t *ret_count);

/* ---- copies (cache_copy.c); without the lock ---- */
bool copies_open(struct cache *cache, const struct cache_options *options, struct err *err) MUST;
void copies_done(struct copies *copies);
/* The kept bytes of a directory (what: "dir") or of its hashes ("hash"); NULL when there are none.
 */
char *copies_read(struct cache *cache, const struct pack_key *key, const char *what,
                  size_t *ret_len);
/* Does nothing where it cannot. */
void copies_write(struct cache *cache, const struct pack_key *key, const char *what,
                  const void *bytes, size_t len);
/* pack NULL: the whole family. */
void copies_forget(struct cache *cache, uint64_t family, const uint32_t *pack);
