/* Reading: a map's places to records through the cache, whatever generation holds them now. */
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include <string.h>

enum { GENERATION_TRIES = 8, AHEAD_RECORDS = 512, AHEAD_FRAMES = 96 };

bool family_locate(const struct source *source, uint32_t pack, struct cache_pack *ret,
                   struct err *err)
{
    AUTO(table) struct table *current = source->table ? NULL : family_table(source->family);
    const struct table *table = source->table ? source->table : current;
    const struct table_pack *row = table_pack(table, pack);
    if (!row)
        return err_set(err, ERR_NOT_FOUND, "pack %08x: what it held was deleted", pack);
    *ret = (struct cache_pack){family_pack_key(source->family, pack, row->generation), row->bytes};
    return true;
}

/* An item that no row keeps was deleted meanwhile; one that should be there is damage. */
static bool was_deleted(const struct source *source, struct addr addr)
{
    AUTO(table) struct table *table = family_table(source->family);
    const struct table_pack *row = table_pack(table, addr.pack);
    return !row || !(masks_get(row->live, addr.frame) >> addr.item & 1);
}

static bool deleted(struct addr addr, struct err *err)
{
    err_clear(err);
    return err_set(err, ERR_NOT_FOUND, "pack %08x frame %u item %u was deleted", addr.pack,
                   addr.frame, addr.item);
}

struct cache_frame *family_frame(const struct source *source, struct addr addr, struct err *err)
{
    struct err failed = {0};
    struct cache_pack pack = {0}, before = {0};
    for (int i = 0; i < GENERATION_TRIES; i++) { /* it may be thinned while we look */
        if (!family_locate(source, addr.pack, &pack, err))
            return NULL;
        if (i > 0 && pack.key.generation == before.key.generation)
            break;
        err_clear(&failed);
        struct cache_frame *frame =
            cache_get(source->family->store->cache, &pack, addr.frame, &failed);
        if (frame)
            return frame;
        before = pack;
    }
    *err = failed;
    if (err->code == ERR_NOT_FOUND)
        err->code = ERR_CORRUPT; /* a pack that rows name is missing */
    if (err->code == ERR_CORRUPT && !source->table && was_deleted(source, addr))
        deleted(addr, err);
    return NULL;
}

/* ---- nodes and hashes for maps ---- */

static bool source_node(void *arg, struct addr addr, struct bytes *ret, struct err *err)
{
    const struct source *source = arg;
    AUTO(cache_frame) struct cache_frame *frame = family_frame(source, addr, err);
    const uint8_t *item;
    size_t len;
    if (!frame)
        return false;
    ret->len = 0;
    if (cache_item(frame, addr.item, &item, &len, err))
        return bytes_add(ret, item, len, err);
    return !source->table && was_deleted(source, addr) ? deleted(addr, err) : false;
}

static bool source_hash(void *arg, struct addr addr, struct hash *ret, struct err *err)
{
    const struct source *source = arg;
    for (int i = 0;; i++) {
        struct cache_pack pack = {0}, again = {0};
        struct err failed = {0};
        if (!family_locate(source, addr.pack, &pack, err))
            return false;
        if (cache_hash(source->family->store->cache, &pack, addr.frame, addr.item, ret, &failed))
            return true;
        if (i < GENERATION_TRIES && family_locate(source, addr.pack, &again, err) &&
            again.key.generation != pack.key.generation)
            continue;
        *err = failed;
        return !source->table && was_deleted(source, addr) ? deleted(addr, err) : false;
    }
}

struct map_source family_source_of(const struct source *source)
{
    return (struct map_source){
        .node = source_node, .record_hash = source_hash, .arg = (void *)(uintptr_t)source};
}

/* The present rows: the family begins with what a source is made of. */
struct map_source family_source(struct family *family) { return family_source_of(&family->source); }

/* Decoded ones; who reads by other rows than the present ones (an edit, fsck) has none. */
static const struct node *hold_node(void *arg, struct addr addr, int level, uint64_t first_record,
                                    uint64_t birth, struct err *err)
{
    const struct source *source = arg;
    struct family *family = source->family;
    struct map_source plain = family_source_of(source);
    const struct node *held = nodes_get(family->store->nodes, family->id, addr);
    if (held && held->level == level && held->prefix == first_record >> (8 * (level + 1)) &&
        nodes_youngest(held) <= birth)
        return held;
    nodes_release(held); /* read anew, so that it says what is wrong */
    AUTO(mem) struct node *node = own_alloc(sizeof *node, err);
    if (!node || !map_node(&plain, addr, level, first_record, birth, node, err))
        return NULL;
    return nodes_put(family->store->nodes, family->id, addr, node, err);
}

