/* evercopy-vaultd: reads arguments, opens the vault, answers the agent. */
#include "agent/base/args.h"
#include "agent/base/log.h"
#include "agent/base/loop.h"
#include "agent/base/notify.h"
#include "agent/base/sys.h"
#include "agent/config/config.h"
#include "drivers/vault/check.h"
#include "drivers/vault/control/server.h"
#include "drivers/vault/exports_verb.h"
#include "drivers/vault/ingest_verb.h"
#include "drivers/vault/serving.h"
#include "drivers/vault/tools.h"
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char default_config[] = "/etc/evercopy/evercopy-vaultd.conf";
enum { ALLOW_MAX = 16, PASSWD_BYTES = 4096, IO_OPTIONS_MAX = 32 };

static const char usage[] =
    "evercopy-vaultd: storage that gains snapshots, compression and thin clones\n"
    "\n"
    "  evercopy-vaultd serve [--ready-file FILE] [--port-file FILE]\n"
    "                                             run (in the foreground); SIGHUP: read the\n"
    "                                             configuration again; FILE gets the NFS port\n"
    "  evercopy-vaultd exports [--json]           what is exported to whom, who uses it, and how\n"
    "                                             to mount it\n"
    "  evercopy-vaultd ingest --volume V --name S SOURCE\n"
    "                                             make V what SOURCE (a folder, nfs://...) shows, "
    "and\n"
    "                                             snapshot it; --allow-empty --distrust --tries N\n"
    "  evercopy-vaultd check-config               read the configuration, say what is wrong\n"
    "  evercopy-vaultd keys                       list every configuration key\n"
    "\n";
static const char usage_options[] =
    "  --config FILE   configuration, default /etc/evercopy/evercopy-vaultd.conf\n";

struct options {
    const char *config, *ready_file, *port_file;
    struct tools_options tools;
    struct ingest_verb ingest;
    bool help;
};

/* ---- what configuration makes ---- */

static struct io *open_io(const struct config_vault *config, struct err *err)
{
    struct io_option options[IO_OPTIONS_MAX];
    if (config->option_count > IO_OPTIONS_MAX) {
        err_set(err, ERR_CONFIG, "%s: more than %d keys in [store]", config->file, IO_OPTIONS_MAX);
        return NULL;
    }
    for (size_t i = 0; i < config->option_count; i++)
        options[i] = (struct io_option){config->options[i].key, config->options[i].value};
    return io_open(config->store, options, config->option_count, err);
}

static struct vault_options vault_options_of(const struct config_vault *config)
{
    return (struct vault_options){
        .store = {.cache_bytes = config->cache_bytes,
                  .dir_bytes = config->dir_bytes,
                  .zstd_level = (int)config->level,
                  .threads = (unsigned)config->threads,
                  .thin_bytes_per_s = config->thin_bytes_per_s},
        .layer_bytes = config->layer_bytes,
        .frozen_bytes = config->unsealed_bytes,
        .debt_bytes = config->debt_bytes,
        .wait_ms = config->wait_s * 1000,
        .reserve_bytes = config->reserve_bytes,
        .check = check_record,
    };
}

static bool users_of(const struct config_vault *config, uid_t ret[ALLOW_MAX], size_t *ret_count,
                     struct err *err)
{
    AUTO(mem) char *names = own_strdup(config->allow, err);
    size_t count = 0;
    for (char *cursor = names; cursor;) {
        char *name = str_field(&cursor, ' ');
        char space[PASSWD_BYTES];
        struct passwd entry, *found = NULL;
        if (!*name)
            continue;
        if (getpwnam_r(name, &entry, space, sizeof space, &found) != 0 || !found)
            return err_set(err, ERR_CONFIG, "%s: allow: there is no user '%.60s'", config->file,
                           name);
        if (count == ALLOW_MAX)
            return err_set(err, ERR_CONFIG, "%s: allow: more than %d users", config->file,
                           ALLOW_MAX);
        ret[count++] = entry.pw_uid;
    }
    *ret_count = count;
    return names;
}

static void set_level(const struct config_vault *config)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_equal_fold(names[i], config->loglevel))
            log_set_level((enum log_level)i);
}

/* ---- serve ---- */

struct server {
    const struct options *o;
    struct loop *loop;
    struct serving *serving;
    const struct config_vault *config; /* as it holds now */
    struct config_vault *read;         /* the latest reading, when there was one */
};

