/* Backup runs on a real catalog: who may begin, who holds the lease, and what a run is worth. */
#include "agent/engine/acts.h"
#include "agent/engine/backup.h"
#include "drivers/registry.h"
#include "tests/engine/plan_world.h"
#include "tests/lib/catalog_dir.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/memory_driver.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include <fcntl.h>
#include <unistd.h>

enum { OK = 1, WARNING, FAILED, UNKNOWN };
#define STORE "backup-tests"

struct stage {
    struct catalog_dir dir;
    struct config_agent *config;
    struct world *world;
    struct pw w;
};

static void stage_done(struct stage *s)
{
    pw_done(&s->w);
    world_close(s->world);
    config_agent_free(s->config);
    catalog_dir_done(&s->dir);
    memory_store_reset(STORE);
}
OWN_DEFINE_INPLACE(stage, struct stage, stage_done);

static void stage_begin(struct stage *s)
{
    static const char text[] = "[agent]\nbackuplease = 60\n[storage m]\ndriver = memory\n"
                               "store = " STORE "\n[database ORCL]\nstorage = m\nvolume = v1\n";
    struct err err = {0};
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
    registry_add_for_tests(&driver_memory);
    memory_store_reset(STORE);
    s->dir = catalog_dir_open();
    s->config = config_agent_parse(text, sizeof text - 1, "d.conf", &err);
    cr_assert(s->config, "%s", err.text);
    s->world = world_open(s->config, &err);
    cr_assert(s->world, "%s", err.text);
}

static void register_database(struct stage *s)
{
    struct err err = {0};
    struct catalog_database db = {
        .name = "ORCL", .dbid = PW_DBID, .db_name = "ORCL", .storage = "m"};
    cr_assert(catalog_database_put(s->dir.catalog, &db, &err));
}

#define STAGE(s)                                                                                   \
    AUTO(stage) struct stage s = {0};                                                              \
    stage_begin(&s);                                                                               \
    register_database(&s)

static const struct backup_begin good = {
    .database = "ORCL",
    .db_name = "orcl",
    .host = "db1",
    .owner = "db1",
    .key = "",
    .channel_text = "",
    .dead_job = "",
    .dbid = PW_DBID,
    .boot_id = "boot-1 pid:[1]",
    .resetlogs_id = PW_RESETLOGS,
    .pid = 4711,
};

static struct backup_granted begin(struct stage *s, const char *key)
{
    struct err err = {0};
    struct backup_begin request = good;
    struct backup_granted granted = {0};
    request.key = key;
    cr_assert(backup_begin(s->dir.catalog, s->world, &request, &granted, &err), "%s", err.text);
    return granted;
}

static void refuse(struct stage *s, const struct backup_begin *request, enum err_code code,
                   const char *part)
{
    struct err err = {0};
    struct backup_granted granted = {0};
    cr_assert_not(backup_begin(s->dir.catalog, s->world, request, &granted, &err), "%s", part);
    cr_expect_eq(err.code, code, "%s", err.text);
    cr_expect(strstr(err.text, part), "'%s' is not in '%s'", part, err.text);
}

static size_t jobs(struct stage *s, int state)
{
    struct err err = {0};
    size_t count;
    AUTO(mem)
    struct catalog_job *rows =
        catalog_job_list(s->dir.catalog, "ORCL", "backup", state, 0, &count, &err);
    cr_assert(rows);
    return count;
}

static bool leased(struct stage *s)
{
    struct err err = {0};
    struct catalog_lease lease;
    return catalog_lease_find(s->dir.catalog, "ORCL", "backup", &lease, &err);
}

/* ---- beginning ---- */

