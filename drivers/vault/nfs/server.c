/* The NFS port's life: who is let in, threads, figures, the end. */
#include "drivers/vault/nfs/server.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/waiting.h"
#include "agent/net/sock.h"
#include "drivers/vault/nfs/server_int.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    CONNECTIONS = 1024,
    CLIENT_CONNECTIONS = 256,
    BUFFER_BYTES = 96 << 20,
    BUFFER_LEAST = 16 << 20, /* a client's quarter is then room for a request and its reply */
    STALL_MS = 20000,
    LATE_MS = 14000,   /* and at most a quarter: less than 20 s */
    SLOW_CALLS = 1024, /* threads: the unit's TasksMax has room for twice that, and connections */
    SLOW_LEAST = 4,
    STRANGERS_PART = 8,
    IDLE_MS = 30000,
    IDLE_THREADS = 64,
    THREAD_STAYS_S = 30,
    STOP_MS = 10000,
    TELL_MS = 60000,
    REST_MS = 50, /* of accepting, when the system has no room for a connection */
    DEAD_PEER_MS = 120000,
    PROBE_S = 30,
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    STACK_BYTES = 1 << 20,
#else
    STACK_BYTES = 256 << 10, /* touched only as far as needed: an S3 store's TLS may */
#endif
};

/* ---- threads ---- */

static void worker_free(struct worker *worker)
{
    IGNORE(pthread_cond_destroy(&worker->wake));
    own_free(worker);
}

/* The next connection, or NULL after a while without one. With the lock. */
static struct nfsd_connection *await_task(struct nfsd *nfsd, struct worker *worker)
{
    struct timespec until;
    if (nfsd->idle_count >= IDLE_THREADS || atomic_load(&nfsd->stopping) ||
        clock_gettime(CLOCK_MONOTONIC, &until) != 0)
        return NULL;
    until.tv_sec += THREAD_STAYS_S;
    worker->next = nfsd->idle;
    nfsd->idle = worker;
    nfsd->idle_count++;
    while (!worker->task && !atomic_load(&nfsd->stopping))
        if (pthread_cond_timedwait(&worker->wake, &nfsd->lock, &until) == ETIMEDOUT)
            break;
    if (worker->task)
        return worker->task; /* nfsd_run took it off the list */
    for (struct worker **at = &nfsd->idle; *at; at = &(*at)->next)
        if (*at == worker) {
            *at = worker->next;
            break;
        }
    nfsd->idle_count--;
    return NULL;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct nfsd *nfsd = worker->nfsd;
    for (struct nfsd_connection *c = worker->task; c;) {
        worker->task = NULL;
        connection_serve(worker, c);
        IGNORE(pthread_mutex_lock(&nfsd->lock));
        c = await_task(nfsd, worker);
        IGNORE(pthread_mutex_unlock(&nfsd->lock));
    }
    worker_free(worker);
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    nfsd->threads--;
    IGNORE(pthread_cond_broadcast(&nfsd->ended));
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    return NULL;
}

static struct worker *worker_new(struct nfsd *nfsd, struct nfsd_connection *c)
{
    struct err err = {0};
    pthread_condattr_t attr;
    struct worker *worker = own_alloc(sizeof *worker, &err);
    if (!worker)
        return NULL;
    worker_init(worker, nfsd);
    worker->task = c;
    IGNORE(pthread_condattr_init(&attr));
    IGNORE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    IGNORE(pthread_cond_init(&worker->wake, &attr));
    IGNORE(pthread_condattr_destroy(&attr));
    return worker;
}

static bool start_thread(struct nfsd *nfsd, struct nfsd_connection *c)
{
    pthread_t thread;
    pthread_attr_t attr;
    struct worker *worker = worker_new(nfsd, c);
    if (!worker || pthread_attr_init(&attr) != 0) {
        own_free(worker);
        return false;
    }
    IGNORE(pthread_attr_setstacksize(&attr, STACK_BYTES));
    IGNORE(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED));
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    bool ok = pthread_create(&thread, &attr, worker_main, worker) == 0;
    if (ok)
        nfsd->threads++;
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    IGNORE(pthread_attr_destroy(&attr));
    if (!ok)
        worker_free(worker);
    return ok;
}

bool nfsd_run(struct nfsd *nfsd, struct nfsd_connection *c)
{
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    struct worker *worker = nfsd->idle;
    if (worker) {
        nfsd->idle = worker->next;
        nfsd->idle_count--;
        worker->task = c;
        IGNORE(pthread_cond_signal(&worker->wake));
    }
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    return worker || start_thread(nfsd, c);
}

