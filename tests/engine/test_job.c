/* The job machine: order, retries, undo, keys, stopping in the middle, boot. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/catalog/catalog_int.h"
#include "tests/lib/engine_drive.h"
#include <criterion/criterion.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

/* What the acts of these tests see and do. */
struct world {
    _Atomic int acts, undos, commits;
    _Atomic unsigned tries;         /* before the latest act */
    _Atomic int transient_failures; /* to be had before an act works */
    _Atomic int undo_failures;
    _Atomic bool hold; /* `wait` is not ready while this is set */
};

static enum step_verdict count(struct job *job, struct err *err)
{
    struct world *world = job->world;
    world->acts++;
    world->tries = job->tries;
    return json_put_u64(job->document, "count", json_u64(job->document, "count") + 1, err)
               ? STEP_DONE
               : STEP_FAILED;
}

static enum step_verdict stumble(struct job *job, struct err *err)
{
    struct world *world = job->world;
    enum step_verdict verdict = count(job, err);
    if (verdict != STEP_DONE || world->transient_failures-- <= 0)
        return verdict;
    job->again_ms = 1;
    err_set(err, ERR_UNAVAILABLE, "the array does not answer");
    return STEP_FAILED;
}

static enum step_verdict wait(struct job *job, struct err *err)
{
    struct world *world = job->world;
    (void)err;
    job->again_ms = world->hold ? 3600000 : 1;
    return world->hold ? STEP_AGAIN : STEP_DONE;
}

static enum step_verdict refuse(struct job *job, struct err *err)
{
    (void)job;
    err_set(err, ERR_NO_SPACE, "the pool is full; hint: delete a snapshot");
    return STEP_FAILED;
}

static enum step_verdict say_nothing(struct job *job, struct err *err)
{
    (void)job;
    (void)err;
    return STEP_FAILED;
}

/* A document that a small catalog cannot take. */
static enum step_verdict bloat(struct job *job, struct err *err)
{
    static char text[1 << 20];
    memset(text, 'x', sizeof text - 1);
    return json_put_text(job->document, "text", text, err) ? STEP_DONE : STEP_FAILED;
}

static bool undo(struct job *job, struct err *err)
{
    struct world *world = job->world;
    world->undos++;
    return world->undo_failures-- <= 0 || err_set(err, ERR_IO, "cannot remove");
}

static bool commit(struct job *job, struct catalog *catalog, struct err *err)
{
    struct world *world = job->world;
    world->commits++;
    return catalog_note_put(catalog, "ORCL", "made", job->row.id, err);
}

static bool commit_badly(struct job *job, struct catalog *catalog, struct err *err)
{
    return commit(job, catalog, err) && err_set(err, ERR_CORRUPT, "manifest is not readable");
}

static const struct job_step plain_steps[] = {{"one", count}, {"two", count}};
static const struct job_step stumble_steps[] = {{"one", stumble}};
static const struct job_step wait_steps[] = {{"one", count}, {"wait", wait}, {"two", count}};
static const struct job_step refuse_steps[] = {{"one", count}, {"refuse", refuse}};
static const struct job_step silent_steps[] = {{"silent", say_nothing}};
static const struct job_step bloat_steps[] = {{"bloat", bloat}};
static const struct job_kind bloated = {"bloated", bloat_steps, 1,    undo, NULL,
                                        NULL,      false,       NULL, false};
static const struct job_kind plain = {"plain", plain_steps, 2,    undo, commit,
                                      NULL,    false,       NULL, false};
static const struct job_kind empty = {"empty", NULL, 0, NULL, commit, NULL, false, NULL, false};
static const struct job_kind stumbling = {"stumbling", stumble_steps, 1,    undo, NULL,
                                          NULL,        false,         NULL, false};
static const struct job_kind waiting = {"waiting", wait_steps, 3,    undo, commit,
                                        NULL,      false,      NULL, false};
static const struct job_kind refused = {"refused", refuse_steps, 2,    undo, NULL,
                                        NULL,      false,        NULL, false};
static const struct job_kind silent = {"silent", silent_steps, 1,    NULL, NULL,
                                       NULL,     false,        NULL, false};
static const struct job_kind badly = {"badly", plain_steps, 2,    undo, commit_badly,
                                      NULL,    false,       NULL, false};
static const struct job_kind outside = {.name = "outside", .external = true};
static const struct job_kind *const kinds[] = {&plain,  &empty, &stumbling, &waiting, &refused,
                                               &silent, &badly, &outside,   &bloated};

/* ---- an engine in a directory ---- */

