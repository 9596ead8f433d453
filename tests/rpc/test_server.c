/* The gRPC server and client against each other, over mutual TLS on the loopback. */
#include "tests/rpc/world.h"

#include "agent/net/h2.h"
#include "agent/net/sock.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

TestSuite(rpc, .init = world_begin, .fini = world_end, .timeout = 60);

Test(rpc, answers_a_unary_call)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    Text request = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    request.db_unique_name = (char *)"Prüfung";
    ProtobufCMessage *reply =
        rpc_client_call(client, SERVICE, "Say", &request.base, TEXT, 5000, &err);
    cr_ok(reply, err);
    cr_assert_str_eq(((Text *)reply)->db_unique_name, "Prüfung");
    protobuf_c_message_free_unpacked(reply, NULL);
}

static bool echo_bytes(struct rpc_client *client, size_t len, struct err *err)
{
    struct err ignored = {0};
    AUTO(mem) uint8_t *bytes = own_alloc(len, &ignored);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 >> 3);
    Blob request = EVERCOPY__V1__GET_MANIFEST_REPLY__INIT;
    request.manifest_json.data = bytes;
    request.manifest_json.len = len;
    ProtobufCMessage *reply =
        rpc_client_call(client, SERVICE, "Echo", &request.base, BLOB, 10000, err);
    if (!reply)
        return false;
    const Blob *blob = (const Blob *)reply;
    cr_assert_eq(blob->manifest_json.len, len);
    cr_assert(!len || memcmp(blob->manifest_json.data, bytes, len) == 0);
    protobuf_c_message_free_unpacked(reply, NULL);
    return true;
}

Test(rpc, carries_three_mebibytes_both_ways)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(echo_bytes(client, 3 << 20, &err), err);
    cr_ok(echo_bytes(client, 0, &err), err);
}

Test(rpc, shows_status_message_and_detail)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_assert(!say(client, "Fail", "50% bad\nline é", 5000, &err));
    cr_assert_eq(err.code, ERR_FENCED);
    cr_assert_str_eq(err.text, "50% bad\nline é");
    err_clear(&err);
    cr_assert(!say(client, "Fail", "next step", 5000, &err));
    cr_assert_eq(err.code, ERR_FENCED);
    cr_assert_str_eq(err.text, "the lease was taken; hint: start over");
}

Test(rpc, enforces_the_deadline_and_tells_the_handler)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    uint64_t begun = clock_mono_ms();
    cr_assert(!say(client, "Later", "600", 150, &err));
    cr_assert_eq(err.code, ERR_TIMEOUT);
    cr_assert_lt(clock_mono_ms() - begun, 550);
    cr_assert(eventually(world.cancelled == 1));
    err_clear(&err);
    cr_ok(say(client, "Later", "1", 5000, &err), err);
}

struct reader {
    uint64_t count, stop_after;
    unsigned pause_us;
};

static bool read_line(void *arg, const ProtobufCMessage *message)
{
    struct reader *reader = arg;
    const Evercopy__V1__LogLine *line = (const Evercopy__V1__LogLine *)message;
    cr_assert_eq(line->number, reader->count);
    reader->count++;
    if (reader->pause_us && reader->count % 1000 == 0)
        usleep(reader->pause_us);
    return reader->count != reader->stop_after;
}

static bool follow(struct rpc_client *client, uint64_t lines, const char *bytes,
                   struct reader *reader, struct err *err)
{
    Follow request = EVERCOPY__V1__FOLLOW_LOG_REQUEST__INIT;
    request.first_line = lines;
    request.job = (char *)bytes;
    return rpc_client_stream(client, SERVICE, "Flow", &request.base, LINE, 5000, read_line, reader,
                             err);
}

Test(rpc, streams_to_a_slow_reader_in_bounded_memory)
{
    struct err err = {0};
    struct reader reader = {.pause_us = 20000};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(follow(client, 10000, "1500", &reader, &err), err);
    cr_assert_eq(reader.count, 10000);
    cr_assert_leq(world.most_queued, (256 << 10) + 4096);
    cr_assert_geq(world.most_queued, 128 << 10);
}

