/* A helper program of a test: told what to do by lines on its stdin, answers by lines. It goes with
 * the process. */
#pragma once
#include "agent/base/own.h"
#include <sys/types.h>

enum { SCRIPT_LINE = 512 };

struct script {
    const char *name; /* for messages; argv[0] */
    int to, from;
    pid_t pid;
};

/* argv[0] is searched for, and stays. */
bool script_begin(struct script *s, const char *const *argv, struct err *err) MUST;
/* Its next line, without the newline. TIMEOUT; UNSUPPORTED with what it said last when it ended. */
bool script_read(const struct script *s, unsigned wait_ms, char ret[SCRIPT_LINE], struct err *err)
    MUST;
/* The newline is added. False: it has ended already; what it said last can still be read. */
bool script_tell(const struct script *s, const char *line);
/* Closes its stdin, which is what makes it end, and waits for that. */
void script_end(struct script *s);
void script_kill(struct script *s);
