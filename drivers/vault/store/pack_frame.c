/* Frames and the bytes around them: headers, sums, subjects, and how raw becomes stored and back.
 */
#include "drivers/vault/store/pack_int.h"
#include "drivers/vault/store/press.h"
#include <endian.h>
#include <stdio.h>
#include <string.h>

void pack_name(const struct pack_key *key, char ret[IO_NAME_MAX])
{
    snprintf(ret, IO_NAME_MAX, "f/%016llx/pack/%08x-%04x", (unsigned long long)key->family,
             key->pack, key->generation);
}

void pack_put(uint8_t *at, uint64_t n, size_t bytes)
{
    n = htole64(n);
    memcpy(at, &n, bytes);
}

uint64_t pack_take(const uint8_t *at, size_t bytes)
{
    uint64_t n = 0;
    memcpy(&n, at, bytes);
    return le64toh(n);
}

uint64_t pack_seed(const struct pack_key *key)
{
    uint8_t place[12];
    pack_put(place, key->family, 8);
    pack_put(place + 8, key->pack, 4);
    return format_sum(key->seed, place, sizeof place);
}

static const uint8_t pack_mark[8] = {'E', 'C', 'P', 'A', 'C', 'K', '0', '1'};

void pack_header(const struct pack_key *key, uint8_t ret[PACK_HEADER])
{
    memset(ret, 0, PACK_HEADER);
    memcpy(ret, pack_mark, sizeof pack_mark);
    pack_put(ret + 8, VAULT_VERSION, 4);
    pack_put(ret + 12, key->pack, 4);
    pack_put(ret + 16, key->family, 8);
    pack_put(ret + 24, key->generation, 2);
    pack_put(ret + 28, format_sum(key->seed, ret, 28), 4);
}

void frame_header_put(const struct frame_header *h, uint64_t seed, const void *subject,
                      const void *stored, uint8_t ret[PACK_FRAME_HEADER])
{
    memcpy(ret, "ECfr", 4);
    ret[4] = h->kind;
    ret[5] = h->codec;
    ret[6] = h->items;
    ret[7] = 0;
    pack_put(ret + 8, h->frame, 4);
    pack_put(ret + 12, h->present, 2);
    pack_put(ret + 14, h->subject_bytes, 2);
    pack_put(ret + 16, h->raw, 4);
    pack_put(ret + 20, h->stored, 4);
    pack_put(ret + 24, h->birth, 8);
    uint64_t sum = format_sum_of(
        seed, (struct format_piece[]){{ret, 32}, {subject, h->subject_bytes}, {stored, h->stored}},
        3);
    pack_put(ret + 32, sum, 8);
}

static bool lengths_are_right(const struct frame_header *h)
{
    if (h->raw > FRAME_RAW_MAX || h->raw == 0 || h->subject_bytes > PACK_SUBJECT_MAX)
        return false;
    if (h->codec == CODEC_PLAIN ? h->stored != h->raw
                                : h->stored == 0 || h->stored > h->raw - h->raw / 16)
        return false;
    int present = __builtin_popcount(h->present);
    if (h->kind == FRAME_DATA)
        return h->raw == (uint32_t)present * RECORD_BYTES && h->subject_bytes > present;
    return h->subject_bytes == 0 && (h->kind == FRAME_NODES || h->items == 1);
}

bool frame_header_take(const uint8_t from[PACK_FRAME_HEADER], struct frame_header *ret)
{
    if (memcmp(from, "ECfr", 4) != 0 || from[7] != 0)
        return false;
    struct frame_header h = {.kind = from[4],
                             .codec = from[5],
                             .items = from[6],
                             .frame = (uint32_t)pack_take(from + 8, 4),
                             .present = (uint16_t)pack_take(from + 12, 2),
                             .subject_bytes = (uint16_t)pack_take(from + 14, 2),
                             .raw = (uint32_t)pack_take(from + 16, 4),
                             .stored = (uint32_t)pack_take(from + 20, 4),
                             .birth = pack_take(from + 24, 8),
                             .sum = pack_take(from + 32, 8)};
    if (h.kind < FRAME_DATA || h.kind > FRAME_SEAL || h.codec > CODEC_ZSTD || h.items == 0 ||
        h.items > FRAME_ITEMS || h.frame >= PACK_FRAMES_MAX || h.present == 0 ||
        h.present >> h.items != 0 || !lengths_are_right(&h))
        return false;
    *ret = h;
    return true;
}

