/* A backup run as the agent keeps it, killed at every write of the catalog and at random instants:
 * what the shim was told holds, the same calls again go on where they stood, and the next run can
 * begin. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/engine/acts.h"
#include "agent/engine/backup.h"
#include "drivers/registry.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/kill_harness.h"
#include "tests/lib/memory_driver.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DBID = 77, LEASE_S = 60, LINES = 12, OK = 1, FAILED = 3 };
#define STORE "kill-runs"
#define TOLD "told.txt"

static const struct job_kind *const kinds[] = {&job_kind_backup};

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

static bool agent_begin(struct agent *a, struct err *err)
{
    static const char text[] = "[agent]\nbackuplease = 60\n[storage m]\ndriver = memory\n"
                               "store = " STORE "\n[database ORCL]\nstorage = m\n";
    registry_add_for_tests(&driver_memory);
    a->config = config_agent_parse(text, sizeof text - 1, "d.conf", err);
    a->world = a->config ? world_open(a->config, err) : NULL;
    a->options = (struct engine_options){.kinds = kinds, .kind_count = 1, .world = a->world};
    return a->world != NULL;
}

/* ---- what the shim was told: kept outside of what is killed ---- */

struct told {
    char job[40];
    uint64_t token, lines; /* acknowledged */
    bool cancelled, finished;
};

static bool tell(const char *dir, const struct told *t, struct err *err)
{
    char path[4200], text[160];
    IGNORE(!str_format(path, sizeof path, "%s/" TOLD, dir));
    IGNORE(!str_format(text, sizeof text, "%s %llu %llu %d %d", t->job,
                       (unsigned long long)t->token, (unsigned long long)t->lines, t->cancelled,
                       t->finished));
    return sys_write_file(path, text, strlen(text), 0600, err);
}

static void read_told(const char *dir, struct told *t)
{
    char path[4200];
    size_t len;
    struct err none = {0};
    unsigned long long token = 0, lines = 0;
    int cancelled = 0, finished = 0;
    *t = (struct told){0};
    IGNORE(!str_format(path, sizeof path, "%s/" TOLD, dir));
    AUTO(mem) char *text = sys_read_file(path, 4096, &len, &none);
    if (!text)
        return;
    sscanf(text, "%39s %llu %llu %d %d", t->job, &token, &lines, &cancelled, &finished);
    t->token = token;
    t->lines = lines;
    t->cancelled = cancelled;
    t->finished = finished;
}

/* ---- one run; begun anew or gone on with, as a shim does whose agent came back ---- */

struct drive {
    const struct agent *agent;
    const char *dir;
    struct catalog *catalog;
    struct told told;
    bool ok;
    struct err err;
};

static bool begin(struct drive *d, const char *key, struct told *t, struct err *err)
{
    struct backup_begin request = {.database = "ORCL",
                                   .db_name = "ORCL",
                                   .host = "db1",
                                   .owner = "db1",
                                   .key = key,
                                   .channel_text = "",
                                   .dead_job = "",
                                   .boot_id = "b",
                                   .dbid = DBID,
                                   .pid = 1};
    struct backup_granted granted = {0};
    if (!backup_begin(d->catalog, d->agent->world, &request, &granted, err))
        return false;
    IGNORE(!str_copy(t->job, sizeof t->job, granted.job));
    t->token = granted.token;
    return true;
}

static bool add_lines(struct drive *d, struct told *t, struct err *err)
{
    while (t->lines < LINES) {
        char text[3][40];
        const char *lines[3];
        size_t lens[3];
        for (size_t i = 0; i < 3; i++) {
            IGNORE(!str_format(text[i], sizeof text[i], "line %llu",
                               (unsigned long long)(t->lines + i)));
            lines[i] = text[i];
            lens[i] = strlen(text[i]);
        }
        struct catalog_job job;
        if (!backup_hold(d->catalog, d->agent->world, t->job, t->token, &job, err) ||
            !catalog_log_append(d->catalog, t->job, t->lines, lines, lens, 3, &t->lines, err) ||
            !tell(d->dir, t, err))
            return false;
    }
    return true;
}

static bool go_on(struct drive *d, struct told *t, struct err *err)
{
    static const char *const phases[] = {"logs", "pre", "level1", "merge", "post"};
    static const uint32_t suspects[] = {3, 5};
    struct catalog_job job;
    for (size_t i = 0; i < 5; i++)
        if (!backup_hold(d->catalog, d->agent->world, t->job, t->token, &job, err) ||
            !backup_phase(d->catalog, t->job, phases[i], 0, "", err) ||
            !backup_phase(d->catalog, t->job, phases[i], OK, "", err))
            return false;
    if (!add_lines(d, t, err) || !backup_alarm(d->catalog, &job, "RMAN says nothing", err) ||
        !catalog_job_cancel(d->catalog, t->job, "an operator", err))
        return false;
    t->cancelled = true;
    struct backup_verdict verdict = {.verdict = FAILED, .phase = "merge", .cause = "cancelled"};
    if (!tell(d->dir, t, err) || !backup_suspects_put(d->catalog, "ORCL", suspects, 2, err) ||
        !backup_finish(d->catalog, t->job, t->token, &verdict, err))
        return false;
    t->finished = true;
    return tell(d->dir, t, err);
}

static void whole_run(struct engine *engine, void *arg)
{
    struct drive *d = arg;
    struct catalog_database db = {
        .name = "ORCL", .dbid = DBID, .db_name = "ORCL", .storage = "m", .registered_us = 1};
    d->catalog = engine_catalog(engine);
    d->ok = catalog_database_put(d->catalog, &db, &d->err) &&
            begin(d, "key-1", &d->told, &d->err) && tell(d->dir, &d->told, &d->err) &&
            go_on(d, &d->told, &d->err);
}

