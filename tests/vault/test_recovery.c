/* What a family does when calls fail, outcomes are unknown, another box takes over, room ends or
 * objects are damaged: nothing acknowledged is lost, nothing is left behind. */
#include "tests/vault/vault_world.h"

TestSuite(recovery);

static unsigned first_seed(void)
{
    const char *given = getenv("EVERCOPY_SEED");
    return given ? (unsigned)atoi(given) : (unsigned)clock_wall_us();
}

static void write_some(struct vw *w, size_t volume, unsigned per_mille, bool named)
{
    struct err err = {0};
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    *next = w->volumes[volume].now;
    for (size_t i = 0; i < VW_FILES; i++)
        next->sizes[i] = next->sizes[i] ? next->sizes[i] : 40 + 30 * i;
    for (size_t i = 0; i < VW_FILES; i++)
        for (uint64_t r = 0; r < next->sizes[i]; r++)
            if (vw_below(w, 1000) < per_mille)
                next->records[i][r] = ++w->next_content;
    VW_OK(vw_seal(w, &w->volumes[volume], next, named, &err));
}

/* A landing with three snapshots and a clone that was written to. */
static struct vw *small_world(unsigned seed)
{
    struct err err = {0};
    struct vw *w = own_alloc(sizeof *w, &err);
    VW_OK(w);
    vw_begin(w, seed);
    VW_OK(vw_add_landing(w, &err));
    write_some(w, 0, 1000, true);
    write_some(w, 0, 300, true);
    write_some(w, 0, 300, true);
    VW_OK(vw_add_clone(w, &w->snapshots[1], &err));
    write_some(w, 1, 300, false);
    return w;
}

static void free_world(struct vw *w)
{
    vw_end(w);
    own_free(w);
}

/* The same family on a copy of the objects. */
static struct vw *copy_world(struct vw *from)
{
    struct err err = {0};
    struct vw *w = own_alloc(sizeof *w, &err);
    VW_OK(w);
    *w = *from;
    w->io = memory_io_after(from->memory, memory_io_changes(from->memory), &w->memory, &err);
    VW_OK(w->io);
    VW_OK(vw_try_open(w, false, &err));
    return w;
}

static uint64_t pack_objects(struct vw *w, uint64_t *ret_bytes)
{
    struct err err = {0};
    AUTO(io_list) struct io_list list = {0};
    VW_OK(io_list(w->io, "f/0000000000000005/pack", &list, &err));
    *ret_bytes = 0;
    for (size_t i = 0; i < list.count; i++)
        *ret_bytes += list.entries[i].bytes;
    return list.count;
}

/* No object without a row, no row without an object. */
static void check_clean(struct vw *w)
{
    struct err err = {0};
    struct family_stat stat;
    uint64_t bytes;
    VW_OK(family_stat(w->family, &stat, &err));
    cr_assert_eq(pack_objects(w, &bytes), stat.pack_count, "packs without rows");
    vw_check(w);
}

/* ---- the fault loop ---- */

struct act {
    const char *name;
    /* Does it in the world and its model; an error that says it was done before counts as done. */
    bool (*run)(struct vw *w, struct err *err);
};

static void adopt_seal(struct vw *w, struct vw_volume *volume, const struct vw_content *next)
{
    struct err err = {0};
    size_t count;
    AUTO(mem) struct volume_row *rows = family_volumes(w->family, &count, &err);
    VW_OK(rows);
    for (size_t i = 0; i < count; i++)
        if (rows[i].id == volume->id)
            volume->table = rows[i].table;
    volume->now = *next;
    w->snapshots[w->snapshot_count++] = (struct vw_snapshot){volume->id, w->sequence, false, *next};
}

static bool act_seal(struct vw *w, struct err *err)
{
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, err);
    struct vw_volume *volume = &w->volumes[0];
    *next = volume->now;
    for (uint64_t r = 0; r < next->sizes[0]; r += 3)
        next->records[0][r] = 900000 + (uint32_t)r;
    next->sizes[1] = 0;
    memset(next->records[1], 0, sizeof next->records[1]);
    if (vw_seal(w, volume, next, true, err))
        return true;
    if (err->code == ERR_EXISTS && strstr(err->text, "sealed already")) {
        adopt_seal(w, volume, next);
        return true;
    }
    w->sequence--; /* the same layer again */
    return false;
}

