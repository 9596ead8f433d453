/* Holds and locks: kept with the snapshot itself as a note, copied into the catalog. */
#include "agent/engine/marks.h"

#include "agent/base/str.h"
#include <inttypes.h>
#include <string.h>

enum { TICK_MS = 600000 };

static json_t *args_of(const char *action, const char *database, const char *snapshot,
                       struct err *err)
{
    AUTO(json) json_t *args = json_object();
    if (!json_put_text(args, "action", action, err) ||
        !json_put_text(args, "database", database, err) ||
        !json_put_text(args, "snapshot", snapshot, err))
        return NULL;
    return TAKE(args);
}

json_t *mark_hold_args(const struct catalog_hold *hold, struct err *err)
{
    AUTO(json) json_t *args = args_of("hold", hold->database, hold->snapshot, err);
    if (!args || !json_put_text(args, "owner", hold->owner, err) ||
        !json_put_text(args, "reason", hold->reason, err) ||
        !json_put_u64(args, "made_us", hold->made_us, err) ||
        !json_put_u64(args, "until_us", hold->until_us, err))
        return NULL;
    return TAKE(args);
}

json_t *mark_release_args(const char *database, const char *snapshot, const char *id,
                          struct err *err)
{
    AUTO(json) json_t *args = args_of("release", database, snapshot, err);
    if (!args || !json_put_text(args, "id", id, err))
        return NULL;
    return TAKE(args);
}

json_t *mark_lock_args(const char *database, const char *snapshot, uint64_t ms, bool by_storage,
                       struct err *err)
{
    struct guard_mark now;
    AUTO(json) json_t *args = args_of("lock", database, snapshot, err);
    guard_now(&now);
    if (!args || !json_put_u64(args, "left_ms", ms, err) ||
        !json_put_text(args, "boot_id", now.boot_id, err) ||
        !json_put_u64(args, "boot_ms", now.boot_ms, err) ||
        !json_put_flag(args, "by_storage", by_storage, err))
        return NULL;
    return TAKE(args);
}

uint64_t mark_lock_left_ms(const struct catalog_lock *lock, const struct guard_mark *now)
{
    bool same = now->boot_id[0] && str_equal(lock->boot_id, now->boot_id);
    uint64_t passed = same && now->boot_ms > lock->boot_ms ? now->boot_ms - lock->boot_ms : 0;
    return lock->left_ms > passed ? lock->left_ms - passed : 0;
}

bool marks_tick(struct catalog *catalog, struct err *err)
{
    struct guard_mark now;
    size_t count;
    guard_now(&now);
    AUTO(mem) struct catalog_lock *locks = catalog_lock_list(catalog, "", &count, err);
    for (size_t i = 0; locks && i < count; i++) {
        struct catalog_lock *lock = &locks[i];
        bool same = str_equal(lock->boot_id, now.boot_id);
        uint64_t left = mark_lock_left_ms(lock, &now);
        if (left && same && now.boot_ms < lock->boot_ms + TICK_MS)
            continue;
        lock->left_ms = left;
        lock->boot_ms = now.boot_ms;
        IGNORE(!str_copy(lock->boot_id, sizeof lock->boot_id, now.boot_id));
        if (!(left ? catalog_lock_put(catalog, lock, err)
                   : catalog_lock_delete(catalog, lock->database, lock->snapshot, err)))
            return false;
    }
    return locks != NULL;
}

/* ---- the note ---- */

static const struct config_served *served(const struct job *job, struct err *err)
{
    return world_database(job->world, json_text(job->document, "database"), err);
}

static json_t *read_note(const struct job *job, const struct config_served *db, struct err *err)
{
    struct err why = {0};
    AUTO(mem)
    char *text = driver_note_get(world_driver(job->world, db), db->volume,
                                 json_text(job->document, "snapshot"), NULL, &why);
    if (!text && why.code != ERR_NOT_FOUND) {
        *err = why;
        return NULL;
    }
    json_t *note = text ? json_parse(text, strlen(text), err) : json_object();
    if (!note && !text)
        err_set(err, ERR_NO_MEMORY, "note");
    if (note && !json_is_object(note)) {
        json_decref(note);
        err_set(err, ERR_CORRUPT, "the note of '%s' is no object",
                json_text(job->document, "snapshot"));
        return NULL;
    }
    return note;
}

