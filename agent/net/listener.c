/* Accepts connections and does their TLS handshakes off the loop. */
#include "agent/net/listener.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/net/sock.h"
#include <assert.h>
#include <errno.h>
#include <sys/queue.h>
#include <unistd.h>

enum { TICK_MS = 500, ACCEPTS_PER_TURN = 32 };

/* Waits on the loop for bytes, computes on the lane: an idle peer occupies no worker. */
struct handshake {
    struct work work; /* first: a work pointer is a handshake pointer */
    struct listener *listener;
    struct tls *tls;
    struct watch *watch;
    uint64_t deadline_ms;
    bool running;
    bool spoke; /* bytes have come: more than an idle connection */
    enum tls_step step;
    char address[SOCK_ADDRESS_MAX];
    TAILQ_ENTRY(handshake) link;
};

struct listener {
    struct listener_options options;
    struct loop *loop;
    int fd;
    uint16_t port;
    struct watch *watch;
    struct timer *tick;
    bool closing, paused;
    size_t count, running;
    TAILQ_HEAD(handshake_list, handshake) handshakes; /* oldest first */
};

static void handshake_free(struct handshake *shake)
{
    if (!shake)
        return;
    if (shake->listener) {
        TAILQ_REMOVE(&shake->listener->handshakes, shake, link);
        shake->listener->count--;
    }
    watch_free(shake->watch);
    tls_free(shake->tls);
    own_free(shake);
}
OWN_DEFINE(handshake, struct handshake, handshake_free);

static void handshake_failed(struct handshake *shake, const struct err *err)
{
    struct listener *listener = shake->listener;
    if (!listener->closing)
        listener->options.failed(listener->options.arg, shake->address, err);
    handshake_free(shake);
}

static void handshake_expired(struct handshake *shake, const char *why)
{
    struct err err = {0};
    err_set(&err, ERR_TIMEOUT, "TLS handshake %s", why);
    handshake_failed(shake, &err);
}

/* On the lane. */
static void run_step(struct work *work)
{
    struct handshake *shake = (struct handshake *)work;
    shake->step = tls_handshake(shake->tls, &work->err);
}

static void listener_destroy(struct listener *listener)
{
    tls_context_free(listener->options.tls);
    own_free(listener);
}

static void step_done(struct work *work)
{
    struct handshake *shake = (struct handshake *)work;
    struct listener *listener = shake->listener;
    shake->running = false;
    listener->running--;
    if (listener->closing) {
        handshake_free(shake);
        if (!listener->running)
            listener_destroy(listener);
        return;
    }
    struct err err = {0};
    if (shake->step == TLS_FAILED) {
        handshake_failed(shake, &work->err);
    } else if (shake->step == TLS_DONE) {
        AUTO(handshake) struct handshake *gone = shake;
        watch_free(TAKE(gone->watch));
        listener->options.accepted(listener->options.arg, TAKE(gone->tls), gone->address);
    } else if (clock_mono_ms() >= shake->deadline_ms) {
        handshake_expired(shake, "took too long");
    } else if (!watch_set(shake->watch, shake->step == TLS_WANT_WRITE ? LOOP_WRITE : LOOP_READ,
                          &err)) {
        handshake_failed(shake, &err);
    }
}

static void handshake_ready(void *arg, int events)
{
    (void)events;
    struct handshake *shake = arg;
    struct err err = {0};
    if (!watch_set(shake->watch, 0, &err)) {
        handshake_failed(shake, &err);
        return;
    }
    shake->running = shake->spoke = true;
    shake->listener->running++;
    shake->work.run = run_step;
    lane_submit(shake->listener->options.lane, &shake->work);
}

static bool handshake_begin(struct listener *listener, int *fd, const char *address,
                            struct err *err)
{
    AUTO(handshake) struct handshake *shake = own_alloc(sizeof *shake, err);
    if (!shake)
        return false;
    shake->work.done = step_done;
    shake->work.home = loop_post(listener->loop);
    shake->deadline_ms = clock_mono_ms() + listener->options.handshake_ms;
    str_copy(shake->address, sizeof shake->address, address);
    shake->tls = tls_new(listener->options.tls, *fd, err);
    if (!shake->tls)
        return false;
    int taken = *fd;
    *fd = -1;
    shake->watch = watch_new(listener->loop, taken, handshake_ready, shake, err);
    if (!shake->watch || !watch_set(shake->watch, LOOP_READ, err))
        return false;
    shake->listener = listener;
    TAILQ_INSERT_TAIL(&listener->handshakes, shake, link);
    listener->count++;
    TAKE(shake);
    return true;
}

