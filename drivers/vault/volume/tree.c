/* The names of a volume: three indexes that are changed together. */
#include "drivers/vault/volume/tree.h"
#include "agent/base/str.h"
#include <string.h>

enum { DEPTH_MAX = TREE_PATH_MAX / 2 + 1 };

/* Files whose names have one hash; hardly ever more than one. */
struct bucket {
    struct item item;
    uint64_t files[];
};

static size_t bucket_count(const struct bucket *bucket)
{
    return bucket ? (bucket->item.bytes - sizeof *bucket) / sizeof bucket->files[0] : 0;
}

static uint64_t name_hash(const struct tree *tree, const char *name)
{
    return format_sum(tree->seed, name, strlen(name));
}

struct tree tree_copy(const struct tree *tree)
{
    struct tree copy = *tree;
    copy.files = index_copy(&tree->files);
    copy.names = index_copy(&tree->names);
    copy.children = index_copy(&tree->children);
    copy.links = index_copy(&tree->links);
    return copy;
}

void tree_done(struct tree *tree)
{
    index_done(&tree->files);
    index_done(&tree->names);
    index_done(&tree->children);
    index_done(&tree->links);
}

/* What was done on a copy becomes the tree, or nothing does. */
static bool adopt(struct tree *tree, struct tree *copy, bool ok)
{
    if (ok) {
        struct tree old = *tree;
        *tree = *copy;
        *copy = old;
    }
    return ok;
}

const struct entry *tree_find(const struct tree *tree, uint64_t number)
{
    return index_get(&tree->files, number, 0);
}

const struct entry *tree_file(const struct tree *tree, uint64_t file)
{
    const struct entry *entry = tree_find(tree, file);
    return entry && entry->kind != INODE_LINK ? entry : NULL;
}

const struct entry *tree_named(const struct tree *tree, const struct entry *entry)
{
    return entry && entry->kind == INODE_LINK ? tree_find(tree, entry->target) : entry;
}

const struct entry *tree_child(const struct tree *tree, uint64_t folder, const char *name)
{
    const struct bucket *bucket = index_get(&tree->names, folder, name_hash(tree, name));
    for (size_t i = 0; i < bucket_count(bucket); i++) {
        const struct entry *entry = tree_find(tree, bucket->files[i]);
        if (entry && entry->parent == folder && strcmp(entry->name, name) == 0)
            return entry;
    }
    return NULL;
}

const struct entry *tree_after(const struct tree *tree, uint64_t folder, uint64_t cookie)
{
    uint64_t a = 0, file = 0;
    if (!index_after(&tree->children, folder, cookie, &a, &file, NULL) || a != folder)
        return NULL;
    return tree_find(tree, file);
}

const struct entry *tree_at(const struct tree *tree, const char *path)
{
    const struct entry *at = tree_find(tree, INODE_ROOT);
    while (at && *path) {
        size_t len = strcspn(path, "/");
        char name[INODE_NAME_MAX + 1];
        if (!inode_name_is_valid(path, len) || at->kind != INODE_DIRECTORY)
            return NULL;
        memcpy(name, path, len);
        name[len] = '\0';
        at = tree_child(tree, at->file, name);
        path += len;
        if (*path == '/' && !*++path)
            return NULL;
    }
    return at;
}

bool tree_path(const struct tree *tree, uint64_t file, char *ret, size_t size, struct err *err)
{
    size_t at = size - 1;
    ret[at] = '\0';
    const struct entry *first = tree_find(tree, file);
    uint64_t a = 0, link = 0;
    if (first && !first->parent && index_after(&tree->links, file, 0, &a, &link, NULL) && a == file)
        first = tree_find(tree, link);
    for (const struct entry *e = first; e && e->file != INODE_ROOT;
         e = tree_find(tree, e->parent)) {
        size_t need = e->name_len + (ret[at] ? 1u : 0u);
        if (need > at)
            return err_set(err, ERR_LIMIT, "the path of file %llu is too long",
                           (unsigned long long)file);
        if (ret[at])
            ret[--at] = '/';
        at -= e->name_len;
        memcpy(ret + at, e->name, e->name_len);
    }
    memmove(ret, ret + at, size - at);
    return true;
}

