/* The area reader over a real NFS server: what it shows is what the directory has, whatever happens
 * to the server meanwhile. */
#include "drivers/area/area.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/engine/survey.h"
#include "tests/lib/nfs_server.h"
#include "tests/oracle/writers.h"
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

Test(area_nfs, shows_exactly_what_a_local_reader_shows)
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

Test(area_nfs, gives_right_bytes_or_a_transient_error_while_the_server_is_killed)
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

/* ---- the same promises as over a local directory ---- */

static void refuses(struct area *area, const char *path, enum err_code code)
{
    struct err err = {0};
    AUTO(area_handle) struct area_handle *file = area_file_open(area, path, &err);
    cr_expect_null(file, "'%s' was opened", path);
    cr_expect_eq(err.code, code, "'%s': %s: %s", path, err_code_name(err.code), err.text);
}

static void is_never_led_out(const struct nfs_server *s)
{
    struct err err = {0};
    cr_assert_eq(mkdir(at(s, "led"), 0755), 0);
    cr_assert_eq(mkdir(at(s, "led/d"), 0755), 0);
    put(s, "led/d/f", "inside");
    cr_assert_eq(symlink("/etc", at(s, "led/out")), 0);
    cr_assert_eq(symlink("d", at(s, "led/in")), 0);
    cr_assert_eq(symlink("d/f", at(s, "led/to-file")), 0);
    cr_assert_eq(mkfifo(at(s, "led/fifo"), 0600), 0);
    AUTO(area) struct area *area = area_nfs_open(s->url, "led", NULL, &err);
    cr_assert(area, "%s", err.text);
    refuses(area, "out/passwd", ERR_IO);
    refuses(area, "in/f", ERR_IO);
    refuses(area, "to-file", ERR_INVALID);
    refuses(area, "fifo", ERR_INVALID);
    refuses(area, "d", ERR_INVALID);
    refuses(area, "none", ERR_NOT_FOUND);
    const char *const shapes[] = {"",     "/etc/passwd", "..",   "../x", "d/../d/f",
                                  "d//f", "./d/f",       "d/f/", "d/.",  "/"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        refuses(area, shapes[i], ERR_INVALID);
    cr_expect_null(area_nfs_open(s->url, "none", NULL, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
    cr_expect_null(area_nfs_open(s->url, "led/d/f", NULL, &err));
    cr_expect_null(area_nfs_open(s->url, "led/in", NULL, &err), "a link is not followed");
}

static void stops_at_the_limit(const struct nfs_server *s)
{
    struct err err = {0};
    AUTO(area_list) struct area_list list = {0};
    char path[600] = "deep";
    cr_assert_eq(mkdir(at(s, path), 0755), 0);
    for (int i = 0; i <= AREA_DEPTH_MAX; i++) {
        strcat(path, "/d");
        cr_assert_eq(mkdir(at(s, path), 0755), 0);
    }
    AUTO(area) struct area *area = area_nfs_open(s->url, "deep/d", NULL, &err);
    AUTO(area) struct area *deeper = area_nfs_open(s->url, "deep", NULL, &err);
    AUTO(area) struct area *led = area_nfs_open(s->url, "led", NULL, &err);
    cr_assert(area && deeper && led, "%s", err.text);
    cr_expect(area_list(area, 9, &list, &err), "%s", err.text);
    cr_expect_not(area_list(deeper, 9, &list, &err));
    cr_expect_eq(err.code, ERR_LIMIT, "%s", err.text);
    cr_expect(area_list(led, 1, &list, &err), "%s", err.text);
    area_list_done(&list);
    cr_expect_not(area_list(led, 0, &list, &err));
    cr_expect_eq(err.code, ERR_LIMIT, "%s", err.text);
}

static void sees_what_changes(struct nfs_server *s)
{
    struct err err = {0};
    char bytes[16];
    uint64_t size = 0;
    uint64_t mtime_us = 0;
    put(s, "changing", "0123456789");
    AUTO(area) struct area *area = area_nfs_open(s->url, NULL, NULL, &err);
    AUTO(area_handle) struct area_handle *file = area_file_open(area, "changing", &err);
    cr_assert(file, "%s", err.text);
    cr_expect_eq(area_file_read(file, bytes, 4, 3, &err), 4);
    cr_expect_eq(memcmp(bytes, "3456", 4), 0);
    cr_expect_eq(area_file_read(file, bytes, sizeof bytes, 8, &err), 2);
    cr_expect_eq(area_file_read(file, bytes, sizeof bytes, 10, &err), 0);
    cr_expect_eq(area_file_read(file, bytes, sizeof bytes, 1ULL << 40, &err), 0);
    cr_expect_eq(area_file_read(file, bytes, sizeof bytes, UINT64_MAX, &err), 0);
    cr_assert_eq(truncate(at(s, "changing"), 3), 0);
    cr_assert(area_file_stat(file, &size, &mtime_us, &err), "%s", err.text);
    cr_expect_eq(size, 3);
    put(s, "other", "another file");
    cr_assert_eq(rename(at(s, "other"), at(s, "changing")), 0);
    cr_assert(nfs_server_kill(s, &err) && nfs_server_start(s, &err), "%s", err.text);
    ssize_t n = area_file_read(file, bytes, 4, 0, &err); /* the file that was opened, or none */
    cr_expect((n == 3 && memcmp(bytes, "012", 3) == 0) || (n == -1 && err.code == ERR_NOT_FOUND),
              "%zd: %s", n, err.text);
}

struct reader {
    struct area_handle *file;
    int local;
    unsigned seed;
    bool ok;
};

static void *read_anywhere(void *arg)
{
    enum { MOST = 3 << 20, ROUNDS = 25 };
    struct reader *r = arg;
    struct err err = {0};
    AUTO(mem) uint8_t *here = malloc(MOST);
    AUTO(mem) uint8_t *there = malloc(MOST);
    r->ok = true;
    for (int i = 0; i < ROUNDS && r->ok; i++) {
        size_t size = (size_t)rand_r(&r->seed) % (i % 2 ? MOST : 9000);
        off_t offset = (off_t)rand_r(&r->seed) % (80 << 20);
        ssize_t n = pread(r->local, here, size, offset);
        r->ok = area_file_read(r->file, there, size, (uint64_t)offset, &err) == n &&
                memcmp(here, there, (size_t)n) == 0;
    }
    return NULL;
}

/* 64 MiB with holes, of which 70 are said to be there. */
static void serves_many_readers_at_once(const struct nfs_server *s, unsigned seed)
{
    enum { THREADS = 4 };
    struct err err = {0};
    struct reader readers[THREADS];
    pthread_t threads[THREADS];
    put_big(s, "sparse", 5 << 20);
    AUTO(fd) int local = open(at(s, "sparse"), O_RDWR);
    cr_assert(local >= 0 && ftruncate(local, 70 << 20) == 0);
    cr_assert_eq(pwrite(local, "far away", 8, (64 << 20) - 3), 8);
    AUTO(area) struct area *area = area_nfs_open(s->url, NULL, NULL, &err);
    AUTO(area_handle) struct area_handle *file = area_file_open(area, "sparse", &err);
    cr_assert(file, "%s", err.text);
    for (unsigned i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){.file = file, .local = local, .seed = seed + i};
        pthread_create(&threads[i], NULL, read_anywhere, &readers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect(readers[i].ok, "EVERCOPY_SEED=%u", seed);
    }
}

Test(area_nfs, keeps_the_promises_of_every_area)
{
    BEGIN(s, "keeps_the_promises_of_every_area");
    is_never_led_out(&s);
    stops_at_the_limit(&s);
    sees_what_changes(&s);
    serves_many_readers_at_once(&s, seed_of_run());
}

/* ---- the network goes ---- */

Test(area_nfs, gives_up_in_time_when_the_network_is_gone_and_goes_on_when_it_is_back)
{
    enum { SIZE = 8 << 20, PIECE = 1 << 20, BOUND_MS = 2500 };
    BEGIN(s, "gives_up_in_time_when_the_network_is_gone_and_goes_on_when_it_is_back");
    struct err err = {0};
    struct area_nfs_options options = {.request_ms = 500, .operation_ms = 1000};
    AUTO(mem) uint8_t *bytes = malloc(PIECE);
    AUTO(mem) uint8_t *expected = malloc(PIECE);
    put_big(&s, "big", SIZE);
    AUTO(area) struct area *area = area_nfs_open(s.url, NULL, &options, &err);
    AUTO(area_handle) struct area_handle *file = area_file_open(area, "big", &err);
    cr_assert(file, "%s", err.text);
    cr_assert_eq(area_file_read(file, bytes, PIECE, 0, &err), PIECE);
    cr_assert(nfs_server_network(false, &err), "%s", err.text);
    for (int i = 3; i < 5; i++) { /* not what was read ahead */
        uint64_t begun = clock_mono_ms();
        err = (struct err){0};
        cr_expect_eq(area_file_read(file, bytes, PIECE, (uint64_t)(SIZE - i * 1000), &err), -1);
        cr_expect(err_is_transient(err.code) && strstr(err.text, "127.0.0.1"), "%s", err.text);
        cr_expect_lt(clock_mono_ms() - begun, BOUND_MS);
    }
    AUTO(area_list) struct area_list list = {0};
    cr_expect_not(area_list(area, 9, &list, &err));
    cr_expect(err_is_transient(err.code), "%s", err.text);
    cr_assert(nfs_server_network(true, &err), "%s", err.text);
    /* What was read ahead may still wait for its own end: a transient error, for a moment. */
    uint64_t end = clock_mono_ms() + 10000;
    ssize_t got = -1;
    while (got != PIECE && clock_mono_ms() < end) {
        err = (struct err){0};
        got = area_file_read(file, bytes, PIECE, 5 << 20, &err);
        cr_expect(got == PIECE || err_is_transient(err.code), "%s", err.text);
    }
    cr_expect_eq(got, PIECE, "%s", err.text);
    fill(expected, PIECE, 5 << 20);
    cr_expect_eq(memcmp(bytes, expected, PIECE), 0);
    cr_expect(area_list(area, 9, &list, &err), "%s", err.text);
}

/* ---- the survey ---- */

static void put_bytes(const struct nfs_server *s, const char *path, const void *bytes, size_t len)
{
    AUTO(fd) int fd = open(at(s, path), O_WRONLY | O_CREAT | O_TRUNC, 0640);
    cr_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "%s", path);
}

static void put_datafile(const struct nfs_server *s, const char *path, size_t cut, size_t spoil)
{
    struct a_datafile f = plain_datafile;
    AUTO(mem) uint8_t *bytes = write_datafile(&f, test_random);
    size_t size = (size_t)(f.blocks + 1) * f.size;
    if (spoil)
        bytes[spoil] ^= 0x40;
    put_bytes(s, path, bytes, size - cut);
}

static void put_log(const struct nfs_server *s, const char *path, size_t cut, size_t spoil)
{
    struct a_log l = plain_log;
    AUTO(mem) uint8_t *bytes = write_log(&l, test_random);
    if (spoil)
        bytes[spoil] ^= 0x40;
    put_bytes(s, path, bytes, (size_t)(l.blocks + 1) * l.size - cut);
}

static char *surveyed(struct area *area, bool scan_blocks)
{
    struct err err = {0};
    struct survey_options options = {.scan_blocks = scan_blocks};
    AUTO(manifest) struct manifest *m = area ? survey_area(area, &options, &err) : NULL;
    cr_assert(m, "%s", err.text);
    m->made_us = 0; /* when it was made is the one difference allowed */
    char *text = manifest_to_json(m, &err);
    cr_assert(text, "%s", err.text);
    return text;
}

Test(area_nfs, gives_the_manifest_that_the_same_directory_gives)
{
    BEGIN(s, "gives_the_manifest_that_the_same_directory_gives");
    struct err err = {0};
    cr_assert_eq(mkdir(at(&s, "logs"), 0755), 0);
    put_datafile(&s, "whole.dbf", 0, 0);
    put_datafile(&s, "cut.dbf", 5 * 8192 + 100, 0);
    put_datafile(&s, "damaged.dbf", 0, 8192 * 7 + 300);
    put_log(&s, "logs/whole.arc", 0, 0);
    put_log(&s, "logs/cut.arc", 100, 0);
    put_log(&s, "logs/damaged.arc", 0, 512 * 200 + 300);
    put(&s, "notes.txt", "only some text\n");
    put(&s, "empty.dbf", "");
    cr_assert_eq(symlink("whole.dbf", at(&s, "link.dbf")), 0);
    AUTO(area) struct area *local = area_open_path(s.dir, &err);
    AUTO(area) struct area *remote = area_nfs_open(s.url, NULL, NULL, &err);
    for (int scan = 0; scan < 2; scan++) {
        AUTO(mem) char *here = surveyed(local, scan);
        AUTO(mem) char *there = surveyed(remote, scan);
        cr_expect_str_eq(there, here);
        cr_expect(strstr(here, "damaged.dbf") && strstr(here, "whole.arc"));
    }
}
