/* Tells the port mapper of this host where MOUNT and NFS are: rpcbind's protocol, version 4
 * (RFC 1833), over its local socket or the loopback.
 *
 *     absent --connected--> asking --all is ours--> registered --hung up, 10 s--> asking
 *       ^                     |                         |
 *       +----- 0.5 s and more +-- no answer ------------+-- stop: unset, end */
#include "drivers/vault/nfs/rpcbind.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    MAPPER = 100000,
    MAPPER_VERSION = 4,
    MAPPER_PORT = 111,
    RECORD_MAX = 256 << 10,
    ASK_MAX = 512,
    ANSWER_MS = 2000,
    LOOK_MS = 10000, /* between looks at what is registered */
    ABSENT_MS = 500, /* between the first tries to find one; twice as long each time */
    PAUSE_MS = 200,  /* at least, between connections */
};
enum { SET = 1, UNSET = 2, DUMP = 4 };
static const char local_socket[] = "/run/rpcbind.sock";

static const struct service {
    uint32_t program, version;
    const char *netid, *any;
    unsigned family;
    bool optional; /* a host without IPv6 does not know it */
} services[] = {
    {100003, 3, "tcp", "0.0.0.0", RPCBIND_FOUR, false},
    {100005, 3, "tcp", "0.0.0.0", RPCBIND_FOUR, false},
    {100003, 3, "tcp6", "::", RPCBIND_SIX, true},
    {100005, 3, "tcp6", "::", RPCBIND_SIX, true},
};
enum { SERVICES = sizeof services / sizeof *services, ADDRESS_MAX = 80 };

struct rpcbind {
    uint16_t port;
    unsigned families;
    bool expected;
    int wake, fd; /* fd -1: not connected */
    uint32_t xid;
    uint8_t *record;
    size_t len;
    pthread_t thread;
    pthread_mutex_t lock;
    bool registered;
    char says[RPCBIND_SAYS];
};

/* ---- its messages ---- */

struct ask {
    uint8_t bytes[ASK_MAX];
    size_t len;
};

static void put_u32(struct ask *ask, uint32_t n)
{
    uint32_t wire = htobe32(n);
    memcpy(ask->bytes + ask->len, &wire, sizeof wire);
    ask->len += sizeof wire;
}

/* Ours are short: ASK_MAX holds what is asked here. */
static void put_text(struct ask *ask, const char *text)
{
    size_t len = strlen(text);
    put_u32(ask, (uint32_t)len);
    memcpy(ask->bytes + ask->len, text, len);
    memset(ask->bytes + ask->len + len, 0, (4 - len % 4) % 4);
    ask->len += (len + 3) / 4 * 4;
}

static bool move_all(struct rpcbind *r, bool out, uint8_t *bytes, size_t len, struct err *err)
{
    uint64_t until = clock_mono_ms() + ANSWER_MS;
    for (size_t at = 0; at < len;) {
        ssize_t n = out ? sys_send(r->fd, bytes + at, len - at, "port mapper", err)
                        : sys_recv(r->fd, bytes + at, len - at, "port mapper", err);
        bool ready = false;
        if (n == -1)
            return false;
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, "the port mapper hung up");
        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        uint64_t now = clock_mono_ms();
        if (now >= until)
            return err_set(err, ERR_TIMEOUT, "the port mapper does not answer");
        if (!sys_poll(r->fd, out ? POLLOUT : POLLIN, (int)(until - now), &ready, "port mapper",
                      err))
            return false;
    }
    return true;
}

static uint32_t word_at(const struct rpcbind *r, size_t at)
{
    uint32_t n;
    memcpy(&n, r->record + at, sizeof n);
    return be32toh(n);
}

static bool receive(struct rpcbind *r, struct err *err)
{
    enum { LAST = 1U << 31, FRAGMENTS_MAX = 1000 };
    r->len = 0;
    for (int i = 0; i < FRAGMENTS_MAX; i++) {
        uint32_t mark = 0;
        if (!move_all(r, false, (uint8_t *)&mark, sizeof mark, err))
            return false;
        mark = be32toh(mark);
        size_t len = mark & ~LAST;
        if (len > RECORD_MAX - r->len)
            break;
        if (!move_all(r, false, r->record + r->len, len, err))
            return false;
        r->len += len;
        if (mark & LAST)
            return true;
    }
    return err_set(err, ERR_CORRUPT, "the port mapper's answer is too long");
}

