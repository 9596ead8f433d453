/* The planner against a model: random months of runs, whose truth is known change by change. A slow
 * checker marks each SCN by itself; the planner may never promise more than the truth, nor less
 * than sheets and logs attest. EVERCOPY_SEED repeats a run. */
#include "tests/engine/plan_world.h"
#include "tests/oracle/writers.h"

#include <inttypes.h>

enum {
    SCNS = 1400, /* a month is that short, so that every SCN can be asked */
    THREADS = 3,
    FILES = 6,
    LOGS = 600,
    NONE = SCNS * 2,
    PIECE_MAX = 40,
};

/* ---- the truth ---- */

struct true_thread {
    bool exists, enabled, open, wrote; /* wrote: since its current log began */
    uint32_t sequence, last_sequence;
    uint64_t enable, disable, log_first, last_change;
    bool changed[SCNS]; /* it wrote redo at that SCN */
};

struct true_log {
    uint32_t thread, sequence;
    uint64_t first, next;
    bool in_area, lost;
};

struct true_file {
    bool exists, plugged;
    uint64_t creation, plugin, stop, unlogged; /* NONE, 0 */
    uint64_t checkpoint, fuzzy;                /* of its copy; 0: none */
    uint64_t copy_creation;
    bool suspect, had_unlogged[SCNS];
};

struct truth {
    uint64_t now;
    struct true_thread threads[THREADS];
    struct true_file files[FILES];
    struct true_log logs[LOGS];
    size_t log_count;
    bool copied;
    char piece[PIECE_MAX];
};

static bool chance(uint32_t percent) { return test_random_below(100) < percent; }

static void archive(struct truth *t, uint32_t n)
{
    struct true_thread *thread = &t->threads[n];
    if (!thread->enabled || !thread->wrote || thread->log_first >= t->now)
        return;
    cr_assert_lt(t->log_count, LOGS);
    t->logs[t->log_count++] = (struct true_log){.thread = n + 1,
                                                .sequence = thread->sequence++,
                                                .first = thread->log_first,
                                                .next = t->now,
                                                .in_area = true};
    thread->log_first = t->now;
    thread->wrote = false;
}

static void enable(struct truth *t, uint32_t n)
{
    struct true_thread *thread = &t->threads[n];
    if (!thread->exists)
        thread->sequence = 1;
    thread->exists = thread->enabled = thread->open = true;
    thread->enable = thread->log_first = t->now;
}

static void change_thread(struct truth *t, uint32_t n)
{
    struct true_thread *thread = &t->threads[n];
    if (!thread->enabled) {
        enable(t, n);
    } else if (thread->open) {
        thread->open = false;
    } else if (chance(50)) {
        thread->open = true;
    } else if (n > 0) { /* thread 1 stays */
        archive(t, n);
        thread->enabled = false;
        thread->disable = t->now;
    }
}

static void change_file(struct truth *t, uint32_t n)
{
    struct true_file *file = &t->files[n];
    if (!file->exists) {
        *file = (struct true_file){.exists = true,
                                   .creation = t->now,
                                   .stop = NONE,
                                   .checkpoint = file->checkpoint,
                                   .fuzzy = file->fuzzy,
                                   .copy_creation = file->copy_creation,
                                   .plugged = chance(25)};
        if (file->plugged) {
            file->plugin = t->now;
            file->creation = 1 + test_random_below(40);
        }
    } else if (file->stop == NONE && chance(40)) {
        file->stop = t->now;
    } else if (file->stop != NONE && chance(60)) {
        file->stop = NONE;
    } else if (n > 0 && chance(30)) {
        file->exists = false;
        file->checkpoint = 0;
    } else if (file->stop == NONE && chance(30)) {
        file->unlogged = t->now;
        file->had_unlogged[t->now] = true;
    }
}

