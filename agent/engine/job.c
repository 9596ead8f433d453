/* The job machine: each step's intent and outcome are in the catalog before anything depends on
 * them. */
#include "agent/engine/job.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/job_int.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    TRIES_MAX = 5,
    RETRY_FIRST_MS = 200, /* then doubled: 6.2 s in all */
    AGAIN_DEFAULT_MS = 1000,
    REST_PIECE_MS = 1000,
    VERDICT_OK = 1, /* the wire's numbers */
    VERDICT_FAILED = 3,
};

/* The run leaves memory; whoever waits is told. */
void run_end(struct run *run, const struct err *err)
{
    struct engine *engine = run->engine;
    struct boot *boot = run->boot;
    run_unlist(run);
    if (boot && run->job.row.state == JOB_RUNNING)
        boot->err = *err;
    else if (boot)
        *(run->job.row.state == JOB_DONE ? &boot->finished : &boot->swept) += 1;
    for (struct waiter *waiter = run->waiters; waiter; waiter = waiter->next)
        waiter->done(waiter->arg, &run->job.row, run->job.document, err);
    run_free(run);
    if (boot)
        boot_less(engine);
}

/* The catalog could not be told, or what was made cannot be removed: the row stays running, and
 * engine_revive takes it up again. */
static void strand(struct run *run, const struct err *err)
{
    const struct catalog_job *row = &run->job.row;
    uint64_t rest_ms = engine_revive_later(run->engine);
    log_error("job cannot go on, it is taken up again in %llu s: %s job=%s kind=%s db=%s code=%s",
              (unsigned long long)(rest_ms / 1000), err->text, row->id, row->kind, row->database,
              err_code_name(err->code));
    run_end(run, err);
}

static struct run *run_of(struct work *work)
{
    return (struct run *)((char *)work - offsetof(struct run, work));
}

/* ---- what the catalog is told ---- */

/* A line in the job's own log. */
bool run_tell(struct run *run, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *line = text;
    size_t size = len < 0 ? 0 : len < (int)sizeof text ? (size_t)len : sizeof text - 1;
    uint64_t next;
    struct catalog *c = run->engine->catalog;
    return catalog_log_append(c, run->job.row.id, 0, NULL, NULL, 0, &next, err) &&
           catalog_log_append(c, run->job.row.id, next, &line, &size, 1, &next, err);
}

/* Runs `write` as one transaction. */
static bool as_group(struct run *run, bool (*write)(struct run *run, struct err *err),
                     struct err *err)
{
    struct catalog *c = run->engine->catalog;
    if (!catalog_group_begin(c, err))
        return false;
    if (write(run, err))
        return catalog_group_end(c, err);
    catalog_group_drop(c);
    return false;
}

const char *run_step_name(const struct run *run)
{
    if (run->undoing)
        return JOB_UNDO_STEP;
    return run->step < run->kind->step_count ? run->kind->steps[run->step].name : "the end";
}

static bool write_outcome(struct run *run, struct err *err)
{
    own_free(run->pending);
    run->pending = json_format(run->job.document, err);
    return run->pending &&
           catalog_step_end(run->engine->catalog, run->job.row.id, run_step_name(run), true, "",
                            run->pending, err) &&
           run_tell(run, err, "step '%s' is done", run_step_name(run));
}

static bool write_end(struct run *run, struct err *err)
{
    struct catalog *c = run->engine->catalog;
    const struct catalog_job *row = &run->job.row;
    return (run->step >= run->kind->step_count || write_outcome(run, err)) &&
           (!run->kind->commit || run->kind->commit(&run->job, c, err)) &&
           catalog_job_finish(c, row->id, JOB_DONE, row->verdict ? row->verdict : VERDICT_OK,
                              row->cause, row->next, err) &&
           run_tell(run, err, "the job is done");
}

static bool write_failure(struct run *run, struct err *err)
{
    const struct err *why = &run->why;
    if (!run->undoing &&
        !json_put_text(run->job.document, JOB_ERROR_CODE, err_code_name(why->code), err))
        return false;
    AUTO(mem) char *document = json_format(run->job.document, err);
    return document &&
           catalog_step_end(run->engine->catalog, run->job.row.id, run_step_name(run), false,
                            why->text, document, err) &&
           run_tell(run, err, "step '%s' failed: %s", run_step_name(run), why->text);
}

