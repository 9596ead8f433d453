/* A test's world: an authority in a fresh directory, a server on a loop thread, clients to it. */
#pragma once
#include "agent/auth/ca.h"
#include "agent/auth/roles.h"
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/rpc/client.h"
#include "agent/rpc/server.h"
#include "evercopy/v1/common.pb-c.h"
#include "evercopy/v1/jobs.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Not every test file needs everything here. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define SERVICE "evercopy.test.Echo"
#define cr_ok(expression, err) cr_assert((expression), "%s", (err).text)

struct world {
    char dir[64];
    struct loop *loop;
    struct lane *lane;
    struct rpc_server *server;
    uint16_t port;
    pthread_t thread;
    _Atomic int cancelled; /* handlers that heard of a cancellation */
    _Atomic int drained;
    _Atomic size_t most_queued; /* of a stream */
    _Atomic long gathered;      /* messages a client stream's handler was given */
    _Atomic bool gate;          /* while shut, "wait" is not answered */
};
static struct world world;

typedef Evercopy__V1__GetManifestReply Blob; /* two byte fields: any size, both directions */
typedef Evercopy__V1__ListSnapshotsRequest Text;
typedef Evercopy__V1__FollowLogRequest Follow;

/* Answers with what was asked. */
static void handle_echo(struct rpc_call *call, const ProtobufCMessage *request)
{
    rpc_call_reply(call, request);
}

/* Fails with the text that was asked for; a text beginning with "next " sends a detail along. */
static void handle_fail(struct rpc_call *call, const ProtobufCMessage *request)
{
    const Text *text = (const Text *)request;
    struct err err = {0};
    err_set(&err, ERR_FENCED, "%s", text->db_unique_name);
    Evercopy__V1__ErrorDetail detail = EVERCOPY__V1__ERROR_DETAIL__INIT;
    detail.code = (char *)"FENCED";
    detail.cause = (char *)"the lease was taken";
    detail.next = (char *)"start over";
    bool detailed = str_starts(text->db_unique_name, "next ");
    rpc_call_fail(call, &err, detailed ? &detail.base : NULL);
}

struct later {
    struct rpc_call *call;
    struct timer *timer;
};

static void later_answer(void *arg)
{
    struct later *later = arg;
    Text reply = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    timer_free(later->timer);
    rpc_call_reply(later->call, &reply.base);
    own_free(later);
}

static void later_cancelled(void *arg)
{
    (void)arg;
    world.cancelled++;
}

/* Answers after the milliseconds asked for, cancelled or not. */
static void handle_later(struct rpc_call *call, const ProtobufCMessage *request)
{
    struct err err = {0};
    struct later *later = own_alloc(sizeof *later, &err);
    cr_ok(later, err);
    later->call = call;
    later->timer = timer_new(world.loop, later_answer, later, &err);
    cr_ok(later->timer, err);
    uint64_t ms = strtoull(((const Text *)request)->db_unique_name, NULL, 10);
    rpc_call_on_cancel(call, later_cancelled, NULL);
    timer_set(later->timer, ms, 0);
}

/* As many log lines as asked for (first_line), each with as many bytes as the job's text says. */
struct flow {
    struct rpc_call *call;
    uint64_t left, number;
    size_t bytes;
};

static void flow_on(void *arg)
{
    static uint8_t fill[1 << 16];
    struct flow *flow = arg;
    while (flow->left && rpc_call_queued(flow->call) < 256 << 10) {
        Evercopy__V1__LogLine line = EVERCOPY__V1__LOG_LINE__INIT;
        line.number = flow->number++;
        line.text.data = fill;
        line.text.len = flow->bytes;
        flow->left--;
        if (!rpc_call_send(flow->call, &line.base))
            break;
        size_t queued = rpc_call_queued(flow->call);
        if (queued > world.most_queued)
            world.most_queued = queued;
    }
    if (!flow->left) {
        rpc_call_end(flow->call);
        own_free(flow);
    }
}

