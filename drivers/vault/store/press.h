/* zstd for frames: contexts are made once and taken up again by whatever thread comes. */
#pragma once
#include "drivers/vault/store/format.h"

enum { PRESS_LEVEL_MAX = 19 };
/* ret_fits false: the result would be longer than max. */
bool press_in(const void *raw, size_t len, int level, void *to, size_t max, size_t *ret_len,
              bool *ret_fits, struct err *err) MUST;
/* False when it is not one whole zstd frame of exactly raw_len bytes. */
bool press_out(const void *stored, size_t len, void *raw, size_t raw_len, bool *ret_good,
               struct err *err) MUST;
/* Lets go of the contexts that nobody uses. */
void press_trim(void);
