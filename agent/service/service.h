/* The RPC services: wire struct in, engine call, wire struct out. One file per service.
 *
 * A call comes in on the loop, does its work on the engine's lane (and, where files are read, on
 * the readers'), and goes out on the loop again. */
#pragma once
#include "agent/auth/roles.h"
#include "agent/base/loop.h"
#include "agent/engine/backup.h"
#include "agent/engine/job.h"
#include "agent/rpc/server.h"
#include "agent/service/gate.h"

struct service;
/* engine, world and gate are borrowed and must outlive it. Starts the lease clock on the loop. */
struct service *service_new(struct loop *loop, struct engine *engine, struct world *world,
                            struct gate *gate, struct err *err) MUST;
/* On the engine's lane: calls from now on see this world (counted anew). */
void service_set_world(struct service *service, struct world *world);

/* A wish to read the configuration again; owned by who wishes, done on the loop with err set or
 * what came of it. */
struct service_reload {
    void (*done)(struct service_reload *wish);
    struct config_changes changes;
    struct err err;
};
void service_on_reload(struct service *service, void (*fn)(void *arg, struct service_reload *wish),
                       void *arg);
void service_reload(struct service *service, struct service_reload *wish); /* on the loop */

/* After the server is drained and every call answered; stops the clock. */
void service_stop(struct service *service);
void service_free(struct service *service);
OWN_DEFINE(service, struct service, service_free);

/* How a database stands, as `status` says it, without what only the live area knows. On the
 * engine's lane; for lookout_new. */
bool databases_judge(void *service, const char *database, struct standing *ret, struct err *err)
    MUST;

/* For rpc_server_options. */
const struct rpc_method *service_methods(size_t *ret_count);
/* Also for connections, whole or resumed. */
bool service_admit(void *arg, const struct rpc_peer *peer, struct err *err);
bool service_authorize(void *arg, const struct rpc_peer *peer, const struct rpc_method *method,
                       struct err *err);
