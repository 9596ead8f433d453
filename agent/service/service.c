/* The way of a call: loop, engine's lane, readers, loop; and the table of methods. */
#include "agent/service/ask.h"

#include "agent/auth/ca.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/durable.h"
#include "agent/engine/marks.h"
#include "agent/engine/overdue.h"
#include "agent/engine/survey.h"
#include "agent/service/schema.h"
#include "evercopy/v1/admin.pb-c.h"
#include "evercopy/v1/backups.pb-c.h"
#include "evercopy/v1/clones.pb-c.h"
#include "evercopy/v1/databases.pb-c.h"
#include "evercopy/v1/jobs.pb-c.h"
#include "evercopy/v1/recovery.pb-c.h"
#include "evercopy/v1/retention.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include <assert.h>
#include <string.h>

enum {
    TICK_MS = 5000,
    TICK_FIRST_MS = 500,
    TICK_MAX_MS = 10000,
    LOOK_MS = 60000,
    KEY_MAX = 48,
    NOTICE_MS = 60000
};
enum { PARSE_HERE_MAX = 256 << 10, STALLS_MAX = 3 };

struct live {
    char database[64];
    struct survey_kept *kept; /* NULL: never surveyed */
};

struct service {
    struct loop *loop;
    struct engine *engine;
    struct world *world;
    struct gate *gate;                                      /* loop only */
    void (*reload)(void *arg, struct service_reload *wish); /* loop only */
    void *reload_arg;
    char ends[300];   /* engine's lane only: certificates that end */
    char notice[900]; /* that, and a clock that is not believed */
    uint64_t noticed_ms;
    struct quota *quota; /* engine's lane only */
    struct timer *ticker;
    struct work tick;
    bool ticking;       /* loop only */
    uint64_t ticked_ms; /* engine's lane only, as all below */
    uint64_t looked_ms; /* for overdue runs */
    struct expiry *expiry;
    struct durable *durable;
    struct arrivals *arrivals;
    struct live *lives; /* engine's lane only */
    size_t live_count, live_capacity;
    struct shelf *shelf; /* engine's lane only */
    bool shelved;        /* it listens to the catalog */
};

struct ask_block {
    struct ask_block *next;
    max_align_t bytes[];
};

/* ---- the table: what exists, who may, what runs ---- */

enum {
    READS = ROLE_ANY,
    BACKS_UP = ROLE_DBHOST | ROLE_ADMIN,
    CLONES = ROLE_RESTORE | ROLE_OPERATOR | ROLE_ADMIN,
    SETS_UP = ROLE_DBHOST | ROLE_OPERATOR | ROLE_ADMIN,
    RETAINS = ROLE_OPERATOR | ROLE_ADMIN,
    CANCELS = ROLE_DBHOST | ROLE_RESTORE | ROLE_OPERATOR | ROLE_ADMIN, /* its own, or any */
};

