/* ONC RPC (RFC 5531): one record's bytes to a call, and the head of its reply. Pure; every byte of
 * a record is a stranger's. */
#pragma once
#include "agent/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RPC_DATA_MAX = 1 << 20,               /* of one READ or WRITE */
    RPC_RECORD_MAX = RPC_DATA_MAX + 8192, /* of a record, marker not counted */
    RPC_HEAD_BYTES = 28,                  /* marker and head of an accepted reply with AUTH_NONE */
    RPC_GROUPS_MAX = 16,
};

enum rpc_accept {
    RPC_SUCCESS,
    RPC_PROG_UNAVAIL,
    RPC_PROG_MISMATCH, /* with the lowest and highest version */
    RPC_PROC_UNAVAIL,
    RPC_GARBAGE_ARGS,
    RPC_SYSTEM_ERR,
    RPC_SILENCE, /* no reply at all: the client sends again */
};

struct rpc_cred {
    bool known; /* AUTH_SYS; else AUTH_NONE, and who asks is anonymous */
    uint32_t uid, gid, groups[RPC_GROUPS_MAX];
    uint32_t group_count;
    const char *machine; /* in the record, not ended by NUL; NULL: unknown */
    uint32_t machine_len;
};

struct rpc_call {
    uint32_t xid, program, version, procedure;
    struct rpc_cred cred;
    uint8_t *args; /* in the record; what follows it is another's */
    size_t args_len;
};

enum rpc_kind {
    RPC_IS_CALL,
    RPC_IS_REFUSED, /* a whole reply was written: RPC_MISMATCH or AUTH_ERROR */
    RPC_IS_NONSENSE /* not a call (a reply, too short): hang up */
};
/* reply: at least RPC_REFUSAL_MAX bytes, marker included. */
enum { RPC_REFUSAL_MAX = 64 };
enum rpc_kind rpc_parse(uint8_t *record, size_t len, struct rpc_call *ret, uint8_t *reply,
                        size_t *ret_reply_len);
/* Marker and head of a reply whose results are results_len bytes behind it; returns its length,
 * RPC_HEAD_BYTES (RPC_PROG_MISMATCH: 8 more, the versions; results_len is then 0). */
size_t rpc_head(uint8_t *to, uint32_t xid, enum rpc_accept accept, uint32_t version_low,
                uint32_t version_high, size_t results_len);
