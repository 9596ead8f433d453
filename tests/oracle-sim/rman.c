/* The rman client: prompts, statements, channels, and the commands that touch no backup. */
#include "rman.h"
#include "sql.h"
#include <ctype.h>
#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t interrupt;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupt = 1;
}

/* ---- words for the commands ---- */

const char *day(struct rman *r, char out[64])
{
    char t[40];

    t[0] = '\x01';
    ft_text(now_ft(&r->s), t + 1);
    sql_show(t, out, 64);
    return out;
}

/* The stack's own date, whatever NLS says. */
static void stack_day(struct rman *r, char out[32])
{
    char t[32];

    ft_text(now_ft(&r->s), t);
    format_text(out, 32, "%.2s/%.2s/%.4s %.8s", t + 5, t + 8, t, t + 11);
}

static void stack_head(void)
{
    puts("RMAN-00571: ===========================================================\n"
         "RMAN-00569: =============== ERROR MESSAGE STACK FOLLOWS ===============\n"
         "RMAN-00571: ===========================================================");
}

static void print_failure(struct rman *r)
{
    char t[32];

    stack_day(r, t);
    stack_head();
    if (r->bad_channel[0])
        printf("RMAN-03009: failure of %s command on %s channel at %s\n", r->command_name,
               r->bad_channel, t);
    else
        printf("RMAN-03002: failure of %s command at %s\n", r->command_name, t);
    for (int i = 0; i < r->e.lines; i++)
        puts(r->e.line[i]);
    r->failed = true;
}

bool syntax(struct rman *r, struct toks *k)
{
    const struct tok *t = peek(k);

    stack_head();
    puts("RMAN-00558: error encountered while parsing input commands");
    printf(
        "RMAN-01009: syntax error: found \"%s\": expecting one of: \"%s\"\n",
        !t->kind         ? "end-of-file"
        : t->kind == 'p' ? t->text
        : t->kind == 'w' ? "identifier"
        : t->kind == 's' ? "single-quoted-string"
                         : "double-quoted-string",
        k->at == 0
            ? "advise, allocate, alter, backup, catalog, change, configure, connect, crosscheck, "
              "delete, exit, host, list, recover, release, report, reset, restore, run, set, show, "
              "shutdown, sql, startup, switch, validate"
            : ";");
    if (t->kind == 'w')
        printf("RMAN-01008: the bad identifier was: %s\n", t->text);
    printf("RMAN-01007: at line %d column %d file: standard input\n", t->line ? t->line : 1,
           t->column ? t->column : 1);
    r->failed = true;
    r->e.lines = -1; /* already printed */
    return false;
}

bool end_of_command(struct rman *r, struct toks *k) { return sign(k, ';') || syntax(r, k); }

bool need_mounted(struct rman *r)
{
    if (!r->s.have) {
        ora_add(&r->e, "RMAN-06403: could not obtain a fully authorized session");
        return ora_add(&r->e, "ORA-01034: ORACLE not available");
    }
    if (!r->s.mounted)
        return ora_add(&r->e, "ORA-01507: database not mounted");
    if (!r->told_nocatalog)
        puts("using target database control file instead of recovery catalog");
    r->told_nocatalog = true;
    return true;
}

bool interrupted(struct rman *r)
{
    (void)r;
    return interrupt != 0;
}

bool hang_point(struct rman *r, const char *where)
{
    char name[64];

    format_text(name, sizeof name, "hang-%s", where);
    x(&r->s, "update main.faults set arg=1 where name=?", "s", name); /* somebody is there */
    while (fault_peek(&r->s, name) >= 0 && !interrupt) {
        if (r->channels && q_int(&r->s, "select count(*) from main.sessions where sid=?", "i",
                                 (int64_t)r->ch[0].sid) == 0)
            return ora_add(&r->e, "ORA-00028: your session has been killed");
        usleep(50000);
    }
    if (!interrupt)
        return true;
    puts("user interrupt received");
    return ora_add(&r->e, "ORA-01013: user requested cancel of current operation");
}

bool config_get(struct rman *r, const char *name, char *out, size_t n)
{
    out[0] = 0;
    if (!r->s.mounted)
        return false;
    q_text(&r->s, out, n, "select value from ctl.rmanconf where name=?", "s", name);
    return out[0] != 0;
}

