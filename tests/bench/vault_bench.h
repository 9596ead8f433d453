/* What the vault's figures share: a vault over an io that counts, clocks, and memory. */
#pragma once
#include "agent/base/str.h"
#include "drivers/vault/check.h"
#include "drivers/vault/volume/vault.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { PIECE = 1 << 20 };

static inline double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Of all threads so far, the kernel's share included. */
static inline double cpu_s(void)
{
    struct rusage use;
    IGNORE(getrusage(RUSAGE_SELF, &use));
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* VmRSS or VmHWM of this process, in KiB. */
static inline long memory_kib(const char *key)
{
    char line[200];
    long kib = 0;
    size_t len = strlen(key);
    FILE *status = fopen("/proc/self/status", "r");
    while (status && !kib && fgets(line, sizeof line, status))
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            kib = strtol(line + len + 1, NULL, 10);
    if (status)
        fclose(status);
    return kib;
}

/* The highest memory is that from now on. */
static inline void memory_mark(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        IGNORE(fputs("5", file));
        fclose(file);
    }
}

static inline int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts them. share: 0.5 the median. */
static inline double rank_of(double *values, size_t count, double share)
{
    qsort(values, count, sizeof *values, compare_doubles);
    size_t at = (size_t)(share * (double)count);
    return count ? values[at < count ? at : count - 1] : 0;
}

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline void fill_random(void *to, size_t len, uint64_t *state)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word = next_random(state);
        memcpy((uint8_t *)to + i, &word, 8);
    }
}

/* ---- an io that counts what passes ---- */

struct counting {
    struct io *below;
    _Atomic uint64_t reads, read_bytes, writes, deletes;
};

static inline bool counting_put(void *state, const char *name, const void *bytes, size_t len,
                                enum io_put how, struct err *err)
{
    struct counting *c = state;
    c->writes++;
    return io_put(c->below, name, bytes, len, how, err);
}
static inline void *counting_create(void *state, const char *name, struct err *err)
{
    struct counting *c = state;
    c->writes++;
    return io_create(c->below, name, err);
}
static inline bool counting_append(void *writer, const void *bytes, size_t len, struct err *err)
{
    return io_append(writer, bytes, len, err);
}
static inline bool counting_finish(void *writer, struct err *err) { return io_finish(writer, err); }
static inline void counting_abandon(void *writer) { io_abandon(writer); }
static inline ssize_t counting_read(void *state, const char *name, void *to, size_t size,
                                    uint64_t offset, struct err *err)
{
    struct counting *c = state;
    ssize_t n = io_read(c->below, name, to, size, offset, err);
    c->reads++;
    c->read_bytes += n > 0 ? (uint64_t)n : 0;
    return n;
}
static inline bool counting_size(void *state, const char *name, uint64_t *ret_bytes,
                                 struct err *err)
{
    return io_size(((struct counting *)state)->below, name, ret_bytes, err);
}
static inline bool counting_remove(void *state, const char *name, struct err *err)
{
    struct counting *c = state;
    c->deletes++;
    return io_delete(c->below, name, err);
}
static inline bool counting_list(void *state, const char *folder, struct io_list *ret_list,
                                 struct err *err)
{
    return io_list(((struct counting *)state)->below, folder, ret_list, err);
}
static inline bool counting_space(void *state, uint64_t *ret_total, uint64_t *ret_free,
                                  struct err *err)
{
    return io_space(((struct counting *)state)->below, ret_total, ret_free, err);
}
static inline bool counting_sweep(void *state, const char *folder, uint32_t *ret_swept,
                                  struct err *err)
{
    return io_sweep(((struct counting *)state)->below, folder, ret_swept, err);
}
static inline void counting_close(void *state) { io_close(((struct counting *)state)->below); }

static const struct io_backend counting_backend = {
    .name = "counting",
    .put = counting_put,
    .create = counting_create,
    .append = counting_append,
    .finish = counting_finish,
    .abandon = counting_abandon,
    .read = counting_read,
    .size = counting_size,
    .remove = counting_remove,
    .list = counting_list,
    .space = counting_space,
    .sweep = counting_sweep,
    .close = counting_close,
};

/* ---- a vault in a folder: DIR/box, DIR/store ---- */

struct bench {
    struct counting count;
    struct io *io;
    struct vault *vault;
    struct view *view;
    uint64_t file;
};

static inline void bench_done(struct bench *b)
{
    view_close(b->view);
    vault_close(b->vault);
    io_close(b->io);
}

static inline bool bench_open(struct bench *b, const char *dir, bool by_hand, struct err *err)
{
    char box[300];
    char store[300];
    struct vault_options options = {.seal_by_hand = by_hand,
                                    .frozen_bytes = by_hand ? UINT64_C(64) << 30 : 0,
                                    .layer_bytes = by_hand ? UINT64_C(64) << 30 : 0,
                                    .check = check_record};
    if (!str_format(box, sizeof box, "%s/box", dir) ||
        !str_format(store, sizeof store, "%s/store", dir))
        return err_set(err, ERR_INVALID, "'%s' is too long", dir);
    b->count.below = io_open(store, NULL, 0, err);
    if (!b->count.below)
        return false;
    b->io = io_new(&counting_backend, io_abilities(b->count.below), &b->count, store, err);
    b->vault = b->io ? vault_open(box, b->io, &options, err) : NULL;
    return b->vault != NULL;
}

/* A new volume with one file of that size, all holes. */
static inline bool bench_volume(struct bench *b, const char *volume, uint64_t size, struct err *err)
{
    struct view_caller nobody = {0};
    struct view_attributes attributes = {
        .set_mode = true, .mode = 0640, .set_size = true, .size = size};
    struct view_file made;
    if (!vault_volume_create(b->vault, volume, err))
        return false;
    b->view = view_open(b->vault, volume, NULL, NULL, err);
    if (!b->view || !view_create(b->view, &nobody, VIEW_ROOT, "users01.dbf", INODE_FILE, NULL,
                                 &attributes, &made, NULL, err))
        return false;
    b->file = made.file;
    return true;
}

static inline bool bench_look(struct bench *b, const char *volume, const char *snapshot,
                              const char *clone, struct view_file *ret, struct err *err)
{
    b->view = view_open(b->vault, volume, snapshot, clone, err);
    if (!b->view || !view_find(b->view, "users01.dbf", ret, err))
        return false;
    b->file = ret->file;
    return true;
}

static inline bool bench_snapshot(struct bench *b, const char *volume, const char *name,
                                  struct err *err)
{
    const char *volumes[] = {volume};
    return vault_snapshot_create(b->vault, volumes, 1, name, err);
}

/* count records, ascending and spread over the file, with new content each. */
static inline bool bench_scatter(struct bench *b, uint64_t records, unsigned count, uint64_t *seed,
                                 struct err *err)
{
    uint8_t record[RECORD_BYTES];
    uint64_t step = records / count;
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = i * step + (step > 1 ? next_random(seed) % step : 0);
        fill_random(record, sizeof record / 2, seed);
        memset(record + sizeof record / 2, 'x', sizeof record / 2);
        if (!view_write(b->view, b->file, record, sizeof record, at * RECORD_BYTES, false, NULL,
                        err))
            return false;
    }
    return true;
}
