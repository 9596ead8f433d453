/* The block check that the vault's main passes in: it refuses what a datafile must not hold, and
 * judges nothing else. */
#include "agent/oracle/fileheader.h"
#include "drivers/vault/check.h"
#include "tests/oracle/writers.h"

enum { BLOCKS = 1000 };
static uint8_t zero[16384], record[8192];
static struct err why;

static bool check(const uint8_t *first, uint64_t record_no)
{
    why = (struct err){0};
    return check_record(NULL, "data/users01.dbf", (BLOCKS + 1ULL) * 8192, first, record_no, record,
                        &why);
}

static void file_of(uint16_t type, uint64_t block_no)
{
    struct a_datafile header = {
        .order = ORDER_LITTLE, .size = 8192, .blocks = BLOCKS, .type = type};
    write_block_zero(zero, ORDER_LITTLE, 8192, BLOCKS);
    write_datafile_header(zero + 8192, &header);
    for (int i = 20; i < 8188; i++)
        record[i] = (uint8_t)(i * 7);
    write_kcbh(record, ORDER_LITTLE, 8192, 6, rdba_of(5, (uint32_t)block_no), 0x123456789abull);
}

static void datafile(uint64_t block_no) { file_of(TYPE_DATAFILE, block_no); }

Test(check, passes_a_block_at_its_place)
{
    datafile(17);
    cr_expect(check(zero, 17));
}

Test(check, refuses_damage_and_wrong_places)
{
    datafile(17);
    cr_expect_not(check(zero, 18), "another block's address");
    record[4000] ^= 1;
    cr_expect_not(check(zero, 17), "a flipped bit");
    cr_expect_str_eq(why.text, "block 17: checksum wrong");
}

Test(check, passes_a_block_that_was_never_used)
{
    datafile(17);
    memset(record, 0, sizeof record);
    cr_expect(check(zero, 17));
}

Test(check, judges_no_file_that_is_no_datafile)
{
    datafile(17);
    record[4000] ^= 1;
    cr_expect(check(NULL, 17), "no first record");
    memset(zero, 0x41, sizeof zero);
    cr_expect(check(zero, 17), "no block 0");
    write_block_zero(zero, ORDER_LITTLE, 512, BLOCKS);
    cr_expect(check(zero, 17), "a log");
    write_block_zero(zero, ORDER_LITTLE, 16384, BLOCKS);
    cr_expect(check(zero, 17), "blocks larger than a record");
    write_block_zero(zero, ORDER_LITTLE, 8192, BLOCKS * 2);
    cr_expect(check(zero, 17), "a file not yet as long as it says");
}

/* They begin as datafiles do; blocks of a piece carry the addresses of the files they are of. */
Test(check, judges_no_piece_of_a_backup)
{
    static const uint16_t others[] = {TYPE_CONTROLFILE,  TYPE_BACKUP_CONTROLFILE,
                                      TYPE_BACKUP_PIECE, TYPE_TEMPFILE,
                                      TYPE_TRACKING,     TYPE_FLASHBACK_LOG};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        file_of(others[i], 17);
        cr_expect(check(zero, 18), "type %u", others[i]);
    }
    file_of(TYPE_DATAFILE_COPY, 17);
    cr_expect_not(check(zero, 18));
    memset(zero + 8192, 0, 8192);
    cr_expect(check(zero, 18), "block 1 is not written yet");
}

Test(check, judges_every_small_block_of_a_record)
{
    struct a_datafile header = {
        .order = ORDER_BIG, .size = 2048, .blocks = BLOCKS * 4, .type = TYPE_DATAFILE};
    write_block_zero(zero, ORDER_BIG, 2048, BLOCKS * 4);
    write_datafile_header(zero + 2048, &header);
    for (uint32_t i = 0; i < 4; i++)
        write_kcbh(record + i * 2048, ORDER_BIG, 2048, 6, rdba_of(5, 40 + i), 0x99);
    cr_expect(check(zero, 10));
    record[3 * 2048 + 1000] ^= 1;
    cr_expect_not(check(zero, 10));
    cr_expect_str_eq(why.text, "block 43: checksum wrong");
}
