/* Walks what volume states refer to; a node that two of them share is looked at once. */
#include "drivers/vault/store/survey.h"
#include <stdlib.h>
#include <string.h>

enum { SLOTS_OF_A_RECORD = RECORD_BYTES / INODE_BYTES, SEEN_FIRST = 1024 };

/* A node that was looked at: what it hashes to, and whether something at or below it is damaged. */
struct seen {
    uint64_t key, hash; /* key 0: none */
    bool bad;
};
struct bad_items {
    uint64_t frame; /* pack << 32 | frame */
    uint16_t items;
};
struct survey {
    struct family *family;
    struct table *table;
    struct source rows;
    struct map_source source;
    struct seen *seen;
    size_t seen_count, seen_size; /* size: a power of two */
    struct bad_items *bad;        /* ascending */
    size_t bad_count, bad_capacity;
    uint16_t **marks; /* of each pack of the rows */
    uint64_t marked_beyond, records;
    uint64_t trusted; /* born up to it: not looked at */
};

/* ---- the survey ---- */

static bool make_marks(struct survey *s, struct err *err)
{
    s->marks = own_alloc((s->table->pack_count + 1) * sizeof *s->marks, err);
    for (size_t i = 0; s->marks && i < s->table->pack_count; i++) {
        size_t frames = masks_frames(s->table->packs[i].live);
        s->marks[i] = own_alloc((frames + 1) * sizeof **s->marks, err);
        if (!s->marks[i])
            return false;
    }
    return s->marks != NULL;
}

struct survey *survey_new(struct family *family, struct err *err)
{
    AUTO(survey) struct survey *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    s->family = family;
    s->table = family_table(family);
    s->rows = (struct source){family, s->table};
    s->source = family_source_of(&s->rows);
    s->seen_size = SEEN_FIRST;
    s->seen = own_alloc(s->seen_size * sizeof *s->seen, err);
    return s->seen && make_marks(s, err) ? TAKE(s) : NULL;
}

void survey_free(struct survey *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->marks && i < s->table->pack_count; i++)
        own_free(s->marks[i]);
    own_free(s->marks);
    own_free(s->seen);
    own_free(s->bad);
    table_unref(s->table);
    own_free(s);
}

const struct table *survey_table(const struct survey *s) { return s->table; }

uint64_t survey_marked_beyond(const struct survey *s) { return s->marked_beyond; }

uint64_t survey_records(const struct survey *s) { return s->records; }

const uint16_t *survey_marked(const struct survey *s, size_t nth) { return s->marks[nth]; }

/* ---- items known to be bad ---- */

static size_t bad_place(const struct survey *s, uint64_t frame)
{
    size_t low = 0, high = s->bad_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->bad[middle].frame < frame)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool survey_bad(struct survey *s, uint32_t pack, uint32_t frame, uint16_t items, struct err *err)
{
    uint64_t key = (uint64_t)pack << 32 | frame;
    size_t at = bad_place(s, key);
    if (at < s->bad_count && s->bad[at].frame == key) {
        s->bad[at].items |= items;
        return true;
    }
    if (!own_grow((void **)&s->bad, &s->bad_capacity, s->bad_count, sizeof *s->bad, err))
        return false;
    memmove(s->bad + at + 1, s->bad + at, (s->bad_count++ - at) * sizeof *s->bad);
    s->bad[at] = (struct bad_items){key, items};
    return true;
}

static bool is_bad(const struct survey *s, struct addr addr)
{
    uint64_t key = (uint64_t)addr.pack << 32 | addr.frame;
    size_t at = bad_place(s, key);
    return at < s->bad_count && s->bad[at].frame == key && s->bad[at].items >> addr.item & 1;
}

/* ---- nodes seen ---- */

/* A node of a file table leads further than one of a file: they are kept apart. */
static uint64_t key_of(struct addr addr, int level, bool of_table)
{
    return (uint64_t)1 << 63 | (uint64_t)of_table << 62 | (uint64_t)level << 56 |
           (uint64_t)addr.pack << 24 | (uint64_t)(addr.frame & (FRAMES_MAX - 1)) << 4 | addr.item;
}

