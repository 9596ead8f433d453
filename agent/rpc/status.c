/* How a call ended, as gRPC trailers. */
#include "agent/rpc/status.h"

#include "agent/rpc/frame.h"
#include "evercopy/v1/common.pb-c.h"
#include <string.h>

enum { DETAIL_MAX = 4096 }; /* packed; trailers must fit into a client's header limit */

static void add(struct status_trailers *trailers, const char *name, const char *value)
{
    trailers->headers[trailers->count++] = (struct h2_header){name, value};
}

static char *encode_message(const char *text)
{
    AUTO(str) struct str s = {0};
    struct err err = {0};
    frame_percent_encode(&s, text);
    return str_take(&s, &err);
}

static char *encode_detail(const ProtobufCMessage *detail)
{
    uint8_t bytes[DETAIL_MAX];
    if (protobuf_c_message_get_packed_size(detail) > sizeof bytes)
        return NULL;
    AUTO(str) struct str s = {0};
    struct err err = {0};
    frame_base64_encode(&s, bytes, protobuf_c_message_pack(detail, bytes));
    return str_take(&s, &err);
}

/* Services that add nothing still tell the code, which a gRPC status alone does not. */
static char *encode_default(const struct err *why)
{
    char cause[sizeof why->text];
    str_copy(cause, sizeof cause, why->text);
    for (char *p = cause; !str_is_utf8(cause, strlen(cause)) && *p; p++)
        if (*p & 0x80)
            *p = '?';
    Evercopy__V1__ErrorDetail detail = EVERCOPY__V1__ERROR_DETAIL__INIT;
    detail.code = (char *)err_code_name(why->code);
    detail.cause = cause;
    return encode_detail(&detail.base);
}

void status_trailers_fill(struct status_trailers *trailers, const struct err *why,
                          const ProtobufCMessage *detail, bool alone)
{
    if (alone) {
        add(trailers, ":status", "200");
        add(trailers, "content-type", "application/grpc");
    }
    int status = why ? err_grpc_status(why->code ? why->code : ERR_INTERNAL) : 0;
    str_format(trailers->number, sizeof trailers->number, "%d", status);
    add(trailers, "grpc-status", trailers->number);
    if (!why)
        return;
    if (why->code == ERR_UNSUPPORTED)
        add(trailers, "grpc-accept-encoding", "identity");
    trailers->message = encode_message(why->text);
    if (trailers->message)
        add(trailers, "grpc-message", trailers->message);
    trailers->detail = detail ? encode_detail(detail) : NULL;
    if (!trailers->detail)
        trailers->detail = encode_default(why);
    if (trailers->detail)
        add(trailers, "evercopy-error-bin", trailers->detail);
}

void status_trailers_done(struct status_trailers *trailers)
{
    own_free(trailers->message);
    own_free(trailers->detail);
}

void status_reply_init(struct status_reply *reply)
{
    *reply = (struct status_reply){.grpc_status = -1};
}

static int parse_number(const char *text)
{
    uint64_t value;
    return str_to_u64(text, 999, &value) ? (int)value : -1;
}

void status_reply_header(struct status_reply *reply, const char *name, const char *value)
{
    struct err err = {0};
    if (strcmp(name, ":status") == 0)
        reply->http_status = parse_number(value);
    else if (strcmp(name, "content-type") == 0)
        reply->is_grpc = str_starts(value, "application/grpc");
    else if (strcmp(name, "grpc-status") == 0)
        reply->grpc_status = parse_number(value);
    else if (strcmp(name, "grpc-message") == 0)
        frame_percent_decode(reply->message, sizeof reply->message, value);
    else if (strcmp(name, "evercopy-error-bin") == 0 && !reply->detail)
        reply->detail = own_strdup(value, &err); /* without it the status alone must do */
}

static Evercopy__V1__ErrorDetail *parse_detail(const char *text)
{
    struct err err = {0};
    AUTO(mem) uint8_t *bytes = own_alloc(strlen(text) + 3, &err);
    size_t len;
    if (!bytes || !frame_base64_decode(text, bytes, &len))
        return NULL;
    return evercopy__v1__error_detail__unpack(NULL, len, bytes);
}

static bool fail_detailed(const struct status_reply *reply, struct err *err)
{
    Evercopy__V1__ErrorDetail *detail = reply->detail ? parse_detail(reply->detail) : NULL;
    enum err_code by_status = err_from_grpc(reply->grpc_status);
    enum err_code code = detail ? err_from_name(detail->code) : by_status;
    /* A newer agent may know codes that we do not; its status still tells the kind. */
    if (code == ERR_NONE || err_grpc_status(code) != reply->grpc_status)
        code = by_status;
    const char *cause = detail && detail->cause[0] ? detail->cause : reply->message;
    if (!cause[0])
        cause = err_code_text(code);
    const char *next = detail ? detail->next : "";
    err_set(err, code, "%s%s%s", cause, next[0] ? "; hint: " : "", next);
    evercopy__v1__error_detail__free_unpacked(detail, NULL);
    return false;
}

bool status_reply_judge(const struct status_reply *reply, struct err *err)
{
    if (reply->grpc_status == 0)
        return true;
    if (reply->grpc_status > 0)
        return fail_detailed(reply, err);
    if (reply->http_status != 200 || !reply->is_grpc)
        return err_set(err, ERR_UNAVAILABLE, "the other side does not speak gRPC (HTTP status %d)",
                       reply->http_status);
    return err_set(err, ERR_INTERNAL, "the reply ended without a status");
}

void status_reply_done(struct status_reply *reply)
{
    own_free(reply->detail);
    reply->detail = NULL;
}
