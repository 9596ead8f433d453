/* The INI reader: ConfigParser's syntax, and errors that name their line. */
#include "agent/base/str.h"
#include "agent/config/ini.h"
#include <criterion/criterion.h>
#include <string.h>

static bool note(void *arg, const struct ini_event *event, struct err *err)
{
    (void)err;
    if (event->key)
        str_printf(arg, "%u:%s.%s=<%s>\n", event->line, event->section, event->key, event->value);
    else
        str_printf(arg, "%u:[%s]\n", event->line, event->section);
    return true;
}

static void check_events(const char *text, const char *wanted)
{
    struct err err = {0};
    AUTO(str) struct str seen = {0};
    cr_assert(ini_parse(text, strlen(text), "f.conf", note, &seen, &err), "%s", err.text);
    cr_assert(str_ok(&seen, &err));
    cr_expect_str_eq(seen.text, wanted);
}

static void check_error(const char *text, size_t len, const char *wanted)
{
    struct err err = {0};
    AUTO(str) struct str seen = {0};
    cr_assert_not(ini_parse(text, len, "f.conf", note, &seen, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_str_eq(err.text, wanted);
}

Test(config, ini_reads_both_separators_and_folds_keys)
{
    check_events("[Generic]\nBackupDest: /nfs\r\nTAG = a=b : c\n",
                 "1:[Generic]\n"
                 "2:Generic.backupdest=</nfs>\n3:Generic.tag=<a=b : c>\n");
}

Test(config, ini_leaves_comments_and_a_byte_order_mark_out)
{
    check_events("\xef\xbb\xbf# one\n; two\n[a]\n  # three\nk = v # kept\n", "3:[a]\n"
                                                                             "5:a.k=<v # kept>\n");
}

Test(config, ini_joins_indented_lines_and_skips_comments_between_them)
{
    check_events("[a]\nk = one\n  two\n  # not this\n\n\tthree\nl =\n  x\n\n\n[b]\n",
                 "1:[a]\n2:a.k=<one\ntwo\n\nthree>\n7:a.l=<x>\n11:[b]\n");
}

Test(config, ini_takes_an_indented_key_that_is_no_continuation)
{
    check_events("[a]\n  k = 1\n  l = 2\n", "1:[a]\n2:a.k=<1>\n3:a.l=<2>\n");
}

Test(config, ini_keeps_values_of_kilobytes)
{
    AUTO(str) struct str text = {0};
    str_append(&text, "[a]\nk = ");
    for (int i = 0; i < 5000; i++)
        str_append(&text, "0123456789");
    AUTO(str) struct str seen = {0};
    struct err err = {0};
    cr_assert(ini_parse(text.text, text.len, "f", note, &seen, &err));
    cr_expect(seen.len > 50000);
}

Test(config, ini_accepts_nothing_at_all)
{
    struct err err = {0};
    cr_expect(ini_parse("", 0, "f", note, NULL, &err));
}

Test(config, ini_names_file_and_line_of_what_it_refuses)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"k = 1\n", "f.conf:1: text before the first [section]"},
        {"[a]\nnonsense\n", "f.conf:2: 'nonsense' is neither 'key = value' nor '[section]'"},
        {"[a]\n= 1\n", "f.conf:2: '= 1' is neither 'key = value' nor '[section]'"},
        {"[a\n", "f.conf:1: a section is written [name]"},
        {"[]\n", "f.conf:1: a section is written [name]"},
        {"[a] x\n", "f.conf:1: a section is written [name]"},
        {"[a]\nk=1\n\nK=2\n", "f.conf:4: key 'k' stands here twice, first at line 2"},
        {"[a]\n[b]\n[a]\n", "f.conf:3: section 'a' stands here twice, first at line 1"},
        {"[a]\nk = %(home)s/x\n", "f.conf:2: key 'k': interpolation with '%(' is not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_error(cases[i].text, strlen(cases[i].text), cases[i].wanted);
    check_error("[a]\nk = 1\0\n", 11, "f.conf:2: a NUL byte, so this is no text");
}

Test(config, ini_refuses_more_than_a_mebibyte)
{
    struct err err = {0};
    AUTO(mem) char *text = own_alloc(INI_SIZE_MAX + 2, &err);
    memset(text, '\n', INI_SIZE_MAX + 1);
    check_error(text, INI_SIZE_MAX + 1,
                "f.conf: 1048577 bytes are no configuration, at most 1048576");
}

Test(config, ini_reports_every_allocation_that_fails)
{
    const char *text = "[a]\nk = 1\n  2\n[b]\nl = 3\n";
    for (long nth = 1; nth < 100; nth++) {
        struct err err = {0};
        AUTO(str) struct str seen = {0};
        own_fault(nth);
        bool ok = ini_parse(text, strlen(text), "f", note, &seen, &err) && str_ok(&seen, &err);
        bool untouched = own_fault(0) < nth;
        cr_assert(ok || err.code == ERR_NO_MEMORY, "call %ld: %s", nth, err.text);
        if (untouched) {
            cr_expect(ok);
            return;
        }
    }
    cr_assert_fail("more than 100 allocations");
}
