/* Job logs: lines by number, so that an upload that was cut can go on where it stopped. */
#include "agent/catalog/catalog.h"

#include "agent/base/clock.h"
#include "agent/catalog/catalog_int.h"

enum { READ_DEFAULT = 1000 };

static bool add_line(struct catalog *c, const char *id, uint64_t number, const char *line,
                     size_t len, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "INSERT INTO job_log (job, number, at_us, text) VALUES (?, ?, ?, ?)"
                       " ON CONFLICT (job, number) DO NOTHING");
    query_text(&q, id);
    query_u64(&q, number);
    query_u64(&q, clock_wall_us());
    query_bytes(&q, line, len);
    return query_run(&q, err);
}

static void read_number(struct query *q, void *row) { *(uint64_t *)row = query_get_u64(q); }

static bool known_next(struct catalog *c, const char *id, uint64_t *ret_next, struct err *err)
{
    AUTO(query) struct query q = query_start(c, "SELECT log_next FROM job WHERE id = ?");
    query_text(&q, id);
    return query_one(&q, read_number, ret_next, err);
}

/* The end of the unbroken run that starts at `from`: only new lines are looked at. */
static bool find_next(struct catalog *c, const char *id, uint64_t from, uint64_t *ret_next,
                      struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT number FROM job_log WHERE job = ? AND number >= ? ORDER BY number");
    query_text(&q, id);
    query_u64(&q, from);
    uint64_t next = from;
    int rc = query_next(&q, err);
    while (rc > 0 && query_get_u64(&q) == next) {
        next++;
        rc = query_next(&q, err);
    }
    if (rc < 0)
        return false;
    *ret_next = next;
    return true;
}

static bool keep_next(struct catalog *c, const char *id, uint64_t next, struct err *err)
{
    AUTO(query) struct query q = query_start(c, "UPDATE job SET log_next = ? WHERE id = ?");
    query_u64(&q, next);
    query_text(&q, id);
    return query_run(&q, err);
}

static bool append(struct catalog *c, const char *id, uint64_t first_line, const char *const *lines,
                   const size_t *lens, size_t count, uint64_t *ret_next, struct err *err)
{
    uint64_t known, next;
    if (!known_next(c, id, &known, err))
        return false;
    if (count == 0) {
        *ret_next = known;
        return true;
    }
    AUTO(write) struct write_span w = {0};
    if (!write_begin(&w, c, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!add_line(c, id, first_line + i, lines[i], lens[i], err))
            return false;
    if (!find_next(c, id, known, &next, err) || !keep_next(c, id, next, err) ||
        !write_commit(&w, err))
        return false;
    *ret_next = next;
    return true;
}

bool catalog_log_append(struct catalog *c, const char *id, uint64_t first_line,
                        const char *const *lines, const size_t *lens, size_t count,
                        uint64_t *ret_next, struct err *err)
{
    if (first_line > INT64_MAX - count)
        return err_set(err, ERR_INVALID, "log line numbers end at 2^63");
    return append(c, id, first_line, lines, lens, count, ret_next, err) ||
           err_wrap(err, "append to the log of job '%s'", id);
}

static bool read_line(struct query *q, struct catalog_log_line *line, struct err *err)
{
    line->number = query_get_u64(q);
    line->at_us = query_get_u64(q);
    return query_take_text(q, &line->text, &line->len, err);
}

struct catalog_log_line *catalog_log_read(struct catalog *c, const char *id, uint64_t first_line,
                                          size_t limit, size_t *ret_count, struct err *err)
{
    size_t most = limit ? limit : READ_DEFAULT, count = 0, capacity = 1;
    struct catalog_log_line *lines = own_alloc(sizeof *lines, err);
    AUTO(query)
    struct query q =
        query_start(c, "SELECT number, at_us, text FROM job_log WHERE job = ? AND number >= ?"
                       " ORDER BY number LIMIT ?");
    query_text(&q, id);
    query_u64(&q, first_line < INT64_MAX ? first_line : INT64_MAX);
    query_u64(&q, most < INT64_MAX ? most : INT64_MAX);
    int rc = lines ? query_next(&q, err) : -1;
    while (rc > 0) {
        if (!own_grow((void **)&lines, &capacity, count, sizeof *lines, err) ||
            !read_line(&q, &lines[count], err)) {
            rc = -1;
            break;
        }
        count++;
        rc = query_next(&q, err);
    }
    if (rc < 0) {
        catalog_log_free(lines, count);
        return err_null(err, "read the log of job '%s'", id);
    }
    *ret_count = count;
    return lines;
}

void catalog_log_free(struct catalog_log_line *lines, size_t count)
{
    if (!lines)
        return;
    for (size_t i = 0; i < count; i++)
        own_free(lines[i].text);
    own_free(lines);
}

#define USAGE                                                                                      \
    "SELECT count(*), coalesce(sum(length(text)), 0), coalesce(min(at_us), 0) FROM job_log"

static void read_usage(struct query *q, void *row)
{
    struct catalog_log_usage *usage = row;
    usage->lines = query_get_u64(q);
    usage->bytes = query_get_u64(q);
    usage->oldest_us = query_get_u64(q);
}

bool catalog_log_usage_job(struct catalog *c, const char *job, struct catalog_log_usage *ret,
                           struct err *err)
{
    AUTO(query) struct query q = query_start(c, USAGE " WHERE job = ?");
    query_text(&q, job);
    return query_one(&q, read_usage, ret, err) || err_wrap(err, "measure a job's log");
}

bool catalog_log_usage_since(struct catalog *c, const char *database, uint64_t since_us,
                             struct catalog_log_usage *ret, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, USAGE " WHERE at_us > ? AND job IN (SELECT id FROM job WHERE"
                                          " database = ? AND (ended_us = 0 OR ended_us > ?))");
    query_u64(&q, since_us);
    query_text(&q, database);
    query_u64(&q, since_us);
    return query_one(&q, read_usage, ret, err) || err_wrap(err, "measure the logs of a day");
}
