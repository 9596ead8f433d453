/* Time: text both ways, leap years, offsets, and dates that do not exist. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define US 1000000ull

Test(clock, formats_known_instants)
{
    static const struct {
        uint64_t seconds;
        const char *utc, *compact;
    } table[] = {
        {0, "1970-01-01T00:00:00Z", "19700101T000000Z"},
        {86399, "1970-01-01T23:59:59Z", "19700101T235959Z"},
        {951782399, "2000-02-28T23:59:59Z", "20000228T235959Z"},
        {951782400, "2000-02-29T00:00:00Z", "20000229T000000Z"},
        {951868800, "2000-03-01T00:00:00Z", "20000301T000000Z"},
        {1795271527, "2026-11-21T14:32:07Z", "20261121T143207Z"},
        {4107542400, "2100-03-01T00:00:00Z", "21000301T000000Z"},
        {4294967296, "2106-02-07T06:28:16Z", "21060207T062816Z"},
        {253402300799, "9999-12-31T23:59:59Z", "99991231T235959Z"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[32];
        uint64_t back = 0;
        clock_format_utc(table[i].seconds * US + 999999, text);
        cr_expect_str_eq(text, table[i].utc);
        cr_expect(clock_parse(text, &back) && back == table[i].seconds * US, "row %zu", i);
        clock_format_compact(table[i].seconds * US, text);
        cr_expect_str_eq(text, table[i].compact);
    }
}

Test(clock, the_last_microsecond_of_64_bits_fits_its_buffer)
{
    char text[32];
    clock_format_utc(UINT64_MAX, text);
    cr_expect_lt(strlen(text), sizeof text);
    clock_format_compact(UINT64_MAX, text);
    clock_format_offset(UINT64_MAX, -14 * 60, text);
    cr_expect_lt(strlen(text), sizeof text);
}

Test(clock, offsets_shift_over_midnight_and_new_year)
{
    static const struct {
        const char *utc;
        int minutes;
        const char *local;
    } table[] = {
        {"2026-12-31T23:30:00Z", 60, "2027-01-01 00:30:00"},
        {"2027-01-01T00:30:00Z", -60, "2026-12-31 23:30:00"},
        {"2024-02-28T23:00:00Z", 120, "2024-02-29 01:00:00"},
        {"2026-06-01T12:00:00Z", 345, "2026-06-01 17:45:00"},
        {"2026-06-01T12:00:00Z", -210, "2026-06-01 08:30:00"},
        {"2026-03-29T01:00:00Z", 60, "2026-03-29 02:00:00"}, /* no daylight saving here */
        {"1970-01-01T00:00:00Z", -60, "1969-12-31 23:00:00"},
        {"1970-01-01T00:00:00Z", 840, "1970-01-01 14:00:00"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[32];
        uint64_t us = 0;
        cr_assert(clock_parse(table[i].utc, &us));
        clock_format_offset(us, table[i].minutes, text);
        cr_expect_str_eq(text, table[i].local);
    }
}

Test(clock, reads_the_forms_it_promises)
{
    static const char *const same[] = {"2026-11-21T14:32:00Z", "2026-11-21 14:32:00",
                                       "2026-11-21T14:32", "2026-11-21 14:32Z", "2026-11-21 14:32"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        uint64_t us = 0;
        cr_expect(clock_parse(same[i], &us), "%s", same[i]);
        cr_expect_eq(us, 1795271520 * US, "%s", same[i]);
    }
}

