/* Retention: which snapshots may go, given what must still be restorable. */
#include "agent/engine/retention.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/engine/planner_int.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_US (UINT64_C(86400) * 1000000u)
enum { DURABILITY_SEALED_MIN = 1, TIME_TEXT = 32 };

/* What a snapshot is worth. */
struct worth {
    bool now_proven;  /* by all that is known today */
    bool self_proven; /* by itself, and for a "pre" its run before: no later sheet changes that */
    bool whole;       /* self_proven without any other snapshot's sheet */
    bool unknown;
    struct scn target; /* of its point; 0 when no recipe reaches one today */
    struct zone_civil at;
    bool keep;
};

/* What must stay reachable. */
struct demand {
    struct scn target;
    size_t point; /* SIZE_MAX: of the recovery window */
    char what[120];
};

struct retention {
    struct retention_input in;
    struct plan *plan; /* over all snapshots */
    struct worth *worth;
    struct demand *demands;
    size_t demand_count, demand_capacity;
    struct retention_reason *reasons; /* by snapshot once it is done */
    size_t reason_count, reason_capacity;
    struct scn window_from; /* targets above must stay; SCN_NONE: no window */
    bool *alive;
    size_t going;
    char id[17];
};

/* ---- reasons ---- */

static bool add_reason(struct retention *r, size_t i, enum retention_rule rule, struct err *err,
                       const char *fmt, ...) PRINTF(5, 6);
static bool add_reason(struct retention *r, size_t i, enum retention_rule rule, struct err *err,
                       const char *fmt, ...)
{
    if (!own_grow((void **)&r->reasons, &r->reason_capacity, r->reason_count, sizeof *r->reasons,
                  err))
        return false;
    struct retention_reason *reason = &r->reasons[r->reason_count++];
    *reason = (struct retention_reason){.snapshot = i, .rule = rule};
    va_list args;
    va_start(args, fmt);
    IGNORE(vsnprintf(reason->text, sizeof reason->text, fmt, args) < 0); /* cut is still told */
    va_end(args);
    r->worth[i].keep |= rule != RETENTION_GOES;
    return true;
}

static int compare_reasons(const void *a, const void *b)
{
    const struct retention_reason *x = a;
    const struct retention_reason *y = b;
    if (x->snapshot != y->snapshot)
        return x->snapshot < y->snapshot ? -1 : 1;
    if (x->rule != y->rule)
        return x->rule < y->rule ? -1 : 1;
    return strcmp(x->text, y->text);
}

static void local_time(const struct retention *r, uint64_t us, char ret[TIME_TEXT])
{
    int32_t offset = zone_offset_s(r->in.zone, (int64_t)(us / 1000000u));
    clock_format_offset(us + (uint64_t)((int64_t)(offset % 60) * 1000000), offset / 60, ret);
}

/* ---- what each snapshot is worth ---- */

static bool is_sound(const struct plan *plan, size_t i, enum reach reach)
{
    return plan->bases[i].verdict == PLAN_OK && plan_base_serves(plan, i, reach);
}

/* The newest "post" before i: the control file of a "pre" is that run's. */
static size_t post_before(const struct retention *r, size_t i)
{
    while (i-- > 0)
        if (r->in.sources[i].facts && str_equal(r->in.sources[i].kind, "post"))
            return i;
    return SIZE_MAX;
}

static bool weigh_alone(struct retention *r, size_t i, struct err *err)
{
    struct worth *w = &r->worth[i];
    AUTO(plan) struct plan *alone = plan_new(&r->in.sources[i], 1, false, err);
    if (!alone)
        return false;
    w->whole = w->self_proven = is_sound(alone, 0, REACH_OWN);
    size_t post = w->whole ? SIZE_MAX : post_before(r, i);
    if (post == SIZE_MAX)
        return true;
    const struct plan_source pair[] = {r->in.sources[post], r->in.sources[i]};
    AUTO(plan) struct plan *both = plan_new(pair, 2, false, err);
    if (!both)
        return false;
    w->self_proven = is_sound(both, 1, REACH_OWN);
    return true;
}

