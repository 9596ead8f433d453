/* A job in memory: made from its row, listed with the engine, waited for. */
#include "agent/engine/job_int.h"

#include <string.h>

void run_free(struct run *run)
{
    if (!run)
        return;
    while (run->waiters) {
        struct waiter *waiter = run->waiters;
        run->waiters = waiter->next;
        own_free(waiter);
    }
    engine_release_world(run->engine, run->job.world);
    if (run->job.held)
        run->job.held_free(run->job.held);
    json_decref(run->job.document);
    own_free(run->saved);
    own_free(run->pending);
    own_free(run);
}

struct run *run_new(struct engine *engine, const struct job_kind *kind,
                    const struct catalog_job *row, char *document, struct err *err)
{
    AUTO(mem) char *saved = document;
    AUTO(run) struct run *run = saved ? own_alloc(sizeof *run, err) : NULL;
    if (!run)
        return NULL;
    run->engine = engine;
    run->kind = kind;
    run->alarm.work = &run->work;
    run->job.row = *row;
    run->job.world = engine_hold_world(engine, engine->world);
    run->job.document = json_parse(saved, strlen(saved), err);
    if (!run->job.document)
        return NULL;
    run->saved = TAKE(saved);
    return TAKE(run);
}

bool run_wait(struct run *run, job_done_fn *done, void *arg, struct err *err)
{
    if (!done)
        return true;
    struct waiter *waiter = own_alloc(sizeof *waiter, err);
    if (!waiter)
        return false;
    *waiter = (struct waiter){.done = done, .arg = arg};
    struct waiter **at = &run->waiters;
    while (*at)
        at = &(*at)->next;
    *at = waiter;
    return true;
}

void run_list(struct run *run)
{
    run->next = run->engine->runs;
    run->engine->runs = run;
}

struct run *run_find(struct engine *engine, const char *id)
{
    struct run *run = engine->runs;
    while (run && strcmp(run->job.row.id, id) != 0)
        run = run->next;
    return run;
}

void run_unlist(struct run *run)
{
    struct run **at = &run->engine->runs;
    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
}
