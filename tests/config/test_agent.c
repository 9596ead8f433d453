/* evercopyd.conf: the agent's keys, storages with their drivers' options, databases. */
#include "agent/config/config.h"
#include <criterion/criterion.h>
#include <string.h>

static const char sample[] = "[agent]\nlisten = [::]:7421\nstate = /srv/state\nverify = full\n"
                             "loglevel = debug\nworkers = 8\nbackuplease = 60\n"
                             "[storage fast]\ndriver = reflink\npath = /srv/area\nodd key = 1\n"
                             "[storage old]\ndriver = btrfs\n"
                             "[database ORCL]\nstorage = fast\nvolume = v1\ndbid = 42\n"
                             "zone = Europe/Berlin\n"
                             "[database SALES]\nstorage = old\n";

static void refuse(const char *text, const char *wanted)
{
    struct err err = {0};
    struct config_agent *config = config_agent_parse(text, strlen(text), "d.conf", &err);
    cr_assert_not(config, "accepted: %s", text);
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_str_eq(err.text, wanted);
}

Test(config, reads_the_agents_file)
{
    struct err err = {0};
    AUTO(config_agent)
    struct config_agent *config = config_agent_parse(sample, strlen(sample), "d.conf", &err);
    cr_assert(config, "%s", err.text);
    cr_expect_str_eq(config->listen.host, "::");
    cr_expect_eq(config->listen.port, 7421);
    cr_expect_str_eq(config->state, "/srv/state");
    cr_expect_str_eq(config->loglevel, "debug");
    cr_expect(config->verify_full);
    cr_expect_eq(config->workers, 8);
    cr_expect_eq(config->backuplease_s, 60);
    cr_assert_eq(config->storage_count, 2);
    cr_expect_str_eq(config->storages[0].driver, "reflink");
    cr_assert_eq(config->storages[0].option_count, 2);
    cr_expect_str_eq(config->storages[0].options[0].key, "path");
    cr_expect_str_eq(config->storages[0].options[0].value, "/srv/area");
    cr_expect_eq(config->storages[0].options[0].line, 10);
    cr_expect_eq(config->storages[1].option_count, 0);
    cr_assert_eq(config->database_count, 2);
    cr_expect_str_eq(config->databases[0].volume, "v1");
    cr_expect_eq(config->databases[0].dbid, 42);
    cr_expect_str_eq(config->databases[0].zone, "Europe/Berlin");
    cr_expect_str_eq(config->databases[1].volume, "SALES");
    cr_expect_str_eq(config->databases[1].storage, "old");
}

Test(config, the_agents_file_may_be_empty)
{
    struct err err = {0};
    AUTO(config_agent) struct config_agent *config = config_agent_parse("", 0, "d.conf", &err);
    cr_assert(config, "%s", err.text);
    cr_expect_eq(config->listen.port, 7420);
    cr_expect_str_eq(config->status.host, "127.0.0.1");
    cr_expect_eq(config->status.port, 7421);
    cr_expect_str_eq(config->state, "/var/lib/evercopy");
    cr_expect_str_eq(config->pki, "/etc/evercopy/pki");
    cr_expect_str_eq(config->run, "/run/evercopy");
    cr_expect_not(config->verify_full);
    cr_expect_eq(config->backuplease_s, 3600);
}

Test(config, names_what_is_wrong_in_the_agents_file)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"[agent]\nlisen = a:1\n",
         "d.conf:2: unknown key 'lisen' in section [agent], nearest: 'listen'"},
        {"[agent]\nbackuplease = 59\n",
         "d.conf:2: key 'backuplease' takes a number from 60 to 604800, not '59'"},
        {"[agent]\nverify = some\n",
         "d.conf:2: key 'verify' takes one of headers|full, not 'some'"},
        {"[storage a]\npath = /x\n", "d.conf:1: section [storage a] lacks key 'driver'"},
        {"[database A]\n", "d.conf:1: section [database A] lacks key 'storage'"},
        {"[storage fast]\ndriver = btrfs\n[database A]\nstorage = fats\n",
         "d.conf:4: there is no [storage fats], nearest: 'fast'"},
        {"[database A]\nstorage = b\n", "d.conf:2: there is no [storage b]"},
        {"[database A]\nstorge = b\n",
         "d.conf:2: unknown key 'storge' in section [database A], nearest: 'storage'"},
        {"[datbase A]\n",
         "d.conf:1: section [datbase A] is none of [agent], [storage NAME], [database DB]"},
        {"[storage ]\n", "d.conf:1: '' is no name: letters, digits and _ $ # - . only"},
        {"[database a/b]\n", "d.conf:1: 'a/b' is no name: letters, digits and _ $ # - . only"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i].text, cases[i].wanted);
}

