/* Before a thread waits for long, who listens on it is told: once, and on that thread alone. */
#include "agent/base/sys.h"
#include "agent/base/waiting.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static void count(void *arg) { ++*(int *)arg; }

static void *wait_elsewhere(void *arg)
{
    (void)arg;
    waiting_begins();
    return NULL;
}

static bool is_set(void *arg) { return *(bool *)arg; }

Test(waiting, who_listens_on_a_thread_may_call_its_changes_off)
{
    bool may = false;
    cr_assert(waiting_may_change(), "nobody is asked");
    waiting_ask(is_set, &may);
    cr_assert_not(waiting_may_change());
    may = true;
    cr_assert(waiting_may_change());
    waiting_ask(NULL, NULL);
    may = false;
    cr_assert(waiting_may_change());
}

Test(waiting, the_listener_of_this_thread_is_told_once)
{
    int told = 0;
    pthread_t thread;
    waiting_begins(); /* nobody listens */
    waiting_listen(count, &told);
    cr_assert_eq(pthread_create(&thread, NULL, wait_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(told, 0);
    waiting_begins();
    waiting_begins();
    cr_assert_eq(told, 1);
    waiting_listen(count, &told);
    waiting_listen(NULL, NULL);
    waiting_begins();
    cr_assert_eq(told, 1);
}

Test(waiting, what_is_in_memory_is_read_without_a_word_and_the_disk_is_announced)
{
    struct err err = {0};
    char path[] = "./test-waiting-XXXXXX"; /* where there may be a disk below */
    int told = 0;
    char bytes[8192];
    AUTO(fd) int fd = mkstemp(path);
    cr_assert(fd >= 0 && unlink(path) == 0);
    memset(bytes, 'x', sizeof bytes);
    cr_assert(sys_pwrite(fd, bytes, sizeof bytes, 0, path, &err));
    waiting_listen(count, &told);
    cr_assert_eq(sys_pread(fd, bytes, sizeof bytes, 0, path, &err), (ssize_t)sizeof bytes);
    cr_assert_eq(told, 0);
    cr_assert(sys_fdatasync(fd, path, &err));
    cr_assert_eq(told, 1);
    waiting_listen(count, &told);
    cr_assert_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    struct iovec part = {bytes, 1};
    bool still_there = preadv2(fd, &part, 1, 4096, RWF_NOWAIT) >= 0 || errno != EAGAIN;
    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(sys_pread(fd, bytes, sizeof bytes, 0, path, &err), (ssize_t)sizeof bytes);
    cr_assert(bytes[0] == 'x' && bytes[8191] == 'x');
    if (still_there)
        puts("SKIPPED waiting: this file system does not forget, or does not tell");
    else
        cr_assert_eq(told, 2);
    waiting_listen(NULL, NULL);
}

static void post(void *arg) { sem_post(arg); }

static bool was_posted(sem_t *sem)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    return sem_timedwait(sem, &until) == 0;
}

Test(waiting, one_who_is_watched_and_stays_is_told_of_by_another, .timeout = 60)
{
    struct err err = {0};
    int left;
    sem_t told;
    sem_init(&told, 0, 0);
    waiting_watch_begin(); /* nobody listens */
    waiting_watch_end();
    cr_assert(waiting_watch_start(&err) && waiting_watch_start(&err), "%s", err.text);
    for (int turn = 0; turn < 3; turn++) {
        waiting_listen(post, &told);
        waiting_watch_begin();
        waiting_watch_end();
        cr_assert_eq(sem_getvalue(&told, &left) + left, 0);
        waiting_watch_begin();
        cr_assert(was_posted(&told), "nobody told");
        waiting_begins();
        waiting_watch_end();
        waiting_begins();
        cr_assert_eq(sem_getvalue(&told, &left) + left, 0, "told twice");
        waiting_watch_stop(); /* another still wants it; the last turn starts it anew */
        if (turn == 1)
            cr_assert(waiting_watch_start(&err), "%s", err.text);
    }
    sem_destroy(&told);
}

static void count_atomically(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

/* Says itself that it waits, or stays until another says so, or is quick. */
static void *be_watched(void *arg)
{
    atomic_int told = 0;
    bool *ret_wrong = arg;
    for (int turn = 0; turn < 30; turn++) {
        int before = told;
        waiting_listen(count_atomically, &told);
        waiting_watch_begin();
        if (turn % 10 == 1)
            waiting_begins();
        while (turn % 10 == 2 && told == before)
            sched_yield();
        waiting_watch_end();
        waiting_listen(NULL, NULL);
        int wanted = turn % 10 == 1 || turn % 10 == 2;
        *ret_wrong |= told < before + wanted || told > before + 1;
    }
    return NULL;
}

Test(waiting, each_of_many_threads_is_told_of_once, .timeout = 60)
{
    enum { THREADS = 16 };
    struct err err = {0};
    pthread_t threads[THREADS];
    bool wrong[THREADS] = {false};
    cr_assert(waiting_watch_start(&err), "%s", err.text);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, be_watched, &wrong[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert(!wrong[i]);
    }
    waiting_watch_stop();
}

struct door {
    pthread_mutex_t lock;
    sem_t told;
};

static void *wait_at_door(void *arg)
{
    struct door *door = arg;
    waiting_listen(post, &door->told);
    waiting_watch_begin();
    waiting_lock(&door->lock);
    pthread_mutex_unlock(&door->lock);
    waiting_watch_end();
    waiting_listen(NULL, NULL);
    return NULL;
}

/* Outside of a watch: nobody else tells for it. */
static void *come_to_door(void *arg)
{
    struct door *door = arg;
    waiting_listen(post, &door->told);
    waiting_lock(&door->lock);
    pthread_mutex_unlock(&door->lock);
    waiting_listen(NULL, NULL);
    return NULL;
}

Test(waiting, behind_a_long_wait_for_a_lock_the_next_says_at_once_that_it_waits, .timeout = 60)
{
    struct door door = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct err err = {0};
    pthread_t first;
    pthread_t next;
    int left;
    sem_init(&door.told, 0, 0);
    cr_assert(waiting_watch_start(&err), "%s", err.text);
    wait_at_door(&door);
    come_to_door(&door);
    cr_assert_eq(sem_getvalue(&door.told, &left) + left, 0, "nobody had to wait");
    pthread_mutex_lock(&door.lock);
    cr_assert_eq(pthread_create(&first, NULL, wait_at_door, &door), 0);
    cr_assert(was_posted(&door.told), "nobody told");
    cr_assert_eq(pthread_create(&next, NULL, come_to_door, &door), 0);
    cr_assert(was_posted(&door.told), "the next did not tell");
    pthread_mutex_unlock(&door.lock);
    pthread_join(first, NULL);
    pthread_join(next, NULL);
    come_to_door(&door);
    waiting_watch_stop();
    cr_assert_eq(sem_getvalue(&door.told, &left) + left, 0);
    sem_destroy(&door.told);
}
