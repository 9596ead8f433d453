/* The verbs that only show: window, snapshots, jobs, log, clones. */
#include "agent/shim/pages.h"
#include "agent/shim/words.h"

#include "evercopy/v1/jobs.pb-c.h"
#include "evercopy/v1/recovery.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LOG_IDLE_MS = 24 * 3600 * 1000, PAGE_ITEMS = 500, JOBS_DEFAULT = 50 };

/* One answer of the agent, printed as text or JSON. */
struct view {
    const char *service, *method;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *output;
    void (*text)(const ProtobufCMessage *reply);
    json_t *(*json)(const ProtobufCMessage *reply, struct err *err);
};

static int show(const struct shim_options *options, const char *db, const struct view *view)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    bool ok = shim_open(&shim, options, db && db[0] ? db : NULL, &err) && shim_zone(&shim, &err);
    AUTO(reply)
    ProtobufCMessage *reply = ok ? shim_call(&shim, view->service, view->method, view->request,
                                             view->output, SHIM_CALL_MS, &err)
                                 : NULL;
    if (!reply)
        return shim_report(&shim, db, "agent", &err);
    if (!options->json)
        view->text(reply);
    else if (!shim_print_json(view->json(reply, &err), &err))
        return shim_report(&shim, db, "print", &err);
    return 0;
}

/* The same for a list that may have many pages. */
struct list_view {
    struct pages pages;
    const char *key;
    void (*head)(void);
    void (*text)(const void *item);
    bool (*json)(const void *item, json_t *to, struct err *err);
    const char *none; /* printed for an empty list, or NULL */
};

static int show_list(const struct shim_options *options, const char *db,
                     const struct list_view *view)
{
    AUTO(shim) struct shim shim = {0};
    AUTO(gathered) struct gathered all = {0};
    struct err err = {0};
    if (!shim_open(&shim, options, db && db[0] ? db : NULL, &err) || !shim_zone(&shim, &err) ||
        !pages_gather(&shim, &view->pages, &all, &err))
        return shim_report(&shim, db, "agent", &err);
    if (options->json)
        return shim_print_json(words_list(view->key, all.count, all.items, view->json, &err), &err)
                   ? 0
                   : shim_report(&shim, db, "print", &err);
    if (view->head)
        view->head();
    for (size_t i = 0; i < all.count; i++)
        view->text(all.items[i]);
    if (!all.count && view->none)
        printf("%s\n", view->none);
    return 0;
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
        words_time(v->first_time_us, w->offset_min, from);
        words_time(v->last_time_us, w->offset_min, to);
        printf("reachable  SCN %" PRIu64 " to %" PRIu64 "  %s to %s\n", v->first_scn + 1,
               v->last_scn, from, to);
    }
    for (size_t i = 0; i < w->n_gaps; i++) {
        const Evercopy__V1__Gap *g = w->gaps[i];
        words_time(g->first_time_us, w->offset_min, from);
        words_time(g->last_time_us, w->offset_min, to);
        printf("%-10s SCN %" PRIu64 " to %" PRIu64 "  %s to %s\n           %s%s\n",
               g->closed ? "bridged" : "GAP", g->first_scn + 1, g->last_scn, from, to, g->why,
               g->closed ? "; reached by composing copies and logs of two snapshots" : "");
    }
    if (w->n_intervals && w->arrived_scn > w->intervals[w->n_intervals - 1]->last_scn) {
        words_time(w->arrived_time_us, w->offset_min, to);
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
           words_put_time(to, "first", v->first_time_us, err) &&
           words_put_time(to, "last", v->last_time_us, err) &&
           json_put_flag(to, "composed", v->composed, err);
}

static bool gap_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Gap *g = item;
    return json_put_u64(to, "first_scn", g->first_scn + 1, err) &&
           json_put_u64(to, "last_scn", g->last_scn, err) &&
           words_put_time(to, "first", g->first_time_us, err) &&
           words_put_time(to, "last", g->last_time_us, err) &&
           json_put_text(to, "why", g->why, err) && json_put_flag(to, "bridged", g->closed, err);
}

