/* evercopy status: worst first, and what to do next. */
#include "agent/shim/status.h"

#include "agent/shim/words.h"
#include <inttypes.h>
#include <stdio.h>

enum { INDENT = 14 };

static bool is_ok(const Evercopy__V1__DatabaseStatus *s)
{
    return s->verdict == EVERCOPY__V1__VERDICT__VERDICT_OK;
}

static void append_exposure(const Evercopy__V1__DatabaseStatus *s, struct str *out)
{
    char age[32];
    words_age(s->exposure_s, age);
    if (!s->recoverable_to_scn)
        str_append(out, "nothing recoverable");
    else if (!s->recoverable_to_time_us)
        str_append(out, "exposed since an unknown time");
    else
        str_printf(out, "exposed for %s", age);
}

/* One sentence: how many are well, the one to look at, and what to do about it. */
static void headline(const Evercopy__V1__GetStatusReply *reply, struct str *out)
{
    size_t ok = 0;
    const Evercopy__V1__DatabaseStatus *worst = reply->databases[0];
    for (size_t i = 0; i < reply->n_databases; i++)
        ok += is_ok(reply->databases[i]);
    if (ok == reply->n_databases)
        str_printf(out, "all %zu ok; most exposed: ", ok);
    else
        str_printf(out, "%zu of %zu not ok; worst: ", reply->n_databases - ok, reply->n_databases);
    words_append_line(out, worst->db_unique_name);
    str_append(out, ", ");
    append_exposure(worst, out);
    if (worst->next[0]) {
        str_append(out, "; next: ");
        words_append_line(out, worst->next);
    }
    str_append(out, "\n");
}

static void append_threads(const Evercopy__V1__DatabaseStatus *s, struct str *out)
{
    char age[32];
    if (s->n_threads < 2)
        return;
    str_printf(out, "%-*s by thread:", INDENT, "");
    for (size_t i = 0; i < s->n_threads; i++) {
        const Evercopy__V1__ThreadStatus *t = s->threads[i];
        words_age(t->exposure_s, age);
        str_printf(out, "%s %" PRIu32 " ", i ? "," : "", t->thread);
        if (t->over)
            str_append(out, "closed");
        else if (t->protected_to_time_us)
            str_printf(out, "exposed for %s", age);
        else
            str_append(out, "exposed since an unknown time");
    }
    str_append(out, "\n");
}

/* A run that was left by its shim stays one until its lease ends: how long that is, is told. */
static void append_running(const Evercopy__V1__DatabaseStatus *s, struct str *out)
{
    char time[48];
    if (!s->running[0])
        return;
    str_printf(out, "%-*s running: ", INDENT, "");
    words_append_line(out, s->running);
    if (s->lease_taken_us) {
        words_time(s->lease_taken_us, 0, time);
        str_printf(out, " since %s, lease %" PRIu64 " s", time, s->lease_left_s);
    }
    str_append(out, "\n");
}

static void append_one(const Evercopy__V1__DatabaseStatus *s, struct str *out)
{
    char time[48];
    str_printf(out, "%-*s ", INDENT, shim_verdict_word((int)s->verdict));
    words_append_line(out, s->db_unique_name);
    if (s->cause[0]) {
        str_append(out, ": ");
        words_append_line(out, s->cause);
    }
    str_append(out, "\n");
    if (s->recoverable_to_scn) {
        words_time(s->recoverable_to_time_us, 0, time);
        str_printf(out, "%-*s recoverable to SCN %" PRIu64 " (%s), ", INDENT, "",
                   s->recoverable_to_scn, time);
        append_exposure(s, out);
        str_printf(out, ", %" PRIu32 " snapshot%s", s->snapshot_count,
                   s->snapshot_count == 1 ? "" : "s");
        if (s->gaps)
            str_printf(out, ", %" PRIu32 " gap%s", s->gaps, s->gaps == 1 ? "" : "s");
        str_append(out, "\n");
    }
    append_threads(s, out);
    append_running(s, out);
    if (s->next[0]) {
        str_printf(out, "%-*s next: ", INDENT, "");
        words_append_line(out, s->next);
        str_append(out, "\n");
    }
}

void status_render(const Evercopy__V1__GetStatusReply *reply, struct str *out)
{
    if (reply->notice && reply->notice[0])
        str_printf(out, "the agent: %s\n", reply->notice);
    if (!reply->n_databases) {
        str_append(out, "no databases\n");
        return;
    }
    if (reply->n_databases > 1)
        headline(reply, out);
    for (size_t i = 0; i < reply->n_databases; i++)
        append_one(reply->databases[i], out);
}

/* ---- JSON ---- */

