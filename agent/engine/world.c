/* What jobs act upon: the configured storages and databases. */
#include "agent/engine/world.h"

#include "agent/base/log.h"
#include "agent/base/str.h"

enum { READERS = 2 };

struct world {
    const struct config_agent *config;
    struct driver_ref **drivers; /* one for each configured storage */
    struct lane *readers;
    _Atomic bool stopping;
    uint32_t swept;
};

static bool open_storage(struct world *world, size_t i, struct err *err)
{
    const struct config_storage *storage = &world->config->storages[i];
    AUTO(mem)
    struct driver_option *options = own_alloc(sizeof *options * (storage->option_count + 1), err);
    if (!options)
        return false;
    for (size_t o = 0; o < storage->option_count; o++)
        options[o] = (struct driver_option){storage->options[o].key, storage->options[o].value};
    world->drivers[i] = driver_open(storage->driver, options, storage->option_count, err);
    uint32_t swept = 0;
    if (!world->drivers[i] || !driver_sweep(world->drivers[i], &swept, err))
        return err_wrap(err, "%s:%u: storage '%s'", world->config->file, storage->line,
                        storage->name);
    if (swept)
        log_warning("swept %u unfinished things of an interrupted run storage=%s", swept,
                    storage->name);
    world->swept += swept;
    return true;
}

struct world *world_open(const struct config_agent *config, struct err *err)
{
    AUTO(world) struct world *world = own_alloc(sizeof *world, err);
    if (!world)
        return NULL;
    world->config = config;
    world->drivers = own_alloc(sizeof(struct driver_ref *) * (config->storage_count + 1), err);
    world->readers = world->drivers ? lane_new("readers", READERS, err) : NULL;
    if (!world->readers)
        return NULL;
    for (size_t i = 0; i < config->storage_count; i++)
        if (!open_storage(world, i, err))
            return NULL;
    return TAKE(world);
}

void world_stop(struct world *world)
{
    world->stopping = true;
    lane_stop(world->readers);
}

bool world_is_stopping(void *world) { return ((struct world *)world)->stopping; }

void world_close(struct world *world)
{
    if (!world)
        return;
    lane_free(world->readers);
    for (size_t i = 0; world->drivers && i < world->config->storage_count; i++)
        driver_close(world->drivers[i]);
    own_free(world->drivers);
    own_free(world);
}

const struct config_agent *world_config(const struct world *world) { return world->config; }
struct lane *world_readers(const struct world *world) { return world->readers; }
uint32_t world_swept(const struct world *world) { return world->swept; }

const struct config_served *world_database(const struct world *world, const char *name,
                                           struct err *err)
{
    const struct config_agent *config = world->config;
    for (size_t i = 0; i < config->database_count; i++)
        if (str_equal(config->databases[i].name, name))
            return &config->databases[i];
    const char *best = NULL;
    int best_distance = 3;
    for (size_t i = 0; i < config->database_count; i++)
        if (str_distance(name, config->databases[i].name) < best_distance)
            best = config->databases[i].name;
    err_set(err, ERR_NOT_FOUND, "database '%.64s' is not configured on the agent%s%s%s", name,
            best ? "; hint: did you mean '" : "", best ? best : "", best ? "'?" : "");
    return NULL;
}

struct driver_ref *world_driver(const struct world *world, const struct config_served *db)
{
    for (size_t i = 0; i < world->config->storage_count; i++)
        if (str_equal(world->config->storages[i].name, db->storage))
            return world->drivers[i];
    return NULL;
}

bool world_can_compose(const struct world *world, const struct config_served *db)
{
    return driver_abilities(world_driver(world, db)) & DRIVER_CAN_COMPOSE;
}
