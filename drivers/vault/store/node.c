/* A map's nodes as bytes and back; records that are little but zeros as patterns. */
#include "drivers/vault/store/map.h"
#include <assert.h>
#include <string.h>

enum { RUN_HOLE = PLACE_HOLE, RUN_STORED = PLACE_STORED, RUN_PATTERN = PLACE_PATTERN };
/* A level 4 covers more than a file may have: its places beyond the second are holes. */
static const uint64_t RECORDS_MAX = (uint64_t)1 << (FILE_MAX_SHIFT - RECORD_SHIFT);
enum { TOP_LEVEL = MAP_LEVELS - 1, TOP_PLACES = 2 };

void node_done(struct node *node)
{
    own_free(node->patterns);
    node->patterns = NULL;
    node->pattern_count = 0;
}

/* ---- patterns ---- */

static size_t pattern_bytes(const struct pattern *pattern)
{
    size_t sum = 0;
    for (unsigned i = 0; i < pattern->segments; i++)
        sum += pattern->at[i].len;
    return sum;
}

bool pattern_equal(const struct pattern *a, const struct pattern *b)
{
    if (a->segments != b->segments)
        return false;
    for (unsigned i = 0; i < a->segments; i++)
        if (a->at[i].offset != b->at[i].offset || a->at[i].len != b->at[i].len)
            return false;
    return memcmp(a->bytes, b->bytes, pattern_bytes(a)) == 0;
}

/* Where a record's bytes that are not zero lie, up to max of them; more are counted no further. */
static size_t nonzero(const uint8_t *record, uint16_t *at, size_t max)
{
    size_t count = 0;
    for (size_t word = 0; word < RECORD_BYTES; word += sizeof(uint64_t)) {
        uint64_t bits;
        memcpy(&bits, record + word, sizeof bits);
        for (size_t i = word; bits != 0 && i < word + sizeof bits; i++) {
            if (record[i] == 0)
                continue;
            if (count == max)
                return count + 1;
            at[count++] = (uint16_t)i;
        }
    }
    return count;
}

/* Marks the longest gaps, of equal ones the first; returns the zeros in them. */
static size_t choose_gaps(const uint16_t *at, size_t count, bool *cut_before)
{
    size_t sum = 0;
    for (unsigned chosen = 0; chosen < PATTERN_SEGMENTS - 1; chosen++) {
        size_t best = 0, longest = PATTERN_GAP - 1;
        for (size_t i = 1; i < count; i++) {
            size_t gap = at[i] - at[i - 1] - 1u;
            if (!cut_before[i] && gap > longest) {
                longest = gap;
                best = i;
            }
        }
        if (best == 0)
            break;
        cut_before[best] = true;
        sum += longest;
    }
    return sum;
}

bool pattern_of(const uint8_t *record, struct pattern *ret)
{
    uint16_t at[PATTERN_BYTES];
    bool cut_before[PATTERN_BYTES] = {false};
    size_t count = nonzero(record, at, PATTERN_BYTES);
    if (count == 0 || count > PATTERN_BYTES)
        return false;
    size_t span = at[count - 1] - at[0] + 1u;
    if (span - choose_gaps(at, count, cut_before) > PATTERN_BYTES)
        return false;
    struct pattern pattern = {0};
    size_t kept = 0;
    for (size_t first = 0, next; first < count; first = next) {
        for (next = first + 1; next < count && !cut_before[next];)
            next++;
        uint8_t len = (uint8_t)(at[next - 1] - at[first] + 1);
        pattern.at[pattern.segments].offset = at[first];
        pattern.at[pattern.segments++].len = len;
        memcpy(pattern.bytes + kept, record + at[first], len);
        kept += len;
    }
    *ret = pattern;
    return true;
}

void pattern_show(const struct pattern *pattern, uint8_t *ret_record)
{
    memset(ret_record, 0, RECORD_BYTES);
    const uint8_t *from = pattern->bytes;
    for (unsigned i = 0; i < pattern->segments; i++) {
        memcpy(ret_record + pattern->at[i].offset, from, pattern->at[i].len);
        from += pattern->at[i].len;
    }
}

/* ---- encoding ---- */

/* What is put together; the largest node fits. */
struct image {
    size_t len;
    uint8_t bytes[NODE_BYTES_MAX];
};

static void put_bytes(struct image *to, const void *bytes, size_t len)
{
    assert(len <= sizeof to->bytes - to->len);
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
}