static bool act_drop(struct vw *w, struct err *err)
{
    struct vw_snapshot *snapshot = &w->snapshots[0];
    if (vw_drop_snapshot(w, snapshot, err))
        return true;
    if (err->code != ERR_NOT_FOUND)
        return false;
    *snapshot = w->snapshots[--w->snapshot_count];
    return true;
}

static bool act_drop_clone(struct vw *w, struct err *err)
{
    if (vw_drop_volume(w, &w->volumes[1], err))
        return true;
    if (err->code != ERR_NOT_FOUND)
        return false;
    w->volume_count--;
    return true;
}

static bool act_add_clone(struct vw *w, struct err *err)
{
    w->sequence = 5000; /* the same clone again */
    if (vw_add_clone(w, &w->snapshots[0], err))
        return true;
    w->volume_count += err->code == ERR_EXISTS;
    return err->code == ERR_EXISTS;
}

static bool act_thin(struct vw *w, struct err *err)
{
    uint64_t freed;
    return family_thin(w->family, NULL, NULL, &freed, err);
}

static bool act_note(struct vw *w, struct err *err)
{
    return family_note_put(w->family, 77, "hold=yes", err);
}

static const struct act acts[] = {
    {"seal", act_seal},
    {"drop a snapshot", act_drop},
    {"drop a clone", act_drop_clone},
    {"add a clone", act_add_clone},
    {"thin", act_thin},
    {"note", act_note},
};

static void fault_round(struct vw *base, const struct act *act, long nth, enum err_code code,
                        bool after, bool reopen, bool *ret_hit)
{
    struct err err = {0};
    struct vw *w = copy_world(base);
    if (getenv("EVERCOPY_LONG")) { /* the last line says where a long run broke */
        printf("# %s, fault %ld %s, %s%s\n", act->name, nth, after ? "after" : "before",
               err_code_name(code), reopen ? ", reopened" : "");
        fflush(stdout);
    }
    IGNORE(io_fault(nth, code, after) < 0);
    bool done = act->run(w, &err);
    *ret_hit = io_fault(0, ERR_IO, false) >= nth;
    cr_assert(done || *ret_hit, "%s: %s", act->name, err.text);
    if (reopen) {
        vw_close(w);
        err_clear(&err);
        VW_OK(vw_try_open(w, false, &err));
    }
    if (!done) {
        err_clear(&err);
        cr_assert(act->run(w, &err), "%s, fault %ld %s %s, again: %s", act->name, nth,
                  after ? "after" : "before", err_code_name(code), err.text);
    }
    vw_check(w);
    vw_close(w);
    err_clear(&err);
    VW_OK(vw_try_open(w, false, &err));
    check_clean(w);
    free_world(w);
}

Test(recovery, a_call_that_fails_loses_nothing_and_leaves_nothing)
{
    static const enum err_code codes[] = {ERR_UNAVAILABLE, ERR_IO, ERR_NO_SPACE, ERR_TIMEOUT};
    unsigned seed = first_seed(), step = getenv("EVERCOPY_LONG") ? 1 : 17;
    printf("seed %u\n", seed);
    fflush(stdout);
    struct vw *base = small_world(seed);
    memory_io_keep_changes(base->memory);
    for (size_t a = 0; a < sizeof acts / sizeof *acts; a++) {
        struct err err = {0};
        bool hit = true;
        if (acts[a].run == act_thin) /* there must be something to thin */
            VW_OK(act_drop(base, &err));
        for (long nth = 1 + (long)vw_below(base, step); hit; nth += step)
            for (int after = 0; after < 2 && hit; after++)
                fault_round(base, &acts[a], nth, codes[vw_below(base, 4)], after, vw_below(base, 2),
                            &hit);
    }
    free_world(base);
}

/* ---- commits of which nobody knows ---- */

struct blocker {
    const char *part; /* of the name */
    enum memory_op op;
    int skip, count;
};

static bool block(void *arg, const struct memory_call *call, struct err *err)
{
    struct blocker *b = arg;
    if (call->op != b->op || !strstr(call->name, b->part) || b->skip-- > 0 || b->count-- <= 0)
        return true;
    return err_set(err, ERR_UNAVAILABLE, "the line is cut");
}

