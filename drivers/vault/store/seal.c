/* Sealing: a layer's records become frames, pressed by other threads and written in order; maps,
 * dead lists and the seal frame follow beside them; one commit shows it all. */
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include <inttypes.h>
#include <string.h>

enum {
    SLOT_CHANGES = 256,
    NODE_SLOTS = 4,
    DEAD_MEMORY = 16 << 20,
    FREED_MEMORY = 48 << 20,
};

/* A frame on its way, with the map's changes that go with it. */
struct slot {
    struct work work;
    struct seal *seal;
    bool pressed;
    uint32_t pack, number;
    struct frame frame;
    uint8_t *raw;
    struct map_change *changes; /* data only */
    size_t change_count;
};

/* Frames of one pack after another, in order. */
struct lane_of_frames {
    struct slot *slots;
    size_t count, head, used;
    struct pack_writer *writer;
    uint32_t writer_pack;      /* of the writer */
    uint32_t pack, next_frame; /* of the next frame; pack 0: none yet */
    bool rotate;               /* the next frame begins a pack */
};

struct seal {
    struct family *family;
    struct table *table; /* as it was when the seal began */
    uint64_t volume, sequence, start, last;
    bool broken;
    pthread_mutex_t lock;
    pthread_cond_t pressed;
    struct lane_of_frames data, nodes;
    /* the file under way */
    struct map_update *update;
    uint64_t file;
    struct slot *open; /* being filled */
    /* the node frame under way */
    struct bytes joined[FRAME_ITEMS];
    size_t joined_count, joined_bytes;
    uint32_t joined_frame;
    struct dead_writer *dead;
    struct freed *freed;
    struct change change; /* packs, lists: what the commit will say */
    struct own_pack {
        uint32_t number;
        uint64_t bytes;
    } * packs; /* finished, and of no commit yet */
    size_t pack_count, pack_capacity;
    uint32_t unheard; /* a pack that may be there; 0: none */
    struct seal_stat stat;
};

/* ---- slots ---- */

static void press(struct work *work)
{
    struct slot *slot = (struct slot *)work; /* its first member */
    struct seal *seal = slot->seal;
    uint8_t shown[RECORD_BYTES];
    struct frame *frame = &slot->frame;
    bool data = frame->kind == FRAME_DATA;
    for (size_t i = 0, item = 0; data && i < slot->change_count; i++) {
        struct map_change *change = &slot->changes[i];
        if (change->kind == PLACE_STORED) {
            hash_bytes(slot->raw + item * RECORD_BYTES, RECORD_BYTES, &change->hash);
            frame->hashes[item++] = change->hash;
        } else if (change->kind == PLACE_PATTERN) {
            pattern_show(&change->pattern, shown);
            hash_bytes(shown, sizeof shown, &change->hash);
        }
    }
    if (frame->items > 0) /* its error is told when the slot is taken out */
        IGNORE(frame_press(frame, seal->family->store->zstd_level, &work->err));
    pthread_mutex_lock(&seal->lock);
    slot->pressed = true;
    pthread_cond_signal(&seal->pressed);
    pthread_mutex_unlock(&seal->lock);
}

static void submit(struct seal *seal, struct slot *slot)
{
    slot->work = (struct work){.run = press};
    slot->pressed = false;
    slot->seal = seal;
    lane_submit(seal->family->store->lane, &slot->work);
}

static void wait_pressed(struct seal *seal, const struct slot *slot)
{
    pthread_mutex_lock(&seal->lock);
    while (!slot->pressed)
        pthread_cond_wait(&seal->pressed, &seal->lock);
    pthread_mutex_unlock(&seal->lock);
}

static bool finish_pack(struct seal *seal, struct lane_of_frames *lane, struct err *err)
{
    if (!lane->writer)
        return true;
    if (!own_grow((void **)&seal->change.packs, &seal->change.pack_capacity,
                  seal->change.pack_count, sizeof *seal->change.packs, err) ||
        !own_grow((void **)&seal->packs, &seal->pack_capacity, seal->pack_count,
                  sizeof *seal->packs, err))
        return false;
    AUTO(masks)
    struct masks *live = masks_new(pack_masks(lane->writer), pack_frames(lane->writer), err);
    uint64_t bytes = 0;
    if (!live || !pack_finish(TAKE(lane->writer), &bytes, err)) {
        seal->unheard = live && err->code != ERR_EXISTS ? lane->writer_pack : 0;
        if (err->code == ERR_EXISTS) /* another owner's pack: the next try has new numbers */
            err->code = ERR_BUSY;
        return false;
    }
    family_count_bytes(seal->family, (int64_t)bytes);
    seal->stat.stored_bytes += bytes;
    uint64_t items = masks_items(live);
    seal->packs[seal->pack_count++] = (struct own_pack){lane->writer_pack, bytes};
    seal->change.packs[seal->change.pack_count++] = (struct table_pack){
        .number = lane->writer_pack, .bytes = bytes, .items = items, .live = TAKE(live)};
    return true;
}

