/* Registration, against Debian's rpcbind in a network of our own. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/area/nfs_probe.h"
#include "drivers/vault/nfs/rpcbind.h"
#include "tests/lib/privileged.h"
#include "tests/lib/vault_server.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOTH = RPCBIND_FOUR | RPCBIND_SIX, WAIT_MS = 30000, PORT = 2049, OTHER_PORT = 3049 };

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

/* What a program prints, to the end. */
static char *output_of(const char *name, const char *argument, bool *ret_well)
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
        dup2(out[1], 2);
        execl(program(name), name, argument, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    while ((n = read(out[0], text + len, (1 << 16) - 1 - len)) > 0)
        len += (size_t)n;
    close(out[0]);
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    *ret_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return text;
}

static char *mapped(void)
{
    bool well = false;
    return output_of("rpcinfo", NULL, &well);
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
    AUTO(rpcbind) struct rpcbind *r = rpcbind_start(PORT, BOTH, true, &err);
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

Test(rpcbind, is_told_of_the_families_that_are_listened_to_alone)
{
    struct err err = {0};
    if (!enter("is_told_of_the_families_that_are_listened_to_alone"))
        return;
    pid_t mapper = start_mapper();
    for (unsigned family = RPCBIND_FOUR; family <= RPCBIND_SIX; family++) {
        AUTO(rpcbind) struct rpcbind *r = rpcbind_start(PORT, family, true, &err);
        cr_assert(r, "%s", err.text);
        comes_to_say(r, "registered");
        AUTO(mem) char *list = mapped();
        bool four = family == RPCBIND_FOUR;
        cr_expect_eq(is_mapped(list, "100003", "tcp", "0.0.0.0.8.1"), four, "%s", list);
        cr_expect_eq(is_mapped(list, "100005", "tcp6", "::.8.1"), !four, "%s", list);
    }
    kill_mapper(mapper);
}

Test(rpcbind, another_living_server_keeps_its_place_and_a_dead_one_does_not)
{
    struct err err = {0};
    if (!enter("another_living_server_keeps_its_place_and_a_dead_one_does_not"))
        return;
    pid_t mapper = start_mapper();
    int listener = listen_on(OTHER_PORT);
    AUTO(rpcbind) struct rpcbind *other = rpcbind_start(OTHER_PORT, BOTH, true, &err);
    cr_assert(other, "%s", err.text);
    comes_to_say(other, "registered");
    AUTO(rpcbind) struct rpcbind *r = rpcbind_start(PORT, BOTH, true, &err);
    cr_assert(r, "%s", err.text);
    comes_to_say(r, "another server is registered on port 3049");
    rpcbind_stop(TAKE(r));
    AUTO(mem) char *list = mapped();
    cr_expect(is_mapped(list, "100003", "tcp", "0.0.0.0.11.233"), "%s", list);
    close(listener); /* as one that was killed: its entry is there, nobody answers */
    r = rpcbind_start(PORT, BOTH, true, &err);
    cr_assert(r, "%s", err.text);
    if (comes_to_say(r, "registered"))
        all_mapped();
    rpcbind_stop(TAKE(other));
    all_mapped();
    kill_mapper(mapper);
}

/* ---- as the unit runs it: a user without rights, in a user namespace of its own ---- */

enum { SERVICE_UID = 64123 };

static void write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        _exit(3);
    close(fd);
}

/* A machine that gives out no user namespaces shows the rest. */
static void become_service(void)
{
    char map[64];
    if (setgroups(0, NULL) != 0 || setresgid(SERVICE_UID, SERVICE_UID, SERVICE_UID) != 0 ||
        setresuid(SERVICE_UID, SERVICE_UID, SERVICE_UID) != 0)
        _exit(2);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 1);
    if (unshare(CLONE_NEWUSER) != 0)
        return;
    str_format(map, sizeof map, "%d %d 1", SERVICE_UID, SERVICE_UID);
    write_map("/proc/self/uid_map", map);
    write_map("/proc/self/setgroups", "deny");
    write_map("/proc/self/gid_map", map);
}

/* A process that registers, says how it went, and ends in order when `go` is closed. */
struct teller {
    pid_t pid;
    int said, go;
};

static void tell(uint16_t port, const char *wanted, int said, int go)
{
    char says[RPCBIND_SAYS] = "";
    struct err err = {0};
    uint64_t until = clock_mono_ms() + WAIT_MS;
    struct rpcbind *r = rpcbind_start(port, BOTH, true, &err);
    while (r && !strstr(says, wanted) && clock_mono_ms() < until) {
        usleep(5000); /* a bounded poll: its thread tells nobody */
        rpcbind_says(r, says);
    }
    if (!r || write(said, says, sizeof says) != sizeof says || read(go, says, 1) != 0)
        _exit(4);
    rpcbind_stop(r);
    _exit(0);
}