Test(recovery, thinning_brings_back_what_is_dead_and_loses_nothing)
{
    struct err err = {0};
    struct vw *w = small_world(12);
    uint64_t freed = 0, before, after;
    struct family_stat stat;
    VW_OK(act_drop(w, &err));
    pack_objects(w, &before);
    VW_OK(family_thin(w->family, NULL, NULL, &freed, &err));
    pack_objects(w, &after);
    cr_assert_gt(freed, 0);
    cr_assert_eq(before - after, freed);
    VW_OK(family_stat(w->family, &stat, &err));
    cr_assert_lt(stat.dead_items * 3, stat.live_items + 1, "more than a quarter is dead");
    check_clean(w);
    free_world(w);
}

struct overtaken {
    struct vw *w;
    bool done;
};

/* A seal's commit frees the rest of a pack when its thinning is about to read it. */
static bool overtake(void *arg, const struct memory_call *call, struct err *err)
{
    struct overtaken *o = arg;
    (void)err;
    if (o->done || call->op != MEMORY_READ || !strstr(call->name, "/pack/"))
        return true;
    o->done = true;
    write_some(o->w, 0, 1000, false);
    return true;
}

Test(recovery, a_pack_that_goes_while_it_is_thinned_needs_no_thinning)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    struct overtaken overtaken = {w, false};
    uint64_t freed = 0;
    vw_begin(w, 12);
    VW_OK(vw_add_landing(w, &err));
    write_some(w, 0, 1000, false);
    write_some(w, 0, 500, false);
    memory_io_hook(w->memory, overtake, &overtaken);
    VW_OK(family_thin(w->family, NULL, NULL, &freed, &err));
    cr_assert(overtaken.done, "no pack was to be thinned");
    check_clean(w);
    vw_end(w);
}

