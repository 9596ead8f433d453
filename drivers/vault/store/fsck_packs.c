/* Packs as they lie in the store: directories, what is present, and the seal frames among them. */
#include "agent/base/str.h"
#include "drivers/vault/store/fsck_int.h"
#include "drivers/vault/store/pack_int.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { GENERATIONS_TRIED = 16 };

struct object {
    uint32_t number;
    uint16_t generation;
    uint64_t bytes;
};
struct objects {
    struct object *list;
    size_t count, capacity;
};

/* By number, then the newest generation first. */
static int by_number(const void *a, const void *b)
{
    const struct object *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->generation > y->generation ? -1 : x->generation < y->generation;
}

static bool list_objects(struct fsck *f, struct objects *ret, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    char folder[IO_NAME_MAX];
    family_folder(f->family, "pack", folder);
    if (!io_list(f->io, folder, &list, err))
        return false;
    for (size_t i = 0; i < list.count; i++) {
        uint64_t number, generation;
        if (!family_parse_pack(list.entries[i].name, &number, &generation) || number == UINT32_MAX)
            continue;
        if (!own_grow((void **)&ret->list, &ret->capacity, ret->count, sizeof *ret->list, err))
            return false;
        ret->list[ret->count++] =
            (struct object){(uint32_t)number, (uint16_t)generation, list.entries[i].bytes};
    }
    if (ret->count > 0)
        qsort(ret->list, ret->count, sizeof *ret->list, by_number);
    return true;
}

static struct pack_key key_of(const struct fsck *f, const struct object *object)
{
    return (struct pack_key){f->family, f->store->seed, object->number, object->generation};
}

/* ---- seal frames ---- */

static bool add_seal(struct fsck *f, const uint8_t *raw, size_t len, struct addr at,
                     struct err *err)
{
    struct seal_told told = {.at = at};
    AUTO(change) struct change volume = {0}, sealed = {0};
    struct cursor from = cursor_over(raw, len);
    if (!change_decode(&from, &volume, err) || !change_decode(&from, &sealed, err))
        return false;
    if (volume.kind != CHANGE_VOLUME_ADDED || sealed.kind != CHANGE_SEALED ||
        sealed.volume != volume.row.id || cursor_left(&from) > 0)
        return err_set(err, ERR_CORRUPT, "the seal frame does not say what it should");
    if (!own_grow((void **)&f->seals, &f->seal_capacity, f->seal_count, sizeof *f->seals, err))
        return false;
    told.volume = volume;
    told.sealed = sealed;
    told.sealed.seal = at;
    volume = sealed = (struct change){0};
    f->seals[f->seal_count++] = told;
    return true;
}

static bool read_seals(struct fsck *f, const struct pack_key *key, const struct pack_dir *dir,
                       struct err *err)
{
    AUTO(mem) uint8_t *raw = own_alloc(FRAME_RAW_MAX, err);
    for (uint32_t i = 0; raw && i < pack_dir_frames(dir); i++) {
        struct pack_row row;
        struct err failed = {0};
        size_t len = 0;
        char name[IO_NAME_MAX];
        if (!pack_dir_row(dir, i, &row) || row.kind != FRAME_SEAL)
            continue;
        if (pack_frame_read(f->io, key, &row, i, raw, &len, &failed) &&
            add_seal(f, raw, len, (struct addr){key->pack, i, 0}, &failed))
            continue;
        if (!fsck_is_damage(&failed)) {
            *err = failed;
            return false;
        }
        pack_name(key, name);
        fsck_tell(f, FINDING_DAMAGE, name, failed.text);
        f->hurt = true;
    }
    return raw != NULL;
}

/* ---- one pack ---- */

static bool take_pack(struct fsck *f, const struct object *object, const struct pack_dir *dir,
                      struct err *err)
{
    uint32_t frames = pack_dir_frames(dir);
    AUTO(mem) uint16_t *present = own_alloc((frames + (size_t)1) * sizeof *present, err);
    struct table_pack pack = {
        .number = object->number, .generation = object->generation, .bytes = object->bytes};
    if (!present ||
        !own_grow((void **)&f->packs, &f->pack_capacity, f->pack_count, sizeof *f->packs, err))
        return false;
    for (uint32_t i = 0; i < frames; i++) {
        struct pack_row row;
        present[i] = pack_dir_row(dir, i, &row) ? row.present : 0;
    }
    pack.live = masks_new(present, frames, err);
    if (!pack.live)
        return false;
    pack.items = masks_items(pack.live);
    f->packs[f->pack_count++] = pack;
    return true;
}

