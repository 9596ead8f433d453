/* RMAN's output: what it prints in the scenarios that decide whether a backup may be called good.
 * Lines are retyped from logs of RMAN 12.1.0.2 and from Oracle's documentation. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/shim/rmanlog.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void feed(struct rmanlog *log, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        rmanlog_feed(log, text, len, NULL);
        text += len + (text[len] == '\n');
    }
}

static struct rmanlog *fed(const char *text)
{
    struct err err = {0};
    struct rmanlog *log = rmanlog_new(&err);
    cr_assert(log);
    feed(log, text);
    cr_assert(rmanlog_ok(log, &err));
    return log;
}

#define STACK                                                                                      \
    "RMAN-00571: ===========================================================\n"                    \
    "RMAN-00569: =============== ERROR MESSAGE STACK FOLLOWS ===============\n"                    \
    "RMAN-00571: ===========================================================\n"

Test(shim, rmanlog_first_run_makes_copies_and_merges_nothing)
{
    AUTO(rmanlog)
    struct rmanlog *log =
        fed("Starting backup at 2016-11-08 21:53:37\n"
            "no parent backup or copy of datafile 7 found\n"
            "channel ORA_DISK_1: starting datafile copy\n"
            "input datafile file number=00007 name=/u01/a b/x.dbf\n"
            "channel ORA_DISK_2: starting datafile copy\n"
            "input datafile file number=00008 name=/u01/y.dbf\n"
            "output file name=/nfs/x copy tag=IMAGE_COPY_BACKUP RECID=98 STAMP=927412620\n"
            "channel ORA_DISK_1: datafile copy complete, elapsed time: 00:00:25\n"
            "output file name=/nfs/y tag=IMAGE_COPY_BACKUP RECID=99 STAMP=927412620\n"
            "channel ORA_DISK_2: datafile copy complete, elapsed time: 01:00:03\n"
            "Finished backup at 2016-11-08 21:53:42\n"
            "Starting recover at 2016-11-08 21:53:43\n"
            "no copy of datafile 7 found to recover\n"
            "RMAN-05017: no copy of datafile 8 found to recover\n"
            "Finished recover at 2016-11-08 21:53:45\n");
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_expect_eq(facts->error_count, 0);
    cr_assert_eq(facts->no_parent.count, 1);
    cr_expect_eq(facts->no_parent.items[0].file_no, 7);
    cr_assert_eq(facts->copies.count, 2);
    cr_expect_eq(facts->copies.items[0].file_no, 7);
    cr_expect_str_eq(facts->copies.items[0].name, "/nfs/x copy");
    cr_expect_eq(facts->copies.items[1].file_no, 8);
    cr_assert_eq(facts->no_copy.count, 2);
    cr_expect_eq(facts->no_copy.items[1].file_no, 8);
    cr_expect_eq(facts->backup_s, 3603);
    cr_expect_eq(facts->suspects.count, 0);
}

/* Two channels, interleaved; the second one's merge dies of a full disk. */
static const char broken_merge[] =
    "Starting recover at 2016-11-08 21:53:43\n"
    "channel ORA_DISK_1: starting incremental datafile backup set restore\n"
    "channel ORA_DISK_1: specifying datafile copies to recover\n"
    "recovering datafile copy file number=00001 name=/nfs/data_FNO-1\n"
    "channel ORA_DISK_1: reading from backup piece /nfs/6b_1_1\n"
    "channel ORA_DISK_2: starting incremental datafile backup set restore\n"
    "channel ORA_DISK_2: specifying datafile copies to recover\n"
    "recovering datafile copy file number=00002 name=/nfs/data_FNO-2\n"
    "recovering datafile copy file number=00003 name=/nfs/data_FNO-3\n"
    "channel ORA_DISK_2: reading from backup piece /nfs/6c_1_1\n"
    "channel ORA_DISK_1: piece handle=/nfs/6b_1_1 tag=IMAGE_COPY_BACKUP\n"
    "channel ORA_DISK_1: restored backup piece 1\n"
    "channel ORA_DISK_1: restore complete, elapsed time: 00:00:01\n" STACK
    "RMAN-03009: failure of recover command on ORA_DISK_2 channel at 11/08/2016 21:53:44\n"
    "ORA-19870: error while restoring backup piece /nfs/6c_1_1\n"
    "ORA-19502: write error on file \"/nfs/data_FNO-2\", block number 128 (block size=8192)\n"
    "ORA-27072: File I/O error\n"
    "Linux-x86_64 Error: 28: No space left on device\n"
    "Additional information: 4\n"
    "\n"
    "Recovery Manager complete.\n";

