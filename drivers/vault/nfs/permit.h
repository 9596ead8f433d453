/* Who asks, after squashing, and what a file's mode lets them do. Pure. */
#pragma once
#include "drivers/vault/nfs/exports.h"

struct who {
    uint32_t uid, gid, groups[RPC_GROUPS_MAX], group_count;
    bool root; /* uid 0, not squashed: may all, execution apart */
};
struct who permit_who(const struct export_rule *rule, const struct rpc_cred *cred);

enum { MAY_READ = 4, MAY_WRITE = 2, MAY_EXECUTE = 1 }; /* of a folder: list, change, look up */
bool permit_mode(const struct who *who, const struct view_file *file, unsigned wanted);
/* Data of a file: its owner may also where the mode says no, as a descriptor opened before would
 * (every NFS server does it). */
bool permit_data(const struct who *who, const struct view_file *file, unsigned wanted);
/* An entry of a folder with the sticky bit goes only by its owner's or the folder's owner's hand.
 */
bool permit_remove(const struct who *who, const struct view_file *folder,
                   const struct view_file *entry);