uint32_t next_set(struct rman *r)
{
    return (uint32_t)q_int(&r->s, "update ctl.kv set v=v+1 where k='setno' returning v", NULL);
}

/* ---- channels ---- */

static void channel_info(const struct rman *r, const char *name, char *out, size_t n)
{
    if (r->command_id[0])
        format_text(out, n, "rman channel=%s,id=%s", name, r->command_id);
    else
        format_text(out, n, "rman channel=%s", name);
}

static void channel_open(struct rman *r, const char *name, const char *format)
{
    struct channel *c;
    char info[256];

    if (r->channels == MAX_CHANNELS)
        return;
    c = &r->ch[r->channels++];
    copy_text(c->name, sizeof c->name, name);
    copy_text(c->format, sizeof c->format, format);
    channel_info(r, name, info, sizeof info);
    c->sid = session_add(&r->s, "rman@localhost (TNS V1-V3)", info);
    printf("allocated channel: %s\nchannel %s: SID=%d device type=DISK\n", name, name, c->sid);
}

void channels_need(struct rman *r)
{
    char value[PATH_LEN], name[32], format[PATH_LEN];
    const char *p;
    int n = 1;

    if (r->channels) {
        for (int i = 0; i < r->channels && !r->manual; i++)
            printf("using channel %s\n", r->ch[i].name);
        return;
    }
    if (config_get(r, "DEVICE TYPE", value, sizeof value) &&
        (p = strcasestr(value, "PARALLELISM ")))
        n = (int)strtol(p + 12, NULL, 10);
    if (n < 1 || n > MAX_CHANNELS || !same(r->s.edition, "EE"))
        n = 1;
    format[0] = 0;
    if (config_get(r, "CHANNEL", value, sizeof value) && (p = strchr(value, '\''))) {
        copy_text(format, sizeof format, p + 1);
        format[strcspn(format, "'")] = 0;
    }
    for (int i = 1; i <= n; i++) {
        format_text(name, sizeof name, "ORA_DISK_%d", i);
        channel_open(r, name, format);
    }
}

void channels_release(struct rman *r)
{
    for (int i = 0; i < r->channels; i++) {
        printf("released channel: %s\n", r->ch[i].name);
        x(&r->s, "delete from main.sessions where sid=?", "i", (int64_t)r->ch[i].sid);
    }
    r->channels = 0;
    r->manual = false;
}

static bool cmd_allocate(struct rman *r, struct toks *k)
{
    char name[32], format[PATH_LEN] = "", type[32];

    if (!words(k, "for maintenance") && !take_any(k, name, sizeof name))
        return syntax(r, k);
    while (more(k) && peek(k)->kind != 'p') {
        if (words(k, "device type") || words(k, "type")) {
            take_any(k, type, sizeof type);
            if (!same(type, "disk"))
                return ora_add(
                    &r->e,
                    "ORA-19554: error allocating device, device type: %s, device name: ", type);
        } else if (words(k, "format")) {
            if (!take_string(k, format, sizeof format))
                return syntax(r, k);
        } else {
            return syntax(r, k);
        }
    }
    if (!end_of_command(r, k))
        return false;
    if (!r->s.have)
        return need_mounted(r);
    if (!r->manual)
        r->channels = 0;
    r->manual = true;
    if (r->s.mounted)
        need_mounted(r);
    if (r->channels == 1 && !same(r->s.edition, "EE"))
        puts("RMAN-06908: WARNING: operation will not run in parallel on the allocated channels\n"
             "RMAN-06909: WARNING: parallelism require Enterprise Edition");
    channel_open(r, name, format);
    return true;
}

static bool cmd_release(struct rman *r, struct toks *k)
{
    char name[32];

    if (!words(k, "channel"))
        return syntax(r, k);
    take_any(k, name, sizeof name);
    if (!end_of_command(r, k))
        return false;
    for (int i = 0; i < r->channels; i++)
        if (same(r->ch[i].name, name)) {
            printf("released channel: %s\n", name);
            x(&r->s, "delete from main.sessions where sid=?", "i", (int64_t)r->ch[i].sid);
            memmove(&r->ch[i], &r->ch[i + 1], sizeof r->ch[0] * (size_t)(r->channels - i - 1));
            r->channels--;
            break;
        }
    return true;
}

/* ---- set ---- */

