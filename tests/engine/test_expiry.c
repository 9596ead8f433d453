/* Clone leases on a simulated storage: what is over goes, what is not stays, nothing is orphaned.
 */
#include "agent/engine/acts.h"
#include "agent/engine/expiry.h"
#include "agent/engine/guard.h"
#include "drivers/registry.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/memory_driver.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE "expiry-tests"
#define SECOND UINT64_C(1000000)
#define START UINT64_C(1767225600000000)

static const struct job_kind *const kinds[] = {&job_kind_snapshot, &job_kind_clone,
                                               &job_kind_clone_drop, &job_kind_clone_extend,
                                               &job_kind_backup};

struct stage {
    char *dir;
    struct config_agent *config;
    struct world *world;
    struct engine *engine;
    struct expiry *expiry;
    uint64_t now_us;
    struct err err; /* of the last call on the lane */
};

static void stop_engine(struct stage *s)
{
    engine_free(TAKE(s->engine));
    expiry_free(TAKE(s->expiry));
}

static void stage_done(struct stage *s)
{
    IGNORE(driver_fault(0, ERR_NONE, false) < 0);
    stop_engine(s);
    world_close(s->world);
    config_agent_free(s->config);
    memory_store_reset(STORE);
    drive_dir_free(s->dir);
    clock_test_wall(0);
    clock_test_shift(0);
}
OWN_DEFINE_INPLACE(stage, struct stage, stage_done);

static void start_engine(struct stage *s)
{
    struct err err = {0};
    struct engine_options options = {.kinds = kinds,
                                     .kind_count = sizeof kinds / sizeof *kinds,
                                     .act_workers = 2,
                                     .world = s->world};
    struct drive_boot boot;
    s->engine = drive_open(s->dir, &options, &err);
    cr_assert(s->engine && drive_boot(s->engine, &boot, &err), "%s", err.text);
    s->expiry = expiry_new(s->engine, &err);
    cr_assert(s->expiry);
}

static void stage_begin(struct stage *s)
{
    static const char text[] = "[storage m]\ndriver = memory\nstore = " STORE "\n"
                               "[database ORCL]\nstorage = m\nvolume = v1\n";
    struct err err = {0};
    struct driver_handle handle;
    bool atomic;
    const char *volume = "v1";
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
    registry_add_for_tests(&driver_memory);
    memory_store_reset(STORE);
    s->dir = drive_dir();
    s->config = config_agent_parse(text, sizeof text - 1, "d.conf", &err);
    s->world = s->config ? world_open(s->config, &err) : NULL;
    cr_assert(s->world, "%s", err.text);
    struct driver_ref *d = world_driver(s->world, &s->config->databases[0]);
    cr_assert(driver_volume_create(d, volume, &err) &&
                  driver_snapshot_create(d, &volume, 1, "base", &handle, &atomic, &err),
              "%s", err.text);
    s->now_us = START;
    clock_test_wall(START);
    start_engine(s);
}

/* Time passes for everybody alike. */
static void pass(struct stage *s, uint64_t seconds)
{
    s->now_us += seconds * SECOND;
    clock_test_wall(s->now_us);
    clock_test_shift((int64_t)((s->now_us - START) / 1000));
}

static void count_running(struct engine *engine, void *arg)
{
    *(size_t *)arg = engine_running(engine);
}

static void settle(struct stage *s)
{
    size_t running = 1;
    for (int i = 0; running && i < 2000000; i++) {
        drive_call(s->engine, count_running, &running);
        sched_yield();
    }
    cr_assert(running == 0, "%zu jobs never end", running);
}

static void tick_on_lane(struct engine *engine, void *arg)
{
    struct stage *s = arg;
    s->err = (struct err){0};
    cr_assert(guard_tick(engine_catalog(engine), &s->err), "%s", s->err.text);
    if (!expiry_tick(s->expiry, &s->err))
        cr_assert(s->err.code != ERR_NONE);
}

static void tick(struct stage *s)
{
    drive_call(s->engine, tick_on_lane, s);
    settle(s);
}

static bool job(struct stage *s, const char *kind, json_t *args, struct err *err)
{
    struct catalog_job row = {.database = "ORCL", .owner = "test"};
    struct catalog_job end;
    bool ok = drive_wait(drive_start(s->engine, kind, &row, args, err), &end, err);
    json_decref(args);
    return ok;
}