Test(rpc, tells_the_handler_when_the_reader_stops)
{
    struct err err = {0};
    struct reader reader = {.stop_after = 3};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_assert(!follow(client, 1000000, "1000", &reader, &err));
    cr_assert_eq(err.code, ERR_CANCELLED);
    cr_assert(eventually(world.cancelled == 1));
    err_clear(&err);
    cr_ok(say(client, "Say", "still here", 5000, &err), err);
}

Test(rpc, tells_the_handler_when_the_connection_is_gone)
{
    struct err err = {0};
    struct rpc_client *client = connect_host();
    cr_assert(!say(client, "Later", "400", 1, &err));
    rpc_client_free(client);
    cr_assert(eventually(world.cancelled == 1));
    usleep(450000); /* the answer comes when nobody listens any more */
}

static struct rpc_client *calling_from_inside;

static bool call_inside(void *arg, const ProtobufCMessage *message)
{
    (void)message;
    struct err err = {0};
    cr_ok(say(calling_from_inside, "Say", "nested", 5000, &err), err);
    ++*(int *)arg;
    return true;
}

Test(rpc, lets_a_stream_reader_call_on_the_same_connection)
{
    struct err err = {0};
    int count = 0;
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    calling_from_inside = client;
    Follow request = EVERCOPY__V1__FOLLOW_LOG_REQUEST__INIT;
    request.first_line = 200;
    request.job = (char *)"20000";
    cr_ok(rpc_client_stream(client, SERVICE, "Flow", &request.base, LINE, 5000, call_inside, &count,
                            &err),
          err);
    cr_assert_eq(count, 200);
}

Test(rpc, names_an_unknown_method)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_assert(!say(client, "Nothing", "", 5000, &err));
    cr_assert_eq(err.code, ERR_UNSUPPORTED);
    cr_assert_str_eq(err.text, "there is no method '/" SERVICE "/Nothing'");
}

Test(rpc, refuses_a_role)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_assert(!say(client, "Admin", "", 5000, &err));
    cr_assert_eq(err.code, ERR_DENIED);
    cr_assert_str_eq(err.text, "'host' has the role 'dbhost'; needed: admin");
    enroll("boss", "admin", "bundle");
    AUTO(rpc_client) struct rpc_client *boss = connect_as("bundle", "boss");
    err_clear(&err);
    cr_ok(say(boss, "Admin", "", 5000, &err), err);
}

Test(rpc, refuses_another_authority_in_words)
{
    struct err err = {0};
    make_authority(in_dir("other"));
    struct ca_request request = {.name = "spy", .role = "admin"};
    cr_ok(ca_enroll(in_dir("other"), &request, in_dir("spy"), &err), err);
    AUTO(rpc_client) struct rpc_client *distrusts = connect_as("spy", "spy");
    cr_assert(!say(distrusts, "Say", "", 5000, &err));
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED, "%s", err.text);
    cr_assert(strstr(err.text, "not signed by our certificate authority"), "%s", err.text);
    /* Now one that trusts us, but that we do not trust. */
    struct rpc_client_options options = {
        .host = "127.0.0.1",
        .port = world.port,
        .ca_file = in_dir("pki/ca.crt"),
        .cert_file = in_dir("spy/spy.crt"),
        .key_file = in_dir("spy/spy.key"),
    };
    err_clear(&err);
    AUTO(rpc_client) struct rpc_client *spy = rpc_client_new(&options, &err);
    cr_ok(spy, err);
    cr_assert(!say(spy, "Say", "", 5000, &err));
    cr_assert(err.code == ERR_UNAUTHENTICATED || err.code == ERR_UNAVAILABLE, "%s", err.text);
}

Test(rpc, refuses_a_server_of_another_name)
{
    struct err err = {0};
    struct rpc_client_options options = {
        .host = "127.0.0.1",
        .port = world.port,
        .ca_file = in_dir("bundle/ca.crt"),
        .cert_file = in_dir("bundle/host.crt"),
        .key_file = in_dir("bundle/host.key"),
        .server_name = "backup.example",
    };
    AUTO(rpc_client) struct rpc_client *client = rpc_client_new(&options, &err);
    cr_ok(client, err);
    cr_assert(!say(client, "Say", "", 5000, &err));
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED);
    cr_assert(strstr(err.text, "not issued for 'backup.example'"), "%s", err.text);
    options.server_name = "LocalHost";
    err_clear(&err);
    AUTO(rpc_client) struct rpc_client *good = rpc_client_new(&options, &err);
    cr_ok(say(good, "Say", "", 5000, &err), err);
}

