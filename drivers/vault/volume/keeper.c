/* The keeper: one thread that bounds debt, swaps full layers, and finishes what waits. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "drivers/vault/volume/vault_int.h"

enum { LOCK_TOLD_MS = 3600 * 1000, COMPLAIN_MS = 60 * 1000, JOURNAL_FULL = 8 << 20 };

uint64_t volume_unsealed(const struct volume *v, bool frozen_only)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < v->slot_count; i++)
        bytes += v->slots[i]->bytes;
    if (!frozen_only && v->slot_count > 0)
        bytes += layer_records(slot_active(v)->layer) << RECORD_SHIFT;
    return bytes;
}

/* ---- back-pressure ---- */

static bool is_full(const struct volume *v)
{
    const struct vault_options *o = &v->vault->options;
    return layer_records(slot_active(v)->layer) << RECORD_SHIFT > o->layer_bytes;
}

/* Names and attributes alone fill a journal, not a layer; only a seal shortens it. */
static bool is_wordy(const struct volume *v)
{
    return v->slot_count == 1 && journal_bytes(v->journal) > JOURNAL_FULL;
}

/* What is not synced, what is not sealed: writers wait for both; the keeper sees to it before. */
static bool has_room(struct volume *v, const char **ret_why)
{
    const struct vault *vault = v->vault;
    const struct vault_options *o = &vault->options;
    uint64_t active = layer_records(slot_active(v)->layer) << RECORD_SHIFT;
    uint64_t debt = layer_debt(slot_active(v)->layer);
    if (debt > o->debt_bytes / 2 || active > o->layer_bytes)
        volume_want(v);
    *ret_why = "its disk";
    if (debt > o->debt_bytes)
        return false;
    *ret_why = "its store";
    return vault->frozen_bytes <= o->frozen_bytes &&
           (active <= 2 * o->layer_bytes || active <= o->frozen_bytes - vault->frozen_bytes);
}

/* Somebody's commit, not the keeper's alone, has taken debt away. */
void volume_room_made(struct volume *v)
{
    pthread_mutex_lock(&v->vault->lock);
    if (v->room_waiters > 0)
        pthread_cond_broadcast(&v->vault->changed);
    pthread_mutex_unlock(&v->vault->lock);
}

/* A layer whose sync failed is not committed before the vault is opened anew, nor sealed. */
static bool may_have_room(const struct volume *v, struct err *err)
{
    for (size_t i = v->slot_count; i-- > 0;)
        if (!layer_is_well(v->slots[i]->layer, err))
            return false;
    return true;
}

bool volume_room(struct volume *v, struct err *err)
{
    struct vault *vault = v->vault;
    const struct vault_options *o = &vault->options;
    const char *why;
    bool late = false, room, well = true;
    uint64_t deadline = 0;
    char full[400];
    pthread_mutex_lock(&vault->lock);
    reserve_tell(vault, full);
    if (full[0]) {
        pthread_mutex_unlock(&vault->lock);
        return err_set(err, ERR_NO_SPACE, "%s", full);
    }
    while (!(room = has_room(v, &why)) && (well = may_have_room(v, err)) && !late &&
           !vault->stopping) {
        deadline = deadline ? deadline : clock_mono_ms() + o->wait_ms;
        v->room_waiters++;
        late = !vault_wait_until(vault, deadline);
        v->room_waiters--;
    }
    pthread_mutex_unlock(&vault->lock);
    if (room || !well)
        return room;
    return err_set(err, ERR_BUSY, "'%s' waits for %s", v->name, why);
}

/* ---- chores ---- */

/* Once a minute a volume: what waits is tried every second. */
static void complain(struct volume *v, const char *what, const struct err *err)
{
    uint64_t now = clock_mono_ms();
    if (err->code == ERR_NONE || now < v->complain_after_ms)
        return;
    v->complain_after_ms = now + COMPLAIN_MS;
    log_warning("%s waits volume=%s code=%s error=%s", what, v->name, err_code_name(err->code),
                err->text);
}

static void write_back(struct volume *v)
{
    const struct vault_options *o = &v->vault->options;
    struct err err = {0};
    pthread_mutex_lock(&v->vault->lock);
    struct layer *layer = layer_ref(slot_active(v)->layer);
    pthread_mutex_unlock(&v->vault->lock);
    uint64_t debt = layer_debt(layer);
    if (debt > o->debt_bytes / 2)
        layer_write_back(layer);
    if (debt > o->debt_bytes && !layer_commit(layer, UINT64_MAX, &err))
        complain(v, "write-back", &err);
    layer_unref(layer);
    volume_room_made(v);
}

/* A frozen layer whose commit failed once is tried again; nothing is sealed before. */
static void commit_frozen(struct volume *v)
{
    struct err err = {0};
    IGNORE(frozen_commit(v, &err));
    complain(v, "a layer's commit", &err);
}

static void reap(struct volume *v)
{
    struct vault *vault = v->vault;
    struct err err = {0};
    for (size_t at = 0;; at++) {
        pthread_mutex_lock(&vault->lock);
        struct snap *snap = at < v->snap_count ? v->snaps[at] : NULL;
        if (snap)
            snap_unload(snap);
        bool free = snap && snap->hidden && snap->pins == 0 && snap->uses == 0;
        size_t before = v->snap_count;
        pthread_mutex_unlock(&vault->lock);
        if (!snap)
            break;
        if (free && !snap_reap(snap, &err))
            break;
        if (free && v->snap_count < before)
            at--;
    }
    complain(v, "a snapshot's deletion", &err);
}

