/* Packs: their bytes, reading them back, and what is said when they are damaged or lie. */
#include "tests/vault/pack_world.h"
#include <stdio.h>
#include <xxhash.h>

/* ---- the bytes, by a second hand ---- */

struct hand {
    uint8_t at[64 << 10];
    size_t len;
};

static void le(struct hand *h, uint64_t n, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        h->at[h->len++] = (uint8_t)(n >> (8 * i));
}

static void raw(struct hand *h, const void *bytes, size_t len)
{
    memcpy(h->at + h->len, bytes, len);
    h->len += len;
}

static uint64_t sum(uint64_t seed, const void *bytes, size_t len)
{
    return XXH3_64bits_withSeed(bytes, len, seed);
}

static void hand_frame(struct hand *h, uint64_t seed, uint8_t kind, uint8_t items, uint32_t frame,
                       uint64_t present, const char *subject, size_t subject_len,
                       const void *stored, size_t len, uint64_t birth)
{
    size_t begin = h->len;
    raw(h, "ECfr", 4);
    le(h, kind, 1);
    le(h, 0, 1);
    le(h, items, 1);
    le(h, 0, 1);
    le(h, frame, 4);
    le(h, present, 2);
    le(h, subject_len, 2);
    le(h, len, 4);
    le(h, len, 4);
    le(h, birth, 8);
    uint64_t s = sum(seed, h->at + begin, 32);
    le(h, sum(sum(s, subject, subject_len), stored, len), 8);
    raw(h, subject, subject_len);
    raw(h, stored, len);
}

static void hand_pack(struct hand *h, const uint8_t *records, const struct hash *hashes)
{
    raw(h, "ECPACK01", 8);
    le(h, 1, 4);
    le(h, 0x1234, 4);
    le(h, 0xfeed, 8);
    le(h, 3, 2);
    le(h, 0, 2);
    le(h, sum(42, h->at, 28), 4);
    const uint8_t place[12] = {0xed, 0xfe, 0, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0};
    uint64_t seed = sum(42, place, 12);
    size_t at[4] = {h->len};
    /* file 300 (two bytes), records 5 and 9 */
    hand_frame(h, seed, 1, 3, 0, 5, "\xac\x02\x05\x04", 4, records, 16384, 77);
    at[1] = h->len;
    hand_frame(h, seed, 2, 2, 1, 3, "", 0,
               "\x02\x02\x03"
               "abcde",
               8, 77);
    at[2] = h->len;
    hand_frame(h, seed, 4, 1, 3, 1, "", 0, "seal!", 5, 78);
    at[3] = h->len;
    size_t rows = h->len;
    static const uint8_t kinds[] = {1, 2, 4}, masks[] = {5, 3, 1}, born[] = {0, 0, 1};
    for (size_t i = 0; i < 3; i++) {
        if (i == 2) {
            le(h, 0, 8);
            le(h, 0, 8);
        }
        le(h, at[i], 4);
        le(h, at[i + 1] - at[i], 4);
        le(h, kinds[i], 1);
        le(h, 0, 1);
        le(h, masks[i], 2);
        le(h, born[i], 4);
    }
    size_t births = h->len;
    le(h, 2, 1);
    le(h, 77, 8);
    le(h, 78, 8);
    size_t subjects = h->len;
    raw(h, "\xac\x02\x05\x04", 4);
    size_t hash = h->len;
    raw(h, hashes, 64);
    size_t footer = h->len;
    const size_t parts[] = {rows, births, subjects, hash, footer};
    for (size_t i = 0; i < 4; i++) {
        le(h, parts[i], 4);
        le(h, parts[i + 1] - parts[i], 4);
    }
    le(h, 4, 4);
    le(h, 5, 4);
    uint64_t s = sum(seed, h->at + rows, births - rows);
    s = sum(s, h->at + births, subjects - births);
    le(h, sum(s, h->at + subjects, hash - subjects), 8);
    le(h, sum(seed, h->at + hash, 64), 8);
    le(h, 16384 + 8 + 5, 8);
    le(h, 0, 4);
    raw(h, "ECPE", 4);
    s = sum(seed, h->at, 32);
    le(h, sum(s, h->at + footer, 72), 8);
}

