/* The engine as a whole: its lanes, starting jobs once per key, stopping in mid-job. */
#include "agent/engine/job_int.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <assert.h>
#include <semaphore.h>
#include <string.h>

enum { ACT_WORKERS = 4 };

struct lane *engine_lane(struct engine *engine) { return engine->lane; }
void *engine_world(struct engine *engine) { return engine->world; }

struct catalog *engine_catalog(struct engine *engine)
{
    assert(lane_is_current(engine->lane));
    return engine->catalog;
}

void *engine_hold_world(struct engine *engine, void *world)
{
    return engine->world_ref && world ? engine->world_ref(world) : world;
}

void engine_release_world(struct engine *engine, void *world)
{
    if (engine->world_unref && world)
        engine->world_unref(world);
}

void engine_set_world(struct engine *engine, void *world)
{
    assert(lane_is_current(engine->lane));
    void *before = engine->world;
    engine->world = engine_hold_world(engine, world);
    engine_release_world(engine, before);
}

size_t engine_running(struct engine *engine)
{
    assert(lane_is_current(engine->lane));
    size_t count = 0;
    for (const struct run *run = engine->runs; run; run = run->next)
        count++;
    return count;
}

bool engine_works_on(struct engine *engine, const char *job)
{
    assert(lane_is_current(engine->lane));
    return run_find(engine, job);
}

const struct catalog_job *engine_recovering(struct engine *engine, const char *database)
{
    assert(lane_is_current(engine->lane));
    for (const struct run *run = engine->runs; run; run = run->next)
        if (run->boot && strcmp(run->job.row.database, database) == 0)
            return &run->job.row;
    return NULL;
}

bool engine_cancel(struct engine *engine, const char *id, const char *who, struct err *err)
{
    assert(lane_is_current(engine->lane));
    if (!catalog_job_cancel(engine->catalog, id, who, err))
        return false;
    for (struct run *run = engine->runs; run; run = run->next) {
        struct catalog_job *row = &run->job.row;
        bool child = strcmp(row->parent, id) == 0;
        if (child && !catalog_job_cancel(engine->catalog, row->id, who, err))
            return false;
        if (!child && strcmp(row->id, id) != 0)
            continue;
        if (!row->cancelled_by[0])
            IGNORE(str_copy(row->cancelled_by, sizeof row->cancelled_by, who)); /* same size */
        run->job.cancelled = true;
    }
    return true;
}

const struct job_kind *engine_find_kind(const struct engine *engine, const char *name)
{
    for (size_t i = 0; i < engine->kind_count; i++)
        if (strcmp(engine->kinds[i]->name, name) == 0)
            return engine->kinds[i];
    return NULL;
}

/* ---- starting ---- */

static void replay(const struct catalog_job *row, const json_t *document, job_done_fn *done,
                   void *arg)
{
    struct err err = {0};
    const char *code = json_text(document, JOB_ERROR_CODE);
    if (row->state == JOB_FAILED || row->state == JOB_SWEPT)
        err_set(&err, code[0] ? err_from_name(code) : ERR_UNAVAILABLE, "%s", row->cause);
    if (done)
        done(arg, row, document, &err);
}

/* The key was used: join that job. */
static bool join(struct engine *engine, const struct job_kind *kind, const struct catalog_job *row,
                 const struct catalog_job *found, job_done_fn *done, void *arg, struct err *err)
{
    if (strcmp(found->kind, kind->name) != 0 || strcmp(found->database, row->database) != 0)
        return err_set(err, ERR_INVALID, "key '%s' was used before, for another request", row->key);
    struct run *run = run_find(engine, found->id);
    if (run)
        return run_wait(run, done, arg, err);
    if (found->state == JOB_RUNNING && !kind->external) {
        run = run_resume(engine, kind, found, err);
        bool waits = run && run_wait(run, done, arg, err);
        if (run)
            run_go_on(run);
        return waits;
    }
    AUTO(mem) char *text = catalog_job_document(engine->catalog, found->id, err);
    AUTO(json) json_t *document = text ? json_parse(text, strlen(text), err) : NULL;
    if (!document)
        return false;
    replay(found, document, done, arg);
    return true;
}

