/* What a file is, by its content: the first question about everything found in an area. */
#pragma once
#include "agent/oracle/manifest.h"
#include <stddef.h>

enum { IDENTIFY_HEAD_BYTES = 65536 }; /* two blocks of the largest size */

/* Fills size, kind, state, why and header facts of a zeroed entry from the file's beginning (the
 * whole file when it is shorter than IDENTIFY_HEAD_BYTES). Allocates nothing; path and mtime stay.
 * path decides only one thing: a last part that begins with a dot is a file not yet renamed. A log
 * that is GOOD here has a good header; redo_check says whether it counts. */
void oracle_identify(const uint8_t *head, size_t head_len, uint64_t file_size, const char *path,
                     struct manifest_entry *ret_entry);