#define UNARY(X)                                                                                   \
    X("evercopy.v1.Databases", "RegisterDatabase", register_database, SETS_UP, databases_register) \
    X("evercopy.v1.Databases", "GetStatus", get_status, READS, databases_status)                   \
    X("evercopy.v1.Databases", "ListMounts", list_mounts, READS, mounts_list)                      \
    X("evercopy.v1.Databases", "GetSpace", get_space, READS, space_get)                            \
    X("evercopy.v1.Backups", "GetLease", get_lease, READS, backups_lease)                          \
    X("evercopy.v1.Backups", "BeginBackup", begin_backup, BACKS_UP, backups_begin)                 \
    X("evercopy.v1.Backups", "ReportPhase", report_phase, BACKS_UP, backups_phase)                 \
    X("evercopy.v1.Backups", "CheckLogs", check_logs, BACKS_UP, backups_check_logs)                \
    X("evercopy.v1.Backups", "CheckCopies", check_copies, BACKS_UP, backups_check_copies)          \
    X("evercopy.v1.Backups", "PutFacts", put_facts, BACKS_UP, backups_put_facts)                   \
    X("evercopy.v1.Backups", "ListPrunable", list_prunable, BACKS_UP, backups_list_prunable)       \
    X("evercopy.v1.Backups", "AppendLog", append_log, BACKS_UP, backups_append_log)                \
    X("evercopy.v1.Backups", "FinishBackup", finish_backup, BACKS_UP, backups_finish)              \
    X("evercopy.v1.Snapshots", "TakeSnapshot", take_snapshot, BACKS_UP, snapshots_take)            \
    X("evercopy.v1.Snapshots", "ListSnapshots", list_snapshots, READS, snapshots_list)             \
    X("evercopy.v1.Snapshots", "GetManifest", get_manifest, READS, snapshots_manifest)             \
    X("evercopy.v1.Snapshots", "CreateSnapshot", create_snapshot, RETAINS, snapshots_create)       \
    X("evercopy.v1.Snapshots", "VerifySnapshot", verify_snapshot, RETAINS, snapshots_verify)       \
    X("evercopy.v1.Retention", "PreviewRetention", preview_retention, READS, retention_preview)    \
    X("evercopy.v1.Retention", "ApplyRetention", apply_retention, RETAINS, retention_apply)        \
    X("evercopy.v1.Retention", "DeleteSnapshot", delete_snapshot, RETAINS, retention_delete)       \
    X("evercopy.v1.Retention", "HoldSnapshot", hold_snapshot, RETAINS, retention_hold)             \
    X("evercopy.v1.Retention", "ReleaseSnapshot", release_snapshot, RETAINS, retention_release)    \
    X("evercopy.v1.Retention", "LockSnapshot", lock_snapshot, RETAINS, retention_lock)             \
    X("evercopy.v1.Retention", "ConfirmClock", confirm_clock, RETAINS, retention_confirm_clock)    \
    X("evercopy.v1.Retention", "GetPolicy", get_policy, READS, retention_policy)                   \
    X("evercopy.v1.Recovery", "GetWindow", get_window, READS, recovery_window)                     \
    X("evercopy.v1.Recovery", "PlanRecovery", plan_recovery, READS, recovery_plan)                 \
    X("evercopy.v1.Recovery", "ProveClone", prove_clone, CLONES, recovery_prove)                   \
    X("evercopy.v1.Clones", "CreateClone", create_clone, CLONES, clones_create)                    \
    X("evercopy.v1.Clones", "DropClone", drop_clone, CLONES, clones_drop)                          \
    X("evercopy.v1.Clones", "ExtendClone", extend_clone, CLONES, clones_extend)                    \
    X("evercopy.v1.Clones", "ListClones", list_clones, READS, clones_list)                         \
    X("evercopy.v1.Jobs", "CancelJob", cancel_job, CANCELS, jobs_cancel)                           \
    X("evercopy.v1.Jobs", "ListJobs", list_jobs, READS, jobs_list)                                 \
    X("evercopy.v1.Admin", "RenewCertificate", renew_certificate, READS, admin_renew)              \
    X("evercopy.v1.Admin", "Reload", reload, ROLE_ADMIN, admin_reload)

#define UPLOAD(X) X("evercopy.v1.Backups", "UploadLog", upload_log, BACKS_UP, backups_upload_log)

static void on_call(struct rpc_call *call, const ProtobufCMessage *request);
static void on_upload(struct rpc_call *call, const ProtobufCMessage *request);

#define METHOD_ROW(service, name, stem, roles, run)                                                \
    {service,                                                                                      \
     name,                                                                                         \
     &evercopy__v1__##stem##_request__descriptor,                                                  \
     &evercopy__v1__##stem##_reply__descriptor,                                                    \
     RPC_UNARY,                                                                                    \
     (roles),                                                                                      \
     on_call},
#define UPLOAD_ROW(service, name, stem, roles, run)                                                \
    {service,                                                                                      \
     name,                                                                                         \
     &evercopy__v1__##stem##_request__descriptor,                                                  \
     &evercopy__v1__##stem##_reply__descriptor,                                                    \
     RPC_CLIENT_STREAM,                                                                            \
     (roles),                                                                                      \
     on_upload},
#define REFLECTION                                                                                 \
    "ServerReflectionInfo", &grpc__reflection__v1__server_reflection_request__descriptor,          \
        &grpc__reflection__v1__server_reflection_response__descriptor, RPC_BOTH_STREAM,            \
        ROLE_ADMIN, reflection_info
#define HEALTH                                                                                     \
    &grpc__health__v1__health_check_request__descriptor,                                           \
        &grpc__health__v1__health_check_response__descriptor
static const struct rpc_method methods[] = {
    /* Through the engine's lane: `runs` has the same order. */
    UNARY(METHOD_ROW) UPLOAD(UPLOAD_ROW){"grpc.health.v1.Health", "Check", HEALTH, RPC_UNARY,
                                         ROLE_CERTIFICATE, on_call},
    /* On the loop. */
    {"grpc.health.v1.Health", "Watch", HEALTH, RPC_SERVER_STREAM, ROLE_CERTIFICATE, health_watch},
    {"grpc.reflection.v1.ServerReflection", REFLECTION},
    {"grpc.reflection.v1alpha.ServerReflection", REFLECTION},
    {"evercopy.v1.Jobs", "FollowLog", &evercopy__v1__follow_log_request__descriptor,
     &evercopy__v1__log_line__descriptor, RPC_SERVER_STREAM, READS, jobs_follow},
};
#define RUN_ROW(service, name, stem, roles, run) run,
static void (*const runs[])(struct ask *) = {UNARY(RUN_ROW) UPLOAD(RUN_ROW) health_check};
enum { METHOD_COUNT = sizeof methods / sizeof *methods };

