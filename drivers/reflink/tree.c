/* Trees of cloned files: walked by descriptor, so that nothing below can lead us out. */
#include "drivers/reflink/tree.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/area/area.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

enum { ODD_NAMES_MAX = 1000, ODD_BYTES_MAX = 256 << 10, PROBE_BYTES = 4096 };

enum entry { ENTRY_ERROR, ENTRY_GONE, ENTRY_ODD, ENTRY_FILE, ENTRY_DIR };

/* The directories at hand. */
struct level {
    int from, to;
    const char *path; /* from the top, for names in messages; "" at the top */
    int depth;
};

static enum entry kind_of(const struct stat *st)
{
    if (S_ISREG(st->st_mode))
        return ENTRY_FILE;
    return S_ISDIR(st->st_mode) ? ENTRY_DIR : ENTRY_ODD;
}

static enum entry look(int dir, const char *name, struct err *err)
{
    struct stat st;
    struct err why = {0};
    if (sys_lstat_at(dir, name, &st, &why))
        return kind_of(&st);
    if (why.code == ERR_NOT_FOUND)
        return ENTRY_GONE;
    *err = why;
    return ENTRY_ERROR;
}

/* Opens a file or directory without following or waiting for anything, whoever swaps names. */
static enum entry open_entry(int dir, const char *name, int *ret_fd, struct stat *ret_stat,
                             struct err *err)
{
    enum entry kind = look(dir, name, err);
    if (kind != ENTRY_FILE && kind != ENTRY_DIR)
        return kind;
    struct err why = {0};
    AUTO(fd)
    int fd = sys_open_beneath(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, &why);
    if (fd < 0) {
        enum entry now = look(dir, name, err);
        if (now == ENTRY_FILE || now == ENTRY_DIR) {
            *err = why;
            return ENTRY_ERROR;
        }
        return now;
    }
    if (!sys_fstat(fd, ret_stat, name, err))
        return ENTRY_ERROR;
    kind = kind_of(ret_stat);
    if (kind != ENTRY_ODD) {
        *ret_fd = fd;
        fd = -1;
    }
    return kind;
}

static void escape(struct str *to, const char *path)
{
    for (const unsigned char *p = (const unsigned char *)path; *p; p++)
        if (*p > ' ' && *p < 127 && *p != '%')
            str_append_n(to, p, 1);
        else
            str_printf(to, "%%%02X", *p);
}

static bool note_odd(struct tree_copy *copy, const char *path, struct err *err)
{
    copy->odd_count++;
    AUTO(str) struct str name = {0};
    escape(&name, path);
    if (!str_ok(&name, err))
        return false;
    copy->odd_bytes += name.len;
    if (!copy->odd || copy->odd_count > ODD_NAMES_MAX || copy->odd_bytes > ODD_BYTES_MAX)
        return true;
    return json_add(copy->odd, json_string(name.text), err);
}

static mode_t mode_for(const struct tree_copy *copy, const struct stat *st)
{
    mode_t read = S_ISDIR(st->st_mode) ? 0550 : 0440;
    return copy->frozen ? (st->st_mode & 0555) | read : (st->st_mode & 0777) | read | 0200;
}

bool tree_copy_attributes(int to, const struct tree_copy *copy, const struct stat *st,
                          const char *name, struct err *err)
{
    /* Else the copies belong to the agent's user, who could not give them away. */
    if (sys_has_capability(CAP_CHOWN) && !sys_fchown(to, st->st_uid, st->st_gid, name, err))
        return false;
    return sys_fchmod(to, mode_for(copy, st), name, err) &&
           sys_set_time(to, &st->st_mtim, name, err);
}

/* Devices are compared for the hint only: btrfs clones between subvolumes, whose devices differ. */
static bool clone_bytes(int to, int from, const struct stat *st, const char *name, struct err *err)
{
    struct stat target;
    struct err why = {0};
    if (!sys_fstat(to, &target, name, err))
        return false;
    if (sys_clone_file(to, from, name, &why))
        return true;
    *err = why;
    bool apart = target.st_dev != st->st_dev && why.code == ERR_IO;
    if (!apart && why.code != ERR_UNSUPPORTED && why.code != ERR_INVALID)
        return false;
    err->code = ERR_UNSUPPORTED;
    return err_wrap(err, apart ? "on another file system; hint: keep volumes on the root's, or use "
                                 "the driver 'vault'"
                               : "hint: use the driver 'vault' where files cannot be cloned");
}

