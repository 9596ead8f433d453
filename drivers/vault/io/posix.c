/* Objects as files of a directory: whole by a rename from a temporary name beside them, durable by
 * the sync of file and folder; nothing below the root is ever reached through a link. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/io/backends.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#define TEMPORARY ".tmp-"

enum { KNOWN_MAX = 8192, SWEEP_DEPTH = 16 };

struct posix {
    int root;
    pthread_mutex_t lock;
    char **known; /* folders whose whole path is on disk, as this process made sure */
    size_t known_count, known_capacity;
};

struct posix_writer {
    int dir, fd; /* -1 */
    uint64_t bytes;
    char last[IO_NAME_MAX], temporary[32];
};

static void forget_known(struct posix *p)
{
    for (size_t i = 0; i < p->known_count; i++)
        own_free(p->known[i]);
    p->known_count = 0;
}

static void posix_close(void *state)
{
    struct posix *p = state;
    if (!p)
        return;
    forget_known(p);
    own_free(p->known);
    own_auto_fd(&p->root);
    pthread_mutex_destroy(&p->lock);
    own_free(p);
}
OWN_DEFINE(posix, struct posix, posix_close);

static int open_folder(struct posix *p, const char *folder, struct err *err)
{
    return sys_open_beneath(p->root, folder[0] ? folder : ".", O_RDONLY | O_DIRECTORY, 0, err);
}

/* "a/b/c": folder "a/b", last "c"; "c": folder "". */
static const char *split_name(const char *name, char folder[IO_NAME_MAX])
{
    str_copy(folder, IO_NAME_MAX, name);
    char *slash = strrchr(folder, '/');
    if (!slash) {
        folder[0] = '\0';
        return name;
    }
    *slash = '\0';
    return name + (slash - folder) + 1;
}

/* ---- folders ---- */

static bool is_known(const struct posix *p, const char *folder)
{
    for (size_t i = 0; i < p->known_count; i++)
        if (str_equal(p->known[i], folder))
            return true;
    return false;
}

/* Only saves work: without memory it is asked again. */
static void make_known(struct posix *p, const char *folder)
{
    struct err ignored = {0};
    if (p->known_count >= KNOWN_MAX)
        forget_known(p);
    if (own_grow((void **)&p->known, &p->known_capacity, p->known_count, sizeof *p->known,
                 &ignored) &&
        (p->known[p->known_count] = own_strdup(folder, &ignored)))
        p->known_count++;
}

/* Makes each part that is missing and syncs each parent: also of a part that an earlier process
 * made and died before its sync. */
static bool make_parts(struct posix *p, const char *folder, struct err *err)
{
    char path[IO_NAME_MAX];
    str_copy(path, sizeof path, folder);
    AUTO(fd) int dir = open_folder(p, "", err);
    for (char *part = path, *next; dir >= 0 && part; part = next) {
        next = strchr(part, '/');
        if (next)
            *next++ = '\0';
        struct err why = {0};
        if (!sys_mkdir_at(dir, part, 0700, &why) && why.code != ERR_EXISTS) {
            *err = why;
            return false;
        }
        if (!sys_fsync(dir, part, err))
            return false;
        int below = sys_open_beneath(dir, part, O_RDONLY | O_DIRECTORY, 0, err);
        own_auto_fd(&dir);
        dir = below;
    }
    return dir >= 0;
}

/* Held through making: whoever finds a folder known finds it on disk. */
static bool ensure_folder(struct posix *p, const char *folder, struct err *err)
{
    if (!folder[0])
        return true;
    pthread_mutex_lock(&p->lock);
    bool ok = is_known(p, folder) || make_parts(p, folder, err);
    if (ok && !is_known(p, folder))
        make_known(p, folder);
    pthread_mutex_unlock(&p->lock);
    return ok;
}

/* ---- writing ---- */

static void posix_abandon(void *writer)
{
    struct posix_writer *w = writer;
    if (!w)
        return;
    struct err ignored = {0};
    if (w->fd >= 0)
        IGNORE(sys_unlink_at(w->dir, w->temporary, &ignored)); /* io_sweep finds it */
    own_auto_fd(&w->fd);
    own_auto_fd(&w->dir);
    own_free(w);
}
OWN_DEFINE(posix_writer, struct posix_writer, posix_abandon);

