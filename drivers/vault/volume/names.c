/* Names: each change is in the journal, on disk, before it is answered; asked again, the answer is
 * the same. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

/* ---- what a record does, live and at opening ---- */

bool slot_mark(struct slot *slot, uint64_t file, struct err *err)
{
    if (slot->dirty_count > 0 && slot->dirty[slot->dirty_count - 1] == file)
        return true;
    if (!own_grow((void **)&slot->dirty, &slot->dirty_capacity, slot->dirty_count,
                  sizeof slot->dirty[0], err))
        return false;
    slot->dirty[slot->dirty_count++] = file;
    return true;
}

static bool apply_create(struct tree *tree, const struct slot *slot, const struct record *record,
                         struct err *err)
{
    struct inode inode = {.file = record->file,
                          .parent = record->folder,
                          .generation =
                              (uint32_t)slot->sequence, /* grows, whoever had the number */
                          .kind = record->file_kind,
                          .mode = record->mode,
                          .uid = record->uid,
                          .gid = record->gid,
                          .size = record->size,
                          .mtime_us = record->mtime_us,
                          .ctime_us = record->time_us,
                          .atime_us = record->atime_us,
                          .name_len = (uint8_t)strlen(record->name)};
    if (inode.kind < INODE_FILE || inode.kind > INODE_SYMLINK)
        return err_set(err, ERR_CORRUPT, "a file of kind %u", inode.kind);
    IGNORE(str_copy(inode.name, sizeof inode.name, record->name));
    return tree_add(tree, &inode, record->time_us, err);
}

static bool apply_rename(struct tree *tree, const struct record *record, struct err *err)
{
    AUTO(tree) struct tree work = tree_copy(tree);
    if (record->replaced && !tree_remove(&work, record->replaced, record->time_us, err))
        return false;
    if (!tree_rename(&work, record->file, record->to_folder, record->name, record->time_us, err))
        return false;
    struct tree old = *tree;
    *tree = work;
    work = old;
    return true;
}

static bool apply_attributes(struct tree *tree, const struct record *record, struct err *err)
{
    struct entry *entry = tree_own(tree, record->file, err);
    if (!entry)
        return false;
    if (record->mask & SET_MODE)
        entry->mode = record->mode;
    if (record->mask & SET_UID)
        entry->uid = record->uid;
    if (record->mask & SET_GID)
        entry->gid = record->gid;
    if (record->mask & SET_MTIME)
        entry->mtime_us = record->mtime_us;
    if (record->mask & SET_ATIME)
        entry->atime_us = record->atime_us;
    entry->ctime_us = record->time_us;
    return true;
}

bool names_apply(struct tree *tree, struct slot *slot, const struct record *record, struct err *err)
{
    if (!slot_mark(slot, record->file, err))
        return false;
    switch (record->kind) {
    case RECORD_CREATE:
        return slot_mark(slot, record->folder, err) && apply_create(tree, slot, record, err);
    case RECORD_REMOVE:
        return slot_mark(slot, record->folder, err) &&
               tree_remove(tree, record->file, record->time_us, err);
    case RECORD_RENAME:
        return slot_mark(slot, record->folder, err) && slot_mark(slot, record->to_folder, err) &&
               (!record->replaced || slot_mark(slot, record->replaced, err)) &&
               apply_rename(tree, record, err);
    case RECORD_ATTRIBUTES:
        return apply_attributes(tree, record, err);
    case RECORD_PART:
        return tree_resize(tree, record->file, record->size, record->mtime_us, err);
    default:
        return true;
    }
}

/* ---- replayed requests ---- */

void answer_keep(struct volume *v, const struct record *record)
{
    struct err none = {0};
    if (!record->client)
        return;
    if (!v->answers)
        v->answers = own_alloc(ANSWERS * sizeof *v->answers, &none);
    if (!v->answers)
        return;
    v->answers[v->answer_next] =
        (struct answer){.client = record->client,
                        .sum = record->sum,
                        .file = record->file,
                        .xid = record->xid,
                        .asked = record->kind == RECORD_ANSWER ? record->asked : record->kind};
    v->answer_next = (v->answer_next + 1) % ANSWERS;
    if (v->answer_count < ANSWERS)
        v->answer_count++;
}

