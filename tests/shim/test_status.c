/* How databases stand, in words: golden texts of status, check and report. */
#include "agent/shim/status.h"
#include "agent/shim/words.h"
#include <criterion/criterion.h>
#include <string.h>

#define NOW UINT64_C(1795271527000000) /* 2026-11-21 14:32:07 UTC */
#define MINUTES(n) (NOW - (n)*UINT64_C(60000000))

static Evercopy__V1__DatabaseStatus row(const char *name, Evercopy__V1__Verdict verdict,
                                        uint64_t minutes)
{
    Evercopy__V1__DatabaseStatus s = EVERCOPY__V1__DATABASE_STATUS__INIT;
    s.db_unique_name = (char *)name;
    s.verdict = verdict;
    s.recoverable_to_scn = 4711;
    s.recoverable_to_time_us = MINUTES(minutes);
    s.exposure_s = minutes * 60;
    s.snapshot_count = 3;
    s.base_snapshot = (char *)"b";
    s.base_time_us = MINUTES(minutes + 1);
    s.free_bytes = UINT64_MAX;
    return s;
}

#define ROW_OK(minutes) row("ORCL", EVERCOPY__V1__VERDICT__VERDICT_OK, minutes)

static void status_is(Evercopy__V1__DatabaseStatus **rows, size_t count, const char *wanted)
{
    Evercopy__V1__GetStatusReply reply = EVERCOPY__V1__GET_STATUS_REPLY__INIT;
    AUTO(str) struct str text = {0};
    reply.databases = rows;
    reply.n_databases = count;
    status_render(&reply, &text);
    cr_expect_str_eq(text.text, wanted, "%s", text.text);
}

Test(shim, status_begins_with_the_most_exposed_database_and_the_next_action)
{
    Evercopy__V1__DatabaseStatus bad = row("SALES", EVERCOPY__V1__VERDICT__VERDICT_FAILED, 4320);
    Evercopy__V1__DatabaseStatus good = ROW_OK(5);
    bad.cause = (char *)"last run: merge: ORA-27072: File I/O\nerror";
    bad.next = (char *)"see 'evercopy log backup-1'";
    bad.gaps = 1;
    Evercopy__V1__DatabaseStatus *rows[] = {&bad, &good};
    status_is(rows, 2,
              "1 of 2 not ok; worst: SALES, exposed for 3 days; next: see 'evercopy log backup-1'\n"
              "FAILED         SALES: last run: merge: ORA-27072: File I/O error\n"
              "               recoverable to SCN 4711 (2026-11-18 14:32:07 +00:00), exposed for 3 "
              "days, 3 snapshots, 1 gap\n"
              "               next: see 'evercopy log backup-1'\n"
              "ok             ORCL\n"
              "               recoverable to SCN 4711 (2026-11-21 14:27:07 +00:00), exposed for 5 "
              "min, 3 snapshots\n");
}

Test(shim, status_of_many_that_are_well_names_the_most_exposed_of_them)
{
    Evercopy__V1__DatabaseStatus one = ROW_OK(90);
    Evercopy__V1__DatabaseStatus two = row("B", EVERCOPY__V1__VERDICT__VERDICT_OK, 1);
    one.snapshot_count = two.snapshot_count = 1;
    Evercopy__V1__DatabaseStatus *rows[] = {&one, &two};
    status_is(rows, 2,
              "all 2 ok; most exposed: ORCL, exposed for 90 min\n"
              "ok             ORCL\n"
              "               recoverable to SCN 4711 (2026-11-21 13:02:07 +00:00), exposed for 90 "
              "min, 1 snapshot\n"
              "ok             B\n"
              "               recoverable to SCN 4711 (2026-11-21 14:31:07 +00:00), exposed for 60 "
              "s, 1 snapshot\n");
    status_is(rows, 0, "no databases\n");
}

Test(shim, status_tells_each_threads_own_exposure)
{
    Evercopy__V1__DatabaseStatus s = ROW_OK(60);
    Evercopy__V1__ThreadStatus t[3] = {EVERCOPY__V1__THREAD_STATUS__INIT,
                                       EVERCOPY__V1__THREAD_STATUS__INIT,
                                       EVERCOPY__V1__THREAD_STATUS__INIT};
    Evercopy__V1__ThreadStatus *threads[] = {&t[0], &t[1], &t[2]};
    for (uint32_t i = 0; i < 3; i++)
        t[i].thread = i + 1;
    t[0].protected_to_time_us = MINUTES(5);
    t[0].exposure_s = 300;
    t[1].over = true;
    s.threads = threads;
    s.n_threads = 3;
    Evercopy__V1__DatabaseStatus *rows[] = {&s};
    status_is(rows, 1,
              "ok             ORCL\n"
              "               recoverable to SCN 4711 (2026-11-21 13:32:07 +00:00), exposed for 60 "
              "min, 3 snapshots\n"
              "               by thread: 1 exposed for 5 min, 2 closed, 3 exposed since an unknown "
              "time\n");
}

