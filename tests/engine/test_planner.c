/* The planner, case by case: what a few snapshots and logs can reach, and what it says when not. */
#include "tests/engine/plan_world.h"

#include <inttypes.h>

/* Run 0 ended with POST0; run 1 took PRE1, merged, took POST1; a log has arrived since.
 *   copies of POST0 and PRE1 ask for 1016, of POST1 for 1510; logs of thread 1:
 *   10 [900,1050) POST0 | 11 [1050,1200) 12 [1200,1400) PRE1 | 13 [1400,1600) POST1 | 14 LIVE */
enum { POST0, PRE1, POST1, LIVE, SNAPSHOTS = LIVE };

static struct facts *sheet(struct pw *w, size_t i, uint64_t at)
{
    struct facts *f = pw_facts(w, i, at);
    pw_thread(f, 1)->sequence = 14;
    pw_file(f, 1, 10);
    pw_file(f, 2, 20);
    return f;
}

static void old_copies(struct pw *w, size_t i)
{
    pw_copy(w, i, 1, 10, 1000);
    pw_copy(w, i, 2, 20, 1010)->datafile.absolute_fuzzy_scn = pw_scn(1015);
    pw_log(w, i, 1, 10, 900, 1050);
}

static void two_runs(struct pw *w)
{
    pw_add(w, "post", "r0");
    sheet(w, POST0, 1040);
    old_copies(w, POST0);
    pw_controlfile(w, POST0, "cf_r0.bkp");
    pw_add(w, "pre", "r1");
    sheet(w, PRE1, 1390);
    old_copies(w, PRE1);
    pw_log(w, PRE1, 1, 11, 1050, 1200);
    pw_log(w, PRE1, 1, 12, 1200, 1400);
    pw_piece(w, PRE1, "cf_r0.bkp");
    pw_add(w, "post", "r1");
    sheet(w, POST1, 1590);
    pw_copy(w, POST1, 1, 10, 1500);
    pw_copy(w, POST1, 2, 20, 1510);
    pw_log(w, POST1, 1, 12, 1200, 1400);
    pw_log(w, POST1, 1, 13, 1400, 1600);
    pw_controlfile(w, POST1, "cf_r1.bkp");
    pw_add(w, "", "");
    pw_log(w, LIVE, 1, 13, 1400, 1600);
    pw_log(w, LIVE, 1, 14, 1600, 1700);
}

#define WORLD(w)                                                                                   \
    AUTO(pw) struct pw w = {0};                                                                    \
    two_runs(&w)

#define COPY1 "data/f1-1500.dbf"
#define COPY2 "data/f2-1510.dbf"

static struct facts_file *file_of(struct pw *w, size_t i, uint32_t number)
{
    struct facts *f = pw_sheet(w, i);
    for (size_t k = 0; k < f->file_count; k++)
        if (f->files[k].file_no == number)
            return &f->files[k];
    return NULL;
}

static struct facts_thread *thread_of(struct pw *w, size_t i, uint32_t number)
{
    struct facts *f = pw_sheet(w, i);
    for (size_t k = 0; k < f->thread_count; k++)
        if (f->threads[k].number == number)
            return &f->threads[k];
    return NULL;
}

/* "1016-1700 1800-1900" */
static const char *intervals(struct pw *w)
{
    static char text[500];
    size_t count;
    const struct plan_interval *list = plan_intervals(pw_plan(w), &count);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(text);
        IGNORE(str_format(text + len, sizeof text - len, "%s%" PRIu64 "-%" PRIu64, i ? " " : "",
                          list[i].first.n, list[i].last.n));
    }
    return text;
}

static bool reaches(struct pw *w, uint64_t target, struct scn *below, struct scn *above)
{
    struct err err = {0};
    AUTO(plan_recipe) struct plan_recipe recipe = {0};
    bool ok = plan_recipe_make(pw_plan(w), pw_scn(target), &recipe, below, above, &err);
    cr_assert(ok || err.code == ERR_NOT_FOUND, "%s", err.text);
    return ok;
}

static bool can(struct pw *w, uint64_t target)
{
    struct scn below, above;
    return reaches(w, target, &below, &above);
}

static const struct plan_base *base(struct pw *w, size_t i) { return plan_base(pw_plan(w), i); }

static bool found(struct pw *w, enum plan_verdict severity, const char *part)
{
    size_t count;
    const struct plan_finding *list = plan_findings(pw_plan(w), &count);
    for (size_t i = 0; i < count; i++)
        if (list[i].severity == severity && strstr(list[i].text, part))
            return true;
    return false;
}

#define EXPECT_BASE(w, i, is, part)                                                                \
    do {                                                                                           \
        const struct plan_base *judged = base(w, i);                                               \
        cr_expect_eq(judged->verdict, is, "%s: %s", plan_verdict_text(judged->verdict),            \
                     judged->cause);                                                               \
        cr_expect(strstr(judged->cause, part), "'%s'", judged->cause);                             \
    } while (0)

/* ---- runs, holes, chains ---- */

Test(planner, a_clean_run_reaches_from_the_copies_to_the_last_log_without_a_hole)
{
    WORLD(w);
    cr_expect_str_eq(intervals(&w), "1016-1600");
    for (size_t i = 0; i < SNAPSHOTS; i++)
        EXPECT_BASE(&w, i, PLAN_OK, "");
    cr_expect_eq(base(&w, POST1)->start.n, 1500);
    cr_expect_eq(base(&w, POST1)->earliest.n, 1510);
    cr_expect_eq(base(&w, POST1)->latest_own.n, 1600);
    cr_expect_eq(base(&w, PRE1)->latest_own.n, 1400);
    cr_expect_eq(plan_newest_base(w.plan), POST1);
}

