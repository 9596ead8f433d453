/* Commits and tables as bytes: tables of fields, written and read by the same rows. */
#include "drivers/vault/store/commit.h"
#include <inttypes.h>
#include <string.h>
#include <zstd.h>

static const char commit_magic[8] = "ECCOMMIT", table_magic[8] = "ECTABLE1";
enum {
    HEAD_BYTES = 48,
    SUM_BYTES = 8,
    LISTS_MAX = 1 << 16,
    LOCKED_MAX = 1 << 24,
    VOLUMES_MAX = 1 << 14, /* of a family, clones included */
    SNAPSHOTS_MAX = 1 << 18,
};

/* ---- fields ---- */

enum field_type {
    F_U8,
    F_U16,
    F_U32,
    F_U64,  /* all numbers as varints */
    F_BOOL, /* a byte */
    F_TEXT128,
    F_TEXT40,
    F_ID16,
    F_ROOT,
    F_HASH,
    F_ADDR,
    F_ORIGINS, /* the rest: of a volume row or change, by its own function */
    F_PACKS,
    F_LISTS,
    F_BAD,
    F_LOCKED,
    F_FREED,
    F_END,
};
struct field {
    uint8_t type;
    uint16_t offset;
};
#define AT(type, of, member)                                                                       \
    {                                                                                              \
        type, offsetof(of, member)                                                                 \
    }
#define END                                                                                        \
    {                                                                                              \
        F_END, 0                                                                                   \
    }

static const struct field volume_fields[] = {AT(F_U64, struct volume_row, id),
                                             AT(F_BOOL, struct volume_row, clone),
                                             AT(F_TEXT128, struct volume_row, name),
                                             AT(F_U64, struct volume_row, created_us),
                                             AT(F_U64, struct volume_row, start),
                                             AT(F_ORIGINS, struct volume_row, origins),
                                             END};
static const struct field base_fields[] = {AT(F_ROOT, struct volume_row, table),
                                           AT(F_U64, struct volume_row, slots), END};
static const struct field head_fields[] = {AT(F_ROOT, struct volume_row, table),
                                           AT(F_U64, struct volume_row, slots),
                                           AT(F_U64, struct volume_row, sealed), END};
static const struct field named_fields[] = {
    AT(F_TEXT128, struct snapshot_row, name),      AT(F_U64, struct snapshot_row, id),
    AT(F_U64, struct snapshot_row, created_us),    AT(F_HASH, struct snapshot_row, identity),
    AT(F_U64, struct snapshot_row, logical_bytes), END};
static const struct field content_fields[] = {AT(F_ROOT, struct snapshot_row, table),
                                              AT(F_U64, struct snapshot_row, slots), END};
static const struct field place_fields[] = {AT(F_U64, struct snapshot_row, volume),
                                            AT(F_U64, struct snapshot_row, sequence),
                                            AT(F_BOOL, struct snapshot_row, hidden), END};
static const struct field lock_fields[] = {AT(F_U64, struct table_lock, remaining_ms),
                                           AT(F_U64, struct table_lock, boot_ms),
                                           AT(F_TEXT40, struct table_lock, boot_id), END};
static const struct field pack_fields[] = {
    AT(F_U32, struct table_pack, number),          AT(F_U16, struct table_pack, generation),
    AT(F_U64, struct table_pack, bytes),           AT(F_U64, struct table_pack, items),
    AT(F_U64, struct table_pack, locked_until_us), END};
static const struct field chunk_fields[] = {
    AT(F_ADDR, struct dead_chunk, addr), AT(F_U64, struct dead_chunk, birth_min),
    AT(F_U64, struct dead_chunk, birth_max), AT(F_U64, struct dead_chunk, items), END};

static const struct field which_fields[] = {AT(F_U64, struct change, volume),
                                            AT(F_U64, struct change, sequence), END};
static const struct field seal_fields[] = {AT(F_U64, struct change, volume),
                                           AT(F_U64, struct change, sequence),
                                           AT(F_U64, struct change, cut),
                                           AT(F_ADDR, struct change, seal),
                                           AT(F_PACKS, struct change, packs),
                                           AT(F_LISTS, struct change, lists),
                                           AT(F_BOOL, struct change, named),
                                           AT(F_BAD, struct change, bad),
                                           END};
