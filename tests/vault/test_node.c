/* Nodes as bytes: pinned by hand, one encoding each, anything else refused; patterns. */
#include "drivers/vault/store/map.h"
#include "tests/lib/random.h"
#include <criterion/criterion.h>
#include <string.h>

#define NO_ERR(call)                                                                               \
    do {                                                                                           \
        struct err no_err = {0};                                                                   \
        struct err *err = &no_err;                                                                 \
        cr_assert(call, "%s: %s", #call, no_err.text);                                             \
    } while (0)

static struct place stored(uint32_t pack, uint64_t birth, uint32_t frame, uint8_t item)
{
    return (struct place){
        .kind = PLACE_STORED, .pack = pack, .birth = birth, .frame = frame, .item = item};
}

static void encodes_to(const struct node *node, const uint8_t *wanted, size_t len)
{
    AUTO(bytes) struct bytes bytes = {0};
    NO_ERR(node_encode(node, &bytes, err));
    cr_assert_eq(bytes.len, len, "%zu bytes", bytes.len);
    cr_assert_arr_eq(bytes.data, wanted, len);
}

static bool same(const struct node *a, const struct node *b)
{
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *x = &a->places[i], *y = &b->places[i];
        if (x->kind != y->kind)
            return false;
        if (x->kind == PLACE_STORED && (x->pack != y->pack || x->birth != y->birth ||
                                        x->frame != y->frame || x->item != y->item))
            return false;
        if (x->kind == PLACE_PATTERN &&
            !pattern_equal(&a->patterns[x->pattern], &b->patterns[y->pattern]))
            return false;
        if (a->level > 0 && x->kind != PLACE_HOLE && !hash_equal(&a->hashes[i], &b->hashes[i]))
            return false;
    }
    return a->level == b->level && a->prefix == b->prefix;
}

/* 20 records of one pack across a frame's end, a hole, a pattern, another pack, the first again
 * further back, holes. */
static const uint8_t leaf_bytes[] = {
    1,    0,    0x85, 0x08,                /* version, level, the 1,030th leaf of its file */
    1,    2,    0,    2,    6, 0xa2,       /* a pattern: 2 bytes at 0 */
    0xfc, 0x3f, 4,    1,    2, 3,    4,    /* and 4 at 8188 */
    2,    0xac, 0x02, 5,    7, 0xe8, 0x07, /* packs 300 of 5, 7 of 1000 */
    0x51, 0,    0x40,                      /* 20 stored from 32 */
    0x04,                                  /* a hole */
    0x06, 0,                               /* the pattern */
    0x05, 1,    10,                        /* one from 5 */
    0x05, 0,    37,                        /* 19 before 52 */
    0xa0, 0x07,                            /* 232 holes */
};

Test(node, a_leaf_is_these_bytes)
{
    AUTO(node) struct node node = {.prefix = 1029}, back;
    struct err alloc = {0};
    node.patterns = own_alloc(2 * sizeof *node.patterns, &alloc);
    node.pattern_count = 2; /* the first is not used */
    node.patterns[0] = (struct pattern){.segments = 1, .at = {{9, 1}}, .bytes = {9}};
    node.patterns[1] =
        (struct pattern){.segments = 2, .at = {{0, 2}, {8188, 4}}, .bytes = {6, 0xa2, 1, 2, 3, 4}};
    for (uint8_t i = 0; i < 20; i++)
        node.places[i] = stored(300, 5, 2 + i / 16, i % 16);
    node.places[21] = (struct place){.kind = PLACE_PATTERN, .pattern = 1};
    node.places[22] = stored(7, 1000, 0, 5);
    node.places[23] = stored(300, 5, 2, 1);
    encodes_to(&node, leaf_bytes, sizeof leaf_bytes);
    NO_ERR(node_decode(leaf_bytes, sizeof leaf_bytes, &back, err));
    cr_assert(same(&node, &back));
    cr_assert_eq(back.pattern_count, 1);
    node_done(&back);
}

Test(node, an_inner_node_is_these_bytes_and_its_childrens_hashes)
{
    struct node node = {.level = 1}, back;
    uint8_t wanted[12 + HASH_BYTES] = {1, 1, 0, 0, 1, 9, 77, 5, 0, 0x24, 0xfc, 7};
    node.places[0] = stored(9, 77, 1, 2);
    hash_bytes("x", 1, &node.hashes[0]);
    memcpy(wanted + 12, node.hashes[0].bytes, HASH_BYTES);
    encodes_to(&node, wanted, sizeof wanted);
    NO_ERR(node_decode(wanted, sizeof wanted, &back, err));
    cr_assert(same(&node, &back));
    wanted[1] = 4; /* a level further up may have two children, and this is the first */
    NO_ERR(node_decode(wanted, sizeof wanted, &back, err));
}