Test(planner, a_base_of_which_the_storage_knows_bad_blocks_serves_and_proves_nothing)
{
    WORLD(w);
    w.sources[POST1].bad_blocks = 2;
    EXPECT_BASE(&w, POST1, PLAN_WARNING, "the storage found 2 bad blocks in it");
    cr_expect_str_eq(intervals(&w), "1016-1600");
    cr_expect_eq(plan_newest_base(w.plan), PRE1);
}

Test(planner, a_scan_of_all_blocks_outranks_what_the_storage_says)
{
    WORLD(w);
    w.sources[POST1].bad_blocks = 2;
    pw_manifest(&w, POST1)->blocks_scanned = true;
    EXPECT_BASE(&w, POST1, PLAN_OK, "");
}

Test(planner, the_hole_inside_a_run_is_closed_by_composing_and_says_so)
{
    WORLD(w);
    size_t count;
    const struct plan_gap *gaps = plan_gaps(pw_plan(&w), &count);
    cr_assert_eq(count, 1);
    cr_expect(gaps->closed && gaps->first.n == 1400 && gaps->last.n == 1510);
    cr_expect(strstr(gaps->why, "inside run r1"), "%s", gaps->why);
    const struct plan_interval *all = plan_intervals(w.plan, &count);
    cr_expect(count == 1 && all->composed && all->base == POST1);
}

Test(planner, the_hole_inside_a_run_stays_open_where_nothing_can_be_composed)
{
    WORLD(w);
    w.cannot_compose = true;
    cr_expect_str_eq(intervals(&w), "1016-1400 1510-1600");
    size_t count;
    const struct plan_gap *gaps = plan_gaps(w.plan, &count);
    cr_assert_eq(count, 1);
    cr_expect(!gaps->closed && strstr(gaps->why, "inside run r1"), "%s", gaps->why);
    const struct plan_interval *all = plan_intervals(w.plan, &count);
    cr_expect(!all[0].composed && !all[1].composed);
    cr_expect_not(can(&w, 1450));
    cr_expect_not(can(&w, 1650)); /* nor logs of the live area */
}

Test(planner, an_interval_beyond_its_own_logs_is_composed_even_without_a_hole)
{
    WORLD(w);
    w.count = LIVE;
    pw_copy(&w, POST1, 1, 10, 1)->state = STATE_GOOD;
    pw_lose(&w, POST1, COPY1); /* POST1 is no base any more */
    cr_expect_str_eq(intervals(&w), "1016-1600");
    size_t count;
    cr_expect(plan_intervals(w.plan, &count)->composed);
    cr_expect_eq(plan_intervals(w.plan, &count)->base, PRE1);
    w.count = LIVE + 1;
}

Test(planner, a_missing_log_ends_the_chain_and_is_named)
{
    WORLD(w);
    pw_lose(&w, PRE1, "archivelog/1_11.arc");
    cr_expect_str_eq(intervals(&w), "1016-1050 1510-1600");
    cr_expect(strstr(base(&w, POST0)->broken, "thread 1 sequence 11 is missing"), "%s",
              base(&w, POST0)->broken);
    size_t count;
    const struct plan_gap *gaps = plan_gaps(w.plan, &count);
    cr_assert_eq(count, 1);
    cr_expect(!gaps->closed && strstr(gaps->why, "sequence 11 is missing"), "%s", gaps->why);
}

Test(planner, a_hole_that_composing_closes_in_part_is_told_in_parts)
{
    WORLD(w);
    pw_log(&w, POST0, 1, 11, 1050, 1200); /* but not in PRE1, and 12 nowhere */
    pw_lose(&w, PRE1, "archivelog/1_11.arc");
    pw_lose(&w, PRE1, "archivelog/1_12.arc");
    pw_lose(&w, POST1, "archivelog/1_12.arc");
    pw_lose(&w, POST0, "archivelog/1_11.arc");
    pw_log(&w, POST1, 1, 11, 1050, 1200);
    cr_expect_str_eq(intervals(&w), "1016-1200 1510-1600");
    size_t count;
    const struct plan_gap *gaps = plan_gaps(w.plan, &count);
    cr_assert_eq(count, 2);
    cr_expect(gaps[0].closed && gaps[0].first.n == 1050 && gaps[0].last.n == 1200);
    cr_expect(!gaps[1].closed && gaps[1].first.n == 1200 && gaps[1].last.n == 1510);
    cr_expect(strstr(gaps[1].why, "sequence 12 is missing"), "%s", gaps[1].why);
}

Test(planner, a_log_that_does_not_begin_where_the_last_one_ended_breaks_the_chain)
{
    WORLD(w);
    pw_find(&w, PRE1, "archivelog/1_12.arc")->log.first_scn = pw_scn(1210);
    pw_find(&w, POST1, "archivelog/1_12.arc")->log.first_scn = pw_scn(1210);
    cr_expect_str_eq(intervals(&w), "1016-1200 1510-1600");
    cr_expect(strstr(base(&w, PRE1)->broken, "begins at SCN 1210"), "%s", base(&w, PRE1)->broken);
}

Test(planner, the_first_log_a_base_needs_is_missing)
{
    WORLD(w);
    pw_lose(&w, POST0, "archivelog/1_10.arc");
    pw_lose(&w, PRE1, "archivelog/1_10.arc");
    cr_expect_str_eq(intervals(&w), "1510-1600");
    EXPECT_BASE(&w, PRE1, PLAN_WARNING, "log of thread 1 that holds SCN 1000 is missing");
    cr_expect_eq(base(&w, PRE1)->latest_own.n, 1000);
}

