/* A real evercopy-vaultd, killed again and again while it is asked to write, snapshot, clone, drop
 * and seals by itself: what it had answered is there, byte for byte, and it serves on.
 * EVERCOPY_SEED repeats the story, not the instants. */
#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "drivers/vault/control/wire.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/vault_server.h"
#include "tests/vault/story_world.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct siege {
    struct story *story;
    struct rnd rnd;
    char dir[128], tracer[160], report[160]; /* tracer "": kills come at random instants */
    size_t done;                             /* steps that were acknowledged */
    unsigned kills, points;
    struct vault_server server;
};

/* ---- who kills ---- */

static pid_t kill_later(struct siege *s)
{
    struct timespec wait = {.tv_nsec = (long)rnd_below(&s->rnd, 1u << rnd_below(&s->rnd, 28))};
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    nanosleep(&wait, NULL); /* the instant is what is tried */
    kill(s->server.pid, SIGKILL);
    _exit(0);
}

static bool report_says(const struct siege *s, const char *line)
{
    struct err none = {0};
    size_t len;
    AUTO(mem) char *text = sys_read_file(s->report, 1 << 20, &len, &none);
    return text && strstr(text, line);
}

/* Before the nth thing that others can see; it is attached when this returns. */
static pid_t kill_at_step(struct siege *s)
{
    char nth[24], pid_text[24];
    struct err none = {0};
    IGNORE(str_format(nth, sizeof nth, "%u", 1 + (unsigned)rnd_below(&s->rnd, 60)));
    IGNORE(str_format(pid_text, sizeof pid_text, "%d", s->server.pid));
    IGNORE(sys_unlink(s->report, &none));
    pid_t pid = fork();
    if (pid == 0) {
        execl(s->tracer, s->tracer, "--report", s->report, "--nth", nth, "--pid", pid_text,
              (char *)NULL);
        _exit(127);
    }
    uint64_t until = clock_mono_ms() + 10000;
    while (pid > 0 && !report_says(s, "ready") && clock_mono_ms() < until)
        usleep(2000); /* a bounded poll: its report is all that it shows */
    return pid;
}

static void dismiss(struct siege *s, pid_t killer)
{
    int status;
    if (killer <= 0)
        return;
    kill(killer, s->tracer[0] ? SIGTERM : SIGKILL);
    IGNORE(waitpid(killer, &status, 0) < 0);
    s->points += s->tracer[0] && report_says(s, "killed");
}

/* ---- who asks ---- */

/* Until the story ends, or nobody answers any more. False: an answer that is none. */
static bool go_on(struct siege *s, struct err *err)
{
    struct err why = {0};
    AUTO(wire) struct wire *wire = wire_connect(s->server.socket, &why);
    while (wire && s->done < s->story->op_count) {
        bool ok = story_ask(s->story, wire, s->done, &why);
        if (!ok && why.code == ERR_UNAVAILABLE)
            return true;
        if (!ok)
            return err_set(err, why.code, "step %zu, %s: %s", s->done,
                           story_kind_name(s->story->ops[s->done].kind), why.text);
        s->done++;
    }
    return true;
}

/* Nobody serves: box and store are looked at, and put where the story can go on. */
static bool look(struct siege *s, struct err *err)
{
    AUTO(opened) struct opened o = {0};
    uint64_t sum;
    if (!open_in(s->dir, &o, err) || !story_check(s->story, o.vault, s->done, true, &sum, err) ||
        !vault_fsck(o.vault, err))
        return false;
    s->done = s->story->is;
    if (!story_send_again(s->story, o.vault, s->done, err))
        return false;
    vault_close(TAKE(o.vault));
    return true;
}

static bool one_kill(struct siege *s, struct err *err)
{
    if (!vault_server_start(&s->server, err))
        return false;
    pid_t killer = s->tracer[0] ? kill_at_step(s) : kill_later(s);
    bool ok = killer > 0 && go_on(s, err);
    dismiss(s, killer);
    vault_server_kill(&s->server);
    s->kills++;
    return ok && look(s, err);
}

/* Stories one after the other, each in a folder of its own, until the time is over. */
static bool one_story(struct siege *s, uint64_t until_ms, struct err *err)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(story) struct story *story = story_new((struct rnd){rnd_next(&s->rnd)}, 60, err);
    if (!story)
        return false;
    story_trace(story);
    s->story = story;
    s->done = 0;
    IGNORE(str_copy(s->dir, sizeof s->dir, dir));
    IGNORE(str_format(s->report, sizeof s->report, "%s/report", dir));
    bool ok = vault_server_begin(&s->server, dir, NULL, "reserve = 1M\n", err);
    vault_server_kill(&s->server);
    while (ok && s->done < story->op_count && clock_mono_ms() < until_ms)
        ok = one_kill(s, err);
    if (ok && s->done == story->op_count) {
        AUTO(opened) struct opened o = {0};
        ok = open_in(dir, &o, err) && story_goes_on(o.vault, err) && vault_fsck(o.vault, err);
    }
    vault_server_done(&s->server);
    s->story = NULL;
    return ok || err_wrap(err, "%u kills, %s", s->kills, s->tracer[0] ? "traced" : "random");
}

static void besiege(const char *tracer, uint64_t ms)
{
    struct siege s = {.rnd = story_seed("vaultd kill", 0)};
    uint64_t seed = s.rnd.state;
    uint64_t until_ms = clock_mono_ms() + ms;
    struct err err = {0};
    if (tracer)
        IGNORE(str_copy(s.tracer, sizeof s.tracer, tracer));
    while (clock_mono_ms() < until_ms)
        cr_assert(one_story(&s, until_ms, &err), "EVERCOPY_SEED=%" PRIu64 ": %s", seed, err.text);
    cr_assert_gt(s.kills, 0);
    cr_assert(!tracer || s.points > 0, "it was never met at a step");
    fprintf(stderr, "# %u kills, %u of them at a step\n", s.kills, s.points);
}

Test(vaultd_kill, what_it_answered_is_there_whenever_it_is_killed)
{
    besiege(NULL, getenv("EVERCOPY_LONG") ? 120000 : 2500);
}

/* The tracer is built by what is at hand, as tests/integration does. */
static bool build_tracer(const char *dir, char ret[160])
{
    const char *cc = getenv("CC");
    char command[600];
    IGNORE(str_format(ret, 160, "%s/killat", dir));
    IGNORE(str_format(command, sizeof command, "%s -std=gnu11 -O1 -o %s tests/integration/killat.c",
                      cc ? cc : "gcc", ret));
    pid_t pid = fork();
    int status = 1;
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        return false;
    IGNORE(str_format(command, sizeof command, "%s --report %s/r -- /bin/true", ret, dir));
    pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

Test(vaultd_kill, what_it_answered_is_there_whichever_step_was_the_last)
{
    AUTO(drive_dir) char *dir = drive_dir();
    char tracer[160];
    if (!build_tracer(dir, tracer)) {
        printf("SKIPPED vaultd_kill: no program can be traced here\n");
        return;
    }
    besiege(tracer, getenv("EVERCOPY_LONG") ? 300000 : 2500);
}