Test(backup, what_does_not_match_is_refused_and_changes_nothing)
{
    AUTO(stage) struct stage s = {0};
    stage_begin(&s);
    struct backup_begin request = good;
    refuse(&s, &request, ERR_PRECONDITION, "not set up yet");
    register_database(&s);
    request.dbid++;
    refuse(&s, &request, ERR_PRECONDITION, "another database answers under this name");
    request = good;
    request.db_name = "ORCK";
    refuse(&s, &request, ERR_PRECONDITION, "db_name 'ORCK'");
    request = good;
    request.open_channels = 2;
    request.channel_text = "evercopy:x";
    refuse(&s, &request, ERR_PRECONDITION, "2 RMAN channels");
    request = good;
    request.database = "ORCM";
    refuse(&s, &request, ERR_NOT_FOUND, "did you mean 'ORCL'");
    cr_expect_eq(jobs(&s, -1), 0);
    cr_expect_not(leased(&s));
}

Test(backup, a_second_run_hears_since_when_and_where_the_first_one_goes_on)
{
    STAGE(s);
    clock_test_wall(1767225600000000u);
    struct backup_granted first = begin(&s, "");
    refuse(&s, &good, ERR_BUSY,
           "already running since 2026-01-01T00:00:00Z on host db1 (pid 4711)");
    refuse(&s, &good, ERR_BUSY, first.job);
    cr_expect_eq(jobs(&s, -1), 1);
    clock_test_wall(0);
}

Test(backup, the_same_key_gives_the_same_grant_while_the_run_is_open)
{
    STAGE(s);
    struct err err = {0};
    struct backup_granted one = begin(&s, "k1"), two = begin(&s, "k1");
    cr_expect_str_eq(one.job, two.job);
    cr_expect(one.token == two.token && two.lease_s == 60);
    struct backup_verdict v = {.verdict = OK};
    cr_assert(backup_finish(s.dir.catalog, one.job, one.token, &v, &err), "%s", err.text);
    struct backup_begin request = good;
    request.key = "k1";
    refuse(&s, &request, ERR_PRECONDITION, "has ended already");
    cr_expect_eq(jobs(&s, -1), 1);
    cr_expect_not(leased(&s));
}

Test(backup, an_old_token_is_fenced)
{
    STAGE(s);
    struct err err = {0};
    struct catalog_job job;
    struct backup_verdict v = {.verdict = OK};
    struct backup_granted old = begin(&s, "");
    cr_assert(backup_hold(s.dir.catalog, s.world, old.job, old.token, &job, &err));
    cr_assert(backup_tick(s.dir.catalog, NULL, 60001, 60000, &err), "%s", err.text);
    struct backup_granted now = begin(&s, "");
    cr_expect_gt(now.token, old.token);
    cr_expect_not(backup_hold(s.dir.catalog, s.world, old.job, old.token, &job, &err));
    cr_expect_eq(err.code, ERR_FENCED);
    err_clear(&err);
    cr_expect_not(backup_finish(s.dir.catalog, old.job, old.token, &v, &err));
    cr_expect_eq(err.code, ERR_FENCED);
    cr_assert(catalog_job_get(s.dir.catalog, old.job, &job, &err));
    cr_expect_eq(job.state, JOB_FAILED);
    cr_expect(leased(&s)); /* the new one's */
}

Test(backup, a_run_that_is_held_does_not_run_out)
{
    STAGE(s);
    struct err err = {0};
    struct catalog_job job;
    struct backup_granted run = begin(&s, "");
    for (int i = 0; i < 5; i++) {
        cr_assert(backup_tick(s.dir.catalog, NULL, 40000, 60000, &err));
        cr_assert(backup_hold(s.dir.catalog, s.world, run.job, run.token, &job, &err), "%s",
                  err.text);
    }
    cr_expect_eq(jobs(&s, JOB_RUNNING), 1);
}

/* ---- snapshots for the judge, in catalog and outlook alike ---- */

