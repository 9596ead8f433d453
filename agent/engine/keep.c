/* What retention decides for one database, and the job that carries it out. */
#include "agent/engine/keep.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include <inttypes.h>
#include <string.h>

#define NOTE_KEY "retention"
enum {
    TRIES_MAX = 5,
    RETRY_MS = 500,
    POLL_MS = 1000,
    WAIT_MS = 200,
    WAIT_MOST_MS = 600000,
    VERDICT_WIRE_WARNING = 2
};

/* ---- the decision ---- */

void keep_free(struct keep *keep)
{
    if (!keep)
        return;
    retention_free(keep->decision);
    outlook_free(keep->outlook);
    zone_free(keep->zone);
    own_free(keep->holds);
    own_free(keep->locks);
    own_free(keep->clones);
    own_free(keep->extras);
    own_free(keep->hold_texts);
    own_free(keep->clone_names);
    own_free(keep);
}

/* Rows of one snapshot become neighbours in the lists the decision reads. */
static void fill_extra(struct keep *keep, size_t i, size_t *holds, size_t *clones,
                       const struct guard_mark *now)
{
    const struct catalog_snapshot *row = &keep->outlook->rows[i];
    struct retention_snapshot *extra = &keep->extras[i];
    *extra = (struct retention_snapshot){.id = row->driver_id,
                                         .durability = row->durability,
                                         .holds = &keep->hold_texts[*holds],
                                         .clones = &keep->clone_names[*clones]};
    for (size_t h = 0; h < keep->hold_count; h++)
        if (str_equal(keep->holds[h].snapshot, row->name)) {
            keep->hold_texts[(*holds)++] = (struct retention_hold){
                keep->holds[h].owner, keep->holds[h].reason, keep->holds[h].until_us};
            extra->hold_count++;
        }
    for (size_t c = 0; c < keep->clone_count; c++)
        if (str_equal(keep->clones[c].snapshot, row->name)) {
            keep->clone_names[(*clones)++] = keep->clones[c].name;
            extra->clone_count++;
        }
    for (size_t l = 0; l < keep->lock_count; l++)
        if (str_equal(keep->locks[l].snapshot, row->name)) {
            extra->lock_left_ms = mark_lock_left_ms(&keep->locks[l], now);
            extra->lock_by_storage = keep->locks[l].by_storage;
        }
}

static bool load(struct keep *keep, struct catalog *catalog, const struct world *world,
                 const struct config_served *db, struct outlook *outlook, struct err *err)
{
    keep->outlook =
        outlook ? outlook_ref(outlook) : outlook_load(catalog, world, db, NULL, NULL, err);
    keep->holds =
        keep->outlook ? catalog_hold_list(catalog, db->name, &keep->hold_count, err) : NULL;
    keep->locks = keep->holds ? catalog_lock_list(catalog, db->name, &keep->lock_count, err) : NULL;
    keep->clones =
        keep->locks ? catalog_clone_list(catalog, db->name, &keep->clone_count, err) : NULL;
    keep->zone = keep->clones ? zone_load(db->zone, err) : NULL;
    if (!keep->zone)
        return false;
    keep->extras = own_alloc(sizeof *keep->extras * (keep->outlook->snapshot_count + 1), err);
    keep->hold_texts = own_alloc(sizeof *keep->hold_texts * (keep->hold_count + 1), err);
    keep->clone_names = own_alloc(sizeof *keep->clone_names * (keep->clone_count + 1), err);
    return keep->extras && keep->hold_texts && keep->clone_names;
}

struct keep *keep_decide(struct catalog *catalog, const struct world *world,
                         const struct config_served *db, struct outlook *outlook, struct err *err)
{
    AUTO(keep) struct keep *keep = own_alloc(sizeof *keep, err);
    struct guard_mark now;
    size_t holds = 0;
    size_t clones = 0;
    if (!keep || !load(keep, catalog, world, db, outlook, err))
        return NULL;
    guard_now(&now);
    for (size_t i = 0; i < keep->outlook->snapshot_count; i++)
        fill_extra(keep, i, &holds, &clones, &now);
    const struct retention_input input = {.sources = keep->outlook->sources,
                                          .snapshots = keep->extras,
                                          .count = keep->outlook->snapshot_count,
                                          .can_compose = world_can_compose(world, db),
                                          .policy = &db->retention,
                                          .zone = keep->zone,
                                          .now_us = now.wall_us};
    keep->decision = retention_make(&input, err);
    return keep->decision ? TAKE(keep) : NULL;
}

