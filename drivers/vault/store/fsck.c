/* Fsck: rows as they should be, beside the rows as they are. */
#include "drivers/vault/store/fsck.h"
#include "agent/base/str.h"
#include "drivers/vault/io/paced.h"
#include "drivers/vault/store/fsck_int.h"
#include "drivers/vault/store/pack_int.h"
#include "drivers/vault/store/rows.h"
#include <inttypes.h>
#include <string.h>

enum { CACHE_BYTES = 32 << 20, DIR_BYTES = 32 << 20 };

void fsck_tell(struct fsck *f, enum finding_kind kind, const char *object, const char *text)
{
    struct finding finding = {.kind = kind, .family = f->family, .object = object, .text = text};
    teller_tell(f->teller, &finding);
}

bool fsck_is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND || err->code == ERR_IO ||
           err->code == ERR_LIMIT || err->code == ERR_UNSUPPORTED;
}

static void fsck_done(struct fsck *f)
{
    for (size_t i = 0; i < f->pack_count; i++)
        masks_unref(f->packs[i].live);
    for (size_t i = 0; i < f->seal_count; i++) {
        change_done(&f->seals[i].volume);
        change_done(&f->seals[i].sealed);
    }
    own_free(f->packs);
    own_free(f->seals);
    table_unref(f->said);
}
OWN_DEFINE_INPLACE(fsck, struct fsck, fsck_done);

/* ---- rows ---- */

static bool read_rows(struct fsck *f, struct err *err)
{
    struct err failed = {0};
    char name[IO_NAME_MAX];
    AUTO(family) struct family *family = family_open(f->store, f->family, false, &failed);
    if (family) {
        f->said = family_table(family);
        return true;
    }
    if (!fsck_is_damage(&failed)) {
        *err = failed;
        return false;
    }
    family_folder(f->family, NULL, name);
    fsck_tell(f, FINDING_DAMAGE, name, failed.text);
    return true;
}

/* The packs as they lie there in place of those that the rows name. */
static bool put_packs(struct fsck *f, struct table *rows, struct err *err)
{
    size_t capacity = f->pack_count + 1;
    struct table_pack *packs = own_alloc(capacity * sizeof *packs, err);
    if (!packs)
        return false;
    for (size_t i = 0; i < f->pack_count; i++) {
        packs[i] = f->packs[i];
        masks_ref(packs[i].live);
        const struct table_pack *before = table_pack(rows, packs[i].number);
        packs[i].locked_until_us = before ? before->locked_until_us : 0;
        if (packs[i].number >= rows->next_pack)
            rows->next_pack = packs[i].number + 1;
    }
    for (size_t i = 0; i < rows->pack_count; i++)
        masks_unref(rows->packs[i].live);
    own_free(rows->packs);
    rows->packs = packs;
    rows->pack_count = f->pack_count;
    rows->pack_capacity = capacity;
    return true;
}

/* Rows that can be read, over the packs that are there. */
static struct table *said_rows(struct fsck *f, struct err *err)
{
    char name[IO_NAME_MAX];
    AUTO(table) struct table *rows = table_copy(f->said, err);
    if (!rows || !put_packs(f, rows, err))
        return NULL;
    for (size_t i = 0; i < f->said->pack_count; i++) {
        const struct table_pack *said = &f->said->packs[i], *now = table_pack(rows, said->number);
        struct pack_key key = {f->family, f->store->seed, said->number, said->generation};
        pack_name(&key, name);
        if (!now)
            fsck_tell(f, FINDING_DAMAGE, name, "the pack is not there, or nothing of it is whole");
        else if (now->generation != said->generation && !f->options->repair)
            fsck_tell(f, FINDING_DAMAGE, name, "only another generation can be read");
    }
    return TAKE(rows);
}

/* ---- masks ---- */

