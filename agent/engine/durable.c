/* The catalog follows what storages say of their snapshots' durability and of their blocks. */
#include "agent/engine/durable.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"

enum { CALM_MS = 60000 };

struct told { /* what a storage listed, of one database */
    const struct config_served *db;
    struct driver_snapshot_info *list; /* NULL: it did not answer */
    size_t count;
};

struct durable {
    struct work work; /* first member: the look under way */
    struct engine *engine;
    struct world *world; /* of the look under way */
    struct told *told;
    size_t told_count;
    bool looking;
    uint64_t calm_until_ms;
};

struct durable *durable_new(struct engine *engine, struct err *err)
{
    struct durable *d = own_alloc(sizeof *d, err);
    if (d)
        d->engine = engine;
    return d;
}

static void forget(struct durable *d)
{
    for (size_t i = 0; i < d->told_count; i++)
        own_free(d->told[i].list);
    own_free(TAKE(d->told));
    d->told_count = 0;
    world_close(TAKE(d->world));
    d->looking = false;
}

void durable_free(struct durable *d)
{
    if (!d)
        return;
    forget(d);
    own_free(d);
}

bool durable_is_looking(const struct durable *d) { return d->looking; }

/* On the readers' lane. */
static void ask_storages(struct work *work)
{
    struct durable *d = (struct durable *)work;
    for (size_t i = 0; i < d->told_count && !world_is_stopping(d->world); i++) {
        struct told *told = &d->told[i];
        struct err why = {0}; /* asked again next time */
        told->list = driver_snapshot_list(world_driver(d->world, told->db), told->db->volume,
                                          &told->count, &why);
    }
}

static bool follow(struct durable *d, const struct told *told, struct err *err)
{
    struct catalog *c = engine_catalog(d->engine);
    size_t count;
    AUTO(mem)
    struct catalog_snapshot *rows = catalog_snapshot_list(c, told->db->name, &count, err);
    for (size_t i = 0; rows && i < count; i++)
        for (size_t k = 0; k < told->count; k++) {
            const struct driver_snapshot_info *info = &told->list[k];
            if (!str_equal(rows[i].name, info->name) ||
                (rows[i].durability == (int)info->durability &&
                 rows[i].bad_blocks == info->bad_blocks))
                continue;
            if (!catalog_snapshot_follow(c, told->db->name, rows[i].name, (int)info->durability,
                                         info->bad_blocks, err))
                return false;
            if (info->bad_blocks > rows[i].bad_blocks)
                log_error("the storage found bad blocks db=%s snapshot=%s count=%llu",
                          told->db->name, info->name, (unsigned long long)info->bad_blocks);
        }
    return rows;
}

/* On the engine's lane. */
static void storages_said(struct work *work)
{
    struct durable *d = (struct durable *)work;
    for (size_t i = 0; i < d->told_count; i++) {
        struct err err = {0};
        if (d->told[i].list && !follow(d, &d->told[i], &err))
            log_warning("durability of snapshots: %s db=%s", err.text, d->told[i].db->name);
    }
    forget(d);
}

/* Whether any of its snapshots may still grow; ret_local: one is no more than local. */
static bool may_grow(struct durable *d, const struct config_served *db, bool *ret_any,
                     bool *ret_local, struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_snapshot *rows =
        catalog_snapshot_list(engine_catalog(d->engine), db->name, &count, err);
    *ret_any = *ret_local = false;
    for (size_t i = 0; rows && i < count; i++) {
        *ret_any = *ret_any || rows[i].durability < DURABILITY_COPIED;
        *ret_local = *ret_local || rows[i].durability < DURABILITY_SEALED;
    }
    return rows;
}

bool durable_tick(struct durable *d, struct world *world, struct err *err)
{
    const struct config_agent *config = world_config(world);
    uint64_t now = clock_mono_ms();
    bool calm = now < d->calm_until_ms;
    if (d->looking || world_is_stopping(world))
        return true;
    d->told = own_alloc((config->database_count + 1) * sizeof *d->told, err);
    for (size_t i = 0; d->told && i < config->database_count; i++) {
        const struct config_served *db = &config->databases[i];
        bool any, local;
        if (!(driver_abilities(world_driver(world, db)) & DRIVER_SEALS_LATER) ||
            world_is_away(world, db))
            continue;
        if (!may_grow(d, db, &any, &local, err)) {
            own_free(TAKE(d->told));
            d->told_count = 0;
            return false;
        }
        if (local || (any && !calm))
            d->told[d->told_count++].db = db;
    }
    if (!d->told_count) {
        bool ok = d->told;
        own_free(TAKE(d->told));
        return ok;
    }
    if (!calm)
        d->calm_until_ms = now + CALM_MS;
    d->looking = true;
    d->world = world_ref(world);
    d->work = (struct work){
        .run = ask_storages, .done = storages_said, .home = lane_post(engine_lane(d->engine))};
    lane_submit(world_readers(world), &d->work);
    return true;
}
