/* What jobs act upon: the configured storages and databases. */
#include "agent/engine/world.h"

#include "agent/base/log.h"
#include "agent/base/str.h"

enum { READERS = 2 };

/* Shared by all worlds of this agent. */
struct shared {
    struct lane *readers;
    struct events *events;
    _Atomic bool stopping, retrying;
    _Atomic unsigned refs;
};

struct storage {
    struct driver_ref *driver;
    _Atomic unsigned refs; /* worlds */
};

struct world {
    const struct config_agent *config;
    struct config_agent *owned;
    struct storage **storages; /* one for each configured storage */
    struct shared *shared;
    struct work retry;
    _Atomic uint32_t swept;
    _Atomic unsigned refs;
};

static void storage_unref(struct storage *storage)
{
    if (!storage || --storage->refs)
        return;
    driver_close(storage->driver);
    own_free(storage);
}

static void shared_unref(struct shared *shared)
{
    if (!shared || --shared->refs)
        return;
    lane_free(shared->readers);
    own_free(shared);
}

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

static bool name_storage(const struct world *world, size_t i, struct err *err)
{
    const struct config_storage *storage = &world->config->storages[i];
    return err_wrap(err, "%s:%u: storage '%s'", world->config->file, storage->line, storage->name);
}

static bool open_storage(struct world *world, size_t i, struct err *err)
{
    const struct config_storage *storage = &world->config->storages[i];
    AUTO(mem) struct driver_option *options = options_of(storage, err);
    struct storage *opened = options ? own_alloc(sizeof *opened, err) : NULL;
    struct err why = {0};
    uint32_t swept = 0;
    if (!opened)
        return false;
    opened->refs = 1;
    world->storages[i] = opened;
    /* Made first: a driver that this build does not have is no storage that is away. */
    opened->driver = driver_open_later(storage->driver, "not opened yet", err);
    if (!opened->driver)
        return name_storage(world, i, err);
    if (driver_open_again(opened->driver, options, storage->option_count, &swept, &why)) {
        tell_swept(world, storage, swept);
        return true;
    }
    if (is_misconfigured(&why)) {
        *err = why;
        return name_storage(world, i, err);
    }
    log_error("storage is away, its databases wait for it: %s storage=%s", why.text, storage->name);
    driver_close(opened->driver);
    opened->driver = driver_open_later(storage->driver, why.text, err);
    return opened->driver != NULL;
}

/* Beside running calls: nothing is swept, and one that is away refuses the reading. */
static bool open_new_storage(struct world *world, size_t i, struct err *err)
{
    const struct config_storage *storage = &world->config->storages[i];
    AUTO(mem) struct driver_option *options = options_of(storage, err);
    struct storage *opened = options ? own_alloc(sizeof *opened, err) : NULL;
    if (!opened)
        return false;
    opened->refs = 1;
    world->storages[i] = opened;
    opened->driver = driver_open(storage->driver, options, storage->option_count, err);
    return opened->driver || name_storage(world, i, err);
}

static void run_retry(struct work *work)
{
    struct world *world = (struct world *)((char *)work - offsetof(struct world, retry));
    for (size_t i = 0; i < world->config->storage_count && !world->shared->stopping; i++) {
        const struct config_storage *storage = &world->config->storages[i];
        struct driver_ref *driver = world->storages[i]->driver;
        struct err err = {0};
        uint32_t swept = 0;
        if (!driver_is_away(driver))
            continue;
        AUTO(mem) struct driver_option *options = options_of(storage, &err);
        if (options && driver_open_again(driver, options, storage->option_count, &swept, &err)) {
            log_info("storage is back storage=%s", storage->name);
            tell_swept(world, storage, swept);
        }
    }
    world->shared->retrying = false;
    world_close(world);
}

void world_retry(struct world *world)
{
    bool any = false;
    for (size_t i = 0; i < world->config->storage_count; i++)
        any |= driver_is_away(world->storages[i]->driver);
    if (!any || world->shared->retrying || world->shared->stopping)
        return;
    world->shared->retrying = true;
    world_ref(world)->retry = (struct work){.run = run_retry};
    lane_submit(world->shared->readers, &world->retry);
}

bool world_is_away(const struct world *world, const struct config_served *db)
{
    return driver_is_away(world_driver(world, db));
}

static struct world *world_new(const struct config_agent *config, struct err *err)
{
    AUTO(world) struct world *world = own_alloc(sizeof *world, err);
    if (!world)
        return NULL;
    world->refs = 1;
    world->config = config;
    world->storages = own_alloc(sizeof(struct storage *) * (config->storage_count + 1), err);
    return world->storages ? TAKE(world) : NULL;
}

struct world *world_open(const struct config_agent *config, struct err *err)
{
    AUTO(world) struct world *world = world_new(config, err);
    if (!world || !(world->shared = own_alloc(sizeof *world->shared, err)))
        return NULL;
    world->shared->refs = 1;
    world->shared->readers = lane_new("readers", READERS, err);
    if (!world->shared->readers)
        return NULL;
    for (size_t i = 0; i < config->storage_count; i++)
        if (!open_storage(world, i, err))
            return NULL;
    return TAKE(world);
}

static struct storage *find_storage(const struct world *world, const char *name)
{
    for (size_t i = 0; i < world->config->storage_count; i++)
        if (str_equal(world->config->storages[i].name, name))
            return world->storages[i];
    return NULL;
}

struct world *world_next(struct world *now, struct config_agent *config, struct err *err)
{
    AUTO(world) struct world *world = world_new(config, err);
    if (!world)
        return NULL;
    world->shared = now->shared;
    world->shared->refs++;
    world->swept = (uint32_t)now->swept;
    for (size_t i = 0; i < config->storage_count; i++) {
        struct storage *same = find_storage(now, config->storages[i].name);
        if (same)
            same->refs++;
        world->storages[i] = same;
        if (!same && !open_new_storage(world, i, err))
            return NULL;
    }
    world->owned = config;
    return TAKE(world);
}

struct world *world_ref(struct world *world)
{
    world->refs++;
    return world;
}

void world_stop(struct world *world)
{
    world->shared->stopping = true;
    lane_stop(world->shared->readers);
}

bool world_is_stopping(void *world) { return ((struct world *)world)->shared->stopping; }

void world_close(struct world *world)
{
    if (!world || --world->refs)
        return;
    for (size_t i = 0; world->storages && i < world->config->storage_count; i++)
        storage_unref(world->storages[i]);
    shared_unref(world->shared);
    own_free(world->storages);
    config_agent_free(world->owned);
    own_free(world);
}

const struct config_agent *world_config(const struct world *world) { return world->config; }
struct lane *world_readers(const struct world *world) { return world->shared->readers; }
void world_listen(struct world *world, struct events *events) { world->shared->events = events; }
struct events *world_events(const struct world *world) { return world->shared->events; }
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
    struct storage *storage = find_storage(world, db->storage);
    return storage ? storage->driver : NULL;
}

bool world_can_compose(const struct world *world, const struct config_served *db)
{
    return driver_abilities(world_driver(world, db)) & DRIVER_CAN_COMPOSE;
}