/* What the rows should have of a pack; where something is damaged nothing is given up. */
static struct masks *wanted_masks(const struct table_pack *pack, const uint16_t *marked,
                                  const struct table_pack *said, bool damaged, struct err *err)
{
    uint32_t frames = masks_frames(pack->live);
    AUTO(mem) uint16_t *wanted = own_alloc((frames + (size_t)1) * sizeof *wanted, err);
    for (uint32_t i = 0; wanted && i < frames; i++) {
        uint16_t kept = !damaged ? 0 : said ? masks_get(said->live, i) : masks_get(pack->live, i);
        wanted[i] = (marked[i] | kept) & masks_get(pack->live, i);
    }
    return wanted ? masks_new(wanted, frames, err) : NULL;
}

static uint64_t count_beyond(const struct masks *a, const struct masks *b)
{
    uint64_t items = 0;
    for (uint32_t i = 0; i < masks_frames(a); i++)
        items +=
            (unsigned)__builtin_popcount(masks_get(a, i) & 0xffffU & (unsigned)~masks_get(b, i));
    return items;
}

/* Against the rows that were read: what they keep in vain, and what they would let go. */
static void compare(struct fsck *f, const struct table_pack *pack, const struct masks *wanted)
{
    const struct table_pack *said = f->said ? table_pack(f->said, pack->number) : NULL;
    struct pack_key key = {f->family, f->store->seed, pack->number, pack->generation};
    char name[IO_NAME_MAX], text[128];
    if (!said)
        return;
    uint64_t leaked = count_beyond(said->live, wanted), missing = count_beyond(wanted, said->live);
    pack_name(&key, name);
    IGNORE(str_format(text, sizeof text, "%" PRIu64 " items are kept that nothing needs", leaked));
    if (leaked > 0)
        fsck_tell(f, FINDING_LEAKED, name, text);
    IGNORE(str_format(text, sizeof text,
                      "%" PRIu64 " items are needed and the rows have them as deleted", missing));
    if (missing > 0)
        fsck_tell(f, FINDING_MISSING, name, text);
    f->result.leaked_items += leaked;
    f->result.missing_items += missing;
}

/* Live masks by what the states need. */
static bool set_masks(struct fsck *f, struct table *rows, const struct survey *survey, bool damaged,
                      bool compared, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < rows->pack_count; i++) {
        const struct table_pack *said = f->said ? table_pack(f->said, rows->packs[i].number) : NULL;
        AUTO(masks)
        struct masks *wanted =
            wanted_masks(&rows->packs[i], survey_marked(survey, i), said, damaged, err);
        if (!wanted)
            return false;
        if (compared)
            compare(f, &rows->packs[i], wanted);
        struct masks *present = rows->packs[i].live;
        rows->packs[i].live = TAKE(wanted);
        masks_unref(present);
    }
    for (size_t i = 0; i < rows->pack_count; i++) {
        if (masks_items(rows->packs[i].live) > 0)
            rows->packs[kept++] = rows->packs[i];
        else
            masks_unref(rows->packs[i].live);
    }
    rows->pack_count = kept;
    return true;
}

static bool settle_masks(struct fsck *f, struct table *rows, bool compared, struct err *err)
{
    struct states_result states = {0};
    AUTO(table) struct table *shown = table_copy(rows, err);
    AUTO(family)
    struct family *family = shown ? family_bare(f->store, f->family, TAKE(shown), err) : NULL;
    AUTO(survey) struct survey *survey = family ? survey_new(family, err) : NULL;
    char name[IO_NAME_MAX], text[128];
    if (!survey || !states_check(survey, family, f->teller, &states, err) ||
        !survey_mark_rows(survey, err))
        return false;
    uint64_t beyond = survey_marked_beyond(survey);
    family_folder(f->family, NULL, name);
    IGNORE(
        str_format(text, sizeof text, "%" PRIu64 " items that are needed are not there", beyond));
    if (beyond > 0)
        fsck_tell(f, FINDING_DAMAGE, name, text);
    return set_masks(f, rows, survey, f->hurt || states.damaged + beyond > 0, compared, err);
}

