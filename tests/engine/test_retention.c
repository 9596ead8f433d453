/* Retention's rules one by one: what is kept, and the sentence that says why. */
#include "agent/engine/retention.h"
#include "tests/engine/plan_world.h"

#define HOUR_US (UINT64_C(3600) * 1000000u)

struct rw {
    struct pw pw;
    struct retention_snapshot extra[PW_SOURCES];
    struct config_retention policy;
    struct zone *zone;
    uint64_t now_us;
    struct retention *r;
};

static void rw_done(struct rw *w)
{
    retention_free(w->r);
    zone_free(w->zone);
    pw_done(&w->pw);
}
OWN_DEFINE_INPLACE(rw, struct rw, rw_done);

/* A snapshot whose copies stand at `at`, with the logs `first`.. of ten SCNs each; at hour `hour`.
 */
static size_t add(struct rw *w, uint64_t hour, uint64_t at, uint32_t first, uint32_t last)
{
    char run[16], piece[32];
    IGNORE(str_format(run, sizeof run, "r%zu", w->pw.count));
    IGNORE(str_format(piece, sizeof piece, "cf_%s.bkp", run));
    size_t i = pw_add(&w->pw, "post", run);
    pw_thread(pw_facts(&w->pw, i, at + 1), 1);
    pw_file(pw_sheet(&w->pw, i), 1, 5);
    pw_controlfile(&w->pw, i, piece);
    pw_copy(&w->pw, i, 1, 5, at);
    for (uint32_t s = first; s <= last; s++)
        pw_log(&w->pw, i, 1, s, (uint64_t)s * 10, (uint64_t)s * 10 + 10);
    w->pw.sources[i].created_us = PW_EPOCH_US + hour * HOUR_US;
    w->extra[i].id = "id";
    w->now_us = w->pw.sources[i].created_us;
    return i;
}

static const struct retention *decide(struct rw *w)
{
    struct err err = {0};
    if (!w->zone)
        w->zone = zone_load("UTC", &err);
    retention_free(w->r);
    struct retention_input in = {.sources = w->pw.sources,
                                 .snapshots = w->extra,
                                 .count = w->pw.count,
                                 .can_compose = true,
                                 .policy = &w->policy,
                                 .zone = w->zone,
                                 .now_us = w->now_us};
    w->r = retention_make(&in, &err);
    cr_assert(w->r, "%s", err.text);
    return w->r;
}

static bool says(const struct retention *r, size_t i, const char *text)
{
    size_t count;
    const struct retention_reason *why = retention_reasons(r, i, &count);
    for (size_t k = 0; k < count; k++)
        if (strstr(why[k].text, text))
            return true;
    return false;
}

Test(retention, a_log_that_a_kept_point_needs_keeps_the_snapshot_that_holds_it)
{
    AUTO(rw) struct rw w = {0};
    w.policy = (struct config_retention){.keep_proven = 1, .keep[TIER_DAILY] = 1};
    size_t copies = add(&w, 0, 105, 9, 9); /* its own log ends below its copies */
    size_t logs = add(&w, 1, 105, 10, 11);
    pw_lose(&w.pw, logs, "data/f1-105.dbf"); /* no base: it has logs alone */
    size_t newest = add(&w, 30, 305, 30, 31);
    struct retention_hold hold = {"sam", "audit", 0};
    w.extra[copies].holds = &hold;
    w.extra[copies].hold_count = 1;
    const struct retention *r = decide(&w);
    cr_expect(retention_keeps(r, logs) && retention_keeps(r, newest));
    cr_expect(says(r, logs,
                   "its log thread 1 sequence 10 is needed by the kept point at 2026-01-01 "
                   "00:00:00"));
    struct err err = {0};
    cr_expect_not(retention_may_delete(r, logs, &err));
    cr_expect(strstr(err.text, "sequence 10"), "%s", err.text);
    w.extra[copies].hold_count = 0;
    r = decide(&w);
    cr_expect(!retention_keeps(r, logs) && !retention_keeps(r, copies));
}

Test(retention, a_thousand_snapshots_of_one_day_push_out_no_older_day)
{
    AUTO(rw) struct rw w = {0};
    w.policy = (struct config_retention){.keep_proven = 3, .keep[TIER_DAILY] = 4};
    for (uint64_t day = 0; day < 6; day++)
        add(&w, day * 24, 105 + day * 100, 10 + (uint32_t)day * 10, 11 + (uint32_t)day * 10);
    bool before[6];
    const struct retention *r = decide(&w);
    for (size_t i = 0; i < 6; i++)
        before[i] = retention_keeps(r, i);
    cr_expect(!before[0] && !before[1] && before[2] && before[5]);
    for (uint64_t n = 0; n < 80; n++)
        add(&w, 5 * 24, 705 + n * 10, 70 + (uint32_t)n, 71 + (uint32_t)n);
    r = decide(&w);
    for (size_t i = 0; i < 6; i++)
        cr_expect_eq(retention_keeps(r, i), before[i], "%zu", i);
    cr_expect_eq(retention_going(r), 2 + 79);
}

