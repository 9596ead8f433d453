/* The memory driver: worlds of volumes whose files share bytes until somebody writes. */
#include "tests/lib/memory_driver.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { OBJECT_COST = 4096 }; /* what a snapshot or clone takes besides its bytes */

/* Bytes that never change once shared. */
struct blob {
    uint32_t refs;
    uint32_t mark; /* of the last count that saw it */
    size_t len;
    uint8_t *bytes;
};

struct file {
    char *path;
    struct blob *blob;
    uint64_t mtime_us;
};

struct tree {
    struct file *files;
    size_t count, capacity;
};

/* A snapshot or a clone. */
struct object {
    char name[DRIVER_NAME_MAX];
    char id[DRIVER_HANDLE_MAX];
    uint64_t created_us, order;
    uint64_t locked_until_boot_ms;
    char **sources; /* ids of snapshots */
    size_t source_count, source_capacity;
    char first_source[DRIVER_NAME_MAX];
    char *note;
    struct tree tree;
};

struct volume {
    char name[DRIVER_NAME_MAX];
    struct tree live;
    struct object **snapshots, **clones;
    size_t snapshot_count, snapshot_capacity, clone_count, clone_capacity;
};

struct store {
    char *name;
    uint64_t limit, next_id;
    uint32_t mark;
    enum driver_durability durability;
    uint64_t bad_blocks;
    char closed[400];
    struct volume **volumes;
    size_t count, capacity;
    struct store *next;
};

struct driver_instance {
    struct store *store;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over every world: simple and right */
static struct store *stores;

struct held {
    bool yes;
};
static struct held hold(void)
{
    pthread_mutex_lock(&lock);
    return (struct held){true};
}
static void held_done(struct held *held)
{
    if (held->yes)
        pthread_mutex_unlock(&lock);
}
OWN_DEFINE_INPLACE(held, struct held, held_done);

/* ---- bytes, files, trees ---- */

static void blob_unref(struct blob *blob)
{
    if (!blob || --blob->refs)
        return;
    own_free(blob->bytes);
    own_free(blob);
}

static struct blob *blob_new(const void *bytes, size_t len, size_t size, struct err *err)
{
    struct blob *blob = own_alloc(sizeof *blob, err);
    if (!blob)
        return NULL;
    blob->refs = 1;
    blob->len = size;
    blob->bytes = own_alloc(size, err);
    if (!blob->bytes) {
        own_free(blob);
        return NULL;
    }
    if (len)
        memcpy(blob->bytes, bytes, len < size ? len : size);
    return blob;
}

static void file_done(struct file *file)
{
    blob_unref(file->blob);
    own_free(file->path);
}

static void tree_done(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++)
        file_done(&tree->files[i]);
    own_free(tree->files);
    *tree = (struct tree){0};
}

static struct file *tree_find(const struct tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count; i++)
        if (str_equal(tree->files[i].path, path))
            return &tree->files[i];
    return NULL;
}

/* Takes one reference of blob on success. */
static bool tree_add(struct tree *tree, const char *path, struct blob *blob, uint64_t mtime_us,
                     struct err *err)
{
    if (!own_grow((void **)&tree->files, &tree->capacity, tree->count, sizeof *tree->files, err))
        return false;
    char *copy = own_strdup(path, err);
    if (!copy)
        return false;
    tree->files[tree->count++] = (struct file){copy, blob, mtime_us};
    return true;
}

static bool tree_share(struct tree *to, const struct file *file, const char *path, struct err *err)
{
    if (!tree_add(to, path, file->blob, file->mtime_us, err))
        return false;
    file->blob->refs++;
    return true;
}

static bool tree_share_all(struct tree *to, const struct tree *from, struct err *err)
{
    for (size_t i = 0; i < from->count; i++)
        if (!tree_share(to, &from->files[i], from->files[i].path, err))
            return false;
    return true;
}

static uint64_t tree_logical(const struct tree *tree)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < tree->count; i++)
        bytes += tree->files[i].blob->len;
    return bytes;
}

/* What would be freed with this tree; a blob it holds twice counts as shared, which is on the
 * safe side. */
static uint64_t tree_unique(const struct tree *tree)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < tree->count; i++)
        if (tree->files[i].blob->refs == 1)
            bytes += tree->files[i].blob->len;
    return bytes;
}

