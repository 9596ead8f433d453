/* Opening: the store's rows, the box's journals, and what a crash left between them (FORMAT.md
 * sections 4 and 5). */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault_int.h"
#include <stdlib.h>
#include <string.h>

void replayed_free(struct replayed *r)
{
    for (size_t i = 0; r && i < r->layer_count; i++)
        bytes_done(&r->layers[i].records);
    if (r) {
        own_free(r->layers);
        own_free(r->deleted);
        own_free(r->locks);
    }
    own_free(r);
}

static struct replayed_layer *layer_at(struct replayed *r, uint64_t sequence)
{
    for (size_t i = r->layer_count; i-- > 0;)
        if (r->layers[i].sequence == sequence)
            return &r->layers[i];
    return NULL;
}

static bool take_layer(struct replayed *r, uint64_t sequence, struct err *err)
{
    if (layer_at(r, sequence))
        return err_set(err, ERR_CORRUPT, "layer %llu is begun twice", (unsigned long long)sequence);
    if (!own_grow((void **)&r->layers, &r->layer_capacity, r->layer_count, sizeof r->layers[0],
                  err))
        return false;
    r->layers[r->layer_count++] =
        (struct replayed_layer){.sequence = sequence, .begun = r->current == 0};
    if (r->current == 0)
        r->current = sequence;
    return true;
}

static bool take_swap(struct replayed *r, const struct record *record, struct err *err)
{
    struct replayed_layer *next = layer_at(r, record->next);
    if (!next || record->sequence != r->current)
        return err_set(err, ERR_CORRUPT, "a swap from layer %llu to %llu, which is not known",
                       (unsigned long long)record->sequence, (unsigned long long)record->next);
    next->begun = true;
    r->current = record->next;
    return true;
}

static bool take_snapshot(struct volume *v, const struct record *record, struct err *err)
{
    struct snap *there = snap_at(v, record->sequence);
    if (there && !there->set && record->member_count > 1) {
        /* The store has it: so its set is whole, which another one may have to hear. */
        there->set = own_alloc(sizeof *there->set, err);
        if (!there->set)
            return false;
        *there->set = *record;
    }
    if (there)
        return true;
    AUTO(snap) struct snap *snap = snap_new(v, record->sequence, record->name, err);
    if (!snap)
        return false;
    snap->id = record->volume;
    snap->created_us = record->time_us;
    snap->hidden = record->name[0] == '.';
    snap->whole = record->member_count <= 1;
    snap->set = own_alloc(sizeof *snap->set, err);
    if (!snap->set)
        return false;
    *snap->set = *record;
    if (!snap_enlist(v, snap, err))
        return false;
    snap = NULL;
    return true;
}

static bool take(void *arg, const struct record *record, struct err *err)
{
    struct volume *v = arg;
    struct replayed *r = v->replayed;
    if (r->last < record->sequence)
        r->last = record->sequence;
    switch (record->kind) {
    case RECORD_FACTS:
        r->facts = true;
        r->facts_record = *record;
        return true;
    case RECORD_LAYER:
        return take_layer(r, record->sequence, err);
    case RECORD_SWAP:
        return take_swap(r, record, err);
    case RECORD_SNAPSHOT:
        return take_snapshot(v, record, err);
    case RECORD_WHOLE:
        for (size_t i = 0; i < v->snap_count; i++)
            if (v->snaps[i]->set && v->snaps[i]->set->id == record->id)
                v->snaps[i]->whole = true;
        return true;
    case RECORD_SEALED:
        r->sealed = record->sequence;
        return true;
    case RECORD_DELETED:
        if (!own_grow((void **)&r->deleted, &r->deleted_capacity, r->deleted_count,
                      sizeof r->deleted[0], err))
            return false;
        r->deleted[r->deleted_count++] = record->sequence;
        return true;
    case RECORD_LOCKED:
        if (!own_grow((void **)&r->locks, &r->lock_capacity, r->lock_count, sizeof r->locks[0],
                      err))
            return false;
        r->locks[r->lock_count++] = *record;
        return true;
    case RECORD_ANSWER:
        answer_keep(v, record, ANSWER_SURE);
        return true;
    default: {
        struct replayed_layer *layer = layer_at(r, r->current);
        if (!layer)
            return err_set(err, ERR_CORRUPT, "a change of names before any layer");
        answer_keep(v, record, record->mask & SET_CONTENT ? ANSWER_UNSURE : ANSWER_SURE);
        return record_append(&layer->records, record, err);
    }
    }
}

