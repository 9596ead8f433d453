/* System calls that touch files: one door, so that faults can be injected in one place. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

/* Each retries EINTR and reports the path or what is given in `what`. */
int sys_open(const char *path, int flags, mode_t mode, struct err *err) MUST; /* -1 */
int sys_openat(int dir, const char *name, int flags, mode_t mode, struct err *err) MUST;
/* Opens below dir without leaving it: no symlink, no ".." above it, nothing absolute (openat2). */
int sys_open_beneath(int dir, const char *path, int flags, mode_t mode, struct err *err) MUST;
bool sys_close(int *fd, struct err *err); /* for written files, where close can report; sets -1 */
/* Bytes read, less than size only at the end; -1 on error. */
ssize_t sys_pread(int fd, void *to, size_t size, uint64_t offset, const char *what, struct err *err)
    MUST;
bool sys_pwrite(int fd, const void *from, size_t size, uint64_t offset, const char *what,
                struct err *err) MUST;
bool sys_write(int fd, const void *from, size_t size, const char *what, struct err *err) MUST;
bool sys_fsync(int fd, const char *what, struct err *err) MUST;
bool sys_fdatasync(int fd, const char *what, struct err *err) MUST;
/* Begins to write back what is dirty, without waiting; where that cannot be, nothing happens. */
void sys_write_back(int fd);
bool sys_truncate(int fd, uint64_t size, const char *what, struct err *err) MUST;
bool sys_fsync_dir(const char *path, struct err *err) MUST;
bool sys_rename(const char *from, const char *to, struct err *err) MUST;
/* Fails with EXISTS instead of replacing. */
bool sys_rename_new(const char *from, const char *to, struct err *err) MUST;
/* Within one open directory; without `replace` EXISTS instead. UNSUPPORTED or INVALID where the
 * file system has no such rename: sys_link_at then does the same in two steps. */
bool sys_rename_at(int dir, const char *from, const char *to, bool replace, struct err *err) MUST;
bool sys_link_at(int dir, const char *from, const char *to, struct err *err) MUST;
bool sys_unlink_at(int dir, const char *name, struct err *err) MUST;
bool sys_unlink(const char *path, struct err *err) MUST;
bool sys_rmdir(const char *path, struct err *err) MUST;
bool sys_mkdir(const char *path, mode_t mode, struct err *err) MUST;
bool sys_mkdir_at(int dir, const char *name, mode_t mode, struct err *err) MUST;
bool sys_mkdirs(const char *path, mode_t mode, struct err *err) MUST; /* existing is fine */
bool sys_stat(const char *path, struct stat *ret_stat, struct err *err) MUST;
bool sys_lstat(const char *path, struct stat *ret_stat, struct err *err) MUST;
bool sys_lstat_at(int dir, const char *name, struct stat *ret_stat, struct err *err) MUST;
bool sys_symlink_at(const char *target, int dir, const char *name, struct err *err) MUST;
/* The target's text, terminated; LIMIT when it does not fit. */
bool sys_read_link_at(int dir, const char *name, char *ret, size_t size, struct err *err) MUST;
bool sys_fstat(int fd, struct stat *ret_stat, const char *what, struct err *err) MUST;
bool sys_statvfs(const char *path, struct statvfs *ret_stat, struct err *err) MUST;
bool sys_fstatvfs(int fd, struct statvfs *ret_stat, const char *what, struct err *err) MUST;
bool sys_clone_file(int to, int from, const char *what, struct err *err) MUST; /* FICLONE */
bool sys_chmod(const char *path, mode_t mode, struct err *err) MUST;
bool sys_fchmod(int fd, mode_t mode, const char *what, struct err *err) MUST;
bool sys_fchown(int fd, uid_t uid, gid_t gid, const char *what, struct err *err) MUST;
/* Sets both times to the given one. */
bool sys_set_time(int fd, const struct timespec *time, const char *what, struct err *err) MUST;
/* Whether this thread holds a capability (CAP_CHOWN...) now: root may lack it, others may have it.
 */
bool sys_has_capability(int capability);
/* Takes the exclusive lock of an open file or directory (flock), or says that somebody has it. */
bool sys_try_lock(int fd, bool *ret_locked, const char *what, struct err *err) MUST;
/* Waits for it. */
bool sys_lock(int fd, const char *what, struct err *err) MUST;
void sys_unlock(int fd); /* at once, also where a fork still holds a copy of fd */
/* Removes a directory with all in it, never following links; missing is fine. What is mounted below
 * it stays, whole: PRECONDITION. */
bool sys_remove_tree(const char *path, struct err *err) MUST;

/* Names in a directory, sorted, without "." and ".."; owned list (sys_names_free). */
struct sys_names {
    char **names;
    size_t count, capacity;
};
bool sys_list(const char *path, struct sys_names *ret_names, struct err *err) MUST;
bool sys_list_at(int dir, const char *what, struct sys_names *ret_names, struct err *err) MUST;
void sys_names_done(struct sys_names *names);
OWN_DEFINE_INPLACE(sys_names, struct sys_names, sys_names_done);

/* Whole file, at most max bytes (LIMIT above); owned, one NUL behind the end. */
char *sys_read_file(const char *path, size_t max, size_t *ret_len, struct err *err) MUST;
/* All or nothing under that name, on disk when it returns: temporary file, fsync, rename, fsync. */
bool sys_write_file(const char *path, const void *bytes, size_t len, mode_t mode, struct err *err)
    MUST;

/* Removes what sys_write_file, killed, left in dir of files whose name begins so. For those who
 * know that nobody writes one now. */
bool sys_sweep_written(const char *dir, const char *beginning, struct err *err) MUST;

/* Sockets that do not block. SYS_AGAIN: nothing now, sys_poll says when. */
enum { SYS_AGAIN = -2 };
int sys_socket_stream(int family, const char *what, struct err *err) MUST; /* -1 */
bool sys_bind(int fd, const void *address, size_t size, const char *what, struct err *err) MUST;
/* True also while it is under way: it is up when sys_poll says writable and sys_connected agrees.
 */
bool sys_connect(int fd, const void *address, size_t size, const char *what, struct err *err) MUST;
bool sys_connected(int fd, const char *what, struct err *err) MUST;
/* Bytes moved, SYS_AGAIN, or -1; receiving 0 is the other side's end. */
ssize_t sys_send(int fd, const void *from, size_t size, const char *what, struct err *err) MUST;
ssize_t sys_recv(int fd, void *to, size_t size, const char *what, struct err *err) MUST;
/* What is there already, whatever the descriptor's mode. */
ssize_t sys_recv_now(int fd, void *to, size_t size, const char *what, struct err *err) MUST;
/* Waits for POLLIN or POLLOUT at most timeout_ms; true when something is to be done. EINTR counts
 * as the time being over. */
bool sys_poll(int fd, int events, int timeout_ms, bool *ret_ready, const char *what,
              struct err *err) MUST;

/* Test hook: the nth call from now fails with errno_value; 0 turns it and the counting off. Returns
 * the calls counted since the last one. sys_record.h and sys_hold.h are other such hooks. */
long sys_fault(long nth, int errno_value);
/* Test hook: the nth read or write of a file from now moves half of what it was asked to; the call
 * after it fails with errno_value, 0: it does not. 0 turns both off. Returns the reads and writes
 * counted since the last one. */
long sys_short(long nth, int errno_value);
