/* evercopy.conf and backup.cfg: keys, overriding, defaults, errors. */
#include "agent/base/str.h"
#include "agent/config/config.h"
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

static struct config_shim *parse(const char *text)
{
    struct err err = {0};
    struct config_shim *config = config_shim_parse(text, strlen(text), "evercopy.conf", &err);
    cr_assert(config, "%s", err.text);
    return config;
}

static void refuse(const char *text, const char *wanted)
{
    struct err err = {0};
    struct config_shim *config = config_shim_parse(text, strlen(text), "e.conf", &err);
    cr_assert_not(config, "accepted: %s", text);
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_str_eq(err.text, wanted);
}

/* Our own words for a backup.cfg with a key of every section of the reference toolset. */
static const char reference_cfg[] =
    "[generic]\nbackupdest: /nfs/backup\nbackupdestshared: true\nlogretention: 31\n"
    "warningsnapage: 24\ncriticalsnapage: 48\nosuser: oracle\noraclehome: /u01/app/db\n"
    "snappermodule: zfssa\nsnapperclass: Zfssa\nmaxlockwait: 30\n"
    "[rman]\ncatalog: /@rman\nsectionsize: 64G\n"
    "[zfssa]\nurl: https://zfs:215\npool: pool1\nproject: demo\nzfscredentials: /home/o/z.cfg\n"
    "[netapp]\nfiler: f1\nmounthost: f1-nfs\nvolumeprefix: db_\ncacert: /etc/ca.pem\n"
    "[softnas]\nserveraddress: s1\npool: p\n"
    "[huaweidorado]\nurl: https://d\nvstore: v\nmounthost: d\nrestorenfsclient: r\n"
    "[autorestore]\nautorestoredestination: /nfs/dest\nautorestoreclonename: c\n"
    "autorestoremountpoint: /nfs/mnt\nautorestoresnapage: 24\nautorestorelogdir: /nfs/log\n"
    "autorestoremaxtoleranceminutes: 10\nautorestorecatalog: /@auto\n"
    "autorestorevalidatechance: 14\nautorestoremodulus: 3\npga_size: 1G\nsga_size: 3G\n"
    "[orcl]\ndbid: 1433672784\nrecoverywindow: 2\nparallel: 4\nsnapexpirationdays: 31\n"
    "snapexpirationmonths: 6\nregistercatalog: true\nhasdataguard: false\ndosnapshot: true\n"
    "gimanaged: false\nschedulebackup: FREQ=DAILY;BYHOUR=10\nschedulearchlog: FREQ=HOURLY\n"
    "backupjobenabled: true\nprimarytns: orcl\nadditionalvolumesuffixes: a,\n  b\n"
    "customverifydate: select max(t)\n  from x\nstringforvalidationmod: abc\n"
    "autorestoreenabled: 1\nautorestoreinstancenumber: 2\nautorestorethread: 3\n"
    "zfssapool: pool2\ngenericoraclehome: /u01/app/other\n";

Test(config, takes_the_reference_backup_cfg_as_it_is)
{
    AUTO(config_shim) struct config_shim *config = parse(reference_cfg);
    struct err err = {0};
    const struct config_database *db = config_shim_find(config, "orcl", &err);
    cr_assert(db, "%s", err.text);
    cr_expect_str_eq(db->area, "/nfs/backup/orcl");
    cr_expect_str_eq(db->oraclehome, "/u01/app/other");
    cr_expect_str_eq(db->sectionsize, "64G");
    cr_expect_str_eq(db->sid, "orcl");
    cr_expect_str_eq(db->tag, "EVERCOPY_ORCL");
    cr_expect_str_eq(db->sandbox_sga, "3G");
    cr_expect_str_eq(db->sandbox_mount, "/nfs/mnt");
    cr_expect_eq(db->dbid, 1433672784);
    cr_expect_eq(db->parallel, 4);
    cr_expect_eq(db->maxlockwait_min, 30);
    cr_expect_eq(db->sandbox_instance_no, 2);
    cr_expect_not(db->gimanaged);
    cr_expect_str_eq(config_value(db, "zfssapool"), "pool2");
    cr_expect_str_eq(config_value(db, "customverifydate"), "select max(t)\nfrom x");
    cr_expect_str_eq(config_value(db, "schedulebackup"), "FREQ=DAILY;BYHOUR=10");
    cr_expect_str_eq(config_value(db, "nosuchkey"), "");
    cr_expect(config_shim_at(config, 0) == db);
    cr_expect_null(config_shim_at(config, 1));
}

