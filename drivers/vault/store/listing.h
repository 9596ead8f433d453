/* The files of a sealed volume state by path, as its file table says them. */
#pragma once
#include "drivers/vault/store/store.h"

struct listing_file {
    struct inode inode; /* the file's, also at a further name of it */
    uint64_t number;    /* the name's */
    size_t first;       /* of `files`: the first name of the same file */
    char *path;         /* relative, '/' between; owned */
};
struct listing {
    struct listing_file *files; /* by path in byte order; without the root directory */
    size_t count, capacity;
};
void listing_done(struct listing *listing);
OWN_DEFINE_INPLACE(listing, struct listing, listing_done);
/* CORRUPT when the slots are no tree: a parent that is missing or no directory, a path too long or
 * there twice, a further name of what is no file. */
bool listing_read(struct family *family, const struct root *table, uint64_t slots,
                  struct listing *ret, struct err *err) MUST;
/* The snapshot's identity (FORMAT.md 2.2). */
bool listing_identity(const struct listing *listing, struct hash *ret, struct err *err) MUST;
/* The path of a file, NULL when there is none. */
const char *listing_path(const struct listing *listing, uint64_t file);
