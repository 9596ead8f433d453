/* Running another program: argv array, no shell, own process group, output by line. */
#include "agent/base/exec.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4000, READ_BYTES = 16384 };
enum { POLL_MS = 100, POLL_END_MS = 10 }; /* the latter once it has closed its output */
enum { PIPE_READS_MAX = 8 };              /* more than a full pipe of 64 KiB */

struct running {
    const struct exec *exec;
    pid_t pid;
    int in, out;
    size_t written;
    char line[LINE_MAX_BYTES];
    size_t line_len;
    uint64_t taken;      /* bytes of output */
    uint64_t kill_at_ms; /* 0 until it was told to stop */
    struct exec_result result;
};

static void emit_line(struct running *r)
{
    r->line[r->line_len] = '\0';
    if (r->exec->line)
        r->exec->line(r->exec->arg, r->line, r->line_len);
    r->line_len = 0;
}

static void take_output(struct running *r, const char *bytes, size_t len)
{
    r->taken += len;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n') {
            emit_line(r);
        } else if (bytes[i] != '\r' && r->line_len + 1 < sizeof r->line) {
            r->line[r->line_len++] = bytes[i];
        }
    }
}

static void __attribute__((noreturn))
child_main(const struct exec *exec, int in, int out, int report, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* By the kernel's own call: the library refuses its two reserved signals, which may come
     * ignored. */
    const uint64_t as_new[8] = {0};
    for (int s = 1; s < NSIG; s++)
        IGNORE(syscall(SYS_rt_sigaction, s, as_new, NULL, sizeof(uint64_t)) != 0); /* KILL, STOP */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    /* `in` is 0 itself when the parent has no stdin, and would close at execve. `report` keeps its
     * number (5 or more): any other may be a file of the parent, which no errno may end up in. */
    bool ok = getppid() == parent && dup2(in, 0) >= 0 && fcntl(0, F_SETFD, 0) == 0 &&
              dup2(out, 1) >= 0 && dup2(out, 2) >= 0 &&
              syscall(SYS_close_range, 3u, (unsigned)report - 1, 0) == 0 &&
              syscall(SYS_close_range, (unsigned)report + 1, ~0u, 0) == 0 &&
              chdir(exec->dir ? exec->dir : "/") == 0;
    if (ok)
        execve(exec->argv[0], (char *const *)exec->argv, (char *const *)exec->envp);
    int why = errno;
    IGNORE(write(report, &why, sizeof why) < 0); /* the parent sees the exit anyway */
    _exit(127);
}

/* SIGCHLD may be ignored since before our own execve; then the kernel would eat exit codes. */
static void keep_children_waitable(void)
{
    struct sigaction now;
    if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
        signal(SIGCHLD, SIG_DFL);
}

/* Forks; the report pipe closes by itself at a good execve and carries errno at a bad one. */
static bool start(struct running *r, struct err *err)
{
    int in[2] = {-1, -1};
    int out[2] = {-1, -1};
    int report[2] = {-1, -1};
    bool ok =
        pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(report, O_CLOEXEC) == 0;
    keep_children_waitable();
    pid_t parent = getpid();
    pid_t pid = ok ? fork() : -1;
    int why = errno;
    if (pid == 0)
        child_main(r->exec, in[0], out[1], report[1], parent);
    int theirs[] = {in[0], out[1], report[1]};
    for (size_t i = 0; i < 3; i++)
        if (theirs[i] >= 0)
            close(theirs[i]);
    r->in = in[1];
    r->out = out[0];
    ssize_t told = 0;
    if (pid > 0) {
        setpgid(pid, pid); /* both sides set it: whoever comes first */
        r->pid = pid;
        do
            told = read(report[0], &why, sizeof why);
        while (told < 0 && errno == EINTR);
    }
    if (report[0] >= 0)
        close(report[0]);
    if (pid < 0)
        return err_errno(err, why, "start '%s'", r->exec->argv[0]);
    if (told != sizeof why)
        return true;
    waitpid(pid, NULL, 0);
    r->pid = 0;
    return err_errno(err, why, "start '%s'", r->exec->argv[0]);
}

