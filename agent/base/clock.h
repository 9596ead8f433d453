/* Time and randomness, through one door that tests can own. */
#pragma once
#include "agent/base/err.h"
#include <stdint.h>

uint64_t clock_wall_us(void); /* UTC, microseconds since 1970 */
uint64_t clock_mono_ms(void); /* for durations and deadlines */
uint64_t clock_mono_us(void); /* for what is over sooner */
/* CLOCK_BOOTTIME: counts while suspended, setting the clock moves nothing. */
uint64_t clock_boot_ms(void);

/* The kernel's name of this boot: boot times of different boots do not compare. "" when the kernel
 * does not tell. */
void clock_boot_id(char ret[40]);

/* Cryptographic random bytes from the kernel; asserts that the kernel gave them. */
void clock_random(void *bytes, size_t len);

/* "2026-11-21T14:32:07Z" from microseconds UTC; ret holds 32. */
void clock_format_utc(uint64_t wall_us, char ret[32]);
/* "20261121T143207Z", as in snapshot names. */
void clock_format_compact(uint64_t wall_us, char ret[32]);
/* Local text "YYYY-MM-DD HH:MM:SS" at an offset from UTC in minutes. */
void clock_format_offset(uint64_t wall_us, int offset_min, char ret[32]);
/* Days since 1970 of a proleptic Gregorian date, for any valid date. */
int64_t clock_days_from_civil(int year, int month, int day);
/* "YYYY-MM-DD[ T]HH:MM[:SS]" read as UTC; "Z" may follow. False when it is no such time. */
bool clock_parse(const char *text, uint64_t *ret_wall_us) MUST;

/* Test hooks: freeze the wall clock at a value (0 = real), shift the others by ms. */
void clock_test_wall(uint64_t wall_us);
void clock_test_shift(int64_t ms);
void clock_test_boot_id(const char *id); /* NULL: the kernel's; borrowed */
