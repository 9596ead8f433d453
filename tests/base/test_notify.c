/* What the service manager hears: each kind of socket, and names that are none. */
#include "agent/base/clock.h"
#include "agent/base/notify.h"
#include "agent/base/str.h"
#include "tests/lib/engine_drive.h"
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A manager's socket; name as NOTIFY_SOCKET has it. */
static int listen_at(const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    size_t len = strlen(name);
    memcpy(to.sun_path, name, len);
    if (name[0] == '@')
        to.sun_path[0] = '\0';
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
    cr_assert_eq(bind(fd, (struct sockaddr *)&to, size), 0, "%s", name);
    return fd;
}

static const char *heard(int fd)
{
    static char text[2048];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static bool init(const char *name, const char *usec, const char *pid)
{
    struct err err = {0};
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    unsetenv("NOTIFY_SOCKET");
    if (name)
        setenv("NOTIFY_SOCKET", name, 1);
    if (usec)
        setenv("WATCHDOG_USEC", usec, 1);
    if (pid)
        setenv("WATCHDOG_PID", pid, 1);
    bool ok = notify_init(&err);
    cr_expect_eq(err.code, ok ? ERR_NONE : ERR_CONFIG);
    return ok;
}

static void check_all(const char *name)
{
    AUTO(fd) int fd = listen_at(name);
    char pid[16];
    str_format(pid, sizeof pid, "%d", (int)getpid());
    cr_assert(init(name, "3000000", pid));
    cr_expect_null(getenv("NOTIFY_SOCKET"), "children must not speak in our name");
    cr_expect_null(getenv("WATCHDOG_USEC"));
    cr_expect_eq(notify_watchdog_ms(), 1500);
    notify_ready();
    cr_expect_str_eq(heard(fd), "READY=1");
    notify_alive();
    cr_expect_str_eq(heard(fd), "WATCHDOG=1");
    notify_stopping();
    cr_expect_str_eq(heard(fd), "STOPPING=1");
    notify_extend(2);
    cr_expect_str_eq(heard(fd), "EXTEND_TIMEOUT_USEC=2000");
    notify_reloading();
    cr_expect(str_starts(heard(fd), "RELOADING=1\nMONOTONIC_USEC="));
    notify_status("fine\nMAINPID=1\nREADY=1");
    cr_expect_str_eq(heard(fd), "STATUS=fine?MAINPID=1?READY=1", "text adds no assignment");
    char large[2000];
    memset(large, 'x', sizeof large);
    memcpy(large + 503, "\xe2\x82\xac", 3); /* would be cut in two */
    large[1999] = '\0';
    notify_status(large);
    const char *cut = heard(fd);
    cr_expect(strlen(cut) > 400 && strlen(cut) < 520 && str_is_utf8(cut, strlen(cut)));
}

Test(notify, speaks_to_a_socket_in_the_file_system_and_to_an_abstract_one)
{
    AUTO(drive_dir) char *dir = drive_dir();
    char path[200];
    char name[60];
    str_format(path, sizeof path, "%s/notify", dir);
    str_format(name, sizeof name, "@evercopy-test-%d", (int)getpid());
    check_all(path);
    check_all(name);
}

Test(notify, is_silent_when_nobody_listens)
{
    cr_assert(init(NULL, "1000", NULL));
    cr_expect_not(notify_listens());
    cr_expect_eq(notify_watchdog_ms(), 0, "nobody to ping");
    notify_ready();
    cr_assert(init("/nowhere/socket", NULL, NULL));
    notify_ready();
    notify_status("x");
    cr_expect(notify_listens());
}

Test(notify, a_name_that_is_none_stops_the_start_with_a_sentence)
{
    char endless[300];
    memset(endless, 'x', sizeof endless);
    endless[0] = '/';
    endless[299] = '\0';
    cr_expect_not(init("relative", NULL, NULL));
    cr_expect_not(init("/", NULL, NULL));
    cr_expect_not(init("@", NULL, NULL));
    cr_expect_not(init(endless, NULL, NULL));
    cr_expect_null(getenv("NOTIFY_SOCKET"));
    cr_expect(init("", NULL, NULL));
}

Test(notify, a_watchdog_of_another_process_or_no_number_is_not_ours)
{
    static const char *const bad[] = {"", "-1", "1s", "99999999999999999999", "0"};
    cr_assert(init("/nowhere/socket", "1000000", "1"));
    cr_expect_eq(notify_watchdog_ms(), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert(init("/nowhere/socket", bad[i], NULL));
        cr_expect_eq(notify_watchdog_ms(), 0, "'%s'", bad[i]);
    }
    cr_assert(init("/nowhere/socket", "1000", NULL));
    cr_expect_eq(notify_watchdog_ms(), 1);
}

Test(notify, a_manager_that_does_not_read_never_blocks_us)
{
    AUTO(drive_dir) char *dir = drive_dir();
    char path[200];
    str_format(path, sizeof path, "%s/notify", dir);
    AUTO(fd) int fd = listen_at(path);
    cr_assert(init(path, NULL, NULL));
    uint64_t begun = clock_mono_ms();
    for (int i = 0; i < 5000; i++)
        notify_alive();
    cr_expect_lt(clock_mono_ms() - begun, 3000);
    cr_expect_str_eq(heard(fd), "WATCHDOG=1");
}
