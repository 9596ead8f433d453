/* One backup run on the database host: its tools, its log, its facts. */
#include "agent/shim/run.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/sys.h"
#include "agent/shim/progress.h"
#include "evercopy/v1/backups.pb-c.h"
#include <inttypes.h>
#include <poll.h>
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
    AGAIN_MS = 15000,
    LOG_CALL_MS = 5000,
    PULSE_MS = 5000, /* renews the lease, and is how a silent run hears that it is to stop */
    SAY_MAX = 1200,
    AWAY_FIRST_MS = 500, /* then doubled */
    AWAY_MOST_MS = 10000,
    MINUTE_MS = 60000,
    STREAM_LINES = 2 * SPOOL_BATCH_LINES, /* from here on a stream is worth its while */
    STREAM_MS = 5000
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

bool run_stopped(const struct run *run, struct err *err)
{
    if (run->cancelled_by[0])
        return err_set(err, ERR_CANCELLED, "cancelled by %s", run->cancelled_by);
    return err_set(err, ERR_CANCELLED, "stopped by a signal");
}

void run_note_cancel(struct run *run, const char *who)
{
    if (run->cancelled_by[0] || !who[0])
        return;
    IGNORE(!str_copy(run->cancelled_by, sizeof run->cancelled_by, who)); /* cut is fine */
    stop_signal = SIGTERM;
}

void run_done(struct run *run)
{
    facts_free(run->facts);
    facts_free(run->before);
    rmanlog_free(run->log);
    rows_logs_done(&run->copied);
    rows_logs_done(&run->holes);
    own_free(run->suspects);
    spool_free(run->spool);
    own_free(run->batch);
    *run = (struct run){0};
}

/* ---- processes ---- */

uint64_t run_process_start(uint32_t pid)
{
    char text[1024];
    char path[32];
    struct err why = {0};
    str_format(path, sizeof path, "/proc/%" PRIu32 "/stat", pid);
    AUTO(fd) int fd = sys_open(path, 0, 0, &why);
    ssize_t n = fd >= 0 ? sys_pread(fd, text, sizeof text - 1, 0, path, &why) : -1;
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *field = strrchr(text, ')');
    for (int i = 0; field && i < 20; i++)
        field = strchr(field + 1, ' ');
    return field ? strtoull(field, NULL, 10) : 0;
}

void run_process_space(char ret[80])
{
    char boot[40] = "";
    char space[32] = "";
    struct err why = {0};
    AUTO(fd) int fd = sys_open("/proc/sys/kernel/random/boot_id", 0, 0, &why);
    ssize_t n = fd >= 0 ? sys_pread(fd, boot, sizeof boot - 1, 0, "boot id", &why) : -1;
    boot[n > 36 ? 36 : 0] = '\0';
    n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[n > 0 ? n : 0] = '\0';
    if (!boot[0] || !space[0] || !str_format(ret, 80, "%s %s", boot, space))
        ret[0] = '\0';
}

/* ---- the log ---- */

bool run_keep_log(struct run *run, struct err *err)
{
    run->batch = own_alloc(sizeof *run->batch, err);
    run->spool = run->batch ? spool_new(run->shim->db->spoolmax_mib << 20, err) : NULL;
    return run->spool != NULL;
}

/* A run goes on without a spool on disk: what waits is kept in memory then. */
void run_attach_log(struct run *run)
{
    struct spool_id id = {.token = run->token};
    struct err why = {0};
    IGNORE(!str_copy(id.database, sizeof id.database, run->shim->db->name));
    IGNORE(!str_copy(id.job, sizeof id.job, run->job));
    if (!spool_attach(run->spool, run->shim->db->spool, &id, &why))
        run_say(run, "the log waits in memory only: %s", why.text);
}

