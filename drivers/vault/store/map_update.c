/* Maps changed: one pass in record order, a node a level in hand, everything else kept by address.
 */
#include "drivers/vault/store/map_int.h"
#include <string.h>

/* What a subtree or record is to the place above it. */
struct hand {
    bool held;
    bool changed;
    bool from_base; /* it lies at origin, unless changed */
    struct root origin;
    uint64_t prefix; /* record >> 8 * (level + 1), of every record below */
    struct node node;
};

struct map_update {
    struct map_source source;
    struct map_sink sink;
    uint64_t birth;
    struct root root; /* of the base; what the top level is as long as it is not held */
    int top;
    uint64_t next; /* the least record that may still be set */
    uint64_t cut;  /* told and not yet done, as changes before it may follow; UINT64_MAX: none */
    struct hand hands[MAP_LEVELS]; /* when a level is held, all above up to the top are */
    bool known[NODE_FAN];          /* record hashes of the leaf in hand, in its hashes */
    bool roomy;                    /* the leaf in hand has room for 256 patterns */
};

static uint64_t prefix_of(uint64_t record, int level) { return record >> (8 * (level + 1)); }
static uint64_t first_of(uint64_t prefix, int level) { return prefix << (8 * (level + 1)); }
static size_t index_of(uint64_t record, int level) { return (record >> (8 * level)) & 255; }

static struct place place_of(struct addr addr, uint64_t birth)
{
    return (struct place){.kind = PLACE_STORED,
                          .pack = addr.pack,
                          .frame = addr.frame,
                          .item = addr.item,
                          .birth = birth};
}

static struct root root_of(const struct node *node, size_t index)
{
    const struct place *place = &node->places[index];
    struct root root = {.level = (uint8_t)(node->level - 1)};
    if (place->kind == PLACE_HOLE) {
        root.hash = *hash_zero(node->level - 1);
        return root;
    }
    root.stored = true;
    root.addr = (struct addr){place->pack, place->frame, place->item};
    root.birth = place->birth;
    root.hash = node->hashes[index];
    return root;
}

/* ---- telling what died ---- */

static bool tell_dead(const struct map_update *u, struct addr addr, uint64_t birth, struct err *err)
{
    return birth <= u->sink.told_after || u->sink.dead(u->sink.arg, addr, birth, err);
}

static bool place_dies(const struct map_update *u, const struct place *place, struct err *err)
{
    struct addr addr = {place->pack, place->frame, place->item};
    return place->kind != PLACE_STORED || tell_dead(u, addr, place->birth, err);
}

static bool item_dies(void *arg, int level, uint64_t first_record, struct addr addr, uint64_t birth,
                      struct err *err)
{
    const struct map_update *u = arg;
    (void)level;
    (void)first_record;
    return u->sink.dead(u->sink.arg, addr, birth, err);
}

/* Places [first, 256) become holes, with all that is below them. */
static bool places_die(struct map_update *u, struct hand *hand, size_t first, struct err *err)
{
    for (size_t i = first; i < NODE_FAN; i++) {
        struct place *place = &hand->node.places[i];
        if (place->kind == PLACE_HOLE)
            continue;
        if (hand->node.level == 0) {
            if (!place_dies(u, place, err))
                return false;
        } else {
            struct root below = root_of(&hand->node, i);
            uint64_t record = first_of(hand->prefix << 8 | i, below.level);
            if (!map_items_at(&u->source, &below, record, u->sink.told_after, item_dies, u, err))
                return false;
        }
        *place = (struct place){0};
        hand->changed = true;
    }
    return true;
}

/* ---- taking nodes in hand ---- */

static void hand_clear(struct hand *hand)
{
    node_done(&hand->node);
    hand->held = hand->changed = hand->from_base = false;
}

