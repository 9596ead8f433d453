/* Who is told before this thread waits, and asked before it changes anything. */
#include "agent/base/waiting.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum { STACK_BYTES = 256 << 10 };

struct listener {
    void (*fn)(void *arg);
    void *arg;
    uint64_t mine;          /* what its own thread set watch to; 0: it is not watched */
    _Atomic uint64_t watch; /* odd: watched. Who makes it even has the telling */
    uint64_t seen;          /* as the watching thread last found it; with the lock */
    bool enlisted;
    struct listener *next, *previous;
};
static _Thread_local struct listener listener;
static _Thread_local struct {
    bool (*may)(void *arg);
    void *arg;
} asked;

static struct {
    pthread_mutex_t life; /* one starts or stops it at a time */
    unsigned users;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* from the first start on, for good */
    bool prepared;
    struct listener *all;
    atomic_bool sleeps; /* nobody was watched: the next one wakes it */
    bool stopping;
} watch = {.life = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_uint overdue; /* threads that were told of by another, and have not come to the end */

/* False: the watching thread has told, and is done with it. */
static bool unwatch(void)
{
    uint64_t mine = listener.mine;
    if (!mine)
        return true;
    listener.mine = 0;
    if (atomic_compare_exchange_strong(&listener.watch, &mine, mine + 1))
        return true;
    IGNORE(pthread_mutex_lock(&watch.lock)); /* under which it tells */
    IGNORE(pthread_mutex_unlock(&watch.lock));
    atomic_fetch_sub(&overdue, 1);
    return false;
}

void waiting_listen(void (*fn)(void *arg), void *arg)
{
    IGNORE(unwatch());
    listener.fn = fn;
    listener.arg = arg;
}

bool waiting_is_heard(void) { return listener.fn != NULL; }

void waiting_begins(void)
{
    void (*fn)(void *arg) = listener.fn;
    if (!fn)
        return;
    bool untold = unwatch();
    listener.fn = NULL;
    if (untold)
        fn(listener.arg);
}

/* ---- watched ---- */

static void delist(void *arg)
{
    struct listener *l = arg;
    IGNORE(pthread_mutex_lock(&watch.lock));
    *(l->previous ? &l->previous->next : &watch.all) = l->next;
    if (l->next)
        l->next->previous = l->previous;
    IGNORE(pthread_mutex_unlock(&watch.lock));
}

static pthread_key_t at_exit; /* of a thread: its listener goes with it */
static bool has_at_exit;
static void prepare(void) { has_at_exit = pthread_key_create(&at_exit, delist) == 0; }

/* False: no memory for it; then it is not watched. */
static bool enlist(struct listener *l)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    IGNORE(pthread_once(&once, prepare));
    if (!has_at_exit || pthread_setspecific(at_exit, l) != 0)
        return false;
    IGNORE(pthread_mutex_lock(&watch.lock));
    l->previous = NULL;
    l->next = watch.all;
    if (l->next)
        l->next->previous = l;
    watch.all = l;
    IGNORE(pthread_mutex_unlock(&watch.lock));
    l->enlisted = true;
    return true;
}

static void wake(void)
{
    IGNORE(pthread_mutex_lock(&watch.lock));
    atomic_store(&watch.sleeps, false);
    IGNORE(pthread_cond_signal(&watch.changed));
    IGNORE(pthread_mutex_unlock(&watch.lock));
}

void waiting_watch_begin(void)
{
    if (!listener.fn || listener.mine || (!listener.enlisted && !enlist(&listener)))
        return;
    listener.mine = atomic_load_explicit(&listener.watch, memory_order_relaxed) + 1;
    atomic_store(&listener.watch, listener.mine);
    if (atomic_load(&watch.sleeps)) /* it looks again once it has said so: one sees the other */
        wake();
}

void waiting_watch_end(void)
{
    if (!unwatch())
        listener.fn = NULL;
}

/* With the lock. True: somebody is watched. */
static bool look(void)
{
    bool any = false;
    for (struct listener *l = watch.all; l; l = l->next) {
        uint64_t now = atomic_load(&l->watch);
        bool watched = now & 1;
        if (watched && now == l->seen && atomic_compare_exchange_strong(&l->watch, &now, now + 1)) {
            atomic_fetch_add(&overdue, 1);
            l->fn(l->arg);
        }
        l->seen = now;
        any |= watched;
    }
    return any;
}

/* With the lock. */
static void rest(void)
{
    struct timespec until;
    atomic_store(&watch.sleeps, true);
    if (look())
        atomic_store(&watch.sleeps, false);
    while (atomic_load(&watch.sleeps) && !watch.stopping)
        IGNORE(pthread_cond_wait(&watch.changed, &watch.lock));
    if (clock_gettime(CLOCK_MONOTONIC, &until) != 0)
        return;
    until.tv_nsec += WAITING_WATCH_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!watch.stopping && pthread_cond_timedwait(&watch.changed, &watch.lock, &until) == 0)
        ;
}

static void *watch_main(void *arg)
{
    (void)arg;
    IGNORE(pthread_mutex_lock(&watch.lock));
    while (!watch.stopping)
        rest();
    IGNORE(pthread_mutex_unlock(&watch.lock));
    return NULL;
}

static void prepare_clock(void)
{
    pthread_condattr_t attr;
    IGNORE(pthread_condattr_init(&attr));
    IGNORE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    IGNORE(pthread_cond_init(&watch.changed, &attr));
    IGNORE(pthread_condattr_destroy(&attr));
    watch.prepared = true;
}

/* Takes no signals: those are for who serves the process. */
static bool start(struct err *err)
{
    sigset_t all;
    sigset_t before;
    pthread_attr_t attr;
    if (!watch.prepared)
        prepare_clock();
    IGNORE(pthread_attr_init(&attr));
    IGNORE(pthread_attr_setstacksize(&attr, STACK_BYTES));
    watch.stopping = false;
    sigfillset(&all);
    IGNORE(pthread_sigmask(SIG_SETMASK, &all, &before));
    int code = pthread_create(&watch.thread, &attr, watch_main, NULL);
    IGNORE(pthread_sigmask(SIG_SETMASK, &before, NULL));
    IGNORE(pthread_attr_destroy(&attr));
    return code == 0 || err_errno(err, code, "start the thread that watches for waits");
}

bool waiting_watch_start(struct err *err)
{
    IGNORE(pthread_mutex_lock(&watch.life));
    bool ok = watch.users > 0 || start(err);
    watch.users += ok;
    IGNORE(pthread_mutex_unlock(&watch.life));
    return ok;
}

void waiting_watch_stop(void)
{
    IGNORE(pthread_mutex_lock(&watch.life));
    if (--watch.users == 0) {
        IGNORE(pthread_mutex_lock(&watch.lock));
        watch.stopping = true;
        IGNORE(pthread_cond_signal(&watch.changed));
        IGNORE(pthread_mutex_unlock(&watch.lock));
        IGNORE(pthread_join(watch.thread, NULL));
        atomic_store(&watch.sleeps, false);
    }
    IGNORE(pthread_mutex_unlock(&watch.life));
}

void waiting_lock(pthread_mutex_t *lock)
{
    if (atomic_load(&overdue) > 0 && waiting_is_heard()) {
        if (pthread_mutex_trylock(lock) == 0)
            return;
        waiting_begins();
    }
    pthread_mutex_lock(lock);
}

void waiting_ask(bool (*may)(void *arg), void *arg)
{
    asked.may = may;
    asked.arg = arg;
}

bool waiting_may_change(void) { return !asked.may || asked.may(asked.arg); }
