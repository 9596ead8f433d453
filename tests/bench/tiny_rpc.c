/* A tiny server on this RPC room: grpc.health.v1.Health/Check, answered at once, as the peer of the
 * same size does on libgrpc++.
 *
 *   tiny_rpc DIR      prints its port; ends when stdin does. DIR holds ca.crt, server.crt,
 * server.key */
#include "agent/base/str.h"
#include "agent/rpc/server.h"
#include "grpc/health/v1/health.pb-c.h"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void on_check(struct rpc_call *call, const ProtobufCMessage *request)
{
    Grpc__Health__V1__HealthCheckResponse reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    (void)request;
    reply.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    rpc_call_reply(call, &reply.base);
}

static const struct rpc_method methods[] = {
    {.service = "grpc.health.v1.Health",
     .name = "Check",
     .input = &grpc__health__v1__health_check_request__descriptor,
     .output = &grpc__health__v1__health_check_response__descriptor,
     .handler = on_check},
};

static bool anybody(void *arg, const struct rpc_peer *peer, const struct rpc_method *method,
                    struct err *err)
{
    (void)arg;
    (void)peer;
    (void)method;
    (void)err;
    return true;
}

static void *await_end(void *arg)
{
    char byte;
    (void)arg;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    _exit(0);
}

int main(int argc, char **argv)
{
    char ca[300];
    char cert[300];
    char key[300];
    struct err err = {0};
    pthread_t waiter;
    if (argc != 2 || !str_format(ca, sizeof ca, "%s/ca.crt", argv[1]) ||
        !str_format(cert, sizeof cert, "%s/server.crt", argv[1]) ||
        !str_format(key, sizeof key, "%s/server.key", argv[1]))
        return 2;
    struct rpc_server_options options = {
        .listen_host = "127.0.0.1",
        .ca_file = ca,
        .cert_file = cert,
        .key_file = key,
        .methods = methods,
        .method_count = 1,
        .authorize = anybody,
        .handshakes = lane_new("handshake", 1, &err),
    };
    struct loop *loop = options.handshakes ? loop_new(&err) : NULL;
    struct rpc_server *server = loop ? rpc_server_new(loop, &options, &err) : NULL;
    if (!server || pthread_create(&waiter, NULL, await_end, NULL) != 0) {
        fprintf(stderr, "tiny_rpc: %s\n", err.text);
        return 1;
    }
    printf("%u\n", rpc_server_port(server));
    IGNORE(fflush(stdout));
    loop_run(loop);
    return 0;
}
