/* The planner: what can be reached, from manifests and fact sheets alone. */
#include "agent/engine/planner_int.h"

#include "agent/base/str.h"
#include <stdlib.h>

const char *plan_verdict_text(enum plan_verdict verdict)
{
    static const char *const texts[] = {"ok", "warning", "failed", "could not tell"};
    return texts[verdict];
}

/* Each sentence once; when full, what is red takes the place of what is not. */
void plan_note(struct plan *plan, enum plan_verdict severity, const char *text)
{
    struct plan_finding *finding = NULL;
    for (size_t i = 0; i < plan->finding_count; i++) {
        if (str_equal(plan->findings[i].text, text))
            return;
        if (plan->findings[i].severity != PLAN_FAILED)
            finding = &plan->findings[i];
    }
    if (plan->finding_count < PLAN_FINDINGS_MAX)
        finding = &plan->findings[plan->finding_count++];
    else if (!finding || severity != PLAN_FAILED)
        return;
    finding->severity = severity;
    IGNORE(str_copy(finding->text, sizeof finding->text, text)); /* cut is still told */
}

/* The first cause stays; a worse verdict replaces a better one. */
void plan_worsen(struct plan_base *base, enum plan_verdict verdict, const char *cause)
{
    static const int rank[] = {0, 1, 3, 2};
    if (rank[verdict] <= rank[base->verdict])
        return;
    base->verdict = verdict;
    IGNORE(str_copy(base->cause, sizeof base->cause, cause));
}

/* ---- intervals and gaps ---- */

static struct scn latest_in(const struct plan_base *base, enum reach reach)
{
    return reach == REACH_OWN         ? base->latest_own
           : reach == REACH_PROTECTED ? base->latest
                                      : base->latest_arrived;
}

bool plan_base_serves(const struct plan *plan, size_t i, enum reach reach)
{
    const struct plan_base *base = &plan->bases[i];
    return plan->sources[i].name[0] && base->verdict != PLAN_FAILED &&
           base->verdict != PLAN_UNKNOWN && scn_less(base->earliest, latest_in(base, reach));
}

static bool reaches(const struct plan *plan, size_t i, struct scn target, enum reach reach)
{
    const struct plan_base *base = &plan->bases[i];
    return plan_base_serves(plan, i, reach) && scn_less(base->earliest, target) &&
           !scn_less(latest_in(base, reach), target);
}

/* The base with the least redo to apply; of equals the one whose own logs do. */
size_t plan_choose_base(const struct plan *plan, struct scn target, enum reach reach)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < plan->source_count; i++) {
        if (!reaches(plan, i, target, reach))
            continue;
        const struct plan_base *a = best == SIZE_MAX ? NULL : &plan->bases[best];
        const struct plan_base *b = &plan->bases[i];
        if (!a || scn_less(a->start, b->start) ||
            (a->start.n == b->start.n &&
             (scn_less(a->earliest, b->earliest) ||
              (a->earliest.n == b->earliest.n && scn_less(a->latest_own, target)))))
            best = i;
    }
    return best;
}

static int compare_intervals(const void *a, const void *b)
{
    const struct plan_interval *x = a;
    const struct plan_interval *y = b;
    if (x->first.n != y->first.n)
        return x->first.n < y->first.n ? -1 : 1;
    return x->last.n < y->last.n ? -1 : x->last.n > y->last.n;
}

/* Ascending and merged where they touch; in place. */
static size_t merge_intervals(struct plan_interval *list, size_t count)
{
    if (!count)
        return 0;
    qsort(list, count, sizeof *list, compare_intervals);
    size_t kept = 0;
    for (size_t i = 1; i < count; i++) {
        if (scn_less(list[kept].last, list[i].first)) {
            list[++kept] = list[i];
        } else if (scn_less(list[kept].last, list[i].last)) {
            list[kept].last = list[i].last;
            list[kept].last_us = list[i].last_us;
        }
    }
    return kept + 1;
}

/* Names a hole for what it is. */
static void name_gap(const struct plan *plan, struct plan_gap *gap)
{
    for (size_t i = plan->source_count; i-- > 0;)
        if (plan->bases[i].latest.n == gap->first.n && plan->bases[i].broken[0]) {
            IGNORE(str_copy(gap->why, sizeof gap->why, plan->bases[i].broken));
            return;
        }
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct plan_source *pre = &plan->sources[i];
        if (!str_equal(pre->kind, "pre") || scn_less(gap->first, plan->bases[i].latest_own) ||
            !plan_base_serves(plan, i, REACH_OWN))
            continue;
        for (size_t j = i + 1; j < plan->source_count; j++)
            if (str_equal(plan->sources[j].kind, "post") &&
                str_equal(plan->sources[j].run, pre->run) && plan_base_serves(plan, j, REACH_OWN) &&
                !scn_less(plan->bases[j].earliest, gap->last)) {
                IGNORE(str_format(gap->why, sizeof gap->why,
                                  "inside run %s: after the last log of '%s', before its merged "
                                  "copies are consistent",
                                  pre->run, pre->name));
                return;
            }
    }
    IGNORE(str_copy(gap->why, sizeof gap->why, "no set of copies and logs reaches it"));
}