/* Takes what is at `origin` in hand. An inner node must be what its parent says it is. */
static bool hand_take(struct map_update *u, int level, const struct root *origin, uint64_t prefix,
                      struct err *err)
{
    struct hand *hand = &u->hands[level];
    hand->prefix = prefix;
    hand->origin = *origin;
    if (level == 0) {
        memset(u->known, 0, sizeof u->known);
        u->roomy = false;
    }
    if (!origin->stored) {
        memset(hand->node.places, 0, sizeof hand->node.places);
        hand->node.level = (uint8_t)level;
        hand->node.prefix = prefix;
        hand->held = true;
        return true;
    }
    if (!map_node(&u->source, origin->addr, level, first_of(prefix, level), origin->birth,
                  &hand->node, err))
        return false;
    hand->held = hand->from_base = true;
    if (level == 0)
        return true;
    for (size_t i = 0; i < NODE_FAN; i++)
        if (hand->node.places[i].kind == PLACE_HOLE)
            hand->node.hashes[i] = *hash_zero(level - 1);
    struct hash hash;
    uint8_t coded = (uint8_t)level;
    hash_pieces((struct format_piece[]){{&coded, 1}, {hand->node.hashes, sizeof hand->node.hashes}},
                2, &hash);
    if (hash_equal(&hash, &origin->hash))
        return true;
    return err_set(err, ERR_CORRUPT, "node %u of frame %u of pack %u has not the hash it should",
                   origin->addr.item, origin->addr.frame, origin->addr.pack);
}

/* A level more: what was the top is the new one's first place, at once or when it is finished. */
static bool raise_top(struct map_update *u, struct err *err)
{
    static const struct root nothing;
    struct hand *hand = &u->hands[u->top + 1];
    if (!hand_take(u, u->top + 1, &nothing, 0, err))
        return false;
    if (u->root.stored && !u->hands[u->top].held) {
        hand->node.places[0] = place_of(u->root.addr, u->root.birth);
        hand->node.hashes[0] = u->root.hash;
    }
    u->top++;
    return true;
}

/* ---- finishing nodes ---- */

static bool all_holes(const struct node *node)
{
    for (size_t i = 0; i < NODE_FAN; i++)
        if (node->places[i].kind != PLACE_HOLE)
            return false;
    return true;
}

/* Hashes of a leaf's records that the changes did not bring. */
static bool leaf_hashes(struct map_update *u, struct node *leaf, struct err *err)
{
    AUTO(mem) struct hash *of_patterns = NULL;
    AUTO(mem) uint8_t *record = NULL;
    bool done[NODE_FAN] = {false};
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *place = &leaf->places[i];
        if (place->kind == PLACE_HOLE) {
            leaf->hashes[i] = *hash_zero(-1);
        } else if (u->known[i]) {
            continue;
        } else if (place->kind == PLACE_STORED) {
            struct addr addr = {place->pack, place->frame, place->item};
            if (!u->source.record_hash(u->source.arg, addr, &leaf->hashes[i], err))
                return false;
        } else {
            if (!record && (!(record = own_alloc(RECORD_BYTES, err)) ||
                            !(of_patterns = own_alloc(sizeof(struct hash) * NODE_FAN, err))))
                return false;
            if (!done[place->pattern]) {
                pattern_show(&leaf->patterns[place->pattern], record);
                hash_bytes(record, RECORD_BYTES, &of_patterns[place->pattern]);
                done[place->pattern] = true;
            }
            leaf->hashes[i] = of_patterns[place->pattern];
        }
    }
    return true;
}

static bool addr_check(struct addr addr, struct err *err)
{
    if (addr.item < FRAME_ITEMS && addr.frame < FRAMES_MAX)
        return true;
    return err_set(err, ERR_INVALID, "address of frame %u, item %u", addr.frame, addr.item);
}

static bool node_write(struct map_update *u, struct hand *hand, struct root *ret, struct err *err)
{
    AUTO(bytes) struct bytes encoded = {0};
    struct node *node = &hand->node;
    if (node->level == 0 && !leaf_hashes(u, node, err))
        return false;
    for (size_t i = 0; node->level > 0 && i < NODE_FAN; i++)
        if (node->places[i].kind == PLACE_HOLE)
            node->hashes[i] = *hash_zero(node->level - 1);
    struct root root = {.level = node->level, .stored = true, .birth = u->birth};
    hash_pieces((struct format_piece[]){{&node->level, 1}, {node->hashes, sizeof node->hashes}}, 2,
                &root.hash);
    if (!node_encode(node, &encoded, err) ||
        !u->sink.node(u->sink.arg, &encoded, &root.addr, err) || !addr_check(root.addr, err))
        return false;
    *ret = root;
    return true;
}

