/* Sync: look, send, read back, then write the second store's rows. */
#include "drivers/vault/store/sync.h"
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/io/paced.h"
#include "drivers/vault/store/copies.h"
#include "drivers/vault/store/rows.h"
#include "drivers/vault/store/sync_int.h"
#include <inttypes.h>
#include <string.h>

enum { CACHE_BYTES = 32 << 20, DIR_BYTES = 32 << 20, TRIES = 4 };

static void family_done(struct sync *s)
{
    survey_free(TAKE(s->needed));
    table_unref(TAKE(s->rows));
    table_unref(TAKE(s->far_rows));
    table_unref(TAKE(s->near_rows));
    family_close(TAKE(s->family));
    s->fresh_count = 0;
}

static bool is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND || err->code == ERR_IO ||
           err->code == ERR_LIMIT;
}

/* ---- what is there ---- */

static bool read_far(struct sync *s, struct err *err)
{
    struct err failed = {0};
    AUTO(family) struct family *far = family_open(s->far, s->id, false, &failed);
    if (far) {
        s->far_rows = family_table(far);
        return true;
    }
    /* Packs without rows: a first run was cut off. */
    uint64_t number = 0;
    if (!rows_highest(s->far, s->id, &number, err))
        return false;
    if (failed.code == ERR_NOT_FOUND || (failed.code == ERR_CORRUPT && number == 0))
        return true;
    *err = failed;
    return err_wrap(err, "rows of the second store");
}

/* ---- the end ---- */

/* New snapshots as they are there: hashes up to their identities. What a snapshot shares with an
 * older one of its line was looked at when that came. */
static bool verify(struct sync *s, struct err *err)
{
    AUTO(table) struct table *shown = table_copy(s->rows, err);
    AUTO(family) struct family *far = shown ? family_bare(s->far, s->id, TAKE(shown), err) : NULL;
    for (size_t i = 0; far && i < s->fresh_count; i++) {
        uint64_t volume = s->fresh[i].volume, sequence = s->fresh[i].sequence;
        const struct table_snapshot *row = table_snapshot(s->rows, volume, sequence);
        bool whole = false;
        AUTO(survey) struct survey *survey = survey_new(far, err);
        if (!survey)
            return false;
        survey_trust(survey, sync_known(s, i));
        if (!state_check(survey, far, &row->row.table, row->row.slots, &row->row.identity, &whole,
                         err))
            return false;
        if (!whole)
            return err_set(err, ERR_CORRUPT, "snapshot '%s' did not arrive whole", row->row.name);
    }
    return far != NULL;
}

static bool tell_near(struct sync *s, const uint8_t far_id[16], struct io *from, struct err *err)
{
    AUTO(copies_of) struct copies_of copies = {.at_us = clock_wall_us()};
    memcpy(copies.store, far_id, sizeof copies.store);
    copies.rows = own_alloc((s->rows->snapshot_count + 1) * sizeof *copies.rows, err);
    for (size_t i = 0; copies.rows && i < s->rows->snapshot_count; i++) {
        const struct snapshot_row *row = &s->rows->snapshots[i].row;
        if (table_snapshot(s->near_rows, row->volume, row->sequence))
            copies.rows[copies.count++] = (struct copied){row->volume, row->sequence};
    }
    return copies.rows && copies_put(from, store_seed(s->near), s->id, &copies, err);
}

static bool copy_notes(struct sync *s, struct family *far, struct err *err)
{
    for (size_t i = 0; i < s->rows->snapshot_count; i++) {
        const struct snapshot_row *row = &s->rows->snapshots[i].row;
        struct err here = {0}, there = {0};
        if (!table_snapshot(s->near_rows, row->volume, row->sequence))
            continue;
        AUTO(mem) char *text = family_note_get(s->family, row->id, &here);
        AUTO(mem) char *old = family_note_get(far, row->id, &there);
        if (!text && here.code != ERR_NOT_FOUND) {
            *err = here;
            return false;
        }
        if (str_equal(text, old))
            continue;
        if (!family_note_put(far, row->id, text, err))
            return false;
    }
    return true;
}

