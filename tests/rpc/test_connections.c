/* Who may connect, how often, for how long, and what a kept session is worth. */
#include "tests/rpc/world.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static _Atomic bool denied;
static _Atomic int asked, resumed;

static bool admit_peer(void *arg, const struct rpc_peer *peer, struct err *err)
{
    (void)arg;
    asked++;
    resumed += peer->resumed;
    if (peer->not_after_us <= clock_wall_us())
        return err_set(err, ERR_UNAUTHENTICATED, "the certificate expired");
    if (!denied || strcmp(peer->cn, "host") != 0)
        return true;
    return err_set(err, ERR_UNAUTHENTICATED, "certificate %.8s of '%s' was withdrawn: laptop lost",
                   peer->serial, peer->cn);
}

static void adjust(struct rpc_server_options *options)
{
    options->admit_peer = admit_peer;
    options->connections_per_peer_max = 4;
    options->connections_max = 6;
}

static void begin(void)
{
    world_adjust = adjust;
    world_begin();
}

TestSuite(connections, .init = begin, .fini = world_end, .timeout = 60);

static bool call_once(const char *ticket_file, struct err *err)
{
    AUTO(rpc_client) struct rpc_client *client = connect_with_ticket("bundle", "host", ticket_file);
    return say(client, "Say", "hello", 5000, err);
}

static void recheck_done(struct work *work)
{
    (void)work;
    rpc_server_recheck(world.server);
}

Test(connections, a_denied_certificate_hears_why_in_its_call)
{
    struct err err = {0};
    denied = true;
    cr_assert(!call_once(NULL, &err));
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED);
    cr_assert(strstr(err.text, "of 'host' was withdrawn: laptop lost"), "%s", err.text);
    denied = false;
    err_clear(&err);
    cr_ok(call_once(NULL, &err), err);
    cr_assert_eq(asked, 2);
}

Test(connections, a_kept_session_of_a_denied_certificate_is_worth_nothing)
{
    struct err err = {0};
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    cr_assert(asked == 2 && resumed == 1);
    denied = true;
    cr_assert(!call_once(in_dir("a.ticket"), &err));
    cr_assert_eq(resumed, 2);
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED);
    cr_assert(strstr(err.text, "was withdrawn"), "%s", err.text);
}

static bool deny_in_mid_stream(void *arg, const ProtobufCMessage *message)
{
    (void)message;
    int *count = arg;
    static struct work work;
    if (++*count == 1) {
        denied = true;
        world_do(&work, recheck_done);
    }
    return true;
}

