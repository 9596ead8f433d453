/* The object store behind faults, locks and versions; and what must never show: its keys. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/io/io.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/object_store.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PART = 5 << 20, LARGE = PART + 70000 };
#define SECRET "wJalrXUtnFEMI"

static bool is_long(void) { return getenv("EVERCOPY_LONG") != NULL; }

static bool put_text(struct io *io, const char *name, const char *text, enum io_put how,
                     struct err *err)
{
    return io_put(io, name, text, strlen(text), how, err);
}

static bool holds(struct io *io, const char *name, const char *wanted, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = io_get(io, name, 1 << 20, &len, err);
    return text && (str_equal(text, wanted) ||
                    err_set(err, ERR_INTERNAL, "'%s' holds '%.40s'", name, text));
}

static void fill(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 31 + i / 4096);
}

static bool put_large(struct io *io, const char *name, struct err *err)
{
    AUTO(mem) char *bytes = own_alloc(LARGE, err);
    AUTO(io_writer) struct io_writer *writer = bytes ? io_create(io, name, err) : NULL;
    if (!writer)
        return false;
    fill(bytes, LARGE);
    return io_append(writer, bytes, LARGE / 2, err) &&
           io_append(writer, bytes + LARGE / 2, LARGE - LARGE / 2, err) &&
           io_finish(TAKE(writer), err);
}

static bool large_is_whole(struct io *io, const char *name, struct err *err)
{
    AUTO(mem) char *wanted = own_alloc(LARGE, err);
    size_t len = 0;
    AUTO(mem) char *got = wanted ? io_get(io, name, LARGE, &len, err) : NULL;
    if (!got)
        return false;
    fill(wanted, LARGE);
    return (len == LARGE && memcmp(got, wanted, LARGE) == 0) ||
           err_set(err, ERR_INTERNAL, "'%s' is not as it was written", name);
}

static void tell(struct object_store *store, const char *fmt, const char *kind, long n)
{
    char line[64];
    str_format(line, sizeof line, fmt, kind, n);
    cr_assert(object_store_tell(store, line) >= 0);
}

/* ---- faults ---- */

enum { SMALL_PART, LARGE_PART };

/* What a store does: each step says what it needs, the end is looked at by check(). */
static bool work(struct io *io, int part, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    uint32_t swept;
    if (part == LARGE_PART)
        return put_large(io, "f/1/pack/p", err);
    return put_text(io, "f/1/commit/1", "one", IO_NEW, err) &&
           put_text(io, "f/1/note/n", "old", IO_REPLACE, err) &&
           put_text(io, "f/1/note/n", "new", IO_REPLACE, err) &&
           holds(io, "f/1/commit/1", "one", err) && io_list(io, "f/1", &list, err) &&
           (list.count == 2 || err_set(err, ERR_INTERNAL, "%zu in the list", list.count)) &&
           put_text(io, "f/1/commit/2", "two", IO_NEW, err) && io_delete(io, "f/1/commit/2", err) &&
           io_sweep(io, "f", &swept, err);
}

static void check(struct object_store *store, struct io *io, int part, const char *kind, long n)
{
    struct err err = {0};
    if (part == LARGE_PART) {
        cr_expect(large_is_whole(io, "f/1/pack/p", &err), "%s at %ld: %s", kind, n, err.text);
        cr_expect(object_store_tell(store, "made p/f/1/pack/p") == 1, "%s at %ld", kind, n);
        cr_expect(object_store_tell(store, "uploads") <= 1, "%s at %ld", kind, n);
        return;
    }
    uint64_t bytes;
    cr_expect(holds(io, "f/1/commit/1", "one", &err), "%s at %ld: %s", kind, n, err.text);
    cr_expect(holds(io, "f/1/note/n", "new", &err), "%s at %ld: %s", kind, n, err.text);
    cr_expect(!io_size(io, "f/1/commit/2", &bytes, &err) && err.code == ERR_NOT_FOUND);
    cr_expect(object_store_tell(store, "made p/f/1/commit/1") == 1, "%s at %ld: doubled", kind, n);
    cr_expect(object_store_tell(store, "made p/f/1/note/n") == 2, "%s at %ld: doubled", kind, n);
    cr_expect(object_store_tell(store, "held p/f/1/commit/2") == 0, "%s at %ld", kind, n);
}

static const char *const kinds[] = {"reset-after", "reset-before", "internal-after",
                                    "slowdown",    "truncate",     "internal-before",
                                    "html"};

