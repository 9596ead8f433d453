/* Writing a pack: frames in order, then its directory. */
#include "drivers/vault/store/pack_int.h"
#include <string.h>

enum { PIECE = 512 << 10 }; /* io gets pieces of about this size */

struct pack_writer {
    struct io_writer *out;
    struct pack_key key;
    uint64_t seed;
    int zstd_level;
    struct bytes pending;
    uint64_t written; /* pending included */
    struct pack_index index;
    uint16_t *masks;
    size_t mask_capacity;
};

/* ---- the index ---- */

void pack_index_done(struct pack_index *index)
{
    bytes_done(&index->rows);
    bytes_done(&index->subjects);
    bytes_done(&index->hashes);
    own_free(index->births);
    *index = (struct pack_index){0};
}

bool pack_index_skip(struct pack_index *index, uint32_t frame, struct err *err)
{
    static const uint8_t nothing[PACK_ROW];
    for (; index->frames < frame; index->frames++)
        if (!bytes_add(&index->rows, nothing, sizeof nothing, err))
            return false;
    return true;
}

static bool birth_index(struct pack_index *index, uint64_t birth, uint32_t *ret, struct err *err)
{
    for (size_t i = index->birth_count; i-- > 0;)
        if (index->births[i] == birth) {
            *ret = (uint32_t)i;
            return true;
        }
    if (!own_grow((void **)&index->births, &index->birth_capacity, index->birth_count,
                  sizeof *index->births, err))
        return false;
    *ret = (uint32_t)index->birth_count;
    index->births[index->birth_count++] = birth;
    return true;
}

bool pack_index_add(struct pack_index *index, const struct frame_header *h, uint64_t offset,
                    const void *subject, const struct hash *hashes, struct err *err)
{
    uint32_t born;
    if (!birth_index(index, h->birth, &born, err))
        return false;
    uint8_t row[PACK_ROW] = {0};
    pack_put(row, offset, 4);
    pack_put(row + 4, frame_header_bytes(h), 4);
    row[8] = h->kind;
    pack_put(row + 10, h->present, 2);
    pack_put(row + 12, born, 4);
    size_t present = (size_t)__builtin_popcount(h->present);
    if (!bytes_add(&index->rows, row, sizeof row, err) ||
        !bytes_add(&index->subjects, subject, h->subject_bytes, err) ||
        !bytes_add(&index->hashes, hashes, h->kind == FRAME_DATA ? present * HASH_BYTES : 0, err))
        return false;
    index->items += present;
    index->raw_bytes += h->raw;
    index->frames++;
    return true;
}

bool pack_index_births(const struct pack_index *index, struct bytes *to, struct err *err)
{
    if (!bytes_varint(to, index->birth_count, err))
        return false;
    for (size_t i = 0; i < index->birth_count; i++)
        if (!bytes_u64(to, index->births[i], err))
            return false;
    return true;
}

/* ---- the object ---- */

static bool flush(struct pack_writer *w, struct err *err)
{
    if (w->pending.len > 0 && !io_append(w->out, w->pending.data, w->pending.len, err))
        return false;
    w->pending.len = 0;
    return true;
}

static bool put(struct pack_writer *w, const void *bytes, size_t len, struct err *err)
{
    if (w->pending.len + len > PIECE && !flush(w, err))
        return false;
    if (len > PIECE ? !io_append(w->out, bytes, len, err)
                    : !bytes_add(&w->pending, bytes, len, err))
        return false;
    w->written += len;
    return true;
}

struct pack_writer *pack_create(struct io *io, const struct pack_key *key, int zstd_level,
                                struct err *err)
{
    AUTO(pack_writer) struct pack_writer *w = own_alloc(sizeof *w, err);
    if (!w)
        return NULL;
    w->key = *key;
    w->seed = pack_seed(key);
    w->zstd_level = zstd_level;
    char name[IO_NAME_MAX];
    pack_name(key, name);
    uint8_t header[PACK_HEADER];
    pack_header(key, header);
    if (!(w->out = io_create(io, name, err)) || !put(w, header, sizeof header, err))
        return NULL;
    return TAKE(w);
}

void pack_abandon(struct pack_writer *w)
{
    if (!w)
        return;
    io_abandon(w->out);
    bytes_done(&w->pending);
    pack_index_done(&w->index);
    own_free(w->masks);
    own_free(w);
}

uint64_t pack_bytes(const struct pack_writer *w) { return w->written; }
uint32_t pack_frames(const struct pack_writer *w) { return w->index.frames; }
const uint16_t *pack_masks(const struct pack_writer *w) { return w->masks; }

bool pack_is_full(const struct pack_writer *w)
{
    return w->written >= PACK_TARGET_BYTES || w->index.frames >= PACK_FRAMES_FULL;
}