static void *posix_create(void *state, const char *name, struct err *err)
{
    struct posix *p = state;
    char folder[IO_NAME_MAX];
    const char *last = split_name(name, folder);
    AUTO(posix_writer) struct posix_writer *w = own_alloc(sizeof *w, err);
    if (!w)
        return NULL;
    w->dir = w->fd = -1;
    str_copy(w->last, sizeof w->last, last);
    uint8_t noise[8];
    clock_random(noise, sizeof noise);
    str_copy(w->temporary, sizeof w->temporary, TEMPORARY);
    str_hex(noise, sizeof noise, w->temporary + strlen(TEMPORARY));
    if (!ensure_folder(p, folder, err) || (w->dir = open_folder(p, folder, err)) < 0)
        return NULL;
    w->fd = sys_openat(w->dir, w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, err);
    return w->fd < 0 ? NULL : TAKE(w);
}

static bool posix_append(void *writer, const void *bytes, size_t len, struct err *err)
{
    struct posix_writer *w = writer;
    if (!sys_pwrite(w->fd, bytes, len, w->bytes, w->last, err))
        return false;
    w->bytes += len;
    return true;
}

/* Of two at once one wins: by the rename that does not replace, else by a hard link. */
static bool move_new(struct posix_writer *w, struct err *err)
{
    struct err why = {0};
    if (sys_rename_at(w->dir, w->temporary, w->last, false, &why))
        return true;
    if (why.code == ERR_INVALID || why.code == ERR_UNSUPPORTED) {
        err_clear(&why);
        if (sys_link_at(w->dir, w->temporary, w->last, &why))
            return sys_unlink_at(w->dir, w->temporary, err);
    }
    *err = why;
    return false;
}

/* From the rename on the object is there; only how long is open when the folder does not sync. */
static bool publish(struct posix_writer *w, enum io_put how, struct err *err)
{
    struct err why = {0};
    if (!sys_fsync(w->fd, w->last, err))
        return false;
    if (how == IO_NEW ? !move_new(w, err)
                      : !sys_rename_at(w->dir, w->temporary, w->last, true, err)) {
        /* "It is there" is a promise too: whoever put it may not have got its name to disk. */
        if (err->code == ERR_EXISTS && !sys_fsync(w->dir, w->last, &why))
            return err_set(err, ERR_UNAVAILABLE, "there, but perhaps not for long: %s", why.text);
        return false;
    }
    own_auto_fd(&w->fd);
    w->fd = -1;
    return sys_fsync(w->dir, w->last, &why) ||
           err_set(err, ERR_UNAVAILABLE, "written, but perhaps not for long: %s", why.text);
}

static bool posix_finish(void *writer, struct err *err)
{
    AUTO(posix_writer) struct posix_writer *w = writer;
    return publish(w, IO_NEW, err);
}

static bool posix_put(void *state, const char *name, const void *bytes, size_t len, enum io_put how,
                      struct err *err)
{
    AUTO(posix_writer) struct posix_writer *w = posix_create(state, name, err);
    return w && posix_append(w, bytes, len, err) && publish(w, how, err);
}

/* ---- reading ---- */

/* O_NONBLOCK: a named pipe in an object's place must be refused, not waited for. */
static int open_object(struct posix *p, const char *name, struct err *err)
{
    return sys_open_beneath(p->root, name, O_RDONLY | O_NONBLOCK, 0, err);
}

static ssize_t posix_read(void *state, const char *name, void *to, size_t size, uint64_t offset,
                          struct err *err)
{
    AUTO(fd) int fd = open_object(state, name, err);
    return fd < 0 ? -1 : sys_pread(fd, to, size, offset, name, err);
}

static bool posix_size(void *state, const char *name, uint64_t *ret_bytes, struct err *err)
{
    AUTO(fd) int fd = open_object(state, name, err);
    struct stat st;
    if (fd < 0 || !sys_fstat(fd, &st, name, err))
        return false;
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "'%s' is no plain file", name);
    *ret_bytes = (uint64_t)st.st_size;
    return true;
}

static bool posix_remove(void *state, const char *name, struct err *err)
{
    char folder[IO_NAME_MAX];
    const char *last = split_name(name, folder);
    AUTO(fd) int dir = open_folder(state, folder, err);
    return dir >= 0 && sys_unlink_at(dir, last, err) && sys_fsync(dir, folder, err);
}

/* Calls fn with the names in a folder; one that is missing has none. */
typedef bool each_fn(void *arg, int dir, const char *name, const struct stat *st, struct err *err);

static bool each_name(int dir, const char *folder, each_fn *fn, void *arg, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list_at(dir, folder, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        struct stat st;
        struct err why = {0};
        if (!sys_lstat_at(dir, names.names[i], &st, &why)) {
            if (why.code == ERR_NOT_FOUND)
                continue;
            *err = why;
            return false;
        }
        if (!fn(arg, dir, names.names[i], &st, err))
            return false;
    }
    return true;
}

