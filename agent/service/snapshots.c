/* evercopy.v1.Snapshots: taking one in a run, and what there is. */
#include "agent/service/ask.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/acts.h"
#include "agent/engine/keep.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <inttypes.h>
#include <string.h>

enum { ODD_MAX = 50, PAGE_MAX = 2 << 20 };

static bool is_odd(const struct manifest_entry *entry)
{
    if (str_starts(entry->path, ".evercopy/") || str_starts(entry->path, "ctl/"))
        return false; /* our own fact sheets and readable control files */
    return entry->state != STATE_GOOD || entry->kind == FILE_UNKNOWN || entry->kind == FILE_EMPTY ||
           entry->kind == FILE_TEXT;
}

static void tell_odd(struct ask *ask, const struct manifest *manifest,
                     Evercopy__V1__Snapshot *snapshot)
{
    char text[600];
    snapshot->odd_files = ask_alloc(ask, sizeof(char *) * ODD_MAX);
    for (size_t i = 0; snapshot->odd_files && i < manifest->count; i++) {
        const struct manifest_entry *entry = &manifest->entries[i];
        if (!is_odd(entry) || snapshot->n_odd_files == ODD_MAX)
            continue;
        IGNORE(!str_format(text, sizeof text, "%.300s: %s%s%s%s%.150s", entry->path,
                           file_kind_text(entry->kind), entry->state == STATE_GOOD ? "" : ", ",
                           entry->state == STATE_GOOD ? "" : file_state_text(entry->state),
                           entry->why[0] ? ": " : "", entry->why));
        snapshot->odd_files[snapshot->n_odd_files++] = ask_text(ask, text);
    }
}

static void tell_contents(struct ask *ask, const struct manifest *manifest,
                          Evercopy__V1__Snapshot *snapshot)
{
    for (size_t i = 0; i < manifest->count; i++) {
        const struct manifest_entry *entry = &manifest->entries[i];
        bool good = entry->state == STATE_GOOD;
        snapshot->logical_bytes += entry->size;
        snapshot->datafiles += entry->kind == FILE_DATAFILE && good;
        snapshot->logs += entry->kind == FILE_ARCHIVED_LOG && good;
    }
    tell_odd(ask, manifest, snapshot);
}

static Evercopy__V1__Snapshot *tell_snapshot(struct ask *ask, const struct outlook *o, size_t i)
{
    static const char *const durabilities[] = {"local", "sealed", "copied"};
    static const Evercopy__V1__Verdict wire[] = {
        EVERCOPY__V1__VERDICT__VERDICT_OK, EVERCOPY__V1__VERDICT__VERDICT_WARNING,
        EVERCOPY__V1__VERDICT__VERDICT_FAILED, EVERCOPY__V1__VERDICT__VERDICT_UNKNOWN};
    Evercopy__V1__Snapshot *s = ask_alloc(ask, sizeof *s);
    if (!s)
        return NULL;
    const struct catalog_snapshot *row = &o->rows[i];
    const struct plan_base *base = plan_base(o->plan, i);
    evercopy__v1__snapshot__init(s);
    s->name = ask_text(ask, row->name);
    s->kind = ask_text(ask, row->kind);
    s->run = ask_text(ask, row->run);
    s->created_us = row->created_us;
    s->durability =
        ask_text(ask, (unsigned)row->durability < 3 ? durabilities[row->durability] : "");
    s->verdict = wire[base->verdict];
    s->cause = ask_text(ask, base->cause);
    s->unique_bytes = DRIVER_UNKNOWN;
    if (base->datafiles) {
        s->start_scn = base->start.n;
        s->earliest_scn = base->earliest.n;
        s->latest_scn = base->latest_own.n;
        s->earliest_time_us = base->earliest_us;
        s->latest_time_us = base->latest_own_us;
    }
    tell_contents(ask, o->manifests[i], s);
    return s;
}

/* ---- what keeps it ---- */

static Evercopy__V1__Hold *tell_hold(struct ask *ask, const struct catalog_hold *from)
{
    Evercopy__V1__Hold *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__hold__init(to);
    to->id = ask_text(ask, from->id);
    to->owner = ask_text(ask, from->owner);
    to->reason = ask_text(ask, from->reason);
    to->made_us = from->made_us;
    to->until_us = from->until_us;
    return to;
}

struct marks {
    struct catalog_hold *holds;
    struct catalog_lock *locks;
    struct catalog_clone *clones;
    size_t hold_count, lock_count, clone_count;
    struct guard_mark now;
};

