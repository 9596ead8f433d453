/* Figures of the vault; each prints "name value" lines. DIR holds box/ and store/.
 *
 *   bench_vault ingest DIR DATA            volume "db" from a file, snapshot "s1", until it is
 * sealed bench_vault next DIR DATA LIST NAME    writes the listed blocks of DATA, snapshot NAME
 *   bench_vault cat DIR SNAPSHOT           the snapshot's file to stdout
 *   bench_vault read DIR SNAPSHOT          a clone, read from end to end
 *   bench_vault random DIR SNAPSHOT COUNT  a clone, read at random, 8 KiB each
 *   bench_vault clones DIR SNAPSHOT COUNT  so many clones
 *   bench_vault hash DATA                  the content hashes alone
 *   bench_vault pause DIR BYTES RECORDS zeros|data ROUNDS   what a writer notices of a snapshot
 *   bench_vault drop DIR COUNT             one of so many snapshots deleted
 *   bench_vault grow DIR BYTES             snapshots of a sparse file of that size
 */
#include "tests/bench/vault_bench.h"

#include "agent/base/sys.h"
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum {
    GROW_RECORDS = 4096,
    GROW_CHANGES = 512,
    GROW_ROUNDS = 20,
    DROP_SMALL = 64,
    DROP_LARGE = 12800
};
enum { SEAL_WAIT_MS = 120000, WRITE_EACH_US = 200, MANY = 1000, DROP_SECONDS = 45 };

/* ---- decompressed bytes: this definition comes before the library's ---- */

struct ZSTD_DCtx_s;
size_t ZSTD_decompress_usingDDict(struct ZSTD_DCtx_s *context, void *to, size_t max,
                                  const void *from, size_t len, const void *dict);
size_t ZSTD_decompressDCtx(struct ZSTD_DCtx_s *context, void *to, size_t max, const void *from,
                           size_t len);
static _Atomic uint64_t decompressed;            /* by all threads: what is read ahead, too */
static _Thread_local uint64_t decompressed_here; /* what a reader waited for */

size_t ZSTD_decompressDCtx(struct ZSTD_DCtx_s *context, void *to, size_t max, const void *from,
                           size_t len)
{
    size_t n = ZSTD_decompress_usingDDict(context, to, max, from, len, NULL);
    decompressed += n;
    decompressed_here += n;
    return n;
}

/* ---- first and next snapshot ---- */

static bool sealed(struct bench *b, const char *volume, const char *name, struct err *err)
{
    bool is = false;
    return vault_snapshot_wait(b->vault, volume, name, SEAL_WAIT_MS, &is, err) &&
           (is || err_set(err, ERR_TIMEOUT, "'%s' was not sealed", name));
}

static bool write_file(struct bench *b, int from, const char *path, struct err *err)
{
    static uint8_t piece[PIECE];
    for (uint64_t at = 0;;) {
        ssize_t n = sys_pread(from, piece, sizeof piece, at, path, err);
        if (n <= 0)
            return n == 0;
        if (!view_write(b->view, b->file, piece, (size_t)n, at, false, NULL, err))
            return false;
        at += (uint64_t)n;
    }
}

/* From the first write until all of it is in the store, on disk. */
static bool finish(struct bench *b, const char *name, double begun, double cpu, struct err *err)
{
    if (!view_commit(b->view, b->file, NULL, err))
        return false;
    double committed = now_ms();
    if (!bench_snapshot(b, "db", name, err))
        return false;
    double snapped = now_ms();
    if (!sealed(b, "db", name, err))
        return false;
    double ended = now_ms();
    printf("wall_s %.3f\ncpu_s %.3f\n", (ended - begun) / 1e3, cpu_s() - cpu);
    printf("write_s %.3f\nsnapshot_s %.3f\nseal_s %.3f\n", (committed - begun) / 1e3,
           (snapped - committed) / 1e3, (ended - snapped) / 1e3);
    printf("peak_mib %.1f\n", (double)memory_kib("VmHWM") / 1024);
    return true;
}

static bool run_ingest(struct bench *b, char **argv, struct err *err)
{
    AUTO(fd) int from = sys_open(argv[1], O_RDONLY | O_CLOEXEC, 0, err);
    if (from < 0 || !bench_open(b, argv[0], false, err) || !bench_volume(b, "db", 0, err))
        return false;
    double begun = now_ms(), cpu = cpu_s();
    return write_file(b, from, argv[1], err) && finish(b, "s1", begun, cpu, err);
}

