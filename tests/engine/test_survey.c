/* The survey: every odd thing an area can hold is named for what it is. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/engine/survey.h"
#include "tests/lib/engine_drive.h"
#include "tests/oracle/writers.h"

#include <fcntl.h>
#include <unistd.h>

#define DBID 1433672784

/* ---- a directory full of odd things ---- */

static void put(const char *dir, const char *name, const void *bytes, size_t len)
{
    char path[600];
    struct err err = {0};
    IGNORE(str_format(path, sizeof path, "%s/%s", dir, name));
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640, &err);
    cr_assert(fd >= 0 && sys_write(fd, bytes, len, path, &err), "%s", err.text);
}

static size_t size_of(const struct a_datafile *f) { return (size_t)(f->blocks + 1) * f->size; }
static size_t log_size(const struct a_log *l) { return (size_t)(l->blocks + 1) * l->size; }

static void put_datafile(const char *dir, const char *name, struct a_datafile f, size_t cut)
{
    AUTO(mem) uint8_t *bytes = write_datafile(&f, test_random);
    put(dir, name, bytes, size_of(&f) - cut);
}

static void put_log(const char *dir, const char *name, struct a_log l, size_t cut, size_t spoil)
{
    AUTO(mem) uint8_t *bytes = write_log(&l, test_random);
    if (spoil)
        bytes[spoil] ^= 0x40;
    put(dir, name, bytes, log_size(&l) - cut);
}

static void make_area(const char *dir)
{
    char path[600], to[700];
    struct err err = {0};
    IGNORE(str_format(path, sizeof path, "%s/deep", dir));
    cr_assert(sys_mkdir(path, 0750, &err));
    IGNORE(str_format(to, sizeof to, "%s/again", path));
    cr_assert_eq(symlink("..", to), 0); /* a directory loop */
    IGNORE(str_format(to, sizeof to, "%s/link.dbf", dir));
    cr_assert_eq(symlink("copy.dbf", to), 0);
    IGNORE(str_format(to, sizeof to, "%s/pipe", dir));
    cr_assert_eq(mkfifo(to, 0600), 0);
    struct a_datafile other = plain_datafile, unfinished = plain_datafile;
    struct a_log open = plain_log, others = plain_log;
    other.dbid = 99;
    others.dbid = 99;
    unfinished.type = 11;
    open.next = scn_open;
    put_datafile(dir, "copy.dbf", plain_datafile, 0);
    put_datafile(dir, "growing.dbf", plain_datafile, 5 * 8192);
    put_datafile(dir, "cut.dbf", plain_datafile, 5 * 8192 + 100);
    put_datafile(dir, "other.dbf", other, 0);
    put_datafile(dir, "unfinished.dbf", unfinished, 0);
    put_datafile(dir, ".copy.dbf", plain_datafile, 0);
    put_log(dir, "deep/whole.arc", plain_log, 0, 0);
    put_log(dir, "growing.arc", plain_log, 512 * 7, 0);
    put_log(dir, "cut.arc", plain_log, 100, 0);
    put_log(dir, "damaged.arc", plain_log, 0, 512 * 200 + 300);
    put_log(dir, "open.arc", open, 0, 0);
    put_log(dir, "other.arc", others, 0, 0);
    put_log(dir, ".1_648.arc", plain_log, 0, 0);
    put(dir, "empty.dbf", "", 0);
    put(dir, "notes.dbf", "only some text\n", 15);
    put(dir, "noise.bin", "\x01\x02\xff\xfe\x00\x07", 6);
}

static struct manifest *survey(const char *dir, const struct survey_options *options)
{
    struct err err = {0};
    AUTO(area) struct area *area = area_open_path(dir, &err);
    struct manifest *m = area ? survey_area(area, options, &err) : NULL;
    cr_assert(m, "%s", err.text);
    return m;
}

static const struct manifest_entry *find(const struct manifest *m, const char *path)
{
    for (size_t i = 0; i < m->count; i++)
        if (str_equal(m->entries[i].path, path))
            return &m->entries[i];
    cr_assert(false, "no '%s'", path);
    return NULL;
}

