/* Trees of cloned files: FICLONE for every plain file, its attributes, and what makes it last. */
#pragma once
#include "agent/base/json.h"
#include <stdint.h>
#include <sys/stat.h>

/* One copy in the making; start with the first three members. */
struct tree_copy {
    bool frozen;             /* the copy's files cannot be written: a snapshot */
    bool source_lives;       /* files may vanish while we look; in a snapshot that is an error */
    const struct stat *like; /* whose owner and mode directories made on the way get */
    uint64_t files, bytes;
    uint64_t odd_count; /* links, pipes, devices: left out */
    size_t odd_bytes;
    json_t *odd; /* the first of their names, bytes beyond plain ASCII as %XX; borrowed array */
};

/* Clones all below the directory `from` into the empty directory `to`, deepest 32 levels. Nothing
 * is copied byte by byte: where cloning fails this fails, UNSUPPORTED with a hint. */
bool tree_clone(int from, int to, struct tree_copy *copy, struct err *err) MUST;
/* One plain file to a new path; directories on the way are made as copy->like. */
bool tree_clone_file(int from, const char *path, int to, const char *to_path,
                     struct tree_copy *copy, struct err *err) MUST;
/* Owner, mode (as the copy wants it) and time, from st to the open file or directory. */
bool tree_copy_attributes(int to, const struct tree_copy *copy, const struct stat *st,
                          const char *name, struct err *err) MUST;
/* Everything below and the directory itself is on disk when it returns. */
bool tree_sync(int dir, struct err *err) MUST;
/* Lets the owner remove what a frozen copy holds; does what it can. */
void tree_thaw(int dir);
/* True when files of this directory can be cloned; the probe's files are gone afterwards. */
bool tree_probe(const char *dir, struct err *err) MUST;
