/* Packs to the second store: whole, under their names, read back before anybody relies on them. */
#include "agent/base/str.h"
#include "drivers/vault/store/pack_int.h"
#include "drivers/vault/store/sync_int.h"
#include <inttypes.h>
#include <string.h>

enum { PIECE = 1 << 20, TRIES = 3, GENERATIONS_TRIED = 16 };

static bool is_damage(const struct err *err)
{
    return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND || err->code == ERR_IO ||
           err->code == ERR_LIMIT;
}

/* ---- one object ---- */

static bool send_bytes(struct sync *s, const char *name, uint64_t bytes, struct err *err)
{
    AUTO(mem) uint8_t *piece = own_alloc(PIECE, err);
    AUTO(io_writer) struct io_writer *writer = piece ? io_create(s->far_io, name, err) : NULL;
    for (uint64_t at = 0; writer && at < bytes;) {
        ssize_t got = io_read(s->near_io, name, piece, PIECE, at, err);
        if (got < 0 || !io_append(writer, piece, (size_t)got, err))
            return false;
        if (got == 0)
            return err_set(err, ERR_CORRUPT, "'%s' ends at %" PRIu64 " of %" PRIu64 " bytes", name,
                           at, bytes);
        at += (uint64_t)got;
    }
    return writer && io_finish(TAKE(writer), err);
}

/* What lies there under that name: is it this very object? Its end holds the sums of all of it. */
static bool is_same(struct sync *s, const char *name, uint64_t bytes, bool *ret_there,
                    bool *ret_same, struct err *err)
{
    struct err failed = {0};
    uint64_t there = 0;
    uint8_t ours[PACK_FOOTER], theirs[PACK_FOOTER];
    *ret_there = *ret_same = false;
    if (!io_size(s->far_io, name, &there, &failed)) {
        if (failed.code == ERR_NOT_FOUND)
            return true;
        *err = failed;
        return false;
    }
    *ret_there = true;
    if (there != bytes || bytes < PACK_FOOTER)
        return true;
    ssize_t a = io_read(s->near_io, name, ours, PACK_FOOTER, bytes - PACK_FOOTER, err);
    ssize_t b =
        a < 0 ? -1 : io_read(s->far_io, name, theirs, PACK_FOOTER, bytes - PACK_FOOTER, err);
    *ret_same = a == PACK_FOOTER && b == PACK_FOOTER && memcmp(ours, theirs, PACK_FOOTER) == 0;
    return a >= 0 && b >= 0;
}

/* Reads it back, every frame and hash of it. */
static bool is_whole(struct sync *s, const struct pack_key *key, uint64_t bytes, bool *ret_whole,
                     struct err *err)
{
    struct err failed = {0};
    *ret_whole = false;
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_scan(s->far_io, key, bytes, ret_whole, &failed);
    if (dir || is_damage(&failed))
        return true;
    *err = failed;
    return false;
}

/* Damage here is not carried over. */
static bool tell_damage(struct sync *s, const char *name, struct err *err)
{
    struct finding finding = {.kind = FINDING_DAMAGE,
                              .family = s->id,
                              .object = name,
                              .text = "the pack is damaged and is not copied (scrub says more)"};
    teller_tell(&s->teller, &finding);
    return err_set(err, ERR_CORRUPT, "pack '%s' is damaged", name);
}

static bool send_pack(struct sync *s, const struct table_pack *pack, struct err *err)
{
    struct pack_key key = family_pack_key(s->family, pack->number, pack->generation);
    char name[IO_NAME_MAX];
    pack_name(&key, name);
    for (int i = 0; i < TRIES; i++) {
        struct err failed = {0};
        bool there = false, same = false, whole = false;
        if (!is_same(s, name, pack->bytes, &there, &same, err))
            return false;
        if (there && !same && !io_delete(s->far_io, name, err))
            return false;
        if (!same) {
            if (!send_bytes(s, name, pack->bytes, &failed) && failed.code != ERR_EXISTS) {
                *err = failed;
                return false;
            }
            s->result.packs_sent++;
            s->result.bytes_sent += pack->bytes;
        }
        if (!is_whole(s, &key, pack->bytes, &whole, err))
            return false;
        if (whole) {
            s->result.packs_there += same && i == 0;
            return true;
        }
        err_clear(&failed);
        if (!io_delete(s->far_io, name, &failed) && failed.code != ERR_NOT_FOUND) {
            *err = failed;
            return false;
        }
    }
    return tell_damage(s, name, err);
}

