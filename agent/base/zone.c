/* Time zones by name: TZif version 2 and later (RFC 8536), with the POSIX rule at its end. */
#include "agent/base/zone.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <string.h>

enum {
    FILE_MAX = 1 << 20,
    HEADER_BYTES = 44,
    TYPES_MAX = 256,
    TRANSITIONS_MAX = 100000,
    DAY_S = 86400,
    OFFSET_MAX_S = 25 * 3600, /* RFC 8536: more than -25 h, less than 26 h */
    RULE_TIME_MAX_S = 167 * 3600 + 3599,
};

/* When in a year the clocks change: Mm.w.d, Jn or n, each with a local time. */
struct change {
    char kind; /* 'M', 'J', 'n' */
    int month, week, day;
    int32_t time_s;
};

struct zone {
    char name[64];
    int64_t *at; /* ascending */
    uint8_t *type;
    size_t count;
    int32_t offsets[TYPES_MAX];
    size_t type_count;
    bool has_rule, rule_changes;
    int32_t standard_s, summer_s;
    struct change begins, ends;
};

/* ---- the bytes ---- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const uint8_t *p) { return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4)); }

struct block {
    uint32_t isut, isstd, leap, times, types, chars;
    uint64_t size; /* behind the header */
};

static bool read_header(const uint8_t *p, size_t len, unsigned time_bytes, struct block *ret)
{
    if (len < HEADER_BYTES || memcmp(p, "TZif", 4) != 0)
        return false;
    *ret = (struct block){
        be32(p + 20), be32(p + 24), be32(p + 28), be32(p + 32), be32(p + 36), be32(p + 40), 0};
    if (ret->times > TRANSITIONS_MAX || ret->types > TYPES_MAX || ret->types == 0 ||
        ret->chars > FILE_MAX || ret->leap > TRANSITIONS_MAX || ret->isut > TYPES_MAX ||
        ret->isstd > TYPES_MAX)
        return false;
    ret->size = (uint64_t)ret->times * (time_bytes + 1) + (uint64_t)ret->types * 6 + ret->chars +
                (uint64_t)ret->leap * (time_bytes + 4) + ret->isstd + ret->isut;
    return ret->size <= len - HEADER_BYTES;
}

static bool read_block(struct zone *zone, const uint8_t *p, const struct block *block,
                       struct err *err)
{
    zone->count = block->times;
    zone->type_count = block->types;
    zone->at = own_alloc(sizeof *zone->at * (zone->count + 1), err);
    zone->type = own_alloc(zone->count + 1, err);
    if (!zone->at || !zone->type)
        return false;
    const uint8_t *types = p + zone->count * 9;
    for (size_t i = 0; i < zone->count; i++) {
        zone->at[i] = be64(p + i * 8);
        zone->type[i] = p[zone->count * 8 + i];
        if (zone->type[i] >= zone->type_count || (i && zone->at[i] <= zone->at[i - 1]))
            return err_set(err, ERR_CORRUPT, "its transitions are out of order");
    }
    for (size_t i = 0; i < zone->type_count; i++) {
        zone->offsets[i] = (int32_t)be32(types + i * 6);
        if (zone->offsets[i] <= -OFFSET_MAX_S || zone->offsets[i] >= OFFSET_MAX_S + 3600)
            return err_set(err, ERR_CORRUPT, "an offset is no offset");
    }
    return true;
}

/* ---- the rule: "CET-1CEST,M3.5.0,M10.5.0/3" ---- */

static bool skip_name(const char **p)
{
    const char *start = *p;
    if (**p == '<') {
        while (**p && **p != '>')
            (*p)++;
        return *(*p)++ == '>';
    }
    while ((**p >= 'A' && **p <= 'Z') || (**p >= 'a' && **p <= 'z'))
        (*p)++;
    return *p - start >= 3;
}

static bool take_int(const char **p, int max, int *ret)
{
    int value = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9' && *p - start < 4; (*p)++)
        value = value * 10 + (**p - '0');
    *ret = value;
    return *p > start && value <= max;
}

