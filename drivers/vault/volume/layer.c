/* A layer: sparse data files on the box, what is present of them in memory, every read checked. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/base/waiting.h"
#include "drivers/vault/volume/layer_int.h"
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOG_MAX_BYTES = 1 << 30 };

/* ---- cells ---- */

uint64_t layer_sum(const struct layer *layer, const void *record)
{
    uint64_t sum = format_sum(layer->seed, record, RECORD_BYTES);
    return sum ? sum : 1; /* 0 says: hole */
}

bool layer_is_broken(const struct layer *layer, struct err *err)
{
    if (layer->broken)
        err_set(err, ERR_IO, "layer %llu takes nothing since: %s",
                (unsigned long long)layer->sequence, layer->why ? layer->why : "a failure");
    return layer->broken;
}

bool layer_is_well(struct layer *layer, struct err *err)
{
    pthread_mutex_lock(&layer->lock);
    bool broken = layer_is_broken(layer, err);
    pthread_mutex_unlock(&layer->lock);
    return !broken;
}

void layer_break(struct layer *layer, const struct err *why)
{
    struct err none = {0};
    if (!layer->broken)
        layer->why = own_strdup(why->text, &none);
    layer->broken = true;
}

void layer_refuse(struct layer *layer, const struct err *why)
{
    pthread_mutex_lock(&layer->lock);
    layer_break(layer, why);
    pthread_mutex_unlock(&layer->lock);
}

bool layer_room(struct layer *layer, size_t more, struct err *err)
{
    return presence_reserve(&layer->cells, layer->reserved + more, err) &&
           presence_reserve(&layer->groups, layer->reserved + more, err);
}

bool layer_dirty_room(struct lfile *f, size_t more, struct err *err)
{
    while (f->dirty_capacity < f->dirty_count + f->dirty_reserved + more) {
        size_t wanted = f->dirty_capacity ? 2 * f->dirty_capacity : CHUNK_RECORDS;
        uint64_t *wider = own_realloc(f->dirty, wanted * sizeof *wider, err);
        if (!wider)
            return false;
        f->dirty = wider;
        f->dirty_capacity = wanted;
    }
    return true;
}

void layer_mark_dirty(struct lfile *f, struct presence_cell *cell, uint64_t record)
{
    if (cell->key & CELL_DIRTY)
        return;
    cell->key |= CELL_DIRTY;
    f->dirty[f->dirty_count++] = record;
}

/* Room was made. sum 0: a hole. */
void layer_set(struct layer *layer, struct lfile *f, uint64_t record, uint64_t sum)
{
    size_t before = layer->cells.count;
    struct presence_cell *cell = presence_put(&layer->cells, cell_key(f->file, record));
    cell->value = sum;
    cell->key &= ~CELL_HOLE;
    cell->key |= sum ? 0 : CELL_HOLE;
    if (layer->cells.count > before) {
        presence_put(&layer->groups, group_key(f->file, record))->value++;
        f->records++;
    }
    if (record >= f->last)
        f->last = record + 1;
    if (sum && record >= f->top)
        f->top = record + 1;
}

static void drop_cell(struct layer *layer, struct lfile *f, uint64_t record,
                      struct presence_cell *group)
{
    struct presence_cell *cell = presence_find(&layer->cells, cell_key(f->file, record));
    if (!cell)
        return;
    presence_remove(&layer->cells, cell);
    group->value--;
    f->records--;
}

/* Of one group, those from `from` on. */
static void drop_cells(struct layer *layer, struct lfile *f, uint64_t from,
                       struct presence_cell *group)
{
    uint64_t end = (from >> GROUP_BITS << GROUP_BITS) + (UINT64_C(1) << GROUP_BITS);
    for (uint64_t r = from; group->value && r < end && r < f->last; r++)
        drop_cell(layer, f, r, group);
}

