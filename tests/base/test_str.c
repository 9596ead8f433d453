/* Text: growing, cutting, numbers at their limits, nearest words, UTF-8 by the book. */
#include "agent/base/str.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

Test(str, starts_without_memory_and_ends_with_a_terminated_text)
{
    struct err err = {0};
    AUTO(str) struct str s = {0};
    cr_expect_null(s.text);
    cr_assert(str_ok(&s, &err));
    cr_expect_str_eq(s.text, "");
    str_append(&s, "a");
    str_append_n(&s, "b\0c", 3);
    str_append_n(&s, NULL, 0);
    str_printf(&s, "%s", "");
    str_printf(&s, "-%d", 5);
    cr_expect_eq(s.len, 6);
    cr_expect_arr_eq(s.text, "ab\0c-5", 7);
    str_clear(&s);
    cr_expect_str_eq(s.text, "");
    str_append(&s, "again");
    AUTO(mem) char *text = str_take(&s, &err);
    cr_expect_str_eq(text, "again");
    cr_expect(s.text == NULL && s.len == 0 && s.capacity == 0);
}

Test(str, grows_over_every_border)
{
    struct err err = {0};
    AUTO(str) struct str s = {0};
    for (int i = 0; i < 5000; i++)
        if (i % 2)
            str_printf(&s, "%c", 'a' + i % 26);
        else
            str_append_n(&s, &"abcdefghijklmnopqrstuvwxyz"[i % 26], 1);
    cr_assert(str_ok(&s, &err));
    cr_assert_eq(s.len, 5000);
    for (int i = 0; i < 5000; i++)
        cr_assert_eq(s.text[i], 'a' + i % 26);
}

static char *build(struct err *err)
{
    AUTO(str) struct str s = {0};
    for (int i = 0; i < 100; i++)
        str_printf(&s, "line %d\n", i);
    return str_take(&s, err);
}

Test(str, any_failed_growth_is_reported_once_at_the_end)
{
    bool done = false;
    for (long nth = 1; !done; nth++) {
        struct err err = {0};
        own_fault(nth);
        AUTO(mem) char *text = build(&err);
        done = own_fault(0) < nth;
        cr_assert_eq(text != NULL, done);
        cr_expect_eq(err.code, done ? ERR_NONE : ERR_NO_MEMORY);
        cr_assert_lt(nth, 50);
    }
}

Test(str, after_a_failure_appends_do_nothing_and_clear_heals)
{
    struct err err = {0};
    AUTO(str) struct str s = {0};
    str_append(&s, "kept");
    own_fault(1);
    str_printf(&s, "%200s", "x");
    own_fault(0);
    str_append(&s, "y");
    cr_expect_str_eq(s.text, "kept");
    cr_expect_not(str_ok(&s, &err));
    cr_expect_null(str_take(&s, &err));
    str_clear(&s);
    str_append(&s, "well");
    err_clear(&err);
    cr_expect(str_ok(&s, &err));
    cr_expect_str_eq(s.text, "well");
}

Test(str, questions_have_their_answers)
{
    cr_expect(str_equal("a", "a") && str_equal(NULL, NULL));
    cr_expect(!str_equal("a", NULL) && !str_equal(NULL, "") && !str_equal("a", "A"));
    cr_expect(str_equal_fold("OrCl", "oRcL") && str_equal_fold(NULL, NULL));
    cr_expect(!str_equal_fold("a", NULL) && !str_equal_fold("a", "ab"));
    cr_expect(!str_equal_fold("\xc3\x84", "\xc3\xa4"), "ASCII only");
    cr_expect(str_starts("abc", "") && str_starts("abc", "abc") && !str_starts("abc", "abcd"));
    cr_expect(str_ends("abc", "") && str_ends("abc", "abc") && !str_ends("abc", "xabc"));
    cr_expect(str_ends("", "") && !str_ends("", "a"));
}

Test(str, reads_whole_numbers_only)
{
    static const char *const bad[] = {"",
                                      " ",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "-0",
                                      "0x10",
                                      "1.",
                                      "1e3",
                                      "1\n",
                                      "a",
                                      "1a",
                                      "\t1",
                                      "1,000",
                                      "18446744073709551616",
                                      "18446744073709551620",
                                      "99999999999999999999",
                                      "184467440737095516150",
                                      "\xd9\xa1"};
    uint64_t value = 77;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(str_to_u64(bad[i], UINT64_MAX, &value), "'%s'", bad[i]);
    cr_expect_not(str_to_u64(NULL, UINT64_MAX, &value));
    cr_expect_eq(value, 77, "untouched on failure");
    cr_expect(str_to_u64("18446744073709551615", UINT64_MAX, &value) && value == UINT64_MAX);
    cr_expect(str_to_u64("18446744073709551609", UINT64_MAX, &value));
    cr_expect(str_to_u64("0", 0, &value) && value == 0);
    cr_expect(str_to_u64("65535", 65535, &value) && value == 65535);
    cr_expect_not(str_to_u64("65536", 65535, &value));
    cr_expect(str_to_u64("007", 10, &value) && value == 7);
}

Test(str, copies_with_cut)
{
    char to[4];
    cr_expect(str_copy(to, sizeof to, "abc"));
    cr_expect_str_eq(to, "abc");
    cr_expect_not(str_copy(to, sizeof to, "abcd"));
    cr_expect_str_eq(to, "abc");
    cr_expect(str_copy(to, 1, ""));
    cr_expect_not(str_copy(to, 1, "x"));
    cr_expect_str_eq(to, "");
    cr_expect(str_format(to, sizeof to, "%d", 123));
    cr_expect_not(str_format(to, sizeof to, "%d", 1234));
    cr_expect_str_eq(to, "123");
}

