/* Connections to the vault, kept between calls; those of an area have its view open. */
#pragma once
#include "drivers/vault/control/wire.h"

struct links;
/* volume NULL: no view. The path and names are copied. */
struct links *links_new(const char *socket, const char *volume, const char *snapshot,
                        const char *clone, struct err *err) MUST;
void links_free(struct links *links);
OWN_DEFINE(links, struct links, links_free);

/* A request and its answer on a free connection, made when none is there; "view" is added for
 * areas. head is taken over. Several threads may call. UNAVAILABLE also where the vault went down
 * before it answered and what it says now, EXISTS or NOT_FOUND, may be the request's own doing. */
bool links_call(struct links *links, json_t *head, const void *data, size_t len,
                struct message *ret, struct err *err) MUST;
/* The same for what must not wait long: answer_ms for each of two tries. */
bool links_call_within(struct links *links, json_t *head, uint64_t answer_ms, struct message *ret,
                       struct err *err) MUST;
/* {"op": op}; NULL with NO_MEMORY. */
json_t *links_ask(const char *op, struct err *err) MUST;