static bool run_next(struct bench *b, char **argv, struct err *err)
{
    uint8_t block[RECORD_BYTES];
    char line[40];
    struct view_file at;
    bool ok = true;
    AUTO(fd) int from = sys_open(argv[1], O_RDONLY | O_CLOEXEC, 0, err);
    FILE *list = fopen(argv[2], "r");
    ok = from >= 0 && bench_open(b, argv[0], false, err) &&
         bench_look(b, "db", NULL, NULL, &at, err) &&
         (list || err_set(err, ERR_NOT_FOUND, "'%s' cannot be read", argv[2]));
    double begun = now_ms(), cpu = cpu_s();
    while (ok && fgets(line, sizeof line, list)) {
        uint64_t offset = strtoull(line, NULL, 10) * RECORD_BYTES;
        ok = sys_pread(from, block, sizeof block, offset, argv[1], err) == RECORD_BYTES &&
             view_write(b->view, b->file, block, sizeof block, offset, false, NULL, err);
    }
    if (list)
        fclose(list);
    return ok && finish(b, argv[3], begun, cpu, err);
}

static bool run_hash(struct bench *b, char **argv, struct err *err)
{
    static uint8_t piece[PIECE];
    struct hash hash;
    (void)b;
    AUTO(fd) int from = sys_open(argv[0], O_RDONLY | O_CLOEXEC, 0, err);
    double spent = 0;
    ssize_t n = from < 0 ? -1 : 1;
    for (uint64_t at = 0; n > 0; at += (uint64_t)n) {
        n = sys_pread(from, piece, sizeof piece, at, argv[0], err);
        double begun = cpu_s();
        for (ssize_t i = 0; i + RECORD_BYTES <= n; i += RECORD_BYTES)
            if (!format_is_zero(piece + i, RECORD_BYTES))
                hash_bytes(piece + i, RECORD_BYTES, &hash);
        spent += cpu_s() - begun;
    }
    printf("cpu_s %.3f\n", spent);
    return n == 0;
}

/* ---- reading ---- */

static bool run_cat(struct bench *b, char **argv, struct err *err)
{
    static uint8_t piece[PIECE];
    struct view_file file;
    ssize_t n = bench_open(b, argv[0], false, err) && bench_look(b, "db", argv[1], NULL, &file, err)
                    ? 1
                    : -1;
    for (uint64_t at = 0; n > 0; at += (uint64_t)n) {
        n = view_read(b->view, b->file, piece, sizeof piece, at, err);
        if (n > 0 && !sys_write(STDOUT_FILENO, piece, (size_t)n, "stdout", err))
            return false;
    }
    return n == 0;
}

static bool open_clone(struct bench *b, char **argv, const char *name, struct view_file *ret,
                       struct err *err)
{
    return bench_open(b, argv[0], false, err) &&
           vault_clone_create(b->vault, "db", name, argv[1], NULL, 0, err) &&
           bench_look(b, "db", NULL, name, ret, err);
}

static bool end_clone(struct bench *b, const char *name, struct err *err)
{
    view_close(b->view);
    b->view = NULL;
    return vault_clone_drop(b->vault, "db", name, err);
}

static bool run_read(struct bench *b, char **argv, struct err *err)
{
    static uint8_t piece[PIECE];
    struct view_file file;
    if (!open_clone(b, argv, "reader", &file, err))
        return false;
    double begun = now_ms(), cpu = cpu_s();
    ssize_t n = 1;
    for (uint64_t at = 0; n > 0; at += (uint64_t)n)
        n = view_read(b->view, b->file, piece, sizeof piece, at, err);
    if (n < 0)
        return false;
    printf("wall_s %.3f\ncpu_s %.3f\n", (now_ms() - begun) / 1e3, cpu_s() - cpu);
    printf("decompressed_share %.3f\n", (double)decompressed / (double)file.size);
    printf("peak_mib %.1f\n", (double)memory_kib("VmHWM") / 1024);
    return end_clone(b, "reader", err);
}

