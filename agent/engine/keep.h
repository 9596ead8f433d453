/* What retention decides for one database, from the catalog; and the job that carries it out.
 *
 *   apply -> [delete] look: plan id still holds? -> one snapshot -> again ... -> [settle] -> commit
 *                        |no: stopped, nothing more goes                ^
 *                        +-----------------------------------------------+
 * Rows of what the storage no longer lists leave the catalog in one transaction with the job's end;
 * until then the decision stays the same, and a restart goes on where it was. */
#pragma once
#include "agent/engine/marks.h"
#include "agent/engine/outlook.h"
#include "agent/engine/retention.h"

struct keep {
    struct outlook *outlook; /* its rows are the snapshots */
    struct catalog_hold *holds;
    struct catalog_lock *locks;
    struct catalog_clone *clones;
    size_t hold_count, lock_count, clone_count;
    struct zone *zone;
    struct retention_snapshot *extras;
    struct retention *decision;
    struct retention_hold *hold_texts;
    const char **clone_names;
};

/* On the engine's lane. outlook: as things stand, without the live area; NULL: read here. */
struct keep *keep_decide(struct catalog *catalog, const struct world *world,
                         const struct config_served *db, struct outlook *outlook, struct err *err)
    MUST;
void keep_free(struct keep *keep);
OWN_DEFINE(keep, struct keep, keep_free);

extern const struct job_kind job_kind_retention;
/* Everything the decision lets go, under its id. */
json_t *keep_apply_args(const struct keep *keep, const char *database, struct err *err) MUST;
/* This one snapshot, when nothing kept needs it. */
json_t *keep_delete_args(const struct keep *keep, size_t snapshot, struct err *err) MUST;
/* BUSY while a retention job of that database is at work: what is to be held, locked or cloned now
 * might just be going. */
bool keep_is_idle(struct catalog *catalog, const char *database, struct err *err) MUST;

/* What came of it last without anybody asking, kept as a note: why "" when it could do its work. */
bool keep_note(struct catalog *catalog, const char *database, uint64_t at_us, const char *why,
               struct err *err) MUST;
/* In ret why snapshots that should have gone by themselves are still there: the last automatic
 * retention was refused, stopped or failed, and none by hand has done it since. "": nothing known.
 */
bool keep_trouble(struct catalog *catalog, const char *database, char ret[400], struct err *err)
    MUST;
