/* Direct NFS as this host has set it up: on or off, and what oranfstab says. */
#pragma once
#include "agent/base/str.h"
#include <limits.h>

/* Whether an Oracle home is linked with Direct NFS: its ODM library is there (12.1 and later) or
 * takes the place of the plain one (11.2). */
bool directnfs_is_on(const char *oracle_home);

struct directnfs_entry {
    bool found;
    char server[256], export_path[300], file[PATH_MAX];
};
/* The entry whose mount is dir. Words are keys with ':' and their values, in any order of lines; a
 * '#' begins a comment; "export" and "mount" belong to the last "server". */
void directnfs_find(const char *text, const char *dir, struct directnfs_entry *ret);
/* In <home>/dbs/oranfstab, else /etc/oranfstab: the first file that has one. */
void directnfs_look(const char *oracle_home, const char *dir, struct directnfs_entry *ret);
