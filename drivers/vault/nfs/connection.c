/* One connection: records read, calls answered, replies sent; slow calls leave the reading to
 * another thread. */
#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "agent/base/waiting.h"
#include "drivers/vault/nfs/server_int.h"
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

enum {
    FLUSH_BYTES = 64 << 10, /* finished replies wait for no more of their batch */
    STALL_BYTES = 64 << 10, /* what moves less within the time stands */
    HOLD_MS = 1000,         /* large buffers stay with a connection that may need them again */
    LEND_MS = 2000,         /* a reply waits for memory; then the client is told to come again */
    MOMENT_MS = 20,         /* of that, in the reader's own hand */
    READ_ALONE = 32 << 10,  /* records from here on are read to their end, not far beyond */
    READ_BEYOND = 4096,
    SOON_US = 60, /* a client whose next call comes within this is looked for, not slept for */
};

enum turn {
    TURN_MORE, /* bytes are needed */
    TURN_LEFT, /* another thread reads */
    TURN_END,
};

/* ---- replies ---- */

void worker_init(struct worker *worker, struct nfsd *nfsd)
{
    worker->nfsd = nfsd;
    worker->out = worker->few;
    worker->out_size = RPC_HEAD_BYTES + 8 + NFSD_RESULTS_FEW;
}

void worker_rest(struct worker *worker)
{
    buffer_give(&worker->nfsd->stock, TAKE(worker->large));
    worker_init(worker, worker->nfsd);
    worker->out_sent = worker->out_len = 0;
}

static bool send_all(struct nfsd_connection *c, const uint8_t *bytes, size_t len)
{
    struct err err = {0};
    for (size_t at = 0; at < len;) {
        ssize_t n = sys_send(c->fd, bytes + at, len - at, c->peer.text, &err);
        if (n == SYS_AGAIN || (n >= 0 && (size_t)n < len - at && n < STALL_BYTES)) {
            atomic_fetch_add(&c->nfsd->stalled, 1);
            return false;
        }
        if (n < 0)
            return false;
        at += (size_t)n;
        atomic_fetch_add_explicit(&c->bytes_out, (uint64_t)n, memory_order_relaxed);
    }
    return true;
}

void connection_send(struct nfsd_connection *c, const uint8_t *bytes, size_t len)
{
    if (len == 0 || atomic_load_explicit(&c->broken, memory_order_relaxed) ||
        send_all(c, bytes, len))
        return;
    atomic_store(&c->broken, true);
    IGNORE(shutdown(c->fd, SHUT_RDWR)); /* the reader ends, too */
}

/* With the send lock: its buffer stays until its own thread has had that. */
static void send_handed(struct nfsd_connection *c)
{
    const struct worker *from = atomic_exchange(&c->handed, NULL);
    if (from)
        connection_send(c, from->out + from->handed_from, from->handed_len);
}

/* Sends what is finished; a reply that is being written stays where it is. What this thread handed
 * on has left its buffer then, too. */
static void flush(struct worker *worker, struct nfsd_connection *c)
{
    size_t len = worker->out_len - worker->out_sent;
    if (len == 0 && !worker->slow && !worker->taken)
        return;
    IGNORE(pthread_mutex_lock(&c->send_lock));
    worker->taken = false;
    send_handed(c);
    connection_send(c, worker->out + worker->out_sent, len);
    IGNORE(pthread_mutex_unlock(&c->send_lock));
    worker->out_sent = worker->out_len;
}

static void flush_all(struct worker *worker, struct nfsd_connection *c)
{
    flush(worker, c);
    worker->out_sent = worker->out_len = 0;
}

static void begin_reply(struct worker *worker, struct nfsd_connection *c)
{
    if (worker->out_size - worker->out_len < RPC_HEAD_BYTES + 8 + NFSD_RESULTS_FEW)
        flush_all(worker, c);
    worker->call.results = worker->out + worker->out_len + RPC_HEAD_BYTES;
    worker->call.results_len = 0;
    worker->call.results_max = NFSD_RESULTS_FEW;
    worker->call.late_len = 0;
    worker->call.late_changing = false;
    worker->late = false;
}