static bool name_add(struct tree *tree, const struct entry *entry, struct err *err)
{
    uint64_t hash = name_hash(tree, entry->name);
    const struct bucket *old = index_get(&tree->names, entry->parent, hash);
    size_t count = bucket_count(old);
    struct bucket *bucket = item_new(sizeof *bucket + (count + 1) * sizeof bucket->files[0], err);
    if (!bucket)
        return false;
    if (old)
        memcpy(bucket->files, old->files, count * sizeof bucket->files[0]);
    bucket->files[count] = entry->file;
    return index_put(&tree->names, entry->parent, hash, bucket, err) &&
           index_put(&tree->children, entry->parent, entry->file, NULL, err);
}

static bool name_remove(struct tree *tree, const struct entry *entry, struct err *err)
{
    uint64_t hash = name_hash(tree, entry->name);
    const struct bucket *old = index_get(&tree->names, entry->parent, hash);
    size_t count = bucket_count(old), kept = 0;
    if (!index_remove(&tree->children, entry->parent, entry->file, err))
        return false;
    if (count <= 1)
        return index_remove(&tree->names, entry->parent, hash, err);
    struct bucket *bucket = item_new(sizeof *bucket + (count - 1) * sizeof bucket->files[0], err);
    if (!bucket)
        return false;
    for (size_t i = 0; i < count && kept < count - 1; i++)
        if (old->files[i] != entry->file)
            bucket->files[kept++] = old->files[i];
    return index_put(&tree->names, entry->parent, hash, bucket, err);
}

static struct entry *entry_new(const struct inode *inode, struct err *err)
{
    struct entry *e = item_new(sizeof *e + inode->name_len + 1u, err);
    if (!e)
        return NULL;
    e->file = inode->file;
    e->parent = inode->parent;
    e->target = inode->target;
    e->generation = inode->generation;
    e->kind = inode->kind;
    e->mode = inode->mode;
    e->uid = inode->uid;
    e->gid = inode->gid;
    e->links = inode->links;
    e->size = inode->size;
    e->mtime_us = inode->mtime_us;
    e->ctime_us = inode->ctime_us;
    e->atime_us = inode->atime_us;
    e->name_len = inode->name_len;
    memcpy(e->name, inode->name, inode->name_len);
    return e;
}

void tree_show(const struct entry *entry, struct inode *ret)
{
    *ret = (struct inode){.file = entry->file,
                          .parent = entry->parent,
                          .target = entry->target,
                          .generation = entry->generation,
                          .kind = entry->kind,
                          .mode = entry->mode,
                          .uid = entry->uid,
                          .gid = entry->gid,
                          .links = entry->links,
                          .size = entry->size,
                          .mtime_us = entry->mtime_us,
                          .ctime_us = entry->ctime_us,
                          .atime_us = entry->atime_us,
                          .name_len = entry->name_len};
    memcpy(ret->name, entry->name, entry->name_len);
}

bool tree_init(struct tree *tree, uint64_t seed, uint64_t time_us, struct err *err)
{
    struct inode root = {.file = INODE_ROOT,
                         .parent = INODE_ROOT,
                         .generation = 1,
                         .kind = INODE_DIRECTORY,
                         .mode = 0755,
                         .links = 2,
                         .mtime_us = time_us,
                         .ctime_us = time_us,
                         .atime_us = time_us};
    struct tree fresh = {.seed = seed, .next_file = INODE_ROOT + 1, .count = 1};
    struct entry *entry = entry_new(&root, err);
    if (!entry || !index_put(&fresh.files, INODE_ROOT, 0, entry, err))
        return false;
    *tree = fresh;
    return true;
}

struct entry *tree_own(struct tree *tree, uint64_t file, struct err *err)
{
    return index_own(&tree->files, file, 0, err);
}

static uint64_t held(const struct entry *entry)
{
    return entry->kind == INODE_FILE ? entry->size : 0;
}

uint64_t tree_later(const struct tree *tree, uint64_t now, const uint64_t *files, size_t count)
{
    const struct entry *entry;
    for (size_t i = 0; i < count; i++)
        if ((entry = tree_named(tree, tree_find(tree, files[i]))) && now <= entry->ctime_us)
            now = entry->ctime_us + 1;
    for (size_t i = 0; i < count;) {
        entry = tree_named(tree, tree_find(tree, files[i]));
        bool same = entry && entry->mtime_us == now;
        now += same;
        i = same ? 0 : i + 1;
    }
    return now;
}