static bool set_done(struct rman *r, struct toks *k, const char *what)
{
    if (!end_of_command(r, k))
        return false;
    printf("\nexecuting command: %s\n", what);
    return true;
}

static bool set_until(struct rman *r, struct toks *k)
{
    uint64_t v = 0, thread = 1;

    if (words(k, "scn")) {
        sign(k, '=');
        if (!take_number(k, &v))
            return syntax(r, k);
        r->until = v;
    } else if (words(k, "sequence")) {
        sign(k, '=');
        if (!take_number(k, &v))
            return syntax(r, k);
        if (words(k, "thread"))
            take_number(k, &thread);
        r->until = (uint64_t)q_int(
            &r->s, "select first from ctl.archlog where seq=? and thread=? and status='A'", "ii",
            (int64_t)v, (int64_t)thread);
    } else {
        return syntax(r, k);
    }
    return set_done(r, k, "SET until clause");
}

/* SET ECHO is SQL*Plus-like: it needs no semicolon. */
static bool set_echo(struct rman *r, struct toks *k)
{
    r->echo = words(k, "on");
    if (!r->echo)
        words(k, "off");
    sign(k, ';');
    puts(r->echo ? "echo set on" : "echo set off");
    return true;
}

static bool set_command_id(struct rman *r, struct toks *k)
{
    char t[sizeof r->command_id + 8];

    if (!take_string(k, r->command_id, sizeof r->command_id))
        return syntax(r, k);
    format_text(t, sizeof t, "id=%s", r->command_id);
    if (r->s.db)
        x(&r->s, "update main.sessions set client_info=? where pid=?", "si", t, (int64_t)getpid());
    return set_done(r, k, "SET COMMAND ID");
}

static bool cmd_set(struct rman *r, struct toks *k)
{

    if (words(k, "echo"))
        return set_echo(r, k);
    if (words(k, "command id to"))
        return set_command_id(r, k);
    if (words(k, "controlfile autobackup format for device type disk to"))
        return take_string(k, r->auto_format, PATH_LEN)
                   ? set_done(r, k, "SET CONTROLFILE AUTOBACKUP FORMAT")
                   : syntax(r, k);
    if (words(k, "archivelog destination to"))
        return take_string(k, r->arch_dest, PATH_LEN) ? set_done(r, k, "SET ARCHIVELOG DESTINATION")
                                                      : syntax(r, k);
    if (words(k, "until"))
        return set_until(r, k);
    if (words(k, "newname") || words(k, "dbid") || words(k, "nocfau")) {
        while (more(k) && !(peek(k)->kind == 'p' && peek(k)->text[0] == ';'))
            k->at++;
        return set_done(r, k, "SET NEWNAME");
    }
    return syntax(r, k);
}

/* ---- connecting, starting, plain SQL ---- */

static bool attach(struct rman *r)
{
    const char *home = getenv("ORACLE_HOME"), *sid = getenv("ORACLE_SID");
    char name[64] = "";

    sim_close(&r->s);
    if (sim_find(&r->s, home, sid ? sid : "") && !sim_open(&r->s))
        r->s.have = false;
    r->s.mute = true;
    r->connected = true;
    if (!r->s.have) {
        puts("connected to target database (not started)");
        return true;
    }
    session_add(&r->s, "rman@localhost (TNS V1-V3)", "");
    if (!r->s.mounted) {
        param(&r->s, "db_name", name, sizeof name);
        upper(name);
        printf("connected to target database: %s (not mounted)\n", name);
    } else {
        printf("connected to target database: %s (DBID=%u%s)\n", r->s.dbname, r->s.dbid,
               is_open(&r->s) ? "" : ", not open");
    }
    return true;
}

static bool cmd_connect(struct rman *r, struct toks *k)
{
    while (more(k) && peek(k)->kind != 'p')
        k->at++;
    sign(k, ';');
    return attach(r);
}

static void join(struct toks *k, char *out, size_t n)
{
    size_t at = 0;

    out[0] = 0;
    while (more(k) && !(peek(k)->kind == 'p' && peek(k)->text[0] == ';') && at + 1 < n) {
        const struct tok *t = &k->t[k->at++];

        format_text(out + at, n - at,
                    t->kind == 's'   ? "'%s' "
                    : t->kind == 'd' ? "\"%s\" "
                                     : "%s ",
                    t->text);
        at += strlen(out + at);
    }
    while (at && out[at - 1] == ' ')
        out[--at] = 0;
}

