/* Leases: one holder per database and kind, tokens that only grow, time that ticks while we run. */
#include "agent/catalog/catalog.h"

#include "agent/base/clock.h"
#include "agent/catalog/catalog_int.h"

#define LEASE_COLUMNS                                                                              \
    "database, kind, job, host, pid, process_start, token, taken_us, left_ms, boot_id"

static void read_lease(struct query *q, void *row)
{
    struct catalog_lease *lease = row;
    query_get_text(q, lease->database, sizeof lease->database);
    query_get_text(q, lease->kind, sizeof lease->kind);
    query_get_text(q, lease->job, sizeof lease->job);
    query_get_text(q, lease->host, sizeof lease->host);
    lease->pid = (uint32_t)query_get_u64(q);
    lease->process_start = query_get_u64(q);
    lease->token = query_get_u64(q);
    lease->taken_us = query_get_u64(q);
    lease->left_ms = query_get_u64(q);
    query_get_text(q, lease->boot_id, sizeof lease->boot_id);
}

static bool find_any(struct catalog *c, const char *database, const char *kind,
                     struct catalog_lease *ret, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT " LEASE_COLUMNS " FROM lease WHERE database = ? AND kind = ?");
    query_text(&q, database);
    query_text(&q, kind);
    return query_one(&q, read_lease, ret, err);
}

bool catalog_lease_find(struct catalog *c, const char *database, const char *kind,
                        struct catalog_lease *ret, struct err *err)
{
    struct catalog_lease found;
    if (!find_any(c, database, kind, &found, err))
        return err_wrap(err, "lease '%s' of '%s'", kind, database);
    if (found.left_ms == 0)
        return err_set(err, ERR_NOT_FOUND, "nobody holds the lease '%s' of '%s'", kind, database);
    *ret = found;
    return true;
}

bool catalog_lease_last(struct catalog *c, const char *database, const char *kind,
                        struct catalog_lease *ret, struct err *err)
{
    return find_any(c, database, kind, ret, err) ||
           err_wrap(err, "lease '%s' of '%s'", kind, database);
}

static bool put(struct catalog *c, const struct catalog_lease *lease, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "INSERT OR REPLACE INTO lease (" LEASE_COLUMNS ")"
                                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_text(&q, lease->database);
    query_text(&q, lease->kind);
    query_text(&q, lease->job);
    query_text(&q, lease->host);
    query_u64(&q, lease->pid);
    query_u64(&q, lease->process_start);
    query_u64(&q, lease->token);
    query_u64(&q, lease->taken_us);
    query_u64(&q, lease->left_ms);
    query_text(&q, lease->boot_id);
    return query_run(&q, err);
}

/* The token goes above the last one given, whoever held it; 1 when there was none. */
static bool next_token(struct catalog *c, const struct catalog_lease *lease,
                       struct catalog_lease *ret_holder, uint64_t *ret_token, struct err *err)
{
    struct catalog_lease last = {0};
    struct err why = {0};
    if (!find_any(c, lease->database, lease->kind, &last, &why) && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    if (last.left_ms > 0) {
        if (ret_holder)
            *ret_holder = last;
        return err_set(err, ERR_BUSY, "held by job '%s' on '%s', process %u", last.job, last.host,
                       last.pid);
    }
    *ret_token = last.token + 1;
    return true;
}

bool catalog_lease_take(struct catalog *c, struct catalog_lease *lease,
                        struct catalog_lease *ret_holder, struct err *err)
{
    if (lease->left_ms == 0 || !lease->job[0])
        return err_set(err, ERR_INVALID, "a lease needs a job and a length");
    struct catalog_lease taken = *lease;
    taken.taken_us = clock_wall_us();
    AUTO(write) struct write_span w = {0};
    if (!write_begin(&w, c, err) || !next_token(c, lease, ret_holder, &taken.token, err) ||
        !put(c, &taken, err) || !write_commit(&w, err))
        return err_wrap(err, "lease '%s' of '%s'", lease->kind, lease->database);
    *lease = taken;
    return true;
}

static bool fenced(struct err *err, const char *job, uint64_t token)
{
    return err_set(err, ERR_FENCED, "job '%s' holds no lease with token %llu any more", job,
                   (unsigned long long)token);
}

bool catalog_lease_check(struct catalog *c, const char *job, uint64_t token,
                         struct catalog_lease *ret, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "SELECT " LEASE_COLUMNS " FROM lease"
                                    " WHERE job = ? AND token = ? AND left_ms > 0");
    query_text(&q, job);
    query_u64(&q, token);
    struct catalog_lease found;
    int rc = query_next(&q, err);
    if (rc <= 0)
        return rc == 0 && fenced(err, job, token);
    read_lease(&q, &found);
    if (ret)
        *ret = found;
    return true;
}

static bool set_left(struct catalog *c, const char *job, uint64_t token, uint64_t left_ms,
                     struct err *err)
{
    AUTO(write) struct write_span w = {0};
    AUTO(query)
    struct query q =
        query_start(c, "UPDATE lease SET left_ms = ? WHERE job = ? AND token = ? AND left_ms > 0");
    query_u64(&q, left_ms);
    query_text(&q, job);
    query_u64(&q, token);
    if (!write_begin(&w, c, err) || !query_run(&q, err))
        return false;
    if (sqlite3_changes64(c->db) == 0)
        return fenced(err, job, token);
    return write_commit(&w, err);
}

bool catalog_lease_renew(struct catalog *c, const char *job, uint64_t token, uint64_t left_ms,
                         struct err *err)
{
    if (left_ms == 0)
        return err_set(err, ERR_INVALID, "a lease needs a length");
    return set_left(c, job, token, left_ms, err) || err_wrap(err, "renew lease");
}

bool catalog_lease_release(struct catalog *c, const char *job, uint64_t token, struct err *err)
{
    return set_left(c, job, token, 0, err) || err_wrap(err, "release lease");
}

static bool take_off(struct catalog *c, uint64_t elapsed_ms, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "UPDATE lease SET left_ms = max(left_ms - ?, 0) WHERE left_ms > 0");
    query_u64(&q, elapsed_ms < INT64_MAX ? elapsed_ms : INT64_MAX);
    return query_run(&q, err);
}

static struct catalog_lease *list_due(struct catalog *c, uint64_t elapsed_ms, size_t *ret_count,
                                      struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT " LEASE_COLUMNS " FROM lease WHERE left_ms > 0 AND left_ms <= ?");
    query_u64(&q, elapsed_ms < INT64_MAX ? elapsed_ms : INT64_MAX);
    return query_all(&q, read_lease, sizeof(struct catalog_lease), ret_count, err);
}

static int any_held(struct catalog *c, struct err *err)
{
    AUTO(query) struct query q = query_start(c, "SELECT 1 FROM lease WHERE left_ms > 0 LIMIT 1");
    return query_next(&q, err);
}

struct catalog_lease *catalog_lease_tick(struct catalog *c, uint64_t elapsed_ms, size_t *ret_count,
                                         struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct catalog_lease *due = list_due(c, elapsed_ms, &count, err);
    int held = due ? any_held(c, err) : -1;
    AUTO(write) struct write_span w = {0};
    /* An idle agent must not pay an fsync per tick. */
    if (held < 0 ||
        (held > 0 && elapsed_ms > 0 &&
         (!write_begin(&w, c, err) || !take_off(c, elapsed_ms, err) || !write_commit(&w, err))))
        return err_null(err, "tick the leases");
    for (size_t i = 0; i < count; i++)
        due[i].left_ms = 0;
    *ret_count = count;
    return TAKE(due);
}