Test(shim, rmanlog_names_files_whose_merge_did_not_end_and_the_cause)
{
    AUTO(rmanlog) struct rmanlog *log = fed(broken_merge);
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_assert_eq(facts->suspects.count, 2);
    cr_expect_eq(facts->suspects.items[0].file_no, 2);
    cr_expect_eq(facts->suspects.items[1].file_no, 3);
    cr_expect_eq(facts->merged.count, 1);
    cr_expect_eq(facts->error_count, 7);
    cr_expect_str_eq(facts->code, "ORA-27072");
    cr_expect_str_eq(facts->cause,
                     "ORA-27072: File I/O error (Linux-x86_64 Error: 28: No space left on device)");
    cr_expect(strstr(facts->context, "recover command on ORA_DISK_2"));
    cr_expect_str_eq(facts->meaning, "writing failed");
    cr_expect_eq(facts->merge_s, 1);
}

Test(shim, rmanlog_a_later_whole_merge_heals)
{
    AUTO(rmanlog) struct rmanlog *log = fed(broken_merge);
    rmanlog_session(log);
    cr_expect_eq(rmanlog_facts(log)->error_count, 0);
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 2);
    feed(log, "Starting recover at 2016-11-09 21:53:43\n"
              "channel c1: starting incremental datafile backup set restore\n"
              "channel c1: specifying datafile copies to recover\n"
              "recovering datafile copy file number=00002 name=/nfs/data_FNO-2\n"
              "channel c1: reading from backup piece /nfs/6d_1_1\n"
              "channel c1: restore complete, elapsed time: 00:00:01\n");
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_assert_eq(facts->suspects.count, 1);
    cr_expect_eq(facts->suspects.items[0].file_no, 3);
}

Test(shim, rmanlog_a_killed_session_leaves_open_merges_suspect)
{
    AUTO(rmanlog)
    struct rmanlog *log = fed("channel c1: starting incremental datafile backup set restore\n"
                              "channel c1: specifying datafile copies to recover\n"
                              "recovering datafile copy file number=00009 name=/nfs/9\n");
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 1);
    feed(log, "channel c1: starting incremental datafile backup set restore\n"
              "channel c1: restore complete, elapsed time: 00:00:00\n");
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 1, "another set's end is not this one's");
}

static void merge_section(struct rmanlog *log, const char *channel, unsigned section, bool ends)
{
    char text[400];
    str_format(text, sizeof text,
               "channel %s: starting incremental datafile backup set restore\n"
               "channel %s: specifying datafile copies to recover\n"
               "recovering datafile copy file number=00004 name=/nfs/4\n"
               "channel %s: restoring section %u of 3\n"
               "channel %s: reading from backup piece /nfs/p_%u_1\n",
               channel, channel, channel, section, channel, section);
    feed(log, text);
    str_format(text, sizeof text, "channel %s: restore complete, elapsed time: 00:00:01\n",
               channel);
    if (ends)
        feed(log, text);
}

Test(shim, rmanlog_every_section_of_a_merge_counts)
{
    AUTO(rmanlog) struct rmanlog *log = fed("Starting recover at 2016-11-08 21:53:43\n");
    merge_section(log, "c1", 3, true);
    merge_section(log, "c2", 1, true);
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 1, "section 2 was never begun");
    merge_section(log, "c1", 2, false);
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 1);
    feed(log, "channel c1: restore complete, elapsed time: 00:00:01\n");
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 0);
}