static void flow_cancelled(void *arg)
{
    struct flow *flow = arg;
    struct err err = {0};
    world.cancelled++;
    err_set(&err, ERR_CANCELLED, "cancelled");
    rpc_call_fail(flow->call, &err, NULL);
    own_free(flow);
}

static void handle_flow(struct rpc_call *call, const ProtobufCMessage *request)
{
    const Follow *follow = (const Follow *)request;
    struct err err = {0};
    struct flow *flow = own_alloc(sizeof *flow, &err);
    cr_ok(flow, err);
    flow->call = call;
    flow->left = follow->first_line;
    flow->bytes = strtoull(follow->job, NULL, 10);
    rpc_call_on_cancel(call, flow_cancelled, flow);
    rpc_call_on_room(call, flow_on, flow);
    flow_on(flow);
}

/* Takes texts and answers with the last one; "fail" and "enough" answer at once, "wait" takes no
 * more until the gate is open. */
struct gather {
    struct rpc_call *call;
    struct timer *timer;
    char last[64];
};

static void gather_free(struct gather *gather)
{
    timer_free(gather->timer);
    own_free(gather);
}

static void gather_reply(struct gather *gather)
{
    Text reply = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    reply.db_unique_name = gather->last;
    rpc_call_reply(gather->call, &reply.base);
    gather_free(gather);
}

static void gather_cancelled(void *arg)
{
    struct gather *gather = arg;
    struct err err = {0};
    world.cancelled++;
    err_set(&err, ERR_CANCELLED, "cancelled");
    rpc_call_fail(gather->call, &err, NULL);
    gather_free(gather);
}

static void gather_look(void *arg)
{
    struct gather *gather = arg;
    if (world.gate) {
        timer_stop(gather->timer);
        rpc_call_next(gather->call);
    }
}

static void gather_message(void *arg, const ProtobufCMessage *message)
{
    struct gather *gather = arg;
    struct err err = {0};
    if (!message) {
        gather_reply(gather);
        return;
    }
    world.gathered++;
    const char *text = ((const Text *)message)->db_unique_name;
    str_copy(gather->last, sizeof gather->last, text);
    if (str_equal(text, "fail")) {
        err_set(&err, ERR_FENCED, "told to fail");
        rpc_call_fail(gather->call, &err, NULL);
        gather_free(gather);
    } else if (str_equal(text, "enough")) {
        gather_reply(gather);
    } else if (str_equal(text, "wait")) {
        timer_set(gather->timer, 5, 5);
    } else {
        rpc_call_next(gather->call);
    }
}

static void handle_gather(struct rpc_call *call, const ProtobufCMessage *request)
{
    cr_assert_null(request);
    struct err err = {0};
    struct gather *gather = own_alloc(sizeof *gather, &err);
    cr_ok(gather, err);
    gather->call = call;
    gather->timer = timer_new(world.loop, gather_look, gather, &err);
    cr_ok(gather->timer, err);
    rpc_call_on_cancel(call, gather_cancelled, gather);
    rpc_call_receive(call, gather_message, gather);
}

/* As above for messages of any size: answers with the number of bytes. */
struct blobs {
    struct rpc_call *call;
    size_t bytes;
};

static void blobs_message(void *arg, const ProtobufCMessage *message)
{
    struct blobs *blobs = arg;
    char number[32];
    if (message) {
        world.gathered++;
        blobs->bytes += ((const Blob *)message)->manifest_json.len;
        rpc_call_next(blobs->call);
        return;
    }
    Text reply = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    str_format(number, sizeof number, "%zu", blobs->bytes);
    reply.db_unique_name = number;
    rpc_call_reply(blobs->call, &reply.base);
    own_free(blobs);
}

static void blobs_cancelled(void *arg)
{
    struct blobs *blobs = arg;
    world.cancelled++;
    rpc_call_end(blobs->call);
    own_free(blobs);
}

