/* The vault: opening and closing, making and dropping volumes, what there is. */
#include "drivers/vault/volume/vault.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/base/waiting.h"
#include "drivers/vault/volume/vault_int.h"
#include <fcntl.h>
#include <string.h>

enum { FORMAT_BYTES = 48, VOLUMES_MAX = 1000 };

/* ---- the box ---- */

bool box_path(const struct vault *vault, const char *name, char ret[600], struct err *err)
{
    return str_format(ret, 600, "%s/%s", vault->box, name) ||
           err_set(err, ERR_LIMIT, "the path of box '%s' is too long", vault->box);
}

/* "ECBOX001", box id, store id, sum. NOT_FOUND: a new box. */
static bool format_read(struct vault *vault, uint8_t ret_store_id[16], struct err *err)
{
    char path[600];
    size_t len;
    if (!box_path(vault, "format", path, err))
        return false;
    AUTO(mem) char *bytes = sys_read_file(path, FORMAT_BYTES, &len, err);
    if (!bytes)
        return false;
    struct cursor c = cursor_over(bytes, len);
    const uint8_t *head = cursor_take(&c, FORMAT_BYTES - 8);
    if (!head || memcmp(head, "ECBOX001", 8) != 0 ||
        cursor_u64(&c) != format_sum(0, head, FORMAT_BYTES - 8))
        return err_set(err, ERR_CORRUPT, "'%s' is damaged, or of another version", path);
    memcpy(vault->box_id, head + 8, 16);
    memcpy(ret_store_id, head + 24, 16);
    return true;
}

static bool format_write(struct vault *vault, struct err *err)
{
    char path[600];
    uint8_t id[16];
    AUTO(bytes) struct bytes b = {0};
    store_id(vault->store, id);
    return box_path(vault, "format", path, err) && bytes_add(&b, "ECBOX001", 8, err) &&
           bytes_add(&b, vault->box_id, 16, err) && bytes_add(&b, id, 16, err) &&
           bytes_u64(&b, format_sum(0, b.data, b.len), err) &&
           sys_write_file(path, b.data, b.len, 0600, err);
}

static bool box_lock(struct vault *vault, struct err *err)
{
    char path[600];
    bool locked = false;
    if (!box_path(vault, "lock", path, err))
        return false;
    vault->lock_fd = sys_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600, err);
    if (vault->lock_fd < 0 || !sys_try_lock(vault->lock_fd, &locked, path, err))
        return false;
    return locked || err_set(err, ERR_BUSY, "another process serves box '%s'", vault->box);
}

/* The folders the box lies in may be as new as the box: their names go to disk too. */
static bool sync_above(const char *box, struct err *err)
{
    char path[sizeof((struct vault *)0)->box];
    IGNORE(str_copy(path, sizeof path, box)); /* it fitted before */
    for (char *slash; (slash = strrchr(path, '/'));) {
        struct err why = {0};
        *slash = '\0';
        if (!sys_fsync_dir(path[0] ? path : "/", &why) && why.code != ERR_DENIED) {
            *err = why;
            return false;
        }
    }
    return true;
}

static bool box_open(struct vault *vault, struct err *err)
{
    char path[600];
    return sys_mkdirs(vault->box, 0700, err) && sync_above(vault->box, err) &&
           box_lock(vault, err) && box_path(vault, "v", path, err) && sys_mkdirs(path, 0700, err) &&
           box_path(vault, "notes", path, err) && sys_mkdirs(path, 0700, err) &&
           sys_fsync_dir(vault->box, err);
}

static bool store_join(struct vault *vault, struct err *err)
{
    uint8_t known[16], id[16];
    struct err own = {0};
    bool fresh = !format_read(vault, known, &own);
    if (fresh && own.code != ERR_NOT_FOUND) {
        *err = own;
        return false;
    }
    if (fresh)
        clock_random(vault->box_id, sizeof vault->box_id);
    vault->store = store_open(vault->io, vault->box_id, &vault->options.store, err);
    if (!vault->store)
        return false;
    store_id(vault->store, id);
    if (!fresh && memcmp(id, known, sizeof id) != 0)
        return err_set(err, ERR_PRECONDITION,
                       "box '%s' belongs to another store. hint: give each store a box of its own",
                       vault->box);
    return !fresh || format_write(vault, err);
}

