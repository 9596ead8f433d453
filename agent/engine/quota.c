/* What a database host may add in a day. */
#include "agent/engine/quota.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <inttypes.h>

#define DAY_US (UINT64_C(86400) * 1000000)
#define KEPT_US (UINT64_C(3600) * 1000000)

struct count {
    char database[64], job[40];
    struct catalog_log_usage run, day;
    uint64_t read_us;
};

struct quota {
    struct count *counts;
    size_t count, capacity;
};

static uint64_t day_ago(void)
{
    uint64_t now = clock_wall_us();
    return now > DAY_US ? now - DAY_US : 0;
}

static bool exceeded(const char *database, const char *what, const char *key, uint64_t bound,
                     uint64_t oldest_us, struct err *err)
{
    char when[32];
    clock_format_utc(oldest_us + DAY_US, when);
    return err_set(err, ERR_QUOTA,
                   "database '%s' has had its %" PRIu64 " %s of 24 hours (%s); free again from %s",
                   database, bound, what, key, when);
}

static bool check_jobs(struct catalog *catalog, const struct config_served *db, const char *kind,
                       const char *what, const char *key, uint64_t bound, struct err *err)
{
    uint64_t count;
    uint64_t oldest_us;
    if (!bound)
        return true;
    if (!catalog_job_usage(catalog, db->name, kind, day_ago(), &count, &oldest_us, err))
        return false;
    return count < bound || exceeded(db->name, what, key, bound, oldest_us, err);
}

bool quota_run(struct catalog *catalog, const struct config_served *db, struct err *err)
{
    return check_jobs(catalog, db, "backup", "runs", "runsperday", db->quota.runs_per_day, err);
}

bool quota_snapshot(struct catalog *catalog, const struct config_served *db, struct err *err)
{
    return check_jobs(catalog, db, "snapshot", "snapshots", "snapshotsperday",
                      db->quota.snapshots_per_day, err);
}

struct quota *quota_new(struct err *err) { return own_alloc(sizeof(struct quota), err); }

void quota_free(struct quota *quota)
{
    if (!quota)
        return;
    own_free(quota->counts);
    own_free(quota);
}

static struct count *find(struct quota *quota, const char *database, struct err *err)
{
    for (size_t i = 0; i < quota->count; i++)
        if (str_equal(quota->counts[i].database, database))
            return &quota->counts[i];
    if (!own_grow((void **)&quota->counts, &quota->capacity, quota->count, sizeof *quota->counts,
                  err))
        return NULL;
    struct count *count = &quota->counts[quota->count++];
    *count = (struct count){0};
    IGNORE(!str_copy(count->database, sizeof count->database, database));
    return count;
}

static bool read_again(struct count *count, struct catalog *catalog, const char *job,
                       struct err *err)
{
    uint64_t now = clock_wall_us();
    if (str_equal(count->job, job) && now - count->read_us < KEPT_US)
        return true;
    count->job[0] = '\0';
    if (!catalog_log_usage_job(catalog, job, &count->run, err) ||
        !catalog_log_usage_since(catalog, count->database, day_ago(), &count->day, err))
        return false;
    count->read_us = now;
    return str_copy(count->job, sizeof count->job, job) ||
           err_set(err, ERR_INVALID, "'%.60s' is no job", job);
}

static bool run_exceeded(const char *job, uint64_t bound, const char *what, const char *key,
                         struct err *err)
{
    return err_set(err, ERR_QUOTA,
                   "the log of %s has had its %" PRIu64 " %s (%s); the run itself goes on, the "
                   "next one has a log of its own",
                   job, bound, what, key);
}

bool quota_log(struct quota *quota, struct catalog *catalog, const struct config_served *db,
               const char *job, uint64_t lines, uint64_t bytes, struct err *err)
{
    const struct config_quota *q = &db->quota;
    struct count *c = find(quota, db->name, err);
    if (!c || !read_again(c, catalog, job, err))
        return false;
    if (q->log_lines_per_run && c->run.lines + lines > q->log_lines_per_run)
        return run_exceeded(job, q->log_lines_per_run, "lines", "loglinesperrun", err);
    if (q->log_bytes_per_run && c->run.bytes + bytes > q->log_bytes_per_run)
        return run_exceeded(job, q->log_bytes_per_run, "bytes", "logbytesperrun", err);
    uint64_t oldest_us = c->day.oldest_us ? c->day.oldest_us : c->read_us;
    if (q->log_lines_per_day && c->day.lines + lines > q->log_lines_per_day)
        return exceeded(db->name, "lines of log", "loglinesperday", q->log_lines_per_day, oldest_us,
                        err);
    if (q->log_bytes_per_day && c->day.bytes + bytes > q->log_bytes_per_day)
        return exceeded(db->name, "bytes of log", "logbytesperday", q->log_bytes_per_day, oldest_us,
                        err);
    c->run.lines += lines;
    c->run.bytes += bytes;
    c->day.lines += lines;
    c->day.bytes += bytes;
    return true;
}