Test(recovery, a_commit_that_never_arrived_is_settled_before_the_next)
{
    struct err err = {0};
    struct vw *w = small_world(3);
    struct blocker cut = {"/commit/", MEMORY_PUT, 0,
                          3}; /* twice the commit, and the one to settle */
    uint64_t before, bytes, packs = pack_objects(w, &before);
    memory_io_hook(w->memory, block, &cut);
    cr_assert_not(act_seal(w, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
    cr_assert_gt(pack_objects(w, &bytes), packs, "packs of an unknown commit must stay");
    vw_check(w);
    err_clear(&err);
    VW_OK(act_note(w, &err)); /* any change: the commit can never come true now */
    cr_assert_eq(pack_objects(w, &bytes), packs);
    VW_OK(act_seal(w, &err));
    check_clean(w);
    free_world(w);
}

static bool cut_put_after(void *arg, const struct memory_call *call, struct err *err)
{
    int *left = arg; /* reads back of the commit fail as well */
    if (strstr(call->name, "/commit/") && (call->op == MEMORY_READ || call->op == MEMORY_SIZE) &&
        (*left)-- > 0)
        return err_set(err, ERR_UNAVAILABLE, "the line is cut");
    return true;
}

Test(recovery, a_commit_that_arrived_unheard_counts)
{
    struct err err = {0};
    struct vw *w = small_world(4);
    int reads = 2;
    struct vw *probe = NULL;
    memory_io_keep_changes(w->memory);
    probe = copy_world(w);
    IGNORE(io_fault(1 << 30, ERR_IO, false) < 0);
    VW_OK(act_drop(probe, &err));
    long calls = io_fault(0, ERR_IO, false), put = 0;
    free_world(probe);
    /* Which of its calls is the put of the commit: the one whose failing is answered so. */
    for (long nth = 1; nth <= calls && !put; nth++) {
        probe = copy_world(w);
        reads = 2;
        memory_io_hook(probe->memory, cut_put_after, &reads);
        IGNORE(io_fault(nth, ERR_UNAVAILABLE, true) < 0);
        bool done = act_drop(probe, &err);
        IGNORE(io_fault(0, ERR_IO, false) < 0);
        if (!done && reads < 2) {
            put = nth;
            memory_io_hook(probe->memory, NULL, NULL);
            err_clear(&err);
            VW_OK(act_note(probe, &err));
            cr_assert_not(family_snapshot_drop(probe->family, probe->snapshots[0].volume,
                                               probe->snapshots[0].sequence, &err));
            cr_assert_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
            err_clear(&err);
            VW_OK(act_drop(probe, &err)); /* for the model */
            check_clean(probe);
        }
        err_clear(&err);
        memory_io_hook(probe->memory, NULL, NULL);
        free_world(probe);
    }
    cr_assert_gt(put, 0, "no call was the commit");
    free_world(w);
}

/* So often the name of the last commit that was put was put. */
static size_t puts_of_the_last_commit(struct vw *w)
{
    struct memory_call call;
    char name[IO_NAME_MAX] = "";
    size_t puts = 0;
    for (size_t i = memory_io_calls(w->memory); i-- > 0;) {
        if (!memory_io_call(w->memory, i, &call) || call.op != MEMORY_PUT ||
            !strstr(call.name, "/commit/"))
            continue;
        IGNORE(name[0] || str_copy(name, sizeof name, call.name));
        puts += str_equal(name, call.name);
    }
    return puts;
}

Test(recovery, a_commit_whose_folder_was_not_synced_counts_only_once_it_was_put_again)
{
    struct err err = {0};
    struct vw *w = small_world(4);
    bool found = false;
    memory_io_keep_changes(w->memory);
    /* The call that fails after it took effect, as a directory says it whose sync failed. */
    for (long nth = 1; !found && nth < 100; nth++) {
        struct vw *probe = copy_world(w);
        IGNORE(io_fault(nth, ERR_UNAVAILABLE, true) < 0);
        bool done = act_drop(probe, &err);
        IGNORE(io_fault(0, ERR_IO, false) < 0);
        struct memory_call failed = {0};
        size_t calls = memory_io_calls(probe->memory), at = calls;
        while (at-- > 0 && memory_io_call(probe->memory, at, &failed))
            found |= done && failed.op == MEMORY_READ && strstr(failed.name, "/commit/");
        cr_assert(!found || puts_of_the_last_commit(probe) == 2,
                  "a commit that was read back counts, and a power cut may take it");
        err_clear(&err);
        free_world(probe);
    }
    cr_assert(found, "no commit was looked for");
    free_world(w);
}

/* ---- owners ---- */

Test(recovery, the_old_owner_is_fenced_for_good_and_harms_nothing)
{
    struct err err = {0};
    struct vw *old = small_world(5);
    AUTO(mem) struct vw *new = own_alloc(sizeof *new, &err);
    /* The old one is in the midst of a seal when the new one opens. */
    uint8_t bytes[RECORD_BYTES];
    struct root root;
    vw_record(4, bytes);
    AUTO(seal) struct seal *seal = seal_begin(old->family, old->volumes[0].id, 4000, &err);
    VW_OK(seal);
    *new = *old;
    VW_OK(vw_try_open(new, false, &err));
    write_some(new, 0, 300, true);
    VW_OK(seal_file_begin(seal, 50, NULL, &err) && seal_record(seal, 0, bytes, &err) &&
          seal_file_end(seal, RECORD_BYTES, &root, &err));
    struct seal_result result = {.slots = 1};
    cr_assert_not(seal_commit(TAKE(seal), &result, &err));
    cr_assert(err.code == ERR_FENCED || err.code == ERR_BUSY, "%s", err.text);
    err_clear(&err);
    for (int i = 0; i < 2; i++) {
        cr_assert_not(act_drop(old, &err));
        cr_assert_eq(err.code, ERR_FENCED, "%s", err.text);
        err_clear(&err);
        cr_assert_not(act_note(old, &err));
        cr_assert_eq(err.code, ERR_FENCED, "%s", err.text);
        err_clear(&err);
    }
    vw_close(old);
    check_clean(new);
    VW_OK(act_drop(new, &err));
    check_clean(new);
    vw_end(new);
    own_free(old);
}

/* ---- room ---- */

Test(recovery, a_full_store_takes_no_seal_keeps_all_and_can_be_emptied)
{
    struct err err = {0};
    struct vw *w = small_world(6);
    uint64_t before = memory_io_bytes(w->memory);
    memory_io_limit(w->memory, before + 3000);
    cr_assert_not(act_seal(w, &err));
    cr_assert_eq(err.code, ERR_NO_SPACE, "%s", err.text);
    cr_assert_eq(memory_io_bytes(w->memory), before, "a failed seal left something");
    vw_check(w);
    err_clear(&err);
    VW_OK(act_drop_clone(w, &err));
    cr_assert_lt(memory_io_bytes(w->memory), before);
    memory_io_limit(w->memory, UINT64_MAX);
    VW_OK(act_seal(w, &err));
    check_clean(w);
    free_world(w);
}

Test(recovery, what_a_drop_is_said_to_bring_is_what_it_brings)
{
    struct err err = {0};
    struct vw *w = small_world(7);
    uint64_t now, later, before, after;
    for (int i = 0; i < 8; i++)
        write_some(w, 0, 200, true);
    while (w->snapshot_count > 1) {
        struct vw_snapshot *snapshot = &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)];
        if (snapshot->hidden)
            break;
        pack_objects(w, &before);
        VW_OK(family_reclaimable(w->family, snapshot->volume, &snapshot->sequence, 1, &now, &later,
                                 &err));
        VW_OK(vw_drop_snapshot(w, snapshot, &err));
        pack_objects(w, &after);
        cr_assert_eq(before - after, now, "said %llu, brought %llu", (unsigned long long)now,
                     (unsigned long long)(before - after));
    }
    free_world(w);
}

