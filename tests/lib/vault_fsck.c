/* A vault's rows, masks, objects and folders against a walk of everything that can be reached. */
#include "tests/lib/vault_fsck.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/store/family_int.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

enum { SLOTS_A_RECORD = RECORD_BYTES / INODE_BYTES };

struct reached {
    const struct table *table;
    uint16_t **masks; /* of the pack of the same index */
};

static void reached_done(struct reached *r)
{
    for (size_t i = 0; r->masks && i < r->table->pack_count; i++)
        own_free(r->masks[i]);
    own_free(r->masks);
}
OWN_DEFINE_INPLACE(reached, struct reached, reached_done);

static bool reached_begin(struct reached *r, const struct table *table, struct err *err)
{
    r->table = table;
    r->masks = own_alloc((table->pack_count + 1) * sizeof *r->masks, err);
    for (size_t i = 0; r->masks && i < table->pack_count; i++) {
        size_t frames = masks_frames(table->packs[i].live);
        r->masks[i] = own_alloc((frames + 1) * sizeof **r->masks, err);
        if (!r->masks[i])
            return false;
    }
    return r->masks;
}

static bool reach(struct reached *r, struct addr addr, struct err *err)
{
    const struct table_pack *pack = table_pack(r->table, addr.pack);
    if (!pack || addr.frame >= masks_frames(pack->live) ||
        !(masks_get(pack->live, addr.frame) & 1u << addr.item))
        return err_set(err, ERR_CORRUPT, "item %u of frame %u of pack %u is needed, but freed",
                       addr.item, addr.frame, addr.pack);
    r->masks[pack - r->table->packs][addr.frame] |= (uint16_t)(1u << addr.item);
    return true;
}

static bool reach_item(void *arg, int level, uint64_t first_record, struct addr addr,
                       uint64_t birth, struct err *err)
{
    (void)level;
    (void)first_record;
    (void)birth;
    return reach(arg, addr, err);
}

/* A file table, and the files in it. */
static bool reach_table(struct reached *r, struct family *family, const struct root *root,
                        uint64_t slots, struct err *err)
{
    struct source rows = {.family = family, .table = r->table};
    struct map_source source = family_source_of(&rows);
    struct inode inodes[SLOTS_A_RECORD];
    if (!root->stored)
        return true;
    if (!map_items(&source, root, 0, reach_item, r, err))
        return false;
    for (uint64_t record = 0; record * SLOTS_A_RECORD < slots; record++) {
        if (!family_inodes(family, root, record, inodes, err))
            return false;
        for (size_t i = 0; i < SLOTS_A_RECORD; i++)
            if (inodes[i].kind != INODE_FREE && inodes[i].root.stored &&
                !map_items(&source, &inodes[i].root, 0, reach_item, r, err))
                return false;
    }
    return true;
}

static bool reach_lists(struct reached *r, const struct deaths *deaths, struct err *err)
{
    for (size_t i = 0; i < deaths->count; i++) {
        const struct segment *segment = &deaths->segments[i];
        for (size_t k = 0; k < segment->list->list.count; k++)
            if (segment->list->list.chunks[k].birth_min <= segment->cut &&
                !reach(r, segment->list->list.chunks[k].addr, err))
                return err_wrap(err, "a dead list");
        if (!reach(r, segment->list->seal, err))
            return err_wrap(err, "the seal of a dead list");
    }
    return true;
}

static bool reach_all(struct reached *r, struct family *family, struct err *err)
{
    const struct table *t = r->table;
    for (size_t i = 0; i < t->volume_count; i++) {
        const struct table_volume *v = &t->volumes[i];
        if ((v->sealed && (!reach_table(r, family, &v->row.table, v->row.slots, err) ||
                           !reach(r, v->seal, err))) ||
            !reach_lists(r, &v->deaths, err))
            return err_wrap(err, "volume %llu '%s'", (unsigned long long)v->row.id, v->row.name);
    }
    for (size_t i = 0; i < t->snapshot_count; i++) {
        const struct table_snapshot *s = &t->snapshots[i];
        if (!reach_table(r, family, &s->row.table, s->row.slots, err) || !reach(r, s->seal, err) ||
            !reach_lists(r, &s->deaths, err))
            return err_wrap(err, "snapshot %llu '%s' of %llu", (unsigned long long)s->row.sequence,
                            s->row.name, (unsigned long long)s->row.volume);
    }
    return true;
}

/* Nothing lives that nobody reaches. */
static bool masks_agree(const struct reached *r, struct err *err)
{
    for (size_t i = 0; i < r->table->pack_count; i++) {
        const struct table_pack *pack = &r->table->packs[i];
        if (masks_items(pack->live) == 0)
            return err_set(err, ERR_CORRUPT, "all of pack %u is dead", pack->number);
        for (uint32_t f = 0; f < masks_frames(pack->live); f++)
            if (masks_get(pack->live, f) != r->masks[i][f])
                return err_set(err, ERR_CORRUPT, "frame %u of pack %u: %04x lives, %04x is reached",
                               f, pack->number, masks_get(pack->live, f), r->masks[i][f]);
    }
    return true;
}