static bool clone_open_file(int from, const struct stat *st, int to_dir, const char *name,
                            struct tree_copy *copy, struct err *err)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    AUTO(fd) int to = sys_open_beneath(to_dir, name, flags, 0600, err);
    if (to < 0 || !clone_bytes(to, from, st, name, err) ||
        !tree_copy_attributes(to, copy, st, name, err))
        return false;
    struct stat now;
    if (!sys_fstat(to, &now, name, err))
        return false;
    copy->files++;
    copy->bytes += (uint64_t)now.st_size;
    return sys_close(&to, err);
}

static bool clone_level(const struct level *level, struct tree_copy *copy, struct err *err);

static bool clone_dir(const struct level *above, int from, const struct stat *st, const char *name,
                      const char *path, struct tree_copy *copy, struct err *err)
{
    if (above->depth >= AREA_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "directories nest deeper than %d levels", AREA_DEPTH_MAX);
    if (!sys_mkdir_at(above->to, name, 0700, err))
        return false;
    AUTO(fd) int to = sys_open_beneath(above->to, name, O_RDONLY | O_DIRECTORY, 0, err);
    struct level below = {.from = from, .to = to, .path = path, .depth = above->depth + 1};
    return to >= 0 && clone_level(&below, copy, err) &&
           tree_copy_attributes(to, copy, st, name, err);
}

static bool clone_entry(const struct level *level, const char *name, struct tree_copy *copy,
                        struct err *err)
{
    AUTO(mem)
    char *path = *level->path ? own_printf(err, "%s/%s", level->path, name) : own_strdup(name, err);
    if (!path)
        return false;
    if (strlen(path) >= AREA_PATH_MAX)
        return note_odd(copy, path, err);
    AUTO(fd) int from = -1;
    struct stat st;
    switch (open_entry(level->from, name, &from, &st, err)) {
    case ENTRY_GONE:
        return copy->source_lives || err_set(err, ERR_NOT_FOUND, "'%s' went away", path);
    case ENTRY_ODD:
        return note_odd(copy, path, err);
    case ENTRY_FILE:
        return clone_open_file(from, &st, level->to, name, copy, err);
    case ENTRY_DIR:
        return clone_dir(level, from, &st, name, path, copy, err);
    default:
        return false;
    }
}

static bool clone_level(const struct level *level, struct tree_copy *copy, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list_at(level->from, *level->path ? level->path : ".", &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++)
        if (!clone_entry(level, names.names[i], copy, err))
            return false;
    return true;
}

bool tree_clone(int from, int to, struct tree_copy *copy, struct err *err)
{
    struct level top = {.from = from, .to = to, .path = ""};
    struct stat st;
    return sys_fstat(from, &st, "the area", err) && clone_level(&top, copy, err) &&
           tree_copy_attributes(to, copy, &st, "the area", err);
}

/* Opens the directory of that name, made when it is missing. -1 on error. */
static int make_dir(int above, const char *name, const struct tree_copy *copy, struct err *err)
{
    struct err why = {0};
    bool made = sys_mkdir_at(above, name, 0700, &why);
    if (!made && why.code != ERR_EXISTS) {
        *err = why;
        return -1;
    }
    AUTO(fd) int dir = sys_open_beneath(above, name, O_RDONLY | O_DIRECTORY, 0, err);
    if (dir < 0 || (made && !tree_copy_attributes(dir, copy, copy->like, name, err)))
        return -1;
    int opened = dir;
    dir = -1;
    return opened;
}

