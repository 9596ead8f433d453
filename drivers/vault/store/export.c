/* Files out of a sealed state: read leaf by leaf, hashed as they are written. */
#include "drivers/vault/store/export.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/store/listing.h"
#include "drivers/vault/store/map.h"
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LEAF_BYTES = NODE_FAN * RECORD_BYTES, LINK_MAX_BYTES = 4096 };

struct export
{
    struct family *family;
    struct map_source source;
    const struct export_options *options;
    int folder;
    uint8_t *leaf; /* LEAF_BYTES */
    bool may_chown;
    const struct listing *listing;
    const struct listing_file *file; /* being written */
    size_t *written;                 /* of a file, by its first name: which name has it, plus 1 */
    int fd;
    struct export_result result;
};

/* ---- content ---- */

/* Runs of records that are not zeros, as far as the file goes. */
static bool write_leaf(struct export *x, uint64_t base, struct err *err)
{
    uint64_t size = x->file->inode.size, at = base << RECORD_SHIFT;
    size_t have = at >= size ? 0 : size - at < LEAF_BYTES ? (size_t)(size - at) : LEAF_BYTES;
    for (size_t i = 0, n; i < have; i += n) {
        size_t left = have - i;
        n = left < RECORD_BYTES ? left : RECORD_BYTES;
        if (format_is_zero(x->leaf + i, n))
            continue;
        while (n < left && n % RECORD_BYTES == 0) {
            size_t more = left - n < RECORD_BYTES ? left - n : RECORD_BYTES;
            if (format_is_zero(x->leaf + i + n, more))
                break;
            n += more;
        }
        if (!sys_pwrite(x->fd, x->leaf + i, n, at + i, x->file->path, err))
            return false;
        x->result.bytes += n;
    }
    return true;
}

static bool leaf(struct export *x, const struct root *top, const struct node *node, uint64_t base,
                 struct hash *ret, struct err *err)
{
    struct hash hashes[NODE_FAN];
    uint8_t coded = 0;
    if (x->options->stop && x->options->stop(x->options->arg))
        return err_set(err, ERR_CANCELLED, "stopped");
    if (!family_read(x->family, top, base, NODE_FAN, x->leaf, err))
        return false;
    for (size_t i = 0; i < NODE_FAN; i++)
        if (node->places[i].kind == PLACE_HOLE)
            hashes[i] = *hash_zero(-1);
        else
            hash_bytes(x->leaf + i * RECORD_BYTES, RECORD_BYTES, &hashes[i]);
    hash_pieces((struct format_piece[]){{&coded, 1}, {hashes, sizeof hashes}}, 2, ret);
    return write_leaf(x, base, err);
}

static bool content(struct export *x, const struct root *top, const struct root *root,
                    uint64_t base, struct err *err);

static bool content_below(struct export *x, const struct root *top, const struct node *node,
                          const struct root *root, uint64_t base, struct hash *ret, struct err *err)
{
    struct hash hashes[NODE_FAN];
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *place = &node->places[i];
        hashes[i] = *hash_zero(root->level - 1);
        if (place->kind != PLACE_STORED)
            continue;
        struct root below = {.level = (uint8_t)(root->level - 1),
                             .stored = true,
                             .addr = {place->pack, place->frame, place->item},
                             .birth = place->birth,
                             .hash = node->hashes[i]};
        hashes[i] = below.hash;
        if (!content(x, top, &below, base + ((uint64_t)i << (8 * root->level)), err))
            return false;
    }
    hash_pieces((struct format_piece[]){{&root->level, 1}, {hashes, sizeof hashes}}, 2, ret);
    return true;
}

static bool content(struct export *x, const struct root *top, const struct root *root,
                    uint64_t base, struct err *err)
{
    struct hash hash;
    struct node *node = own_alloc(sizeof *node, err);
    bool good = node && root->level < MAP_LEVELS &&
                map_node(&x->source, root->addr, root->level, base, root->birth, node, err);
    if (good)
        good = root->level == 0 ? leaf(x, top, node, base, &hash, err)
                                : content_below(x, top, node, root, base, &hash, err);
    if (node)
        node_done(node);
    own_free(node);
    if (good && !hash_equal(&hash, &root->hash))
        return err_set(err, ERR_CORRUPT, "records from %" PRIu64 " are not what was sealed", base);
    return good;
}

/* ---- entries ---- */

static bool attributes(const struct export *x, int fd, struct err *err)
{
    const struct inode *inode = &x->file->inode;
    struct timespec time = {.tv_sec = (time_t)(inode->mtime_us / 1000000),
                            .tv_nsec = (long)(inode->mtime_us % 1000000) * 1000};
    return (!x->may_chown || sys_fchown(fd, inode->uid, inode->gid, x->file->path, err)) &&
           sys_fchmod(fd, inode->mode & 07777, x->file->path, err) &&
           sys_set_time(fd, &time, x->file->path, err);
}

