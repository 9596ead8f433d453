/* The gate: who is let in (role, expiry, deny list, calls per minute), and the audit of what they
 * change or are refused. Lives on the loop. */
#pragma once
#include "agent/auth/roles.h"
#include "agent/auth/scribe.h"

struct gate_options {
    const char *pki, *state;
    uint64_t calls_per_minute; /* of a database host's certificate; 0: no bound */
};
struct gate;
/* Opens deny list and audit. */
struct gate *gate_new(struct loop *loop, const struct gate_options *options, struct err *err) MUST;
/* Writes the line "stop" and what still waits. */
void gate_free(struct gate *gate);
OWN_DEFINE(gate, struct gate, gate_free);
/* No more looking at the deny list by itself; calls that are still on their way are audited. */
void gate_stop(struct gate *gate);

/* For each connection, whole or resumed, and again when the deny list has changed. */
bool gate_admit(struct gate *gate, const struct rpc_peer *peer, struct err *err) MUST;
/* For each call. */
bool gate_authorize(struct gate *gate, const struct rpc_peer *peer, const char *method,
                    uint32_t roles, struct err *err) MUST;
/* Called on the loop, never within a call, when live connections should be admitted again. */
void gate_on_change(struct gate *gate, void (*fn)(void *arg), void *arg);
void gate_set_calls(struct gate *gate, uint64_t calls_per_minute);
/* Reads the deny list now; false when it is broken (the one before stays). */
bool gate_refresh(struct gate *gate, struct err *err) MUST;
struct scribe *gate_scribe(struct gate *gate);
