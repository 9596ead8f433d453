/* The cache: right bytes, one reading for many, its budgets, read-ahead, copies of directories. */
#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "drivers/vault/store/cache.h"
#include "tests/lib/engine_drive.h"
#include "tests/vault/pack_world.h"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static struct cache_pack pack_of(const struct pack_world *w)
{
    return (struct cache_pack){.key = w->key, .object_bytes = w->bytes};
}

static struct cache *cache_over(struct pack_world *w, struct cache_options options)
{
    struct err err = {0};
    struct cache *cache = cache_new(w->io, &options, &err);
    cr_assert(cache, "%s", err.text);
    return cache;
}

static void get_and_check(struct cache *cache, const struct pack_world *w, uint32_t frame)
{
    struct err err = {0};
    struct cache_pack pack = pack_of(w);
    AUTO(cache_frame) struct cache_frame *got = cache_get(cache, &pack, frame, &err);
    cr_assert(got, "frame %u: %s", frame, err.text);
    size_t len;
    const uint8_t *raw = cache_raw(got, &len);
    const struct frame *f = &w->made[frame].frame;
    cr_assert_eq(len, f->raw_len);
    cr_assert_eq(memcmp(raw, f->raw, len), 0, "frame %u has other bytes", frame);
    cr_assert_eq(cache_row(got)->present, f->present);
}

static size_t reads_of(struct pack_world *w) { return memory_io_count(w->memory, MEMORY_READ); }

Test(cache, keeps_a_frame_that_was_read)
{
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 40, false);
    struct cache *cache = cache_over(&w, (struct cache_options){.no_stream = true});
    struct cache_pack pack = pack_of(&w);
    for (uint32_t i = 0; i < w.count; i++)
        if (w.made[i].frame.present)
            get_and_check(cache, &w, i);
    FAILS(ERR_CORRUPT, cache_get(cache, &pack, 4, &e)); /* nothing of it is left */
    FAILS(ERR_CORRUPT, cache_get(cache, &pack, w.count, &e));
    size_t reads = reads_of(&w);
    for (uint32_t i = 0; i < w.count; i++)
        if (w.made[i].frame.present)
            get_and_check(cache, &w, i);
    cr_assert_eq(reads_of(&w), reads, "it was read again");
    struct cache_stat stat;
    cache_stat(cache, &stat);
    cr_assert_gt(stat.hits, 0);
    cache_drop(cache);
    cache_stat(cache, &stat);
    cr_assert_eq(stat.frame_bytes + stat.dir_bytes, 0);
    cache_free(cache);
    world_end(&w);
}

Test(cache, gives_items_hashes_and_record_numbers)
{
    test_random_start("cache");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 20, false);
    struct cache *cache = cache_over(&w, (struct cache_options){0});
    struct cache_pack pack = pack_of(&w);
    const struct frame *f = &w.made[5].frame;
    uint64_t file, records[FRAME_ITEMS];
    uint8_t count;
    OK(cache_subject(cache, &pack, 5, &file, records, &count, &e));
    cr_assert_eq(file, f->file);
    cr_assert_eq(memcmp(records, f->records, count * sizeof *records), 0);
    AUTO(cache_frame) struct cache_frame *got = cache_get(cache, &pack, 5, &err);
    for (uint8_t item = 0; item < FRAME_ITEMS; item++) {
        const uint8_t *bytes;
        size_t len;
        struct hash hash, wanted;
        if (!(f->present >> item & 1)) {
            FAILS(ERR_CORRUPT, cache_item(got, item, &bytes, &len, &e));
            FAILS(ERR_CORRUPT, cache_hash(cache, &pack, 5, item, &hash, &e));
            continue;
        }
        OK(cache_item(got, item, &bytes, &len, &e));
        OK(cache_hash(cache, &pack, 5, item, &hash, &e));
        hash_bytes(bytes, len, &wanted);
        cr_assert(hash_equal(&hash, &wanted));
    }
    cache_release(TAKE(got));
    cache_free(cache);
    world_end(&w);
}

