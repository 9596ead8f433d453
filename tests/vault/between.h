/* Between our code and the C library: a test looks at each call before it is made, holds it or lets
 * it fail. For one file of a test program. */
#pragma once
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <unistd.h>

/* In the thread that calls, which may wait in it; false with errno: the call fails. */
typedef bool between_call(const char *name);
static _Atomic(between_call *) between;

static bool between_goes_on(const char *name)
{
    between_call *look = between;
    return !look || look(name);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t offset)
{
    struct iovec part = {(void *)(uintptr_t)from, size};
    return between_goes_on("pwrite") ? pwritev(fd, &part, 1, offset) : -1;
}

ssize_t pread(int fd, void *to, size_t size, off_t offset)
{
    struct iovec part = {to, size};
    return between_goes_on("pread") ? preadv(fd, &part, 1, offset) : -1;
}

/* It only saves time. */
int sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    (void)fd;
    (void)offset;
    (void)size;
    (void)flags;
    return between_goes_on("sync_file_range") ? 0 : -1;
}
