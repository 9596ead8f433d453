/* System calls that touch files: one door, with a fault that tests can set. */
#include "agent/base/sys.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys_hold.h"
#include "agent/base/sys_record.h"
#include "agent/base/waiting.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic long fault_nth;
static _Atomic long fault_count;
static _Atomic int fault_errno;
static _Atomic long short_nth;
static _Atomic long short_count;
static _Atomic int short_errno;

long sys_fault(long nth, int errno_value)
{
    long seen = fault_count;
    fault_count = 0;
    fault_errno = errno_value;
    fault_nth = nth;
    return seen;
}

/* Every call asks here first; true means "this one fails", with errno set. */
static bool fault_hits(void)
{
    long nth = fault_nth;
    if (nth <= 0 || ++fault_count != nth)
        return false;
    errno = fault_errno;
    return true;
}

long sys_short(long nth, int errno_value)
{
    long seen = short_count;
    short_count = 0;
    short_errno = errno_value;
    short_nth = nth;
    if (nth == 0)
        IGNORE(sys_fault(0, 0) < 0);
    return seen;
}

/* How much of it the coming read or write moves. */
static size_t share_of(size_t size)
{
    long nth = short_nth;
    if (nth <= 0 || ++short_count != nth)
        return size;
    if (short_errno)
        IGNORE(sys_fault(2, short_errno) < 0); /* the coming call is the first one */
    return size - size / 2;
}

#define SYS_TRY(call)                                                                              \
    ({                                                                                             \
        __typeof__(call) sys_rc = -1;                                                              \
        if (!fault_hits())                                                                         \
            do                                                                                     \
                sys_rc = (call);                                                                   \
            while (sys_rc == -1 && errno == EINTR);                                                \
        sys_rc;                                                                                    \
    })

/* As SYS_TRY; what went well is noted while a test records. */
#define SYS_NOTED(call, note)                                                                      \
    ({                                                                                             \
        bool sys_noting = sys_note_begin();                                                        \
        __typeof__(call) sys_result = SYS_TRY(call);                                               \
        if (sys_noting) {                                                                          \
            int sys_errno = errno;                                                                 \
            if (sys_result >= 0)                                                                   \
                note;                                                                              \
            sys_note_end();                                                                        \
            errno = sys_errno;                                                                     \
        }                                                                                          \
        sys_result;                                                                                \
    })

int sys_open(const char *path, int flags, mode_t mode, struct err *err)
{
    return sys_openat(AT_FDCWD, path, flags, mode, err);
}

int sys_openat(int dir, const char *name, int flags, mode_t mode, struct err *err)
{
    sys_hold_point(SYS_HOLD_OPEN, name);
    int fd =
        SYS_NOTED(openat(dir, name, flags | O_CLOEXEC, mode), sys_note_open(sys_result, flags));
    if (fd < 0)
        err_errno(err, errno, "open '%s'", name);
    return fd;
}

/* -1 with errno. */
static int open_beneath(int dir, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = resolve | RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)SYS_NOTED(syscall(SYS_openat2, dir, path, &how, sizeof how),
                          sys_note_open((int)sys_result, flags));
}

int sys_open_beneath(int dir, const char *path, int flags, mode_t mode, struct err *err)
{
    int fd = open_beneath(dir, path, flags, mode, 0);
    if (fd < 0)
        err_errno(err, errno, "open '%s'", path);
    return fd;
}

bool sys_close(int *fd, struct err *err)
{
    int closing = *fd;
    *fd = -1;
    if (closing >= 0 && (close(closing) != 0 || fault_hits()))
        return err_errno(err, errno, "close");
    return true;
}

/* What is in memory is read at once; before the disk is waited for, who listens is told. */
static ssize_t read_at(int fd, void *to, size_t size, off_t offset)
{
    if (waiting_is_heard()) {
        struct iovec part = {to, size};
        ssize_t n = preadv2(fd, &part, 1, offset, RWF_NOWAIT);
        if (n >= 0)
            return n;
        if (errno == EAGAIN)
            waiting_begins();
    }
    return pread(fd, to, size, offset);
}

