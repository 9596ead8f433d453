/* Thinning: packs that are a quarter dead or more become new generations without it. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GENERATIONS_TRIED = 16, WAIT_MS = 50 };

struct thinning {
    struct family *family;
    bool (*stop)(void *arg);
    void *arg;
    uint64_t begun_ms, bytes; /* moved since then */
    uint64_t freed;
};

static bool is_locked(const struct table_pack *pack)
{
    return pack->locked_until_us > clock_wall_us();
}

static bool is_worth_it(const struct table_pack *pack)
{
    uint64_t dead = pack->items - masks_items(pack->live);
    return dead > 0 && dead * 4 >= pack->items && !is_locked(pack);
}

/* Waits until the bandwidth allows more, in short pieces, so that a stop is heard. */
static bool pace(struct thinning *t, uint64_t bytes, struct err *err)
{
    uint64_t rate = t->family->store->thin_bytes_per_s;
    t->bytes += bytes;
    for (;;) {
        if (t->stop && t->stop(t->arg))
            return err_set(err, ERR_CANCELLED, "thinning was stopped");
        uint64_t due_ms = rate ? t->bytes * 1000 / rate : 0,
                 past_ms = clock_mono_ms() - t->begun_ms;
        if (due_ms <= past_ms)
            return true;
        uint64_t wait_ms = due_ms - past_ms < WAIT_MS ? due_ms - past_ms : WAIT_MS;
        struct timespec pause = {0, (long)wait_ms * 1000000};
        IGNORE(nanosleep(&pause, NULL) != 0); /* a signal only shortens it */
    }
}

/* The survivors in a new object of generation `to`. */
static bool rewrite(struct thinning *t, const struct table_pack *pack, uint16_t to,
                    uint64_t *ret_bytes, struct err *err)
{
    struct store *store = t->family->store;
    struct pack_key from = family_pack_key(t->family, pack->number, pack->generation);
    struct pack_key key = family_pack_key(t->family, pack->number, to);
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(store->io, &from, pack->bytes, err);
    AUTO(pack_writer)
    struct pack_writer *writer = dir ? pack_create(store->io, &key, store->zstd_level, err) : NULL;
    if (!writer)
        return false;
    for (uint32_t i = 0; i < masks_frames(pack->live); i++) {
        struct pack_row row;
        uint16_t live = masks_get(pack->live, i);
        if (!pack_keep(writer, store->io, dir, i, live, err) ||
            !pace(t, live && pack_dir_row(dir, i, &row) ? row.bytes : 0, err))
            return false;
    }
    if (pack_finish(TAKE(writer), ret_bytes, err))
        return true;
    if (err->code == ERR_EXISTS)
        return false;
    pthread_mutex_lock(&t->family->change);
    family_doom_unheard(t->family, &key);
    pthread_mutex_unlock(&t->family->change);
    return false;
}

/* False without an error when the pack went, was thinned or locked meanwhile. */
static bool commit_pack(struct family *family, const struct table_pack *pack, uint16_t generation,
                        uint64_t bytes, bool *ret_taken, struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL;
    AUTO(edit) struct edit edit = {0};
    AUTO(table) struct table *table = NULL;
    AUTO(change) struct change change = {.kind = CHANGE_THINNED};
    if (!family_change_begin(family, err))
        return false;
    locked = family;
    table = family_table(family);
    const struct table_pack *now = table_pack(table, pack->number);
    if (!now || now->generation != pack->generation || is_locked(now))
        return false;
    change.packs = own_alloc(sizeof *change.packs, err);
    if (!change.packs)
        return false;
    change.packs[0] = (struct table_pack){.number = pack->number,
                                          .generation = generation,
                                          .bytes = bytes,
                                          .items = masks_items(pack->live)};
    change.pack_count = 1;
    return edit_begin(table, &edit, err) && edit_change(&edit, &change, err) &&
           family_commit(family, &edit, ret_taken, err);
}

static void delete_unnamed(struct family *family, uint32_t pack, uint16_t generation,
                           uint64_t bytes)
{
    struct pack_key key = family_pack_key(family, pack, generation);
    char name[IO_NAME_MAX];
    pack_name(&key, name);
    pthread_mutex_lock(&family->change);
    family_doom(family, name, bytes, 0);
    family_delete_doomed(family);
    pthread_mutex_unlock(&family->change);
}

/* The highest generation whose name is taken, or still to be deleted: that name is not used again.
 */
static unsigned last_generation(struct family *family, const struct table_pack *pack)
{
    unsigned last = pack->generation, end = last + GENERATIONS_TRIED;
    pthread_mutex_lock(&family->change);
    for (unsigned above = last + 1; above <= end && above <= UINT16_MAX; above++) {
        struct pack_key key = family_pack_key(family, pack->number, (uint16_t)above);
        char name[IO_NAME_MAX];
        pack_name(&key, name);
        if (family_is_doomed(family, name))
            last = above;
    }
    pthread_mutex_unlock(&family->change);
    return last;
}

