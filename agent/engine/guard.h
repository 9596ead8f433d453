/* The clock guard: nothing is deleted by a clock that may be wrong. */
#pragma once
#include "agent/catalog/catalog.h"

/* Wall and running time seen together. */
struct guard_mark {
    uint64_t wall_us, boot_ms;
    char boot_id[40];
};

enum { GUARD_BACKWARD_S = 60, GUARD_FORWARD_S = 3600 };

void guard_now(struct guard_mark *ret);
/* PRECONDITION with a sentence when the wall clock went backward, or forward by more than an hour
 * that the running time does not explain. anchor: of this boot, or the last one's first; seen_us:
 * the last wall time that was believed. A box that was off cannot be told from a clock that was set
 * forward: over an hour an operator must say so. */
bool guard_judge(const struct guard_mark *anchor, uint64_t seen_us, const struct guard_mark *now,
                 struct err *err) MUST;

/* Kept in the catalog. Check says whether the clock is believed; tick goes along with it, once a
 * minute, as long as it is; confirm takes the operator's word for it. */
bool guard_check(struct catalog *catalog, struct err *err) MUST;
bool guard_tick(struct catalog *catalog, struct err *err) MUST;
bool guard_confirm(struct catalog *catalog, struct err *err) MUST;
