/* Snapshots and clones by FICLONE, for areas on XFS or btrfs of this host.
 *
 * Atomic how: everything is built in `.tmp-<random>`, synced, and gets its name by one rename that
 * replaces nothing; deleting takes the name away by one rename first.
 * Safe with whom: any number of threads and agents on one root; a directory in the making is
 * flock'ed, so that a sweep leaves it alone. A point in time only while nobody writes: NEEDS_QUIET.
 * What a crash can leave: `.tmp-*` directories and `note.json.*.tmp` files, which sweep removes. */
#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/driver.h"
#include "drivers/reflink/tree.h"
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SNAPSHOTS "snapshots"
#define CLONES "clones"
#define VOLUMES "volumes"
#define IN_FLIGHT ".tmp-"

enum { RECORD_MAX = 4 << 20, NOTE_BYTES_MAX = 64 << 10, ID_BYTES = 16, AREA_FILES_MAX = 1000000 };

struct driver_instance {
    char *root;
    uint32_t uid, gid; /* who gets new volumes; OWNER_SELF: the agent's own user */
};

enum { OWNER_SELF = -1 };

/* ---- names and places ---- */

static void random_id(char ret[2 * ID_BYTES + 1])
{
    uint8_t noise[ID_BYTES];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, ret);
}

static const char *record_name(const char *kind)
{
    return str_equal(kind, SNAPSHOTS) ? "snapshot.json" : "clone.json";
}

static char *volume_path(const struct driver_instance *d, const char *volume, struct err *err)
{
    return own_printf(err, "%s/" VOLUMES "/%s", d->root, volume);
}

static bool volume_exists(const struct driver_instance *d, const char *volume, struct err *err)
{
    AUTO(mem) char *path = volume_path(d, volume, err);
    struct stat st;
    return path && (sys_stat(path, &st, err) || err_wrap(err, "no volume '%s'", volume));
}

/* The volume has an area, or what was made of an area that is lost. */
static bool volume_is_known(const struct driver_instance *d, const char *volume, struct err *err)
{
    static const char *const rooms[] = {VOLUMES, SNAPSHOTS, CLONES};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        AUTO(mem) char *path = own_printf(err, "%s/%s/%s", d->root, rooms[i], volume);
        struct stat st;
        struct err why = {0};
        if (!path)
            return false;
        if (sys_stat(path, &st, &why))
            return true;
        if (why.code != ERR_NOT_FOUND) {
            *err = why;
            return false;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "no volume '%s'", volume);
}

/* The directory of an object's data, open; the volume's own where kind is NULL. */
static int open_data(const struct driver_instance *d, const char *kind, const char *volume,
                     const char *name, struct err *err)
{
    AUTO(mem)
    char *path = kind ? own_printf(err, "%s/%s/%s/%s/data", d->root, kind, volume, name)
                      : volume_path(d, volume, err);
    return path ? sys_open(path, O_RDONLY | O_DIRECTORY, 0, err) : -1;
}

/* ---- records: what an object says about itself ---- */

static json_t *record_new(const char *volume, const char *name, uint64_t created_us,
                          struct err *err)
{
    char id[2 * ID_BYTES + 1];
    random_id(id);
    AUTO(json) json_t *record = json_object();
    bool ok = record ? json_put_u64(record, "format", 1, err) &&
                           json_put_text(record, "volume", volume, err) &&
                           json_put_text(record, "name", name, err) &&
                           json_put_text(record, "id", id, err) &&
                           json_put_u64(record, "created_us", created_us, err)
                     : err_set(err, ERR_NO_MEMORY, "cannot write JSON");
    return ok ? TAKE(record) : NULL;
}

static bool record_write(const char *dir, const char *kind, const json_t *record, struct err *err)
{
    AUTO(mem) char *path = own_printf(err, "%s/%s", dir, record_name(kind));
    AUTO(mem) char *text = path ? json_format_pretty(record, err) : NULL;
    return text && sys_write_file(path, text, strlen(text), 0440, err);
}

/* NOT_FOUND when there is no such object. */
static json_t *record_read(const struct driver_instance *d, const char *kind, const char *volume,
                           const char *name, struct err *err)
{
    AUTO(mem)
    char *path = own_printf(err, "%s/%s/%s/%s/%s", d->root, kind, volume, name, record_name(kind));
    size_t len = 0;
    AUTO(mem) char *text = path ? sys_read_file(path, RECORD_MAX, &len, err) : NULL;
    if (!text)
        return NULL;
    json_t *record = json_parse(text, len, err);
    if (!record) {
        err->code = ERR_CORRUPT;
        return err_null(err, "'%s'", path);
    }
    return record;
}

