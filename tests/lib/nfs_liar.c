/* An NFS server that lies. Answers are built by hand, so that any of them can be wrong. */
#include "tests/lib/nfs_liar.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS = 256,
    CALL_MAX = 4096,
    ANSWER_MAX = (1 << 20) + 4096,
    PAGE_ENTRIES = 200,
    ROOT = 1, /* file ids; directories are the odd ones */
    FILE_F = 2,
    DIR_D = 3,
    FILE_G = 4,
};

enum { MNT = 1, GETATTR = 1, LOOKUP = 3, ACCESS = 4, READ = 6, READDIRPLUS = 17, FSINFO = 19 };
enum { PROGRAM_MOUNT = 100005 };

struct nfs_liar {
    enum lie lie;
    unsigned from;
    int listener;
    char url[128];
    _Atomic unsigned answers;
    _Atomic bool stopping;
    pthread_t acceptor;
    pthread_t workers[CONNECTIONS];
    _Atomic int fds[CONNECTIONS];
    unsigned count;
};

struct connection {
    struct nfs_liar *liar;
    unsigned slot;
    unsigned seed;
};

struct answer {
    uint8_t *bytes;
    size_t len;
};

static const char *const names[] = {
#define LIE_NAME(name, text) #name,
    LIES(LIE_NAME)
#undef LIE_NAME
};
static const char *const texts[] = {
#define LIE_TEXT(name, text) text,
    LIES(LIE_TEXT)
#undef LIE_TEXT
};

const char *lie_name(enum lie lie) { return names[lie]; }
const char *lie_text(enum lie lie) { return texts[lie]; }

static void put(struct answer *a, const void *bytes, size_t len)
{
    if (a->len + len > ANSWER_MAX)
        abort();
    memcpy(a->bytes + a->len, bytes, len);
    a->len += len;
}
static void put_u32(struct answer *a, uint32_t n)
{
    n = htonl(n);
    put(a, &n, sizeof n);
}
static void put_u64(struct answer *a, uint64_t n)
{
    put_u32(a, (uint32_t)(n >> 32));
    put_u32(a, (uint32_t)n);
}
/* Bytes with a length in front that may be a lie. */
static void put_bytes(struct answer *a, const void *bytes, size_t len, uint32_t said)
{
    put_u32(a, said);
    put(a, bytes, len);
    put(a, "\xff\xff\xff", -len & 3); /* padding need not be 0 */
}

static void put_attr(struct answer *a, uint64_t id, enum lie lie)
{
    bool is_dir = id % 2 == 1;
    uint64_t size = is_dir ? 4096 : id % 100 == FILE_F ? LIAR_FILE_BYTES : 5;
    put_u32(a, lie == LIE_KIND ? 99 : is_dir ? 2 : 1);
    put_u32(a, 0644);
    put_u32(a, 1);
    put_u32(a, 0);
    put_u32(a, 0);
    put_u64(a, lie == LIE_SIZE ? UINT64_MAX : size);
    put_u64(a, size);
    put_u64(a, 0);
    put_u64(a, 77); /* fsid */
    put_u64(a, id);
    for (int i = 0; i < 3; i++) {
        put_u32(a, 1700000000);
        put_u32(a, 5000);
    }
}
static void put_opt_attr(struct answer *a, uint64_t id, enum lie lie)
{
    put_u32(a, lie == LIE_FLAG ? 7 : 1);
    put_attr(a, id, lie);
}
static void put_handle(struct answer *a, uint64_t id, enum lie lie)
{
    uint8_t bytes[68] = {[8] = lie == LIE_FORGETS};
    memcpy(bytes, &id, sizeof id);
    if (lie == LIE_HANDLE_LONG)
        put_bytes(a, bytes, 65, 65);
    else if (lie == LIE_HANDLE_NEGATIVE)
        put_bytes(a, bytes, 16, 0xfffffff0U);
    else if (lie == LIE_HANDLE_EMPTY)
        put_u32(a, 0);
    else
        put_bytes(a, bytes, 32, 32);
}

/* ---- procedures; each begins with its status ---- */