Test(clock, refuses_what_is_no_time)
{
    static const char *const bad[] = {"",
                                      "2",
                                      "2026",
                                      "2026-11-21",
                                      "2026-11-21T",
                                      "2026-11-21T14",
                                      "2026-11-21T14:",
                                      "2026-11-21T14:3",
                                      "2026-11-21T14:32:",
                                      "2026-11-21T14:32:0",
                                      "2026-11-21T14:32:07ZZ",
                                      "2026-11-21T14:32:07+01:00",
                                      "2026-11-21T14:32:07.5Z",
                                      " 2026-11-21T14:32",
                                      "2026-11-21T14:32 ",
                                      "2026-11-21t14:32",
                                      "2026/11/21 14:32",
                                      "26-11-21 14:32",
                                      "2026-1-21 14:32",
                                      "+026-11-21 14:32",
                                      "-026-11-21 14:32",
                                      "2026-11-21T-1:32",
                                      "2026-11-21T14:32:-7",
                                      "2026-00-10 00:00",
                                      "2026-13-10 00:00",
                                      "2026-01-00 00:00",
                                      "2026-01-32 00:00",
                                      "2026-04-31 00:00",
                                      "2026-06-31 00:00",
                                      "2026-02-29 00:00",
                                      "2024-02-30 00:00",
                                      "1900-02-28 00:00",
                                      "2100-02-29 00:00",
                                      "1969-12-31 23:59:59",
                                      "2026-01-01 24:00",
                                      "2026-01-01 23:60",
                                      "2026-01-01 23:59:60",
                                      "0000-01-01 00:00",
                                      "12026-11-21 14:32",
                                      "2026-11-21  14:32",
                                      "2026--1-21 14:32"};
    uint64_t us = 5;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(clock_parse(bad[i], &us), "'%s'", bad[i]);
    cr_expect_eq(us, 5, "untouched on failure");
}

Test(clock, every_prefix_of_a_time_is_safe_to_read)
{
    const char *whole = "2026-11-21T14:32:07Z";
    uint64_t us;
    for (size_t len = 0; len <= strlen(whole); len++) {
        struct err err = {0};
        AUTO(mem) char *text = own_strndup(whole, len, &err);
        cr_expect_eq(clock_parse(text, &us), len == 16 || len >= 19, "%zu signs", len);
    }
}

Test(clock, knows_the_length_of_every_month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (int year = 1970; year <= 2410; year++)
        for (int month = 1; month <= 12; month++) {
            bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            int last = days[month - 1] + (month == 2 && leap);
            char text[48];
            uint64_t us;
            str_format(text, sizeof text, "%04d-%02d-%02d 00:00", year, month, last);
            cr_expect(clock_parse(text, &us), "%s", text);
            str_format(text, sizeof text, "%04d-%02d-%02d 00:00", year, month, last + 1);
            cr_expect_not(clock_parse(text, &us), "%s", text);
        }
}

Test(clock, agrees_with_the_c_library_on_every_day)
{
    for (int64_t day = -800000; day < 2900000; day += 7) {
        time_t seconds = (time_t)day * 86400;
        struct tm tm;
        cr_assert(gmtime_r(&seconds, &tm));
        cr_assert_eq(clock_days_from_civil(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday), day);
    }
}

Test(clock, random_times_come_back)
{
    unsigned seed;
    clock_random(&seed, sizeof seed);
    unsigned first = seed;
    for (int i = 0; i < 20000; i++) {
        uint64_t seconds =
            (((uint64_t)(unsigned)rand_r(&seed) << 31) | (unsigned)rand_r(&seed)) % 253402300800ull;
        time_t t = (time_t)seconds;
        struct tm tm;
        char text[32];
        char theirs[64];
        uint64_t us = 0;
        clock_format_utc(seconds * US, text);
        strftime(theirs, sizeof theirs, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
        cr_assert_str_eq(text, theirs, "seed %u", first);
        cr_assert(clock_parse(text, &us) && us == seconds * US, "seed %u: %s", first, text);
    }
}

Test(clock, runs_forward_and_obeys_its_hooks)
{
    uint64_t mono = clock_mono_ms();
    uint64_t boot = clock_boot_ms();
    cr_expect_geq(clock_mono_ms(), mono);
    cr_expect_geq(boot + 1, mono, "boot time counts what monotonic time counts, and more");
    clock_test_wall(42);
    cr_expect_eq(clock_wall_us(), 42);
    clock_test_wall(0);
    cr_expect_gt(clock_wall_us(), 1600000000 * US);
    clock_test_shift(3600000);
    cr_expect_geq(clock_mono_ms(), mono + 3600000);
    cr_expect_geq(clock_boot_ms(), boot + 3600000);
    clock_test_shift(-1000);
    cr_expect_lt(clock_mono_ms(), mono);
}

Test(clock, random_bytes_differ)
{
    unsigned char a[1000] = {0};
    unsigned char b[1000] = {0};
    clock_random(a, sizeof a);
    clock_random(b, sizeof b);
    clock_random(a, 0);
    cr_expect_arr_neq(a, b, sizeof a);
    int zeros = 0;
    for (size_t i = 0; i < sizeof a; i++)
        zeros += a[i] == 0;
    cr_expect_lt(zeros, 100);
}
