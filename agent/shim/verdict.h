/* How a verb ends: the exit code for the scheduler and the one line that fits its column. */
#pragma once
#include "agent/base/err.h"

enum { VERDICT_LINE_MAX = 160 }; /* bytes; external jobs keep 200 of stderr */

enum verdict_kind {
    VERDICT_OK,
    VERDICT_WARNING,
    VERDICT_RUNNING, /* an earlier run is still at it: WARNING in words */
    VERDICT_REFUSED, /* nothing was done */
    VERDICT_FAILED,
    VERDICT_UNKNOWN,     /* could not tell */
    VERDICT_UNREACHABLE, /* the agent */
    VERDICT_STOPPED,     /* by a signal */
};

/* What an error means for a verb, by the error table's exit code. */
enum verdict_kind verdict_from_err(const struct err *err);
const char *verdict_word(enum verdict_kind kind); /* "FAILED" */
/* 0, 160..164. Warnings and "already running" are 0 unless strict (then 161 and 160), lest the
 * scheduler's max_failures breaks the job. */
int verdict_exit(enum verdict_kind kind, bool strict);
/* 0 ok, 1 warning, 2 critical, 3 unknown. */
int verdict_nagios_exit(enum verdict_kind kind);
/* "FAILED ORCL merge: cause [run 42]" without line end; cut on a UTF-8 boundary, "[run id]" kept.
 * Control signs become blanks. Any text may be NULL or "": its part is left out. */
void verdict_line(enum verdict_kind kind, const char *db, const char *phase, const char *cause,
                  const char *run, char ret[VERDICT_LINE_MAX + 1]);