static bool put_status(struct answer *a, enum lie lie, bool has_attr)
{
    uint32_t status = lie == LIE_JUKEBOX ? 10008 : lie == LIE_STALE ? 70 : 0;
    put_u32(a, status);
    if (status && has_attr)
        put_u32(a, 0);
    return status == 0;
}

static void do_mount(struct answer *a, enum lie lie)
{
    put_u32(a, 0);
    put_handle(a, ROOT, lie);
    put_u32(a, lie == LIE_FLAVORS ? 0xf0000000U : 1);
    put_u32(a, 1);
}

static void do_access(struct answer *a, enum lie lie)
{
    if (!put_status(a, lie, true))
        return;
    put_opt_attr(a, ROOT, lie);
    put_u32(a, 0x1f);
}

static void do_fsinfo(struct answer *a, enum lie lie)
{
    if (!put_status(a, lie, true))
        return;
    put_opt_attr(a, ROOT, lie);
    for (int i = 0; i < 7; i++)
        put_u32(a, lie == LIE_RTMAX ? 0 : 65536);
    put_u64(a, INT64_MAX);
    put_u64(a, 1);
    put_u32(a, 0);
}

static void do_lookup(struct answer *a, uint64_t dir, const char *name, enum lie lie)
{
    uint64_t change = lie == LIE_REPLACED ? 100 : 0;
    uint64_t id = str_equal(name, "f")   ? FILE_F
                  : str_equal(name, "d") ? DIR_D
                  : str_equal(name, "g") ? FILE_G
                                         : 0;
    if (!id) {
        put_u32(a, 2);
        put_u32(a, 0);
        return;
    }
    if (!put_status(a, lie, true))
        return;
    put_handle(a, id + change, lie);
    put_opt_attr(a, id + change, lie);
    put_opt_attr(a, dir, lie);
}

static void put_entry(struct answer *a, uint64_t id, const char *name, size_t name_len,
                      uint32_t name_said, uint64_t cookie, enum lie lie)
{
    put_u32(a, lie == LIE_FLAG ? 7 : 1);
    put_u64(a, id);
    put_bytes(a, name, name_len, name_said);
    put_u64(a, cookie);
    put_opt_attr(a, id, lie);
    put_u32(a, 1);
    put_handle(a, id, lie);
}

static void put_odd_name(struct answer *a, enum lie lie)
{
    char longest[256];
    memset(longest, 'n', sizeof longest);
    if (lie == LIE_NAME_LONG)
        put_entry(a, FILE_G, longest, 256, 256, 9, lie);
    else if (lie == LIE_NAME_NEGATIVE)
        put_entry(a, FILE_G, longest, 16, 0xfffffff0U, 9, lie);
    else if (lie == LIE_NAME_SLASH)
        put_entry(a, FILE_G, "../../etc/passwd", 16, 16, 9, lie);
    else if (lie == LIE_NAME_NUL)
        put_entry(a, FILE_G, "a\0b", 3, 3, 9, lie);
    else if (lie == LIE_NAME_EMPTY)
        put_entry(a, FILE_G, "", 0, 0, 9, lie);
}

static void put_endless(struct answer *a, uint64_t cookie)
{
    char name[32];
    for (uint64_t i = 1; i <= PAGE_ENTRIES; i++) {
        str_format(name, sizeof name, "endless-%llu", (unsigned long long)(cookie + i));
        put_entry(a, FILE_G, name, strlen(name), (uint32_t)strlen(name), cookie + i, LIE_NONE);
    }
}

