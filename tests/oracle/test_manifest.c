/* The manifest: kept whole through JSON, judged by dbid and line, hostile input refused. */
#include "agent/oracle/identify.h"
#include "agent/oracle/manifest.h"
#include "tests/oracle/writers.h"

static struct manifest *sample(void)
{
    struct err err = {0};
    struct manifest *m = manifest_new(&err);
    m->made_us = 1700000000000000ull;
    m->blocks_scanned = true;
    struct manifest_entry *e = manifest_add(m, "data/users.dbf", &err);
    uint8_t *file = write_datafile(&plain_datafile, test_random);
    oracle_identify(file, 41 * 8192, 41 * 8192, "data/users.dbf", e);
    free(file);
    e->datafile.absolute_fuzzy_scn = (struct scn){(1ull << 60) + 1};
    e = manifest_add(m, "arch/1_648.dbf", &err);
    e->kind = FILE_ONLINE_LOG;
    e->state = STATE_OPEN;
    e->block_size = 512;
    e->order = ORDER_BIG;
    e->log.next_scn = SCN_NONE;
    e->log.first_scn = (struct scn){(1ull << 53) + 1};
    e->log.moments = calloc(2, sizeof *e->log.moments);
    e->log.moments[0] = (struct log_moment){{1}, 972923682};
    e->log.moments[1] = (struct log_moment){{(1ull << 53) + 3}, 972923682};
    e->log.moment_count = 2;
    e = manifest_add(m,
                     "b\xe4"
                     "d.txt",
                     &err);
    e->kind = FILE_TEXT;
    e->state = STATE_OTHER;
    manifest_sort(m);
    return m;
}

Test(manifest, comes_back_whole_from_json)
{
    test_random_start("manifest/comes_back_whole");
    struct err err = {0};
    struct manifest *m = sample();
    char *text = manifest_to_json(m, &err);
    cr_assert_not_null(text, "%s", err.text);
    cr_expect(strstr(text, "\"path_hex\":\"62e4642e747874\""), "%s", text);
    cr_expect(strstr(text, "\"next_scn\":null"), "%s", text);
    struct manifest *back = manifest_from_json(text, strlen(text), &err);
    cr_assert_not_null(back, "%s", err.text);
    cr_expect_eq(back->count, 3);
    cr_expect_eq(back->made_us, m->made_us);
    cr_expect(back->blocks_scanned);
    cr_expect_str_eq(back->entries[0].path, "arch/1_648.dbf");
    cr_expect_eq(back->entries[0].order, ORDER_BIG);
    cr_expect_eq(back->entries[0].log.moments[1].scn.n, (1ull << 53) + 3);
    cr_expect(scn_is_none(back->entries[0].log.next_scn));
    cr_expect_str_eq(back->entries[1].path, "b\xe4"
                                            "d.txt");
    cr_expect_eq(back->entries[2].datafile.absolute_fuzzy_scn.n, (1ull << 60) + 1);
    char *again = manifest_to_json(back, &err);
    cr_expect_str_eq(text, again);
    own_free(text);
    own_free(again);
    manifest_free(m);
    manifest_free(back);
}

