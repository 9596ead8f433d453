/* Maps against a model that knows every record of every version, and what changes may cost. */
#include "tests/lib/map_memory.h"
#include "tests/lib/random.h"
#include <criterion/criterion.h>
#include <string.h>

#define NO_ERR(call)                                                                               \
    do {                                                                                           \
        struct err no_err = {0};                                                                   \
        struct err *err = &no_err;                                                                 \
        cr_assert(call, "%s: %s", #call, no_err.text);                                             \
    } while (0)

enum { RECORDS_SHIFT = FILE_MAX_SHIFT - RECORD_SHIFT, CELLS = 400, VERSIONS = 6 };

/* ---- the model: a version is its cells, everything else is holes ---- */

struct cell {
    uint64_t record, birth;
    enum place_kind kind;
    struct addr addr;
    struct hash hash;
    struct pattern pattern;
};
struct cells {
    struct cell *at;
    size_t count, capacity;
};
static void cells_done(struct cells *cells) { own_free(cells->at); }
OWN_DEFINE_INPLACE(cells, struct cells, cells_done);
struct version {
    struct cells cells;
    uint64_t size;
    struct root root;
};

static void push(struct cells *cells, const struct cell *cell)
{
    NO_ERR(own_grow((void **)&cells->at, &cells->capacity, cells->count, sizeof *cells->at, err));
    cells->at[cells->count++] = *cell;
}

/* SHA-256 over what FORMAT.md says, straight from the cells: no node, no code of maps. */
static struct hash naive_hash(const struct cell *cells, size_t count, uint64_t first, int level)
{
    static struct hash zeros[MAP_LEVELS + 1];
    static bool ready;
    uint8_t bytes[1 + NODE_FAN * HASH_BYTES];
    struct hash hash;
    if (!ready) {
        static const uint8_t record[RECORD_BYTES];
        hash_bytes(record, sizeof record, &zeros[0]);
        for (uint8_t k = 0; k < MAP_LEVELS; k++) {
            bytes[0] = k;
            for (size_t i = 0; i < NODE_FAN; i++)
                memcpy(bytes + 1 + i * HASH_BYTES, &zeros[k], HASH_BYTES);
            hash_bytes(bytes, sizeof bytes, &zeros[k + 1]);
        }
        ready = true;
    }
    if (count == 0)
        return zeros[level + 1];
    if (level < 0)
        return cells->hash;
    uint64_t covers = (uint64_t)1 << (8 * level);
    bytes[0] = (uint8_t)level;
    for (size_t i = 0; i < NODE_FAN; i++) {
        size_t n = 0;
        while (n < count && cells[n].record - first < covers)
            n++;
        hash = naive_hash(cells, n, first, level - 1);
        memcpy(bytes + 1 + i * HASH_BYTES, &hash, HASH_BYTES);
        cells += n;
        count -= n;
        first += covers;
    }
    hash_bytes(bytes, sizeof bytes, &hash);
    return hash;
}

/* ---- what a tree holds, by a reader of the test's own ---- */

struct thing {
    struct addr addr;
    uint64_t birth, record;
    int level;
};
struct things {
    struct thing *at;
    size_t count, capacity;
};
static void things_done(struct things *things) { own_free(things->at); }
OWN_DEFINE_INPLACE(things, struct things, things_done);

static void add_thing(struct things *things, struct thing thing)
{
    NO_ERR(
        own_grow((void **)&things->at, &things->capacity, things->count, sizeof *things->at, err));
    things->at[things->count++] = thing;
}

static void gather(struct map_memory *memory, struct thing thing, struct things *to)
{
    add_thing(to, thing);
    if (thing.level < 0)
        return;
    const struct bytes *bytes =
        &memory->packs[thing.addr.pack].nodes[thing.addr.frame * FRAME_ITEMS + thing.addr.item];
    AUTO(node) struct node node = {0};
    NO_ERR(node_decode(bytes->data, bytes->len, &node, err));
    cr_assert_eq(node.level, thing.level);
    for (size_t i = 0; i < NODE_FAN; i++) {
        const struct place *p = &node.places[i];
        uint64_t record = thing.record + ((uint64_t)i << (8 * thing.level));
        if (p->kind == PLACE_STORED)
            gather(memory,
                   (struct thing){{p->pack, p->frame, p->item}, p->birth, record, thing.level - 1},
                   to);
    }
}

static int by_addr(const void *a, const void *b)
{
    const struct addr *x = a, *y = b; /* the first member of both things and deaths */
    if (x->pack != y->pack)
        return x->pack < y->pack ? -1 : 1;
    if (x->frame != y->frame)
        return x->frame < y->frame ? -1 : 1;
    return x->item - y->item;
}

static void sort(void *at, size_t count, size_t size)
{
    if (count > 0)
        qsort(at, count, size, by_addr);
}

static void gather_root(struct map_memory *memory, const struct root *root, struct things *to)
{
    if (root->stored)
        gather(memory, (struct thing){root->addr, root->birth, 0, root->level}, to);
    sort(to->at, to->count, sizeof *to->at);
}

static bool holds(const struct things *things, struct addr addr)
{
    return things->count > 0 &&
           bsearch(&addr, things->at, things->count, sizeof *things->at, by_addr);
}

/* ---- a step: a base, changes, maybe cuts, a size ---- */

struct step {
    const struct version *base;
    struct cells changes;
    uint64_t cut;   /* UINT64_MAX: none; told before the change at or behind it */
    bool cut_first; /* told before any */
    bool refused;   /* a change lies behind the size */
    uint64_t size, birth, told_after;
};

static bool update_of(struct map_memory *memory, const struct step *step, struct root *ret,
                      struct err *err)
{
    struct map_source source = map_memory_source(memory);
    struct map_sink sink = map_memory_sink(memory);
    sink.told_after = step->told_after;
    AUTO(map_update)
    struct map_update *update =
        map_update_begin(&source, &sink, &step->base->root, step->birth, err);
    if (!update)
        return false;
    bool cut = step->cut == UINT64_MAX;
    if (step->cut_first && !cut) {
        if (!map_update_cut(update, step->cut, err))
            return false;
        cut = true;
    }
    for (size_t i = 0; i < step->changes.count; i++) {
        const struct cell *cell = &step->changes.at[i];
        struct map_change change = {cell->record, cell->kind, cell->addr, cell->hash,
                                    cell->pattern};
        if (!cut && cell->record >= step->cut) {
            if (!map_update_cut(update, step->cut, err))
                return false;
            cut = true;
        }
        if (!map_update_set(update, &change, err))
            return false;
    }
    if (!cut && !map_update_cut(update, step->cut, err))
        return false;
    return map_update_end(TAKE(update), step->size, ret, err);
}

/* What an update has written itself it must not ask for: it is not durable yet. */
static bool run_step(struct map_memory *memory, const struct step *step, struct root *ret,
                     struct err *err)
{
    memory->sealing = memory->pack_count - 2;
    bool done = update_of(memory, step, ret, err);
    memory->sealing = 0;
    return done;
}

/* The same on cells. */
static void model_step(const struct step *step, struct cells *ret)
{
    const struct cells *old = &step->base->cells, *new = &step->changes;
    uint64_t records = (step->size + RECORD_BYTES - 1) / RECORD_BYTES;
    for (size_t i = 0, k = 0; i < old->count || k < new->count;) {
        bool both = i < old->count && k < new->count && old->at[i].record == new->at[k].record;
        bool is_new = k < new->count && (i == old->count || new->at[k].record <= old->at[i].record);
        struct cell cell = is_new ? new->at[k++] : old->at[i++];
        i += both;
        if (is_new)
            cell.birth = step->birth;
        if (cell.kind != PLACE_HOLE && cell.record < records && (is_new || cell.record < step->cut))
            push(ret, &cell);
    }
}

static struct cell random_cell(struct rnd *rnd, struct map_memory *memory, uint64_t record)
{
    struct cell cell = {.record = record};
    uint64_t id = rnd_next(rnd);
    unsigned dice = (unsigned)rnd_below(rnd, 10);
    if (dice < 2)
        return cell;
    if (dice < 6) {
        cell.kind = PLACE_STORED;
        hash_bytes(&id, sizeof id, &cell.hash);
        NO_ERR(map_memory_record(memory, &cell.hash, &cell.addr, err));
        return cell;
    }
    uint8_t content[RECORD_BYTES] = {0};
    uint64_t variety = rnd_chance(rnd, 50) ? 3 : 100000;
    for (size_t i = 0; i < 1 + id % 4; i++)
        content[(id >> (13 * i)) % RECORD_BYTES] = (uint8_t)(1 + rnd_below(rnd, 255));
    if (variety == 3) {
        memset(content, 0, sizeof content);
        content[20] = (uint8_t)(1 + id % 3);
    }
    cell.kind = PLACE_PATTERN;
    cr_assert(pattern_of(content, &cell.pattern));
    hash_bytes(content, sizeof content, &cell.hash);
    return cell;
}

/* Few records near each other, or a file of terabytes with something here and there. */
static uint64_t random_span(struct rnd *rnd)
{
    static const uint64_t spans[] = {1, 16, 256, 257, 700, 65536, 65537, 200000, 1 << 24, 1 << 25};
    return rnd_chance(rnd, 15) ? (uint64_t)1 << RECORDS_SHIFT
                               : spans[rnd_below(rnd, sizeof spans / sizeof *spans)];
}

static void random_step(struct rnd *rnd, struct map_memory *memory, struct step *step)
{
    uint64_t records = (step->base->size + RECORD_BYTES - 1) / RECORD_BYTES;
    uint64_t span = rnd_chance(rnd, 60) && records > 0 ? records : random_span(rnd);
    uint64_t at = rnd_below(rnd, span) * rnd_below(rnd, 3) / 2;
    size_t count = rnd_chance(rnd, 10) ? 0 : 1 + rnd_below(rnd, 60);
    uint64_t gap = rnd_chance(rnd, 50) ? 1 + span / (count + 1) : 1 + rnd_below(rnd, 5);
    uint64_t above = (uint64_t)1 << RECORDS_SHIFT;
    for (size_t i = 0; i < count && at < above; i++, at += 1 + rnd_below(rnd, gap)) {
        struct cell cell = random_cell(rnd, memory, at);
        /* sometimes what is there already, set once more */
        for (size_t k = 0; rnd_chance(rnd, 10) && k < step->base->cells.count; k++)
            if (step->base->cells.at[k].record == at &&
                step->base->cells.at[k].kind == PLACE_PATTERN)
                cell = step->base->cells.at[k];
        push(&step->changes, &cell);
    }
    step->cut = rnd_chance(rnd, 20) ? rnd_below(rnd, span + 2) : UINT64_MAX;
    uint64_t least = step->changes.count ? step->changes.at[step->changes.count - 1].record + 1 : 0;
    step->size = step->base->size > least * RECORD_BYTES ? step->base->size : least * RECORD_BYTES;
    if (rnd_chance(rnd, 30))
        step->size = random_span(rnd) * RECORD_BYTES - rnd_below(rnd, RECORD_BYTES);
    if (rnd_chance(rnd, 3))
        step->size = 0;
    if (step->base->cells.count > CELLS)
        step->size = rnd_below(rnd, step->base->size + 1);
    step->refused = (step->size + RECORD_BYTES - 1) / RECORD_BYTES < least && rnd_chance(rnd, 10);
    if (!step->refused && step->size < least * RECORD_BYTES)
        step->size = least * RECORD_BYTES;
    step->cut_first = rnd_chance(rnd, 50);
}

/* ---- what must hold after a step ---- */

static void check_deaths(struct map_memory *memory, const struct step *step,
                         const struct things *old, const struct things *new)
{
    AUTO(things) struct things dead = {0};
    const struct map_memory_pack *nodes = &memory->packs[memory->pack_count - 1];
    for (size_t i = 0; i < old->count; i++)
        if (old->at[i].birth > step->told_after && !holds(new, old->at[i].addr))
            add_thing(&dead, old->at[i]);
    for (size_t i = 0; i < step->changes.count; i++)
        if (step->changes.at[i].kind == PLACE_STORED && !holds(new, step->changes.at[i].addr))
            add_thing(&dead, (struct thing){step->changes.at[i].addr, step->birth, 0, -1});
    for (size_t i = 0; i < nodes->count; i++) {
        struct addr addr = {(uint32_t)memory->pack_count - 1, (uint32_t)(i / FRAME_ITEMS),
                            (uint8_t)(i % FRAME_ITEMS)};
        if (!holds(new, addr))
            add_thing(&dead, (struct thing){addr, step->birth, 0, 0});
    }
    cr_assert_eq(memory->death_count, dead.count, "%zu told dead, %zu are", memory->death_count,
                 dead.count);
    sort(dead.at, dead.count, sizeof *dead.at);
    sort(memory->deaths, memory->death_count, sizeof *memory->deaths);
    for (size_t i = 0; i < dead.count; i++)
        cr_assert(by_addr(&dead.at[i], &memory->deaths[i]) == 0 &&
                      dead.at[i].birth == memory->deaths[i].birth,
                  "death %zu of %zu is not the one", i, dead.count);
}

struct window {
    const struct cells *cells;
    uint64_t next;
};

static bool visit(void *arg, uint64_t record, const struct place *place,
                  const struct pattern *pattern, struct err *err)
{
    struct window *window = arg;
    const struct cell *cell = NULL;
    for (size_t low = 0, high = window->cells->count; low < high && !cell;) {
        size_t middle = (low + high) / 2;
        uint64_t at = window->cells->at[middle].record;
        if (at == record)
            cell = &window->cells->at[middle];
        low = at < record ? middle + 1 : low;
        high = at < record ? high : middle;
    }
    if (record != window->next++ || place->kind != (cell ? cell->kind : PLACE_HOLE))
        return err_set(err, ERR_INTERNAL, "record %" PRIu64 " is of kind %d", record, place->kind);
    if (cell && cell->kind == PLACE_STORED &&
        (place->pack != cell->addr.pack || place->frame != cell->addr.frame ||
         place->item != cell->addr.item || place->birth != cell->birth))
        return err_set(err, ERR_INTERNAL, "record %" PRIu64 " is elsewhere", record);
    if (place->kind == PLACE_PATTERN ? !pattern || !pattern_equal(pattern, &cell->pattern)
                                     : pattern != NULL)
        return err_set(err, ERR_INTERNAL, "record %" PRIu64 " has another pattern", record);
    return true;
}

static void check_places(struct rnd *rnd, struct map_memory *memory, const struct version *version)
{
    struct map_source source = map_memory_source(memory);
    for (int i = 0; i < 5; i++) {
        uint64_t first = rnd_below(rnd, random_span(rnd));
        if (version->cells.count > 0 && i > 0)
            first = version->cells.at[rnd_below(rnd, version->cells.count)].record;
        uint64_t back = rnd_below(rnd, 300), count = rnd_below(rnd, 700);
        struct window window = {&version->cells, first > back ? first - back : 0};
        uint64_t end = window.next + count;
        NO_ERR(map_walk(&source, &version->root, window.next, count, visit, &window, err));
        cr_assert_eq(window.next, end);
    }
}

static bool note_item(void *arg, int level, uint64_t first_record, struct addr addr, uint64_t birth,
                      struct err *err)
{
    struct things *things = arg;
    (void)err;
    add_thing(things, (struct thing){addr, birth, first_record, level});
    return true;
}

static void check_items(struct map_memory *memory, const struct version *version,
                        const struct things *all, uint64_t after)
{
    AUTO(things) struct things found = {0};
    struct map_source source = map_memory_source(memory);
    size_t count = 0, nodes = 0;
    memory->nodes_read = 0;
    NO_ERR(map_items(&source, &version->root, after, note_item, &found, err));
    sort(found.at, found.count, sizeof *found.at);
    for (size_t i = 0; i < all->count; i++) {
        const struct thing *thing = &all->at[i];
        if (thing->birth <= after)
            continue;
        cr_assert_lt(count, found.count, "something young is not found");
        cr_assert(by_addr(thing, &found.at[count]) == 0 && thing->level == found.at[count].level &&
                  thing->record == found.at[count].record && thing->birth == found.at[count].birth);
        count++;
        nodes += thing->level >= 0;
    }
    cr_assert_eq(count, found.count, "something old is found");
    cr_assert_eq(memory->nodes_read, nodes, "something old was read");
}

static void check_version(struct rnd *rnd, struct map_memory *memory, const struct step *step,
                          const struct version *version)
{
    AUTO(things) struct things old = {0};
    AUTO(things) struct things new = {0};
    uint8_t level = map_level(version->size);
    cr_assert_eq(version->root.level, level);
    struct hash hash = naive_hash(version->cells.at, version->cells.count, 0, level);
    cr_assert(hash_equal(&hash, &version->root.hash), "the root has another hash");
    gather_root(memory, &step->base->root, &old);
    gather_root(memory, &version->root, &new);
    check_deaths(memory, step, &old, &new);
    check_places(rnd, memory, version);
    check_items(memory, version, &new, rnd_below(rnd, step->birth + 1));
    size_t stored = 0, records = 0;
    for (size_t i = 0; i < version->cells.count; i++)
        stored += version->cells.at[i].kind == PLACE_STORED;
    for (size_t i = 0; i < new.count; i++)
        records += new.at[i].level < 0;
    cr_assert_eq(stored, records);
}

/* A call of memory, source or sink fails: the update says so, and nothing is lost but its work. */
static void disturb_step(struct rnd *rnd, struct map_memory *memory, const struct step *step)
{
    struct root root;
    struct err err = {0};
    bool heap = rnd_chance(rnd, 50);
    if (heap)
        own_fault((long)(1 + rnd_below(rnd, 40)));
    else
        memory->fail = (long)(1 + rnd_below(rnd, 60));
    bool done = run_step(memory, step, &root, &err);
    own_fault(0);
    memory->fail = 0;
    if (!done && !step->refused)
        cr_assert(err.code == ERR_IO || err.code == ERR_NO_MEMORY, "%s", err.text);
    memory->death_count = 0;
}

static void run_world(struct rnd *rnd, unsigned steps)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct version versions[VERSIONS] = {0};
    for (uint64_t birth = 1; birth <= steps; birth++) {
        size_t from = rnd_below(rnd, VERSIONS), to = rnd_below(rnd, VERSIONS);
        struct step step = {.base = &versions[from], .birth = birth};
        AUTO(cells) struct cells changes = {0};
        struct version next = {0};
        NO_ERR(map_memory_generation(&memory, err));
        random_step(rnd, &memory, &step);
        changes = step.changes;
        step.told_after = rnd_chance(rnd, 20) ? rnd_below(rnd, birth) : 0;
        if (rnd_chance(rnd, 15)) {
            disturb_step(rnd, &memory, &step);
            NO_ERR(map_memory_generation(&memory, err));
        }
        memory.death_count = 0;
        if (step.refused) {
            struct err failure = {0};
            cr_assert_not(run_step(&memory, &step, &next.root, &failure));
            cr_assert_eq(failure.code, ERR_INVALID, "%s", failure.text);
            continue;
        }
        NO_ERR(run_step(&memory, &step, &next.root, err));
        next.size = step.size;
        model_step(&step, &next.cells);
        check_version(rnd, &memory, &step, &next);
        cells_done(&versions[to].cells);
        versions[to] = next;
    }
    for (size_t i = 0; i < VERSIONS; i++)
        cells_done(&versions[i].cells);
}

