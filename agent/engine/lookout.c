/* The lookout: compares what is with what was told last, which the catalog keeps as notes. */
#include "agent/engine/lookout.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/notify.h"
#include "agent/base/str.h"
#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { FIRST_MS = 50, TICK_MS = 5000, MEASURE_TICKS = 12, NUMBER_MAX = 24 };
#define NOTE_VERDICT "hooks-verdict"
#define NOTE_CAPACITY "hooks-capacity"
#define NOTE_EXPIRED "hooks-expired"
#define NOTE_CLOSED "volume-closed"

/* A job's end, from the commit to its turn on the lane. */
struct ended {
    struct work work;
    struct lookout *lookout;
    char id[40];
};

struct seen {    /* of one database */
    int verdict; /* 0: not yet looked at */
    char cause[160];
    bool answered, measured;
    uint64_t capacity, available;
    char closed[400];
};

struct lookout {
    struct lookout_options o;
    struct events *events;
    const struct config_agent *config;
    struct timer *timer;
    struct work tick, look, measure;
    bool ticking; /* loop only */
    _Atomic bool stopping;
    /* The engine's lane only: */
    uint64_t ticks;
    bool looking, measuring;
    size_t next, due;          /* databases to be looked at, one work each */
    struct world *world_after; /* waits for a measure that is under way */
    struct seen *seen;
};

/* Whether somebody waits to be told how databases stand; volumes are looked at in any case. */
static bool is_heard(const struct lookout *w) { return w->events || notify_listens(); }

static struct catalog *catalog(struct lookout *w) { return engine_catalog(w->o.engine); }

static const char *verdict_text(int verdict)
{
    static const char *const texts[] = {"none", "ok", "warning", "failed", "unknown"};
    return (unsigned)verdict < 5 ? texts[verdict] : "unknown";
}

static const char *number(uint64_t value, char text[NUMBER_MAX])
{
    IGNORE(!str_format(text, NUMBER_MAX, "%" PRIu64, value));
    return text;
}

