/* Nodes of maps that were read lately, decoded: what each random read would else decode anew. A
 * node never changes and its address is never given to another, so nothing goes out of date. */
#pragma once
#include "drivers/vault/store/map.h"

struct nodes;
struct nodes *nodes_new(struct err *err) MUST;
void nodes_free(struct nodes *nodes); /* nobody holds any */
/* Of that family at that address, held until nodes_release; NULL when it is not here. */
const struct node *nodes_get(struct nodes *nodes, uint64_t family, struct addr addr);
/* Keeps a node that map_node gave; it is taken over, and held as from nodes_get. */
const struct node *nodes_put(struct nodes *nodes, uint64_t family, struct addr addr,
                             struct node *node, struct err *err) MUST;
void nodes_release(const struct node *node); /* NULL is fine */
/* The highest birth of what a held node points to. */
uint64_t nodes_youngest(const struct node *node);
