/* What is exported to whom, and who uses it: one table, read at each call under a lock of the
 * caller's own lane. Who changes the table holds all lanes. */
#include "drivers/vault/nfs/exports.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/waiting.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum {
    LANES = 16,
    ENTRY_BUCKETS = 1024,
    USE_BUCKETS = 64,
    USES_MAX = 4096,  /* clients remembered of one export */
    DRAIN_MS = 30000, /* longer than any call lasts */
    CUT_PART = 15,    /* of that time: then users of what is dropped by force are cut off */
    SETTLE_PAUSE_MS = 10000,
    LOOKED_ONCE = 1 /* calls that are no use yet */
};

/* Calls in and out, counted apart: read out first and in second, equal means nobody is inside. */
struct flow {
    atomic_ulong in, out;
    char apart[64 - 2 * sizeof(atomic_ulong)];
};

/* An export by one rule; immutable, goes when the last call by that rule has ended. */
struct version {
    struct export export; /* first */
    struct version *next; /* of those retired */
    atomic_bool unsettled;
    atomic_ulong tried_ms; /* to settle it; 0: not yet */
    struct flow flows[LANES];
};

struct use {
    struct use *next;
    uint8_t address[16];
    char text[64];
    atomic_ulong calls, last_ms; /* last_ms 0: long ago */
    atomic_bool connected;
    unsigned mounts; /* these three under all lanes */
    bool unmounted;
    unsigned long calls_before; /* it unmounted last */
};

struct entry {
    struct entry *next;
    uint64_t id;
    bool going;
    struct version *now, *retired;
    struct version *later; /* its rule if it stays: while it goes, nobody retires versions */
    struct use *uses[USE_BUCKETS];
    size_t use_count;
};

struct lane {
    pthread_mutex_t lock;
    char apart[64];
};

/* An id, on its caller's stack while its tree is opened, or on the heap while it is dropped. */
struct mark {
    struct mark *next;
    uint64_t id;
};

struct exports {
    struct exports_options options;
    struct lane lanes[LANES];
    struct entry *entries[ENTRY_BUCKETS];
    pthread_mutex_t lock; /* of what follows; taken last */
    pthread_cond_t moved;
    struct mark *opening, *revoked;
    atomic_int draining;
    atomic_ulong reloads; /* what was found before the last began may be told by an old rule */
};

/* ---- lanes ---- */

static unsigned my_lane(void)
{
    static atomic_uint next;
    static _Thread_local unsigned mine; /* 0: none yet */
    if (!mine)
        mine = atomic_fetch_add(&next, 1) % LANES + 1;
    return mine - 1;
}

static void lock_all(struct exports *exports)
{
    for (int i = 0; i < LANES; i++)
        IGNORE(pthread_mutex_lock(&exports->lanes[i].lock));
}

static void unlock_all(struct exports *exports)
{
    for (int i = LANES; i-- > 0;)
        IGNORE(pthread_mutex_unlock(&exports->lanes[i].lock));
}

static uint64_t mix(uint64_t n)
{
    n *= 0x9e3779b97f4a7c15U;
    return n ^ n >> 32;
}

