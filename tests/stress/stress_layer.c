/* Layers and a journal under many threads for a few seconds: stress_layer [SECONDS]. Writers,
 * readers and committers of one layer, swapped now and then; adders of one journal. For SAN=thread.
 */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/journal.h"
#include "drivers/vault/volume/layer.h"
#include "tests/lib/engine_drive.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 5, FILES = 40, RECORDS = 300, SEED = 3 };

struct world {
    char *dir;
    pthread_rwlock_t lock; /* of `active`, as a volume has it */
    struct layer *active;
    struct journal *journal;
    uint64_t end_ms;
    _Atomic unsigned long writes, reads, commits, syncs, wrong;
    unsigned long swaps;
};
struct worker {
    struct world *world;
    pthread_t thread;
    uint64_t random;
};

static uint64_t any(struct worker *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 16) % below;
}

static struct layer *current(struct world *world)
{
    pthread_rwlock_rdlock(&world->lock);
    struct layer *layer = layer_ref(world->active);
    pthread_rwlock_unlock(&world->lock);
    return layer;
}

static void wrong(struct world *world, const struct err *err)
{
    fprintf(stderr, "wrong: %s\n", err->text);
    world->wrong++;
}

/* A frozen layer refuses, a record may have been cut away meanwhile: nothing else may happen. */
static void count(struct world *world, bool ok, const struct err *err, _Atomic unsigned long *done)
{
    if (ok)
        ++*done;
    else if (err->code != ERR_PRECONDITION)
        wrong(world, err);
}

static void layer_step(struct worker *w, uint8_t *bytes)
{
    struct world *world = w->world;
    struct err err = {0};
    AUTO(layer) struct layer *layer = current(world);
    uint64_t file = any(w, FILES);
    uint64_t record = any(w, RECORDS);
    uint64_t records = 1 + any(w, 4);
    uint64_t dice = any(w, 100);
    enum layer_has has;
    if (dice < 50) {
        memset(bytes, (int)any(w, 4), records * RECORD_BYTES);
        layer_attributes(layer, file, RECORDS * RECORD_BYTES, dice);
        count(world, layer_write(layer, file, record, records, bytes, &err), &err, &world->writes);
    } else if (dice < 85) {
        layer_span(layer, file, record, 4, &has);
        count(world, layer_read(layer, file, record, records, bytes, &err), &err, &world->reads);
    } else if (dice < 97) {
        bool ok = layer_commit(layer, dice < 90 ? UINT64_MAX : file, &err);
        count(world, ok, &err, &world->commits);
    } else if (dice < 99) {
        layer_write_back(layer);
    } else {
        count(world, layer_truncate(layer, file, record * RECORD_BYTES, &err), &err,
              &world->writes);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    AUTO(bytes) struct bytes payload = {0};
    static const char text[100];
    uint8_t bytes[4 * RECORD_BYTES];
    while (clock_mono_ms() < w->world->end_ms) {
        struct err err = {0};
        uint64_t number;
        layer_step(w, bytes);
        payload.len = 0;
        if (any(w, 8))
            continue;
        bool ok = bytes_add(&payload, text, any(w, sizeof text), &err) &&
                  journal_add(w->world->journal, 1, &payload, &number, &err) &&
                  (any(w, 3) || journal_sync(w->world->journal, number, &err)) &&
                  (any(w, 50) || journal_compact(w->world->journal, &payload, &err));
        count(w->world, ok, &err, &w->world->syncs);
    }
    return NULL;
}

static struct layer *next_layer(struct world *world, uint64_t sequence, struct err *err)
{
    char path[256];
    str_format(path, sizeof path, "%s/l-%llu", world->dir, (unsigned long long)sequence);
    return layer_create(path, sequence, SEED, err);
}

/* As a snapshot does it; what is frozen is right to the last record, also when read anew. */
static void swap(struct world *world)
{
    struct err err = {0};
    uint64_t file;
    uint64_t record;
    char path[256];
    struct layer *fresh = next_layer(world, world->swaps + 2, &err);
    if (!fresh) {
        wrong(world, &err);
        return;
    }
    pthread_rwlock_wrlock(&world->lock);
    AUTO(layer) struct layer *frozen = world->active;
    world->active = fresh;
    pthread_rwlock_unlock(&world->lock);
    layer_freeze(frozen);
    uint64_t sequence = layer_sequence(frozen);
    str_format(path, sizeof path, "%s/l-%llu", world->dir, (unsigned long long)sequence);
    bool ok = layer_commit(frozen, UINT64_MAX, &err);
    AUTO(layer) struct layer *again = ok ? layer_open(path, sequence, SEED, true, &err) : NULL;
    ok = again && layer_verify(frozen, &file, &record, &err) &&
         layer_verify(again, &file, &record, &err);
    if (!ok)
        wrong(world, &err);
    layer_drop(frozen);
    world->swaps++;
}

static bool see_state(void *arg, const void *state, size_t len, struct err *err)
{
    (void)arg, (void)state, (void)len, (void)err;
    return true;
}

static bool see_record(void *arg, uint8_t kind, struct cursor *payload, struct err *err)
{
    (void)arg, (void)kind, (void)payload, (void)err;
    return true;
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 3;
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    struct world world = {.dir = dir, .end_ms = clock_mono_ms() + seconds * 1000};
    struct worker workers[WORKERS];
    bool clean;
    pthread_rwlock_init(&world.lock, NULL);
    world.active = next_layer(&world, 1, &err);
    world.journal = journal_open(dir, see_state, see_record, NULL, &clean, &err);
    if (!world.active || !world.journal) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (uint64_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.world = &world, .random = 88172645463325252U + i};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            return 1;
    }
    while (clock_mono_ms() < world.end_ms)
        swap(&world);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    if (!journal_close(world.journal, &err))
        wrong(&world, &err);
    layer_unref(world.active);
    pthread_rwlock_destroy(&world.lock);
    bool ok =
        !world.wrong && world.swaps && world.writes && world.reads && world.commits && world.syncs;
    printf("layer: %lu writes, %lu reads, %lu commits, %lu swaps, %lu records synced: %s\n",
           world.writes, world.reads, world.commits, world.swaps, world.syncs,
           ok ? "right" : "WRONG");
    return ok ? 0 : 1;
}
