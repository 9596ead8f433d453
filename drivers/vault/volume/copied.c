/* Which snapshots second stores have: somebody else tells it in the store, now and then we look. */
#include "agent/base/clock.h"
#include "drivers/vault/store/copies.h"
#include "drivers/vault/volume/vault_int.h"

enum { LOOK_MS = 30 * 1000 };

static void note_copies(struct volume *v, const struct copied *copies, size_t count)
{
    for (size_t i = 0; i < v->snap_count; i++) {
        struct snap *snap = v->snaps[i];
        snap->copied = false;
        for (size_t k = 0; k < count && !snap->copied; k++)
            snap->copied = copies[k].volume == v->id && copies[k].sequence == snap->sequence;
    }
}

void copies_look(struct vault *vault)
{
    uint64_t now = clock_mono_ms();
    struct volume *v = NULL;
    for (size_t i = 0; i < vault->volume_count && !v; i++) {
        struct volume *at = vault->volumes[i];
        if (!at->clone && !at->making && !at->gone && at->snap_count > 0 &&
            at->copies_after_ms <= now)
            v = at;
    }
    if (!v)
        return;
    struct err err = {0};
    size_t count = 0;
    v->copies_after_ms = now + LOOK_MS;
    volume_ref(v);
    pthread_mutex_unlock(&vault->lock);
    AUTO(mem) struct copied *copies = family_copies(v->family, &count, &err);
    pthread_mutex_lock(&vault->lock);
    if (copies) /* else what was known stays: sealing complains of a store that is away */
        note_copies(v, copies, count);
    pthread_mutex_unlock(&vault->lock);
    volume_put(v);
    pthread_mutex_lock(&vault->lock);
}