static void end_reply(struct worker *worker, const struct nfsd_program *program,
                      enum rpc_accept accept)
{
    struct nfsd_call *call = &worker->call;
    if (accept == RPC_SILENCE)
        return;
    size_t len = accept == RPC_SUCCESS ? call->results_len : 0;
    worker->out_len += len + rpc_head(worker->out + worker->out_len, call->rpc.xid, accept,
                                      program ? program->version_low : 0,
                                      program ? program->version_high : 0, len);
}

static bool is_stranger(const struct nfsd_connection *c)
{
    return atomic_load_explicit(&c->client->stranger, memory_order_relaxed);
}

/* A moment's wait keeps a client from sending more than it has memory for; who waits for longer is
 * slow, and then so is each of the client's that comes to wait with it. */
static struct buffer *lend(struct worker *worker, size_t size, struct err *err)
{
    struct err none = {0};
    struct stock *stock = &worker->nfsd->stock;
    struct client *client = worker->call.connection->client;
    uint64_t moment_ms = atomic_load(&client->lacking) ? 0 : MOMENT_MS;
    struct stock_wish wish = {.size = size, .reply = true, .wait_ms = moment_ms};
    struct buffer *buffer = stock_lend(stock, client, &wish, &none);
    if (buffer)
        return buffer;
    nfsd_call_is_slow(&worker->call);
    atomic_fetch_add(&client->lacking, 1);
    wish.wait_ms = LEND_MS;
    buffer = stock_lend(stock, client, &wish, err);
    atomic_fetch_sub(&client->lacking, 1);
    return buffer;
}

/* What was written of the results moves to the front of its buffer, or to a larger one. */
static bool move_results(struct worker *worker, size_t size, struct err *err)
{
    struct nfsd_call *call = &worker->call;
    struct nfsd *nfsd = worker->nfsd;
    flush(worker, call->connection);
    struct buffer *more = NULL;
    if (RPC_HEAD_BYTES + size > worker->out_size) {
        more = lend(worker, RPC_HEAD_BYTES + size, err);
        if (!more)
            return false;
    }
    uint8_t *to = more ? more->bytes : worker->out;
    memmove(to + RPC_HEAD_BYTES, call->results, call->results_len);
    if (more) {
        buffer_give(&nfsd->stock, worker->large);
        worker->large = more;
        worker->out = more->bytes;
        worker->out_size = more->size;
    }
    worker->out_sent = worker->out_len = 0;
    call->results = to + RPC_HEAD_BYTES;
    return true;
}

bool nfsd_results_room(struct nfsd_call *call, size_t size, struct err *err)
{
    struct worker *worker = (struct worker *)call;
    if (size <= call->results_max)
        return true;
    if (size > RPC_RECORD_MAX)
        return err_set(err, ERR_LIMIT, "more than a reply holds");
    if (is_stranger(call->connection))
        return err_set(err, ERR_LIMIT, "'%s' may use nothing here", call->peer->text);
    if (worker->out_len + RPC_HEAD_BYTES + size > worker->out_size &&
        !move_results(worker, size, err))
        return false;
    call->results_max = worker->out_size - worker->out_len - RPC_HEAD_BYTES;
    return true;
}

/* ---- calls ---- */

static size_t unread(const struct nfsd_connection *c) { return c->filled - c->record.begin; }

static void slow_ends(struct nfsd_connection *c)
{
    atomic_fetch_sub(&c->client->slow, 1);
    atomic_fetch_sub(&c->nfsd->slow, 1);
}

/* False: there are enough; this one is waited for. */
static bool slow_begins(struct nfsd_connection *c)
{
    unsigned max = c->nfsd->options.slow_max;
    bool may = atomic_fetch_add(&c->client->slow, 1) < max;
    may = (atomic_fetch_add(&c->nfsd->slow, 1) < 2 * max) && may;
    if (!may)
        slow_ends(c);
    return may;
}

/* The quarter that nobody finds is for calls that were begun by then. */
bool nfsd_call_may_wait(const struct nfsd_call *call, enum nfsd_share share)
{
    const struct nfsd *nfsd = call->connection->nfsd;
    unsigned room = nfsd->options.slow_max / 4 * share;
    return atomic_load_explicit(&call->connection->client->slow, memory_order_relaxed) < room &&
           atomic_load_explicit(&nfsd->slow, memory_order_relaxed) < 2 * room;
}

