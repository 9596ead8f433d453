/* Storages are watched; what arrives is surveyed at once. */
#include "agent/engine/arrivals.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/survey.h"
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>

enum {
    WORKERS = 4,
    POLL_MS = 1000,     /* a stop waits for it */
    POLL_SOON_MS = 200, /* while something is due */
    EARLY_MS = 50,
    REST_MS = 5000, /* after a storage did not answer */
    REST_LONG_MS = 600000,
    PACE_MS = 1000, /* between two looks at one area; a waiter's: a fifth */
    EVENTS_MAX = 128,
    TOLD_MAX = 20, /* lines of the log for one look */
};
#define LOGS "archivelog/"

struct watch {        /* a storage */
    struct work work; /* first member */
    struct arrivals *arrivals;
    char storage[64];
    struct world *world; /* while it runs */
    const struct config_served *db;
    struct driver_event *events;
    size_t count;
    uint64_t position, timeout_ms, rest_until_ms;
    bool lost, running, tells;
};

struct area_state {   /* a database's live area; exists once something happened in it */
    struct work work; /* first member: the look under way */
    struct arrivals *arrivals;
    char database[64];
    uint64_t news, looked_news; /* of the look under way, or the last one */
    uint64_t kept_news;         /* the kept survey shows so much */
    uint64_t not_before_ms, begun_ms;
    bool dirty, looking;
    struct world *world; /* of the look under way */
    const struct config_served *db;
    struct survey_kept *earlier;
    struct manifest *manifest;
};

struct arrivals {
    struct arrivals_options options;
    struct lane *lane;
    struct world *world;
    _Atomic bool stopping;
    struct watch **watches;
    size_t watch_count, watch_capacity;
    struct area_state **areas;
    size_t area_count, area_capacity;
    struct arrivals_wait *waits;
};

struct arrivals *arrivals_new(const struct arrivals_options *options, struct err *err)
{
    AUTO(arrivals) struct arrivals *a = own_alloc(sizeof *a, err);
    if (!a)
        return NULL;
    a->options = *options;
    a->lane = lane_new("watch", WORKERS, err);
    return a->lane ? TAKE(a) : NULL;
}

void arrivals_stop(struct arrivals *a)
{
    atomic_store(&a->stopping, true);
    lane_stop(a->lane);
}

static void forget_look(struct area_state *s)
{
    survey_kept_unref(TAKE(s->earlier));
    manifest_free(TAKE(s->manifest));
    world_close(TAKE(s->world));
    s->looking = false;
}

void arrivals_free(struct arrivals *a)
{
    if (!a)
        return;
    lane_free(a->lane);
    for (size_t i = 0; i < a->watch_count; i++) {
        world_close(a->watches[i]->world);
        own_free(a->watches[i]->events);
        own_free(a->watches[i]);
    }
    for (size_t i = 0; i < a->area_count; i++) {
        forget_look(a->areas[i]);
        own_free(a->areas[i]);
    }
    own_free(a->watches);
    own_free(a->areas);
    world_close(a->world);
    own_free(a);
}

/* ---- who waits ---- */

static const struct area_state *find_area(const struct arrivals *a, const char *database)
{
    for (size_t i = 0; i < a->area_count; i++)
        if (str_equal(a->areas[i]->database, database))
            return a->areas[i];
    return NULL;
}

static struct area_state *area_of(struct arrivals *a, const char *database, struct err *err)
{
    struct area_state *s = (struct area_state *)find_area(a, database);
    if (s || !own_grow((void **)&a->areas, &a->area_capacity, a->area_count, sizeof(void *), err))
        return s;
    s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    s->arrivals = a;
    IGNORE(!str_copy(s->database, sizeof s->database, database)); /* names are shorter */
    a->areas[a->area_count++] = s;
    return s;
}

uint64_t arrivals_news(struct arrivals *a, const char *database)
{
    const struct area_state *s = find_area(a, database);
    return s ? s->news : 0;
}

static struct watch *watch_of(const struct arrivals *a, const char *storage)
{
    for (size_t i = 0; i < a->watch_count; i++)
        if (str_equal(a->watches[i]->storage, storage))
            return a->watches[i];
    return NULL;
}

bool arrivals_watches(struct arrivals *a, const char *database)
{
    struct err none = {0};
    const struct config_served *db = a->world ? world_database(a->world, database, &none) : NULL;
    const struct watch *w = db ? watch_of(a, db->storage) : NULL;
    return w && w->tells && !atomic_load(&a->stopping);
}

static bool is_waited_for(const struct arrivals *a, const char *database)
{
    for (const struct arrivals_wait *w = a->waits; w; w = w->next)
        if (str_equal(w->database, database))
            return true;
    return false;
}

static bool is_over(struct arrivals *a, const struct arrivals_wait *wait)
{
    const struct area_state *s = find_area(a, wait->database);
    return (s && s->kept_news > wait->news) || clock_mono_ms() >= wait->due_ms ||
           !arrivals_watches(a, wait->database);
}

