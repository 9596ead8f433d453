/* Sync: snapshots to a second store, where the same packs then lie under the same names. What is
 * there is not sent again; what was sent is read back before the second store's rows name it. Cut
 * off anywhere, the next run goes on. It reads the first store beside its owner. */
#pragma once
#include "drivers/vault/store/finding.h"

struct sync_options {
    const char *volume;           /* a landing volume's name; NULL: all of them */
    const char *const *snapshots; /* names; count 0: all */
    size_t snapshot_count;
    bool prune; /* drops there what is no longer asked for, of `volume` alone if one is named, and
                   thins */
    uint64_t bytes_per_s;    /* read here; 0: no bound */
    uint8_t box_id[16];      /* who owns the second store's families then */
    bool (*stop)(void *arg); /* CANCELLED. NULL: never */
    finding_fn *found;       /* damage met here or there. NULL: only counted */
    void *arg;               /* of both */
};
struct sync_result {
    uint64_t snapshots;              /* asked for */
    uint64_t copied;                 /* of them by this run */
    uint64_t packs_sent, bytes_sent; /* by this run */
    uint64_t packs_there;            /* needed, and there before */
    uint64_t pruned, findings, damages;
};
/* NOT_FOUND, with nothing done, when a volume or snapshot is named that is not (sealed) here.
 * The second store is made where there is nothing; PRECONDITION when something else lies there.
 * CORRUPT when a snapshot here is damaged: it is not copied, the others are. */
bool sync_store(struct io *from, struct io *to, const struct sync_options *options,
                struct sync_result *ret, struct err *err) MUST;