static bool run(void *arg, const char *dir, struct err *err)
{
    AUTO(agent) struct agent a = {0};
    struct drive d = {.agent = &a, .dir = dir};
    (void)arg;
    AUTO(engine)
    struct engine *engine = agent_begin(&a, err) ? drive_open(dir, &a.options, err) : NULL;
    if (!engine)
        return false;
    drive_call(engine, whole_run, &d);
    *err = d.err;
    engine_free(TAKE(engine));
    return d.ok;
}

/* ---- invariants ---- */

static bool log_holds(struct catalog *c, const struct told *t, struct err *err)
{
    size_t count;
    struct catalog_log_line *lines = catalog_log_read(c, t->job, 0, 1000, &count, err);
    bool ok = lines &&
              (count >= t->lines || err_set(err, ERR_CORRUPT, "%zu lines kept of %llu acknowledged",
                                            count, (unsigned long long)t->lines));
    for (size_t i = 0; ok && i < count; i++) {
        char text[40];
        IGNORE(!str_format(text, sizeof text, "line %zu", i));
        ok = (lines[i].number == i && str_equal(lines[i].text, text)) ||
             err_set(err, ERR_CORRUPT, "line %zu is '%s'", i, lines[i].text);
    }
    if (lines)
        catalog_log_free(lines, count);
    return ok;
}

static bool ended_as_told(struct catalog *c, const struct told *t, struct err *err)
{
    struct catalog_job job;
    uint32_t *files;
    size_t count;
    if (!catalog_job_get(c, t->job, &job, err) || !log_holds(c, t, err))
        return false;
    if (t->cancelled && !job.cancelled_by[0])
        return err_set(err, ERR_CORRUPT, "the wish to stop is forgotten");
    if (!t->finished)
        return true;
    if (!backup_suspects_get(c, "ORCL", &files, &count, err))
        return false;
    own_free(files);
    return (job.state == JOB_FAILED && job.verdict == FAILED && count == 2) ||
           err_set(err, ERR_CORRUPT, "state %d, verdict %d, %zu suspects", (int)job.state,
                   job.verdict, count);
}

/* The shim comes back with the same key and token, tells the rest, and the next run may begin. */
static bool carries_on(struct drive *d, struct told *t, struct err *err)
{
    struct told again = {0}, next = {0};
    struct catalog_job job;
    if (!catalog_job_get(d->catalog, t->job, &job, err))
        return false;
    if (job.state == JOB_RUNNING) {
        if (!begin(d, "key-1", &again, err))
            return err_wrap(err, "the same grant again");
        if (!str_equal(again.job, t->job) || again.token != t->token)
            return err_set(err, ERR_FENCED, "the same key got another grant");
        if (!go_on(d, t, err))
            return err_wrap(err, "going on");
    }
    if (!begin(d, "key-2", &next, err))
        return err_wrap(err, "the next run");
    return next.token > t->token || err_set(err, ERR_FENCED, "a token came twice");
}

/* A shim that never comes back: the lease ends within its bound, and with it the run. */
static bool lease_ends(struct drive *d, struct err *err)
{
    struct told next = {0};
    struct catalog_database db = {
        .name = "ORCL", .dbid = DBID, .db_name = "ORCL", .storage = "m", .registered_us = 1};
    size_t running;
    if (!catalog_database_put(d->catalog, &db, err) ||
        !backup_tick(d->catalog, NULL, LEASE_S * 1000, LEASE_S * 1000, err) ||
        !begin(d, "key-3", &next, err))
        return err_wrap(err, "after the lease");
    AUTO(mem)
    struct catalog_job *jobs =
        catalog_job_list(d->catalog, "ORCL", "backup", JOB_RUNNING, 0, &running, err);
    return jobs && (running == 1 ||
                    err_set(err, ERR_INTERNAL, "%zu runs are open, one holds the lease", running));
}

static void check_on_lane(struct engine *engine, void *arg)
{
    struct drive *d = arg;
    d->catalog = engine_catalog(engine);
    d->ok = !d->told.job[0] ||
            (ended_as_told(d->catalog, &d->told, &d->err) && carries_on(d, &d->told, &d->err) &&
             ended_as_told(d->catalog, &d->told, &d->err));
    d->ok = d->ok && lease_ends(d, &d->err);
}

static bool check(void *arg, const char *dir, struct err *err)
{
    AUTO(agent) struct agent a = {0};
    struct drive d = {.agent = &a, .dir = dir};
    (void)arg;
    if (!agent_begin(&a, err) || !kill_check_jobs(dir, &a.options, err))
        return false;
    read_told(dir, &d.told);
    struct engine *engine = drive_open(dir, &a.options, err);
    if (!engine)
        return false;
    drive_call(engine, check_on_lane, &d);
    engine_free(engine);
    if (!d.ok)
        *err = d.err;
    return d.ok;
}

Test(kill_runs, what_a_shim_was_told_of_its_run_holds_wherever_the_agent_is_killed)
{
    struct err err = {0};
    struct kill_report report;
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
    struct kill_case kill_case = {.name = "runs",
                                  .run = run,
                                  .check = check,
                                  .random_rounds = getenv("EVERCOPY_LONG") ? 400 : 4};
    bool ok = kill_harness_run(&kill_case, &report, &err);
    cr_assert(ok, "%s", err.text);
    cr_expect(report.points >= 20, "only %u kill points", report.points);
}
