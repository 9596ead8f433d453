/* Kills a program, from outside, right before the nth thing it does that others can see: something
 * written, synced, renamed, removed, made, cloned or sent, by whichever of its threads.
 *
 * killat --report FILE [--nth N] --pid PID            a running program; SIGTERM lets go of it
 * killat --report FILE [--nth N] -- PROGRAM ARG...    one of its own; its exit code, 137 when
 * killed
 *
 * FILE gets a line "ready", one for each step, and "killed" when it was. Steps in a row of the same
 * kind on the same file by the same thread are one step. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS_MAX = 256, LET_GO = 3, BROKEN = 125, KILLED = 137, PATH_BYTES = 512 };

enum takes { TAKES_FD, TAKES_PATH, TAKES_FD_PATH };
struct call {
    long number;
    const char *name;
    enum takes takes;
    bool streams; /* a row of them is one step */
};

static const struct call calls[] = {
    {SYS_write, "write", TAKES_FD, true},
    {SYS_pwrite64, "pwrite64", TAKES_FD, true},
    {SYS_writev, "writev", TAKES_FD, true},
    {SYS_sendto, "sendto", TAKES_FD, true},
    {SYS_sendmsg, "sendmsg", TAKES_FD, true},
    {SYS_recvfrom, "recvfrom", TAKES_FD, true}, /* of its own program only: what was sent is out */
    {SYS_fsync, "fsync", TAKES_FD, false},
    {SYS_fdatasync, "fdatasync", TAKES_FD, false},
    {SYS_ftruncate, "ftruncate", TAKES_FD, false},
    {SYS_ioctl, "FICLONE", TAKES_FD, false},
    {SYS_rename, "rename", TAKES_PATH, false},
    {SYS_renameat, "renameat", TAKES_FD_PATH, false},
    {SYS_renameat2, "renameat2", TAKES_FD_PATH, false},
    {SYS_unlink, "unlink", TAKES_PATH, false},
    {SYS_unlinkat, "unlinkat", TAKES_FD_PATH, false},
    {SYS_rmdir, "rmdir", TAKES_PATH, false},
    {SYS_mkdir, "mkdir", TAKES_PATH, false},
    {SYS_mkdirat, "mkdirat", TAKES_FD_PATH, false},
    {SYS_exit_group, "exit_group", TAKES_FD, false},
};

struct thread {
    pid_t id;
    long call; /* of its last step */
    uint64_t fd;
};

static struct thread threads[THREADS_MAX];
static int report = -1;
static bool own; /* begun here */
static pid_t victim;
static unsigned long nth, count;

static void tell(const char *text)
{
    if (write(report, text, strlen(text)) < 0)
        _exit(BROKEN);
}

static int fail(const char *what)
{
    fprintf(stderr, "killat: %s: %s\n", what, strerror(errno));
    return BROKEN;
}

static struct thread *thread_of(pid_t id)
{
    struct thread *free_one = NULL;
    for (size_t i = 0; i < THREADS_MAX; i++) {
        if (threads[i].id == id)
            return &threads[i];
        if (!threads[i].id && !free_one)
            free_one = &threads[i];
    }
    if (free_one)
        *free_one = (struct thread){.id = id, .call = -1};
    return free_one;
}

static void fd_text(pid_t id, uint64_t fd, char ret[PATH_BYTES])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)id, (int)fd);
    ssize_t len = readlink(link, ret, PATH_BYTES - 1);
    ret[len > 0 ? len : 0] = '\0';
}

static void path_text(pid_t id, uint64_t address, char ret[PATH_BYTES])
{
    struct iovec to = {ret, PATH_BYTES - 1};
    struct iovec from = {(void *)address, PATH_BYTES - 1};
    ssize_t len = process_vm_readv(id, &to, 1, &from, 1, 0);
    ret[len > 0 ? len : 0] = '\0';
}

/* Names what the call is about; false where nobody else can see it: pipes, event fds, the log. */
static bool is_seen(pid_t id, const struct call *call, const uint64_t *args, char ret[PATH_BYTES])
{
    if (call->number == SYS_exit_group) {
        ret[0] = '\0';
        return true;
    }
    if ((call->number == SYS_ioctl && args[1] != FICLONE) || (call->number == SYS_recvfrom && !own))
        return false;
    if (call->takes == TAKES_PATH)
        path_text(id, args[0], ret);
    else if (call->takes == TAKES_FD_PATH)
        path_text(id, args[1], ret);
    else
        fd_text(id, args[0], ret);
    return call->takes != TAKES_FD ||
           (args[0] != STDERR_FILENO && (ret[0] == '/' || strncmp(ret, "socket:", 7) == 0));
}