/* ---- the family ---- */

static void tell_snapshot(struct fsck *f, enum finding_kind kind, const char *volume,
                          const char *snapshot, const char *text)
{
    struct finding finding = {
        .kind = kind, .family = f->family, .volume = volume, .snapshot = snapshot, .text = text};
    teller_tell(f->teller, &finding);
}

/* Rebuilt rows beside those that were read: what is back, what is gone. */
static void compare_rows(struct fsck *f, const struct table *rows)
{
    for (size_t i = 0; i < rows->snapshot_count; i++) {
        const struct snapshot_row *row = &rows->snapshots[i].row;
        const char *volume = table_volume(rows, row->volume)->row.name;
        if (!f->said)
            tell_snapshot(f, FINDING_BACK, volume, row->name,
                          "whole; whether it had been deleted is not known");
        else if (!table_snapshot(f->said, row->volume, row->sequence))
            tell_snapshot(f, FINDING_BACK, volume, row->name, "whole, though it was deleted");
    }
    for (size_t i = 0; f->said && i < f->said->volume_count; i++)
        if (!table_volume(rows, f->said->volumes[i].row.id))
            tell_snapshot(f, FINDING_LOST, f->said->volumes[i].row.name, NULL,
                          "no seal frame tells of the volume");
    for (size_t i = 0; f->said && i < f->said->snapshot_count; i++) {
        const struct snapshot_row *row = &f->said->snapshots[i].row;
        if (!table_snapshot(rows, row->volume, row->sequence))
            tell_snapshot(f, FINDING_LOST, table_volume(f->said, row->volume)->row.name, row->name,
                          "no whole seal tells of the snapshot");
    }
}

static struct table *rows_of(struct fsck *f, bool rebuild, struct err *err)
{
    if (!rows_highest(f->store, f->family, &f->highest, err) || !read_rows(f, err))
        return NULL;
    bool made = rebuild || !f->said;
    if (!fsck_look_at_packs(f, made, err))
        return NULL;
    AUTO(table) struct table *rows = made ? fsck_build(f, err) : said_rows(f, err);
    if (!rows || !settle_masks(f, rows, !made, err))
        return NULL;
    if (made)
        compare_rows(f, rows);
    f->result.rebuilt += made;
    f->result.volumes += rows->volume_count;
    f->result.snapshots += rows->snapshot_count;
    f->result.packs += rows->pack_count;
    return TAKE(rows);
}

struct table *fsck_rows(struct store *store, uint64_t family, bool rebuild, struct err *err)
{
    struct fsck_options options = {.rebuild = rebuild};
    struct teller teller = {0};
    AUTO(fsck)
    struct fsck f = {
        .options = &options, .io = store->io, .store = store, .family = family, .teller = &teller};
    return rows_of(&f, rebuild, err);
}

/* Whether rows are to be written: those that were read are good enough when nothing differs. */
static bool differs(const struct fsck *f, const struct table *rows)
{
    if (!f->said || f->options->rebuild || f->result.leaked_items + f->result.missing_items > 0 ||
        rows->pack_count != f->said->pack_count)
        return true;
    for (size_t i = 0; i < rows->pack_count; i++)
        if (rows->packs[i].number != f->said->packs[i].number ||
            rows->packs[i].generation != f->said->packs[i].generation ||
            rows->packs[i].bytes != f->said->packs[i].bytes)
            return true;
    return false;
}

static bool repair(struct fsck *f, struct table *rows, struct err *err)
{
    char name[IO_NAME_MAX];
    uint64_t highest = 0;
    AUTO(store) struct store *store = store_open(f->io, f->options->box_id, NULL, err);
    if (!store || !rows_highest(store, f->family, &highest, err))
        return false;
    if (highest != f->highest)
        return err_set(err, ERR_BUSY,
                       "family %016" PRIx64 " was written meanwhile; hint: stop evercopy-vaultd",
                       f->family);
    if (!rows_write(store, rows, f->said != NULL, err))
        return err_wrap(err, "write the rows of family %016" PRIx64, f->family);
    family_object(f->family, "table", rows->number, name);
    fsck_tell(f, FINDING_REPAIRED, name, "rows as they should be");
    f->result.repaired++;
    return true;
}

