/* The audit: one hash-chained JSON line per change and per refusal. FORMAT: README.md. */
#pragma once
#include "agent/rpc/rpc.h"

enum {
    AUDIT_ROTATE_BYTES = 16 << 20, /* a longer file is left and a new one goes on */
    AUDIT_LINE_MAX = 8 << 10,
    AUDIT_HASH_HEX = 65,
};

/* What a line says; texts are borrowed, NULL or "" are left out. */
struct audit_record {
    const char *kind; /* intent, outcome, refused, start, stop; others are the writer's own */
    const struct rpc_peer *who; /* NULL: a program on this host, by its user */
    const char *method, *database, *object;
    const char *key;  /* an idempotency key; only its hash is written */
    uint64_t of;      /* an outcome's intent */
    const char *code; /* "ok" or the error's name */
    const char *text;
    uint64_t repeats; /* refusals of the same kind that were only counted */
};
/* The record's own part of the line, owned. */
char *audit_body(const struct audit_record *record, struct err *err) MUST;

struct audit;
/* The file <dir>/audit.log and its head. Heals what a crash tore, and writes down that it did; a
 * file that is not what the head says is told by a line of its own, and bars nothing. Several
 * processes may write in turn. */
struct audit *audit_open(const char *dir, uint64_t rotate_bytes, struct err *err) MUST;
void audit_close(struct audit *audit);
OWN_DEFINE(audit, struct audit, audit_close);
/* Writes lines of these bodies, all on disk when it returns, or none. ret_first: number of the
 * first. One thread at a time. */
bool audit_append(struct audit *audit, const char *const *bodies, size_t count, uint64_t *ret_first,
                  struct err *err) MUST;
/* The head follows its lines to disk; whoever waits for a line need not wait for this. */
bool audit_settle(struct audit *audit, struct err *err) MUST;
/* One record, settled: for programs that act once. */
bool audit_write(struct audit *audit, const struct audit_record *record, uint64_t *ret_number,
                 struct err *err) MUST;
/* What happened at open that an operator should know; "" when nothing. */
const char *audit_notice(const struct audit *audit);

/* What verify found. */
struct audit_report {
    uint64_t records, first, last;
    uint64_t open_intents; /* acted upon, perhaps, by a process that died */
    uint64_t alarms;       /* lines in which a writer found the file damaged */
    char head[AUDIT_HASH_HEX];
    bool sound;
    char file[256]; /* where it is not: file, line, why */
    uint64_t line;
    char why[256];
};
/* Every line of every file of dir against the chain and the head; or of one file alone (then NULL
 * dir), which may begin anywhere. False only when it cannot be read at all. */
bool audit_verify(const char *dir, const char *file, struct audit_report *ret, struct err *err)
    MUST;
/* Lines since a time ("" for all) that name the database ("" for all), in order, as they stand. */
bool audit_each(const char *dir, const char *database, const char *since,
                bool (*each)(void *arg, const char *line), void *arg, struct err *err) MUST;

/* Test hook: the process ends at the nth step of writing from now; 0: off. Returns the steps. */
long audit_kill_at(long nth);
