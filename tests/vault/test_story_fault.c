/* The whole vault while one call of box or store fails: it says so, can be asked again, and has
 * lost nothing at the end. EVERCOPY_SEED repeats a run. */
#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "tests/lib/engine_drive.h"
#include "tests/vault/story_world.h"
#include <criterion/criterion.h>
#include <errno.h>

struct fault {
    const char *name;
    int errno_value; /* of the box's and the store's system calls; 0: of the store's calls */
    enum err_code code;
    bool after;
    bool part;    /* the nth read or write moves half; the call behind it fails, if one is to */
    bool reopens; /* it may take a new start to go on: what a disk lost cannot be known else */
};
static const struct fault faults[] = {
    {.name = "i/o error", .errno_value = EIO, .reopens = true},
    {.name = "disk full", .errno_value = ENOSPC, .reopens = true},
    {.name = "half", .part = true},
    {.name = "half, then disk full", .errno_value = ENOSPC, .part = true, .reopens = true},
    {.name = "store i/o error", .code = ERR_IO},
    {.name = "store full", .code = ERR_NO_SPACE},
    {.name = "store away", .code = ERR_UNAVAILABLE},
    {.name = "store away, done", .code = ERR_UNAVAILABLE, .after = true},
    {.name = "store late", .code = ERR_TIMEOUT},
    {.name = "store late, done", .code = ERR_TIMEOUT, .after = true},
};

static void arm(const struct fault *fault, long nth)
{
    if (fault->part)
        IGNORE(sys_short(nth, fault->errno_value) < 0);
    else if (fault->errno_value)
        IGNORE(sys_fault(nth, fault->errno_value));
    else
        IGNORE(io_fault(nth, fault->code, fault->after));
}

static long disarm(const struct fault *fault)
{
    if (fault->part)
        return sys_short(0, 0);
    return fault->errno_value ? sys_fault(0, 0) : io_fault(0, ERR_IO, false);
}

static bool is_no_failure(const struct fault *fault) { return fault->part && !fault->errno_value; }

struct round {
    struct story *story;
    const char *dir;
    const struct fault *fault;
    struct opened o;
    bool met, reopened; /* a call failed and it was told; started anew */
};

static bool open_again(struct round *r, bool orderly, struct err *err)
{
    if (orderly)
        vault_close(TAKE(r->o.vault));
    opened_done(&r->o);
    return open_in(r->dir, &r->o, err);
}

/* A layer or journal whose sync failed takes nothing more until a new start. */
static bool after_new_start(struct round *r, size_t n, const struct err *first, struct err *err)
{
    struct err why = {0};
    uint64_t sum;
    r->reopened = true;
    if (!open_again(r, false, err) || !story_check(r->story, r->o.vault, n, true, &sum, err) ||
        !story_send_again(r->story, r->o.vault, r->story->is, err))
        return err_wrap(err, "(%.200s) opened again", first->text);
    return story_do(r->story, r->o.vault, n, &why) || story_was_done(r->story, n, &why) ||
           err_set(err, why.code, "(%.200s) opened, again: %.200s", first->text, why.text);
}

/* One step, twice when it fails, after a new start when that does not help. */
static bool do_step(struct round *r, size_t n, struct err *err)
{
    struct err why = {0}, again = {0};
    uint64_t sum;
    bool reopen = r->story->ops[n].kind == STORY_REOPEN;
    /* A stop cannot say that it failed: clients send again what they have no commit of. */
    if (reopen ? open_again(r, true, &why) && story_send_again(r->story, r->o.vault, n, &why)
               : story_do(r->story, r->o.vault, n, &why))
        return true;
    if (why.code == ERR_NONE)
        return err_set(err, ERR_INTERNAL, "failed without a reason");
    if (is_no_failure(r->fault) || (r->met && (r->reopened || !r->fault->reopens)))
        return err_set(err, why.code, "fails though nothing is wrong: %.300s", why.text);
    r->met = true;
    IGNORE(disarm(r->fault) < 0);
    if (reopen)
        return (open_again(r, false, err) &&
                story_check(r->story, r->o.vault, n, true, &sum, err) &&
                story_send_again(r->story, r->o.vault, n, err)) ||
               err_wrap(err, "(%.200s) opening again", why.text);
    if (!story_check(r->story, r->o.vault, n, true, &sum, err))
        return err_wrap(err, "(%.200s) afterwards", why.text);
    if (story_do(r->story, r->o.vault, n, &again) ||
        (!r->fault->reopens && story_was_done(r->story, n, &again)))
        return true;
    if (!r->fault->reopens)
        return err_set(err, again.code, "(%.200s) again: %.250s", why.text, again.text);
    return after_new_start(r, n, &why, err);
}

