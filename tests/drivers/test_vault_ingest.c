/* The driver of a vault that is filled from elsewhere: long work outlives who asked for it. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/driver.h"
#include "tests/lib/vault_server.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { DONE_WITHIN_MS = 30000 };
static const uint64_t too_long = (uint64_t)256 << 30; /* of zeros; nobody reads it in two seconds */

struct filled {
    char dir[64], source[100];
    struct vault_server server;
    struct driver_ref *d;
    struct err err;
};

static void ok(struct filled *f, bool went_well) { cr_assert(went_well, "%s", f->err.text); }

static void open_driver(struct filled *f)
{
    struct driver_option options[] = {{"socket", f->server.socket}, {"source", f->source}};
    driver_close(TAKE(f->d));
    f->d = driver_open("vault-ingest", options, 2, &f->err);
    ok(f, f->d);
}

static void size_source(struct filled *f, uint64_t size)
{
    char path[200];
    str_format(path, sizeof path, "%s/V/data", f->source);
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600, &f->err);
    ok(f, fd >= 0 && sys_truncate(fd, size, path, &f->err));
}

static void begin(struct filled *f)
{
    char folder[160];
    *f = (struct filled){0};
    str_format(f->dir, sizeof f->dir, "%s/evercopy-filled.XXXXXX",
               access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
    cr_assert(mkdtemp(f->dir));
    str_format(f->source, sizeof f->source, "%s/source", f->dir);
    str_format(folder, sizeof folder, "%s/V", f->source);
    ok(f, sys_mkdirs(folder, 0700, &f->err) &&
              vault_server_begin(&f->server, f->dir, NULL, NULL, &f->err));
    open_driver(f);
    ok(f, driver_volume_create(f->d, "V", &f->err));
}

static void end(struct filled *f)
{
    driver_close(f->d);
    vault_server_done(&f->server);
    ok(f, sys_remove_tree(f->dir, &f->err));
}

static size_t snapshots(struct filled *f)
{
    size_t count = 0;
    AUTO(mem) void *rows = driver_snapshot_list(f->d, "V", &count, &f->err);
    ok(f, rows);
    return count;
}

Test(vault_ingest, what_takes_long_is_polled_by_an_agent_that_was_restarted, .timeout = 60)
{
    struct filled f;
    const char *volume = "V";
    struct driver_handle handle = {0};
    bool atomic = true, done = true;
    begin(&f);
    cr_assert(driver_abilities(f.d) & DRIVER_IS_SLOW_SNAPSHOT);
    size_source(&f, too_long);
    ok(&f, driver_snapshot_create(f.d, &volume, 1, "s", &handle, &atomic, &f.err));
    cr_assert(handle.text[0], "it was done within the call");
    cr_assert_not(atomic);
    open_driver(&f);
    ok(&f, driver_poll(f.d, &handle, &done, &f.err));
    cr_assert_not(done);
    cr_assert_eq(snapshots(&f), 0, "it is listed before it is whole");
    size_source(&f, 100000);
    for (uint64_t until = clock_mono_ms() + DONE_WITHIN_MS; !done;) {
        ok(&f, driver_poll(f.d, &handle, &done, &f.err));
        cr_assert_lt(clock_mono_ms(), until);
        usleep(1000); /* a bounded poll */
    }
    cr_assert_eq(snapshots(&f), 1);
    end(&f);
}

Test(vault_ingest, a_vault_that_was_restarted_says_that_it_was_not_done, .timeout = 60)
{
    struct filled f;
    const char *volume = "V";
    struct driver_handle handle = {0};
    struct err err = {0};
    bool done = true;
    begin(&f);
    size_source(&f, too_long);
    ok(&f, driver_snapshot_create(f.d, &volume, 1, "s", &handle, NULL, &f.err));
    uint64_t begun_ms = clock_mono_ms();
    ok(&f, vault_server_stop(&f.server, &f.err));
    cr_assert_lt(clock_mono_ms() - begun_ms, 10000, "an ingest holds up a vault that stops");
    ok(&f, vault_server_start(&f.server, &f.err));
    cr_assert_not(driver_poll(f.d, &handle, &done, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
    size_source(&f, 100000);
    ok(&f, driver_snapshot_create(f.d, &volume, 1, "s", &handle, NULL, &f.err));
    cr_assert_eq(handle.text[0], '\0');
    cr_assert_eq(snapshots(&f), 1);
    end(&f);
}
