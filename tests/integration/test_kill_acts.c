/* The real jobs on a real storage: snapshot, clone and clone-drop on reflinks, killed at every
 * write of the catalog and at random instants, and with every call of the storage failing in turn.
 */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/engine/acts.h"
#include "agent/engine/survey.h"
#include "drivers/registry.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/kill_harness.h"
#include "tests/lib/memory_driver.h"
#include "tests/lib/sandbox.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DBID = 77, KINDS = 5 };
#define SNAPSHOT "ORCL-20260101T000000Z-manual"
#define STORE "kill-acts"

static const struct job_kind *const kinds[KINDS] = {&job_kind_snapshot, &job_kind_clone,
                                                    &job_kind_clone_drop, &job_kind_clone_extend,
                                                    &job_kind_backup};

struct place {
    struct scratch scratch;
    unsigned rounds;
    char root[200]; /* "": the memory driver */
};

static void quiet(void)
{
    struct err err = {0};
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
}

/* ---- the agent's world over a place ---- */

struct agent {
    struct config_agent *config;
    struct world *world;
    struct engine_options options;
};

static void agent_done(struct agent *a)
{
    world_close(a->world);
    config_agent_free(a->config);
    *a = (struct agent){0};
}
OWN_DEFINE_INPLACE(agent, struct agent, agent_done);

static bool agent_begin(struct agent *a, const struct place *place, struct err *err)
{
    char text[600];
    bool memory = !place->root[0];
    registry_add_for_tests(&driver_memory);
    IGNORE(!str_format(text, sizeof text,
                       "[storage fast]\ndriver = %s\n%s = %s\n[database ORCL]\nstorage = fast\n"
                       "volume = v1\ndbid = 77\n",
                       memory ? "memory" : "reflink", memory ? "store" : "root",
                       memory ? STORE : place->root));
    a->config = config_agent_parse(text, strlen(text), "d.conf", err);
    a->world = a->config ? world_open(a->config, err) : NULL;
    a->options = (struct engine_options){
        .kinds = kinds, .kind_count = KINDS, .act_workers = 2, .world = a->world};
    return a->world != NULL;
}

static struct driver_ref *storage(const struct agent *a)
{
    return world_driver(a->world, &a->config->databases[0]);
}

static bool run_job(struct engine *engine, const char *dir, const char *kind, json_t *args,
                    enum err_code expected, struct err *err)
{
    struct catalog_job row = {.database = "ORCL", .owner = "test"}, end;
    struct err why = {0};
    if (!args)
        return false;
    bool ok = drive_wait(drive_start(engine, kind, &row, args, &why), &end, &why);
    json_decref(args);
    if (ok ? expected != ERR_NONE : why.code != expected)
        return err_set(err, ERR_INTERNAL, "%s: expected code %d: %s", kind, (int)expected,
                       why.text);
    return kill_promise(dir, &end, err);
}

static json_t *snapshot_of(struct err *err)
{
    return snapshot_args("ORCL", SNAPSHOT, "manual", "", DBID, err);
}

static json_t *clone_of(const char *name, bool parts, struct err *err)
{
    struct catalog_clone clone = {.created_us = 1, .expires_us = 2};
    struct manifest_entry entry = {.path = (char *)"data/one.dbf"};
    struct plan_source source = {.name = SNAPSHOT};
    struct plan_part part = {.entry = &entry};
    struct plan_recipe recipe = {.files = &part, .file_count = 1, .controlfile = "data/two.dbf"};
    IGNORE(!str_copy(clone.database, sizeof clone.database, "ORCL"));
    IGNORE(!str_copy(clone.name, sizeof clone.name, name));
    IGNORE(!str_copy(clone.snapshot, sizeof clone.snapshot, parts ? "" : SNAPSHOT));
    return clone_args(&clone, parts ? &recipe : NULL, &source, err);
}

static json_t *longer(const char *name, struct err *err)
{
    struct catalog_clone clone = {.created_us = 1, .expires_us = 2};
    IGNORE(!str_copy(clone.database, sizeof clone.database, "ORCL"));
    IGNORE(!str_copy(clone.name, sizeof clone.name, name));
    IGNORE(!str_copy(clone.snapshot, sizeof clone.snapshot, SNAPSHOT));
    return clone_extend_args(&clone, 9, err);
}