Test(retention, a_sheet_that_denies_the_past_cannot_empty_the_floor)
{
    AUTO(rw) struct rw w = {0};
    w.policy = (struct config_retention){.keep_proven = 3, .keep[TIER_HOURLY] = 1};
    for (uint64_t day = 0; day < 5; day++)
        add(&w, day * 24, 105 + day * 100, 10 + (uint32_t)day * 10, 11 + (uint32_t)day * 10);
    size_t liar = add(&w, 121, 905, 90, 91);
    struct facts *f = pw_sheet(&w.pw, liar);
    f->resetlogs_id = PW_RESETLOGS + 1; /* and its line knows nothing of ours */
    f->incarnations[0].resetlogs_id = PW_RESETLOGS + 1;
    for (size_t e = 0; e < pw_manifest(&w.pw, liar)->count; e++)
        pw_manifest(&w.pw, liar)->entries[e].resetlogs_id = PW_RESETLOGS + 1;
    const struct retention *r = decide(&w);
    cr_expect(retention_keeps(r, 4) && retention_keeps(r, 3) && retention_keeps(r, liar));
    cr_expect(says(r, 4, "proves itself"));
    cr_expect(!retention_keeps(r, 0));
}

Test(retention, without_a_policy_nothing_goes)
{
    AUTO(rw) struct rw w = {0};
    w.policy = (struct config_retention){.keep_proven = 1};
    for (uint64_t day = 0; day < 9; day++)
        add(&w, day * 24, 105 + day * 100, 10 + (uint32_t)day * 10, 11 + (uint32_t)day * 10);
    const struct retention *r = decide(&w);
    cr_expect_eq(retention_going(r), 0);
    cr_expect(says(r, 0, "no retention policy is set"));
}

Test(retention, what_could_not_be_told_stays_until_a_floor_of_proof_is_behind_it)
{
    AUTO(rw) struct rw w = {0};
    w.policy = (struct config_retention){.keep_proven = 2, .keep[TIER_HOURLY] = 1};
    size_t unknown = add(&w, 0, 105, 10, 11);
    facts_free(pw_sheet(&w.pw, unknown));
    w.pw.sources[unknown].facts = NULL;
    add(&w, 24, 205, 20, 21);
    const struct retention *r = decide(&w);
    cr_expect(retention_keeps(r, unknown) && says(r, unknown, "could not tell what it is worth"));
    cr_expect_not(retention_is_proven(r, unknown));
    add(&w, 48, 305, 30, 31);
    cr_expect_not(retention_keeps(decide(&w), unknown));
}

Test(retention, a_weaker_point_does_not_stand_in_for_a_sealed_one)
{
    AUTO(rw) struct rw w = {0};
    w.policy = (struct config_retention){.keep_proven = 1, .keep[TIER_HOURLY] = 1};
    size_t sealed = add(&w, 0, 105, 10, 11);
    w.extra[sealed].durability = 1;
    size_t local = add(&w, 24, 205, 20, 21);
    const struct retention *r = decide(&w);
    cr_expect(retention_keeps(r, sealed) && says(r, sealed, "the last good one"));
    cr_expect(retention_keeps(r, local) && !retention_is_proven(r, local));
}

Test(retention, the_id_follows_the_decision_and_not_the_hour)
{
    AUTO(rw) struct rw w = {0};
    char id[17];
    w.policy = (struct config_retention){.keep_proven = 1, .keep[TIER_DAILY] = 2};
    for (uint64_t day = 0; day < 5; day++)
        add(&w, day * 24, 105 + day * 100, 10 + (uint32_t)day * 10, 11 + (uint32_t)day * 10);
    IGNORE(str_copy(id, sizeof id, retention_id(decide(&w))));
    w.now_us += HOUR_US;
    w.extra[0].lock_left_ms = 0;
    cr_expect_str_eq(retention_id(decide(&w)), id);
    w.extra[0].lock_left_ms = 1000;
    cr_expect_str_neq(retention_id(decide(&w)), id);
    IGNORE(str_copy(id, sizeof id, retention_id(w.r)));
    w.extra[0].lock_left_ms = 900;
    cr_expect_str_eq(retention_id(decide(&w)), id);
    w.extra[1].id = "another";
    cr_expect_str_neq(retention_id(decide(&w)), id);
}
