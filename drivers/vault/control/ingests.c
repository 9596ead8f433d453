/* Ingests under way: a table of jobs, the finished kept until their place is needed. */
#include "drivers/vault/control/ingests.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { JOBS = 64, RUNNING_MAX = 16 };

struct job {
    struct ingests *ingests;
    char handle[INGEST_HANDLE_MAX];
    pthread_t thread;
    bool running, by_volume;
    uint64_t number; /* the least goes first */
    char *volumes[INGEST_SET_MAX], *sources[INGEST_SET_MAX], *name;
    size_t count;
    struct ingest_options options;
    struct ingest_report *reports; /* count of them */
    bool ok;
    struct err err;
};

struct ingests {
    struct vault *vault;
    char *folder;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *jobs[JOBS];
    uint64_t next_number;
    atomic_bool stopping;
};

static void job_free(struct job *job)
{
    if (!job)
        return;
    for (size_t i = 0; i < INGEST_SET_MAX; i++) {
        own_free(job->volumes[i]);
        own_free(job->sources[i]);
    }
    for (size_t i = 0; job->reports && i < job->count; i++)
        ingest_report_done(&job->reports[i]);
    own_free(job->reports);
    own_free(job->name);
    own_free(job);
}
OWN_DEFINE(job, struct job, job_free);

struct ingests *ingests_new(struct vault *vault, const char *box, struct err *err)
{
    AUTO(ingests) struct ingests *in = own_alloc(sizeof *in, err);
    if (!in)
        return NULL;
    pthread_condattr_t monotonic;
    IGNORE(pthread_condattr_init(&monotonic));
    IGNORE(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC));
    IGNORE(pthread_mutex_init(&in->lock, NULL));
    IGNORE(pthread_cond_init(&in->changed, &monotonic));
    IGNORE(pthread_condattr_destroy(&monotonic));
    in->vault = vault;
    in->folder = box ? own_printf(err, "%s/ingest", box) : NULL;
    return !box || in->folder ? TAKE(in) : NULL;
}

void ingests_stop(struct ingests *in) { atomic_store(&in->stopping, true); }

void ingests_free(struct ingests *in)
{
    if (!in)
        return;
    ingests_stop(in);
    for (size_t i = 0; i < JOBS; i++) {
        if (in->jobs[i])
            IGNORE(pthread_join(in->jobs[i]->thread, NULL));
        job_free(in->jobs[i]);
    }
    IGNORE(pthread_mutex_destroy(&in->lock));
    IGNORE(pthread_cond_destroy(&in->changed));
    own_free(in->folder);
    own_free(in);
}

/* ---- the thread ---- */

static bool is_stopping(void *arg)
{
    struct ingests *in = arg;
    return atomic_load(&in->stopping);
}

static bool job_work(struct job *job, struct err *err)
{
    struct ingest_one ones[INGEST_SET_MAX];
    struct area *areas[INGEST_SET_MAX] = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < job->count; i++) {
        areas[i] = ingest_source(job->sources[i], job->by_volume ? job->volumes[i] : NULL, err);
        ones[i] = (struct ingest_one){job->volumes[i], areas[i], &job->reports[i]};
        ok = areas[i] != NULL;
    }
    ok = ok && vault_ingest(job->ingests->vault, ones, job->count, job->name, &job->options, err);
    for (size_t i = 0; i < job->count; i++)
        area_close(areas[i]);
    return ok;
}

static void *job_main(void *arg)
{
    struct job *job = arg;
    struct err err = {0};
    bool ok = job_work(job, &err);
    uint64_t unstable = 0, read = 0, written = 0;
    for (size_t i = 0; i < job->count; i++) {
        unstable += job->reports[i].unstable;
        read += job->reports[i].bytes_read;
        written += job->reports[i].records_written;
    }
    if (ok)
        log_info("ingest done volume=%s snapshot=%s read_bytes=%llu written_records=%llu "
                 "unstable_files=%llu",
                 job->volumes[0], job->name, (unsigned long long)read, (unsigned long long)written,
                 (unsigned long long)unstable);
    else
        log_warning("ingest failed volume=%s snapshot=%s error=%s", job->volumes[0], job->name,
                    err.text);
    IGNORE(pthread_mutex_lock(&job->ingests->lock));
    job->ok = ok;
    job->err = err;
    job->running = false;
    IGNORE(pthread_cond_broadcast(&job->ingests->changed));
    IGNORE(pthread_mutex_unlock(&job->ingests->lock));
    return NULL;
}

/* ---- asking ---- */

static uint64_t name_sum(const char *name) { return format_sum(0, name, strlen(name)); }

/* Volumes after the first do not count: a snapshot of that name on the first is that of the set. */
static void handle_of(const char *volume, const char *name, char ret[INGEST_HANDLE_MAX])
{
    str_format(ret, INGEST_HANDLE_MAX, "i%016llx%016llx", (unsigned long long)name_sum(volume),
               (unsigned long long)name_sum(name));
}

static struct job *job_new(struct ingests *in, const struct ingest_ask *ask, struct err *err)
{
    AUTO(job) struct job *job = own_alloc(sizeof *job, err);
    if (!job)
        return NULL;
    job->ingests = in;
    job->count = ask->count;
    job->by_volume = ask->by_volume;
    job->name = own_strdup(ask->name, err);
    job->reports = job->name ? own_alloc(ask->count * sizeof *job->reports, err) : NULL;
    job->options = (struct ingest_options){.folder = in->folder,
                                           .tries = ask->tries,
                                           .allow_empty = ask->allow_empty,
                                           .distrust = ask->distrust,
                                           .cancelled = is_stopping,
                                           .arg = in};
    for (size_t i = 0; job->reports && i < ask->count; i++) {
        job->volumes[i] = own_strdup(ask->volumes[i], err);
        job->sources[i] = job->volumes[i] ? own_strdup(ask->sources[i], err) : NULL;
        if (!job->sources[i])
            return NULL;
    }
    handle_of(ask->volumes[0], ask->name, job->handle);
    return job->reports ? TAKE(job) : NULL;
}