static size_t keep(struct stage *s, const char *kind, const char *run, uint64_t checkpoint,
                   bool facts)
{
    struct err err = {0};
    size_t i = pw_add(&s->w, kind, run);
    pw_copy(&s->w, i, 1, 10, checkpoint);
    pw_copy(&s->w, i, 2, 20, checkpoint + 5);
    pw_log(&s->w, i, 1, 1, 1, checkpoint + 100);
    if (facts) {
        struct facts *f = pw_facts(&s->w, i, checkpoint + 90);
        pw_thread(f, 1)->sequence = 2;
        pw_file(f, 1, 10)->header_scn = pw_scn(checkpoint);
        pw_file(f, 2, 20)->header_scn = pw_scn(checkpoint + 5);
        pw_controlfile(&s->w, i, "cf.bkp");
    }
    IGNORE(i);
    (void)err;
    return i;
}

/* As a snapshot job's commit would. */
static void commit_all(struct stage *s)
{
    struct err err = {0};
    for (size_t i = 0; i < s->w.count; i++) {
        struct catalog_snapshot row = {.created_us = 1000 + i};
        IGNORE(str_copy(row.database, sizeof row.database, "ORCL"));
        IGNORE(str_copy(row.name, sizeof row.name, s->w.names[i]));
        IGNORE(str_copy(row.kind, sizeof row.kind, s->w.sources[i].kind));
        IGNORE(str_copy(row.run, sizeof row.run, s->w.runs[i]));
        AUTO(mem) char *manifest = manifest_to_json(pw_manifest(&s->w, i), &err);
        AUTO(mem) char *facts = pw_sheet(&s->w, i) ? facts_to_json(pw_sheet(&s->w, i), &err) : NULL;
        cr_assert(manifest && catalog_snapshot_put(s->dir.catalog, &row, manifest, facts, &err),
                  "%s", err.text);
    }
}

static struct outlook *look(struct stage *s)
{
    struct err err = {0};
    commit_all(s);
    struct outlook *o =
        outlook_load(s->dir.catalog, s->world, &s->config->databases[0], NULL, NULL, &err);
    cr_assert(o, "%s", err.text);
    return o;
}

static void expect_verdict(struct stage *s, const char *run, int verdict, const char *part)
{
    struct backup_verdict v;
    AUTO(outlook) struct outlook *o = look(s);
    backup_judge(o, run, &v);
    cr_expect_eq(v.verdict, verdict, "%d: %s", v.verdict, v.cause);
    cr_expect(strstr(v.cause, part), "'%s'", v.cause);
}

/* ---- the shim goes silent ---- */

Test(backup, a_lease_that_runs_out_in_a_merge_leaves_every_file_suspect_and_the_run_failed)
{
    STAGE(s);
    struct err err = {0};
    struct catalog_job job;
    struct backup_granted run = begin(&s, "");
    keep(&s, "pre", run.job, 1000, true);
    keep(&s, "manual", "", 1000, false); /* somebody's, without a fact sheet */
    commit_all(&s);
    cr_assert(backup_phase(s.dir.catalog, run.job, "merge", 0, "", &err));
    cr_assert(backup_tick(s.dir.catalog, NULL, 59000, 60000, &err));
    cr_expect_eq(jobs(&s, JOB_RUNNING), 1);
    cr_assert(backup_tick(s.dir.catalog, NULL, 2000, 60000, &err), "%s", err.text);
    cr_assert(catalog_job_get(s.dir.catalog, run.job, &job, &err));
    cr_expect_eq(job.state, JOB_FAILED);
    cr_expect_eq(job.verdict, FAILED);
    cr_expect(strstr(job.cause, "merge: the shim on host db1 (pid 4711) went silent"), "%s",
              job.cause);
    uint32_t *files;
    size_t count;
    cr_assert(backup_suspects_get(s.dir.catalog, "ORCL", &files, &count, &err));
    cr_expect_eq(count, 2);
    own_free(files);
    cr_expect_not(leased(&s));
}