static uint64_t tree_stored(const struct tree *tree, uint32_t mark)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < tree->count; i++) {
        struct blob *blob = tree->files[i].blob;
        if (blob->mark != mark)
            bytes += blob->len;
        blob->mark = mark;
    }
    return bytes;
}

/* ---- objects, volumes, worlds ---- */

static void object_free(struct object *object)
{
    if (!object)
        return;
    tree_done(&object->tree);
    for (size_t i = 0; i < object->source_count; i++)
        own_free(object->sources[i]);
    own_free(object->sources);
    own_free(object->note);
    own_free(object);
}
OWN_DEFINE(object, struct object, object_free);

static void volume_free(struct volume *volume)
{
    tree_done(&volume->live);
    for (size_t i = 0; i < volume->snapshot_count; i++)
        object_free(volume->snapshots[i]);
    for (size_t i = 0; i < volume->clone_count; i++)
        object_free(volume->clones[i]);
    own_free(volume->snapshots);
    own_free(volume->clones);
    own_free(volume);
}

static struct store *store_get(const char *name, struct err *err)
{
    for (struct store *s = stores; s; s = s->next)
        if (str_equal(s->name, name))
            return s;
    struct store *store = own_alloc(sizeof *store, err);
    if (!store)
        return NULL;
    store->limit = 1ULL << 30;
    store->name = own_strdup(name, err);
    if (!store->name) {
        own_free(store);
        return NULL;
    }
    store->next = stores;
    stores = store;
    return store;
}

void memory_store_reset(const char *name)
{
    AUTO(held) struct held held = hold();
    for (struct store **at = &stores; *at; at = &(*at)->next) {
        struct store *store = *at;
        if (!str_equal(store->name, name))
            continue;
        *at = store->next;
        for (size_t i = 0; i < store->count; i++)
            volume_free(store->volumes[i]);
        own_free(store->volumes);
        own_free(store->name);
        own_free(store);
        return;
    }
}

bool memory_store_limit(const char *name, uint64_t bytes, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct store *store = store_get(name, err);
    if (store)
        store->limit = bytes;
    return store;
}

bool memory_store_durability(const char *name, enum driver_durability durability, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct store *store = store_get(name, err);
    if (store)
        store->durability = durability;
    return store;
}

bool memory_store_bad_blocks(const char *name, uint64_t count, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct store *store = store_get(name, err);
    if (store)
        store->bad_blocks = count;
    return store;
}

bool memory_store_close(const char *name, const char *why, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct store *store = store_get(name, err);
    if (store)
        str_copy(store->closed, sizeof store->closed, why);
    return store;
}

static uint64_t store_used(struct store *store)
{
    uint64_t used = 0;
    uint32_t mark = ++store->mark;
    for (size_t i = 0; i < store->count; i++) {
        const struct volume *volume = store->volumes[i];
        used += tree_stored(&volume->live, mark);
        for (size_t j = 0; j < volume->snapshot_count; j++)
            used += OBJECT_COST + tree_stored(&volume->snapshots[j]->tree, mark);
        for (size_t j = 0; j < volume->clone_count; j++)
            used += OBJECT_COST + tree_stored(&volume->clones[j]->tree, mark);
    }
    return used;
}

static bool store_has_room(struct store *store, uint64_t bytes, struct err *err)
{
    uint64_t used = store_used(store);
    return (used <= store->limit && bytes <= store->limit - used) ||
           err_set(err, ERR_NO_SPACE, "store '%s' is full", store->name);
}

static struct volume *volume_find(struct store *store, const char *name, struct err *err)
{
    for (size_t i = 0; i < store->count; i++)
        if (str_equal(store->volumes[i]->name, name))
            return store->volumes[i];
    err_set(err, ERR_NOT_FOUND, "no volume '%s'", name);
    return NULL;
}

static struct object *find_in(struct object *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(list[i]->name, name))
            return list[i];
    return NULL;
}

static struct object *snapshot_find(const struct volume *volume, const char *name, struct err *err)
{
    struct object *found = find_in(volume->snapshots, volume->snapshot_count, name);
    if (!found)
        err_set(err, ERR_NOT_FOUND, "no snapshot '%s'", name);
    return found;
}

static struct object *clone_find(const struct volume *volume, const char *name, struct err *err)
{
    struct object *found = find_in(volume->clones, volume->clone_count, name);
    if (!found)
        err_set(err, ERR_NOT_FOUND, "no clone '%s'", name);
    return found;
}