static void on_signal(void *arg, int signal_no)
{
    struct server *s = arg;
    log_info("stopping signal=%d", signal_no);
    notify_stopping();
    loop_stop(s->loop);
}

static void on_ping(void *arg)
{
    (void)arg;
    notify_alive();
}

static void log_lines(const char *what, const struct str *lines)
{
    struct err err = {0};
    AUTO(mem) char *copy = own_strdup(lines->text ? lines->text : "", &err);
    for (char *cursor = copy; cursor && *cursor;)
        log_info("reload %s: %s", what, str_field(&cursor, '\n'));
}

static bool tell_port(const struct options *o, uint16_t port, struct err *err)
{
    char text[16];
    IGNORE(!str_format(text, sizeof text, "%u\n", port)); /* it fits */
    return !o->port_file || sys_write_file(o->port_file, text, strlen(text), 0644, err);
}

static bool tell_ready(const struct options *o, uint16_t port, struct err *err)
{
    return tell_port(o, port, err) &&
           (!o->ready_file || sys_write_file(o->ready_file, "ready\n", 6, 0644, err));
}

/* All of a new reading that can hold while it runs, or nothing. */
static void on_reload(void *arg, int signal_no)
{
    struct server *s = arg;
    struct err err = {0}, left = {0};
    AUTO(config_changes) struct config_changes changes = {0};
    (void)signal_no;
    notify_reloading();
    AUTO(config_vault) struct config_vault *next = config_vault_load(s->config->file, &err);
    if (next && config_vault_succeed(next, s->config, &changes, &err) &&
        serving_reload(s->serving, next, &left, &err)) {
        set_level(next);
        log_lines("changed", &changes.changed);
        log_lines("kept", &changes.kept);
        if (left.code)
            log_error("configuration read again, not for all; hint: reload once more: %s",
                      left.text);
        else
            log_info("configuration read again");
        config_vault_free(s->read);
        s->config = s->read = TAKE(next);
        if (!tell_port(s->o, serving_port(s->serving), &err))
            log_warning("port file: %s", err.text);
    } else {
        log_error("reload refused, everything stays as it was: %s", err.text);
    }
    notify_ready();
}

static bool wait_for_end(struct server *s, struct err *err)
{
    static const struct {
        int signal_no;
        void (*fn)(void *arg, int signal_no);
    } signals[] = {{SIGTERM, on_signal}, {SIGINT, on_signal}, {SIGHUP, on_reload}};
    enum { SIGNALS = sizeof signals / sizeof *signals };
    struct signal_watch *watches[SIGNALS] = {0};
    AUTO(loop) struct loop *loop = s->loop = loop_new(err);
    bool ok = loop;
    for (int i = 0; ok && i < SIGNALS; i++) {
        watches[i] = signal_watch_new(loop, signals[i].signal_no, signals[i].fn, s, err);
        ok = watches[i];
    }
    struct timer *ping = ok ? timer_new(loop, on_ping, NULL, err) : NULL;
    ok = ping && tell_ready(s->o, serving_port(s->serving), err); /* signals are heard from here */
    if (ok) {
        if (notify_watchdog_ms())
            timer_set(ping, notify_watchdog_ms(), notify_watchdog_ms());
        notify_ready();
        loop_run(loop);
    }
    timer_free(ping);
    for (int i = 0; i < SIGNALS; i++)
        signal_watch_free(watches[i]);
    return ok;
}

static bool run_serve(const struct options *o, const struct config_vault *config, struct err *err)
{
    uid_t allow[ALLOW_MAX];
    struct control_options control_options = {
        .path = config->socket, .allow = allow, .box = config->box};
    struct vault_options options = vault_options_of(config);
    log_init();
    set_level(config);
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of its write */
    if (!notify_init(err) || !users_of(config, allow, &control_options.allow_count, err))
        return false;
    notify_status("opening the store");
    AUTO(io) struct io *io = open_io(config, err);
    AUTO(vault) struct vault *vault = io ? vault_open(config->box, io, &options, err) : NULL;
    AUTO(serving) struct serving *serving = vault ? serving_new(vault, config, err) : NULL;
    control_options.exporter = serving ? serving_exporter(serving) : NULL;
    AUTO(control)
    struct control *control = serving ? control_start(vault, &control_options, err) : NULL;
    if (!control || !serving_start(serving, config, err))
        return false;
    log_info("serving socket=%s store=%s", config->socket, io_label(io));
    notify_status("serving");
    struct server server = {.o = o, .serving = serving, .config = config};
    bool ok = wait_for_end(&server, err);
    serving_stop(serving); /* hosts first; then who controls, then the vault */
    config_vault_free(server.read);
    return ok;
}