static struct seen *seen_slot(struct seen *seen, size_t size, uint64_t key)
{
    size_t at = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & (size - 1);
    while (seen[at].key && seen[at].key != key)
        at = (at + 1) & (size - 1);
    return &seen[at];
}

static bool see(struct survey *s, uint64_t key, uint64_t hash, bool bad, struct err *err)
{
    if ((s->seen_count + 1) * 4 > s->seen_size * 3) {
        size_t size = s->seen_size * 2;
        struct seen *wider = own_alloc(size * sizeof *wider, err);
        if (!wider)
            return false;
        for (size_t i = 0; i < s->seen_size; i++)
            if (s->seen[i].key)
                *seen_slot(wider, size, s->seen[i].key) = s->seen[i];
        own_free(s->seen);
        s->seen = wider;
        s->seen_size = size;
    }
    *seen_slot(s->seen, s->seen_size, key) = (struct seen){key, hash, bad};
    s->seen_count++;
    return true;
}

static uint64_t short_hash(const struct hash *hash)
{
    uint64_t n;
    memcpy(&n, hash->bytes, sizeof n);
    return n;
}

/* ---- looking at a node ---- */

struct look {
    struct node node;
    bool readable; /* else: why */
    bool hashed;   /* every hash that its own is made of was there */
    bool bad[NODE_FAN];
    struct hash hash;
    char why[200];
};
static void look_free(struct look *look)
{
    if (look)
        node_done(&look->node);
    own_free(look);
}
OWN_DEFINE(look, struct look, look_free);

/* Damage, as against what hinders us from finding out. */
static bool is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND || err->code == ERR_IO;
}

static struct addr addr_of(const struct place *place)
{
    return (struct addr){place->pack, place->frame, place->item};
}

static bool hash_records(struct survey *s, struct look *look, struct err *err)
{
    uint8_t record[RECORD_BYTES];
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *place = &look->node.places[i];
        struct hash *hash = &look->node.hashes[i];
        struct err failed = {0};
        *hash = *hash_zero(-1);
        if (place->kind == PLACE_PATTERN) {
            pattern_show(&look->node.patterns[place->pattern], record);
            hash_bytes(record, sizeof record, hash);
        }
        if (place->kind != PLACE_STORED)
            continue;
        s->records++;
        look->bad[i] = is_bad(s, addr_of(place));
        if (s->source.record_hash(s->source.arg, addr_of(place), hash, &failed))
            continue;
        if (!is_damage(&failed)) {
            *err = failed;
            return false;
        }
        look->bad[i] = true;
        look->hashed = false;
    }
    return true;
}

static struct look *look_at(struct survey *s, const struct root *root, uint64_t base,
                            struct err *err)
{
    struct err failed = {0};
    struct addr addr = root->addr;
    uint8_t coded = root->level;
    int level = coded;
    AUTO(look) struct look *look = own_alloc(sizeof *look, err);
    if (!look)
        return NULL;
    if (addr.frame >= FRAMES_MAX || is_bad(s, addr))
        err_set(&failed, ERR_CORRUPT, "node %u of frame %u of pack %08x is damaged", addr.item,
                addr.frame, addr.pack);
    else
        look->readable = map_node(&s->source, addr, level, base, root->birth, &look->node, &failed);
    if (!look->readable) {
        if (!is_damage(&failed)) {
            *err = failed;
            return NULL;
        }
        memcpy(look->why, failed.text, sizeof look->why - 1);
        return TAKE(look);
    }
    look->hashed = true;
    if (level == 0 && !hash_records(s, look, err))
        return NULL;
    for (size_t i = 0; level > 0 && i < NODE_FAN; i++)
        if (look->node.places[i].kind == PLACE_HOLE)
            look->node.hashes[i] = *hash_zero(level - 1);
    hash_pieces((struct format_piece[]){{&coded, 1}, {look->node.hashes, sizeof look->node.hashes}},
                2, &look->hash);
    return TAKE(look);
}

