/* The catalog: what is written comes back, what is damaged is refused, what fails leaves no half.
 */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/catalog/catalog_int.h"
#include "tests/lib/catalog_dir.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { MANY_JOBS = 10000, MANY_SNAPSHOTS = 100, MANIFEST_BYTES = 1 << 20 };

static struct catalog_job job_of(const char *id, const char *key)
{
    struct catalog_job job = {
        .kind = "snapshot", .database = "ORCL", .owner = "x'); DROP TABLE job;--"};
    cr_assert(str_copy(job.id, sizeof job.id, id) && str_copy(job.key, sizeof job.key, key));
    return job;
}

static bool add(struct catalog *c, const char *id, const char *key, struct err *err)
{
    struct catalog_job job = job_of(id, key);
    return catalog_job_add(c, &job, "{}", err);
}

/* ---- the file ---- */

Test(catalog, its_file_is_for_its_owner_alone_also_when_it_was_wider)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    struct stat st;
    cr_assert(sys_stat(d.path, &st, &err));
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_assert(sys_chmod(d.path, 0644, &err));
    catalog_dir_reopen(&d);
    cr_assert(sys_stat(d.path, &st, &err));
    cr_expect_eq(st.st_mode & 0777, 0600);
}

static struct err open_with(const char *path, const void *bytes, size_t len)
{
    struct err err = {0};
    cr_assert(sys_write_file(path, bytes, len, 0600, &err), "%s", err.text);
    struct catalog *c = catalog_open(path, &err);
    cr_expect_null(c);
    catalog_close(c);
    return err;
}

Test(catalog, a_damaged_file_is_refused_with_a_sentence)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    size_t len;
    char id[40];
    for (int i = 0; i < 200; i++) {
        IGNORE(!str_format(id, sizeof id, "job-%d", i)); /* fits */
        cr_assert(add(d.catalog, id, "", &err));
    }
    catalog_close(TAKE(d.catalog));
    AUTO(mem) char *bytes = sys_read_file(d.path, 1 << 24, &len, &err);
    cr_assert(bytes && len > 16384);
    err = open_with(d.path, "not a database at all, but long enough to be looked at", 54);
    cr_expect_eq(err.code, ERR_CORRUPT);
    cr_expect(strstr(err.text, "rebuild"), "%s", err.text);
    memset(bytes + 4096, 0xa5, len - 8192);
    err = open_with(d.path, bytes, len);
    cr_expect_eq(err.code, ERR_CORRUPT);
    cr_expect(strstr(err.text, "damaged"), "%s", err.text);
    err = open_with(d.path, bytes, len / 2);
    cr_expect_eq(err.code, ERR_CORRUPT);
}

static struct err open_after(struct catalog_dir *d, const char *sql)
{
    struct err err = {0};
    cr_assert(catalog_execute(d->catalog, sql, &err), "%s", err.text);
    catalog_close(TAKE(d->catalog));
    d->catalog = catalog_open(d->path, &err);
    cr_expect_null(d->catalog);
    return err;
}

Test(catalog, a_newer_catalog_and_a_strangers_file_are_refused)
{
    AUTO(catalog_dir) struct catalog_dir newer = catalog_dir_open();
    struct err err = open_after(&newer, "PRAGMA user_version = 999");
    cr_expect_eq(err.code, ERR_PRECONDITION);
    cr_expect(strstr(err.text, "999"), "%s", err.text);
    AUTO(catalog_dir) struct catalog_dir stranger = catalog_dir_open();
    err = open_after(&stranger, "PRAGMA application_id = 1");
    cr_expect_eq(err.code, ERR_CORRUPT);
}

/* ---- jobs ---- */

Test(catalog, a_job_keeps_its_journal_and_its_last_document)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct catalog *c = d.catalog;
    struct err err = {0};
    struct catalog_job got;
    size_t count;
    cr_assert(add(c, "job-1", "key-1", &err) && catalog_step_begin(c, "job-1", "take", &err) &&
                  catalog_step_end(c, "job-1", "take", true, "", "{\"a\":1}", &err) &&
                  catalog_step_begin(c, "job-1", "read", &err) &&
                  catalog_step_end(c, "job-1", "read", false, "no room", NULL, &err) &&
                  catalog_job_finish(c, "job-1", JOB_FAILED, 3, "no room", "make room", &err),
              "%s", err.text);
    catalog_dir_reopen(&d);
    c = d.catalog;
    cr_assert(catalog_job_find_key(c, "key-1", &got, &err));
    cr_expect_str_eq(got.id, "job-1");
    cr_expect_str_eq(got.step, "read");
    cr_expect_str_eq(got.cause, "no room");
    cr_expect_str_eq(got.owner, "x'); DROP TABLE job;--");
    cr_expect(got.state == JOB_FAILED && got.verdict == 3 && got.ended_us >= got.started_us);
    AUTO(mem) char *document = catalog_job_document(c, "job-1", &err);
    cr_expect_str_eq(document, "{\"a\":1}");
    AUTO(mem) struct catalog_journal_row *rows = catalog_journal_list(c, "job-1", &count, &err);
    cr_assert(rows && count == 4);
    cr_expect(!rows[2].is_end && rows[3].is_end && !rows[3].ok);
    cr_expect_str_eq(rows[3].text, "no room");
}