/* Sends nothing and waits for no sender: the caller may hold locks others want. */
void nfsd_call_is_slow(struct nfsd_call *call)
{
    struct worker *worker = (struct worker *)call;
    struct nfsd_connection *c = call->connection;
    late_begins(worker);
    if (worker->slow || worker->taken || !slow_begins(c))
        return;
    worker->slow = true;
    worker->in = c->in;
    worker->handed_from = worker->out_sent;
    worker->handed_len = worker->out_len - worker->out_sent;
    worker->out_sent = worker->out_len;
    atomic_fetch_add(&c->in->holders, 1);
    atomic_fetch_add(&c->users, 1);
    bool hands = worker->handed_len > 0; /* else its buffer is nobody's but its own */
    if (hands)
        atomic_store(&c->handed, worker);
    if (nfsd_run(c->nfsd, c))
        return; /* from here on another thread reads */
    if (hands && !atomic_exchange(&c->handed, NULL))
        worker->taken = true;
    else
        worker->out_sent = worker->handed_from;
    worker->slow = false;
    worker->in = NULL;
    atomic_fetch_sub(&c->in->holders, 1);
    atomic_fetch_sub(&c->users, 1);
    slow_ends(c);
}

void nfsd_call_is_large(struct nfsd_call *call)
{
    const struct nfsd_connection *c = call->connection;
    int waiting = 0;
    const struct worker *worker = (struct worker *)call;
    if (!worker->slow && (unread(c) > 0 || (ioctl(c->fd, FIONREAD, &waiting) == 0 && waiting > 0)))
        nfsd_call_is_slow(call);
}

/* Nothing of the connection is touched afterwards. */
static void leave(struct worker *worker, struct nfsd_connection *c)
{
    worker_rest(worker); /* first: it counts in the client's share */
    if (atomic_fetch_sub(&c->users, 1) == 1)
        nfsd_forget(c->nfsd, c);
}

static enum turn end_slow(struct worker *worker, struct nfsd_connection *c)
{
    flush_all(worker, c);
    buffer_give(&c->nfsd->stock, TAKE(worker->in));
    worker->slow = false;
    slow_ends(c);
    leave(worker, c);
    return TURN_LEFT;
}

static void waits(void *arg) { nfsd_call_is_slow(arg); }
static bool may_change(void *arg) { return late_may_change(arg); }

static enum rpc_accept run_call(struct nfsd_call *call, const struct nfsd_program **ret_program)
{
    const struct nfsd_options *options = &call->connection->nfsd->options;
    for (size_t i = 0; i < options->program_count; i++) {
        const struct nfsd_program *program = &options->programs[i];
        if (program->program != call->rpc.program)
            continue;
        *ret_program = program;
        if (call->rpc.version < program->version_low || call->rpc.version > program->version_high)
            return RPC_PROG_MISMATCH;
        if (call->rpc.procedure >= program->procedures)
            return RPC_PROC_UNAVAIL;
        waiting_listen(waits, call);
        waiting_ask(may_change, call); /* a call's pointer is its worker's */
        enum rpc_accept accept = program->run(program->arg, call);
        waiting_listen(NULL, NULL);
        waiting_ask(NULL, NULL);
        return accept;
    }
    return RPC_PROG_UNAVAIL;
}

static enum turn end_lying(struct nfsd_connection *c)
{
    atomic_fetch_add(&c->nfsd->lies, 1);
    return TURN_END;
}

static enum turn run_record(struct worker *worker, struct nfsd_connection *c, size_t at, size_t len)
{
    uint8_t *record = c->in->bytes + at;
    size_t refusal_len = 0;
    begin_reply(worker, c);
    enum rpc_kind kind =
        rpc_parse(record, len, &worker->call.rpc, worker->out + worker->out_len, &refusal_len);
    if (kind == RPC_IS_NONSENSE)
        return end_lying(c);
    worker->out_len += refusal_len;
    if (kind == RPC_IS_REFUSED)
        return TURN_MORE;
    const struct nfsd_program *program = NULL;
    worker->call.connection = c;
    worker->call.peer = &c->peer;
    c->called = true;
    atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed);
    enum rpc_accept accept = run_call(&worker->call, &program);
    if (nfsd_call_was_late(&worker->call))
        accept = RPC_SILENCE;
    end_reply(worker, program, accept);
    if (worker->slow)
        return end_slow(worker, c);
    if (worker->out_len - worker->out_sent >= FLUSH_BYTES)
        flush_all(worker, c);
    return atomic_load_explicit(&c->broken, memory_order_relaxed) ? TURN_END : TURN_MORE;
}