static void do_list(struct answer *a, uint64_t dir, uint64_t cookie, enum lie lie)
{
    if (lie == LIE_BAD_COOKIE) {
        put_u32(a, 10003);
        put_u32(a, 0);
        return;
    }
    if (!put_status(a, lie, true))
        return;
    put_opt_attr(a, dir, lie);
    put_u64(a, 0); /* verifier */
    bool is_first = cookie == 0 || lie == LIE_LIST_AGAIN;
    if (lie == LIE_LIST_ENDLESS) {
        put_endless(a, cookie);
    } else if (is_first && lie != LIE_LIST_NOWHERE) {
        put_entry(a, dir, ".", 1, 1, 1, lie);
        put_odd_name(a, lie);
        if (dir == ROOT) {
            put_entry(a, FILE_F, "f", 1, 1, 2, lie);
            put_entry(a, lie == LIE_DIR_LOOP ? ROOT : DIR_D, "d", 1, 1, 3, lie);
        } else if (lie == LIE_DIR_DEEP) {
            put_entry(a, dir + 2, "d", 1, 1, 2, lie);
        } else {
            put_entry(a, FILE_G, "g", 1, 1, 2, lie);
        }
    }
    put_u32(a, 0);
    put_u32(a, lie == LIE_LIST_ENDLESS || lie == LIE_LIST_NOWHERE || lie == LIE_LIST_AGAIN ? 0 : 1);
}

static void do_read(struct answer *a, uint64_t id, uint64_t offset, uint32_t count, enum lie lie)
{
    uint64_t size = id % 100 == FILE_F ? LIAR_FILE_BYTES : 5;
    if (!put_status(a, lie, true))
        return;
    if (lie == LIE_DATA_END_UNTOLD)
        put_u32(a, 0);
    else
        put_opt_attr(a,
                     lie == LIE_DATA_OTHER    ? id + 100
                     : lie == LIE_DATA_TURNED ? id + 1
                                              : id,
                     lie);
    uint64_t left = offset < size ? size - offset : 0;
    uint32_t n = left < count ? (uint32_t)left : count;
    bool ends = offset + n >= size;
    if (lie == LIE_DATA_END || lie == LIE_DATA_END_UNTOLD) {
        n /= 2;
        ends = true;
    }
    if (lie == LIE_DATA_NOTHING) {
        n = 0;
        ends = false;
    }
    put_u32(a, lie == LIE_DATA_COUNT ? n / 2 : n);
    put_u32(a, ends);
    uint32_t more = lie == LIE_DATA_MORE ? 8 : 0;
    put_u32(a, lie == LIE_DATA_NEGATIVE ? 0xfffffff0U : n + (more ? count - n + more : 0));
    uint32_t real = more ? count + more : n;
    for (uint32_t i = 0; i < real; i++) {
        uint64_t at = offset + i;
        uint8_t byte = (uint8_t)(at * 7 + at / 4096);
        put(a, &byte, 1);
    }
    put(a, "\0\0\0", -real & 3);
}

/* ---- one call ---- */

struct call {
    const uint8_t *bytes;
    size_t len, at;
};

static uint32_t take_u32(struct call *c)
{
    uint32_t n = 0;
    if (c->at + 4 <= c->len)
        memcpy(&n, c->bytes + c->at, 4);
    c->at += 4;
    return ntohl(n);
}
static uint64_t take_u64(struct call *c)
{
    uint64_t high = take_u32(c);
    return high << 32 | take_u32(c);
}
/* ret_is_new: it was given out by one who forgets. */
static uint64_t take_handle(struct call *c, bool *ret_is_new)
{
    uint64_t id = 0;
    uint32_t len = take_u32(c);
    if (len >= 9 && c->at + len <= c->len) {
        memcpy(&id, c->bytes + c->at, 8);
        *ret_is_new = c->bytes[c->at + 8];
    }
    c->at += (len + 3) & ~3U;
    return id;
}

static void put_results(struct answer *a, struct call *c, uint32_t program, uint32_t procedure,
                        enum lie lie)
{
    char name[256] = {0};
    if (program == PROGRAM_MOUNT) {
        do_mount(a, lie);
        return;
    }
    bool is_new = false;
    uint64_t id = take_handle(c, &is_new);
    if ((lie == LIE_FORGETS && !is_new) || (lie == LIE_REPLACED && procedure == READ && id < 100)) {
        put_u32(a, 70);
        if (procedure != GETATTR)
            put_u32(a, 0);
    } else if (procedure == GETATTR) {
        if (put_status(a, lie, false))
            put_attr(a, id, lie);
    } else if (procedure == LOOKUP) {
        uint32_t len = take_u32(c);
        if (len < sizeof name && c->at + len <= c->len)
            memcpy(name, c->bytes + c->at, len);
        do_lookup(a, id, name, lie);
    } else if (procedure == ACCESS) {
        do_access(a, lie);
    } else if (procedure == FSINFO) {
        do_fsinfo(a, lie);
    } else if (procedure == READDIRPLUS) {
        do_list(a, id, take_u64(c), lie);
    } else if (procedure == READ) {
        uint64_t offset = take_u64(c);
        do_read(a, id, offset, take_u32(c), lie);
    }
}