/* ---- connections and their clients ---- */

static struct client **client_slot(struct nfsd *nfsd, const uint8_t address[16])
{
    unsigned hash = 0;
    for (size_t i = 0; i < 16; i++)
        hash = hash * 31 + address[i];
    struct client **at = &nfsd->clients[hash % CLIENT_BUCKETS];
    while (*at && memcmp((*at)->peer.address, address, 16) != 0)
        at = &(*at)->next;
    return at;
}

static bool is_stranger(const struct nfsd *nfsd, const struct nfsd_peer *peer)
{
    const struct nfsd_options *o = &nfsd->options;
    return o->knows && !o->knows(o->knows_arg, peer);
}

/* With the lock. NULL: no memory, or it has as many connections as one client may; counts why. */
static struct client *client_join(struct nfsd *nfsd, const struct nfsd_peer *peer)
{
    struct err err = {0};
    struct client **at = client_slot(nfsd, peer->address);
    bool stranger = *at ? atomic_load(&(*at)->stranger) : is_stranger(nfsd, peer);
    if (stranger && nfsd->stranger_count >= nfsd->options.strangers_max) {
        nfsd->past.refused_stranger++;
        return NULL;
    }
    if (*at && (*at)->connections >= nfsd->options.client_connections_max) {
        nfsd->past.refused_client++;
        return NULL;
    }
    if (!*at) {
        *at = own_alloc(sizeof **at, &err);
        if (!*at)
            return NULL;
        (*at)->peer = *peer;
        atomic_init(&(*at)->stranger, stranger);
    }
    (*at)->connections++;
    nfsd->stranger_count += stranger;
    return *at;
}

/* With the lock. True: that was its last connection. */
static bool client_leave(struct nfsd *nfsd, struct client *client)
{
    nfsd->stranger_count -= atomic_load(&client->stranger);
    if (--client->connections > 0)
        return false;
    struct client **at = client_slot(nfsd, client->peer.address);
    *at = client->next;
    own_free(client);
    return true;
}

void nfsd_judge(struct nfsd *nfsd)
{
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    nfsd->stranger_count = 0;
    for (int i = 0; i < CLIENT_BUCKETS; i++)
        for (struct client *client = nfsd->clients[i]; client; client = client->next) {
            bool stranger = is_stranger(nfsd, &client->peer);
            atomic_store(&client->stranger, stranger);
            nfsd->stranger_count += stranger ? client->connections : 0;
        }
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
}

static void sum(struct nfsd_figures *to, struct nfsd_connection *c)
{
    to->calls += atomic_load_explicit(&c->calls, memory_order_relaxed);
    to->bytes_in += atomic_load_explicit(&c->bytes_in, memory_order_relaxed);
    to->bytes_out += atomic_load_explicit(&c->bytes_out, memory_order_relaxed);
}

static void connection_free(struct nfsd_connection *c)
{
    buffer_give(&c->nfsd->stock, c->in);
    IGNORE(pthread_mutex_destroy(&c->send_lock));
    own_free(c);
}

/* With the lock: one that connects again meanwhile waits, and is not taken for gone. */
static void tell_gone(struct nfsd *nfsd, const struct nfsd_peer *peer)
{
    for (size_t i = 0; i < nfsd->options.program_count; i++)
        if (nfsd->options.programs[i].gone)
            nfsd->options.programs[i].gone(nfsd->options.programs[i].arg, peer);
}

void nfsd_forget(struct nfsd *nfsd, struct nfsd_connection *c)
{
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    *(c->previous ? &c->previous->next : &nfsd->connections) = c->next;
    if (c->next)
        c->next->previous = c->previous;
    bool last = client_leave(nfsd, c->client);
    sum(&nfsd->past, c);
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    sock_close_gently(c->fd); /* a last reply is not lost to a reset */
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    if (last && !*client_slot(nfsd, c->peer.address))
        tell_gone(nfsd, &c->peer);
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    connection_free(c);
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    nfsd->connection_count--;
    IGNORE(pthread_cond_broadcast(&nfsd->ended));
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
}

/* ---- who is let in ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static void name_peer(const union address *from, struct nfsd_peer *ret)
{
    bool mapped = from->any.sa_family == AF_INET;
    if (mapped) {
        ret->address[10] = ret->address[11] = 0xff;
        memcpy(ret->address + 12, &from->four.sin_addr, 4);
        ret->port = ntohs(from->four.sin_port);
    } else {
        memcpy(ret->address, &from->six.sin6_addr, 16);
        ret->port = ntohs(from->six.sin6_port);
    }
    if (!inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? ret->address + 12 : ret->address,
                   ret->text, sizeof ret->text))
        str_copy(ret->text, sizeof ret->text, "?");
}

static void set(int fd, int level, int option, int value)
{
    /* Only tuning: a kernel without one of them still works. */
    IGNORE(setsockopt(fd, level, option, &value, sizeof value) != 0);
}

