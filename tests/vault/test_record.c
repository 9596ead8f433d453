/* Records of a volume's journal: the bytes FORMAT.md says, and nothing hostile gets through. */
#include "drivers/vault/volume/record.h"
#include <criterion/criterion.h>
#include <string.h>

static struct record sample(uint8_t kind)
{
    struct record r = {.kind = kind, .client = 1, .sum = 3, .xid = 2, .asked = 9, .time_us = 4};
    r.sequence = 5;
    r.next = 6;
    r.id = 7;
    r.volume = 8;
    r.family = 9;
    r.clone = 1;
    r.file = 10;
    r.folder = 11;
    r.to_folder = 12;
    r.replaced = 13;
    r.below = 14;
    r.size = 15;
    r.source = 16;
    r.file_kind = 1;
    r.mask = 17;
    r.mode = 0640;
    r.uid = 18;
    r.gid = 19;
    r.mtime_us = 20;
    r.atime_us = 21;
    r.remaining_ms = 22;
    r.until_boot_ms = 23;
    memcpy(r.boot_id, "boot", 5);
    memcpy(r.name, "name", 5);
    memcpy(r.origin, "origin", 7);
    r.member_count = 1;
    r.members[0] = (struct volume_pair){24, 25};
    return r;
}

Test(record, lies_as_the_format_says)
{
    static const uint8_t swap[] = {5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t remove[] = {1, 0, 0, 0, 0, 0, 0,  0, 2, 0, 0, 0, 3, 0,  0,
                                     0, 0, 0, 0, 0, 4, 0,  0, 0, 0, 0, 0, 0, 10, 0,
                                     0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t part[] = {10, 0, 0, 0, 0, 0, 0, 0,  14, 0, 0, 0, 0, 0, 0, 0, 15,
                                   0,  0, 0, 0, 0, 0, 0, 16, 20, 0, 0, 0, 0, 0, 0, 0};
    static const struct {
        uint8_t kind;
        const uint8_t *bytes;
        size_t len;
    } cases[] = {{RECORD_SWAP, swap, sizeof swap},
                 {RECORD_REMOVE, remove, sizeof remove},
                 {RECORD_PART, part, sizeof part}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {0};
        AUTO(bytes) struct bytes b = {0};
        struct record r = sample(cases[i].kind);
        cr_assert(record_encode(&r, &b, &err));
        cr_assert_arr_eq(b.data, cases[i].bytes, cases[i].len, "kind %u", r.kind);
        cr_assert_eq(b.len, cases[i].len);
    }
}

Test(record, comes_back_whole_and_never_cut_or_longer)
{
    for (uint8_t kind = 1; kind < RECORD_KINDS; kind++) {
        struct err err = {0};
        AUTO(bytes) struct bytes b = {0}, again = {0};
        struct record r = sample(kind), back;
        cr_assert(record_encode(&r, &b, &err));
        struct cursor c = cursor_over(b.data, b.len);
        cr_assert(record_decode(kind, &c, &back, &err), "kind %u: %s", kind, err.text);
        cr_assert(record_encode(&back, &again, &err));
        cr_assert(b.len == again.len && memcmp(b.data, again.data, b.len) == 0, "kind %u", kind);
        for (size_t len = 0; len < b.len; len++) {
            struct cursor cut = cursor_over(b.data, len);
            cr_assert(!record_decode(kind, &cut, &back, &err));
            cr_assert_eq(err.code, ERR_CORRUPT);
        }
        cr_assert(bytes_u8(&b, 0, &err));
        struct cursor longer = cursor_over(b.data, b.len);
        cr_assert(!record_decode(kind, &longer, &back, &err));
    }
}
