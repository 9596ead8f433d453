/* Listing over NFS: pages of names and attributes, with limits on what a server may make of it. */
#include "drivers/area/nfs_int.h"

#include "agent/base/str.h"
#include <stdlib.h>
#include <string.h>

enum {
    BESIDE_MAX = 100000, /* directories and odd things, besides the files that are allowed */
    RESTARTS_MAX = 3,
};

struct found {
    char *name;
    struct nfs_attr attr;
    struct nfs_handle *dir; /* of a directory */
};

/* One directory while it is read. */
struct names {
    struct found *items;
    size_t count, capacity;
};

struct level {
    const struct level *above;
    struct nfs_attr attr; /* who it is, to find loops */
    int depth;
};

struct listing {
    struct nfs_op *op;
    struct area_list *list;
    size_t max_files;
    size_t seen, seen_max;
    struct str path;
};

struct paging {
    struct listing *listing;
    struct names *names;
    const struct nfs_handle *dir;
    struct nfs_page page;
};

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        own_free(names->items[i].name);
        own_free(names->items[i].dir);
    }
    own_free(names->items);
    *names = (struct names){0};
}
OWN_DEFINE_INPLACE(names, struct names, names_done);

static bool take_entry(void *arg, const struct nfs_entry *entry, struct err *err)
{
    struct paging *p = arg;
    struct listing *l = p->listing;
    if (str_equal(entry->name, ".") || str_equal(entry->name, ".."))
        return true;
    if (++l->seen > l->seen_max)
        return err_set(err, ERR_LIMIT, "more than %zu entries: a list without an end?",
                       l->seen_max);
    if (!own_grow((void **)&p->names->items, &p->names->capacity, p->names->count,
                  sizeof *p->names->items, err))
        return false;
    struct found found = {.attr = entry->attr, .name = own_strdup(entry->name, err)};
    if (!found.name)
        return false;
    if (entry->handle && entry->attr.known && entry->attr.kind == NFS_KIND_DIRECTORY) {
        found.dir = own_alloc(sizeof *found.dir, err);
        if (!found.dir) {
            own_free(found.name);
            return false;
        }
        *found.dir = *entry->handle;
    }
    p->names->items[p->names->count++] = found;
    return true;
}

static enum nfs_outcome try_page(struct nfs_op *op, void *arg, struct err *err)
{
    struct paging *p = arg;
    return nfs_call_list(&op->ask, p->dir, &p->page, err);
}

