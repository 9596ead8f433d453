/* The snapshot job: take it, read it, let it describe itself; then the catalog knows. */
#include "agent/engine/acts.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/events.h"
#include "agent/engine/survey.h"
#include "agent/oracle/datafile.h"
#include <stdlib.h>
#include <string.h>

enum { FACTS_FILE_MAX = 32 << 20, HOOKS_POLL_MS = 20, SAME_SECOND_MAX = 100 };

static bool is_kept(struct catalog *catalog, const char *database, const char *name, bool *ret,
                    struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_snapshot *rows = catalog_snapshot_list(catalog, database, &count, err);
    for (size_t i = 0; rows && i < count; i++)
        *ret |= str_equal(rows[i].name, name);
    return rows != NULL;
}

/* A job under way owns its name before the storage or the catalog knows it. */
static bool is_in_the_making(struct catalog *catalog, const char *database, const char *name,
                             bool *ret, struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_job *jobs =
        catalog_job_list(catalog, database, "snapshot", JOB_RUNNING, SIZE_MAX, &count, err);
    for (size_t i = 0; jobs && i < count; i++) {
        AUTO(mem) char *text = catalog_job_document(catalog, jobs[i].id, err);
        AUTO(json) json_t *document = text ? json_parse(text, strlen(text), err) : NULL;
        if (!document)
            return false;
        *ret |= str_equal(json_text(document, "name"), name);
    }
    return jobs != NULL;
}

bool snapshot_name(struct catalog *catalog, const char *database, const char *kind,
                   char ret[DRIVER_NAME_MAX], struct err *err)
{
    char stamp[32];
    bool taken = true;
    clock_format_compact(clock_wall_us(), stamp);
    IGNORE(!str_format(ret, DRIVER_NAME_MAX, "%.64s-%s-%s", database, stamp, kind));
    for (unsigned n = 2; taken && n <= SAME_SECOND_MAX; n++) {
        taken = false;
        if (!is_kept(catalog, database, ret, &taken, err) ||
            !is_in_the_making(catalog, database, ret, &taken, err))
            return false;
        if (taken)
            IGNORE(!str_format(ret, DRIVER_NAME_MAX, "%.64s-%s-%s-%u", database, stamp, kind, n));
    }
    return !taken || err_set(err, ERR_BUSY, "too many snapshots of '%s' in one second", database);
}

json_t *snapshot_args(const char *database, const char *name, const char *kind, const char *run,
                      uint32_t dbid, struct err *err)
{
    AUTO(json) json_t *args = json_object();
    if (!json_put_text(args, "database", database, err) ||
        !json_put_text(args, "name", name, err) || !json_put_text(args, "kind", kind, err) ||
        !json_put_text(args, "run", run, err) || !json_put_u64(args, "dbid", dbid, err))
        return NULL;
    return TAKE(args);
}

enum { AWAY_AGAIN_MS = 5000 };

const struct config_served *job_database(struct job *job, struct err *err)
{
    const struct config_served *db =
        world_database(job->world, json_text(job->document, "database"), err);
    if (!db || !job->resumed || !world_is_away(job->world, db))
        return db;
    job->patient = true;
    job->again_ms = AWAY_AGAIN_MS;
    err_set(err, ERR_UNAVAILABLE, "storage '%s' is away, the job waits for it", db->storage);
    return NULL;
}

static const struct config_served *served(struct job *job, struct err *err)
{
    return job_database(job, err);
}

static bool find_created(struct job *job, const struct config_served *db,
                         struct catalog_snapshot *row, struct err *err)
{
    size_t count;
    AUTO(mem)
    struct driver_snapshot_info *list =
        driver_snapshot_list(world_driver(job->world, db), db->volume, &count, err);
    if (!list)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!str_equal(list[i].name, row->name))
            continue;
        row->created_us = list[i].created_us;
        row->durability = (int)list[i].durability;
        row->bad_blocks = list[i].bad_blocks;
        IGNORE(!str_copy(row->driver_id, sizeof row->driver_id, list[i].id));
        return true;
    }
    return err_set(err, ERR_NOT_FOUND, "the storage does not list snapshot '%s'", row->name);
}

