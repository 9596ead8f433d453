/* What server.c and call.c share: the server, its connections, the people behind them. */
#pragma once
#include "agent/net/h2.h"
#include "agent/rpc/frame.h"
#include "agent/rpc/message.h"
#include "agent/rpc/server.h"
#include "agent/rpc/status.h"
#include <sys/queue.h>

/* Identity outlives its connection as long as calls refer to it. */
struct caller {
    struct rpc_peer peer;
    size_t refs; /* the connection and each call */
};
struct caller *caller_new(const struct tls_peer *from, const char *address, struct err *err) MUST;
void caller_unref(struct caller *caller);
OWN_DEFINE(caller, struct caller, caller_unref);

/* One certificate and how many connections it has. */
struct tenant {
    char fingerprint[65];
    size_t conns, refused; /* refused: of these, kept only to say why */
    LIST_ENTRY(tenant) link;
};

struct conn {
    struct rpc_server *server;
    struct tenant *tenant;
    struct err *refusal; /* why no call is taken here, else NULL */
    uint64_t opened_ms, used_ms, begun;
    struct h2 *h2;
    struct watch *watch;
    int events; /* what the watch is set to */
    struct caller *caller;
    uint64_t heard_ms, heard_bytes;
    bool pinged, again;
    bool doomed; /* ends in the next turn, with its refusal */
    LIST_ENTRY(conn) link;
    TAILQ_ENTRY(conn) kicked;
};

struct rpc_server {
    struct rpc_server_options options; /* texts are not kept */
    struct loop *loop;
    struct listener *listener;
    uint16_t port;
    struct timer *again, *tick;
    LIST_HEAD(conn_list, conn) conns; /* newest first */
    LIST_HEAD(tenant_list, tenant) tenants;
    TAILQ_HEAD(kicked_list, conn) kicked; /* wait for their turn */
    size_t kicked_count, refused_count;
    struct h2_budget budget;
    LIST_HEAD(call_list, rpc_call) calls;
    LIST_HEAD(due_list, rpc_call) due; /* handlers that wait for a message */
    size_t conn_count, call_count;
    size_t closed;          /* connections since memory was trimmed */
    size_t receiving_bytes; /* requests in arrival, all connections together */
    bool draining, again_set;
    uint64_t drain_deadline_ms;
    void (*drained)(void *arg);
    void *drained_arg;
};

/* Has the connection look at its queues soon, not now: handlers must not be re-entered. */
void conn_kick(struct conn *conn);
/* Likewise: intake_deliver soon. */
void call_kick(struct rpc_call *call);

/* call.c: what h2 tells about streams of a server. */
extern const struct h2_handler call_handler;
/* The server goes away; the call stays valid, its answer goes nowhere. */
void call_orphan(struct rpc_call *call);
/* Ends a stream that has not moved for too long. */
void call_tick(struct rpc_call *call, uint64_t now);
void call_drain(struct rpc_call *call);
/* Ends the call for a reason that is not the handler's; which is told, and still owes its answer.
 */
void call_abort(struct rpc_call *call, const struct err *why);

/* The request, or a client stream's beginning, to the handler. */
void call_dispatch(struct rpc_call *call);

/* intake.c: the bytes of a call's request. */
void intake_data(struct rpc_call *call, const uint8_t *bytes, size_t len);
void intake_end(struct rpc_call *call);
/* The next message of a client stream to a handler that waits for one. */
void intake_deliver(struct rpc_call *call);
/* Nothing more is wanted: gives the window back. */
void intake_drop(struct rpc_call *call);
void intake_done(struct rpc_call *call);

enum call_state {
    CALL_RECEIVING, /* headers and, if unary, the request arrive */
    CALL_HANDLED,   /* the handler has it; a client stream goes on arriving */
    CALL_HELD,      /* answered; the status waits until the client has stopped sending */
    CALL_ANSWERED,  /* status sent; the stream is about to end */
};

struct rpc_call {
    struct rpc_server *server; /* NULL once orphaned */
    struct conn *conn;         /* NULL once the stream is gone or no longer ours */
    struct h2_stream *stream;  /* likewise */
    struct caller *caller;
    void *arg;
    const struct rpc_method *method;
    enum call_state state;
    bool is_post, is_grpc, is_encoded, headers_done, ended, headers_sent, cancelled;
    bool owed; /* by the handler: its answer */
    struct timer *timer;
    uint64_t begun_ms, deadline_ms; /* deadline UINT64_MAX: none */
    struct frame_reader in;
    struct str raw; /* of a client stream: arrived behind the message the handler has */
    size_t raw_head, unconsumed;
    size_t counted; /* our part of receiving_bytes */
    size_t discarded;
    struct message_budget budget;
    ProtobufCMessage *request; /* of a client stream: the message the handler has */
    void (*on_message)(void *arg, const ProtobufCMessage *message);
    void *on_message_arg;
    bool wants, due, end_told;
    LIST_ENTRY(rpc_call) due_link;
    uint64_t moved_ms; /* when bytes were last taken, by us or by the client */
    size_t sent_bytes, gone_bytes;
    uint8_t *held_frame; /* the reply that waits with its status */
    size_t held_len;
    struct status_trailers held; /* filled in CALL_HELD */
    struct err refusal;          /* code 0: none */
    int http_status;             /* of a refusal that is not gRPC's, else 0 */
    char path[160];              /* for messages */
    void (*on_cancel)(void *arg);
    void *on_cancel_arg;
    void (*on_drain)(void *arg);
    void *on_drain_arg;
    void (*on_room)(void *arg);
    void *on_room_arg;
    LIST_ENTRY(rpc_call) link;
};