ssize_t sys_pread(int fd, void *to, size_t size, uint64_t offset, const char *what, struct err *err)
{
    size_t done = 0;
    while (done < size) {
        size_t share = share_of(size - done);
        ssize_t n = SYS_TRY(read_at(fd, (char *)to + done, share, (off_t)(offset + done)));
        if (n < 0) {
            err_errno(err, errno, "read '%s'", what);
            return -1;
        }
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

bool sys_pwrite(int fd, const void *from, size_t size, uint64_t offset, const char *what,
                struct err *err)
{
    size_t done = 0;
    sys_hold_point(SYS_HOLD_WRITE, what);
    while (done < size) {
        size_t share = share_of(size - done);
        ssize_t n = SYS_NOTED(
            pwrite(fd, (const char *)from + done, share, (off_t)(offset + done)),
            sys_note_write(fd, (const char *)from + done, (size_t)sys_result, offset + done));
        if (n < 0)
            return err_errno(err, errno, "write '%s'", what);
        done += (size_t)n;
    }
    return true;
}

bool sys_write(int fd, const void *from, size_t size, const char *what, struct err *err)
{
    size_t done = 0;
    sys_hold_point(SYS_HOLD_WRITE, what);
    while (done < size) {
        size_t share = share_of(size - done);
        ssize_t n = SYS_NOTED(write(fd, (const char *)from + done, share),
                              sys_note_write(fd, (const char *)from + done, (size_t)sys_result,
                                             (uint64_t)(lseek(fd, 0, SEEK_CUR) - sys_result)));
        if (n < 0)
            return err_errno(err, errno, "write '%s'", what);
        done += (size_t)n;
    }
    return true;
}

bool sys_fsync(int fd, const char *what, struct err *err)
{
    waiting_begins();
    sys_hold_point(SYS_HOLD_SYNC, what);
    return SYS_NOTED(fsync(fd), sys_note_fd(SYS_OP_SYNC, fd, 0)) == 0 ||
           err_errno(err, errno, "sync '%s'", what);
}

bool sys_fdatasync(int fd, const char *what, struct err *err)
{
    waiting_begins();
    sys_hold_point(SYS_HOLD_SYNC, what);
    return SYS_NOTED(fdatasync(fd), sys_note_fd(SYS_OP_SYNC, fd, 0)) == 0 ||
           err_errno(err, errno, "sync '%s'", what);
}

void sys_write_back(int fd)
{
    IGNORE(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE)); /* only saves time at the sync */
}

bool sys_truncate(int fd, uint64_t size, const char *what, struct err *err)
{
    return SYS_NOTED(ftruncate(fd, (off_t)size), sys_note_fd(SYS_OP_TRUNCATE, fd, size)) == 0 ||
           err_errno(err, errno, "cut '%s'", what);
}

bool sys_fsync_dir(const char *path, struct err *err)
{
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0, err);
    return fd >= 0 && sys_fsync(fd, path, err);
}

bool sys_rename(const char *from, const char *to, struct err *err)
{
    return SYS_NOTED(rename(from, to), sys_note_paths(SYS_OP_RENAME, AT_FDCWD, from, to)) == 0 ||
           err_errno(err, errno, "rename '%s' to '%s'", from, to);
}

bool sys_rename_new(const char *from, const char *to, struct err *err)
{
    return SYS_NOTED(renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE),
                     sys_note_paths(SYS_OP_RENAME, AT_FDCWD, from, to)) == 0 ||
           err_errno(err, errno, "rename '%s' to '%s'", from, to);
}

bool sys_rename_at(int dir, const char *from, const char *to, bool replace, struct err *err)
{
    return SYS_NOTED(renameat2(dir, from, dir, to, replace ? 0 : RENAME_NOREPLACE),
                     sys_note_paths(SYS_OP_RENAME, dir, from, to)) == 0 ||
           err_errno(err, errno, "rename '%s' to '%s'", from, to);
}

bool sys_link_at(int dir, const char *from, const char *to, struct err *err)
{
    return SYS_NOTED(linkat(dir, from, dir, to, 0), sys_note_paths(SYS_OP_LINK, dir, from, to)) ==
               0 ||
           err_errno(err, errno, "link '%s' to '%s'", from, to);
}

bool sys_unlink_at(int dir, const char *name, struct err *err)
{
    return SYS_NOTED(unlinkat(dir, name, 0), sys_note_path(SYS_OP_UNLINK, dir, name)) == 0 ||
           err_errno(err, errno, "remove '%s'", name);
}

