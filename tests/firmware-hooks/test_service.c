/* evercopyd as a service: a real one under a manager's socket, its watchdog, and its hooks. */
#include "agent/auth/ca.h"
#include "agent/catalog/catalog.h"
#include "tests/firmware-hooks/hook_dir.h"
#include "tests/lib/privileged.h"
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

struct agent {
    struct hook_dir h;
    struct scratch scratch;
    char conf[400], socket[400], pki[400];
    int manager;
    pid_t pid;
};

static void agent_done(struct agent *a)
{
    if (a->pid > 0) {
        kill(a->pid, SIGKILL);
        waitpid(a->pid, NULL, 0);
    }
    if (a->manager > 0)
        close(a->manager);
    scratch_done(&a->scratch);
    hook_dir_done(&a->h);
}
OWN_DEFINE_INPLACE(agent, struct agent, agent_done);

static const char *evercopyd(void)
{
    static char path[600];
    const char *build = getenv("EVERCOPY_BUILD");
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    char *end = strstr(path, "/tests/firmware-hooks/");
    if (end)
        *end = '\0';
    if (build)
        str_format(path, sizeof path, "%s", build);
    strncat(path, "/evercopyd", 20);
    return path;
}

static void listen_as_manager(struct agent *a)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    a->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    str_format(to.sun_path, sizeof to.sun_path, "%s", a->socket);
    cr_assert_eq(bind(a->manager, (struct sockaddr *)&to, sizeof to), 0);
}

/* False when there is no storage to be had here. */
static bool prepare(struct agent *a, const char *keys)
{
    static const char *const names[] = {"localhost"};
    struct err err = {0};
    struct ca_request request = {.name = "agent", .server_names = names, .server_name_count = 1};
    if (!xfs_sandbox(&a->scratch, &err)) {
        privileged_skipped("service", "all", &err);
        a->h.dir = drive_dir();
        return false;
    }
    hook_dir_begin(&a->h);
    str_format(a->conf, sizeof a->conf, "%s/evercopyd.conf", a->h.dir);
    str_format(a->socket, sizeof a->socket, "%s/notify", a->h.dir);
    str_format(a->pki, sizeof a->pki, "%s/pki", a->h.dir);
    AUTO(mem)
    char *text = own_printf(&err,
                            "[agent]\nlisten = 127.0.0.1:0\nstate = %s/state\npki = %s\n"
                            "hooks = %s\n%s\n[storage box]\ndriver = reflink\nroot = %s\n"
                            "[database ORCL]\nstorage = box\n",
                            a->h.dir, a->pki, a->h.hooks, keys, a->scratch.mount);
    cr_assert(sys_write_file(a->conf, text, strlen(text), 0600, &err), "%s", err.text);
    cr_assert(ca_init(a->pki, &request, &err), "%s", err.text);
    listen_as_manager(a);
    return true;
}

static void start(struct agent *a, const char *watchdog_usec)
{
    fflush(NULL);
    a->pid = fork();
    cr_assert_geq(a->pid, 0);
    if (a->pid == 0) {
        setenv("NOTIFY_SOCKET", a->socket, 1);
        if (watchdog_usec)
            setenv("WATCHDOG_USEC", watchdog_usec, 1);
        execl(evercopyd(), evercopyd(), "--config", a->conf, "serve", (char *)NULL);
        _exit(127);
    }
}

