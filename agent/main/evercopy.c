/* evercopy: reads arguments, runs a verb. */
#include "agent/base/args.h"
#include "agent/base/log.h"
#include "agent/shim/shim.h"

#include <signal.h>
#include <stdio.h>

static const char usage[] =
    "evercopy: the shim on database hosts, and the command line for people\n"
    "\n"
    "  evercopy setup DB [--apply]                what is to be done for DB; do it\n"
    "  evercopy backup DB [--allow-full]          one run, as the scheduler calls it\n"
    "  evercopy status [DB]                       worst first\n"
    "  evercopy check DB | --all [--warning 36h] [--critical 48h]   as a Nagios plug-in\n"
    "  evercopy report [--days N]                 the fleet: runs, snapshots, verdicts\n"
    "  evercopy doctor [DB] [--mounts FILE]       how areas and clones are to be mounted, what is "
    "not "
    "so\n"
    "  evercopy space DB                          what area, snapshots and clones occupy\n"
    "  evercopy window DB                         which moments can be reached\n"
    "  evercopy snapshots DB\n"
    "  evercopy snapshot create DB | verify DB NAME | delete DB NAME\n"
    "  evercopy snapshot hold DB NAME --reason TEXT [--until TIME | --for 30d]\n"
    "  evercopy snapshot release DB NAME [--hold ID]\n"
    "  evercopy snapshot lock DB NAME --for 30d   counted in the box's running time\n"
    "  evercopy retention DB [--apply]            what would go, and why; do exactly that\n"
    "  evercopy clones [DB]\n"
    "  evercopy clone create DB [NAME] --snapshot S | --to TIME | --scn N [--lease 12h] [--purpose "
    "T]\n"
    "  evercopy clone drop DB NAME [--force]      force: though a client uses it\n"
    "  evercopy clone extend DB NAME --for 12h    its lease ends then, from now\n"
    "  evercopy restore DB --to TIME | --scn N [--dest DIR] [--sid SID] [--name CLONE] [--lease "
    "1d] "
    "[--keep]\n"
    "  evercopy restore DB --clone CLONE [--mounted DIR] ...   of a clone that is there\n"
    "  evercopy jobs [DB] [--limit N]\n"
    "  evercopy log JOB [--follow]\n"
    "  evercopy renew                             a new certificate for this host; backup does it "
    "too\n"
    "  evercopy reload                            the agent reads its configuration again (role "
    "admin)\n"
    "  evercopy cancel JOB                        it stops at its next step, in order\n"
    "  evercopy identify FILE...                  what a file is; no agent needed\n"
    "  evercopy validate --file FILE              every block or record; no agent needed\n"
    "\n"
    "  --config FILE     default /etc/evercopy/evercopy.conf\n"
    "  --agent HOST:PORT over the configured one\n"
    "  --json  --quiet  --strict (warnings are failures)\n"
    "  --zone NAME|utc|db|local                   for printed times\n"
    "TIME is the database's own, 'YYYY-MM-DD HH:MM:SS', or UTC with a Z behind it.\n";

struct call {
    struct shim_options options;
    struct args args;
};

static const char *word(const struct call *call, size_t i)
{
    return i < call->args.word_count ? call->args.words[i] : NULL;
}