/* Every object of a kind that is there: an array of records, oldest first is the caller's. */
static json_t *record_all(const struct driver_instance *d, const char *kind, const char *volume,
                          struct err *err)
{
    AUTO(json) json_t *all = json_array();
    AUTO(mem) char *dir = own_printf(err, "%s/%s/%s", d->root, kind, volume);
    AUTO(sys_names) struct sys_names names = {0};
    struct err why = {0};
    if (!all)
        err_set(err, ERR_NO_MEMORY, "cannot read JSON");
    if (!dir || !all)
        return NULL;
    if (!sys_list(dir, &names, &why)) {
        if (why.code == ERR_NOT_FOUND)
            return volume_is_known(d, volume, err) ? TAKE(all) : NULL;
        *err = why;
        return NULL;
    }
    for (size_t i = 0; i < names.count; i++) {
        if (!driver_name_is_valid(names.names[i]))
            continue;
        struct err gone = {0};
        json_t *record = record_read(d, kind, volume, names.names[i], &gone);
        if (!record && gone.code == ERR_NOT_FOUND)
            continue; /* deleted meanwhile, or a directory that is not ours */
        if (!record) {
            *err = gone;
            return NULL;
        }
        if (!json_add(all, record, err))
            return NULL;
    }
    return TAKE(all);
}

/* ---- drafts: objects that have no name yet ---- */

struct draft {
    char *parent; /* where it will appear */
    char *dir;    /* parent/.tmp-<random> */
    char *target; /* parent/name */
    int lock;     /* dir, flock'ed: a sweep leaves it alone */
    int data;     /* dir/data */
    bool is_made, is_published;
};

static const struct draft no_draft = {.lock = -1, .data = -1};

static bool durable_remove(const char *parent, const char *dir, struct err *err)
{
    AUTO(fd) int fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
    /* Its name must be gone for good before its content goes: a name listed is whole. */
    if (fd < 0 || !sys_fsync_dir(parent, err))
        return false;
    tree_thaw(fd);
    return sys_remove_tree(dir, err);
}

static void draft_done(struct draft *draft)
{
    struct err ignored = {0};
    if (draft->is_made && !draft->is_published)
        IGNORE(!durable_remove(draft->parent, draft->dir, &ignored)); /* swept at boot otherwise */
    if (draft->lock >= 0)
        sys_unlock(draft->lock);
    own_auto_fd(&draft->data);
    own_auto_fd(&draft->lock);
    own_free(draft->parent);
    own_free(draft->dir);
    own_free(draft->target);
    *draft = no_draft;
}
OWN_DEFINE_INPLACE(draft, struct draft, draft_done);

static bool draft_paths(struct draft *draft, const struct driver_instance *d, const char *kind,
                        const char *volume, const char *name, struct err *err)
{
    char id[2 * ID_BYTES + 1];
    random_id(id);
    draft->parent = own_printf(err, "%s/%s/%s", d->root, kind, volume);
    draft->dir = draft->parent ? own_printf(err, "%s/" IN_FLIGHT "%s", draft->parent, id) : NULL;
    draft->target = draft->dir ? own_printf(err, "%s/%s", draft->parent, name) : NULL;
    return draft->target;
}

static bool is_free(const char *path, struct err *err)
{
    struct stat st;
    struct err why = {0};
    if (sys_lstat(path, &st, &why))
        return err_set(err, ERR_EXISTS, "'%s' exists already", strrchr(path, '/') + 1);
    if (why.code != ERR_NOT_FOUND)
        *err = why;
    return why.code == ERR_NOT_FOUND;
}

static bool make_parent(const struct driver_instance *d, const char *kind, const char *parent,
                        struct err *err)
{
    struct stat st;
    struct err missing = {0};
    if (sys_stat(parent, &st, &missing))
        return true;
    AUTO(mem) char *above = own_printf(err, "%s/%s", d->root, kind);
    return above && sys_mkdirs(parent, 0755, err) && sys_fsync_dir(above, err);
}

/* False without an error when a sweep, which found our directory before we locked it, took it. */
static bool draft_try(struct draft *draft, struct err *err)
{
    struct err why = {0};
    bool locked = false;
    if (!sys_mkdir(draft->dir, 0755, err))
        return false;
    draft->is_made = true;
    draft->lock = sys_open(draft->dir, O_RDONLY | O_DIRECTORY, 0, &why);
    bool ok = draft->lock >= 0 && sys_try_lock(draft->lock, &locked, draft->dir, &why) && locked &&
              sys_mkdir_at(draft->lock, "data", 0755, &why);
    if (!ok && (why.code == ERR_NONE || why.code == ERR_NOT_FOUND))
        draft->is_made = false; /* the sweep's now */
    else if (!ok)
        *err = why;
    return ok;
}

