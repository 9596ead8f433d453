/* Alarms: work that is to be submitted to a lane later. One thread, no locks, no polling. */
#pragma once
#include "agent/base/pool.h"
#include <stdint.h>

struct alarm_clock;
/* What is due goes to the lane's queue. */
struct alarm_clock *alarm_clock_new(struct lane *to, struct err *err) MUST;
/* Ends at once; what was not due is dropped, its owner still has it. */
void alarm_clock_free(struct alarm_clock *clock);
OWN_DEFINE(alarm_clock, struct alarm_clock, alarm_clock_free);

/* Owned by the caller; his again when work->run is called or the clock was freed. */
struct alarm {
    struct work *work;
    uint64_t due_ms; /* by clock_mono_ms */
    struct alarm *next;
};
/* Any thread. Cannot fail: an alarm that is set rings. */
void alarm_set(struct alarm_clock *clock, struct alarm *alarm);
