/* The cache: slots in a table, held or in the order of their last use. */
#include "agent/base/waiting.h"
#include "drivers/vault/store/cache_int.h"
#include <assert.h>
#include <string.h>
#include <unistd.h>

enum {
    FRAME_BYTES = 64 << 20,
    DIR_BYTES = 32 << 20,
    TABLE_SIZE = 1024, /* at first */
    THREADS_MAX = 4,
    COMING_MAX = 128,
};

static struct held {
    pthread_mutex_t *lock;
} hold(struct cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    return (struct held){&cache->lock};
}
static void held_done(struct held *held) { pthread_mutex_unlock(held->lock); }
OWN_DEFINE_INPLACE(held, struct held, held_done);

/* ---- table and lists ---- */

struct slot_key slot_key_of(const struct cache_pack *pack, uint32_t frame)
{
    return (struct slot_key){.family = pack->key.family,
                             .pack = pack->key.pack,
                             .frame = frame,
                             .generation = pack->key.generation};
}

static size_t slot_bucket(const struct cache *cache, const struct slot_key *key)
{
    uint64_t h = key->family * 0x9e3779b97f4a7c15U;
    h = (h ^ key->pack ^ (uint64_t)key->generation << 32) * 0xbf58476d1ce4e5b9U;
    h = (h ^ h >> 29 ^ key->frame) * 0x94d049bb133111ebU;
    return (size_t)(h >> 20) & (cache->table_size - 1);
}

static bool same(const struct slot_key *a, const struct slot_key *b)
{
    return a->family == b->family && a->pack == b->pack && a->frame == b->frame &&
           a->generation == b->generation;
}

struct cache_frame *slot_find(struct cache *cache, const struct slot_key *key)
{
    struct cache_frame *slot = cache->table[slot_bucket(cache, key)];
    while (slot && !same(&slot->key, key))
        slot = slot->chain;
    return slot;
}

static void table_remove(struct cache_frame *slot)
{
    if (!slot->in_table)
        return;
    struct cache_frame **p = &slot->cache->table[slot_bucket(slot->cache, &slot->key)];
    while (*p != slot)
        p = &(*p)->chain;
    *p = slot->chain;
    slot->in_table = false;
}

static void list_remove(struct cache_frame *slot)
{
    if (!slot->in_list)
        return;
    struct slot_line *line = &slot->cache->lines[slot->list];
    *(slot->newer ? &slot->newer->older : &line->newest) = slot->older;
    *(slot->older ? &slot->older->newer : &line->oldest) = slot->newer;
    slot->newer = slot->older = NULL;
    slot->in_list = false;
}

static void list_add(struct cache_frame *slot)
{
    struct slot_line *line = &slot->cache->lines[slot->list];
    slot->older = line->newest;
    *(line->newest ? &line->newest->newer : &line->oldest) = slot;
    line->newest = slot;
    slot->in_list = true;
}

static size_t buffer_bytes(size_t len) { return len > FRAME_RAW_MAX / 2 ? FRAME_RAW_MAX : len; }

/* Held. */
static void buffer_done(struct cache *cache, uint8_t *raw, size_t len)
{
    if (raw && len > FRAME_RAW_MAX / 2 &&
        cache->spare_count < sizeof cache->spare / sizeof *cache->spare)
        cache->spare[cache->spare_count++] = raw;
    else
        own_free(raw);
}

uint8_t *slot_buffer(struct cache *cache)
{
    struct err err = {0}; /* who asks says that there is none */
    {
        AUTO(held) struct held held = hold(cache);
        if (cache->spare_count > 0)
            return cache->spare[--cache->spare_count];
    }
    return own_realloc(NULL, FRAME_RAW_MAX, &err);
}

