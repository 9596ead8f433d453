/* Large buffers: one bounded stock, lent for as long as a record or a reply needs one. */
#include "drivers/vault/nfs/server_int.h"
#include <time.h>

enum { KEPT_MAX = 16 << 20, SHARES = 4 };
static const size_t kinds[BUFFER_KINDS] = {BUFFER_MIDDLE, BUFFER_LARGE};

void stock_init(struct stock *stock, uint64_t max)
{
    pthread_condattr_t attr;
    stock->max = max;
    IGNORE(pthread_mutex_init(&stock->lock, NULL));
    IGNORE(pthread_condattr_init(&attr));
    IGNORE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    IGNORE(pthread_cond_init(&stock->given, &attr));
    IGNORE(pthread_condattr_destroy(&attr));
}

void stock_done(struct stock *stock)
{
    for (size_t kind = 0; kind < BUFFER_KINDS; kind++)
        while (stock->kept[kind]) {
            struct buffer *buffer = stock->kept[kind];
            stock->kept[kind] = buffer->next;
            own_free(buffer);
        }
    IGNORE(pthread_mutex_destroy(&stock->lock));
    IGNORE(pthread_cond_destroy(&stock->given));
}

void stock_stop(struct stock *stock)
{
    IGNORE(pthread_mutex_lock(&stock->lock));
    stock->stopping = true;
    IGNORE(pthread_cond_broadcast(&stock->given));
    IGNORE(pthread_mutex_unlock(&stock->lock));
}

static struct buffer *fresh(size_t size, struct err *err)
{
    struct buffer *buffer = own_alloc(sizeof *buffer + size, err);
    if (buffer) {
        buffer->size = size;
        atomic_init(&buffer->holders, 1);
    }
    return buffer;
}

struct buffer *buffer_few(struct err *err) { return fresh(BUFFER_FEW, err); }

/* With the lock. What is kept of the other kind makes way. */
static struct buffer *take(struct stock *stock, size_t kind, struct err *err)
{
    struct buffer *buffer = stock->kept[kind];
    if (buffer) {
        stock->kept[kind] = buffer->next;
        stock->kept_bytes -= buffer->size;
        atomic_store_explicit(&buffer->holders, 1, memory_order_relaxed);
        return buffer;
    }
    for (size_t other = 0; other < BUFFER_KINDS; other++)
        while (stock->lent + stock->kept_bytes + kinds[kind] > stock->max && stock->kept[other]) {
            struct buffer *gone = stock->kept[other];
            stock->kept[other] = gone->next;
            stock->kept_bytes -= gone->size;
            own_free(gone);
        }
    return fresh(kinds[kind], err);
}

static uint64_t share_of(const struct stock *stock, bool reply)
{
    uint64_t share = stock->max / SHARES;
    return reply ? share / 4 * 3 : share;
}

static bool has_share(const struct stock *stock, const struct client *client, size_t size,
                      bool reply)
{
    return client->lent + size <= share_of(stock, reply) ||
           (size == BUFFER_LARGE && client->large == 0);
}

static bool fits(const struct stock *stock, const struct client *client, size_t size, bool reply)
{
    bool room = stock->lent + size <= stock->max || (size == BUFFER_LARGE && stock->large == 0);
    return room && has_share(stock, client, size, reply);
}

static bool is_mine_alone(const struct buffer *mine)
{
    return mine && atomic_load(&mine->holders) == 1;
}

/* With the lock. */
static void judge(struct stock *stock)
{
    bool tight = stock->waiting > 0 || stock->lent > stock->max / 2;
    if (atomic_load_explicit(&stock->tight, memory_order_relaxed) != tight)
        atomic_store_explicit(&stock->tight, tight, memory_order_relaxed);
}

static struct timespec after_ms(struct timespec at, uint64_t ms)
{
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* With the lock. */
static bool wait_for_room(struct stock *stock, const struct client *client, size_t size,
                          const struct stock_wish *wish)
{
    struct timespec now;
    if (fits(stock, client, size, wish->reply))
        return true;
    if (wish->wait_ms == 0 || clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return false;
    struct timespec until = after_ms(now, wish->wait_ms);
    stock->waiting++;
    judge(stock);
    int code = 0;
    while (!fits(stock, client, size, wish->reply) && !is_mine_alone(wish->mine) &&
           !stock->stopping && code == 0)
        code = pthread_cond_timedwait(&stock->given, &stock->lock, &until);
    stock->waiting--;
    judge(stock);
    return fits(stock, client, size, wish->reply);
}

static void count(struct stock *stock, struct client *client, const struct buffer *buffer, int sign)
{
    uint64_t bytes = sign > 0 ? buffer->size : -(uint64_t)buffer->size;
    unsigned large = buffer->size == BUFFER_LARGE ? (unsigned)sign : 0;
    client->lent += bytes;
    stock->lent += bytes;
    client->large += large;
    stock->large += large;
}

struct buffer *stock_lend(struct stock *stock, struct client *client, const struct stock_wish *wish,
                          struct err *err)
{
    size_t kind = wish->size <= BUFFER_MIDDLE ? 0 : 1;
    if (wish->size > BUFFER_LARGE) {
        err_set(err, ERR_LIMIT, "more than one record holds");
        return NULL;
    }
    IGNORE(pthread_mutex_lock(&stock->lock));
    struct buffer *buffer = NULL;
    if (wait_for_room(stock, client, kinds[kind], wish))
        buffer = take(stock, kind, err);
    else if (is_mine_alone(wish->mine))
        err_set(err, ERR_CANCELLED, "what it has is its own again");
    else if (!has_share(stock, client, kinds[kind], wish->reply))
        err_set(err, ERR_LIMIT, "client '%s' holds its share of memory", client->peer.text);
    else
        err_set(err, ERR_BUSY, "all memory for requests is lent");
    if (buffer) {
        buffer->client = client;
        count(stock, client, buffer, 1);
        judge(stock);
    }
    IGNORE(pthread_mutex_unlock(&stock->lock));
    return buffer;
}

void buffer_give(struct stock *stock, struct buffer *buffer)
{
    unsigned others = buffer ? atomic_fetch_sub(&buffer->holders, 1) - 1 : 1;
    if (others == 1 && buffer) { /* who may be waiting for just that (make_room) */
        IGNORE(pthread_mutex_lock(&stock->lock));
        if (stock->waiting > 0)
            IGNORE(pthread_cond_broadcast(&stock->given));
        IGNORE(pthread_mutex_unlock(&stock->lock));
    }
    if (others > 0)
        return;
    if (!buffer->client) {
        own_free(buffer);
        return;
    }
    IGNORE(pthread_mutex_lock(&stock->lock));
    count(stock, buffer->client, buffer, -1);
    buffer->client = NULL;
    bool keep = stock->kept_bytes + buffer->size <= KEPT_MAX &&
                stock->lent + stock->kept_bytes + buffer->size <= stock->max;
    if (keep) {
        size_t kind = buffer->size == BUFFER_MIDDLE ? 0 : 1;
        buffer->next = stock->kept[kind];
        stock->kept[kind] = buffer;
        stock->kept_bytes += buffer->size;
    }
    judge(stock);
    IGNORE(pthread_cond_broadcast(&stock->given));
    IGNORE(pthread_mutex_unlock(&stock->lock));
    if (!keep)
        own_free(buffer);
}
