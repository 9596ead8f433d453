/* evercopy.v1.Backups: one run, driven by the shim step by step. */
#include "agent/service/ask.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "evercopy/v1/backups.pb-c.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_LINES_MAX = 1000000, LINE_BYTES_MAX = 4096, PHASE_TEXT_MAX = 512, IN_FLIGHT_MAX = 200 };

/* A run and its database, if this caller may touch it. NOT_FOUND says of the run itself that nobody
 * knows it; a database that is out of the configuration may come back. */
static const struct config_served *find_run(struct ask *ask, const char *job,
                                            struct catalog_job *ret_job)
{
    const struct config_served *db = NULL;
    if (catalog_job_get(ask_catalog(ask), job, ret_job, &ask->err) &&
        !(db = ask_database(ask, ret_job->database)) && ask->err.code == ERR_NOT_FOUND)
        ask->err.code = ERR_CONFIG;
    return db;
}

/* The run's lease, checked and renewed, and its database, if this caller may touch it. */
static const struct config_served *hold(struct ask *ask, const char *job, uint64_t token,
                                        struct catalog_job *ret_job)
{
    const struct config_served *db = find_run(ask, job, ret_job);
    return db && backup_hold(ask_catalog(ask), ask_world(ask), job, token, ret_job, &ask->err)
               ? db
               : NULL;
}

static uint32_t lease_s(struct ask *ask)
{
    return (uint32_t)world_config(ask_world(ask))->backuplease_s;
}

static bool tell_base(struct ask *ask, const struct config_served *db,
                      Evercopy__V1__BeginBackupReply *reply)
{
    AUTO(outlook)
    struct outlook *o = ask_outlook(ask, db, false);
    if (!o)
        return false;
    reply->first_run = o->snapshot_count == 0;
    size_t base = plan_newest_base(o->plan);
    if (base != SIZE_MAX) {
        reply->base_snapshot = ask_text(ask, o->rows[base].name);
        reply->base_start_scn = plan_base(o->plan, base)->start.n;
    }
    uint32_t *files;
    size_t count;
    if (!backup_suspects_get(ask_catalog(ask), db->name, &files, &count, &ask->err))
        return false;
    reply->suspect_files = (uint32_t *)(void *)ask_bytes(ask, files, count * sizeof *files).data;
    reply->n_suspect_files = reply->suspect_files ? count : 0;
    own_free(files);
    return ask->err.code == ERR_NONE;
}

void backups_begin(struct ask *ask)
{
    const Evercopy__V1__BeginBackupRequest *request = (const void *)ask->request;
    Evercopy__V1__BeginBackupReply *reply = ask_alloc(ask, sizeof *reply);
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    char key[80];
    char owner[160];
    struct backup_granted granted = {0};
    key[0] = '\0';
    IGNORE(!str_format(owner, sizeof owner, "%.60s on %.80s", ask->peer.cn, request->host));
    struct backup_begin begin = {
        .database = request->db_unique_name,
        .db_name = request->db_name,
        .host = request->host,
        .owner = owner,
        .key = key,
        .channel_text = request->channel_text,
        .dead_job = request->dead_job,
        .boot_id = request->boot_id,
        .dbid = request->dbid,
        .resetlogs_id = request->resetlogs_id,
        .pid = request->pid,
        .open_channels = request->open_channels,
        .process_start = request->process_start,
    };
    if (!reply || !db || !ask_is_settled(ask, db->name) ||
        !ask_key(ask, "begin", request->idempotency_key, key) ||
        (ask_is_bounded(ask, key) && !quota_run(ask_catalog(ask), db, &ask->err)) ||
        !backup_begin(ask_catalog(ask), ask_world(ask), &begin, &granted, &ask->err)) {
        ask_answer(ask);
        return;
    }
    evercopy__v1__begin_backup_reply__init(reply);
    reply->job = ask_text(ask, granted.job);
    reply->fencing_token = granted.token;
    reply->lease_s = granted.lease_s;
    reply->slow_snapshot =
        (driver_abilities(world_driver(ask_world(ask), db)) & DRIVER_IS_SLOW_SNAPSHOT) != 0;
    if (!tell_base(ask, db, reply)) { /* told by ask->err; the lease must not bar the next try */
        struct backup_verdict failed = {.verdict = EVERCOPY__V1__VERDICT__VERDICT_FAILED};
        struct err why = {0};
        IGNORE(!str_copy(failed.phase, sizeof failed.phase, "begin"));
        IGNORE(!str_copy(failed.cause, sizeof failed.cause, ask->err.text));
        IGNORE(!backup_finish(ask_catalog(ask), granted.job, granted.token, &failed, &why));
    }
    ask->reply = &reply->base;
    ask_answer(ask);
}

