/* What sync's files share. */
#pragma once
#include "drivers/vault/store/states.h"
#include "drivers/vault/store/sync.h"

struct sync {
    const struct sync_options *options;
    struct io *near_io; /* paced, for reading only */
    struct io *far_io;
    struct store *near, *far;           /* for reading only */
    uint64_t id;                        /* of the family */
    struct family *family;              /* near */
    struct table *near_rows, *far_rows; /* far NULL: none yet */
    struct table *rows;                 /* as they will be there */
    struct survey *needed; /* over the near rows: what of their packs is needed there */
    struct copied_list {
        uint64_t volume, sequence;
    } * fresh; /* snapshots that are not there yet */
    size_t fresh_count, fresh_capacity;
    struct teller teller;
    struct sync_result result;
};
bool sync_is_about(const struct sync_options *options, const struct table_volume *volume);
/* NOT_FOUND: a name that fits nothing, which would copy nothing and prune all. */
bool sync_names_fit(struct store *near, const struct sync_options *options, struct err *err) MUST;
/* Whether a snapshot of the near rows is asked for. */
bool sync_wants(const struct sync *s, const struct table_snapshot *row);
/* Up to which birth the nth fresh snapshot's content is that of the one before it there, which is
 * there or was taken just before. (What lives there says nothing: leaked nodes outlive what is
 * below them.) */
uint64_t sync_known(const struct sync *s, size_t nth);
/* Snapshots and what died between them, as they will be there; packs come later. */
bool sync_rows(struct sync *s, struct err *err) MUST;
/* Sends what is needed, reads it back, puts the packs' rows in. NOT_FOUND: a pack here went
 * meanwhile, the rows have changed. */
bool sync_packs(struct sync *s, struct err *err) MUST;