static const struct answer *answer_find(const struct volume *v, const struct record *record)
{
    for (size_t i = 0; record->client && i < v->answer_count; i++) {
        const struct answer *a = &v->answers[i];
        if (a->client == record->client && a->xid == record->xid && a->sum == record->sum &&
            a->asked == record->kind)
            return a;
    }
    return NULL;
}

static void who_asks(struct record *record, const struct view_caller *caller,
                     const struct format_piece *asked, size_t count)
{
    if (caller) {
        record->client = caller->client;
        record->xid = caller->xid;
    }
    record->sum = format_sum_of(record->kind, asked, count);
    record->time_us = clock_wall_us();
}

/* Journal, then memory; both or neither. volume.write is held. */
static bool change(struct volume *v, const struct record *record, struct err *err)
{
    AUTO(tree) struct tree work = {0};
    struct slot *slot = slot_active(v);
    pthread_mutex_lock(&v->vault->lock);
    work = tree_copy(&v->tree);
    pthread_mutex_unlock(&v->vault->lock);
    if (!names_apply(&work, slot, record, err) || !volume_note(v, record, err))
        return false;
    pthread_mutex_lock(&v->vault->lock);
    struct tree old = v->tree;
    v->tree = work;
    work = old;
    pthread_mutex_unlock(&v->vault->lock);
    answer_keep(v, record);
    return true;
}

/* What the active layer has of a file that is gone for good may go. */
static void forget(struct volume *v, uint64_t file)
{
    struct err ignored = {0};
    if (!file)
        return;
    pthread_mutex_lock(&v->write);
    pthread_mutex_lock(&v->vault->lock);
    bool gone = !tree_find(&v->tree, file);
    v->landing->changes++;
    pthread_mutex_unlock(&v->vault->lock);
    if (gone)
        IGNORE(layer_forget(slot_active(v)->layer, file, &ignored)); /* the seal leaves it out */
    pthread_mutex_unlock(&v->write);
}

/* ---- views ---- */

struct view *view_open(struct vault *vault, const char *volume, const char *snapshot,
                       const char *clone, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get_clone(vault, volume, clone, err);
    AUTO(view) struct view *view = v ? own_alloc(sizeof *view, err) : NULL;
    if (!view)
        return NULL;
    view->vault = vault;
    if (snapshot) {
        pthread_mutex_lock(&vault->lock);
        struct snap *snap = snap_find(v, snapshot);
        if (snap)
            snap->uses++; /* so that it stays while it is loaded */
        pthread_mutex_unlock(&vault->lock);
        if (!snap)
            return err_set(err, ERR_NOT_FOUND, "no snapshot '%s' of '%s'", snapshot, volume), NULL;
        bool loaded = snap_use(snap, err);
        snap_unuse(snap);
        if (!loaded)
            return NULL;
        view->snap = snap;
    }
    pthread_mutex_lock(&vault->lock);
    bool gone = v->gone;
    if (!gone) {
        v->users++;
        view->volume = v;
    }
    pthread_mutex_unlock(&vault->lock);
    if (gone) {
        if (view->snap)
            snap_unuse(TAKE(view->snap));
        return err_set(err, ERR_NOT_FOUND, "'%s' was dropped", volume), NULL;
    }
    v = NULL; /* the view has the reference now */
    return TAKE(view);
}

void view_close(struct view *view)
{
    if (!view)
        return;
    if (view->snap)
        snap_unuse(view->snap);
    if (view->volume) {
        pthread_mutex_lock(&view->volume->write);
        if (view->volume->claim == view)
            view->volume->claim = NULL;
        pthread_mutex_unlock(&view->volume->write);
        pthread_mutex_lock(&view->vault->lock);
        view->volume->users--;
        pthread_mutex_unlock(&view->vault->lock);
        volume_put(view->volume);
    }
    own_free(view);
}