Test(pack, its_bytes_are_those_of_the_format)
{
    struct err err = {0};
    struct memory_io *memory;
    AUTO(io) struct io *io = memory_io_open(0, &memory, &err);
    struct pack_key key = {.family = 0xfeed, .seed = 42, .pack = 0x1234, .generation = 3};
    static uint8_t records[2 * RECORD_BYTES];
    uint64_t state = 1;
    for (size_t i = 0; i < sizeof records; i++)
        records[i] = (uint8_t)((state = state * 6364136223846793005ULL + 1) >> 56);
    struct frame frames[4] = {
        {.kind = FRAME_DATA,
         .file = 300,
         .birth = 77,
         .items = 3,
         .present = 5,
         .records = {5, 9},
         .raw = records,
         .raw_len = sizeof records},
        {.kind = FRAME_NODES, .birth = 77, .items = 2, .present = 3},
        {.kind = FRAME_NODES, .items = 2},
        {.kind = FRAME_SEAL,
         .birth = 78,
         .items = 1,
         .present = 1,
         .raw = (uint8_t *)"seal!",
         .raw_len = 5},
    };
    for (size_t i = 0; i < 2; i++)
        hash_bytes(records + i * RECORD_BYTES, RECORD_BYTES, &frames[0].hashes[i]);
    AUTO(bytes) struct bytes nodes = {0};
    OK(frame_join((struct bytes[]){{(uint8_t *)"ab", 2, 2}, {(uint8_t *)"cde", 3, 3}}, 2, &nodes,
                  &e));
    frames[1].raw = nodes.data;
    frames[1].raw_len = nodes.len;
    struct pack_writer *writer = pack_create(io, &key, 1, &err);
    cr_assert(writer, "%s", err.text);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t frame;
        if (frames[i].present)
            OK(frame_press(&frames[i], 1, &e));
        OK(pack_add(writer, &frames[i], &frame, &e));
        cr_assert_eq(frame, i);
    }
    uint64_t bytes;
    OK(pack_finish(writer, &bytes, &e));
    static struct hand hand;
    hand_pack(&hand, records, frames[0].hashes);
    size_t len;
    AUTO(mem)
    char *object = io_get(io, "f/000000000000feed/pack/00001234-0003", 1 << 20, &len, &err);
    cr_assert(object, "%s", err.text);
    cr_assert_eq(len, hand.len, "%zu bytes, %zu by hand", len, hand.len);
    cr_assert_eq(bytes, hand.len);
    for (size_t i = 0; i < len; i++)
        cr_assert_eq((uint8_t)object[i], hand.at[i], "byte %zu is %02x, %02x by hand", i,
                     (uint8_t)object[i], hand.at[i]);
    for (size_t i = 0; i < 4; i++)
        frame_done(&frames[i]);
}

/* ---- reading ---- */

/* How many things of a pack cannot be read; what can be read is right. */
static uint32_t check_all(struct pack_world *w, struct pack_dir *dir, struct err *err)
{
    static uint8_t got[FRAME_RAW_MAX];
    uint32_t bad = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct frame *f = &w->made[i].frame;
        struct pack_row row;
        size_t len;
        bool there = pack_dir_row(dir, i, &row);
        if (!there || f->present == 0) {
            bad += there != (f->present != 0);
            continue;
        }
        cr_assert_eq(row.present, f->present);
        cr_assert_eq(row.kind, f->kind);
        cr_assert_eq(row.birth, f->birth);
        if (!pack_frame_read(w->io, &w->key, &row, i, got, &len, err)) {
            bad++;
            continue;
        }
        cr_assert_eq(len, f->raw_len);
        cr_assert_eq(memcmp(got, f->raw, len), 0, "frame %u is served with other bytes", i);
        if (f->kind != FRAME_DATA)
            continue;
        uint64_t file, records[FRAME_ITEMS];
        uint8_t count;
        if (pack_dir_subject(dir, w->io, i, &file, records, &count, err)) {
            cr_assert_eq(file, f->file);
            cr_assert_eq(count, __builtin_popcount(f->present));
            cr_assert_eq(memcmp(records, f->records, count * sizeof *records), 0);
        } else {
            bad++;
        }
        for (uint8_t item = 0; item < FRAME_ITEMS; item++) {
            struct hash hash;
            int place = pack_item_place(f->present, item);
            if (place < 0)
                continue;
            if (pack_dir_hash(dir, w->io, i, item, &hash, err))
                cr_assert(hash_equal(&hash, &f->hashes[place]));
            else
                bad++;
        }
    }
    return bad;
}

