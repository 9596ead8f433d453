/* The caller of hooks: finds them, judges whose they are, runs them, tells how they ended. */
#include "firmware-hooks/hooks.h"

#include "agent/base/clock.h"
#include "agent/base/exec.h"
#include "agent/base/log.h"
#include "agent/base/sys.h"
#include "firmware-hooks/reply.h"
#include "firmware-hooks/trust.h"
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
    HOOKS_MAX = 32,        /* of one event */
    LINES_MAX = 50,        /* of one call, in the log */
    OUTPUT_MAX = 16 << 20, /* bytes of one call; more ends it */
    GRACE_MS = 2000,       /* from the interrupt to the kill */
    AGAIN_MS = 5000,       /* after "later", unless the hook says when */
    PAUSE_MS = 100,
    EXIT_LATER = 1,
};

static const struct hooks_event events[] = {
    {"snapshot.before", true, true, "a snapshot is about to be taken"},
    {"snapshot.after", false, true, "it was taken, or will not be"},
    {"job.end", false, false, "a job of any kind has ended"},
    {"verdict.change", false, false, "a database stands better or worse than before"},
    {"capacity.low", false, false, "a volume has little room left"},
    {"clone.made", false, false, "a clone can be mounted"},
    {"clone.expired", false, false, "a clone's time is over"},
    {"boot.recovered", false, false, "the agent started and finished or swept what it found"},
    {"run.overdue", false, false, "a backup run was expected and did not come"},
    {"retention.applied", false, false, "snapshots were deleted by plan"},
    {"retention.refused", false, false, "automatic retention did not begin"},
};

const struct hooks_event *hooks_events(size_t *ret_count)
{
    *ret_count = sizeof events / sizeof *events;
    return events;
}

const struct hooks_event *hooks_event_find(const char *name)
{
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (str_equal(events[i].name, name))
            return &events[i];
    return NULL;
}

/* ---- one call of one hook ---- */

struct calling {
    const struct hooks_call *call;
    const char *path; /* for messages */
    struct reply reply;
    size_t lines;
};

static void on_line(void *arg, const char *line, size_t len)
{
    struct calling *c = arg;
    IGNORE(reply_line(&c->reply, line, len)); /* in the log either way */
    if (c->lines++ < LINES_MAX)
        log_info("hook says: %.*s hook=%s", (int)(len < 1000 ? len : 1000), line, c->path);
}

static bool is_cancelled(void *arg)
{
    const struct calling *c = arg;
    return c->call->cancelled && c->call->cancelled(c->call->arg);
}

/* What is left for this call: its deadline, or less when the whole event's time ends before. */
static uint64_t time_left_ms(const struct hooks_call *call)
{
    uint64_t now = clock_mono_ms();
    uint64_t left = call->config->deadline_ms;
    if (call->until_ms && call->until_ms <= now)
        return 0;
    if (call->until_ms && call->until_ms - now < left)
        left = call->until_ms - now;
    return left;
}

static void tell_end(const struct calling *c, const struct exec_result *r, const char *answer)
{
    const char *said = c->reply.message;
    if (c->lines > LINES_MAX)
        log_warning("hook said %zu lines more, they are dropped hook=%s", c->lines - LINES_MAX,
                    c->path);
    if (!answer)
        log_info("hook ended%s%s hook=%s", *said ? ": " : "", said, c->path);
    else
        log_warning("hook %s, going on%s%s hook=%s exit=%d signal=%d", answer, *said ? ": " : "",
                    said, c->path, r->exit_code, r->signal_no);
}

enum outcome { GOES_ON, LATER, FAILED, STOPPED };