/* From here on a snapshot of that name is this job's own. */
static enum step_verdict reserve(struct job *job, struct err *err)
{
    struct catalog_snapshot row = {0};
    struct err why = {0};
    const struct config_served *db = served(job, err);
    IGNORE(!str_copy(row.name, sizeof row.name, json_text(job->document, "name")));
    if (!db)
        return STEP_FAILED;
    if (find_created(job, db, &row, &why)) {
        err_set(err, ERR_EXISTS, "snapshot '%s' exists already", row.name);
        return STEP_FAILED;
    }
    if (why.code != ERR_NOT_FOUND) {
        *err = why;
        return STEP_FAILED;
    }
    return json_put_flag(job->document, "reserved", true, err) ? STEP_DONE : STEP_FAILED;
}

/* ---- hooks around it: those before may delay it, those after hear of it in any case ---- */

static void tell_after(struct job *job, const char *result)
{
    const json_t *doc = job->document;
    events_emit(world_events(job->world), "snapshot.after",
                (const char *const[][2]){{"db", json_text(doc, "database")},
                                         {"snapshot", json_text(doc, "name")},
                                         {"kind", json_text(doc, "kind")},
                                         {"run", json_text(doc, "run")},
                                         {"job", job->row.id},
                                         {"result", result},
                                         {NULL, NULL}});
}

/* "asked" is journaled with the outcome only, so undo also hears of hooks that were still at it. */
static enum step_verdict ask_hooks(struct job *job, struct err *err)
{
    const json_t *doc = job->document;
    if (!job->held) {
        job->held = events_ask(world_events(job->world), "snapshot.before",
                               (const char *const[][2]){{"db", json_text(doc, "database")},
                                                        {"snapshot", json_text(doc, "name")},
                                                        {"kind", json_text(doc, "kind")},
                                                        {"run", json_text(doc, "run")},
                                                        {"job", job->row.id},
                                                        {"resumed", job->resumed ? "1" : "0"},
                                                        {NULL, NULL}});
        job->held_free = events_ask_free;
    }
    if (job->held && !events_answered(job->held)) {
        job->again_ms = HOOKS_POLL_MS;
        return STEP_AGAIN;
    }
    events_ask_free(TAKE(job->held));
    return json_put_flag(job->document, "asked", true, err) ? STEP_DONE : STEP_FAILED;
}

/* The name is this job's alone, so one that exists already was made before a crash, or by a try
 * whose answer did not come. */
static enum step_verdict take(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    if (!db)
        return STEP_FAILED;
    struct driver_ref *driver = world_driver(job->world, db);
    struct driver_handle handle = {0};
    bool atomic = false;
    struct err why = {0};
    if (!driver_snapshot_create(driver, &db->volume, 1, json_text(job->document, "name"), &handle,
                                &atomic, &why) &&
        !(why.code == ERR_EXISTS && (job->resumed || job->tries))) {
        *err = why;
        return STEP_FAILED;
    }
    bool ok = json_put_text(job->document, "handle", handle.text, err) &&
              json_put_flag(job->document, "atomic", atomic, err);
    return ok ? STEP_DONE : STEP_FAILED;
}

static enum step_verdict wait_for_storage(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    struct driver_handle handle = {0};
    IGNORE(!str_copy(handle.text, sizeof handle.text, json_text(job->document, "handle")));
    bool done = false;
    if (!db)
        return STEP_FAILED;
    if (handle.text[0] && !driver_poll(world_driver(job->world, db), &handle, &done, err))
        return STEP_FAILED;
    job->again_ms = 1000;
    if (handle.text[0] && !done)
        return STEP_AGAIN;
    if (!json_put_flag(job->document, "told", true, err))
        return STEP_FAILED;
    tell_after(job, "taken"); /* before it is read: whoever froze something need not wait for it */
    return STEP_DONE;
}

/* The fact sheet that lies in the snapshot; NULL in *ret_facts when there is none. */
static bool read_facts(struct area *area, const char *run, char **ret_text, struct err *err)
{
    char path[128];
    struct err why = {0};
    uint64_t size;
    uint64_t mtime_us;
    *ret_text = NULL;
    if (!run[0] || !str_format(path, sizeof path, ".evercopy/facts-%s.json", run))
        return true;
    AUTO(area_handle) struct area_handle *file = area_file_open(area, path, &why);
    if (!file && why.code == ERR_NOT_FOUND)
        return true;
    if (!file || !area_file_stat(file, &size, &mtime_us, &why)) {
        *err = why;
        return false;
    }
    if (size > FACTS_FILE_MAX)
        return err_set(err, ERR_LIMIT, "fact sheet '%s' is larger than %d bytes", path,
                       FACTS_FILE_MAX);
    AUTO(mem) char *text = own_alloc(size + 1, err);
    ssize_t n = text ? area_file_read(file, text, size, 0, err) : -1;
    if (n < 0)
        return false;
    text[n] = '\0';
    *ret_text = TAKE(text);
    return true;
}

