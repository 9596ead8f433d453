/* Before a thread waits for long, who listens on it is told: once, and on that thread alone. */
#include "agent/base/sys.h"
#include "agent/base/waiting.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
