/* An NFS client of single calls over TCP. */
#include "tests/lib/nfs_caller.h"

#include "agent/base/clock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nfsc/libnfs-raw-mount.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BYTES = (1 << 20) + (64 << 10), SLACK = 64, WAIT_MS = 30000, HEAD_WORDS = 6 };

typedef int attach(int fd, const struct sockaddr *address, socklen_t len);

static bool attach_to(int fd, attach *how, const char *address, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return how(fd, (struct sockaddr *)&v4, sizeof v4) == 0;
    return inet_pton(AF_INET6, address, &v6.sin6_addr) == 1 &&
           how(fd, (struct sockaddr *)&v6, sizeof v6) == 0;
}

bool nfs_caller_open_from(struct nfs_caller *c, const char *from, uint16_t from_port,
                          const char *address, uint16_t port, struct err *err)
{
    const char *to = address ? address : "127.0.0.1";
    const char *any = strchr(to, ':') ? "::" : "0.0.0.0";
    *c = (struct nfs_caller){.machine = "test", .wait_ms = WAIT_MS};
    clock_random(&c->xid, sizeof c->xid);
    c->bytes = own_alloc(BYTES + SLACK, err);
    c->fd = socket(strchr(to, ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (c->fd >= 0)
        IGNORE(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    if (c->fd >= 0 && from_port)
        IGNORE(setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    if (!c->bytes || c->fd < 0 || !attach_to(c->fd, bind, from ? from : any, from_port) ||
        !attach_to(c->fd, connect, to, port)) {
        err_errno(err, errno, "connect to '%s' port %u", to, port);
        nfs_caller_close(c);
        return false;
    }
    return true;
}

bool nfs_caller_open(struct nfs_caller *c, const char *address, uint16_t port, struct err *err)
{
    return nfs_caller_open_from(c, NULL, 0, address, port, err);
}

static void forget(struct nfs_caller *c)
{
    if (c->decoded.buf)
        libnfs_zdr_destroy(&c->decoded);
    memset(&c->decoded, 0, sizeof c->decoded);
}

void nfs_caller_close(struct nfs_caller *c)
{
    forget(c);
    if (c->bytes && c->fd >= 0)
        close(c->fd);
    own_free(c->bytes);
    c->bytes = NULL;
    c->fd = -1;
}

static bool send_all(struct nfs_caller *c, const void *bytes, size_t len, struct err *err)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(err, errno, "send a call");
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool take(struct nfs_caller *c, void *to, size_t len, struct err *err)
{
    uint8_t *at = to;
    while (len > 0) {
        struct pollfd ready = {.fd = c->fd, .events = POLLIN};
        if (poll(&ready, 1, (int)c->wait_ms) <= 0)
            return err_set(err, ERR_TIMEOUT, "no answer in %u ms", c->wait_ms);
        ssize_t n = recv(c->fd, at, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, "the server hung up");
        if (n < 0)
            return err_errno(err, errno, "receive an answer");
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static size_t put(uint8_t *to, size_t at, uint32_t n)
{
    n = htonl(n);
    memcpy(to + at, &n, sizeof n);
    return at + sizeof n;
}

static uint32_t get(const uint8_t *from)
{
    uint32_t n;
    memcpy(&n, from, sizeof n);
    return ntohl(n);
}

bool nfs_caller_send(struct nfs_caller *c, uint32_t xid, uint32_t program, uint32_t procedure,
                     const void *args, size_t len, struct err *err)
{
    enum { HEAD_MAX = 512, VERSION_RPC = 2, VERSION = 3, SYS = 1 };
    uint8_t head[HEAD_MAX];
    size_t name = strlen(c->machine), padded = (name + 3) & ~(size_t)3;
    const uint32_t words[HEAD_WORDS] = {xid, 0, VERSION_RPC, program, VERSION, procedure};
    size_t at = 4;
    for (size_t i = 0; i < HEAD_WORDS; i++)
        at = put(head, at, words[i]);
    at = put(head, at, SYS);
    at = put(head, at, (uint32_t)(20 + padded + (size_t)4 * c->group_count));
    at = put(head, at, 0);
    at = put(head, at, (uint32_t)name);
    memset(head + at, 0, padded);
    memcpy(head + at, c->machine, name);
    at = put(head, at + padded, c->uid);
    at = put(head, at, c->gid);
    at = put(head, at, c->group_count);
    for (uint32_t i = 0; i < c->group_count; i++)
        at = put(head, at, c->groups[i]);
    at = put(head, at, 0);
    at = put(head, at, 0);
    put(head, 0, 0x80000000U | (uint32_t)(at - 4 + len));
    c->xid = xid;
    return send_all(c, head, at, err) && send_all(c, args, len, err);
}

bool nfs_caller_receive(struct nfs_caller *c, struct nfs_caller_answer *ret, struct err *err)
{
    enum { HEAD = 24 };
    uint8_t marker[4];
    forget(c);
    if (!take(c, marker, sizeof marker, err))
        return false;
    uint32_t len = get(marker) & 0x7fffffffU;
    if (len < HEAD || len > BYTES)
        return err_set(err, ERR_IO, "an answer of %u bytes", len);
    if (!take(c, c->bytes, len, err))
        return false;
    memset(c->bytes + len, 0, SLACK);
    if (get(c->bytes + 4) != 1 || get(c->bytes + 8) != 0 || get(c->bytes + 16) != 0)
        return err_set(err, ERR_DENIED, "not an accepted answer with an empty verifier");
    *ret = (struct nfs_caller_answer){.xid = get(c->bytes),
                                      .accepted = get(c->bytes + 20),
                                      .results = c->bytes + HEAD,
                                      .len = len - HEAD};
    return true;
}

static bool call(struct nfs_caller *c, uint32_t xid, uint32_t program, uint32_t procedure,
                 zdrproc_t encode, void *args, struct nfs_caller_answer *ret, struct err *err)
{
    ZDR zdr;
    forget(c);
    libnfs_zdrmem_create(&zdr, (char *)c->bytes, BYTES, ZDR_ENCODE);
    bool ok = !encode || encode(&zdr, args);
    size_t len = libnfs_zdr_getpos(&zdr);
    libnfs_zdr_destroy(&zdr);
    if (!ok)
        return err_set(err, ERR_INVALID, "arguments that libnfs does not encode");
    return nfs_caller_send(c, xid, program, procedure, c->bytes, len, err) &&
           nfs_caller_receive(c, ret, err) &&
           (ret->xid == xid || err_set(err, ERR_IO, "an answer to another call")) &&
           (ret->accepted == 0 ||
            err_set(err, ERR_UNSUPPORTED, "the call was not accepted: %u", ret->accepted));
}

bool nfs_caller_call(struct nfs_caller *c, uint32_t xid, uint32_t procedure, zdrproc_t encode,
                     void *args, zdrproc_t decode, void *results, size_t results_size,
                     struct err *err)
{
    struct nfs_caller_answer answer;
    memset(results, 0, results_size);
    if (!call(c, xid ? xid : c->xid + 1, NFS_PROGRAM, procedure, encode, args, &answer, err))
        return false;
    libnfs_zdrmem_create(&c->decoded, (char *)answer.results, (uint32_t)answer.len, ZDR_DECODE);
    if (!decode(&c->decoded, results))
        return err_set(err, ERR_IO, "results that libnfs does not decode");
    if (libnfs_zdr_getpos(&c->decoded) != answer.len)
        return err_set(err, ERR_IO, "results of %zu bytes, of which %u were read", answer.len,
                       libnfs_zdr_getpos(&c->decoded));
    return true;
}

bool nfs_caller_mount(struct nfs_caller *c, const char *path, uint8_t ret[64], size_t *ret_len,
                      struct err *err)
{
    struct nfs_caller_answer answer;
    char *name = (char *)(uintptr_t)path;
    if (!call(c, c->xid + 1, MOUNT_PROGRAM, MOUNT3_MNT, (zdrproc_t)zdr_dirpath, &name, &answer,
              err))
        return false;
    uint32_t status = get(answer.results), len = get(answer.results + 4);
    if (status != 0)
        return err_set(err, status == MNT3ERR_ACCES ? ERR_DENIED : ERR_NOT_FOUND, "mount '%s': %u",
                       path, status);
    if (len > 64 || answer.len < 8 + len)
        return err_set(err, ERR_IO, "mount '%s': a handle of %u bytes", path, len);
    memcpy(ret, answer.results + 8, len);
    *ret_len = len;
    return true;
}
