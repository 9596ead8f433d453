/* Time and randomness, through one door that tests can own. */
#include "agent/base/clock.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

static uint64_t test_wall_us;
static int64_t test_shift_ms;
static const char *test_boot_id;

static uint64_t read_us(clockid_t id)
{
    struct timespec now;
    int rc = clock_gettime(id, &now);
    assert(rc == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t clock_wall_us(void) { return test_wall_us ? test_wall_us : read_us(CLOCK_REALTIME); }
uint64_t clock_mono_us(void) { return read_us(CLOCK_MONOTONIC) + (uint64_t)test_shift_ms * 1000u; }
uint64_t clock_mono_ms(void) { return read_us(CLOCK_MONOTONIC) / 1000u + (uint64_t)test_shift_ms; }
uint64_t clock_boot_ms(void) { return read_us(CLOCK_BOOTTIME) / 1000u + (uint64_t)test_shift_ms; }

void clock_boot_id(char ret[40])
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    struct err why = {0};
    ret[0] = '\0';
    if (test_boot_id) {
        IGNORE(!str_copy(ret, 40, test_boot_id));
        return;
    }
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0, &why);
    ssize_t n = fd >= 0 ? sys_pread(fd, ret, 36, 0, path, &why) : -1;
    ret[n == 36 ? 36 : 0] = '\0';
}

void clock_test_boot_id(const char *id) { test_boot_id = id; }
void clock_test_wall(uint64_t wall_us) { test_wall_us = wall_us; }
void clock_test_shift(int64_t ms) { test_shift_ms = ms; }

void clock_random(void *bytes, size_t len)
{
    char *p = bytes;
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        assert(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

/* Gregorian calendar arithmetic on a year that starts in March (public-domain method by H.
 * Hinnant). */
int64_t clock_days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

struct civil {
    int year, month, day, hour, minute, second;
};

static struct civil civil_from_seconds(int64_t seconds)
{
    int64_t days = seconds / 86400;
    int64_t rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    return (struct civil){
        .year = (int)(yoe + era * 400 + (month <= 2)),
        .month = month,
        .day = (int)(doy - (153 * mp + 2) / 5 + 1),
        .hour = (int)(rest / 3600),
        .minute = (int)(rest / 60 % 60),
        .second = (int)(rest % 60),
    };
}

void clock_format_utc(uint64_t wall_us, char ret[32])
{
    struct civil c = civil_from_seconds((int64_t)(wall_us / 1000000u));
    IGNORE(!str_format(ret, 32, "%04d-%02d-%02dT%02d:%02d:%02dZ", c.year, c.month, c.day, c.hour,
                       c.minute, c.second));
}

void clock_format_compact(uint64_t wall_us, char ret[32])
{
    struct civil c = civil_from_seconds((int64_t)(wall_us / 1000000u));
    IGNORE(!str_format(ret, 32, "%04d%02d%02dT%02d%02d%02dZ", c.year, c.month, c.day, c.hour,
                       c.minute, c.second));
}

void clock_format_offset(uint64_t wall_us, int offset_min, char ret[32])
{
    struct civil c = civil_from_seconds((int64_t)(wall_us / 1000000u) + (int64_t)offset_min * 60);
    IGNORE(!str_format(ret, 32, "%04d-%02d-%02d %02d:%02d:%02d", c.year, c.month, c.day, c.hour,
                       c.minute, c.second));
}

static bool civil_is_valid(const struct civil *c)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (c->year < 1970 || c->year > 9999 || c->month < 1 || c->month > 12 || c->day < 1)
        return false;
    bool leap = (c->year % 4 == 0 && c->year % 100 != 0) || c->year % 400 == 0;
    int last = days[c->month - 1] + (c->month == 2 && leap);
    return c->day <= last && c->hour <= 23 && c->minute <= 59 && c->second <= 59;
}

/* Exactly `digits` decimal digits at *p, which moves behind them; -1 when there are fewer. */
static int take_number(const char **p, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return -1;
        value = value * 10 + (**p - '0');
    }
    return value;
}

static bool take_sign(const char **p, const char *signs)
{
    for (; *signs; signs++)
        if (**p == *signs) {
            (*p)++;
            return true;
        }
    return false;
}

bool clock_parse(const char *text, uint64_t *ret_wall_us)
{
    const char *p = text;
    struct civil c = {0};
    c.year = take_number(&p, 4);
    bool ok = take_sign(&p, "-");
    c.month = ok ? take_number(&p, 2) : -1;
    ok = ok && take_sign(&p, "-");
    c.day = ok ? take_number(&p, 2) : -1;
    ok = ok && take_sign(&p, " T");
    c.hour = ok ? take_number(&p, 2) : -1;
    ok = ok && take_sign(&p, ":");
    c.minute = ok ? take_number(&p, 2) : -1;
    if (ok && take_sign(&p, ":"))
        c.second = take_number(&p, 2);
    IGNORE(take_sign(&p, "Z")); /* a trailing Z is allowed, not required */
    if (!ok || *p || c.hour < 0 || c.minute < 0 || c.second < 0 || !civil_is_valid(&c))
        return false;
    int64_t days = clock_days_from_civil(c.year, c.month, c.day);
    int64_t seconds = days * 86400 + (int64_t)c.hour * 3600 + (int64_t)c.minute * 60 + c.second;
    *ret_wall_us = (uint64_t)seconds * 1000000u;
    return true;
}
