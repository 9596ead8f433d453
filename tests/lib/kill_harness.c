/* Kills at every write transaction and at random; asks whether what was promised is there. */
#include "tests/lib/kill_harness.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/engine_drive.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KILLED = 137, FAILED = 3, POINTS_MAX = 2000, RECOVER_POINTS = 12 };
#define PROMISES "promises.txt"
#define REASON "child-error.txt"

typedef bool part_fn(void *arg, const char *dir, struct err *err);

struct round {
    const struct kill_case *kill_case;
    char *dir;
    char where[120];
};

/* ---- children ---- */

/* A child that does `part`, to be killed at its nth write transaction (0: not). */
static pid_t begin_child(const struct round *round, part_fn *part, long nth, bool after)
{
    fflush(NULL);
    pid_t child = fork();
    if (child != 0)
        return child;
    struct err err = {0};
    IGNORE(catalog_kill_at(nth, after) != 0); /* what was counted before is not asked */
    if (part(round->kill_case->arg, round->dir, &err))
        _exit(0);
    char path[4096];
    struct err none = {0};
    IGNORE(!str_format(path, sizeof path, "%s/" REASON, round->dir));      /* fits */
    IGNORE(sys_write_file(path, err.text, strlen(err.text), 0600, &none)); /* for end_child */
    _exit(FAILED);
}

static bool child_failed(const struct round *round, int status, struct err *err)
{
    char path[4096];
    size_t len;
    struct err none = {0};
    IGNORE(!str_format(path, sizeof path, "%s/" REASON, round->dir)); /* fits */
    AUTO(mem) char *text = sys_read_file(path, 4096, &len, &none);
    return err_set(err, ERR_INTERNAL, "the child ended with status 0x%x: %s", (unsigned)status,
                   text ? text : "without a reason");
}