Test(map, every_version_says_where_its_records_are_and_each_death_is_told_once)
{
    struct rnd rnd = rnd_begin("test_map");
    for (int worlds = getenv("EVERCOPY_LONG") ? 400 : 1; worlds > 0; worlds--)
        run_world(&rnd, 250);
}

/* ---- costs, and what no random step reaches ---- */

/* A map of all records of [0, count), stored; birth 1. */
static struct root dense(struct map_memory *memory, uint64_t count)
{
    struct map_source source = map_memory_source(memory);
    struct map_sink sink = map_memory_sink(memory);
    struct map_update *update = NULL;
    struct root root;
    NO_ERR(map_memory_generation(memory, err));
    NO_ERR((update = map_update_begin(&source, &sink, NULL, 1, err)));
    for (uint64_t i = 0; i < count; i++) {
        struct map_change change = {.record = i, .kind = PLACE_STORED};
        change.hash.bytes[0] = (uint8_t)i;
        NO_ERR(map_memory_record(memory, &change.hash, &change.addr, err));
        NO_ERR(map_update_set(update, &change, err));
    }
    NO_ERR(map_update_end(update, count * RECORD_BYTES, &root, err));
    NO_ERR(map_memory_generation(memory, err));
    memory->nodes_read = memory->nodes_written = memory->hashes_read = memory->death_count = 0;
    return root;
}

