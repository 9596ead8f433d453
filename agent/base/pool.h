/* Lanes: first-in-first-out queues with worker threads of their own, for whatever blocks. */
#pragma once
#include "agent/base/own.h"

/* A piece of work, owned by whoever submits it, so that submitting cannot fail for memory.
 * `run` is called on the lane's worker, then `done` at `home` (a lane or the loop). */
struct work {
    void (*run)(struct work *work);
    void (*done)(struct work *work); /* NULL: nobody is told; the work may free itself in run */
    struct post *home;               /* where done is called; required with done */
    struct err err;                  /* for run to leave its error in */
    struct work *next;               /* the queue's */
};

/* Anything that can be handed work from any thread: a lane, or the loop (loop_post). */
struct post {
    void (*submit)(struct post *post, struct work *work);
};

struct lane;
/* Starts `workers` threads; name is shown by the system (at most 15 bytes). */
struct lane *lane_new(const char *name, int workers, struct err *err) MUST;
/* Runs what is queued, waits for it, ends the threads. NULL is fine. */
/* Ends the workers once the queue is empty; what is submitted afterwards never runs. */
void lane_stop(struct lane *lane);
void lane_free(struct lane *lane);
OWN_DEFINE(lane, struct lane, lane_free);
/* Queues; any thread. Order within a lane of one worker is the order of submission. */
void lane_submit(struct lane *lane, struct work *work);
/* Calls work->done on this lane (for work whose home is a lane). */
struct post *lane_post(struct lane *lane);
size_t lane_depth(struct lane *lane); /* queued, not yet begun */
/* True on a worker of this lane; for asserts of ownership. */
bool lane_is_current(const struct lane *lane);
