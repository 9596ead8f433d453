/* Families on a store in memory: sealed, read, dropped, thinned, reopened, against a model. */
#include "tests/vault/vault_world.h"

static unsigned first_seed(void)
{
    const char *given = getenv("EVERCOPY_SEED");
    return given ? (unsigned)atoi(given) : (unsigned)clock_wall_us();
}

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
        const struct vw_snapshot *from[2] = {
            &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)],
            &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)]};
        VW_OK(vw_below(w, 3) > 0 ? vw_add_clone(w, from[0], &err) : vw_compose(w, from, &err));
    } else if (what < 80 && w->snapshot_count > 0) {
        struct vw_snapshot *snapshot = &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)];
        if (!snapshot->hidden)
            VW_OK(vw_drop_snapshot(w, snapshot, &err));
    } else if (what < 87 && w->volume_count > 1) {
        if (!vw_drop_volume(w, volume, &err))
            cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
    } else if (what < 94) {
        uint64_t freed;
        VW_OK(family_thin(w->family, NULL, NULL, &freed, &err));
    } else {
        vw_close(w);
        VW_OK(vw_try_open(w, false, &err));
    }
}

/* Each step looks at every byte, so worlds are short: they are full after a hundred steps. */
static void one_world(unsigned seed, unsigned steps)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    printf("seed %u\n", seed);
    fflush(stdout);
    vw_begin(w, seed);
    VW_OK(vw_add_landing(w, &err));
    for (unsigned i = 0; i < steps; i++) {
        random_step(w);
        vw_check(w);
    }
    /* At the end everything goes, and nothing is left. */
    for (unsigned i = 0; w->volume_count > 0 && i < 100; i++) {
        for (size_t k = w->snapshot_count; k-- > 0;)
            if (k < w->snapshot_count && !w->snapshots[k].hidden)
                VW_OK(vw_drop_snapshot(w, &w->snapshots[k], &err));
        for (size_t k = w->volume_count; k-- > 0;)
            if (k < w->volume_count && !vw_drop_volume(w, &w->volumes[k], &err))
                cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
    }
    struct family_stat stat;
    VW_OK(family_stat(w->family, &stat, &err));
    cr_assert_eq(w->volume_count, 0);
    cr_assert_eq(stat.pack_count, 0);
    vw_check(w);
    vw_end(w);
}

Test(family, keeps_every_byte_of_every_snapshot_head_and_clone)
{
    bool more = getenv("EVERCOPY_LONG");
    unsigned seed = first_seed();
    for (unsigned world = 0; world < (more ? 3 : 1); world++)
        one_world(seed + world, more ? 200 : 35);
}
