/* The verbs that only show: status, window, snapshots, jobs, log, clones. */
#include "agent/shim/shim.h"

#include "evercopy/v1/clones.pb-c.h"
#include "evercopy/v1/databases.pb-c.h"
#include "evercopy/v1/jobs.pb-c.h"
#include "evercopy/v1/recovery.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LOG_IDLE_MS = 24 * 3600 * 1000 };

/* One answer of the agent, printed as text or JSON. */
struct view {
    const char *service, *method;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *output;
    void (*text)(const ProtobufCMessage *reply);
    json_t *(*json)(const ProtobufCMessage *reply, struct err *err);
    int (*exit_code)(const ProtobufCMessage *reply); /* NULL: 0 */
};

static int show(const struct shim_options *options, const char *db, const struct view *view)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    AUTO(reply)
    ProtobufCMessage *reply = shim_open(&shim, options, db && db[0] ? db : NULL, &err)
                                  ? shim_call(&shim, view->service, view->method, view->request,
                                              view->output, SHIM_CALL_MS, &err)
                                  : NULL;
    if (!reply)
        return shim_report(&shim, db, "agent", &err);
    if (!options->json)
        view->text(reply);
    else if (!shim_print_json(view->json(reply, &err), &err))
        return shim_report(&shim, db, "print", &err);
    return view->exit_code ? view->exit_code(reply) : 0;
}

static bool put_verdict(json_t *to, const char *key, int wire, struct err *err)
{
    static const char *const names[] = {"unspecified", "ok", "warning", "failed", "unknown"};
    return json_put_text(to, key, wire >= 0 && wire < 5 ? names[wire] : "unknown", err);
}

/* An object {key: [..]}; each element made by `one`. NULL with an error. */
static json_t *list_json(const char *key, size_t count, void *const *items,
                         bool (*one)(const void *item, json_t *to, struct err *err),
                         struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    json_t *list = json_array();
    if (!json_put(doc, key, list, err))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        json_t *to = json_object();
        if (!json_add(list, to, err) || !one(items[i], to, err))
            return NULL;
    }
    return TAKE(doc);
}

/* ---- status ---- */

static void age_text(uint64_t seconds, char ret[32])
{
    if (seconds < 120)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " s", seconds));
    else if (seconds < 7200)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " min", seconds / 60));
    else if (seconds < UINT64_C(48) * 3600)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " h", seconds / 3600));
    else
        IGNORE(!str_format(ret, 32, "%" PRIu64 " days", seconds / 86400));
}

static void status_text(const ProtobufCMessage *message)
{
    const Evercopy__V1__GetStatusReply *reply = (const void *)message;
    char time[48];
    char age[32];
    for (size_t i = 0; i < reply->n_databases; i++) {
        const Evercopy__V1__DatabaseStatus *s = reply->databases[i];
        printf("%-14s %s%s%s\n", shim_verdict_word((int)s->verdict), s->db_unique_name,
               s->cause[0] ? ": " : "", s->cause);
        if (s->recoverable_to_scn) {
            shim_time(s->recoverable_to_time_us, 0, time);
            age_text(s->exposure_s, age);
            printf("%-14s recoverable to SCN %" PRIu64 " (%s), exposed for %s, %" PRIu32
                   " snapshots\n",
                   "", s->recoverable_to_scn, time, age, s->snapshot_count);
        }
        if (s->next[0])
            printf("%-14s next: %s\n", "", s->next);
    }
    if (!reply->n_databases)
        printf("no databases\n");
}

static bool status_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__DatabaseStatus *s = item;
    return json_put_text(to, "database", s->db_unique_name, err) &&
           json_put_u64(to, "dbid", s->dbid, err) &&
           put_verdict(to, "verdict", (int)s->verdict, err) &&
           json_put_text(to, "cause", s->cause, err) && json_put_text(to, "next", s->next, err) &&
           json_put_u64(to, "recoverable_to_scn", s->recoverable_to_scn, err) &&
           json_put_u64(to, "recoverable_to_us", s->recoverable_to_time_us, err) &&
           json_put_u64(to, "arrived_to_scn", s->arrived_to_scn, err) &&
           json_put_u64(to, "oldest_scn", s->oldest_scn, err) &&
           json_put_u64(to, "exposure_s", s->exposure_s, err) &&
           json_put_u64(to, "snapshots", s->snapshot_count, err) &&
           json_put_text(to, "last_run", s->last_run, err) &&
           put_verdict(to, "last_run_verdict", (int)s->last_run_verdict, err);
}