static void marks_done(struct marks *marks)
{
    own_free(marks->holds);
    own_free(marks->locks);
    own_free(marks->clones);
}
OWN_DEFINE_INPLACE(marks, struct marks, marks_done);

static bool load_marks(struct ask *ask, const char *database, struct marks *m)
{
    struct catalog *c = ask_catalog(ask);
    guard_now(&m->now);
    m->holds = catalog_hold_list(c, database, &m->hold_count, &ask->err);
    m->locks = m->holds ? catalog_lock_list(c, database, &m->lock_count, &ask->err) : NULL;
    m->clones = m->locks ? catalog_clone_list(c, database, &m->clone_count, &ask->err) : NULL;
    return m->clones != NULL;
}

static void tell_marks(struct ask *ask, const struct marks *m, Evercopy__V1__Snapshot *s)
{
    s->holds = ask_alloc(ask, sizeof(void *) * (m->hold_count + 1));
    s->clone_names = ask_alloc(ask, sizeof(char *) * (m->clone_count + 1));
    for (size_t i = 0; s->holds && i < m->hold_count; i++) {
        const struct catalog_hold *hold = &m->holds[i];
        if (!str_equal(hold->snapshot, s->name) ||
            (hold->until_us && hold->until_us <= m->now.wall_us))
            continue;
        if ((s->holds[s->n_holds] = tell_hold(ask, hold)))
            s->n_holds++;
    }
    for (size_t i = 0; s->clone_names && i < m->clone_count; i++)
        if (str_equal(m->clones[i].snapshot, s->name))
            s->clone_names[s->n_clone_names++] = ask_text(ask, m->clones[i].name);
    s->clones = (uint32_t)s->n_clone_names;
    for (size_t i = 0; i < m->lock_count; i++)
        if (str_equal(m->locks[i].snapshot, s->name)) {
            s->lock_left_s = (mark_lock_left_ms(&m->locks[i], &m->now) + 999) / 1000;
            s->lock_by = ask_text(ask, m->locks[i].by_storage ? "storage" : "agent");
        }
}

/* ---- taking one ---- */

static char **tell_findings(struct ask *ask, const struct outlook *o, size_t *ret_count)
{
    size_t count;
    const struct plan_finding *findings = plan_findings(o->plan, &count);
    char **list = ask_alloc(ask, sizeof(char *) * (count + 1));
    *ret_count = list ? count : 0;
    for (size_t i = 0; i < *ret_count; i++)
        list[i] = ask_text(ask, findings[i].text);
    return list;
}

