/* The store's reserve (FORMAT.md 2.7): objects of noise that make way when the store is full. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include <inttypes.h>

enum { LEAST = 1 << 20, PIECE = 4 << 20, NUMBERS = 256, SHARE = 8 };
static const char folder[] = "reserve";

void store_reserve_note_pack(struct store *store, uint64_t bytes)
{
    uint64_t largest = atomic_load(&store->reserve.largest);
    while (bytes > largest &&
           !atomic_compare_exchange_weak(&store->reserve.largest, &largest, bytes))
        ;
}

static uint64_t wanted(const struct store *store, uint64_t total)
{
    uint64_t bytes = LEAST, largest = atomic_load(&store->reserve.largest);
    while (bytes < largest && bytes < store->reserve.most)
        bytes *= 2;
    bytes = bytes < store->reserve.most ? bytes : store->reserve.most;
    return bytes < total / SHARE ? bytes : total / SHARE;
}

static void name_of(const char *entry, char ret[IO_NAME_MAX])
{
    IGNORE(str_format(ret, IO_NAME_MAX, "%s/%s", folder, entry));
}

/* Behind the numbers that are taken; of one that somebody else takes meanwhile, the next. */
static bool add(struct store *store, const struct io_list *there, uint64_t bytes, struct err *err)
{
    uint64_t number = 0;
    if (there->count > 0 && family_hex(there->entries[there->count - 1].name, 2, &number))
        number++;
    size_t most = bytes < PIECE ? (size_t)bytes : PIECE;
    AUTO(mem) uint8_t *noise = own_alloc(most, err);
    if (!noise)
        return false;
    clock_random(noise, most); /* what compresses might be stored as less */
    for (; bytes > 0 && number < NUMBERS; number++) {
        struct err failed = {0};
        char entry[8], name[IO_NAME_MAX];
        size_t piece = bytes < PIECE ? (size_t)bytes : PIECE;
        IGNORE(str_format(entry, sizeof entry, "%02x", (unsigned)number));
        name_of(entry, name);
        if (io_put(store->io, name, noise, piece, IO_NEW, &failed)) {
            store->reserve.there += piece;
            bytes -= piece;
        } else if (failed.code != ERR_EXISTS) {
            *err = failed;
            return false;
        }
    }
    return true;
}

static bool count(struct store *store, struct io_list *ret_list, struct err *err)
{
    if (!io_list(store->io, folder, ret_list, err))
        return false;
    store->reserve.there = 0;
    for (size_t i = 0; i < ret_list->count; i++)
        store->reserve.there += ret_list->entries[i].bytes;
    return true;
}

/* reserve.lock is held. */
static bool make(struct store *store, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    uint64_t total = 0, room = 0;
    if (!io_space(store->io, &total, &room, err))
        return false;
    if (total == UINT64_MAX || room == UINT64_MAX)
        return true;
    uint64_t whole = wanted(store, total);
    bool gone = atomic_load(&store->reserve.gone);
    if (!gone && store->reserve.there >= whole)
        return true;
    if (!count(store, &list, err))
        return false;
    uint64_t missing = whole > store->reserve.there ? whole - store->reserve.there : 0;
    if (room < missing + (gone && store->reserve.thinning > 0 ? whole : 0))
        return err_set(err, ERR_NO_SPACE,
                       "the store is full: it has no room for its reserve of %" PRIu64
                       " bytes; hint: delete snapshots or clones, or enlarge it",
                       whole);
    if (!add(store, &list, missing, err))
        return false;
    if (gone)
        log_info("the store has its reserve again store=%s", io_label(store->io));
    atomic_store(&store->reserve.gone, false);
    return true;
}

bool store_reserve_keep(struct store *store, struct err *err)
{
    if (store->reserve.most == 0)
        return true;
    pthread_mutex_lock(&store->reserve.lock);
    bool made = make(store, err);
    pthread_mutex_unlock(&store->reserve.lock);
    return made;
}

bool store_reserve_open(struct store *store, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    struct err full = {0};
    if (store->reserve.most == 0)
        return true;
    if (!count(store, &list, err))
        return false;
    /* The claim may have needed it; then the families' commits may as well. */
    if (!atomic_load(&store->reserve.gone) && !store_reserve_keep(store, &full) &&
        full.code == ERR_NO_SPACE) {
        atomic_store(&store->reserve.gone, true);
        log_warning("nothing is sealed store=%s error=%s", io_label(store->io), full.text);
    }
    return true;
}

void store_reserve_close(struct store *store) { pthread_mutex_destroy(&store->reserve.lock); }

bool store_reserve_is_whole(struct store *store, struct err *err)
{
    return !atomic_load(&store->reserve.gone) ||
           err_set(err, ERR_NO_SPACE,
                   "the store is full: what room there is, is kept for deleting");
}

bool store_reserve_again(struct store *store, struct err *err)
{
    return !atomic_load(&store->reserve.gone) || store_reserve_keep(store, err);
}

bool store_reserve_give(struct store *store, const struct err *why)
{
    AUTO(io_list) struct io_list list = {0};
    struct err failed = {0};
    size_t given = 0;
    if (why->code != ERR_NO_SPACE || store->reserve.most == 0)
        return false;
    pthread_mutex_lock(&store->reserve.lock);
    bool there = io_list(store->io, folder, &list, &failed) && list.count > 0;
    if (there) /* first: what becomes free is not for seals */
        atomic_store(&store->reserve.gone, true);
    for (size_t i = 0; there && i < list.count; i++) {
        char name[IO_NAME_MAX];
        name_of(list.entries[i].name, name);
        given += io_delete(store->io, name, &failed);
    }
    if (there)
        store->reserve.there = 0; /* counted when it is made again */
    pthread_mutex_unlock(&store->reserve.lock);
    if (given > 0)
        log_warning("the store is full: its reserve is given up store=%s", io_label(store->io));
    return given > 0;
}

bool store_reserve_put(struct store *store, const char *name, const void *bytes, size_t len,
                       struct err *err)
{
    struct err full = {0};
    if (io_put(store->io, name, bytes, len, IO_NEW, &full))
        return true;
    /* Another one may have given it up meanwhile: then there is room as well. */
    if (full.code == ERR_NO_SPACE &&
        (store_reserve_give(store, &full) || atomic_load(&store->reserve.gone)))
        return io_put(store->io, name, bytes, len, IO_NEW, err);
    *err = full;
    return false;
}

void store_reserve_thinning(struct store *store, int more)
{
    pthread_mutex_lock(&store->reserve.lock);
    store->reserve.thinning += (uint64_t)more;
    pthread_mutex_unlock(&store->reserve.lock);
}

void store_tend(struct store *store)
{
    struct err full = {0};
    IGNORE(store_reserve_again(store, &full)); /* asked again soon */
}

bool store_reserve(struct io *io, uint64_t *ret_bytes, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    uint64_t bytes = 0;
    if (!io_list(io, folder, &list, err))
        return false;
    for (size_t i = 0; i < list.count; i++)
        bytes += list.entries[i].bytes;
    *ret_bytes = bytes;
    return true;
}