static json_t *status_json(const ProtobufCMessage *message, struct err *err)
{
    const Evercopy__V1__GetStatusReply *reply = (const void *)message;
    return list_json("databases", reply->n_databases, (void *const *)reply->databases, status_one,
                     err);
}

/* Worst first, so the first one decides: 0 ok or warning, 161 failed, 162 could not tell. */
static int status_exit(const ProtobufCMessage *message)
{
    const Evercopy__V1__GetStatusReply *reply = (const void *)message;
    if (!reply->n_databases ||
        reply->databases[0]->verdict == EVERCOPY__V1__VERDICT__VERDICT_UNKNOWN)
        return 162; /* nothing seen is nothing known */
    return reply->databases[0]->verdict == EVERCOPY__V1__VERDICT__VERDICT_FAILED ? 161 : 0;
}

int verb_status(const struct shim_options *options, const char *db)
{
    Evercopy__V1__GetStatusRequest request = EVERCOPY__V1__GET_STATUS_REQUEST__INIT;
    request.db_unique_name = (char *)(db ? db : "");
    struct view view = {
        "Databases", "GetStatus", &request.base, &evercopy__v1__get_status_reply__descriptor,
        status_text, status_json, status_exit};
    return show(options, db, &view);
}

/* ---- window ---- */

static void window_text(const ProtobufCMessage *message)
{
    const Evercopy__V1__GetWindowReply *w = (const void *)message;
    char from[48];
    char to[48];
    printf("times are the database's own%s%s\n", w->zone_name[0] ? ", zone " : "", w->zone_name);
    for (size_t i = 0; i < w->n_intervals; i++) {
        const Evercopy__V1__Interval *v = w->intervals[i];
        shim_time(v->first_time_us, w->offset_min, from);
        shim_time(v->last_time_us, w->offset_min, to);
        printf("reachable  SCN %" PRIu64 " to %" PRIu64 "  %s to %s\n", v->first_scn + 1,
               v->last_scn, from, to);
    }
    for (size_t i = 0; i < w->n_gaps; i++) {
        const Evercopy__V1__Gap *g = w->gaps[i];
        shim_time(g->first_time_us, w->offset_min, from);
        shim_time(g->last_time_us, w->offset_min, to);
        printf("%-10s SCN %" PRIu64 " to %" PRIu64 "  %s to %s\n           %s%s\n",
               g->closed ? "bridged" : "GAP", g->first_scn + 1, g->last_scn, from, to, g->why,
               g->closed ? "; reached by composing copies and logs of two snapshots" : "");
    }
    if (w->n_intervals && w->arrived_scn > w->intervals[w->n_intervals - 1]->last_scn) {
        shim_time(w->arrived_time_us, w->offset_min, to);
        printf("arrived    to SCN %" PRIu64 "  %s, by logs that no snapshot holds yet\n",
               w->arrived_scn, to);
    }
    if (!w->n_intervals)
        printf("nothing is reachable\n");
    for (size_t i = 0; i < w->n_findings; i++)
        printf("finding    %s\n", w->findings[i]);
}

static bool interval_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Interval *v = item;
    return json_put_u64(to, "first_scn", v->first_scn + 1, err) &&
           json_put_u64(to, "last_scn", v->last_scn, err) &&
           json_put_u64(to, "first_us", v->first_time_us, err) &&
           json_put_u64(to, "last_us", v->last_time_us, err) &&
           json_put_flag(to, "composed", v->composed, err);
}

static bool gap_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Gap *g = item;
    return json_put_u64(to, "first_scn", g->first_scn + 1, err) &&
           json_put_u64(to, "last_scn", g->last_scn, err) &&
           json_put_u64(to, "first_us", g->first_time_us, err) &&
           json_put_u64(to, "last_us", g->last_time_us, err) &&
           json_put_text(to, "why", g->why, err) && json_put_flag(to, "bridged", g->closed, err);
}

