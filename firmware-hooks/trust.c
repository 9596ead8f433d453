/* Whose file is it: each directory and link on the way is looked at by its own descriptor. */
#include "firmware-hooks/trust.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

struct way {
    const char *path; /* as asked for, for messages */
    int dir;
    int links;
    char rest[PATH_MAX];
};

static void way_done(struct way *way) { own_auto_fd(&way->dir); }
OWN_DEFINE_INPLACE(way, struct way, way_done);

static bool judge(const struct way *way, const char *name, const struct stat *st, struct err *err)
{
    bool open_to_all = (st->st_mode & (S_IWGRP | S_IWOTH)) && !S_ISLNK(st->st_mode);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return err_set(err, ERR_DENIED, "'%s': '%s' belongs to user %u, not to root or the agent",
                       way->path, name, (unsigned)st->st_uid);
    if (open_to_all && !(S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX)))
        return err_set(err, ERR_DENIED, "'%s': '%s' is writable by others", way->path, name);
    return true;
}

static bool go_to(struct way *way, int *fd)
{
    own_auto_fd(&way->dir);
    way->dir = *fd;
    *fd = -1;
    return true;
}

static bool to_root(struct way *way, struct err *err)
{
    struct stat st;
    AUTO(fd) int fd = sys_open("/", O_PATH | O_DIRECTORY, 0, err);
    return fd >= 0 && sys_fstat(fd, &st, "/", err) && judge(way, "/", &st, err) && go_to(way, &fd);
}

/* The link's target comes before what is left of the way. */
static bool follow(struct way *way, const char *name, struct err *err)
{
    char target[PATH_MAX];
    char rest[PATH_MAX];
    if (++way->links > TRUST_LINKS_MAX)
        return err_set(err, ERR_DENIED, "'%s': too many links", way->path);
    if (!sys_read_link_at(way->dir, name, target, sizeof target, err))
        return false;
    if (!str_format(rest, sizeof rest, "%s/%s", target, way->rest))
        return err_set(err, ERR_DENIED, "'%s': the way behind its links is too long", way->path);
    memcpy(way->rest, rest, sizeof rest);
    return target[0] != '/' || to_root(way, err);
}

/* Takes the next part off the way; false at its end. */
static bool next_part(struct way *way, char part[NAME_MAX + 1], bool *ret_fits)
{
    char *p = way->rest + strspn(way->rest, "/");
    size_t len = strcspn(p, "/");
    *ret_fits = len <= NAME_MAX;
    if (!len || !*ret_fits)
        return false;
    memcpy(part, p, len);
    part[len] = '\0';
    memmove(way->rest, p + len, strlen(p + len) + 1);
    return true;
}

static bool judge_end(const struct way *way, const struct stat *st, bool directory, struct err *err)
{
    if (directory && S_ISDIR(st->st_mode))
        return true;
    if (directory || !S_ISREG(st->st_mode))
        return err_set(err, ERR_DENIED, "'%s' is no %s", way->path,
                       directory ? "directory" : "plain file");
    return true;
}

bool trust_check(const char *path, bool directory, struct err *err)
{
    AUTO(way) struct way way = {.path = path, .dir = -1};
    char part[NAME_MAX + 1];
    struct stat st = {.st_mode = S_IFDIR};
    bool fits = true;
    if (path[0] != '/' || !str_copy(way.rest, sizeof way.rest, path))
        return err_set(err, ERR_DENIED, "'%.200s' is no absolute path", path);
    if (!to_root(&way, err))
        return false;
    while (next_part(&way, part, &fits)) {
        AUTO(fd) int fd = sys_openat(way.dir, part, O_PATH | O_NOFOLLOW, 0, err);
        if (fd < 0 || !sys_fstat(fd, &st, part, err) || !judge(&way, part, &st, err))
            return false;
        if (S_ISLNK(st.st_mode) ? !follow(&way, part, err)
                                : S_ISDIR(st.st_mode) && !go_to(&way, &fd))
            return false;
        if (!S_ISLNK(st.st_mode) && !S_ISDIR(st.st_mode))
            break;
    }
    if (!fits || way.rest[strspn(way.rest, "/")])
        return err_set(err, ERR_DENIED, "'%s' leads through something that is no directory", path);
    return judge_end(&way, &st, directory, err);
}