static bool run_plain(struct rman *r, const char *sql, bool announce)
{
    char said[256];

    if (announce)
        printf("sql statement: %s\n", sql);
    if (!run_statement(&r->s, sql, said, sizeof said, &r->e)) {
        if (announce) {
            struct ora was = r->e;

            r->e.lines = 0;
            ora_add(&r->e, "RMAN-11003: failure during parse/execution of SQL statement: %s", sql);
            for (int i = 0; i < was.lines; i++)
                ora_add(&r->e, "%s", was.line[i]);
        }
        return false;
    }
    return true;
}

static bool cmd_sql(struct rman *r, struct toks *k)
{
    char sql[PATH_LEN * 2];

    if (peek(k)->kind == 's' || peek(k)->kind == 'd')
        take_string(k, sql, sizeof sql);
    else
        join(k, sql, sizeof sql);
    return end_of_command(r, k) && run_plain(r, sql, true);
}

static bool cmd_alter(struct rman *r, struct toks *k)
{
    char rest[PATH_LEN * 2], sql[PATH_LEN * 2 + 16];
    bool mount;

    join(k, rest, sizeof rest);
    if (!end_of_command(r, k))
        return false;
    format_text(sql, sizeof sql, "alter %s", rest);
    mount = starts(rest, "database mount") || starts(rest, "database open");
    if (r->s.major < 12 && !mount)
        return syntax(r, k);
    if (!run_plain(r, sql, false))
        return false;
    if (r->s.major < 12)
        puts(starts(rest, "database mount") ? "database mounted" : "database opened");
    else
        puts("Statement processed");
    if (mount)
        r->channels = 0;
    return true;
}

static bool cmd_startup(struct rman *r, struct toks *k)
{
    char pfile[PATH_LEN] = "";
    const char *upto = "open";

    while (more(k) && !sign(k, ';')) {
        if (words(k, "nomount"))
            upto = "nomount";
        else if (words(k, "mount"))
            upto = "mount";
        else if (words(k, "force"))
            continue;
        else if (words(k, "pfile")) {
            sign(k, '=');
            take_any(k, pfile, sizeof pfile);
        } else {
            return syntax(r, k);
        }
    }
    return inst_startup(&r->s, pfile, upto, &r->e);
}

static bool cmd_shutdown(struct rman *r, struct toks *k)
{
    char mode[32] = "normal";

    take_any(k, mode, sizeof mode);
    r->channels = 0;
    return end_of_command(r, k) && inst_shutdown(&r->s, mode, &r->e);
}

static bool cmd_reset(struct rman *r, struct toks *k)
{
    uint64_t inc = 0;

    if (!words(k, "database to incarnation") || !take_number(k, &inc))
        return syntax(r, k);
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    if (q_int(&r->s, "select count(*) from ctl.incarnations where inc=?", "i", (int64_t)inc) == 0) {
        ora_add(&r->e, "RMAN-06004: ORACLE error from recovery catalog database: ");
        return ora_add(&r->e, "RMAN-20201: datafile not found in the repository");
    }
    printf("database reset to incarnation %llu\n", (unsigned long long)inc);
    return true;
}

static bool cmd_host(struct rman *r, struct toks *k)
{
    char t[PATH_LEN];

    join(k, t, sizeof t);
    if (!end_of_command(r, k))
        return false;
    puts("host command complete");
    return true;
}

static bool cmd_exit(struct rman *r, struct toks *k)
{
    sign(k, ';');
    r->leave = true;
    return true;
}

static const struct {
    const char *head, *name;
    bool (*run)(struct rman *r, struct toks *k);
} commands[] = {
    {"backup", "backup", cmd_backup},
    {"recover", "recover", cmd_recover},
    {"restore", "restore", cmd_restore},
    {"delete", "delete", cmd_delete},
    {"catalog", "catalog", cmd_catalog},
    {"crosscheck", "crosscheck", cmd_crosscheck},
    {"change", "change", cmd_change},
    {"switch", "switch", cmd_switch},
    {"configure", "configure", cmd_configure},
    {"show", "show", cmd_show},
    {"list", "list", cmd_list},
    {"allocate channel", "allocate", cmd_allocate},
    {"release", "release", cmd_release},
    {"set", "set", cmd_set},
    {"connect", "connect", cmd_connect},
    {"sql", "sql", cmd_sql},
    {"alter", "sql statement", cmd_alter},
    {"startup", "startup", cmd_startup},
    {"shutdown", "shutdown", cmd_shutdown},
    {"reset", "reset", cmd_reset},
    {"host", "host", cmd_host},
    {"exit", "exit", cmd_exit},
    {"quit", "exit", cmd_exit},
};

