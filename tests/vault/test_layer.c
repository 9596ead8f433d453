/* Layers: what is written is read back and checked, what is committed is there after reopening. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/base/sys_hold.h"
#include "drivers/vault/volume/layer.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/fault_loop.h"
#include "tests/vault/between.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEED = 77, SEQUENCE = 5, R = RECORD_BYTES };

#define OK(call) cr_assert((call), "line %d: %s: %s", __LINE__, #call, err.text)

static void path_of(const char *dir, char ret[256]) { str_format(ret, 256, "%s/l-5", dir); }

static struct layer *make(const char *dir, struct err *err)
{
    char path[256];
    path_of(dir, path);
    return layer_create(path, SEQUENCE, SEED, err);
}

static struct layer *again(const char *dir, bool clean, struct err *err)
{
    char path[256];
    path_of(dir, path);
    return layer_open(path, SEQUENCE, SEED, clean, err);
}

static void fill(uint8_t *to, size_t records, uint32_t mark)
{
    for (size_t i = 0; i < records; i++)
        for (size_t k = 0; k < R; k += 4) {
            uint32_t word = mark * 2654435761U + (uint32_t)(i * 31 + k);
            memcpy(to + i * R + k, &word, 4);
        }
}

static bool put(struct layer *layer, uint64_t file, uint64_t record, size_t count, uint32_t mark,
                struct err *err)
{
    AUTO(mem) uint8_t *bytes = own_alloc(count * R, err);
    if (!bytes)
        return false;
    fill(bytes, count, mark);
    return layer_write(layer, file, record, count, bytes, err);
}

static bool holds(struct layer *layer, uint64_t file, uint64_t record, size_t count, uint32_t mark,
                  struct err *err)
{
    AUTO(mem) uint8_t *bytes = own_alloc(count * R, err);
    AUTO(mem) uint8_t *wanted = own_alloc(count * R, err);
    if (!bytes || !wanted || !layer_read(layer, file, record, count, bytes, err))
        return false;
    fill(wanted, count, mark);
    return memcmp(bytes, wanted, count * R) == 0 || err_set(err, ERR_INTERNAL, "other bytes");
}

/* One byte of a file in the layer's folder. */
static void flip(const char *dir, const char *name, uint64_t offset)
{
    char path[300];
    uint8_t byte;
    str_format(path, sizeof path, "%s/l-5/%s", dir, name);
    int fd = open(path, O_RDWR);
    cr_assert(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= 4;
    cr_assert(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}

static uint64_t size_of(const char *dir, const char *name)
{
    char path[300];
    struct stat st;
    str_format(path, sizeof path, "%s/l-5/%s", dir, name);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

Test(layer, says_what_it_has_and_reads_it_back)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    static const uint8_t zeros[2 * R];
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    cr_expect(layer_sequence(layer) == SEQUENCE);
    OK(put(layer, 3, 10, 100, 1, &err));
    OK(layer_write(layer, 3, 110, 2, zeros, &err));
    OK(holds(layer, 3, 10, 100, 1, &err));
    enum layer_has has;
    cr_expect(layer_span(layer, 3, 0, 1000, &has) == 10 && has == LAYER_BELOW);
    cr_expect(layer_span(layer, 3, 10, 1000, &has) == 100 && has == LAYER_PRESENT);
    cr_expect(layer_span(layer, 3, 110, 1000, &has) == 2 && has == LAYER_HOLE);
    cr_expect(layer_span(layer, 3, 112, 1000, &has) == 1000 && has == LAYER_BELOW);
    cr_expect(layer_has(layer, 4, 10) == LAYER_BELOW);
    uint8_t bytes[2 * R];
    OK(layer_read(layer, 3, 110, 2, bytes, &err));
    cr_expect(memcmp(bytes, zeros, sizeof zeros) == 0);
    cr_expect(!layer_read(layer, 3, 9, 2, bytes, &err) && err.code == ERR_PRECONDITION);
    cr_expect(layer_records(layer) == 102 && layer_debt(layer) == 102 * R);
}

Test(layer, what_is_committed_is_there_after_reopening)
{
    for (int clean = 0; clean < 2; clean++) {
        AUTO(drive_dir) char *dir = drive_dir();
        struct err err = {0};
        AUTO(layer) struct layer *layer = make(dir, &err);
        cr_assert(layer, "%s", err.text);
        OK(put(layer, 3, 10, 100, 1, &err));
        OK(put(layer, 4, 1000000, 5, 2, &err));
        layer_attributes(layer, 3, 110 * R - 5, 99);
        OK(layer_commit(layer, 3, &err));
        cr_expect(layer_debt(layer) == 5 * R);
        OK(layer_commit(layer, UINT64_MAX, &err));
        cr_expect(layer_debt(layer) == 0);
        layer_unref(layer);
        layer = again(dir, clean, &err);
        cr_assert(layer, "%s", err.text);
        OK(holds(layer, 3, 10, 100, 1, &err));
        OK(holds(layer, 4, 1000000, 5, 2, &err));
        size_t count;
        AUTO(mem) struct layer_file *files = layer_files(layer, &count, &err);
        cr_assert(files && count == 2);
        cr_expect(files[0].file == 3 && files[0].sized && files[0].size == 110 * R - 5 &&
                  files[0].mtime_us == 99 && files[0].records == 100 && files[0].cut == UINT64_MAX);
        cr_expect(files[1].file == 4 && !files[1].sized);
    }
}

Test(layer, nothing_of_below_shows_behind_a_cut)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    OK(put(layer, 1, 0, 50, 1, &err));
    OK(layer_commit(layer, 1, &err));
    OK(layer_truncate(layer, 1, 20 * R + 7, &err));
    OK(put(layer, 1, 30, 1, 9, &err));
    OK(layer_truncate(layer, 2, 1000 * R, &err));
    OK(layer_forget(layer, 3, &err));
    for (int i = 0; i < 2; i++) {
        enum layer_has has;
        cr_expect(layer_span(layer, 1, 0, 100, &has) == 21 && has == LAYER_PRESENT);
        cr_expect(layer_span(layer, 1, 21, 100, &has) == 9 && has == LAYER_HOLE);
        OK(holds(layer, 1, 30, 1, 9, &err));
        cr_expect(layer_span(layer, 2, 10, 10000, &has) == 990 && has == LAYER_BELOW);
        cr_expect(layer_span(layer, 2, 1000, 10000, &has) == 10000 && has == LAYER_HOLE);
        cr_expect(layer_has(layer, 3, 0) == LAYER_HOLE);
        OK(layer_commit(layer, UINT64_MAX, &err));
        cr_expect(size_of(dir, "000001.d") == 31 * R);
        layer_unref(layer);
        layer = again(dir, i == 0, &err);
        cr_assert(layer, "%s", err.text);
    }
    OK(layer_forget(layer, 1, &err));
    OK(layer_commit(layer, 1, &err));
    cr_expect(size_of(dir, "000001.d") == 0);
    cr_expect(layer_has(layer, 1, 30) == LAYER_HOLE && layer_records(layer) == 0);
}

Test(layer, a_span_over_a_huge_hole_is_quick_and_a_cut_of_it_too)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    uint64_t limit = (UINT64_C(1) << 33) - 1, last = limit;
    enum layer_has has;
    OK(put(layer, 1, 5, 1, 1, &err));
    /* 64 TiB where the box's file system has such files; ext4 ends at 16 TiB. */
    for (; !put(layer, 1, last, 1, 2, &err); err_clear(&err))
        cr_assert((last >>= 1) > UINT64_C(1) << 29, "%s", err.text);
    cr_expect(layer_span(layer, 1, 6, UINT64_MAX, &has) == last - 6 && has == LAYER_BELOW);
    OK(layer_truncate(layer, 1, 6 * R, &err));
    cr_expect(layer_has(layer, 1, last) == LAYER_HOLE && layer_records(layer) == 1);
    cr_expect(!put(layer, 1, limit, 2, 1, &err) && err.code == ERR_LIMIT);
    err_clear(&err);
    cr_expect(!put(layer, UINT64_C(1) << 24, 0, 1, 1, &err) && err.code == ERR_LIMIT);
}