static bool fsck_family(struct io *io, struct store *store, uint64_t id, struct teller *teller,
                        const struct fsck_options *options, struct fsck_result *result,
                        struct err *err)
{
    AUTO(fsck)
    struct fsck f = {.options = options,
                     .io = io,
                     .store = store,
                     .family = id,
                     .teller = teller,
                     .result = *result};
    AUTO(table) struct table *rows = rows_of(&f, options->rebuild, err);
    if (!rows || (options->repair && differs(&f, rows) && !repair(&f, rows, err)))
        return err_wrap(err, "family %016" PRIx64, id);
    f.result.families++;
    *result = f.result;
    return true;
}

/* ---- the identity: without it no sum of the store can be checked ---- */

enum { IDENTITY_BYTES = 64 };

static bool identity_holds(const uint8_t *bytes)
{
    return pack_take(bytes + IDENTITY_BYTES - 8, 8) == format_sum(0, bytes, IDENTITY_BYTES - 8);
}

/* One byte that turned is found by trying: of all ways to turn one back a single one fits the sum.
 */
static bool mend(uint8_t *bytes)
{
    for (size_t i = 0; i < IDENTITY_BYTES; i++) {
        uint8_t was = bytes[i];
        for (unsigned n = 0; n < 256; n++) {
            bytes[i] = (uint8_t)n;
            if (identity_holds(bytes))
                return true;
        }
        bytes[i] = was;
    }
    return false;
}

static bool check_identity(struct io *io, struct teller *teller, const struct fsck_options *options,
                           struct err *err)
{
    static const char name[] = "evercopy-store";
    struct finding finding = {.kind = FINDING_DAMAGE, .object = name};
    struct err failed = {0};
    size_t len = 0;
    AUTO(mem) char *bytes = io_get(io, name, IDENTITY_BYTES, &len, &failed);
    if (!bytes || len != IDENTITY_BYTES || identity_holds((uint8_t *)bytes))
        return true; /* opening says what there is to say */
    if (!mend((uint8_t *)bytes))
        return true;
    finding.text = "the store's identity is damaged in one byte, which can be told";
    teller_tell(teller, &finding);
    if (!options->repair)
        return true;
    if (!io_put(io, name, bytes, len, IO_REPLACE, err))
        return false;
    finding.kind = FINDING_REPAIRED;
    finding.text = "the store's identity is whole again";
    teller_tell(teller, &finding);
    return true;
}

bool fsck_store(struct io *io, const struct fsck_options *options, struct fsck_result *ret,
                struct err *err)
{
    static const uint8_t nobody[16];
    struct store_options store_options = {
        .cache_bytes = CACHE_BYTES, .dir_bytes = DIR_BYTES, .threads = 1, .read_only = true};
    struct paced_options paced_options = {.stop = options->stop, .arg = options->arg};
    struct teller teller = {.fn = options->found, .arg = options->arg};
    struct fsck_result result = {0};
    size_t count = 0;
    AUTO(io) struct io *reading = paced_open(io, &paced_options, err);
    if (!reading || !check_identity(io, &teller, options, err))
        return false;
    AUTO(store)
    struct store *store = store_open(reading, nobody, &store_options, err);
    AUTO(mem) uint64_t *ids = store ? store_families(store, &count, err) : NULL;
    bool done = ids != NULL;
    result.findings = teller.findings;
    result.damages = teller.damages;
    *ret = result;
    for (size_t i = 0; done && i < count; i++)
        done = fsck_family(options->repair ? io : reading, store, ids[i], &teller, options, &result,
                           err);
    result.findings = teller.findings;
    result.damages = teller.damages;
    *ret = result;
    return done;
}