/* ---- running ---- */

static int known(struct toks *k)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (words(k, commands[i].head))
            return (int)i;
    return -1;
}

static bool run_one(struct rman *r, struct toks *k)
{
    int i = known(k);

    if (i < 0)
        return syntax(r, k);
    memset(&r->e, 0, sizeof r->e);
    r->bad_channel[0] = 0;
    r->command_name = commands[i].name;
    if (commands[i].run(r, k))
        return true;
    if (r->manual && r->e.lines >= 0) {
        channels_release(r);
        r->in_run = false;
    }
    if (r->e.lines >= 0)
        print_failure(r);
    return false;
}

/* A run block is parsed before it runs: an unknown command in it stops all of it. */
static bool block_known(struct rman *r, struct toks *k)
{
    int at = k->at;

    while (more(k) && !(peek(k)->kind == 'p' && peek(k)->text[0] == '}')) {
        if (known(k) < 0)
            return syntax(r, k);
        while (more(k) && !sign(k, ';'))
            k->at++;
    }
    k->at = at;
    return true;
}

static void run_block(struct rman *r, struct toks *k)
{
    bool ok = block_known(r, k);

    r->in_run = true;
    while (ok && more(k) && !sign(k, '}') && !r->leave)
        ok = run_one(r, k);
    r->in_run = false;
    if (r->manual)
        channels_release(r);
    r->until = 0;
    r->arch_dest[0] = 0;
    r->auto_format[0] = 0;
}

static void run_text(struct rman *r, const char *text_, int line)
{
    struct toks k;

    lex(text_, line, &k);
    if (words(&k, "run")) {
        if (sign(&k, '{'))
            run_block(r, &k);
        else
            syntax(r, &k);
    } else if (more(&k)) {
        run_one(r, &k);
    }
    lex_free(&k);
    fflush(stdout);
}

/* ---- reading: a statement ends at ';', or at the '}' that closes a run block ---- */

struct reader {
    char *buf;
    size_t len, cap;
    int depth, line, first, lines;
    char quote;
};

static void keep(struct reader *d, char c)
{
    if (d->len + 2 > d->cap) {
        d->cap = d->cap ? d->cap * 2 : 1024;
        d->buf = realloc(d->buf, d->cap);
        if (!d->buf)
            die("out of memory");
    }
    d->buf[d->len++] = c;
    d->buf[d->len] = 0;
}

static bool blank(const struct reader *d)
{
    for (size_t i = 0; i < d->len; i++)
        if (!isspace((unsigned char)d->buf[i]))
            return false;
    return true;
}

/* Takes one character; true when it completes a statement. */
static bool feed(struct reader *d, char c)
{
    keep(d, c);
    if (d->quote) {
        if (c == d->quote)
            d->quote = 0;
        return false;
    }
    if (c == '\'' || c == '"')
        d->quote = c;
    else if (c == '{')
        d->depth++;
    else if (c == '}' && d->depth > 0)
        return --d->depth == 0;
    return c == ';' && d->depth == 0;
}

static void prompt(struct rman *r, struct reader *d, const char *line)
{
    if (d->lines++ == 0)
        fputs("\nRMAN> ", stdout);
    else
        printf("%d> ", d->lines);
    if (r->echo)
        printf("%s\n", starts(line, "connect") ? "CONNECT TARGET *" : line);
}

static void complete(struct rman *r, struct reader *d)
{
    if (!r->echo)
        puts("");
    run_text(r, d->buf, d->first);
    d->len = 0;
    d->lines = 0;
    fputs("\n", stdout);
}

/* EXIT, CONNECT and SET ECHO end with their line. */
static bool bare(const struct reader *d)
{
    char w[16] = "", v[16] = "";

    if (d->depth || strlen(d->buf) > 200 || sscanf(d->buf, "%15s %15s", w, v) < 1)
        return false;
    return same(w, "exit") || same(w, "quit") || same(w, "connect") ||
           (same(w, "set") && same(v, "echo"));
}