/* ---- arguments ---- */

static bool add_going(json_t *list, const struct catalog_snapshot *row, struct err *err)
{
    json_t *one = json_object();
    return json_add(list, one, err) && json_put_text(one, "name", row->name, err) &&
           json_put_text(one, "id", row->driver_id, err);
}

static json_t *args_of(const char *database, const char *plan, json_t **ret_list, struct err *err)
{
    AUTO(json) json_t *args = json_object();
    *ret_list = json_array();
    if (!json_put(args, "going", *ret_list, err) ||
        !json_put_text(args, "database", database, err) || !json_put_text(args, "plan", plan, err))
        return NULL;
    return TAKE(args);
}

json_t *keep_apply_args(const struct keep *keep, const char *database, struct err *err)
{
    json_t *list;
    AUTO(json) json_t *args = args_of(database, retention_id(keep->decision), &list, err);
    for (size_t i = 0; args && i < keep->outlook->snapshot_count; i++)
        if (!retention_keeps(keep->decision, i) && !add_going(list, &keep->outlook->rows[i], err))
            return NULL;
    return TAKE(args);
}

json_t *keep_delete_args(const struct keep *keep, size_t i, struct err *err)
{
    json_t *list;
    AUTO(json) json_t *args = args_of(keep->outlook->rows[i].database, "", &list, err);
    return args && add_going(list, &keep->outlook->rows[i], err) ? TAKE(args) : NULL;
}

static bool runs_any(struct catalog *catalog, const char *database, const char *kind,
                     struct catalog_job *ret, bool *ret_any, struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_job *jobs =
        catalog_job_list(catalog, database, kind, JOB_RUNNING, 1, &count, err);
    *ret_any = jobs && count;
    if (*ret_any)
        *ret = jobs[0];
    return jobs != NULL;
}

bool keep_is_idle(struct catalog *catalog, const char *database, struct err *err)
{
    struct catalog_job job;
    bool any;
    return runs_any(catalog, database, "retention", &job, &any, err) &&
           (!any || err_set(err, ERR_BUSY,
                            "retention is deleting snapshots of '%s' just now (%s): try again "
                            "in a moment",
                            database, job.id));
}

/* ---- what came of it ---- */

bool keep_note(struct catalog *catalog, const char *database, uint64_t at_us, const char *why,
               struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    if (!json_put_u64(doc, "at_us", at_us, err) || !json_put_text(doc, "why", why, err))
        return false;
    AUTO(mem) char *text = json_format(doc, err);
    return text && catalog_note_put(catalog, database, NOTE_KEY, text, err);
}

/* A job that failed could not note it. */
static bool failed_since(struct catalog *catalog, const char *database, uint64_t at_us,
                         char ret[400], struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_job *job = catalog_job_last(catalog, database, "retention", 1, &count, err);
    if (job && count && job->parent[0] && job->started_us >= at_us &&
        (job->state == JOB_FAILED || job->state == JOB_SWEPT))
        IGNORE(!str_copy(ret, 400, job->cause)); /* cut is fine */
    return job != NULL;
}