Test(pack, gives_back_every_frame_item_hash_and_record_number)
{
    test_random_start("pack");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 120, false);
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(w.io, &w.key, w.bytes, &err);
    cr_assert(dir, "%s", err.text);
    cr_assert_eq(pack_dir_frames(dir), w.count);
    cr_assert_eq(check_all(&w, dir, &err), 0, "%s", err.text);
    static uint8_t got[FRAME_RAW_MAX];
    uint32_t plain = 0, pressed = 0;
    for (uint32_t i = 0; i < w.count; i++) {
        const struct made *m = &w.made[i];
        struct pack_row row;
        size_t len;
        if (!pack_dir_row(dir, i, &row))
            continue;
        plain += m->frame.pressed_plain;
        pressed += !m->frame.pressed_plain;
        OK(pack_frame_read(w.io, &w.key, &row, i, got, &len, &e));
        for (uint8_t item = 0; item < FRAME_ITEMS; item++) {
            const uint8_t *bytes;
            size_t item_len;
            int place = pack_item_place(row.present, item);
            if (place < 0) {
                FAILS(ERR_CORRUPT, pack_item(&row, got, len, item, &bytes, &item_len, &e));
                continue;
            }
            OK(pack_item(&row, got, len, item, &bytes, &item_len, &e));
            if (row.kind == FRAME_NODES) {
                cr_assert_eq(item_len, m->nodes[item].len);
                cr_assert(item_len == 0 || memcmp(bytes, m->nodes[item].data, item_len) == 0);
            } else if (row.kind == FRAME_DATA) {
                cr_assert_eq(item_len, RECORD_BYTES);
                cr_assert_eq(bytes, got + place * RECORD_BYTES);
            }
        }
    }
    cr_assert(plain > 5 && pressed > 5, "%u plain, %u pressed", plain, pressed);
    world_end(&w);
}

Test(pack, finds_each_turned_byte_and_serves_none)
{
    test_random_start("pack");
    struct pack_world w;
    world_begin(&w, 9, true);
    char name[IO_NAME_MAX];
    pack_name(&w.key, name);
    cr_assert_lt(w.bytes, 40000);
    for (uint64_t at = 0; at < w.bytes; at++) {
        struct err err = {0};
        uint8_t mask = (uint8_t)(1 + test_random_below(255));
        cr_assert(memory_io_flip(w.memory, name, at, mask));
        AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(w.io, &w.key, w.bytes, &err);
        if (dir)
            cr_assert_gt(check_all(&w, dir, &err), 0, "byte %zu: nobody noticed", (size_t)at);
        cr_assert_eq(err.code, ERR_CORRUPT, "byte %zu: %s", (size_t)at, err.text);
        if (at % 64 == 0 || at + 90 > w.bytes) {
            bool whole = true;
            struct err none = {0};
            AUTO(pack_dir)
            struct pack_dir *found = pack_dir_scan(w.io, &w.key, w.bytes, &whole, &none);
            cr_assert(found, "%s", none.text);
            cr_assert_not(whole, "byte %zu: called whole", (size_t)at);
            cr_assert_leq(check_all(&w, found, &none), 1, "byte %zu costs more than its frame",
                          (size_t)at);
        }
        cr_assert(memory_io_flip(w.memory, name, at, mask));
    }
    world_end(&w);
}

