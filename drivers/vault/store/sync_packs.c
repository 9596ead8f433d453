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

/* ---- a pack that was thinned there, and lacks what is needed now ---- */

struct side {
    struct io *io;
    struct pack_key key;
    struct pack_dir *dir;
    struct pack_row row; /* of the frame at hand; present 0: nothing of it */
    uint8_t *raw;
    size_t len;
};
struct joint {
    struct side sides[2]; /* there, here */
    struct frame frame;
    struct bytes nodes[FRAME_ITEMS], raw;
};

static void own_auto_joint(struct joint *j)
{
    for (size_t i = 0; i < 2; i++) {
        pack_dir_free(j->sides[i].dir);
        own_free(j->sides[i].raw);
    }
    for (size_t i = 0; i < FRAME_ITEMS; i++)
        bytes_done(&j->nodes[i]);
    bytes_done(&j->raw);
    frame_done(&j->frame);
}

/* One item of the frame from the side that has it. */
static bool take_item(struct joint *j, const struct side *side, uint32_t frame, uint8_t item,
                      size_t count, struct err *err)
{
    uint64_t records[FRAME_ITEMS];
    uint8_t present = 0;
    const uint8_t *bytes;
    size_t len;
    if (!pack_item(&side->row, side->raw, side->len, item, &bytes, &len, err))
        return false;
    if (side->row.kind == FRAME_NODES) {
        j->nodes[count].len = 0;
        return bytes_add(&j->nodes[count], bytes, len, err);
    }
    if (!pack_dir_subject(side->dir, side->io, frame, &j->frame.file, records, &present, err) ||
        !pack_dir_hash(side->dir, side->io, frame, item, &j->frame.hashes[count], err))
        return false;
    j->frame.records[count] = records[pack_item_place(side->row.present, item)];
    return bytes_add(&j->raw, bytes, len, err);
}

/* A frame that neither side has all of. */
static bool join_frame(struct joint *j, struct pack_writer *writer, uint32_t frame, uint16_t needed,
                       struct err *err)
{
    uint32_t number;
    size_t count = 0;
    for (size_t i = 0; i < 2; i++)
        if (!pack_frame_read(j->sides[i].io, &j->sides[i].key, &j->sides[i].row, frame,
                             j->sides[i].raw, &j->sides[i].len, err))
            return false;
    frame_done(&j->frame);
    j->frame = (struct frame){.kind = j->sides[0].row.kind,
                              .birth = j->sides[0].row.birth,
                              .items = FRAME_ITEMS,
                              .present = needed};
    j->raw.len = 0;
    for (unsigned item = 0; item < FRAME_ITEMS; item++) {
        const struct side *side = &j->sides[!(j->sides[0].row.present >> item & 1)];
        if (needed >> item & 1 && !take_item(j, side, frame, (uint8_t)item, count++, err))
            return false;
    }
    if (j->frame.kind == FRAME_NODES && !frame_join(j->nodes, count, &j->raw, err))
        return false;
    j->frame.raw = j->raw.data;
    j->frame.raw_len = j->raw.len;
    return frame_press(&j->frame, 1, err) && pack_add(writer, &j->frame, &number, err);
}

static bool join_pack(struct joint *j, struct pack_writer *writer, const struct masks *needed,
                      struct err *err)
{
    for (uint32_t i = 0; i < masks_frames(needed); i++) {
        uint16_t items = masks_get(needed, i);
        size_t side = 2;
        for (size_t k = 2; k-- > 0;) {
            struct side *s = &j->sides[k];
            if (!pack_dir_row(s->dir, i, &s->row))
                s->row = (struct pack_row){0};
            if (!(items & ~s->row.present))
                side = k;
        }
        if (side < 2 ? !pack_keep(writer, j->sides[side].io, j->sides[side].dir, i, items, err)
                     : !join_frame(j, writer, i, items, err))
            return false;
    }
    return true;
}

static bool open_sides(struct sync *s, const struct table_pack *here,
                       const struct table_pack *there, struct joint *j, struct err *err)
{
    const struct table_pack *packs[] = {there, here};
    for (size_t i = 0; i < 2; i++) {
        struct side *side = &j->sides[i];
        side->io = i == 0 ? s->far_io : s->near_io;
        side->key = family_pack_key(s->family, packs[i]->number, packs[i]->generation);
        side->raw = own_alloc(FRAME_RAW_MAX, err);
        if (!side->raw || !(side->dir = pack_dir_read(side->io, &side->key, packs[i]->bytes, err)))
            return false;
    }
    return true;
}

/* All that is needed of it, from both stores, in a generation above. */
static bool send_anew(struct sync *s, const struct table_pack *here, const struct table_pack *there,
                      const struct masks *needed, struct table_pack *ret, struct err *err)
{
    AUTO(joint) struct joint j = {0};
    if (!open_sides(s, here, there, &j, err))
        return false;
    for (unsigned n = 1; n <= GENERATIONS_TRIED && there->generation + n <= UINT16_MAX; n++) {
        uint16_t generation = (uint16_t)(there->generation + n);
        struct pack_key key = family_pack_key(s->family, here->number, generation);
        struct err failed = {0};
        bool whole = false;
        uint64_t bytes = 0;
        AUTO(pack_writer) struct pack_writer *writer = pack_create(s->far_io, &key, 1, &failed);
        if (writer && join_pack(&j, writer, needed, &failed) &&
            pack_finish(TAKE(writer), &bytes, &failed)) {
            if (!is_whole(s, &key, bytes, &whole, err))
                return false;
            ret->generation = generation;
            ret->bytes = bytes;
            ret->items = masks_items(needed);
            s->result.packs_sent++;
            s->result.bytes_sent += bytes;
            return whole ||
                   err_set(err, ERR_CORRUPT, "pack %08x did not arrive whole", here->number);
        }
        if (failed.code != ERR_EXISTS) {
            *err = failed;
            return false;
        }
    }
    return err_set(err, ERR_LIMIT, "pack %08x has no generation left", here->number);
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
    AUTO(masks) struct masks *live = join_masks(marked, pack, there, err);
    row.live = live;
    return live && (has || send_anew(s, pack, there, live, &row, err)) &&
           table_put_pack(s->rows, &row, err);
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
