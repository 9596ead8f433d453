/* The cache under many readers for a few seconds: stress_vault_cache [SECONDS]. Some read in order,
 * some anywhere, one forgets, reads fail now and then; all bytes are right. For SAN=thread. */
#include "agent/base/clock.h"
#include "drivers/vault/store/cache.h"
#include "tests/lib/memory_io.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READERS = 4, PACKS = 3, FRAMES = 60 };

struct world {
    struct cache *cache;
    struct cache_pack packs[PACKS];
    uint64_t end_ms;
    _Atomic unsigned long reads, refused, wrong;
};

struct reader {
    struct world *world;
    pthread_t thread;
    uint64_t random;
};

static uint32_t any(uint64_t *random, uint32_t below)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (uint32_t)(*random >> 16) % below;
}

/* What a record holds follows from where it lies. */
static void record(uint8_t *to, uint32_t pack, uint32_t frame, uint32_t item)
{
    memset(to, (int)(frame + item), RECORD_BYTES);
    memcpy(to, &pack, sizeof pack);
    memcpy(to + 4, &frame, sizeof frame);
    memcpy(to + 8, &item, sizeof item);
    for (uint32_t i = 64; i < RECORD_BYTES / 2; i++)
        to[i] = (uint8_t)((i * 2654435761u * (frame + 1)) >> 13);
}

static bool make_pack(struct io *io, struct cache_pack *pack, struct err *err)
{
    static uint8_t raw[FRAME_RAW_MAX];
    AUTO(pack_writer) struct pack_writer *writer = pack_create(io, &pack->key, 1, err);
    struct frame f = {.kind = FRAME_DATA, .file = 2, .birth = 7, .raw = raw};
    bool done = writer != NULL;
    for (uint32_t i = 0, number; done && i < FRAMES; i++) {
        f.items = (uint8_t)(1 + i % FRAME_ITEMS);
        f.present = (uint16_t)((1U << f.items) - 1);
        f.raw_len = (size_t)f.items * RECORD_BYTES;
        for (uint32_t k = 0; k < f.items; k++) {
            record(raw + (size_t)k * RECORD_BYTES, pack->key.pack, i, k);
            hash_bytes(raw + (size_t)k * RECORD_BYTES, RECORD_BYTES, &f.hashes[k]);
            f.records[k] = i * FRAME_ITEMS + k;
        }
        done = frame_press(&f, 1, err) && pack_add(writer, &f, &number, err);
    }
    frame_done(&f);
    return done && pack_finish(TAKE(writer), &pack->object_bytes, err);
}

static void read_one(struct reader *r, uint32_t pack, uint32_t frame)
{
    struct world *w = r->world;
    struct err err = {0};
    uint8_t wanted[RECORD_BYTES];
    const uint8_t *got;
    size_t len;
    uint8_t item = (uint8_t)any(&r->random, 1 + frame % FRAME_ITEMS);
    AUTO(cache_frame)
    struct cache_frame *held = cache_get(w->cache, &w->packs[pack], frame, &err);
    w->reads++;
    if (!held) {
        w->refused++;
        w->wrong += err.code != ERR_UNAVAILABLE;
        return;
    }
    record(wanted, w->packs[pack].key.pack, frame, item);
    w->wrong += !cache_item(held, item, &got, &len, &err) || memcmp(got, wanted, len) != 0;
    struct hash said, right;
    if (any(&r->random, 4) == 0 &&
        cache_hash(w->cache, &w->packs[pack], frame, item, &said, &err)) {
        hash_bytes(wanted, sizeof wanted, &right);
        w->wrong += !hash_equal(&said, &right);
    }
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct world *w = r->world;
    while (clock_mono_ms() < w->end_ms) {
        uint32_t pack = any(&r->random, PACKS), frame = any(&r->random, FRAMES);
        switch (any(&r->random, 4)) {
        case 0:
            for (uint32_t i = 0; i < FRAMES; i++)
                read_one(r, pack, i);
            break;
        case 1:
            cache_prefetch(w->cache, &w->packs[pack], frame, 1 + any(&r->random, 20));
            break;
        case 2:
            if (any(&r->random, 8) == 0)
                cache_forget(w->cache, 1, w->packs[pack].key.pack);
            break;
        default:
            for (uint32_t i = 0; i < 20; i++)
                read_one(r, pack, any(&r->random, FRAMES));
        }
    }
    return NULL;
}

/* One read in fifty is refused. */
static bool refuse(void *arg, const struct memory_call *call, struct err *err)
{
    _Atomic unsigned long *count = arg;
    return call->op != MEMORY_READ || ++*count % 50 != 0 ||
           err_set(err, ERR_UNAVAILABLE, "now and then");
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct memory_io *memory;
    static struct world w;
    static _Atomic unsigned long calls;
    struct reader readers[READERS];
    struct io *io = memory_io_open(0, &memory, &err);
    for (uint32_t i = 0; io && i < PACKS; i++) {
        w.packs[i].key = (struct pack_key){.family = 1, .seed = 4, .pack = i};
        if (!make_pack(io, &w.packs[i], &err))
            break;
    }
    struct cache_options options = {.frame_bytes = 2 << 20, .dir_bytes = 8 << 10, .threads = 2};
    w.cache = err.code == ERR_NONE ? cache_new(io, &options, &err) : NULL;
    if (!w.cache) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    memory_io_hook(memory, refuse, &calls);
    w.end_ms = clock_mono_ms() + 1000 * (argc > 1 ? strtoul(argv[1], NULL, 10) : 3);
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.world = &w, .random = 77 + i};
        if (pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]) != 0)
            return 1;
    }
    for (uint32_t i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
    struct cache_stat stat;
    cache_stat(w.cache, &stat);
    cache_drop(w.cache);
    struct cache_stat empty;
    cache_stat(w.cache, &empty);
    cache_free(w.cache);
    io_close(io);
    printf("vault cache: %lu reads, %lu refused, %lu hits, %lu misses, %lu waits, %lu ahead\n",
           w.reads, w.refused, (unsigned long)stat.hits, (unsigned long)stat.misses,
           (unsigned long)stat.waits, (unsigned long)stat.ahead);
    bool good = w.wrong == 0 && w.reads > 100 && empty.frame_bytes + empty.dir_bytes == 0;
    if (!good)
        fprintf(stderr, "stress_vault_cache: %lu wrong\n", w.wrong);
    return good ? 0 : 1;
}