Test(planner, a_base_without_any_log_says_so)
{
    WORLD(w);
    w.cannot_compose = true;
    pw_lose(&w, POST1, "archivelog/1_12.arc");
    pw_lose(&w, POST1, "archivelog/1_13.arc");
    EXPECT_BASE(&w, POST1, PLAN_WARNING, "no log of thread 1");
    cr_expect_eq(plan_newest_base(w.plan), PRE1);
}

Test(planner, a_log_kept_in_several_snapshots_counts_once)
{
    WORLD(w);
    pw_log(&w, POST1, 1, 10, 900, 1050);
    pw_log(&w, POST1, 1, 11, 1050, 1200);
    cr_expect_str_eq(intervals(&w), "1016-1600");
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(w.plan, pw_scn(1450), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.log_count, 4);
    for (size_t i = 0; i < recipe.log_count; i++)
        cr_expect_eq(recipe.logs[i].entry->log.sequence, 10 + i);
}

Test(planner, what_has_arrived_is_reachable_but_not_protected)
{
    WORLD(w);
    cr_expect_eq(base(&w, POST1)->latest.n, 1600);
    cr_expect_eq(base(&w, POST1)->latest_arrived.n, 1700);
    cr_expect_eq(base(&w, PRE1)->latest_arrived.n, 1700);
    cr_expect(can(&w, 1700));
    cr_expect_not(can(&w, 1701));
}

Test(planner, a_base_whose_only_logs_have_just_arrived_can_be_used)
{
    WORLD(w);
    pw_lose(&w, POST1, "archivelog/1_13.arc");
    EXPECT_BASE(&w, POST1, PLAN_WARNING, "");
    cr_expect_str_eq(intervals(&w), "1016-1400");
    cr_expect(can(&w, 1650));
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(w.plan, pw_scn(1650), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.base, POST1);
    cr_expect(recipe.composed);
}

/* ---- boundaries and nearest points ---- */

Test(planner, a_target_lies_above_e_and_at_most_at_l)
{
    static const struct {
        uint64_t target;
        bool can;
        uint64_t below, above;
    } cases[] = {
        {1, false, 0, 1017},          {1016, false, 0, 1017},    {1017, true, 0, 0},
        {1400, true, 0, 0},           {1401, false, 1400, 1511}, {1510, false, 1400, 1511},
        {1511, true, 0, 0},           {1600, true, 0, 0},        {1601, false, 1600, 0},
        {UINT64_MAX, false, 1600, 0}, {0, false, 0, 1017},
    };
    WORLD(w);
    w.cannot_compose = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scn below = {9}, above = {9};
        cr_expect_eq(reaches(&w, cases[i].target, &below, &above), cases[i].can, "%" PRIu64,
                     cases[i].target);
        cr_expect(below.n == cases[i].below && above.n == cases[i].above,
                  "%" PRIu64 ": below %" PRIu64 " above %" PRIu64, cases[i].target, below.n,
                  above.n);
    }
}

Test(planner, nothing_is_near_when_there_is_nothing)
{
    AUTO(pw) struct pw w = {0};
    struct scn below = {9}, above = {9};
    cr_expect_not(reaches(&w, 5, &below, &above));
    cr_expect(below.n == 0 && above.n == 0);
    cr_expect_eq(plan_newest_base(w.plan), SIZE_MAX);
    cr_expect_str_eq(intervals(&w), "");
}

/* ---- threads of a cluster (oracle-semantics 20) ---- */

/* Thread 2 beside thread 1, enabled from the start, in every sheet. */
static void second_thread(struct pw *w, bool open, uint64_t last)
{
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        struct facts_thread *t = pw_thread(pw_sheet(w, i), 2);
        t->open = open;
        t->sequence = 5;
        t->last_sequence = 4;
        t->last_scn = pw_scn(last);
    }
}

Test(planner, the_slower_of_two_open_threads_bounds_the_window)
{
    WORLD(w);
    second_thread(&w, true, 1595);
    pw_log(&w, POST0, 2, 3, 800, 1045);
    pw_log(&w, PRE1, 2, 3, 800, 1045);
    pw_log(&w, PRE1, 2, 4, 1045, 1395);
    cr_expect_eq(base(&w, POST0)->latest_own.n, 1045);
    cr_expect_eq(base(&w, PRE1)->latest.n, 1395);
    EXPECT_BASE(&w, POST1, PLAN_WARNING, "no log of thread 2");
    cr_expect_str_eq(intervals(&w), "1016-1395");
    pw_log(&w, POST1, 2, 5, 1395, 1592);
    cr_expect_str_eq(intervals(&w), "1016-1592");
}

Test(planner, a_closed_thread_counts_up_to_the_last_sheet_that_shows_it_closed)
{
    WORLD(w);
    second_thread(&w, false, 700);
    cr_expect_str_eq(intervals(&w), "1016-1590");
    for (size_t i = 0; i < SNAPSHOTS; i++)
        EXPECT_BASE(&w, i, PLAN_OK, "");
    cr_expect_eq(base(&w, POST1)->latest_arrived.n, 1590);
}

Test(planner, a_closed_thread_whose_last_log_is_lost_does_not_count)
{
    WORLD(w);
    second_thread(&w, false, 1300);
    pw_log(&w, PRE1, 2, 3, 800, 1100);
    cr_expect_str_eq(intervals(&w), "1016-1100 1510-1590");
    pw_log(&w, PRE1, 2, 4, 1100, 1301);
    cr_expect_str_eq(intervals(&w), "1016-1590");
}

Test(planner, a_thread_that_closed_and_reopened_needs_the_logs_of_its_second_life)
{
    WORLD(w);
    second_thread(&w, false, 1045); /* closed in POST0 and PRE1, then open */
    thread_of(&w, POST1, 2)->open = true;
    thread_of(&w, POST1, 2)->last_scn = pw_scn(1599);
    pw_log(&w, POST0, 2, 4, 800, 1046);
    cr_expect_str_eq(intervals(&w), "1016-1390");
    pw_log(&w, POST1, 2, 5, 1046, 1595);
    cr_expect_str_eq(intervals(&w), "1016-1595");
}