Test(survey, every_odd_thing_is_named_for_what_it_is)
{
    static const struct {
        const char *path;
        enum file_kind kind;
        enum file_state state;
    } wanted[] = {
        {".1_648.arc", FILE_ARCHIVED_LOG, STATE_IN_FLIGHT},
        {".copy.dbf", FILE_DATAFILE, STATE_IN_FLIGHT},
        {"copy.dbf", FILE_DATAFILE, STATE_GOOD},
        {"cut.arc", FILE_ARCHIVED_LOG, STATE_TRUNCATED},
        {"cut.dbf", FILE_DATAFILE, STATE_TRUNCATED},
        {"damaged.arc", FILE_ARCHIVED_LOG, STATE_DAMAGED},
        {"deep/again", FILE_UNKNOWN, STATE_OTHER},
        {"deep/whole.arc", FILE_ARCHIVED_LOG, STATE_GOOD},
        {"empty.dbf", FILE_EMPTY, STATE_OTHER},
        {"growing.arc", FILE_ARCHIVED_LOG, STATE_IN_FLIGHT},
        {"growing.dbf", FILE_DATAFILE, STATE_IN_FLIGHT},
        {"link.dbf", FILE_UNKNOWN, STATE_OTHER},
        {"noise.bin", FILE_UNKNOWN, STATE_OTHER},
        {"notes.dbf", FILE_TEXT, STATE_OTHER},
        {"open.arc", FILE_ONLINE_LOG, STATE_OPEN},
        {"other.arc", FILE_ARCHIVED_LOG, STATE_FOREIGN},
        {"other.dbf", FILE_DATAFILE, STATE_FOREIGN},
        {"pipe", FILE_UNKNOWN, STATE_OTHER},
        {"unfinished.dbf", FILE_DATAFILE, STATE_UNUSABLE},
    };
    test_random_start("survey");
    AUTO(drive_dir) char *dir = drive_dir();
    make_area(dir);
    AUTO(manifest) struct manifest *m = survey(dir, &(struct survey_options){0});
    manifest_judge(m, DBID, NULL, 0);
    cr_assert_eq(m->count, sizeof wanted / sizeof *wanted);
    for (size_t i = 0; i < m->count; i++) { /* and sorted by path */
        const struct manifest_entry *e = &m->entries[i];
        cr_assert_str_eq(e->path, wanted[i].path);
        cr_expect_eq(e->kind, wanted[i].kind, "%s is '%s'", e->path, file_kind_text(e->kind));
        cr_expect_eq(e->state, wanted[i].state, "%s is '%s' (%s)", e->path,
                     file_state_text(e->state), e->why);
        cr_expect(e->state == STATE_GOOD || e->kind == FILE_TEXT || e->why[0], "%s says not why",
                  e->path);
    }
}

Test(survey, a_full_scan_finds_the_bad_block_a_header_hides)
{
    test_random_start("survey");
    AUTO(drive_dir) char *dir = drive_dir();
    struct a_datafile f = plain_datafile;
    AUTO(mem) uint8_t *bytes = write_datafile(&f, test_random);
    bytes[(size_t)17 * f.size + 500] ^= 1;
    put(dir, "bad.dbf", bytes, size_of(&f));
    put_datafile(dir, "good.dbf", plain_datafile, 0);
    AUTO(manifest) struct manifest *quick = survey(dir, &(struct survey_options){0});
    cr_expect_eq(find(quick, "bad.dbf")->state, STATE_GOOD);
    cr_expect_not(find(quick, "bad.dbf")->datafile.scanned);
    AUTO(manifest)
    struct manifest *full = survey(dir, &(struct survey_options){.scan_blocks = true});
    cr_expect_eq(find(full, "bad.dbf")->state, STATE_DAMAGED);
    cr_expect_eq(find(full, "bad.dbf")->datafile.first_bad_block, 17);
    const struct manifest_entry *good = find(full, "good.dbf");
    cr_expect(good->state == STATE_GOOD && good->datafile.scanned);
    cr_expect_eq(good->datafile.highest_block_scn.n, 2039); /* of block 39; every tenth is unused */
}

Test(survey, a_file_longer_than_one_read_is_read_to_its_end)
{
    test_random_start("survey");
    AUTO(drive_dir) char *dir = drive_dir();
    struct a_log l = plain_log;
    l.blocks = 2 * SURVEY_CHUNK_BYTES / 512 - 1; /* ends exactly with a read */
    put_log(dir, "exact.arc", l, 0, 0);
    put_log(dir, "late.arc", l, 0, log_size(&l) - 20);
    l.blocks += 3;
    put_log(dir, "longer.arc", l, 0, 0);
    AUTO(manifest) struct manifest *m = survey(dir, &(struct survey_options){0});
    cr_expect_eq(find(m, "exact.arc")->state, STATE_GOOD, "%s", find(m, "exact.arc")->why);
    cr_expect_eq(find(m, "late.arc")->state, STATE_DAMAGED);
    cr_expect_eq(find(m, "longer.arc")->state, STATE_GOOD);
}