static const struct field locked_fields[] = {
    AT(F_U64, struct change, volume), AT(F_U64, struct change, sequence),
    AT(F_U64, struct change, until_us), AT(F_LOCKED, struct change, locked), END};
static const struct field thin_fields[] = {AT(F_PACKS, struct change, packs), END};
static const struct field freed_fields[] = {AT(F_FREED, struct change, freed), END};
static const struct field owner_fields[] = {AT(F_U32, struct change, epoch),
                                            AT(F_ID16, struct change, box_id), END};
static const struct field nothing[] = {END};

/* The parts of each kind of change: fields of the change, then of the structs within it. */
static const struct {
    const struct field *own, *inner, *inner2;
    size_t at, at2;
} change_parts[CHANGE_KINDS] = {
    [CHANGE_VOLUME_ADDED] = {nothing, volume_fields, base_fields, offsetof(struct change, row),
                             offsetof(struct change, row)},
    [CHANGE_VOLUME_DROPPED] = {which_fields, nothing, nothing, 0, 0},
    [CHANGE_SEALED] = {seal_fields, content_fields, named_fields, offsetof(struct change, snapshot),
                       offsetof(struct change, snapshot)},
    [CHANGE_SNAPSHOT_DROPPED] = {which_fields, nothing, nothing, 0, 0},
    [CHANGE_LOCKED] = {locked_fields, lock_fields, nothing, offsetof(struct change, lock), 0},
    [CHANGE_THINNED] = {thin_fields, nothing, nothing, 0, 0},
    [CHANGE_FREED] = {freed_fields, nothing, nothing, 0, 0},
    [CHANGE_OWNER] = {owner_fields, nothing, nothing, 0, 0},
    [CHANGE_HIDDEN] = {which_fields, nothing, nothing, 0, 0},
};

static bool encode_fields(const struct field *fields, const void *base, struct bytes *to,
                          struct err *err);
static bool decode_fields(const struct field *fields, void *base, struct cursor *from,
                          struct err *err);

static bool wrong(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "rows of a family: %s", what);
}

/* ---- parts of parts ---- */

static bool encode_root(const struct root *root, struct bytes *to, struct err *err)
{
    return bytes_u8(to, root->level, err) && bytes_u8(to, root->stored, err) &&
           bytes_u8(to, root->addr.item, err) && bytes_varint(to, root->addr.pack, err) &&
           bytes_varint(to, root->addr.frame, err) && bytes_varint(to, root->birth, err) &&
           bytes_add(to, root->hash.bytes, HASH_BYTES, err);
}

static uint32_t decode_u32(struct cursor *from)
{
    uint64_t n = cursor_varint(from);
    from->bad |= n > UINT32_MAX;
    return (uint32_t)n;
}

static bool decode_bool(struct cursor *from)
{
    uint8_t n = cursor_u8(from);
    from->bad |= n > 1;
    return n == 1;
}

static void decode_root(struct root *root, struct cursor *from)
{
    root->level = cursor_u8(from);
    root->stored = decode_bool(from);
    root->addr.item = cursor_u8(from);
    root->addr.pack = decode_u32(from);
    root->addr.frame = decode_u32(from);
    root->birth = cursor_varint(from);
    const uint8_t *hash = cursor_take(from, HASH_BYTES);
    if (hash)
        memcpy(root->hash.bytes, hash, HASH_BYTES);
    from->bad |= root->level > 4 || root->addr.item >= FRAME_ITEMS;
}

static bool encode_list(const struct dead_list *list, struct bytes *to, struct err *err)
{
    if (!bytes_varint(to, list->count, err))
        return false;
    for (size_t i = 0; i < list->count; i++)
        if (!encode_fields(chunk_fields, &list->chunks[i], to, err))
            return false;
    return true;
}

static bool decode_list(struct dead_list *list, struct cursor *from, struct err *err)
{
    uint64_t count = cursor_varint(from);
    for (uint64_t i = 0; i < count && !from->bad; i++) {
        if (!own_grow((void **)&list->chunks, &list->capacity, list->count, sizeof *list->chunks,
                      err))
            return false;
        struct dead_chunk *chunk = &list->chunks[list->count];
        *chunk = (struct dead_chunk){0};
        if (!decode_fields(chunk_fields, chunk, from, err))
            return false;
        if (chunk->birth_min > chunk->birth_max || chunk->items == 0 || chunk->items > UINT32_MAX ||
            (list->count > 0 && chunk->birth_min < chunk[-1].birth_max))
            return wrong(err, "a dead list is out of order");
        list->items += chunk->items;
        list->count++;
    }
    return true;
}

