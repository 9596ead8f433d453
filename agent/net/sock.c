/* TCP sockets: listening, accepting, and connecting with a deadline. */
#include "agent/net/sock.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 256, DEAD_PEER_MS = 120000, SWALLOW_MAX = 256 << 10 };

static void addrinfo_free(struct addrinfo *list)
{
    if (list)
        freeaddrinfo(list);
}
OWN_DEFINE(addrinfo, struct addrinfo, addrinfo_free);

static void set_flag(int fd, int level, int option, int value)
{
    /* Only tuning: a kernel without one of them still works. */
    IGNORE(setsockopt(fd, level, option, &value, sizeof value) != 0);
}

static void tune(int fd)
{
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_flag(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_PEER_MS);
    set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

/* strerror with a lower-case start, since it ends up inside our sentences. */
static bool fail_reason(struct err *err, enum err_code code, int errno_value)
{
    char buffer[96];
    char text[96];
    str_copy(text, sizeof text, strerror_r(errno_value, buffer, sizeof buffer));
    text[0] = (char)tolower((unsigned char)text[0]);
    return err_set(err, code, "%s", text);
}

static uint16_t port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, &address.any, &len) != 0)
        return 0;
    bool is_six = address.any.sa_family == AF_INET6;
    return ntohs(is_six ? address.six.sin6_port : address.four.sin_port);
}

static int listen_at(const struct addrinfo *at, int *ret_errno)
{
    AUTO(fd) int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (at->ai_family == AF_INET6)
            set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
        if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0) {
            int taken = fd;
            fd = -1;
            return taken;
        }
    }
    *ret_errno = errno;
    return -1;
}

int sock_listen(const char *host, uint16_t port, uint16_t *ret_port, struct err *err)
{
    char service[8];
    str_format(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    AUTO(addrinfo) struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        err_set(err, ERR_CONFIG, "listen address '%s' cannot be resolved: %s", host,
                gai_strerror(rc));
        return -1;
    }
    int errno_value = EADDRNOTAVAIL;
    for (struct addrinfo *at = list; at; at = at->ai_next) {
        int fd = listen_at(at, &errno_value);
        if (fd >= 0) {
            *ret_port = port_of(fd);
            return fd;
        }
    }
    err_errno(err, errno_value, "listen on '%s' port %u", host, port);
    return -1;
}

