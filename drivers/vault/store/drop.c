/* Deleting, locking, and what deleting would bring. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include <inttypes.h>
#include <string.h>

enum { LOCK_SLACK_MS = 5000 };

/* An edit of the present rows, within a change. */
struct draft {
    struct family *family;
    struct edit edit;
    struct source source;
    struct map_source lists;
};

static bool draft_begin(struct draft *draft, struct family *family, struct err *err)
{
    AUTO(table) struct table *table = family_table(family);
    if (!edit_begin(table, &draft->edit, err))
        return false;
    draft->family = family;
    draft->source = (struct source){family, draft->edit.next};
    draft->lists = family_source_of(&draft->source);
    return true;
}

static bool commit_draft(struct draft *draft, struct err *err)
{
    bool taken = false;
    return family_commit(draft->family, &draft->edit, &taken, err);
}

static void own_auto_draft(struct draft *draft) { edit_done(&draft->edit); }

/* ---- volumes ---- */

bool family_volume_add(struct family *family, const struct volume_row *row, struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL;
    AUTO(draft) struct draft draft = {0};
    struct change change = {.kind = CHANGE_VOLUME_ADDED, .row = *row};
    if (!store_reserve_again(family->store, err) || !family_change_begin(family, err))
        return false;
    locked = family;
    if (!draft_begin(&draft, family, err))
        return false;
    if (table_volume(draft.edit.next, row->id))
        return err_set(err, ERR_EXISTS, "volume '%s' is there already", row->name);
    if (row->origin_count > sizeof row->origins / sizeof *row->origins)
        return err_set(err, ERR_LIMIT, "a clone of %zu snapshots", row->origin_count);
    for (size_t i = 0; i < row->origin_count; i++) {
        const struct volume_origin *from = &row->origins[i];
        if (!table_snapshot(draft.edit.next, from->volume, from->sequence))
            return err_set(err, ERR_NOT_FOUND,
                           "snapshot %" PRIu64 " of the clone '%s' is not sealed", from->sequence,
                           row->name);
        if (from->sequence >= row->start)
            return err_set(err, ERR_INVALID, "the clone '%s' is older than its snapshot",
                           row->name);
    }
    return edit_change(&draft.edit, &change, err) && commit_draft(&draft, err);
}

static bool is_sealing(struct family *family, uint64_t volume)
{
    bool sealing = false;
    pthread_mutex_lock(&family->look);
    for (size_t i = 0; i < family->sealing_count; i++)
        sealing = sealing || family->sealing[i] == volume;
    pthread_mutex_unlock(&family->look);
    return sealing;
}

bool family_volume_drop(struct family *family, uint64_t volume, struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL;
    AUTO(draft) struct draft draft = {0};
    if (!family_change_begin(family, err))
        return false;
    locked = family;
    if (is_sealing(family, volume))
        return err_set(err, ERR_BUSY, "the volume is being sealed");
    return draft_begin(&draft, family, err) &&
           edit_drop_volume(&draft.edit, &draft.lists, volume, family_each_item, family, err) &&
           commit_draft(&draft, err);
}

/* ---- snapshots ---- */

bool family_snapshot_drop(struct family *family, uint64_t volume, uint64_t sequence,
                          struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL;
    AUTO(draft) struct draft draft = {0};
    if (!family_change_begin(family, err))
        return false;
    locked = family;
    if (!draft_begin(&draft, family, err))
        return false;
    const struct table_snapshot *row = table_snapshot(draft.edit.next, volume, sequence);
    uint64_t left_ms = row ? family_lock_left(&row->lock) : 0;
    if (left_ms > 0)
        return err_set(err, ERR_PRECONDITION,
                       "snapshot '%s' is locked for %" PRIu64 " more seconds", row->row.name,
                       left_ms / 1000 + 1);
    return edit_drop_snapshot(&draft.edit, &draft.lists, volume, sequence, err) &&
           commit_draft(&draft, err);
}