static bool encode_pack(const struct table_pack *pack, struct bytes *to, struct err *err)
{
    if (!encode_fields(pack_fields, pack, to, err) || !bytes_u8(to, pack->live != NULL, err))
        return false;
    return !pack->live || masks_encode(pack->live, to, err);
}

static bool decode_pack(struct table_pack *pack, struct cursor *from, struct err *err)
{
    if (!decode_fields(pack_fields, pack, from, err))
        return false;
    if (decode_bool(from) && !(pack->live = masks_decode(from, err)))
        return false;
    if (pack->live && masks_items(pack->live) > pack->items)
        return wrong(err, "a pack has more live items than items");
    return true;
}

/* ---- arrays of a change or row ---- */

static size_t array_count(uint8_t type, const void *base)
{
    const struct change *change = base;
    switch (type) {
    case F_ORIGINS:
        return ((const struct volume_row *)base)->origin_count;
    case F_PACKS:
        return change->pack_count;
    case F_LISTS:
        return change->list_count;
    case F_BAD:
        return change->bad_count;
    case F_LOCKED:
        return change->locked_count;
    default:
        return change->freed_count;
    }
}

static bool encode_element(uint8_t type, const void *base, size_t i, struct bytes *to,
                           struct err *err)
{
    const struct volume_row *row = base;
    const struct change *change = base;
    switch (type) {
    case F_ORIGINS:
        return bytes_varint(to, row->origins[i].volume, err) &&
               bytes_varint(to, row->origins[i].sequence, err);
    case F_PACKS:
        return encode_pack(&change->packs[i], to, err);
    case F_LISTS:
        return encode_list(&change->lists[i], to, err);
    case F_BAD:
        return bytes_varint(to, change->bad[i].file, err) &&
               bytes_varint(to, change->bad[i].record, err);
    case F_LOCKED:
        return bytes_varint(to, change->locked[i], err);
    default:
        return bytes_varint(to, change->freed[i].pack, err) &&
               bytes_u8(to, change->freed[i].gone != NULL, err) &&
               (!change->freed[i].gone || masks_encode(change->freed[i].gone, to, err));
    }
}

static bool encode_array(uint8_t type, const void *base, struct bytes *to, struct err *err)
{
    size_t count = array_count(type, base);
    bool good = bytes_varint(to, count, err);
    for (size_t i = 0; i < count && good; i++)
        good = encode_element(type, base, i, to, err);
    return good;
}

static bool decode_origins(struct volume_row *row, uint64_t count, struct cursor *from,
                           struct err *err)
{
    if (count > sizeof row->origins / sizeof *row->origins)
        return wrong(err, "a volume has too many origins");
    for (row->origin_count = 0; row->origin_count < count; row->origin_count++) {
        row->origins[row->origin_count].volume = cursor_varint(from);
        row->origins[row->origin_count].sequence = cursor_varint(from);
    }
    return true;
}

static bool decode_packs(struct change *change, uint64_t count, struct cursor *from,
                         struct err *err)
{
    for (uint64_t i = 0; i < count && !from->bad; i++) {
        if (!own_grow((void **)&change->packs, &change->pack_capacity, change->pack_count,
                      sizeof *change->packs, err))
            return false;
        struct table_pack *pack = &change->packs[change->pack_count++];
        *pack = (struct table_pack){0};
        if (!decode_pack(pack, from, err))
            return false;
    }
    return true;
}

static bool decode_lists(struct change *change, uint64_t count, struct cursor *from,
                         struct err *err)
{
    if (count > LISTS_MAX || count > cursor_left(from))
        return wrong(err, "too many dead lists");
    change->lists = own_alloc((count + 1) * sizeof *change->lists, err);
    for (; change->lists && change->list_count < count && !from->bad; change->list_count++)
        if (!decode_list(&change->lists[change->list_count], from, err)) {
            change->list_count++; /* its chunks so far are freed with the change */
            return false;
        }
    return change->lists != NULL;
}