/* ---- cost ---- */

Test(recovery, dropping_one_of_many_snapshots_reads_little)
{
    struct err err = {0};
    struct vw *w = small_world(8);
    unsigned count = getenv("EVERCOPY_LONG") ? 1000 : 200;
    uint64_t first = w->sequence + 1, volume = w->volumes[0].id;
    for (unsigned i = 0; i < count; i++) {
        write_some(w, 0, 15, true);
        w->snapshot_count--; /* the model has no room for them */
    }
    vw_close(w);
    VW_OK(vw_try_open(w, false, &err)); /* nothing is in memory */
    size_t reads = memory_io_count(w->memory, MEMORY_READ);
    for (unsigned i = 0; i < 20; i++)
        VW_OK(family_snapshot_drop(w->family, volume, first + (i * 37) % count, &err));
    reads = memory_io_count(w->memory, MEMORY_READ) - reads;
    cr_assert_leq(reads, 20 * 8, "%zu reads for 20 snapshots", reads);
    printf("# %zu reads to drop 20 of %u snapshots\n", reads, count);
    free_world(w);
}

/* ---- damage ---- */

static bool newest(struct vw *w, const char *part, char ret[IO_NAME_MAX])
{
    bool found = false;
    char name[IO_NAME_MAX];
    for (size_t i = 0; memory_io_name(w->memory, i, name); i++)
        if (strstr(name, part)) {
            found = true;
            IGNORE(str_copy(ret, IO_NAME_MAX, name));
        }
    return found;
}

Test(recovery, a_damaged_table_is_made_again_from_the_one_before)
{
    struct err err = {0};
    struct vw *w = small_world(9);
    char name[IO_NAME_MAX] = "";
    for (int i = 0; i < 150; i++) /* commits enough for two tables */
        VW_OK(family_lock(w->family, w->snapshots[2].volume, w->snapshots[2].sequence, 0,
                          clock_boot_ms(), "", 0, &err));
    cr_assert(newest(w, "/table/", name));
    vw_close(w);
    cr_assert(memory_io_flip(w->memory, name, 60, 4));
    VW_OK(vw_try_open(w, false, &err));
    vw_check(w);
    free_world(w);
}

Test(recovery, a_missing_commit_is_damage_and_is_named)
{
    struct err err = {0};
    struct vw *w = small_world(10);
    vw_close(w);
    VW_OK(io_delete(w->io, "f/0000000000000005/commit/0000000000000003", &err));
    cr_assert_not(vw_try_open(w, false, &err));
    cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
    cr_assert(strstr(err.text, "3"), "%s", err.text);
    io_close(w->io);
    own_free(w);
}

/* What can be read is right; what cannot says CORRUPT. */
static void check_rotten(struct vw *w, const char *name, const struct vw_snapshot *snapshot)
{
    struct snapshot_row row = vw_row(w, snapshot->volume, snapshot->sequence);
    uint8_t bytes[RECORD_BYTES], expected[RECORD_BYTES];
    for (size_t i = 0; i < VW_FILES; i++) {
        struct err err = {0};
        struct inode inode;
        bool good = family_inode(w->family, &row.table, VW_FIRST_FILE + i, &inode, &err);
        for (uint64_t r = 0; good && r < snapshot->content.sizes[i]; r++) {
            vw_record(snapshot->content.records[i][r], expected);
            good = family_read(w->family, &inode.root, r, 1, bytes, &err);
            cr_assert(!good || memcmp(bytes, expected, sizeof bytes) == 0, "%s: wrong bytes", name);
        }
        cr_assert(good || err.code == ERR_CORRUPT, "%s: %s", name, err.text);
    }
}