static bool write_note(const struct job *job, const struct config_served *db, const json_t *note,
                       struct err *err)
{
    AUTO(mem) char *text = json_format(note, err);
    return text && driver_note_put(world_driver(job->world, db), db->volume,
                                   json_text(job->document, "snapshot"), NULL, text, err);
}

static size_t find_hold(const json_t *holds, const char *id)
{
    size_t i = 0;
    while (i < json_array_size(holds) && !str_equal(json_text(json_array_get(holds, i), "id"), id))
        i++;
    return i;
}

static bool add_hold(const struct job *job, json_t *note, struct err *err)
{
    json_t *holds = json_object_get(note, "holds");
    const json_t *doc = job->document;
    if (!json_is_array(holds)) {
        holds = json_array();
        if (!json_put(note, "holds", holds, err))
            return false;
    }
    if (find_hold(holds, job->row.id) < json_array_size(holds))
        return true;
    json_t *hold = json_object();
    return json_add(holds, hold, err) && json_put_text(hold, "id", job->row.id, err) &&
           json_put_text(hold, "owner", json_text(doc, "owner"), err) &&
           json_put_text(hold, "reason", json_text(doc, "reason"), err) &&
           json_put_u64(hold, "made_us", json_u64(doc, "made_us"), err) &&
           json_put_u64(hold, "until_us", json_u64(doc, "until_us"), err);
}

static void remove_hold(json_t *note, const char *id)
{
    json_t *holds = json_object_get(note, "holds");
    size_t at = find_hold(holds, id);
    if (at < json_array_size(holds))
        IGNORE(json_array_remove(holds, at) != 0); /* just seen there */
}

static void lock_of(const json_t *from, struct catalog_lock *ret)
{
    *ret = (struct catalog_lock){.left_ms = json_u64(from, "left_ms"),
                                 .boot_ms = json_u64(from, "boot_ms"),
                                 .by_storage = json_flag(from, "by_storage")};
    IGNORE(!str_copy(ret->boot_id, sizeof ret->boot_id, json_text(from, "boot_id")));
}

/* Never shorter than what is there. */
static bool set_lock(const struct job *job, json_t *note, struct err *err)
{
    struct guard_mark now;
    struct catalog_lock is, wanted;
    lock_of(json_object_get(note, "lock"), &is);
    lock_of(job->document, &wanted);
    guard_now(&now);
    if (mark_lock_left_ms(&is, &now) >= mark_lock_left_ms(&wanted, &now))
        return true;
    json_t *lock = json_object();
    return json_put(note, "lock", lock, err) &&
           json_put_u64(lock, "left_ms", wanted.left_ms, err) &&
           json_put_text(lock, "boot_id", wanted.boot_id, err) &&
           json_put_u64(lock, "boot_ms", wanted.boot_ms, err) &&
           json_put_flag(lock, "by_storage", wanted.by_storage, err);
}

static bool lock_storage(const struct job *job, const struct config_served *db, struct err *err)
{
    struct catalog_lock wanted;
    struct guard_mark now;
    lock_of(job->document, &wanted);
    guard_now(&now);
    return !wanted.by_storage ||
           driver_snapshot_lock(world_driver(job->world, db), db->volume,
                                json_text(job->document, "snapshot"),
                                now.boot_ms + mark_lock_left_ms(&wanted, &now), err);
}

