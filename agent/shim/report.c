/* evercopy report: the fleet, runs and snapshots and verdicts of each database, worst first. */
#include "agent/shim/status.h"

#include "agent/base/clock.h"
#include "agent/shim/words.h"
#include <inttypes.h>
#include <stdio.h>

enum { DAYS_DEFAULT = 7, DAYS_MAX = 3660, PAGE_JOBS = 500 };

static void count_runs(const struct report_row *row, char ret[64])
{
    AUTO(str) struct str text = {0};
    const struct {
        uint32_t count;
        const char *word;
    } parts[] = {{row->ok, "ok"},
                 {row->warning, "warning"},
                 {row->failed, "failed"},
                 {row->unknown, "unknown"},
                 {row->running, "running"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].count)
            str_printf(&text, "%s%" PRIu32 " %s", text.len ? ", " : "", parts[i].count,
                       parts[i].word);
    IGNORE(!str_copy(ret, 64, text.len ? text.text : "none"));
}

void report_render(const struct report_row *rows, size_t count, uint64_t since_us, struct str *out)
{
    char since[48];
    char age[32];
    char runs[64];
    words_time(since_us, 0, since);
    str_printf(out, "%zu database%s; runs since %s\n", count, count == 1 ? "" : "s", since);
    str_printf(out, "%-14s %-24s %-10s %9s %4s  %s\n", "verdict", "database", "exposed",
               "snapshots", "gaps", "runs");
    for (size_t i = 0; i < count; i++) {
        const Evercopy__V1__DatabaseStatus *s = rows[i].status;
        words_age(s->exposure_s, age);
        count_runs(&rows[i], runs);
        str_printf(out, "%-14s %-24s %-10s %9" PRIu32 " %4" PRIu32 "  %s\n",
                   shim_verdict_word((int)s->verdict), s->db_unique_name,
                   s->recoverable_to_time_us ? age : "-", s->snapshot_count, s->gaps, runs);
        if (s->cause[0]) {
            str_printf(out, "%-14s ", "");
            words_append_line(out, s->cause);
            str_append(out, "\n");
        }
    }
}

static bool row_json(const struct report_row *row, json_t *to, struct err *err)
{
    const Evercopy__V1__DatabaseStatus *s = row->status;
    json_t *runs = json_object();
    return json_put_text(to, "database", s->db_unique_name, err) &&
           words_put_verdict(to, "verdict", (int)s->verdict, err) &&
           json_put_text(to, "cause", s->cause, err) && json_put_text(to, "next", s->next, err) &&
           words_put_time(to, "recoverable_to", s->recoverable_to_time_us, err) &&
           words_put_known(to, "exposure_s", s->recoverable_to_time_us ? s->exposure_s : UINT64_MAX,
                           err) &&
           json_put_u64(to, "snapshots", s->snapshot_count, err) &&
           json_put_u64(to, "gaps", s->gaps, err) && json_put(to, "runs", runs, err) &&
           json_put_u64(runs, "ok", row->ok, err) &&
           json_put_u64(runs, "warning", row->warning, err) &&
           json_put_u64(runs, "failed", row->failed, err) &&
           json_put_u64(runs, "unknown", row->unknown, err) &&
           json_put_u64(runs, "running", row->running, err);
}

json_t *report_json(const struct report_row *rows, size_t count, uint64_t since_us, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    json_t *list = json_array();
    if (!words_put_time(doc, "since", since_us, err) || !json_put(doc, "databases", list, err))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        json_t *to = json_object();
        if (!json_add(list, to, err) || !row_json(&rows[i], to, err))
            return NULL;
    }
    return TAKE(doc);
}

/* ---- the verb ---- */

struct reporting {
    struct shim shim;
    ProtobufCMessage *message;
    struct report_row *rows;
    size_t count;
    uint64_t since_us;
};

static void reporting_done(struct reporting *r)
{
    own_free(r->rows);
    shim_free_reply(r->message);
    shim_close(&r->shim);
}
OWN_DEFINE_INPLACE(reporting, struct reporting, reporting_done);

static void count_job(struct reporting *r, const Evercopy__V1__Job *job)
{
    for (size_t i = 0; i < r->count; i++) {
        struct report_row *row = &r->rows[i];
        if (!str_equal(row->status->db_unique_name, job->db_unique_name))
            continue;
        uint32_t *const counts[] = {&row->unknown, &row->ok, &row->warning, &row->failed,
                                    &row->unknown};
        if (str_equal(job->state, "running"))
            row->running++;
        else
            ++*counts[(unsigned)job->verdict < 5 ? job->verdict : 0];
        return;
    }
}

/* Newest first: a page that reaches back far enough is the last one asked for. */
static bool count_jobs(struct reporting *r, struct err *err)
{
    char token[64] = "";
    bool more = true;
    while (more) {
        Evercopy__V1__ListJobsRequest request = EVERCOPY__V1__LIST_JOBS_REQUEST__INIT;
        request.limit = PAGE_JOBS;
        request.page_token = token;
        AUTO(reply)
        ProtobufCMessage *reply =
            shim_call(&r->shim, "Jobs", "ListJobs", &request.base,
                      &evercopy__v1__list_jobs_reply__descriptor, SHIM_CALL_MS, err);
        if (!reply)
            return false;
        const Evercopy__V1__ListJobsReply *page = (const void *)reply;
        more = page->next_page_token[0] && !str_equal(page->next_page_token, token);
        for (size_t i = 0; i < page->n_jobs; i++) {
            if (page->jobs[i]->started_us < r->since_us)
                more = false;
            else if (str_equal(page->jobs[i]->kind, "backup"))
                count_job(r, page->jobs[i]);
        }
        IGNORE(!str_copy(token, sizeof token, page->next_page_token)); /* a job's id fits */
    }
    return true;
}

static bool gather(struct reporting *r, const struct shim_options *options, struct err *err)
{
    uint64_t days = DAYS_DEFAULT;
    Evercopy__V1__GetStatusRequest request = EVERCOPY__V1__GET_STATUS_REQUEST__INIT;
    if (options->days && (!str_to_u64(options->days, DAYS_MAX, &days) || !days))
        return err_set(err, ERR_INVALID, "--days '%.40s' is no number of days", options->days);
    if (!shim_open(&r->shim, options, NULL, err) || !shim_zone(&r->shim, err))
        return false;
    r->message = shim_call(&r->shim, "Databases", "GetStatus", &request.base,
                           &evercopy__v1__get_status_reply__descriptor, SHIM_CALL_MS, err);
    if (!r->message)
        return false;
    const Evercopy__V1__GetStatusReply *reply = (const void *)r->message;
    uint64_t now = reply->agent_time_us ? reply->agent_time_us : clock_wall_us();
    r->since_us = now - days * UINT64_C(86400000000);
    r->rows = own_alloc(sizeof *r->rows * (reply->n_databases + 1), err);
    for (size_t i = 0; r->rows && i < reply->n_databases; i++)
        r->rows[r->count++].status = reply->databases[i];
    return r->rows && count_jobs(r, err);
}

int verb_report(const struct shim_options *options)
{
    AUTO(reporting) struct reporting r = {.shim.options = options};
    AUTO(str) struct str text = {0};
    struct err err = {0};
    if (!gather(&r, options, &err))
        return shim_report(&r.shim, "", "report", &err);
    if (!options->json)
        report_render(r.rows, r.count, r.since_us, &text);
    if (!(options->json ? shim_print_json(report_json(r.rows, r.count, r.since_us, &err), &err)
                        : shim_print_text(&text, &err)))
        return shim_report(&r.shim, "", "print", &err);
    return status_exit((const void *)r.message);
}
