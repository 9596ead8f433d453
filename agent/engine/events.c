/* Events on their way to hooks: two lanes, a bounded queue, and counts of what was dropped. */
#include "agent/engine/events.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/pool.h"
#include "agent/base/str.h"
#include "firmware-hooks/hooks.h"
#include "firmware-hooks/input.h"
#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

enum { AROUND_WORKERS = 4, STOP_MS = 3000, MS = 1000 };

struct events {
    struct hooks_config config;
    char *dir, *library, *host; /* of config */
    uint64_t delay_ms;
    struct lane *inform; /* in order, one after the other */
    struct lane *around; /* of snapshots: one that hangs must not keep another frozen */
    _Atomic size_t queued, bytes;
    _Atomic uint64_t emitted, dropped, delivered, failed;
    _Atomic uint64_t untold;  /* drops no hook has heard of */
    _Atomic uint64_t stop_ms; /* 0: not stopping */
};

struct events_ask {
    _Atomic int refs; /* the asker's and the event's */
    _Atomic bool answered;
};

struct event {
    struct work work;
    struct events *events;
    const struct hooks_event *what;
    struct str input;
    size_t size;
    uint64_t until_ms;
    struct events_ask *ask;
};

void events_ask_free(void *arg)
{
    struct events_ask *ask = arg;
    if (ask && atomic_fetch_sub(&ask->refs, 1) == 1)
        own_free(ask);
}

bool events_answered(const struct events_ask *ask) { return ask->answered; }

static void event_free(struct event *event)
{
    if (!event)
        return;
    if (event->ask)
        event->ask->answered = true;
    events_ask_free(event->ask);
    str_done(&event->input);
    own_free(event);
}
OWN_DEFINE(event, struct event, event_free);

/* Told once for each row of drops; the next hook hears how many there were. */
static bool drop(struct events *events, const char *name, const char *why)
{
    events->dropped++;
    if (events->untold++ == 0)
        log_warning("event dropped, hooks do not see it: %s event=%s", why, name);
    return false;
}

static bool is_over(void *arg)
{
    const struct events *events = arg;
    return events->stop_ms && clock_mono_ms() >= events->stop_ms;
}

/* A hook was called with that count: it is told. */
static void dropped_told(struct event *event, uint64_t untold)
{
    uint64_t expected = untold;
    if (!untold || !atomic_compare_exchange_strong(&event->events->untold, &expected, 0))
        return; /* more were dropped meanwhile: the next hook hears of them all */
    log_warning("events were dropped before this one count=%" PRIu64 " event=%s", untold,
                event->what->name);
}

static void put_dropped(struct str *input, uint64_t untold)
{
    char text[24];
    if (!untold)
        return;
    IGNORE(!str_format(text, sizeof text, "%" PRIu64, untold));
    input_put(input, "dropped", text);
}

/* On a lane of the hooks. */
static void deliver(struct work *work)
{
    AUTO(event) struct event *event = (struct event *)work; /* first member */
    struct events *events = event->events;
    struct err err = {0};
    events->queued--;
    events->bytes -= event->size;
    if (is_over(events)) {
        drop(events, event->what->name, "the agent stops");
        return;
    }
    uint64_t untold = events->untold;
    put_dropped(&event->input, untold);
    struct hooks_call call = {.config = &events->config,
                              .event = event->what,
                              .until_ms = event->until_ms,
                              .cancelled = is_over,
                              .arg = events};
    if (!str_ok(&event->input, &err)) {
        drop(events, event->what->name, err.text);
        return;
    }
    call.input = event->input.text;
    call.input_len = event->input.len;
    struct hooks_result result;
    hooks_run(&call, &result);
    if (result.called)
        dropped_told(event, untold);
    events->delivered++;
    events->failed += result.failed + result.refused;
    if (event->what->may_delay && (result.delayed || result.skipped))
        log_warning("hooks took too long, going on without them event=%s delayed=%u skipped=%u",
                    event->what->name, result.delayed, result.skipped);
}

static void write_head(struct str *input, const char *event)
{
    char text[24];
    uint8_t noise[8];
    char id[17];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, id);
    IGNORE(!str_format(text, sizeof text, "%" PRIu64, clock_wall_us()));
    input_put(input, "version", "1");
    input_put(input, "event", event);
    input_put(input, "id", id);
    input_put(input, "time_us", text);
}