static bool draft_begin(struct draft *draft, const struct driver_instance *d, const char *kind,
                        const char *volume, const char *name, struct err *err)
{
    enum { TRIES = 10 };
    struct err why = {0};
    for (int i = 0; i < TRIES; i++) {
        draft_done(draft);
        if (!draft_paths(draft, d, kind, volume, name, err) || !is_free(draft->target, err) ||
            !make_parent(d, kind, draft->parent, err))
            return false;
        if (draft_try(draft, &why)) {
            draft->data = sys_openat(draft->lock, "data", O_RDONLY | O_DIRECTORY, 0, err);
            return draft->data >= 0;
        }
        if (why.code) {
            *err = why;
            return false;
        }
    }
    return err_set(err, ERR_BUSY, "'%s' is being swept", draft->parent);
}

/* Takes the name away again. When not even that can be done, what stays is whole. */
static void draft_withdraw(struct draft *draft)
{
    struct err ignored = {0};
    if (draft->is_published && sys_rename(draft->target, draft->dir, &ignored))
        draft->is_published = false;
}

static bool draft_publish(struct draft *draft, struct err *err)
{
    if (!sys_rename_new(draft->dir, draft->target, err))
        return false;
    draft->is_published = true;
    if (sys_fsync_dir(draft->parent, err))
        return true;
    draft_withdraw(draft);
    return false;
}

static bool draft_finish(struct draft *draft, const char *kind, const json_t *record,
                         struct err *err)
{
    return tree_sync(draft->data, err) && record_write(draft->dir, kind, record, err) &&
           sys_fsync(draft->lock, draft->dir, err);
}

/* Takes an object's name away, then its content. */
static bool discard(const struct driver_instance *d, const char *kind, const char *volume,
                    const char *name, struct err *err)
{
    AUTO(draft) struct draft gone = no_draft;
    if (!draft_paths(&gone, d, kind, volume, name, err))
        return false;
    gone.lock = sys_open(gone.target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
    bool locked = false;
    if (gone.lock < 0 || !sys_try_lock(gone.lock, &locked, gone.target, err))
        return false;
    if (!locked)
        return err_set(err, ERR_BUSY, "'%s' is being worked on", name);
    return sys_rename_new(gone.target, gone.dir, err) && durable_remove(gone.parent, gone.dir, err);
}

/* ---- open ---- */

static void reflink_close(struct driver_instance *d)
{
    if (d)
        own_free(d->root);
    own_free(d);
}
OWN_DEFINE(instance, struct driver_instance, reflink_close);

static bool set_root(struct driver_instance *d, const char *root, struct err *err)
{
    if (root[0] != '/' || strlen(root) > PATH_MAX / 2)
        return err_set(err, ERR_CONFIG, "root '%.200s' must be an absolute path", root);
    own_free(d->root);
    d->root = own_strdup(root, err);
    return d->root;
}

static bool set_owner(uint32_t *owner, const struct driver_option *option, struct err *err)
{
    uint64_t number;
    if (!str_to_u64(option->value, UINT32_MAX - 1, &number))
        return err_set(err, ERR_CONFIG, "option '%s' is a number, not '%.100s'", option->key,
                       option->value);
    *owner = (uint32_t)number;
    return true;
}

static bool set_option(struct driver_instance *d, const struct driver_option *option,
                       struct err *err)
{
    static const char *const known[] = {"root", "uid", "gid"};
    if (str_equal(option->key, "root"))
        return set_root(d, option->value, err);
    if (str_equal(option->key, "uid"))
        return set_owner(&d->uid, option, err);
    if (str_equal(option->key, "gid"))
        return set_owner(&d->gid, option, err);
    const char *nearest = str_nearest(option->key, known, sizeof known / sizeof *known);
    return err_set(err, ERR_CONFIG, "unknown option '%.100s'; hint: did you mean '%s'?",
                   option->key, nearest ? nearest : "root");
}

static bool make_rooms(const char *root, struct err *err)
{
    AUTO(fd) int fd = sys_open(root, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return err_wrap(err, "root");
    static const char *const rooms[] = {VOLUMES, SNAPSHOTS, CLONES};
    bool is_new = false;
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        struct err why = {0};
        bool made = sys_mkdir_at(fd, rooms[i], 0755, &why);
        is_new |= made;
        if (!made && why.code != ERR_EXISTS && why.code != ERR_NO_SPACE) {
            *err = why;
            return false;
        }
    }
    return !is_new || sys_fsync(fd, root, err);
}

static struct driver_instance *reflink_open(const struct driver_option *options, size_t count,
                                            struct err *err)
{
    AUTO(instance) struct driver_instance *d = own_alloc(sizeof *d, err);
    if (!d)
        return NULL;
    d->uid = d->gid = (uint32_t)OWNER_SELF;
    for (size_t i = 0; i < count; i++)
        if (!set_option(d, &options[i], err))
            return NULL;
    if (!d->root)
        err_set(err, ERR_CONFIG, "option 'root' is missing");
    if (!d->root || !tree_probe(d->root, err) || !make_rooms(d->root, err))
        return NULL;
    return TAKE(d);
}

/* ---- volumes ---- */

static bool hand_over(const struct driver_instance *d, const char *path, struct err *err)
{
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0, err);
    bool ours = d->uid == (uint32_t)OWNER_SELF && d->gid == (uint32_t)OWNER_SELF;
    return fd >= 0 && (ours || sys_fchown(fd, d->uid, d->gid, path, err)) &&
           sys_fchmod(fd, 0750, path, err) && sys_fsync(fd, path, err);
}

