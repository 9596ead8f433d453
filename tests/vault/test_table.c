/* The family's rows against a model that keeps explicit sets: random volumes, snapshots, clones of
 * clones, compositions and deletions. An item is freed exactly when nothing reaches it. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/store/edit.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLACES = 40,  /* of a volume's content */
    VOLUMES = 24, /* alive at once */
    SNAPSHOTS = 64,
    CHUNKS = 1 << 16,
};
static const uint64_t SEED = 77;

struct item {
    struct addr addr;
    uint64_t birth; /* 0: none */
};
struct content {
    struct item places[PLACES];
};
struct model_snapshot {
    uint64_t volume, sequence;
    bool hidden;
    struct content content;
};
struct model_volume {
    uint64_t id, start, last; /* last: sequence sealed */
    struct volume_origin origins[16];
    size_t origin_count;
    struct content head;
};
struct world {
    unsigned seed, shown, step;
    struct table *table, *replay;
    uint64_t sequence;
    struct model_volume volumes[VOLUMES];
    size_t volume_count;
    struct model_snapshot snapshots[SNAPSHOTS];
    size_t snapshot_count;
    struct bytes chunks[CHUNKS]; /* by frame of the node packs, one after another */
    struct addr chunk_addrs[CHUNKS];
    size_t chunk_count;
    uint32_t node_pack, node_frame; /* the seal under way */
};

static unsigned below(struct world *w, unsigned n) { return (unsigned)rand_r(&w->seed) % n; }

static void say_where(struct world *w, const char *what)
{
    printf("seed %u, step %u: %s\n", w->shown, w->step, what);
    fflush(stdout);
}
#define HOLDS(w, what, ...)                                                                        \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            say_where(w, #what);                                                                   \
            cr_assert(false, __VA_ARGS__);                                                         \
        }                                                                                          \
    } while (0)

/* ---- dead lists in memory ---- */

static bool put_chunk(void *arg, const struct bytes *chunk, struct addr *ret, struct err *err)
{
    struct world *w = arg;
    cr_assert_lt(w->chunk_count, CHUNKS);
    *ret = (struct addr){w->node_pack, w->node_frame++, 0};
    w->chunk_addrs[w->chunk_count] = *ret;
    return bytes_add(&w->chunks[w->chunk_count++], chunk->data, chunk->len, err);
}

static bool get_chunk(void *arg, struct addr addr, struct bytes *ret, struct err *err)
{
    struct world *w = arg;
    for (size_t i = 0; i < w->chunk_count; i++)
        if (w->chunk_addrs[i].pack == addr.pack && w->chunk_addrs[i].frame == addr.frame) {
            const struct table_pack *pack = table_pack(w->table, addr.pack);
            HOLDS(w, !pack || masks_get(pack->live, addr.frame) == 1, "a freed chunk is read");
            return bytes_add(ret, w->chunks[i].data, w->chunks[i].len, err);
        }
    return err_set(err, ERR_NOT_FOUND, "no chunk");
}

static struct map_source source(struct world *w)
{
    return (struct map_source){.node = get_chunk, .arg = w};
}

static bool each_item(void *arg, const struct table_volume *volume, dead_item *fn, void *fn_arg,
                      struct err *err)
{
    struct world *w = arg;
    for (size_t i = 0; i < w->volume_count; i++)
        for (size_t k = 0; w->volumes[i].id == volume->row.id && k < PLACES; k++) {
            const struct item *item = &w->volumes[i].head.places[k];
            if (item->birth > volume->row.start && !fn(fn_arg, item->addr, item->birth, err))
                return false;
        }
    return true;
}

/* ---- steps ---- */

/* What a store does with an edit, and a second table that only knows the bytes. */
static void commit(struct world *w, struct edit *edit)
{
    struct err err = {0};
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(commit) struct commit read = {0};
    HOLDS(w, edit_end(edit, &err), "%s", err.text);
    HOLDS(w, commit_encode(&edit->commit, SEED, &bytes, &err), "%s", err.text);
    table_unref(w->table);
    w->table = TAKE(edit->next);
    HOLDS(w, commit_decode(bytes.data, bytes.len, SEED, &read, &err), "%s", err.text);
    HOLDS(w, read.number == w->table->number, "commit %llu", (unsigned long long)read.number);
    for (size_t i = 0; i < read.count; i++)
        HOLDS(w, table_apply(w->replay, &read.changes[i], NULL, &err), "%s", err.text);
    w->replay->number = read.number;
}