static json_t *window_json(const ProtobufCMessage *message, struct err *err)
{
    const Evercopy__V1__GetWindowReply *w = (const void *)message;
    AUTO(json)
    json_t *doc =
        list_json("intervals", w->n_intervals, (void *const *)w->intervals, interval_one, err);
    AUTO(json) json_t *gaps = list_json("gaps", w->n_gaps, (void *const *)w->gaps, gap_one, err);
    json_t *findings = json_array();
    if (!doc || !gaps || !json_put(doc, "findings", findings, err) ||
        !json_put_text(doc, "zone", w->zone_name, err) ||
        !json_put(doc, "offset_min", json_integer(w->offset_min), err) ||
        !json_put_u64(doc, "arrived_scn", w->arrived_scn, err) ||
        json_object_update(doc, gaps) != 0)
        return NULL;
    for (size_t i = 0; i < w->n_findings; i++)
        if (!json_add(findings, json_string(w->findings[i]), err))
            return NULL;
    return TAKE(doc);
}

int verb_window(const struct shim_options *options, const char *db)
{
    Evercopy__V1__GetWindowRequest request = EVERCOPY__V1__GET_WINDOW_REQUEST__INIT;
    request.db_unique_name = (char *)db;
    struct view view = {
        "Recovery",  "GetWindow", &request.base, &evercopy__v1__get_window_reply__descriptor,
        window_text, window_json, NULL};
    return show(options, db, &view);
}

/* ---- snapshots ---- */

static void print_marks(const Evercopy__V1__Snapshot *s)
{
    char until[48];
    for (size_t i = 0; i < s->n_holds; i++) {
        shim_time(s->holds[i]->until_us, 0, until);
        printf("  held by %s: %s, until %s\n", s->holds[i]->owner, s->holds[i]->reason,
               s->holds[i]->until_us ? until : "it is released");
    }
    if (s->lock_left_s) {
        age_text(s->lock_left_s, until);
        printf("  locked by the %s for another %s of its running time\n", s->lock_by, until);
    }
    for (size_t i = 0; i < s->n_clone_names; i++)
        printf("  clone '%s' is made of it\n", s->clone_names[i]);
}

static bool put_marks(const Evercopy__V1__Snapshot *s, json_t *to, struct err *err)
{
    json_t *holds = json_array();
    json_t *clones = json_array();
    bool ok = json_put(to, "holds", holds, err) & json_put(to, "clone_names", clones, err);
    for (size_t i = 0; ok && i < s->n_holds; i++) {
        json_t *hold = json_object();
        ok = json_add(holds, hold, err) && json_put_text(hold, "id", s->holds[i]->id, err) &&
             json_put_text(hold, "owner", s->holds[i]->owner, err) &&
             json_put_text(hold, "reason", s->holds[i]->reason, err) &&
             json_put_u64(hold, "until_us", s->holds[i]->until_us, err);
    }
    for (size_t i = 0; ok && i < s->n_clone_names; i++)
        ok = json_add(clones, json_string(s->clone_names[i]), err);
    return ok && json_put_u64(to, "lock_left_s", s->lock_left_s, err) &&
           json_put_text(to, "lock_by", s->lock_by, err);
}

static void snapshots_text(const ProtobufCMessage *message)
{
    const Evercopy__V1__ListSnapshotsReply *reply = (const void *)message;
    char size[32];
    printf("%-40s %-8s %9s %5s %5s %-10s %s\n", "snapshot", "stored", "size", "files", "logs",
           "as a base", "reaches SCN");
    for (size_t i = 0; i < reply->n_snapshots; i++) {
        const Evercopy__V1__Snapshot *s = reply->snapshots[i];
        shim_bytes(s->logical_bytes, size);
        printf("%-40s %-8s %9s %5" PRIu32 " %5" PRIu32 " %-10s ", s->name, s->durability, size,
               s->datafiles, s->logs, shim_verdict_word((int)s->verdict));
        if (s->earliest_scn && s->latest_scn > s->earliest_scn)
            printf("%" PRIu64 " to %" PRIu64, s->earliest_scn + 1, s->latest_scn);
        else
            printf("-");
        printf("%s%s\n", s->cause[0] ? "  " : "", s->cause);
        print_marks(s);
    }
}