Test(pack, is_read_by_its_frames_alone_when_its_end_is_gone)
{
    test_random_start("pack");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 30, false);
    bool whole = false;
    struct pack_dir *dir = pack_dir_scan(w.io, &w.key, w.bytes, &whole, &err);
    cr_assert(dir, "%s", err.text);
    cr_assert(whole);
    cr_assert_eq(check_all(&w, dir, &err), 0, "%s", err.text);
    pack_dir_free(dir);

    char name[IO_NAME_MAX];
    pack_name(&w.key, name);
    size_t len;
    AUTO(mem) char *object = io_get(w.io, name, w.bytes, &len, &err);
    uint32_t last_bad = w.count + 1;
    for (size_t keep = 0, next; keep < len; keep = next) {
        next = keep < 64 || keep + 200 >= len ? keep + 7 : keep + 20011;
        next = next + 200 > len && keep + 200 < len ? len - 200 : next;
        next = next >= len && keep < len - 1 ? len - 1 : next;
        OK(memory_io_set(w.memory, name, object, keep, &e));
        err_clear(&err);
        cr_assert_null(pack_dir_read(w.io, &w.key, keep, &err));
        cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
        /* also when the caller believes in the old length */
        err_clear(&err);
        cr_assert_null(pack_dir_read(w.io, &w.key, len, &err));
        cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
        struct err none = {0};
        dir = pack_dir_scan(w.io, &w.key, keep % 2 ? keep : len, &whole, &none);
        cr_assert(dir, "%s", none.text);
        cr_assert_not(whole);
        uint32_t bad = check_all(&w, dir, &none);
        cr_assert_leq(bad, last_bad, "more was kept, less is found");
        last_bad = bad;
        pack_dir_free(dir);
    }
    cr_assert_eq(last_bad, 0, "all frames are there, %u are not found", last_bad);
    world_end(&w);
}

Test(pack, of_another_name_is_not_taken_for_its_own)
{
    test_random_start("pack");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 6, true);
    char name[IO_NAME_MAX];
    pack_name(&w.key, name);
    size_t len;
    AUTO(mem) char *object = io_get(w.io, name, w.bytes, &len, &err);
    struct pack_key others[4] = {w.key, w.key, w.key, w.key};
    others[0].pack++;
    others[1].generation++;
    others[2].family++;
    others[3].seed++;
    for (size_t i = 0; i < 4; i++) {
        pack_name(&others[i], name);
        OK(memory_io_set(w.memory, name, object, len, &e));
        FAILS(ERR_CORRUPT, pack_dir_read(w.io, &others[i], len, &e));
        bool whole = true;
        AUTO(pack_dir) struct pack_dir *dir = pack_dir_scan(w.io, &others[i], len, &whole, &err);
        cr_assert(dir);
        cr_assert_not(whole);
        /* its frames know their pack, not the generation they are kept in */
        cr_assert_eq(pack_dir_frames(dir), i == 1 ? 6 : 0);
    }
    pack_name(&w.key, name);
    uint8_t *version = (uint8_t *)object + 8;
    *version = 2;
    pack_put((uint8_t *)object + 28, format_sum(w.key.seed, object, 28), 4);
    OK(memory_io_set(w.memory, name, object, len, &e));
    FAILS(ERR_UNSUPPORTED, pack_dir_read(w.io, &w.key, len, &e));
    world_end(&w);
}

/* Whoever knows the seed can make every sum right: then the lengths must not be believed. */
static void resum(struct pack_world *w, uint8_t *object, size_t len)
{
    uint64_t seed = pack_seed(&w->key);
    uint8_t *footer = object + len - PACK_FOOTER;
    uint64_t rows = pack_take(footer, 4),
             part[3] = {pack_take(footer + 4, 4), pack_take(footer + 12, 4),
                        pack_take(footer + 20, 4)};
    if (rows + part[0] + part[1] + part[2] <= len) {
        struct format_piece pieces[] = {{object + rows, part[0]},
                                        {object + rows + part[0], part[1]},
                                        {object + rows + part[0] + part[1], part[2]}};
        pack_put(footer + 40, format_sum_of(seed, pieces, 3), 8);
    }
    struct format_piece whole[] = {{object, PACK_HEADER}, {footer, 72}};
    pack_put(footer + 72, format_sum_of(seed, whole, 2), 8);
    for (size_t at = PACK_HEADER; at + PACK_FRAME_HEADER < len;) {
        struct frame_header h;
        if (!frame_header_take(object + at, &h) || at + frame_header_bytes(&h) > len)
            break;
        const uint8_t *subject = object + at + PACK_FRAME_HEADER;
        frame_header_put(&h, seed, subject, subject + h.subject_bytes, object + at);
        at += frame_header_bytes(&h);
    }
}

