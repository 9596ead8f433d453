/* The clone jobs: a whole snapshot or just the files of a recipe; and their end. */
#include "agent/engine/acts.h"

#include "agent/base/str.h"
#include <stdlib.h>
#include <string.h>

enum { MOUNT_MAX = 512, USED_AGAIN_MS = 200 };

bool clone_name_is_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > CLONE_NAME_MAX || name[0] == '_' || name[0] == '-')
        return false;
    for (const char *p = name; *p; p++) {
        bool letter = (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z');
        if (!letter && !(*p >= '0' && *p <= '9') && *p != '_' && *p != '-')
            return false;
    }
    return true;
}

static bool add_parts(json_t *list, const struct plan_part *parts, size_t count,
                      const struct plan_source *sources, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        json_t *part = json_object();
        if (!json_add(list, part, err) ||
            !json_put_text(part, "snapshot", sources[parts[i].source].name, err) ||
            !json_put_text(part, "path", parts[i].entry->path, err))
            return false;
    }
    return true;
}

static json_t *parts_of(const struct plan_recipe *recipe, const struct plan_source *sources,
                        struct err *err)
{
    AUTO(json) json_t *list = json_array();
    json_t *cf = json_object();
    if (!add_parts(list, recipe->files, recipe->file_count, sources, err) ||
        !add_parts(list, recipe->logs, recipe->log_count, sources, err) ||
        !json_add(list, cf, err) ||
        !json_put_text(cf, "snapshot", sources[recipe->controlfile_source].name, err) ||
        !json_put_text(cf, "path", recipe->controlfile, err))
        return NULL;
    return TAKE(list);
}

json_t *clone_args(const struct catalog_clone *clone, const struct plan_recipe *recipe,
                   const struct plan_source *sources, struct err *err)
{
    AUTO(json) json_t *args = json_object();
    if (!json_put_text(args, "database", clone->database, err) ||
        !json_put_text(args, "name", clone->name, err) ||
        !json_put_text(args, "snapshot", clone->snapshot, err) ||
        !json_put_text(args, "owner", clone->owner, err) ||
        !json_put_text(args, "purpose", clone->purpose, err) ||
        !json_put_u64(args, "scn", clone->scn, err) ||
        !json_put_u64(args, "created_us", clone->created_us, err) ||
        !json_put_u64(args, "expires_us", clone->expires_us, err))
        return NULL;
    if (recipe) {
        json_t *parts = parts_of(recipe, sources, err);
        if (!parts || !json_put(args, "parts", parts, err))
            return NULL;
    }
    return TAKE(args);
}

json_t *clone_extend_args(const struct catalog_clone *clone, uint64_t until_us, struct err *err)
{
    struct catalog_clone longer = *clone;
    longer.expires_us = until_us;
    AUTO(json) json_t *args = clone_args(&longer, NULL, NULL, err);
    return args && json_put_u64(args, "was_us", clone->expires_us, err) ? TAKE(args) : NULL;
}

json_t *clone_drop_args(const char *database, const char *name, bool force, struct err *err)
{
    AUTO(json) json_t *args = json_object();
    if (!json_put_text(args, "database", database, err) ||
        !json_put_text(args, "name", name, err) ||
        (force && !json_put_flag(args, "force", true, err)))
        return NULL;
    return TAKE(args);
}

static const struct config_served *served(struct job *job, struct err *err)
{
    return job_database(job, err);
}

/* Borrowed from the document; NULL with *ret_count 0 for a whole snapshot. */
static struct driver_part *read_parts(const json_t *document, size_t *ret_count, struct err *err)
{
    const json_t *list = json_object_get(document, "parts");
    size_t count = json_array_size(list);
    struct driver_part *parts = own_alloc(sizeof *parts * (count + 1), err);
    for (size_t i = 0; parts && i < count; i++) {
        const json_t *part = json_array_get(list, i);
        const char *snapshot = json_text(part, "snapshot");
        parts[i] =
            (struct driver_part){snapshot[0] ? snapshot : NULL, json_text(part, "path"), NULL};
    }
    *ret_count = count;
    return parts;
}

static bool is_listed(struct job *job, const struct config_served *db, bool *ret_listed,
                      struct err *err)
{
    size_t count = 0;
    AUTO(mem)
    struct driver_clone_info *list =
        driver_clone_list(world_driver(job->world, db), db->volume, &count, err);
    if (!list)
        return false;
    *ret_listed = false;
    for (size_t i = 0; i < count; i++)
        *ret_listed |= str_equal(list[i].name, json_text(job->document, "name"));
    return true;
}

/* From here on a thing of that name is this job's own; the service starts no second job for it. */
static enum step_verdict reserve(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    bool listed;
    if (!db || !is_listed(job, db, &listed, err))
        return STEP_FAILED;
    if (listed) {
        err_set(err, ERR_EXISTS, "clone '%s' exists already", json_text(job->document, "name"));
        return STEP_FAILED;
    }
    return json_put_flag(job->document, "reserved", true, err) ? STEP_DONE : STEP_FAILED;
}

static enum step_verdict make(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    size_t count;
    AUTO(mem) struct driver_part *parts = read_parts(job->document, &count, err);
    if (!db || !parts)
        return STEP_FAILED;
    const char *snapshot = json_text(job->document, "snapshot");
    struct driver_handle handle;
    struct err why = {0};
    if (!driver_clone_create(world_driver(job->world, db), db->volume,
                             json_text(job->document, "name"), snapshot[0] ? snapshot : NULL,
                             count ? parts : NULL, count, &handle, &why) &&
        !(why.code == ERR_EXISTS && (job->resumed || job->tries))) {
        *err = why;
        return STEP_FAILED;
    }
    return STEP_DONE;
}