static struct catalog_clone clone_row(struct stage *s, const char *name, uint64_t lease_s)
{
    struct catalog_clone row = {.database = "ORCL",
                                .snapshot = "base",
                                .owner = "me",
                                .created_us = s->now_us,
                                .expires_us = s->now_us + lease_s * SECOND};
    cr_assert(str_copy(row.name, sizeof row.name, name));
    return row;
}

static bool make(struct stage *s, const char *name, uint64_t lease_s, struct err *err)
{
    struct catalog_clone row = clone_row(s, name, lease_s);
    return job(s, "clone", clone_args(&row, NULL, NULL, err), err);
}

struct asked {
    const char *name;
    struct catalog_clone row;
    bool found;
};

static void get_on_lane(struct engine *engine, void *arg)
{
    struct err err = {0};
    struct asked *a = arg;
    a->found = catalog_clone_get(engine_catalog(engine), "ORCL", a->name, &a->row, &err);
}

static bool extend(struct stage *s, const char *name, uint64_t lease_s, struct err *err)
{
    struct asked a = {.name = name};
    drive_call(s->engine, get_on_lane, &a);
    if (!a.found)
        a.row = clone_row(s, name, lease_s);
    uint64_t until_us = s->now_us + lease_s * SECOND;
    return job(s, "clone-extend", clone_extend_args(&a.row, until_us, err), err);
}

struct listing {
    struct catalog_clone *rows;
    size_t count;
};

static void list_on_lane(struct engine *engine, void *arg)
{
    struct err err = {0};
    struct listing *l = arg;
    l->rows = catalog_clone_list(engine_catalog(engine), "ORCL", &l->count, &err);
}

static bool on_storage(struct stage *s, const char *name)
{
    struct err err = {0};
    size_t count;
    AUTO(mem)
    struct driver_clone_info *list =
        driver_clone_list(world_driver(s->world, &s->config->databases[0]), "v1", &count, &err);
    cr_assert(list, "%s", err.text);
    for (size_t i = 0; i < count; i++)
        if (str_equal(list[i].name, name))
            return true;
    return false;
}

static size_t stored(struct stage *s)
{
    struct err err = {0};
    size_t count;
    AUTO(mem)
    struct driver_clone_info *list =
        driver_clone_list(world_driver(s->world, &s->config->databases[0]), "v1", &count, &err);
    cr_assert(list, "%s", err.text);
    return count;
}

/* Catalog and storage name the same clones, and the label on the storage says the same end. */
static void agree(struct stage *s, const char *when)
{
    struct listing l;
    struct err err = {0};
    drive_call(s->engine, list_on_lane, &l);
    cr_assert(l.rows);
    cr_assert(l.count == stored(s), "%s: %zu clones known, %zu there", when, l.count, stored(s));
    for (size_t i = 0; i < l.count; i++) {
        AUTO(mem)
        char *note = driver_note_get(world_driver(s->world, &s->config->databases[0]), "v1", NULL,
                                     l.rows[i].name, &err);
        AUTO(json) json_t *doc = note ? json_parse(note, strlen(note), &err) : NULL;
        cr_assert(doc, "%s: clone '%s': %s", when, l.rows[i].name, err.text);
        cr_assert(json_u64(doc, "expires_us") == l.rows[i].expires_us, "%s: '%s' has two ends",
                  when, l.rows[i].name);
    }
    own_free(l.rows);
}

Test(expiry, a_clone_goes_when_its_time_has_come_and_not_before)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    stage_begin(&s);
    cr_assert(make(&s, "one", 60, &err) && make(&s, "two", 120, &err), "%s", err.text);
    pass(&s, 59);
    tick(&s);
    cr_expect(on_storage(&s, "one"));
    pass(&s, 1);
    tick(&s);
    cr_expect_not(on_storage(&s, "one"));
    cr_expect(on_storage(&s, "two"));
    cr_assert(extend(&s, "two", 600, &err), "%s", err.text);
    pass(&s, 599);
    tick(&s);
    cr_expect(on_storage(&s, "two"));
    agree(&s, "at the end");
}