static bool reflink_volume_create(struct driver_instance *d, const char *volume, struct err *err)
{
    AUTO(mem) char *path = volume_path(d, volume, err);
    AUTO(mem) char *above = path ? own_printf(err, "%s/" VOLUMES, d->root) : NULL;
    if (!above || !sys_mkdir(path, 0700, err))
        return false;
    if (hand_over(d, path, err) && sys_fsync_dir(above, err))
        return true;
    struct err ignored = {0};
    IGNORE(sys_rmdir(path, &ignored)); /* an empty volume that stays harms nobody */
    return false;
}

/* What files show; UNKNOWN where it cannot be added up, which no caller should fail for. */
static uint64_t logical_bytes(const char *path)
{
    struct err ignored = {0};
    AUTO(area) struct area *area = area_open_path(path, &ignored);
    AUTO(area_list) struct area_list list = {0};
    if (!area || !area_list(area, AREA_FILES_MAX, &list, &ignored))
        return DRIVER_UNKNOWN;
    uint64_t bytes = 0;
    for (size_t i = 0; i < list.count; i++)
        bytes += list.files[i].size;
    return bytes;
}

static bool reflink_volume_info(struct driver_instance *d, const char *volume,
                                struct driver_volume_info *ret, struct err *err)
{
    AUTO(mem) char *path = volume_path(d, volume, err);
    struct statvfs fs;
    if (!path || !volume_exists(d, volume, err) || !sys_statvfs(path, &fs, err))
        return false;
    IGNORE(str_copy(ret->name, sizeof ret->name, volume)); /* names are shorter */
    ret->capacity = (uint64_t)fs.f_blocks * fs.f_frsize;
    ret->available = (uint64_t)fs.f_bavail * fs.f_frsize;
    ret->space = (struct driver_space){logical_bytes(path), DRIVER_UNKNOWN, DRIVER_UNKNOWN};
    return true;
}

/* What we put there is the area's owner's, as if a host had written it. */
static bool give(int fd, const struct stat *area, const char *what, struct err *err)
{
    return (area->st_uid == geteuid() && area->st_gid == getegid()) ||
           sys_fchown(fd, area->st_uid, area->st_gid, what, err);
}

static int enter_one(int above, const char *name, const struct stat *area, struct err *err)
{
    struct err why = {0};
    bool made = sys_mkdir_at(above, name, 0750, &why);
    if (!made && why.code != ERR_EXISTS) {
        *err = why;
        return -1;
    }
    AUTO(fd) int fd = sys_open_beneath(above, name, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0 || (made && !give(fd, area, name, err)))
        return -1;
    int ret = fd;
    fd = -1;
    return ret;
}

/* The folder at path[0..len) below dir, made where it is not there. Hosts write the area: a link in
 * it leads nowhere. */
static int enter_folder(int dir, const char *path, size_t len, const struct stat *area,
                        struct err *err)
{
    AUTO(fd) int at = sys_open_beneath(dir, ".", O_RDONLY | O_DIRECTORY, 0, err);
    for (size_t end = 0; at >= 0 && end < len; end++) {
        char name[256];
        size_t begin = end;
        end += strcspn(path + end, "/");
        if (!str_format(name, sizeof name, "%.*s", (int)(end - begin), path + begin)) {
            err_set(err, ERR_INVALID, "a name in '%.200s' is too long", path);
            return -1;
        }
        AUTO(fd) int above = at;
        at = enter_one(above, name, area, err);
    }
    int ret = at;
    at = -1;
    return ret;
}