static void put_head(struct answer *a, uint32_t xid, enum lie lie)
{
    put_u32(a, lie == LIE_WRONG_XID ? xid + 1000 : xid);
    put_u32(a, lie == LIE_CALL_INSTEAD ? 0 : 1);
    put_u32(a, lie == LIE_DENY ? 1 : 0);
    if (lie == LIE_DENY) {
        put_u32(a, 1);
        put_u32(a, 5);
        return;
    }
    put_u32(a, 0);
    put_u32(a, lie == LIE_VERIFIER ? 0xfffffffcU : 0);
    put_u32(a, lie == LIE_STATUS ? 42 : 0);
}

static void spoil(struct answer *a, enum lie lie, unsigned *seed)
{
    if (lie == LIE_NOISE)
        for (size_t i = 24; i < a->len; i++)
            a->bytes[i] = (uint8_t)((rand_r(seed) >> 8) & (rand_r(seed) % 4 ? 3 : 0xff));
    if (lie == LIE_FLIP) {
        size_t at = (size_t)rand_r(seed) % (a->len < 220 ? a->len : 220);
        a->bytes[at] ^= (uint8_t)(1 << rand_r(seed) % 8);
    }
    if (lie == LIE_CUT)
        a->len -= a->len / 3 & ~(size_t)3;
    if (lie == LIE_LONG)
        put(a, "12345678", 8);
    if (lie == LIE_GARBAGE)
        for (size_t i = 0; i < a->len; i++)
            a->bytes[i] = (uint8_t)rand_r(seed);
}

/* ---- the wire ---- */

