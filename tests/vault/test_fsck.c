/* Fsck: after any history rows are what maps need, and can be made again from packs alone. */
#include "drivers/vault/store/family_int.h"
#include "drivers/vault/store/fsck.h"
#include "tests/vault/tools_world.h"

static void random_step(struct vw *w)
{
    struct err err = {0};
    unsigned what = vw_below(w, 100);
    struct vw_volume *volume = &w->volumes[vw_below(w, (unsigned)w->volume_count)];
    if (what < 50) {
        AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
        *next = volume->now;
        vw_change(w, next, 30);
        VW_OK(
            vw_seal(w, volume, next, w->snapshot_count < VW_SNAPSHOTS && vw_below(w, 3) > 0, &err));
    } else if (what < 60 && w->snapshot_count > 0 && w->volume_count < VW_VOLUMES) {
        VW_OK(vw_add_clone(w, &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)], &err));
    } else if (what < 80 && w->snapshot_count > 0) {
        struct vw_snapshot *snapshot = &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)];
        if (!snapshot->hidden)
            VW_OK(vw_drop_snapshot(w, snapshot, &err));
    } else if (what < 88 && w->volume_count > 1) {
        if (!vw_drop_volume(w, volume, &err))
            cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
    } else {
        uint64_t freed;
        VW_OK(family_thin(w->family, NULL, NULL, &freed, &err));
    }
}

static struct fsck_result fsck(struct vw *w, struct tells *tells, bool repair)
{
    struct err err = {0};
    struct fsck_options options = {
        .repair = repair, .box_id = "a box", .found = tw_tell, .arg = tells};
    struct fsck_result result = {0};
    *tells = (struct tells){0};
    VW_OK(fsck_store(w->io, &options, &result, &err));
    return result;
}

static void same_masks(const struct table *a, const struct table *b)
{
    cr_assert_eq(a->pack_count, b->pack_count, "%zu packs and %zu", a->pack_count, b->pack_count);
    for (size_t i = 0; i < a->pack_count; i++) {
        cr_assert_eq(a->packs[i].number, b->packs[i].number);
        uint32_t frames = masks_frames(a->packs[i].live), more = masks_frames(b->packs[i].live);
        for (uint32_t f = 0; f < (frames > more ? frames : more); f++)
            cr_assert_eq(masks_get(a->packs[i].live, f), masks_get(b->packs[i].live, f),
                         "pack %u frame %u: %x and %x", a->packs[i].number, f,
                         masks_get(a->packs[i].live, f), masks_get(b->packs[i].live, f));
    }
}

static void lose_rows(struct vw *w)
{
    static const char *const kinds[] = {"commit", "table"};
    struct err err = {0};
    for (size_t i = 0; i < 2; i++) {
        AUTO(io_list) struct io_list list = {0};
        char folder[IO_NAME_MAX], name[IO_NAME_MAX];
        family_folder(5, kinds[i], folder);
        VW_OK(io_list(w->io, folder, &list, &err));
        for (size_t k = 0; k < list.count; k++) {
            IGNORE(str_format(name, sizeof name, "%s/%s", folder, list.entries[k].name));
            VW_OK(io_delete(w->io, name, &err));
        }
    }
}

/* Everything that the model has, whatever else is back. */
static void check_model(struct vw *w)
{
    for (size_t i = 0; i < w->volume_count; i++)
        if (w->volumes[i].table.stored)
            vw_check_content(w, &w->volumes[i].table, &w->volumes[i].now);
    for (size_t i = 0; i < w->snapshot_count; i++) {
        struct snapshot_row row = vw_row(w, w->snapshots[i].volume, w->snapshots[i].sequence);
        cr_assert_eq(row.sequence, w->snapshots[i].sequence, "a snapshot is missing");
        vw_check_content(w, &row.table, &w->snapshots[i].content);
    }
}

