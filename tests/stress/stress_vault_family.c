/* A family under everything at once for a few seconds: stress_vault_family [SECONDS]. Two volumes
 * are sealed, snapshots dropped, packs thinned, figures asked; readers of any snapshot get its
 * bytes or hear that it was deleted, nothing else. For SAN=thread. */
#include "agent/base/clock.h"
#include "drivers/vault/store/store.h"
#include "tests/lib/memory_io.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOLUMES = 2, READERS = 2, RECORDS = 600, KEPT = 3, FILE_NO = 20 };

struct world {
    struct store *store;
    struct family *family;
    uint64_t end_ms;
    _Atomic uint64_t sequence;
    _Atomic unsigned long seals, drops, thins, reads, deleted, wrong;
};

static void wrong(struct world *w, const char *what, const struct err *err)
{
    if (w->wrong++ < 10)
        fprintf(stderr, "%s: %s (%s)\n", what, err->text, err_code_name(err->code));
}

static bool over(const struct world *w) { return clock_mono_ms() > w->end_ms || w->wrong > 0; }

/* Record r as layer `sequence` wrote it. */
static void record(uint64_t sequence, uint64_t r, uint8_t *ret)
{
    uint64_t x = sequence * 1000003 + r + 1;
    memset(ret, 0, RECORD_BYTES);
    memcpy(ret, &sequence, sizeof sequence);
    memcpy(ret + 8, &r, sizeof r);
    for (size_t i = 16; i < RECORD_BYTES / 4; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        ret[i] = (uint8_t)x;
    }
}

/* A third of the records, and a snapshot. */
static bool seal_once(struct world *w, uint64_t volume, struct root *table, struct root *file,
                      unsigned round, struct err *err)
{
    uint8_t bytes[RECORD_BYTES], slots[2 * RECORD_BYTES] = {0};
    uint64_t sequence = ++w->sequence;
    AUTO(seal) struct seal *seal = seal_begin(w->family, volume, sequence, err);
    if (!seal || !seal_file_begin(seal, FILE_NO, file, err))
        return false;
    for (uint64_t r = 0; r < RECORDS; r++) {
        if (round > 0 && (r * 7 + round) % 3 != 0)
            continue;
        record(sequence, r, bytes);
        if (!seal_record(seal, r, bytes, err))
            return false;
    }
    struct inode inode = {.file = FILE_NO, .kind = INODE_FILE, .size = RECORDS * RECORD_BYTES};
    if (!seal_file_end(seal, inode.size, &inode.root, err))
        return false;
    inode_encode(&inode, store_seed(w->store), slots + FILE_NO * INODE_BYTES);
    struct seal_result result = {
        .slots = FILE_NO + 1, .named = true, .name = "s", .id = sequence, .created_us = 1};
    if (!seal_file_begin(seal, INODE_TABLE, table, err) ||
        !seal_record(seal, 1, slots + RECORD_BYTES, err) ||
        !seal_file_end(seal, sizeof slots, &result.table, err) ||
        !seal_commit(TAKE(seal), &result, err))
        return false;
    *table = result.table;
    *file = inode.root;
    w->seals++;
    return true;
}

static void *run_seals(void *arg)
{
    struct world *w = arg;
    struct err err = {0};
    struct root table = {0}, file = {0};
    struct volume_row row = {.id = ++w->sequence, .name = "v"};
    if (!family_volume_add(w->family, &row, &err))
        wrong(w, "add", &err);
    for (unsigned round = 0; !over(w); round++)
        if (!seal_once(w, row.id, &table, &file, round, &err))
            wrong(w, "seal", &err);
    return NULL;
}