Test(shim, status_tells_the_run_that_is_on_and_its_lease)
{
    Evercopy__V1__DatabaseStatus s = ROW_OK(60);
    Evercopy__V1__DatabaseStatus *rows[] = {&s};
    s.running = (char *)"backup-2";
    s.lease_taken_us = MINUTES(5);
    s.lease_left_s = 3300;
    s.next = (char *)"wait";
    status_is(rows, 1,
              "ok             ORCL\n"
              "               recoverable to SCN 4711 (2026-11-21 13:32:07 +00:00), exposed for 60 "
              "min, 3 snapshots\n"
              "               running: backup-2 since 2026-11-21 14:27:07 +00:00, lease 3300 s\n"
              "               next: wait\n");
    s.lease_taken_us = 0;
    s.next = (char *)"";
    status_is(rows, 1,
              "ok             ORCL\n"
              "               recoverable to SCN 4711 (2026-11-21 13:32:07 +00:00), exposed for 60 "
              "min, 3 snapshots\n"
              "               running: backup-2\n");
}

Test(shim, status_of_nothing_recoverable_gives_no_age)
{
    Evercopy__V1__DatabaseStatus s = row("NEW", EVERCOPY__V1__VERDICT__VERDICT_FAILED, 0);
    s.recoverable_to_scn = s.recoverable_to_time_us = 0;
    s.cause = (char *)"nothing is recoverable";
    Evercopy__V1__DatabaseStatus good = ROW_OK(5);
    Evercopy__V1__DatabaseStatus *rows[] = {&s, &good};
    Evercopy__V1__GetStatusReply reply = EVERCOPY__V1__GET_STATUS_REPLY__INIT;
    AUTO(str) struct str text = {0};
    reply.databases = rows;
    reply.n_databases = 2;
    status_render(&reply, &text);
    cr_expect(str_starts(text.text, "1 of 2 not ok; worst: NEW, nothing recoverable\n"), "%s",
              text.text);
    cr_expect_eq(status_exit(&reply), 161);
    s.verdict = EVERCOPY__V1__VERDICT__VERDICT_UNKNOWN;
    cr_expect_eq(status_exit(&reply), 162);
    s.verdict = EVERCOPY__V1__VERDICT__VERDICT_UNSPECIFIED; /* of an agent that says nothing */
    cr_expect_eq(status_exit(&reply), 162);
    s.verdict = (Evercopy__V1__Verdict)99; /* of a newer one */
    cr_expect_eq(status_exit(&reply), 162);
    reply.n_databases = 0;
    cr_expect_eq(status_exit(&reply), 162);
}

/* ---- check ---- */

static const struct check_limits limits = {36 * 3600, 48 * 3600};

static void check_is(const Evercopy__V1__DatabaseStatus *s, int64_t clock_offset_s,
                     enum check_state state, const char *part)
{
    struct check check;
    AUTO(str) struct str text = {0};
    check_judge(s, &limits, NOW, clock_offset_s, &check);
    cr_expect_eq(check.state, state, "%d: %s", check.state, check.text.text);
    check_render(&check, 1, clock_offset_s, &text);
    cr_expect(strstr(text.text, part), "'%s' is not in: %s", part, text.text);
    size_t bars = 0;
    for (const char *p = text.text; *p; p++)
        bars += *p == '|';
    cr_expect_eq(bars, 1, "%s", text.text);
    cr_expect_eq(strchr(text.text, '\n') - text.text, (ptrdiff_t)text.len - 1, "one line: %s",
                 text.text);
    check_done(&check);
}

Test(shim, check_of_a_sound_database_is_one_line_with_figures)
{
    struct check check;
    AUTO(str) struct str text = {0};
    Evercopy__V1__DatabaseStatus s = ROW_OK(5);
    s.free_bytes = 1000;
    s.arrived_to_time_us = MINUTES(2);
    s.lease_taken_us = MINUTES(1);
    check_judge(&s, &limits, NOW, 3, &check);
    check_render(&check, 1, 3, &text);
    cr_expect_str_eq(
        text.text,
        "OK - ORCL recoverable to 2026-11-21 14:27:07 +00:00, exposed for 5 min |"
        " exposure=300s;129600;172800;0; snapshots=3;;;0; proof_age=360s;129600;172800;0;"
        " unprotected_logs=180s;;;0; gaps=0;;;0; free=1000B;;;0; lease_age=60s;;;0;"
        " clock_offset=3s;-120:120;;;\n",
        "%s", text.text);
    check_done(&check);
}

