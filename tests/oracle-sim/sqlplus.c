/* The sqlplus client: its settings, its statements, its way of failing. */
#include "sql.h"
#include <ctype.h>
#include <unistd.h>

enum { COLS = 64 };

struct client {
    struct sim s;
    bool silent, heading, echo, timing, connected, leave;
    int feedback; /* rows from which the count is told; 0 never */
    int pagesize, linesize, exit_code, line_no;
    char on_sqlerror[32], on_oserror[32];
    int sqlcode;
    char *buf;
    size_t len, cap;
    FILE *spool;
};

static void say(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct client *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    if (!c->spool)
        return;
    va_start(ap, fmt);
    vfprintf(c->spool, fmt, ap);
    va_end(ap);
}

/* ---- leaving ---- */

static int exit_value(struct client *c, const char *word)
{
    if (same(word, "failure"))
        return 1;
    if (same(word, "warning"))
        return 2;
    if (same(word, "sql.sqlcode"))
        return c->sqlcode & 255;
    return (int)strtol(word, NULL, 10) & 255;
}

static void leave(struct client *c, const char *word)
{
    c->leave = true;
    c->exit_code = exit_value(c, word);
}

static void failed(struct client *c, const struct ora *e)
{
    const char *code = e->lines ? strstr(e->line[0], "ORA-") : NULL;

    c->sqlcode = code ? (int)strtol(code + 4, NULL, 10) : 1;
    if (c->on_sqlerror[0])
        leave(c, c->on_sqlerror);
}

static void print_stack(struct client *c, const struct ora *e)
{
    for (int i = 0; i < e->lines; i++)
        say(c, "%s\n", e->line[i]);
}

static void statement_error(struct client *c, const char *sql, const struct ora *e)
{
    int n = (int)strcspn(sql, "\n");

    say(c, "%.*s\n*\nERROR at line 1:\n", n, sql);
    print_stack(c, e);
    say(c, "\n\n");
    failed(c, e);
}

/* ---- results ---- */

static void headings(struct client *c, sqlite3_stmt *st, int cols, const int *width)
{
    char t[128];

    say(c, "\n");
    for (int i = 0; i < cols; i++) {
        sql_title(sqlite3_column_name(st, i), t, sizeof t);
        say(c, i + 1 < cols ? "%-*s " : "%-*s", i + 1 < cols ? width[i] : 0, t);
    }
    say(c, "\n");
    for (int i = 0; i < cols; i++) {
        for (int k = 0; k < width[i]; k++)
            say(c, "-");
        say(c, i + 1 < cols ? " " : "\n");
    }
}

struct grid {
    char **cell;
    int rows, cols, cap;
};

static bool grid_fill(struct client *c, sqlite3_stmt *st, struct grid *g)
{
    static char shown[32768];
    int rc;

    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (g->rows == g->cap) {
            g->cap = g->cap ? g->cap * 2 : 64;
            g->cell = realloc(g->cell, sizeof *g->cell * (size_t)g->cap * (size_t)g->cols);
            if (!g->cell)
                die("out of memory");
        }
        for (int i = 0; i < g->cols; i++) {
            sql_show(text(st, i), shown, sizeof shown);
            g->cell[(size_t)g->rows * (size_t)g->cols + (size_t)i] = strdup(shown);
        }
        g->rows++;
    }
    (void)c;
    return rc == SQLITE_DONE;
}

static void print_row(struct client *c, const struct grid *g, int r, const int *width)
{
    static char line[65536];
    size_t at = 0;

    line[0] = 0;
    for (int i = 0; i < g->cols && at + 1 < sizeof line; i++) {
        const char *v = g->cell[r * g->cols + i];

        format_text(line + at, sizeof line - at, "%-*s%s", g->cols > 1 ? width[i] : 0, v,
                    i + 1 < g->cols ? " " : "");
        at += strlen(line + at);
    }
    while (at && line[at - 1] == ' ')
        line[--at] = 0;
    if ((int)at > c->linesize)
        line[c->linesize] = 0;
    say(c, "%s\n", line);
}

static void print_grid(struct client *c, sqlite3_stmt *st, const struct grid *g)
{
    int width[COLS];
    char t[128];

    for (int i = 0; i < g->cols; i++) {
        sql_title(sqlite3_column_name(st, i), t, sizeof t);
        width[i] = c->heading && c->pagesize ? (int)strlen(t) : 1;
        for (int r = 0; r < g->rows; r++)
            if ((int)strlen(g->cell[r * g->cols + i]) > width[i])
                width[i] = (int)strlen(g->cell[r * g->cols + i]);
    }
    if (g->rows && c->heading && c->pagesize)
        headings(c, st, g->cols, width);
    for (int r = 0; r < g->rows; r++)
        print_row(c, g, r, width);
    if (c->feedback && g->rows >= c->feedback)
        say(c, "\n%d row%s selected.\n\n", g->rows, g->rows == 1 ? "" : "s");
    else if (c->feedback && !g->rows)
        say(c, "\nno rows selected\n\n");
}