bool slot_take(struct cache_frame *slot, uint8_t *raw, size_t len, bool loaded)
{
    struct err err = {0};
    uint8_t *fitting = NULL;
    if (loaded)
        fitting = buffer_bytes(len) == FRAME_RAW_MAX ? raw : own_realloc(NULL, len, &err);
    if (fitting && fitting != raw)
        memcpy(fitting, raw, len);
    AUTO(held) struct held held = hold(slot->cache);
    if (fitting != raw)
        buffer_done(slot->cache, raw, FRAME_RAW_MAX);
    slot->raw = fitting;
    slot->len = fitting ? len : 0;
    return fitting != NULL;
}

/* Nobody holds it. */
static void slot_free(struct cache_frame *slot)
{
    struct cache *cache = slot->cache;
    table_remove(slot);
    list_remove(slot);
    cache->lines[slot->list].bytes -= slot->bytes;
    cache->stat.ahead_unused += slot->ahead;
    buffer_done(cache, slot->raw, slot->len);
    pack_dir_free(slot->dir);
    own_free(slot->failure);
    pthread_cond_destroy(&slot->loaded);
    own_free(slot);
}

/* Maps are worth more than data, as each read needs them; but never more than half the room. */
static struct cache_frame *frame_to_go(const struct cache *cache)
{
    const struct slot_line *data = &cache->lines[LIST_DATA], *other = &cache->lines[LIST_OTHER];
    if (data->bytes + other->bytes <= cache->options.frame_bytes)
        return NULL;
    bool much = other->bytes > cache->options.frame_bytes / 2;
    struct cache_frame *first = much ? other->oldest : data->oldest;
    return first ? first : much ? data->oldest : other->oldest;
}

static void shrink(struct cache *cache)
{
    struct cache_frame *slot;
    while ((slot = frame_to_go(cache)))
        slot_free(slot);
    struct slot_line *dirs = &cache->lines[LIST_DIRS];
    while (dirs->bytes > cache->options.dir_bytes && dirs->oldest)
        slot_free(dirs->oldest);
}

static void table_grow(struct cache *cache)
{
    size_t count = 0, size = cache->table_size;
    for (size_t i = 0; i < size && count <= size; i++)
        for (const struct cache_frame *slot = cache->table[i]; slot; slot = slot->chain)
            count++;
    struct err err = {0}; /* a full table is only slower */
    struct cache_frame **old = cache->table, **grown = NULL;
    if (count > size)
        grown = own_alloc(2 * size * sizeof(struct cache_frame *), &err);
    if (!grown)
        return;
    cache->table = grown;
    cache->table_size = 2 * size;
    for (size_t i = 0; i < size; i++)
        for (struct cache_frame *slot = old[i], *next; slot; slot = next) {
            struct cache_frame **bucket = &grown[slot_bucket(cache, &slot->key)];
            next = slot->chain;
            slot->chain = *bucket;
            *bucket = slot;
        }
    own_free(old);
}

struct cache_frame *slot_add(struct cache *cache, const struct slot_key *key, struct err *err)
{
    struct cache_frame *slot = own_alloc(sizeof *slot, err);
    if (!slot)
        return NULL;
    if (++cache->added % cache->table_size == 0)
        table_grow(cache);
    slot->key = *key;
    slot->cache = cache;
    slot->refs = 1;
    slot->list = key->frame == SLOT_DIR ? LIST_DIRS : LIST_DATA;
    pthread_cond_init(&slot->loaded, NULL);
    struct cache_frame **bucket = &cache->table[slot_bucket(cache, key)];
    slot->chain = *bucket;
    *bucket = slot;
    slot->in_table = true;
    return slot;
}

void slot_loaded(struct cache_frame *slot, size_t bytes, const struct err *failure)
{
    struct err err = {0}; /* without memory for the reason, who waits tries for himself */
    slot->state = failure ? SLOT_FAILED : SLOT_READY;
    slot->bytes = bytes + sizeof *slot;
    slot->cache->lines[slot->list].bytes += slot->bytes;
    if (failure) {
        table_remove(slot);
        if (!slot->ahead && slot->refs > 1 && (slot->failure = own_alloc(sizeof err, &err)))
            *slot->failure = *failure;
    }
    pthread_cond_broadcast(&slot->loaded);
    shrink(slot->cache);
}