Test(planner, a_thread_enabled_after_the_copies_is_needed_from_then_on)
{
    WORLD(w);
    struct facts_thread *t = pw_thread(pw_sheet(&w, POST1), 2);
    t->sequence = 2;
    t->enable_scn = pw_scn(1450);
    t->last_scn = pw_scn(1599);
    cr_expect_str_eq(intervals(&w), "1016-1450");
    pw_log(&w, POST1, 2, 1, 1450, 1598);
    cr_expect_str_eq(intervals(&w), "1016-1598");
}

Test(planner, a_thread_that_only_logs_know_of_is_needed_all_the_same)
{
    WORLD(w);
    pw_log(&w, LIVE, 2, 2, 1650, 1690);
    cr_expect_eq(base(&w, POST1)->latest_arrived.n, 1590, "%" PRIu64,
                 base(&w, POST1)->latest_arrived.n);
    pw_log(&w, LIVE, 2, 1, 1620, 1650);
    cr_expect_eq(base(&w, POST1)->latest_arrived.n, 1690);
}

Test(planner, a_disabled_thread_is_needed_up_to_its_end_and_bounds_nothing_after)
{
    WORLD(w);
    second_thread(&w, true, 1040);
    for (size_t i = PRE1; i <= POST1; i++) {
        thread_of(&w, i, 2)->enabled = thread_of(&w, i, 2)->open = false;
        thread_of(&w, i, 2)->disable_scn = pw_scn(1300);
    }
    pw_log(&w, POST0, 2, 4, 800, 1045);
    cr_expect_str_eq(intervals(&w), "1016-1045 1510-1600");
    cr_expect_eq(base(&w, POST1)->latest_arrived.n, 1700);
    pw_log(&w, PRE1, 2, 5, 1045, 1300);
    cr_expect_str_eq(intervals(&w), "1016-1600");
}

Test(planner, a_thread_disabled_for_a_while_needs_no_logs_for_that_while)
{
    WORLD(w);
    second_thread(&w, true, 1040);
    thread_of(&w, PRE1, 2)->enabled = thread_of(&w, PRE1, 2)->open = false;
    for (size_t i = PRE1; i <= POST1; i++)
        thread_of(&w, i, 2)->disable_scn = pw_scn(1100);
    thread_of(&w, POST1, 2)->enable_scn = pw_scn(1450);
    pw_log(&w, POST0, 2, 4, 800, 1100);
    pw_log(&w, POST1, 2, 5, 1450, 1600);
    cr_expect_str_eq(intervals(&w), "1016-1600");
    pw_lose(&w, POST1, "archivelog/2_5.arc");
    cr_expect_str_eq(intervals(&w), "1016-1450");
}

Test(planner, a_sheet_of_another_incarnation_vouches_for_no_thread)
{
    WORLD(w);
    second_thread(&w, false, 700);
    pw_sheet(&w, POST1)->resetlogs_id = PW_RESETLOGS + 1;
    pw_sheet(&w, POST1)->incarnations->resetlogs_id = PW_RESETLOGS + 1;
    struct facts *f = pw_sheet(&w, POST1);
    pw_incarnation(f, 0, 0, PW_RESETLOGS, 1, "PARENT");
    f->incarnations[0].prior = 0;
    f->incarnations[0].resetlogs_scn = pw_scn(1800);
    f->incarnations[1].number = 7;
    f->incarnations[0].prior = 7;
    cr_expect_eq(base(&w, PRE1)->latest.n, 1390);
}

/* ---- files ---- */

static void at_rest(struct pw *w, size_t i, uint64_t stop, const char *enabled)
{
    struct facts *f = pw_sheet(w, i);
    struct facts_file *file = pw_file(f, 3, 30);
    file->stop_scn = pw_scn(stop);
    IGNORE(str_copy(file->enabled, sizeof file->enabled, enabled));
    pw_copy(w, i, 3, 30, stop);
}

Test(planner, read_only_files_and_the_seed_ask_for_no_redo)
{
    WORLD(w);
    for (size_t i = 0; i < SNAPSHOTS; i++)
        at_rest(&w, i, 500, "READ ONLY");
    cr_expect_str_eq(intervals(&w), "1016-1600");
    cr_expect_eq(base(&w, POST0)->start.n, 1000);
    cr_expect_eq(base(&w, POST0)->datafiles, 3);
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(w.plan, pw_scn(1550), &recipe, &below, &above, &err));
    cr_assert_eq(recipe.file_count, 3);
    cr_expect(!recipe.files[0].is_static && !recipe.files[1].is_static &&
              recipe.files[2].is_static);
}

Test(planner, a_read_only_file_that_moves_again_needs_redo_again)
{
    WORLD(w);
    at_rest(&w, POST1, 500, "READ ONLY");
    file_of(&w, POST1, 3)->stop_scn = SCN_NONE;
    cr_expect_eq(base(&w, POST1)->start.n, 500);
    EXPECT_BASE(&w, POST1, PLAN_WARNING, "thread 1");
}

Test(planner, a_file_that_came_to_rest_during_the_run_is_not_undone_by_a_lower_target)
{
    WORLD(w);
    at_rest(&w, POST1, 1530, "READ ONLY");
    cr_expect_eq(base(&w, POST1)->earliest.n, 1530);
    cr_expect_eq(base(&w, POST1)->start.n, 1500);
}