/* ---- many at once ---- */

struct crowd {
    struct cache *cache;
    struct pack_world *w;
    uint32_t frame, waiters;
    bool fail;
    _Atomic uint32_t reads, right, refused;
};

/* Holds the read of the frame up until all others wait for it; bounded. */
static bool hold_up(void *arg, const struct memory_call *call, struct err *err)
{
    struct crowd *crowd = arg;
    struct cache_stat stat = {0};
    if (call->op != MEMORY_READ || call->bytes == PACK_HEADER || call->bytes == PACK_FOOTER ||
        call->offset > 4 << 20)
        return true;
    crowd->reads++;
    for (uint64_t end = clock_mono_ms() + 20000; clock_mono_ms() < end; sched_yield()) {
        cache_stat(crowd->cache, &stat);
        if (stat.waits >= crowd->waiters)
            break;
    }
    return !crowd->fail || err_set(err, ERR_UNAVAILABLE, "the store is away");
}

static void *come(void *arg)
{
    struct crowd *crowd = arg;
    struct err err = {0};
    struct cache_pack pack = pack_of(crowd->w);
    AUTO(cache_frame)
    struct cache_frame *got = cache_get(crowd->cache, &pack, crowd->frame, &err);
    const struct frame *f = &crowd->w->made[crowd->frame].frame;
    size_t len;
    crowd->right += got && memcmp(cache_raw(got, &len), f->raw, f->raw_len) == 0;
    crowd->refused += !got && err.code == ERR_UNAVAILABLE;
    return NULL;
}

Test(cache, reads_a_frame_once_for_all_that_wait)
{
    enum { COMERS = 8 };
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 20, false);
    struct cache *cache = cache_over(&w, (struct cache_options){.no_stream = true});
    struct crowd crowd = {.cache = cache, .w = &w, .frame = 5, .waiters = COMERS - 1};
    get_and_check(cache, &w, 0); /* the directory is there */
    for (int round = 0; round < 2; round++) {
        crowd.fail = round == 0;
        memory_io_hook(w.memory, hold_up, &crowd);
        pthread_t threads[COMERS];
        for (int i = 0; i < COMERS; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, come, &crowd), 0);
        for (int i = 0; i < COMERS; i++)
            pthread_join(threads[i], NULL);
        memory_io_hook(w.memory, NULL, NULL);
        cr_assert_eq(crowd.reads, 1U + round, "read %u times", crowd.reads);
        crowd.waiters += COMERS - 1;
    }
    cr_assert_eq(crowd.refused, COMERS, "%u were told that the store is away", crowd.refused);
    cr_assert_eq(crowd.right, COMERS, "%u got it afterwards", crowd.right);
    cache_free(cache);
    world_end(&w);
}

/* ---- budgets ---- */

Test(cache, stays_within_its_budget_and_keeps_maps_longer_than_data)
{
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 300, false);
    const size_t budget = 1 << 20;
    struct cache *cache =
        cache_over(&w, (struct cache_options){.frame_bytes = budget, .no_stream = true});
    struct cache_stat stat;
    get_and_check(cache, &w, 1); /* nodes */
    for (uint32_t i = 0; i < w.count; i++) {
        if (w.made[i].frame.kind != FRAME_DATA || !w.made[i].frame.present)
            continue;
        get_and_check(cache, &w, i);
        cache_stat(cache, &stat);
        cr_assert_leq(stat.frame_bytes, budget);
    }
    cr_assert_gt(stat.frame_bytes, budget / 2);
    size_t reads = reads_of(&w);
    get_and_check(cache, &w, 1);
    cr_assert_eq(reads_of(&w), reads, "data drove a map node out");
    cache_free(cache);
    world_end(&w);
}