/* *ret_killed: the child did not end by itself. */
static bool end_child(const struct round *round, pid_t child, bool *ret_killed, struct err *err)
{
    int status;
    if (child < 0)
        return err_errno(err, errno, "fork");
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_errno(err, errno, "wait for the child");
    *ret_killed = (WIFEXITED(status) && WEXITSTATUS(status) == KILLED) ||
                  (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    if (*ret_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return true;
    return child_failed(round, status, err);
}

static void sleep_us(uint64_t us)
{
    struct timespec left = {(time_t)(us / 1000000u), (long)(us % 1000000u) * 1000};
    while (nanosleep(&left, &left) != 0)
        continue;
}

/* ---- rounds ---- */

static bool round_begin(struct round *round, const struct kill_case *kill_case, struct err *err)
{
    *round = (struct round){.kill_case = kill_case, .dir = drive_dir()};
    return !kill_case->setup || kill_case->setup(kill_case->arg, round->dir, err);
}

static bool round_end(struct round *round, bool ok, struct err *err)
{
    const struct kill_case *kill_case = round->kill_case;
    ok = ok && kill_case->check(kill_case->arg, round->dir, err);
    if (kill_case->teardown)
        kill_case->teardown(kill_case->arg, round->dir);
    drive_dir_free(round->dir);
    return ok || err_wrap(err, "%s, killed %s", kill_case->name, round->where);
}

static bool kill_point(const struct kill_case *kill_case, long nth, bool after, bool *ret_killed,
                       struct err *err)
{
    struct round round;
    bool ok = round_begin(&round, kill_case, err);
    IGNORE(str_format(round.where, sizeof round.where, "%s write %ld", after ? "after" : "before",
                      nth)); /* a label */
    ok = ok && end_child(&round, begin_child(&round, kill_case->run, nth, after), ret_killed, err);
    return round_end(&round, ok, err);
}

/* In make test each write has one of its two sides in turn, in test-long both. */
static bool every_point(const struct kill_case *kill_case, struct kill_report *report,
                        struct err *err)
{
    long step = getenv("EVERCOPY_LONG") ? 1 : 2;
    for (int after = 0; after < 2; after++) {
        bool killed = true;
        for (long nth = step == 2 ? 1 + after : 1; killed; nth += step) {
            if (nth > POINTS_MAX)
                return err_set(err, ERR_LIMIT, "'%s' never ends", kill_case->name);
            if (!kill_point(kill_case, nth, after != 0, &killed, err))
                return false;
            report->points += killed;
            report->rounds++;
        }
    }
    return true;
}

/* How long an undisturbed run takes. */
static bool measure(const struct kill_case *kill_case, uint64_t *ret_us, struct err *err)
{
    struct round round;
    bool killed = false;
    bool ok = round_begin(&round, kill_case, err);
    IGNORE(str_copy(round.where, sizeof round.where, "never")); /* a label */
    uint64_t begun = clock_mono_ms();
    ok = ok && end_child(&round, begin_child(&round, kill_case->run, 0, false), &killed, err);
    *ret_us = (clock_mono_ms() - begun + 1) * 1000;
    return round_end(&round, ok, err);
}

static bool recover_killed(const struct round *round, unsigned *seed, struct err *err)
{
    bool killed = false;
    long nth = 1 + rand_r(seed) % RECOVER_POINTS;
    bool after = rand_r(seed) % 2;
    return !round->kill_case->recover ||
           end_child(round, begin_child(round, round->kill_case->recover, nth, after), &killed,
                     err);
}

static bool kill_random(const struct kill_case *kill_case, uint64_t span_us, unsigned *seed,
                        bool *ret_killed, struct err *err)
{
    struct round round;
    unsigned shown = *seed;
    uint64_t after_us = (uint64_t)rand_r(seed) % span_us;
    bool ok = round_begin(&round, kill_case, err);
    IGNORE(str_format(round.where, sizeof round.where, "after %llu us, seed %u",
                      (unsigned long long)after_us, shown)); /* a label */
    pid_t child = ok ? begin_child(&round, kill_case->run, 0, false) : -1;
    if (child > 0) {
        sleep_us(after_us);
        kill(child, SIGKILL);
    }
    ok = ok && end_child(&round, child, ret_killed, err) && recover_killed(&round, seed, err);
    return round_end(&round, ok, err);
}

bool kill_harness_run(const struct kill_case *kill_case, struct kill_report *ret_report,
                      struct err *err)
{
    struct kill_report report = {0};
    unsigned seed = kill_case->seed ? kill_case->seed : (unsigned)clock_wall_us();
    uint64_t span_us;
    if (!every_point(kill_case, &report, err) || !measure(kill_case, &span_us, err))
        return false;
    for (unsigned i = 0; i < kill_case->random_rounds; i++) {
        bool killed = false;
        if (!kill_random(kill_case, span_us, &seed, &killed, err))
            return false;
        report.random_kills += killed;
        report.rounds++;
    }
    *ret_report = report;
    return true;
}

/* ---- invariants of jobs ---- */

bool kill_promise(const char *dir, const struct catalog_job *row, struct err *err)
{
    char path[4096], line[128];
    IGNORE(!str_format(path, sizeof path, "%s/" PROMISES, dir)); /* fits */
    IGNORE(!str_format(line, sizeof line, "%s %s\n", row->id, job_state_text(row->state)));
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_APPEND, 0600, err);
    return fd >= 0 && sys_write(fd, line, strlen(line), path, err);
}

static bool keeps_promises(struct catalog *c, const char *dir, struct err *err)
{
    char path[4096];
    struct err none = {0};
    struct catalog_job job;
    IGNORE(!str_format(path, sizeof path, "%s/" PROMISES, dir)); /* fits */
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, 1 << 20, &len, &none);
    char *cursor = text, *line;
    while (cursor && (line = str_field(&cursor, '\n')) && cursor) {
        char *state = line;
        const char *id = str_field(&state, ' ');
        if (!catalog_job_get(c, id, &job, err))
            return err_wrap(err, "promised");
        if (!str_equal(job_state_text(job.state), state))
            return err_set(err, ERR_INTERNAL, "job '%s' was reported '%s' and is '%s'", id, state,
                           job_state_text(job.state));
    }
    return true;
}

