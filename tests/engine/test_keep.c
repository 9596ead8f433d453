/* Holds, locks and the retention job over the memory driver: what stops it, and what it leaves. */
#include "tests/lib/keep_world.h"
#include "tests/lib/memory_driver.h"
#include "tests/lib/nfs_liar.h"
#include <criterion/criterion.h>

struct place {
    char *dir;
    struct kw k;
    struct engine *engine;
};

static void begin(struct place *p)
{
    struct err err = {0};
    registry_add_for_tests(&driver_memory);
    memory_store_reset("keep");
    p->dir = drive_dir();
    cr_assert(kw_begin(&p->k, "driver = memory\nstore = keep", &err), "%s", err.text);
    cr_assert(kw_fill(&p->k, p->dir, &err), "%s", err.text);
    cr_assert(p->engine = drive_open(p->dir, &p->k.options, &err), "%s", err.text);
}

static void end(struct place *p)
{
    engine_free(p->engine);
    kw_done(&p->k);
    drive_dir_free(p->dir);
    memory_store_reset("keep");
    clock_test_wall(0);
    clock_test_shift(0);
    clock_test_boot_id(NULL);
}

static json_t *plan(struct place *p)
{
    struct err err = {0};
    json_t *args = kw_args(p->engine, &p->k, SIZE_MAX, NULL, &err);
    cr_assert(args, "%s", err.text);
    return args;
}

static struct catalog_job apply(struct place *p, json_t *args)
{
    struct err err = {0};
    struct catalog_job row;
    cr_assert(kw_job(p->engine, "retention", args, &row, &err), "%s", err.text);
    return row;
}

static void mark(struct place *p, json_t *args)
{
    struct err err = {0};
    struct catalog_job row;
    cr_assert(kw_job(p->engine, "mark", args, &row, &err), "%s", err.text);
}

static size_t listed(const struct place *p)
{
    size_t count = 0;
    for (size_t i = 0; i < KW_SNAPSHOTS; i++)
        count += kw_listed(&p->k, i);
    return count;
}

Test(keep, what_the_plan_lets_go_goes_and_the_catalog_agrees)
{
    struct place p = {0};
    struct err err = {0};
    size_t going;
    begin(&p);
    cr_expect_eq(apply(&p, plan(&p)).verdict, 1);
    cr_expect_eq(listed(&p), 2);
    cr_expect(kw_listed(&p.k, 0) && kw_listed(&p.k, KW_SNAPSHOTS - 1));
    json_decref(kw_args(p.engine, &p.k, SIZE_MAX, &going, &err));
    cr_expect_eq(going, 0);
    end(&p);
}

Test(keep, a_plan_that_changed_before_its_first_deletion_deletes_nothing)
{
    struct place p = {0};
    struct err err = {0};
    begin(&p);
    json_t *old = plan(&p);
    mark(&p, kw_hold(3, "found something", 0, &err));
    struct catalog_job row = apply(&p, old);
    cr_expect_eq(row.verdict, 2);
    cr_expect(strstr(row.cause, "stopped after 0 of 4") && strstr(row.cause, "preview again"), "%s",
              row.cause);
    cr_expect_eq(listed(&p), KW_SNAPSHOTS);
    end(&p);
}

Test(keep, a_hold_that_only_the_snapshot_itself_knows_still_holds)
{
    struct place p = {0};
    struct err err = {0};
    char name[64];
    begin(&p);
    kw_name(2, name);
    cr_assert(driver_note_put(
        kw_driver(&p.k), "v1", name, NULL,
        "{\"holds\":[{\"id\":\"x\",\"owner\":\"eve\",\"reason\":\"why not\"}]}", &err));
    struct catalog_job row = apply(&p, plan(&p));
    cr_expect(strstr(row.cause, "stopped after 1 of 4") && strstr(row.cause, "held by eve"), "%s",
              row.cause);
    cr_expect(kw_listed(&p.k, 2));
    end(&p);
}

Test(keep, a_storage_that_fails_half_way_leaves_a_catalog_that_says_so)
{
    struct place p = {0};
    struct err err = {0};
    size_t going;
    begin(&p);
    json_t *args = plan(&p);
    IGNORE(driver_fault(5, ERR_IO, false) < 0);
    struct catalog_job row = apply(&p, args);
    IGNORE(driver_fault(0, ERR_NONE, false) < 0);
    cr_expect_eq(row.verdict, 2, "%s", row.cause);
    size_t left = listed(&p);
    cr_expect(left > 2 && left < KW_SNAPSHOTS, "%zu", left);
    json_decref(kw_args(p.engine, &p.k, SIZE_MAX, &going, &err));
    cr_expect_eq(going, left - 2);
    apply(&p, plan(&p));
    cr_expect_eq(listed(&p), 2);
    end(&p);
}

