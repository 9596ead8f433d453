/* What a crash could leave: from recorded system calls (agent/base/sys_record.h), folders as they
 * may be found after each of them. */
#pragma once
#include "agent/base/sys_record.h"

enum crash_mode {
    CRASH_AS_ISSUED, /* everything so far is there: the process died, the machine did not */
    CRASH_AS_SYNCED, /* only what syncs promise */
    CRASH_MIXED,     /* by seed: of what is not synced any pages of 4 KiB, any names; renames of one
                      * folder in their order */
    CRASH_MODES,
};
struct crash_states;
/* root: the recorded folder. start: a copy of what it held when the record began, all of it on
 * disk; NULL: nothing. The record must outlive it. */
struct crash_states *crash_states_open(const struct sys_record *record, const char *root,
                                       const char *start, struct err *err) MUST;
void crash_states_free(struct crash_states *s);
OWN_DEFINE(crash_states, struct crash_states, crash_states_free);
/* One call further; false behind the last one, or with an error for a record that makes no sense.
 */
bool crash_states_next(struct crash_states *s, struct err *err);
size_t crash_states_calls(const struct crash_states *s);  /* gone through */
uint64_t crash_states_mark(const struct crash_states *s); /* the last mark's value, 0 before */
/* Makes the folder `to` (what it held goes) as a crash now could leave it. */
bool crash_states_make(struct crash_states *s, enum crash_mode mode, uint64_t seed, const char *to,
                       struct err *err) MUST;

/* All of it: after each `step`th call, in each mode (mixed: `seeds` times), check is called with
 * the folder. False with the check's error, call and mode in front. */
struct crash_plan {
    const struct sys_record *record;
    const char *root, *start, *scratch;
    size_t step; /* 0: 1 */
    size_t from; /* calls before this are only gone through */
    unsigned seeds;
    uint64_t seed;
    bool (*check)(void *arg, const char *dir, uint64_t mark, struct err *err);
    void *arg;
};
bool crash_states_each(const struct crash_plan *plan, uint64_t *ret_states, struct err *err) MUST;
