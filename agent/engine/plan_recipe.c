/* The planner's recipes: just the files that reach one target. */
#include "agent/engine/planner_int.h"

#include <inttypes.h>
#include <stdlib.h>

void plan_recipe_done(struct plan_recipe *recipe)
{
    own_free(recipe->files);
    own_free(recipe->logs);
    *recipe = (struct plan_recipe){0};
}

static bool add_part(struct plan_part **list, size_t *capacity, size_t *count,
                     struct plan_part part, struct err *err)
{
    if (!own_grow((void **)list, capacity, *count, sizeof **list, err))
        return false;
    (*list)[(*count)++] = part;
    return true;
}

static int compare_files(const void *a, const void *b)
{
    const struct plan_part *x = a;
    const struct plan_part *y = b;
    uint32_t p = x->entry->datafile.file_no;
    uint32_t q = y->entry->datafile.file_no;
    return p < q ? -1 : p > q;
}

static bool add_files(const struct plan *plan, struct plan_recipe *recipe, struct err *err)
{
    const struct plan_source *from = &plan->sources[recipe->base];
    for (size_t i = 0; i < from->facts->file_count; i++) {
        const struct manifest_entry *other;
        const struct facts_file *file = &from->facts->files[i];
        const struct manifest_entry *copy = plan_find_copy(from->manifest, file, &other);
        struct plan_part part = {recipe->base, copy, copy && plan_is_static(file, copy)};
        if (copy &&
            !add_part(&recipe->files, &recipe->file_capacity, &recipe->file_count, part, err))
            return false;
    }
    if (recipe->file_count)
        qsort(recipe->files, recipe->file_count, sizeof *recipe->files, compare_files);
    return true;
}

/* Of the places one log lies in: the base's own snapshot, else the newest snapshot, else the area.
 */
static size_t better_place(const struct plan *plan, size_t base, size_t a, size_t b)
{
    if (a == base || b == base)
        return base;
    if (!plan->sources[a].name[0] || !plan->sources[b].name[0])
        return plan->sources[a].name[0] ? a : b;
    return a > b ? a : b;
}

static bool add_logs(const struct plan *plan, struct plan_recipe *recipe, struct err *err)
{
    struct scn start = plan->bases[recipe->base].start;
    for (size_t i = 0; i < plan->log_count; i++) {
        const struct manifest_entry *log = plan->logs[i].entry;
        if (log->resetlogs_id != recipe->facts->resetlogs_id ||
            !scn_less(start, log->log.next_scn) || !scn_less(log->log.first_scn, recipe->until))
            continue;
        if (!plan->can_compose && plan->logs[i].source != recipe->base)
            continue;
        struct plan_part *last = recipe->log_count ? &recipe->logs[recipe->log_count - 1] : NULL;
        if (last && last->entry->log.thread == log->log.thread &&
            last->entry->log.sequence == log->log.sequence) {
            if (better_place(plan, recipe->base, last->source, plan->logs[i].source) ==
                plan->logs[i].source)
                *last = (struct plan_part){plan->logs[i].source, log, false};
            continue;
        }
        struct plan_part part = {plan->logs[i].source, log, false};
        if (!add_part(&recipe->logs, &recipe->log_capacity, &recipe->log_count, part, err))
            return false;
    }
    for (size_t i = 0; i < recipe->log_count; i++)
        recipe->composed |= recipe->logs[i].source != recipe->base;
    return true;
}

static void nearest(const struct plan *plan, struct scn target, struct scn *ret_below,
                    struct scn *ret_above)
{
    *ret_below = *ret_above = (struct scn){0};
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct plan_base *base = &plan->bases[i];
        if (!plan_base_serves(plan, i, REACH_ARRIVED))
            continue;
        struct scn lowest = {base->earliest.n + 1};
        if (!scn_less(target, base->latest_arrived))
            *ret_below = scn_max(*ret_below, base->latest_arrived);
        if (scn_less(target, lowest) && (!ret_above->n || scn_less(lowest, *ret_above)))
            *ret_above = lowest;
    }
}

bool plan_recipe_make(const struct plan *plan, struct scn target, struct plan_recipe *ret_recipe,
                      struct scn *ret_below, struct scn *ret_above, struct err *err)
{
    size_t base = plan_choose_base(plan, target, REACH_ARRIVED);
    if (base == SIZE_MAX) {
        nearest(plan, target, ret_below, ret_above);
        return err_set(err, ERR_NOT_FOUND, "SCN %" PRIu64 " cannot be reached", target.n);
    }
    AUTO(plan_recipe)
    struct plan_recipe recipe = {.until = target,
                                 .base = base,
                                 .facts = plan->sources[base].facts,
                                 .controlfile = plan_find_controlfile(plan, base),
                                 .controlfile_source = base};
    *ret_below = *ret_above = (struct scn){0};
    if (!add_files(plan, &recipe, err) || !add_logs(plan, &recipe, err))
        return false;
    *ret_recipe = recipe;
    recipe = (struct plan_recipe){0};
    return true;
}
