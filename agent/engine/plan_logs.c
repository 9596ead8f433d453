/* The planner's chains: how far the unbroken logs of each needed thread go. */
#include "agent/engine/planner_int.h"

#include "agent/base/str.h"
#include <inttypes.h>
#include <stdlib.h>

static int compare_logs(const void *a, const void *b)
{
    const struct log_row *x = a;
    const struct log_row *y = b;
    const struct manifest_entry *p = x->entry;
    const struct manifest_entry *q = y->entry;
    if (p->resetlogs_id != q->resetlogs_id)
        return p->resetlogs_id < q->resetlogs_id ? -1 : 1;
    if (p->log.thread != q->log.thread)
        return p->log.thread < q->log.thread ? -1 : 1;
    if (p->log.sequence != q->log.sequence)
        return p->log.sequence < q->log.sequence ? -1 : 1;
    return x->source < y->source ? -1 : x->source > y->source;
}

bool plan_collect_logs(struct plan *plan, struct err *err)
{
    for (size_t s = 0; s < plan->source_count; s++) {
        const struct manifest *manifest = plan->sources[s].manifest;
        for (size_t i = 0; i < manifest->count; i++) {
            const struct manifest_entry *entry = &manifest->entries[i];
            if (entry->kind != FILE_ARCHIVED_LOG || entry->state != STATE_GOOD)
                continue;
            if (!own_grow((void **)&plan->logs, &plan->log_capacity, plan->log_count,
                          sizeof *plan->logs, err))
                return false;
            plan->logs[plan->log_count++] = (struct log_row){entry,
                                                             s,
                                                             entry->resetlogs_id,
                                                             entry->log.thread,
                                                             entry->log.sequence,
                                                             entry->log.next_scn};
        }
    }
    if (plan->log_count)
        qsort(plan->logs, plan->log_count, sizeof *plan->logs, compare_logs);
    return true;
}

static bool in_reach(const struct plan *plan, size_t source, size_t own, enum reach reach)
{
    if (reach == REACH_OWN)
        return source == own;
    return reach == REACH_ARRIVED || plan->sources[source].name[0] != '\0';
}

/* When a sheet's word on threads and files was given. */
struct scn plan_facts_at(const struct facts *facts)
{
    struct scn at = {0};
    for (size_t i = 0; i < facts->moment_count; i++)
        at = scn_max(at, facts->moments[i].scn);
    return at;
}

static const struct facts_thread *find_thread(const struct facts *facts, uint32_t number)
{
    for (size_t i = 0; i < facts->thread_count; i++)
        if (facts->threads[i].number == number)
            return &facts->threads[i];
    return NULL;
}

/* The sheet of that source, when it speaks of that incarnation and can be believed. */
const struct facts *plan_sheet_of(const struct plan *plan, size_t source, uint32_t resetlogs_id)
{
    const struct facts *facts = plan->sources[source].facts;
    return facts && facts->complete && facts->moment_count && facts->resetlogs_id == resetlogs_id
               ? facts
               : NULL;
}

/* A walk along one thread's logs. */
struct chain {
    const struct plan *plan;
    size_t own;
    enum reach reach;
    uint32_t resetlogs_id, thread;
    struct scn end;    /* everything below is held */
    uint32_t sequence; /* of the last log, 0 before the first */
    uint32_t count;
    struct scn log_end; /* next SCN of the last log */
    bool idle;          /* at end the thread was not there, or disabled */
    size_t quiet_count; /* of plan->quiet: sheets that may know of a stretch without redo */
    char broken[PLAN_TEXT_MAX];
};

static bool holds_all_redo(const struct chain *chain, const struct facts_thread *thread)
{
    return scn_less(thread->last_scn, chain->end) ||
           (chain->sequence && thread->last_sequence && chain->sequence >= thread->last_sequence);
}

/* Moves over a stretch in which, by that sheet's word, the thread wrote nothing: it was not there,
 * disabled, or closed with all its redo held (oracle-semantics 20). */