static enum turn run_records(struct worker *worker, struct nfsd_connection *c)
{
    for (;;) {
        size_t at;
        size_t len;
        enum turn turn = TURN_MORE;
        switch (record_next(&c->record, c->in->bytes, c->filled, &at, &len)) {
        case RECORD_MORE:
            return TURN_MORE;
        case RECORD_LIE:
            return end_lying(c);
        case RECORD_WHOLE:
            turn = run_record(worker, c, at, len);
        }
        if (turn != TURN_MORE)
            return turn;
    }
}

/* ---- reading ---- */

static void move_to(struct nfsd_connection *c, struct buffer *buffer)
{
    size_t len = unread(c);
    memmove(buffer->bytes, c->in->bytes + c->record.begin, len);
    record_moved(&c->record);
    c->filled = len;
    if (buffer == c->in)
        return;
    buffer_give(&c->nfsd->stock, c->in);
    c->in = buffer;
}

/* Who waits for memory while all the slow calls end whose arguments lie in what it holds has no
 * need of more any longer: else connections that wait with full hands would wait for one another.
 */
static struct buffer *lend_record(struct worker *worker, struct nfsd_connection *c, bool shared,
                                  struct err *err)
{
    struct nfsd *nfsd = c->nfsd;
    struct stock_wish wish = {.size = c->record.need,
                              .wait_ms = 2 * nfsd->options.stall_ms,
                              .mine = shared ? c->in : NULL};
    worker_rest(worker); /* who waits for memory holds none that is empty */
    return stock_lend(&nfsd->stock, c->client, &wish, err);
}

/* Room for what the record needs, where no slow call's arguments lie. */
static bool make_room(struct worker *worker, struct nfsd_connection *c)
{
    struct nfsd *nfsd = c->nfsd;
    size_t need = c->record.need;
    for (;;) {
        struct err err = {0};
        bool shared = atomic_load(&c->in->holders) > 1;
        if (!shared && need <= c->in->size) {
            if (c->record.begin > 0 &&
                (unread(c) <= READ_BEYOND || c->record.begin + need > c->in->size))
                move_to(c, c->in);
            return true;
        }
        if (shared && c->record.begin + need <= c->in->size &&
            c->in->size - c->filled >= READ_BEYOND / 4)
            return true;
        if (need > BUFFER_FEW && is_stranger(c)) {
            atomic_fetch_add(&nfsd->lies, 1);
            return false;
        }
        struct buffer *more =
            need <= BUFFER_FEW ? buffer_few(&err) : lend_record(worker, c, shared, &err);
        if (more) {
            move_to(c, more);
            return true;
        }
        if (err.code != ERR_CANCELLED) {
            atomic_fetch_add(&nfsd->starved, 1);
            return false;
        }
    }
}

/* An idle connection holds little. False: no memory even for that. */
static bool give_back(struct worker *worker, struct nfsd_connection *c)
{
    struct err err = {0};
    worker_rest(worker);
    if (!c->in->client || unread(c) > 0)
        return true;
    struct buffer *few = buffer_few(&err);
    if (few)
        move_to(c, few);
    return few != NULL;
}

static bool is_holding(const struct worker *worker, const struct nfsd_connection *c)
{
    return worker->large || (c->in->client && unread(c) == 0);
}

/* A record that has begun moves on, or its connection ends. */
static bool is_moving(struct nfsd_connection *c)
{
    uint64_t now = clock_mono_ms();
    uint64_t calls = atomic_load_explicit(&c->calls, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&c->bytes_in, memory_order_relaxed);
    if (!c->since_ms || c->since_calls != calls || bytes - c->since_bytes >= STALL_BYTES) {
        c->since_ms = now;
        c->since_calls = calls;
        c->since_bytes = bytes;
    }
    return now - c->since_ms < c->nfsd->options.stall_ms;
}

