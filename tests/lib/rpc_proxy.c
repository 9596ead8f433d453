/* A proxy of RPC records: one thread a connection, both directions, records taken whole. */
#include "tests/lib/rpc_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECORD_MAX = 2 << 20, TICK_MS = 100, PROCEDURE_AT = 23, WRITE = 7, COMMIT = 21 };

struct pair {
    struct rpc_proxy *proxy;
    int client, server;
    uint8_t procedure; /* of the last call */
};

static bool move_all(int fd, uint8_t *bytes, size_t len, bool sending)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = sending ? send(fd, bytes + at, len - at, MSG_NOSIGNAL)
                            : recv(fd, bytes + at, len - at, 0);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* False: the connection has to go. */
static bool spoil(struct pair *pair, bool is_call, uint8_t *body, size_t len)
{
    struct rpc_proxy *p = pair->proxy;
    bool ok = true;
    pthread_mutex_lock(&p->lock);
    if (is_call && len > PROCEDURE_AT) {
        pair->procedure = body[PROCEDURE_AT];
        p->writes += pair->procedure == WRITE;
    }
    if (p->how == RPC_OTHER_LIFE) {
        if (!is_call && pair->procedure == COMMIT && ++p->seen <= p->at)
            body[len - 1] ^= 1; /* the verifier comes last */
    } else if (is_call == (p->how == RPC_LOSE_CALL) && ++p->seen == p->at && p->how != RPC_WHOLE) {
        ok = p->how == RPC_TURN_A_BIT;
        if (ok)
            body[p->chance % len] ^= (uint8_t)(1U << (p->chance >> 16) % 8);
    }
    pthread_mutex_unlock(&p->lock);
    return ok;
}

static bool pass_record(struct pair *pair, bool is_call, uint8_t *record)
{
    int from = is_call ? pair->client : pair->server;
    int to = is_call ? pair->server : pair->client;
    uint32_t marker;
    if (!move_all(from, record, sizeof marker, false))
        return false;
    marker = (uint32_t)record[0] << 24 | (uint32_t)record[1] << 16 | (uint32_t)record[2] << 8 |
             record[3];
    size_t len = marker & 0x7fffffff;
    return len > 0 && len <= RECORD_MAX && move_all(from, record + 4, len, false) &&
           spoil(pair, is_call, record + 4, len) && move_all(to, record, 4 + len, true);
}

static void *pass(void *arg)
{
    struct pair *pair = arg;
    struct rpc_proxy *p = pair->proxy;
    struct err err = {0};
    AUTO(mem) uint8_t *record = own_alloc(RECORD_MAX + 4, &err);
    bool ok = record != NULL;
    while (ok && !p->closing) {
        struct pollfd both[] = {{.fd = pair->client, .events = POLLIN},
                                {.fd = pair->server, .events = POLLIN}};
        if (poll(both, 2, TICK_MS) < 0)
            break;
        if (both[0].revents)
            ok = pass_record(pair, true, record);
        if (ok && both[1].revents)
            ok = pass_record(pair, false, record);
    }
    close(pair->client);
    close(pair->server);
    own_free(pair);
    p->open--;
    return NULL;
}

static int dial(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0)
        return fd;
    close(fd);
    return -1;
}

static void *take_in(void *arg)
{
    struct rpc_proxy *p = arg;
    for (;;) {
        int on = 1;
        struct err err = {0};
        pthread_t thread;
        int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0 || p->closing)
            return NULL;
        struct pair *pair = own_alloc(sizeof *pair, &err);
        int server = dial(p->server_port);
        if (!pair || server < 0) {
            close(client);
            close(server);
            own_free(pair);
            continue;
        }
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        *pair = (struct pair){.proxy = p, .client = client, .server = server};
        p->open++;
        if (pthread_create(&thread, NULL, pass, pair) == 0)
            pthread_detach(thread);
    }
}

bool rpc_proxy_begin(struct rpc_proxy *p, uint16_t server_port, struct err *err)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    *p = (struct rpc_proxy){.server_port = server_port};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pthread_mutex_init(&p->lock, NULL);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(p->listener, 32) != 0 ||
        getsockname(p->listener, (struct sockaddr *)&at, &size) != 0)
        return err_errno(err, errno, "proxy");
    p->port = ntohs(at.sin_port);
    return pthread_create(&p->thread, NULL, take_in, p) == 0 ||
           err_set(err, ERR_INTERNAL, "no thread");
}

long rpc_proxy_spoil(struct rpc_proxy *p, enum rpc_spoil how, long at, uint32_t chance)
{
    pthread_mutex_lock(&p->lock);
    long seen = p->seen;
    p->how = how;
    p->at = at;
    p->chance = chance;
    p->seen = p->writes = 0;
    pthread_mutex_unlock(&p->lock);
    return seen;
}

void rpc_proxy_done(struct rpc_proxy *p)
{
    if (!p->port)
        return;
    p->closing = true;
    shutdown(p->listener, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->listener);
    while (p->open > 0)
        IGNORE(poll(NULL, 0, 1)); /* each looks up within TICK_MS */
    pthread_mutex_destroy(&p->lock);
    p->port = 0;
}