static bool is_durable(const struct retention *r, size_t i)
{
    int best = 0;
    for (size_t k = 0; k < r->in.count; k++)
        best = r->in.snapshots[k].durability > best ? r->in.snapshots[k].durability : best;
    return best < DURABILITY_SEALED_MIN || r->in.snapshots[i].durability >= DURABILITY_SEALED_MIN;
}

static bool weigh(struct retention *r, struct err *err)
{
    for (size_t i = 0; i < r->in.count; i++) {
        struct worth *w = &r->worth[i];
        const struct plan_base *base = &r->plan->bases[i];
        bool durable = is_durable(r, i);
        if (!weigh_alone(r, i, err))
            return false;
        w->now_proven = is_sound(r->plan, i, REACH_PROTECTED);
        w->unknown =
            base->verdict == PLAN_UNKNOWN || (!durable && (w->now_proven || w->self_proven));
        if (w->now_proven)
            w->target = scn_less(base->earliest, base->latest_own)
                            ? base->latest_own
                            : (struct scn){base->earliest.n + 1};
        w->now_proven &= durable;
        w->self_proven &= durable;
        w->whole &= durable;
        w->unknown &= !w->now_proven && !w->self_proven;
        zone_civil(r->in.zone, r->in.sources[i].created_us, &w->at);
    }
    return true;
}

static bool is_proven(const struct worth *w) { return w->now_proven || w->self_proven; }
static bool is_now(const struct worth *w) { return w->now_proven; }
static bool is_self(const struct worth *w) { return w->self_proven; }

/* ---- buckets ---- */

static int64_t bucket_of(const struct worth *w, enum config_tier tier)
{
    switch (tier) {
    case TIER_HOURLY:
        return w->at.hour_utc;
    case TIER_DAILY:
        return w->at.day_no;
    case TIER_WEEKLY:
        return w->at.week_no;
    case TIER_MONTHLY:
        return (int64_t)w->at.year * 12 + w->at.month - 1;
    default:
        return w->at.year;
    }
}

static void bucket_text(const struct worth *w, enum config_tier tier, char ret[48])
{
    const struct zone_civil *c = &w->at;
    switch (tier) {
    case TIER_HOURLY:
        IGNORE(
            !str_format(ret, 48, "hour %04d-%02d-%02d %02dh", c->year, c->month, c->day, c->hour));
        break;
    case TIER_DAILY:
        IGNORE(!str_format(ret, 48, "day %04d-%02d-%02d", c->year, c->month, c->day));
        break;
    case TIER_WEEKLY:
        IGNORE(!str_format(ret, 48, "week of %04d-%02d-%02d", c->year, c->month, c->day));
        break;
    case TIER_MONTHLY:
        IGNORE(!str_format(ret, 48, "month %04d-%02d", c->year, c->month));
        break;
    default:
        IGNORE(!str_format(ret, 48, "year %04d", c->year));
    }
}

/* The first that needs no other, else the first: what comes later pushes nothing out. */
static size_t first_of(const struct retention *r, size_t from, size_t to,
                       bool (*fits)(const struct worth *w))
{
    size_t found = SIZE_MAX;
    for (size_t i = from; i < to; i++) {
        if (!fits(&r->worth[i]))
            continue;
        if (r->worth[i].whole)
            return i;
        found = found == SIZE_MAX ? i : found;
    }
    return found;
}

static size_t first_unknown(const struct retention *r, size_t from, size_t to)
{
    while (from < to && !r->worth[from].unknown)
        from++;
    return from < to ? from : SIZE_MAX;
}

/* The newest buckets that hold such a point, n of them; between them one could-not-tell for each
 * bucket that holds nothing better. */
