/* What a family's states cost: logical, stored, and what only one of them has. */
#pragma once
#include "drivers/vault/store/store.h"

/* Bytes in the store that a state refers to, shared or not: its items' part of their packs. Costs a
 * walk of its map. */
bool figures_stored(struct family *family, const struct root *table, uint64_t *ret_bytes,
                    struct err *err) MUST;
/* Of a state's files: sizes together. */
bool figures_logical(struct family *family, const struct root *table, uint64_t slots,
                     uint64_t *ret_bytes, struct err *err) MUST;
