/* Boot: what was running when the agent went down is finished or swept, and says so. */
#include "agent/engine/job_int.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include <assert.h>
#include <string.h>

enum { REVIVE_FIRST_MS = 30 * 1000, REVIVE_LAST_MS = 30 * 60 * 1000 };

static size_t find_step(const struct job_kind *kind, const char *name)
{
    size_t i = 0;
    while (i < kind->step_count && strcmp(kind->steps[i].name, name) != 0)
        i++;
    return i;
}

/* Reads from the journal's last row where it stood; *ret_undo when it was failing already. */
static bool find_place(struct run *run, bool *ret_undo, struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_journal_row *rows =
        catalog_journal_list(run->engine->catalog, run->job.row.id, &count, err);
    if (!rows)
        return false;
    *ret_undo = false;
    if (count == 0)
        return true;
    const struct catalog_journal_row *last = &rows[count - 1];
    run->step = find_step(run->kind, last->step);
    bool known = run->step < run->kind->step_count;
    *ret_undo = !known || (last->is_end && !last->ok);
    run->begun = known && !last->is_end;
    if (known && last->is_end && last->ok)
        run->step++;
    for (size_t i = count; i-- > 0 && *ret_undo;)
        if (rows[i].is_end && !rows[i].ok && strcmp(rows[i].step, JOB_UNDO_STEP) != 0)
            err_set(&run->why, err_from_name(json_text(run->job.document, JOB_ERROR_CODE)), "%s",
                    rows[i].text);
    return true;
}

static const char *found(const struct run *run)
{
    return run->engine->boot ? "found running at the agent's start" : "taken up again";
}

static bool say_resumed(struct run *run, struct err *err)
{
    const char *place = run_step_name(run);
    log_info("job %s, goes on job=%s kind=%s db=%s step=%s", found(run), run->job.row.id,
             run->kind->name, run->job.row.database, place);
    return run_tell(run, err, "%s: goes on at '%s'", found(run), place);
}

static bool say_swept(struct run *run, struct err *err)
{
    const char *place = run->job.row.step;
    log_info("job %s, is swept job=%s kind=%s db=%s step=%s", found(run), run->job.row.id,
             run->kind->name, run->job.row.database, place);
    return run_tell(run, err, "%s: is swept, it stood at '%s'", found(run), place);
}

struct run *run_resume(struct engine *engine, const struct job_kind *kind,
                       const struct catalog_job *row, struct err *err)
{
    bool undo;
    char *document = catalog_job_document(engine->catalog, row->id, err);
    AUTO(run) struct run *run = run_new(engine, kind, row, document, err);
    if (!run || !find_place(run, &undo, err))
        return NULL;
    run->job.resumed = true;
    undo = undo || (kind->resume && !kind->resume(&run->job));
    if (!(undo ? say_swept : say_resumed)(run, err))
        return NULL;
    run->undone_state = undo ? JOB_SWEPT : JOB_RUNNING;
    if (undo && run->why.code == ERR_NONE)
        err_set(&run->why, ERR_UNAVAILABLE, "the agent went down during step '%s'", row->step);
    run_list(run);
    return TAKE(run);
}

void run_go_on(struct run *run)
{
    if (run->undone_state == JOB_SWEPT)
        run_begin_undo(run);
    else
        run_begin_step(run);
}

void boot_less(struct engine *engine)
{
    struct boot *boot = engine->boot;
    if (--boot->pending > 0)
        return;
    engine->boot = NULL;
    boot->done(boot->arg, boot->finished, boot->swept, &boot->err);
    own_free(boot);
}

uint64_t engine_revive_later(struct engine *engine)
{
    uint64_t now = clock_mono_ms();
    if (!engine->stranded && now > engine->revive_ms + engine->revive_rest_ms)
        engine->revive_rest_ms = REVIVE_FIRST_MS; /* what was stranded before went well */
    if (!engine->stranded)
        engine->revive_ms = now + engine->revive_rest_ms;
    engine->stranded = true;
    return engine->revive_ms > now ? engine->revive_ms - now : 0;
}

/* False: not yet. */
static bool revive_one(struct engine *engine, const struct catalog_job *row, struct err *err)
{
    const struct job_kind *kind = engine_find_kind(engine, row->kind);
    if (!kind || kind->external || run_find(engine, row->id))
        return true;
    struct run *run = run_resume(engine, kind, row, err);
    if (run)
        run_go_on(run);
    return run;
}

bool engine_revive(struct engine *engine, struct err *err)
{
    assert(lane_is_current(engine->lane));
    size_t count = 0;
    if (!engine->stranded || engine->boot || engine->stopping ||
        clock_mono_ms() < engine->revive_ms)
        return true;
    uint64_t rest_ms = 2 * engine->revive_rest_ms;
    engine->revive_rest_ms = rest_ms < REVIVE_LAST_MS ? rest_ms : REVIVE_LAST_MS;
    engine->stranded = false;
    AUTO(mem)
    struct catalog_job *rows =
        catalog_job_list(engine->catalog, "", "", JOB_RUNNING, SIZE_MAX, &count, err);
    bool ok = rows;
    for (size_t i = count; rows && i-- > 0;) {
        struct err why = {0};
        if (!revive_one(engine, &rows[i], &why))
            ok = err_set(err, why.code, "job %s: %s", rows[i].id, why.text);
    }
    if (!ok)
        engine_revive_later(engine);
    return ok || err_wrap(err, "jobs that could not go on");
}

static void boot_one(struct engine *engine, struct boot *boot, const struct catalog_job *row)
{
    const struct job_kind *kind = engine_find_kind(engine, row->kind);
    struct err err = {0};
    if (run_find(engine, row->id))
        return;
    if (kind && kind->external) {
        log_info("job found open at start job=%s kind=%s db=%s", row->id, row->kind, row->database);
        return;
    }
    if (!kind)
        err_set(&err, ERR_UNSUPPORTED, "this program knows no job of kind '%s'", row->kind);
    struct run *run = kind ? run_resume(engine, kind, row, &err) : NULL;
    if (!run) {
        log_error("job found running at start, cannot go on: %s job=%s db=%s", err.text, row->id,
                  row->database);
        if (kind)
            engine_revive_later(engine);
        boot->err = err;
        return;
    }
    run->boot = boot;
    boot->pending++;
    run_go_on(run);
}

void engine_boot(struct engine *engine,
                 void (*done)(void *arg, size_t finished, size_t swept, const struct err *err),
                 void *arg)
{
    assert(lane_is_current(engine->lane) && !engine->boot);
    struct err err = {0};
    size_t count = 0;
    AUTO(mem)
    struct catalog_job *rows =
        catalog_job_list(engine->catalog, "", "", JOB_RUNNING, SIZE_MAX, &count, &err);
    struct boot *boot = rows ? own_alloc(sizeof *boot, &err) : NULL;
    if (!boot) {
        done(arg, 0, 0, &err);
        return;
    }
    *boot = (struct boot){.done = done, .arg = arg, .pending = 1};
    engine->boot = boot;
    for (size_t i = count; i-- > 0;)
        boot_one(engine, boot, &rows[i]);
    boot_less(engine);
}