static const char *short_name(const char *full)
{
    const char *dot = strrchr(full, '.');
    return dot ? dot + 1 : full;
}

static const struct rpc_method *row_of(const struct schema_method *wanted)
{
    for (size_t i = 0; i < METHOD_COUNT; i++)
        if (str_equal(methods[i].service, wanted->service) &&
            str_equal(methods[i].name, wanted->name))
            return &methods[i];
    return NULL;
}

/* Every method that proto/ promises has its row, of the same shape, and no row promises more. */
static void check_table(void)
{
    struct schema_method wanted;
    size_t count = 0;
    for (; schema_method(count, &wanted); count++) {
        const struct rpc_method *row = row_of(&wanted);
        unsigned streams = (wanted.client_stream ? RPC_CLIENT_STREAM : 0) |
                           (wanted.server_stream ? RPC_SERVER_STREAM : 0);
        if (!row || row->streams != streams ||
            !str_equal(short_name(row->input->name), short_name(wanted.input)) ||
            !str_equal(short_name(row->output->name), short_name(wanted.output)))
            log_error("method %s/%s of proto/ has no fitting row", wanted.service, wanted.name);
        assert(row && row->streams == streams);
        assert(str_equal(short_name(row->input->name), short_name(wanted.input)));
        assert(str_equal(short_name(row->output->name), short_name(wanted.output)));
    }
    assert(count == METHOD_COUNT);
}

const struct rpc_method *service_methods(size_t *ret_count)
{
    check_table();
    *ret_count = METHOD_COUNT;
    return methods;
}

static void method_path(const struct rpc_method *method, char ret[96])
{
    IGNORE(!str_format(ret, 96, "%s/%s", method->service, method->name));
}

bool service_admit(void *arg, const struct rpc_peer *peer, struct err *err)
{
    struct service *service = arg;
    return gate_admit(service->gate, peer, err);
}

bool service_authorize(void *arg, const struct rpc_peer *peer, const struct rpc_method *method,
                       struct err *err)
{
    struct service *service = arg;
    char path[96];
    method_path(method, path);
    return gate_authorize(service->gate, peer, path, method->roles, err);
}

/* ---- asks ---- */

void *ask_alloc(struct ask *ask, size_t size)
{
    struct ask_block *block = own_alloc(sizeof *block + size, &ask->err);
    if (!block)
        return NULL;
    block->next = ask->blocks;
    ask->blocks = block;
    return block->bytes;
}

ProtobufCBinaryData ask_bytes(struct ask *ask, const void *bytes, size_t len)
{
    uint8_t *copy = ask_alloc(ask, len + 1);
    if (copy && len)
        memcpy(copy, bytes, len);
    return (ProtobufCBinaryData){copy ? len : 0, copy};
}

/* A protobuf string must be UTF-8; what is not (a file name, a database's message) is shown with
 * '?' in place of the odd bytes. */
char *ask_text(struct ask *ask, const char *text)
{
    ProtobufCBinaryData copy = ask_bytes(ask, text, strlen(text));
    if (!copy.data)
        return (char *)protobuf_c_empty_string;
    for (size_t i = 0; !str_is_utf8((char *)copy.data, copy.len) && i < copy.len; i++)
        if (copy.data[i] & 0x80)
            copy.data[i] = '?';
    return (char *)copy.data;
}

static void ask_free(struct ask *ask)
{
    if (ask->state_free && ask->state)
        ask->state_free(ask->state);
    if (ask->carried)
        ask->carried_free(ask->carried);
    while (ask->blocks) {
        struct ask_block *block = ask->blocks;
        ask->blocks = block->next;
        own_free(block);
    }
    own_free(ask->entry.body);
    world_close(ask->world);
    shelf_order_done(&ask->warm.order);
    survey_kept_unref(ask->live);
    own_free(ask);
}

static void send_answer(struct ask *ask)
{
    if (ask->err.code == ERR_NONE) {
        rpc_call_reply(ask->call, ask->reply);
    } else {
        Evercopy__V1__ErrorDetail detail = EVERCOPY__V1__ERROR_DETAIL__INIT;
        detail.code = (char *)err_code_name(ask->err.code);
        detail.phase = ask->phase;
        detail.cause = ask->err.text;
        detail.next = ask->next;
        rpc_call_fail(ask->call, &ask->err, &detail.base);
    }
    ask_free(ask);
}

/* ---- the audit of a call: an intent before anything is done, an outcome before the answer ---- */

/* The first of these string fields that the request has, and that says something. */
static const char *field_of(const ProtobufCMessage *request, const char *const *names)
{
    for (; request && *names; names++) { /* a stream may end before its first message */
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(request->descriptor, *names);
        if (!field || field->type != PROTOBUF_C_TYPE_STRING ||
            field->label == PROTOBUF_C_LABEL_REPEATED)
            continue;
        const char *text = *(const char *const *)((const char *)request + field->offset);
        if (text && text[0])
            return text;
    }
    return "";
}

