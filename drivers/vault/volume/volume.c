/* A volume as an object: its references, its journal, its state. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

enum { COMPACT_BYTES = 1 << 18 };

uint64_t new_id(void)
{
    uint64_t id = 0;
    while (id == 0)
        clock_random(&id, sizeof id);
    return id;
}

struct volume *volume_new(struct vault *vault, uint64_t id, struct err *err)
{
    struct volume *v = own_alloc(sizeof *v, err);
    if (!v)
        return NULL;
    v->vault = vault;
    v->id = id;
    v->landing = v;
    v->next_sequence = 1;
    pthread_mutex_init(&v->admin, NULL);
    pthread_mutex_init(&v->write, NULL);
    v->path = own_printf(err, "%s/v/%016llx", vault->box, (unsigned long long)id);
    if (!v->path)
        volume_free(TAKE(v));
    return v;
}

void volume_free(struct volume *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->slot_count; i++)
        slot_free(v->slots[i]);
    slot_free(v->spare);
    for (size_t i = 0; i < v->snap_count; i++)
        snap_free(v->snaps[i]);
    own_free(v->path);
    own_free(v->slots);
    own_free(v->snaps);
    own_free(v->answers);
    replayed_free(v->replayed);
    journal_free(v->journal);
    tree_done(&v->tree);
    index_done(&v->base);
    bad_list_done(&v->bad);
    index_done(&v->parts);
    index_done(&v->watched);
    if (v->landing == v)
        family_close(v->family);
    pthread_mutex_destroy(&v->admin);
    pthread_mutex_destroy(&v->write);
    own_free(v);
}

uint64_t sequence_next(struct volume *v) { return v->landing->next_sequence++; }

void volume_ref(struct volume *v)
{
    v->refs++;
    if (v->landing != v)
        v->landing->refs++; /* its family must last as long */
}

/* vault.lock is held. */
static void unref(struct volume *v)
{
    struct volume *landing = v->landing;
    if (--v->refs == 0 && v->delisted)
        volume_free(v);
    if (landing != v && --landing->refs == 0 && landing->delisted)
        volume_free(landing);
}

void volume_put(struct volume *v)
{
    if (!v)
        return;
    struct vault *vault = v->vault;
    pthread_mutex_lock(&vault->lock);
    unref(v);
    pthread_mutex_unlock(&vault->lock);
}

struct volume *volume_by_id(struct vault *vault, uint64_t id)
{
    for (size_t i = 0; i < vault->volume_count; i++)
        if (vault->volumes[i]->id == id)
            return vault->volumes[i];
    return NULL;
}

static struct volume *by_name(struct vault *vault, const char *landing, size_t len,
                              const char *clone)
{
    for (size_t i = 0; i < vault->volume_count; i++) {
        struct volume *v = vault->volumes[i];
        const char *name = v->landing->name;
        if (v->gone || v->making || v->clone != (clone != NULL) ||
            strncmp(name, landing, len) != 0 || name[len])
            continue;
        if (!clone || strcmp(v->name, clone) == 0)
            return v;
    }
    return NULL;
}

struct volume *volume_get_clone(struct vault *vault, const char *volume, const char *clone,
                                struct err *err)
{
    size_t len = strcspn(volume, "/");
    if (volume[len] && !clone)
        clone = volume + len + 1;
    pthread_mutex_lock(&vault->lock);
    struct volume *v = by_name(vault, volume, len, clone);
    if (v)
        volume_ref(v);
    pthread_mutex_unlock(&vault->lock);
    const struct closed *closed = v ? NULL : closed_by_name(vault, volume, len);
    if (closed)
        err_set(err, ERR_CORRUPT, "volume '%s' is closed: %s", closed->name, closed->why);
    else if (!v)
        err_set(err, ERR_NOT_FOUND, "no %s '%s'", clone ? "clone" : "volume",
                clone ? clone : volume);
    return v;
}

struct volume *volume_get(struct vault *vault, const char *name, struct err *err)
{
    return volume_get_clone(vault, name, NULL, err);
}

