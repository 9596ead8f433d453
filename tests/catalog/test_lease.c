/* Leases: one holder, fenced predecessors, time that stands still while the catalog is closed. */
#include "agent/base/str.h"
#include "tests/lib/catalog_dir.h"
#include <criterion/criterion.h>

static struct catalog_lease lease_of(const char *job, uint64_t left_ms)
{
    struct catalog_lease lease = {.database = "ORCL", .kind = "backup", .host = "db1", .pid = 7};
    cr_assert(str_copy(lease.job, sizeof lease.job, job));
    lease.left_ms = left_ms;
    return lease;
}

static uint64_t take(struct catalog *c, const char *job, uint64_t left_ms)
{
    struct err err = {0};
    struct catalog_lease lease = lease_of(job, left_ms);
    cr_assert(catalog_lease_take(c, &lease, NULL, &err), "%s", err.text);
    return lease.token;
}

static enum err_code check(struct catalog *c, const char *job, uint64_t token)
{
    struct err err = {0};
    IGNORE(catalog_lease_check(c, job, token, NULL, &err)); /* the code is what is asked */
    return err.code;
}

Test(lease, a_second_taker_is_told_who_holds_it)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    struct catalog_lease second = lease_of("job-2", 1000), holder = {0};
    take(d.catalog, "job-1", 1000);
    cr_assert_not(catalog_lease_take(d.catalog, &second, &holder, &err));
    cr_expect_eq(err.code, ERR_BUSY);
    cr_expect_str_eq(holder.job, "job-1");
    cr_expect_str_eq(holder.host, "db1");
    cr_expect_eq(holder.pid, 7);
    struct catalog_lease other = lease_of("job-2", 1000);
    cr_expect(str_copy(other.kind, sizeof other.kind, "log"));
    err_clear(&err);
    cr_expect(catalog_lease_take(d.catalog, &other, NULL, &err), "another kind is beside it");
}

Test(lease, an_old_token_is_fenced_after_the_lease_went_to_another)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    uint64_t first = take(d.catalog, "job-1", 1000);
    cr_expect_eq(check(d.catalog, "job-1", first), ERR_NONE);
    cr_assert(catalog_lease_release(d.catalog, "job-1", first, &err));
    cr_expect_eq(check(d.catalog, "job-1", first), ERR_FENCED, "released is not held");
    uint64_t second = take(d.catalog, "job-2", 1000);
    cr_expect(second > first);
    cr_expect_not(catalog_lease_renew(d.catalog, "job-1", first, 1000, &err));
    cr_expect_eq(err.code, ERR_FENCED);
    cr_expect_eq(check(d.catalog, "job-2", first), ERR_FENCED);
    cr_expect_eq(check(d.catalog, "job-2", second), ERR_NONE);
}

Test(lease, ticks_take_time_off_renewing_gives_it_back_and_expiry_frees)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    size_t count = 9;
    struct catalog_lease found;
    uint64_t token = take(d.catalog, "job-1", 1000);
    AUTO(mem) struct catalog_lease *none = catalog_lease_tick(d.catalog, 600, &count, &err);
    cr_assert(none && count == 0);
    cr_assert(catalog_lease_find(d.catalog, "ORCL", "backup", &found, &err));
    cr_expect_eq(found.left_ms, 400);
    cr_assert(catalog_lease_renew(d.catalog, "job-1", token, 1000, &err));
    AUTO(mem) struct catalog_lease *still = catalog_lease_tick(d.catalog, 999, &count, &err);
    cr_assert(still && count == 0);
    AUTO(mem) struct catalog_lease *due = catalog_lease_tick(d.catalog, 1, &count, &err);
    cr_assert(due && count == 1);
    cr_expect_str_eq(due[0].job, "job-1");
    cr_expect_eq(due[0].token, token);
    cr_expect_eq(check(d.catalog, "job-1", token), ERR_FENCED);
    cr_expect_not(catalog_lease_find(d.catalog, "ORCL", "backup", &found, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    AUTO(mem) struct catalog_lease *again = catalog_lease_tick(d.catalog, UINT64_MAX, &count, &err);
    cr_expect(again && count == 0, "an expired lease is reported once");
}

Test(lease, tokens_only_grow_and_the_clock_stands_still_while_closed)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    struct catalog_lease found;
    uint64_t last = take(d.catalog, "job-0", 50);
    for (int round = 1; round < 5; round++) {
        catalog_dir_reopen(&d);
        cr_assert(catalog_lease_find(d.catalog, "ORCL", "backup", &found, &err), "%s", err.text);
        cr_expect_eq(found.left_ms, 50);
        cr_assert(catalog_lease_release(d.catalog, found.job, found.token, &err));
        uint64_t token = take(d.catalog, "job-n", 50);
        cr_expect(token > last);
        last = token;
    }
}

Test(lease, an_idle_tick_writes_nothing)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    size_t count;
    IGNORE(catalog_kill_at(0, false) < 0); /* starts to count */
    AUTO(mem) struct catalog_lease *due = catalog_lease_tick(d.catalog, 5000, &count, &err);
    cr_assert(due);
    cr_expect_eq(catalog_kill_at(0, false), 0);
}

Test(lease, needs_a_job_and_a_length)
{
    AUTO(catalog_dir) struct catalog_dir d = catalog_dir_open();
    struct err err = {0};
    struct catalog_lease lease = lease_of("job-1", 0);
    cr_expect_not(catalog_lease_take(d.catalog, &lease, NULL, &err));
    cr_expect_eq(err.code, ERR_INVALID);
}
