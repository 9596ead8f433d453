/* A pack's directory from its frames alone: what of a damaged pack can still be read. */
#include "drivers/vault/store/pack_int.h"
#include <string.h>

enum {
    WINDOW = 1 << 20,
    WASTE_FACTOR = 16, /* sums of what is no frame may cost this many times the object */
};

struct scan {
    struct io *io;
    const struct pack_key *key;
    uint64_t seed, object_bytes;
    char name[IO_NAME_MAX];
    uint8_t *window;
    uint64_t at; /* of the window in the object */
    size_t len, window_bytes;
    uint64_t waste; /* bytes summed in vain */
    struct pack_index index;
    uint8_t raw[FRAME_RAW_MAX];
};
static void scan_done(struct scan *s)
{
    if (!s)
        return;
    pack_index_done(&s->index);
    own_free(s->window);
    own_free(s);
}
OWN_DEFINE(scan, struct scan, scan_done);

/* The bytes from `offset`, at least `wanted` of them unless the object ends before. */
static bool show(struct scan *s, uint64_t offset, size_t wanted, const uint8_t **ret,
                 size_t *ret_len, struct err *err)
{
    bool there = offset >= s->at && offset - s->at <= s->len && s->len - (offset - s->at) >= wanted;
    if (!there && s->at + s->len < s->object_bytes) {
        ssize_t got = io_read(s->io, s->name, s->window, s->window_bytes, offset, err);
        if (got < 0)
            return false;
        s->at = offset;
        s->len = (size_t)got;
        if (s->len == 0)
            s->object_bytes = offset; /* shorter than was said */
    }
    bool within = offset >= s->at && offset - s->at <= s->len;
    *ret = s->window + (within ? offset - s->at : 0);
    *ret_len = within ? s->len - (size_t)(offset - s->at) : 0;
    return true;
}

/* A frame whose sum holds, unpacked and hashed into the index. False only for memory. */
static bool take_frame(struct scan *s, const struct frame_header *h, const uint8_t *bytes,
                       uint64_t offset, bool *ret_taken, struct err *err)
{
    struct err why = {0};
    const uint8_t *subject = bytes + PACK_FRAME_HEADER;
    struct hash hashes[FRAME_ITEMS];
    *ret_taken = false;
    if (!frame_unpack(h, subject + h->subject_bytes, s->raw, &why)) {
        if (why.code == ERR_CORRUPT)
            return true;
        *err = why;
        return false;
    }
    if (h->kind == FRAME_DATA) {
        struct cursor c = cursor_over(subject, h->subject_bytes);
        uint64_t file, records[FRAME_ITEMS];
        int present = __builtin_popcount(h->present);
        if (!subject_take(&c, present, &file, records) || cursor_left(&c) > 0)
            return true;
        for (int i = 0; i < present; i++)
            hash_bytes(s->raw + (size_t)i * RECORD_BYTES, RECORD_BYTES, &hashes[i]);
    }
    *ret_taken = true;
    return pack_index_skip(&s->index, h->frame, err) &&
           pack_index_add(&s->index, h, offset, subject, hashes, err);
}

/* Where a frame may begin, from `offset` on. */
static uint64_t next_mark(const uint8_t *bytes, size_t len, uint64_t offset)
{
    const uint8_t *found = memmem(bytes, len, "ECfr", 4);
    if (found)
        return offset + (uint64_t)(found - bytes);
    return offset + (len > 3 ? len - 3 : len);
}

static bool scan_frames(struct scan *s, struct err *err)
{
    uint64_t offset = PACK_HEADER;
    while (offset < s->object_bytes) {
        const uint8_t *bytes;
        size_t len;
        struct frame_header h;
        if (!show(s, offset, PACK_FRAME_MAX, &bytes, &len, err))
            return false;
        if (len < PACK_FRAME_HEADER)
            break;
        bool taken = false;
        if (frame_header_take(bytes, &h) && frame_header_bytes(&h) <= len &&
            h.frame >= s->index.frames) {
            if (frame_sum_holds(bytes, &h, s->seed) &&
                !take_frame(s, &h, bytes, offset, &taken, err))
                return false;
            s->waste += taken ? 0 : frame_header_bytes(&h);
        }
        if (s->waste > s->object_bytes * WASTE_FACTOR)
            break;
        offset =
            taken ? offset + frame_header_bytes(&h) : next_mark(bytes + 1, len - 1, offset + 1);
    }
    return true;
}

/* The directory at the end says the same of every frame, and of no other. */
static bool agrees(struct pack_dir *scanned, struct io *io, const struct pack_key *key,
                   uint64_t object_bytes)
{
    struct err err = {0};
    AUTO(pack_dir) struct pack_dir *said = pack_dir_read(io, key, object_bytes, &err);
    if (!said || pack_dir_frames(said) < pack_dir_frames(scanned))
        return false;
    for (uint32_t i = 0; i < pack_dir_frames(said); i++) {
        struct pack_row a, b;
        bool there = pack_dir_row(said, i, &a);
        if (there != pack_dir_row(scanned, i, &b) ||
            (there && (a.offset != b.offset || a.bytes != b.bytes || a.kind != b.kind ||
                       a.present != b.present || a.birth != b.birth)))
            return false;
        for (unsigned item = 0; there && a.kind == FRAME_DATA && item < FRAME_ITEMS; item++) {
            struct hash x, y;
            if (a.present >> item & 1 &&
                (!pack_dir_hash(said, io, i, (uint8_t)item, &x, &err) ||
                 !pack_dir_hash(scanned, io, i, (uint8_t)item, &y, &err) || !hash_equal(&x, &y)))
                return false;
        }
        uint64_t file[2], records[2][FRAME_ITEMS] = {0};
        uint8_t count[2];
        if (there && a.kind == FRAME_DATA &&
            (!pack_dir_subject(said, io, i, &file[0], records[0], &count[0], &err) ||
             !pack_dir_subject(scanned, io, i, &file[1], records[1], &count[1], &err) ||
             file[0] != file[1] || memcmp(records[0], records[1], sizeof records[0]) != 0))
            return false;
    }
    return true;
}

struct pack_dir *pack_dir_scan(struct io *io, const struct pack_key *key, uint64_t object_bytes,
                               bool *ret_whole, struct err *err)
{
    AUTO(scan) struct scan *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    if (object_bytes > PACK_BYTES_MAX) {
        err_set(err, ERR_CORRUPT, "pack %08x-%04x has %llu bytes", key->pack, key->generation,
                (unsigned long long)object_bytes);
        return NULL;
    }
    s->window_bytes = object_bytes < WINDOW ? (size_t)object_bytes : WINDOW;
    s->window = own_realloc(NULL, s->window_bytes, err);
    if (!s->window)
        return NULL;
    s->io = io;
    s->key = key;
    s->seed = pack_seed(key);
    s->object_bytes = object_bytes;
    pack_name(key, s->name);
    if (!scan_frames(s, err))
        return NULL;
    struct pack_dir *dir = pack_dir_of(key, &s->index, err);
    if (dir)
        *ret_whole = agrees(dir, io, key, object_bytes);
    return dir;
}
