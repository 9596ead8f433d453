/* Maps read: from records to places, and what is stored below a root. */
#include "drivers/vault/store/map_int.h"

enum { FAN_SHIFT = 8 };

/* Records below a place of a node of that level. */
static uint64_t place_covers(int level) { return (uint64_t)1 << (FAN_SHIFT * level); }

uint8_t map_level(uint64_t size)
{
    uint64_t records = (size >> RECORD_SHIFT) + ((size & (RECORD_BYTES - 1)) != 0);
    uint8_t level = 0;
    while (level < MAP_LEVELS - 1 && records > place_covers(level + 1))
        level++;
    return level;
}

bool map_node(const struct map_source *source, struct addr addr, int level, uint64_t first_record,
              uint64_t birth, struct node *ret, struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    ret->patterns = NULL;
    ret->pattern_count = 0;
    if (!source->node(source->arg, addr, &bytes, err))
        return false;
    if (!node_decode(bytes.data, bytes.len, ret, err))
        return err_wrap(err, "node %u of frame %u of pack %u", addr.item, addr.frame, addr.pack);
    bool young = false;
    for (size_t i = 0; i < NODE_FAN; i++)
        young |= ret->places[i].kind == PLACE_STORED && ret->places[i].birth > birth;
    if (ret->level == level && ret->prefix == first_record >> (8 * (level + 1)) && !young)
        return true;
    unsigned found = ret->level;
    node_done(ret);
    if (young)
        return err_set(err, ERR_CORRUPT, "node %u of frame %u of pack %u is older than its content",
                       addr.item, addr.frame, addr.pack);
    return err_set(err, ERR_CORRUPT, "node %u of frame %u of pack %u is one of level %u elsewhere",
                   addr.item, addr.frame, addr.pack, found);
}

/* A node read on the way down, on the heap: a path of them is more than a lane's stack should hold.
 */
static void node_free(struct node *node)
{
    if (node)
        node_done(node);
    own_free(node);
}
OWN_DEFINE(node_heap, struct node, node_free);

static struct node *node_new(const struct map_source *source, struct addr addr, int level,
                             uint64_t first_record, uint64_t birth, struct err *err)
{
    AUTO(node_heap) struct node *node = own_alloc(sizeof *node, err);
    if (!node || !map_node(source, addr, level, first_record, birth, node, err))
        return NULL;
    return TAKE(node);
}

static struct addr place_addr(const struct place *place)
{
    return (struct addr){place->pack, place->frame, place->item};
}

static bool root_check(const struct root *root, struct err *err)
{
    if (root->level < MAP_LEVELS)
        return true;
    return err_set(err, ERR_CORRUPT, "a map's root has level %u", root->level);
}

/* ---- walking records ---- */

struct walk {
    const struct map_source *source;
    uint64_t first, end;
    map_visit *fn;
    void *arg;
};

static bool walk_holes(const struct walk *walk, uint64_t first, uint64_t end, struct err *err)
{
    static const struct place hole;
    for (uint64_t record = first > walk->first ? first : walk->first;
         record < end && record < walk->end; record++)
        if (!walk->fn(walk->arg, record, &hole, NULL, err))
            return false;
    return true;
}

struct held {
    const struct map_source *source;
    const struct node *node;
};

static void held_done(struct held *held)
{
    if (held->source->hold)
        held->source->let_go(held->node);
    else
        node_free((struct node *)(uintptr_t)held->node); /* node_new made it */
}
OWN_DEFINE_INPLACE(held, struct held, held_done);

static struct held hold(const struct map_source *source, struct addr addr, int level,
                        uint64_t first_record, uint64_t birth, struct err *err)
{
    const struct node *node = source->hold
                                  ? source->hold(source->arg, addr, level, first_record, birth, err)
                                  : node_new(source, addr, level, first_record, birth, err);
    return (struct held){source, node};
}

/* Visits what a node covers, of what is asked for; base is its first record. */
static bool walk_node(const struct walk *walk, struct addr addr, int level, uint64_t birth,
                      uint64_t base, struct err *err)
{
    AUTO(held) struct held held = hold(walk->source, addr, level, base, birth, err);
    const struct node *node = held.node;
    if (!node)
        return false;
    uint64_t covers = place_covers(level);
    size_t i = walk->first > base ? (size_t)((walk->first - base) / covers) : 0;
    for (; i < NODE_FAN && base + i * covers < walk->end; i++) {
        const struct place *place = &node->places[i];
        uint64_t at = base + i * covers;
        bool good;
        if (level == 0)
            good = walk->fn(walk->arg, at, place,
                            place->kind == PLACE_PATTERN ? &node->patterns[place->pattern] : NULL,
                            err);
        else if (place->kind == PLACE_HOLE)
            good = walk_holes(walk, at, at + covers, err);
        else
            good = walk_node(walk, place_addr(place), level - 1, place->birth, at, err);
        if (!good)
            return false;
    }
    return true;
}

bool map_walk(const struct map_source *source, const struct root *root, uint64_t first,
              uint64_t count, map_visit *fn, void *arg, struct err *err)
{
    uint64_t end = count > UINT64_MAX - first ? UINT64_MAX : first + count;
    uint64_t covered = root->stored ? place_covers(root->level + 1) : 0;
    struct walk walk = {.source = source, .first = first, .end = end, .fn = fn, .arg = arg};
    if (!root_check(root, err))
        return false;
    if (first < covered && first < end &&
        !walk_node(&walk, root->addr, root->level, root->birth, 0, err))
        return false;
    return walk_holes(&walk, covered, end, err);
}

/* ---- walking what is stored ---- */

struct items {
    const struct map_source *source;
    uint64_t after;
    map_item *fn;
    void *arg;
};

static bool items_below(const struct items *items, struct addr addr, int level, uint64_t birth,
                        uint64_t base, struct err *err)
{
    if (birth <= items->after)
        return true;
    if (!items->fn(items->arg, level, base, addr, birth, err))
        return false;
    if (level < 0)
        return true;
    AUTO(node_heap) struct node *node = node_new(items->source, addr, level, base, birth, err);
    if (!node)
        return false;
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *place = &node->places[i];
        if (place->kind == PLACE_STORED &&
            !items_below(items, place_addr(place), level - 1, place->birth,
                         base + i * place_covers(level), err))
            return false;
    }
    return true;
}

bool map_items_at(const struct map_source *source, const struct root *root, uint64_t first_record,
                  uint64_t after, map_item *fn, void *arg, struct err *err)
{
    struct items items = {.source = source, .after = after, .fn = fn, .arg = arg};
    if (!root_check(root, err))
        return false;
    return !root->stored ||
           items_below(&items, root->addr, root->level, root->birth, first_record, err);
}

bool map_items(const struct map_source *source, const struct root *root, uint64_t after,
               map_item *fn, void *arg, struct err *err)
{
    return map_items_at(source, root, 0, after, fn, arg, err);
}
