/* Telling people what a file is, and what a scan found. */
#include "agent/oracle/describe.h"
#include "agent/oracle/identify.h"
#include "tests/oracle/writers.h"

Test(describe, tells_people_what_a_file_is)
{
    test_random_start("describe/tells_people");
    struct err err = {0};
    struct manifest_entry entries[] = {
        {.path = (char *)"data/users.dbf"},
        {.path = (char *)"arch/1_648.dbf",
         .kind = FILE_ONLINE_LOG,
         .state = STATE_OPEN,
         .block_size = 512,
         .order = ORDER_BIG,
         .log = {.next_scn = SCN_NONE}},
        {.kind = FILE_TEXT, .state = STATE_OTHER},
    };
    size_t count = sizeof entries / sizeof *entries;
    struct a_datafile f = plain_datafile;
    f.absolute_fuzzy = 1ull << 60;
    uint8_t *file = write_datafile(&f, test_random);
    oracle_identify(file, 41 * 8192, 41 * 8192, "data/users.dbf", &entries[0]);
    free(file);
    struct str out = {0};
    for (size_t i = 0; i < count; i++)
        oracle_describe(&entries[i], &out);
    cr_assert(str_ok(&out, &err));
    static const char *const words[] = {
        "data/users.dbf: datafile",
        "compatible         19.0.0.0",
        "USERS, number 6",
        "dbid 1433672784",
        "checkpoint SCN     5000",
        "2018-04-08 16:34:42",
        "earliest target    1152921504606846977",
        "online log",
        "none, the log is open",
        "big endian",
        "sequence 648",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        cr_expect(strstr(out.text, words[i]), "no '%s' in\n%s", words[i], out.text);
    for (size_t i = 0; i < count; i++) {
        json_t *object = oracle_describe_json(&entries[i], &err);
        cr_assert_not_null(object, "%s", err.text);
        cr_expect(json_text(object, "kind_text")[0]);
        json_decref(object);
    }
    str_done(&out);
}

Test(describe, sums_up_a_scan_with_its_first_bad_blocks)
{
    test_random_start("describe/sums_up_a_scan");
    struct err err = {0};
    static struct block_summary summary;
    struct a_datafile f = plain_datafile;
    f.blocks = 300;
    uint8_t *file = write_datafile(&f, test_random);
    for (int n = 2; n < 200; n++)
        file[n * 8192 + 77] ^= 1;
    struct block_place place = {.block_size = 8192, .rfile_no = 5, .first_block_no = 1};
    block_verify_run(file + 8192, 300, &place, &summary, NULL, NULL);
    struct str out = {0};
    oracle_describe_scan(&summary, &out);
    cr_assert(str_ok(&out, &err));
    cr_expect(strstr(out.text, "block 2: checksum wrong"), "%s", out.text);
    cr_expect(strstr(out.text, "and 98 more"), "%s", out.text);
    cr_expect(strstr(out.text, "highest SCN        2299, in block 299"), "%s", out.text);
    json_t *object = oracle_describe_scan_json(&summary, &err);
    cr_assert_not_null(object);
    cr_expect_eq(json_array_size(json_object_get(object, "faults")), 100);
    cr_expect_eq(json_u64(json_object_get(object, "counts"), "misplaced"), 19,
                 "used-never blocks with a flip have no address");
    json_decref(object);
    str_done(&out);
    free(file);
}

Test(describe, spells_out_every_flag)
{
    struct err err = {0};
    struct manifest_entry data = {.kind = FILE_DATAFILE,
                                  .block_size = 8192,
                                  .prior_resetlogs_id = 824297850,
                                  .datafile = {.status = 0xffff,
                                               .type = 10,
                                               .rfile_no = 1024,
                                               .scanned = true,
                                               .creation_scn = SCN_NONE,
                                               .highest_block_scn = {9}}};
    struct manifest_entry log = {.kind = FILE_ARCHIVED_LOG,
                                 .block_size = 512,
                                 .log = {.end_of_thread = true, .unverifiable = 3}};
    struct str out = {0};
    oracle_describe(&data, &out);
    data.datafile.scanned = false;
    oracle_describe(&data, &out);
    oracle_describe(&log, &out);
    cr_assert(str_ok(&out, &err));
    static const char *const words[] = {
        "0xffff (in hot backup, was open",
        "level 0 copy)",
        "datafile copy",
        "suspect",
        "unknown until its blocks are read",
        "prior resetlogs",
        "(bigfile)",
        "end of thread",
        "no checksum in     3",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        cr_expect(strstr(out.text, words[i]), "no '%s' in\n%s", words[i], out.text);
    json_t *object = oracle_describe_json(&data, &err);
    cr_assert_not_null(object, "%s", err.text);
    cr_expect(
        json_is_null(json_object_get(json_object_get(object, "datafile"), "earliest_target")) ||
        json_is_null(json_object_get(object, "earliest_target")));
    json_decref(object);
    str_done(&out);
}