bool vault_enlist(struct vault *vault, struct volume *v, struct err *err)
{
    pthread_mutex_lock(&vault->lock);
    bool ok = own_grow((void **)&vault->volumes, &vault->volume_capacity, vault->volume_count,
                       sizeof(struct volume *), err);
    if (ok) {
        size_t at = vault->volume_count++;
        for (; at > 0 && vault->volumes[at - 1]->id > v->id; at--)
            vault->volumes[at] = vault->volumes[at - 1];
        vault->volumes[at] = v;
    }
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

void vault_delist(struct vault *vault, struct volume *v)
{
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; i < vault->volume_count; i++)
        if (vault->volumes[i] == v) {
            memmove(&vault->volumes[i], &vault->volumes[i + 1],
                    (vault->volume_count - i - 1) * sizeof(struct volume *));
            vault->volume_count--;
            break;
        }
    v->gone = v->delisted = true;
    pthread_cond_broadcast(&vault->changed);
    pthread_mutex_unlock(&vault->lock);
}

void vault_wake(struct vault *vault)
{
    pthread_mutex_lock(&vault->lock);
    vault->work = true;
    pthread_cond_signal(&vault->attend);
    pthread_cond_broadcast(&vault->changed);
    pthread_mutex_unlock(&vault->lock);
}

void volume_want(struct volume *v)
{
    struct vault *vault = v->vault;
    if (v->wanted)
        return;
    volume_ref(v);
    v->wanted = true;
    v->next_wanted = vault->wanted;
    vault->wanted = v;
    pthread_cond_signal(&vault->attend);
}

/* ---- the journal ---- */

static bool is_kept(uint8_t kind)
{
    return (kind >= RECORD_CREATE && kind <= RECORD_PART) || kind == RECORD_LINK;
}

bool volume_note(struct volume *v, const struct record *record, struct err *err)
{
    AUTO(bytes) struct bytes payload = {0};
    if (is_kept(record->kind) && !active_ready(v, err))
        return false;
    struct bytes *kept = is_kept(record->kind) ? &slot_active(v)->records : NULL;
    size_t before = kept ? kept->len : 0;
    uint64_t number = 0;
    bool ok = record_encode(record, &payload, err) &&
              (!kept || journal_has_room(v->journal, payload.len, err)) &&
              (!kept || record_append(kept, record, err)) &&
              journal_add(v->journal, record->kind, &payload, &number, err);
    if (ok)
        atomic_store(&v->last_number, number);
    else if (kept)
        kept->len = before;
    return ok;
}

bool volume_sync(struct volume *v, struct err *err)
{
    uint64_t number = atomic_load(&v->last_number);
    return number == 0 || journal_sync(v->journal, number, err);
}

struct record volume_facts(const struct volume *v)
{
    struct record facts = {.kind = RECORD_FACTS,
                           .time_us = v->created_us,
                           .sequence = v->start,
                           .volume = v->id,
                           .family = v->family_id,
                           .clone = v->clone,
                           .mapped = v->mapped,
                           .member_count = (uint8_t)v->origin_count};
    IGNORE(str_copy(facts.name, sizeof facts.name, v->name));
    IGNORE(str_copy(facts.origin, sizeof facts.origin, v->origin_name));
    for (size_t i = 0; i < v->origin_count; i++)
        facts.members[i] = (struct volume_pair){v->origins[i]->volume->id, v->origins[i]->sequence};
    return facts;
}

static bool state_layers(const struct volume *v, struct bytes *state, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < v->slot_count; i++) {
        const struct slot *slot = v->slots[i];
        struct record layer = {.kind = RECORD_LAYER, .sequence = slot->sequence};
        if (!slot->told)
            continue;
        ok = record_append(state, &layer, err);
        if (ok && i > 0) {
            struct record swap = {
                .kind = RECORD_SWAP, .sequence = v->slots[i - 1]->sequence, .next = slot->sequence};
            ok = record_append(state, &swap, err);
        }
        ok = ok && bytes_add(state, slot->records.data, slot->records.len, err);
    }
    if (ok && v->spare) {
        struct record layer = {.kind = RECORD_LAYER, .sequence = v->spare->sequence};
        ok = record_append(state, &layer, err);
    }
    return ok;
}

