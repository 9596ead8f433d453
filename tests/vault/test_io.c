/* The store's objects: promises that every backend keeps, and what is particular to a directory. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/base/sys_record.h"
#include "drivers/vault/io/io.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/fault_loop.h"
#include "tests/lib/memory_io.h"
#include "tests/lib/nfs_server.h"
#include "tests/lib/object_store.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- rows ---- */

struct row {
    const char *name;
    struct io *(*open)(const char *dir, struct err *err); /* NULL with UNSUPPORTED: not here */
};

static struct io *open_posix(const char *dir, struct err *err)
{
    char path[256];
    str_format(path, sizeof path, "%s/store", dir);
    return io_open(path, NULL, 0, err);
}

static struct io *open_memory(const char *dir, struct err *err)
{
    struct memory_io *memory;
    (void)dir;
    struct io *io = memory_io_open(0, &memory, err);
    if (io)
        memory_io_limit(memory, 1 << 30);
    return io;
}

static const struct row rows[] = {
    {"posix", open_posix},
    {"memory", open_memory},
};

#define WANT(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return err_set(why, ERR_INTERNAL, "line %d: not so: %s", __LINE__, #condition);        \
    } while (0)
#define DO(call)                                                                                   \
    do {                                                                                           \
        if (!(call))                                                                               \
            return err_wrap(why, "line %d: %s", __LINE__, #call);                                  \
    } while (0)
#define WANT_CODE(call, wanted)                                                                    \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        if (call)                                                                                  \
            return err_set(why, ERR_INTERNAL, "line %d: went well: %s", __LINE__, #call);          \
        if (e.code != ERR_##wanted)                                                                \
            return err_set(why, ERR_INTERNAL, "line %d: %s instead of " #wanted ": %s", __LINE__,  \
                           err_code_name(e.code), e.text);                                         \
    } while (0)

typedef bool promise_fn(struct io *io, struct err *why);

static void keep(size_t row, const char *name, promise_fn *promise)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(io) struct io *io = rows[row].open(dir, &err);
    if (!io && err.code == ERR_UNSUPPORTED) {
        printf("SKIPPED io/%s of %s: %s\n", name, rows[row].name, err.text);
        cr_skip_test("%s", err.text);
    }
    cr_assert(io, "%s: %s", rows[row].name, err.text);
    cr_assert(promise(io, &err), "%s breaks '%s': %s", rows[row].name, name, err.text);
}

static struct criterion_test_params every_row(void)
{
    static size_t numbers[8];
    size_t count = sizeof rows / sizeof *rows;
    for (size_t i = 0; i < count; i++)
        numbers[i] = i;
    return cr_make_param_array(size_t, numbers, count);
}

/* All of them, for stores that are started once and asked one after the other. */
static struct {
    const char *name;
    promise_fn *fn;
} promises[64];
static size_t promise_count;

static void join(const char *name, promise_fn *fn)
{
    promises[promise_count].name = name;
    promises[promise_count++].fn = fn;
}

#define PROMISE(title)                                                                             \
    static promise_fn title;                                                                       \
    __attribute__((constructor)) static void title##_joins(void) { join(#title, title); }          \
    ParameterizedTestParameters(io, title) { return every_row(); }                                 \
    ParameterizedTest(const size_t *row, io, title) { keep(*row, #title, title); }                 \
    static bool title(struct io *io, struct err *why)

static bool put_text(struct io *io, const char *name, const char *text, enum io_put how,
                     struct err *err)
{
    return io_put(io, name, text, strlen(text), how, err);
}

static bool holds(struct io *io, const char *name, const char *wanted, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = io_get(io, name, 1 << 20, &len, err);
    return text && ((len == strlen(wanted) && str_equal(text, wanted)) ||
                    err_set(err, ERR_INTERNAL, "'%s' holds '%.40s'", name, text));
}

/* "name:bytes " or "name/ " each. */
static bool listing_is(struct io *io, const char *folder, const char *wanted, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    AUTO(str) struct str text = {0};
    if (!io_list(io, folder, &list, err))
        return false;
    str_append(&text, "");
    for (size_t i = 0; i < list.count; i++)
        str_printf(&text, list.entries[i].folder ? "%s/ " : "%s:%llu ", list.entries[i].name,
                   (unsigned long long)list.entries[i].bytes);
    const char *got = text.text ? text.text : "";
    return str_equal(got, wanted) ||
           err_set(err, ERR_INTERNAL, "'%s' lists '%s', not '%s'", folder, got, wanted);
}

/* ---- promises ---- */

PROMISE(an_object_is_read_back_as_it_was_put)
{
    DO(put_text(io, "f/0001/commit/0000", "hello", IO_NEW, why));
    DO(holds(io, "f/0001/commit/0000", "hello", why));
    uint64_t bytes;
    DO(io_size(io, "f/0001/commit/0000", &bytes, why));
    WANT(bytes == 5);
    DO(put_text(io, "empty", "", IO_NEW, why));
    DO(holds(io, "empty", "", why));
    return true;
}

PROMISE(a_new_object_never_replaces_one_that_is_there)
{
    DO(put_text(io, "a", "first", IO_NEW, why));
    WANT_CODE(put_text(io, "a", "second", IO_NEW, &e), EXISTS);
    DO(holds(io, "a", "first", why));
    DO(listing_is(io, "", "a:5 ", why));
    return true;
}

PROMISE(a_replaced_object_is_the_new_one_whole)
{
    DO(put_text(io, "note", "a long text", IO_REPLACE, why));
    DO(put_text(io, "note", "short", IO_REPLACE, why));
    DO(holds(io, "note", "short", why));
    DO(listing_is(io, "", "note:5 ", why));
    return true;
}

PROMISE(a_large_object_is_there_when_finished_and_not_before)
{
    enum { PIECE = 100000 };
    AUTO(mem) char *piece = own_alloc(PIECE, why);
    AUTO(io_writer) struct io_writer *writer = io_create(io, "pack/p-0001", why);
    WANT(piece && writer);
    for (int i = 0; i < 5; i++) {
        memset(piece, 'a' + i, PIECE);
        DO(io_append(writer, piece, PIECE, why));
    }
    uint64_t bytes;
    WANT_CODE(io_size(io, "pack/p-0001", &bytes, &e), NOT_FOUND);
    DO(listing_is(io, "pack", "", why));
    DO(io_finish(TAKE(writer), why));
    DO(listing_is(io, "pack", "p-0001:500000 ", why));
    char sign[2];
    WANT(io_read(io, "pack/p-0001", sign, 2, 2 * PIECE - 1, why) == 2);
    WANT(sign[0] == 'b' && sign[1] == 'c');
    return true;
}

PROMISE(finishing_under_a_taken_name_says_so_and_leaves_the_first)
{
    AUTO(io_writer) struct io_writer *writer = io_create(io, "pack/p", why);
    WANT(writer);
    DO(io_append(writer, "second", 6, why));
    DO(put_text(io, "pack/p", "first", IO_NEW, why));
    WANT_CODE(io_finish(TAKE(writer), &e), EXISTS);
    DO(holds(io, "pack/p", "first", why));
    uint32_t swept;
    DO(io_sweep(io, "", &swept, why));
    WANT(swept == 0);
    return true;
}

PROMISE(an_abandoned_object_leaves_nothing)
{
    struct io_writer *writer = io_create(io, "pack/p", why);
    WANT(writer);
    DO(io_append(writer, "bytes", 5, why));
    io_abandon(writer);
    uint32_t swept;
    DO(io_sweep(io, "", &swept, why));
    DO(listing_is(io, "pack", "", why));
    WANT_CODE(holds(io, "pack/p", "bytes", &e), NOT_FOUND);
    return true;
}

PROMISE(reading_behind_the_end_gives_fewer_bytes)
{
    char bytes[16];
    DO(put_text(io, "a", "0123456789", IO_NEW, why));
    WANT(io_read(io, "a", bytes, 16, 4, why) == 6 && memcmp(bytes, "456789", 6) == 0);
    WANT(io_read(io, "a", bytes, 16, 10, why) == 0);
    WANT(io_read(io, "a", bytes, 16, 1000000, why) == 0);
    WANT(io_read(io, "a", bytes, 0, 3, why) == 0);
    return true;
}

PROMISE(what_is_not_there_is_not_found)
{
    char byte;
    uint64_t bytes;
    WANT_CODE(io_read(io, "a", &byte, 1, 0, &e) >= 0, NOT_FOUND);
    WANT_CODE(io_size(io, "no/such/folder", &bytes, &e), NOT_FOUND);
    WANT_CODE(io_delete(io, "a", &e), NOT_FOUND);
    WANT_CODE(io_delete(io, "no/such", &e), NOT_FOUND);
    DO(listing_is(io, "no/such", "", why));
    return true;
}

PROMISE(a_second_deletion_says_not_found)
{
    DO(put_text(io, "x/a", "1", IO_NEW, why));
    DO(io_delete(io, "x/a", why));
    WANT_CODE(io_delete(io, "x/a", &e), NOT_FOUND);
    DO(put_text(io, "x/a", "2", IO_NEW, why));
    DO(holds(io, "x/a", "2", why));
    return true;
}

PROMISE(a_listing_is_sorted_and_shows_one_folder)
{
    DO(put_text(io, "f/b", "22", IO_NEW, why));
    DO(put_text(io, "f/a-1", "1", IO_NEW, why));
    DO(put_text(io, "f/sub/deep", "4444", IO_NEW, why));
    DO(put_text(io, "other", "", IO_NEW, why));
    DO(listing_is(io, "f", "a-1:1 b:2 sub/ ", why));
    DO(listing_is(io, "", "f/ other:0 ", why));
    return true;
}

PROMISE(names_that_could_lead_out_are_refused)
{
    static const char *const bad[] = {"",      "/a",  "a/",   "a//b", "..",   "../a", "a/../b",
                                      ".tmp-", "a/.", "A",    "a b",  "a\n",  "a_b",  "a/.hidden",
                                      "ä",     "a*",  "a%2f", "a\\b", "con:", "./a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        WANT_CODE(put_text(io, bad[i], "x", IO_NEW, &e), INVALID);
    char name[IO_NAME_MAX + 1];
    memset(name, 'a', sizeof name);
    name[IO_NAME_MAX] = '\0';
    WANT_CODE(put_text(io, name, "x", IO_NEW, &e), INVALID);
    name[IO_NAME_MAX - 1] = '\0';
    DO(put_text(io, name, "x", IO_NEW, why));
    DO(holds(io, name, "x", why));
    return true;
}

PROMISE(an_object_above_the_limit_asked_for_is_not_read)
{
    size_t len;
    DO(put_text(io, "a", "0123456789", IO_NEW, why));
    WANT_CODE(io_get(io, "a", 9, &len, &e), LIMIT);
    AUTO(mem) char *text = io_get(io, "a", 10, &len, why);
    WANT(text && len == 10);
    return true;
}

PROMISE(space_is_known_or_said_not_to_be)
{
    uint64_t total = 0;
    uint64_t room = 0;
    DO(io_space(io, &total, &room, why));
    WANT(room <= total && total > 0);
    WANT(io_abilities(io) & IO_CAN_SPACE ? total != UINT64_MAX : total == UINT64_MAX);
    return true;
}

PROMISE(a_locked_object_is_not_deleted_and_locks_only_grow)
{
    uint64_t until = clock_wall_us() + 3600 * UINT64_C(1000000);
    DO(put_text(io, "a", "1", IO_NEW, why));
    if (!(io_abilities(io) & IO_CAN_LOCK)) {
        WANT_CODE(io_lock(io, "a", until, &e), UNSUPPORTED);
        return true;
    }
    WANT_CODE(io_lock(io, "b", until, &e), NOT_FOUND);
    DO(io_lock(io, "a", until, why));
    struct err sooner = {0};
    IGNORE(io_lock(io, "a", 1, &sooner)); /* refused or without effect */
    WANT_CODE(io_delete(io, "a", &e), DENIED);
    DO(holds(io, "a", "1", why));
    return true;
}

struct racer {
    struct io *io;
    pthread_barrier_t *start;
    char text[16];
    int won, lost, other;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < 40; i++) {
        struct err err = {0};
        char name[32];
        str_format(name, sizeof name, "commit/%04d", i);
        pthread_barrier_wait(r->start);
        bool done = put_text(r->io, name, r->text, IO_NEW, &err);
        r->won += done;
        r->lost += !done && err.code == ERR_EXISTS;
        r->other += !done && err.code != ERR_EXISTS;
    }
    return NULL;
}

PROMISE(of_writers_at_once_exactly_one_wins)
{
    enum { RACERS = 4 };
    pthread_barrier_t start;
    pthread_t threads[RACERS];
    struct racer racers[RACERS];
    pthread_barrier_init(&start, NULL, RACERS);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.io = io, .start = &start};
        str_format(racers[i].text, sizeof racers[i].text, "writer %d", i);
        WANT(pthread_create(&threads[i], NULL, race, &racers[i]) == 0);
    }
    int won = 0;
    int lost = 0;
    for (int i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        won += racers[i].won;
        lost += racers[i].lost;
    }
    pthread_barrier_destroy(&start);
    WANT(won == 40);
    WANT(lost == 40 * (RACERS - 1));
    return true;
}

PROMISE(an_injected_fault_comes_once_before_or_after_its_effect)
{
    io_fault(2, ERR_TIMEOUT, false);
    DO(put_text(io, "a", "1", IO_NEW, why));
    WANT_CODE(put_text(io, "b", "1", IO_NEW, &e), TIMEOUT);
    DO(put_text(io, "b", "1", IO_NEW, why));
    WANT(io_fault(1, ERR_UNAVAILABLE, true) == 3);
    WANT_CODE(put_text(io, "c", "1", IO_NEW, &e), UNAVAILABLE);
    WANT_CODE(put_text(io, "c", "1", IO_NEW, &e), EXISTS);
    io_fault(2, ERR_IO, false);
    struct io_writer *writer = io_create(io, "d", why);
    WANT(writer);
    WANT_CODE(io_finish(writer, &e), IO);
    io_fault(0, ERR_NONE, false);
    uint64_t bytes;
    WANT_CODE(io_size(io, "d", &bytes, &e), NOT_FOUND);
    return true;
}

/* ---- stores behind a network ---- */

typedef struct io *open_fn(void *arg, const char *prefix, struct err *err);

static void keep_all(const char *who, open_fn *open, void *arg)
{
    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; i < promise_count; i++) {
        struct err err = {0};
        char prefix[32];
        str_format(prefix, sizeof prefix, "p%zu", i);
        AUTO(io) struct io *io = open(arg, prefix, &err);
        cr_assert(io, "%s: %s", who, err.text);
        cr_expect(promises[i].fn(io, &err), "%s breaks '%s': %s", who, promises[i].name, err.text);
        io_fault(0, ERR_NONE, false);
    }
}

