/* Packs of a locked snapshot stay as they are, as objects too, until the lock's end: they are not
 * thinned, and nobody tries to delete them. */
#include "agent/base/clock.h"
#include "tests/vault/tools_world.h"

enum { RECORDS = 300, LOCK_MS = 60000, PACK = 1 };

struct locked {
    struct vw w;
    uint64_t begun_us, until_us;
    /* Where the lock comes in the middle of a thinning. */
    bool locks_amid, amid;
    char names[8][IO_NAME_MAX]; /* locked objects */
    size_t name_count;
    unsigned deletes;  /* of them, asked for before their time */
    unsigned rewrites; /* generations that were begun */
};

static void lock_newest(struct locked *l)
{
    struct err err = {0};
    struct vw *w = &l->w;
    const struct vw_snapshot *s = &w->snapshots[w->snapshot_count - 1];
    char boot_id[40];
    clock_boot_id(boot_id);
    VW_OK(family_lock(w->family, s->volume, s->sequence, LOCK_MS, clock_boot_ms(), boot_id,
                      l->until_us, &err));
}

static bool is_of_them(const struct locked *l, const char *name)
{
    for (size_t i = 0; i < l->name_count; i++)
        if (strcmp(l->names[i], name) == 0)
            return true;
    return false;
}

static bool watch(void *arg, const struct memory_call *call, struct err *err)
{
    struct locked *l = arg;
    (void)err;
    if (call->op == MEMORY_LOCK && !is_of_them(l, call->name)) {
        cr_assert_lt(l->name_count, sizeof l->names / sizeof *l->names);
        IGNORE(!str_copy(l->names[l->name_count++], IO_NAME_MAX, call->name));
    }
    if (call->op == MEMORY_DELETE && clock_wall_us() < l->until_us)
        l->deletes += is_of_them(l, call->name);
    l->rewrites += call->op == MEMORY_CREATE && strstr(call->name, "-0001");
    if (l->locks_amid && call->op == MEMORY_FINISH && strstr(call->name, "-0001")) {
        l->locks_amid = false;
        l->amid = true;
        lock_newest(l);
    }
    return true;
}

/* Two snapshots, half of the file changed between them: what only the first one has is half of the
 * first pack, which both are in. */
static struct locked *begin(void)
{
    struct err err = {0};
    struct locked *l = own_alloc(sizeof *l, &err);
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    struct vw *w = &l->w;
    cr_assert(l && next);
    l->begun_us = clock_wall_us();
    l->until_us = l->begun_us + LOCK_MS * UINT64_C(1000);
    clock_test_wall(l->begun_us);
    vw_begin(w, 5);
    VW_OK(vw_add_landing(w, &err));
    next->sizes[0] = RECORDS;
    for (uint32_t r = 0; r < RECORDS; r++)
        next->records[0][r] = r + 1;
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    for (uint32_t r = 0; r < RECORDS; r += 2)
        next->records[0][r] = 1000 + r;
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    memory_io_hook(w->memory, watch, l);
    return l;
}

static void end(struct locked *l)
{
    vw_check(&l->w);
    vw_end(&l->w);
    clock_test_wall(0);
    clock_test_shift(0);
    own_free(l);
}

static uint64_t thin(struct locked *l)
{
    struct err err = {0};
    uint64_t freed = 0;
    VW_OK(family_thin(l->w.family, NULL, NULL, &freed, &err));
    return freed;
}

static bool pack_is_there(struct locked *l, unsigned generation)
{
    struct err missing = {0};
    uint64_t bytes;
    char name[IO_NAME_MAX];
    IGNORE(!str_format(name, sizeof name, "f/0000000000000005/pack/%08x-%04x", PACK, generation));
    return io_size(l->w.io, name, &bytes, &missing);
}

static void drop_first(struct locked *l)
{
    struct err err = {0};
    VW_OK(vw_drop_snapshot(&l->w, &l->w.snapshots[0], &err));
}

Test(locked, packs_are_not_thinned_before_their_time)
{
    struct locked *l = begin();
    lock_newest(l);
    drop_first(l);
    cr_expect_eq(thin(l), 0);
    cr_expect(pack_is_there(l, 0) && !pack_is_there(l, 1));
    clock_test_wall(l->until_us - 1);
    cr_expect_eq(thin(l), 0);
    cr_expect_eq(l->rewrites, 0);
    clock_test_wall(l->until_us);
    cr_expect_gt(thin(l), 0);
    cr_expect(!pack_is_there(l, 0) && pack_is_there(l, 1));
    cr_expect_eq(l->deletes, 0);
    end(l);
}

/* What a snapshot's lock covers is the object that its backend refuses to delete: a generation that
 * was being written meanwhile is none of those. */
Test(locked, a_pack_that_is_locked_while_it_is_thinned_stays)
{
    struct locked *l = begin();
    drop_first(l);
    l->locks_amid = true;
    cr_expect_eq(thin(l), 0);
    cr_assert(l->amid);
    cr_expect(pack_is_there(l, 0) && !pack_is_there(l, 1));
    cr_expect_eq(l->deletes, 0);
    clock_test_wall(l->until_us);
    cr_expect_gt(thin(l), 0);
    end(l);
}

/* The snapshot's lock counts running time, that of objects is a date: a clock that was set back
 * leaves objects locked whose snapshot may go. They go when their own time has come. */
Test(locked, packs_are_deleted_at_their_date_and_not_tried_before)
{
    struct err err = {0};
    struct locked *l = begin();
    AUTO(mem) struct vw_content *none = own_alloc(sizeof *none, &err);
    lock_newest(l);
    drop_first(l);
    VW_OK(vw_seal(&l->w, &l->w.volumes[0], none, true, &err));
    cr_assert_not(vw_drop_snapshot(&l->w, &l->w.snapshots[0], &err));
    cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
    err_clear(&err);
    clock_test_shift(LOCK_MS + 1000);
    for (size_t i = 0; i < l->w.snapshot_count; i++)
        if (l->w.snapshots[i].content.sizes[0] > 0)
            VW_OK(vw_drop_snapshot(&l->w, &l->w.snapshots[i], &err));
    cr_expect_eq(l->w.snapshot_count, 1);
    cr_expect(pack_is_there(l, 0));
    cr_expect_eq(l->deletes, 0, "%u deletions of what is locked", l->deletes);
    clock_test_wall(l->until_us);
    VW_OK(vw_seal(&l->w, &l->w.volumes[0], none, true, &err));
    cr_expect(!pack_is_there(l, 0));
    end(l);
}