static enum step_verdict note_it(struct job *job, struct err *err)
{
    const char *action = json_text(job->document, "action");
    const struct config_served *db = served(job, err);
    AUTO(json) json_t *note = db ? read_note(job, db, err) : NULL;
    if (!note)
        return STEP_FAILED;
    bool ok = true;
    if (str_equal(action, "hold"))
        ok = add_hold(job, note, err);
    else if (str_equal(action, "release"))
        remove_hold(note, json_text(job->document, "id"));
    else
        ok = lock_storage(job, db, err) && set_lock(job, note, err);
    return ok && write_note(job, db, note, err) ? STEP_DONE : STEP_FAILED;
}

/* A hold that was not reported must not stay; a lock stays, a release has nothing to undo. */
static bool undo(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    struct err why = {0};
    if (!db || !str_equal(json_text(job->document, "action"), "hold"))
        return db != NULL;
    AUTO(json) json_t *note = read_note(job, db, err);
    if (!note)
        return false;
    const json_t *holds = json_object_get(note, "holds");
    if (find_hold(holds, job->row.id) >= json_array_size(holds))
        return true;
    remove_hold(note, job->row.id);
    if (write_note(job, db, note, &why) || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static bool commit_release(const struct job *job, struct catalog *catalog, struct err *err)
{
    struct err why = {0};
    const json_t *doc = job->document;
    if (catalog_hold_delete(catalog, json_text(doc, "database"), json_text(doc, "snapshot"),
                            json_text(doc, "id"), &why) ||
        why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static bool commit(struct job *job, struct catalog *catalog, struct err *err)
{
    const json_t *doc = job->document;
    const char *action = json_text(doc, "action");
    if (str_equal(action, "release"))
        return commit_release(job, catalog, err);
    if (str_equal(action, "lock")) {
        struct catalog_lock lock;
        lock_of(doc, &lock);
        IGNORE(!str_copy(lock.database, sizeof lock.database, json_text(doc, "database")));
        IGNORE(!str_copy(lock.snapshot, sizeof lock.snapshot, json_text(doc, "snapshot")));
        return catalog_lock_put(catalog, &lock, err);
    }
    struct catalog_hold hold = {.made_us = json_u64(doc, "made_us"),
                                .until_us = json_u64(doc, "until_us")};
    IGNORE(!str_copy(hold.database, sizeof hold.database, json_text(doc, "database")));
    IGNORE(!str_copy(hold.snapshot, sizeof hold.snapshot, json_text(doc, "snapshot")));
    IGNORE(!str_copy(hold.id, sizeof hold.id, job->row.id));
    IGNORE(!str_copy(hold.owner, sizeof hold.owner, json_text(doc, "owner")));
    IGNORE(!str_copy(hold.reason, sizeof hold.reason, json_text(doc, "reason")));
    return catalog_hold_put(catalog, &hold, err);
}

bool marks_allow_delete(const char *text, const struct guard_mark *now, struct err *err)
{
    struct err why = {0};
    struct catalog_lock lock;
    if (!text)
        return true;
    AUTO(json) json_t *note = json_parse(text, strlen(text), &why);
    if (!json_is_object(note))
        return err_set(err, ERR_PRECONDITION, "its note cannot be read: %.200s", why.text);
    const json_t *holds = json_object_get(note, "holds");
    for (size_t i = 0; i < json_array_size(holds); i++) {
        const json_t *hold = json_array_get(holds, i);
        uint64_t until = json_u64(hold, "until_us");
        if (!until || until > now->wall_us)
            return err_set(err, ERR_PRECONDITION, "it is held by %.60s: %.200s",
                           json_text(hold, "owner"), json_text(hold, "reason"));
    }
    lock_of(json_object_get(note, "lock"), &lock);
    /* Of an earlier boot the catalog knows better how much is left. */
    if (str_equal(lock.boot_id, now->boot_id) && mark_lock_left_ms(&lock, now))
        return err_set(err, ERR_PRECONDITION, "it is locked");
    return true;
}

static const struct job_step steps[] = {{"note", note_it}};
const struct job_kind job_kind_mark = {
    .name = "mark",
    .steps = steps,
    .step_count = 1,
    .undo = undo,
    .commit = commit,
};
