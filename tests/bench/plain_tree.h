/* A plain folder as an export's tree: what the protocol costs where the store costs nothing. Files
 * that are there before are read and written; each is opened once and stays open. */
#pragma once
#include "drivers/vault/nfs/tree.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 64, NAME = 64 };

struct plain {
    int folder;
    pthread_mutex_t lock;
    atomic_size_t count;
    struct {
        char name[NAME];
        int fd;
    } files[FILES];
};

static inline void *plain_tree_open(const char *folder, struct err *err)
{
    struct plain *plain = own_alloc(sizeof *plain, err);
    if (!plain)
        return NULL;
    pthread_mutex_init(&plain->lock, NULL);
    plain->folder = sys_open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, err);
    if (plain->folder >= 0)
        return plain;
    own_free(plain);
    return NULL;
}

static void plain_close(void *tree)
{
    struct plain *plain = tree;
    for (size_t i = 0; i < plain->count; i++)
        close(plain->files[i].fd);
    close(plain->folder);
    pthread_mutex_destroy(&plain->lock);
    own_free(plain);
}

/* VIEW_ROOT is the folder; the files follow. */
static int fd_of(struct plain *plain, uint64_t file)
{
    size_t at = (size_t)(file - VIEW_ROOT);
    if (at == 0)
        return plain->folder;
    return at <= atomic_load_explicit(&plain->count, memory_order_acquire) ? plain->files[at - 1].fd
                                                                           : -1;
}

static uint64_t us_of(struct timespec at)
{
    return (uint64_t)at.tv_sec * 1000000 + (uint64_t)at.tv_nsec / 1000;
}

static bool plain_stat(void *tree, uint64_t file, uint32_t generation, struct view_file *ret,
                       struct err *err)
{
    struct plain *plain = tree;
    struct stat st;
    int fd = fd_of(plain, file);
    if (fd < 0 || generation > 1)
        return err_set(err, ERR_NOT_FOUND, "no such file");
    if (!sys_fstat(fd, &st, "plain", err))
        return false;
    *ret = (struct view_file){.file = file,
                              .parent = VIEW_ROOT,
                              .generation = 1,
                              .kind = S_ISDIR(st.st_mode) ? INODE_DIRECTORY : INODE_FILE,
                              .mode = (uint16_t)(st.st_mode & 07777),
                              .uid = st.st_uid,
                              .gid = st.st_gid,
                              .links = (uint32_t)st.st_nlink,
                              .size = (uint64_t)st.st_size,
                              .used_bytes = (uint64_t)st.st_blocks * 512,
                              .mtime_us = us_of(st.st_mtim),
                              .ctime_us = us_of(st.st_ctim),
                              .atime_us = us_of(st.st_atim)};
    return true;
}

static bool plain_lookup(void *tree, uint64_t folder, const char *name, struct view_file *ret,
                         struct err *err)
{
    struct plain *plain = tree;
    (void)folder;
    pthread_mutex_lock(&plain->lock);
    size_t count = plain->count;
    size_t at = 0;
    while (at < count && strcmp(plain->files[at].name, name) != 0)
        at++;
    bool ok = at < count;
    if (!ok && at < FILES && str_copy(plain->files[at].name, NAME, name)) {
        plain->files[at].fd = sys_openat(plain->folder, name, O_RDWR | O_CLOEXEC, 0, err);
        ok = plain->files[at].fd >= 0;
        if (ok)
            atomic_store_explicit(&plain->count, at + 1, memory_order_release);
    }
    pthread_mutex_unlock(&plain->lock);
    return ok && plain_stat(tree, VIEW_ROOT + 1 + at, 1, ret, err);
}

static ssize_t plain_read(void *tree, uint64_t file, void *to, size_t size, uint64_t offset,
                          struct err *err)
{
    return sys_pread(fd_of(tree, file), to, size, offset, "plain", err);
}

static bool plain_write(void *tree, uint64_t file, const void *from, size_t size, uint64_t offset,
                        bool stable, struct view_change *ret_change, struct err *err)
{
    int fd = fd_of(tree, file);
    return plain_stat(tree, file, 1, &ret_change->before, err) &&
           sys_pwrite(fd, from, size, offset, "plain", err) &&
           (!stable || sys_fdatasync(fd, "plain", err)) &&
           plain_stat(tree, file, 1, &ret_change->after, err);
}

static bool plain_commit(void *tree, uint64_t file, struct view_change *ret_change, struct err *err)
{
    if (!sys_fdatasync(fd_of(tree, file), "plain", err) ||
        !plain_stat(tree, file, 1, &ret_change->after, err))
        return false;
    ret_change->before = ret_change->after;
    return true;
}

static bool plain_space(void *tree, struct nfsd_space *ret, struct err *err)
{
    (void)tree, (void)err;
    *ret = (struct nfsd_space){1ULL << 40, 1ULL << 40, 1 << 20, 1 << 20};
    return true;
}

static const struct nfsd_tree_ops plain_tree = {.stat = plain_stat,
                                                .lookup = plain_lookup,
                                                .read = plain_read,
                                                .write = plain_write,
                                                .commit = plain_commit,
                                                .space = plain_space,
                                                .close = plain_close};
