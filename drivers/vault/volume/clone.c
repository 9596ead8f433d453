/* Clones: volumes that begin as a snapshot, or as files of several. One folder, no walk. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

/* ---- origins ---- */

static bool origins_sealed(const struct volume *v)
{
    for (size_t i = 0; i < v->origin_count; i++)
        if (!v->origins[i]->sealed || !v->origins[i]->loaded)
            return false;
    return true;
}

static bool mapped_base(struct volume *v, struct index *ret, struct err *err)
{
    uint64_t file = 0, b = 0;
    void *item = NULL;
    while (index_after(&v->parts, file, b, &file, &b, &item)) {
        const struct part_item *part = item;
        const struct root_item *root = index_get(&v->origins[part->source]->base, part->below, 0);
        if (root && !root_put(ret, file, &root->root, err))
            return false;
    }
    return true;
}

bool clone_ready(struct volume *v, struct err *err)
{
    if (v->ready || !origins_sealed(v))
        return true;
    AUTO(index) struct index base = {0};
    if (v->mapped && !mapped_base(v, &base, err))
        return false;
    if (!v->mapped) {
        const struct snap *origin = v->origins[0];
        base = index_copy(&origin->base);
        v->table = origin->table;
        v->table_slots = origin->slots;
    }
    v->base = base;
    base = (struct index){0};
    index_done(&v->parts);
    v->ready = true;
    for (size_t i = 0; i < v->origin_count; i++)
        v->origins[i]->uses--; /* stays loaded until somebody looks: snap_unuse, or the keeper */
    return true;
}

static bool register_admin(struct volume *v, struct err *err)
{
    struct volume_row row = {.id = v->id,
                             .created_us = v->created_us,
                             .start = v->start,
                             .clone = true,
                             .sealed = v->start,
                             .origin_count = v->origin_count};
    pthread_mutex_lock(&v->vault->lock);
    bool done = v->in_family || v->gone;
    row.table = v->table;
    row.slots = v->table_slots;
    pthread_mutex_unlock(&v->vault->lock);
    if (done)
        return true;
    IGNORE(str_copy(row.name, sizeof row.name, v->name));
    for (size_t i = 0; i < v->origin_count; i++) {
        row.origins[i].volume = v->origins[i]->volume->id;
        row.origins[i].sequence = v->origins[i]->sequence;
    }
    struct err own = {0};
    /* EXISTS: a try before, of which nobody heard, had done it. */
    if (!family_volume_add(v->family, &row, &own) && own.code != ERR_EXISTS) {
        *err = own;
        return false;
    }
    pthread_mutex_lock(&v->vault->lock);
    v->in_family = true;
    for (size_t i = 0; i < v->origin_count; i++) /* the store holds them from here on */
        unique_forget(v->origins[i]->volume, v->origins[i]->sequence);
    pthread_mutex_unlock(&v->vault->lock);
    return note_move(v, v->id, err);
}

bool clone_register(struct volume *v, struct err *err)
{
    pthread_mutex_lock(&v->admin);
    bool ok = register_admin(v, err);
    pthread_mutex_unlock(&v->admin);
    return ok;
}

/* volume.admin of the origin is held. */
static void unpin(struct volume *v, struct snap *snap)
{
    struct err later = {0};
    pthread_mutex_lock(&v->vault->lock);
    snap->pins--;
    unique_forget(snap->volume, snap->sequence);
    if (!v->ready)
        snap->uses--;
    pthread_mutex_unlock(&v->vault->lock);
    IGNORE(snap_reap(snap, &later)); /* the keeper tries again */
}

void clone_unpin(struct volume *v)
{
    for (size_t i = 0; i < v->origin_count; i++) {
        struct volume *origin = v->origins[i]->volume;
        pthread_mutex_lock(&origin->admin);
        unpin(v, v->origins[i]);
        pthread_mutex_unlock(&origin->admin);
    }
    v->origin_count = 0;
}

/* ---- composing ---- */

struct composing {
    struct volume *v, *source;
    const struct vault_part *parts;
    size_t count;
    uint8_t sources[4096]; /* per part: which origin */
    const char *names[RECORD_MEMBERS_MAX];
};
enum { PARTS_MAX = 4096, CLONES_MAX = 10000 };

static struct snap *origin_of(struct composing *c, const char *name, struct err *err)
{
    struct volume *source = c->source;
    if (name) {
        pthread_mutex_lock(&source->vault->lock);
        struct snap *snap = snap_find(source, name);
        pthread_mutex_unlock(&source->vault->lock);
        if (!snap)
            err_set(err, ERR_NOT_FOUND, "no snapshot '%s' of '%s'", name, source->name);
        return snap;
    }
    /* The live area: a snapshot that only this clone knows. */
    char hidden[32];
    struct snap *snap = NULL;
    IGNORE(str_format(hidden, sizeof hidden, ".%016llx", (unsigned long long)c->v->id));
    return snap_create(&source, 1, hidden, true, &snap, err) ? snap : NULL;
}

