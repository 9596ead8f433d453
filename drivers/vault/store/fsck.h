/* Fsck: rows against what the store holds. Rows are those that can be read, or are made again from
 * the packs alone: seal frames say what was sealed, maps what is needed. */
#pragma once
#include "drivers/vault/store/finding.h"

struct table;
struct fsck_options {
    bool rebuild; /* from packs alone, also where rows can be read */
    bool repair;  /* writes the rows as they should be; takes ownership: nobody else may write */
    uint8_t box_id[16];      /* repair: whose the family then is */
    bool (*stop)(void *arg); /* CANCELLED. NULL: never */
    finding_fn *found;       /* NULL: only counted */
    void *arg;               /* of both */
};
struct fsck_result {
    uint64_t families, rebuilt; /* looked at; of them those whose rows were made from packs */
    uint64_t volumes, snapshots, packs;
    uint64_t leaked_items, missing_items;
    uint64_t findings, damages;
    uint64_t repaired; /* families whose rows were written */
};
/* All families. False only when it could not be found out or not be written. */
bool fsck_store(struct io *io, const struct fsck_options *options, struct fsck_result *ret,
                struct err *err) MUST;
/* One, without writing: the rows as they should be. */
struct table *fsck_rows(struct store *store, uint64_t family, bool rebuild, struct err *err) MUST;
