/* What deleting a snapshot alone would free: counted when somebody asks, by a thread that waits for
 * the store anyway, and kept until a neighbour of it changes. */
#include "agent/base/clock.h"
#include "drivers/vault/volume/vault_int.h"

static bool is_locked(const struct snap *snap)
{
    return snap->locked_until_boot_ms > clock_boot_ms();
}

/* A locked one cannot be deleted now: what it would free is told when that was known before. */
static struct snap *next_unknown(struct volume *v)
{
    for (size_t i = v->snap_count; i-- > 0;) {
        struct snap *snap = v->snaps[i];
        if (snap->sealed && !snap->hidden && !snap->pending && !snap->unique_known &&
            !is_locked(snap))
            return snap;
    }
    return NULL;
}

void unique_ask(struct volume *v)
{
    if (v->unique_asked || v->gone || !next_unknown(v))
        return;
    v->unique_asked = v->vault->unique_asked = true;
    pthread_cond_broadcast(&v->vault->changed);
}

void unique_forget(struct volume *v, uint64_t sequence)
{
    struct snap *before = NULL, *after = NULL;
    v->unique_epoch++;
    for (size_t i = 0; i < v->snap_count; i++) {
        struct snap *snap = v->snaps[i];
        if (snap->sequence < sequence)
            before = snap;
        else if (snap->sequence == sequence)
            snap->unique_known = false;
        else if (!after)
            after = snap;
    }
    if (before)
        before->unique_known = false;
    if (after)
        after->unique_known = false;
}

void unique_forget_family(const struct volume *landing)
{
    struct vault *vault = landing->vault;
    for (size_t i = 0; i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        if (v->landing != landing)
            continue;
        v->unique_epoch++;
        for (size_t k = 0; k < v->snap_count; k++)
            v->snaps[k]->unique_known = false;
    }
}

struct volume *unique_pick(struct vault *vault)
{
    if (!vault->unique_asked)
        return NULL;
    for (size_t i = 0; i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        if (v->unique_asked && !v->making && !v->gone) {
            volume_ref(v);
            v->unique_asked = false;
            return v;
        }
    }
    vault->unique_asked = false;
    return NULL;
}

bool unique_count(struct volume *v, bool *ret_more, struct err *err)
{
    struct vault *vault = v->vault;
    uint64_t now = 0, later = 0;
    pthread_mutex_lock(&vault->lock);
    const struct snap *next = vault->stopping || v->gone ? NULL : next_unknown(v);
    uint64_t sequence = next ? next->sequence : 0, epoch = v->unique_epoch;
    pthread_mutex_unlock(&vault->lock);
    *ret_more = next != NULL;
    if (!next)
        return true;
    if (!family_reclaimable(v->family, v->id, &sequence, 1, &now, &later, err))
        return false;
    pthread_mutex_lock(&vault->lock);
    struct snap *snap = epoch == v->unique_epoch ? snap_at(v, sequence) : NULL;
    if (snap) {
        snap->unique_bytes = now + later;
        snap->unique_known = true;
    }
    pthread_mutex_unlock(&vault->lock);
    return true;
}
