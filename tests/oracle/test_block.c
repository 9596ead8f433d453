/* Block verification: real blocks, every verdict, both twins of the fold, random damage. */
#include "agent/oracle/block.h"
#include "tests/oracle/writers.h"

static const struct block_place place = {.block_size = 8192, .rfile_no = 5, .big_scn = true};

static enum block_verdict verdict_of(const uint8_t *b, const struct block_place *p,
                                     uint64_t block_no)
{
    struct block_header header;
    return block_verify(b, p, block_no, &header);
}

static void data_block(uint8_t b[8192], uint32_t block_no)
{
    for (int i = 20; i < 8188; i++)
        b[i] = (uint8_t)(i * 7);
    write_kcbh(b, ORDER_LITTLE, 8192, 6, rdba_of(5, block_no), 0x123456789abull);
}

Test(block, knows_the_code_of_every_size)
{
    for (uint32_t size = 512; size <= 32768; size *= 2)
        cr_expect_eq(block_size_code(size), code_of(size));
    cr_expect_eq(block_size_code(0), 0);
    cr_expect_eq(block_size_code(256), 0);
    cr_expect_eq(block_size_code(8193), 0);
    cr_expect_eq(block_size_code(65536), 0);
}

Test(block, reads_block_zero_of_every_size_and_order)
{
    static uint8_t b[32768];
    for (enum byte_order o = ORDER_LITTLE; o <= ORDER_BIG; o++)
        for (uint32_t size = 512; size <= 32768; size *= 2) {
            struct block_zero zero;
            write_block_zero(b, o, size, 106240);
            cr_expect_eq(block_zero_read(b, 64, &zero), BLOCK_ZERO_GOOD);
            cr_expect_eq(zero.order, o);
            cr_expect_eq(zero.block_size, size);
            cr_expect_eq(zero.blocks, 106240);
            cr_expect(block_zero_is_intact(b, &zero));
            cr_expect_eq(block_zero_file_size(&zero), 106241ull * size);
            b[200] ^= 4;
            cr_expect_not(block_zero_is_intact(b, &zero));
        }
}

Test(block, refuses_block_zeros_that_make_no_sense)
{
    uint8_t b[1024];
    struct block_zero zero;
    write_block_zero(b, ORDER_LITTLE, 512, 3);
    for (size_t len = 0; len < 64; len++)
        cr_expect_eq(block_zero_read(b, len, &zero), BLOCK_ZERO_ABSENT);
    b[1] = 0xa2;
    cr_expect_eq(block_zero_read(b, 512, &zero), BLOCK_ZERO_INCONSISTENT);
    write_block_zero(b, ORDER_LITTLE, 1024, 3);
    b[1] = 0x22;
    cr_expect_eq(block_zero_read(b, 512, &zero), BLOCK_ZERO_GOOD,
                 "1 K logs may carry the code of 512");
    put_u4(b + 20, ORDER_LITTLE, 777);
    cr_expect_eq(block_zero_read(b, 512, &zero), BLOCK_ZERO_INCONSISTENT);
    memset(b, 0, sizeof b);
    cr_expect_eq(block_zero_read(b, 512, &zero), BLOCK_ZERO_ABSENT);
    put_u4(b + 4, ORDER_BIG, 8192);
    put_u4(b + 8, ORDER_BIG, 100);
    put_u4(b + 12, ORDER_BIG, 0x6a6b6c6d);
    cr_expect_eq(block_zero_read(b, 512, &zero), BLOCK_ZERO_OLD);
    put_u4(b + 4, ORDER_LITTLE, 8192);
    put_u4(b + 12, ORDER_LITTLE, 0x5a5b5c5d);
    cr_expect_eq(block_zero_read(b, 512, &zero), BLOCK_ZERO_OLD);
}

Test(block, passes_a_good_block_and_reads_its_header)
{
    uint8_t b[8192] = {0};
    struct block_header h;
    data_block(b, 17);
    cr_expect_eq(block_verify(b, &place, 17, &h), BLOCK_GOOD);
    cr_expect_eq(h.scn.n, 0x123456789abull);
    cr_expect_eq(h.type, 6);
    cr_expect_eq(h.sequence, 1);
    cr_expect_eq(h.tail, 0x89ab0601u);
}