static bool add_gap(struct plan *plan, struct scn first, struct scn last, bool closed,
                    struct err *err)
{
    if (!scn_less(first, last))
        return true;
    if (!own_grow((void **)&plan->gaps, &plan->gap_capacity, plan->gap_count, sizeof *plan->gaps,
                  err))
        return false;
    struct plan_gap *gap = &plan->gaps[plan->gap_count++];
    *gap = (struct plan_gap){.first = first,
                             .last = last,
                             .first_us = plan_time_of(plan, first),
                             .last_us = plan_time_of(plan, last),
                             .closed = closed};
    name_gap(plan, gap);
    return true;
}

/* A hole between what snapshots reach alone, in the parts that composing closes or leaves open. */
static bool split_gap(struct plan *plan, struct scn first, struct scn last, struct err *err)
{
    for (size_t i = 0; i < plan->interval_count; i++) {
        struct scn from = scn_max(first, plan->intervals[i].first);
        struct scn to = scn_min(last, plan->intervals[i].last);
        if (!scn_less(from, to))
            continue;
        if (!add_gap(plan, first, from, false, err) || !add_gap(plan, from, to, true, err))
            return false;
        first = to;
    }
    return add_gap(plan, first, last, false, err);
}

static bool contains_interval(const struct plan_interval *list, size_t count,
                              const struct plan_interval *part)
{
    for (size_t i = 0; i < count; i++)
        if (!scn_less(part->first, list[i].first) && !scn_less(list[i].last, part->last))
            return true;
    return false;
}

static bool collect_intervals(const struct plan *plan, enum reach reach,
                              struct plan_interval **ret_list, size_t *ret_count, struct err *err)
{
    struct plan_interval *list = own_alloc(sizeof *list * (plan->source_count + 1), err);
    if (!list)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct plan_base *b = &plan->bases[i];
        struct scn last = latest_in(b, reach);
        if (plan_base_serves(plan, i, reach))
            list[count++] = (struct plan_interval){
                b->earliest, last, b->earliest_us, plan_time_of(plan, last), i, false};
    }
    *ret_count = merge_intervals(list, count);
    *ret_list = list;
    return true;
}

static bool find_intervals(struct plan *plan, struct err *err)
{
    AUTO(mem) struct plan_interval *own = NULL;
    size_t own_count = 0;
    if (!collect_intervals(plan, REACH_PROTECTED, &plan->intervals, &plan->interval_count, err) ||
        !collect_intervals(plan, REACH_OWN, &own, &own_count, err))
        return false;
    for (size_t i = 0; i < plan->interval_count; i++) {
        struct plan_interval *interval = &plan->intervals[i];
        interval->base = plan_choose_base(plan, interval->last, REACH_PROTECTED);
        interval->composed = !contains_interval(own, own_count, interval);
    }
    for (size_t i = 1; i < own_count; i++)
        if (!split_gap(plan, own[i - 1].last, own[i].first, err))
            return false;
    return true;
}

struct plan *plan_new(const struct plan_source *sources, size_t count, bool can_compose,
                      struct err *err)
{
    AUTO(plan) struct plan *plan = own_alloc(sizeof *plan, err);
    if (!plan)
        return NULL;
    plan->sources = sources;
    plan->source_count = count;
    plan->can_compose = can_compose;
    plan->bases = own_alloc(sizeof *plan->bases * (count + 1), err);
    plan->quiet = own_alloc(sizeof(void *) * (count + 1), err);
    if (!plan->bases || !plan->quiet || !plan_collect_marks(plan, err) ||
        !plan_collect_logs(plan, err) || !plan_collect_times(plan, err))
        return NULL;
    for (size_t i = 0; i < count; i++)
        plan_judge_base(plan, i);
    plan_tell_times(plan);
    if (!find_intervals(plan, err))
        return NULL;
    return TAKE(plan);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    own_free(plan->bases);
    own_free(plan->quiet);
    own_free(plan->logs);
    own_free(plan->marks);
    own_free(plan->times);
    own_free(plan->intervals);
    own_free(plan->gaps);
    own_free(plan);
}

size_t plan_bytes(const struct plan *plan)
{
    return sizeof *plan + plan->source_count * sizeof *plan->bases +
           plan->log_capacity * sizeof *plan->logs + plan->mark_capacity * sizeof *plan->marks +
           plan->time_capacity * sizeof *plan->times +
           plan->interval_count * sizeof *plan->intervals + plan->gap_capacity * sizeof *plan->gaps;
}

const struct plan_base *plan_base(const struct plan *plan, size_t source)
{
    return &plan->bases[source];
}

const struct plan_interval *plan_intervals(const struct plan *plan, size_t *ret_count)
{
    *ret_count = plan->interval_count;
    return plan->intervals;
}

const struct plan_gap *plan_gaps(const struct plan *plan, size_t *ret_count)
{
    *ret_count = plan->gap_count;
    return plan->gaps;
}

const struct plan_finding *plan_findings(const struct plan *plan, size_t *ret_count)
{
    *ret_count = plan->finding_count;
    return plan->findings;
}

size_t plan_newest_base(const struct plan *plan)
{
    for (size_t i = plan->source_count; i-- > 0;)
        if (plan_base_serves(plan, i, REACH_PROTECTED) && plan->bases[i].verdict == PLAN_OK)
            return i;
    return SIZE_MAX;
}
