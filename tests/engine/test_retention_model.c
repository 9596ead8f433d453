/* Retention against a model: random months of runs under random policies. The model knows no plan:
 * it marks, SCN by SCN, what redo a set of snapshots holds, counts days as the C library does, and
 * asks after every deletion what is left. EVERCOPY_SEED repeats a run. */
#include "agent/engine/retention.h"
#include "tests/engine/plan_world.h"
#include "tests/oracle/writers.h"

#include <inttypes.h>
#include <time.h>

enum { SCNS = 1200, THREADS = 2, FILES = 3, LOGS = 900, NONE = SCNS * 2 };

static bool chance(uint32_t percent) { return test_random_below(100) < percent; }

/* ---- a database over some months ---- */

struct true_log {
    uint32_t thread, sequence;
    uint64_t first, next;
    bool in_area, lost;
};

struct truth {
    uint64_t now;
    bool open[THREADS];
    uint32_t sequence[THREADS];
    uint64_t log_first[THREADS], last_change[THREADS];
    struct true_log logs[LOGS];
    size_t log_count;
    uint32_t files, horizon;
    uint64_t checkpoint[FILES]; /* of the copies; 0: none yet */
    uint32_t suspect;           /* file number whose merge failed, 0 none */
    char piece[40];
    size_t piece_by; /* source whose sheet names it */
};

/* What the model remembers of each snapshot, beside its bytes. */
struct seen {
    bool sheet, sound;
    uint64_t at, start;
    size_t piece_by; /* SIZE_MAX: its own */
    bool open[THREADS];
    uint64_t last_change[THREADS];
};

struct world {
    struct pw pw;
    struct truth t;
    struct seen seen[PW_SOURCES];
    struct retention_snapshot extra[PW_SOURCES];
    struct retention_hold holds[PW_SOURCES][2];
    char ids[PW_SOURCES][16];
    struct config_retention policy;
    struct zone *zone;
    uint64_t now_us;
};

static void archive(struct truth *t, uint32_t n)
{
    if (!t->open[n] || t->log_first[n] >= t->now)
        return;
    cr_assert_lt(t->log_count, LOGS);
    t->logs[t->log_count++] =
        (struct true_log){n + 1, t->sequence[n]++, t->log_first[n], t->now, true, chance(2)};
    t->log_first[n] = t->now;
}

static void live_on(struct truth *t, uint64_t steps)
{
    for (; steps && t->now + 12 < SCNS; steps--) {
        for (uint32_t n = 0; n < THREADS; n++)
            if (t->open[n])
                t->last_change[n] = t->now;
        t->now++;
        if (chance(6))
            archive(t, test_random_below(THREADS));
        if (!chance(1))
            continue;
        archive(t, 1);
        t->open[1] = !t->open[1];
        t->log_first[1] = t->now;
    }
}

static void write_sheet(struct world *w, size_t i)
{
    const struct truth *t = &w->t;
    struct facts *f = pw_facts(&w->pw, i, t->now);
    for (uint32_t n = 0; n < THREADS; n++) {
        struct facts_thread *row = pw_thread(f, n + 1);
        row->open = t->open[n];
        row->sequence = t->sequence[n];
        row->last_sequence = t->open[n] ? t->sequence[n] : t->sequence[n] - 1;
        row->last_scn = pw_scn(t->last_change[n]);
    }
    for (uint32_t n = 0; n < t->files; n++)
        pw_file(f, n + 1, 5 + n);
    if (!t->suspect)
        return;
    f->suspect_files = calloc(1, sizeof *f->suspect_files);
    f->suspect_files[0] = t->suspect;
    f->suspect_count = f->suspect_capacity = 1;
}