static void handle_gather_blobs(struct rpc_call *call, const ProtobufCMessage *request)
{
    (void)request;
    struct err err = {0};
    struct blobs *blobs = own_alloc(sizeof *blobs, &err);
    cr_ok(blobs, err);
    blobs->call = call;
    rpc_call_on_cancel(call, blobs_cancelled, blobs);
    rpc_call_receive(call, blobs_message, blobs);
}

/* Says each message back. */
static void chat_message(void *arg, const ProtobufCMessage *message)
{
    struct rpc_call *call = arg;
    if (!message) {
        rpc_call_end(call);
        return;
    }
    IGNORE(!rpc_call_send(call, message)); /* on_cancel tells */
    rpc_call_next(call);
}

static void chat_cancelled(void *arg)
{
    world.cancelled++;
    rpc_call_end(arg);
}

static void handle_chat(struct rpc_call *call, const ProtobufCMessage *request)
{
    (void)request;
    rpc_call_on_cancel(call, chat_cancelled, call);
    rpc_call_receive(call, chat_message, call);
}

#define BLOB &evercopy__v1__get_manifest_reply__descriptor
#define TEXT &evercopy__v1__list_snapshots_request__descriptor
#define LINE &evercopy__v1__log_line__descriptor
static const struct rpc_method world_methods[] = {
    {SERVICE, "Echo", BLOB, BLOB, false, ROLE_ANY, handle_echo},
    {SERVICE, "Say", TEXT, TEXT, false, ROLE_ANY, handle_echo},
    {SERVICE, "Fail", TEXT, TEXT, false, ROLE_ANY, handle_fail},
    {SERVICE, "Later", TEXT, TEXT, false, ROLE_ANY, handle_later},
    {SERVICE, "Findings", &evercopy__v1__take_snapshot_reply__descriptor,
     &evercopy__v1__take_snapshot_reply__descriptor, false, ROLE_ANY, handle_echo},
    {SERVICE, "Admin", TEXT, TEXT, false, ROLE_ADMIN, handle_echo},
    {SERVICE, "Flow", &evercopy__v1__follow_log_request__descriptor, LINE, RPC_SERVER_STREAM,
     ROLE_ANY, handle_flow},
    {SERVICE, "Gather", TEXT, TEXT, RPC_CLIENT_STREAM, ROLE_ANY, handle_gather},
    {SERVICE, "GatherAdmin", TEXT, TEXT, RPC_CLIENT_STREAM, ROLE_ADMIN, handle_gather},
    {SERVICE, "GatherBlobs", BLOB, TEXT, RPC_CLIENT_STREAM, ROLE_ANY, handle_gather_blobs},
    {SERVICE, "Chat", TEXT, TEXT, RPC_BOTH_STREAM, ROLE_ANY, handle_chat},
};

static bool world_authorize(void *arg, const struct rpc_peer *peer, const struct rpc_method *method,
                            struct err *err)
{
    (void)arg;
    return roles_check(peer, method->roles, err);
}

static void *world_main(void *arg)
{
    (void)arg;
    loop_run(world.loop);
    return NULL;
}

/* "<dir>/<name>", in one of a few buffers. */
static const char *in_dir(const char *name)
{
    static __thread char paths[8][128];
    static __thread int turn;
    char *path = paths[turn++ % 8];
    str_format(path, sizeof paths[0], "%s/%s", world.dir, name);
    return path;
}

static void enroll(const char *name, const char *role, const char *out)
{
    static const char *const databases[] = {"ORCL", "CDB$1"};
    struct err err = {0};
    struct ca_request request = {
        .name = name, .role = role, .databases = databases, .database_count = 2, .days = 1};
    cr_ok(ca_enroll(in_dir("pki"), &request, in_dir(out), &err), err);
}

static void make_authority(const char *dir)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1"};
    struct err err = {0};
    struct ca_request request = {.name = "agent", .server_names = names, .server_name_count = 3};
    cr_ok(ca_init(dir, &request, &err), err);
}

/* Set by a suite that wants other options, before world_begin. */
static void (*world_adjust)(struct rpc_server_options *options);