static void format_address(const struct sockaddr_storage *from, socklen_t len, char *ret)
{
    char host[48];
    char port[8];
    if (getnameinfo((const struct sockaddr *)from, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        str_copy(ret, SOCK_ADDRESS_MAX, "?");
    else
        str_format(ret, SOCK_ADDRESS_MAX, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

int sock_accept(int listener, char ret_address[SOCK_ADDRESS_MAX])
{
    struct sockaddr_storage from;
    for (;;) {
        socklen_t len = sizeof from;
        int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            tune(fd);
            format_address(&from, len, ret_address);
            return fd;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return -1;
    }
}

bool sock_wait(int fd, bool readable, bool writable, uint64_t deadline_ms)
{
    struct pollfd ask = {.fd = fd};
    ask.events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
    for (;;) {
        uint64_t now = clock_mono_ms();
        if (now >= deadline_ms)
            return false;
        uint64_t left = deadline_ms - now;
        int rc = poll(&ask, 1, left > 60000 ? 60000 : (int)left);
        if (rc > 0)
            return true;
    }
}

/* A name service that hangs must not hang us: the lookup may outlive the wait for it. The waiter
 * and the completion each leave once, and the second to leave frees. */
struct lookup {
    struct gaicb request;
    struct gaicb *list[1];
    struct addrinfo hints;
    struct sigevent event;
    char host[256];
    char service[8];
    atomic_bool left;
};

static void lookup_leave(struct lookup *lookup)
{
    if (!atomic_exchange(&lookup->left, true))
        return;
    addrinfo_free(lookup->request.ar_result);
    own_free(lookup);
}

/* On a thread of the C library. */
static void lookup_done(union sigval value) { lookup_leave(value.sival_ptr); }

static struct lookup *lookup_start(const char *host, const char *service, struct err *err)
{
    struct lookup *lookup = own_alloc(sizeof *lookup, err);
    if (!lookup)
        return NULL;
    lookup->hints =
        (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    lookup->event = (struct sigevent){.sigev_notify = SIGEV_THREAD,
                                      .sigev_value.sival_ptr = lookup,
                                      .sigev_notify_function = lookup_done};
    lookup->request = (struct gaicb){
        .ar_name = lookup->host, .ar_service = lookup->service, .ar_request = &lookup->hints};
    lookup->list[0] = &lookup->request;
    str_copy(lookup->service, sizeof lookup->service, service);
    int rc = str_copy(lookup->host, sizeof lookup->host, host)
                 ? getaddrinfo_a(GAI_NOWAIT, lookup->list, 1, &lookup->event)
                 : EAI_NONAME;
    if (rc == 0)
        return lookup;
    own_free(lookup);
    err_set(err, ERR_UNAVAILABLE, "name '%.60s' cannot be resolved (%s)", host, gai_strerror(rc));
    return NULL;
}

/* EAI_INPROGRESS when the time ran out. */
static int lookup_wait(struct lookup *lookup, uint64_t deadline_ms)
{
    const struct gaicb *const list[] = {&lookup->request};
    for (;;) {
        int rc = gai_error(&lookup->request);
        uint64_t now = clock_mono_ms();
        if (rc != EAI_INPROGRESS || now >= deadline_ms)
            return rc;
        uint64_t left = deadline_ms - now;
        struct timespec pause = {.tv_sec = (time_t)(left / 1000),
                                 .tv_nsec = (long)(left % 1000) * 1000000};
        IGNORE(gai_suspend(list, 1, &pause)); /* asked again above */
    }
}

static struct addrinfo *resolve(const char *host, uint16_t port, uint64_t deadline_ms,
                                struct err *err)
{
    char service[8];
    str_format(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, service, &hints, &list) == 0)
        return list;
    struct lookup *lookup = lookup_start(host, service, err);
    if (!lookup)
        return NULL;
    int rc = lookup_wait(lookup, deadline_ms);
    if (rc == 0)
        list = TAKE(lookup->request.ar_result);
    else if (rc == EAI_INPROGRESS)
        err_set(err, ERR_UNAVAILABLE, "the name service did not answer in time for '%s'", host);
    else
        err_set(err, ERR_UNAVAILABLE, "name '%s' cannot be resolved (%s)", host, gai_strerror(rc));
    lookup_leave(lookup);
    return list;
}

static int connect_to(const struct addrinfo *at, uint64_t deadline_ms, struct err *err)
{
    AUTO(fd) int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int problem = fd < 0 ? errno : 0;
    if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0)
        problem = errno;
    if (problem == EINPROGRESS) {
        problem = ETIMEDOUT;
        socklen_t len = sizeof problem;
        if (sock_wait(fd, false, true, deadline_ms) &&
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len) != 0)
            problem = errno;
    }
    if (problem) {
        fail_reason(err, ERR_UNAVAILABLE, problem);
        return -1;
    }
    tune(fd);
    int taken = fd;
    fd = -1;
    return taken;
}

int sock_connect(const char *host, uint16_t port, uint64_t deadline_ms, struct err *err)
{
    AUTO(addrinfo) struct addrinfo *list = resolve(host, port, deadline_ms, err);
    uint64_t count = 0;
    for (struct addrinfo *at = list; at; at = at->ai_next)
        count++;
    for (struct addrinfo *at = list; at; at = at->ai_next, count--) {
        /* Each address gets its share, so that a dead first one leaves time for the next. */
        uint64_t now = clock_mono_ms();
        uint64_t share = deadline_ms > now ? (deadline_ms - now) / count : 0;
        struct err why = {0};
        int fd = connect_to(at, now + share, &why);
        if (fd >= 0)
            return fd;
        *err = why;
    }
    return -1;
}

void sock_close_gently(int fd)
{
    char scrap[4096];
    IGNORE(shutdown(fd, SHUT_WR) != 0); /* gone already is fine */
    for (size_t total = 0; total < SWALLOW_MAX;) {
        ssize_t n = recv(fd, scrap, sizeof scrap, MSG_DONTWAIT);
        if (n <= 0)
            break;
        total += (size_t)n;
    }
    close(fd);
}
