/* How a call ended, as gRPC trailers: status, message, and the typed detail beside them. */
#pragma once
#include "agent/net/h2.h"
#include "agent/rpc/rpc.h"

enum { STATUS_HEADERS_MAX = 8 };

/* Trailers (or a headers-only reply) ready for h2; start with {0}. */
struct status_trailers {
    struct h2_header headers[STATUS_HEADERS_MAX];
    size_t count;
    char number[8];
    char *message, *detail; /* owned */
};
/* Status 0 when why is NULL; else the code's status, its text and the detail, which is built from
 * code and text when NULL. alone: no reply headers were sent yet, so they are put in front. What
 * memory does not suffice for is left out. */
void status_trailers_fill(struct status_trailers *trailers, const struct err *why,
                          const ProtobufCMessage *detail, bool alone);
void status_trailers_done(struct status_trailers *trailers);
OWN_DEFINE_INPLACE(status_trailers, struct status_trailers, status_trailers_done);

/* What a client gathers from headers and trailers; start with {0} and status_reply_init. */
struct status_reply {
    int http_status; /* 0: none yet */
    int grpc_status; /* -1: none yet */
    bool is_grpc;    /* by its content-type */
    char message[512];
    char *detail; /* owned, base64 */
};
void status_reply_init(struct status_reply *reply);
void status_reply_header(struct status_reply *reply, const char *name, const char *value);
/* True for status 0; else err carries the server's code, cause and next step. */
bool status_reply_judge(const struct status_reply *reply, struct err *err) MUST;
void status_reply_done(struct status_reply *reply);
OWN_DEFINE_INPLACE(status_reply, struct status_reply, status_reply_done);
