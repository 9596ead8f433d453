/* Sandboxes of the contract suite: for each driver a small storage of its own. */
#include "tests/lib/sandbox.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/registry.h"
#include "tests/lib/memory_driver.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_STORE "contract"

enum { TEXT_MAX = 64 << 10, TREE_FDS = 32 };

/* ---- memory ---- */

static bool memory_begin(struct sandbox *s, struct err *err)
{
    (void)err;
    memory_store_reset(MEMORY_STORE);
    s->options[s->option_count++] = (struct driver_option){"store", MEMORY_STORE};
    return true;
}

static void memory_done(struct sandbox *s)
{
    (void)s;
    memory_store_reset(MEMORY_STORE);
}

static bool memory_write(struct sandbox *s, const char *volume, const char *clone, const char *path,
                         const void *bytes, size_t len, uint64_t offset, struct err *err)
{
    (void)s;
    return memory_file_write(MEMORY_STORE, volume, clone, path, bytes, len, offset, 0, err);
}

static bool memory_fill(struct sandbox *s, struct err *err)
{
    (void)s;
    return memory_store_limit(MEMORY_STORE, 1, err);
}

/* ---- reflink on an XFS of its own ---- */

static bool reflink_begin(struct sandbox *s, struct err *err)
{
    if (!xfs_sandbox(&s->scratch, err))
        return false;
    str_format(s->root, sizeof s->root, "%s/store", s->scratch.mount);
    s->options[s->option_count++] = (struct driver_option){"root", s->root};
    return sys_mkdir(s->root, 0755, err);
}

static void scratch_end(struct sandbox *s) { scratch_done(&s->scratch); }

static bool make_dirs_above(char *path, struct err *err)
{
    char *slash = strrchr(path, '/');
    *slash = '\0';
    bool ok = sys_mkdirs(path, 0755, err);
    *slash = '/';
    return ok;
}

/* Areas that are directories of this host. */
static bool path_write(struct sandbox *s, const char *volume, const char *clone, const char *path,
                       const void *bytes, size_t len, uint64_t offset, struct err *err)
{
    char mount[512];
    char full[1024];
    str_format(mount, sizeof mount, "path:%s/volumes/%s", s->root, volume);
    if (clone && !driver_clone_mount(s->d, volume, clone, mount, sizeof mount, err))
        return false;
    if (!str_starts(mount, "path:"))
        return err_set(err, ERR_INTERNAL, "'%s' is no local path", mount);
    if (!str_format(full, sizeof full, "%s/%s", mount + 5, path))
        return err_set(err, ERR_INVALID, "path is too long");
    if (!make_dirs_above(full, err))
        return false;
    AUTO(fd) int fd = sys_open(full, O_WRONLY | O_CREAT, 0640, err);
    /* As an NFS client's COMMIT: only then does the storage let go of what was overwritten. */
    return fd >= 0 && sys_pwrite(fd, bytes, len, offset, full, err) && sys_fsync(fd, full, err);
}

static bool path_fill(struct sandbox *s, struct err *err)
{
    char path[200];
    str_format(path, sizeof path, "%s/filler", s->scratch.mount);
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT, 0600, err);
    off_t at = 0;
    for (off_t step = 64 << 20; fd >= 0 && step >= 4096;) {
        if (fallocate(fd, 0, at, step) == 0)
            at += step;
        else if (errno == ENOSPC)
            step /= 2;
        else
            return err_errno(err, errno, "fill '%s'", path);
    }
    return fd >= 0;
}

static _Thread_local uint32_t residue_count;

static int count_residue(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    residue_count += str_starts(path + where->base, ".tmp-") || str_ends(path, ".tmp");
    return 0;
}

static uint32_t path_residue(const struct sandbox *s)
{
    residue_count = 0;
    IGNORE(nftw(s->root, count_residue, TREE_FDS, FTW_PHYS)); /* a missing root holds nothing */
    return residue_count;
}

/* ---- a vault, box and store on an XFS of its own ---- */

static bool vault_begin(struct sandbox *s, struct err *err)
{
    if (!xfs_sandbox(&s->scratch, err))
        return false;
    str_format(s->root, sizeof s->root, "%s/vault", s->scratch.mount);
    if (!sys_mkdir(s->root, 0700, err) || !vault_server_begin(&s->vault, s->root, NULL, NULL, err))
        return false;
    s->options[s->option_count++] = (struct driver_option){"socket", s->vault.socket};
    return true;
}