Test(keep, a_busy_storage_is_asked_again)
{
    struct place p = {0};
    begin(&p);
    json_t *args = plan(&p);
    IGNORE(driver_fault(3, ERR_BUSY, false) < 0);
    cr_expect_eq(apply(&p, args).verdict, 1);
    IGNORE(driver_fault(0, ERR_NONE, false) < 0);
    cr_expect_eq(listed(&p), 2);
    end(&p);
}

Test(keep, one_that_serves_nothing_kept_may_be_deleted_by_hand_and_the_floor_may_not)
{
    struct place p = {0};
    struct err err = {0};
    begin(&p);
    cr_expect_not(kw_args(p.engine, &p.k, 0, NULL, &err));
    cr_expect(err.code == ERR_PRECONDITION && strstr(err.text, "the floor"), "%s", err.text);
    apply(&p, kw_args(p.engine, &p.k, 3, NULL, &err));
    cr_expect(!kw_listed(&p.k, 3) && listed(&p) == KW_SNAPSHOTS - 1);
    end(&p);
}

/* ---- the clock ---- */

static void tick(struct engine *engine, void *arg)
{
    struct err *err = arg;
    cr_assert(guard_tick(engine_catalog(engine), err) && marks_tick(engine_catalog(engine), err));
}

static void check_clock(struct engine *engine, void *arg)
{
    IGNORE(!guard_check(engine_catalog(engine), arg)); /* told by err */
}

static void confirm(struct engine *engine, void *arg)
{
    cr_assert(guard_confirm(engine_catalog(engine), arg));
}

static struct err clock_says(struct place *p)
{
    struct err err = {0};
    drive_call(p->engine, check_clock, &err);
    return err;
}

Test(keep, a_clock_that_leaps_stops_retention_until_it_is_confirmed_or_comes_back)
{
    struct place p = {0};
    struct err err = {0};
    begin(&p);
    uint64_t wall = clock_wall_us();
    clock_test_wall(wall);
    drive_call(p.engine, tick, &err);
    clock_test_wall(wall - 3600 * UINT64_C(1000000));
    json_t *args = plan(&p);
    struct catalog_job row = apply(&p, args);
    cr_expect(strstr(row.cause, "went backward by 3"), "%s", row.cause);
    cr_expect_eq(listed(&p), KW_SNAPSHOTS);
    drive_call(p.engine, tick, &err); /* moves nothing */
    cr_expect_eq(clock_says(&p).code, ERR_PRECONDITION);
    clock_test_wall(wall);
    cr_expect_eq(clock_says(&p).code, ERR_NONE);
    clock_test_wall(wall + 7200 * UINT64_C(1000000));
    drive_call(p.engine, tick, &err);
    cr_expect(strstr(clock_says(&p).text, "jumped forward by 120 min"), "%s", clock_says(&p).text);
    clock_test_shift(7200 * 1000); /* the running time explains it */
    cr_expect_eq(clock_says(&p).code, ERR_NONE);
    clock_test_shift(0);
    drive_call(p.engine, confirm, &err);
    cr_expect_eq(clock_says(&p).code, ERR_NONE);
    end(&p);
}

Test(keep, many_small_leaps_add_up)
{
    struct place p = {0};
    struct err err = {0};
    begin(&p);
    uint64_t wall = clock_wall_us();
    for (uint64_t leap = 0; leap <= 4; leap++) {
        clock_test_wall(wall + leap * 1200 * UINT64_C(1000000));
        drive_call(p.engine, tick, &err);
    }
    cr_expect_eq(clock_says(&p).code, ERR_PRECONDITION);
    end(&p);
}

Test(keep, a_box_that_was_off_for_long_is_asked_about)
{
    static const struct {
        int64_t wall_s; /* since the last word of the earlier boot */
        uint64_t up_s;  /* of this boot */
        enum err_code code;
    } cases[] = {
        {300, 60, ERR_NONE},
        {-30, 60, ERR_NONE},
        {-3600, 60, ERR_PRECONDITION},
        {7200, 60, ERR_PRECONDITION},
        {7200, 6000, ERR_NONE},
        {30 * 86400, 60, ERR_PRECONDITION},
        {30 * 86400, 30 * 86400, ERR_NONE},
    };
    struct guard_mark last = {.wall_us = 1000000000000000u, .boot_ms = 5000, .boot_id = "a"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        struct guard_mark now = {.boot_ms = cases[i].up_s * 1000, .boot_id = "b"};
        now.wall_us = last.wall_us + (uint64_t)(cases[i].wall_s * 1000000);
        IGNORE(!guard_judge(&last, last.wall_us, &now, &err)); /* told by err */
        cr_expect_eq(err.code, cases[i].code, "case %zu: %s", i, err.text);
    }
}