static void judge_entries(struct manifest *manifest, const struct facts *facts, uint32_t dbid)
{
    uint32_t ids[64];
    size_t count = 0;
    for (size_t i = 0; facts && i < facts->incarnation_count && count < 64; i++)
        if (!str_equal(facts->incarnations[i].status, "ORPHAN"))
            ids[count++] = facts->incarnations[i].resetlogs_id;
    manifest_judge(manifest, dbid, ids, count);
}

/* What the sheet claims must fit the job it lies in. */
static bool facts_fit(const struct facts *facts, const json_t *document, struct err *err)
{
    if (facts->dbid != json_u64(document, "dbid"))
        return err_set(err, ERR_INVALID, "the fact sheet speaks of dbid %u", facts->dbid);
    if (!str_equal(facts->run, json_text(document, "run")))
        return err_set(err, ERR_INVALID, "the fact sheet is of run '%s'", facts->run);
    return true;
}

/* A suspect file that was read block by block and shows nothing newer than its header is none. */
static bool is_mid_merge(const struct manifest *manifest, const struct facts *facts)
{
    for (size_t i = 0; facts && i < facts->suspect_count; i++) {
        bool cleared = false;
        for (size_t k = 0; k < manifest->count; k++)
            if (manifest->entries[k].kind == FILE_DATAFILE &&
                manifest->entries[k].datafile.file_no == facts->suspect_files[i])
                cleared = manifest->entries[k].datafile.scanned &&
                          !datafile_is_suspect(&manifest->entries[k]);
        if (!cleared)
            return true;
    }
    return false;
}

static bool keep_texts(struct job *job, struct manifest *manifest, const char *facts_text,
                       const struct facts *facts, struct err *err)
{
    AUTO(mem) char *text = manifest_to_json(manifest, err);
    if (!text || !json_put_text(job->document, "manifest", text, err))
        return false;
    if (facts_text && !json_put_text(job->document, "facts", facts_text, err))
        return false;
    return json_put_flag(job->document, "mid_merge", is_mid_merge(manifest, facts), err);
}

static bool is_to_stop(void *arg)
{
    struct job *job = arg;
    return job->cancelled || world_is_stopping(job->world);
}

/* An agent that stops does not give the snapshot up: it is read at the next start. */
static enum step_verdict stopped_reading(struct job *job, struct err *err)
{
    job->patient = err->code == ERR_CANCELLED && !job->cancelled;
    if (job->patient)
        err_set(err, ERR_UNAVAILABLE, "the agent is stopping");
    return STEP_FAILED;
}

static enum step_verdict read_back(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    if (!db)
        return STEP_FAILED;
    AUTO(area)
    struct area *area =
        driver_area_until(world_driver(job->world, db), db->volume,
                          json_text(job->document, "name"), NULL, is_to_stop, job, err);
    if (!area)
        return stopped_reading(job, err);
    struct survey_options options = {.scan_blocks = world_config(job->world)->verify_full,
                                     .whole = true,
                                     .cancelled = is_to_stop,
                                     .arg = job};
    AUTO(manifest) struct manifest *manifest = survey_area(area, &options, err);
    AUTO(mem) char *text = NULL;
    if (!manifest || !read_facts(area, json_text(job->document, "run"), &text, err))
        return stopped_reading(job, err);
    AUTO(facts) struct facts *facts = text ? facts_from_json(text, strlen(text), err) : NULL;
    if (text && (!facts || !facts_fit(facts, job->document, err)))
        return STEP_FAILED;
    judge_entries(manifest, facts, (uint32_t)json_u64(job->document, "dbid"));
    return keep_texts(job, manifest, text, facts, err) ? STEP_DONE : STEP_FAILED;
}

/* Promise 6: the snapshot itself says what it is, the catalog is only a copy. */
static enum step_verdict label(struct job *job, struct err *err)
{
    static const char *const keys[] = {"database", "kind", "run"};
    const struct config_served *db = served(job, err);
    AUTO(json) json_t *note = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!json_put_text(note, keys[i], json_text(job->document, keys[i]), err))
            return STEP_FAILED;
    if (!db || !json_put_u64(note, "dbid", json_u64(job->document, "dbid"), err) ||
        !json_put_flag(note, "mid_merge", json_flag(job->document, "mid_merge"), err))
        return STEP_FAILED;
    AUTO(mem) char *text = json_format(note, err);
    bool ok = text && driver_note_put(world_driver(job->world, db), db->volume,
                                      json_text(job->document, "name"), NULL, text, err);
    return ok ? STEP_DONE : STEP_FAILED;
}

