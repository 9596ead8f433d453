/* The lookout: sees what changed - jobs that ended, verdicts, room, clones past their time - and
 * tells hooks and the service manager. Decides nothing. */
#pragma once
#include "agent/base/loop.h"
#include "agent/engine/backup.h"
#include "agent/engine/events.h"
#include "agent/engine/job.h"

struct lookout;
struct lookout_options {
    struct loop *loop;
    struct engine *engine;
    struct world *world; /* its events; counted, the others are borrowed */
    /* How a database stands, on the engine's lane. */
    bool (*judge)(void *arg, const char *database, struct standing *ret, struct err *err);
    void *arg;
};
/* Begins with the job that ends first; on the loop. */
struct lookout *lookout_new(const struct lookout_options *options, struct err *err) MUST;
/* On the engine's lane: another configuration counts from now on. Memory that runs out leaves the
 * one before, and says so in the log. */
void lookout_set_world(struct lookout *lookout, struct world *world);
/* Boot is over: looks at databases and volumes from now on, every few seconds a part. */
void lookout_start(struct lookout *lookout);
void lookout_stop(struct lookout *lookout); /* on the loop; works under way end by themselves */
/* After the engine was freed. NULL is fine. */
void lookout_free(struct lookout *lookout);
OWN_DEFINE(lookout, struct lookout, lookout_free);

/* Why the volume of a database takes no changes, as its storage last said; "" when it does. */
bool lookout_closed(struct catalog *catalog, const char *database, char *ret, size_t size,
                    struct err *err) MUST;
/* Tells hooks, once each, which of the clones have outlived their time; also over restarts. On the
 * engine's lane. */
bool lookout_expired(struct catalog *catalog, struct events *events,
                     const struct catalog_clone *clones, size_t count, struct err *err) MUST;
