/* The outlook of one database: manifests and fact sheets, with the plan made of them. */
#include "agent/engine/outlook.h"

#include "agent/base/str.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- surveys of live areas ---- */

struct survey_kept {
    struct manifest *manifest;
    uint64_t id;
    _Atomic int refs;
};

struct survey_kept *survey_kept_new(struct manifest *manifest, struct err *err)
{
    static _Atomic uint64_t ids;
    struct survey_kept *kept = own_alloc(sizeof *kept, err);
    if (!kept) {
        manifest_free(manifest);
        return NULL;
    }
    kept->manifest = manifest;
    kept->id = ++ids;
    kept->refs = 1;
    return kept;
}

struct survey_kept *survey_kept_ref(struct survey_kept *kept)
{
    if (kept)
        kept->refs++;
    return kept;
}

void survey_kept_unref(struct survey_kept *kept)
{
    if (!kept || --kept->refs > 0)
        return;
    manifest_free(kept->manifest);
    own_free(kept);
}

const struct manifest *survey_kept_manifest(const struct survey_kept *kept)
{
    return kept ? kept->manifest : NULL;
}

uint64_t survey_kept_id(const struct survey_kept *kept) { return kept ? kept->id : 0; }

/* ---- looks ---- */

static size_t manifest_bytes(const struct manifest *manifest)
{
    size_t bytes = sizeof *manifest + manifest->capacity * sizeof *manifest->entries;
    for (size_t i = 0; i < manifest->count; i++)
        bytes += strlen(manifest->entries[i].path) + 17 +
                 manifest->entries[i].log.moment_count * sizeof(struct log_moment);
    return bytes;
}

static size_t facts_bytes(const struct facts *facts)
{
    return sizeof *facts + facts->incarnation_capacity * sizeof *facts->incarnations +
           facts->thread_capacity * sizeof *facts->threads +
           facts->file_capacity * sizeof *facts->files + facts->pdb_capacity * sizeof *facts->pdbs +
           facts->copy_capacity * sizeof *facts->copies +
           facts->moment_capacity * sizeof *facts->moments +
           facts->parameter_capacity * sizeof *facts->parameters +
           facts->dest_capacity * sizeof *facts->dests;
}

struct look *look_new(const char *name, const char *manifest, const char *facts, struct err *err)
{
    AUTO(look) struct look *look = own_alloc(sizeof *look, err);
    if (!look)
        return NULL;
    look->refs = 1;
    IGNORE(!str_copy(look->name, sizeof look->name, name)); /* of a row: it fits */
    look->manifest = manifest_from_json(manifest, strlen(manifest), err);
    if (!look->manifest)
        return err_null(err, "manifest of '%s'", name);
    if (facts && !(look->facts = facts_from_json(facts, strlen(facts), err)))
        return err_null(err, "fact sheet of '%s'", name);
    look->bytes = sizeof *look + manifest_bytes(look->manifest) +
                  (look->facts ? facts_bytes(look->facts) : 0);
    return TAKE(look);
}

struct look *look_ref(struct look *look)
{
    look->refs++;
    return look;
}

void look_unref(struct look *look)
{
    if (!look || --look->refs > 0)
        return;
    manifest_free(look->manifest);
    facts_free(look->facts);
    own_free(look);
}

/* ---- outlooks ---- */

static struct look *get_look(struct catalog *catalog, const struct catalog_snapshot *row,
                             const struct outlook_source *source, struct err *err)
{
    struct look *look = source && source->find ? source->find(source->arg, row->name) : NULL;
    if (look)
        return look_ref(look);
    AUTO(mem) char *manifest = NULL;
    AUTO(mem) char *facts = NULL;
    if (!catalog_snapshot_texts(catalog, row->database, row->name, &manifest, &facts, err))
        return NULL;
    look = look_new(row->name, manifest, facts, err);
    if (look && source && source->made)
        source->made(source->arg, look);
    return look;
}

static bool load_snapshot(struct outlook *o, struct catalog *catalog, size_t i,
                          const struct outlook_source *source, struct err *err)
{
    const struct catalog_snapshot *row = &o->rows[i];
    o->looks[i] = get_look(catalog, row, source, err);
    if (!o->looks[i])
        return false;
    o->manifests[i] = o->looks[i]->manifest;
    o->facts[i] = o->looks[i]->facts;
    o->sources[i] = (struct plan_source){
        .name = row->name,
        .kind = row->kind,
        .run = row->run,
        .created_us = row->created_us,
        .manifest = o->manifests[i],
        .facts = o->facts[i],
        .mid_merge = row->mid_merge,
        .bad_blocks = row->bad_blocks,
    };
    return true;
}

static bool make_room(struct outlook *o, size_t count, struct err *err)
{
    o->sources = own_alloc(sizeof *o->sources * (count + 2), err);
    o->looks = own_alloc(sizeof(void *) * (count + 1), err);
    o->manifests = own_alloc(sizeof(void *) * (count + 1), err);
    o->facts = own_alloc(sizeof(void *) * (count + 1), err);
    return o->sources && o->looks && o->manifests && o->facts;
}

struct outlook *outlook_load(struct catalog *catalog, const struct world *world,
                             const struct config_served *db, struct survey_kept *live,
                             const struct outlook_source *source, struct err *err)
{
    AUTO(outlook) struct outlook *o = own_alloc(sizeof *o, err);
    if (!o)
        return NULL;
    o->refs = 1;
    size_t count;
    o->rows = catalog_snapshot_list(catalog, db->name, &count, err);
    if (!o->rows || !make_room(o, count, err))
        return NULL;
    o->snapshot_count = count;
    o->count = count + (live != NULL);
    for (size_t i = 0; i < count; i++)
        if (!load_snapshot(o, catalog, i, source, err))
            return NULL;
    o->live = survey_kept_ref(live);
    if (live)
        o->sources[count] = (struct plan_source){.name = "",
                                                 .kind = "",
                                                 .run = "",
                                                 .created_us = live->manifest->made_us,
                                                 .manifest = live->manifest};
    o->plan = plan_new(o->sources, o->count, world_can_compose(world, db), err);
    if (!o->plan)
        return NULL;
    o->bytes = sizeof *o + plan_bytes(o->plan) +
               count * (sizeof *o->rows + sizeof *o->sources + 3 * sizeof(void *));
    return TAKE(o);
}

struct outlook *outlook_ref(struct outlook *o)
{
    o->refs++;
    return o;
}

void outlook_free(struct outlook *o)
{
    if (!o || --o->refs > 0)
        return;
    plan_free(o->plan);
    for (size_t i = 0; o->looks && i < o->snapshot_count; i++)
        look_unref(o->looks[i]);
    survey_kept_unref(o->live);
    own_free(o->looks);
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
