/* What the job machine's files share: a job in memory, the engine, and the ways between them. */
#pragma once
#include "agent/engine/alarm.h"
#include "agent/engine/job.h"
#include <stdatomic.h>

#define JOB_UNDO_STEP "undo"
/* Member of a failed job's document: whoever comes with its key again gets the same code. */
#define JOB_ERROR_CODE "error_code"

typedef void job_done_fn(void *arg, const struct catalog_job *row, const json_t *document,
                         const struct err *err);

struct waiter {
    job_done_fn *done;
    void *arg;
    struct waiter *next;
};

struct boot {
    void (*done)(void *arg, size_t finished, size_t swept, const struct err *err);
    void *arg;
    size_t pending, finished, swept;
    struct err err;
};

/* A job in memory. Belongs to the engine's lane, except between submit_act and acted. */
struct run {
    struct work work;
    struct alarm alarm;
    struct engine *engine;
    const struct job_kind *kind;
    struct job job;
    char *saved;   /* the document as journaled last */
    char *pending; /* the document in the transaction that is being written */
    size_t step;
    bool begun; /* the step's intent is journaled */
    bool undoing;
    bool skipped; /* the engine stopped before it could act */
    enum step_verdict verdict;
    int tries;
    uint64_t rest_until_ms;      /* by clock_mono_ms */
    enum job_state undone_state; /* what it is once undone, and why */
    struct err why;
    struct waiter *waiters;
    struct boot *boot;
    struct run *next;
};

struct engine {
    struct lane *lane, *acts;
    struct alarm_clock *alarms;
    struct catalog *catalog;
    const struct job_kind *const *kinds;
    size_t kind_count;
    void *world;
    void *(*world_ref)(void *world);
    void (*world_unref)(void *world);
    _Atomic bool stopping;
    struct run *runs;
    struct boot *boot; /* while it goes on */
    /* Jobs that could not go on are taken up again at revive_ms, and more and more seldom. */
    bool stranded;
    uint64_t revive_ms, revive_rest_ms;
};

/* ---- job.c: the machine ---- */
/* The step it stands at, "undo", or "the end". */
const char *run_step_name(const struct run *run);
/* A line in the job's own log. */
bool run_tell(struct run *run, struct err *err, const char *fmt, ...) PRINTF(3, 4) MUST;
/* Journals the intent of the run's step, or of its undo, and has it done. */
void run_begin_step(struct run *run);
void run_begin_undo(struct run *run);
/* The run leaves memory; whoever waits is told. */
void run_end(struct run *run, const struct err *err);

/* ---- run.c: the object ---- */
/* document: owned text, taken over. */
struct run *run_new(struct engine *engine, const struct job_kind *kind,
                    const struct catalog_job *row, char *document, struct err *err) MUST;
void run_free(struct run *run);
OWN_DEFINE(run, struct run, run_free);
void run_list(struct run *run);
void run_unlist(struct run *run);
struct run *run_find(struct engine *engine, const char *id);
bool run_wait(struct run *run, job_done_fn *done, void *arg, struct err *err) MUST;

/* ---- boot.c ---- */
/* Brings a running row into memory, finds its place and says so. NULL when it cannot be read. */
struct run *run_resume(struct engine *engine, const struct job_kind *kind,
                       const struct catalog_job *row, struct err *err) MUST;
void run_go_on(struct run *run);
/* One job of the boot has ended; the last one calls its done. */
void boot_less(struct engine *engine);
/* A job could not go on: it is taken up again in so many ms. */
uint64_t engine_revive_later(struct engine *engine);

/* ---- engine.c ---- */
void *engine_hold_world(struct engine *engine, void *world);
void engine_release_world(struct engine *engine, void *world);
const struct job_kind *engine_find_kind(const struct engine *engine, const char *name);
