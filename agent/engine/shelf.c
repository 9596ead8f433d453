/* The shelf: outlooks kept between calls, dropped the moment a row they were read from is written.
 */
#include "agent/engine/shelf.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <string.h>

enum { SLOTS_FIRST = 64 };

/* An outlook with the live survey, or without. */
struct slot {
    struct outlook *outlook; /* NULL: none, or stale */
    bool can_compose;
};

struct entry {
    char name[64];
    uint64_t changes; /* writes to its snapshots' rows since we listen */
    uint64_t used, used_ms;
    struct look **looks; /* of snapshots whose rows did not change */
    size_t look_count, look_capacity;
    struct slot slots[2];
    size_t bytes;
    bool has_window, has_standing; /* these parts of the summary stand */
    uint64_t window_live;          /* the survey it was made with */
    bool window_compose;
    size_t base; /* for the standing; SIZE_MAX: none */
    struct shelf_summary summary;
};

struct shelf {
    struct catalog *catalog;
    struct entry **slots; /* open addressing, a power of two */
    size_t slot_count, entry_count;
    size_t bytes, bytes_max;
    uint64_t clock; /* of uses */
    uint64_t seed;  /* so that changes of two processes do not look alike */
    struct shelf_figures figures;
};

static size_t hash_of(const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
    return (size_t)(hash ^ hash >> 32);
}

static struct entry **place_of(struct entry **slots, size_t count, const char *name)
{
    size_t at = hash_of(name) & (count - 1);
    while (slots[at] && !str_equal(slots[at]->name, name))
        at = (at + 1) & (count - 1);
    return &slots[at];
}

static struct entry *find(struct shelf *shelf, const char *name)
{
    return *place_of(shelf->slots, shelf->slot_count, name);
}

/* ---- dropping ---- */

static void take_bytes(struct shelf *shelf, struct entry *e, size_t bytes)
{
    e->bytes -= bytes;
    shelf->bytes -= bytes;
}

static void drop_outlooks(struct shelf *shelf, struct entry *e)
{
    for (size_t i = 0; i < 2; i++)
        if (e->slots[i].outlook) {
            take_bytes(shelf, e, e->slots[i].outlook->bytes);
            shelf->figures.outlooks--;
            outlook_free(TAKE(e->slots[i].outlook));
        }
}

static void drop_look(struct shelf *shelf, struct entry *e, size_t i)
{
    take_bytes(shelf, e, e->looks[i]->bytes);
    look_unref(e->looks[i]);
    e->looks[i] = e->looks[--e->look_count];
}

/* Outlooks and looks; the summary stays as it is. */
static void drop_whole(struct shelf *shelf, struct entry *e)
{
    drop_outlooks(shelf, e);
    while (e->look_count)
        drop_look(shelf, e, e->look_count - 1);
}

static void forget(struct shelf *shelf, struct entry *e)
{
    drop_whole(shelf, e);
    e->changes++;
    e->has_window = e->has_standing = false;
}

static void forget_snapshot(struct shelf *shelf, struct entry *e, const char *snapshot)
{
    drop_outlooks(shelf, e);
    e->changes++;
    e->has_window = false;
    for (size_t i = e->look_count; i-- > 0;)
        if (str_equal(e->looks[i]->name, snapshot))
            drop_look(shelf, e, i);
}

/* Called inside the statement that writes. */
static void on_change(void *arg, const char *database, const char *snapshot)
{
    struct shelf *shelf = arg;
    if (!database) {
        for (size_t i = 0; i < shelf->slot_count; i++)
            if (shelf->slots[i])
                forget(shelf, shelf->slots[i]);
        return;
    }
    struct entry *e = find(shelf, database);
    if (!e)
        return;
    e->has_standing = false;
    if (snapshot)
        forget_snapshot(shelf, e, snapshot);
}

/* The longest unused go first; `current` only when asked for. */
static void trim(struct shelf *shelf, const struct entry *current)
{
    while (shelf->bytes > shelf->bytes_max) {
        struct entry *oldest = NULL;
        for (size_t i = 0; i < shelf->slot_count; i++) {
            struct entry *e = shelf->slots[i];
            if (e && e != current && e->bytes && (!oldest || e->used < oldest->used))
                oldest = e;
        }
        if (!oldest)
            return;
        drop_whole(shelf, oldest);
    }
}

