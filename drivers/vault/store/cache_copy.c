/* Copies of directories of remote packs: files in a folder, checked by sum when they are read. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/store/cache_int.h"
#include <inttypes.h>
#include <stdlib.h>

enum { COPY_MAX = 48 << 20, PATH_BYTES = 4096 };
static const uint64_t copies_default = (uint64_t)4 << 30;
static const char *const kinds[] = {"dir", "hash"};

static void copy_path(const struct copies *copies, const struct copy_key *key, const char *what,
                      char ret[PATH_BYTES])
{
    str_format(ret, PATH_BYTES, "%s/%016" PRIx64 "-%08" PRIx32 "-%04x.%s", copies->folder,
               key->family, key->pack, key->generation, what);
}

static bool same(const struct copy_key *a, const struct copy_key *b)
{
    return a->family == b->family && a->pack == b->pack && a->generation == b->generation;
}

/* With the lock held, or before anybody else knows the cache. */
static bool note(struct copies *copies, const struct copy_key *key, struct err *err)
{
    for (size_t i = 0; i < copies->count; i++)
        if (same(&copies->keys[i], key))
            return true;
    if (!own_grow((void **)&copies->keys, &copies->capacity, copies->count, sizeof *copies->keys,
                  err))
        return false;
    copies->keys[copies->count++] = *key;
    return true;
}

/* Names as copy_path makes them, and no others. */
static bool key_of_name(const char *name, struct copy_key *ret)
{
    char again[64], *end;
    uint64_t family = strtoull(name, &end, 16);
    uint64_t pack = *end == '-' ? strtoull(end + 1, &end, 16) : 0;
    uint64_t generation = *end == '-' ? strtoull(end + 1, &end, 16) : 0;
    *ret = (struct copy_key){family, (uint32_t)pack, (uint16_t)generation};
    str_format(again, sizeof again, "%016" PRIx64 "-%08" PRIx32 "-%04x.", ret->family, ret->pack,
               ret->generation);
    return str_starts(name, again);
}

bool copies_open(struct cache *cache, const struct cache_options *options, struct err *err)
{
    struct copies *copies = &cache->copies;
    if (!options->folder || !(io_abilities(cache->io) & IO_IS_REMOTE))
        return true;
    AUTO(sys_names) struct sys_names names = {0};
    copies->bytes_max = options->folder_bytes ? options->folder_bytes : copies_default;
    copies->folder = own_strdup(options->folder, err);
    if (!copies->folder || !sys_mkdirs(copies->folder, 0700, err) ||
        !sys_list(copies->folder, &names, err))
        return err_wrap(err, "copies of directories");
    for (size_t i = 0; i < names.count; i++) {
        struct copy_key key;
        char path[PATH_BYTES];
        struct stat about;
        struct err ignored = {0};
        str_format(path, sizeof path, "%s/%s", copies->folder, names.names[i]);
        if (!key_of_name(names.names[i], &key) || !sys_lstat(path, &about, &ignored))
            continue;
        copies->bytes += (uint64_t)about.st_size;
        if (!note(copies, &key, err))
            return false;
    }
    return true;
}

void copies_done(struct copies *copies)
{
    own_free(copies->folder);
    own_free(copies->keys);
}

static struct copy_key copy_key_of(const struct pack_key *key)
{
    return (struct copy_key){key->family, key->pack, key->generation};
}

char *copies_read(struct cache *cache, const struct pack_key *key, const char *what,
                  size_t *ret_len)
{
    char path[PATH_BYTES];
    struct err ignored = {0}; /* none, or none that can be read: the store has it */
    struct copy_key copy = copy_key_of(key);
    if (!cache->copies.folder)
        return NULL;
    copy_path(&cache->copies, &copy, what, path);
    return sys_read_file(path, COPY_MAX, ret_len, &ignored);
}

void copies_write(struct cache *cache, const struct pack_key *key, const char *what,
                  const void *bytes, size_t len)
{
    struct copies *copies = &cache->copies;
    char path[PATH_BYTES];
    struct err ignored = {0};
    struct copy_key copy = copy_key_of(key);
    if (!copies->folder)
        return;
    copy_path(copies, &copy, what, path);
    struct stat about;
    uint64_t old = sys_lstat(path, &about, &ignored) ? (uint64_t)about.st_size : 0;
    pthread_mutex_lock(&cache->lock);
    copies->bytes -= old < copies->bytes ? old : copies->bytes;
    bool room = copies->bytes + len <= copies->bytes_max && note(copies, &copy, &ignored);
    copies->bytes += room ? len : old;
    pthread_mutex_unlock(&cache->lock);
    if (!room)
        return;
    IGNORE(sys_write_file(path, bytes, len, 0600, &ignored)); /* the next reader asks the store */
}

void copies_forget(struct cache *cache, uint64_t family, const uint32_t *pack)
{
    struct copies *copies = &cache->copies;
    pthread_mutex_lock(&cache->lock);
    for (size_t i = copies->count; copies->folder && i-- > 0;) {
        struct copy_key key = copies->keys[i];
        if (key.family != family || (pack && key.pack != *pack))
            continue;
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            char path[PATH_BYTES];
            struct stat about;
            struct err ignored = {0};
            copy_path(copies, &key, kinds[k], path);
            if (sys_lstat(path, &about, &ignored) && sys_unlink(path, &ignored))
                copies->bytes -= (uint64_t)about.st_size < copies->bytes ? (uint64_t)about.st_size
                                                                         : copies->bytes;
        }
        copies->keys[i] = copies->keys[--copies->count];
    }
    pthread_mutex_unlock(&cache->lock);
}
