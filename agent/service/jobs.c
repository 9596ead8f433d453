/* evercopy.v1.Jobs: what was done, and a job's log as it grows. */
#include "agent/service/ask.h"

#include "agent/base/log.h"
#include "agent/base/str.h"
#include "evercopy/v1/jobs.pb-c.h"

enum {
    BATCH_LINES = 500,
    FOLLOW_MS = 300,
    QUEUE_HIGH = 256 << 10,
    LIST_LIMIT = 50,
    LIST_MAX = 1000
};

static Evercopy__V1__Job *tell_job(struct ask *ask, const struct catalog_job *from)
{
    Evercopy__V1__Job *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__job__init(to);
    to->id = ask_text(ask, from->id);
    to->kind = ask_text(ask, from->kind);
    to->db_unique_name = ask_text(ask, from->database);
    to->state = ask_text(ask, job_state_text(from->state));
    to->step = ask_text(ask, from->step);
    to->verdict = (Evercopy__V1__Verdict)from->verdict;
    to->cause = ask_text(ask, from->cause);
    to->owner = ask_text(ask, from->owner);
    to->started_us = from->started_us;
    to->ended_us = from->ended_us;
    to->cancelled_by = ask_text(ask, from->cancelled_by);
    return to;
}

void jobs_list(struct ask *ask)
{
    const Evercopy__V1__ListJobsRequest *request = (const void *)ask->request;
    const char *only = request->db_unique_name;
    size_t count = 0;
    size_t limit = request->limit ? request->limit : LIST_LIMIT;
    limit = limit < LIST_MAX ? limit : LIST_MAX;
    Evercopy__V1__ListJobsReply *reply = ask_alloc(ask, sizeof *reply);
    bool may = !only[0] || ask_database(ask, only);
    AUTO(mem)
    struct catalog_job *rows = may ? catalog_job_before(ask_catalog(ask), only, request->page_token,
                                                        limit, &count, &ask->err)
                                   : NULL;
    if (reply && rows) {
        evercopy__v1__list_jobs_reply__init(reply);
        reply->jobs = ask_alloc(ask, sizeof(void *) * (count + 1));
        for (size_t i = 0; reply->jobs && i < count; i++) {
            struct err hidden = {0};
            if (!roles_check_database(&ask->peer, rows[i].database, &hidden))
                continue;
            if ((reply->jobs[reply->n_jobs] = tell_job(ask, &rows[i])))
                reply->n_jobs++;
        }
        if (count == limit)
            reply->next_page_token = ask_text(ask, rows[count - 1].id);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

/* ---- cancelling ---- */

/* A database's host may stop its own runs, whoever made a clone may stop the making; an operator or
 * admin may stop everything. */
static bool may_cancel(struct ask *ask, const struct catalog_job *job)
{
    uint32_t role = role_from_name(ask->peer.role);
    if (!roles_check_database(&ask->peer, job->database, &ask->err))
        return false;
    bool own_run = role == ROLE_DBHOST && str_equal(job->kind, "backup");
    bool own_clone = role == ROLE_RESTORE && str_equal(job->owner, ask->peer.cn);
    if (role & (ROLE_OPERATOR | ROLE_ADMIN) || own_run || own_clone)
        return true;
    return err_set(&ask->err, ERR_DENIED, "job '%s' of %s is not yours to cancel; needed: operator",
                   job->id, job->owner);
}

static const char *what_now(struct ask *ask, const struct catalog_job *job)
{
    struct catalog_lease lease;
    struct err why = {0};
    char text[320];
    if (job->state != JOB_RUNNING)
        return "it has ended already";
    if (!str_equal(job->kind, "backup"))
        return "it stops at its next step; what it made is removed";
    uint64_t left_s = catalog_lease_find(ask_catalog(ask), job->database, "backup", &lease, &why)
                          ? lease.left_ms / 1000
                          : 0;
    IGNORE(!str_format(text, sizeof text,
                       "its shim on %.200s is told within seconds and stops RMAN; if that is gone, "
                       "the lease ends in %llu s",
                       lease.host, (unsigned long long)left_s));
    return ask_text(ask, left_s ? text : "its shim is told at its next word");
}

void jobs_cancel(struct ask *ask)
{
    const Evercopy__V1__CancelJobRequest *request = (const void *)ask->request;
    Evercopy__V1__CancelJobReply *reply = ask_alloc(ask, sizeof *reply);
    struct catalog_job job;
    char who[160];
    IGNORE(!str_format(who, sizeof who, "%.60s (%.20s)", ask->peer.cn, ask->peer.role));
    bool ok = reply && catalog_job_get(ask_catalog(ask), request->job, &job, &ask->err) &&
              may_cancel(ask, &job);
    if (ok && job.state == JOB_RUNNING)
        ok = engine_cancel(ask_engine(ask), job.id, who, &ask->err) &&
             catalog_job_get(ask_catalog(ask), request->job, &job, &ask->err);
    if (ok) {
        log_info("job is to stop job=%s db=%s by=%s", job.id, job.database, who);
        evercopy__v1__cancel_job_reply__init(reply);
        reply->job = tell_job(ask, &job);
        reply->text = (char *)what_now(ask, &job);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

/* ---- following a log: read on the engine's lane, sent on the loop, until the job has ended ----
 */

struct follow {
    struct work work;
    struct service *service;
    struct rpc_call *call;
    struct timer *timer;
    char job[40];
    uint64_t next;
    bool follow;
    bool authorized;      /* looked at with the first batch */
    struct rpc_peer peer; /* of the call; read on the lane while the call waits */
    bool ended;           /* the job has, by the last read */
    struct catalog_log_line *lines;
    size_t count;
    struct err err;
};

static void follow_free(struct follow *f)
{
    timer_free(f->timer);
    rpc_peer_done(&f->peer);
    own_free(f);
}

static void run_read(struct work *work)
{
    struct follow *f = (struct follow *)work;
    struct catalog *catalog = engine_catalog(service_engine(f->service));
    struct catalog_job job;
    if (!catalog_job_get(catalog, f->job, &job, &f->err))
        return;
    if (!f->authorized && !roles_check_database(&f->peer, job.database, &f->err))
        return;
    f->authorized = true;
    f->ended = job.state != JOB_RUNNING;
    f->lines = catalog_log_read(catalog, f->job, f->next, BATCH_LINES, &f->count, &f->err);
}

static bool send_lines(struct follow *f)
{
    bool there = true;
    for (size_t i = 0; there && i < f->count; i++) {
        Evercopy__V1__LogLine line = EVERCOPY__V1__LOG_LINE__INIT;
        line.number = f->lines[i].number;
        line.time_us = f->lines[i].at_us;
        line.text = (ProtobufCBinaryData){f->lines[i].len, (uint8_t *)f->lines[i].text};
        there = rpc_call_send(f->call, &line.base);
        f->next = f->lines[i].number + 1;
    }
    catalog_log_free(f->lines, f->count);
    f->lines = NULL;
    return there && !rpc_call_is_cancelled(f->call);
}

static void read_more(struct follow *f);

static void read_done(struct work *work)
{
    struct follow *f = (struct follow *)work;
    bool full = f->count == BATCH_LINES;
    if (f->err.code != ERR_NONE) {
        rpc_call_fail(f->call, &f->err, NULL);
        follow_free(f);
    } else if (!send_lines(f) || (!full && (f->ended || !f->follow))) {
        rpc_call_end(f->call);
        follow_free(f);
    } else {
        timer_set(f->timer, full && rpc_call_queued(f->call) < QUEUE_HIGH ? 0 : FOLLOW_MS, 0);
    }
}

static void on_time(void *arg)
{
    struct follow *f = arg;
    if (rpc_call_is_cancelled(f->call)) {
        rpc_call_end(f->call);
        follow_free(f);
    } else if (rpc_call_queued(f->call) >= QUEUE_HIGH) {
        timer_set(f->timer, FOLLOW_MS, 0);
    } else {
        read_more(f);
    }
}

static void read_more(struct follow *f)
{
    f->count = 0;
    f->work = (struct work){
        .run = run_read, .done = read_done, .home = loop_post(service_loop(f->service))};
    lane_submit(service_lane(f->service), &f->work);
}

void jobs_follow(struct rpc_call *call, const ProtobufCMessage *message)
{
    const Evercopy__V1__FollowLogRequest *request = (const void *)message;
    struct err err = {0};
    struct follow *f = own_alloc(sizeof *f, &err);
    if (!f) {
        rpc_call_fail(call, &err, NULL);
        return;
    }
    f->service = rpc_call_arg(call);
    f->call = call;
    f->next = request->first_line;
    f->follow = request->follow;
    IGNORE(!str_copy(f->job, sizeof f->job, request->job));
    f->timer = timer_new(service_loop(f->service), on_time, f, &err);
    if (!f->timer || !rpc_peer_copy(rpc_call_peer(call), &f->peer, &err)) {
        rpc_call_fail(call, &err, NULL);
        follow_free(f);
        return;
    }
    read_more(f);
}