Test(config, fills_in_the_defaults)
{
    AUTO(config_shim) struct config_shim *config = parse("[ORCL]\n");
    const struct config_database *db = config_shim_at(config, 0);
    cr_expect_str_eq(db->ca, "/etc/evercopy/pki/ca.crt");
    cr_expect_str_eq(db->cert, "/etc/evercopy/pki/client.crt");
    cr_expect_str_eq(db->key, "/etc/evercopy/pki/client.key");
    cr_expect_str_eq(db->templates, "/etc/evercopy/templates");
    cr_expect_str_eq(db->agent.host, "");
    cr_expect_str_eq(db->sectionsize, "");
    cr_expect_str_eq(db->area, "");
    cr_expect_eq(db->logwait_s, 300);
    cr_expect_eq(db->parallel, 1);
    cr_expect_eq(db->maxlockwait_min, 0);
    cr_expect_not(db->logs_push || db->allowfull || db->strict);
}

Test(config, a_database_overrides_generic_by_either_name)
{
    AUTO(config_shim)
    struct config_shim *config =
        parse("[generic]\nagent = box:7000\nlogs = pull\nparallel = 2\nbackupdest = /b/\n"
              "certdir = /g\n"
              "[A]\nlogs = push\nagent = [fe80::1]\nkey = /k\ncertdir = /a\n"
              "[B]\ngenericlogs = push\ngenericagent = b.example:1\nparallel = 8\n"
              "genericbackupdestshared = false\n");
    const struct config_database *a = config_shim_at(config, 0);
    const struct config_database *b = config_shim_at(config, 1);
    const struct config_database *generic = config_shim_generic(config);
    cr_expect(a->logs_push && b->logs_push && !generic->logs_push);
    cr_expect_str_eq(a->agent.host, "fe80::1");
    cr_expect_eq(a->agent.port, 7420);
    cr_expect_str_eq(b->agent.host, "b.example");
    cr_expect_eq(b->agent.port, 1);
    cr_expect_eq(generic->agent.port, 7000);
    cr_expect_eq(a->parallel, 2);
    cr_expect_eq(b->parallel, 8);
    cr_expect_str_eq(a->key, "/k");
    cr_expect_str_eq(a->cert, "/a/client.crt");
    cr_expect_str_eq(a->area, "/b/A");
    cr_expect_str_eq(b->area, "/b/");
}

Test(config, knows_where_each_value_comes_from)
{
    AUTO(config_shim)
    struct config_shim *config = parse("[generic]\n\nbackupdest = /b\n[A]\ntag = x\n");
    struct err err = {0};
    const struct config_database *db = config_shim_at(config, 0);
    AUTO(mem) char *area = config_origin(config, db, "backupdest", &err);
    AUTO(mem) char *tag = config_origin(config, db, "tag", &err);
    AUTO(mem) char *logs = config_origin(config, db, "logs", &err);
    cr_expect_str_eq(area, "evercopy.conf:3");
    cr_expect_str_eq(tag, "evercopy.conf:5");
    cr_expect_str_eq(logs, "default");
    cr_expect(config_require(config, db, "backupdest", &err));
    cr_expect_not(config_require(config, db, "agent", &err));
    cr_expect_str_eq(err.text,
                     "evercopy.conf:4: section [A] lacks key 'agent', and so does [generic]");
}

Test(config, the_default_tag_fits_rman)
{
    AUTO(config_shim)
    struct config_shim *config =
        parse("[a-very.long$database_name#with_signs]\n[b]\ntag = image_copy_backup\n");
    cr_expect_str_eq(config_shim_at(config, 0)->tag, "EVERCOPY_A_VERY_LONG$DATABASE_");
    cr_expect_str_eq(config_shim_at(config, 1)->tag, "IMAGE_COPY_BACKUP");
}