static int run_backup(const struct call *c) { return verb_backup(&c->options, word(c, 1)); }
static int run_setup(const struct call *c) { return verb_setup(&c->options, word(c, 1)); }
static int run_status(const struct call *c) { return verb_status(&c->options, word(c, 1)); }
static int run_check(const struct call *c) { return verb_check(&c->options, word(c, 1)); }
static int run_report(const struct call *c) { return verb_report(&c->options); }
static int run_space(const struct call *c) { return verb_space(&c->options, word(c, 1)); }
static int run_doctor(const struct call *c) { return verb_doctor(&c->options, word(c, 1)); }
static int run_window(const struct call *c) { return verb_window(&c->options, word(c, 1)); }
static int run_snapshots(const struct call *c) { return verb_snapshots(&c->options, word(c, 1)); }
static int run_jobs(const struct call *c) { return verb_jobs(&c->options, word(c, 1)); }
static int run_log(const struct call *c) { return verb_log(&c->options, word(c, 1)); }
static int run_cancel(const struct call *c) { return verb_cancel(&c->options, word(c, 1)); }
static int run_clones(const struct call *c) { return verb_clones(&c->options, word(c, 1)); }
static int run_reload(const struct call *c) { return verb_reload(&c->options); }
static int run_renew(const struct call *c) { return verb_renew(&c->options, word(c, 1)); }
static int run_restore(const struct call *c) { return verb_restore(&c->options, word(c, 1)); }

static int run_identify(const struct call *c)
{
    return verb_identify(&c->options, c->args.words + 1, c->args.word_count - 1);
}

static int bad_usage(const struct call *call, const char *text)
{
    struct err err = {0};
    err_set(&err, ERR_INVALID, "%s", text);
    if (call->args.word_count && str_equal(call->args.words[0], "check"))
        return verb_check_failed(&call->options, &err);
    return shim_report(&(struct shim){.options = &call->options}, "", "usage", &err);
}

static int run_clone(const struct call *c)
{
    const char *what = word(c, 1);
    if (what && word(c, 2) && str_equal(what, "create"))
        return verb_clone_create(&c->options, word(c, 2), word(c, 3));
    if (what && word(c, 2) && word(c, 3) && str_equal(what, "drop"))
        return verb_clone_drop(&c->options, word(c, 2), word(c, 3));
    if (what && word(c, 2) && word(c, 3) && str_equal(what, "extend"))
        return verb_clone_extend(&c->options, word(c, 2), word(c, 3));
    return bad_usage(c, "usage: evercopy clone create DB [NAME] ... | evercopy clone drop|extend "
                        "DB NAME");
}

static const struct {
    const char *name;
    int (*run)(const struct shim_options *options, const char *db, const char *name);
} snapshot_verbs[] = {
    {"delete", verb_snapshot_delete},   {"hold", verb_snapshot_hold},
    {"release", verb_snapshot_release}, {"lock", verb_snapshot_lock},
    {"verify", verb_snapshot_verify},
};

static int run_snapshot(const struct call *c)
{
    const char *what = word(c, 1);
    if (what && word(c, 2) && !word(c, 3) && str_equal(what, "create"))
        return verb_snapshot_create(&c->options, word(c, 2));
    for (size_t i = 0; what && word(c, 3) && i < sizeof snapshot_verbs / sizeof *snapshot_verbs;
         i++)
        if (str_equal(what, snapshot_verbs[i].name))
            return snapshot_verbs[i].run(&c->options, word(c, 2), word(c, 3));
    return bad_usage(
        c, "usage: evercopy snapshot create DB | delete|hold|release|lock|verify DB NAME");
}

static int run_retention(const struct call *c) { return verb_retention(&c->options, word(c, 1)); }

static int run_validate(const struct call *c)
{
    if (!c->options.file)
        return bad_usage(c, "usage: evercopy validate --file FILE");
    return verb_validate_file(&c->options, c->options.file);
}

static const struct {
    const char *name;
    int (*run)(const struct call *call);
    size_t words_min, words_max; /* with the verb itself */
} verbs[] = {
    {"backup", run_backup, 2, 2},     {"setup", run_setup, 2, 2},
    {"status", run_status, 1, 2},     {"check", run_check, 1, 2},
    {"report", run_report, 1, 1},     {"window", run_window, 2, 2},
    {"jobs", run_jobs, 1, 2},         {"snapshots", run_snapshots, 2, 2},
    {"log", run_log, 2, 2},           {"cancel", run_cancel, 2, 2},
    {"clones", run_clones, 1, 2},     {"clone", run_clone, 1, 4},
    {"restore", run_restore, 2, 2},   {"renew", run_renew, 1, 2},
    {"snapshot", run_snapshot, 1, 4}, {"retention", run_retention, 2, 2},
    {"doctor", run_doctor, 1, 2},     {"space", run_space, 2, 2},
    {"reload", run_reload, 1, 1},     {"identify", run_identify, 2, ARGS_WORDS_MAX},
    {"validate", run_validate, 1, 1},
};