static bool keep_buckets(struct retention *r, enum config_tier tier, uint64_t n,
                         enum retention_rule rule, bool (*fits)(const struct worth *w),
                         const char *why, struct err *err)
{
    char bucket[48];
    for (size_t end = r->in.count, from; end && n; end = from) {
        for (from = end - 1;
             from && bucket_of(&r->worth[from - 1], tier) == bucket_of(&r->worth[end - 1], tier);)
            from--;
        size_t i = first_of(r, from, end, fits);
        size_t unknown = i == SIZE_MAX ? first_unknown(r, from, end) : SIZE_MAX;
        bucket_text(&r->worth[end - 1], tier, bucket);
        if (unknown != SIZE_MAX && !add_reason(r, unknown, RETENTION_UNKNOWN, err,
                                               "could not tell what it is worth, and %s has "
                                               "nothing proven",
                                               bucket))
            return false;
        if (i == SIZE_MAX)
            continue;
        n--;
        if (!add_reason(r, i, rule, err, why, bucket))
            return false;
    }
    return true;
}

static bool keep_tiers(struct retention *r, struct err *err)
{
    static const char *const whys[] = {"hourly: the point of %s", "daily: the point of %s",
                                       "weekly: the point of the %s", "monthly: the point of %s",
                                       "yearly: the point of %s"};
    for (int tier = 0; tier < TIER_COUNT; tier++)
        if (!keep_buckets(r, (enum config_tier)tier, r->in.policy->keep[tier], RETENTION_TIER,
                          is_proven, whys[tier], err))
            return false;
    return true;
}

static bool is_month_end(const struct retention *r, size_t i)
{
    for (size_t k = i + 1; k < r->in.count; k++) {
        if (bucket_of(&r->worth[k], TIER_MONTHLY) != bucket_of(&r->worth[i], TIER_MONTHLY))
            return true;
        if (is_proven(&r->worth[k]))
            return false;
    }
    return true;
}

static bool keep_month_ends(struct retention *r, struct err *err)
{
    struct worth now;
    zone_civil(r->in.zone, r->in.now_us, &now.at);
    int64_t oldest = bucket_of(&now, TIER_MONTHLY) - (int64_t)r->in.policy->expiration_months;
    for (size_t i = 0; r->in.policy->expiration_months && i < r->in.count; i++)
        if (is_proven(&r->worth[i]) && bucket_of(&r->worth[i], TIER_MONTHLY) >= oldest &&
            is_month_end(r, i) &&
            !add_reason(r, i, RETENTION_MONTH_END, err,
                        "the last proven of month %04d-%02d, kept %" PRIu64 " months",
                        r->worth[i].at.year, r->worth[i].at.month, r->in.policy->expiration_months))
            return false;
    return true;
}

/* ---- age, floor, what must not go ---- */

static bool is_younger(const struct retention *r, size_t i, uint64_t days)
{
    return days && r->in.sources[i].created_us + days * DAY_US > r->in.now_us;
}

static bool keep_young(struct retention *r, struct err *err)
{
    const struct config_retention *policy = r->in.policy;
    bool ok = true;
    for (size_t i = 0; ok && i < r->in.count; i++) {
        if (is_younger(r, i, policy->window_days))
            ok = add_reason(r, i, RETENTION_YOUNG, err,
                            "younger than the recovery window of %" PRIu64 " days",
                            policy->window_days);
        if (ok && is_younger(r, i, policy->expiration_days))
            ok = add_reason(r, i, RETENTION_YOUNG, err,
                            "younger than %" PRIu64 " days (snapexpirationdays)",
                            policy->expiration_days);
        if (ok && !retention_has_policy(policy))
            ok = add_reason(r, i, RETENTION_NO_POLICY, err, "no retention policy is set");
    }
    return ok;
}

static size_t newest(const struct retention *r, bool (*fits)(const struct worth *w))
{
    for (size_t i = r->in.count; i-- > 0;)
        if (fits(&r->worth[i]))
            return i;
    return SIZE_MAX;
}