uint64_t view_volume_id(const struct view *view) { return view->volume->id; }
bool view_is_read_only(const struct view *view) { return view->snap != NULL; }

static const struct tree *view_tree(const struct view *view)
{
    return view->snap ? &view->snap->tree : &view->volume->tree;
}

static void show(const struct entry *entry, struct view_file *ret)
{
    uint64_t records = (entry->size + RECORD_BYTES - 1) >> RECORD_SHIFT;
    *ret = (struct view_file){.file = entry->file,
                              .parent = entry->parent,
                              .generation = entry->generation,
                              .kind = entry->kind,
                              .mode = entry->mode,
                              .uid = entry->uid,
                              .gid = entry->gid,
                              .links = entry->links,
                              .size = entry->size,
                              .used_bytes = records << RECORD_SHIFT,
                              .mtime_us = entry->mtime_us,
                              .ctime_us = entry->ctime_us,
                              .atime_us = entry->atime_us};
}

static bool show_found(const struct entry *entry, const char *name, uint64_t file,
                       struct view_file *ret, struct err *err)
{
    if (entry)
        show(entry, ret);
    else if (name)
        err_set(err, ERR_NOT_FOUND, "no '%s'", name);
    else
        err_set(err, ERR_NOT_FOUND, "no file %llu", (unsigned long long)file);
    return entry != NULL;
}

bool view_stat(struct view *view, uint64_t file, uint32_t generation, struct view_file *ret,
               struct err *err)
{
    pthread_mutex_lock(&view->vault->lock);
    const struct entry *entry = tree_find(view_tree(view), file);
    if (entry && generation && entry->generation != generation)
        entry = NULL;
    bool ok = show_found(entry, NULL, file, ret, err);
    pthread_mutex_unlock(&view->vault->lock);
    return ok;
}

bool view_lookup(struct view *view, uint64_t folder, const char *name, struct view_file *ret,
                 struct err *err)
{
    pthread_mutex_lock(&view->vault->lock);
    const struct tree *tree = view_tree(view);
    const struct entry *at = tree_find(tree, folder);
    const struct entry *entry = NULL;
    bool ok = true;
    if (at && at->kind != INODE_DIRECTORY)
        ok = err_set(err, ERR_PRECONDITION, "'%s' is no folder", at->name);
    else if (at && strcmp(name, ".") == 0)
        entry = at;
    else if (at && strcmp(name, "..") == 0)
        entry = tree_find(tree, at->parent);
    else if (at)
        entry = tree_child(tree, folder, name);
    ok = ok && show_found(entry, name, 0, ret, err);
    pthread_mutex_unlock(&view->vault->lock);
    return ok;
}

bool view_find(struct view *view, const char *path, struct view_file *ret, struct err *err)
{
    pthread_mutex_lock(&view->vault->lock);
    bool ok = show_found(tree_at(view_tree(view), path), path, 0, ret, err);
    pthread_mutex_unlock(&view->vault->lock);
    return ok;
}

bool view_list(struct view *view, uint64_t folder, uint64_t cookie, view_entry *fn, void *arg,
               bool *ret_end, struct err *err)
{
    pthread_mutex_lock(&view->vault->lock);
    AUTO(tree) struct tree tree = tree_copy(view_tree(view));
    pthread_mutex_unlock(&view->vault->lock);
    const struct entry *at = tree_find(&tree, folder);
    if (!at)
        return err_set(err, ERR_NOT_FOUND, "no folder %llu", (unsigned long long)folder);
    if (at->kind != INODE_DIRECTORY)
        return err_set(err, ERR_PRECONDITION, "'%s' is no folder", at->name);
    bool more = true;
    const struct entry *entry = NULL;
    while (more && (entry = tree_after(&tree, folder, cookie))) {
        struct view_file file;
        show(entry, &file);
        more = fn(arg, entry->file, entry->name, &file);
        cookie = entry->file;
    }
    *ret_end = more;
    return true;
}