Test(shim, rmanlog_sections_of_an_interrupted_run_do_not_count_in_the_next)
{
    AUTO(rmanlog) struct rmanlog *log = fed("Starting recover at 2016-11-08 21:53:43\n");
    merge_section(log, "c1", 1, true);
    merge_section(log, "c1", 2, true);
    feed(log, "Starting recover at 2016-11-09 21:53:43\n");
    merge_section(log, "c1", 3, true);
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 1);
    merge_section(log, "c1", 1, true);
    merge_section(log, "c1", 2, true);
    cr_expect_eq(rmanlog_facts(log)->suspects.count, 0);
}

Test(shim, rmanlog_lists_pieces_with_their_kind)
{
    AUTO(rmanlog)
    struct rmanlog *log =
        fed("Starting backup at 2016-11-08 21:53:37\n"
            "channel ORA_DISK_1: starting incremental level 1 datafile backup set\n"
            "channel ORA_DISK_1: specifying datafile(s) in backup set\n"
            "input datafile file number=00001 name=/u01/system.dbf\n"
            "channel ORA_DISK_1: starting piece 1 at 2016-11-08 21:53:39\n"
            "channel ORA_DISK_2: starting incremental level 1 datafile backup set\n"
            "channel ORA_DISK_2: specifying datafile(s) in backup set\n"
            "including current control file in backup set\n"
            "channel ORA_DISK_2: starting piece 1 at 2016-11-08 21:53:39\n"
            "channel ORA_DISK_1: finished piece 1 at 2016-11-08 21:53:42\n"
            "piece handle=/nfs/with tag=x/6b_1_1 tag=T comment=NONE\n"
            "channel ORA_DISK_1: backup set complete, elapsed time: 00:00:03\n"
            "channel ORA_DISK_2: finished piece 1 at 2016-11-08 21:53:42\n"
            "piece handle=/nfs/cf.bkp tag=EVERCOPY_CF comment=NONE\n"
            "channel ORA_DISK_1: starting full datafile backup set\n"
            "including current SPFILE in backup set\n"
            "channel ORA_DISK_1: finished piece 1 at 2016-11-08 21:53:42\n"
            "piece handle=/nfs/sp.bkp tag=EVERCOPY_CF comment=NONE\n"
            "Finished backup at 2016-11-08 21:53:42\n"
            "Starting Control File and SPFILE Autobackup at 2016-11-08 21:53:45\n"
            "piece handle=/nfs/c-1433672784-20161108-02 comment=NONE\n"
            "Finished Control File and SPFILE Autobackup at 2016-11-08 21:53:46\n"
            "channel ORA_DISK_1: piece handle=/nfs/read_1_1 tag=T\n");
    const struct rmanlog_list *pieces = &rmanlog_facts(log)->pieces;
    cr_assert_eq(pieces->count, 4);
    cr_expect_str_eq(pieces->items[0].name, "/nfs/with tag=x/6b_1_1");
    cr_expect_eq(pieces->items[0].kind, RMANLOG_PIECE_LEVEL1);
    cr_expect_eq(pieces->items[1].kind, RMANLOG_PIECE_CONTROLFILE);
    cr_expect_str_eq(pieces->items[1].tag, "EVERCOPY_CF");
    cr_expect_eq(pieces->items[2].kind, RMANLOG_PIECE_SPFILE);
    cr_expect_eq(pieces->items[3].kind, RMANLOG_PIECE_AUTOBACKUP);
    cr_expect_str_eq(pieces->items[3].name, "/nfs/c-1433672784-20161108-02");
    cr_expect_str_eq(pieces->items[3].tag, "");
}

Test(shim, rmanlog_no_op_merge_after_expired_copies)
{
    AUTO(rmanlog)
    struct rmanlog *log = fed("crosschecked datafile copy: found to be 'EXPIRED'\n"
                              "datafile copy file name=/nfs/data_FNO-1 RECID=99 STAMP=927412620\n"
                              "crosschecked datafile copy: found to be 'AVAILABLE'\n"
                              "datafile copy file name=/nfs/data_FNO-2 RECID=98 STAMP=927412620\n"
                              "no parent backup or copy of datafile 1 found\n"
                              "deleted backup piece\n"
                              "backup piece handle=/nfs/6c_1_1 RECID=145 STAMP=927409893\n"
                              "Deleted 1 objects\n");
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_assert_eq(facts->expired.count, 1);
    cr_expect_str_eq(facts->expired.items[0].name, "/nfs/data_FNO-1");
    cr_assert_eq(facts->deleted.count, 1);
    cr_expect_str_eq(facts->deleted.items[0].name, "/nfs/6c_1_1");
    cr_expect_eq(facts->no_parent.count, 1);
    cr_expect_eq(facts->error_count, 0);
}

