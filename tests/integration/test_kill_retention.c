/* Retention on a real storage, killed at every write of the catalog and at random instants: a hold,
 * a lock, an apply. What was reported holds, what stays is whole, catalog and storage agree. */
#include "agent/base/sys.h"
#include "tests/lib/keep_world.h"
#include "tests/lib/kill_harness.h"
#include "tests/lib/privileged.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

struct place {
    struct scratch scratch;
    unsigned rounds;
    char keys[300], root[200];
};

static bool open_world(const struct place *place, struct kw *k, struct err *err)
{
    return kw_begin(k, place->keys, err);
}

static bool setup(void *arg, const char *dir, struct err *err)
{
    struct place *place = arg;
    IGNORE(!str_format(place->root, sizeof place->root, "%s/round-%u", place->scratch.mount,
                       ++place->rounds));
    IGNORE(
        !str_format(place->keys, sizeof place->keys, "driver = reflink\nroot = %s", place->root));
    AUTO(kw) struct kw k = {0};
    return sys_mkdir(place->root, 0755, err) && open_world(place, &k, err) && kw_fill(&k, dir, err);
}

/* Snapshot 1 is held, 2 is locked, the rest of the middle goes. */
static bool work(struct engine *engine, const struct kw *k, const char *dir, struct err *err)
{
    struct catalog_job end;
    return kw_job(engine, "mark", kw_hold(1, "audit", 0, err), &end, err) &&
           kill_promise(dir, &end, err) &&
           kw_job(engine, "mark", kw_lock(2, 3600000, false, err), &end, err) &&
           kill_promise(dir, &end, err) &&
           kw_job(engine, "retention", kw_args(engine, k, SIZE_MAX, NULL, err), &end, err) &&
           kill_promise(dir, &end, err);
}

static bool run(void *arg, const char *dir, struct err *err)
{
    AUTO(kw) struct kw k = {0};
    struct engine *engine = open_world(arg, &k, err) ? drive_open(dir, &k.options, err) : NULL;
    bool ok = engine && work(engine, &k, dir, err);
    engine_free(engine);
    return ok;
}

static bool recover(void *arg, const char *dir, struct err *err)
{
    struct drive_boot counts;
    AUTO(kw) struct kw k = {0};
    struct engine *engine = open_world(arg, &k, err) ? drive_open(dir, &k.options, err) : NULL;
    bool ok = engine && drive_boot(engine, &counts, err);
    engine_free(engine);
    return ok;
}

static bool is_done(struct catalog *c, const char *kind, size_t nth)
{
    size_t count;
    struct err err = {0};
    AUTO(mem) struct catalog_job *jobs = catalog_job_list(c, "ORCL", kind, -1, 100, &count, &err);
    return jobs && count > nth && jobs[count - 1 - nth].state == JOB_DONE;
}

static bool check_notes(const struct kw *k, struct catalog *c, struct err *err)
{
    char name[64];
    size_t holds, locks;
    AUTO(mem) struct catalog_hold *hold = catalog_hold_list(c, "ORCL", &holds, err);
    AUTO(mem) struct catalog_lock *lock = catalog_lock_list(c, "ORCL", &locks, err);
    if (!hold || !lock)
        return false;
    for (size_t i = 0; i < KW_SNAPSHOTS; i++) {
        kw_name(i, name);
        if (!kw_listed(k, i))
            continue;
        AUTO(mem) char *note = driver_note_get(kw_driver(k), "v1", name, NULL, err);
        if (!note)
            return false;
        bool held = false, locked = false;
        for (size_t h = 0; h < holds; h++)
            held |= str_equal(hold[h].snapshot, name);
        for (size_t l = 0; l < locks; l++)
            locked |= str_equal(lock[l].snapshot, name);
        if (!strstr(note, "\"kind\":\"post\"") || held != (strstr(note, "audit") != NULL) ||
            locked != (strstr(note, "boot_ms") != NULL))
            return err_set(err, ERR_INTERNAL, "note of %s: %.150s", name, note);
    }
    return true;
}

static bool check_storage(const struct kw *k, const char *dir, struct err *err)
{
    char path[4200];
    size_t known;
    IGNORE(!str_format(path, sizeof path, "%s/catalog.db", dir));
    AUTO(catalog) struct catalog *c = catalog_open(path, err);
    AUTO(mem)
    struct catalog_snapshot *rows = c ? catalog_snapshot_list(c, "ORCL", &known, err) : NULL;
    if (!rows)
        return false;
    size_t listed = 0;
    for (size_t i = 0; i < KW_SNAPSHOTS; i++)
        listed += kw_listed(k, i);
    if (known != listed)
        return err_set(err, ERR_INTERNAL, "%zu in the catalog, %zu on the storage", known, listed);
    bool held = is_done(c, "mark", 0), locked = is_done(c, "mark", 1);
    if (!kw_listed(k, 0) || !kw_listed(k, KW_SNAPSHOTS - 1) || (held && !kw_listed(k, 1)) ||
        (locked && !kw_listed(k, 2)))
        return err_set(err, ERR_INTERNAL, "one that must stay is gone");
    if (is_done(c, "retention", 0) && (kw_listed(k, 3) || kw_listed(k, 4)))
        return err_set(err, ERR_INTERNAL, "retention is done and one that should go is there");
    return check_notes(k, c, err);
}

static bool check(void *arg, const char *dir, struct err *err)
{
    AUTO(kw) struct kw k = {0};
    return open_world(arg, &k, err) && kill_check_jobs(dir, &k.options, err) &&
           check_storage(&k, dir, err);
}

static void teardown(void *arg, const char *dir)
{
    struct err err = {0};
    (void)dir;
    IGNORE(sys_remove_tree(((struct place *)arg)->root, &err)); /* the mount goes anyway */
}

Test(kill_retention, what_stays_stays_and_what_goes_goes_wherever_the_agent_is_killed)
{
    struct place place = {0};
    struct err err = {0};
    if (!xfs_sandbox(&place.scratch, &err)) {
        privileged_skipped("kill_retention", "what_stays_stays", &err);
        return;
    }
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
    struct kill_case kill_case = {.name = "retention",
                                  .setup = setup,
                                  .run = run,
                                  .recover = recover,
                                  .check = check,
                                  .teardown = teardown,
                                  .arg = &place,
                                  .random_rounds = getenv("EVERCOPY_LONG") ? 300 : 3};
    struct kill_report report;
    bool ok = kill_harness_run(&kill_case, &report, &err);
    scratch_done(&place.scratch);
    cr_assert(ok, "%s", err.text);
    cr_expect(report.points >= 8, "only %u kill points", report.points);
}