bool shelf_rest(struct shelf *shelf, uint64_t idle_ms)
{
    uint64_t now_ms = clock_mono_ms();
    size_t before = shelf->bytes;
    for (size_t i = 0; shelf->bytes && i < shelf->slot_count; i++)
        if (shelf->slots[i] && shelf->slots[i]->bytes &&
            now_ms - shelf->slots[i]->used_ms >= idle_ms)
            drop_whole(shelf, shelf->slots[i]);
    return shelf->bytes < before;
}

/* ---- entries ---- */

struct shelf *shelf_new(size_t bytes_max, struct err *err)
{
    AUTO(shelf) struct shelf *shelf = own_alloc(sizeof *shelf, err);
    if (!shelf)
        return NULL;
    shelf->bytes_max = bytes_max;
    shelf->slots = own_alloc(SLOTS_FIRST * sizeof(void *), err);
    if (!shelf->slots)
        return NULL;
    shelf->slot_count = SLOTS_FIRST;
    clock_random(&shelf->seed, sizeof shelf->seed);
    shelf->seed >>= 8; /* room to count, and a number JSON can hold */
    return TAKE(shelf);
}

void shelf_free(struct shelf *shelf)
{
    if (!shelf)
        return;
    for (size_t i = 0; i < shelf->slot_count; i++) {
        if (!shelf->slots[i])
            continue;
        drop_whole(shelf, shelf->slots[i]);
        own_free(shelf->slots[i]->looks);
        own_free(shelf->slots[i]);
    }
    own_free(shelf->slots);
    own_free(shelf);
}

void shelf_watch(struct shelf *shelf, struct catalog *catalog)
{
    shelf->catalog = catalog;
    catalog_watch(catalog, on_change, shelf);
}

static bool grow(struct shelf *shelf, struct err *err)
{
    size_t count = shelf->slot_count * 2;
    struct entry **slots = own_alloc(count * sizeof(void *), err);
    if (!slots)
        return false;
    for (size_t i = 0; i < shelf->slot_count; i++)
        if (shelf->slots[i])
            *place_of(slots, count, shelf->slots[i]->name) = shelf->slots[i];
    own_free(shelf->slots);
    shelf->slots = slots;
    shelf->slot_count = count;
    return true;
}

/* The entry of a database, made when it is new; what others wrote is forgotten first. */
static struct entry *entry_of(struct shelf *shelf, const char *name, struct err *err)
{
    if (!catalog_watch_others(shelf->catalog, err))
        return NULL;
    struct entry *e = find(shelf, name);
    if (e) {
        e->used = ++shelf->clock;
        e->used_ms = clock_mono_ms();
        return e;
    }
    if (shelf->entry_count * 2 >= shelf->slot_count && !grow(shelf, err))
        return NULL;
    e = own_alloc(sizeof *e, err);
    if (!e)
        return NULL;
    IGNORE(!str_copy(e->name, sizeof e->name, name)); /* a configured name fits */
    e->used = ++shelf->clock;
    e->used_ms = clock_mono_ms();
    *place_of(shelf->slots, shelf->slot_count, e->name) = e;
    shelf->entry_count++;
    return e;
}

/* ---- outlooks ---- */

struct finding {
    struct shelf *shelf;
    struct entry *entry;
};

static struct look *find_look(void *arg, const char *snapshot)
{
    const struct finding *f = arg;
    for (size_t i = 0; i < f->entry->look_count; i++)
        if (str_equal(f->entry->looks[i]->name, snapshot))
            return f->entry->looks[i];
    return NULL;
}

/* Not being able to keep it is no error. */
static void keep_look(void *arg, struct look *look)
{
    const struct finding *f = arg;
    struct entry *e = f->entry;
    struct err err = {0};
    f->shelf->figures.parses++;
    if (find_look(arg, look->name) ||
        !own_grow((void **)&e->looks, &e->look_capacity, e->look_count, sizeof(void *), &err))
        return;
    e->looks[e->look_count++] = look_ref(look);
    e->bytes += look->bytes;
    f->shelf->bytes += look->bytes;
}

static struct slot *slot_for(struct entry *e, const struct survey_kept *live)
{
    return &e->slots[live != NULL];
}