bool frame_sum_holds(const uint8_t *frame, const struct frame_header *h, uint64_t seed)
{
    const uint8_t *subject = frame + PACK_FRAME_HEADER;
    struct format_piece pieces[] = {
        {frame, 32}, {subject, h->subject_bytes}, {subject + h->subject_bytes, h->stored}};
    return format_sum_of(seed, pieces, 3) == h->sum;
}

bool frame_unpack(const struct frame_header *h, const uint8_t *stored, uint8_t *raw,
                  struct err *err)
{
    if (h->codec == CODEC_PLAIN) {
        memcpy(raw, stored, h->raw);
        return true;
    }
    bool good;
    return press_out(stored, h->stored, raw, h->raw, &good, err) &&
           (good || err_set(err, ERR_CORRUPT, "it does not decompress to %u bytes", h->raw));
}

bool subject_put(struct bytes *to, uint64_t file, const uint64_t *records, int count,
                 struct err *err)
{
    if (!bytes_varint(to, file, err))
        return false;
    for (int i = 0; i < count; i++)
        if (!bytes_varint(to, i == 0 ? records[0] : records[i] - records[i - 1], err))
            return false;
    return true;
}

bool subject_take(struct cursor *from, int count, uint64_t *ret_file, uint64_t *ret_records)
{
    *ret_file = cursor_varint(from);
    uint64_t record = 0;
    for (int i = 0; i < count; i++) {
        uint64_t step = cursor_varint(from);
        if ((i > 0 && step == 0) || step > ((uint64_t)1 << (FILE_MAX_SHIFT - RECORD_SHIFT)) ||
            (record += step) >= (uint64_t)1 << (FILE_MAX_SHIFT - RECORD_SHIFT))
            from->bad = true;
        ret_records[i] = record;
    }
    return !from->bad;
}

int pack_item_place(uint16_t present, uint8_t item)
{
    if (item >= FRAME_ITEMS || !(present >> item & 1))
        return -1;
    return __builtin_popcount(present & ((1U << item) - 1));
}

/* ---- raw and stored ---- */

static bool room(struct bytes *b, size_t len, struct err *err)
{
    if (b->capacity >= len)
        return true;
    uint8_t *grown = own_realloc(b->data, len, err);
    if (!grown)
        return false;
    b->data = grown;
    b->capacity = len;
    return true;
}

bool frame_press(struct frame *frame, int zstd_level, struct err *err)
{
    if (frame->raw_len == 0 || frame->raw_len > FRAME_RAW_MAX)
        return err_set(err, ERR_LIMIT, "a frame of %zu bytes", frame->raw_len);
    size_t max = frame->raw_len - frame->raw_len / 16;
    bool fits;
    frame->stored.len = 0;
    if (!room(&frame->stored, max, err) ||
        !press_in(frame->raw, frame->raw_len, zstd_level, frame->stored.data, max,
                  &frame->stored.len, &fits, err))
        return false;
    frame->pressed_plain = !fits;
    return true;
}

void frame_done(struct frame *frame)
{
    bytes_done(&frame->stored);
    *frame = (struct frame){0};
}

