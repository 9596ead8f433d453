/* A store that does what it is asked and whose answer is lost, in one outage: what was done counts,
 * and is neither refused for ever nor done twice. */
#include "tests/vault/volume_world.h"
#include <limits.h>
#include <pthread.h>

/* From the first commit on: it is there, its answer is lost, and the next puts find no store. */
struct outage {
    pthread_mutex_t lock;
    int passing, lost, failing; /* still to come, in this order */
};

static bool down(void *arg, const struct memory_call *call, struct err *err)
{
    struct outage *o = arg;
    bool fails = false;
    pthread_mutex_lock(&o->lock);
    if (call->op == MEMORY_PUT && strstr(call->name, "/commit/") && o->lost == 0) {
        fails = o->failing > 0;
        o->failing -= fails;
    }
    pthread_mutex_unlock(&o->lock);
    return !fails || err_set(err, ERR_UNAVAILABLE, "the store is away");
}

static bool cut(void *arg, const struct memory_call *call, struct err *err)
{
    struct outage *o = arg;
    bool lost = false;
    pthread_mutex_lock(&o->lock);
    if (strstr(call->name, "/commit/") && o->passing-- <= 0) {
        lost = o->lost > 0;
        o->lost -= lost;
    }
    pthread_mutex_unlock(&o->lock);
    return !lost || err_set(err, ERR_UNAVAILABLE, "the line was cut");
}

static void outage_begin(struct world *w, struct outage *o)
{
    *o = (struct outage){.lock = PTHREAD_MUTEX_INITIALIZER, .lost = 1, .failing = 2};
    memory_io_hook(w->memory, down, o);
    memory_io_answer(w->memory, cut, o);
}

static void outage_end(struct world *w, const struct outage *o)
{
    memory_io_hook(w->memory, NULL, NULL);
    memory_io_answer(w->memory, NULL, NULL);
    cr_assert_eq(o->lost + o->failing, 0, "the outage was not noticed");
}

static void seal_through(struct world *w, const char *volume)
{
    struct outage o;
    struct err err = {0};
    outage_begin(w, &o);
    cr_assert_not(vault_seal(w->vault, volume, &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
    outage_end(w, &o);
}

static uint64_t unsealed(struct world *w, const char *volume)
{
    struct vault_volume_info info;
    world_ok(w, vault_volume_info(w->vault, volume, &info, &w->err));
    return info.unsealed_bytes;
}

static void create(struct world *w)
{
    world_begin(w);
    world_ok(w, vault_volume_create(w->vault, "orcl", &w->err));
    world_write(w, "orcl", NULL, "a", 'a', 100000, 0);
    world_snapshot(w, "orcl", "s");
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
}

Test(unheard, a_seal_whose_commit_arrived_goes_on_with_the_next_try)
{
    struct world w;
    create(&w);
    world_write(&w, "orcl", NULL, "a", 'b', 2 * RECORD_BYTES, 0);
    world_ok(&w, vault_swap(w.vault, "orcl", NULL, &w.err));
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_write(&w, "orcl", NULL, "a", 'c', RECORD_BYTES, 0);
    world_snapshot(&w, "orcl", "t");
    seal_through(&w, "orcl");
    /* Any change of the family finds out: what the seal freed is deleted. */
    world_ok(&w, vault_note_put(w.vault, "orcl", "s", NULL, "hold", &w.err));
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    cr_assert_eq(unsealed(&w, "orcl"), 0);
    for (int round = 0; round < 2; round++) {
        world_expect(&w, "orcl", NULL, NULL, "a", 'c', RECORD_BYTES, 0);
        world_expect(&w, "orcl", NULL, NULL, "a", 'b', RECORD_BYTES, RECORD_BYTES);
        world_expect(&w, "orcl", NULL, NULL, "a", 'a', 80000, 2 * RECORD_BYTES);
        world_expect(&w, "orcl", "t", NULL, "a", 'c', RECORD_BYTES, 0);
        world_expect(&w, "orcl", "s", NULL, "a", 'a', 100000, 0);
        world_reopen(&w);
    }
    world_write(&w, "orcl", NULL, "a", 'd', 30000, 0);
    world_snapshot(&w, "orcl", "u");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_expect(&w, "orcl", "u", NULL, "a", 'd', 30000, 0);
    world_end(&w);
}

Test(unheard, a_snapshot_deleted_while_its_commit_is_unknown_does_not_come_back)
{
    struct world w;
    create(&w);
    world_write(&w, "orcl", NULL, "a", 'b', 30000, 0);
    world_snapshot(&w, "orcl", "t");
    seal_through(&w, "orcl");
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "t", &w.err));
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    for (int round = 0; round < 2; round++) {
        size_t count = 0, rows = 0;
        AUTO(mem)
        struct vault_snapshot_info *list = vault_snapshot_list(w.vault, "orcl", &count, &w.err);
        cr_assert_eq(count, 1);
        vault_close(TAKE(w.vault));
        static const uint8_t box[16] = "looks only";
        struct store_options options = {.threads = 1, .read_only = true};
        AUTO(store) struct store *store = store_open(w.io, box, &options, &w.err);
        AUTO(mem) uint64_t *ids = store_families(store, &count, &w.err);
        AUTO(family) struct family *family = family_open(store, ids[0], false, &w.err);
        AUTO(mem) struct snapshot_row *row = family_snapshots(family, ids[0], &rows, &w.err);
        cr_assert_eq(rows, 1, "the store has %zu snapshots", rows);
        world_open(&w);
    }
    world_expect(&w, "orcl", NULL, NULL, "a", 'b', 30000, 0);
    world_end(&w);
}