/* Every open thread writes now and then; the world changes a little. */
static void live_on(struct truth *t, uint64_t steps, uint32_t restless)
{
    for (; steps && t->now + 20 < SCNS; steps--) {
        for (uint32_t n = 0; n < THREADS; n++) {
            struct true_thread *thread = &t->threads[n];
            if (thread->enabled && thread->open && chance(40)) {
                thread->changed[t->now] = thread->wrote = true;
                thread->last_change = t->now;
                thread->last_sequence = thread->sequence;
            }
        }
        t->now++;
        if (test_random_below(1000) < restless)
            change_thread(t, test_random_below(THREADS));
        if (test_random_below(1000) < restless)
            change_file(t, test_random_below(FILES));
        if (chance(4))
            archive(t, test_random_below(THREADS));
    }
}

/* ---- what a run sees and keeps ---- */

static void write_sheet(struct pw *w, size_t i, const struct truth *t, uint64_t at)
{
    struct facts *f = pw_facts(w, i, at);
    for (uint32_t n = 0; n < THREADS; n++) {
        const struct true_thread *thread = &t->threads[n];
        if (!thread->exists)
            continue;
        struct facts_thread *row = pw_thread(f, n + 1);
        row->open = thread->open;
        row->enabled = thread->enabled;
        row->sequence = thread->sequence;
        row->enable_scn = pw_scn(thread->enable);
        row->disable_scn = pw_scn(thread->disable);
        row->last_sequence = thread->last_sequence;
        row->last_scn = pw_scn(thread->last_change);
    }
    for (uint32_t n = 0; n < FILES; n++) {
        const struct true_file *file = &t->files[n];
        if (!file->exists)
            continue;
        struct facts_file *row = pw_file(f, n + 1, file->creation);
        row->stop_scn = file->stop == NONE ? SCN_NONE : pw_scn(file->stop);
        row->unrecoverable_scn = pw_scn(file->unlogged);
        row->plugged_in = file->plugged;
        row->plugin_scn = pw_scn(file->plugin);
    }
    f->suspect_files = calloc(FILES, sizeof *f->suspect_files);
    f->suspect_capacity = FILES;
    for (uint32_t n = 0; n < FILES; n++)
        if (t->files[n].suspect && t->files[n].exists)
            f->suspect_files[f->suspect_count++] = n + 1;
}

static void write_area(struct pw *w, size_t i, const struct truth *t)
{
    for (uint32_t n = 0; n < FILES; n++)
        if (t->files[n].checkpoint)
            pw_copy(w, i, n + 1, t->files[n].copy_creation, t->files[n].checkpoint)
                ->datafile.absolute_fuzzy_scn = pw_scn(t->files[n].fuzzy);
    for (size_t k = 0; k < t->log_count; k++)
        if (t->logs[k].in_area && !t->logs[k].lost)
            pw_log(w, i, t->logs[k].thread, t->logs[k].sequence, t->logs[k].first, t->logs[k].next);
    if (*t->piece)
        pw_piece(w, i, t->piece);
}

/* What the truth was when a snapshot was taken, for the checker. */
static struct truth *kept[PW_SOURCES];

static size_t snapshot(struct pw *w, struct truth *t, const char *kind, const char *run)
{
    uint64_t at = t->now;
    size_t i = pw_add(w, kind, run);
    write_sheet(w, i, t, at);
    if (str_equal(kind, "post"))
        IGNORE(str_copy(pw_sheet(w, i)->controlfile_piece, 400, t->piece));
    live_on(t, 1, 0);
    for (uint32_t n = 0; n < THREADS; n++)
        archive(t, n);
    write_area(w, i, t);
    struct truth *copy = malloc(sizeof *copy);
    *copy = *t;
    kept[i] = copy;
    return i;
}

static void merge(struct truth *t)
{
    uint32_t fails = chance(15) ? test_random_below(FILES) : FILES;
    for (uint32_t n = 0; n < FILES; n++) {
        struct true_file *file = &t->files[n];
        if (!file->exists)
            continue;
        if (n == fails) {
            file->suspect = file->checkpoint && file->stop == NONE;
            continue;
        }
        if (file->stop != NONE && file->checkpoint >= file->stop &&
            file->copy_creation == file->creation)
            continue; /* skipped: nothing changed */
        uint64_t begun = t->now;
        live_on(t, test_random_below(6), 20);
        if (!file->exists)
            continue; /* dropped meanwhile */
        file->checkpoint = file->stop != NONE && file->stop <= begun ? file->stop : begun;
        file->fuzzy = file->stop == NONE && t->now > begun && chance(50) ? t->now - 1 : 0;
        file->copy_creation = file->creation;
        file->suspect = false;
        if (file->checkpoint < file->creation)
            file->checkpoint = file->creation;
    }
    for (uint32_t n = 0; n < FILES; n++)
        if (!t->files[n].exists)
            t->files[n].checkpoint = t->files[n].suspect = 0;
}

