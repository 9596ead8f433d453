/* Commits and tables as bytes: pinned, since stores keep them for years; and refused when hostile.
 */
#include "agent/base/str.h"
#include "drivers/vault/store/commit.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const uint64_t SEED = 11;

#define OK(what)                                                                                   \
    do {                                                                                           \
        if (!(what))                                                                               \
            cr_assert(false, "%s: %s", #what, err.text);                                           \
    } while (0)

static struct root a_root(uint32_t pack)
{
    struct root root = {.level = 1, .stored = true, .addr = {pack, 300, 5}, .birth = 20};
    memset(root.hash.bytes, 0xab, sizeof root.hash.bytes);
    return root;
}

static struct masks *some_masks(uint16_t last)
{
    struct err err = {0};
    uint16_t plain[12];
    for (int i = 0; i < 12; i++)
        plain[i] = 0xffff;
    plain[11] = last;
    struct masks *masks = masks_new(plain, 12, &err);
    OK(masks);
    return masks;
}

static struct change volume_added(uint64_t id, uint64_t start)
{
    struct change change = {.kind = CHANGE_VOLUME_ADDED,
                            .row = {.id = id, .created_us = 1000, .start = start, .name = "orcl"}};
    if (start > 0) {
        change.row.clone = true;
        change.row.origins[change.row.origin_count++] = (struct volume_origin){1, 20};
        change.row.table = a_root(4);
        change.row.slots = 30;
    }
    return change;
}

static struct change sealed(void)
{
    struct err err = {0};
    struct change change = {.kind = CHANGE_SEALED,
                            .volume = 1,
                            .sequence = 20,
                            .named = true,
                            .seal = {5, 2, 0},
                            .snapshot = {.table = a_root(5),
                                         .slots = 22,
                                         .name = "monday",
                                         .id = 9,
                                         .created_us = 5000,
                                         .logical_bytes = 1 << 20}};
    change.packs = own_alloc(2 * sizeof *change.packs, &err);
    OK(change.packs);
    for (uint32_t i = 0; i < 2; i++)
        change.packs[change.pack_count++] = (struct table_pack){
            .number = 4 + i, .bytes = 70000 + i, .items = 11 * 16 + 1, .live = some_masks(1)};
    change.lists = own_alloc(sizeof *change.lists, &err);
    change.list_count = 1;
    change.lists[0].chunks = own_alloc(sizeof *change.lists[0].chunks, &err);
    change.lists[0].chunks[0] = (struct dead_chunk){{5, 1, 0}, 3, 7, 40};
    change.lists[0].count = 1;
    change.bad = own_alloc(sizeof *change.bad, &err);
    change.bad[change.bad_count++] = (struct bad_record){21, 17};
    return change;
}

static struct change some_freed(void)
{
    struct err err = {0};
    struct change change = {.kind = CHANGE_FREED};
    uint16_t gone[12] = {3};
    change.freed = own_alloc(2 * sizeof *change.freed, &err);
    change.freed[change.freed_count++] = (struct change_freed){4, masks_new(gone, 12, &err)};
    change.freed[change.freed_count++] = (struct change_freed){5, NULL};
    return change;
}

static struct change locked(void)
{
    struct err err = {0};
    struct change change = {.kind = CHANGE_LOCKED,
                            .volume = 1,
                            .sequence = 20,
                            .until_us = 99,
                            .lock = {.remaining_ms = 60000, .boot_ms = 70000, .boot_id = "boot"}};
    change.locked = own_alloc(sizeof *change.locked, &err);
    change.locked[change.locked_count++] = 4;
    return change;
}

static struct change thinned(void)
{
    struct err err = {0};
    struct change change = {.kind = CHANGE_THINNED};
    change.packs = own_alloc(sizeof *change.packs, &err);
    change.packs[change.pack_count++] =
        (struct table_pack){.number = 4, .generation = 1, .bytes = 6000, .items = 175};
    return change;
}

static struct change owner(void)
{
    return (struct change){.kind = CHANGE_OWNER, .epoch = 3, .box_id = "box of the test"};
}

static struct change of_snapshot(uint8_t kind)
{
    return (struct change){.kind = kind, .volume = 1, .sequence = 20};
}

static void add(struct commit *commit, struct change change)
{
    struct err err = {0};
    OK(commit_add(commit, &change, &err));
}

static void all_changes(struct commit *commit)
{
    *commit = (struct commit){.epoch = 3, .family = 7, .number = 1};
    add(commit, owner());
    add(commit, volume_added(1, 0));
    add(commit, sealed());
    add(commit, volume_added(2, 30));
    add(commit, locked());
    add(commit, of_snapshot(CHANGE_HIDDEN));
    add(commit, some_freed());
    add(commit, thinned());
}

static void expect(const char *what, const struct bytes *bytes, const char *hex)
{
    struct err err = {0};
    AUTO(mem) char *text = own_alloc(2 * bytes->len + 1, &err);
    str_hex(bytes->data, bytes->len, text);
    cr_expect_str_eq(text, hex, "%s became %s", what, text);
}

static struct table *all_rows(void)
{
    struct err err = {0};
    AUTO(commit) struct commit commit = {0};
    AUTO(table) struct table *table = table_new(7, &err);
    all_changes(&commit);
    for (size_t i = 0; i < commit.count; i++)
        OK(table_apply(table, &commit.changes[i], NULL, &err));
    table->number = 1;
    return TAKE(table);
}

static size_t from_hex(const char *hex, uint8_t *ret)
{
    size_t len = strlen(hex) / 2;
    for (size_t i = 0; i < len; i++) {
        unsigned byte;
        cr_assert_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        ret[i] = (uint8_t)byte;
    }
    return len;
}

static const char *const pinned[] = {
#include "tests/vault/commit_bytes.inc"
};
enum { CHANGES = sizeof pinned / sizeof *pinned - 1 }; /* the last is a table */

Test(commit, its_bytes_are_what_they_always_were)
{
    struct err err = {0};
    AUTO(commit) struct commit commit = {0};
    all_changes(&commit);
    cr_assert_eq(commit.count, CHANGES);
    for (size_t i = 0; i < commit.count; i++) {
        AUTO(bytes) struct bytes bytes = {0};
        OK(change_encode(&commit.changes[i], &bytes, &err));
        expect("a change", &bytes, pinned[i]);
    }
}

/* zstd may press otherwise one day: what was written must be read for ever. */
Test(commit, a_table_of_the_first_version_is_read)
{
    struct err err = {0};
    uint8_t old[2048];
    AUTO(bytes) struct bytes ours = {0}, read = {0};
    AUTO(table) struct table *rows = all_rows();
    cr_assert_lt(strlen(pinned[CHANGES]), 2 * sizeof old);
    OK(table_encode(rows, SEED, &ours, &err));
    AUTO(table) struct table *table = table_decode(old, from_hex(pinned[CHANGES], old), SEED, &err);
    if (!table)
        expect("the table", &ours, pinned[CHANGES]);
    cr_assert(table, "%s", err.text);
    OK(table_encode(table, SEED, &read, &err));
    cr_assert(read.len == ours.len && memcmp(read.data, ours.data, read.len) == 0);
    cr_assert_eq(table->snapshot_count, 1);
    cr_assert_eq(table->snapshots[0].pins, 1);
    cr_assert_str_eq(table->snapshots[0].row.name, "monday");
    cr_assert_eq(masks_get(table->packs[0].live, 0), 0xfffc);
    cr_assert_eq(table->pack_count, 1, "pack 5 was freed whole");
}

Test(commit, any_turned_bit_or_lost_byte_is_refused)
{
    struct err err = {0};
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(commit) struct commit commit = {0};
    all_changes(&commit);
    OK(commit_encode(&commit, SEED, &bytes, &err));
    for (size_t i = 0; i < bytes.len; i++) {
        AUTO(commit) struct commit read = {0};
        bytes.data[i] ^= (uint8_t)(1U << i % 8);
        cr_assert_not(commit_decode(bytes.data, bytes.len, SEED, &read, &err), "byte %zu", i);
        bytes.data[i] ^= (uint8_t)(1U << i % 8);
        cr_assert_not(commit_decode(bytes.data, i, SEED, &read, &err), "%zu bytes", i);
    }
    AUTO(commit) struct commit read = {0};
    cr_assert_not(commit_decode(bytes.data, bytes.len, SEED + 1, &read, &err), "another store's");
    err_clear(&err);
    OK(commit_decode(bytes.data, bytes.len, SEED, &read, &err));
}

Test(commit, a_change_that_does_not_fit_the_rows_is_damage)
{
    struct change bad[] = {volume_added(1, 0),
                           volume_added(3, 15),                  /* older than its snapshot */
                           of_snapshot(CHANGE_SNAPSHOT_DROPPED), /* it has a clone */
                           of_snapshot(CHANGE_VOLUME_DROPPED),   /* it has a snapshot */
                           {.kind = CHANGE_SNAPSHOT_DROPPED, .volume = 1, .sequence = 21},
                           {.kind = CHANGE_SEALED, .volume = 1, .sequence = 20},
                           {.kind = CHANGE_SEALED, .volume = 1, .sequence = 21, .cut = 3},
                           {.kind = CHANGE_THINNED},
                           {.kind = CHANGE_KINDS}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        AUTO(table) struct table *table = all_rows();
        cr_assert_not(table_apply(table, &bad[i], NULL, &err), "change %zu", i);
        cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
    }
}