Test(cache, keeps_directories_within_their_budget)
{
    test_random_start("cache");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 50, false);
    const size_t budget = 64 << 10;
    struct cache *cache = cache_over(&w, (struct cache_options){.dir_bytes = budget});
    struct pack_key key = w.key;
    for (uint32_t i = 0; i < 40; i++) {
        /* the same frames as packs of other names */
        key.pack = 100 + i;
        struct pack_writer *writer = pack_create(w.io, &key, 1, &err);
        uint32_t frame;
        uint64_t bytes;
        for (uint32_t k = 0; k < w.count; k++)
            OK(pack_add(writer, &w.made[k].frame, &frame, &e));
        OK(pack_finish(writer, &bytes, &e));
        struct cache_pack pack = {.key = key, .object_bytes = bytes};
        struct hash hash;
        uint8_t item = (uint8_t)__builtin_ctz(w.made[5].frame.present);
        OK(cache_hash(cache, &pack, 5, item, &hash, &e));
        cr_assert(hash_equal(&hash, &w.made[5].frame.hashes[0]));
        struct cache_stat stat;
        cache_stat(cache, &stat);
        cr_assert_leq(stat.dir_bytes, budget);
        cr_assert_gt(stat.dir_bytes, i > 10 ? budget / 2 : 0);
    }
    cache_free(cache);
    world_end(&w);
}

/* ---- what goes wrong and passes ---- */

Test(cache, does_not_remember_a_failure)
{
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 20, false);
    struct cache *cache = cache_over(&w, (struct cache_options){.no_stream = true});
    struct cache_pack pack = pack_of(&w);
    char name[IO_NAME_MAX];
    pack_name(&w.key, name);
    cr_assert(memory_io_flip(w.memory, name, PACK_HEADER + 60, 1));
    FAILS(ERR_CORRUPT, cache_get(cache, &pack, 0, &e));
    get_and_check(cache, &w, 1);
    cr_assert(memory_io_flip(w.memory, name, PACK_HEADER + 60, 1));
    get_and_check(cache, &w, 0);
    cache_free(cache);
    world_end(&w);
}

Test(cache, forgets_a_pack_but_not_under_its_reader)
{
    test_random_start("cache");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 20, false);
    struct cache *cache = cache_over(&w, (struct cache_options){.no_stream = true});
    struct cache_pack pack = pack_of(&w);
    struct cache_frame *held = cache_get(cache, &pack, 0, &err);
    get_and_check(cache, &w, 5);
    cache_forget(cache, w.key.family, w.key.pack + 1);
    size_t reads = reads_of(&w);
    get_and_check(cache, &w, 5);
    cr_assert_eq(reads_of(&w), reads);
    cache_forget(cache, w.key.family, w.key.pack);
    get_and_check(cache, &w, 5);
    cr_assert_gt(reads_of(&w), reads);
    size_t len;
    cr_assert_eq(memcmp(cache_raw(held, &len), w.made[0].frame.raw, w.made[0].frame.raw_len), 0);
    cache_release(held);
    get_and_check(cache, &w, 0);
    cache_forget_family(cache, w.key.family);
    struct cache_stat stat;
    cache_stat(cache, &stat);
    cr_assert_eq(stat.frame_bytes + stat.dir_bytes, 0);
    cache_free(cache);
    world_end(&w);
}

Test(cache, survives_any_allocation_that_fails)
{
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 12, false);
    bool through = false;
    for (long nth = 1; nth < 500 && !through; nth++) {
        struct err err = {0};
        struct cache_pack pack = pack_of(&w);
        struct cache_options options = {.threads = 1};
        own_fault(nth);
        struct cache *cache = cache_new(w.io, &options, &err);
        bool done = cache != NULL;
        for (uint32_t i = 0; cache && done && i < w.count; i++) {
            size_t len;
            if (!w.made[i].frame.present)
                continue;
            struct cache_frame *got = cache_get(cache, &pack, i, &err);
            done = got != NULL;
            cr_assert(!got || memcmp(cache_raw(got, &len), w.made[i].frame.raw,
                                     w.made[i].frame.raw_len) == 0);
            cache_release(got);
        }
        through = own_fault(0) < nth;
        cr_assert_eq(done, err.code == ERR_NONE, "%ld: %s", nth, err.text);
        cr_assert(done || err.code == ERR_NO_MEMORY, "%ld: %s", nth, err.text);
        if (cache)
            get_and_check(cache, &w, 5);
        cache_free(cache);
    }
    cr_assert(through);
    world_end(&w);
}

