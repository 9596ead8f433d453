/* What a deletion or a seal frees: the argument of FORMAT.md section 3, executable. */
#include "drivers/vault/store/edit.h"
#include <string.h>

enum { FREED_MEMORY = 48 << 20 };

void edit_done(struct edit *edit)
{
    table_unref(edit->next);
    freed_free(edit->freed);
    commit_done(&edit->commit);
    *edit = (struct edit){0};
}

bool edit_begin(const struct table *now, struct edit *ret, struct err *err)
{
    AUTO(edit) struct edit edit = {.next = table_copy(now, err)};
    if (!edit.next || !(edit.freed = freed_new(FREED_MEMORY, err)))
        return false;
    edit.next->number++;
    edit.commit.epoch = now->epoch;
    edit.commit.family = now->family;
    edit.commit.number = edit.next->number;
    *ret = edit;
    edit = (struct edit){0};
    return true;
}

bool edit_change(struct edit *edit, struct change *change, struct err *err)
{
    AUTO(change) struct change owned = *change;
    *change = (struct change){0};
    return table_apply(edit->next, &owned, edit->freed, err) &&
           commit_add(&edit->commit, &owned, err);
}

bool edit_free(struct edit *edit, struct addr addr, struct err *err)
{
    return table_free_item(edit->next, edit->freed, addr, err);
}

static bool free_item(void *arg, struct addr addr, uint64_t birth, struct err *err)
{
    (void)birth;
    return edit_free(arg, addr, err);
}

/* D(N) of a snapshot: what is in it and was born after P. */
static bool drop_one(struct edit *edit, const struct map_source *source, uint64_t volume,
                     uint64_t sequence, struct err *err)
{
    uint64_t before = table_before(edit->next, volume, sequence);
    const struct table_snapshot *next = table_next(edit->next, volume, sequence + 1);
    const struct deaths *deaths =
        table_deaths(edit->next, volume, next ? next->row.sequence : UINT64_MAX);
    for (size_t i = 0; deaths && i < deaths->count; i++) {
        const struct segment *segment = &deaths->segments[i];
        if (segment->cut > before &&
            !dead_walk(source, &segment->list->list, before, segment->cut, free_item, edit, err))
            return false;
    }
    struct change change = {
        .kind = CHANGE_SNAPSHOT_DROPPED, .volume = volume, .sequence = sequence};
    return edit_change(edit, &change, err);
}

static bool drop_unpinned(struct edit *edit, const struct map_source *source, struct err *err)
{
    const struct table_snapshot *row;
    while ((row = table_unpinned(edit->next)))
        if (!drop_one(edit, source, row->row.volume, row->row.sequence, err))
            return false;
    return true;
}

bool edit_drop_snapshot(struct edit *edit, const struct map_source *source, uint64_t volume,
                        uint64_t sequence, struct err *err)
{
    const struct table_snapshot *row = table_snapshot(edit->next, volume, sequence);
    if (!row || row->row.hidden)
        return err_set(err, ERR_NOT_FOUND, "there is no such snapshot");
    if (row->pins == 0)
        return drop_one(edit, source, volume, sequence, err);
    struct change change = {.kind = CHANGE_HIDDEN, .volume = volume, .sequence = sequence};
    return edit_change(edit, &change, err);
}

bool edit_drop_volume(struct edit *edit, const struct map_source *source, uint64_t volume,
                      edit_each *each, void *arg, struct err *err)
{
    const struct table_volume *row = table_volume(edit->next, volume);
    if (!row)
        return err_set(err, ERR_NOT_FOUND, "there is no such volume");
    if (table_next(edit->next, volume, 0))
        return err_set(err, ERR_PRECONDITION, "volume '%s' has snapshots or clones", row->row.name);
    struct change change = {.kind = CHANGE_VOLUME_DROPPED, .volume = volume};
    return each(arg, row, free_item, edit, err) && edit_change(edit, &change, err) &&
           drop_unpinned(edit, source, err);
}

bool edit_seal(struct edit *edit, const struct map_source *source, struct change *change,
               struct freed *freed, struct err *err)
{
    if (freed) {
        freed_free(edit->freed);
        edit->freed = freed;
    }
    uint64_t written = change->cut, volume = change->volume;
    change->cut = table_before(edit->next, volume, UINT64_MAX);
    if (!edit_change(edit, change, err))
        return false;
    const struct change *sealed = &edit->commit.changes[edit->commit.count - 1];
    for (size_t i = 0; sealed->cut < written && i < sealed->list_count; i++)
        if (!dead_walk(source, &sealed->lists[i], sealed->cut, written, free_item, edit, err))
            return false;
    return true;
}

bool edit_end(struct edit *edit, struct err *err)
{
    if (freed_items(edit->freed) == 0)
        return true;
    struct change change = {0};
    return table_freed_change(edit->freed, &change, err) && edit_change(edit, &change, err);
}