static void extend_by(struct chain *chain, const struct facts *facts)
{
    const struct facts_thread *thread = find_thread(facts, chain->thread);
    struct scn quiet = {0};
    bool off = !thread || (!thread->enabled && !scn_less(chain->end, thread->disable_scn));
    if (off || (thread->enabled && !thread->open && holds_all_redo(chain, thread)))
        quiet = plan_facts_at(facts);
    else if (thread->enabled && !scn_less(chain->end, thread->disable_scn))
        quiet = thread->enable_scn;
    if (scn_less(quiet, chain->end))
        return;
    chain->idle = off || (chain->idle && quiet.n == chain->end.n);
    chain->end = quiet;
}

/* A thread that is open and was enabled before the chain begins is never quiet by that sheet: of
 * most databases no sheet is left, and a walk along their logs asks none. */
static void collect_quiet(struct chain *chain)
{
    for (size_t s = 0; s < chain->plan->source_count; s++) {
        const struct facts *facts = plan_sheet_of(chain->plan, s, chain->resetlogs_id);
        const struct facts_thread *thread = facts ? find_thread(facts, chain->thread) : NULL;
        if (facts && (!thread || !thread->enabled || !thread->open ||
                      scn_less(chain->end, thread->enable_scn)))
            chain->plan->quiet[chain->quiet_count++] = facts;
    }
}

static void extend(struct chain *chain)
{
    struct scn before;
    do {
        before = chain->end;
        for (size_t s = 0; s < chain->quiet_count; s++)
            extend_by(chain, chain->plan->quiet[s]);
    } while (scn_less(before, chain->end));
}

/* The first log: it holds the end, or is the very first one of a thread that was not there. */
static bool takes_first(struct chain *chain, const struct manifest_entry *log)
{
    if (!scn_less(chain->end, log->log.first_scn) || (chain->idle && log->log.sequence == 1))
        return true;
    IGNORE(str_format(chain->broken, sizeof chain->broken,
                      "the log of thread %" PRIu32 " that holds SCN %" PRIu64 " is missing",
                      chain->thread, chain->end.n));
    return false;
}

static bool takes_next(struct chain *chain, const struct manifest_entry *log)
{
    if (log->log.sequence != chain->sequence + 1)
        IGNORE(str_format(chain->broken, sizeof chain->broken,
                          "log thread %" PRIu32 " sequence %" PRIu32 " is missing", chain->thread,
                          chain->sequence + 1));
    else if (scn_less(chain->end, log->log.first_scn) && !chain->idle)
        IGNORE(str_format(chain->broken, sizeof chain->broken,
                          "log thread %" PRIu32 " sequence %" PRIu32 " begins at SCN %" PRIu64
                          ", the one before ends at %" PRIu64,
                          chain->thread, log->log.sequence, log->log.first_scn.n,
                          chain->log_end.n));
    return !chain->broken[0];
}

/* Another copy of the same log; older than what is needed. */
static bool adds_nothing(const struct chain *chain, uint32_t sequence, struct scn next_scn)
{
    return chain->sequence ? sequence == chain->sequence : !scn_less(chain->end, next_scn);
}

/* False when this log does not continue the chain. */
static bool chain_takes(struct chain *chain, const struct manifest_entry *log)
{
    if (!(chain->sequence ? takes_next : takes_first)(chain, log))
        return false;
    chain->sequence = log->log.sequence;
    chain->log_end = log->log.next_scn;
    if (scn_less(chain->end, log->log.next_scn)) {
        chain->end = log->log.next_scn;
        chain->idle = false;
    }
    chain->count++;
    extend(chain);
    return true;
}

/* The newest sheet shows it absent or disabled, and no log knows better: it bounds nothing. */
static bool is_over(const struct chain *chain)
{
    const struct plan *plan = chain->plan;
    const struct facts *newest = NULL;
    for (size_t s = 0; s < plan->source_count; s++) {
        const struct facts *facts = plan_sheet_of(plan, s, chain->resetlogs_id);
        if (facts && (!newest || !scn_less(plan_facts_at(facts), plan_facts_at(newest))))
            newest = facts;
    }
    if (!newest || scn_less(chain->end, plan_facts_at(newest)))
        return false;
    struct scn at = plan_facts_at(newest);
    for (size_t i = 0; i < plan->log_count; i++) {
        const struct log_row *log = &plan->logs[i];
        if (log->resetlogs_id == chain->resetlogs_id && log->thread == chain->thread &&
            scn_less(at, log->next_scn))
            return false;
    }
    const struct facts_thread *thread = find_thread(newest, chain->thread);
    return !thread || (!thread->enabled && !scn_less(chain->end, thread->disable_scn));
}

