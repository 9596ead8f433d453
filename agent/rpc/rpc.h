/* gRPC mechanics shared by server and client: limits, status, message plumbing. No meaning here. */
#pragma once
#include "agent/base/own.h"
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

enum {
    RPC_MESSAGE_MAX = 4 << 20, /* bytes of one message on the wire */
    RPC_BUDGET_MAX = 32 << 20, /* bytes a request may take once unpacked */
    RPC_STREAMS_MAX = 128,     /* at once on one connection */
    RPC_HEADER_MAX = 16 << 10,
    RPC_HANDSHAKE_MS = 10000,
    RPC_DRAIN_MS = 30000,
    RPC_IDLE_MS = 300000, /* a stream on which nothing moves that long is ended */
    RPC_CALL_MAX_MS =
        6 * 3600000, /* for a unary call whose client names no deadline, or a later one */
};

/* Who is at the other end, taken from the verified certificate: SAN URIs evercopy:role/<role> and
 * evercopy:db/<db_unique_name> (CONTRACTS section 1). The CN is for people only. */
struct rpc_peer {
    char cn[128];
    char role[32];    /* "" when the certificate names none or two */
    char **databases; /* owned by the connection */
    size_t database_count;
    char serial[48];       /* hex */
    char fingerprint[65];  /* SHA-256 of the certificate, hex */
    char address[64];      /* ip:port, for the log */
    bool resumed;          /* by a ticket; the rest is as sure as after a whole handshake */
    uint64_t not_after_us; /* UTC; checked at each call by the authorizer */
};
/* A copy with databases of its own, for work that outlives the call's turn on the loop. Whatever
 * was copied is released by rpc_peer_done, also after a failure. */
bool rpc_peer_copy(const struct rpc_peer *peer, struct rpc_peer *ret_peer, struct err *err) MUST;
void rpc_peer_done(struct rpc_peer *peer);
