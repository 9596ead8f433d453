/* Areas that are directories of this host: read through openat2, never out of the directory. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/area/area.h"

#include <fcntl.h>
#include <string.h>

struct local {
    int root;
};

struct local_file {
    int fd;
    char path[]; /* for messages */
};

/* One listing on its way down. */
struct walk {
    struct area_list *list;
    size_t max_files;
    struct str path; /* of the directory at hand, with '/' at its end; empty for the root */
};

static uint64_t mtime_us(const struct stat *st)
{
    if (st->st_mtim.tv_sec < 0)
        return 0;
    return (uint64_t)st->st_mtim.tv_sec * 1000000 + (uint64_t)st->st_mtim.tv_nsec / 1000;
}

static bool walk_dir(struct walk *walk, int dir, int depth, struct err *err);

/* The name was a directory a moment ago. A link put in its place is odd, never followed. */
static bool walk_into(struct walk *walk, int dir, const char *name, int depth, struct err *err)
{
    struct err why = {0};
    AUTO(fd) int sub = sys_open_beneath(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &why);
    if (sub >= 0) {
        str_append(&walk->path, "/");
        return walk_dir(walk, sub, depth, err);
    }
    struct stat st;
    struct err gone = {0};
    if (!sys_lstat_at(dir, name, &st, &gone)) {
        if (gone.code == ERR_NOT_FOUND)
            return true;
        *err = gone;
        return false;
    }
    if (!S_ISDIR(st.st_mode))
        return area_list_add_odd(walk->list, walk->path.text, err);
    *err = why;
    return false;
}

static bool walk_name(struct walk *walk, int dir, const char *name, int depth, struct err *err)
{
    struct stat st;
    struct err gone = {0};
    if (!sys_lstat_at(dir, name, &st, &gone)) {
        if (gone.code == ERR_NOT_FOUND)
            return true; /* removed while we looked: as if it had been before */
        *err = gone;
        return false;
    }
    str_append(&walk->path, name);
    if (!str_ok(&walk->path, err))
        return false;
    if (walk->path.len >= AREA_PATH_MAX || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        return area_list_add_odd(walk->list, walk->path.text, err);
    if (S_ISDIR(st.st_mode))
        return walk_into(walk, dir, name, depth + 1, err);
    if (walk->list->count >= walk->max_files)
        return err_set(err, ERR_LIMIT, "more than %zu files", walk->max_files);
    return area_list_add(walk->list, walk->path.text, (uint64_t)st.st_size, mtime_us(&st), err);
}

static bool walk_dir(struct walk *walk, int dir, int depth, struct err *err)
{
    if (depth > AREA_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "directories nest deeper than %d levels", AREA_DEPTH_MAX);
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list_at(dir, walk->path.len ? walk->path.text : ".", &names, err))
        return false;
    size_t mark = walk->path.len;
    for (size_t i = 0; i < names.count; i++) {
        if (!walk_name(walk, dir, names.names[i], depth, err))
            return false;
        walk->path.len = mark;
        if (walk->path.text)
            walk->path.text[mark] = '\0';
    }
    return true;
}

static bool local_list(void *state, size_t max_files, struct area_list *ret_list, struct err *err)
{
    const struct local *local = state;
    struct walk walk = {.list = ret_list, .max_files = max_files};
    bool ok = walk_dir(&walk, local->root, 0, err);
    str_done(&walk.path);
    return ok;
}

static void local_file_close(void *state)
{
    struct local_file *file = state;
    if (file)
        own_auto_fd(&file->fd);
    own_free(file);
}
OWN_DEFINE(local_file, struct local_file, local_file_close);

static bool is_plain(int fd, const char *path, struct err *err)
{
    struct stat st;
    if (!sys_fstat(fd, &st, path, err))
        return false;
    return S_ISREG(st.st_mode) || err_set(err, ERR_INVALID, "'%s' is no plain file", path);
}

static void *local_file_open(void *state, const char *path, struct err *err)
{
    const struct local *local = state;
    /* Looked at through O_PATH first: opening a device or a pipe may already do something. */
    AUTO(fd) int peek = sys_open_beneath(local->root, path, O_PATH | O_NOFOLLOW, 0, err);
    if (peek < 0 || !is_plain(peek, path, err))
        return NULL;
    size_t size = sizeof(struct local_file) + strlen(path) + 1;
    AUTO(local_file) struct local_file *file = own_alloc(size, err);
    if (!file)
        return NULL;
    IGNORE(str_copy(file->path, strlen(path) + 1, path)); /* sized for it */
    file->fd = sys_open_beneath(local->root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
    if (file->fd < 0 || !is_plain(file->fd, path, err))
        return NULL;
    return TAKE(file);
}

static bool local_file_stat(void *state, uint64_t *ret_size, uint64_t *ret_mtime_us,
                            struct err *err)
{
    const struct local_file *file = state;
    struct stat st;
    if (!sys_fstat(file->fd, &st, file->path, err))
        return false;
    *ret_size = (uint64_t)st.st_size;
    *ret_mtime_us = mtime_us(&st);
    return true;
}

static ssize_t local_file_read(void *state, void *to, size_t size, uint64_t offset, struct err *err)
{
    const struct local_file *file = state;
    return sys_pread(file->fd, to, size, offset, file->path, err);
}

static void local_close(void *state)
{
    struct local *local = state;
    own_auto_fd(&local->root);
    own_free(local);
}

static const struct area_backend local_backend = {
    .list = local_list,
    .file_open = local_file_open,
    .file_stat = local_file_stat,
    .file_read = local_file_read,
    .file_close = local_file_close,
    .close = local_close,
};

struct area *area_open_path(const char *root, struct err *err)
{
    AUTO(fd) int fd = sys_open(root, O_RDONLY | O_DIRECTORY, 0, err);
    struct local *local = fd < 0 ? NULL : own_alloc(sizeof *local, err);
    if (!local)
        return NULL;
    local->root = fd;
    fd = -1;
    return area_new(&local_backend, local, err);
}
