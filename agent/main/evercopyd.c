/* evercopyd: reads arguments, builds the object graph, runs. */
#include "agent/base/args.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/main/authority.h"
#include "agent/main/serve.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LIST_MAX = 64 };

static const char usage[] =
    "evercopyd: the agent beside the storage\n"
    "\n"
    "  evercopyd init [--name HOST]...            make a certificate authority and the agent's "
    "own\n"
    "                                             certificate for these host names and addresses\n"
    "  evercopyd enroll NAME --role ROLE [--db DB]... [--out DIR] [--days N]\n"
    "                                             write a certificate bundle for a host or "
    "person;\n"
    "                                             roles: dbhost, restore, operator, monitor, "
    "admin\n"
    "  evercopyd renew-server [--name HOST]... [--days N]\n"
    "                                             a new key and certificate for the agent itself\n"
    "  evercopyd deny NAME|SERIAL|FINGERPRINT --reason TEXT\n"
    "                                             these certificates count no more, from the next "
    "call\n"
    "  evercopyd deny --list | --empty            who is denied; an empty list where none is\n"
    "  evercopyd allow NAME|SERIAL|FINGERPRINT    off the list again\n"
    "  evercopyd audit verify [--file FILE]       is the audit as it was written? exit code 1: no\n"
    "  evercopyd audit show [--db DB] [--since YYYY-MM-DD[THH:MM]]\n"
    "  evercopyd serve [--port-file FILE]         run (in the foreground)\n"
    "  evercopyd check-config                     read the configuration, say what is wrong\n"
    "  evercopyd keys                             list every configuration key\n"
    "\n"
    "  --config FILE   configuration, default /etc/evercopy/evercopyd.conf\n"
    "  --pki DIR       keys and certificates, default from the configuration; without one, the\n"
    "                  audit of these commands lies there too\n"
    "  --json\n";

struct options {
    const char *config, *pki, *role, *out, *days, *port_file, *reason, *file, *since;
    const char *names[LIST_MAX], *dbs[LIST_MAX];
    size_t name_count, db_count;
    bool help, json, list, empty;
    bool bare; /* no configuration was read */
};

static const char *pki_dir(const struct options *o, const struct config_agent *config)
{
    return o->pki ? o->pki : config->pki;
}

static struct authority authority_of(const struct options *o, const struct config_agent *config)
{
    return (struct authority){.pki = pki_dir(o, config),
                              .state = o->bare && o->pki ? o->pki : config->state,
                              .json = o->json};
}

static bool days_of(const struct options *o, int *ret, struct err *err)
{
    uint64_t days = 0;
    if (o->days && (!str_to_u64(o->days, 3650, &days) || !days))
        return err_set(err, ERR_INVALID, "--days '%s' is not 1 to 3650", o->days);
    *ret = (int)days;
    return true;
}

static bool run_init(const struct options *o, const struct args *args,
                     const struct config_agent *config, struct err *err)
{
    char host[256] = "localhost";
    const char *fallback[] = {host, "localhost", "127.0.0.1", "::1"};
    struct ca_request server = {.name = "evercopyd", .role = ""};
    (void)args;
    if (gethostname(host, sizeof host - 1) != 0)
        return err_set(err, ERR_IO, "cannot tell this host's name; hint: use --name");
    server.server_names = o->name_count ? o->names : fallback;
    server.server_name_count = o->name_count ? o->name_count : 4;
    struct authority a = authority_of(o, config);
    if (!days_of(o, &server.days, err) || !authority_init(&a, &server, err))
        return false;
    printf("certificate authority and agent certificate are in %s\n", pki_dir(o, config));
    return true;
}

static bool run_enroll(const struct options *o, const struct args *args,
                       const struct config_agent *config, struct err *err)
{
    if (args->word_count != 2 || !o->role)
        return err_set(err, ERR_INVALID, "usage: evercopyd enroll NAME --role ROLE [--db DB]...");
    struct ca_request request = {
        .name = args->words[1],
        .role = o->role,
        .databases = o->dbs,
        .database_count = o->db_count,
    };
    const char *out = o->out ? o->out : ".";
    struct authority a = authority_of(o, config);
    if (!days_of(o, &request.days, err) || !authority_enroll(&a, &request, out, err))
        return false;
    printf("bundle for '%s' (role %s) is in %s: %s.crt %s.key ca.crt\n", request.name, o->role, out,
           request.name, request.name);
    return true;
}

static bool run_renew_server(const struct options *o, const struct args *args,
                             const struct config_agent *config, struct err *err)
{
    struct authority a = authority_of(o, config);
    struct ca_request server = {.name = "evercopyd",
                                .role = "",
                                .server_names = o->names,
                                .server_name_count = o->name_count};
    (void)args;
    return days_of(o, &server.days, err) && authority_renew_server(&a, &server, err);
}

