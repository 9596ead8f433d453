/* The store: its identity, who owns it, and what its families share. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include <string.h>
#include <unistd.h>

enum { IDENTITY_BYTES = 64, CLAIM_BYTES = 40, CLAIMS_KEPT = 4, HASH_SHA256 = 1, TRIES = 64 };
static const char identity_name[] = "evercopy-store";

/* ---- identity ---- */

static bool identity_encode(const struct store *store, struct bytes *to, struct err *err)
{
    return bytes_add(to, "ECSTORE1", 8, err) && bytes_u32(to, VAULT_VERSION, err) &&
           bytes_u8(to, RECORD_SHIFT, err) && bytes_u8(to, HASH_SHA256, err) &&
           bytes_u16(to, 0, err) && bytes_add(to, store->id, sizeof store->id, err) &&
           bytes_u64(to, store->seed, err) && bytes_u64(to, store->created_us, err) &&
           bytes_u64(to, 0, err) && bytes_u64(to, format_sum(0, to->data, to->len), err);
}

static bool identity_decode(struct store *store, const char *data, size_t len, struct err *err)
{
    struct cursor c = cursor_over(data, len);
    const uint8_t *magic = cursor_take(&c, 8);
    uint32_t version = cursor_u32(&c);
    if (!magic || memcmp(magic, "ECSTORE1", 8) != 0)
        return err_set(err, ERR_CORRUPT, "'%s' is no identity of a store", identity_name);
    if (version != VAULT_VERSION && !c.bad)
        return err_set(err, ERR_UNSUPPORTED, "the store has version %u; this program knows %u",
                       version, VAULT_VERSION);
    uint8_t shift = cursor_u8(&c), hash = cursor_u8(&c);
    uint16_t zero = cursor_u16(&c);
    const uint8_t *id = cursor_take(&c, sizeof store->id);
    uint64_t seed = cursor_u64(&c), created_us = cursor_u64(&c), spare = cursor_u64(&c);
    uint64_t sum = cursor_u64(&c);
    if (c.bad || len != IDENTITY_BYTES || shift != RECORD_SHIFT || hash != HASH_SHA256 ||
        zero != 0 || spare != 0 || sum != format_sum(0, data, IDENTITY_BYTES - 8))
        return err_set(err, ERR_CORRUPT, "'%s' is damaged", identity_name);
    memcpy(store->id, id, sizeof store->id);
    store->seed = seed;
    store->created_us = created_us;
    return true;
}

static bool read_identity(struct store *store, struct err *err)
{
    size_t len = 0;
    AUTO(mem) char *data = io_get(store->io, identity_name, IDENTITY_BYTES, &len, err);
    return data && identity_decode(store, data, len, err);
}

static bool make_identity(struct store *store, struct err *err)
{
    struct err failed = {0};
    AUTO(bytes) struct bytes bytes = {0};
    clock_random(store->id, sizeof store->id);
    clock_random(&store->seed, sizeof store->seed);
    store->created_us = clock_wall_us();
    if (!identity_encode(store, &bytes, err))
        return false;
    if (io_put(store->io, identity_name, bytes.data, bytes.len, IO_NEW, &failed))
        return true;
    struct err there = {0}; /* of two makers one wins, and a cut connection may have won as well */
    if (read_identity(store, &there))
        return true;
    *err = failed.code == ERR_EXISTS ? there : failed;
    return false;
}

bool store_make_like(struct io *io, const struct store *store, struct err *err)
{
    struct store like = {.io = io, .seed = store->seed, .created_us = clock_wall_us()};
    struct store there = {.io = io};
    struct err missing = {0};
    AUTO(bytes) struct bytes bytes = {0};
    if (read_identity(&there, &missing)) {
        if (memcmp(there.id, store->id, sizeof there.id) == 0)
            return err_set(err, ERR_INVALID, "'%s' is the store itself", io_label(io));
        return there.seed == store->seed ||
               err_set(err, ERR_PRECONDITION, "'%s' holds another store, which is no copy of it",
                       io_label(io));
    }
    if (missing.code != ERR_NOT_FOUND) {
        *err = missing;
        return false;
    }
    clock_random(like.id, sizeof like.id);
    return identity_encode(&like, &bytes, err) &&
           io_put(io, identity_name, bytes.data, bytes.len, IO_NEW, err);
}

static bool open_identity(struct store *store, struct err *err)
{
    struct err missing = {0};
    if (read_identity(store, &missing))
        return true;
    if (missing.code == ERR_NOT_FOUND && !store->read_only)
        return make_identity(store, err);
    *err = missing;
    return false;
}

/* ---- ownership ---- */

static void claim_name(uint32_t epoch, char ret[IO_NAME_MAX])
{
    IGNORE(str_format(ret, IO_NAME_MAX, "owner/%08x", epoch));
}

