/* How many files this process holds open: what a test compares before and after. */
#pragma once
#include <stddef.h>

size_t descriptors_count(void);