static bool take_state(void *arg, const void *state, size_t len, struct err *err)
{
    return !state || record_walk(state, len, take, arg, err);
}

static bool take_record(void *arg, uint8_t kind, struct cursor *payload, struct err *err)
{
    struct record record;
    return record_decode(kind, payload, &record, err) && take(arg, &record, err);
}

static bool replay(struct volume *v, struct err *err)
{
    if (!v->replayed)
        v->replayed = own_alloc(sizeof *v->replayed, err);
    if (!v->replayed)
        return false;
    v->journal = journal_open(v->path, take_state, take_record, v, &v->replayed->clean, err);
    if (v->journal)
        journal_limit(v->journal, v->vault->options.journal_bytes);
    return v->journal || err_wrap(err, "journal of volume %016llx", (unsigned long long)v->id);
}

/* ---- phase 1: rows and folders ---- */

static bool take_snapshot_rows(struct volume *v, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct snapshot_row *rows = family_snapshots(v->family, v->id, &count, err);
    for (size_t i = 0; rows && i < count; i++) {
        const struct snapshot_row *row = &rows[i];
        AUTO(snap) struct snap *snap = snap_new(v, row->sequence, row->name, err);
        if (!snap)
            return false;
        snap->id = row->id;
        snap->created_us = row->created_us;
        snap->hidden = row->hidden || row->name[0] == '.';
        snap->row_hidden = row->hidden;
        snap->sealed = true;
        snap->whole = true;
        snap->table = row->table;
        snap->slots = row->slots;
        snap->logical_bytes = row->logical_bytes;
        snap->identity = row->identity;
        if (row->lock_remaining_ms > 0)
            snap->locked_until_boot_ms = clock_boot_ms() + row->lock_remaining_ms;
        size_t bad_count = 0;
        AUTO(mem)
        struct bad_record *bad =
            family_bad_records(v->family, v->id, row->sequence, &bad_count, err);
        snap->bad_records = bad ? bad_total(bad, bad_count) : 0;
        if (!bad || !snap_enlist(v, snap, err))
            return false;
        snap = NULL;
    }
    return rows != NULL;
}

static bool volume_from_row(struct vault *vault, struct family *family,
                            const struct volume_row *row, struct err *err)
{
    AUTO(volume_object) struct volume *v = volume_new(vault, row->id, err);
    if (!v)
        return false;
    v->replayed = own_alloc(sizeof *v->replayed, err);
    if (!v->replayed)
        return false;
    v->replayed->has_row = true;
    v->replayed->row = *row;
    v->in_family = true;
    v->family_id = family_id(family);
    v->clone = row->clone;
    v->created_us = row->created_us;
    v->start = row->start;
    v->sealed = row->sealed;
    v->table = row->table;
    v->table_slots = row->slots;
    IGNORE(str_copy(v->name, sizeof v->name, row->name));
    v->family = family;
    v->landing = NULL;
    bool ok = take_snapshot_rows(v, err) && vault_enlist(vault, v, err);
    if (ok)
        v = NULL;
    return ok;
}

/* Rows of volumes whose drop had begun on the box are dropped, not opened. */
static bool finish_drop(struct vault *vault, struct family *family, uint64_t id, bool *ret_gone,
                        struct err *err)
{
    char gone[sizeof vault->box + 40];
    struct stat st;
    struct err none = {0};
    *ret_gone =
        str_format(gone, sizeof gone, "%s/v/%016llx.gone", vault->box, (unsigned long long)id) &&
        sys_lstat(gone, &st, &none);
    return !*ret_gone || family_volume_drop(family, id, err);
}

