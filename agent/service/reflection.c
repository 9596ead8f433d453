/* grpc.reflection.v1 and v1alpha: the descriptor set, piece by piece, to those who may look. */
#include "agent/service/ask.h"

#include "agent/base/str.h"
#include "agent/service/schema.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest Request;
typedef Grpc__Reflection__V1__ServerReflectionResponse Response;
#define ASKS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define TELLS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

enum { SERVICES_MAX = 64, QUEUE_HIGH = 256 << 10, STATUS_NOT_FOUND = 5, STATUS_UNIMPLEMENTED = 12 };

/* What the answer points to ends with its sender. */
static bool send_once(struct rpc_call *call, Response *response)
{
    bool there = rpc_call_send(call, &response->base);
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE__NOT_SET;
    response->error_response = NULL;
    return there;
}

static bool send_error(struct rpc_call *call, Response *response, int status, const char *text)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = status;
    error.error_message = (char *)text;
    response->message_response_case = TELLS(ERROR_RESPONSE);
    response->error_response = &error;
    return send_once(call, response);
}

static bool send_file(struct rpc_call *call, Response *response, bool found,
                      struct schema_span file)
{
    if (!found)
        return send_error(call, response, STATUS_NOT_FOUND, "not found");
    Grpc__Reflection__V1__FileDescriptorResponse files =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    ProtobufCBinaryData bytes = {file.len, (uint8_t *)(uintptr_t)file.bytes};
    files.n_file_descriptor_proto = 1;
    files.file_descriptor_proto = &bytes;
    response->message_response_case = TELLS(FILE_DESCRIPTOR_RESPONSE);
    response->file_descriptor_response = &files;
    return send_once(call, response);
}

static bool send_services(struct rpc_call *call, Response *response)
{
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse services[SERVICES_MAX];
    Grpc__Reflection__V1__ServiceResponse *pointers[SERVICES_MAX];
    struct schema_method methods[SERVICES_MAX]; /* the first of each service */
    struct schema_method method;
    size_t count = 0;
    for (size_t i = 0; schema_method(i, &method) && count < SERVICES_MAX; i++) {
        if (count && str_equal(methods[count - 1].service, method.service))
            continue;
        methods[count] = method;
        grpc__reflection__v1__service_response__init(&services[count]);
        services[count].name = methods[count].service;
        pointers[count] = &services[count];
        count++;
    }
    list.service = pointers;
    list.n_service = count;
    response->message_response_case = TELLS(LIST_SERVICES_RESPONSE);
    response->list_services_response = &list;
    return send_once(call, response);
}

static bool answer(struct rpc_call *call, const Request *request)
{
    Response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    struct schema_span file = {0};
    bool found;
    response.valid_host = request->host;
    response.original_request = (Request *)(uintptr_t)request;
    switch (request->message_request_case) {
    case ASKS(FILE_BY_FILENAME):
        found = schema_file(request->file_by_filename, &file);
        return send_file(call, &response, found, file);
    case ASKS(FILE_CONTAINING_SYMBOL):
        found = schema_file_of(request->file_containing_symbol, &file);
        return send_file(call, &response, found, file);
    case ASKS(LIST_SERVICES):
        return send_services(call, &response);
    case ASKS(FILE_CONTAINING_EXTENSION):
    case ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE):
        return send_error(call, &response, STATUS_NOT_FOUND, "there are no extensions");
    default:
        return send_error(call, &response, STATUS_UNIMPLEMENTED, "not a question we know");
    }
}

struct talk {
    struct rpc_call *call;
    bool waits; /* for room in the queue */
};

static void go_on(struct talk *talk)
{
    talk->waits = rpc_call_queued(talk->call) >= QUEUE_HIGH;
    if (!talk->waits)
        rpc_call_next(talk->call);
}

static void on_room(void *arg)
{
    struct talk *talk = arg;
    if (talk->waits)
        go_on(talk);
}

static void on_cancel(void *arg)
{
    struct talk *talk = arg;
    rpc_call_end(talk->call);
    own_free(talk);
}

static void on_drain(void *arg)
{
    struct talk *talk = arg;
    struct err err = {0};
    err_set(&err, ERR_UNAVAILABLE, "the agent is shutting down");
    rpc_call_fail(talk->call, &err, NULL);
    own_free(talk);
}

static void on_message(void *arg, const ProtobufCMessage *message)
{
    struct talk *talk = arg;
    if (message && answer(talk->call, (const Request *)message)) {
        go_on(talk);
    } else {
        rpc_call_end(talk->call);
        own_free(talk);
    }
}

void reflection_info(struct rpc_call *call, const ProtobufCMessage *message)
{
    (void)message; /* they come one by one */
    struct err err = {0};
    struct talk *talk = own_alloc(sizeof *talk, &err);
    if (!talk) {
        rpc_call_fail(call, &err, NULL);
        return;
    }
    talk->call = call;
    rpc_call_on_cancel(call, on_cancel, talk);
    rpc_call_on_drain(call, on_drain, talk);
    rpc_call_on_room(call, on_room, talk);
    rpc_call_receive(call, on_message, talk);
}
