/* SCNs and header times: the two numbers everything is ordered and told by. */
#include "agent/oracle/scn.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/oracle/bytes.h"

enum { BIG_SCN_FLAG = 0x8000 }; /* seen in a 19c block: e1 e5 80 00 00 80 00 00 is 0x80e5e1 */

struct scn scn_read(const uint8_t *at, enum byte_order order)
{
    static const uint8_t none[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (memcmp(at, none, sizeof none) == 0)
        return SCN_NONE;
    uint64_t base = bytes_u4(at, order);
    uint64_t high = bytes_u2(at + 4, order);
    if (!(high & BIG_SCN_FLAG))
        return (struct scn){base | high << 32}; /* bytes 6 and 7 may hold old rubbish */
    uint64_t middle = bytes_u2(at + 6, order);
    return (struct scn){base | middle << 32 | (high & ~(uint64_t)BIG_SCN_FLAG) << 48};
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

bool header_time_read(uint32_t value, struct header_time *ret_time)
{
    struct header_time t = {
        .second = (int)(value % 60),
        .minute = (int)(value / 60 % 60),
        .hour = (int)(value / 3600 % 24),
        .day = (int)(value / 86400 % 31) + 1,
        .month = (int)(value / 2678400 % 12) + 1,
        .year = (int)(value / 32140800) + 1988,
    };
    if (value == 0 || t.day > days_in_month(t.year, t.month))
        return false;
    *ret_time = t;
    return true;
}

void header_time_format(uint32_t value, char ret[32])
{
    struct header_time t;
    if (!header_time_read(value, &t))
        str_copy(ret, 32, "-");
    else
        str_format(ret, 32, "%04d-%02d-%02d %02d:%02d:%02d", t.year, t.month, t.day, t.hour,
                   t.minute, t.second);
}

bool header_time_to_utc(uint32_t value, int offset_min, uint64_t *ret_wall_us)
{
    struct header_time t;
    if (!header_time_read(value, &t))
        return false;
    int64_t days = clock_days_from_civil(t.year, t.month, t.day);
    int64_t minutes = days * 1440 + (int64_t)t.hour * 60 + t.minute - offset_min;
    *ret_wall_us = (uint64_t)(minutes * 60 + t.second) * 1000000u;
    return true;
}