static bool write_undone(struct run *run, struct err *err)
{
    struct catalog *c = run->engine->catalog;
    const struct catalog_job *row = &run->job.row;
    /* Nothing was done, and it may go better the next time: the same request may try anew. */
    if (row->key[0] && err_is_transient(run->why.code) && !catalog_job_drop_key(c, row->id, err))
        return false;
    return (!run->undoing || catalog_step_end(c, row->id, JOB_UNDO_STEP, true, "", NULL, err)) &&
           catalog_job_finish(c, row->id, run->undone_state, VERDICT_FAILED, row->cause, row->next,
                              err) &&
           run_tell(run, err, "the job was undone, it is %s: %s", job_state_text(run->undone_state),
                    row->cause);
}

/* ---- trying again ---- */

static bool restore_document(struct run *run, struct err *err)
{
    json_t *document = json_parse(run->saved, strlen(run->saved), err);
    if (!document)
        return false;
    json_decref(run->job.document);
    run->job.document = document;
    return true;
}

static void act(struct work *work)
{
    struct run *run = run_of(work);
    run->skipped = run->engine->stopping;
    if (run->skipped)
        return;
    run->job.again_ms = 0;
    run->job.patient = false;
    run->job.tries = (unsigned)run->tries;
    if (run->undoing)
        run->verdict = run->kind->undo(&run->job, &work->err) ? STEP_DONE : STEP_FAILED;
    else
        run->verdict = run->kind->steps[run->step].act(&run->job, &work->err);
}

static void acted(struct work *work);

/* Once stopping, neither this nor rest does anything: the next boot goes on. */
static void submit_act(struct run *run)
{
    if (run->engine->stopping)
        return;
    run->work = (struct work){.run = act, .done = acted, .home = lane_post(run->engine->lane)};
    lane_submit(run->engine->acts, &run->work);
}

static void rest_on(struct run *run);

/* Rests are slept in pieces, so that a job that is to stop hears of it. */
static void wake(struct work *work)
{
    struct run *run = run_of(work);
    bool stops = run->job.row.cancelled_by[0] && !run->undoing;
    if (clock_mono_ms() < run->rest_until_ms && !stops)
        rest_on(run);
    else if (run->undoing)
        submit_act(run);
    else
        run_begin_step(run);
}

static void rest_on(struct run *run)
{
    if (run->engine->stopping)
        return;
    uint64_t piece_end = clock_mono_ms() + REST_PIECE_MS;
    run->work = (struct work){.run = wake};
    run->alarm.due_ms = run->rest_until_ms < piece_end ? run->rest_until_ms : piece_end;
    alarm_set(run->engine->alarms, &run->alarm);
}

static void rest(struct run *run, uint64_t ms)
{
    run->rest_until_ms = clock_mono_ms() + ms;
    rest_on(run);
}

/* True when the error is worth another try and one was arranged. */
static bool try_again(struct run *run, const struct err *why)
{
    struct err err = {0};
    if (!err_is_transient(why->code) || (run->tries >= TRIES_MAX && !run->job.patient))
        return false;
    if (run->job.patient && run->tries) { /* said once */
        rest(run, run->job.again_ms ? run->job.again_ms : AGAIN_DEFAULT_MS);
        return true;
    }
    uint64_t ms = run->job.again_ms ? run->job.again_ms : (uint64_t)RETRY_FIRST_MS << run->tries;
    run->tries++;
    if (!run_tell(run, &err, "step '%s': %s; trying again (%d of %d)", run_step_name(run),
                  why->text, run->tries, TRIES_MAX))
        log_warning("job log cannot be written: %s job=%s", err.text, run->job.row.id);
    rest(run, ms);
    return true;
}

/* ---- the arrows ---- */

/* running -> done */
static void finish(struct run *run)
{
    struct catalog_job *row = &run->job.row;
    struct err none = {0};
    row->state = JOB_DONE;
    row->verdict = row->verdict ? row->verdict : VERDICT_OK;
    row->ended_us = clock_wall_us();
    log_info("job done job=%s kind=%s db=%s verdict=%d", row->id, row->kind, row->database,
             row->verdict);
    run_end(run, &none);
}

static void keep_cause(struct catalog_job *row, const struct err *why)
{
    const char *hint = strstr(why->text, "hint: ");
    IGNORE(str_copy(row->cause, sizeof row->cause, why->text)); /* same size */
    if (hint && !row->next[0])
        IGNORE(str_copy(row->next, sizeof row->next, hint + strlen("hint: "))); /* cut is fine */
}