bool tree_resize(struct tree *tree, uint64_t file, uint64_t size, uint64_t mtime_us,
                 uint64_t ctime_us, struct err *err)
{
    struct err own = {0};
    struct entry *entry = tree_own(tree, file, &own);
    if (!entry) {
        if (own.code != ERR_NONE)
            *err = own;
        return own.code == ERR_NONE;
    }
    tree->bytes -= held(entry);
    entry->size = size;
    tree->bytes += held(entry);
    entry->mtime_us = mtime_us;
    if (entry->ctime_us < ctime_us)
        entry->ctime_us = ctime_us;
    return true;
}

/* The folder's times and how many folders are in it. */
static bool folder_changed(struct tree *tree, uint64_t folder, int folders, uint64_t time_us,
                           struct err *err)
{
    struct entry *entry = tree_own(tree, folder, err);
    if (!entry)
        return false;
    entry->links += (uint32_t)folders;
    entry->mtime_us = entry->ctime_us = time_us;
    return true;
}

static const struct entry *folder_of(const struct tree *tree, uint64_t folder, const char *name,
                                     struct err *err)
{
    const struct entry *entry = tree_find(tree, folder);
    if (!entry)
        return err_set(err, ERR_NOT_FOUND, "no folder %llu", (unsigned long long)folder), NULL;
    if (entry->kind != INODE_DIRECTORY)
        return err_set(err, ERR_PRECONDITION, "'%s' is no folder", entry->name), NULL;
    if (!inode_name_is_valid(name, strlen(name)))
        return err_set(err, ERR_INVALID, "'%s' cannot be a name", name), NULL;
    if (tree_child(tree, folder, name))
        return err_set(err, ERR_EXISTS, "'%s' is there", name), NULL;
    return entry;
}

static size_t depth_bytes(const struct tree *tree, uint64_t folder)
{
    size_t bytes = 0;
    for (const struct entry *e = tree_find(tree, folder);
         e && e->file != INODE_ROOT && bytes <= TREE_PATH_MAX; e = tree_find(tree, e->parent))
        bytes += e->name_len + 1u;
    return bytes;
}

static bool may_add(const struct tree *tree, const struct inode *inode, struct err *err)
{
    if (!folder_of(tree, inode->parent, inode->name, err))
        return false;
    if (tree->count > TREE_FILES_MAX) /* the root counts */
        return err_set(err, ERR_LIMIT, "a volume holds at most %d files", TREE_FILES_MAX);
    return depth_bytes(tree, inode->parent) + inode->name_len <= TREE_PATH_MAX ||
           err_set(err, ERR_LIMIT, "the path of '%s' is too long", inode->name);
}

/* An entry and its name. */
static bool put_new(struct tree *tree, struct entry *entry, uint64_t time_us, struct err *err)
{
    if (!entry)
        return false;
    bool folder = entry->kind == INODE_DIRECTORY;
    uint64_t number = entry->file, parent = entry->parent;
    entry->links = folder ? 2 : 1;
    tree->count++;
    tree->bytes += held(entry);
    if (tree->next_file <= number)
        tree->next_file = number + 1;
    if (!name_add(tree, entry, err)) {
        item_unref(entry);
        return false;
    }
    return index_put(&tree->files, number, 0, entry, err) &&
           folder_changed(tree, parent, folder, time_us, err);
}

bool tree_add(struct tree *tree, const struct inode *inode, uint64_t time_us, struct err *err)
{
    if (!may_add(tree, inode, err))
        return false;
    AUTO(tree) struct tree work = tree_copy(tree);
    bool ok = put_new(&work, entry_new(inode, err), time_us, err);
    return adopt(tree, &work, ok);
}

/* How many names a file has, and that this is a change of it. */
static bool links_changed(struct tree *tree, uint64_t file, int names, uint64_t time_us,
                          struct err *err)
{
    struct entry *entry = tree_own(tree, file, err);
    if (!entry)
        return false;
    entry->links += (uint32_t)names;
    entry->ctime_us = time_us;
    return true;
}

bool tree_link(struct tree *tree, const struct inode *inode, uint64_t time_us, struct err *err)
{
    const struct entry *target = tree_file(tree, inode->target);
    if (!target)
        return err_set(err, ERR_NOT_FOUND, "no file %llu", (unsigned long long)inode->target);
    if (target->kind == INODE_DIRECTORY)
        return err_set(err, ERR_PRECONDITION, "'%s' is a folder", target->name);
    if (target->kind != INODE_FILE)
        return err_set(err, ERR_UNSUPPORTED, "only regular files have several names");
    if (!may_add(tree, inode, err))
        return false;
    if (target->links >= TREE_LINKS_MAX)
        return err_set(err, ERR_LIMIT, "a file has at most %d names", TREE_LINKS_MAX);
    AUTO(tree) struct tree work = tree_copy(tree);
    bool ok = put_new(&work, entry_new(inode, err), time_us, err) &&
              index_put(&work.links, inode->target, inode->file, NULL, err) &&
              links_changed(&work, inode->target, 1, time_us, err);
    return adopt(tree, &work, ok);
}

