/* Heads and snapshots: whether they are whole, and where they are not. */
#include "drivers/vault/store/states.h"
#include "agent/base/str.h"
#include "drivers/vault/store/listing.h"
#include <inttypes.h>
#include <string.h>

void teller_tell(struct teller *teller, const struct finding *finding)
{
    teller->findings++;
    teller->damages += finding_is_damage(finding->kind);
    if (teller->fn)
        teller->fn(teller->arg, finding);
}

static bool is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND || err->code == ERR_IO ||
           err->code == ERR_INVALID;
}

bool state_check(struct survey *survey, struct family *family, const struct root *table,
                 uint64_t slots, const struct hash *identity, bool *ret_whole, struct err *err)
{
    static const struct hash unknown;
    struct err failed = {0};
    AUTO(listing) struct listing listing = {0};
    struct hash hash;
    if (!survey_check(survey, table, ret_whole, err) || !*ret_whole)
        return *ret_whole || err->code == ERR_NONE;
    bool named = identity && !hash_equal(identity, &unknown);
    if (listing_read(family, table, slots, &listing, &failed)) {
        if (!named || listing_identity(&listing, &hash, &failed)) {
            *ret_whole = !named || hash_equal(identity, &hash);
            return true;
        }
    }
    *ret_whole = false;
    if (is_damage(&failed))
        return true;
    *err = failed;
    return false;
}

/* ---- telling ---- */

struct telling {
    struct teller *teller;
    struct finding finding;
    const struct listing *listing;
    uint64_t file, first, count; /* a range that may grow yet; count 0: none */
    char why[200], number[40];
    uint64_t told;
};

static uint64_t records_of(const struct telling *t, uint64_t file)
{
    for (size_t i = 0; i < t->listing->count; i++)
        if (t->listing->files[i].inode.file == file) {
            uint64_t size = t->listing->files[i].inode.size;
            return (size >> RECORD_SHIFT) + ((size & (RECORD_BYTES - 1)) != 0);
        }
    return UINT64_MAX;
}

static void tell_range(struct telling *t)
{
    uint64_t records = t->file == INODE_TABLE ? UINT64_MAX : records_of(t, t->file);
    const char *path =
        t->file == INODE_TABLE ? "(the file table)" : listing_path(t->listing, t->file);
    if (t->count == 0)
        return;
    IGNORE(str_format(t->number, sizeof t->number, "(file %" PRIu64 ")", t->file));
    if (t->first < records && records - t->first < t->count)
        t->count = records - t->first;
    t->finding.path = path ? path : t->number;
    t->finding.first = t->first;
    t->finding.count = t->count;
    t->finding.text = t->why;
    teller_tell(t->teller, &t->finding);
    t->told++;
    t->count = 0;
}

static bool note_range(void *arg, uint64_t file, uint64_t first, uint64_t count, const char *why,
                       struct err *err)
{
    struct telling *t = arg;
    (void)err;
    bool grows = t->count > 0 && t->file == file && t->first + t->count == first &&
                 strncmp(t->why, why, sizeof t->why - 1) == 0;
    if (grows) {
        t->count += count;
        return true;
    }
    tell_range(t);
    t->file = file;
    t->first = first;
    t->count = count;
    IGNORE(str_copy(t->why, sizeof t->why, why));
    return true;
}

static bool tell_state(struct survey *survey, struct family *family, struct teller *teller,
                       const struct table_volume *volume, const struct table_snapshot *snapshot,
                       struct err *err)
{
    const struct root *table = snapshot ? &snapshot->row.table : &volume->row.table;
    uint64_t slots = snapshot ? snapshot->row.slots : volume->row.slots;
    AUTO(listing) struct listing listing = {0};
    struct err unnamed = {0};
    struct telling t = {
        .teller = teller,
        .listing = &listing,
        .finding = {.kind = FINDING_DAMAGE,
                    .family = family->id,
                    .volume = volume ? volume->row.name : "",
                    .snapshot = snapshot ? snapshot->row.name : NULL},
    };
    IGNORE(listing_read(family, table, slots, &listing, &unnamed)); /* then numbers name files */
    if (!survey_find(survey, table, note_range, &t, err))
        return false;
    tell_range(&t);
    if (t.told > 0)
        return true;
    t.finding.path = NULL;
    t.finding.count = 0;
    t.finding.text = unnamed.code ? unnamed.text : "its identity is not what was sealed";
    teller_tell(teller, &t.finding);
    return true;
}

static bool look_at(struct survey *survey, struct family *family, struct teller *teller,
                    const struct table_volume *volume, const struct table_snapshot *snapshot,
                    struct states_result *result, struct err *err)
{
    bool whole = false;
    const struct root *table = snapshot ? &snapshot->row.table : &volume->row.table;
    if (!state_check(survey, family, table, snapshot ? snapshot->row.slots : volume->row.slots,
                     snapshot ? &snapshot->row.identity : NULL, &whole, err))
        return false;
    result->states++;
    result->damaged += !whole;
    return whole || !teller || tell_state(survey, family, teller, volume, snapshot, err);
}

bool states_check(struct survey *survey, struct family *family, struct teller *teller,
                  struct states_result *ret, struct err *err)
{
    const struct table *table = survey_table(survey);
    struct states_result result = {0};
    for (size_t i = 0; i < table->volume_count; i++)
        if (!look_at(survey, family, teller, &table->volumes[i], NULL, &result, err))
            return false;
    for (size_t i = 0; i < table->snapshot_count; i++) {
        const struct table_snapshot *row = &table->snapshots[i];
        if (!look_at(survey, family, teller, table_volume(table, row->row.volume), row, &result,
                     err))
            return false;
    }
    *ret = result;
    return true;
}
