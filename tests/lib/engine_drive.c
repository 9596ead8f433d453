/* An engine driven from a test's own thread, one call at a time. */
#include "tests/lib/engine_drive.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <assert.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *drive_dir(void)
{
    struct err err = {0};
    const char *base = getenv("TMPDIR");
    /* In memory: a kill loses no page cache, so a disk would only make thousands of fsyncs slow. */
    if (!base || !*base)
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir;
    char *dir = own_printf(&err, "%s/evercopy-test-XXXXXX", base);
    char *made = dir ? mkdtemp(dir) : NULL;
    assert(made);
    return made;
}

void drive_dir_free(char *dir)
{
    struct err err = {0};
    if (dir)
        IGNORE(sys_remove_tree(dir, &err)); /* litter in a temporary directory */
    own_free(dir);
}

struct engine *drive_open(const char *dir, const struct engine_options *options, struct err *err)
{
    char path[4096];
    IGNORE(!str_format(path, sizeof path, "%s/catalog.db", dir)); /* fits */
    struct engine_options own = *options;
    AUTO(catalog) struct catalog *catalog = catalog_open(path, err);
    own.catalog = catalog;
    struct engine *engine = catalog ? engine_new(&own, err) : NULL;
    if (engine)
        catalog = NULL;
    return engine;
}

struct call {
    struct work work;
    struct engine *engine;
    void (*fn)(struct engine *engine, void *arg);
    void *arg;
    sem_t returned;
};

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        continue;
}

static void perform(struct work *work)
{
    struct call *call = (struct call *)work; /* first member */
    call->fn(call->engine, call->arg);
    sem_post(&call->returned);
}

void drive_call(struct engine *engine, void (*fn)(struct engine *engine, void *arg), void *arg)
{
    struct call call = {.work.run = perform, .engine = engine, .fn = fn, .arg = arg};
    sem_init(&call.returned, 0, 0);
    lane_submit(engine_lane(engine), &call.work);
    wait_for(&call.returned);
    sem_destroy(&call.returned);
}

struct boot_wait {
    sem_t ended;
    struct drive_boot counts;
    struct err err;
};

static void booted(void *arg, size_t finished, size_t swept, const struct err *err)
{
    struct boot_wait *wait = arg;
    wait->counts = (struct drive_boot){finished, swept};
    wait->err = *err;
    sem_post(&wait->ended);
}

static void boot(struct engine *engine, void *arg) { engine_boot(engine, booted, arg); }

bool drive_boot(struct engine *engine, struct drive_boot *ret, struct err *err)
{
    struct boot_wait wait = {0};
    sem_init(&wait.ended, 0, 0);
    drive_call(engine, boot, &wait);
    wait_for(&wait.ended);
    sem_destroy(&wait.ended);
    *ret = wait.counts;
    if (wait.err.code != ERR_NONE)
        *err = wait.err;
    return wait.err.code == ERR_NONE;
}

struct drive_job {
    const char *kind;
    const struct catalog_job *row;
    json_t *args;
    bool started;
    sem_t ended;
    struct catalog_job end;
    struct err err;
};

static void job_ended(void *arg, const struct catalog_job *row, const json_t *document,
                      const struct err *err)
{
    struct drive_job *job = arg;
    (void)document;
    job->end = *row;
    job->err = *err;
    sem_post(&job->ended);
}

static void start(struct engine *engine, void *arg)
{
    struct drive_job *job = arg;
    struct err err = {0};
    job->started = engine_job_start(engine, job->kind, job->row, job->args, job_ended, job, &err);
    if (!job->started)
        job->err = err;
}

struct drive_job *drive_start(struct engine *engine, const char *kind,
                              const struct catalog_job *row, json_t *args, struct err *err)
{
    struct drive_job *job = own_alloc(sizeof *job, err);
    if (!job)
        return NULL;
    job->kind = kind;
    job->row = row;
    job->args = args;
    sem_init(&job->ended, 0, 0);
    drive_call(engine, start, job);
    if (job->started)
        return job;
    *err = job->err;
    sem_destroy(&job->ended);
    own_free(job);
    return NULL;
}

bool drive_wait(struct drive_job *job, struct catalog_job *ret_row, struct err *err)
{
    if (!job)
        return false;
    wait_for(&job->ended);
    bool ok = job->err.code == ERR_NONE;
    if (!ok)
        *err = job->err;
    if (ret_row)
        *ret_row = job->end;
    sem_destroy(&job->ended);
    own_free(job);
    return ok;
}