Test(node, of_nothing_but_holes_is_none)
{
    struct node node = {0};
    struct err err = {0};
    AUTO(bytes) struct bytes bytes = {0};
    cr_assert_not(node_encode(&node, &bytes, &err));
    cr_assert_eq(err.code, ERR_INVALID);
}

static const struct hostile {
    const char *what;
    uint8_t len, bytes[24];
} hostile[] = {
    {"nothing", 0, {0}},
    {"another version", 12, {2, 0, 0, 0, 1, 7, 9, 5, 0, 0, 0xfc, 7}},
    {"level 5", 12, {1, 5, 0, 0, 1, 7, 9, 5, 0, 0, 0xfc, 7}},
    {"a leaf too far for a file", 15, {1, 0, 0x80, 0x80, 0x80, 0x10, 0, 1, 7, 9, 5, 0, 0, 0xfc, 7}},
    {"a byte behind", 13, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 0xfc, 7, 0}},
    {"a number longer than needed", 13, {1, 0, 0, 0, 1, 0x87, 0, 9, 5, 0, 0, 0xfc, 7}},
    {"birth 0", 12, {1, 0, 0, 0, 1, 7, 0, 5, 0, 0, 0xfc, 7}},
    {"a source not used", 14, {1, 0, 0, 0, 2, 7, 9, 8, 9, 5, 0, 0, 0xfc, 7}},
    {"sources out of order", 17, {1, 0, 0, 0, 2, 7, 9, 8, 9, 5, 1, 0, 5, 0, 0, 0xf8, 7}},
    {"a source twice", 17, {1, 0, 0, 0, 2, 7, 9, 7, 9, 5, 0, 0, 5, 1, 2, 0xf8, 7}},
    {"a source there is none", 12, {1, 0, 0, 0, 1, 7, 9, 5, 1, 0, 0xfc, 7}},
    {"257 sources", 10, {1, 0, 0, 0, 0x81, 2, 7, 9, 5, 0}},
    {"a run in two", 15, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 5, 0, 0, 0xf8, 7}},
    {"holes in two", 13, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 4, 0xf8, 7}},
    {"a run of none", 13, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 0, 0xfc, 7}},
    {"257 places", 13, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 0x80, 8, 0}},
    {"255 places", 12, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 0xf8, 7}},
    {"kind 3", 12, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 0xff, 7}},
    {"a place before the pack", 12, {1, 0, 0, 0, 1, 7, 9, 5, 0, 1, 0xfc, 7}},
    {"frame 2^20", 15, {1, 0, 0, 0, 1, 7, 9, 5, 0, 0x80, 0x80, 0x80, 0x10, 0xfc, 7}},
    {"only holes", 7, {1, 0, 0, 0, 0, 0x80, 8}},
    {"a pattern not used", 16, {1, 0, 0, 1, 1, 3, 1, 5, 1, 7, 9, 5, 0, 0, 0xfc, 7}},
    {"a pattern of no segments", 10, {1, 0, 0, 1, 0, 0, 6, 0, 0xfc, 7}},
    {"a pattern of five", 10, {1, 0, 0, 1, 5, 0, 6, 0, 0xfc, 7}},
    {"a pattern of an empty segment", 11, {1, 0, 0, 1, 1, 0, 0, 0, 6, 0, 0xfc}},
    {"a segment that ends with 0", 14, {1, 0, 0, 1, 1, 3, 2, 5, 0, 0, 6, 0, 0xfc, 7}},
    {"a segment that begins with 0", 14, {1, 0, 0, 1, 1, 3, 2, 0, 5, 0, 6, 0, 0xfc, 7}},
    {"segments 3 zeros apart", 16, {1, 0, 0, 1, 2, 3, 1, 5, 7, 1, 5, 0, 6, 0, 0xfc, 7}},
    {"a segment over the record's end", 15, {1, 0, 0, 1, 1, 0xff, 0x3f, 2, 5, 5, 0, 6, 0, 0xfc, 7}},
    {"a pattern twice", 20, {1, 0, 0, 2, 1, 3, 1, 5, 1, 3, 1, 5, 0, 6, 0, 6, 1, 0xf8, 7}},
    {"a pattern's run in two", 15, {1, 0, 0, 1, 1, 3, 1, 5, 0, 6, 0, 6, 0, 0xf8, 7}},
    {"a pattern in an inner node", 13, {1, 1, 0, 1, 1, 3, 1, 5, 0, 6, 0, 0xfc, 7}},
    {"an inner node without hashes", 12, {1, 1, 0, 0, 1, 7, 9, 5, 0, 0, 0xfc, 7}},
};