static void set_stored(struct map_memory *memory, struct map_update *update, uint64_t record)
{
    struct map_change change = {.record = record, .kind = PLACE_STORED};
    change.hash.bytes[1] = 1;
    NO_ERR(map_memory_record(memory, &change.hash, &change.addr, err));
    NO_ERR(map_update_set(update, &change, err));
}

enum { MANY = 256 * 600 }; /* 1.2 GB: 600 leaves below 3 nodes below 1 */

Test(map, an_update_reads_and_writes_only_the_paths_of_what_it_changes)
{
    static const uint64_t changed[] = {0, 1, 255, 256, 70000, 70001, 140000};
    AUTO(map_memory) struct map_memory memory = {0};
    struct root base = dense(&memory, MANY), root;
    struct map_source source = map_memory_source(&memory);
    struct map_sink sink = map_memory_sink(&memory);
    struct map_update *update = NULL;
    NO_ERR((update = map_update_begin(&source, &sink, &base, 2, err)));
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        set_stored(&memory, update, changed[i]);
    NO_ERR(map_update_end(update, (uint64_t)MANY * RECORD_BYTES, &root, err));
    /* leaves 0, 1, 273, 546; the three above them; the top. The file's end is looked at besides. */
    cr_assert_eq(memory.nodes_written, 4 + 3 + 1);
    cr_assert_leq(memory.nodes_read, 4 + 3 + 1 + 1);
    cr_assert_eq(memory.hashes_read, 4 * 256 - 7);
    cr_assert_eq(memory.death_count, 7 + 8);
}