static void put_number(struct image *to, uint64_t n)
{
    assert(sizeof to->bytes - to->len >= 10);
    for (; n >= 0x80; n >>= 7)
        to->bytes[to->len++] = (uint8_t)(n | 0x80);
    to->bytes[to->len++] = (uint8_t)n;
}

static void put_pattern(struct image *to, const struct pattern *pattern)
{
    const uint8_t *from = pattern->bytes;
    put_number(to, pattern->segments);
    for (unsigned i = 0; i < pattern->segments; i++) {
        put_number(to, pattern->at[i].offset);
        put_number(to, pattern->at[i].len);
        put_bytes(to, from, pattern->at[i].len);
        from += pattern->at[i].len;
    }
}

struct node_source {
    uint32_t pack;
    uint64_t birth;
    uint64_t next; /* the position at which its last run ended */
};

/* What the places refer to, numbered by first use. */
struct coder {
    struct node_source sources[NODE_FAN];
    size_t source_count;
    uint8_t patterns[NODE_FAN]; /* by number: the node's index */
    uint64_t prints[NODE_FAN];  /* by number: found by value, as a node may hold one twice */
    size_t pattern_count;
    uint8_t number[NODE_FAN]; /* by place: of its source or pattern */
};

static uint64_t position(const struct place *place)
{
    return (uint64_t)place->frame * FRAME_ITEMS + place->item;
}

static uint8_t number_source(struct coder *coder, const struct place *place, size_t guess)
{
    const struct node_source *at = &coder->sources[guess];
    if (guess < coder->source_count && at->pack == place->pack && at->birth == place->birth)
        return (uint8_t)guess;
    size_t i = 0;
    while (i < coder->source_count &&
           (coder->sources[i].pack != place->pack || coder->sources[i].birth != place->birth))
        i++;
    if (i == coder->source_count) {
        coder->sources[i] = (struct node_source){.pack = place->pack, .birth = place->birth};
        coder->source_count++;
    }
    return (uint8_t)i;
}

static uint8_t number_pattern(struct coder *coder, const struct node *node, uint8_t index)
{
    const struct pattern *pattern = &node->patterns[index];
    uint64_t print = format_sum(pattern->at[0].offset, pattern->bytes, pattern_bytes(pattern));
    size_t i = 0;
    while (
        i < coder->pattern_count &&
        (coder->prints[i] != print || !pattern_equal(&node->patterns[coder->patterns[i]], pattern)))
        i++;
    if (i == coder->pattern_count) {
        coder->patterns[i] = index;
        coder->prints[i] = print;
        coder->pattern_count++;
    }
    return (uint8_t)i;
}

static bool number_places(struct coder *coder, const struct node *node)
{
    size_t guess = 0, used = 0;
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *place = &node->places[i];
        used += place->kind != PLACE_HOLE;
        if (place->kind == PLACE_STORED)
            coder->number[i] = number_source(coder, place, guess);
        else if (place->kind == PLACE_PATTERN)
            coder->number[i] = number_pattern(coder, node, place->pattern);
        guess = place->kind == PLACE_STORED ? coder->number[i] : guess;
    }
    return used > 0;
}

static size_t run_length(const struct coder *coder, const struct node *node, size_t first)
{
    const struct place *place = &node->places[first];
    size_t i = first + 1;
    for (; i < NODE_FAN && node->places[i].kind == place->kind; i++) {
        if (place->kind == PLACE_HOLE)
            continue;
        if (coder->number[i] != coder->number[first])
            break;
        if (place->kind == PLACE_STORED &&
            position(&node->places[i]) != position(place) + (i - first))
            break;
    }
    return i - first;
}

static void put_run(struct image *to, struct coder *coder, const struct node *node, size_t first,
                    size_t len)
{
    const struct place *place = &node->places[first];
    put_number(to, 4 * len + place->kind);
    if (place->kind == PLACE_HOLE)
        return;
    put_number(to, coder->number[first]);
    if (place->kind == PLACE_PATTERN)
        return;
    struct node_source *source = &coder->sources[coder->number[first]];
    int64_t distance = (int64_t)position(place) - (int64_t)source->next;
    source->next = position(place) + len;
    uint64_t twice = (uint64_t)distance << 1;
    put_number(to, distance < 0 ? ~twice : twice);
}