static struct job *find(struct ingests *in, const char *handle)
{
    struct job *found = NULL;
    for (size_t i = 0; i < JOBS; i++)
        if (in->jobs[i] && str_equal(in->jobs[i]->handle, handle) &&
            (!found || in->jobs[i]->number > found->number))
            found = in->jobs[i];
    return found;
}

/* A place, of the oldest finished one if need be; NULL when too many run. Lock held. */
static struct job **place(struct ingests *in)
{
    struct job **best = NULL;
    size_t running = 0;
    for (size_t i = 0; i < JOBS; i++) {
        struct job **at = &in->jobs[i];
        running += *at && (*at)->running;
        if (*at && (*at)->running)
            continue;
        if (!best || (*best && (!*at || (*at)->number < (*best)->number)))
            best = at;
    }
    return running < RUNNING_MAX ? best : NULL;
}

static bool is_new(struct ingests *in, const struct ingest_ask *ask, struct err *err)
{
    for (size_t i = 0; i < ask->count; i++) {
        size_t count = 0;
        AUTO(mem)
        struct vault_snapshot_info *rows =
            vault_snapshot_list(in->vault, ask->volumes[i], &count, err);
        if (!rows)
            return false;
        for (size_t k = 0; k < count; k++)
            if (str_equal(rows[k].name, ask->name))
                return err_set(err, ERR_EXISTS, "volume '%s' has a snapshot '%s'", ask->volumes[i],
                               ask->name);
    }
    return true;
}

/* Lock held. */
static bool start(struct ingests *in, struct job **job, struct err *err)
{
    struct job **at = place(in);
    if (atomic_load(&in->stopping))
        return err_set(err, ERR_UNAVAILABLE, "the vault is stopping");
    if (!at)
        return err_set(err, ERR_BUSY, "%d ingests are under way", RUNNING_MAX);
    if (*at)
        IGNORE(pthread_join((*at)->thread, NULL));
    job_free(*at);
    *at = NULL;
    (*job)->number = ++in->next_number;
    (*job)->running = true;
    int code = pthread_create(&(*job)->thread, NULL, job_main, *job);
    if (code)
        return err_errno(err, code, "start an ingest");
    *at = TAKE(*job);
    return true;
}

bool ingests_begin(struct ingests *in, const struct ingest_ask *ask,
                   char ret_handle[INGEST_HANDLE_MAX], struct err *err)
{
    if (!in->folder)
        return err_set(err, ERR_UNSUPPORTED, "this vault takes no ingests");
    if (ask->count == 0 || ask->count > INGEST_SET_MAX)
        return err_set(err, ERR_INVALID, "an ingest takes 1 to %d volumes", INGEST_SET_MAX);
    handle_of(ask->volumes[0], ask->name, ret_handle);
    AUTO(job) struct job *job = job_new(in, ask, err);
    if (!job || !is_new(in, ask, err))
        return false;
    IGNORE(pthread_mutex_lock(&in->lock));
    const struct job *same = find(in, ret_handle);
    bool ok = (same && same->running) || start(in, &job, err);
    IGNORE(pthread_mutex_unlock(&in->lock));
    return ok;
}

/* ---- polling ---- */

/* What the volumes show of one that was asked of an earlier vault. */
static bool look(struct ingests *in, const char *handle, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *volumes = vault_volume_list(in->vault, &count, err);
    if (!volumes)
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t snaps = 0;
        char own[INGEST_HANDLE_MAX];
        struct err gone = {0};
        handle_of(volumes[i].name, "", own);
        if (volumes[i].clone || strncmp(own, handle, 17) != 0)
            continue;
        AUTO(mem)
        struct vault_snapshot_info *rows =
            vault_snapshot_list(in->vault, volumes[i].name, &snaps, &gone);
        for (size_t k = 0; rows && k < snaps; k++) {
            handle_of(volumes[i].name, rows[k].name, own);
            if (str_equal(own, handle))
                return true;
        }
    }
    return err_set(err, ERR_UNAVAILABLE,
                   "the vault was restarted before the ingest was done; hint: begin it again");
}

static bool wait_for(struct ingests *in, const char *handle, const struct timespec *until)
{
    struct job *job;
    while ((job = find(in, handle)) && job->running)
        if (pthread_cond_timedwait(&in->changed, &in->lock, until) != 0)
            return false;
    return true;
}

bool ingests_poll(struct ingests *in, const char *handle, uint64_t timeout_ms, bool *ret_done,
                  ingests_tell *fn, void *arg, struct err *err)
{
    struct timespec until;
    IGNORE(clock_gettime(CLOCK_MONOTONIC, &until));
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    IGNORE(pthread_mutex_lock(&in->lock));
    bool done = wait_for(in, handle, &until);
    const struct job *job = find(in, handle);
    bool known = job != NULL, ok = true;
    if (known && done && !job->ok) {
        *err = job->err;
        ok = false;
    } else if (known && done) {
        ok = fn(arg, job->reports, job->count, err);
    }
    IGNORE(pthread_mutex_unlock(&in->lock));
    *ret_done = done;
    return known ? ok : look(in, handle, err);
}
