/* What a file is: every kind by content, every prefix safe, names without influence. */
#include "agent/oracle/identify.h"
#include "tests/oracle/writers.h"

static struct manifest_entry identify(const void *head, size_t len, uint64_t size, const char *path)
{
    uint8_t *exact = malloc(len + 1); /* so that the sanitizer sees a read past the end */
    memcpy(exact, head, len);
    struct manifest_entry e = {0};
    oracle_identify(exact, len, size, path, &e);
    free(exact);
    return e;
}

static void expect(const void *head, size_t len, uint64_t size, enum file_kind kind,
                   enum file_state state)
{
    struct manifest_entry e = identify(head, len, size, "area/some.file");
    cr_expect_eq(e.kind, kind, "%s, wanted %s (%s)", file_kind_text(e.kind), file_kind_text(kind),
                 e.why);
    cr_expect_eq(e.state, state, "%s, wanted %s (%s)", file_state_text(e.state),
                 file_state_text(state), e.why);
    cr_expect_eq(e.size, size);
    cr_expect(e.state == STATE_GOOD || e.why[0] || e.kind == FILE_TEXT);
}

/* A two-block file whose block 1 carries the common header with that type. */
static void plain_file(uint8_t *b, enum byte_order o, uint32_t size, uint8_t block_type,
                       unsigned type)
{
    memset(b, 0, 2 * (size_t)size);
    write_block_zero(b, o, size, 1);
    put_u4(b + size + 24, o, 0x13000000);
    put_u4(b + size + 28, o, 1433672784);
    memcpy(b + size + 32, "ORCL", 4);
    put_u4(b + size + 44, o, 1);
    put_u4(b + size + 48, o, size);
    put_u2(b + size + 54, o, type);
    memcpy(b + size + 64, "EVERCOPY_CF", 11);
    write_kcbh(b + size, o, size, block_type, 1, 0);
}