static void taken(void *arg, const struct catalog_job *row, const json_t *document,
                  const struct err *err)
{
    struct ask *ask = arg;
    (void)row;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    const char *database = json_text(document, "database");
    const struct config_served *db = ask_database(ask, database);
    AUTO(outlook) struct outlook *o = db ? ask_outlook(ask, db, false) : NULL;
    size_t i = o ? outlook_find(o, json_text(document, "name")) : SIZE_MAX;
    Evercopy__V1__TakeSnapshotReply *reply = ask_alloc(ask, sizeof *reply);
    if (o && i == SIZE_MAX)
        err_set(&ask->err, ERR_NOT_FOUND, "snapshot '%s' is gone", json_text(document, "name"));
    if (o && i != SIZE_MAX && reply) {
        evercopy__v1__take_snapshot_reply__init(reply);
        reply->snapshot = tell_snapshot(ask, o, i);
        reply->findings = tell_findings(ask, o, &reply->n_findings);
        log_info("snapshot taken db=%s name=%s", database, o->rows[i].name);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static bool start_snapshot(struct ask *ask, const struct config_served *db,
                           const struct catalog_job *run)
{
    const Evercopy__V1__TakeSnapshotRequest *request = (const void *)ask->request;
    char name[DRIVER_NAME_MAX];
    struct catalog_database row;
    struct catalog_job job = {.started_us = clock_wall_us()};
    if (!snapshot_name(ask_catalog(ask), db->name, request->kind, name, &ask->err) ||
        !catalog_database_get(ask_catalog(ask), db->name, &row, &ask->err))
        return false;
    AUTO(json)
    json_t *args = snapshot_args(db->name, name, request->kind, run->id, row.dbid, &ask->err);
    if (!args)
        return false;
    IGNORE(!str_copy(job.parent, sizeof job.parent, run->id));
    IGNORE(!str_copy(job.database, sizeof job.database, db->name));
    IGNORE(!str_copy(job.owner, sizeof job.owner, run->owner));
    struct catalog_job same;
    struct err why = {0};
    return ask_key(ask, "take", request->idempotency_key, job.key) &&
           (!ask_is_bounded(ask, job.key) || quota_snapshot(ask_catalog(ask), db, &ask->err)) &&
           (catalog_job_find_key(ask_catalog(ask), job.key, &same, &why) ||
            ask_is_settled(ask, db->name)) &&
           engine_job_start(ask_engine(ask), "snapshot", &job, args, taken, ask, &ask->err);
}

void snapshots_take(struct ask *ask)
{
    const Evercopy__V1__TakeSnapshotRequest *request = (const void *)ask->request;
    struct catalog_job run;
    const struct config_served *db =
        catalog_job_get(ask_catalog(ask), request->job, &run, &ask->err)
            ? ask_database(ask, run.database)
            : NULL;
    if (db && !backup_hold(ask_catalog(ask), ask_world(ask), request->job, request->fencing_token,
                           &run, &ask->err))
        db = NULL;
    if (db && !str_equal(request->kind, "pre") && !str_equal(request->kind, "post")) {
        err_set(&ask->err, ERR_INVALID, "a run takes 'pre' and 'post' snapshots, not '%.20s'",
                request->kind);
        db = NULL;
    }
    if (db && str_equal(run.step, "merge") && str_equal(request->kind, "pre")) {
        err_set(&ask->err, ERR_PRECONDITION, "a merge is under way: no snapshot now");
        db = NULL;
    }
    if (!db || !start_snapshot(ask, db, &run))
        ask_answer(ask);
}

/* ---- one outside a run ---- */

static void created(void *arg, const struct catalog_job *row, const json_t *document,
                    const struct err *err)
{
    struct ask *ask = arg;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    const struct config_served *db = ask_database(ask, row->database);
    AUTO(outlook) struct outlook *o = db ? ask_outlook(ask, db, false) : NULL;
    size_t i = o ? outlook_find(o, json_text(document, "name")) : SIZE_MAX;
    Evercopy__V1__CreateSnapshotReply *reply = ask_alloc(ask, sizeof *reply);
    if (o && i == SIZE_MAX)
        err_set(&ask->err, ERR_NOT_FOUND, "snapshot '%s' is gone", json_text(document, "name"));
    if (o && i != SIZE_MAX && reply) {
        evercopy__v1__create_snapshot_reply__init(reply);
        reply->snapshot = tell_snapshot(ask, o, i);
        reply->findings = tell_findings(ask, o, &reply->n_findings);
        log_info("snapshot taken by hand db=%s name=%s by=%s", row->database, o->rows[i].name,
                 ask->peer.cn);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

/* The run whose fact sheet speaks of the copies as they are: that of the newest "post", while no
 * merge stands under suspicion. "" otherwise, and the snapshot could not tell. */
static bool sheet_run(struct ask *ask, const struct config_served *db, char ret[40])
{
    size_t count;
    uint32_t *files;
    ret[0] = '\0';
    if (!backup_suspects_get(ask_catalog(ask), db->name, &files, &count, &ask->err))
        return false;
    own_free(files);
    if (count)
        return true;
    AUTO(mem)
    struct catalog_snapshot *rows =
        catalog_snapshot_list(ask_catalog(ask), db->name, &count, &ask->err);
    for (size_t i = 0; rows && i < count; i++)
        if (str_equal(rows[i].kind, "post"))
            IGNORE(!str_copy(ret, 40, rows[i].run));
    return rows != NULL;
}

static bool start_manual(struct ask *ask, const struct config_served *db)
{
    const Evercopy__V1__CreateSnapshotRequest *request = (const void *)ask->request;
    char name[DRIVER_NAME_MAX];
    char run[40];
    struct catalog_database row;
    struct catalog_lease lease;
    struct err why = {0};
    struct catalog_job job = {.started_us = clock_wall_us()};
    if (catalog_lease_find(ask_catalog(ask), db->name, "backup", &lease, &why))
        return err_set(&ask->err, ERR_BUSY, "a backup run is on (%s): it takes its own snapshots",
                       lease.job);
    if (!snapshot_name(ask_catalog(ask), db->name, "manual", name, &ask->err) ||
        !catalog_database_get(ask_catalog(ask), db->name, &row, &ask->err) ||
        !sheet_run(ask, db, run))
        return false;
    AUTO(json) json_t *args = snapshot_args(db->name, name, "manual", run, row.dbid, &ask->err);
    if (!args)
        return false;
    IGNORE(!str_copy(job.database, sizeof job.database, db->name));
    IGNORE(!str_copy(job.owner, sizeof job.owner, ask->peer.cn));
    return ask_key(ask, "create", request->idempotency_key, job.key) &&
           engine_job_start(ask_engine(ask), "snapshot", &job, args, created, ask, &ask->err);
}

void snapshots_create(struct ask *ask)
{
    const Evercopy__V1__CreateSnapshotRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (!db || !ask_is_settled(ask, db->name) || !start_manual(ask, db))
        ask_answer(ask);
}

/* ---- what there is ---- */

/* A page begins behind the snapshot its token names: "<created_us>:<name>". */
static bool page_start(struct ask *ask, const struct outlook *o, const char *token, size_t *ret_at)
{
    char stamp[24];
    uint64_t created_us = 0;
    const char *colon = strchr(token, ':');
    *ret_at = 0;
    if (!token[0])
        return true;
    if (!colon || !str_format(stamp, sizeof stamp, "%.*s", (int)(colon - token), token) ||
        !str_to_u64(stamp, UINT64_MAX, &created_us))
        return err_set(&ask->err, ERR_INVALID, "'%.80s' is no page token", token);
    while (*ret_at < o->snapshot_count && (o->rows[*ret_at].created_us < created_us ||
                                           (o->rows[*ret_at].created_us == created_us &&
                                            strcmp(o->rows[*ret_at].name, colon + 1) <= 0)))
        ++*ret_at;
    return true;
}

static void tell_page(struct ask *ask, const struct outlook *o, size_t at,
                      const struct marks *marks, Evercopy__V1__ListSnapshotsReply *reply)
{
    const Evercopy__V1__ListSnapshotsRequest *request = (const void *)ask->request;
    size_t end = o->snapshot_count;
    char token[200];
    if (request->limit && end - at > request->limit)
        end = at + request->limit;
    reply->snapshots = ask_alloc(ask, sizeof(void *) * (end - at + 1));
    for (size_t i = at; reply->snapshots && i < end; i++) {
        Evercopy__V1__Snapshot *s = tell_snapshot(ask, o, i);
        if (!s)
            return;
        tell_marks(ask, marks, s);
        reply->snapshots[reply->n_snapshots++] = s;
    }
    if (end == o->snapshot_count || end == at)
        return;
    IGNORE(!str_format(token, sizeof token, "%" PRIu64 ":%s", o->rows[end - 1].created_us,
                       o->rows[end - 1].name));
    reply->next_page_token = ask_text(ask, token);
}

static void list_warm(struct ask *ask)
{
    const Evercopy__V1__ListSnapshotsRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    AUTO(outlook) struct outlook *o = db ? ask_outlook(ask, db, false) : NULL;
    Evercopy__V1__ListSnapshotsReply *reply = ask_alloc(ask, sizeof *reply);
    size_t at;
    AUTO(marks) struct marks marks = {0};
    if (o && reply && load_marks(ask, db->name, &marks) &&
        page_start(ask, o, request->page_token, &at)) {
        evercopy__v1__list_snapshots_reply__init(reply);
        tell_page(ask, o, at, &marks, reply);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void snapshots_list(struct ask *ask)
{
    const Evercopy__V1__ListSnapshotsRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (db)
        ask_warm(ask, db, false, list_warm);
    else
        ask_answer(ask);
}

/* Pages of one version: a text that was written anew between two of them is never mixed. */
static bool check_version(struct ask *ask, const char *database, uint64_t *ret_version)
{
    const Evercopy__V1__GetManifestRequest *request = (const void *)ask->request;
    if (!shelf_changes(ask_shelf(ask), database, ret_version, &ask->err))
        return false;
    return !request->version || request->version == *ret_version ||
           err_set(&ask->err, ERR_BUSY, "snapshots of '%s' changed while one was read: begin again",
                   database);
}

void snapshots_manifest(struct ask *ask)
{
    const Evercopy__V1__GetManifestRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    Evercopy__V1__GetManifestReply *reply = ask_alloc(ask, sizeof *reply);
    AUTO(catalog_part) struct catalog_part part = {0};
    uint64_t version;
    if (db && reply && check_version(ask, db->name, &version) &&
        catalog_snapshot_part(ask_catalog(ask), db->name, request->snapshot, request->offset,
                              request->limit && request->limit < PAGE_MAX ? request->limit
                              : request->limit                            ? PAGE_MAX
                                                                          : RPC_MESSAGE_MAX,
                              &part, &ask->err)) {
        evercopy__v1__get_manifest_reply__init(reply);
        reply->manifest_json = ask_bytes(ask, part.manifest, part.manifest_len);
        reply->facts_json = ask_bytes(ask, part.facts, part.facts_len);
        reply->manifest_bytes = part.manifest_bytes;
        reply->facts_bytes = part.facts_bytes;
        reply->version = version;
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}
