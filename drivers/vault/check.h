/* The block check that the vault's main passes in: datafile records as dbverify would judge them.
 */
#pragma once
#include "agent/base/err.h"
#include <stdbool.h>
#include <stdint.h>

/* Whether a record may stand where it stands; why: else its first bad block, by number. head: the
 * file's first two records, zeros where it has none; NULL when record 0 is a hole. What is no
 * datafile, or has blocks larger than a record, is not judged here (true). */
bool check_record(void *arg, const char *path, uint64_t size, const uint8_t *head, uint64_t record,
                  const uint8_t *bytes, struct err *why);