/* By what is known now, and by what each proves itself: a sheet that speaks ill of all that is
 * older cannot empty the floor, nor can many points of one day fill it. */
static bool keep_floor(struct retention *r, struct err *err)
{
    uint64_t n = r->in.policy->keep_proven ? r->in.policy->keep_proven : 1;
    size_t last = newest(r, is_now);
    size_t self = newest(r, is_self);
    return keep_buckets(r, TIER_DAILY, n, RETENTION_FLOOR, is_now,
                        "the floor: a proven point of %s", err) &&
           keep_buckets(r, TIER_DAILY, n, RETENTION_FLOOR, is_self,
                        "the floor: a point of %s that proves itself", err) &&
           (last == SIZE_MAX ||
            add_reason(r, last, RETENTION_LAST_GOOD, err, "the last good one")) &&
           (self == SIZE_MAX || self == last ||
            add_reason(r, self, RETENTION_LAST_GOOD, err, "the last that proves itself")) &&
           (!r->in.count || add_reason(r, r->in.count - 1, RETENTION_NEWEST, err, "the newest"));
}

/* Could be needed: there is not a whole floor of proven points behind it yet. */
static bool keep_unknown(struct retention *r, struct err *err)
{
    uint64_t days = 0;
    int64_t day = INT64_MIN;
    for (size_t i = r->in.count; i-- > 0;) {
        const struct worth *w = &r->worth[i];
        if (is_proven(w) && w->at.day_no != day) {
            days++;
            day = w->at.day_no;
        }
        if (w->unknown && days < r->in.policy->keep_proven &&
            !add_reason(r, i, RETENTION_UNKNOWN, err,
                        "could not tell what it is worth (%.100s), and only %" PRIu64
                        " days with a proven point follow",
                        r->plan->bases[i].cause, days))
            return false;
    }
    return true;
}

static bool keep_held(struct retention *r, size_t i, struct err *err)
{
    const struct retention_snapshot *s = &r->in.snapshots[i];
    char until[TIME_TEXT];
    for (size_t h = 0; h < s->hold_count; h++) {
        const struct retention_hold *hold = &s->holds[h];
        if (hold->until_us && hold->until_us <= r->in.now_us)
            continue;
        if (hold->until_us)
            local_time(r, hold->until_us, until);
        if (!add_reason(r, i, RETENTION_HOLD, err, "held by %.60s: %.100s, until %s", hold->owner,
                        hold->reason, hold->until_us ? until : "it is released"))
            return false;
    }
    for (size_t c = 0; c < s->clone_count; c++)
        if (!add_reason(r, i, RETENTION_CLONE, err, "clone '%.64s' is made of it", s->clones[c]))
            return false;
    if (!s->lock_left_ms)
        return true;
    return add_reason(
        r, i, RETENTION_LOCK, err, "locked by %s for another %" PRIu64 " h of running time",
        s->lock_by_storage ? "the storage" : "the agent", (s->lock_left_ms + 3599999) / 3600000);
}

static bool keep_marked(struct retention *r, struct err *err)
{
    for (size_t i = 0; i < r->in.count; i++)
        if (!keep_held(r, i, err))
            return false;
    return true;
}

/* ---- what must stay reachable ---- */

static struct demand *add_demand(struct retention *r, struct scn target, size_t point,
                                 struct err *err)
{
    if (!own_grow((void **)&r->demands, &r->demand_capacity, r->demand_count, sizeof *r->demands,
                  err))
        return NULL;
    struct demand *d = &r->demands[r->demand_count++];
    *d = (struct demand){.target = target, .point = point};
    return d;
}

static bool demand_points(struct retention *r, struct err *err)
{
    char at[TIME_TEXT];
    for (size_t i = 0; i < r->in.count; i++) {
        if (!r->worth[i].keep || !r->worth[i].target.n)
            continue;
        struct demand *d = add_demand(r, r->worth[i].target, i, err);
        if (!d)
            return false;
        local_time(r, r->in.sources[i].created_us, at);
        IGNORE(!str_format(d->what, sizeof d->what, "the kept point at %s", at));
    }
    return true;
}