static void tune(const struct nfsd *nfsd, int fd)
{
    uint64_t ms = nfsd->options.stall_ms;
    struct timeval time = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, PROBE_S);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_S);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_PEER_MS);
    IGNORE(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) != 0);
}

/* With the lock. Counts why not. */
static bool connection_join(struct nfsd *nfsd, struct nfsd_connection *c)
{
    if (nfsd->connection_count >= nfsd->options.connections_max) {
        nfsd->past.refused_full++;
        return false;
    }
    c->client = client_join(nfsd, &c->peer);
    if (!c->client)
        return false;
    nfsd->connection_count++;
    c->next = nfsd->connections;
    if (c->next)
        c->next->previous = c;
    nfsd->connections = c;
    return true;
}

static void admit(struct nfsd *nfsd, int fd, const union address *from)
{
    struct err err = {0};
    struct nfsd_connection *c = own_alloc(sizeof *c, &err);
    if (!c) {
        IGNORE(close(fd));
        return;
    }
    c->nfsd = nfsd;
    c->fd = fd;
    atomic_init(&c->users, 1);
    IGNORE(pthread_mutex_init(&c->send_lock, NULL));
    name_peer(from, &c->peer);
    c->in = buffer_few(&err);
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    bool joined = c->in && connection_join(nfsd, c);
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    if (!joined) {
        IGNORE(close(fd));
        connection_free(c);
        return;
    }
    tune(nfsd, fd);
    if (!nfsd_run(nfsd, c)) {
        IGNORE(pthread_mutex_lock(&nfsd->lock));
        nfsd->past.refused_full++;
        IGNORE(pthread_mutex_unlock(&nfsd->lock));
        nfsd_forget(nfsd, c);
    }
}

/* Out of descriptors the listener would stay readable: one is kept back, to say no with. False:
 * it is gone, too. */
static bool refuse_with_spare(struct nfsd *nfsd, int listener)
{
    if (nfsd->spare >= 0)
        IGNORE(close(nfsd->spare));
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        IGNORE(close(fd));
        IGNORE(pthread_mutex_lock(&nfsd->lock));
        nfsd->past.refused_full++;
        IGNORE(pthread_mutex_unlock(&nfsd->lock));
    }
    nfsd->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

/* Of one connection, which has gone: the next may be better. */
static bool is_of_connection(int code)
{
    return code == EINTR || code == ECONNABORTED || code == EPROTO || code == EPERM ||
           code == ENETDOWN || code == ENETUNREACH || code == EHOSTDOWN || code == EHOSTUNREACH;
}

/* False: the listener stays readable, and nothing can be done for it now. */
static bool accept_some(struct nfsd *nfsd, int listener)
{
    for (int i = 0; i < SOMAXCONN && !atomic_load(&nfsd->stopping); i++) {
        union address from = {0};
        socklen_t len = sizeof from;
        int fd = accept4(listener, &from.any, &len, SOCK_CLOEXEC);
        int code = errno;
        if (fd >= 0)
            admit(nfsd, fd, &from);
        else if (code == EAGAIN)
            return true;
        else if (code == EMFILE || code == ENFILE ? !refuse_with_spare(nfsd, listener)
                                                  : !is_of_connection(code))
            return false;
    }
    return true;
}

/* At the first refusal, then once a minute. */
static void tell_refusals(struct nfsd *nfsd)
{
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    const struct nfsd_figures past = nfsd->past;
    unsigned connections = nfsd->connection_count;
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    uint64_t refused = past.refused_full + past.refused_client + past.refused_stranger;
    uint64_t ms = clock_mono_ms();
    if (refused == nfsd->told || (nfsd->told_ms && ms - nfsd->told_ms < TELL_MS))
        return;
    log_warning("nfs connections refused, connections=%u all_in_use=%llu of_one_client=%llu "
                "of_strangers=%llu",
                connections, (unsigned long long)past.refused_full,
                (unsigned long long)past.refused_client, (unsigned long long)past.refused_stranger);
    nfsd->told = refused;
    nfsd->told_ms = ms;
}