/* What cannot be read, of one database, must not keep every lease for ever. */
Test(backup, a_sheet_that_cannot_be_read_keeps_no_run_from_its_end)
{
    STAGE(s);
    struct err err = {0};
    struct catalog_job job;
    struct catalog_snapshot row = {.created_us = 9000};
    struct backup_granted run = begin(&s, "");
    keep(&s, "pre", run.job, 1000, true);
    commit_all(&s);
    cr_assert(str_copy(row.database, sizeof row.database, "ORCL"));
    cr_assert(str_copy(row.name, sizeof row.name, "newest"));
    cr_assert(str_copy(row.kind, sizeof row.kind, "pre"));
    cr_assert(catalog_snapshot_put(s.dir.catalog, &row, "{\"damaged\"", "{\"damaged\"", &err), "%s",
              err.text);
    cr_assert(backup_phase(s.dir.catalog, run.job, "merge", 0, "", &err));
    cr_assert(backup_tick(s.dir.catalog, NULL, 61000, 60000, &err), "%s", err.text);
    cr_assert(catalog_job_get(s.dir.catalog, run.job, &job, &err));
    cr_expect_eq(job.state, JOB_FAILED);
    uint32_t *files;
    size_t count;
    cr_assert(backup_suspects_get(s.dir.catalog, "ORCL", &files, &count, &err));
    cr_expect_eq(count, 2, "those of the older sheet: %zu", count);
    own_free(files);
}

Test(backup, a_lease_that_runs_out_before_the_merge_makes_nothing_suspect)
{
    STAGE(s);
    struct err err = {0};
    struct backup_granted run = begin(&s, "");
    keep(&s, "pre", run.job, 1000, true);
    commit_all(&s);
    cr_assert(backup_phase(s.dir.catalog, run.job, "level1", 0, "", &err));
    cr_assert(backup_tick(s.dir.catalog, NULL, 61000, 60000, &err));
    uint32_t *files;
    size_t count;
    cr_assert(backup_suspects_get(s.dir.catalog, "ORCL", &files, &count, &err));
    cr_expect_eq(count, 0);
    own_free(files);
}

static void orphan_lease(struct stage *s, const char *job)
{
    struct err err = {0};
    struct catalog_lease lease = {.left_ms = 60000}, holder;
    IGNORE(str_copy(lease.database, sizeof lease.database, "ORCL"));
    IGNORE(str_copy(lease.kind, sizeof lease.kind, "backup"));
    IGNORE(str_copy(lease.job, sizeof lease.job, job));
    IGNORE(str_copy(lease.host, sizeof lease.host, "db1"));
    cr_assert(catalog_lease_take(s->dir.catalog, &lease, &holder, &err), "%s", err.text);
}

Test(backup, a_lease_left_by_a_crash_after_the_runs_end_does_not_block)
{
    STAGE(s);
    struct err err = {0};
    struct backup_granted run = begin(&s, "");
    cr_assert(catalog_job_finish(s.dir.catalog, run.job, JOB_DONE, OK, "", "", &err));
    cr_expect(leased(&s));
    struct backup_granted next = begin(&s, "");
    cr_expect_str_neq(run.job, next.job);
    cr_expect_gt(next.token, run.token);
}

Test(backup, a_lease_left_by_a_crash_before_the_run_was_written_does_not_block)
{
    STAGE(s);
    orphan_lease(&s, "backup-of-nobody");
    begin(&s, "");
    cr_expect_eq(jobs(&s, JOB_RUNNING), 1);
}

Test(backup, a_lease_of_no_run_runs_out_like_any_other)
{
    STAGE(s);
    struct err err = {0};
    orphan_lease(&s, "backup-of-nobody");
    cr_assert(backup_tick(s.dir.catalog, NULL, 61000, 60000, &err), "%s", err.text);
    cr_expect_not(leased(&s));
}

