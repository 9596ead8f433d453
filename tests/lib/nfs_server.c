/* A real NFS server for tests: talks to tests/lib/ganesha.sh. */
#include "tests/lib/nfs_server.h"

#include "agent/base/str.h"
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MS = 30000 };

static bool tell(const struct nfs_server *s, const char *word, const char *expected,
                 struct err *err)
{
    char line[SCRIPT_LINE];
    IGNORE(script_tell(&s->script, word)); /* one that has ended: its last line says why */
    if (!script_read(&s->script, ANSWER_MS, line, err))
        return false;
    return str_equal(line, expected) ||
           err_set(err, ERR_UNSUPPORTED, "%s", str_starts(line, "SKIPPED ") ? line + 8 : line);
}

bool nfs_server_begin(struct nfs_server *s, unsigned size_mb, struct err *err)
{
    *s = (struct nfs_server){.script = {.to = -1, .from = -1}};
    const char *argv[] = {"tests/lib/ganesha.sh", s->dir, NULL};
    if (!privileged_enter(true, err) || !scratch_mount(&s->scratch, "tmpfs", size_mb, err))
        return false;
    IGNORE(!str_copy(s->dir, sizeof s->dir, s->scratch.mount)); /* sized for it */
    IGNORE(!str_format(s->url, sizeof s->url,
                       "nfs://127.0.0.1%s?version=3&nfsport=20491&mountport=20492", s->dir));
    return script_begin(&s->script, argv, err) && nfs_server_start(s, err);
}

bool nfs_server_start(struct nfs_server *s, struct err *err) { return tell(s, "start", "up", err); }

bool nfs_server_kill(struct nfs_server *s, struct err *err) { return tell(s, "kill", "down", err); }

void nfs_server_done(struct nfs_server *s)
{
    script_end(&s->script);
    scratch_done(&s->scratch);
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
