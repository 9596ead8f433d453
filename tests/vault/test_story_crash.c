/* The whole vault, box and store, after every crash that could come: what was acknowledged is there
 * byte for byte, nothing else shows, nothing is left behind, and it goes on. EVERCOPY_SEED repeats
 * a run. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/engine_drive.h"
#include "tests/vault/story_world.h"
#include <criterion/criterion.h>
#include <stdio.h>

/* Layers fill, are swapped and sealed while the story goes on. */
static const struct vault_options busy = {
    .layer_bytes = 40000, .seal_threads = 2, .reserve_bytes = 4096, .store = {.threads = 2}};
static const struct vault_options by_hand = {
    .seal_by_hand = true, .reserve_bytes = 4096, .store = {.threads = 1}};

static bool run_story(struct story *story, const struct vault_options *options, const char *dir,
                      struct err *err)
{
    AUTO(opened) struct opened o = {0};
    if (!open_with(dir, options, &o, err))
        return false;
    for (size_t n = 0; n < story->op_count; n++) {
        if (story->ops[n].kind == STORY_REOPEN) {
            vault_close(TAKE(o.vault));
            opened_done(&o);
            if (!open_with(dir, options, &o, err))
                return err_wrap(err, "step %zu, opening again", n);
        }
        if (!story_do(story, o.vault, n, err))
            return err_wrap(err, "step %zu, %s", n, story_kind_name(story->ops[n].kind));
        sys_record_mark(n + 1);
    }
    return true;
}

static void trace_calls(const struct sys_record *record)
{
    static const char *const kinds[] = {"open", "write",  "truncate", "sync",  "rename",
                                        "link", "unlink", "rmdir",    "mkdir", "mark"};
    for (size_t i = 0; getenv("EVERCOPY_TRACE") && i < record->count; i++) {
        const struct sys_op *op = &record->ops[i];
        fprintf(stderr, "call %zu %s %s %s at %llu, %zu bytes\n", i + 1, kinds[op->kind],
                op->path ? op->path : "", op->to ? op->to : "", (unsigned long long)op->offset,
                op->len);
    }
}

/* A crash while what a crash left is put in order. */
static bool explore_recovery(struct story_explorer *e, const char *dir, uint64_t mark,
                             struct err *err)
{
    struct sys_record record = {0};
    AUTO(drive_dir) char *scratch = drive_dir();
    AUTO(crash_states) struct crash_states *states = crash_states_open(&record, dir, dir, err);
    AUTO(opened) struct opened o = {0};
    char state[256];
    IGNORE(str_format(state, sizeof state, "%s/state", scratch));
    sys_record_begin();
    bool ok = states && open_in(dir, &o, err);
    opened_done(&o);
    record = sys_record_end();
    for (size_t i = 0, step = record.count / 6 + 1; ok && crash_states_next(states, err); i++) {
        if (i % step != (mark + record.count) % step)
            continue;
        ok = crash_states_make(states, (enum crash_mode)(i % CRASH_MODES), mark, state, err) &&
             story_check_crash(e, state, mark, err);
        ok = ok || err_wrap(err, "recovery, call %zu of %zu, mode %zu", i + 1, record.count,
                            i % CRASH_MODES);
    }
    sys_record_done(&record);
    return ok && err->code == ERR_NONE;
}

static bool check_deep(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    struct story_explorer *e = arg;
    bool deep = e->moments++ % e->deep == 0;
    return (!deep || explore_recovery(e, dir, mark, err)) && story_check_crash(e, dir, mark, err);
}

static bool explore(struct rnd rnd, const struct vault_options *options, size_t ops, size_t states,
                    unsigned seeds, struct err *err)
{
    uint64_t made;
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    AUTO(story) struct story *story = story_new(rnd, ops, err);
    char state[256];
    if (!story)
        return false;
    story_trace(story);
    str_format(state, sizeof state, "%s/state", scratch);
    sys_record_begin();
    bool ok = run_story(story, options, dir, err);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    if (!ok)
        return false;
    trace_calls(&record);
    struct story_explorer e = {.story = story, .again = 3, .on = 7, .deep = 10};
    struct crash_plan plan = {.record = &record,
                              .root = dir,
                              .scratch = state,
                              .step = record.count * (2 + seeds) / states + 1,
                              .seeds = seeds,
                              .seed = rnd.state,
                              .check = check_deep,
                              .arg = &e};
    uint64_t begin = clock_mono_ms();
    ok = crash_states_each(&plan, &made, err);
    fprintf(stderr, "# %zu steps, %zu calls, %llu states in %llu ms\n", ops, record.count,
            (unsigned long long)e.checks, (unsigned long long)(clock_mono_ms() - begin));
    return ok;
}

/* The first story of a long run is looked at after every call, the others where it comes. */
static void explore_all(const struct vault_options *options, size_t ops, size_t states)
{
    bool more = getenv("EVERCOPY_LONG") && getenv("EVERCOPY_LONG")[0];
    size_t runs = story_setting("EVERCOPY_RUNS", more ? 10 : 1);
    ops = story_setting("EVERCOPY_STEPS", more ? 120 : ops);
    for (uint64_t i = 0; i < runs; i++) {
        struct err err = {0};
        struct rnd rnd = story_seed("story crash", i);
        size_t most = story_setting("EVERCOPY_STATES", !more ? states : i == 0 ? 100000 : 1500);
        cr_assert(explore(rnd, options, ops, most, more ? 2 : 1, &err),
                  "EVERCOPY_SEED=%" PRIu64 ": %s", rnd.state, err.text);
    }
}

Test(story_crash, what_was_acknowledged_survives_every_crash) { explore_all(&by_hand, 50, 60); }

Test(story_crash, what_was_acknowledged_survives_while_threads_seal) { explore_all(&busy, 40, 40); }