/* Reads all there is; nothing is known of what it should be. */
static void read_all(struct pack_world *w, struct pack_dir *dir)
{
    static uint8_t got[FRAME_RAW_MAX];
    for (uint32_t i = 0; i < pack_dir_frames(dir); i++) {
        struct err err = {0};
        struct pack_row row;
        size_t len, item_len;
        const uint8_t *bytes;
        uint64_t file, records[FRAME_ITEMS];
        uint8_t count;
        struct hash hash;
        if (!pack_dir_row(dir, i, &row))
            continue;
        IGNORE(pack_dir_subject(dir, w->io, i, &file, records, &count, &err));
        bool good = pack_frame_read(w->io, &w->key, &row, i, got, &len, &err);
        for (uint8_t item = 0; item < FRAME_ITEMS; item++) {
            IGNORE(pack_dir_hash(dir, w->io, i, item, &hash, &err));
            if (good && pack_item(&row, got, len, item, &bytes, &item_len, &err))
                cr_assert(bytes >= got && bytes + item_len <= got + len);
        }
    }
}

Test(pack, that_lies_with_right_sums_is_refused_or_read_within_its_bounds)
{
    test_random_start("pack");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 12, true);
    char name[IO_NAME_MAX];
    pack_name(&w.key, name);
    size_t len;
    AUTO(mem) char *object = io_get(w.io, name, w.bytes, &len, &err);
    size_t directory = pack_take((uint8_t *)object + len - PACK_FOOTER, 4);
    uint32_t refused = 0, rounds = getenv("EVERCOPY_LONG") ? 200000 : 700;
    for (uint32_t round = 0; round < rounds; round++) {
        AUTO(mem) uint8_t *bad = malloc(len);
        memcpy(bad, object, len);
        for (uint32_t i = 0, turns = 1 + test_random_below(3); i < turns; i++) {
            size_t at = test_random_below(3) == 0
                            ? test_random_below((uint32_t)directory)
                            : directory + test_random_below((uint32_t)(len - directory));
            bad[at] = (uint8_t)(test_random_below(2) ? test_random() : bad[at] + 1U);
        }
        resum(&w, bad, len);
        OK(memory_io_set(w.memory, name, bad, len, &e));
        err_clear(&err);
        AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(w.io, &w.key, len, &err);
        if (dir)
            read_all(&w, dir);
        else
            refused++;
        bool whole;
        AUTO(pack_dir) struct pack_dir *found = pack_dir_scan(w.io, &w.key, len, &whole, &err);
        cr_assert(found, "%s", err.text);
        read_all(&w, found);
    }
    cr_assert_gt(refused, rounds / 10);
    world_end(&w);
}

Test(pack, of_nothing_but_marks_is_scanned_in_bounded_time)
{
    struct err err = {0};
    struct memory_io *memory;
    AUTO(io) struct io *io = memory_io_open(0, &memory, &err);
    struct pack_key key = {.family = 1, .seed = 5, .pack = 1};
    char name[IO_NAME_MAX];
    pack_name(&key, name);
    size_t len = 4 << 20;
    AUTO(mem) uint8_t *bytes = malloc(len);
    /* headers that could begin a frame of 128 KiB, every 24 bytes, one within the other */
    for (size_t at = 0; at + 24 <= len; at += 24) {
        memcpy(bytes + at, "ECfr\2\0\1\0\0\0\0\0\1\0\0\0\0\0\2\0\0\0\2\0", 24);
    }
    OK(memory_io_set(memory, name, bytes, len, &e));
    bool whole;
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_scan(io, &key, len, &whole, &err);
    cr_assert(dir, "%s", err.text);
    cr_assert_eq(pack_dir_frames(dir), 0);
}