static bool decode_bad(struct change *change, uint64_t count, struct cursor *from, struct err *err)
{
    if (count > BAD_MAX)
        return wrong(err, "too many bad records");
    change->bad = own_alloc((count + 1) * sizeof *change->bad, err);
    for (; change->bad && change->bad_count < count; change->bad_count++) {
        change->bad[change->bad_count].file = cursor_varint(from);
        change->bad[change->bad_count].record = cursor_varint(from);
    }
    return change->bad != NULL;
}

static bool decode_locked(struct change *change, uint64_t count, struct cursor *from,
                          struct err *err)
{
    if (count > LOCKED_MAX || count > cursor_left(from))
        return wrong(err, "too many packs are locked");
    change->locked = own_alloc((count + 1) * sizeof *change->locked, err);
    for (; change->locked && change->locked_count < count; change->locked_count++)
        change->locked[change->locked_count] = decode_u32(from);
    return change->locked != NULL;
}

static bool decode_freed(struct change *change, uint64_t count, struct cursor *from,
                         struct err *err)
{
    size_t capacity = 0;
    for (uint64_t i = 0; i < count && !from->bad; i++) {
        if (!own_grow((void **)&change->freed, &capacity, change->freed_count,
                      sizeof *change->freed, err))
            return false;
        struct change_freed *row = &change->freed[change->freed_count++];
        *row = (struct change_freed){.pack = decode_u32(from)};
        if (decode_bool(from) && !(row->gone = masks_decode(from, err)))
            return false;
    }
    return true;
}

static bool decode_array(uint8_t type, void *base, struct cursor *from, struct err *err)
{
    uint64_t count = cursor_varint(from);
    switch (type) {
    case F_ORIGINS:
        return decode_origins(base, count, from, err);
    case F_PACKS:
        return decode_packs(base, count, from, err);
    case F_LISTS:
        return decode_lists(base, count, from, err);
    case F_BAD:
        return decode_bad(base, count, from, err);
    case F_LOCKED:
        return decode_locked(base, count, from, err);
    default:
        return decode_freed(base, count, from, err);
    }
}

/* ---- one field ---- */

static bool encode_field(uint8_t type, const void *p, const void *base, struct bytes *to,
                         struct err *err)
{
    const struct addr *addr = p;
    switch (type) {
    case F_U8:
    case F_BOOL:
        return bytes_u8(to, *(const uint8_t *)p, err);
    case F_U16:
        return bytes_varint(to, *(const uint16_t *)p, err);
    case F_U32:
        return bytes_varint(to, *(const uint32_t *)p, err);
    case F_U64:
        return bytes_varint(to, *(const uint64_t *)p, err);
    case F_TEXT128:
    case F_TEXT40:
        return bytes_text(to, p, err);
    case F_ID16:
        return bytes_add(to, p, 16, err);
    case F_ROOT:
        return encode_root(p, to, err);
    case F_HASH:
        return bytes_add(to, p, HASH_BYTES, err);
    case F_ADDR:
        return bytes_varint(to, addr->pack, err) && bytes_varint(to, addr->frame, err);
    default:
        return encode_array(type, base, to, err);
    }
}

static bool encode_fields(const struct field *fields, const void *base, struct bytes *to,
                          struct err *err)
{
    for (; fields->type != F_END; fields++)
        if (!encode_field(fields->type, (const char *)base + fields->offset, base, to, err))
            return false;
    return true;
}

static void decode_bytes(void *to, size_t len, struct cursor *from)
{
    const uint8_t *p = cursor_take(from, len);
    if (p)
        memcpy(to, p, len);
}

