/* RPC records over TCP: markers checked, sizes bounded, every wait with an end. */
#include "drivers/area/nfs_link.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER_BYTES = 4096,
    SLICE_MS = 50, /* how often a waiter looks whether it was told to stop */
    FRAGMENTS_MAX = 4096,
    PORT_LOWEST = 600, /* below lie the services that a host most likely runs itself */
    PORT_TRIES = 40,
    ZEROS_BEHIND = 64, /* libnfs may look a little beyond the end */
    WAKE_BYTES = 128 << 10,
};
#define LAST_FRAGMENT 0x80000000U

struct nfs_link {
    int fd;
    bool sound;
    int wake_at;    /* bytes that have to be there before we are woken */
    char name[300]; /* host and port, for messages */
    uint32_t xid;
    uint8_t buffer[BUFFER_BYTES];
    size_t begin, end; /* unread bytes of the buffer */
    size_t fragment_left, record_left;
    unsigned fragments;
    bool last_fragment;
    uint8_t *scratch;
};

bool nfs_link_is_sound(const struct nfs_link *link) { return link->sound; }
uint32_t nfs_link_next_xid(struct nfs_link *link) { return ++link->xid; }
uint8_t *nfs_link_scratch(struct nfs_link *link) { return link->scratch; }

bool nfs_link_lied(struct nfs_link *link, struct err *err, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    IGNORE(vsnprintf(text, sizeof text, fmt, args) < 0); /* a cut sentence still helps */
    va_end(args);
    link->sound = false;
    return err_set(err, ERR_IO, "%s", text);
}

/* Whatever a socket says, the server cannot be reached through it any more: worth another try. */
static bool broken(struct nfs_link *link, const struct err *why, struct err *err)
{
    link->sound = false;
    return err_set(err, ERR_UNAVAILABLE, "%s", why->text);
}

static bool wait_for(struct nfs_link *link, int events, const struct nfs_patience *patience,
                     struct err *err)
{
    bool ready = false;
    while (!ready) {
        uint64_t now = clock_mono_ms();
        if (patience->stopped && patience->stopped(patience->arg)) {
            link->sound = false;
            return err_set(err, ERR_CANCELLED, "reading was cancelled");
        }
        if (now >= patience->until_ms) {
            link->sound = false;
            return err_set(err, ERR_TIMEOUT, "'%s' did not answer in time", link->name);
        }
        uint64_t left = patience->until_ms - now;
        struct err why = {0};
        if (!sys_poll(link->fd, events, (int)(left < SLICE_MS ? left : SLICE_MS), &ready,
                      link->name, &why))
            return broken(link, &why, err);
    }
    return true;
}

/* ---- connecting ---- */

/* Many servers serve only ports that root alone can have; where none is free any port must do. */
static void bind_low(const struct nfs_link *link, int family)
{
    struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
    struct err ignored = {0};
    if (geteuid() != 0 || (family != AF_INET && family != AF_INET6))
        return;
    for (int i = 0; i < PORT_TRIES; i++) {
        uint16_t random;
        clock_random(&random, sizeof random);
        uint16_t port = htons((uint16_t)(PORT_LOWEST + random % (IPPORT_RESERVED - PORT_LOWEST)));
        if (family == AF_INET)
            ((struct sockaddr_in *)&any)->sin_port = port;
        else
            ((struct sockaddr_in6 *)&any)->sin6_port = port;
        size_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        if (sys_bind(link->fd, &any, size, link->name, &ignored))
            return;
    }
}

bool nfs_link_is_low(const struct nfs_link *link)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } own = {0};
    socklen_t size = sizeof own;
    if (getsockname(link->fd, &own.any, &size) != 0)
        return false;
    return ntohs(own.any.sa_family == AF_INET6 ? own.six.sin6_port : own.four.sin_port) <
           IPPORT_RESERVED;
}

