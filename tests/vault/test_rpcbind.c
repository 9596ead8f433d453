/* Registration, against Debian's rpcbind in a network of our own. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/nfs/rpcbind.h"
#include "tests/lib/privileged.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 30000, PORT = 2049, OTHER_PORT = 3049 };

static const char *program(const char *name)
{
    static char path[64];
    static const char *const folders[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        str_format(path, sizeof path, "%s/%s", folders[i], name);
        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

/* A network and a /run of our own, where no port mapper is. */
static bool enter(const char *name)
{
    struct err err = {0};
    if (!program("rpcbind") || !program("rpcinfo"))
        err_set(&err, ERR_UNSUPPORTED, "no program rpcbind (package rpcbind)");
    else if (privileged_enter(true, &err) &&
             (mount("none", "/run", "tmpfs", 0, NULL) != 0 || mkdir("/run/rpcbind", 0755) != 0))
        err_errno(&err, errno, "a /run of our own");
    if (err.code)
        privileged_skipped("rpcbind", name, &err);
    return !err.code;
}

static pid_t start_mapper(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int fd = 0; fd < 3; fd++)
            dup2(null, fd);
        execl(program("rpcbind"), "rpcbind", "-f", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void kill_mapper(pid_t pid)
{
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

static bool comes_to_say(struct rpcbind *r, const char *text)
{
    char says[RPCBIND_SAYS];
    uint64_t until = clock_mono_ms() + WAIT_MS;
    do {
        rpcbind_says(r, says);
        if (strstr(says, text))
            return true;
        usleep(5000); /* a bounded poll: its thread tells nobody */
    } while (clock_mono_ms() < until);
    cr_expect(false, "it says '%s', not '%s'", says, text);
    return false;
}

/* What rpcinfo prints, to the end. */
static char *mapped(void)
{
    struct err err = {0};
    int out[2];
    size_t len = 0;
    ssize_t n;
    char *text = own_alloc(1 << 16, &err);
    cr_assert(text && pipe(out) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        execl(program("rpcinfo"), "rpcinfo", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    while ((n = read(out[0], text + len, (1 << 16) - 1 - len)) > 0)
        len += (size_t)n;
    close(out[0]);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    return text;
}

static bool is_mapped(const char *list, const char *program_no, const char *netid,
                      const char *address)
{
    char line[200];
    str_format(line, sizeof line, "    %s    3    %-9s %s", program_no, netid, address);
    return strstr(list, line);
}

static bool all_mapped(void)
{
    AUTO(mem) char *list = mapped();
    bool all = is_mapped(list, "100003", "tcp", "0.0.0.0.8.1") &&
               is_mapped(list, "100005", "tcp", "0.0.0.0.8.1") &&
               is_mapped(list, "100003", "tcp6", "::.8.1") &&
               is_mapped(list, "100005", "tcp6", "::.8.1");
    cr_expect(all, "%s", list);
    return all;
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
              listen(fd, 5) == 0);
    return fd;
}

Test(rpcbind, is_told_whenever_it_comes_and_told_off_at_the_end)
{
    struct err err = {0};
    if (!enter("is_told_whenever_it_comes_and_told_off_at_the_end"))
        return;
    AUTO(rpcbind) struct rpcbind *r = rpcbind_start(PORT, true, &err);
    cr_assert(r, "%s", err.text);
    comes_to_say(r, "no port mapper");
    pid_t mapper = start_mapper();
    if (comes_to_say(r, "registered"))
        all_mapped();
    kill_mapper(mapper);
    comes_to_say(r, "no port mapper");
    mapper = start_mapper();
    if (comes_to_say(r, "registered"))
        all_mapped();
    rpcbind_stop(TAKE(r));
    AUTO(mem) char *list = mapped();
    cr_expect(!strstr(list, "100003") && !strstr(list, "100005"), "%s", list);
    kill_mapper(mapper);
}

Test(rpcbind, another_living_server_keeps_its_place_and_a_dead_one_does_not)
{
    struct err err = {0};
    if (!enter("another_living_server_keeps_its_place_and_a_dead_one_does_not"))
        return;
    pid_t mapper = start_mapper();
    int listener = listen_on(OTHER_PORT);
    AUTO(rpcbind) struct rpcbind *other = rpcbind_start(OTHER_PORT, true, &err);
    cr_assert(other, "%s", err.text);
    comes_to_say(other, "registered");
    AUTO(rpcbind) struct rpcbind *r = rpcbind_start(PORT, true, &err);
    cr_assert(r, "%s", err.text);
    comes_to_say(r, "another server is registered on port 3049");
    rpcbind_stop(TAKE(r));
    AUTO(mem) char *list = mapped();
    cr_expect(is_mapped(list, "100003", "tcp", "0.0.0.0.11.233"), "%s", list);
    close(listener); /* as one that was killed: its entry is there, nobody answers */
    r = rpcbind_start(PORT, true, &err);
    cr_assert(r, "%s", err.text);
    if (comes_to_say(r, "registered"))
        all_mapped();
    rpcbind_stop(TAKE(other));
    all_mapped();
    kill_mapper(mapper);
}