static bool write_file(struct export *x, struct err *err)
{
    const struct inode *inode = &x->file->inode;
    AUTO(fd)
    int fd = sys_open_beneath(x->folder, x->file->path,
                              O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600, err);
    x->fd = fd;
    if (fd < 0 || !sys_truncate(fd, inode->size, x->file->path, err))
        return false;
    if (inode->root.stored && inode->root.level != map_level(inode->size))
        return err_set(err, ERR_CORRUPT, "its map does not fit its size");
    if (inode->root.stored && !content(x, &inode->root, &inode->root, 0, err))
        return false;
    x->result.files++;
    return attributes(x, fd, err) && sys_fsync(fd, x->file->path, err);
}

static bool write_link(struct export *x, struct err *err)
{
    const struct inode *inode = &x->file->inode;
    if (inode->size == 0 || inode->size > LINK_MAX_BYTES)
        return err_set(err, ERR_CORRUPT, "a link of %" PRIu64 " bytes", inode->size);
    if (!family_read(x->family, &inode->root, 0, 1, x->leaf, err))
        return false;
    x->leaf[inode->size] = 0;
    x->result.files++;
    return sys_symlink_at((const char *)x->leaf, x->folder, x->file->path, err);
}

static bool is_asked_for(const struct export *x, const char *path)
{
    const char *under = x->options->under;
    size_t len = under ? strlen(under) : 0;
    if (len == 0)
        return true;
    return strncmp(path, under, len) == 0 && (!path[len] || path[len] == '/');
}

/* Folders above what is asked for are made too. */
static bool is_above(const struct export *x, const char *path)
{
    size_t len = strlen(path);
    return x->options->under && strncmp(x->options->under, path, len) == 0 &&
           x->options->under[len] == '/';
}

/* Further names of what is there are names of it there too. */
static bool write_name(struct export *x, struct err *err)
{
    size_t *written = &x->written[x->file->first];
    if (*written == 0) {
        *written = (size_t)(x->file - x->listing->files) + 1;
        return write_file(x, err);
    }
    x->result.files++;
    return sys_link_at(x->folder, x->listing->files[*written - 1].path, x->file->path, err);
}

static bool write_entry(struct export *x, struct err *err)
{
    const char *path = x->file->path;
    uint8_t kind = x->file->inode.kind;
    if (!is_asked_for(x, path) && !(kind == INODE_DIRECTORY && is_above(x, path)))
        return true;
    if (kind == INODE_FILE)
        return write_name(x, err);
    if (kind == INODE_SYMLINK)
        return write_link(x, err);
    x->result.folders++;
    return sys_mkdir_at(x->folder, path, 0700, err);
}

/* Of folders last, from below: what was written into them changed them. */
static bool finish_folders(struct export *x, const struct listing *listing, struct err *err)
{
    for (size_t i = listing->count; i-- > 0;) {
        x->file = &listing->files[i];
        if (x->file->inode.kind != INODE_DIRECTORY || !is_asked_for(x, x->file->path))
            continue;
        AUTO(fd)
        int fd = sys_open_beneath(x->folder, x->file->path,
                                  O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0, err);
        if (fd < 0 || !attributes(x, fd, err) || !sys_fsync(fd, x->file->path, err))
            return err_wrap(err, "'%.200s'", x->file->path);
    }
    return true;
}

static bool open_folder(struct export *x, const char *folder, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_mkdirs(folder, 0700, err) || !sys_list(folder, &names, err))
        return false;
    if (names.count > 0)
        return err_set(err, ERR_EXISTS, "'%s' is not empty", folder);
    x->folder = sys_open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, err);
    return x->folder >= 0;
}

bool export_state(struct family *family, const struct snapshot_row *snapshot, const char *folder,
                  const struct export_options *options, struct export_result *ret, struct err *err)
{
    AUTO(listing) struct listing listing = {0};
    AUTO(fd) int fd = -1;
    struct export x = {.family = family,
                       .source = family_source(family),
                       .options = options,
                       .may_chown = sys_has_capability(CAP_CHOWN)};
    AUTO(mem) uint8_t *bytes = own_alloc(LEAF_BYTES, err);
    x.leaf = bytes;
    if (!bytes || !listing_read(family, &snapshot->table, snapshot->slots, &listing, err) ||
        !open_folder(&x, folder, err))
        return false;
    fd = x.folder;
    AUTO(mem) size_t *written = own_alloc((listing.count + 1) * sizeof *written, err);
    if (!written)
        return false;
    x.listing = &listing;
    x.written = written;
    for (size_t i = 0; i < listing.count; i++) {
        x.file = &listing.files[i];
        if (!write_entry(&x, err))
            return err_wrap(err, "'%.200s'", x.file->path);
    }
    if (options->under && x.result.files + x.result.folders == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no '%.200s'", options->under);
    if (!finish_folders(&x, &listing, err) || !sys_fsync(fd, folder, err))
        return false;
    *ret = x.result;
    return true;
}
