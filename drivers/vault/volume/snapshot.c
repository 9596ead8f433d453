/* Snapshots: made by a swap, listed once the journal has them, let go when nobody needs them. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault_int.h"
#include <stdlib.h>
#include <string.h>

enum { SNAPSHOTS_MAX = 10000 };

struct snap *snap_new(struct volume *v, uint64_t sequence, const char *name, struct err *err)
{
    struct snap *snap = own_alloc(sizeof *snap, err);
    if (!snap)
        return NULL;
    snap->volume = v;
    snap->sequence = sequence;
    snap->id = new_id();
    snap->created_us = clock_wall_us();
    IGNORE(str_copy(snap->name, sizeof snap->name, name)); /* checked by who made the name */
    return snap;
}

void snap_free(struct snap *snap)
{
    if (!snap)
        return;
    tree_done(&snap->tree);
    index_done(&snap->base);
    own_free(snap->set);
    own_free(snap);
}

bool snap_enlist(struct volume *v, struct snap *snap, struct err *err)
{
    if (!own_grow((void **)&v->snaps, &v->snap_capacity, v->snap_count, sizeof(struct snap *), err))
        return false;
    size_t at = v->snap_count++;
    for (; at > 0 && v->snaps[at - 1]->sequence > snap->sequence; at--)
        v->snaps[at] = v->snaps[at - 1];
    v->snaps[at] = snap;
    return true;
}

void snap_delist(struct snap *snap)
{
    struct volume *v = snap->volume;
    for (size_t i = 0; i < v->snap_count; i++)
        if (v->snaps[i] == snap) {
            memmove(&v->snaps[i], &v->snaps[i + 1],
                    (v->snap_count - i - 1) * sizeof(struct snap *));
            v->snap_count--;
            break;
        }
    snap_free(snap);
}

struct snap *snap_find(const struct volume *v, const char *name)
{
    for (size_t i = 0; i < v->snap_count; i++)
        if (!v->snaps[i]->hidden && !v->snaps[i]->pending && strcmp(v->snaps[i]->name, name) == 0)
            return v->snaps[i];
    return NULL;
}

struct snap *snap_at(const struct volume *v, uint64_t sequence)
{
    for (size_t i = 0; i < v->snap_count; i++)
        if (v->snaps[i]->sequence == sequence)
            return v->snaps[i];
    return NULL;
}

/* ---- in use ---- */

void snap_unload(struct snap *snap)
{
    if (snap->uses > 0 || !snap->sealed || !snap->loaded)
        return;
    tree_done(&snap->tree);
    index_done(&snap->base);
    snap->tree = (struct tree){0};
    snap->loaded = false;
}