static bool put_file(int dir, const char *name, const void *bytes, size_t len,
                     const struct stat *area, struct err *err)
{
    char half[256];
    struct err none = {0};
    if (!str_format(half, sizeof half, "%s.tmp", name))
        return err_set(err, ERR_INVALID, "'%.200s' is too long a name", name);
    IGNORE(sys_unlink_at(dir, half, &none)); /* of a call that was cut off */
    AUTO(fd) int fd = sys_openat(dir, half, O_WRONLY | O_CREAT | O_EXCL, 0640, err);
    return fd >= 0 && give(fd, area, half, err) && sys_pwrite(fd, bytes, len, 0, half, err) &&
           sys_fsync(fd, half, err) && sys_rename_at(dir, half, name, true, err) &&
           sys_fsync(dir, name, err);
}

static bool reflink_area_put(struct driver_instance *d, const char *volume, const char *path,
                             const void *bytes, size_t len, struct err *err)
{
    struct stat area;
    const char *slash = strrchr(path, '/');
    size_t above = slash ? (size_t)(slash - path) : 0;
    AUTO(fd) int top = open_data(d, NULL, volume, NULL, err);
    if (top < 0 || !sys_fstat(top, &area, volume, err))
        return false;
    AUTO(fd) int dir = enter_folder(top, path, bytes ? above : strlen(path), &area, err);
    return dir >= 0 && (!bytes || put_file(dir, slash ? slash + 1 : path, bytes, len, &area, err));
}

static bool reflink_area_path(struct driver_instance *d, const char *volume, const char *snapshot,
                              const char *clone, char *ret, size_t size, struct err *err)
{
    bool fits = !snapshot && !clone
                    ? str_format(ret, size, "%s/%s", VOLUMES, volume)
                    : str_format(ret, size, "%s/%s/%s/data", snapshot ? SNAPSHOTS : CLONES, volume,
                                 snapshot ? snapshot : clone);
    return fits || err_set(err, ERR_LIMIT, "the path below '%.200s' is too long", d->root);
}

static struct area *reflink_area(struct driver_instance *d, const char *volume,
                                 const char *snapshot, const char *clone, struct err *err)
{
    AUTO(mem)
    char *path = !snapshot && !clone
                     ? volume_path(d, volume, err)
                     : own_printf(err, "%s/%s/%s/%s/data", d->root, snapshot ? SNAPSHOTS : CLONES,
                                  volume, snapshot ? snapshot : clone);
    return path ? area_open_path(path, err) : NULL;
}

/* ---- snapshots ---- */

struct drafts {
    struct draft item[DRIVER_SET_MAX];
    size_t count;
};

static void drafts_done(struct drafts *drafts)
{
    for (size_t i = 0; i < drafts->count; i++)
        draft_done(&drafts->item[i]);
}
OWN_DEFINE_INPLACE(drafts, struct drafts, drafts_done);

static bool snapshot_fill(const struct driver_instance *d, struct draft *draft, const char *volume,
                          const char *name, uint64_t created_us, struct err *err)
{
    AUTO(fd) int live = open_data(d, NULL, volume, NULL, err);
    AUTO(json) json_t *record = live < 0 ? NULL : record_new(volume, name, created_us, err);
    if (!record)
        return false;
    struct tree_copy copy = {.frozen = true, .source_lives = true, .odd = json_array()};
    if (!json_put(record, "odd", copy.odd, err)) /* the record owns it */
        return false;
    return tree_clone(live, draft->data, &copy, err) &&
           json_put_u64(record, "odd_count", copy.odd_count, err) &&
           json_put_u64(record, "files", copy.files, err) &&
           json_put_u64(record, "logical", copy.bytes, err) &&
           draft_finish(draft, SNAPSHOTS, record, err);
}

