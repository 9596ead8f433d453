/* Starts a program as DBMS_SCHEDULER's external job agent does, and keeps of it what its views
 * keep.
 *
 *   extjob [--stdin closed|null] [--signal-after TEXT] [--signal-file FILE] [--limit SECONDS]
 *          FOLDER PROGRAM [ARGUMENT...]
 *
 * Empty environment (but ASAN_OPTIONS and UBSAN_OPTIONS), a session of its own, working directory
 * /, default signals, stdout and stderr pipes, some descriptors too many. FOLDER gets stdout,
 * stderr, and `errors`: the first 200 bytes of stderr, as *_SCHEDULER_JOB_RUN_DETAILS shows them.
 * With
 * --signal-after, PROGRAM is sent SIGTERM as soon as its stdout holds TEXT; with --signal-file, as
 * soon as FILE is there. The last line of our stdout: `exit N` or `signal N` or `late`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ERRORS_MAX = 200, SPARE_FDS = 7, OUTPUT_MAX = 1 << 20 };

struct job {
    const char *folder, *after, *file, *input;
    char **argv;
    int limit_s;
    pid_t pid;
    int out, err;
    char *output; /* what stdout held so far */
    size_t output_len, errors_len;
    int out_file, err_file, errors_file;
    int signalled;
};

static void die(const char *what)
{
    fprintf(stderr, "extjob: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int open_in(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    return fd;
}

/* Everything a careless parent leaves behind. */
static void child(const struct job *job, int out, int err)
{
    static char asan[4096];
    static char ubsan[4096];
    char *env[3] = {0};
    int used = 0;
    if (getenv("ASAN_OPTIONS")) {
        snprintf(asan, sizeof asan, "ASAN_OPTIONS=%s", getenv("ASAN_OPTIONS"));
        env[used++] = asan;
    }
    if (getenv("UBSAN_OPTIONS")) {
        snprintf(ubsan, sizeof ubsan, "UBSAN_OPTIONS=%s", getenv("UBSAN_OPTIONS"));
        env[used++] = ubsan;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* of ours: no test may leave its subject behind */
    setsid();
    if (chdir("/") != 0)
        _exit(126);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    for (int i = 0; i < SPARE_FDS; i++)
        if (open("/dev/null", O_RDWR) < 0)
            _exit(126);
    if (strcmp(job->input, "closed") == 0)
        close(0);
    else
        dup2(open("/dev/null", O_RDONLY), 0);
    dup2(out, 1);
    dup2(err, 2);
    execve(job->argv[0], job->argv, env);
    _exit(127);
}

static void start(struct job *job)
{
    int out[2];
    int err[2];
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
        die("pipe");
    job->pid = fork();
    if (job->pid < 0)
        die("fork");
    if (job->pid == 0)
        child(job, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    job->out = out[0];
    job->err = err[0];
}

static void stop(struct job *job)
{
    if (!job->signalled)
        kill(job->pid, SIGTERM);
    job->signalled = 1;
}

static void take_output(struct job *job, const char *bytes, size_t n)
{
    if (job->output_len + n < OUTPUT_MAX) {
        memcpy(job->output + job->output_len, bytes, n);
        job->output_len += n;
        job->output[job->output_len] = '\0';
    }
    if (job->after && strstr(job->output, job->after))
        stop(job);
}

static void take_errors(struct job *job, const char *bytes, size_t n)
{
    size_t room = ERRORS_MAX - job->errors_len;
    size_t kept = n < room ? n : room;
    if (write(job->errors_file, bytes, kept) < 0)
        die("errors");
    job->errors_len += kept;
}

/* False at the end of the stream. */
static int pump(struct job *job, int from)
{
    char bytes[4096];
    ssize_t n = read(from, bytes, sizeof bytes);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    if (write(from == job->out ? job->out_file : job->err_file, bytes, (size_t)n) < 0)
        die("write");
    if (from == job->out)
        take_output(job, bytes, (size_t)n);
    else
        take_errors(job, bytes, (size_t)n);
    return 1;
}

static int run(struct job *job)
{
    time_t end = time(NULL) + job->limit_s;
    struct pollfd fds[2] = {{.fd = job->out, .events = POLLIN}, {.fd = job->err, .events = POLLIN}};
    while ((fds[0].fd >= 0 || fds[1].fd >= 0) && time(NULL) < end) {
        if (poll(fds, 2, 100) < 0 && errno != EINTR)
            die("poll");
        if (job->file && access(job->file, F_OK) == 0)
            stop(job);
        for (int i = 0; i < 2; i++)
            if (fds[i].fd >= 0 && fds[i].revents && !pump(job, fds[i].fd))
                fds[i].fd = -1;
    }
    /* A pipe still open after the program's end would be a child of it that was left. */
    int status;
    struct timespec pause = {.tv_nsec = 20000000};
    while (waitpid(job->pid, &status, WNOHANG) == 0) {
        if (time(NULL) >= end) {
            kill(job->pid, SIGKILL);
            waitpid(job->pid, &status, 0);
            puts("late");
            return 1;
        }
        nanosleep(&pause, NULL);
    }
    if (fds[0].fd >= 0 || fds[1].fd >= 0)
        puts("a pipe is still held open by somebody");
    if ((job->after || job->file) && !job->signalled)
        puts("never came there");
    if (WIFEXITED(status))
        printf("exit %d\n", WEXITSTATUS(status));
    else
        printf("signal %d\n", WTERMSIG(status));
    return 0;
}

int main(int argc, char **argv)
{
    struct job job = {.limit_s = 60, .input = "null"};
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--stdin") == 0)
            job.input = argv[i + 1];
        else if (strcmp(argv[i], "--signal-after") == 0)
            job.after = argv[i + 1];
        else if (strcmp(argv[i], "--signal-file") == 0)
            job.file = argv[i + 1];
        else if (strcmp(argv[i], "--limit") == 0)
            job.limit_s = (int)strtol(argv[i + 1], NULL, 10);
    }
    if (i + 1 >= argc) {
        fprintf(stderr, "usage: extjob [OPTION VALUE]... FOLDER PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    job.folder = argv[i];
    job.argv = argv + i + 1;
    job.output = calloc(1, OUTPUT_MAX);
    if (!job.output)
        die("memory");
    job.out_file = open_in(job.folder, "stdout");
    job.err_file = open_in(job.folder, "stderr");
    job.errors_file = open_in(job.folder, "errors");
    start(&job);
    int status = run(&job);
    free(job.output);
    return status;
}