static bool model_has(const struct vw *w, uint64_t volume, uint64_t sequence, bool hidden)
{
    for (size_t i = 0; i < w->snapshot_count; i++)
        if (w->snapshots[i].volume == volume && w->snapshots[i].sequence == sequence)
            return hidden || !w->snapshots[i].hidden;
    return false;
}

static bool model_has_volume(const struct vw *w, uint64_t volume)
{
    for (size_t i = 0; i < w->volume_count; i++)
        if (w->volumes[i].id == volume)
            return true;
    return false;
}

/* Drops what is back although the model has dropped it; how many snapshots that were. hidden: what
 * the model has hidden too; its clones must be there. */
static size_t drop_what_is_back(struct vw *w, bool hidden)
{
    struct err err = {0};
    size_t dropped = 0;
    for (int round = 0; round < 12; round++) {
        AUTO(table) struct table *rows = family_table(w->family);
        for (size_t i = 0; i < rows->snapshot_count; i++) {
            const struct snapshot_row *row = &rows->snapshots[i].row;
            if (row->hidden || model_has(w, row->volume, row->sequence, !hidden))
                continue;
            dropped += !model_has(w, row->volume, row->sequence, true);
            if (!family_snapshot_drop(w->family, row->volume, row->sequence, &err))
                cr_assert_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
        }
        for (size_t i = 0; i < rows->volume_count; i++)
            if (!model_has_volume(w, rows->volumes[i].row.id) &&
                !family_volume_drop(w->family, rows->volumes[i].row.id, &err))
                cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
        err_clear(&err);
    }
    return dropped;
}

static bool all_are_sealed(const struct table *rows)
{
    for (size_t i = 0; i < rows->volume_count; i++)
        if (!rows->volumes[i].sealed)
            return false;
    return true;
}

static void one_history(struct vw *w, struct tells *tells, unsigned seed, unsigned steps)
{
    struct err err = {0};
    vw_begin(w, seed);
    VW_OK(vw_add_landing(w, &err));
    for (unsigned i = 0; i < steps; i++)
        random_step(w);
    AUTO(table) struct table *before = family_table(w->family);

    /* With rows: what maps need is what they keep, to the bit. */
    static const uint8_t nobody[16];
    AUTO(store)
    struct store *store =
        store_open(w->io, nobody, &(struct store_options){.read_only = true}, &err);
    AUTO(table) struct table *walked = store ? fsck_rows(store, 5, false, &err) : NULL;
    VW_OK(walked);
    same_masks(before, walked);
    struct fsck_result result = fsck(w, tells, false);
    tw_print(tells);
    cr_assert_eq(result.findings, 0);

    /* Without: everything reads back; what had been dropped and is whole is named. */
    vw_close(w);
    lose_rows(w);
    result = fsck(w, tells, true);
    tw_print(tells);
    cr_assert_eq(result.rebuilt, 1);
    cr_assert_eq(result.repaired, 1);
    cr_assert_eq(tw_count(tells, FINDING_DAMAGE) + tw_count(tells, FINDING_MISSING), 1,
                 "but for the rows themselves");
    VW_OK(vw_try_open(w, false, &err));
    check_model(w);
    size_t named = tw_count(tells, FINDING_BACK),
           back = drop_what_is_back(w, all_are_sealed(before));
    cr_assert_geq(named, back + (before->snapshot_count > 0));
    check_model(w);

    /* Dropped again, it is as it was. */
    if (all_are_sealed(before)) {
        vw_close(w);
        fsck(w, tells, true);
        cr_assert_eq(tw_count(tells, FINDING_DAMAGE) + tw_count(tells, FINDING_MISSING), 0);
        VW_OK(vw_try_open(w, false, &err));
        AUTO(table) struct table *after = family_table(w->family);
        same_masks(before, after);
        vw_check(w);
    }
    for (unsigned i = 0; i < 3; i++) /* and life goes on */
        if (all_are_sealed(before))
            random_step(w);
    check_model(w);
    vw_end(w);
}