Test(unheard, a_clone_whose_row_arrived_is_sealed_and_dropped_like_any_other)
{
    struct world w;
    struct outage o;
    struct err err = {0};
    create(&w);
    outage_begin(&w, &o);
    world_ok(&w, vault_clone_create(w.vault, "orcl", "c", "s", NULL, 0, &w.err));
    world_write(&w, "orcl", "c", "a", 'c', 30000, 0);
    world_ok(&w, vault_swap(w.vault, "orcl", "c", &w.err));
    /* The keeper may be the one who meets the outage. */
    while (!vault_seal(w.vault, "orcl/c", &err)) {
        cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
        err_clear(&err);
    }
    outage_end(&w, &o);
    world_reopen(&w);
    world_expect(&w, "orcl", NULL, "c", "a", 'c', 30000, 0);
    world_expect(&w, "orcl", NULL, "c", "a", 'a', 70000, 30000);
    world_ok(&w, vault_clone_drop(w.vault, "orcl", "c", &w.err));
    world_reopen(&w);
    struct view *view = view_open(w.vault, "orcl", NULL, "c", &err);
    cr_assert(!view && err.code == ERR_NOT_FOUND);
    world_end(&w);
}

/* Long pauses would leave readers without what the commit freed, once somebody else finds out. */
Test(unheard, a_seal_whose_commit_is_unknown_is_tried_each_second)
{
    enum { TRIES = 4, WAIT_MS = 20000 };
    struct world w;
    struct outage o;
    int failing = TRIES + 2;
    create(&w);
    w.options.seal_by_hand = false;
    world_reopen(&w);
    outage_begin(&w, &o);
    o.failing = failing;
    world_write(&w, "orcl", NULL, "a", 'b', 30000, 0);
    world_snapshot(&w, "orcl", "t");
    for (uint64_t until = clock_mono_ms() + WAIT_MS; failing > 0;) {
        cr_assert(clock_mono_ms() < until, "%d more tries were expected", failing);
        usleep(10000); /* a bounded poll: nobody is told */
        pthread_mutex_lock(&o.lock);
        failing = o.failing;
        pthread_mutex_unlock(&o.lock);
    }
    outage_end(&w, &o);
    bool sealed = false;
    world_ok(&w, vault_snapshot_wait(w.vault, "orcl", "t", WAIT_MS, &sealed, &w.err));
    world_expect(&w, "orcl", "t", NULL, "a", 'b', 30000, 0);
    world_end(&w);
}

static size_t volumes(struct world *w)
{
    size_t count = 0;
    own_free(vault_volume_list(w->vault, &count, &w->err));
    return count;
}

/* Its row is there, and nobody could be told nor take it back before the end of the outage. */
static void create_in_an_outage(struct world *w, struct outage *o)
{
    struct err err = {0};
    outage_begin(w, o);
    o->failing = INT_MAX;
    /* The first commit of a family is its owner's, and no volume's. */
    o->passing = 1;
    cr_assert_not(vault_volume_create(w->vault, "new", &err));
    cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
    cr_assert_eq(o->lost, 0, "the row did not come to be");
}

Test(unheard, a_volume_that_could_not_be_made_is_none_when_it_is_made_again)
{
    for (int crash = 0; crash < 2; crash++) {
        struct world w;
        struct outage o;
        create(&w);
        create_in_an_outage(&w, &o);
        if (crash)
            vault_abandon(TAKE(w.vault));
        memory_io_hook(w.memory, NULL, NULL);
        memory_io_answer(w.memory, NULL, NULL);
        if (crash)
            world_open(&w);
        cr_assert_eq(volumes(&w), 1);
        world_ok(&w, vault_volume_create(w.vault, "new", &w.err));
        world_write(&w, "new", NULL, "n", 'n', 30000, 0);
        for (int round = 0; round < 2; round++) {
            cr_assert_eq(volumes(&w), 2);
            world_expect(&w, "new", NULL, NULL, "n", 'n', 30000, 0);
            world_reopen(&w);
        }
        world_end(&w);
    }
}