static bool undo(struct job *job, struct err *err)
{
    const struct config_served *db = served(job, err);
    struct driver_handle handle;
    struct err why = {0};
    if (!db || !json_flag(job->document, "reserved"))
        return db != NULL;
    if (!json_flag(job->document, "told"))
        tell_after(job, "failed");
    if (driver_snapshot_delete(world_driver(job->world, db), db->volume,
                               json_text(job->document, "name"), &handle, &why) ||
        why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

/* Blocks for a moment on a local listing; arrays will answer from the step before. */
static enum step_verdict confirm(struct job *job, struct err *err)
{
    struct catalog_snapshot row = {0};
    const struct config_served *db = served(job, err);
    IGNORE(!str_copy(row.name, sizeof row.name, json_text(job->document, "name")));
    if (!db || !find_created(job, db, &row, err) ||
        !json_put_u64(job->document, "created_us", row.created_us, err) ||
        !json_put_u64(job->document, "durability", (uint64_t)row.durability, err) ||
        !json_put_u64(job->document, "bad_blocks", row.bad_blocks, err) ||
        !json_put_text(job->document, "driver_id", row.driver_id, err))
        return STEP_FAILED;
    return STEP_DONE;
}

static bool commit(struct job *job, struct catalog *catalog, struct err *err)
{
    const json_t *doc = job->document;
    struct catalog_snapshot row = {
        .created_us = json_u64(doc, "created_us"),
        .durability = (int)json_u64(doc, "durability"),
        .mid_merge = json_flag(doc, "mid_merge"),
        .bad_blocks = json_u64(doc, "bad_blocks"),
    };
    IGNORE(!str_copy(row.database, sizeof row.database, json_text(doc, "database")));
    IGNORE(!str_copy(row.name, sizeof row.name, json_text(doc, "name")));
    IGNORE(!str_copy(row.kind, sizeof row.kind, json_text(doc, "kind")));
    IGNORE(!str_copy(row.run, sizeof row.run, json_text(doc, "run")));
    IGNORE(!str_copy(row.driver_id, sizeof row.driver_id, json_text(doc, "driver_id")));
    const char *facts = json_text(doc, "facts");
    if (row.bad_blocks)
        log_error("the storage found bad blocks db=%s snapshot=%s count=%llu", row.database,
                  row.name, (unsigned long long)row.bad_blocks);
    return catalog_snapshot_put(catalog, &row, json_text(doc, "manifest"), facts[0] ? facts : NULL,
                                err);
}

/* ---- by hand, beside runs ---- */

static bool newest_run(struct catalog *catalog, const char *database, char ret[40], struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_job *runs = catalog_job_last(catalog, database, "backup", 1, &count, err);
    IGNORE(!str_copy(ret, 40, runs && count ? runs[0].id : "none"));
    return runs != NULL;
}

static bool is_moving(const char *step)
{
    return str_equal(step, "take") || str_equal(step, "wait") || str_equal(step, "read");
}

/* A run that came while hooks or the storage held one by hand up may be merging: its blocks would
 * be newer than its headers and its sheet say. */
static bool look(struct job *job, struct catalog *catalog, struct err *err)
{
    const char *database = json_text(job->document, "database");
    const char *before = json_text(job->document, "run_before");
    struct catalog_lease lease;
    struct err why = {0};
    char run[40];
    if (!str_equal(json_text(job->document, "kind"), "manual"))
        return true;
    if (!newest_run(catalog, database, run, err))
        return false;
    if (!before[0])
        return json_put_text(job->document, "run_before", run, err);
    if (!is_moving(job->row.step))
        return true;
    if (catalog_lease_find(catalog, database, "backup", &lease, &why) || !str_equal(before, run))
        return err_set(err, ERR_PRECONDITION,
                       "a backup run came meanwhile (%s): it takes its own snapshots; hint: try "
                       "again when it has ended",
                       why.code == ERR_NONE ? lease.job : run);
    return why.code == ERR_NOT_FOUND || (*err = why, false);
}

static const struct job_step steps[] = {
    {"reserve", reserve}, {"hooks", ask_hooks}, {"take", take},       {"wait", wait_for_storage},
    {"read", read_back},  {"label", label},     {"confirm", confirm},
};

const struct job_kind job_kind_snapshot = {
    .name = "snapshot",
    .steps = steps,
    .step_count = sizeof steps / sizeof *steps,
    .undo = undo,
    .commit = commit,
    .look = look,
};