/* The results begin at *ret_at of the record. */
static bool call(struct rpcbind *r, struct ask *ask, size_t *ret_at, struct err *err)
{
    enum { HEAD = 24 }; /* xid, reply, accepted, verifier (2), success */
    uint32_t mark = htobe32((uint32_t)(ask->len - 4) | 1U << 31);
    memcpy(ask->bytes, &mark, sizeof mark);
    if (!move_all(r, true, ask->bytes, ask->len, err) || !receive(r, err))
        return false;
    if (r->len < HEAD || word_at(r, 0) != r->xid || word_at(r, 4) != 1)
        return err_set(err, ERR_CORRUPT, "the port mapper's answer is none");
    size_t verifier = word_at(r, 16), at = HEAD + (verifier + 3) / 4 * 4;
    if (word_at(r, 8) != 0 || verifier > r->len - HEAD || at > r->len || word_at(r, at - 4) != 0)
        return err_set(err, ERR_DENIED, "the port mapper refuses to be asked");
    *ret_at = at;
    return true;
}

static void begin(struct rpcbind *r, struct ask *ask, uint32_t procedure)
{
    const uint32_t head[] = {0, ++r->xid, 0, 2, MAPPER, MAPPER_VERSION, procedure, 0, 0, 0, 0};
    ask->len = 0;
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        put_u32(ask, head[i]);
}

static void address_of(const struct rpcbind *r, const struct service *service,
                       char ret[ADDRESS_MAX])
{
    str_format(ret, ADDRESS_MAX, "%s.%u.%u", service->any, r->port >> 8, r->port & 255);
}

static bool change(struct rpcbind *r, uint32_t procedure, const struct service *service,
                   bool *ret_done, struct err *err)
{
    struct ask ask;
    char address[ADDRESS_MAX];
    size_t at = 0;
    address_of(r, service, address);
    begin(r, &ask, procedure);
    put_u32(&ask, service->program);
    put_u32(&ask, service->version);
    put_text(&ask, service->netid);
    put_text(&ask, address);
    put_text(&ask, ""); /* the owner is whom the kernel names */
    if (!call(r, &ask, &at, err))
        return false;
    if (r->len - at < 4)
        return err_set(err, ERR_CORRUPT, "the port mapper's answer is too short");
    *ret_done = word_at(r, at) != 0;
    return true;
}

static bool take_text(const struct rpcbind *r, size_t *at, char *ret, size_t size)
{
    if (r->len - *at < 4)
        return false;
    size_t len = word_at(r, *at);
    if (len > r->len - *at - 4 || (len + 3) / 4 * 4 > r->len - *at - 4)
        return false;
    size_t kept = len < size ? len : size - 1;
    memcpy(ret, r->record + *at + 4, kept);
    ret[kept] = '\0';
    *at += 4 + (len + 3) / 4 * 4;
    return true;
}

/* What is registered for each service; "" for nothing. */
static bool look(struct rpcbind *r, char ret[SERVICES][ADDRESS_MAX], struct err *err)
{
    struct ask ask;
    size_t at = 0;
    begin(r, &ask, DUMP);
    if (!call(r, &ask, &at, err))
        return false;
    memset(ret, 0, (size_t)SERVICES * ADDRESS_MAX);
    while (r->len - at >= 12 && word_at(r, at) == 1) {
        uint32_t program = word_at(r, at + 4), version = word_at(r, at + 8);
        char netid[16], address[ADDRESS_MAX], owner[16];
        at += 12;
        if (!take_text(r, &at, netid, sizeof netid) ||
            !take_text(r, &at, address, sizeof address) || !take_text(r, &at, owner, sizeof owner))
            return err_set(err, ERR_CORRUPT, "the port mapper's list is broken");
        for (size_t i = 0; i < SERVICES; i++)
            if (services[i].program == program && services[i].version == version &&
                str_equal(services[i].netid, netid))
                str_copy(ret[i], ADDRESS_MAX, address);
    }
    return true;
}

