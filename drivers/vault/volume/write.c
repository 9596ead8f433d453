/* Writing: partial records are filled from below, everything goes to the active layer. */
#include "agent/base/clock.h"
#include "agent/base/waiting.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

static const uint64_t file_max = (uint64_t)1 << FILE_MAX_SHIFT;

/* Part of one record: what it does not cover shows through, as far as the file reaches. */
static bool write_part(struct volume *v, uint64_t file, uint64_t old_size, const uint8_t *from,
                       size_t size, uint64_t offset, struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    uint64_t record = offset >> RECORD_SHIFT, start = record << RECORD_SHIFT;
    size_t skip = (size_t)(offset - start);
    bool shows = old_size > start && (skip > 0 || old_size > offset + size);
    if (!shows)
        memset(bytes, 0, sizeof bytes);
    else if (!volume_read(v, NULL, file, record, 1, bytes, err))
        return false;
    memcpy(bytes + skip, from, size);
    return layer_write(slot_active(v)->layer, file, record, 1, bytes, err);
}

/* Size and time after a write, in memory and with the layer's next commit. */
static bool tell_written(struct volume *v, uint64_t file, uint64_t size, struct view_file *ret,
                         struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    uint64_t time_us = tree_later(&v->tree, clock_wall_us(), &file, 1);
    bool ok = tree_resize(&v->tree, file, size, time_us, time_us, err);
    if (ok && size > ret->size)
        event_file_extended(v, file);
    if (ok)
        view_show(tree_find(&v->tree, file), ret);
    pthread_mutex_unlock(&v->vault->lock);
    if (ok)
        layer_attributes(slot_active(v)->layer, file, size, time_us);
    return ok;
}

static bool find_file(struct volume *v, uint64_t file, struct view_file *ret, struct err *err)
{
    *ret = (struct view_file){0};
    pthread_mutex_lock(&v->vault->lock);
    const struct entry *entry = tree_file(&v->tree, file);
    if (entry)
        view_show(entry, ret);
    pthread_mutex_unlock(&v->vault->lock);
    if (ret->kind == INODE_FREE)
        return err_set(err, ERR_NOT_FOUND, "no file %llu", (unsigned long long)file);
    if (ret->kind == INODE_DIRECTORY)
        return err_set(err, ERR_PRECONDITION, "file %llu is a folder", (unsigned long long)file);
    return ret->kind == INODE_FILE ||
           err_set(err, ERR_INVALID, "file %llu is a link", (unsigned long long)file);
}

bool write_tidy(struct layer *layer, uint64_t file, uint64_t size, struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    uint64_t record = size >> RECORD_SHIFT;
    size_t kept = size & (RECORD_BYTES - 1);
    bool there = kept && layer_has(layer, file, record) == LAYER_PRESENT;
    if (there && !layer_read(layer, file, record, 1, bytes, err))
        return false;
    if (!layer_truncate(layer, file, size, err))
        return false;
    if (!there)
        return true;
    memset(bytes + kept, 0, RECORD_BYTES - kept);
    return layer_write(layer, file, record, 1, bytes, err);
}

static bool put_bytes(struct volume *v, uint64_t file, uint64_t old_size, const uint8_t *at,
                      uint64_t offset, uint64_t end, struct err *err)
{
    while (offset < end) {
        size_t skip = offset & (RECORD_BYTES - 1), left = (size_t)(end - offset), part;
        bool ok;
        if (skip == 0 && left >= RECORD_BYTES) {
            part = left & ~(size_t)(RECORD_BYTES - 1);
            ok = layer_write(slot_active(v)->layer, file, offset >> RECORD_SHIFT,
                             part >> RECORD_SHIFT, at, err);
        } else {
            part = left < RECORD_BYTES - skip ? left : RECORD_BYTES - skip;
            ok = write_part(v, file, old_size, at, part, offset, err);
        }
        if (!ok)
            return false;
        at += part;
        offset += part;
    }
    return true;
}

/* A write failed: what it left behind the size must not show when the file grows. Where even that
 * fails nothing grows any more, until opening anew clears it. */
static void take_back(struct volume *v, uint64_t file, uint64_t size)
{
    struct layer *layer = slot_active(v)->layer;
    struct err err = {0};
    if (!write_tidy(layer, file, size, &err))
        layer_refuse(layer, &err);
}

static bool write_bytes(struct volume *v, uint64_t file, const void *from, size_t size,
                        uint64_t offset, struct view_change *ret, struct err *err)
{
    if (offset > file_max || size > file_max - offset)
        return err_set(err, ERR_LIMIT, "a file holds at most 64 TiB");
    if (!find_file(v, file, &ret->before, err))
        return false;
    ret->after = ret->before;
    if (!active_ready(v, err))
        return false;
    uint64_t old_size = ret->before.size;
    uint64_t end = offset + size;
    if (put_bytes(v, file, old_size, from, offset, end, err) &&
        (size == 0 || tell_written(v, file, end > old_size ? end : old_size, &ret->after, err)))
        return true;
    if (end > old_size)
        take_back(v, file, old_size);
    return false;
}