/* The oldest frame of a lane is written, and its places told to the map. */
static bool retire(struct seal *seal, struct lane_of_frames *lane, struct err *err)
{
    struct slot *slot = &lane->slots[lane->head];
    wait_pressed(seal, slot);
    lane->head = (lane->head + 1) % lane->count;
    lane->used--;
    struct frame *frame = &slot->frame;
    bool good = slot->work.err.code == ERR_NONE;
    uint32_t number = 0;
    if (!good)
        *err = slot->work.err;
    good = good && store_reserve_is_whole(seal->family->store, err);
    if (good && frame->items > 0) {
        if (lane->writer && lane->writer_pack != slot->pack)
            good = finish_pack(seal, lane, err);
        if (good && !lane->writer) {
            struct pack_key key = family_pack_key(seal->family, slot->pack, 0);
            lane->writer =
                pack_create(seal->family->store->io, &key, seal->family->store->zstd_level, err);
            lane->writer_pack = slot->pack;
        }
        good = good && lane->writer && pack_add(lane->writer, frame, &number, err);
        if (good && number != slot->number)
            good = err_set(err, ERR_INTERNAL, "frame %u of pack %08x came as %u", slot->number,
                           slot->pack, number);
        if (good && pack_is_full(lane->writer) && lane->pack == slot->pack)
            lane->rotate = true;
    }
    for (size_t i = 0; good && i < slot->change_count; i++)
        good = map_update_set(seal->update, &slot->changes[i], err);
    frame_done(frame);
    slot->frame = (struct frame){0};
    slot->change_count = 0;
    return good;
}

static bool drain(struct seal *seal, struct lane_of_frames *lane, struct err *err)
{
    while (lane->used > 0)
        if (!retire(seal, lane, err))
            return false;
    return true;
}

/* An empty slot at the end of the line; it counts once it is submitted. */
static struct slot *take_slot(struct seal *seal, struct lane_of_frames *lane, struct err *err)
{
    if (lane->used == lane->count && !retire(seal, lane, err))
        return NULL;
    struct slot *slot = &lane->slots[(lane->head + lane->used) % lane->count];
    if (!slot->raw && !(slot->raw = own_alloc(FRAME_RAW_MAX, err)))
        return NULL;
    return slot;
}

/* The number that the next frame of the lane will have. */
static void number_frame(struct seal *seal, struct lane_of_frames *lane, uint32_t *ret_pack,
                         uint32_t *ret_frame)
{
    if (lane->pack == 0 || lane->rotate) {
        pthread_mutex_lock(&seal->family->look);
        lane->pack = seal->family->next_pack++;
        pthread_mutex_unlock(&seal->family->look);
        lane->next_frame = 0;
        lane->rotate = false;
    }
    *ret_pack = lane->pack;
    *ret_frame = lane->next_frame++;
}

/* ---- data frames ---- */

static void close_slot(struct seal *seal)
{
    struct slot *slot = TAKE(seal->open);
    struct frame *frame = slot ? &slot->frame : NULL;
    if (!slot || slot->change_count == 0)
        return;
    frame->kind = FRAME_DATA;
    frame->file = seal->file;
    frame->birth = seal->sequence;
    frame->present = (uint16_t)((1U << frame->items) - 1);
    frame->raw = slot->raw;
    frame->raw_len = (size_t)frame->items * RECORD_BYTES;
    if (frame->items > 0) {
        number_frame(seal, &seal->data, &slot->pack, &slot->number);
        for (size_t i = 0; i < slot->change_count; i++)
            if (slot->changes[i].kind == PLACE_STORED) {
                slot->changes[i].addr.pack = slot->pack;
                slot->changes[i].addr.frame = slot->number;
            }
    }
    seal->data.used++;
    submit(seal, slot);
}