Test(connections, a_certificate_denied_later_loses_its_open_connections_and_only_those)
{
    struct err err = {0};
    int count = 0;
    enroll("other", "operator", "bundle");
    AUTO(rpc_client) struct rpc_client *other = connect_as("bundle", "other");
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(say(other, "Say", "", 5000, &err), err);
    int before = asked;
    Follow request = EVERCOPY__V1__FOLLOW_LOG_REQUEST__INIT;
    request.first_line = 1000000;
    request.job = (char *)"2000";
    cr_assert(!rpc_client_stream(client, SERVICE, "Flow", &request.base, LINE, 10000,
                                 deny_in_mid_stream, &count, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
    cr_assert(eventually(world.cancelled == 1));
    err_clear(&err);
    cr_assert(!say(client, "Say", "", 5000, &err));
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED, "%s", err.text);
    int then = asked;
    err_clear(&err);
    cr_ok(say(other, "Say", "", 5000, &err), err);
    cr_assert_eq(asked, then, "the other one had to connect again");
    cr_assert_gt(then, before);
}

static bool expire_in_mid_stream(void *arg, const ProtobufCMessage *message)
{
    (void)message;
    int *count = arg;
    if (++*count == 1)
        clock_test_wall(clock_wall_us() + UINT64_C(800) * 86400 * 1000000);
    return true;
}

/* Each call asks for it, but a stream may go on for days after its only asking. */
Test(connections, a_stream_ends_with_its_certificate)
{
    struct err err = {0};
    int count = 0;
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    Follow request = EVERCOPY__V1__FOLLOW_LOG_REQUEST__INIT;
    request.first_line = 1000000;
    request.job = (char *)"2000";
    cr_assert(!rpc_client_stream(client, SERVICE, "Flow", &request.base, LINE, 8000,
                                 expire_in_mid_stream, &count, &err));
    clock_test_wall(0);
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
    cr_assert(eventually(world.cancelled == 1));
}

Test(connections, an_idle_connection_that_is_denied_ends_with_the_reason)
{
    struct err err = {0};
    struct work work;
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(say(client, "Say", "", 5000, &err), err);
    denied = true;
    world_do(&work, recheck_done);
    cr_assert(eventually(asked == 2));
    cr_assert(!say(client, "Say", "", 5000, &err));
    cr_assert(strstr(err.text, "was withdrawn: laptop lost"), "%s", err.text);
}

/* Being told why has its own limit, or the refused would fill the agent. */
Test(connections, refused_connections_cannot_pile_up)
{
    struct err err = {0};
    enroll("other", "operator", "bundle");
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    denied = true;
    struct rpc_client *clients[12];
    int told = 0;
    for (size_t i = 0; i < 12; i++) {
        clients[i] = connect_with_ticket("bundle", "host", in_dir("a.ticket"));
        err_clear(&err);
        cr_assert(!say(clients[i], "Say", "", 5000, &err));
        told += err.code == ERR_UNAUTHENTICATED;
    }
    cr_assert_eq(told, 4);
    AUTO(rpc_client) struct rpc_client *other = connect_as("bundle", "other");
    err_clear(&err);
    cr_ok(say(other, "Say", "", 5000, &err), err);
    clock_test_shift(6000); /* they do not stay for good */
    denied = false;
    cr_assert(eventually(say(clients[0], "Say", "", 5000, &err)));
    clock_test_shift(0);
    for (size_t i = 0; i < 12; i++)
        rpc_client_free(clients[i]);
}

Test(connections, the_ticket_file_is_for_its_owner_only)
{
    struct err err = {0};
    struct stat st;
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    cr_ok(sys_lstat(in_dir("a.ticket"), &st, &err), err);
    cr_assert_eq(st.st_mode & 07777, 0600);
    cr_ok(sys_chmod(in_dir("a.ticket"), 0640, &err), err);
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    cr_assert_eq(resumed, 0, "a file that others may read was used");
    cr_ok(sys_lstat(in_dir("a.ticket"), &st, &err), err);
    cr_assert_eq(st.st_mode & 07777, 0600, "and not replaced");
    cr_assert_eq(symlink("a.ticket", in_dir("link.ticket")), 0);
    cr_ok(call_once(in_dir("link.ticket"), &err), err);
    cr_assert_eq(resumed, 0, "a link was followed");
    if (geteuid() != 0) {
        cr_log_warn("SKIPPED: a ticket of another owner: needs root");
        return;
    }
    cr_assert_eq(chown(in_dir("a.ticket"), 1, 1), 0);
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    cr_assert_eq(resumed, 0, "a file of another owner was used");
}

Test(connections, a_ticket_serves_its_agent_and_its_certificate_only)
{
    struct err err = {0};
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    enroll("other", "operator", "bundle");
    struct rpc_client *other = connect_with_ticket("bundle", "other", in_dir("a.ticket"));
    cr_ok(say(other, "Say", "", 5000, &err), err);
    rpc_client_free(other);
    cr_assert_eq(resumed, 0);
    cr_ok(call_once(in_dir("b.ticket"), &err), err);
    struct rpc_client_options options = {
        .host = "localhost",
        .port = world.port,
        .ca_file = in_dir("bundle/ca.crt"),
        .cert_file = in_dir("bundle/host.crt"),
        .key_file = in_dir("bundle/host.key"),
        .ticket_file = in_dir("b.ticket"),
    };
    AUTO(rpc_client) struct rpc_client *elsewhere = rpc_client_new(&options, &err);
    cr_ok(elsewhere, err);
    if (say(elsewhere, "Say", "", 5000, &err))
        cr_assert_eq(resumed, 0, "a ticket of one agent was shown to another");
    else
        fprintf(stderr, "SKIPPED rpc/connections: this host cannot resolve localhost\n");
}

Test(connections, a_damaged_or_old_ticket_costs_a_whole_handshake_and_no_more)
{
    struct err err = {0};
    size_t len;
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    AUTO(mem) char *bytes = sys_read_file(in_dir("a.ticket"), 1 << 16, &len, &err);
    cr_ok(bytes, err);
    for (size_t at = 3; at < len; at += len / 12) {
        bytes[at] ^= 0x11;
        cr_ok(sys_write_file(in_dir("a.ticket"), bytes, len, 0600, &err), err);
        bytes[at] ^= 0x11;
        cr_ok(call_once(in_dir("a.ticket"), &err), err);
    }
    cr_ok(sys_write_file(in_dir("a.ticket"), bytes, 40, 0600, &err), err);
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    cr_ok(sys_write_file(in_dir("a.ticket"), bytes, len, 0600, &err), err);
    clock_test_wall(clock_wall_us() + 5 * 3600 * 1000000ull);
    resumed = 0;
    cr_ok(call_once(in_dir("a.ticket"), &err), err);
    clock_test_wall(0);
    cr_assert_eq(resumed, 0, "a ticket of five hours ago was used");
}

Test(connections, a_client_that_lost_its_connection_comes_back_by_ticket)
{
    struct err err = {0};
    struct work work;
    AUTO(rpc_client) struct rpc_client *client = connect_host();
    cr_ok(say(client, "Say", "", 5000, &err), err);
    denied = true;
    world_do(&work, recheck_done);
    cr_assert(eventually(asked == 2));
    denied = false;
    usleep(20000); /* its end is on the wire */
    cr_ok(say(client, "Say", "", 5000, &err), err);
    cr_assert_eq(resumed, 1);
}

Test(connections, one_certificate_cannot_take_all_connections)
{
    struct err err = {0};
    struct rpc_client *greedy[4];
    for (size_t i = 0; i < 4; i++) {
        greedy[i] = connect_with_ticket("bundle", "host", in_dir("a.ticket"));
        cr_ok(say(greedy[i], "Say", "", 5000, &err), err);
    }
    cr_assert(!call_once(NULL, &err));
    cr_assert_eq(err.code, ERR_LIMIT);
    cr_assert_str_eq(err.text, "this certificate has 4 connections to the agent already");
    enroll("b", "operator", "bundle");
    enroll("c", "operator", "bundle");
    err_clear(&err);
    struct rpc_client *others[3];
    for (size_t i = 0; i < 3; i++) { /* six in all: for the last one somebody gives way */
        others[i] = connect_as("bundle", i ? "b" : "c");
        cr_ok(say(others[i], "Say", "", 5000, &err), err);
    }
    int before = asked;
    for (size_t i = 0; i < 3; i++)
        cr_ok(say(others[i], "Say", "", 5000, &err), err);
    for (size_t i = 1; i < 4; i++)
        cr_ok(say(greedy[i], "Say", "", 5000, &err), err);
    cr_assert_eq(asked, before, "none of these was to lose its connection");
    for (size_t i = 0; i < 4; i++)
        rpc_client_free(greedy[i]);
    for (size_t i = 0; i < 3; i++)
        rpc_client_free(others[i]);
}

Test(connections, who_is_in_a_call_does_not_give_way)
{
    struct err err = {0};
    struct rpc_client *greedy[6];
    enroll("b", "operator", "bundle");
    enroll("c", "operator", "bundle");
    for (size_t i = 0; i < 6; i++) {
        greedy[i] = connect_as("bundle", i < 4 ? "host" : "b");
        cr_ok(say(greedy[i], "Say", "", 5000, &err), err);
    }
    /* All of the greediest are in a call, so that the newcomer is told to wait. */
    for (size_t i = 0; i < 4; i++)
        cr_assert(!say(greedy[i], "Later", "3000", 1, &err));
    err_clear(&err);
    AUTO(rpc_client) struct rpc_client *late = connect_as("bundle", "c");
    cr_assert(!say(late, "Say", "", 5000, &err));
    cr_assert_str_eq(err.text, "the agent has 6 connections, as many as it takes");
    for (size_t i = 0; i < 6; i++)
        rpc_client_free(greedy[i]);
}