static bool decode_field(uint8_t type, void *p, void *base, struct cursor *from, struct err *err)
{
    struct addr *addr = p;
    uint64_t n;
    switch (type) {
    case F_U8:
        *(uint8_t *)p = cursor_u8(from);
        return true;
    case F_BOOL:
        *(bool *)p = decode_bool(from);
        return true;
    case F_U16:
        n = cursor_varint(from);
        from->bad |= n > UINT16_MAX;
        *(uint16_t *)p = (uint16_t)n;
        return true;
    case F_U32:
        *(uint32_t *)p = decode_u32(from);
        return true;
    case F_U64:
        *(uint64_t *)p = cursor_varint(from);
        return true;
    case F_TEXT128:
    case F_TEXT40:
        IGNORE(cursor_text(from, p, type == F_TEXT40 ? 40 : 128)); /* the cursor keeps it */
        return true;
    case F_ID16:
    case F_HASH:
        decode_bytes(p, type == F_HASH ? HASH_BYTES : 16, from);
        return true;
    case F_ROOT:
        decode_root(p, from);
        return true;
    case F_ADDR:
        *addr = (struct addr){decode_u32(from), decode_u32(from), 0};
        return true;
    default:
        return decode_array(type, base, from, err);
    }
}

static bool decode_fields(const struct field *fields, void *base, struct cursor *from,
                          struct err *err)
{
    for (; fields->type != F_END; fields++)
        if (!decode_field(fields->type, (char *)base + fields->offset, base, from, err))
            return false;
    return !from->bad || wrong(err, "bytes end early or make no sense");
}

/* ---- changes ---- */

bool change_encode(const struct change *change, struct bytes *to, struct err *err)
{
    const char *base = (const char *)change;
    const struct field *own = change_parts[change->kind].own;
    bool named = change->kind != CHANGE_SEALED || change->named;
    return bytes_u8(to, change->kind, err) && encode_fields(own, change, to, err) &&
           encode_fields(change_parts[change->kind].inner, base + change_parts[change->kind].at, to,
                         err) &&
           (!named || encode_fields(change_parts[change->kind].inner2,
                                    base + change_parts[change->kind].at2, to, err));
}

bool change_decode(struct cursor *from, struct change *ret, struct err *err)
{
    AUTO(change) struct change change = {.kind = cursor_u8(from)};
    char *base = (char *)&change;
    uint8_t kind = change.kind;
    if (kind == 0 || kind >= CHANGE_KINDS)
        return wrong(err, "a change of no known kind");
    if (!decode_fields(change_parts[kind].own, &change, from, err) ||
        !decode_fields(change_parts[kind].inner, base + change_parts[kind].at, from, err))
        return false;
    if ((kind != CHANGE_SEALED || change.named) &&
        !decode_fields(change_parts[kind].inner2, base + change_parts[kind].at2, from, err))
        return false;
    *ret = change;
    change = (struct change){0};
    return true;
}

void commit_done(struct commit *commit)
{
    for (size_t i = 0; i < commit->count; i++)
        change_done(&commit->changes[i]);
    own_free(commit->changes);
    *commit = (struct commit){0};
}

bool commit_add(struct commit *commit, struct change *change, struct err *err)
{
    bool room = own_grow((void **)&commit->changes, &commit->capacity, commit->count,
                         sizeof *commit->changes, err);
    if (room)
        commit->changes[commit->count++] = *change;
    else
        change_done(change);
    *change = (struct change){0};
    return room;
}

/* ---- the envelope: head, payload (zstd where that is shorter), sum ---- */

struct head {
    uint32_t epoch, changes;
    uint64_t family, number;
};

static bool wrap(const char *magic, const struct head *head, const struct bytes *raw, uint64_t seed,
                 size_t raw_max, struct bytes *to, struct err *err)
{
    if (raw->len > raw_max)
        return err_set(err, ERR_LIMIT, "a family's rows need %zu bytes", raw->len);
    size_t bound = ZSTD_compressBound(raw->len);
    AUTO(mem) uint8_t *pressed = own_alloc(bound, err);
    if (!pressed)
        return false;
    size_t len = ZSTD_compress(pressed, bound, raw->data, raw->len, 1);
    const uint8_t *payload = pressed;
    if (ZSTD_isError(len) || len >= raw->len) {
        payload = raw->data;
        len = raw->len;
    }
    if (len > IO_PUT_MAX - HEAD_BYTES - SUM_BYTES)
        return err_set(err, ERR_LIMIT, "a family's rows need %zu bytes in the store", len);
    size_t before = to->len;
    if (!bytes_add(to, magic, 8, err) || !bytes_u32(to, VAULT_VERSION, err) ||
        !bytes_u32(to, head->epoch, err) || !bytes_u64(to, head->family, err) ||
        !bytes_u64(to, head->number, err) || !bytes_u32(to, head->changes, err) ||
        !bytes_u32(to, (uint32_t)raw->len, err) || !bytes_u32(to, (uint32_t)len, err) ||
        !bytes_u32(to, 0, err) || !bytes_add(to, payload, len, err))
        return false;
    return bytes_u64(to, format_sum(seed, to->data + before, to->len - before), err);
}

