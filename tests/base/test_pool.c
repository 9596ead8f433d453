/* Lanes: order, home, many at once, and nothing lost at the end. */
#include "agent/base/loop.h"
#include "agent/base/pool.h"
#include "agent/base/str.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct item {
    struct work work;
    int no;
    struct lane *lane, *home;
};

static _Atomic int ran, came_home, disorder, astray;
static sem_t gate;

static struct lane *lane(const char *name, int workers)
{
    struct err err = {0};
    struct lane *made = lane_new(name, workers, &err);
    cr_assert(made, "%s", err.text);
    return made;
}

static void in_order(struct work *work)
{
    struct item *item = (struct item *)work;
    disorder += item->no != ran++;
    astray += item->lane && !lane_is_current(item->lane);
}

static void wait_at_gate(struct work *work)
{
    (void)work;
    sem_wait(&gate);
}

Test(pool, one_worker_keeps_the_order)
{
    enum { COUNT = 2000 };
    static struct item items[COUNT];
    struct lane *one = lane("one", 1);
    for (int i = 0; i < COUNT; i++) {
        items[i] = (struct item){.work.run = in_order, .no = i, .lane = one};
        lane_submit(one, &items[i].work);
    }
    lane_free(one);
    cr_expect_eq(ran, COUNT);
    cr_expect_eq(disorder, 0);
    cr_expect_eq(astray, 0);
}

Test(pool, freeing_runs_what_is_queued)
{
    static struct item items[100];
    struct item plug = {.work.run = wait_at_gate};
    struct lane *one = lane("queued", 1);
    sem_init(&gate, 0, 0);
    lane_submit(one, &plug.work);
    for (int i = 0; i < 100; i++) {
        items[i] = (struct item){.work.run = in_order, .no = i};
        lane_submit(one, &items[i].work);
    }
    for (int i = 0; i < 5000 && lane_depth(one) > 100; i++)
        usleep(1000);
    cr_expect_eq(lane_depth(one), 100, "the begun one is not counted");
    cr_expect_eq(ran, 0);
    sem_post(&gate);
    lane_free(one);
    cr_expect_eq(ran, 100);
    lane_free(NULL);
}

static void fail_softly(struct work *work)
{
    err_set(&work->err, ERR_BUSY, "no %d", ((struct item *)work)->no);
    ran++;
}

static pthread_t home_thread;
static struct loop *home_loop;
static int wanted;

static void at_home(struct work *work)
{
    struct item *item = (struct item *)work;
    char text[32];
    str_format(text, sizeof text, "no %d", item->no);
    astray += !pthread_equal(pthread_self(), home_thread);
    disorder += work->err.code != ERR_BUSY || !str_equal(work->err.text, text);
    if (++came_home == wanted)
        loop_stop(home_loop);
}

struct crowd {
    struct lane *lane;
    struct item items[1250];
};

static void *crowd_main(void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < 1250; i++) {
        crowd->items[i] = (struct item){
            .work = {.run = fail_softly, .done = at_home, .home = loop_post(home_loop)}, .no = i};
        lane_submit(crowd->lane, &crowd->items[i].work);
    }
    return NULL;
}

Test(pool, ten_thousand_works_from_eight_threads_come_home)
{
    static struct crowd crowds[8];
    pthread_t threads[8];
    struct err err = {0};
    struct lane *many = lane("many", 4);
    home_loop = loop_new(&err);
    home_thread = pthread_self();
    wanted = 10000;
    for (int i = 0; i < 8; i++) {
        crowds[i].lane = many;
        pthread_create(&threads[i], NULL, crowd_main, &crowds[i]);
    }
    loop_run(home_loop);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    lane_free(many);
    loop_free(home_loop);
    cr_expect_eq(ran, 10000);
    cr_expect_eq(came_home, 10000);
    cr_expect_eq(astray, 0);
    cr_expect_eq(disorder, 0);
}

static void on_lane(struct work *work)
{
    struct item *item = (struct item *)work;
    astray += !lane_is_current(item->lane) || lane_is_current(item->home);
    ran++;
}

static void home_on_lane(struct work *work)
{
    struct item *item = (struct item *)work;
    astray += !lane_is_current(item->home);
    came_home++;
    if (item->no-- > 0) { /* a work may be submitted again once it is home */
        work->run = on_lane;
        lane_submit(item->lane, work);
    } else {
        sem_post(&gate);
    }
}

Test(pool, a_lane_can_be_home_and_a_work_can_go_again)
{
    struct lane *out = lane("out", 2);
    struct lane *home = lane("home", 1);
    struct item item = {.work = {.run = on_lane, .done = home_on_lane, .home = lane_post(home)},
                        .no = 99,
                        .lane = out,
                        .home = home};
    sem_init(&gate, 0, 0);
    lane_submit(out, &item.work);
    sem_wait(&gate);
    lane_free(out);
    lane_free(home);
    cr_expect_eq(ran, 100);
    cr_expect_eq(came_home, 100);
    cr_expect_eq(astray, 0);
    cr_expect_not(lane_is_current(home));
}

static void done_on_the_same(struct work *work)
{
    (void)work;
    came_home++;
}

Test(pool, work_whose_home_is_its_own_lane_comes_home_before_the_end)
{
    static struct item items[50];
    struct lane *own = lane("own", 3);
    for (int i = 0; i < 50; i++) {
        items[i] = (struct item){
            .work = {.run = fail_softly, .done = done_on_the_same, .home = lane_post(own)}};
        lane_submit(own, &items[i].work);
    }
    lane_free(own);
    cr_expect_eq(ran, 50);
    cr_expect_eq(came_home, 50);
}

static pthread_barrier_t together;

static void meet(struct work *work)
{
    (void)work;
    pthread_barrier_wait(&together);
    ran++;
}

Test(pool, workers_work_at_the_same_time, .timeout = 20)
{
    struct item items[4] = {0};
    struct lane *four = lane("four", 4);
    pthread_barrier_init(&together, NULL, 4);
    for (int i = 0; i < 4; i++) {
        items[i].work.run = meet;
        lane_submit(four, &items[i].work);
    }
    lane_free(four);
    cr_expect_eq(ran, 4);
}

static void free_itself(struct work *work)
{
    own_free(work);
    ran++;
}

Test(pool, work_nobody_waits_for_may_free_itself)
{
    struct err err = {0};
    struct lane *one = lane("free", 2);
    for (int i = 0; i < 100; i++) {
        struct work *work = own_alloc(sizeof *work, &err);
        work->run = free_itself;
        lane_submit(one, work);
    }
    lane_free(one);
    cr_expect_eq(ran, 100);
}

static char thread_name[32];

static void look_at_name(struct work *work)
{
    (void)work;
    sem_wait(&gate); /* the name is set after the start */
    prctl(PR_GET_NAME, thread_name);
}

Test(pool, a_long_name_is_cut_to_what_the_system_shows)
{
    struct item item = {.work.run = look_at_name};
    sem_init(&gate, 0, 0);
    struct lane *named = lane("a-lane-with-a-long-name", 1);
    lane_submit(named, &item.work);
    sem_post(&gate);
    lane_free(named);
    cr_expect_str_eq(thread_name, "a-lane-with-a-l");
}

Test(pool, without_memory_no_lane)
{
    bool done = false;
    for (long nth = 1; !done; nth++) {
        struct err err = {0};
        own_fault(nth);
        AUTO(lane) struct lane *made = lane_new("x", 2, &err);
        done = own_fault(0) < nth;
        cr_assert_eq(made != NULL, done);
        cr_assert_eq(err.code, done ? ERR_NONE : ERR_NO_MEMORY);
    }
}