static struct event *event_new(struct events *events, const char *name,
                               const char *const pairs[][2], struct err *err)
{
    AUTO(event) struct event *event = own_alloc(sizeof *event, err);
    if (!event)
        return NULL;
    event->work.run = deliver;
    event->events = events;
    event->what = hooks_event_find(name);
    assert(event->what); /* names are ours */
    write_head(&event->input, name);
    for (size_t i = 0; pairs[i][0]; i++) {
        assert(input_key_is_valid(pairs[i][0], strlen(pairs[i][0])));
        input_put(&event->input, pairs[i][0], pairs[i][1] ? pairs[i][1] : "");
    }
    if (!str_ok(&event->input, err))
        return NULL;
    if (event->input.len > INPUT_BYTES_MAX / 2)
        return err_null((err_set(err, ERR_LIMIT, "it is too large"), err), "event");
    event->size = event->input.len + sizeof *event;
    if (event->what->may_delay)
        event->until_ms = clock_mono_ms() + events->delay_ms;
    return TAKE(event);
}

/* Takes the event over. */
static bool enqueue(struct events *events, struct event *event)
{
    size_t queued = atomic_fetch_add(&events->queued, 1) + 1;
    size_t bytes = atomic_fetch_add(&events->bytes, event->size) + event->size;
    const char *why = is_over(events)             ? "the agent stops"
                      : queued > EVENTS_QUEUE_MAX ? "the queue of hooks is full"
                      : bytes > EVENTS_BYTES_MAX  ? "the queue of hooks is full (bytes)"
                                                  : NULL;
    events->emitted++;
    if (!why) {
        lane_submit(event->what->around ? events->around : events->inform, &event->work);
        return true;
    }
    events->queued--;
    events->bytes -= event->size;
    drop(events, event->what->name, why);
    event_free(event);
    return false;
}

bool events_emit(struct events *events, const char *name, const char *const pairs[][2])
{
    struct err err = {0};
    if (!events)
        return false;
    struct event *event = event_new(events, name, pairs, &err);
    return event ? enqueue(events, event) : drop(events, name, err.text);
}

struct events_ask *events_ask(struct events *events, const char *name, const char *const pairs[][2])
{
    struct err err = {0};
    if (!events)
        return NULL;
    struct events_ask *ask = own_alloc(sizeof *ask, &err);
    struct event *event = ask ? event_new(events, name, pairs, &err) : NULL;
    if (!event) {
        own_free(ask);
        drop(events, name, err.text);
        return NULL;
    }
    ask->refs = 2;
    event->ask = ask;
    if (enqueue(events, event))
        return ask;
    events_ask_free(ask);
    return NULL;
}

struct events_counts events_counts(const struct events *events)
{
    struct events_counts counts = {0};
    if (events)
        counts = (struct events_counts){events->emitted, events->dropped, events->delivered,
                                        events->failed, events->queued};
    return counts;
}

struct events *events_new(const struct config_agent *config, struct err *err)
{
    if (!config->hooks[0] && !config->hooklib[0])
        return NULL;
    AUTO(events) struct events *events = own_alloc(sizeof *events, err);
    if (!events)
        return NULL;
    if (!(events->dir = own_strdup(config->hooks, err)) ||
        !(events->library = own_strdup(config->hooklib, err)) ||
        !(events->host = own_strdup(config->hookhost, err)))
        return NULL;
    events->config = (struct hooks_config){.dir = events->dir,
                                           .library = events->library,
                                           .host = events->host,
                                           .deadline_ms = config->hookdeadline_s * MS};
    events->delay_ms = config->hookdelay_s * MS;
    IGNORE(hooks_check(&events->config) > 0); /* it has told */
    events->inform = lane_new("hooks", 1, err);
    events->around = events->inform ? lane_new("hooks-snapshot", AROUND_WORKERS, err) : NULL;
    return events->around ? TAKE(events) : NULL;
}

void events_stop(struct events *events)
{
    uint64_t none = 0;
    if (events)
        atomic_compare_exchange_strong(&events->stop_ms, &none, clock_mono_ms() + STOP_MS);
}

void events_free(struct events *events)
{
    if (!events)
        return;
    events_stop(events);
    lane_free(events->inform);
    lane_free(events->around);
    if (events->untold)
        log_warning("events were dropped and no hook heard of it count=%" PRIu64, events->untold);
    own_free(events->dir);
    own_free(events->library);
    own_free(events->host);
    own_free(events);
}
