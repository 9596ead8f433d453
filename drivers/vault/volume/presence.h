/* Presence: an open-addressing table from 57-bit keys to numbers, 16 bytes a cell, neighbours near
 * each other. Not locked. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

#define PRESENCE_KEY ((UINT64_C(1) << 57) - 1)
#define PRESENCE_USED (UINT64_C(1) << 57) /* the 6 bits above are the user's */
#define PRESENCE_FLAG(n) (UINT64_C(1) << (58 + (n)))

struct presence_cell {
    uint64_t key; /* with flags */
    uint64_t value;
};
struct presence {
    struct presence_cell *cells;
    size_t capacity, count;
};
void presence_done(struct presence *p);
/* Room for `more` cells, so that the next puts cannot fail. */
bool presence_reserve(struct presence *p, size_t more, struct err *err) MUST;
struct presence_cell *presence_find(const struct presence *p, uint64_t key);
/* The cell of key, made when missing (value 0, no flags): room must have been reserved. Cells move
 * with the next put or remove. */
struct presence_cell *presence_put(struct presence *p, uint64_t key);
void presence_remove(struct presence *p, struct presence_cell *cell);