static struct object *object_find(const struct volume *volume, const char *snapshot,
                                  const char *clone, struct err *err)
{
    return clone ? clone_find(volume, clone, err) : snapshot_find(volume, snapshot, err);
}

static struct object *object_new(struct store *store, const char *name, struct err *err)
{
    if (!store_has_room(store, OBJECT_COST, err))
        return NULL;
    struct object *object = own_alloc(sizeof *object, err);
    if (!object)
        return NULL;
    object->order = ++store->next_id;
    str_copy(object->name, sizeof object->name, name);
    str_format(object->id, sizeof object->id, "memory-%llu", (unsigned long long)object->order);
    object->created_us = clock_wall_us();
    return object;
}

/* The tree a question is about. */
static struct tree *tree_of(struct store *store, const char *volume_name, const char *snapshot,
                            const char *clone, struct err *err)
{
    struct volume *volume = volume_find(store, volume_name, err);
    if (!volume)
        return NULL;
    if (!snapshot && !clone)
        return &volume->live;
    struct object *object = object_find(volume, snapshot, clone, err);
    return object ? &object->tree : NULL;
}

/* ---- what a database host does ---- */

static bool file_set(struct store *store, struct tree *tree, const char *path, const void *bytes,
                     size_t len, uint64_t offset, bool cut, uint64_t mtime_us, struct err *err)
{
    struct file *file = tree_find(tree, path);
    const struct blob *old = file ? file->blob : NULL;
    size_t size = (size_t)offset + len;
    if (old && !cut && old->len > size)
        size = old->len;
    uint64_t freed = old && old->refs == 1 ? old->len : 0;
    if (size > freed && !store_has_room(store, size - freed, err))
        return false;
    struct blob *blob =
        blob_new(old && !cut ? old->bytes : NULL, old && !cut ? old->len : 0, size, err);
    if (!blob)
        return false;
    if (len)
        memcpy(blob->bytes + offset, bytes, len);
    if (!mtime_us)
        mtime_us = clock_wall_us();
    if (!file) {
        if (tree_add(tree, path, blob, mtime_us, err))
            return true;
        blob_unref(blob);
        return false;
    }
    blob_unref(file->blob);
    file->blob = blob;
    file->mtime_us = mtime_us;
    return true;
}

static bool host_writes(const char *store_name, const char *volume, const char *clone,
                        const char *path, const void *bytes, size_t len, uint64_t offset, bool cut,
                        uint64_t mtime_us, struct err *err)
{
    if (!area_path_is_valid(path))
        return err_set(err, ERR_INVALID, "path '%s' does not name a file of an area", path);
    AUTO(held) struct held held = hold();
    struct store *store = store_get(store_name, err);
    struct tree *tree = store ? tree_of(store, volume, NULL, clone, err) : NULL;
    return tree && file_set(store, tree, path, bytes, len, offset, cut, mtime_us, err);
}

bool memory_file_write(const char *store, const char *volume, const char *clone, const char *path,
                       const void *bytes, size_t len, uint64_t offset, uint64_t mtime_us,
                       struct err *err)
{
    return host_writes(store, volume, clone, path, bytes, len, offset, false, mtime_us, err);
}

bool memory_file_put(const char *store, const char *volume, const char *clone, const char *path,
                     const void *bytes, size_t len, uint64_t mtime_us, struct err *err)
{
    return host_writes(store, volume, clone, path, bytes, len, 0, true, mtime_us, err);
}

bool memory_file_remove(const char *store_name, const char *volume, const char *clone,
                        const char *path, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct store *store = store_get(store_name, err);
    struct tree *tree = store ? tree_of(store, volume, NULL, clone, err) : NULL;
    struct file *file = tree ? tree_find(tree, path) : NULL;
    if (!file)
        return tree && err_set(err, ERR_NOT_FOUND, "no file '%s'", path);
    file_done(file);
    *file = tree->files[--tree->count];
    return true;
}

/* ---- areas ---- */

struct view {
    struct store *store;
    char volume[DRIVER_NAME_MAX], snapshot[DRIVER_NAME_MAX], clone[DRIVER_NAME_MAX];
};

struct view_file {
    struct view view;
    char path[];
};

static struct tree *view_tree(const struct view *view, struct err *err)
{
    return tree_of(view->store, view->volume, *view->snapshot ? view->snapshot : NULL,
                   *view->clone ? view->clone : NULL, err);
}