/* On the wire every change carries a key, and nothing else does. */
static bool is_change(const struct rpc_method *method)
{
    return protobuf_c_message_descriptor_get_field_by_name(method->input, "idempotency_key");
}

static struct audit_record describe(const struct ask *ask, const char *kind, char path[96])
{
    static const char *const databases[] = {"db_unique_name", NULL};
    static const char *const objects[] = {"name", "clone", "snapshot", "plan_id",
                                          "job",  "kind",  NULL};
    static const char *const keys[] = {"idempotency_key", NULL};
    method_path(rpc_call_method(ask->call), path);
    return (struct audit_record){
        .kind = kind,
        .who = &ask->peer,
        .method = path,
        .database = field_of(ask->request, databases),
        .object = field_of(ask->request, objects),
        .key = field_of(ask->request, keys),
    };
}

static bool is_forced(const ProtobufCMessage *request)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(request->descriptor, "force");
    return field && field->type == PROTOBUF_C_TYPE_BOOL &&
           *(const protobuf_c_boolean *)((const char *)request + field->offset);
}

static struct ask *ask_of(struct scribe_entry *entry)
{
    return (struct ask *)((char *)entry - offsetof(struct ask, entry));
}

static void outcome_written(struct scribe_entry *entry)
{
    struct ask *ask = ask_of(entry);
    if (entry->err.code != ERR_NONE) /* it is done, and its intent is on disk */
        log_error("the outcome of line %llu is not in the audit: %s",
                  (unsigned long long)ask->intent, entry->err.text);
    send_answer(ask);
}

/* Home on the loop. */
static void on_answer(struct work *work)
{
    struct ask *ask = (struct ask *)work;
    enum err_code code = ask->err.code;
    bool denied = code == ERR_DENIED || code == ERR_UNAUTHENTICATED || code == ERR_QUOTA;
    char path[96];
    struct audit_record record = describe(ask, ask->intent ? "outcome" : "refused", path);
    record.of = ask->intent;
    record.code = code == ERR_NONE ? "ok" : err_code_name(code);
    record.text = ask->err.text;
    if (!ask->intent && denied)
        scribe_refusal(gate_scribe(ask->service->gate), &record);
    if (!ask->intent) {
        send_answer(ask);
        return;
    }
    ask->entry.done = outcome_written;
    scribe_write(gate_scribe(ask->service->gate), &ask->entry, &record);
}

void ask_answer(struct ask *ask)
{
    if (ask->err.code == ERR_NONE && !ask->reply)
        err_set(&ask->err, ERR_INTERNAL, "the call was left without an answer");
    struct post *home = loop_post(ask->service->loop);
    ask->work = (struct work){.done = on_answer, .home = home};
    home->submit(home, &ask->work);
}

void ask_fail(struct ask *ask, const struct err *err)
{
    if (err != &ask->err)
        ask->err = *err;
    ask_answer(ask);
}

static void on_engine(struct work *work)
{
    struct ask *ask = (struct ask *)work;
    if (!ask->world) /* a stream keeps that of its first message */
        ask->world = world_ref(ask->service->world);
    ask->then(ask);
}

/* The queue was long and the caller's patience short: nothing is begun for nobody. */
static void on_engine_first(struct work *work)
{
    struct ask *ask = (struct ask *)work;
    if (!ask->is_gone) {
        on_engine(work);
        return;
    }
    err_set(&ask->err, ERR_CANCELLED, "the caller is gone");
    ask_answer(ask);
}

static void go_to_engine(struct ask *ask)
{
    ask->work = (struct work){.run = on_engine_first};
    lane_submit(engine_lane(ask->service->engine), &ask->work);
}

static void on_gone(void *arg)
{
    struct ask *ask = arg;
    ask->is_gone = true;
}

static void intent_written(struct scribe_entry *entry)
{
    struct ask *ask = ask_of(entry);
    if (entry->err.code != ERR_NONE) {
        ask->err = entry->err;
        send_answer(ask);
        return;
    }
    ask->intent = entry->number;
    go_to_engine(ask);
}

/* NULL: the call was failed. */
static struct ask *ask_new(struct rpc_call *call, const ProtobufCMessage *request)
{
    struct err err = {0};
    struct ask *ask = own_alloc(sizeof *ask, &err);
    if (!ask) {
        rpc_call_fail(call, &err, NULL);
        return NULL;
    }
    ask->service = rpc_call_arg(call);
    ask->call = call;
    ask->request = request;
    ask->peer = *rpc_call_peer(call); /* not changed by anybody, and outlived by the call */
    ask->then = runs[rpc_call_method(call) - methods];
    return ask;
}