/* Whatever frames are whole, in a new generation with a directory of its own. */
static bool write_anew(struct fsck *f, struct object *object, uint16_t newest,
                       struct pack_dir *from, struct err *err)
{
    for (unsigned n = 1;; n++) {
        struct err failed = {0};
        struct pack_key key = key_of(f, object);
        bool good = true;
        if (newest + n > UINT16_MAX || n > GENERATIONS_TRIED)
            return err_set(err, ERR_LIMIT, "pack %08x has no generation left", object->number);
        key.generation = (uint16_t)(newest + n);
        AUTO(pack_writer) struct pack_writer *writer = pack_create(f->io, &key, 1, &failed);
        for (uint32_t i = 0; writer && good && i < pack_dir_frames(from); i++)
            good = pack_keep(writer, f->io, from, i, UINT16_MAX, &failed);
        uint64_t bytes = 0;
        if (writer && good && pack_finish(TAKE(writer), &bytes, &failed)) {
            char name[IO_NAME_MAX];
            *object = (struct object){object->number, key.generation, bytes};
            pack_name(&key, name);
            fsck_tell(f, FINDING_REPAIRED, name, "written anew with the frames that are whole");
            return true;
        }
        if (failed.code != ERR_EXISTS) {
            *err = failed;
            return false;
        }
    }
}

/* A pack whose directory cannot be used, by its frames. */
static bool salvage(struct fsck *f, struct object *object, uint16_t newest,
                    const struct err *damage, bool want_seals, struct err *err)
{
    struct err failed = {0};
    bool whole = false;
    char name[IO_NAME_MAX], text[400];
    struct pack_key key = key_of(f, object);
    pack_name(&key, name);
    AUTO(pack_dir)
    struct pack_dir *dir = pack_dir_scan(f->io, &key, object->bytes, &whole, &failed);
    if (!dir && !fsck_is_damage(&failed)) {
        *err = failed;
        return false;
    }
    IGNORE(str_format(text, sizeof text, "%.200s; %u frames are whole", damage->text,
                      dir ? pack_dir_frames(dir) : 0));
    fsck_tell(f, FINDING_DAMAGE, name, text);
    f->hurt = true;
    if (!dir || pack_dir_frames(dir) == 0)
        return true;
    if (want_seals && !read_seals(f, &key, dir, err))
        return false;
    if (f->options->repair && !write_anew(f, object, newest, dir, err))
        return false;
    return take_pack(f, object, dir, err);
}

/* A pack's objects: the first that can be used. */
static bool look_at_pack(struct fsck *f, struct object *objects, size_t count, bool want_seals,
                         struct err *err)
{
    struct err damage = {0};
    const struct table_pack *row = f->said ? table_pack(f->said, objects->number) : NULL;
    uint16_t newest = objects[0].generation;
    for (size_t i = 1; row && i < count; i++)
        if (objects[i].generation == row->generation) { /* the one that is meant goes first */
            struct object meant = objects[i];
            memmove(objects + 1, objects, i * sizeof *objects);
            objects[0] = meant;
        }
    for (size_t i = 0; i < count; i++) {
        struct err failed = {0};
        struct pack_key key = key_of(f, &objects[i]);
        if (f->options->stop && f->options->stop(f->options->arg))
            return err_set(err, ERR_CANCELLED, "stopped");
        AUTO(pack_dir)
        struct pack_dir *dir = pack_dir_read(f->io, &key, objects[i].bytes, &failed);
        if (dir)
            return (!want_seals || read_seals(f, &key, dir, err)) &&
                   take_pack(f, &objects[i], dir, err);
        if (!fsck_is_damage(&failed)) {
            *err = failed;
            return false;
        }
        damage = damage.code ? damage : failed;
    }
    return salvage(f, &objects[0], newest, &damage, want_seals, err);
}

static int by_sequence(const void *a, const void *b)
{
    const struct seal_told *x = a, *y = b;
    if (x->sealed.sequence != y->sealed.sequence)
        return x->sealed.sequence < y->sealed.sequence ? -1 : 1;
    return x->sealed.volume < y->sealed.volume ? -1 : x->sealed.volume > y->sealed.volume;
}

bool fsck_look_at_packs(struct fsck *f, bool want_seals, struct err *err)
{
    struct objects objects = {0};
    bool good = list_objects(f, &objects, err);
    for (size_t i = 0, n; good && i < objects.count; i += n) {
        for (n = 1; i + n < objects.count && objects.list[i + n].number == objects.list[i].number;)
            n++;
        /* With rows, packs without one are a crash's rest. */
        if (!f->said || want_seals || table_pack(f->said, objects.list[i].number))
            good = look_at_pack(f, &objects.list[i], n, want_seals, err);
    }
    own_free(objects.list);
    if (f->seal_count > 0)
        qsort(f->seals, f->seal_count, sizeof *f->seals, by_sequence);
    return good;
}
