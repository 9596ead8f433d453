/* Presence: linear probing; groups of eight keys stay together, so runs of records cost few lines.
 */
#include "drivers/vault/volume/presence.h"

#include <assert.h>

enum { GROUP = 8, CAPACITY_MIN = 64 };

static size_t home(const struct presence *p, uint64_t key)
{
    uint64_t mixed = (key / GROUP) * UINT64_C(0x9e3779b97f4a7c15);
    mixed ^= mixed >> 32;
    return ((size_t)mixed * GROUP + key % GROUP) & (p->capacity - 1);
}

void presence_done(struct presence *p)
{
    own_free(p->cells);
    *p = (struct presence){0};
}

/* At most three quarters are used. */
static bool has_room(const struct presence *p, size_t more)
{
    return p->count + more <= p->capacity / 4 * 3;
}

bool presence_reserve(struct presence *p, size_t more, struct err *err)
{
    if (has_room(p, more))
        return true;
    struct presence wider = {.capacity = p->capacity ? p->capacity : CAPACITY_MIN};
    while (!has_room(&wider, p->count + more))
        wider.capacity *= 2;
    if (!(wider.cells = own_alloc(wider.capacity * sizeof *wider.cells, err)))
        return false;
    for (size_t i = 0; i < p->capacity; i++)
        if (p->cells[i].key)
            *presence_put(&wider, p->cells[i].key & PRESENCE_KEY) = p->cells[i];
    own_free(p->cells);
    *p = wider;
    return true;
}

/* The cell of key, or the free one where it would stand. */
static struct presence_cell *probe(const struct presence *p, uint64_t key)
{
    size_t at = home(p, key);
    while (p->cells[at].key && (p->cells[at].key & PRESENCE_KEY) != key)
        at = (at + 1) & (p->capacity - 1);
    return &p->cells[at];
}

struct presence_cell *presence_find(const struct presence *p, uint64_t key)
{
    if (!p->count)
        return NULL;
    struct presence_cell *cell = probe(p, key);
    return cell->key ? cell : NULL;
}

struct presence_cell *presence_put(struct presence *p, uint64_t key)
{
    struct presence_cell *cell = probe(p, key);
    if (!cell->key) {
        assert(p->count < p->capacity - 1); /* the caller reserved */
        *cell = (struct presence_cell){.key = key | PRESENCE_USED};
        p->count++;
    }
    return cell;
}

/* Those behind move up, so that no probe ends early. */
void presence_remove(struct presence *p, struct presence_cell *cell)
{
    size_t mask = p->capacity - 1;
    size_t hole = (size_t)(cell - p->cells);
    for (size_t at = (hole + 1) & mask; p->cells[at].key; at = (at + 1) & mask) {
        size_t wanted = home(p, p->cells[at].key & PRESENCE_KEY);
        if (((at - wanted) & mask) < ((at - hole) & mask))
            continue; /* its home lies behind the hole */
        p->cells[hole] = p->cells[at];
        hole = at;
    }
    p->cells[hole] = (struct presence_cell){0};
    p->count--;
}
