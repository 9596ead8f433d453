/* The run's phase "prune": archived logs leave the live area once the agent says that snapshots
 * hold them. Trouble with it is a warning, never the backup's failure. */
#pragma once
#include "agent/shim/run.h"

/* Only logs the agent names, of the incarnation the run began with, by exact name. */
bool prune_logs(struct run *run, struct err *err) MUST;
/* Takes out of the list every piece the agent does not name: those no proven snapshot that stays
 * holds. All of them when it does not answer. */
bool prune_keep_protected(struct run *run, struct rows_pieces *pieces, struct err *err) MUST;