Test(backup, only_the_host_of_a_dead_run_may_take_its_place_at_once)
{
    STAGE(s);
    struct backup_granted run = begin(&s, "");
    struct backup_begin request = good;
    request.dead_job = run.job;
    request.host = "db2";
    refuse(&s, &request, ERR_BUSY, "already running");
    request.host = "db1";
    request.dead_job = "backup-other";
    refuse(&s, &request, ERR_BUSY, "already running");
    request.dead_job = run.job;
    request.boot_id = "boot-1 pid:[2]"; /* a container beside it, with the same name */
    refuse(&s, &request, ERR_BUSY, "already running");
    request.boot_id = "";
    refuse(&s, &request, ERR_BUSY, "already running");
    request.boot_id = good.boot_id;
    struct err err = {0};
    struct backup_granted next = {0};
    cr_assert(backup_begin(s.dir.catalog, s.world, &request, &next, &err), "%s", err.text);
    cr_expect_eq(jobs(&s, JOB_FAILED), 1);
    cr_expect_eq(jobs(&s, JOB_RUNNING), 1);
}

struct tick {
    struct stage *stage;
    bool engine_asked;
};

static void tick_on_lane(struct engine *engine, void *arg)
{
    const struct tick *tick = arg;
    struct err err = {0};
    cr_assert(backup_tick(tick->stage->dir.catalog, tick->engine_asked ? engine : NULL, 50000,
                          60000, &err),
              "%s", err.text);
}

/* The agent's own work keeps a run's lease: a snapshot that cannot go on does not. */
Test(backup, a_job_that_could_not_go_on_keeps_no_lease)
{
    STAGE(s);
    struct err err = {0};
    struct catalog_job child = {.id = "snapshot-1", .kind = "snapshot", .database = "ORCL"};
    struct backup_granted run = begin(&s, "");
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(engine) struct engine *engine = drive_open(dir, &(struct engine_options){0}, &err);
    cr_assert(engine, "%s", err.text);
    cr_assert(str_copy(child.parent, sizeof child.parent, run.job));
    cr_assert(catalog_job_add(s.dir.catalog, &child, "{}", &err), "%s", err.text);
    drive_call(engine, tick_on_lane, &(struct tick){&s, false});
    drive_call(engine, tick_on_lane, &(struct tick){&s, false});
    cr_expect_eq(jobs(&s, JOB_FAILED), 0);
    drive_call(engine, tick_on_lane, &(struct tick){&s, true});
    cr_expect_eq(jobs(&s, JOB_FAILED), 1);
}

/* ---- what comes late ---- */

Test(backup, a_late_word_is_told_once_and_changes_no_end)
{
    STAGE(s);
    struct err err = {0};
    struct backup_granted run = begin(&s, "");
    const uint32_t suspects[] = {3};
    struct catalog_job job;
    cr_assert(backup_phase(s.dir.catalog, run.job, "merge", 0, "", &err));
    cr_assert(backup_tick(s.dir.catalog, NULL, 3600000, 60000, &err));
    for (int i = 0; i < 2; i++) {
        cr_assert(backup_knows(s.dir.catalog, run.job, run.token, &job, &err), "%s", err.text);
        cr_expect_eq(job.state, JOB_FAILED);
        cr_expect(strstr(job.cause, "went silent"));
        cr_assert(backup_late_word(s.dir.catalog, &job, "it came to its end", suspects, 1, &err));
    }
    size_t count, told = 0;
    AUTO(mem)
    struct catalog_journal_row *rows = catalog_journal_list(s.dir.catalog, run.job, &count, &err);
    for (size_t i = 0; i < count; i++)
        told += strstr(rows[i].text, "it came to its end") != NULL;
    cr_expect_eq(told, 1);
    AUTO(mem) uint32_t *files = NULL;
    cr_assert(backup_suspects_get(s.dir.catalog, "ORCL", &files, &count, &err));
    cr_expect(count == 1 && files[0] == 3);
}

