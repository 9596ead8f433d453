/* Rows of the second store: its snapshots and those that come, and what they need. */
#include "agent/base/str.h"
#include "drivers/vault/store/sync_int.h"
#include <string.h>

/* Volumes that are not named are left as they are, there too. */
bool sync_is_about(const struct sync_options *o, const struct table_volume *volume)
{
    return volume && !volume->row.clone && (!o->volume || str_equal(o->volume, volume->row.name));
}

bool sync_wants(const struct sync *s, const struct table_snapshot *row)
{
    const struct sync_options *o = s->options;
    if (row->row.hidden || !sync_is_about(o, table_volume(s->near_rows, row->row.volume)))
        return false;
    for (size_t i = 0; i < o->snapshot_count; i++)
        if (str_equal(o->snapshots[i], row->row.name))
            return true;
    return o->snapshot_count == 0;
}

/* found: of each name, and behind them of the volume. */
static void look_for_names(struct table *table, const struct sync_options *o, bool *found)
{
    for (size_t i = 0; i < table->volume_count; i++)
        found[o->snapshot_count] |= sync_is_about(o, &table->volumes[i]);
    for (size_t i = 0; i < table->snapshot_count; i++) {
        const struct snapshot_row *row = &table->snapshots[i].row;
        bool there = !row->hidden && sync_is_about(o, table_volume(table, row->volume));
        for (size_t k = 0; there && k < o->snapshot_count; k++)
            found[k] |= str_equal(o->snapshots[k], row->name);
    }
}

bool sync_names_fit(struct store *near, const struct sync_options *o, struct err *err)
{
    size_t count = 0;
    struct err unread = {0};
    if (!o->volume && o->snapshot_count == 0)
        return true;
    AUTO(mem) bool *found = own_alloc((o->snapshot_count + 1) * sizeof *found, err);
    AUTO(mem) uint64_t *ids = found ? store_families(near, &count, err) : NULL;
    if (!ids)
        return false;
    for (size_t i = 0; i < count; i++) {
        AUTO(family) struct family *family = family_open(near, ids[i], false, &unread);
        AUTO(table) struct table *table = family ? family_table(family) : NULL;
        if (table)
            look_for_names(table, o, found);
    }
    for (size_t k = 0; k <= o->snapshot_count; k++) {
        bool volume = k == o->snapshot_count;
        if (found[k] || (volume && !o->volume))
            continue;
        if (unread.code == ERR_NONE)
            return err_set(err, ERR_NOT_FOUND, "there is no %s '%.100s'",
                           volume ? "volume" : "sealed snapshot",
                           volume ? o->volume : o->snapshots[k]);
        *err = unread;
        return false;
    }
    return true;
}

static bool take_snapshots(struct sync *s, struct err *err)
{
    for (size_t i = 0; i < s->near_rows->snapshot_count; i++) {
        const struct table_snapshot *row = &s->near_rows->snapshots[i];
        struct table_snapshot *there = table_snapshot(s->rows, row->row.volume, row->row.sequence);
        if (!sync_wants(s, row))
            continue;
        s->result.snapshots++;
        if (there) { /* the time of a lock goes by here */
            there->lock = row->lock;
            continue;
        }
        if (!own_grow((void **)&s->fresh, &s->fresh_capacity, s->fresh_count, sizeof *s->fresh,
                      err) ||
            !table_take_snapshot(s->rows, s->near_rows, row->row.volume, row->row.sequence, err))
            return false;
        s->fresh[s->fresh_count++] = (struct copied_list){row->row.volume, row->row.sequence};
    }
    return true;
}

/* What died before a snapshot is told anew where the one before it is another now. */
static bool take_deaths(struct sync *s, struct err *err)
{
    table_head_to_newest(s->rows);
    for (size_t i = 0; i < s->rows->snapshot_count; i++) {
        const struct snapshot_row *row = &s->rows->snapshots[i].row;
        bool old = s->far_rows && table_snapshot(s->far_rows, row->volume, row->sequence);
        if (old && table_before(s->far_rows, row->volume, row->sequence) ==
                       table_before(s->rows, row->volume, row->sequence))
            continue;
        if (!table_take_deaths(s->rows, s->near_rows, row->volume, row->sequence, err))
            return false;
    }
    return true;
}

uint64_t sync_known(const struct sync *s, size_t nth)
{
    uint64_t volume = s->fresh[nth].volume, sequence = s->fresh[nth].sequence;
    uint64_t before = table_before(s->rows, volume, sequence);
    return table_snapshot(s->rows, volume, before) ? before : 0;
}

bool sync_rows(struct sync *s, struct err *err)
{
    s->rows = s->far_rows ? table_copy(s->far_rows, err) : table_new(s->id, err);
    if (!s->rows || !take_snapshots(s, err) || !take_deaths(s, err))
        return false;
    s->needed = survey_new(s->family, err);
    if (!s->needed)
        return false;
    for (size_t i = 0; i < s->fresh_count; i++) {
        const struct table_snapshot *row =
            table_snapshot(s->rows, s->fresh[i].volume, s->fresh[i].sequence);
        survey_trust(s->needed, sync_known(s, i));
        if (!survey_mark(s->needed, &row->row.table, err) ||
            !survey_mark_item(s->needed, row->seal, err))
            return false;
    }
    for (size_t i = 0; i < s->rows->snapshot_count; i++) {
        const struct snapshot_row *row = &s->rows->snapshots[i].row;
        if (table_snapshot(s->near_rows, row->volume, row->sequence) &&
            !survey_mark_deaths(s->needed, &s->rows->snapshots[i].deaths, err))
            return false;
    }
    return true;
}