/* The inodes of a record of a file table; false with *ret_there false when they are damaged. */
static bool inodes_of(struct survey *s, const struct look *look, size_t i, uint64_t base,
                      struct inode ret[SLOTS_OF_A_RECORD], bool *ret_there, struct err *err)
{
    const struct place *place = &look->node.places[i];
    uint8_t record[RECORD_BYTES] = {0};
    struct err failed = {0};
    *ret_there = false;
    if (place->kind == PLACE_PATTERN)
        pattern_show(&look->node.patterns[place->pattern], record);
    if (place->kind == PLACE_STORED) {
        AUTO(cache_frame)
        struct cache_frame *frame = family_frame(&s->rows, addr_of(place), &failed);
        const uint8_t *item;
        size_t len = 0;
        if (frame && cache_item(frame, place->item, &item, &len, &failed) && len == sizeof record)
            memcpy(record, item, sizeof record);
        if (len != sizeof record) {
            if (failed.code == ERR_NONE || is_damage(&failed))
                return true;
            *err = failed;
            return false;
        }
    }
    for (size_t k = 0; k < SLOTS_OF_A_RECORD; k++) {
        uint64_t file = (base + i) * SLOTS_OF_A_RECORD + k;
        if (!inode_decode(record + k * INODE_BYTES, s->family->store->seed, &ret[k], &failed) ||
            (ret[k].kind != INODE_FREE && (ret[k].file != file || file == INODE_TABLE)))
            return true;
    }
    *ret_there = true;
    return true;
}

static uint64_t covers(int level) { return (uint64_t)1 << (8 * level); }

/* ---- checking ---- */

static bool check(struct survey *s, const struct root *root, uint64_t base, bool of_table,
                  bool *ret_good, struct err *err);

static struct root root_below(const struct look *look, size_t i, int level)
{
    const struct place *place = &look->node.places[i];
    return (struct root){.level = (uint8_t)(level - 1),
                         .stored = true,
                         .addr = addr_of(place),
                         .birth = place->birth,
                         .hash = look->node.hashes[i]};
}

static bool check_slots(struct survey *s, const struct look *look, uint64_t base, bool *ret_good,
                        struct err *err)
{
    struct inode slots[SLOTS_OF_A_RECORD];
    for (size_t i = 0; i < NODE_FAN; i++) {
        bool there = true;
        if (look->node.places[i].kind == PLACE_HOLE)
            continue;
        if (look->bad[i] || !inodes_of(s, look, i, base, slots, &there, err)) {
            if (!look->bad[i])
                return false;
            there = false;
        }
        *ret_good &= there;
        for (size_t k = 0; there && k < SLOTS_OF_A_RECORD; k++) {
            bool good = true;
            if (slots[k].kind != INODE_FREE && slots[k].root.stored &&
                !check(s, &slots[k].root, 0, false, &good, err))
                return false;
            *ret_good &= good;
        }
    }
    return true;
}

static bool check_below(struct survey *s, const struct look *look, const struct root *root,
                        uint64_t base, bool of_table, bool *ret_good, struct err *err)
{
    int level = root->level;
    for (size_t i = 0; i < NODE_FAN; i++) {
        bool good = !look->bad[i];
        if (level > 0 && look->node.places[i].kind == PLACE_STORED) {
            struct root below = root_below(look, i, level);
            if (!check(s, &below, base + i * covers(level), of_table, &good, err))
                return false;
        }
        *ret_good &= good;
    }
    return level > 0 || !of_table || check_slots(s, look, base, ret_good, err);
}