Test(rpc, refuses_an_expired_certificate)
{
    struct err err = {0};
    clock_test_wall(clock_wall_us() - 30ull * 86400 * 1000000);
    enroll("old", "admin", "bundle");
    clock_test_wall(0);
    AUTO(rpc_client) struct rpc_client *old = connect_as("bundle", "old");
    cr_assert(!say(old, "Say", "", 5000, &err));
    cr_assert(err.code == ERR_UNAUTHENTICATED || err.code == ERR_UNAVAILABLE, "%s", err.text);
}

Test(rpc, checks_expiry_at_each_call_of_a_long_connection)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(say(client, "Say", "", 5000, &err), err);
    clock_test_wall(clock_wall_us() + 2ull * 86400 * 1000000);
    cr_assert(!say(client, "Say", "", 5000, &err));
    clock_test_wall(0);
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED);
    cr_assert(strstr(err.text, "expired"), "%s", err.text);
}

Test(rpc, says_when_nobody_is_there)
{
    struct err err = {0};
    uint16_t port;
    int fd = sock_listen("127.0.0.1", 0, &port, &err);
    close(fd);
    struct rpc_client_options options = {
        .host = "127.0.0.1",
        .port = port,
        .ca_file = in_dir("bundle/ca.crt"),
        .cert_file = in_dir("bundle/host.crt"),
        .key_file = in_dir("bundle/host.key"),
    };
    AUTO(rpc_client) struct rpc_client *client = rpc_client_new(&options, &err);
    cr_assert(!say(client, "Say", "", 5000, &err));
    char expected[96];
    str_format(expected, sizeof expected,
               "agent '127.0.0.1:%u' does not answer: connection refused", port);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    cr_assert_str_eq(err.text, expected);
}

Test(rpc, gives_up_on_a_silent_agent_in_time)
{
    struct err err = {0};
    uint16_t port;
    AUTO(fd) int fd = sock_listen("127.0.0.1", 0, &port, &err);
    struct rpc_client_options options = {
        .host = "127.0.0.1",
        .port = port,
        .ca_file = in_dir("bundle/ca.crt"),
        .cert_file = in_dir("bundle/host.crt"),
        .key_file = in_dir("bundle/host.key"),
        .connect_timeout_ms = 300,
    };
    AUTO(rpc_client) struct rpc_client *client = rpc_client_new(&options, &err);
    uint64_t begun = clock_mono_ms();
    cr_assert(!say(client, "Say", "", 5000, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    cr_assert_lt(clock_mono_ms() - begun, 2000);
    cr_assert(strstr(err.text, "does not answer: no TLS handshake within 300 ms"), "%s", err.text);
}

Test(rpc, refuses_a_key_that_others_can_read)
{
    struct err err = {0};
    cr_ok(sys_chmod(in_dir("bundle/host.key"), 0640, &err), err);
    struct rpc_client_options options = {
        .host = "127.0.0.1",
        .port = world.port,
        .ca_file = in_dir("bundle/ca.crt"),
        .cert_file = in_dir("bundle/host.crt"),
        .key_file = in_dir("bundle/host.key"),
    };
    cr_assert_null(rpc_client_new(&options, &err));
    cr_assert_eq(err.code, ERR_CONFIG);
    cr_assert(strstr(err.text, "open to others (mode 0640); hint: chmod 0600"), "%s", err.text);
}

static void *call_later(void *arg)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    *(bool *)arg = say(client, "Later", "400", 5000, &err);
    return NULL;
}

Test(rpc, drains_with_calls_in_flight)
{
    struct err err = {0};
    bool answered = false;
    pthread_t thread;
    struct work work;
    AUTO(rpc_client) struct rpc_client *idle = connect_host();
    cr_ok(say(idle, "Say", "", 5000, &err), err);
    pthread_create(&thread, NULL, call_later, &answered);
    usleep(200000);
    world_do(&work, drain_done);
    usleep(50000);
    cr_assert_eq(world.drained, 0);
    cr_assert(!say(idle, "Say", "", 5000, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    pthread_join(thread, NULL);
    cr_assert(answered);
    cr_assert(eventually(world.drained == 1));
}

Test(rpc, answers_500_calls_in_a_row)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    for (int i = 0; i < 500; i++)
        cr_ok(say(client, "Say", "again", 5000, &err), err);
}

static void *call_often(void *arg)
{
    (void)arg;
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    for (int i = 0; i < 5; i++)
        cr_ok(say(client, "Say", "parallel", 20000, &err), err);
    return NULL;
}

Test(rpc, serves_64_clients_at_once)
{
    pthread_t threads[64];
    for (int i = 0; i < 64; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, call_often, NULL), 0);
    for (int i = 0; i < 64; i++)
        pthread_join(threads[i], NULL);
}

Test(rpc, survives_noise_on_the_port)
{
    struct err err = {0};
    for (int i = 0; i < 20; i++) {
        AUTO(fd) int fd = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 2000, &err);
        cr_ok(fd >= 0, err);
        uint8_t noise[512];
        clock_random(noise, sizeof noise);
        if (i % 2)
            memcpy(noise, "\x16\x03\x03\x01\xf0\x01\x00\x01\xec", 9); /* nearly a hello */
        IGNORE(send(fd, noise, i * 25u, MSG_NOSIGNAL) < 0);
        if (i % 3 == 0)
            IGNORE(!sock_wait(fd, true, false, clock_mono_ms() + 100));
    }
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(say(client, "Say", "fine", 5000, &err), err);
}

