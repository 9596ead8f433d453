/* Stands between a client and a server of RPC over TCP and spoils one record: a call that never
 * arrives, an answer that is lost although the thing was done, an answer with a bit turned. */
#pragma once
#include "agent/base/own.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum rpc_spoil {
    RPC_WHOLE,
    RPC_LOSE_CALL,
    RPC_LOSE_ANSWER,
    RPC_TURN_A_BIT,
    RPC_OTHER_LIFE, /* the first `at` COMMITs answer as after a restart: with another verifier */
};

struct rpc_proxy {
    int listener;
    uint16_t port, server_port;
    pthread_t thread;
    pthread_mutex_t lock;
    enum rpc_spoil how;
    long at, seen; /* records of that direction, counted from rpc_proxy_spoil on */
    long writes;   /* WRITEs since then */
    uint32_t chance;
    _Atomic int open; /* connections */
    _Atomic bool closing;
};

bool rpc_proxy_begin(struct rpc_proxy *p, uint16_t server_port, struct err *err) MUST;
/* The nth record from now; returns how many there were since the last call. */
long rpc_proxy_spoil(struct rpc_proxy *p, enum rpc_spoil how, long at, uint32_t chance);
void rpc_proxy_done(struct rpc_proxy *p);
OWN_DEFINE_INPLACE(rpc_proxy, struct rpc_proxy, rpc_proxy_done);
