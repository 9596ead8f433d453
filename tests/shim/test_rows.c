/* The EC| rows: each kind in its place, each malformed one refused by name. */
#include "agent/base/str.h"
#include "agent/shim/rows.h"
#include <criterion/criterion.h>
#include <string.h>

typedef bool row_fn(void *arg, char *row, struct err *err);

static bool give(row_fn *take, void *arg, const char *text, struct err *err)
{
    char row[4000];
    str_copy(row, sizeof row, text);
    return take(arg, row, err);
}

static void accept(row_fn *take, void *arg, const char *text)
{
    struct err err = {0};
    cr_assert(give(take, arg, text, &err), "%s: %s", text, err.text);
}

static const char *const sheet[] = {
    "instance|orcl|dbhost|12.1.0.2.0|OPEN|1",
    "banner|Oracle Database 12c Enterprise Edition Release 12.1.0.2.0 - 64bit Production",
    "banner|PL/SQL Release 12.1.0.2.0 - Production",
    "database|1433672784|ORCL|orcl_site|PRIMARY|READ WRITE|ARCHIVELOG|799175|1594143|"
    "2016-03-03 10:00:48|YES|RESTORE POINT ONLY|Linux x86 64-bit",
    "cdb|YES",
    "now|799175|2016-11-08 21:53:35 +01:00",
    "incarnation|1|1|891000000|0|0|PARENT",
    "incarnation|2|1594143|905892048|1|1|CURRENT",
    "thread|1|OPEN|PUBLIC|94|1594143||93|799100|orcl",
    "thread|2|CLOSED|DISABLED|0||0||0|",
    "pdb|3|12345|READ WRITE|PDB|1",
    "file|1|1|0|1|7|SYSTEM|READ WRITE|799100||0|0|0||0|0|0|89600|8192|/u01/sys|tem.dbf",
    "file|5|2|0|5|1700|ONLINE|READ ONLY|799000|799000|0|0|790000|2016-11-08 20:00:00|1|1700|77|640|"
    "8192|/u01/seed.dbf",
    "header|1|799100|YES|NO|",
    "header|5|799000|NO|NO|",
    "header|9|1|NO|NO|created since",
    "tablespace|1|0|NO|SYSTEM",
    "tablespace|2|0|YES|SYSTEM$SEED",
    "encrypted|2|0",
    "tempfile|1|20971520|/u01/temp.dbf",
    "logfile|1|1|52428800|512|CURRENT|/u01/redo01.log",
    "controlfile|/u01/control01.ctl",
    "dest|1|VALID|PRIMARY|OPTIONAL|/arch",
    "copy|1|7|799050|799060|0|A|0|EVERCOPY_ORCL|98|927412620|/nfs/data_FNO-1",
    "copy|5|1700|799000|0|0|X||T|99|927412621|/nfs/data_FNO-5",
    "parameter|compatible|12.1.0.2.0",
    "parameter|db_domain|",
    "tracking|ENABLED|/u01/bct",
};

static struct facts *filled(void)
{
    struct err err = {0};
    struct facts *facts = facts_new(&err);
    cr_assert(facts);
    str_copy(facts->phase, sizeof facts->phase, "begin");
    for (size_t i = 0; i < sizeof sheet / sizeof *sheet; i++)
        accept(rows_facts, facts, sheet[i]);
    cr_assert(rows_facts_end(facts, &err), "%s", err.text);
    return facts;
}

Test(shim, rows_fill_the_fact_sheet)
{
    AUTO(facts) struct facts *facts = filled();
    cr_expect_eq(facts->dbid, 1433672784);
    cr_expect_str_eq(facts->db_unique_name, "orcl_site");
    cr_expect_str_eq(facts->release, "12.1.0.2.0");
    cr_expect_str_eq(facts->edition, "EE");
    cr_expect_str_eq(facts->compatible, "12.1.0.2.0");
    cr_expect(facts->cdb && facts->force_logging && facts->flashback && facts->tracking);
    cr_expect(facts->complete);
    cr_expect_eq(facts->resetlogs_id, 905892048);
    cr_expect_eq(facts->resetlogs_scn.n, 1594143);
    cr_assert_eq(facts->thread_count, 2);
    cr_expect(facts->threads[0].open && facts->threads[0].enabled);
    cr_expect(!facts->threads[1].open && !facts->threads[1].enabled);
    cr_expect_eq(facts->threads[0].disable_scn.n, 0);
    cr_expect_str_eq(facts->pdbs[0].name, "PDB|1");
    cr_expect_eq(facts->tempfile_count + facts->logfile_count + facts->controlfile_count, 3);
    cr_expect_str_eq(facts->logfiles[0], "/u01/redo01.log");
    cr_expect_str_eq(facts->dests[0].destination, "/arch");
    cr_expect_str_eq(facts_parameter_find(facts, "db_domain"), "");
}