static void snapshot(struct world *w, const char *kind, const char *run)
{
    struct truth *t = &w->t;
    size_t i = pw_add(&w->pw, kind, run);
    struct seen *seen = &w->seen[i];
    *seen = (struct seen){.sheet = !chance(4), .at = t->now, .piece_by = t->piece_by};
    memcpy(seen->open, t->open, sizeof seen->open);
    memcpy(seen->last_change, t->last_change, sizeof seen->last_change);
    if (seen->sheet)
        write_sheet(w, i);
    if (str_equal(kind, "post") && seen->sheet) {
        IGNORE(str_copy(pw_sheet(&w->pw, i)->controlfile_piece, 400, t->piece));
        t->piece_by = seen->piece_by = i;
    }
    live_on(t, 1);
    for (uint32_t n = 0; n < THREADS; n++)
        archive(t, n);
    seen->sound = seen->sheet && t->piece[0] && !t->suspect;
    seen->start = NONE;
    for (uint32_t n = 0; n < t->files; n++) {
        seen->sound &= t->checkpoint[n] != 0;
        if (t->checkpoint[n]) {
            pw_copy(&w->pw, i, n + 1, 5 + n, t->checkpoint[n]);
            seen->start = t->checkpoint[n] < seen->start ? t->checkpoint[n] : seen->start;
        }
    }
    for (size_t k = 0; k < t->log_count; k++)
        if (t->logs[k].in_area && !t->logs[k].lost)
            pw_log(&w->pw, i, t->logs[k].thread, t->logs[k].sequence, t->logs[k].first,
                   t->logs[k].next);
    if (t->piece[0])
        pw_piece(&w->pw, i, t->piece);
    w->pw.sources[i].created_us = pw_us(t->now);
}

/* Logs leave the live area once a snapshot holds them. */
static void prune(struct truth *t)
{
    for (size_t k = 0; k < t->log_count; k++)
        if (t->logs[k].next + test_random_below(t->horizon) < t->now)
            t->logs[k].in_area = false;
}

static void one_run(struct world *w, unsigned number)
{
    struct truth *t = &w->t;
    char run[16];
    IGNORE(str_format(run, sizeof run, "r%u", number));
    if (!chance(10))
        snapshot(w, "pre", run);
    t->suspect = chance(8) && t->checkpoint[0] ? 1 : 0;
    for (uint32_t n = 0; n < t->files; n++) {
        if (n + 1 != t->suspect)
            t->checkpoint[n] = t->now;
        live_on(t, test_random_below(2));
    }
    live_on(t, 1);
    IGNORE(str_format(t->piece, sizeof t->piece, "cf_%s.bkp", run));
    t->piece_by = SIZE_MAX;
    if (t->horizon < 50)
        prune(t);
    if (!chance(5))
        snapshot(w, "post", run);
    prune(t);
    while (chance(20)) {
        live_on(t, 1 + test_random_below(10));
        snapshot(w, "log", run);
        prune(t);
    }
}

static void random_policy(struct world *w)
{
    struct config_retention *p = &w->policy;
    *p = (struct config_retention){.keep_proven = 1 + test_random_below(4)};
    if (chance(60))
        p->window_days = test_random_below(12);
    if (chance(30))
        p->expiration_days = test_random_below(10);
    if (chance(30))
        p->expiration_months = test_random_below(5);
    for (int tier = 0; tier < TIER_COUNT; tier++)
        if (chance(40))
            p->keep[tier] = test_random_below(8);
}

static void random_marks(struct world *w)
{
    static const char *const clones[] = {"c1", "c2"};
    for (size_t i = 0; i < w->pw.count; i++) {
        struct retention_snapshot *s = &w->extra[i];
        IGNORE(str_format(w->ids[i], sizeof w->ids[i], "id%zu", i));
        *s = (struct retention_snapshot){.id = w->ids[i], .holds = w->holds[i], .clones = clones};
        for (; s->hold_count < 2 && chance(4); s->hold_count++)
            w->holds[i][s->hold_count] = (struct retention_hold){
                "sam", "audit",
                chance(40) ? 0 : w->now_us + test_random_below(3) * 1000000u - 1000000u};
        s->lock_left_ms = chance(3) ? 1 + test_random_below(1000) : 0;
        s->clone_count = chance(4) ? 1 + test_random_below(2) : 0;
    }
}