Test(block, takes_the_third_part_of_a_big_scn)
{
    uint8_t b[8192] = {0};
    struct block_header h;
    write_kcbh(b, ORDER_BIG, 8192, 6, rdba_of(5, 9), 0x7123456789abcdefull);
    struct block_place big = {
        .order = ORDER_BIG, .block_size = 8192, .rfile_no = 5, .big_scn = true};
    cr_expect_eq(block_verify(b, &big, 9, &h), BLOCK_GOOD);
    cr_expect_eq(h.scn.n, 0x7123456789abcdefull);
    big.big_scn = false;
    block_header_read(b, 8192, ORDER_BIG, false, &h);
    cr_expect_eq(h.scn.n, 0x456789abcdefull);
}

Test(block, names_an_empty_block)
{
    static const uint8_t b[8192];
    cr_expect_eq(verdict_of(b, &place, 2), BLOCK_EMPTY);
    cr_expect_eq(verdict_of(b, &place, 1), BLOCK_MISPLACED, "the header block is never empty");
    uint8_t almost[8192] = {[4000] = 1};
    cr_expect_eq(verdict_of(almost, &place, 2), BLOCK_MISPLACED);
}

Test(block, names_an_unformatted_block)
{
    uint8_t b[8192] = {0};
    write_kcbh(b, ORDER_LITTLE, 8192, 0, rdba_of(5, 4), 0);
    cr_expect_eq(verdict_of(b, &place, 4), BLOCK_UNFORMATTED);
}

Test(block, names_a_misplaced_block)
{
    uint8_t b[8192] = {0};
    data_block(b, 17);
    cr_expect_eq(verdict_of(b, &place, 18), BLOCK_MISPLACED);
    struct block_place other = place;
    other.rfile_no = 6;
    cr_expect_eq(verdict_of(b, &other, 17), BLOCK_MISPLACED);
    other.rfile_no = 0;
    cr_expect_eq(verdict_of(b, &other, 17), BLOCK_GOOD,
                 "unknown file number: only the block counts");
    other.rfile_no = BLOCK_BIGFILE_RFILE;
    cr_expect_eq(verdict_of(b, &other, 17), BLOCK_MISPLACED);
    write_kcbh(b, ORDER_LITTLE, 8192, 6, 17u + (1u << 23), 5);
    cr_expect_eq(verdict_of(b, &other, 17u + (1u << 23)), BLOCK_GOOD);
}

Test(block, names_a_bad_format_and_takes_the_legacy_one)
{
    uint8_t b[8192] = {0};
    data_block(b, 17);
    b[1] = 0x82;
    seal(b, 8192, 16);
    cr_expect_eq(verdict_of(b, &place, 17), BLOCK_BAD_FORMAT);
    b[1] = 0x02;
    seal(b, 8192, 16);
    cr_expect_eq(verdict_of(b, &place, 17), BLOCK_GOOD);
}

Test(block, names_a_block_marked_corrupt)
{
    uint8_t b[8192] = {0};
    data_block(b, 17);
    b[14] = 0xff;
    cr_expect_eq(verdict_of(b, &place, 17), BLOCK_MARKED_CORRUPT);
}

Test(block, names_a_fractured_block)
{
    uint8_t b[8192] = {0};
    data_block(b, 17);
    put_u4(b + 8188, ORDER_LITTLE, 0x89ab0602);
    seal(b, 8192, 16);
    cr_expect_eq(verdict_of(b, &place, 17), BLOCK_FRACTURED);
}

Test(block, names_a_bad_checksum_and_one_that_was_not_kept)
{
    uint8_t b[8192] = {0};
    data_block(b, 17);
    b[5000] ^= 0x10;
    cr_expect_eq(verdict_of(b, &place, 17), BLOCK_BAD_CHECKSUM);
    b[15] = 0;
    cr_expect_eq(verdict_of(b, &place, 17), BLOCK_NO_CHECKSUM);
}

