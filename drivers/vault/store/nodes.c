/* Decoded nodes: a table of four places a key, the oldest of which makes room. */
#include "drivers/vault/store/nodes.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { SETS = 64, WAYS = 4 }; /* 256 leaves are 512 MiB of records, and 4 MiB of memory */

struct held {
    atomic_uint refs;
    uint64_t family, youngest;
    struct addr addr;
    struct node node; /* what is given out */
};

struct nodes {
    struct set {
        pthread_mutex_t lock;
        struct held *held[WAYS];
        unsigned next;
    } sets[SETS];
};

static struct held *held_of(const struct node *node)
{
    return (struct held *)((uintptr_t)node - offsetof(struct held, node));
}

static void unref(struct held *held)
{
    if (!held || atomic_fetch_sub(&held->refs, 1) > 1)
        return;
    node_done(&held->node);
    own_free(held);
}

void nodes_release(const struct node *node)
{
    if (node)
        unref(held_of(node));
}

uint64_t nodes_youngest(const struct node *node) { return held_of(node)->youngest; }

struct nodes *nodes_new(struct err *err)
{
    struct nodes *nodes = own_alloc(sizeof *nodes, err);
    for (size_t i = 0; nodes && i < SETS; i++)
        pthread_mutex_init(&nodes->sets[i].lock, NULL);
    return nodes;
}

void nodes_free(struct nodes *nodes)
{
    for (size_t i = 0; nodes && i < SETS; i++) {
        for (size_t k = 0; k < WAYS; k++)
            unref(nodes->sets[i].held[k]);
        pthread_mutex_destroy(&nodes->sets[i].lock);
    }
    own_free(nodes);
}

static struct set *set_of(struct nodes *nodes, uint64_t family, struct addr addr)
{
    uint64_t key = (family ^ addr.pack) * UINT64_C(0x9e3779b97f4a7c15);
    key = (key ^ ((uint64_t)addr.frame << 4 | addr.item)) * UINT64_C(0x9e3779b97f4a7c15);
    return &nodes->sets[key >> 58];
}

static bool is_it(const struct held *held, uint64_t family, struct addr addr)
{
    return held && held->family == family && held->addr.pack == addr.pack &&
           held->addr.frame == addr.frame && held->addr.item == addr.item;
}

const struct node *nodes_get(struct nodes *nodes, uint64_t family, struct addr addr)
{
    struct set *set = set_of(nodes, family, addr);
    struct held *found = NULL;
    pthread_mutex_lock(&set->lock);
    for (size_t i = 0; i < WAYS && !found; i++)
        if (is_it(set->held[i], family, addr))
            found = set->held[i];
    if (found)
        atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&set->lock);
    return found ? &found->node : NULL;
}

const struct node *nodes_put(struct nodes *nodes, uint64_t family, struct addr addr,
                             struct node *node, struct err *err)
{
    struct set *set = set_of(nodes, family, addr);
    struct held *held = own_alloc(sizeof *held, err);
    if (!held) {
        node_done(node);
        return NULL;
    }
    held->node = *node;
    held->family = family;
    held->addr = addr;
    for (size_t i = 0; i < NODE_FAN; i++)
        if (node->places[i].kind == PLACE_STORED && node->places[i].birth > held->youngest)
            held->youngest = node->places[i].birth;
    atomic_init(&held->refs, 2); /* the table's, and who asked */
    pthread_mutex_lock(&set->lock);
    struct held **place = &set->held[set->next++ % WAYS];
    struct held *old = *place;
    *place = held;
    pthread_mutex_unlock(&set->lock);
    unref(old);
    return &held->node;
}