Test(planner, a_read_only_file_of_the_parent_incarnation_is_whole)
{
    WORLD(w);
    at_rest(&w, POST1, 500, "READ ONLY");
    pw_find(&w, POST1, "data/f3-500.dbf")->resetlogs_id = 7;
    EXPECT_BASE(&w, POST1, PLAN_UNKNOWN, "datafile 3 is of another incarnation");
    pw_incarnation(pw_sheet(&w, POST1), 5, 0, 7, 1, "PARENT");
    EXPECT_BASE(&w, POST1, PLAN_OK, "");
}

Test(planner, a_moving_file_of_another_incarnation_is_could_not_tell)
{
    WORLD(w);
    pw_incarnation(pw_sheet(&w, POST1), 5, 0, 7, 1, "PARENT");
    pw_find(&w, POST1, COPY1)->resetlogs_id = 7;
    EXPECT_BASE(&w, POST1, PLAN_UNKNOWN, "datafile 1 is of another incarnation");
}

Test(planner, a_file_added_after_the_copies_is_made_by_recovery)
{
    WORLD(w);
    pw_file(pw_sheet(&w, PRE1), 3, 1100);
    EXPECT_BASE(&w, PRE1, PLAN_OK, "");
    cr_expect(found(&w, PLAN_WARNING, "datafile 3 is younger than the copies"));
}

Test(planner, a_file_older_than_the_copies_without_one_is_red)
{
    WORLD(w);
    pw_file(pw_sheet(&w, PRE1), 3, 999);
    EXPECT_BASE(&w, PRE1, PLAN_FAILED, "datafile 3 has no copy");
}

Test(planner, a_plugged_in_file_without_a_copy_is_red)
{
    WORLD(w);
    struct facts_file *file = pw_file(pw_sheet(&w, PRE1), 3, 1100);
    file->plugged_in = true;
    file->plugin_scn = pw_scn(1150);
    EXPECT_BASE(&w, PRE1, PLAN_FAILED, "datafile 3 was plugged in");
    file->plugged_in = false;
    file->foreign_dbid = 5;
    EXPECT_BASE(&w, PRE1, PLAN_FAILED, "datafile 3 was plugged in");
}

Test(planner, the_files_of_a_database_cloned_in_are_not_made_by_redo)
{
    WORLD(w);
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        file_of(&w, i, 1)->con_id = 1;
        file_of(&w, i, 2)->con_id = 3;
    }
    pw_file(pw_sheet(&w, PRE1), 3, 1100)->con_id = 3; /* added to a known one */
    EXPECT_BASE(&w, PRE1, PLAN_OK, "");
    pw_file(pw_sheet(&w, PRE1), 4, 1200)->con_id = 4; /* came with a new one */
    EXPECT_BASE(&w, PRE1, PLAN_FAILED, "datafile 4 was plugged in or cloned");
}

Test(planner, a_file_plugged_in_later_ends_what_older_copies_reach)
{
    WORLD(w);
    struct facts_file *file = pw_file(pw_sheet(&w, POST1), 3, 5);
    file->plugged_in = true;
    file->plugin_scn = pw_scn(1450);
    pw_copy(&w, POST1, 3, 5, 1505);
    cr_expect_eq(base(&w, PRE1)->latest.n, 1450);
    cr_expect_str_eq(intervals(&w), "1016-1450 1510-1600");
    size_t count;
    const struct plan_gap *gaps = plan_gaps(w.plan, &count);
    cr_assert_eq(count, 2);
    cr_expect(strstr(gaps[1].why, "plugged in"), "%s", gaps[1].why);
}

Test(planner, the_copy_of_a_dropped_file_does_not_serve_its_successor)
{
    WORLD(w);
    file_of(&w, POST1, 2)->creation_scn = pw_scn(1480);
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "datafile 2 has no copy");
    file_of(&w, POST1, 2)->plugged_in = true;
    file_of(&w, POST1, 2)->plugin_scn = pw_scn(1520);
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "datafile 2 was plugged in");
    file_of(&w, POST1, 2)->plugin_scn = pw_scn(1505);
    EXPECT_BASE(&w, POST1, PLAN_OK, "");
}

Test(planner, the_copy_from_before_an_unplug_does_not_serve_after_the_plug_in)
{
    WORLD(w);
    struct facts_file *file = file_of(&w, POST1, 2);
    file->plugin_scn = pw_scn(1511); /* same number, same creation */
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "datafile 2");
    file->plugged_in = true; /* not written since: at rest as it came */
    file->stop_scn = pw_scn(1510);
    EXPECT_BASE(&w, POST1, PLAN_OK, "");
}

Test(planner, of_two_copies_of_one_file_the_further_one_counts)
{
    WORLD(w);
    pw_copy(&w, POST1, 1, 10, 700);
    cr_expect_eq(base(&w, POST1)->start.n, 1500);
    cr_expect_eq(base(&w, POST1)->datafiles, 2);
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(w.plan, pw_scn(1550), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.file_count, 2);
    cr_expect_eq(recipe.files[0].entry->datafile.checkpoint_scn.n, 1500);
}

