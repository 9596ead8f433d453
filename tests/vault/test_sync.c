/* Sync: a second store that has what was asked for, byte by byte, whenever it is cut off. */
#include "drivers/vault/store/copies.h"
#include "drivers/vault/store/scrub.h"
#include "drivers/vault/store/sync.h"
#include "tests/vault/tools_world.h"
#include "tests/vault/volume_world.h"
#include <sched.h>

struct far {
    struct io *io;
    struct memory_io *memory;
};

static struct far far_begin(void)
{
    struct err err = {0};
    struct far far = {0};
    far.io = memory_io_open(0, &far.memory, &err);
    VW_OK(far.io);
    return far;
}

static struct sync_result copy(struct vw *w, struct far *far, struct tells *tells, bool prune)
{
    struct err err = {0};
    struct sync_options options = {
        .prune = prune, .box_id = "far box", .found = tw_tell, .arg = tells};
    struct sync_result result = {0};
    *tells = (struct tells){0};
    VW_OK(sync_store(w->io, far->io, &options, &result, &err));
    return result;
}

static void seal_some(struct vw *w, unsigned per_mille)
{
    struct err err = {0};
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    *next = w->volumes[0].now;
    vw_change(w, next, per_mille);
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
}

static size_t check_far(struct vw *w, struct far *far) { return tw_check_copy(w, far->io); }

Test(sync, sends_only_what_is_new_and_says_here_what_is_there)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    struct far far = far_begin();
    tw_small(w, 4, 600);
    VW_OK(family_note_put(w->family, w->snapshots[0].sequence, "tags=kept", &err));
    struct sync_result result = copy(w, &far, tells, false);
    cr_assert_eq(result.snapshots, 2);
    cr_assert_eq(result.copied, 2);
    uint64_t first = result.bytes_sent;
    cr_assert_eq(check_far(w, &far), 2);
    result = copy(w, &far, tells, false);
    cr_assert_eq(result.copied, 0);
    cr_assert_eq(result.packs_sent, 0);
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    *next = w->volumes[0].now;
    for (size_t i = 0; i < 10; i++)
        next->records[0][i * 50] = ++w->next_content;
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    result = copy(w, &far, tells, false);
    cr_assert_eq(result.copied, 1);
    cr_assert_gt(result.packs_sent, 0);
    cr_assert_lt(result.bytes_sent, first / 3);
    cr_assert_eq(check_far(w, &far), 3);
    size_t count = 0;
    AUTO(mem) struct copied *copies = family_copies(w->family, &count, &err);
    VW_OK(copies);
    cr_assert_eq(count, 3);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(copies[i].sequence, w->snapshots[i].sequence);
    vw_end(w);
    io_close(far.io);
}

Test(sync, keeps_there_what_is_deleted_here_until_it_is_pruned)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    struct far far = far_begin();
    uint64_t freed = 0;
    tw_small(w, 4, 600);
    for (int i = 0; i < 4; i++) {
        seal_some(w, 200);
        copy(w, &far, tells, false);
    }
    AUTO(mem) struct vw *before = own_alloc(sizeof *before, &err);
    *before = *w;
    VW_OK(vw_drop_snapshot(w, &w->snapshots[3], &err));
    VW_OK(vw_drop_snapshot(w, &w->snapshots[1], &err));
    VW_OK(family_thin(w->family, NULL, NULL, &freed, &err));
    seal_some(w, 200);
    before->snapshots[before->snapshot_count++] = w->snapshots[w->snapshot_count - 1];
    copy(w, &far, tells, false);
    cr_assert_eq(check_far(before, &far), 7);
    uint64_t full = memory_io_bytes(far.memory);
    struct sync_result result = copy(w, &far, tells, true);
    cr_assert_eq(result.pruned, 2);
    cr_assert_eq(check_far(w, &far), 5);
    cr_assert_lt(memory_io_bytes(far.memory), full);
    vw_end(w);
    io_close(far.io);
}