static bool claim(struct store *store, uint32_t epoch, struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    char name[IO_NAME_MAX];
    claim_name(epoch, name);
    return bytes_add(&bytes, "ECOWNER1", 8, err) && bytes_u32(&bytes, VAULT_VERSION, err) &&
           bytes_u32(&bytes, epoch, err) &&
           bytes_add(&bytes, store->box_id, sizeof store->box_id, err) &&
           bytes_u64(&bytes, format_sum(store->seed, bytes.data, bytes.len), err) &&
           store_reserve_put(store, name, bytes.data, bytes.len, err);
}

/* Names decide, so that a damaged claim cannot hold the store. */
static uint32_t highest_claim(const struct io_list *claims)
{
    uint32_t highest = 0;
    for (size_t i = 0; i < claims->count; i++) {
        uint64_t epoch;
        if (family_hex(claims->entries[i].name, 8, &epoch) && epoch > highest)
            highest = (uint32_t)epoch;
    }
    return highest;
}

bool store_is_owner(struct store *store)
{
    AUTO(io_list) struct io_list claims = {0};
    struct err err = {0};
    return io_list(store->io, "owner", &claims, &err) && highest_claim(&claims) == store->epoch;
}

static void forget_claims(struct store *store, const struct io_list *claims)
{
    for (size_t i = 0; i + CLAIMS_KEPT < claims->count; i++) {
        struct err err = {0};
        char name[IO_NAME_MAX];
        IGNORE(str_format(name, sizeof name, "owner/%s", claims->entries[i].name));
        IGNORE(io_delete(store->io, name, &err)); /* an old claim harms nobody */
    }
}

/* A new epoch at each opening: what the last process of this box still has under way is fenced too.
 */
static bool take_ownership(struct store *store, struct err *err)
{
    for (int i = 0; i < TRIES; i++) {
        struct err failed = {0};
        AUTO(io_list) struct io_list claims = {0};
        if (!io_list(store->io, "owner", &claims, err))
            return false;
        uint32_t epoch = highest_claim(&claims) + 1;
        if (epoch == 0)
            return err_set(err, ERR_LIMIT, "the store had its last owner");
        if (claim(store, epoch, &failed)) {
            store->epoch = epoch;
            forget_claims(store, &claims);
            return true;
        }
        /* Not known whether it is there: the next epoch outdoes it either way. */
        if (failed.code != ERR_EXISTS && failed.code != ERR_UNAVAILABLE &&
            failed.code != ERR_TIMEOUT) {
            *err = failed;
            return false;
        }
    }
    return err_set(err, ERR_BUSY, "others take the store over and over");
}

/* ---- opening ---- */

static unsigned count_threads(unsigned wanted)
{
    long processors = wanted ? (long)wanted : sysconf(_SC_NPROCESSORS_ONLN);
    return processors < 1 ? 1 : wanted || processors <= 4 ? (unsigned)processors : 4;
}

struct store *store_open(struct io *io, const uint8_t box_id[16],
                         const struct store_options *options, struct err *err)
{
    static const struct store_options defaults;
    const struct store_options *o = options ? options : &defaults;
    AUTO(store) struct store *store = own_alloc(sizeof *store, err);
    if (!store)
        return NULL;
    pthread_mutex_init(&store->reserve.lock, NULL);
    store->io = io;
    memcpy(store->box_id, box_id, sizeof store->box_id);
    store->zstd_level = o->zstd_level ? o->zstd_level : 1;
    store->threads = count_threads(o->threads);
    store->thin_bytes_per_s = o->thin_bytes_per_s;
    store->read_only = o->read_only;
    store->reserve.most = o->read_only ? 0 : o->reserve_bytes;
    struct cache_options cache = {.frame_bytes = o->cache_bytes,
                                  .dir_bytes = o->dir_bytes,
                                  .threads = o->threads,
                                  .folder = o->dir_cache};
    if (!open_identity(store, err) || (!store->read_only && !take_ownership(store, err)) ||
        !store_reserve_open(store, err))
        return err_null(err, "open store '%s'", io_label(io));
    store->cache = cache_new(io, &cache, err);
    store->nodes = store->cache ? nodes_new(err) : NULL;
    if (!store->nodes)
        return NULL;
    store->lane = lane_new("vault-press", (int)store->threads, err);
    return store->lane ? TAKE(store) : NULL;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    lane_free(store->lane);
    cache_free(store->cache);
    nodes_free(store->nodes);
    store_reserve_close(store);
    own_free(store);
}

uint64_t store_seed(const struct store *store) { return store->seed; }

void store_id(const struct store *store, uint8_t ret[16])
{
    memcpy(ret, store->id, sizeof store->id);
}

struct io *store_io(struct store *store) { return store->io; }

uint64_t *store_families(struct store *store, size_t *ret_count, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    if (!io_list(store->io, "f", &list, err))
        return NULL;
    uint64_t *ids = own_alloc((list.count + 1) * sizeof *ids, err);
    if (!ids)
        return NULL;
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++) {
        bool there = false;
        if (!list.entries[i].folder || !family_hex(list.entries[i].name, 16, &ids[count]))
            continue;
        if (!family_is_there(store, ids[count], &there, err)) {
            own_free(ids);
            return NULL;
        }
        count += there;
    }
    *ret_count = count;
    return ids;
}
