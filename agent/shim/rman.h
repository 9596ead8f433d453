/* RMAN: a script in, a classified log out. */
#pragma once
#include "agent/shim/oratab.h"
#include "agent/shim/rmanlog.h"

struct rman {
    const struct oratab_home *home;
    uint64_t deadline_ms; /* 0: none */
    uint64_t grace_ms;    /* between SIGINT and SIGKILL; 0: 60 s */
    /* Every line, with what the classifier makes of it; NULL drops them. */
    void (*line)(void *arg, const char *line, size_t len, const struct rmanlog_line *meaning);
    bool (*cancelled)(void *arg); /* NULL: never */
    void *arg;                    /* for both */
};

/* Runs "set echo on", script, exit; feeds `log` (which may have seen earlier scripts of the run).
 * Fails with EXTERNAL and the first real cause when RMAN ends non-zero or prints an error stack;
 * TIMEOUT; CANCELLED; NOT_FOUND when there is no rman. The log's lists are good in every case. */
bool rman_run(const struct rman *rman, const char *script, struct rmanlog *log, struct err *err)
    MUST;
