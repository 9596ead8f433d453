/* Jobs are step machines: journal the intent, act, journal the outcome. Steps are idempotent, so
 * boot recovery is "run it again"; engine/README.md draws the states.
 *
 * Threads: everything here runs on the engine's lane (one worker), which also owns the catalog;
 * only `act` and `undo` run on the acts lane, where they may block but see nothing but their job.
 */
#pragma once
#include "agent/base/json.h"
#include "agent/base/pool.h"
#include "agent/catalog/catalog.h"
#include <stdatomic.h>

enum step_verdict {
    STEP_AGAIN, /* not ready: call again after job->again_ms */
    STEP_DONE,
    STEP_FAILED, /* err says why; transient errors are tried again (5 times) before it counts */
};

struct job {
    struct catalog_job row; /* the last step may set verdict, cause, next for the end (else: ok) */
    json_t *document;  /* args at first; each step may add; journaled with each outcome, and put
                          back as it was before a step that failed */
    unsigned tries;    /* of this step before, that ended in a transient error */
    bool patient;      /* false before each act; with a transient error: tries without end */
    uint64_t again_ms; /* 0 before each act; with a transient error: when to try again */
    void *world;       /* what the job's kind needs: storages, configuration (read-only) */
    void *held; /* what a step keeps between its AGAINs; gone with the job, never journaled */
    void (*held_free)(void *held);
    bool resumed;           /* begun before the agent's last start, or taken up again */
    _Atomic bool cancelled; /* row.cancelled_by says who; an act that takes long may ask */
};

struct job_step {
    const char *name;
    /* On the acts lane. Idempotent: after a crash it is called again with the document as it was
     * before it. */
    enum step_verdict (*act)(struct job *job, struct err *err);
};

struct job_kind {
    const char *name;
    const struct job_step *steps;
    size_t step_count;
    /* On the acts lane, when a step failed for good or a job is swept: removes what was half made,
     * also when steps had ended well before. May be NULL. Idempotent. When it fails for good the
     * job stays running in the catalog, and is undone again some time later, or at the next boot.
     */
    bool (*undo)(struct job *job, struct err *err);
    /* On the engine's lane, in one transaction with the last outcome and the job's end: what the
     * catalog should say now. May be NULL. An error writes none of it and fails the job. */
    bool (*commit)(struct job *job, struct catalog *catalog, struct err *err);
    /* At boot, for a job that was running: true runs it on from its last intent; false undoes it
     * and marks it swept. NULL: runs on. */
    bool (*resume)(const struct job *job);
    /* Driven from outside (a backup run): the machine only keeps the row; boot leaves it open. */
    bool external;
    /* On the engine's lane, right before each act of a step, each try and after a restart: what the
     * act cannot see for itself; it may write into the document. An error fails the step. May be
     * NULL. */
    bool (*look)(struct job *job, struct catalog *catalog, struct err *err);
    /* When it is cancelled, look sees row.cancelled_by and the steps end by themselves: what was
     * done cannot be undone, and must be settled. */
    bool winds_down;
};

struct engine;
struct engine_options {
    struct catalog *catalog; /* taken over once it succeeds; used on the lane only */
    const struct job_kind *const *kinds;
    size_t kind_count;
    int act_workers; /* 0: 4 */
    void *world;     /* borrowed, unless it is counted by these two (else NULL) */
    void *(*world_ref)(void *world);
    void (*world_unref)(void *world);
};
struct engine *engine_new(const struct engine_options *options, struct err *err) MUST;
/* Lets running acts end and journals what they did, tells everybody who still waits for a job
 * UNAVAILABLE, closes the catalog. Jobs in the middle go on at the next boot. Not on the lanes. */
void engine_free(struct engine *engine);
OWN_DEFINE(engine, struct engine, engine_free);
struct lane *engine_lane(struct engine *engine);
void *engine_world(struct engine *engine); /* of its options */

/* The functions below: on the engine's lane only (asserted). */
struct catalog *engine_catalog(struct engine *engine);
/* Finishes or sweeps what was running when the agent went down; logs one line for each and calls
 * done on the lane with counts, and with the last error of jobs that could be neither. Call before
 * the first request is served. */
void engine_boot(struct engine *engine,
                 void (*done)(void *arg, size_t finished, size_t swept, const struct err *err),
                 void *arg);
/* Takes up again what could not go on (the catalog could not be told, what was made could not be
 * removed): 30 s later, then more and more seldom, to every half hour. Called now and then. */
bool engine_revive(struct engine *engine, struct err *err) MUST;
/* Whether the job is at work, or rests between two tries. */
bool engine_works_on(struct engine *engine, const char *job);
/* Starts a job; done (may be NULL) is called on the lane when it has ended, with its row and
 * document (borrowed) and an error that is never NULL: code ERR_NONE when it is done. Of row, kind,
 * state and step are ours; an empty id is chosen. args are copied, NULL is {}. Fails without
 * calling done. A key that was used before starts nothing: a finished job's done is called at once,
 * a running one's when it ends. Of an external kind only the row is added; done is called at once.
 */
bool engine_job_start(struct engine *engine, const char *kind, const struct catalog_job *row,
                      json_t *args,
                      void (*done)(void *arg, const struct catalog_job *row, const json_t *document,
                                   const struct err *err),
                      void *arg, struct err *err) MUST;
/* Jobs from now on are of this world (counted anew); those under way keep theirs. */
void engine_set_world(struct engine *engine, void *world);
size_t engine_running(struct engine *engine);
/* A running job stops at its next step and is undone; one that comes to its end before is done. The
 * catalog has it when this returns. Of an external kind only the row says so: whoever drives it
 * asks. Jobs whose parent it is are cancelled too. NOT_FOUND when it does not run. */
bool engine_cancel(struct engine *engine, const char *id, const char *who, struct err *err) MUST;
/* A job of before the agent's start that is not settled yet and belongs to this database; NULL when
 * there is none. */
const struct catalog_job *engine_recovering(struct engine *engine, const char *database);