Test(planner, a_damaged_copy_is_red_and_named_for_what_it_is)
{
    static const struct {
        enum file_state state;
        const char *part;
    } cases[] = {
        {STATE_DAMAGED, "datafile 1:"},   {STATE_TRUNCATED, "datafile 1:"},
        {STATE_IN_FLIGHT, "datafile 1:"}, {STATE_UNUSABLE, "datafile 1:"},
        {STATE_FOREIGN, "datafile 1:"},   {STATE_UNREADABLE, "datafile 1:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        WORLD(w);
        pw_find(&w, POST1, COPY1)->state = cases[i].state;
        EXPECT_BASE(&w, POST1, PLAN_FAILED, cases[i].part);
        cr_expect(strstr(base(&w, POST1)->cause, file_state_text(cases[i].state)));
    }
}

/* ---- fuzziness and interrupted merges ---- */

Test(planner, an_interrupted_merge_makes_no_base)
{
    WORLD(w);
    struct facts *f = pw_sheet(&w, POST1);
    f->suspect_files = calloc(1, sizeof *f->suspect_files);
    f->suspect_files[0] = 2;
    f->suspect_count = f->suspect_capacity = 1;
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "datafile 2: its merge was interrupted");
    cr_expect_eq(plan_newest_base(w.plan), PRE1);
    struct manifest_entry *copy = pw_find(&w, POST1, COPY2);
    copy->datafile.scanned = true;
    copy->datafile.highest_block_scn = pw_scn(1509);
    EXPECT_BASE(&w, POST1, PLAN_OK, ""); /* a whole scan knows better */
    copy->datafile.highest_block_scn = pw_scn(1580);
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "newer than its header");
}

Test(planner, a_scan_proves_the_suspicion_nobody_had)
{
    WORLD(w);
    struct manifest_entry *copy = pw_find(&w, POST1, COPY2);
    copy->datafile.scanned = true;
    copy->datafile.highest_block_scn = pw_scn(1511);
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "a merge was interrupted");
    file_of(&w, POST1, 2)->stop_scn = pw_scn(1510); /* also of a file said to be at rest */
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "a merge was interrupted");
}

Test(planner, a_snapshot_taken_during_a_merge_is_no_base)
{
    WORLD(w);
    w.sources[POST1].mid_merge = true;
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "midst of a merge");
}

Test(planner, a_copy_made_by_the_operating_system_is_could_not_tell_until_it_was_read)
{
    WORLD(w);
    struct manifest_entry *copy = pw_find(&w, POST1, COPY1);
    copy->datafile.status = 0x0004;
    EXPECT_BASE(&w, POST1, PLAN_UNKNOWN, "datafile 1 is fuzzy");
    copy->datafile.scanned = true;
    copy->datafile.highest_block_scn = pw_scn(1490);
    EXPECT_BASE(&w, POST1, PLAN_OK, "");
    copy->datafile.status = 0x0001; /* only the redo knows where the backup mode ended */
    copy->datafile.scanned = false;
    copy->datafile.absolute_fuzzy_scn = pw_scn(1505);
    EXPECT_BASE(&w, POST1, PLAN_UNKNOWN, "datafile 1 is fuzzy");
}

Test(planner, the_highest_fuzzy_scn_lifts_the_earliest_target)
{
    WORLD(w);
    pw_find(&w, POST1, COPY1)->datafile.absolute_fuzzy_scn = pw_scn(1540);
    cr_expect_eq(base(&w, POST1)->earliest.n, 1541);
    pw_find(&w, POST1, COPY2)->datafile.recovery_fuzzy_scn = pw_scn(1560);
    cr_expect_eq(base(&w, POST1)->earliest.n, 1561);
    cr_expect_eq(base(&w, POST1)->start.n, 1500);
}

/* ---- fact sheets ---- */

Test(planner, without_a_whole_fact_sheet_it_is_could_not_tell_and_never_ok)
{
    WORLD(w);
    struct facts *f = pw_sheet(&w, POST1);
    f->complete = false;
    EXPECT_BASE(&w, POST1, PLAN_UNKNOWN, "file list is not complete");
    cr_expect_eq(plan_newest_base(w.plan), PRE1);
    f->complete = true;
    f->files[0].status[0] = '\0';
    EXPECT_BASE(&w, POST1, PLAN_UNKNOWN, "fact sheet");
    w.sources[POST1].facts = NULL;
    EXPECT_BASE(&w, POST1, PLAN_UNKNOWN, "no fact sheet");
    cr_expect_str_eq(intervals(&w), "1016-1600"); /* its logs count all the same */
    facts_free(f);
}

Test(planner, logs_of_others_and_of_other_incarnations_do_not_count)
{
    static const enum file_state states[] = {STATE_FOREIGN,   STATE_OTHER_INCARNATION,
                                             STATE_OPEN,      STATE_IN_FLIGHT,
                                             STATE_TRUNCATED, STATE_DAMAGED};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        WORLD(w);
        pw_find(&w, POST1, "archivelog/1_13.arc")->state = states[i];
        cr_expect_str_eq(intervals(&w), "1016-1400");
    }
    WORLD(w);
    pw_find(&w, POST1, "archivelog/1_13.arc")->resetlogs_id++;
    cr_expect_str_eq(intervals(&w), "1016-1400");
    pw_find(&w, POST1, "archivelog/1_12.arc")->kind = FILE_ONLINE_LOG;
    pw_find(&w, PRE1, "archivelog/1_12.arc")->kind = FILE_ONLINE_LOG;
    cr_expect_str_eq(intervals(&w), "1016-1200");
}

Test(planner, after_a_resetlogs_the_old_line_ends_where_the_new_one_began)
{
    WORLD(w);
    struct facts *f = pw_sheet(&w, POST1);
    f->resetlogs_id = PW_RESETLOGS + 9;
    f->incarnations[0] = (struct facts_incarnation){
        .number = 1, .resetlogs_id = PW_RESETLOGS, .resetlogs_scn = {1}, .status = "PARENT"};
    pw_incarnation(f, 2, 1, PW_RESETLOGS + 9, 1300, "CURRENT");
    for (size_t i = 0; i < pw_manifest(&w, POST1)->count; i++)
        pw_manifest(&w, POST1)->entries[i].resetlogs_id = PW_RESETLOGS + 9;
    cr_expect_eq(base(&w, PRE1)->latest.n, 1300); /* 1400 is on a branch that was left */
    cr_expect_str_eq(intervals(&w), "1016-1300 1510-1600");
    f->incarnations[0].status[0] = 'X';
    f->incarnations[1].prior = 0;
    EXPECT_BASE(&w, PRE1, PLAN_FAILED, "not an ancestor");
    cr_expect_str_eq(intervals(&w), "1510-1600");
}

