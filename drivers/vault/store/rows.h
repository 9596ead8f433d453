/* Rows made otherwise than by commits, written as a table: what fsck and sync end with. */
#pragma once
#include "drivers/vault/store/table.h"

struct store;
/* Fences whoever writes the family, then writes the rows as its newest table, above every commit
 * and table that is there; the rows take its number, epoch and box. over_rows: those
 * that are there can be read. FENCED when another owner comes in between again and again. */
bool rows_write(struct store *store, struct table *rows, bool over_rows, struct err *err) MUST;
/* The highest number of a commit or table that is there. */
bool rows_highest(struct store *store, uint64_t family, uint64_t *ret_number, struct err *err) MUST;