Test(block, gives_every_verdict_a_name)
{
    for (int v = 0; v <= BLOCK_VERDICT_COUNT; v++) {
        cr_expect(block_verdict_text((enum block_verdict)v)[0]);
        cr_expect(block_verdict_name((enum block_verdict)v)[0]);
    }
}

Test(block, folds_the_same_in_all_twins)
{
    test_random_start("block/folds_the_same_in_all_twins");
    static uint8_t bytes[65536 + 64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)test_random();
    for (int round = 0; round < 2000; round++) {
        size_t at = test_random_below(64);
        size_t len = test_random_below(round % 2 ? 65536 : 700) & ~1u;
        uint16_t wanted = block_fold_portable(bytes + at, len);
        for (int way = BLOCK_FOLD_BEST; way <= BLOCK_FOLD_PORTABLE; way++) {
            block_test_fold((enum block_fold_way)way);
            cr_assert_eq(block_fold(bytes + at, len), wanted, "way %d at %zu len %zu", way, at,
                         len);
        }
        block_test_fold(BLOCK_FOLD_BEST);
    }
}

/* Printed by BBED after each edit of two real 11.2.0.4 headers: new = old ^ old words ^ new words.
 */
static const struct {
    const char *what;
    uint8_t old_bytes[4], new_bytes[4];
    uint16_t before, after;
} transitions[] = {
    {"prod rdba", {1, 0, 0x80, 0}, {1, 0, 0x40, 0}, 0xa722, 0xa7e2},
    {"prod size", {0, 0x81, 1, 0}, {0, 0x77, 1, 0}, 0xa7e2, 0x51e2},
    {"prod file number", {2, 0, 3, 0}, {1, 0, 3, 0}, 0x51e2, 0x51e1},
    {"prod root dba", {0, 0, 0, 0}, {8, 2, 0x40, 0}, 0x51e1, 0x53a9},
    {"prod creation scn", {0x2a, 7, 0, 0}, {7, 0, 0, 0}, 0x53a9, 0x5484},
    {"prod creation time", {0x81, 0xc9, 0x21, 0x31}, {0x7d, 0xc9, 0x21, 0x31}, 0x5484, 0x5478},
    {"prod tablespace", {1, 0, 0, 0}, {0, 0, 0, 0}, 0x5478, 0x5479},
    {"orcl rdba", {1, 0, 0x80, 0}, {1, 0, 0x40, 0}, 0x8f60, 0x8fa0},
    {"orcl size", {0, 0x2c, 1, 0}, {0, 0x5e, 1, 0}, 0x8fa0, 0xfda0},
    {"orcl file number", {2, 0, 3, 0}, {1, 0, 3, 0}, 0xfda0, 0xfda3},
    {"orcl root dba", {0, 0, 0, 0}, {8, 2, 0x40, 0}, 0xfda3, 0xffeb},
    {"orcl creation scn", {0xb9, 6, 0, 0}, {7, 0, 0, 0}, 0xffeb, 0xf955},
    {"orcl creation time", {0x3f, 0xb2, 0xf8, 0x39}, {0x34, 0xb2, 0xf8, 0x39}, 0xf955, 0xf95e},
    {"orcl tablespace", {1, 0, 0, 0}, {0, 0, 0, 0}, 0xf95e, 0xf95f},
    {"orcl tablespace name", {0x53, 0x41, 0x55, 0x58}, {0x53, 0x54, 0x45, 0x4d}, 0xf95f, 0xf94f},
    {"orcl relative file", {2, 0, 0, 0}, {1, 0, 0, 0}, 0xf94f, 0xf94c},
};

Test(block, follows_the_checksums_oracle_printed_after_each_edit)
{
    cr_assert_eq(sizeof transitions / sizeof *transitions, 16);
    for (size_t i = 0; i < 16; i++) {
        uint16_t change =
            block_fold(transitions[i].old_bytes, 4) ^ block_fold(transitions[i].new_bytes, 4);
        cr_expect_eq(transitions[i].before ^ change, transitions[i].after, "%s",
                     transitions[i].what);
    }
}

