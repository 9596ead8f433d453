/* Every file of the simulator: local ones, and those below a mount point that H/dbs/oranfstab
 * names, which go to that server's export as Direct NFS does it. As POSIX: -1 and errno. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads H/dbs/oranfstab and H/dbs/sim.nfs, once; from release 12.2 on new files have a dot name. */
void disk_init(const char *home, const char *release);
bool disk_remote(const char *path);

int disk_open(const char *path, int flags, mode_t mode);
ssize_t disk_pread(int fd, void *to, size_t n, off_t at);
ssize_t disk_pwrite(int fd, const void *from, size_t n, off_t at);
int disk_truncate(int fd, off_t size);
/* What is not durable when this returns 0 never was written: a copy takes its final name here. */
int disk_close(int fd);
/* After an error: a file that has no final name yet goes away. */
void disk_abandon(int fd);
/* Everything gathered so far is written; for those who are about to die. */
void disk_settle_all(void);

struct disk_stat {
    bool folder, file;
    uint64_t size;
};
int disk_stat(const char *path, struct disk_stat *ret);
int disk_access(const char *path, int mode);
int disk_unlink(const char *path);
int disk_rename(const char *from, const char *to);
int disk_mkdir(const char *path, mode_t mode);
/* As the kernel's umount says it to the server, whatever became of who used the mount. */
int disk_unmount(const char *folder);

struct disk_names {
    char **name;
    size_t n;
};
int disk_list(const char *folder, struct disk_names *ret); /* without "." and ".." */
void disk_names_free(struct disk_names *names);