static bool reflink_snapshot_create(struct driver_instance *d, const char *const *volumes,
                                    size_t count, const char *name,
                                    struct driver_handle *ret_handles, bool *ret_atomic,
                                    struct err *err)
{
    AUTO(drafts) struct drafts drafts = {0};
    uint64_t now_us = clock_wall_us();
    for (; drafts.count < count; drafts.count++) {
        struct draft *draft = &drafts.item[drafts.count];
        *draft = no_draft;
        if (!volume_exists(d, volumes[drafts.count], err) ||
            !draft_begin(draft, d, SNAPSHOTS, volumes[drafts.count], name, err) ||
            !snapshot_fill(d, draft, volumes[drafts.count], name, now_us, err)) {
            draft_done(draft);
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (draft_publish(&drafts.item[i], err))
            continue;
        while (i--)
            draft_withdraw(&drafts.item[i]);
        return false;
    }
    memset(ret_handles, 0, count * sizeof *ret_handles);
    *ret_atomic = false;
    return true;
}

static uint32_t count_clones(const json_t *clones, const char *snapshot_id)
{
    uint32_t count = 0;
    for (size_t i = 0; i < json_array_size(clones); i++) {
        const json_t *sources = json_object_get(json_array_get(clones, i), "sources");
        for (size_t j = 0; j < json_array_size(sources); j++)
            count += str_equal(json_text(json_array_get(sources, j), "id"), snapshot_id);
    }
    return count;
}

static int compare_snapshots(const void *a, const void *b)
{
    const struct driver_snapshot_info *x = a, *y = b;
    if (x->created_us != y->created_us)
        return x->created_us < y->created_us ? -1 : 1;
    return strcmp(x->name, y->name);
}

static struct driver_snapshot_info *reflink_snapshot_list(struct driver_instance *d,
                                                          const char *volume, size_t *ret_count,
                                                          struct err *err)
{
    AUTO(json) json_t *clones = record_all(d, CLONES, volume, err);
    AUTO(json) json_t *all = clones ? record_all(d, SNAPSHOTS, volume, err) : NULL;
    size_t count = json_array_size(all);
    struct driver_snapshot_info *rows = all ? own_alloc(count * sizeof *rows, err) : NULL;
    if (!rows)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const json_t *record = json_array_get(all, i);
        struct driver_snapshot_info *row = &rows[i];
        str_copy(row->volume, sizeof row->volume, volume);
        str_copy(row->name, sizeof row->name, json_text(record, "name"));
        str_copy(row->id, sizeof row->id, json_text(record, "id"));
        row->created_us = json_u64(record, "created_us");
        row->durability = DURABILITY_LOCAL;
        row->clone_count = count_clones(clones, row->id);
        row->space =
            (struct driver_space){json_u64(record, "logical"), DRIVER_UNKNOWN, DRIVER_UNKNOWN};
    }
    qsort(rows, count, sizeof *rows, compare_snapshots);
    *ret_count = count;
    return rows;
}

static bool reflink_snapshot_delete(struct driver_instance *d, const char *volume, const char *name,
                                    struct driver_handle *ret_handle, struct err *err)
{
    *ret_handle = (struct driver_handle){0};
    return discard(d, SNAPSHOTS, volume, name, err) || err_wrap(err, "snapshot '%s'", name);
}

/* ---- clones ---- */

static bool source_add(const struct driver_instance *d, json_t *sources, const char *volume,
                       const char *snapshot, struct err *err)
{
    for (size_t i = 0; i < json_array_size(sources); i++)
        if (str_equal(json_text(json_array_get(sources, i), "name"), snapshot))
            return true;
    AUTO(json) json_t *record = record_read(d, SNAPSHOTS, volume, snapshot, err);
    if (!record)
        return false;
    json_t *source = json_object();
    return json_add(sources, source, err) && json_put_text(source, "name", snapshot, err) &&
           json_put_text(source, "id", json_text(record, "id"), err);
}

/* The snapshot was not deleted while we cloned it: its first step takes the name away. */
static bool still_there(const struct driver_instance *d, const char *volume, const char *snapshot,
                        int data, struct err *err)
{
    struct stat then, now;
    AUTO(fd) int again = open_data(d, SNAPSHOTS, volume, snapshot, err);
    if (again < 0 || !sys_fstat(again, &now, snapshot, err) ||
        !sys_fstat(data, &then, snapshot, err))
        return false;
    return then.st_ino == now.st_ino ||
           err_set(err, ERR_NOT_FOUND, "snapshot '%s' was replaced meanwhile", snapshot);
}

static bool clone_whole(const struct driver_instance *d, struct draft *draft, const char *volume,
                        const char *snapshot, json_t *sources, struct err *err)
{
    struct tree_copy copy = {0};
    AUTO(fd) int from = open_data(d, SNAPSHOTS, volume, snapshot, err);
    return from >= 0 && source_add(d, sources, volume, snapshot, err) &&
           tree_clone(from, draft->data, &copy, err) && still_there(d, volume, snapshot, from, err);
}

/* Files of a snapshot never change, so one that could be opened is the right one. */
static bool clone_parts(const struct driver_instance *d, struct draft *draft, const char *volume,
                        const struct driver_part *parts, size_t count, json_t *sources,
                        struct err *err)
{
    struct stat like;
    struct tree_copy copy = {.like = &like};
    AUTO(fd)
    int first = open_data(d, parts->snapshot ? SNAPSHOTS : NULL, volume, parts->snapshot, err);
    if (first < 0 || !sys_fstat(first, &like, volume, err))
        return err_wrap(err, "part '%s'", parts->path);
    for (size_t i = 0; i < count; i++) {
        const struct driver_part *part = &parts[i];
        AUTO(fd)
        int from = open_data(d, part->snapshot ? SNAPSHOTS : NULL, volume, part->snapshot, err);
        if (from < 0 || (part->snapshot && !source_add(d, sources, volume, part->snapshot, err)) ||
            !tree_clone_file(from, part->path, draft->data, part->to ? part->to : part->path, &copy,
                             err))
            return err_wrap(err, "part '%s'", part->path);
    }
    return tree_copy_attributes(draft->data, &copy, &like, volume, err);
}