Test(map, an_update_of_nothing_keeps_the_root_and_writes_nothing)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct root base = dense(&memory, 1000), root;
    struct map_source source = map_memory_source(&memory);
    struct map_sink sink = map_memory_sink(&memory);
    struct map_update *update = NULL;
    struct map_change hole = {.record = 2000};
    NO_ERR((update = map_update_begin(&source, &sink, &base, 2, err)));
    NO_ERR(map_update_set(update, &hole, err));
    NO_ERR(map_update_end(update, 3000 * RECORD_BYTES, &root, err));
    cr_assert_eq(memory.nodes_written, 0);
    cr_assert_eq(memory.death_count, 0);
    cr_assert(by_addr(&root.addr, &base.addr) == 0 && root.birth == 1);
}

Test(map, a_cut_reads_what_dies_and_the_path_to_it)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct root base = dense(&memory, MANY), root;
    struct map_source source = map_memory_source(&memory);
    struct map_sink sink = map_memory_sink(&memory);
    struct map_update *update = NULL;
    uint64_t left = MANY - 5 * 256 - 100;
    NO_ERR((update = map_update_begin(&source, &sink, &base, 2, err)));
    NO_ERR(map_update_cut(update, left, err));
    NO_ERR(map_update_end(update, left * RECORD_BYTES, &root, err));
    cr_assert_eq(memory.nodes_read, 3 + 5);
    cr_assert_eq(memory.nodes_written, 3);
    cr_assert_eq(memory.death_count, 5 * 256 + 100 + 5 + 3);
}

