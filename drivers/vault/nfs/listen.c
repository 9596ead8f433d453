/* The port: the same one on every address, the well-known one when nobody says otherwise. */
#include "agent/base/sys.h"
#include "drivers/vault/nfs/server_int.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRIES = 8 };

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static bool parse(const char *text, uint16_t port, union address *ret, struct err *err)
{
    *ret = (union address){0};
    if (inet_pton(AF_INET, text, &ret->four.sin_addr) == 1) {
        ret->four.sin_family = AF_INET;
        ret->four.sin_port = htons(port);
        return true;
    }
    if (inet_pton(AF_INET6, text, &ret->six.sin6_addr) == 1) {
        ret->six.sin6_family = AF_INET6;
        ret->six.sin6_port = htons(port);
        return true;
    }
    return err_set(err, ERR_CONFIG, "'%s' is no IPv4 or IPv6 address to listen on", text);
}

static bool set(int fd, int level, int option, struct err *err)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one) == 0 ||
           err_errno(err, errno, "prepare a socket to listen on");
}

static int listen_at(const char *text, uint16_t port, struct err *err)
{
    union address address;
    if (!parse(text, port, &address, err))
        return -1;
    bool six = address.any.sa_family == AF_INET6;
    AUTO(fd) int fd = sys_socket_stream(address.any.sa_family, text, err);
    /* A restart gets its port back; "::" leaves IPv4 to "0.0.0.0". */
    if (fd < 0 || !set(fd, SOL_SOCKET, SO_REUSEADDR, err) ||
        (six && !set(fd, IPPROTO_IPV6, IPV6_V6ONLY, err)) ||
        !sys_bind(fd, &address, six ? sizeof address.six : sizeof address.four, text, err))
        return -1;
    if (listen(fd, SOMAXCONN) != 0) {
        err_errno(err, errno, "listen on '%s' port %u", text, port);
        return -1;
    }
    int taken = fd;
    fd = -1;
    return taken;
}

static uint16_t port_of(int fd)
{
    union address address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, &address.any, &len) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.six.sin6_port : address.four.sin_port);
}

bool nfsd_listens_to(const struct nfsd *nfsd, int family)
{
    bool any = false;
    for (size_t i = 0; i < nfsd->listener_count; i++) {
        union address address = {0};
        socklen_t len = sizeof address;
        any |= getsockname(nfsd->listeners[i], &address.any, &len) == 0 &&
               address.any.sa_family == family;
    }
    return any;
}

static void forget(struct nfsd *nfsd)
{
    while (nfsd->listener_count > 0)
        IGNORE(close(nfsd->listeners[--nfsd->listener_count]));
}

/* "::" on a host without IPv6: served over IPv4 alone. */
static bool may_miss(const char *text)
{
    struct err err = {0};
    union address address;
    if (!parse(text, 0, &address, &err) || address.any.sa_family != AF_INET6 ||
        !IN6_IS_ADDR_UNSPECIFIED(&address.six.sin6_addr))
        return false;
    AUTO(fd) int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 && errno == EAFNOSUPPORT;
}

/* On all addresses, or on none. */
static bool listen_all(struct nfsd *nfsd, uint16_t port, struct err *err)
{
    for (size_t i = 0; i < nfsd->options.listen_count; i++) {
        if (may_miss(nfsd->options.listen[i]))
            continue;
        int fd = listen_at(nfsd->options.listen[i], port, err);
        if (fd < 0) {
            forget(nfsd);
            return false;
        }
        nfsd->listeners[nfsd->listener_count++] = fd;
        port = port ? port : port_of(fd);
    }
    nfsd->port = port;
    return nfsd->listener_count > 0 ||
           err_set(err, ERR_CONFIG, "no address to listen on: this host has no IPv6");
}

bool nfsd_listen(struct nfsd *nfsd, struct err *err)
{
    static const uint16_t wanted[] = {2049, 20490};
    size_t most = sizeof nfsd->listeners / sizeof *nfsd->listeners;
    if (nfsd->options.listen_count == 0 || nfsd->options.listen_count > most)
        return err_set(err, ERR_CONFIG, "1 to %zu addresses to listen on, not %zu", most,
                       nfsd->options.listen_count);
    if (nfsd->options.port)
        return listen_all(nfsd, nfsd->options.port, err);
    struct err why = {0};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (listen_all(nfsd, wanted[i], &why))
            return true;
    for (int i = 0; i < TRIES; i++) /* what one address chose may be taken on the next */
        if (listen_all(nfsd, 0, &why))
            return true;
    *err = why;
    return false;
}
