/* Commits of a layer: one thread works for all that wait. Data first, then the log, then answers.
 */
#include "agent/base/sys.h"
#include "agent/base/waiting.h"
#include "drivers/vault/volume/layer_int.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { LOG_SLACK = 1 << 20, LOG_BLOAT = 4 };

/* What a batch took from a file. */
struct taken {
    struct lfile *f;
    bool pinned, data;
    bool changed, must_sync, cutting; /* as they were */
    uint64_t trim, debt;
    size_t from, count; /* in the batch's pairs */
};

struct batch {
    bool all, must_sync, rewrite;
    struct taken *files;
    size_t count, capacity;
    struct log_pair *pairs;
    size_t pair_count, pair_capacity;
    struct bytes log;
    struct waiter *waiters;
};

static void batch_done(struct batch *b)
{
    own_free(b->files);
    own_free(b->pairs);
    bytes_done(&b->log);
}

static bool has_news(const struct lfile *f)
{
    return f->dirty_count || f->changed || f->must_sync || f->cutting || f->unsynced;
}

static bool pairs_room(struct batch *b, size_t more, struct err *err)
{
    size_t wanted = b->pair_capacity ? b->pair_capacity : CHUNK_RECORDS;
    while (wanted < b->pair_count + more)
        wanted *= 2;
    if (wanted == b->pair_capacity)
        return true;
    struct log_pair *wider = own_realloc(b->pairs, wanted * sizeof *wider, err);
    if (!wider)
        return false;
    b->pairs = wider;
    b->pair_capacity = wanted;
    return true;
}

/* The marks of what is taken go: a write from now on makes them anew. */
static void take_records(struct layer *layer, struct batch *b, struct taken *t)
{
    struct lfile *f = t->f;
    t->from = b->pair_count;
    for (size_t i = 0; i < f->dirty_count; i++) {
        struct presence_cell *cell = presence_find(&layer->cells, cell_key(f->file, f->dirty[i]));
        if (!cell || !(cell->key & CELL_DIRTY))
            continue;
        cell->key &= ~CELL_DIRTY;
        /* Only where the log already says `present` may it learn the new sum later. */
        b->must_sync |= !cell->value || !(cell->key & CELL_LOGGED);
        if (!cell->value)
            cell->key &= ~CELL_LOGGED;
        b->pairs[b->pair_count++] = (struct log_pair){f->dirty[i], cell->value};
    }
    t->count = b->pair_count - t->from;
    f->dirty_count = 0;
}

static bool take_file(struct layer *layer, struct batch *b, struct lfile *f, struct err *err)
{
    if (!has_news(f))
        return true;
    if (!pairs_room(b, f->dirty_count, err) ||
        !own_grow((void **)&b->files, &b->capacity, b->count, sizeof *b->files, err) ||
        (f->unsynced && !layer_pin(layer, f, false, err)))
        return false;
    struct taken *t = &b->files[b->count++];
    *t = (struct taken){.f = f,
                        .pinned = f->unsynced,
                        .data = f->unsynced,
                        .changed = f->changed,
                        .must_sync = f->must_sync,
                        .cutting = f->cutting,
                        .trim = f->trim,
                        .debt = f->debt};
    b->must_sync |= f->must_sync || f->cutting;
    take_records(layer, b, t);
    f->unsynced = f->changed = f->must_sync = f->cutting = false;
    layer->debt -= f->debt;
    f->debt = 0;
    bool says = t->count || t->changed || t->cutting;
    if (says && !b->rewrite && !log_file(layer, &b->log, f, b->pairs + t->from, t->count, err))
        return false;
    f->trim = NONE;
    return true;
}

/* All that the layer says, for a log that grew far beyond it. */
static bool whole_log(const struct layer *layer, struct batch *b, struct err *err)
{
    if (!log_header(layer, &b->log, err))
        return false;
    for (size_t i = 0; i < layer->file_count; i++)
        if (!log_file(layer, &b->log, layer->files[i], NULL, 0, err))
            return false;
    /* Cells lie in no order; a log record of each run of one file does. */
    struct log_pair pairs[CHUNK_RECORDS];
    const struct lfile *f = NULL;
    size_t count = 0;
    for (size_t i = 0; i < layer->cells.capacity; i++) {
        const struct presence_cell *cell = &layer->cells.cells[i];
        uint64_t key = cell->key & PRESENCE_KEY;
        if (!cell->key)
            continue;
        if (f && (f->file != key >> RECORD_BITS || count == CHUNK_RECORDS)) {
            if (!log_file(layer, &b->log, f, pairs, count, err))
                return false;
            count = 0;
        }
        f = layer_file_find(layer, key >> RECORD_BITS);
        pairs[count++] = (struct log_pair){key & (RECORDS_MAX - 1), cell->value};
    }
    return !count || log_file(layer, &b->log, f, pairs, count, err);
}