/* Pins and loads it; volume.admin of the source is held. */
static bool add_origin(struct volume *v, struct snap *snap, struct err *err)
{
    if (!snap || !snap_use(snap, err))
        return false;
    pthread_mutex_lock(&v->vault->lock);
    snap->pins++;
    unique_forget(snap->volume, snap->sequence);
    v->origins[v->origin_count++] = snap;
    pthread_mutex_unlock(&v->vault->lock);
    return true;
}

static bool find_origins(struct composing *c, struct err *err)
{
    if (c->count > PARTS_MAX)
        return err_set(err, ERR_LIMIT, "a clone is composed of at most %d files", PARTS_MAX);
    for (size_t i = 0; i < c->count; i++) {
        const char *name = c->parts[i].snapshot;
        size_t at = 0;
        while (at < c->v->origin_count && !str_equal(c->names[at], name))
            at++;
        if (at == RECORD_MEMBERS_MAX)
            return err_set(err, ERR_LIMIT, "a clone is composed of at most %d snapshots",
                           RECORD_MEMBERS_MAX);
        c->sources[i] = (uint8_t)at;
        if (at < c->v->origin_count)
            continue;
        c->names[at] = name;
        if (!add_origin(c->v, origin_of(c, name, err), err))
            return false;
        if (name && !c->v->origin_name[0])
            IGNORE(str_copy(c->v->origin_name, sizeof c->v->origin_name, name));
    }
    return true;
}

static bool make_entry(struct volume *v, struct record *record, struct err *err)
{
    record->kind = RECORD_CREATE;
    record->time_us = v->created_us;
    record->file = v->tree.next_file;
    return names_apply(&v->tree, slot_active(v), record, err) && volume_note(v, record, err);
}

/* The folder that `path` names a file in, made as far as it is missing; ret_name: the last part. */
static bool make_folders(struct volume *v, const char *path, uint64_t *ret_folder,
                         const char **ret_name, struct err *err)
{
    uint64_t folder = INODE_ROOT;
    const char *slash;
    while ((slash = strchr(path, '/'))) {
        struct record record = {.folder = folder, .file_kind = INODE_DIRECTORY, .mode = 0755};
        size_t len = (size_t)(slash - path);
        if (!inode_name_is_valid(path, len))
            return err_set(err, ERR_INVALID, "'%s' is no path", path);
        record.mtime_us = record.atime_us = v->created_us;
        memcpy(record.name, path, len);
        const struct entry *there = tree_child(&v->tree, folder, record.name);
        if (!there && !make_entry(v, &record, err))
            return false;
        folder = there ? there->file : record.file;
        path = slash + 1;
    }
    *ret_folder = folder;
    *ret_name = path;
    return true;
}

static bool add_part(struct composing *c, size_t i, struct err *err)
{
    struct volume *v = c->v;
    const struct vault_part *part = &c->parts[i];
    struct inode from = {0};
    pthread_mutex_lock(&v->vault->lock);
    const struct tree *tree = &v->origins[c->sources[i]]->tree;
    const struct entry *entry = tree_named(tree, tree_at(tree, part->path));
    if (entry)
        tree_show(entry, &from);
    pthread_mutex_unlock(&v->vault->lock);
    if (!entry)
        return err_set(err, ERR_NOT_FOUND, "no '%s' in %s", part->path,
                       part->snapshot ? part->snapshot : "the live area");
    if (from.kind == INODE_DIRECTORY)
        return err_set(err, ERR_INVALID, "'%s' is a folder; a part is a file", part->path);
    const char *to = part->to ? part->to : part->path, *name = to;
    struct record record = {.file_kind = from.kind,
                            .mode = from.mode,
                            .uid = from.uid,
                            .gid = from.gid,
                            .size = from.size,
                            .mtime_us = from.mtime_us,
                            .atime_us = from.atime_us};
    if (!make_folders(v, to, &record.folder, &name, err))
        return false;
    if (!inode_name_is_valid(name, strlen(name)))
        return err_set(err, ERR_INVALID, "'%s' is no path", to);
    IGNORE(str_copy(record.name, sizeof record.name, name));
    if (!make_entry(v, &record, err))
        return false;
    struct record below = {.kind = RECORD_PART,
                           .file = record.file,
                           .below = from.file,
                           .source = c->sources[i],
                           .size = from.size,
                           .mtime_us = from.mtime_us};
    struct part_item *item = item_new(sizeof *item, err);
    if (!item)
        return false;
    item->source = below.source;
    item->below = below.below;
    return index_put(&v->parts, record.file, 0, item, err) && volume_note(v, &below, err);
}

/* ---- making ---- */

static bool make_whole(struct volume *v, struct volume *source, const char *snapshot,
                       struct err *err)
{
    struct composing c = {.v = v, .source = source};
    if (!snapshot)
        return err_set(err, ERR_INVALID, "a clone of what?");
    if (!add_origin(v, origin_of(&c, snapshot, err), err))
        return false;
    IGNORE(str_copy(v->origin_name, sizeof v->origin_name, snapshot));
    pthread_mutex_lock(&v->vault->lock);
    v->tree = tree_copy(&v->origins[0]->tree);
    pthread_mutex_unlock(&v->vault->lock);
    return true;
}