static int compare_found(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

/* A name may come twice when the directory changes meanwhile: once is enough. */
static void sort_names(struct names *names)
{
    size_t kept = 0;
    if (names->count)
        qsort(names->items, names->count, sizeof *names->items, compare_found);
    for (size_t i = 0; i < names->count; i++) {
        if (kept && str_equal(names->items[kept - 1].name, names->items[i].name)) {
            own_free(names->items[i].name);
            own_free(names->items[i].dir);
        } else {
            names->items[kept++] = names->items[i];
        }
    }
    names->count = kept;
}

static enum nfs_outcome read_pages(struct paging *p, struct err *err)
{
    for (;;) {
        uint64_t before = p->page.cookie;
        p->page.count = 0;
        enum nfs_outcome outcome = nfs_op_run(p->listing->op, try_page, p, err);
        if (outcome != NFS_DONE)
            return outcome;
        if (p->page.at_end)
            return NFS_DONE;
        if (p->page.count == 0 || p->page.cookie == before) {
            nfs_link_lied(p->listing->op->ask.link, err, "a page of a directory leads nowhere");
            return NFS_FAILED;
        }
    }
}

static enum nfs_outcome read_names(struct listing *l, const struct nfs_handle *dir,
                                   struct names *names, struct err *err)
{
    for (unsigned round = 1;; round++) {
        struct paging paging = {.listing = l, .names = names, .dir = dir};
        paging.page.entry = take_entry;
        paging.page.arg = &paging;
        names_done(names);
        enum nfs_outcome outcome = read_pages(&paging, err);
        if (outcome == NFS_DONE)
            sort_names(names);
        if (outcome != NFS_COOKIE || round == RESTARTS_MAX)
            return outcome;
    }
}

static bool list_dir(struct listing *l, const struct nfs_handle *dir, const struct level *level,
                     struct err *err);

static bool is_loop(const struct level *level, const struct nfs_attr *attr)
{
    for (; level; level = level->above)
        if (level->attr.fsid == attr->fsid && level->attr.fileid == attr->fileid)
            return true;
    return false;
}

static bool list_below(struct listing *l, const struct found *found, const struct level *level,
                       struct err *err)
{
    struct level below = {.above = level, .attr = found->attr, .depth = level->depth + 1};
    if (below.depth > AREA_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "directories nest deeper than %d levels", AREA_DEPTH_MAX);
    if (is_loop(level, &found->attr))
        return err_set(err, ERR_LIMIT, "directory '%.200s' contains itself", l->path.text);
    str_append(&l->path, "/");
    return list_dir(l, found->dir, &below, err);
}

/* Servers may leave attributes and handles out of a page. Gone meanwhile: *ret_gone. */
static bool complete(struct listing *l, const struct nfs_handle *dir, struct found *found,
                     bool *ret_gone, struct err *err)
{
    struct nfs_handle handle;
    struct err why = {0};
    *ret_gone = false;
    if (found->attr.known && (found->attr.kind != NFS_KIND_DIRECTORY || found->dir))
        return true;
    enum nfs_outcome outcome = nfs_look_up(l->op, dir, found->name, &handle, &found->attr, &why);
    *ret_gone = outcome == NFS_STALE || (outcome == NFS_FAILED && why.code == ERR_NOT_FOUND);
    if (*ret_gone)
        return true;
    if (outcome != NFS_DONE) {
        *err = why;
        return false;
    }
    if (found->attr.kind != NFS_KIND_DIRECTORY)
        return true;
    found->dir = own_alloc(sizeof *found->dir, err);
    if (!found->dir)
        return false;
    *found->dir = handle;
    return true;
}

static bool take_found(struct listing *l, const struct nfs_handle *dir, struct found *found,
                       const struct level *level, struct err *err)
{
    bool gone;
    if (!complete(l, dir, found, &gone, err))
        return false;
    if (gone)
        return true; /* as if it had been removed before */
    str_append(&l->path, found->name);
    if (!str_ok(&l->path, err))
        return false;
    bool is_file = found->attr.kind == NFS_KIND_FILE;
    bool is_dir = found->attr.kind == NFS_KIND_DIRECTORY;
    if (l->path.len >= AREA_PATH_MAX || !(is_file || is_dir))
        return area_list_add_odd(l->list, l->path.text, err);
    if (is_dir)
        return list_below(l, found, level, err);
    if (l->list->count >= l->max_files)
        return err_set(err, ERR_LIMIT, "more than %zu files", l->max_files);
    return area_list_add(l->list, l->path.text, found->attr.size, found->attr.mtime_us, err);
}

static bool list_dir(struct listing *l, const struct nfs_handle *dir, const struct level *level,
                     struct err *err)
{
    AUTO(names) struct names names = {0};
    struct err why = {0};
    struct nfs_handle known = *dir;
    enum nfs_outcome outcome = read_names(l, dir, &names, &why);
    if (outcome == NFS_STALE && level->depth == 0) { /* the export itself came back anew */
        struct nfs_attr ignored;
        if (!nfs_root(l->op, true, &known, &ignored, err))
            return false;
        outcome = read_names(l, &known, &names, &why);
    }
    bool gone = outcome == NFS_STALE || (outcome == NFS_FAILED && why.code == ERR_NOT_FOUND);
    if (gone && level->depth > 0)
        return true; /* as if it had been removed before */
    if (outcome != NFS_DONE) {
        *err = why;
        return err_wrap(err, "list '%.200s'", l->path.len ? l->path.text : ".");
    }
    size_t mark = l->path.len;
    for (size_t i = 0; i < names.count; i++) {
        if (!take_found(l, &known, &names.items[i], level, err))
            return false;
        l->path.len = mark;
        if (l->path.text)
            l->path.text[mark] = '\0';
    }
    return true;
}

bool nfs_list(void *state, size_t max_files, struct area_list *ret_list, struct err *err)
{
    struct nfs *nfs = state;
    AUTO(nfs_op) struct nfs_op op = {0};
    struct nfs_handle root;
    struct level top = {0};
    struct listing listing = {.op = &op, .list = ret_list, .max_files = max_files};
    listing.seen_max = max_files < SIZE_MAX - BESIDE_MAX ? max_files + BESIDE_MAX : SIZE_MAX;
    bool ok = nfs_op_begin(&op, nfs, NULL, err) && nfs_walk(&op, "", &root, &top.attr, err) &&
              list_dir(&listing, &root, &top, err);
    str_done(&listing.path);
    return ok || nfs_named(nfs, err);
}

enum nfs_outcome nfs_each_name(struct nfs_op *op, const struct nfs_handle *dir, size_t max,
                               nfs_name_fn *fn, void *arg, struct err *err)
{
    AUTO(names) struct names names = {0};
    struct listing listing = {.op = op, .seen_max = max};
    enum nfs_outcome outcome = read_names(&listing, dir, &names, err);
    for (size_t i = 0; outcome == NFS_DONE && i < names.count; i++) {
        bool gone;
        if (!complete(&listing, dir, &names.items[i], &gone, err) ||
            (!gone && !fn(arg, names.items[i].name, &names.items[i].attr, err)))
            outcome = NFS_FAILED;
    }
    return outcome;
}