static bool check_end(struct round *r, struct err *err)
{
    uint64_t sum;
    for (int i = 0; i < 2; i++) {
        if (!story_check(r->story, r->o.vault, r->story->op_count, false, &sum, err) ||
            !open_again(r, true, err) || !vault_fsck(r->o.vault, err))
            return err_wrap(err, "at the end");
    }
    return true;
}

static bool do_round(struct round *r, long nth, long *ret_calls, struct err *err)
{
    struct err why = {0};
    bool ok = true;
    arm(r->fault, nth);
    if (!open_in(r->dir, &r->o, &why)) {
        r->met = true;
        IGNORE(disarm(r->fault) < 0);
        opened_done(&r->o);
        ok = open_in(r->dir, &r->o, err) || err_wrap(err, "(%.200s) opening", why.text);
    }
    for (size_t n = 0; ok && n < r->story->op_count; n++) {
        ok = do_step(r, n, err) ||
             err_wrap(err, "step %zu, %s", n, story_kind_name(r->story->ops[n].kind));
        sys_record_mark(n + 1);
    }
    *ret_calls = disarm(r->fault);
    if (r->met)
        *ret_calls = nth;
    ok = ok && check_end(r, err);
    opened_done(&r->o);
    return ok || err_wrap(err, "%s, call %ld", r->fault->name, nth);
}

/* crashes: so many moments of it are looked at as a power cut would have left them. */
static bool one_round(struct story *story, const struct fault *fault, long nth, size_t crashes,
                      long *ret_calls, struct err *err)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(drive_dir) char *scratch = drive_dir();
    struct round r = {.story = story, .dir = dir, .fault = fault};
    char state[256];
    uint64_t states;
    IGNORE(str_format(state, sizeof state, "%s/state", scratch));
    if (crashes > 0)
        sys_record_begin();
    bool ok = do_round(&r, nth, ret_calls, err);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    if (!ok || crashes == 0)
        return ok;
    struct story_explorer e = {.story = story, .again = 5, .on = 5, .checks = (uint64_t)nth};
    struct crash_plan plan = {.record = &record,
                              .root = dir,
                              .scratch = state,
                              .step = record.count * 3 / crashes + 1,
                              .seeds = 1,
                              .seed = (uint64_t)nth,
                              .check = story_check_crash,
                              .arg = &e};
    return crash_states_each(&plan, &states, err) ||
           err_wrap(err, "%s, call %ld", fault->name, nth);
}

static bool all_rounds(struct rnd rnd, size_t ops, size_t rounds, size_t crashes, struct err *err)
{
    AUTO(story) struct story *story = story_new(rnd, ops, err);
    if (!story)
        return false;
    story_trace(story);
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        long calls, told = 0, count = 0, step;
        if (!one_round(story, &faults[f], 1000000000, 0, &calls, err))
            return false;
        step = calls / (long)rounds + 1;
        for (long nth = 1 + (long)rnd_below(&rnd, (uint64_t)step); nth <= calls; nth += step) {
            long reached;
            if (!one_round(story, &faults[f], nth, rnd_chance(&rnd, 30) ? crashes : 0, &reached,
                           err))
                return false;
            count++;
            told += reached == nth;
        }
        fprintf(stderr, "# %s: %ld rounds of %ld calls, %ld told\n", faults[f].name, count, calls,
                told);
    }
    return true;
}