Test(planner, what_rman_previews_must_agree_with_the_headers)
{
    WORLD(w);
    struct facts *f = pw_sheet(&w, POST1);
    f->preview_start_scn = pw_scn(1500);
    f->preview_fuzzy_scn = pw_scn(1510); /* targets lie above E */
    EXPECT_BASE(&w, POST1, PLAN_OK, "");
    f->preview_fuzzy_scn = pw_scn(1511);
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "must recover beyond SCN 1511");
    f->preview_start_scn = pw_scn(1499);
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "RMAN starts recovery at SCN 1499");
    cr_expect(found(&w, PLAN_FAILED, "RMAN starts recovery"));
    cr_expect_eq(plan_newest_base(w.plan), PRE1);
}

Test(planner, changes_without_redo_end_what_older_copies_reach)
{
    WORLD(w);
    file_of(&w, POST1, 2)->unrecoverable_scn = pw_scn(1300);
    cr_expect_eq(base(&w, PRE1)->latest.n, 1300);
    cr_expect_eq(base(&w, PRE1)->nologging_from.n, 1300);
    cr_expect(scn_is_none(base(&w, POST1)->nologging_from));
    cr_expect_str_eq(intervals(&w), "1016-1300 1510-1600");
    cr_expect(found(&w, PLAN_WARNING, "NOLOGGING changes from SCN 1300"));
    size_t count;
    const struct plan_gap *gaps = plan_gaps(w.plan, &count);
    cr_expect(strstr(gaps[0].why, "NOLOGGING"), "%s", gaps[0].why);
}

Test(planner, changes_without_redo_in_a_file_younger_than_the_copies_count_too)
{
    WORLD(w);
    struct facts_file *file = pw_file(pw_sheet(&w, POST1), 3, 1250);
    file->unrecoverable_scn = pw_scn(1300);
    pw_copy(&w, POST1, 3, 1250, 1505);
    cr_expect_eq(base(&w, PRE1)->latest.n, 1300);
}