static void one_run(struct pw *w, struct truth *t, unsigned number)
{
    char run[16];
    IGNORE(str_format(run, sizeof run, "r%u", number));
    snapshot(w, t, "pre", run);
    if (chance(10))
        return; /* ended before its merge */
    merge(t);
    live_on(t, 1 + test_random_below(5), 30);
    IGNORE(str_format(t->piece, sizeof t->piece, "cf_%s.bkp", run));
    snapshot(w, t, "post", run);
    for (size_t k = 0; k < t->log_count; k++)
        if (t->logs[k].next + test_random_below(300) < t->now)
            t->logs[k].in_area = false;
}

static void lose_some(struct truth *t, uint32_t percent)
{
    for (size_t k = 0; k < t->log_count; k++)
        if (t->logs[k].in_area && chance(percent))
            t->logs[k].lost = true;
}

static void random_month(struct pw *w, struct truth *t)
{
    *t = (struct truth){.now = 50};
    enable(t, 0);
    if (chance(40))
        enable(t, 1);
    for (uint32_t n = 0; n < 1 + test_random_below(FILES); n++)
        t->files[n] = (struct true_file){.exists = true, .creation = 20 + n, .stop = NONE};
    uint32_t restless = test_random_below(3) * 15;
    uint32_t careless = chance(30) ? 1 + test_random_below(10) : 0;
    unsigned runs = 1 + test_random_below(7);
    for (unsigned i = 0; i < runs; i++) {
        live_on(t, 20 + test_random_below(120), restless);
        lose_some(t, careless);
        one_run(w, t, i);
    }
    live_on(t, test_random_below(120), restless);
    if (chance(70)) {
        size_t i = pw_add(w, "", "");
        write_area(w, i, t);
        kept[i] = NULL;
    }
    w->cannot_compose = chance(30);
}

/* ---- the checker ---- */

enum where { OWN, PROTECTED, ARRIVED };

struct checker {
    struct pw *w;
    const struct truth *t;
    bool held[THREADS][SCNS + 2];     /* the log with that SCN can be had */
    bool attested[THREADS][SCNS + 2]; /* a sheet says: nothing was written then */
    bool unknown[THREADS][SCNS + 2];  /* enabled since the newest sheet: nobody can know yet */
};

static bool may_use(const struct pw *w, size_t base, size_t source, enum where where)
{
    if (w->cannot_compose || where == OWN)
        return source == base;
    return where == ARRIVED || w->sources[source].name[0];
}

static void mark_held(struct checker *c, size_t base, enum where where)
{
    memset(c->held, 0, sizeof c->held);
    for (size_t s = 0; s < c->w->count; s++) {
        const struct manifest *m = c->w->sources[s].manifest;
        for (size_t e = 0; may_use(c->w, base, s, where) && e < m->count; e++)
            if (m->entries[e].kind == FILE_ARCHIVED_LOG)
                for (uint64_t x = m->entries[e].log.first_scn.n; x < m->entries[e].log.next_scn.n;
                     x++)
                    c->held[m->entries[e].log.thread - 1][x] = true;
    }
}

static bool says_nothing_at(const struct facts *f, uint32_t thread, uint64_t x)
{
    if (x >= f->moments[0].scn.n)
        return false;
    for (size_t k = 0; k < f->thread_count; k++) {
        const struct facts_thread *row = &f->threads[k];
        if (row->number != thread)
            continue;
        if (!row->enabled)
            return x >= row->disable_scn.n;
        return (!row->open && x > row->last_scn.n) ||
               (x >= row->disable_scn.n && x < row->enable_scn.n);
    }
    return true;
}

