/* Alarms: a worker that sleeps in poll until the next one is due; new ones arrive by a pipe. */
#include "agent/engine/alarm.h"

#include "agent/base/clock.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

struct alarm_clock {
    struct lane *to;
    struct lane *own;
    struct work watch;
    int read_fd, write_fd;
    struct alarm *pending; /* soonest first; the watching thread's */
};

static void insert(struct alarm_clock *clock, struct alarm *alarm)
{
    struct alarm **at = &clock->pending;
    while (*at && (*at)->due_ms <= alarm->due_ms)
        at = &(*at)->next;
    alarm->next = *at;
    *at = alarm;
}

static void ring(struct alarm_clock *clock)
{
    uint64_t now = clock_mono_ms();
    while (clock->pending && clock->pending->due_ms <= now) {
        struct alarm *alarm = clock->pending;
        clock->pending = alarm->next;
        lane_submit(clock->to, alarm->work);
    }
}

static int sleep_ms(const struct alarm_clock *clock)
{
    if (!clock->pending)
        return -1;
    uint64_t now = clock_mono_ms(), due = clock->pending->due_ms;
    uint64_t left = due > now ? due - now : 0;
    return left < INT_MAX ? (int)left : INT_MAX;
}

static void watch(struct work *work)
{
    struct alarm_clock *clock =
        (struct alarm_clock *)((char *)work - offsetof(struct alarm_clock, watch));
    for (;;) {
        struct pollfd fd = {.fd = clock->read_fd, .events = POLLIN};
        int ready = poll(&fd, 1, sleep_ms(clock));
        assert(ready >= 0 || errno == EINTR);
        if (ready > 0) {
            void *alarm = NULL;
            ssize_t n = read(clock->read_fd, &alarm, sizeof alarm);
            if (n == 0)
                return;
            if (n == sizeof alarm)
                insert(clock, alarm);
        }
        ring(clock);
    }
}

struct alarm_clock *alarm_clock_new(struct lane *to, struct err *err)
{
    AUTO(alarm_clock) struct alarm_clock *clock = own_alloc(sizeof *clock, err);
    if (!clock)
        return NULL;
    *clock = (struct alarm_clock){.to = to, .watch.run = watch, .read_fd = -1, .write_fd = -1};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        err_errno(err, errno, "make a pipe for alarms");
        return NULL;
    }
    clock->read_fd = ends[0];
    clock->write_fd = ends[1];
    clock->own = lane_new("alarms", 1, err);
    if (!clock->own)
        return NULL;
    lane_submit(clock->own, &clock->watch);
    return TAKE(clock);
}

void alarm_clock_free(struct alarm_clock *clock)
{
    if (!clock)
        return;
    if (clock->write_fd >= 0)
        close(clock->write_fd);
    lane_free(clock->own);
    if (clock->read_fd >= 0)
        close(clock->read_fd);
    own_free(clock);
}

void alarm_set(struct alarm_clock *clock, struct alarm *alarm)
{
    void *message = alarm;
    ssize_t n;
    do
        n = write(clock->write_fd, &message, sizeof message);
    while (n < 0 && errno == EINTR);
    assert(n == sizeof message); /* a pointer is far below PIPE_BUF: whole or not at all */
}
