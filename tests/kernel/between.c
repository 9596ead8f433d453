/* Stands between clients and an NFS server and loses answers: the server has done what was asked
 * and the client does not know. between SERVER-PORT; says "port N", then obeys lines on stdin and
 * ends with it: swallow N   no answer is passed on; "swallowed M" when N were lost, or 5 s have
 * gone cut         all connections end, and answers pass again; "cut N" */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 256, BUFFER = 256 << 10, SWALLOW_S = 5 };

struct connection {
    int client, server;
    unsigned threads; /* that still use it; 0: free */
};

static struct connection connections[CONNECTIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t lost = PTHREAD_COND_INITIALIZER;
static bool swallowing;
static unsigned swallowed;
static uint16_t server_port;

/* Where in a stream of RPC records we are. */
struct records {
    uint8_t head[4];
    size_t head_len;
    uint32_t left; /* of the fragment */
};

/* How many records end in these bytes. */
static unsigned ends(struct records *r, const uint8_t *bytes, size_t len)
{
    unsigned count = 0;
    for (size_t i = 0; i < len;) {
        if (r->head_len < 4) {
            r->head[r->head_len++] = bytes[i++];
            if (r->head_len == 4)
                r->left = (uint32_t)(r->head[0] & 0x7f) << 24 | (uint32_t)r->head[1] << 16 |
                          (uint32_t)r->head[2] << 8 | r->head[3];
        } else {
            size_t part = len - i < r->left ? len - i : r->left;
            i += part;
            r->left -= (uint32_t)part;
        }
        if (r->head_len == 4 && r->left == 0) {
            count += r->head[0] >> 7;
            r->head_len = 0;
        }
    }
    return count;
}

static bool send_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool is_swallowed(unsigned answers)
{
    pthread_mutex_lock(&lock);
    bool yes = swallowing;
    if (yes) {
        swallowed += answers;
        pthread_cond_signal(&lost);
    }
    pthread_mutex_unlock(&lock);
    return yes;
}

static void end(struct connection *c)
{
    pthread_mutex_lock(&lock);
    shutdown(c->client, SHUT_RDWR);
    shutdown(c->server, SHUT_RDWR);
    if (--c->threads == 0) {
        close(c->client);
        close(c->server);
    }
    pthread_mutex_unlock(&lock);
}

static void *pass_calls(void *arg)
{
    struct connection *c = arg;
    uint8_t *buffer = malloc(BUFFER);
    ssize_t n;
    while (buffer && (n = recv(c->client, buffer, BUFFER, 0)) > 0)
        if (!send_all(c->server, buffer, (size_t)n))
            break;
    free(buffer);
    end(c);
    return NULL;
}

static void *pass_answers(void *arg)
{
    struct connection *c = arg;
    struct records records = {0};
    uint8_t *buffer = malloc(BUFFER);
    ssize_t n;
    while (buffer && (n = recv(c->server, buffer, BUFFER, 0)) > 0)
        if (!is_swallowed(ends(&records, buffer, (size_t)n)) &&
            !send_all(c->client, buffer, (size_t)n))
            break;
    free(buffer);
    end(c);
    return NULL;
}

static int connect_server(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(server_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static void let_in(int client)
{
    pthread_t thread;
    struct connection *c = NULL;
    int server = connect_server();
    pthread_mutex_lock(&lock);
    for (size_t i = 0; server >= 0 && i < CONNECTIONS && !c; i++)
        if (!connections[i].threads)
            c = &connections[i];
    if (c)
        *c = (struct connection){client, server, 2};
    pthread_mutex_unlock(&lock);
    if (!c) { /* the server is away: as if refused */
        close(client);
        close(server);
        return;
    }
    if (pthread_create(&thread, NULL, pass_calls, c) != 0 || pthread_detach(thread) != 0 ||
        pthread_create(&thread, NULL, pass_answers, c) != 0 || pthread_detach(thread) != 0)
        abort();
}

static void swallow(unsigned count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SWALLOW_S;
    pthread_mutex_lock(&lock);
    swallowing = true;
    swallowed = 0;
    while (swallowed < count && pthread_cond_timedwait(&lost, &lock, &until) == 0)
        continue;
    printf("swallowed %u\n", swallowed);
    pthread_mutex_unlock(&lock);
}

static void cut(void)
{
    unsigned count = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (connections[i].threads) {
            shutdown(connections[i].client, SHUT_RDWR);
            shutdown(connections[i].server, SHUT_RDWR);
            count++;
        }
    swallowing = false;
    pthread_mutex_unlock(&lock);
    printf("cut %u\n", count);
}

static bool obey(void)
{
    char line[64];
    unsigned count;
    if (!fgets(line, sizeof line, stdin))
        return false;
    if (sscanf(line, "swallow %u", &count) == 1)
        swallow(count);
    else
        cut();
    fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server_port = (uint16_t)(argc == 2 ? strtoul(argv[1], NULL, 10) : 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!server_port || fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(fd, CONNECTIONS) != 0 || getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        perror("between");
        return 2;
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* poll tells of what is not read yet */
    printf("port %u\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        struct pollfd wait[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
        if (poll(wait, 2, -1) < 0)
            return 1;
        if (wait[1].revents && !obey())
            return 0;
        if (wait[0].revents) {
            int client = accept(fd, NULL, NULL);
            if (client >= 0)
                let_in(client);
        }
    }
}
