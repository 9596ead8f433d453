/* The whole agent under load for a few seconds, for SAN=thread: stress_agent [SECONDS]. evercopyd's
 * own object graph on the memory driver; hosts, people and strangers call it from threads of their
 * own, and it is stopped in the midst of their calls. Prints its seed; EVERCOPY_SEED repeats it. */
#include "agent/auth/ca.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/config/config.h"
#include "agent/main/serve.h"
#include "agent/net/sock.h"
#include "agent/rpc/client.h"
#include "drivers/registry.h"
#include "evercopy/v1/backups.pb-c.h"
#include "evercopy/v1/clones.pb-c.h"
#include "evercopy/v1/databases.pb-c.h"
#include "evercopy/v1/jobs.pb-c.h"
#include "evercopy/v1/recovery.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include "tests/lib/memory_driver.h"
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STORE "stress"
enum { DBID = 4711, CALL_MS = 20000, CALLERS = 6, FILES = 12 };

struct stress {
    char dir[64];
    uint16_t port;
    _Atomic bool over;
    _Atomic unsigned long calls, answers, refusals, wrong;
};
static struct stress stress;

struct caller {
    pthread_t thread;
    const char *name; /* of the certificate */
    bool (*turn)(struct caller *caller, struct err *err);
    struct rpc_client *client;
    unsigned seed;
    unsigned long count;
    char job[64];
    uint64_t token;
};

static unsigned below(struct caller *caller, unsigned limit)
{
    return (unsigned)rand_r(&caller->seed) % limit;
}

static const char *in_dir(const char *name, char ret[160])
{
    IGNORE(!str_format(ret, 160, "%s/%s", stress.dir, name));
    return ret;
}

/* ---- calls ---- */