static bool run_random(struct bench *b, char **argv, struct err *err)
{
    uint8_t block[RECORD_BYTES];
    struct view_file file;
    uint64_t seed = 4711, count = strtoull(argv[2], NULL, 10);
    AUTO(mem) double *ms = own_alloc((count + 1) * sizeof *ms, err);
    AUTO(mem) double *kib = own_alloc((count + 1) * sizeof *kib, err);
    if (!ms || !kib || !open_clone(b, argv, "reader", &file, err))
        return false;
    uint64_t first = decompressed;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t before = decompressed_here;
        uint64_t at = next_random(&seed) % (file.size / RECORD_BYTES) * RECORD_BYTES;
        double begun = now_ms();
        if (view_read(b->view, b->file, block, sizeof block, at, err) != RECORD_BYTES)
            return false;
        ms[i] = now_ms() - begun;
        kib[i] = (double)(decompressed_here - before) / 1024;
    }
    printf("random_kib_with_ahead %.1f\n", (double)(decompressed - first) / (double)count / 1024);
    printf("random_kib %.1f\nrandom_kib_p99 %.1f\n", rank_of(kib, count, 0.5),
           rank_of(kib, count, 0.99));
    printf("random_us %.0f\nrandom_us_p99 %.0f\n", rank_of(ms, count, 0.5) * 1e3,
           rank_of(ms, count, 0.99) * 1e3);
    return end_clone(b, "reader", err);
}

static bool run_clones(struct bench *b, char **argv, struct err *err)
{
    char name[40];
    uint64_t count = strtoull(argv[2], NULL, 10);
    AUTO(mem) double *ms = own_alloc((count + 1) * sizeof *ms, err);
    if (!ms || count < MANY / 5 || !bench_open(b, argv[0], false, err))
        return ms && err_set(err, ERR_INVALID, "at least %d clones", MANY / 5);
    long before = memory_kib("VmRSS");
    double cpu = cpu_s();
    for (uint64_t i = 0; i < count; i++) {
        double begun = now_ms();
        if (!str_format(name, sizeof name, "many-%llu", (unsigned long long)i) ||
            !vault_clone_create(b->vault, "db", name, argv[1], NULL, 0, err))
            return false;
        ms[i] = now_ms() - begun;
    }
    printf("clone_first_ms %.2f\nclone_last_ms %.2f\n", rank_of(ms, MANY / 10, 0.5),
           rank_of(ms + count - MANY / 10, MANY / 10, 0.5));
    printf("clone_ms %.2f\nclone_ms_p99 %.2f\n", rank_of(ms, count, 0.5), rank_of(ms, count, 0.99));
    printf("clone_cpu_ms %.2f\n", (cpu_s() - cpu) * 1e3 / (double)count);
    printf("clone_memory_kib %.1f\n", (double)(memory_kib("VmRSS") - before) / (double)count);
    return true;
}

/* ---- what a writer notices of a snapshot ---- */

struct writer {
    struct bench *bench;
    uint64_t records;
    _Atomic bool stop;
    _Atomic uint64_t writes, longest_us;
    struct err err;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    static uint8_t block[RECORD_BYTES];
    uint64_t seed = 815;
    const struct timespec each = {.tv_nsec = WRITE_EACH_US * 1000};
    fill_random(block, sizeof block, &seed);
    while (!w->stop) {
        uint64_t at = next_random(&seed) % w->records * RECORD_BYTES;
        double begun = now_ms();
        if (!view_write(w->bench->view, w->bench->file, block, sizeof block, at, false, NULL,
                        &w->err))
            return w;
        uint64_t us = (uint64_t)((now_ms() - begun) * 1e3);
        if (us > w->longest_us)
            w->longest_us = us;
        w->writes++;
        nanosleep(&each, NULL);
    }
    return NULL;
}

/* The records of one round: zeros make the map of the layer large, data its files too. */
static bool change_many(struct bench *b, uint64_t records, bool zeros, struct err *err)
{
    static uint8_t piece[PIECE];
    uint64_t seed = 99;
    if (!zeros)
        fill_random(piece, sizeof piece, &seed);
    for (uint64_t at = 0; at < records * RECORD_BYTES; at += PIECE)
        if (!view_write(b->view, b->file, piece, sizeof piece, at, false, NULL, err))
            return false;
    return !records || view_commit(b->view, b->file, NULL, err);
}

