/* A family's rows and what each change makes of them. */
#include "drivers/vault/store/table.h"
#include <inttypes.h>
#include <string.h>

/* ---- rows ---- */

void table_list_unref(struct table_list *list)
{
    if (!list || __atomic_sub_fetch(&list->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    dead_list_done(&list->list);
    own_free(list);
}

static void deaths_done(struct deaths *deaths)
{
    if (deaths->refs && __atomic_sub_fetch(deaths->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        for (size_t i = 0; i < deaths->count; i++)
            table_list_unref(deaths->segments[i].list);
        own_free(deaths->segments);
        own_free(deaths->refs);
    }
    *deaths = (struct deaths){0};
}

bool deaths_add(struct deaths *deaths, struct table_list *list, uint64_t cut, struct err *err)
{
    if (!deaths->refs && !(deaths->refs = own_alloc(sizeof *deaths->refs, err)))
        return false;
    *deaths->refs = 1; /* who adds has it alone */
    if (!own_grow((void **)&deaths->segments, &deaths->capacity, deaths->count,
                  sizeof *deaths->segments, err))
        return false;
    __atomic_add_fetch(&list->refs, 1, __ATOMIC_RELAXED);
    deaths->segments[deaths->count++] = (struct segment){list, cut};
    return true;
}

static void deaths_ref(const struct deaths *deaths)
{
    if (deaths->refs)
        __atomic_add_fetch(deaths->refs, 1, __ATOMIC_RELAXED);
}

/* Before it is changed: from here on no other table has it. */
static bool deaths_own(struct deaths *deaths, struct err *err)
{
    struct deaths own = {0};
    bool ok = true;
    if (!deaths->refs || __atomic_load_n(deaths->refs, __ATOMIC_ACQUIRE) == 1)
        return true;
    for (size_t i = 0; ok && i < deaths->count; i++)
        ok = deaths_add(&own, deaths->segments[i].list, deaths->segments[i].cut, err);
    if (ok) {
        struct deaths shared = *deaths;
        *deaths = own;
        own = shared;
    }
    deaths_done(&own);
    return ok;
}

static void bad_unref(struct table_bad *bad)
{
    if (bad && __atomic_sub_fetch(&bad->refs, 1, __ATOMIC_ACQ_REL) == 0)
        own_free(bad);
}

static void snapshot_done(struct table_snapshot *snapshot)
{
    deaths_done(&snapshot->deaths);
    bad_unref(snapshot->bad);
}

struct table *table_new(uint64_t family, struct err *err)
{
    struct table *table = own_alloc(sizeof *table, err);
    if (table) {
        table->refs = 1;
        table->family = family;
        table->next_pack = 1;
    }
    return table;
}

struct table *table_ref(struct table *table)
{
    __atomic_add_fetch(&table->refs, 1, __ATOMIC_RELAXED);
    return table;
}

void table_unref(struct table *table)
{
    if (!table || __atomic_sub_fetch(&table->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < table->volume_count; i++)
        deaths_done(&table->volumes[i].deaths);
    for (size_t i = 0; i < table->snapshot_count; i++)
        snapshot_done(&table->snapshots[i]);
    for (size_t i = 0; i < table->pack_count; i++)
        masks_unref(table->packs[i].live);
    own_free(table->volumes);
    own_free(table->snapshots);
    own_free(table->packs);
    own_free(table);
}

/* One row more than there are, so that a change has room. */
static void *copy_rows(const void *rows, size_t count, size_t size, size_t *ret_capacity,
                       struct err *err)
{
    void *copy = own_realloc(NULL, (count + 1) * size, err);
    if (copy && count > 0)
        memcpy(copy, rows, count * size);
    if (copy)
        *ret_capacity = count + 1;
    return copy;
}

struct table *table_copy(const struct table *table, struct err *err)
{
    AUTO(table) struct table *copy = table_new(table->family, err);
    if (!copy)
        return NULL;
    copy->number = table->number;
    copy->epoch = table->epoch;
    copy->next_pack = table->next_pack;
    memcpy(copy->box_id, table->box_id, sizeof copy->box_id);
    copy->volumes = copy_rows(table->volumes, table->volume_count, sizeof *copy->volumes,
                              &copy->volume_capacity, err);
    copy->snapshots = copy_rows(table->snapshots, table->snapshot_count, sizeof *copy->snapshots,
                                &copy->snapshot_capacity, err);
    copy->packs =
        copy_rows(table->packs, table->pack_count, sizeof *copy->packs, &copy->pack_capacity, err);
    if (!copy->volumes || !copy->snapshots || !copy->packs)
        return NULL;
    for (; copy->pack_count < table->pack_count; copy->pack_count++)
        masks_ref(copy->packs[copy->pack_count].live);
    for (; copy->volume_count < table->volume_count; copy->volume_count++)
        deaths_ref(&copy->volumes[copy->volume_count].deaths);
    for (; copy->snapshot_count < table->snapshot_count; copy->snapshot_count++) {
        struct table_snapshot *row = &copy->snapshots[copy->snapshot_count];
        deaths_ref(&row->deaths);
        if (row->bad)
            __atomic_add_fetch(&row->bad->refs, 1, __ATOMIC_RELAXED);
    }
    return TAKE(copy);
}

/* ---- finding ---- */

struct table_volume *table_volume(const struct table *table, uint64_t volume)
{
    for (size_t i = 0; i < table->volume_count; i++)
        if (table->volumes[i].row.id == volume)
            return &table->volumes[i];
    return NULL;
}

/* The first row at or after (volume, sequence). */
static size_t snapshot_place(const struct table *table, uint64_t volume, uint64_t sequence)
{
    size_t low = 0, high = table->snapshot_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct snapshot_row *row = &table->snapshots[middle].row;
        if (row->volume < volume || (row->volume == volume && row->sequence < sequence))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct table_snapshot *table_next(const struct table *table, uint64_t volume, uint64_t sequence)
{
    size_t at = snapshot_place(table, volume, sequence);
    return at < table->snapshot_count && table->snapshots[at].row.volume == volume
               ? &table->snapshots[at]
               : NULL;
}

struct table_snapshot *table_snapshot(const struct table *table, uint64_t volume, uint64_t sequence)
{
    struct table_snapshot *next = table_next(table, volume, sequence);
    return next && next->row.sequence == sequence ? next : NULL;
}

uint64_t table_before(const struct table *table, uint64_t volume, uint64_t sequence)
{
    size_t at = snapshot_place(table, volume, sequence);
    if (at > 0 && table->snapshots[at - 1].row.volume == volume)
        return table->snapshots[at - 1].row.sequence;
    const struct table_volume *row = table_volume(table, volume);
    return row ? row->row.start : 0;
}

const struct deaths *table_deaths(const struct table *table, uint64_t volume, uint64_t sequence)
{
    const struct table_snapshot *snapshot =
        sequence == UINT64_MAX ? NULL : table_snapshot(table, volume, sequence);
    if (snapshot)
        return &snapshot->deaths;
    const struct table_volume *row = table_volume(table, volume);
    return row ? &row->deaths : NULL;
}

static size_t pack_place(const struct table *table, uint32_t pack)
{
    size_t low = 0, high = table->pack_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table->packs[middle].number < pack)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct table_pack *table_pack(const struct table *table, uint32_t pack)
{
    size_t at = pack_place(table, pack);
    return at < table->pack_count && table->packs[at].number == pack ? &table->packs[at] : NULL;
}

struct table_snapshot *table_unpinned(const struct table *table)
{
    for (size_t i = 0; i < table->snapshot_count; i++)
        if (table->snapshots[i].row.hidden && table->snapshots[i].pins == 0)
            return &table->snapshots[i];
    return NULL;
}

/* ---- frames that nobody needs ---- */

bool table_free_item(const struct table *table, struct freed *freed, struct addr addr,
                     struct err *err)
{
    const struct table_pack *pack = table_pack(table, addr.pack);
    if (!pack)
        return err_set(err, ERR_CORRUPT, "an item of pack %x is freed and there is no such pack",
                       addr.pack);
    return freed_add(freed, pack->live, addr, err);
}

static bool same_frame(struct addr a, struct addr b)
{
    return a.pack == b.pack && a.frame == b.frame;
}

static bool deaths_name(const struct deaths *deaths, struct addr seal)
{
    for (size_t i = 0; i < deaths->count; i++)
        if (same_frame(deaths->segments[i].list->seal, seal))
            return true;
    return false;
}

/* A seal frame stays while it tells of the newest head, a snapshot or a dead list. */
static bool seal_is_needed(const struct table *table, struct addr seal)
{
    for (size_t i = 0; i < table->volume_count; i++) {
        const struct table_volume *row = &table->volumes[i];
        if ((row->sealed && same_frame(row->seal, seal)) || deaths_name(&row->deaths, seal))
            return true;
    }
    for (size_t i = 0; i < table->snapshot_count; i++)
        if (same_frame(table->snapshots[i].seal, seal) ||
            deaths_name(&table->snapshots[i].deaths, seal))
            return true;
    return false;
}

static bool let_seal_go(const struct table *table, struct freed *meta, struct addr seal,
                        struct err *err)
{
    return !meta || seal_is_needed(table, seal) || table_free_item(table, meta, seal, err);
}

/* Chunks of the segment born after `cut`, and up to what was kept so far, go. */
static bool let_chunks_go(const struct table *table, struct freed *meta,
                          const struct segment *segment, uint64_t cut, struct err *err)
{
    const struct dead_list *list = &segment->list->list;
    for (size_t i = list->count; meta && i-- > 0 && list->chunks[i].birth_min > cut;)
        if (list->chunks[i].birth_min <= segment->cut &&
            !table_free_item(table, meta, list->chunks[i].addr, err))
            return false;
    return true;
}

/* Cuts all segments; those of which nothing is left go, and their seal frames are looked at. */
static bool deaths_cut(const struct table *table, struct deaths *deaths, uint64_t cut,
                       struct freed *meta, struct err *err)
{
    size_t kept = 0, gone = 0;
    if (!deaths_own(deaths, err))
        return false;
    for (size_t i = 0; i < deaths->count; i++)
        if (!let_chunks_go(table, meta, &deaths->segments[i], cut, err))
            return false;
    AUTO(mem) struct addr *seals = own_alloc((deaths->count + 1) * sizeof *seals, err);
    if (!seals)
        return false;
    for (size_t i = 0; i < deaths->count; i++) {
        struct segment segment = deaths->segments[i];
        if (segment.cut > cut)
            segment.cut = cut;
        if (segment.list->list.count > 0 && segment.list->list.chunks[0].birth_min <= segment.cut) {
            deaths->segments[kept++] = segment;
            continue;
        }
        if (gone == 0 || !same_frame(seals[gone - 1], segment.list->seal))
            seals[gone++] = segment.list->seal;
        table_list_unref(segment.list);
    }
    deaths->count = kept;
    for (size_t i = 0; i < gone; i++)
        if (!let_seal_go(table, meta, seals[i], err))
            return false;
    return true;
}

static bool deaths_join(struct deaths *to, const struct deaths *from, struct err *err)
{
    if (!deaths_own(to, err))
        return false;
    for (size_t i = 0; i < from->count; i++)
        if (!deaths_add(to, from->segments[i].list, from->segments[i].cut, err))
            return false;
    return true;
}

/* ---- changes ---- */

void change_done(struct change *change)
{
    for (size_t i = 0; i < change->pack_count; i++)
        masks_unref(change->packs[i].live);
    own_free(change->packs);
    for (size_t i = 0; i < change->list_count; i++)
        dead_list_done(&change->lists[i]);
    own_free(change->lists);
    own_free(change->bad);
    own_free(change->locked);
    for (size_t i = 0; i < change->freed_count; i++)
        masks_unref(change->freed[i].gone);
    own_free(change->freed);
    *change = (struct change){0};
}

static bool misfit(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "a commit does not fit the family's rows: %s", what);
}

static bool add_volume(struct table *table, const struct change *change, struct err *err)
{
    const struct volume_row *row = &change->row;
    if (table_volume(table, row->id))
        return misfit(err, "the volume is there already");
    if (row->origin_count > sizeof row->origins / sizeof *row->origins)
        return misfit(err, "a volume has too many origins");
    for (size_t i = 0; i < row->origin_count; i++)
        if (!table_snapshot(table, row->origins[i].volume, row->origins[i].sequence) ||
            row->origins[i].sequence >= row->start)
            return misfit(err, "a clone of what is not there");
    if (!own_grow((void **)&table->volumes, &table->volume_capacity, table->volume_count,
                  sizeof *table->volumes, err))
        return false;
    for (size_t i = 0; i < row->origin_count; i++)
        table_snapshot(table, row->origins[i].volume, row->origins[i].sequence)->pins++;
    struct table_volume *added = &table->volumes[table->volume_count++];
    *added = (struct table_volume){.row = *row};
    added->row.sealed = row->start;
    return true;
}

static bool drop_volume(struct table *table, const struct change *change, struct freed *meta,
                        struct err *err)
{
    struct table_volume *row = table_volume(table, change->volume);
    if (!row || table_next(table, change->volume, 0))
        return misfit(err, "a volume is dropped that is not there or has snapshots");
    for (size_t i = 0; i < row->row.origin_count; i++) {
        struct table_snapshot *origin =
            table_snapshot(table, row->row.origins[i].volume, row->row.origins[i].sequence);
        if (!origin || origin->pins == 0)
            return misfit(err, "a clone's origin is not there");
        origin->pins--;
    }
    struct table_volume gone = *row;
    size_t at = (size_t)(row - table->volumes);
    memmove(row, row + 1, (--table->volume_count - at) * sizeof *row);
    bool done = deaths_cut(table, &gone.deaths, 0, meta, err) &&
                (!gone.sealed || let_seal_go(table, meta, gone.seal, err));
    deaths_done(&gone.deaths);
    return done;
}

static bool add_pack(struct table *table, const struct table_pack *pack, struct err *err)
{
    size_t at = pack_place(table, pack->number);
    if (table_pack(table, pack->number) || pack->number == UINT32_MAX)
        return misfit(err, "a pack is there already");
    if (!own_grow((void **)&table->packs, &table->pack_capacity, table->pack_count,
                  sizeof *table->packs, err))
        return false;
    memmove(table->packs + at + 1, table->packs + at,
            (table->pack_count++ - at) * sizeof *table->packs);
    table->packs[at] = *pack;
    masks_ref(pack->live);
    if (pack->number >= table->next_pack)
        table->next_pack = pack->number + 1;
    return true;
}

static bool add_list(struct deaths *deaths, const struct dead_list *from,
                     const struct change *change, struct err *err)
{
    struct table_list *list = own_alloc(sizeof *list, err);
    if (!list)
        return false;
    list->refs = 1;
    list->seal = change->seal;
    list->list =
        (struct dead_list){.count = from->count, .capacity = from->count, .items = from->items};
    list->list.chunks = own_alloc((from->count + 1) * sizeof *from->chunks, err);
    if (list->list.chunks && from->count > 0)
        memcpy(list->list.chunks, from->chunks, from->count * sizeof *from->chunks);
    bool done =
        list->list.chunks && deaths_own(deaths, err) && deaths_add(deaths, list, change->cut, err);
    table_list_unref(list);
    return done;
}

static bool add_snapshot(struct table *table, struct table_volume *volume,
                         const struct change *change, struct err *err)
{
    AUTO(mem)
    struct table_bad *bad = own_alloc(sizeof *bad + change->bad_count * sizeof *change->bad, err);
    if (!bad || !own_grow((void **)&table->snapshots, &table->snapshot_capacity,
                          table->snapshot_count, sizeof *table->snapshots, err))
        return false;
    bad->refs = 1;
    bad->count = change->bad_count;
    if (change->bad_count > 0)
        memcpy(bad->records, change->bad, change->bad_count * sizeof *change->bad);
    size_t at = snapshot_place(table, change->volume, change->sequence);
    struct table_snapshot *row = table->snapshots + at;
    memmove(row + 1, row, (table->snapshot_count++ - at) * sizeof *row);
    *row = (struct table_snapshot){
        .row = change->snapshot, .seal = change->seal, .deaths = volume->deaths};
    row->row.volume = change->volume;
    row->row.sequence = change->sequence;
    row->bad = TAKE(bad);
    volume->deaths = (struct deaths){0};
    return true;
}

static bool seal_volume(struct table *table, const struct change *change, struct freed *meta,
                        struct err *err)
{
    struct table_volume *volume = table_volume(table, change->volume);
    if (!volume || change->sequence <= volume->row.start || change->sequence == UINT64_MAX ||
        change->sequence <= volume->row.sealed)
        return misfit(err, "a layer is sealed out of order");
    if (change->cut != table_before(table, change->volume, UINT64_MAX))
        return misfit(err, "a seal knows another last snapshot");
    for (size_t i = 0; i < change->pack_count; i++)
        if (!add_pack(table, &change->packs[i], err))
            return false;
    for (size_t i = 0; i < change->list_count; i++)
        if (!add_list(&volume->deaths, &change->lists[i], change, err))
            return false;
    bool was_sealed = volume->sealed;
    struct addr before = volume->seal;
    volume->sealed = true;
    volume->seal = change->seal;
    volume->row.sealed = change->sequence;
    volume->row.table = change->snapshot.table;
    volume->row.slots = change->snapshot.slots;
    /* A list cut short since it was written: its newest chunks are needed no more. */
    for (size_t i = 0; i < volume->deaths.count; i++) {
        struct segment whole = volume->deaths.segments[i];
        if (!same_frame(whole.list->seal, change->seal))
            continue;
        whole.cut = UINT64_MAX;
        if (!let_chunks_go(table, meta, &whole, change->cut, err))
            return false;
    }
    if (!deaths_cut(table, &volume->deaths, change->cut, meta, err))
        return false;
    if (change->named && !add_snapshot(table, volume, change, err))
        return false;
    return !was_sealed || let_seal_go(table, meta, before, err);
}

static bool drop_snapshot(struct table *table, const struct change *change, struct freed *meta,
                          struct err *err)
{
    struct table_snapshot *row = table_snapshot(table, change->volume, change->sequence);
    struct table_volume *volume = table_volume(table, change->volume);
    if (!row || !volume || row->pins > 0)
        return misfit(err, "a snapshot is dropped that is not there or has clones");
    uint64_t before = table_before(table, change->volume, change->sequence);
    struct table_snapshot gone = *row;
    size_t at = (size_t)(row - table->snapshots);
    memmove(row, row + 1, (--table->snapshot_count - at) * sizeof *row);
    struct table_snapshot *next = table_next(table, change->volume, change->sequence);
    struct deaths *after = next ? &next->deaths : &volume->deaths;
    bool done = deaths_cut(table, after, before, meta, err) &&
                deaths_join(after, &gone.deaths, err) && let_seal_go(table, meta, gone.seal, err);
    snapshot_done(&gone);
    return done;
}

static bool lock_snapshot(struct table *table, const struct change *change, struct err *err)
{
    struct table_snapshot *row = table_snapshot(table, change->volume, change->sequence);
    if (!row)
        return misfit(err, "a snapshot is locked that is not there");
    row->lock = change->lock;
    for (size_t i = 0; i < change->locked_count; i++) {
        struct table_pack *pack = table_pack(table, change->locked[i]);
        if (pack && pack->locked_until_us < change->until_us)
            pack->locked_until_us = change->until_us;
    }
    return true;
}

static bool thin_pack(struct table *table, const struct change *change, struct err *err)
{
    if (change->pack_count != 1)
        return misfit(err, "not one pack is thinned");
    const struct table_pack *thinned = &change->packs[0];
    struct table_pack *row = table_pack(table, thinned->number);
    if (!row || thinned->generation <= row->generation)
        return misfit(err, "a pack is thinned that is not there");
    row->generation = thinned->generation;
    row->bytes = thinned->bytes;
    row->items = thinned->items;
    return true;
}

static bool free_items(struct table *table, const struct change *change, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < change->freed_count; i++) {
        struct table_pack *row = table_pack(table, change->freed[i].pack);
        if (!row)
            return misfit(err, "items are freed of a pack that is not there");
        struct masks *left = masks_without(row->live, change->freed[i].gone, err);
        if (!left)
            return false;
        masks_unref(row->live);
        row->live = left;
    }
    for (size_t i = 0; i < table->pack_count; i++) {
        if (masks_items(table->packs[i].live) > 0)
            table->packs[kept++] = table->packs[i];
        else
            masks_unref(table->packs[i].live);
    }
    table->pack_count = kept;
    return true;
}

bool table_apply(struct table *table, const struct change *change, struct freed *meta,
                 struct err *err)
{
    struct table_snapshot *snapshot;
    switch (change->kind) {
    case CHANGE_VOLUME_ADDED:
        return add_volume(table, change, err);
    case CHANGE_VOLUME_DROPPED:
        return drop_volume(table, change, meta, err);
    case CHANGE_SEALED:
        return seal_volume(table, change, meta, err);
    case CHANGE_SNAPSHOT_DROPPED:
        return drop_snapshot(table, change, meta, err);
    case CHANGE_LOCKED:
        return lock_snapshot(table, change, err);
    case CHANGE_THINNED:
        return thin_pack(table, change, err);
    case CHANGE_FREED:
        return free_items(table, change, err);
    case CHANGE_OWNER:
        table->epoch = change->epoch;
        memcpy(table->box_id, change->box_id, sizeof table->box_id);
        return true;
    case CHANGE_HIDDEN:
        snapshot = table_snapshot(table, change->volume, change->sequence);
        if (!snapshot)
            return misfit(err, "a snapshot is hidden that is not there");
        snapshot->row.hidden = true;
        return true;
    default:
        return misfit(err, "its kind is not known");
    }
}

bool table_freed_change(struct freed *freed, struct change *ret, struct err *err)
{
    AUTO(change) struct change change = {.kind = CHANGE_FREED};
    size_t count = freed_packs(freed);
    change.freed = own_alloc((count + 1) * sizeof *change.freed, err);
    if (!change.freed)
        return false;
    for (; change.freed_count < count; change.freed_count++) {
        struct change_freed *row = &change.freed[change.freed_count];
        if (!freed_take(freed, change.freed_count, &row->pack, &row->gone, err))
            return false;
    }
    *ret = change;
    change = (struct change){0};
    return true;
}

/* ---- rows taken from another table ---- */

bool table_take_snapshot(struct table *to, const struct table *from, uint64_t volume,
                         uint64_t sequence, struct err *err)
{
    const struct table_volume *line = table_volume(from, volume);
    const struct table_snapshot *source = table_snapshot(from, volume, sequence);
    if (!line || !source)
        return err_set(err, ERR_NOT_FOUND, "there is no such snapshot");
    if (table_snapshot(to, volume, sequence))
        return err_set(err, ERR_EXISTS, "snapshot '%s' is there already", source->row.name);
    struct table_volume *head = table_volume(to, volume);
    if (!head) {
        if (!own_grow((void **)&to->volumes, &to->volume_capacity, to->volume_count,
                      sizeof *to->volumes, err))
            return false;
        head = &to->volumes[to->volume_count++];
        *head = (struct table_volume){.row = line->row};
        head->row.sealed = head->row.start;
    }
    if (!own_grow((void **)&to->snapshots, &to->snapshot_capacity, to->snapshot_count,
                  sizeof *to->snapshots, err))
        return false;
    struct table_snapshot *row = to->snapshots + snapshot_place(to, volume, sequence);
    memmove(row + 1, row, (size_t)(to->snapshots + to->snapshot_count - row) * sizeof *row);
    to->snapshot_count++;
    *row = (struct table_snapshot){
        .row = source->row, .lock = source->lock, .seal = source->seal, .bad = source->bad};
    row->row.hidden = false;
    if (row->bad)
        __atomic_add_fetch(&row->bad->refs, 1, __ATOMIC_RELAXED);
    return true;
}

void table_head_to_newest(struct table *table)
{
    for (size_t i = 0; i < table->volume_count; i++) {
        struct table_volume *head = &table->volumes[i];
        const struct table_snapshot *newest =
            table_snapshot(table, head->row.id, table_before(table, head->row.id, UINT64_MAX));
        if (!newest)
            continue;
        deaths_done(&head->deaths);
        head->sealed = true;
        head->seal = newest->seal;
        head->row.sealed = newest->row.sequence;
        head->row.table = newest->row.table;
        head->row.slots = newest->row.slots;
    }
}

bool table_take_deaths(struct table *to, const struct table *from, uint64_t volume,
                       uint64_t sequence, struct err *err)
{
    struct table_snapshot *row = table_snapshot(to, volume, sequence);
    uint64_t before = table_before(to, volume, sequence);
    if (!row)
        return err_set(err, ERR_NOT_FOUND, "there is no such snapshot");
    deaths_done(&row->deaths);
    const struct table_volume *line = table_volume(from, volume);
    if (!line || !table_snapshot(from, volume, sequence) ||
        (before != line->row.start && !table_snapshot(from, volume, before)))
        return true;
    for (const struct table_snapshot *next = table_next(from, volume, before + 1);
         next && next->row.sequence <= sequence;
         next = table_next(from, volume, next->row.sequence + 1))
        for (size_t i = 0; i < next->deaths.count; i++) {
            const struct segment *segment = &next->deaths.segments[i];
            uint64_t cut = segment->cut < before ? segment->cut : before;
            if (segment->list->list.count > 0 && segment->list->list.chunks[0].birth_min <= cut &&
                !deaths_add(&row->deaths, segment->list, cut, err))
                return false;
        }
    return true;
}

bool table_put_pack(struct table *table, const struct table_pack *pack, struct err *err)
{
    struct table_pack *row = table_pack(table, pack->number);
    if (!row)
        return add_pack(table, pack, err);
    masks_ref(pack->live);
    masks_unref(row->live);
    *row = *pack;
    return true;
}