static struct map_source reading_source(struct family *family)
{
    struct map_source source = family_source(family);
    source.hold = hold_node;
    source.let_go = nodes_release;
    return source;
}

/* ---- records ---- */

struct reading {
    struct source source;
    uint64_t first;
    uint8_t *to;
    struct cache_frame *frame; /* the one held */
    struct addr held;
};

static bool read_stored(struct reading *r, uint64_t record, const struct place *place,
                        struct err *err)
{
    struct addr addr = {place->pack, place->frame, place->item};
    const uint8_t *item;
    size_t len;
    if (!r->frame || r->held.pack != addr.pack || r->held.frame != addr.frame) {
        cache_release(TAKE(r->frame));
        r->frame = family_frame(&r->source, addr, err);
        if (!r->frame)
            return err_wrap(err, "record %llu", (unsigned long long)record);
        r->held = addr;
    }
    const struct pack_row *row = cache_row(r->frame);
    bool good = row->kind == FRAME_DATA && row->birth == place->birth;
    if (!good)
        err_set(err, ERR_CORRUPT, "pack %08x frame %u is not what the map says", addr.pack,
                addr.frame);
    good = good && cache_item(r->frame, addr.item, &item, &len, err);
    if (!good && was_deleted(&r->source, addr))
        return deleted(addr, err);
    if (!good || len != RECORD_BYTES)
        return err_wrap(err, "record %llu", (unsigned long long)record);
    memcpy(r->to + (record - r->first) * RECORD_BYTES, item, RECORD_BYTES);
    return true;
}

static bool read_place(void *arg, uint64_t record, const struct place *place,
                       const struct pattern *pattern, struct err *err)
{
    struct reading *r = arg;
    uint8_t *to = r->to + (record - r->first) * RECORD_BYTES;
    if (place->kind == PLACE_STORED)
        return read_stored(r, record, place, err);
    if (place->kind == PLACE_PATTERN && pattern)
        pattern_show(pattern, to);
    else
        memset(to, 0, RECORD_BYTES);
    return true;
}

/* ---- read-ahead: who comes along in order gets what comes next ---- */

struct ahead {
    struct source source;
    struct addr frames[AHEAD_FRAMES]; /* `item`: how many follow each other is counted below */
    size_t count;
};

static bool note_frame(void *arg, uint64_t record, const struct place *place,
                       const struct pattern *pattern, struct err *err)
{
    struct ahead *ahead = arg;
    (void)record, (void)pattern, (void)err;
    struct addr *last = ahead->count > 0 ? &ahead->frames[ahead->count - 1] : NULL;
    if (place->kind != PLACE_STORED ||
        (last && last->pack == place->pack && last->frame == place->frame))
        return true;
    if (ahead->count < AHEAD_FRAMES)
        ahead->frames[ahead->count++] = (struct addr){place->pack, place->frame, 0};
    return true;
}

static void prefetch(struct family *family, const struct root *root, uint64_t first)
{
    struct ahead ahead = {.source = {family, NULL}};
    struct map_source source = reading_source(family);
    struct err err = {0};
    if (!map_walk(&source, root, first, AHEAD_RECORDS, note_frame, &ahead, &err))
        return; /* the read itself will say it */
    for (size_t i = 0, n; i < ahead.count; i += n) {
        struct cache_pack pack;
        for (n = 1; i + n < ahead.count && ahead.frames[i + n].pack == ahead.frames[i].pack &&
                    ahead.frames[i + n].frame == ahead.frames[i].frame + n;)
            n++;
        if (family_locate(&ahead.source, ahead.frames[i].pack, &pack, &err))
            cache_prefetch(family->store->cache, &pack, ahead.frames[i].frame, (uint32_t)n);
    }
}

/* The stream whose next record this is, moved on; what is to be prefetched, or UINT64_MAX. */
static uint64_t follow(struct family *family, const struct root *root, uint64_t first,
                       uint64_t count)
{
    uint64_t from = UINT64_MAX, oldest = UINT64_MAX;
    struct stream *stream = NULL;
    pthread_mutex_lock(&family->look);
    for (size_t i = 0; i < STREAMS && !(stream && stream->next == first); i++) {
        struct stream *s = &family->readers[i];
        bool same = s->used > 0 && s->next == first && s->top.pack == root->addr.pack &&
                    s->top.frame == root->addr.frame && s->top.item == root->addr.item;
        if (same || s->used < oldest) {
            stream = s;
            oldest = same ? 0 : s->used;
        }
        if (same)
            break;
    }
    bool in_order = oldest == 0 && stream->used > 0;
    stream->top = root->addr;
    stream->next = first + count;
    stream->used = ++family->stream_clock;
    if (!in_order)
        stream->ahead = stream->next;
    else if (stream->next + AHEAD_RECORDS / 2 > stream->ahead) {
        from = stream->ahead > stream->next ? stream->ahead : stream->next;
        stream->ahead = from + AHEAD_RECORDS;
    }
    pthread_mutex_unlock(&family->look);
    return from;
}