static int compare_scns(const void *a, const void *b)
{
    const struct scn *x = a;
    const struct scn *y = b;
    return x->n < y->n ? -1 : x->n > y->n;
}

/* Where the window begins: by the logs' own times, and not later than what the newest snapshot from
 * before it reaches. The lesser counts, so that neither alone can cut it short. */
static struct scn window_start(const struct retention *r)
{
    uint64_t from_us = r->in.now_us - r->in.policy->window_days * DAY_US;
    struct scn by_time = SCN_NONE;
    struct scn by_snapshot = {0};
    for (size_t i = 0; i < r->in.count; i++)
        if (r->worth[i].now_proven && r->in.sources[i].created_us <= from_us)
            by_snapshot = r->worth[i].target;
    if (!plan_scn_of(r->plan, from_us, &by_time))
        by_time = SCN_NONE;
    return scn_is_none(by_time) ? by_snapshot : scn_min(by_time, by_snapshot);
}

/* Between two ends of intervals nothing changes, so one target speaks for each stretch. */
static bool demand_window(struct retention *r, struct err *err)
{
    r->window_from = SCN_NONE;
    if (!r->in.policy->window_days || r->in.policy->window_days > r->in.now_us / DAY_US)
        return true;
    r->window_from = window_start(r);
    AUTO(mem) struct scn *ends = own_alloc(sizeof *ends * (2 * r->in.count + 1), err);
    size_t count = 0;
    if (!ends)
        return false;
    for (size_t i = 0; i < r->in.count; i++)
        if (plan_base_serves(r->plan, i, REACH_PROTECTED)) {
            ends[count++] = r->plan->bases[i].earliest;
            ends[count++] = r->plan->bases[i].latest;
        }
    if (count)
        qsort(ends, count, sizeof *ends, compare_scns);
    for (size_t i = 0; i < count; i++) {
        if (!scn_less(r->window_from, ends[i]) || (i && ends[i].n == ends[i - 1].n) ||
            plan_choose_base(r->plan, ends[i], REACH_PROTECTED) == SIZE_MAX)
            continue;
        struct demand *d = add_demand(r, ends[i], SIZE_MAX, err);
        if (!d)
            return false;
        IGNORE(
            !str_format(d->what, sizeof d->what, "the recovery window at SCN %" PRIu64, ends[i].n));
    }
    return true;
}

/* ---- asking the planner without some ---- */

struct trial {
    struct plan_source *sources;
    size_t *of; /* index in the whole list */
    size_t count;
    struct plan *plan;
};

static void trial_done(struct trial *t)
{
    plan_free(t->plan);
    own_free(t->sources);
    own_free(t->of);
    *t = (struct trial){0};
}
OWN_DEFINE_INPLACE(trial, struct trial, trial_done);

static bool trial_make(const struct retention *r, struct trial *t, struct err *err)
{
    t->sources = own_alloc(sizeof *t->sources * (r->in.count + 1), err);
    t->of = own_alloc(sizeof *t->of * (r->in.count + 1), err);
    if (!t->sources || !t->of)
        return false;
    for (size_t i = 0; i < r->in.count; i++)
        if (r->alive[i]) {
            t->of[t->count] = i;
            t->sources[t->count++] = r->in.sources[i];
        }
    t->plan = plan_new(t->sources, t->count, r->in.can_compose, err);
    return t->plan != NULL;
}

/* The first demand that is not met any more; NULL when all are. */
static const struct demand *unmet(const struct retention *r, const struct trial *t, size_t without)
{
    for (size_t d = 0; d < r->demand_count; d++)
        if ((without == SIZE_MAX || r->demands[d].point != without) &&
            plan_choose_base(t->plan, r->demands[d].target, REACH_PROTECTED) == SIZE_MAX)
            return &r->demands[d];
    return NULL;
}