bool family_reclaimable(struct family *family, uint64_t volume, const uint64_t *sequences,
                        size_t count, uint64_t *ret_now, uint64_t *ret_later, struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL; /* what is counted stays while it is counted */
    AUTO(draft) struct draft draft = {0};
    AUTO(table) struct table *table = NULL;
    uint64_t now = 0, later = 0;
    if (!family->store->read_only && !family_change_begin(family, err))
        return false;
    locked = family->store->read_only ? NULL : family;
    table = family_table(family);
    if (!draft_begin(&draft, family, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct table_snapshot *row = table_snapshot(draft.edit.next, volume, sequences[i]);
        if (!row || row->row.hidden)
            return err_set(err, ERR_NOT_FOUND, "there is no snapshot %" PRIu64, sequences[i]);
        if (family_lock_left(&row->lock) > 0)
            continue;
        if (!edit_drop_snapshot(&draft.edit, &draft.lists, volume, sequences[i], err))
            return false;
    }
    if (!edit_end(&draft.edit, err))
        return false;
    for (size_t i = 0; i < table->pack_count; i++) {
        const struct table_pack *before = &table->packs[i];
        const struct table_pack *after = table_pack(draft.edit.next, before->number);
        uint64_t freed = masks_items(before->live) - (after ? masks_items(after->live) : 0);
        if (!after)
            now += before->bytes;
        else if (freed > 0)
            later += (uint64_t)((double)before->bytes * (double)freed / (double)before->items);
    }
    *ret_now = now;
    *ret_later = later;
    return true;
}

/* ---- locks ---- */

struct packs_of {
    uint32_t *packs;
    size_t count, capacity;
};

static bool note_pack(void *arg, int level, uint64_t first_record, struct addr addr, uint64_t birth,
                      struct err *err)
{
    struct packs_of *of = arg;
    (void)level, (void)first_record, (void)birth;
    size_t low = 0, high = of->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (of->packs[middle] < addr.pack)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < of->count && of->packs[low] == addr.pack)
        return true;
    if (!own_grow((void **)&of->packs, &of->capacity, of->count, sizeof *of->packs, err))
        return false;
    memmove(of->packs + low + 1, of->packs + low, (of->count++ - low) * sizeof *of->packs);
    of->packs[low] = addr.pack;
    return true;
}

/* Packs of nodes, records and the seal frame of a snapshot. */
static bool find_packs(struct family *family, const struct table_snapshot *row, struct packs_of *of,
                       struct err *err)
{
    struct map_source source = family_source(family);
    struct inode slots[RECORD_BYTES / INODE_BYTES];
    const uint64_t fan = RECORD_BYTES / INODE_BYTES;
    if (!note_pack(of, 0, 0, row->seal, 0, err) ||
        (row->row.table.stored && !map_items(&source, &row->row.table, 0, note_pack, of, err)))
        return false;
    for (uint64_t record = 0; record * fan < row->row.slots; record++) {
        if (!family_inodes(family, &row->row.table, record, slots, err))
            return false;
        for (size_t i = 0; i < fan; i++)
            if (slots[i].kind != INODE_FREE && slots[i].root.stored &&
                !map_items(&source, &slots[i].root, 0, note_pack, of, err))
                return false;
    }
    return true;
}

static bool lock_objects(struct family *family, const struct packs_of *of, uint64_t until_us,
                         struct err *err)
{
    AUTO(table) struct table *table = family_table(family);
    for (size_t i = 0; i < of->count; i++) {
        const struct table_pack *row = table_pack(table, of->packs[i]);
        char name[IO_NAME_MAX];
        if (!row || row->locked_until_us >= until_us)
            continue;
        struct pack_key key = family_pack_key(family, row->number, row->generation);
        pack_name(&key, name);
        if (!io_lock(family->store->io, name, until_us, err))
            return false;
    }
    return true;
}

/* Told anew an end differs by what passed meanwhile. After a reboot it lies later by the time that
 * the box was down, which a lock of objects does not know. */
static bool lock_extends(const struct table_lock *lock, uint64_t left_ms, uint64_t remaining_ms,
                         const char *boot_id)
{
    return remaining_ms > left_ms + LOCK_SLACK_MS ||
           (remaining_ms > 0 && strcmp(boot_id, lock->boot_id) != 0);
}

/* Longer of what is left and what is asked for; saving what is left costs a commit as well. */
bool family_lock(struct family *family, uint64_t volume, uint64_t sequence, uint64_t remaining_ms,
                 uint64_t now_ms, const char *boot_id, uint64_t until_us, struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL;
    AUTO(draft) struct draft draft = {0};
    struct packs_of of = {0};
    AUTO(change)
    struct change change = {
        .kind = CHANGE_LOCKED, .volume = volume, .sequence = sequence, .until_us = until_us};
    if (!family_change_begin(family, err))
        return false;
    locked = family;
    if (!draft_begin(&draft, family, err))
        return false;
    const struct table_snapshot *row = table_snapshot(draft.edit.next, volume, sequence);
    if (!row || row->row.hidden)
        return err_set(err, ERR_NOT_FOUND, "there is no such snapshot");
    uint64_t left_ms = family_lock_left(&row->lock);
    change.lock.remaining_ms = left_ms > remaining_ms ? left_ms : remaining_ms;
    change.lock.boot_ms =
        left_ms > remaining_ms ? clock_boot_ms() + left_ms : now_ms + remaining_ms;
    IGNORE(str_copy(change.lock.boot_id, sizeof change.lock.boot_id, boot_id));
    bool extends = lock_extends(&row->lock, left_ms, remaining_ms, boot_id) &&
                   io_abilities(family->store->io) & IO_CAN_LOCK;
    bool good =
        !extends || (find_packs(family, row, &of, err) && lock_objects(family, &of, until_us, err));
    change.locked = of.packs;
    change.locked_count = of.count;
    return good && edit_change(&draft.edit, &change, err) && commit_draft(&draft, err);
}