/* A frame's place among the numbers; one of which nothing is left takes no more than that. */
static bool number(struct pack_writer *w, uint16_t present, struct err *err)
{
    if (w->index.frames >= PACK_FRAMES_MAX)
        return err_set(err, ERR_LIMIT, "pack %08x has %u frames", w->key.pack, w->index.frames);
    size_t count = w->index.frames;
    if (!own_grow((void **)&w->masks, &w->mask_capacity, count, sizeof *w->masks, err))
        return false;
    w->masks[count] = present;
    return present != 0 || pack_index_skip(&w->index, w->index.frames + 1, err);
}

/* `head` is the header's bytes. */
static bool append(struct pack_writer *w, const struct frame_header *h, const uint8_t *head,
                   const void *subject, const void *stored, const struct hash *hashes,
                   struct err *err)
{
    size_t directory = w->index.rows.len + w->index.subjects.len + w->index.hashes.len;
    if (w->written + directory + PACK_FRAME_MAX + (64 << 10) > PACK_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "pack %08x is full", w->key.pack);
    uint64_t offset = w->written;
    return number(w, h->present, err) && put(w, head, PACK_FRAME_HEADER, err) &&
           put(w, subject, h->subject_bytes, err) && put(w, stored, h->stored, err) &&
           pack_index_add(&w->index, h, offset, subject, hashes, err);
}

static bool is_ours(const struct frame *f)
{
    int present = __builtin_popcount(f->present);
    if (f->items == 0 || f->items > FRAME_ITEMS || f->present >> f->items != 0 ||
        f->kind < FRAME_DATA || f->kind > FRAME_SEAL || f->raw_len == 0 ||
        f->raw_len > FRAME_RAW_MAX)
        return false;
    if (f->kind != FRAME_DATA)
        return f->kind == FRAME_NODES || f->items == 1;
    for (int i = 1; i < present; i++)
        if (f->records[i] <= f->records[i - 1])
            return false;
    return f->raw_len == (size_t)present * RECORD_BYTES &&
           f->records[present - 1] < (uint64_t)1 << (FILE_MAX_SHIFT - RECORD_SHIFT);
}

bool pack_add(struct pack_writer *w, const struct frame *f, uint32_t *ret_frame, struct err *err)
{
    uint32_t frame = w->index.frames;
    if (f->present == 0) {
        if (!number(w, 0, err))
            return false;
        *ret_frame = frame;
        return true;
    }
    if (!is_ours(f))
        return err_set(err, ERR_INVALID, "pack %08x: frame %u is not one", w->key.pack, frame);
    AUTO(bytes) struct bytes subject = {0};
    if (f->kind == FRAME_DATA &&
        !subject_put(&subject, f->file, f->records, __builtin_popcount(f->present), err))
        return false;
    struct frame_header h = {.kind = (uint8_t)f->kind,
                             .codec = f->pressed_plain ? CODEC_PLAIN : CODEC_ZSTD,
                             .items = f->items,
                             .frame = frame,
                             .present = f->present,
                             .subject_bytes = (uint16_t)subject.len,
                             .raw = (uint32_t)f->raw_len,
                             .stored = (uint32_t)(f->pressed_plain ? f->raw_len : f->stored.len),
                             .birth = f->birth};
    const uint8_t *stored = f->pressed_plain ? f->raw : f->stored.data;
    uint8_t head[PACK_FRAME_HEADER];
    frame_header_put(&h, w->seed, subject.data, stored, head);
    if (!append(w, &h, head, subject.data, stored, f->hashes, err))
        return false;
    *ret_frame = frame;
    return true;
}

static const uint8_t footer_mark[4] = {'E', 'C', 'P', 'E'};

static bool put_directory(struct pack_writer *w, uint8_t footer[PACK_FOOTER], struct err *err)
{
    AUTO(bytes) struct bytes births = {0};
    if (!pack_index_births(&w->index, &births, err))
        return false;
    const struct format_piece parts[] = {{w->index.rows.data, w->index.rows.len},
                                         {births.data, births.len},
                                         {w->index.subjects.data, w->index.subjects.len},
                                         {w->index.hashes.data, w->index.hashes.len}};
    memset(footer, 0, PACK_FOOTER);
    for (size_t i = 0; i < 4; i++) {
        pack_put(footer + 8 * i, w->written, 4);
        pack_put(footer + 8 * i + 4, parts[i].len, 4);
        if (!put(w, parts[i].data, parts[i].len, err))
            return false;
    }
    pack_put(footer + 32, w->index.frames, 4);
    pack_put(footer + 36, w->index.items, 4);
    pack_put(footer + 40, format_sum_of(w->seed, parts, 3), 8);
    pack_put(footer + 48, format_sum_of(w->seed, parts + 3, 1), 8);
    pack_put(footer + 56, w->index.raw_bytes, 8);
    memcpy(footer + 68, footer_mark, sizeof footer_mark);
    uint8_t header[PACK_HEADER];
    pack_header(&w->key, header);
    struct format_piece whole[] = {{header, sizeof header}, {footer, 72}};
    pack_put(footer + 72, format_sum_of(w->seed, whole, 2), 8);
    return put(w, footer, PACK_FOOTER, err);
}

