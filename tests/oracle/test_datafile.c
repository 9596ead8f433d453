/* Datafile headers: real fields, the consistency rules, and what may be promised from them. */
#include "agent/oracle/datafile.h"
#include "tests/oracle/writers.h"

static struct manifest_entry check(const struct a_datafile *f,
                                   void (*spoil)(uint8_t *header, uint32_t size))
{
    uint8_t *block = calloc(1, f->size);
    write_datafile_header(block, f);
    if (spoil)
        spoil(block, f->size);
    struct block_zero zero = {f->order, f->size, f->blocks};
    struct manifest_entry e = {.size = (uint64_t)(f->blocks + 1) * f->size};
    datafile_header_check(block, &zero, &e);
    free(block);
    return e;
}

Test(datafile, accepts_a_sound_header_in_both_orders_and_all_sizes)
{
    for (int i = 0; i < 10; i++) {
        struct a_datafile f = plain_datafile;
        f.order = i & 1 ? ORDER_BIG : ORDER_LITTLE;
        f.size = 2048u << i / 2;
        f.compatible = i < 5 ? 0x0b200400 : 0x13000000;
        f.absolute_fuzzy = 5100;
        struct manifest_entry e = check(&f, NULL);
        cr_expect_eq(e.state, STATE_GOOD, "%s", e.why);
        cr_expect_eq(e.kind, FILE_DATAFILE);
        cr_expect_eq(e.dbid, 1433672784);
        cr_expect_str_eq(e.db_name, "ORCL");
        cr_expect_str_eq(e.datafile.tablespace, "USERS");
        cr_expect_str_eq(e.datafile.tag, "EVERCOPY");
        cr_expect_eq(e.datafile.file_no, 5);
        cr_expect_eq(e.datafile.checkpoint_scn.n, 5000);
        cr_expect_eq(e.datafile.absolute_fuzzy_scn.n, 5100);
        cr_expect_eq(e.datafile.checkpoint_sequence, 648);
        cr_expect_eq(e.resetlogs_id, 928161908);
    }
}

static void flip(uint8_t *h, uint32_t size) { h[size / 2] ^= 1; }
static void tear(uint8_t *h, uint32_t size) { h[size - 4]++, seal(h, size, 16); }
static void move(uint8_t *h, uint32_t size) { h[4]++, seal(h, size, 16); }
static void bare(uint8_t *h, uint32_t size) { memset(h, 0, size); }
static void longer_name(uint8_t *h, uint32_t size) { h[336]++, seal(h, size, 16); }
static void other_size(uint8_t *h, uint32_t size) { h[44]++, seal(h, size, 16); }
static void other_bs(uint8_t *h, uint32_t size) { h[49] ^= 0x60, seal(h, size, 16); }
static void no_file(uint8_t *h, uint32_t size) { h[52] = 0, seal(h, size, 16); }
static void other_type(uint8_t *h, uint32_t size) { h[54] = 9, seal(h, size, 16); }
static void other_block_type(uint8_t *h, uint32_t size)
{
    h[0] = 6, h[size - 3] = 6, seal(h, size, 16);
}
static void long_name(uint8_t *h, uint32_t size)
{
    memset(h + 338, 'X', 30);
    h[336] = 64;
    seal(h, size, 16);
}