/* ---- locks ---- */

Test(keep, a_lock_counts_running_time_and_setting_the_clock_shortens_nothing)
{
    struct place p = {0};
    struct err err = {0};
    begin(&p);
    clock_test_boot_id("first");
    mark(&p, kw_lock(3, 3600000, false, &err));
    clock_test_wall(clock_wall_us() + 365 * UINT64_C(86400000000));
    cr_expect_not(kw_args(p.engine, &p.k, 3, NULL, &err));
    cr_expect(strstr(err.text, "locked by the agent"), "%s", err.text);
    clock_test_shift(1800 * 1000);
    drive_call(p.engine, tick, &err); /* half of it is over, and kept so */
    clock_test_boot_id("second");     /* the box was off for who knows how long */
    clock_test_shift(-1000000);
    drive_call(p.engine, tick, &err);
    clock_test_shift(-1000000 + 1700 * 1000);
    cr_expect_not(kw_args(p.engine, &p.k, 3, NULL, &err));
    clock_test_shift(-1000000 + 1801 * 1000);
    drive_call(p.engine, tick, &err);
    json_t *args = kw_args(p.engine, &p.k, 3, NULL, &err);
    cr_expect(args);
    json_decref(args);
    end(&p);
}

Test(keep, a_storage_that_locks_is_asked_to_and_the_note_says_which)
{
    struct place p = {0};
    struct err err = {0};
    char name[64];
    begin(&p);
    kw_name(3, name);
    mark(&p, kw_lock(3, 3600000, true, &err));
    AUTO(mem) char *note = driver_note_get(kw_driver(&p.k), "v1", name, NULL, &err);
    cr_expect(note && strstr(note, "\"by_storage\":true"));
    struct driver_handle handle;
    cr_expect_not(driver_snapshot_delete(kw_driver(&p.k), "v1", name, &handle, &err));
    mark(&p, kw_lock(3, 1000, false, &err)); /* never shorter in the note */
    AUTO(mem) char *again = driver_note_get(kw_driver(&p.k), "v1", name, NULL, &err);
    cr_expect_str_eq(again, note);
    end(&p);
}

Test(keep, a_hold_that_is_over_holds_no_more)
{
    struct place p = {0};
    struct err err = {0};
    begin(&p);
    mark(&p, kw_hold(3, "a while", clock_wall_us() + 3600 * UINT64_C(1000000), &err));
    cr_expect_not(kw_args(p.engine, &p.k, 3, NULL, &err));
    cr_expect(strstr(err.text, "held by sam: a while"), "%s", err.text);
    clock_test_wall(clock_wall_us() + 3601 * UINT64_C(1000000));
    apply(&p, kw_args(p.engine, &p.k, 3, NULL, &err));
    cr_expect(!kw_listed(&p.k, 3));
    end(&p);
}

/* ---- snapshots by hand beside runs ---- */

static void lease_on_lane(struct engine *engine, void *arg)
{
    struct err err = {0};
    struct catalog_job job = {.kind = "backup", .database = "ORCL"};
    struct catalog_lease lease = {.database = "ORCL", .kind = "backup", .left_ms = 60000};
    bool *ends = arg;
    catalog_job_id("backup", job.id);
    IGNORE(!str_copy(lease.job, sizeof lease.job, job.id));
    cr_assert(catalog_job_add(engine_catalog(engine), &job, "{}", &err), "%s", err.text);
    if (*ends)
        cr_assert(catalog_job_finish(engine_catalog(engine), job.id, JOB_DONE, 1, "", "", &err));
    else
        cr_assert(catalog_lease_take(engine_catalog(engine), &lease, NULL, &err), "%s", err.text);
}

static bool by_hand(struct place *p, const char *name, const char *run_before, struct err *err)
{
    struct catalog_job row;
    json_t *args = snapshot_args("ORCL", name, "manual", "r5", PW_DBID, err);
    cr_assert(args && (!run_before || json_put_text(args, "run_before", run_before, err)));
    return kw_job(p->engine, "snapshot", args, &row, err);
}

static bool is_there(const struct place *p, const char *name)
{
    struct err err = {0};
    AUTO(area) struct area *area = driver_area(kw_driver(&p->k), "v1", name, NULL, &err);
    return area != NULL;
}