#define CALL(caller, service, method, stem, request, err)                                          \
    call((caller), service, method, &(request).base, &evercopy__v1__##stem##_reply__descriptor, err)

static ProtobufCMessage *call(struct caller *caller, const char *service, const char *method,
                              const ProtobufCMessage *request,
                              const ProtobufCMessageDescriptor *output, struct err *err)
{
    char full[80];
    IGNORE(!str_format(full, sizeof full, "evercopy.v1.%s", service));
    stress.calls++;
    return rpc_client_call(caller->client, full, method, request, output, CALL_MS, err);
}

static bool drop(ProtobufCMessage *reply)
{
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
    return reply != NULL;
}

static bool status(struct caller *caller, struct err *err)
{
    Evercopy__V1__GetStatusRequest request = EVERCOPY__V1__GET_STATUS_REQUEST__INIT;
    return drop(CALL(caller, "Databases", "GetStatus", get_status, request, err));
}

static bool window(struct caller *caller, struct err *err)
{
    Evercopy__V1__GetWindowRequest request = EVERCOPY__V1__GET_WINDOW_REQUEST__INIT;
    request.db_unique_name = (char *)"ONE";
    return drop(CALL(caller, "Recovery", "GetWindow", get_window, request, err));
}

static bool snapshots(struct caller *caller, struct err *err)
{
    Evercopy__V1__ListSnapshotsRequest request = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    request.db_unique_name = (char *)"ONE";
    return drop(CALL(caller, "Snapshots", "ListSnapshots", list_snapshots, request, err));
}

/* The newest job's id, for whoever follows its log. */
static bool newest_job(struct caller *caller, char ret[64], struct err *err)
{
    Evercopy__V1__ListJobsRequest request = EVERCOPY__V1__LIST_JOBS_REQUEST__INIT;
    request.limit = 5;
    ProtobufCMessage *reply = CALL(caller, "Jobs", "ListJobs", list_jobs, request, err);
    const Evercopy__V1__ListJobsReply *jobs = (void *)reply;
    ret[0] = '\0';
    if (jobs && jobs->n_jobs)
        IGNORE(!str_copy(ret, 64, jobs->jobs[below(caller, (unsigned)jobs->n_jobs)]->id));
    return drop(reply);
}

/* Leaves the stream after some lines, or stays until the job ends. */
static bool on_line(void *arg, const ProtobufCMessage *line)
{
    struct caller *caller = arg;
    (void)line;
    return below(caller, 8) != 0;
}

static bool follow(struct caller *caller, struct err *err)
{
    char job[64];
    if (!newest_job(caller, job, err) || !job[0])
        return err->code == ERR_NONE;
    Evercopy__V1__FollowLogRequest request = EVERCOPY__V1__FOLLOW_LOG_REQUEST__INIT;
    request.job = job;
    request.follow = below(caller, 2);
    stress.calls++;
    struct err why = {0};
    bool ok = rpc_client_stream(caller->client, "evercopy.v1.Jobs", "FollowLog", &request.base,
                                &evercopy__v1__log_line__descriptor, 500, on_line, caller, &why);
    /* We left, or a job was silent for longer than we care to wait. */
    if (!ok && why.code != ERR_CANCELLED && why.code != ERR_TIMEOUT)
        *err = why;
    return err->code == ERR_NONE;
}

static bool turn_monitor(struct caller *caller, struct err *err)
{
    static bool (*const turns[])(struct caller *, struct err *) = {status, window, snapshots,
                                                                   follow};
    return turns[below(caller, 4)](caller, err);
}

/* Any snapshot there is; "" when there is none. */
static bool some_snapshot(struct caller *caller, char ret[128], struct err *err)
{
    Evercopy__V1__ListSnapshotsRequest request = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    request.db_unique_name = (char *)"ONE";
    ProtobufCMessage *reply =
        CALL(caller, "Snapshots", "ListSnapshots", list_snapshots, request, err);
    const Evercopy__V1__ListSnapshotsReply *list = (void *)reply;
    ret[0] = '\0';
    if (list && list->n_snapshots)
        IGNORE(
            !str_copy(ret, 128, list->snapshots[below(caller, (unsigned)list->n_snapshots)]->name));
    return drop(reply);
}

static bool turn_operator(struct caller *caller, struct err *err)
{
    char name[32], snapshot[128];
    IGNORE(!str_format(name, sizeof name, "c%u", below(caller, 3)));
    if (!some_snapshot(caller, snapshot, err))
        return false;
    if (snapshot[0] && below(caller, 2)) {
        Evercopy__V1__CreateCloneRequest request = EVERCOPY__V1__CREATE_CLONE_REQUEST__INIT;
        request.db_unique_name = (char *)"ONE";
        request.name = name;
        request.snapshot = snapshot;
        return drop(CALL(caller, "Clones", "CreateClone", create_clone, request, err));
    }
    Evercopy__V1__DropCloneRequest request = EVERCOPY__V1__DROP_CLONE_REQUEST__INIT;
    request.db_unique_name = (char *)"ONE";
    request.name = name;
    return drop(CALL(caller, "Clones", "DropClone", drop_clone, request, err));
}

/* ---- a host's runs ---- */

static bool begin(struct caller *caller, struct err *err)
{
    char key[32];
    Evercopy__V1__BeginBackupRequest request = EVERCOPY__V1__BEGIN_BACKUP_REQUEST__INIT;
    IGNORE(!str_format(key, sizeof key, "%s-%lu", caller->name, caller->count));
    request.idempotency_key = key;
    request.db_unique_name = (char *)"ONE";
    request.dbid = DBID;
    request.db_name = (char *)"ONE";
    request.resetlogs_id = 1;
    request.host = (char *)caller->name;
    request.pid = 1;
    ProtobufCMessage *reply = CALL(caller, "Backups", "BeginBackup", begin_backup, request, err);
    const Evercopy__V1__BeginBackupReply *granted = (void *)reply;
    if (granted) {
        IGNORE(!str_copy(caller->job, sizeof caller->job, granted->job));
        caller->token = granted->fencing_token;
    }
    return drop(reply);
}

static bool phase(struct caller *caller, struct err *err)
{
    Evercopy__V1__ReportPhaseRequest request = EVERCOPY__V1__REPORT_PHASE_REQUEST__INIT;
    request.job = caller->job;
    request.fencing_token = caller->token;
    request.phase = (char *)"level1";
    return drop(CALL(caller, "Backups", "ReportPhase", report_phase, request, err));
}

static bool lines(struct caller *caller, struct err *err)
{
    static uint8_t text[200];
    ProtobufCBinaryData batch[16];
    Evercopy__V1__AppendLogRequest request = EVERCOPY__V1__APPEND_LOG_REQUEST__INIT;
    for (size_t i = 0; i < 16; i++)
        batch[i] = (ProtobufCBinaryData){below(caller, sizeof text), text};
    request.job = caller->job;
    request.fencing_token = caller->token;
    request.lines = batch;
    request.n_lines = 16;
    return drop(CALL(caller, "Backups", "AppendLog", append_log, request, err));
}

static bool take(struct caller *caller, const char *kind, struct err *err)
{
    Evercopy__V1__TakeSnapshotRequest request = EVERCOPY__V1__TAKE_SNAPSHOT_REQUEST__INIT;
    request.job = caller->job;
    request.fencing_token = caller->token;
    request.kind = (char *)kind;
    return drop(CALL(caller, "Snapshots", "TakeSnapshot", take_snapshot, request, err));
}

static bool finish(struct caller *caller, struct err *err)
{
    Evercopy__V1__FinishBackupRequest request = EVERCOPY__V1__FINISH_BACKUP_REQUEST__INIT;
    request.job = caller->job;
    request.fencing_token = caller->token;
    request.verdict = EVERCOPY__V1__VERDICT__VERDICT_OK;
    return drop(CALL(caller, "Backups", "FinishBackup", finish_backup, request, err));
}

/* Two hosts want the one lease: one has it, the other is told so. */
static bool turn_host(struct caller *caller, struct err *err)
{
    if (!begin(caller, err))
        return err->code == ERR_BUSY;
    struct err why = {0};
    if (!phase(caller, err) || !lines(caller, err) ||
        (!take(caller, "pre", &why) && why.code != ERR_EXISTS)) /* two within one second */
        return false;
    return finish(caller, err);
}

/* Plain bytes, silence, and half a handshake. */
static bool turn_stranger(struct caller *caller, struct err *err)
{
    AUTO(fd) int fd = sock_connect("127.0.0.1", stress.port, clock_mono_ms() + 2000, err);
    if (fd < 0) {
        err_clear(err);
        return true;
    }
    uint8_t noise[64];
    clock_random(noise, sizeof noise);
    if (below(caller, 2))
        IGNORE(send(fd, noise, sizeof noise, MSG_NOSIGNAL) < 0);
    IGNORE(poll(NULL, 0, (int)below(caller, 20)) < 0);
    return true;
}

/* ---- callers ---- */

static struct rpc_client *connect_as(const char *name, struct err *err)
{
    char ca[160], cert[160], key[160], file[64];
    IGNORE(!str_format(file, sizeof file, "%s.crt", name));
    in_dir(file, cert);
    IGNORE(!str_format(file, sizeof file, "%s.key", name));
    in_dir(file, key);
    struct rpc_client_options options = {.host = "127.0.0.1",
                                         .port = stress.port,
                                         .ca_file = in_dir("ca.crt", ca),
                                         .cert_file = cert,
                                         .key_file = key,
                                         .connect_timeout_ms = 20000};
    return rpc_client_new(&options, err);
}

/* What honest callers may hear: busy, gone, there already, or that the agent stops. */
static bool is_expected(enum err_code code)
{
    static const enum err_code expected[] = {ERR_BUSY,        ERR_NOT_FOUND, ERR_EXISTS, ERR_FENCED,
                                             ERR_UNAVAILABLE, ERR_LIMIT,     ERR_TIMEOUT};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (code == expected[i])
            return true;
    return false;
}

static void *caller_main(void *arg)
{
    struct caller *caller = arg;
    while (!stress.over) {
        struct err err = {0};
        caller->count++;
        if (caller->name && !caller->client && !(caller->client = connect_as(caller->name, &err)))
            break;
        bool ok = caller->turn(caller, &err);
        if (ok || is_expected(err.code))
            *(ok ? &stress.answers : &stress.refusals) += 1;
        else if (!stress.over && ++stress.wrong)
            fprintf(stderr, "%s: %s: %s\n", caller->name, err_code_name(err.code), err.text);
        if (below(caller, 16) == 0) { /* comes back on another connection */
            rpc_client_free(caller->client);
            caller->client = NULL;
        }
    }
    rpc_client_free(caller->client);
    return NULL;
}

/* ---- the world ---- */

static bool enroll(const char *name, const char *role, struct err *err)
{
    char pki[160];
    static const char *const databases[] = {"ONE", "TWO"};
    struct ca_request request = {
        .name = name, .role = role, .databases = databases, .database_count = 2, .days = 1};
    return ca_enroll(in_dir("pki", pki), &request, stress.dir, err);
}

static bool make_world(struct err *err)
{
    static const char *const names[] = {"127.0.0.1"};
    static const uint8_t bytes[3000];
    char pki[160], path[64];
    struct ca_request request = {.name = "agent", .server_names = names, .server_name_count = 1};
    if (!ca_init(in_dir("pki", pki), &request, err) || !enroll("host1", "dbhost", err) ||
        !enroll("host2", "dbhost", err) || !enroll("person", "operator", err) ||
        !enroll("watcher", "monitor", err))
        return false;
    registry_add_for_tests(&driver_memory);
    struct driver_option option = {"store", STORE};
    AUTO(driver) struct driver_ref *driver = driver_open("memory", &option, 1, err);
    if (!driver || !driver_volume_create(driver, "ONE", err) ||
        !driver_volume_create(driver, "TWO", err))
        return false;
    for (int i = 0; i < FILES; i++) {
        IGNORE(!str_format(path, sizeof path, "data/%d.dbf", i));
        if (!memory_file_put(STORE, "ONE", NULL, path, bytes, sizeof bytes, 1000000, err))
            return false;
    }
    return true;
}

/* Hooks of all kinds: good ones, slow ones, and some that delay, fail or crash. */
static bool make_hooks(struct err *err)
{
    static const char *const hooks[][2] = {
        {"snapshot.before/10-quiet", "case $$ in *3) echo again_ms=100; exit 1 ;; esac"},
        {"snapshot.after/10-on", "echo after"},
        {"job.end/10-bad", "case $$ in *[1-3]) exit 7 ;; *4) kill -SEGV $$ ;; esac"},
        {"clone.made/10-slow", "sleep 0.2"},
        {"verdict.change/10-led", "cat"},
    };
    char path[200];
    char text[400];
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
        IGNORE(!str_format(path, sizeof path, "%s/hook.d/%s", stress.dir, hooks[i][0]));
        *strrchr(path, '/') = '\0';
        if (!sys_mkdirs(path, 0755, err))
            return false;
        IGNORE(!str_format(path, sizeof path, "%s/hook.d/%s", stress.dir, hooks[i][0]));
        IGNORE(!str_format(text, sizeof text, "#!/bin/sh\necho x >> %s/hooks.ran\n%s\n", stress.dir,
                           hooks[i][1]));
        if (!sys_write_file(path, text, strlen(text), 0755, err))
            return false;
    }
    setenv("NOTIFY_SOCKET", "@evercopy-stress-nobody", 1);
    setenv("WATCHDOG_USEC", "20000", 1); /* a ping each 10 ms */
    return true;
}