static bool unwrap(const char *magic, const void *data, size_t len, uint64_t seed, size_t raw_max,
                   struct head *ret, struct bytes *ret_raw, struct err *err)
{
    if (len < HEAD_BYTES + SUM_BYTES || memcmp(data, magic, 8) != 0)
        return wrong(err, "no commit or table");
    struct cursor sum = cursor_over((const uint8_t *)data + len - SUM_BYTES, SUM_BYTES);
    if (cursor_u64(&sum) != format_sum(seed, data, len - SUM_BYTES))
        return wrong(err, "the sum is wrong");
    struct cursor c = cursor_over((const uint8_t *)data + 8, len - 8 - SUM_BYTES);
    uint32_t version = cursor_u32(&c);
    if (version != VAULT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "rows of version %u; this program knows %u", version,
                       VAULT_VERSION);
    ret->epoch = cursor_u32(&c);
    ret->family = cursor_u64(&c);
    ret->number = cursor_u64(&c);
    ret->changes = cursor_u32(&c);
    uint32_t raw = cursor_u32(&c), stored = cursor_u32(&c), zero = cursor_u32(&c);
    if (zero != 0 || raw > raw_max || stored > raw || stored != cursor_left(&c))
        return wrong(err, "lengths do not fit");
    if (stored == raw)
        return bytes_add(ret_raw, c.at, raw, err);
    ret_raw->data = own_alloc(raw + (size_t)1, err);
    if (!ret_raw->data)
        return false;
    ret_raw->capacity = raw + (size_t)1;
    ret_raw->len = ZSTD_decompress(ret_raw->data, raw, c.at, stored);
    if (ret_raw->len == raw)
        return true;
    ret_raw->len = 0;
    return wrong(err, "what zstd made cannot be read");
}

bool commit_encode(const struct commit *commit, uint64_t seed, struct bytes *to, struct err *err)
{
    AUTO(bytes) struct bytes raw = {0};
    for (size_t i = 0; i < commit->count; i++)
        if (!change_encode(&commit->changes[i], &raw, err))
            return false;
    struct head head = {commit->epoch, (uint32_t)commit->count, commit->family, commit->number};
    return wrap(commit_magic, &head, &raw, seed, COMMIT_RAW_MAX, to, err);
}

/* A seal frame tells of packs without their masks, a commit never does. */
static bool has_masks(const struct change *change)
{
    for (size_t i = 0; change->kind == CHANGE_SEALED && i < change->pack_count; i++)
        if (!change->packs[i].live)
            return false;
    return true;
}

bool commit_decode(const void *data, size_t len, uint64_t seed, struct commit *ret, struct err *err)
{
    AUTO(bytes) struct bytes raw = {0};
    AUTO(commit) struct commit commit = {0};
    struct head head = {0};
    if (!unwrap(commit_magic, data, len, seed, COMMIT_RAW_MAX, &head, &raw, err))
        return false;
    commit.epoch = head.epoch;
    commit.family = head.family;
    commit.number = head.number;
    if (head.changes > CHANGES_MAX)
        return wrong(err, "too many changes");
    struct cursor from = cursor_over(raw.data, raw.len);
    for (uint32_t i = 0; i < head.changes; i++) {
        struct change change = {0};
        if (!change_decode(&from, &change, err))
            return false;
        bool masked = has_masks(&change);
        if (!commit_add(&commit, &change, err))
            return false;
        if (!masked)
            return wrong(err, "a pack without its masks");
    }
    if (cursor_left(&from) > 0)
        return wrong(err, "bytes behind the last change");
    *ret = commit;
    commit = (struct commit){0};
    return true;
}

/* ---- tables ---- */

