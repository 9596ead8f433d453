/* Events: what happened, handed to hooks on lanes of their own. Nobody waits for a hook but whoever
 * asks; firmware-hooks/README.md says what each event carries. */
#pragma once
#include "agent/config/config.h"
#include <stdint.h>

/* NULL wherever a struct events is taken is fine: nobody listens. */
struct events;
/* NULL without an error when no hooks are configured. */
struct events *events_new(const struct config_agent *config, struct err *err) MUST;
/* Hooks under way get three seconds more, what is queued then is dropped and told. Any thread. */
void events_stop(struct events *events);
void events_free(struct events *events); /* stops and waits */
OWN_DEFINE(events, struct events, events_free);

enum { EVENTS_QUEUE_MAX = 256, EVENTS_BYTES_MAX = 1 << 20 };

/* Copies the pairs (ended by a NULL key) and returns at once; any thread. False when it was
 * dropped: the queue is full, memory is gone, or the agent stops. Drops are counted, told in the
 * log, and to the next hook. Delivery is not promised: what is queued dies with the process. */
bool events_emit(struct events *events, const char *event, const char *const pairs[][2]);

/* An event that may be delayed: calls its hooks, and tells when the last has answered. */
struct events_ask;
/* NULL: nobody listens, or it was dropped; go on. */
struct events_ask *events_ask(struct events *events, const char *event,
                              const char *const pairs[][2]);
bool events_answered(const struct events_ask *ask);
void events_ask_free(void *ask); /* answered or not; NULL is fine */

struct events_counts {
    uint64_t emitted, dropped, delivered, failed; /* failed: hooks, not events */
    size_t queued;
};
struct events_counts events_counts(const struct events *events);