Test(layer, a_frozen_layer_refuses_writes_and_still_commits_and_answers)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    OK(put(layer, 1, 7, 3, 1, &err));
    OK(put(layer, 0, 2, 1, 2, &err));
    layer_freeze(layer);
    cr_expect(!put(layer, 1, 7, 1, 1, &err) && err.code == ERR_PRECONDITION);
    err_clear(&err);
    cr_expect(!layer_truncate(layer, 1, 0, &err) && err.code == ERR_PRECONDITION);
    err_clear(&err);
    OK(layer_commit(layer, UINT64_MAX, &err));
    OK(holds(layer, 1, 7, 3, 1, &err));
    size_t count;
    AUTO(mem) uint64_t *records = layer_records_of(layer, 1, &count, &err);
    cr_assert(records && count == 3 && records[0] == 7 && records[1] == 8 && records[2] == 9);
    AUTO(mem) uint64_t *none = layer_records_of(layer, 9, &count, &err);
    cr_expect(none && count == 0);
}

Test(layer, a_flipped_byte_is_told_by_reading_and_by_verifying)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    uint64_t file = 0;
    uint64_t record = 0;
    cr_assert(layer, "%s", err.text);
    OK(put(layer, 1, 0, 100, 1, &err));
    layer_freeze(layer);
    OK(layer_commit(layer, UINT64_MAX, &err));
    OK(layer_verify(layer, &file, &record, &err));
    flip(dir, "000001.d", 70 * R + 8191);
    cr_expect(!holds(layer, 1, 0, 100, 1, &err) && err.code == ERR_CORRUPT, "%s", err.text);
    err_clear(&err);
    OK(holds(layer, 1, 0, 70, 1, &err));
    cr_expect(!layer_verify(layer, &file, &record, &err) && err.code == ERR_CORRUPT);
    cr_expect(file == 1 && record == 70);
}

