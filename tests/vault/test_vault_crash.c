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

static bool run_story(struct story *story, const char *dir, struct err *err)
{
    AUTO(opened) struct opened o = {0};
    if (!open_in(dir, &o, err))
        return false;
    for (size_t n = 0; n < story->op_count; n++) {
        if (story->ops[n].kind == STORY_REOPEN) {
            vault_close(TAKE(o.vault));
            opened_done(&o);
            if (!open_in(dir, &o, err))
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

static bool explore(struct rnd rnd, size_t ops, size_t states, unsigned seeds, uint64_t *ret_states,
                    struct err *err)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    AUTO(story) struct story *story = story_new(rnd, ops, err);
    char state[256];
    if (!story)
        return false;
    story_trace(story);
    str_format(state, sizeof state, "%s/state", scratch);
    sys_record_begin();
    bool ok = run_story(story, dir, err);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    if (!ok)
        return false;
    trace_calls(&record);
    struct story_explorer e = {.story = story, .again = 3, .on = 7};
    struct crash_plan plan = {.record = &record,
                              .root = dir,
                              .scratch = state,
                              .step = record.count * (2 + seeds) / states + 1,
                              .seeds = seeds,
                              .seed = rnd.state,
                              .check = story_check_crash,
                              .arg = &e};
    uint64_t begin = clock_mono_ms();
    ok = crash_states_each(&plan, ret_states, err);
    fprintf(stderr, "# %zu steps, %zu calls, %llu states in %llu ms\n", ops, record.count,
            (unsigned long long)e.checks, (unsigned long long)(clock_mono_ms() - begin));
    return ok;
}

Test(vault_crash, what_was_acknowledged_survives_every_crash, .timeout = 7200)
{
    bool more = getenv("EVERCOPY_LONG");
    size_t runs = story_setting("EVERCOPY_RUNS", more ? 30 : 1);
    size_t ops = story_setting("EVERCOPY_STEPS", more ? 120 : 50);
    size_t states = story_setting("EVERCOPY_STATES", more ? 100000 : 100);
    for (uint64_t i = 0; i < runs; i++) {
        struct err err = {0};
        uint64_t count;
        struct rnd rnd = story_seed("vault crash", i);
        cr_assert(explore(rnd, ops, states, more ? 2 : 1, &count, &err),
                  "EVERCOPY_SEED=%" PRIu64 ": %s", rnd.state, err.text);
    }
}