Test(rpc, rejects_strings_that_are_not_text)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_assert(!say(client, "Say", "\xff\xfe", 5000, &err));
    cr_assert_eq(err.code, ERR_INVALID);
    cr_assert_str_eq(err.text, "field 'db_unique_name' is not UTF-8 text without NUL");
}

Test(rpc, rejects_a_request_that_swells)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    size_t count = 1900000; /* two bytes each on the wire */
    AUTO(mem) char **findings = own_alloc(count * sizeof *findings, &err);
    for (size_t i = 0; i < count; i++)
        findings[i] = (char *)"";
    Evercopy__V1__TakeSnapshotReply request = EVERCOPY__V1__TAKE_SNAPSHOT_REPLY__INIT;
    request.findings = findings;
    request.n_findings = count;
    cr_assert_null(rpc_client_call(client, SERVICE, "Findings", &request.base,
                                   &evercopy__v1__take_snapshot_reply__descriptor, 10000, &err));
    cr_assert_eq(err.code, ERR_LIMIT);
    err_clear(&err);
    cr_ok(say(client, "Say", "fine", 5000, &err), err);
}

/* A client below our own: raw bytes in a stream, to say what the real one never would. */
struct raw {
    struct tls_context *context;
    struct h2 *h2;
    int http_status, grpc_status;
    char encoding[32];
    bool closed;
    uint64_t status_at_ms;
};

static void raw_header(struct h2_stream *stream, const char *name, const char *value)
{
    struct raw *raw = h2_arg(stream);
    uint64_t number = 0;
    if (str_to_u64(value, 999, &number) && str_equal(name, ":status"))
        raw->http_status = (int)number;
    if (str_equal(name, "grpc-accept-encoding"))
        str_copy(raw->encoding, sizeof raw->encoding, value);
    if (str_equal(name, "grpc-status")) {
        raw->grpc_status = (int)number;
        raw->status_at_ms = clock_mono_ms();
    }
}
static void raw_nothing(struct h2_stream *stream) { (void)stream; }
static void raw_data(struct h2_stream *stream, const void *bytes, size_t len)
{
    (void)bytes;
    h2_consume(stream, len);
}
static void raw_closed(struct h2_stream *stream, uint32_t code)
{
    (void)code;
    struct raw *raw = h2_arg(stream);
    raw->closed = true;
}
static const struct h2_handler raw_handler = {
    .header = raw_header,
    .headers_done = raw_nothing,
    .data = raw_data,
    .end = raw_nothing,
    .closed = raw_closed,
};

