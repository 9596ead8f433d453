/* Reads of another io, slowed down; everything else is refused. */
#include "drivers/vault/io/paced.h"
#include "agent/base/clock.h"
#include <pthread.h>
#include <time.h>

enum { WAIT_MS = 50, BURST_MS = 200 };

struct paced {
    struct io *io;
    struct paced_options options;
    pthread_mutex_t lock;    /* over due_us */
    struct io_backend table; /* says what the other one can */
    uint64_t due_us;         /* when what was read so far will have been its time's worth */
};

static bool stopped(const struct paced *p, struct err *err)
{
    return p->options.stop && p->options.stop(p->options.arg) &&
           !err_set(err, ERR_CANCELLED, "stopped");
}

/* Waits in short pieces, so that a stop is heard. */
static bool pace(struct paced *p, uint64_t bytes, struct err *err)
{
    uint64_t now_us = clock_mono_ms() * 1000, due_us = now_us;
    if (p->options.bytes_per_s > 0) {
        pthread_mutex_lock(&p->lock);
        p->due_us = p->due_us > now_us ? p->due_us : now_us;
        p->due_us += (uint64_t)((double)bytes * 1e6 / (double)p->options.bytes_per_s);
        due_us = p->due_us;
        pthread_mutex_unlock(&p->lock);
    }
    while (!stopped(p, err)) {
        now_us = clock_mono_ms() * 1000;
        if (due_us <= now_us + (uint64_t)BURST_MS * 1000)
            return true;
        struct timespec pause = {0, WAIT_MS * 1000000L};
        IGNORE(nanosleep(&pause, NULL) != 0); /* a signal only shortens it */
    }
    return false;
}

static ssize_t paced_read(void *state, const char *name, void *to, size_t size, uint64_t offset,
                          struct err *err)
{
    struct paced *p = state;
    ssize_t got = io_read(p->io, name, to, size, offset, err);
    return got >= 0 && !pace(p, (uint64_t)got, err) ? -1 : got;
}

static bool paced_size(void *state, const char *name, uint64_t *ret_bytes, struct err *err)
{
    struct paced *p = state;
    return !stopped(p, err) && io_size(p->io, name, ret_bytes, err);
}

static bool paced_list(void *state, const char *folder, struct io_list *ret_list, struct err *err)
{
    struct paced *p = state;
    return !stopped(p, err) && io_list(p->io, folder, ret_list, err);
}

static bool paced_space(void *state, uint64_t *ret_total, uint64_t *ret_free, struct err *err)
{
    struct paced *p = state;
    return io_space(p->io, ret_total, ret_free, err);
}

/* ---- what is refused ---- */

static bool refuse(struct err *err)
{
    return err_set(err, ERR_DENIED, "the store is open for reading only");
}

static bool paced_put(void *state, const char *name, const void *bytes, size_t len, enum io_put how,
                      struct err *err)
{
    (void)state, (void)name, (void)bytes, (void)len, (void)how;
    return refuse(err);
}

static void *paced_create(void *state, const char *name, struct err *err)
{
    (void)state, (void)name;
    IGNORE(refuse(err)); /* there is no writer */
    return NULL;
}

static bool paced_append(void *writer, const void *bytes, size_t len, struct err *err)
{
    (void)writer, (void)bytes, (void)len;
    return refuse(err);
}

static bool paced_finish(void *writer, struct err *err)
{
    (void)writer;
    return refuse(err);
}

static void paced_abandon(void *writer) { (void)writer; }

static bool paced_remove(void *state, const char *name, struct err *err)
{
    (void)state, (void)name;
    return refuse(err);
}

static bool paced_sweep(void *state, const char *folder, uint32_t *ret_swept, struct err *err)
{
    (void)state, (void)folder;
    *ret_swept = 0;
    return refuse(err);
}

static void paced_close(void *state)
{
    struct paced *p = state;
    pthread_mutex_destroy(&p->lock);
    own_free(p);
}

static const struct io_backend backend = {
    .name = "paced",
    .put = paced_put,
    .create = paced_create,
    .append = paced_append,
    .finish = paced_finish,
    .abandon = paced_abandon,
    .read = paced_read,
    .size = paced_size,
    .remove = paced_remove,
    .list = paced_list,
    .space = paced_space,
    .sweep = paced_sweep,
    .close = paced_close,
};

struct io *paced_open(struct io *io, const struct paced_options *options, struct err *err)
{
    struct paced *p = own_alloc(sizeof *p, err);
    if (!p)
        return NULL;
    p->io = io;
    p->options = *options;
    pthread_mutex_init(&p->lock, NULL);
    p->table = backend;
    if (!(io_abilities(io) & IO_CAN_SPACE))
        p->table.space = NULL;
    return io_new(&p->table, io_abilities(io) & ~(uint32_t)IO_CAN_LOCK, p, io_label(io), err);
}