/* Less evidence must never promise more: a sheet may be all that knows of redo that was lost or
 * never written. The first kept base that would; SIZE_MAX when none. */
static size_t boasts(const struct retention *r, const struct trial *t)
{
    for (size_t k = 0; k < t->count; k++) {
        const struct plan_base *was = &r->plan->bases[t->of[k]];
        const struct plan_base *is = &t->plan->bases[k];
        bool serves = plan_base_serves(t->plan, k, REACH_PROTECTED);
        if (serves && (!plan_base_serves(r->plan, t->of[k], REACH_PROTECTED) ||
                       scn_less(was->latest, is->latest)))
            return t->of[k];
    }
    return SIZE_MAX;
}

/* ---- why one of them must stay ---- */

static bool is_log_of(const struct manifest_entry *entry, const struct manifest_entry *log)
{
    return entry->kind == FILE_ARCHIVED_LOG && entry->state == STATE_GOOD &&
           entry->resetlogs_id == log->resetlogs_id && entry->log.thread == log->log.thread &&
           entry->log.sequence == log->log.sequence;
}

static bool others_hold(const struct retention *r, size_t i, const struct manifest_entry *log)
{
    for (size_t k = 0; k < r->in.count; k++) {
        const struct manifest *m = r->in.sources[k].manifest;
        for (size_t e = 0; k != i && r->alive[k] && e < m->count; e++)
            if (is_log_of(&m->entries[e], log))
                return true;
    }
    return false;
}

/* A log of i that no other living snapshot has and that the base needs for the target. */
static const struct manifest_entry *sole_log(const struct retention *r, size_t i,
                                             const struct plan_base *base, struct scn target)
{
    const struct manifest *m = r->in.sources[i].manifest;
    for (size_t e = 0; e < m->count; e++) {
        const struct manifest_entry *log = &m->entries[e];
        if (log->kind == FILE_ARCHIVED_LOG && log->state == STATE_GOOD &&
            scn_less(log->log.first_scn, target) && scn_less(base->start, log->log.next_scn) &&
            !others_hold(r, i, log))
            return log;
    }
    return NULL;
}

static bool explain_need(struct retention *r, size_t i, const struct demand *d,
                         enum retention_rule *ret_rule, char ret[PLAN_TEXT_MAX], struct err *err)
{
    AUTO(trial) struct trial with = {0};
    r->alive[i] = true;
    if (!trial_make(r, &with, err))
        return false;
    size_t base = plan_choose_base(with.plan, d->target, REACH_PROTECTED);
    const struct manifest_entry *log = base == SIZE_MAX || with.of[base] == i
                                           ? NULL
                                           : sole_log(r, i, &with.plan->bases[base], d->target);
    *ret_rule = RETENTION_SHEET;
    if (base != SIZE_MAX && with.of[base] == i) {
        *ret_rule = RETENTION_BASE;
        IGNORE(!str_format(ret, PLAN_TEXT_MAX, "its datafiles are needed by %s", d->what));
    } else if (log) {
        *ret_rule = RETENTION_LOG;
        IGNORE(!str_format(ret, PLAN_TEXT_MAX,
                           "its log thread %" PRIu32 " sequence %" PRIu32 " is needed by %s",
                           log->log.thread, log->log.sequence, d->what));
    } else {
        IGNORE(!str_format(ret, PLAN_TEXT_MAX,
                           "its fact sheet (threads, files, control file) is needed by %s",
                           d->what));
    }
    return true;
}

/* Asks without those that are not alive. *ret_fine: all is as it was. When it is not, and only one
 * was taken away, ret_rule and ret say why that one must stay. */
