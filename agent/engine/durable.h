/* Durability that grows after a snapshot was taken (DRIVER_SEALS_LATER): the storage is asked from
 * time to time, on the readers' lane, and the catalog follows. On the engine's lane. */
#pragma once
#include "agent/engine/job.h"
#include "agent/engine/world.h"

struct durable;
struct durable *durable_new(struct engine *engine, struct err *err) MUST;
/* After the readers and the engine have ended. */
void durable_free(struct durable *durable);
OWN_DEFINE(durable, struct durable, durable_free);
/* Begins a look unless one is under way: at every call while a snapshot is no more than local, else
 * once a minute. A storage that does not answer is asked again next time. */
bool durable_tick(struct durable *durable, struct world *world, struct err *err) MUST;
bool durable_is_looking(const struct durable *durable);