Test(recovery, a_turned_bit_anywhere_is_never_served)
{
    unsigned seed = first_seed(), flips = getenv("EVERCOPY_LONG") ? 3000 : 40;
    struct vw *base = small_world(seed);
    printf("seed %u\n", seed);
    fflush(stdout);
    memory_io_keep_changes(base->memory);
    for (unsigned i = 0; i < flips; i++) {
        struct err err = {0};
        struct vw *w = copy_world(base);
        char name[IO_NAME_MAX];
        uint64_t bytes = 0;
        size_t nth = vw_below(base, (unsigned)memory_io_objects(w->memory));
        cr_assert(memory_io_name(w->memory, nth, name));
        VW_OK(io_size(w->io, name, &bytes, &err));
        vw_close(w);
        cr_assert(memory_io_flip(w->memory, name, vw_below(base, (unsigned)bytes),
                                 (uint8_t)(1U << vw_below(base, 8))));
        bool open = vw_try_open(w, false, &err);
        cr_assert(open || err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED, "%s: %s", name,
                  err.text);
        for (size_t k = 0; open && k < w->snapshot_count; k++)
            check_rotten(w, name, &w->snapshots[k]);
        for (size_t k = 0; open && k < w->snapshot_count; k++) /* refusing is fine */
            IGNORE(family_snapshot_drop(w->family, w->snapshots[k].volume, w->snapshots[k].sequence,
                                        &err));
        free_world(w);
    }
    free_world(base);
}

/* ---- locks ---- */

Test(recovery, a_locked_snapshot_stays_until_its_time_has_passed)
{
    struct err err = {0};
    struct vw *w = small_world(11);
    const struct vw_snapshot *s = &w->snapshots[0];
    VW_OK(family_lock(w->family, s->volume, s->sequence, 60000, clock_boot_ms(), "", 0, &err));
    VW_OK(family_lock(w->family, s->volume, s->sequence, 10, clock_boot_ms(), "", 0,
                      &err)); /* only extends */
    for (int i = 0; i < 2; i++) {
        cr_assert_not(family_snapshot_drop(w->family, s->volume, s->sequence, &err));
        cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
        err_clear(&err);
        cr_assert_gt(vw_row(w, s->volume, s->sequence).lock_remaining_ms, 50000);
        vw_close(w);
        VW_OK(vw_try_open(w, false, &err));
    }
    char boot_id[40];
    clock_boot_id(boot_id);
    VW_OK(family_lock(w->family, s->volume, s->sequence, 0, clock_boot_ms(), boot_id, 0, &err));
    clock_test_shift(61000);
    VW_OK(vw_drop_snapshot(w, &w->snapshots[0], &err));
    clock_test_shift(0);
    check_clean(w);
    free_world(w);
}

static size_t locks_of(struct vw *w, uint64_t end_ms, uint64_t ago_ms, const char *boot_id)
{
    struct err err = {0};
    const struct vw_snapshot *s = &w->snapshots[0];
    uint64_t now_ms = clock_boot_ms() - ago_ms;
    size_t before = memory_io_count(w->memory, MEMORY_LOCK);
    VW_OK(family_lock(w->family, s->volume, s->sequence, end_ms - now_ms, now_ms, boot_id,
                      clock_wall_us() + (end_ms - now_ms) * 1000, &err));
    return memory_io_count(w->memory, MEMORY_LOCK) - before;
}

Test(recovery, a_lock_that_is_told_anew_locks_no_pack_again)
{
    struct vw *w = small_world(11);
    char boot_id[40];
    clock_boot_id(boot_id);
    uint64_t end_ms = clock_boot_ms() + 3600 * 1000;
    cr_assert_gt(locks_of(w, end_ms, 0, boot_id), 0);
    size_t reads = memory_io_count(w->memory, MEMORY_READ);
    for (uint64_t ago_ms = 0; ago_ms < 4; ago_ms++) /* asked some time before it is looked at */
        cr_assert_eq(locks_of(w, end_ms, ago_ms, boot_id), 0, "locked again");
    cr_assert_eq(memory_io_count(w->memory, MEMORY_READ), reads, "looked for packs");
    cr_assert_gt(locks_of(w, end_ms + 60 * 1000, 0, boot_id), 0, "it was extended");
    cr_assert_gt(locks_of(w, end_ms + 61 * 1000, 0, "another"), 0, "the box was down meanwhile");
    free_world(w);
}
