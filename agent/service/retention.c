/* evercopy.v1.Retention: what may go, what goes, and what is held, locked or deleted by hand. */
#include "agent/service/ask.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/events.h"
#include "agent/engine/keep.h"
#include "evercopy/v1/retention.pb-c.h"
#include <inttypes.h>
#include <string.h>

enum { REASON_MAX = 200, LOCK_MAX_S = 10 * 366 * 86400 };

/* By the outlook that is kept between calls. */
static struct keep *decide(struct ask *ask, const struct config_served *db, struct err *err)
{
    AUTO(outlook) struct outlook *o = ask_outlook(ask, db, false);
    if (!o)
        *err = ask->err;
    return o ? keep_decide(ask_catalog(ask), ask_world(ask), db, o, err) : NULL;
}

/* ---- policy ---- */

static Evercopy__V1__RetentionPolicy *tell_policy(struct ask *ask, const struct config_served *db)
{
    const struct config_retention *from = &db->retention;
    Evercopy__V1__RetentionPolicy *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__retention_policy__init(to);
    to->automatic = from->automatic;
    to->recovery_window_days = from->window_days;
    to->snap_expiration_days = from->expiration_days;
    to->snap_expiration_months = from->expiration_months;
    to->keep_hourly = from->keep[TIER_HOURLY];
    to->keep_daily = from->keep[TIER_DAILY];
    to->keep_weekly = from->keep[TIER_WEEKLY];
    to->keep_monthly = from->keep[TIER_MONTHLY];
    to->keep_yearly = from->keep[TIER_YEARLY];
    to->keep_proven = from->keep_proven;
    to->log_retention_days = from->log_days;
    to->zone = ask_text(ask, db->zone[0] ? db->zone : "UTC");
    return to;
}