bool sys_unlink(const char *path, struct err *err)
{
    return SYS_NOTED(unlink(path), sys_note_path(SYS_OP_UNLINK, AT_FDCWD, path)) == 0 ||
           err_errno(err, errno, "remove '%s'", path);
}

bool sys_rmdir(const char *path, struct err *err)
{
    return SYS_NOTED(rmdir(path), sys_note_path(SYS_OP_RMDIR, AT_FDCWD, path)) == 0 ||
           err_errno(err, errno, "remove directory '%s'", path);
}

bool sys_mkdir(const char *path, mode_t mode, struct err *err)
{
    return SYS_NOTED(mkdir(path, mode), sys_note_path(SYS_OP_MKDIR, AT_FDCWD, path)) == 0 ||
           err_errno(err, errno, "create directory '%s'", path);
}

bool sys_mkdir_at(int dir, const char *name, mode_t mode, struct err *err)
{
    return SYS_NOTED(mkdirat(dir, name, mode), sys_note_path(SYS_OP_MKDIR, dir, name)) == 0 ||
           err_errno(err, errno, "create directory '%s'", name);
}

bool sys_symlink_at(const char *target, int dir, const char *name, struct err *err)
{
    return SYS_TRY(symlinkat(target, dir, name)) == 0 ||
           err_errno(err, errno, "create link '%s'", name);
}

