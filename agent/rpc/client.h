/* The gRPC client of shim and tests: blocking, one connection, mutual TLS. */
#pragma once
#include "agent/rpc/rpc.h"

struct rpc_client;

struct rpc_client_options {
    const char *host;
    uint16_t port;
    const char *ca_file, *cert_file, *key_file;
    const char *server_name;     /* expected in the server's certificate; NULL: host */
    uint64_t connect_timeout_ms; /* name, TCP and TLS together; 0: 5000 */
    /* Where a TLS session is kept from one process to the next (0600, atomically); NULL: nowhere.
     * A file that is not ours alone, stale, of another agent or certificate, or damaged is ignored.
     */
    const char *ticket_file;
};

/* Connects lazily at the first call; a lost connection is made anew by the next call. */
struct rpc_client *rpc_client_new(const struct rpc_client_options *options, struct err *err) MUST;
void rpc_client_free(struct rpc_client *client); /* keeps a new session in its file */
OWN_DEFINE(rpc_client, struct rpc_client, rpc_client_free);

/* Asked several times a second while a call waits; true ends the call with CANCELLED. fn NULL:
 * never. Whoever must still tell the agent something afterwards takes it off first. */
void rpc_client_on_wait(struct rpc_client *client, bool (*fn)(void *arg), void *arg);

/* Unary. The reply is freed with protobuf_c_message_free_unpacked(reply, NULL). NULL: err carries
 * the code the server named (ErrorDetail.code), else the one of its gRPC status; UNAVAILABLE when
 * the agent cannot be reached. */
ProtobufCMessage *rpc_client_call(struct rpc_client *client, const char *service,
                                  const char *method, const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                                  struct err *err) MUST;
/* Server stream: each message is handed over and freed afterwards; returning false cancels (then
 * the call fails with CANCELLED). idle_timeout_ms: longest silence. */
bool rpc_client_stream(struct rpc_client *client, const char *service, const char *method,
                       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
                       uint64_t idle_timeout_ms,
                       bool (*each)(void *arg, const ProtobufCMessage *message), void *arg,
                       struct err *err) MUST;

/* Client stream: messages one after the other, then one reply. One that is freed before it was
 * finished is cancelled; always before its client. Other calls may be made on the client meanwhile,
 * on the same thread. */
struct rpc_upload;
struct rpc_upload *rpc_client_upload(struct rpc_client *client, const char *service,
                                     const char *method, const ProtobufCMessageDescriptor *output,
                                     struct err *err) MUST;
/* Hands a copy over; waits while the agent takes nothing, at most wait_ms (0: 60 s). False when the
 * call has failed: err is the agent's word, or UNAVAILABLE for a lost connection; nothing changes
 * it afterwards. What was sent may have been taken or not: ask the agent before going on. */
bool rpc_upload_send(struct rpc_upload *upload, const ProtobufCMessage *message, uint64_t wait_ms,
                     struct err *err) MUST;
/* Without waiting: the agent has answered, or the connection is lost; sending is of no more use and
 * rpc_upload_finish tells which. To be asked now and then while there is nothing to send. */
bool rpc_upload_is_over(struct rpc_upload *upload);
/* No more messages: waits for reply and status, timeout_ms as for rpc_client_call. */
ProtobufCMessage *rpc_upload_finish(struct rpc_upload *upload, uint64_t timeout_ms, struct err *err)
    MUST;
void rpc_upload_free(struct rpc_upload *upload);
OWN_DEFINE(rpc_upload, struct rpc_upload, rpc_upload_free);