static bool state_snap(const struct snap *snap, struct bytes *state, struct err *err)
{
    bool ok = true;
    uint64_t now = clock_boot_ms();
    bool asked = snap->set && snap->whole; /* by another one of its set that does not know yet */
    if (!snap->sealed || asked) {
        struct record record = {.kind = RECORD_SNAPSHOT,
                                .time_us = snap->created_us,
                                .sequence = snap->sequence,
                                .id = snap->id,
                                .volume = snap->id,
                                .member_count = 1,
                                .members = {{snap->volume->id, 0}}};
        IGNORE(str_copy(record.name, sizeof record.name, snap->name));
        struct record whole = {.kind = RECORD_WHOLE, .id = record.id};
        if (asked) {
            record.id = whole.id = snap->set->id;
            record.member_count = snap->set->member_count;
            memcpy(record.members, snap->set->members, sizeof record.members);
        }
        ok = record_append(state, &record, err) && (!asked || record_append(state, &whole, err));
    }
    if (ok && (snap->hidden || snap->dropping) && !snap->row_hidden) {
        struct record record = {.kind = RECORD_DELETED, .sequence = snap->sequence};
        ok = record_append(state, &record, err);
    }
    if (ok && snap->locked_until_boot_ms > now) {
        struct record record = {.kind = RECORD_LOCKED,
                                .sequence = snap->sequence,
                                .remaining_ms = snap->locked_until_boot_ms - now,
                                .until_boot_ms = snap->locked_until_boot_ms};
        clock_boot_id(record.boot_id);
        ok = record_append(state, &record, err);
    }
    return ok;
}

static bool state_answers(const struct volume *v, struct bytes *state, struct err *err)
{
    bool ok = true;
    size_t first = (v->answer_next + ANSWERS - v->answer_count) % ANSWERS;
    for (size_t i = 0; ok && i < v->answer_count; i++) {
        const struct answer *a = &v->answers[(first + i) % ANSWERS];
        struct record record = {.kind = RECORD_ANSWER,
                                .client = a->client,
                                .sum = a->sum,
                                .xid = a->xid,
                                .asked = a->asked,
                                .file = a->file};
        if (a->how == ANSWER_SURE) /* the others' own records tell of them */
            ok = record_append(state, &record, err);
    }
    return ok;
}

/* Answers first: those of the layers' own records follow them in the order they were given. */
static bool state_all(const struct volume *v, struct bytes *state, struct err *err)
{
    struct record sealed = {.kind = RECORD_SEALED, .sequence = v->sealed};
    struct record facts = volume_facts(v);
    bool ok = record_append(state, &facts, err) && record_append(state, &sealed, err) &&
              state_answers(v, state, err) && state_layers(v, state, err);
    for (size_t i = 0; ok && i < v->snap_count; i++)
        ok = state_snap(v->snaps[i], state, err);
    return ok;
}

bool volume_compact(struct volume *v, struct err *err)
{
    AUTO(bytes) struct bytes state = {0};
    if (journal_bytes(v->journal) < COMPACT_BYTES)
        return true;
    pthread_mutex_lock(&v->vault->lock);
    bool later = v->snapping; /* a snapshot half in the journal cannot be told as a state */
    bool ok = later || state_all(v, &state, err);
    pthread_mutex_unlock(&v->vault->lock);
    return later || (ok && journal_compact(v->journal, &state, err));
}

bool volume_erase(struct volume *v, struct err *err)
{
    char gone[VOLUME_PATH + 8], parent[VOLUME_PATH];
    if (!str_format(gone, sizeof gone, "%s.gone", v->path) ||
        !str_format(parent, sizeof parent, "%s/v", v->vault->box))
        return err_set(err, ERR_LIMIT, "the path of '%s' is too long", v->path);
    struct err own = {0}, ignored = {0};
    struct stat st;
    /* A try before may have come as far as the folder's sync. */
    if (!sys_rename(v->path, gone, &own) &&
        !(own.code == ERR_NOT_FOUND && sys_lstat(gone, &st, &ignored))) {
        *err = own;
        return false;
    }
    return sys_fsync_dir(parent, err);
}