/* Lets go of a level: what it has become is told. */
static bool hand_finish(struct map_update *u, int level, struct root *ret, struct err *err)
{
    struct hand *hand = &u->hands[level];
    struct root root = {.level = (uint8_t)level, .hash = *hash_zero(level)};
    if (hand->from_base && !hand->changed)
        root = hand->origin;
    else if (!all_holes(&hand->node) && !node_write(u, hand, &root, err))
        return false;
    if (hand->from_base && hand->changed &&
        !tell_dead(u, hand->origin.addr, hand->origin.birth, err))
        return false;
    hand_clear(hand);
    *ret = root;
    return true;
}

static bool place_equal(const struct place *a, const struct place *b)
{
    return a->kind == b->kind && a->pack == b->pack && a->frame == b->frame && a->item == b->item &&
           a->birth == b->birth;
}

static bool finish_into_parent(struct map_update *u, int level, struct err *err)
{
    struct hand *parent = &u->hands[level + 1];
    size_t index = u->hands[level].prefix & 255;
    struct place *place = &parent->node.places[index], now = {0};
    struct root root;
    if (!hand_finish(u, level, &root, err))
        return false;
    if (root.stored)
        now = place_of(root.addr, root.birth);
    parent->changed |= !place_equal(place, &now);
    *place = now;
    parent->node.hashes[index] = root.hash;
    return true;
}

/* Everything from the record's leaf up is in hand, everything before it finished. */
static bool seek(struct map_update *u, uint64_t record, struct err *err)
{
    while (prefix_of(record, u->top) > 0)
        if (!raise_top(u, err))
            return false;
    for (int level = 0; level < u->top; level++)
        if (u->hands[level].held && u->hands[level].prefix != prefix_of(record, level) &&
            !finish_into_parent(u, level, err))
            return false;
    for (int level = u->top; level >= 0; level--) {
        if (u->hands[level].held)
            continue;
        struct root origin = u->root;
        if (level < u->top)
            origin = root_of(&u->hands[level + 1].node, index_of(record, level + 1));
        if (!hand_take(u, level, &origin, prefix_of(record, level), err))
            return false;
    }
    return true;
}

/* ---- the interface ---- */

void map_update_abandon(struct map_update *update)
{
    if (!update)
        return;
    for (int level = 0; level < MAP_LEVELS; level++)
        node_done(&update->hands[level].node);
    own_free(update);
}

struct map_update *map_update_begin(const struct map_source *source, const struct map_sink *sink,
                                    const struct root *base, uint64_t birth, struct err *err)
{
    if (base && base->level >= MAP_LEVELS) {
        err_set(err, ERR_CORRUPT, "a map's root has level %u", base->level);
        return NULL;
    }
    if (birth == 0 || (base && base->stored && base->birth > birth)) {
        err_set(err, ERR_INVALID, "an update born at %llu of a map born later",
                (unsigned long long)birth);
        return NULL;
    }
    struct map_update *u = own_alloc(sizeof *u, err);
    if (!u)
        return NULL;
    u->source = *source;
    u->sink = *sink;
    u->birth = birth;
    u->cut = UINT64_MAX;
    if (base && base->stored) {
        u->root = *base;
        u->top = base->level;
    }
    return u;
}

/* The index of a pattern in the leaf in hand, which gets it when it has not. What nothing uses any
 * more gives way: more than 256 may come and go. */
static bool leaf_pattern(struct map_update *u, const struct pattern *pattern, uint8_t *ret,
                         struct err *err)
{
    struct node *leaf = &u->hands[0].node;
    size_t i = 0;
    while (i < leaf->pattern_count && !pattern_equal(&leaf->patterns[i], pattern))
        i++;
    if (!u->roomy) {
        struct pattern *grown = own_realloc(leaf->patterns, NODE_FAN * sizeof *grown, err);
        if (!grown)
            return false;
        leaf->patterns = grown;
        u->roomy = true;
    }
    if (i == NODE_FAN) {
        bool used[NODE_FAN] = {false};
        for (size_t k = 0; k < NODE_FAN; k++)
            if (leaf->places[k].kind == PLACE_PATTERN)
                used[leaf->places[k].pattern] = true;
        for (i = 0; used[i];) /* the place that is being set uses none */
            i++;
    }
    leaf->pattern_count += i == leaf->pattern_count;
    leaf->patterns[i] = *pattern;
    *ret = (uint8_t)i;
    return true;
}

static bool says_the_same(const struct node *leaf, const struct place *place,
                          const struct map_change *change)
{
    if (place->kind != change->kind)
        return false;
    if (place->kind == PLACE_PATTERN)
        return pattern_equal(&leaf->patterns[place->pattern], &change->pattern);
    return place->kind == PLACE_HOLE ||
           (place->pack == change->addr.pack && place->frame == change->addr.frame &&
            place->item == change->addr.item);
}

