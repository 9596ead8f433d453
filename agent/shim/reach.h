/* How a restore gets at the files of its clone on this host: a folder of it, a mount that is there,
 * or one the helper makes and takes away. */
#pragma once
#include "agent/shim/run.h"

struct reach {
    char root[PATH_MAX];    /* where the clone's files are */
    char mounted[PATH_MAX]; /* what the helper mounts, or may have; "" when it does not */
    char mount[600];        /* the agent's text */
    bool is_handed;         /* to a person, who mounts it and goes on with it */
};
/* Decides, does nothing. PRECONDITION where a person must mount first: then what to type was said.
 */
bool reach_plan(struct reach *reach, struct run *run, const char *clone, const char *mount,
                struct err *err) MUST;
/* By the helper, where it was planned so; what this host's mount table then shows is judged. After
 * a helper that refused, and so did nothing, nothing there is ours: `mounted` is "". */
bool reach_enter(struct reach *reach, struct run *run, struct err *err) MUST;
/* Unmounts what the helper mounted; the clone may be dropped then. */
bool reach_leave(struct reach *reach, struct run *run, struct err *err) MUST;
/* The same for what a killed restore wrote into its mark; a folder that is none of ours is left.
 * False while something is mounted there. */
bool reach_sweep(struct run *run, const char *mounted, struct err *err) MUST;
