/* An engine driven from a test's own thread, one call at a time. */
#pragma once
#include "agent/engine/job.h"

/* A directory of its own for a test, in memory unless $TMPDIR says otherwise; drive_dir_free
 * removes it with all in it. */
char *drive_dir(void);
void drive_dir_free(char *dir);
OWN_DEFINE(drive_dir, char, drive_dir_free);

/* Opens the catalog `catalog.db` in dir and an engine on it; options' catalog is ignored. */
struct engine *drive_open(const char *dir, const struct engine_options *options, struct err *err)
    MUST;
/* Calls fn on the engine's lane and waits for it. */
void drive_call(struct engine *engine, void (*fn)(struct engine *engine, void *arg), void *arg);

struct drive_boot {
    size_t finished, swept;
};
/* engine_boot, waited for. */
bool drive_boot(struct engine *engine, struct drive_boot *ret, struct err *err) MUST;

/* A job being waited for. drive_start returns after engine_job_start, drive_wait after its end. */
struct drive_job;
struct drive_job *drive_start(struct engine *engine, const char *kind,
                              const struct catalog_job *row, json_t *args, struct err *err) MUST;
/* False with the job's error; ret_row may be NULL and is filled either way. Frees the drive_job. */
bool drive_wait(struct drive_job *job, struct catalog_job *ret_row, struct err *err) MUST;