static bool open_family(struct vault *vault, uint64_t id, struct err *err)
{
    AUTO(family) struct family *family = family_open(vault->store, id, false, err);
    size_t count = 0;
    AUTO(mem) struct volume_row *rows = family ? family_volumes(family, &count, err) : NULL;
    if (!rows)
        return err_wrap(err, "family %016llx", (unsigned long long)id);
    struct volume *landing = NULL;
    /* The newest first: a clone goes before what it stands on. */
    for (size_t i = count; i-- > 0;) {
        bool gone;
        if (!finish_drop(vault, family, rows[i].id, &gone, err))
            return false;
        if (gone)
            continue;
        if (!volume_from_row(vault, family, &rows[i], err))
            return false;
        if (!rows[i].clone)
            landing = volume_by_id(vault, rows[i].id);
    }
    for (size_t i = 0; i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        if (!v->landing && v->family == family && !landing)
            return err_set(err, ERR_CORRUPT, "clone '%s' has no landing volume", v->name);
        if (v->family == family)
            v->landing = landing;
    }
    if (landing)
        family = NULL; /* the landing volume has it now */
    return true;
}

static bool folder_id(const char *name, uint64_t *ret_id)
{
    if (strlen(name) != 16 || strspn(name, "0123456789abcdef") != 16)
        return false;
    *ret_id = strtoull(name, NULL, 16);
    return true;
}

/* A clone that the store does not know yet. */
static bool adopt_clone(struct vault *vault, struct volume *v, bool *ret_kept)
{
    const struct record *facts = &v->replayed->facts_record;
    struct volume *landing = volume_by_id(vault, facts->family);
    *ret_kept = v->replayed->facts && facts->clone && landing && landing->landing == landing;
    if (*ret_kept) {
        v->landing = landing;
        v->family = landing->family;
        v->family_id = facts->family;
        v->clone = true;
    }
    return true;
}

/* After a failure: true when it was damage, of that family alone, which is closed now. */
static bool shut(struct vault *vault, uint64_t family, struct err *err)
{
    struct err why = *err;
    if (!is_damage(&why))
        return false;
    err_clear(err);
    return family_shut(vault, family, &why, err);
}

/* A clone that the store does not know, of a family that is closed. */
static bool shut_with(struct vault *vault, struct volume *v, const struct closed *with,
                      struct err *err)
{
    const struct record *facts = &v->replayed->facts_record;
    struct closed what = {.id = v->id, .family_id = facts->family, .created_us = facts->time_us};
    const struct closed *landing = closed_by_id(vault, facts->family);
    if (!str_format(what.name, sizeof what.name, "%s/%s", (landing ? landing : with)->name,
                    facts->name))
        what.name[0] = '\0';
    journal_leave(v);
    return closed_add(vault, &what, with->why, err);
}

/* Damaged, and not known to the store: what it stands on must stay as it is. */
static bool shut_unknown(struct vault *vault, struct volume *v, struct err *err)
{
    const struct replayed *r = v->replayed;
    uint64_t family = r && r->facts ? r->facts_record.family : v->id;
    if (!shut(vault, family, err))
        return false;
    return family == v->id || shut_with(vault, v, closed_of_family(vault, family), err);
}

/* The box may know the name of what the store could not tell of. */
static bool name_closed(struct vault *vault, uint64_t id, struct err *err)
{
    struct err ignored = {0};
    AUTO(volume_object) struct volume *v = volume_new(vault, id, err);
    if (!v)
        return false;
    if (replay(v, &ignored) && v->replayed->facts)
        closed_name(vault, id, v->replayed->facts_record.name);
    journal_leave(v);
    return true;
}

/* Whether one of its layers is there, with data if that is asked. */
static bool has_layers(const struct volume *v, bool with_data, bool *ret_has, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    *ret_has = false;
    if (!sys_list(v->path, &names, err))
        return false;
    for (size_t i = 0; !*ret_has && i < names.count; i++) {
        AUTO(sys_names) struct sys_names files = {0};
        uint64_t sequence;
        char path[600];
        if (!str_starts(names.names[i], "l-") || !folder_id(names.names[i] + 2, &sequence))
            continue;
        if (!str_format(path, sizeof path, "%s/%s", v->path, names.names[i]) ||
            (with_data && !sys_list(path, &files, err)))
            return false;
        *ret_has = !with_data;
        for (size_t k = 0; k < files.count; k++)
            *ret_has |= str_ends(files.names[k], ".d");
    }
    return true;
}