static struct io *open_bucket(void *arg, const char *prefix, struct err *err)
{
    return object_store_open(arg, prefix, NULL, 0, err);
}

/* It owes a byte when a range of an empty object is asked for: that is not waited for long. */
static struct io *open_s3rver(void *arg, const char *prefix, struct err *err)
{
    struct io_option impatient = {"timeout", "1"};
    return object_store_open(arg, prefix, &impatient, 1, err);
}

static void keep_all_of_fake(const char *const *flags)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    cr_assert(object_store_fake(&store, dir, flags, &err), "%s", err.text);
    keep_all("a bucket", open_bucket, &store);
    cr_expect(object_store_tell(&store, "bad") == 0, "signatures were refused");
    cr_expect(object_store_tell(&store, "uploads") == 0, "uploads were left");
}

Test(io, a_bucket_keeps_every_promise)
{
    static const char *const flags[] = {"page=3", NULL};
    keep_all_of_fake(flags);
}

Test(io, a_bucket_with_versions_and_no_conditional_writes_keeps_every_promise)
{
    static const char *const flags[] = {"plain", "versioned", "page=5", NULL};
    keep_all_of_fake(flags);
}

Test(io, a_store_that_others_wrote_keeps_every_promise)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    if (!object_store_s3rver(&store, dir, &err)) {
        printf("SKIPPED io/a_store_that_others_wrote_keeps_every_promise: %s\n", err.text);
        cr_skip_test("%s", err.text);
    }
    keep_all("s3rver", open_s3rver, &store);
}