/* How many calls of hooks were begun. */
static size_t hooks_ran(void)
{
    char path[160];
    struct err err = {0};
    size_t len = 0;
    AUTO(mem) char *text = sys_read_file(in_dir("hooks.ran", path), 1 << 20, &len, &err);
    return text ? len / 2 : 0;
}

static struct config_agent *make_config(struct err *err)
{
    char text[800];
    IGNORE(!str_format(text, sizeof text,
                       "[agent]\nlisten = 127.0.0.1:0\nstate = %s/state\npki = %s/pki\n"
                       "hooks = %s/hook.d\nhookdelay = 2\nloglevel = error\n[storage box]\ndriver "
                       "= memory\nstore = " STORE
                       "\n[database ONE]\nstorage = box\ndbid = %d\n[database TWO]\nstorage = "
                       "box\n",
                       stress.dir, stress.dir, stress.dir, DBID));
    return config_agent_parse(text, strlen(text), "stress.conf", err);
}

static bool await_port(const char *file)
{
    uint64_t end = clock_mono_ms() + 30000;
    while (clock_mono_ms() < end) {
        struct err err = {0};
        size_t len;
        AUTO(mem) char *text = sys_read_file(file, 64, &len, &err);
        stress.port = text ? (uint16_t)strtoul(text, NULL, 10) : 0;
        if (stress.port)
            return true;
        IGNORE(poll(NULL, 0, 20) < 0);
    }
    return false;
}