Test(layer, after_an_unclean_stop_an_overwritten_record_is_accepted_once)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    uint8_t bytes[R];
    cr_assert(layer, "%s", err.text);
    OK(put(layer, 1, 0, 10, 1, &err));
    OK(layer_commit(layer, 1, &err));
    layer_unref(layer);
    flip(dir, "000001.d", 3 * R);
    layer = again(dir, false, &err);
    cr_assert(layer, "%s", err.text);
    OK(layer_read(layer, 1, 3, 1, bytes, &err));
    OK(layer_commit(layer, UINT64_MAX, &err));
    layer_unref(layer);
    layer = again(dir, true, &err);
    cr_assert(layer, "%s", err.text);
    OK(layer_read(layer, 1, 3, 1, bytes, &err));
    layer_unref(layer);
    flip(dir, "000001.d", 3 * R);
    layer = again(dir, true, &err);
    cr_assert(layer, "%s", err.text);
    cr_expect(!layer_read(layer, 1, 3, 1, bytes, &err) && err.code == ERR_CORRUPT);
}

Test(layer, every_flipped_byte_of_the_log_is_damage_after_an_orderly_stop)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    for (uint32_t i = 0; i < 3; i++) {
        OK(put(layer, 1, i, 1, i, &err));
        OK(layer_commit(layer, UINT64_MAX, &err));
    }
    layer_unref(TAKE(layer));
    uint64_t size = size_of(dir, "map");
    cr_assert(size == 32 + 3 * (64 + 48));
    for (uint64_t at = 0; at < size; at++) {
        flip(dir, "map", at);
        for (int clean = 0; clean < 2; clean++) {
            err_clear(&err);
            layer = again(dir, clean, &err);
            bool mark = at >= size - 48;
            bool last = at >= size - 112 && !clean;
            cr_assert(layer ? mark || last : err.code == ERR_CORRUPT || at < 12,
                      "byte %llu, clean %d: %s", (unsigned long long)at, clean,
                      layer ? "opened" : err.text);
            bool cut = layer && size_of(dir, "map") < size;
            layer_unref(TAKE(layer));
            if (cut)
                return; /* the torn tail is gone: nothing more to flip */
        }
        flip(dir, "map", at);
    }
}

Test(layer, a_log_that_only_repeats_itself_is_rewritten)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    OK(put(layer, 2, 4, 300, 5, &err));
    OK(layer_truncate(layer, 3, 5 * R, &err));
    for (uint32_t i = 0; i < 300; i++) {
        OK(put(layer, 1, 0, 300, i, &err));
        OK(layer_commit(layer, 1, &err));
    }
    cr_expect(size_of(dir, "map") < 1200000, "%llu", (unsigned long long)size_of(dir, "map"));
    OK(layer_commit(layer, UINT64_MAX, &err));
    layer_unref(layer);
    layer = again(dir, true, &err);
    cr_assert(layer, "%s", err.text);
    OK(holds(layer, 1, 0, 300, 299, &err));
    OK(holds(layer, 2, 4, 300, 5, &err));
    cr_expect(layer_has(layer, 3, 4) == LAYER_BELOW && layer_has(layer, 3, 5) == LAYER_HOLE);
}