bool sys_mkdirs(const char *path, mode_t mode, struct err *err)
{
    char part[PATH_MAX];
    if (!str_copy(part, sizeof part, path))
        return err_set(err, ERR_INVALID, "path is too long: '%.80s...'", path);
    for (char *p = part; *p; p++) {
        if (*p != '/' || p == part)
            continue;
        *p = '\0';
        if (SYS_NOTED(mkdir(part, mode), sys_note_path(SYS_OP_MKDIR, AT_FDCWD, part)) != 0 &&
            errno != EEXIST)
            return err_errno(err, errno, "create directory '%s'", part);
        *p = '/';
    }
    if (SYS_NOTED(mkdir(part, mode), sys_note_path(SYS_OP_MKDIR, AT_FDCWD, part)) == 0)
        return true;
    struct stat st;
    if (errno == EEXIST && stat(part, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    return err_errno(err, errno == EEXIST ? ENOTDIR : errno, "create directory '%s'", path);
}

bool sys_stat(const char *path, struct stat *ret_stat, struct err *err)
{
    return SYS_TRY(stat(path, ret_stat)) == 0 || err_errno(err, errno, "look at '%s'", path);
}

bool sys_lstat(const char *path, struct stat *ret_stat, struct err *err)
{
    return SYS_TRY(lstat(path, ret_stat)) == 0 || err_errno(err, errno, "look at '%s'", path);
}

bool sys_lstat_at(int dir, const char *name, struct stat *ret_stat, struct err *err)
{
    return SYS_TRY(fstatat(dir, name, ret_stat, AT_SYMLINK_NOFOLLOW)) == 0 ||
           err_errno(err, errno, "look at '%s'", name);
}

bool sys_read_link_at(int dir, const char *name, char *ret, size_t size, struct err *err)
{
    ssize_t n = SYS_TRY(readlinkat(dir, name, ret, size));
    if (n < 0)
        return err_errno(err, errno, "read link '%s'", name);
    if ((size_t)n >= size)
        return err_set(err, ERR_LIMIT, "link '%s' is too long", name);
    ret[n] = '\0';
    return true;
}

bool sys_fstat(int fd, struct stat *ret_stat, const char *what, struct err *err)
{
    return SYS_TRY(fstat(fd, ret_stat)) == 0 || err_errno(err, errno, "look at '%s'", what);
}

bool sys_statvfs(const char *path, struct statvfs *ret_stat, struct err *err)
{
    return SYS_TRY(statvfs(path, ret_stat)) == 0 ||
           err_errno(err, errno, "ask space of '%s'", path);
}

bool sys_fstatvfs(int fd, struct statvfs *ret_stat, const char *what, struct err *err)
{
    return SYS_TRY(fstatvfs(fd, ret_stat)) == 0 || err_errno(err, errno, "ask space of '%s'", what);
}

bool sys_clone_file(int to, int from, const char *what, struct err *err)
{
    return SYS_TRY(ioctl(to, FICLONE, from)) == 0 || err_errno(err, errno, "clone '%s'", what);
}

bool sys_chmod(const char *path, mode_t mode, struct err *err)
{
    return SYS_TRY(chmod(path, mode)) == 0 || err_errno(err, errno, "change mode of '%s'", path);
}

bool sys_fchmod(int fd, mode_t mode, const char *what, struct err *err)
{
    return SYS_TRY(fchmod(fd, mode)) == 0 || err_errno(err, errno, "change mode of '%s'", what);
}

bool sys_fchown(int fd, uid_t uid, gid_t gid, const char *what, struct err *err)
{
    return SYS_TRY(fchown(fd, uid, gid)) == 0 ||
           err_errno(err, errno, "change owner of '%s'", what);
}

bool sys_set_time(int fd, const struct timespec *time, const char *what, struct err *err)
{
    struct timespec both[2] = {*time, *time};
    return SYS_TRY(futimens(fd, both)) == 0 || err_errno(err, errno, "set time of '%s'", what);
}

bool sys_has_capability(int capability)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    return syscall(SYS_capget, &header, sets) == 0 &&
           (sets[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability));
}

bool sys_try_lock(int fd, bool *ret_locked, const char *what, struct err *err)
{
    int rc = SYS_TRY(flock(fd, LOCK_EX | LOCK_NB));
    if (rc != 0 && errno != EWOULDBLOCK)
        return err_errno(err, errno, "lock '%s'", what);
    *ret_locked = rc == 0;
    return true;
}

bool sys_lock(int fd, const char *what, struct err *err)
{
    return SYS_TRY(flock(fd, LOCK_EX)) == 0 || err_errno(err, errno, "lock '%s'", what);
}

void sys_unlock(int fd) { IGNORE(flock(fd, LOCK_UN)); /* fails only for what was never locked */ }

enum { REMOVE_DEPTH_MAX = 32 };

/* A removal on its way down. */
struct removal {
    int top;
    bool lifted; /* something deep was moved to the top, so that descriptors last: look again */
};

static bool remove_entry(struct removal *removal, int dir, const char *name, int depth,
                         struct err *err);

/* Empties the directory behind fd, deepest first, never through a link. */
static bool remove_below(struct removal *removal, int fd, const char *what, int depth,
                         struct err *err)
{
    int copy = sys_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0, err);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        if (copy >= 0)
            close(copy);
        return err->code ? err_wrap(err, "list '%s'", what)
                         : err_set(err, ERR_NO_MEMORY, "list '%s'", what);
    }
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(dir));)
        if (!str_equal(e->d_name, ".") && !str_equal(e->d_name, ".."))
            ok = remove_entry(removal, fd, e->d_name, depth, err);
    closedir(dir);
    return ok || err_wrap(err, "in '%s'", what);
}

static bool lift(struct removal *removal, int dir, const char *name, struct err *err)
{
    uint8_t noise[8];
    char to[32] = "lifted-";
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, to + strlen(to));
    removal->lifted = true;
    return SYS_TRY(renameat(dir, name, removal->top, to)) == 0 ||
           err_errno(err, errno, "move '%s'", name);
}

/* A folder of the tree itself; where the kernel cannot tell a mount (before 5.6), by its device. */
static int open_own_folder(const struct removal *removal, int dir, const char *name,
                           struct err *err)
{
    enum { FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW };
    struct stat top, st;
    int fd = open_beneath(dir, name, FLAGS, 0, RESOLVE_NO_XDEV);
    bool mounted = fd < 0 && errno == EXDEV;
    if (fd < 0 && errno == ENOSYS) {
        fd = sys_openat(dir, name, FLAGS, 0, err);
        mounted = fd >= 0 && fstat(fd, &st) == 0 && fstat(removal->top, &top) == 0 &&
                  st.st_dev != top.st_dev;
    } else if (fd < 0 && !mounted) {
        err_errno(err, errno, "open '%s'", name);
    }
    if (!mounted)
        return fd;
    if (fd >= 0)
        close(fd);
    err_set(err, ERR_PRECONDITION, "something is mounted at '%s'; hint: unmount it", name);
    return -1;
}