static struct model_snapshot *find_snapshot(struct world *w, uint64_t volume, uint64_t sequence)
{
    for (size_t i = 0; i < w->snapshot_count; i++)
        if (w->snapshots[i].volume == volume && w->snapshots[i].sequence == sequence)
            return &w->snapshots[i];
    return NULL;
}

static uint64_t last_snapshot(const struct world *w, const struct model_volume *volume)
{
    uint64_t last = volume->start;
    for (size_t i = 0; i < w->snapshot_count; i++)
        if (w->snapshots[i].volume == volume->id && w->snapshots[i].sequence > last)
            last = w->snapshots[i].sequence;
    return last;
}

static void add_volume(struct world *w, struct err *err)
{
    struct volume_row row = {.id = ++w->sequence};
    if (w->volume_count == VOLUMES)
        return;
    struct model_volume *volume = &w->volumes[w->volume_count];
    *volume = (struct model_volume){.id = row.id};
    if (w->snapshot_count > 0) { /* a clone of one to three, each place of one of them */
        row.clone = true;
        row.start = volume->start = ++w->sequence;
        row.origin_count = volume->origin_count = 1 + below(w, 3);
        for (size_t i = 0; i < row.origin_count; i++) {
            struct model_snapshot *from = &w->snapshots[below(w, (unsigned)w->snapshot_count)];
            row.origins[i].volume = from->volume;
            row.origins[i].sequence = from->sequence;
            volume->origins[i] = row.origins[i];
            for (size_t k = i; k < PLACES; k += row.origin_count)
                volume->head.places[k] = from->content.places[k];
        }
    }
    w->volume_count++;
    volume->last = volume->start;
    AUTO(edit) struct edit edit = {0};
    struct change change = {.kind = CHANGE_VOLUME_ADDED, .row = row};
    HOLDS(w, edit_begin(w->table, &edit, err) && edit_change(&edit, &change, err), "%s", err->text);
    commit(w, &edit);
}

/* Replaces, removes and adds places; the deaths go where the rule says that they go. */
static void change_content(struct world *w, struct model_volume *volume, uint64_t sequence,
                           uint64_t last, uint32_t pack, struct dead_writer *dead,
                           struct freed *freed, uint16_t *ret_masks, uint32_t *ret_frames)
{
    struct err err = {0};
    unsigned written = 0, chance = 1 + below(w, 4);
    for (size_t k = 0; k < PLACES; k++) {
        struct item *item = &volume->head.places[k];
        if (below(w, chance) > 0)
            continue;
        if (item->birth > last)
            HOLDS(w, table_free_item(w->table, freed, item->addr, &err), "%s", err.text);
        else if (item->birth > volume->start)
            HOLDS(w, dead_add(dead, item->addr, item->birth, &err), "%s", err.text);
        *item = (struct item){0};
        if (below(w, 4) == 0)
            continue;
        *item =
            (struct item){.addr = {pack, written / FRAME_ITEMS, (uint8_t)(written % FRAME_ITEMS)},
                          .birth = sequence};
        ret_masks[written / FRAME_ITEMS] |= (uint16_t)(1U << written % FRAME_ITEMS);
        written++;
    }
    *ret_frames = (written + FRAME_ITEMS - 1) / FRAME_ITEMS;
}

static void add_pack(struct world *w, struct change *change, uint32_t number, const uint16_t *masks,
                     uint32_t frames)
{
    struct err err = {0};
    struct masks *live = masks_new(masks, frames, &err);
    HOLDS(w, live != NULL, "%s", err.text);
    change->packs[change->pack_count++] = (struct table_pack){
        .number = number, .bytes = 1000 + frames, .items = masks_items(live), .live = live};
}

static void drop_snapshot(struct world *w, struct model_snapshot *snapshot);

