/* SQL*Plus: a script in, its EC| rows and its log out. */
#include "agent/shim/sqlplus.h"

#include "agent/base/exec.h"
#include "agent/base/str.h"
#include "agent/shim/rmanlog.h"
#include "agent/shim/template.h"
#include <string.h>

enum { ROW_MAX = 4000, PATH_SIZE = 600, GRACE_MS = 30000 };

struct talk {
    const struct sqlplus *sqlplus;
    bool (*row)(void *arg, char *row, struct err *err);
    void *row_arg;
    struct rmanlog *errors; /* SQL*Plus prints the same stacks as RMAN */
    struct err row_err;
};

static void take_row(struct talk *talk, const char *text, size_t len, bool cut)
{
    if (talk->row_err.code || !talk->row)
        return;
    char row[ROW_MAX + 1];
    if (cut || memchr(text, '\0', len)) {
        err_set(&talk->row_err, ERR_EXTERNAL, "a row of SQL*Plus is too long or holds a NUL byte");
        return;
    }
    memcpy(row, text, len);
    row[len] = '\0';
    if (!talk->row(talk->row_arg, row, &talk->row_err) && !talk->row_err.code)
        err_set(&talk->row_err, ERR_INTERNAL, "row refused without a reason");
}

static void on_line(void *arg, const char *line, size_t len)
{
    struct talk *talk = arg;
    bool cut = len >= ROW_MAX - 1; /* exec keeps no more of a line */
    while (len && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    if (len >= 3 && !memcmp(line, "EC|", 3)) {
        take_row(talk, line + 3, len - 3, cut);
        return;
    }
    rmanlog_feed(talk->errors, line, len, NULL);
    if (talk->sqlplus->line)
        talk->sqlplus->line(talk->sqlplus->arg, line, len);
}

static bool on_cancelled(void *arg)
{
    const struct talk *talk = arg;
    return talk->sqlplus->cancelled && talk->sqlplus->cancelled(talk->sqlplus->arg);
}

/* Exit code 0 with an error line is a failure too: WHENEVER does not watch SQL*Plus's own commands.
 */
static bool judge(const struct exec_result *result, struct talk *talk, struct err *err)
{
    const struct rmanlog_facts *facts = rmanlog_facts(talk->errors);
    const char *cause = *facts->cause ? facts->cause : "no error message";
    if (result->cancelled)
        return err_set(err, ERR_CANCELLED, "SQL*Plus was stopped on request");
    if (result->timed_out)
        return err_set(err, ERR_TIMEOUT, "SQL*Plus did not end within %llu s",
                       (unsigned long long)(talk->sqlplus->deadline_ms / 1000));
    if (result->signal_no)
        return err_set(err, ERR_EXTERNAL, "SQL*Plus was ended by signal %d: %s", result->signal_no,
                       cause);
    if (result->exit_code || facts->error_count)
        return err_set(err, ERR_EXTERNAL, "%s (SQL*Plus ended with exit code %d)", cause,
                       result->exit_code);
    if (talk->row_err.code) {
        *err = talk->row_err;
        return false;
    }
    return true;
}

static char *build_input(const struct sqlplus *sqlplus, const char *script, struct err *err)
{
    AUTO(mem) char *preamble = template_render(sqlplus->templates, "preamble.sql", NULL, err);
    return preamble ? own_printf(err, "%s%s\nexit\n", preamble, script) : NULL;
}

bool sqlplus_run(const struct sqlplus *sqlplus, const char *script,
                 bool (*row)(void *arg, char *row, struct err *err), void *row_arg, struct err *err)
{
    AUTO(oratab_env) struct oratab_env env = {0};
    AUTO(rmanlog) struct rmanlog *errors = rmanlog_new(err);
    AUTO(mem) char *input = build_input(sqlplus, script, err);
    char path[PATH_SIZE];
    struct oratab_home home = *sqlplus->home;
    if (sqlplus->connect)
        *home.sid = '\0';
    if (!errors || !input || !oratab_program(&home, "sqlplus", path, sizeof path, err) ||
        !oratab_env_init(&env, &home, err))
        return false;
    struct talk talk = {.sqlplus = sqlplus, .row = row, .row_arg = row_arg, .errors = errors};
    const char *connect = sqlplus->connect ? sqlplus->connect : "/ as sysdba";
    const char *const argv[] = {path, "-S", "-L", connect, NULL};
    struct exec exec = {
        .argv = argv,
        .envp = env.envp,
        .input = input,
        .input_len = strlen(input),
        .deadline_ms = sqlplus->deadline_ms,
        .grace_ms = sqlplus->grace_ms ? sqlplus->grace_ms : GRACE_MS,
        .line = on_line,
        .cancelled = on_cancelled,
        .arg = &talk,
    };
    struct exec_result result = {0};
    if (!exec_run(&exec, &result, err))
        return err_wrap(err, "oraclehome from %s", home.origin);
    return judge(&result, &talk, err);
}
