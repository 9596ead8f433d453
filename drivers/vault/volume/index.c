/* An ordered map copied in O(1): a treap whose nodes are counted and copied when shared. */
#include "drivers/vault/volume/index.h"
#include <string.h>

struct index_node {
    atomic_uint refs;
    struct index_node *left, *right;
    uint64_t a, b, rank;
    struct item *item;
};

void *item_new(size_t bytes, struct err *err)
{
    struct item *item = own_alloc(bytes, err);
    if (!item)
        return NULL;
    atomic_init(&item->refs, 1);
    item->bytes = (uint32_t)bytes;
    return item;
}

void item_unref(void *item)
{
    struct item *it = item;
    if (it && atomic_fetch_sub(&it->refs, 1) == 1)
        own_free(it);
}

static struct item *item_ref(struct item *item)
{
    if (item)
        atomic_fetch_add(&item->refs, 1);
    return item;
}

static struct index_node *node_ref(struct index_node *node)
{
    if (node)
        atomic_fetch_add(&node->refs, 1);
    return node;
}

/* As deep as the treap: some dozens. */
static void node_unref(struct index_node *node)
{
    while (node && atomic_fetch_sub(&node->refs, 1) == 1) {
        struct index_node *right = node->right;
        node_unref(node->left);
        item_unref(node->item);
        own_free(node);
        node = right;
    }
}

struct index index_copy(const struct index *index) { return (struct index){node_ref(index->root)}; }

void index_done(struct index *index)
{
    node_unref(index->root);
    index->root = NULL;
}

static int compare(uint64_t a, uint64_t b, const struct index_node *node)
{
    if (a != node->a)
        return a < node->a ? -1 : 1;
    return b < node->b ? -1 : b > node->b;
}

void *index_get(const struct index *index, uint64_t a, uint64_t b)
{
    const struct index_node *node = index->root;
    int way;
    while (node && (way = compare(a, b, node)) != 0)
        node = way < 0 ? node->left : node->right;
    return node ? node->item : NULL;
}

bool index_after(const struct index *index, uint64_t a, uint64_t b, uint64_t *ret_a,
                 uint64_t *ret_b, void **ret_item)
{
    const struct index_node *best = NULL;
    for (const struct index_node *node = index->root; node;) {
        if (compare(a, b, node) < 0) {
            best = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    if (!best)
        return false;
    *ret_a = best->a;
    *ret_b = best->b;
    if (ret_item)
        *ret_item = best->item;
    return true;
}

/* Ranks come from the keys, so that equal maps are of equal shape. */
static uint64_t rank_of(uint64_t a, uint64_t b)
{
    uint64_t n = a * 0x9e3779b97f4a7c15u ^ (b + 0x632be59bd9b4e019u);
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

/* Makes *at a node that this index alone has. */
static bool own_node(struct index_node **at, struct err *err)
{
    struct index_node *old = *at;
    if (atomic_load(&old->refs) == 1)
        return true;
    struct index_node *copy = own_alloc(sizeof *copy, err);
    if (!copy)
        return false;
    *copy = (struct index_node){.left = node_ref(old->left),
                                .right = node_ref(old->right),
                                .a = old->a,
                                .b = old->b,
                                .rank = old->rank,
                                .item = item_ref(old->item)};
    atomic_init(&copy->refs, 1);
    node_unref(old);
    *at = copy;
    return true;
}

static void lift_left(struct index_node **at)
{
    struct index_node *top = *at, *left = top->left;
    top->left = left->right;
    left->right = top;
    *at = left;
}

static void lift_right(struct index_node **at)
{
    struct index_node *top = *at, *right = top->right;
    top->right = right->left;
    right->left = top;
    *at = right;
}

static bool put(struct index_node **at, struct index_node *fresh, struct err *err)
{
    if (!*at) {
        *at = fresh;
        return true;
    }
    if (!own_node(at, err))
        return false;
    struct index_node *node = *at;
    int way = compare(fresh->a, fresh->b, node);
    if (way == 0) {
        struct item *old = node->item;
        node->item = fresh->item;
        fresh->item = old;
        node_unref(fresh);
        return true;
    }
    if (!put(way < 0 ? &node->left : &node->right, fresh, err))
        return false;
    if (way < 0 && node->left->rank > node->rank)
        lift_left(at);
    else if (way > 0 && node->right->rank > node->rank)
        lift_right(at);
    return true;
}

bool index_put(struct index *index, uint64_t a, uint64_t b, void *item, struct err *err)
{
    struct index_node *fresh = own_alloc(sizeof *fresh, err);
    if (!fresh) {
        item_unref(item);
        return false;
    }
    *fresh = (struct index_node){.a = a, .b = b, .rank = rank_of(a, b), .item = item};
    atomic_init(&fresh->refs, 1);
    if (put(&index->root, fresh, err))
        return true;
    node_unref(fresh);
    return false;
}

/* The way down to a key, every node on it owned; NULL when memory ran out. */
static struct index_node **own_path(struct index *index, uint64_t a, uint64_t b, struct err *err)
{
    struct index_node **at = &index->root;
    for (;;) {
        if (!own_node(at, err))
            return NULL;
        int way = compare(a, b, *at);
        if (way == 0)
            return at;
        at = way < 0 ? &(*at)->left : &(*at)->right;
    }
}

static bool has(const struct index *index, uint64_t a, uint64_t b)
{
    const struct index_node *node = index->root;
    int way;
    while (node && (way = compare(a, b, node)) != 0)
        node = way < 0 ? node->left : node->right;
    return node != NULL;
}

bool index_remove(struct index *index, uint64_t a, uint64_t b, struct err *err)
{
    if (!has(index, a, b))
        return true;
    struct index_node **at = own_path(index, a, b, err);
    if (!at)
        return false;
    /* Sinks to a leaf; whenever memory runs out on the way it is still an ordered tree. */
    for (struct index_node *node = *at; node->left || node->right; node = *at) {
        bool left = node->left && (!node->right || node->left->rank > node->right->rank);
        if (!own_node(left ? &node->left : &node->right, err))
            return false;
        if (left)
            lift_left(at);
        else
            lift_right(at);
        at = left ? &(*at)->right : &(*at)->left;
    }
    node_unref(*at);
    *at = NULL;
    return true;
}

void *index_own(struct index *index, uint64_t a, uint64_t b, struct err *err)
{
    if (!has(index, a, b))
        return NULL;
    struct index_node **at = own_path(index, a, b, err);
    if (!at)
        return NULL;
    struct item *item = (*at)->item;
    if (!item || atomic_load(&item->refs) == 1)
        return item;
    struct item *copy = item_new(item->bytes, err);
    if (!copy)
        return NULL;
    memcpy(copy + 1, item + 1, item->bytes - sizeof *item);
    (*at)->item = copy;
    item_unref(item);
    return copy;
}