/* A seal's commit may have freed the rest of it, or it is another generation by now. */
static bool has_gone(struct family *family, const struct table_pack *pack)
{
    AUTO(table) struct table *table = family_table(family);
    const struct table_pack *now = table_pack(table, pack->number);
    return !now || now->generation != pack->generation;
}

static bool thin_pack(struct thinning *t, const struct table_pack *pack, struct err *err)
{
    uint64_t bytes = 0;
    bool taken = false, done = false;
    unsigned generation = last_generation(t->family, pack);
    for (int i = 0; i < GENERATIONS_TRIED && !done; i++) {
        struct err failed = {0};
        if (++generation > UINT16_MAX)
            return true; /* it stays as it is */
        done = rewrite(t, pack, (uint16_t)generation, &bytes, &failed);
        if (!done && failed.code != ERR_CANCELLED && has_gone(t->family, pack))
            return true;
        /* A generation that a cut connection left there: the next one is free. With the reserve's
         * room it is another one too: that name may still come to light, and is deleted then. */
        bool again =
            !done && (failed.code == ERR_EXISTS || store_reserve_give(t->family->store, &failed));
        if (!done && (!again || i == GENERATIONS_TRIED - 1)) {
            *err = failed;
            return err_wrap(err, "thin pack %08x", pack->number);
        }
    }
    family_count_bytes(t->family, (int64_t)bytes);
    if (commit_pack(t->family, pack, (uint16_t)generation, bytes, &taken, err)) {
        t->freed += pack->bytes > bytes ? pack->bytes - bytes : 0;
        return true;
    }
    if (!taken)
        delete_unnamed(t->family, pack->number, (uint16_t)generation, bytes);
    return err->code == ERR_NONE;
}

static bool begin_thinning(struct family *family, struct err *err)
{
    pthread_mutex_lock(&family->look);
    bool other = family->thinning;
    family->thinning = true;
    pthread_mutex_unlock(&family->look);
    return !other || err_set(err, ERR_BUSY, "the family is being thinned");
}

struct choice {
    uint32_t number;
    uint64_t kept; /* bytes, about */
};

static int least_kept(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    return x->kept < y->kept ? -1 : x->kept > y->kept;
}

/* Those with the least to keep first: each leaves the next one more room. Owned. */
static struct choice *choose(const struct table *table, size_t *ret_count, struct err *err)
{
    struct choice *choices = own_alloc((table->pack_count + 1) * sizeof *choices, err);
    size_t count = 0;
    for (size_t i = 0; choices && i < table->pack_count; i++) {
        const struct table_pack *pack = &table->packs[i];
        if (is_worth_it(pack))
            choices[count++] = (struct choice){
                pack->number, (uint64_t)((double)pack->bytes * (double)masks_items(pack->live) /
                                         (double)pack->items)};
    }
    if (choices)
        qsort(choices, count, sizeof *choices, least_kept);
    *ret_count = count;
    return choices;
}

/* One that cannot be read, or has no room, stays; the others are thinned, then the first error is
 * told. */
static bool thin_all(struct thinning *t, struct err *err)
{
    size_t count = 0;
    struct err first = {0};
    AUTO(table) struct table *table = family_table(t->family);
    AUTO(mem) struct choice *choices = choose(table, &count, err);
    if (!choices)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct err failed = {0};
        AUTO(table) struct table *now = family_table(t->family);
        const struct table_pack *pack = table_pack(now, choices[i].number);
        if (!pack || !is_worth_it(pack) || thin_pack(t, pack, &failed))
            continue;
        if (first.code == ERR_NONE)
            first = failed;
        if (failed.code != ERR_CORRUPT && failed.code != ERR_NO_SPACE)
            break;
    }
    if (first.code != ERR_NONE)
        *err = first;
    return first.code == ERR_NONE;
}

bool family_thin(struct family *family, bool (*stop)(void *arg), void *arg, uint64_t *ret_freed,
                 struct err *err)
{
    struct thinning t = {.family = family, .stop = stop, .arg = arg, .begun_ms = clock_mono_ms()};
    if (family->store->read_only)
        return err_set(err, ERR_DENIED, "the store is open for reading only");
    if (!begin_thinning(family, err))
        return false;
    store_reserve_thinning(family->store, 1);
    bool ok = thin_all(&t, err);
    store_reserve_thinning(family->store, -1);
    store_tend(family->store);
    pthread_mutex_lock(&family->look);
    family->thinning = false;
    pthread_mutex_unlock(&family->look);
    *ret_freed = t.freed;
    return ok;
}