/* For files that span more groups than there are: by the table, not by the file. */
static void trim_by_table(struct layer *layer, struct lfile *f, uint64_t record)
{
    struct presence *groups = &layer->groups;
    for (size_t i = 0; i < groups->capacity; i++) {
        uint64_t key = groups->cells[i].key & PRESENCE_KEY;
        uint64_t first = (key << GROUP_BITS) & (RECORDS_MAX - 1);
        if (groups->cells[i].key && key >> (RECORD_BITS - GROUP_BITS) == f->file &&
            first + (UINT64_C(1) << GROUP_BITS) > record)
            drop_cells(layer, f, first > record ? first : record, &groups->cells[i]);
    }
    for (size_t i = 0; i < groups->capacity;)
        if (groups->cells[i].key && !groups->cells[i].value)
            presence_remove(groups, &groups->cells[i]); /* another may stand here now */
        else
            i++;
}

/* Cells of the file from `record` on go. */
void layer_trim(struct layer *layer, struct lfile *f, uint64_t record)
{
    uint64_t last = f->last;
    if (record >= last)
        return;
    if ((last - record) >> GROUP_BITS > layer->groups.capacity) {
        trim_by_table(layer, f, record);
    } else {
        for (uint64_t at = record; at < last; at = ((at >> GROUP_BITS) + 1) << GROUP_BITS) {
            struct presence_cell *group = presence_find(&layer->groups, group_key(f->file, at));
            if (group)
                drop_cells(layer, f, at, group);
            if (group && !group->value)
                presence_remove(&layer->groups, group);
        }
    }
    f->last = record;
    f->top = f->top < record ? f->top : record;
}

/* ---- opening ---- */

static void layer_free(struct layer *layer)
{
    if (!layer)
        return;
    for (size_t i = 0; i < layer->file_count; i++)
        layer_file_free(layer->files[i]);
    own_free(layer->files);
    own_free(layer->open);
    presence_done(&layer->cells);
    presence_done(&layer->groups);
    presence_done(&layer->by_number);
    own_free(layer->sorted);
    own_auto_fd(&layer->dir);
    own_auto_fd(&layer->log);
    own_free(layer->path);
    own_free(layer->why);
    pthread_cond_destroy(&layer->changed);
    pthread_mutex_destroy(&layer->lock);
    own_free(layer);
}
OWN_DEFINE(layer_half, struct layer, layer_free);

static struct layer *layer_new(const char *path, uint64_t sequence, uint64_t seed, struct err *err)
{
    AUTO(layer_half) struct layer *layer = own_alloc(sizeof *layer, err);
    if (!layer)
        return NULL;
    layer->dir = layer->log = -1;
    layer->sequence = sequence;
    layer->seed = seed;
    layer->refs = 1;
    pthread_mutex_init(&layer->lock, NULL);
    pthread_cond_init(&layer->changed, NULL);
    return (layer->path = own_strdup(path, err)) ? TAKE(layer) : NULL;
}

static bool sync_parent(const char *path, struct err *err)
{
    char parent[PATH_MAX];
    if (!str_copy(parent, sizeof parent, path))
        return err_set(err, ERR_INVALID, "path is too long: '%.80s...'", path);
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = '\0';
    return sys_fsync_dir(slash ? parent : ".", err);
}

struct layer *layer_plan(const char *path, uint64_t sequence, uint64_t seed, struct err *err)
{
    return layer_new(path, sequence, seed, err);
}

static bool make_log(const struct layer *layer, int dir, int log, size_t *ret_len, struct err *err)
{
    AUTO(bytes) struct bytes head = {0};
    if (!log_header(layer, &head, err) || !sys_pwrite(log, head.data, head.len, 0, "map", err) ||
        !sys_fsync(log, "map", err) || !sys_fsync(dir, layer->path, err))
        return false;
    *ret_len = head.len;
    return true;
}

static bool make_folder(const char *path, struct err *err)
{
    struct err own = {0};
    if (sys_mkdir(path, 0700, &own))
        return true;
    /* What an earlier try left; nothing says yet that it is there. */
    if (own.code == ERR_EXISTS)
        return sys_remove_tree(path, err) && sys_mkdir(path, 0700, err);
    *err = own;
    return false;
}

