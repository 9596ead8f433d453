/* The outlook of one database: its snapshots' manifests and fact sheets, loaded, with the plan made
 * of them. On the engine's lane (it reads the catalog). */
#pragma once
#include "agent/catalog/catalog.h"
#include "agent/engine/planner.h"
#include "agent/engine/world.h"

struct outlook {
    struct plan_source *sources;   /* oldest first; the live area last, when known */
    struct catalog_snapshot *rows; /* beside sources, without the live area */
    struct manifest **manifests;   /* owned; the live one is borrowed */
    struct facts **facts;          /* owned */
    size_t count;                  /* sources */
    size_t snapshot_count;
    struct plan *plan;
};

/* live: a survey of the live area, or NULL; must outlive the outlook. */
struct outlook *outlook_load(struct catalog *catalog, const struct world *world,
                             const struct config_served *db, const struct manifest *live,
                             struct err *err) MUST;
void outlook_free(struct outlook *outlook);
OWN_DEFINE(outlook, struct outlook, outlook_free);
/* Index of a snapshot by name; SIZE_MAX when there is none. */
size_t outlook_find(const struct outlook *outlook, const char *snapshot);
/* The newest fact sheet; NULL when there is none. */
const struct facts *outlook_facts(const struct outlook *outlook);