/* Facts come before the first write: a journal without them that lies beside layers is not the
 * one they were written with. A clone may have its layer before its facts, but nothing in it. */
static bool facts_are_lost(const struct volume *v, bool *ret_lost, struct err *err)
{
    *ret_lost = false;
    return v->replayed->facts || has_layers(v, !v->replayed->has_row, ret_lost, err);
}

static bool replay_whole(struct volume *v, struct err *err)
{
    bool lost;
    return replay(v, err) && facts_are_lost(v, &lost, err) &&
           (!lost ||
            err_set(err, ERR_CORRUPT, "the journal of '%s' does not know its layers", v->path));
}

static bool open_folder(struct vault *vault, uint64_t id, struct err *err)
{
    struct volume *known = volume_by_id(vault, id);
    if (known)
        return replay_whole(known, err) || shut(vault, known->family_id, err);
    if (closed_by_id(vault, id))
        return name_closed(vault, id, err);
    AUTO(volume_object) struct volume *v = volume_new(vault, id, err);
    bool kept = false;
    if (!v)
        return false;
    if (!replay_whole(v, err))
        return shut_unknown(vault, v, err);
    if (!adopt_clone(vault, v, &kept))
        return false;
    const struct closed *with = closed_of_family(vault, v->replayed->facts_record.family);
    if (!kept && v->replayed->facts && with)
        return shut_with(vault, v, with, err);
    if (!kept && v->replayed->facts) {
        log_error("a volume of the box is not in the store and is left alone path=%s", v->path);
        return true;
    }
    if (!kept) { /* its making did not get far */
        return sys_remove_tree(v->path, err);
    }
    bool ok = vault_enlist(vault, v, err);
    if (ok)
        v = NULL;
    return ok;
}