/* ---- connections ---- */

static int connect_to(int family, const void *address, size_t size, const char *what,
                      struct err *err)
{
    AUTO(fd) int fd = sys_socket_stream(family, what, err);
    bool ready = false;
    if (fd < 0)
        return -1;
    if (family == AF_INET)
        for (uint16_t port = 1023; port > 512; port--) { /* the mapper believes only root's ports */
            struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htobe16(port)};
            from.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            if (bind(fd, (const struct sockaddr *)&from, sizeof from) == 0 || errno != EADDRINUSE)
                break;
        }
    if (!sys_connect(fd, address, size, what, err) ||
        !sys_poll(fd, POLLOUT, ANSWER_MS, &ready, what, err) || !sys_connected(fd, what, err))
        return -1;
    if (!ready) {
        err_set(err, ERR_TIMEOUT, "'%s' does not answer", what);
        return -1;
    }
    int mine = fd;
    fd = -1;
    return mine;
}

static int connect_port(uint16_t port, struct err *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htobe16(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect_to(AF_INET, &address, sizeof address, "loopback", err);
}

static bool reach(struct rpcbind *r, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct err first = {0};
    if (r->fd >= 0)
        return true;
    IGNORE(!str_copy(address.sun_path, sizeof address.sun_path, local_socket)); /* it fits */
    r->fd = connect_to(AF_UNIX, &address, sizeof address, local_socket, &first);
    if (r->fd < 0)
        r->fd = connect_port(MAPPER_PORT, err);
    return r->fd >= 0;
}

static void hang_up(struct rpcbind *r) { own_auto_fd(&r->fd), r->fd = -1; }

/* ---- registering ---- */

/* "1.2.3.4.8.1" has port 2049; 0: none. */
static uint16_t port_of(const char *address)
{
    char copy[ADDRESS_MAX];
    uint64_t high = 0, low = 0;
    str_copy(copy, sizeof copy, address);
    char *last = strrchr(copy, '.');
    if (!last)
        return 0;
    *last = '\0';
    const char *before = strrchr(copy, '.');
    return before && str_to_u64(before + 1, 255, &high) && str_to_u64(last + 1, 255, &low)
               ? (uint16_t)(high << 8 | low)
               : 0;
}

static bool somebody_listens(uint16_t port)
{
    struct err err = {0};
    AUTO(fd) int fd = port ? connect_port(port, &err) : -1;
    return fd >= 0;
}

static bool settle_one(struct rpcbind *r, const struct service *service, const char *now,
                       struct err *err)
{
    char ours[ADDRESS_MAX];
    bool done = false;
    address_of(r, service, ours);
    if (!(service->family & r->families)) /* of a start that did listen to it */
        return !str_equal(now, ours) || change(r, UNSET, service, &done, err);
    if (str_equal(now, ours))
        return true;
    if (*now && somebody_listens(port_of(now)))
        return err_set(err, ERR_EXISTS, "another server is registered on port %u", port_of(now));
    if ((*now && !change(r, UNSET, service, &done, err)) || !change(r, SET, service, &done, err))
        return false;
    if (*now && !done) /* who made an entry may take it away, and root */
        return err_set(err, ERR_DENIED,
                       "an entry for port %u stays, of a dead server that another user ran; hint: "
                       "as root 'rpcinfo -d %u %u'",
                       port_of(now), service->program, service->version);
    return done || service->optional ||
           err_set(err, ERR_DENIED, "the port mapper does not take program %u", service->program);
}

static bool settle(struct rpcbind *r, struct err *err)
{
    char now[SERVICES][ADDRESS_MAX];
    if (!look(r, now, err))
        return false;
    for (size_t i = 0; i < SERVICES; i++)
        if (!settle_one(r, &services[i], now[i], err))
            return false;
    return true;
}

static void unregister(struct rpcbind *r)
{
    char now[SERVICES][ADDRESS_MAX], ours[ADDRESS_MAX];
    struct err err = {0};
    bool done = false;
    if (r->fd < 0 || !look(r, now, &err))
        return;
    for (size_t i = 0; i < SERVICES; i++) {
        address_of(r, &services[i], ours);
        if (str_equal(now[i], ours))
            IGNORE(!change(r, UNSET, &services[i], &done, &err)); /* it may be going itself */
    }
}

static void say(struct rpcbind *r, bool registered, bool warn, const char *text)
{
    IGNORE(pthread_mutex_lock(&r->lock));
    bool news = !str_equal(r->says, text);
    r->registered = registered;
    str_copy(r->says, sizeof r->says, text);
    IGNORE(pthread_mutex_unlock(&r->lock));
    if (news && warn)
        log_warning("port mapper: %s our_port=%u", text, r->port);
    else if (news)
        log_info("port mapper: %s our_port=%u", text, r->port);
}

/* False: it is time to end. Returns early when the mapper hangs up. */
static bool rest(struct rpcbind *r, int ms)
{
    struct pollfd wait[] = {{.fd = r->wake, .events = POLLIN},
                            {.fd = r->fd, .events = POLLIN | POLLRDHUP}};
    if (poll(wait, 2, ms) > 0 && r->fd >= 0 && wait[1].revents)
        hang_up(r);
    return !wait[0].revents;
}

static void *rpcbind_main(void *arg)
{
    struct rpcbind *r = arg;
    int absent_ms = ABSENT_MS;
    for (bool go = true; go;) {
        struct err err = {0};
        if (!reach(r, &err)) {
            say(r, false, r->expected, "no port mapper");
            go = rest(r, absent_ms);
            absent_ms = 2 * absent_ms < LOOK_MS ? 2 * absent_ms : LOOK_MS;
            continue;
        }
        absent_ms = ABSENT_MS;
        bool ok = settle(r, &err);
        say(r, ok, !ok, ok ? "registered" : err.text);
        if (!ok && err.code != ERR_EXISTS && err.code != ERR_DENIED)
            hang_up(r);
        go = rest(r, r->fd >= 0 ? LOOK_MS : ABSENT_MS);
        if (go && r->fd < 0)
            go = rest(r, PAUSE_MS);
    }
    unregister(r);
    return NULL;
}

/* ---- life ---- */

static void rpcbind_free(struct rpcbind *r)
{
    own_auto_fd(&r->wake);
    own_auto_fd(&r->fd);
    IGNORE(pthread_mutex_destroy(&r->lock));
    own_free(r->record);
    own_free(r);
}

struct rpcbind *rpcbind_start(uint16_t port, unsigned families, bool expected, struct err *err)
{
    struct rpcbind *r = own_alloc(sizeof *r, err);
    if (!r)
        return NULL;
    *r = (struct rpcbind){.port = port, .families = families, .expected = expected, .fd = -1};
    IGNORE(pthread_mutex_init(&r->lock, NULL));
    str_copy(r->says, sizeof r->says, "not asked yet");
    clock_random(&r->xid, sizeof r->xid);
    r->wake = eventfd(0, EFD_CLOEXEC);
    bool ok = r->wake >= 0 || err_errno(err, errno, "eventfd");
    r->record = ok ? own_alloc(RECORD_MAX, err) : NULL;
    int code = r->record ? pthread_create(&r->thread, NULL, rpcbind_main, r) : 0;
    if (code)
        err_errno(err, code, "start the port mapper's thread");
    if (r->record && !code)
        return r;
    rpcbind_free(r);
    return NULL;
}

void rpcbind_stop(struct rpcbind *r)
{
    if (!r)
        return;
    IGNORE(eventfd_write(r->wake, 1) != 0);
    IGNORE(pthread_join(r->thread, NULL) != 0);
    rpcbind_free(r);
}

bool rpcbind_says(struct rpcbind *r, char ret[RPCBIND_SAYS])
{
    IGNORE(pthread_mutex_lock(&r->lock));
    bool registered = r->registered;
    str_copy(ret, RPCBIND_SAYS, r->says);
    IGNORE(pthread_mutex_unlock(&r->lock));
    return registered;
}