/* Nothing of the base shows from here on. */
static bool do_cut(struct map_update *u, uint64_t record, struct err *err)
{
    u->cut = UINT64_MAX;
    if (prefix_of(record, u->top) > 0 || !(u->root.stored || u->hands[u->top].held))
        return true;
    if (!seek(u, record, err))
        return false;
    for (int level = u->top; level >= 0; level--)
        if (!places_die(u, &u->hands[level], index_of(record, level) + (level > 0), err))
            return false;
    return true;
}

bool map_update_cut(struct map_update *update, uint64_t record, struct err *err)
{
    if (record < update->next)
        return err_set(err, ERR_INVALID, "a cut at record %llu, but record %llu is set",
                       (unsigned long long)record, (unsigned long long)update->next - 1);
    if (record < update->cut)
        update->cut = record;
    return true;
}

bool map_update_set(struct map_update *update, const struct map_change *change, struct err *err)
{
    struct map_update *u = update;
    uint64_t record = change->record;
    if (record >= (uint64_t)1 << (FILE_MAX_SHIFT - RECORD_SHIFT))
        return err_set(err, ERR_LIMIT, "record %llu of a file", (unsigned long long)record);
    if (record < u->next)
        return err_set(err, ERR_INVALID, "record %llu is set after record %llu",
                       (unsigned long long)record, (unsigned long long)u->next - 1);
    if (change->kind == PLACE_STORED && !addr_check(change->addr, err))
        return false;
    if ((record >= u->cut && !do_cut(u, u->cut, err)) || !seek(u, record, err))
        return false;
    u->next = record + 1;
    struct hand *hand = &u->hands[0];
    size_t index = index_of(record, 0);
    struct place *place = &hand->node.places[index];
    if (says_the_same(&hand->node, place, change))
        return true;
    if (!place_dies(u, place, err))
        return false;
    *place = (struct place){0};
    hand->changed = true;
    hand->node.hashes[index] = change->hash;
    u->known[index] = true;
    if (change->kind == PLACE_STORED)
        *place = place_of(change->addr, u->birth);
    if (change->kind != PLACE_PATTERN)
        return true;
    uint8_t pattern;
    if (!leaf_pattern(u, &change->pattern, &pattern, err))
        return false;
    *place = (struct place){.kind = PLACE_PATTERN, .pattern = pattern};
    return true;
}

/* Finishes every level; those above `want` have but their first place and are not kept. */
static bool settle(struct map_update *u, int want, struct root *ret, struct err *err)
{
    for (int level = 0; level < u->top && level <= want; level++)
        if (u->hands[level].held && !finish_into_parent(u, level, err))
            return false;
    if (!u->hands[u->top].held) {
        *ret = u->root;
        return true;
    }
    if (u->top <= want)
        return hand_finish(u, u->top, ret, err);
    *ret = root_of(&u->hands[want + 1].node, 0);
    for (int level = want + 1; level <= u->top; level++) {
        struct hand *hand = &u->hands[level];
        if (hand->from_base && !tell_dead(u, hand->origin.addr, hand->origin.birth, err))
            return false;
        hand_clear(hand);
    }
    return true;
}

bool map_update_end(struct map_update *update, uint64_t size, struct root *ret_root,
                    struct err *err)
{
    AUTO(map_update) struct map_update *u = update;
    if (size > (uint64_t)1 << FILE_MAX_SHIFT)
        return err_set(err, ERR_LIMIT, "a file of %llu bytes", (unsigned long long)size);
    uint64_t records = (size + RECORD_BYTES - 1) >> RECORD_SHIFT;
    int want = map_level(size);
    if (records < u->next)
        return err_set(err, ERR_INVALID, "a file of %llu records, but record %llu is set",
                       (unsigned long long)records, (unsigned long long)u->next - 1);
    if (!do_cut(u, u->cut < records ? u->cut : records, err))
        return false;
    while (u->top < want && (u->root.stored || u->hands[u->top].held))
        if (!raise_top(u, err))
            return false;
    struct root root;
    if (!settle(u, want, &root, err))
        return false;
    if (!root.stored)
        root = (struct root){.level = (uint8_t)want, .hash = *hash_zero(want)};
    *ret_root = root;
    return true;
}
