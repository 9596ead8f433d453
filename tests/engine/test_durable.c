/* The catalog follows a storage whose snapshots become safer after they were taken. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/engine/acts.h"
#include "agent/engine/durable.h"
#include "drivers/registry.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/memory_driver.h"
#include <criterion/criterion.h>
#include <string.h>

#define STORE "durable-tests"

struct stage {
    char *dir;
    struct config_agent *config;
    struct world *world;
    struct engine *engine;
    struct durable *durable;
    struct err err;
    bool ok;
    bool looking;
    int seen[2]; /* of snapshots a and b */
    uint64_t bad[2];
};

static void stage_done(struct stage *s)
{
    if (s->world)
        world_stop(s->world);
    engine_free(TAKE(s->engine));
    durable_free(s->durable);
    world_close(s->world);
    config_agent_free(s->config);
    memory_store_reset(STORE);
    drive_dir_free(s->dir);
    clock_test_shift(0);
}
OWN_DEFINE_INPLACE(stage, struct stage, stage_done);

static void record(struct engine *engine, void *arg)
{
    struct stage *s = arg;
    for (int i = 0; i < 2; i++) {
        struct catalog_snapshot row = {
            .database = "ORCL", .kind = "manual", .created_us = 1 + (uint64_t)i};
        IGNORE(str_format(row.name, sizeof row.name, "%c", 'a' + i));
        cr_assert(catalog_snapshot_put(engine_catalog(engine), &row, "{}", NULL, &s->err), "%s",
                  s->err.text);
    }
}

static void stage_begin(struct stage *s)
{
    static const char text[] = "[storage m]\ndriver = memory\nstore = " STORE "\n"
                               "[database ORCL]\nstorage = m\nvolume = v1\n";
    struct err err = {0};
    const char *volume = "v1";
    memory_store_reset(STORE);
    registry_add_for_tests(&driver_memory);
    s->config = config_agent_parse(text, strlen(text), "test.conf", &err);
    s->world = s->config ? world_open(s->config, &err) : NULL;
    cr_assert(s->world, "%s", err.text);
    struct driver_ref *d = world_driver(s->world, world_database(s->world, "ORCL", &err));
    cr_assert(driver_volume_create(d, volume, &err), "%s", err.text);
    for (int i = 0; i < 2; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        cr_assert(driver_snapshot_create(d, &volume, 1, name, NULL, NULL, &err), "%s", err.text);
    }
    s->dir = drive_dir();
    struct engine_options options = {.act_workers = 1, .world = s->world};
    struct drive_boot boot;
    s->engine = drive_open(s->dir, &options, &err);
    cr_assert(s->engine && drive_boot(s->engine, &boot, &err), "%s", err.text);
    s->durable = durable_new(s->engine, &err);
    drive_call(s->engine, record, s);
}

static void tick(struct engine *engine, void *arg)
{
    struct stage *s = arg;
    (void)engine;
    s->ok = durable_tick(s->durable, s->world, &s->err);
    s->looking = durable_is_looking(s->durable);
}

static void look(struct engine *engine, void *arg)
{
    struct stage *s = arg;
    size_t count;
    s->looking = durable_is_looking(s->durable);
    AUTO(mem)
    struct catalog_snapshot *rows =
        catalog_snapshot_list(engine_catalog(engine), "ORCL", &count, &s->err);
    cr_assert(rows && count == 2);
    for (size_t i = 0; i < 2; i++) {
        s->seen[i] = rows[i].durability;
        s->bad[i] = rows[i].bad_blocks;
    }
}

/* Ticks, and waits for the look that it began, if it began one. */
static bool looked(struct stage *s)
{
    drive_call(s->engine, tick, s);
    cr_assert(s->ok, "%s", s->err.text);
    bool began = s->looking;
    do
        drive_call(s->engine, look, s);
    while (s->looking);
    return began;
}

Test(durable, a_snapshot_that_was_sealed_is_known_as_sealed, .timeout = 60)
{
    AUTO(stage) struct stage s = {0};
    stage_begin(&s);
    cr_assert(looked(&s));
    cr_assert_eq(s.seen[0], DURABILITY_LOCAL);
    cr_assert(memory_store_durability(STORE, DURABILITY_SEALED, &s.err));
    cr_assert(looked(&s));
    cr_assert_eq(s.seen[0], DURABILITY_SEALED);
    cr_assert_eq(s.seen[1], DURABILITY_SEALED);
}

Test(durable, what_is_sealed_is_asked_for_once_a_minute, .timeout = 60)
{
    AUTO(stage) struct stage s = {0};
    stage_begin(&s);
    cr_assert(memory_store_durability(STORE, DURABILITY_SEALED, &s.err));
    cr_assert(looked(&s));
    cr_assert(memory_store_durability(STORE, DURABILITY_COPIED, &s.err));
    cr_assert_not(looked(&s));
    clock_test_shift(61000);
    cr_assert(looked(&s));
    cr_assert_eq(s.seen[1], DURABILITY_COPIED);
    clock_test_shift(122000);
    cr_assert_not(looked(&s), "nothing can grow any more");
}

Test(durable, bad_blocks_that_a_storage_found_at_the_seal_are_known, .timeout = 60)
{
    AUTO(stage) struct stage s = {0};
    stage_begin(&s);
    cr_assert(memory_store_durability(STORE, DURABILITY_SEALED, &s.err));
    cr_assert(memory_store_bad_blocks(STORE, 3, &s.err));
    cr_assert(looked(&s));
    cr_assert_eq(s.bad[0], 3);
    cr_assert(memory_store_bad_blocks(STORE, 4, &s.err));
    clock_test_shift(61000);
    cr_assert(looked(&s));
    cr_assert_eq(s.bad[1], 4);
}

Test(durable, a_storage_that_lost_durability_is_believed, .timeout = 60)
{
    AUTO(stage) struct stage s = {0};
    stage_begin(&s);
    cr_assert(memory_store_durability(STORE, DURABILITY_SEALED, &s.err));
    cr_assert(looked(&s));
    cr_assert(memory_store_durability(STORE, DURABILITY_LOCAL, &s.err));
    clock_test_shift(61000);
    cr_assert(looked(&s));
    cr_assert_eq(s.seen[0], DURABILITY_LOCAL);
}
