/* The planner's clock: SCNs and wall time, by log headers, LWNs and fact sheets. */
#include "agent/engine/planner_int.h"

#include "agent/oracle/redo.h"
#include <stdlib.h>

static int compare_moments(const void *a, const void *b)
{
    const struct moment *x = a;
    const struct moment *y = b;
    if (x->scn.n != y->scn.n)
        return x->scn.n < y->scn.n ? -1 : 1;
    if (x->is_local != y->is_local)
        return x->is_local ? 1 : -1;
    return x->us < y->us ? -1 : x->us > y->us;
}

static bool add_moment(struct moment **list, size_t *capacity, size_t *count, struct moment moment,
                       struct err *err)
{
    if (!own_grow((void **)list, capacity, *count, sizeof **list, err))
        return false;
    (*list)[(*count)++] = moment;
    return true;
}

bool plan_collect_marks(struct plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct facts *facts = plan->sources[i].facts;
        for (size_t m = 0; facts && m < facts->moment_count; m++) {
            const struct facts_moment *from = &facts->moments[m];
            struct moment mark = {from->scn, from->utc_us, from->offset_min, false};
            if (!add_moment(&plan->marks, &plan->mark_capacity, &plan->mark_count, mark, err))
                return false;
        }
    }
    if (plan->mark_count)
        qsort(plan->marks, plan->mark_count, sizeof *plan->marks, compare_moments);
    return true;
}

static bool add_header_time(struct plan *plan, struct scn scn, uint32_t time, struct err *err)
{
    struct moment moment = {.scn = scn, .is_local = true};
    if (scn_is_none(scn) || !header_time_to_utc(time, 0, &moment.us))
        return true;
    return add_moment(&plan->times, &plan->time_capacity, &plan->time_count, moment, err);
}

static bool collect_log_times(struct plan *plan, const struct manifest_entry *entry,
                              struct err *err)
{
    bool ok = add_header_time(plan, entry->log.first_scn, entry->log.first_time, err) &&
              add_header_time(plan, entry->log.next_scn, entry->log.next_time, err);
    for (size_t i = 0; ok && i < entry->log.moment_count; i++)
        ok = add_header_time(plan, entry->log.moments[i].scn, entry->log.moments[i].time, err);
    return ok;
}

static uint64_t local_us(const struct moment *mark)
{
    return mark->us + (uint64_t)((int64_t)mark->offset_min * MINUTE_US);
}

/* Between two marks of different offsets the clocks were changed: where local time leaps by that
 * much. Index of the first moment behind it. */
static size_t clock_change(const struct moment *times, size_t count, const struct moment *before,
                           const struct moment *after)
{
    int64_t leap = (int64_t)(after->offset_min - before->offset_min) * MINUTE_US;
    int64_t previous = (int64_t)local_us(before);
    for (size_t i = 0; i < count; i++) {
        int64_t step = (int64_t)times[i].us - previous;
        if (leap < 0 ? step < leap / 2 : step > leap - MINUTE_US)
            return i;
        previous = (int64_t)times[i].us;
    }
    return count;
}

/* Local times become UTC: by the mark before them; by the one behind them past a change. */
static void settle(struct moment *times, size_t count, const struct moment *before,
                   const struct moment *after)
{
    const struct moment *first = before ? before : after;
    size_t change = before && after && before->offset_min != after->offset_min
                        ? clock_change(times, count, before, after)
                        : count;
    for (size_t i = 0; i < count; i++) {
        const struct moment *mark = i < change ? first : after;
        times[i].us -= (uint64_t)((int64_t)(mark ? mark->offset_min : 0) * MINUTE_US);
        times[i].is_local = false;
    }
}

static void settle_times(struct plan *plan)
{
    struct moment *times = plan->times;
    const struct moment *before = NULL;
    for (size_t i = 0, end; i < plan->time_count; i = end) {
        for (end = i; end < plan->time_count && times[end].is_local;)
            end++;
        settle(times + i, end - i, before, end < plan->time_count ? &times[end] : NULL);
        if (end < plan->time_count)
            before = &times[end++];
    }
}

static bool same_log(const struct manifest_entry *a, const struct manifest_entry *b)
{
    return a->resetlogs_id == b->resetlogs_id && a->log.thread == b->log.thread &&
           a->log.sequence == b->log.sequence;
}

bool plan_collect_times(struct plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->log_count; i++)
        if (i == 0 || !same_log(plan->logs[i].entry, plan->logs[i - 1].entry))
            if (!collect_log_times(plan, plan->logs[i].entry, err))
                return false;
    for (size_t i = 0; i < plan->mark_count; i++)
        if (!add_moment(&plan->times, &plan->time_capacity, &plan->time_count, plan->marks[i], err))
            return false;
    if (plan->time_count)
        qsort(plan->times, plan->time_count, sizeof *plan->times, compare_moments);
    settle_times(plan);
    return true;
}

uint64_t plan_time_of(const struct plan *plan, struct scn scn)
{
    size_t low = 0;
    size_t high = plan->time_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (scn_less(scn, plan->times[middle].scn))
            high = middle;
        else
            low = middle + 1;
    }
    return low ? plan->times[low - 1].us : 0;
}

bool plan_scn_of(const struct plan *plan, uint64_t time_us, struct scn *ret_target)
{
    /* Header times have whole seconds: "at 14:32:07" holds all of that second. */
    uint64_t end_us = time_us / 1000000u * 1000000u + 1000000u;
    for (size_t i = 0; i < plan->time_count; i++)
        if (plan->times[i].us >= end_us) {
            *ret_target = plan->times[i].scn;
            return true;
        }
    return false;
}

int plan_offset_at(const struct plan *plan, struct scn scn)
{
    int offset = plan->mark_count ? plan->marks[0].offset_min : 0;
    for (size_t i = 0; i < plan->mark_count && !scn_less(scn, plan->marks[i].scn); i++)
        offset = plan->marks[i].offset_min;
    return offset;
}

size_t plan_time_logs(const struct plan *plan, uint64_t time_us, struct plan_part *ret_parts,
                      size_t max)
{
    size_t count = 0;
    const struct manifest_entry *last = NULL;
    for (size_t i = 0; i < plan->log_count && count < max; i++) {
        const struct manifest_entry *log = plan->logs[i].entry;
        uint64_t from_us;
        uint64_t to_us;
        bool same = last && last->resetlogs_id == log->resetlogs_id &&
                    last->log.thread == log->log.thread && last->log.sequence == log->log.sequence;
        int offset = plan_offset_at(plan, log->log.first_scn);
        if (same || log->log.moment_count < REDO_MOMENTS_MAX - 1 ||
            !header_time_to_utc(log->log.first_time, offset, &from_us) ||
            !header_time_to_utc(log->log.next_time, offset, &to_us) ||
            time_us + 1000000u < from_us || time_us > to_us)
            continue;
        ret_parts[count++] = (struct plan_part){plan->logs[i].source, log, false};
        last = log;
    }
    return count;
}