static void set_patience(struct worker *worker, struct nfsd_connection *c)
{
    const struct nfsd_options *options = &c->nfsd->options;
    uint64_t ms = is_stranger(c) ? options->idle_ms : 0;
    if (unread(c) > 0 || !c->called)
        ms = options->stall_ms;
    if (is_holding(worker, c) && (ms == 0 || ms > HOLD_MS))
        ms = HOLD_MS;
    if (ms == c->receive_ms)
        return;
    struct timeval time = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
    IGNORE(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) != 0); /* never fails */
    c->receive_ms = ms;
}

/* Nothing came within the patience. */
static bool wait_on(struct worker *worker, struct nfsd_connection *c)
{
    bool waits = unread(c) > 0 ? is_moving(c) : is_holding(worker, c);
    if (!waits && (unread(c) > 0 || !c->called))
        atomic_fetch_add(&c->nfsd->stalled, 1);
    return waits && give_back(worker, c);
}

/* A client that sends one call after another, each at once, costs a wake-up a call when its thread
 * sleeps: more than the call itself. So the next is looked for a moment, as long as they come so
 * soon and another core is left; whoever wants this core has it first. */
static ssize_t receive_soon(struct nfsd_connection *c, size_t room, struct err *err)
{
    struct nfsd *nfsd = c->nfsd;
    uint8_t *to = c->in->bytes + c->filled;
    ssize_t n = SYS_AGAIN;
    if (atomic_fetch_add(&nfsd->looking, 1) < nfsd->looking_max) {
        uint64_t begin = clock_mono_us();
        do {
            n = sys_recv_now(c->fd, to, room, c->peer.text, err);
        } while (n == SYS_AGAIN && clock_mono_us() - begin < SOON_US && sched_yield() == 0);
        c->soon = n != SYS_AGAIN;
    }
    atomic_fetch_sub(&nfsd->looking, 1);
    return n;
}

static ssize_t receive_bytes(struct nfsd_connection *c, size_t room, struct err *err)
{
    uint64_t calls = atomic_load_explicit(&c->calls, memory_order_relaxed);
    bool between =
        unread(c) == 0 && calls == c->calls_before + 1; /* who sends many is not waiting */
    c->calls_before = calls;
    if (between && c->soon) {
        ssize_t n = receive_soon(c, room, err);
        if (n != SYS_AGAIN)
            return n;
    }
    uint64_t begin = between ? clock_mono_us() : 0;
    ssize_t n = sys_recv(c->fd, c->in->bytes + c->filled, room, c->peer.text, err);
    c->soon = between && n > 0 && clock_mono_us() - begin < SOON_US;
    return n;
}

static bool receive(struct worker *worker, struct nfsd_connection *c)
{
    struct err err = {0};
    struct nfsd *nfsd = c->nfsd;
    if (unread(c) > 0 && !is_moving(c)) {
        atomic_fetch_add(&nfsd->stalled, 1);
        return false;
    }
    if (!make_room(worker, c) ||
        (atomic_load_explicit(&nfsd->stock.tight, memory_order_relaxed) && !give_back(worker, c)))
        return false;
    for (;;) {
        size_t room = c->in->size - c->filled;
        size_t beyond = c->record.need - unread(c) + READ_BEYOND;
        if (c->record.need >= READ_ALONE && room > beyond)
            room = beyond;
        set_patience(worker, c);
        if (atomic_load_explicit(&nfsd->stopping, memory_order_relaxed))
            return false;
        ssize_t n = receive_bytes(c, room, &err);
        if (n > 0) {
            c->filled += (size_t)n;
            atomic_fetch_add_explicit(&c->bytes_in, (uint64_t)n, memory_order_relaxed);
            return true;
        }
        if (n != SYS_AGAIN || !wait_on(worker, c))
            return false;
    }
}

void connection_serve(struct worker *worker, struct nfsd_connection *c)
{
    enum turn turn = TURN_MORE;
    if (atomic_load(&c->handed)) {
        IGNORE(pthread_mutex_lock(&c->send_lock));
        send_handed(c);
        IGNORE(pthread_mutex_unlock(&c->send_lock));
    }
    while (turn == TURN_MORE) {
        turn = run_records(worker, c);
        if (turn == TURN_LEFT)
            return;
        flush_all(worker, c);
        if (turn == TURN_MORE && !receive(worker, c))
            turn = TURN_END;
    }
    buffer_give(&c->nfsd->stock, TAKE(c->in));
    leave(worker, c);
}