Test(map, of_several_cuts_the_least_counts)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct root base = dense(&memory, 1000), root;
    struct map_source source = map_memory_source(&memory);
    struct map_sink sink = map_memory_sink(&memory);
    struct map_update *update = NULL;
    struct cells none = {0};
    struct window window = {&none, 100};
    NO_ERR((update = map_update_begin(&source, &sink, &base, 2, err)));
    NO_ERR(map_update_cut(update, 100, err));
    NO_ERR(map_update_cut(update, 500, err));
    NO_ERR(map_update_end(update, 1000 * RECORD_BYTES, &root, err));
    NO_ERR(map_walk(&source, &root, 100, 1000, visit, &window, err));
    cr_assert_eq(memory.death_count, 900 + 4 + 1);
}

Test(map, what_a_clone_inherits_dies_untold_and_unread)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct root base = dense(&memory, MANY), root;
    struct map_source source = map_memory_source(&memory);
    struct map_sink sink = map_memory_sink(&memory);
    struct map_update *update = NULL;
    sink.told_after = 1;
    NO_ERR((update = map_update_begin(&source, &sink, &base, 2, err)));
    NO_ERR(map_update_end(update, 0, &root, err));
    cr_assert_leq(memory.nodes_read, 3, "the path to the cut");
    cr_assert_eq(memory.death_count, 0);
    cr_assert_not(root.stored);
}