static const char *const zones[] = {"Europe/Vienna",    "America/New_York", "Australia/Lord_Howe",
                                    "America/St_Johns", "Pacific/Apia",     "UTC",
                                    "Asia/Kolkata",     "Africa/Casablanca"};
/* Days with 23 and 25 hours, a leap day, a year's end. */
static const char *const epochs[] = {"2026-01-01 00:00", "2026-03-20 00:00", "2026-10-10 00:00",
                                     "2028-02-01 00:00", "2027-12-20 00:00", "2011-12-20 00:00"};

static void random_world(struct world *w)
{
    static const uint64_t steps[] = {600, 1800, 3600, 6 * 3600, 86400};
    struct err err = {0};
    const char *zone = zones[test_random_below(sizeof zones / sizeof *zones)];
    memset(w, 0, sizeof *w);
    cr_assert(clock_parse(epochs[test_random_below(sizeof epochs / sizeof *epochs)], &pw_epoch_us));
    pw_scn_us = steps[test_random_below(sizeof steps / sizeof *steps)] * 1000000u;
    setenv("TZ", zone, 1);
    tzset();
    w->zone = zone_load(zone, &err);
    cr_assert(w->zone, "%s", err.text);
    w->t = (struct truth){.now = 20,
                          .open = {true, chance(50)},
                          .sequence = {1, 1},
                          .log_first = {1, 1},
                          .files = 1 + test_random_below(FILES),
                          .horizon = chance(50) ? 5 : 200,
                          .piece_by = SIZE_MAX};
    unsigned runs = 1 + test_random_below(24);
    uint32_t pause = 3 + test_random_below(60);
    for (unsigned i = 0; i < runs; i++) {
        live_on(&w->t, 2 + test_random_below(pause));
        if (w->t.now + 30 < SCNS)
            one_run(w, i);
    }
    w->pw.cannot_compose = chance(30);
    /* The clock may stand behind the newest snapshot, or far ahead. */
    w->now_us = pw_us(w->t.now) + (chance(10) ? UINT64_C(86400000000) * test_random_below(400) : 0);
    if (chance(5))
        w->now_us = pw_us(w->t.now / 2);
    random_policy(w);
    random_marks(w);
}

/* ---- the checker: what a set of snapshots reaches ---- */

struct reach {
    bool held[THREADS][SCNS], quiet[THREADS][SCNS];
};

static void mark_logs(const struct world *w, size_t i, struct reach *r)
{
    const struct manifest *m = w->pw.sources[i].manifest;
    for (size_t e = 0; e < m->count; e++)
        if (m->entries[e].kind == FILE_ARCHIVED_LOG)
            for (uint64_t x = m->entries[e].log.first_scn.n; x < m->entries[e].log.next_scn.n; x++)
                r->held[m->entries[e].log.thread - 1][x] = true;
}

static bool is_sound(const struct world *w, const bool *set, size_t i)
{
    const struct seen *s = &w->seen[i];
    return set[i] && s->sound && s->piece_by != SIZE_MAX && set[s->piece_by];
}