Test(backup, nobody_speaks_for_a_run_that_was_followed_by_another)
{
    STAGE(s);
    struct err err = {0};
    struct backup_granted first = begin(&s, "");
    struct catalog_job job;
    cr_assert(backup_tick(s.dir.catalog, NULL, 3600000, 60000, &err));
    begin(&s, "");
    cr_expect_not(backup_knows(s.dir.catalog, first.job, first.token, &job, &err));
    cr_expect_eq(err.code, ERR_FENCED);
}

/* ---- the verdict ---- */

Test(backup, a_run_whose_copies_came_along_is_ok)
{
    STAGE(s);
    keep(&s, "pre", "r1", 1000, true);
    keep(&s, "post", "r1", 1200, true);
    expect_verdict(&s, "r1", OK, "");
}

Test(backup, a_run_without_a_snapshot_after_the_merge_failed)
{
    STAGE(s);
    keep(&s, "pre", "r1", 1000, true);
    keep(&s, "post", "r0", 900, true);
    expect_verdict(&s, "r1", FAILED, "no snapshot after the merge");
}

Test(backup, a_copy_that_stood_still_is_red)
{
    STAGE(s);
    size_t pre = keep(&s, "pre", "r1", 1000, true);
    keep(&s, "post", "r1", 1200, true);
    pw_sheet(&s.w, pre)->files[1].header_scn = pw_scn(1206);
    expect_verdict(&s, "r1", FAILED, "copy of datafile 2 did not advance");
    pw_sheet(&s.w, pre)->files[1].header_scn = pw_scn(1205);
    expect_verdict(&s, "r1", OK, "");
}

Test(backup, an_old_copy_beside_the_merged_one_is_not_a_frozen_copy)
{
    STAGE(s);
    keep(&s, "pre", "r1", 1000, true);
    size_t post = keep(&s, "post", "r1", 1200, true);
    pw_copy(&s.w, post, 1, 10, 300);
    expect_verdict(&s, "r1", OK, "");
}

Test(backup, a_base_that_is_only_a_warning_hides_no_frozen_copy)
{
    STAGE(s);
    size_t pre = keep(&s, "pre", "r1", 1000, true);
    size_t post = keep(&s, "post", "r1", 1200, true);
    pw_find(&s.w, post, "archivelog/1_1.arc")->log.next_scn = pw_scn(1100);
    pw_find(&s.w, pre, "archivelog/1_1.arc")->state = STATE_OPEN;
    expect_verdict(&s, "r1", WARNING, "");
    pw_sheet(&s.w, pre)->files[0].header_scn = pw_scn(1201);
    expect_verdict(&s, "r1", FAILED, "datafile 1 did not advance");
}

Test(backup, what_cannot_be_told_is_never_ok)
{
    STAGE(s);
    size_t pre = keep(&s, "pre", "r1", 1000, false);
    size_t post = keep(&s, "post", "r1", 1200, true);
    expect_verdict(&s, "r1", UNKNOWN, "no fact sheet from before the merge");
    pw_sheet(&s.w, post)->complete = false;
    expect_verdict(&s, "r1", UNKNOWN, "file list is not complete");
    (void)pre;
}

/* ---- standing ---- */

static void ended(struct stage *s, int verdict, const char *cause)
{
    struct err err = {0};
    struct backup_granted run = begin(s, "");
    struct backup_verdict v = {.verdict = verdict};
    IGNORE(str_copy(v.cause, sizeof v.cause, cause));
    cr_assert(backup_finish(s->dir.catalog, run.job, run.token, &v, &err), "%s", err.text);
}

static void expect_standing(struct stage *s, int verdict, const char *part)
{
    struct err err = {0};
    struct standing st;
    AUTO(outlook) struct outlook *o = look(s);
    cr_assert(backup_standing(s->dir.catalog, plan_newest_base(o->plan), "ORCL", &st, &err), "%s",
              err.text);
    cr_expect_eq(st.verdict, verdict, "%d: %s", st.verdict, st.cause);
    cr_expect(strstr(st.cause, part), "'%s'", st.cause);
    cr_expect(verdict == OK || st.next[0]);
}