/* Registers, lets everybody loose, and ends the agent while they call. */
static void *play(void *arg)
{
    unsigned seconds = *(unsigned *)arg;
    char file[160];
    static struct caller callers[CALLERS] = {
        {.name = "host1", .turn = turn_host},      {.name = "host2", .turn = turn_host},
        {.name = "person", .turn = turn_operator}, {.name = "watcher", .turn = turn_monitor},
        {.name = "watcher", .turn = turn_monitor}, {.turn = turn_stranger}};
    struct err err = {0};
    if (!await_port(in_dir("port", file))) {
        stress.wrong++;
        kill(getpid(), SIGTERM);
        return NULL;
    }
    struct caller first = {.name = "host1", .client = connect_as("host1", &err)};
    Evercopy__V1__RegisterDatabaseRequest request = EVERCOPY__V1__REGISTER_DATABASE_REQUEST__INIT;
    request.db_unique_name = (char *)"ONE";
    request.dbid = DBID;
    request.db_name = (char *)"ONE";
    request.apply = true;
    if (!drop(CALL(&first, "Databases", "RegisterDatabase", register_database, request, &err))) {
        fprintf(stderr, "register: %s\n", err.text);
        stress.wrong++;
    }
    rpc_client_free(first.client);
    for (int i = 0; i < CALLERS; i++) {
        callers[i].seed = *((unsigned *)arg + 1) + (unsigned)i;
        pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]);
    }
    IGNORE(poll(NULL, 0, (int)seconds * 1000) < 0);
    kill(getpid(), SIGTERM);
    stress.over = true;
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *given = getenv("EVERCOPY_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)clock_wall_us();
    unsigned numbers[2] = {argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 6, seed};
    struct err err = {0};
    char file[160];
    pthread_t player;
    printf("seed %u\n", seed);
    IGNORE(fflush(stdout) != 0); /* told before anything can go wrong */
    log_set_level(LOG_LEVEL_ERROR);
    str_copy(stress.dir, sizeof stress.dir, "/tmp/evercopy-stress-XXXXXX");
    bool ok = mkdtemp(stress.dir) && make_world(&err) && make_hooks(&err);
    AUTO(config_agent) struct config_agent *config = ok ? make_config(&err) : NULL;
    if (config) {
        sigset_t term; /* for evercopyd's loop thread alone */
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &term, NULL);
        pthread_create(&player, NULL, play, numbers);
        pthread_sigmask(SIG_UNBLOCK, &term, NULL);
        ok = serve_run(config, in_dir("port", file), &err);
        stress.over = true;
        pthread_join(player, NULL);
    }
    if (err.code != ERR_NONE)
        fprintf(stderr, "stress_agent: %s\n", err.text);
    size_t hooks = hooks_ran();
    struct err ignored = {0};
    IGNORE(!sys_remove_tree(stress.dir, &ignored)); /* only a temporary folder */
    ok = ok && config && !stress.wrong && stress.answers > 20 && hooks > 5;
    printf("%lu calls, %lu answered, %lu refused as expected, %lu wrong, %zu hooks\n", stress.calls,
           stress.answers, stress.refusals, stress.wrong, hooks);
    printf("%d passed, %d failed\n", ok, !ok);
    return !ok;
}