static void count_bad(const struct block_fault *fault, void *context)
{
    (void)fault;
    ++*(uint64_t *)context;
}

Test(block, sums_up_a_whole_file_in_any_number_of_runs)
{
    test_random_start("block/sums_up");
    struct a_datafile f = plain_datafile;
    uint8_t *file = write_datafile(&f, test_random);
    memset(file + 7 * 8192 + 100, 0x5a, 1);
    file[12 * 8192 + 4]++;
    static struct block_summary whole, parts, part;
    uint64_t heard = 0;
    block_verify_run(file, 41, &place, &whole, count_bad, &heard);
    cr_expect_eq(whole.checked, 41);
    cr_expect_eq(whole.bad, 2);
    cr_expect_eq(heard, 2);
    cr_expect_eq(whole.first_bad_block, 7);
    cr_expect_eq(whole.counts[BLOCK_EMPTY], 4);
    cr_expect_eq(whole.highest_scn.n, 2039);
    cr_expect_eq(whole.highest_block_no, 39);
    cr_expect_eq(whole.faults[1].verdict, BLOCK_MISPLACED);
    for (uint64_t at = 36; at <= 36; at -= 12) {
        struct block_place p = place;
        p.first_block_no = at;
        memset(&part, 0, sizeof part);
        block_verify_run(file + at * 8192, at == 36 ? 5 : 12, &p, &part, NULL, NULL);
        block_summary_add(&parts, &part);
    }
    cr_expect_eq(parts.checked, 41);
    cr_expect_eq(parts.bad, 2);
    cr_expect_eq(parts.first_bad_block, 7);
    cr_expect_eq(parts.highest_scn.n, 2039);
    free(file);
}

Test(block, judges_block_zero_as_such)
{
    uint8_t b[8192];
    write_block_zero(b, ORDER_LITTLE, 8192, 9);
    cr_expect_eq(verdict_of(b, &place, 0), BLOCK_GOOD);
    b[100] = 1;
    cr_expect_eq(verdict_of(b, &place, 0), BLOCK_BAD_CHECKSUM);
    b[28] = 0;
    cr_expect_eq(verdict_of(b, &place, 0), BLOCK_BAD_FORMAT);
}

/* One way to spoil a block, and the verdicts it may be given. */
static uint32_t damage(uint8_t *b, uint8_t *other, uint32_t size)
{
    switch (test_random_below(6)) {
    case 0: /* one bit, anywhere */
        b[test_random_below(size)] ^= (uint8_t)(1u << test_random_below(8));
        return 0;
    case 1: /* the neighbour's block */
        memcpy(b, other, size);
        return 1u << BLOCK_MISPLACED;
    case 2: { /* torn: the end is from an older version with another sequence */
        uint32_t at = size / 512 * test_random_below(511) + 8;
        for (uint32_t i = at; i < size - 4; i++)
            b[i] ^= (uint8_t)(i * 31 + 1);
        b[size - 4]++;
        return 1u << BLOCK_FRACTURED;
    }
    case 3: /* swapped tail */
        memcpy(b + size - 4, (uint8_t[4]){b[size - 1], b[size - 2], b[size - 3], b[size - 4]}, 4);
        return 1u << BLOCK_FRACTURED;
    case 4: /* the second half never arrived */
        memset(b + size / 2, 0, size / 2);
        return 1u << BLOCK_FRACTURED;
    default: /* marked by Oracle */
        b[14] = 0xff;
        return 1u << BLOCK_MARKED_CORRUPT;
    }
}

