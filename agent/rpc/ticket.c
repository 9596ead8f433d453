/* A kept TLS session in memory and in a file. FORMAT: README.md, "The ticket file". */
#include "agent/rpc/ticket.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char magic[8] = "EVCTKT1\n";

enum { HEAD_BYTES = sizeof magic + TICKET_DIGEST + 16, FILE_MAX = 1 << 16 };

static void put_u64(uint8_t *to, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(n >> 8 * i);
}

static uint64_t get_u64(const uint8_t *from)
{
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n |= (uint64_t)from[i] << 8 * i;
    return n;
}

void ticket_done(struct ticket *ticket)
{
    if (ticket->bytes)
        explicit_bzero(ticket->bytes, ticket->len);
    own_free(ticket->bytes);
    *ticket = (struct ticket){0};
}

bool ticket_is_good(const struct ticket *ticket)
{
    uint64_t now_us = clock_wall_us();
    return ticket->bytes && ticket->saved_us <= now_us && now_us < ticket->until_us &&
           ticket->until_us - ticket->saved_us <= TLS_TICKET_SECONDS * 1000000ull;
}

bool ticket_take(struct ticket *ticket, struct tls *tls)
{
    struct err err = {0};
    struct ticket fresh = {.saved_us = clock_wall_us()};
    uint32_t seconds = 0;
    if (!tls_session_save(tls, &fresh.bytes, &fresh.len, &seconds, &err))
        return false;
    fresh.until_us = fresh.saved_us + seconds * 1000000ull;
    ticket_done(ticket);
    *ticket = fresh;
    return true;
}

static bool is_ours_alone(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 077) &&
           st->st_nlink == 1 && st->st_size > HEAD_BYTES && st->st_size <= FILE_MAX;
}

static bool read_head(struct ticket *ticket, int fd, const char *path,
                      const uint8_t digest[TICKET_DIGEST], struct err *err)
{
    uint8_t head[HEAD_BYTES];
    if (sys_pread(fd, head, sizeof head, 0, path, err) != sizeof head ||
        memcmp(head, magic, sizeof magic) != 0 ||
        memcmp(head + sizeof magic, digest, TICKET_DIGEST) != 0)
        return false;
    ticket->saved_us = get_u64(head + sizeof magic + TICKET_DIGEST);
    ticket->until_us = get_u64(head + sizeof magic + TICKET_DIGEST + 8);
    return true;
}

void ticket_load(struct ticket *ret_ticket, const char *path, const uint8_t digest[TICKET_DIGEST])
{
    struct err err = {0};
    struct stat st;
    struct ticket ticket = {0};
    *ret_ticket = ticket;
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &err);
    if (fd < 0 || !sys_fstat(fd, &st, path, &err) || !is_ours_alone(&st) ||
        !read_head(&ticket, fd, path, digest, &err))
        return;
    ticket.len = (size_t)st.st_size - HEAD_BYTES;
    ticket.bytes = own_alloc(ticket.len, &err);
    ssize_t n = ticket.bytes ? sys_pread(fd, ticket.bytes, ticket.len, HEAD_BYTES, path, &err) : -1;
    if (n == (ssize_t)ticket.len && ticket_is_good(&ticket))
        *ret_ticket = ticket;
    else
        ticket_done(&ticket);
}

bool ticket_save(const struct ticket *ticket, const char *path, const uint8_t digest[TICKET_DIGEST])
{
    struct err err = {0};
    size_t len = HEAD_BYTES + ticket->len;
    uint8_t *bytes = own_alloc(len, &err);
    if (!bytes)
        return false;
    memcpy(bytes, magic, sizeof magic);
    memcpy(bytes + sizeof magic, digest, TICKET_DIGEST);
    put_u64(bytes + sizeof magic + TICKET_DIGEST, ticket->saved_us);
    put_u64(bytes + sizeof magic + TICKET_DIGEST + 8, ticket->until_us);
    memcpy(bytes + HEAD_BYTES, ticket->bytes, ticket->len);
    bool ok = sys_write_file(path, bytes, len, 0600, &err);
    explicit_bzero(bytes, len);
    own_free(bytes);
    return ok;
}