/* Past the newest sheet a thread that is off there stays off until a log says otherwise. */
static bool stays_off(const struct checker *c, uint32_t thread, uint64_t x)
{
    const struct facts *newest = NULL;
    for (size_t s = 0; s < c->w->count; s++)
        if (c->w->sources[s].facts)
            newest = c->w->sources[s].facts;
    if (!newest || x < newest->moments[0].scn.n)
        return false;
    for (size_t s = 0; s < c->w->count; s++)
        for (size_t e = 0; e < c->w->sources[s].manifest->count; e++) {
            const struct manifest_entry *log = &c->w->sources[s].manifest->entries[e];
            if (log->kind == FILE_ARCHIVED_LOG && log->log.thread == thread &&
                log->log.next_scn.n > newest->moments[0].scn.n)
                return false;
        }
    for (size_t k = 0; k < newest->thread_count; k++)
        if (newest->threads[k].number == thread)
            return !newest->threads[k].enabled;
    return true;
}

static void mark_attested(struct checker *c)
{
    memset(c->attested, 0, sizeof c->attested);
    for (uint32_t n = 0; n < THREADS; n++)
        for (uint64_t x = 0; x < SCNS; x++) {
            for (size_t s = 0; s < c->w->count && !c->attested[n][x]; s++)
                if (c->w->sources[s].facts)
                    c->attested[n][x] = says_nothing_at(c->w->sources[s].facts, n + 1, x);
            cr_assert(!c->attested[n][x] || !c->t->threads[n].changed[x], "the sheets lie");
            c->unknown[n][x] = !c->attested[n][x] && stays_off(c, n + 1, x);
            c->attested[n][x] = c->attested[n][x] || c->unknown[n][x];
        }
}

struct base_truth {
    bool sound;
    uint64_t start, lowest; /* targets at or above lowest */
    uint64_t limit;         /* none above, for reasons that are no logs */
};

/* What the copies of a snapshot are really worth, by the truth of that moment. */
static struct base_truth weigh(const struct checker *c, size_t i)
{
    const struct truth *then = kept[i];
    struct base_truth b = {.sound = then && *then->piece, .start = NONE, .limit = NONE};
    if (!b.sound)
        return b;
    for (uint32_t n = 0; n < FILES; n++) {
        const struct true_file *file = &then->files[n];
        const struct facts_file *said = facts_file_find(c->w->sources[i].facts, n + 1);
        bool mine = file->checkpoint && said && file->copy_creation == said->creation_scn.n &&
                    (!said->plugged_in || file->checkpoint >= said->plugin_scn.n);
        if (!said || !mine)
            continue;
        b.sound = b.sound && !file->suspect;
        uint64_t needs = file->fuzzy + 1 > file->checkpoint ? file->fuzzy + 1 : file->checkpoint;
        bool rests = !scn_is_none(said->stop_scn) && file->checkpoint >= said->stop_scn.n;
        if (rests)
            needs = file->checkpoint;
        else if (file->checkpoint < b.start)
            b.start = file->checkpoint;
        b.lowest = needs > b.lowest ? needs : b.lowest;
    }
    if (b.start == NONE) { /* all at rest */
        b.start = c->w->sources[i].facts->moments[0].scn.n;
        b.lowest = b.lowest > b.start ? b.lowest : b.start;
    }
    for (uint32_t n = 0; n < FILES; n++) {
        const struct true_file *file = &then->files[n];
        const struct facts_file *said = facts_file_find(c->w->sources[i].facts, n + 1);
        bool mine = said && file->checkpoint && file->copy_creation == said->creation_scn.n &&
                    (!said->plugged_in || file->checkpoint >= said->plugin_scn.n);
        if (said && !mine && (said->plugged_in || said->creation_scn.n < b.start))
            b.sound = false;
    }
    return b;
}

/* All redo between start and target is there: by the truth, or as far as anybody can know. */
static bool has_redo(const struct checker *c, const struct base_truth *b, uint64_t target,
                     bool by_truth)
{
    for (uint32_t n = 0; n < THREADS; n++)
        for (uint64_t x = b->start; x < target; x++) {
            bool quiet = c->attested[n][x] || (by_truth && !c->t->threads[n].changed[x]);
            if (!c->held[n][x] && !quiet)
                return false;
        }
    return true;
}