Test(survey, too_many_files_are_refused_not_cut)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    put(dir, "a", "x", 1);
    put(dir, "b", "x", 1);
    put(dir, "c", "x", 1);
    AUTO(area) struct area *area = area_open_path(dir, &err);
    cr_expect_null(survey_area(area, &(struct survey_options){.files_max = 2}, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    AUTO(manifest) struct manifest *m = survey(dir, &(struct survey_options){.files_max = 3});
    cr_expect_eq(m->count, 3);
}

/* ---- an area that changes under the reader ---- */

struct fake {
    uint8_t *bytes;
    size_t size;
    int stats, reads; /* made so far */
    size_t grows;     /* bytes more from the second stat on */
    bool retouched, cannot_open, cannot_stat;
    uint64_t fails_at;  /* reads at or above this offset fail; 0: none */
    enum err_code code; /* and so; NONE: IO */
};

static bool fake_list(void *state, size_t max_files, struct area_list *ret_list, struct err *err)
{
    const struct fake *fake = state;
    (void)max_files;
    return area_list_add(ret_list, "a.arc", fake->size, 5000, err);
}

static void *fake_open(void *state, const char *path, struct err *err)
{
    struct fake *fake = state;
    if (fake->cannot_open)
        err_set(err, ERR_DENIED, "open '%s': permission denied", path);
    return fake->cannot_open ? NULL : fake;
}

static bool fake_stat(void *file, uint64_t *ret_size, uint64_t *ret_mtime_us, struct err *err)
{
    struct fake *fake = file;
    if (fake->cannot_stat)
        return err_set(err, ERR_IO, "stat failed");
    bool later = fake->stats++ > 0;
    *ret_size = fake->size + (later ? fake->grows : 0);
    *ret_mtime_us = later && fake->retouched ? 6000 : 5000;
    return true;
}

static ssize_t fake_read(void *file, void *to, size_t size, uint64_t offset, struct err *err)
{
    struct fake *fake = file;
    fake->reads++;
    if (fake->fails_at && offset + size > fake->fails_at) {
        err_set(err, fake->code ? fake->code : ERR_IO, "read at %llu failed",
                (unsigned long long)offset);
        return -1;
    }
    size_t n = offset < fake->size ? fake->size - offset : 0;
    n = n < size ? n : size;
    memcpy(to, fake->bytes + offset, n);
    return (ssize_t)n;
}

static void fake_nothing(void *state) { (void)state; }

static struct manifest *survey_fake(struct fake *fake, const struct survey_options *options,
                                    struct err *err)
{
    static const struct area_backend backend = {fake_list, fake_open,    fake_stat,
                                                fake_read, fake_nothing, fake_nothing};
    AUTO(area) struct area *area = area_new(&backend, fake, err);
    cr_assert(area);
    fake->stats = fake->reads = 0;
    return survey_area(area, options, err);
}

static struct fake a_log_file(void)
{
    struct a_log l = plain_log;
    l.blocks = 4000;
    test_random_state = 1;
    return (struct fake){.bytes = write_log(&l, test_random), .size = log_size(&l)};
}

Test(survey, a_file_that_changes_while_it_is_read_does_not_count)
{
    struct err err = {0};
    struct fake fake = a_log_file();
    AUTO(mem) uint8_t *bytes = fake.bytes;
    for (int i = 0; i < 2; i++) {
        fake.grows = i == 0 ? 512 : 0;
        fake.retouched = i == 1;
        AUTO(manifest) struct manifest *m = survey_fake(&fake, &(struct survey_options){0}, &err);
        cr_assert(m, "%s", err.text);
        cr_expect_eq(m->entries[0].state, STATE_IN_FLIGHT);
        cr_expect(strstr(m->entries[0].why, "changed while it was read"), "%s", m->entries[0].why);
    }
}

Test(survey, what_cannot_be_read_is_an_entry_that_says_why)
{
    struct fake fakes[] = {
        {.cannot_open = true}, {.cannot_stat = true}, {.fails_at = 1}, {.fails_at = 1500000}};
    struct fake like = a_log_file();
    AUTO(mem) uint8_t *bytes = like.bytes;
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++) {
        struct err err = {0};
        fakes[i].bytes = like.bytes;
        fakes[i].size = like.size;
        AUTO(manifest)
        struct manifest *m = survey_fake(&fakes[i], &(struct survey_options){0}, &err);
        cr_assert(m, "%s", err.text);
        cr_assert_eq(m->count, 1);
        cr_expect_eq(m->entries[0].state, STATE_UNREADABLE, "%zu: %s", i, m->entries[0].why);
        cr_expect(m->entries[0].why[0]);
    }
}