/* ---- thinning ---- */

Test(pack, keeps_addresses_when_it_is_thinned)
{
    test_random_start("pack");
    struct pack_world w;
    struct err err = {0};
    world_begin(&w, 60, false);
    AUTO(pack_dir) struct pack_dir *old = pack_dir_read(w.io, &w.key, w.bytes, &err);
    struct pack_key next = w.key;
    next.generation++;
    struct pack_writer *writer = pack_create(w.io, &next, 1, &err);
    uint16_t *live = calloc(w.count, sizeof *live);
    for (uint32_t i = 0; i < w.count; i++) {
        live[i] = i % 4 == 0 ? 0xffff : i % 4 == 1 ? 0 : (uint16_t)test_random();
        FAILS(ERR_INVALID, pack_keep(writer, w.io, old, i + 1, live[i], &e));
        OK(pack_keep(writer, w.io, old, i, live[i], &e));
        cr_assert_eq(pack_masks(writer)[i], w.made[i].frame.present & live[i]);
    }
    uint64_t bytes;
    OK(pack_finish(writer, &bytes, &e));
    cr_assert_lt(bytes, w.bytes);
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(w.io, &next, bytes, &err);
    cr_assert(dir, "%s", err.text);
    bool whole;
    AUTO(pack_dir) struct pack_dir *scanned = pack_dir_scan(w.io, &next, bytes, &whole, &err);
    cr_assert(scanned && whole);
    static uint8_t got[FRAME_RAW_MAX];
    for (uint32_t i = 0; i < w.count; i++) {
        const struct made *m = &w.made[i];
        struct pack_row row;
        size_t len, item_len;
        uint16_t left = m->frame.present & live[i];
        cr_assert_eq(pack_dir_row(dir, i, &row), left != 0);
        if (left == 0)
            continue;
        cr_assert_eq(row.present, left);
        cr_assert_eq(row.birth, m->frame.birth);
        OK(pack_frame_read(w.io, &next, &row, i, got, &len, &e));
        for (uint8_t item = 0; item < FRAME_ITEMS; item++) {
            const uint8_t *item_bytes;
            int place = pack_item_place(m->frame.present, item);
            if (!(left >> item & 1))
                continue;
            OK(pack_item(&row, got, len, item, &item_bytes, &item_len, &e));
            if (row.kind == FRAME_NODES) {
                cr_assert_eq(item_len, m->nodes[item].len);
                cr_assert(item_len == 0 || memcmp(item_bytes, m->nodes[item].data, item_len) == 0);
            } else if (row.kind == FRAME_DATA) {
                struct hash hash;
                cr_assert_eq(memcmp(item_bytes, m->frame.raw + place * RECORD_BYTES, item_len), 0);
                OK(pack_dir_hash(dir, w.io, i, item, &hash, &e));
                cr_assert(hash_equal(&hash, &m->frame.hashes[place]));
            } else {
                cr_assert_eq(memcmp(item_bytes, m->frame.raw, item_len), 0);
            }
        }
    }
    free(live);
    world_end(&w);
}

/* ---- limits and faults ---- */

Test(pack, refuses_frames_that_are_none)
{
    test_random_start("pack");
    struct err err = {0};
    AUTO(io) struct io *io = memory_io_open(0, NULL, &err);
    struct pack_key key = {.family = 1, .seed = 5, .pack = 1};
    AUTO(pack_writer) struct pack_writer *writer = pack_create(io, &key, 1, &err);
    uint32_t frame;
    struct frame good = {0};
    world_data(&good, 3, 1);
    good.items = 16, good.present = 3, good.raw_len = 2 * RECORD_BYTES;
    good.raw = realloc(good.raw, FRAME_RAW_MAX + 1);
    good.records[0] = 1, good.records[1] = 2;
    OK(frame_press(&good, 1, &e));
    struct frame bad = good;
    bad.records[1] = 1;
    FAILS(ERR_INVALID, pack_add(writer, &bad, &frame, &e));
    bad = good;
    bad.items = 1;
    FAILS(ERR_INVALID, pack_add(writer, &bad, &frame, &e));
    bad = good;
    bad.raw_len = RECORD_BYTES;
    FAILS(ERR_INVALID, pack_add(writer, &bad, &frame, &e));
    bad = good;
    bad.records[1] = (uint64_t)1 << 33;
    FAILS(ERR_INVALID, pack_add(writer, &bad, &frame, &e));
    good.raw_len = FRAME_RAW_MAX + 1;
    FAILS(ERR_LIMIT, frame_press(&good, 1, &e));
    good.raw_len = 0;
    FAILS(ERR_LIMIT, frame_press(&good, 1, &e));
    free(good.raw);
    frame_done(&good);
}

