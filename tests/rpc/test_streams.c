/* Client streams, and the one shape in which both sides stream, over mutual TLS on the loopback. */
#include "tests/rpc/world.h"

TestSuite(rpc_streams, .init = world_begin, .fini = world_end, .timeout = 60);

static struct rpc_upload *open_upload(struct rpc_client *client, const char *method)
{
    struct err err = {0};
    struct rpc_upload *upload = rpc_client_upload(client, SERVICE, method, TEXT, &err);
    cr_ok(upload, err);
    return upload;
}

static bool send_text(struct rpc_upload *upload, const char *text, struct err *err)
{
    Text message = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    message.db_unique_name = (char *)text;
    return rpc_upload_send(upload, &message.base, 5000, err);
}

/* Finishes; the reply's text must be that. */
static void expect_reply(struct rpc_upload *upload, const char *text)
{
    struct err err = {0};
    ProtobufCMessage *reply = rpc_upload_finish(upload, 10000, &err);
    cr_ok(reply, err);
    cr_assert_str_eq(((Text *)reply)->db_unique_name, text);
    protobuf_c_message_free_unpacked(reply, NULL);
}

Test(rpc_streams, carry_many_messages_and_one_reply)
{
    struct err err = {0};
    char number[16];
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    for (int i = 0; i < 2000; i++) {
        str_format(number, sizeof number, "%d", i);
        cr_ok(send_text(upload, number, &err), err);
    }
    expect_reply(upload, "1999");
    cr_assert_eq(world.gathered, 2000);
    AUTO(rpc_upload) struct rpc_upload *empty = open_upload(client, "Gather");
    expect_reply(empty, "");
}

Test(rpc_streams, let_other_calls_pass_meanwhile)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    for (int i = 0; i < 20; i++) {
        cr_ok(send_text(upload, "line", &err), err);
        cr_ok(say(client, "Say", "between", 5000, &err), err);
    }
    cr_assert(!rpc_upload_is_over(upload));
    expect_reply(upload, "line");
}

Test(rpc_streams, carry_messages_larger_than_the_window)
{
    struct err err = {0};
    size_t len = 3 << 20;
    AUTO(mem) uint8_t *bytes = own_alloc(len, &err);
    Blob message = EVERCOPY__V1__GET_MANIFEST_REPLY__INIT;
    message.manifest_json.data = bytes;
    message.manifest_json.len = len;
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "GatherBlobs");
    for (int i = 0; i < 4; i++)
        cr_ok(rpc_upload_send(upload, &message.base, 10000, &err), err);
    expect_reply(upload, "12582912");
}

/* The handler takes one message and lets the rest wait: the sender is held back by the window. */
Test(rpc_streams, hold_a_sender_back_while_the_handler_is_busy)
{
    struct err err = {0};
    char text[8192];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "wait", &err), err);
    Text message = EVERCOPY__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    message.db_unique_name = text;
    size_t sent = 0;
    while (sent < 64u << 20 && rpc_upload_send(upload, &message.base, 400, &err))
        sent += sizeof text;
    cr_assert_eq(err.code, ERR_TIMEOUT, "%s", err.text);
    cr_assert_leq(sent, 2u << 20, "%zu bytes were taken", sent);
    cr_assert_geq(sent, 1u << 20, "%zu bytes were taken", sent);
    cr_assert_eq(world.gathered, 1);
    world.gate = true;
    ProtobufCMessage *reply = rpc_upload_finish(upload, 10000, &err);
    cr_assert(reply);
    protobuf_c_message_free_unpacked(reply, NULL);
    cr_assert_geq((size_t)world.gathered, sent / sizeof text);
}

static bool sends_until_told(struct rpc_upload *upload, const char *text, struct err *err)
{
    uint64_t until = clock_mono_ms() + 8000;
    while (clock_mono_ms() < until)
        if (!send_text(upload, text, err) || rpc_upload_is_over(upload))
            return true;
    return false;
}

Test(rpc_streams, tell_an_early_error_to_a_client_that_goes_on_sending)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "fail", &err), err);
    cr_assert(sends_until_told(upload, "more", &err));
    err_clear(&err);
    cr_assert_null(rpc_upload_finish(upload, 5000, &err));
    cr_assert_eq(err.code, ERR_FENCED);
    cr_assert_str_eq(err.text, "told to fail");
    err_clear(&err);
    cr_ok(say(client, "Say", "the connection goes on", 5000, &err), err);
}

/* Sending says so as well, and again and again: the status is final. */
Test(rpc_streams, give_the_same_early_error_for_ever)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "fail", &err), err);
    cr_assert(eventually(rpc_upload_is_over(upload)));
    usleep(2500000); /* beyond the reset that follows */
    for (int i = 0; i < 3; i++) {
        err_clear(&err);
        cr_assert(!send_text(upload, "more", &err));
        cr_assert_eq(err.code, ERR_FENCED, "%s", err.text);
    }
}

