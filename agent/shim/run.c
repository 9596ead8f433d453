/* One backup run on the database host: its tools, its log, its facts. */
#include "agent/shim/run.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/shim/progress.h"
#include "evercopy/v1/backups.pb-c.h"
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SQL_DEADLINE_MS = 300000,
    FLUSH_MS = 2000,
    AGAIN_MS = 60000,
    LOG_CALL_MS = 5000,
    PULSE_MS = 60000,
    SAY_MAX = 1200
};

static volatile sig_atomic_t stop_signal;

static void on_stop(int signal_no) { stop_signal = signal_no; }

bool run_is_stopped(void *arg)
{
    (void)arg;
    return stop_signal != 0;
}

void run_forget_stop(void) { stop_signal = 0; }

void run_catch_signals(void)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action = {.sa_handler = on_stop};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

void run_done(struct run *run)
{
    facts_free(run->facts);
    facts_free(run->before);
    rmanlog_free(run->log);
    rows_logs_done(&run->copied);
    rows_logs_done(&run->holes);
    own_free(run->suspects);
    for (size_t i = 0; i < run->line_count; i++)
        own_free(run->lines[i]);
    own_free(run->lines);
    *run = (struct run){0};
}

/* ---- the log ---- */

static void keep_line(struct run *run, const char *text, size_t len)
{
    struct err err = {0};
    if (run->line_count >= RUN_LINES_MAX || !own_grow((void **)&run->lines, &run->line_capacity,
                                                      run->line_count, sizeof *run->lines, &err))
        return; /* the log is cut, the run goes on */
    char *copy = own_strndup(text, len, &err);
    if (copy)
        run->lines[run->line_count++] = copy;
    uint64_t wait_ms = run->agent_gone ? AGAIN_MS : FLUSH_MS;
    if (run->job[0] && ((run->line_count >= RUN_BATCH_LINES && !run->agent_gone) ||
                        clock_mono_ms() - run->sent_ms > wait_ms))
        run_flush(run);
}

void run_say(struct run *run, const char *fmt, ...)
{
    char text[SAY_MAX];
    char now[32];
    va_list args;
    va_start(args, fmt);
    IGNORE(vsnprintf(text, sizeof text, fmt, args) < 0); /* a cut line still tells */
    va_end(args);
    clock_format_utc(clock_wall_us(), now);
    progress_clear();
    if (!run->shim->options->quiet && !run->shim->options->json)
        printf("%.9s  %s\n", now + 11, text);
    IGNORE(fflush(stdout));
    char line[SAY_MAX + 64];
    IGNORE(!str_format(line, sizeof line, "%s evercopy: %s", now, text));
    keep_line(run, line, strlen(line));
}

static void drop_sent(struct run *run, uint64_t next_line)
{
    size_t sent = next_line > run->first_line ? (size_t)(next_line - run->first_line) : 0;
    if (sent > run->line_count)
        sent = run->line_count;
    for (size_t i = 0; i < sent; i++)
        own_free(run->lines[i]);
    memmove(run->lines, run->lines + sent, (run->line_count - sent) * sizeof *run->lines);
    run->line_count -= sent;
    run->first_line += sent;
}

static bool send_batch(struct run *run, struct err *err)
{
    ProtobufCBinaryData batch[RUN_BATCH_LINES];
    size_t count = run->line_count < RUN_BATCH_LINES ? run->line_count : RUN_BATCH_LINES;
    for (size_t i = 0; i < count; i++)
        batch[i] = (ProtobufCBinaryData){strlen(run->lines[i]), (uint8_t *)run->lines[i]};
    Evercopy__V1__AppendLogRequest request = EVERCOPY__V1__APPEND_LOG_REQUEST__INIT;
    request.job = run->job;
    request.fencing_token = run->token;
    request.first_line = run->first_line;
    request.lines = batch;
    request.n_lines = count;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(run->shim, "Backups", "AppendLog", &request.base,
                  &evercopy__v1__append_log_reply__descriptor, LOG_CALL_MS, err);
    if (!reply)
        return false;
    drop_sent(run, ((Evercopy__V1__AppendLogReply *)reply)->next_line);
    return true;
}

void run_flush(struct run *run)
{
    struct err err = {0};
    if (!run->job[0])
        return;
    run->sent_ms = clock_mono_ms();
    run->agent_gone = false;
    while (run->line_count && !run->agent_gone) {
        size_t before = run->line_count;
        run->agent_gone = !send_batch(run, &err) || run->line_count == before;
    }
    run->sent_ms = clock_mono_ms();
}

/* Asked several times a second while a tool runs: RMAN may copy for hours without a word, and the
 * lease must not run out under it. An empty batch renews it. */
static bool run_watch(void *arg)
{
    struct run *run = arg;
    struct err err = {0};
    if (run->job[0] && clock_mono_ms() - run->sent_ms > PULSE_MS) {
        run_flush(run);
        if (!run->agent_gone)
            run->agent_gone = !send_batch(run, &err);
    }
    return run_waits(run);
}

/* Files merged are what a long phase moves by; the rest is phases. */
bool run_waits(void *arg)
{
    const struct run *run = arg;
    char text[200];
    char files[64] = "";
    const struct rmanlog_facts *said = run->log ? rmanlog_facts(run->log) : NULL;
    size_t merged = said ? said->merged.count : 0;
    size_t all = run->before ? run->before->file_count : 0;
    bool merges = run->phase && str_equal(run->phase, "merge") && all;
    if (merges)
        IGNORE(!str_format(files, sizeof files, ", %zu of %zu files", merged, all));
    IGNORE(!str_format(text, sizeof text, "%s%s%s%s", run->phase ? run->phase : "",
                       run->tool && run->tool[0] ? ": " : "", run->tool ? run->tool : "", files));
    uint64_t part = merges && merged < all ? merged * 100 / all : 0;
    progress_show(text, run->step * 100 + part, run->steps * 100);
    return run_is_stopped(arg);
}