static bool wait_for_writes(struct writer *w, uint64_t more)
{
    uint64_t until = w->writes + more;
    double begun = now_ms();
    const struct timespec each = {.tv_nsec = WRITE_EACH_US * 1000};
    while (w->writes < until && now_ms() - begun < SEAL_WAIT_MS && !w->err.code)
        nanosleep(&each, NULL);
    return w->writes >= until;
}

static bool pause_rounds(struct writer *w, uint64_t records, bool zeros, size_t rounds,
                         struct err *err)
{
    struct bench *b = w->bench;
    char name[40];
    AUTO(mem) double *seen = own_alloc((rounds + 1) * sizeof *seen, err);
    AUTO(mem) double *inside = own_alloc((rounds + 1) * sizeof *inside, err);
    AUTO(mem) double *whole = own_alloc((rounds + 1) * sizeof *whole, err);
    if (!seen || !inside || !whole)
        return false;
    for (size_t i = 0; i < rounds; i++) {
        if (!change_many(b, records, zeros, err) || !str_format(name, sizeof name, "p%zu", i))
            return false;
        if (!wait_for_writes(w, 20))
            return err_set(err, ERR_TIMEOUT, "the writer stands still: %s", w->err.text);
        w->longest_us = 0;
        double begun = now_ms();
        if (!bench_snapshot(b, "p", name, err))
            return false;
        whole[i] = now_ms() - begun;
        if (!wait_for_writes(w, 2))
            return err_set(err, ERR_TIMEOUT, "the writer stands still: %s", w->err.text);
        seen[i] = (double)w->longest_us / 1e3;
        inside[i] = (double)vault_pause_us(b->vault) / 1e3;
        if (!vault_seal(b->vault, "p", err) || !vault_snapshot_drop(b->vault, "p", name, err))
            return false;
    }
    printf("pause_ms %.3f\npause_ms_p99 %.3f\n", rank_of(seen, rounds, 0.5),
           rank_of(seen, rounds, 0.99));
    printf("held_ms %.3f\nheld_ms_p99 %.3f\n", rank_of(inside, rounds, 0.5),
           rank_of(inside, rounds, 0.99));
    printf("durable_ms %.2f\ndurable_ms_p99 %.2f\n", rank_of(whole, rounds, 0.5),
           rank_of(whole, rounds, 0.99));
    return true;
}

static bool run_pause(struct bench *b, char **argv, struct err *err)
{
    uint64_t bytes = strtoull(argv[1], NULL, 10), records = strtoull(argv[2], NULL, 10);
    pthread_t thread;
    if (!bench_open(b, argv[0], true, err) || !bench_volume(b, "p", bytes, err))
        return false;
    struct writer w = {.bench = b, .records = bytes / RECORD_BYTES};
    if (pthread_create(&thread, NULL, write_on, &w) != 0)
        return err_set(err, ERR_INTERNAL, "no thread");
    bool ok =
        pause_rounds(&w, records, strcmp(argv[3], "zeros") == 0, strtoul(argv[4], NULL, 10), err);
    w.stop = true;
    pthread_join(thread, NULL);
    return ok;
}

/* ---- deleting ---- */

/* A snapshot with so many changes since the one before it. */
static bool age(struct bench *b, const char *volume, const char *name, uint64_t records,
                unsigned changes, uint64_t *seed, struct err *err)
{
    return bench_scatter(b, records, changes, seed, err) && bench_snapshot(b, volume, name, err) &&
           vault_seal(b->vault, volume, err);
}

static bool drop_one(struct bench *b, const char *name, const char *label, struct err *err)
{
    uint64_t reads = b->count.reads, bytes = b->count.read_bytes;
    memory_mark();
    long memory = memory_kib("VmRSS");
    double begun = now_ms(), cpu = cpu_s();
    if (!vault_snapshot_drop(b->vault, "age", name, err))
        return false;
    printf("drop_%s_ms %.2f\ndrop_%s_cpu_ms %.2f\n", label, now_ms() - begun, label,
           (cpu_s() - cpu) * 1e3);
    printf("drop_%s_reads %llu\n", label, (unsigned long long)(b->count.reads - reads));
    printf("drop_%s_read_kib %.1f\n", label, (double)(b->count.read_bytes - bytes) / 1024);
    long peak = memory_kib("VmHWM");
    printf("drop_%s_memory_mib %.2f\n", label, peak > memory ? (double)(peak - memory) / 1024 : 0);
    return true;
}