/* ---- opening and closing ---- */

static void defaults(struct vault_options *o)
{
    o->layer_bytes = o->layer_bytes ? o->layer_bytes : (uint64_t)1 << 30;
    o->frozen_bytes = o->frozen_bytes ? o->frozen_bytes : (uint64_t)8 << 30;
    o->debt_bytes = o->debt_bytes ? o->debt_bytes : 64u << 20;
    o->wait_ms = o->wait_ms ? o->wait_ms : 15000;
    o->reserve_bytes = o->reserve_bytes ? o->reserve_bytes : 16u << 20;
    o->store.reserve_bytes = o->store.reserve_bytes ? o->store.reserve_bytes : 64u << 20;
    o->journal_bytes = o->journal_bytes ? o->journal_bytes : 256u << 20;
    o->seal_threads = o->seal_threads ? o->seal_threads : 1;
    if (o->seal_threads > 8)
        o->seal_threads = 8;
}

static bool start(struct vault *vault, struct err *err)
{
    unsigned sealers = vault->options.seal_by_hand ? 0 : vault->options.seal_threads;
    for (unsigned i = 0; i <= sealers; i++) {
        int code =
            pthread_create(&vault->threads[i], NULL, i == 0 ? keeper_run : sealer_run, vault);
        if (code != 0)
            return err_errno(err, code, "cannot start a thread");
        vault->thread_count++;
    }
    return true;
}

static void stop(struct vault *vault)
{
    pthread_mutex_lock(&vault->lock);
    vault->stopping = true;
    pthread_cond_broadcast(&vault->changed);
    pthread_cond_broadcast(&vault->told);
    pthread_cond_signal(&vault->attend);
    pthread_mutex_unlock(&vault->lock);
    for (size_t i = 0; i < vault->thread_count; i++)
        pthread_join(vault->threads[i], NULL);
    vault->thread_count = 0;
}

static void vault_free(struct vault *vault)
{
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < vault->volume_count; i++)
            if (vault->volumes[i] && vault->volumes[i]->clone == (pass == 0))
                volume_free(TAKE(vault->volumes[i]));
    own_free(vault->volumes);
    own_free(vault->closed);
    store_close(vault->store);
    event_ring_free(vault->events);
    pthread_cond_destroy(&vault->told);
    pthread_cond_destroy(&vault->attend);
    pthread_cond_destroy(&vault->changed);
    pthread_mutex_destroy(&vault->lock);
    pthread_mutex_destroy(&vault->names);
    pthread_mutex_destroy(&vault->reserve);
    own_auto_fd(&vault->lock_fd);
    own_free(vault);
}