static uint64_t redo_end(const struct checker *c, const struct base_truth *b, bool by_truth)
{
    uint64_t low = b->start;
    while (low < SCNS && has_redo(c, &(struct base_truth){.start = low}, low + 1, by_truth))
        low++;
    return low;
}

/* The least SCN at which something happened that no redo brings, to files this base must give. */
static uint64_t unlogged_limit(const struct checker *c, size_t i)
{
    const struct truth *then = kept[i];
    uint64_t limit = NONE;
    for (size_t s = 0; s < c->w->count; s++) {
        const struct facts *f = c->w->sources[s].facts;
        for (size_t k = 0; f && k < f->file_count; k++) {
            const struct facts_file *said = &f->files[k];
            const struct true_file *file = &then->files[said->file_no - 1];
            bool mine = file->checkpoint && file->copy_creation == said->creation_scn.n &&
                        (!said->plugged_in || file->checkpoint >= said->plugin_scn.n);
            const struct facts_file *own = facts_file_find(c->w->sources[i].facts, said->file_no);
            if (s < i && !(own && own->creation_scn.n == said->creation_scn.n))
                continue; /* dropped before the snapshot was taken */
            uint64_t held = mine ? file->checkpoint : 0;
            if (said->unrecoverable_scn.n > held && said->unrecoverable_scn.n > weigh(c, i).start &&
                said->unrecoverable_scn.n < limit)
                limit = said->unrecoverable_scn.n;
            if (s > i && said->plugged_in && !mine && said->plugin_scn.n < limit)
                limit = said->plugin_scn.n;
        }
    }
    return limit;
}

/* ---- agreement ---- */

struct bounds { /* of one base: surely reachable up to, possibly up to */
    struct base_truth base;
    uint64_t known[3], truly[3];
};

static void bound(struct checker *c, size_t i, struct bounds *ret)
{
    *ret = (struct bounds){.base = weigh(c, i)};
    if (!ret->base.sound)
        return;
    uint64_t limit = unlogged_limit(c, i);
    for (int where = OWN; where <= ARRIVED; where++) {
        mark_held(c, i, (enum where)where);
        uint64_t known = redo_end(c, &ret->base, false);
        uint64_t truly = redo_end(c, &ret->base, true);
        ret->known[where] = known < limit ? known : limit;
        ret->truly[where] = truly < limit ? truly : limit;
    }
}

static bool some_base(const struct bounds *all, size_t count, uint64_t target, int where,
                      bool truly)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].base.sound && target > all[i].base.lowest &&
            target <= (truly ? all[i].truly[where] : all[i].known[where]))
            return true;
    return false;
}

static bool in_intervals(const struct plan *plan, uint64_t target)
{
    size_t count;
    const struct plan_interval *list = plan_intervals(plan, &count);
    bool in = false;
    for (size_t i = 0; i < count; i++) {
        cr_assert(list[i].first.n < list[i].last.n);
        cr_assert(i == 0 || list[i - 1].last.n < list[i].first.n, "intervals touch");
        in |= target > list[i].first.n && target <= list[i].last.n;
    }
    return in;
}

/* The recipe by itself: its own files and logs, nothing else, must do. */
static void check_recipe(const struct checker *c, const struct plan_recipe *r, uint64_t target)
{
    uint64_t start = NONE;
    static bool covered[THREADS][SCNS + 2];
    memset(covered, 0, sizeof covered);
    for (size_t i = 0; i < r->file_count; i++) {
        cr_assert_eq(r->files[i].source, r->base);
        cr_assert(i == 0 ||
                  r->files[i - 1].entry->datafile.file_no < r->files[i].entry->datafile.file_no);
        uint64_t checkpoint = r->files[i].entry->datafile.checkpoint_scn.n;
        cr_assert_leq(checkpoint, target);
        if (!r->files[i].is_static && checkpoint < start)
            start = checkpoint;
    }
    start = start == NONE ? c->w->sources[r->base].facts->moments[0].scn.n : start;
    for (size_t i = 0; i < r->log_count; i++) {
        const struct manifest_entry *log = r->logs[i].entry;
        cr_assert(log->log.next_scn.n > start && log->log.first_scn.n < target, "a log too many");
        cr_assert(may_use(c->w, r->base, r->logs[i].source, ARRIVED));
        cr_assert(i == 0 || log->log.thread != r->logs[i - 1].entry->log.thread ||
                      log->log.sequence > r->logs[i - 1].entry->log.sequence,
                  "a log twice");
        for (uint64_t x = log->log.first_scn.n; x < log->log.next_scn.n; x++)
            covered[log->log.thread - 1][x] = true;
    }
    for (uint32_t n = 0; n < THREADS; n++)
        for (uint64_t x = start; x < target; x++)
            cr_assert(covered[n][x] || !c->t->threads[n].changed[x] || c->unknown[n][x],
                      "the recipe for %" PRIu64 " lacks redo of thread %u at %" PRIu64, target,
                      n + 1, x);
    cr_assert(r->controlfile && *r->controlfile);
}

