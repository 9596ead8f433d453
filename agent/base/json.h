/* JSON through jansson, with errors and cleanup of the house. The only header that names it. */
#pragma once
#include "agent/base/own.h"
#include <jansson.h>
#include <stdint.h>

OWN_DEFINE(json, json_t, json_decref); /* AUTO(json) json_t *doc = ...; */

/* Parses a whole document of at most 64 MiB; duplicate keys are an error. NULL with INVALID,
 * LIMIT when it is longer. */
json_t *json_parse(const char *text, size_t len, struct err *err) MUST;
/* Compact, keys in insertion order; owned by the caller. */
char *json_format(const json_t *doc, struct err *err) MUST;
/* Indented by two, ends in a line end; for people and files. */
char *json_format_pretty(const json_t *doc, struct err *err) MUST;

/* Members; the defaults when absent or of another type. */
const char *json_text(const json_t *object, const char *key); /* "" when absent */
uint64_t json_u64(const json_t *object, const char *key);     /* 0 when absent or negative */
bool json_flag(const json_t *object, const char *key);        /* false when absent */
/* Setters that swallow nothing: false only with NO_MEMORY, invalid UTF-8 or a number above
 * INT64_MAX. */
bool json_put_text(json_t *object, const char *key, const char *text, struct err *err) MUST;
bool json_put_u64(json_t *object, const char *key, uint64_t value, struct err *err) MUST;
bool json_put_flag(json_t *object, const char *key, bool value, struct err *err) MUST;
/* Takes over value (also on failure). */
bool json_put(json_t *object, const char *key, json_t *value, struct err *err) MUST;
bool json_add(json_t *array, json_t *value, struct err *err) MUST;
