/* Swaps: the active layer is frozen and its successor, made and registered beforehand, takes over.
 */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault_int.h"

struct slot *slot_active(const struct volume *v) { return v->active; }

static bool slot_path(const struct volume *v, uint64_t sequence, char ret[600], struct err *err)
{
    return str_format(ret, 600, "%s/l-%016llx", v->path, (unsigned long long)sequence) ||
           err_set(err, ERR_LIMIT, "the path of '%s' is too long", v->path);
}

struct slot *slot_new(struct volume *v, uint64_t sequence, struct err *err)
{
    AUTO(slot) struct slot *slot = own_alloc(sizeof *slot, err);
    char path[600];
    if (!slot || !slot_path(v, sequence, path, err))
        return NULL;
    slot->sequence = sequence;
    slot->layer = layer_plan(path, sequence, store_seed(v->vault->store), err);
    return slot->layer ? TAKE(slot) : NULL;
}

/* On disk first: a layer that the journal tells of and that is not there would be damage. */
static bool slot_make(struct volume *v, struct slot *slot, struct err *err)
{
    struct record record = {.kind = RECORD_LAYER, .sequence = slot->sequence};
    if (!slot->told)
        slot->told = layer_make(slot->layer, err) && volume_note(v, &record, err);
    return slot->told;
}

bool active_ready(struct volume *v, struct err *err) { return slot_make(v, v->active, err); }

void slot_free(struct slot *slot)
{
    if (!slot)
        return;
    layer_unref(slot->layer);
    tree_done(&slot->tree);
    bytes_done(&slot->records);
    own_free(slot->dirty);
    own_free(slot);
}

/* Only who holds volume.admin makes one, so none comes meanwhile. */
static bool spare_make(struct volume *v, struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    uint64_t sequence = sequence_next(v);
    pthread_mutex_unlock(&v->vault->lock);
    AUTO(slot) struct slot *slot = slot_new(v, sequence, err);
    if (!slot || !layer_make(slot->layer, err))
        return false;
    pthread_mutex_lock(&v->write);
    bool ok = slot_make(v, slot, err);
    if (ok)
        v->spare = TAKE(slot);
    pthread_mutex_unlock(&v->write);
    if (!ok)
        layer_drop(slot->layer);
    return ok;
}

/* Writers wait for no disk here, but for the first change of a volume that never had one. */
bool spare_ready(struct volume *v, struct err *err)
{
    pthread_mutex_lock(&v->write);
    bool there = v->spare, known = there && v->spare->registered;
    bool ok = there || active_ready(v, err); /* the journal tells of layers in their order */
    pthread_mutex_unlock(&v->write);
    if (known)
        return true;
    if (!ok || (!there && !spare_make(v, err)) || !volume_sync(v, err))
        return false;
    pthread_mutex_lock(&v->write);
    v->spare->registered = true;
    pthread_mutex_unlock(&v->write);
    return true;
}

bool swap_now(struct volume *v, struct err *err)
{
    struct slot *old = slot_active(v);
    if (!v->spare || !v->spare->registered)
        return err_set(err, ERR_INTERNAL, "a swap without a layer to come");
    pthread_mutex_lock(&v->vault->lock);
    bool room =
        own_grow((void **)&v->slots, &v->slot_capacity, v->slot_count, sizeof(struct slot *), err);
    pthread_mutex_unlock(&v->vault->lock);
    struct record record = {
        .kind = RECORD_SWAP, .sequence = old->sequence, .next = v->spare->sequence};
    if (!room || !volume_note(v, &record, err))
        return false;
    layer_freeze(old->layer);
    pthread_mutex_lock(&v->vault->lock);
    old->tree = tree_copy(&v->tree);
    old->frozen = true;
    old->bytes = layer_records(old->layer) << RECORD_SHIFT;
    v->vault->frozen_bytes += old->bytes;
    v->active = v->slots[v->slot_count++] = TAKE(v->spare);
    v->spare_wanted = true;
    pthread_mutex_unlock(&v->vault->lock);
    return true;
}

/* The oldest frozen layer that is not on disk yet; referenced. */
static struct layer *uncommitted(struct volume *v, uint64_t *ret_sequence)
{
    struct layer *layer = NULL;
    pthread_mutex_lock(&v->vault->lock);
    for (size_t i = 0; i < v->slot_count && !layer; i++)
        if (v->slots[i]->frozen && !v->slots[i]->committed) {
            layer = layer_ref(v->slots[i]->layer);
            *ret_sequence = v->slots[i]->sequence;
        }
    pthread_mutex_unlock(&v->vault->lock);
    return layer;
}

bool frozen_commit(struct volume *v, struct err *err)
{
    uint64_t sequence = 0;
    struct layer *layer;
    while ((layer = uncommitted(v, &sequence))) {
        bool ok = layer_commit(layer, UINT64_MAX, err) && volume_sync(v, err);
        layer_unref(layer);
        if (!ok)
            return false;
        pthread_mutex_lock(&v->vault->lock);
        for (size_t i = 0; i < v->slot_count; i++) /* it may be sealed by now */
            if (v->slots[i]->sequence == sequence)
                v->slots[i]->committed = true;
        pthread_cond_broadcast(&v->vault->changed);
        pthread_mutex_unlock(&v->vault->lock);
    }
    return true;
}

/* volume.admin is held: nobody else swaps. */
bool swap_quietly(struct volume *v, struct err *err)
{
    if (!frozen_commit(v, err) || !spare_ready(v, err))
        return false;
    pthread_mutex_lock(&v->write);
    struct slot *slot = slot_active(v);
    bool ok = swap_now(v, err);
    pthread_mutex_unlock(&v->write);
    if (!ok)
        return false;
    ok = frozen_commit(v, err);
    pthread_mutex_lock(&v->vault->lock);
    slot->decided = true;
    pthread_cond_broadcast(&v->vault->changed);
    pthread_mutex_unlock(&v->vault->lock);
    return ok;
}