Test(shim, rows_tell_static_files_from_moving_ones)
{
    AUTO(facts) struct facts *facts = filled();
    const struct facts_file *system_file = facts_file_find(facts, 1);
    const struct facts_file *seed = facts_file_find(facts, 5);
    cr_expect(scn_is_none(system_file->stop_scn));
    cr_expect(system_file->fuzzy && !system_file->encrypted && !system_file->bigfile);
    cr_expect_str_eq(system_file->name, "/u01/sys|tem.dbf");
    cr_expect_str_eq(system_file->tablespace, "SYSTEM");
    cr_expect_eq(seed->stop_scn.n, 799000);
    cr_expect_eq(seed->header_scn.n, 799000);
    cr_expect(seed->encrypted && seed->bigfile && seed->plugged_in);
    cr_expect_str_eq(seed->tablespace, "SYSTEM$SEED");
    cr_expect_eq(seed->unrecoverable_scn.n, 790000);
    cr_expect_eq(seed->foreign_dbid, 77);
    cr_expect_eq(facts->copies[0].level, 0);
    cr_expect_eq(facts->copies[1].level, -1);
    cr_expect_eq(facts->copies[1].status, 'X');
    cr_expect_str_eq(facts->copies[1].name, "/nfs/data_FNO-5");
}

Test(shim, rows_note_moments_with_their_phase_and_offset)
{
    AUTO(facts) struct facts *facts = filled();
    str_copy(facts->phase, sizeof facts->phase, "post");
    accept(rows_facts, facts, "now|799393|2016-11-08 12:53:54 -09:30");
    accept(rows_facts, facts, "thread|1|OPEN|PUBLIC|95|1594143||94|799390|orcl");
    cr_assert_eq(facts->moment_count, 2);
    cr_expect_str_eq(facts->moments[0].phase, "begin");
    cr_expect_eq(facts->moments[0].offset_min, 60);
    cr_expect_eq(facts->moments[0].utc_us, 1478638415000000u);
    cr_expect_str_eq(facts->moments[1].phase, "post");
    cr_expect_eq(facts->moments[1].offset_min, -570);
    cr_expect_eq(facts->moments[1].utc_us, 1478643834000000u + 0u);
    cr_expect_eq(facts->thread_count, 2);
    cr_expect_eq(facts->threads[0].sequence, 95);
}

Test(shim, rows_refuse_what_is_malformed_and_name_the_kind)
{
    static const struct {
        const char *row, *wanted;
    } cases[] = {
        {"", "row of a kind not known: ''"},
        {"nonsense|1", "row of a kind not known: 'nonsense'"},
        {"thread|1|OPEN", "row 'thread': 2 cells instead of 9"},
        {"thread", "row 'thread': 1 cells instead of 9"},
        {"now|x|2016-11-08 21:53:35 +01:00", "row 'now': cell 1 is no number: 'x'"},
        {"now|1|2016-11-08 21:53:35", "row 'now': cell 2 is no time with its zone: "
                                      "'2016-11-08 21:53:35'"},
        {"now|1|2016-13-08 21:53:35 +01:00", "row 'now': cell 2 is no time with its zone: "
                                             "'2016-13-08 21:53:35 +01:00'"},
        {"now|18446744073709551616|x", "row 'now': cell 1 is no number: '18446744073709551616'"},
        {"pdb|-1|2|x|y", "row 'pdb': cell 1 is no number: '-1'"},
        {"incarnation|1|2|4294967296|0|0|CURRENT", "row 'incarnation': cell 3 is no number: "
                                                   "'4294967296'"},
        {"incarnation|1|2|3|0|0|CURRENT-BUT-TOO-LONG", "row 'incarnation': cell 6 is too long: "
                                                       "'CURRENT-BUT-TOO-LONG'"},
        {"file|4|1|0|1|7|SYSTEM|READ WRITE|1||0|0|0||0|0|0|1|8192|x",
         "row 'file': cell 19 is out of order: 'x'"},
    };
    AUTO(facts) struct facts *facts = filled();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        cr_expect_not(give(rows_facts, facts, cases[i].row, &err), "%s", cases[i].row);
        cr_expect_str_eq(err.text, cases[i].wanted);
    }
}

Test(shim, rows_facts_end_names_what_is_missing)
{
    static const char *const kinds[] = {"database", "incarnation", "thread",
                                        "file",     "now",         "controlfile"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct err err = {0};
        AUTO(facts) struct facts *facts = facts_new(&err);
        for (size_t i = 0; i < sizeof sheet / sizeof *sheet; i++)
            if (!str_starts(sheet[i], kinds[k]))
                accept(rows_facts, facts, sheet[i]);
        cr_expect_not(rows_facts_end(facts, &err));
        cr_expect(strstr(err.text, kinds[k]), "%s: %s", kinds[k], err.text);
        cr_expect_not(facts->complete);
    }
}