struct bench {
    char *dir;
    struct world world;
    struct engine *engine;
};

static void bench_start(struct bench *b)
{
    struct err err = {0};
    struct engine_options options = {
        .kinds = kinds, .kind_count = sizeof kinds / sizeof kinds[0], .world = &b->world};
    b->engine = drive_open(b->dir, &options, &err);
    cr_assert(b->engine, "%s", err.text);
}

static void bench_stop(struct bench *b) { engine_free(TAKE(b->engine)); }

static void bench_done(struct bench *b)
{
    bench_stop(b);
    drive_dir_free(b->dir);
}
OWN_DEFINE_INPLACE(bench, struct bench, bench_done);

static void bench_init(struct bench *b)
{
    b->dir = drive_dir();
    bench_start(b);
}

static struct drive_job *start(struct bench *b, const char *kind, const char *key)
{
    struct err err = {0};
    static struct catalog_job row;
    row = (struct catalog_job){.database = "ORCL", .owner = "test"};
    cr_assert(str_copy(row.key, sizeof row.key, key));
    struct drive_job *job = drive_start(b->engine, kind, &row, NULL, &err);
    cr_assert(job, "%s", err.text);
    return job;
}

static enum err_code run(struct bench *b, const char *kind, const char *key,
                         struct catalog_job *ret)
{
    struct err err = {0};
    IGNORE(drive_wait(start(b, kind, key), ret, &err)); /* the code is what is asked */
    return err.code;
}

struct question {
    const char *id;
    struct catalog_job row;
    char document[256], note[64];
    size_t journal_rows, running;
};

static void ask_lane(struct engine *engine, void *arg)
{
    struct question *q = arg;
    struct err err = {0};
    struct catalog *c = engine_catalog(engine);
    cr_assert(catalog_job_get(c, q->id, &q->row, &err), "%s", err.text);
    AUTO(mem) char *document = catalog_job_document(c, q->id, &err);
    AUTO(mem) void *rows = catalog_journal_list(c, q->id, &q->journal_rows, &err);
    AUTO(mem) char *note = catalog_note_get(c, "ORCL", "made", &err);
    IGNORE(!str_copy(q->document, sizeof q->document, document)); /* short here */
    IGNORE(!str_copy(q->note, sizeof q->note, note ? note : ""));
    q->running = engine_running(engine);
}

static struct question ask(struct bench *b, const char *id)
{
    struct question q = {.id = id};
    drive_call(b->engine, ask_lane, &q);
    return q;
}

static void ask_nothing(struct engine *engine, void *arg)
{
    (void)engine;
    (void)arg;
}

static struct drive_boot boot(struct bench *b)
{
    struct err err = {0};
    struct drive_boot counts;
    cr_assert(drive_boot(b->engine, &counts, &err), "%s", err.text);
    return counts;
}

/* ---- steps ---- */

Test(job, runs_its_steps_in_order_and_commits_with_the_last_outcome)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job end;
    bench_init(&b);
    cr_assert_eq(run(&b, "plain", "", &end), ERR_NONE);
    struct question q = ask(&b, end.id);
    cr_expect(q.row.state == JOB_DONE && q.row.verdict == 1 && q.row.ended_us);
    cr_expect_str_eq(q.row.step, "two");
    cr_expect_str_eq(q.document, "{\"count\":2}");
    cr_expect_str_eq(q.note, end.id);
    cr_expect_eq(q.journal_rows, 4);
    cr_expect_eq(q.running, 0);
    cr_expect_eq(run(&b, "empty", "", &end), ERR_NONE);
    cr_expect_eq(b.world.commits, 2);
}

Test(job, tries_a_transient_error_again_from_the_same_document)
{
    AUTO(bench) struct bench b = {.world.transient_failures = 5};
    struct catalog_job end;
    bench_init(&b);
    cr_assert_eq(run(&b, "stumbling", "", &end), ERR_NONE);
    cr_expect_eq(b.world.acts, 6);
    cr_expect_eq(b.world.tries, 5, "an act knows of those before");
    cr_expect_str_eq(ask(&b, end.id).document, "{\"count\":1}");
    cr_expect_eq(b.world.undos, 0);
}

Test(job, gives_up_after_five_more_tries_and_undoes)
{
    AUTO(bench) struct bench b = {.world.transient_failures = 99};
    struct catalog_job end;
    bench_init(&b);
    cr_assert_eq(run(&b, "stumbling", "", &end), ERR_UNAVAILABLE);
    cr_expect_eq(b.world.acts, 6);
    cr_expect_eq(b.world.undos, 1);
    cr_expect_eq(ask(&b, end.id).row.state, JOB_FAILED);
}

