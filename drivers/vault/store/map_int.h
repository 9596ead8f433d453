/* Between the files of maps: what is stored below a place somewhere in a map. */
#pragma once
#include "drivers/vault/store/map.h"

/* As map_items, for a subtree whose first record is that. */
bool map_items_at(const struct map_source *source, const struct root *root, uint64_t first_record,
                  uint64_t after, map_item *fn, void *arg, struct err *err) MUST;