/* For a failed round: what was known and what was true. */
static void tell_world(const struct checker *c, const struct bounds *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct plan_base *b = plan_base(c->w->plan, i);
        const struct facts *f = c->w->sources[i].facts;
        fprintf(stderr, "%s at %" PRIu64 ": %s '%s' start %" PRIu64 " E %" PRIu64, c->w->names[i],
                f->moments[0].scn.n, plan_verdict_text(b->verdict), b->cause, b->start.n,
                b->earliest.n);
        fprintf(stderr, " L %" PRIu64 "/%" PRIu64 "/%" PRIu64 " '%s'", b->latest_own.n, b->latest.n,
                b->latest_arrived.n, b->broken);
        fprintf(stderr, " model: %s start %" PRIu64 " E %" PRIu64,
                all[i].base.sound ? "sound" : "not", all[i].base.start, all[i].base.lowest);
        for (int w = OWN; w <= ARRIVED; w++)
            fprintf(stderr, " %" PRIu64 "..%" PRIu64, all[i].known[w], all[i].truly[w]);
        fprintf(stderr, "\n");
        for (size_t t = 0; t < f->thread_count; t++)
            fprintf(stderr,
                    "  thread %u %s %s enable %" PRIu64 " disable %" PRIu64 " last %" PRIu64 "\n",
                    f->threads[t].number, f->threads[t].enabled ? "enabled" : "disabled",
                    f->threads[t].open ? "open" : "closed", f->threads[t].enable_scn.n,
                    f->threads[t].disable_scn.n, f->threads[t].last_scn.n);
        for (size_t k = 0; k < f->file_count; k++)
            fprintf(stderr,
                    "  file %u made %" PRIu64 " stop %" PRId64 " unlogged %" PRIu64
                    " plugged %d %" PRIu64 " copy %" PRIu64 " of %" PRIu64 "\n",
                    f->files[k].file_no, f->files[k].creation_scn.n,
                    (int64_t)f->files[k].stop_scn.n, f->files[k].unrecoverable_scn.n,
                    f->files[k].plugged_in, f->files[k].plugin_scn.n,
                    kept[i]->files[f->files[k].file_no - 1].checkpoint,
                    kept[i]->files[f->files[k].file_no - 1].copy_creation);
    }
    for (size_t k = 0; k < c->t->log_count; k++)
        fprintf(stderr, "log %u/%u %" PRIu64 "-%" PRIu64 "%s\n", c->t->logs[k].thread,
                c->t->logs[k].sequence, c->t->logs[k].first, c->t->logs[k].next,
                c->t->logs[k].lost ? " lost" : "");
}

#define AGREE(c, all, count, condition, ...)                                                       \
    do {                                                                                           \
        bool agreed = (condition);                                                                 \
        if (!agreed)                                                                               \
            tell_world(c, all, count);                                                             \
        cr_assert(agreed, __VA_ARGS__);                                                            \
    } while (0)