static struct handshake *oldest_waiting(struct listener *listener, bool spoke)
{
    struct handshake *shake;
    TAILQ_FOREACH(shake, &listener->handshakes, link)
    if (!shake->running && shake->spoke == spoke)
        return shake;
    return NULL;
}

/* A flood of silent connections pushes out its own oldest ones; who is in the middle of a handshake
 * goes only when all others are, too: on a busy host that may take a client seconds. */
static void drop_oldest(struct listener *listener)
{
    struct handshake *shake = oldest_waiting(listener, false);
    if (!shake)
        shake = oldest_waiting(listener, true);
    if (shake)
        handshake_expired(shake, "gave way to newer ones");
}

static void pause_accepting(struct listener *listener, bool paused)
{
    struct err err = {0};
    listener->paused = !watch_set(listener->watch, paused ? 0 : LOOP_READ, &err) || paused;
}

static void on_acceptable(void *arg, int events)
{
    (void)events;
    struct listener *listener = arg;
    for (int turn = 0; turn < ACCEPTS_PER_TURN; turn++) {
        char address[SOCK_ADDRESS_MAX];
        AUTO(fd) int fd = sock_accept(listener->fd, address);
        if (fd < 0) {
            /* Out of descriptors: the listener would stay readable and spin; the tick resumes. */
            if (errno != EAGAIN)
                pause_accepting(listener, true);
            return;
        }
        if (!listener->options.admit(listener->options.arg))
            continue;
        if (listener->count >= listener->options.handshakes_max)
            drop_oldest(listener);
        struct err err = {0};
        if (listener->count >= listener->options.handshakes_max)
            err_set(&err, ERR_LIMIT, "too many TLS handshakes at once");
        else if (handshake_begin(listener, &fd, address, &err))
            continue;
        listener->options.failed(listener->options.arg, address, &err);
    }
}

static void on_tick(void *arg)
{
    struct listener *listener = arg;
    if (listener->paused)
        pause_accepting(listener, false);
    uint64_t now = clock_mono_ms();
    struct handshake *shake = TAILQ_FIRST(&listener->handshakes);
    while (shake && shake->deadline_ms <= now) {
        struct handshake *next = TAILQ_NEXT(shake, link);
        if (!shake->running)
            handshake_expired(shake, "took too long");
        shake = next;
    }
}

struct listener *listener_new(struct loop *loop, const struct listener_options *options,
                              struct err *err)
{
    AUTO(listener) struct listener *listener = own_alloc(sizeof *listener, err);
    if (!listener)
        return NULL;
    assert(options->handshakes_max > 0 && options->lane);
    listener->fd = -1;
    TAILQ_INIT(&listener->handshakes);
    listener->loop = loop;
    listener->options = *options;
    tls_context_ref(options->tls);
    listener->fd = sock_listen(options->host, options->port, &listener->port, err);
    if (listener->fd < 0)
        return NULL;
    listener->watch = watch_new(loop, listener->fd, on_acceptable, listener, err);
    listener->tick = timer_new(loop, on_tick, listener, err);
    if (!listener->watch || !listener->tick || !watch_set(listener->watch, LOOP_READ, err))
        return NULL;
    timer_set(listener->tick, TICK_MS, TICK_MS);
    return TAKE(listener);
}

uint16_t listener_port(const struct listener *listener) { return listener->port; }

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    listener->closing = true;
    watch_free(listener->watch);
    timer_free(listener->tick);
    if (listener->fd >= 0)
        close(listener->fd);
    struct handshake *shake = TAILQ_FIRST(&listener->handshakes);
    while (shake) {
        struct handshake *next = TAILQ_NEXT(shake, link);
        if (!shake->running)
            handshake_free(shake);
        shake = next;
    }
    if (!listener->running)
        listener_destroy(listener);
}

void listener_use(struct listener *listener, struct tls_context *tls)
{
    tls_context_ref(tls);
    tls_context_free(listener->options.tls);
    listener->options.tls = tls;
}