/* Any choice of snapshots in any order, with drops and thinning on both sides. */
Test(sync, is_right_after_any_history_of_both_stores)
{
    struct err err = {0};
    unsigned seed = tw_seed(), rounds = getenv("EVERCOPY_LONG") ? 3000 : 25;
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct vw *all = own_alloc(sizeof *all, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    struct far far = far_begin();
    tw_small(w, seed, 300);
    for (unsigned i = 0; i < rounds; i++) {
        unsigned what = vw_below(w, 10);
        uint64_t freed = 0;
        if (what < 4 && w->snapshot_count < VW_SNAPSHOTS - 1) {
            seal_some(w, 30);
        } else if (what < 6 && w->snapshot_count > 1) {
            VW_OK(
                vw_drop_snapshot(w, &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)], &err));
            VW_OK(family_thin(w->family, NULL, NULL, &freed, &err));
        } else {
            char names[VW_SNAPSHOTS][24];
            const char *chosen[VW_SNAPSHOTS];
            size_t count = 0;
            for (size_t k = 0; k < w->snapshot_count; k++)
                if (vw_below(w, 3) == 0 || k == 0) {
                    IGNORE(str_format(names[count], sizeof names[count], "s%llu",
                                      (unsigned long long)w->snapshots[k].sequence));
                    chosen[count] = names[count];
                    count++;
                }
            struct sync_options options = {.snapshots = chosen,
                                           .snapshot_count = count,
                                           .prune = vw_below(w, 2),
                                           .box_id = "far box",
                                           .found = tw_tell,
                                           .arg = tells};
            struct sync_result result;
            *tells = (struct tells){0};
            VW_OK(sync_store(w->io, far.io, &options, &result, &err));
            tw_print(tells);
            cr_assert_eq(result.snapshots, count);
            cr_assert_eq(tells->count, 0);
            size_t found = check_far(w, &far);
            for (size_t k = 0; found < count && k < count; k++)
                printf("asked for %s\n", chosen[k]);
            cr_assert_geq(found, count, "round %u: %zu of %zu; %llu copied, %llu pruned", i, found,
                          count, (unsigned long long)result.copied,
                          (unsigned long long)result.pruned);
        }
    }
    vw_end(w);
    io_close(far.io);
}

Test(sync, goes_on_after_it_was_cut_off_at_any_call)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    struct far far = far_begin();
    tw_small(w, 4, 200);
    for (int round = 0; round < 3; round++) {
        struct sync_options options = {
            .prune = true, .box_id = "far box", .found = tw_tell, .arg = tells};
        struct sync_result result;
        bool done = false;
        for (long nth = 1; !done && nth < 4000; nth += getenv("EVERCOPY_LONG") ? 1 : 9) {
            err_clear(&err);
            IGNORE(io_fault(nth, ERR_UNAVAILABLE, nth % 2) < 0);
            done = sync_store(w->io, far.io, &options, &result, &err);
            memory_io_forget_writers(far.memory);
            cr_assert(done || err.code == ERR_UNAVAILABLE, "%s", err.text);
        }
        IGNORE(io_fault(0, ERR_NONE, false) < 0);
        cr_assert(done);
        copy(w, &far, tells, true); /* a fault that nobody noticed left nothing behind */
        cr_assert_eq(check_far(w, &far), w->snapshot_count);
        seal_some(w, 50);
        VW_OK(vw_drop_snapshot(w, &w->snapshots[0], &err));
    }
    vw_end(w);
    io_close(far.io);
}

Test(sync, refuses_itself_and_somebody_elses_store_and_carries_no_damage)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct vw *other = own_alloc(sizeof *other, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    struct sync_options options = {.found = tw_tell, .arg = tells};
    struct sync_result result;
    struct far far = far_begin();
    char name[IO_NAME_MAX];
    tw_small(w, 4, 100);
    tw_small(other, 4, 10);
    cr_assert_not(sync_store(w->io, w->io, &options, &result, &err));
    cr_assert_eq(err.code, ERR_INVALID, "%s", err.text);
    err_clear(&err);
    cr_assert_not(sync_store(w->io, other->io, &options, &result, &err));
    cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
    err_clear(&err);
    vw_check(other);
    for (size_t i = 0; memory_io_name(w->memory, i, name) && !strstr(name, "/pack/"); i++)
        ;
    cr_assert(memory_io_flip(w->memory, name, 600, 1));
    cr_assert_not(sync_store(w->io, far.io, &options, &result, &err));
    cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
    cr_assert_gt(result.damages, 0);
    vw_end(w);
    vw_end(other);
    io_close(far.io);
}

static bool is_copied(struct world *w)
{
    size_t count = 0;
    AUTO(mem)
    struct vault_snapshot_info *list = vault_snapshot_list(w->vault, "data", &count, &w->err);
    world_ok(w, list && count == 1);
    return list[0].copied;
}

static struct sync_result copy_of(struct world *w, struct far *far, const char *volume, bool prune)
{
    struct sync_result result = {0};
    struct sync_options options = {.volume = volume, .prune = prune, .box_id = "far box"};
    world_ok(w, sync_store(w->io, far->io, &options, &result, &w->err));
    return result;
}

static void seal_snapshot(struct world *w, const char *volume, const char *name)
{
    world_write(w, volume, NULL, "f", *name, 100000, 0);
    world_snapshot(w, volume, name);
    world_ok(w, vault_seal(w->vault, volume, &w->err));
}