Test(story_fault, a_call_that_fails_is_told_can_be_repeated_and_loses_nothing)
{
    bool more = getenv("EVERCOPY_LONG") && getenv("EVERCOPY_LONG")[0];
    size_t runs = story_setting("EVERCOPY_RUNS", more ? 2 : 1);
    size_t ops = story_setting("EVERCOPY_STEPS", more ? 60 : 30);
    size_t rounds = story_setting("EVERCOPY_ROUNDS", more ? 1000 : 4);
    size_t crashes = story_setting("EVERCOPY_STATES", more ? 10 : 6);
    for (uint64_t i = 0; i < runs; i++) {
        struct err err = {0};
        struct rnd rnd = story_seed("story fault", i);
        cr_assert(all_rounds(rnd, ops, rounds, crashes, &err), "EVERCOPY_SEED=%" PRIu64 ": %s",
                  rnd.state, err.text);
    }
}

/* ---- what goes on in the background ---- */

static bool wait_for_seals(const struct story *story, struct vault *vault, struct err *err)
{
    const struct story_state *end = &story->states[story->op_count];
    for (size_t i = 0; i < STORY_VOLUMES; i++)
        for (size_t k = 0; end->volumes[i].used && k < STORY_PASTS; k++) {
            const struct story_past *past = &end->volumes[i].pasts[k];
            bool sealed;
            if (past->used &&
                !vault_snapshot_wait(vault, end->volumes[i].name, past->name, 60000, &sealed, err))
                return false;
        }
    return true;
}

/* Sealing threads meet the fault; whoever asks meets it at most once. */
static bool seal_beside(struct story *story, const char *dir, long nth, struct err *err)
{
    static const struct vault_options busy = {
        .layer_bytes = 40000, .seal_threads = 2, .reserve_bytes = 4096, .store = {.threads = 1}};
    AUTO(opened) struct opened o = {0};
    uint64_t sum;
    bool ok = open_with(dir, &busy, &o, err);
    IGNORE(io_fault(nth, ERR_UNAVAILABLE, nth % 2));
    for (size_t n = 0; ok && n < story->op_count; n++) {
        struct err first = {0}, second = {0};
        if (story->ops[n].kind == STORY_REOPEN || story_do(story, o.vault, n, &first))
            continue;

        ok = err_is_transient(first.code) &&
             (story_do(story, o.vault, n, &second) || story_was_done(story, n, &second));
        if (!ok)
            err_set(err, first.code, "step %zu, %s: %.200s; %.200s", n,
                    story_kind_name(story->ops[n].kind), first.text, second.text);
    }
    IGNORE(io_fault(0, ERR_IO, false) < 0);
    if (!ok || !wait_for_seals(story, o.vault, err) ||
        !story_check(story, o.vault, story->op_count, false, &sum, err))
        return false;
    vault_close(TAKE(o.vault)); /* layers without a name may still be sealed */
    opened_done(&o);
    return open_in(dir, &o, err) && vault_fsck(o.vault, err);
}

Test(story_fault, a_store_that_was_away_gets_everything_without_being_asked_again)
{
    bool more = getenv("EVERCOPY_LONG") && getenv("EVERCOPY_LONG")[0];
    struct rnd rnd = story_seed("story seal", 0);
    uint64_t seed = rnd.state;
    for (int i = 0; i < (more ? 30 : 1); i++) {
        struct err err = {0};
        AUTO(drive_dir) char *dir = drive_dir();
        AUTO(story) struct story *story = story_new((struct rnd){rnd_next(&rnd)}, 60, &err);
        cr_assert(story && seal_beside(story, dir, 20 + (long)rnd_below(&rnd, 150), &err),
                  "EVERCOPY_SEED=%" PRIu64 ", round %d: %s", seed, i, err.text);
    }
}