static bool remove_entry(struct removal *removal, int dir, const char *name, int depth,
                         struct err *err)
{
    if (SYS_NOTED(unlinkat(dir, name, 0), sys_note_path(SYS_OP_UNLINK, dir, name)) == 0 ||
        errno == ENOENT)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return err_errno(err, errno, "remove '%s'", name);
    if (depth >= REMOVE_DEPTH_MAX)
        return lift(removal, dir, name, err);
    AUTO(fd) int sub = open_own_folder(removal, dir, name, err);
    if (sub < 0 || !remove_below(removal, sub, name, depth + 1, err))
        return false;
    return SYS_NOTED(unlinkat(dir, name, AT_REMOVEDIR), sys_note_path(SYS_OP_RMDIR, dir, name)) ==
               0 ||
           err_errno(err, errno, "remove directory '%s'", name);
}

bool sys_remove_tree(const char *path, struct err *err)
{
    struct err why = {0};
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &why);
    if (fd < 0 && why.code == ERR_NOT_FOUND)
        return true;
    if (fd < 0) {
        *err = why;
        return false;
    }
    struct removal removal = {.top = fd, .lifted = true};
    while (removal.lifted) {
        removal.lifted = false;
        if (!remove_below(&removal, fd, path, 0, err))
            return false;
    }
    return sys_rmdir(path, err);
}

void sys_names_done(struct sys_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        own_free(names->names[i]);
    own_free(names->names);
    *names = (struct sys_names){0};
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Reads and closes dir. */
static bool read_names(DIR *dir, struct sys_names *names, struct err *err)
{
    bool ok = true;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e && errno)
            ok = err_errno(err, errno, "read names");
        if (!e || !ok)
            break;
        if (str_equal(e->d_name, ".") || str_equal(e->d_name, ".."))
            continue;
        ok = own_grow((void **)&names->names, &names->capacity, names->count, sizeof *names->names,
                      err) &&
             (names->names[names->count] = own_strdup(e->d_name, err));
        names->count += ok;
        if (!ok)
            break;
    }
    closedir(dir);
    return ok;
}

static bool list_dir(DIR *dir, const char *what, struct sys_names *ret_names, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!read_names(dir, &names, err))
        return err_wrap(err, "list '%s'", what);
    if (names.count)
        qsort(names.names, names.count, sizeof *names.names, compare_names);
    *ret_names = names;
    names = (struct sys_names){0};
    return true;
}

bool sys_list(const char *path, struct sys_names *ret_names, struct err *err)
{
    DIR *dir = fault_hits() ? NULL : opendir(path);
    if (!dir)
        return err_errno(err, errno, "list '%s'", path);
    return list_dir(dir, path, ret_names, err);
}

bool sys_list_at(int dir, const char *what, struct sys_names *ret_names, struct err *err)
{
    int fd = sys_openat(dir, ".", O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return err_wrap(err, "list '%s'", what);
    DIR *stream = fdopendir(fd);
    if (!stream) {
        int why = errno;
        close(fd);
        return err_errno(err, why, "list '%s'", what);
    }
    return list_dir(stream, what, ret_names, err);
}

char *sys_read_file(const char *path, size_t max, size_t *ret_len, struct err *err)
{
    /* O_NONBLOCK: a named pipe in that place must be refused, not waited for. */
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_NONBLOCK, 0, err);
    struct stat st = {0};
    if (fd < 0 || !sys_fstat(fd, &st, path, err))
        return NULL;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max) {
        err_set(err, S_ISREG(st.st_mode) ? ERR_LIMIT : ERR_INVALID,
                "'%s' is no plain file of at most %zu bytes", path, max);
        return NULL;
    }
    AUTO(mem) char *text = own_alloc((size_t)st.st_size + 1, err);
    ssize_t n = text ? sys_pread(fd, text, (size_t)st.st_size, 0, path, err) : -1;
    if (n < 0)
        return NULL;
    text[n] = '\0';
    *ret_len = (size_t)n;
    return TAKE(text);
}