bool family_read(struct family *family, const struct root *root, uint64_t first, uint64_t count,
                 void *to, struct err *err)
{
    struct reading reading = {.source = {family, NULL}, .first = first, .to = to};
    struct map_source source = reading_source(family);
    if (!root->stored) {
        memset(to, 0, count * RECORD_BYTES);
        return true;
    }
    uint64_t ahead = follow(family, root, first, count);
    if (ahead != UINT64_MAX)
        prefetch(family, root, ahead);
    bool done = map_walk(&source, root, first, count, read_place, &reading, err);
    cache_release(reading.frame);
    return done;
}

/* ---- file tables ---- */

bool family_inodes(struct family *family, const struct root *table, uint64_t record,
                   struct inode ret[RECORD_BYTES / INODE_BYTES], struct err *err)
{
    AUTO(mem) uint8_t *bytes = own_alloc(RECORD_BYTES, err);
    if (!bytes || !family_read(family, table, record, 1, bytes, err))
        return false;
    for (size_t i = 0; i < RECORD_BYTES / INODE_BYTES; i++) {
        uint64_t file = record * (RECORD_BYTES / INODE_BYTES) + i;
        if (!inode_decode(bytes + i * INODE_BYTES, family->store->seed, &ret[i], err))
            return false;
        if (ret[i].kind != INODE_FREE && ret[i].file != file)
            return err_set(err, ERR_CORRUPT, "the slot of file %llu holds file %llu",
                           (unsigned long long)file, (unsigned long long)ret[i].file);
    }
    return true;
}

bool family_inode(struct family *family, const struct root *table, uint64_t file, struct inode *ret,
                  struct err *err)
{
    struct inode slots[RECORD_BYTES / INODE_BYTES];
    const size_t fan = RECORD_BYTES / INODE_BYTES;
    if (!family_inodes(family, table, file / fan, slots, err))
        return false;
    if (slots[file % fan].kind == INODE_FREE)
        return err_set(err, ERR_NOT_FOUND, "there is no file %llu", (unsigned long long)file);
    *ret = slots[file % fan];
    return true;
}

/* ---- everything of a volume ---- */

struct each {
    struct family *family;
    const struct table_volume *volume;
    dead_item *fn;
    void *arg;
    uint64_t *records; /* of the file table: to be looked at; leaves that changed in whole */
    size_t count, capacity;
};

static bool note_record(struct each *each, uint64_t record, struct err *err)
{
    if (each->count > 0 && each->records[each->count - 1] >= record)
        return true;
    if (!own_grow((void **)&each->records, &each->capacity, each->count, sizeof *each->records,
                  err))
        return false;
    each->records[each->count++] = record;
    return true;
}

static bool tell_item(void *arg, int level, uint64_t first_record, struct addr addr, uint64_t birth,
                      struct err *err)
{
    const struct each *each = arg;
    (void)level, (void)first_record;
    return each->fn(each->arg, addr, birth, err);
}

/* Slots may be patterns, which are no items: of a changed leaf every record is looked at. */
static bool tell_table_item(void *arg, int level, uint64_t first_record, struct addr addr,
                            uint64_t birth, struct err *err)
{
    struct each *each = arg;
    for (uint64_t i = 0; level == 0 && i < NODE_FAN; i++)
        if (!note_record(each, first_record + i, err))
            return false;
    return each->fn(each->arg, addr, birth, err);
}

bool family_each_item(void *arg, const struct table_volume *volume, dead_item *fn, void *fn_arg,
                      struct err *err)
{
    struct family *family = arg;
    struct each each = {.family = family, .volume = volume, .fn = fn, .arg = fn_arg};
    struct map_source source = family_source(family);
    const struct root *table = &volume->row.table;
    uint64_t after = volume->row.start;
    struct inode slots[RECORD_BYTES / INODE_BYTES];
    bool good = true;
    if (table->stored)
        good = map_items(&source, table, after, tell_table_item, &each, err);
    AUTO(mem) uint64_t *records = each.records;
    for (size_t i = 0; good && i < each.count; i++) {
        good = family_inodes(family, table, records[i], slots, err);
        for (size_t k = 0; good && k < RECORD_BYTES / INODE_BYTES; k++)
            if (slots[k].kind != INODE_FREE && slots[k].root.stored && slots[k].root.birth > after)
                good = map_items(&source, &slots[k].root, after, tell_item, &each, err);
    }
    return good;
}
