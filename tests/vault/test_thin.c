/* What dies in a pack comes back by itself, and after a crash too. */
#include "tests/lib/random.h"
#include "tests/vault/volume_world.h"

enum { SIZE = 1 << 20, CHANGED = SIZE * 3 / 4, WAIT_MS = 20000 };

struct thin_world {
    struct world w; /* first */
    struct rnd noise;
    char bytes[SIZE];
};

/* Noise: what it takes in the store is what it is. */
static void write_noise(struct thin_world *t, size_t size)
{
    AUTO(view) struct view *view = world_view(&t->w, "orcl", NULL, NULL);
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word = rnd_next(&t->noise);
        memcpy(t->bytes + i, &word, 8);
    }
    world_ok(&t->w, view_write(view, world_file(&t->w, view, "data"), t->bytes, size, 0, true, NULL,
                               &t->w.err));
}

static uint64_t stored(struct thin_world *t)
{
    struct vault_volume_info info;
    world_ok(&t->w, vault_volume_info(t->w.vault, "orcl", &info, &t->w.err));
    return info.stored_bytes;
}

static void expect_less_than(struct thin_world *t, uint64_t bytes)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (stored(t) >= bytes) {
        cr_assert(clock_mono_ms() < until, "still %llu bytes, expected less than %llu",
                  (unsigned long long)stored(t), (unsigned long long)bytes);
        usleep(10000); /* a bounded poll: nobody is told */
    }
}

static void expect_content(struct thin_world *t)
{
    AUTO(view) struct view *view = world_view(&t->w, "orcl", NULL, NULL);
    AUTO(mem) char *bytes = own_alloc(SIZE, &t->w.err);
    struct view_file file;
    world_ok(&t->w, view_find(view, "data", &file, &t->w.err));
    cr_assert_eq(view_read(view, file.file, bytes, SIZE, 0, &t->w.err), SIZE);
    cr_assert(memcmp(bytes, t->bytes, SIZE) == 0, "what is read is not what was written");
}

/* Two snapshots, three quarters of the file changed between them; nothing is deleted yet. */
static struct thin_world *begin(const struct vault_options *options)
{
    struct err err = {0};
    struct thin_world *t = own_alloc(sizeof *t, &err);
    cr_assert(t != NULL);
    world_begin_with(&t->w, options);
    t->noise = (struct rnd){20261121};
    world_ok(&t->w, vault_volume_create(t->w.vault, "orcl", &t->w.err));
    write_noise(t, SIZE);
    world_snapshot(&t->w, "orcl", "old");
    world_ok(&t->w, vault_seal(t->w.vault, "orcl", &t->w.err));
    write_noise(t, CHANGED);
    world_snapshot(&t->w, "orcl", "new");
    world_ok(&t->w, vault_seal(t->w.vault, "orcl", &t->w.err));
    return t;
}

static void end(struct thin_world *t)
{
    expect_content(t);
    world_end(&t->w);
    own_free(t);
}

Test(thin, what_a_deletion_frees_comes_back_by_itself)
{
    struct thin_world *t = begin(&(struct vault_options){.seal_threads = 1});
    uint64_t before = stored(t);
    cr_assert_gt(before, SIZE + CHANGED - SIZE / 8);
    world_ok(&t->w, vault_snapshot_drop(t->w.vault, "orcl", "old", &t->w.err));
    expect_less_than(t, before - CHANGED * 9 / 10);
    expect_content(t);
    world_reopen(&t->w);
    end(t);
}

Test(thin, what_a_crash_left_undone_is_done_after_it)
{
    struct thin_world *t = begin(&(struct vault_options){.seal_by_hand = true});
    uint64_t before = stored(t);
    world_ok(&t->w, vault_snapshot_drop(t->w.vault, "orcl", "old", &t->w.err));
    cr_assert_gt(stored(t), before - CHANGED / 2, "thinned although nobody is to");
    t->w.options.seal_by_hand = false;
    t->w.options.seal_threads = 1;
    world_crash(&t->w);
    expect_less_than(t, before - CHANGED * 9 / 10);
    end(t);
}

Test(thin, by_hand_it_waits_for_who_is_at_it)
{
    struct thin_world *t = begin(&(struct vault_options){.seal_threads = 1});
    uint64_t before = stored(t), freed;
    world_ok(&t->w, vault_snapshot_drop(t->w.vault, "orcl", "old", &t->w.err));
    world_ok(&t->w, vault_thin(t->w.vault, "orcl", &freed, &t->w.err));
    expect_less_than(t, before - CHANGED * 9 / 10);
    end(t);
}
