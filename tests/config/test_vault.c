/* evercopy-vaultd.conf: exports, what a reload takes over, and errors with their line. */
#include "agent/config/config.h"
#include <criterion/criterion.h>
#include <string.h>

static struct config_vault *parse(const char *text, struct err *err)
{
    return config_vault_parse(text, strlen(text), "vaultd.conf", err);
}

static struct config_vault *parsed(const char *text)
{
    struct err err = {0};
    struct config_vault *config = parse(text, &err);
    cr_assert(config, "%s", err.text);
    return config;
}

Test(config_vault, an_export_takes_its_own_key_then_the_common_one_then_the_default)
{
    AUTO(config_vault)
    struct config_vault *config = parsed("[store]\nurl = /s\n"
                                         "[export ORCL]\nsquash = none\nanonuid = 7\n"
                                         "[export]\nclients = 10.0.0.0/8\n    fd00::/8\n"
                                         "anonuid = 5\nprivileged = yes\n"
                                         "[export TEST]\nclients = 10.9.9.9\nreadonly = on\n"
                                         "cloneclients = none\n");
    const struct config_export *e = config_vault_export(config, "ORCL");
    cr_expect_str_eq(e->name, "ORCL");
    cr_expect_str_eq(e->clients, "10.0.0.0/8\nfd00::/8");
    cr_expect_str_eq(e->clone_clients, "");
    cr_expect_str_eq(e->squash, "none");
    cr_expect(e->anon_uid == 7 && e->anon_gid == 65534 && e->privileged && !e->read_only);
    e = config_vault_export(config, "TEST");
    cr_expect_str_eq(e->clients, "10.9.9.9");
    cr_expect_str_eq(e->clone_clients, "none");
    cr_expect(e->anon_uid == 5 && e->read_only);
    e = config_vault_export(config, "ANOTHER");
    cr_expect_str_eq(e->name, "");
    cr_expect_str_eq(e->clients, "10.0.0.0/8\nfd00::/8");
    cr_expect_eq(config->export_count, 2);
}

Test(config_vault, without_an_export_nobody_may)
{
    AUTO(config_vault) struct config_vault *config = parsed("[store]\nurl = /s\n");
    cr_expect_str_eq(config_vault_export(config, "ORCL")->clients, "none");
    cr_expect_str_eq(config_vault_export(config, "ORCL")->squash, "root");
    cr_expect_str_eq(config->nfs_listen, "");
    cr_expect(config->nfs_port == 0 && config->nfs_connections == 1024);
    cr_expect_str_eq(config->rpcbind, "auto");
}

Test(config_vault, what_is_wrong_is_named_with_its_line)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"[store]\nurl=/s\n[exports]\n", "vaultd.conf:3: section [exports] is none of"},
        {"[store]\nurl=/s\n[export ORCL]\nsqash = all\n", "nearest: 'squash'"},
        {"[store]\nurl=/s\n[export ORCL]\nsquash = some\n", "vaultd.conf:4"},
        {"[store]\nurl=/s\n[export a/b]\n", "vaultd.conf:3: 'a/b' is no volume"},
        {"[store]\nurl=/s\n[export A]\n[export  A]\n", "vaultd.conf:4: volume 'A' has two"},
        {"[store]\nurl=/s\n[export]\nanonuid = 4294967296\n", "vaultd.conf:4"},
        {"[vault]\nrpcbind = perhaps\n[store]\nurl=/s\n", "vaultd.conf:2"},
        {"[vault]\nnfsport = 65536\n[store]\nurl=/s\n", "vaultd.conf:2"},
        {"[vault]\nclients = 10.0.0.0/8\n[store]\nurl=/s\n", "unknown key 'clients'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        AUTO(config_vault) struct config_vault *config = parse(cases[i].text, &err);
        cr_expect(!config && err.code == ERR_CONFIG, "case %zu", i);
        cr_expect(strstr(err.text, cases[i].said), "case %zu: %s", i, err.text);
    }
}

Test(config_vault, a_reload_takes_exports_and_keeps_what_stands)
{
    struct err err = {0};
    AUTO(config_changes) struct config_changes changes = {0};
    AUTO(config_vault)
    struct config_vault *now = parsed("[vault]\nbox = /b\nloglevel = info\n"
                                      "[store]\nurl = s3://b/p\nsecretkey = hush\n"
                                      "[export ORCL]\nclients = 10.0.0.0/8\n"
                                      "[export GONE]\nclients = 10.0.0.0/8\n");
    AUTO(config_vault)
    struct config_vault *next = parsed("[vault]\nbox = /c\nloglevel = debug\nnfsport = 2050\n"
                                       "[store]\nurl = s3://b/p\nsecretkey = other\n"
                                       "[export ORCL]\nclients = 10.0.0.0/8\nsquash = all\n");
    cr_assert(config_vault_succeed(next, now, &changes, &err), "%s", err.text);
    cr_expect_str_eq(next->box, "/b");
    cr_expect_eq(next->nfs_port, 0);
    cr_expect_str_eq(next->loglevel, "debug");
    cr_expect(next->option_count == 1 && !strcmp(next->options[0].value, "hush"));
    cr_expect_str_eq(config_vault_export(next, "ORCL")->squash, "all");
    cr_expect(strstr(changes.kept.text, "box: ") && strstr(changes.kept.text, "nfsport: ") &&
                  strstr(changes.kept.text, "[store]: "),
              "%s", changes.kept.text);
    cr_expect(!strstr(changes.kept.text, "hush") && !strstr(changes.kept.text, "other"));
    cr_expect(strstr(changes.changed.text, "[export ORCL]\n") &&
                  strstr(changes.changed.text, "[export GONE] is gone\n") &&
                  strstr(changes.changed.text, "loglevel debug"),
              "%s", changes.changed.text);
    /* And nothing of the first is needed any more. */
    config_vault_free(now);
    now = NULL;
    cr_expect_str_eq(next->box, "/b");
    cr_expect_str_eq(next->options[0].key, "secretkey");
}