static enum outcome judge(const struct calling *c, const struct exec_result *r)
{
    const char *answer = NULL;
    enum outcome outcome = FAILED;
    if (r->timed_out)
        answer = "was ended at its deadline";
    else if (r->flooded)
        answer = "was ended: it wrote too much";
    else if (r->cancelled)
        answer = "was ended: the agent stops";
    else if (r->signal_no)
        answer = "crashed";
    else if (r->exit_code == EXIT_LATER && c->call->event->may_delay)
        return LATER;
    else if (r->exit_code)
        answer = "failed";
    else
        outcome = GOES_ON;
    tell_end(c, r, answer);
    return r->cancelled ? STOPPED : outcome;
}

static enum outcome call_once(struct calling *c, const char *const *argv)
{
    char event[64];
    const char *envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", event, NULL};
    struct exec_result result = {0};
    struct err err = {0};
    IGNORE(!str_format(event, sizeof event, "EVERCOPY_EVENT=%s", c->call->event->name));
    struct exec exec = {
        .argv = argv,
        .envp = envp,
        .input = c->call->input,
        .input_len = c->call->input_len,
        .deadline_ms = time_left_ms(c->call),
        .grace_ms = GRACE_MS,
        .output_max = OUTPUT_MAX,
        .end_group = true,
        .line = on_line,
        .cancelled = is_cancelled,
        .arg = c,
    };
    c->lines = 0;
    c->reply = (struct reply){0};
    if (!exec.deadline_ms || is_cancelled(c))
        return STOPPED;
    if (exec_run(&exec, &result, &err))
        return judge(c, &result);
    log_warning("hook cannot be started, going on: %s hook=%s", err.text, c->path);
    return FAILED;
}

/* Until the hook may be asked again; false when the time is over. */
static bool pause_for(const struct calling *c)
{
    uint64_t ms = c->reply.again_ms ? c->reply.again_ms : AGAIN_MS;
    uint64_t end = clock_mono_ms() + ms;
    if (c->call->until_ms && end >= c->call->until_ms)
        return false;
    for (uint64_t now; (now = clock_mono_ms()) < end;) {
        if (is_cancelled((void *)c))
            return false;
        uint64_t part = end - now < PAUSE_MS ? end - now : PAUSE_MS;
        IGNORE(poll(NULL, 0, (int)part) < 0);
    }
    return true;
}

static void call_hook(const struct hooks_call *call, const char *const *argv, const char *path,
                      struct hooks_result *result)
{
    struct calling c = {.call = call, .path = path};
    enum outcome outcome = call_once(&c, argv);
    result->called += outcome != STOPPED;
    while (outcome == LATER) {
        log_info("hook asks to wait%s%s hook=%s", c.reply.message[0] ? ": " : "", c.reply.message,
                 path);
        outcome = pause_for(&c) ? call_once(&c, argv) : STOPPED;
        if (outcome == STOPPED) {
            log_warning("hook asked to wait until the time was over, going on hook=%s", path);
            result->delayed++;
            return;
        }
    }
    result->failed += outcome == FAILED;
    result->skipped += outcome == STOPPED;
}

/* ---- finding them ---- */