/* reached[t]: some base of the set reaches target t with logs of the set alone. */
static void mark_reached(const struct world *w, const bool *set, bool reached[SCNS])
{
    static struct reach all;
    memset(&all, 0, sizeof all);
    memset(reached, 0, SCNS);
    for (size_t i = 0; i < w->pw.count; i++) {
        const struct seen *s = &w->seen[i];
        if (!set[i])
            continue;
        mark_logs(w, i, &all);
        for (uint32_t n = 0; s->sheet && n < THREADS; n++)
            for (uint64_t x = s->last_change[n] + 1; !s->open[n] && x < s->at; x++)
                all.quiet[n][x] = true;
    }
    for (size_t i = 0; i < w->pw.count; i++) {
        static struct reach own;
        if (!is_sound(w, set, i))
            continue;
        memcpy(own.held, all.held, sizeof own.held);
        if (w->pw.cannot_compose) {
            memset(own.held, 0, sizeof own.held);
            mark_logs(w, i, &own);
        }
        uint64_t lowest = 0;
        for (size_t e = 0; e < w->pw.sources[i].manifest->count; e++) {
            const struct manifest_entry *copy = &w->pw.sources[i].manifest->entries[e];
            if (copy->kind == FILE_DATAFILE && copy->datafile.checkpoint_scn.n > lowest)
                lowest = copy->datafile.checkpoint_scn.n;
        }
        uint64_t x = w->seen[i].start;
        for (; x < SCNS - 1; x++) {
            bool whole = true;
            for (uint32_t n = 0; n < THREADS; n++)
                whole &= own.held[n][x] || all.quiet[n][x];
            if (!whole)
                break;
            if (x + 1 > lowest)
                reached[x + 1] = true;
        }
    }
}

static uint64_t point_of(const struct world *w, size_t i)
{
    bool own[PW_SOURCES] = {false}, reached[SCNS];
    own[i] = true;
    if (w->seen[i].piece_by != SIZE_MAX)
        own[w->seen[i].piece_by] = true;
    struct world alone = *w;
    alone.pw.cannot_compose = true;
    alone.seen[w->seen[i].piece_by == SIZE_MAX ? i : w->seen[i].piece_by].sound =
        w->seen[i].piece_by == i || w->seen[i].piece_by == SIZE_MAX ? w->seen[i].sound : false;
    mark_reached(&alone, own, reached);
    for (uint64_t t = SCNS - 1; t > 0; t--)
        if (reached[t])
            return t;
    return 0;
}

/* ---- the calendar, by the C library ---- */

static struct tm local(uint64_t us)
{
    struct tm tm;
    time_t when = (time_t)(us / 1000000u);
    cr_assert(localtime_r(&when, &tm));
    return tm;
}

static void bucket(uint64_t us, int tier, char ret[32])
{
    static const char *const formats[] = {"%Y-%m-%d %H %z", "%Y-%m-%d", "%G-%V", "%Y-%m", "%Y"};
    struct tm tm = local(us);
    cr_assert(strftime(ret, 32, formats[tier], &tm));
}

static bool same_bucket(const struct world *w, size_t a, size_t b, int tier)
{
    char x[32], y[32];
    bucket(w->pw.sources[a].created_us, tier, x);
    bucket(w->pw.sources[b].created_us, tier, y);
    return str_equal(x, y);
}

/* ---- what must hold ---- */

/* So that a model that only nods is noticed. */
static unsigned rules_seen[RETENTION_SHEET + 1], refused;

struct result {
    struct retention *r;
    bool keep[PW_SOURCES], proven[PW_SOURCES], all[PW_SOURCES];
    bool before[SCNS], after[SCNS];
};

#define AGREE(w, x, condition, ...)                                                                \
    do {                                                                                           \
        bool agreed = (condition);                                                                 \
        if (!agreed)                                                                               \
            tell(w, x);                                                                            \
        cr_assert(agreed, __VA_ARGS__);                                                            \
    } while (0)