Test(manifest, marks_foreign_files_and_other_incarnations)
{
    static const struct {
        enum file_kind kind;
        enum file_state before, after;
        uint32_t dbid, resetlogs_id;
    } table[] = {
        {FILE_DATAFILE, STATE_GOOD, STATE_GOOD, 7, 100},
        {FILE_DATAFILE, STATE_GOOD, STATE_GOOD, 7, 200},
        {FILE_DATAFILE, STATE_GOOD, STATE_OTHER_INCARNATION, 7, 300},
        {FILE_DATAFILE, STATE_GOOD, STATE_FOREIGN, 8, 100},
        {FILE_ARCHIVED_LOG, STATE_DAMAGED, STATE_DAMAGED, 8, 100},
        {FILE_ONLINE_LOG, STATE_OPEN, STATE_FOREIGN, 8, 100},
        {FILE_CONTROLFILE, STATE_GOOD, STATE_GOOD, 7, 0},
        {FILE_BACKUP_PIECE, STATE_GOOD, STATE_FOREIGN, 9, 0},
        {FILE_TEXT, STATE_OTHER, STATE_OTHER, 0, 0},
        {FILE_SPFILE, STATE_GOOD, STATE_GOOD, 0, 0},
    };
    struct err err = {0};
    struct manifest *m = manifest_new(&err);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct manifest_entry *e = manifest_add(m, "x", &err);
        e->kind = table[i].kind;
        e->state = table[i].before;
        e->dbid = table[i].dbid;
        e->resetlogs_id = table[i].resetlogs_id;
    }
    manifest_judge(m, 7, (uint32_t[]){100, 200}, 2);
    for (size_t i = 0; i < m->count; i++) {
        cr_expect_eq(m->entries[i].state, table[i].after, "row %zu: %s", i, m->entries[i].why);
        cr_expect(table[i].before == table[i].after || m->entries[i].why[0]);
    }
    manifest_free(m);
}

Test(manifest, refuses_hostile_json)
{
    static const struct {
        const char *text;
        enum err_code code;
    } table[] = {
        {"", ERR_INVALID},
        {"[]", ERR_INVALID},
        {"{\"version\":2,\"files\":[]}", ERR_INVALID},
        {"{\"version\":1}", ERR_INVALID},
        {"{\"version\":1,\"files\":[3]}", ERR_INVALID},
        {"{\"version\":1,\"files\":[{}]}", ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"/etc/"
         "passwd\",\"kind\":\"text\",\"state\":\"other\"}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a/../../"
         "b\",\"kind\":\"text\",\"state\":\"other\"}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"..\",\"kind\":\"text\",\"state\":\"other\"}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path_hex\":\"2f61\",\"kind\":\"text\",\"state\":\"other\"}]"
         "}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path_hex\":\"6100\",\"kind\":\"text\",\"state\":\"other\"}]"
         "}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path_hex\":\"616\",\"kind\":\"text\",\"state\":\"other\"}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"what\",\"state\":\"other\"}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"\"}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\",\"size\":"
         "-1}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\",\"block_"
         "size\":777}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\",\"db_"
         "name\":\"LONGERTHAN8\"}]}",
         ERR_LIMIT},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\",\"log\":"
         "7}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\",\"log\":{"
         "\"moments\":[1]}}]}",
         ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\",\"log\":{"
         "\"moments\":[{\"scn\":2},{\"scn\":2}]}}]}",
         ERR_CORRUPT},
        {"{\"version\":1,\"files\":[{\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\"},{"
         "\"path\":\"a\",\"kind\":\"text\",\"state\":\"other\"}]}",
         ERR_CORRUPT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err err = {0};
        cr_expect_null(manifest_from_json(table[i].text, strlen(table[i].text), &err), "row %zu",
                       i);
        cr_expect_eq(err.code, table[i].code, "row %zu: %s", i, err.text);
    }
}

Test(manifest, survives_every_failure_of_memory)
{
    test_random_start("manifest/survives_every_failure");
    struct err err = {0};
    struct manifest *m = sample();
    char *text = manifest_to_json(m, &err);
    for (long nth = 1;; nth++) {
        struct err why = {0};
        own_fault(nth);
        struct manifest *back = manifest_from_json(text, strlen(text), &why);
        long made = own_fault(0);
        cr_assert(back || why.code == ERR_NO_MEMORY, "%s", why.text);
        manifest_free(back);
        if (made < nth)
            break;
    }
    own_free(text);
    manifest_free(m);
}

Test(manifest, has_a_word_for_every_kind_and_state)
{
    for (int i = -1; i <= FILE_KIND_COUNT; i++)
        cr_expect(file_kind_text((enum file_kind)i)[0] && file_kind_name((enum file_kind)i)[0]);
    for (int i = -1; i <= FILE_STATE_COUNT; i++)
        cr_expect(file_state_text((enum file_state)i)[0] && file_state_name((enum file_state)i)[0]);
}