static json_t *window_json(const ProtobufCMessage *message, struct err *err)
{
    const Evercopy__V1__GetWindowReply *w = (const void *)message;
    AUTO(json)
    json_t *doc =
        words_list("intervals", w->n_intervals, (void *const *)w->intervals, interval_one, err);
    AUTO(json) json_t *gaps = words_list("gaps", w->n_gaps, (void *const *)w->gaps, gap_one, err);
    json_t *findings = json_array();
    if (!doc || !gaps || !json_put(doc, "findings", findings, err) ||
        !json_put_text(doc, "zone", w->zone_name, err) ||
        !json_put(doc, "offset_min", json_integer(w->offset_min), err) ||
        !words_put_known(doc, "arrived_scn", w->arrived_scn, err) ||
        !words_put_time(doc, "arrived", w->arrived_time_us, err) ||
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
    struct view view = {"Recovery",    "GetWindow",
                        &request.base, &evercopy__v1__get_window_reply__descriptor,
                        window_text,   window_json};
    return show(options, db, &view);
}

/* ---- snapshots ---- */

static void print_marks(const Evercopy__V1__Snapshot *s)
{
    char until[48];
    for (size_t i = 0; i < s->n_holds; i++) {
        words_time(s->holds[i]->until_us, 0, until);
        printf("  held by %s: %s, until %s\n", s->holds[i]->owner, s->holds[i]->reason,
               s->holds[i]->until_us ? until : "it is released");
    }
    if (s->lock_left_s) {
        words_age(s->lock_left_s, until);
        printf("  locked by the %s for another %s of its running time\n", s->lock_by, until);
    }
    for (size_t i = 0; i < s->n_clone_names; i++)
        printf("  clone '%s' is made of it\n", s->clone_names[i]);
}

static bool put_marks(const Evercopy__V1__Snapshot *s, json_t *to, struct err *err)
{
    json_t *holds = json_array();
    json_t *clones = json_array();
    bool ok = json_put(to, "holds", holds, err);
    ok = json_put(to, "clone_names", clones, err) && ok; /* it takes the list over either way */
    for (size_t i = 0; ok && i < s->n_holds; i++) {
        json_t *hold = json_object();
        ok = json_add(holds, hold, err) && json_put_text(hold, "id", s->holds[i]->id, err) &&
             json_put_text(hold, "owner", s->holds[i]->owner, err) &&
             json_put_text(hold, "reason", s->holds[i]->reason, err) &&
             words_put_time(hold, "until", s->holds[i]->until_us, err);
    }
    for (size_t i = 0; ok && i < s->n_clone_names; i++)
        ok = json_add(clones, json_string(s->clone_names[i]), err);
    return ok && json_put_u64(to, "lock_left_s", s->lock_left_s, err) &&
           json_put_text(to, "lock_by", s->lock_by, err);
}

static void snapshots_head(void)
{
    printf("%-40s %-8s %9s %5s %5s %-10s %s\n", "snapshot", "stored", "size", "files", "logs",
           "as a base", "reaches SCN");
}

static void snapshot_text(const void *item)
{
    const Evercopy__V1__Snapshot *s = item;
    char size[32];
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

static bool snapshot_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Snapshot *s = item;
    json_t *odd = json_array();
    if (!json_put_text(to, "name", s->name, err) || !json_put_text(to, "kind", s->kind, err) ||
        !json_put_text(to, "run", s->run, err) ||
        !words_put_time(to, "created", s->created_us, err) ||
        !json_put_text(to, "durability", s->durability, err) ||
        !words_put_verdict(to, "verdict", (int)s->verdict, err) ||
        !json_put_text(to, "cause", s->cause, err) ||
        !words_put_known(to, "start_scn", s->start_scn, err) ||
        !words_put_known(to, "earliest_scn", s->earliest_scn, err) ||
        !words_put_known(to, "latest_scn", s->latest_scn, err) ||
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

static void **snapshot_items(const ProtobufCMessage *message, size_t *ret_count,
                             const char **ret_next)
{
    const Evercopy__V1__ListSnapshotsReply *reply = (const void *)message;
    *ret_count = reply->n_snapshots;
    *ret_next = reply->next_page_token;
    return (void **)reply->snapshots;
}

int verb_snapshots(const struct shim_options *options, const char *db)
{
    Evercopy__V1__ListSnapshotsRequest request = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    request.db_unique_name = (char *)db;
    request.limit = PAGE_ITEMS;
    struct list_view view = {
        .pages = {"Snapshots", "ListSnapshots", &request.base, &request.page_token,
                  &evercopy__v1__list_snapshots_reply__descriptor, snapshot_items, 0},
        .key = "snapshots",
        .head = snapshots_head,
        .text = snapshot_text,
        .json = snapshot_one,
    };
    return show_list(options, db, &view);
}

/* ---- jobs ---- */

static void job_text(const void *item)
{
    const Evercopy__V1__Job *job = item;
    char started[48];
    words_time(job->started_us, 0, started);
    printf("%-38s %-10s %-8s %-12s %s  %s%s%s%s%s\n", job->id, job->db_unique_name, job->state,
           job->step, started, shim_verdict_word((int)job->verdict), job->cause[0] ? ": " : "",
           job->cause, job->cancelled_by[0] ? ", to stop, asked by " : "", job->cancelled_by);
}

static bool job_one(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__Job *job = item;
    return json_put_text(to, "id", job->id, err) && json_put_text(to, "kind", job->kind, err) &&
           json_put_text(to, "database", job->db_unique_name, err) &&
           json_put_text(to, "state", job->state, err) &&
           json_put_text(to, "step", job->step, err) &&
           words_put_verdict(to, "verdict", (int)job->verdict, err) &&
           json_put_text(to, "cause", job->cause, err) &&
           json_put_text(to, "owner", job->owner, err) &&
           json_put_text(to, "cancelled_by", job->cancelled_by, err) &&
           words_put_time(to, "started", job->started_us, err) &&
           words_put_time(to, "ended", job->ended_us, err);
}

static void **job_items(const ProtobufCMessage *message, size_t *ret_count, const char **ret_next)
{
    const Evercopy__V1__ListJobsReply *reply = (const void *)message;
    *ret_count = reply->n_jobs;
    *ret_next = reply->next_page_token;
    return (void **)reply->jobs;
}

int verb_jobs(const struct shim_options *options, const char *db)
{
    Evercopy__V1__ListJobsRequest request = EVERCOPY__V1__LIST_JOBS_REQUEST__INIT;
    uint64_t limit = JOBS_DEFAULT;
    struct err err = {0};
    request.db_unique_name = (char *)(db ? db : "");
    if (options->limit && (!str_to_u64(options->limit, 1000000, &limit) || !limit)) {
        err_set(&err, ERR_INVALID, "--limit '%.40s' is no number of jobs", options->limit);
        return shim_report(&(struct shim){.options = options}, db, "usage", &err);
    }
    request.limit = limit < PAGE_ITEMS ? (uint32_t)limit : PAGE_ITEMS;
    struct list_view view = {
        .pages = {"Jobs", "ListJobs", &request.base, &request.page_token,
                  &evercopy__v1__list_jobs_reply__descriptor, job_items, limit},
        .key = "jobs",
        .text = job_text,
        .json = job_one,
    };
    return show_list(options, db, &view);
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
        words_time(c->expires_us, 0, expires);
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
           words_put_time(to, "created", c->created_us, err) &&
           words_put_time(to, "expires", c->expires_us, err) &&
           json_put_flag(to, "over", c->left_s < 0, err) &&
           json_put_text(to, "trouble", c->trouble, err) &&
           json_put_text(to, "mount", c->mount, err);
}

static json_t *clones_json(const ProtobufCMessage *message, struct err *err)
{
    const Evercopy__V1__ListClonesReply *reply = (const void *)message;
    return words_list("clones", reply->n_clones, (void *const *)reply->clones, clone_one, err);
}

int verb_clones(const struct shim_options *options, const char *db)
{
    Evercopy__V1__ListClonesRequest request = EVERCOPY__V1__LIST_CLONES_REQUEST__INIT;
    request.db_unique_name = (char *)(db ? db : "");
    struct view view = {"Clones",      "ListClones",
                        &request.base, &evercopy__v1__list_clones_reply__descriptor,
                        clones_text,   clones_json};
    return show(options, db, &view);
}

/* ---- log ---- */

/* One JSON object a line: a log has no end to wait for. */
static bool print_json_line(const Evercopy__V1__LogLine *line)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    if (!json_put_u64(doc, "line", line->number, &err) ||
        !words_put_time(doc, "time", line->time_us, &err) ||
        !words_put_bytes(doc, "text", line->text.data, line->text.len, &err))
        return false;
    AUTO(mem) char *text = json_format(doc, &err);
    return text && puts(text) >= 0 && fflush(stdout) == 0;
}

static bool print_line(void *arg, const ProtobufCMessage *message)
{
    const struct shim_options *options = arg;
    const Evercopy__V1__LogLine *line = (const void *)message;
    if (options->json)
        return print_json_line(line);
    for (size_t i = 0; i < line->text.len; i++) {
        unsigned char c = line->text.data[i];
        putchar((c < 0x20 && c != '\t') || c == 0x7f ? '?' : c);
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
    bool ok = shim_open(&shim, options, NULL, &err) && shim_connect(&shim, &err) &&
              rpc_client_stream(shim.client, "evercopy.v1.Jobs", "FollowLog", &request.base,
                                &evercopy__v1__log_line__descriptor,
                                options->follow ? LOG_IDLE_MS : SHIM_CALL_MS, print_line,
                                (void *)options, &err);
    return ok ? 0 : shim_report(&shim, "", "log", &err);
}