Test(sync, of_one_volume_leaves_copies_of_others_alone)
{
    struct world w;
    struct far far = far_begin();
    static const char *const volumes[] = {"a", "b"};
    world_begin(&w);
    for (size_t i = 0; i < 2; i++) {
        world_ok(&w, vault_volume_create(w.vault, volumes[i], &w.err));
        seal_snapshot(&w, volumes[i], "old");
    }
    cr_assert_eq(copy_of(&w, &far, NULL, false).copied, 2);
    seal_snapshot(&w, "a", "new");
    world_ok(&w, vault_snapshot_drop(w.vault, "a", "old", &w.err));
    struct sync_result result = copy_of(&w, &far, "a", true);
    cr_expect_eq(result.copied, 1);
    cr_expect_eq(result.pruned, 1, "%llu pruned", (unsigned long long)result.pruned);
    cr_expect_eq(copy_of(&w, &far, NULL, false).copied, 0, "all is there still");
    world_ok(&w, vault_snapshot_drop(w.vault, "b", "old", &w.err));
    cr_expect_eq(copy_of(&w, &far, "a", true).pruned, 0);
    cr_expect_eq(copy_of(&w, &far, NULL, true).pruned, 1);
    world_end(&w);
    io_close(far.io);
}

/* A slip of the pen copies nothing, and is no wish to prune all there is. */
Test(sync, does_nothing_when_a_name_fits_nothing)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    struct far far = far_begin(), other = far_begin();
    char first[24];
    tw_small(w, 4, 100);
    IGNORE(!str_format(first, sizeof first, "s%llu", (unsigned long long)w->snapshots[0].sequence));
    const char *const names[] = {first, "none"};
    const struct sync_options wrong[] = {
        {.snapshots = names, .snapshot_count = 2, .prune = true, .box_id = "far box"},
        {.volume = "none", .prune = true, .box_id = "far box"},
        {.volume = "none", .snapshots = names, .snapshot_count = 1, .box_id = "far box"}};
    copy(w, &far, tells, false);
    size_t objects = memory_io_objects(far.memory);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct sync_result result;
        err_clear(&err);
        cr_expect_not(sync_store(w->io, far.io, &wrong[i], &result, &err));
        cr_expect_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
        err_clear(&err);
        cr_expect_not(sync_store(w->io, other.io, &wrong[i], &result, &err));
    }
    cr_expect_eq(memory_io_objects(far.memory), objects);
    cr_expect_eq(memory_io_objects(other.memory), 0);
    cr_expect_eq(check_far(w, &far), 2);
    vw_end(w);
    io_close(far.io);
    io_close(other.io);
}

Test(sync, is_known_to_the_vault_that_goes_on)
{
    struct world w;
    struct far far = far_begin();
    struct view_file file;
    bool sealed = false;
    const char *const volumes[] = {"data"};
    uint8_t bytes[3 * RECORD_BYTES];
    memset(bytes, 7, sizeof bytes);
    world_begin_with(&w, &(struct vault_options){0});
    world_ok(&w, vault_volume_create(w.vault, "data", &w.err));
    struct view *view = view_open(w.vault, "data", NULL, NULL, &w.err);
    world_ok(&w, view &&
                     view_create(view, &(struct view_caller){0}, VIEW_ROOT, "f", INODE_FILE, NULL,
                                 &(struct view_attributes){0}, &file, NULL, &w.err) &&
                     view_write(view, file.file, bytes, sizeof bytes, 0, true, NULL, &w.err));
    view_close(view);
    world_ok(&w, vault_snapshot_create(w.vault, volumes, 1, "monday", &w.err) &&
                     vault_snapshot_wait(w.vault, "data", "monday", 30000, &sealed, &w.err) &&
                     sealed);
    cr_assert_not(is_copied(&w));
    /* Beside the vault: it is not in the way, and not fenced. */
    struct sync_result result;
    struct scrub_result scrubbed;
    world_ok(&w, sync_store(w.io, far.io, &(struct sync_options){.box_id = "far box"}, &result,
                            &w.err) &&
                     scrub_store(w.io, &(struct scrub_options){0}, &scrubbed, &w.err) &&
                     scrub_store(far.io, &(struct scrub_options){0}, &scrubbed, &w.err));
    cr_assert_eq(result.copied, 1);
    cr_assert_eq(scrubbed.damages, 0);
    clock_test_shift(60 * 1000); /* it looks every half minute */
    uint64_t deadline = clock_mono_ms() + 20 * 1000;
    while (!is_copied(&w) && clock_mono_ms() < deadline)
        sched_yield();
    cr_assert(is_copied(&w));
    world_ok(&w, vault_snapshot_create(w.vault, volumes, 1, "tuesday", &w.err) &&
                     vault_snapshot_wait(w.vault, "data", "tuesday", 30000, &sealed, &w.err) &&
                     sealed);
    clock_test_shift(0);
    world_end(&w);
    io_close(far.io);
}
