/* This host's mount table, and what is wrong with a mount for Oracle's files. Pure but for loading
 * and mounttab_is_server. */
#pragma once
#include "agent/shim/mount.h"

#define MOUNTTAB_PATH "/proc/self/mounts" /* this host's */

struct mounttab_row { /* of proc(5) mounts; texts are the table's */
    const char *source, *dir, *type, *options;
};
struct mounttab {
    char *text;
    struct mounttab_row *rows; /* as mounted: a later one covers an earlier one */
    size_t count, capacity;
};
/* Lines that are none are passed over: the kernel writes no such. */
bool mounttab_parse(struct mounttab *tab, const char *text, size_t len, struct err *err) MUST;
bool mounttab_load(struct mounttab *tab, const char *path, struct err *err) MUST;
void mounttab_done(struct mounttab *tab);
OWN_DEFINE_INPLACE(mounttab, struct mounttab, mounttab_done);

/* What one finds who opens dir: the row of the longest path above it, of equals the last. NULL:
 * none. */
const struct mounttab_row *mounttab_under(const struct mounttab *tab, const char *dir);
bool mounttab_is_nfs(const struct mounttab_row *row);
/* Export of the row's server that dir shows; false when it does not fit. */
bool mounttab_export(const struct mounttab_row *row, const char *dir, char *ret, size_t size);
/* The last row that shows exactly place's export; of several one of its host by name is preferred,
 * then one that is_server (as below) says to be, then the last. NULL: none. */
const struct mounttab_row *mounttab_of_export(
    const struct mounttab *tab, const struct mount_place *place,
    bool (*is_server)(void *arg, const struct mounttab_row *row, const struct mount_place *place),
    void *arg);
/* A key's value in the row's options, in ret; "" for one without; false when it is not there. */
bool mounttab_option(const struct mounttab_row *row, const char *key, char ret[80]);

struct mounttab_fault {
    bool is_wrong; /* data or the run is in danger; else it is slow, or may surprise */
    char what[200], fix[200];
};
enum { MOUNTTAB_FAULTS_MAX = 24 };
struct mounttab_judged {
    struct mounttab_fault faults[MOUNTTAB_FAULTS_MAX];
    size_t count;
};
/* One more, empty; the last is used again when there is no room. */
struct mounttab_fault *mounttab_fault_add(struct mounttab_judged *judged, bool is_wrong);
/* What the row (NULL: nothing is mounted there) lacks for `place` at dir. place->nfs false: the
 * storage does not say where it exports, only how it is mounted is judged. is_server: whether the
 * row's server is place's host; asked when their names differ. */
void mounttab_judge(const struct mounttab_row *row, const struct mount_place *place,
                    const char *dir,
                    bool (*is_server)(void *arg, const struct mounttab_row *row,
                                      const struct mount_place *place),
                    void *arg, struct mounttab_judged *ret);
/* By the address the row tells and those that place's host has; for mounttab_judge. */
bool mounttab_is_server(void *arg, const struct mounttab_row *row, const struct mount_place *place);