bool view_readlink(struct view *view, uint64_t file, char *ret, size_t size, struct err *err)
{
    char target[TREE_TARGET_MAX + 1];
    struct view_file info;
    if (!view_stat(view, file, 0, &info, err))
        return false;
    if (info.kind != INODE_SYMLINK)
        return err_set(err, ERR_INVALID, "file %llu is no link", (unsigned long long)file);
    ssize_t got = view_read(view, file, target, TREE_TARGET_MAX, 0, err);
    if (got < 0)
        return false;
    target[got] = '\0';
    return str_copy(ret, size, target) || err_set(err, ERR_LIMIT, "the link's target is longer");
}

/* ---- changes ---- */

static bool may_change(const struct view *view, struct err *err)
{
    return !view->snap || err_set(err, ERR_DENIED, "snapshot '%s' is read-only", view->snap->name);
}

/* A new file's content before its name: a link's target, or a size. */
static bool create_content(struct volume *v, struct record *record, const char *target,
                           const struct view_attributes *a, struct err *err)
{
    struct layer *layer = slot_active(v)->layer;
    size_t len = target ? strlen(target) : 0;
    if (!active_ready(v, err))
        return false;
    if (record->file_kind == INODE_SYMLINK) {
        uint8_t bytes[RECORD_BYTES] = {0};
        if (len == 0 || len > TREE_TARGET_MAX)
            return err_set(err, ERR_INVALID, "a link's target has 1 to %d bytes", TREE_TARGET_MAX);
        memcpy(bytes, target, len); /* NOLINT(bugprone-not-null-terminated-result) */
        record->size = len;
        if (!layer_write(layer, record->file, 0, 1, bytes, err))
            return false;
    } else if (record->file_kind == INODE_FILE && a && a->set_size) {
        if (a->size > (uint64_t)1 << FILE_MAX_SHIFT)
            return err_set(err, ERR_LIMIT, "a file holds at most 64 TiB");
        record->size = a->size;
    } else {
        return true;
    }
    layer_attributes(layer, record->file, record->size, record->mtime_us);
    return layer_commit(layer, record->file, err);
}

static bool create_locked(struct volume *v, struct record *record, const char *target,
                          const struct view_attributes *a, struct err *err)
{
    struct vault *vault = v->vault;
    const struct answer *answer = answer_find(v, record);
    if (answer) {
        record->file = answer->file;
        return true;
    }
    pthread_mutex_lock(&vault->lock);
    record->file = v->tree.next_file;
    const struct entry *folder = tree_find(&v->tree, record->folder);
    bool exists = tree_child(&v->tree, record->folder, record->name);
    uint8_t folder_kind = folder ? folder->kind : INODE_FREE;
    pthread_mutex_unlock(&vault->lock);
    if (folder_kind == INODE_FREE)
        return err_set(err, ERR_NOT_FOUND, "no folder %llu", (unsigned long long)record->folder);
    if (folder_kind != INODE_DIRECTORY)
        return err_set(err, ERR_PRECONDITION, "file %llu is no folder",
                       (unsigned long long)record->folder);
    if (exists)
        return err_set(err, ERR_EXISTS, "'%s' is there", record->name);
    if (record->file >= TREE_NUMBERS)
        return err_set(err, ERR_LIMIT,
                       "volume '%s' has given out all of its %d file numbers. hint: copy its files "
                       "to a new volume",
                       v->name, TREE_NUMBERS);
    if (!create_content(v, record, target, a, err) || !change(v, record, err)) {
        /* The number may have content now: it is not given to anybody else. */
        pthread_mutex_lock(&vault->lock);
        if (v->tree.next_file == record->file && record->size > 0)
            v->tree.next_file++;
        pthread_mutex_unlock(&vault->lock);
        return false;
    }
    return true;
}