Test(shim, check_is_green_for_nothing_that_is_not_known_to_be_well)
{
    Evercopy__V1__DatabaseStatus s = ROW_OK(5);
    check_is(&s, 0, CHECK_OK, "OK - ORCL");
    s = ROW_OK(36 * 60);
    check_is(&s, 0, CHECK_WARNING, "the newest recovery point is 36 h old, the limit is 36 h");
    s = ROW_OK(48 * 60);
    check_is(&s, 0, CHECK_CRITICAL, "CRITICAL - ORCL");
    s = ROW_OK(5);
    s.base_time_us = MINUTES(40 * 60);
    check_is(&s, 0, CHECK_WARNING, "the newest proven base is 40 h old");
    s = ROW_OK(5);
    s.base_time_us = 0;
    check_is(&s, 0, CHECK_UNKNOWN, "no proven base is named");
    s = ROW_OK(5);
    s.recoverable_to_time_us = 0;
    check_is(&s, 0, CHECK_UNKNOWN, "exposure=U");
    s = ROW_OK(5);
    s.recoverable_to_scn = s.recoverable_to_time_us = 0;
    check_is(&s, 0, CHECK_CRITICAL, "nothing is recoverable");
    s = ROW_OK(5);
    s.recoverable_to_time_us = NOW + UINT64_C(3600000000);
    check_is(&s, 0, CHECK_UNKNOWN, "lies in the future");
    s = ROW_OK(5);
    check_is(&s, -500, CHECK_WARNING, "500 s apart");
    s.verdict = EVERCOPY__V1__VERDICT__VERDICT_UNSPECIFIED;
    check_is(&s, 0, CHECK_UNKNOWN, "UNKNOWN - ");
    s.verdict = EVERCOPY__V1__VERDICT__VERDICT_UNKNOWN;
    check_is(&s, 0, CHECK_UNKNOWN, "UNKNOWN - ");
    s.verdict = (Evercopy__V1__Verdict)77;
    check_is(&s, 0, CHECK_UNKNOWN, "UNKNOWN - ");
    s.verdict = EVERCOPY__V1__VERDICT__VERDICT_WARNING;
    s.cause = (char *)"a | bar,\na line end and \x01";
    s.next = (char *)"do | this";
    check_is(&s, 0, CHECK_WARNING, "ORCL: a / bar, a line end and  ");
    check_is(&s, 0, CHECK_WARNING, "next: do / this |");
}

Test(shim, check_of_many_counts_them_and_tells_the_worst)
{
    Evercopy__V1__DatabaseStatus bad = row("SALES", EVERCOPY__V1__VERDICT__VERDICT_FAILED, 60);
    Evercopy__V1__DatabaseStatus good = ROW_OK(5);
    struct check checks[2];
    AUTO(str) struct str text = {0};
    check_judge(&bad, &limits, NOW, 0, &checks[0]);
    check_judge(&good, &limits, NOW, 0, &checks[1]);
    check_render(checks, 2, 0, &text);
    cr_expect(str_starts(text.text,
                         "CRITICAL - 1 of 2 databases are not ok; worst: SALES recoverable to "
                         "2026-11-21 13:32:07 +00:00, exposed for 60 min | databases=2;;;0; "
                         "ok=1;;;0; warning=0;;;0; critical=1;;;0; unknown=0;;;0; "
                         "clock_offset=0s;-120:120;;;\nCRITICAL - SALES recoverable"),
              "%s", text.text);
    cr_expect(strstr(text.text, "\nOK - ORCL recoverable"), "%s", text.text);
    cr_expect(strstr(text.text, " | 'SALES exposure'=3600s;129600;172800;0;"), "%s", text.text);
    cr_expect(strstr(text.text, "\n 'ORCL exposure'=300s;"), "%s", text.text);
    cr_expect_eq(check_worst(checks, 2), CHECK_CRITICAL);
    checks[0].state = CHECK_UNKNOWN;
    checks[1].state = CHECK_WARNING;
    cr_expect_eq(check_worst(checks, 2), CHECK_UNKNOWN);
    cr_expect_eq(check_worst(checks, 0), CHECK_UNKNOWN);
    check_done(&checks[0]);
    check_done(&checks[1]);
}

/* ---- report ---- */