bool pack_finish(struct pack_writer *writer, uint64_t *ret_bytes, struct err *err)
{
    AUTO(pack_writer) struct pack_writer *w = writer;
    uint8_t footer[PACK_FOOTER];
    if (!put_directory(w, footer, err) || !flush(w, err))
        return false;
    uint64_t bytes = w->written;
    if (!io_finish(TAKE(w->out), err))
        return false;
    *ret_bytes = bytes;
    return true;
}

/* ---- thinning ---- */

/* The old frame without what is not live: pressed again. */
static bool keep_some(struct pack_writer *w, const struct pack_row *row, struct frame *f,
                      uint8_t *raw, const uint64_t *records, const struct hash *hashes,
                      size_t raw_len, struct err *err)
{
    AUTO(bytes) struct bytes kept = {0};
    struct bytes nodes[FRAME_ITEMS];
    int count = 0;
    for (unsigned item = 0; item < FRAME_ITEMS; item++) {
        const uint8_t *bytes;
        size_t len;
        if (!(f->present >> item & 1))
            continue;
        if (!pack_item(row, raw, raw_len, (uint8_t)item, &bytes, &len, err))
            return false;
        int place = pack_item_place(row->present, (uint8_t)item);
        f->records[count] = records[place];
        f->hashes[count] = hashes[place];
        nodes[count++] = (struct bytes){.data = (uint8_t *)(uintptr_t)bytes, .len = len};
        if (row->kind != FRAME_NODES && !bytes_add(&kept, bytes, len, err))
            return false;
    }
    if (row->kind == FRAME_NODES && !frame_join(nodes, (size_t)count, &kept, err))
        return false;
    f->raw = kept.data;
    f->raw_len = kept.len;
    uint32_t frame;
    return frame_press(f, w->zstd_level, err) && pack_add(w, f, &frame, err);
}

/* A frame read, checked, and all that is known of it. */
struct old {
    uint8_t bytes[PACK_FRAME_MAX], raw[FRAME_RAW_MAX];
    size_t raw_len;
    struct frame_header header;
    uint64_t file, records[FRAME_ITEMS];
    struct hash hashes[FRAME_ITEMS];
    struct frame frame; /* what is kept of it */
};

static bool old_read(struct old *o, struct io *io, struct pack_dir *from, uint32_t frame,
                     const struct pack_row *row, struct err *err)
{
    const struct pack_key *key = pack_dir_key(from);
    char name[IO_NAME_MAX];
    pack_name(key, name);
    if (row->bytes > PACK_FRAME_MAX)
        return err_set(err, ERR_CORRUPT, "pack %08x: frame %u is too long", key->pack, frame);
    ssize_t got = io_read(io, name, o->bytes, row->bytes, row->offset, err);
    if (got < 0)
        return false;
    if ((size_t)got != row->bytes)
        return err_set(err, ERR_CORRUPT, "pack %08x: frame %u is cut off", key->pack, frame);
    if (!pack_frame_open(key, row, frame, o->bytes, o->raw, &o->raw_len, err))
        return false;
    if (!frame_header_take(o->bytes, &o->header))
        return err_set(err, ERR_CORRUPT, "pack %08x: frame %u", key->pack, frame);
    if (row->kind != FRAME_DATA)
        return true;
    uint8_t count;
    if (!pack_dir_subject(from, io, frame, &o->file, o->records, &count, err))
        return false;
    for (unsigned item = 0, place = 0; item < FRAME_ITEMS; item++)
        if (row->present >> item & 1 &&
            !pack_dir_hash(from, io, frame, (uint8_t)item, &o->hashes[place++], err))
            return false;
    return true;
}

bool pack_keep(struct pack_writer *w, struct io *io, struct pack_dir *from, uint32_t frame,
               uint16_t live, struct err *err)
{
    struct pack_row row;
    if (w->index.frames != frame)
        return err_set(err, ERR_INVALID, "frame %u is not the next of pack %08x", frame,
                       w->key.pack);
    if (!pack_dir_row(from, frame, &row) || (row.present & live) == 0)
        return number(w, 0, err);
    AUTO(mem) struct old *o = own_alloc(sizeof *o, err);
    if (!o || !old_read(o, io, from, frame, &row, err))
        return false;
    if ((row.present & ~live) == 0) {
        const uint8_t *subject = o->bytes + PACK_FRAME_HEADER;
        return append(w, &o->header, o->bytes, subject, subject + o->header.subject_bytes,
                      o->hashes, err);
    }
    o->frame = (struct frame){.kind = row.kind,
                              .file = o->file,
                              .birth = row.birth,
                              .items = o->header.items,
                              .present = row.present & live};
    bool done = keep_some(w, &row, &o->frame, o->raw, o->records, o->hashes, o->raw_len, err);
    frame_done(&o->frame);
    return done;
}
