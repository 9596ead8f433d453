/* What RMAN's output says, line by line: errors and their cause, pieces, copies, unfinished merges.
 */
#pragma once
#include "agent/base/own.h"
#include "agent/oracle/scn.h"

enum rmanlog_severity { RMANLOG_INFO, RMANLOG_WARNING, RMANLOG_ERROR };
enum rmanlog_phase {
    RMANLOG_OTHER,
    RMANLOG_BACKUP,
    RMANLOG_MERGE,
    RMANLOG_RECOVER,
    RMANLOG_RESTORE,
    RMANLOG_AUTOBACKUP,
    RMANLOG_DELETE,
    RMANLOG_CROSSCHECK,
};

struct rmanlog_line {
    enum rmanlog_severity severity;
    enum rmanlog_phase phase; /* the operation the line belongs to */
    char code[16];            /* "ORA-27072", "" when the line carries none */
};

enum rmanlog_kind {
    RMANLOG_KIND_NONE,
    RMANLOG_PIECE_LEVEL1,
    RMANLOG_PIECE_CONTROLFILE,
    RMANLOG_PIECE_SPFILE,
    RMANLOG_PIECE_AUTOBACKUP,
    RMANLOG_PIECE_OTHER
};
struct rmanlog_item { /* one line of a list; fields that do not apply are 0 or "" */
    enum rmanlog_kind kind;
    uint32_t file_no;
    const char *name; /* piece handle, copy, datafile */
    const char *tag;
};
struct rmanlog_list {
    struct rmanlog_item *items; /* read only, owned by the log */
    size_t count, capacity;
};

struct rmanlog_facts {
    size_t error_count, warning_count, line_count;
    char code[16];              /* of the first real cause; "" when no error was seen */
    char cause[400];            /* its line */
    char context[400];          /* the RMAN-03002 or RMAN-03009 line above it, "" when none */
    const char *meaning;        /* for the operator, from the table of codes; "" when not in it */
    const char *action;         /* what to do next; "" */
    struct rmanlog_list pieces; /* finished backup pieces, with kind and tag */
    struct rmanlog_list copies; /* finished datafile copies */
    struct rmanlog_list no_parent; /* "no parent backup or copy of datafile N found" */
    struct rmanlog_list no_copy;   /* "no copy of datafile N found to recover" (RMAN-05017) */
    struct rmanlog_list skipped;   /* unchanged, read-only, offline */
    struct rmanlog_list merged;    /* each merge of a file that ended, by section */
    struct rmanlog_list suspects;  /* merge begun and not seen to end; filled by rmanlog_facts */
    struct rmanlog_list expired;   /* found to be 'EXPIRED' */
    struct rmanlog_list deleted;
    struct rmanlog_list uncataloged;         /* RMAN-07517 and its like: named, harmless */
    struct scn preview_start, preview_fuzzy; /* n = 0 when not printed */
    uint64_t backup_s, merge_s;              /* longest elapsed time printed by a channel */
};

struct rmanlog;
struct rmanlog *rmanlog_new(struct err *err) MUST;
void rmanlog_free(struct rmanlog *log);
OWN_DEFINE(rmanlog, struct rmanlog, rmanlog_free);
/* Takes any bytes, unknown lines included. ret_line may be NULL. Memory that runs out is told by
 * rmanlog_ok. */
void rmanlog_feed(struct rmanlog *log, const char *line, size_t len, struct rmanlog_line *ret_line);
/* A new RMAN session begins: the error cause starts afresh, open merges of the old one become
 * suspects, the lists stay. rman_run calls it. */
void rmanlog_session(struct rmanlog *log);
/* What was seen so far; borrowed until the next call. A later whole merge of a file clears it from
 * the suspects. */
const struct rmanlog_facts *rmanlog_facts(struct rmanlog *log);
/* False with NO_MEMORY or LIMIT when something could not be kept: then the lists are not whole. */
bool rmanlog_ok(const struct rmanlog *log, struct err *err) MUST;

/* Meaning and next action of an ORA-, RMAN- or LRM- code; false when the table has none. */
bool rmanlog_explain(const char *code, const char **ret_meaning, const char **ret_action);