static bool slot_stands(const struct slot *slot, const struct survey_kept *live, bool can_compose)
{
    return slot->outlook && slot->outlook->live == live && slot->can_compose == can_compose;
}

static void clear_slot(struct shelf *shelf, struct entry *e, struct slot *slot)
{
    if (!slot->outlook)
        return;
    take_bytes(shelf, e, slot->outlook->bytes);
    shelf->figures.outlooks--;
    outlook_free(TAKE(slot->outlook));
}

static struct outlook *get(struct shelf *shelf, struct entry *e, const struct world *world,
                           const struct config_served *db, struct survey_kept *live,
                           struct err *err)
{
    bool can_compose = world_can_compose(world, db);
    struct slot *slot = slot_for(e, live);
    if (slot_stands(slot, live, can_compose)) {
        shelf->figures.hits++;
        return outlook_ref(slot->outlook);
    }
    clear_slot(shelf, e, slot);
    struct finding finding = {shelf, e};
    struct outlook_source source = {find_look, keep_look, &finding};
    struct outlook *o = outlook_load(shelf->catalog, world, db, live, &source, err);
    if (!o)
        return NULL;
    shelf->figures.loads++;
    shelf->figures.outlooks++;
    *slot = (struct slot){outlook_ref(o), can_compose};
    e->bytes += o->bytes;
    shelf->bytes += o->bytes;
    return o;
}

struct outlook *shelf_outlook(struct shelf *shelf, const struct world *world,
                              const struct config_served *db, struct survey_kept *live,
                              struct err *err)
{
    struct entry *e = entry_of(shelf, db->name, err);
    struct outlook *o = e ? get(shelf, e, world, db, live, err) : NULL;
    trim(shelf, e);
    trim(shelf, NULL); /* one that is larger than the whole shelf is not kept */
    return o;
}

/* ---- summaries ---- */

static void sum_up_gaps(const struct plan *plan, struct shelf_summary *s)
{
    size_t count;
    const struct plan_gap *gaps = plan_gaps(plan, &count);
    for (size_t i = 0; i < count; i++) {
        if (gaps[i].closed)
            continue;
        s->gaps++;
        IGNORE(!str_copy(s->gap, sizeof s->gap, gaps[i].why));
    }
}

static void sum_up(const struct outlook *o, struct entry *e)
{
    struct shelf_summary *s = &e->summary;
    struct standing standing = s->standing;
    uint32_t dbid = s->dbid;
    size_t count;
    const struct plan_interval *intervals = plan_intervals(o->plan, &count);
    *s = (struct shelf_summary){
        .standing = standing, .dbid = dbid, .snapshots = (uint32_t)o->snapshot_count};
    s->has_window = count != 0;
    if (count) {
        s->recoverable_to = intervals[count - 1].last;
        s->recoverable_to_us = intervals[count - 1].last_us;
        s->oldest.n = intervals[0].first.n + 1;
        s->oldest_us = intervals[0].first_us;
    }
    sum_up_gaps(o->plan, s);
    const struct facts *facts = outlook_facts(o);
    if (facts) {
        IGNORE(!str_copy(s->zone_name, sizeof s->zone_name, facts->zone_name));
        s->offset_min =
            facts->moment_count ? facts->moments[facts->moment_count - 1].offset_min : 0;
    }
    if (o->snapshot_count) {
        const struct plan_source *newest = &o->sources[o->snapshot_count - 1];
        IGNORE(!str_copy(s->newest, sizeof s->newest, newest->name)); /* of a row: it fits */
        IGNORE(!plan_doubt(newest, s->doubt));
    }
    e->base = plan_newest_base(o->plan);
    if (e->base == SIZE_MAX)
        return;
    s->arrived_to = plan_base(o->plan, e->base)->latest_arrived;
    s->arrived_to_us = plan_base(o->plan, e->base)->latest_arrived_us;
    IGNORE(!str_copy(s->base, sizeof s->base, o->rows[e->base].name));
    s->base_us = o->rows[e->base].created_us;
    s->thread_count = plan_threads(o->plan, e->base, s->threads, SHELF_THREADS_MAX);
}

static bool window_stands(const struct entry *e, const struct world *world,
                          const struct config_served *db, const struct survey_kept *live)
{
    return e->has_window && e->window_live == survey_kept_id(live) &&
           e->window_compose == world_can_compose(world, db);
}