Test(fsck, makes_the_same_rows_from_packs_alone_after_any_history)
{
    struct err err = {0};
    unsigned seed = tw_seed(), histories = getenv("EVERCOPY_LONG") ? 400 : 3;
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    for (unsigned i = 0; i < histories; i++) {
        printf("history %u\n", seed + i);
        fflush(stdout);
        one_history(w, tells, seed + i, 10 + i * 7 % 40);
    }
}

static void first_pack(struct vw *w, char ret[IO_NAME_MAX], uint64_t *ret_bytes)
{
    struct err err = {0};
    for (size_t i = 0; memory_io_name(w->memory, i, ret); i++)
        if (strstr(ret, "/pack/")) {
            VW_OK(io_size(w->io, ret, ret_bytes, &err));
            return;
        }
}

Test(fsck, writes_a_pack_anew_whose_directory_rotted)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    char name[IO_NAME_MAX];
    uint64_t bytes = 0;
    tw_small(w, 5, 300);
    vw_close(w);
    first_pack(w, name, &bytes);
    cr_assert(memory_io_flip(w->memory, name, bytes - 9, 1));
    struct fsck_result result = fsck(w, tells, false);
    cr_assert_gt(result.damages, 0);
    cr_assert_eq(result.repaired, 0);
    result = fsck(w, tells, true);
    tw_print(tells);
    cr_assert_eq(result.repaired, 1);
    result = fsck(w, tells, false);
    tw_print(tells);
    cr_assert_eq(result.findings, 0);
    VW_OK(vw_try_open(w, false, &err));
    vw_check(w);
    vw_end(w);
}

Test(fsck, tells_rows_that_leak_or_would_let_go_what_is_needed_and_repairs_them)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    tw_small(w, 5, 300);
    /* A commit that frees a live item, as a bug of ours would. */
    AUTO(edit) struct edit edit = {0};
    AUTO(table) struct table *rows = family_table(w->family);
    bool taken = false;
    VW_OK(family_change_begin(w->family, &err));
    VW_OK(edit_begin(rows, &edit, &err) && edit_free(&edit, (struct addr){1, 0, 0}, &err) &&
          family_commit(w->family, &edit, &taken, &err));
    family_change_end(w->family);
    vw_close(w);
    struct fsck_result result = fsck(w, tells, false);
    cr_assert_eq(result.missing_items, 1);
    cr_assert_eq(result.damages, 1);
    result = fsck(w, tells, true);
    cr_assert_eq(result.repaired, 1);
    result = fsck(w, tells, false);
    cr_assert_eq(result.findings, 0);
    VW_OK(vw_try_open(w, false, &err));
    vw_check(w);
    vw_end(w);
}

Test(fsck, can_be_cut_off_anywhere_and_run_again)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    char name[IO_NAME_MAX];
    uint64_t bytes = 0;
    tw_small(w, 6, 200);
    vw_close(w);
    lose_rows(w);
    first_pack(w, name, &bytes);
    cr_assert(memory_io_flip(w->memory, name, bytes - 9, 1));
    struct fsck_options options = {
        .repair = true, .box_id = "a box", .found = tw_tell, .arg = tells};
    struct fsck_result result = {0};
    bool done = false;
    for (long nth = 1; !done && nth < 2000; nth += 7) {
        err_clear(&err);
        IGNORE(io_fault(nth, ERR_UNAVAILABLE, nth % 2) < 0);
        done = fsck_store(w->io, &options, &result, &err);
        memory_io_forget_writers(w->memory);
        cr_assert(done || err.code == ERR_UNAVAILABLE, "%s", err.text);
    }
    IGNORE(io_fault(0, ERR_NONE, false) < 0);
    cr_assert(done);
    VW_OK(vw_try_open(w, false, &err));
    vw_check(w);
    vw_end(w);
}