Test(block, sees_every_kind_of_random_damage)
{
    test_random_start("block/sees_every_kind_of_random_damage");
    for (int round = 0; round < 400; round++) {
        struct a_datafile f = plain_datafile;
        f.size = 2048u << test_random_below(5);
        f.order = (enum byte_order)test_random_below(2);
        f.rfile_no = test_random_below(2) ? 1024 : 1 + test_random_below(1023);
        f.blocks = 12;
        uint8_t *file = write_datafile(&f, test_random);
        uint32_t block_no = 2 + test_random_below(7);
        uint8_t *b = file + (size_t)block_no * f.size;
        struct block_place p = {f.order, f.size, f.rfile_no, 0, true};
        cr_assert_eq(verdict_of(b, &p, block_no), BLOCK_GOOD);
        uint32_t allowed = damage(b, b + f.size, f.size);
        enum block_verdict verdict = verdict_of(b, &p, block_no);
        /* A flip of the "checksum kept" bit itself cannot be told from a block without one. */
        cr_assert(block_verdict_is_bad(verdict) || (allowed == 0 && verdict == BLOCK_NO_CHECKSUM),
                  "round %d: %s", round, block_verdict_text(verdict));
        cr_assert(allowed == 0 || (allowed & 1u << verdict), "round %d: %s", round,
                  block_verdict_text(verdict));
        free(file);
    }
}

static const struct {
    const char *name;
    uint32_t block_no, rfile_no;
    uint8_t type;
    uint64_t scn;
    uint32_t tail;
    uint16_t checksum;
} real_blocks[] = {
    {"datablk-8k-10gR2-type06-testblock.bin", 16, 5, 0x06, 0x1732d3, 0x32d30601, 0x84cb},
    {"datablk-8k-11gR2-type06-emp.bin", 13171, 4, 0x06, 0x1cc0f2, 0xc0f20601, 0x4149},
    {"spacebitmap-8k-11204-type1e-system-blk100.bin", 100, 1, 0x1e, 0, 0, 0x8254},
    {"df-8k-blk1-full-11204-test2-bigfile.bin", 1, 1024, 0x0b, 0, 0x00000b01, 0x8331},
};

static const struct {
    const char *name;
    uint32_t block_size, blocks;
} real_zeros[] = {
    {"df-8k-blk0-10202-users01-winxp.bin", 8192, 0},
    {"df-8k-blk0-11204-tea01.bin", 8192, 0xf00},
    {"df-8k-blk0-12102-system01.bin", 8192, 106240},
    {"redo-512-blk0-50MB.bin", 512, 0x19000},
};

Test(block, samples)
{
    const char *dir = samples_dir();
    if (!dir)
        cr_skip_test("EVERCOPY_SAMPLES is not set");
    for (size_t i = 0; i < sizeof real_blocks / sizeof *real_blocks; i++) {
        size_t len;
        uint8_t *b = read_sample(dir, real_blocks[i].name, &len);
        struct block_place p = {.block_size = 8192, .rfile_no = real_blocks[i].rfile_no};
        struct block_header h;
        cr_assert_eq(len, 8192);
        cr_expect_eq(block_verify(b, &p, real_blocks[i].block_no, &h), BLOCK_GOOD, "%s",
                     real_blocks[i].name);
        cr_expect_eq(h.type, real_blocks[i].type);
        cr_expect_eq(h.checksum, real_blocks[i].checksum);
        if (real_blocks[i].tail) {
            cr_expect_eq(h.scn.n, real_blocks[i].scn);
            cr_expect_eq(h.tail, real_blocks[i].tail);
        }
        free(b);
    }
    for (size_t i = 0; i < sizeof real_zeros / sizeof *real_zeros; i++) {
        size_t len;
        uint8_t *b = read_sample(dir, real_zeros[i].name, &len);
        struct block_zero zero;
        cr_assert_eq(block_zero_read(b, len, &zero), BLOCK_ZERO_GOOD, "%s", real_zeros[i].name);
        cr_expect_eq(zero.order, ORDER_LITTLE);
        cr_expect_eq(zero.block_size, real_zeros[i].block_size);
        if (real_zeros[i].blocks)
            cr_expect_eq(zero.blocks, real_zeros[i].blocks);
        cr_expect(block_zero_is_intact(b, &zero));
        free(b);
    }
}
