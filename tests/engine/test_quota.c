/* Quotas: what a database host may add in a day, also after a restart; never more than a refusal.
 */
#include "agent/engine/quota.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "tests/lib/catalog_dir.h"
#include <criterion/criterion.h>
#include <string.h>

#define DAY_US (86400ull * 1000000)
#define NOON 1795000000000000ull /* some day in 2026 */

static const struct config_served db = {
    .name = "ORCL",
    .quota = {.runs_per_day = 3,
              .snapshots_per_day = 2,
              .log_lines_per_run = 10,
              .log_lines_per_day = 15,
              .log_bytes_per_run = 1000,
              .log_bytes_per_day = 1500},
};

static void add_job(struct catalog *c, const char *kind, const char *database, uint64_t at_us,
                    char ret[40])
{
    struct err err = {0};
    struct catalog_job job = {.started_us = at_us};
    catalog_job_id(kind, job.id);
    str_copy(job.kind, sizeof job.kind, kind);
    str_copy(job.database, sizeof job.database, database);
    cr_assert(catalog_job_add(c, &job, "{}", &err), "%s", err.text);
    if (ret)
        str_copy(ret, 40, job.id);
}

Test(quota, counts_a_rolling_day_per_database_also_after_a_restart)
{
    struct err err = {0};
    clock_test_wall(NOON);
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    add_job(d.catalog, "backup", "ORCL", NOON - DAY_US - 1, NULL);
    add_job(d.catalog, "backup", "ORCL", NOON - DAY_US + 3600000000ull, NULL);
    add_job(d.catalog, "backup", "ORCL", NOON - 1, NULL);
    add_job(d.catalog, "backup", "OTHER", NOON - 1, NULL);
    add_job(d.catalog, "snapshot", "ORCL", NOON - 1, NULL);
    cr_assert(quota_run(d.catalog, &db, &err), "two of three: %s", err.text);
    add_job(d.catalog, "backup", "ORCL", NOON, NULL);
    catalog_dir_reopen(&d);
    cr_assert(!quota_run(d.catalog, &db, &err));
    cr_assert_eq(err.code, ERR_QUOTA);
    char free_at[32];
    clock_format_utc(NOON + 3600000000ull, free_at);
    cr_assert(strstr(err.text, "runsperday") && strstr(err.text, free_at), "%s", err.text);
    err_clear(&err);
    cr_assert(quota_snapshot(d.catalog, &db, &err), "%s", err.text);
    clock_test_wall(NOON + 3600000001ull);
    cr_assert(quota_run(d.catalog, &db, &err), "free when it said: %s", err.text);
    clock_test_wall(NOON - 10 * DAY_US);
    cr_assert(!quota_run(d.catalog, &db, &err), "a clock set back opens nothing");
    clock_test_wall(0);
}

Test(quota, zero_is_no_bound)
{
    struct err err = {0};
    struct config_served open = {.name = "ORCL"};
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    AUTO(quota) struct quota *q = quota_new(&err);
    char job[40];
    for (int i = 0; i < 50; i++)
        add_job(d.catalog, "backup", "ORCL", clock_wall_us(), job);
    cr_assert(quota_run(d.catalog, &open, &err) && quota_snapshot(d.catalog, &open, &err));
    cr_assert(quota_log(q, d.catalog, &open, job, 1u << 30, UINT64_C(1) << 40, &err));
}

static bool send(struct quota *q, struct catalog *c, const char *job, uint64_t from, size_t count,
                 struct err *err)
{
    const char *lines[16];
    size_t lens[16];
    uint64_t next;
    for (size_t i = 0; i < count; i++) {
        lines[i] = "a line of log";
        lens[i] = strlen(lines[i]);
    }
    return quota_log(q, c, &db, job, count, count * strlen(lines[0]), err) &&
           catalog_log_append(c, job, from, lines, lens, count, &next, err);
}

Test(quota, bounds_a_log_per_run_and_per_day_also_after_a_restart)
{
    struct err err = {0};
    char first[40];
    char second[40];
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    add_job(d.catalog, "backup", "ORCL", clock_wall_us(), first);
    add_job(d.catalog, "backup", "ORCL", clock_wall_us(), second);
    for (int restart = 0; restart < 2; restart++) {
        AUTO(quota) struct quota *q = quota_new(&err);
        cr_assert(send(q, d.catalog, first, (uint64_t)restart * 5, 5, &err), "%s", err.text);
    }
    AUTO(quota) struct quota *q = quota_new(&err);
    cr_assert(!send(q, d.catalog, first, 10, 1, &err));
    cr_assert_eq(err.code, ERR_QUOTA);
    cr_assert(strstr(err.text, "loglinesperrun"), "%s", err.text);
    err_clear(&err);
    cr_assert(send(q, d.catalog, second, 0, 5, &err), "another run: %s", err.text);
    cr_assert(!send(q, d.catalog, second, 5, 1, &err));
    cr_assert(strstr(err.text, "loglinesperday") && strstr(err.text, "free again from"), "%s",
              err.text);
    err_clear(&err);
    cr_assert(!quota_log(q, d.catalog, &db, second, 0, 2000, &err));
    cr_assert(strstr(err.text, "logbytesperrun"), "%s", err.text);
    struct catalog_log_usage usage;
    cr_assert(catalog_log_usage_job(d.catalog, first, &usage, &err));
    cr_assert_eq(usage.lines, 10, "and nothing was deleted for it");
}