static void world_begin(void)
{
    struct err err = {0};
    str_copy(world.dir, sizeof world.dir, "/tmp/evercopy-rpc-XXXXXX");
    cr_assert(mkdtemp(world.dir));
    make_authority(in_dir("pki"));
    enroll("host", "dbhost", "bundle");
    world.loop = loop_new(&err);
    world.lane = lane_new("tls", 2, &err);
    struct rpc_server_options options = {
        .listen_host = "127.0.0.1",
        .ca_file = in_dir("pki/ca.crt"),
        .cert_file = in_dir("pki/server.crt"),
        .key_file = in_dir("pki/server.key"),
        .methods = world_methods,
        .method_count = sizeof world_methods / sizeof *world_methods,
        .authorize = world_authorize,
        .handshakes = world.lane,
    };
    if (world_adjust)
        world_adjust(&options);
    world.server = rpc_server_new(world.loop, &options, &err);
    cr_ok(world.server, err);
    world.port = rpc_server_port(world.server);
    cr_assert_eq(pthread_create(&world.thread, NULL, world_main, NULL), 0);
}

static inline void world_drained(void *arg)
{
    (void)arg;
    world.drained++;
}

static void world_drain_then_stop(void *arg)
{
    (void)arg;
    world.drained++;
    rpc_server_free(TAKE(world.server));
    loop_stop(world.loop);
}

static inline void drain_done(struct work *work)
{
    (void)work;
    rpc_server_drain(world.server, world_drained, NULL);
}

static void stop_done(struct work *work)
{
    (void)work;
    if (!world.drained) {
        rpc_server_drain(world.server, world_drain_then_stop, NULL);
        return;
    }
    world_drain_then_stop(NULL);
}

static void world_do(struct work *work, void (*done)(struct work *work))
{
    *work = (struct work){.done = done};
    loop_post(world.loop)->submit(loop_post(world.loop), work);
}

static void world_end(void)
{
    struct err err = {0};
    struct work work;
    world_do(&work, stop_done);
    pthread_join(world.thread, NULL);
    lane_free(world.lane);
    loop_free(world.loop);
    cr_ok(sys_remove_tree(world.dir, &err), err);
}

/* A client with "<bundle>/<name>.crt", trusting "<bundle>/ca.crt". */
static struct rpc_client *connect_with_ticket(const char *bundle, const char *name,
                                              const char *ticket_file)
{
    struct err err = {0};
    char ca[64];
    char cert[64];
    char key[64];
    str_format(ca, sizeof ca, "%s/ca.crt", bundle);
    str_format(cert, sizeof cert, "%s/%s.crt", bundle, name);
    str_format(key, sizeof key, "%s/%s.key", bundle, name);
    struct rpc_client_options options = {
        .host = "127.0.0.1",
        .port = world.port,
        .ca_file = in_dir(ca),
        .cert_file = in_dir(cert),
        .key_file = in_dir(key),
        .connect_timeout_ms = 20000, /* 64 handshakes at once on a busy machine */
        .ticket_file = ticket_file,
    };
    struct rpc_client *client = rpc_client_new(&options, &err);
    cr_ok(client, err);
    return client;
}

static inline struct rpc_client *connect_as(const char *bundle, const char *name)
{
    return connect_with_ticket(bundle, name, NULL);
}

static inline struct rpc_client *connect_host(void) { return connect_as("bundle", "host"); }

/* A unary call with one text; the reply is dropped. */
static bool say(struct rpc_client *client, const char *method, const char *text,
                uint64_t timeout_ms, struct err *err)
{
    Text request = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    request.db_unique_name = (char *)text;
    ProtobufCMessage *reply =
        rpc_client_call(client, SERVICE, method, &request.base, TEXT, timeout_ms, err);
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
    return reply != NULL;
}

/* For what another thread is about to do: at most five seconds. */
#define eventually(condition)                                                                      \
    ({                                                                                             \
        uint64_t until = clock_mono_ms() + 5000;                                                   \
        while (!(condition) && clock_mono_ms() < until)                                            \
            usleep(2000);                                                                          \
        (condition);                                                                               \
    })
