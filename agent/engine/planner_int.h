/* What the planner's files share: the plan itself, and what one asks of another. */
#pragma once
#include "agent/engine/planner.h"

enum reach { REACH_OWN, REACH_PROTECTED, REACH_ARRIVED };
enum { MINUTE_US = 60000000 };

/* A counted log, one row for each place it lies in. */
struct log_row {
    const struct manifest_entry *entry;
    size_t source;
    uint32_t resetlogs_id, thread, sequence; /* of the entry: walks pass by most rows */
    struct scn next_scn;
};

/* SCN and wall time known together. */
struct moment {
    struct scn scn;
    uint64_t us;
    int offset_min;
    bool is_local; /* of a header: us is the host's local time until settle_times */
};

struct plan {
    const struct plan_source *sources;
    size_t source_count;
    bool can_compose;
    struct plan_base *bases;
    const struct facts **quiet; /* scratch of one chain */
    struct log_row *logs;
    size_t log_count, log_capacity;
    struct moment *marks; /* of the fact sheets: they know UTC */
    size_t mark_count, mark_capacity;
    struct moment *times; /* of everything, by SCN */
    size_t time_count, time_capacity;
    struct plan_interval *intervals;
    size_t interval_count;
    struct plan_gap *gaps;
    size_t gap_count, gap_capacity;
    struct plan_finding findings[PLAN_FINDINGS_MAX];
    size_t finding_count;
};

/* Keeps a finding, each text once; red ones are never crowded out. */
void plan_note(struct plan *plan, enum plan_verdict severity, const char *text);
/* The first cause stays; a worse verdict replaces a better one. */
void plan_worsen(struct plan_base *base, enum plan_verdict verdict, const char *cause);
/* Sound, and with the logs in reach it has targets. */
bool plan_base_serves(const struct plan *plan, size_t i, enum reach reach);
/* The base that reaches the target with the least redo; SIZE_MAX when none does. */
size_t plan_choose_base(const struct plan *plan, struct scn target, enum reach reach);
/* In this order, once, by plan_new. */
bool plan_collect_marks(struct plan *plan, struct err *err);
bool plan_collect_times(struct plan *plan, struct err *err);
bool plan_collect_logs(struct plan *plan, struct err *err);
/* L of a base over its needed threads, with the logs in reach; what ends the chain goes to broken.
 */
struct scn plan_latest_of(const struct plan *plan, size_t source, enum reach reach,
                          uint32_t *ret_count, char broken[PLAN_TEXT_MAX]);
/* The last moment a fact sheet speaks of. */
struct scn plan_facts_at(const struct facts *facts);
/* The sheet of a source if it is whole and of that incarnation; NULL otherwise. */
const struct facts *plan_sheet_of(const struct plan *plan, size_t source, uint32_t resetlogs_id);
/* Fills plan->bases[source]. */
void plan_judge_base(struct plan *plan, size_t source);
void plan_tell_times(struct plan *plan);
/* The copy that counts of a datafile; NULL, and then in ret_other one that does not, if any. */
const struct manifest_entry *plan_find_copy(const struct manifest *manifest,
                                            const struct facts_file *file,
                                            const struct manifest_entry **ret_other);
/* The copy has reached the file's stop SCN: no redo is needed. */
bool plan_is_static(const struct facts_file *file, const struct manifest_entry *copy);
/* Path of the control file piece that belongs to that base and lies in it; NULL when there is none.
 */
const char *plan_find_controlfile(const struct plan *plan, size_t base);