/* The next snapshot finds its layer made. Tried once: else it makes its own. */
static void spare_ahead(struct volume *v)
{
    struct err err = {0};
    pthread_mutex_lock(&v->vault->lock);
    bool wanted = v->spare_wanted && !v->gone;
    v->spare_wanted = false;
    pthread_mutex_unlock(&v->vault->lock);
    if (wanted && !spare_ready(v, &err))
        complain(v, "a layer ahead", &err);
}

/* What needs volume.admin, when nobody has it: else the next round does it. */
static void tend_admin(struct volume *v, bool locks_too)
{
    struct err err = {0};
    if (pthread_mutex_trylock(&v->admin) != 0)
        return;
    pthread_mutex_lock(&v->vault->lock);
    /* What a deleted snapshot had and the live area has overwritten since is let go by the seal of
     * what overwrote it, and not before. */
    bool owing = v->owing && layer_records(slot_active(v)->layer) > 0;
    bool full = (owing || is_full(v) || is_wordy(v)) &&
                v->vault->frozen_bytes <= v->vault->options.frozen_bytes;
    v->owing = v->owing && !owing;
    pthread_mutex_unlock(&v->vault->lock);
    if (full && !swap_quietly(v, &err))
        complain(v, "a swap", &err);
    spare_ahead(v);
    if (!snap_sets_note(v, &err))
        complain(v, "a set's record", &err);
    reap(v);
    for (size_t i = 0; locks_too && i < v->snap_count; i++)
        if (v->snaps[i]->locked_until_boot_ms > clock_boot_ms() &&
            (!snap_lock_note(v->snaps[i], &err) || !snap_lock_store(v->snaps[i], &err)))
            complain(v, "a lock's note", &err);
    pthread_mutex_unlock(&v->admin);
}

static void tend(struct volume *v, bool locks_too)
{
    struct err err = {0};
    pthread_mutex_lock(&v->vault->lock);
    bool gone = v->gone, ending = v->ending;
    bool register_it =
        v->clone && !v->in_family && v->ready && !v->mapped && clock_mono_ms() >= v->seal_after_ms;
    pthread_mutex_unlock(&v->vault->lock);
    if (gone) {
        if (!ending && !volume_end(v, &err))
            complain(v, "a drop", &err);
        return;
    }
    event_files_look(v);
    write_back(v);
    commit_frozen(v);
    tend_admin(v, locks_too);
    if (register_it && !clone_register(v, &err)) {
        v->seal_after_ms = clock_mono_ms() + 1000;
        complain(v, "a clone's row", &err);
    }
}

/* The volume with the least id above `after`, referenced; NULL at the end. vault.lock is held. */
static struct volume *next_volume(struct vault *vault, uint64_t after)
{
    size_t low = 0;
    for (size_t high = vault->volume_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (vault->volumes[middle]->id > after)
            high = middle;
        else
            low = middle + 1;
    }
    for (size_t i = low; i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        if (!v->making) {
            volume_ref(v);
            return v;
        }
    }
    return NULL;
}

/* vault.lock is held, and given up meanwhile. */
static void tend_all(struct vault *vault, bool locks_too)
{
    struct volume *v;
    uint64_t after = 0;
    while (!vault->stopping && (v = next_volume(vault, after))) {
        after = v->id;
        pthread_mutex_unlock(&vault->lock);
        tend(v, locks_too);
        volume_put(v);
        pthread_mutex_lock(&vault->lock);
    }
    pthread_cond_broadcast(&vault->changed);
}

/* What is idle is not looked at. */
static void tend_wanted(struct vault *vault)
{
    struct volume *v;
    while ((v = vault->wanted)) {
        vault->wanted = v->next_wanted;
        v->wanted = false;
        bool stopping = vault->stopping;
        pthread_mutex_unlock(&vault->lock);
        if (!stopping)
            tend(v, false);
        volume_put(v);
        pthread_mutex_lock(&vault->lock);
    }
}

/* Until somebody wants it, or the deadline; vault.lock is held. */
static void wait_for_work(struct vault *vault, uint64_t deadline_ms)
{
    while (!vault->work && !vault->wanted && !vault->stopping &&
           vault_wait_on(vault, &vault->attend, deadline_ms))
        ;
}

void *keeper_run(void *arg)
{
    struct vault *vault = arg;
    pthread_mutex_lock(&vault->lock);
    bool first = true; /* locks of another boot begin to count when they are told anew */
    uint64_t round_ms = 0;
    while (!vault->stopping) {
        wait_for_work(vault, round_ms);
        tend_wanted(vault);
        if (!first && !vault->work && clock_mono_ms() < round_ms)
            continue;
        vault->work = false;
        bool locks_too = first || clock_boot_ms() - vault->tended_ms > LOCK_TOLD_MS;
        first = false;
        if (locks_too)
            vault->tended_ms = clock_boot_ms();
        tend_all(vault, locks_too);
        pthread_mutex_unlock(&vault->lock);
        reserve_tend(vault);
        store_tend(vault->store);
        pthread_mutex_lock(&vault->lock);
        round_ms = clock_mono_ms() + 1000;
    }
    tend_wanted(vault);
    pthread_mutex_unlock(&vault->lock);
    return NULL;
}
