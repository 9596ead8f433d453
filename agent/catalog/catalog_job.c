/* Jobs in the catalog: their rows, their journal, their document. */
#include "agent/catalog/catalog.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/catalog/catalog_int.h"
#include <assert.h>
#include <string.h>

enum { LIST_DEFAULT = 50, ID_KIND_MAX = 15 };

const char *job_state_text(enum job_state state)
{
    static const char *const texts[] = {"running", "done", "failed", "swept"};
    assert((unsigned)state < JOB_STATE_COUNT);
    return texts[state];
}

static enum job_state state_of(const char *text)
{
    for (int state = 0; state < JOB_STATE_COUNT; state++)
        if (str_equal(text, job_state_text((enum job_state)state)))
            return (enum job_state)state;
    return JOB_FAILED; /* the schema's CHECK lets no other text in */
}

void catalog_job_id(const char *kind, char ret[40])
{
    unsigned char noise[3];
    char now[32], hex[7];
    clock_random(noise, sizeof noise);
    clock_format_compact(clock_wall_us(), now);
    str_hex(noise, sizeof noise, hex);
    IGNORE(!str_format(ret, 40, "%.*s-%.16s-%s", ID_KIND_MAX, kind, now, hex)); /* 39 at most */
}

#define JOB_COLUMNS                                                                                \
    "id, kind, parent, database, owner, key, state, step, verdict, cause, next, started_us, "      \
    "ended_us, cancelled_by"

static void read_job(struct query *q, void *row)
{
    struct catalog_job *job = row;
    char state[16];
    query_get_text(q, job->id, sizeof job->id);
    query_get_text(q, job->kind, sizeof job->kind);
    query_get_text(q, job->parent, sizeof job->parent);
    query_get_text(q, job->database, sizeof job->database);
    query_get_text(q, job->owner, sizeof job->owner);
    query_get_text(q, job->key, sizeof job->key);
    query_get_text(q, state, sizeof state);
    job->state = state_of(state);
    query_get_text(q, job->step, sizeof job->step);
    job->verdict = (int)query_get_u64(q);
    query_get_text(q, job->cause, sizeof job->cause);
    query_get_text(q, job->next, sizeof job->next);
    job->started_us = query_get_u64(q);
    job->ended_us = query_get_u64(q);
    query_get_text(q, job->cancelled_by, sizeof job->cancelled_by);
}

bool catalog_job_add(struct catalog *c, const struct catalog_job *job, const char *args,
                     struct err *err)
{
    if (!job->id[0] || !job->kind[0])
        return err_set(err, ERR_INVALID, "a job needs an id and a kind");
    AUTO(query)
    struct query q = query_start(
        c, "INSERT INTO job (id, kind, parent, database, owner, key, state, started_us, document)"
           " VALUES (?, ?, ?, ?, ?, ?, 'running', ?, ?)");
    query_text(&q, job->id);
    query_text(&q, job->kind);
    query_text(&q, job->parent);
    query_text(&q, job->database);
    query_text(&q, job->owner);
    query_text(&q, job->key);
    query_u64(&q, job->started_us ? job->started_us : clock_wall_us());
    query_text(&q, args);
    return write_query(&q, err) || err_wrap(err, "add job '%s' with key '%s'", job->id, job->key);
}

bool catalog_job_get(struct catalog *c, const char *id, struct catalog_job *ret, struct err *err)
{
    AUTO(query) struct query q = query_start(c, "SELECT " JOB_COLUMNS " FROM job WHERE id = ?");
    query_text(&q, id);
    return query_one(&q, read_job, ret, err) || err_wrap(err, "job '%s'", id);
}

bool catalog_job_find_key(struct catalog *c, const char *key, struct catalog_job *ret,
                          struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "SELECT " JOB_COLUMNS " FROM job WHERE key = ? AND key <> ''");
    query_text(&q, key);
    return query_one(&q, read_job, ret, err) || err_wrap(err, "job with key '%s'", key);
}

char *catalog_job_document(struct catalog *c, const char *id, struct err *err)
{
    AUTO(query) struct query q = query_start(c, "SELECT document FROM job WHERE id = ?");
    query_text(&q, id);
    char *text = NULL;
    int rc = query_next(&q, err);
    if (rc == 0)
        err_set(err, ERR_NOT_FOUND, "no job '%s'", id);
    if (rc > 0 && !query_take_text(&q, &text, NULL, err))
        return NULL;
    return text;
}

/* ---- journal ---- */