Test(keep, a_snapshot_by_hand_that_a_run_overtook_is_not_taken)
{
    struct place p = {0};
    struct err err = {0};
    bool ends = false;
    begin(&p);
    drive_call(p.engine, lease_on_lane, &ends);
    cr_expect_not(by_hand(&p, "byhand", NULL, &err));
    cr_expect(strstr(err.text, "a backup run came meanwhile"), "%s", err.text);
    cr_expect_not(is_there(&p, "byhand"));
    end(&p);
}

/* Hooks may hold a snapshot up for minutes, and so may a storage that takes it. */
Test(keep, a_snapshot_by_hand_that_a_whole_run_passed_by_is_not_kept)
{
    struct place p = {0};
    struct err err = {0};
    bool ends = true;
    begin(&p);
    cr_assert(by_hand(&p, "before", NULL, &err), "without a run it is taken: %s", err.text);
    drive_call(p.engine, lease_on_lane, &ends);
    cr_expect_not(by_hand(&p, "byhand", "none", &err));
    cr_expect_not(is_there(&p, "byhand"));
    cr_expect(strstr(err.text, "a backup run came meanwhile"), "%s", err.text);
    end(&p);
}

/* ---- others that never end ---- */

static void stuck_on_lane(struct engine *engine, void *arg)
{
    struct err err = {0};
    struct catalog_job job = {.id = "clone-stuck", .kind = "clone", .database = "ORCL"};
    (void)arg;
    cr_assert(catalog_job_add(engine_catalog(engine), &job, "{}", &err), "%s", err.text);
}

/* A job whose undoing failed stays as running until that goes well. */
Test(keep, a_job_that_never_ends_stops_retention_and_does_not_hold_it_for_good)
{
    struct place p = {0};
    struct err err = {0};
    struct catalog_job row = {.database = "ORCL"};
    begin(&p);
    json_t *args = plan(&p);
    drive_call(p.engine, stuck_on_lane, NULL);
    struct drive_job *job = drive_start(p.engine, "retention", &row, args, &err);
    json_decref(args);
    clock_test_shift(11 * 60 * 1000);
    cr_assert(drive_wait(job, &row, &err), "%s", err.text);
    cr_expect(strstr(row.cause, "clone-stuck has been at work"), "%s", row.cause);
    cr_expect_eq(listed(&p), KW_SNAPSHOTS);
    end(&p);
}

/* ---- what status says of it ---- */

struct trouble {
    char why[400];
    const char *note; /* NULL: only asked */
};

static void trouble_on_lane(struct engine *engine, void *arg)
{
    struct trouble *t = arg;
    struct err err = {0};
    struct catalog *c = engine_catalog(engine);
    cr_assert(!t->note || keep_note(c, "ORCL", clock_wall_us(), t->note, &err), "%s", err.text);
    cr_assert(keep_trouble(c, "ORCL", t->why, &err), "%s", err.text);
}

static const char *trouble(struct place *p, const char *note)
{
    static struct trouble t;
    t.note = note;
    drive_call(p->engine, trouble_on_lane, &t);
    return t.why;
}

static struct catalog_job apply_after_run(struct place *p, json_t *args)
{
    struct err err = {0};
    struct catalog_job row = {.database = "ORCL", .parent = "backup-1"};
    struct catalog_job end;
    IGNORE(!drive_wait(drive_start(p->engine, "retention", &row, args, &err), &end, &err));
    json_decref(args);
    return end;
}

Test(keep, what_came_of_automatic_retention_is_known_until_it_went_well)
{
    struct place p = {0};
    begin(&p);
    cr_expect_str_eq(trouble(&p, NULL), "");
    cr_expect_str_eq(trouble(&p, "the clock went backward"), "the clock went backward");
    json_t *good = plan(&p);
    json_t *old = json_deep_copy(good);
    IGNORE(json_object_set_new(old, "plan", json_string("0123456789abcdef")) != 0);
    IGNORE(apply(&p, old).verdict); /* by hand, and told to who asked */
    cr_expect_str_eq(trouble(&p, NULL), "the clock went backward");
    cr_expect_str_eq(trouble(&p, ""), "");
    old = json_deep_copy(good);
    IGNORE(json_object_set_new(old, "plan", json_string("0123456789abcdef")) != 0);
    cr_expect_eq(apply_after_run(&p, old).verdict, 2);
    cr_expect(strstr(trouble(&p, NULL), "the plan changed"));
    cr_expect_eq(apply(&p, good).verdict, 1);
    cr_expect_str_eq(trouble(&p, NULL), "");
    end(&p);
}

/* ---- a server that hangs while a snapshot is read ---- */