static bool try_without(struct retention *r, size_t one, size_t own_point, bool *ret_fine,
                        enum retention_rule *ret_rule, char ret[PLAN_TEXT_MAX], struct err *err)
{
    AUTO(trial) struct trial trial = {0};
    if (!trial_make(r, &trial, err))
        return false;
    const struct demand *d = unmet(r, &trial, own_point);
    size_t boaster = d ? SIZE_MAX : boasts(r, &trial);
    *ret_fine = !d && boaster == SIZE_MAX;
    if (*ret_fine || one == SIZE_MAX)
        return true;
    if (d)
        return explain_need(r, one, d, ret_rule, ret, err);
    *ret_rule = RETENTION_SHEET;
    IGNORE(!str_format(ret, PLAN_TEXT_MAX,
                       "its fact sheet says what '%.80s' does not reach: without it too much would "
                       "be promised",
                       r->in.sources[boaster].name));
    return true;
}

/* Takes away as many of the candidates as can be, older ones first: all at once, else by halves. */
static bool shrink(struct retention *r, const size_t *candidates, size_t count, struct err *err)
{
    bool fine;
    char why[PLAN_TEXT_MAX];
    enum retention_rule rule;
    if (!count)
        return true;
    for (size_t i = 0; i < count; i++)
        r->alive[candidates[i]] = false;
    if (!try_without(r, count == 1 ? candidates[0] : SIZE_MAX, SIZE_MAX, &fine, &rule, why, err))
        return false;
    if (fine)
        return true;
    for (size_t i = 0; i < count; i++)
        r->alive[candidates[i]] = true;
    if (count == 1)
        return add_reason(r, candidates[0], rule, err, "%s", why);
    return shrink(r, candidates, count / 2, err) &&
           shrink(r, candidates + count / 2, count - count / 2, err);
}

static bool let_go(struct retention *r, struct err *err)
{
    AUTO(mem) size_t *candidates = own_alloc(sizeof *candidates * (r->in.count + 1), err);
    size_t count = 0;
    if (!candidates)
        return false;
    for (size_t i = 0; i < r->in.count; i++) {
        r->alive[i] = true;
        if (!r->worth[i].keep)
            candidates[count++] = i;
    }
    if (!shrink(r, candidates, count, err))
        return false;
    for (size_t i = 0; i < r->in.count; i++) {
        if (r->worth[i].keep)
            continue;
        r->going++;
        bool proven = is_proven(&r->worth[i]);
        const char *cause = r->plan->bases[i].cause;
        if (!add_reason(r, i, RETENTION_GOES, err,
                        "past every period of the policy%s%.140s%s, and nothing kept needs it",
                        proven ? "" : ", no proven base", proven || !cause[0] ? "" : ": ",
                        proven ? "" : cause))
            return false;
    }
    return true;
}

/* ---- the decision's name ---- */

static uint64_t mix(uint64_t hash, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return hash;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    return mix(hash, text, strlen(text) + 1);
}

static uint64_t mix_number(uint64_t hash, uint64_t number)
{
    return mix(hash, &number, sizeof number);
}

static uint64_t mix_policy(uint64_t hash, const struct config_retention *p)
{
    const uint64_t numbers[] = {p->window_days,       p->expiration_days,    p->expiration_months,
                                p->keep_proven,       p->keep[TIER_HOURLY],  p->keep[TIER_DAILY],
                                p->keep[TIER_WEEKLY], p->keep[TIER_MONTHLY], p->keep[TIER_YEARLY]};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hash = mix_number(hash, numbers[i]);
    return hash;
}

/* The remaining time of a lock passes without any decision changing, so its text is left out. */
static void name_decision(struct retention *r)
{
    uint64_t hash = mix_policy(UINT64_C(0xcbf29ce484222325), r->in.policy);
    hash = mix_text(hash, zone_name(r->in.zone));
    for (size_t i = 0; i < r->in.count; i++) {
        hash = mix_text(hash, r->in.sources[i].name);
        hash = mix_text(hash, r->in.snapshots[i].id);
        hash = mix_number(hash, r->worth[i].keep);
    }
    for (size_t k = 0; k < r->reason_count; k++) {
        hash = mix_number(hash, r->reasons[k].snapshot);
        hash = mix_number(hash, r->reasons[k].rule);
        hash = mix_text(hash, r->reasons[k].rule == RETENTION_LOCK ? "" : r->reasons[k].text);
    }
    IGNORE(!str_format(r->id, sizeof r->id, "%016" PRIx64, hash));
}