static bool run_deny(const struct options *o, const struct args *args,
                     const struct config_agent *config, struct err *err)
{
    struct authority a = authority_of(o, config);
    if (o->list && args->word_count == 1)
        return authority_list(&a, err);
    if (o->empty && args->word_count == 1)
        return authority_begin_list(&a, err);
    if (args->word_count != 2 || !o->reason || !o->reason[0])
        return err_set(err, ERR_INVALID,
                       "usage: evercopyd deny NAME|SERIAL|FINGERPRINT --reason TEXT, or --list");
    return authority_deny(&a, args->words[1], o->reason, err);
}

static bool run_allow(const struct options *o, const struct args *args,
                      const struct config_agent *config, struct err *err)
{
    struct authority a = authority_of(o, config);
    if (args->word_count != 2)
        return err_set(err, ERR_INVALID, "usage: evercopyd allow NAME|SERIAL|FINGERPRINT");
    return authority_allow(&a, args->words[1], err);
}

static bool run_audit(const struct options *o, const struct args *args,
                      const struct config_agent *config, struct err *err)
{
    struct authority a = authority_of(o, config);
    bool sound = true;
    if (args->word_count == 2 && str_equal(args->words[1], "show"))
        return authority_show(&a, o->db_count ? o->dbs[0] : NULL, o->since, err);
    if (args->word_count != 2 || !str_equal(args->words[1], "verify"))
        return err_set(err, ERR_INVALID, "usage: evercopyd audit verify [--file FILE] | show");
    return authority_verify(&a, o->file, &sound, err) &&
           (sound || err_set(err, ERR_CORRUPT, "the audit is not as it was written"));
}

static bool run_serve(const struct options *o, const struct args *args,
                      const struct config_agent *config, struct err *err)
{
    (void)args;
    log_init();
    return serve_run(config, o->port_file, err);
}

static bool run_check(const struct options *o, const struct args *args,
                      const struct config_agent *config, struct err *err)
{
    (void)o;
    (void)args;
    (void)err;
    printf("%s: %zu storages, %zu databases, nothing wrong\n", config->file, config->storage_count,
           config->database_count);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(const struct options *o, const struct args *args, const struct config_agent *config,
                struct err *err);
    bool needs_config;
} verbs[] = {
    {"init", run_init, false},
    {"enroll", run_enroll, false},
    {"renew-server", run_renew_server, false},
    {"deny", run_deny, false},
    {"allow", run_allow, false},
    {"audit", run_audit, false},
    {"serve", run_serve, true},
    {"check-config", run_check, true},
};

static bool print_keys(struct err *err)
{
    AUTO(mem) char *text = config_agent_keys(err);
    return text && fputs(text, stdout) >= 0;
}

static bool run(struct options *o, const struct args *args, struct err *err)
{
    const char *names[sizeof verbs / sizeof *verbs];
    size_t count = sizeof verbs / sizeof *verbs;
    if (str_equal(args->words[0], "keys"))
        return print_keys(err);
    for (size_t i = 0; i < count; i++) {
        names[i] = verbs[i].name;
        if (!str_equal(args->words[0], verbs[i].name))
            continue;
        const char *path = o->config ? o->config : "/etc/evercopy/evercopyd.conf";
        AUTO(config_agent) struct config_agent *config = NULL;
        /* init and enroll come before there is a configuration: its defaults do then. */
        o->bare = !verbs[i].needs_config && !o->config && access(path, F_OK) != 0;
        config = o->bare ? config_agent_parse("", 0, path, err) : config_agent_load(path, err);
        if (!config)
            return false;
        return verbs[i].run(o, args, config, err);
    }
    const char *near = str_nearest(args->words[0], names, count);
    return err_set(err, ERR_INVALID, "unknown command '%.40s'%s%s%s", args->words[0],
                   near ? "; hint: did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int main(int argc, char **argv)
{
    struct options o = {0};
    const struct args_option options[] = {
        {.name = "--config", .text = &o.config},
        {.name = "--pki", .text = &o.pki},
        {.name = "--role", .text = &o.role},
        {.name = "--out", .text = &o.out},
        {.name = "--days", .text = &o.days},
        {.name = "--port-file", .text = &o.port_file},
        {.name = "--name", .list = o.names, .list_count = &o.name_count, .list_max = LIST_MAX},
        {.name = "--db", .list = o.dbs, .list_count = &o.db_count, .list_max = LIST_MAX},
        {.name = "--reason", .text = &o.reason},
        {.name = "--file", .text = &o.file},
        {.name = "--since", .text = &o.since},
        {.name = "--list", .flag = &o.list},
        {.name = "--empty", .flag = &o.empty},
        {.name = "--json", .flag = &o.json},
        {.name = "--help", .flag = &o.help},
    };
    struct args args;
    struct err err = {0};
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, &args, &err)) {
        fprintf(stderr, "evercopyd: %s\n", err.text);
        return 2;
    }
    if (o.help || !args.word_count) {
        fputs(usage, o.help ? stdout : stderr);
        return o.help ? 0 : 2;
    }
    if (!run(&o, &args, &err)) {
        fprintf(stderr, "evercopyd: %s\n", err.text);
        return 1;
    }
    return 0;
}