static bool add_change(struct seal *seal, struct map_change *change, const void *bytes,
                       struct err *err)
{
    if (!seal->open) {
        struct slot *slot = take_slot(seal, &seal->data, err);
        if (!slot)
            return false;
        if (!slot->changes &&
            !(slot->changes = own_alloc(SLOT_CHANGES * sizeof *slot->changes, err)))
            return false;
        slot->change_count = 0;
        slot->frame = (struct frame){0};
        seal->open = slot;
    }
    struct slot *slot = seal->open;
    if (change->kind == PLACE_STORED) {
        change->addr.item = slot->frame.items;
        slot->frame.records[slot->frame.items] = change->record;
        memcpy(slot->raw + (size_t)slot->frame.items * RECORD_BYTES, bytes, RECORD_BYTES);
        slot->frame.items++;
    }
    slot->changes[slot->change_count++] = *change;
    if (slot->frame.items == FRAME_ITEMS || slot->change_count == SLOT_CHANGES)
        close_slot(seal);
    return true;
}

/* Everything set so far is in the map. */
static bool flush_data(struct seal *seal, struct err *err)
{
    close_slot(seal);
    return drain(seal, &seal->data, err);
}

/* ---- nodes, dead lists, the seal frame ---- */

static bool submit_node_frame(struct seal *seal, struct slot *slot, enum frame_kind kind,
                              uint8_t items, uint32_t pack, uint32_t number)
{
    slot->pack = pack;
    slot->number = number;
    slot->change_count = 0;
    slot->frame.kind = kind;
    slot->frame.birth = seal->sequence;
    slot->frame.items = items;
    slot->frame.present = (uint16_t)((1U << items) - 1);
    slot->frame.raw = slot->raw;
    seal->nodes.used++;
    submit(seal, slot);
    return true;
}

static bool flush_nodes(struct seal *seal, struct err *err)
{
    AUTO(bytes) struct bytes raw = {0};
    if (seal->joined_count == 0)
        return true;
    struct slot *slot = take_slot(seal, &seal->nodes, err);
    if (!slot || !frame_join(seal->joined, seal->joined_count, &raw, err))
        return false;
    slot->frame = (struct frame){.raw_len = raw.len};
    memcpy(slot->raw, raw.data, raw.len);
    uint8_t items = (uint8_t)seal->joined_count;
    for (size_t i = 0; i < seal->joined_count; i++)
        seal->joined[i].len = 0;
    seal->joined_count = seal->joined_bytes = 0;
    return submit_node_frame(seal, slot, FRAME_NODES, items, seal->nodes.pack, seal->joined_frame);
}

/* A frame of one item beside the nodes. */
static bool put_single(struct seal *seal, enum frame_kind kind, const struct bytes *bytes,
                       struct addr *ret_addr, struct err *err)
{
    if (bytes->len > FRAME_RAW_MAX)
        return err_set(err, ERR_LIMIT, "%zu bytes do not fit into a frame", bytes->len);
    if (!flush_nodes(seal, err))
        return false;
    struct slot *slot = take_slot(seal, &seal->nodes, err);
    if (!slot)
        return false;
    slot->frame = (struct frame){.raw_len = bytes->len};
    memcpy(slot->raw, bytes->data, bytes->len);
    uint32_t pack, frame;
    number_frame(seal, &seal->nodes, &pack, &frame);
    *ret_addr = (struct addr){pack, frame, 0};
    return submit_node_frame(seal, slot, kind, 1, pack, frame);
}

static bool put_node(void *arg, const struct bytes *encoded, struct addr *ret_addr, struct err *err)
{
    struct seal *seal = arg;
    const size_t lengths = 2 + FRAME_ITEMS * 3; /* the most that count and lengths take */
    if ((seal->joined_count == FRAME_ITEMS ||
         seal->joined_bytes + encoded->len + lengths > FRAME_RAW_MAX) &&
        !flush_nodes(seal, err))
        return false;
    if (seal->joined_count == 0) {
        uint32_t pack;
        number_frame(seal, &seal->nodes, &pack, &seal->joined_frame);
    }
    struct bytes *node = &seal->joined[seal->joined_count];
    node->len = 0;
    if (!bytes_add(node, encoded->data, encoded->len, err))
        return false;
    *ret_addr = (struct addr){seal->nodes.pack, seal->joined_frame, (uint8_t)seal->joined_count++};
    seal->joined_bytes += encoded->len;
    return true;
}

