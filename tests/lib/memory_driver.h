/* The memory driver: the reference reading of drivers/driver.h, and the storage of simulated
 * worlds. Option `store` names a world, which lives until memory_store_reset, so that closing and
 * opening again is what an agent's restart is to a real storage. */
#pragma once
#include "drivers/driver.h"

/* For registry_add_for_tests. */
extern const struct driver driver_memory;

/* Forgets the world of that name; no driver may be open on it. Missing is fine. */
void memory_store_reset(const char *store);
/* Bytes the world holds at most (1 GiB at first); NO_SPACE beyond. */
bool memory_store_limit(const char *store, uint64_t bytes, struct err *err) MUST;

/* Its volumes tell from now on that they take no changes, and why; "" that they do. */
bool memory_store_close(const char *store, const char *why, struct err *err) MUST;

/* What its snapshots are from now on, all of them (DURABILITY_LOCAL at first). */
bool memory_store_durability(const char *store, enum driver_durability durability, struct err *err)
    MUST;
/* Damaged blocks that all of its snapshots tell of from now on (0 at first). */
bool memory_store_bad_blocks(const char *store, uint64_t count, struct err *err) MUST;

/* As a database host would: writes at an offset into a file of the live area (clone NULL) or of a
 * clone, making it where missing; mtime_us 0 takes the clock's time. */
bool memory_file_write(const char *store, const char *volume, const char *clone, const char *path,
                       const void *bytes, size_t len, uint64_t offset, uint64_t mtime_us,
                       struct err *err) MUST;
/* The file becomes exactly these bytes. */
bool memory_file_put(const char *store, const char *volume, const char *clone, const char *path,
                     const void *bytes, size_t len, uint64_t mtime_us, struct err *err) MUST;
bool memory_file_remove(const char *store, const char *volume, const char *clone, const char *path,
                        struct err *err) MUST;
