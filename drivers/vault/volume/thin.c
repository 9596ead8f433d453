/* Thinning: packs of which a good part is dead are written anew, so that what a deletion or an
 * overwriting frees comes back. Done by who seals, while nothing waits to be sealed. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "drivers/vault/volume/vault_int.h"

enum { AGAIN_MS = 60 * 1000, LOOK_MS = 100, BY_HAND_MS = 60 * 1000 };

void thin_want(struct volume *v) { v->landing->thin_wanted = v->vault->thin_wanted = true; }

/* Sealing comes first: writers wait for it. */
static bool should_stop(void *arg)
{
    struct vault *vault = arg;
    pthread_mutex_lock(&vault->lock);
    bool stop = vault->stopping;
    for (size_t i = 0; !stop && i < vault->volume_count; i++)
        stop = seal_is_due(vault->volumes[i]) && vault->volumes[i]->failures == 0;
    pthread_mutex_unlock(&vault->lock);
    return stop;
}

static bool is_stopping(void *arg)
{
    struct vault *vault = arg;
    pthread_mutex_lock(&vault->lock);
    bool stop = vault->stopping;
    pthread_mutex_unlock(&vault->lock);
    return stop;
}

/* Referenced; NULL when none is due. vault.lock is held. */
static struct volume *pick(struct vault *vault)
{
    bool later = false;
    if (!vault->thin_wanted)
        return NULL;
    for (size_t i = 0; i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        bool due = v->thin_wanted && !v->making && !v->gone;
        later = later || due;
        if (!due || clock_mono_ms() < v->thin_after_ms)
            continue;
        volume_ref(v);
        v->thin_wanted = false;
        return v;
    }
    vault->thin_wanted = later;
    return NULL;
}

/* What was thinned before it failed counts too. */
static bool thin_now(struct volume *v, bool (*stop)(void *arg), uint64_t *ret_freed,
                     struct err *err)
{
    struct vault *vault = v->vault;
    bool ok = family_thin(v->family, stop, vault, ret_freed, err);
    pthread_mutex_lock(&vault->lock);
    unique_forget_family(v->landing);
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

bool thin_some(struct vault *vault)
{
    struct err err = {0};
    uint64_t freed = 0;
    struct volume *v = pick(vault);
    if (!v)
        return false;
    pthread_mutex_unlock(&vault->lock);
    bool ok = thin_now(v, should_stop, &freed, &err);
    if (freed)
        log_info("thinned volume=%s freed=%llu", v->name, (unsigned long long)freed);
    if (!ok && err.code != ERR_CANCELLED && err.code != ERR_BUSY)
        log_warning("thinning waits volume=%s code=%s error=%s", v->name, err_code_name(err.code),
                    err.text);
    pthread_mutex_lock(&vault->lock);
    if (!ok) {
        v->thin_after_ms = clock_mono_ms() + (err.code == ERR_CANCELLED ? LOOK_MS : AGAIN_MS);
        thin_want(v);
    }
    pthread_mutex_unlock(&vault->lock);
    volume_put(v);
    pthread_mutex_lock(&vault->lock);
    return true;
}

/* ---- by hand ---- */

bool vault_thin(struct vault *vault, const char *volume, uint64_t *ret_freed, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    uint64_t until = clock_mono_ms() + BY_HAND_MS;
    if (!v)
        return false;
    for (;;) {
        struct err busy = {0};
        if (thin_now(v, is_stopping, ret_freed, &busy))
            return true;
        if (busy.code != ERR_BUSY || clock_mono_ms() >= until) {
            *err = busy;
            return false;
        }
        pthread_mutex_lock(&vault->lock); /* it is being done already */
        IGNORE(vault_wait_until(vault, clock_mono_ms() + LOOK_MS));
        pthread_mutex_unlock(&vault->lock);
    }
}