Test(map, a_leaf_may_see_more_patterns_come_than_it_can_hold)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct root root = {0};
    struct map_source source = map_memory_source(&memory);
    struct map_sink sink = map_memory_sink(&memory);
    AUTO(cells) struct cells cells = {0};
    for (uint8_t birth = 1; birth <= 2; birth++) {
        struct map_update *update = NULL;
        NO_ERR(map_memory_generation(&memory, err));
        NO_ERR((update = map_update_begin(&source, &sink, &root, birth, err)));
        cells.count = 0;
        for (uint64_t i = 0; i < NODE_FAN; i++) {
            uint8_t record[RECORD_BYTES] = {birth, (uint8_t)i};
            struct cell cell = {.record = i, .kind = PLACE_PATTERN};
            cr_assert(pattern_of(record, &cell.pattern));
            hash_bytes(record, sizeof record, &cell.hash);
            push(&cells, &cell);
            struct map_change change = {i, PLACE_PATTERN, {0}, cell.hash, cell.pattern};
            NO_ERR(map_update_set(update, &change, err));
        }
        NO_ERR(map_update_end(update, NODE_FAN * RECORD_BYTES, &root, err));
    }
    struct window window = {&cells, 0};
    NO_ERR(map_walk(&source, &root, 0, NODE_FAN + 9, visit, &window, err));
    struct hash hash = naive_hash(cells.at, cells.count, 0, 0);
    cr_assert(hash_equal(&hash, &root.hash));
}