static bool encode_deaths(const struct deaths *deaths, struct bytes *to, struct err *err)
{
    if (!bytes_varint(to, deaths->count, err))
        return false;
    for (size_t i = 0; i < deaths->count; i++) {
        const struct segment *segment = &deaths->segments[i];
        if (!bytes_varint(to, segment->cut, err) ||
            !encode_field(F_ADDR, &segment->list->seal, NULL, to, err) ||
            !encode_list(&segment->list->list, to, err))
            return false;
    }
    return true;
}

static bool decode_deaths(struct deaths *deaths, struct cursor *from, struct err *err)
{
    uint64_t count = cursor_varint(from);
    for (uint64_t i = 0; i < count && !from->bad; i++) {
        AUTO(table_list) struct table_list *list = own_alloc(sizeof *list, err);
        if (!list)
            return false;
        list->refs = 1;
        if (!deaths_add(deaths, list, cursor_varint(from), err))
            return false;
        if (!decode_field(F_ADDR, &list->seal, NULL, from, err) ||
            !decode_list(&list->list, from, err))
            return false;
    }
    return !from->bad || wrong(err, "dead lists end early");
}

static bool encode_volume(const struct table_volume *volume, struct bytes *to, struct err *err)
{
    return encode_fields(volume_fields, &volume->row, to, err) &&
           encode_fields(head_fields, &volume->row, to, err) && bytes_u8(to, volume->sealed, err) &&
           encode_field(F_ADDR, &volume->seal, NULL, to, err) &&
           encode_deaths(&volume->deaths, to, err);
}

static bool encode_snapshot(const struct table_snapshot *row, struct bytes *to, struct err *err)
{
    struct change bad = {.bad = row->bad ? row->bad->records : NULL,
                         .bad_count = row->bad ? row->bad->count : 0};
    return encode_fields(place_fields, &row->row, to, err) &&
           encode_fields(named_fields, &row->row, to, err) &&
           encode_fields(content_fields, &row->row, to, err) &&
           encode_fields(lock_fields, &row->lock, to, err) &&
           encode_field(F_ADDR, &row->seal, NULL, to, err) && encode_array(F_BAD, &bad, to, err) &&
           encode_deaths(&row->deaths, to, err);
}

bool table_encode(const struct table *table, uint64_t seed, struct bytes *to, struct err *err)
{
    AUTO(bytes) struct bytes raw = {0};
    if (!bytes_varint(&raw, table->next_pack, err) || !bytes_add(&raw, table->box_id, 16, err) ||
        !bytes_varint(&raw, table->volume_count, err))
        return false;
    for (size_t i = 0; i < table->volume_count; i++)
        if (!encode_volume(&table->volumes[i], &raw, err))
            return false;
    if (!bytes_varint(&raw, table->snapshot_count, err))
        return false;
    for (size_t i = 0; i < table->snapshot_count; i++)
        if (!encode_snapshot(&table->snapshots[i], &raw, err))
            return false;
    if (!bytes_varint(&raw, table->pack_count, err))
        return false;
    for (size_t i = 0; i < table->pack_count; i++)
        if (!encode_pack(&table->packs[i], &raw, err))
            return false;
    struct head head = {table->epoch, 0, table->family, table->number};
    return wrap(table_magic, &head, &raw, seed, TABLE_RAW_MAX, to, err);
}

static bool decode_volumes(struct table *table, struct cursor *from, struct err *err)
{
    uint64_t count = cursor_varint(from);
    if (count > VOLUMES_MAX)
        return wrong(err, "too many volumes");
    for (uint64_t i = 0; i < count && !from->bad; i++) {
        if (!own_grow((void **)&table->volumes, &table->volume_capacity, table->volume_count,
                      sizeof *table->volumes, err))
            return false;
        struct table_volume *volume = &table->volumes[table->volume_count];
        *volume = (struct table_volume){0};
        table->volume_count++;
        if (!decode_fields(volume_fields, &volume->row, from, err) ||
            !decode_fields(head_fields, &volume->row, from, err))
            return false;
        volume->sealed = decode_bool(from);
        if (!decode_field(F_ADDR, &volume->seal, NULL, from, err) ||
            !decode_deaths(&volume->deaths, from, err))
            return false;
        if (table_volume(table, volume->row.id) != volume)
            return wrong(err, "a volume is there twice");
    }
    return true;
}

