/* A storage that is away: the agent starts, its databases say so, and what was begun waits for it.
 */
#include "agent/engine/acts.h"
#include "drivers/registry.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/memory_driver.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define STORE "away-tests"

static const struct job_kind *const kinds[] = {&job_kind_snapshot, &job_kind_clone,
                                               &job_kind_clone_drop};

struct stage {
    char *dir;
    struct config_agent *config;
    struct world *world;
    struct engine *engine;
};

static void stop(struct stage *s)
{
    engine_free(TAKE(s->engine));
    world_close(TAKE(s->world));
}

static void stage_done(struct stage *s)
{
    IGNORE(driver_fault(0, ERR_NONE, false) < 0);
    stop(s);
    config_agent_free(s->config);
    memory_store_reset(STORE);
    drive_dir_free(s->dir);
}
OWN_DEFINE_INPLACE(stage, struct stage, stage_done);

static void start(struct stage *s)
{
    struct err err = {0};
    s->world = world_open(s->config, &err);
    cr_assert(s->world, "%s", err.text);
    struct engine_options options = {.kinds = kinds,
                                     .kind_count = sizeof kinds / sizeof *kinds,
                                     .act_workers = 1,
                                     .world = s->world};
    s->engine = drive_open(s->dir, &options, &err);
    cr_assert(s->engine, "%s", err.text);
}

static void stage_begin(struct stage *s)
{
    static const char text[] = "[storage m]\ndriver = memory\nstore = " STORE "\n"
                               "[database ORCL]\nstorage = m\nvolume = v1\n";
    struct err err = {0};
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
    registry_add_for_tests(&driver_memory);
    memory_store_reset(STORE);
    s->dir = drive_dir();
    s->config = config_agent_parse(text, sizeof text - 1, "d.conf", &err);
    cr_assert(s->config, "%s", err.text);
}

static const struct config_served *db(struct stage *s) { return &s->config->databases[0]; }

static bool comes_back(struct stage *s)
{
    for (int i = 0; i < 500 && world_is_away(s->world, db(s)); i++) {
        world_retry(s->world);
        poll(NULL, 0, 10);
    }
    return !world_is_away(s->world, db(s));
}

Test(away, the_agent_starts_and_calls_say_why_until_the_storage_is_back)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    struct driver_volume_info info;
    stage_begin(&s);
    IGNORE(driver_fault(1, ERR_IO, false) < 0);
    start(&s);
    cr_assert(world_is_away(s.world, db(&s)));
    struct driver_ref *d = world_driver(s.world, db(&s));
    cr_expect_not(driver_volume_info(d, "v1", &info, &err));
    cr_expect_eq(err.code, ERR_UNAVAILABLE);
    cr_expect(strstr(err.text, "the storage is away: ") && strstr(err.text, "fault set by a test"),
              "%s", err.text);
    IGNORE(driver_fault(0, ERR_NONE, false) < 0);
    cr_assert(comes_back(&s));
    err_clear(&err);
    cr_expect(driver_volume_create(d, "v1", &err), "%s", err.text);
}

Test(away, a_wrong_configuration_is_no_storage_that_is_away)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    stage_begin(&s);
    IGNORE(driver_fault(1, ERR_CONFIG, false) < 0);
    cr_expect_null(world_open(s.config, &err));
    cr_expect(strstr(err.text, "storage 'm'"), "%s", err.text);
}

static void put_job(const char *dir)
{
    char path[4200];
    struct err err = {0};
    struct catalog_job job = {.kind = "snapshot", .database = "ORCL", .owner = "test"};
    AUTO(json) json_t *args = snapshot_args("ORCL", "snap", "manual", "", 7, &err);
    AUTO(mem) char *text = json_format(args, &err);
    catalog_job_id("snapshot", job.id);
    cr_assert(str_format(path, sizeof path, "%s/catalog.db", dir));
    AUTO(catalog) struct catalog *c = catalog_open(path, &err);
    cr_assert(c && catalog_job_add(c, &job, text, &err), "%s", err.text);
}

struct seen {
    const struct catalog_job *recovering;
    size_t finished;
    _Atomic bool booted;
};

static void booted(void *arg, size_t finished, size_t swept, const struct err *err)
{
    struct seen *seen = arg;
    (void)swept;
    (void)err;
    seen->finished = finished;
    seen->booted = true;
}

static void boot(struct engine *engine, void *arg)
{
    struct seen *seen = arg;
    engine_boot(engine, booted, seen);
    seen->recovering = engine_recovering(engine, "ORCL");
    cr_expect_null(engine_recovering(engine, "OTHER"));
}

static void look(struct engine *engine, void *arg)
{
    *(bool *)arg = engine_recovering(engine, "ORCL") != NULL;
}

Test(away, a_job_of_before_waits_for_its_storage_and_bars_its_own_database_alone)
{
    AUTO(stage) struct stage s = {0};
    struct err err = {0};
    struct seen seen = {0};
    bool recovering = false;
    stage_begin(&s);
    start(&s);
    cr_assert(driver_volume_create(world_driver(s.world, db(&s)), "v1", &err));
    stop(&s);
    put_job(s.dir);
    IGNORE(driver_fault(1, ERR_IO, false) < 0);
    start(&s);
    IGNORE(driver_fault(0, ERR_NONE, false) < 0);
    cr_assert(world_is_away(s.world, db(&s)));
    drive_call(s.engine, boot, &seen);
    cr_expect_not_null(seen.recovering);
    cr_expect_not(seen.booted);
    cr_assert(comes_back(&s));
    for (int i = 0; i < 1500 && !seen.booted; i++)
        poll(NULL, 0, 10);
    cr_assert(seen.booted);
    cr_expect_eq(seen.finished, 1);
    drive_call(s.engine, look, &recovering);
    cr_expect_not(recovering);
}
