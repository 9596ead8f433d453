/* A raw ONC RPC client, and a program to be called, for tests of the server. */
#include "tests/lib/nfs_raw.h"

#include "agent/base/waiting.h"
#include "drivers/vault/nfs/server.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_S = 20 };

void raw_put(uint8_t *to, uint32_t n)
{
    n = htonl(n);
    memcpy(to, &n, 4);
}

uint32_t raw_get(const uint8_t *from)
{
    uint32_t n;
    memcpy(&n, from, 4);
    return ntohl(n);
}

int raw_connect(uint16_t port, int buffer) { return raw_connect_as(port, buffer, 1); }

int raw_connect_as(uint16_t port, int buffer, uint8_t host)
{
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffu) | host)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {WAIT_S, 0};
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (buffer) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    }
    if ((host == 1 || bind(fd, (struct sockaddr *)&from, sizeof from) == 0) &&
        connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

size_t raw_call(uint8_t *to, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                const void *args, size_t len)
{
    const uint32_t words[] = {0x80000000u | (uint32_t)(RAW_HEAD - 4 + len),
                              xid,
                              0,
                              2,
                              program,
                              version,
                              procedure,
                              0,
                              0,
                              0,
                              0};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        raw_put(to + i * 4, words[i]);
    if (len)
        memcpy(to + RAW_HEAD, args, len);
    return RAW_HEAD + len;
}

bool raw_send(int fd, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, p + at, len - at, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

bool raw_read(int fd, void *to, size_t len)
{
    uint8_t *p = to;
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(fd, p + at, len - at, 0);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

size_t raw_reply(int fd, uint8_t *to, size_t size)
{
    uint8_t marker[4];
    if (!raw_read(fd, marker, 4))
        return 0;
    size_t len = raw_get(marker) & 0x7fffffff;
    if (!(raw_get(marker) >> 31) || len > size)
        return 0;
    return raw_read(fd, to, len) ? len : 0;
}

bool raw_ended(int fd)
{
    uint8_t scrap[4096];
    ssize_t n;
    while ((n = recv(fd, scrap, sizeof scrap, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

bool raw_stirs(int fd, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, ms) > 0;
}

void raw_reset(int fd)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

/* ---- the program ---- */

struct echo {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned held, gone;
    bool let_go;
};

struct echo *echo_new(void)
{
    struct echo *echo = calloc(1, sizeof *echo);
    if (echo) {
        pthread_mutex_init(&echo->lock, NULL);
        pthread_cond_init(&echo->changed, NULL);
    }
    return echo;
}

void echo_free(struct echo *echo)
{
    if (!echo)
        return;
    pthread_mutex_destroy(&echo->lock);
    pthread_cond_destroy(&echo->changed);
    free(echo);
}

static bool await(struct echo *echo, const unsigned *number, unsigned at_least)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&echo->lock);
    int code = 0;
    while (*number < at_least && code == 0)
        code = pthread_cond_timedwait(&echo->changed, &echo->lock, &until);
    bool there = *number >= at_least;
    pthread_mutex_unlock(&echo->lock);
    return there;
}

bool echo_await_held(struct echo *echo, unsigned count) { return await(echo, &echo->held, count); }
bool echo_await_gone(struct echo *echo, unsigned count) { return await(echo, &echo->gone, count); }

void echo_let_go(struct echo *echo)
{
    pthread_mutex_lock(&echo->lock);
    echo->let_go = true;
    pthread_cond_broadcast(&echo->changed);
    pthread_mutex_unlock(&echo->lock);
}

static void hold(struct echo *echo)
{
    pthread_mutex_lock(&echo->lock);
    echo->held++;
    pthread_cond_broadcast(&echo->changed);
    while (!echo->let_go)
        pthread_cond_wait(&echo->changed, &echo->lock);
    echo->held--;
    pthread_mutex_unlock(&echo->lock);
}

static enum rpc_accept many(struct nfsd_call *call)
{
    struct err err = {0};
    if (call->rpc.args_len != 4)
        return RPC_GARBAGE_ARGS;
    size_t size = raw_get(call->rpc.args) & ~3u;
    memset(call->results, (int)call->rpc.xid, 4);
    call->results_len = 4; /* what is written before room is asked for stays */
    nfsd_call_is_large(call);
    if (!nfsd_results_room(call, size, &err))
        return RPC_SYSTEM_ERR;
    memset(call->results + 4, (int)call->rpc.xid, size > 4 ? size - 4 : 0);
    call->results_len = size > 4 ? size : 4;
    return RPC_SUCCESS;
}

static enum rpc_accept back(struct nfsd_call *call)
{
    struct err err = {0};
    if (!nfsd_results_room(call, call->rpc.args_len, &err))
        return RPC_SYSTEM_ERR;
    memcpy(call->results, call->rpc.args, call->rpc.args_len);
    call->results_len = call->rpc.args_len;
    return RPC_SUCCESS;
}

static enum rpc_accept run(void *arg, struct nfsd_call *call)
{
    struct echo *echo = arg;
    switch (call->rpc.procedure) {
    case ECHO_SLOW:
        nfsd_call_is_slow(call);
        return back(call);
    case ECHO_HELD:
        if (!nfsd_call_may_wait(call, NFSD_HALF))
            return RPC_SYSTEM_ERR;
        waiting_begins();
        hold(echo);
        return back(call);
    case ECHO_TAKEN:
        nfsd_call_is_slow(call);
        hold(echo);
        return RPC_SUCCESS;
    case ECHO_BACK:
        return back(call);
    case ECHO_MANY:
        return many(call);
    case ECHO_SILENT:
        return RPC_SILENCE;
    default:
        return RPC_SUCCESS;
    }
}

static void gone(void *arg, const struct nfsd_peer *peer)
{
    struct echo *echo = arg;
    pthread_mutex_lock(&echo->lock);
    echo->gone += peer->port != 0;
    pthread_cond_broadcast(&echo->changed);
    pthread_mutex_unlock(&echo->lock);
}

struct nfsd_program echo_program(struct echo *echo)
{
    return (struct nfsd_program){.program = ECHO_PROGRAM,
                                 .version_low = ECHO_VERSION,
                                 .version_high = ECHO_VERSION,
                                 .procedures = ECHO_PROCEDURES,
                                 .run = run,
                                 .arg = echo,
                                 .gone = gone};
}