static void raw_open(struct raw *raw)
{
    struct err err = {0};
    struct tls_files files = {in_dir("bundle/ca.crt"), in_dir("bundle/host.crt"),
                              in_dir("bundle/host.key")};
    raw->grpc_status = -1;
    raw->context = tls_context_new(TLS_CLIENT, &files, &err);
    cr_ok(raw->context, err);
    int fd = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 2000, &err);
    struct tls *tls = tls_new(raw->context, fd, &err);
    cr_ok(tls, err);
    enum tls_step step;
    while ((step = tls_handshake(tls, &err)) == TLS_WANT_READ)
        cr_assert(sock_wait(fd, true, false, clock_mono_ms() + 5000));
    cr_assert_eq(step, TLS_DONE, "%s", err.text);
    raw->h2 = h2_new(TLS_CLIENT, tls, &raw_handler, raw, &err);
    cr_ok(raw->h2, err);
}

static void raw_close(struct raw *raw)
{
    h2_free(raw->h2);
    tls_context_free(raw->context);
}

static struct h2_stream *raw_request(struct raw *raw, const char *path, const char *type,
                                     const char *extra_name, const char *extra_value)
{
    struct err err = {0};
    struct h2_header headers[] = {
        {":method", "POST"},       {":scheme", "https"},   {":path", path},
        {":authority", "x"},       {"content-type", type}, {"te", "trailers"},
        {extra_name, extra_value},
    };
    struct h2_stream *stream = h2_request(raw->h2, headers, extra_name ? 7 : 6, raw, &err);
    cr_ok(stream, err);
    return stream;
}

static bool raw_run(struct raw *raw, uint64_t for_ms)
{
    struct err err = {0};
    uint64_t until = clock_mono_ms() + for_ms;
    while (!raw->closed && clock_mono_ms() < until) {
        int wanted = h2_work(raw->h2, &err);
        if (wanted <= 0)
            return false;
        /* h2_work may have been told the end already, so the wait is a short one. */
        IGNORE(
            !sock_wait(tls_fd(h2_tls(raw->h2)), true, wanted & LOOP_WRITE, clock_mono_ms() + 10));
    }
    return raw->closed;
}

static struct raw raw_send(const char *path, const void *bytes, size_t len, bool ends)
{
    struct raw raw = {0};
    raw_open(&raw);
    struct h2_stream *stream = raw_request(&raw, path, "application/grpc", NULL, NULL);
    cr_assert(h2_send(stream, bytes, len));
    if (ends)
        cr_assert(h2_finish(stream, NULL, 0));
    cr_assert(raw_run(&raw, 8000));
    raw_close(&raw);
    return raw;
}

#define ECHO "/" SERVICE "/Echo"
#define SAY "/" SERVICE "/Say"

Test(rpc, refuses_five_mebibytes_and_the_connection_goes_on)
{
    struct raw raw = {0};
    struct err err = {0};
    raw_open(&raw);
    AUTO(mem) uint8_t *bytes = own_alloc((5 << 20) + 5, &err);
    bytes[1] = 0, bytes[2] = 0x50;
    struct h2_stream *stream = raw_request(&raw, ECHO, "application/grpc", NULL, NULL);
    cr_assert(h2_send(stream, bytes, (5 << 20) + 5) && h2_finish(stream, NULL, 0));
    uint64_t begun = clock_mono_ms();
    cr_assert(raw_run(&raw, 8000));
    cr_assert_eq(raw.grpc_status, 8);
    cr_assert_lt(raw.status_at_ms - begun, 900, "the status waited for its time to run out");
    raw.closed = false;
    raw.grpc_status = -1;
    stream = raw_request(&raw, ECHO, "application/grpc", NULL, NULL);
    cr_assert(h2_send(stream, "\0\0\0\0\0", 5) && h2_finish(stream, NULL, 0));
    cr_assert(raw_run(&raw, 8000));
    cr_assert_eq(raw.grpc_status, 0);
    raw_close(&raw);
}

