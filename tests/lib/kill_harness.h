/* Kills a process at every write transaction of the catalog, and at random instants; then asks
 * whether everything that was promised is there. In make test each write is met from one side,
 * before or after, in turn; in test-long from both. */
#pragma once
#include "agent/base/own.h"
#include "agent/engine/job.h"

/* Each callback gets the case's arg and a directory made for this round, where catalog.db is. False
 * with the reason fails the round. In children they end with the process: nothing is freed. */
struct kill_case {
    const char *name;
    /* In the parent, before each round: storage, files. May be NULL. */
    bool (*setup)(void *arg, const char *dir, struct err *err);
    /* In a child that is killed somewhere: opens the engine, does the work, closes. */
    bool (*run)(void *arg, const char *dir, struct err *err);
    /* In a child that is killed too, in random rounds: the next boot. NULL: not tried. */
    bool (*recover)(void *arg, const char *dir, struct err *err);
    /* In the parent: boots undisturbed and checks every invariant. */
    bool (*check)(void *arg, const char *dir, struct err *err);
    /* In the parent, after each round, also a failed one. May be NULL. */
    void (*teardown)(void *arg, const char *dir);
    void *arg;
    unsigned random_rounds; /* 0: none */
    unsigned seed;          /* 0: chosen; printed either way when a round fails */
};

struct kill_report {
    unsigned points, random_kills; /* rounds that were really killed */
    unsigned rounds;
};
/* False with "<case>, killed <where>: <reason>". No thread may run in the calling process. */
bool kill_harness_run(const struct kill_case *kill_case, struct kill_report *ret_report,
                      struct err *err) MUST;

/* ---- invariants that hold for jobs of every kind ---- */

/* Boots the engine in dir twice. After the first nothing of kinds that are not external runs, each
 * job that did run has a log line that says how it was found and one how it ended; every line of
 * kill_promise is kept. The second boot must find nothing to do. */
bool kill_check_jobs(const char *dir, const struct engine_options *options, struct err *err) MUST;
/* Called by `run` when a job's end was reported to somebody: remembered across the kill. */
bool kill_promise(const char *dir, const struct catalog_job *row, struct err *err) MUST;
