/* Time zones by name, without the process's own: TZif files with their rule for the years beyond.
 * The C library's way needs setenv("TZ"), which no other thread survives. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

struct zone;
/* From /usr/share/zoneinfo; "" and "UTC" need no file. CONFIG for a name that is none. */
struct zone *zone_load(const char *name, struct err *err) MUST;
/* The bytes of a TZif file, hostile until checked; name is copied. */
struct zone *zone_parse(const char *name, const void *bytes, size_t len, struct err *err) MUST;
void zone_free(struct zone *zone); /* NULL is fine */
OWN_DEFINE(zone, struct zone, zone_free);
const char *zone_name(const struct zone *zone);

/* Seconds ahead of UTC at that moment (seconds since 1970, UTC); also before the file's first and
 * beyond its last transition. */
int32_t zone_offset_s(const struct zone *zone, int64_t utc_s);

struct zone_civil {
    int year, month, day; /* 1.. */
    int hour, minute, second;
    int64_t day_no;   /* local days since 1970-01-01 */
    int64_t week_no;  /* ISO weeks: they begin on Monday */
    int64_t hour_utc; /* UTC second in which the local hour began: a doubled hour is two */
    int32_t offset_s;
};
void zone_civil(const struct zone *zone, uint64_t utc_us, struct zone_civil *ret);