static bool open_folders(struct vault *vault, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    char path[sizeof vault->box + 8];
    if (!str_format(path, sizeof path, "%s/v", vault->box) || !sys_list(path, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        uint64_t id;
        char whole[sizeof path + 300];
        if (str_ends(names.names[i], ".gone")) {
            /* A row that could not be dropped must not come to life without it. */
            if (vault->closed_count > 0)
                continue;
            if (!str_format(whole, sizeof whole, "%s/%s", path, names.names[i]) ||
                !sys_remove_tree(whole, err))
                return false;
        } else if (folder_id(names.names[i], &id) && !open_folder(vault, id, err)) {
            return false;
        }
    }
    return true;
}

/* ---- phase 2: facts, origins, sets ---- */

static bool settle_facts(struct volume *v, struct err *err)
{
    struct replayed *r = v->replayed;
    const struct record *facts = &r->facts_record;
    if (r->facts) {
        v->family_id = facts->family;
        v->clone = facts->clone;
        v->mapped = facts->mapped;
        v->created_us = facts->time_us;
        v->start = facts->sequence;
        if (v->sealed < v->start)
            v->sealed = v->start;
        IGNORE(str_copy(v->name, sizeof v->name, facts->name));
        IGNORE(str_copy(v->origin_name, sizeof v->origin_name, facts->origin));
    }
    /* An older state of the store must not show through under newer layers. */
    if (r->sealed > v->sealed)
        return err_set(
            err, ERR_CORRUPT,
            "the store has '%s' up to %llu, and had it up to %llu. hint: bring its newer "
            "state back, or move '%s' away to go on from the older one",
            v->name, (unsigned long long)v->sealed, (unsigned long long)r->sealed, v->path);
    struct volume_pair pairs[RECORD_MEMBERS_MAX];
    size_t count = r->has_row ? r->row.origin_count : facts->member_count;
    for (size_t i = 0; i < count; i++)
        pairs[i] = r->has_row
                       ? (struct volume_pair){r->row.origins[i].volume, r->row.origins[i].sequence}
                       : facts->members[i];
    for (size_t i = 0; i < count; i++) {
        struct volume *origin = volume_by_id(v->vault, pairs[i].volume);
        struct snap *snap = origin ? snap_at(origin, pairs[i].sequence) : NULL;
        if (!snap)
            return err_set(err, ERR_CORRUPT, "clone '%s' stands on a snapshot that is not there",
                           v->name);
        snap->pins++;
        v->origins[v->origin_count++] = snap;
        if (i == 0 && !v->origin_name[0] && !snap->hidden)
            IGNORE(str_copy(v->origin_name, sizeof v->origin_name, snap->name));
    }
    return true;
}

/* A member that does not say so itself is whole when another one says so and still has it. */
static bool set_is_whole(struct vault *vault, const struct snap *snap, bool *ret_unknown)
{
    *ret_unknown = false;
    for (size_t i = 0; i < snap->set->member_count; i++) {
        struct volume *other = volume_by_id(vault, snap->set->members[i].volume);
        for (size_t k = 0; other && k < other->snap_count; k++) {
            const struct snap *s = other->snaps[k];
            bool deleted = false;
            for (size_t d = 0; d < other->replayed->deleted_count; d++)
                deleted |= other->replayed->deleted[d] == s->sequence;
            if (s->set && s->set->id == snap->set->id && s->whole && !deleted)
                return true;
        }
        *ret_unknown |= closed_by_id(vault, snap->set->members[i].volume) != NULL;
    }
    return false;
}

static bool resolve_set(struct vault *vault, struct snap *snap, struct err *err)
{
    struct record record = {.kind = RECORD_WHOLE, .id = snap->set->id};
    bool unknown, whole = set_is_whole(vault, snap, &unknown);
    if (!whole && unknown) /* kept, until the one that may say so is there again */
        return true;
    if (!whole) {
        struct replayed *r = snap->volume->replayed;
        record = (struct record){.kind = RECORD_DELETED, .sequence = snap->sequence};
        if (!own_grow((void **)&r->deleted, &r->deleted_capacity, r->deleted_count,
                      sizeof r->deleted[0], err))
            return false;
        r->deleted[r->deleted_count++] = snap->sequence;
    }
    return volume_note(snap->volume, &record, err) && volume_sync(snap->volume, err);
}

static bool settle_sets(struct vault *vault, struct err *err)
{
    for (size_t i = 0; i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        for (size_t k = 0; k < v->snap_count; k++)
            if (v->snaps[k]->set && !v->snaps[k]->whole && !resolve_set(vault, v->snaps[k], err))
                return false;
    }
    return true;
}

/* Deleted ones: those that nothing stands on and whose layer is not sealed simply are none. */
static void settle_deleted(struct volume *v)
{
    struct replayed *r = v->replayed;
    for (size_t i = 0; i < r->deleted_count; i++) {
        struct snap *snap = snap_at(v, r->deleted[i]);
        if (snap && !snap->sealed && snap->pins == 0)
            snap_delist(snap);
        else if (snap)
            snap->hidden = true;
    }
    for (size_t i = v->snap_count; i-- > 0;) {
        struct snap *snap = v->snaps[i];
        own_free(TAKE(snap->set));
        /* Sealed according to the store, but not there: dropped there already. */
        bool dropped = snap->sequence <= v->sealed || snap->hidden;
        if (!snap->sealed && dropped && snap->pins == 0)
            snap_delist(snap);
    }
}

static uint64_t locked_by_store(const struct snap *snap)
{
    return snap->sealed ? snap->locked_until_boot_ms : 0;
}

static void settle_locks(struct volume *v)
{
    struct replayed *r = v->replayed;
    char boot_id[40];
    clock_boot_id(boot_id);
    for (size_t i = 0; i < r->lock_count; i++) {
        const struct record *lock = &r->locks[i];
        struct snap *snap = snap_at(v, lock->sequence);
        if (!snap)
            continue;
        bool same = boot_id[0] && strcmp(boot_id, lock->boot_id) == 0;
        uint64_t until = same ? lock->until_boot_ms : clock_boot_ms() + lock->remaining_ms;
        /* The last record of the box counts, unless the store still knows of more. */
        if (lock->remaining_ms > 0 && until > locked_by_store(snap))
            snap->locked_until_boot_ms = until;
    }
}

/* ---- phase 3: trees and layers ---- */

struct build {
    struct volume *v;
    struct slot *slot;
};

static bool replay_name(void *arg, const struct record *record, struct err *err)
{
    struct build *b = arg;
    if (!names_apply(&b->v->tree, b->slot, record, err))
        return false;
    if (record->kind != RECORD_PART)
        return true;
    if (record->source >= b->v->origin_count)
        return err_set(err, ERR_CORRUPT, "a file of '%s' comes from nowhere", b->v->name);
    struct part_item *part = item_new(sizeof *part, err);
    if (!part)
        return false;
    part->source = record->source;
    part->below = record->below;
    return index_put(&b->v->parts, record->file, 0, part, err);
}

static bool sizes_of(struct volume *v, struct slot *slot, struct err *err)
{
    size_t count = 0;
    struct err own = {0};
    AUTO(mem) struct layer_file *files = layer_files(slot->layer, &count, &own);
    if (own.code != ERR_NONE) {
        *err = own;
        return false;
    }
    for (size_t i = 0; files && i < count; i++) {
        if (v->tree.next_file <= files[i].file)
            v->tree.next_file = files[i].file + 1;
        const struct entry *entry = tree_find(&v->tree, files[i].file);
        /* A time that a client set is no change's: the journal says when it was set. */
        bool set = entry && entry->mtime_us == files[i].mtime_us;
        if (files[i].sized && !tree_resize(&v->tree, files[i].file, files[i].size,
                                           files[i].mtime_us, set ? 0 : files[i].mtime_us, err))
            return false;
    }
    return true;
}

/* An extending write that was not committed may have left bytes behind the size that is known:
 * they must not show when the file grows. A layer may have a file's first records and no size yet:
 * then the size is what lies below. */
static bool tidy_tails(const struct volume *v, struct slot *slot, struct err *err)
{
    size_t count = 0;
    struct err own = {0};
    AUTO(mem) struct layer_file *files = layer_files(slot->layer, &count, &own);
    if (own.code != ERR_NONE)
        *err = own;
    for (size_t i = 0; files && i < count; i++) {
        const struct layer_file *f = &files[i];
        const struct entry *entry = f->sized ? NULL : tree_find(&v->tree, f->file);
        if (f->records > 0 && (f->sized || entry) &&
            !write_tidy(slot->layer, f->file, entry ? entry->size : f->size, err))
            return false;
    }
    return own.code == ERR_NONE;
}

static bool slot_add(struct volume *v, struct slot *slot, struct err *err)
{
    if (!own_grow((void **)&v->slots, &v->slot_capacity, v->slot_count, sizeof(struct slot *),
                  err)) {
        slot_free(slot);
        return false;
    }
    v->active = v->slots[v->slot_count++] = slot;
    return true;
}

static bool freeze_recovered(struct volume *v, struct slot *slot, struct err *err)
{
    layer_freeze(slot->layer);
    slot->tree = tree_copy(&v->tree);
    slot->frozen = slot->decided = true;
    slot->bytes = layer_records(slot->layer) << RECORD_SHIFT;
    v->vault->frozen_bytes += slot->bytes;
    struct snap *snap = snap_at(v, slot->sequence);
    if (snap && !snap->sealed) {
        snap->tree = tree_copy(&v->tree);
        snap->loaded = true;
    }
    slot->committed = layer_commit(slot->layer, UINT64_MAX, err);
    return slot->committed;
}

/* A layer to which no swap led: a spare, or what acknowledged writes went to behind a swap that did
 * not reach the disk; then both layers are the head's. */
static bool build_unbegun(struct volume *v, struct slot *slot, struct err *err)
{
    size_t count = 0;
    struct err own = {0};
    own_free(layer_files(slot->layer, &count, &own));
    if (own.code == ERR_NONE && count == 0) {
        v->spare = slot;
        return true;
    }
    struct slot *old = v->slot_count > 0 ? slot_active(v) : NULL;
    struct record swap = {.kind = RECORD_SWAP, .next = slot->sequence};
    if (old)
        swap.sequence = old->sequence;
    if (own.code != ERR_NONE || !old)
        *err = own;
    bool ok = own.code == ERR_NONE && old && volume_note(v, &swap, err) && volume_sync(v, err) &&
              (old->frozen || freeze_recovered(v, old, err));
    if (!ok) {
        slot_free(slot);
        return old || err_set(err, ERR_CORRUPT, "a layer stands on none");
    }
    return slot_add(v, slot, err) && sizes_of(v, slot, err);
}

static bool build_layer(struct volume *v, struct replayed_layer *layer, struct err *err)
{
    struct replayed *r = v->replayed;
    char path[600];
    struct slot *slot = own_alloc(sizeof *slot, err);
    if (!slot || !str_format(path, sizeof path, "%s/l-%016llx", v->path,
                             (unsigned long long)layer->sequence)) {
        own_free(slot);
        return false;
    }
    slot->sequence = layer->sequence;
    slot->told = slot->registered = true;
    /* A snapshot's layer was on disk before the journal said so: other bytes are damage. */
    const struct snap *snap = snap_at(v, layer->sequence);
    bool clean = r->clean || (snap && !snap->sealed && layer->sequence != r->current);
    slot->layer = layer_open(path, layer->sequence, store_seed(v->vault->store), clean, err);
    if (!slot->layer) {
        slot_free(slot);
        if (err->code == ERR_NOT_FOUND) /* the journal tells of it after it was on disk */
            err->code = ERR_CORRUPT;
        return err_wrap(err, "layer %llu of '%s'", (unsigned long long)layer->sequence, v->name);
    }
    slot->records = layer->records;
    layer->records = (struct bytes){0};
    if (!layer->begun)
        return build_unbegun(v, slot, err) &&
               (v->spare == slot || clean || tidy_tails(v, slot, err));
    if (!slot_add(v, slot, err))
        return false;
    struct build b = {v, slot};
    if (!record_walk(slot->records.data, slot->records.len, replay_name, &b, err) ||
        !sizes_of(v, slot, err) || (!clean && !tidy_tails(v, slot, err)))
        return false;
    return layer->sequence == r->current || freeze_recovered(v, slot, err);
}

/* Whole clones stand on their origin's names, composed ones on their own records. */
static bool build_base(struct volume *v, struct err *err)
{
    struct vault *vault = v->vault;
    bool own_table = v->in_family && v->table.stored && (!v->mapped || v->sealed > v->start);
    if (own_table || !v->clone) {
        v->ready = true;
        v->mapped = false;
        return table_load(v, &v->table, v->table_slots, &v->tree, &v->base, err);
    }
    for (size_t i = 0; i < v->origin_count; i++)
        if (!snap_use(v->origins[i], err))
            return false;
    if (v->mapped)
        return tree_init(&v->tree, store_seed(vault->store), v->created_us, err);
    if (v->origin_count != 1)
        return err_set(err, ERR_CORRUPT, "clone '%s' stands on nothing", v->name);
    v->tree = tree_copy(&v->origins[0]->tree);
    return true;
}

static bool sweep_layers(struct volume *v, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(v->path, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        uint64_t sequence;
        char path[600];
        bool gone = str_ends(names.names[i], ".gone"); /* dropped, and its removal cut short */
        if (!str_starts(names.names[i], "l-") ||
            (!gone && !folder_id(names.names[i] + 2, &sequence)))
            continue;
        bool known = !gone && sequence > v->sealed && layer_at(v->replayed, sequence);
        if (!known && (!str_format(path, sizeof path, "%s/%s", v->path, names.names[i]) ||
                       !sys_remove_tree(path, err)))
            return false;
    }
    return true;
}

static bool build(struct volume *v, struct err *err)
{
    struct replayed *r = v->replayed;
    bool fresh = !r->facts;
    if (!v->journal && !volume_folder(v, err))
        return false;
    if (!build_base(v, err) || !sweep_layers(v, err))
        return false;
    for (size_t i = 0; i < r->layer_count; i++)
        if (r->layers[i].sequence > v->sealed && !build_layer(v, &r->layers[i], err))
            return false;
    pthread_mutex_lock(&v->vault->lock);
    bool ok = v->ready || clone_ready(v, err);
    pthread_mutex_unlock(&v->vault->lock);
    if (!ok)
        return false;
    if (v->slot_count == 0 && !volume_first_layer(v, err))
        return false;
    return fresh ? volume_found(v, err) : volume_sync(v, err);
}

static int by_start(const void *a, const void *b)
{
    const struct volume *x = *(struct volume *const *)a, *y = *(struct volume *const *)b;
    if (x->clone != y->clone)
        return x->clone ? 1 : -1;
    return x->start < y->start ? -1 : x->start > y->start;
}

static void settle_sequences(struct volume *v)
{
    uint64_t last = v->replayed->last;
    if (last < v->sealed)
        last = v->sealed;
    if (last < v->start)
        last = v->start;
    for (size_t i = 0; i < v->snap_count; i++)
        if (last < v->snaps[i]->sequence)
            last = v->snaps[i]->sequence;
    if (v->landing->next_sequence <= last)
        v->landing->next_sequence = last + 1;
}

static bool settle_moment(struct volume *v, struct err *err)
{
    (void)err;
    settle_deleted(v);
    settle_locks(v);
    settle_sequences(v);
    return true;
}

static bool build_named(struct volume *v, struct err *err)
{
    return build(v, err) || err_wrap(err, "volume '%s'", v->name);
}

/* With each that is there; where one is damaged, its family is not there any more. */
static bool each(struct vault *vault, const uint64_t *ids, size_t count,
                 bool (*step)(struct volume *v, struct err *err), struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        struct volume *v = volume_by_id(vault, ids[i]);
        if (v && !step(v, err) && !shut(vault, v->family_id, err))
            return false;
    }
    return true;
}

