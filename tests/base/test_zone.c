/* Time zones: every answer compared with the C library's, asked in a child of its own. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/base/zone.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* In a child: 0 when zone and libc agree at every asked moment between 1950 and 2100. */
static int compare(const char *name, unsigned seed)
{
    struct err err = {0};
    AUTO(zone) struct zone *zone = zone_load(name, &err);
    if (!zone)
        return fprintf(stderr, "%s\n", err.text), 1;
    setenv("TZ", name, 1);
    tzset();
    srandom(seed);
    for (int64_t t = -631152000; t < 4102444800; t += 1 + random() % 40000) {
        struct tm tm;
        time_t when = (time_t)t;
        if (!localtime_r(&when, &tm))
            return 2;
        if (tm.tm_gmtoff != zone_offset_s(zone, t)) {
            fprintf(stderr, "%s at %lld: libc %ld, ours %d\n", name, (long long)t, tm.tm_gmtoff,
                    zone_offset_s(zone, t));
            return 3;
        }
        struct zone_civil c;
        zone_civil(zone, t < 0 ? 0 : (uint64_t)t * 1000000u, &c);
        if (t >= 0 && (c.year != tm.tm_year + 1900 || c.month != tm.tm_mon + 1 ||
                       c.day != tm.tm_mday || c.hour != tm.tm_hour || c.minute != tm.tm_min ||
                       c.second != tm.tm_sec || (c.day_no + 4) % 7 != tm.tm_wday))
            return 4;
    }
    return 0;
}

static const char *const names[] = {
    "Europe/Vienna", "America/New_York", "Australia/Lord_Howe",
    "Asia/Kolkata",  "America/St_Johns", "Africa/Casablanca",
    "Europe/Dublin", "Pacific/Apia",     "America/Sao_Paulo",
    "Asia/Tehran",   "Pacific/Chatham",  "America/Nuuk",
    "UTC",           "EST5EDT",          "Antarctica/Troll",
    "Africa/Cairo",
};

Test(zone, every_answer_is_the_c_librarys)
{
    unsigned seed = (unsigned)time(NULL);
    if (access("/usr/share/zoneinfo/Europe/Vienna", R_OK) != 0) {
        printf("SKIPPED zone/every_answer: no tzdata\n");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(compare(names[i], seed));
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect_eq(status, 0, "%s, seed %u", names[i], seed);
    }
}

static struct zone *vienna(void)
{
    struct err err = {0};
    struct zone *zone = zone_load("Europe/Vienna", &err);
    cr_assert(zone, "%s", err.text);
    return zone;
}

Test(zone, a_doubled_hour_is_two_hours_of_one_day_and_a_day_has_23_or_25)
{
    AUTO(zone) struct zone *zone = vienna();
    struct zone_civil one, two, day;
    uint64_t doubled;
    cr_assert(clock_parse("2026-10-25 00:30", &doubled));
    zone_civil(zone, doubled, &one);
    zone_civil(zone, doubled + UINT64_C(3600000000), &two);
    cr_expect(one.hour == 2 && two.hour == 2 && one.hour_utc != two.hour_utc);
    cr_expect_eq(one.day_no, two.day_no);
    cr_assert(clock_parse("2026-03-28 23:00", &doubled)); /* midnight in Vienna */
    for (int h = 0; h < 23; h++) {
        zone_civil(zone, doubled + UINT64_C(3600000000) * (unsigned)h, &day);
        cr_expect(day.day == 29);
    }
    zone_civil(zone, doubled + UINT64_C(3600000000) * 23, &day);
    cr_expect(day.day == 30 && day.hour == 0);
}

Test(zone, weeks_begin_on_monday)
{
    AUTO(zone) struct zone *zone = vienna();
    struct zone_civil sunday, monday;
    uint64_t at;
    cr_assert(clock_parse("2026-11-22 12:00", &at));
    zone_civil(zone, at, &sunday);
    zone_civil(zone, at + UINT64_C(86400000000), &monday);
    cr_expect_eq(monday.week_no, sunday.week_no + 1);
}

Test(zone, names_that_leave_the_folder_are_refused)
{
    static const char *const bad[] = {"../../etc/passwd", "/etc/passwd", "Europe/Nowhere", "Europe",
                                      "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        struct zone *zone = zone_load(bad[i], &err);
        cr_expect(!zone && err.code == ERR_CONFIG, "%s", bad[i]);
        zone_free(zone);
    }
}

Test(zone, bytes_cut_or_changed_anywhere_are_an_error_or_an_answer)
{
    struct err err = {0};
    size_t len;
    AUTO(mem)
    char *file = sys_read_file("/usr/share/zoneinfo/Europe/Vienna", 1 << 20, &len, &err);
    cr_assert(file);
    for (size_t i = 0; i < len; i++) {
        struct err why = {0};
        AUTO(mem) char *copy = malloc(i + 1);
        memcpy(copy, file, i);
        zone_free(zone_parse("cut", copy, i, &why));
        AUTO(mem) char *changed = malloc(len);
        memcpy(changed, file, len);
        changed[i] ^= (char)(1 + i % 255);
        struct zone *zone = zone_parse("changed", changed, len, &why);
        for (int64_t t = -4000000000; zone && t < 40000000000; t += 999999999)
            IGNORE(zone_offset_s(zone, t) > 100 * 3600);
        zone_free(zone);
    }
}
