/* Runs that should have come: never triggered, triggered and failed, or far longer than usual. */
#pragma once
#include "agent/catalog/catalog.h"
#include "agent/engine/world.h"

enum overdue_level { OVERDUE_NOT, OVERDUE_WARNING, OVERDUE_FAILED };
struct overdue {
    enum overdue_level level;
    char cause[512], next[256];
};
/* By the wall clock and the database's `overduewarning` and `overduefailed`. A database that was
 * never set up is not judged. */
bool overdue_judge(struct catalog *catalog, const struct config_served *db, struct overdue *ret,
                   struct err *err) MUST;
/* Judges every database; tells each change of level once, also over restarts of the agent. Returns
 * in ret_alarms (may be NULL) how many were raised. */
bool overdue_tick(struct catalog *catalog, const struct world *world, size_t *ret_alarms,
                  struct err *err) MUST;
