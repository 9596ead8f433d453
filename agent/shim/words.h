/* What the shim says: times in a stated zone, members of its JSON, texts that are safe anywhere. */
#pragma once
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/shim/verdict.h"

/* ---- times: every printed one names its distance from UTC ---- */

/* --zone: "utc", "local" (this host's), "db" (the database's own), or a name such as
 * Europe/Vienna; NULL: what each verb thinks best. INVALID for a name this host does not know. */
bool words_zone_set(const char *zone, struct err *err) MUST;
/* True when --zone db was asked for and words_zone_db has not told yet. */
bool words_zone_wants_db(void);
void words_zone_db(int offset_min);
/* "2026-11-21 14:32:07 +01:00"; "-" for 0. offset_min: where the zone was not chosen. */
void words_time(uint64_t us, int offset_min, char ret[48]);
/* "5 min", "36 h", "3 days" */
void words_age(uint64_t seconds, char ret[32]);
/* "90s", "90m", "12h", "3d" or a number of `unit_s`; 0 when it is none of these. */
uint64_t words_parse_age(const char *text, uint64_t unit_s);

/* ---- JSON: numbers as numbers, times twice, null for what is not known ---- */

/* Members `key` ("2026-11-21T14:32:07.123456Z") and `key`_us (microseconds UTC). 0: null. */
bool words_put_time(json_t *to, const char *key, uint64_t us, struct err *err) MUST;
/* null for UINT64_MAX, as in "not known". */
bool words_put_known(json_t *to, const char *key, uint64_t value, struct err *err) MUST;
/* "ok", "warning", "failed", "unknown" */
bool words_put_verdict(json_t *to, const char *key, int wire, struct err *err) MUST;
/* Bytes of a file name: what is not UTF-8 or a control sign becomes \xNN, a backslash \\. */
bool words_put_bytes(json_t *to, const char *key, const void *bytes, size_t len, struct err *err)
    MUST;
/* An object {key: [..]}; each element made by `one`. NULL with an error. */
json_t *words_list(const char *key, size_t count, void *const *items,
                   bool (*one)(const void *item, json_t *to, struct err *err), struct err *err)
    MUST;

/* How a run ended, on stdout. */
void words_print_run(const char *db, const char *run, enum verdict_kind kind, const char *phase,
                     const char *cause, const char *next, int exit_code);

/* ---- text ---- */

/* Appends without control signs and line ends, which become blanks; odd bytes become '?'. */
void words_append_line(struct str *out, const char *text);