static bool reflink_clone_create(struct driver_instance *d, const char *volume, const char *name,
                                 const char *snapshot, const struct driver_part *parts,
                                 size_t part_count, struct driver_handle *ret_handle,
                                 struct err *err)
{
    AUTO(draft) struct draft draft = no_draft;
    AUTO(json) json_t *record = record_new(volume, name, clock_wall_us(), err);
    if (!record)
        return false;
    json_t *sources = json_array();
    if (!json_put(record, "sources", sources, err) || !volume_is_known(d, volume, err) ||
        !draft_begin(&draft, d, CLONES, volume, name, err))
        return false;
    bool ok = part_count ? clone_parts(d, &draft, volume, parts, part_count, sources, err)
                         : clone_whole(d, &draft, volume, snapshot, sources, err);
    *ret_handle = (struct driver_handle){0};
    return ok && draft_finish(&draft, CLONES, record, err) && draft_publish(&draft, err);
}

static int compare_clones(const void *a, const void *b)
{
    const struct driver_clone_info *x = a, *y = b;
    if (x->created_us != y->created_us)
        return x->created_us < y->created_us ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool clone_row(const struct driver_instance *d, const char *volume, const json_t *record,
                      struct driver_clone_info *row, struct err *err)
{
    const json_t *sources = json_object_get(record, "sources");
    str_copy(row->volume, sizeof row->volume, volume);
    str_copy(row->name, sizeof row->name, json_text(record, "name"));
    str_copy(row->id, sizeof row->id, json_text(record, "id"));
    str_copy(row->snapshot, sizeof row->snapshot, json_text(json_array_get(sources, 0), "name"));
    row->created_us = json_u64(record, "created_us");
    AUTO(mem) char *data = own_printf(err, "%s/" CLONES "/%s/%s/data", d->root, volume, row->name);
    if (data)
        row->space = (struct driver_space){logical_bytes(data), DRIVER_UNKNOWN, DRIVER_UNKNOWN};
    return data;
}

static struct driver_clone_info *reflink_clone_list(struct driver_instance *d, const char *volume,
                                                    size_t *ret_count, struct err *err)
{
    AUTO(json) json_t *all = record_all(d, CLONES, volume, err);
    size_t count = json_array_size(all);
    AUTO(mem) struct driver_clone_info *rows = all ? own_alloc(count * sizeof *rows, err) : NULL;
    if (!rows)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (!clone_row(d, volume, json_array_get(all, i), &rows[i], err))
            return NULL;
    qsort(rows, count, sizeof *rows, compare_clones);
    *ret_count = count;
    return TAKE(rows);
}

static bool reflink_clone_delete(struct driver_instance *d, const char *volume, const char *name,
                                 struct driver_handle *ret_handle, struct err *err)
{
    *ret_handle = (struct driver_handle){0};
    return discard(d, CLONES, volume, name, err) || err_wrap(err, "clone '%s'", name);
}

static bool reflink_clone_mount(struct driver_instance *d, const char *volume, const char *name,
                                char *ret, size_t size, struct err *err)
{
    AUTO(fd) int data = open_data(d, name ? CLONES : NULL, volume, name, err);
    if (data < 0)
        return name ? err_wrap(err, "clone '%s'", name) : false;
    bool fits = name ? str_format(ret, size, "path:%s/" CLONES "/%s/%s/data", d->root, volume, name)
                     : str_format(ret, size, "path:%s/" VOLUMES "/%s", d->root, volume);
    return fits || err_set(err, ERR_LIMIT, "the mount text does not fit into %zu bytes", size);
}

/* ---- notes ---- */

static char *note_path(const struct driver_instance *d, const char *volume, const char *snapshot,
                       const char *clone, struct err *err)
{
    return own_printf(err, "%s/%s/%s/%s/note.json", d->root, clone ? CLONES : SNAPSHOTS, volume,
                      clone ? clone : snapshot);
}

static bool reflink_note_put(struct driver_instance *d, const char *volume, const char *snapshot,
                             const char *clone, const char *text, struct err *err)
{
    AUTO(mem) char *path = note_path(d, volume, snapshot, clone, err);
    return path && sys_write_file(path, text, strlen(text), 0640, err);
}

static char *reflink_note_get(struct driver_instance *d, const char *volume, const char *snapshot,
                              const char *clone, struct err *err)
{
    AUTO(mem) char *path = note_path(d, volume, snapshot, clone, err);
    size_t len = 0;
    return path ? sys_read_file(path, NOTE_BYTES_MAX, &len, err) : NULL;
}

/* ---- sweep ---- */

static bool sweep_in_flight(const char *parent, const char *name, uint32_t *swept, struct err *err)
{
    AUTO(mem) char *path = own_printf(err, "%s/%s", parent, name);
    if (!path)
        return false;
    struct err why = {0};
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &why);
    if (fd < 0 && why.code == ERR_NOT_FOUND)
        return true;
    bool locked = false;
    if (fd < 0 || !sys_try_lock(fd, &locked, path, &why)) {
        *err = why;
        return false;
    }
    if (!locked)
        return true; /* somebody alive is at it */
    if (durable_remove(parent, path, &why))
        *swept += 1;
    else if (why.code != ERR_NOT_FOUND) /* another sweep was faster */
        *err = why;
    return why.code == ERR_NONE || why.code == ERR_NOT_FOUND;
}