Test(datafile, names_what_is_wrong_with_a_header)
{
    static const struct {
        void (*spoil)(uint8_t *, uint32_t);
        enum file_state state;
        const char *word;
    } table[] = {
        {flip, STATE_DAMAGED, "checksum"},
        {tear, STATE_DAMAGED, "fractured"},
        {move, STATE_DAMAGED, "address"},
        {bare, STATE_IN_FLIGHT, "not written"},
        {longer_name, STATE_DAMAGED, "name"},
        {other_size, STATE_DAMAGED, "number of blocks"},
        {other_bs, STATE_DAMAGED, "block size"},
        {no_file, STATE_DAMAGED, "file number"},
        {other_type, STATE_DAMAGED, "type"},
        {other_block_type, STATE_DAMAGED, "type"},
        {long_name, STATE_GOOD, ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct manifest_entry e = check(&plain_datafile, table[i].spoil);
        cr_expect_eq(e.state, table[i].state, "row %zu: %s", i, e.why);
        cr_expect(strstr(e.why, table[i].word), "row %zu: %s", i, e.why);
    }
}

Test(datafile, calls_unfinished_files_unusable)
{
    static const struct {
        unsigned type, status;
        enum file_state state;
    } table[] = {
        {3, 0, STATE_GOOD},          {10, 0, STATE_GOOD},     {3, 0x8000, STATE_GOOD},
        {3, 0x2004, STATE_GOOD},     {11, 0, STATE_UNUSABLE}, {3, 0x0200, STATE_UNUSABLE},
        {3, 0x1000, STATE_UNUSABLE},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct a_datafile f = plain_datafile;
        f.type = table[i].type;
        f.status = table[i].status;
        struct manifest_entry e = check(&f, NULL);
        cr_expect_eq(e.state, table[i].state, "row %zu: %s", i, e.why);
        cr_expect_eq(datafile_is_usable(&e), table[i].state == STATE_GOOD);
    }
}

Test(datafile, refuses_a_checkpoint_before_creation)
{
    struct a_datafile f = plain_datafile;
    f.checkpoint = 10;
    cr_expect_eq(check(&f, NULL).state, STATE_DAMAGED);
}

Test(datafile, tells_a_short_file_from_a_longer_one)
{
    uint8_t block[8192];
    struct block_zero zero = {ORDER_LITTLE, 8192, 40};
    write_datafile_header(block, &plain_datafile);
    static const struct {
        int64_t more;
        enum file_state state;
    } table[] = {{0, STATE_GOOD},
                 {-8192, STATE_IN_FLIGHT},
                 {-1, STATE_TRUNCATED},
                 {5, STATE_GOOD},
                 {8192, STATE_GOOD}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct manifest_entry e = {.size = (uint64_t)(41 * 8192 + table[i].more)};
        datafile_header_check(block, &zero, &e);
        cr_expect_eq(e.state, table[i].state, "row %zu: %s", i, e.why);
    }
}

Test(datafile, knows_the_fuzzy_bits)
{
    static const struct {
        unsigned status;
        bool fuzzy, end_backup, crash;
    } table[] = {
        {0, false, false, false},     {0x2000, false, false, false}, {0x8000, false, false, false},
        {0x0001, true, true, false},  {0x0004, true, false, true},   {0x0010, true, false, false},
        {0x0040, true, false, false}, {0x4000, true, false, false},  {0x0400, false, false, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct manifest_entry e = {.datafile.status = (uint16_t)table[i].status};
        cr_expect_eq(datafile_is_fuzzy(&e), table[i].fuzzy, "row %zu", i);
        cr_expect_eq(datafile_needs_end_backup(&e), table[i].end_backup, "row %zu", i);
        cr_expect_eq(datafile_needs_crash_recovery(&e), table[i].crash, "row %zu", i);
    }
}

Test(datafile, gives_the_earliest_target_exactly)
{
    static const struct {
        uint64_t checkpoint, absolute, recovery, highest;
        bool scanned;
        uint16_t status;
        uint64_t target;
        bool suspect;
    } table[] = {
        {5000, 0, 0, 0, false, 0, 5000, false},
        {5000, 5000, 0, 0, false, 0, 5001, false},
        {5000, 4000, 0, 0, false, 0, 5000, false},
        {5000, 0, 6000, 0, false, 0, 6001, false},
        {5000, 0, 0, 7000, false, 0, 5000, false},
        {5000, 0, 0, 7000, true, 0, 7001, true},
        {5000, 7000, 0, 7000, true, 0, 7001, false},
        {5000, 0, 0, 4999, true, 0, 5000, false},
        {5000, UINT64_MAX, 0, 0, false, 0, UINT64_MAX, false},
        {5000, 0, 0, 0, false, DATAFILE_LEVEL_0, 5000, false},
        {5000, 0, 0, 0, false, DATAFILE_ONLINE_FUZZY, UINT64_MAX, false},
        {5000, 6000, 0, 0, false, DATAFILE_ONLINE_FUZZY, 6001, false},
        {5000, 0, 0, 5100, true, DATAFILE_ONLINE_FUZZY, 5101, true},
        {5000, 6000, 0, 0, false, DATAFILE_HOT_BACKUP, UINT64_MAX, false},
        {5000, 6000, 0, 5900, true, DATAFILE_HOT_BACKUP, 6001, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct manifest_entry e = {.datafile = {.checkpoint_scn = {table[i].checkpoint},
                                                .absolute_fuzzy_scn = {table[i].absolute},
                                                .recovery_fuzzy_scn = {table[i].recovery},
                                                .highest_block_scn = {table[i].highest},
                                                .scanned = table[i].scanned,
                                                .status = table[i].status}};
        cr_expect_eq(datafile_earliest_target(&e).n, table[i].target, "row %zu", i);
        cr_expect_eq(datafile_is_suspect(&e), table[i].suspect, "row %zu", i);
    }
}

Test(datafile, keeps_the_outcome_of_a_scan)
{
    test_random_start("datafile/keeps_the_outcome_of_a_scan");
    static struct block_summary summary;
    struct manifest_entry e = check(&plain_datafile, NULL);
    uint8_t *file = write_datafile(&plain_datafile, test_random);
    file[9 * 8192 + 14] = 0xff;
    struct block_place place = datafile_place(&e, 1);
    block_verify_run(file + 8192, 40, &place, &summary, NULL, NULL);
    datafile_scan_note(&e, &summary);
    cr_expect_eq(e.state, STATE_GOOD, "a block Oracle marked is no damage of ours");
    cr_expect_eq(e.datafile.blocks_bad, 1);
    cr_expect_eq(e.datafile.highest_block_scn.n, 2039);
    file[9 * 8192 + 4] ^= 0xff;
    memset(&summary, 0, sizeof summary);
    block_verify_run(file + 8192, 40, &place, &summary, NULL, NULL);
    datafile_scan_note(&e, &summary);
    cr_expect_eq(e.state, STATE_DAMAGED);
    cr_expect_eq(e.datafile.first_bad_block, 9);
    cr_expect(strstr(e.why, "1 of 40"), "%s", e.why);
    free(file);
}

Test(datafile, samples)
{
    const char *dir = samples_dir();
    if (!dir)
        cr_skip_test("EVERCOPY_SAMPLES is not set");
    static const struct {
        const char *name, *db, *tablespace;
        uint32_t dbid, blocks, file_no, rfile_no, ts_no, resetlogs_id, count, sequence,
            checkpoint_time, prior;
        uint64_t creation, checkpoint, resetlogs;
        uint16_t status;
    } table[] = {
        {"df-8k-blk1-full-11204-test2-bigfile.bin", "TEST2", "TEST_01", 0x3c549ef2, 0xa0000, 7,
         1024, 8, 928161908, 19, 648, 0x3791a09e, 0x3121c97a, 0x29a4d3, 3290730, 0xe2006, 0},
        {"df-8k-blk1-first512-11204-orcl-sysaux.bin", "ORCL", "SYSAUX", 0x596dfdac, 0x12c00, 2, 2,
         1, 0x39f8b22c, 33, 28, 972923682, 0, 1721, 372968, 1, 4},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t len;
        uint8_t *b = read_sample(dir, table[i].name, &len);
        struct datafile_header h;
        datafile_header_read(b, ORDER_LITTLE, &h);
        cr_expect_str_eq(h.file.db_name, table[i].db);
        cr_expect_str_eq(h.tablespace, table[i].tablespace);
        cr_expect_eq(h.file.dbid, table[i].dbid);
        cr_expect_eq(h.file.blocks, table[i].blocks);
        cr_expect_eq(h.file.block_size, 8192);
        cr_expect_eq(h.file.compatible, 0x0b200400);
        cr_expect_eq(h.file.type, 3);
        cr_expect_eq(h.file.file_no, table[i].file_no);
        cr_expect_eq(h.rfile_no, table[i].rfile_no);
        cr_expect_eq(h.ts_no, table[i].ts_no);
        cr_expect_eq(h.resetlogs_id, table[i].resetlogs_id);
        cr_expect_eq(h.resetlogs_scn.n, table[i].resetlogs);
        cr_expect_eq(h.prior_resetlogs_id, table[i].prior);
        cr_expect_eq(h.checkpoint_count, table[i].count);
        cr_expect_eq(h.checkpoint_sequence, table[i].sequence);
        cr_expect_eq(h.checkpoint_time, table[i].checkpoint_time);
        cr_expect_eq(h.checkpoint_thread, 1);
        cr_expect_eq(h.creation_scn.n, table[i].creation);
        cr_expect_eq(h.checkpoint_scn.n, table[i].checkpoint);
        cr_expect_eq(h.status, table[i].status);
        if (len == 8192) {
            struct block_zero zero = {ORDER_LITTLE, 8192, table[i].blocks};
            struct manifest_entry e = {.size = block_zero_file_size(&zero)};
            datafile_header_check(b, &zero, &e);
            cr_expect_eq(e.state, STATE_GOOD, "%s", e.why);
        }
        free(b);
    }
}
