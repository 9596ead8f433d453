/* Runs that should have come: what is told, when, how often, and what it is called. */
#include "agent/engine/acts.h"
#include "agent/engine/overdue.h"
#include "drivers/registry.h"
#include "tests/lib/catalog_dir.h"
#include "tests/lib/memory_driver.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define STORE "overdue-tests"
#define HOUR UINT64_C(3600000000)
#define START UINT64_C(1767225600000000)

struct stage {
    struct catalog_dir dir;
    struct config_agent *config;
    struct world *world;
};

static void stage_done(struct stage *s)
{
    world_close(s->world);
    config_agent_free(s->config);
    catalog_dir_done(&s->dir);
    memory_store_reset(STORE);
    clock_test_wall(0);
}
OWN_DEFINE_INPLACE(stage, struct stage, stage_done);

static void stage_begin(struct stage *s)
{
    static const char text[] =
        "[agent]\noverduewarning = 30\n[storage m]\ndriver = memory\nstore = " STORE "\n"
        "[database ORCL]\nstorage = m\n[database SLOW]\nstorage = m\noverduewarning = 200\n";
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
    clock_test_wall(START);
}

static void register_database(struct stage *s, const char *name)
{
    struct err err = {0};
    struct catalog_database db = {
        .dbid = 1, .db_name = "X", .storage = "m", .registered_us = START};
    cr_assert(str_copy(db.name, sizeof db.name, name));
    cr_assert(catalog_database_put(s->dir.catalog, &db, &err));
}

#define STAGE(s)                                                                                   \
    AUTO(stage) struct stage s = {0};                                                              \
    stage_begin(&s);                                                                               \
    register_database(&s, "ORCL")

static char *run_begins(struct stage *s, uint64_t at_us)
{
    static struct catalog_job job;
    struct err err = {0};
    clock_test_wall(at_us);
    job = (struct catalog_job){.kind = "backup", .database = "ORCL", .started_us = at_us};
    catalog_job_id("backup", job.id);
    cr_assert(catalog_job_add(s->dir.catalog, &job, "{}", &err), "%s", err.text);
    return job.id;
}

static void run_ends(struct stage *s, const char *id, uint64_t at_us, bool good)
{
    struct err err = {0};
    clock_test_wall(at_us);
    cr_assert(catalog_job_finish(s->dir.catalog, id, good ? JOB_DONE : JOB_FAILED, good ? 1 : 3,
                                 good ? "" : "merge: ORA-27072", "", &err));
}

static void is(struct stage *s, const char *database, uint64_t at_us, enum overdue_level level,
               const char *cause)
{
    struct err err = {0};
    struct overdue o;
    clock_test_wall(at_us);
    const struct config_served *db = world_database(s->world, database, &err);
    cr_assert(db && overdue_judge(s->dir.catalog, db, &o, &err), "%s", err.text);
    cr_expect_eq(o.level, level, "level %d: %s", (int)o.level, o.cause);
    cr_expect(strstr(o.cause, cause), "'%s' is not in '%s'", cause, o.cause);
}

static size_t alarms(struct stage *s, uint64_t at_us)
{
    struct err err = {0};
    size_t count;
    clock_test_wall(at_us);
    cr_assert(overdue_tick(s->dir.catalog, s->world, &count, &err), "%s", err.text);
    return count;
}

Test(overdue, a_database_that_was_never_backed_up_is_told_by_its_own_hours)
{
    STAGE(s);
    register_database(&s, "SLOW");
    is(&s, "ORCL", START + 29 * HOUR, OVERDUE_NOT, "");
    is(&s, "ORCL", START + 30 * HOUR, OVERDUE_WARNING, "never triggered: set up 30 hours ago");
    is(&s, "ORCL", START + 48 * HOUR, OVERDUE_FAILED, "never triggered");
    is(&s, "SLOW", START + 199 * HOUR, OVERDUE_NOT, "");
    is(&s, "SLOW", START + 200 * HOUR, OVERDUE_FAILED, "never triggered");
}

Test(overdue, never_triggered_and_triggered_and_failed_are_told_apart)
{
    STAGE(s);
    run_ends(&s, run_begins(&s, START + HOUR), START + 2 * HOUR, true);
    is(&s, "ORCL", START + 31 * HOUR, OVERDUE_NOT, "");
    is(&s, "ORCL", START + 33 * HOUR, OVERDUE_WARNING,
       "not triggered: the last run began 32 hours ago, one is expected every 30");
    run_ends(&s, run_begins(&s, START + 25 * HOUR), START + 26 * HOUR, false);
    run_ends(&s, run_begins(&s, START + 49 * HOUR), START + 50 * HOUR, false);
    is(&s, "ORCL", START + 51 * HOUR, OVERDUE_FAILED,
       "triggered, but no run ended well for 49 hours: 2 failed, last: merge: ORA-27072");
    run_ends(&s, run_begins(&s, START + 52 * HOUR), START + 53 * HOUR, true);
    is(&s, "ORCL", START + 53 * HOUR, OVERDUE_NOT, "");
}

Test(overdue, however_many_runs_failed_since_the_last_good_one_is_remembered)
{
    STAGE(s);
    clock_test_wall(START + 900 * HOUR);
    run_ends(&s, run_begins(&s, START + 900 * HOUR), START + 901 * HOUR, true);
    for (uint64_t i = 0; i < 60; i++) /* each quarter of an hour */
        run_ends(&s, run_begins(&s, START + 901 * HOUR + i * HOUR / 4),
                 START + 901 * HOUR + i * HOUR / 4 + 1, false);
    is(&s, "ORCL", START + 920 * HOUR, OVERDUE_NOT, "");
    is(&s, "ORCL", START + 932 * HOUR, OVERDUE_WARNING, "ended well for 31 hours");
}

Test(overdue, a_run_far_longer_than_those_before_is_told)
{
    STAGE(s);
    run_ends(&s, run_begins(&s, START + HOUR), START + 2 * HOUR, true);
    run_begins(&s, START + 20 * HOUR);
    is(&s, "ORCL", START + 22 * HOUR, OVERDUE_NOT, "");
    is(&s, "ORCL", START + 23 * HOUR, OVERDUE_WARNING, "has been on for 180 minutes");
}

Test(overdue, a_clock_set_back_makes_nothing_overdue)
{
    STAGE(s);
    run_ends(&s, run_begins(&s, START + 100 * HOUR), START + 101 * HOUR, true);
    is(&s, "ORCL", START, OVERDUE_NOT, "");
}

Test(overdue, each_level_is_told_once_also_over_a_restart)
{
    STAGE(s);
    cr_expect_eq(alarms(&s, START + 10 * HOUR), 0);
    cr_expect_eq(alarms(&s, START + 30 * HOUR), 1);
    cr_expect_eq(alarms(&s, START + 31 * HOUR), 0);
    catalog_dir_reopen(&s.dir);
    cr_expect_eq(alarms(&s, START + 32 * HOUR), 0);
    cr_expect_eq(alarms(&s, START + 48 * HOUR), 1);
    run_ends(&s, run_begins(&s, START + 49 * HOUR), START + 50 * HOUR, true);
    cr_expect_eq(alarms(&s, START + 50 * HOUR), 0);
    cr_expect_eq(alarms(&s, START + 90 * HOUR), 1);
}
