/* A disk that hangs: what is held waits, the rest goes on, and nothing is lost when it is let go.
 */
#include "agent/base/sys.h"
#include "agent/base/sys_hold.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static void *write_held(void *arg)
{
    struct err err = {0};
    return sys_pwrite(*(int *)arg, "late", 4, 0, "layer", &err) ? arg : NULL;
}

Test(sys_hold, what_is_held_waits_and_the_rest_goes_on, .timeout = 60)
{
    char path[] = "/tmp/evercopy-hold.XXXXXX";
    struct err err = {0};
    pthread_t thread;
    void *done = NULL;
    char bytes[5] = "";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && unlink(path) == 0);
    sys_hold(SYS_HOLD_WRITE, "layer");
    cr_assert_eq(pthread_create(&thread, NULL, write_held, &fd), 0);
    while (sys_held() == 0)
        sched_yield();
    cr_assert(sys_pwrite(fd, "soon", 4, 0, "journal", &err), "%s", err.text);
    sys_hold_no_more();
    cr_assert(sys_pwrite(fd, "soon", 4, 0, "layer", &err), "%s", err.text);
    cr_assert_eq(sys_held(), 1);
    cr_assert(sys_fsync(fd, "layer", &err), "%s", err.text);
    cr_assert_eq(pread(fd, bytes, 4, 0), 4);
    cr_assert_str_eq(bytes, "soon");
    sys_hold(0, NULL);
    pthread_join(thread, &done);
    cr_assert(done);
    cr_assert_eq(sys_held(), 0);
    cr_assert_eq(pread(fd, bytes, 4, 0), 4);
    cr_assert_str_eq(bytes, "late");
    close(fd);
}