/* The note's text in ret; "" when there is none. */
static bool note_read(struct catalog *c, const char *database, const char *key, char *ret,
                      size_t size, struct err *err)
{
    struct err why = {0};
    AUTO(mem) char *text = catalog_note_get(c, database, key, &why);
    IGNORE(!str_copy(ret, size, text ? text : ""));
    if (text || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

/* ---- the manager's status line: worst first ---- */

static int badness(int verdict)
{
    static const int rank[] = {0, 0, 1, 3, 2};
    return (unsigned)verdict < 5 ? rank[verdict] : 2;
}

static void tell_manager(struct lookout *w)
{
    size_t counts[5] = {0};
    size_t worst = 0;
    char line[400];
    for (size_t i = 0; i < w->config->database_count; i++) {
        counts[w->seen[i].verdict]++;
        if (badness(w->seen[i].verdict) > badness(w->seen[worst].verdict))
            worst = i;
    }
    if (!w->config->database_count)
        IGNORE(!str_copy(line, sizeof line, "no databases are configured"));
    else if (!badness(w->seen[worst].verdict))
        IGNORE(!str_format(line, sizeof line, "%zu of %zu databases ok", counts[1],
                           w->config->database_count));
    else
        IGNORE(!str_format(line, sizeof line,
                           "%s %s: %s (of %zu: %zu failed, %zu unknown, %zu warning, %zu ok)",
                           w->config->databases[worst].name, verdict_text(w->seen[worst].verdict),
                           w->seen[worst].cause, w->config->database_count, counts[3], counts[4],
                           counts[2], counts[1]));
    notify_status(line);
}

/* ---- how a database stands ---- */

static bool tell_verdict(struct lookout *w, const char *database, const struct standing *s,
                         struct err *err)
{
    char old[16];
    const char *now = verdict_text(s->verdict);
    if (!note_read(catalog(w), database, NOTE_VERDICT, old, sizeof old, err))
        return false;
    if (str_equal(old, now))
        return true;
    if (!catalog_note_put(catalog(w), database, NOTE_VERDICT, now, err))
        return false;
    events_emit(w->events, "verdict.change",
                (const char *const[][2]){{"db", database},
                                         {"old", old[0] ? old : "none"},
                                         {"new", now},
                                         {"cause", s->cause},
                                         {"next", s->next},
                                         {"last_run", s->last.id},
                                         {NULL, NULL}});
    return true;
}

static void look_at(struct lookout *w, size_t i)
{
    struct standing standing;
    struct err err = {0};
    const char *database = w->config->databases[i].name;
    if (!w->o.judge(w->o.arg, database, &standing, &err) ||
        !tell_verdict(w, database, &standing, &err)) {
        log_warning("cannot tell hooks how a database stands: %s db=%s", err.text, database);
        return;
    }
    w->seen[i].verdict = (unsigned)standing.verdict < 5 ? standing.verdict : 4;
    IGNORE(!str_copy(w->seen[i].cause, sizeof w->seen[i].cause, standing.cause));
    tell_manager(w);
}

static struct lookout *of_look(struct work *work)
{
    return (struct lookout *)((char *)work - offsetof(struct lookout, look));
}

/* One database at a time, so that calls come between. */
static void run_look(struct work *work)
{
    struct lookout *w = of_look(work);
    w->looking = w->due > 0 && w->config->database_count && !w->stopping;
    if (!w->looking)
        return;
    w->due--;
    look_at(w, w->next++ % w->config->database_count);
    w->look = (struct work){.run = run_look};
    lane_submit(engine_lane(w->o.engine), &w->look);
}

/* ---- jobs that ended ---- */

static void tell_clone(struct lookout *w, const struct catalog_job *job)
{
    struct catalog_clone clone;
    struct err err = {0};
    char scn[NUMBER_MAX];
    char created[NUMBER_MAX];
    char expires[NUMBER_MAX];
    AUTO(mem) char *text = catalog_job_document(catalog(w), job->id, &err);
    AUTO(json) json_t *doc = text ? json_parse(text, strlen(text), &err) : NULL;
    if (!doc || !catalog_clone_get(catalog(w), job->database, json_text(doc, "name"), &clone, &err))
        return; /* dropped again already */
    events_emit(w->events, "clone.made",
                (const char *const[][2]){{"db", clone.database},
                                         {"clone", clone.name},
                                         {"snapshot", clone.snapshot},
                                         {"owner", clone.owner},
                                         {"purpose", clone.purpose},
                                         {"mount", clone.mount},
                                         {"scn", number(clone.scn, scn)},
                                         {"created_us", number(clone.created_us, created)},
                                         {"expires_us", number(clone.expires_us, expires)},
                                         {"job", job->id},
                                         {NULL, NULL}});
}

static void tell_retention(struct lookout *w, const struct catalog_job *job)
{
    struct err err = {0};
    char deleted[NUMBER_MAX];
    char kept[NUMBER_MAX];
    size_t count;
    AUTO(mem) char *text = catalog_job_document(catalog(w), job->id, &err);
    AUTO(json) json_t *doc = text ? json_parse(text, strlen(text), &err) : NULL;
    AUTO(mem)
    struct catalog_snapshot *left =
        doc ? catalog_snapshot_list(catalog(w), job->database, &count, &err) : NULL;
    if (!left) {
        log_warning("cannot tell hooks of retention: %s job=%s", err.text, job->id);
        return;
    }
    size_t gone = json_array_size(json_object_get(doc, "gone"));
    events_emit(w->events, "retention.applied",
                (const char *const[][2]){{"db", job->database},
                                         {"plan", json_text(doc, "plan")},
                                         {"deleted", number(gone, deleted)},
                                         {"kept", number(count, kept)},
                                         {"job", job->id},
                                         {NULL, NULL}});
}

static void tell_job(struct lookout *w, const struct catalog_job *job)
{
    char started[NUMBER_MAX];
    char ended[NUMBER_MAX];
    events_emit(w->events, "job.end",
                (const char *const[][2]){{"job", job->id},
                                         {"kind", job->kind},
                                         {"db", job->database},
                                         {"parent", job->parent},
                                         {"owner", job->owner},
                                         {"state", job_state_text(job->state)},
                                         {"step", job->step},
                                         {"verdict", verdict_text(job->verdict)},
                                         {"cause", job->cause},
                                         {"next", job->next},
                                         {"started_us", number(job->started_us, started)},
                                         {"ended_us", number(job->ended_us, ended)},
                                         {NULL, NULL}});
}

static void run_ended(struct work *work)
{
    AUTO(mem) struct ended *ended = (struct ended *)work; /* first member */
    struct lookout *w = ended->lookout;
    struct catalog_job job;
    struct err err = {0};
    if (!catalog_job_get(catalog(w), ended->id, &job, &err)) {
        log_warning("cannot tell hooks of a job's end: %s job=%s", err.text, ended->id);
        return;
    }
    tell_job(w, &job);
    if (job.state == JOB_DONE && str_equal(job.kind, "clone"))
        tell_clone(w, &job);
    if (job.state == JOB_DONE && str_equal(job.kind, "retention"))
        tell_retention(w, &job);
    for (size_t i = 0; i < w->config->database_count; i++)
        if (str_equal(w->config->databases[i].name, job.database))
            look_at(w, i);
}

/* In the midst of a commit: only remembers. */
static void on_end(void *arg, const char *id)
{
    struct lookout *w = arg;
    struct err err = {0};
    struct ended *ended = own_alloc(sizeof *ended, &err);
    if (!ended) {
        log_warning("hooks are not told of a job's end: %s job=%s", err.text, id);
        return;
    }
    ended->work.run = run_ended;
    ended->lookout = w;
    IGNORE(!str_copy(ended->id, sizeof ended->id, id));
    lane_submit(engine_lane(w->o.engine), &ended->work);
}

/* ---- clones past their time ---- */

static void tell_expired(struct events *events, const struct catalog_clone *clone)
{
    char expires[NUMBER_MAX];
    events_emit(events, "clone.expired",
                (const char *const[][2]){{"db", clone->database},
                                         {"clone", clone->name},
                                         {"owner", clone->owner},
                                         {"purpose", clone->purpose},
                                         {"mount", clone->mount},
                                         {"expires_us", number(clone->expires_us, expires)},
                                         {NULL, NULL}});
}

/* The note holds the latest expiry that was told: each clone once, also over a restart. */
bool lookout_expired(struct catalog *c, struct events *events, const struct catalog_clone *clones,
                     size_t count, struct err *err)
{
    char text[NUMBER_MAX];
    uint64_t told = 0;
    uint64_t now = clock_wall_us();
    if (!events)
        return true;
    if (!note_read(c, "", NOTE_EXPIRED, text, sizeof text, err))
        return false;
    IGNORE(!str_to_u64(text, UINT64_MAX, &told)); /* none yet: 0 */
    uint64_t newest = told;
    for (size_t i = 0; i < count; i++)
        if (clones[i].expires_us > newest && clones[i].expires_us <= now)
            newest = clones[i].expires_us;
    if (newest == told)
        return true;
    if (!catalog_note_put(c, "", NOTE_EXPIRED, number(newest, text), err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (clones[i].expires_us > told && clones[i].expires_us <= newest)
            tell_expired(events, &clones[i]);
    return true;
}

/* ---- room ---- */

static struct lookout *of_measure(struct work *work)
{
    return (struct lookout *)((char *)work - offsetof(struct lookout, measure));
}

/* On the readers' lane: a storage may take its time. */
static void run_measure(struct work *work)
{
    struct lookout *w = of_measure(work);
    for (size_t i = 0; i < w->config->database_count && !world_is_stopping(w->o.world); i++) {
        const struct config_served *db = &w->config->databases[i];
        struct driver_volume_info info;
        struct err why = {0}; /* a volume that is not there yet has no room to be low */
        struct seen *seen = &w->seen[i];
        seen->answered = driver_volume_info(world_driver(w->o.world, db), db->volume, &info, &why);
        seen->measured = seen->answered && info.capacity;
        IGNORE(!str_copy(seen->closed, sizeof seen->closed, seen->answered ? info.closed : ""));
        seen->capacity = seen->measured ? info.capacity : 0;
        seen->available = seen->measured ? info.available : 0;
    }
}

static bool judge_room(struct lookout *w, size_t i, struct err *err)
{
    const struct config_served *db = &w->config->databases[i];
    const struct seen *seen = &w->seen[i];
    char level[8];
    char capacity[NUMBER_MAX];
    char available[NUMBER_MAX];
    char threshold[NUMBER_MAX];
    double percent = 100.0 * (double)seen->available / (double)seen->capacity;
    if (!note_read(catalog(w), db->name, NOTE_CAPACITY, level, sizeof level, err))
        return false;
    bool was_low = str_equal(level, "low");
    bool is_low = percent < (double)(was_low ? w->config->capacityok : w->config->capacitylow);
    if (was_low == is_low)
        return true;
    if (!catalog_note_put(catalog(w), db->name, NOTE_CAPACITY, is_low ? "low" : "ok", err))
        return false;
    if (is_low)
        events_emit(w->events, "capacity.low",
                    (const char *const[][2]){
                        {"db", db->name},
                        {"storage", db->storage},
                        {"volume", db->volume},
                        {"available", number(seen->available, available)},
                        {"capacity", number(seen->capacity, capacity)},
                        {"threshold_percent", number(w->config->capacitylow, threshold)},
                        {NULL, NULL}});
    return true;
}

/* The note is what `status` says of it until the storage says otherwise. */
static bool judge_closed(struct lookout *w, size_t i, struct err *err)
{
    const struct config_served *db = &w->config->databases[i];
    const char *now = w->seen[i].closed;
    char told[sizeof w->seen[i].closed];
    if (!note_read(catalog(w), db->name, NOTE_CLOSED, told, sizeof told, err))
        return false;
    if (str_equal(told, now))
        return true;
    if (!catalog_note_put(catalog(w), db->name, NOTE_CLOSED, now, err))
        return false;
    if (now[0])
        log_error("a volume takes no changes: %s db=%s storage=%s volume=%s", now, db->name,
                  db->storage, db->volume);
    else
        log_info("a volume takes changes again db=%s storage=%s volume=%s", db->name, db->storage,
                 db->volume);
    if (is_heard(w))
        look_at(w, i);
    return true;
}

bool lookout_closed(struct catalog *c, const char *database, char *ret, size_t size,
                    struct err *err)
{
    return note_read(c, database, NOTE_CLOSED, ret, size, err);
}

/* What was seen is looked at anew: databases may have come, gone, or changed places. */
static void change_world(struct lookout *w, struct world *world)
{
    struct err err = {0};
    const struct config_agent *config = world_config(world);
    struct seen *seen = own_alloc(sizeof *seen * (config->database_count + 1), &err);
    if (!seen) {
        log_error("the lookout goes on with the configuration of before: %s", err.text);
        world_close(world);
        return;
    }
    own_free(w->seen);
    world_close(w->o.world);
    w->seen = seen;
    w->o.world = world;
    w->config = config;
    w->next = 0;
    w->due = config->database_count;
}

void lookout_set_world(struct lookout *w, struct world *world)
{
    world_close(TAKE(w->world_after));
    if (w->measuring)
        w->world_after = world_ref(world);
    else
        change_world(w, world_ref(world));
}

static void measured(struct work *work)
{
    struct lookout *w = of_measure(work);
    struct err err = {0};
    w->measuring = false;
    for (size_t i = 0; i < w->config->database_count && err.code == ERR_NONE; i++)
        if ((w->seen[i].measured && w->events && !judge_room(w, i, &err)) ||
            (w->seen[i].answered && !judge_closed(w, i, &err)))
            log_warning("cannot tell how a volume is: %s db=%s", err.text,
                        w->config->databases[i].name);
    if (w->world_after)
        change_world(w, TAKE(w->world_after));
}

static void begin_measure(struct lookout *w)
{
    if (w->measuring || world_is_stopping(w->o.world))
        return;
    w->measuring = true;
    w->measure = (struct work){
        .run = run_measure, .done = measured, .home = lane_post(engine_lane(w->o.engine))};
    lane_submit(world_readers(w->o.world), &w->measure);
}

/* ---- the clock ---- */

static struct lookout *of_tick(struct work *work)
{
    return (struct lookout *)((char *)work - offsetof(struct lookout, tick));
}

static void run_tick(struct work *work)
{
    struct lookout *w = of_tick(work);
    w->due = w->ticks ? (w->due ? w->due : 1) : w->config->database_count;
    if (!w->looking && is_heard(w)) {
        w->looking = true;
        w->look = (struct work){.run = run_look};
        lane_submit(engine_lane(w->o.engine), &w->look);
    }
    if (w->ticks++ % MEASURE_TICKS == 0)
        begin_measure(w);
}

static void tick_done(struct work *work) { of_tick(work)->ticking = false; }

static void on_tick(void *arg)
{
    struct lookout *w = arg;
    if (w->ticking)
        return;
    w->ticking = true;
    w->tick = (struct work){.run = run_tick, .done = tick_done, .home = loop_post(w->o.loop)};
    lane_submit(engine_lane(w->o.engine), &w->tick);
}

static void begin_looking(struct work *work)
{
    struct lookout *w = of_tick(work);
    catalog_watch_ends(catalog(w), on_end, w);
}

struct lookout *lookout_new(const struct lookout_options *options, struct err *err)
{
    AUTO(lookout) struct lookout *w = own_alloc(sizeof *w, err);
    if (!w)
        return NULL;
    w->o = *options;
    w->o.world = world_ref(options->world);
    w->events = world_events(options->world);
    w->config = world_config(options->world);
    w->seen = own_alloc(sizeof *w->seen * (w->config->database_count + 1), err);
    w->timer = w->seen ? timer_new(options->loop, on_tick, w, err) : NULL;
    if (!w->timer)
        return NULL;
    if (is_heard(w)) {
        w->ticking = true;
        w->tick = (struct work){
            .run = begin_looking, .done = tick_done, .home = loop_post(options->loop)};
        lane_submit(engine_lane(options->engine), &w->tick);
    }
    return TAKE(w);
}

void lookout_start(struct lookout *w) { timer_set(w->timer, FIRST_MS, TICK_MS); }

void lookout_stop(struct lookout *w)
{
    w->stopping = true;
    timer_free(w->timer);
    w->timer = NULL;
}

void lookout_free(struct lookout *w)
{
    if (!w)
        return;
    timer_free(w->timer);
    world_close(w->world_after);
    world_close(w->o.world);
    own_free(w->seen);
    own_free(w);
}