void slot_release(struct cache_frame *slot)
{
    assert(slot->refs > 0);
    if (--slot->refs > 0)
        return;
    if (slot->in_table) {
        list_add(slot);
        shrink(slot->cache);
    } else {
        slot_free(slot);
    }
}

/* Held, ready, or NULL: with an error when loading it failed for somebody else, without one when
 * the caller has to load it (then *ret_mine is held). */
static struct cache_frame *slot_get(struct cache *cache, const struct slot_key *key,
                                    struct cache_frame **ret_mine, struct err *err)
{
    bool frame = key->frame != SLOT_DIR;
    *ret_mine = NULL;
    for (;;) {
        struct cache_frame *slot = slot_find(cache, key);
        if (!slot) {
            cache->stat.misses += frame;
            *ret_mine = slot_add(cache, key, err);
            return NULL;
        }
        list_remove(slot);
        slot->refs++;
        if (slot->state == SLOT_READY) {
            cache->stat.hits += frame;
            return slot;
        }
        cache->stat.waits += frame;
        waiting_begins();
        while (slot->state == SLOT_LOADING)
            pthread_cond_wait(&slot->loaded, &cache->lock);
        if (slot->state == SLOT_READY)
            return slot;
        bool told = slot->failure != NULL;
        if (told)
            *err = *slot->failure;
        slot_release(slot);
        if (told)
            return NULL;
    }
}

/* ---- directories ---- */

static struct pack_dir *dir_load(struct cache *cache, const struct cache_pack *pack,
                                 struct err *err)
{
    struct err ignored = {0}; /* a bad copy is replaced */
    size_t len = 0;
    AUTO(mem) char *copy = copies_read(cache, &pack->key, "dir", &len);
    struct pack_dir *dir =
        copy ? pack_dir_open(&pack->key, pack->object_bytes, copy, len, &ignored) : NULL;
    if (dir)
        return dir;
    AUTO(bytes) struct bytes bytes = {0};
    if (!pack_dir_fetch(cache->io, &pack->key, pack->object_bytes, &bytes, err))
        return NULL;
    dir = pack_dir_open(&pack->key, pack->object_bytes, bytes.data, bytes.len, err);
    if (dir)
        copies_write(cache, &pack->key, "dir", bytes.data, bytes.len);
    return dir;
}

struct cache_frame *cache_dir(struct cache *cache, const struct cache_pack *pack, struct err *err)
{
    struct slot_key key = slot_key_of(pack, SLOT_DIR);
    struct cache_frame *slot, *mine;
    {
        AUTO(held) struct held held = hold(cache);
        slot = slot_get(cache, &key, &mine, err);
    }
    if (!mine)
        return slot;
    struct err why = {0};
    waiting_begins();
    struct pack_dir *dir = dir_load(cache, pack, &why);
    AUTO(held) struct held held = hold(cache);
    mine->dir = dir;
    slot_loaded(mine, dir ? pack_dir_memory(dir) : 0, dir ? NULL : &why);
    if (dir)
        return mine;
    slot_release(mine);
    *err = why;
    return NULL;
}

void cache_dir_release(struct cache_frame *slot) { cache_release(slot); }

/* Something of it was loaded. */
static void dir_count(struct cache_frame *slot)
{
    size_t bytes = sizeof *slot + pack_dir_memory(slot->dir);
    AUTO(held) struct held held = hold(slot->cache);
    slot->cache->lines[LIST_DIRS].bytes += bytes - slot->bytes;
    slot->bytes = bytes;
}
OWN_DEFINE(cache_dir, struct cache_frame, cache_dir_release);