/* An answer that never comes, of what was not done and of what was; and one that stops half way. */
static const char *const hanging[] = {"hang-after", "hang", "stall"};

/* Of the first kind every first_step-th request, of the others every step-th. */
struct failing {
    const char *const *kinds;
    size_t count;
    const char *const *flags;
    int part;
    long first_step, step;
    const char *timeout;
};

/* The nth request fails, for each n: it is asked again, and neither lost nor doubled. */
static void each_request_of(const struct failing *f)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct io_option options[] = {{"partsize", "5M"}, {"retry", "20"}, {"timeout", f->timeout}};
    struct err err = {0};
    log_set_level(LOG_LEVEL_ERROR);
    cr_assert(object_store_fake(&store, dir, f->flags, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", options, 3, &err);
    cr_assert(io, "%s", err.text);
    for (size_t k = 0; k < f->count; k++) {
        long requests = 100, step = k == 0 ? f->first_step : f->step;
        for (long n = k == 0 ? 1 : 1 + (long)k % step; n <= requests; n += step) {
            cr_assert(object_store_tell(&store, "clear") == 0);
            tell(&store, "fault %s %ld", f->kinds[k], n);
            cr_expect(work(io, f->part, &err), "%s at %ld: %s", f->kinds[k], n, err.text);
            err_clear(&err);
            requests = object_store_tell(&store, "calm") - 1;
            check(&store, io, f->part, f->kinds[k], n);
        }
        cr_expect(requests >= 4, "%ld requests", requests);
    }
    cr_expect(object_store_tell(&store, "bad") == 0, "a signature was refused");
}

static void each_request_fails(const char *const *flags, int part, long step)
{
    each_request_of(
        &(struct failing){kinds, sizeof kinds / sizeof *kinds, flags, part, 1, step, "20"});
}

Test(s3, whichever_request_fails_nothing_is_lost_or_doubled)
{
    static const char *const flags[] = {"page=1", NULL};
    each_request_fails(flags, SMALL_PART, is_long() ? 1 : 6);
}

Test(s3, whichever_request_fails_versions_and_plain_writes_do_not_matter)
{
    static const char *const flags[] = {"plain", "versioned", NULL};
    each_request_fails(flags, SMALL_PART, is_long() ? 1 : 9);
}

Test(s3, whichever_request_of_a_large_object_fails_it_is_there_once)
{
    each_request_fails(NULL, LARGE_PART, is_long() ? 1 : 12);
}

static void each_request_hangs(int part, long step)
{
    each_request_of(
        &(struct failing){hanging, sizeof hanging / sizeof *hanging, NULL, part, step, step, "1"});
}

Test(s3, whichever_answer_hangs_nothing_is_lost_or_doubled)
{
    each_request_hangs(SMALL_PART, is_long() ? 1 : 7);
}

Test(s3, whichever_answer_of_a_large_object_hangs_it_is_there_once)
{
    each_request_hangs(LARGE_PART, is_long() ? 1 : 5);
}

/* Without retries: a clean error, and what is there is whole. */
Test(s3, without_another_try_a_fault_is_an_error_that_says_so)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct io_option options[] = {{"partsize", "5M"}, {"retry", "0"}, {"timeout", "1"}};
    static const struct {
        const char *kind;
        enum err_code code;
    } cases[] = {
        {"reset-before", ERR_UNAVAILABLE},
        {"internal-before", ERR_UNAVAILABLE},
        {"slowdown", ERR_UNAVAILABLE},
        {"html", ERR_UNAVAILABLE},
        {"hang", ERR_TIMEOUT},
    };
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, NULL, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", options, 3, &err);
    cr_assert(io, "%s", err.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err_clear(&err);
        tell(&store, "fault %s %ld 99", cases[i].kind, 1);
        cr_expect(!put_text(io, "a", "x", IO_NEW, &err));
        cr_expect(err.code == cases[i].code, "%s: %s", cases[i].kind, err.text);
        cr_expect(strstr(err.text, "s3://vault/p"), "%s", err.text);
        tell(&store, "calm%s", "", 0);
    }
    err_clear(&err);
    cr_expect(put_text(io, "a", "x", IO_NEW, &err), "%s", err.text);
}