static void run_select(struct client *c, const char *sql)
{
    struct ora e = {0};
    struct grid g = {0};
    sqlite3_stmt *st = sql_query(&c->s, sql, &e);
    bool ok;

    if (!st) {
        statement_error(c, sql, &e);
        return;
    }
    g.cols = sqlite3_column_count(st) < COLS ? sqlite3_column_count(st) : COLS;
    ok = grid_fill(c, st, &g);
    if (ok) {
        print_grid(c, st, &g);
    } else {
        ora_add(&e, "ORA-01722: invalid number");
        statement_error(c, sql, &e);
    }
    for (int i = 0; i < g.rows * g.cols; i++)
        free(g.cell[i]);
    free(g.cell);
    release(st);
}

static void done(struct client *c, const char *what)
{
    if (c->feedback)
        say(c, "\n%s\n\n", what);
    if (c->timing)
        say(c, "Elapsed: 00:00:00.01\n");
}

static void run_sql(struct client *c, const char *sql)
{
    struct ora e = {0};
    char answer[256];

    if (starts(sql, "select") || starts(sql, "with")) {
        run_select(c, sql);
    } else if (starts(sql, "begin") || starts(sql, "declare") || starts(sql, "exec")) {
        done(c, "PL/SQL procedure successfully completed.");
    } else if (starts(sql, "commit") || starts(sql, "rollback")) {
        done(c, starts(sql, "commit") ? "Commit complete." : "Rollback complete.");
    } else if (run_statement(&c->s, sql, answer, sizeof answer, &e)) {
        done(c, answer);
    } else {
        statement_error(c, sql, &e);
    }
}

/* ---- SQL*Plus's own commands ---- */

static void cmd_set(struct client *c, char *rest)
{
    char name[64] = "", value[128] = "";
    bool on;

    while (sscanf(rest, "%63s %127s", name, value) == 2) {
        on = same(value, "on");
        if (starts("heading", name) && strlen(name) >= 3)
            c->heading = on;
        else if (starts("pagesize", name) && strlen(name) >= 5)
            c->pagesize = (int)strtol(value, NULL, 10);
        else if (starts("feedback", name) && strlen(name) >= 4)
            c->feedback = on ? 1 : (int)strtol(value, NULL, 10);
        else if (starts("linesize", name) && strlen(name) >= 3)
            c->linesize = (int)strtol(value, NULL, 10);
        else if (starts("echo", name))
            c->echo = on;
        else if (starts("timing", name) && strlen(name) >= 4)
            c->timing = on;
        if (c->linesize < 1 || c->linesize > 32767)
            c->linesize = 80;
        rest = strstr(rest, name) + strlen(name);
        rest = strstr(rest, value) + strlen(value);
        name[0] = value[0] = 0;
    }
}

static void cmd_whenever(struct client *c, char *rest)
{
    char what[32] = "", act[32] = "", how[32] = "success", *to;

    sscanf(rest, "%31s %31s %31s", what, act, how);
    to = same(what, "oserror") ? c->on_oserror : c->on_sqlerror;
    to[0] = 0;
    if (same(act, "exit"))
        copy_text(to, 32, how);
}

static void cmd_exit(struct client *c, char *rest)
{
    char how[32] = "0";

    sscanf(rest, "%31s", how);
    leave(c, how);
}

static void cmd_prompt(struct client *c, char *rest) { say(c, "%s\n", rest); }

static void cmd_spool(struct client *c, char *rest)
{
    char path[PATH_LEN] = "";

    sscanf(rest, "%1023s", path);
    if (c->spool)
        fclose(c->spool);
    c->spool = path[0] && !same(path, "off") ? fopen(path, "we") : NULL;
}