static bool add_entry(void *arg, int dir, const char *name, const struct stat *st, struct err *err)
{
    (void)dir;
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        return true; /* no object of ours */
    return io_list_add(arg, name, (uint64_t)st->st_size, S_ISDIR(st->st_mode), err);
}

/* -1 without an error when there is no such folder. */
static int find_folder(struct posix *p, const char *folder, struct err *err)
{
    struct err why = {0};
    int dir = open_folder(p, folder, &why);
    if (dir < 0 && why.code != ERR_NOT_FOUND)
        *err = why;
    return dir;
}

static bool posix_list(void *state, const char *folder, struct io_list *ret_list, struct err *err)
{
    struct err why = {0};
    AUTO(fd) int dir = find_folder(state, folder, &why);
    if (dir >= 0)
        return each_name(dir, folder, add_entry, ret_list, err);
    if (why.code)
        *err = why;
    return !why.code;
}

struct sweep {
    uint32_t swept;
    int depth;
};

static bool sweep_entry(void *arg, int dir, const char *name, const struct stat *st,
                        struct err *err)
{
    struct sweep *sweep = arg;
    if (!S_ISDIR(st->st_mode)) {
        if (!str_starts(name, TEMPORARY))
            return true;
        sweep->swept++;
        return sys_unlink_at(dir, name, err);
    }
    if (sweep->depth >= SWEEP_DEPTH)
        return true; /* deeper than any name of ours */
    AUTO(fd) int below = sys_open_beneath(dir, name, O_RDONLY | O_DIRECTORY, 0, err);
    if (below < 0)
        return false;
    sweep->depth++;
    bool ok = each_name(below, name, sweep_entry, sweep, err);
    sweep->depth--;
    return ok;
}

static bool posix_sweep(void *state, const char *folder, uint32_t *ret_swept, struct err *err)
{
    struct err why = {0};
    struct sweep sweep = {0};
    AUTO(fd) int dir = find_folder(state, folder, &why);
    bool ok = dir < 0 ? !why.code : each_name(dir, folder, sweep_entry, &sweep, &why);
    if (ok)
        *ret_swept = sweep.swept;
    else
        *err = why;
    return ok;
}

static bool posix_space(void *state, uint64_t *ret_total, uint64_t *ret_free, struct err *err)
{
    const struct posix *p = state;
    struct statvfs st;
    if (!sys_fstatvfs(p->root, &st, "the store", err))
        return false;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    return true;
}

static const struct io_backend backend = {
    .name = "posix",
    .put = posix_put,
    .create = posix_create,
    .append = posix_append,
    .finish = posix_finish,
    .abandon = posix_abandon,
    .read = posix_read,
    .size = posix_size,
    .remove = posix_remove,
    .list = posix_list,
    .space = posix_space,
    .sweep = posix_sweep,
    .close = posix_close,
};

/* The parent is synced also for a root that is there: its maker may have died before that. */
static bool make_root(const char *path, struct err *err)
{
    struct err why = {0};
    bool made = sys_mkdir(path, 0700, &why);
    if (!made && why.code != ERR_EXISTS) {
        *err = why;
        return false;
    }
    char parent[PATH_MAX];
    if (!str_copy(parent, sizeof parent, path))
        return err_set(err, ERR_INVALID, "path is too long: '%.80s...'", path);
    for (size_t len = strlen(parent); len > 1 && parent[len - 1] == '/'; len--)
        parent[len - 1] = '\0';
    *(strrchr(parent, '/') + 1) = '\0';
    if (sys_fsync_dir(parent, &why) || (!made && why.code == ERR_DENIED))
        return true;
    *err = why;
    return false;
}

struct io *io_posix_open(const char *url, const struct io_option *options, size_t count,
                         struct err *err)
{
    if (count > 0) {
        err_set(err, ERR_CONFIG, "store '%s': a directory has no option '%s'", url, options[0].key);
        return NULL;
    }
    AUTO(posix) struct posix *p = own_alloc(sizeof *p, err);
    if (!p)
        return NULL;
    p->root = -1;
    pthread_mutex_init(&p->lock, NULL);
    if (!make_root(url, err) || (p->root = sys_open(url, O_RDONLY | O_DIRECTORY, 0, err)) < 0) {
        err_wrap(err, "store '%s'", url);
        return NULL;
    }
    return io_new(&backend, IO_CAN_SPACE, TAKE(p), url, err);
}
