/* The loop: what is ready is told, timers and signals come, work comes home. */
#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
    struct loop *loop;
    struct watch *watch;
    struct timer *timer;
    int fd;
    int calls, events, signal_no;
    char order[16];
    pthread_t home;
};

static struct world world_new(void)
{
    struct err err = {0};
    struct world w = {.loop = loop_new(&err)};
    cr_assert(w.loop, "%s", err.text);
    return w;
}

static void stop(void *arg) { loop_stop(((struct world *)arg)->loop); }

/* Runs for that long, whatever happens. */
static void run_for(struct world *w, uint64_t ms)
{
    struct err err = {0};
    struct timer *end = timer_new(w->loop, stop, w, &err);
    timer_set(end, ms, 0);
    loop_run(w->loop);
    timer_free(end);
}

static void note(struct world *w, char what)
{
    size_t len = strlen(w->order);
    if (len + 1 < sizeof w->order)
        w->order[len] = what;
}

static void on_a(void *arg) { note(arg, 'a'); }
static void on_b(void *arg) { note(arg, 'b'); }
static void on_c(void *arg) { note(arg, 'c'); }

Test(loop, timers_fire_in_order_of_time)
{
    struct world w = world_new();
    struct err err = {0};
    struct timer *a = timer_new(w.loop, on_a, &w, &err);
    struct timer *b = timer_new(w.loop, on_b, &w, &err);
    struct timer *c = timer_new(w.loop, on_c, &w, &err);
    timer_set(a, 60, 0);
    timer_set(b, 20, 0);
    timer_set(c, 40, 0);
    run_for(&w, 120);
    cr_expect_str_eq(w.order, "bca", "each once");
    memset(w.order, 0, sizeof w.order);
    timer_set(a, 10, 0);
    timer_set(a, 60, 0); /* the later word counts */
    timer_set(b, 30, 0);
    timer_set(c, 5, 0);
    timer_stop(c);
    run_for(&w, 120);
    cr_expect_str_eq(w.order, "ba");
    timer_free(a);
    timer_free(b);
    timer_free(c);
    timer_free(NULL);
    loop_free(w.loop);
}

static void on_tick(void *arg)
{
    struct world *w = arg;
    if (++w->calls == 5) {
        timer_free(w->timer);
        loop_stop(w->loop);
    }
}

Test(loop, a_timer_repeats_and_may_free_itself)
{
    struct world w = world_new();
    struct err err = {0};
    uint64_t start = clock_mono_ms();
    w.timer = timer_new(w.loop, on_tick, &w, &err);
    timer_set(w.timer, 0, 10);
    loop_run(w.loop);
    cr_expect_eq(w.calls, 5);
    cr_expect_geq(clock_mono_ms() - start, 38);
    loop_free(w.loop);
}

Test(loop, a_timer_counts_from_the_moment_it_is_set)
{
    struct world w = world_new();
    struct err err = {0};
    w.timer = timer_new(w.loop, stop, &w, &err);
    usleep(80000); /* the loop's own clock stands still meanwhile */
    uint64_t start = clock_mono_ms();
    timer_set(w.timer, 60, 0);
    loop_run(w.loop);
    cr_expect_geq(clock_mono_ms() - start, 58);
    timer_free(w.timer);
    loop_free(w.loop);
}

static void on_ready(void *arg, int events)
{
    struct world *w = arg;
    struct err err = {0};
    char byte;
    w->events |= events;
    if (events & LOOP_READ && read(w->fd, &byte, 1) == 1 && ++w->calls == 3)
        cr_expect(watch_set(w->watch, 0, &err));
}

Test(loop, a_watch_is_level_triggered_and_can_pause)
{
    struct world w = world_new();
    struct err err = {0};
    int pair[2];
    cr_assert_eq(pipe(pair), 0);
    w.fd = pair[0];
    w.watch = watch_new(w.loop, pair[0], on_ready, &w, &err);
    cr_assert(w.watch);
    cr_assert_eq(write(pair[1], "12345", 5), 5);
    run_for(&w, 30);
    cr_expect_eq(w.calls, 0, "nothing before watch_set");
    cr_expect(watch_set(w.watch, LOOP_READ, &err));
    run_for(&w, 30);
    cr_expect_eq(w.calls, 3, "one byte a call, then paused");
    w.calls = 10;
    cr_expect(watch_set(w.watch, LOOP_READ, &err));
    run_for(&w, 30);
    cr_expect_eq(w.calls, 12);
    cr_expect_eq(w.events, LOOP_READ);
    watch_free(w.watch);
    watch_free(NULL);
    loop_free(w.loop);
    close(pair[0]);
    close(pair[1]);
}

static void on_end(void *arg, int events)
{
    struct world *w = arg;
    w->events |= events;
    w->calls++;
    watch_free(w->watch);
    loop_stop(w->loop);
}

Test(loop, the_other_end_closing_is_seen_by_reader_and_writer)
{
    for (int side = 0; side < 2; side++) {
        struct world w = world_new();
        struct err err = {0};
        int pair[2];
        cr_assert_eq(pipe(pair), 0);
        w.watch = watch_new(w.loop, pair[side], on_end, &w, &err);
        cr_assert(watch_set(w.watch, LOOP_READ, &err));
        close(pair[!side]);
        loop_run(w.loop);
        cr_expect_eq(w.calls, 1, "side %d", side);
        cr_expect(w.events & LOOP_READ, "side %d", side);
        loop_free(w.loop);
        close(pair[side]);
    }
}