/* ---- read-ahead ---- */

Test(cache, reads_a_pack_in_order_in_few_large_pieces)
{
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 200, false);
    struct cache *cache = cache_over(&w, (struct cache_options){.threads = 3});
    struct cache_pack pack = pack_of(&w);
    uint32_t wanted = 0;
    for (uint32_t i = 8; i < 32; i++)
        wanted += w.made[i].frame.present != 0;
    get_and_check(cache, &w, 0);
    size_t reads = reads_of(&w);
    struct cache_stat stat = {0};
    cache_prefetch(cache, &pack, 8, 24);
    for (uint64_t end = clock_mono_ms() + 20000; stat.ahead < wanted && clock_mono_ms() < end;) {
        sched_yield();
        cache_stat(cache, &stat);
    }
    cr_assert_eq(stat.ahead, wanted);
    cr_assert_leq(reads_of(&w) - reads, 6, "%zu reads", reads_of(&w) - reads);
    for (uint32_t i = 8; i < 32; i++)
        if (w.made[i].frame.present)
            get_and_check(cache, &w, i);
    cache_stat(cache, &stat);
    cr_assert_eq(stat.misses, 1);
    cr_assert_eq(stat.ahead_unused, 0);
    cache_free(cache);
    world_end(&w);
}

Test(cache, reads_scattered_frames_ahead_all_at_once)
{
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 200, false);
    struct cache *cache = cache_over(&w, (struct cache_options){.no_stream = true});
    struct cache_pack pack = pack_of(&w);
    struct cache_stat stat = {0};
    uint32_t wanted = 0;
    for (uint32_t i = 8; i < 200; i += 5) {
        cache_prefetch(cache, &pack, i, 1);
        wanted += w.made[i].frame.present != 0;
    }
    for (uint64_t end = clock_mono_ms() + 20000; stat.ahead < wanted && clock_mono_ms() < end;) {
        sched_yield();
        cache_stat(cache, &stat);
    }
    for (uint32_t i = 8; i < 200; i += 5)
        if (w.made[i].frame.present)
            get_and_check(cache, &w, i);
    cache_stat(cache, &stat);
    cr_assert_eq(stat.misses, 0, "%zu had to be read when they were wanted", (size_t)stat.misses);
    cache_free(cache);
    world_end(&w);
}

Test(cache, notices_by_itself_that_frames_are_read_in_order)
{
    test_random_start("cache");
    struct pack_world w;
    world_begin(&w, 100, false);
    struct cache *cache = cache_over(&w, (struct cache_options){0});
    struct cache_stat stat;
    for (uint32_t i = 0; i < w.count; i++) {
        if (w.made[i].frame.present)
            get_and_check(cache, &w, i);
        cache_stat(cache, &stat);
        for (uint64_t end = clock_mono_ms() + 20000;
             i == 20 && stat.ahead < 8 && clock_mono_ms() < end; cache_stat(cache, &stat))
            sched_yield();
    }
    cr_assert_geq(stat.ahead, 8, "%zu were read ahead", (size_t)stat.ahead);
    cache_free(cache);
    world_end(&w);
}

Test(cache, tells_of_a_bad_frame_that_was_read_ahead_when_it_is_asked_for)
{
    test_random_start("cache");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 30, false);
    struct cache *cache = cache_over(&w, (struct cache_options){.no_stream = true});
    struct cache_pack pack = pack_of(&w);
    struct pack_dir *dir = pack_dir_read(w.io, &w.key, w.bytes, &err);
    struct pack_row row;
    uint32_t bad = 10;
    while (!pack_dir_row(dir, bad, &row))
        bad++;
    pack_dir_free(dir);
    char name[IO_NAME_MAX];
    pack_name(&w.key, name);
    cr_assert(memory_io_flip(w.memory, name, row.offset + row.bytes / 2, 0x40));
    cache_prefetch(cache, &pack, 0, 30);
    for (uint32_t i = 0; i < w.count; i++) {
        if (i == bad)
            FAILS(ERR_CORRUPT, cache_get(cache, &pack, i, &e));
        else if (w.made[i].frame.present)
            get_and_check(cache, &w, i);
    }
    cache_free(cache);
    world_end(&w);
}