Test(survey, a_server_that_is_away_is_no_file_that_cannot_be_read)
{
    struct fake fake = a_log_file();
    AUTO(mem) uint8_t *bytes = fake.bytes;
    for (uint64_t at = 1; at < 2000000; at += 1499999) { /* its head, its middle */
        struct err err = {0};
        fake.fails_at = at;
        fake.code = ERR_UNAVAILABLE;
        cr_expect_null(survey_fake(&fake, &(struct survey_options){.whole = true}, &err));
        cr_expect_eq(err.code, ERR_UNAVAILABLE);
        AUTO(manifest) struct manifest *m = survey_fake(&fake, &(struct survey_options){0}, &err);
        cr_expect(m && m->entries[0].state == STATE_UNREADABLE, "the rest of a live area is told");
        fake.code = ERR_CANCELLED;
        cr_expect_null(survey_fake(&fake, &(struct survey_options){0}, &err));
        cr_expect_eq(err.code, ERR_CANCELLED);
    }
}

Test(survey, a_log_that_did_not_change_is_taken_from_the_earlier_survey_unread)
{
    struct err err = {0};
    struct fake fake = a_log_file();
    AUTO(mem) uint8_t *bytes = fake.bytes;
    AUTO(manifest) struct manifest *first = survey_fake(&fake, &(struct survey_options){0}, &err);
    cr_assert(first && first->entries[0].state == STATE_GOOD, "%s", first->entries[0].why);
    struct survey_options again = {.earlier = first};
    AUTO(manifest) struct manifest *second = survey_fake(&fake, &again, &err);
    cr_expect_eq(fake.reads, 0);
    first->made_us = second->made_us = 0;
    AUTO(mem) char *one = manifest_to_json(first, &err);
    AUTO(mem) char *two = manifest_to_json(second, &err);
    cr_expect_str_eq(one, two);
    first->entries[0].mtime_us++; /* another time, another size, another state: read again */
    AUTO(manifest) struct manifest *third = survey_fake(&fake, &again, &err);
    cr_expect_gt(fake.reads, 0);
    first->entries[0].mtime_us--;
    first->entries[0].size--;
    AUTO(manifest) struct manifest *fourth = survey_fake(&fake, &again, &err);
    cr_expect_gt(fake.reads, 0);
    first->entries[0].size++;
    first->entries[0].state = STATE_DAMAGED;
    AUTO(manifest) struct manifest *fifth = survey_fake(&fake, &again, &err);
    cr_expect_gt(fake.reads, 0);
    cr_expect_eq(fifth->entries[0].state, STATE_GOOD);
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

Test(survey, it_stops_when_it_is_cancelled)
{
    struct err err = {0};
    struct fake fake = a_log_file();
    AUTO(mem) uint8_t *bytes = fake.bytes;
    cr_expect_null(survey_fake(&fake, &(struct survey_options){.cancelled = at_once}, &err));
    cr_expect_eq(err.code, ERR_CANCELLED);
    cr_expect_eq(fake.reads, 0);
}

static bool at_third(void *arg) { return ++*(int *)arg >= 3; }

Test(survey, it_stops_in_the_middle_of_a_file)
{
    struct err err = {0};
    int asked = 0;
    struct fake fake = a_log_file();
    AUTO(mem) uint8_t *bytes = fake.bytes;
    struct survey_options options = {.cancelled = at_third, .arg = &asked};
    cr_expect_null(survey_fake(&fake, &options, &err));
    cr_expect_eq(err.code, ERR_CANCELLED);
    cr_expect_eq(fake.reads, 2, "%d reads: its head, and one of two pieces", fake.reads);
}

Test(survey, a_quick_look_reads_no_log_to_its_end)
{
    struct err err = {0};
    struct fake fake = a_log_file();
    AUTO(mem) uint8_t *bytes = fake.bytes;
    AUTO(manifest)
    struct manifest *m = survey_fake(&fake, &(struct survey_options){.headers_only = true}, &err);
    cr_assert(m);
    cr_expect_eq(fake.reads, 1);
    cr_expect_neq(m->entries[0].state, STATE_GOOD, "a log that was not read must not count");
}

Test(survey, memory_that_runs_out_is_told)
{
    struct fake fake = a_log_file();
    AUTO(mem) uint8_t *bytes = fake.bytes;
    for (long nth = 1; nth < 100; nth++) {
        struct err err = {0};
        own_fault(nth);
        AUTO(manifest) struct manifest *m = NULL;
        static const struct area_backend backend = {fake_list, fake_open,    fake_stat,
                                                    fake_read, fake_nothing, fake_nothing};
        AUTO(area) struct area *area = area_new(&backend, &fake, &err);
        fake.stats = 0;
        m = area ? survey_area(area, &(struct survey_options){0}, &err) : NULL;
        own_fault(0);
        if (m && m->entries[0].state == STATE_GOOD)
            return;
        cr_assert(m || err.code == ERR_NO_MEMORY, "call %ld: %s", nth, err.text);
        cr_assert(!m || m->entries[0].state == STATE_UNREADABLE);
    }
    cr_assert(false, "never whole");
}
