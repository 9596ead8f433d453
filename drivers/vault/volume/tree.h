/* The names of a volume: a tree of files in memory, copied in O(1) for a snapshot or a clone.
 * Numbers are never used again. A file's number is also the cookie of its first name in a listing;
 * each further name (INODE_LINK) has a number, and an entry, of its own. When the first name goes
 * before the others, the file's entry stays without one. */
#pragma once
#include "drivers/vault/store/inode.h"
#include "drivers/vault/volume/index.h"

/* In an atime: made by an exclusive create and not set since; the other bits tell its verifier. */
#define ENTRY_EXCLUSIVE ((uint64_t)1 << 63)
enum {
    TREE_FILES_MAX = 100000, /* without the root */
    TREE_NUMBERS = 1 << 24,  /* file numbers are below this */
    TREE_PATH_MAX = 4096,
    TREE_TARGET_MAX = 4096,
    TREE_LINKS_MAX = 65000
};

struct entry {
    struct item item;
    uint64_t file, parent; /* 0: a file without a name of its own, which others have */
    uint64_t target;       /* of a LINK: the file */
    uint32_t generation, uid, gid, links;
    uint16_t mode;
    uint8_t kind;
    uint8_t name_len;
    uint64_t size, mtime_us, ctime_us, atime_us;
    char name[]; /* terminated */
};

struct tree {
    struct index files;    /* (file, 0): struct entry */
    struct index names;    /* (folder, hash of a name): struct bucket */
    struct index children; /* (folder, file) */
    struct index links;    /* (file, number of a further name) */
    uint64_t seed;
    uint64_t next_file;
    uint64_t count, bytes; /* entries, and what files hold */
};
/* A root folder alone. */
bool tree_init(struct tree *tree, uint64_t seed, uint64_t time_us, struct err *err) MUST;
struct tree tree_copy(const struct tree *tree);
void tree_done(struct tree *tree);
OWN_DEFINE_INPLACE(tree, struct tree, tree_done);

/* Borrowed until the tree changes; NULL when there is none. The entry of a number; a file, which a
 * further name is not; what an entry names, which is itself but for a further name. */
const struct entry *tree_find(const struct tree *tree, uint64_t number);
const struct entry *tree_file(const struct tree *tree, uint64_t file);
const struct entry *tree_named(const struct tree *tree, const struct entry *entry);
/* Names: what they name is for tree_named to say. */
const struct entry *tree_child(const struct tree *tree, uint64_t folder, const char *name);
/* The folder's entry with the least number above `cookie`. */
const struct entry *tree_after(const struct tree *tree, uint64_t folder, uint64_t cookie);
/* By path from the root, '/' between; "" is the root. */
const struct entry *tree_at(const struct tree *tree, const char *path);
/* Of a file or a further name; of a file without a name of its own: the path of another. LIMIT when
 * it is longer than size. */
bool tree_path(const struct tree *tree, uint64_t file, char *ret, size_t size, struct err *err)
    MUST;

/* The time of a change of those files (0: none): `now`, or what is needed for it to be later than
 * their last change and another time than their mtime. */
uint64_t tree_later(const struct tree *tree, uint64_t now, const uint64_t *files, size_t count);

/* Each leaves the tree as it was on error. Names are checked, as are limits: EXISTS, LIMIT,
 * INVALID. The folder's times become time_us. */
bool tree_add(struct tree *tree, const struct inode *inode, uint64_t time_us, struct err *err) MUST;
/* A further name, inode->file, of the file inode->target: UNSUPPORTED for what is no regular one.
 */
bool tree_link(struct tree *tree, const struct inode *inode, uint64_t time_us, struct err *err)
    MUST;
/* Of a name, by its number; the file goes with its last one. EXISTS when it is a folder that is not
 * empty. */
bool tree_remove(struct tree *tree, uint64_t number, uint64_t time_us, struct err *err) MUST;
/* The name must be free. INVALID into itself. */
bool tree_rename(struct tree *tree, uint64_t number, uint64_t folder, const char *name,
                 uint64_t time_us, struct err *err) MUST;
/* For writing attributes; sizes by tree_size. NULL without an error when there is none. */
struct entry *tree_own(struct tree *tree, uint64_t file, struct err *err) MUST;
/* The file's ctime does not go back. A file that is not there is left so. */
bool tree_resize(struct tree *tree, uint64_t file, uint64_t size, uint64_t mtime_us,
                 uint64_t ctime_us, struct err *err) MUST;
/* Slots of a file table in whatever order; then tree_load_end checks that all hang on the root. */
bool tree_load(struct tree *tree, const struct inode *inode, struct err *err) MUST;
bool tree_load_end(struct tree *tree, struct err *err) MUST;
void tree_show(const struct entry *entry, struct inode *ret); /* root apart */