static void tell(const struct world *w, const struct result *x)
{
    const struct config_retention *p = &w->policy;
    fprintf(stderr,
            "now %" PRIu64 " step %" PRIu64 " s window %" PRIu64 " days %" PRIu64 " months %" PRIu64
            " tiers %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " floor %" PRIu64
            "%s %s\n",
            w->t.now, pw_scn_us / 1000000u, p->window_days, p->expiration_days,
            p->expiration_months, p->keep[0], p->keep[1], p->keep[2], p->keep[3], p->keep[4],
            p->keep_proven, w->pw.cannot_compose ? " no compose" : "", zone_name(w->zone));
    for (size_t i = 0; i < w->pw.count; i++) {
        size_t count;
        const struct retention_reason *why = retention_reasons(x->r, i, &count);
        char day[32];
        bucket(w->pw.sources[i].created_us, 0, day);
        fprintf(stderr, "%s at %" PRIu64 " (%s) start %" PRIu64 " %s%s point %" PRIu64 "\n",
                w->pw.names[i], w->seen[i].at, day, w->seen[i].start, x->keep[i] ? "kept" : "goes",
                x->proven[i] ? " proven" : "", point_of(w, i));
        for (size_t k = 0; k < count; k++)
            fprintf(stderr, "    %d %s\n", (int)why[k].rule, why[k].text);
    }
}

static bool has_rule(const struct result *x, size_t i, enum retention_rule rule)
{
    size_t count;
    const struct retention_reason *why = retention_reasons(x->r, i, &count);
    for (size_t k = 0; k < count; k++)
        if (why[k].rule == rule)
            return true;
    return false;
}

static bool is_point(const struct result *x, size_t i)
{
    size_t count;
    const struct retention_reason *why = retention_reasons(x->r, i, &count);
    for (size_t k = 0; k < count; k++)
        if (why[k].rule != RETENTION_GOES && why[k].rule < RETENTION_BASE)
            return true;
    return false;
}

/* The n newest buckets with a proven point each keep one. */
static void check_buckets(const struct world *w, const struct result *x, int tier, uint64_t n)
{
    for (size_t end = w->pw.count; end && n;) {
        size_t from = end - 1;
        bool proven = false, kept = false;
        while (from && same_bucket(w, from - 1, end - 1, tier))
            from--;
        for (size_t i = from; i < end; i++) {
            proven |= x->proven[i];
            kept |= x->proven[i] && x->keep[i];
        }
        AGREE(w, x, kept || !proven, "tier %d: nothing of the bucket of %s is kept", tier,
              w->pw.names[from]);
        n -= proven;
        end = from;
    }
}

static void check_marks(const struct world *w, const struct result *x)
{
    const uint64_t day = UINT64_C(86400000000);
    size_t last = SIZE_MAX;
    for (size_t i = 0; i < w->pw.count; i++) {
        const struct retention_snapshot *s = &w->extra[i];
        uint64_t made = w->pw.sources[i].created_us;
        bool held = s->lock_left_ms || s->clone_count;
        for (size_t h = 0; h < s->hold_count; h++)
            held |= !s->holds[h].until_us || s->holds[h].until_us > w->now_us;
        held |= made + w->policy.window_days * day > w->now_us && w->policy.window_days;
        held |= made + w->policy.expiration_days * day > w->now_us && w->policy.expiration_days;
        AGREE(w, x, x->keep[i] || !held, "%s must stay", w->pw.names[i]);
        last = x->proven[i] ? i : last;
    }
    AGREE(w, x, last == SIZE_MAX || x->keep[last], "the last good one goes");
}

static void check_month_ends(const struct world *w, const struct result *x)
{
    struct tm now = local(w->now_us);
    for (size_t i = 0; w->policy.expiration_months && i < w->pw.count; i++) {
        struct tm at = local(w->pw.sources[i].created_us);
        int age = (now.tm_year - at.tm_year) * 12 + now.tm_mon - at.tm_mon;
        bool last = x->proven[i];
        for (size_t k = i + 1; k < w->pw.count; k++)
            last &= !(x->proven[k] && same_bucket(w, i, k, TIER_MONTHLY));
        AGREE(w, x, !last || age > (int)w->policy.expiration_months || x->keep[i],
              "%s ends its month", w->pw.names[i]);
    }
}

