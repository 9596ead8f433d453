/* The audit: nothing can be taken out, moved, changed or put in unseen; no kill loses a line. */
#include "agent/auth/audit.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static void begin(void)
{
    str_copy(dir, sizeof dir, "/tmp/evercopy-audit-XXXXXX");
    cr_assert(mkdtemp(dir));
}

static void end(void)
{
    struct err err = {0};
    cr_assert(sys_remove_tree(dir, &err), "%s", err.text);
}

TestSuite(audit, .init = begin, .fini = end, .timeout = 120);

static const char *in(const char *name)
{
    static char paths[8][256];
    static int turn;
    char *path = paths[turn++ % 8];
    str_format(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static struct audit *must_open(uint64_t rotate_bytes)
{
    struct err err = {0};
    struct audit *a = audit_open(dir, rotate_bytes, &err);
    cr_assert(a, "%s", err.text);
    return a;
}

static uint64_t must_write(struct audit *a, const char *text)
{
    struct err err = {0};
    uint64_t number = 0;
    struct audit_record record = {
        .kind = "start", .text = text, .method = "test", .database = "ORCL", .key = "secret-key"};
    cr_assert(audit_write(a, &record, &number, &err), "%s", err.text);
    return number;
}

static void fill(size_t count, uint64_t rotate_bytes)
{
    AUTO(audit) struct audit *a = must_open(rotate_bytes);
    for (size_t i = 0; i < count; i++)
        must_write(a, "a line");
}

static struct audit_report verify(void)
{
    struct err err = {0};
    struct audit_report report;
    cr_assert(audit_verify(dir, NULL, &report, &err), "%s", err.text);
    return report;
}

static char *must_read(const char *name, size_t *ret_len)
{
    struct err err = {0};
    char *text = sys_read_file(in(name), 1 << 24, ret_len, &err);
    cr_assert(text, "%s", err.text);
    return text;
}

static void must_put(const char *name, const void *bytes, size_t len)
{
    struct err err = {0};
    cr_assert(sys_write_file(in(name), bytes, len, 0600, &err), "%s", err.text);
}

Test(audit, is_sound_as_written_and_says_how_far)
{
    fill(5, AUDIT_ROTATE_BYTES);
    fill(2, AUDIT_ROTATE_BYTES);
    struct audit_report r = verify();
    cr_assert(r.sound, "%s:%zu: %s", r.file, (size_t)r.line, r.why);
    cr_expect_eq(r.records, 7);
    cr_expect_eq(r.first, 1);
    cr_expect_eq(r.last, 7);
    cr_expect_eq(strlen(r.head), 64);
}

Test(audit, keeps_no_idempotency_key_and_no_control_sign)
{
    size_t len;
    AUTO(audit) struct audit *a = must_open(AUDIT_ROTATE_BYTES);
    must_write(a, "line\nfeed \"quoted\" \xff \x1b[31m back\\slash");
    AUTO(mem) char *text = must_read("audit.log", &len);
    cr_assert_null(strstr(text, "secret-key"));
    cr_assert(strstr(text, "line\\u000afeed \\u0022quoted\\u0022 ? \\u001b[31m back\\u005cslash"),
              "%s", text);
    cr_assert(verify().sound);
}

Test(audit, sees_every_changed_byte)
{
    size_t len;
    size_t missed = 0;
    fill(5, AUDIT_ROTATE_BYTES);
    AUTO(mem) char *text = must_read("audit.log", &len);
    for (size_t i = 0; i < len; i++) {
        char kept = text[i];
        for (int turn = 0; turn < 2; turn++) {
            text[i] = (char)(turn ? kept ^ 0x20 : kept + 1);
            FILE *f = fopen(in("audit.log"), "w");
            cr_assert(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
            missed += verify().sound;
        }
        text[i] = kept;
    }
    cr_assert_eq(missed, 0, "%zu changes of %zu went unseen", missed, 2 * len);
    must_put("audit.log", text, len);
    cr_assert(verify().sound);
}

Test(audit, sees_every_length_it_is_cut_to)
{
    size_t len;
    fill(3, AUDIT_ROTATE_BYTES);
    AUTO(mem) char *text = must_read("audit.log", &len);
    for (size_t cut = 0; cut < len; cut++) {
        FILE *f = fopen(in("audit.log"), "w");
        cr_assert(f && fwrite(text, 1, cut, f) == cut && fclose(f) == 0);
        cr_assert(!verify().sound, "cut to %zu of %zu", cut, len);
    }
}

/* The file with its lines in another order, or some of them not at all. */
static void put_lines(char *text, const char *order)
{
    char *lines[10] = {0};
    char *cursor = text;
    AUTO(str) struct str out = {0};
    for (size_t i = 0; i < 10 && cursor && *cursor; i++)
        lines[i] = str_field(&cursor, '\n');
    for (; *order; order++) {
        str_append(&out, lines[*order - '1']);
        str_append(&out, "\n");
    }
    must_put("audit.log", out.len ? out.text : "", out.len);
}

Test(audit, sees_lines_moved_taken_out_and_put_in_again)
{
    static const char *const orders[] = {"21345", "13245", "12354",  "2345",   "1345",     "1235",
                                         "1234",  "12",    "112345", "123455", "12345345", "1"};
    fill(5, AUDIT_ROTATE_BYTES);
    size_t len;
    AUTO(mem) char *whole = must_read("audit.log", &len);
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct err err = {0};
        AUTO(mem) char *copy = own_strndup(whole, len, &err);
        put_lines(copy, orders[i]);
        struct audit_report r = verify();
        cr_expect(!r.sound, "order %s went unseen", orders[i]);
        cr_expect(r.why[0] && r.file[0]);
    }
    AUTO(mem) char *copy = strdup(whole);
    put_lines(copy, "12345");
    cr_assert(verify().sound);
}

Test(audit, sees_an_older_state_played_back)
{
    size_t len;
    size_t head_len;
    fill(3, AUDIT_ROTATE_BYTES);
    AUTO(mem) char *log = must_read("audit.log", &len);
    AUTO(mem) char *head = must_read("audit.head", &head_len);
    fill(3, AUDIT_ROTATE_BYTES);
    must_put("audit.log", log, len);
    struct audit_report r = verify();
    cr_assert(!r.sound);
    cr_assert(strstr(r.why, "6 lines were written, it ends with number 3"), "%s", r.why);
    cr_assert_eq(unlink(in("audit.head")), 0);
    r = verify();
    cr_assert(!r.sound);
    cr_assert_str_eq(r.file, "audit.head");
}

Test(audit, goes_on_over_files_and_misses_none)
{
    struct err err = {0};
    fill(40, 2000);
    AUTO(sys_names) struct sys_names names = {0};
    cr_assert(sys_list(dir, &names, &err));
    cr_assert_gt(names.count, 5);
    struct audit_report r = verify();
    cr_assert(r.sound, "%s:%zu: %s", r.file, (size_t)r.line, r.why);
    cr_assert_gt(r.records, 40);
    for (size_t i = 0; i < names.count; i++) {
        size_t len;
        AUTO(mem) char *text = must_read(names.names[i], &len);
        cr_assert_eq(unlink(in(names.names[i])), 0);
        cr_expect(!verify().sound, "%s is missing", names.names[i]);
        must_put(names.names[i], text, len);
    }
    cr_assert(verify().sound);
    cr_assert(audit_verify(NULL, in(names.names[1]), &r, &err), "%s", err.text);
    cr_assert(r.sound, "one file alone: %s", r.why);
    cr_assert_gt(r.first, 1);
}

Test(audit, two_writers_take_turns)
{
    AUTO(audit) struct audit *one = must_open(3000);
    AUTO(audit) struct audit *two = must_open(3000);
    for (uint64_t i = 0; i < 10; i++) {
        uint64_t a = must_write(one, "one");
        cr_assert_gt(must_write(two, "two"), a);
    }
    struct audit_report r = verify();
    cr_assert(r.sound, "%s:%zu: %s", r.file, (size_t)r.line, r.why);
    cr_assert_eq(r.alarms, 0);
}

Test(audit, heals_a_torn_line_and_says_so)
{
    fill(3, AUDIT_ROTATE_BYTES);
    FILE *f = fopen(in("audit.log"), "a");
    cr_assert(f && fputs("{\"seq\":4,\"time\":\"2026-", f) >= 0 && fclose(f) == 0);
    cr_assert(!verify().sound);
    AUTO(audit) struct audit *a = must_open(AUDIT_ROTATE_BYTES);
    cr_assert(strstr(audit_notice(a), "cut 22 bytes a crash left"), "%s", audit_notice(a));
    struct audit_report r = verify();
    cr_assert(r.sound, "%s", r.why);
    cr_assert_eq(r.records, 4);
    cr_assert_eq(r.alarms, 0);
}

Test(audit, a_spoilt_file_bars_nothing_but_is_told_for_good)
{
    static const char *const deeds[] = {"cut", "empty", "gone", "garbage", "headless"};
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
        size_t len;
        fill(3, AUDIT_ROTATE_BYTES);
        AUTO(mem) char *text = must_read("audit.log", &len);
        if (i == 0)
            must_put("audit.log", text, len - 10);
        if (i == 1)
            must_put("audit.log", "", 0);
        if (i == 2)
            cr_assert_eq(unlink(in("audit.log")), 0);
        if (i == 3)
            must_put("audit.log", "no line\n", 8);
        if (i == 4)
            cr_assert_eq(unlink(in("audit.head")), 0);
        struct audit *a = must_open(AUDIT_ROTATE_BYTES);
        cr_expect(strstr(audit_notice(a), "not as it was written"), "%s: '%s'", deeds[i],
                  audit_notice(a));
        must_write(a, "life goes on");
        audit_close(a);
        struct audit_report r = verify();
        cr_expect(i == 4 ? r.sound && r.alarms == 1 : !r.sound, "%s: %s", deeds[i], r.why);
        end();
        begin();
    }
}

/* In a child that dies at the nth step: three lines, each told once it is on disk. */
static int write_and_die(long nth, int told)
{
    pid_t child = fork();
    if (child == 0) {
        struct err err = {0};
        audit_kill_at(nth);
        struct audit *a = audit_open(dir, 1200, &err);
        for (int i = 0; a && i < 3; i++) {
            struct audit_record record = {.kind = "start", .text = "three of them, and rotated"};
            uint64_t number;
            if (!audit_write(a, &record, &number, &err) ||
                write(told, &number, sizeof number) != sizeof number)
                _exit(1);
        }
        audit_close(a);
        _exit(a ? 0 : 1);
    }
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WEXITSTATUS(status);
}

Test(audit, no_kill_loses_a_line_that_was_told)
{
    int code = 137;
    long rounds = 0;
    for (long nth = 1; code == 137; nth++, rounds++) {
        int pipes[2];
        fill(3, 1200);
        cr_assert_eq(pipe(pipes), 0);
        code = write_and_die(nth, pipes[1]);
        close(pipes[1]);
        cr_assert(code == 0 || code == 137, "step %ld: %d", nth, code);
        uint64_t last = 0;
        uint64_t number;
        while (read(pipes[0], &number, sizeof number) == sizeof number)
            last = number;
        close(pipes[0]);
        AUTO(audit) struct audit *a = must_open(1200);
        cr_expect(!strstr(audit_notice(a), "not as it was written"), "step %ld: %s", nth,
                  audit_notice(a));
        must_write(a, "after");
        struct audit_report r = verify();
        cr_expect(r.sound, "step %ld: %s:%zu: %s", nth, r.file, (size_t)r.line, r.why);
        cr_expect_gt(r.last, last, "step %ld", nth);
        cr_expect_eq(r.alarms, 0);
        end();
        begin();
    }
    cr_assert_gt(rounds, 12);
}

/* Every system call fails in turn: written or refused, and the chain is whole either way. */
Test(audit, a_fault_refuses_but_breaks_nothing)
{
    bool done = false;
    fill(2, AUDIT_ROTATE_BYTES);
    for (long nth = 1; !done && nth < 200; nth++) {
        struct err err = {0};
        uint64_t number;
        struct audit_record record = {.kind = "start", .text = "with a fault"};
        sys_fault(nth, ENOSPC);
        struct audit *a = audit_open(dir, AUDIT_ROTATE_BYTES, &err);
        bool ok = a && audit_write(a, &record, &number, &err);
        done = sys_fault(0, 0) < nth;
        cr_expect_eq(ok, err.code == ERR_NONE);
        struct err none = {0};
        if (a) /* the same writer goes on once there is room */
            cr_expect(audit_write(a, &record, &number, &none), "call %ld: %s", nth, none.text);
        audit_close(a);
        struct audit_report r = verify();
        cr_expect(r.sound && !r.alarms, "call %ld: %s:%zu: %s", nth, r.file, (size_t)r.line, r.why);
    }
    cr_assert(done);
}

static bool count_line(void *arg, const char *line)
{
    (void)line;
    ++*(size_t *)arg;
    return true;
}

Test(audit, shows_what_is_asked_for)
{
    struct err err = {0};
    size_t all = 0;
    size_t other = 0;
    size_t future = 0;
    fill(30, 2000);
    cr_assert(audit_each(dir, "orcl", "", count_line, &all, &err), "%s", err.text);
    cr_assert(audit_each(dir, "OTHER", "", count_line, &other, &err));
    cr_assert(audit_each(dir, "", "2999", count_line, &future, &err));
    cr_assert_eq(all, 30);
    cr_assert_eq(other, 0);
    cr_assert_eq(future, 0);
}
