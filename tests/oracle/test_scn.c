/* SCNs and header times: real values, both forms, both orders. */
#include "agent/oracle/scn.h"
#include "tests/oracle/writers.h"

Test(scn, reads_both_forms)
{
    static const struct {
        uint8_t bytes[8];
        uint64_t scn;
    } table[] = {
        {{0x6a, 0x36, 0x32, 0, 0, 0, 0, 0}, 3290730},
        {{0xe8, 0xb0, 0x05, 0, 0, 0, 0, 0}, 372968},
        {{0x76, 0x74, 0x0c, 0, 0, 0, 0x69, 0x09}, 0xc7476}, /* rubbish in the padding */
        {{0xe1, 0xe5, 0x80, 0, 0, 0x80, 0, 0}, 0x80e5e1},   /* 19c */
        {{9, 0, 0, 0, 0, 0x80, 0, 0}, 9},
        {{1, 2, 3, 4, 5, 6, 0, 0}, 0x060504030201},
        {{1, 2, 3, 4, 5, 0x86, 7, 8}, 0x0605080704030201},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect_eq(scn_read(table[i].bytes, ORDER_LITTLE).n, table[i].scn, "row %zu", i);
    cr_expect(scn_is_none(scn_read((const uint8_t *)"\xff\xff\xff\xff\xff\xff\0\0", ORDER_BIG)));
}

Test(scn, reads_what_was_written_in_both_orders)
{
    for (enum byte_order o = ORDER_LITTLE; o <= ORDER_BIG; o++) {
        uint8_t b[8];
        put_scn(b, o, 0x123456789abc, false);
        cr_expect_eq(scn_read(b, o).n, o == o ? 0x123456789abcull : 0);
        put_scn(b, o, 0x7edcba9876543210, true);
        cr_expect_eq(scn_read(b, o).n, 0x7edcba9876543210ull);
    }
}

Test(scn, reads_header_times_the_database_also_printed)
{
    static const struct {
        uint32_t value;
        const char *text;
    } table[] = {
        {824297853, "2013-08-24 11:37:33"},  {972923682, "2018-04-08 16:34:42"},
        {0x3791a09e, "2017-01-03 09:38:38"}, {0, "-"},
        {(1 * 31 + 30) * 86400u, "-"}, /* 31 February */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[32];
        header_time_format(table[i].value, text);
        cr_expect_str_eq(text, table[i].text);
    }
}

Test(scn, knows_leap_days)
{
    char text[32];
    header_time_format((1 * 31 + 28) * 86400u, text);
    cr_expect_str_eq(text, "1988-02-29 00:00:00");
    header_time_format(32140800u + (1 * 31 + 28) * 86400u, text);
    cr_expect_str_eq(text, "-");
}

Test(scn, turns_header_times_into_utc)
{
    uint64_t us;
    cr_assert(header_time_to_utc(972923682, 120, &us));
    cr_expect_eq(us, 1523198082000000ull); /* 2018-04-08 14:34:42 UTC */
    cr_expect_not(header_time_to_utc(0, 0, &us));
}