static void on_call(struct rpc_call *call, const ProtobufCMessage *request)
{
    struct ask *ask = ask_new(call, request);
    if (!ask)
        return;
    rpc_call_on_cancel(call, on_gone, ask);
    if (!is_change(rpc_call_method(call))) {
        go_to_engine(ask);
        return;
    }
    char path[96];
    struct audit_record record = describe(ask, "intent", path);
    record.text = is_forced(request) ? "by force" : NULL;
    ask->entry.done = intent_written;
    scribe_write(gate_scribe(ask->service->gate), &ask->entry, &record);
}

/* ---- client streams: a message to the engine's lane, and home before the next is taken ---- */

static void upload_answer(struct ask *ask)
{
    if (ask->err.code == ERR_NONE && rpc_call_is_cancelled(ask->call))
        err_set(&ask->err, ERR_CANCELLED, "the caller is gone");
    if (ask->err.code == ERR_NONE && !ask->reply)
        err_set(&ask->err, ERR_INVALID, "the stream held no message");
    on_answer(&ask->work);
}

/* What was taken so far is kept; the shim goes on from there when the agent is back. */
static void upload_drain(void *arg)
{
    struct ask *ask = arg;
    ask->is_draining = true;
    if (ask->is_away)
        return;
    err_set(&ask->err, ERR_UNAVAILABLE, "the agent is shutting down");
    upload_answer(ask);
}

static void upload_taken(struct work *work)
{
    struct ask *ask = (struct ask *)work;
    ask->is_away = false;
    if (ask->err.code != ERR_NONE || rpc_call_is_cancelled(ask->call)) {
        upload_answer(ask);
    } else if (ask->is_draining) {
        upload_drain(ask);
    } else {
        ask->request = NULL; /* goes with the next one */
        rpc_call_next(ask->call);
    }
}

static void upload_message(void *arg, const ProtobufCMessage *message)
{
    struct ask *ask = arg;
    ask->request = message;
    if (!message) {
        upload_answer(ask);
        return;
    }
    ask->is_away = true;
    ask->work = (struct work){
        .run = on_engine, .done = upload_taken, .home = loop_post(service_loop(ask->service))};
    lane_submit(engine_lane(ask->service->engine), &ask->work);
}

static void upload_cancelled(void *arg)
{
    struct ask *ask = arg;
    if (!ask->is_away) /* else it comes home first */
        upload_answer(ask);
}

static void on_upload(struct rpc_call *call, const ProtobufCMessage *request)
{
    struct ask *ask = ask_new(call, request);
    if (!ask)
        return;
    rpc_call_on_cancel(call, upload_cancelled, ask);
    rpc_call_on_drain(call, upload_drain, ask);
    rpc_call_receive(call, upload_message, ask);
}

struct catalog *ask_catalog(struct ask *ask) { return engine_catalog(ask->service->engine); }
struct quota *ask_quota(struct ask *ask) { return ask->service->quota; }

bool ask_is_bounded(struct ask *ask, const char *key)
{
    struct catalog_job earlier;
    struct err none = {0};
    return role_from_name(ask->peer.role) == ROLE_DBHOST &&
           !(key[0] && catalog_job_find_key(ask_catalog(ask), key, &earlier, &none));
}

struct world *ask_world(struct ask *ask) { return ask->world; }
struct engine *ask_engine(struct ask *ask) { return ask->service->engine; }
struct lane *service_lane(struct service *service) { return engine_lane(service->engine); }
struct loop *service_loop(struct service *service) { return service->loop; }
struct engine *service_engine(struct service *service) { return service->engine; }
const struct expiry *ask_expiry(struct ask *ask) { return ask->service->expiry; }
struct world *service_world(struct service *service) { return service->world; }

const struct config_served *ask_database(struct ask *ask, const char *name)
{
    if (!roles_check_database(&ask->peer, name, &ask->err))
        return NULL;
    return world_database(ask->world, name, &ask->err);
}

bool ask_is_settled(struct ask *ask, const char *database)
{
    const struct catalog_job *job = engine_recovering(ask_engine(ask), database);
    return !job || err_set(&ask->err, ERR_UNAVAILABLE,
                           "recovering job %s of before the agent's start", job->id);
}

bool ask_key(struct ask *ask, const char *method, const char *key, char ret[80])
{
    ret[0] = '\0';
    if (strlen(key) > KEY_MAX)
        return err_set(&ask->err, ERR_INVALID, "an idempotency key has at most %d bytes", KEY_MAX);
    if (key[0])
        str_format(ret, 80, "%.12s/%s/%s", ask->peer.fingerprint, method, key);
    return true;
}

/* ---- surveys of live areas ---- */

