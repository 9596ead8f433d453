/* Pruning of the live area: logs and pieces that snapshots hold and nothing live needs. Pure.
 *
 * A log goes when it is older than the policy's days, ends below what the newest proven base needs,
 * and lies, whole, in two proven snapshots that stay; a piece when it lies in one of them. Which
 * pieces the run that asks has just made, and may still need, is for its shim to know. */
#pragma once
#include "agent/engine/keep.h"

struct prune {
    const struct manifest_entry **logs, **pieces; /* of the live survey; arrays are owned */
    size_t log_count, piece_count;
    size_t kept_back; /* logs old enough that no two such snapshots hold */
};
bool prune_choose(const struct keep *keep, const struct manifest *live, uint64_t days,
                  uint64_t now_us, struct prune *ret, struct err *err) MUST;
void prune_done(struct prune *prune);
OWN_DEFINE_INPLACE(prune, struct prune, prune_done);