static bool attach(struct client *c, const char *who, bool speak)
{
    const char *home = getenv("ORACLE_HOME"), *sid = getenv("ORACLE_SID"), *at = strrchr(who, '@');
    char name[NAME_LEN];
    bool sysdba = strcasestr(who, " as sys") != NULL;

    sim_close(&c->s);
    copy_text(name, sizeof name, at ? at + 1 : sid ? sid : "");
    name[strcspn(name, " \"")] = 0;
    if (sim_find(&c->s, home ? home : "", name) && !sim_open(&c->s))
        c->s.have = false;
    c->connected = true;
    if (!c->s.have && at) {
        say(c, "ERROR:\nORA-12514: TNS:listener does not currently know of service requested in "
               "connect "
               "descriptor\n\n\n");
        return false;
    }
    if (!c->s.have && !sysdba) {
        say(c, "ERROR:\nORA-01034: ORACLE not available\nORA-27101: shared memory realm does not "
               "exist\n"
               "Linux-x86_64 Error: 2: No such file or directory\n\n\n");
        return false;
    }
    if (speak)
        say(c, c->s.have ? "Connected.\n" : "Connected to an idle instance.\n");
    if (c->s.have && c->s.db)
        session_add(&c->s, "sqlplus@localhost (TNS V1-V3)", "");
    return true;
}

static void cmd_connect(struct client *c, char *rest)
{
    struct ora e = {0};

    if (!attach(c, rest, true)) {
        ora_add(&e, "ORA-01034: ORACLE not available");
        failed(c, &e);
    }
}

static void cmd_startup(struct client *c, char *rest)
{
    struct toks k;
    struct ora e = {0};
    char pfile[PATH_LEN] = "";
    const char *upto = "open";

    lex(rest, 1, &k);
    while (more(&k)) {
        if (words(&k, "nomount"))
            upto = "nomount";
        else if (words(&k, "mount"))
            upto = "mount";
        else if (words(&k, "open read only") || words(&k, "read only"))
            upto = "readonly";
        else if (words(&k, "pfile")) {
            sign(&k, '=');
            take_any(&k, pfile, sizeof pfile);
        } else {
            k.at++;
        }
    }
    lex_free(&k);
    if (!inst_startup(&c->s, pfile, upto, &e)) {
        print_stack(c, &e);
        failed(c, &e);
    }
}

static void cmd_shutdown(struct client *c, char *rest)
{
    struct ora e = {0};
    char mode[32] = "normal";

    sscanf(rest, "%31s", mode);
    if (!inst_shutdown(&c->s, mode, &e)) {
        print_stack(c, &e);
        failed(c, &e);
    }
}

static void cmd_none(struct client *c, char *rest)
{
    (void)c;
    (void)rest;
}

static void cmd_exec(struct client *c, char *rest)
{
    (void)rest;
    done(c, "PL/SQL procedure successfully completed.");
}

static void cmd_show(struct client *c, char *rest)
{
    char what[64] = "", name[128] = "", sql[512];

    sscanf(rest, "%63s %127s", what, name);
    if (same(what, "user")) {
        say(c, "USER is \"SYS\"\n");
    } else if (starts(what, "param")) {
        name[strcspn(name, "'\";")] = 0;
        format_text(sql, sizeof sql,
                    "select name, 'string' type, value from v$parameter where name like '%%%s%%'",
                    name);
        run_select(c, sql);
    }
}

static void cmd_host(struct client *c, char *rest)
{
    (void)rest;
    say(c, "SP2-0738: Restricted command \"host\" not available\n");
}

static const struct {
    const char *name;
    size_t least;
    void (*run)(struct client *c, char *rest);
} commands[] = {
    {"set", 3, cmd_set},         {"whenever", 4, cmd_whenever}, {"exit", 4, cmd_exit},
    {"quit", 4, cmd_exit},       {"prompt", 3, cmd_prompt},     {"spool", 3, cmd_spool},
    {"connect", 4, cmd_connect}, {"startup", 7, cmd_startup},   {"shutdown", 4, cmd_shutdown},
    {"column", 3, cmd_none},     {"define", 3, cmd_none},       {"undefine", 5, cmd_none},
    {"remark", 3, cmd_none},     {"clear", 2, cmd_none},        {"variable", 3, cmd_none},
    {"execute", 4, cmd_exec},    {"show", 3, cmd_show},         {"host", 2, cmd_host},
    {"disconnect", 4, cmd_none}, {"ttitle", 3, cmd_none},       {"break", 3, cmd_none},
};

static bool own_command(struct client *c, char *line)
{
    char word[32] = "";
    size_t n;

    sscanf(line, "%31s", word);
    word[strcspn(word, ";")] = 0;
    n = strlen(word);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *rest = strstr(line, word) + n, *end;

        if (n < commands[i].least || !starts(commands[i].name, word))
            continue;
        while (isspace((unsigned char)*rest))
            rest++;
        end = rest + strlen(rest);
        while (end > rest && (isspace((unsigned char)end[-1]) || end[-1] == ';'))
            *--end = 0;
        commands[i].run(c, rest);
        return true;
    }
    return false;
}

/* ---- reading ---- */