bool view_create(struct view *view, const struct view_caller *caller, uint64_t folder,
                 const char *name, uint8_t kind, const char *target,
                 const struct view_attributes *attributes, struct view_file *ret, struct err *err)
{
    struct volume *v = view->volume;
    const struct view_attributes *a = attributes;
    struct record record = {.kind = RECORD_CREATE, .folder = folder, .file_kind = kind};
    if (!may_change(view, err))
        return false;
    if (kind < INODE_FILE || kind > INODE_SYMLINK || !inode_name_is_valid(name, strlen(name)))
        return err_set(err, ERR_INVALID, "'%.255s' cannot be made", name);
    if (!volume_room(v, err))
        return false;
    IGNORE(str_copy(record.name, sizeof record.name, name));
    who_asks(&record, caller,
             (struct format_piece[]){{&folder, sizeof folder}, {name, strlen(name)}, {&kind, 1}},
             3);
    record.mode = a && a->set_mode ? a->mode & 07777 : kind == INODE_DIRECTORY ? 0755 : 0644;
    record.uid = a && a->set_uid ? a->uid : caller ? caller->uid : 0;
    record.gid = a && a->set_gid ? a->gid : caller ? caller->gid : 0;
    record.mtime_us = a && a->set_mtime ? a->mtime_us : record.time_us;
    record.atime_us = a && a->set_atime ? a->atime_us : record.time_us;
    pthread_mutex_lock(&v->write);
    bool ok = write_allowed(view, err) && create_locked(v, &record, target, a, err);
    pthread_mutex_unlock(&v->write);
    return ok && volume_sync(v, err) && view_stat(view, record.file, 0, ret, err);
}

static bool named(struct volume *v, uint64_t folder, const char *name, uint64_t *ret_file,
                  uint8_t *ret_kind, struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    const struct entry *entry = tree_child(&v->tree, folder, name);
    if (entry) {
        *ret_file = entry->file;
        *ret_kind = entry->kind;
    }
    pthread_mutex_unlock(&v->vault->lock);
    return entry || err_set(err, ERR_NOT_FOUND, "no '%.255s'", name);
}

bool view_remove(struct view *view, const struct view_caller *caller, uint64_t folder,
                 const char *name, bool folder_wanted, struct err *err)
{
    struct volume *v = view->volume;
    struct record record = {.kind = RECORD_REMOVE, .folder = folder};
    if (!may_change(view, err))
        return false;
    who_asks(&record, caller,
             (struct format_piece[]){{&folder, sizeof folder}, {name, strlen(name)}}, 2);
    pthread_mutex_lock(&v->write);
    uint8_t kind = INODE_FREE;
    bool replayed = answer_find(v, &record) != NULL;
    bool ok =
        write_allowed(view, err) && (replayed || named(v, folder, name, &record.file, &kind, err));
    if (ok && !replayed && (kind == INODE_DIRECTORY) != folder_wanted)
        ok = err_set(err, ERR_PRECONDITION,
                     folder_wanted ? "'%s' is no folder" : "'%s' is a folder", name);
    ok = ok && (replayed || change(v, &record, err));
    pthread_mutex_unlock(&v->write);
    if (!ok || !volume_sync(v, err))
        return false;
    if (!replayed)
        forget(v, record.file);
    return true;
}

/* What stands under the new name: nothing, the same, or something that may be replaced. */
static bool rename_target(struct volume *v, struct record *record, uint8_t kind, bool *ret_same,
                          struct err *err)
{
    bool ok = true;
    pthread_mutex_lock(&v->vault->lock);
    const struct entry *there = tree_child(&v->tree, record->to_folder, record->name);
    *ret_same = there && there->file == record->file;
    if (there && !*ret_same) {
        record->replaced = there->file;
        if ((there->kind == INODE_DIRECTORY) != (kind == INODE_DIRECTORY))
            ok = err_set(err, ERR_PRECONDITION, "'%s' is of another kind", record->name);
    }
    pthread_mutex_unlock(&v->vault->lock);
    return ok;
}

