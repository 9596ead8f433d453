/* Views: the files of a live area or a snapshot, looked at. */
#include "agent/base/str.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

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

uint64_t view_files(struct view *view)
{
    pthread_mutex_lock(&view->vault->lock);
    uint64_t count = view_tree(view)->count;
    pthread_mutex_unlock(&view->vault->lock);
    return count;
}

void view_show(const struct entry *entry, struct view_file *ret)
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
                              .atime_us = entry->atime_us & ENTRY_EXCLUSIVE ? entry->mtime_us
                                                                            : entry->atime_us};
}

/* By whatever name: what it names, and where the name is. */
static void show_name(const struct tree *tree, const struct entry *entry, struct view_file *ret)
{
    view_show(tree_named(tree, entry), ret);
    ret->parent = entry->parent;
}

static bool show_found(const struct tree *tree, const struct entry *entry, const char *name,
                       uint64_t file, struct view_file *ret, struct err *err)
{
    if (entry)
        show_name(tree, entry, ret);
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
    const struct entry *entry = tree_file(view_tree(view), file);
    if (entry && generation && entry->generation != generation)
        entry = NULL;
    bool ok = show_found(view_tree(view), entry, NULL, file, ret, err);
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
    ok = ok && show_found(tree, entry, name, 0, ret, err);
    pthread_mutex_unlock(&view->vault->lock);
    return ok;
}

bool view_find(struct view *view, const char *path, struct view_file *ret, struct err *err)
{
    pthread_mutex_lock(&view->vault->lock);
    const struct tree *tree = view_tree(view);
    bool ok = show_found(tree, tree_at(tree, path), path, 0, ret, err);
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
        show_name(&tree, entry, &file);
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