Test(job, a_permanent_error_is_undone_at_once_and_keeps_cause_and_hint)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job end;
    bench_init(&b);
    cr_assert_eq(run(&b, "refused", "", &end), ERR_NO_SPACE);
    struct question q = ask(&b, end.id);
    cr_expect(q.row.state == JOB_FAILED && q.row.verdict == 3);
    cr_expect(strstr(q.row.cause, "the pool is full"));
    cr_expect_str_eq(q.row.next, "delete a snapshot");
    cr_expect_eq(b.world.undos, 1);
    cr_expect_eq(run(&b, "silent", "", &end), ERR_INTERNAL, "a reason is never missing");
}

Test(job, a_commit_that_fails_writes_nothing_and_fails_the_job)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job end;
    bench_init(&b);
    cr_assert_eq(run(&b, "badly", "", &end), ERR_CORRUPT);
    struct question q = ask(&b, end.id);
    cr_expect_eq(q.row.state, JOB_FAILED);
    cr_expect_str_eq(q.note, "");
    cr_expect_eq(b.world.undos, 1);
}

/* ---- keys ---- */

Test(job, a_key_used_again_gets_the_first_jobs_end_also_its_error)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job first, again;
    bench_init(&b);
    cr_assert_eq(run(&b, "plain", "k1", &first), ERR_NONE);
    cr_assert_eq(run(&b, "plain", "k1", &again), ERR_NONE);
    cr_expect_str_eq(first.id, again.id);
    cr_expect_eq(b.world.acts, 2);
    cr_assert_eq(run(&b, "refused", "k2", &first), ERR_NO_SPACE);
    bench_stop(&b);
    bench_start(&b);
    cr_assert_eq(run(&b, "refused", "k2", &again), ERR_NO_SPACE);
    cr_expect_str_eq(first.id, again.id);
}

Test(job, two_at_once_with_one_key_share_one_job)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job first, second, third;
    struct err err = {0};
    bench_init(&b);
    b.world.hold = true;
    struct drive_job *a = start(&b, "waiting", "k");
    struct drive_job *c = start(&b, "waiting", "k");
    bench_stop(&b);
    cr_expect_not(drive_wait(a, &first, &err));
    cr_expect_eq(err.code, ERR_UNAVAILABLE);
    err_clear(&err);
    cr_expect_not(drive_wait(c, &second, &err), "both are told");
    cr_expect_str_eq(first.id, second.id);
    b.world.hold = false;
    bench_start(&b);
    cr_expect_eq(run(&b, "waiting", "k", &third), ERR_NONE, "the key alone sets it going again");
    cr_expect_str_eq(third.id, first.id);
    cr_expect_eq(b.world.commits, 1);
}

Test(job, a_key_of_another_request_is_refused)
{
    AUTO(bench) struct bench b = {0};
    struct err err = {0};
    struct catalog_job row = {.database = "OTHER", .key = "k"};
    bench_init(&b);
    cr_assert_eq(run(&b, "plain", "k", NULL), ERR_NONE);
    cr_expect_null(drive_start(b.engine, "plain", &row, NULL, &err));
    cr_expect_eq(err.code, ERR_INVALID);
    err_clear(&err);
    cr_expect_null(drive_start(b.engine, "no such kind", &row, NULL, &err));
    cr_expect_eq(err.code, ERR_INVALID);
}

/* ---- stopping and booting ---- */

Test(job, stopping_in_the_middle_is_prompt_and_the_next_boot_goes_on)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job end;
    struct err err = {0};
    bench_init(&b);
    b.world.hold = true;
    struct drive_job *job = start(&b, "waiting", "");
    while (b.world.acts < 1)
        drive_call(b.engine, ask_nothing, NULL);
    uint64_t begun = clock_mono_ms();
    bench_stop(&b);
    cr_expect(clock_mono_ms() - begun < 1000, "an alarm in an hour does not hold it up");
    cr_expect_not(drive_wait(job, &end, &err));
    cr_expect_eq(end.state, JOB_RUNNING);
    b.world.hold = false;
    bench_start(&b);
    struct drive_boot counts = boot(&b);
    cr_expect(counts.finished == 1 && counts.swept == 0);
    cr_expect_eq(ask(&b, end.id).row.state, JOB_DONE);
    counts = boot(&b);
    cr_expect(counts.finished == 0 && counts.swept == 0, "a second boot finds nothing");
}