static struct run *run_add(struct engine *engine, const struct job_kind *kind,
                           const struct catalog_job *row, json_t *args, job_done_fn *done,
                           void *arg, struct err *err)
{
    struct catalog_job own = *row;
    IGNORE(str_copy(own.kind, sizeof own.kind, kind->name)); /* a name of ours */
    own.state = JOB_RUNNING;
    own.step[0] = '\0';
    own.ended_us = 0;
    if (!own.id[0])
        catalog_job_id(kind->name, own.id);
    if (!own.started_us)
        own.started_us = clock_wall_us();
    char *document = args ? json_format(args, err) : own_strdup("{}", err);
    AUTO(run) struct run *run = run_new(engine, kind, &own, document, err);
    if (!run || !run_wait(run, done, arg, err) ||
        !catalog_job_add(engine->catalog, &own, run->saved, err))
        return NULL;
    run_list(run);
    return TAKE(run);
}

bool engine_job_start(struct engine *engine, const char *kind_name, const struct catalog_job *row,
                      json_t *args, job_done_fn *done, void *arg, struct err *err)
{
    assert(lane_is_current(engine->lane));
    if (engine->stopping)
        return err_set(err, ERR_UNAVAILABLE, "the agent is stopping");
    const struct job_kind *kind = engine_find_kind(engine, kind_name);
    if (!kind)
        return err_set(err, ERR_INVALID, "no job is of kind '%s'", kind_name);
    struct catalog_job found;
    struct err why = {0};
    if (row->key[0] && catalog_job_find_key(engine->catalog, row->key, &found, &why))
        return join(engine, kind, row, &found, done, arg, err);
    if (why.code != ERR_NONE && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    struct run *run = run_add(engine, kind, row, args, done, arg, err);
    if (!run)
        return err_wrap(err, "start a job of kind '%s'", kind_name);
    if (kind->external) {
        struct err none = {0};
        run_end(run, &none);
    } else {
        run_begin_step(run);
    }
    return true;
}

/* ---- the engine as a whole ---- */

struct engine *engine_new(const struct engine_options *options, struct err *err)
{
    AUTO(engine) struct engine *engine = own_alloc(sizeof *engine, err);
    if (!engine)
        return NULL;
    engine->kinds = options->kinds;
    engine->kind_count = options->kind_count;
    engine->world_ref = options->world_ref;
    engine->world_unref = options->world_unref;
    engine->lane = lane_new("engine", 1, err);
    engine->acts =
        engine->lane
            ? lane_new("acts", options->act_workers ? options->act_workers : ACT_WORKERS, err)
            : NULL;
    engine->alarms = engine->acts ? alarm_clock_new(engine->lane, err) : NULL;
    if (!engine->alarms)
        return NULL;
    engine->world = engine_hold_world(engine, options->world);
    engine->catalog = options->catalog; /* last: on failure it is still the caller's */
    return TAKE(engine);
}

struct last_rites {
    struct work work;
    struct engine *engine;
    sem_t told;
};

static void stop(struct work *work)
{
    struct last_rites *rites = (struct last_rites *)work; /* first member */
    rites->engine->stopping = true;
    sem_post(&rites->told);
}

static void drain(struct work *work)
{
    struct last_rites *rites = (struct last_rites *)work; /* first member */
    struct err err = {0};
    err_set(&err, ERR_UNAVAILABLE, "the agent is stopping; the job goes on at its next start");
    while (rites->engine->runs)
        run_end(rites->engine->runs, &err);
}

/* After `stop` nothing new goes to the acts lane or the alarms, so they can end before the lane. */
static void stop_running(struct engine *engine)
{
    struct last_rites rites = {.work.run = stop, .engine = engine};
    IGNORE(sem_init(&rites.told, 0, 0)); /* cannot fail for 0 */
    lane_submit(engine->lane, &rites.work);
    while (sem_wait(&rites.told) != 0)
        continue;
    sem_destroy(&rites.told);
    alarm_clock_free(engine->alarms);
    lane_free(engine->acts);
    struct last_rites last = {.work.run = drain, .engine = engine};
    lane_submit(engine->lane, &last.work);
    lane_free(engine->lane);
}

void engine_free(struct engine *engine)
{
    if (!engine)
        return;
    assert(!engine->lane || !lane_is_current(engine->lane));
    if (engine->alarms) {
        stop_running(engine);
    } else {
        lane_free(engine->acts);
        lane_free(engine->lane);
    }
    catalog_close(engine->catalog);
    engine_release_world(engine, engine->world);
    own_free(engine);
}
