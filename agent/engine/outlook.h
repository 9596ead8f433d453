/* The outlook of one database: its snapshots' manifests and fact sheets, parsed, with the plan made
 * of them. Never changes once made; shared by references that may be dropped on any thread. Made on
 * the engine's lane (it reads the catalog); agent/engine/shelf.h keeps them between calls. */
#pragma once
#include "agent/catalog/catalog.h"
#include "agent/engine/planner.h"
#include "agent/engine/world.h"

/* A survey of a live area, shared. */
struct survey_kept;
/* Takes the manifest over, also on failure. */
struct survey_kept *survey_kept_new(struct manifest *manifest, struct err *err) MUST;
struct survey_kept *survey_kept_ref(struct survey_kept *kept); /* NULL gives NULL */
void survey_kept_unref(struct survey_kept *kept);
const struct manifest *survey_kept_manifest(const struct survey_kept *kept); /* of NULL: NULL */
/* Never the same for two surveys of this process; 0 for NULL. */
uint64_t survey_kept_id(const struct survey_kept *kept);

/* What one snapshot's texts say, shared by all outlooks it is part of. */
struct look {
    char name[128];
    struct manifest *manifest;
    struct facts *facts; /* NULL: no sheet */
    size_t bytes;        /* of memory, about */
    _Atomic int refs;
};
/* Parses; any thread. facts may be NULL. */
struct look *look_new(const char *name, const char *manifest, const char *facts, struct err *err)
    MUST;
struct look *look_ref(struct look *look);
void look_unref(struct look *look);
OWN_DEFINE(look, struct look, look_unref);

struct outlook {
    struct plan_source *sources;       /* oldest first; the live area last, when known */
    struct catalog_snapshot *rows;     /* beside sources, without the live area */
    struct look **looks;               /* beside rows */
    const struct manifest **manifests; /* of the looks */
    const struct facts **facts;        /* of the looks; NULL: no sheet */
    struct survey_kept *live;          /* NULL: never surveyed */
    size_t count;                      /* sources */
    size_t snapshot_count;
    struct plan *plan;
    size_t bytes; /* of memory, about, without the looks */
    _Atomic int refs;
};

/* find: a look that is there already, or NULL without an error; the outlook takes a reference.
 * made: told of each look that had to be parsed. Both may be NULL. */
struct outlook_source {
    struct look *(*find)(void *arg, const char *snapshot);
    void (*made)(void *arg, struct look *look);
    void *arg;
};
struct outlook *outlook_load(struct catalog *catalog, const struct world *world,
                             const struct config_served *db, struct survey_kept *live,
                             const struct outlook_source *source, struct err *err) MUST;
struct outlook *outlook_ref(struct outlook *outlook);
void outlook_free(struct outlook *outlook); /* drops a reference */
OWN_DEFINE(outlook, struct outlook, outlook_free);
/* Index of a snapshot by name; SIZE_MAX when there is none. */
size_t outlook_find(const struct outlook *outlook, const char *snapshot);
/* The newest fact sheet; NULL when there is none. */
const struct facts *outlook_facts(const struct outlook *outlook);