static struct teller teller_start(bool service, uint16_t port, const char *wanted)
{
    int said[2], go[2];
    struct teller t = {0};
    char says[RPCBIND_SAYS] = "";
    cr_assert(pipe2(said, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
    t.pid = fork();
    if (t.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        if (service)
            become_service();
        tell(port, wanted, said[1], go[0]);
    }
    close(said[1]);
    close(go[0]);
    t.said = said[0];
    t.go = go[1];
    ssize_t n = read(t.said, says, sizeof says);
    cr_expect(n > 0 && strstr(says, wanted), "it says '%s', not '%s'", says, wanted);
    return t;
}

static void teller_end(struct teller *t, bool killed)
{
    int status = 0;
    if (killed)
        kill(t->pid, SIGKILL);
    close(t->go);
    cr_assert_eq(waitpid(t->pid, &status, 0), t->pid);
    cr_expect(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "it ended with %d",
              status);
    close(t->said);
}

Test(rpcbind, takes_and_lets_go_of_a_server_without_rights)
{
    if (!enter("takes_and_lets_go_of_a_server_without_rights"))
        return;
    pid_t mapper = start_mapper();
    struct teller t = teller_start(true, OTHER_PORT, "registered");
    teller_end(&t, true); /* its entries stay */
    t = teller_start(true, PORT, "registered");
    all_mapped();
    teller_end(&t, false);
    AUTO(mem) char *list = mapped();
    cr_expect(!strstr(list, "100003") && !strstr(list, "100005"), "%s", list);
    kill_mapper(mapper);
}

/* Only root, or who made it, may take an entry away. */
Test(rpcbind, keeps_what_a_dead_server_of_root_left_and_that_is_said)
{
    static const char *const programs[] = {"100003", "100005"};
    if (!enter("keeps_what_a_dead_server_of_root_left_and_that_is_said"))
        return;
    pid_t mapper = start_mapper();
    struct teller t = teller_start(false, OTHER_PORT, "registered");
    teller_end(&t, true);
    t = teller_start(true, PORT, "'rpcinfo -d 100003 3'");
    teller_end(&t, false);
    AUTO(mem) char *list = mapped();
    cr_expect(is_mapped(list, "100003", "tcp", "0.0.0.0.11.233"), "%s", list);
    for (size_t i = 0; i < 2; i++) { /* as it says */
        pid_t pid = fork();
        if (pid == 0) {
            execl(program("rpcinfo"), "rpcinfo", "-d", programs[i], "3", (char *)NULL);
            _exit(127);
        }
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
    }
    t = teller_start(true, PORT, "registered");
    all_mapped();
    teller_end(&t, false);
    kill_mapper(mapper);
}

/* The other end, as `evercopy doctor` asks for Direct NFS. */
Test(rpcbind, tells_a_host_that_asks_where_it_will_find_nothing)
{
    enum { ASK_MS = 5000 };
    struct err err = {0};
    if (!enter("tells_a_host_that_asks_where_it_will_find_nothing"))
        return;
    cr_expect_eq(nfs_probe_mapper("127.0.0.1", PORT, ASK_MS), NFS_MAPPED_NO_MAPPER);
    AUTO(rpcbind) struct rpcbind *r = rpcbind_start(PORT, BOTH, true, &err);
    cr_assert(r, "%s", err.text);
    comes_to_say(r, "no port mapper");
    pid_t mapper = start_mapper();
    comes_to_say(r, "registered");
    cr_expect_eq(nfs_probe_mapper("127.0.0.1", PORT, ASK_MS), NFS_MAPPED_GOOD);
    cr_expect_eq(nfs_probe_mapper("127.0.0.1", OTHER_PORT, ASK_MS), NFS_MAPPED_ELSEWHERE);
    rpcbind_stop(TAKE(r));
    cr_expect_eq(nfs_probe_mapper("127.0.0.1", PORT, ASK_MS), NFS_MAPPED_NOTHING);
    kill_mapper(mapper);
}

static bool ask_vault(const struct vault_server *s, const char *op, const char *name,
                      struct message *ret)
{
    struct err err = {0};
    AUTO(wire) struct wire *wire = wire_connect(s->socket, &err);
    AUTO(json) json_t *head = json_object();
    return wire && json_put_text(head, "op", op, &err) && wire_put_name(head, "name", name, &err) &&
           wire_call(wire, head, NULL, 0, WAIT_MS, ret, NULL, &err);
}

/* A host that knows no ports finds the vault, and is told to mount without them. */
Test(rpcbind, leads_hosts_to_the_vault)
{
    struct err err = {0};
    char folder[200];
    AUTO(vault_server) struct vault_server server = {0};
    if (!enter("leads_hosts_to_the_vault"))
        return;
    if (!program("nfs-ls")) {
        err_set(&err, ERR_UNSUPPORTED, "no program nfs-ls (package libnfs-utils)");
        privileged_skipped("rpcbind", "leads_hosts_to_the_vault", &err);
        return;
    }
    pid_t mapper = start_mapper();
    str_format(folder, sizeof folder, "%s/vault", privileged_dir());
    cr_assert_eq(mkdir(folder, 0700), 0);
    cr_assert(vault_server_begin(&server, folder, NULL,
                                 "rpcbind = yes\n[export]\nclients = 127.0.0.1\n", &err),
              "%s", err.text);
    cr_expect_eq(server.port, PORT, "2049 is free here");
    AUTO(message) struct message made = {0};
    cr_assert(ask_vault(&server, "volume.create", "MAIN", &made));
    uint64_t until = clock_mono_ms() + WAIT_MS;
    bool registered = false;
    while (!registered && clock_mono_ms() < until) {
        AUTO(message) struct message exports = {0};
        cr_assert(ask_vault(&server, "exports", NULL, &exports));
        registered = json_flag(exports.head, "registered");
        const json_t *row = json_array_get(json_object_get(exports.head, "exports"), 0);
        cr_expect_eq(strstr(json_text(row, "options"), "port=") == NULL, registered, "%s",
                     json_text(row, "options"));
        usleep(5000);
    }
    cr_expect(registered);
    bool well = false;
    AUTO(mem) char *said = output_of("nfs-ls", "nfs://127.0.0.1/MAIN?version=3", &well);
    cr_expect(well, "%s", said);
    cr_assert(vault_server_stop(&server, &err), "%s", err.text);
    AUTO(mem) char *list = mapped();
    cr_expect(!strstr(list, "100003"), "%s", list);
    kill_mapper(mapper);
}