/* What the clone says of itself, on its storage (DESIGN promise 6). */
static bool put_label(struct job *job, uint64_t expires_us, struct err *err)
{
    static const char *const keys[] = {"database", "owner", "purpose", "snapshot"};
    const struct config_served *db = served(job, err);
    if (!db)
        return false;
    AUTO(json) json_t *note = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!json_put_text(note, keys[i], json_text(job->document, keys[i]), err))
            return false;
    if (!json_put_u64(note, "scn", json_u64(job->document, "scn"), err) ||
        !json_put_u64(note, "expires_us", expires_us, err))
        return false;
    AUTO(mem) char *text = json_format(note, err);
    return text && driver_note_put(world_driver(job->world, db), db->volume, NULL,
                                   json_text(job->document, "name"), text, err);
}

static enum step_verdict label(struct job *job, struct err *err)
{
    char mount[MOUNT_MAX];
    if (!put_label(job, json_u64(job->document, "expires_us"), err))
        return STEP_FAILED;
    const struct config_served *db = served(job, err);
    bool ok = db &&
              driver_clone_mount(world_driver(job->world, db), db->volume,
                                 json_text(job->document, "name"), mount, sizeof mount, err) &&
              json_put_text(job->document, "mount", mount, err);
    return ok ? STEP_DONE : STEP_FAILED;
}

static bool delete_clone(struct job *job, bool wrest, struct err *err)
{
    const struct config_served *db = served(job, err);
    const char *name = json_text(job->document, "name");
    struct err why = {0};
    if (!db)
        return false;
    struct driver_ref *d = world_driver(job->world, db);
    if ((wrest ? driver_clone_wrest(d, db->volume, name, NULL, &why)
               : driver_clone_delete(d, db->volume, name, NULL, &why)) ||
        why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static bool undo(struct job *job, struct err *err)
{
    /* Nobody was told of it yet: who uses it guessed its name. */
    return !json_flag(job->document, "reserved") || delete_clone(job, true, err);
}

static bool commit(struct job *job, struct catalog *catalog, struct err *err)
{
    const json_t *doc = job->document;
    struct catalog_clone row = {
        .scn = json_u64(doc, "scn"),
        .created_us = json_u64(doc, "created_us"),
        .expires_us = json_u64(doc, "expires_us"),
    };
    IGNORE(!str_copy(row.database, sizeof row.database, json_text(doc, "database")));
    IGNORE(!str_copy(row.name, sizeof row.name, json_text(doc, "name")));
    IGNORE(!str_copy(row.snapshot, sizeof row.snapshot, json_text(doc, "snapshot")));
    IGNORE(!str_copy(row.owner, sizeof row.owner, json_text(doc, "owner")));
    IGNORE(!str_copy(row.purpose, sizeof row.purpose, json_text(doc, "purpose")));
    IGNORE(!str_copy(row.mount, sizeof row.mount, json_text(doc, "mount")));
    return catalog_clone_put(catalog, &row, err);
}

/* A delete that failed late may have done its work: what is gone must not stay in the catalog. */
static enum step_verdict drop(struct job *job, struct err *err)
{
    struct err why = {0};
    bool listed = true;
    if (delete_clone(job, json_flag(job->document, "force"), err))
        return STEP_DONE;
    if (err->code == ERR_BUSY) /* a reader of ours leaves at once, a client not within seconds */
        job->again_ms = USED_AGAIN_MS;
    const struct config_served *db = served(job, &why);
    return db && is_listed(job, db, &listed, &why) && !listed ? STEP_DONE : STEP_FAILED;
}

static bool commit_drop(struct job *job, struct catalog *catalog, struct err *err)
{
    struct err why = {0};
    if (catalog_clone_delete(catalog, json_text(job->document, "database"),
                             json_text(job->document, "name"), &why) ||
        why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static const struct job_step clone_steps[] = {
    {"reserve", reserve}, {"make", make}, {"label", label}};
const struct job_kind job_kind_clone = {
    .name = "clone",
    .steps = clone_steps,
    .step_count = sizeof clone_steps / sizeof *clone_steps,
    .undo = undo,
    .commit = commit,
};

/* A clone that went meanwhile must not come back as a row. */
static bool commit_extend(struct job *job, struct catalog *catalog, struct err *err)
{
    struct catalog_clone row;
    return catalog_clone_get(catalog, json_text(job->document, "database"),
                             json_text(job->document, "name"), &row, err) &&
           commit(job, catalog, err);
}

/* The label goes back to the end the catalog knows; a clone that is gone needs none. */
static bool undo_extend(struct job *job, struct err *err)
{
    struct err why = {0};
    if (put_label(job, json_u64(job->document, "was_us"), &why) || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static const struct job_step extend_steps[] = {{"label", label}};
const struct job_kind job_kind_clone_extend = {
    .name = "clone-extend",
    .steps = extend_steps,
    .step_count = 1,
    .undo = undo_extend,
    .commit = commit_extend,
};

static const struct job_step drop_steps[] = {{"drop", drop}};
const struct job_kind job_kind_clone_drop = {
    .name = "clone-drop",
    .steps = drop_steps,
    .step_count = 1,
    .commit = commit_drop,
};
