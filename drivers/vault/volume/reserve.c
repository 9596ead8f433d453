/* The box's reserve: room that is there when its disk is full, so that deleting and opening work.
 */
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault_int.h"
#include <fcntl.h>
#include <string.h>

enum { PIECE = 1 << 20, SLACK = 1 << 20 };

static void set_gone(struct vault *vault, bool gone)
{
    pthread_mutex_lock(&vault->lock);
    vault->reserve_gone = gone;
    pthread_mutex_unlock(&vault->lock);
}

/* Written, not only promised. */
static bool fill(const struct vault *vault, const char *path, struct err *err)
{
    uint64_t wanted = vault->options.reserve_bytes;
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600, err);
    AUTO(mem) uint8_t *bytes = fd >= 0 ? own_alloc(PIECE, err) : NULL;
    if (!bytes)
        return false;
    memset(bytes, 0xee, PIECE); /* zeros might be stored as nothing */
    for (uint64_t at = 0; at < wanted; at += PIECE) {
        size_t piece = wanted - at < PIECE ? (size_t)(wanted - at) : PIECE;
        if (!sys_pwrite(fd, bytes, piece, at, path, err))
            return false;
    }
    return sys_fsync(fd, path, err) && sys_fsync_dir(vault->box, err);
}

/* vault.reserve is held. What there is no room for leaves nothing: deletions need it more. */
static bool make(struct vault *vault, struct err *err)
{
    char path[600];
    struct stat st;
    struct err own = {0}, ignored = {0};
    if (!box_path(vault, "reserve", path, err))
        return false;
    bool made = (sys_lstat(path, &st, &own) && S_ISREG(st.st_mode) &&
                 (uint64_t)st.st_size >= vault->options.reserve_bytes) ||
                fill(vault, path, err);
    if (!made && err->code == ERR_NO_SPACE)
        IGNORE(sys_unlink(path, &ignored));
    set_gone(vault, !made);
    return made;
}

bool reserve_open(struct vault *vault, struct err *err)
{
    struct err own = {0};
    pthread_mutex_lock(&vault->reserve);
    bool made = make(vault, &own);
    pthread_mutex_unlock(&vault->reserve);
    if (!made && own.code != ERR_NO_SPACE) {
        *err = own;
        return false;
    }
    if (!made)
        log_warning("the box has no room for its reserve: hosts write nothing until it has. hint: "
                    "delete snapshots or clones, or enlarge it box=%s error=%s",
                    vault->box, own.text);
    return true;
}

bool vault_make_room(struct vault *vault, const struct err *err)
{
    char path[600];
    struct err ignored = {0};
    if (err->code != ERR_NO_SPACE || !box_path(vault, "reserve", path, &ignored))
        return false;
    pthread_mutex_lock(&vault->reserve);
    set_gone(vault, true); /* first: what becomes free is not for hosts */
    bool given = sys_unlink(path, &ignored);
    pthread_mutex_unlock(&vault->reserve);
    if (given)
        log_warning("the box is full: its reserve is given up box=%s", vault->box);
    return given;
}

void reserve_tend(struct vault *vault)
{
    struct statvfs fs;
    struct err own = {0};
    pthread_mutex_lock(&vault->lock);
    bool gone = vault->reserve_gone;
    pthread_mutex_unlock(&vault->lock);
    if (!gone || !sys_statvfs(vault->box, &fs, &own) ||
        (uint64_t)fs.f_bavail * fs.f_frsize < vault->options.reserve_bytes + SLACK)
        return;
    pthread_mutex_lock(&vault->reserve);
    bool made = make(vault, &own);
    pthread_mutex_unlock(&vault->reserve);
    if (made)
        log_info("the box has its reserve again box=%s", vault->box);
}

void reserve_tell(const struct vault *vault, char ret[400])
{
    ret[0] = '\0';
    if (vault->reserve_gone)
        IGNORE(str_format(ret, 400,
                          "the box is full: delete snapshots or clones, or enlarge the "
                          "disk of '%.200s'",
                          vault->box));
}
