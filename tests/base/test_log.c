/* Log lines: one event is one line, whatever outsiders put into it. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1400 };
static int saved, pair[2];
static char text[65536];

static void capture_begin(void)
{
    cr_assert_eq(pipe2(pair, O_NONBLOCK), 0);
    saved = dup(2);
    dup2(pair[1], 2);
}

/* What came out since; valid until the next call. */
static const char *capture_end(void)
{
    ssize_t n = read(pair[0], text, sizeof text - 1);
    dup2(saved, 2);
    close(saved);
    close(pair[0]);
    close(pair[1]);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void journal(bool on)
{
    if (on)
        setenv("JOURNAL_STREAM", "8:1234", 1);
    else
        unsetenv("JOURNAL_STREAM");
    log_init();
}

Test(log, a_terminal_gets_time_and_level)
{
    journal(false);
    clock_test_wall(1795271527000000);
    capture_begin();
    log_error("disk full volume=%s", "v1");
    log_warning("slow");
    log_info("snapshot taken db=%s job=%d", "ORCL", 7);
    log_debug("hidden");
    cr_expect_str_eq(capture_end(), "2026-11-21T14:32:07Z error disk full volume=v1\n"
                                    "2026-11-21T14:32:07Z warning slow\n"
                                    "2026-11-21T14:32:07Z info snapshot taken db=ORCL job=7\n");
}

Test(log, the_journal_gets_priorities)
{
    journal(true);
    log_set_level(LOG_LEVEL_DEBUG);
    capture_begin();
    log_error("a");
    log_warning("b");
    log_info("c");
    log_debug("d");
    cr_expect_str_eq(capture_end(), "<3>a\n<4>b\n<6>c\n<7>d\n");
}

Test(log, levels_above_are_dropped)
{
    journal(true);
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        log_set_level((enum log_level)level);
        capture_begin();
        log_error("a");
        log_warning("b");
        log_info("c");
        log_debug("d");
        cr_expect_eq(strlen(capture_end()), 5 * ((size_t)level + 1));
    }
}

Test(log, outsiders_cannot_forge_lines)
{
    journal(true);
    for (int c = 1; c < 256; c++) {
        char name[] = {'O', (char)c, '<', '3', '>', 'x', '\0'};
        capture_begin();
        log_info("login user=%s", name);
        const char *out = capture_end();
        cr_expect_eq(strlen(out), strlen("<6>login user=O?<3>x\n"));
        cr_expect_eq(strchr(out, '\n'), out + strlen(out) - 1, "sign %d", c);
        bool control = c < 0x20 || c == 0x7f;
        cr_expect_eq(out[strlen("<6>login user=O")], control ? '?' : (char)c, "sign %d", c);
    }
}

Test(log, control_signs_in_utf8_are_hidden_and_letters_are_not)
{
    journal(true);
    capture_begin();
    log_info("a=\xc2\x9b[2J b=\xc2\x85 c=\xc2\x80 d=\xc2\xa0 e=\xc3\xbc f=\xe2\x82\xac\xc2");
    cr_expect_str_eq(capture_end(),
                     "<6>a=??[2J b=?? c=?? d=\xc2\xa0 e=\xc3\xbc f=\xe2\x82\xac\xc2\n");
}

Test(log, endless_text_makes_one_line)
{
    static char endless[20000];
    memset(endless, 'x', sizeof endless - 1);
    for (int on = 0; on < 2; on++) {
        journal(on);
        for (int len = LINE_MAX_BYTES - 60; len < LINE_MAX_BYTES + 10; len++) {
            capture_begin();
            log_error("%.*s\n", len, endless);
            const char *out = capture_end();
            cr_assert_leq(strlen(out), LINE_MAX_BYTES);
            cr_assert_eq(strchr(out, '\n'), out + strlen(out) - 1);
        }
        capture_begin();
        log_error("%s", endless);
        cr_expect_gt(strlen(capture_end()), LINE_MAX_BYTES - 10);
    }
}

Test(log, an_empty_message_is_a_line)
{
    journal(true);
    capture_begin();
    log_error("%s", "");
    cr_expect_str_eq(capture_end(), "<3>\n");
}

Test(log, nobody_listening_does_no_harm)
{
    capture_begin();
    close(2);
    log_error("x");
    cr_expect_str_eq(capture_end(), "");
}
