/* The area reader over a real NFS server: what it shows is what the directory has, whatever happens
 * to the server meanwhile. */
#include "drivers/area/area.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/nfs_server.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEGIN(s, name)                                                                             \
    AUTO(nfs_server) struct nfs_server s = {0};                                                    \
    do {                                                                                           \
        struct err begin_err = {0};                                                                \
        if (!nfs_server_begin(&(s), 300, &begin_err)) {                                            \
            privileged_skipped("area_nfs", name, &begin_err);                                      \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static const char *at(const struct nfs_server *s, const char *path)
{
    static char full[8192];
    str_format(full, sizeof full, "%s/%s", s->dir, path);
    return full;
}

static void put(const struct nfs_server *s, const char *path, const char *text)
{
    int fd = open(at(s, path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", path);
    close(fd);
}

/* What stands at any place of a big file can be said without looking. */
static void fill(uint8_t *bytes, size_t len, uint64_t offset)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t at = offset + i;
        bytes[i] = (uint8_t)((at * 2654435761U) >> 13 ^ at >> 20);
    }
}

static void put_big(const struct nfs_server *s, const char *path, size_t size)
{
    static uint8_t bytes[1 << 20];
    int fd = open(at(s, path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    cr_assert(fd >= 0);
    for (size_t offset = 0; offset < size; offset += sizeof bytes) {
        size_t now = size - offset < sizeof bytes ? size - offset : sizeof bytes;
        fill(bytes, now, offset);
        cr_assert_eq(write(fd, bytes, now), (ssize_t)now);
    }
    close(fd);
}

static void same_content(struct area *a, struct area *b, const char *path)
{
    struct err err = {0};
    uint8_t x[5000];
    uint8_t y[5000];
    uint64_t size[2];
    uint64_t mtime[2];
    AUTO(area_handle) struct area_handle *fa = area_file_open(a, path, &err);
    AUTO(area_handle) struct area_handle *fb = area_file_open(b, path, &err);
    cr_assert(fa && fb, "'%s': %s", path, err.text);
    cr_assert(area_file_stat(fa, &size[0], &mtime[0], &err) &&
                  area_file_stat(fb, &size[1], &mtime[1], &err),
              "%s", err.text);
    cr_expect(size[0] == size[1] && mtime[0] == mtime[1], "'%s'", path);
    for (uint64_t offset = 0;; offset += sizeof x) {
        ssize_t n = area_file_read(fa, x, sizeof x, offset, &err);
        ssize_t m = area_file_read(fb, y, sizeof y, offset, &err);
        cr_assert_eq(n, m, "'%s' at %llu: %zd and %zd: %s", path, (unsigned long long)offset, n, m,
                     err.text);
        cr_assert_eq(memcmp(x, y, (size_t)n), 0, "'%s' at %llu", path, (unsigned long long)offset);
        if (n < (ssize_t)sizeof x)
            return;
    }
}

static void same_lists(const struct area_list *a, const struct area_list *b)
{
    cr_assert_eq(a->count, b->count, "%zu and %zu files", a->count, b->count);
    cr_assert_eq(a->odd_count, b->odd_count);
    for (size_t i = 0; i < a->count; i++) {
        cr_assert_str_eq(a->files[i].path, b->files[i].path);
        cr_assert_eq(a->files[i].size, b->files[i].size, "%s", a->files[i].path);
        cr_assert_eq(a->files[i].mtime_us, b->files[i].mtime_us, "%s", a->files[i].path);
    }
    for (size_t i = 0; i < a->odd_count; i++)
        cr_assert_str_eq(a->odd[i], b->odd[i]);
}

Test(area_nfs, shows_exactly_what_a_local_reader_shows, .timeout = 60)
{
    BEGIN(s, "shows_exactly_what_a_local_reader_shows");
    struct err err = {0};
    char name[300];
    cr_assert_eq(mkdir(at(&s, "d"), 0755), 0);
    cr_assert_eq(mkdir(at(&s, "d/e mpty"), 0755), 0);
    cr_assert_eq(mkdir(at(&s, "many"), 0755), 0);
    put(&s, "d/z", "12345");
    put(&s, "d.b", "1");
    put(&s, "A", "");
    put(&s, "new\nline", "n");
    put(&s, "\xff\xfe", "b");
    put(&s, "back\\slash %2F \"quoted\"", "q");
    memset(name, 'n', 255);
    name[255] = '\0';
    put(&s, name, "longest");
    for (size_t len = 1; len < 10; len++) { /* every padding */
        memset(name, 'p', len);
        name[len] = '\0';
        put(&s, name, name);
    }
    for (int i = 0; i < 3000; i++) {
        str_format(name, sizeof name, "many/log_%05d.arc", i);
        put(&s, name, name);
    }
    put_big(&s, "d/big", 3 * 1000 * 1000 + 17);
    cr_assert_eq(symlink("/etc/passwd", at(&s, "link")), 0);
    cr_assert_eq(symlink("d", at(&s, "dirlink")), 0);
    cr_assert_eq(mkfifo(at(&s, "fifo"), 0600), 0);
    AUTO(area) struct area *local = area_open_path(s.dir, &err);
    AUTO(area) struct area *remote = area_nfs_open(s.url, NULL, NULL, &err);
    AUTO(area_list) struct area_list a = {0};
    AUTO(area_list) struct area_list b = {0};
    cr_assert(local && remote, "%s", err.text);
    cr_assert(area_list(local, 10000, &a, &err) && area_list(remote, 10000, &b, &err), "%s",
              err.text);
    same_lists(&a, &b);
    for (size_t i = 0; i<a.count; i += i> 50 ? 97 : 1)
        same_content(local, remote, a.files[i].path);
    same_content(local, remote, "d/big");
}

/* ---- the server dies ---- */

struct reading {
    struct area *area;
    size_t size;
    uint64_t until_ms;
    unsigned rounds, errors;
    uint64_t longest_ms;
    bool wrong;
    struct err bad; /* an error that is not transient */
};

static void *read_again_and_again(void *arg)
{
    struct reading *r = arg;
    AUTO(mem) uint8_t *bytes = malloc(1 << 20);
    AUTO(mem) uint8_t *expected = malloc(1 << 20);
    while (clock_mono_ms() < r->until_ms && !r->wrong && r->bad.code == ERR_NONE) {
        struct err err = {0};
        uint64_t begun = clock_mono_ms();
        AUTO(area_handle) struct area_handle *file = area_file_open(r->area, "big", &err);
        for (uint64_t offset = 0; file && offset < r->size && clock_mono_ms() < r->until_ms;) {
            begun = clock_mono_ms();
            ssize_t n = area_file_read(file, bytes, 1 << 20, offset, &err);
            if (n < 0)
                break;
            fill(expected, (size_t)n, offset);
            size_t left = r->size - offset < 1 << 20 ? r->size - offset : 1 << 20;
            r->wrong |= (size_t)n != left || memcmp(bytes, expected, (size_t)n) != 0;
            offset += (size_t)n;
        }
        uint64_t took = clock_mono_ms() - begun;
        if (took > r->longest_ms)
            r->longest_ms = took;
        r->rounds++;
        if (err.code != ERR_NONE) {
            r->errors++;
            if (!err_is_transient(err.code) || !strstr(err.text, "127.0.0.1"))
                r->bad = err;
        }
    }
    return NULL;
}

static unsigned seed_of_run(void)
{
    const char *given = getenv("EVERCOPY_SEED");
    unsigned seed;
    if (given)
        return (unsigned)strtoul(given, NULL, 10);
    clock_random(&seed, sizeof seed);
    return seed;
}

static void pause_ms(int ms) { usleep((useconds_t)ms * 1000); } /* an instant, not an event */

Test(area_nfs, gives_right_bytes_or_a_transient_error_while_the_server_is_killed, .timeout = 120)
{
    enum { SIZE = 48 << 20, READERS = 2, BOUND_MS = 6000 };
    BEGIN(s, "gives_right_bytes_or_a_transient_error_while_the_server_is_killed");
    struct err err = {0};
    struct area_nfs_options options = {.request_ms = 1000, .operation_ms = 3000};
    int rounds = getenv("EVERCOPY_LONG") ? 60 : 5;
    unsigned seed = seed_of_run();
    put_big(&s, "big", SIZE);
    AUTO(area) struct area *area = area_nfs_open(s.url, NULL, &options, &err);
    cr_assert(area, "%s", err.text);
    struct reading readings[READERS];
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        readings[i] = (struct reading){
            .area = area, .size = SIZE, .until_ms = clock_mono_ms() + 600ULL * (unsigned)rounds};
        cr_assert_eq(pthread_create(&threads[i], NULL, read_again_and_again, &readings[i]), 0);
    }
    srandom(seed);
    for (int i = 0; i < rounds; i++) {
        pause_ms((int)(random() % 200));
        cr_assert(nfs_server_kill(&s, &err), "%s", err.text);
        pause_ms((int)(random() % 100));
        cr_assert(nfs_server_start(&s, &err), "%s", err.text);
    }
    unsigned read = 0;
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_not(readings[i].wrong, "wrong bytes; EVERCOPY_SEED=%u", seed);
        cr_expect_eq(readings[i].bad.code, ERR_NONE, "%s; EVERCOPY_SEED=%u", readings[i].bad.text,
                     seed);
        cr_expect_lt(readings[i].longest_ms, BOUND_MS, "a read took %llu ms; EVERCOPY_SEED=%u",
                     (unsigned long long)readings[i].longest_ms, seed);
        read += readings[i].rounds - readings[i].errors;
    }
    cr_expect_gt(read, 0, "no file was read to its end; EVERCOPY_SEED=%u", seed);
}