Test(s3, a_page_that_is_not_the_stores_passes_for_no_absence_and_no_list)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct io_option options[] = {{"retry", "0"}};
    AUTO(io_list) struct io_list list = {0};
    uint64_t bytes;
    char byte;
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, NULL, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", options, 1, &err);
    cr_assert(io && put_text(io, "a", "x", IO_NEW, &err), "%s", err.text);
    tell(&store, "fault %s 1 99", "lost", 0);
    cr_expect(!io_size(io, "a", &bytes, &err) && err.code == ERR_CONFIG, "%s", err.text);
    cr_expect(io_read(io, "a", &byte, 1, 0, &err) < 0 && err.code == ERR_CONFIG, "%s", err.text);
    cr_expect(!io_list(io, "", &list, &err), "a list of nothing");
    tell(&store, "fault %s 1 99", "dtd", 0);
    err_clear(&err);
    cr_expect(!io_list(io, "", &list, &err) && strstr(err.text, "DTD"), "%s", err.text);
}

/* ---- locks and versions ---- */

Test(s3, a_locked_object_outlives_whoever_asks)
{
    static const char *const flags[] = {"versioned", "locks", NULL};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct io_option options[] = {{"lock", "compliance"}};
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, flags, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", options, 1, &err);
    cr_assert(io && io_abilities(io) & IO_CAN_LOCK, "%s", err.text);
    uint64_t soon = clock_wall_us() + 2500000;
    cr_assert(put_text(io, "a", "x", IO_NEW, &err) && put_text(io, "b", "x", IO_NEW, &err));
    cr_expect(io_lock(io, "a", soon + 3600000000U, &err), "%s", err.text);
    cr_expect(io_lock(io, "a", soon, &err), "shorter is no error, and nothing: %s", err.text);
    cr_expect(!io_delete(io, "a", &err) && err.code == ERR_DENIED, "%s", err.text);
    err_clear(&err);
    cr_expect(holds(io, "a", "x", &err), "%s", err.text);
    cr_expect(io_delete(io, "b", &err), "%s", err.text);
    cr_expect(!io_lock(io, "none", soon, &err) && err.code == ERR_NOT_FOUND, "%s", err.text);
}

Test(s3, a_bucket_without_locks_is_told_apart_when_it_is_opened)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct io_option options[] = {{"lock", "governance"}};
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, NULL, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", options, 1, &err);
    cr_expect(!io && err.code == ERR_CONFIG, "%s", err.text);
}

Test(s3, deleting_in_a_bucket_with_versions_leaves_no_version)
{
    static const char *const flags[] = {"versioned", "page=2", NULL};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, flags, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", NULL, 0, &err);
    cr_assert(io, "%s", err.text);
    for (int i = 0; i < 5; i++)
        cr_assert(put_text(io, "note", i ? "new" : "old", IO_REPLACE, &err), "%s", err.text);
    cr_assert(put_text(io, "note-2", "other", IO_NEW, &err), "%s", err.text);
    cr_expect(object_store_tell(&store, "held p/note") == 5);
    cr_expect(io_delete(io, "note", &err), "%s", err.text);
    cr_expect(object_store_tell(&store, "held p/note") == 0);
    cr_expect(holds(io, "note-2", "other", &err), "%s", err.text);
}

/* ---- unfinished uploads ---- */

Test(s3, an_upload_of_a_dead_writer_is_swept)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct io_option options[] = {{"partsize", "5M"}, {"retry", "0"}};
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, NULL, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", options, 2, &err);
    AUTO(mem) char *bytes = own_alloc(LARGE, &err);
    AUTO(io_writer) struct io_writer *writer = io ? io_create(io, "f/1/pack/p", &err) : NULL;
    cr_assert(bytes && writer && io_append(writer, bytes, LARGE, &err), "%s", err.text);
    tell(&store, "fault %s 1 99", "reset-before", 0);
    io_abandon(TAKE(writer));
    tell(&store, "calm%s", "", 0);
    cr_expect(object_store_tell(&store, "uploads") == 1);
    uint32_t swept;
    cr_expect(io_sweep(io, "f/2", &swept, &err) && swept == 0, "%s", err.text);
    cr_expect(io_sweep(io, "f", &swept, &err) && swept == 1, "%s", err.text);
    cr_expect(object_store_tell(&store, "uploads") == 0);
}

/* ---- keys ---- */

static bool file_shows(const char *path, const char *text)
{
    char bytes[65536];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof bytes);
    close(fd);
    return n > 0 && memmem(bytes, (size_t)n, text, strlen(text));
}