Test(loop, both_directions_of_a_socket_are_watched)
{
    struct world w = world_new();
    struct err err = {0};
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    w.watch = watch_new(w.loop, pair[0], on_end, &w, &err);
    cr_assert_eq(write(pair[1], "x", 1), 1);
    cr_assert(watch_set(w.watch, LOOP_READ | LOOP_WRITE, &err));
    loop_run(w.loop);
    cr_expect_eq(w.events, LOOP_READ | LOOP_WRITE);
    loop_free(w.loop);
    close(pair[0]);
    close(pair[1]);
}

Test(loop, what_cannot_be_watched_is_refused)
{
    struct world w = world_new();
    struct err err = {0};
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    cr_expect_null(watch_new(w.loop, file, on_end, &w, &err), "a plain file is always ready");
    cr_expect_neq(err.code, ERR_NONE);
    err_clear(&err);
    cr_expect_null(watch_new(w.loop, 9999, on_end, &w, &err));
    cr_expect_neq(err.code, ERR_NONE);
    cr_expect_null(signal_watch_new(w.loop, 4000, NULL, NULL, &err));
    cr_expect_null(signal_watch_new(w.loop, SIGKILL, NULL, NULL, &err));
    close(file);
    loop_free(w.loop);
}

static void on_signal(void *arg, int signal_no)
{
    struct world *w = arg;
    w->signal_no = signal_no;
    w->calls++;
    loop_stop(w->loop);
}

Test(loop, signals_come_to_the_loop)
{
    struct world w = world_new();
    struct err err = {0};
    struct signal_watch *term = signal_watch_new(w.loop, SIGTERM, on_signal, &w, &err);
    struct signal_watch *hup = signal_watch_new(w.loop, SIGHUP, on_signal, &w, &err);
    cr_assert(term && hup);
    raise(SIGTERM);
    loop_run(w.loop);
    cr_expect_eq(w.signal_no, SIGTERM);
    raise(SIGHUP);
    loop_run(w.loop);
    cr_expect_eq(w.signal_no, SIGHUP);
    cr_expect_eq(w.calls, 2);
    signal_watch_free(term);
    signal_watch_free(hup);
    signal_watch_free(NULL);
    loop_free(w.loop);
}

struct letter {
    struct work work;
    struct world *world;
    int no;
};

static void on_letter(struct work *work)
{
    struct letter *letter = (struct letter *)work;
    struct world *w = letter->world;
    cr_assert(pthread_equal(pthread_self(), w->home));
    cr_assert_eq(letter->no, w->calls, "in order");
    if (++w->calls == 1000)
        loop_stop(w->loop);
}

static struct letter letters[1000];

static void *writer_main(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 1000; i++) {
        letters[i] = (struct letter){.work.done = on_letter, .world = w, .no = i};
        loop_post(w->loop)->submit(loop_post(w->loop), &letters[i].work);
    }
    return NULL;
}

Test(loop, what_is_posted_from_a_thread_arrives_in_order)
{
    struct world w = world_new();
    pthread_t thread;
    w.home = pthread_self();
    pthread_create(&thread, NULL, writer_main, &w);
    loop_run(w.loop);
    pthread_join(thread, NULL);
    cr_expect_eq(w.calls, 1000);
    loop_free(w.loop);
}

static void on_posted(struct work *work) { ((struct letter *)work)->world->calls++; }

Test(loop, it_can_be_stopped_before_it_runs_and_run_again)
{
    struct world w = world_new();
    struct letter letter = {.work.done = on_posted, .world = &w};
    loop_stop(w.loop);
    loop_run(w.loop);
    uint64_t start = clock_mono_ms();
    loop_post(w.loop)->submit(loop_post(w.loop), &letter.work);
    run_for(&w, 60);
    cr_expect_eq(w.calls, 1);
    cr_expect_geq(clock_mono_ms() - start, 58, "the old stop ended the new run");
    loop_free(w.loop);
    loop_free(NULL);
}

static void *stopper_main(void *arg)
{
    usleep(30000);
    stop(arg);
    return NULL;
}

Test(loop, any_thread_may_stop_it)
{
    struct world w = world_new();
    pthread_t thread;
    pthread_create(&thread, NULL, stopper_main, &w);
    loop_run(w.loop);
    pthread_join(thread, NULL);
    loop_free(w.loop);
}

Test(loop, without_memory_nothing_is_made)
{
    struct err err = {0};
    struct world w = world_new();
    for (int i = 0; i < 4; i++) {
        err_clear(&err);
        own_fault(1);
        void *made = i == 0   ? (void *)loop_new(&err)
                     : i == 1 ? (void *)watch_new(w.loop, 0, on_end, &w, &err)
                     : i == 2 ? (void *)timer_new(w.loop, stop, &w, &err)
                              : (void *)signal_watch_new(w.loop, SIGHUP, on_signal, &w, &err);
        own_fault(0);
        cr_expect_null(made);
        cr_expect_eq(err.code, ERR_NO_MEMORY);
    }
    loop_free(w.loop);
}
