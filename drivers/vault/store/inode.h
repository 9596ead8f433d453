/* Slots of the file table (FORMAT.md 2.3). */
#pragma once
#include "drivers/vault/store/format.h"

/* LINK: a further name of a file. A file none of whose names is its slot's own has none. */
enum inode_kind { INODE_FREE, INODE_FILE, INODE_DIRECTORY, INODE_SYMLINK, INODE_LINK };
enum { INODE_BYTES = 512, INODE_NAME_MAX = 255, INODE_TABLE = 0, INODE_ROOT = 1 };

struct inode {
    uint64_t file, parent;
    uint32_t generation;
    uint8_t kind;
    uint16_t mode;
    uint32_t uid, gid, links;
    uint64_t size, mtime_us, ctime_us, atime_us;
    uint64_t target; /* of a LINK: the file; in the place of its size */
    struct root root;
    uint8_t name_len;
    char name[INODE_NAME_MAX + 1];
};
void inode_encode(const struct inode *inode, uint64_t seed, uint8_t ret[INODE_BYTES]);
/* CORRUPT when the sum or a field is wrong; a slot of zeros is INODE_FREE. */
bool inode_decode(const uint8_t slot[INODE_BYTES], uint64_t seed, struct inode *ret,
                  struct err *err) MUST;
/* A name that may stand in a directory: 1..255 bytes, no '/', no NUL, not "." nor "..". */
bool inode_name_is_valid(const char *name, size_t len);