void backups_lease(struct ask *ask)
{
    const Evercopy__V1__GetLeaseRequest *request = (const void *)ask->request;
    Evercopy__V1__GetLeaseReply *reply = ask_alloc(ask, sizeof *reply);
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    struct catalog_lease lease;
    struct err why = {0};
    if (reply && db) {
        evercopy__v1__get_lease_reply__init(reply);
        reply->held = catalog_lease_find(ask_catalog(ask), db->name, "backup", &lease, &why);
        if (reply->held) {
            reply->job = ask_text(ask, lease.job);
            reply->host = ask_text(ask, lease.host);
            reply->pid = lease.pid;
            reply->process_start = lease.process_start;
            reply->taken_us = lease.taken_us;
            reply->left_s = (uint32_t)(lease.left_ms / 1000);
            reply->boot_id = ask_text(ask, lease.boot_id);
        } else if (why.code != ERR_NOT_FOUND) {
            ask->err = why;
        }
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void backups_phase(struct ask *ask)
{
    const Evercopy__V1__ReportPhaseRequest *request = (const void *)ask->request;
    Evercopy__V1__ReportPhaseReply *reply = ask_alloc(ask, sizeof *reply);
    struct catalog_job job;
    bool fits = strlen(request->phase) < sizeof job.step &&
                strlen(request->text) <= PHASE_TEXT_MAX && strlen(request->alarm) <= PHASE_TEXT_MAX;
    if (!fits)
        err_set(&ask->err, ERR_INVALID, "a phase has a short name and one sentence");
    if (fits && reply && hold(ask, request->job, request->fencing_token, &job) &&
        (request->alarm[0] ? backup_alarm(ask_catalog(ask), &job, request->alarm, &ask->err)
                           : backup_phase(ask_catalog(ask), request->job, request->phase,
                                          (int)request->verdict, request->text, &ask->err))) {
        evercopy__v1__report_phase_reply__init(reply);
        reply->lease_s = lease_s(ask);
        reply->cancel = job.cancelled_by[0] != '\0';
        reply->cancelled_by = ask_text(ask, job.cancelled_by);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

/* ---- logs ---- */

/* The logs of an area that count, sorted: tens of thousands of them meet as many questions. */
struct log_index {
    struct log_key {
        uint32_t resetlogs_id, thread, sequence;
        uint64_t first_scn, next_scn;
    } * keys;
    size_t count;
};

static int compare_keys(const void *a, const void *b)
{
    const struct log_key *x = a;
    const struct log_key *y = b;
    const uint64_t order[][2] = {{x->resetlogs_id, y->resetlogs_id},
                                 {x->thread, y->thread},
                                 {x->sequence, y->sequence},
                                 {x->first_scn, y->first_scn},
                                 {x->next_scn, y->next_scn}};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (order[i][0] != order[i][1])
            return order[i][0] < order[i][1] ? -1 : 1;
    return 0;
}

static bool index_logs(struct ask *ask, const struct manifest *live, struct log_index *index)
{
    index->keys = ask_alloc(ask, sizeof *index->keys * (live->count + 1));
    index->count = 0;
    for (size_t i = 0; index->keys && i < live->count; i++) {
        const struct manifest_entry *e = &live->entries[i];
        if (e->kind == FILE_ARCHIVED_LOG && e->state == STATE_GOOD)
            index->keys[index->count++] =
                (struct log_key){e->resetlogs_id, e->log.thread, e->log.sequence,
                                 e->log.first_scn.n, e->log.next_scn.n};
    }
    if (index->count)
        qsort(index->keys, index->count, sizeof *index->keys, compare_keys);
    return index->keys != NULL;
}

static bool area_has(const struct log_index *index, const Evercopy__V1__LogId *id)
{
    struct log_key key = {id->resetlogs_id, id->thread, id->sequence, id->first_scn, id->next_scn};
    return index->count &&
           bsearch(&key, index->keys, index->count, sizeof key, compare_keys) != NULL;
}

/* By a log the database names itself: one of another incarnation with a high SCN ends no wait. */
static bool thread_reaches(const struct log_index *index,
                           const Evercopy__V1__CheckLogsRequest *request, uint32_t thread)
{
    for (size_t i = 0; i < request->n_known; i++)
        if (request->known[i]->thread == thread &&
            request->known[i]->next_scn > request->through_scn &&
            area_has(index, request->known[i]))
            return true;
    return false;
}

static void tell_in_flight(struct ask *ask, const struct manifest *live,
                           Evercopy__V1__CheckLogsReply *reply)
{
    char text[400];
    for (size_t i = 0; reply->in_flight && i < live->count && reply->n_in_flight < IN_FLIGHT_MAX;
         i++) {
        const struct manifest_entry *entry = &live->entries[i];
        bool log = entry->kind == FILE_ARCHIVED_LOG || entry->kind == FILE_ONLINE_LOG;
        if (!log || entry->state == STATE_GOOD)
            continue;
        IGNORE(!str_format(text, sizeof text, "%.200s: %s", entry->path,
                           file_state_text(entry->state)));
        reply->in_flight[reply->n_in_flight++] = ask_text(ask, text);
    }
}

enum { LOG_WAIT_MAX_MS = 2000 };

struct log_wait {
    struct arrivals_wait wait; /* first member */
    struct ask *ask;
    bool over;
};

static void logs_surveyed(struct ask *ask);

/* On the engine's lane: the kept survey is another one, or the time is over. */
static void logs_woken(struct arrivals_wait *wait)
{
    struct log_wait *w = (struct log_wait *)wait;
    w->over = true;
    logs_surveyed(w->ask);
}

/* True when the answer comes later: the storage tells what arrives, and more is needed. */
static bool wait_for_logs(struct ask *ask, const struct catalog_job *job)
{
    const Evercopy__V1__CheckLogsRequest *request = (const void *)ask->request;
    struct log_wait *w = ask->carried;
    struct arrivals *arrivals = ask_arrivals(ask);
    if (!request->wait_ms || w->over || ask_is_over(ask) ||
        !arrivals_watches(arrivals, job->database))
        return false;
    uint64_t wait_ms = request->wait_ms < LOG_WAIT_MAX_MS ? request->wait_ms : LOG_WAIT_MAX_MS;
    w->wait.database = ask_text(ask, job->database);
    w->wait.due_ms = clock_mono_ms() + wait_ms;
    w->wait.woken = logs_woken;
    if (ask->err.code != ERR_NONE)
        return false;
    arrivals_wait(arrivals, &w->wait);
    return true;
}

static void logs_surveyed(struct ask *ask)
{
    const Evercopy__V1__CheckLogsRequest *request = (const void *)ask->request;
    Evercopy__V1__CheckLogsReply *reply = ask_alloc(ask, sizeof *reply);
    struct catalog_job job;
    if (!reply || !catalog_job_get(ask_catalog(ask), request->job, &job, &ask->err)) {
        ask_answer(ask);
        return;
    }
    const struct manifest *live = ask_live(ask, job.database);
    evercopy__v1__check_logs_reply__init(reply);
    reply->missing = ask_alloc(ask, sizeof(void *) * (request->n_known + 1));
    reply->in_flight = ask_alloc(ask, sizeof(char *) * (live->count + 1));
    struct log_index index;
    if (!index_logs(ask, live, &index)) {
        ask_answer(ask);
        return;
    }
    for (size_t i = 0; reply->missing && i < request->n_known; i++) {
        Evercopy__V1__LogId *id = request->known[i];
        if (id->next_scn <= request->from_scn)
            continue;
        if (area_has(&index, id))
            reply->present++;
        else
            reply->missing[reply->n_missing++] = id;
    }
    tell_in_flight(ask, live, reply);
    reply->complete = reply->n_missing == 0;
    for (size_t i = 0; request->through_scn && i < request->n_open_threads; i++)
        reply->complete &= thread_reaches(&index, request, request->open_threads[i]);
    /* What is missing is copied by who asks; only for what is not archived yet he waits. */
    if (!reply->complete && !reply->n_missing && wait_for_logs(ask, &job))
        return;
    reply->waited = ((const struct log_wait *)ask->carried)->over;
    ask->reply = &reply->base;
    ask_answer(ask);
}

void backups_check_logs(struct ask *ask)
{
    const Evercopy__V1__CheckLogsRequest *request = (const void *)ask->request;
    struct catalog_job job;
    const struct config_served *db = hold(ask, request->job, request->fencing_token, &job);
    struct log_wait *w = db ? own_alloc(sizeof *w, &ask->err) : NULL;
    if (!w) {
        ask_answer(ask);
        return;
    }
    *w = (struct log_wait){.ask = ask};
    w->wait.news = arrivals_news(ask_arrivals(ask), db->name); /* before anybody looks */
    ask->carried = w;
    ask->carried_free = own_free;
    ask_survey(ask, db, false, logs_surveyed);
}

/* ---- copies ---- */

static void copies_surveyed(struct ask *ask)
{
    Evercopy__V1__CheckCopiesReply *reply = ask_alloc(ask, sizeof *reply);
    const struct manifest *live = ask_quick(ask);
    if (!reply) {
        ask_answer(ask);
        return;
    }
    evercopy__v1__check_copies_reply__init(reply);
    reply->copies = ask_alloc(ask, sizeof(void *) * (live->count + 1));
    for (size_t i = 0; reply->copies && i < live->count; i++) {
        const struct manifest_entry *entry = &live->entries[i];
        if (entry->kind != FILE_DATAFILE)
            continue;
        Evercopy__V1__CopyState *copy = ask_alloc(ask, sizeof *copy);
        if (!copy)
            break;
        evercopy__v1__copy_state__init(copy);
        copy->file_no = entry->datafile.file_no;
        copy->creation_scn = entry->datafile.creation_scn.n;
        copy->checkpoint_scn = entry->datafile.checkpoint_scn.n;
        copy->path = ask_bytes(ask, entry->path, strlen(entry->path));
        copy->usable = entry->state == STATE_GOOD;
        copy->why = ask_text(ask, entry->why);
        copy->size = entry->size;
        reply->copies[reply->n_copies++] = copy;
    }
    ask->reply = &reply->base;
    ask_answer(ask);
}

void backups_check_copies(struct ask *ask)
{
    const Evercopy__V1__CheckCopiesRequest *request = (const void *)ask->request;
    struct catalog_job job;
    const struct config_served *db = hold(ask, request->job, request->fencing_token, &job);
    if (db)
        ask_survey(ask, db, true, copies_surveyed);
    else
        ask_answer(ask);
}

/* ---- facts ---- */

struct putting {
    const struct config_served *db;
    char path[160]; /* in the area */
};

/* On the readers' lane: a storage may take its time. */
static void run_put(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const Evercopy__V1__PutFactsRequest *request = (const void *)ask->request;
    const struct putting *p = ask->state;
    struct err err = {0};
    AUTO(json)
    json_t *doc = json_parse((const char *)request->facts.data, request->facts.len, &err);
    if (!doc)
        err_set(&ask->err, ERR_INVALID, "the fact sheet is no JSON: %.200s", err.text);
    else
        IGNORE(!driver_area_put(world_driver(ask_world(ask), p->db), p->db->volume, p->path,
                                request->facts.data, request->facts.len,
                                &ask->err)); /* told by ask->err */
}

static void put_done(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    Evercopy__V1__PutFactsReply *reply =
        ask->err.code == ERR_NONE ? ask_alloc(ask, sizeof *reply) : NULL;
    if (reply) {
        evercopy__v1__put_facts_reply__init(reply);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void backups_put_facts(struct ask *ask)
{
    const Evercopy__V1__PutFactsRequest *request = (const void *)ask->request;
    struct catalog_job job;
    struct putting *p = ask_alloc(ask, sizeof *p);
    if (!p || !(p->db = hold(ask, request->job, request->fencing_token, &job))) {
        ask_answer(ask);
        return;
    }
    IGNORE(!str_format(p->path, sizeof p->path, ".evercopy/facts-%s.json", job.id)); /* it fits */
    ask->state = p;
    ask->read = (struct work){
        .run = run_put, .done = put_done, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}

/* ---- log and end ---- */

struct log_part {
    const char *job;
    uint64_t token, first_line;
    const ProtobufCBinaryData *lines;
    size_t count;
    bool late; /* by another shim, or after the end: renews nothing */
};

static bool is_within_quota(struct ask *ask, const struct config_served *db,
                            const struct log_part *part)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < part->count; i++)
        bytes += part->lines[i].len < LINE_BYTES_MAX ? part->lines[i].len : LINE_BYTES_MAX;
    return !ask_is_bounded(ask, "") || quota_log(ask_quota(ask), ask_catalog(ask), db, part->job,
                                                 part->count, bytes, &ask->err);
}

static const struct config_served *may_append(struct ask *ask, const struct log_part *part,
                                              struct catalog_job *ret_job)
{
    if (!part->late)
        return hold(ask, part->job, part->token, ret_job);
    const struct config_served *db = find_run(ask, part->job, ret_job);
    return db && backup_knows(ask_catalog(ask), part->job, part->token, ret_job, &ask->err) ? db
                                                                                            : NULL;
}

/* Keeps the lines of a run whose lease this caller holds, or held last. */
static bool keep_lines(struct ask *ask, const struct log_part *part, struct catalog_job *ret_job,
                       uint64_t *ret_next)
{
    AUTO(mem) const char **lines = own_alloc(sizeof *lines * (part->count + 1), &ask->err);
    AUTO(mem) size_t *lens = own_alloc(sizeof *lens * (part->count + 1), &ask->err);
    if (!lines || !lens)
        return false;
    if (part->first_line > LOG_LINES_MAX || part->count > LOG_LINES_MAX - part->first_line)
        return err_set(&ask->err, ERR_LIMIT, "a job's log ends at %d lines", LOG_LINES_MAX);
    for (size_t i = 0; i < part->count; i++) {
        lines[i] = (const char *)part->lines[i].data;
        lens[i] = part->lines[i].len < LINE_BYTES_MAX ? part->lines[i].len : LINE_BYTES_MAX;
    }
    const struct config_served *db = may_append(ask, part, ret_job);
    return db && is_within_quota(ask, db, part) &&
           catalog_log_append(ask_catalog(ask), part->job, part->first_line, lines, lens,
                              part->count, ret_next, &ask->err);
}

void backups_append_log(struct ask *ask)
{
    const Evercopy__V1__AppendLogRequest *request = (const void *)ask->request;
    Evercopy__V1__AppendLogReply *reply = ask_alloc(ask, sizeof *reply);
    struct log_part part = {request->job,   request->fencing_token, request->first_line,
                            request->lines, request->n_lines,       request->late};
    struct catalog_job job;
    if (reply) {
        evercopy__v1__append_log_reply__init(reply);
        if (keep_lines(ask, &part, &job, &reply->next_line)) {
            reply->cancelled_by = ask_text(ask, job.cancelled_by);
            ask->reply = &reply->base;
        }
    }
    ask_answer(ask);
}

/* One message of the stream; what is kept between them is the job's name and the reply. */
void backups_upload_log(struct ask *ask)
{
    const Evercopy__V1__UploadLogRequest *request = (const void *)ask->request;
    Evercopy__V1__UploadLogReply *reply = (void *)ask->reply;
    if (!reply && (reply = ask_alloc(ask, sizeof *reply))) {
        evercopy__v1__upload_log_reply__init(reply);
        ask->reply = &reply->base;
        ask->state = own_strdup(request->job, &ask->err);
        ask->state_free = own_free;
    }
    struct log_part part = {request->job,   request->fencing_token, request->first_line,
                            request->lines, request->n_lines,       false};
    struct catalog_job job;
    if (!reply || !ask->state)
        return;
    if (str_equal(ask->state, request->job))
        IGNORE(!keep_lines(ask, &part, &job, &reply->next_line)); /* ask->err ends the stream */
    else
        err_set(&ask->err, ERR_INVALID, "one stream carries the log of one job");
}

/* The shim's word when it failed; the agent's own judgement when it calls the run done. */
static bool judge(struct ask *ask, const struct config_served *db, const struct outlook *o,
                  struct backup_verdict *v)
{
    const Evercopy__V1__FinishBackupRequest *request = (const void *)ask->request;
    backup_judge(o, request->job, v);
    if (request->verdict != EVERCOPY__V1__VERDICT__VERDICT_OK &&
        request->verdict != EVERCOPY__V1__VERDICT__VERDICT_WARNING) {
        v->verdict =
            request->verdict ? (int)request->verdict : (int)EVERCOPY__V1__VERDICT__VERDICT_UNKNOWN;
        IGNORE(!str_copy(v->phase, sizeof v->phase, request->phase));
        IGNORE(!str_copy(v->cause, sizeof v->cause, request->cause));
        IGNORE(!str_copy(v->next, sizeof v->next, request->next));
    } else if (v->verdict == EVERCOPY__V1__VERDICT__VERDICT_OK &&
               request->verdict == EVERCOPY__V1__VERDICT__VERDICT_WARNING) {
        v->verdict = EVERCOPY__V1__VERDICT__VERDICT_WARNING;
        IGNORE(!str_copy(v->phase, sizeof v->phase, request->phase));
        IGNORE(!str_copy(v->cause, sizeof v->cause, request->cause));
    }
    return backup_suspects_put(ask_catalog(ask), db->name, request->suspect_files,
                               request->n_suspect_files, &ask->err);
}

static void tell_verdict(struct ask *ask, const struct outlook *o, const struct backup_verdict *v)
{
    Evercopy__V1__FinishBackupReply *reply = ask_alloc(ask, sizeof *reply);
    if (!reply)
        return;
    evercopy__v1__finish_backup_reply__init(reply);
    reply->verdict = (Evercopy__V1__Verdict)v->verdict;
    reply->phase = ask_text(ask, v->phase);
    reply->cause = ask_text(ask, v->cause);
    reply->next = ask_text(ask, v->next);
    reply->recoverable_to_scn = v->recoverable_to.n;
    reply->recoverable_to_time_us = v->recoverable_to_us;
    reply->earliest_scn = v->earliest.n;
    size_t count;
    const struct plan_finding *findings = plan_findings(o->plan, &count);
    reply->findings = ask_alloc(ask, sizeof(char *) * (count + 1));
    for (size_t i = 0; reply->findings && i < count; i++)
        reply->findings[reply->n_findings++] = ask_text(ask, findings[i].text);
    ask->reply = &reply->base;
}

/* A repeated call after the run has ended gives the verdict that was kept. */
static bool finished_before(struct ask *ask, const struct catalog_job *job,
                            struct backup_verdict *v)
{
    const Evercopy__V1__FinishBackupRequest *request = (const void *)ask->request;
    struct catalog_job known;
    char text[600];
    if (job->state == JOB_RUNNING)
        return false;
    if (request->late &&
        !backup_knows(ask_catalog(ask), request->job, request->fencing_token, &known, &ask->err))
        return false;
    IGNORE(!str_format(text, sizeof text, "the shim's own word, told late: %s%s%s",
                       request->verdict <= EVERCOPY__V1__VERDICT__VERDICT_WARNING
                           ? "it came to its end"
                           : request->phase,
                       request->cause[0] ? ": " : "", request->cause));
    if (request->late && !backup_late_word(ask_catalog(ask), job, text, request->suspect_files,
                                           request->n_suspect_files, &ask->err))
        return false;
    *v = (struct backup_verdict){.verdict = job->verdict};
    IGNORE(!str_copy(v->cause, sizeof v->cause, job->cause));
    IGNORE(!str_copy(v->next, sizeof v->next, job->next));
    return true;
}

void backups_finish(struct ask *ask)
{
    const Evercopy__V1__FinishBackupRequest *request = (const void *)ask->request;
    struct catalog_job job;
    struct backup_verdict verdict = {0};
    const struct config_served *db = find_run(ask, request->job, &job);
    AUTO(outlook)
    struct outlook *o = db ? ask_outlook(ask, db, false) : NULL;
    bool ok =
        o && (finished_before(ask, &job, &verdict) ||
              (ask->err.code == ERR_NONE && hold(ask, request->job, request->fencing_token, &job) &&
               judge(ask, db, o, &verdict) &&
               backup_finish(ask_catalog(ask), request->job, request->fencing_token, &verdict,
                             &ask->err)));
    if (ok && verdict.verdict == EVERCOPY__V1__VERDICT__VERDICT_OK && job.state == JOB_RUNNING)
        retention_after_run(ask, db, request->job);
    if (ok) {
        log_info("backup run ends db=%s job=%s verdict=%d cause=%s", job.database, job.id,
                 verdict.verdict, verdict.cause);
        tell_verdict(ask, o, &verdict);
    }
    ask_answer(ask);
}