/* Each is called when it is out of the list: it may wait again. */
static void wake(struct arrivals *a)
{
    struct arrivals_wait *all = a->waits;
    a->waits = NULL;
    while (all) {
        struct arrivals_wait *wait = all;
        all = wait->next;
        if (is_over(a, wait)) {
            wait->woken(wait);
        } else {
            wait->next = a->waits;
            a->waits = wait;
        }
    }
}

void arrivals_wait(struct arrivals *a, struct arrivals_wait *wait)
{
    if (is_over(a, wait)) {
        wait->woken(wait);
        return;
    }
    wait->next = a->waits;
    a->waits = wait;
}

/* ---- a look at one area ---- */

static bool look_is_over(void *arg)
{
    const struct area_state *s = arg;
    return atomic_load(&s->arrivals->stopping) || world_is_stopping(s->world);
}

/* On the readers' lane. */
static void run_look(struct work *work)
{
    struct area_state *s = (struct area_state *)work;
    AUTO(area)
    struct area *area = driver_area_until(world_driver(s->world, s->db), s->db->volume, NULL, NULL,
                                          look_is_over, s, &s->work.err);
    struct survey_options options = {.whole = true,
                                     .earlier = survey_kept_manifest(s->earlier),
                                     .cancelled = look_is_over,
                                     .arg = s};
    if (area)
        s->manifest = survey_area(area, &options, &s->work.err);
}

static bool was_there(const struct manifest *earlier, const struct manifest_entry *entry)
{
    const struct manifest_entry *old = manifest_find(earlier, entry->path);
    return old && old->state == STATE_GOOD;
}

static void tell_logs(const struct area_state *s)
{
    const struct manifest *earlier = survey_kept_manifest(s->earlier);
    size_t told = 0;
    for (size_t i = 0; i < s->manifest->count; i++) {
        const struct manifest_entry *e = &s->manifest->entries[i];
        if (e->kind != FILE_ARCHIVED_LOG || e->state != STATE_GOOD || was_there(earlier, e))
            continue;
        if (told++ < TOLD_MAX)
            log_info("log arrived db=%s thread=%" PRIu32 " sequence=%" PRIu32 " next_scn=%" PRIu64,
                     s->database, e->log.thread, e->log.sequence, e->log.next_scn.n);
    }
    if (told > TOLD_MAX)
        log_info("more logs arrived db=%s count=%zu", s->database, told - TOLD_MAX);
}

static void look_done(struct work *work)
{
    struct area_state *s = (struct area_state *)work;
    struct arrivals *a = s->arrivals;
    struct catalog_database row;
    struct err err = s->work.err;
    struct err none = {0};
    uint64_t took_ms = clock_mono_ms() - s->begun_ms;
    if (s->manifest &&
        catalog_database_get(engine_catalog(a->options.engine), s->database, &row, &none))
        manifest_judge(s->manifest, row.dbid, NULL, 0);
    if (s->manifest)
        tell_logs(s);
    bool ok = s->manifest && a->options.keep(a->options.arg, s->database, TAKE(s->manifest), &err);
    if (!ok && err.code != ERR_CANCELLED) /* the next event, or who asks, looks again */
        log_warning("what arrived is not known: %s db=%s", err.text, s->database);
    if (ok)
        s->kept_news = s->looked_news;
    /* A large area is looked at less often, so that looking never is all the box does. */
    s->not_before_ms = clock_mono_ms() + (took_ms * 4 > PACE_MS ? took_ms * 4 : PACE_MS);
    forget_look(s);
    wake(a);
}

static void look(struct area_state *s, bool waited_for)
{
    struct arrivals *a = s->arrivals;
    struct err none = {0};
    struct survey_kept *kept = a->options.kept(a->options.arg, s->database);
    s->db = world_database(a->world, s->database, &none);
    s->dirty = false;
    /* The first survey reads every log whole: that is for who asks, never for what merely comes. */
    if (!s->db || (!kept && !waited_for))
        return;
    s->looking = true;
    s->looked_news = s->news;
    s->begun_ms = clock_mono_ms();
    s->world = world_ref(a->world);
    s->earlier = kept ? survey_kept_ref(kept) : NULL;
    s->work = (struct work){
        .run = run_look, .done = look_done, .home = lane_post(engine_lane(a->options.engine))};
    lane_submit(world_readers(s->world), &s->work);
}

/* ---- watching ---- */

static void note(struct arrivals *a, const char *database)
{
    struct err err = {0};
    struct area_state *s = area_of(a, database, &err);
    if (!s)
        return; /* short of memory: who asks still looks for himself */
    s->news++;
    s->dirty = true;
}

static bool counts(const struct arrivals *a, const struct driver_event *event,
                   const struct config_served *db)
{
    return str_equal(event->volume, db->volume) && str_starts(event->path, LOGS) &&
           (event->kind == DRIVER_FILE_ARRIVED || is_waited_for(a, db->name));
}