Test(node, what_is_not_the_one_encoding_of_a_node_is_refused)
{
    static const uint8_t good[] = {1, 0, 0, 0, 1, 7, 9, 5, 0, 0, 0xfc, 7};
    static const uint8_t good_pattern[] = {1, 0, 0, 1, 1, 3, 1, 5, 0, 6, 0, 0xfc, 7};
    struct node node;
    NO_ERR(node_decode(good, sizeof good, &node, err));
    NO_ERR(node_decode(good_pattern, sizeof good_pattern, &node, err));
    node_done(&node);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct err err = {0};
        cr_expect_not(node_decode(hostile[i].bytes, hostile[i].len, &node, &err), "%s",
                      hostile[i].what);
        cr_expect_eq(err.code, ERR_CORRUPT, "%s: %s", hostile[i].what, err.text);
        cr_expect(node.patterns == NULL && node.pattern_count == 0);
    }
}

Test(node, a_top_that_reaches_further_than_a_file_may_is_refused)
{
    struct node node = {.level = 4}, back;
    struct err failure = {0};
    AUTO(bytes) struct bytes bytes = {0};
    node.places[1] = stored(9, 77, 1, 2);
    NO_ERR(node_encode(&node, &bytes, err));
    NO_ERR(node_decode(bytes.data, bytes.len, &back, err));
    node.places[2] = node.places[1];
    bytes.len = 0;
    NO_ERR(node_encode(&node, &bytes, err));
    cr_assert_not(node_decode(bytes.data, bytes.len, &back, &failure));
    cr_assert_eq(failure.code, ERR_CORRUPT);
}

/* ---- random nodes ---- */

static void random_pattern(struct rnd *rnd, struct pattern *ret)
{
    uint8_t record[RECORD_BYTES] = {0};
    for (uint64_t i = 0, count = 1 + rnd_below(rnd, 4); i < count; i++)
        record[rnd_below(rnd, RECORD_BYTES)] = (uint8_t)(1 + rnd_below(rnd, 255));
    cr_assert(pattern_of(record, ret));
}

static void random_node(struct rnd *rnd, struct node *ret)
{
    struct err err = {0};
    uint64_t many = rnd_chance(rnd, 50) ? 3 : 200, next = 0;
    ret->level = (uint8_t)rnd_below(rnd, 4);
    ret->prefix = rnd_below(rnd, ((uint64_t)1 << 33) >> (8 * (ret->level + 1)));
    ret->patterns = own_alloc(NODE_FAN * sizeof *ret->patterns, &err);
    ret->pattern_count = ret->level > 0 ? 0 : rnd_below(rnd, NODE_FAN + 1);
    for (size_t i = 0; i < ret->pattern_count; i++)
        random_pattern(rnd, &ret->patterns[i]);
    if (ret->pattern_count > 1) /* twice the same, which is once in the bytes */
        ret->patterns[ret->pattern_count - 1] = ret->patterns[0];
    for (size_t i = 0; i < NODE_FAN; i++) {
        unsigned dice = (unsigned)rnd_below(rnd, 10);
        hash_bytes(&i, sizeof i, &ret->hashes[i]);
        next = rnd_chance(rnd, 60) ? next + 1 : rnd_below(rnd, FRAMES_MAX * 16);
        next = next < FRAMES_MAX * 16 ? next : 0;
        if (dice < 2 && ret->pattern_count > 0)
            ret->places[i] = (struct place){.kind = PLACE_PATTERN,
                                            .pattern = (uint8_t)rnd_below(rnd, ret->pattern_count)};
        else if (dice < 8)
            ret->places[i] =
                stored((uint32_t)rnd_below(rnd, many) * 77777, 1 + rnd_below(rnd, many),
                       (uint32_t)(next / 16), (uint8_t)(next % 16));
        else
            ret->places[i] = (struct place){0};
    }
}

/* Another order of the patterns says the same. */
static void shuffle_patterns(struct node *node)
{
    for (size_t i = 0, last = node->pattern_count; i + 1 < last; i++) {
        struct pattern pattern = node->patterns[i];
        last--;
        node->patterns[i] = node->patterns[last];
        node->patterns[last] = pattern;
    }
    for (size_t i = 0; i < NODE_FAN; i++)
        if (node->places[i].kind == PLACE_PATTERN)
            node->places[i].pattern = (uint8_t)(node->pattern_count - 1 - node->places[i].pattern);
}