static bool journal_add(struct catalog *c, const char *id, const char *step, bool is_end, bool ok,
                        const char *text, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "INSERT INTO journal (job, at_us, step, is_end, ok, text)"
                                    " VALUES (?, ?, ?, ?, ?, ?)");
    query_text(&q, id);
    query_u64(&q, clock_wall_us());
    query_text(&q, step);
    query_u64(&q, is_end);
    query_u64(&q, ok);
    query_text(&q, text);
    return query_run(&q, err);
}

static bool set_step(struct catalog *c, const char *id, const char *step, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "UPDATE job SET step = ? WHERE id = ? AND state = 'running'");
    query_text(&q, step);
    query_text(&q, id);
    return query_run_one(&q, "it does not run", err);
}

bool catalog_step_begin(struct catalog *c, const char *id, const char *step, struct err *err)
{
    AUTO(write) struct write_span w = {0};
    return (write_begin(&w, c, err) && set_step(c, id, step, err) &&
            journal_add(c, id, step, false, true, "", err) && write_commit(&w, err)) ||
           err_wrap(err, "journal step '%s' of job '%s'", step, id);
}

static bool set_document(struct catalog *c, const char *id, const char *document, struct err *err)
{
    if (!document)
        return true;
    AUTO(query)
    struct query q =
        query_start(c, "UPDATE job SET document = ? WHERE id = ? AND state = 'running'");
    query_text(&q, document);
    query_text(&q, id);
    return query_run_one(&q, "it does not run", err);
}

bool catalog_step_end(struct catalog *c, const char *id, const char *step, bool ok,
                      const char *text, const char *document, struct err *err)
{
    AUTO(write) struct write_span w = {0};
    return (write_begin(&w, c, err) && set_document(c, id, document, err) &&
            journal_add(c, id, step, true, ok, text ? text : "", err) && write_commit(&w, err)) ||
           err_wrap(err, "journal the outcome of step '%s' of job '%s'", step, id);
}

void catalog_watch_ends(struct catalog *c, void (*fn)(void *arg, const char *id), void *arg)
{
    c->on_end = fn;
    c->on_end_arg = arg;
}

/* For catalog_watch_ends, when the transaction is on disk. Without memory nobody hears of it. */
static bool note_end(struct catalog *c, const char *id)
{
    struct err err = {0};
    if (c->on_end &&
        own_grow((void **)&c->ended, &c->ended_capacity, c->ended_count, sizeof *c->ended, &err))
        IGNORE(!str_copy(c->ended[c->ended_count++], sizeof *c->ended, id)); /* it is in a row */
    return true;
}

bool catalog_job_finish(struct catalog *c, const char *id, enum job_state state, int verdict,
                        const char *cause, const char *next, struct err *err)
{
    assert(state != JOB_RUNNING);
    AUTO(write) struct write_span w = {0};
    AUTO(query)
    struct query q =
        query_start(c, "UPDATE job SET state = ?, verdict = ?, cause = ?, next = ?, ended_us = ?"
                       " WHERE id = ? AND state = 'running'");
    query_text(&q, job_state_text(state));
    query_u64(&q, (uint64_t)verdict);
    query_text(&q, cause ? cause : "");
    query_text(&q, next ? next : "");
    query_u64(&q, clock_wall_us());
    query_text(&q, id);
    return (write_begin(&w, c, err) && query_run_one(&q, "no such job runs", err) &&
            note_end(c, id) && write_commit(&w, err)) ||
           err_wrap(err, "finish job '%s'", id);
}

bool catalog_job_cancel(struct catalog *c, const char *id, const char *who, struct err *err)
{
    AUTO(write) struct write_span w = {0};
    AUTO(query)
    struct query q = query_start(c, "UPDATE job SET cancelled_by = CASE cancelled_by WHEN ''"
                                    " THEN ? ELSE cancelled_by END"
                                    " WHERE id = ? AND state = 'running'");
    query_text(&q, who);
    query_text(&q, id);
    return (write_begin(&w, c, err) && query_run_one(&q, "no such job runs", err) &&
            write_commit(&w, err)) ||
           err_wrap(err, "cancel job '%s'", id);
}

bool catalog_job_drop_key(struct catalog *c, const char *id, struct err *err)
{
    AUTO(query) struct query q = query_start(c, "UPDATE job SET key = '' WHERE id = ?");
    query_text(&q, id);
    return write_query(&q, err) || err_wrap(err, "drop the key of job '%s'", id);
}

