/* What manifest.c shares with describe.c: one entry as JSON. */
#pragma once
#include "agent/base/json.h"
#include "agent/oracle/manifest.h"

/* Adds the entry's members to object. */
bool manifest_entry_to_json(const struct manifest_entry *entry, json_t *object, struct err *err)
    MUST;