/* At the first, then once a minute. */
static void tell_late(struct nfsd *nfsd)
{
    uint64_t ms = clock_mono_ms();
    nfsd->late += late_answer(nfsd);
    if (nfsd->late == 0 || (nfsd->late_told_ms && ms - nfsd->late_told_ms < TELL_MS))
        return;
    log_warning("nfs calls wait for a disk or the store, clients are told to come again calls=%llu",
                (unsigned long long)nfsd->late);
    nfsd->late = 0;
    nfsd->late_told_ms = ms;
}

/* What has come since the last line; at the first, then once a minute. */
static void tell_cut(struct nfsd *nfsd)
{
    const struct nfsd_figures now = {.refused_lies = atomic_load(&nfsd->lies),
                                     .stalled = atomic_load(&nfsd->stalled),
                                     .starved = atomic_load(&nfsd->starved)};
    const struct nfsd_figures *told = &nfsd->cut_told;
    uint64_t lies = now.refused_lies - told->refused_lies, stalled = now.stalled - told->stalled,
             starved = now.starved - told->starved, ms = clock_mono_ms();
    if (lies + stalled + starved == 0 || (nfsd->cut_told_ms && ms - nfsd->cut_told_ms < TELL_MS))
        return;
    log_warning("nfs connections cut, stalled=%llu not_the_protocol=%llu no_memory=%llu",
                (unsigned long long)stalled, (unsigned long long)lies, (unsigned long long)starved);
    nfsd->cut_told = now;
    nfsd->cut_told_ms = ms;
}

static void *accept_main(void *arg)
{
    struct nfsd *nfsd = arg;
    int pause_ms = (int)(nfsd->options.late_ms / 4);
    struct pollfd wait[NFSD_LISTEN_MAX + 1] = {{.fd = nfsd->wake, .events = POLLIN}};
    for (size_t i = 0; i < nfsd->listener_count; i++)
        wait[i + 1] = (struct pollfd){.fd = nfsd->listeners[i], .events = POLLIN};
    while (!atomic_load(&nfsd->stopping)) {
        bool rests = false;
        if (poll(wait, nfsd->listener_count + 1, pause_ms) > 0)
            for (size_t i = 0; i < nfsd->listener_count; i++)
                rests |= wait[i + 1].revents && !accept_some(nfsd, nfsd->listeners[i]);
        if (rests)
            IGNORE(poll(wait, 1, REST_MS) < 0);
        tell_refusals(nfsd);
        tell_late(nfsd);
        tell_cut(nfsd);
    }
    return NULL;
}

/* ---- life ---- */

static void nfsd_free(struct nfsd *nfsd)
{
    for (size_t i = 0; i < nfsd->listener_count; i++)
        IGNORE(close(nfsd->listeners[i]));
    if (nfsd->wake >= 0)
        IGNORE(close(nfsd->wake));
    if (nfsd->spare >= 0)
        IGNORE(close(nfsd->spare));
    if (nfsd->watching)
        waiting_watch_stop();
    stock_done(&nfsd->stock);
    IGNORE(pthread_mutex_destroy(&nfsd->lock));
    IGNORE(pthread_mutex_destroy(&nfsd->late_lock));
    IGNORE(pthread_cond_destroy(&nfsd->ended));
    own_free(nfsd);
}

static void set_options(struct nfsd *nfsd, const struct nfsd_options *options)
{
    struct nfsd_options *o = &nfsd->options;
    *o = *options;
    o->connections_max = o->connections_max ? o->connections_max : CONNECTIONS;
    o->client_connections_max =
        o->client_connections_max ? o->client_connections_max : CLIENT_CONNECTIONS;
    o->buffer_bytes = o->buffer_bytes ? o->buffer_bytes : BUFFER_BYTES;
    if (o->buffer_bytes < BUFFER_LEAST)
        o->buffer_bytes = BUFFER_LEAST;
    o->stall_ms = o->stall_ms ? o->stall_ms : STALL_MS;
    o->slow_max = o->slow_max ? o->slow_max : SLOW_CALLS;
    if (o->slow_max < SLOW_LEAST)
        o->slow_max = SLOW_LEAST;
    o->late_ms = o->late_ms ? o->late_ms : LATE_MS;
    o->idle_ms = o->idle_ms ? o->idle_ms : IDLE_MS;
    if (!o->strangers_max)
        o->strangers_max = (o->connections_max + STRANGERS_PART - 1) / STRANGERS_PART;
}

/* Its threads take no signals: those are for who serves the process. */
static bool start_accepting(struct nfsd *nfsd, struct err *err)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    IGNORE(pthread_sigmask(SIG_SETMASK, &all, &before));
    int code = pthread_create(&nfsd->thread, NULL, accept_main, nfsd);
    IGNORE(pthread_sigmask(SIG_SETMASK, &before, NULL));
    return code == 0 || err_errno(err, code, "start the thread of the NFS port");
}

