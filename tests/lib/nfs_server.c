/* A real NFS server for tests: talks to tests/lib/ganesha.sh. */
#include "tests/lib/nfs_server.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MS = 30000, LINE_BYTES = 300 };

static bool read_line(const struct nfs_server *s, char line[LINE_BYTES], struct err *err)
{
    uint64_t until = clock_mono_ms() + ANSWER_MS;
    size_t len = 0;
    for (;;) {
        uint64_t now = clock_mono_ms();
        struct pollfd wait = {.fd = s->from, .events = POLLIN};
        if (now >= until || poll(&wait, 1, (int)(until - now)) == 0)
            return err_set(err, ERR_TIMEOUT, "ganesha.sh does not answer");
        ssize_t n = read(s->from, line + len, 1);
        if (n == 0)
            return err_set(err, ERR_UNSUPPORTED, "ganesha.sh ended");
        if (n > 0 && line[len] == '\n')
            break;
        if (n > 0 && len + 1 < LINE_BYTES)
            len++;
    }
    line[len] = '\0';
    return true;
}

static bool tell(const struct nfs_server *s, const char *word, const char *expected,
                 struct err *err)
{
    char line[LINE_BYTES];
    if (write(s->to, word, strlen(word)) < 0) {
        /* it has ended already: its last line says why */
    }
    if (!read_line(s, line, err))
        return false;
    return str_equal(line, expected) ||
           err_set(err, ERR_UNSUPPORTED, "%s", str_starts(line, "SKIPPED ") ? line + 8 : line);
}

static bool launch(struct nfs_server *s, struct err *err)
{
    int to[2];
    int from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return err_errno(err, errno, "pipe");
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl("tests/lib/ganesha.sh", "ganesha.sh", s->dir, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    s->to = to[1];
    s->from = from[0];
    return s->pid > 0 || err_errno(err, errno, "fork");
}

bool nfs_server_begin(struct nfs_server *s, unsigned size_mb, struct err *err)
{
    *s = (struct nfs_server){.to = -1, .from = -1};
    signal(SIGPIPE, SIG_IGN); /* the script may end first */
    if (!privileged_enter(true, err) || !scratch_mount(&s->scratch, "tmpfs", size_mb, err))
        return false;
    IGNORE(!str_copy(s->dir, sizeof s->dir, s->scratch.mount)); /* sized for it */
    IGNORE(!str_format(s->url, sizeof s->url,
                       "nfs://127.0.0.1%s?version=3&nfsport=20491&mountport=20492", s->dir));
    return launch(s, err) && nfs_server_start(s, err);
}

bool nfs_server_start(struct nfs_server *s, struct err *err)
{
    return tell(s, "start\n", "up", err);
}

bool nfs_server_kill(struct nfs_server *s, struct err *err)
{
    return tell(s, "kill\n", "down", err);
}

void nfs_server_done(struct nfs_server *s)
{
    own_auto_fd(&s->to); /* the script ends with its stdin */
    if (s->pid > 0)
        waitpid(s->pid, NULL, 0);
    own_auto_fd(&s->from);
    scratch_done(&s->scratch);
    s->pid = 0;
}

bool nfs_server_network(bool there, struct err *err)
{
    AUTO(fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo"};
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(there ? INADDR_LOOPBACK : INADDR_ANY);
    memcpy(&lo.ifr_addr, &address, sizeof address);
    return (fd >= 0 && ioctl(fd, SIOCSIFADDR, &lo) == 0) || err_errno(err, errno, "address of lo");
}
