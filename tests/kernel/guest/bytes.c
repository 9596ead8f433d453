/* Bytes of one file against a model in memory: writes, appends, truncations, holes, maps, direct
 * I/O. */
#include "tests/kernel/guest/prove.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 2 << 20, PART_MAX = 200 << 10, PAGE = 4096, DIRECT_ALIGN = 512 };

struct world {
    const char *folder;
    char path[300];
    uint64_t seed, random;
    uint8_t *model, *buffer;
    size_t size; /* of the model; the file has base bytes more */
    off_t base;  /* where the model begins, a hole before it */
    int fd, direct;
    unsigned renames;
};

static void fill(struct world *w, uint8_t *to, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint64_t n = any(&w->random);
        memcpy(to + i, &n, len - i < 8 ? len - i : 8);
    }
}

static void open_both(struct world *w)
{
    w->fd = (int)CALL(open(w->path, O_RDWR | O_CREAT, 0644));
    w->direct = (int)CALL(open(w->path, O_RDWR | O_DIRECT));
}

static void close_both(struct world *w)
{
    CALL(close(w->fd));
    CALL(close(w->direct));
}

static void compare(const struct world *w, size_t at, size_t len, size_t got, const char *how)
{
    size_t expected = at >= w->size ? 0 : at + len > w->size ? w->size - at : len;
    if (got != expected)
        wrong("%s of %zu bytes at %zu gave %zu, the file has %zu (seed %llu)", how, len, at, got,
              w->size, (unsigned long long)w->seed);
    for (size_t i = 0; i < got; i++)
        if (w->buffer[i] != w->model[at + i])
            wrong("%s: byte %zu is %02x, not %02x (seed %llu)", how, at + i, w->buffer[i],
                  w->model[at + i], (unsigned long long)w->seed);
}

/* The model past its end is zeroes, so that a longer file shows a hole there. */
static void resize(struct world *w, size_t size)
{
    if (size < w->size)
        memset(w->model + size, 0, w->size - size);
    w->size = size;
}

static void do_write(struct world *w, size_t at, size_t len)
{
    fill(w, w->model + at, len);
    if (at + len > w->size)
        w->size = at + len;
    write_all(w->fd, w->model + at, len, w->base + (off_t)at);
}

static void do_append(struct world *w, size_t at, size_t len)
{
    (void)at;
    if (w->size + len > FILE_MAX)
        return;
    int fd = (int)CALL(open(w->path, O_WRONLY | O_APPEND));
    fill(w, w->model + w->size, len);
    TRUE(CALL(write(fd, w->model + w->size, len)) == (long)len);
    w->size += len;
    CALL(close(fd));
}

static void do_read(struct world *w, size_t at, size_t len)
{
    compare(w, at, len, read_all(w->fd, w->buffer, len, w->base + (off_t)at), "read");
}

static void do_truncate(struct world *w, size_t at, size_t len)
{
    (void)len;
    CALL(ftruncate(w->fd, w->base + (off_t)at));
    resize(w, at);
}

static void do_direct_write(struct world *w, size_t at, size_t len)
{
    at -= at % DIRECT_ALIGN;
    len += DIRECT_ALIGN - len % DIRECT_ALIGN;
    if (at + len > FILE_MAX)
        return;
    fill(w, w->model + at, len);
    if (at + len > w->size)
        w->size = at + len;
    memcpy(w->buffer, w->model + at, len);
    write_all(w->direct, w->buffer, len, w->base + (off_t)at);
}

static void do_direct_read(struct world *w, size_t at, size_t len)
{
    at -= at % DIRECT_ALIGN;
    len += DIRECT_ALIGN - len % DIRECT_ALIGN;
    ssize_t got = CALL(pread(w->direct, w->buffer, len, w->base + (off_t)at));
    compare(w, at, len, (size_t)got, "direct read");
}

static void do_map(struct world *w, size_t at, size_t len)
{
    if (at >= w->size)
        return;
    if (at + len > w->size)
        len = w->size - at;
    off_t from = (w->base + (off_t)at) / PAGE * PAGE;
    size_t ahead = (size_t)(w->base + (off_t)at - from);
    uint8_t *map = mmap(NULL, ahead + len, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, from);
    TRUE(map != MAP_FAILED);
    memcpy(w->buffer, map + ahead, len);
    compare(w, at, len, len, "map");
    if (any_below(&w->random, 2)) {
        fill(w, w->model + at, len);
        memcpy(map + ahead, w->model + at, len);
    }
    CALL(msync(map, ahead + len, MS_SYNC));
    CALL(munmap(map, ahead + len));
}