static bool view_list(void *state, size_t max_files, struct area_list *ret_list, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct tree *tree = view_tree(state, err);
    if (!tree)
        return false;
    if (tree->count > max_files)
        return err_set(err, ERR_LIMIT, "more than %zu files", max_files);
    for (size_t i = 0; i < tree->count; i++)
        if (!area_list_add(ret_list, tree->files[i].path, tree->files[i].blob->len,
                           tree->files[i].mtime_us, err))
            return false;
    return true;
}

static struct file *view_find(const struct view *view, const char *path, struct err *err)
{
    const struct tree *tree = view_tree(view, err);
    struct file *file = tree ? tree_find(tree, path) : NULL;
    if (tree && !file)
        err_set(err, ERR_NOT_FOUND, "no file '%s'", path);
    return file;
}

static void *view_file_open(void *state, const char *path, struct err *err)
{
    AUTO(held) struct held held = hold();
    if (!view_find(state, path, err))
        return NULL;
    struct view_file *file = own_alloc(sizeof *file + strlen(path) + 1, err);
    if (!file)
        return NULL;
    file->view = *(const struct view *)state;
    str_copy(file->path, strlen(path) + 1, path);
    return file;
}

static bool view_file_stat(void *state, uint64_t *ret_size, uint64_t *ret_mtime_us, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct view_file *open_file = state;
    const struct file *file = view_find(&open_file->view, open_file->path, err);
    if (!file)
        return false;
    *ret_size = file->blob->len;
    *ret_mtime_us = file->mtime_us;
    return true;
}

static ssize_t view_file_read(void *state, void *to, size_t size, uint64_t offset, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct view_file *open_file = state;
    const struct file *file = view_find(&open_file->view, open_file->path, err);
    if (!file)
        return -1;
    if (offset >= file->blob->len)
        return 0;
    size_t left = file->blob->len - (size_t)offset;
    size_t n = size < left ? size : left;
    memcpy(to, file->blob->bytes + offset, n);
    return (ssize_t)n;
}

static const struct area_backend view_backend = {
    .list = view_list,
    .file_open = view_file_open,
    .file_stat = view_file_stat,
    .file_read = view_file_read,
    .file_close = own_free,
    .close = own_free,
};

static struct area *memory_area(struct driver_instance *d, const char *volume, const char *snapshot,
                                const char *clone, struct err *err)
{
    AUTO(held) struct held held = hold();
    if (!tree_of(d->store, volume, snapshot, clone, err))
        return NULL;
    struct view *view = own_alloc(sizeof *view, err);
    if (!view)
        return NULL;
    view->store = d->store;
    str_copy(view->volume, sizeof view->volume, volume);
    str_copy(view->snapshot, sizeof view->snapshot, snapshot ? snapshot : "");
    str_copy(view->clone, sizeof view->clone, clone ? clone : "");
    return area_new(&view_backend, view, err);
}

/* ---- the table ---- */

static struct driver_instance *memory_open(const struct driver_option *options, size_t count,
                                           struct err *err)
{
    AUTO(held) struct held held = hold();
    const char *name = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!str_equal(options[i].key, "store")) {
            err_set(err, ERR_CONFIG, "unknown option '%s'; known: 'store'", options[i].key);
            return NULL;
        }
        name = options[i].value;
    }
    if (!name) {
        err_set(err, ERR_CONFIG, "option 'store' is missing");
        return NULL;
    }
    AUTO(mem) struct driver_instance *d = own_alloc(sizeof *d, err);
    if (!d)
        return NULL;
    d->store = store_get(name, err);
    return d->store ? TAKE(d) : NULL;
}

static void memory_close(struct driver_instance *d) { own_free(d); }

static bool memory_volume_create(struct driver_instance *d, const char *name, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct store *store = d->store;
    struct err missing = {0};
    if (volume_find(store, name, &missing))
        return err_set(err, ERR_EXISTS, "volume '%s' exists already", name);
    if (!own_grow((void **)&store->volumes, &store->capacity, store->count, sizeof(void *), err))
        return false;
    struct volume *volume = own_alloc(sizeof *volume, err);
    if (!volume)
        return false;
    str_copy(volume->name, sizeof volume->name, name);
    store->volumes[store->count++] = volume;
    return true;
}

