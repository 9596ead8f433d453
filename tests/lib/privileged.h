/* The one door to privileged tests: namespaces of their own, scratch file systems, no traces. */
#pragma once
#include "agent/base/own.h"

/* Gives this process mounts (and, if asked, a network with nothing but lo) of its own. Later calls
 * are free. False with the reason where the machine does not allow it. Call before threads start.
 */
bool privileged_enter(bool network, struct err *err) MUST;
/* A directory in memory that only this process and its children see; gone when they are,
 * however they end. After privileged_enter. */
const char *privileged_dir(void);
/* "SKIPPED suite/name: reason", on stderr. */
void privileged_skipped(const char *suite, const char *name, const struct err *why);

/* A file system of its own on a loop device, which goes with the process, also after kill -9. */
struct scratch {
    char mount[128]; /* "" while there is none */
};
/* fs: "xfs" (with reflinks), "btrfs", "ext4", "tmpfs". Enters first. XFS has at least 300 MB. */
bool scratch_mount(struct scratch *scratch, const char *fs, unsigned size_mb, struct err *err) MUST;
void scratch_done(struct scratch *scratch);
OWN_DEFINE_INPLACE(scratch, struct scratch, scratch_done);
/* The sandbox of reflink tests: scratch_mount of an XFS of the smallest size. */
bool xfs_sandbox(struct scratch *scratch, struct err *err) MUST;