struct survey_state {
    const struct config_served *db;
    struct survey_kept *earlier;
    bool headers_only;
    struct manifest *manifest;
    void (*then)(struct ask *ask);
};

static void survey_state_free(void *state)
{
    struct survey_state *s = state;
    manifest_free(s->manifest);
    own_free(s);
}

/* Keeps the survey for whoever asks next; the old one goes when its last reader is done. */
static bool keep(struct ask *ask, struct survey_state *s, struct live *live)
{
    struct survey_kept *kept = survey_kept_new(TAKE(s->manifest), &ask->err);
    if (!kept)
        return false;
    survey_kept_unref(live->kept);
    live->kept = kept;
    return true;
}

bool ask_is_over(void *arg)
{
    struct ask *ask = arg;
    return ask->is_gone || world_is_stopping(ask->world);
}

static void run_survey(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct survey_state *s = ask->state;
    struct driver_ref *driver = world_driver(ask->world, s->db);
    AUTO(area)
    struct area *area =
        driver_area_until(driver, s->db->volume, NULL, NULL, ask_is_over, ask, &ask->err);
    struct survey_options options = {.headers_only = s->headers_only,
                                     .whole = true, /* a server that pauses spoils no file */
                                     .earlier = survey_kept_manifest(s->earlier),
                                     .cancelled = ask_is_over,
                                     .arg = ask};
    if (area)
        s->manifest = survey_area(area, &options, &ask->err);
}

static struct live *find_live(struct service *service, const char *database)
{
    for (size_t i = 0; i < service->live_count; i++)
        if (str_equal(service->lives[i].database, database))
            return &service->lives[i];
    return NULL;
}

static struct live *make_live(struct service *service, const char *database, struct err *err)
{
    struct live *live = find_live(service, database);
    if (live || !own_grow((void **)&service->lives, &service->live_capacity, service->live_count,
                          sizeof *service->lives, err))
        return live;
    live = &service->lives[service->live_count++];
    *live = (struct live){0};
    IGNORE(!str_copy(live->database, sizeof live->database, database));
    return live;
}

static void judge_live(struct ask *ask, struct survey_state *s)
{
    struct catalog_database db;
    struct err why = {0};
    if (catalog_database_get(ask_catalog(ask), s->db->name, &db, &why))
        manifest_judge(s->manifest, db.dbid, NULL, 0);
}

/* Back on the engine's lane. */
static void survey_done(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct survey_state *s = ask->state;
    struct live *live = make_live(ask->service, s->db->name, &ask->err);
    survey_kept_unref(TAKE(s->earlier));
    if (ask->err.code == ERR_NONE)
        judge_live(ask, s);
    if (ask->err.code != ERR_NONE || (!s->headers_only && !keep(ask, s, live)))
        ask_answer(ask);
    else
        s->then(ask);
}

void ask_survey(struct ask *ask, const struct config_served *db, bool headers_only,
                void (*then)(struct ask *ask))
{
    struct survey_state *s = own_alloc(sizeof *s, &ask->err);
    if (!s) {
        ask_answer(ask);
        return;
    }
    *s = (struct survey_state){.db = db, .headers_only = headers_only, .then = then};
    struct live *live = find_live(ask->service, db->name);
    if (live)
        s->earlier = survey_kept_ref(live->kept);
    ask->state = s;
    ask->state_free = survey_state_free;
    ask->read = (struct work){.run = run_survey,
                              .done = survey_done,
                              .home = lane_post(engine_lane(ask->service->engine))};
    lane_submit(world_readers(ask->world), &ask->read);
}

/* Held until the ask ends or asks for another: plans and recipes point into it, and another call's
 * survey may replace it while a clone job runs. */
const struct manifest *ask_live(struct ask *ask, const char *database)
{
    struct survey_kept *kept = survey_kept_ref(ask_kept(ask, database));
    survey_kept_unref(ask->live);
    ask->live = kept;
    return survey_kept_manifest(kept);
}

struct survey_kept *ask_kept(struct ask *ask, const char *database)
{
    const struct live *live = find_live(ask->service, database);
    return live ? live->kept : NULL;
}

const struct manifest *ask_quick(struct ask *ask)
{
    return ((struct survey_state *)ask->state)->manifest;
}

/* ---- outlooks ---- */

static struct shelf *shelf_of(struct service *service)
{
    if (!service->shelved)
        shelf_watch(service->shelf, engine_catalog(service->engine));
    service->shelved = true;
    return service->shelf;
}

struct arrivals *ask_arrivals(struct ask *ask) { return ask->service->arrivals; }

static struct survey_kept *kept_of(void *arg, const char *database)
{
    const struct live *live = find_live(arg, database);
    return live ? live->kept : NULL;
}

