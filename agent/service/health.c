/* grpc.health.v1: Check goes the way of every call, so that an answer means the whole way is clear;
 * Watch tells when the agent is about to go. */
#include "agent/service/ask.h"

#include "agent/service/schema.h"
#include "grpc/health/v1/health.pb-c.h"

enum {
    SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
    NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
    SERVICE_UNKNOWN = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN,
};

static bool is_served(const char *service) { return !service[0] || schema_has_service(service); }

void health_check(struct ask *ask)
{
    const Grpc__Health__V1__HealthCheckRequest *request = (const void *)ask->request;
    Grpc__Health__V1__HealthCheckResponse *reply = ask_alloc(ask, sizeof *reply);
    if (reply && !is_served(request->service)) {
        err_set(&ask->err, ERR_NOT_FOUND, "there is no service '%s'", request->service);
    } else if (reply) {
        grpc__health__v1__health_check_response__init(reply);
        reply->status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)SERVING;
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static bool tell(struct rpc_call *call, int status)
{
    Grpc__Health__V1__HealthCheckResponse reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    reply.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    return rpc_call_send(call, &reply.base);
}

static void on_cancel(void *arg) { rpc_call_end(arg); }

static void on_drain(void *arg)
{
    struct err err = {0};
    IGNORE(!tell(arg, NOT_SERVING)); /* the status below says it again */
    err_set(&err, ERR_UNAVAILABLE, "the agent is shutting down");
    rpc_call_fail(arg, &err, NULL);
}

void health_watch(struct rpc_call *call, const ProtobufCMessage *message)
{
    const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
    rpc_call_on_cancel(call, on_cancel, call);
    rpc_call_on_drain(call, on_drain, call);
    IGNORE(!tell(call, is_served(request->service) ? SERVING : SERVICE_UNKNOWN));
}