Test(shim, rmanlog_static_files_are_skipped_not_failed)
{
    AUTO(rmanlog)
    struct rmanlog *log =
        fed("skipping datafile 00005 because it has not changed\n"
            "channel ORA_DISK_1: backup cancelled because all files were skipped\n"
            "datafile 6 not processed because file is read-only\n"
            "skipping read-only file 7\n"
            "RMAN-06179: skipping datafile 8\n"
            "datafile 1 switched to datafile copy \"/nfs/x\"\n");
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_expect_eq(facts->error_count, 0);
    cr_assert_eq(facts->skipped.count, 4);
    for (uint32_t i = 0; i < 4; i++)
        cr_expect_eq(facts->skipped.items[i].file_no, 5 + i);
}

Test(shim, rmanlog_warnings_and_foreign_files_are_no_failures)
{
    AUTO(rmanlog)
    struct rmanlog *log = fed(
        "RMAN-08137: WARNING: archived log not deleted, needed for standby or upstream capture\n"
        "RMAN-08120: WARNING: archived log not deleted, not yet applied by standby\n"
        "File Name: /nfs/mnt/backup.lck\n"
        "  RMAN-07517: Reason: The file header is corrupted\n"
        "File Name: /nfs/mnt/x.arc\n"
        "  RMAN-07529: Reason: catalog is not supported for this file type\n"
        "RMAN-06207: WARNING: 1 objects could not be deleted for DISK channel(s) due\n"
        "RMAN-06210: List of Mismatched objects\n"
        "RMAN-06214: Datafile Copy   /nfs/x\n"
        "RMAN-06497: WARNING: control file is not current\n");
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_expect_eq(facts->error_count, 0);
    cr_expect_eq(facts->warning_count, 6);
    cr_assert_eq(facts->uncataloged.count, 2);
    cr_expect_str_eq(facts->uncataloged.items[0].name, "/nfs/mnt/backup.lck");
    cr_expect_str_eq(facts->cause, "");
}

Test(shim, rmanlog_reads_oracles_own_word_on_start_and_fuzziness)
{
    AUTO(rmanlog)
    struct rmanlog *log =
        fed("Media recovery start SCN is 799175\n"
            "Recovery must be done beyond SCN 799393 to clear datafile fuzziness\n"
            "Finished restore at 2016-11-08 21:53:46\n");
    cr_expect_eq(rmanlog_facts(log)->preview_start.n, 799175);
    cr_expect_eq(rmanlog_facts(log)->preview_fuzzy.n, 799393);
}

