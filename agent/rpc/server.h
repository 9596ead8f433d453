/* The gRPC server: listens, checks certificates, unpacks, dispatches, answers. Lives on the loop.
 */
#pragma once
#include "agent/base/loop.h"
#include "agent/rpc/rpc.h"

struct rpc_server;
struct rpc_call;

enum rpc_streams { RPC_UNARY, RPC_SERVER_STREAM, RPC_CLIENT_STREAM, RPC_BOTH_STREAM };

/* One method. Unary: the handler answers once with rpc_call_reply or rpc_call_fail. Server stream:
 * any number of rpc_call_send, then rpc_call_end or rpc_call_fail. Client stream: rpc_call_receive
 * first, then one rpc_call_reply or rpc_call_fail, also before the client has sent all. */
struct rpc_method {
    const char *service; /* "evercopy.v1.Backups" */
    const char *name;    /* "BeginBackup" */
    const ProtobufCMessageDescriptor *input, *output;
    unsigned streams; /* enum rpc_streams */
    uint32_t roles;   /* bits the service room defines; handed to the authorizer */
    /* On the loop, with the unpacked request (owned by the call, valid until it is answered). With
     * RPC_CLIENT_STREAM: at the headers, request NULL. */
    void (*handler)(struct rpc_call *call, const ProtobufCMessage *request);
};

struct rpc_server_options {
    const char *listen_host;                    /* "127.0.0.1", "::" */
    uint16_t listen_port;                       /* 0: any free one */
    const char *ca_file, *cert_file, *key_file; /* PEM; key refused when wider than 0600 */
    const struct rpc_method *methods;
    size_t method_count;
    /* Default deny: false refuses the call with err's code before the request is unpacked. */
    bool (*authorize)(void *arg, const struct rpc_peer *peer, const struct rpc_method *method,
                      struct err *err);
    /* Asked for each connection after its handshake, whole or resumed: a deny list, say. False has
     * every call on it answered with err, and the connection closed soon. NULL: all may come. */
    bool (*admit_peer)(void *arg, const struct rpc_peer *peer, struct err *err);
    void *arg;                       /* also rpc_call_arg() */
    struct lane *handshakes;         /* TLS handshakes block there, off the loop */
    size_t connections_max;          /* 0: 1024; beyond it the greediest certificate gives way */
    size_t connections_per_peer_max; /* of one certificate; 0: 64 */
};

struct rpc_server *rpc_server_new(struct loop *loop, const struct rpc_server_options *options,
                                  struct err *err) MUST;
uint16_t rpc_server_port(const struct rpc_server *server);
/* Connections from now on are made with these files; those that are open stay as they are. */
bool rpc_server_use(struct rpc_server *server, const char *ca_file, const char *cert_file,
                    const char *key_file, struct err *err) MUST;
/* Asks admit_peer again about every open connection; those refused end, calls in flight and all. Of
 * itself it is asked again when a certificate has expired.
 * From the loop, also from a handler: they end in the loop's next turn. */
void rpc_server_recheck(struct rpc_server *server);
/* Closes the listener, GOAWAY to everyone, lets calls end, then calls done (at most RPC_DRAIN_MS).
 */
void rpc_server_drain(struct rpc_server *server, void (*done)(void *arg), void *arg);
/* After drain's done. Calls that are still open stay valid until answered (answers go nowhere). */
void rpc_server_free(struct rpc_server *server);

/* Calls: all on the loop thread. A call is answered exactly once; after that it is gone. */
const struct rpc_peer *rpc_call_peer(const struct rpc_call *call);
const struct rpc_method *rpc_call_method(const struct rpc_call *call);
void *rpc_call_arg(const struct rpc_call *call);
/* True once the client went away or the deadline passed; answering is still required. */
bool rpc_call_is_cancelled(const struct rpc_call *call);
/* Called once at cancellation, on the loop; NULL removes it. */
void rpc_call_on_cancel(struct rpc_call *call, void (*fn)(void *arg), void *arg);
/* Called once when the server begins to drain: streams without an end of their own end here. */
void rpc_call_on_drain(struct rpc_call *call, void (*fn)(void *arg), void *arg);
/* Milliseconds left by grpc-timeout; UINT64_MAX when the client set none. */
uint64_t rpc_call_time_left_ms(const struct rpc_call *call);
/* Client stream: hands over the next message, on the loop; it is the call's and valid until
 * rpc_call_next or the answer. NULL: the client has sent all. The message after that comes only
 * once rpc_call_next was called, and until then the client's window stays taken. */
void rpc_call_receive(struct rpc_call *call, void (*fn)(void *arg, const ProtobufCMessage *message),
                      void *arg);
void rpc_call_next(struct rpc_call *call);
void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *reply);
/* gRPC status from err's code; message is err->text; detail header carries code name, phase and
 * hint: `evercopy-error-bin` (evercopy.v1.ErrorDetail packed by the service room; may be NULL). */
void rpc_call_fail(struct rpc_call *call, const struct err *err, const ProtobufCMessage *detail);
/* False when the client is gone. Queues; rpc_call_queued() tells the bytes not yet sent. */
bool rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message);
size_t rpc_call_queued(const struct rpc_call *call);
/* Called on the loop whenever the queue has room again (below 256 KiB). */
void rpc_call_on_room(struct rpc_call *call, void (*fn)(void *arg), void *arg);
void rpc_call_end(struct rpc_call *call);