static bool check(struct survey *s, const struct root *root, uint64_t base, bool of_table,
                  bool *ret_good, struct err *err)
{
    *ret_good = root->birth <= s->trusted;
    if (*ret_good || root->level >= MAP_LEVELS)
        return true;
    uint64_t key = key_of(root->addr, root->level, of_table);
    const struct seen *seen = seen_slot(s->seen, s->seen_size, key);
    if (seen->key) {
        *ret_good = !seen->bad && seen->hash == short_hash(&root->hash);
        return true;
    }
    AUTO(look) struct look *look = look_at(s, root, base, err);
    if (!look)
        return false;
    bool good = look->readable && look->hashed;
    if (look->readable && !check_below(s, look, root, base, of_table, &good, err))
        return false;
    *ret_good = good && hash_equal(&look->hash, &root->hash);
    return see(s, key, short_hash(&look->hash), !good, err);
}

bool survey_check(struct survey *s, const struct root *table, bool *ret_whole, struct err *err)
{
    *ret_whole = true;
    return !table->stored || check(s, table, 0, true, ret_whole, err);
}

/* ---- finding what is damaged ---- */

struct find {
    struct survey *s;
    survey_damage *fn;
    void *arg;
};

static bool find(const struct find *f, const struct root *root, uint64_t file, uint64_t base,
                 struct err *err);

static bool find_slots(const struct find *f, const struct look *look, uint64_t base,
                       struct err *err)
{
    struct inode slots[SLOTS_OF_A_RECORD];
    for (size_t i = 0; i < NODE_FAN; i++) {
        bool there = false;
        if (look->node.places[i].kind == PLACE_HOLE || look->bad[i])
            continue;
        if (!inodes_of(f->s, look, i, base, slots, &there, err))
            return false;
        if (!there && !f->fn(f->arg, INODE_TABLE, base + i, 1, "slots of files are damaged", err))
            return false;
        for (size_t k = 0; there && k < SLOTS_OF_A_RECORD; k++)
            if (slots[k].kind != INODE_FREE && slots[k].root.stored &&
                !find(f, &slots[k].root, slots[k].file, 0, err))
                return false;
    }
    return true;
}

/* Runs of damaged records of a leaf. */
static bool find_records(const struct find *f, const struct look *look, uint64_t file,
                         uint64_t base, struct err *err)
{
    for (size_t i = 0, n; i < NODE_FAN; i += n) {
        for (n = 1; look->bad[i] && i + n < NODE_FAN && look->bad[i + n];)
            n++;
        if (look->bad[i] && !f->fn(f->arg, file, base + i, n, "cannot be read", err))
            return false;
    }
    return file != INODE_TABLE || find_slots(f, look, base, err);
}

static bool find(const struct find *f, const struct root *root, uint64_t file, uint64_t base,
                 struct err *err)
{
    int level = root->level;
    if (level >= MAP_LEVELS)
        return f->fn(f->arg, file, base, 1, "the map's root is none", err);
    const struct seen *seen =
        seen_slot(f->s->seen, f->s->seen_size, key_of(root->addr, level, file == INODE_TABLE));
    if (seen->key && !seen->bad && seen->hash == short_hash(&root->hash))
        return true;
    AUTO(look) struct look *look = look_at(f->s, root, base, err);
    if (!look)
        return false;
    if (!look->readable)
        return f->fn(f->arg, file, base, covers(level + 1), look->why, err);
    if (look->hashed && !hash_equal(&look->hash, &root->hash) &&
        !f->fn(f->arg, file, base, covers(level + 1), "the content is not what was sealed", err))
        return false;
    if (level == 0)
        return find_records(f, look, file, base, err);
    for (size_t i = 0; i < NODE_FAN; i++)
        if (look->node.places[i].kind == PLACE_STORED) {
            struct root below = root_below(look, i, level);
            if (!find(f, &below, file, base + i * covers(level), err))
                return false;
        }
    return true;
}

bool survey_find(struct survey *s, const struct root *table, survey_damage *fn, void *arg,
                 struct err *err)
{
    struct find f = {s, fn, arg};
    return !table->stored || find(&f, table, INODE_TABLE, 0, err);
}