Test(planner, the_same_finding_is_told_once_and_red_ones_are_never_crowded_out)
{
    WORLD(w);
    for (uint32_t n = 100; n < 200; n++)
        pw_file(pw_sheet(&w, PRE1), n, 1100);
    pw_sheet(&w, POST1)->preview_start_scn = pw_scn(1);
    cr_expect(found(&w, PLAN_FAILED, "RMAN starts recovery at SCN 1"));
    size_t count;
    const struct plan_finding *list = plan_findings(w.plan, &count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            cr_expect_str_neq(list[i].text, list[k].text);
}

/* ---- recipes ---- */

Test(planner, a_recipe_holds_exactly_what_it_needs)
{
    WORLD(w);
    pw_entry(&w, POST1, "readme.txt", FILE_TEXT);
    pw_copy(&w, POST1, 9, 10, 1500); /* of no file the sheet names */
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(pw_plan(&w), pw_scn(1601), &recipe, &below, &above, &err));
    cr_expect(recipe.base == POST1 && recipe.until.n == 1601 && recipe.composed);
    cr_assert_eq(recipe.file_count, 2);
    cr_expect_eq(recipe.files[0].entry->datafile.file_no, 1);
    cr_expect_eq(recipe.files[1].entry->datafile.file_no, 2);
    cr_assert_eq(recipe.log_count, 2); /* 12 ended before the start */
    cr_expect(recipe.logs[0].entry->log.sequence == 13 && recipe.logs[0].source == POST1);
    cr_expect(recipe.logs[1].entry->log.sequence == 14 && recipe.logs[1].source == LIVE);
    cr_expect_str_eq(recipe.controlfile, "cf_r1.bkp");
    cr_expect_eq(recipe.controlfile_source, POST1);
    plan_recipe_done(&recipe);
    cr_assert(plan_recipe_make(w.plan, pw_scn(1600), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.log_count, 1);
    cr_expect_not(recipe.composed);
}

Test(planner, the_files_of_a_recipe_come_by_number_whatever_the_sheet_says)
{
    WORLD(w);
    struct facts *f = pw_sheet(&w, POST1);
    struct facts_file swap = f->files[0];
    f->files[0] = f->files[1];
    f->files[1] = swap;
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(pw_plan(&w), pw_scn(1600), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.files[0].entry->datafile.file_no, 1);
}

Test(planner, inside_a_run_the_copies_from_before_it_serve_with_the_logs_from_after_it)
{
    WORLD(w);
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(pw_plan(&w), pw_scn(1450), &recipe, &below, &above, &err));
    cr_expect(recipe.base == PRE1 || recipe.base == POST0);
    cr_expect_str_eq(recipe.controlfile, "cf_r0.bkp");
    cr_expect(recipe.composed);
    cr_expect_eq(recipe.logs[recipe.log_count - 1].source, POST1);
    plan_recipe_done(&recipe);
    cr_assert(plan_recipe_make(w.plan, pw_scn(1300), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.base, PRE1); /* the one whose own logs do */
    cr_expect_not(recipe.composed);
}

Test(planner, the_nearest_base_that_reaches_is_taken_not_the_nearest_one)
{
    WORLD(w);
    pw_lose(&w, POST1, "archivelog/1_13.arc");
    pw_log(&w, PRE1, 1, 13, 1400, 1600);
    pw_find(&w, POST1, COPY2)->datafile.absolute_fuzzy_scn = pw_scn(1550);
    struct err err = {0};
    struct scn below, above;
    AUTO(plan_recipe) struct plan_recipe recipe;
    cr_assert(plan_recipe_make(pw_plan(&w), pw_scn(1551), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.base, PRE1);
    plan_recipe_done(&recipe);
    cr_assert(plan_recipe_make(w.plan, pw_scn(1552), &recipe, &below, &above, &err));
    cr_expect_eq(recipe.base, POST1);
}

Test(planner, a_snapshot_without_a_control_file_is_no_base)
{
    WORLD(w);
    pw_lose(&w, POST1, "cf_r1.bkp");
    EXPECT_BASE(&w, POST1, PLAN_FAILED, "no control file backup");
    pw_lose(&w, PRE1, "cf_r0.bkp");
    EXPECT_BASE(&w, PRE1, PLAN_FAILED, "no control file backup");
    cr_expect(can(&w, 1550)); /* POST0 has one */
    pw_find(&w, POST0, "cf_r0.bkp")->state = STATE_DAMAGED;
    cr_expect_not(can(&w, 1550));
    cr_expect_str_eq(intervals(&w), "");
}

/* ---- times ---- */

Test(planner, a_moment_means_its_whole_second)
{
    WORLD(w);
    const struct plan *plan = pw_plan(&w);
    struct scn target;
    cr_assert(plan_scn_of(plan, pw_us(1199), &target));
    cr_expect_eq(target.n, 1200);
    cr_assert(plan_scn_of(plan, pw_us(1199) + 999999, &target));
    cr_expect_eq(target.n, 1200);
    cr_assert(plan_scn_of(plan, pw_us(1200), &target));
    cr_expect_eq(target.n, 1390); /* the next one whose time is known */
    cr_expect_not(plan_scn_of(plan, pw_us(1700), &target));
    cr_assert(plan_scn_of(plan, pw_us(1699), &target));
    cr_expect_eq(target.n, 1700);
}

Test(planner, a_moment_before_everything_is_out_of_reach)
{
    WORLD(w);
    struct scn target, below, above;
    cr_assert(plan_scn_of(pw_plan(&w), 1000000, &target));
    cr_expect_not(reaches(&w, target.n, &below, &above));
    cr_expect_eq(above.n, 1017);
}

Test(planner, an_scn_has_the_time_of_the_last_known_moment_below_it)
{
    WORLD(w);
    const struct plan *plan = pw_plan(&w);
    cr_expect_eq(plan_time_of(plan, pw_scn(899)), 0);
    cr_expect_eq(plan_time_of(plan, pw_scn(900)), pw_us(900));
    cr_expect_eq(plan_time_of(plan, pw_scn(1199)), pw_us(1050));
    cr_expect_eq(plan_time_of(plan, pw_scn(1200)), pw_us(1200));
    cr_expect_eq(plan_time_of(plan, pw_scn(999999)), pw_us(1700));
    cr_expect_eq(plan_base(plan, POST1)->latest_us, pw_us(1600));
    cr_expect_eq(plan_base(plan, POST1)->latest_arrived_us, pw_us(1700));
}

/* Logs of ten minutes through a night in which the clocks go from one offset to the other at 3600.
 */
static void night(struct pw *w, int before, int after)
{
    pw_add(w, "post", "r0");
    struct facts *f = pw_facts(w, 0, 10);
    f->moment_count = 0;
    pw_moment(f, "pre", 10, pw_us(10), before);
    pw_moment(f, "post", 7190, pw_us(7190), after);
    for (uint32_t n = 0; n < 12; n++) {
        struct manifest_entry *log = pw_log(w, 0, 1, n + 1, n * 600 + 5, n * 600 + 605);
        uint64_t first = n * 600 + 5;
        uint64_t next = n * 600 + 605;
        log->log.first_time = pw_header_time(pw_us(first), first < 3600 ? before : after);
        log->log.next_time = pw_header_time(pw_us(next), next < 3600 ? before : after);
    }
}

Test(planner, clocks_that_change_between_two_sheets_shift_no_time)
{
    static const int offsets[][2] = {{120, 60}, {60, 120}, {60, 60}, {-240, -300}, {-300, -240}};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        AUTO(pw) struct pw w = {0};
        night(&w, offsets[i][0], offsets[i][1]);
        const struct plan *plan = pw_plan(&w);
        for (uint64_t scn = 5; scn <= 7205; scn += 600) {
            struct scn target;
            cr_expect_eq(plan_time_of(plan, pw_scn(scn)), pw_us(scn), "%d to %d: SCN %" PRIu64,
                         offsets[i][0], offsets[i][1], scn);
            if (scn > 5 && scn < 7190) {
                cr_assert(plan_scn_of(plan, pw_us(scn - 1), &target));
                cr_expect_eq(target.n, scn, "%" PRIu64 " for %" PRIu64, target.n, scn);
            }
        }
    }
}

Test(planner, logs_beyond_the_last_sheet_have_its_offset)
{
    WORLD(w);
    for (size_t i = 0; i < SNAPSHOTS; i++)
        pw_sheet(&w, i)->moments[0].offset_min = 90;
    for (size_t i = 0; i < w.count; i++)
        for (size_t e = 0; e < pw_manifest(&w, i)->count; e++) {
            struct manifest_entry *entry = &pw_manifest(&w, i)->entries[e];
            if (entry->kind != FILE_ARCHIVED_LOG)
                continue;
            entry->log.first_time = pw_header_time(pw_us(entry->log.first_scn.n), 90);
            entry->log.next_time = pw_header_time(pw_us(entry->log.next_scn.n), 90);
        }
    cr_expect_eq(plan_time_of(pw_plan(&w), pw_scn(1700)), pw_us(1700));
    cr_expect_eq(plan_time_of(w.plan, pw_scn(900)), pw_us(900));
}
