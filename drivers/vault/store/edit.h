/* What a deletion or a seal frees (FORMAT.md section 3): changes tried on a copy of the rows, with
 * the items they free. Reads dead lists through a source; writes nothing. */
#pragma once
#include "drivers/vault/store/commit.h"

struct edit {
    struct table *next;  /* the rows as they will be; owned */
    struct freed *freed; /* owned */
    struct commit commit;
};
void edit_done(struct edit *edit);
OWN_DEFINE_INPLACE(edit, struct edit, edit_done);
bool edit_begin(const struct table *now, struct edit *ret, struct err *err) MUST;
/* Takes the change over. */
bool edit_change(struct edit *edit, struct change *change, struct err *err) MUST;
bool edit_free(struct edit *edit, struct addr addr, struct err *err) MUST;
/* Frees what only it had, and what of hidden snapshots then has no clone. Hides it while pinned. */
bool edit_drop_snapshot(struct edit *edit, const struct map_source *source, uint64_t volume,
                        uint64_t sequence, struct err *err) MUST;
/* each: tells every item of the volume's sealed head born after its start. */
typedef bool edit_each(void *arg, const struct table_volume *volume, dead_item *fn, void *fn_arg,
                       struct err *err);
bool edit_drop_volume(struct edit *edit, const struct map_source *source, uint64_t volume,
                      edit_each *each, void *arg, struct err *err) MUST;
/* The change's cut is what its lists were written for: the last snapshot when the seal began. What
 * died of snapshots that have gone since is freed. freed: what the seal frees at once; taken over,
 * may be NULL. */
bool edit_seal(struct edit *edit, const struct map_source *source, struct change *change,
               struct freed *freed, struct err *err) MUST;
/* The items become a change as well. */
bool edit_end(struct edit *edit, struct err *err) MUST;
