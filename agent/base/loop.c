/* The event loop over libuv. */
#include "agent/base/loop.h"

#include <assert.h>
#include <pthread.h>
#include <uv.h>

struct loop {
    struct post post; /* first: a post pointer is a loop pointer */
    uv_loop_t uv;
    uv_async_t wake;
    pthread_mutex_t lock;
    struct work *home_head, *home_tail;
    bool stopping;
};

static bool uv_failed(struct err *err, int rc, const char *what)
{
    return err_errno(err, -rc, "%s", what);
}

/* Takes over the whole list at once, so that a busy lane cannot starve the loop's lock. */
static void on_wake(uv_async_t *async)
{
    struct loop *loop = async->data;
    pthread_mutex_lock(&loop->lock);
    struct work *list = loop->home_head;
    loop->home_head = loop->home_tail = NULL;
    bool stopping = loop->stopping;
    loop->stopping = false; /* so that the loop can run again */
    pthread_mutex_unlock(&loop->lock);
    while (list) {
        struct work *work = list;
        list = work->next;
        work->done(work);
    }
    if (stopping)
        uv_stop(&loop->uv);
}

static void submit_home(struct post *post, struct work *work)
{
    struct loop *loop = (struct loop *)post;
    pthread_mutex_lock(&loop->lock);
    work->next = NULL;
    if (loop->home_tail)
        loop->home_tail->next = work;
    else
        loop->home_head = work;
    loop->home_tail = work;
    pthread_mutex_unlock(&loop->lock);
    uv_async_send(&loop->wake);
}

struct loop *loop_new(struct err *err)
{
    AUTO(mem) struct loop *loop = own_alloc(sizeof *loop, err);
    if (!loop)
        return NULL;
    loop->post.submit = submit_home;
    int rc = uv_loop_init(&loop->uv);
    if (rc == 0)
        rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (rc != 0) {
        uv_failed(err, rc, "start event loop");
        return NULL;
    }
    pthread_mutex_init(&loop->lock, NULL);
    loop->wake.data = loop;
    return TAKE(loop);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop->uv);
    assert(rc == 0); /* somebody kept a watch, timer or signal */
    pthread_mutex_destroy(&loop->lock);
    own_free(loop);
}

void loop_run(struct loop *loop) { uv_run(&loop->uv, UV_RUN_DEFAULT); }

void loop_stop(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stopping = true;
    pthread_mutex_unlock(&loop->lock);
    uv_async_send(&loop->wake);
}

struct post *loop_post(struct loop *loop) { return &loop->post; }

static void on_closed(uv_handle_t *handle) { own_free(handle->data); }

struct watch {
    uv_poll_t uv;
    void (*fn)(void *arg, int events);
    void *arg;
};

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int ready = (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0);
    watch->fn(watch->arg, status < 0 ? LOOP_READ | LOOP_WRITE : ready);
}

struct watch *watch_new(struct loop *loop, int fd, void (*fn)(void *arg, int events), void *arg,
                        struct err *err)
{
    AUTO(mem) struct watch *watch = own_alloc(sizeof *watch, err);
    if (!watch)
        return NULL;
    int rc = uv_poll_init(&loop->uv, &watch->uv, fd);
    if (rc != 0) {
        uv_failed(err, rc, "watch descriptor");
        return NULL;
    }
    watch->uv.data = watch;
    watch->fn = fn;
    watch->arg = arg;
    return TAKE(watch);
}

bool watch_set(struct watch *watch, int events, struct err *err)
{
    int wanted = (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);
    int rc = wanted ? uv_poll_start(&watch->uv, wanted, on_poll) : uv_poll_stop(&watch->uv);
    return rc == 0 || uv_failed(err, rc, "watch descriptor");
}

void watch_free(struct watch *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->uv, on_closed);
}

struct timer {
    uv_timer_t uv;
    void (*fn)(void *arg);
    void *arg;
};

static void on_timer(uv_timer_t *uv)
{
    struct timer *timer = uv->data;
    timer->fn(timer->arg);
}

struct timer *timer_new(struct loop *loop, void (*fn)(void *arg), void *arg, struct err *err)
{
    struct timer *timer = own_alloc(sizeof *timer, err);
    if (!timer)
        return NULL;
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    timer->fn = fn;
    timer->arg = arg;
    return timer;
}

void timer_set(struct timer *timer, uint64_t after_ms, uint64_t every_ms)
{
    uv_update_time(timer->uv.loop);
    uv_timer_start(&timer->uv, on_timer, after_ms, every_ms);
}

void timer_stop(struct timer *timer) { uv_timer_stop(&timer->uv); }

void timer_free(struct timer *timer)
{
    if (timer)
        uv_close((uv_handle_t *)&timer->uv, on_closed);
}

struct signal_watch {
    uv_signal_t uv;
    void (*fn)(void *arg, int signal_no);
    void *arg;
};

static void on_signal(uv_signal_t *uv, int signal_no)
{
    struct signal_watch *watch = uv->data;
    watch->fn(watch->arg, signal_no);
}

struct signal_watch *signal_watch_new(struct loop *loop, int signal_no,
                                      void (*fn)(void *arg, int signal_no), void *arg,
                                      struct err *err)
{
    struct signal_watch *watch = own_alloc(sizeof *watch, err);
    if (!watch)
        return NULL;
    uv_signal_init(&loop->uv, &watch->uv);
    watch->uv.data = watch;
    watch->fn = fn;
    watch->arg = arg;
    int rc = uv_signal_start(&watch->uv, on_signal, signal_no);
    if (rc != 0) {
        uv_failed(err, rc, "watch signal");
        signal_watch_free(watch);
        return NULL;
    }
    return watch;
}

void signal_watch_free(struct signal_watch *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->uv, on_closed);
}