static void keep_line(struct run *run, const char *text, size_t len)
{
    if (!run->spool)
        return;
    spool_add(run->spool, text, len);
    uint64_t wait_ms = run->agent_gone ? AGAIN_MS : FLUSH_MS;
    if (run->job[0] && ((spool_waiting(run->spool) >= SPOOL_BATCH_LINES && !run->agent_gone) ||
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

/* The next batch, as the wire wants it; owned. */
static ProtobufCBinaryData *read_batch(struct run *run, struct err *err)
{
    struct spool_batch *batch = run->batch;
    AUTO(mem) ProtobufCBinaryData *lines = own_alloc(sizeof *lines * SPOOL_BATCH_LINES, err);
    if (!lines || !spool_read(run->spool, batch, err))
        return NULL;
    for (size_t i = 0; i < batch->count; i++)
        lines[i] = (ProtobufCBinaryData){batch->lines[i].len, (uint8_t *)batch->lines[i].text};
    return TAKE(lines);
}

static bool send_batch(struct run *run, struct err *err)
{
    struct spool_batch *batch = run->batch;
    spool_rewind(run->spool);
    AUTO(mem) ProtobufCBinaryData *lines = read_batch(run, err);
    if (!lines)
        return false;
    Evercopy__V1__AppendLogRequest request = EVERCOPY__V1__APPEND_LOG_REQUEST__INIT;
    request.job = run->job;
    request.fencing_token = run->token;
    request.first_line = batch->first;
    request.lines = lines;
    request.n_lines = batch->count;
    request.late = run->ended;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(run->shim, "Backups", "AppendLog", &request.base,
                  &evercopy__v1__append_log_reply__descriptor, LOG_CALL_MS, err);
    if (!message && (err->code == ERR_LIMIT || err->code == ERR_QUOTA))
        spool_close(run->spool); /* the agent's own bounds on a job's log */
    if (!message)
        return false;
    const Evercopy__V1__AppendLogReply *reply = (const void *)message;
    spool_acked(run->spool, reply->next_line);
    run_note_cancel(run, reply->cancelled_by);
    return true;
}

/* What has piled up goes as one stream: each message is kept before the next is taken, so nothing
 * waits for an answer in between. The tool's pipe is not left alone for long. */
static bool send_stream(struct run *run, struct err *err)
{
    uint64_t deadline = clock_mono_ms() + STREAM_MS;
    AUTO(rpc_upload)
    struct rpc_upload *upload =
        rpc_client_upload(run->shim->client, "evercopy.v1.Backups", "UploadLog",
                          &evercopy__v1__upload_log_reply__descriptor, err);
    spool_rewind(run->spool);
    while (upload && clock_mono_ms() < deadline) {
        Evercopy__V1__UploadLogRequest request = EVERCOPY__V1__UPLOAD_LOG_REQUEST__INIT;
        AUTO(mem) ProtobufCBinaryData *lines = read_batch(run, err);
        if (!lines)
            return false;
        if (!run->batch->count)
            break;
        request.job = run->job;
        request.fencing_token = run->token;
        request.first_line = run->batch->first;
        request.lines = lines;
        request.n_lines = run->batch->count;
        if (!rpc_upload_send(upload, &request.base, LOG_CALL_MS, err))
            return false;
    }
    AUTO(reply)
    ProtobufCMessage *message = upload ? rpc_upload_finish(upload, LOG_CALL_MS, err) : NULL;
    if (!message)
        return false;
    spool_acked(run->spool, ((Evercopy__V1__UploadLogReply *)message)->next_line);
    return true;
}

void run_flush(struct run *run)
{
    struct err err = {0};
    if (!run->job[0] || !run->spool)
        return;
    run->sent_ms = clock_mono_ms();
    run->agent_gone = false;
    while (spool_waiting(run->spool) && !run->agent_gone) {
        uint64_t before = spool_waiting(run->spool);
        if (before > STREAM_LINES && !run->ended && send_stream(run, &err) &&
            spool_waiting(run->spool) < before)
            continue;
        err_clear(&err);
        run->agent_gone = !send_batch(run, &err) || spool_waiting(run->spool) == before;
    }
    run->sent_ms = clock_mono_ms();
}

/* ---- an agent that is away ---- */

/* Sleeps; a signal wakes it. */
static void pause_ms(uint64_t ms) { IGNORE(poll(NULL, 0, (int)ms) < 0); }

static void tell_away(struct run *run, const struct err *why, uint64_t wait_ms)
{
    run->agent_gone = true; /* so that saying it does not try once more */
    run->sent_ms = clock_mono_ms();
    run_say(run, "waiting for the agent, up to %" PRIu64 " s: %s", wait_ms / 1000, why->text);
}

ProtobufCMessage *run_call_within(struct run *run, const char *service, const char *method,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                                  uint64_t wait_ms, bool patient, struct err *err)
{
    uint64_t begun = clock_mono_ms();
    uint64_t pause = AWAY_FIRST_MS;
    for (bool told = false;; told = true) {
        ProtobufCMessage *reply =
            shim_call(run->shim, service, method, request, output, timeout_ms, err);
        uint64_t spent = clock_mono_ms() - begun;
        if (reply && told)
            run_say(run, "the agent is back after %" PRIu64 " s", spent / 1000);
        if (reply || err->code != ERR_UNAVAILABLE || spent >= wait_ms)
            return reply;
        if (!told)
            tell_away(run, err, wait_ms);
        err_clear(err);
        pause_ms(pause < wait_ms - spent ? pause : wait_ms - spent);
        pause = pause * 2 < AWAY_MOST_MS ? pause * 2 : AWAY_MOST_MS;
        if (!patient && run_is_stopped(run)) {
            run_stopped(run, err);
            return NULL;
        }
    }
}

ProtobufCMessage *run_call(struct run *run, const char *service, const char *method,
                           const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                           struct err *err)
{
    return run_call_within(run, service, method, request, output, timeout_ms,
                           run->shim->db->agentwait_s * 1000, false, err);
}

/* ---- while a tool is on ---- */

static void tell_alarm(struct run *run, const char *text)
{
    Evercopy__V1__ReportPhaseRequest request = EVERCOPY__V1__REPORT_PHASE_REQUEST__INIT;
    struct err err = {0};
    run_say(run, "%s", text);
    if (!run->job[0])
        return;
    request.job = run->job;
    request.fencing_token = run->token;
    request.phase = (char *)run->phase;
    request.alarm = (char *)text;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(run->shim, "Backups", "ReportPhase", &request.base,
                  &evercopy__v1__report_phase_reply__descriptor, LOG_CALL_MS, &err);
    run->agent_gone = !reply; /* the line stands in the log, which comes later */
}

static void watch_silence(struct run *run)
{
    char text[160];
    uint64_t limit = run->shim->db->rmansilent_min * MINUTE_MS;
    uint64_t silent = clock_mono_ms() - run->heard_ms;
    if (!limit || !run->heard_ms || run->silence_told || silent < limit)
        return;
    run->silence_told = true;
    IGNORE(!str_format(text, sizeof text, "RMAN has said nothing for %" PRIu64 " minutes in %s",
                       silent / MINUTE_MS, run->phase));
    tell_alarm(run, text);
}

/* Asked several times a second while a tool runs: RMAN may copy for hours without a word, and the
 * lease must not run out under it. An empty batch renews it. */
static bool run_watch(void *arg)
{
    struct run *run = arg;
    struct err err = {0};
    if (run->job[0] && run->spool && clock_mono_ms() - run->sent_ms > PULSE_MS) {
        run_flush(run);
        if (!run->agent_gone)
            run->agent_gone = !send_batch(run, &err);
    }
    watch_silence(run);
    if (run->while_on)
        run->while_on(run->while_on_arg);
    uint64_t deadline = run->shim->db->rmandeadline_min * MINUTE_MS;
    run->hung |= deadline && run->heard_ms && clock_mono_ms() - run->heard_ms >= deadline;
    return run_waits(run) || run->hung;
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
    struct run *run = arg;
    (void)meaning;
    run->heard_ms = clock_mono_ms();
    run->silence_told = false;
    keep_line(run, line, len);
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

/* Stopping the client does not end the server's processes at once: which ones are there? */
static void name_sessions(struct run *run)
{
    AUTO(rows_channels) struct rows_channels channels = {0};
    struct err why = {0};
    if (!run_sql(run, "channels.sql", NULL, rows_channels, &channels, &why)) {
        run_say(run, "which RMAN sessions live on is not known: %s", why.text);
        return;
    }
    for (size_t i = 0; i < channels.count; i++) {
        const struct rows_channel *c = &channels.items[i];
        run_say(run, "still in V$SESSION: sid %" PRIu32 " serial %" PRIu32 " (%s)", c->sid,
                c->serial, c->client_info);
    }
    if (channels.count)
        IGNORE(!str_format(run->next, sizeof run->next,
                           "%zu sessions live on; alter system kill session '%" PRIu32 ",%" PRIu32
                           "' when they do not end",
                           channels.count, channels.items[0].sid, channels.items[0].serial));
}

static bool tell_hung(struct run *run, struct err *err)
{
    run->hung = false;
    err_clear(err);
    err_set(err, ERR_TIMEOUT, "RMAN said nothing for %" PRIu64 " minutes and was stopped",
            run->shim->db->rmandeadline_min);
    tell_alarm(run, err->text);
    name_sessions(run);
    return false;
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
    run->heard_ms = clock_mono_ms();
    run->silence_told = run->hung = false;
    run->tool = template_name;
    bool ok = script && rman_run(&rman, script, run->log, err);
    run->tool = "";
    run->heard_ms = 0;
    run_flush(run);
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    if (!ok && err->code == ERR_EXTERNAL && said->action && said->action[0])
        IGNORE(!str_copy(run->next, sizeof run->next, said->action));
    if (!ok && err->code == ERR_CANCELLED && run->hung)
        return tell_hung(run, err);
    if (!ok && err->code == ERR_CANCELLED && run->cancelled_by[0])
        return run_stopped(run, err);
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