static void chain_walk(struct chain *chain)
{
    const struct plan *plan = chain->plan;
    collect_quiet(chain);
    extend(chain);
    for (size_t i = 0; i < plan->log_count; i++) {
        const struct log_row *log = &plan->logs[i];
        if (log->resetlogs_id != chain->resetlogs_id || log->thread != chain->thread ||
            adds_nothing(chain, log->sequence, log->next_scn) ||
            !in_reach(plan, log->source, chain->own, chain->reach))
            continue;
        if (!chain_takes(chain, log->entry))
            return;
    }
    if (is_over(chain))
        chain->end = SCN_NONE;
}

/* The least thread number above `after` that a sheet or a log of that incarnation names; 0: none.
 */
static uint32_t next_thread(const struct plan *plan, uint32_t resetlogs_id, uint32_t after)
{
    uint32_t next = UINT32_MAX;
    for (size_t s = 0; s < plan->source_count; s++) {
        const struct facts *facts = plan_sheet_of(plan, s, resetlogs_id);
        for (size_t t = 0; facts && t < facts->thread_count; t++)
            if (facts->threads[t].number > after && facts->threads[t].number < next)
                next = facts->threads[t].number;
    }
    for (size_t i = 0; i < plan->log_count; i++) {
        const struct log_row *log = &plan->logs[i];
        if (log->resetlogs_id == resetlogs_id && log->thread > after && log->thread < next)
            next = log->thread;
    }
    return next == UINT32_MAX ? 0 : next;
}

/* L of a base: the least end over all threads; 0 when none bounds it. */
struct scn plan_latest_of(const struct plan *plan, size_t source, enum reach reach,
                          uint32_t *ret_count, char broken[PLAN_TEXT_MAX])
{
    struct chain chain = {.plan = plan,
                          .own = source,
                          .reach = reach,
                          .resetlogs_id = plan->sources[source].facts->resetlogs_id,
                          .end = plan->bases[source].start};
    struct scn latest = SCN_NONE;
    *ret_count = 0;
    for (uint32_t t = 0; (t = next_thread(plan, chain.resetlogs_id, t)) != 0;) {
        struct chain one = chain;
        one.thread = t;
        chain_walk(&one);
        *ret_count += one.count;
        if (!scn_less(one.end, latest))
            continue;
        latest = one.end;
        if (!one.count && !one.broken[0])
            IGNORE(str_format(one.broken, sizeof one.broken,
                              "no log of thread %" PRIu32 " that holds SCN %" PRIu64 " has arrived",
                              t, one.end.n));
        IGNORE(str_copy(broken, PLAN_TEXT_MAX, one.broken));
    }
    if (scn_is_none(latest))
        latest.n = 0; /* no thread is enabled */
    return latest;
}

size_t plan_threads(const struct plan *plan, size_t base, struct plan_thread *ret_threads,
                    size_t max)
{
    size_t count = 0;
    uint32_t resetlogs_id = plan->sources[base].facts->resetlogs_id;
    for (uint32_t t = 0; count < max && (t = next_thread(plan, resetlogs_id, t)) != 0; count++) {
        struct chain chain = {.plan = plan,
                              .own = base,
                              .reach = REACH_PROTECTED,
                              .resetlogs_id = resetlogs_id,
                              .thread = t,
                              .end = plan->bases[base].start};
        chain_walk(&chain);
        ret_threads[count] = (struct plan_thread){t, chain.end, 0};
        if (!scn_is_none(chain.end))
            ret_threads[count].end_us = plan_time_of(plan, chain.end);
    }
    return count;
}
