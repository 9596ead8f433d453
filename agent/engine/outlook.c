/* The outlook of one database: manifests and fact sheets, with the plan made of them. */
#include "agent/engine/outlook.h"

#include "agent/base/str.h"
#include <stdlib.h>
#include <string.h>

static bool load_snapshot(struct outlook *o, struct catalog *catalog, size_t i, struct err *err)
{
    const struct catalog_snapshot *row = &o->rows[i];
    AUTO(mem) char *manifest = NULL;
    AUTO(mem) char *facts = NULL;
    if (!catalog_snapshot_texts(catalog, row->database, row->name, &manifest, &facts, err))
        return false;
    o->manifests[i] = manifest_from_json(manifest, strlen(manifest), err);
    if (!o->manifests[i])
        return err_wrap(err, "manifest of '%s'", row->name);
    if (facts && !(o->facts[i] = facts_from_json(facts, strlen(facts), err)))
        return err_wrap(err, "fact sheet of '%s'", row->name);
    o->sources[i] = (struct plan_source){
        .name = row->name,
        .kind = row->kind,
        .run = row->run,
        .created_us = row->created_us,
        .manifest = o->manifests[i],
        .facts = o->facts[i],
        .mid_merge = row->mid_merge,
    };
    return true;
}

struct outlook *outlook_load(struct catalog *catalog, const struct world *world,
                             const struct config_served *db, const struct manifest *live,
                             struct err *err)
{
    AUTO(outlook) struct outlook *o = own_alloc(sizeof *o, err);
    if (!o)
        return NULL;
    size_t count;
    o->rows = catalog_snapshot_list(catalog, db->name, &count, err);
    if (!o->rows)
        return NULL;
    o->snapshot_count = count;
    o->count = count + (live != NULL);
    o->sources = own_alloc(sizeof *o->sources * (o->count + 1), err);
    o->manifests = own_alloc(sizeof(void *) * (count + 1), err);
    o->facts = own_alloc(sizeof(void *) * (count + 1), err);
    if (!o->sources || !o->manifests || !o->facts)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (!load_snapshot(o, catalog, i, err))
            return NULL;
    if (live)
        o->sources[count] = (struct plan_source){
            .name = "", .kind = "", .run = "", .created_us = live->made_us, .manifest = live};
    o->plan = plan_new(o->sources, o->count, world_can_compose(world, db), err);
    return o->plan ? TAKE(o) : NULL;
}

void outlook_free(struct outlook *o)
{
    if (!o)
        return;
    plan_free(o->plan);
    for (size_t i = 0; i < o->snapshot_count; i++) {
        if (o->manifests)
            manifest_free(o->manifests[i]);
        if (o->facts)
            facts_free(o->facts[i]);
    }
    own_free(o->manifests);
    own_free(o->facts);
    own_free(o->sources);
    own_free(o->rows);
    own_free(o);
}

size_t outlook_find(const struct outlook *o, const char *snapshot)
{
    for (size_t i = 0; i < o->snapshot_count; i++)
        if (str_equal(o->rows[i].name, snapshot))
            return i;
    return SIZE_MAX;
}

const struct facts *outlook_facts(const struct outlook *o)
{
    for (size_t i = o->snapshot_count; i-- > 0;)
        if (o->facts[i])
            return o->facts[i];
    return NULL;
}
