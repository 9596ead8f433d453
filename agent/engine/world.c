/* What jobs act upon: the configured storages and databases. */
#include "agent/engine/world.h"

#include "agent/base/log.h"
#include "agent/base/str.h"

enum { READERS = 2 };

struct world {
    const struct config_agent *config;
    struct driver_ref **drivers; /* one for each configured storage */
    struct lane *readers;
    _Atomic bool stopping, retrying;
    struct work retry;
    _Atomic uint32_t swept;
};

static struct driver_option *options_of(const struct config_storage *storage, struct err *err)
{
    struct driver_option *options = own_alloc(sizeof *options * (storage->option_count + 1), err);
    for (size_t o = 0; options && o < storage->option_count; o++)
        options[o] = (struct driver_option){storage->options[o].key, storage->options[o].value};
    return options;
}

static void tell_swept(struct world *world, const struct config_storage *storage, uint32_t swept)
{
    if (swept)
        log_warning("swept %u unfinished things of an interrupted run storage=%s", swept,
                    storage->name);
    world->swept += swept;
}

/* What no waiting heals is told at once: a wrong option, a kind of file system that cannot do it.
 */
static bool is_misconfigured(const struct err *err)
{
    return err->code == ERR_CONFIG || err->code == ERR_INVALID || err->code == ERR_UNSUPPORTED ||
           err->code == ERR_NO_MEMORY;
}

static bool open_storage(struct world *world, size_t i, struct err *err)
{
    const struct config_storage *storage = &world->config->storages[i];
    AUTO(mem) struct driver_option *options = options_of(storage, err);
    struct err why = {0};
    uint32_t swept = 0;
    /* Made first: a driver that this build does not have is no storage that is away. */
    world->drivers[i] = options ? driver_open_later(storage->driver, "not opened yet", err) : NULL;
    if (!world->drivers[i])
        return err_wrap(err, "%s:%u: storage '%s'", world->config->file, storage->line,
                        storage->name);
    if (driver_open_again(world->drivers[i], options, storage->option_count, &swept, &why)) {
        tell_swept(world, storage, swept);
        return true;
    }
    if (is_misconfigured(&why)) {
        *err = why;
        return err_wrap(err, "%s:%u: storage '%s'", world->config->file, storage->line,
                        storage->name);
    }
    log_error("storage is away, its databases wait for it: %s storage=%s", why.text, storage->name);
    driver_close(world->drivers[i]);
    world->drivers[i] = driver_open_later(storage->driver, why.text, err);
    return world->drivers[i] != NULL;
}

static void run_retry(struct work *work)
{
    struct world *world = (struct world *)((char *)work - offsetof(struct world, retry));
    for (size_t i = 0; i < world->config->storage_count && !world->stopping; i++) {
        const struct config_storage *storage = &world->config->storages[i];
        struct err err = {0};
        uint32_t swept = 0;
        if (!driver_is_away(world->drivers[i]))
            continue;
        AUTO(mem) struct driver_option *options = options_of(storage, &err);
        if (options &&
            driver_open_again(world->drivers[i], options, storage->option_count, &swept, &err)) {
            log_info("storage is back storage=%s", storage->name);
            tell_swept(world, storage, swept);
        }
    }
    world->retrying = false;
}

void world_retry(struct world *world)
{
    bool any = false;
    for (size_t i = 0; i < world->config->storage_count; i++)
        any |= driver_is_away(world->drivers[i]);
    if (!any || world->retrying || world->stopping)
        return;
    world->retrying = true;
    world->retry = (struct work){.run = run_retry};
    lane_submit(world->readers, &world->retry);
}

bool world_is_away(const struct world *world, const struct config_served *db)
{
    return driver_is_away(world_driver(world, db));
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
