/* Helper programs of tests, spoken to by lines. */
#include "tests/lib/script.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

bool script_begin(struct script *s, const char *const *argv, struct err *err)
{
    int to[2];
    int from[2];
    *s = (struct script){.name = argv[0], .to = -1, .from = -1};
    signal(SIGPIPE, SIG_IGN); /* it may end first */
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

bool script_read(const struct script *s, unsigned wait_ms, char ret[SCRIPT_LINE], struct err *err)
{
    uint64_t until = clock_mono_ms() + wait_ms;
    size_t len = 0;
    for (;;) {
        uint64_t now = clock_mono_ms();
        struct pollfd wait = {.fd = s->from, .events = POLLIN};
        if (now >= until || poll(&wait, 1, (int)(until - now)) == 0)
            return err_set(err, ERR_TIMEOUT, "%s does not answer", s->name);
        ssize_t n = read(s->from, ret + len, 1);
        if (n == 0)
            return err_set(err, ERR_UNSUPPORTED, "%s ended: %.*s", s->name, (int)len, ret);
        if (n > 0 && ret[len] == '\n')
            break;
        if (n > 0 && len + 1 < SCRIPT_LINE)
            len++;
    }
    ret[len] = '\0';
    return true;
}

bool script_tell(const struct script *s, const char *line)
{
    char text[SCRIPT_LINE];
    return str_format(text, sizeof text, "%s\n", line) &&
           write(s->to, text, strlen(text)) == (ssize_t)strlen(text);
}

void script_end(struct script *s)
{
    own_auto_fd(&s->to);
    if (s->pid > 0)
        waitpid(s->pid, NULL, 0);
    own_auto_fd(&s->from);
    s->pid = 0;
}

void script_kill(struct script *s)
{
    if (s->pid > 0)
        kill(s->pid, SIGKILL);
    script_end(s);
}