Test(shim, report_has_a_row_for_each_database_and_its_runs)
{
    Evercopy__V1__DatabaseStatus bad = row("SALES", EVERCOPY__V1__VERDICT__VERDICT_FAILED, 4320);
    Evercopy__V1__DatabaseStatus good = ROW_OK(5);
    AUTO(str) struct str text = {0};
    bad.cause = (char *)"last run: merge: no";
    struct report_row rows[] = {{.status = &bad, .ok = 5, .failed = 2},
                                {.status = &good, .ok = 7, .running = 1}};
    report_render(rows, 2, MINUTES(7 * 1440), &text);
    cr_expect_str_eq(
        text.text,
        "2 databases; runs since 2026-11-14 14:32:07 +00:00\n"
        "verdict        database                 exposed    snapshots gaps  runs\n"
        "FAILED         SALES                    3 days             3    0  5 ok, 2 failed\n"
        "               last run: merge: no\n"
        "ok             ORCL                     5 min              3    0  7 ok, 1 running\n",
        "%s", text.text);
}

/* ---- times ---- */

static void time_in(const char *zone, uint64_t us, const char *wanted)
{
    char text[48];
    struct err err = {0};
    cr_assert(words_zone_set(zone, &err), "%s", err.text);
    words_time(us, 60, text);
    cr_expect_str_eq(text, wanted);
}

Test(shim, a_printed_time_states_its_zone_at_that_moment)
{
    const uint64_t summer = UINT64_C(1784640727000000); /* 2026-07-21 13:32:07 UTC */
    time_in(NULL, NOW, "2026-11-21 15:32:07 +01:00");
    time_in("utc", NOW, "2026-11-21 14:32:07 +00:00");
    time_in("Europe/Vienna", NOW, "2026-11-21 15:32:07 +01:00");
    time_in("Europe/Vienna", summer, "2026-07-21 15:32:07 +02:00");
    time_in("America/St_Johns", NOW, "2026-11-21 11:02:07 -03:30");
    time_in("Asia/Kolkata", NOW, "2026-11-21 20:02:07 +05:30");
    time_in("utc", 0, "-");
    words_zone_db(-120);
    time_in("db", NOW, "2026-11-21 15:32:07 +01:00"); /* not told yet: as the verb knows it */
    cr_expect(words_zone_wants_db());
    words_zone_db(-120);
    char text[48];
    words_time(NOW, 0, text);
    cr_expect_str_eq(text, "2026-11-21 12:32:07 -02:00");
}

Test(shim, a_zone_nobody_knows_is_refused)
{
    static const char *const zones[] = {
        "Europe/Nowhere", "../../etc/passwd", "", "/etc/passwd", "Europe", "UTC;x", "CET-1\n"};
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        struct err err = {0};
        cr_expect_not(words_zone_set(zones[i], &err), "%s", zones[i]);
        cr_expect_eq(err.code, ERR_INVALID);
    }
}

Test(shim, ages_are_read_with_their_unit)
{
    cr_expect_eq(words_parse_age("36", 3600), 36 * 3600);
    cr_expect_eq(words_parse_age("90m", 3600), 5400);
    cr_expect_eq(words_parse_age("2d", 3600), 172800);
    cr_expect_eq(words_parse_age("15s", 3600), 15);
    static const char *const bad[] = {"", "h", "-1", "1w", "1.5h", "99999999999999999999", " 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(words_parse_age(bad[i], 3600), 0, "%s", bad[i]);
}

/* ---- JSON ---- */

Test(shim, file_names_of_any_bytes_become_text)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    cr_assert(words_put_bytes(doc, "a", "x\xff\n\\y", 5, &err));
    cr_assert(words_put_bytes(doc, "b", "gr\xc3\xbc\xc3\x9f", 6, &err));
    cr_assert(words_put_bytes(doc, "c", "", 0, &err));
    cr_expect_str_eq(json_text(doc, "a"), "x\\xff\\x0a\\\\y");
    cr_expect_str_eq(json_text(doc, "b"), "gr\xc3\xbc\xc3\x9f");
    cr_expect_str_eq(json_text(doc, "c"), "");
}

Test(shim, what_is_not_known_is_null_and_never_0)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    cr_assert(words_put_time(doc, "t", 0, &err) && words_put_time(doc, "u", NOW + 5, &err) &&
              words_put_known(doc, "k", UINT64_MAX, &err) && words_put_known(doc, "l", 7, &err));
    cr_expect(json_is_null(json_object_get(doc, "t")) &&
              json_is_null(json_object_get(doc, "t_us")));
    cr_expect_str_eq(json_text(doc, "u"), "2026-11-21T14:32:07.000005Z");
    cr_expect_eq(json_u64(doc, "u_us"), NOW + 5);
    cr_expect(json_is_null(json_object_get(doc, "k")));
    cr_expect_eq(json_u64(doc, "l"), 7);
}