/* Half-written notes of one object. */
static bool sweep_notes(const char *parent, const char *name, uint32_t *swept, struct err *err)
{
    AUTO(mem) char *dir = own_printf(err, "%s/%s", parent, name);
    AUTO(sys_names) struct sys_names names = {0};
    if (!dir || !sys_list(dir, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        if (!str_starts(names.names[i], "note.json.") || !str_ends(names.names[i], ".tmp"))
            continue;
        AUTO(mem) char *path = own_printf(err, "%s/%s", dir, names.names[i]);
        if (!path || !sys_unlink(path, err))
            return false;
        *swept += 1;
    }
    return true;
}

static bool sweep_volume(const char *above, const char *volume, uint32_t *swept, struct err *err)
{
    AUTO(mem) char *parent = own_printf(err, "%s/%s", above, volume);
    AUTO(sys_names) struct sys_names names = {0};
    if (!parent || !sys_list(parent, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        if (str_starts(name, IN_FLIGHT)
                ? !sweep_in_flight(parent, name, swept, err)
                : driver_name_is_valid(name) && !sweep_notes(parent, name, swept, err))
            return false;
    }
    return true;
}

static bool sweep_kind(const struct driver_instance *d, const char *kind, uint32_t *swept,
                       struct err *err)
{
    AUTO(mem) char *above = own_printf(err, "%s/%s", d->root, kind);
    AUTO(sys_names) struct sys_names names = {0};
    if (!above || !sys_list(above, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++)
        if (driver_name_is_valid(names.names[i]) &&
            !sweep_volume(above, names.names[i], swept, err))
            return false;
    return true;
}

static bool sweep_probes(const struct driver_instance *d, uint32_t *swept, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(d->root, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        if (!str_starts(names.names[i], IN_FLIGHT "probe-"))
            continue;
        AUTO(mem) char *path = own_printf(err, "%s/%s", d->root, names.names[i]);
        struct err gone = {0};
        if (!path)
            return false;
        *swept += sys_unlink(path, &gone); /* a probe at work removes its own */
    }
    return true;
}

static bool reflink_sweep(struct driver_instance *d, uint32_t *ret_swept, struct err *err)
{
    uint32_t swept = 0;
    if (!sweep_kind(d, SNAPSHOTS, &swept, err) || !sweep_kind(d, CLONES, &swept, err) ||
        !sweep_probes(d, &swept, err))
        return false;
    *ret_swept = swept;
    return true;
}

const struct driver driver_reflink = {
    .name = "reflink",
    .can = DRIVER_CAN_SNAPSHOT | DRIVER_CAN_CLONE | DRIVER_CAN_COMPOSE | DRIVER_CAN_VOLUME_CREATE |
           DRIVER_CAN_LOCAL_PATH | DRIVER_NEEDS_QUIET,
    .open = reflink_open,
    .close = reflink_close,
    .volume_info = reflink_volume_info,
    .area = reflink_area,
    .area_path = reflink_area_path,
    .area_put = reflink_area_put,
    .snapshot_create = reflink_snapshot_create,
    .snapshot_list = reflink_snapshot_list,
    .snapshot_delete = reflink_snapshot_delete,
    .sweep = reflink_sweep,
    .volume_create = reflink_volume_create,
    .clone_create = reflink_clone_create,
    .clone_list = reflink_clone_list,
    .clone_delete = reflink_clone_delete,
    .clone_mount = reflink_clone_mount,
    .note_put = reflink_note_put,
    .note_get = reflink_note_get,
};