static bool decode_snapshot(struct table_snapshot *row, struct cursor *from, struct err *err)
{
    AUTO(change) struct change bad = {0};
    if (!decode_fields(place_fields, &row->row, from, err) ||
        !decode_fields(named_fields, &row->row, from, err) ||
        !decode_fields(content_fields, &row->row, from, err) ||
        !decode_fields(lock_fields, &row->lock, from, err) ||
        !decode_field(F_ADDR, &row->seal, NULL, from, err) ||
        !decode_array(F_BAD, &bad, from, err) || !decode_deaths(&row->deaths, from, err))
        return false;
    row->bad = own_alloc(sizeof *row->bad + bad.bad_count * sizeof *bad.bad, err);
    if (!row->bad)
        return false;
    row->bad->refs = 1;
    row->bad->count = bad.bad_count;
    if (bad.bad_count > 0)
        memcpy(row->bad->records, bad.bad, bad.bad_count * sizeof *bad.bad);
    return true;
}

static bool decode_snapshots(struct table *table, struct cursor *from, struct err *err)
{
    uint64_t count = cursor_varint(from);
    if (count > SNAPSHOTS_MAX)
        return wrong(err, "too many snapshots");
    for (uint64_t i = 0; i < count && !from->bad; i++) {
        if (!own_grow((void **)&table->snapshots, &table->snapshot_capacity, table->snapshot_count,
                      sizeof *table->snapshots, err))
            return false;
        struct table_snapshot *row = &table->snapshots[table->snapshot_count++];
        *row = (struct table_snapshot){0};
        if (!decode_snapshot(row, from, err))
            return false;
        const struct snapshot_row *a = i > 0 ? &row[-1].row : NULL, *b = &row->row;
        bool ordered =
            !a || a->volume < b->volume || (a->volume == b->volume && a->sequence < b->sequence);
        const struct table_volume *volume = table_volume(table, b->volume);
        if (!ordered || !volume || b->sequence <= volume->row.start ||
            b->sequence > volume->row.sealed)
            return wrong(err, "snapshots are out of order");
    }
    return true;
}

static bool decode_rows_of_packs(struct table *table, struct cursor *from, struct err *err)
{
    uint64_t count = cursor_varint(from);
    for (uint64_t i = 0; i < count && !from->bad; i++) {
        if (!own_grow((void **)&table->packs, &table->pack_capacity, table->pack_count,
                      sizeof *table->packs, err))
            return false;
        struct table_pack pack = {0};
        bool good = decode_pack(&pack, from, err);
        if (good && (!pack.live || pack.number >= table->next_pack ||
                     (i > 0 && table->packs[i - 1].number >= pack.number)))
            good = wrong(err, "packs are out of order");
        if (!good) {
            masks_unref(pack.live);
            return false;
        }
        table->packs[table->pack_count++] = pack;
    }
    return true;
}

static bool count_pins(struct table *table, struct err *err)
{
    for (size_t i = 0; i < table->volume_count; i++) {
        const struct volume_row *row = &table->volumes[i].row;
        for (size_t k = 0; k < row->origin_count; k++) {
            struct table_snapshot *origin =
                table_snapshot(table, row->origins[k].volume, row->origins[k].sequence);
            if (!origin || row->origins[k].sequence >= row->start)
                return wrong(err, "a clone of what is not there");
            origin->pins++;
        }
    }
    return true;
}

struct table *table_decode(const void *data, size_t len, uint64_t seed, struct err *err)
{
    AUTO(bytes) struct bytes raw = {0};
    struct head head = {0};
    if (!unwrap(table_magic, data, len, seed, TABLE_RAW_MAX, &head, &raw, err))
        return NULL;
    AUTO(table) struct table *table = table_new(head.family, err);
    if (!table)
        return NULL;
    struct cursor from = cursor_over(raw.data, raw.len);
    table->number = head.number;
    table->epoch = head.epoch;
    table->next_pack = decode_u32(&from);
    decode_bytes(table->box_id, sizeof table->box_id, &from);
    if (!decode_volumes(table, &from, err) || !decode_snapshots(table, &from, err) ||
        !decode_rows_of_packs(table, &from, err) || !count_pins(table, err))
        return NULL;
    if (from.bad || cursor_left(&from) > 0) {
        wrong(err, "a table's bytes do not end where they should");
        return NULL;
    }
    return TAKE(table);
}