/* A flipped bit a byte. */
static void every_flip(struct rnd *rnd, struct bytes *bytes)
{
    for (size_t i = 0; i < bytes->len; i++) {
        AUTO(node) struct node node;
        AUTO(bytes) struct bytes again = {0};
        struct err failure = {0};
        uint8_t bit = (uint8_t)(1u << rnd_below(rnd, 8));
        bytes->data[i] ^= bit;
        if (node_decode(bytes->data, bytes->len, &node, &failure)) {
            NO_ERR(node_encode(&node, &again, err));
            cr_assert(again.len == bytes->len && memcmp(again.data, bytes->data, again.len) == 0,
                      "two encodings of one node, byte %zu", i);
        } else {
            cr_assert_eq(failure.code, ERR_CORRUPT);
        }
        bytes->data[i] ^= bit;
    }
}

Test(node, any_node_comes_back_and_has_one_encoding)
{
    struct rnd rnd = rnd_begin("test_node");
    for (int round = getenv("EVERCOPY_LONG") ? 10000 : 99; round > 0; round--) {
        AUTO(node) struct node node = {0};
        AUTO(node) struct node back = {0};
        AUTO(bytes) struct bytes first = {0};
        AUTO(bytes) struct bytes second = {0};
        random_node(&rnd, &node);
        NO_ERR(node_encode(&node, &first, err));
        cr_assert_leq(first.len, NODE_BYTES_MAX);
        NO_ERR(node_decode(first.data, first.len, &back, err));
        cr_assert(same(&node, &back));
        shuffle_patterns(&node);
        NO_ERR(node_encode(&node, &second, err));
        cr_assert_eq(first.len, second.len);
        cr_assert_arr_eq(first.data, second.data, first.len);
        if (round % 100 == 1)
            every_flip(&rnd, &first);
    }
}

Test(node, the_largest_there_can_be_is_below_the_limit)
{
    struct err failure = {0};
    AUTO(node) struct node node = {.patterns = own_alloc(256 * sizeof(struct pattern), &failure)};
    AUTO(bytes) struct bytes bytes = {0};
    node.pattern_count = NODE_FAN;
    for (size_t i = 0; i < NODE_FAN; i++) {
        uint8_t record[RECORD_BYTES] = {0};
        for (size_t k = 0; k < 4; k++)
            memset(record + 200 + 2000 * k, (int)(i + 1) % 255 + 1, 16);
        record[200] = (uint8_t)(i / 255 + 1);
        cr_assert(pattern_of(record, &node.patterns[i]));
        node.places[i] = (struct place){.kind = PLACE_PATTERN, .pattern = (uint8_t)i};
    }
    NO_ERR(node_encode(&node, &bytes, err));
    cr_assert_gt(bytes.len, 20000);
    cr_assert_leq(bytes.len, NODE_BYTES_MAX);
}

/* ---- patterns ---- */

Test(node, a_record_of_few_bytes_is_a_pattern_and_comes_back)
{
    struct rnd rnd = rnd_begin("patterns");
    for (int round = 0; round < 3000; round++) {
        uint8_t record[RECORD_BYTES] = {0}, shown[RECORD_BYTES];
        struct pattern pattern, again;
        uint64_t count = 1 + rnd_below(&rnd, 70), span = 1 + rnd_below(&rnd, RECORD_BYTES);
        uint64_t first = rnd_below(&rnd, RECORD_BYTES - span + 1);
        for (uint64_t i = 0; i < count; i++)
            record[first + rnd_below(&rnd, span)] = (uint8_t)rnd_next(&rnd);
        if (!pattern_of(record, &pattern))
            continue;
        pattern_show(&pattern, shown);
        cr_assert_arr_eq(record, shown, RECORD_BYTES);
        cr_assert(pattern_of(shown, &again) && pattern_equal(&pattern, &again));
    }
}

Test(node, a_pattern_has_64_bytes_in_4_segments_and_no_more)
{
    uint8_t record[RECORD_BYTES] = {0};
    struct pattern pattern;
    cr_assert_not(pattern_of(record, &pattern), "zeros are a hole");
    memset(record + 8000, 1, 64);
    cr_assert(pattern_of(record, &pattern));
    record[8064] = 1;
    cr_assert_not(pattern_of(record, &pattern));
    memset(record, 0, sizeof record);
    for (size_t i = 0; i < 4; i++)
        record[i * 1000] = record[i * 1000 + 15] = 9;
    cr_assert(pattern_of(record, &pattern));
    cr_assert_eq(pattern.segments, 4);
    record[7000] = 1;
    cr_assert_not(pattern_of(record, &pattern), "a fifth far away");
    memset(record, 0, sizeof record);
    record[0] = record[5] = record[9] = record[RECORD_BYTES - 1] = 7; /* gaps of 4, 3 and many */
    cr_assert(pattern_of(record, &pattern));
    cr_assert_eq(pattern.segments, 3);
    cr_assert_eq(pattern.at[1].offset, 5);
    cr_assert_eq(pattern.at[1].len, 5);
}