/* By start: origins come before what stands on them, also among clones. */
static size_t order_of(struct vault *vault, struct volume **order, uint64_t *ids)
{
    size_t count = vault->volume_count;
    for (size_t i = 0; i < count; i++)
        order[i] = vault->volumes[i];
    if (count > 0)
        qsort(order, count, sizeof(struct volume *), by_start);
    for (size_t i = 0; i < count; i++)
        ids[i] = order[i]->id;
    return count;
}

static bool has_content(const struct volume *v)
{
    return v->sealed > 0 || v->snap_count > 0 || v->replayed->layer_count > 0;
}

/* A landing volume whose name another one has, and who has more. Under its id, since the name is
 * the other's. */
static bool name_is_its_own(struct volume *v, struct err *err)
{
    struct vault *vault = v->vault;
    for (size_t i = 0; !v->clone && i < vault->volume_count; i++) {
        const struct volume *other = vault->volumes[i];
        bool less = has_content(v) == has_content(other) ? other->created_us < v->created_us
                                                         : has_content(other);
        if (other == v || other->clone || !less || strcmp(v->name, other->name) != 0)
            continue;
        IGNORE(str_format(v->name, sizeof v->name, "%016llx", (unsigned long long)v->id));
        return err_set(err, ERR_CORRUPT, "another volume has its name '%s'", other->name);
    }
    return true;
}