static bool log_has(struct catalog *c, const char *id, const char *text, struct err *err)
{
    size_t count;
    struct catalog_log_line *lines = catalog_log_read(c, id, 0, 100000, &count, err);
    if (!lines)
        return false;
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found = found || strstr(lines[i].text, text);
    catalog_log_free(lines, count);
    return found || err_set(err, ERR_INTERNAL, "the log of job '%s' has no '%s'", id, text);
}

struct check {
    const char *dir;
    const struct engine_options *options;
    char **interrupted; /* ids */
    size_t count;
    bool ok;
    struct err err;
};

static bool is_external(const struct engine_options *options, const char *kind)
{
    for (size_t i = 0; i < options->kind_count; i++)
        if (strcmp(options->kinds[i]->name, kind) == 0)
            return options->kinds[i]->external;
    return false;
}

static bool job_ended_well(struct catalog *c, const char *id, struct err *err)
{
    struct catalog_job job;
    if (!catalog_job_get(c, id, &job, err))
        return false;
    if (job.state == JOB_RUNNING)
        return err_set(err, ERR_INTERNAL, "job '%s' runs after the boot", id);
    return log_has(c, id, "found running at the agent's start", err) &&
           log_has(c, id, job.state == JOB_DONE ? "the job is done" : "the job was undone", err);
}

static void after_boot(struct engine *engine, void *arg)
{
    struct check *check = arg;
    struct catalog *c = engine_catalog(engine);
    check->ok = keeps_promises(c, check->dir, &check->err);
    for (size_t i = 0; i < check->count && check->ok; i++)
        check->ok = job_ended_well(c, check->interrupted[i], &check->err);
}

static bool find_interrupted(struct check *check, struct err *err)
{
    char path[4096];
    size_t count;
    IGNORE(!str_format(path, sizeof path, "%s/catalog.db", check->dir)); /* fits */
    AUTO(catalog) struct catalog *c = catalog_open(path, err);
    AUTO(mem)
    struct catalog_job *jobs =
        c ? catalog_job_list(c, "", "", JOB_RUNNING, 100000, &count, err) : NULL;
    check->interrupted = jobs ? own_alloc(sizeof *check->interrupted * count, err) : NULL;
    for (size_t i = 0; check->interrupted && i < count; i++)
        if (!is_external(check->options, jobs[i].kind) &&
            !(check->interrupted[check->count++] = own_strdup(jobs[i].id, err)))
            return false;
    return check->interrupted != NULL;
}

static bool boot_twice(struct check *check, struct err *err)
{
    for (int boot = 0; boot < 2; boot++) {
        struct drive_boot counts;
        AUTO(engine) struct engine *engine = drive_open(check->dir, check->options, err);
        if (!engine || !drive_boot(engine, &counts, err))
            return err_wrap(err, "boot %d", boot + 1);
        size_t expected = boot == 0 ? check->count : 0;
        if (counts.finished + counts.swept != expected)
            return err_set(err, ERR_INTERNAL, "boot %d ended %zu + %zu jobs, not %zu", boot + 1,
                           counts.finished, counts.swept, expected);
        drive_call(engine, after_boot, check);
        if (!check->ok) {
            *err = check->err;
            return false;
        }
    }
    return true;
}

bool kill_check_jobs(const char *dir, const struct engine_options *options, struct err *err)
{
    struct check check = {.dir = dir, .options = options};
    bool ok = find_interrupted(&check, err) && boot_twice(&check, err);
    for (size_t i = 0; i < check.count; i++)
        own_free(check.interrupted[i]);
    own_free(check.interrupted);
    return ok;
}
