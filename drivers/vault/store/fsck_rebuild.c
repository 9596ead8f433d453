/* Rows from seal frames alone: each seal applied again in order, as far as what it sealed is there.
 */
#include "drivers/vault/store/fsck_int.h"
#include <string.h>

static struct table *table_of_packs(struct fsck *f, struct err *err)
{
    AUTO(table) struct table *rows = table_new(f->family, err);
    if (!rows)
        return NULL;
    rows->packs = own_alloc((f->pack_count + 1) * sizeof *rows->packs, err);
    if (!rows->packs)
        return NULL;
    rows->pack_capacity = f->pack_count + 1;
    for (; rows->pack_count < f->pack_count; rows->pack_count++) {
        struct table_pack *pack = &rows->packs[rows->pack_count];
        *pack = f->packs[rows->pack_count];
        masks_ref(pack->live);
        if (pack->number >= rows->next_pack)
            rows->next_pack = pack->number + 1;
    }
    /* A number that was used once is not used again, even if its pack is gone. */
    for (size_t i = 0; i < f->seal_count; i++)
        for (size_t k = 0; k < f->seals[i].sealed.pack_count; k++)
            if (f->seals[i].sealed.packs[k].number >= rows->next_pack &&
                f->seals[i].sealed.packs[k].number < UINT32_MAX)
                rows->next_pack = f->seals[i].sealed.packs[k].number + 1;
    if (f->said && f->said->next_pack > rows->next_pack)
        rows->next_pack = f->said->next_pack;
    return TAKE(rows);
}

/* Which seals' states are whole. */
static bool judge(struct fsck *f, const struct table *packs, struct err *err)
{
    AUTO(table) struct table *shown = table_copy(packs, err);
    AUTO(family)
    struct family *family = shown ? family_bare(f->store, f->family, TAKE(shown), err) : NULL;
    AUTO(survey) struct survey *survey = family ? survey_new(family, err) : NULL;
    for (size_t i = 0; survey && i < f->seal_count; i++) {
        const struct snapshot_row *row = &f->seals[i].sealed.snapshot;
        if (!state_check(survey, family, &row->table, row->slots,
                         f->seals[i].sealed.named ? &row->identity : NULL, &f->seals[i].whole, err))
            return false;
    }
    return survey != NULL;
}

/* Chunks that are not there any more were of no use to anybody who is; what they told leaks at
 * worst. */
static void keep_present_chunks(const struct table *rows, struct dead_list *list)
{
    size_t kept = 0;
    list->items = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct addr at = list->chunks[i].addr;
        const struct table_pack *pack = table_pack(rows, at.pack);
        if (!pack || !(masks_get(pack->live, at.frame) >> at.item & 1))
            continue;
        list->items += list->chunks[i].items;
        list->chunks[kept++] = list->chunks[i];
    }
    list->count = kept;
}

static void tell_volume(struct fsck *f, const struct seal_told *told, const char *snapshot,
                        const char *text)
{
    struct finding finding = {.kind = FINDING_LOST,
                              .family = f->family,
                              .volume = told->volume.row.name,
                              .snapshot = snapshot,
                              .text = text};
    teller_tell(f->teller, &finding);
}

static void no_packs(struct change *change)
{
    for (size_t i = 0; i < change->pack_count; i++)
        masks_unref(change->packs[i].live);
    change->pack_count = 0;
}

/* Two frames that tell of one seal are one seal's first try and its second: the later packs rule,
 * whose commit was the one that counted. */
static bool is_superseded(const struct fsck *f, size_t nth)
{
    const struct seal_told *told = &f->seals[nth];
    for (size_t i = 0; i < f->seal_count; i++) {
        const struct seal_told *other = &f->seals[i];
        if (i != nth && other->sealed.volume == told->sealed.volume &&
            other->sealed.sequence == told->sealed.sequence &&
            (other->whole > told->whole ||
             (other->whole == told->whole && other->at.pack > told->at.pack)))
            return true;
    }
    return false;
}

/* Whether the rows take the seal: a frame says what its writer wants. */
static bool fits(const struct table *rows, const struct seal_told *told)
{
    const struct table_volume *volume = table_volume(rows, told->sealed.volume);
    uint64_t sequence = told->sealed.sequence;
    return volume && sequence > volume->row.start && sequence > volume->row.sealed &&
           sequence < UINT64_MAX;
}

/* False with an error only; a seal that does not fit is told and left out. */
static bool apply_seal(struct fsck *f, struct table *rows, struct seal_told *told, struct err *err)
{
    struct err misfit = {0};
    uint64_t id = told->sealed.volume;
    if (!table_volume(rows, id) && !table_apply(rows, &told->volume, NULL, &misfit)) {
        if (misfit.code != ERR_CORRUPT) {
            *err = misfit;
            return false;
        }
        tell_volume(f, told, told->sealed.named ? told->sealed.snapshot.name : NULL,
                    "a clone whose origin is gone");
        return true;
    }
    if (!fits(rows, told)) {
        tell_volume(f, told, told->sealed.named ? told->sealed.snapshot.name : NULL,
                    "the seal frame does not fit the line it is of");
        f->hurt = true;
        return true;
    }
    if (told->sealed.named && !told->whole) {
        tell_volume(f, told, told->sealed.snapshot.name, "not all of it is there any more");
        told->sealed.named = false;
    }
    struct table_volume *volume = table_volume(rows, id);
    struct table_volume before = *volume;
    no_packs(&told->sealed);
    for (size_t i = 0; i < told->sealed.list_count; i++)
        keep_present_chunks(rows, &told->sealed.lists[i]);
    told->sealed.cut = table_before(rows, id, UINT64_MAX);
    if (!table_apply(rows, &told->sealed, NULL, err))
        return false;
    volume = table_volume(rows, id);
    if (!told->whole) { /* the head stays what it was; the numbers go on */
        volume->row.table = before.row.table;
        volume->row.slots = before.row.slots;
        volume->seal = before.seal;
        volume->sealed = before.sealed;
    }
    return true;
}

/* A volume of which no state is whole. */
static bool drop_empty(struct fsck *f, struct table *rows, struct err *err)
{
    for (size_t i = rows->volume_count; i-- > 0;) {
        const struct table_volume *volume = &rows->volumes[i];
        if (volume->sealed || table_next(rows, volume->row.id, 0))
            continue;
        struct finding finding = {.kind = FINDING_LOST,
                                  .family = f->family,
                                  .volume = volume->row.name,
                                  .text = "no state of it is whole"};
        struct change change = {.kind = CHANGE_VOLUME_DROPPED, .volume = volume->row.id};
        teller_tell(f->teller, &finding);
        if (!table_apply(rows, &change, NULL, err))
            return false;
    }
    return true;
}

struct table *fsck_build(struct fsck *f, struct err *err)
{
    AUTO(table) struct table *rows = table_of_packs(f, err);
    if (!rows || !judge(f, rows, err))
        return NULL;
    for (size_t i = 0; i < f->seal_count; i++)
        if (!is_superseded(f, i) && !apply_seal(f, rows, &f->seals[i], err))
            return NULL;
    return drop_empty(f, rows, err) ? TAKE(rows) : NULL;
}