Test(s3, the_secret_key_shows_in_no_error_log_or_command_line)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct io_option options[] = {{"retry", "1"}};
    char log[256];
    char cmdline[64];
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, NULL, &err), "%s", err.text);
    str_format(log, sizeof log, "%s/log", dir);
    int saved = dup(2);
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && dup2(fd, 2) == 2);
    log_set_level(LOG_LEVEL_DEBUG);
    AUTO(io) struct io *io = object_store_open(&store, "p", options, 1, &err);
    uint64_t bytes;
    bool refused = io && object_store_tell(&store, "token another") == 0 &&
                   !io_size(io, "a", &bytes, &err) && err.code == ERR_DENIED;
    dup2(saved, 2);
    close(saved);
    close(fd);
    cr_expect(refused, "%s", err.text);
    cr_expect(!strstr(err.text, SECRET), "%s", err.text);
    cr_expect(!file_shows(log, SECRET));
    str_format(cmdline, sizeof cmdline, "/proc/%d/cmdline", (int)getpid());
    cr_expect(!file_shows(cmdline, SECRET));
    str_format(cmdline, sizeof cmdline, "/proc/%d/cmdline", (int)store.script.pid);
    cr_expect(!file_shows(cmdline, SECRET));
}

Test(s3, keys_that_were_changed_in_their_file_are_taken_up_at_once)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    static const char changed[] =
        "AKIDEXAMPLE\nwJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\nanother\n";
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, NULL, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "p", NULL, 0, &err);
    cr_assert(io && put_text(io, "a", "x", IO_NEW, &err), "%s", err.text);
    cr_assert(object_store_tell(&store, "token another") == 0);
    cr_expect(!put_text(io, "b", "x", IO_NEW, &err) && err.code == ERR_DENIED, "%s", err.text);
    err_clear(&err);
    cr_assert(sys_write_file(store.credentials, changed, strlen(changed), 0600, &err));
    cr_expect(put_text(io, "b", "x", IO_NEW, &err), "%s", err.text);
}

Test(s3, keys_that_others_can_read_are_not_used)
{
    AUTO(drive_dir) char *dir = drive_dir();
    char path[256];
    struct err err = {0};
    str_format(path, sizeof path, "%s/keys", dir);
    cr_assert(sys_write_file(path, "a\n" SECRET "\n", strlen("a\n" SECRET "\n"), 0640, &err));
    struct io_option options[] = {{"credentials", path}, {"endpoint", "http://127.0.0.1:1"}};
    cr_expect(!io_open("s3://vault/p", options, 2, &err));
    cr_expect(err.code == ERR_CONFIG && strstr(err.text, "chmod 600"), "%s", err.text);
}

/* ---- options ---- */

Test(s3, options_that_cannot_be_are_refused_before_anything_is_sent)
{
    AUTO(drive_dir) char *dir = drive_dir();
    char path[256];
    struct err err = {0};
    str_format(path, sizeof path, "%s/keys", dir);
    cr_assert(sys_write_file(path, "a\nb\n", 4, 0600, &err));
    static const struct {
        const char *url, *key, *value, *says;
    } cases[] = {
        {"s3://vault/p", "endpoint", "http://storage.example.com", "in the clear"},
        {"s3://vault/p", "endpoint", "ftp://x", "https://"},
        {"s3://vault/p", "endpoint", "https://x/path", "no scheme, host and port"},
        {"s3://vault/p", "endpoint", "http://127.0.0.1.example.com", "in the clear"},
        {"s3://vault/p", "endpoint", "http://localhost@example.com", "in the clear"},
        {"s3://vault/p", "partsize", "1M", "5M"},
        {"s3://vault/p", "lock", "sometimes", "governance"},
        {"s3://vault/p", "pathstyle", "yes", "true or false"},
        {"s3://vault/p", "endpont", "x", "endpoint"},
        {"s3://VAULT/p", "region", "x", "bucket"},
        {"s3://vault/../q", "region", "x", "prefix"},
        {"s3://vault/a b", "region", "x", "prefix"},
        {"s3://vault/p", "region", "a/b", "region"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct io_option options[] = {{"credentials", path}, {cases[i].key, cases[i].value}};
        err_clear(&err);
        cr_expect(!io_open(cases[i].url, options, 2, &err));
        cr_expect(err.code == ERR_CONFIG && strstr(err.text, cases[i].says), "%s %s: %s",
                  cases[i].url, cases[i].value, err.text);
    }
}