/* Nothing that was reachable and is wanted is lost in that set. */
static void check_reached(const struct world *w, const struct result *x, const bool *set,
                          const char *when)
{
    bool reached[SCNS];
    mark_reached(w, set, reached);
    for (size_t i = 0; i < w->pw.count; i++) {
        uint64_t point = x->keep[i] && x->proven[i] && is_point(x, i) ? point_of(w, i) : 0;
        AGREE(w, x, !point || reached[point] || !x->before[point], "%s: the point of %s is lost",
              when, w->pw.names[i]);
    }
    for (uint64_t t = 1; w->policy.window_days && t < SCNS; t++)
        if (pw_us(t) > w->now_us - w->policy.window_days * UINT64_C(86400000000))
            AGREE(w, x, reached[t] || !x->before[t], "%s: SCN %" PRIu64 " of the window is lost",
                  when, t);
}

/* Deletions in any order, and a crash after any of them. */
static void check_orders(const struct world *w, const struct result *x)
{
    bool set[PW_SOURCES];
    size_t going[PW_SOURCES], count = 0;
    memcpy(set, x->all, sizeof set);
    for (size_t i = 0; i < w->pw.count; i++)
        if (!x->keep[i])
            going[count++] = i;
    for (size_t left = count; left; left--) {
        size_t pick = test_random_below((uint32_t)left);
        set[going[pick]] = false;
        going[pick] = going[left - 1];
        if (left == 1 || chance(25))
            check_reached(w, x, set, left == 1 ? "at the end" : "half way");
    }
    /* What the planner itself says of the rest: not more than before, and all of the points. */
    AUTO(pw) struct pw rest = {0};
    for (size_t i = 0; i < w->pw.count; i++)
        if (x->keep[i])
            rest.sources[rest.count++] = w->pw.sources[i];
    rest.cannot_compose = w->pw.cannot_compose;
    const struct plan *less = pw_plan(&rest);
    struct err err = {0};
    AUTO(plan)
    struct plan *full = plan_new(w->pw.sources, w->pw.count, !w->pw.cannot_compose, &err);
    cr_assert(full);
    for (uint64_t t = 1; t < SCNS; t++) {
        struct scn below, above;
        AUTO(plan_recipe) struct plan_recipe one = {0}, two = {0};
        bool reaches = plan_recipe_make(less, pw_scn(t), &one, &below, &above, &err);
        bool did = plan_recipe_make(full, pw_scn(t), &two, &below, &above, &err);
        AGREE(w, x, did || !reaches, "SCN %" PRIu64 " is promised without evidence", t);
        bool wanted = w->policy.window_days &&
                      pw_us(t) > w->now_us - w->policy.window_days * UINT64_C(86400000000);
        AGREE(w, x, reaches || !did || !wanted, "the planner lost SCN %" PRIu64, t);
    }
    rest.count = 0; /* borrowed */
}

/* Each reason of need: without that one snapshot something wanted is gone. */
static void check_needs(const struct world *w, const struct result *x)
{
    for (size_t i = 0; i < w->pw.count; i++) {
        size_t count;
        const struct retention_reason *why = retention_reasons(x->r, i, &count);
        cr_assert_gt(count, 0);
        for (size_t k = 0; k < count; k++)
            rules_seen[why[k].rule]++;
        AGREE(w, x, (why[count - 1].rule == RETENTION_GOES) == !x->keep[i], "reason and verdict");
        if (why[count - 1].rule != RETENTION_BASE && why[count - 1].rule != RETENTION_LOG)
            continue;
        bool set[PW_SOURCES], reached[SCNS], lost = false;
        memcpy(set, x->keep, sizeof set);
        set[i] = false;
        mark_reached(w, set, reached);
        for (uint64_t t = 1; t < SCNS; t++)
            lost |= x->after[t] && !reached[t];
        AGREE(w, x, lost, "%s is said to be needed and is not: %s", w->pw.names[i],
              why[count - 1].text);
    }
}

