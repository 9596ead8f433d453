/* Commits and tables as bytes (FORMAT.md 2.5). Pure; what is read is hostile. */
#pragma once
#include "drivers/vault/store/bad.h"
#include "drivers/vault/store/table.h"

enum {
    COMMIT_RAW_MAX = 96 << 20, /* payload before zstd */
    TABLE_RAW_MAX = 256 << 20,
    CHANGES_MAX = 1 << 16,
};
struct commit {
    uint32_t epoch;
    uint64_t family, number;
    struct change *changes; /* owned */
    size_t count, capacity;
};
void commit_done(struct commit *commit);
OWN_DEFINE_INPLACE(commit, struct commit, commit_done);
/* Takes the change over, also on error; it is empty afterwards. */
bool commit_add(struct commit *commit, struct change *change, struct err *err) MUST;
bool commit_encode(const struct commit *commit, uint64_t seed, struct bytes *to, struct err *err)
    MUST;
bool commit_decode(const void *data, size_t len, uint64_t seed, struct commit *ret, struct err *err)
    MUST;
/* One change as the seal frame has it: without packs' rows, which lie beside the frames. */
bool change_encode(const struct change *change, struct bytes *to, struct err *err) MUST;
bool change_decode(struct cursor *from, struct change *ret, struct err *err) MUST;

bool table_encode(const struct table *table, uint64_t seed, struct bytes *to, struct err *err) MUST;
struct table *table_decode(const void *data, size_t len, uint64_t seed, struct err *err) MUST;