static bool thread_json(const Evercopy__V1__ThreadStatus *t, json_t *list, struct err *err)
{
    json_t *to = json_object();
    return json_add(list, to, err) && json_put_u64(to, "thread", t->thread, err) &&
           json_put_flag(to, "over", t->over, err) &&
           words_put_known(to, "protected_to_scn", t->protected_to_scn, err) &&
           words_put_time(to, "protected_to", t->protected_to_time_us, err) &&
           words_put_known(to, "exposure_s", t->protected_to_time_us ? t->exposure_s : UINT64_MAX,
                           err);
}

static bool one_json(const void *item, json_t *to, struct err *err)
{
    const Evercopy__V1__DatabaseStatus *s = item;
    json_t *threads = json_array();
    bool ok = json_put_text(to, "database", s->db_unique_name, err) &&
              json_put_u64(to, "dbid", s->dbid, err) &&
              words_put_verdict(to, "verdict", (int)s->verdict, err) &&
              json_put_text(to, "cause", s->cause, err) &&
              json_put_text(to, "next", s->next, err) &&
              words_put_known(to, "recoverable_to_scn", s->recoverable_to_scn, err) &&
              words_put_time(to, "recoverable_to", s->recoverable_to_time_us, err) &&
              words_put_known(to, "arrived_to_scn", s->arrived_to_scn, err) &&
              words_put_time(to, "arrived_to", s->arrived_to_time_us, err) &&
              words_put_known(to, "oldest_scn", s->oldest_scn, err) &&
              words_put_time(to, "oldest", s->oldest_time_us, err) &&
              words_put_known(to, "exposure_s",
                              s->recoverable_to_time_us ? s->exposure_s : UINT64_MAX, err) &&
              json_put_u64(to, "snapshots", s->snapshot_count, err) &&
              json_put_text(to, "base_snapshot", s->base_snapshot, err) &&
              words_put_time(to, "base", s->base_time_us, err) &&
              json_put_u64(to, "gaps", s->gaps, err) && json_put_text(to, "gap", s->gap, err) &&
              json_put_text(to, "running", s->running, err) &&
              json_put_text(to, "last_run", s->last_run, err) &&
              words_put_verdict(to, "last_run_verdict", (int)s->last_run_verdict, err) &&
              words_put_time(to, "last_run_ended", s->last_run_time_us, err) &&
              json_put_text(to, "last_run_cause", s->last_run_cause, err) &&
              words_put_known(to, "free_bytes", s->free_bytes, err) &&
              json_put(to, "threads", threads, err);
    for (size_t i = 0; ok && i < s->n_threads; i++)
        ok = thread_json(s->threads[i], threads, err);
    return ok;
}

json_t *status_json(const Evercopy__V1__GetStatusReply *reply, struct err *err)
{
    AUTO(json)
    json_t *doc =
        words_list("databases", reply->n_databases, (void *const *)reply->databases, one_json, err);
    return doc && words_put_time(doc, "agent_time", reply->agent_time_us, err) ? TAKE(doc) : NULL;
}

/* Worst first, so the first one decides; nothing seen is nothing known. */
int status_exit(const Evercopy__V1__GetStatusReply *reply)
{
    if (!reply->n_databases)
        return 162;
    switch (reply->databases[0]->verdict) {
    case EVERCOPY__V1__VERDICT__VERDICT_OK:
    case EVERCOPY__V1__VERDICT__VERDICT_WARNING:
        return 0;
    case EVERCOPY__V1__VERDICT__VERDICT_FAILED:
        return 161;
    default:
        return 162;
    }
}

int verb_status(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    AUTO(str) struct str text = {0};
    struct err err = {0};
    Evercopy__V1__GetStatusRequest request = EVERCOPY__V1__GET_STATUS_REQUEST__INIT;
    request.db_unique_name = (char *)(db ? db : "");
    bool ok = shim_open(&shim, options, db, &err) && shim_zone(&shim, &err);
    if (ok)
        shim_deliver_first(&shim);
    AUTO(reply)
    ProtobufCMessage *message =
        ok ? shim_call(&shim, "Databases", "GetStatus", &request.base,
                       &evercopy__v1__get_status_reply__descriptor, SHIM_CALL_MS, &err)
           : NULL;
    if (!message)
        return shim_report(&shim, db, "agent", &err);
    const Evercopy__V1__GetStatusReply *reply = (const void *)message;
    if (options->json)
        ok = shim_print_json(status_json(reply, &err), &err);
    else
        status_render(reply, &text);
    if (!options->json)
        ok = shim_print_text(&text, &err);
    return ok ? status_exit(reply) : shim_report(&shim, db, "print", &err);
}