static bool memory_volume_info(struct driver_instance *d, const char *name,
                               struct driver_volume_info *ret, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct volume *volume = volume_find(d->store, name, err);
    if (!volume)
        return false;
    uint64_t used = store_used(d->store);
    str_copy(ret->name, sizeof ret->name, name);
    str_copy(ret->closed, sizeof ret->closed, d->store->closed);
    ret->capacity = d->store->limit;
    ret->available = used < d->store->limit ? d->store->limit - used : 0;
    ret->space = (struct driver_space){tree_logical(&volume->live),
                                       tree_stored(&volume->live, ++d->store->mark),
                                       tree_unique(&volume->live)};
    return true;
}

static struct object *snapshot_make(struct store *store, struct volume *volume, const char *name,
                                    struct err *err)
{
    if (find_in(volume->snapshots, volume->snapshot_count, name)) {
        err_set(err, ERR_EXISTS, "snapshot '%s' exists already", name);
        return NULL;
    }
    if (!own_grow((void **)&volume->snapshots, &volume->snapshot_capacity, volume->snapshot_count,
                  sizeof(void *), err))
        return NULL;
    AUTO(object) struct object *object = object_new(store, name, err);
    return object && tree_share_all(&object->tree, &volume->live, err) ? TAKE(object) : NULL;
}

struct made {
    struct object *item[DRIVER_SET_MAX];
};

static void made_done(struct made *made)
{
    for (size_t i = 0; i < DRIVER_SET_MAX; i++)
        object_free(made->item[i]);
}
OWN_DEFINE_INPLACE(made, struct made, made_done);