bool layer_make(struct layer *layer, struct err *err)
{
    struct err ignored = {0};
    size_t len;
    if (layer->dir >= 0)
        return true;
    if (!make_folder(layer->path, err))
        return err_wrap(err, "create layer '%s'", layer->path);
    AUTO(fd) int dir = sys_open(layer->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
    AUTO(fd) int log = -1;
    if (dir >= 0)
        log = sys_openat(dir, "map", O_RDWR | O_CREAT | O_EXCL, 0600, err);
    if (log < 0 || !make_log(layer, dir, log, &len, err) || !sync_parent(layer->path, err)) {
        IGNORE(sys_remove_tree(layer->path, &ignored));
        return err_wrap(err, "create layer '%s'", layer->path);
    }
    pthread_mutex_lock(&layer->lock);
    layer->dir = dir;
    layer->log = log;
    layer->log_end = layer->log_synced = len;
    pthread_mutex_unlock(&layer->lock);
    dir = log = -1;
    return true;
}

struct layer *layer_create(const char *path, uint64_t sequence, uint64_t seed, struct err *err)
{
    AUTO(layer_half) struct layer *layer = layer_plan(path, sequence, seed, err);
    return layer && layer_make(layer, err) ? TAKE(layer) : NULL;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Keys of all cells without flags, ascending: by file, then record. */
static uint64_t *sorted_keys(const struct layer *layer, struct err *err)
{
    uint64_t *keys = own_alloc((layer->cells.count + 1) * sizeof *keys, err);
    size_t count = 0;
    for (size_t i = 0; keys && i < layer->cells.capacity; i++)
        if (layer->cells.cells[i].key)
            keys[count++] = layer->cells.cells[i].key & PRESENCE_KEY;
    if (keys && count)
        qsort(keys, count, sizeof *keys, compare_keys);
    return keys;
}

/* After an unclean stop: what was overwritten without a commit is taken as it is, once. */
static bool sum_anew(struct layer *layer, struct lfile *f, uint64_t record, struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    struct presence_cell *cell = presence_find(&layer->cells, cell_key(f->file, record));
    if (!cell_present(cell))
        return true;
    struct err why = {0};
    pthread_mutex_lock(&layer->lock);
    /* Who wrote it may not have lived to sync it, whatever the sum says. */
    bool pinned = layer_pin_unsynced(layer, f, &why);
    pthread_mutex_unlock(&layer->lock);
    ssize_t n =
        pinned ? sys_pread(f->fd, bytes, sizeof bytes, record * RECORD_BYTES, "layer", &why) : -1;
    if (pinned)
        layer_unpin(f);
    if (n < 0 && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    if (n != RECORD_BYTES)
        return err_set(err, ERR_CORRUPT, "record %llu of file %llu is missing in layer %llu",
                       (unsigned long long)record, (unsigned long long)f->file,
                       (unsigned long long)layer->sequence);
    uint64_t sum = layer_sum(layer, bytes);
    if (sum == cell->value)
        return true;
    if (!layer_dirty_room(f, 1, err))
        return false;
    cell->value = sum;
    layer_mark_dirty(f, cell, record);
    return true;
}

static bool accept_data(struct layer *layer, struct err *err)
{
    AUTO(mem) uint64_t *keys = sorted_keys(layer, err);
    for (size_t i = 0; keys && i < layer->cells.count; i++)
        if (!sum_anew(layer, layer_file_find(layer, keys[i] >> RECORD_BITS),
                      keys[i] & (RECORDS_MAX - 1), err))
            return false;
    return keys;
}

/* Data files that an unsynced write made are known to the folder from here on. */
static bool load(struct layer *layer, bool clean, struct err *err)
{
    struct stat st;
    if (!sys_fstat(layer->log, &st, "map", err))
        return false;
    if (!S_ISREG(st.st_mode) || st.st_size > LOG_MAX_BYTES)
        return err_set(err, ERR_CORRUPT, "a presence log of %lld bytes", (long long)st.st_size);
    AUTO(mem) uint8_t *bytes = own_alloc((size_t)st.st_size + 1, err);
    ssize_t n = bytes ? sys_pread(layer->log, bytes, (size_t)st.st_size, 0, "map", err) : -1;
    if (n < 0 || !log_replay(layer, bytes, (size_t)n, clean, err))
        return false;
    if (layer->log_end < (uint64_t)n && !sys_truncate(layer->log, layer->log_end, "map", err))
        return false;
    layer->folder_unsynced = true;
    if (!clean && !sys_fdatasync(layer->log, "map", err))
        return false;
    layer->log_synced = layer->log_end;
    return clean || accept_data(layer, err);
}

struct layer *layer_open(const char *path, uint64_t sequence, uint64_t seed, bool clean,
                         struct err *err)
{
    AUTO(layer_half) struct layer *layer = layer_new(path, sequence, seed, err);
    if (!layer)
        return NULL;
    layer->dir = sys_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
    if (layer->dir >= 0)
        layer->log = sys_openat(layer->dir, "map", O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (layer->log >= 0 && load(layer, clean, err))
        return TAKE(layer);
    return err_null(err, "open layer '%s'", path);
}

struct layer *layer_ref(struct layer *layer)
{
    atomic_fetch_add(&layer->refs, 1);
    return layer;
}

void layer_unref(struct layer *layer)
{
    if (!layer || atomic_fetch_sub(&layer->refs, 1) > 1)
        return;
    struct err ignored = {0};
    if (layer->dropped)
        IGNORE(sys_remove_tree(layer->path, &ignored)); /* its name is swept at the next start */
    layer_free(layer);
}

void layer_drop(struct layer *layer)
{
    struct err ignored = {0};
    pthread_mutex_lock(&layer->lock);
    bool first = !layer->dropped;
    layer->dropped = true;
    pthread_mutex_unlock(&layer->lock);
    AUTO(mem) char *gone = first ? own_printf(&ignored, "%s.gone", layer->path) : NULL;
    if (gone && sys_rename(layer->path, gone, &ignored)) {
        own_free(layer->path);
        layer->path = TAKE(gone);
    }
}

uint64_t layer_sequence(const struct layer *layer) { return layer->sequence; }

void layer_freeze(struct layer *layer)
{
    pthread_mutex_lock(&layer->lock);
    layer->frozen = true;
    while (layer->under_way)
        pthread_cond_wait(&layer->changed, &layer->lock);
    pthread_mutex_unlock(&layer->lock);
}

/* ---- what is there ---- */

static uint64_t cut_record(const struct lfile *f)
{
    return !f || f->cut == NONE ? NONE : (f->cut + RECORD_BYTES - 1) / RECORD_BYTES;
}

static enum layer_has says(const struct layer *layer, const struct lfile *f, uint64_t file,
                           uint64_t record)
{
    const struct presence_cell *cell = presence_find(&layer->cells, cell_key(file, record));
    if (cell)
        return cell_present(cell) ? LAYER_PRESENT : LAYER_HOLE;
    return record < cut_record(f) ? LAYER_BELOW : LAYER_HOLE;
}

static bool in_range(uint64_t file, uint64_t record)
{
    return !(file >> FILE_BITS) && record < RECORDS_MAX;
}

enum layer_has layer_has(struct layer *layer, uint64_t file, uint64_t record)
{
    enum layer_has has;
    layer_span(layer, file, record, 1, &has);
    return has;
}

/* How many from `at` on are surely without a cell: whole empty groups at once. */
static uint64_t without_cell(const struct layer *layer, const struct lfile *f, uint64_t at,
                             uint64_t end)
{
    if (!f || !f->records || at >= f->last)
        return end - at;
    if (!presence_find(&layer->groups, group_key(f->file, at))) {
        uint64_t next = (at >> GROUP_BITS) + 1;
        return (next << GROUP_BITS < end ? next << GROUP_BITS : end) - at;
    }
    return presence_find(&layer->cells, cell_key(f->file, at)) ? 0 : 1;
}

uint64_t layer_span(struct layer *layer, uint64_t file, uint64_t record, uint64_t max,
                    enum layer_has *ret_has)
{
    *ret_has = LAYER_BELOW;
    if (!in_range(file, record))
        return max;
    pthread_mutex_lock(&layer->lock);
    const struct lfile *f = layer_file_find(layer, file);
    uint64_t cut = cut_record(f);
    uint64_t at = record;
    uint64_t end = max < RECORDS_MAX - record ? record + max : RECORDS_MAX;
    *ret_has = says(layer, f, file, record);
    while (at < end) {
        uint64_t absent = without_cell(layer, f, at, end);
        enum layer_has has =
            absent ? (at < cut ? LAYER_BELOW : LAYER_HOLE) : says(layer, f, file, at);
        if (has != *ret_has)
            break;
        uint64_t step = absent ? absent : 1;
        at += has == LAYER_BELOW && step > cut - at ? cut - at : step;
    }
    pthread_mutex_unlock(&layer->lock);
    return at - record;
}

static bool not_as_summed(const struct layer *layer, uint64_t file, uint64_t record,
                          struct err *err)
{
    return err_set(err, ERR_CORRUPT, "record %llu of file %llu in layer %llu does not check",
                   (unsigned long long)record, (unsigned long long)file,
                   (unsigned long long)layer->sequence);
}

/* A sum that does not fit may be a write between bytes and sum: once more, alone with the file. */
static bool read_alone(struct layer *layer, struct lfile *f, uint64_t record, uint8_t *to,
                       struct err *err)
{
    waiting_lock(&f->lock);
    pthread_mutex_lock(&layer->lock);
    const struct presence_cell *cell = presence_find(&layer->cells, cell_key(f->file, record));
    uint64_t sum = cell ? cell->value : 0;
    pthread_mutex_unlock(&layer->lock);
    bool ok = true;
    if (!sum) {
        memset(to, 0, RECORD_BYTES);
    } else {
        ssize_t n = sys_pread(f->fd, to, RECORD_BYTES, record * RECORD_BYTES, "layer", err);
        ok = n == RECORD_BYTES && layer_sum(layer, to) == sum;
        if (!ok && n >= 0)
            not_as_summed(layer, f->file, record, err);
    }
    pthread_mutex_unlock(&f->lock);
    return ok;
}

/* Runs of records that have a sum, in one read each; the others are zeros. */
static bool read_chunk(struct layer *layer, struct lfile *f, uint64_t record, size_t count,
                       const uint64_t *sums, uint8_t *to, struct err *err)
{
    for (size_t i = 0, run; i < count; i += run) {
        uint8_t *at = to + i * RECORD_BYTES;
        for (run = 1; i + run < count && !sums[i + run] == !sums[i]; run++)
            ;
        if (!sums[i]) {
            memset(at, 0, run * RECORD_BYTES);
            continue;
        }
        ssize_t n =
            sys_pread(f->fd, at, run * RECORD_BYTES, (record + i) * RECORD_BYTES, "layer", err);
        if (n < 0)
            return false;
        for (size_t k = 0; k < run; k++)
            if (((k + 1) * RECORD_BYTES > (size_t)n ||
                 layer_sum(layer, at + k * RECORD_BYTES) != sums[i + k]) &&
                !read_alone(layer, f, record + i + k, at + k * RECORD_BYTES, err))
                return false;
    }
    return true;
}

/* Under the lock. False: something is not here. ret_pinned: the data file is needed. */
static bool take_sums(struct layer *layer, struct lfile *f, uint64_t record, size_t count,
                      uint64_t *ret_sums, bool *ret_data)
{
    *ret_data = false;
    for (size_t i = 0; i < count; i++) {
        const struct presence_cell *cell =
            presence_find(&layer->cells, cell_key(f->file, record + i));
        if (!cell && record + i < cut_record(f))
            return false;
        ret_sums[i] = cell ? cell->value : 0;
        *ret_data |= ret_sums[i] != 0;
    }
    return true;
}

static bool read_some(struct layer *layer, uint64_t file, uint64_t record, size_t count,
                      uint8_t *to, struct err *err)
{
    uint64_t sums[CHUNK_RECORDS];
    bool data = false;
    struct err why = {0};
    pthread_mutex_lock(&layer->lock);
    struct lfile *f = layer_file_find(layer, file);
    bool here = f && take_sums(layer, f, record, count, sums, &data);
    bool pinned = here && data && layer_pin(layer, f, false, &why);
    pthread_mutex_unlock(&layer->lock);
    if (!here)
        return err_set(err, ERR_PRECONDITION, "record %llu of file %llu is not in layer %llu",
                       (unsigned long long)record, (unsigned long long)file,
                       (unsigned long long)layer->sequence);
    if (!data) {
        memset(to, 0, count * RECORD_BYTES);
        return true;
    }
    if (!pinned && why.code == ERR_NOT_FOUND)
        return not_as_summed(layer, file, record, err);
    if (!pinned) {
        *err = why;
        return false;
    }
    bool ok = read_chunk(layer, f, record, count, sums, to, err);
    pthread_mutex_lock(&layer->lock);
    layer_unpin(f);
    pthread_mutex_unlock(&layer->lock);
    return ok;
}

static bool check_range(uint64_t file, uint64_t record, uint64_t count, struct err *err)
{
    return (in_range(file, record) && count <= RECORDS_MAX - record) ||
           err_set(err, ERR_LIMIT, "%llu records at %llu of file %llu", (unsigned long long)count,
                   (unsigned long long)record, (unsigned long long)file);
}

bool layer_read(struct layer *layer, uint64_t file, uint64_t record, uint64_t count, void *to,
                struct err *err)
{
    if (!check_range(file, record, count, err))
        return false;
    for (uint64_t done = 0; done < count; done += CHUNK_RECORDS) {
        size_t some = count - done < CHUNK_RECORDS ? (size_t)(count - done) : CHUNK_RECORDS;
        if (!read_some(layer, file, record + done, some, (uint8_t *)to + done * RECORD_BYTES, err))
            return false;
    }
    return true;
}

/* ---- changes ---- */

/* Under the lock: counts as under way until leave(). */
static struct lfile *enter(struct layer *layer, uint64_t file, struct err *err)
{
    if (layer->frozen) {
        err_set(err, ERR_PRECONDITION, "layer %llu is frozen", (unsigned long long)layer->sequence);
        return NULL;
    }
    struct lfile *f = layer_is_broken(layer, err) ? NULL : layer_file_get(layer, file, err);
    layer->under_way += f != NULL;
    return f;
}

static void leave(struct layer *layer)
{
    if (--layer->under_way == 0 && layer->frozen) /* who commits waits for other things */
        pthread_cond_broadcast(&layer->changed);
}

/* A write that failed midway: records that were here hold what they now hold. */
static void sum_what_is_there(struct layer *layer, struct lfile *f, uint64_t record, size_t count)
{
    uint8_t bytes[RECORD_BYTES];
    struct err ignored = {0};
    for (size_t i = 0; i < count; i++) {
        if (sys_pread(f->fd, bytes, sizeof bytes, (record + i) * RECORD_BYTES, "layer", &ignored) !=
            RECORD_BYTES)
            continue; /* the next read of it says so */
        pthread_mutex_lock(&layer->lock);
        struct presence_cell *cell = presence_find(&layer->cells, cell_key(f->file, record + i));
        uint64_t sum = layer_sum(layer, bytes);
        if (cell_present(cell) && cell->value != sum) {
            cell->value = sum;
            layer_mark_dirty(f, cell, record + i);
        }
        pthread_mutex_unlock(&layer->lock);
    }
}

static bool write_data(struct layer *layer, struct lfile *f, uint64_t record, size_t count,
                       const uint64_t *sums, const uint8_t *from, struct err *err)
{
    for (size_t i = 0, run; i < count; i += run) {
        for (run = 1; i + run < count && !sums[i + run] == !sums[i]; run++)
            ;
        if (sums[i] && !sys_pwrite(f->fd, from + i * RECORD_BYTES, run * RECORD_BYTES,
                                   (record + i) * RECORD_BYTES, "layer", err)) {
            sum_what_is_there(layer, f, record, i + run);
            return false;
        }
    }
    return true;
}

/* Room first: nothing may fail between the bytes and their sums. */
static bool make_room(struct layer *layer, struct lfile *f, size_t count, struct err *err)
{
    pthread_mutex_lock(&layer->lock);
    bool ok = layer_room(layer, count, err) && layer_dirty_room(f, count, err);
    layer->reserved += ok ? count : 0;
    f->dirty_reserved += ok ? count : 0;
    pthread_mutex_unlock(&layer->lock);
    return ok;
}

static void note_written(struct layer *layer, struct lfile *f, uint64_t record, size_t count,
                         const uint64_t *sums, bool ok)
{
    pthread_mutex_lock(&layer->lock);
    layer->reserved -= count;
    f->dirty_reserved -= count;
    f->writes++;
    f->unsynced = true; /* also a failed write may have left bytes */
    for (size_t i = 0; ok && i < count; i++) {
        layer_set(layer, f, record + i, sums[i]);
        layer_mark_dirty(f, presence_find(&layer->cells, cell_key(f->file, record + i)),
                         record + i);
    }
    if (ok) {
        f->debt += count * RECORD_BYTES;
        layer->debt += count * RECORD_BYTES;
    }
    pthread_mutex_unlock(&layer->lock);
}

static bool write_some(struct layer *layer, struct lfile *f, uint64_t record, size_t count,
                       const uint8_t *from, struct err *err)
{
    uint64_t sums[CHUNK_RECORDS];
    for (size_t i = 0; i < count; i++) {
        const uint8_t *bytes = from + i * RECORD_BYTES;
        sums[i] = format_is_zero(bytes, RECORD_BYTES) ? 0 : layer_sum(layer, bytes);
    }
    pthread_mutex_lock(&f->lock);
    bool room = make_room(layer, f, count, err);
    bool ok = room && write_data(layer, f, record, count, sums, from, err);
    if (room)
        note_written(layer, f, record, count, sums, ok);
    pthread_mutex_unlock(&f->lock);
    return ok;
}

bool layer_write(struct layer *layer, uint64_t file, uint64_t record, uint64_t count,
                 const void *from, struct err *err)
{
    if (!check_range(file, record, count, err))
        return false;
    pthread_mutex_lock(&layer->lock);
    struct lfile *f = enter(layer, file, err);
    bool pinned = f && layer_pin(layer, f, true, err);
    pthread_mutex_unlock(&layer->lock);
    bool ok = pinned;
    for (uint64_t done = 0; ok && done < count; done += CHUNK_RECORDS) {
        size_t some = count - done < CHUNK_RECORDS ? (size_t)(count - done) : CHUNK_RECORDS;
        ok = write_some(layer, f, record + done, some, (const uint8_t *)from + done * RECORD_BYTES,
                        err);
    }
    pthread_mutex_lock(&layer->lock);
    if (pinned)
        layer_unpin(f);
    if (f)
        leave(layer);
    pthread_mutex_unlock(&layer->lock);
    return ok;
}

/* Under both locks. The data file keeps its bytes until the log knows. */
static void cut_file(struct layer *layer, struct lfile *f, uint64_t size)
{
    uint64_t from = size / RECORD_BYTES + (size % RECORD_BYTES != 0);
    uint64_t before = f->records;
    layer_trim(layer, f, from);
    if (f->records < before || f->trim != NONE) {
        f->trim = f->trim < from ? f->trim : from;
        f->cutting = true;
    }
    if (size < f->cut) {
        f->cut = size;
        f->cutting = true;
    }
}

static bool change_file(struct layer *layer, uint64_t file, uint64_t size, bool forget,
                        struct err *err)
{
    pthread_mutex_lock(&layer->lock);
    struct lfile *f = enter(layer, file, err);
    pthread_mutex_unlock(&layer->lock);
    if (!f)
        return false;
    pthread_mutex_lock(&f->lock);
    pthread_mutex_lock(&layer->lock);
    cut_file(layer, f, size);
    if (forget) {
        f->cutting |= f->sized;
        f->sized = f->changed = f->must_sync = false;
        f->size = f->mtime_us = 0;
    }
    leave(layer);
    pthread_mutex_unlock(&layer->lock);
    pthread_mutex_unlock(&f->lock);
    return true;
}

bool layer_truncate(struct layer *layer, uint64_t file, uint64_t size, struct err *err)
{
    return change_file(layer, file, size, false, err);
}

bool layer_forget(struct layer *layer, uint64_t file, struct err *err)
{
    return change_file(layer, file, 0, true, err);
}

static void keep_attributes(struct layer *layer, uint64_t file, uint64_t size, uint64_t mtime_us,
                            bool set)
{
    struct err why = {0};
    pthread_mutex_lock(&layer->lock);
    struct lfile *f = NULL;
    if (size > UINT64_C(1) << FILE_MAX_SHIFT)
        err_set(&why, ERR_LIMIT, "a file of %llu bytes", (unsigned long long)size);
    else if (!layer->frozen)
        f = layer_file_get(layer, file, &why);
    if (why.code)
        layer_break(layer, &why); /* nothing may be promised without it */
    if (f)
        f->must_sync |= set || !f->sized || f->size != size;
    if (f && (!f->sized || f->size != size || f->mtime_us != mtime_us)) {
        f->sized = f->changed = true;
        f->size = size;
        f->mtime_us = mtime_us;
    }
    pthread_mutex_unlock(&layer->lock);
}

void layer_attributes(struct layer *layer, uint64_t file, uint64_t size, uint64_t mtime_us)
{
    keep_attributes(layer, file, size, mtime_us, false);
}

void layer_attributes_set(struct layer *layer, uint64_t file, uint64_t size, uint64_t mtime_us)
{
    keep_attributes(layer, file, size, mtime_us, true);
}

/* ---- lists ---- */

static int compare_files(const void *a, const void *b)
{
    const struct layer_file *x = a;
    const struct layer_file *y = b;
    return x->file < y->file ? -1 : x->file > y->file;
}

struct layer_file *layer_files(struct layer *layer, size_t *ret_count, struct err *err)
{
    pthread_mutex_lock(&layer->lock);
    struct layer_file *list = own_alloc((layer->file_count + 1) * sizeof *list, err);
    size_t count = 0;
    for (size_t i = 0; list && i < layer->file_count; i++) {
        const struct lfile *f = layer->files[i];
        if (f->records || f->sized || f->cut != NONE)
            list[count++] = (struct layer_file){.file = f->file,
                                                .size = f->size,
                                                .mtime_us = f->mtime_us,
                                                .cut = f->cut,
                                                .records = f->records,
                                                .sized = f->sized};
    }
    pthread_mutex_unlock(&layer->lock);
    if (!list)
        return NULL;
    qsort(list, count, sizeof *list, compare_files);
    *ret_count = count;
    return list;
}

/* The first of the sorted keys at or above key. */
static size_t lower_bound(const uint64_t *keys, size_t count, uint64_t key)
{
    size_t low = 0;
    while (low < count) {
        size_t middle = low + (count - low) / 2;
        if (keys[middle] < key)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

/* Under the lock; a frozen layer is sorted once for all its files. */
static uint64_t *records_of(struct layer *layer, const struct lfile *f, struct err *err)
{
    uint64_t *list = own_alloc((size_t)(f ? f->records + 1 : 1) * sizeof *list, err);
    AUTO(mem) uint64_t *once = NULL;
    if (!list || !f || !f->records)
        return list;
    const uint64_t *keys = layer->sorted;
    if (!keys)
        keys = once = sorted_keys(layer, err);
    if (!keys) {
        own_free(list);
        return NULL;
    }
    size_t at = lower_bound(keys, layer->cells.count, cell_key(f->file, 0));
    for (uint64_t i = 0; i < f->records; i++)
        list[i] = keys[at + i] & (RECORDS_MAX - 1);
    if (layer->frozen && !layer->under_way && once)
        layer->sorted = TAKE(once);
    return list;
}

uint64_t *layer_records_of(struct layer *layer, uint64_t file, size_t *ret_count, struct err *err)
{
    pthread_mutex_lock(&layer->lock);
    const struct lfile *f = layer_file_find(layer, file);
    size_t count = f ? (size_t)f->records : 0;
    uint64_t *list = records_of(layer, f, err);
    pthread_mutex_unlock(&layer->lock);
    if (list)
        *ret_count = count;
    return list;
}

bool layer_verify(struct layer *layer, uint64_t *ret_bad_file, uint64_t *ret_bad_record,
                  struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    pthread_mutex_lock(&layer->lock);
    size_t count = layer->cells.count;
    AUTO(mem) uint64_t *keys = sorted_keys(layer, err);
    pthread_mutex_unlock(&layer->lock);
    for (size_t i = 0; keys && i < count; i++) {
        uint64_t file = keys[i] >> RECORD_BITS;
        uint64_t record = keys[i] & (RECORDS_MAX - 1);
        struct err why = {0};
        if (layer_read(layer, file, record, 1, bytes, &why) || why.code == ERR_PRECONDITION)
            continue; /* or cut away meanwhile */
        *ret_bad_file = file;
        *ret_bad_record = record;
        *err = why;
        return false;
    }
    return keys;
}

uint64_t layer_debt(const struct layer *layer) { return atomic_load(&layer->debt); }

uint64_t layer_records(const struct layer *layer)
{
    struct layer *own = (struct layer *)(uintptr_t)layer; /* only its lock changes */
    pthread_mutex_lock(&own->lock);
    uint64_t records = layer->cells.count;
    pthread_mutex_unlock(&own->lock);
    return records;
}