/* ---- copies ---- */

/* The same objects, behind a round trip. */
static void make_remote(struct pack_world *w)
{
    struct err err = {0};
    size_t len;
    char name[IO_NAME_MAX];
    struct memory_io *memory;
    struct io *io = memory_io_open(IO_IS_REMOTE, &memory, &err);
    pack_name(&w->key, name);
    AUTO(mem) char *object = io_get(w->io, name, w->bytes, &len, &err);
    OK(memory_io_set(memory, name, object, len, &e));
    io_close(w->io);
    w->io = io;
    w->memory = memory;
}

static size_t files_in(const char *dir)
{
    AUTO(sys_names) struct sys_names names = {0};
    OK(sys_list(dir, &names, &e));
    return names.count;
}

Test(cache, keeps_copies_of_directories_of_remote_packs)
{
    test_random_start("cache");
    AUTO(drive_dir) char *dir = drive_dir();
    char folder[512], path[1024];
    snprintf(folder, sizeof folder, "%s/dirs", dir);
    struct pack_world w;
    world_begin(&w, 40, false);
    make_remote(&w);
    struct cache_options options = {.folder = folder, .no_stream = true};
    struct cache_pack pack = pack_of(&w);
    struct hash hash;
    uint8_t item = (uint8_t)__builtin_ctz(w.made[5].frame.present);

    struct cache *cache = cache_over(&w, options);
    get_and_check(cache, &w, 5);
    OK(cache_hash(cache, &pack, 5, item, &hash, &e));
    cache_free(cache);
    cr_assert_eq(files_in(folder), 2);

    size_t reads = reads_of(&w);
    cache = cache_over(&w, options);
    get_and_check(cache, &w, 5);
    OK(cache_hash(cache, &pack, 5, item, &hash, &e));
    cr_assert(hash_equal(&hash, &w.made[5].frame.hashes[0]));
    cr_assert_eq(reads_of(&w), reads + 1, "only the frame is read from the store");
    cache_free(cache);

    /* a copy that rotted, byte by byte: never believed */
    static const char *const kinds[] = {"dir", "hash"};
    for (uint32_t round = 0; round < 40; round++) {
        snprintf(path, sizeof path, "%s/%016x-%08x-%04x.%s", folder, 7, 5, 2, kinds[round % 2]);
        size_t len;
        struct err err = {0};
        AUTO(mem) char *bytes = sys_read_file(path, 1 << 20, &len, &err);
        cr_assert(bytes, "%s", err.text);
        bytes[test_random_below((uint32_t)len)] ^= (char)(1 << test_random_below(8));
        OK(sys_write_file(path, bytes, round % 5 ? len : len / 2, 0600, &e));
        cache = cache_over(&w, options);
        get_and_check(cache, &w, 5);
        OK(cache_hash(cache, &pack, 5, item, &hash, &e));
        cr_assert(hash_equal(&hash, &w.made[5].frame.hashes[0]));
        cache_free(cache);
    }
    cache = cache_over(&w, options);
    cache_forget(cache, 7, 6);
    cr_assert_eq(files_in(folder), 2);
    cache_forget(cache, 7, 5);
    cr_assert_eq(files_in(folder), 0);
    cache_free(cache);

    options.folder_bytes = 100; /* no room for one */
    cache = cache_over(&w, options);
    get_and_check(cache, &w, 5);
    cr_assert_eq(files_in(folder), 0);
    cache_free(cache);
    world_end(&w);
}