static bool renew_window(struct shelf *shelf, struct entry *e, const struct world *world,
                         const struct config_served *db, struct survey_kept *live, struct err *err)
{
    AUTO(outlook) struct outlook *o = get(shelf, e, world, db, live, err);
    if (!o)
        return false;
    sum_up(o, e);
    e->window_live = survey_kept_id(live);
    e->window_compose = world_can_compose(world, db);
    e->has_window = true;
    e->has_standing = false; /* it speaks of the base */
    return true;
}

static bool renew_standing(struct shelf *shelf, struct entry *e, const struct config_served *db,
                           struct err *err)
{
    struct catalog_database row;
    struct err why = {0};
    bool known = catalog_database_get(shelf->catalog, e->name, &row, &why);
    if (!known && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    e->summary.dbid = known ? row.dbid : 0;
    if (!backup_standing(shelf->catalog, e->base, e->name, &e->summary.standing, err))
        return false;
    backup_doubt(db->volume, e->summary.newest, e->summary.doubt, &e->summary.standing);
    e->has_standing = true;
    return true;
}

const struct shelf_summary *shelf_summary(struct shelf *shelf, const struct world *world,
                                          const struct config_served *db, struct survey_kept *live,
                                          struct err *err)
{
    struct entry *e = entry_of(shelf, db->name, err);
    if (!e)
        return NULL;
    bool stood = window_stands(e, world, db, live);
    bool ok = stood || renew_window(shelf, e, world, db, live, err);
    ok = ok && (e->has_standing || renew_standing(shelf, e, db, err));
    shelf->figures.hits += stood;
    trim(shelf, e);
    trim(shelf, NULL);
    return ok ? &e->summary : NULL;
}

/* ---- parsing elsewhere ---- */

void shelf_order_done(struct shelf_order *order)
{
    own_free(order->manifest);
    own_free(order->facts);
    look_unref(order->look);
    *order = (struct shelf_order){0};
}

static bool fill_order(struct shelf *shelf, struct entry *e, struct shelf_order *order,
                       struct err *err)
{
    size_t count;
    struct finding finding = {shelf, e};
    AUTO(mem)
    struct catalog_snapshot *rows = catalog_snapshot_list(shelf->catalog, e->name, &count, err);
    for (size_t i = 0; rows && i < count; i++) {
        if (find_look(&finding, rows[i].name))
            continue;
        if (!order->left++)
            IGNORE(!str_copy(order->snapshot, sizeof order->snapshot, rows[i].name));
    }
    IGNORE(!str_copy(order->database, sizeof order->database, e->name));
    order->changes = e->changes;
    return rows && order->left &&
           catalog_snapshot_texts(shelf->catalog, e->name, order->snapshot, &order->manifest,
                                  &order->facts, err);
}

bool shelf_next(struct shelf *shelf, const struct world *world, const struct config_served *db,
                struct survey_kept *live, bool summary_only, struct shelf_order *order,
                struct err *err)
{
    struct entry *e = entry_of(shelf, db->name, err);
    shelf_order_done(order);
    if (!e || (summary_only && window_stands(e, world, db, live)) ||
        slot_stands(slot_for(e, live), live, world_can_compose(world, db)))
        return false;
    return fill_order(shelf, e, order, err);
}

void shelf_order_run(struct shelf_order *order)
{
    order->look = look_new(order->snapshot, order->manifest, order->facts, &order->err);
}

void shelf_fill(struct shelf *shelf, struct shelf_order *order)
{
    struct entry *e = find(shelf, order->database);
    if (e && order->look && e->changes == order->changes) {
        struct finding finding = {shelf, e};
        keep_look(&finding, order->look);
        trim(shelf, e);
    }
    shelf_order_done(order);
}

bool shelf_changes(struct shelf *shelf, const char *database, uint64_t *ret_changes,
                   struct err *err)
{
    const struct entry *e = entry_of(shelf, database, err);
    if (e)
        *ret_changes = e->changes + shelf->seed;
    return e != NULL;
}

struct shelf_figures shelf_figures(const struct shelf *shelf)
{
    struct shelf_figures figures = shelf->figures;
    figures.databases = shelf->entry_count;
    figures.bytes = shelf->bytes;
    return figures;
}
