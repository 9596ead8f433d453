/* What the service manager hears: datagrams to the socket it named. */
#include "agent/base/notify.h"

#include "agent/base/str.h"
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 512 };

static struct sockaddr_un address;
static socklen_t address_len; /* 0: nobody listens */
static uint64_t watchdog_us;

/* For us, or for whoever runs us: then it is not our affair. */
static uint64_t read_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    uint64_t us = 0;
    uint64_t pid = 0;
    if (!usec || !str_to_u64(usec, UINT64_MAX / 2, &us))
        return 0;
    if (pid_text && (!str_to_u64(pid_text, INT32_MAX, &pid) || pid != (uint64_t)getpid()))
        return 0;
    return us;
}

static bool read_address(const char *name, struct err *err)
{
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2)
        return err_set(err, ERR_CONFIG, "NOTIFY_SOCKET '%.100s' is no socket's name", name);
    if (len >= sizeof address.sun_path)
        return err_set(err, ERR_CONFIG, "NOTIFY_SOCKET '%.100s...' is too long", name);
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0'; /* abstract: its length counts, no NUL behind */
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
    return true;
}

bool notify_init(struct err *err)
{
    const char *name = getenv("NOTIFY_SOCKET");
    address_len = 0;
    watchdog_us = read_watchdog();
    bool ok = !name || !name[0] || read_address(name, err);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return ok;
}

bool notify_listens(void) { return address_len > 0; }

uint64_t notify_watchdog_ms(void)
{
    uint64_t half = watchdog_us / 2000;
    return !notify_listens() || !watchdog_us ? 0 : half ? half : 1;
}

/* A socket for each message: whoever stops listening, or begins again, is no state of ours. */
static void send_text(const char *text)
{
    if (!notify_listens())
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    ssize_t n;
    do
        n = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, address_len);
    while (n < 0 && errno == EINTR);
    close(fd);
}

void notify_ready(void) { send_text("READY=1"); }
void notify_stopping(void) { send_text("STOPPING=1"); }
void notify_alive(void) { send_text("WATCHDOG=1"); }

/* The manager compares it with its own clock, so a shifted one would not do. */
void notify_reloading(void)
{
    char text[64];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    IGNORE(!str_format(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                       (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000));
    send_text(text);
}

void notify_extend(uint64_t ms)
{
    char text[64];
    IGNORE(!str_format(text, sizeof text, "EXTEND_TIMEOUT_USEC=%" PRIu64, ms * 1000));
    send_text(text);
}

void notify_status(const char *line)
{
    char text[TEXT_MAX];
    IGNORE(!str_format(text, sizeof text, "STATUS=%s", line)); /* cut is fine */
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    while (len > 7 && !str_is_utf8(text + 7, len - 7)) /* the manager drops what is not */
        text[--len] = '\0';
    send_text(text);
}
