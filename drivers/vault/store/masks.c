/* Live masks of a pack's frames: runs or a plain row, and what is taken from them. */
#include "drivers/vault/store/masks.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct mask_run {
    uint32_t end; /* the first frame behind it */
    uint16_t mask;
};
struct masks {
    unsigned refs;
    uint32_t frames, run_count;
    uint64_t items;
    uint16_t *plain; /* one of the two */
    struct mask_run *runs;
};

enum { MASKS_RUNS = 0, MASKS_PLAIN = 1 };

struct masks *masks_ref(struct masks *masks)
{
    __atomic_add_fetch(&masks->refs, 1, __ATOMIC_RELAXED);
    return masks;
}

void masks_unref(struct masks *masks)
{
    if (!masks || __atomic_sub_fetch(&masks->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    own_free(masks->plain);
    own_free(masks->runs);
    own_free(masks);
}

static uint32_t count_runs(const uint16_t *masks, uint32_t frames)
{
    uint32_t runs = 0;
    for (uint32_t i = 0; i < frames; i++)
        runs += i == 0 || masks[i] != masks[i - 1];
    return runs;
}

struct masks *masks_new(const uint16_t *plain, uint32_t frames, struct err *err)
{
    AUTO(masks) struct masks *masks = own_alloc(sizeof *masks, err);
    if (!masks)
        return NULL;
    masks->refs = 1;
    masks->frames = frames;
    for (uint32_t i = 0; i < frames; i++)
        masks->items += (unsigned)__builtin_popcount(plain[i]);
    uint32_t runs = count_runs(plain, frames);
    if (runs > frames / 4) {
        masks->plain = own_alloc(sizeof *plain * frames, err);
        if (!masks->plain)
            return NULL;
        memcpy(masks->plain, plain, sizeof *plain * frames);
        return TAKE(masks);
    }
    masks->runs = own_alloc(sizeof *masks->runs * (runs + (size_t)1), err);
    if (!masks->runs)
        return NULL;
    for (uint32_t i = 0; i < frames; i++) {
        if (i == 0 || plain[i] != plain[i - 1])
            masks->runs[masks->run_count++].mask = plain[i];
        masks->runs[masks->run_count - 1].end = i + 1;
    }
    return TAKE(masks);
}

uint32_t masks_frames(const struct masks *masks) { return masks->frames; }

uint64_t masks_items(const struct masks *masks) { return masks->items; }

size_t masks_memory(const struct masks *masks)
{
    return sizeof *masks + (masks->plain ? masks->frames * sizeof *masks->plain
                                         : masks->run_count * sizeof *masks->runs);
}

uint16_t masks_get(const struct masks *masks, uint32_t frame)
{
    if (frame >= masks->frames)
        return 0;
    if (masks->plain)
        return masks->plain[frame];
    uint32_t low = 0, high = masks->run_count - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (masks->runs[middle].end <= frame)
            low = middle + 1;
        else
            high = middle;
    }
    return masks->runs[low].mask;
}

void masks_expand(const struct masks *masks, uint16_t *ret)
{
    if (masks->plain) {
        memcpy(ret, masks->plain, masks->frames * sizeof *ret);
        return;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < masks->run_count; i++)
        while (at < masks->runs[i].end)
            ret[at++] = masks->runs[i].mask;
}

bool masks_encode(const struct masks *masks, struct bytes *to, struct err *err)
{
    bool plain = masks->plain != NULL;
    if (!bytes_varint(to, masks->frames, err) || !bytes_u8(to, plain, err))
        return false;
    for (uint32_t i = 0; plain && i < masks->frames; i++)
        if (!bytes_u16(to, masks->plain[i], err))
            return false;
    for (uint32_t i = 0, at = 0; !plain && i < masks->run_count; at = masks->runs[i++].end)
        if (!bytes_varint(to, masks->runs[i].end - at, err) ||
            !bytes_u16(to, masks->runs[i].mask, err))
            return false;
    return true;
}

/* A run costs at least three bytes, a plain mask two: hostile counts end with the bytes. */
static bool decode_plain(struct masks *masks, struct cursor *from, struct err *err)
{
    if (cursor_left(from) < masks->frames * sizeof *masks->plain)
        return err_set(err, ERR_CORRUPT, "%u masks and fewer bytes", masks->frames);
    masks->plain = own_alloc(sizeof *masks->plain * (masks->frames + (size_t)1), err);
    if (!masks->plain)
        return false;
    for (uint32_t i = 0; i < masks->frames; i++) {
        masks->plain[i] = cursor_u16(from);
        masks->items += (unsigned)__builtin_popcount(masks->plain[i]);
    }
    return true;
}

static bool decode_runs(struct masks *masks, struct cursor *from, struct err *err)
{
    size_t capacity = 0;
    for (uint32_t at = 0; at < masks->frames; masks->run_count++) {
        uint64_t length = cursor_varint(from);
        uint16_t mask = cursor_u16(from);
        if (from->bad || length == 0 || length > masks->frames - at)
            return err_set(err, ERR_CORRUPT, "a run of masks is wrong");
        if (!own_grow((void **)&masks->runs, &capacity, masks->run_count, sizeof *masks->runs, err))
            return false;
        at += (uint32_t)length;
        masks->runs[masks->run_count] = (struct mask_run){at, mask};
        masks->items += length * (unsigned)__builtin_popcount(mask);
    }
    return true;
}

struct masks *masks_decode(struct cursor *from, struct err *err)
{
    AUTO(masks) struct masks *masks = own_alloc(sizeof *masks, err);
    if (!masks)
        return NULL;
    masks->refs = 1;
    uint64_t frames = cursor_varint(from);
    uint8_t how = cursor_u8(from);
    if (from->bad || frames > MASKS_FRAMES_MAX || how > MASKS_PLAIN) {
        err_set(err, ERR_CORRUPT, "masks of %llu frames", (unsigned long long)frames);
        return NULL;
    }
    masks->frames = (uint32_t)frames;
    if (!(how == MASKS_PLAIN ? decode_plain : decode_runs)(masks, from, err))
        return NULL;
    return TAKE(masks);
}

struct masks *masks_without(const struct masks *live, const struct masks *gone, struct err *err)
{
    if (gone && gone->frames != live->frames) {
        err_set(err, ERR_CORRUPT, "masks of %u frames are taken from %u", gone->frames,
                live->frames);
        return NULL;
    }
    AUTO(mem) uint16_t *left = own_alloc(sizeof *left * 2 * (live->frames + (size_t)1), err);
    if (!left)
        return NULL;
    uint16_t *minus = left + live->frames;
    masks_expand(live, left);
    masks_expand(gone ? gone : live, minus);
    for (uint32_t i = 0; i < live->frames; i++) {
        if (minus[i] & ~left[i]) {
            err_set(err, ERR_CORRUPT, "an item of frame %u is freed twice", i);
            return NULL;
        }
        left[i] &= (uint16_t)~minus[i];
    }
    return masks_new(left, live->frames, err);
}

/* ---- collecting ---- */

struct freed_pack {
    uint32_t pack, frames;
    uint64_t left;  /* live items not yet freed */
    uint16_t *gone; /* NULL once all are */
};
struct freed {
    size_t memory, memory_max;
    uint64_t items;
    struct freed_pack *packs; /* ascending */
    size_t count, capacity, last;
};

struct freed *freed_new(size_t memory_max, struct err *err)
{
    struct freed *freed = own_alloc(sizeof *freed, err);
    if (freed)
        freed->memory_max = memory_max;
    return freed;
}

void freed_free(struct freed *freed)
{
    if (!freed)
        return;
    for (size_t i = 0; i < freed->count; i++)
        own_free(freed->packs[i].gone);
    own_free(freed->packs);
    own_free(freed);
}

static size_t find_pack(const struct freed *freed, uint32_t pack)
{
    size_t low = 0, high = freed->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (freed->packs[middle].pack < pack)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool insert_pack(struct freed *freed, size_t at, const struct masks *live, uint32_t pack,
                        struct err *err)
{
    size_t wanted = live->frames * sizeof(uint16_t) + sizeof(struct freed_pack);
    if (wanted > freed->memory_max - freed->memory)
        return err_set(err, ERR_LIMIT, "what is freed at once fills %zu bytes of memory",
                       freed->memory_max);
    if (!own_grow((void **)&freed->packs, &freed->capacity, freed->count, sizeof *freed->packs,
                  err))
        return false;
    uint16_t *gone = own_alloc(sizeof *gone * (live->frames + (size_t)1), err);
    if (!gone)
        return false;
    memmove(freed->packs + at + 1, freed->packs + at, (freed->count - at) * sizeof *freed->packs);
    freed->packs[at] = (struct freed_pack){pack, live->frames, live->items, gone};
    freed->count++;
    freed->memory += wanted;
    return true;
}

bool freed_add(struct freed *freed, const struct masks *live, struct addr addr, struct err *err)
{
    uint16_t bit = (uint16_t)(1U << addr.item);
    if (addr.item >= FRAME_ITEMS || !(masks_get(live, addr.frame) & bit))
        return err_set(err, ERR_CORRUPT, "item %u of frame %u of pack %x is freed twice", addr.item,
                       addr.frame, addr.pack);
    size_t at = freed->last;
    if (at >= freed->count || freed->packs[at].pack != addr.pack)
        at = find_pack(freed, addr.pack);
    if ((at == freed->count || freed->packs[at].pack != addr.pack) &&
        !insert_pack(freed, at, live, addr.pack, err))
        return false;
    freed->last = at;
    struct freed_pack *row = &freed->packs[at];
    if (row->frames != live->frames || !row->gone || row->gone[addr.frame] & bit)
        return err_set(err, ERR_CORRUPT, "item %u of frame %u of pack %x is freed twice", addr.item,
                       addr.frame, addr.pack);
    row->gone[addr.frame] |= bit;
    freed->items++;
    if (--row->left == 0) { /* the whole pack: its bits need no memory any more */
        own_free(TAKE(row->gone));
        freed->memory -= row->frames * sizeof(uint16_t);
    }
    return true;
}

size_t freed_packs(const struct freed *freed) { return freed->count; }

uint64_t freed_items(const struct freed *freed) { return freed->items; }

bool freed_take(struct freed *freed, size_t nth, uint32_t *ret_pack, struct masks **ret_gone,
                struct err *err)
{
    assert(nth < freed->count);
    const struct freed_pack *row = &freed->packs[nth];
    struct masks *gone = NULL;
    if (row->gone && !(gone = masks_new(row->gone, row->frames, err)))
        return false;
    *ret_pack = row->pack;
    *ret_gone = gone;
    return true;
}