/* ---- objects ---- */

static bool count_objects(struct family *family, const char *kind, size_t *ret_count,
                          uint64_t *bytes, struct err *err)
{
    char folder[IO_NAME_MAX];
    AUTO(io_list) struct io_list list = {0};
    family_folder(family->id, kind, folder);
    if (!io_list(store_io(family->store), folder, &list, err))
        return false;
    *ret_count = list.count;
    for (size_t i = 0; i < list.count; i++)
        *bytes += list.entries[i].bytes;
    return true;
}

static bool objects_agree(struct family *family, const struct table *table, struct err *err)
{
    size_t packs, tables, commits, notes, lists;
    uint64_t bytes = 0, copies = 0;
    struct family_stat stat;
    if (!count_objects(family, "pack", &packs, &bytes, err) ||
        !count_objects(family, "table", &tables, &bytes, err) ||
        !count_objects(family, "commit", &commits, &bytes, err) ||
        !count_objects(family, "note", &notes, &bytes, err) ||
        !count_objects(family, "copy", &lists, &copies, err) || !family_stat(family, &stat, err))
        return false;
    if (packs != table->pack_count || tables > 2 || family->doomed_count > 0)
        return err_set(err, ERR_CORRUPT, "%zu packs for %zu rows, %zu tables, %zu objects to go",
                       packs, table->pack_count, tables, family->doomed_count);
    /* Who copies writes the lists: the family knows of those that it found when it was opened. */
    return (stat.stored_bytes >= bytes && stat.stored_bytes <= bytes + copies) ||
           err_set(err, ERR_CORRUPT, "%llu bytes are stored, %llu in objects",
                   (unsigned long long)stat.stored_bytes, (unsigned long long)bytes);
}

static bool check_family(struct family *family, struct err *err)
{
    AUTO(table) struct table *table = family_table(family);
    AUTO(reached) struct reached reached = {0};
    return reached_begin(&reached, table, err) && reach_all(&reached, family, err) &&
           masks_agree(&reached, err) && objects_agree(family, table, err);
}

/* ---- the box ---- */

static bool is_slot(const struct volume *v, uint64_t sequence)
{
    bool found = v->spare && v->spare->sequence == sequence;
    for (size_t i = 0; i < v->slot_count; i++)
        found |= v->slots[i]->sequence == sequence;
    return found;
}

static bool check_folder(const struct volume *v, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(v->path, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        uint64_t sequence;
        bool layer = str_starts(name, "l-") && family_hex(name + 2, 16, &sequence);
        if (layer ? !is_slot(v, sequence)
                  : !str_equal(name, "journal") && !str_equal(name, "state"))
            return err_set(err, ERR_CORRUPT, "'%s' of '%s' is nobody's", name, v->name);
    }
    return true;
}

static bool check_box(struct vault *vault, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    char path[sizeof vault->box + 8];
    if (!str_format(path, sizeof path, "%s/v", vault->box) || !sys_list(path, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        uint64_t id;
        if (!family_hex(names.names[i], 16, &id) || !volume_by_id(vault, id))
            return err_set(err, ERR_CORRUPT, "'v/%s' is nobody's", names.names[i]);
    }
    for (size_t i = 0; i < vault->volume_count; i++)
        if (!check_folder(vault->volumes[i], err))
            return false;
    return names.count == vault->volume_count ||
           err_set(err, ERR_CORRUPT, "%zu folders for %zu volumes", names.count,
                   vault->volume_count);
}

static bool check_once(struct vault *vault, struct err *err)
{
    pthread_mutex_lock(&vault->lock);
    bool ok = check_box(vault, err);
    pthread_mutex_unlock(&vault->lock);
    for (size_t i = 0; ok && i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        if (v->landing != v)
            continue;
        pthread_mutex_lock(&v->family->change);
        ok = check_family(v->family, err) || err_wrap(err, "family of '%s'", v->name);
        pthread_mutex_unlock(&v->family->change);
    }
    return ok;
}

/* Chores of the keeper may be under way: it is given a few rounds. */
bool vault_fsck(struct vault *vault, struct err *err)
{
    if (vault->closed_count > 0)
        return err_set(err, ERR_CORRUPT, "volume '%s' is closed: %s", vault->closed[0].name,
                       vault->closed[0].why);
    struct err why = {0};
    for (int i = 0; i < 4; i++) {
        err_clear(&why);
        if (check_once(vault, &why))
            return true;
        vault_wake(vault);
        pthread_mutex_lock(&vault->lock);
        IGNORE(vault_wait_until(vault, clock_mono_ms() + 1000));
        pthread_mutex_unlock(&vault->lock);
    }
    *err = why;
    return false;
}
