/* The drivers this build knows: one row each. */
#pragma once
#include "drivers/driver.h"

/* The row of that name; unknown ones are NOT_FOUND with the nearest known name as a hint. */
const struct driver *registry_find(const char *name, struct err *err) MUST;
size_t registry_count(void);
const struct driver *registry_row(size_t index); /* below registry_count */

/* Test builds only: one more row, kept for the life of the process. Adding it again is fine;
 * not while other threads open drivers. */
void registry_add_for_tests(const struct driver *row);