static struct vault *vault_new(const char *box, struct io *io, const struct vault_options *options,
                               struct err *err)
{
    struct vault *vault = own_alloc(sizeof *vault, err);
    if (!vault)
        return NULL;
    vault->lock_fd = -1;
    vault->io = io;
    vault->options = *options;
    defaults(&vault->options);
    clock_random(&vault->verifier, sizeof vault->verifier);
    pthread_mutex_init(&vault->names, NULL);
    pthread_mutex_init(&vault->lock, NULL);
    pthread_mutex_init(&vault->reserve, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&vault->changed, &monotonic);
    pthread_cond_init(&vault->attend, &monotonic);
    pthread_cond_init(&vault->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
    vault->events = event_ring_new(err);
    bool fits = str_copy(vault->box, sizeof vault->box, box);
    if (vault->events && fits)
        return vault;
    if (!fits)
        err_set(err, ERR_LIMIT, "the path of box '%s' is too long", box);
    vault_free(vault);
    return NULL;
}

static void close_volume(struct volume *v)
{
    struct err err = {0};
    bool ok = true;
    for (size_t i = 0; i < v->snap_count; i++)
        if (v->snaps[i]->locked_until_boot_ms > clock_boot_ms() && !v->gone)
            ok = snap_lock_note(v->snaps[i], &err) && ok;
    ok = ok && volume_commit(v, UINT64_MAX, &err) && journal_close(TAKE(v->journal), &err);
    if (!ok && !v->gone)
        log_warning("a volume was not closed in order volume=%s error=%s", v->name, err.text);
}

void vault_close(struct vault *vault)
{
    if (!vault)
        return;
    stop(vault);
    for (size_t i = 0; i < vault->volume_count; i++)
        if (!vault->volumes[i]->gone)
            close_volume(vault->volumes[i]);
    vault_free(vault);
}

/* ret_again: it failed for want of room, and the reserve's is free now. */
static struct vault *open_once(const char *box, struct io *io, const struct vault_options *options,
                               bool *ret_again, struct err *err)
{
    struct vault *vault = vault_new(box, io, options, err);
    if (!vault)
        return NULL;
    bool recovered = box_open(vault, err) && store_join(vault, err) && vault_recover(vault, err);
    if (recovered && reserve_open(vault, err) && start(vault, err))
        return vault;
    *ret_again = vault_make_room(vault, err);
    if (recovered)
        vault_close(vault);
    else
        vault_free(vault);
    return NULL;
}

struct vault *vault_open(const char *box, struct io *io, const struct vault_options *options,
                         struct err *err)
{
    struct err full = {0};
    bool again = false;
    struct vault *vault = open_once(box, io, options, &again, &full);
    if (!vault && again)
        vault = open_once(box, io, options, &again, err);
    else if (!vault)
        *err = full;
    return vault ? vault : err_null(err, "vault '%s'", box);
}

void vault_abandon(struct vault *vault)
{
    if (!vault)
        return;
    stop(vault);
    vault_free(vault);
}

uint64_t vault_verifier(const struct vault *vault) { return vault->verifier; }
struct store *vault_store(struct vault *vault) { return vault->store; }

uint64_t vault_pause_us(struct vault *vault)
{
    pthread_mutex_lock(&vault->lock);
    uint64_t us = vault->pause_us;
    pthread_mutex_unlock(&vault->lock);
    return us;
}

bool vault_wait_until(struct vault *vault, uint64_t deadline_ms)
{
    return vault_wait_on(vault, &vault->changed, deadline_ms);
}

bool vault_wait_on(struct vault *vault, pthread_cond_t *on, uint64_t deadline_ms)
{
    uint64_t now = clock_mono_ms();
    if (now >= deadline_ms)
        return false;
    waiting_begins();
    uint64_t wait_ms = deadline_ms - now < 1000 ? deadline_ms - now : 1000;
    struct timespec at;
    IGNORE(clock_gettime(CLOCK_MONOTONIC, &at)); /* the real one: the condition knows no other */
    uint64_t ns = (uint64_t)at.tv_nsec + wait_ms % 1000 * 1000000;
    at.tv_sec += (time_t)(wait_ms / 1000 + ns / 1000000000);
    at.tv_nsec = (long)(ns % 1000000000);
    IGNORE(pthread_cond_timedwait(on, &vault->lock, &at));
    return true;
}

/* ---- volumes ---- */

bool volume_folder(struct volume *v, struct err *err)
{
    if (!v->journal && sys_mkdir(v->path, 0700, err))
        v->journal = journal_create(v->path, err);
    if (v->journal)
        journal_limit(v->journal, v->vault->options.journal_bytes);
    return v->journal != NULL;
}

bool volume_first_layer(struct volume *v, struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    uint64_t sequence = sequence_next(v);
    bool ok =
        own_grow((void **)&v->slots, &v->slot_capacity, v->slot_count, sizeof(struct slot *), err);
    pthread_mutex_unlock(&v->vault->lock);
    AUTO(slot) struct slot *slot = ok ? slot_new(v, sequence, err) : NULL;
    if (slot)
        v->active = v->slots[v->slot_count++] = TAKE(slot);
    return v->active != NULL;
}

bool volume_found(struct volume *v, struct err *err)
{
    char folder[600];
    struct record facts = volume_facts(v);
    return box_path(v->vault, "v", folder, err) && volume_note(v, &facts, err) &&
           volume_sync(v, err) && sys_fsync_dir(folder, err);
}

/* It is dropped, or stays enlisted as such until its row has gone: an opening meanwhile ends the
 * row by the folder's name. False: the vault has it now. */
static bool undo_create(struct volume *v)
{
    struct vault *vault = v->vault;
    struct err own = {0}, ignored = {0};
    char gone[VOLUME_PATH + 8];
    if (family_volume_drop(v->family, v->id, &own) || own.code == ERR_NOT_FOUND) {
        IGNORE(sys_remove_tree(v->path, &ignored));
        return true;
    }
    if (!volume_erase(v, &ignored)) /* it had no folder yet */
        IGNORE(str_format(gone, sizeof gone, "%s.gone", v->path) &&
               sys_mkdir(gone, 0700, &ignored));
    v->gone = v->erased = true;
    return !vault_enlist(vault, v, &ignored);
}

/* The store first: a row without a folder is a volume, a folder without a row is none. */
static bool create(struct vault *vault, const char *name, struct err *err)
{
    AUTO(volume_object) struct volume *v = volume_new(vault, new_id(), err);
    if (!v)
        return false;
    v->family_id = v->id;
    v->created_us = clock_wall_us();
    v->ready = v->in_family = true;
    IGNORE(str_copy(v->name, sizeof v->name, name));
    v->family = family_open(vault->store, v->id, true, err);
    struct volume_row row = {.id = v->id, .created_us = v->created_us};
    IGNORE(str_copy(row.name, sizeof row.name, name));
    if (!v->family)
        return false;
    bool ok = family_volume_add(v->family, &row, err) &&
              tree_init(&v->tree, store_seed(vault->store), v->created_us, err) &&
              volume_folder(v, err) && volume_first_layer(v, err) && volume_found(v, err) &&
              vault_enlist(vault, v, err);
    if (ok || !undo_create(v))
        v = NULL;
    return ok;
}

bool vault_volume_create(struct vault *vault, const char *name, struct err *err)
{
    if (!snapshot_name_is_valid(name, err))
        return false;
    pthread_mutex_lock(&vault->names);
    bool exists = closed_by_name(vault, name, strlen(name));
    size_t landings = vault->closed_count; /* clones among them hardly matter */
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; i < vault->volume_count; i++) {
        const struct volume *v = vault->volumes[i];
        landings += !v->clone;
        exists |= !v->clone && !v->erased && strcmp(v->name, name) == 0;
    }
    bool full = landings >= VOLUMES_MAX;
    pthread_mutex_unlock(&vault->lock);
    bool ok = exists ? err_set(err, ERR_EXISTS, "volume '%s'", name)
              : full ? err_set(err, ERR_LIMIT, "a store has at most %d volumes", VOLUMES_MAX)
                     : create(vault, name, err);
    pthread_mutex_unlock(&vault->names);
    return ok;
}

