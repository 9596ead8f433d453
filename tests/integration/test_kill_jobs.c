/* Jobs that make real files, killed at every write of the catalog and at random instants. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/kill_harness.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTENT "sixteen bytes..\n"
enum { JOBS = 3, CONTENT_LEN = sizeof CONTENT - 1 };

/* ---- the sample job: a temporary file, renamed; a second file; a note in the catalog ---- */

struct paths {
    char half[600], first[600], second[600];
};

static struct paths paths_of(const struct job *job)
{
    struct paths p;
    const char *dir = json_text(job->document, "dir");
    IGNORE(!str_format(p.half, sizeof p.half, "%s/%s.tmp", dir, job->row.id)); /* fits */
    IGNORE(!str_format(p.first, sizeof p.first, "%s/%s.first", dir, job->row.id));
    IGNORE(!str_format(p.second, sizeof p.second, "%s/%s.second", dir, job->row.id));
    return p;
}

static bool is_there(const char *path)
{
    struct stat st;
    struct err err = {0};
    return sys_lstat(path, &st, &err);
}

/* Not sys_write_file: killed, it leaves a temporary file under a name that no undo can know. */
static bool fill_file(const char *path, struct err *err)
{
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, err);
    return fd >= 0 && sys_write(fd, CONTENT, CONTENT_LEN, path, err) && sys_fsync(fd, path, err);
}

static enum step_verdict fill(struct job *job, struct err *err)
{
    struct paths p = paths_of(job);
    if (!fill_file(p.half, err) || !json_put_text(job->document, "half", p.half, err))
        return STEP_FAILED;
    return STEP_DONE;
}

static enum step_verdict give_name(struct job *job, struct err *err)
{
    struct paths p = paths_of(job);
    if (!is_there(p.half) && is_there(p.first))
        return STEP_DONE; /* the kill came behind the rename */
    return sys_rename(p.half, p.first, err) ? STEP_DONE : STEP_FAILED;
}

static enum step_verdict second_file(struct job *job, struct err *err)
{
    struct paths p = paths_of(job);
    return fill_file(p.second, err) ? STEP_DONE : STEP_FAILED;
}

static enum step_verdict wait_once(struct job *job, struct err *err)
{
    if (json_flag(job->document, "waited"))
        return STEP_DONE;
    job->again_ms = 1;
    return json_put_flag(job->document, "waited", true, err) ? STEP_AGAIN : STEP_FAILED;
}

static enum step_verdict refuse(struct job *job, struct err *err)
{
    (void)job;
    err_set(err, ERR_PRECONDITION, "refused; hint: do not ask for it");
    return STEP_FAILED;
}

static bool remove_one(const char *path, struct err *err)
{
    struct err why = {0};
    if (sys_unlink(path, &why) || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static bool undo(struct job *job, struct err *err)
{
    struct paths p = paths_of(job);
    return remove_one(p.half, err) && remove_one(p.first, err) && remove_one(p.second, err);
}

static bool commit(struct job *job, struct catalog *catalog, struct err *err)
{
    return catalog_note_put(catalog, "ORCL", job->row.id, CONTENT, err);
}

static bool never(const struct job *job)
{
    (void)job;
    return false;
}

static const struct job_step good_steps[] = {
    {"fill", fill}, {"name", give_name}, {"wait", wait_once}, {"second", second_file}};
static const struct job_step bad_steps[] = {
    {"fill", fill}, {"second", second_file}, {"refuse", refuse}};
static const struct job_kind good = {"good", good_steps, 4, undo, commit, NULL, false, NULL, false};
static const struct job_kind swept = {"swept", good_steps, 4,    undo, commit,
                                      never,   false,      NULL, false};
static const struct job_kind bad = {"bad", bad_steps, 3, undo, commit, NULL, false, NULL, false};
static const struct job_kind *const kinds[JOBS] = {&good, &swept, &bad};
static const struct engine_options options = {.kinds = kinds, .kind_count = JOBS, .act_workers = 1};

/* ---- the case ---- */

static bool run_one(struct engine *engine, const char *dir, const char *kind, struct err *err)
{
    struct catalog_job row = {.database = "ORCL", .owner = "test"}, end;
    struct err why = {0};
    IGNORE(!str_format(row.key, sizeof row.key, "key-%s", kind)); /* fits */
    AUTO(json) json_t *args = json_pack("{s:s}", "dir", dir);
    bool ok = drive_wait(drive_start(engine, kind, &row, args, &why), &end, &why);
    if (!ok && why.code != ERR_PRECONDITION)
        return err_set(err, why.code, "%s", why.text);
    return kill_promise(dir, &end, err);
}

static bool run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    AUTO(engine) struct engine *engine = drive_open(dir, &options, err);
    for (int i = 0; i < JOBS; i++)
        if (!engine || !run_one(engine, dir, kinds[i]->name, err))
            return false;
    return true;
}

static bool recover(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    struct drive_boot counts;
    AUTO(engine) struct engine *engine = drive_open(dir, &options, err);
    return engine && drive_boot(engine, &counts, err);
}

static bool whole(const char *path, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, 1000, &len, err);
    if (text && (len != CONTENT_LEN || memcmp(text, CONTENT, len) != 0))
        return err_set(err, ERR_CORRUPT, "'%s' is not whole", path);
    return text != NULL;
}

