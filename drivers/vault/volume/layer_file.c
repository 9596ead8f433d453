/* A layer's data files: found by number, opened when they are needed, few at once. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/layer_int.h"
#include <fcntl.h>

enum { OPEN_FILES = 32, OPEN_FILES_MAX = 128 };

struct lfile *layer_file_find(const struct layer *layer, uint64_t file)
{
    const struct presence_cell *cell =
        file >> FILE_BITS ? NULL : presence_find(&layer->by_number, file);
    return cell ? layer->files[cell->value - 1] : NULL;
}

struct lfile *layer_file_get(struct layer *layer, uint64_t file, struct err *err)
{
    struct lfile *f = layer_file_find(layer, file);
    if (f)
        return f;
    if (file >> FILE_BITS) {
        err_set(err, ERR_LIMIT, "file number %llu", (unsigned long long)file);
        return NULL;
    }
    if (!presence_reserve(&layer->by_number, 1, err) ||
        !own_grow((void **)&layer->files, &layer->file_capacity, layer->file_count, sizeof(void *),
                  err) ||
        !(f = own_alloc(sizeof *f, err)))
        return NULL;
    f->file = file;
    f->fd = -1;
    f->cut = f->trim = NONE;
    pthread_mutex_init(&f->lock, NULL);
    layer->files[layer->file_count++] = f;
    presence_put(&layer->by_number, file)->value = layer->file_count;
    return f;
}

void layer_file_free(struct lfile *f)
{
    own_auto_fd(&f->fd);
    pthread_mutex_destroy(&f->lock);
    own_free(f->dirty);
    own_free(f);
}

static void data_name(const struct lfile *f, char ret[32])
{
    str_format(ret, 32, "%06llx.d", (unsigned long long)f->file);
}

/* One that is open and that nobody uses now or used lately: the synced ones only, or any. NULL. */
static struct lfile *find_idle(struct layer *layer, bool synced)
{
    for (size_t tries = 2 * layer->open_count; tries > 0; tries--) {
        struct lfile *f = layer->open[layer->hand++ % layer->open_count];
        bool recent = f->recent;
        f->recent = false;
        if (!f->pins && !recent && !(f->unsynced && synced))
            return f;
    }
    return NULL;
}

/* The disk is waited for without the lock; commits wait meanwhile, for the news of a failed write
 * comes only once. */
static bool sync_idle(struct layer *layer, struct lfile *f, struct err *err)
{
    unsigned writes = f->writes;
    int fd = f->fd;
    f->pins++;
    layer->evicting = true;
    pthread_mutex_unlock(&layer->lock);
    bool ok = sys_fdatasync(fd, "layer", err);
    pthread_mutex_lock(&layer->lock);
    layer->evicting = false;
    f->pins--;
    pthread_cond_broadcast(&layer->changed);
    if (ok)
        f->unsynced &= f->writes != writes;
    else
        layer_break(layer, err);
    return ok;
}

/* sync: a dirty one may go when there are very many; it is synced first, for closing it could lose
 * the news of a failed write. The lock is let go while the disk works. */
static bool close_one(struct layer *layer, bool sync, struct err *err)
{
    struct lfile *f = find_idle(layer, true);
    if (!f && sync && layer->open_count >= OPEN_FILES_MAX) {
        while (layer->evicting)
            pthread_cond_wait(&layer->changed, &layer->lock);
        f = find_idle(layer, false);
        if (f && f->unsynced && !sync_idle(layer, f, err))
            return false;
    }
    if (!f || f->pins || f->unsynced)
        return true; /* in use, or again: one more stays open */
    size_t at = 0;
    while (layer->open[at] != f)
        at++;
    layer->open[at] = layer->open[--layer->open_count];
    int fd = f->fd;
    f->fd = -1;
    pthread_mutex_unlock(&layer->lock);
    own_auto_fd(&fd);
    pthread_mutex_lock(&layer->lock);
    return true;
}

static bool open_data(struct layer *layer, struct lfile *f, bool make, struct err *err)
{
    char name[32];
    data_name(f, name);
    f->opening = true;
    bool room = layer->open_count < OPEN_FILES || close_one(layer, make, err);
    int dir = layer->dir;
    pthread_mutex_unlock(&layer->lock);
    AUTO(fd) int fd = -1;
    if (room)
        fd = sys_openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | (make ? O_CREAT : 0), 0600,
                        err);
    pthread_mutex_lock(&layer->lock);
    f->opening = false;
    pthread_cond_broadcast(&layer->changed);
    if (fd < 0 || !own_grow((void **)&layer->open, &layer->open_capacity, layer->open_count,
                            sizeof(void *), err))
        return false;
    f->fd = fd;
    fd = -1;
    layer->open[layer->open_count++] = f;
    layer->folder_unsynced |= make && !f->made;
    f->made |= make;
    return true;
}

bool layer_pin(struct layer *layer, struct lfile *f, bool make, struct err *err)
{
    f->recent = true;
    while (f->opening)
        pthread_cond_wait(&layer->changed, &layer->lock);
    if (f->fd < 0 && !open_data(layer, f, make, err))
        return false;
    f->pins++;
    return true;
}

bool layer_pin_unsynced(struct layer *layer, struct lfile *f, struct err *err)
{
    bool room = f->fd >= 0 || layer->open_count < OPEN_FILES_MAX || close_one(layer, true, err);
    if (!room || !layer_pin(layer, f, false, err))
        return false;
    f->unsynced = true;
    return true;
}

void layer_unpin(struct lfile *f) { f->pins--; }