/* ---- tools ---- */

static void on_sql_line(void *arg, const char *line, size_t len)
{
    if (len)
        keep_line(arg, line, len);
}

static void on_rman_line(void *arg, const char *line, size_t len,
                         const struct rmanlog_line *meaning)
{
    (void)meaning;
    keep_line(arg, line, len);
}

bool run_sql(struct run *run, const char *template_name, const struct template_vars *vars,
             bool (*row)(void *arg, char *row, struct err *err), void *row_arg, struct err *err)
{
    const char *dir = run->shim->db->templates;
    AUTO(mem) char *script = template_render(dir, template_name, vars, err);
    struct sqlplus sqlplus = {
        .home = &run->home,
        .templates = dir,
        .deadline_ms = SQL_DEADLINE_MS,
        .line = on_sql_line,
        .cancelled = run_watch,
        .arg = run,
    };
    run->tool = template_name;
    bool ok = script && sqlplus_run(&sqlplus, script, row, row_arg, err);
    run->tool = "";
    return ok;
}

bool run_rman(struct run *run, const char *template_name, const struct template_vars *vars,
              struct err *err)
{
    AUTO(mem) char *script = template_render(run->shim->db->templates, template_name, vars, err);
    struct rman rman = {
        .home = &run->home,
        .line = on_rman_line,
        .cancelled = run_watch,
        .arg = run,
    };
    if (!run->log && !(run->log = rmanlog_new(err)))
        return false;
    run->tool = template_name;
    bool ok = script && rman_run(&rman, script, run->log, err);
    run->tool = "";
    run_flush(run);
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    if (!ok && err->code == ERR_EXTERNAL && said->action && said->action[0])
        IGNORE(!str_copy(run->next, sizeof run->next, said->action));
    return ok;
}

struct template_vars *run_vars(struct run *run, struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = template_vars_new(err);
    const struct config_database *db = run->shim->db;
    bool multitenant = run->probe.major >= 12;
    if (!vars || !template_vars_text(vars, "run", run->job[0] ? run->job : "probe", err) ||
        !template_vars_text(vars, "area", db->area, err) ||
        !template_vars_text(vars, "tag", db->tag, err) ||
        !template_vars_text(vars, "cf_tag", "EVERCOPY_CF", err) ||
        !template_vars_flag(vars, "cdb", multitenant, err) ||
        !template_vars_flag(vars, "noncdb", !multitenant, err))
        return NULL;
    return TAKE(vars);
}

bool run_probe_home(struct run *run, struct err *err)
{
    const char *oratab = run->shim->options->oratab;
    return oratab_resolve(run->shim->config, run->shim->db, oratab ? oratab : ORATAB_PATH,
                          &run->home, err);
}

bool run_probe(struct run *run, struct err *err)
{
    return run_probe_home(run, err) &&
           run_sql(run, "probe.sql", NULL, rows_probe, &run->probe, err);
}

/* "Europe/Vienna", by where /etc/localtime points; "" when it does not tell. */
static void host_zone(char ret[64])
{
    char target[256];
    ssize_t n = readlink("/etc/localtime", target, sizeof target - 1);
    ret[0] = '\0';
    if (n <= 0)
        return;
    target[n] = '\0';
    const char *name = strstr(target, "zoneinfo/");
    if (name)
        IGNORE(!str_copy(ret, 64, name + strlen("zoneinfo/")));
}

/* The configured zone; else this host's, if it agrees with what the database says of its offset. */
static void name_zone(const struct run *run, struct facts *facts)
{
    time_t now = time(NULL);
    struct tm local;
    int offset_min = facts->moments[facts->moment_count - 1].offset_min;
    if (run->shim->db->zone[0])
        str_copy(facts->zone_name, sizeof facts->zone_name, run->shim->db->zone);
    else if (localtime_r(&now, &local) && local.tm_gmtoff == (long)offset_min * 60)
        host_zone(facts->zone_name);
}

static bool carry_moments(struct facts *facts, const struct facts *earlier, struct err *err)
{
    for (size_t i = 0; earlier && i < earlier->moment_count; i++) {
        if (!own_grow((void **)&facts->moments, &facts->moment_capacity, facts->moment_count,
                      sizeof *facts->moments, err))
            return false;
        facts->moments[facts->moment_count++] = earlier->moments[i];
    }
    return true;
}

struct facts *run_facts(struct run *run, const char *phase, const struct facts *earlier,
                        struct err *err)
{
    AUTO(facts) struct facts *facts = facts_new(err);
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    if (!facts || !vars || !carry_moments(facts, earlier, err))
        return NULL;
    IGNORE(!str_copy(facts->run, sizeof facts->run, run->job));
    IGNORE(!str_copy(facts->phase, sizeof facts->phase, phase));
    IGNORE(!str_copy(facts->release, sizeof facts->release, run->probe.version));
    IGNORE(!str_copy(facts->edition, sizeof facts->edition, run->probe.edition));
    if (gethostname(facts->shim_host, sizeof facts->shim_host - 1) != 0)
        facts->shim_host[0] = '\0';
    if (!run_sql(run, "facts.sql", vars, rows_facts, facts, err) || !rows_facts_end(facts, err))
        return NULL;
    name_zone(run, facts);
    return TAKE(facts);
}
