/* How fast a file is read over NFS: bench_area_nfs URL FILE ROUNDS CONTEXTS [verify]; prints GB/s,
 * the median. */
#include "agent/base/sys.h"
#include "agent/engine/survey.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 99, PIECE = 2 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool copy_file(struct area *area, const char *path, const char *copy, uint64_t *ret_bytes,
                      struct err *err)
{
    static uint8_t piece[PIECE];
    AUTO(fd) int to = sys_open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600, err);
    AUTO(area_handle) struct area_handle *file = area_file_open(area, path, err);
    for (uint64_t offset = 0; file && to >= 0;) {
        ssize_t n = area_file_read(file, piece, PIECE, offset, err);
        if (n < 0 || !sys_write(to, piece, (size_t)n, copy, err))
            return false;
        offset += (uint64_t)n;
        *ret_bytes = offset;
        if (n < PIECE)
            return true;
    }
    return false;
}

/* Every block of a datafile, as `verify = full` does. */
static bool verify_file(struct area *area, const char *path, uint64_t *ret_bytes, struct err *err)
{
    struct survey_options options = {.scan_blocks = true};
    struct area_file file = {.path = (char *)path};
    AUTO(manifest) struct manifest *m = manifest_new(err);
    if (!m || !survey_file(area, &file, &options, m, err))
        return false;
    *ret_bytes = m->entries[0].size;
    return m->entries[0].state == STATE_GOOD ||
           err_set(err, ERR_CORRUPT, "'%s': %s", path, m->entries[0].why);
}

int main(int argc, char **argv)
{
    double speed[ROUNDS_MAX];
    struct err err = {0};
    int rounds = argc > 5 ? (int)strtol(argv[3], NULL, 10) : 0;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr,
                "usage: bench_area_nfs URL FILE ROUNDS CONTEXTS verify|COPY (also /dev/null)\n");
        return 2;
    }
    struct area_nfs_options options = {.contexts = (unsigned)strtoul(argv[4], NULL, 10)};
    bool verify = strcmp(argv[5], "verify") == 0;
    for (int i = -1; i < rounds; i++) { /* the first one warms up */
        uint64_t bytes = 0;
        double start = now(); /* mounting and opening count, as they do for the peer */
        AUTO(area) struct area *area = area_nfs_open(argv[1], NULL, &options, &err);
        bool ok = area && (verify ? verify_file(area, argv[2], &bytes, &err)
                                  : copy_file(area, argv[2], argv[5], &bytes, &err));
        if (!ok) {
            fprintf(stderr, "bench_area_nfs: %s\n", err.text);
            return 1;
        }
        if (i >= 0)
            speed[i] = (double)bytes / 1e9 / (now() - start);
    }
    qsort(speed, (size_t)rounds, sizeof *speed, compare);
    printf("%.3f\n", speed[rounds / 2]);
    return 0;
}