void retention_policy(struct ask *ask)
{
    const Evercopy__V1__GetPolicyRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    Evercopy__V1__GetPolicyReply *reply = ask_alloc(ask, sizeof *reply);
    if (db && reply) {
        evercopy__v1__get_policy_reply__init(reply);
        reply->policy = tell_policy(ask, db);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

/* ---- preview: what the storage says of space first, then the decision ---- */

struct spaces {
    const struct config_served *db;
    struct driver_snapshot_info *list; /* NULL: the storage did not tell */
    size_t count;
};

static void spaces_free(void *state)
{
    own_free(((struct spaces *)state)->list);
    own_free(state);
}

static const char *rule_name(enum retention_rule rule)
{
    static const char *const names[] = {"goes",    "no-policy", "young", "tier",      "month-end",
                                        "unknown", "newest",    "floor", "last-good", "hold",
                                        "lock",    "clone",     "base",  "log",       "sheet"};
    return names[rule];
}

static void tell_reasons(struct ask *ask, const struct keep *keep, size_t i,
                         Evercopy__V1__RetentionDecision *to)
{
    size_t count;
    const struct retention_reason *reasons = retention_reasons(keep->decision, i, &count);
    to->reasons = ask_alloc(ask, sizeof(void *) * (count + 1));
    for (size_t k = 0; to->reasons && k < count; k++) {
        Evercopy__V1__RetentionReason *reason = ask_alloc(ask, sizeof *reason);
        if (!reason)
            return;
        evercopy__v1__retention_reason__init(reason);
        reason->rule = ask_text(ask, rule_name(reasons[k].rule));
        reason->text = ask_text(ask, reasons[k].text);
        reason->blocks = reasons[k].rule >= RETENTION_FLOOR;
        to->reasons[to->n_reasons++] = reason;
    }
}

static uint64_t unique_of(const struct spaces *spaces, const char *name)
{
    for (size_t i = 0; spaces->list && i < spaces->count; i++)
        if (str_equal(spaces->list[i].name, name))
            return spaces->list[i].space.unique;
    return DRIVER_UNKNOWN;
}

static Evercopy__V1__RetentionDecision *tell_decision(struct ask *ask, const struct keep *keep,
                                                      size_t i)
{
    Evercopy__V1__RetentionDecision *to = ask_alloc(ask, sizeof *to);
    const struct catalog_snapshot *row = &keep->outlook->rows[i];
    if (!to)
        return NULL;
    evercopy__v1__retention_decision__init(to);
    to->snapshot = ask_text(ask, row->name);
    to->created_us = row->created_us;
    to->keep = retention_keeps(keep->decision, i);
    to->proven = retention_is_proven(keep->decision, i);
    to->unique_bytes = unique_of(ask->state, row->name);
    to->offset_min = zone_offset_s(keep->zone, (int64_t)(row->created_us / 1000000u)) / 60;
    tell_reasons(ask, keep, i, to);
    return to;
}

static void tell_preview(struct ask *ask, const struct config_served *db, const struct keep *keep,
                         Evercopy__V1__PreviewRetentionReply *reply)
{
    struct err why = {0};
    size_t count = keep->outlook->snapshot_count;
    reply->plan_id = ask_text(ask, retention_id(keep->decision));
    reply->policy = tell_policy(ask, db);
    reply->now_us = clock_wall_us();
    if (!guard_check(ask_catalog(ask), &why) || !keep_is_idle(ask_catalog(ask), db->name, &why))
        reply->refused = ask_text(ask, why.text);
    reply->decisions = ask_alloc(ask, sizeof(void *) * (count + 1));
    for (size_t i = 0; reply->decisions && i < count; i++) {
        Evercopy__V1__RetentionDecision *one = tell_decision(ask, keep, i);
        if (!one)
            return;
        reply->decisions[reply->n_decisions++] = one;
        bool known = one->unique_bytes != DRIVER_UNKNOWN;
        if (!one->keep && reply->reclaimable_bytes != DRIVER_UNKNOWN)
            reply->reclaimable_bytes =
                known ? reply->reclaimable_bytes + one->unique_bytes : DRIVER_UNKNOWN;
    }
}

static void run_spaces(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct spaces *spaces = ask->state;
    struct err why = {0}; /* space is a courtesy: not known is an answer */
    spaces->list = driver_snapshot_list(world_driver(ask_world(ask), spaces->db),
                                        spaces->db->volume, &spaces->count, &why);
}

static void spaces_done(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const struct config_served *db = ((struct spaces *)ask->state)->db;
    AUTO(keep) struct keep *keep = decide(ask, db, &ask->err);
    Evercopy__V1__PreviewRetentionReply *reply = ask_alloc(ask, sizeof *reply);
    if (keep && reply) {
        evercopy__v1__preview_retention_reply__init(reply);
        tell_preview(ask, db, keep, reply);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void retention_preview(struct ask *ask)
{
    const Evercopy__V1__PreviewRetentionRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    struct spaces *spaces = db ? own_alloc(sizeof *spaces, &ask->err) : NULL;
    if (!spaces) {
        ask_answer(ask);
        return;
    }
    spaces->db = db;
    ask->state = spaces;
    ask->state_free = spaces_free;
    ask->read = (struct work){
        .run = run_spaces, .done = spaces_done, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}

/* ---- apply and delete ---- */

/* Nothing is begun while the clock is doubted, another job deletes, or one of before still works.
 */
static bool may_delete_now(struct ask *ask, const struct config_served *db)
{
    return ask_is_settled(ask, db->name) && guard_check(ask_catalog(ask), &ask->err) &&
           keep_is_idle(ask_catalog(ask), db->name, &ask->err);
}

void retention_confirm_clock(struct ask *ask)
{
    struct err why = {0};
    Evercopy__V1__ConfirmClockReply *reply = ask_alloc(ask, sizeof *reply);
    if (!reply) {
        ask_answer(ask);
        return;
    }
    evercopy__v1__confirm_clock_reply__init(reply);
    if (!guard_check(ask_catalog(ask), &why)) {
        reply->was = ask_text(ask, why.text);
        log_warning("the clock is said to be right by=%s peer=%s: %s", ask->peer.cn,
                    ask->peer.address, why.text);
        IGNORE(!guard_confirm(ask_catalog(ask), &ask->err)); /* told by the answer */
    }
    ask->reply = &reply->base;
    ask_answer(ask);
}

static bool start(struct ask *ask, const char *database, const char *method, const char *key,
                  const char *kind, json_t *args,
                  void (*done)(void *arg, const struct catalog_job *row, const json_t *document,
                               const struct err *err))
{
    struct catalog_job job = {.started_us = clock_wall_us()};
    IGNORE(!str_copy(job.database, sizeof job.database, database));
    IGNORE(!str_copy(job.owner, sizeof job.owner, ask->peer.cn));
    return args && ask_key(ask, method, key, job.key) &&
           engine_job_start(ask_engine(ask), kind, &job, args, done, ask, &ask->err);
}

/* A key that was used before names a job that was looked at before: nothing is asked again. */
static bool is_repeated(struct ask *ask, const char *method, const char *key)
{
    struct catalog_job job;
    struct err why = {0};
    char full[80];
    return ask_key(ask, method, key, full) && full[0] &&
           catalog_job_find_key(ask_catalog(ask), full, &job, &why);
}

/* The answer to a used key must be that to this request, never that to another. */
static bool is_same_request(struct ask *ask, const char *asked, const char *was)
{
    return str_equal(asked, was) ||
           err_set(&ask->err, ERR_INVALID, "this key was used before, for '%.100s'", was);
}

static void applied(void *arg, const struct catalog_job *row, const json_t *document,
                    const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__ApplyRetentionRequest *request = (const void *)ask->request;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    Evercopy__V1__ApplyRetentionReply *reply = ask_alloc(ask, sizeof *reply);
    const json_t *gone = json_object_get(document, "gone");
    if (is_same_request(ask, request->plan_id, json_text(document, "plan")) && reply) {
        evercopy__v1__apply_retention_reply__init(reply);
        reply->job = ask_text(ask, row->id);
        reply->stopped = ask_text(ask, row->cause);
        reply->deleted = ask_alloc(ask, sizeof(char *) * (json_array_size(gone) + 1));
        for (size_t i = 0; reply->deleted && i < json_array_size(gone); i++)
            reply->deleted[reply->n_deleted++] =
                ask_text(ask, json_string_value(json_array_get(gone, i)));
        log_info("retention applied db=%s plan=%s deleted=%zu by=%s", row->database,
                 request->plan_id, reply->n_deleted, ask->peer.cn);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static json_t *apply_args(struct ask *ask, const struct config_served *db)
{
    const Evercopy__V1__ApplyRetentionRequest *request = (const void *)ask->request;
    if (!may_delete_now(ask, db))
        return NULL;
    AUTO(keep) struct keep *keep = decide(ask, db, &ask->err);
    if (!keep)
        return NULL;
    if (!retention_has_policy(&db->retention)) {
        err_set(&ask->err, ERR_PRECONDITION,
                "no retention policy is set for '%s'; hint: keepdaily = 7 in [database %s] of "
                "evercopyd.conf",
                db->name, db->name);
        return NULL;
    }
    if (!str_equal(retention_id(keep->decision), request->plan_id)) {
        err_set(&ask->err, ERR_PRECONDITION, "the plan changed: preview again");
        return NULL;
    }
    return keep_apply_args(keep, db->name, &ask->err);
}

void retention_apply(struct ask *ask)
{
    const Evercopy__V1__ApplyRetentionRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    bool repeated = db && is_repeated(ask, "apply", request->idempotency_key);
    AUTO(json) json_t *args = repeated ? json_object() : db ? apply_args(ask, db) : NULL;
    if (!db || ask->err.code != ERR_NONE ||
        !start(ask, db->name, "apply", request->idempotency_key, "retention", args, applied))
        ask_answer(ask);
}

static void deleted(void *arg, const struct catalog_job *row, const json_t *document,
                    const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__DeleteSnapshotRequest *request = (const void *)ask->request;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    Evercopy__V1__DeleteSnapshotReply *reply = ask_alloc(ask, sizeof *reply);
    const char *stopped = json_text(document, "stopped");
    const json_t *one = json_array_get(json_object_get(document, "going"), 0);
    bool same = is_same_request(ask, request->snapshot, json_text(one, "name"));
    if (same && stopped[0])
        err_set(&ask->err, ERR_PRECONDITION, "%s", stopped);
    if (same && !stopped[0] && reply) {
        evercopy__v1__delete_snapshot_reply__init(reply);
        reply->job = ask_text(ask, row->id);
        log_info("snapshot deleted db=%s job=%s by=%s", row->database, row->id, ask->peer.cn);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static json_t *delete_args(struct ask *ask, const struct config_served *db)
{
    const Evercopy__V1__DeleteSnapshotRequest *request = (const void *)ask->request;
    if (!may_delete_now(ask, db))
        return NULL;
    AUTO(keep) struct keep *keep = decide(ask, db, &ask->err);
    size_t i = keep ? outlook_find(keep->outlook, request->snapshot) : SIZE_MAX;
    if (keep && i == SIZE_MAX)
        err_set(&ask->err, ERR_NOT_FOUND, "there is no snapshot '%.128s'", request->snapshot);
    if (i == SIZE_MAX || !retention_may_delete(keep->decision, i, &ask->err))
        return NULL;
    return keep_delete_args(keep, i, &ask->err);
}

void retention_delete(struct ask *ask)
{
    const Evercopy__V1__DeleteSnapshotRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    bool repeated = db && is_repeated(ask, "delete", request->idempotency_key);
    AUTO(json) json_t *args = repeated ? json_object() : db ? delete_args(ask, db) : NULL;
    if (!db || ask->err.code != ERR_NONE ||
        !start(ask, db->name, "delete", request->idempotency_key, "retention", args, deleted))
        ask_answer(ask);
}

/* ---- after a run ---- */

static void tell_run(struct ask *ask, const char *run, const char *text)
{
    struct err why = {0};
    uint64_t at;
    size_t len = strlen(text);
    struct catalog *catalog = ask_catalog(ask);
    if (!catalog_log_append(catalog, run, 0, NULL, NULL, 0, &at, &why) ||
        !catalog_log_append(catalog, run, at, &text, &len, 1, &at, &why))
        log_warning("retention after run %s cannot be told: %s", run, why.text);
}

/* Nobody waits for this answer: it is told in the run's log, in ours, to hooks, and by status until
 * it has gone well. A retention at work just now is no trouble. */
static void note_outcome(struct ask *ask, const struct config_served *db,
                         const struct catalog_job *job, const struct err *why)
{
    struct err err = {0};
    if (why->code == ERR_BUSY)
        return;
    if (!keep_note(ask_catalog(ask), db->name, job->started_us, why->text, &err))
        log_warning("what came of retention is not kept: %s db=%s", err.text, db->name);
    if (why->code == ERR_NONE)
        return;
    log_warning("automatic retention refused: %s db=%s run=%s", why->text, db->name, job->parent);
    events_emit(world_events(ask_world(ask)), "retention.refused",
                (const char *const[][2]){
                    {"db", db->name}, {"cause", why->text}, {"run", job->parent}, {NULL, NULL}});
}

void retention_after_run(struct ask *ask, const struct config_served *db, const char *run)
{
    char text[400];
    struct err why = {0};
    struct catalog_job job = {.started_us = clock_wall_us(), .owner = "the agent, after a run"};
    if (!db->retention.automatic)
        return;
    IGNORE(!str_copy(job.database, sizeof job.database, db->name));
    IGNORE(!str_copy(job.parent, sizeof job.parent, run));
    catalog_job_id("retention", job.id);
    AUTO(keep)
    struct keep *keep =
        guard_check(ask_catalog(ask), &why) && keep_is_idle(ask_catalog(ask), db->name, &why)
            ? decide(ask, db, &why)
            : NULL;
    err_clear(&ask->err); /* what goes wrong here is no error of the run */
    size_t going = keep ? retention_going(keep->decision) : 0;
    AUTO(json) json_t *args = going ? keep_apply_args(keep, db->name, &why) : NULL;
    bool started =
        args && engine_job_start(ask_engine(ask), "retention", &job, args, NULL, NULL, &why);
    if (!started)
        note_outcome(ask, db, &job, &why);
    if (why.code != ERR_NONE)
        IGNORE(!str_format(text, sizeof text, "retention: not now: %.350s", why.text));
    else if (started)
        IGNORE(!str_format(text, sizeof text, "retention: %zu snapshots go, plan %s, job %s", going,
                           retention_id(keep->decision), job.id));
    else
        IGNORE(!str_copy(text, sizeof text, "retention: nothing goes"));
    tell_run(ask, run, text);
}

/* ---- holds and locks ---- */

/* The snapshot exists, and nobody else is writing notes or deleting here. */
static bool may_mark(struct ask *ask, const struct config_served *db, const char *snapshot)
{
    size_t count;
    AUTO(mem)
    struct catalog_snapshot *rows =
        catalog_snapshot_list(ask_catalog(ask), db->name, &count, &ask->err);
    if (!rows)
        return false;
    bool known = false;
    if (!ask_is_settled(ask, db->name))
        return false;
    for (size_t i = 0; i < count; i++)
        known |= str_equal(rows[i].name, snapshot);
    if (!known)
        return err_set(&ask->err, ERR_NOT_FOUND, "there is no snapshot '%.128s'", snapshot);
    AUTO(mem)
    struct catalog_job *jobs =
        catalog_job_list(ask_catalog(ask), db->name, "mark", JOB_RUNNING, 1, &count, &ask->err);
    if (jobs && count)
        return err_set(&ask->err, ERR_BUSY, "another hold or lock is being written (%s): try again",
                       jobs[0].id);
    return jobs && keep_is_idle(ask_catalog(ask), db->name, &ask->err);
}

static size_t holds_of(struct ask *ask, const char *database, const char *snapshot,
                       struct catalog_hold **ret_list)
{
    size_t count, mine = 0;
    *ret_list = catalog_hold_list(ask_catalog(ask), database, &count, &ask->err);
    for (size_t i = 0; *ret_list && i < count; i++)
        if (str_equal((*ret_list)[i].snapshot, snapshot))
            (*ret_list)[mine++] = (*ret_list)[i];
    return mine;
}

static void held(void *arg, const struct catalog_job *row, const json_t *document,
                 const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__HoldSnapshotRequest *request = (const void *)ask->request;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    Evercopy__V1__HoldSnapshotReply *reply = ask_alloc(ask, sizeof *reply);
    if (is_same_request(ask, request->snapshot, json_text(document, "snapshot")) && reply) {
        evercopy__v1__hold_snapshot_reply__init(reply);
        reply->hold = ask_text(ask, row->id);
        log_info("snapshot held db=%s name=%s by=%s", row->database, request->snapshot,
                 ask->peer.cn);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static json_t *hold_args(struct ask *ask, const struct config_served *db)
{
    const Evercopy__V1__HoldSnapshotRequest *request = (const void *)ask->request;
    struct catalog_hold hold = {.made_us = clock_wall_us(), .until_us = request->until_us};
    if (!request->reason[0] || strlen(request->reason) > REASON_MAX) {
        err_set(&ask->err, ERR_INVALID, "a hold needs a reason of at most %d bytes", REASON_MAX);
        return NULL;
    }
    if (request->until_us && request->until_us <= hold.made_us) {
        err_set(&ask->err, ERR_INVALID, "the hold would be over already");
        return NULL;
    }
    if (!may_mark(ask, db, request->snapshot))
        return NULL;
    IGNORE(!str_copy(hold.database, sizeof hold.database, db->name));
    IGNORE(!str_copy(hold.snapshot, sizeof hold.snapshot, request->snapshot));
    IGNORE(!str_copy(hold.owner, sizeof hold.owner, ask->peer.cn));
    IGNORE(!str_copy(hold.reason, sizeof hold.reason, request->reason));
    return mark_hold_args(&hold, &ask->err);
}

void retention_hold(struct ask *ask)
{
    const Evercopy__V1__HoldSnapshotRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    bool repeated = db && is_repeated(ask, "hold", request->idempotency_key);
    AUTO(json) json_t *args = repeated ? json_object() : db ? hold_args(ask, db) : NULL;
    if (!db || ask->err.code != ERR_NONE ||
        !start(ask, db->name, "hold", request->idempotency_key, "mark", args, held))
        ask_answer(ask);
}

static void released(void *arg, const struct catalog_job *row, const json_t *document,
                     const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__ReleaseSnapshotRequest *request = (const void *)ask->request;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    AUTO(mem) struct catalog_hold *list = NULL;
    Evercopy__V1__ReleaseSnapshotReply *reply = ask_alloc(ask, sizeof *reply);
    if (is_same_request(ask, request->snapshot, json_text(document, "snapshot")) &&
        (!request->hold[0] || is_same_request(ask, request->hold, json_text(document, "id"))) &&
        reply) {
        evercopy__v1__release_snapshot_reply__init(reply);
        reply->hold = ask_text(ask, json_text(document, "id"));
        reply->left =
            (uint32_t)holds_of(ask, row->database, json_text(document, "snapshot"), &list);
        log_info("hold released db=%s name=%s hold=%s by=%s", row->database,
                 json_text(document, "snapshot"), json_text(document, "id"), ask->peer.cn);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

/* Of several holds the right one must be named: another's is not released by mistake. */
static json_t *release_args(struct ask *ask, const struct config_served *db)
{
    const Evercopy__V1__ReleaseSnapshotRequest *request = (const void *)ask->request;
    AUTO(mem) struct catalog_hold *list = NULL;
    if (!may_mark(ask, db, request->snapshot))
        return NULL;
    size_t count = holds_of(ask, db->name, request->snapshot, &list);
    const struct catalog_hold *found = NULL;
    for (size_t i = 0; i < count; i++)
        if (request->hold[0] ? str_equal(list[i].id, request->hold) : count == 1)
            found = &list[i];
    if (found)
        return mark_release_args(db->name, request->snapshot, found->id, &ask->err);
    if (list && count > 1 && !request->hold[0])
        err_set(&ask->err, ERR_PRECONDITION,
                "%zu holds are on '%s', by %.60s (%.40s) and others; hint: name one with --hold",
                count, request->snapshot, list[0].owner, list[0].id);
    else if (list)
        err_set(&ask->err, ERR_NOT_FOUND, "there is no such hold on '%s'", request->snapshot);
    return NULL;
}

void retention_release(struct ask *ask)
{
    const Evercopy__V1__ReleaseSnapshotRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    bool repeated = db && is_repeated(ask, "release", request->idempotency_key);
    AUTO(json) json_t *args = repeated ? json_object() : db ? release_args(ask, db) : NULL;
    if (!db || ask->err.code != ERR_NONE ||
        !start(ask, db->name, "release", request->idempotency_key, "mark", args, released))
        ask_answer(ask);
}

static void locked(void *arg, const struct catalog_job *row, const json_t *document,
                   const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__LockSnapshotRequest *request = (const void *)ask->request;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    Evercopy__V1__LockSnapshotReply *reply = ask_alloc(ask, sizeof *reply);
    if (is_same_request(ask, request->snapshot, json_text(document, "snapshot")) &&
        json_u64(document, "left_ms") / 1000 < request->for_s)
        err_set(&ask->err, ERR_INVALID, "this key locked '%.100s' before, for a shorter time",
                request->snapshot);
    if (ask->err.code == ERR_NONE && reply) {
        evercopy__v1__lock_snapshot_reply__init(reply);
        reply->left_s = json_u64(document, "left_ms") / 1000;
        reply->by = ask_text(ask, json_flag(document, "by_storage") ? "storage" : "agent");
        log_info("snapshot locked db=%s name=%s for_s=%" PRIu64 " by=%s", row->database,
                 json_text(document, "snapshot"), reply->left_s, ask->peer.cn);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static bool is_longer(struct ask *ask, const struct config_served *db, const char *snapshot,
                      uint64_t ms)
{
    struct guard_mark now;
    size_t count;
    guard_now(&now);
    AUTO(mem)
    struct catalog_lock *locks = catalog_lock_list(ask_catalog(ask), db->name, &count, &ask->err);
    for (size_t i = 0; locks && i < count; i++)
        if (str_equal(locks[i].snapshot, snapshot) && mark_lock_left_ms(&locks[i], &now) > ms)
            return err_set(&ask->err, ERR_PRECONDITION,
                           "'%s' is locked for another %" PRIu64 " s: a lock is never shortened",
                           snapshot, mark_lock_left_ms(&locks[i], &now) / 1000);
    return locks != NULL;
}

static json_t *lock_args(struct ask *ask, const struct config_served *db)
{
    const Evercopy__V1__LockSnapshotRequest *request = (const void *)ask->request;
    if (!request->for_s || request->for_s > LOCK_MAX_S) {
        err_set(&ask->err, ERR_INVALID, "a lock lasts between a second and ten years");
        return NULL;
    }
    if (!may_mark(ask, db, request->snapshot) ||
        !is_longer(ask, db, request->snapshot, request->for_s * 1000))
        return NULL;
    bool by_storage = driver_abilities(world_driver(ask_world(ask), db)) & DRIVER_CAN_LOCK;
    return mark_lock_args(db->name, request->snapshot, request->for_s * 1000, by_storage,
                          &ask->err);
}

void retention_lock(struct ask *ask)
{
    const Evercopy__V1__LockSnapshotRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    bool repeated = db && is_repeated(ask, "lock", request->idempotency_key);
    AUTO(json) json_t *args = repeated ? json_object() : db ? lock_args(ask, db) : NULL;
    if (!db || ask->err.code != ERR_NONE ||
        !start(ask, db->name, "lock", request->idempotency_key, "mark", args, locked))
        ask_answer(ask);
}