Test(io, a_store_of_many_machines_keeps_every_promise)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    if (!getenv("EVERCOPY_LONG"))
        cr_skip_test("a long test: EVERCOPY_LONG");
    if (!object_store_swift(&store, dir, &err)) {
        printf("SKIPPED io/a_store_of_many_machines_keeps_every_promise: %s\n", err.text);
        cr_skip_test("%s", err.text);
    }
    keep_all("Swift", open_bucket, &store);
}

static struct io *open_export(void *arg, const char *prefix, struct err *err)
{
    const struct nfs_server *server = arg;
    char url[600];
    str_format(url, sizeof url, "nfs://127.0.0.1%s/%s?nfsport=20491&mountport=20492&contexts=4",
               server->dir, prefix);
    return io_open(url, NULL, 0, err);
}

Test(io, an_nfs_server_keeps_every_promise)
{
    AUTO(nfs_server) struct nfs_server server = {.script = {.to = -1, .from = -1}};
    struct err err = {0};
    if (!nfs_server_begin(&server, 64, &err)) {
        printf("SKIPPED io/an_nfs_server_keeps_every_promise: %s\n", err.text);
        cr_skip_test("%s", err.text);
    }
    keep_all("an NFS server", open_export, &server);
}

/* ---- urls ---- */

Test(io, says_which_urls_it_does_not_know)
{
    static const struct {
        const char *url;
        enum err_code code;
    } cases[] = {
        {"relative/dir", ERR_INVALID},
        {"", ERR_INVALID},
        {"http://host/x", ERR_INVALID},
        {"/no/such/parent/dir", ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        cr_expect(!io_open(cases[i].url, NULL, 0, &err));
        cr_expect(err.code == cases[i].code, "'%s': %s", cases[i].url, err.text);
    }
    struct err err = {0};
    struct io_option option = {"region", "moon"};
    cr_expect(!io_open("/tmp", &option, 1, &err));
    cr_expect(err.code == ERR_CONFIG);
}

/* ---- a directory ---- */

/* Who put it first may have died, or failed, before its name was on disk. */
Test(io, what_is_said_to_be_there_has_its_name_on_disk)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(io) struct io *io = io_open(dir, NULL, 0, &err);
    cr_assert(io && io_put(io, "f/a", "x", 1, IO_NEW, &err), "%s", err.text);
    sys_record_begin();
    bool again = io_put(io, "f/a", "y", 1, IO_NEW, &err);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    bool synced = false;
    for (size_t i = 0; i < record.count; i++)
        synced = synced || (record.ops[i].kind == SYS_OP_SYNC && record.ops[i].folder);
    cr_assert(!again && err.code == ERR_EXISTS, "%s", err.text);
    cr_assert(synced, "the folder was not synced before it was said");
}