bool frame_join(const struct bytes *nodes, size_t count, struct bytes *to, struct err *err)
{
    to->len = 0;
    if (count == 0 || count > FRAME_ITEMS)
        return err_set(err, ERR_LIMIT, "%zu nodes in a frame", count);
    if (!bytes_varint(to, count, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!bytes_varint(to, nodes[i].len, err))
            return false;
    for (size_t i = 0; i < count; i++)
        if (!bytes_add(to, nodes[i].data, nodes[i].len, err))
            return false;
    return to->len <= FRAME_RAW_MAX || err_set(err, ERR_LIMIT, "a frame of %zu bytes", to->len);
}

static bool node_item(const uint8_t *raw, size_t len, int count, int place, const uint8_t **ret,
                      size_t *ret_len)
{
    struct cursor c = cursor_over(raw, len);
    if (cursor_varint(&c) != (uint64_t)count)
        return false;
    uint64_t before = 0, all = 0, own = 0;
    for (int i = 0; i < count; i++) {
        uint64_t node = cursor_varint(&c);
        if (node > FRAME_RAW_MAX)
            return false;
        before += i < place ? node : 0;
        own = i == place ? node : own;
        all += node;
    }
    if (c.bad || all != cursor_left(&c))
        return false;
    *ret = c.at + before;
    *ret_len = (size_t)own;
    return true;
}

bool pack_item(const struct pack_row *row, const uint8_t *raw, size_t len, uint8_t item,
               const uint8_t **ret, size_t *ret_len, struct err *err)
{
    int place = pack_item_place(row->present, item);
    if (place < 0)
        return err_set(err, ERR_CORRUPT, "item %u is not there any more", item);
    if (row->kind == FRAME_NODES)
        return node_item(raw, len, __builtin_popcount(row->present), place, ret, ret_len) ||
               err_set(err, ERR_CORRUPT, "its nodes do not add up");
    if (row->kind == FRAME_DATA && ((size_t)place + 1) * RECORD_BYTES > len)
        return err_set(err, ERR_CORRUPT, "item %u lies behind its end", item);
    *ret = row->kind == FRAME_DATA ? raw + (size_t)place * RECORD_BYTES : raw;
    *ret_len = row->kind == FRAME_DATA ? RECORD_BYTES : len;
    return true;
}

bool pack_frame_open(const struct pack_key *key, const struct pack_row *row, uint32_t frame,
                     const uint8_t *bytes, uint8_t *raw, size_t *ret_len, struct err *err)
{
    struct frame_header h;
    const char *wrong = NULL;
    if (row->bytes < PACK_FRAME_HEADER || !frame_header_take(bytes, &h) ||
        frame_header_bytes(&h) != row->bytes)
        wrong = "its header is damaged";
    else if (!frame_sum_holds(bytes, &h, pack_seed(key)))
        wrong = "its sum is wrong";
    else if (h.frame != frame || h.kind != row->kind || h.present != row->present ||
             h.birth != row->birth)
        wrong = "it is not the one of the directory";
    if (wrong)
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x, frame %u: %s", key->pack, key->generation,
                       frame, wrong);
    if (!frame_unpack(&h, bytes + PACK_FRAME_HEADER + h.subject_bytes, raw, err))
        return err_wrap(err, "pack %08x-%04x, frame %u", key->pack, key->generation, frame);
    *ret_len = h.raw;
    return true;
}

bool pack_frame_read(struct io *io, const struct pack_key *key, const struct pack_row *row,
                     uint32_t frame, uint8_t *raw, size_t *ret_len, struct err *err)
{
    if (row->bytes < PACK_FRAME_HEADER || row->bytes > PACK_FRAME_MAX)
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x, frame %u: %u bytes", key->pack,
                       key->generation, frame, row->bytes);
    AUTO(mem) uint8_t *bytes = own_realloc(NULL, row->bytes, err);
    if (!bytes)
        return false;
    char name[IO_NAME_MAX];
    pack_name(key, name);
    ssize_t got = io_read(io, name, bytes, row->bytes, row->offset, err);
    if (got < 0)
        return err_wrap(err, "frame %u", frame);
    if ((size_t)got != row->bytes)
        return err_set(err, ERR_CORRUPT, "pack %08x-%04x, frame %u: cut off", key->pack,
                       key->generation, frame);
    return pack_frame_open(key, row, frame, bytes, raw, ret_len, err);
}