/* The directory that will hold the last part of path; made where missing. -1 on error. */
static int make_parents(int to, const char *path, const struct tree_copy *copy, struct err *err)
{
    AUTO(mem) char *parts = own_strdup(path, err);
    int dir = parts ? sys_openat(to, ".", O_RDONLY | O_DIRECTORY, 0, err) : -1;
    char *cursor = parts;
    for (char *part = dir < 0 ? NULL : str_field(&cursor, '/'); part && cursor;
         part = str_field(&cursor, '/')) {
        int next = make_dir(dir, part, copy, err);
        close(dir);
        if (next < 0)
            return -1;
        dir = next;
    }
    return dir;
}

bool tree_clone_file(int from, const char *path, int to, const char *to_path,
                     struct tree_copy *copy, struct err *err)
{
    AUTO(fd) int source = -1;
    struct stat st;
    switch (open_entry(from, path, &source, &st, err)) {
    case ENTRY_ERROR:
        return false;
    case ENTRY_GONE:
        return err_set(err, ERR_NOT_FOUND, "no file '%s'", path);
    case ENTRY_FILE:
        break;
    default:
        return err_set(err, ERR_INVALID, "'%s' is no plain file", path);
    }
    AUTO(fd) int dir = make_parents(to, to_path, copy, err);
    const char *slash = strrchr(to_path, '/');
    return dir >= 0 && clone_open_file(source, &st, dir, slash ? slash + 1 : to_path, copy, err);
}

/* After all was cloned: the first sync writes the log, the later ones find it written. */
bool tree_sync(int dir, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list_at(dir, "the copy", &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        AUTO(fd) int fd = sys_open_beneath(dir, name, O_RDONLY | O_NOFOLLOW, 0, err);
        struct stat st;
        if (fd < 0 || !sys_fstat(fd, &st, name, err))
            return false;
        if (S_ISDIR(st.st_mode) ? !tree_sync(fd, err) : !sys_fsync(fd, name, err))
            return false;
    }
    return sys_fsync(dir, "the copy", err);
}

void tree_thaw(int dir)
{
    struct err ignored = {0};
    AUTO(sys_names) struct sys_names names = {0};
    if (sys_has_capability(CAP_DAC_OVERRIDE) || !sys_fchmod(dir, 0700, "the copy", &ignored) ||
        !sys_list_at(dir, "the copy", &names, &ignored))
        return;
    for (size_t i = 0; i < names.count; i++) {
        int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
        AUTO(fd) int sub = sys_open_beneath(dir, names.names[i], flags, 0, &ignored);
        if (sub >= 0)
            tree_thaw(sub);
    }
}

static bool probe_at(int dir, const char *from_name, const char *to_name, struct err *err)
{
    static const char page[PROBE_BYTES] = "probe";
    int flags = O_RDWR | O_CREAT | O_EXCL;
    AUTO(fd) int from = sys_openat(dir, from_name, flags, 0600, err);
    if (from < 0 || !sys_pwrite(from, page, sizeof page, 0, from_name, err))
        return false;
    AUTO(fd) int to = sys_openat(dir, to_name, flags, 0600, err);
    return to >= 0 && sys_clone_file(to, from, to_name, err);
}

bool tree_probe(const char *path, struct err *err)
{
    uint8_t noise[8];
    char hex[2 * sizeof noise + 1];
    char names[2][48];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, hex);
    for (int i = 0; i < 2; i++)
        str_format(names[i], sizeof names[i], ".tmp-probe-%s-%d", hex, i);
    AUTO(fd) int dir = sys_open(path, O_RDONLY | O_DIRECTORY, 0, err);
    if (dir < 0)
        return false;
    struct err why = {0};
    bool ok = probe_at(dir, names[0], names[1], &why);
    for (int i = 0; i < 2; i++)
        IGNORE(unlinkat(dir, names[i], 0)); /* may not be there; swept otherwise */
    if (ok || why.code == ERR_NO_SPACE)
        return true; /* a full disk must not keep us from deleting */
    *err = why;
    if (why.code != ERR_UNSUPPORTED && why.code != ERR_INVALID)
        return false;
    return err_set(err, ERR_UNSUPPORTED,
                   "files in '%s' cannot be cloned; hint: use the driver "
                   "'vault', or a file system with reflinks (XFS, btrfs)",
                   path);
}