static bool tell_size(struct volume *v, uint64_t file, uint64_t size, struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    const struct entry *entry = tree_find(&v->tree, file);
    bool ok = !entry || tree_resize(&v->tree, file, size, entry->mtime_us, 0, err);
    pthread_mutex_unlock(&v->vault->lock);
    return ok;
}

/* What it fails at leaves the file as it was: the bytes go last. The size goes first, so that
 * readers can tell zeros from content. */
static bool shrink(struct volume *v, uint64_t file, uint64_t old_size, uint64_t size,
                   struct err *err)
{
    struct layer *layer = slot_active(v)->layer;
    uint8_t bytes[RECORD_BYTES];
    uint64_t record = size >> RECORD_SHIFT;
    size_t kept = size & (RECORD_BYTES - 1);
    if (kept && !volume_read(v, NULL, file, record, 1, bytes, err))
        return false;
    memset(bytes + kept, 0, RECORD_BYTES - kept);
    if (!tell_size(v, file, size, err))
        return false;
    v->cuts++;
    if ((!kept || layer_write(layer, file, record, 1, bytes, err)) &&
        layer_truncate(layer, file, size, err))
        return true;
    struct err ignored = {0};
    IGNORE(tell_size(v, file, old_size, &ignored)); /* the entry is our own: no memory is needed */
    return false;
}

bool write_size(struct volume *v, uint64_t file, uint64_t size, uint64_t mtime_us,
                uint64_t ctime_us, struct err *err)
{
    struct view_file now;
    if (size > file_max)
        return err_set(err, ERR_LIMIT, "a file holds at most 64 TiB");
    if (!find_file(v, file, &now, err) || !active_ready(v, err))
        return false;
    if (size < now.size && !shrink(v, file, now.size, size, err))
        return false;
    pthread_mutex_lock(&v->vault->lock);
    bool ok = tree_resize(&v->tree, file, size, mtime_us, ctime_us, err);
    if (ok && size > now.size)
        event_file_extended(v, file);
    pthread_mutex_unlock(&v->vault->lock);
    if (ok)
        layer_attributes_set(slot_active(v)->layer, file, size, mtime_us);
    return ok;
}

/* Layers that hold something not yet on disk: the active one, and any that was just frozen. */
static size_t dirty_layers(struct volume *v, struct layer **ret, size_t max)
{
    size_t count = 0;
    for (size_t i = v->slot_count; i-- > 0 && count < max;)
        if (!v->slots[i]->committed)
            ret[count++] = layer_ref(v->slots[i]->layer);
    return count;
}

bool volume_commit(struct volume *v, uint64_t file, struct err *err)
{
    struct layer *layers[8]; /* one snapshot at a time freezes one */
    pthread_mutex_lock(&v->vault->lock);
    size_t count = dirty_layers(v, layers, sizeof layers / sizeof layers[0]);
    pthread_mutex_unlock(&v->vault->lock);
    bool ok = true;
    for (size_t i = count; i-- > 0;) {
        ok = ok && layer_commit(layers[i], file, err);
        layer_unref(layers[i]);
    }
    volume_room_made(v);
    return ok && volume_sync(v, err);
}

static bool may_write(const struct view *view, struct err *err)
{
    return !view->snap || err_set(err, ERR_DENIED, "snapshot '%s' is read-only", view->snap->name);
}

bool write_allowed(const struct view *view, struct err *err)
{
    const struct volume *v = view->volume;
    if (v->claim && v->claim != view)
        return err_set(err, ERR_BUSY, "volume '%s' is being filled from its source", v->name);
    return waiting_may_change() || err_set(err, ERR_CANCELLED, "it had waited for too long");
}

bool write_fetch(struct volume *v, uint64_t file, uint64_t offset, uint64_t end, struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    if (offset > end || end > file_max)
        return true; /* it is refused later */
    const uint64_t within = RECORD_BYTES - 1;
    bool first = offset & within, last = end & within;
    last = last && !(first && offset >> RECORD_SHIFT == end >> RECORD_SHIFT);
    return (!first || volume_read(v, NULL, file, offset >> RECORD_SHIFT, 1, bytes, err)) &&
           (!last || volume_read(v, NULL, file, end >> RECORD_SHIFT, 1, bytes, err));
}

bool view_write(struct view *view, uint64_t file, const void *from, size_t size, uint64_t offset,
                bool stable, struct view_change *ret_change, struct err *err)
{
    struct volume *v = view->volume;
    struct view_change change = {0};
    if (ret_change)
        *ret_change = change;
    if (!may_write(view, err) || !volume_room(v, err) ||
        !write_fetch(v, file, offset, offset + size, err))
        return false;
    waiting_lock(&v->write);
    bool ok = write_allowed(view, err) && write_bytes(v, file, from, size, offset, &change, err);
    pthread_mutex_unlock(&v->write);
    if (ret_change)
        *ret_change = change;
    return ok && (!stable || volume_commit(v, file, err));
}

bool view_commit(struct view *view, uint64_t file, struct view_change *ret_change, struct err *err)
{
    bool ok = view->snap || volume_commit(view->volume, file, err);
    struct view_file now;
    struct err gone = {0};
    if (ret_change)
        *ret_change = (struct view_change){0};
    if (ret_change && view_stat(view, file, 0, &now, &gone))
        *ret_change = (struct view_change){now, now};
    return ok;
}
