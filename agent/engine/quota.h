/* What a database host may add in a day: counted in the catalog, so that no restart forgets it.
 * A quota only refuses; it never deletes. On the engine's lane. */
#pragma once
#include "agent/catalog/catalog.h"
#include "agent/config/config.h"

/* QUOTA with the key, the bound, and when it is free again. */
bool quota_run(struct catalog *catalog, const struct config_served *db, struct err *err) MUST;
bool quota_snapshot(struct catalog *catalog, const struct config_served *db, struct err *err) MUST;

/* Counting a log's bytes means reading it: the count is kept, and read again for another run and
 * each hour. */
struct quota;
struct quota *quota_new(struct err *err) MUST;
void quota_free(struct quota *quota);
OWN_DEFINE(quota, struct quota, quota_free);
bool quota_log(struct quota *quota, struct catalog *catalog, const struct config_served *db,
               const char *job, uint64_t lines, uint64_t bytes, struct err *err) MUST;
