/* What second stores have of a family: objects beside its commits, written by whoever copied, so
 * that a copy made while the owner goes on is known to it (FORMAT.md 2.6). */
#pragma once
#include "drivers/vault/store/store.h"

struct copied {
    uint64_t volume, sequence;
};
struct copies_of {
    uint8_t store[16];   /* the second store */
    uint64_t at_us;      /* when it was verified to have them */
    struct copied *rows; /* owned */
    size_t count;
};
void copies_of_done(struct copies_of *copies);
OWN_DEFINE_INPLACE(copies_of, struct copies_of, copies_of_done);
bool copies_encode(const struct copies_of *copies, uint64_t family, uint64_t seed, struct bytes *to,
                   struct err *err) MUST;
bool copies_decode(const void *data, size_t len, uint64_t family, uint64_t seed,
                   struct copies_of *ret, struct err *err) MUST;
/* Replaces what was known of that second store. io: of the store that was copied. */
bool copies_put(struct io *io, uint64_t seed, uint64_t family, const struct copies_of *copies,
                struct err *err) MUST;
/* Snapshots that some second store has, ascending, each once; owned. Damaged ones count for
 * nothing: scrub tells them. */
struct copied *family_copies(struct family *family, size_t *ret_count, struct err *err) MUST;