static bool work(struct engine *engine, const char *dir, struct err *err)
{
    return run_job(engine, dir, "snapshot", snapshot_of(err), ERR_NONE, err) &&
           run_job(engine, dir, "snapshot", snapshot_of(err), ERR_EXISTS, err) &&
           run_job(engine, dir, "clone", clone_of("whole", false, err), ERR_NONE, err) &&
           run_job(engine, dir, "clone", clone_of("mine", false, err), ERR_EXISTS, err) &&
           run_job(engine, dir, "clone", clone_of("parts", true, err), ERR_NONE, err) &&
           run_job(engine, dir, "clone", clone_of("whole", true, err), ERR_EXISTS, err) &&
           run_job(engine, dir, "clone-extend", longer("whole", err), ERR_NONE, err) &&
           run_job(engine, dir, "clone-drop", clone_drop_args("ORCL", "whole", false, err),
                   ERR_NONE, err) &&
           run_job(engine, dir, "clone-drop", clone_drop_args("ORCL", "whole", false, err),
                   ERR_NONE, err);
}

/* ---- a storage with files and a clone of somebody else's ---- */

static bool put_file(const struct place *place, const char *path, const char *text, struct err *err)
{
    char full[400];
    if (!place->root[0])
        return memory_file_put(STORE, "v1", NULL, path, text, strlen(text), 5000000, err);
    IGNORE(!str_format(full, sizeof full, "%s/volumes/v1/%s", place->root, path));
    return sys_write_file(full, text, strlen(text), 0640, err);
}

static bool make_storage(struct place *place, struct err *err)
{
    char path[400];
    AUTO(agent) struct agent a = {0};
    struct driver_handle handle;
    bool atomic;
    const char *volume = "v1";
    if (place->scratch.mount[0]) {
        IGNORE(!str_format(place->root, sizeof place->root, "%s/round-%u", place->scratch.mount,
                           ++place->rounds));
        if (!sys_mkdir(place->root, 0755, err))
            return false;
    }
    if (!agent_begin(&a, place, err) || !driver_volume_create(storage(&a), volume, err))
        return false;
    IGNORE(!str_format(path, sizeof path, "%s/volumes/v1/data", place->root));
    if (place->root[0] && !sys_mkdir(path, 0750, err))
        return false;
    return put_file(place, "data/one.dbf", "some bytes of one", err) &&
           put_file(place, "data/two.dbf", "some bytes of two", err) &&
           driver_snapshot_create(storage(&a), &volume, 1, "theirs", &handle, &atomic, err) &&
           driver_clone_create(storage(&a), volume, "mine", "theirs", NULL, 0, &handle, err) &&
           driver_note_put(storage(&a), volume, NULL, "mine", "{\"keep\":\"me\"}", err) &&
           put_file(place, "data/two.dbf", "other bytes of two", err);
}

/* ---- invariants ---- */

static char *bare_manifest(struct manifest *manifest, struct err *err)
{
    manifest->made_us = 0;
    return manifest_to_json(manifest, err);
}

/* What the catalog keeps of a snapshot is what its bytes say. */
static bool is_whole(const struct agent *a, struct catalog *c, const char *name, struct err *err)
{
    AUTO(mem) char *text = NULL;
    AUTO(mem) char *facts = NULL;
    struct survey_options options = {0};
    if (!catalog_snapshot_texts(c, "ORCL", name, &text, &facts, err))
        return false;
    AUTO(manifest) struct manifest *stored = manifest_from_json(text, strlen(text), err);
    AUTO(area) struct area *area = driver_area(storage(a), "v1", name, NULL, err);
    AUTO(manifest)
    struct manifest *derived = stored && area ? survey_area(area, &options, err) : NULL;
    if (!derived)
        return false;
    manifest_judge(derived, DBID, NULL, 0);
    AUTO(mem) char *one = bare_manifest(stored, err);
    AUTO(mem) char *two = bare_manifest(derived, err);
    AUTO(mem) char *note = driver_note_get(storage(a), "v1", name, NULL, err);
    if (!one || !two || !note)
        return false;
    /* A file that could not be read when it was taken is named so, which is honest. */
    return str_equal(one, two) || strstr(one, "\"unreadable\"") ||
           err_set(err, ERR_CORRUPT, "'%s' is not whole: %.150s / %.150s", name, one, two);
}

static bool check_snapshots(const struct agent *a, struct catalog *c, struct err *err)
{
    size_t listed, known, ours = 0;
    AUTO(mem)
    struct driver_snapshot_info *list = driver_snapshot_list(storage(a), "v1", &listed, err);
    AUTO(mem)
    struct catalog_snapshot *rows = list ? catalog_snapshot_list(c, "ORCL", &known, err) : NULL;
    if (!rows)
        return false;
    for (size_t i = 0; i < listed; i++)
        ours += str_equal(list[i].name, SNAPSHOT);
    if (listed != 1 + ours)
        return err_set(err, ERR_INTERNAL, "somebody's snapshot is gone or one is too many");
    if (known != ours)
        return err_set(err, ERR_INTERNAL, "%zu snapshots in the catalog, %zu on the storage", known,
                       ours);
    return !known || is_whole(a, c, rows[0].name, err);
}

