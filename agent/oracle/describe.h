/* One file, told to people: readable lines and JSON. */
#pragma once
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/oracle/block.h"
#include "agent/oracle/manifest.h"

/* Appends the lines of `evercopy identify FILE`. */
void oracle_describe(const struct manifest_entry *entry, struct str *out);
/* The manifest's members plus "text", "state_text" and times as text; owned by the caller. */
json_t *oracle_describe_json(const struct manifest_entry *entry, struct err *err) MUST;

/* Appends the outcome of a full scan: totals, highest SCN, and the first bad blocks with reason. */
void oracle_describe_scan(const struct block_summary *summary, struct str *out);
json_t *oracle_describe_scan_json(const struct block_summary *summary, struct err *err) MUST;