Test(io, a_link_inside_a_directory_is_never_followed)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(io) struct io *io = open_posix(dir, &err);
    char path[256];
    char secret[256];
    cr_assert(io, "%s", err.text);
    str_format(secret, sizeof secret, "%s/outside", dir);
    cr_assert(sys_mkdir(secret, 0700, &err));
    str_format(secret, sizeof secret, "%s/outside/secret", dir);
    cr_assert(sys_write_file(secret, "s", 1, 0600, &err));
    str_format(path, sizeof path, "%s/store/link", dir);
    cr_assert(symlink("../outside", path) == 0);
    str_format(path, sizeof path, "%s/store/object", dir);
    cr_assert(symlink("../outside/secret", path) == 0);
    str_format(path, sizeof path, "%s/store/pipe", dir);
    cr_assert(mkfifo(path, 0600) == 0);
    char byte;
    uint64_t bytes;
    uint32_t swept;
    cr_expect(io_read(io, "link/secret", &byte, 1, 0, &err) < 0);
    cr_expect(io_read(io, "object", &byte, 1, 0, &err) < 0);
    cr_expect(io_read(io, "pipe", &byte, 1, 0, &err) < 0);
    cr_expect(!io_size(io, "pipe", &bytes, &err));
    cr_expect(!put_text(io, "link/new", "x", IO_NEW, &err));
    cr_expect(!io_delete(io, "link/secret", &err));
    str_format(path, sizeof path, "%s/outside/.tmp-x", dir);
    cr_assert(sys_write_file(path, "t", 1, 0600, &err));
    cr_expect(io_sweep(io, "", &swept, &err) && swept == 0);
    cr_expect(access(path, F_OK) == 0 && access(secret, F_OK) == 0);
    err_clear(&err);
    cr_expect(listing_is(io, "", "", &err), "%s", err.text);
}