static bool check_job(struct catalog *c, const char *dir, const struct catalog_job *row,
                      struct err *err)
{
    struct err none = {0};
    AUTO(json) json_t *document = json_pack("{s:s}", "dir", dir);
    struct job job = {.row = *row, .document = document};
    struct paths p = paths_of(&job);
    AUTO(mem) char *note = catalog_note_get(c, "ORCL", row->id, &none);
    if (row->state == JOB_DONE)
        return (note || err_set(err, ERR_INTERNAL, "'%s' is done without its note", row->id)) &&
               whole(p.first, err) && whole(p.second, err) &&
               (!is_there(p.half) || err_set(err, ERR_EXISTS, "'%s' is left", p.half));
    if (note || is_there(p.half) || is_there(p.first) || is_there(p.second))
        return err_set(err, ERR_EXISTS, "'%s' is %s and left something", row->id,
                       job_state_text(row->state));
    return true;
}

/* Nothing but what the done jobs made may lie in the directory. */
static bool check_names(const char *dir, size_t done, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(dir, &names, err))
        return false;
    size_t made = 0;
    for (size_t i = 0; i < names.count; i++)
        made +=
            !str_starts(names.names[i], "catalog.db") && !str_equal(names.names[i], "promises.txt");
    return made == 2 * done || err_set(err, ERR_EXISTS, "%zu files for %zu done jobs", made, done);
}

static bool check(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    char path[600];
    size_t count, done = 0;
    if (!kill_check_jobs(dir, &options, err))
        return false;
    IGNORE(!str_format(path, sizeof path, "%s/catalog.db", dir)); /* fits */
    AUTO(catalog) struct catalog *c = catalog_open(path, err);
    AUTO(mem) struct catalog_job *jobs = c ? catalog_job_list(c, "", "", -1, 0, &count, err) : NULL;
    for (size_t i = 0; jobs && i < count; i++) {
        if (!check_job(c, dir, &jobs[i], err))
            return false;
        done += jobs[i].state == JOB_DONE;
    }
    return jobs && check_names(dir, done, err);
}

/* Hundreds of jobs are swept and say so; reasons come back by the err object. */
static void quiet(void)
{
    struct err err = {0};
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
}

static unsigned rounds(void) { return getenv("EVERCOPY_LONG") ? 1000 : 30; }

Test(kill_jobs, lose_nothing_at_any_write_of_the_catalog_nor_at_random, .init = quiet)
{
    struct kill_case kill_case = {
        .name = "jobs", .run = run, .recover = recover, .check = check, .random_rounds = rounds()};
    struct kill_report report;
    struct err err = {0};
    cr_assert(kill_harness_run(&kill_case, &report, &err), "%s", err.text);
    cr_expect(report.points >= 20, "only %u kill points", report.points);
    cr_expect(report.random_kills >= 1, "no round was killed at random");
}

static bool no_work(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    AUTO(engine) struct engine *engine = drive_open(dir, &options, err);
    struct catalog_job lost = {.id = "good-of-nobody", .state = JOB_DONE};
    return engine && kill_promise(dir, &lost, err);
}

Test(kill_jobs, the_harness_sees_a_promise_that_was_not_kept, .init = quiet)
{
    struct kill_case kill_case = {.name = "liar", .run = no_work, .check = check};
    struct kill_report report;
    struct err err = {0};
    cr_assert_not(kill_harness_run(&kill_case, &report, &err));
    cr_expect(strstr(err.text, "good-of-nobody"), "%s", err.text);
}