static bool run_drop(struct bench *b, char **argv, struct err *err)
{
    const uint64_t records = (256U << 20) / RECORD_BYTES;
    uint64_t seed = 31, count = strtoull(argv[1], NULL, 10), made = 0;
    char name[40];
    if (!bench_open(b, argv[0], true, err) ||
        !bench_volume(b, "age", records * RECORD_BYTES, err) ||
        !age(b, "age", "base", records, (unsigned)records, &seed, err))
        return false;
    double begun = now_ms(), cpu = cpu_s();
    /* On a slow disk there are fewer of them, and the figures say how many. */
    for (; made < count && (made < 20 || now_ms() - begun < DROP_SECONDS * 1e3); made++)
        if (!str_format(name, sizeof name, "a%llu", (unsigned long long)made) ||
            !age(b, "age", name, records, DROP_SMALL, &seed, err))
            return false;
    printf("snapshots %llu\nsnapshot_and_seal_ms %.2f\nsnapshot_and_seal_cpu_ms %.2f\n",
           (unsigned long long)made, (now_ms() - begun) / (double)made,
           (cpu_s() - cpu) * 1e3 / (double)made);
    if (!age(b, "age", "large", records, DROP_LARGE, &seed, err) ||
        !age(b, "age", "after", records, DROP_LARGE, &seed, err))
        return false;
    /* Nothing of it is in our memory any more. */
    bench_done(b);
    *b = (struct bench){0};
    return bench_open(b, argv[0], true, err) &&
           str_format(name, sizeof name, "a%llu", (unsigned long long)made / 2) &&
           drop_one(b, name, "small", err) && drop_one(b, "large", "large", err);
}

/* ---- growth ---- */

static bool run_grow(struct bench *b, char **argv, struct err *err)
{
    uint64_t bytes = strtoull(argv[1], NULL, 10), records = bytes / RECORD_BYTES, seed = 7;
    double ms[GROW_ROUNDS];
    char name[40];
    if (!bench_open(b, argv[0], true, err) || !bench_volume(b, "g", bytes, err) ||
        !age(b, "g", "base", records, GROW_RECORDS, &seed, err))
        return false;
    double cpu = cpu_s();
    for (size_t i = 0; i < GROW_ROUNDS; i++) {
        double begun = now_ms();
        if (!str_format(name, sizeof name, "g%zu", i) ||
            !age(b, "g", name, records, GROW_CHANGES, &seed, err))
            return false;
        ms[i] = now_ms() - begun;
    }
    printf("grow_ms %.2f\ngrow_cpu_ms %.2f\n", rank_of(ms, GROW_ROUNDS, 0.5),
           (cpu_s() - cpu) * 1e3 / GROW_ROUNDS);
    printf("grow_peak_mib %.1f\n", (double)memory_kib("VmHWM") / 1024);
    return true;
}

static const struct verb {
    const char *name;
    int arguments;
    bool (*run)(struct bench *b, char **argv, struct err *err);
} verbs[] = {
    {"ingest", 2, run_ingest}, {"next", 4, run_next},     {"cat", 2, run_cat},
    {"read", 2, run_read},     {"random", 3, run_random}, {"clones", 3, run_clones},
    {"hash", 1, run_hash},     {"pause", 5, run_pause},   {"drop", 2, run_drop},
    {"grow", 2, run_grow},
};

int main(int argc, char **argv)
{
    struct err err = {0};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs && argc > 2; i++) {
        if (strcmp(argv[1], verbs[i].name) != 0 || argc != verbs[i].arguments + 2)
            continue;
        struct bench bench = {0};
        bool ok = verbs[i].run(&bench, argv + 2, &err);
        if (!ok)
            fprintf(stderr, "bench_vault %s: %s\n", argv[1], err.text);
        bench_done(&bench);
        return ok ? 0 : 1;
    }
    fprintf(stderr, "usage: bench_vault VERB DIR ...: the head of this file says which\n");
    return 2;
}
