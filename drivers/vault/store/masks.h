/* Live masks of a pack's frames: a bit per item. Made once, shared by reference, never changed. */
#pragma once
#include "drivers/vault/store/format.h"

struct masks;
enum { MASKS_FRAMES_MAX = 1 << 20 };
/* Runs of equal masks where that is shorter, else as they come. */
struct masks *masks_new(const uint16_t *masks, uint32_t frames, struct err *err) MUST;
struct masks *masks_ref(struct masks *masks);
void masks_unref(struct masks *masks);
OWN_DEFINE(masks, struct masks, masks_unref);
uint32_t masks_frames(const struct masks *masks);
uint64_t masks_items(const struct masks *masks);               /* bits that are set */
uint16_t masks_get(const struct masks *masks, uint32_t frame); /* 0 beyond the last */
void masks_expand(const struct masks *masks, uint16_t *ret);   /* masks_frames of them */
size_t masks_memory(const struct masks *masks);
bool masks_encode(const struct masks *masks, struct bytes *to, struct err *err) MUST;
/* Memory stays in proportion to the bytes read. NULL with CORRUPT. */
struct masks *masks_decode(struct cursor *from, struct err *err) MUST;

/* Items to be freed, collected in any order and bounded in memory. */
struct freed;
struct freed *freed_new(size_t memory_max, struct err *err) MUST;
void freed_free(struct freed *freed);
OWN_DEFINE(freed, struct freed, freed_free);
/* live: of the item's pack now (borrowed for the call). CORRUPT when the item is not live or was
 * freed here before; LIMIT when the memory is used up. */
bool freed_add(struct freed *freed, const struct masks *live, struct addr addr, struct err *err)
    MUST;
size_t freed_packs(const struct freed *freed);
uint64_t freed_items(const struct freed *freed);
/* What goes of the nth pack (ascending by number): NULL masks when all that was live does. Borrowed
 * number, owned masks. */
bool freed_take(struct freed *freed, size_t nth, uint32_t *ret_pack, struct masks **ret_gone,
                struct err *err) MUST;
/* What is left of `live` without `gone` (NULL: nothing is); CORRUPT when gone has what live has
 * not. */
struct masks *masks_without(const struct masks *live, const struct masks *gone, struct err *err)
    MUST;