Test(shim, rows_read_edition_and_release)
{
    static const struct {
        const char *banner, *edition;
    } cases[] = {
        {"banner|Oracle Database 19c Enterprise Edition Release 19.0.0.0.0 - Production", "EE"},
        {"banner|Oracle Database 12c Standard Edition Release 12.1.0.2.0 - 64bit Production", "SE"},
        {"banner|Oracle Database 11g Release 11.2.0.4.0 - 64bit Production", "SE"},
        {"banner|Oracle Database 11g Express Edition Release 11.2.0.2.0 - 64bit Production", "XE"},
        {"banner|Oracle Database 23ai Free Release 23.0.0.0.0 - Production", "FREE"},
        {"banner|NLSRTL Version 12.1.0.2.0 - Production", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rows_probe probe = {0};
        accept(rows_probe, &probe, "instance|orcl1|h|19.21.0.0.0|MOUNTED|1");
        accept(rows_probe, &probe, cases[i].banner);
        cr_expect_str_eq(probe.edition, cases[i].edition);
        cr_expect_eq(probe.major, 19);
        cr_expect_str_eq(probe.status, "MOUNTED");
    }
}

Test(shim, rows_of_the_smaller_scripts)
{
    struct err err = {0};
    AUTO(rows_logs) struct rows_logs logs = {0};
    accept(rows_logs, &logs, "log|1|94|905892048|799100|281474976710655");
    cr_expect(logs.items[0].sequence == 94 && scn_is_none(logs.items[0].next_scn));
    AUTO(rows_pieces) struct rows_pieces pieces = {0};
    accept(rows_pieces, &pieces, "piece|145|T|2016-11-08 21:53:42|/nfs/a|b_1_1");
    cr_expect_str_eq(pieces.items[0].handle, "/nfs/a|b_1_1");
    AUTO(rows_channels) struct rows_channels channels = {0};
    accept(rows_channels, &channels, "channel|1|46|12345|id=evercopy:r1,rman channel=c1");
    cr_expect_eq(channels.items[0].serial, 12345);
    AUTO(rows_opened) struct rows_opened opened = {0};
    accept(rows_opened, &opened, "opened|READ ONLY|799175");
    accept(rows_opened, &opened, "header|1|799175|NO|NO|");
    cr_expect(opened.count == 1 && !opened.items[0].fuzzy && opened.checkpoint_scn.n == 799175);
    AUTO(rows_setup) struct rows_setup setup = {0};
    accept(rows_setup, &setup, "keep|7");
    accept(rows_setup, &setup, "fra|");
    accept(rows_setup, &setup, "snapcf|TO '/nfs/snapcf_orcl.f'");
    accept(rows_setup, &setup, "rmanconf|BACKUP OPTIMIZATION|ON");
    cr_expect(setup.keep_days == 7 && setup.count == 1 && !*setup.fra);
    AUTO(rows_restore) struct rows_restore restore = {0};
    accept(rows_restore, &restore, "name|logfile|1|/u01/redo01.log");
    accept(rows_restore, &restore, "name|tracking|0|/u01/bct");
    accept(rows_restore, &restore, "state|NO|MOUNTED|1433672784");
    accept(rows_restore, &restore, "trackstate|ENABLED");
    accept(rows_restore, &restore, "incarnation|2|1594143|905892048|1|1|CURRENT");
    cr_expect(restore.count == 2 && restore.tracking && !restore.flashback);
    cr_expect_eq(restore.incarnations[0].resetlogs_id, 905892048);
    cr_expect_not(give(rows_logs, &logs, "piece|1|2|3|4", &err));
    cr_expect_str_eq(err.text, "row of a kind not known: 'piece'");
}

Test(shim, rows_report_every_allocation_that_fails)
{
    for (long nth = 1; nth < 300; nth++) {
        struct err err = {0};
        own_fault(nth);
        AUTO(facts) struct facts *facts = facts_new(&err);
        bool ok = facts != NULL;
        for (size_t i = 0; ok && i < sizeof sheet / sizeof *sheet; i++)
            ok = give(rows_facts, facts, sheet[i], &err);
        bool untouched = own_fault(0) < nth;
        cr_assert(ok || err.code == ERR_NO_MEMORY, "call %ld: %s", nth, err.text);
        if (untouched) {
            cr_expect(ok);
            return;
        }
    }
    cr_assert_fail("more than 300 allocations");
}