static bool put_dead_chunk(void *arg, const struct bytes *chunk, struct addr *ret_addr,
                           struct err *err)
{
    return put_single(arg, FRAME_DEAD, chunk, ret_addr, err);
}

/* FORMAT.md section 3, the rule of sealing. */
static bool item_died(void *arg, struct addr addr, uint64_t birth, struct err *err)
{
    struct seal *seal = arg;
    if (birth <= seal->start)
        return true;
    if (birth > seal->last)
        return table_free_item(seal->table, seal->freed, addr, err);
    return dead_add(seal->dead, addr, birth, err);
}

static bool file_item_died(void *arg, int level, uint64_t first_record, struct addr addr,
                           uint64_t birth, struct err *err)
{
    (void)level, (void)first_record;
    return item_died(arg, addr, birth, err);
}

/* ---- the calls ---- */

static bool mark_sealing(struct family *family, uint64_t volume, struct err *err)
{
    bool good = true;
    pthread_mutex_lock(&family->look);
    for (size_t i = 0; i < family->sealing_count; i++)
        good = good && family->sealing[i] != volume;
    if (!good)
        err_set(err, ERR_BUSY, "the volume is being sealed");
    good = good && own_grow((void **)&family->sealing, &family->sealing_capacity,
                            family->sealing_count, sizeof *family->sealing, err);
    if (good)
        family->sealing[family->sealing_count++] = volume;
    pthread_mutex_unlock(&family->look);
    return good;
}

static void unmark_sealing(struct family *family, uint64_t volume)
{
    pthread_mutex_lock(&family->look);
    for (size_t i = 0; i < family->sealing_count; i++)
        if (family->sealing[i] == volume)
            family->sealing[i--] = family->sealing[--family->sealing_count];
    pthread_mutex_unlock(&family->look);
}

static bool make_lane(struct lane_of_frames *lane, size_t count, struct err *err)
{
    lane->slots = own_alloc(count * sizeof *lane->slots, err);
    lane->count = count;
    return lane->slots != NULL;
}

static bool check_volume(struct seal *seal, struct err *err)
{
    const struct table_volume *row = table_volume(seal->table, seal->volume);
    if (!row)
        return err_set(err, ERR_NOT_FOUND, "there is no such volume");
    if (seal->sequence <= row->row.start || seal->sequence == UINT64_MAX)
        return err_set(err, ERR_INVALID, "a layer of before the volume");
    if (seal->sequence <= row->row.sealed)
        return err_set(err, ERR_EXISTS, "the layer is sealed already");
    seal->start = row->row.start;
    seal->last = table_before(seal->table, seal->volume, UINT64_MAX);
    return true;
}

/* Finds out what a commit before left unknown: it may be this very layer's. */
static bool settled(struct family *family, struct err *err)
{
    if (!family_change_begin(family, err))
        return false;
    family_change_end(family);
    return true;
}

struct seal *seal_begin(struct family *family, uint64_t volume, uint64_t sequence, struct err *err)
{
    if (!settled(family, err) || !mark_sealing(family, volume, err))
        return NULL;
    struct seal *seal = own_alloc(sizeof *seal, err);
    if (!seal) {
        unmark_sealing(family, volume);
        return NULL;
    }
    seal->family = family;
    seal->volume = volume;
    seal->sequence = sequence;
    pthread_mutex_init(&seal->lock, NULL);
    pthread_cond_init(&seal->pressed, NULL);
    seal->table = family_table(family);
    if (!check_volume(seal, err) || !store_reserve_keep(family->store, err) ||
        !make_lane(&seal->nodes, NODE_SLOTS, err) ||
        !make_lane(&seal->data, 2 * (size_t)family->store->threads + 2, err) ||
        !(seal->freed = freed_new(FREED_MEMORY, err)) ||
        !(seal->dead = dead_writer_new(DEAD_MEMORY, put_dead_chunk, seal, err))) {
        seal_abandon(seal);
        return NULL;
    }
    return seal;
}

/* After an error only abandon is left. */
static bool keep(struct seal *seal, bool good)
{
    seal->broken |= !good;
    return good;
}

static bool is_whole(const struct seal *seal, struct err *err)
{
    return !seal->broken || err_set(err, ERR_PRECONDITION, "the seal failed before");
}

