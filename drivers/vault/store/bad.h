/* What the block check refused in a volume's state: named while there is room, always counted
 * (FORMAT.md 2.5). */
#pragma once
#include "drivers/vault/store/store.h"

enum {
    BAD_MAX = 4096,   /* rows of a list; what is read is hostile */
    BAD_NAMED = 3072, /* records named one by one */
};
/* In a row's record: so many more of that file that are not named; file 0: of whatever file. */
#define BAD_REST ((uint64_t)1 << 63)

struct bad_list {
    struct bad_record *rows; /* owned */
    size_t count, capacity;
};
void bad_list_done(struct bad_list *list);
OWN_DEFINE_INPLACE(bad_list, struct bad_list, bad_list_done);
/* One more row, by name or, when the list is full, as one of the rest. A row of a rest adds up. */
bool bad_add(struct bad_list *list, const struct bad_record *row, struct err *err) MUST;
/* 0: the row names a record; else how many it stands for without naming them. */
uint64_t bad_rest(const struct bad_record *row);
/* All of them, named or not. */
uint64_t bad_total(const struct bad_record *rows, size_t count);