static void do_reopen(struct world *w, size_t at, size_t len)
{
    (void)at;
    if (len % 2)
        CALL(fsync(w->fd));
    close_both(w);
    if (len % 4 < 2)
        forget_caches();
    if (len % 3 == 0) {
        char to[300];
        snprintf(to, sizeof to, "%s/bytes-%llu-%u", w->folder, (unsigned long long)w->seed,
                 ++w->renames);
        CALL(rename(w->path, to));
        memcpy(w->path, to, sizeof to);
    }
    open_both(w);
    struct stat st;
    CALL(fstat(w->fd, &st));
    if (st.st_size != w->base + (off_t)w->size)
        wrong("the file has %lld bytes, not %lld (seed %llu)", (long long)st.st_size,
              (long long)w->base + (long long)w->size, (unsigned long long)w->seed);
}

typedef void act(struct world *w, size_t at, size_t len);

static void run(const char *folder, uint64_t seed, unsigned rounds, off_t base, act *const *acts,
                size_t act_count)
{
    struct world w = {.folder = folder, .seed = seed, .random = seed, .base = base};
    w.model = pages(FILE_MAX);
    w.buffer = pages(FILE_MAX + PAGE);
    snprintf(w.path, sizeof w.path, "%s/bytes-%llu", folder, (unsigned long long)seed);
    open_both(&w);
    do_truncate(&w, 1, 0);
    for (unsigned i = 0; i < rounds; i++) {
        /* small parts at least as often as those that span requests */
        size_t len = 1 + any_below(&w.random, any_below(&w.random, 2) ? PART_MAX : 5000);
        size_t at = any_below(&w.random, FILE_MAX - len);
        acts[any_below(&w.random, act_count)](&w, at, len);
    }
    do_reopen(&w, 0, 1);
    forget_caches();
    do_read(&w, 0, FILE_MAX);
    close_both(&w);
    CALL(unlink(w.path));
}

/* FOLDER SEED ROUNDS */
void verb_bytes(int argc, char **argv)
{
    static act *const acts[] = {do_write,    do_write, do_append,       do_read,        do_read,
                                do_truncate, do_map,   do_direct_write, do_direct_read, do_reopen};
    (void)argc;
    run(argv[0], strtoull(argv[1], NULL, 10), (unsigned)strtoul(argv[2], NULL, 10), 0, acts,
        sizeof acts / sizeof *acts);
}

/* FOLDER SEED ROUNDS: nothing but direct I/O and truncation. */
void verb_direct(int argc, char **argv)
{
    static act *const acts[] = {do_direct_write, do_direct_write, do_direct_read,
                                do_direct_read,  do_truncate,     do_reopen};
    (void)argc;
    run(argv[0], strtoull(argv[1], NULL, 10), (unsigned)strtoul(argv[2], NULL, 10), 0, acts,
        sizeof acts / sizeof *acts);
}

/* FOLDER SEED: beyond 4 GiB, and beyond 1 TiB. */
void verb_far(int argc, char **argv)
{
    static act *const acts[] = {do_write, do_read, do_map, do_append, do_reopen};
    static const off_t bases[] = {((off_t)4 << 30) - 100000, ((off_t)1 << 40) + 12345};
    (void)argc;
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
        run(argv[0], strtoull(argv[1], NULL, 10) + i, 60, bases[i], acts,
            sizeof acts / sizeof *acts);
}

/* FOLDER SEED: two shared maps of one file, in one process, and what a direct read says of it. */
void verb_maps(int argc, char **argv)
{
    enum { BYTES = 512 << 10 };
    struct world w = {.folder = argv[0], .seed = strtoull(argv[1], NULL, 10)};
    (void)argc;
    w.random = w.seed;
    w.buffer = pages(BYTES);
    w.model = pages(BYTES);
    w.size = BYTES;
    snprintf(w.path, sizeof w.path, "%s/maps-%llu", w.folder, (unsigned long long)w.seed);
    open_both(&w);
    CALL(ftruncate(w.fd, BYTES));
    uint8_t *one = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, w.fd, 0);
    uint8_t *two = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, w.fd, 0);
    TRUE(one != MAP_FAILED && two != MAP_FAILED);
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 20; i++) {
            size_t at = any_below(&w.random, BYTES - 6000);
            size_t len = 1 + any_below(&w.random, 6000);
            fill(&w, w.model + at, len);
            memcpy(one + at, w.model + at, len);
        }
        TRUE(memcmp(two, w.model, BYTES) == 0);
        CALL(msync(one, BYTES, MS_SYNC));
        do_direct_read(&w, 0, BYTES - DIRECT_ALIGN);
    }
    CALL(munmap(one, BYTES));
    CALL(munmap(two, BYTES));
    close_both(&w);
    CALL(unlink(w.path));
}