static bool make_composed(struct composing *c, struct err *err)
{
    struct volume *v = c->v;
    v->mapped = true;
    return find_origins(c, err) &&
           tree_init(&v->tree, store_seed(v->vault->store), v->created_us, err);
}

static bool make_parts(struct composing *c, struct err *err)
{
    for (size_t i = 0; i < c->count; i++)
        if (!add_part(c, i, err))
            return false;
    return true;
}

/* volume.admin of the source is held. */
static bool make(struct volume *v, struct volume *source, const char *snapshot,
                 const struct vault_part *parts, size_t count, struct err *err)
{
    AUTO(mem) struct composing *c = own_alloc(sizeof *c, err);
    if (!c)
        return false;
    *c = (struct composing){.v = v, .source = source, .parts = parts, .count = count};
    bool ok = count == 0 ? make_whole(v, source, snapshot, err) : make_composed(c, err);
    if (!ok)
        return false;
    pthread_mutex_lock(&v->vault->lock);
    v->start = v->sealed = sequence_next(v);
    pthread_mutex_unlock(&v->vault->lock);
    if (!volume_folder(v, err) || !volume_first_layer(v, err) || !make_parts(c, err))
        return false;
    pthread_mutex_lock(&v->vault->lock);
    ok = clone_ready(v, err);
    pthread_mutex_unlock(&v->vault->lock);
    return ok && volume_found(v, err);
}

/* Takes the name; nobody sees the clone before it is whole. */
static bool reserve_name(struct vault *vault, struct volume *v, struct volume *source,
                         struct err *err)
{
    bool ok = true;
    size_t clones = 0;
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; ok && i < vault->volume_count; i++) {
        const struct volume *other = vault->volumes[i];
        clones += other->clone;
        if (other->clone && !other->gone && other->landing == v->landing &&
            strcmp(other->name, v->name) == 0)
            ok = err_set(err, ERR_EXISTS, "clone '%s' of '%s'", v->name, v->landing->name);
    }
    if (ok && clones >= CLONES_MAX)
        ok = err_set(err, ERR_LIMIT, "a store has at most %d clones", CLONES_MAX);
    if (ok && source->gone)
        ok = err_set(err, ERR_NOT_FOUND, "no volume '%s'", source->name);
    pthread_mutex_unlock(&vault->lock);
    return ok && vault_enlist(vault, v, err);
}

static bool create(struct vault *vault, struct volume *source, const char *name,
                   const char *snapshot, const struct vault_part *parts, size_t count,
                   struct err *err)
{
    AUTO(volume_object) struct volume *v = volume_new(vault, new_id(), err);
    if (!v)
        return false;
    v->landing = source->landing;
    v->family = source->family;
    v->family_id = source->family_id;
    v->clone = v->making = true;
    v->created_us = clock_wall_us();
    IGNORE(str_copy(v->name, sizeof v->name, name));
    pthread_mutex_lock(&vault->names);
    bool ok = reserve_name(vault, v, source, err);
    pthread_mutex_unlock(&vault->names);
    if (!ok)
        return false;
    if (make(v, source, snapshot, parts, count, err)) {
        struct err later = {0};
        pthread_mutex_lock(&vault->lock);
        v->making = false;
        if (!clone_ready(v, &later)) /* its origins may have been sealed meanwhile */
            log_warning("a clone waits for memory clone=%s error=%s", v->name, later.text);
        volume_want(v);
        pthread_mutex_unlock(&vault->lock);
        v = NULL;
        return true;
    }
    vault_delist(vault, v);
    for (size_t i = 0; i < v->origin_count; i++)
        unpin(v, v->origins[i]);
    struct err ignored = {0};
    IGNORE(sys_remove_tree(v->path, &ignored)); /* without facts it is swept at opening */
    return false;
}

bool vault_clone_create(struct vault *vault, const char *volume, const char *name,
                        const char *snapshot, const struct vault_part *parts, size_t part_count,
                        struct err *err)
{
    if (!snapshot_name_is_valid(name, err))
        return false;
    AUTO(volume) struct volume *source = volume_get(vault, volume, err);
    if (!source)
        return false;
    pthread_mutex_lock(&source->admin);
    bool ok = create(vault, source, name, snapshot, parts, part_count, err);
    pthread_mutex_unlock(&source->admin);
    return ok;
}

/* ---- dropping ---- */

bool vault_clone_drop(struct vault *vault, const char *volume, const char *name, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get_clone(vault, volume, name, err);
    if (!v)
        return false;
    pthread_mutex_lock(&v->admin);
    bool ok = volume_doom(v, err);
    pthread_mutex_unlock(&v->admin);
    if (!ok)
        return false;
    struct err later = {0};
    if (!volume_end(v, &later))
        log_warning("a clone's data goes later clone=%s error=%s", name, later.text);
    reserve_tend(vault);
    return true;
}
