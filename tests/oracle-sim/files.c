/* Local files, or an export's: decided by the path when it is opened, by the number afterwards. */
#include "files.h"
#include "dnfs.h"
#include "sim.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_REMOTE = 1 << 20 };

static bool dots;

void disk_init(const char *home, const char *release)
{
    int major = 0, minor = 0;

    if (sscanf(release, "%d.%d", &major, &minor) < 1)
        major = 19;
    dots = major > 12 || (major == 12 && minor >= 2);
    oranfstab_load(home);
}

bool disk_remote(const char *path)
{
    const char *rest;

    return oranfstab_find(path, &rest) != NULL;
}

int disk_open(const char *path, int flags, mode_t mode)
{
    const char *rest;
    struct dnfs_mount *m = oranfstab_find(path, &rest);
    int slot;

    if (!m)
        return open(path, flags | O_CLOEXEC, mode);
    slot = dnfs_open(m, rest, flags, mode, dots);
    return slot < 0 ? -1 : FIRST_REMOTE + slot;
}

ssize_t disk_pread(int fd, void *to, size_t n, off_t at)
{
    return fd < FIRST_REMOTE ? pread(fd, to, n, at)
                             : dnfs_pread(fd - FIRST_REMOTE, to, n, (uint64_t)at);
}

ssize_t disk_pwrite(int fd, const void *from, size_t n, off_t at)
{
    return fd < FIRST_REMOTE ? pwrite(fd, from, n, at)
                             : dnfs_pwrite(fd - FIRST_REMOTE, from, n, (uint64_t)at);
}

int disk_truncate(int fd, off_t size)
{
    return fd < FIRST_REMOTE ? ftruncate(fd, size)
                             : dnfs_truncate(fd - FIRST_REMOTE, (uint64_t)size);
}

int disk_close(int fd)
{
    return fd < FIRST_REMOTE ? close(fd) : dnfs_close(fd - FIRST_REMOTE, true);
}

void disk_abandon(int fd)
{
    int why = errno;

    if (fd < FIRST_REMOTE)
        close(fd);
    else
        dnfs_close(fd - FIRST_REMOTE, false);
    errno = why;
}

void disk_settle_all(void) { dnfs_settle_all(); }

int disk_stat(const char *path, struct disk_stat *ret)
{
    const char *rest;
    struct dnfs_mount *m = oranfstab_find(path, &rest);
    struct stat st;

    if (m)
        return dnfs_stat(m, rest, ret);
    if (stat(path, &st) < 0)
        return -1;
    *ret = (struct disk_stat){S_ISDIR(st.st_mode), S_ISREG(st.st_mode), (uint64_t)st.st_size};
    return 0;
}

int disk_access(const char *path, int mode)
{
    const char *rest;
    struct dnfs_mount *m = oranfstab_find(path, &rest);

    return m ? dnfs_access(m, rest, mode) : access(path, mode);
}

int disk_unlink(const char *path)
{
    const char *rest;
    struct dnfs_mount *m = oranfstab_find(path, &rest);

    return m ? dnfs_unlink(m, rest) : unlink(path);
}

int disk_rename(const char *from, const char *to)
{
    const char *a, *b;
    struct dnfs_mount *m = oranfstab_find(from, &a);

    if (m != oranfstab_find(to, &b)) {
        errno = EXDEV;
        return -1;
    }
    return m ? dnfs_rename(m, a, b) : rename(from, to);
}

int disk_mkdir(const char *path, mode_t mode)
{
    const char *rest;
    struct dnfs_mount *m = oranfstab_find(path, &rest);

    return m ? dnfs_mkdir(m, rest, mode) : mkdir(path, mode);
}

int disk_unmount(const char *folder)
{
    const char *rest;
    struct dnfs_mount *m = oranfstab_find(folder, &rest);

    if (!m || rest[0]) {
        errno = EINVAL;
        return -1;
    }
    dnfs_umnt(m);
    return 0;
}

bool names_add(struct disk_names *names, const char *name)
{
    char **more = realloc(names->name, sizeof *more * (names->n + 1));

    if (!more)
        return false;
    names->name = more;
    more[names->n] = strdup(name);
    return more[names->n++] != NULL;
}

int disk_list(const char *folder, struct disk_names *ret)
{
    const char *rest;
    struct dnfs_mount *m = oranfstab_find(folder, &rest);
    const struct dirent *de;
    DIR *d;

    *ret = (struct disk_names){0};
    if (m)
        return dnfs_list(m, rest, ret);
    d = opendir(folder);
    if (!d)
        return -1;
    while ((de = readdir(d)))
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 &&
            !names_add(ret, de->d_name))
            die("out of memory");
    closedir(d);
    return 0;
}

void disk_names_free(struct disk_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
    *names = (struct disk_names){0};
}
