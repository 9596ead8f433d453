/* Mounts: the agent's mount text taken apart, what a host types or runs for it, and the helper that
 * mounts for a user who is not root. */
#pragma once
#include "agent/base/str.h"
#include <limits.h>

enum { MOUNT_HOST_MAX = 254, MOUNT_EXPORT_MAX = 300, MOUNT_TEXT_MAX = 600, MOUNT_PORT = 2049 };

struct mount_place {
    bool nfs;                           /* else a folder of the agent's own host */
    char host[MOUNT_HOST_MAX];          /* without the brackets of an IPv6 address */
    char export_path[MOUNT_EXPORT_MAX]; /* "/NAME", "/LANDING/CLONE" */
    unsigned port;                      /* of NFS and MOUNT */
    char path[PATH_MAX];                /* of a folder */
};
/* Texts as drivers/driver.h has them. It comes from another host and ends in a command line:
 * INVALID for whatever sign, length or ".." has no business there; UNSUPPORTED for what no host can
 * mount.
 */
bool mount_parse(const char *text, struct mount_place *ret, struct err *err) MUST;
/* "HOST:/EXPORT", with brackets where they are due. */
void mount_source(const struct mount_place *place, char ret[MOUNT_TEXT_MAX]);
/* What Oracle documents for its files, with our sizes; nolock, as Oracle's files need no lock
 * manager. bg: a boot may go on without it; never for who waits for the mount. */
void mount_options(const struct mount_place *place, bool background, char ret[MOUNT_TEXT_MAX]);
/* "ABOVE/CLONE": the name comes from another host as well; INVALID for what no clone is called. */
bool mount_dir(const char *above, const char *clone, char ret[PATH_MAX], struct err *err) MUST;
/* One word of a shell, in quotes when it would not leave it alone; false when it does not fit. */
bool mount_quote(const char *word, char *ret, size_t size) MUST;
/* For a shell; words that need it are in quotes: "mount -t nfs -o OPTIONS HOST:/EXPORT DIR"; of a
 * folder "mount --bind". */
bool mount_command(const struct mount_place *place, const char *dir, char ret[3 * PATH_MAX],
                   struct err *err) MUST;
/* The line of fstab, blanks written as \040. */
bool mount_fstab(const struct mount_place *place, const char *dir, char ret[3 * PATH_MAX],
                 struct err *err) MUST;
/* The entry for Direct NFS, several lines. */
void mount_oranfstab(const struct mount_place *place, const char *dir, struct str *ret);

/* Runs HELPER "mount" SOURCE DIR OPTIONS, or "umount" DIR: no shell, no environment but a PATH, two
 * minutes. The helper makes DIR and removes it, and finds nothing wrong with unmounting what is not
 * mounted. EXTERNAL with its last line when it fails, PRECONDITION when it ends with 2: it refused
 * and did nothing. cancelled, line: as agent/base/exec.h has them. */
struct mount_helper {
    const char *program;
    bool (*cancelled)(void *arg);
    void (*line)(void *arg, const char *line, size_t len);
    void *arg;
};
bool mount_help(const struct mount_helper *helper, const struct mount_place *place, const char *dir,
                struct err *err) MUST;
bool mount_help_away(const struct mount_helper *helper, const char *dir, struct err *err) MUST;