/* A pack that was thinned there and lacks what is needed now: all of it, in a generation above. */
static bool send_anew(struct sync *s, const struct table_pack *pack, uint16_t above,
                      struct table_pack *ret, struct err *err)
{
    struct pack_key from = family_pack_key(s->family, pack->number, pack->generation);
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(s->near_io, &from, pack->bytes, err);
    for (unsigned n = 1; dir && n <= GENERATIONS_TRIED && above + n <= UINT16_MAX; n++) {
        struct pack_key key = family_pack_key(s->family, pack->number, (uint16_t)(above + n));
        struct err failed = {0};
        bool good = true, whole = false;
        uint64_t bytes = 0;
        AUTO(pack_writer) struct pack_writer *writer = pack_create(s->far_io, &key, 1, &failed);
        for (uint32_t i = 0; writer && good && i < pack_dir_frames(dir); i++)
            good = pack_keep(writer, s->near_io, dir, i, UINT16_MAX, &failed);
        if (writer && good && pack_finish(TAKE(writer), &bytes, &failed)) {
            if (!is_whole(s, &key, bytes, &whole, err))
                return false;
            ret->generation = key.generation;
            ret->bytes = bytes;
            s->result.packs_sent++;
            s->result.bytes_sent += bytes;
            return whole ||
                   err_set(err, ERR_CORRUPT, "pack %08x did not arrive whole", pack->number);
        }
        if (failed.code != ERR_EXISTS) {
            *err = failed;
            return false;
        }
    }
    return dir && err_set(err, ERR_LIMIT, "pack %08x has no generation left", pack->number);
}

/* ---- what is needed ---- */

/* Whether the generation that lies there has all that is needed. */
static bool has_items(struct sync *s, const struct table_pack *there, const uint16_t *marked,
                      uint32_t frames, bool *ret_has, struct err *err)
{
    struct pack_key key = family_pack_key(s->family, there->number, there->generation);
    AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(s->far_io, &key, there->bytes, err);
    if (!dir)
        return false;
    *ret_has = true;
    for (uint32_t i = 0; i < frames && *ret_has; i++) {
        struct pack_row row = {0};
        uint16_t present = pack_dir_row(dir, i, &row) ? row.present : 0;
        *ret_has = !(marked[i] & ~present);
    }
    return true;
}

static struct masks *join_masks(const uint16_t *marked, const struct table_pack *pack,
                                const struct table_pack *there, struct err *err)
{
    uint32_t frames = masks_frames(pack->live);
    if (there && masks_frames(there->live) > frames)
        frames = masks_frames(there->live);
    AUTO(mem) uint16_t *live = own_alloc((frames + (size_t)1) * sizeof *live, err);
    for (uint32_t i = 0; live && i < frames; i++)
        live[i] = (i < masks_frames(pack->live) ? marked[i] : 0) |
                  (there ? masks_get(there->live, i) : 0);
    return live ? masks_new(live, frames, err) : NULL;
}

static bool sync_pack(struct sync *s, const struct table_pack *pack, const uint16_t *marked,
                      struct err *err)
{
    const struct table_pack *there = s->far_rows ? table_pack(s->far_rows, pack->number) : NULL;
    uint32_t frames = masks_frames(pack->live);
    uint64_t fresh = 0;
    bool has = true;
    for (uint32_t i = 0; i < frames; i++)
        fresh += (unsigned)__builtin_popcount(
            marked[i] & (unsigned)~(there ? masks_get(there->live, i) : 0) & 0xffffU);
    if (fresh == 0)
        return true;
    struct table_pack row = there ? *there : *pack;
    row.locked_until_us = there ? there->locked_until_us : 0;
    if (there ? !has_items(s, there, marked, frames, &has, err) : !send_pack(s, pack, err))
        return false;
    s->result.packs_there += there && has;
    if (!has) {
        row.items = pack->items;
        if (!send_anew(s, pack, there->generation, &row, err))
            return false;
    }
    AUTO(masks) struct masks *live = join_masks(marked, pack, there, err);
    row.live = live;
    return live && table_put_pack(s->rows, &row, err);
}

bool sync_packs(struct sync *s, struct err *err)
{
    for (size_t i = 0; i < s->near_rows->pack_count; i++)
        if (!sync_pack(s, &s->near_rows->packs[i], survey_marked(s->needed, i), err))
            return err_wrap(err, "pack %08x", s->near_rows->packs[i].number);
    if (s->near_rows->next_pack > s->rows->next_pack)
        s->rows->next_pack = s->near_rows->next_pack;
    return true;
}