static void keep(struct client *c, const char *line)
{
    size_t n = strlen(line);

    if (c->len + n + 2 > c->cap) {
        c->cap = (c->len + n + 2) * 2;
        c->buf = realloc(c->buf, c->cap);
        if (!c->buf)
            die("out of memory");
    }
    memcpy(c->buf + c->len, line, n);
    c->len += n;
    c->buf[c->len++] = '\n';
    c->buf[c->len] = 0;
}

static void flush_sql(struct client *c)
{
    while (c->len && (isspace((unsigned char)c->buf[c->len - 1]) || c->buf[c->len - 1] == ';'))
        c->buf[--c->len] = 0;
    if (c->len)
        run_sql(c, c->buf);
    c->len = 0;
}

static bool plsql(const struct client *c)
{
    return starts(c->buf, "begin") || starts(c->buf, "declare") ||
           starts(c->buf, "create or replace") || starts(c->buf, "create procedure");
}

static void take_line(struct client *c, char *line)
{
    char *end = line + strlen(line), *p = line;
    bool semi;

    while (end > line && isspace((unsigned char)end[-1]))
        *--end = 0;
    while (isspace((unsigned char)*p))
        p++;
    semi = end > p && end[-1] == ';';
    if (c->echo)
        say(c, "SQL> %s\n", line);
    if (c->len == 0) {
        if (!*p || starts(p, "--") || starts(p, "/*") || own_command(c, p))
            return;
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ(", *p)) {
            say(c, "SP2-0042: unknown command \"%.60s\" - rest of line ignored.\n", p);
            return;
        }
        keep(c, p);
        if (semi && !plsql(c))
            flush_sql(c);
        return;
    }
    if (strcmp(p, "/") == 0 || (!*p && !plsql(c))) {
        if (*p)
            flush_sql(c);
        c->len = 0;
        return;
    }
    if (!starts(p, "--"))
        keep(c, line);
    if (semi && !plsql(c))
        flush_sql(c);
}

static void banner(const struct client *c)
{
    char day[32];
    struct sim s = c->s;

    ft_text(now_ft(&s), day);
    printf("\nSQL*Plus: Release %s - Production on %s\n", c->s.release, day);
    if (c->s.major >= 18)
        printf("Version %s\n", c->s.release);
    printf("\nCopyright (c) 1982, 2021, Oracle.  All rights reserved.\n\n");
}

static int arguments(struct client *c, int argc, char **argv, char *who, size_t n)
{
    who[0] = 0;
    for (int i = 1; i < argc; i++) {
        size_t at = strlen(who);

        if (same(argv[i], "-S") || same(argv[i], "-silent"))
            c->silent = true;
        else if (same(argv[i], "-V") || same(argv[i], "-version")) {
            banner(c);
            return 0;
        } else if (argv[i][0] == '-') {
            if (same(argv[i], "-M") || same(argv[i], "-R") || same(argv[i], "-C"))
                i++;
        } else {
            format_text(who + at, n - at, "%s%s", at ? " " : "", argv[i]);
        }
    }
    return -1;
}

int sqlplus_main(int argc, char **argv)
{
    struct client c = {.heading = true, .feedback = 6, .pagesize = 14, .linesize = 80};
    char who[PATH_LEN], *line = NULL;
    const char *home = getenv("ORACLE_HOME");
    size_t cap = 0;

    if (!home || !home[0]) {
        puts("Error 6 initializing SQL*Plus\nSP2-0667: Message file sp1<lang>.msb not found\n"
             "SP2-0750: You may need to set ORACLE_HOME to your Oracle software directory");
        return 1;
    }
    sim_find(&c.s, home, getenv("ORACLE_SID") ? getenv("ORACLE_SID") : "");
    if (arguments(&c, argc, argv, who, sizeof who) == 0)
        return 0;
    if (!c.silent)
        banner(&c);
    if (who[0] && !same(who, "/nolog")) {
        if (!attach(&c, who, false)) {
            sim_close(&c.s);
            return 1;
        }
        if (!c.silent)
            puts(c.s.have ? "\nConnected to:\nOracle Database\n"
                          : "Connected to an idle instance.\n");
    }
    while (!c.leave && getline(&line, &cap, stdin) > 0)
        take_line(&c, line);
    if (!c.leave && c.len)
        flush_sql(&c);
    if (c.s.db)
        x(&c.s, "delete from main.sessions where pid=?", "i", (int64_t)getpid());
    if (!c.silent)
        puts("Disconnected from Oracle Database");
    if (c.spool)
        fclose(c.spool);
    sim_close(&c.s);
    free(line);
    free(c.buf);
    return c.exit_code;
}