static bool hashes_load(struct cache *cache, const struct cache_pack *pack, struct pack_dir *dir,
                        struct err *err)
{
    struct err ignored = {0};
    size_t len = 0;
    AUTO(mem) char *copy = copies_read(cache, &pack->key, "hash", &len);
    if (copy && pack_dir_give_hashes(dir, copy, len, &ignored))
        return true;
    AUTO(bytes) struct bytes bytes = {0};
    if (!pack_dir_fetch_hashes(dir, cache->io, &bytes, err))
        return false;
    copies_write(cache, &pack->key, "hash", bytes.data, bytes.len);
    return true;
}

bool cache_hash(struct cache *cache, const struct cache_pack *pack, uint32_t frame, uint8_t item,
                struct hash *ret, struct err *err)
{
    AUTO(cache_dir) struct cache_frame *slot = cache_dir(cache, pack, err);
    if (slot && !pack_dir_has_hashes(slot->dir)) {
        if (!hashes_load(cache, pack, slot->dir, err))
            return false;
        dir_count(slot);
    }
    return slot && pack_dir_hash(slot->dir, cache->io, frame, item, ret, err);
}

bool cache_subject(struct cache *cache, const struct cache_pack *pack, uint32_t frame,
                   uint64_t *ret_file, uint64_t ret_records[FRAME_ITEMS], uint8_t *ret_count,
                   struct err *err)
{
    AUTO(cache_dir) struct cache_frame *slot = cache_dir(cache, pack, err);
    bool done = slot && pack_dir_subject(slot->dir, cache->io, frame, ret_file, ret_records,
                                         ret_count, err);
    if (slot)
        dir_count(slot);
    return done;
}

/* ---- frames ---- */

static bool frame_load(struct cache *cache, const struct cache_pack *pack, uint32_t frame,
                       struct cache_frame *mine, struct err *err)
{
    AUTO(cache_dir) struct cache_frame *dir = cache_dir(cache, pack, err);
    struct pack_row row;
    if (!dir)
        return false;
    if (!pack_dir_row(dir->dir, frame, &row))
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x has no frame %u", pack->key.pack,
                       pack->key.generation, frame);
    mine->row = row;
    mine->list = row.kind == FRAME_DATA ? LIST_DATA : LIST_OTHER;
    uint8_t *raw = slot_buffer(cache);
    if (!raw)
        return err_set(err, ERR_NO_MEMORY, "no room for a frame");
    size_t len = 0;
    bool done = pack_frame_read(cache->io, &pack->key, &row, frame, raw, &len, err);
    return slot_take(mine, raw, len, done) ||
           (done && err_set(err, ERR_NO_MEMORY, "no room for a frame"));
}

/* Reads at random look like a run now and then: no thread is woken for what is all here. */
static bool run_is_there(struct cache *cache, const struct cache_pack *pack, uint32_t first,
                         uint32_t count)
{
    bool there = true;
    for (uint32_t i = 0; i < count && there; i++) {
        struct slot_key key = slot_key_of(pack, first + i);
        there = slot_find(cache, &key) != NULL;
    }
    return there;
}

struct cache_frame *cache_get(struct cache *cache, const struct cache_pack *pack, uint32_t frame,
                              struct err *err)
{
    struct slot_key key = slot_key_of(pack, frame);
    struct cache_frame *slot, *mine;
    uint32_t first = 0, count = 0;
    bool more;
    {
        AUTO(held) struct held held = hold(cache);
        more = !cache->options.no_stream && stream_seen(cache, pack, frame, &first, &count);
        slot = slot_get(cache, &key, &mine, err);
        if (slot)
            slot->ahead = false;
        more = more && !run_is_there(cache, pack, first, count);
    }
    if (more)
        cache_prefetch(cache, pack, first, count);
    if (!mine)
        return slot;
    struct err why = {0};
    waiting_begins();
    bool done = frame_load(cache, pack, frame, mine, &why);
    AUTO(held) struct held held = hold(cache);
    slot_loaded(mine, buffer_bytes(mine->len), done ? NULL : &why);
    if (done)
        return mine;
    slot_release(mine);
    *err = why;
    return NULL;
}