Test(rpc, holds_an_early_status_for_a_second_only)
{
    uint64_t begun = clock_mono_ms();
    struct raw raw = raw_send(ECHO, "\0\x7f\xff\xff\xff", 5, false);
    cr_assert_eq(raw.grpc_status, 8);
    uint64_t waited = raw.status_at_ms - begun;
    cr_assert(waited >= 900 && waited < 2500, "%llu", (unsigned long long)waited);
}

Test(rpc, refuses_what_is_not_one_message)
{
    cr_assert_eq(raw_send(ECHO, "\0\0\0", 3, true).grpc_status, 3);
    cr_assert_eq(raw_send(ECHO, "", 0, true).grpc_status, 3);
    cr_assert_eq(raw_send(ECHO, "\0\0\0\0\x09zz", 7, true).grpc_status, 3);
    cr_assert_eq(raw_send(ECHO, "\0\0\0\0\0\0\0\0\0\0", 10, true).grpc_status, 3);
    cr_assert_eq(raw_send(ECHO, "\x07\0\0\0\0", 5, true).grpc_status, 3);
    cr_assert_eq(raw_send(ECHO, "\0\0\0\0\x02\x0a\x05", 7, true).grpc_status, 3);
}

Test(rpc, refuses_compressed_messages_and_says_what_it_accepts)
{
    struct raw raw = raw_send(ECHO, "\1\0\0\0\0", 5, true);
    cr_assert_eq(raw.grpc_status, 12);
    cr_assert_str_eq(raw.encoding, "identity");
}

Test(rpc, rejects_an_embedded_nul)
{
    cr_assert_eq(raw_send(SAY, "\0\0\0\0\x05\x0a\3a\0b", 10, true).grpc_status, 3);
    cr_assert_eq(raw_send(SAY, "\0\0\0\0\x05\x0a\3acb", 10, true).grpc_status, 0);
}

Test(rpc, answers_other_content_types_with_415)
{
    struct raw raw = {0};
    raw_open(&raw);
    struct h2_stream *stream = raw_request(&raw, SAY, "application/json", NULL, NULL);
    cr_assert(h2_finish(stream, NULL, 0));
    cr_assert(raw_run(&raw, 5000));
    cr_assert_eq(raw.http_status, 415);
    raw_close(&raw);
}

Test(rpc, resets_a_request_with_headers_without_end)
{
    struct raw raw = {0};
    AUTO(mem) char *value = NULL;
    struct err err = {0};
    value = own_alloc(20001, &err);
    memset(value, 'x', 20000);
    raw_open(&raw);
    struct h2_stream *stream = raw_request(&raw, SAY, "application/grpc", "x-long", value);
    cr_assert(h2_finish(stream, NULL, 0));
    cr_assert(raw_run(&raw, 5000));
    cr_assert_eq(raw.grpc_status, -1);
    raw_close(&raw);
}

/* Two keepalive periods pass for everyone; only one of the two clients answers the PING. */
Test(rpc, closes_peers_that_show_no_life)
{
    struct raw silent = {0};
    struct raw alive = {0};
    struct err err = {0};
    raw_open(&silent);
    raw_open(&alive);
    cr_assert(!raw_run(&silent, 100));
    cr_assert(!raw_run(&alive, 100));
    clock_test_shift(61000);
    cr_assert(!raw_run(&alive, 1500));
    clock_test_shift(122000);
    cr_assert(!raw_run(&alive, 1500));
    cr_assert_gt(h2_work(alive.h2, &err), 0);
    cr_assert_leq(h2_work(silent.h2, &err), 0);
    clock_test_shift(0);
    raw_close(&silent);
    raw_close(&alive);
}