Test(fsck, tells_which_byte_of_the_identity_turned_and_turns_it_back)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    tw_small(w, 7, 20);
    vw_close(w);
    for (uint64_t at = 0; at < 64; at += 5) {
        cr_assert(memory_io_flip(w->memory, "evercopy-store", at, 0x41));
        struct fsck_options options = {.found = tw_tell, .arg = tells};
        struct fsck_result result;
        cr_assert_not(fsck_store(w->io, &options, &result, &err));
        err_clear(&err);
        cr_assert_eq(result.damages, 1);
        result = fsck(w, tells, true);
        cr_assert_eq(tw_count(tells, FINDING_REPAIRED), 1);
        result = fsck(w, tells, false);
        cr_assert_eq(result.findings, 0);
    }
    VW_OK(vw_try_open(w, false, &err));
    vw_check(w);
    vw_end(w);
}

/* Whatever turned, or whatever somebody put there with sums that are right: an end, and no crash.
 */
Test(fsck, comes_to_an_end_over_any_store)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    unsigned seed = tw_seed(), rounds = getenv("EVERCOPY_LONG") ? 5000 : 25;
    tw_small(w, seed, 12);
    vw_close(w);
    for (unsigned i = 0; i < rounds; i++) {
        struct fsck_options options = {.rebuild = i % 2, .found = tw_tell, .arg = tells};
        struct fsck_result result;
        char name[IO_NAME_MAX];
        size_t count = memory_io_objects(w->memory);
        uint64_t bytes = 0, at;
        *tells = (struct tells){0};
        cr_assert(memory_io_name(w->memory, vw_below(w, (unsigned)count), name));
        VW_OK(io_size(w->io, name, &bytes, &err));
        at = vw_below(w, (unsigned)bytes);
        cr_assert(memory_io_flip(w->memory, name, at, 0x10));
        if (!fsck_store(w->io, &options, &result, &err))
            cr_assert(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED, "%s", err.text);
        err_clear(&err);
        cr_assert(memory_io_flip(w->memory, name, at, 0x10));
    }
    VW_OK(vw_try_open(w, false, &err));
    vw_check(w);
    vw_end(w);
}

/* Seal frames that contradict each other, under sums that are right. */
Test(fsck, takes_no_seal_frame_at_its_word)
{
    static const struct {
        uint64_t volume, start, sequence, slots;
    } rows[] = {
        {11, 0, 12, UINT64_MAX},
        {11, 0, UINT64_MAX, 32},
        {11, 500, 20, 32},
        {99, 0, 15, 1 << 30},
    };
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    tw_small(w, 7, 20);
    struct pack_key key = {5, store_seed(w->store), 40, 0};
    AUTO(pack_writer) struct pack_writer *writer = pack_create(w->io, &key, 1, &err);
    VW_OK(writer);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        AUTO(bytes) struct bytes bytes = {0};
        uint32_t number;
        struct change volume = {.kind = CHANGE_VOLUME_ADDED,
                                .row = {.id = rows[i].volume, .start = rows[i].start}};
        struct change sealed = {
            .kind = CHANGE_SEALED,
            .volume = rows[i].volume,
            .sequence = rows[i].sequence,
            .named = true,
            .snapshot = {.slots = rows[i].slots,
                         .table = {.stored = true, .level = 4, .addr = {1, 2, 3}}}};
        VW_OK(change_encode(&volume, &bytes, &err) && change_encode(&sealed, &bytes, &err));
        struct frame frame = {.kind = FRAME_SEAL,
                              .items = 1,
                              .present = 1,
                              .birth = 1,
                              .raw = bytes.data,
                              .raw_len = bytes.len};
        VW_OK(frame_press(&frame, 1, &err) && pack_add(writer, &frame, &number, &err));
        frame_done(&frame);
    }
    uint64_t bytes = 0;
    VW_OK(pack_finish(TAKE(writer), &bytes, &err));
    vw_close(w);
    lose_rows(w);
    fsck(w, tells, true);
    tw_print(tells);
    cr_assert_gt(tw_count(tells, FINDING_LOST), 0);
    VW_OK(vw_try_open(w, false, &err));
    check_model(w);
    vw_end(w);
}