static bool memory_snapshot_create(struct driver_instance *d, const char *const *volumes,
                                   size_t count, const char *name,
                                   struct driver_handle *ret_handles, bool *ret_atomic,
                                   struct err *err)
{
    AUTO(held) struct held held = hold();
    AUTO(made) struct made made = {0};
    struct volume *places[DRIVER_SET_MAX];
    if (!store_has_room(d->store, count * OBJECT_COST, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        places[i] = volume_find(d->store, volumes[i], err);
        made.item[i] = places[i] ? snapshot_make(d->store, places[i], name, err) : NULL;
        if (!made.item[i])
            return false;
    }
    for (size_t i = 0; i < count; i++)
        places[i]->snapshots[places[i]->snapshot_count++] = TAKE(made.item[i]);
    memset(ret_handles, 0, count * sizeof *ret_handles);
    *ret_atomic = true;
    return true;
}

static uint32_t count_clones(const struct volume *volume, const char *snapshot_id)
{
    uint32_t count = 0;
    for (size_t i = 0; i < volume->clone_count; i++)
        for (size_t j = 0; j < volume->clones[i]->source_count; j++)
            count += str_equal(volume->clones[i]->sources[j], snapshot_id);
    return count;
}

static struct driver_space object_space(struct store *store, const struct object *object)
{
    return (struct driver_space){tree_logical(&object->tree),
                                 tree_stored(&object->tree, ++store->mark),
                                 tree_unique(&object->tree)};
}

/* Objects are kept as they were made: oldest first, unless the clock went back. */
static int compare_objects(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    if (x->created_us != y->created_us)
        return x->created_us < y->created_us ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static struct driver_snapshot_info *memory_snapshot_list(struct driver_instance *d,
                                                         const char *name, size_t *ret_count,
                                                         struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct volume *volume = volume_find(d->store, name, err);
    struct driver_snapshot_info *rows =
        volume ? own_alloc(volume->snapshot_count * sizeof *rows, err) : NULL;
    if (!rows)
        return NULL;
    if (volume->snapshot_count)
        qsort(volume->snapshots, volume->snapshot_count, sizeof(void *), compare_objects);
    for (size_t i = 0; i < volume->snapshot_count; i++) {
        const struct object *object = volume->snapshots[i];
        str_copy(rows[i].volume, sizeof rows[i].volume, name);
        str_copy(rows[i].name, sizeof rows[i].name, object->name);
        str_copy(rows[i].id, sizeof rows[i].id, object->id);
        rows[i].created_us = object->created_us;
        rows[i].durability = d->store->durability;
        rows[i].bad_blocks = d->store->bad_blocks;
        rows[i].locked_until_boot_ms = object->locked_until_boot_ms;
        rows[i].clone_count = count_clones(volume, object->id);
        rows[i].space = object_space(d->store, object);
    }
    *ret_count = volume->snapshot_count;
    return rows;
}

static void take_out(struct object **list, size_t *count, const struct object *object)
{
    size_t i = 0;
    while (list[i] != object)
        i++;
    memmove(&list[i], &list[i + 1], (--*count - i) * sizeof(void *));
}

static bool memory_snapshot_delete(struct driver_instance *d, const char *volume_name,
                                   const char *name, struct driver_handle *ret_handle,
                                   struct err *err)
{
    AUTO(held) struct held held = hold();
    struct volume *volume = volume_find(d->store, volume_name, err);
    struct object *snapshot = volume ? snapshot_find(volume, name, err) : NULL;
    if (!snapshot)
        return false;
    if (snapshot->locked_until_boot_ms > clock_boot_ms())
        return err_set(err, ERR_PRECONDITION, "snapshot '%s' is locked", name);
    take_out(volume->snapshots, &volume->snapshot_count, snapshot);
    object_free(snapshot);
    *ret_handle = (struct driver_handle){0};
    return true;
}

static bool memory_sweep(struct driver_instance *d, uint32_t *ret_swept, struct err *err)
{
    (void)d;
    (void)err;
    *ret_swept = 0; /* nothing survives the process that could have been interrupted */
    return true;
}

static bool source_add(struct object *clone, const struct object *snapshot, struct err *err)
{
    for (size_t i = 0; i < clone->source_count; i++)
        if (str_equal(clone->sources[i], snapshot->id))
            return true;
    if (!own_grow((void **)&clone->sources, &clone->source_capacity, clone->source_count,
                  sizeof *clone->sources, err))
        return false;
    char *id = own_strdup(snapshot->id, err);
    if (!id)
        return false;
    if (!clone->source_count)
        str_copy(clone->first_source, sizeof clone->first_source, snapshot->name);
    clone->sources[clone->source_count++] = id;
    return true;
}

static bool clone_part(const struct volume *volume, struct object *clone,
                       const struct driver_part *part, struct err *err)
{
    const struct object *snapshot =
        part->snapshot ? snapshot_find(volume, part->snapshot, err) : NULL;
    if (part->snapshot && (!snapshot || !source_add(clone, snapshot, err)))
        return false;
    const struct file *file = tree_find(snapshot ? &snapshot->tree : &volume->live, part->path);
    if (!file)
        return err_set(err, ERR_NOT_FOUND, "no file '%s'", part->path);
    return tree_share(&clone->tree, file, part->to ? part->to : part->path, err);
}

static bool memory_clone_create(struct driver_instance *d, const char *volume_name,
                                const char *name, const char *snapshot_name,
                                const struct driver_part *parts, size_t part_count,
                                struct driver_handle *ret_handle, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct volume *volume = volume_find(d->store, volume_name, err);
    if (!volume)
        return false;
    if (find_in(volume->clones, volume->clone_count, name))
        return err_set(err, ERR_EXISTS, "clone '%s' exists already", name);
    AUTO(object) struct object *clone = object_new(d->store, name, err);
    if (!clone)
        return false;
    for (size_t i = 0; i < part_count; i++)
        if (!clone_part(volume, clone, &parts[i], err))
            return false;
    if (!part_count) {
        const struct object *snapshot = snapshot_find(volume, snapshot_name, err);
        if (!snapshot || !source_add(clone, snapshot, err) ||
            !tree_share_all(&clone->tree, &snapshot->tree, err))
            return false;
    }
    if (!own_grow((void **)&volume->clones, &volume->clone_capacity, volume->clone_count,
                  sizeof(void *), err))
        return false;
    volume->clones[volume->clone_count++] = TAKE(clone);
    *ret_handle = (struct driver_handle){0};
    return true;
}

static struct driver_clone_info *memory_clone_list(struct driver_instance *d, const char *name,
                                                   size_t *ret_count, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct volume *volume = volume_find(d->store, name, err);
    struct driver_clone_info *rows =
        volume ? own_alloc(volume->clone_count * sizeof *rows, err) : NULL;
    if (!rows)
        return NULL;
    if (volume->clone_count)
        qsort(volume->clones, volume->clone_count, sizeof(void *), compare_objects);
    for (size_t i = 0; i < volume->clone_count; i++) {
        const struct object *object = volume->clones[i];
        str_copy(rows[i].volume, sizeof rows[i].volume, name);
        str_copy(rows[i].name, sizeof rows[i].name, object->name);
        str_copy(rows[i].id, sizeof rows[i].id, object->id);
        str_copy(rows[i].snapshot, sizeof rows[i].snapshot, object->first_source);
        rows[i].created_us = object->created_us;
        rows[i].space = object_space(d->store, object);
    }
    *ret_count = volume->clone_count;
    return rows;
}

static bool memory_clone_delete(struct driver_instance *d, const char *volume_name,
                                const char *name, struct driver_handle *ret_handle, struct err *err)
{
    AUTO(held) struct held held = hold();
    struct volume *volume = volume_find(d->store, volume_name, err);
    struct object *clone = volume ? clone_find(volume, name, err) : NULL;
    if (!clone)
        return false;
    take_out(volume->clones, &volume->clone_count, clone);
    object_free(clone);
    *ret_handle = (struct driver_handle){0};
    return true;
}

static bool memory_clone_mount(struct driver_instance *d, const char *volume_name, const char *name,
                               char *ret, size_t size, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct volume *volume = volume_find(d->store, volume_name, err);
    if (!volume || (name && !clone_find(volume, name, err)))
        return false;
    return str_format(ret, size, "memory:%s/%s%s%s", d->store->name, volume_name, name ? "/" : "",
                      name ? name : "") ||
           err_set(err, ERR_LIMIT, "the mount text does not fit into %zu bytes", size);
}

static bool memory_snapshot_lock(struct driver_instance *d, const char *volume_name,
                                 const char *name, uint64_t until_boot_ms, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct volume *volume = volume_find(d->store, volume_name, err);
    struct object *snapshot = volume ? snapshot_find(volume, name, err) : NULL;
    if (!snapshot)
        return false;
    if (until_boot_ms < snapshot->locked_until_boot_ms)
        return err_set(err, ERR_PRECONDITION, "a lock cannot be shortened");
    snapshot->locked_until_boot_ms = until_boot_ms;
    return true;
}

static bool memory_area_put(struct driver_instance *d, const char *volume, const char *path,
                            const void *bytes, size_t len, struct err *err)
{
    {
        AUTO(held) struct held held = hold();
        if (!volume_find(d->store, volume, err))
            return false;
    }
    /* There are no folders but as parts of names. */
    return !bytes || memory_file_put(d->store->name, volume, NULL, path, bytes, len, 0, err);
}

static bool memory_note_put(struct driver_instance *d, const char *volume_name,
                            const char *snapshot, const char *clone, const char *text,
                            struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct volume *volume = volume_find(d->store, volume_name, err);
    struct object *object = volume ? object_find(volume, snapshot, clone, err) : NULL;
    char *copy = object ? own_strdup(text, err) : NULL;
    if (!copy)
        return false;
    own_free(object->note);
    object->note = copy;
    return true;
}

static char *memory_note_get(struct driver_instance *d, const char *volume_name,
                             const char *snapshot, const char *clone, struct err *err)
{
    AUTO(held) struct held held = hold();
    const struct volume *volume = volume_find(d->store, volume_name, err);
    const struct object *object = volume ? object_find(volume, snapshot, clone, err) : NULL;
    if (!object)
        return NULL;
    if (!object->note) {
        err_set(err, ERR_NOT_FOUND, "no note yet");
        return NULL;
    }
    return own_strdup(object->note, err);
}

const struct driver driver_memory = {
    .name = "memory",
    .can = DRIVER_CAN_SNAPSHOT | DRIVER_CAN_CLONE | DRIVER_CAN_COMPOSE | DRIVER_CAN_LOCK |
           DRIVER_CAN_SET_ATOMIC | DRIVER_CAN_VOLUME_CREATE | DRIVER_SEALS_LATER,
    .open = memory_open,
    .close = memory_close,
    .volume_info = memory_volume_info,
    .area = memory_area,
    .snapshot_create = memory_snapshot_create,
    .snapshot_list = memory_snapshot_list,
    .snapshot_delete = memory_snapshot_delete,
    .sweep = memory_sweep,
    .volume_create = memory_volume_create,
    .clone_create = memory_clone_create,
    .clone_list = memory_clone_list,
    .clone_delete = memory_clone_delete,
    .clone_mount = memory_clone_mount,
    .snapshot_lock = memory_snapshot_lock,
    .note_put = memory_note_put,
    .note_get = memory_note_get,
    .area_put = memory_area_put,
};