static int run_shell(const char *fmt, const char *a, const char *b)
{
    char command[1024];
    str_format(command, sizeof command, fmt, a, b);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What openssl gets to read from us after a handshake, in bytes; -1 without openssl. */
static int bytes_for_openssl(const char *arguments)
{
    if (run_shell("command -v openssl%s%s >/dev/null", "", "") != 0)
        return -1;
    char command[768];
    str_format(command, sizeof command,
               "cd %s && n=$(sleep 0.4 | timeout 2 openssl s_client -quiet -no_ign_eof -connect "
               "127.0.0.1:%u -CAfile bundle/ca.crt %s 2>/dev/null | wc -c); exit $n",
               world.dir, world.port, arguments);
    return run_shell("%s%s", command, "");
}

Test(rpc, insists_on_certificate_protocol_and_cipher)
{
#define WITH_CERT "-cert bundle/host.crt -key bundle/host.key "
    int good = bytes_for_openssl(WITH_CERT "-alpn h2");
    if (good < 0) {
        cr_log_warn("SKIPPED: no openssl");
        return;
    }
    cr_expect_gt(good, 0);
    cr_expect_eq(bytes_for_openssl("-alpn h2"), 0, "without certificate");
    cr_expect_eq(bytes_for_openssl(WITH_CERT), 0, "without ALPN");
    cr_expect_eq(bytes_for_openssl(WITH_CERT "-alpn http/1.1"), 0, "ALPN http/1.1");
    cr_expect_eq(bytes_for_openssl(WITH_CERT "-alpn h2 -tls1_1 -cipher ALL:@SECLEVEL=0"), 0);
    cr_expect_eq(bytes_for_openssl(WITH_CERT "-alpn h2 -cipher ECDHE-ECDSA-AES128-SHA256"), 0);
    cr_expect_eq(bytes_for_openssl(WITH_CERT "-alpn h2 -tls1_3"), 0);
    /* A ticket excuses from nothing. */
    cr_expect_gt(bytes_for_openssl(WITH_CERT "-alpn h2 -sess_out s.pem"), 0);
    cr_expect_gt(bytes_for_openssl(WITH_CERT "-alpn h2 -sess_in s.pem"), 0);
    cr_expect_eq(bytes_for_openssl(WITH_CERT "-sess_in s.pem"), 0, "resumed without ALPN");
}

/* "R" has openssl ask for new keys in the middle: the connection ends, or goes on with the old. */
Test(rpc, renegotiates_with_nobody)
{
    char command[768];
    if (run_shell("command -v openssl%s%s >/dev/null", "", "") != 0) {
        cr_log_warn("SKIPPED: no openssl");
        return;
    }
    str_format(command, sizeof command,
               "cd %s && (echo R; sleep 0.4) | timeout 3 openssl s_client -connect 127.0.0.1:%u "
               "-CAfile bundle/ca.crt -cert bundle/host.crt -key bundle/host.key -alpn h2 -tls1_2 "
               ">out 2>&1; grep -q RENEGOTIATING out && grep -qi 'no renegotiation' out",
               world.dir, world.port);
    cr_assert_eq(run_shell("%s%s", command, ""), 0);
}

/* More silent connections than handshakes may be under way, and then their deadline. */
Test(rpc, lets_clients_in_past_a_crowd_of_silent_ones)
{
    struct err err = {0};
    int crowd[160];
    for (size_t i = 0; i < 160; i++) {
        crowd[i] = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 2000, &err);
        cr_ok(crowd[i] >= 0, err);
    }
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(say(client, "Say", "let me in", 5000, &err), err);
    clock_test_shift(RPC_HANDSHAKE_MS + 1000);
    usleep(1200000);
    clock_test_shift(0);
    for (size_t i = 0; i < 160; i++) {
        char byte;
        cr_expect_eq(recv(crowd[i], &byte, 1, MSG_DONTWAIT), 0, "connection %zu is still open", i);
        close(crowd[i]);
    }
}

enum { FLOOD = 300 };

/* A flood that says nothing must not push out an honest client that is in the middle of its
 * handshake, however slow its machine is. */