bool node_encode(const struct node *node, struct bytes *to, struct err *err)
{
    struct coder coder;
    struct image image;
    coder.source_count = coder.pattern_count = image.len = 0;
    if (!number_places(&coder, node))
        return err_set(err, ERR_INVALID, "a node of nothing but holes");
    put_number(&image, VAULT_VERSION);
    put_number(&image, node->level);
    put_number(&image, node->prefix);
    put_number(&image, coder.pattern_count);
    for (size_t i = 0; i < coder.pattern_count; i++)
        put_pattern(&image, &node->patterns[coder.patterns[i]]);
    put_number(&image, coder.source_count);
    for (size_t i = 0; i < coder.source_count; i++) {
        put_number(&image, coder.sources[i].pack);
        put_number(&image, coder.sources[i].birth);
    }
    for (size_t i = 0, len; i < NODE_FAN; i += len) {
        len = run_length(&coder, node, i);
        put_run(&image, &coder, node, i, len);
    }
    for (size_t i = 0; node->level > 0 && i < NODE_FAN; i++)
        if (node->places[i].kind != PLACE_HOLE)
            put_bytes(&image, node->hashes[i].bytes, HASH_BYTES);
    return bytes_add(to, image.bytes, image.len, err);
}

/* ---- decoding ---- */

/* A number in its shortest form, at most max. */
static uint64_t number(struct cursor *c, uint64_t max)
{
    const uint8_t *from = c->at;
    uint64_t n = cursor_varint(c);
    if (n > max || (c->at - from > 1 && c->at[-1] == 0))
        c->bad = true;
    return c->bad ? 0 : n;
}

static void pattern_decode(struct cursor *c, struct pattern *ret)
{
    struct pattern pattern = {0};
    uint64_t segments = number(c, PATTERN_SEGMENTS);
    size_t end = 0, kept = 0;
    for (uint64_t i = 0; !c->bad && i < segments; i++) {
        uint64_t offset = number(c, RECORD_BYTES - 1), len = number(c, PATTERN_BYTES - kept);
        const uint8_t *bytes = cursor_take(c, (size_t)len);
        if (!bytes || len == 0 || offset + len > RECORD_BYTES || bytes[0] == 0 ||
            bytes[len - 1] == 0 || (i > 0 && offset < end + PATTERN_GAP)) {
            c->bad = true;
            return;
        }
        memcpy(pattern.bytes + kept, bytes, (size_t)len);
        pattern.at[i].offset = (uint16_t)offset;
        pattern.at[i].len = (uint8_t)len;
        kept += (size_t)len;
        end = (size_t)(offset + len);
    }
    c->bad |= segments == 0;
    pattern.segments = (uint8_t)segments;
    *ret = pattern;
}

static bool decode_patterns(struct cursor *c, struct node *ret, struct err *err)
{
    uint64_t prints[NODE_FAN];
    uint64_t count = number(c, ret->level == 0 ? NODE_FAN : 0);
    if (c->bad || count == 0)
        return true;
    ret->patterns = own_alloc((size_t)count * sizeof *ret->patterns, err);
    if (!ret->patterns)
        return false;
    ret->pattern_count = (size_t)count;
    for (size_t i = 0; i < count && !c->bad; i++) {
        const struct pattern *pattern = &ret->patterns[i];
        pattern_decode(c, &ret->patterns[i]);
        prints[i] = format_sum(pattern->at[0].offset, pattern->bytes, pattern_bytes(pattern));
        for (size_t k = 0; k < i; k++)
            c->bad |= prints[k] == prints[i] && pattern_equal(&ret->patterns[k], pattern);
    }
    return true;
}

static void decode_sources(struct cursor *c, struct coder *coder)
{
    coder->source_count = (size_t)number(c, NODE_FAN);
    for (size_t i = 0; i < coder->source_count && !c->bad; i++) {
        struct node_source *source = &coder->sources[i];
        *source = (struct node_source){.pack = (uint32_t)number(c, UINT32_MAX),
                                       .birth = number(c, UINT64_MAX)};
        c->bad |= source->birth == 0;
        for (size_t k = 0; k < i; k++)
            c->bad |=
                coder->sources[k].pack == source->pack && coder->sources[k].birth == source->birth;
    }
}

/* What has been used so far: a number not seen before must be the next one. */
struct uses {
    uint64_t sources, patterns;
    unsigned kind;  /* of the run before; one that goes on with it is not canonical */
    uint64_t index; /* its source or pattern */
};