Test(catalog, a_job_that_ended_takes_no_more_steps)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    cr_assert(add(d.catalog, "job-1", "", &err));
    cr_assert(catalog_job_finish(d.catalog, "job-1", JOB_DONE, 1, "", "", &err));
    cr_expect_not(catalog_step_begin(d.catalog, "job-1", "more", &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    err_clear(&err);
    cr_expect_not(catalog_job_finish(d.catalog, "job-1", JOB_FAILED, 3, "", "", &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
}

Test(catalog, a_key_is_used_once_and_no_key_is_no_key)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    struct catalog_job got;
    cr_assert(add(d.catalog, "job-1", "key", &err) && add(d.catalog, "job-2", "", &err) &&
              add(d.catalog, "job-3", "", &err));
    cr_expect_not(add(d.catalog, "job-4", "key", &err));
    cr_expect_eq(err.code, ERR_EXISTS);
    cr_expect_not(catalog_job_find_key(d.catalog, "", &got, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
}

Test(catalog, a_group_is_written_whole_or_not_at_all)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct catalog *c = d.catalog;
    struct err err = {0};
    struct catalog_job got;
    cr_assert(catalog_group_begin(c, &err) && add(c, "job-1", "", &err));
    catalog_group_drop(c);
    cr_expect_not(catalog_job_get(c, "job-1", &got, &err));
    err_clear(&err);
    IGNORE(catalog_kill_at(0, false) < 0); /* starts to count */
    cr_assert(catalog_group_begin(c, &err) && add(c, "job-2", "", &err) &&
              catalog_step_begin(c, "job-2", "one", &err) && catalog_group_end(c, &err));
    cr_expect_eq(catalog_kill_at(0, false), 1, "a group is one write");
    cr_expect(catalog_job_get(c, "job-2", &got, &err));
}

/* ---- job logs ---- */

static uint64_t append(struct catalog *c, uint64_t first, const char *const *lines, size_t count)
{
    struct err err = {0};
    size_t lens[8];
    uint64_t next = 99;
    for (size_t i = 0; i < count; i++)
        lens[i] = strlen(lines[i]);
    cr_assert(catalog_log_append(c, "job-1", first, lines, lens, count, &next, &err), "%s",
              err.text);
    return next;
}

Test(catalog, a_log_resumes_behind_the_last_line_without_a_hole)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    const char *const lines[] = {"zero", "one", "two", "three"};
    const char *const again[] = {"ONE", "TWO", "THREE"};
    size_t count;
    cr_assert(add(d.catalog, "job-1", "", &err));
    cr_expect_eq(append(d.catalog, 0, lines, 2), 2);
    cr_expect_eq(append(d.catalog, 4, lines, 2), 2, "a hole is not jumped over");
    cr_expect_eq(append(d.catalog, 1, again, 3), 6, "the hole is filled");
    cr_expect_eq(append(d.catalog, 0, NULL, 0), 6);
    struct catalog_log_line *got = catalog_log_read(d.catalog, "job-1", 1, 3, &count, &err);
    cr_assert(got && count == 3);
    cr_expect_str_eq(got[0].text, "one", "a line that was there stays");
    cr_expect_str_eq(got[1].text, "TWO");
    cr_expect_str_eq(got[2].text, "THREE");
    cr_expect_eq(got[2].number, 3);
    catalog_log_free(got, count);
    uint64_t next;
    size_t len = 1;
    cr_expect_not(catalog_log_append(d.catalog, "nobody", 0, lines, &len, 1, &next, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
}

/* ---- the rest comes back ---- */

Test(catalog, databases_snapshots_clones_and_notes_come_back)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct catalog *c = d.catalog;
    struct err err = {0};
    struct catalog_database db = {.name = "O$#_", .dbid = 4000000000u, .db_name = "ORCL"}, got_db;
    struct catalog_snapshot s = {
        .database = "O$#_", .name = "s1", .created_us = 2, .mid_merge = true};
    struct catalog_clone clone = {.database = "O$#_", .name = "c1", .scn = 1ull << 47}, got_clone;
    size_t count;
    cr_assert(
        catalog_database_put(c, &db, &err) && catalog_snapshot_put(c, &s, "{1}", NULL, &err) &&
            catalog_snapshot_put(c, &s, "{2}", "{f}", &err) && catalog_clone_put(c, &clone, &err) &&
            catalog_note_put(c, "O$#_", "k", "a", &err) &&
            catalog_note_put(c, "O$#_", "k", "b", &err),
        "%s", err.text);
    s.created_us = 1;
    cr_assert(str_copy(s.name, sizeof s.name, "s0") && catalog_snapshot_put(c, &s, "", NULL, &err));
    cr_assert(catalog_database_get(c, "O$#_", &got_db, &err) && got_db.dbid == 4000000000u);
    AUTO(mem) struct catalog_snapshot *list = catalog_snapshot_list(c, "O$#_", &count, &err);
    cr_assert(list && count == 2);
    cr_expect_str_eq(list[0].name, "s0", "oldest first");
    AUTO(mem) char *manifest = NULL;
    AUTO(mem) char *facts = NULL;
    cr_assert(catalog_snapshot_texts(c, "O$#_", "s1", &manifest, &facts, &err));
    cr_expect_str_eq(manifest, "{2}");
    cr_expect_str_eq(facts, "{f}");
    cr_assert(catalog_clone_get(c, "O$#_", "c1", &got_clone, &err));
    cr_expect_eq(got_clone.scn, 1ull << 47);
    AUTO(mem) char *note = catalog_note_get(c, "O$#_", "k", &err);
    cr_expect_str_eq(note, "b");
    cr_expect(catalog_clone_delete(c, "O$#_", "c1", &err));
    cr_expect_not(catalog_clone_delete(c, "O$#_", "c1", &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect(catalog_snapshot_follow(c, "O$#_", "s1", 2, 1ull << 40, &err));
    AUTO(mem) struct catalog_snapshot *told = catalog_snapshot_list(c, "O$#_", &count, &err);
    cr_expect(told && told[1].durability == 2 && told[1].bad_blocks == 1ull << 40);
    cr_expect_not(catalog_snapshot_follow(c, "O$#_", "s9", 2, 0, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect(catalog_snapshot_delete(c, "O$#_", "s0", &err));
    cr_expect_null(catalog_note_get(c, "O$#_", "other", &err));
}

/* A second as users run it; the sanitizers, on a machine shared with other tests, may take longer.
 */
#ifdef __SANITIZE_ADDRESS__
enum { LISTING_MS = 10000 };
#else
enum { LISTING_MS = 1000 };
#endif

Test(catalog, lists_ten_thousand_jobs_and_reads_a_hundred_manifests_within_a_second)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct catalog *c = d.catalog;
    struct err err = {0};
    char id[40];
    size_t count;
    AUTO(mem) char *text = own_alloc(MANIFEST_BYTES + 1, &err);
    memset(text, 'm', MANIFEST_BYTES);
    cr_assert(catalog_group_begin(c, &err));
    for (int i = 0; i < MANY_JOBS; i++) {
        IGNORE(!str_format(id, sizeof id, "job-%d", i)); /* fits */
        cr_assert(add(c, id, "", &err));
    }
    for (int i = 0; i < MANY_SNAPSHOTS; i++) {
        struct catalog_snapshot s = {.database = "ORCL", .created_us = (uint64_t)i};
        IGNORE(!str_format(s.name, sizeof s.name, "s%d", i)); /* fits */
        cr_assert(catalog_snapshot_put(c, &s, text, NULL, &err));
    }
    cr_assert(catalog_group_end(c, &err), "%s", err.text);
    uint64_t begun = clock_mono_ms();
    AUTO(mem) struct catalog_job *jobs = catalog_job_list(c, "", "", -1, MANY_JOBS, &count, &err);
    cr_assert(jobs && count == MANY_JOBS);
    cr_expect_str_eq(jobs[0].id, "job-9999", "newest first");
    AUTO(mem)
    struct catalog_job *page = catalog_job_list(c, "ORCL", "", JOB_RUNNING, 0, &count, &err);
    cr_expect(page && count == 50);
    AUTO(mem) struct catalog_snapshot *list = catalog_snapshot_list(c, "ORCL", &count, &err);
    cr_assert(list && count == MANY_SNAPSHOTS);
    for (size_t i = 0; i < count; i++) {
        AUTO(mem) char *manifest = NULL;
        AUTO(mem) char *facts = NULL;
        cr_assert(catalog_snapshot_texts(c, "ORCL", list[i].name, &manifest, &facts, &err));
        cr_expect_null(facts);
    }
    cr_expect(clock_mono_ms() - begun < LISTING_MS, "%llu ms",
              (unsigned long long)(clock_mono_ms() - begun));
}

/* ---- faults ---- */

/* True when everything worked; else the catalog must be as it was. */
static bool everything(struct catalog *c, struct err *err)
{
    size_t count;
    uint64_t next;
    const char *line = "line";
    size_t len = 4;
    struct catalog_lease lease = {.database = "ORCL", .kind = "log", .job = "job-1", .left_ms = 5};
    if (!catalog_group_begin(c, err))
        return false;
    bool ok = add(c, "job-1", "key", err) && catalog_step_begin(c, "job-1", "one", err) &&
              catalog_log_append(c, "job-1", 0, &line, &len, 1, &next, err) &&
              catalog_lease_take(c, &lease, NULL, err) && catalog_note_put(c, "a", "b", line, err);
    if (!ok) {
        catalog_group_drop(c);
        return false;
    }
    if (!catalog_group_end(c, err))
        return false;
    AUTO(mem) struct catalog_job *jobs = catalog_job_list(c, "", "", -1, 0, &count, err);
    struct catalog_log_line *lines = jobs ? catalog_log_read(c, "job-1", 0, 0, &count, err) : NULL;
    AUTO(mem) char *note = lines ? catalog_note_get(c, "a", "b", err) : NULL;
    AUTO(mem) struct catalog_lease *due = note ? catalog_lease_tick(c, 1, &count, err) : NULL;
    catalog_log_free(lines, lines != NULL);
    return due != NULL;
}

Test(catalog, every_allocation_may_fail_and_is_said_and_nothing_leaks)
{
    bool whole = false;
    for (long nth = 1; !whole; nth++) {
        AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
        struct err err = {0};
        catalog_close(TAKE(d.catalog));
        own_fault(nth);
        struct catalog *c = catalog_open(d.path, &err);
        whole = c && everything(c, &err);
        own_fault(0);
        cr_assert(whole || err.code == ERR_NO_MEMORY, "round %ld: %s", nth, err.text);
        catalog_close(c);
        cr_assert(nth < 500);
    }
}

Test(catalog, every_file_call_may_fail_and_is_said)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    catalog_close(TAKE(d.catalog));
    bool whole = false;
    for (long nth = 1; !whole; nth++) {
        struct err err = {0};
        sys_fault(nth, ENOSPC);
        struct catalog *c = catalog_open(d.path, &err);
        sys_fault(0, 0);
        whole = c != NULL;
        cr_assert(whole || err.code == ERR_NO_SPACE, "%s", err.text);
        catalog_close(c);
    }
}

Test(catalog, a_full_disk_is_told_apart_and_leaves_what_was_there)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    struct catalog_job got;
    AUTO(mem) char *text = own_alloc(MANIFEST_BYTES + 1, &err);
    memset(text, 'm', MANIFEST_BYTES);
    cr_assert(add(d.catalog, "job-1", "", &err) && catalog_limit_pages(d.catalog, 60, &err));
    cr_expect_not(catalog_note_put(d.catalog, "ORCL", "big", text, &err));
    cr_expect_eq(err.code, ERR_NO_SPACE, "%s", err.text);
    err_clear(&err);
    cr_assert(catalog_job_get(d.catalog, "job-1", &got, &err));
    cr_assert(add(d.catalog, "job-2", "", &err), "small things still fit: %s", err.text);
    catalog_dir_reopen(&d);
    cr_expect_null(catalog_note_get(d.catalog, "ORCL", "big", &err));
}

Test(catalog, another_writer_makes_it_busy_not_broken)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    struct catalog *other = catalog_open(d.path, &err);
    cr_assert(other && catalog_group_begin(other, &err));
    sqlite3_busy_timeout(d.catalog->db, 10);
    cr_expect_not(add(d.catalog, "job-1", "", &err));
    cr_expect_eq(err.code, ERR_BUSY, "%s", err.text);
    catalog_group_drop(other);
    catalog_close(other);
    err_clear(&err);
    cr_expect(add(d.catalog, "job-1", "", &err));
}

Test(catalog, sqlite_without_memory_says_so)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    AUTO(mem) char *text = own_alloc(MANIFEST_BYTES + 1, &err);
    memset(text, 'm', MANIFEST_BYTES);
    sqlite3_hard_heap_limit64(sqlite3_memory_used() + 65536);
    cr_expect_not(catalog_note_put(d.catalog, "ORCL", "big", text, &err));
    sqlite3_hard_heap_limit64(0);
    cr_expect_eq(err.code, ERR_NO_MEMORY, "%s", err.text);
    err_clear(&err);
    cr_expect(catalog_note_put(d.catalog, "ORCL", "big", text, &err), "%s", err.text);
}