/* Drops all but the newest few, thins now and then. */
static void *run_drops(void *arg)
{
    struct world *w = arg;
    for (unsigned round = 0; !over(w); round++) {
        struct err err = {0};
        size_t volumes = 0, count = 0;
        uint64_t freed;
        struct family_stat stat;
        AUTO(mem) struct volume_row *rows = family_volumes(w->family, &volumes, &err);
        for (size_t v = 0; v < volumes; v++) {
            AUTO(mem)
            struct snapshot_row *s = family_snapshots(w->family, rows[v].id, &count, &err);
            for (size_t i = 0; s && count > KEPT && i < count - KEPT; i++, w->drops++)
                if (!family_snapshot_drop(w->family, rows[v].id, s[(i * 5) % count].sequence,
                                          &err) &&
                    err.code != ERR_NOT_FOUND)
                    wrong(w, "drop", &err);
        }
        err_clear(&err);
        if (round % 64 == 0 && !family_thin(w->family, NULL, NULL, &freed, &err))
            wrong(w, "thin", &err);
        w->thins += round % 64 == 0;
        if (!family_stat(w->family, &stat, &err))
            wrong(w, "stat", &err);
    }
    return NULL;
}

static void check_records(struct world *w, const struct snapshot_row *row, const uint8_t *bytes,
                          uint64_t first, uint64_t count)
{
    struct err err = {.text = "other bytes"};
    uint8_t expected[RECORD_BYTES];
    for (uint64_t r = 0; r < count; r++) {
        uint64_t sequence;
        memcpy(&sequence, bytes + r * RECORD_BYTES, sizeof sequence);
        record(sequence, first + r, expected);
        if (sequence > row->sequence ||
            memcmp(expected, bytes + r * RECORD_BYTES, RECORD_BYTES) != 0)
            wrong(w, "read", &err);
    }
}

static void *run_reads(void *arg)
{
    struct world *w = arg;
    unsigned seed = (unsigned)(uintptr_t)&seed;
    AUTO(mem) uint8_t *bytes = malloc((size_t)RECORDS * RECORD_BYTES);
    while (!over(w)) {
        struct err err = {0};
        size_t volumes = 0, count = 0;
        struct inode inode;
        AUTO(mem) struct volume_row *rows = family_volumes(w->family, &volumes, &err);
        if (volumes == 0)
            continue;
        AUTO(mem)
        struct snapshot_row *s =
            family_snapshots(w->family, rows[(unsigned)rand_r(&seed) % volumes].id, &count, &err);
        if (count == 0)
            continue;
        const struct snapshot_row *row = &s[(unsigned)rand_r(&seed) % count];
        bool good = family_inode(w->family, &row->table, FILE_NO, &inode, &err);
        for (uint64_t at = 0, n = 0; good && at < RECORDS && !over(w); at += n) {
            n = 1 + (unsigned)rand_r(&seed) % 100;
            n = n < RECORDS - at ? n : RECORDS - at;
            good = family_read(w->family, &inode.root, at, n, bytes, &err);
            if (good)
                check_records(w, row, bytes, at, n);
            w->reads++;
        }
        if (!good && err.code != ERR_NOT_FOUND)
            wrong(w, "read", &err);
        w->deleted += !good;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct memory_io *memory = NULL;
    static const uint8_t box[16] = "box";
    static struct world w;
    pthread_t threads[VOLUMES + 1 + READERS];
    size_t count = 0;
    AUTO(io) struct io *io = memory_io_open(0, &memory, &err);
    struct store_options options = {.cache_bytes = 4 << 20, .threads = 2};
    w.store = io ? store_open(io, box, &options, &err) : NULL;
    w.family = w.store ? family_open(w.store, 1, true, &err) : NULL;
    if (!w.family) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    w.end_ms = clock_mono_ms() + 1000 * (uint64_t)(argc > 1 ? atoi(argv[1]) : 3);
    for (int i = 0; i < VOLUMES; i++)
        pthread_create(&threads[count++], NULL, run_seals, &w);
    pthread_create(&threads[count++], NULL, run_drops, &w);
    for (int i = 0; i < READERS; i++)
        pthread_create(&threads[count++], NULL, run_reads, &w);
    while (count > 0)
        pthread_join(threads[--count], NULL);
    printf("%lu seals, %lu drops, %lu thinnings, %lu reads, %lu told of a deletion, %lu wrong\n",
           w.seals, w.drops, w.thins, w.reads, w.deleted, w.wrong);
    family_close(w.family);
    store_close(w.store);
    return w.wrong > 0 || w.seals == 0 || w.reads == 0;
}