void cache_release(struct cache_frame *frame)
{
    if (!frame)
        return;
    AUTO(held) struct held held = hold(frame->cache);
    slot_release(frame);
}

const struct pack_row *cache_row(const struct cache_frame *frame) { return &frame->row; }

const uint8_t *cache_raw(const struct cache_frame *frame, size_t *ret_len)
{
    *ret_len = frame->len;
    return frame->raw;
}

bool cache_item(const struct cache_frame *frame, uint8_t item, const uint8_t **ret, size_t *ret_len,
                struct err *err)
{
    return pack_item(&frame->row, frame->raw, frame->len, item, ret, ret_len, err) ||
           err_wrap(err, "pack %08x-%04x, frame %u", frame->key.pack, frame->key.generation,
                    frame->key.frame);
}

/* ---- forgetting ---- */

/* pack NULL: the whole family; family NULL: all. */
static void forget(struct cache *cache, const uint64_t *family, const uint32_t *pack)
{
    AUTO(held) struct held held = hold(cache);
    for (size_t i = 0; i < cache->table_size; i++)
        for (struct cache_frame *slot = cache->table[i], *next; slot; slot = next) {
            next = slot->chain;
            if ((family && slot->key.family != *family) || (pack && slot->key.pack != *pack))
                continue;
            if (slot->in_list)
                slot_free(slot);
            else if (family)
                table_remove(slot);
        }
}

void cache_forget(struct cache *cache, uint64_t family, uint32_t pack)
{
    forget(cache, &family, &pack);
    copies_forget(cache, family, &pack);
}

void cache_forget_family(struct cache *cache, uint64_t family)
{
    forget(cache, &family, NULL);
    copies_forget(cache, family, NULL);
}

void cache_drop(struct cache *cache)
{
    forget(cache, NULL, NULL);
    AUTO(held) struct held held = hold(cache);
    while (cache->spare_count > 0)
        own_free(cache->spare[--cache->spare_count]);
}

/* ---- the cache ---- */

static void set_defaults(struct cache *cache, const struct cache_options *given)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct cache_options *o = &cache->options;
    *o = given ? *given : (struct cache_options){0};
    o->frame_bytes = o->frame_bytes ? o->frame_bytes : FRAME_BYTES;
    o->dir_bytes = o->dir_bytes ? o->dir_bytes : DIR_BYTES;
    if (!o->threads)
        o->threads = processors < 1             ? 1
                     : processors > THREADS_MAX ? THREADS_MAX
                                                : (unsigned)processors;
    size_t quarter = o->frame_bytes / FRAME_RAW_MAX / 4;
    cache->coming_max = quarter < COMING_MAX ? (uint32_t)quarter : COMING_MAX;
}

struct cache *cache_new(struct io *io, const struct cache_options *options, struct err *err)
{
    AUTO(cache) struct cache *cache = own_alloc(sizeof *cache, err);
    if (!cache)
        return NULL;
    pthread_mutex_init(&cache->lock, NULL);
    cache->io = io;
    set_defaults(cache, options);
    cache->table_size = TABLE_SIZE;
    cache->table = own_alloc(TABLE_SIZE * sizeof(struct cache_frame *), err);
    if (!cache->table || !copies_open(cache, &cache->options, err))
        return NULL;
    cache->lane = lane_new("vault-ahead", (int)cache->options.threads, err);
    return cache->lane ? TAKE(cache) : NULL;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    lane_free(cache->lane);
    if (cache->table)
        cache_drop(cache);
    own_free(cache->table);
    copies_done(&cache->copies);
    pthread_mutex_destroy(&cache->lock);
    own_free(cache);
}

void cache_stat(struct cache *cache, struct cache_stat *ret)
{
    AUTO(held) struct held held = hold(cache);
    *ret = cache->stat;
    ret->frame_bytes = cache->lines[LIST_DATA].bytes + cache->lines[LIST_OTHER].bytes;
    ret->dir_bytes = cache->lines[LIST_DIRS].bytes;
}
