/* Lanes: FIFO queues with worker threads of their own. */
#include "agent/base/pool.h"

#include <assert.h>
#include <pthread.h>

struct item_queue {
    struct work *head, *tail;
    size_t count;
};

struct lane {
    struct post post; /* first: a post pointer is a lane pointer */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct item_queue queue;
    bool stopping;
    int worker_count;
    pthread_t *workers;
    char name[16];
};

static __thread const struct lane *current_lane;

static void queue_push(struct item_queue *q, struct work *work)
{
    work->next = NULL;
    if (q->tail)
        q->tail->next = work;
    else
        q->head = work;
    q->tail = work;
    q->count++;
}

static struct work *queue_pop(struct item_queue *q)
{
    struct work *work = q->head;
    if (work) {
        q->head = work->next;
        if (!q->head)
            q->tail = NULL;
        q->count--;
    }
    return work;
}

/* A work that comes home has its `done` called by the lane's worker instead of `run`; `run` is
 * NULL by then, which is how the two are told apart. */
static void perform(struct work *work)
{
    if (work->run) {
        void (*run)(struct work *) = work->run;
        bool tell = work->done != NULL;
        struct post *home = work->home;
        if (tell)
            work->run = NULL;
        run(work);
        if (tell)
            home->submit(home, work);
    } else {
        work->done(work);
    }
}

static void *worker_main(void *arg)
{
    struct lane *lane = arg;
    current_lane = lane;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        struct work *work = queue_pop(&lane->queue);
        if (work) {
            pthread_mutex_unlock(&lane->lock);
            perform(work);
            pthread_mutex_lock(&lane->lock);
            continue;
        }
        if (lane->stopping)
            break;
        pthread_cond_wait(&lane->wake, &lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

static void lane_push(struct lane *lane, struct work *work)
{
    pthread_mutex_lock(&lane->lock);
    queue_push(&lane->queue, work);
    pthread_mutex_unlock(&lane->lock);
    pthread_cond_signal(&lane->wake); /* woken under the lock, the worker would only wait for it */
}

static void submit_home(struct post *post, struct work *work)
{
    lane_push((struct lane *)post, work);
}

struct lane *lane_new(const char *name, int workers, struct err *err)
{
    AUTO(lane) struct lane *lane = own_alloc(sizeof *lane, err);
    if (!lane)
        return NULL;
    lane->post.submit = submit_home;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->wake, NULL);
    lane->workers = own_alloc(sizeof *lane->workers * (size_t)workers, err);
    if (!lane->workers)
        return NULL;
    for (size_t i = 0; i + 1 < sizeof lane->name && name[i]; i++)
        lane->name[i] = name[i];
    for (int i = 0; i < workers; i++) {
        int rc = pthread_create(&lane->workers[i], NULL, worker_main, lane);
        if (rc != 0) {
            err_errno(err, rc, "start worker of lane '%s'", name);
            return NULL;
        }
        lane->worker_count++;
        pthread_setname_np(lane->workers[i], lane->name);
    }
    return TAKE(lane);
}

void lane_stop(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->stopping = true;
    pthread_cond_broadcast(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
    for (int i = 0; i < lane->worker_count; i++)
        pthread_join(lane->workers[i], NULL);
    lane->worker_count = 0;
}

void lane_free(struct lane *lane)
{
    if (!lane)
        return;
    lane_stop(lane);
    pthread_mutex_destroy(&lane->lock);
    pthread_cond_destroy(&lane->wake);
    own_free(lane->workers);
    own_free(lane);
}

void lane_submit(struct lane *lane, struct work *work)
{
    assert(work->run && (!work->done || work->home));
    lane_push(lane, work);
}

struct post *lane_post(struct lane *lane) { return &lane->post; }

size_t lane_depth(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    size_t count = lane->queue.count;
    pthread_mutex_unlock(&lane->lock);
    return count;
}

bool lane_is_current(const struct lane *lane) { return current_lane == lane; }