static void ask(const struct checker *c, const struct bounds *all, size_t count, uint64_t target)
{
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe = {0};
    bool made = plan_recipe_make(c->w->plan, pw_scn(target), &recipe, &below, &above, &err);
    bool inside = in_intervals(c->w->plan, target);
    cr_assert(made || err.code == ERR_NOT_FOUND, "%s", err.text);
    AGREE(c, all, count, !made || some_base(all, count, target, ARRIVED, true),
          "%" PRIu64 " cannot be reached", target);
    AGREE(c, all, count, made || !some_base(all, count, target, ARRIVED, false),
          "%" PRIu64 " can be reached", target);
    AGREE(c, all, count, !inside || some_base(all, count, target, PROTECTED, true),
          "%" PRIu64 " is in an interval and cannot be reached", target);
    AGREE(c, all, count, inside || !some_base(all, count, target, PROTECTED, false),
          "%" PRIu64 " can be reached and is in no interval", target);
    cr_assert(!inside || made);
    if (made) {
        check_recipe(c, &recipe, target);
    } else {
        cr_assert((!below.n || below.n < target) && (!above.n || above.n > target));
        AUTO(plan_recipe) struct plan_recipe near = {0};
        cr_assert(!below.n || plan_recipe_make(c->w->plan, below, &near, &below, &above, &err));
    }
}

static void check_bases(const struct checker *c, const struct bounds *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct plan_base *b = plan_base(c->w->plan, i);
        bool says = b->verdict == PLAN_OK || b->verdict == PLAN_WARNING;
        AGREE(c, all, count, says == all[i].base.sound, "base %zu: %s (%s)", i,
              plan_verdict_text(b->verdict), b->cause);
        if (!says)
            continue;
        AGREE(c, all, count, b->start.n == all[i].base.start, "start of base %zu", i);
        AGREE(c, all, count, b->earliest.n == all[i].base.lowest, "E of base %zu", i);
        cr_assert_leq(b->latest_own.n, b->latest.n);
        cr_assert_leq(b->latest.n, b->latest_arrived.n);
        AGREE(c, all, count, b->latest_own.n <= all[i].truly[OWN], "L of base %zu", i);
    }
}

static void check_gaps(const struct plan *plan)
{
    size_t count;
    const struct plan_gap *gaps = plan_gaps(plan, &count);
    for (size_t i = 0; i < count; i++) {
        cr_assert(gaps[i].first.n < gaps[i].last.n && gaps[i].why[0]);
        for (uint64_t x = gaps[i].first.n + 1; x <= gaps[i].last.n; x++)
            cr_assert_eq(in_intervals(plan, x), gaps[i].closed, "gap at %" PRIu64 ": %s", x,
                         gaps[i].why);
    }
}

static void one_world(void)
{
    static struct truth t;
    static struct checker c;
    static struct bounds all[PW_SOURCES];
    AUTO(pw) struct pw w = {0};
    random_month(&w, &t);
    c.w = &w;
    c.t = &t;
    mark_attested(&c);
    pw_plan(&w);
    size_t snapshots = 0;
    while (snapshots < w.count && w.sources[snapshots].name[0])
        bound(&c, snapshots, &all[snapshots]), snapshots++;
    check_bases(&c, all, snapshots);
    check_gaps(w.plan);
    for (size_t s = 0; s < w.count; s++)
        for (size_t e = 0; e < w.sources[s].manifest->count; e++) {
            const struct manifest_entry *log = &w.sources[s].manifest->entries[e];
            for (int by = -1; log->kind == FILE_ARCHIVED_LOG && by <= 1; by++)
                ask(&c, all, snapshots, log->log.next_scn.n + (uint64_t)by);
        }
    for (size_t i = 0; i < snapshots; i++)
        for (int by = -1; by <= 1; by++)
            ask(&c, all, snapshots, all[i].base.lowest + (uint64_t)by + 1);
    for (int i = 0; i < 20; i++)
        ask(&c, all, snapshots, 1 + test_random_below(SCNS - 1));
    for (size_t i = 0; i < snapshots; i++) {
        free(kept[i]);
        kept[i] = NULL;
    }
}

Test(planner_model, the_planner_and_the_truth_agree_on_random_months)
{
    unsigned worlds = getenv("EVERCOPY_LONG") ? 100000 : 600;
    test_random_start("planner_model");
    for (unsigned i = 0; i < worlds; i++)
        one_world();
}
