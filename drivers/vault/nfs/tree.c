/* The live area of a volume or clone as an export's file tree. */
#include "drivers/vault/nfs/tree.h"

#include "agent/base/waiting.h"
#include "drivers/vault/volume/tree.h"
#include <string.h>

struct vault_tree {
    struct vault *vault;
    struct view *view;
};

static struct view *view_of(void *tree) { return ((struct vault_tree *)tree)->view; }

void *nfsd_vault_tree_open(struct vault *vault, const char *volume, uint64_t *ret_id,
                           struct err *err)
{
    AUTO(mem) struct vault_tree *tree = own_alloc(sizeof *tree, err);
    if (!tree)
        return NULL;
    tree->vault = vault;
    tree->view = view_open(vault, volume, NULL, NULL, err);
    if (!tree->view)
        return NULL;
    *ret_id = view_volume_id(tree->view);
    return TAKE(tree);
}

static void serve_close(void *tree)
{
    view_close(view_of(tree));
    own_free(tree);
}

static bool serve_stat(void *tree, uint64_t file, uint32_t generation, struct view_file *ret,
                       struct err *err)
{
    return view_stat(view_of(tree), file, generation, ret, err);
}

static bool serve_lookup(void *tree, uint64_t folder, const char *name, struct view_file *ret,
                         struct err *err)
{
    return view_lookup(view_of(tree), folder, name, ret, err);
}

static bool serve_list(void *tree, uint64_t folder, uint64_t cookie, view_entry *fn, void *arg,
                       bool *ret_end, struct err *err)
{
    return view_list(view_of(tree), folder, cookie, fn, arg, ret_end, err);
}

static bool serve_create(void *tree, const struct view_caller *caller, uint64_t folder,
                         const char *name, uint8_t kind, const char *target,
                         const struct view_attributes *attributes, struct view_file *ret,
                         struct view_change *ret_folder, struct err *err)
{
    return view_create(view_of(tree), caller, folder, name, kind, target, attributes, ret,
                       ret_folder, err);
}

static bool serve_link(void *tree, const struct view_caller *caller, uint64_t file, uint64_t folder,
                       const char *name, struct view_file *ret, struct view_change *ret_folder,
                       struct err *err)
{
    return view_link(view_of(tree), caller, file, folder, name, ret, ret_folder, err);
}

static bool serve_remove(void *tree, const struct view_caller *caller, uint64_t folder,
                         const char *name, bool folder_wanted, struct view_change *ret_folder,
                         struct err *err)
{
    return view_remove(view_of(tree), caller, folder, name, folder_wanted, ret_folder, err);
}

static bool serve_rename(void *tree, const struct view_caller *caller, uint64_t from_folder,
                         const char *from, uint64_t to_folder, const char *to,
                         struct view_change *ret_from, struct view_change *ret_to, struct err *err)
{
    return view_rename(view_of(tree), caller, from_folder, from, to_folder, to, ret_from, ret_to,
                       err);
}

static bool serve_set(void *tree, const struct view_caller *caller, uint64_t file,
                      const struct view_attributes *attributes, struct view_change *ret_change,
                      struct err *err)
{
    struct view_file now;
    return view_set(view_of(tree), caller, file, attributes, &now, ret_change, err);
}

static bool serve_readlink(void *tree, uint64_t file, char *ret, size_t size, struct err *err)
{
    return view_readlink(view_of(tree), file, ret, size, err);
}

/* Watched, as is a WRITE, for what cannot say before that it will take long. What else asks a disk
 * is slow from the start. */
static ssize_t serve_read(void *tree, uint64_t file, void *to, size_t size, uint64_t offset,
                          struct err *err)
{
    waiting_watch_begin();
    ssize_t got = view_read(view_of(tree), file, to, size, offset, err);
    waiting_watch_end();
    return got;
}

static bool serve_write(void *tree, uint64_t file, const void *from, size_t size, uint64_t offset,
                        bool stable, struct view_change *ret_change, struct err *err)
{
    waiting_watch_begin();
    bool ok = view_write(view_of(tree), file, from, size, offset, stable, ret_change, err);
    waiting_watch_end();
    return ok;
}

static bool serve_commit(void *tree, uint64_t file, struct view_change *ret_change, struct err *err)
{
    return view_commit(view_of(tree), file, ret_change, err);
}

/* The store's room: the box passes on to it what it holds. A bucket knows no end. */
static bool serve_space(void *tree, struct nfsd_space *ret, struct err *err)
{
    enum { ENDLESS_SHIFT = 50 };
    struct vault *vault = ((struct vault_tree *)tree)->vault;
    uint64_t total = UINT64_MAX, room = UINT64_MAX;
    if (!io_space(store_io(vault_store(vault)), &total, &room, err))
        return false;
    const uint64_t endless = (uint64_t)1 << ENDLESS_SHIFT;
    uint64_t files = view_files(view_of(tree));
    *ret = (struct nfsd_space){.total_bytes = total == UINT64_MAX ? endless : total,
                               .free_bytes = room == UINT64_MAX ? endless : room,
                               .total_files = TREE_FILES_MAX,
                               .free_files = files < TREE_FILES_MAX ? TREE_FILES_MAX - files : 0};
    return true;
}

const struct nfsd_tree_ops nfsd_vault_tree = {.stat = serve_stat,
                                              .lookup = serve_lookup,
                                              .list = serve_list,
                                              .create = serve_create,
                                              .link = serve_link,
                                              .remove = serve_remove,
                                              .rename = serve_rename,
                                              .set = serve_set,
                                              .readlink = serve_readlink,
                                              .read = serve_read,
                                              .write = serve_write,
                                              .commit = serve_commit,
                                              .space = serve_space,
                                              .close = serve_close};
