/* SQL*Plus: a script in, its EC| rows and its log out. */
#pragma once
#include "agent/shim/oratab.h"

struct sqlplus {
    const struct oratab_home *home;
    const char *connect; /* NULL: "/ as sysdba"; else such as "/@PRIMARY as sysdba", without SID */
    const char *templates; /* folder that may override preamble.sql, NULL: built in */
    uint64_t deadline_ms;  /* 0: none */
    uint64_t grace_ms;     /* between SIGINT and SIGKILL; 0: 30 s */
    /* Every line that is no row, for the job's log; NULL drops them. */
    void (*line)(void *arg, const char *line, size_t len);
    bool (*cancelled)(void *arg); /* NULL: never */
    void *arg;                    /* for both */
};

/* Runs preamble, script, exit. `row` gets each row without its "EC|" (it may cut it up) and false
 * from it stops the rows; NULL drops them. Fails with EXTERNAL and the first real cause when
 * SQL*Plus ends non-zero or prints an error; TIMEOUT; CANCELLED; NOT_FOUND when there is no
 * sqlplus. */
bool sqlplus_run(const struct sqlplus *sqlplus, const char *script,
                 bool (*row)(void *arg, char *row, struct err *err), void *row_arg, struct err *err)
    MUST;