struct nfsd *nfsd_start(const struct nfsd_options *options, struct err *err)
{
    pthread_condattr_t attr;
    struct nfsd *nfsd = own_alloc(sizeof *nfsd, err);
    if (!nfsd)
        return NULL;
    set_options(nfsd, options);
    nfsd->looking_max = (unsigned)get_nprocs() / 2;
    stock_init(&nfsd->stock, nfsd->options.buffer_bytes);
    IGNORE(pthread_mutex_init(&nfsd->lock, NULL));
    IGNORE(pthread_mutex_init(&nfsd->late_lock, NULL));
    IGNORE(pthread_condattr_init(&attr));
    IGNORE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    IGNORE(pthread_cond_init(&nfsd->ended, &attr));
    IGNORE(pthread_condattr_destroy(&attr));
    nfsd->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    nfsd->wake = eventfd(0, EFD_CLOEXEC);
    bool ok = nfsd->wake >= 0 || err_errno(err, errno, "prepare the NFS port");
    ok = ok && (nfsd->watching = waiting_watch_start(err)) && nfsd_listen(nfsd, err) &&
         start_accepting(nfsd, err);
    if (ok)
        return nfsd;
    nfsd_free(nfsd);
    return NULL;
}

/* With the lock: until nothing is left of what `count` counts, or the time is over. */
static void await_none(struct nfsd *nfsd, const unsigned *count, uint64_t timeout_s)
{
    struct timespec until;
    if (clock_gettime(CLOCK_MONOTONIC, &until) != 0)
        return;
    until.tv_sec += (time_t)timeout_s;
    while (*count > 0) {
        int code = timeout_s ? pthread_cond_timedwait(&nfsd->ended, &nfsd->lock, &until)
                             : pthread_cond_wait(&nfsd->ended, &nfsd->lock);
        if (code == ETIMEDOUT)
            return;
    }
}

static void shut(struct nfsd *nfsd, int how)
{
    for (struct nfsd_connection *c = nfsd->connections; c; c = c->next)
        IGNORE(shutdown(c->fd, how)); /* gone already is fine */
}

void nfsd_stop(struct nfsd *nfsd)
{
    if (!nfsd)
        return;
    uint64_t one = 1;
    atomic_store(&nfsd->stopping, true);
    IGNORE(write(nfsd->wake, &one, sizeof one) < 0); /* a fresh counter takes it */
    IGNORE(pthread_join(nfsd->thread, NULL));
    stock_stop(&nfsd->stock);
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    shut(nfsd, SHUT_RD); /* what is under way still goes out */
    await_none(nfsd, &nfsd->connection_count, STOP_MS / 1000);
    shut(nfsd, SHUT_RDWR);
    await_none(nfsd, &nfsd->connection_count, 0); /* calls end by themselves */
    for (struct worker *worker = nfsd->idle; worker; worker = worker->next)
        IGNORE(pthread_cond_signal(&worker->wake));
    await_none(nfsd, &nfsd->threads, 0);
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    nfsd_free(nfsd);
}

void nfsd_cut(struct nfsd *nfsd, const uint8_t address[16])
{
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    for (struct nfsd_connection *c = nfsd->connections; c; c = c->next)
        if (memcmp(c->peer.address, address, sizeof c->peer.address) == 0)
            IGNORE(shutdown(c->fd, SHUT_RDWR)); /* gone already is fine */
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
}

uint16_t nfsd_port(const struct nfsd *nfsd) { return nfsd->port; }

struct nfsd_figures nfsd_figures(struct nfsd *nfsd)
{
    IGNORE(pthread_mutex_lock(&nfsd->lock));
    struct nfsd_figures figures = nfsd->past;
    for (struct nfsd_connection *c = nfsd->connections; c; c = c->next)
        sum(&figures, c);
    figures.connections = nfsd->connection_count;
    figures.threads = nfsd->threads;
    IGNORE(pthread_mutex_unlock(&nfsd->lock));
    figures.refused_lies = atomic_load(&nfsd->lies);
    figures.stalled = atomic_load(&nfsd->stalled);
    figures.starved = atomic_load(&nfsd->starved);
    IGNORE(pthread_mutex_lock(&nfsd->stock.lock));
    figures.buffer_bytes = nfsd->stock.lent + nfsd->stock.kept_bytes;
    IGNORE(pthread_mutex_unlock(&nfsd->stock.lock));
    return figures;
}