bool keep_trouble(struct catalog *catalog, const char *database, char ret[400], struct err *err)
{
    struct err why = {0};
    ret[0] = '\0';
    AUTO(mem) char *text = catalog_note_get(catalog, database, NOTE_KEY, &why);
    if (!text && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    AUTO(json) json_t *doc = text ? json_parse(text, strlen(text), err) : json_object();
    if (!doc)
        return false;
    IGNORE(!str_copy(ret, 400, json_text(doc, "why"))); /* cut is fine */
    return ret[0] || failed_since(catalog, database, json_u64(doc, "at_us"), ret, err);
}

/* ---- the job ---- */

static const struct config_served *served(const struct job *job, struct err *err)
{
    return world_database(job->world, json_text(job->document, "database"), err);
}

static const json_t *current(const struct job *job)
{
    return json_array_get(json_object_get(job->document, "going"),
                          (size_t)json_u64(job->document, "next"));
}

/* Nothing more goes; what is gone is still settled. */
static bool stop(struct job *job, const char *why, struct err *err)
{
    return json_put_text(job->document, "stopped", why, err);
}

static bool look_at_plan(struct job *job, struct catalog *catalog, const struct config_served *db,
                         struct err *err)
{
    const char *plan = json_text(job->document, "plan");
    AUTO(keep) struct keep *keep = keep_decide(catalog, job->world, db, NULL, err);
    if (!keep)
        return false;
    if (plan[0])
        return str_equal(retention_id(keep->decision), plan) ||
               stop(job, "the plan changed: preview again", err);
    struct err why = {0};
    size_t i = outlook_find(keep->outlook, json_text(current(job), "name"));
    if (i == SIZE_MAX || retention_may_delete(keep->decision, i, &why))
        return true;
    if (why.code != ERR_PRECONDITION) {
        *err = why;
        return false;
    }
    return stop(job, why.text, err);
}

/* Another job may stay for good, one whose undoing failed until the next start: it must not hold up
 * everything else of its database. */
static bool wait_for(struct job *job, const struct catalog_job *other, struct err *err)
{
    uint64_t now_ms = clock_boot_ms();
    uint64_t since_ms = json_u64(job->document, "wait_since_ms");
    char why[160];
    if (since_ms && now_ms > since_ms + WAIT_MOST_MS) {
        IGNORE(!str_format(why, sizeof why,
                           "%.40s has been at work for more than %d minutes; hint: 'evercopy log "
                           "%.40s'",
                           other->id, WAIT_MOST_MS / 60000, other->id)); /* fits */
        return stop(job, why, err);
    }
    return since_ms || json_put_u64(job->document, "wait_since_ms", now_ms ? now_ms : 1, err);
}

/* Right before each deletion: is the clock believed, does the plan hold, is nobody just taking hold
 * of a snapshot? */
static bool look(struct job *job, struct catalog *catalog, struct err *err)
{
    static const char *const others[] = {"clone", "mark"};
    struct catalog_job other;
    struct err why = {0};
    bool wait = false;
    const struct config_served *db = served(job, err);
    if (!db)
        return false;
    if (!str_equal(job->row.step, "delete") || json_text(job->document, "stopped")[0])
        return true;
    if (job->row.cancelled_by[0]) {
        IGNORE(!str_format(why.text, sizeof why.text, "cancelled by %.160s",
                           job->row.cancelled_by)); /* fits */
        return stop(job, why.text, err);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others && !wait; i++)
        if (!runs_any(catalog, db->name, others[i], &other, &wait, err))
            return false;
    if (!json_put_flag(job->document, "wait", wait, err))
        return false;
    if (wait)
        return wait_for(job, &other, err);
    if (!json_put_u64(job->document, "wait_since_ms", 0, err))
        return false;
    if (!guard_check(catalog, &why))
        return stop(job, why.text, err);
    return look_at_plan(job, catalog, db, err);
}

static bool is_listed(const struct driver_snapshot_info *list, size_t count, const char *name,
                      size_t *ret_at)
{
    for (*ret_at = 0; *ret_at < count; ++*ret_at)
        if (str_equal(list[*ret_at].name, name))
            return true;
    return false;
}

/* What the storage itself says against it: the catalog may be younger than the snapshot. */
static bool storage_allows(struct job *job, const struct config_served *db,
                           const struct driver_snapshot_info *info, struct err *err)
{
    struct guard_mark now;
    struct err why = {0};
    const char *id = json_text(current(job), "id");
    guard_now(&now);
    if (id[0] && !str_equal(id, info->id))
        return err_set(err, ERR_PRECONDITION, "snapshot '%s' is another one than was decided upon",
                       info->name);
    if (info->clone_count)
        return err_set(err, ERR_PRECONDITION, "the storage counts %" PRIu32 " clones of '%s'",
                       info->clone_count, info->name);
    if (info->locked_until_boot_ms > now.boot_ms)
        return err_set(err, ERR_PRECONDITION, "the storage has locked '%s'", info->name);
    AUTO(mem)
    char *note = driver_note_get(world_driver(job->world, db), db->volume, info->name, NULL, &why);
    if (!note && why.code != ERR_NOT_FOUND && why.code != ERR_UNSUPPORTED) {
        *err = why;
        return false;
    }
    return marks_allow_delete(note, &now, err) || err_wrap(err, "snapshot '%s'", info->name);
}

static enum step_verdict again(struct job *job, uint64_t ms)
{
    job->again_ms = ms;
    return STEP_AGAIN;
}

static enum step_verdict next(struct job *job, struct err *err)
{
    uint64_t at = json_u64(job->document, "next") + 1;
    bool ok = json_put_u64(job->document, "next", at, err) &&
              json_put_u64(job->document, "tries", 0, err) &&
              json_put_text(job->document, "handle", "", err);
    return ok ? again(job, 1) : STEP_FAILED;
}

/* Busy storages are asked again; any other trouble ends the deleting, not the job: what is gone
 * must leave the catalog. */
static enum step_verdict trouble(struct job *job, const struct err *why, struct err *err)
{
    uint64_t tries = json_u64(job->document, "tries") + 1;
    if (err_is_transient(why->code) && tries <= TRIES_MAX)
        return json_put_u64(job->document, "tries", tries, err) ? again(job, RETRY_MS * tries)
                                                                : STEP_FAILED;
    return stop(job, why->text, err) ? STEP_DONE : STEP_FAILED;
}

static enum step_verdict poll_delete(struct job *job, const struct config_served *db,
                                     const char *handle_text, struct err *err)
{
    struct driver_handle handle = {0};
    struct err why = {0};
    bool done = false;
    IGNORE(!str_copy(handle.text, sizeof handle.text, handle_text));
    if (!driver_poll(world_driver(job->world, db), &handle, &done, &why))
        return trouble(job, &why, err);
    return done ? next(job, err) : again(job, POLL_MS);
}

static enum step_verdict delete_one(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    const char *handle_text = json_text(job->document, "handle");
    struct driver_handle handle = {0};
    struct err why = {0};
    size_t count, at;
    if (!db)
        return STEP_FAILED;
    if (handle_text[0])
        return poll_delete(job, db, handle_text, err);
    if (json_text(job->document, "stopped")[0] || !current(job))
        return STEP_DONE;
    if (json_flag(job->document, "wait"))
        return again(job, WAIT_MS);
    const char *name = json_text(current(job), "name");
    struct driver_ref *driver = world_driver(job->world, db);
    AUTO(mem)
    struct driver_snapshot_info *list = driver_snapshot_list(driver, db->volume, &count, &why);
    if (!list)
        return trouble(job, &why, err);
    if (!is_listed(list, count, name, &at))
        return next(job, err);
    if (!storage_allows(job, db, &list[at], &why) ||
        (!driver_snapshot_delete(driver, db->volume, name, &handle, &why) &&
         why.code != ERR_NOT_FOUND))
        return trouble(job, &why, err);
    if (!handle.text[0])
        return next(job, err);
    return json_put_text(job->document, "handle", handle.text, err) ? again(job, POLL_MS)
                                                                    : STEP_FAILED;
}

static enum step_verdict settle(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    const json_t *going = json_object_get(job->document, "going");
    size_t count, at;
    AUTO(mem)
    struct driver_snapshot_info *list =
        db ? driver_snapshot_list(world_driver(job->world, db), db->volume, &count, err) : NULL;
    json_t *gone = json_array();
    if (!json_put(job->document, "gone", gone, err) || !list)
        return STEP_FAILED;
    for (size_t i = 0; i < json_array_size(going); i++) {
        const char *name = json_text(json_array_get(going, i), "name");
        if (!is_listed(list, count, name, &at) && !json_add(gone, json_string(name), err))
            return STEP_FAILED;
    }
    const char *stopped = json_text(job->document, "stopped");
    if (stopped[0]) {
        job->row.verdict = VERDICT_WIRE_WARNING;
        IGNORE(!str_format(job->row.cause, sizeof job->row.cause,
                           "stopped after %zu of %zu snapshots: %.400s", json_array_size(gone),
                           json_array_size(going), stopped));
    }
    return STEP_DONE;
}

static bool commit(struct job *job, struct catalog *catalog, struct err *err)
{
    const char *database = json_text(job->document, "database");
    const json_t *gone = json_object_get(job->document, "gone");
    for (size_t i = 0; i < json_array_size(gone); i++) {
        const char *name = json_string_value(json_array_get(gone, i));
        struct err why = {0};
        if (!catalog_snapshot_delete(catalog, database, name, &why) && why.code != ERR_NOT_FOUND) {
            *err = why;
            return false;
        }
        if (!catalog_marks_drop(catalog, database, name, err))
            return false;
    }
    /* One by hand that stopped was told to who asked; what it did is done. */
    const char *stopped = json_text(job->document, "stopped");
    return !json_text(job->document, "plan")[0] || (stopped[0] && !job->row.parent[0]) ||
           keep_note(catalog, database, job->row.started_us, stopped, err);
}

static const struct job_step steps[] = {{"delete", delete_one}, {"settle", settle}};
const struct job_kind job_kind_retention = {
    .name = "retention",
    .steps = steps,
    .step_count = sizeof steps / sizeof *steps,
    .look = look,
    .commit = commit,
    .winds_down = true,
};