Test(str, trims_both_ends_only)
{
    static const char *const table[][2] = {
        {"", ""}, {"   ", ""}, {"a", "a"}, {" \t a b \r\n", "a b"}, {"a\n", "a"}, {"\v\fa", "a"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[32];
        str_copy(text, sizeof text, table[i][0]);
        cr_expect_str_eq(str_trim(text), table[i][1], "row %zu", i);
    }
    char high[] = "\xa0x\xa0";
    cr_expect_str_eq(str_trim(high), "\xa0x\xa0", "bytes above ASCII are no blanks");
}

Test(str, fields_may_be_empty)
{
    static const struct {
        const char *text;
        int count;
        const char *fields[4];
    } table[] = {{"", 1, {""}},
                 {"a", 1, {"a"}},
                 {"a,b", 2, {"a", "b"}},
                 {",", 2, {"", ""}},
                 {"a,,b", 3, {"a", "", "b"}},
                 {",a,", 3, {"", "a", ""}}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[16];
        str_copy(text, sizeof text, table[i].text);
        char *cursor = text;
        for (int f = 0; f < table[i].count; f++) {
            char *field = str_field(&cursor, ',');
            cr_assert(field, "row %zu field %d", i, f);
            cr_expect_str_eq(field, table[i].fields[f]);
        }
        cr_expect_null(str_field(&cursor, ','));
        cr_expect_null(str_field(&cursor, ','), "and stays so");
    }
}

Test(str, distance_counts_edits_both_ways)
{
    static const struct {
        const char *a, *b;
        int distance;
    } table[] = {{"", "", 0},
                 {"", "abc", 3},
                 {"abc", "abc", 0},
                 {"abc", "abd", 1},
                 {"abc", "ab", 1},
                 {"kitten", "sitting", 3},
                 {"retention", "retentoin", 2},
                 {"a", "b", 1},
                 {"flaw", "lawn", 2}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_expect_eq(str_distance(table[i].a, table[i].b), table[i].distance, "row %zu", i);
        cr_expect_eq(str_distance(table[i].b, table[i].a), table[i].distance, "row %zu", i);
    }
    char a[1000];
    char b[1000];
    memset(a, 'a', sizeof a - 1);
    memset(b, 'b', sizeof b - 1);
    a[999] = b[999] = '\0';
    cr_expect_eq(str_distance(a, b), 64);
    cr_expect_eq(str_distance(a, ""), 64);
}

Test(str, nearest_finds_typing_errors_and_nothing_else)
{
    static const char *const keys[] = {"listen", "state", "retention_days", "verify", "pki"};
    size_t count = sizeof keys / sizeof *keys;
    cr_expect_str_eq(str_nearest("lisen", keys, count), "listen");
    cr_expect_str_eq(str_nearest("retention-days", keys, count), "retention_days");
    cr_expect_str_eq(str_nearest("Verify", keys, count), "verify");
    cr_expect_str_eq(str_nearest("state", keys, count), "state");
    cr_expect_null(str_nearest("completely_else", keys, count));
    cr_expect_null(str_nearest("", keys, count));
    cr_expect_null(str_nearest("x", keys, 0));
    char endless[500];
    memset(endless, 'q', sizeof endless - 1);
    endless[499] = '\0';
    cr_expect_null(str_nearest(endless, keys, count), "a long word is near to nothing");
}

Test(str, hex_is_lower_case)
{
    char text[9];
    str_hex("\x00\x7f\xff\x1a", 4, text);
    cr_expect_str_eq(text, "007fff1a");
    str_hex("", 0, text);
    cr_expect_str_eq(text, "");
}

Test(str, utf8_table)
{
    static const struct {
        const char *bytes;
        bool good;
    } table[] = {
        {"", true},
        {"plain", true},
        {"\x7f", true},
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xef\xbf\xbf", true},
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\x80", false}, /* a tail alone */
        {"\xbf", false},
        {"a\x80", false},
        {"\xc0\xaf", false}, /* overlong '/' */
        {"\xc1\xbf", false},
        {"\xe0\x80\xaf", false},
        {"\xe0\x9f\xbf", false},
        {"\xf0\x80\x80\xaf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xed\xa0\x80", false}, /* surrogates */
        {"\xed\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", false},
        {"\xf8\x88\x80\x80\x80", false},
        {"\xff", false},
        {"\xfe\xff", false},
        {"\xc3", false}, /* cut */
        {"\xe2\x82", false},
        {"\xf0\x9f\x92", false},
        {"\xc3(", false},
        {"\xe2\x28\xa1", false},
        {"\xf0\x9f\x92 ", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect_eq(str_is_utf8(table[i].bytes, strlen(table[i].bytes)), table[i].good, "row %zu",
                     i);
    cr_expect_not(str_is_utf8("a\0b", 3), "no NUL");
}

/* Every code point, encoded by the textbook, is good; every surrogate is not. */
Test(str, utf8_knows_every_code_point)
{
    for (uint32_t c = 1; c < 0x110000; c++) {
        unsigned char b[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n - 1; i > 0; i--)
            b[i] = (unsigned char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
        b[0] = (unsigned char)(lead[n] | c >> (6 * (n - 1)));
        cr_assert_eq(str_is_utf8((char *)b, n), c < 0xd800 || c > 0xdfff, "U+%04X", c);
    }
}