Test(rpc_streams, take_an_early_reply)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "enough", &err), err);
    cr_assert(sends_until_told(upload, "more", &err));
    cr_ok(err.code == ERR_NONE, err);
    expect_reply(upload, "enough");
    cr_assert_eq(world.gathered, 1);
}

Test(rpc_streams, refuse_a_role_before_anything_is_taken)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "GatherAdmin");
    IGNORE(!send_text(upload, "fail", &err)); /* may be told already */
    err_clear(&err);
    cr_assert_null(rpc_upload_finish(upload, 5000, &err));
    cr_assert_eq(err.code, ERR_DENIED, "%s", err.text);
    cr_assert_eq(world.gathered, 0);
}

Test(rpc_streams, refuse_a_message_that_is_not_text)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "good", &err), err);
    cr_ok(send_text(upload, "\xff\xfe", &err), err);
    cr_assert_null(rpc_upload_finish(upload, 5000, &err));
    cr_assert_eq(err.code, ERR_INVALID, "%s", err.text);
    cr_assert_eq(world.gathered, 1);
    cr_assert(eventually(world.cancelled == 1));
}

Test(rpc_streams, tell_the_handler_when_the_sender_gives_up)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "one", &err), err);
    cr_ok(say(client, "Say", "", 5000, &err), err);
    rpc_upload_free(upload);
    cr_assert(eventually(world.cancelled == 1));
    cr_ok(say(client, "Say", "still here", 5000, &err), err);
    upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "two", &err), err);
    cr_assert(!rpc_upload_is_over(upload));
    rpc_client_free(TAKE(client));
    cr_assert(eventually(world.cancelled == 2));
    cr_assert(rpc_upload_is_over(upload));
    own_free(upload); /* its client is gone: only a test does that */
}

static bool stop_now(void *arg) { return ++*(int *)arg > 2; }

Test(rpc_streams, stop_waiting_when_the_caller_says_so)
{
    struct err err = {0};
    int asked = 0;
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "wait", &err), err);
    rpc_client_on_wait(client, stop_now, &asked);
    cr_assert_null(rpc_upload_finish(upload, 20000, &err));
    cr_assert_eq(err.code, ERR_CANCELLED, "%s", err.text);
}

/* Six minutes, in which the connection itself is in use. */
static void let_time_pass(struct rpc_client *client)
{
    struct err err = {0};
    for (int64_t ms = 45000; ms <= 360000; ms += 45000) {
        clock_test_shift(ms);
        cr_ok(say(client, "Say", "a sign of life", 5000, &err), err);
    }
}

Test(rpc_streams, end_when_nothing_comes_for_too_long)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "one", &err), err);
    cr_ok(say(client, "Say", "", 5000, &err), err);
    let_time_pass(client);
    cr_assert(eventually(world.cancelled == 1));
    cr_assert_null(rpc_upload_finish(upload, 5000, &err));
    cr_assert_eq(err.code, ERR_TIMEOUT, "%s", err.text);
    cr_assert_str_eq(err.text, "nothing came on the stream for too long");
    clock_test_shift(0);
}

/* A handler that is busy is no reason to end its stream. */
Test(rpc_streams, do_not_end_while_the_handler_works)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    AUTO(rpc_upload) struct rpc_upload *upload = open_upload(client, "Gather");
    cr_ok(send_text(upload, "wait", &err), err);
    let_time_pass(client);
    usleep(1200000); /* the server looks once a second */
    cr_assert_eq(world.cancelled, 0);
    world.gate = true;
    expect_reply(upload, "wait");
    clock_test_shift(0);
}

static bool stop_reading(void *arg, const ProtobufCMessage *message)
{
    static bool stopped;
    (void)message;
    if (stopped)
        return true;
    stopped = true;
    for (int i = 0; i < 24; i++) { /* until the window is full, and the server has looked */
        struct err err = {0};
        cr_ok(say(arg, "Say", "", 5000, &err), err);
        usleep(100000);
    }
    let_time_pass(arg);
    usleep(1200000);
    return true;
}

Test(rpc_streams, end_when_the_reader_takes_nothing_for_too_long)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    Follow request = EVERCOPY__V1__FOLLOW_LOG_REQUEST__INIT;
    request.first_line = 100000;
    request.job = (char *)"1000";
    cr_assert(!rpc_client_stream(client, SERVICE, "Flow", &request.base, LINE, 5000, stop_reading,
                                 client, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
    cr_assert_eq(world.cancelled, 1);
    clock_test_shift(0);
    err_clear(&err);
    cr_ok(say(client, "Say", "the connection goes on", 5000, &err), err);
}