static bool decide(struct retention *r, struct err *err)
{
    if (!weigh(r, err) || !keep_young(r, err) || !keep_tiers(r, err) || !keep_month_ends(r, err) ||
        !keep_floor(r, err) || !keep_unknown(r, err) || !keep_marked(r, err) ||
        !demand_points(r, err) || !demand_window(r, err) || !let_go(r, err))
        return false;
    if (r->reason_count)
        qsort(r->reasons, r->reason_count, sizeof *r->reasons, compare_reasons);
    name_decision(r);
    return true;
}

struct retention *retention_make(const struct retention_input *input, struct err *err)
{
    AUTO(retention) struct retention *r = own_alloc(sizeof *r, err);
    if (!r)
        return NULL;
    r->in = *input;
    r->worth = own_alloc(sizeof *r->worth * (input->count + 1), err);
    r->alive = own_alloc(sizeof *r->alive * (input->count + 1), err);
    r->plan = r->worth && r->alive ? plan_new(input->sources, input->count, input->can_compose, err)
                                   : NULL;
    return r->plan && decide(r, err) ? TAKE(r) : NULL;
}

void retention_free(struct retention *r)
{
    if (!r)
        return;
    plan_free(r->plan);
    own_free(r->worth);
    own_free(r->demands);
    own_free(r->reasons);
    own_free(r->alive);
    own_free(r);
}

bool retention_keeps(const struct retention *r, size_t i) { return r->worth[i].keep; }
bool retention_is_proven(const struct retention *r, size_t i) { return is_proven(&r->worth[i]); }
const char *retention_id(const struct retention *r) { return r->id; }
size_t retention_going(const struct retention *r) { return r->going; }

const struct retention_reason *retention_reasons(const struct retention *r, size_t i,
                                                 size_t *ret_count)
{
    size_t from = 0;
    *ret_count = 0;
    while (from < r->reason_count && r->reasons[from].snapshot < i)
        from++;
    while (from + *ret_count < r->reason_count && r->reasons[from + *ret_count].snapshot == i)
        ++*ret_count;
    return &r->reasons[from];
}

bool retention_may_delete(const struct retention *r, size_t i, struct err *err)
{
    char text[sizeof err->text] = "";
    size_t count;
    const struct retention_reason *reasons = retention_reasons(r, i, &count);
    size_t len = 0;
    for (size_t k = 0; k < count; k++)
        if (reasons[k].rule >= RETENTION_FLOOR && len < sizeof text - 1) {
            IGNORE(!str_format(text + len, sizeof text - len, "%s%s", len ? "; " : "",
                               reasons[k].text));
            len = strlen(text);
        }
    /* What is kept for its own sake may still serve others. */
    struct retention ask = *r;
    char why[PLAN_TEXT_MAX] = "";
    enum retention_rule rule;
    bool fine = true;
    if (!len && r->worth[i].keep) {
        ask.alive = own_alloc(sizeof *ask.alive * (r->in.count + 1), err);
        if (!ask.alive)
            return false;
        memcpy(ask.alive, r->alive, sizeof *ask.alive * r->in.count);
        ask.alive[i] = false;
        bool asked = try_without(&ask, i, i, &fine, &rule, why, err);
        own_free(ask.alive);
        if (!asked)
            return false;
    }
    if (!len && fine)
        return true;
    return err_set(err, ERR_PRECONDITION, "snapshot '%s' stays: %s", r->in.sources[i].name,
                   len ? text : why);
}

bool retention_has_policy(const struct config_retention *policy)
{
    bool any = policy->window_days || policy->expiration_days || policy->expiration_months;
    for (int tier = 0; tier < TIER_COUNT; tier++)
        any |= policy->keep[tier] != 0;
    return any;
}