static struct entry **place_of(struct exports *exports, uint64_t id)
{
    struct entry **at = &exports->entries[mix(id) % ENTRY_BUCKETS];
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static struct use **use_place(struct entry *entry, const uint8_t address[16])
{
    uint64_t halves[2];
    memcpy(halves, address, sizeof halves);
    struct use **at = &entry->uses[mix(halves[0] ^ mix(halves[1])) % USE_BUCKETS];
    while (*at && memcmp((*at)->address, address, 16) != 0)
        at = &(*at)->next;
    return at;
}

/* ---- who uses ---- */

static void touch(struct use *use, bool calls)
{
    uint64_t now = clock_mono_ms();
    if (calls)
        atomic_fetch_add_explicit(&use->calls, 1, memory_order_relaxed);
    if (atomic_load_explicit(&use->last_ms, memory_order_relaxed) != now)
        atomic_store_explicit(&use->last_ms, now, memory_order_relaxed);
    if (!atomic_load_explicit(&use->connected, memory_order_relaxed))
        atomic_store_explicit(&use->connected, true, memory_order_relaxed);
}

static bool is_used_by(const struct use *use)
{
    uint64_t last = atomic_load(&use->last_ms);
    bool recent = last && clock_mono_ms() - last < EXPORT_USE_MS;
    bool connected = atomic_load(&use->connected);
    if (use->unmounted)
        return connected && recent;
    return atomic_load(&use->calls) - use->calls_before > LOOKED_ONCE && (connected || recent);
}

/* All lanes are held. */
static void forget_one(struct entry *entry)
{
    struct use **oldest = NULL;
    for (int i = 0; i < USE_BUCKETS; i++)
        for (struct use **at = &entry->uses[i]; *at; at = &(*at)->next)
            if (!oldest || atomic_load(&(*at)->last_ms) < atomic_load(&(*oldest)->last_ms))
                oldest = at;
    if (!oldest)
        return;
    struct use *use = *oldest;
    *oldest = use->next;
    own_free(use);
    entry->use_count--;
}

/* All lanes are held. */
static struct use *use_of(struct entry *entry, const struct nfsd_peer *peer, struct err *err)
{
    struct use *use = *use_place(entry, peer->address);
    if (use)
        return use;
    use = own_alloc(sizeof *use, err);
    if (!use)
        return NULL;
    memcpy(use->address, peer->address, sizeof use->address);
    str_copy(use->text, sizeof use->text, peer->text);
    if (entry->use_count >= USES_MAX)
        forget_one(entry);
    *use_place(entry, peer->address) = use;
    entry->use_count++;
    return use;
}

/* All lanes are held. */
static bool refuse_while_used(const struct entry *entry, struct err *err)
{
    enum { NAMED = 4 };
    AUTO(str) struct str who = {0};
    size_t count = 0;
    for (int i = 0; i < USE_BUCKETS; i++)
        for (const struct use *use = entry->uses[i]; use; use = use->next)
            if (is_used_by(use) && count++ < NAMED)
                str_printf(&who, "%s%s%s", who.len ? ", " : "", use->text,
                           use->mounts ? " (mounted)" : "");
    if (!count)
        return true;
    if (count > NAMED)
        str_printf(&who, " and %zu more", count - NAMED);
    return str_ok(&who, err) &&
           err_set(err, ERR_BUSY, "'%s' is in use by %s; hint: unmount it there, or use force",
                   entry->now->export.path, who.text);
}

/* ---- versions and entries ---- */

static bool is_quiet(struct version *version)
{
    uint64_t in = 0, out = 0;
    for (int i = 0; i < LANES; i++)
        out += atomic_load(&version->flows[i].out);
    for (int i = 0; i < LANES; i++)
        in += atomic_load(&version->flows[i].in);
    return in == out;
}

/* All lanes are held, or nobody else knows the entry any more. */
static void sweep(struct entry *entry)
{
    for (struct version **at = &entry->retired; *at;) {
        struct version *version = *at;
        if (!is_quiet(version)) {
            at = &version->next;
            continue;
        }
        *at = version->next;
        own_free(version);
    }
}

static void close_tree(const struct export *export) { export->ops->close(export->tree); }

static void entry_free(struct entry *entry)
{
    close_tree(&entry->now->export);
    sweep(entry);
    for (int i = 0; i < USE_BUCKETS; i++)
        for (struct use *use = entry->uses[i]; use;) {
            struct use *next = use->next;
            own_free(use);
            use = next;
        }
    own_free(entry->now);
    own_free(entry->later);
    own_free(entry);
}

static bool admits(const struct export *export, const struct nfsd_peer *peer, struct err *err)
{
    return export_admits(&export->rule, peer) ||
           err_set(err, ERR_DENIED, "'%s' is not exported to %s", export->path, peer->text);
}

static bool refuse_going(uint64_t id, struct err *err)
{
    return err_set(err, ERR_BUSY, "export %llu is being dropped", (unsigned long long)id);
}

/* The lane is held. */
static const struct export *enter(struct entry *entry)
{
    atomic_fetch_add_explicit(&entry->now->flows[my_lane()].in, 1, memory_order_relaxed);
    return &entry->now->export;
}

enum known { ANSWERED, FIRST_CALL, UNKNOWN_EXPORT };

/* As one does who was here before: what serves nearly every call, and all who may not. */
static enum known get_again(struct exports *exports, uint64_t id, const struct nfsd_peer *peer,
                            const struct export **ret, struct err *err)
{
    pthread_mutex_t *lane = &exports->lanes[my_lane()].lock;
    enum known known = UNKNOWN_EXPORT;
    IGNORE(pthread_mutex_lock(lane));
    struct entry *entry = *place_of(exports, id);
    if (entry) {
        struct use *use = *use_place(entry, peer->address);
        known = entry->going || use ? ANSWERED : FIRST_CALL;
        if (entry->going) {
            refuse_going(id, err);
        } else if (!admits(&entry->now->export, peer, err)) {
            known = ANSWERED;
        } else if (use) {
            touch(use, true);
            *ret = enter(entry);
        }
    }
    IGNORE(pthread_mutex_unlock(lane));
    return known;
}

/* A client's first call to an export that is in the table. */
static const struct export *get_first(struct exports *exports, uint64_t id,
                                      const struct nfsd_peer *peer, bool calls, bool *ret_known,
                                      struct err *err)
{
    const struct export *export = NULL;
    lock_all(exports);
    struct entry *entry = *place_of(exports, id);
    *ret_known = entry != NULL;
    if (entry && entry->going)
        refuse_going(id, err);
    else if (entry && admits(&entry->now->export, peer, err)) {
        struct use *use = use_of(entry, peer, err);
        if (use) {
            touch(use, calls);
            export = enter(entry);
        }
    }
    unlock_all(exports);
    return export;
}

/* ---- opening ---- */

static struct mark **mark_place(struct mark **list, uint64_t id)
{
    while (*list && (*list)->id != id)
        list = &(*list)->next;
    return list;
}

static bool begin_opening(struct exports *exports, struct mark *mark, struct err *err)
{
    IGNORE(pthread_mutex_lock(&exports->lock));
    bool ok = !*mark_place(&exports->revoked, mark->id);
    if (ok) {
        mark->next = exports->opening;
        exports->opening = mark;
    }
    IGNORE(pthread_mutex_unlock(&exports->lock));
    return ok || refuse_going(mark->id, err);
}

static void end_opening(struct exports *exports, const struct mark *mark)
{
    IGNORE(pthread_mutex_lock(&exports->lock));
    struct mark **at = &exports->opening;
    while (*at != mark)
        at = &(*at)->next;
    *at = mark->next;
    IGNORE(pthread_cond_broadcast(&exports->moved));
    IGNORE(pthread_mutex_unlock(&exports->lock));
}

static struct version *version_of(const struct exports *exports, const struct export *export,
                                  struct err *err)
{
    struct version *version = own_alloc(sizeof *version, err);
    if (version) {
        version->export = *export;
        atomic_init(&version->unsettled, exports->options.settle != NULL);
    }
    return version;
}

static void settle(const struct exports *exports, struct version *version)
{
    const struct exports_options *o = &exports->options;
    struct err err = {0};
    unsigned long now = clock_mono_ms(), last = atomic_load(&version->tried_ms);
    if ((last && now - last < SETTLE_PAUSE_MS) ||
        !atomic_compare_exchange_strong(&version->tried_ms, &last, now))
        return;
    waiting_watch_begin(); /* its volume may be held by a disk */
    bool ok = o->settle(o->arg, &version->export, &err);
    waiting_watch_end();
    if (ok)
        atomic_store(&version->unsettled, false);
    else
        log_warning("export is not yet as it is configured path=%s: %s", version->export.path,
                    err.text);
}

/* The caller is inside, so its version lives. */
static const struct export *settled(const struct exports *exports, const struct export *export)
{
    struct version *version = (struct version *)(uintptr_t) export;
    if (version && atomic_load_explicit(&version->unsettled, memory_order_relaxed))
        settle(exports, version);
    return export;
}

enum installed { INSTALLED, INSTALL_FAILED, INSTALL_STARTS_OVER };

/* Takes the tree over, also on failure; another thread may have been faster with the same. Starts
 * over when a reload began since it was found: that one saw no entry to give its rule to. */
static enum installed install(struct exports *exports, const struct export *found,
                              unsigned long reloads, struct err *err)
{
    struct version *version = version_of(exports, found, err);
    struct entry *entry = version ? own_alloc(sizeof *entry, err) : NULL;
    if (!entry) {
        own_free(version);
        close_tree(found);
        return INSTALL_FAILED;
    }
    *entry = (struct entry){.id = found->id, .now = version};
    IGNORE(!settled(exports, &version->export)); /* before anybody sees it */
    lock_all(exports);
    struct entry **at = place_of(exports, found->id);
    bool old = atomic_load(&exports->reloads) != reloads, mine = !old && !*at;
    if (mine)
        *at = entry;
    unlock_all(exports);
    if (!mine)
        entry_free(entry);
    return old ? INSTALL_STARTS_OVER : INSTALLED;
}

bool exports_knows(const struct exports *exports, const struct nfsd_peer *peer)
{
    const struct exports_options *o = &exports->options;
    return !o->knows || o->knows(o->arg, peer);
}

/* By id, or by name when there is one: found, judged, opened, entered. */
static const struct export *try_new(struct exports *exports, uint64_t id, const char *name,
                                    const struct nfsd_peer *peer, bool *ret_again, struct err *err)
{
    const struct exports_options *o = &exports->options;
    struct export found = {0};
    bool known = false;
    unsigned long reloads = atomic_load(&exports->reloads);
    *ret_again = false;
    if (!o->find(o->arg, id, name, &found, err))
        return NULL;
    struct mark mark = {.id = found.id};
    if (!admits(&found, peer, err) || !begin_opening(exports, &mark, err))
        return NULL;
    const struct export *export = get_first(exports, found.id, peer, !name, &known, err);
    if (known) {
        end_opening(exports, &mark);
        return export;
    }
    enum installed installed = INSTALL_FAILED;
    waiting_watch_begin();
    bool is_open = o->open(o->arg, &found, err);
    waiting_watch_end();
    if (is_open)
        installed = install(exports, &found, reloads, err);
    if (installed == INSTALLED)
        export = get_first(exports, found.id, peer, !name, &known, err);
    end_opening(exports, &mark);
    *ret_again = installed == INSTALL_STARTS_OVER;
    return export;
}

static const struct export *get_new(struct exports *exports, uint64_t id, const char *name,
                                    const struct nfsd_peer *peer, struct err *err)
{
    bool again = false;
    const struct export *export = NULL;
    if (!exports_knows(exports, peer)) {
        err_set(err, ERR_DENIED, "nothing is exported to %s", peer->text);
        return NULL;
    }
    do
        export = try_new(exports, id, name, peer, &again, err);
    while (again);
    return export;
}

const struct export *exports_get(struct exports *exports, uint64_t id, const struct nfsd_peer *peer,
                                 struct err *err)
{
    const struct export *export = NULL;
    enum known known = get_again(exports, id, peer, &export, err);
    bool is_known = known == ANSWERED;
    if (known == FIRST_CALL)
        export = get_first(exports, id, peer, true, &is_known, err);
    return settled(exports, is_known ? export : get_new(exports, id, NULL, peer, err));
}

const struct export *exports_get_path(struct exports *exports, const char *path,
                                      const struct nfsd_peer *peer, struct err *err)
{
    if (path[0] != '/' || !path[1]) {
        err_set(err, ERR_NOT_FOUND, "no export '%.100s'", path);
        return NULL;
    }
    return settled(exports, get_new(exports, 0, path + 1, peer, err));
}

void export_put(struct exports *exports, const struct export *export)
{
    if (!export)
        return;
    /* The version is ours until it counts us out, and nobody's to write but for that. */
    struct version *version = (struct version *)(uintptr_t) export;
    atomic_fetch_add(&version->flows[my_lane()].out, 1);
    if (atomic_load(&exports->draining) == 0)
        return;
    IGNORE(pthread_mutex_lock(&exports->lock));
    IGNORE(pthread_cond_broadcast(&exports->moved));
    IGNORE(pthread_mutex_unlock(&exports->lock));
}

struct seen {
    const struct nfsd_peer *peer;
    bool (*fn)(void *to, const struct export *export);
    void *to;
};

static bool see(void *arg, const struct export *export)
{
    const struct seen *seen = arg;
    return !export_admits(&export->rule, seen->peer) || seen->fn(seen->to, export);
}

bool exports_each(struct exports *exports, const struct nfsd_peer *peer,
                  bool (*fn)(void *to, const struct export *export), void *to, struct err *err)
{
    struct nfsd_peer any_port = *peer; /* who only looks comes from whatever port */
    any_port.port = 0;
    struct seen seen = {&any_port, fn, to};
    return exports->options.each(exports->options.arg, see, &seen, err);
}

/* ---- changes ---- */

struct open_one {
    uint64_t id;
    char path[EXPORT_PATH_MAX];
};

static struct open_one *all_open(struct exports *exports, size_t *ret_count, struct err *err)
{
    size_t count = 0, at = 0;
    lock_all(exports);
    for (int i = 0; i < ENTRY_BUCKETS; i++)
        for (const struct entry *entry = exports->entries[i]; entry; entry = entry->next)
            count++;
    struct open_one *all = own_alloc((count + 1) * sizeof *all, err);
    for (int i = 0; all && i < ENTRY_BUCKETS; i++)
        for (const struct entry *entry = exports->entries[i]; entry; entry = entry->next) {
            all[at].id = entry->id;
            str_copy(all[at++].path, sizeof all->path, entry->now->export.path);
        }
    unlock_all(exports);
    *ret_count = at;
    return all;
}

/* All lanes are held. */
static void replace(struct entry *entry, struct version *version)
{
    version->export.ops = entry->now->export.ops;
    version->export.tree = entry->now->export.tree;
    entry->now->next = entry->retired;
    entry->retired = entry->now;
    entry->now = version;
    sweep(entry);
}

/* All lanes are held. Takes the version over. */
static void give_rule(struct entry *entry, struct version *version)
{
    if (!entry->going) {
        replace(entry, version);
        return;
    }
    own_free(entry->later);
    entry->later = version;
}

/* The rule as it is now. Who finds nothing there is exported to nobody. */
static bool find_rule(struct exports *exports, uint64_t id, const char *path, struct export *ret,
                      struct err *err)
{
    const struct exports_options *o = &exports->options;
    struct err e = {0};
    if (o->find(o->arg, id, NULL, ret, &e))
        return true;
    *ret = (struct export){.id = id};
    str_copy(ret->path, sizeof ret->path, path);
    return e.code == ERR_NOT_FOUND || err_set(err, e.code, "%s", e.text);
}

static bool renew(struct exports *exports, uint64_t id, const char *path, struct err *err)
{
    for (bool again = true; again;) {
        struct export found = {0};
        unsigned long reloads = atomic_load(&exports->reloads);
        struct version *version =
            find_rule(exports, id, path, &found, err) ? version_of(exports, &found, err) : NULL;
        if (!version)
            return false;
        lock_all(exports);
        struct entry *entry = *place_of(exports, id);
        again = atomic_load(&exports->reloads) != reloads;
        if (entry && !again)
            give_rule(entry, TAKE(version));
        unlock_all(exports);
        own_free(version);
    }
    return true;
}

bool exports_reload(struct exports *exports, struct err *err)
{
    struct err why = {0};
    size_t count = 0;
    AUTO(str) struct str left = {0};
    atomic_fetch_add(&exports->reloads, 1); /* first: who is opened from here on is not missed */
    AUTO(mem) struct open_one *all = all_open(exports, &count, err);
    if (!all)
        return err_wrap(err, "exports keep their rules of before");
    for (size_t i = 0; i < count; i++) {
        struct err e = {0};
        if (renew(exports, all[i].id, all[i].path, &e))
            continue;
        why = e;
        str_printf(&left, "%s'%s'", left.len ? ", " : "", all[i].path);
    }
    return !why.code || err_set(err, why.code, "export %.200s keeps its rule of before: %s",
                                left.text ? left.text : "", why.text);
}

static bool wait_moved(struct exports *exports, const struct timespec *until)
{
    return pthread_cond_timedwait(&exports->moved, &exports->lock, until) == 0;
}

static struct timespec in_time(uint64_t ms)
{
    struct timespec at = {0};
    IGNORE(clock_gettime(CLOCK_MONOTONIC, &at) != 0);
    uint64_t ns = (uint64_t)at.tv_nsec + ms % 1000 * 1000000;
    at.tv_sec += (time_t)(ms / 1000 + ns / 1000000000);
    at.tv_nsec = (long)(ns % 1000000000);
    return at;
}

static uint64_t drain_ms(const struct exports *exports)
{
    return exports->options.drain_ms ? exports->options.drain_ms : DRAIN_MS;
}

static void unmark(struct exports *exports, uint64_t id)
{
    IGNORE(pthread_mutex_lock(&exports->lock));
    struct mark **at = mark_place(&exports->revoked, id), *mark = *at;
    if (mark)
        *at = mark->next;
    IGNORE(pthread_mutex_unlock(&exports->lock));
    own_free(mark);
}

/* From here nobody opens it anew; who does so already has ended. */
static bool mark_revoked(struct exports *exports, uint64_t id, struct err *err)
{
    struct mark *mark = own_alloc(sizeof *mark, err);
    struct timespec until = in_time(drain_ms(exports));
    if (!mark)
        return false;
    IGNORE(pthread_mutex_lock(&exports->lock));
    bool mine = !*mark_place(&exports->revoked, id), in_time = true;
    if (mine) {
        *mark = (struct mark){exports->revoked, id};
        exports->revoked = mark;
    }
    while (mine && in_time && *mark_place(&exports->opening, id))
        in_time = wait_moved(exports, &until);
    IGNORE(pthread_mutex_unlock(&exports->lock));
    if (!mine) {
        own_free(mark);
        return refuse_going(id, err);
    }
    if (!in_time) {
        unmark(exports, id);
        return err_set(err, ERR_BUSY, "export %llu is being opened", (unsigned long long)id);
    }
    return true;
}

/* Calls that are inside have left. entry is going: no other comes in, nobody retires versions. */
static bool await_quiet(struct exports *exports, const struct entry *entry, struct timespec until)
{
    bool in_time = true, quiet = false;
    atomic_fetch_add(&exports->draining, 1);
    IGNORE(pthread_mutex_lock(&exports->lock));
    for (;;) {
        quiet = is_quiet(entry->now);
        for (struct version *v = entry->retired; v; v = v->next)
            quiet = quiet && is_quiet(v);
        if (quiet || !in_time)
            break;
        in_time = wait_moved(exports, &until);
    }
    IGNORE(pthread_mutex_unlock(&exports->lock));
    atomic_fetch_sub(&exports->draining, 1);
    return quiet;
}

/* Without the lanes: who cuts has locks of its own. */
static void cut_users(struct exports *exports, const struct entry *entry)
{
    const struct exports_options *o = &exports->options;
    struct err err = {0};
    size_t count = 0;
    lock_all(exports);
    AUTO(mem) uint8_t(*all)[16] = own_alloc((entry->use_count + 1) * sizeof *all, &err);
    for (int i = 0; all && i < USE_BUCKETS; i++)
        for (const struct use *use = entry->uses[i]; use; use = use->next)
            memcpy(all[count++], use->address, sizeof *all);
    unlock_all(exports);
    for (size_t i = 0; i < count; i++)
        o->cut(o->cut_arg, all[i]);
}

static bool drain(struct exports *exports, const struct entry *entry, bool force)
{
    if (force && exports->options.cut) {
        if (await_quiet(exports, entry, in_time(drain_ms(exports) / CUT_PART)))
            return true;
        cut_users(exports, entry);
    }
    return await_quiet(exports, entry, in_time(drain_ms(exports)));
}

/* All lanes are held. */
static void stays(struct entry *entry)
{
    entry->going = false;
    if (entry->later)
        replace(entry, TAKE(entry->later));
}

bool exports_revoke(struct exports *exports, uint64_t id, bool force, struct err *err)
{
    if (!mark_revoked(exports, id, err))
        return false;
    lock_all(exports);
    struct entry *entry = *place_of(exports, id);
    bool ok = !entry || force || refuse_while_used(entry, err);
    if (ok && entry)
        entry->going = true;
    unlock_all(exports);
    if (ok && !entry)
        return true;
    if (ok && !drain(exports, entry, force))
        ok = err_set(err, ERR_BUSY, "calls to '%s' do not end", entry->now->export.path);
    lock_all(exports);
    if (ok)
        *place_of(exports, id) = entry->next;
    else
        stays(entry);
    unlock_all(exports);
    if (ok)
        entry_free(entry);
    else
        unmark(exports, id);
    return ok;
}

void exports_restore(struct exports *exports, uint64_t id) { unmark(exports, id); }

/* ---- the list of uses ---- */

static void unmount(struct use *use)
{
    use->mounts = 0;
    use->unmounted = true;
    use->calls_before = atomic_load(&use->calls);
    atomic_store(&use->last_ms, 0);
}

void exports_mounted(struct exports *exports, const struct export *export,
                     const struct nfsd_peer *peer, bool mounted)
{
    struct err err = {0};
    lock_all(exports);
    struct entry *entry = *place_of(exports, export->id);
    struct use *use = entry ? use_of(entry, peer, &err) : NULL;
    if (use && mounted) {
        use->mounts++;
        use->unmounted = false;
    } else if (use && use->mounts > 1) {
        use->mounts--;
    } else if (use) {
        unmount(use);
    }
    unlock_all(exports);
}

/* Each use of this client; all lanes are held by the caller of exports. */
static void each_use(struct exports *exports, const struct nfsd_peer *peer,
                     void (*fn)(struct use *))
{
    lock_all(exports);
    for (int i = 0; i < ENTRY_BUCKETS; i++)
        for (struct entry *entry = exports->entries[i]; entry; entry = entry->next) {
            struct use *use = *use_place(entry, peer->address);
            if (use)
                fn(use);
        }
    unlock_all(exports);
}

void exports_unmounted_all(struct exports *exports, const struct nfsd_peer *peer)
{
    each_use(exports, peer, unmount);
}

static void hung_up(struct use *use)
{
    atomic_store(&use->connected, false);
    if (use->unmounted)
        atomic_store(&use->last_ms, 0);
}

void exports_peer_gone(struct exports *exports, const struct nfsd_peer *peer)
{
    each_use(exports, peer, hung_up);
}

static void show(const struct entry *entry, const struct use *use, struct export_user *ret)
{
    uint64_t last = atomic_load(&use->last_ms), now = clock_mono_ms(), wall = clock_wall_us();
    *ret = (struct export_user){.id = entry->id,
                                .mounted = use->mounts > 0,
                                .connected = atomic_load(&use->connected),
                                .uses = is_used_by(use),
                                .calls = atomic_load(&use->calls),
                                .last_us = last ? wall - (now - last) * 1000 : 0};
    str_copy(ret->client, sizeof ret->client, use->text);
    str_copy(ret->path, sizeof ret->path, entry->now->export.path);
}

/* All lanes are held. Returns how many; of one peer at most one. */
static size_t show_all(struct entry *entry, uint64_t id, const struct nfsd_peer *peer,
                       struct export_user *ret)
{
    size_t count = 0;
    if (id != 0 && entry->id != id)
        return 0;
    if (peer) {
        const struct use *use = *use_place(entry, peer->address);
        if (use)
            show(entry, use, &ret[count++]);
        return count;
    }
    for (int i = 0; i < USE_BUCKETS; i++)
        for (const struct use *use = entry->uses[i]; use; use = use->next)
            show(entry, use, &ret[count++]);
    return count;
}

struct export_user *exports_users(struct exports *exports, uint64_t id,
                                  const struct nfsd_peer *peer, size_t *ret_count, struct err *err)
{
    size_t count = 0, room = 1;
    lock_all(exports);
    for (int i = 0; i < ENTRY_BUCKETS; i++)
        for (const struct entry *entry = exports->entries[i]; entry; entry = entry->next)
            room += peer ? 1 : entry->use_count;
    struct export_user *users = own_alloc(room * sizeof *users, err);
    for (int i = 0; users && i < ENTRY_BUCKETS; i++)
        for (struct entry *entry = exports->entries[i]; entry; entry = entry->next)
            count += show_all(entry, id, peer, users + count);
    unlock_all(exports);
    *ret_count = count;
    return users;
}

/* ---- life ---- */

struct exports *exports_new(const struct exports_options *options, struct err *err)
{
    struct exports *exports = own_alloc(sizeof *exports, err);
    pthread_condattr_t monotonic;
    if (!exports)
        return NULL;
    exports->options = *options;
    for (int i = 0; i < LANES; i++)
        IGNORE(pthread_mutex_init(&exports->lanes[i].lock, NULL));
    IGNORE(pthread_mutex_init(&exports->lock, NULL));
    IGNORE(pthread_condattr_init(&monotonic));
    IGNORE(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC));
    IGNORE(pthread_cond_init(&exports->moved, &monotonic));
    IGNORE(pthread_condattr_destroy(&monotonic));
    return exports;
}

void exports_free(struct exports *exports)
{
    if (!exports)
        return;
    for (int i = 0; i < ENTRY_BUCKETS; i++)
        for (struct entry *entry = exports->entries[i]; entry;) {
            struct entry *next = entry->next;
            entry_free(entry);
            entry = next;
        }
    while (exports->revoked)
        unmark(exports, exports->revoked->id);
    for (int i = 0; i < LANES; i++)
        IGNORE(pthread_mutex_destroy(&exports->lanes[i].lock));
    IGNORE(pthread_mutex_destroy(&exports->lock));
    IGNORE(pthread_cond_destroy(&exports->moved));
    own_free(exports);
}