Test(job, an_undo_that_fails_is_done_again_at_the_next_boot)
{
    AUTO(bench) struct bench b = {.world.undo_failures = 1};
    struct catalog_job end;
    bench_init(&b);
    cr_assert_eq(run(&b, "refused", "", &end), ERR_IO);
    cr_expect_eq(ask(&b, end.id).row.state, JOB_RUNNING);
    bench_stop(&b);
    bench_start(&b);
    struct drive_boot counts = boot(&b);
    cr_expect(counts.finished == 0 && counts.swept == 1);
    struct question q = ask(&b, end.id);
    cr_expect_eq(q.row.state, JOB_SWEPT);
    cr_expect(strstr(q.row.cause, "the pool is full"), "the first cause stays: %s", q.row.cause);
    cr_expect_eq(b.world.acts, 1, "what had failed does not run on");
}

struct revival {
    const char *job;
    bool works;
};

static void revive(struct engine *engine, void *arg)
{
    struct revival *r = arg;
    struct err err = {0};
    cr_assert(engine_revive(engine, &err), "%s", err.text);
    r->works = engine_works_on(engine, r->job);
}

/* Taken up again once the time has come; false: it has not. */
static bool revived(struct bench *b, const char *id, int64_t after_ms)
{
    static int64_t shift_ms;
    struct revival r = {.job = id};
    shift_ms += after_ms;
    clock_test_shift(shift_ms);
    drive_call(b->engine, revive, &r);
    return r.works;
}

static void settle(struct bench *b, const char *id)
{
    while (ask(b, id).running > 0)
        sched_yield();
}

Test(job, an_undo_that_fails_is_done_again_while_the_agent_runs_and_more_and_more_seldom)
{
    AUTO(bench) struct bench b = {.world.undo_failures = 3};
    struct catalog_job end;
    bench_init(&b);
    cr_assert_eq(run(&b, "refused", "", &end), ERR_IO);
    struct question q = ask(&b, end.id);
    cr_expect_eq(q.row.state, JOB_RUNNING);
    cr_expect_not(revived(&b, end.id, 29000), "not at once");
    cr_expect(revived(&b, end.id, 1500));
    settle(&b, end.id);
    cr_expect_eq(ask(&b, end.id).row.state, JOB_RUNNING);
    cr_expect_not(revived(&b, end.id, 59000), "the second time later");
    cr_expect(revived(&b, end.id, 1500));
    settle(&b, end.id);
    cr_expect_not(revived(&b, end.id, 119000));
    cr_expect(revived(&b, end.id, 1500));
    settle(&b, end.id);
    q = ask(&b, end.id);
    cr_expect_eq(q.row.state, JOB_SWEPT);
    cr_expect(strstr(q.row.cause, "the pool is full"), "the first cause stays: %s", q.row.cause);
    cr_expect_eq(b.world.undos, 4);
    cr_expect_eq(b.world.acts, 1, "what had failed does not run on");
    cr_expect_not(revived(&b, end.id, 3600000), "there is nothing left to do");
}

static void add_stranger(struct engine *engine, void *arg)
{
    struct err err = {0};
    struct catalog_job row = {.id = "stranger-1", .kind = "stranger"};
    (void)arg;
    cr_assert(catalog_job_add(engine_catalog(engine), &row, "{}", &err), "%s", err.text);
}

Test(job, boot_leaves_external_jobs_open_and_tells_of_kinds_it_does_not_know)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job end;
    struct drive_boot counts;
    struct err err = {0};
    bench_init(&b);
    cr_assert_eq(run(&b, "outside", "", &end), ERR_NONE);
    counts = boot(&b);
    cr_expect(counts.finished == 0 && counts.swept == 0);
    cr_expect_eq(ask(&b, end.id).row.state, JOB_RUNNING);
    drive_call(b.engine, add_stranger, NULL);
    cr_expect_not(drive_boot(b.engine, &counts, &err));
    cr_expect_eq(err.code, ERR_UNSUPPORTED);
}

/* ---- faults ---- */

static void stop_faults(struct engine *engine, void *arg)
{
    (void)engine;
    *(long *)arg = own_fault(0);
}

Test(job, every_allocation_may_fail_and_the_next_boot_leaves_no_job_open)
{
    long seen = 0;
    bool hit = true;
    for (long nth = 1; hit; nth++) {
        AUTO(bench) struct bench b = {0};
        struct err err = {0};
        struct catalog_job row = {.database = "ORCL"};
        bench_init(&b);
        own_fault(nth);
        struct drive_job *job = drive_start(b.engine, "plain", &row, NULL, &err);
        bool ok = job && drive_wait(job, NULL, &err);
        drive_call(b.engine, stop_faults, &seen);
        hit = seen >= nth;
        cr_assert(ok || err.code == ERR_NO_MEMORY, "round %ld: %s", nth, err.text);
        cr_assert(!ok || b.world.commits > 0, "round %ld: done without its commit", nth);
        bench_stop(&b);
        bench_start(&b);
        boot(&b);
        cr_assert(nth < 300);
    }
    cr_expect(seen >= 4, "only %ld allocations", seen);
}

