/* The fact sheet: kept whole through JSON, refused when hostile, complete or not. */
#include "agent/base/json.h"
#include "agent/oracle/facts.h"
#include "tests/oracle/writers.h"

#define ADD(facts, list, noun, ...)                                                                \
    do {                                                                                           \
        cr_assert(own_grow((void **)&(facts)->list, &(facts)->noun##_capacity,                     \
                           (facts)->noun##_count, sizeof *(facts)->list, &err));                   \
        (facts)->list[(facts)->noun##_count++] = (__VA_ARGS__);                                    \
    } while (0)

static struct facts *sample(void)
{
    struct err err = {0};
    struct facts *f = facts_new(&err);
    strcpy(f->run, "run-7");
    strcpy(f->phase, "post");
    strcpy(f->db_name, "ORCL");
    strcpy(f->zone_name, "Europe/Vienna");
    f->dbid = 1433672784;
    f->resetlogs_id = 928161908;
    f->resetlogs_scn = (struct scn){900};
    f->complete = f->cdb = true;
    f->preview_fuzzy_scn = (struct scn){(1ull << 53) + 1};
    ADD(f, incarnations, incarnation,
        (struct facts_incarnation){
            .number = 2, .prior = 1, .resetlogs_id = 928161908, .status = "CURRENT"});
    ADD(f, threads, thread,
        (struct facts_thread){
            .number = 1, .open = true, .enabled = true, .sequence = 649, .instance = "orcl1"});
    ADD(f, files, file,
        (struct facts_file){.file_no = 1,
                            .rfile_no = 1,
                            .block_size = 8192,
                            .blocks = 1000,
                            .stop_scn = SCN_NONE,
                            .status = "SYSTEM",
                            .enabled = "READ WRITE",
                            .name = "/u01/syst\xe4m.dbf"});
    ADD(f, files, file,
        (struct facts_file){.file_no = 7,
                            .rfile_no = 1024,
                            .bigfile = true,
                            .stop_scn = {4000},
                            .status = "ONLINE",
                            .enabled = "READ ONLY",
                            .name = "/u01/test_01.dbf"});
    ADD(f, pdbs, pdb,
        (struct facts_pdb){.con_id = 2, .open_mode = "READ ONLY", .name = "PDB$SEED"});
    ADD(f, copies, copy,
        (struct facts_copy){
            .file_no = 1, .status = 'A', .level = -1, .tag = "EVERCOPY", .name = "/area/system"});
    ADD(f, moments, moment,
        (struct facts_moment){
            .phase = "begin", .scn = {5000}, .utc_us = 1700000000000000ull, .offset_min = -210});
    ADD(f, parameters, parameter,
        (struct facts_parameter){.name = "db_block_size", .value = "8192"});
    ADD(f, dests, dest,
        (struct facts_dest){.id = 2, .status = "VALID", .destination = "/area/archivelog"});
    ADD(f, tempfiles, tempfile, strdup("/u01/temp01.dbf"));
    ADD(f, logfiles, logfile,
        strdup("/u01/r\xe9"
               "do01.log"));
    ADD(f, controlfiles, controlfile, strdup("/u01/control01.ctl"));
    ADD(f, suspect_files, suspect, 7);
    strcpy(f->controlfile_raw, "ctl/run-7.ctl");
    return f;
}

Test(facts, come_back_whole_from_json)
{
    struct err err = {0};
    struct facts *f = sample();
    char *text = facts_to_json(f, &err);
    cr_assert_not_null(text, "%s", err.text);
    struct facts *back = facts_from_json(text, strlen(text), &err);
    cr_assert_not_null(back, "%s", err.text);
    char *again = facts_to_json(back, &err);
    cr_expect_str_eq(text, again);
    cr_expect_str_eq(back->zone_name, "Europe/Vienna");
    cr_expect_eq(back->preview_fuzzy_scn.n, (1ull << 53) + 1);
    cr_expect_eq(back->file_count, 2);
    cr_expect(scn_is_none(back->files[0].stop_scn));
    cr_expect_str_eq(back->files[0].name, "/u01/syst\xe4m.dbf");
    cr_expect_eq(back->copies[0].level, -1);
    cr_expect_eq(back->copies[0].status, 'A');
    cr_expect_eq(back->moments[0].offset_min, -210);
    cr_expect_str_eq(back->logfiles[0], "/u01/r\xe9"
                                        "do01.log");
    cr_expect_eq(back->suspect_files[0], 7);
    cr_expect_eq(facts_file_find(back, 7)->rfile_no, 1024);
    cr_expect_null(facts_file_find(back, 8));
    cr_expect_str_eq(facts_parameter_find(back, "DB_BLOCK_SIZE"), "8192");
    cr_expect_str_eq(facts_parameter_find(back, "nothing"), "");
    own_free(text);
    own_free(again);
    facts_free(f);
    facts_free(back);
}

Test(facts, refuse_hostile_json)
{
    static const struct {
        const char *text;
        enum err_code code;
    } table[] = {
        {"", ERR_INVALID},
        {"[]", ERR_INVALID},
        {"7", ERR_INVALID},
        {"{}", ERR_INVALID},
        {"{\"version\":2}", ERR_INVALID},
        {"{\"version\":1,\"version\":1}", ERR_INVALID},
        {"{\"version\":1,\"dbid\":4294967296}", ERR_INVALID},
        {"{\"version\":1,\"dbid\":-1}", ERR_INVALID},
        {"{\"version\":1,\"dbid\":1.5}", ERR_INVALID},
        {"{\"version\":1,\"dbid\":\"1\"}", ERR_INVALID},
        {"{\"version\":1,\"cdb\":1}", ERR_INVALID},
        {"{\"version\":1,\"resetlogs_scn\":-4}", ERR_INVALID},
        {"{\"version\":1,\"db_name\":7}", ERR_INVALID},
        {"{\"version\":1,\"db_name\":\"a\",\"db_name_hex\":\"61\"}", ERR_INVALID},
        {"{\"version\":1,\"db_name\":\"a\\nrun {}\"}", ERR_INVALID},
        {"{\"version\":1,\"db_name_hex\":\"0a\"}", ERR_INVALID},
        {"{\"version\":1,\"db_name\":\"0123456789012345678901234567890123456789\"}", ERR_LIMIT},
        {"{\"version\":1,\"files\":{}}", ERR_INVALID},
        {"{\"version\":1,\"files\":[7]}", ERR_INVALID},
        {"{\"version\":1,\"files\":[{}]}", ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"file_no\":65536}]}", ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"file_no\":1},{\"file_no\":1}]}", ERR_CORRUPT},
        {"{\"version\":1,\"files\":[{\"file_no\":1,\"block_size\":512}]}", ERR_INVALID},
        {"{\"version\":1,\"files\":[{\"file_no\":1,\"rfile_no\":1025}]}", ERR_INVALID},
        {"{\"version\":1,\"threads\":[{\"number\":0}]}", ERR_INVALID},
        {"{\"version\":1,\"threads\":[{\"number\":1},{\"number\":1}]}", ERR_CORRUPT},
        {"{\"version\":1,\"moments\":[{\"offset_min\":900}]}", ERR_INVALID},
        {"{\"version\":1,\"copies\":[{\"file_no\":0}]}", ERR_INVALID},
        {"{\"version\":1,\"copies\":[{\"file_no\":1,\"status\":\"AX\"}]}", ERR_LIMIT},
        {"{\"version\":1,\"suspect_files\":[{\"file_no\":0}]}", ERR_INVALID},
        {"{\"version\":1,\"tempfiles\":[7]}", ERR_INVALID},
        {"{\"version\":1,\"tempfiles\":[\"a\\tb\"]}", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err err = {0};
        cr_expect_null(facts_from_json(table[i].text, strlen(table[i].text), &err), "row %zu", i);
        cr_expect_eq(err.code, table[i].code, "row %zu: %s", i, err.text);
    }
}

Test(facts, refuse_too_many_rows_and_too_long_names)
{
    struct err err = {0};
    size_t size = 70000 * 3 + 100;
    char *text = calloc(1, size);
    strcpy(text, "{\"version\":1,\"files\":[0");
    size_t at = strlen(text);
    for (int i = 0; i < 66000; i++)
        at += (size_t)sprintf(text + at, ",0");
    strcpy(text + at, "]}");
    cr_expect_null(facts_from_json(text, strlen(text), &err));
    cr_expect_eq(err.code, ERR_LIMIT, "%s", err.text);
    memset(text, 'x', size - 1);
    memcpy(text, "{\"version\":1,\"tempfiles\":[\"", 27);
    strcpy(text + 27 + 514, "\"]}");
    memset(&err, 0, sizeof err);
    cr_expect_null(facts_from_json(text, strlen(text), &err));
    cr_expect_eq(err.code, ERR_LIMIT, "%s", err.text);
    free(text);
}

Test(facts, will_not_write_control_signs)
{
    struct err err = {0};
    struct facts *f = sample();
    strcpy(f->files[0].name, "/u01/a\nb");
    cr_expect_null(facts_to_json(f, &err));
    cr_expect_eq(err.code, ERR_INVALID);
    facts_free(f);
}

static void no_dbid(struct facts *f) { f->dbid = 0; }
static void no_line(struct facts *f) { f->incarnation_count = 0; }
static void no_moment(struct facts *f) { f->moment_count = 0; }
static void not_complete(struct facts *f) { f->complete = false; }
static void no_files(struct facts *f) { f->file_count = 0; }
static void no_status(struct facts *f) { f->files[1].status[0] = '\0'; }
static void no_threads(struct facts *f) { f->thread_count = 0; }
static void no_sequence(struct facts *f) { f->threads[0].sequence = 0; }

Test(facts, say_what_is_missing)
{
    static void (*const table[])(struct facts *) = {no_dbid,  no_line,   no_moment,  not_complete,
                                                    no_files, no_status, no_threads, no_sequence};
    struct err err = {0};
    struct facts *f = sample();
    cr_expect(facts_are_complete(f, &err), "%s", err.text);
    facts_free(f);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        f = sample();
        table[i](f);
        err_clear(&err);
        cr_expect_not(facts_are_complete(f, &err), "row %zu", i);
        cr_expect_eq(err.code, ERR_PRECONDITION);
        facts_free(f);
    }
}

Test(facts, survive_every_failure_of_memory)
{
    struct err err = {0};
    struct facts *f = sample();
    char *text = facts_to_json(f, &err);
    for (long nth = 1;; nth++) {
        struct err why = {0};
        own_fault(nth);
        struct facts *back = facts_from_json(text, strlen(text), &why);
        long made = own_fault(0);
        cr_assert(back || why.code == ERR_NO_MEMORY, "%s", why.text);
        facts_free(back);
        if (made < nth)
            break;
    }
    own_free(text);
    facts_free(f);
}