Test(pack, says_when_it_is_full_and_takes_no_more_than_its_limit)
{
    struct err err = {0};
    AUTO(io) struct io *io = memory_io_open(0, NULL, &err);
    struct pack_key key = {.family = 1, .seed = 5, .pack = 1};
    AUTO(pack_writer) struct pack_writer *writer = pack_create(io, &key, 1, &err);
    uint32_t frame;
    struct frame none = {.kind = FRAME_DATA, .items = 16};
    for (uint32_t i = 0; i < PACK_FRAMES_MAX; i++) {
        cr_assert_eq(pack_is_full(writer), i >= PACK_FRAMES_MAX / 2);
        OK(pack_add(writer, &none, &frame, &e));
    }
    FAILS(ERR_LIMIT, pack_add(writer, &none, &frame, &e));
    cr_assert_eq(pack_frames(writer), PACK_FRAMES_MAX);
}

/* Writes, reads the directory, a frame and a hash; false when a fault was told. */
static bool one_life(struct io *io, const struct pack_key *key, struct frame *f, bool *ret_written,
                     struct err *err)
{
    static uint8_t got[FRAME_RAW_MAX];
    *ret_written = false;
    AUTO(pack_writer) struct pack_writer *writer = pack_create(io, key, 1, err);
    uint32_t frame;
    uint64_t bytes;
    if (!writer)
        return false;
    for (size_t i = 0; i < 12; i++)
        if (!frame_press(f, 1, err) || !pack_add(writer, f, &frame, err))
            return false;
    if (!pack_finish(TAKE(writer), &bytes, err))
        return false;
    *ret_written = true;
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(io, key, bytes, err);
    struct pack_row row;
    struct hash hash;
    size_t len;
    uint8_t item = (uint8_t)__builtin_ctz(f->present);
    return dir && pack_dir_row(dir, 3, &row) && pack_frame_read(io, key, &row, 3, got, &len, err) &&
           pack_dir_hash(dir, io, 3, item, &hash, err) && len == f->raw_len &&
           memcmp(got, f->raw, len) == 0 && hash_equal(&hash, &f->hashes[0]);
}

Test(pack, reports_every_failed_call_and_leaves_nothing_half_written)
{
    test_random_start("pack");
    struct frame f = {0};
    world_data(&f, 3, 0);
    for (int memory = 0; memory < 2; memory++) {
        bool through = false;
        for (long nth = 1; nth < 500 && !through; nth++) {
            struct err err = {0};
            struct memory_io *state;
            AUTO(io) struct io *io = memory_io_open(0, &state, &err);
            struct pack_key key = {.family = 1, .seed = 5, .pack = 1};
            if (memory)
                own_fault(nth);
            else
                io_fault(nth, ERR_IO, false);
            bool written, done = one_life(io, &key, &f, &written, &err);
            long calls = memory ? own_fault(0) : io_fault(0, ERR_IO, false);
            through = calls < nth;
            cr_assert_eq(done, through, "%s %ld: %s", memory ? "memory" : "io", nth, err.text);
            cr_assert_eq(done, err.code == ERR_NONE, "%s", err.text);
            cr_assert_eq(memory_io_objects(state), written);
        }
        cr_assert(through);
    }
    free(f.raw);
    frame_done(&f);
}