/* Deleted already, and only waiting to go. */
static bool is_going(const struct snap *snap)
{
    return snap->hidden && !snap->pending && snap->pins == 0 && snap->uses == 0;
}

/* The snapshots that were going are gone; volume.admin is held, no seal is under way. */
static bool reap_all(struct volume *v, struct err *err)
{
    for (;;) {
        pthread_mutex_lock(&v->vault->lock);
        struct snap *snap = v->snap_count > 0 ? v->snaps[v->snap_count - 1] : NULL;
        pthread_mutex_unlock(&v->vault->lock);
        if (!snap)
            return true;
        if (!snap_reap(snap, err))
            return false;
    }
}

static bool erase_making_room(struct volume *v, struct err *err)
{
    struct err own = {0};
    if (volume_erase(v, &own))
        return true;
    if (vault_make_room(v->vault, &own))
        return volume_erase(v, err);
    *err = own;
    return false;
}

bool volume_doom(struct volume *v, struct err *err)
{
    struct vault *vault = v->vault;
    bool ok = true;
    pthread_mutex_lock(&vault->lock);
    size_t clones = 0, staying = 0;
    for (size_t i = 0; i < v->snap_count; i++)
        staying += !is_going(v->snaps[i]);
    for (size_t i = 0; i < vault->volume_count; i++)
        clones += vault->volumes[i] != v && vault->volumes[i]->landing == v;
    if (v->gone)
        ok = err_set(err, ERR_NOT_FOUND, "no '%s'", v->name);
    else if (staying > 0)
        ok = err_set(err, ERR_PRECONDITION, "'%s' has snapshots", v->name);
    else if (clones > 0)
        ok = err_set(err, ERR_PRECONDITION, "'%s' has clones", v->name);
    else if (v->users > 0)
        ok =
            err_set(err, ERR_BUSY, "'%s' is in use by %llu", v->name, (unsigned long long)v->users);
    if (ok)
        v->gone = true; /* no seal begins any more */
    pthread_mutex_unlock(&vault->lock);
    if (!ok)
        return false;
    /* A seal gives up when it sees that; but before, it may want the lock that we have. */
    pthread_mutex_unlock(&v->admin);
    pthread_mutex_lock(&vault->lock);
    while (v->sealing)
        IGNORE(vault_wait_until(vault, UINT64_MAX));
    pthread_mutex_unlock(&vault->lock);
    pthread_mutex_lock(&v->admin);
    ok = reap_all(v, err) && erase_making_room(v, err);
    pthread_mutex_lock(&vault->lock);
    v->gone = v->erased = ok;
    pthread_mutex_unlock(&vault->lock);
    note_forget(v, v->id);
    return ok;
}

