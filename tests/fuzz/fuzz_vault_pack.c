/* Fuzz target: a pack object. Its sums are made right where its own footer and frame headers lead
 * to them, so that what lies behind a sum is reached. */
#include "drivers/vault/store/pack_int.h"
#include "tests/lib/memory_io.c" /* the runner links one file */
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct pack_key key = {.family = 7, .seed = 99, .pack = 5, .generation = 2};

/* Frame by frame from the header on, as far as they look like frames. */
static void mend_frames(uint8_t *pack, size_t size)
{
    for (size_t at = PACK_HEADER; at + PACK_FRAME_HEADER <= size;) {
        struct frame_header h;
        if (!frame_header_take(pack + at, &h) || frame_header_bytes(&h) > size - at)
            return;
        const uint8_t *subject = pack + at + PACK_FRAME_HEADER;
        frame_header_put(&h, pack_seed(&key), subject, subject + h.subject_bytes, pack + at);
        at += frame_header_bytes(&h);
    }
}

static void mend_directory(uint8_t *pack, size_t size)
{
    uint64_t seed = pack_seed(&key);
    uint8_t *footer = pack + size - PACK_FOOTER;
    struct format_piece parts[4];
    for (size_t i = 0; i < 4; i++) {
        uint64_t offset = pack_take(footer + 8 * i, 4), bytes = pack_take(footer + 8 * i + 4, 4);
        if (offset + bytes > size)
            return;
        parts[i] = (struct format_piece){pack + offset, (size_t)bytes};
    }
    pack_put(footer + 40, format_sum_of(seed, parts, 3), 8);
    pack_put(footer + 48, format_sum_of(seed, parts + 3, 1), 8);
    struct format_piece whole[] = {{pack, PACK_HEADER}, {footer, 72}};
    pack_put(footer + 72, format_sum_of(seed, whole, 2), 8);
}

static void read_all(struct io *io, struct pack_dir *dir)
{
    static uint8_t raw[FRAME_RAW_MAX];
    for (uint32_t i = 0; i < pack_dir_frames(dir); i++) {
        struct err err = {0};
        struct pack_row row;
        uint64_t file, records[FRAME_ITEMS];
        uint8_t count;
        struct hash hash;
        size_t len = 0;
        if (!pack_dir_row(dir, i, &row))
            continue;
        bool good = pack_frame_read(io, &key, &row, i, raw, &len, &err);
        assert(!good || len <= FRAME_RAW_MAX);
        if (pack_dir_subject(dir, io, i, &file, records, &count, &err))
            for (uint8_t k = 1; k < count; k++)
                assert(records[k] > records[k - 1]);
        for (uint8_t item = 0; item < FRAME_ITEMS; item++) {
            const uint8_t *at;
            size_t item_len;
            IGNORE(pack_dir_hash(dir, io, i, item, &hash, &err));
            if (good && pack_item(&row, raw, len, item, &at, &item_len, &err))
                assert(at >= raw && item_len <= len && at <= raw + len - item_len);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct memory_io *memory;
    char name[IO_NAME_MAX];
    if (size < 1 + PACK_HEADER + PACK_FOOTER)
        return 0;
    AUTO(io) struct io *io = memory_io_open(0, &memory, &err);
    AUTO(mem) uint8_t *pack = own_alloc(size - 1, &err);
    if (!io || !pack)
        return 0;
    memcpy(pack, data + 1, size - 1);
    if (data[0] & 1)
        mend_frames(pack, size - 1);
    if (data[0] & 2)
        pack_header(&key, pack);
    if (data[0] & 4)
        mend_directory(pack, size - 1);
    pack_name(&key, name);
    if (!memory_io_set(memory, name, pack, size - 1, &err))
        return 0;
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(io, &key, size - 1, &err);
    if (dir)
        read_all(io, dir);
    bool whole = false;
    AUTO(pack_dir) struct pack_dir *scanned = pack_dir_scan(io, &key, size - 1, &whole, &err);
    assert(scanned && (!whole || dir));
    read_all(io, scanned);
    return 0;
}
