/* Events: what happened to the files of live areas, for those who want to know at once. Kept in
 * memory only, the last 4,096 of them, from when somebody first asked. */
#pragma once
#include "drivers/vault/volume/vault.h"

enum vault_event_kind {
    VAULT_CREATED = 1, /* a file, folder or link, or a further name of a file */
    VAULT_EXTENDED,    /* at once, then at most once a second a file */
    VAULT_QUIET,       /* it was extended, and nothing was written to it for two seconds */
    VAULT_RENAMED,     /* what had the new name is gone without a word of its own */
    VAULT_REMOVED,
};
const char *vault_event_name(enum vault_event_kind kind); /* "created" */

struct vault_event {
    uint64_t sequence, time_us;
    uint64_t volume_id, file, size;
    enum vault_event_kind kind;
    uint8_t file_kind; /* enum inode_kind */
    /* Owned. volume: as other calls take it; from: of RENAMED, else NULL. */
    char *volume, *path, *from;
};
void vault_events_free(struct vault_event *rows, size_t count); /* what they own */

/* The number of the latest event: what happens from here on is told by those above it. */
uint64_t vault_events_now(struct vault *vault);
/* Events above `after`, at most max, in order; 0 when none came in time, or when the vault stops.
 * ret_lost: some above `after` are not kept, or it is no number of this start of the vault: who
 * asks looks at everything, and goes on from the last that is returned, or else from
 * vault_events_now as it was before looking. */
size_t vault_events_wait(struct vault *vault, uint64_t after, uint64_t timeout_ms,
                         struct vault_event *ret, size_t max, bool *ret_lost);
