/* A configuration read anew while the agent runs: who holds what of the old one, and the swap. The
 * way of a reload: README.md. */
#pragma once
#include "agent/engine/lookout.h"
#include "agent/rpc/server.h"
#include "agent/service/service.h"

struct reload;
struct reload_parts { /* borrowed; world is the one that runs now, counted anew */
    struct loop *loop;
    struct engine *engine;
    struct service *service;
    struct gate *gate;
    struct world *world;
    struct lookout *lookout;
};
struct reload *reload_new(const struct reload_parts *parts, struct err *err) MUST;
/* Once the readers' lane has ended. */
void reload_free(struct reload *reload);
/* NULL until calls are answered. */
void reload_set_server(struct reload *reload, struct rpc_server *server);
/* BUSY while another is under way. On the loop; what comes of it is logged. wish may be NULL. */
void reload_start(struct reload *reload, struct service_reload *wish);
struct world *reload_world(struct reload *reload); /* the one in force; on the loop */
/* The agent's own certificate, key and trust, of this configuration's pki; each path of size. */
struct reload_paths {
    char ca[4096], cert[4096], key[4096];
};
bool reload_paths_of(const struct config_agent *config, struct reload_paths *ret, struct err *err)
    MUST;
void reload_log_level(const struct config_agent *config);