static void fill_catalog(struct engine *engine, void *arg)
{
    struct err err = {0};
    (void)arg;
    cr_assert(catalog_limit_pages(engine_catalog(engine), 60, &err), "%s", err.text);
}

Test(job, a_full_catalog_fails_the_job_and_undoes_it)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job end;
    bench_init(&b);
    drive_call(b.engine, fill_catalog, NULL);
    cr_assert_eq(run(&b, "bloated", "", &end), ERR_NO_SPACE);
    cr_expect_eq(b.world.undos, 1);
    cr_expect_eq(ask(&b, end.id).row.state, JOB_FAILED);
    cr_expect_eq(run(&b, "plain", "", &end), ERR_NONE, "small ones still fit");
}

/* ---- stopping one ---- */

struct stopping {
    const char *id;
    bool ok;
    struct err err;
};

static void ask_to_stop(struct engine *engine, void *arg)
{
    struct stopping *s = arg;
    s->ok = engine_cancel(engine, s->id, "an operator", &s->err);
}

static void find_running(struct engine *engine, void *arg)
{
    struct err err = {0};
    size_t count;
    AUTO(mem)
    struct catalog_job *rows =
        catalog_job_list(engine_catalog(engine), "", "", JOB_RUNNING, 0, &count, &err);
    cr_assert(rows && count == 1);
    *(struct catalog_job *)arg = rows[0];
}

Test(job, a_cancelled_job_stops_at_its_next_step_and_is_undone)
{
    AUTO(bench) struct bench b = {0};
    bench_init(&b);
    b.world.hold = true;
    struct drive_job *job = start(&b, "waiting", "");
    while (b.world.acts < 1)
        sched_yield();
    struct catalog_job row, end;
    struct err err = {0};
    drive_call(b.engine, find_running, &row);
    struct stopping stopping = {.id = row.id};
    drive_call(b.engine, ask_to_stop, &stopping);
    cr_assert(stopping.ok, "%s", stopping.err.text);
    cr_expect_not(drive_wait(job, &end, &err));
    cr_expect_eq(err.code, ERR_CANCELLED);
    cr_expect(strstr(err.text, "cancelled by an operator"), "%s", err.text);
    cr_expect_eq(end.state, JOB_FAILED);
    cr_expect_eq(b.world.undos, 1);
    cr_expect_eq(b.world.commits, 0);
    stopping.err = (struct err){0};
    drive_call(b.engine, ask_to_stop, &stopping);
    cr_expect(!stopping.ok && stopping.err.code == ERR_NOT_FOUND);
}

Test(job, a_job_that_was_to_stop_stops_after_a_restart_too)
{
    AUTO(bench) struct bench b = {0};
    bench_init(&b);
    b.world.hold = true;
    struct drive_job *job = start(&b, "waiting", "");
    struct catalog_job row, end;
    struct err err = {0};
    drive_call(b.engine, find_running, &row);
    bench_stop(&b);
    cr_expect_not(drive_wait(job, &end, &err));
    {
        char path[4200];
        cr_assert(str_format(path, sizeof path, "%s/catalog.db", b.dir));
        err_clear(&err);
        AUTO(catalog) struct catalog *c = catalog_open(path, &err);
        cr_assert(c && catalog_job_cancel(c, row.id, "an operator", &err), "%s", err.text);
    }
    bench_start(&b);
    struct drive_boot boot;
    cr_assert(drive_boot(b.engine, &boot, &err));
    cr_expect_eq(boot.swept, 1);
    cr_expect_eq(b.world.undos, 1);
}

Test(job, what_failed_for_a_while_may_be_asked_again_with_the_same_key)
{
    AUTO(bench) struct bench b = {0};
    struct catalog_job first, second;
    bench_init(&b);
    b.world.transient_failures = 6;
    cr_expect_eq(run(&b, "stumbling", "k", &first), ERR_UNAVAILABLE);
    cr_expect_eq(b.world.undos, 1);
    cr_expect_eq(run(&b, "stumbling", "k", &second), ERR_NONE);
    cr_expect_str_neq(first.id, second.id);
}
