/* Loop, lanes and posts under load for a few seconds: stress_lanes [SECONDS]. For SAN=thread, under
 * which Criterion cannot start. */
#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHAINS = 64, SUBMITTERS = 4, PARCELS = 200 };

/* A work that travels: many -> loop -> single -> loop -> many ... until the time is over. Its
 * counter is a plain one: the queues alone must make handing it on safe. */
struct chain {
    struct work work;
    struct stress *stress;
    unsigned long steps;
    bool on_single;
};

/* Works thrown in from threads of their own, which nobody waits for. */
struct parcel {
    struct work work;
    struct stress *stress;
};

struct stress {
    struct loop *loop;
    struct lane *many, *single;
    uint64_t end_ms;
    int alive;            /* the loop's */
    unsigned long ticks;  /* the loop's */
    unsigned long writes; /* the single lane's */
    _Atomic unsigned long parcels;
};

static void go_on(struct chain *chain);

static void on_single(struct work *work)
{
    struct chain *chain = (struct chain *)work;
    chain->stress->writes++;
    chain->steps++;
}

static void on_many(struct work *work) { ((struct chain *)work)->steps++; }

static void at_home(struct work *work)
{
    struct chain *chain = (struct chain *)work;
    struct stress *s = chain->stress;
    chain->steps++;
    if (clock_mono_ms() < s->end_ms)
        go_on(chain);
    else if (--s->alive == 0)
        loop_stop(s->loop);
}

static void go_on(struct chain *chain)
{
    struct stress *s = chain->stress;
    chain->on_single = !chain->on_single;
    chain->work = (struct work){
        .run = chain->on_single ? on_single : on_many, .done = at_home, .home = loop_post(s->loop)};
    lane_submit(chain->on_single ? s->single : s->many, &chain->work);
}

static void on_parcel(struct work *work)
{
    ((struct parcel *)work)->stress->parcels++;
    own_free(work);
}

static void *submitter_main(void *arg)
{
    struct stress *s = arg;
    struct err err = {0};
    unsigned long sent = 0;
    while (clock_mono_ms() < s->end_ms) {
        for (int i = 0; i < PARCELS; i++) {
            struct parcel *parcel = own_alloc(sizeof *parcel, &err);
            if (!parcel)
                break;
            parcel->work.run = on_parcel;
            parcel->stress = s;
            lane_submit(i % 2 ? s->many : s->single, &parcel->work);
            sent++;
        }
        while (lane_depth(s->many) + lane_depth(s->single) > 10000 && clock_mono_ms() < s->end_ms)
            continue;
    }
    return (void *)sent;
}

static void on_tick(void *arg) { ((struct stress *)arg)->ticks++; }

int main(int argc, char **argv)
{
    static struct chain chains[CHAINS];
    struct err err = {0};
    struct stress s = {.alive = CHAINS};
    s.end_ms = clock_mono_ms() + 1000 * (argc > 1 ? strtoul(argv[1], NULL, 10) : 5);
    s.loop = loop_new(&err);
    s.many = lane_new("many", 4, &err);
    s.single = lane_new("single", 1, &err);
    struct timer *timer = s.loop ? timer_new(s.loop, on_tick, &s, &err) : NULL;
    if (!s.many || !s.single || !timer) {
        fprintf(stderr, "stress_lanes: %s\n", err.text);
        return 1;
    }
    timer_set(timer, 1, 1);
    pthread_t threads[SUBMITTERS];
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_create(&threads[i], NULL, submitter_main, &s);
    for (int i = 0; i < CHAINS; i++) {
        chains[i].stress = &s;
        go_on(&chains[i]);
    }
    loop_run(s.loop);
    unsigned long sent = 0;
    for (int i = 0; i < SUBMITTERS; i++) {
        void *count;
        pthread_join(threads[i], &count);
        sent += (unsigned long)count;
    }
    lane_free(s.many);
    lane_free(s.single);
    timer_free(timer);
    loop_free(s.loop);
    unsigned long steps = 0;
    for (int i = 0; i < CHAINS; i++)
        steps += chains[i].steps;
    bool ok = sent == s.parcels && steps && s.ticks && s.alive == 0 && steps % 2 == 0;
    printf("%lu parcels of %lu, %lu steps, %lu writes, %lu ticks\n", (unsigned long)s.parcels, sent,
           steps, s.writes, s.ticks);
    printf("%d passed, %d failed\n", ok, !ok);
    return !ok;
}