static int run(const struct call *call)
{
    const char *names[sizeof verbs / sizeof *verbs];
    const size_t count = sizeof verbs / sizeof *verbs;
    char text[200];
    for (size_t i = 0; i < count; i++) {
        names[i] = verbs[i].name;
        if (!str_equal(call->args.words[0], verbs[i].name))
            continue;
        if (call->args.word_count < verbs[i].words_min ||
            call->args.word_count > verbs[i].words_max) {
            IGNORE(!str_format(text, sizeof text, "'%s' %s; see evercopy --help", verbs[i].name,
                               call->args.word_count < verbs[i].words_min
                                   ? "needs more arguments"
                                   : "takes fewer arguments"));
            return bad_usage(call, text);
        }
        return verbs[i].run(call);
    }
    const char *near = str_nearest(call->args.words[0], names, count);
    IGNORE(!str_format(text, sizeof text, "unknown command '%.40s'%s%s%s", call->args.words[0],
                       near ? "; hint: did you mean '" : "", near ? near : "", near ? "'?" : ""));
    return bad_usage(call, text);
}

int main(int argc, char **argv)
{
    struct call call = {0};
    struct shim_options *o = &call.options;
    bool help = false;
    const struct args_option options[] = {
        {.name = "--config", .text = &o->config},
        {.name = "--agent", .text = &o->agent},
        {.name = "--oratab", .text = &o->oratab},
        {.name = "--to", .text = &o->to},
        {.name = "--scn", .text = &o->scn},
        {.name = "--snapshot", .text = &o->snapshot},
        {.name = "--dest", .text = &o->dest},
        {.name = "--sid", .text = &o->sid},
        {.name = "--name", .text = &o->name},
        {.name = "--clone", .text = &o->clone},
        {.name = "--mounted", .text = &o->mounted},
        {.name = "--mounts", .text = &o->mounts},
        {.name = "--purpose", .text = &o->purpose},
        {.name = "--lease", .text = &o->lease},
        {.name = "--file", .text = &o->file},
        {.name = "--for", .text = &o->lease},
        {.name = "--limit", .text = &o->limit},
        {.name = "--json", .flag = &o->json},
        {.name = "--quiet", .flag = &o->quiet},
        {.name = "--apply", .flag = &o->apply},
        {.name = "--strict", .flag = &o->strict},
        {.name = "--follow", .flag = &o->follow},
        {.name = "--keep", .flag = &o->keep},
        {.name = "--allow-full", .flag = &o->allow_full},
        {.name = "--all", .flag = &o->all},
        {.name = "--force", .flag = &o->force},
        {.name = "--zone", .text = &o->zone},
        {.name = "--warning", .text = &o->warning},
        {.name = "--critical", .text = &o->critical},
        {.name = "--days", .text = &o->days},
        {.name = "--reason", .text = &o->reason},
        {.name = "--until", .text = &o->until},
        {.name = "--hold", .text = &o->hold},
        {.name = "--clock-is-right", .flag = &o->clock_is_right},
        {.name = "--help", .flag = &help},
    };
    struct err err = {0};
    signal(SIGPIPE, SIG_IGN);
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, &call.args, &err)) {
        for (int i = 1; i < argc; i++) /* those behind the bad one were not read */
            call.options.json = call.options.json || str_equal(argv[i], "--json");
        return bad_usage(&call, err.text);
    }
    if (help || !call.args.word_count) {
        int code = help ? 0 : bad_usage(&call, "no command");
        fputs(usage, help ? stdout : stderr);
        return code;
    }
    return run(&call);
}