static void check_deletes(const struct world *w, const struct result *x)
{
    size_t i = test_random_below((uint32_t)w->pw.count);
    struct err err = {0};
    if (!x->keep[i])
        return;
    if (!retention_may_delete(x->r, i, &err)) {
        refused++;
        AGREE(w, x, err.code == ERR_PRECONDITION && strstr(err.text, "stays: "), "%s", err.text);
        return;
    }
    AGREE(w, x, !has_rule(x, i, RETENTION_FLOOR) && !has_rule(x, i, RETENTION_HOLD), "allowed");
    bool set[PW_SOURCES], reached[SCNS];
    memcpy(set, x->keep, sizeof set);
    set[i] = false;
    mark_reached(w, set, reached);
    for (size_t k = 0; k < w->pw.count; k++) {
        uint64_t point =
            k != i && x->keep[k] && x->proven[k] && is_point(x, k) ? point_of(w, k) : 0;
        AGREE(w, x, !point || reached[point] || !x->before[point],
              "deleting %s loses the point of %s", w->pw.names[i], w->pw.names[k]);
    }
}

static struct retention *decide(struct world *w)
{
    struct err err = {0};
    struct retention_input in = {.sources = w->pw.sources,
                                 .snapshots = w->extra,
                                 .count = w->pw.count,
                                 .can_compose = !w->pw.cannot_compose,
                                 .policy = &w->policy,
                                 .zone = w->zone,
                                 .now_us = w->now_us};
    struct retention *r = retention_make(&in, &err);
    cr_assert(r, "%s", err.text);
    return r;
}

static void one_world(void)
{
    static struct world w;
    static struct result x;
    random_world(&w);
    memset(&x, 0, sizeof x);
    x.r = decide(&w);
    for (size_t i = 0; i < w.pw.count; i++) {
        x.keep[i] = retention_keeps(x.r, i);
        x.proven[i] = retention_is_proven(x.r, i);
        x.all[i] = true;
        /* The model's own proof is a lower bound: what it knows to be one, is one. */
        AGREE(&w, &x, x.proven[i] || !point_of(&w, i), "%s is proven", w.pw.names[i]);
        AGREE(&w, &x, !x.proven[i] || w.seen[i].sound, "%s is not proven", w.pw.names[i]);
    }
    mark_reached(&w, x.all, x.before);
    mark_reached(&w, x.keep, x.after);
    if (!retention_has_policy(&w.policy))
        AGREE(&w, &x, retention_going(x.r) == 0, "no policy deletes nothing");
    check_marks(&w, &x);
    check_month_ends(&w, &x);
    check_buckets(&w, &x, TIER_DAILY, w.policy.keep_proven);
    for (int tier = 0; tier < TIER_COUNT; tier++)
        check_buckets(&w, &x, tier, w.policy.keep[tier]);
    check_orders(&w, &x);
    check_needs(&w, &x);
    if (w.pw.count)
        check_deletes(&w, &x);
    struct retention *again = decide(&w);
    cr_assert_str_eq(retention_id(again), retention_id(x.r));
    retention_free(again);
    retention_free(x.r);
    zone_free(w.zone);
    pw_done(&w.pw);
}

static bool is_met(unsigned worlds)
{
    bool all = refused;
    for (int rule = 0; rule <= RETENTION_SHEET; rule++)
        all = all && (rules_seen[rule] || (worlds < 1000 && rule >= RETENTION_BASE));
    return all;
}

Test(retention_model, what_is_kept_is_still_restorable_whatever_goes_and_in_whatever_order,
     .timeout = 3000)
{
    unsigned worlds = getenv("EVERCOPY_LONG") ? 20000 : 150;
    test_random_start("retention_model");
    /* A few more where chance left a rule out. */
    for (unsigned i = 0; i < worlds || (i < 10 * worlds && !is_met(worlds)); i++)
        one_world();
    for (int rule = 0; rule <= RETENTION_SHEET; rule++)
        cr_expect(rules_seen[rule] || (worlds < 1000 && rule >= RETENTION_BASE),
                  "no world met rule %d", rule);
    cr_expect(refused, "no delete was refused");
}