/* Through the vault that serves, or, when none does, as one that serves for so long. */
static bool run_ingest(const struct options *o, const struct config_vault *config, struct err *err)
{
    struct control_options control_options = {.path = config->socket, .box = config->box};
    struct vault_options options = vault_options_of(config);
    struct err first = {0};
    log_init();
    set_level(config);
    signal(SIGPIPE, SIG_IGN);
    if (ingest_verb(&o->ingest, config->socket, &first))
        return true;
    if (first.code != ERR_UNAVAILABLE && first.code != ERR_NOT_FOUND) {
        *err = first;
        return false;
    }
    AUTO(io) struct io *io = open_io(config, err);
    AUTO(vault) struct vault *vault = io ? vault_open(config->box, io, &options, err) : NULL;
    AUTO(control)
    struct control *control = vault ? control_start(vault, &control_options, err) : NULL;
    return control && ingest_verb(&o->ingest, config->socket, err);
}

static bool run_check(const struct options *o, const struct config_vault *config, struct err *err)
{
    uid_t allow[ALLOW_MAX];
    size_t count = 0;
    (void)o;
    if (!users_of(config, allow, &count, err) || !serving_check(config, err))
        return false;
    printf("%s: box '%s', store '%s', nothing wrong\n", config->file, config->box, config->store);
    return true;
}

static bool run_exports(const struct options *o, const struct config_vault *config, struct err *err)
{
    return exports_verb(config->socket, o->tools.json, stdout, err);
}

static const struct {
    const char *name;
    bool (*run)(const struct options *o, const struct config_vault *config, struct err *err);
    size_t words; /* with the verb */
} verbs[] = {
    {"serve", run_serve, 1},
    {"ingest", run_ingest, 2},
    {"exports", run_exports, 1},
    {"check-config", run_check, 1},
};

static bool run(struct options *o, const struct args *args, struct err *err)
{
    const char *names[sizeof verbs / sizeof *verbs];
    size_t count = sizeof verbs / sizeof *verbs;
    if (str_equal(args->words[0], "keys")) {
        AUTO(mem) char *text = config_vault_keys(err);
        return text && fputs(text, stdout) >= 0;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = verbs[i].name;
        if (!str_equal(args->words[0], verbs[i].name))
            continue;
        if (args->word_count != verbs[i].words)
            return err_set(err, ERR_INVALID, "'%s' takes %s", verbs[i].name,
                           verbs[i].words == 1 ? "no further words" : "one further word");
        o->ingest.source = args->words[1];
        o->ingest.volume = o->tools.volume;
        AUTO(config_vault)
        struct config_vault *config =
            config_vault_load(o->config ? o->config : default_config, err);
        return config && verbs[i].run(o, config, err);
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
        {.name = "--ready-file", .text = &o.ready_file},
        {.name = "--port-file", .text = &o.port_file},
        {.name = "--rate", .text = &o.tools.rate},
        {.name = "--position", .text = &o.tools.position},
        {.name = "--volume", .text = &o.tools.volume},
        {.name = "--to-config", .text = &o.tools.to_config},
        {.name = "--repair", .flag = &o.tools.repair},
        {.name = "--rebuild", .flag = &o.tools.rebuild},
        {.name = "--prune", .flag = &o.tools.prune},
        {.name = "--json", .flag = &o.tools.json},
        {.name = "--name", .text = &o.ingest.name},
        {.name = "--tries", .text = &o.ingest.tries},
        {.name = "--allow-empty", .flag = &o.ingest.allow_empty},
        {.name = "--distrust", .flag = &o.ingest.distrust},
        {.name = "--help", .flag = &o.help},
    };
    struct args args;
    struct err err = {0};
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, &args, &err)) {
        fprintf(stderr, "evercopy-vaultd: %s\n", err.text);
        return 2;
    }
    if (o.help || !args.word_count) {
        FILE *to = o.help ? stdout : stderr;
        fprintf(to, "%s%s%s", usage, tools_usage, usage_options);
        return o.help ? 0 : 2;
    }
    if (tools_is_verb(args.words[0])) {
        o.tools.config = o.config ? o.config : default_config;
        return tools_main(&o.tools, &args, open_io, stdout, stderr);
    }
    if (!run(&o, &args, &err)) {
        fprintf(stderr, "evercopy-vaultd: %s\n", err.text);
        return 1;
    }
    return 0;
}
