/* What jobs act upon: the configured storages and databases. Read-only once it is open, and
 * counted: a configuration read anew is another world, and whoever works in the one before keeps
 * it. */
#pragma once
#include "agent/base/pool.h"
#include "agent/config/config.h"
#include "agent/engine/planner.h"
#include "drivers/driver.h"

struct world;
struct events;
/* Opens every storage and sweeps what interrupted calls left there. One that cannot be reached now
 * does not bar the others: its databases say so. A wrong configuration does. config is borrowed. */
struct world *world_open(const struct config_agent *config, struct err *err) MUST;
/* The world of another reading of the file, already readied by config_agent_succeed and taken over
 * on success. Storages of the same name stay open as they are; new ones are opened, and nothing is
 * swept, as calls may be under way. May block. */
struct world *world_next(struct world *now, struct config_agent *config, struct err *err) MUST;
struct world *world_ref(struct world *world);
/* The last one out closes what no other world uses. */
void world_close(struct world *world);
OWN_DEFINE(world, struct world, world_close);

const struct config_agent *world_config(const struct world *world);
/* The configured database; NOT_FOUND names the nearest. */
const struct config_served *world_database(const struct world *world, const char *name,
                                           struct err *err) MUST;
/* The storage that serves a database; never NULL for a configured one. */
struct driver_ref *world_driver(const struct world *world, const struct config_served *db);
bool world_is_away(const struct world *world, const struct config_served *db);
/* Tries to open the storages that are away, on the readers' lane, one round at a time. */
void world_retry(struct world *world);
bool world_can_compose(const struct world *world, const struct config_served *db);
/* Where reading of areas for answers happens, beside the jobs' own lane. */
/* Ends the readers; surveys under way are cancelled. Before the engine, where they come home, is
 * freed. */
void world_stop(struct world *world);
bool world_is_stopping(void *world);
struct lane *world_readers(const struct world *world);
/* Who hears what happens, NULL: nobody. Borrowed; set once, before the first job. */
void world_listen(struct world *world, struct events *events);
struct events *world_events(const struct world *world);
uint32_t world_swept(const struct world *world);
