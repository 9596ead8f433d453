/* Read-ahead: frames that lie next to each other are read in one piece and unpacked by a lane. */
#include "drivers/vault/store/cache_int.h"
#include <string.h>

enum {
    PIECE_FRAMES = 8,      /* a job: 1 MiB raw */
    PIECE_BYTES = 1 << 20, /* one read */
    RUN_LEAST = 2,         /* steps in order before anything is read ahead */
    STEP_MOST = 4,         /* frames that a reader may leave out: others replaced them */
    AHEAD = 24,            /* frames */
    AHEAD_REMOTE = 64,
};

struct job {
    struct work work;
    struct cache *cache;
    struct cache_pack pack;
    uint32_t first, count;
    uint8_t *bytes; /* as stored */
    size_t capacity;
};

static void lock(struct cache *cache) { pthread_mutex_lock(&cache->lock); }
static void unlock(struct cache *cache) { pthread_mutex_unlock(&cache->lock); }

/* Loading slots for frames of the run that nobody has, held by the job. */
static uint32_t claim(struct job *job, const struct pack_dir *dir, struct cache_frame **slots)
{
    struct cache *cache = job->cache;
    struct err err = {0}; /* what cannot be read ahead is read when it is wanted */
    uint32_t count = 0;
    lock(cache);
    for (uint32_t i = 0; i < job->count; i++) {
        struct pack_row row;
        struct slot_key key = slot_key_of(&job->pack, job->first + i);
        if (!pack_dir_row(dir, job->first + i, &row) || slot_find(cache, &key))
            continue;
        struct cache_frame *slot = slot_add(cache, &key, &err);
        if (!slot)
            break;
        slot->row = row;
        slot->ahead = true;
        slot->list = row.kind == FRAME_DATA ? LIST_DATA : LIST_OTHER;
        slots[count++] = slot;
    }
    unlock(cache);
    return count;
}

/* How many of the slots lie next to each other and fit into one read. */
static uint32_t neighbours(struct cache_frame *const *slots, uint32_t count, size_t *ret_bytes)
{
    uint32_t n = 1;
    *ret_bytes = slots[0]->row.bytes;
    while (n < count &&
           slots[n]->row.offset == slots[n - 1]->row.offset + slots[n - 1]->row.bytes &&
           *ret_bytes + slots[n]->row.bytes <= PIECE_BYTES)
        *ret_bytes += slots[n++]->row.bytes;
    return n;
}

static bool read_piece(struct job *job, uint64_t offset, size_t len, struct err *err)
{
    if (job->capacity < len) {
        uint8_t *grown = own_realloc(job->bytes, len, err);
        if (!grown)
            return false;
        job->bytes = grown;
        job->capacity = len;
    }
    char name[IO_NAME_MAX];
    pack_name(&job->pack.key, name);
    ssize_t got = io_read(job->cache->io, name, job->bytes, len, offset, err);
    return got >= 0 && ((size_t)got == len || err_set(err, ERR_CORRUPT, "cut off"));
}

/* `bytes` NULL: they could not be read. */
static void unpack(struct job *job, struct cache_frame *slot, const uint8_t *bytes)
{
    struct cache *cache = job->cache;
    struct err err = {0};
    uint8_t *raw = bytes ? slot_buffer(cache) : NULL;
    size_t len = 0;
    bool done =
        raw && pack_frame_open(&job->pack.key, &slot->row, slot->key.frame, bytes, raw, &len, &err);
    done = slot_take(slot, raw, len, done);
    lock(cache);
    cache->stat.ahead += done;
    slot_loaded(slot, len > FRAME_RAW_MAX / 2 ? FRAME_RAW_MAX : len, done ? NULL : &err);
    slot->ahead = slot->ahead && done && slot->refs == 1; /* who waits has asked for it */
    slot_release(slot);
    unlock(cache);
}

static void job_run(struct work *work)
{
    struct job *job = (struct job *)work;
    struct cache *cache = job->cache;
    struct err err = {0};
    struct cache_frame *slots[PIECE_FRAMES];
    struct cache_frame *dir = cache_dir(cache, &job->pack, &err);
    uint32_t count = dir ? claim(job, dir->dir, slots) : 0;
    for (uint32_t at = 0; at < count;) {
        size_t len;
        uint32_t n = neighbours(slots + at, count - at, &len);
        uint64_t offset = slots[at]->row.offset;
        bool read = read_piece(job, offset, len, &err);
        for (uint32_t i = 0; i < n; i++, at++)
            unpack(job, slots[at], read ? job->bytes + (slots[at]->row.offset - offset) : NULL);
    }
    cache_dir_release(dir);
    lock(cache);
    cache->coming -= job->count;
    unlock(cache);
    own_free(job->bytes);
    own_free(job);
}

/* False when there is no room for it now. */
static bool submit(struct cache *cache, const struct cache_pack *pack, uint32_t first,
                   uint32_t count)
{
    struct err err = {0};
    lock(cache);
    bool room = cache->coming + count <= cache->coming_max;
    cache->coming += room ? count : 0;
    unlock(cache);
    struct job *job = room ? own_alloc(sizeof *job, &err) : NULL;
    if (!job) {
        lock(cache);
        cache->coming -= room ? count : 0;
        unlock(cache);
        return false;
    }
    *job = (struct job){
        .work.run = job_run, .cache = cache, .pack = *pack, .first = first, .count = count};
    lane_submit(cache->lane, &job->work);
    return true;
}

void cache_prefetch(struct cache *cache, const struct cache_pack *pack, uint32_t first,
                    uint32_t count)
{
    while (count > 0) {
        uint32_t n = count < PIECE_FRAMES ? count : PIECE_FRAMES;
        if (!submit(cache, pack, first, n))
            return;
        first += n;
        count -= n;
    }
}

/* The reader that was at this frame or shortly before it; else a new one. */
static struct stream *stream_of(struct cache *cache, const struct pack_key *key, uint32_t frame)
{
    struct stream *oldest = &cache->streams[0];
    for (struct stream *s = cache->streams; s < cache->streams + STREAMS; s++) {
        if (s->used && s->pack == key->pack && s->family == key->family &&
            s->generation == key->generation && frame >= s->last && frame - s->last <= STEP_MOST)
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    *oldest = (struct stream){.family = key->family,
                              .pack = key->pack,
                              .generation = key->generation,
                              .last = frame,
                              .asked = frame + 1};
    return oldest;
}

bool stream_seen(struct cache *cache, const struct cache_pack *pack, uint32_t frame,
                 uint32_t *ret_first, uint32_t *ret_count)
{
    struct stream *s = stream_of(cache, &pack->key, frame);
    s->used = ++cache->clock;
    if (frame == s->last)
        return false;
    s->run++;
    s->last = frame;
    if (s->run < RUN_LEAST)
        return false;
    uint32_t far = io_abilities(cache->io) & IO_IS_REMOTE ? AHEAD_REMOTE : AHEAD;
    far = far < cache->coming_max ? far : cache->coming_max;
    if (s->asked <= frame)
        s->asked = frame + 1;
    if (far < PIECE_FRAMES || s->asked > frame + far - PIECE_FRAMES ||
        cache->coming + PIECE_FRAMES > cache->coming_max)
        return false;
    *ret_first = s->asked;
    *ret_count = PIECE_FRAMES;
    s->asked += PIECE_FRAMES;
    return true;
}