static void count_out(struct volume *v)
{
    pthread_mutex_lock(&v->vault->lock);
    for (size_t i = 0; i < v->slot_count; i++)
        v->vault->frozen_bytes -= v->slots[i]->bytes;
    pthread_cond_broadcast(&v->vault->changed);
    pthread_mutex_unlock(&v->vault->lock);
}

bool volume_end(struct volume *v, struct err *err)
{
    struct vault *vault = v->vault;
    char gone[VOLUME_PATH + 8];
    pthread_mutex_lock(&vault->lock);
    while (v->ending && !v->delisted)
        IGNORE(vault_wait_until(vault, UINT64_MAX));
    bool mine = v->erased && !v->delisted;
    v->ending = v->ending || mine;
    pthread_mutex_unlock(&vault->lock);
    if (!mine)
        return true;
    struct err own = {0};
    bool ok =
        !v->in_family || family_volume_drop(v->family, v->id, &own) || own.code == ERR_NOT_FOUND;
    pthread_mutex_lock(&vault->lock);
    v->in_family = v->in_family && !ok;
    thin_want(v);
    pthread_mutex_unlock(&vault->lock);
    ok = ok && str_format(gone, sizeof gone, "%s.gone", v->path) && sys_remove_tree(gone, &own);
    if (!ok) {
        pthread_mutex_lock(&vault->lock);
        v->ending = false;
        pthread_cond_broadcast(&vault->changed);
        pthread_mutex_unlock(&vault->lock);
        *err = own;
        return false;
    }
    count_out(v);
    clone_unpin(v);
    vault_delist(vault, v);
    return true;
}

bool vault_volume_drop(struct vault *vault, const char *name, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, name, err);
    if (!v)
        return false;
    if (v->clone)
        return err_set(err, ERR_INVALID, "'%s' is a clone", name);
    pthread_mutex_lock(&vault->names);
    pthread_mutex_lock(&v->admin);
    bool ok = volume_doom(v, err);
    pthread_mutex_unlock(&v->admin);
    struct err later = {0};
    if (ok && !volume_end(v, &later))
        log_warning("a volume's data goes later volume=%s error=%s", name, later.text);
    pthread_mutex_unlock(&vault->names);
    reserve_tend(vault);
    return ok;
}

