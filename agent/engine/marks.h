/* Holds and locks: kept with the snapshot itself as a note (promise 6), copied into the catalog.
 *
 * The note is one JSON object: what label() wrote (database, kind, run, dbid, mid_merge), beside it
 *   "holds": [{"id", "owner", "reason", "made_us", "until_us"}]       until_us 0: until released
 *   "lock":  {"left_ms", "boot_id", "boot_ms", "by_storage"}          as of that boot's running
 * time A lock counts the time the box was up; one that is read again after a catalog was thrown
 * away is as long as when it was made, or longer: never shorter. */
#pragma once
#include "agent/engine/guard.h"
#include "agent/engine/job.h"
#include "agent/engine/world.h"

extern const struct job_kind job_kind_mark;

json_t *mark_hold_args(const struct catalog_hold *hold, struct err *err) MUST;
json_t *mark_release_args(const char *database, const char *snapshot, const char *id,
                          struct err *err) MUST;
json_t *mark_lock_args(const char *database, const char *snapshot, uint64_t ms, bool by_storage,
                       struct err *err) MUST;

/* What is left of a lock; time in which the box was off does not count. */
uint64_t mark_lock_left_ms(const struct catalog_lock *lock, const struct guard_mark *now);
/* Takes passed running time off the locks, so that a restart of the box forgets little of it. */
bool marks_tick(struct catalog *catalog, struct err *err) MUST;
/* What a note says keeps its snapshot now; false with PRECONDITION and the reason. text NULL: no
 * note. */
bool marks_allow_delete(const char *text, const struct guard_mark *now, struct err *err) MUST;
