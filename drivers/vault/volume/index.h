/* An ordered map from two numbers to counted items, copied in O(1): copies share all that neither
 * has changed since. A copy belongs to one thread at a time; different copies to any. */
#pragma once
#include "agent/base/own.h"
#include <stdatomic.h>
#include <stdint.h>

/* Opens every struct that lies in an index. Plain memory: what it points to is not copied. */
struct item {
    atomic_uint refs;
    uint32_t bytes;
};
/* Zeroed, with one reference. */
void *item_new(size_t bytes, struct err *err) MUST;
void item_unref(void *item);
OWN_DEFINE(item, void, item_unref);

struct index_node;
struct index {
    struct index_node *root; /* {0} is an empty index */
};
struct index index_copy(const struct index *index);
void index_done(struct index *index);
OWN_DEFINE_INPLACE(index, struct index, index_done);

/* Borrowed until the index changes; NULL when there is none. */
void *index_get(const struct index *index, uint64_t a, uint64_t b);
/* The least key above (a, b). False when there is none. */
bool index_after(const struct index *index, uint64_t a, uint64_t b, uint64_t *ret_a,
                 uint64_t *ret_b, void **ret_item);
/* Adds or replaces; takes over item (NULL is fine), also on error. An index that failed is as it
 * was. */
bool index_put(struct index *index, uint64_t a, uint64_t b, void *item, struct err *err) MUST;
/* What is not there is removed already. */
bool index_remove(struct index *index, uint64_t a, uint64_t b, struct err *err) MUST;
/* The item for writing: no other copy sees it change. NULL without an error when there is none. */
void *index_own(struct index *index, uint64_t a, uint64_t b, struct err *err) MUST;
