/* Object stores for tests: programs started, told what to do by lines, ended. */
#include "tests/lib/object_store.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MS = 120000, ARGS_MAX = 16, LINE_BYTES = 512 };

static bool read_line(const struct object_store *s, char line[LINE_BYTES], struct err *err)
{
    uint64_t until = clock_mono_ms() + ANSWER_MS;
    size_t len = 0;
    for (;;) {
        uint64_t now = clock_mono_ms();
        struct pollfd wait = {.fd = s->from, .events = POLLIN};
        if (now >= until || poll(&wait, 1, (int)(until - now)) == 0)
            return err_set(err, ERR_TIMEOUT, "the object store does not answer");
        ssize_t n = read(s->from, line + len, 1);
        if (n == 0)
            return err_set(err, ERR_UNSUPPORTED, "the object store ended: %.*s", (int)len, line);
        if (n > 0 && line[len] == '\n')
            break;
        if (n > 0 && len + 1 < LINE_BYTES)
            len++;
    }
    line[len] = '\0';
    return true;
}

static bool launch(struct object_store *s, const char *const *argv, struct err *err)
{
    int to[2];
    int from[2];
    signal(SIGPIPE, SIG_IGN);
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return err_errno(err, errno, "pipe");
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(to[0], 0);
        dup2(from[1], 1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    s->to = to[1];
    s->from = from[0];
    return s->pid > 0 || err_errno(err, errno, "fork");
}

static bool begin(struct object_store *s, const char *dir, const char *access, const char *secret,
                  struct err *err)
{
    char text[256];
    *s = (struct object_store){.to = -1, .from = -1};
    str_format(s->credentials, sizeof s->credentials, "%s/credentials", dir);
    str_format(text, sizeof text, "%s\n%s\n", access, secret);
    return sys_write_file(s->credentials, text, strlen(text), 0600, err);
}

static bool await_port(struct object_store *s, struct err *err)
{
    char line[LINE_BYTES];
    do {
        if (!read_line(s, line, err))
            return false;
    } while (!str_starts(line, "port "));
    s->port = (unsigned)strtoul(line + 5, NULL, 10);
    return true;
}

bool object_store_fake(struct object_store *s, const char *dir, const char *const *flags,
                       struct err *err)
{
    const char *argv[ARGS_MAX] = {"/usr/bin/python3", "tests/lib/fake_s3.py", "vault"};
    size_t count = 3;
    if (!begin(s, dir, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", err))
        return false;
    argv[count++] = s->credentials;
    for (; flags && *flags && count + 1 < ARGS_MAX; flags++)
        argv[count++] = *flags;
    return launch(s, argv, err) && await_port(s, err);
}

bool object_store_s3rver(struct object_store *s, const char *dir, struct err *err)
{
    const char *argv[] = {"tests/lib/s3rver.sh", dir, NULL};
    return begin(s, dir, "S3RVER", "S3RVER", err) && launch(s, argv, err) && await_port(s, err);
}

bool object_store_swift(struct object_store *s, const char *dir, struct err *err)
{
    const char *argv[] = {"tests/lib/swift.sh", dir, NULL};
    return begin(s, dir, "test:tester", "testing", err) && launch(s, argv, err) &&
           await_port(s, err);
}

long object_store_tell(struct object_store *s, const char *line)
{
    char answer[LINE_BYTES];
    struct err err = {0};
    if (write(s->to, line, strlen(line)) < 0 || write(s->to, "\n", 1) < 0 ||
        !read_line(s, answer, &err))
        return -1;
    return str_equal(answer, "ok") ? 0 : strtol(answer, NULL, 10);
}

struct io *object_store_open(struct object_store *s, const char *prefix,
                             const struct io_option *more, size_t count, struct err *err)
{
    char url[128];
    char endpoint[64];
    struct io_option options[ARGS_MAX] = {{"endpoint", endpoint}, {"credentials", s->credentials}};
    str_format(endpoint, sizeof endpoint, "http://127.0.0.1:%u", s->port);
    for (size_t i = 0; i < count && i + 2 < ARGS_MAX; i++)
        options[i + 2] = more[i];
    str_format(url, sizeof url, "s3://vault/%s", prefix);
    return io_open(url, options, count + 2, err);
}

void object_store_done(struct object_store *s)
{
    own_auto_fd(&s->to);
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
    }
    own_auto_fd(&s->from);
    s->pid = 0;
}
