/* A live area that one alone writes, and what was written to it since: for who keeps notes of its
 * own about a volume's content. */
#pragma once
#include "drivers/vault/volume/vault.h"

/* Until view is closed the live area is changed through it alone; others get BUSY. Reading,
 * snapshots and clones go on. BUSY when it is claimed, UNSUPPORTED for a snapshot or a clone. */
bool view_claim(struct view *view, struct err *err) MUST;

struct view_touch {
    uint64_t file;
    uint32_t generation;
    uint64_t sequence; /* its content has not changed since this layer; UINT64_MAX: not known */
};
/* Of all files of a claimed live area, by number; owned. A snapshot of a sequence not below a
 * file's shows the content that it has now. */
struct view_touch *view_touches(struct view *view, size_t *ret_count, struct err *err) MUST;