/* ---- marking ---- */

static bool mark_bit(struct survey *s, struct addr addr)
{
    const struct table_pack *pack = table_pack(s->table, addr.pack);
    if (!pack || addr.frame >= masks_frames(pack->live)) {
        s->marked_beyond++;
        return false;
    }
    uint16_t *mask = &s->marks[pack - s->table->packs][addr.frame];
    uint16_t bit = (uint16_t)(1U << addr.item);
    bool fresh = !(*mask & bit);
    *mask |= bit;
    return fresh;
}

bool survey_mark_item(struct survey *s, struct addr addr, struct err *err)
{
    (void)err;
    IGNORE(mark_bit(s, addr)); /* one that is beyond was counted */
    return true;
}

static bool mark(struct survey *s, const struct root *root, uint64_t base, bool of_table,
                 struct err *err)
{
    struct inode slots[SLOTS_OF_A_RECORD];
    if (root->birth <= s->trusted || root->level >= MAP_LEVELS || !mark_bit(s, root->addr))
        return true;
    int level = root->level;
    AUTO(look) struct look *look = own_alloc(sizeof *look, err);
    struct err failed = {0};
    if (!look)
        return false;
    if (!map_node(&s->source, root->addr, level, base, root->birth, &look->node, &failed)) {
        if (is_damage(&failed))
            return true;
        *err = failed;
        return false;
    }
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *place = &look->node.places[i];
        bool there = level == 0 && of_table && place->kind != PLACE_HOLE;
        struct root below = level > 0 ? root_below(look, i, level) : (struct root){0};
        if (level == 0 && place->kind == PLACE_STORED && place->birth > s->trusted)
            IGNORE(mark_bit(s, addr_of(place))); /* known already: nothing lies below a record */
        if (level > 0 && place->kind == PLACE_STORED &&
            !mark(s, &below, base + i * covers(level), of_table, err))
            return false;
        if (there && !inodes_of(s, look, i, base, slots, &there, err))
            return false;
        for (size_t k = 0; there && k < SLOTS_OF_A_RECORD; k++)
            if (slots[k].kind != INODE_FREE && slots[k].root.stored &&
                !mark(s, &slots[k].root, 0, false, err))
                return false;
    }
    return true;
}

bool survey_mark(struct survey *s, const struct root *table, struct err *err)
{
    return !table->stored || mark(s, table, 0, true, err);
}

/* Chunks above the cut are not kept; of a list nothing of which is, the seal frame neither. */
bool survey_mark_deaths(struct survey *s, const struct deaths *deaths, struct err *err)
{
    for (size_t i = 0; i < deaths->count; i++) {
        const struct segment *segment = &deaths->segments[i];
        const struct dead_list *list = &segment->list->list;
        if (!survey_mark_item(s, segment->list->seal, err))
            return false;
        for (size_t k = 0; k < list->count && list->chunks[k].birth_min <= segment->cut; k++)
            if (!survey_mark_item(s, list->chunks[k].addr, err))
                return false;
    }
    return true;
}

bool survey_mark_rows(struct survey *s, struct err *err)
{
    for (size_t i = 0; i < s->table->volume_count; i++) {
        const struct table_volume *volume = &s->table->volumes[i];
        if (!survey_mark(s, &volume->row.table, err) ||
            !survey_mark_deaths(s, &volume->deaths, err) ||
            (volume->sealed && !survey_mark_item(s, volume->seal, err)))
            return false;
    }
    for (size_t i = 0; i < s->table->snapshot_count; i++) {
        const struct table_snapshot *snapshot = &s->table->snapshots[i];
        if (!survey_mark(s, &snapshot->row.table, err) ||
            !survey_mark_deaths(s, &snapshot->deaths, err) ||
            !survey_mark_item(s, snapshot->seal, err))
            return false;
    }
    return true;
}

void survey_trust(struct survey *s, uint64_t sequence) { s->trusted = sequence; }