Test(layer, more_files_than_descriptors_are_all_there)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    for (uint32_t i = 0; i < 300; i++)
        OK(put(layer, i, i, 1, i, &err));
    OK(layer_commit(layer, UINT64_MAX, &err));
    for (uint32_t i = 0; i < 300; i++)
        OK(holds(layer, i, i, 1, i, &err));
    layer_unref(layer);
    size_t before = descriptors_count();
    layer = again(dir, false, &err); /* all of them may have been written without a sync */
    cr_assert(layer, "%s", err.text);
    cr_assert_lt(descriptors_count(), before + 150);
    for (uint32_t i = 0; i < 300; i++)
        OK(holds(layer, i, i, 1, i, &err));
}

/* A call that the disk holds, and what it is to do. */
struct held {
    struct layer *layer;
    uint64_t file;
    bool write, ok;
    pthread_t thread;
    struct err err;
};

static void *be_held(void *arg)
{
    struct held *h = arg;
    h->ok = h->write ? put(h->layer, h->file, 0, 1, (uint32_t)h->file, &h->err)
                     : holds(h->layer, h->file, 0, 1, (uint32_t)h->file, &h->err);
    return NULL;
}

static void begin_held(struct held *h, unsigned kind, const char *what)
{
    sys_hold(kind, what);
    cr_assert_eq(pthread_create(&h->thread, NULL, be_held, h), 0);
    while (sys_held() == 0)
        sched_yield();
    sys_hold_no_more();
}

static void end_held(struct held *h)
{
    sys_hold(0, NULL);
    pthread_join(h->thread, NULL);
    cr_assert(h->ok, "%s", h->err.text);
}

Test(layer, a_read_waits_for_no_disk_that_syncs_or_opens_for_another, .timeout = 60)
{
    enum { CLEAN = 3, DIRTY = 128 };
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    OK(layer);
    for (uint64_t file = 1; file <= CLEAN; file++)
        OK(put(layer, file, 0, 1, (uint32_t)file, &err));
    OK(layer_commit(layer, UINT64_MAX, &err));
    for (uint64_t file = CLEAN + 1; file <= CLEAN + DIRTY; file++)
        OK(put(layer, file, 0, 1, (uint32_t)file, &err));
    struct held one = {.layer = layer, .file = CLEAN + DIRTY + 1, .write = true};
    begin_held(&one, SYS_HOLD_SYNC, "layer");
    for (uint64_t file = 1; file <= CLEAN + DIRTY; file++)
        OK(holds(layer, file, 0, 1, (uint32_t)file, &err));
    end_held(&one);
    OK(layer_commit(layer, UINT64_MAX, &err));
    for (uint64_t file = CLEAN + 1; file <= CLEAN + DIRTY; file++)
        OK(holds(layer, file, 0, 1, (uint32_t)file, &err));
    struct held two = {.layer = layer, .file = 1};
    begin_held(&two, SYS_HOLD_OPEN, "000001.d");
    OK(holds(layer, 2, 0, 1, 2, &err));
    OK(holds(layer, CLEAN + 1, 0, 1, CLEAN + 1, &err));
    end_held(&two);
    layer_unref(TAKE(layer));
    layer = again(dir, true, &err);
    OK(layer);
    for (uint64_t file = 1; file <= CLEAN + DIRTY + 1; file++)
        OK(holds(layer, file, 0, 1, (uint32_t)file, &err));
}

Test(layer, a_failed_sync_of_a_file_that_is_to_be_closed_breaks_the_layer)
{
    enum { DIRTY = 128 };
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    OK(layer);
    for (uint64_t file = 1; file <= DIRTY; file++)
        OK(put(layer, file, 0, 1, (uint32_t)file, &err));
    sys_fault(1, EIO);
    cr_assert_not(put(layer, DIRTY + 1, 0, 1, 1, &err), "nothing was synced");
    sys_fault(0, 0);
    cr_assert_eq(err.code, ERR_IO);
    cr_assert_not(layer_is_well(layer, &err));
    cr_assert_not(layer_commit(layer, 1, &err));
    err = (struct err){0};
    for (uint64_t file = 1; file <= DIRTY; file++)
        OK(holds(layer, file, 0, 1, (uint32_t)file, &err));
}