static bool file_gone(struct tree *tree, const struct entry *entry, struct err *err)
{
    tree->count--;
    tree->bytes -= held(entry);
    return index_remove(&tree->files, entry->file, 0, err);
}

/* A further name; its file too when it was the last one. */
static bool link_gone(struct tree *tree, const struct entry *entry, uint64_t time_us,
                      struct err *err)
{
    const struct entry *file = tree_find(tree, entry->target);
    bool last = file && file->links <= 1;
    if (!file || !index_remove(&tree->links, entry->target, entry->file, err))
        return false;
    bool ok = last ? file_gone(tree, file, err) : links_changed(tree, file->file, -1, time_us, err);
    return ok && file_gone(tree, entry, err);
}

/* A file's own name, while it has others. */
static bool name_gone(struct tree *tree, const struct entry *entry, uint64_t time_us,
                      struct err *err)
{
    struct inode bare;
    tree_show(entry, &bare);
    bare.parent = 0;
    bare.name_len = 0;
    bare.links--;
    bare.ctime_us = time_us;
    struct entry *fresh = entry_new(&bare, err);
    return fresh && index_put(&tree->files, bare.file, 0, fresh, err);
}

bool tree_remove(struct tree *tree, uint64_t number, uint64_t time_us, struct err *err)
{
    const struct entry *entry = tree_find(tree, number);
    if (!entry || !entry->parent || number == INODE_ROOT)
        return err_set(err, ERR_NOT_FOUND, "no file %llu", (unsigned long long)number);
    if (tree_after(tree, number, 0))
        return err_set(err, ERR_EXISTS, "folder '%s' is not empty", entry->name);
    AUTO(tree) struct tree work = tree_copy(tree);
    bool ok =
        name_remove(&work, entry, err) &&
        folder_changed(&work, entry->parent, entry->kind == INODE_DIRECTORY ? -1 : 0, time_us, err);
    if (entry->kind == INODE_LINK)
        ok = ok && link_gone(&work, entry, time_us, err);
    else if (entry->kind == INODE_FILE && entry->links > 1)
        ok = ok && name_gone(&work, entry, time_us, err);
    else
        ok = ok && file_gone(&work, entry, err);
    return adopt(tree, &work, ok);
}

static bool is_below(const struct tree *tree, uint64_t folder, uint64_t above)
{
    for (const struct entry *e = tree_find(tree, folder); e; e = tree_find(tree, e->parent)) {
        if (e->file == above)
            return true;
        if (e->file == INODE_ROOT)
            return false;
    }
    return false;
}

/* The longest path below a folder, its slash first; no more is looked at once it is above `most`.
 */
static size_t below_bytes(const struct tree *tree, uint64_t folder, size_t most)
{
    size_t longest = 0, above = 0;
    uint64_t at = folder, last = 0;
    for (;;) {
        const struct entry *entry = tree_after(tree, at, last);
        if (entry) {
            size_t bytes = above + 1 + entry->name_len;
            longest = bytes > longest ? bytes : longest;
            if (longest > most)
                return longest;
            last = entry->file;
            if (entry->kind == INODE_DIRECTORY) {
                at = entry->file;
                above = bytes;
                last = 0;
            }
        } else if (at == folder) {
            return longest;
        } else {
            entry = tree_find(tree, at);
            above -= 1u + entry->name_len;
            last = at;
            at = entry->parent;
        }
    }
}

/* Also of what hangs below. */
static bool path_fits(const struct tree *tree, const struct entry *moved, uint64_t folder,
                      const char *name, struct err *err)
{
    size_t bytes = depth_bytes(tree, folder) + strlen(name);
    size_t before = depth_bytes(tree, moved->parent) + moved->name_len;
    bool fits = bytes <= TREE_PATH_MAX;
    if (fits && bytes > before && moved->kind == INODE_DIRECTORY)
        fits = bytes + below_bytes(tree, moved->file, TREE_PATH_MAX - bytes) <= TREE_PATH_MAX;
    return fits || err_set(err, ERR_LIMIT, "the path of '%s' is too long", name);
}

