/* WRITEs that were done lately: buckets of four keys, the oldest of a bucket goes first. */
#include "drivers/vault/nfs/nfs3_seen.h"

#include "agent/base/clock.h"
#include "agent/base/waiting.h"
#include "drivers/vault/store/format.h"
#include <pthread.h>
#include <string.h>

enum {
    WAYS = 4,
    BUCKETS = 1 << 15, /* 131,072 WRITEs: a minute of large ones, seconds of small ones */
    LANES = 64,
};

struct bucket {
    uint64_t keys[WAYS]; /* 0: none */
    bool under_way[WAYS];
    uint8_t next;
};
struct lane {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned waiting;
};
struct nfs3_seen {
    uint64_t seed; /* nobody outside can make two WRITEs look the same */
    struct lane lanes[LANES];
    struct bucket buckets[BUCKETS];
};

struct nfs3_seen *nfs3_seen_new(struct err *err)
{
    struct nfs3_seen *seen = own_alloc(sizeof *seen, err);
    if (seen)
        clock_random(&seen->seed, sizeof seen->seed);
    for (int i = 0; seen && i < LANES; i++) {
        pthread_mutex_init(&seen->lanes[i].lock, NULL);
        pthread_cond_init(&seen->lanes[i].ended, NULL);
    }
    return seen;
}

void nfs3_seen_free(struct nfs3_seen *seen)
{
    for (int i = 0; seen && i < LANES; i++) {
        pthread_mutex_destroy(&seen->lanes[i].lock);
        pthread_cond_destroy(&seen->lanes[i].ended);
    }
    own_free(seen);
}

/* All of its bytes: two that differ in one must never be taken for the same. */
uint64_t nfs3_seen_key(const struct nfs3_seen *seen, const struct view_caller *caller,
                       const struct nfs3_seen_write *write)
{
    struct format_piece pieces[] = {
        {&caller->client, sizeof caller->client}, {&caller->xid, sizeof caller->xid},
        {&write->volume, sizeof write->volume},   {&write->file, sizeof write->file},
        {&write->offset, sizeof write->offset},   {&write->count, sizeof write->count},
        {&write->stable, sizeof write->stable},   {write->data, write->count}};
    uint64_t key = format_sum_of(seen->seed, pieces, sizeof pieces / sizeof pieces[0]);
    return key ? key : 1;
}

static struct bucket *bucket_of(struct nfs3_seen *seen, uint64_t key, struct lane **ret_lane)
{
    uint64_t i = key % BUCKETS;
    *ret_lane = &seen->lanes[i % LANES];
    return &seen->buckets[i];
}

static int find(const struct bucket *bucket, uint64_t key)
{
    int i = 0;
    while (i < WAYS && bucket->keys[i] != key)
        i++;
    return i;
}

/* The oldest goes that is not under way; when all are, this one is not remembered. */
static void keep(struct bucket *bucket, uint64_t key)
{
    for (int tried = 0; tried < WAYS; tried++) {
        int i = bucket->next++ % WAYS;
        if (bucket->under_way[i])
            continue;
        bucket->keys[i] = key;
        bucket->under_way[i] = true;
        return;
    }
}

bool nfs3_seen_begin(struct nfs3_seen *seen, uint64_t key)
{
    struct lane *lane;
    struct bucket *bucket = bucket_of(seen, key, &lane);
    pthread_mutex_lock(&lane->lock);
    int i = find(bucket, key);
    while (i < WAYS && bucket->under_way[i]) {
        waiting_begins();
        lane->waiting++;
        pthread_cond_wait(&lane->ended, &lane->lock);
        lane->waiting--;
        i = find(bucket, key);
    }
    if (i == WAYS)
        keep(bucket, key);
    pthread_mutex_unlock(&lane->lock);
    return i == WAYS;
}

void nfs3_seen_end(struct nfs3_seen *seen, uint64_t key, bool done)
{
    struct lane *lane;
    struct bucket *bucket = bucket_of(seen, key, &lane);
    pthread_mutex_lock(&lane->lock);
    int i = find(bucket, key);
    if (i < WAYS) {
        bucket->under_way[i] = false;
        if (!done)
            bucket->keys[i] = 0;
    }
    if (lane->waiting > 0)
        pthread_cond_broadcast(&lane->ended);
    pthread_mutex_unlock(&lane->lock);
}