/* The last snapshot may be dropped while a seal is under way. */
static void seal(struct world *w, struct model_volume *volume, struct err *err)
{
    uint64_t sequence = ++w->sequence, last = last_snapshot(w, volume);
    uint16_t masks[PLACES] = {0}, node_masks[PLACES];
    uint32_t pack = w->table->next_pack, frames;
    AUTO(change)
    struct change change = {.kind = CHANGE_SEALED,
                            .volume = volume->id,
                            .sequence = sequence,
                            .cut = last,
                            .named = w->snapshot_count < SNAPSHOTS && below(w, 3) > 0};
    AUTO(freed) struct freed *freed = freed_new(1 << 20, err);
    w->node_pack = pack + 1;
    w->node_frame = 0;
    struct dead_writer *dead = dead_writer_new(0, put_chunk, w, err);
    change_content(w, volume, sequence, last, pack, dead, freed, masks, &frames);
    HOLDS(w, dead_finish(dead, &change.lists, &change.list_count, err), "%s", err->text);
    change.seal = (struct addr){w->node_pack, w->node_frame++, 0};
    change.packs = own_alloc(2 * sizeof *change.packs, err);
    for (size_t i = 0; i < w->node_frame; i++)
        node_masks[i] = 1;
    if (frames > 0)
        add_pack(w, &change, pack, masks, frames);
    add_pack(w, &change, w->node_pack, node_masks, w->node_frame);
    struct model_snapshot *dropped = find_snapshot(w, volume->id, last);
    if (dropped && below(w, 4) == 0)
        drop_snapshot(w, dropped);
    if (change.named)
        w->snapshots[w->snapshot_count++] =
            (struct model_snapshot){volume->id, sequence, false, volume->head};
    volume->last = sequence;
    AUTO(edit) struct edit edit = {0};
    struct map_source lists = source(w);
    HOLDS(w,
          edit_begin(w->table, &edit, err) && edit_seal(&edit, &lists, &change, TAKE(freed), err),
          "%s", err->text);
    commit(w, &edit);
}

static bool is_pinned(const struct world *w, const struct model_snapshot *snapshot)
{
    for (size_t i = 0; i < w->volume_count; i++)
        for (size_t k = 0; k < w->volumes[i].origin_count; k++)
            if (w->volumes[i].origins[k].volume == snapshot->volume &&
                w->volumes[i].origins[k].sequence == snapshot->sequence)
                return true;
    return false;
}

static void drop_snapshot(struct world *w, struct model_snapshot *snapshot)
{
    struct err err = {0};
    AUTO(edit) struct edit edit = {0};
    struct map_source lists = source(w);
    if (snapshot->hidden)
        return;
    HOLDS(w,
          edit_begin(w->table, &edit, &err) &&
              edit_drop_snapshot(&edit, &lists, snapshot->volume, snapshot->sequence, &err),
          "%s", err.text);
    commit(w, &edit);
    if (is_pinned(w, snapshot))
        snapshot->hidden = true;
    else
        *snapshot = w->snapshots[--w->snapshot_count];
}

static void drop_volume(struct world *w, size_t nth)
{
    struct err err = {0};
    AUTO(edit) struct edit edit = {0};
    struct map_source lists = source(w);
    struct model_volume *volume = &w->volumes[nth];
    bool has_snapshots = last_snapshot(w, volume) != volume->start;
    bool done = edit_begin(w->table, &edit, &err) &&
                edit_drop_volume(&edit, &lists, volume->id, each_item, w, &err);
    HOLDS(w, done == !has_snapshots, "%s", err.text);
    if (!done) {
        HOLDS(w, err.code == ERR_PRECONDITION, "%s", err.text);
        return;
    }
    commit(w, &edit);
    *volume = w->volumes[--w->volume_count];
    for (size_t i = w->snapshot_count; i-- > 0;)
        if (w->snapshots[i].hidden && !is_pinned(w, &w->snapshots[i]))
            w->snapshots[i] = w->snapshots[--w->snapshot_count];
}

/* ---- the truth ---- */

struct reached {
    uint32_t pack;
    uint16_t masks[PLACES * 2];
};

static void reach(struct world *w, struct reached *reached, struct addr addr)
{
    const struct table_pack *pack = table_pack(w->table, addr.pack);
    HOLDS(w, pack && addr.frame < PLACES * 2, "pack %x is gone under somebody", addr.pack);
    reached[pack - w->table->packs].masks[addr.frame] |= (uint16_t)(1U << addr.item);
}

static void reach_content(struct world *w, struct reached *reached, const struct content *content)
{
    for (size_t k = 0; k < PLACES; k++)
        if (content->places[k].birth > 0)
            reach(w, reached, content->places[k].addr);
}

static void reach_deaths(struct world *w, struct reached *reached, const struct deaths *deaths)
{
    for (size_t i = 0; i < deaths->count; i++) {
        const struct segment *segment = &deaths->segments[i];
        reach(w, reached, segment->list->seal);
        for (size_t k = 0; k < segment->list->list.count; k++)
            if (segment->list->list.chunks[k].birth_min <= segment->cut)
                reach(w, reached, segment->list->list.chunks[k].addr);
    }
}