/* running -> failed or swept: all that was made is gone */
static void finish_undone(struct run *run)
{
    struct catalog_job *row = &run->job.row;
    struct err err = {0}, why = run->why;
    keep_cause(row, &why);
    if (!as_group(run, write_undone, &err)) {
        strand(run, &err);
        return;
    }
    row->state = run->undone_state;
    row->verdict = VERDICT_FAILED;
    row->ended_us = clock_wall_us();
    void (*log)(const char *fmt, ...) = row->state == JOB_SWEPT ? log_warning : log_error;
    log("job %s: %s job=%s kind=%s db=%s code=%s", job_state_text(row->state), why.text, row->id,
        row->kind, row->database, err_code_name(why.code));
    run_end(run, &why);
}

/* The failure is on disk before anything is undone: an undone job must never run on. */
static void fail(struct run *run, const struct err *why)
{
    struct err err = {0};
    run->why = *why;
    run->undone_state = JOB_FAILED;
    if (as_group(run, write_failure, &err))
        run_begin_undo(run);
    else
        strand(run, &err);
}

/* Asked to stop: between two steps, and instead of another try. */
static bool is_cancelled(struct run *run)
{
    struct err err = {0};
    if (!run->job.row.cancelled_by[0] || run->undoing || run->kind->winds_down)
        return false;
    err_set(&err, ERR_CANCELLED, "cancelled by %s", run->job.row.cancelled_by);
    fail(run, &err);
    return true;
}

static void step_failed(struct run *run, const struct err *why)
{
    struct err err = {0};
    if (!restore_document(run, &err))
        strand(run, &err);
    else if ((err_is_transient(why->code) || why->code == ERR_CANCELLED) && is_cancelled(run))
        return;
    else if (!try_again(run, why))
        fail(run, why);
}

static void step_done(struct run *run)
{
    struct err err = {0};
    bool last = run->step + 1 >= run->kind->step_count;
    if (!as_group(run, last ? write_end : write_outcome, &err)) {
        step_failed(run, &err);
        return;
    }
    if (last) {
        finish(run);
        return;
    }
    own_free(run->saved);
    run->saved = TAKE(run->pending);
    run->step++;
    run->begun = false;
    run->tries = 0;
    run_begin_step(run);
}

void run_begin_step(struct run *run)
{
    struct err err = {0};
    if (run->engine->stopping)
        return;
    if (run->step >= run->kind->step_count) {
        step_done(run);
        return;
    }
    if (is_cancelled(run))
        return;
    struct catalog_job *row = &run->job.row;
    if (!run->begun) {
        run->begun = catalog_step_begin(run->engine->catalog, row->id, run_step_name(run), &err);
        IGNORE(str_copy(row->step, sizeof row->step, run_step_name(run))); /* a name of ours */
    }
    if (run->begun && (!run->kind->look || run->kind->look(&run->job, run->engine->catalog, &err)))
        submit_act(run);
    else
        step_failed(run, &err);
}

void run_begin_undo(struct run *run)
{
    struct err err = {0};
    if (!run->kind->undo) {
        finish_undone(run);
        return;
    }
    if (!catalog_step_begin(run->engine->catalog, run->job.row.id, JOB_UNDO_STEP, &err)) {
        strand(run, &err);
        return;
    }
    run->undoing = true;
    run->tries = 0;
    submit_act(run);
}

static void undo_failed(struct run *run, struct err *why)
{
    struct err err = {0};
    if (try_again(run, why))
        return;
    err_wrap(why, "cannot remove what the job had made");
    run->why = *why;
    if (!as_group(run, write_failure, &err))
        log_warning("journal cannot be written: %s job=%s", err.text, run->job.row.id);
    strand(run, why);
}

/* On the engine's lane: a step or the undo came back from the acts lane. */
static void acted(struct work *work)
{
    struct run *run = run_of(work);
    struct err err = work->err;
    if (run->skipped)
        return;
    if (run->verdict == STEP_FAILED && err.code == ERR_NONE)
        err_set(&err, ERR_INTERNAL, "step '%s' failed without a reason", run_step_name(run));
    if (run->verdict == STEP_AGAIN) {
        run->tries = 0;
        rest(run, run->job.again_ms ? run->job.again_ms : AGAIN_DEFAULT_MS);
    } else if (run->verdict == STEP_DONE && run->undoing)
        finish_undone(run);
    else if (run->verdict == STEP_DONE)
        step_done(run);
    else if (run->undoing)
        undo_failed(run, &err);
    else
        step_failed(run, &err);
}