Test(config, names_the_nearest_key_and_database)
{
    refuse("[ORCL]\nsnapexpirationday = 3\n",
           "e.conf:2: unknown key 'snapexpirationday' in section "
           "[ORCL], nearest: 'snapexpirationdays'");
    refuse("[generic]\nbackupdst = /x\n",
           "e.conf:2: unknown key 'backupdst' in section [generic], nearest: 'backupdest'");
    refuse("[ORCL]\nzfsapool = x\n",
           "e.conf:2: unknown key 'zfsapool' in section [ORCL], nearest: 'zfssapool'");
    refuse("[rman]\nxyzzyplugh = x\n", "e.conf:2: unknown key 'xyzzyplugh' in section [rman]");
    AUTO(config_shim) struct config_shim *config = parse("[ORCL]\n[SALES]\n");
    struct err err = {0};
    cr_expect_null(config_shim_find(config, "ORCLE", &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect_str_eq(err.text, "evercopy.conf: no section for database 'ORCLE', nearest: 'ORCL'");
}

Test(config, refuses_values_out_of_kind_or_bounds)
{
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"parallel = 0", "key 'parallel' takes a number from 1 to 254, not '0'"},
        {"parallel = 255", "key 'parallel' takes a number from 1 to 254, not '255'"},
        {"parallel = two", "key 'parallel' takes a number from 1 to 254, not 'two'"},
        {"parallel = -1", "key 'parallel' takes a number from 1 to 254, not '-1'"},
        {"parallel =", "key 'parallel' takes a number from 1 to 254, not ''"},
        {"dbid = 4294967296", "key 'dbid' takes a number from 0 to 4294967295, not '4294967296'"},
        {"strict = maybe", "key 'strict' takes true or false, not 'maybe'"},
        {"strict =", "key 'strict' takes true or false, not ''"},
        {"logs = pus", "key 'logs' takes one of pull|push, not 'pus'"},
        {"sectionsize = 64X", "key 'sectionsize' takes a size such as 64G or 512M, not '64X'"},
        {"sectionsize = 1; drop",
         "key 'sectionsize' takes a size such as 64G or 512M, not '1; drop'"},
        {"agent = a:0", "key 'agent' takes HOST:PORT, not 'a:0'"},
        {"agent = a:65536", "key 'agent' takes HOST:PORT, not 'a:65536'"},
        {"agent = :7420", "key 'agent' takes HOST:PORT, not ':7420'"},
        {"agent = a:", "key 'agent' takes HOST:PORT, not 'a:'"},
        {"agent = [::1", "key 'agent' takes HOST:PORT, not '[::1'"},
        {"agent = [::1]x", "key 'agent' takes HOST:PORT, not '[::1]x'"},
        {"backupdest = nfs",
         "key 'backupdest' takes an absolute path without quotes or ';', not 'nfs'"},
        {"backupdest = /a'b",
         "key 'backupdest' takes an absolute path without quotes or ';', not '/a'b'"},
        {"backupdest = /a\n  b", "key 'backupdest' takes one line of text"},
        {"sid = a b", "key 'sid' takes at most 63 letters, digits and _ $ # - ., not 'a b'"},
        {"tag = 0123456789012345678901234567890",
         "key 'tag' takes at most 30 letters, digits and _ $ # - ., not "
         "'0123456789012345678901234567890'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        char wanted[300];
        str_format(text, sizeof text, "[ORCL]\n%s\n", cases[i].line);
        str_format(wanted, sizeof wanted, "e.conf:2: %s", cases[i].wanted);
        refuse(text, wanted);
    }
}

Test(config, refuses_one_key_under_two_names_and_odd_sections)
{
    refuse("[A]\nlogs = pull\ngenericlogs = push\n",
           "e.conf:3: key 'genericlogs' stands here twice, first at line 2");
    refuse("[DEFAULT]\nx = y\n", "e.conf:1: section [DEFAULT] is not supported, use [generic]");
    refuse("[../etc]\n",
           "e.conf:1: '../etc' is no database name: letters, digits and _ $ # - . only");
}

Test(config, an_unreadable_file_is_an_error)
{
    struct err err = {0};
    cr_expect_null(config_shim_load("/nonexistent/evercopy.conf", &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect(strstr(err.text, "/nonexistent/evercopy.conf"));
}

Test(config, prints_all_keys)
{
    struct err err = {0};
    AUTO(mem) char *shim = config_shim_keys(&err);
    AUTO(mem) char *agent = config_agent_keys(&err);
    cr_expect(strstr(shim, "logwait = 300\n    seconds to wait for a switched log (1..86400)"));
    cr_expect(strstr(agent, "backuplease = 3600\n"));
}

Test(config, reports_every_allocation_that_fails)
{
    for (long nth = 1; nth < 5000; nth++) {
        struct err err = {0};
        own_fault(nth);
        AUTO(config_shim)
        struct config_shim *config =
            config_shim_parse(reference_cfg, strlen(reference_cfg), "f", &err);
        bool untouched = own_fault(0) < nth;
        cr_assert(config || err.code == ERR_NO_MEMORY, "call %ld: %s", nth, err.text);
        if (untouched) {
            cr_expect_not_null(config);
            return;
        }
    }
    cr_assert_fail("more than 5000 allocations");
}