static void tell_to_stop(struct running *r)
{
    kill(-r->pid, SIGINT);
    r->kill_at_ms = clock_mono_ms() + r->exec->grace_ms;
}

static void watch_clock(struct running *r, uint64_t started_ms)
{
    uint64_t now = clock_mono_ms();
    if (r->kill_at_ms) {
        if (now >= r->kill_at_ms && kill(-r->pid, SIGKILL) != 0 && errno == EPERM &&
            now - r->kill_at_ms >= EXEC_LEFT_MS) {
            r->result.left = true;
            r->result.signal_no = SIGKILL;
        }
    } else if (r->exec->deadline_ms && now - started_ms >= r->exec->deadline_ms) {
        r->result.timed_out = true;
        tell_to_stop(r);
    } else if (r->exec->output_max && r->taken > r->exec->output_max) {
        r->result.flooded = true;
        tell_to_stop(r);
    } else if (r->exec->cancelled && r->exec->cancelled(r->exec->arg)) {
        r->result.cancelled = true;
        tell_to_stop(r);
    }
}

static void feed_input(struct running *r)
{
    const struct exec *exec = r->exec;
    ssize_t n = 0;
    if (r->written < exec->input_len)
        n = write(r->in, exec->input + r->written, exec->input_len - r->written);
    if (n > 0)
        r->written += (size_t)n;
    if (r->written >= exec->input_len || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close(r->in);
        r->in = -1;
    }
}

/* False when the program has closed its output. */
static bool drain_output(struct running *r)
{
    char bytes[READ_BYTES];
    ssize_t n = read(r->out, bytes, sizeof bytes);
    if (n > 0)
        take_output(r, bytes, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* What it wrote just before it ended; false when nothing more waits. */
static bool drain_rest(struct running *r)
{
    struct pollfd fd = {.fd = r->out, .events = POLLIN};
    return poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN) && drain_output(r);
}

/* True when the program has ended. */
static bool reap(struct running *r)
{
    int status;
    pid_t pid;
    siginfo_t info = {0};
    /* While it is not yet waited for, its number, and so its group's, cannot be another's. */
    if (r->exec->end_group &&
        waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == r->pid)
        kill(-r->pid, SIGKILL);
    do
        pid = waitpid(r->pid, &status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid != r->pid)
        return false;
    if (WIFSIGNALED(status))
        r->result.signal_no = WTERMSIG(status);
    else
        r->result.exit_code = WEXITSTATUS(status);
    return true;
}

static void converse(struct running *r)
{
    uint64_t started_ms = clock_mono_ms();
    bool open = true;
    while (!r->result.left &&
           !reap(r)) { /* not "while open": a grandchild may hold the pipe, or fill it, for ever */
        watch_clock(r, started_ms);
        struct pollfd fds[2] = {{.fd = open ? r->out : -1, .events = POLLIN},
                                {.fd = r->in, .events = POLLOUT}};
        IGNORE(poll(fds, 2, open ? POLL_MS : POLL_END_MS) < 0); /* EINTR: look and come back */
        if (r->in >= 0 && fds[1].revents)
            feed_input(r);
        if (open && fds[0].revents)
            open = drain_output(r);
    }
    for (int i = 0; open && i < PIPE_READS_MAX && drain_rest(r); i++)
        continue;
    if (r->line_len)
        emit_line(r);
}

bool exec_run(const struct exec *exec, struct exec_result *ret_result, struct err *err)
{
    AUTO(mem) struct running *r = own_alloc(sizeof *r, err);
    if (!r)
        return false;
    r->exec = exec;
    sigset_t pipe_set;
    sigset_t before;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
    bool ok = start(r, err);
    if (ok) {
        IGNORE(fcntl(r->in, F_SETFL, O_NONBLOCK) < 0);
        IGNORE(fcntl(r->out, F_SETFL, O_NONBLOCK) < 0);
        converse(r);
        *ret_result = r->result;
    }
    if (r->in >= 0)
        close(r->in);
    if (r->out >= 0)
        close(r->out);
    struct timespec none = {0};
    while (sigtimedwait(&pipe_set, NULL, &none) > 0)
        continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}
