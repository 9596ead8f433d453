/* The caller of hooks: for one event its executables in order of name, then the library's runner.
 * Blocks; belongs on a lane. What hooks do is told in the log and is never an error of ours. */
#pragma once
#include "agent/base/str.h"
#include <stdint.h>

struct hooks_config {
    const char *dir;      /* "": none; executables are DIR/<event>/NN-name */
    const char *library;  /* "": none; a shared object that host runs */
    const char *host;     /* the runner of libraries */
    uint64_t deadline_ms; /* of one call of one hook */
};

struct hooks_event {
    const char *name;
    bool may_delay;      /* exit 1 means "later"; elsewhere it is a failure */
    bool around;         /* of a snapshot: must not wait behind other events */
    const char *meaning; /* for people */
};
const struct hooks_event *hooks_events(size_t *ret_count);
const struct hooks_event *hooks_event_find(const char *name); /* NULL: there is no such event */

/* One log line for each thing in the folder that will never be called: unknown events, names that
 * fit no pattern, files that are refused. Returns how many. */
size_t hooks_check(const struct hooks_config *config);

struct hooks_call {
    const struct hooks_config *config;
    const struct hooks_event *event;
    const char *input; /* of input_put */
    size_t input_len;
    uint64_t until_ms; /* by clock_mono_ms: no hook runs behind it; 0: its own deadline alone */
    bool (*cancelled)(void *arg); /* asked several times a second; NULL: never */
    void *arg;
};
struct hooks_result {
    unsigned called;  /* hooks that were started */
    unsigned failed;  /* crashed, late, other exit codes, could not be started */
    unsigned refused; /* not started: writable by others, not executable */
    unsigned delayed; /* said "later" until the time was over */
    unsigned skipped; /* never came to their turn: time over or cancelled */
};
void hooks_run(const struct hooks_call *call, struct hooks_result *ret);
