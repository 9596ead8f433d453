/* A recipe on the wire; shared by Recovery and Clones. */
#pragma once
#include "agent/service/ask.h"
#include "evercopy/v1/recovery.pb-c.h"

/* Which files and logs are told; limit counts both together, 0: all. */
struct recipe_page {
    uint32_t files_from, logs_from, limit;
};
/* NULL with ask->err set. */
Evercopy__V1__Recipe *recipe_tell(struct ask *ask, const struct outlook *o,
                                  const struct plan_recipe *recipe, const struct recipe_page *page)
    MUST;
/* Surveys the live area, then finds the target of a request: the SCN, or the least one that holds
 * everything up to and including time_us, exact to the log's own record (where a manifest keeps
 * only some moments the log is read). Calls `then` on the engine's lane with ask->target set. */
void recipe_resolve(struct ask *ask, const struct config_served *db, uint64_t scn, uint64_t time_us,
                    void (*then)(struct ask *ask));
/* NOT_FOUND when ask->target is 0: no log reaches that time. */
bool recipe_has_target(const struct ask *ask, uint64_t time_us, struct err *err) MUST;