static void check_live(struct world *w)
{
    struct err err = {0};
    AUTO(mem)
    struct reached *reached = own_alloc((w->table->pack_count + 1) * sizeof *reached, &err);
    for (size_t i = 0; i < w->volume_count; i++)
        reach_content(w, reached, &w->volumes[i].head);
    for (size_t i = 0; i < w->snapshot_count; i++)
        reach_content(w, reached, &w->snapshots[i].content);
    for (size_t i = 0; i < w->table->volume_count; i++) {
        const struct table_volume *row = &w->table->volumes[i];
        reach_deaths(w, reached, &row->deaths);
        if (row->sealed)
            reach(w, reached, row->seal);
    }
    HOLDS(w, w->table->snapshot_count == w->snapshot_count, "%zu snapshots, %zu in the model",
          w->table->snapshot_count, w->snapshot_count);
    for (size_t i = 0; i < w->table->snapshot_count; i++) {
        const struct table_snapshot *row = &w->table->snapshots[i];
        const struct model_snapshot *truth = find_snapshot(w, row->row.volume, row->row.sequence);
        HOLDS(w, truth && truth->hidden == row->row.hidden, "another snapshot is there");
        reach_deaths(w, reached, &row->deaths);
        reach(w, reached, row->seal);
    }
    for (size_t i = 0; i < w->table->pack_count; i++)
        for (uint32_t f = 0; f < masks_frames(w->table->packs[i].live); f++)
            HOLDS(w, masks_get(w->table->packs[i].live, f) == reached[i].masks[f],
                  "frame %u of pack %x: live %x, reached %x", f, w->table->packs[i].number,
                  masks_get(w->table->packs[i].live, f), reached[i].masks[f]);
}

/* The table of the bytes is the table of the changes, also after a checkpoint. */
static void check_bytes(struct world *w)
{
    struct err err = {0};
    AUTO(bytes) struct bytes live = {0}, replayed = {0};
    HOLDS(w, table_encode(w->table, SEED, &live, &err), "%s", err.text);
    HOLDS(w, table_encode(w->replay, SEED, &replayed, &err), "%s", err.text);
    HOLDS(w, live.len == replayed.len && memcmp(live.data, replayed.data, live.len) == 0,
          "a replay makes another table");
    if (below(w, 8) > 0)
        return;
    struct table *read = table_decode(live.data, live.len, SEED, &err);
    HOLDS(w, read != NULL, "%s", err.text);
    table_unref(w->replay);
    w->replay = read;
}

static void step(struct world *w)
{
    struct err err = {0};
    unsigned what = below(w, 100);
    if (w->volume_count == 0 || what < 8)
        add_volume(w, &err);
    else if (what < 60 || w->snapshot_count == 0)
        seal(w, &w->volumes[below(w, (unsigned)w->volume_count)], &err);
    else if (what < 88)
        drop_snapshot(w, &w->snapshots[below(w, (unsigned)w->snapshot_count)]);
    else
        drop_volume(w, below(w, (unsigned)w->volume_count));
}

static void finish(struct world *w)
{
    for (unsigned round = 0; w->volume_count > 0 && round < 10000; round++) {
        w->step++;
        for (size_t i = w->snapshot_count; i-- > 0;)
            if (i < w->snapshot_count)
                drop_snapshot(w, &w->snapshots[i]);
        drop_volume(w, below(w, (unsigned)w->volume_count));
        check_live(w);
    }
    HOLDS(w, w->volume_count == 0, "volumes that cannot go");
    HOLDS(w, w->table->pack_count == 0, "%zu packs leaked", w->table->pack_count);
    HOLDS(w, w->table->snapshot_count == 0, "%zu snapshots leaked", w->table->snapshot_count);
}

static void live(unsigned seed, unsigned steps)
{
    struct err err = {0};
    AUTO(mem) struct world *w = own_alloc(sizeof *w, &err);
    w->seed = w->shown = seed;
    w->table = table_new(9, &err);
    w->replay = table_new(9, &err);
    for (w->step = 0; w->step < steps; w->step++) {
        step(w);
        check_live(w);
        check_bytes(w);
    }
    finish(w);
    table_unref(w->table);
    table_unref(w->replay);
    for (size_t i = 0; i < w->chunk_count; i++)
        bytes_done(&w->chunks[i]);
}

Test(table, frees_an_item_exactly_when_nothing_reaches_it)
{
    const char *given = getenv("EVERCOPY_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)clock_wall_us();
    unsigned worlds = getenv("EVERCOPY_LONG") ? 5000 : 8;
    for (unsigned i = 0; i < worlds; i++)
        live(seed + i, 250);
}