static bool settle_all(struct vault *vault, struct err *err)
{
    size_t count = vault->volume_count;
    AUTO(mem) struct volume **order = own_alloc((count + 1) * sizeof(struct volume *), err);
    AUTO(mem) uint64_t *ids = order ? own_alloc((count + 1) * sizeof *ids, err) : NULL;
    if (!ids)
        return false;
    count = order_of(vault, order, ids);
    if (!each(vault, ids, count, settle_facts, err) ||
        !each(vault, ids, count, name_is_its_own, err))
        return false;
    count = order_of(vault, order, ids); /* the facts say when clones began */
    return settle_sets(vault, err) && each(vault, ids, count, settle_moment, err) &&
           each(vault, ids, count, build_named, err);
}

static bool recover(struct vault *vault, struct err *err)
{
    size_t count = 0;
    struct err own = {0};
    AUTO(mem) uint64_t *families = store_families(vault->store, &count, &own);
    if (own.code != ERR_NONE) {
        *err = own;
        return false;
    }
    for (size_t i = 0; families && i < count; i++)
        if (!open_family(vault, families[i], err) && !shut(vault, families[i], err))
            return false;
    return open_folders(vault, err) && settle_all(vault, err);
}

bool vault_recover(struct vault *vault, struct err *err)
{
    bool ok = recover(vault, err);
    for (size_t i = 0; i < vault->volume_count; i++) {
        if (!ok)
            journal_leave(vault->volumes[i]);
        replayed_free(TAKE(vault->volumes[i]->replayed));
    }
    own_trim(); /* what was read of each volume is gone: an idle vault is a small one */
    return ok;
}