/* NN-name without a dot, so that what editors and package managers leave is not run. */
static bool name_fits(const char *name)
{
    static const char digits[] = "0123456789";
    if (!name[0] || !strchr(digits, name[0]) || !name[1] || !strchr(digits, name[1]) ||
        name[2] != '-' || !name[3])
        return false;
    return name[3 + strspn(name + 3, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789_-")] == '\0';
}

static bool may_run(const char *path, struct err *err)
{
    if (!trust_check(path, false, err))
        return false;
    return access(path, X_OK) == 0 || err_set(err, ERR_DENIED, "'%s' is not executable", path);
}

static void call_executables(const struct hooks_call *call, struct hooks_result *result)
{
    char dir[PATH_MAX];
    char path[PATH_MAX + NAME_MAX + 2];
    struct err err = {0};
    AUTO(sys_names) struct sys_names names = {0};
    unsigned found = 0;
    if (!str_format(dir, sizeof dir, "%s/%s", call->config->dir, call->event->name) ||
        access(dir, F_OK) != 0)
        return;
    if (!trust_check(dir, true, &err) || !sys_list(dir, &names, &err)) {
        log_warning("hooks are not run, going on: %s event=%s", err.text, call->event->name);
        result->refused++;
        return;
    }
    for (size_t i = 0; i < names.count; i++) {
        const char *argv[] = {path, call->event->name, NULL};
        IGNORE(!str_format(path, sizeof path, "%s/%s", dir, names.names[i])); /* fits */
        err_clear(&err);
        if (!name_fits(names.names[i]))
            continue;
        if (found++ >= HOOKS_MAX) {
            log_warning("more than %d hooks, the rest is not run event=%s", HOOKS_MAX,
                        call->event->name);
            return;
        }
        if (may_run(path, &err)) {
            call_hook(call, argv, path, result);
        } else {
            log_warning("hook is refused, going on: %s", err.text);
            result->refused++;
        }
    }
}

static void call_library(const struct hooks_call *call, struct hooks_result *result)
{
    const struct hooks_config *config = call->config;
    const char *argv[] = {config->host, config->library, NULL};
    struct err err = {0};
    if (may_run(config->host, &err) && trust_check(config->library, false, &err)) {
        call_hook(call, argv, config->library, result);
        return;
    }
    log_warning("hook library is refused, going on: %s", err.text);
    result->refused++;
}

void hooks_run(const struct hooks_call *call, struct hooks_result *ret)
{
    *ret = (struct hooks_result){0};
    if (call->config->dir[0])
        call_executables(call, ret);
    if (call->config->library[0])
        call_library(call, ret);
}

/* ---- looking at them beforehand ---- */

static size_t check_event(const char *dir, const char *event)
{
    char path[PATH_MAX];
    char file[PATH_MAX + NAME_MAX + 2];
    struct err err = {0};
    size_t bad = 0;
    AUTO(sys_names) struct sys_names names = {0};
    if (!str_format(path, sizeof path, "%s/%s", dir, event))
        return 0;
    if (!trust_check(path, true, &err) || !sys_list(path, &names, &err)) {
        log_warning("hooks of this event will not be run: %s", err.text);
        return 1;
    }
    for (size_t i = 0; i < names.count; i++) {
        err_clear(&err);
        IGNORE(!str_format(file, sizeof file, "%s/%s", path, names.names[i])); /* fits */
        if (!name_fits(names.names[i]))
            err_set(&err, ERR_INVALID, "'%s' is not named NN-name (letters, digits, _ and -)",
                    file);
        else
            IGNORE(!may_run(file, &err));
        if (err.code != ERR_NONE) {
            log_warning("hook will not be run: %s", err.text);
            bad++;
        }
    }
    return bad;
}

static size_t unknown_event(const char *dir, const char *name)
{
    const char *known[sizeof events / sizeof *events];
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        known[i] = events[i].name;
    const char *nearest = str_nearest(name, known, sizeof events / sizeof *events);
    log_warning("there is no event '%.60s' for hooks in '%s'%s%s%s", name, dir,
                nearest ? "; hint: did you mean '" : "", nearest ? nearest : "",
                nearest ? "'?" : "");
    return 1;
}

size_t hooks_check(const struct hooks_config *config)
{
    struct err err = {0};
    size_t bad = 0;
    AUTO(sys_names) struct sys_names names = {0};
    if (config->dir[0] && !sys_list(config->dir, &names, &err)) {
        log_warning("no hooks will be run: %s", err.text);
        bad++;
    }
    for (size_t i = 0; i < names.count; i++)
        bad += hooks_event_find(names.names[i]) ? check_event(config->dir, names.names[i])
                                                : unknown_event(config->dir, names.names[i]);
    err_clear(&err);
    if (config->library[0] &&
        (!may_run(config->host, &err) || !trust_check(config->library, false, &err))) {
        log_warning("hook library will not be run: %s", err.text);
        bad++;
    }
    return bad;
}