Test(identify, tells_kinds_by_the_header_all_share)
{
    static uint8_t b[65536];
    static const struct {
        unsigned type;
        uint32_t size;
        uint8_t block_type;
        enum file_kind kind;
    } table[] = {
        {1, 16384, 0x15, FILE_CONTROLFILE},  {4, 16384, 0x15, FILE_CONTROLFILE},
        {5, 512, 0x13, FILE_BACKUP_PIECE},   {5, 32768, 0x14, FILE_BACKUP_PIECE},
        {6, 8192, 0x0b, FILE_TEMPFILE},      {7, 512, 0x20, FILE_TRACKING},
        {8, 8192, 0x21, FILE_FLASHBACK_LOG},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (enum byte_order o = ORDER_LITTLE; o <= ORDER_BIG; o++) {
            uint32_t size = table[i].size;
            plain_file(b, o, size, table[i].block_type, table[i].type);
            expect(b, 2 * (size_t)size, 2 * (uint64_t)size, table[i].kind, STATE_GOOD);
            struct manifest_entry e = identify(b, 2 * (size_t)size, 2 * (uint64_t)size, NULL);
            cr_expect_eq(e.dbid, 1433672784);
            cr_expect_str_eq(e.db_name, "ORCL");
            cr_expect_str_eq(e.datafile.tag, "EVERCOPY_CF");
            b[size + 300] ^= 1;
            expect(b, 2 * (size_t)size, 2 * (uint64_t)size, table[i].kind, STATE_DAMAGED);
            put_u4(b + 24, o, 2);
            seal(b, size, 16);
            b[size + 300] ^= 1;
            expect(b, 2 * (size_t)size, 2 * (uint64_t)size, table[i].kind, STATE_IN_FLIGHT);
            expect(b, 2 * (size_t)size, 2 * (uint64_t)size + 7, table[i].kind, STATE_TRUNCATED);
        }
    plain_file(b, ORDER_LITTLE, 8192, 0x33, 5);
    b[8192 + 49] = 0x40;
    seal(b + 8192, 8192, 16);
    expect(b, 16384, 16384, FILE_BACKUP_PIECE, STATE_DAMAGED);
    plain_file(b, ORDER_LITTLE, 8192, 0x33, 77);
    expect(b, 16384, 16384, FILE_UNKNOWN, STATE_DAMAGED);
}

Test(identify, knows_datafiles_and_logs)
{
    test_random_start("identify/knows_datafiles_and_logs");
    uint8_t *data = write_datafile(&plain_datafile, test_random);
    uint8_t *log = write_log(&plain_log, test_random);
    struct a_log open = plain_log;
    open.next = scn_open;
    uint8_t *online = write_log(&open, test_random);
    expect(data, 65536, 41 * 8192, FILE_DATAFILE, STATE_GOOD);
    expect(log, 65536, 401 * 512, FILE_ARCHIVED_LOG, STATE_GOOD);
    expect(online, 65536, 401 * 512, FILE_ONLINE_LOG, STATE_OPEN);
    expect(data, 65536, 40 * 8192, FILE_DATAFILE, STATE_IN_FLIGHT);
    expect(data, 65536, 40 * 8192 + 1, FILE_DATAFILE, STATE_TRUNCATED);
    expect(log, 65536, 300 * 512, FILE_ARCHIVED_LOG, STATE_IN_FLIGHT);
    expect(log, 1000, 1000, FILE_UNKNOWN, STATE_IN_FLIGHT);
    expect(data, 9000, 41 * 8192, FILE_UNKNOWN, STATE_UNREADABLE);
    free(data);
    free(log);
    free(online);
}

Test(identify, sees_through_a_damaged_block_zero)
{
    test_random_start("identify/sees_through_a_damaged_block_zero");
    uint8_t *data = write_datafile(&plain_datafile, test_random);
    uint8_t *log = write_log(&plain_log, test_random);
    data[100] = 1;
    expect(data, 65536, 41 * 8192, FILE_DATAFILE, STATE_DAMAGED);
    data[28] = 1;
    expect(data, 65536, 41 * 8192, FILE_DATAFILE, STATE_DAMAGED);
    write_block_zero(data, ORDER_LITTLE, 8192, 40);
    data[1] = 0x82;
    expect(data, 65536, 41 * 8192, FILE_DATAFILE, STATE_DAMAGED);
    data[8192] = 0;
    expect(data, 65536, 41 * 8192, FILE_UNKNOWN, STATE_DAMAGED);
    write_datafile_header(data + 8192, &plain_datafile);
    memset(log, 0, 512);
    expect(log, 65536, 401 * 512, FILE_ARCHIVED_LOG, STATE_DAMAGED);
    memset(data, 0, 16384);
    expect(data, 16384, 41 * 8192, FILE_UNKNOWN, STATE_IN_FLIGHT);
    write_block_zero(data, ORDER_LITTLE, 8192, 40);
    expect(data, 65536, 41 * 8192, FILE_UNKNOWN, STATE_IN_FLIGHT);
    free(data);
    free(log);
}

Test(identify, knows_the_spfile)
{
    uint8_t b[1536] = {0x43, 0x22, 0, 0, 1, 0, 0, 0};
    memcpy(b + 512, "*.db_name='ORCL'\n", 17);
    b[14] = 1;
    b[15] = 4;
    seal(b, 512, 16);
    expect(b, 1536, 1536, FILE_SPFILE, STATE_GOOD);
    expect(b, 1500, 1500, FILE_SPFILE, STATE_TRUNCATED);
    expect(b, 18, 18, FILE_SPFILE, STATE_TRUNCATED);
    b[40] = 1;
    expect(b, 1536, 1536, FILE_SPFILE, STATE_DAMAGED);
}

Test(identify, knows_dumps_text_and_password_files)
{
    static uint8_t dump[8192] = {3, 1}, password[2048] = {0};
    memcpy(dump + 200, "\"SCOTT\".\"SYS_EXPORT_SCHEMA_01\"", 30);
    expect(dump, 8192, 8192, FILE_DUMP, STATE_GOOD);
    memset(dump + 200, 0, 30);
    memcpy(dump + 200, "\"SCOTT\".\"NIGHTLY\"", 17);
    expect(dump, 8192, 8192, FILE_UNKNOWN, STATE_OTHER);
    memcpy(dump + 300, "11.02.00.04.00", 14);
    expect(dump, 8192, 8192, FILE_DUMP, STATE_GOOD);
    expect("\x03\x03\x54"
           "EXPORT:V11.02.00\n",
           19, 19, FILE_EXP_DUMP, STATE_GOOD);
    put_u4(password + 4, ORDER_LITTLE, 512);
    put_u4(password + 12, ORDER_LITTLE, 0x5a5b5c5d);
    expect(password, 2048, 2048, FILE_OLD_ORACLE, STATE_UNUSABLE);
    memcpy(password + 512, "ORACLE Remote Password file", 27);
    expect(password, 2048, 2048, FILE_PASSWORD, STATE_GOOD);
    expect("DB_NAME=ORCL\r\n\tx\n", 17, 17, FILE_TEXT, STATE_OTHER);
    expect("gr\xc3\xbc\xc3\x9f\xc3\xa4\xc3\xb6\n", 11, 11, FILE_TEXT, STATE_OTHER);
    expect("\xff\xfe\xfd\xfc\xfb", 5, 5, FILE_UNKNOWN, STATE_OTHER);
    expect("\x01\x02", 2, 2, FILE_UNKNOWN, STATE_OTHER);
    expect("", 0, 0, FILE_EMPTY, STATE_OTHER);
    expect("", 0, 100, FILE_UNKNOWN, STATE_UNREADABLE);
    static const uint8_t zeros[4096];
    expect(zeros, 4096, 8192, FILE_UNKNOWN, STATE_IN_FLIGHT);
}

Test(identify, never_counts_a_name_that_begins_with_a_dot)
{
    test_random_start("identify/dot");
    uint8_t *log = write_log(&plain_log, test_random);
    cr_expect_eq(identify(log, 65536, 401 * 512, "archivelog/.1_648_9.dbf").state, STATE_IN_FLIGHT);
    cr_expect_eq(identify(log, 65536, 401 * 512, ".1_648_9.dbf").state, STATE_IN_FLIGHT);
    cr_expect_eq(identify(log, 65536, 401 * 512, ".hidden/1_648_9.dbf").state, STATE_GOOD);
    cr_expect_eq(identify("", 0, 0, ".x").state, STATE_IN_FLIGHT);
    cr_expect_eq(identify("a=1\n", 4, 4, ".profile").state, STATE_OTHER);
    free(log);
}

Test(identify, survives_every_prefix_of_everything)
{
    test_random_start("identify/survives_every_prefix");
    struct a_datafile f = plain_datafile;
    f.size = 2048;
    f.blocks = 4;
    struct a_log l = plain_log;
    l.blocks = 6;
    static uint8_t piece[4096];
    plain_file(piece, ORDER_BIG, 2048, 0x13, 5);
    struct {
        uint8_t *bytes;
        size_t len;
    } files[] = {{write_datafile(&f, test_random), 5 * 2048},
                 {write_log(&l, test_random), 7 * 512},
                 {piece, 4096}};
    for (size_t i = 0; i < 3; i++) {
        for (size_t len = 0; len < files[i].len; len++) {
            cr_assert_neq(identify(files[i].bytes, len, len, "x").state, STATE_GOOD,
                          "file %zu cut at %zu", i, len);
            identify(files[i].bytes, len, files[i].len, "x");
            identify(files[i].bytes, len, UINT64_MAX, "x");
        }
        if (files[i].bytes != piece)
            free(files[i].bytes);
    }
}

Test(identify, survives_random_bytes_behind_every_magic)
{
    test_random_start("identify/survives_random_bytes");
    static uint8_t b[65536];
    for (int round = 0; round < 3000; round++) {
        for (size_t i = 0; i < 4096; i++)
            b[i] = (uint8_t)test_random();
        uint32_t size = 512u << test_random_below(7);
        if (round % 3)
            write_block_zero(b, (enum byte_order)(round & 1), size, test_random());
        if (round % 4 == 0)
            b[size] = (uint8_t[]){0x0b, 0x01, 0x15, 0x43}[test_random_below(4)];
        struct manifest_entry e = {0};
        oracle_identify(b, test_random_below(65537),
                        (uint64_t)test_random() << test_random_below(32), "x", &e);
        cr_assert((unsigned)e.kind < FILE_KIND_COUNT && (unsigned)e.state < FILE_STATE_COUNT);
    }
}

Test(identify, samples)
{
    const char *dir = samples_dir();
    if (!dir)
        cr_skip_test("EVERCOPY_SAMPLES is not set");
    size_t len;
    static uint8_t head[65536];
    uint8_t *zero = read_sample(dir, "df-8k-blk0-11204-tea01.bin", &len);
    uint8_t *one = read_sample(dir, "df-8k-blk1-full-11204-test2-bigfile.bin", &len);
    memcpy(head, zero, 8192);
    memcpy(head + 8192, one, 8192);
    put_u4(head + 24, ORDER_LITTLE, 0xa0000);
    seal(head, 8192, 16);
    expect(head, 65536, 0xa0001ull * 8192, FILE_DATAFILE, STATE_GOOD);
    free(zero);
    free(one);
    zero = read_sample(dir, "redo-512-blk0-50MB.bin", &len);
    one = read_sample(dir, "redo-512-blk1-11204-online.bin", &len);
    memcpy(head, zero, 512);
    memcpy(head + 512, one, 512);
    expect(head, 65536, 0x19001ull * 512, FILE_ONLINE_LOG, STATE_OPEN);
    free(zero);
    free(one);
    one = read_sample(dir, "ctl-16k-blk1-first512-11204.bin", &len);
    memset(head, 0, sizeof head);
    write_block_zero(head, ORDER_LITTLE, 16384, 614);
    memcpy(head + 16384, one, 512);
    struct manifest_entry e = identify(head, 65536, 615 * 16384, "control01.ctl");
    cr_expect_eq(e.kind, FILE_CONTROLFILE);
    cr_expect_eq(e.dbid, 0x5902ac43);
    cr_expect_eq(e.state, STATE_DAMAGED, "only its first 512 bytes are known");
    free(one);
    one = read_sample(dir, "spfile-512-blk0-19c-first18.bin", &len);
    memset(head, 0, 1024);
    memcpy(head, one, len);
    cr_expect_eq(identify(head, 1024, 1024, "spfile").kind, FILE_SPFILE);
    free(one);
}
