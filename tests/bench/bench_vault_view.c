/* What a call of a view costs beside the bytes: 8 KiB at random places of a live area whose layer
 * lies in the page cache, and of a sealed clone whose frames lie in memory; one thread and four.
 *   bench_vault_view DIR MIB SECONDS */
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault.h"
#include "tests/bench/vault_bench.h"
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum { THREADS_MAX = 4 };

struct round {
    struct view *view;
    uint64_t file, records;
    int fd; /* instead of a view: -1 none */
    bool writes;
    double seconds;
    _Atomic uint64_t calls;
    _Atomic bool failed;
};

static bool call(struct round *r, uint8_t *block, uint64_t at, struct err *err)
{
    if (r->fd >= 0)
        return r->writes ? pwrite(r->fd, block, RECORD_BYTES, (off_t)at) == RECORD_BYTES
                         : pread(r->fd, block, RECORD_BYTES, (off_t)at) == RECORD_BYTES;
    return r->writes ? view_write(r->view, r->file, block, RECORD_BYTES, at, false, NULL, err)
                     : view_read(r->view, r->file, block, RECORD_BYTES, at, err) == RECORD_BYTES;
}

static void *call_on(void *arg)
{
    struct round *r = arg;
    struct err err = {0};
    uint8_t block[RECORD_BYTES];
    uint64_t seed = (uint64_t)(uintptr_t)block, calls = 0;
    fill_random(block, sizeof block, &seed);
    for (double end = now_ms() + r->seconds * 1e3; now_ms() < end && !r->failed; calls++) {
        if (!call(r, block, next_random(&seed) % r->records * RECORD_BYTES, &err)) {
            fprintf(stderr, "bench_vault_view: %s\n", err.text);
            r->failed = true;
        }
    }
    r->calls += calls;
    return NULL;
}

static bool measure(struct round *r, const char *name, unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    unsigned started = 0;
    double begun = now_ms(), cpu = cpu_s();
    r->calls = 0;
    while (started < threads && pthread_create(&ids[started], NULL, call_on, r) == 0)
        started++;
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
    double calls = (double)r->calls;
    printf("%s_%u_s %.0f\n%s_%u_cpu_us %.2f\n", name, threads, calls / ((now_ms() - begun) / 1e3),
           name, threads, (cpu_s() - cpu) / calls * 1e6);
    return started == threads && !r->failed;
}

static bool measure_both(struct round *r, const char *name)
{
    return measure(r, name, 1) && measure(r, name, THREADS_MAX);
}

/* Half of each block compresses, as a table's do. */
static bool fill(struct bench *b, int fd, uint64_t records, struct err *err)
{
    static uint8_t piece[PIECE];
    uint64_t seed = 42;
    for (uint64_t at = 0; at < records * RECORD_BYTES; at += PIECE) {
        for (size_t i = 0; i < PIECE; i += RECORD_BYTES) {
            fill_random(piece + i, RECORD_BYTES / 2, &seed);
            memset(piece + i + RECORD_BYTES / 2, 'x', RECORD_BYTES / 2);
        }
        if (!view_write(b->view, b->file, piece, PIECE, at, false, NULL, err) ||
            !sys_pwrite(fd, piece, PIECE, at, "plain", err))
            return false;
    }
    return view_commit(b->view, b->file, NULL, err);
}

static bool run(struct bench *b, const char *dir, uint64_t mib, double seconds, struct err *err)
{
    struct view_file at;
    char plain[300];
    uint64_t records = (mib << 20) / RECORD_BYTES;
    if (!str_format(plain, sizeof plain, "%s/plain", dir))
        return err_set(err, ERR_INVALID, "'%s' is too long", dir);
    AUTO(fd) int fd = sys_open(plain, O_RDWR | O_CREAT | O_CLOEXEC, 0600, err);
    if (fd < 0 || !bench_open(b, dir, true, err) || !bench_volume(b, "db", 0, err) ||
        !fill(b, fd, records, err))
        return false;
    struct round r = {
        .view = b->view, .file = b->file, .records = records, .fd = -1, .seconds = seconds};
    struct round other = {.fd = fd, .records = records, .seconds = seconds};
    if (!measure_both(&other, "plain_read") || !measure_both(&r, "live_read"))
        return false;
    r.writes = other.writes = true;
    if (!measure_both(&other, "plain_write") || !measure_both(&r, "live_write") ||
        !bench_snapshot(b, "db", "s", err) || !vault_seal(b->vault, "db", err) ||
        !vault_clone_create(b->vault, "db", "c", "s", NULL, 0, err))
        return false;
    view_close(TAKE(b->view));
    if (!bench_look(b, "db", NULL, "c", &at, err))
        return false;
    r.view = b->view;
    r.file = b->file;
    r.writes = false;
    r.records = records / 4 < 2048 ? records / 4 : 2048; /* what surely stays in memory */
    uint8_t block[RECORD_BYTES];
    for (uint64_t i = 0; i < r.records; i++)
        if (!call(&r, block, i * RECORD_BYTES, err))
            return false;
    return measure_both(&r, "sealed_read");
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct err err = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: bench_vault_view DIR MIB SECONDS\n");
        return 2;
    }
    bool good = run(&b, argv[1], strtoull(argv[2], NULL, 10), strtod(argv[3], NULL), &err);
    if (!good)
        fprintf(stderr, "bench_vault_view: %s\n", err.text);
    bench_done(&b);
    return good ? 0 : 1;
}