Test(expiry, a_clone_in_use_is_told_and_dropped_later)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    stage_begin(&s);
    cr_assert(make(&s, "busy", 60, &err), "%s", err.text);
    pass(&s, 60);
    IGNORE(driver_fault(1, ERR_PRECONDITION, false) < 0);
    tick(&s);
    cr_expect(on_storage(&s, "busy"));
    cr_expect(strstr(expiry_trouble(s.expiry, "ORCL", "busy"), "fault set by a test"));
    IGNORE(driver_fault(0, ERR_NONE, false) < 0);
    pass(&s, 59);
    tick(&s);
    cr_expect(on_storage(&s, "busy"), "it is not tried at every tick");
    pass(&s, 1);
    tick(&s);
    cr_expect_not(on_storage(&s, "busy"));
    cr_expect_str_eq(expiry_trouble(s.expiry, "ORCL", "busy"), "");
}

static void confirm_on_lane(struct engine *engine, void *arg)
{
    struct stage *s = arg;
    cr_assert(guard_confirm(engine_catalog(engine), &s->err), "%s", s->err.text);
}

Test(expiry, a_clock_that_jumps_drops_nothing_until_it_is_confirmed_or_comes_back)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    uint64_t leap = UINT64_C(365) * 86400;
    stage_begin(&s);
    cr_assert(make(&s, "week", 7 * 86400, &err), "%s", err.text);
    tick(&s);
    clock_test_wall(START + leap * SECOND);
    tick(&s);
    cr_expect(on_storage(&s, "week"));
    cr_expect(strstr(expiry_trouble(s.expiry, "ORCL", "week"), "the clock jumped forward"));
    clock_test_shift(4 * 3600 * 1000);
    clock_test_wall(START + (leap + UINT64_C(4) * 3600) * SECOND);
    stop_engine(&s); /* neither hours nor a restart make it right */
    start_engine(&s);
    tick(&s);
    cr_expect(on_storage(&s, "week"));
    clock_test_wall(START + UINT64_C(4) * 3600 * SECOND);
    tick(&s);
    cr_expect(on_storage(&s, "week"), "it came back, and the week is not over");
    cr_expect_str_eq(expiry_trouble(s.expiry, "ORCL", "week"), "");
    clock_test_wall(START + leap * SECOND);
    drive_call(s.engine, confirm_on_lane, &s);
    tick(&s);
    cr_expect_not(on_storage(&s, "week"));
}

Test(expiry, extending_a_clone_that_is_gone_brings_no_row_back)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    stage_begin(&s);
    cr_expect_not(extend(&s, "ghost", 60, &err));
    agree(&s, "after it");
}

/* Many clones, random leases, extensions, failing calls and restarts of the agent. */
Test(expiry, many_clones_with_failing_calls_leave_no_orphan)
{
    const char *given = getenv("EVERCOPY_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)clock_wall_us();
    unsigned shown = seed;
    int clones = getenv("EVERCOPY_LONG") ? 1000 : 120;
    char name[40], when[80];
    AUTO(stage) struct stage s = {0};
    stage_begin(&s);
    for (int i = 0; i < clones; i++) {
        struct err err = {0};
        str_format(name, sizeof name, "c%d", i);
        str_format(when, sizeof when, "seed %u, clone %d", shown, i);
        if (rand_r(&seed) % 3 == 0)
            IGNORE(driver_fault(1 + rand_r(&seed) % 6, ERR_IO, rand_r(&seed) % 2) < 0);
        IGNORE(!make(&s, name, 1 + (uint64_t)rand_r(&seed) % 7200, &err));
        if (rand_r(&seed) % 4 == 0) {
            str_format(name, sizeof name, "c%d", rand_r(&seed) % (i + 1));
            IGNORE(!extend(&s, name, 7200, &err));
        }
        pass(&s, (uint64_t)rand_r(&seed) % 300);
        tick(&s);
        IGNORE(driver_fault(0, ERR_NONE, false) < 0);
        if (rand_r(&seed) % 10 == 0) {
            stop_engine(&s);
            start_engine(&s);
        }
        agree(&s, when);
    }
    for (int i = 0; i < 8; i++) {
        pass(&s, 1800);
        tick(&s);
    }
    agree(&s, when);
    cr_expect_eq(stored(&s), 0, "seed %u: %zu clones are left", shown, stored(&s));
}