static bool write_synced(const char *path, const void *bytes, size_t len, mode_t mode,
                         struct err *err)
{
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_EXCL, mode, err);
    return fd >= 0 && sys_pwrite(fd, bytes, len, 0, path, err) && sys_fsync(fd, path, err) &&
           sys_close(&fd, err);
}

bool sys_write_file(const char *path, const void *bytes, size_t len, mode_t mode, struct err *err)
{
    uint8_t noise[8];
    char noise_hex[17];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, noise_hex);
    char dir[PATH_MAX];
    char tmp[PATH_MAX];
    if (!str_copy(dir, sizeof dir, path) ||
        !str_format(tmp, sizeof tmp, "%s.%s.tmp", path, noise_hex))
        return err_set(err, ERR_INVALID, "path is too long: '%.80s...'", path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    if (write_synced(tmp, bytes, len, mode, err) && sys_rename(tmp, path, err) &&
        sys_fsync_dir(slash ? dir : ".", err))
        return true;
    IGNORE(unlink(tmp)); /* gone already when the rename was done */
    return false;
}

/* "<beginning>....<16 hex signs>.tmp" */
static bool is_half_written(const char *name, const char *beginning)
{
    enum { TAIL = 1 + 16 + 4 };
    size_t len = strlen(name);
    return str_starts(name, beginning) && len > TAIL && str_ends(name, ".tmp") &&
           name[len - TAIL] == '.' && strspn(name + len - TAIL + 1, "0123456789abcdef") == 16;
}

bool sys_sweep_written(const char *dir, const char *beginning, struct err *err)
{
    char path[PATH_MAX];
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(dir, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++)
        if (is_half_written(names.names[i], beginning) &&
            (!str_format(path, sizeof path, "%s/%s", dir, names.names[i]) ||
             !sys_unlink(path, err)))
            return err_wrap(err, "sweep '%s'", dir);
    return true;
}

/* ---- sockets ---- */

int sys_socket_stream(int family, const char *what, struct err *err)
{
    int fd = SYS_TRY(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd < 0)
        err_errno(err, errno, "socket for '%s'", what);
    return fd;
}

bool sys_bind(int fd, const void *address, size_t size, const char *what, struct err *err)
{
    return SYS_TRY(bind(fd, address, (socklen_t)size)) == 0 ||
           err_errno(err, errno, "bind for '%s'", what);
}

bool sys_connect(int fd, const void *address, size_t size, const char *what, struct err *err)
{
    if (SYS_TRY(connect(fd, address, (socklen_t)size)) == 0 || errno == EINPROGRESS)
        return true;
    return err_errno(err, errno, "connect to '%s'", what);
}

bool sys_connected(int fd, const char *what, struct err *err)
{
    int why = 0;
    socklen_t size = sizeof why;
    if (SYS_TRY(getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size)) != 0)
        why = errno;
    return why == 0 || err_errno(err, why, "connect to '%s'", what);
}

ssize_t sys_send(int fd, const void *from, size_t size, const char *what, struct err *err)
{
    ssize_t n = SYS_TRY(send(fd, from, size, MSG_NOSIGNAL));
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return SYS_AGAIN;
    if (n < 0)
        err_errno(err, errno, "send to '%s'", what);
    return n;
}

static ssize_t receive(int fd, void *to, size_t size, int flags, const char *what, struct err *err)
{
    ssize_t n = SYS_TRY(recv(fd, to, size, flags));
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return SYS_AGAIN;
    if (n < 0)
        err_errno(err, errno, "receive from '%s'", what);
    return n;
}

ssize_t sys_recv(int fd, void *to, size_t size, const char *what, struct err *err)
{
    return receive(fd, to, size, 0, what, err);
}

ssize_t sys_recv_now(int fd, void *to, size_t size, const char *what, struct err *err)
{
    return receive(fd, to, size, MSG_DONTWAIT, what, err);
}

bool sys_poll(int fd, int events, int timeout_ms, bool *ret_ready, const char *what,
              struct err *err)
{
    struct pollfd wait = {.fd = fd, .events = (short)events};
    if (timeout_ms != 0)
        waiting_begins();
    int n = fault_hits() ? -1 : poll(&wait, 1, timeout_ms);
    if (n < 0 && errno != EINTR)
        return err_errno(err, errno, "wait for '%s'", what);
    *ret_ready = n > 0;
    return true;
}