static bool check_clone(const struct agent *a, struct catalog *c, const char *name, struct err *err)
{
    struct catalog_clone row;
    AUTO(mem) char *note = driver_note_get(storage(a), "v1", NULL, name, err);
    if (!note)
        return false;
    if (str_equal(name, "mine"))
        return str_equal(note, "{\"keep\":\"me\"}") ||
               err_set(err, ERR_CORRUPT, "somebody's clone was touched: %s", note);
    if (!catalog_clone_get(c, "ORCL", name, &row, err))
        return err_wrap(err, "clone '%s'", name);
    AUTO(json) json_t *doc = json_parse(note, strlen(note), err);
    return doc && (json_u64(doc, "expires_us") == row.expires_us ||
                   err_set(err, ERR_CORRUPT, "clone '%s' has two ends: %s", name, note));
}

static bool check_clones(const struct agent *a, struct catalog *c, struct err *err)
{
    size_t listed, known;
    bool mine = false;
    AUTO(mem) struct driver_clone_info *list = driver_clone_list(storage(a), "v1", &listed, err);
    AUTO(mem) struct catalog_clone *rows = list ? catalog_clone_list(c, "ORCL", &known, err) : NULL;
    if (!rows)
        return false;
    for (size_t i = 0; i < listed; i++) {
        mine |= str_equal(list[i].name, "mine");
        if (!check_clone(a, c, list[i].name, err))
            return false;
    }
    if (!mine)
        return err_set(err, ERR_INTERNAL, "somebody's clone was deleted");
    return known + 1 == listed ||
           err_set(err, ERR_INTERNAL, "%zu clones known, %zu there", known, listed);
}

static unsigned residue;

static int count_residue(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    residue += str_starts(path + where->base, ".tmp-") || str_ends(path, ".tmp");
    return 0;
}

static bool check_storage(const struct place *place, const struct agent *a, const char *dir,
                          struct err *err)
{
    char path[4200];
    IGNORE(!str_format(path, sizeof path, "%s/catalog.db", dir));
    AUTO(catalog) struct catalog *c = catalog_open(path, err);
    if (!c || !check_snapshots(a, c, err) || !check_clones(a, c, err))
        return false;
    residue = 0;
    if (place->root[0])
        IGNORE(nftw(place->root, count_residue, 16, FTW_PHYS)); /* a missing root fails elsewhere */
    return residue == 0 || err_set(err, ERR_EXISTS, "%u temporary things are left", residue);
}

/* ---- killed ---- */

static bool setup(void *arg, const char *dir, struct err *err)
{
    (void)dir;
    return make_storage(arg, err);
}

static bool run(void *arg, const char *dir, struct err *err)
{
    AUTO(agent) struct agent a = {0};
    AUTO(engine)
    struct engine *engine = agent_begin(&a, arg, err) ? drive_open(dir, &a.options, err) : NULL;
    bool ok = engine && work(engine, dir, err);
    engine_free(TAKE(engine)); /* before its world */
    return ok;
}

static bool recover(void *arg, const char *dir, struct err *err)
{
    struct drive_boot counts;
    AUTO(agent) struct agent a = {0};
    AUTO(engine)
    struct engine *engine = agent_begin(&a, arg, err) ? drive_open(dir, &a.options, err) : NULL;
    bool ok = engine && drive_boot(engine, &counts, err);
    engine_free(TAKE(engine));
    return ok;
}

static bool check(void *arg, const char *dir, struct err *err)
{
    AUTO(agent) struct agent a = {0};
    if (!agent_begin(&a, arg, err) || !kill_check_jobs(dir, &a.options, err) ||
        !check_storage(arg, &a, dir, err))
        return false;
    AUTO(agent) struct agent again = {0};
    return agent_begin(&again, arg, err) &&
           (world_swept(again.world) == 0 ||
            err_set(err, ERR_INTERNAL, "the second start swept %u things",
                    world_swept(again.world)));
}

static void teardown(void *arg, const char *dir)
{
    struct err err = {0};
    const struct place *place = arg;
    (void)dir;
    char command[300];
    IGNORE(!str_format(command, sizeof command, "%s", place->root));
    IGNORE(sys_remove_tree(command, &err)); /* the mount goes anyway */
}

static bool reflink_place(struct place *place, const char *test)
{
    struct err err = {0};
    if (xfs_sandbox(&place->scratch, &err))
        return true;
    privileged_skipped("kill_acts", test, &err);
    return false;
}

static unsigned rounds(void) { return getenv("EVERCOPY_LONG") ? 600 : 4; }