/* The next message, waited for; "" when none came in time. */
static const char *heard(struct agent *a, int within_ms)
{
    static char text[2048];
    struct pollfd fd = {.fd = a->manager, .events = POLLIN};
    ssize_t n = poll(&fd, 1, within_ms) > 0 ? recv(a->manager, text, sizeof text - 1, 0) : 0;
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

/* True once a message that begins so came; others are dropped on the way. */
static bool hears(struct agent *a, const char *prefix, int within_ms)
{
    uint64_t until = clock_mono_ms() + (uint64_t)within_ms;
    for (uint64_t now; (now = clock_mono_ms()) < until;)
        if (str_starts(heard(a, (int)(until - now)), prefix))
            return true;
    return false;
}

static bool appears(const struct agent *a, const char *name)
{
    uint64_t until = clock_mono_ms() + 15000;
    while (access(hook_path(&a->h, name), F_OK) != 0 && clock_mono_ms() < until)
        usleep(5000);
    return access(hook_path(&a->h, name), F_OK) == 0;
}

static void wait_ready(struct agent *a)
{
    uint64_t until = clock_mono_ms() + 20000;
    while (clock_mono_ms() < until && waitpid(a->pid, NULL, WNOHANG) == 0)
        if (str_equal(heard(a, 200), "READY=1"))
            return;
    AUTO(mem) char *log = hook_text(a->h.log);
    a->pid = 0;
    cr_assert_fail("not ready: %s", log);
}

Test(service, says_ready_once_it_serves_then_pings_then_stopping)
{
    AUTO(agent) struct agent a = {0};
    if (!prepare(&a, ""))
        return;
    start(&a, "400000");
    cr_expect(str_starts(heard(&a, 10000), "STATUS=opening storages"), "what it does meanwhile");
    wait_ready(&a);
    cr_expect(hook_logged(&a.h, "ready port="), "it serves already");
    cr_expect(hears(&a, "STATUS=ORCL failed: nothing is recoverable", 10000), "worst first");
    for (int i = 0; i < 3; i++)
        cr_expect(hears(&a, "WATCHDOG=1", 5000), "ping %d", i);
    kill(a.pid, SIGTERM);
    cr_expect(hears(&a, "STOPPING=1", 5000));
    int status;
    cr_assert_eq(waitpid(a.pid, &status, 0), a.pid);
    a.pid = 0;
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The number of the thread that is called so. */
static pid_t thread_of(pid_t pid, const char *name)
{
    char path[300];
    struct err err = {0};
    AUTO(sys_names) struct sys_names tasks = {0};
    str_format(path, sizeof path, "/proc/%d/task", (int)pid);
    cr_assert(sys_list(path, &tasks, &err), "%s", err.text);
    for (size_t i = 0; i < tasks.count; i++) {
        str_format(path, sizeof path, "/proc/%d/task/%s/comm", (int)pid, tasks.names[i]);
        AUTO(fd) int fd = open(path, O_RDONLY);
        char comm[32] = {0};
        IGNORE(read(fd, comm, sizeof comm - 1) < 0);
        if (str_equal(str_trim(comm), name))
            return (pid_t)strtol(tasks.names[i], NULL, 10);
    }
    return 0;
}

Test(service, a_lane_of_the_engine_that_hangs_stops_the_pings)
{
    AUTO(agent) struct agent a = {0};
    if (!prepare(&a, ""))
        return;
    start(&a, "300000");
    wait_ready(&a);
    cr_assert(hears(&a, "WATCHDOG=1", 5000));
    pid_t lane = thread_of(a.pid, "engine");
    cr_assert_gt(lane, 0);
    if (ptrace(PTRACE_SEIZE, lane, NULL, NULL) != 0) {
        printf("SKIPPED service/hang: no thread can be held here\n");
        return;
    }
    cr_assert_eq(ptrace(PTRACE_INTERRUPT, lane, NULL, NULL), 0);
    cr_assert_eq(waitpid(lane, NULL, __WALL), lane);
    while (heard(&a, 150)[0]) /* one may have been under way */
        continue;
    cr_expect_not(hears(&a, "WATCHDOG=1", 1500), "the loop alone must not ping");
    cr_expect(hook_logged(&a.h, "the engine's lane has not answered"), "and it says why");
    cr_assert_eq(ptrace(PTRACE_DETACH, lane, NULL, NULL), 0);
    cr_expect(hears(&a, "WATCHDOG=1", 5000), "it goes on when the lane does");
}

Test(service, verdict_changes_are_told_once_also_over_a_restart)
{
    AUTO(agent) struct agent a = {0};
    if (!prepare(&a, ""))
        return;
    hook_put(&a.h, "verdict.change/10-led",
             "grep -E '^(db|old|new)=' | tr '\\n' ' ' >> $D/led; echo >> $D/led; : > $D/seen");
    for (int round = 0; round < 2; round++) {
        start(&a, NULL);
        wait_ready(&a);
        cr_assert(appears(&a, "seen"));
        cr_assert(hears(&a, "STATUS=ORCL failed", 10000), "it was looked at in this round");
        kill(a.pid, SIGTERM);
        cr_assert_eq(waitpid(a.pid, NULL, 0), a.pid);
        a.pid = 0;
    }
    AUTO(mem) char *led = hook_text(hook_path(&a.h, "led"));
    cr_expect_str_eq(led, "db=ORCL old=none new=failed \n");
}

static void seed_catalog(const struct agent *a)
{
    struct err err = {0};
    cr_assert(sys_mkdirs(hook_path(&a->h, "state"), 0700, &err));
    AUTO(catalog)
    struct catalog *c = catalog_open(hook_path(&a->h, "state/catalog.sqlite"), &err);
    struct catalog_job job = {.id = "snapshot-x", .kind = "snapshot", .database = "ORCL"};
    cr_assert(c, "%s", err.text);
    cr_assert(catalog_job_add(c, &job, "{\"database\":\"ORCL\",\"name\":\"x\"}", &err) &&
                  catalog_step_begin(c, job.id, "gone-step", &err),
              "%s", err.text);
}

Test(service, boot_recovery_job_ends_and_low_room_are_told)
{
    AUTO(agent) struct agent a = {0};
    if (!prepare(&a, "capacitylow = 99\ncapacityok = 100"))
        return;
    seed_catalog(&a);
    struct err err = {0};
    char volume[300];
    str_format(volume, sizeof volume, "%s/volumes/ORCL", a.scratch.mount);
    cr_assert(sys_mkdirs(volume, 0755, &err));
    static const char *const events[] = {"boot.recovered", "job.end", "capacity.low"};
    for (size_t i = 0; i < 3; i++) {
        char name[60];
        str_format(name, sizeof name, "%s/10-a", events[i]);
        hook_put(&a.h, name, "cat > $D/part.$$; cat $D/part.$$ >> $D/$1; : > $D/seen.$1");
    }
    start(&a, NULL);
    wait_ready(&a);
    for (size_t i = 0; i < 3; i++) {
        char name[60];
        str_format(name, sizeof name, "seen.%s", events[i]);
        AUTO(mem) char *log = hook_text(a.h.log);
        cr_assert(appears(&a, name), "%s: %s", events[i], log);
    }
    AUTO(mem) char *boot = hook_text(hook_path(&a.h, "boot.recovered"));
    AUTO(mem) char *end = hook_text(hook_path(&a.h, "job.end"));
    AUTO(mem) char *low = hook_text(hook_path(&a.h, "capacity.low"));
    cr_expect(strstr(boot, "\nswept=1\n"), "%s", boot);
    cr_expect(strstr(end, "\njob=snapshot-x\nkind=snapshot\ndb=ORCL\n") &&
                  strstr(end, "\nstate=swept\n") && strstr(end, "\nverdict=failed\n"),
              "%s", end);
    cr_expect(strstr(low, "\nvolume=ORCL\navailable=") && strstr(low, "\ncapacity="), "%s", low);
}

Test(service, a_configuration_read_again_is_told_and_its_databases_are_looked_at)
{
    AUTO(agent) struct agent a = {0};
    struct err err = {0};
    if (!prepare(&a, ""))
        return;
    start(&a, NULL);
    wait_ready(&a);
    cr_assert(hears(&a, "STATUS=ORCL failed", 10000));
    AUTO(mem) char *text = hook_text(a.conf);
    AUTO(mem) char *more = own_printf(&err, "%s[database NEW]\nstorage = box\n", text);
    cr_assert(sys_write_file(a.conf, more, strlen(more), 0600, &err), "%s", err.text);
    kill(a.pid, SIGHUP);
    cr_expect(hears(&a, "RELOADING=1\nMONOTONIC_USEC=", 10000));
    cr_expect(hears(&a, "READY=1", 10000));
    uint64_t until = clock_mono_ms() + 15000;
    bool told = false;
    while (!told && clock_mono_ms() < until)
        told = strstr(heard(&a, 1000), "of 2: 2 failed") != NULL;
    cr_expect(told, "the new one is looked at");
}