Test(map, the_level_is_the_least_that_covers_the_size)
{
    static const struct {
        uint64_t size;
        uint8_t level;
    } levels[] = {{0, 0},
                  {1, 0},
                  {256 * RECORD_BYTES, 0},
                  {256 * RECORD_BYTES + 1, 1},
                  {(uint64_t)65536 * RECORD_BYTES, 1},
                  {(uint64_t)65536 * RECORD_BYTES + 1, 2},
                  {(uint64_t)1 << 40, 3},
                  {(uint64_t)1 << 45, 3},
                  {((uint64_t)1 << 45) + 1, 4},
                  {(uint64_t)1 << FILE_MAX_SHIFT, 4}};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        cr_expect_eq(map_level(levels[i].size), levels[i].level, "%" PRIu64, levels[i].size);
}

static void refused_update(struct map_memory *memory, const struct root *base, enum err_code code)
{
    struct map_source source = map_memory_source(memory);
    struct map_sink sink = map_memory_sink(memory);
    struct err failure = {0};
    struct root root;
    struct map_change change = {.record = 3, .kind = PLACE_STORED};
    AUTO(map_update)
    struct map_update *update = map_update_begin(&source, &sink, base, 5, &failure);
    bool done = update && map_update_set(update, &change, &failure) &&
                map_update_end(TAKE(update), 400 * RECORD_BYTES, &root, &failure);
    cr_expect_not(done);
    cr_expect_eq(failure.code, code, "%s", failure.text);
}