Test(layer, a_dropped_layer_answers_until_the_last_reference_goes)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    char path[256];
    cr_assert(layer, "%s", err.text);
    path_of(dir, path);
    OK(put(layer, 1, 0, 3, 1, &err));
    AUTO(layer) struct layer *reader = layer_ref(layer);
    layer_drop(layer);
    layer_unref(TAKE(layer));
    cr_expect(access(path, F_OK) != 0);
    OK(holds(reader, 1, 0, 3, 1, &err));
    layer_unref(TAKE(reader));
    struct sys_names names = {0};
    OK(sys_list(dir, &names, &err));
    cr_expect(names.count == 0);
    sys_names_done(&names);
}

/* ---- threads ---- */

struct writer {
    struct layer *layer;
    uint64_t file;
    uint32_t marks[64];
    bool failed, refused;
};

static void *write_much(void *arg)
{
    struct writer *w = arg;
    for (uint32_t i = 0; !w->failed && !w->refused && i < 4000; i++) {
        struct err err = {0};
        uint64_t record = (i * 7 + w->file) % 64;
        /* Everybody writes file 9 as well: sums and bytes must stay together there too. */
        bool ok = put(w->layer, w->file, record, 1, i + 1, &err);
        if (ok)
            w->marks[record] = i + 1;
        ok = ok && put(w->layer, 9, record, 1, i * 5 + (uint32_t)w->file, &err);
        if (ok && i % 8 == 0)
            ok = layer_commit(w->layer, w->file, &err);
        w->refused = err.code == ERR_PRECONDITION;
        w->failed = !ok && !w->refused;
    }
    return NULL;
}

Test(layer, writers_committers_and_a_freeze_at_once_leave_whole_records)
{
    enum { WRITERS = 4 };
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    cr_assert(layer, "%s", err.text);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.layer = layer, .file = (uint64_t)i};
        cr_assert(pthread_create(&threads[i], NULL, write_much, &writers[i]) == 0);
    }
    while (layer_records(layer) < 300 && layer_debt(layer) < 1000000)
        layer_write_back(layer);
    layer_freeze(layer);
    uint64_t file;
    uint64_t record;
    OK(layer_verify(layer, &file, &record, &err));
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    OK(layer_commit(layer, UINT64_MAX, &err));
    layer_unref(layer);
    layer = again(dir, true, &err);
    cr_assert(layer, "%s", err.text);
    OK(layer_verify(layer, &file, &record, &err));
    for (int i = 0; i < WRITERS; i++) {
        cr_expect(!writers[i].failed);
        for (uint64_t r = 0; r < 64; r++)
            if (writers[i].marks[r])
                OK(holds(layer, writers[i].file, r, 1, writers[i].marks[r], &err));
    }
}

/* ---- a writer in its call while a commit fails ---- */

static struct {
    struct layer *layer;
    pthread_t thread, committer;
    sem_t in_call, go_on;
    bool begun, ok;
} held;

static void *write_and_be_held(void *arg)
{
    struct err err = {0};
    (void)arg;
    held.ok = put(held.layer, 1, 128, 64, 2, &err);
    return NULL;
}

/* The append to the log: it finds the disk full, but not before a writer is in its own call. */
static bool hold_the_writer(const char *name)
{
    if (strcmp(name, "pwrite") != 0)
        return true;
    if (!pthread_equal(pthread_self(), held.committer)) {
        sem_post(&held.in_call);
        sem_wait(&held.go_on);
        return true;
    }
    held.begun = pthread_create(&held.thread, NULL, write_and_be_held, NULL) == 0;
    if (held.begun)
        sem_wait(&held.in_call);
    errno = ENOSPC;
    return false;
}

Test(layer, a_writer_and_a_commit_that_puts_its_records_back_both_have_room)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(layer) struct layer *layer = make(dir, &err);
    cr_assert(layer, "%s", err.text);
    held.layer = layer;
    held.committer = pthread_self();
    sem_init(&held.in_call, 0, 0);
    sem_init(&held.go_on, 0, 0);
    OK(put(layer, 1, 0, 128, 1, &err)); /* as many as there is room for */
    between = hold_the_writer;
    bool committed = layer_commit(layer, 1, &err);
    between = NULL;
    sem_post(&held.go_on);
    cr_assert(held.begun && pthread_join(held.thread, NULL) == 0);
    cr_expect(held.ok && !committed && err.code == ERR_NO_SPACE, "%s", err.text);
    err_clear(&err);
    OK(layer_commit(layer, 1, &err));
    layer_unref(layer);
    layer = again(dir, true, &err);
    cr_assert(layer, "%s", err.text);
    OK(holds(layer, 1, 0, 128, 1, &err));
    OK(holds(layer, 1, 128, 64, 2, &err));
}