bool seal_file_begin(struct seal *seal, uint64_t file, const struct root *base, struct err *err)
{
    struct map_source source = family_source(seal->family);
    struct map_sink sink = {put_node, item_died, seal, seal->start};
    if (!is_whole(seal, err))
        return false;
    if (seal->update)
        return err_set(err, ERR_PRECONDITION, "another file is being sealed");
    seal->file = file;
    seal->update = map_update_begin(&source, &sink, base, seal->sequence, err);
    return keep(seal, seal->update != NULL);
}

bool seal_record(struct seal *seal, uint64_t record, const void *bytes, struct err *err)
{
    struct map_change change = {.record = record, .kind = PLACE_STORED};
    if (!is_whole(seal, err))
        return false;
    if (!seal->update)
        return err_set(err, ERR_PRECONDITION, "no file is being sealed");
    seal->stat.records++;
    if (!bytes || format_is_zero(bytes, RECORD_BYTES)) {
        change.kind = PLACE_HOLE;
        seal->stat.holes++;
    } else if (pattern_of(bytes, &change.pattern)) {
        change.kind = PLACE_PATTERN;
        seal->stat.patterns++;
    } else {
        seal->stat.raw_bytes += RECORD_BYTES;
    }
    return keep(seal, add_change(seal, &change, bytes, err));
}

bool seal_cut(struct seal *seal, uint64_t record, struct err *err)
{
    if (!is_whole(seal, err))
        return false;
    if (!seal->update)
        return err_set(err, ERR_PRECONDITION, "no file is being sealed");
    return keep(seal, flush_data(seal, err) && map_update_cut(seal->update, record, err));
}

bool seal_file_end(struct seal *seal, uint64_t size, struct root *ret_root, struct err *err)
{
    if (!is_whole(seal, err))
        return false;
    if (!seal->update)
        return err_set(err, ERR_PRECONDITION, "no file is being sealed");
    return keep(seal,
                flush_data(seal, err) && map_update_end(TAKE(seal->update), size, ret_root, err));
}

bool seal_file_gone(struct seal *seal, const struct root *root, struct err *err)
{
    struct map_source source = family_source(seal->family);
    if (!is_whole(seal, err) || !root->stored || root->birth <= seal->start)
        return !seal->broken;
    return keep(seal, map_items(&source, root, seal->start, file_item_died, seal, err));
}

void seal_stat(const struct seal *seal, struct seal_stat *ret)
{
    *ret = seal->stat;
    if (seal->data.writer)
        ret->stored_bytes += pack_bytes(seal->data.writer);
    if (seal->nodes.writer)
        ret->stored_bytes += pack_bytes(seal->nodes.writer);
}

/* ---- the end ---- */

static bool copy_result(struct seal *seal, const struct seal_result *result, struct err *err)
{
    struct change *change = &seal->change;
    size_t bad = result->bad_count < BAD_MAX ? result->bad_count : BAD_MAX;
    change->kind = CHANGE_SEALED;
    change->volume = seal->volume;
    change->sequence = seal->sequence;
    change->cut = seal->last;
    change->named = result->named;
    change->snapshot = (struct snapshot_row){.table = result->table,
                                             .slots = result->slots,
                                             .id = result->id,
                                             .created_us = result->created_us,
                                             .logical_bytes = result->logical_bytes,
                                             .identity = result->identity};
    IGNORE(str_copy(change->snapshot.name, sizeof change->snapshot.name, result->name));
    change->bad = own_alloc((bad + 1) * sizeof *change->bad, err);
    if (!change->bad)
        return false;
    if (bad > 0)
        memcpy(change->bad, result->bad, bad * sizeof *change->bad);
    change->bad_count = bad;
    return true;
}

/* The volume's row and this seal's change, without masks: a table can be made again from these.
 * What is too long for a frame leaves its bad records, then its dead lists out: these then leak. */