Test(kill_acts, snapshots_and_clones_are_whole_or_gone_wherever_the_agent_is_killed)
{
    struct place place = {0};
    if (!reflink_place(&place, "snapshots_and_clones_are_whole_or_gone"))
        return;
    quiet();
    struct kill_case kill_case = {.name = "acts",
                                  .setup = setup,
                                  .run = run,
                                  .recover = recover,
                                  .check = check,
                                  .teardown = teardown,
                                  .arg = &place,
                                  .random_rounds = rounds()};
    struct kill_report report;
    struct err err = {0};
    bool ok = kill_harness_run(&kill_case, &report, &err);
    scratch_done(&place.scratch);
    cr_assert(ok, "%s", err.text);
    cr_expect(report.points >= 30, "only %u kill points", report.points);
}

/* ---- failing calls ---- */

/* One job while something fails; then another boot, undisturbed, and all must agree. */
static bool one_fault(struct place *place, void (*arm)(long nth), long nth, bool *ret_hit,
                      struct err *err)
{
    char *dir = drive_dir();
    struct err why = {0};
    size_t files = descriptors_count();
    memory_store_reset(STORE);
    bool ok = make_storage(place, err);
    AUTO(agent) struct agent a = {0};
    ok = ok && agent_begin(&a, place, err);
    struct engine *engine = ok ? drive_open(dir, &a.options, err) : NULL;
    ok = engine != NULL;
    if (ok)
        arm(nth);
    *ret_hit = ok && !work(engine, dir, &why);
    arm(0);
    engine_free(engine);
    agent_done(&a);
    if (ok && descriptors_count() != files)
        ok = err_set(err, ERR_INTERNAL, "a file was left open");
    ok = ok && recover(place, dir, err) && check(place, dir, err);
    if (!ok)
        err_wrap(err, "call %ld (%.200s)", nth, why.text);
    teardown(place, dir);
    drive_dir_free(dir);
    return ok;
}

static void arm_before(long nth) { IGNORE(driver_fault(nth, ERR_IO, false) < 0); }
static void arm_after(long nth) { IGNORE(driver_fault(nth, ERR_IO, true) < 0); }
static void arm_sys(long nth) { IGNORE(sys_fault(nth, EIO) < 0); }
static void arm_full(long nth) { IGNORE(sys_fault(nth, ENOSPC) < 0); }

/* A fault that did not show ends the loop: calls ran out, or it fell into something ignored. */
static void each_fault(struct place *place, void (*arm)(long nth), long first, long step,
                       long least)
{
    long nth = first, unhurt = 0;
    for (bool hit; unhurt < 5 && nth < 4000; nth += step) {
        struct err err = {0};
        cr_assert(one_fault(place, arm, nth, &hit, &err), "%s", err.text);
        unhurt = hit ? 0 : unhurt + 1;
    }
    cr_expect(nth > least, "only %ld calls", nth);
}

Test(kill_acts, whichever_call_of_the_driver_fails_nothing_half_made_is_listed)
{
    struct place memory = {0};
    quiet();
    long step = getenv("EVERCOPY_LONG") ? 1 : 2; /* in turn, or each both ways */
    each_fault(&memory, arm_before, 1, step, 15);
    each_fault(&memory, arm_after, step, step, 15);
    memory_store_reset(STORE);
}

Test(kill_acts, whichever_system_call_fails_nothing_half_made_is_listed)
{
    struct place place = {0};
    if (!reflink_place(&place, "whichever_system_call_fails"))
        return;
    quiet();
    long step = getenv("EVERCOPY_LONG") ? 1 : 19;
    each_fault(&place, arm_sys, 1, step, 70); /* snapshot, clone and drop make about 84 */
    each_fault(&place, arm_full, step / 2 + 1, step, 70);
    scratch_done(&place.scratch);
}

Test(kill_acts, a_full_disk_stops_a_snapshot_and_leaves_nothing)
{
    struct place memory = {0};
    struct err err = {0};
    char *dir = drive_dir();
    quiet();
    memory_store_reset(STORE);
    cr_assert(make_storage(&memory, &err), "%s", err.text);
    cr_assert(memory_store_limit(STORE, 1, &err));
    AUTO(agent) struct agent a = {0};
    cr_assert(agent_begin(&a, &memory, &err), "%s", err.text);
    struct engine *engine = drive_open(dir, &a.options, &err);
    cr_assert(engine);
    cr_expect(run_job(engine, dir, "snapshot", snapshot_of(&err), ERR_NO_SPACE, &err), "%s",
              err.text);
    engine_free(engine);
    cr_expect(check(&memory, dir, &err), "%s", err.text);
    agent_done(&a);
    memory_store_reset(STORE);
    drive_dir_free(dir);
}
