/* The planner: what can be reached, from manifests and fact sheets alone. Pure: no clock, no disk.
 *
 * A set of copies reaches every target above E (largest of what its files need) up to L, the end of
 * the unbroken log chain of each needed thread, in its incarnation. */
#pragma once
#include "agent/oracle/facts.h"
#include "agent/oracle/manifest.h"

/* What one snapshot, or the live area, has to offer. All borrowed. */
struct plan_source {
    const char *name; /* "" for the live area */
    const char *kind; /* pre, post, ... "" for the live area */
    const char *run;
    uint64_t created_us;
    const struct manifest *manifest;
    const struct facts *facts; /* NULL: could not tell */
    bool mid_merge;
    uint64_t bad_blocks; /* of whatever file of it, as the storage says; 0: none known */
};

enum plan_verdict { PLAN_OK, PLAN_WARNING, PLAN_FAILED, PLAN_UNKNOWN };
const char *plan_verdict_text(enum plan_verdict verdict); /* "ok", "could not tell" */

enum { PLAN_TEXT_MAX = 240, PLAN_FINDINGS_MAX = 64 };

struct plan_finding {
    enum plan_verdict severity;
    char text[PLAN_TEXT_MAX];
};

/* One source judged as a recovery base. */
struct plan_base {
    enum plan_verdict verdict;
    char cause[PLAN_TEXT_MAX]; /* the first reason when not ok */
    struct scn start;          /* redo is needed from here: least checkpoint of moving files */
    struct scn earliest;       /* E, exclusive */
    struct scn latest_own;     /* L with the logs of this source alone; 0 when there is no chain */
    struct scn latest;         /* L with the logs of all protected sources */
    struct scn latest_arrived; /* L with those of the live area as well */
    struct scn nologging_from; /* targets above are degraded; SCN_NONE when none */
    struct scn
        plugged_from; /* redo cannot make what was plugged in then; SCN_NONE when nothing was */
    uint64_t earliest_us, latest_own_us, latest_us, latest_arrived_us; /* UTC, 0 unknown */
    uint32_t datafiles, logs;
    char broken[PLAN_TEXT_MAX]; /* what ends the chain: "log thread 1 sequence 45 is missing" */
};

struct plan_interval {
    struct scn first, last; /* first < target <= last */
    uint64_t first_us, last_us;
    size_t base;   /* index of the source that gives the datafiles of its end */
    bool composed; /* some part of it needs logs of another source */
};

struct plan_gap {
    struct scn first, last; /* first < target <= last */
    uint64_t first_us, last_us;
    char why[PLAN_TEXT_MAX];
    bool closed; /* reached by composing all the same */
};

struct plan;
/* Sources oldest first; the live area, if given, last. can_compose: the storage's ability.
 * Everything handed in must stay valid as long as the plan. */
struct plan *plan_new(const struct plan_source *sources, size_t count, bool can_compose,
                      struct err *err) MUST;
void plan_free(struct plan *plan);
OWN_DEFINE(plan, struct plan, plan_free);

const struct plan_base *plan_base(const struct plan *plan, size_t source);
const struct plan_interval *plan_intervals(const struct plan *plan, size_t *ret_count);
const struct plan_gap *plan_gaps(const struct plan *plan, size_t *ret_count);
const struct plan_finding *plan_findings(const struct plan *plan, size_t *ret_count);
/* Index of the newest base that is ok and whose interval is not empty; SIZE_MAX when none. */
size_t plan_newest_base(const struct plan *plan);
/* How far each thread's own chain goes from that base, by the logs of all protected sources; at
 * most max. */
struct plan_thread {
    uint32_t number;
    struct scn end; /* SCN_NONE: the thread is over, it bounds nothing */
    uint64_t end_us;
};
size_t plan_threads(const struct plan *plan, size_t base, struct plan_thread *ret_threads,
                    size_t max);
/* Memory it takes, about. */
size_t plan_bytes(const struct plan *plan);
/* UTC of an SCN, by log headers, LWNs and fact sheets; 0 when it cannot be told. */
uint64_t plan_time_of(const struct plan *plan, struct scn scn);
/* The least target that holds everything up to and including that moment; false when the moment
 * lies beyond what the logs tell. */
bool plan_scn_of(const struct plan *plan, uint64_t time_us, struct scn *ret_target) MUST;

/* In words, what the storage found of which our own reading knows nothing: the headers alone were
 * read. False: nothing of the kind. */
bool plan_doubt(const struct plan_source *source, char ret[PLAN_TEXT_MAX]);

struct plan_part {
    size_t source;
    const struct manifest_entry *entry;
    bool is_static;
};
/* Logs in which that moment falls and whose manifest keeps only some of their moments: whoever
 * needs the exact target reads them. At most max; one place for each log. */
size_t plan_time_logs(const struct plan *plan, uint64_t time_us, struct plan_part *ret_parts,
                      size_t max);
/* The database host's offset from UTC at that SCN, in minutes. */
int plan_offset_at(const struct plan *plan, struct scn scn);

struct plan_recipe {
    struct scn until; /* UNTIL SCN, exclusive */
    size_t base;
    struct plan_part *files; /* by file number; owned */
    size_t file_count, file_capacity;
    struct plan_part *logs; /* by thread and sequence; owned */
    size_t log_count, log_capacity;
    size_t controlfile_source;
    const char *controlfile;   /* path of the piece; borrowed */
    const struct facts *facts; /* of the base */
    bool composed;
};
void plan_recipe_done(struct plan_recipe *recipe);
OWN_DEFINE_INPLACE(plan_recipe, struct plan_recipe, plan_recipe_done);

/* False with NOT_FOUND and a sentence when the target cannot be reached; then the nearest targets
 * that can are in ret_below and ret_above (0 when there is none). */
bool plan_recipe_make(const struct plan *plan, struct scn target, struct plan_recipe *ret_recipe,
                      struct scn *ret_below, struct scn *ret_above, struct err *err) MUST;