static bool put_seal_frame(struct seal *seal, struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    struct change shown = seal->change;
    struct change volume = {.kind = CHANGE_VOLUME_ADDED,
                            .row = table_volume(seal->table, seal->volume)->row};
    AUTO(mem) struct table_pack *packs = own_alloc((shown.pack_count + 2) * sizeof *packs, err);
    if (!packs)
        return false;
    for (size_t i = 0; i < shown.pack_count; i++) {
        packs[i] = shown.packs[i];
        packs[i].live = NULL;
    }
    shown.packs = packs;
    for (int i = 0; i < 3; i++) {
        bytes.len = 0;
        if (!change_encode(&volume, &bytes, err) || !change_encode(&shown, &bytes, err))
            return false;
        if (bytes.len <= FRAME_RAW_MAX)
            break;
        shown.bad_count = 0;
        shown.list_count = i > 0 ? 0 : shown.list_count;
    }
    return put_single(seal, FRAME_SEAL, &bytes, &seal->change.seal, err);
}

static bool finish_packs(struct seal *seal, struct err *err)
{
    if (!drain(seal, &seal->data, err) || !finish_pack(seal, &seal->data, err) ||
        !dead_finish(TAKE(seal->dead), &seal->change.lists, &seal->change.list_count, err))
        return false;
    return put_seal_frame(seal, err) && drain(seal, &seal->nodes, err) &&
           finish_pack(seal, &seal->nodes, err);
}

/* What this seal wrote and no commit names. Only packs whose end was heard of are ours for sure. */
static void doom_own(struct seal *seal)
{
    struct family *family = seal->family;
    if (seal->pack_count == 0 && seal->unheard == 0)
        return;
    pthread_mutex_lock(&family->change);
    struct pack_key unheard = family_pack_key(family, seal->unheard, 0);
    if (seal->unheard > 0)
        family_doom_unheard(family, &unheard);
    for (size_t i = 0; i < seal->pack_count; i++) {
        struct pack_key key = family_pack_key(family, seal->packs[i].number, 0);
        char name[IO_NAME_MAX];
        pack_name(&key, name);
        family_doom(family, name, seal->packs[i].bytes, 0);
        cache_forget(family->store->cache, family->id, key.pack);
    }
    family_delete_doomed(family);
    pthread_mutex_unlock(&family->change);
    seal->pack_count = 0;
}

static bool commit_seal(struct seal *seal, struct err *err)
{
    AUTO(change_lock) struct family *locked = NULL;
    AUTO(edit) struct edit edit = {0};
    AUTO(table) struct table *table = NULL;
    bool taken = false;
    if (!family_change_begin(seal->family, err))
        return false;
    locked = seal->family;
    table = family_table(seal->family);
    if (!edit_begin(table, &edit, err))
        return false;
    struct source source = {seal->family, edit.next};
    struct map_source lists = family_source_of(&source);
    if (!edit_seal(&edit, &lists, &seal->change, TAKE(seal->freed), err))
        return false;
    bool done = family_commit(seal->family, &edit, &taken, err);
    if (done || taken)
        seal->pack_count = 0;
    return done;
}

bool seal_commit(struct seal *seal, const struct seal_result *result, struct err *err)
{
    AUTO(seal) struct seal *owned = seal;
    if (!is_whole(seal, err))
        return false;
    if (seal->update)
        return err_set(err, ERR_PRECONDITION, "a file is still being sealed");
    bool done =
        copy_result(owned, result, err) && finish_packs(owned, err) && commit_seal(owned, err);
    return done || err_wrap(err, "seal layer %" PRIu64, owned->sequence);
}

static void lane_done(struct seal *seal, struct lane_of_frames *lane)
{
    for (; lane->used > 0; lane->used--, lane->head = (lane->head + 1) % lane->count)
        wait_pressed(seal, &lane->slots[lane->head]);
    for (size_t i = 0; lane->slots && i < lane->count; i++) {
        frame_done(&lane->slots[i].frame);
        own_free(lane->slots[i].raw);
        own_free(lane->slots[i].changes);
    }
    own_free(lane->slots);
    pack_abandon(lane->writer);
}

void seal_abandon(struct seal *seal)
{
    if (!seal)
        return;
    map_update_abandon(seal->update);
    lane_done(seal, &seal->data);
    lane_done(seal, &seal->nodes);
    doom_own(seal);
    unmark_sealing(seal->family, seal->volume);
    for (size_t i = 0; i < FRAME_ITEMS; i++)
        bytes_done(&seal->joined[i]);
    dead_abandon(seal->dead);
    freed_free(seal->freed);
    own_free(seal->packs);
    change_done(&seal->change);
    table_unref(seal->table);
    pthread_cond_destroy(&seal->pressed);
    pthread_mutex_destroy(&seal->lock);
    own_free(seal);
}