/* [+-]h[h[h]][:mm[:ss]] */
static bool take_hms(const char **p, int32_t *ret_s)
{
    int sign = **p == '-' ? -1 : 1;
    int part[3] = {0};
    if (**p == '-' || **p == '+')
        (*p)++;
    if (!take_int(p, 167, &part[0]))
        return false;
    for (int i = 1; i < 3 && **p == ':'; i++) {
        (*p)++;
        if (!take_int(p, 59, &part[i]))
            return false;
    }
    *ret_s = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
    return *ret_s >= -RULE_TIME_MAX_S && *ret_s <= RULE_TIME_MAX_S;
}

static bool take_sign_of(const char **p, char sign)
{
    if (**p != sign)
        return false;
    (*p)++;
    return true;
}

static bool take_change(const char **p, struct change *ret)
{
    *ret = (struct change){.kind = 'n', .time_s = 2 * 3600};
    if (!take_sign_of(p, ','))
        return false;
    if (take_sign_of(p, 'M')) {
        ret->kind = 'M';
        if (!take_int(p, 12, &ret->month) || !take_sign_of(p, '.') || !take_int(p, 5, &ret->week) ||
            !take_sign_of(p, '.') || !take_int(p, 6, &ret->day) || !ret->month || !ret->week)
            return false;
    } else {
        ret->kind = take_sign_of(p, 'J') ? 'J' : 'n';
        if (!take_int(p, 365, &ret->day) || (ret->kind == 'J' && !ret->day))
            return false;
    }
    return !take_sign_of(p, '/') || take_hms(p, &ret->time_s);
}

static bool read_rule(struct zone *zone, const char *text)
{
    int32_t west;
    const char *p = text;
    if (!*p)
        return true; /* none: the last transition holds on */
    if (!skip_name(&p) || !take_hms(&p, &west))
        return false;
    zone->has_rule = true;
    zone->standard_s = zone->summer_s = -west;
    if (!*p)
        return true;
    zone->rule_changes = true;
    zone->summer_s = zone->standard_s + 3600;
    if (!skip_name(&p))
        return false;
    if (*p != ',') {
        if (!take_hms(&p, &west))
            return false;
        zone->summer_s = -west;
    }
    return take_change(&p, &zone->begins) && take_change(&p, &zone->ends) && !*p;
}

static bool read_footer(struct zone *zone, const uint8_t *p, size_t len)
{
    char text[128];
    const uint8_t *end = len > 1 && p[0] == '\n' ? memchr(p + 1, '\n', len - 1) : NULL;
    if (!end || (size_t)(end - p - 1) >= sizeof text)
        return false;
    memcpy(text, p + 1, (size_t)(end - p - 1));
    text[end - p - 1] = '\0';
    return read_rule(zone, text);
}

struct zone *zone_parse(const char *name, const void *bytes, size_t len, struct err *err)
{
    const uint8_t *p = bytes;
    struct block one, two;
    AUTO(zone) struct zone *zone = own_alloc(sizeof *zone, err);
    if (!zone)
        return NULL;
    IGNORE(!str_copy(zone->name, sizeof zone->name, name));
    bool ok = read_header(p, len, 4, &one) && p[4] >= '2';
    size_t skip = ok ? HEADER_BYTES + (size_t)one.size : 0;
    if (!ok || !read_header(p + skip, len - skip, 8, &two)) {
        err_set(err, ERR_CORRUPT, "time zone '%.60s': no time zone file of version 2", name);
        return NULL;
    }
    if (!read_block(zone, p + skip + HEADER_BYTES, &two, err))
        return err_null(err, "time zone '%.60s'", name);
    skip += HEADER_BYTES + (size_t)two.size;
    if (!read_footer(zone, p + skip, len - skip)) {
        err_set(err, ERR_CORRUPT, "time zone '%.60s': its rule cannot be read", name);
        return NULL;
    }
    return TAKE(zone);
}

static bool name_fits(const char *name)
{
    size_t len = strlen(name);
    if (len >= 64 || name[0] == '/' || strstr(name, ".."))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!(name[i] >= 'A' && name[i] <= 'Z') && !(name[i] >= 'a' && name[i] <= 'z') &&
            !(name[i] >= '0' && name[i] <= '9') && !strchr("_-+/", name[i]))
            return false;
    return true;
}