Test(config, reports_every_allocation_that_fails_in_the_agents_file)
{
    for (long nth = 1; nth < 1000; nth++) {
        struct err err = {0};
        own_fault(nth);
        AUTO(config_agent)
        struct config_agent *config = config_agent_parse(sample, strlen(sample), "f", &err);
        bool untouched = own_fault(0) < nth;
        cr_assert(config || err.code == ERR_NO_MEMORY, "call %ld: %s", nth, err.text);
        if (untouched) {
            cr_expect_not_null(config);
            return;
        }
    }
    cr_assert_fail("more than 1000 allocations");
}

Test(config, a_quota_of_the_database_outranks_the_agents)
{
    static const char text[] = "[agent]\nrunsperday = 7\nlogbytesperday = 2M\n[storage s]\n"
                               "driver = reflink\n[database A]\nstorage = s\nrunsperday = 9\n"
                               "logbytesperrun = none\n[database B]\nstorage = s\n";
    struct err err = {0};
    AUTO(config_agent)
    struct config_agent *config = config_agent_parse(text, strlen(text), "d.conf", &err);
    cr_assert(config, "%s", err.text);
    cr_expect_eq(config->databases[0].quota.runs_per_day, 9);
    cr_expect_eq(config->databases[1].quota.runs_per_day, 7);
    cr_expect_eq(config->databases[0].quota.log_bytes_per_run, 0);
    cr_expect_eq(config->databases[1].quota.log_bytes_per_run, 256 << 20);
    cr_expect_eq(config->databases[1].quota.log_bytes_per_day, 2 << 20);
    cr_expect_eq(config->databases[1].quota.snapshots_per_day, 600);
}

Test(config, a_second_reading_keeps_what_cannot_change_and_tells_the_rest)
{
    static const char before[] = "[agent]\nlisten = 1.2.3.4:1\nloglevel = info\n[storage s]\n"
                                 "driver = reflink\nroot = /a\n[database A]\nstorage = s\n"
                                 "[database B]\nstorage = s\n";
    static const char after[] = "[agent]\nlisten = 5.6.7.8:2\nloglevel = debug\nworkers = 9\n"
                                "pki = /elsewhere\n[storage s]\ndriver = reflink\nroot = /b\n"
                                "[storage t]\ndriver = btrfs\n[database A]\nstorage = s\n"
                                "runsperday = 1\n[database C]\nstorage = t\n";
    struct err err = {0};
    AUTO(config_agent)
    struct config_agent *now = config_agent_parse(before, strlen(before), "d.conf", &err);
    AUTO(config_agent)
    struct config_agent *next = config_agent_parse(after, strlen(after), "d.conf", &err);
    AUTO(config_changes) struct config_changes changes = {0};
    cr_assert(now && next && config_agent_succeed(next, now, &changes, &err), "%s", err.text);
    cr_expect_str_eq(next->listen.host, "1.2.3.4");
    cr_expect_eq(next->listen.port, 1);
    cr_expect_eq(next->workers, 4);
    cr_expect_str_eq(next->pki, "/etc/evercopy/pki");
    cr_expect_str_eq(next->loglevel, "debug");
    static const char *const kept[] = {"listen stays", "pki stays", "workers stays",
                                       "[storage s] stays"};
    for (size_t i = 0; i < 4; i++)
        cr_expect(strstr(changes.kept.text, kept[i]), "%s", changes.kept.text);
    static const char *const changed[] = {"loglevel debug, was info", "[storage t] is new",
                                          "[database A] has changed", "[database B] is gone",
                                          "[database C] is new"};
    for (size_t i = 0; i < 5; i++)
        cr_expect(strstr(changes.changed.text, changed[i]), "%s", changes.changed.text);
}