static bool send_bytes(int fd, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static void wait_ms(int ms) { IGNORE(poll(NULL, 0, ms)); }

static bool send_slowly(const struct nfs_liar *liar, int fd, const struct answer *a)
{
    uint32_t marker = htonl(0x80000000U | (uint32_t)a->len);
    bool ok = send_bytes(fd, &marker, sizeof marker);
    for (size_t i = 0; ok && i < a->len && !liar->stopping; i++) {
        wait_ms(20);
        ok = send_bytes(fd, a->bytes + i, 1);
    }
    return ok;
}

static bool send_fragments(const struct nfs_liar *liar, int fd, enum lie lie)
{
    static const uint8_t zeros[1000];
    uint32_t marker = htonl(lie == LIE_CRUMBS ? 0 : (uint32_t)sizeof zeros);
    bool ok = true;
    while (ok && !liar->stopping)
        ok = send_bytes(fd, &marker, sizeof marker) &&
             (lie == LIE_CRUMBS || send_bytes(fd, zeros, sizeof zeros));
    return false;
}

/* False: the connection ends. */
static bool send_answer(struct nfs_liar *liar, int fd, const struct answer *a, enum lie lie)
{
    uint32_t marker = htonl(lie == LIE_HUGE_MARKER ? 0xffffffffU : 0x80000000U | (uint32_t)a->len);
    switch (lie) {
    case LIE_NEVER:
        return true;
    case LIE_HANG_UP:
        return false;
    case LIE_SLOWLY:
        return send_slowly(liar, fd, a);
    case LIE_CRUMBS:
    case LIE_ENDLESS_FRAGMENTS:
        return send_fragments(liar, fd, lie);
    case LIE_GARBAGE:
        return send_bytes(fd, a->bytes, a->len);
    case LIE_CLOSE_EARLY:
        IGNORE(send_bytes(fd, &marker, sizeof marker) && send_bytes(fd, a->bytes, a->len / 2));
        return false;
    case LIE_TWICE:
        return send_bytes(fd, &marker, sizeof marker) && send_bytes(fd, a->bytes, a->len) &&
               send_bytes(fd, &marker, sizeof marker) && send_bytes(fd, a->bytes, a->len);
    default:
        return send_bytes(fd, &marker, sizeof marker) && send_bytes(fd, a->bytes, a->len);
    }
}

static bool receive_all(int fd, void *to, size_t len)
{
    return recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

static bool serve_one(struct nfs_liar *liar, int fd, struct answer *a, unsigned *seed)
{
    uint8_t bytes[CALL_MAX];
    uint32_t marker;
    if (!receive_all(fd, &marker, sizeof marker))
        return false;
    struct call call = {.bytes = bytes, .len = ntohl(marker) & 0x7fffffffU};
    if (call.len > sizeof bytes || !receive_all(fd, bytes, call.len))
        return false;
    uint32_t xid = take_u32(&call);
    call.at += 8;
    uint32_t program = take_u32(&call);
    call.at += 4;
    uint32_t procedure = take_u32(&call);
    call.at += 4;
    call.at += take_u32(&call) + 8; /* who asks, and an empty verifier */
    enum lie lie = liar->answers >= liar->from ? liar->lie : LIE_NONE;
    a->len = 0;
    put_head(a, xid, lie);
    if (lie != LIE_DENY)
        put_results(a, &call, program, procedure, lie);
    spoil(a, lie, seed);
    liar->answers++;
    return send_answer(liar, fd, a, lie);
}

static void *serve(void *arg)
{
    struct connection c = *(struct connection *)arg;
    free(arg);
    struct answer answer = {.bytes = malloc(ANSWER_MAX)};
    int fd = c.liar->fds[c.slot];
    while (answer.bytes && !c.liar->stopping && serve_one(c.liar, fd, &answer, &c.seed))
        continue;
    free(answer.bytes);
    shutdown(fd, SHUT_RDWR);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct nfs_liar *liar = arg;
    while (!liar->stopping && liar->count < CONNECTIONS) {
        int fd = accept(liar->listener, NULL, NULL);
        if (fd < 0)
            break;
        struct connection *c = malloc(sizeof *c);
        if (!c)
            break;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        *c = (struct connection){liar, liar->count, liar->from * 1000 + liar->count};
        liar->fds[liar->count] = fd;
        if (pthread_create(&liar->workers[liar->count], NULL, serve, c) != 0)
            break;
        liar->count++;
    }
    return NULL;
}

struct nfs_liar *nfs_liar_new(enum lie lie, unsigned from, struct err *err)
{
    AUTO(mem) struct nfs_liar *liar = own_alloc(sizeof *liar, err);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    if (!liar)
        return NULL;
    liar->lie = lie;
    liar->from = from;
    liar->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(liar->listener, (struct sockaddr *)&at, size) != 0 ||
        listen(liar->listener, 16) != 0 ||
        getsockname(liar->listener, (struct sockaddr *)&at, &size) != 0 ||
        pthread_create(&liar->acceptor, NULL, accept_all, liar) != 0) {
        err_errno(err, errno, "a lying server");
        close(liar->listener);
        return NULL;
    }
    unsigned port = ntohs(at.sin_port);
    str_format(liar->url, sizeof liar->url, "nfs://127.0.0.1/export?nfsport=%u&mountport=%u", port,
               port);
    return TAKE(liar);
}

void nfs_liar_free(struct nfs_liar *liar)
{
    if (!liar)
        return;
    liar->stopping = true;
    shutdown(liar->listener, SHUT_RDWR);
    pthread_join(liar->acceptor, NULL);
    close(liar->listener);
    for (unsigned i = 0; i < liar->count; i++) {
        shutdown(liar->fds[i], SHUT_RDWR);
        pthread_join(liar->workers[i], NULL);
        close(liar->fds[i]);
    }
    own_free(liar);
}

const char *nfs_liar_url(const struct nfs_liar *liar) { return liar->url; }
unsigned nfs_liar_answers(const struct nfs_liar *liar) { return liar->answers; }