Test(shim, rmanlog_finds_the_cause_in_each_kind_of_stack)
{
    static const struct {
        const char *lines, *code;
    } cases[] = {
        {STACK "RMAN-03002: failure of recover command at 11/08/2016 21:53:44\n"
               "RMAN-06054: media recovery requesting unknown archived log for thread 2 with "
               "sequence 45 and starting SCN of 812345\n",
         "RMAN-06054"},
        {STACK "RMAN-03002: failure of backup command at 11/08/2016 21:53:44\n"
               "RMAN-06056: could not access datafile 5\n",
         "RMAN-06056"},
        {STACK "RMAN-03009: failure of backup command on c1 channel at 03/13/2012 10:19:41\n"
               "ORA-01157: cannot identify/lock data file 5 - see DBWR trace file\n"
               "ORA-01110: data file 5: '/u01/x.dbf'\n",
         "ORA-01157"},
        {STACK "RMAN-00558: error encountered while parsing input commands\n"
               "RMAN-01009: syntax error: found \"identifier\": expecting one of: \"allocate\"\n"
               "RMAN-01007: at line 1 column 8 file: standard input\n",
         "RMAN-01009"},
        {STACK "RMAN-04005: error from target database: \n"
               "ORA-01031: insufficient privileges\n",
         "ORA-01031"},
        {"ORA-01547: warning: RECOVER succeeded but OPEN RESETLOGS would get error below\n"
         "ORA-01194: file 1 needs more recovery to be consistent\n"
         "ORA-01110: data file 1: '/u01/x.dbf'\n",
         "ORA-01194"},
        {"ORA-01078: failure in processing system parameters\n"
         "LRM-00109: could not open parameter file '/x'\n",
         "LRM-00109"},
        {STACK "RMAN-03009: failure of backup command on c1 channel at 03/13/2012 10:19:41\n"
               "ORA-19502: write error on file \"/nfs/p\", block number 128 (block size=8192)\n"
               "continuing other job steps, job failed will not be re-run\n"
               "channel c2: finished piece 1 at 2012-03-13 10:20:00\n" STACK
               "RMAN-03002: failure of backup command at 03/13/2012 10:21:41\n"
               "ORA-03113: end-of-file on communication channel\n",
         "ORA-19502"},
        {STACK "RMAN-00571: =\nRMAN-03002: failure of allocate command at 11/08/2016 21:53:44\n",
         "RMAN-03002"},
        {"RMAN> RMAN-06908: WARNING: operation will not run in parallel\n", ""},
        {"RMAN> " STACK "RMAN-03002: failure\nORA-00245: control file backup failed\n",
         "ORA-00245"},
        {"RMAN> backup datafile 1; # ORA-00600: no\n2> ORA-00600 looks like one\n", ""},
        {"SP2-0640: Not connected\n", "SP2-0640"},
        {"ORA-32004: obsolete or deprecated parameter(s) specified for RDBMS instance\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AUTO(rmanlog) struct rmanlog *log = fed(cases[i].lines);
        const struct rmanlog_facts *facts = rmanlog_facts(log);
        cr_expect_str_eq(facts->code, cases[i].code, "case %zu: %s", i, facts->cause);
        cr_expect_eq(facts->error_count > 0, *cases[i].code != '\0', "case %zu", i);
    }
}

Test(shim, rmanlog_explains_the_codes_operators_meet)
{
    static const char *const codes[] = {
        "ORA-19504",  "ORA-27040",  "ORA-19502",  "ORA-27072",  "ORA-27061",  "ORA-19505",
        "ORA-27037",  "ORA-19809",  "ORA-19804",  "ORA-00257",  "ORA-27054",  "ORA-19870",
        "ORA-19587",  "ORA-19599",  "ORA-19566",  "ORA-19625",  "RMAN-06059", "RMAN-06169",
        "RMAN-06056", "RMAN-06094", "RMAN-06023", "RMAN-06026", "RMAN-06025", "RMAN-06053",
        "RMAN-06054", "RMAN-06556", "ORA-01152",  "ORA-01195",  "ORA-01194",  "RMAN-20207",
        "ORA-19693",  "RMAN-08137", "RMAN-08120", "RMAN-08138", "ORA-01555",  "ORA-01578",
        "ORA-26040",  "ORA-00230",  "ORA-00245",  "ORA-19755",  "ORA-19751",  "ORA-01031",
        "ORA-01017",  "ORA-12514",  "ORA-12541",  "ORA-12545",  "ORA-19573",  "ORA-19648",
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        const char *meaning = NULL;
        const char *action = NULL;
        cr_expect(rmanlog_explain(codes[i], &meaning, &action), "%s", codes[i]);
        cr_expect(meaning && *meaning && action && *action, "%s", codes[i]);
    }
    const char *untouched = "x";
    cr_expect_not(rmanlog_explain("ORA-99999", &untouched, &untouched));
    cr_expect_str_eq(untouched, "x");
}

Test(shim, rmanlog_survives_hostile_lines)
{
    struct err err = {0};
    AUTO(rmanlog) struct rmanlog *log = rmanlog_new(&err);
    static const char *const starts[] = {
        "ORA-",
        "RMAN-00571",
        "channel ",
        "channel : ",
        "recovering datafile copy file number=",
        "piece handle=",
        "output file name=",
        "datafile copy file name=",
        "skipping file ",
        "File Name: ",
        "channel c1: restoring section 4294967295 of 4294967295",
        "channel c1: restoring section 0 of 0",
        "channel c1: restore complete, elapsed time: 99999999999:99:99",
        "1> 2> 3> RMAN> RMAN> ",
        "Media recovery start SCN is 99999999999999999999999",
        "deleted ",
        "ORA-00001: \x01\x02\x1b[31m",
    };
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        for (size_t fill = 0; fill < 6000; fill = fill * 3 + 1) {
            AUTO(mem) char *line = own_alloc(8000, &err);
            size_t len = strlen(starts[i]);
            memcpy(line, starts[i], len);
            memset(line + len, (int)(fill % 256), fill);
            struct rmanlog_line meaning;
            rmanlog_feed(log, line, len + fill, &meaning);
        }
    rmanlog_feed(log, "", 0, NULL);
    rmanlog_feed(log, "a\0ORA-00001: x", 14, NULL);
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    for (const char *p = facts->cause; *p; p++)
        cr_expect((unsigned char)*p >= ' ');
    cr_expect(rmanlog_ok(log, &err));
}

Test(shim, rmanlog_tells_when_memory_ran_out)
{
    struct err err = {0};
    AUTO(rmanlog) struct rmanlog *log = rmanlog_new(&err);
    own_fault(1);
    feed(log, "skipping read-only file 7\n");
    own_fault(0);
    cr_expect_not(rmanlog_ok(log, &err));
    cr_expect_eq(err.code, ERR_NO_MEMORY);
}

/* ---- real logs, where the machine has them ---- */

static struct rmanlog *read_sample(const char *name)
{
    const char *dir = getenv("EVERCOPY_SAMPLES");
    if (!dir) {
        IGNORE(fprintf(stderr, "SKIPPED shim/rmanlog_samples: EVERCOPY_SAMPLES is not set\n") < 0);
        cr_skip_test();
    }
    struct err err = {0};
    size_t len;
    AUTO(mem) char *path = own_printf(&err, "%s/rman-logs/%s", dir, name);
    AUTO(mem) char *text = sys_read_file(path, 1 << 20, &len, &err);
    cr_assert(text, "%s", err.text);
    return fed(text);
}

Test(shim, rmanlog_samples_backup_run)
{
    AUTO(rmanlog) struct rmanlog *log = read_sample("orcl_20161108T215335_imagecopywithsnap.log");
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_expect_eq(facts->error_count, 0, "%s", facts->cause);
    cr_expect_eq(facts->suspects.count, 0);
    cr_expect_eq(facts->merged.count, 4);
    cr_expect_eq(facts->pieces.count, 8);
    cr_expect_eq(facts->pieces.items[0].kind, RMANLOG_PIECE_LEVEL1);
    cr_expect_eq(facts->pieces.items[4].kind, RMANLOG_PIECE_AUTOBACKUP);
    cr_expect_eq(facts->pieces.items[5].kind, RMANLOG_PIECE_SPFILE);
    cr_expect_eq(facts->pieces.items[6].kind, RMANLOG_PIECE_CONTROLFILE);
    cr_expect_eq(facts->deleted.count, 6);
    cr_expect_eq(facts->backup_s, 3);
}

Test(shim, rmanlog_samples_restore_with_validation)
{
    AUTO(rmanlog)
    struct rmanlog *log = read_sample("autorestore-full-validation-20161108T224851-orcl.log");
    const struct rmanlog_facts *facts = rmanlog_facts(log);
    cr_expect_eq(facts->error_count, 1, "its last SQL*Plus could not connect");
    cr_expect_str_eq(facts->code, "ORA-12545");
    cr_expect_eq(facts->uncataloged.count, 10);
    cr_expect_eq(facts->pieces.count, 0);
    cr_expect_eq(facts->suspects.count, 0);
}

Test(shim, rmanlog_samples_configuration)
{
    AUTO(rmanlog) struct rmanlog *log = read_sample("orcl_20161108T215324_config.log");
    cr_expect_eq(rmanlog_facts(log)->error_count, 0);
    cr_expect_eq(rmanlog_facts(log)->pieces.count, 0);
}