static bool is_row(struct thread *thread, const struct call *call, uint64_t fd)
{
    bool row = call->streams && thread->call == call->number && thread->fd == fd;
    thread->call = call->number;
    thread->fd = fd;
    return row;
}

/* True when the time has come. */
static bool on_call(pid_t id, long number, const uint64_t *args)
{
    char about[PATH_BYTES];
    char line[PATH_BYTES + 64];
    struct thread *thread = thread_of(id);
    const struct call *call = NULL;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].number == number)
            call = &calls[i];
    if (!call || !thread || !is_seen(id, call, args, about) || is_row(thread, call, args[0]))
        return false;
    snprintf(line, sizeof line, "%lu %s %s\n", ++count, call->name, about);
    tell(line);
    return count == nth;
}

static bool go_on(pid_t id, int signal_no)
{
    return ptrace(PTRACE_SYSCALL, id, 0, signal_no) == 0 || errno == ESRCH;
}

/* One stop of one thread. */
static bool on_stop(pid_t id, int status)
{
    struct __ptrace_syscall_info info;
    int signal_no = WSTOPSIG(status);
    if (status >> 16) /* an event of ptrace's own */
        return go_on(id, 0);
    if (signal_no != (SIGTRAP | 0x80))
        return go_on(id, signal_no);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, id, sizeof info, &info) > 0 &&
        info.op == PTRACE_SYSCALL_INFO_ENTRY &&
        on_call(id, (long)info.entry.nr, (const uint64_t *)info.entry.args)) {
        tell("killed\n");
        return kill(victim, SIGKILL) == 0;
    }
    return go_on(id, 0);
}

static int watch(void)
{
    for (;;) {
        int status;
        pid_t id = waitpid(-1, &status, __WALL);
        if (id < 0)
            return errno == ECHILD ? 0 : fail("wait");
        if (WIFSTOPPED(status) ? !on_stop(id, status) : id == victim)
            return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED;
        if (!WIFSTOPPED(status))
            threads[thread_of(id) - threads].id = 0;
    }
}

static bool seize(pid_t id)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
    return thread_of(id) && ptrace(PTRACE_SEIZE, id, 0, options) == 0 &&
           ptrace(PTRACE_INTERRUPT, id, 0, 0) == 0;
}

static bool is_known(pid_t id)
{
    for (size_t i = 0; i < THREADS_MAX; i++)
        if (threads[i].id == id)
            return true;
    return false;
}

/* A thread made meanwhile by one not yet held shows in the next look. */
static bool seize_all(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    for (bool found = true; found;) {
        DIR *dir = opendir(path);
        if (!dir)
            return false;
        found = false;
        for (struct dirent *entry; (entry = readdir(dir));) {
            pid_t id = (pid_t)strtol(entry->d_name, NULL, 10);
            if (id <= 0 || is_known(id))
                continue;
            found = true;
            if (!seize(id) && errno != ESRCH && errno != EPERM) {
                closedir(dir);
                return false;
            }
        }
        closedir(dir);
    }
    return true;
}

static bool begin(char **argv)
{
    victim = fork();
    if (victim != 0)
        return victim > 0 && waitpid(victim, NULL, WUNTRACED) == victim && seize(victim) &&
               kill(victim, SIGCONT) == 0;
    raise(SIGSTOP);
    execv(argv[0], argv);
    _exit(127);
}

static void let_go(int signal_no)
{
    (void)signal_no;
    _exit(LET_GO); /* the kernel lets those go that were seized */
}

int main(int argc, char **argv)
{
    int i = 1;
    for (; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
        if (strcmp(argv[i], "--report") == 0)
            report = open(argv[i + 1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        else if (strcmp(argv[i], "--nth") == 0)
            nth = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--pid") == 0)
            victim = (pid_t)strtol(argv[i + 1], NULL, 10);
    }
    own = i < argc && strcmp(argv[i], "--") == 0;
    if (report < 0 || (!own && victim <= 0) || (own && i + 1 >= argc)) {
        fputs("usage: killat --report FILE [--nth N] --pid PID | -- PROGRAM ARG...\n", stderr);
        return BROKEN;
    }
    struct sigaction action = {.sa_handler = let_go};
    sigaction(SIGTERM, &action, NULL);
    if (own ? !begin(argv + i + 1) : !seize_all(victim))
        return fail("trace");
    tell("ready\n");
    return watch();
}
