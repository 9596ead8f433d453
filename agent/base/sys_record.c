/* Notes of system calls that change files, for tests of what a crash leaves. */
#include "agent/base/sys_record.h"

#include "agent/base/str.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_bool on;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sys_record notes;

void sys_record_begin(void)
{
    pthread_mutex_lock(&lock);
    sys_record_done(&notes);
    on = true;
    pthread_mutex_unlock(&lock);
}

struct sys_record sys_record_end(void)
{
    pthread_mutex_lock(&lock);
    struct sys_record record = notes;
    notes = (struct sys_record){0};
    on = false;
    pthread_mutex_unlock(&lock);
    return record;
}

void sys_record_done(struct sys_record *record)
{
    for (size_t i = 0; i < record->count; i++) {
        own_free(record->ops[i].path);
        own_free(record->ops[i].to);
        own_free(record->ops[i].bytes);
    }
    own_free(record->ops);
    *record = (struct sys_record){0};
}

bool sys_note_begin(void)
{
    if (!on)
        return false;
    pthread_mutex_lock(&lock);
    if (on)
        return true;
    pthread_mutex_unlock(&lock);
    return false;
}

void sys_note_end(void) { pthread_mutex_unlock(&lock); }

/* Takes over what op owns. */
static void add(struct sys_op op)
{
    struct err err = {0};
    if (own_grow((void **)&notes.ops, &notes.capacity, notes.count, sizeof *notes.ops, &err)) {
        notes.ops[notes.count++] = op;
        return;
    }
    notes.incomplete = true;
    own_free(op.path);
    own_free(op.to);
    own_free(op.bytes);
}

static char *path_of_fd(int fd)
{
    char link[64];
    char path[PATH_MAX];
    struct err err = {0};
    str_format(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    char *copy = n < 0 ? NULL : own_strndup(path, (size_t)n, &err);
    notes.incomplete |= !copy;
    return copy;
}

static char *path_at(int dir, const char *path)
{
    struct err err = {0};
    if (path[0] == '/')
        return own_strdup(path, &err);
    char here[PATH_MAX];
    AUTO(mem)
    char *folder =
        dir == AT_FDCWD ? own_strdup(getcwd(here, sizeof here) ? here : "", &err) : path_of_fd(dir);
    char *joined = folder ? own_printf(&err, "%s/%s", folder, path) : NULL;
    notes.incomplete |= !joined;
    return joined;
}

static struct sys_op of_fd(enum sys_op_kind kind, int fd)
{
    struct stat st = {0};
    notes.incomplete |= fstat(fd, &st) != 0;
    return (struct sys_op){
        .kind = kind, .path = path_of_fd(fd), .inode = st.st_ino, .folder = S_ISDIR(st.st_mode)};
}

void sys_note_open(int fd, int flags)
{
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC)))
        return;
    struct sys_op op = of_fd(SYS_OP_OPEN, fd);
    op.truncates = flags & O_TRUNC;
    add(op);
}

void sys_note_write(int fd, const void *bytes, size_t len, uint64_t offset)
{
    struct err err = {0};
    struct sys_op op = of_fd(SYS_OP_WRITE, fd);
    op.offset = offset;
    op.len = len;
    op.bytes = own_alloc(len + 1, &err);
    notes.incomplete |= !op.bytes;
    if (op.bytes)
        memcpy(op.bytes, bytes, len);
    add(op);
}

void sys_note_fd(enum sys_op_kind kind, int fd, uint64_t size)
{
    struct sys_op op = of_fd(kind, fd);
    op.offset = size;
    add(op);
}

void sys_note_path(enum sys_op_kind kind, int dir, const char *path)
{
    add((struct sys_op){.kind = kind, .path = path_at(dir, path)});
}

void sys_note_paths(enum sys_op_kind kind, int dir, const char *from, const char *to)
{
    add((struct sys_op){.kind = kind, .path = path_at(dir, from), .to = path_at(dir, to)});
}

void sys_record_mark(uint64_t value)
{
    if (!sys_note_begin())
        return;
    add((struct sys_op){.kind = SYS_OP_MARK, .offset = value});
    sys_note_end();
}