Test(map, a_tree_that_is_not_what_its_parent_says_is_refused)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct root base = dense(&memory, 1000), bad;
    bad = base;
    bad.level = 0;
    refused_update(&memory, &bad, ERR_CORRUPT);
    bad.level = MAP_LEVELS;
    refused_update(&memory, &bad, ERR_CORRUPT);
    bad = base;
    bad.hash.bytes[3] ^= 1;
    refused_update(&memory, &bad, ERR_CORRUPT);
    bad = base;
    bad.addr.item = 15;
    refused_update(&memory, &bad, ERR_CORRUPT);
    bad = base;
    bad.birth = 0; /* its content is younger */
    refused_update(&memory, &bad, ERR_CORRUPT);
    bad.birth = 6;
    refused_update(&memory, &bad, ERR_INVALID);
}

Test(map, a_node_that_two_paths_lead_to_is_refused_so_every_walk_ends)
{
    AUTO(map_memory) struct map_memory memory = {0};
    AUTO(bytes) struct bytes bytes = {0};
    AUTO(things) struct things found = {0};
    struct root root = dense(&memory, 200);
    struct map_source source = map_memory_source(&memory);
    struct node knot = {.level = 1};
    struct cells none = {0};
    struct window window = {&none, 300};
    struct err failure = {0};
    for (size_t i = 0; i < NODE_FAN; i++)
        knot.places[i] = (struct place){PLACE_STORED,    0,         root.addr.item, root.addr.pack,
                                        root.addr.frame, root.birth};
    NO_ERR(node_encode(&knot, &bytes, err));
    NO_ERR(map_memory_put(&memory, &bytes, &root.addr, err));
    root.level = 1;
    cr_assert_not(map_items(&source, &root, 0, note_item, &found, &failure));
    cr_assert_eq(failure.code, ERR_CORRUPT);
    cr_assert_leq(found.count, 1 + 1 + 200 + 1);
    failure = (struct err){0};
    cr_assert_not(map_walk(&source, &root, 300, 1, visit, &window, &failure));
    cr_assert_eq(failure.code, ERR_CORRUPT);
    cr_assert(strstr(failure.text, "elsewhere"), "%s", failure.text);
}

Test(map, changes_out_of_order_or_beyond_the_limits_are_refused)
{
    static const struct {
        const char *what;
        struct map_change change;
        enum err_code code;
    } wrong[] = {
        {"the same record", {.record = 9, .kind = PLACE_STORED}, ERR_INVALID},
        {"one before", {.record = 8}, ERR_INVALID},
        {"one too far", {.record = (uint64_t)1 << RECORDS_SHIFT}, ERR_LIMIT},
        {"item 16", {.record = 10, .kind = PLACE_STORED, .addr = {1, 1, 16}}, ERR_INVALID},
        {"frame 2^20",
         {.record = 10, .kind = PLACE_STORED, .addr = {1, FRAMES_MAX, 0}},
         ERR_INVALID},
    };
    AUTO(map_memory) struct map_memory memory = {0};
    struct map_source source = map_memory_source(&memory);
    struct map_sink sink = map_memory_sink(&memory);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        AUTO(map_update) struct map_update *update = NULL;
        struct map_change first = {.record = 9};
        struct err failure = {0};
        NO_ERR((update = map_update_begin(&source, &sink, NULL, 1, err)));
        NO_ERR(map_update_set(update, &first, err));
        cr_expect_not(map_update_set(update, &wrong[i].change, &failure), "%s", wrong[i].what);
        cr_expect_eq(failure.code, wrong[i].code, "%s: %s", wrong[i].what, failure.text);
    }
    struct err failure = {0};
    struct map_update *update = NULL;
    struct root root;
    NO_ERR((update = map_update_begin(&source, &sink, NULL, 1, err)));
    cr_expect_not(map_update_end(update, ((uint64_t)1 << FILE_MAX_SHIFT) + 1, &root, &failure));
    cr_expect_eq(failure.code, ERR_LIMIT);
}
