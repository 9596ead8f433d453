/* How fast a file is read over NFS: bench_area_nfs URL FILE ROUNDS CONTEXTS read|verify|COPY;
 * prints GB/s, the median. */
#include "agent/base/sys.h"
#include "agent/engine/survey.h"
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
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

/* What was read is written by a thread of its own, so that reading goes on meanwhile. */
struct writer {
    const char *path;
    int fd;
    uint8_t piece[2][PIECE];
    size_t len[2]; /* 0: the end */
    sem_t full, room;
    struct err err;
};

static void *write_pieces(void *arg)
{
    struct writer *w = arg;
    for (int i = 0;; i = !i) {
        IGNORE(sem_wait(&w->full) != 0); /* no signals here */
        if (!w->len[i])
            return NULL;
        if (w->err.code == ERR_NONE)
            IGNORE(
                !sys_write(w->fd, w->piece[i], w->len[i], w->path, &w->err)); /* told at the end */
        IGNORE(sem_post(&w->room) != 0);
    }
}

static bool read_pieces(struct area_handle *file, struct writer *w, uint64_t *ret_bytes,
                        struct err *err)
{
    ssize_t n = PIECE;
    for (int i = 0; n > 0; i = !i) {
        IGNORE(sem_wait(&w->room) != 0);
        n = area_file_read(file, w->piece[i], PIECE, *ret_bytes, err);
        w->len[i] = n > 0 ? (size_t)n : 0;
        *ret_bytes += w->len[i];
        IGNORE(sem_post(&w->full) != 0);
    }
    return n == 0;
}

static bool copy_file(struct area *area, const char *path, const char *copy, uint64_t *ret_bytes,
                      struct err *err)
{
    static struct writer w;
    pthread_t thread;
    AUTO(fd) int to = sys_open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600, err);
    AUTO(area_handle) struct area_handle *file = area_file_open(area, path, err);
    if (to < 0 || !file)
        return false;
    w.path = copy;
    w.fd = to;
    if (sem_init(&w.full, 0, 0) || sem_init(&w.room, 0, 2) ||
        pthread_create(&thread, NULL, write_pieces, &w))
        return err_set(err, ERR_INTERNAL, "no thread to write");
    bool ok = read_pieces(file, &w, ret_bytes, err);
    pthread_join(thread, NULL);
    if (w.err.code != ERR_NONE)
        *err = w.err;
    return ok && w.err.code == ERR_NONE;
}

/* Read and dropped. */
static bool read_file(struct area *area, const char *path, uint64_t *ret_bytes, struct err *err)
{
    static uint8_t piece[PIECE];
    AUTO(area_handle) struct area_handle *file = area_file_open(area, path, err);
    for (ssize_t n = PIECE; file && n > 0; *ret_bytes += (uint64_t)n)
        if ((n = area_file_read(file, piece, PIECE, *ret_bytes, err)) < 0)
            return false;
    return file != NULL;
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

static bool pass(struct area *area, const char *path, const char *how, uint64_t *ret_bytes,
                 struct err *err)
{
    if (strcmp(how, "verify") == 0)
        return verify_file(area, path, ret_bytes, err);
    if (strcmp(how, "read") == 0)
        return read_file(area, path, ret_bytes, err);
    return copy_file(area, path, how, ret_bytes, err);
}

int main(int argc, char **argv)
{
    double speed[ROUNDS_MAX];
    struct err err = {0};
    int rounds = argc > 5 ? (int)strtol(argv[3], NULL, 10) : 0;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_area_nfs URL FILE ROUNDS CONTEXTS read|verify|COPY\n");
        return 2;
    }
    struct area_nfs_options options = {.contexts = (unsigned)strtoul(argv[4], NULL, 10)};
    for (int i = rounds > 1 ? -1 : 0; i < rounds; i++) { /* the first of several warms up */
        uint64_t bytes = 0;
        double start = now(); /* mounting and opening count, as they do for the peer */
        AUTO(area) struct area *area = area_nfs_open(argv[1], NULL, &options, &err);
        if (!area || !pass(area, argv[2], argv[5], &bytes, &err)) {
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
