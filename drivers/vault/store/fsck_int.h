/* What fsck's files share: packs as they lie there, and seals that their frames tell of. */
#pragma once
#include "drivers/vault/store/fsck.h"
#include "drivers/vault/store/states.h"

/* What one seal frame says. */
struct seal_told {
    struct addr at;
    struct change volume, sealed; /* `sealed` owned */
    bool whole;                   /* the state it sealed is all there */
};
struct fsck {
    const struct fsck_options *options;
    struct io *io;
    struct store *store; /* for reading only */
    uint64_t family;
    struct teller *teller;
    struct table *said;       /* rows that could be read; NULL: none */
    struct table_pack *packs; /* by number; live: what is present */
    size_t pack_count, pack_capacity;
    struct seal_told *seals; /* by sequence */
    size_t seal_count, seal_capacity;
    uint64_t highest; /* number of a commit or table when it was begun */
    bool hurt; /* a pack or seal frame is damaged: nothing is given up */
    struct fsck_result result;
};
void fsck_tell(struct fsck *f, enum finding_kind kind, const char *object, const char *text);
bool fsck_is_damage(const struct err *err);
/* The packs; one whose directory is damaged is written anew when repairing. With rows that can be
 * read their generations are meant. */
bool fsck_look_at_packs(struct fsck *f, bool want_seals, struct err *err) MUST;
/* Rows from seals, the packs' live masks being all that is present; owned. */
struct table *fsck_build(struct fsck *f, struct err *err) MUST;