static bool rename_locked(struct volume *v, struct record *record, const char *from, bool *ret_done,
                          struct err *err)
{
    uint8_t kind = INODE_FREE;
    *ret_done = answer_find(v, record) != NULL;
    if (*ret_done)
        return true;
    return named(v, record->folder, from, &record->file, &kind, err) &&
           rename_target(v, record, kind, ret_done, err) && (*ret_done || change(v, record, err));
}

bool view_rename(struct view *view, const struct view_caller *caller, uint64_t from_folder,
                 const char *from, uint64_t to_folder, const char *to, struct err *err)
{
    struct volume *v = view->volume;
    struct record record = {.kind = RECORD_RENAME, .folder = from_folder, .to_folder = to_folder};
    if (!may_change(view, err))
        return false;
    if (!inode_name_is_valid(to, strlen(to)))
        return err_set(err, ERR_INVALID, "'%.255s' cannot be a name", to);
    IGNORE(str_copy(record.name, sizeof record.name, to));
    who_asks(&record, caller,
             (struct format_piece[]){{&from_folder, sizeof from_folder},
                                     {from, strlen(from)},
                                     {&to_folder, sizeof to_folder},
                                     {to, strlen(to)}},
             4);
    pthread_mutex_lock(&v->write);
    bool done = false;
    bool ok = write_allowed(view, err) && rename_locked(v, &record, from, &done, err);
    pthread_mutex_unlock(&v->write);
    if (!ok || !volume_sync(v, err))
        return false;
    if (!done)
        forget(v, record.replaced);
    return true;
}

static uint8_t set_mask(const struct view_attributes *a, bool regular)
{
    return (uint8_t)((a->set_mode ? SET_MODE : 0) | (a->set_uid ? SET_UID : 0) |
                     (a->set_gid ? SET_GID : 0) | (a->set_atime ? SET_ATIME : 0) |
                     (a->set_mtime && !regular ? SET_MTIME : 0));
}

/* Sizes and times of regular files go with the layer, so that their order with writes is one. */
static bool set_locked(struct volume *v, struct record *record, const struct view_attributes *a,
                       const struct view_file *now, struct err *err)
{
    bool regular = now->kind == INODE_FILE;
    if (answer_find(v, record))
        return true;
    if (a->set_size && !regular)
        return err_set(err, ERR_INVALID, "file %llu has no size to set",
                       (unsigned long long)record->file);
    if (regular && (a->set_size || a->set_mtime)) {
        uint64_t mtime_us = a->set_mtime ? a->mtime_us : record->time_us;
        if (!write_size(v, record->file, a->set_size ? a->size : now->size, mtime_us, err))
            return false;
        pthread_mutex_lock(&v->vault->lock);
        v->landing->changes++;
        pthread_mutex_unlock(&v->vault->lock);
    }
    record->mask = set_mask(a, regular);
    return record->mask == 0 || change(v, record, err);
}

bool view_set(struct view *view, const struct view_caller *caller, uint64_t file,
              const struct view_attributes *attributes, struct view_file *ret, struct err *err)
{
    struct volume *v = view->volume;
    const struct view_attributes *a = attributes;
    struct record record = {.kind = RECORD_ATTRIBUTES,
                            .file = file,
                            .mode = a->mode & 07777,
                            .uid = a->uid,
                            .gid = a->gid,
                            .mtime_us = a->mtime_us,
                            .atime_us = a->atime_us};
    if (!may_change(view, err) || !volume_room(v, err))
        return false;
    uint8_t flags = (uint8_t)(set_mask(a, false) | (a->set_size ? 128 : 0));
    who_asks(&record, caller,
             (struct format_piece[]){{&file, sizeof file}, {&flags, 1}, {&a->size, sizeof a->size}},
             3);
    pthread_mutex_lock(&v->write);
    struct view_file now;
    bool ok = write_allowed(view, err) && view_stat(view, file, 0, &now, err) &&
              set_locked(v, &record, a, &now, err);
    pthread_mutex_unlock(&v->write);
    return ok && volume_commit(v, file, err) && view_stat(view, file, 0, ret, err);
}
