/* What the block check refused in a snapshot, told record by record. */
#pragma once
#include "drivers/vault/store/finding.h"

/* All of them, named or not. */
bool refused_count(struct family *family, const struct snapshot_row *row, uint64_t *ret_count,
                   struct err *err) MUST;
/* Findings of kind REFUSED: each record that is named, with the block and the reason as the check
 * gives them now; how many are not named, by file as far as that is known. */
bool refused_tell(struct family *family, const char *volume, const struct snapshot_row *row,
                  finding_fn *found, void *arg, struct err *err) MUST;