Test(backup, without_a_base_nothing_is_recoverable_whatever_the_last_run_said)
{
    static const int verdicts[] = {OK, WARNING, FAILED, UNKNOWN};
    for (size_t i = 0; i < 4; i++) {
        STAGE(s);
        expect_standing(&s, FAILED, "nothing is recoverable");
        ended(&s, verdicts[i], "of some cause");
        expect_standing(&s, FAILED, "nothing is recoverable");
        if (verdicts[i] != OK)
            expect_standing(&s, FAILED, "of some cause");
    }
}

Test(backup, a_failed_last_run_is_failed_even_when_older_points_can_be_reached)
{
    STAGE(s);
    keep(&s, "pre", "r1", 1000, true);
    keep(&s, "post", "r1", 1200, true);
    expect_standing(&s, OK, "");
    ended(&s, OK, "");
    expect_standing(&s, OK, "");
    ended(&s, FAILED, "merge: disk full");
    expect_standing(&s, FAILED, "last run: merge: disk full");
    ended(&s, UNKNOWN, "judge: dark");
    expect_standing(&s, UNKNOWN, "judge: dark");
    ended(&s, WARNING, "one log late");
    expect_standing(&s, WARNING, "one log late");
    ended(&s, OK, "");
    expect_standing(&s, OK, "");
}

Test(backup, a_running_run_stands_beside_the_last_one)
{
    STAGE(s);
    struct err err = {0};
    struct standing st;
    keep(&s, "post", "r1", 1200, true);
    ended(&s, FAILED, "bad");
    begin(&s, "");
    AUTO(outlook) struct outlook *o = look(&s);
    cr_assert(backup_standing(s.dir.catalog, plan_newest_base(o->plan), "ORCL", &st, &err));
    cr_expect(st.running.id[0] && st.last.id[0]);
    cr_expect_eq(st.verdict, FAILED);
}

Test(backup, snapshots_of_one_second_have_names_of_their_own)
{
    STAGE(s);
    struct err err = {0};
    struct catalog *c = s.dir.catalog;
    struct catalog_snapshot row = {.database = "ORCL", .kind = "manual"};
    struct catalog_job job = {.kind = "snapshot", .database = "ORCL", .owner = "dba"};
    char names[3][DRIVER_NAME_MAX];
    clock_test_wall(UINT64_C(1795278727000000));
    cr_assert(snapshot_name(c, "ORCL", "manual", names[0], &err), "%s", err.text);
    IGNORE(!str_copy(row.name, sizeof row.name, names[0]));
    cr_assert(catalog_snapshot_put(c, &row, "{}", NULL, &err), "%s", err.text);
    cr_assert(snapshot_name(c, "ORCL", "manual", names[1], &err), "%s", err.text);
    AUTO(json) json_t *args = snapshot_args("ORCL", names[1], "manual", "", PW_DBID, &err);
    AUTO(mem) char *text = json_format(args, &err);
    catalog_job_id("snapshot", job.id);
    cr_assert(text && catalog_job_add(c, &job, text, &err), "%s", err.text);
    cr_assert(snapshot_name(c, "ORCL", "manual", names[2], &err), "%s", err.text);
    cr_expect(str_ends(names[0], "Z-manual"), "%s", names[0]);
    cr_expect(str_ends(names[1], "Z-manual-2"), "one that lies there: %s", names[1]);
    cr_expect(str_ends(names[2], "Z-manual-3"), "one in the making: %s", names[2]);
    cr_assert(snapshot_name(c, "ORCL", "post", names[2], &err), "%s", err.text);
    cr_expect(str_ends(names[2], "Z-post"), "%s", names[2]);
}