bool snap_use(struct snap *snap, struct err *err)
{
    struct vault *vault = snap->volume->vault;
    pthread_mutex_lock(&vault->lock);
    snap->uses++;
    bool loaded = snap->loaded;
    pthread_mutex_unlock(&vault->lock);
    if (loaded)
        return true;
    AUTO(tree) struct tree tree = {0};
    AUTO(index) struct index base = {0};
    bool ok = table_load(snap->volume, &snap->table, snap->slots, &tree, &base, err);
    pthread_mutex_lock(&vault->lock);
    if (ok && !snap->loaded) {
        snap->tree = tree;
        snap->base = base;
        tree = (struct tree){0};
        base = (struct index){0};
        snap->loaded = true;
    }
    if (!ok)
        snap->uses--;
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

void snap_unuse(struct snap *snap)
{
    struct vault *vault = snap->volume->vault;
    pthread_mutex_lock(&vault->lock);
    snap->uses--;
    snap_unload(snap);
    pthread_cond_broadcast(&vault->changed); /* a hidden one may go now */
    pthread_mutex_unlock(&vault->lock);
}

/* ---- creation ---- */

static bool note_and_sync(struct volume *v, const struct record *record, struct err *err)
{
    pthread_mutex_lock(&v->write);
    bool ok = volume_note(v, record, err);
    pthread_mutex_unlock(&v->write);
    return ok && volume_sync(v, err);
}

struct creation {
    struct volume *const *volumes;
    size_t count;
    const char *name;
    bool hidden;
    uint64_t set_id;
    bool told[RECORD_MEMBERS_MAX]; /* its journal knows that the set is whole */
    struct snap *snaps[RECORD_MEMBERS_MAX];
    struct slot *slots[RECORD_MEMBERS_MAX]; /* that were frozen */
};

/* The pause: from the first lock to the last unlock. */
static bool swap_all(struct creation *c, struct err *err)
{
    struct vault *vault = c->volumes[0]->vault;
    for (size_t i = 0; i < c->count; i++)
        pthread_mutex_lock(&c->volumes[i]->write);
    uint64_t begin_us = clock_mono_us();
    bool ok = true;
    for (size_t i = 0; ok && i < c->count; i++) {
        struct slot *slot = slot_active(c->volumes[i]);
        ok = swap_now(c->volumes[i], err);
        if (ok)
            c->slots[i] = slot;
    }
    for (size_t i = c->count; i-- > 0;)
        pthread_mutex_unlock(&c->volumes[i]->write);
    uint64_t us = clock_mono_us() - begin_us;
    pthread_mutex_lock(&vault->lock);
    vault->pause_us = us;
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

/* The first that is on disk makes the set whole: an opening then tells the others, or the keeper
 * does. A journal that fails here cannot be taken back from, so one that does not must do. */
static bool record_whole(struct creation *c, struct err *err)
{
    struct record whole = {.kind = RECORD_WHOLE, .id = c->set_id};
    struct err why = {0};
    size_t told = 0;
    for (size_t i = 0; i < c->count; i++)
        told += c->told[i] = note_and_sync(c->volumes[i], &whole, &why);
    if (told == 0)
        *err = why;
    else if (told < c->count)
        log_warning(
            "a journal does not know yet that a snapshot's set is whole snapshot=%s error=%s",
            c->name, why.text);
    return told > 0;
}

static bool record_all(struct creation *c, struct err *err)
{
    struct record record = {.kind = RECORD_SNAPSHOT, .id = c->set_id};
    record.member_count = (uint8_t)c->count;
    for (size_t i = 0; i < c->count; i++)
        record.members[i].volume = c->volumes[i]->id;
    IGNORE(str_copy(record.name, sizeof record.name, c->name));
    for (size_t i = 0; i < c->count; i++) {
        struct snap *snap = c->snaps[i];
        record.volume = snap->id;
        record.sequence = snap->sequence;
        record.time_us = snap->created_us;
        if (!note_and_sync(c->volumes[i], &record, err))
            return false;
        if (snap->set)
            *snap->set = record;
    }
    return c->count == 1 || record_whole(c, err);
}

/* Counts as a try: what cannot be written now is taken back at the next opening. */
static void take_back(struct creation *c)
{
    struct err ignored = {0};
    for (size_t i = 0; i < c->count; i++)
        if (c->slots[i]) {
            struct record record = {.kind = RECORD_DELETED, .sequence = c->slots[i]->sequence};
            IGNORE(note_and_sync(c->volumes[i], &record, &ignored));
        }
}

static bool prepare(struct creation *c, struct err *err)
{
    uint64_t now_us = clock_wall_us();
    c->set_id = new_id();
    for (size_t i = 0; i < c->count; i++) {
        struct volume *v = c->volumes[i];
        if (!frozen_commit(v, err) || !spare_ready(v, err))
            return false;
        c->snaps[i] = snap_new(v, 0, c->name, err);
        if (!c->snaps[i] ||
            (c->count > 1 && !(c->snaps[i]->set = own_alloc(sizeof *c->snaps[i]->set, err))))
            return false;
        c->snaps[i]->created_us = now_us;
        c->snaps[i]->hidden = c->hidden;
        c->snaps[i]->pending = true;
    }
    return true;
}

/* Pending ones are in the list before the swap, so that nothing can fail behind it. */
static bool enlist_all(struct creation *c, struct err *err)
{
    struct vault *vault = c->volumes[0]->vault;
    bool ok = true;
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; ok && i < c->count; i++) {
        struct volume *v = c->volumes[i];
        c->snaps[i]->sequence = slot_active(v)->sequence;
        ok = snap_at(v, c->snaps[i]->sequence) == NULL ||
             err_set(err, ERR_BUSY, "'%s' is being frozen", v->name);
        ok = ok && snap_enlist(v, c->snaps[i], err);
        if (!ok)
            snap_free(TAKE(c->snaps[i]));
        v->snapping = ok;
    }
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

static void finish(struct creation *c, bool ok)
{
    struct vault *vault = c->volumes[0]->vault;
    bool all_told = true;
    for (size_t i = 0; i < c->count; i++)
        all_told = all_told && c->told[i];
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; i < c->count; i++) {
        struct snap *snap = c->snaps[i];
        struct slot *slot = c->slots[i];
        c->volumes[i]->snapping = false;
        if (ok) {
            snap->whole = c->told[i];
            if (all_told)
                own_free(TAKE(snap->set));
            snap->tree = tree_copy(&slot->tree);
            snap->loaded = true;
            snap->pending = false;
        } else if (snap && snap_at(c->volumes[i], snap->sequence) == snap) {
            snap_delist(snap);
        } else {
            snap_free(snap);
        }
        if (slot) {
            slot->committed |= ok;
            slot->decided = true;
        }
    }
    pthread_cond_broadcast(&vault->changed);
    pthread_mutex_unlock(&vault->lock);
}

/* ---- sets of which one does not know yet that they are whole ---- */

/* vault.lock is held. */
static struct snap *member_of(struct vault *vault, const struct record *set, size_t i)
{
    const struct volume *v = volume_by_id(vault, set->members[i].volume);
    for (size_t k = 0; v && k < v->snap_count; k++)
        if (v->snaps[k]->set && v->snaps[k]->set->id == set->id)
            return v->snaps[k];
    return NULL;
}

/* What the store has, or what is deleted, asks nobody else. */
static bool is_settled(const struct snap *snap)
{
    return !snap || snap->whole || snap->sealed || snap->hidden;
}

static bool note_whole(struct volume *v, uint64_t set_id, struct err *err)
{
    struct record whole = {.kind = RECORD_WHOLE, .id = set_id};
    return note_and_sync(v, &whole, err);
}

bool snap_set_note(struct snap *snap, struct err *err)
{
    struct vault *vault = snap->volume->vault;
    struct record set = {0};
    bool ok = true;
    pthread_mutex_lock(&vault->lock);
    if (snap->set)
        set = *snap->set;
    for (size_t i = 0; ok && i < set.member_count; i++) {
        struct snap *other = member_of(vault, &set, i);
        if (is_settled(other))
            continue;
        struct volume *v = other->volume;
        volume_ref(v);
        pthread_mutex_unlock(&vault->lock);
        ok = note_whole(v, set.id, err);
        pthread_mutex_lock(&vault->lock);
        other = member_of(vault, &set, i);
        if (ok && other)
            other->whole = true;
        pthread_mutex_unlock(&vault->lock);
        volume_put(v);
        pthread_mutex_lock(&vault->lock);
    }
    for (size_t i = 0; ok && i < set.member_count; i++) {
        struct snap *other = member_of(vault, &set, i);
        if (other)
            own_free(TAKE(other->set));
    }
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

bool snap_sets_note(struct volume *v, struct err *err)
{
    for (size_t at = 0;; at++) {
        pthread_mutex_lock(&v->vault->lock);
        while (at < v->snap_count && !v->snaps[at]->set)
            at++;
        struct snap *snap = at < v->snap_count ? v->snaps[at] : NULL;
        pthread_mutex_unlock(&v->vault->lock);
        if (!snap || !snap_set_note(snap, err))
            return !snap;
    }
}

/* ---- its making ---- */

/* One sync of the journal tells of the swap and of the snapshot; only then the layer counts as
 * committed, and who fails before leaves it to frozen_commit. */
static bool freeze_all(struct creation *c, struct err *err)
{
    for (size_t i = 0; i < c->count; i++)
        if (!layer_commit(c->slots[i]->layer, UINT64_MAX, err))
            return false;
    return record_all(c, err);
}

/* volume.admin of all is held; volumes are by id. */
bool snap_create(struct volume *const *volumes, size_t count, const char *name, bool hidden,
                 struct snap **ret_snaps, struct err *err)
{
    struct creation c = {.volumes = volumes, .count = count, .name = name, .hidden = hidden};
    bool ok = prepare(&c, err);
    bool enlisted = ok && enlist_all(&c, err);
    ok = enlisted && swap_all(&c, err) && freeze_all(&c, err);
    if (enlisted && !ok)
        take_back(&c);
    finish(&c, ok);
    for (size_t i = 0; ok && ret_snaps && i < count; i++)
        ret_snaps[i] = c.snaps[i];
    return ok;
}

static int by_id(const void *a, const void *b)
{
    const struct volume *x = *(struct volume *const *)a, *y = *(struct volume *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

bool snapshot_name_is_valid(const char *name, struct err *err)
{
    size_t len = strlen(name);
    bool ok = len > 0 && len < 128 && name[0] != '.' && !strchr(name, '/');
    for (size_t i = 0; ok && i < len; i++)
        ok = (unsigned char)name[i] > ' ' && name[i] != 0x7f;
    return ok || err_set(err, ERR_INVALID, "'%.128s' cannot be a name", name);
}

static bool create_admin(struct volume **volumes, size_t count, const char *name, struct err *err)
{
    struct vault *vault = volumes[0]->vault;
    bool ok = true;
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; ok && i < count; i++) {
        if (volumes[i]->gone)
            ok = err_set(err, ERR_NOT_FOUND, "no volume '%s'", volumes[i]->name);
        else if (snap_find(volumes[i], name))
            ok = err_set(err, ERR_EXISTS, "snapshot '%s' of '%s'", name, volumes[i]->name);
        else if (volumes[i]->snap_count >= SNAPSHOTS_MAX)
            ok = err_set(err, ERR_LIMIT, "volume '%s' has %d snapshots, and no more are possible",
                         volumes[i]->name, SNAPSHOTS_MAX);
    }
    pthread_mutex_unlock(&vault->lock);
    return ok && snap_create(volumes, count, name, false, NULL, err);
}

bool vault_snapshot_create(struct vault *vault, const char *const *names, size_t count,
                           const char *name, struct err *err)
{
    struct volume *volumes[RECORD_MEMBERS_MAX];
    size_t got = 0;
    if (count == 0 || count > RECORD_MEMBERS_MAX)
        return err_set(err, ERR_LIMIT, "a set has 1 to %d volumes", RECORD_MEMBERS_MAX);
    bool ok = snapshot_name_is_valid(name, err);
    while (ok && got < count) {
        volumes[got] = volume_get(vault, names[got], err);
        ok = volumes[got] != NULL;
        got += ok;
    }
    if (ok)
        qsort(volumes, count, sizeof(struct volume *), by_id);
    for (size_t i = 1; ok && i < count; i++)
        if (volumes[i] == volumes[i - 1])
            ok = err_set(err, ERR_INVALID, "'%s' twice in a set", volumes[i]->name);
    if (ok) {
        for (size_t i = 0; i < count; i++)
            pthread_mutex_lock(&volumes[i]->admin);
        ok = create_admin(volumes, count, name, err);
        for (size_t i = count; i-- > 0;)
            pthread_mutex_unlock(&volumes[i]->admin);
        pthread_mutex_lock(&vault->lock);
        for (size_t i = 0; i < count; i++)
            volume_want(volumes[i]);
        pthread_mutex_unlock(&vault->lock);
    }
    for (size_t i = 0; i < got; i++)
        volume_put(volumes[i]);
    return ok;
}

/* ---- what is there ---- */

struct vault_snapshot_info *vault_snapshot_list(struct vault *vault, const char *volume,
                                                size_t *ret_count, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    if (!v)
        return NULL;
    pthread_mutex_lock(&vault->lock);
    size_t count = 0;
    struct vault_snapshot_info *list = own_alloc((v->snap_count + 1) * sizeof *list, err);
    for (size_t i = 0; list && i < v->snap_count; i++) {
        const struct snap *s = v->snaps[i];
        if (s->hidden || s->pending)
            continue;
        struct vault_snapshot_info *info = &list[count++];
        *info = (struct vault_snapshot_info){
            .id = s->id,
            .sequence = s->sequence,
            .created_us = s->created_us,
            .sealed = s->sealed,
            .copied = s->sealed && s->copied,
            .identity = s->identity,
            .bad_records = s->bad_records,
            .locked_until_boot_ms = s->locked_until_boot_ms,
            .logical_bytes = s->sealed || !s->loaded ? s->logical_bytes : s->tree.bytes,
            .stored_bytes = UINT64_MAX,
            .unique_bytes = s->unique_known ? s->unique_bytes : UINT64_MAX,
            .clones = s->pins,
        };
        IGNORE(str_copy(info->name, sizeof info->name, s->name));
    }
    unique_ask(v);
    pthread_mutex_unlock(&vault->lock);
    if (list)
        *ret_count = count;
    return list;
}

/* A snapshot under its volume's admin lock; NULL with NOT_FOUND. */
static struct snap *snap_named(struct volume *v, const char *name, struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    struct snap *snap = snap_find(v, name);
    pthread_mutex_unlock(&v->vault->lock);
    if (!snap)
        err_set(err, ERR_NOT_FOUND, "no snapshot '%s' of '%s'", name, v->name);
    return snap;
}

/* ---- letting go ---- */

static bool reap_sealed(struct snap *snap, struct err *err)
{
    struct volume *v = snap->volume;
    struct err own = {0};
    if (!family_snapshot_drop(v->family, v->id, snap->sequence, &own) &&
        own.code != ERR_NOT_FOUND) {
        *err = own;
        return false;
    }
    pthread_mutex_lock(&v->vault->lock);
    unique_forget(v, snap->sequence);
    snap_delist(snap);
    thin_want(v);
    pthread_mutex_unlock(&v->vault->lock);
    return true;
}

bool snap_reap(struct snap *snap, struct err *err)
{
    struct volume *v = snap->volume;
    struct vault *vault = v->vault;
    pthread_mutex_lock(&vault->lock);
    bool free = snap->hidden && !snap->pending && snap->pins == 0 && snap->uses == 0;
    bool sealed = snap->sealed, busy = v->sealing && !sealed;
    if (free && !sealed && !busy) {
        snap_delist(snap); /* its layer is sealed without a name */
        free = false;
    }
    pthread_mutex_unlock(&vault->lock);
    return !free || !sealed || reap_sealed(snap, err);
}

/* Until it is on disk that it is deleted nothing of it goes. */
static bool drop_note(struct volume *v, uint64_t sequence, struct err *err)
{
    struct record record = {.kind = RECORD_DELETED, .sequence = sequence};
    struct err own = {0};
    if (note_and_sync(v, &record, &own))
        return true;
    if (vault_make_room(v->vault, &own) && note_and_sync(v, &record, err))
        return true;
    if (err->code == ERR_NONE)
        *err = own;
    return false;
}

/* While another one of its set relies on what this one's journal says, it stays. */
static bool set_note_making_room(struct snap *snap, struct err *err)
{
    struct err own = {0};
    if (snap_set_note(snap, &own))
        return true;
    if (vault_make_room(snap->volume->vault, &own))
        return snap_set_note(snap, err);
    *err = own;
    return false;
}

static bool is_locked(const struct snap *snap)
{
    return snap->locked_until_boot_ms > clock_boot_ms();
}

static bool drop_admin(struct volume *v, const char *name, struct err *err)
{
    struct snap *snap = snap_named(v, name, err);
    if (!snap)
        return false;
    if (is_locked(snap))
        return err_set(err, ERR_PRECONDITION, "snapshot '%s' is locked for %llu more seconds", name,
                       (unsigned long long)(snap->locked_until_boot_ms - clock_boot_ms()) / 1000);
    if (!set_note_making_room(snap, err))
        return false;
    pthread_mutex_lock(&v->vault->lock);
    snap->dropping = true; /* a state that replaces the record says it too */
    pthread_mutex_unlock(&v->vault->lock);
    bool ok = drop_note(v, snap->sequence, err);
    uint64_t id = snap->id;
    pthread_mutex_lock(&v->vault->lock);
    snap->hidden = ok;
    snap->dropping = false;
    pthread_mutex_unlock(&v->vault->lock);
    if (!ok)
        return false;
    note_forget(v, id);
    struct err later = {0};
    IGNORE(snap_reap(snap, &later)); /* it is gone by name; the keeper tries again */
    return true;
}

bool vault_snapshot_drop(struct vault *vault, const char *volume, const char *name, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    if (!v)
        return false;
    pthread_mutex_lock(&v->admin);
    bool ok = drop_admin(v, name, err);
    pthread_mutex_unlock(&v->admin);
    pthread_mutex_lock(&vault->lock);
    if (ok && !vault->options.seal_by_hand) {
        v->owing = true;
        volume_want(v);
    }
    pthread_mutex_unlock(&vault->lock);
    vault_wake(vault);
    reserve_tend(vault);
    return ok;
}

/* ---- locks ---- */

bool snap_lock_note(struct snap *snap, struct err *err)
{
    uint64_t now = clock_boot_ms(), until = snap->locked_until_boot_ms;
    struct record record = {.kind = RECORD_LOCKED,
                            .sequence = snap->sequence,
                            .remaining_ms = until > now ? until - now : 0,
                            .until_boot_ms = until};
    clock_boot_id(record.boot_id);
    return note_and_sync(snap->volume, &record, err);
}

/* The store's own lock, once it is there: it outlives the box. */
bool snap_lock_store(struct snap *snap, struct err *err)
{
    uint64_t now = clock_boot_ms(), until = snap->locked_until_boot_ms;
    char boot_id[40];
    if (!snap->sealed || until <= now)
        return true;
    clock_boot_id(boot_id);
    return family_lock(snap->volume->family, snap->volume->id, snap->sequence, until - now, now,
                       boot_id, clock_wall_us() + (until - now) * 1000, err);
}

static void lock_until(struct snap *snap, uint64_t until_boot_ms)
{
    pthread_mutex_lock(&snap->volume->vault->lock);
    snap->locked_until_boot_ms = until_boot_ms;
    pthread_mutex_unlock(&snap->volume->vault->lock);
}

static bool lock_admin(struct volume *v, const char *name, uint64_t until_boot_ms, struct err *err)
{
    struct snap *snap = snap_named(v, name, err);
    if (!snap)
        return false;
    if (until_boot_ms < snap->locked_until_boot_ms)
        return err_set(err, ERR_PRECONDITION, "snapshot '%s' is locked for longer already", name);
    if (until_boot_ms == snap->locked_until_boot_ms) /* the store may have failed before */
        return snap_lock_store(snap, err);
    uint64_t old = snap->locked_until_boot_ms;
    lock_until(snap, until_boot_ms);
    if (snap_lock_note(snap, err))
        return snap_lock_store(snap, err);
    lock_until(snap, old);
    return false;
}

bool vault_snapshot_lock(struct vault *vault, const char *volume, const char *name,
                         uint64_t until_boot_ms, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    if (!v)
        return false;
    pthread_mutex_lock(&v->admin);
    bool ok = lock_admin(v, name, until_boot_ms, err);
    pthread_mutex_unlock(&v->admin);
    return ok;
}

/* ---- waiting, asking ---- */

bool vault_snapshot_wait(struct vault *vault, const char *volume, const char *name,
                         uint64_t timeout_ms, bool *ret_sealed, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    if (!v)
        return false;
    uint64_t deadline = clock_mono_ms() + timeout_ms;
    const struct snap *snap;
    bool late = false;
    pthread_mutex_lock(&vault->lock);
    while ((snap = snap_find(v, name)) && !snap->sealed && !late)
        late = !vault_wait_until(vault, deadline);
    bool sealed = snap && snap->sealed;
    pthread_mutex_unlock(&vault->lock);
    if (!snap)
        return err_set(err, ERR_NOT_FOUND, "no snapshot '%s' of '%s'", name, volume);
    if (!sealed && timeout_ms > 0)
        return err_set(err, ERR_TIMEOUT, "snapshot '%s' of '%s' is not sealed yet", name, volume);
    *ret_sealed = sealed;
    return true;
}

bool vault_reclaimable(struct vault *vault, const char *volume, const char *const *names,
                       size_t count, uint64_t *ret_now, uint64_t *ret_later, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    AUTO(mem) uint64_t *sequences = v ? own_alloc((count + 1) * sizeof *sequences, err) : NULL;
    if (!sequences)
        return false;
    size_t sealed = 0;
    bool ok = true;
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; ok && i < count; i++) {
        const struct snap *snap = snap_find(v, names[i]);
        if (!snap)
            ok = err_set(err, ERR_NOT_FOUND, "no snapshot '%s' of '%s'", names[i], volume);
        else if (snap->sealed) /* one that is not has nothing in the store */
            sequences[sealed++] = snap->sequence;
    }
    pthread_mutex_unlock(&vault->lock);
    if (!ok)
        return false;
    if (sealed == 0) {
        *ret_now = *ret_later = 0;
        return true;
    }
    return family_reclaimable(v->family, v->id, sequences, sealed, ret_now, ret_later, err);
}