static void stored_run(struct cursor *c, struct coder *coder, struct uses *uses, size_t first,
                       size_t len, struct node *ret)
{
    uint64_t index = number(c, uses->sources);
    uint64_t coded = number(c, UINT64_MAX);
    if (c->bad || index >= coder->source_count) {
        c->bad = true;
        return;
    }
    struct node_source *source = &coder->sources[index];
    uint64_t at = source->next + ((coded >> 1) ^ -(coded & 1)); /* wraps when it goes back */
    bool goes_on = uses->kind == RUN_STORED && uses->index == index && coded == 0;
    if (goes_on || at > (uint64_t)FRAMES_MAX * FRAME_ITEMS - len) {
        c->bad = true;
        return;
    }
    source->next = at + len;
    uses->sources += index == uses->sources;
    uses->index = index;
    for (size_t i = 0; i < len; i++, at++)
        ret->places[first + i] = (struct place){.kind = PLACE_STORED,
                                                .pack = source->pack,
                                                .birth = source->birth,
                                                .frame = (uint32_t)(at / FRAME_ITEMS),
                                                .item = (uint8_t)(at % FRAME_ITEMS)};
}

static void pattern_run(struct cursor *c, struct uses *uses, size_t first, size_t len,
                        struct node *ret)
{
    uint64_t index = number(c, uses->patterns);
    if (c->bad || index >= ret->pattern_count ||
        (uses->kind == RUN_PATTERN && uses->index == index)) {
        c->bad = true;
        return;
    }
    uses->patterns += index == uses->patterns;
    uses->index = index;
    for (size_t i = 0; i < len; i++)
        ret->places[first + i] = (struct place){.kind = PLACE_PATTERN, .pattern = (uint8_t)index};
}

static void decode_runs(struct cursor *c, struct coder *coder, struct node *ret)
{
    struct uses uses = {.kind = UINT8_MAX};
    for (size_t at = 0, len; at < NODE_FAN && !c->bad; at += len) {
        uint64_t head = number(c, 4 * NODE_FAN + 3);
        unsigned kind = head & 3;
        len = (size_t)(head >> 2);
        if (c->bad || len == 0 || len > NODE_FAN - at || (kind == RUN_HOLE && uses.kind == kind)) {
            c->bad = true;
            return;
        }
        if (kind == RUN_HOLE)
            memset(&ret->places[at], 0, len * sizeof *ret->places);
        else if (kind == RUN_STORED)
            stored_run(c, coder, &uses, at, len, ret);
        else if (kind == RUN_PATTERN)
            pattern_run(c, &uses, at, len, ret);
        else
            c->bad = true;
        uses.kind = kind;
    }
    if (uses.sources != coder->source_count || uses.patterns != ret->pattern_count ||
        uses.sources + uses.patterns == 0)
        c->bad = true;
}

static void decode_hashes(struct cursor *c, struct node *ret)
{
    for (size_t i = 0; i < NODE_FAN && !c->bad; i++) {
        if (ret->places[i].kind == PLACE_HOLE)
            continue;
        const uint8_t *hash = cursor_take(c, HASH_BYTES);
        if (hash)
            memcpy(ret->hashes[i].bytes, hash, HASH_BYTES);
        c->bad |= ret->level == TOP_LEVEL && i >= TOP_PLACES;
    }
}

static bool decode(struct cursor *c, struct node *ret, struct err *err)
{
    struct coder coder;
    uint8_t version = cursor_u8(c);
    if (!c->bad && version != VAULT_VERSION)
        return err_set(err, ERR_CORRUPT, "a node has version %u, not %d", version, VAULT_VERSION);
    ret->level = cursor_u8(c);
    if (ret->level > TOP_LEVEL)
        return err_set(err, ERR_CORRUPT, "a node has level %u", ret->level);
    ret->prefix = number(c, (RECORDS_MAX - 1) >> (8 * (ret->level + 1)));
    if (!decode_patterns(c, ret, err))
        return false;
    if (c->bad)
        return err_set(err, ERR_CORRUPT, "a node's patterns make no sense");
    decode_sources(c, &coder);
    if (c->bad)
        return err_set(err, ERR_CORRUPT, "a node's sources make no sense");
    decode_runs(c, &coder, ret);
    if (c->bad)
        return err_set(err, ERR_CORRUPT, "a node's runs make no sense");
    if (ret->level > 0)
        decode_hashes(c, ret);
    if (c->bad || cursor_left(c) > 0)
        return err_set(err, ERR_CORRUPT, "a node has %zu bytes too many or hashes too few",
                       cursor_left(c));
    return true;
}

bool node_decode(const void *data, size_t len, struct node *ret, struct err *err)
{
    ret->patterns = NULL;
    ret->pattern_count = 0;
    if (len > NODE_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, "a node has %zu bytes", len);
    struct cursor c = cursor_over(data, len);
    if (decode(&c, ret, err))
        return true;
    node_done(ret);
    return false;
}