static bool somewhere(struct driver_instance *d, const char *volume, const char *snapshot,
                      const char *clone, char *ret, size_t size, struct err *err)
{
    (void)d, (void)snapshot, (void)clone, (void)err;
    return str_copy(ret, size, volume);
}

static void begin_distant(struct place *p, const struct nfs_liar *liar)
{
    static struct driver distant;
    struct err err = {0};
    char keys[300];
    distant = driver_memory;
    distant.name = "distant";
    distant.area_path = somewhere;
    registry_add_for_tests(&distant);
    memory_store_reset("keep");
    p->dir = drive_dir();
    IGNORE(!str_format(keys, sizeof keys, "driver = distant\nstore = keep\nreader = %s",
                       nfs_liar_url(liar)));
    cr_assert(kw_begin(&p->k, keys, &err), "%s", err.text);
    cr_assert(kw_fill(&p->k, p->dir, &err), "%s", err.text);
    cr_assert(p->engine = drive_open(p->dir, &p->k.options, &err), "%s", err.text);
}

struct reading {
    const char *id;
    struct catalog_job row;
};

static void look_on_lane(struct engine *engine, void *arg)
{
    struct reading *r = arg;
    struct err err = {0};
    cr_assert(catalog_job_get(engine_catalog(engine), r->id, &r->row, &err), "%s", err.text);
}

static void cancel_on_lane(struct engine *engine, void *arg)
{
    struct err err = {0};
    cr_assert(engine_cancel(engine, ((struct reading *)arg)->id, "sam", &err), "%s", err.text);
}

/* Started, and waited for until it reads. */
static struct drive_job *begin_reading(struct place *p, struct reading *r)
{
    struct err err = {0};
    struct catalog_job row = {.database = "ORCL", .id = "snapshot-1"};
    uint64_t end_ms = clock_mono_ms() + 20000;
    r->id = "snapshot-1";
    json_t *args = snapshot_args("ORCL", "far", "manual", "r5", PW_DBID, &err);
    struct drive_job *job = drive_start(p->engine, "snapshot", &row, args, &err);
    json_decref(args);
    do
        drive_call(p->engine, look_on_lane, r);
    while (!str_equal(r->row.step, "read") && clock_mono_ms() < end_ms);
    cr_assert_str_eq(r->row.step, "read");
    return job;
}

static bool lists(const struct place *p, const char *name)
{
    struct err err = {0};
    size_t count;
    bool found = false;
    AUTO(mem)
    struct driver_snapshot_info *list = driver_snapshot_list(kw_driver(&p->k), "v1", &count, &err);
    for (size_t i = 0; list && i < count; i++)
        found |= str_equal(list[i].name, name);
    return found;
}

Test(keep, a_cancelled_job_does_not_wait_for_a_server_that_hangs)
{
    struct place p = {0};
    struct err err = {0};
    struct reading r = {0};
    struct catalog_job end_row;
    AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(LIE_NEVER, 0, &err);
    cr_assert(liar, "%s", err.text);
    begin_distant(&p, liar);
    struct drive_job *job = begin_reading(&p, &r);
    uint64_t begun_ms = clock_mono_ms();
    drive_call(p.engine, cancel_on_lane, &r);
    cr_expect_not(drive_wait(job, &end_row, &err));
    cr_expect_lt(clock_mono_ms() - begun_ms, 5000);
    cr_expect_eq(err.code, ERR_CANCELLED);
    cr_expect(strstr(err.text, "cancelled by sam"), "%s", err.text);
    cr_expect_not(lists(&p, "far"));
    end(&p);
}

Test(keep, an_agent_that_stops_waits_for_no_server_and_gives_no_snapshot_up)
{
    struct place p = {0};
    struct err err = {0};
    struct reading r = {0};
    AUTO(nfs_liar) struct nfs_liar *liar = nfs_liar_new(LIE_NEVER, 0, &err);
    cr_assert(liar, "%s", err.text);
    begin_distant(&p, liar);
    struct drive_job *job = begin_reading(&p, &r);
    uint64_t begun_ms = clock_mono_ms();
    world_stop(p.k.world);
    engine_free(p.engine);
    cr_expect_lt(clock_mono_ms() - begun_ms, 5000);
    cr_expect_not(drive_wait(job, NULL, &err));
    cr_assert(p.engine = drive_open(p.dir, &p.k.options, &err), "%s", err.text);
    drive_call(p.engine, look_on_lane, &r);
    cr_expect_eq(r.row.state, JOB_RUNNING, "the next start goes on: %s", r.row.cause);
    cr_expect(lists(&p, "far"));
    end(&p);
}
