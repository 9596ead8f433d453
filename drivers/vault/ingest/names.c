/* Names: the volume gets the source's folders and files, and loses the others. */
#include "agent/base/str.h"
#include "drivers/vault/ingest/ingest_int.h"
#include <stdlib.h>
#include <string.h>

static const struct view_caller nobody;

/* ---- what the source has ---- */

static int by_path(const void *path, const void *file)
{
    return strcmp(path, ((const struct area_file *)file)->path);
}

static bool has_file(const struct ingest *in, const char *path)
{
    return in->list.count &&
           bsearch(path, in->list.files, in->list.count, sizeof *in->list.files, by_path);
}

/* Whether a file lies below the folder; "path/" is the least such path. */
static bool has_folder(const struct ingest *in, const char *path)
{
    size_t low = 0, high = in->list.count, len = strlen(path);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *other = in->list.files[middle].path;
        int order = strncmp(other, path, len);
        if (order < 0 || (order == 0 && (unsigned char)other[len] < '/'))
            low = middle + 1;
        else
            high = middle;
    }
    return low < in->list.count && strncmp(in->list.files[low].path, path, len) == 0 &&
           in->list.files[low].path[len] == '/';
}

bool names_fit(const char *path)
{
    for (const char *part = path;; part++) {
        const char *end = strchrnul(part, '/');
        if (!inode_name_is_valid(part, (size_t)(end - part)))
            return false;
        if (!*end)
            return true;
        part = end;
    }
}

/* ---- what the volume has ---- */

struct child {
    uint64_t file;
    uint8_t kind;
    char *name;
};
struct children {
    struct child *rows;
    size_t count, capacity;
    struct err err;
};

static void children_done(struct children *c)
{
    for (size_t i = 0; i < c->count; i++)
        own_free(c->rows[i].name);
    own_free(c->rows);
}
OWN_DEFINE_INPLACE(children, struct children, children_done);

static bool add_child(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    struct children *c = arg;
    (void)cookie;
    if (!own_grow((void **)&c->rows, &c->capacity, c->count, sizeof *c->rows, &c->err))
        return false;
    char *copy = own_strdup(name, &c->err);
    if (copy)
        c->rows[c->count++] = (struct child){file->file, file->kind, copy};
    return copy;
}

static bool list_children(struct ingest *in, uint64_t folder, struct children *ret, struct err *err)
{
    bool end = false;
    if (!view_list(in->view, folder, 0, add_child, ret, &end, err))
        return false;
    if (ret->err.code)
        *err = ret->err;
    return !ret->err.code;
}

static bool tidy_folder(struct ingest *in, uint64_t folder, const char *above, struct err *err);

static bool tidy_child(struct ingest *in, uint64_t folder, const struct child *child,
                       const char *above, struct err *err)
{
    AUTO(mem)
    char *path = own_printf(err, "%s%s%s", above, *above ? "/" : "", child->name);
    bool is_folder = child->kind == INODE_DIRECTORY;
    if (!path || ingest_is_cancelled(in, err) ||
        (is_folder && !tidy_folder(in, child->file, path, err)))
        return false;
    if (is_folder ? has_folder(in, path) : child->kind == INODE_FILE && has_file(in, path))
        return true;
    in->report->removed += !is_folder;
    return view_remove(in->view, &nobody, folder, child->name, is_folder, NULL, err);
}

static bool tidy_folder(struct ingest *in, uint64_t folder, const char *above, struct err *err)
{
    AUTO(children) struct children c = {0};
    bool ok = list_children(in, folder, &c, err);
    for (size_t i = 0; ok && i < c.count; i++)
        ok = tidy_child(in, folder, &c.rows[i], above, err);
    return ok;
}

bool names_tidy(struct ingest *in, struct err *err) { return tidy_folder(in, VIEW_ROOT, "", err); }

/* ---- making and removing one ---- */

static bool is_missing(const struct err *found, struct err *err)
{
    if (found->code != ERR_NOT_FOUND)
        *err = *found;
    return found->code == ERR_NOT_FOUND;
}

bool names_make(struct ingest *in, const char *path, uint64_t mtime_us, struct view_file *ret,
                struct err *err)
{
    AUTO(mem) char *parts = own_strdup(path, err);
    uint64_t folder = VIEW_ROOT;
    for (char *cursor = parts; cursor;) {
        const char *name = str_field(&cursor, '/');
        uint8_t kind = cursor ? INODE_DIRECTORY : INODE_FILE;
        struct err found = {0};
        bool there = view_lookup(in->view, folder, name, ret, &found);
        if (!there && !is_missing(&found, err))
            return false;
        /* Here each name is a file of its own. */
        bool shared = there && ret->kind == INODE_FILE && ret->links > 1;
        if (!there || shared) {
            struct view_attributes a = {.set_mtime = !cursor, .mtime_us = mtime_us};
            if ((shared && !view_remove(in->view, &nobody, folder, name, false, NULL, err)) ||
                !view_create(in->view, &nobody, folder, name, kind, NULL, &a, ret, NULL, err))
                return false;
            in->report->made += !cursor;
        }
        folder = ret->file;
    }
    return parts;
}

bool names_remove(struct ingest *in, const char *path, struct err *err)
{
    struct view_file file;
    struct err found = {0};
    if (!view_find(in->view, path, &file, &found))
        return is_missing(&found, err);
    const char *slash = strrchr(path, '/');
    in->report->removed++;
    return view_remove(in->view, &nobody, file.parent, slash ? slash + 1 : path, false, NULL, err);
}
