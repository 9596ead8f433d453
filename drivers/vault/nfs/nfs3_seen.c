/* Changes that were made lately, or called off: buckets of four keys, the oldest of a bucket goes
 * first. */
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
    uint8_t how[WAYS];   /* enum nfs3_seen_how; NOT: under way */
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

uint64_t nfs3_seen_key_of(const struct nfs3_seen *seen, const struct view_caller *caller,
                          uint32_t procedure, const uint8_t *args, size_t len)
{
    struct format_piece pieces[] = {{&caller->client, sizeof caller->client},
                                    {&caller->xid, sizeof caller->xid},
                                    {&procedure, sizeof procedure},
                                    {args, len}};
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

static bool is_under_way(const struct bucket *bucket, int i)
{
    return bucket->keys[i] && bucket->how[i] == NFS3_SEEN_NOT;
}

/* What is free, else the oldest that is not under way; when all are, this one is not remembered. */
static void keep(struct bucket *bucket, uint64_t key)
{
    int i = find(bucket, 0);
    for (int tried = 0; i == WAYS && tried < WAYS; tried++) {
        int oldest = bucket->next++ % WAYS;
        if (!is_under_way(bucket, oldest))
            i = oldest;
    }
    if (i == WAYS)
        return;
    bucket->keys[i] = key;
    bucket->how[i] = NFS3_SEEN_NOT;
}

enum nfs3_seen_how nfs3_seen_begin(struct nfs3_seen *seen, uint64_t key)
{
    struct lane *lane;
    struct bucket *bucket = bucket_of(seen, key, &lane);
    pthread_mutex_lock(&lane->lock);
    int i = find(bucket, key);
    while (i < WAYS && is_under_way(bucket, i)) {
        waiting_begins();
        lane->waiting++;
        pthread_cond_wait(&lane->ended, &lane->lock);
        lane->waiting--;
        i = find(bucket, key);
    }
    enum nfs3_seen_how how = i < WAYS ? bucket->how[i] : NFS3_SEEN_NOT;
    if (how == NFS3_SEEN_NOT)
        keep(bucket, key);
    pthread_mutex_unlock(&lane->lock);
    return how;
}

void nfs3_seen_end(struct nfs3_seen *seen, uint64_t key, enum nfs3_seen_how how)
{
    struct lane *lane;
    struct bucket *bucket = bucket_of(seen, key, &lane);
    pthread_mutex_lock(&lane->lock);
    int i = find(bucket, key);
    if (i < WAYS) {
        bucket->how[i] = (uint8_t)how;
        if (how == NFS3_SEEN_NOT)
            bucket->keys[i] = 0;
    }
    if (lane->waiting > 0)
        pthread_cond_broadcast(&lane->ended);
    pthread_mutex_unlock(&lane->lock);
}