static bool snapshot_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Snapshot *s = item;
    json_t *odd = json_array();
    if (!json_put_text(to, "name", s->name, err) || !json_put_text(to, "kind", s->kind, err) ||
        !json_put_text(to, "run", s->run, err) ||
        !json_put_u64(to, "created_us", s->created_us, err) ||
        !json_put_text(to, "durability", s->durability, err) ||
        !put_verdict(to, "verdict", (int)s->verdict, err) ||
        !json_put_text(to, "cause", s->cause, err) ||
        !json_put_u64(to, "start_scn", s->start_scn, err) ||
        !json_put_u64(to, "earliest_scn", s->earliest_scn, err) ||
        !json_put_u64(to, "latest_scn", s->latest_scn, err) ||
        !json_put_u64(to, "datafiles", s->datafiles, err) ||
        !json_put_u64(to, "logs", s->logs, err) ||
        !json_put_u64(to, "bytes", s->logical_bytes, err) ||
        !json_put_u64(to, "clones", s->clones, err) || !json_put(to, "odd_files", odd, err) ||
        !put_marks(s, to, err))
        return false;
    for (size_t i = 0; i < s->n_odd_files; i++)
        if (!json_add(odd, json_string(s->odd_files[i]), err))
            return false;
    return true;
}

static json_t *snapshots_json(const ProtobufCMessage *message, struct err *err)
{
    const Evercopy__V1__ListSnapshotsReply *reply = (const void *)message;
    return list_json("snapshots", reply->n_snapshots, (void *const *)reply->snapshots, snapshot_one,
                     err);
}

int verb_snapshots(const struct shim_options *options, const char *db)
{
    Evercopy__V1__ListSnapshotsRequest request = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    request.db_unique_name = (char *)db;
    struct view view = {"Snapshots",
                        "ListSnapshots",
                        &request.base,
                        &evercopy__v1__list_snapshots_reply__descriptor,
                        snapshots_text,
                        snapshots_json,
                        NULL};
    return show(options, db, &view);
}

/* ---- jobs ---- */

static void jobs_text(const ProtobufCMessage *message)
{
    const Evercopy__V1__ListJobsReply *reply = (const void *)message;
    char started[48];
    for (size_t i = 0; i < reply->n_jobs; i++) {
        const Evercopy__V1__Job *job = reply->jobs[i];
        shim_time(job->started_us, 0, started);
        printf("%-38s %-10s %-8s %-12s %s  %s%s%s%s%s\n", job->id, job->db_unique_name, job->state,
               job->step, started, shim_verdict_word((int)job->verdict), job->cause[0] ? ": " : "",
               job->cause, job->cancelled_by[0] ? ", to stop, asked by " : "", job->cancelled_by);
    }
}

static bool job_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Job *job = item;
    return json_put_text(to, "id", job->id, err) && json_put_text(to, "kind", job->kind, err) &&
           json_put_text(to, "database", job->db_unique_name, err) &&
           json_put_text(to, "state", job->state, err) &&
           json_put_text(to, "step", job->step, err) &&
           put_verdict(to, "verdict", (int)job->verdict, err) &&
           json_put_text(to, "cause", job->cause, err) &&
           json_put_text(to, "owner", job->owner, err) &&
           json_put_text(to, "cancelled_by", job->cancelled_by, err) &&
           json_put_u64(to, "started_us", job->started_us, err) &&
           json_put_u64(to, "ended_us", job->ended_us, err);
}

static json_t *jobs_json(const ProtobufCMessage *message, struct err *err)
{
    const Evercopy__V1__ListJobsReply *reply = (const void *)message;
    return list_json("jobs", reply->n_jobs, (void *const *)reply->jobs, job_one, err);
}