static bool keep_arrived(void *arg, const char *database, struct manifest *taken, struct err *err)
{
    AUTO(manifest) struct manifest *manifest = taken;
    struct live *live = make_live(arg, database, err);
    struct survey_kept *kept = live ? survey_kept_new(TAKE(manifest), err) : NULL;
    if (!kept)
        return false;
    survey_kept_unref(live->kept);
    live->kept = kept;
    return true;
}

struct shelf *ask_shelf(struct ask *ask) { return shelf_of(ask->service); }

const struct shelf_summary *service_summary(struct service *service, const struct config_served *db,
                                            struct err *err)
{
    const struct live *live = find_live(service, db->name);
    return shelf_summary(shelf_of(service), service->world, db, live ? live->kept : NULL, err);
}

struct outlook *ask_outlook(struct ask *ask, const struct config_served *db, bool with_live)
{
    return shelf_outlook(ask_shelf(ask), ask_world(ask), db,
                         with_live ? ask_kept(ask, db->name) : NULL, &ask->err);
}

void ask_yield(struct ask *ask, void (*resume)(struct ask *ask))
{
    ask->then = resume;
    ask->work = (struct work){.run = on_engine};
    lane_submit(engine_lane(ask->service->engine), &ask->work);
}

static void run_parse(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    shelf_order_run(&ask->warm.order);
}

static bool take_parsed(struct ask *ask)
{
    struct shelf_order *order = &ask->warm.order;
    bool ok = order->look != NULL;
    if (!ok)
        ask->err = order->err;
    shelf_fill(ask_shelf(ask), order);
    return ok;
}

static void parse_done(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    IGNORE(!take_parsed(ask)); /* told by ask->err */
    ask->warm.resume(ask);
}

static enum ask_step parse_away(struct ask *ask)
{
    ask->read = (struct work){
        .run = run_parse, .done = parse_done, .home = lane_post(engine_lane(ask->service->engine))};
    lane_submit(world_readers(ask->world), &ask->read);
    return ASK_AWAY;
}

/* Others may throw out what was parsed for us: then the rest is done at once. */
static bool is_stuck(struct ask *ask, size_t left)
{
    ask->warm.stalls = left < ask->warm.left ? 0 : ask->warm.stalls + 1;
    ask->warm.left = left;
    return ask->warm.stalls > STALLS_MAX;
}

static enum ask_step warm_step(struct ask *ask, const struct config_served *db, bool with_live,
                               bool summary, void (*resume)(struct ask *ask))
{
    uint64_t begun_ms = clock_mono_ms();
    struct shelf_order *order = &ask->warm.order;
    ask->warm.resume = resume;
    while (ask->err.code == ERR_NONE &&
           shelf_next(ask_shelf(ask), ask_world(ask), db,
                      with_live ? ask_kept(ask, db->name) : NULL, summary, order, &ask->err)) {
        if (is_stuck(ask, order->left))
            break;
        if (strlen(order->manifest) > PARSE_HERE_MAX)
            return parse_away(ask);
        shelf_order_run(order);
        if (take_parsed(ask) && clock_mono_ms() - begun_ms >= ASK_SLICE_MS) {
            ask_yield(ask, resume);
            return ASK_AWAY;
        }
    }
    return ask->err.code == ERR_NONE ? ASK_READY : ASK_FAILED;
}

enum ask_step ask_warm_step(struct ask *ask, const struct config_served *db,
                            void (*resume)(struct ask *ask))
{
    return warm_step(ask, db, true, true, resume);
}

static void warm_on(struct ask *ask)
{
    switch (warm_step(ask, ask->warm.db, ask->warm.live, false, warm_on)) {
    case ASK_READY:
        ask->warm.then(ask);
        break;
    case ASK_FAILED:
        ask_answer(ask);
        break;
    case ASK_AWAY:
        break;
    }
}

void ask_warm(struct ask *ask, const struct config_served *db, bool with_live,
              void (*then)(struct ask *ask))
{
    ask->warm.db = db;
    ask->warm.live = with_live;
    ask->warm.then = then;
    ask->warm.left = SIZE_MAX;
    ask->warm.stalls = 0;
    warm_on(ask);
}

/* ---- the lease clock ---- */