static uint64_t least_log(const struct layer *layer)
{
    return LOG_HEADER + layer->file_count * LOG_FIXED +
           layer->cells.count * sizeof(struct log_pair);
}

/* Under the lock: the waiters so far, and all their files have. */
static bool take(struct layer *layer, struct batch *b, struct err *err)
{
    b->waiters = layer->waiters;
    layer->waiters = NULL;
    b->rewrite = layer->log_end > LOG_BLOAT * least_log(layer) + LOG_SLACK;
    b->all = b->rewrite;
    for (const struct waiter *w = b->waiters; w; w = w->next)
        b->all |= w->file == NONE;
    if (layer_is_broken(layer, err))
        return false;
    /* An orderly stop relies on a log that is on disk: all means all. */
    b->must_sync = (b->all || layer->frozen) && layer->log_end != layer->log_synced;
    for (size_t i = 0; b->all && i < layer->file_count; i++)
        if (!take_file(layer, b, layer->files[i], err))
            return false;
    for (const struct waiter *w = b->waiters; w && !b->all; w = w->next) {
        struct lfile *f = layer_file_find(layer, w->file);
        if (f && !take_file(layer, b, f, err))
            return false;
    }
    b->must_sync |= b->log.len && (layer->frozen || b->all);
    return !b->rewrite || whole_log(layer, b, err);
}

/* ---- without the lock: only one thread is here ---- */

static bool sync_data(struct layer *layer, struct batch *b, bool folder, struct err *err)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->files[i].data && !sys_fdatasync(b->files[i].f->fd, "layer", err))
            return false;
    return !folder || sys_fsync(layer->dir, "layer", err);
}

/* A failed append is cut away again; ret_harmless says that it was. */
static bool append_log(struct layer *layer, struct batch *b, bool *ret_harmless, struct err *err)
{
    struct err second = {0};
    *ret_harmless = false;
    if (!sys_pwrite(layer->log, b->log.data, b->log.len, layer->log_end, "map", err)) {
        *ret_harmless = sys_truncate(layer->log, layer->log_end, "map", &second);
        return false;
    }
    layer->log_end += b->log.len;
    return true;
}

static void mark_log(struct layer *layer, struct batch *b)
{
    struct err ignored = {0};
    bool harmless;
    b->log.len = 0;
    layer->log_synced = layer->log_end;
    if (!log_mark(layer, &b->log, &ignored))
        return; /* it only makes damage easier to tell */
    uint64_t end = layer->log_end;
    if (append_log(layer, b, &harmless, &ignored))
        layer->log_synced = end + b->log.len; /* what is not synced says nothing */
    else if (!harmless)
        layer_break(layer, &ignored);
}

static bool replace_log(struct layer *layer, struct batch *b, bool *ret_harmless, struct err *err)
{
    *ret_harmless = true;
    AUTO(fd)
    int fd = sys_openat(layer->dir, "map.new", O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, err);
    if (fd < 0 || !sys_pwrite(fd, b->log.data, b->log.len, 0, "map", err) ||
        !sys_fsync(fd, "map", err))
        return false;
    *ret_harmless = false;
    if (!sys_rename_at(layer->dir, "map.new", "map", true, err) ||
        !sys_fsync(layer->dir, "layer", err))
        return false;
    int old = layer->log;
    layer->log = fd;
    fd = old;
    layer->log_end = b->log.len;
    return true;
}

static bool write_log(struct layer *layer, struct batch *b, bool *ret_harmless, struct err *err)
{
    if (b->rewrite) {
        if (!replace_log(layer, b, ret_harmless, err))
            return false;
    } else if (b->log.len && !append_log(layer, b, ret_harmless, err)) {
        return false;
    }
    *ret_harmless = false;
    if (b->must_sync && !b->rewrite && !sys_fdatasync(layer->log, "map", err))
        return false;
    if (b->must_sync || b->rewrite)
        mark_log(layer, b);
    return true;
}

/* What a cut left in the data file goes only now that the log knows of the cut. */
static void give_back(struct layer *layer, const struct taken *t)
{
    struct err ignored = {0};
    struct lfile *f = t->f;
    pthread_mutex_lock(&f->lock);
    pthread_mutex_lock(&layer->lock);
    uint64_t top = f->top;
    bool pinned = f->trim == NONE && layer_pin(layer, f, false, &ignored);
    pthread_mutex_unlock(&layer->lock);
    struct stat st;
    if (pinned && sys_fstat(f->fd, &st, "layer", &ignored) &&
        (uint64_t)st.st_size > top * RECORD_BYTES)
        IGNORE(sys_truncate(f->fd, top * RECORD_BYTES, "layer", &ignored)); /* only room */
    pthread_mutex_lock(&layer->lock);
    if (pinned)
        layer_unpin(f);
    pthread_mutex_unlock(&layer->lock);
    pthread_mutex_unlock(&f->lock);
}