int verb_jobs(const struct shim_options *options, const char *db)
{
    Evercopy__V1__ListJobsRequest request = EVERCOPY__V1__LIST_JOBS_REQUEST__INIT;
    uint64_t limit = 0;
    request.db_unique_name = (char *)(db ? db : "");
    if (options->limit && str_to_u64(options->limit, 10000, &limit))
        request.limit = (uint32_t)limit;
    struct view view = {
        "Jobs",    "ListJobs", &request.base, &evercopy__v1__list_jobs_reply__descriptor,
        jobs_text, jobs_json,  NULL};
    return show(options, db, &view);
}

/* ---- clones ---- */

static const char *lease_word(int64_t left_s)
{
    return left_s < 0 ? " (OVER, it is to be dropped)" : left_s < 3600 ? " (within the hour)" : "";
}

static void clones_text(const ProtobufCMessage *message)
{
    const Evercopy__V1__ListClonesReply *reply = (const void *)message;
    char expires[48];
    for (size_t i = 0; i < reply->n_clones; i++) {
        const Evercopy__V1__Clone *c = reply->clones[i];
        shim_time(c->expires_us, 0, expires);
        printf("%-24s %-10s of %-38s %s%" PRIu64 "%s  owner %s, until %s%s%s%s\n  %s\n", c->name,
               c->db_unique_name, c->snapshot, c->scn ? "SCN " : "whole, SCN ", c->scn,
               c->purpose[0] ? ", " : "", c->owner, expires, lease_word(c->left_s),
               c->trouble[0] ? ": " : "", c->trouble, c->mount);
    }
    if (!reply->n_clones)
        printf("no clones\n");
}

static bool clone_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Clone *c = item;
    return json_put_text(to, "name", c->name, err) &&
           json_put_text(to, "database", c->db_unique_name, err) &&
           json_put_text(to, "snapshot", c->snapshot, err) &&
           json_put_text(to, "owner", c->owner, err) &&
           json_put_text(to, "purpose", c->purpose, err) && json_put_u64(to, "scn", c->scn, err) &&
           json_put_u64(to, "created_us", c->created_us, err) &&
           json_put_u64(to, "expires_us", c->expires_us, err) &&
           json_put_flag(to, "over", c->left_s < 0, err) &&
           json_put_text(to, "trouble", c->trouble, err) &&
           json_put_text(to, "mount", c->mount, err);
}

static json_t *clones_json(const ProtobufCMessage *message, struct err *err)
{
    const Evercopy__V1__ListClonesReply *reply = (const void *)message;
    return list_json("clones", reply->n_clones, (void *const *)reply->clones, clone_one, err);
}

int verb_clones(const struct shim_options *options, const char *db)
{
    Evercopy__V1__ListClonesRequest request = EVERCOPY__V1__LIST_CLONES_REQUEST__INIT;
    request.db_unique_name = (char *)(db ? db : "");
    struct view view = {
        "Clones",    "ListClones", &request.base, &evercopy__v1__list_clones_reply__descriptor,
        clones_text, clones_json,  NULL};
    return show(options, db, &view);
}

/* ---- log ---- */

static bool print_line(void *arg, const ProtobufCMessage *message)
{
    const Evercopy__V1__LogLine *line = (const void *)message;
    (void)arg;
    for (size_t i = 0; i < line->text.len; i++) {
        unsigned char c = line->text.data[i];
        putchar(c < 0x20 && c != '\t' ? '?' : c);
    }
    putchar('\n');
    return fflush(stdout) == 0;
}

int verb_log(const struct shim_options *options, const char *job)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__FollowLogRequest request = EVERCOPY__V1__FOLLOW_LOG_REQUEST__INIT;
    request.job = (char *)job;
    request.follow = options->follow;
    bool ok =
        shim_open(&shim, options, NULL, &err) && shim_connect(&shim, &err) &&
        rpc_client_stream(shim.client, "evercopy.v1.Jobs", "FollowLog", &request.base,
                          &evercopy__v1__log_line__descriptor,
                          options->follow ? LOG_IDLE_MS : SHIM_CALL_MS, print_line, NULL, &err);
    return ok ? 0 : shim_report(&shim, "", "log", &err);
}
