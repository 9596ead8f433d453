/* The verdict: exit codes of the scheduler, and one line that fits its column. */
#include "agent/base/str.h"
#include "agent/shim/verdict.h"
#include <criterion/criterion.h>
#include <string.h>

static void line_is(enum verdict_kind kind, const char *db, const char *phase, const char *cause,
                    const char *run, const char *wanted)
{
    char line[VERDICT_LINE_MAX + 1];
    verdict_line(kind, db, phase, cause, run, line);
    cr_expect_str_eq(line, wanted);
}

Test(shim, verdict_says_word_database_phase_cause_and_run)
{
    line_is(VERDICT_FAILED, "ORCL", "merge", "ORA-27072: File I/O error", "42",
            "FAILED ORCL merge: ORA-27072: File I/O error [run 42]");
    line_is(VERDICT_OK, "ORCL", NULL, "", NULL, "OK ORCL");
    line_is(VERDICT_RUNNING, "ORCL", "begin", "already running", "7",
            "WARNING ORCL begin: already running [run 7]");
    line_is(VERDICT_UNREACHABLE, "", "", "no agent\nat\tall", NULL, "UNREACHABLE: no agent at all");
}

Test(shim, verdict_is_cut_at_160_bytes_and_keeps_the_run)
{
    char cause[600];
    memset(cause, 'x', sizeof cause - 1);
    cause[sizeof cause - 1] = '\0';
    char line[VERDICT_LINE_MAX + 1];
    verdict_line(VERDICT_FAILED, "ORCL", "merge", cause, "20261121-ab", line);
    cr_expect_eq(strlen(line), VERDICT_LINE_MAX);
    cr_expect(str_ends(line, "xxx... [run 20261121-ab]"));
    verdict_line(VERDICT_FAILED, cause, cause, cause, cause, line);
    cr_expect_leq(strlen(line), VERDICT_LINE_MAX);
    cr_expect(str_starts(line, "FAILED xxx") && str_ends(line, "...]"));
}

Test(shim, verdict_never_ends_in_half_a_sign)
{
    for (size_t shift = 0; shift < 4; shift++) {
        AUTO(str) struct str cause = {0};
        str_append(&cause, &"aaaa"[shift]);
        for (int i = 0; i < 100; i++)
            str_append(&cause, i % 2 ? "\xc3\xbc" : "\xf0\x9f\x98\x80");
        char line[VERDICT_LINE_MAX + 1];
        verdict_line(VERDICT_WARNING, "D\xc3\xbc", "level1", cause.text, "r1", line);
        cr_expect(str_is_utf8(line, strlen(line)), "shift %zu: %s", shift, line);
        cr_expect_leq(strlen(line), VERDICT_LINE_MAX);
        cr_expect(str_ends(line, "... [run r1]"));
    }
}

Test(shim, verdict_exit_codes_are_those_of_the_scheduler)
{
    static const struct {
        enum verdict_kind kind;
        int exit, strict, nagios;
    } cases[] = {
        {VERDICT_OK, 0, 0, 0},
        {VERDICT_WARNING, 0, 161, 1},
        {VERDICT_RUNNING, 0, 160, 1},
        {VERDICT_REFUSED, 160, 160, 2},
        {VERDICT_FAILED, 161, 161, 2},
        {VERDICT_UNKNOWN, 162, 162, 3},
        {VERDICT_UNREACHABLE, 163, 163, 3},
        {VERDICT_STOPPED, 164, 164, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(verdict_exit(cases[i].kind, false), cases[i].exit);
        cr_expect_eq(verdict_exit(cases[i].kind, true), cases[i].strict);
        cr_expect_eq(verdict_nagios_exit(cases[i].kind), cases[i].nagios);
    }
}

Test(shim, verdict_of_an_error_follows_the_error_table)
{
    for (int code = ERR_NONE + 1; code < ERR_CODE_COUNT; code++) {
        struct err err = {.code = (enum err_code)code};
        cr_expect_eq(verdict_exit(verdict_from_err(&err), false), err_exit_code(err.code), "%s",
                     err_code_name(err.code));
    }
    struct err none = {0};
    cr_expect_eq(verdict_from_err(&none), VERDICT_OK);
    cr_expect_str_eq(verdict_word(VERDICT_UNKNOWN), "UNKNOWN");
}