/* Oldest first; a locked one stays, whoever asks. */
static bool prune(struct sync *s, struct family *far, struct err *err)
{
    uint64_t freed = 0;
    for (size_t i = 0; i < s->rows->snapshot_count; i++) {
        const struct snapshot_row *row = &s->rows->snapshots[i].row;
        const struct table_snapshot *here =
            table_snapshot(s->near_rows, row->volume, row->sequence);
        struct err failed = {0};
        if (!sync_is_about(s->options, table_volume(s->rows, row->volume)) ||
            (here && sync_wants(s, here)))
            continue;
        if (family_snapshot_drop(far, row->volume, row->sequence, &failed)) {
            s->result.pruned++;
        } else if (failed.code != ERR_DENIED && failed.code != ERR_PRECONDITION) {
            *err = failed;
            return false;
        }
    }
    return s->result.pruned == 0 ||
           family_thin(far, s->options->stop, s->options->arg, &freed, err);
}

static bool same_locks(const struct sync *s)
{
    for (size_t i = 0; i < s->rows->snapshot_count; i++) {
        const struct snapshot_row *row = &s->rows->snapshots[i].row;
        const struct table_snapshot *old = table_snapshot(s->far_rows, row->volume, row->sequence);
        if (old && old->lock.remaining_ms != s->rows->snapshots[i].lock.remaining_ms)
            return false;
    }
    return true;
}

static bool finish(struct sync *s, struct io *from, struct err *err)
{
    uint8_t far_id[16];
    bool changed = s->fresh_count > 0 || (s->far_rows && !same_locks(s));
    store_id(s->far, far_id);
    if (!changed && !s->far_rows)
        return true; /* nothing is asked for */
    AUTO(store) struct store *store = store_open(s->far_io, s->options->box_id, NULL, err);
    if (!store || (changed && !rows_write(store, s->rows, s->far_rows != NULL, err)))
        return false;
    /* Opening sweeps what runs that were cut off left there. */
    AUTO(family) struct family *far = family_open(store, s->id, false, err);
    if (!far || !copy_notes(s, far, err) || (s->options->prune && !prune(s, far, err)))
        return false;
    if (s->options->prune) {
        table_unref(s->rows);
        s->rows = family_table(far);
    }
    s->result.copied += s->fresh_count;
    return tell_near(s, far_id, from, err);
}

/* ---- families ---- */

static bool sync_family(struct sync *s, struct io *from, struct err *err)
{
    s->family = family_open(s->near, s->id, false, err);
    if (!s->family)
        return false;
    s->near_rows = family_table(s->family);
    return read_far(s, err) && sync_rows(s, err) && sync_packs(s, err) && verify(s, err) &&
           finish(s, from, err);
}

/* What went meanwhile is looked up again. */
static bool rows_changed(struct sync *s, uint64_t number)
{
    struct err err = {0};
    AUTO(family) struct family *now = family_open(s->near, s->id, false, &err);
    AUTO(table) struct table *table = now ? family_table(now) : NULL;
    return table && table->number != number;
}

static bool sync_families(struct sync *s, struct io *from, struct err *err)
{
    size_t count = 0;
    AUTO(mem) uint64_t *ids = store_families(s->near, &count, err);
    for (size_t i = 0; ids && i < count; i++) {
        uint64_t asked = s->result.snapshots;
        for (int k = 0;; k++) {
            struct err failed = {0};
            s->id = ids[i];
            s->result.snapshots = asked;
            if (sync_family(s, from, &failed))
                break;
            uint64_t number = s->near_rows ? s->near_rows->number : 0;
            if (k + 1 >= TRIES || !is_damage(&failed) || !rows_changed(s, number)) {
                *err = failed;
                return err_wrap(err, "family %016" PRIx64, ids[i]);
            }
            family_done(s);
        }
        family_done(s);
    }
    return ids != NULL;
}

bool sync_store(struct io *from, struct io *to, const struct sync_options *options,
                struct sync_result *ret, struct err *err)
{
    static const uint8_t nobody[16];
    struct store_options reading = {
        .cache_bytes = CACHE_BYTES, .dir_bytes = DIR_BYTES, .threads = 1, .read_only = true};
    struct paced_options paced_options = {options->bytes_per_s, options->stop, options->arg};
    struct sync s = {.options = options, .teller = {.fn = options->found, .arg = options->arg}};
    AUTO(io) struct io *slow = paced_open(from, &paced_options, err);
    AUTO(store) struct store *near = slow ? store_open(slow, nobody, &reading, err) : NULL;
    if (!near || !sync_names_fit(near, options, err) || !store_make_like(to, near, err))
        return false;
    AUTO(store) struct store *far = store_open(to, nobody, &reading, err);
    s.near_io = slow;
    s.far_io = to;
    s.near = near;
    s.far = far;
    bool done = far && sync_families(&s, from, err);
    family_done(&s);
    own_free(s.fresh);
    s.result.findings = s.teller.findings;
    s.result.damages = s.teller.damages;
    *ret = s.result;
    return done;
}