Test(io, what_a_dead_writer_left_is_swept_and_never_shown)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(io) struct io *io = open_posix(dir, &err);
    cr_assert(io && put_text(io, "f/1/pack/p", "x", IO_NEW, &err), "%s", err.text);
    char path[256];
    str_format(path, sizeof path, "%s/store/f/1/pack/.tmp-0011223344556677", dir);
    cr_assert(sys_write_file(path, "half", 4, 0600, &err));
    cr_expect(listing_is(io, "f/1/pack", "p:1 ", &err), "%s", err.text);
    uint32_t swept;
    cr_expect(io_sweep(io, "f", &swept, &err) && swept == 1);
    cr_expect(access(path, F_OK) != 0);
    cr_expect(io_sweep(io, "nowhere", &swept, &err) && swept == 0);
    cr_expect(holds(io, "f/1/pack/p", "x", &err), "%s", err.text);
}

/* ---- the fault loop ---- */

static bool fault_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    AUTO(io) struct io *io = open_posix(dir, err);
    if (!io || !put_text(io, "f/1/note/n", "one", IO_REPLACE, err) ||
        !put_text(io, "f/1/note/n", "two", IO_REPLACE, err) ||
        !put_text(io, "f/1/commit/c", "commit", IO_NEW, err))
        return false;
    AUTO(io_writer) struct io_writer *writer = io_create(io, "f/1/pack/p", err);
    if (!writer || !io_append(writer, "pa", 2, err) || !io_append(writer, "ck", 2, err) ||
        !io_finish(TAKE(writer), err))
        return false;
    return holds(io, "f/1/pack/p", "pack", err) &&
           listing_is(io, "f/1", "commit/ note/ pack/ ", err);
}