Test(rpc, a_handshake_under_way_outlives_a_flood_of_silent_connections)
{
    struct err err = {0};
    struct tls_files files = {in_dir("bundle/ca.crt"), in_dir("bundle/host.crt"),
                              in_dir("bundle/host.key")};
    AUTO(tls_context) struct tls_context *context = tls_context_new(TLS_CLIENT, &files, &err);
    cr_ok(context, err);
    AUTO(fd) int fd = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 5000, &err);
    cr_assert_geq(fd, 0);
    AUTO(tls) struct tls *tls = tls_new(context, fd, &err);
    cr_ok(tls, err);
    fd = -1;
    cr_assert_eq(tls_handshake(tls, &err), TLS_WANT_READ);
    cr_assert(sock_wait(tls_fd(tls), true, false, clock_mono_ms() + 5000)); /* it was heard */
    int silent[FLOOD];
    for (int i = 0; i < FLOOD; i++)
        silent[i] = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 5000, &err);
    AUTO(rpc_client) struct rpc_client *behind = connect_host(); /* all of them were accepted */
    cr_ok(say(behind, "Say", "", 20000, &err), err);
    enum tls_step step = TLS_WANT_READ;
    while (step == TLS_WANT_READ || step == TLS_WANT_WRITE) {
        step = tls_handshake(tls, &err);
        if (step == TLS_WANT_READ)
            cr_assert(sock_wait(tls_fd(tls), true, false, clock_mono_ms() + 5000));
    }
    cr_ok(step == TLS_DONE, err);
    for (int i = 0; i < FLOOD; i++)
        if (silent[i] >= 0)
            close(silent[i]);
}

/* Lets the first connection go in mid-handshake, and passes the second one on to the server. */
static void *let_go_once(void *arg)
{
    int listener = *(int *)arg;
    struct err err = {0};
    char bytes[4096];
    int first = accept(listener, NULL, NULL);
    IGNORE(recv(first, bytes, 1, 0) < 0); /* it has begun */
    close(first);
    int second = accept(listener, NULL, NULL);
    int server = sock_connect("127.0.0.1", world.port, clock_mono_ms() + 5000, &err);
    struct pollfd both[2] = {{second, POLLIN, 0}, {server, POLLIN, 0}};
    while (second >= 0 && server >= 0 && poll(both, 2, 10000) > 0) {
        int from = both[0].revents ? 0 : 1;
        ssize_t n = recv(both[from].fd, bytes, sizeof bytes, 0);
        if (n <= 0 || send(both[!from].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
            break;
    }
    close(second);
    close(server);
    return NULL;
}

Test(rpc, a_client_that_was_let_go_in_mid_handshake_comes_again)
{
    struct err err = {0};
    uint16_t port;
    AUTO(fd) int listener = sock_listen("127.0.0.1", 0, &port, &err);
    cr_assert_geq(listener, 0);
    IGNORE(fcntl(listener, F_SETFL, 0) < 0); /* accept waits */
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, let_go_once, &listener), 0);
    uint16_t real = world.port;
    world.port = port;
    struct rpc_client *client = connect_host();
    world.port = real;
    cr_ok(say(client, "Say", "again", 20000, &err), err);
    rpc_client_free(client);
    pthread_join(thread, NULL);
}

/* Every allocation of client and server fails in turn: each call answers or says why. */
Test(rpc, survives_lack_of_memory)
{
    bool done = false;
    AUTO(rpc_client) struct rpc_client *warm = connect_host();
    for (long nth = 1; !done && nth < 400; nth++) {
        /* Handshakes are dear: a fresh connection for every third, where fewer calls would do. */
        AUTO(rpc_client) struct rpc_client *fresh = nth % 3 ? NULL : connect_host();
        struct err err = {0};
        own_fault(nth);
        bool ok = say(fresh ? fresh : warm, "Say", "please", 3000, &err);
        done = own_fault(0) < nth && fresh;
        cr_expect_eq(ok, err.code == ERR_NONE, "allocation %ld", nth);
    }
    cr_assert(done);
}

Test(rpc, understands_a_stock_client)
{
    const char *python = "/usr/bin/python3";
    if (access("tests/rpc/stock_client.py", R_OK) != 0 ||
        run_shell("%s -c 'import grpc' 2>/dev/null%s", python, "") != 0) {
        cr_log_warn("SKIPPED: stock client: no python3-grpcio, or not run from the repository");
        return;
    }
    char port[8];
    str_format(port, sizeof port, "%u", world.port);
    pid_t child = fork();
    if (child == 0) {
        execl(python, python, "tests/rpc/stock_client.py", port, in_dir("bundle"), "host", NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
}