static void run_tick(struct work *work)
{
    struct service *service = (struct service *)((char *)work - offsetof(struct service, tick));
    struct err err = {0};
    uint64_t now = clock_boot_ms();
    uint64_t elapsed = now - service->ticked_ms;
    if (elapsed > TICK_MAX_MS) /* the box slept or the lane was busy: nobody could renew */
        elapsed = TICK_MAX_MS;
    if (!engine_revive(service->engine, &err))
        log_error("%s", err.text);
    err_clear(&err);
    if (!backup_tick(engine_catalog(service->engine), service->engine, elapsed,
                     world_config(service->world)->backuplease_s * 1000, &err))
        log_error("lease clock: %s", err.text);
    err_clear(&err);
    if (!guard_tick(engine_catalog(service->engine), &err) ||
        !marks_tick(engine_catalog(service->engine), &err))
        log_error("clock guard: %s", err.text);
    service->ticked_ms = now;
    if (shelf_rest(service->shelf, SHELF_IDLE_MS))
        own_trim(); /* a light agent gives memory back */
    world_retry(service->world);
    err_clear(&err);
    if (!expiry_tick(service->expiry, &err))
        log_error("clone leases: %s", err.text);
    err_clear(&err);
    if (!durable_tick(service->durable, service->world, &err))
        log_error("durability of snapshots: %s", err.text);
    err_clear(&err);
    if (!arrivals_tick(service->arrivals, service->world, &err))
        log_error("what arrives: %s", err.text);
    err_clear(&err);
    if (service->looked_ms && now - service->looked_ms < LOOK_MS)
        return;
    service->looked_ms = now;
    if (!overdue_tick(engine_catalog(service->engine), service->world, NULL, &err))
        log_error("%s", err.text);
}

static void tick_done(struct work *work)
{
    struct service *service = (struct service *)((char *)work - offsetof(struct service, tick));
    service->ticking = false;
}

static void on_tick(void *arg)
{
    struct service *service = arg;
    if (service->ticking)
        return;
    service->ticking = true;
    service->tick =
        (struct work){.run = run_tick, .done = tick_done, .home = loop_post(service->loop)};
    lane_submit(engine_lane(service->engine), &service->tick);
}

struct service *service_new(struct loop *loop, struct engine *engine, struct world *world,
                            struct gate *gate, struct err *err)
{
    AUTO(service) struct service *service = own_alloc(sizeof *service, err);
    if (!service)
        return NULL;
    service->loop = loop;
    service->engine = engine;
    service->world = world_ref(world);
    service->gate = gate;
    service->ticked_ms = clock_boot_ms();
    service->quota = quota_new(err);
    if (!service->quota)
        return NULL;
    service->shelf = shelf_new(SHELF_BYTES, err);
    if (!service->shelf)
        return NULL;
    service->expiry = expiry_new(engine, err);
    if (!service->expiry)
        return NULL;
    service->durable = durable_new(engine, err);
    if (!service->durable)
        return NULL;
    struct arrivals_options arrivals = {engine, kept_of, keep_arrived, service};
    service->arrivals = arrivals_new(&arrivals, err);
    if (!service->arrivals)
        return NULL;
    service->ticker = timer_new(loop, on_tick, service, err);
    if (!service->ticker)
        return NULL;
    timer_set(service->ticker, TICK_FIRST_MS, TICK_MS);
    return TAKE(service);
}

void service_on_reload(struct service *service, void (*fn)(void *arg, struct service_reload *wish),
                       void *arg)
{
    service->reload = fn;
    service->reload_arg = arg;
}

void service_reload(struct service *service, struct service_reload *wish)
{
    if (service->reload) {
        service->reload(service->reload_arg, wish);
        return;
    }
    err_set(&wish->err, ERR_UNSUPPORTED, "this agent reads its configuration at its start only");
    wish->done(wish);
}

/* Files are looked at again after a while only. */
static void look_at_certificates(struct ask *ask)
{
    struct service *service = ask->service;
    uint64_t now = clock_boot_ms();
    struct err why = {0};
    if (service->noticed_ms && now - service->noticed_ms < NOTICE_MS)
        return;
    service->noticed_ms = now;
    if (!ca_warning(world_config(ask->world)->pki, service->ends, &why))
        IGNORE(!str_copy(service->ends, sizeof service->ends, why.text));
}

const char *ask_notice(struct ask *ask)
{
    struct service *service = ask->service;
    struct err why = {0};
    look_at_certificates(ask);
    bool believed = guard_check(ask_catalog(ask), &why);
    IGNORE(!str_format(service->notice, sizeof service->notice, "%s%s%s%s", service->ends,
                       service->ends[0] && !believed ? "; " : "",
                       believed ? "" : "nothing is deleted and no clone ends: ", why.text));
    return service->notice;
}

void service_set_world(struct service *service, struct world *world)
{
    struct world *before = service->world;
    service->world = world_ref(world);
    world_close(before);
}

void service_stop(struct service *service)
{
    timer_free(service->ticker);
    service->ticker = NULL;
    arrivals_stop(service->arrivals);
}

void service_free(struct service *service)
{
    if (!service)
        return;
    timer_free(service->ticker);
    service->ticker = NULL;
    for (size_t i = 0; i < service->live_count; i++)
        survey_kept_unref(service->lives[i].kept);
    own_free(service->lives);
    arrivals_free(service->arrivals);
    world_close(service->world);
    quota_free(service->quota);
    expiry_free(service->expiry);
    durable_free(service->durable);
    shelf_free(service->shelf);
    own_free(service);
}