static bool one_of(struct io *io, const char *name, const char *a, const char *b, struct err *err)
{
    struct err why = {0};
    if (holds(io, name, a, &why) || (b && holds(io, name, b, &why)) || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static bool fault_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    AUTO(io) struct io *io = open_posix(dir, err);
    uint32_t swept;
    if (!io || !io_sweep(io, "", &swept, err))
        return false;
    if (done)
        return holds(io, "f/1/note/n", "two", err) && holds(io, "f/1/commit/c", "commit", err) &&
               holds(io, "f/1/pack/p", "pack", err);
    return one_of(io, "f/1/note/n", "one", "two", err) &&
           one_of(io, "f/1/commit/c", "commit", NULL, err) &&
           one_of(io, "f/1/pack/p", "pack", NULL, err);
}

Test(io, each_failing_call_leaves_whole_objects)
{
    static const enum fault_kind kinds[] = {FAULT_IO, FAULT_FULL, FAULT_MEMORY, FAULT_SHORT,
                                            FAULT_CUT};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct fault_case c = {
            .name = "objects", .run = fault_run, .check = fault_check, .least = 40};
        struct fault_report report;
        struct err err = {0};
        cr_expect(fault_loop_run(&c, kinds[i], 1, &report, &err), "%s", err.text);
    }
}
