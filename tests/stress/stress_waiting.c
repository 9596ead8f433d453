/* Threads that are watched while they wait, and one that tells: stress_waiting [SECONDS]. What the
 * listener touches is plain memory: for SAN=thread. */
#include "agent/base/clock.h"
#include "agent/base/waiting.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKERS = 8 };

struct world {
    uint64_t end_ms;
    pthread_mutex_t door;
    _Atomic unsigned long turns, told, wrong;
};
struct call {
    unsigned told;        /* by whoever tells; read when the watch has ended */
    atomic_bool was_told; /* for who stays until then */
};

static void tell(void *arg)
{
    struct call *call = arg;
    call->told++;
    atomic_store(&call->was_told, true);
}

static void stay_until_told(const struct call *call)
{
    while (!atomic_load(&call->was_told))
        sched_yield();
}

static void turn(struct world *world, unsigned long n)
{
    struct call call = {0};
    bool says = n % 7 == 1, stays = n % 1000 == 2;
    waiting_listen(tell, &call);
    waiting_watch_begin();
    if (says)
        waiting_begins();
    if (n % 3 == 0) {
        waiting_lock(&world->door);
        if (stays)
            stay_until_told(&call);
        pthread_mutex_unlock(&world->door);
    } else if (stays) {
        stay_until_told(&call);
    }
    waiting_watch_end();
    waiting_listen(NULL, NULL);
    world->wrong += call.told > 1 || (call.told < 1 && (says || stays));
    world->told += call.told;
    world->turns++;
}

static void *work(void *arg)
{
    struct world *world = arg;
    for (unsigned long n = 0; clock_mono_ms() < world->end_ms; n++)
        turn(world, n);
    return NULL;
}

/* The threads end, and so does who watches them: then all begins anew. */
static bool round_of(struct world *world, uint64_t ms, struct err *err)
{
    pthread_t threads[WORKERS];
    int started = 0;
    world->end_ms = clock_mono_ms() + ms;
    if (!waiting_watch_start(err))
        return false;
    while (started < WORKERS && pthread_create(&threads[started], NULL, work, world) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    waiting_watch_stop();
    return started == WORKERS || err_set(err, ERR_NO_MEMORY, "no thread");
}

int main(int argc, char **argv)
{
    enum { ROUNDS = 4 };
    uint64_t ms = (argc > 1 ? strtoull(argv[1], NULL, 10) : 2) * 1000;
    struct world world = {.door = PTHREAD_MUTEX_INITIALIZER};
    struct err err = {0};
    for (int i = 0; i < ROUNDS; i++)
        if (!round_of(&world, ms / ROUNDS, &err)) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
    bool ok = !world.wrong && world.told;
    printf("waiting: %lu turns, told of %lu: %s\n", world.turns, world.told,
           ok ? "right" : "WRONG");
    return ok ? 0 : 1;
}
