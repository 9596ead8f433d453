/* RMAN: a script in, a classified log out. */
#include "agent/shim/rman.h"

#include "agent/base/exec.h"
#include "agent/base/str.h"
#include <string.h>

enum { PATH_SIZE = 600, GRACE_MS = 60000 };

struct talk {
    const struct rman *rman;
    struct rmanlog *log;
};

static void on_line(void *arg, const char *line, size_t len)
{
    struct talk *talk = arg;
    struct rmanlog_line meaning;
    rmanlog_feed(talk->log, line, len, &meaning);
    if (talk->rman->line)
        talk->rman->line(talk->rman->arg, line, len, &meaning);
}

static bool on_cancelled(void *arg)
{
    const struct talk *talk = arg;
    return talk->rman->cancelled && talk->rman->cancelled(talk->rman->arg);
}

/* "Recovery Manager complete." is printed on failure too, so only exit code and stacks count. */
static bool judge(const struct exec_result *result, const struct talk *talk, struct err *err)
{
    const struct rmanlog_facts *facts = rmanlog_facts(talk->log);
    const char *cause = *facts->cause ? facts->cause : "no error message";
    if (result->cancelled)
        return err_set(err, ERR_CANCELLED, "RMAN was stopped on request");
    if (result->timed_out)
        return err_set(err, ERR_TIMEOUT, "RMAN did not end within %llu s",
                       (unsigned long long)(talk->rman->deadline_ms / 1000));
    if (result->signal_no)
        return err_set(err, ERR_EXTERNAL, "RMAN was ended by signal %d: %s", result->signal_no,
                       cause);
    if (!result->exit_code && !facts->error_count)
        return rmanlog_ok(talk->log, err);
    return err_set(err, ERR_EXTERNAL, "%s (RMAN ended with exit code %d)", cause,
                   result->exit_code);
}

bool rman_run(const struct rman *rman, const char *script, struct rmanlog *log, struct err *err)
{
    AUTO(oratab_env) struct oratab_env env = {0};
    AUTO(mem) char *input = own_printf(err, "set echo on;\n%s\nexit;\n", script);
    char path[PATH_SIZE];
    if (!input || !oratab_program(rman->home, "rman", path, sizeof path, err) ||
        !oratab_env_init(&env, rman->home, err))
        return false;
    rmanlog_session(log);
    struct talk talk = {rman, log};
    const char *const argv[] = {path, "target", "/", NULL};
    struct exec exec = {
        .argv = argv,
        .envp = env.envp,
        .input = input,
        .input_len = strlen(input),
        .deadline_ms = rman->deadline_ms,
        .grace_ms = rman->grace_ms ? rman->grace_ms : GRACE_MS,
        .line = on_line,
        .cancelled = on_cancelled,
        .arg = &talk,
    };
    struct exec_result result = {0};
    if (!exec_run(&exec, &result, err))
        return err_wrap(err, "oraclehome from %s", rman->home->origin);
    return judge(&result, &talk, err);
}