static void vault_end(struct sandbox *s)
{
    vault_server_done(&s->vault);
    scratch_done(&s->scratch);
}

static bool vault_write(struct sandbox *s, const char *volume, const char *clone, const char *path,
                        const void *bytes, size_t len, uint64_t offset, struct err *err)
{
    return vault_server_write(&s->vault, volume, clone, path, bytes, len, offset, err);
}

/* ---- a vault filled from a folder: what a host writes, it writes there ---- */

static bool ingest_begin(struct sandbox *s, struct err *err)
{
    char source[256];
    if (!vault_begin(s, err))
        return false;
    str_format(source, sizeof source, "%s/source", s->root);
    str_format(s->source, sizeof s->source, "%s", source);
    s->options[s->option_count++] = (struct driver_option){"source", s->source};
    return sys_mkdir(s->source, 0755, err);
}

static bool ingest_write(struct sandbox *s, const char *volume, const char *clone, const char *path,
                         const void *bytes, size_t len, uint64_t offset, struct err *err)
{
    char full[1024];
    if (clone)
        return vault_write(s, volume, clone, path, bytes, len, offset, err);
    if (!str_format(full, sizeof full, "%s/%s/%s", s->source, volume, path))
        return err_set(err, ERR_INVALID, "path is too long");
    if (!make_dirs_above(full, err))
        return false;
    AUTO(fd) int fd = sys_open(full, O_WRONLY | O_CREAT, 0640, err);
    return fd >= 0 && sys_pwrite(fd, bytes, len, offset, full, err);
}

static const struct sandbox_row rows[] = {
    {.name = "memory",
     .driver = "memory",
     .begin = memory_begin,
     .done = memory_done,
     .write = memory_write,
     .fill = memory_fill,
     .one_process = true},
    {.name = "reflink on XFS",
     .driver = "reflink",
     .begin = reflink_begin,
     .done = scratch_end,
     .write = path_write,
     .fill = path_fill,
     .residue = path_residue,
     .delete_lag_ms = 5000},
    {.name = "vault",
     .driver = "vault",
     .begin = vault_begin,
     .done = vault_end,
     .write = vault_write,
     .fill = path_fill,
     .own_clock = true,
     .needs_no_option = true,
     /* it seals and frees in the background */
     .delete_lag_ms = 30000},
    {.name = "vault filled from a folder",
     .driver = "vault-ingest",
     .begin = ingest_begin,
     .copies = true,
     .shares = true,
     .done = vault_end,
     .write = ingest_write,
     .fill = path_fill,
     .own_clock = true,
     .delete_lag_ms = 30000},
};

size_t sandbox_count(void) { return sizeof rows / sizeof *rows; }

const struct sandbox_row *sandbox_row(size_t index) { return &rows[index]; }

bool sandbox_reopen(struct sandbox *s, struct err *err)
{
    driver_close(s->d);
    s->d = driver_open(s->row->driver, s->options, s->option_count, err);
    return s->d;
}

bool sandbox_begin(struct sandbox *s, const struct sandbox_row *row, struct err *err)
{
    *s = (struct sandbox){.row = row};
    registry_add_for_tests(&driver_memory);
    return row->begin(s, err) && sandbox_reopen(s, err);
}

void sandbox_done(struct sandbox *s)
{
    driver_close(s->d);
    s->d = NULL;
    if (s->row)
        s->row->done(s);
    s->row = NULL;
}

bool sandbox_write(struct sandbox *s, const char *volume, const char *clone, const char *path,
                   const void *bytes, size_t len, uint64_t offset, struct err *err)
{
    return s->row->write(s, volume, clone, path, bytes, len, offset, err);
}

char *sandbox_read(struct sandbox *s, const char *volume, const char *snapshot, const char *clone,
                   const char *path, struct err *err)
{
    AUTO(area) struct area *area = driver_area(s->d, volume, snapshot, clone, err);
    AUTO(area_handle) struct area_handle *file = area ? area_file_open(area, path, err) : NULL;
    AUTO(mem) char *text = file ? own_alloc(TEXT_MAX + 1, err) : NULL;
    ssize_t n = text ? area_file_read(file, text, TEXT_MAX, 0, err) : -1;
    if (n < 0)
        return NULL;
    text[n] = '\0';
    return TAKE(text);
}
