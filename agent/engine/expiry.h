/* The end of clone leases. Expiry is wall time, as people ask for "until Friday": the agent drops a
 * clone whose time has come, by an ordinary job, and tries again when it is in use. On the engine's
 * lane. */
#pragma once
#include "agent/engine/job.h"

struct expiry;
struct expiry *expiry_new(struct engine *engine, struct err *err) MUST;
/* Before the engine is freed no job may tell it anything any more: free it after the engine. */
void expiry_free(struct expiry *expiry);
OWN_DEFINE(expiry, struct expiry, expiry_free);

/* Starts a drop for each clone whose time has come; none while the clock is not believed (guard.h),
 * as nothing else is deleted then. */
bool expiry_tick(struct expiry *expiry, struct err *err) MUST;
/* Why a clone whose time has come is still there; "" when nothing is known. */
const char *expiry_trouble(const struct expiry *expiry, const char *database, const char *name);

/* A job that works on that very clone now: ret_job is its id, "" for none. */
bool clone_job_of(struct catalog *catalog, const char *database, const char *name, char ret_job[40],
                  struct err *err) MUST;