static bool connect_one(struct nfs_link *link, const struct addrinfo *at,
                        const struct nfs_patience *patience, struct err *err)
{
    struct err why = {0};
    int on = 1;
    own_auto_fd(&link->fd);
    link->sound = true;
    link->wake_at = 1;
    link->fd = sys_socket_stream(at->ai_family, link->name, &why);
    if (link->fd < 0)
        return broken(link, &why, err);
    bind_low(link, at->ai_family);
    IGNORE(setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)); /* only faster */
    if (!sys_connect(link->fd, at->ai_addr, at->ai_addrlen, link->name, &why))
        return broken(link, &why, err);
    if (!wait_for(link, POLLOUT, patience, err))
        return false;
    return sys_connected(link->fd, link->name, &why) || broken(link, &why, err);
}

static bool connect_any(struct nfs_link *link, const char *host, uint16_t port,
                        const struct nfs_patience *patience, struct err *err)
{
    char service[8];
    struct addrinfo *all = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    IGNORE(!str_format(service, sizeof service, "%u", port)); /* five digits at most */
    int rc = getaddrinfo(host, service, &hints, &all);
    if (rc != 0)
        return err_set(err, rc == EAI_AGAIN || rc == EAI_SYSTEM ? ERR_UNAVAILABLE : ERR_NOT_FOUND,
                       "the address of '%.200s': %s", host, gai_strerror(rc));
    bool up = false;
    struct err why = {0};
    for (const struct addrinfo *at = all; at && !up; at = at->ai_next)
        up = connect_one(link, at, patience, &why);
    freeaddrinfo(all);
    if (!up)
        *err = why;
    return up;
}

void nfs_link_close(struct nfs_link *link)
{
    if (!link)
        return;
    own_auto_fd(&link->fd);
    own_free(link->scratch);
    own_free(link);
}

struct nfs_link *nfs_link_open(const char *host, uint16_t port, const struct nfs_patience *patience,
                               struct err *err)
{
    AUTO(nfs_link) struct nfs_link *link = own_alloc(sizeof *link, err);
    if (!link)
        return NULL;
    link->fd = -1;
    link->scratch = own_alloc(NFS_SCRATCH_BYTES + ZEROS_BEHIND, err);
    if (!link->scratch)
        return NULL;
    IGNORE(!str_format(link->name, sizeof link->name, "%s:%u", host, port)); /* sized for it */
    clock_random(&link->xid, sizeof link->xid);
    return connect_any(link, host, port, patience, err) ? TAKE(link) : NULL;
}

/* ---- sending ---- */

