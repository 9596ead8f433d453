/* A backup run's log, from the spool to the agent: lines per second, and what the shim holds of
 * them.
 *   bench_log CONFIG DB DBID LINES: registers DB, begins a run, tells the log, ends the run. */
#include "agent/base/clock.h"
#include "agent/shim/run.h"
#include "evercopy/v1/backups.pb-c.h"
#include "evercopy/v1/databases.pb-c.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct err *err)
{
    fprintf(stderr, "bench_log: %s\n", err->text);
    return 1;
}

static bool register_database(struct shim *shim, uint32_t dbid, struct err *err)
{
    Evercopy__V1__RegisterDatabaseRequest request = EVERCOPY__V1__REGISTER_DATABASE_REQUEST__INIT;
    request.db_unique_name = (char *)shim->db->name;
    request.db_name = (char *)shim->db->name;
    request.dbid = dbid;
    request.apply = true;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(shim, "Databases", "RegisterDatabase", &request.base,
                  &evercopy__v1__register_database_reply__descriptor, SHIM_CALL_MS, err);
    return reply != NULL;
}

static bool begin(struct run *run, uint32_t dbid, struct err *err)
{
    Evercopy__V1__BeginBackupRequest request = EVERCOPY__V1__BEGIN_BACKUP_REQUEST__INIT;
    request.db_unique_name = (char *)run->shim->db->name;
    request.db_name = (char *)run->shim->db->name;
    request.dbid = dbid;
    request.host = (char *)"bench";
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(run->shim, "Backups", "BeginBackup", &request.base,
                  &evercopy__v1__begin_backup_reply__descriptor, SHIM_CALL_MS, err);
    if (!message)
        return false;
    const Evercopy__V1__BeginBackupReply *reply = (const void *)message;
    IGNORE(!str_copy(run->job, sizeof run->job, reply->job));
    run->token = reply->fencing_token;
    return true;
}

static long resident_kib(void)
{
    char line[200];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib;
}

/* All lines are there before the agent hears of one, as after a long absence. */
static bool tell_log(struct run *run, uint64_t lines, double *ret_s, struct err *err)
{
    char text[120];
    struct spool_id id = {.token = run->token};
    IGNORE(!str_copy(id.database, sizeof id.database, run->shim->db->name));
    IGNORE(!str_copy(id.job, sizeof id.job, run->job));
    if (!run_keep_log(run, err) || !spool_attach(run->spool, run->shim->db->spool, &id, err))
        return false;
    for (uint64_t i = 0; i < lines; i++) {
        int len = snprintf(text, sizeof text,
                           "channel ec1: backup set complete, elapsed time: 00:00:07 (%llu of it)",
                           (unsigned long long)i);
        spool_add(run->spool, text, (size_t)len);
    }
    uint64_t begun = clock_mono_ms();
    run_flush(run);
    *ret_s = (double)(clock_mono_ms() - begun + 1) / 1000;
    spool_end(run->spool, false);
    return spool_waiting(run->spool) == 0 ||
           err_set(err, ERR_UNAVAILABLE, "%llu lines were not taken",
                   (unsigned long long)spool_waiting(run->spool));
}

int main(int argc, char **argv)
{
    struct shim_options options = {.config = argc > 4 ? argv[1] : NULL};
    AUTO(shim) struct shim shim = {0};
    AUTO(run) struct run run = {.shim = &shim, .phase = "bench"};
    struct err err = {0};
    double seconds;
    if (argc < 5) {
        fprintf(stderr, "usage: bench_log CONFIG DB DBID LINES\n");
        return 2;
    }
    uint32_t dbid = (uint32_t)strtoul(argv[3], NULL, 10);
    uint64_t lines = strtoull(argv[4], NULL, 10);
    if (!shim_open(&shim, &options, argv[2], &err) || !register_database(&shim, dbid, &err) ||
        !begin(&run, dbid, &err) || !tell_log(&run, lines, &seconds, &err))
        return fail(&err);
    printf("log_upload_lines_s %.0f\nlog_upload_shim_kib %ld\n", (double)lines / seconds,
           resident_kib());
    return 0;
}