bool tree_rename(struct tree *tree, uint64_t number, uint64_t folder, const char *name,
                 uint64_t time_us, struct err *err)
{
    const struct entry *old = tree_find(tree, number);
    if (!old || !old->parent || number == INODE_ROOT)
        return err_set(err, ERR_NOT_FOUND, "no file %llu", (unsigned long long)number);
    if (!folder_of(tree, folder, name, err))
        return false;
    if (is_below(tree, folder, number))
        return err_set(err, ERR_INVALID, "folder '%s' cannot go into itself", old->name);
    if (!path_fits(tree, old, folder, name, err))
        return false;
    AUTO(tree) struct tree work = tree_copy(tree);
    struct inode moved;
    tree_show(old, &moved);
    moved.parent = folder;
    moved.ctime_us = time_us;
    moved.name_len = (uint8_t)strlen(name);
    IGNORE(str_copy(moved.name, sizeof moved.name, name));
    struct entry *entry = entry_new(&moved, err);
    if (!entry)
        return false;
    int folders = old->kind == INODE_DIRECTORY;
    bool ok = name_remove(&work, old, err) &&
              folder_changed(&work, old->parent, -folders, time_us, err) &&
              name_add(&work, entry, err);
    if (!ok)
        item_unref(entry);
    ok = ok && index_put(&work.files, number, 0, entry, err) &&
         folder_changed(&work, folder, folders, time_us, err) &&
         (moved.kind != INODE_LINK || links_changed(&work, moved.target, 0, time_us, err));
    return adopt(tree, &work, ok);
}

bool tree_load(struct tree *tree, const struct inode *inode, struct err *err)
{
    bool root = inode->file == INODE_ROOT, named = inode->name_len > 0;
    bool bare = !root && !named;
    if ((root && (named || inode->kind != INODE_DIRECTORY)) ||
        (bare ? inode->kind != INODE_FILE || inode->parent : !inode->parent) ||
        inode->file == INODE_TABLE)
        return err_set(err, ERR_CORRUPT, "slot %llu of a file table makes no sense",
                       (unsigned long long)inode->file);
    if (!root && tree->count > TREE_FILES_MAX)
        return err_set(err, ERR_CORRUPT, "a file table has more than %d files", TREE_FILES_MAX);
    struct entry *entry = entry_new(inode, err);
    if (!entry)
        return false;
    if (!root) {
        tree->count++;
        tree->bytes += held(entry);
        if ((named && !name_add(tree, entry, err)) ||
            (entry->kind == INODE_LINK &&
             !index_put(&tree->links, entry->target, entry->file, NULL, err))) {
            item_unref(entry);
            return false;
        }
    }
    if (tree->next_file <= inode->file)
        tree->next_file = inode->file + 1;
    return index_put(&tree->files, inode->file, 0, entry, err);
}

static bool hangs_on_root(const struct tree *tree, const struct entry *entry)
{
    for (int depth = 0; depth <= DEPTH_MAX; depth++) {
        if (entry->file == INODE_ROOT)
            return true;
        entry = tree_find(tree, entry->parent);
        if (!entry || entry->kind != INODE_DIRECTORY)
            return false;
    }
    return false;
}

/* A file's names are as many as it says; a further name is one of a file. */
static bool names_fit(const struct tree *tree, const struct entry *entry)
{
    const struct entry *named = tree_named(tree, entry);
    uint64_t a = 0, link = 0;
    uint32_t further = 0;
    if (entry->kind == INODE_LINK)
        return named && named->kind == INODE_FILE;
    while (index_after(&tree->links, entry->file, link, &a, &link, NULL) && a == entry->file)
        further++;
    return (entry->parent && further == 0) ||
           (further > 0 && entry->links == further + (entry->parent ? 1 : 0));
}

bool tree_load_end(struct tree *tree, struct err *err)
{
    uint64_t file = 0, b = 0;
    void *item = NULL;
    while (index_after(&tree->files, file, b, &file, &b, &item)) {
        const struct entry *entry = item;
        bool hangs = !entry->parent || hangs_on_root(tree, entry);
        if (!hangs || !names_fit(tree, entry) ||
            (file != INODE_ROOT && entry->parent &&
             tree_child(tree, entry->parent, entry->name) != entry))
            return err_set(err, ERR_CORRUPT, "file %llu of a file table hangs on nothing",
                           (unsigned long long)file);
    }
    return true;
}
