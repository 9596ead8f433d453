/* What arrives in live areas, noticed when the storage tells and not when somebody looks: the kept
 * survey is renewed, and who waits for a log is woken. On the engine's lane; waiting for storages
 * has a lane of its own. */
#pragma once
#include "agent/engine/job.h"
#include "agent/engine/outlook.h"
#include "agent/engine/world.h"

struct arrivals;
struct arrivals_options {
    struct engine *engine;
    /* The survey of a live area that is kept (borrowed, NULL: none), and the place of a new one,
     * which is taken over. */
    struct survey_kept *(*kept)(void *arg, const char *database);
    bool (*keep)(void *arg, const char *database, struct manifest *manifest, struct err *err);
    void *arg;
};
struct arrivals *arrivals_new(const struct arrivals_options *options, struct err *err) MUST;
/* Ends waiting, within a second; on any thread but the lanes'. */
void arrivals_stop(struct arrivals *arrivals);
/* After the readers and the engine have ended. */
void arrivals_free(struct arrivals *arrivals);
OWN_DEFINE(arrivals, struct arrivals, arrivals_free);

/* Begins to watch storages that tell, also those that came or answer again. From time to time. */
bool arrivals_tick(struct arrivals *arrivals, struct world *world, struct err *err) MUST;
/* True while the storage of that database tells at once. */
bool arrivals_watches(struct arrivals *arrivals, const char *database);
/* Grows with whatever happens in the area; for who looked before he waited. */
uint64_t arrivals_news(struct arrivals *arrivals, const char *database);

/* Owned by who waits until woken is called: once, on the engine's lane, when the kept survey is
 * newer than `news`, when the time is over, or when nobody tells any more. */
struct arrivals_wait {
    const char *database;
    uint64_t news;
    uint64_t due_ms; /* by clock_mono_ms */
    void (*woken)(struct arrivals_wait *wait);
    struct arrivals_wait *next;
};
void arrivals_wait(struct arrivals *arrivals, struct arrivals_wait *wait);