static void take_line(struct rman *r, struct reader *d, char *line)
{
    line[strcspn(line, "\r\n")] = 0;
    d->line++;
    if (blank(d)) {
        d->len = 0;
        d->first = d->line;
        if (!line[0] || line[strspn(line, " \t")] == '#')
            return;
    }
    prompt(r, d, line);
    for (const char *p = line; *p && !r->leave; p++) {
        if (*p == '#' && !d->quote && (p == line || isspace((unsigned char)p[-1])))
            break;
        if (!feed(d, *p))
            continue;
        while (p[1] == ' ' || p[1] == ';')
            p++;
        complete(r, d);
    }
    if (d->len)
        feed(d, '\n');
    if (d->len && !d->quote && bare(d))
        complete(r, d);
}

static void read_from(struct rman *r, FILE *f)
{
    struct reader d = {0};
    char *line = NULL;
    size_t cap = 0;

    while (!r->leave && !interrupt && getline(&line, &cap, f) > 0)
        take_line(r, &d, line);
    if (!r->leave && !blank(&d)) {
        puts("");
        run_text(r, d.buf, d.first);
    }
    free(line);
    free(d.buf);
}

static void banner(struct rman *r)
{
    static const char *const dow[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char *const mon[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t t = now_local(&r->s);
    int c[6];

    civil(t, c);
    printf("\nRecovery Manager: Release %s - Production on %s %s %d %02d:%02d:%02d %d\n",
           r->s.release, dow[t / 86400 % 7], mon[(c[1] - 1) % 12], c[2], c[3], c[4], c[5], c[0]);
    if (r->s.major >= 18)
        printf("Version %s\n", r->s.release);
    puts("\nCopyright (c) 1982, 2019, Oracle and/or its affiliates.  All rights reserved.\n");
}

struct rman_args {
    bool target, append;
    const char *log, *script;
};

static const char *value_of(char **argv, int argc, int *i, const char *name)
{
    size_t n = strlen(name);

    if (*i >= argc || !starts(argv[*i], name))
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    return !argv[*i][n] && *i + 1 < argc ? argv[++*i] : NULL;
}

static void arguments(int argc, char **argv, struct rman_args *a)
{
    const char *v;

    for (int i = 1; i < argc; i++) {
        if (value_of(argv, argc, &i, "target"))
            a->target = true;
        else if ((v = value_of(argv, argc, &i, "log")) || (v = value_of(argv, argc, &i, "msglog")))
            a->log = v;
        else if ((v = value_of(argv, argc, &i, "cmdfile")))
            a->script = v;
        else if (same(argv[i], "append"))
            a->append = true;
        else if (argv[i][0] == '@')
            a->script = argv[i] + 1;
    }
}

int rman_main(int argc, char **argv)
{
    static struct rman r;
    struct rman_args a = {0};
    struct sigaction act = {.sa_handler = on_interrupt};
    const char *home = getenv("ORACLE_HOME"), *sid = getenv("ORACLE_SID");
    FILE *in = stdin;

    if (!home || !home[0]) {
        puts("Message file RMAN<lang>.msb not found\nVerify that ORACLE_HOME is set properly");
        return 1;
    }
    sigaction(SIGINT, &act, NULL);
    arguments(argc, argv, &a);
    if (a.log && !freopen(a.log, a.append ? "ae" : "we", stdout))
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sim_find(&r.s, home, sid ? sid : "");
    banner(&r);
    if (a.target)
        attach(&r);
    if (a.script)
        in = fopen(a.script, "re");
    if (!in) {
        printf("RMAN-00558: error encountered while parsing input commands\n"
               "RMAN-01006: error signaled during parse\nRMAN-02002: unexpected end of input file "
               "reached\n");
        return 1;
    }
    read_from(&r, in);
    fputs(r.echo || in != stdin ? "" : "\nRMAN> \n", stdout);
    puts("\nRecovery Manager complete.");
    if (r.s.db)
        x(&r.s, "delete from main.sessions where pid=?", "i", (int64_t)getpid());
    if (in != stdin)
        fclose(in);
    sim_close(&r.s);
    return r.failed || interrupt ? 1 : 0;
}