static bool send_all(struct nfs_link *link, const uint8_t *bytes, size_t len,
                     const struct nfs_patience *patience, struct err *err)
{
    struct err why = {0};
    while (len > 0) {
        ssize_t n = sys_send(link->fd, bytes, len, link->name, &why);
        if (n == -1)
            return broken(link, &why, err);
        if (n == SYS_AGAIN && !wait_for(link, POLLOUT, patience, err))
            return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return true;
}

bool nfs_link_send(struct nfs_link *link, const void *bytes, size_t len, const void *data,
                   size_t data_len, const struct nfs_patience *patience, struct err *err)
{
    static const uint8_t zeros[3];
    size_t padding = -data_len & 3;
    uint32_t marker = htonl(LAST_FRAGMENT | (uint32_t)(len + data_len + padding));
    uint8_t first[1024]; /* small calls leave in one packet */
    size_t with = len < sizeof first - sizeof marker ? len : 0;
    memcpy(first, &marker, sizeof marker);
    memcpy(first + sizeof marker, bytes, with);
    return send_all(link, first, sizeof marker + with, patience, err) &&
           send_all(link, (const uint8_t *)bytes + with, len - with, patience, err) &&
           send_all(link, data, data_len, patience, err) &&
           send_all(link, zeros, padding, patience, err);
}

/* ---- receiving ---- */

/* A large piece is not worth being woken for at each packet. */
static void wake_at(struct nfs_link *link, size_t size)
{
    int bytes = size < BUFFER_BYTES ? 1 : size < WAKE_BYTES ? (int)size : WAKE_BYTES;
    if (bytes == link->wake_at)
        return;
    IGNORE(setsockopt(link->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes)); /* only faster */
    link->wake_at = bytes;
}

/* At least one byte, at most size. */
static bool receive(struct nfs_link *link, void *to, size_t size, size_t *ret_got,
                    const struct nfs_patience *patience, struct err *err)
{
    struct err why = {0};
    for (;;) {
        ssize_t n = sys_recv(link->fd, to, size, link->name, &why);
        if (n > 0) {
            *ret_got = (size_t)n;
            return true;
        }
        if (n == 0)
            err_set(&why, ERR_UNAVAILABLE, "'%s' closed the connection", link->name);
        if (n != SYS_AGAIN)
            return broken(link, &why, err);
        wake_at(link, size);
        if (!wait_for(link, POLLIN, patience, err))
            return false;
    }
}

/* Bytes of the stream, whatever record they belong to. Large pieces bypass the buffer. */
static bool stream_take(struct nfs_link *link, uint8_t *to, size_t len,
                        const struct nfs_patience *patience, struct err *err)
{
    while (len > 0) {
        size_t got = link->end - link->begin;
        if (got > len)
            got = len;
        if (got > 0) {
            memcpy(to, link->buffer + link->begin, got);
            link->begin += got;
        } else if (len >= BUFFER_BYTES) {
            if (!receive(link, to, len, &got, patience, err))
                return false;
        } else {
            link->begin = link->end = 0;
            if (!receive(link, link->buffer, BUFFER_BYTES - 1, &link->end, patience, err))
                return false;
        }
        to += got;
        len -= got;
        /* A server that trickles is never waited for in poll: the clock is asked here too. */
        if (len > 0 && clock_mono_ms() >= patience->until_ms) {
            link->sound = false;
            return err_set(err, ERR_TIMEOUT, "'%s' answers too slowly", link->name);
        }
    }
    return true;
}

static bool next_fragment(struct nfs_link *link, const struct nfs_patience *patience,
                          struct err *err)
{
    uint32_t marker = 0;
    if (!stream_take(link, (uint8_t *)&marker, sizeof marker, patience, err))
        return false;
    marker = ntohl(marker);
    link->last_fragment = marker & LAST_FRAGMENT;
    link->fragment_left = marker & ~LAST_FRAGMENT;
    if (link->fragment_left > link->record_left)
        return nfs_link_lied(link, err, "it announces a record longer than any answer");
    if (link->fragment_left == 0 || ++link->fragments > FRAGMENTS_MAX)
        return nfs_link_lied(link, err, "its record is cut into crumbs");
    return true;
}

bool nfs_link_begin(struct nfs_link *link, size_t limit, const struct nfs_patience *patience,
                    struct err *err)
{
    link->record_left = limit;
    link->fragments = 0;
    return next_fragment(link, patience, err);
}

bool nfs_link_take(struct nfs_link *link, void *to, size_t len, const struct nfs_patience *patience,
                   struct err *err)
{
    uint8_t *at = to;
    while (len > 0) {
        if (link->fragment_left == 0) {
            if (link->last_fragment)
                return nfs_link_lied(link, err, "its answer ends too early");
            if (!next_fragment(link, patience, err))
                return false;
        }
        size_t now = len < link->fragment_left ? len : link->fragment_left;
        if (!stream_take(link, at, now, patience, err))
            return false;
        link->fragment_left -= now;
        link->record_left -= now;
        at += now;
        len -= now;
    }
    return true;
}

bool nfs_link_take_u32(struct nfs_link *link, uint32_t *ret, const struct nfs_patience *patience,
                       struct err *err)
{
    uint32_t wire;
    if (!nfs_link_take(link, &wire, sizeof wire, patience, err))
        return false;
    *ret = ntohl(wire);
    return true;
}

bool nfs_link_take_rest(struct nfs_link *link, size_t *ret_len, const struct nfs_patience *patience,
                        struct err *err)
{
    size_t len = 0;
    for (;;) {
        if (link->fragment_left > NFS_SCRATCH_BYTES - len)
            return nfs_link_lied(link, err, "its answer is longer than was asked for");
        size_t now = link->fragment_left;
        if (!nfs_link_take(link, link->scratch + len, now, patience, err))
            return false;
        len += now;
        if (link->last_fragment)
            break;
        if (!next_fragment(link, patience, err))
            return false;
    }
    memset(link->scratch + len, 0, ZEROS_BEHIND);
    *ret_len = len;
    return true;
}

bool nfs_link_end(struct nfs_link *link, struct err *err)
{
    return (link->fragment_left == 0 && link->last_fragment) ||
           nfs_link_lied(link, err, "its answer has more bytes than it should");
}
