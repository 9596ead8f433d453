/* The job kinds of this agent: snapshot, clone, clone-drop, and the externally driven backup run.
 */
#pragma once
#include "agent/engine/job.h"
#include "agent/engine/planner.h"
#include "agent/engine/world.h"

extern const struct job_kind job_kind_snapshot;
extern const struct job_kind job_kind_clone;
extern const struct job_kind job_kind_clone_drop;
extern const struct job_kind job_kind_clone_extend;
extern const struct job_kind job_kind_backup;

enum { CLONE_NAME_MAX = 63 };

/* The database of the job's document. A job of before the agent's start waits for a storage that is
 * away without end: neither its work nor its undo can be done without. */
const struct config_served *job_database(struct job *job, struct err *err) MUST;

/* "<db>-<YYYYMMDD>T<HHMMSS>Z-<kind>" of now, with "-2", "-3" behind it in the same second. */
bool snapshot_name(struct catalog *catalog, const char *database, const char *kind,
                   char ret[DRIVER_NAME_MAX], struct err *err) MUST;
/* [A-Za-z0-9][A-Za-z0-9_-]{0,62} (CONTRACTS section 1) */
bool clone_name_is_valid(const char *name);

/* The document of a snapshot job. The fact sheet is looked for in the snapshot itself, as
 * .evercopy/facts-<run>.json; run "" asks for none. */
json_t *snapshot_args(const char *database, const char *name, const char *kind, const char *run,
                      uint32_t dbid, struct err *err) MUST;

/* recipe NULL: the whole snapshot. sources: those the recipe's indexes speak of. */
json_t *clone_args(const struct catalog_clone *clone, const struct plan_recipe *recipe,
                   const struct plan_source *sources, struct err *err) MUST;
/* force: though a client uses it. */
json_t *clone_drop_args(const char *database, const char *name, bool force, struct err *err) MUST;
/* clone: the row as it stands. */
json_t *clone_extend_args(const struct catalog_clone *clone, uint64_t until_us, struct err *err)
    MUST;