struct zone *zone_load(const char *name, struct err *err)
{
    char path[128];
    size_t len;
    struct err why = {0};
    if (!name[0] || str_equal(name, "UTC")) {
        struct zone *utc = own_alloc(sizeof *utc, err);
        if (utc)
            IGNORE(!str_copy(utc->name, sizeof utc->name, "UTC"));
        return utc;
    }
    IGNORE(!str_format(path, sizeof path, "/usr/share/zoneinfo/%.80s", name));
    AUTO(mem) char *bytes = name_fits(name) ? sys_read_file(path, FILE_MAX, &len, &why) : NULL;
    if (why.code == ERR_NO_MEMORY) {
        *err = why;
        return NULL;
    }
    if (!bytes) {
        err_set(err, ERR_CONFIG, "there is no time zone '%.60s' in /usr/share/zoneinfo%s%s", name,
                why.text[0] ? ": " : "", why.text);
        return NULL;
    }
    return zone_parse(name, bytes, len, err);
}

void zone_free(struct zone *zone)
{
    if (!zone)
        return;
    own_free(zone->at);
    own_free(zone->type);
    own_free(zone);
}

const char *zone_name(const struct zone *zone) { return zone->name; }

/* ---- the answer ---- */

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static int year_of(int64_t local_s)
{
    int64_t days = floor_div(local_s, DAY_S);
    int year = (int)(1970 + floor_div(days * 400, 146097));
    while (clock_days_from_civil(year, 1, 1) > days)
        year--;
    while (clock_days_from_civil(year + 1, 1, 1) <= days)
        year++;
    return year;
}

/* Local seconds since 1970 at which the rule changes in that year. */
static int64_t change_at(const struct change *change, int year)
{
    int64_t first = clock_days_from_civil(year, 1, 1);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int64_t day = first + change->day;
    if (change->kind == 'J') {
        day = first + change->day - 1 + (leap && change->day >= 60);
    } else if (change->kind == 'M') {
        int64_t begin = clock_days_from_civil(year, change->month, 1);
        int64_t end = change->month == 12 ? clock_days_from_civil(year + 1, 1, 1)
                                          : clock_days_from_civil(year, change->month + 1, 1);
        int64_t weekday = (begin % 7 + 11) % 7; /* 1970-01-01 was a Thursday */
        day = begin + (change->day - weekday + 7) % 7 + (int64_t)(change->week - 1) * 7;
        while (day >= end)
            day -= 7;
    }
    return day * DAY_S + change->time_s;
}

static int32_t by_rule(const struct zone *zone, int64_t utc_s)
{
    if (!zone->rule_changes)
        return zone->standard_s;
    int year = year_of(utc_s + zone->standard_s);
    int64_t on = change_at(&zone->begins, year) - zone->standard_s;
    int64_t off = change_at(&zone->ends, year) - zone->summer_s;
    bool summer = on < off ? utc_s >= on && utc_s < off : utc_s >= on || utc_s < off;
    return summer ? zone->summer_s : zone->standard_s;
}

int32_t zone_offset_s(const struct zone *zone, int64_t utc_s)
{
    size_t low = 0;
    size_t high = zone->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (utc_s < zone->at[middle])
            high = middle;
        else
            low = middle + 1;
    }
    if (low == zone->count && zone->has_rule)
        return by_rule(zone, utc_s);
    return low ? zone->offsets[zone->type[low - 1]] : zone->offsets[0];
}

void zone_civil(const struct zone *zone, uint64_t utc_us, struct zone_civil *ret)
{
    int64_t utc_s = (int64_t)(utc_us / 1000000u);
    int32_t offset = zone_offset_s(zone, utc_s);
    int64_t local = utc_s + offset;
    int64_t day = floor_div(local, DAY_S);
    int64_t rest = local - day * DAY_S;
    int year = year_of(local);
    int month = 1;
    while (month < 12 && clock_days_from_civil(year, month + 1, 1) <= day)
        month++;
    *ret = (struct zone_civil){
        .year = year,
        .month = month,
        .day = (int)(day - clock_days_from_civil(year, month, 1)) + 1,
        .hour = (int)(rest / 3600),
        .minute = (int)(rest / 60 % 60),
        .second = (int)(rest % 60),
        .day_no = day,
        .week_no = floor_div(day + 3, 7),
        .hour_utc = local - rest % 3600 - offset,
        .offset_s = offset,
    };
}
