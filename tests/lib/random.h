/* Seeded randomness of the vault's models; EVERCOPY_SEED repeats a run. */
#pragma once
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct rnd {
    uint64_t state;
};

/* The seed is printed; each test process has its own. */
static inline struct rnd rnd_begin(const char *name)
{
    const char *given = getenv("EVERCOPY_SEED");
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    uint64_t seed = given ? strtoull(given, NULL, 10)
                          : ((uint64_t)now.tv_sec << 20 ^ (uint64_t)now.tv_nsec) % 1000000007;
    printf("%s: EVERCOPY_SEED=%" PRIu64 "\n", name, seed);
    fflush(stdout); /* a failing test does not get to its end */
    return (struct rnd){seed};
}

/* splitmix64: any seed will do. */
static inline uint64_t rnd_next(struct rnd *rnd)
{
    uint64_t z = rnd->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static inline uint64_t rnd_below(struct rnd *rnd, uint64_t limit) { return rnd_next(rnd) % limit; }

static inline bool rnd_chance(struct rnd *rnd, unsigned percent)
{
    return rnd_below(rnd, 100) < percent;
}