/* ---- the end of a batch, under the lock ---- */

static void note_logged(struct layer *layer, const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        for (size_t k = 0; k < b->files[i].count; k++) {
            const struct log_pair *pair = &b->pairs[b->files[i].from + k];
            struct presence_cell *cell =
                presence_find(&layer->cells, cell_key(b->files[i].f->file, pair->record));
            if (cell && pair->sum)
                cell->key |= CELL_LOGGED;
        }
}

/* Nothing was promised and nothing is lost: what was taken is dirty again. */
static void put_back(struct layer *layer, struct batch *b)
{
    struct err why = {0};
    for (size_t i = 0; i < b->count; i++) {
        struct taken *t = &b->files[i];
        struct lfile *f = t->f;
        f->unsynced |= t->data;
        f->changed |= t->changed;
        f->must_sync |= t->must_sync;
        f->cutting |= t->cutting;
        f->trim = f->trim < t->trim ? f->trim : t->trim;
        f->debt += t->debt;
        layer->debt += t->debt;
        if (!layer_dirty_room(f, t->count, &why)) {
            layer_break(layer, &why);
            continue;
        }
        for (size_t k = 0; k < t->count; k++) {
            uint64_t record = b->pairs[t->from + k].record;
            struct presence_cell *cell = presence_find(&layer->cells, cell_key(f->file, record));
            if (cell)
                layer_mark_dirty(f, cell, record);
        }
    }
}

static bool work(struct layer *layer, struct batch *b, struct err *err)
{
    bool harmless = true;
    bool ok = take(layer, b, err);
    bool needed = ok && (b->count || b->must_sync);
    bool folder = needed && layer->folder_unsynced;
    if (folder)
        layer->folder_unsynced = false;
    pthread_mutex_unlock(&layer->lock);
    if (needed) {
        harmless = false;
        ok = sync_data(layer, b, folder, err) && write_log(layer, b, &harmless, err);
    }
    pthread_mutex_lock(&layer->lock);
    if (!ok && !harmless)
        layer_break(layer, err);
    for (size_t i = 0; i < b->count; i++)
        if (b->files[i].pinned)
            layer_unpin(b->files[i].f);
    if (!ok) {
        layer->folder_unsynced |= folder;
        put_back(layer, b);
    } else if (b->must_sync || b->rewrite) {
        note_logged(layer, b);
    }
    return ok;
}

/* Under the lock, which it gives up while the disk works. */
static void lead(struct layer *layer)
{
    struct batch b = {0};
    struct err err = {0};
    layer->committing = true;
    while (layer->evicting)
        pthread_cond_wait(&layer->changed, &layer->lock);
    bool ok = work(layer, &b, &err);
    pthread_mutex_unlock(&layer->lock);
    for (size_t i = 0; ok && i < b.count; i++)
        if (b.files[i].cutting)
            give_back(layer, &b.files[i]);
    pthread_mutex_lock(&layer->lock);
    for (struct waiter *w = b.waiters, *next; w; w = next) {
        next = w->next;
        w->ok = ok;
        w->err = err;
        w->done = true;
    }
    batch_done(&b);
    layer->committing = false;
    pthread_cond_broadcast(&layer->changed);
}

bool layer_commit(struct layer *layer, uint64_t file, struct err *err)
{
    struct waiter me = {.file = file};
    waiting_begins();
    pthread_mutex_lock(&layer->lock);
    me.next = layer->waiters;
    /* cppcheck-suppress autoVariables; it is off the list before this returns */
    layer->waiters = &me;
    while (!me.done) {
        if (layer->committing)
            pthread_cond_wait(&layer->changed, &layer->lock);
        else
            lead(layer);
    }
    pthread_mutex_unlock(&layer->lock);
    if (!me.ok)
        *err = me.err;
    return me.ok;
}

void layer_write_back(struct layer *layer)
{
    pthread_mutex_lock(&layer->lock);
    for (size_t i = 0; i < layer->file_count; i++) {
        struct lfile *f = layer->files[i];
        if (!f->unsynced || f->fd < 0)
            continue;
        f->pins++;
        pthread_mutex_unlock(&layer->lock);
        sys_write_back(f->fd);
        pthread_mutex_lock(&layer->lock);
        layer_unpin(f);
    }
    pthread_mutex_unlock(&layer->lock);
}
