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

/* One that nobody uses goes, the synced ones first; a dirty one only when there are very many:
 * closing it could lose the news of a failed write. */
static bool close_one(struct layer *layer, struct err *err)
{
    bool sync = layer->open_count >= OPEN_FILES_MAX;
    for (size_t tries = 2 * layer->open_count; tries > 0; tries--) {
        size_t at = layer->hand++ % layer->open_count;
        struct lfile *f = layer->open[at];
        bool recent = f->recent;
        f->recent = false;
        if (f->pins || recent || (f->unsynced && !sync))
            continue;
        if (f->unsynced && !sys_fdatasync(f->fd, "layer", err)) {
            layer_break(layer, err);
            return false;
        }
        f->unsynced = false;
        own_auto_fd(&f->fd);
        f->fd = -1;
        layer->open[at] = layer->open[--layer->open_count];
        break;
    }
    return true;
}

static bool open_data(struct layer *layer, struct lfile *f, bool make, struct err *err)
{
    char name[32];
    data_name(f, name);
    if ((layer->open_count >= OPEN_FILES && !close_one(layer, err)) ||
        !own_grow((void **)&layer->open, &layer->open_capacity, layer->open_count, sizeof(void *),
                  err))
        return false;
    f->fd = sys_openat(layer->dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | (make ? O_CREAT : 0),
                       0600, err);
    if (f->fd < 0)
        return false;
    layer->open[layer->open_count++] = f;
    layer->folder_unsynced |= make && !f->made;
    f->made |= make;
    return true;
}

bool layer_pin(struct layer *layer, struct lfile *f, bool make, struct err *err)
{
    f->recent = true;
    if (f->fd < 0 && !open_data(layer, f, make, err))
        return false;
    f->pins++;
    return true;
}

void layer_unpin(struct lfile *f) { f->pins--; }