/* ---- what there is ---- */

/* vault.lock is held. */
static void show(const struct volume *v, struct vault_volume_info *ret)
{
    *ret = (struct vault_volume_info){.id = v->id,
                                      .created_us = v->created_us,
                                      .clone = v->clone,
                                      .origin_count = v->origin_count,
                                      .logical_bytes = v->tree.bytes,
                                      .stored_bytes = UINT64_MAX,
                                      .unsealed_bytes = volume_unsealed(v, false),
                                      .users = v->users};
    IGNORE(str_copy(ret->name, sizeof ret->name, v->name));
    if (v->clone)
        IGNORE(str_copy(ret->landing, sizeof ret->landing, v->landing->name));
    IGNORE(str_copy(ret->origin, sizeof ret->origin, v->origin_name));
}

bool vault_volume_info(struct vault *vault, const char *name, struct vault_volume_info *ret,
                       struct err *err)
{
    const struct closed *closed = closed_by_name(vault, name, strlen(name));
    AUTO(volume) struct volume *v = closed ? NULL : volume_get(vault, name, err);
    if (closed)
        closed_show(closed, ret);
    if (!v)
        return closed;
    struct vault_volume_info info;
    struct family_stat stat;
    pthread_mutex_lock(&vault->lock);
    show(v, &info);
    pthread_mutex_unlock(&vault->lock);
    if (!v->clone) {
        if (!family_stat(v->family, &stat, err))
            return false;
        info.stored_bytes = stat.stored_bytes;
    }
    volume_tell_closed(v, info.closed);
    *ret = info;
    return true;
}

bool vault_volume_id(struct vault *vault, const char *name, uint64_t *ret_id, struct err *err)
{
    const struct closed *closed = closed_by_name(vault, name, strlen(name));
    AUTO(volume) struct volume *v = closed ? NULL : volume_get(vault, name, err);
    if (!closed && !v)
        return false;
    *ret_id = closed ? closed->id : v->id;
    return true;
}

/* landing NULL: landing volumes; else its clones. By creation. */
static struct vault_volume_info *list(struct vault *vault, const struct volume *landing,
                                      size_t *ret_count, struct err *err)
{
    size_t count = 0;
    pthread_mutex_lock(&vault->lock);
    struct vault_volume_info *list =
        own_alloc((vault->volume_count + vault->closed_count + 1) * sizeof *list, err);
    for (size_t i = 0; list && i < vault->volume_count; i++) {
        const struct volume *v = vault->volumes[i];
        if (v->gone || v->making || v->clone != (landing != NULL) ||
            (landing && v->landing != landing))
            continue;
        struct vault_volume_info info;
        show(v, &info);
        size_t at = count++;
        for (; at > 0 && list[at - 1].created_us > info.created_us; at--)
            list[at] = list[at - 1];
        list[at] = info;
    }
    pthread_mutex_unlock(&vault->lock);
    if (list)
        *ret_count = count;
    return list;
}

struct vault_volume_info *vault_volume_list(struct vault *vault, size_t *ret_count, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *all = list(vault, NULL, &count, err);
    for (size_t i = 0; all && i < count; i++) {
        struct err gone = {0};
        struct vault_volume_info info;
        if (vault_volume_info(vault, all[i].name, &info, &gone))
            all[i] = info;
    }
    for (size_t i = 0; all && i < vault->closed_count; i++) /* there is room for them */
        closed_show(&vault->closed[i], &all[count++]);
    if (all)
        *ret_count = count;
    return TAKE(all);
}

struct vault_volume_info *vault_clone_list(struct vault *vault, const char *volume,
                                           size_t *ret_count, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    return v ? list(vault, v->landing, ret_count, err) : NULL;
}