struct catalog_job *catalog_job_list(struct catalog *c, const char *database, const char *kind,
                                     int state, size_t limit, size_t *ret_count, struct err *err)
{
    const char *wanted = state < 0 ? "" : job_state_text((enum job_state)state);
    uint64_t most = limit == 0 ? LIST_DEFAULT : limit < INT64_MAX ? limit : INT64_MAX;
    AUTO(query)
    struct query q = query_start(
        c, "SELECT " JOB_COLUMNS " FROM job WHERE (?1 = '' OR database = ?1)"
           " AND (?2 = '' OR kind = ?2) AND (?3 = '' OR state = ?3) ORDER BY seq DESC LIMIT ?4");
    query_text(&q, database ? database : "");
    query_text(&q, kind ? kind : "");
    query_text(&q, wanted);
    query_u64(&q, most);
    return query_all(&q, read_job, sizeof(struct catalog_job), ret_count, err);
}

struct catalog_job *catalog_job_last(struct catalog *c, const char *database, const char *kind,
                                     size_t limit, size_t *ret_count, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "SELECT " JOB_COLUMNS " FROM job WHERE database = ?"
                                    " AND kind = ? ORDER BY seq DESC LIMIT ?");
    query_text(&q, database);
    query_text(&q, kind);
    query_u64(&q, limit);
    return query_all(&q, read_job, sizeof(struct catalog_job), ret_count, err);
}

static void read_time(struct query *q, void *row) { *(uint64_t *)row = query_get_u64(q); }

bool catalog_job_last_good(struct catalog *c, const char *database, const char *kind, int worst,
                           uint64_t *ret_ended_us, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT coalesce((SELECT ended_us FROM job WHERE database = ? AND kind = ?"
                       " AND state = 'done' AND verdict <= ? ORDER BY seq DESC LIMIT 1), 0)");
    query_text(&q, database);
    query_text(&q, kind);
    query_u64(&q, (uint64_t)worst);
    return query_one(&q, read_time, ret_ended_us, err) || err_wrap(err, "last good job");
}

struct catalog_job *catalog_job_before(struct catalog *c, const char *database, const char *id,
                                       size_t limit, size_t *ret_count, struct err *err)
{
    struct catalog_job row;
    if (id[0] && !catalog_job_get(c, id, &row, err))
        return NULL;
    AUTO(query)
    struct query q = query_start(
        c,
        "SELECT " JOB_COLUMNS " FROM job WHERE (?1 = '' OR database = ?1)"
        " AND (?2 = '' OR seq < (SELECT seq FROM job WHERE id = ?2)) ORDER BY seq DESC LIMIT ?3");
    query_text(&q, database);
    query_text(&q, id);
    query_u64(&q, limit ? limit : LIST_DEFAULT);
    return query_all(&q, read_job, sizeof(struct catalog_job), ret_count, err);
}

static void read_journal(struct query *q, void *row)
{
    struct catalog_journal_row *entry = row;
    entry->at_us = query_get_u64(q);
    query_get_text(q, entry->step, sizeof entry->step);
    entry->is_end = query_get_u64(q) != 0;
    entry->ok = query_get_u64(q) != 0;
    query_get_text(q, entry->text, sizeof entry->text);
}

struct catalog_journal_row *catalog_journal_list(struct catalog *c, const char *id,
                                                 size_t *ret_count, struct err *err)
{
    AUTO(query)
    struct query q = query_start(
        c, "SELECT at_us, step, is_end, ok, text FROM journal WHERE job = ? ORDER BY seq");
    query_text(&q, id);
    return query_all(&q, read_journal, sizeof(struct catalog_journal_row), ret_count, err);
}

struct job_usage {
    uint64_t count, oldest_us;
};

static void read_usage(struct query *q, void *row)
{
    struct job_usage *usage = row;
    usage->count = query_get_u64(q);
    usage->oldest_us = query_get_u64(q);
}

bool catalog_job_usage(struct catalog *c, const char *database, const char *kind, uint64_t since_us,
                       uint64_t *ret_count, uint64_t *ret_oldest_us, struct err *err)
{
    struct job_usage usage;
    AUTO(query)
    struct query q = query_start(c, "SELECT count(*), coalesce(min(started_us), 0) FROM job"
                                    " WHERE database = ? AND kind = ? AND started_us > ?");
    query_text(&q, database);
    query_text(&q, kind);
    query_u64(&q, since_us);
    if (!query_one(&q, read_usage, &usage, err))
        return err_wrap(err, "count jobs");
    *ret_count = usage.count;
    *ret_oldest_us = usage.oldest_us;
    return true;
}