static void take_events(struct watch *w)
{
    const struct config_agent *config = world_config(w->world);
    for (size_t i = 0; i < config->database_count; i++) {
        const struct config_served *db = &config->databases[i];
        bool any = w->lost;
        if (!str_equal(db->storage, w->storage))
            continue;
        for (size_t k = 0; !any && k < w->count; k++)
            any = counts(w->arrivals, &w->events[k], db);
        if (any)
            note(w->arrivals, db->name);
    }
}

/* What is due now; true when something will be soon. */
static bool pace(struct arrivals *a)
{
    bool soon = a->waits != NULL;
    uint64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < a->area_count; i++) {
        struct area_state *s = a->areas[i];
        bool waited_for = is_waited_for(a, s->database);
        uint64_t early_ms = waited_for ? PACE_MS - PACE_MS / 5 : 0;
        if (s->dirty && !s->looking && now_ms + early_ms >= s->not_before_ms)
            look(s, waited_for);
        soon = soon || s->dirty;
    }
    wake(a);
    return soon;
}

/* On the watch lane. */
static void run_watch(struct work *work)
{
    struct watch *w = (struct watch *)work;
    uint64_t begun_ms = clock_mono_ms();
    if (atomic_load(&w->arrivals->stopping) || world_is_stopping(w->world))
        err_set(&w->work.err, ERR_CANCELLED, "the agent stops");
    else
        IGNORE(!driver_watch(world_driver(w->world, w->db), &w->position, w->timeout_ms, w->events,
                             EVENTS_MAX, &w->count, &w->lost,
                             &w->work.err)); /* told by the error */
    /* One that stops answers nothing, and at once: not asked as fast as it can be. */
    if (w->work.err.code == ERR_NONE && !w->count && clock_mono_ms() - begun_ms < EARLY_MS)
        IGNORE(poll(NULL, 0, EARLY_MS) < 0);
}

static void watch_done(struct work *work);

static void watch_on(struct watch *w, bool soon)
{
    struct arrivals *a = w->arrivals;
    const struct config_agent *config = world_config(a->world);
    world_close(TAKE(w->world));
    w->running = false;
    for (size_t i = 0; i < config->database_count; i++)
        if (str_equal(config->databases[i].storage, w->storage) &&
            !world_is_away(a->world, &config->databases[i])) {
            w->db = &config->databases[i];
            w->running = true;
        }
    if (!w->running || atomic_load(&a->stopping)) {
        w->running = w->tells = false;
        return;
    }
    w->world = world_ref(a->world);
    w->timeout_ms = soon ? POLL_SOON_MS : POLL_MS;
    w->work = (struct work){
        .run = run_watch, .done = watch_done, .home = lane_post(engine_lane(a->options.engine))};
    lane_submit(a->lane, &w->work);
}

static void watch_done(struct work *work)
{
    struct watch *w = (struct watch *)work;
    struct arrivals *a = w->arrivals;
    const struct err *err = &w->work.err;
    if (err->code != ERR_NONE) {
        if (w->tells && err->code != ERR_CANCELLED)
            log_warning("what arrives is seen when asked only: %s", err->text);
        bool never = err->code == ERR_UNSUPPORTED;
        w->rest_until_ms = clock_mono_ms() + (never ? REST_LONG_MS : REST_MS);
        w->position = 0;
        w->running = w->tells = false;
        world_close(TAKE(w->world));
        IGNORE(pace(a));
        return;
    }
    w->lost = w->lost || !w->tells; /* what happened while nobody listened */
    w->tells = true;
    take_events(w);
    bool soon = pace(a);
    watch_on(w, soon);
}

static struct watch *add_watch(struct arrivals *a, const char *storage, struct err *err)
{
    if (!own_grow((void **)&a->watches, &a->watch_capacity, a->watch_count, sizeof(void *), err))
        return NULL;
    AUTO(mem) struct watch *w = own_alloc(sizeof *w, err);
    if (!w || !(w->events = own_alloc(EVENTS_MAX * sizeof *w->events, err)))
        return NULL;
    w->arrivals = a;
    IGNORE(!str_copy(w->storage, sizeof w->storage, storage)); /* names are shorter */
    a->watches[a->watch_count++] = w;
    return TAKE(w);
}

bool arrivals_tick(struct arrivals *a, struct world *world, struct err *err)
{
    const struct config_agent *config = world_config(world);
    if (a->world != world) {
        world_close(a->world);
        a->world = world_ref(world);
    }
    if (atomic_load(&a->stopping) || world_is_stopping(world))
        return true;
    for (size_t i = 0; i < config->database_count; i++) {
        const struct config_served *db = &config->databases[i];
        if (world_is_away(world, db) || !driver_can_watch(world_driver(world, db)))
            continue;
        struct watch *w = watch_of(a, db->storage);
        if (!w && !(w = add_watch(a, db->storage, err)))
            return false;
        if (!w->running && clock_mono_ms() >= w->rest_until_ms)
            watch_on(w, true);
    }
    return true;
}
