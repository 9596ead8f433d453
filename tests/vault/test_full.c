/* Full disks: whatever is full, what is there can be deleted, and what that frees comes back. */
#include "tests/lib/privileged.h"
#include "tests/lib/random.h"
#include "tests/vault/volume_world.h"
#include <errno.h>
#include <fcntl.h>

enum {
    SMALL_MB = 12,
    STORE_MB = 40,
    DATA = 1 << 20,
    RESERVE = 1 << 20,
    WAIT_MS = 20000,
    SNAPSHOTS = 150
};

static bool has_reserve(const struct world *w)
{
    char path[200];
    struct stat st;
    struct err missing = {0};
    IGNORE(str_format(path, sizeof path, "%s/reserve", w->box));
    return sys_lstat(path, &st, &missing);
}

static const char *why_closed(struct world *w, char ret[400])
{
    struct vault_volume_info info;
    world_ok(w, vault_volume_info(w->vault, "orcl", &info, &w->err));
    IGNORE(str_copy(ret, 400, info.closed));
    return ret;
}

/* There, and hosts may write. */
static void wait_for_reserve(struct world *w)
{
    char why[400];
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (!has_reserve(w) || strstr(why_closed(w, why), "full")) {
        cr_assert(clock_mono_ms() < until, "the box has no reserve yet");
        usleep(10000); /* a bounded poll: nobody is told */
    }
}

/* Not a byte is left on the file system of the folder. */
static void fill(struct world *w, const char *folder)
{
    static char piece[1 << 20];
    char path[200];
    struct err full = {0};
    uint64_t at = 0;
    IGNORE(str_format(path, sizeof path, "%s/filler", folder));
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600, &w->err);
    world_ok(w, fd >= 0);
    for (size_t size = sizeof piece; size >= 512; size /= 2) {
        while (sys_pwrite(fd, piece, size, at, path, &full))
            at += size;
        cr_assert_eq(full.code, ERR_NO_SPACE, "%s", full.text);
        err_clear(&full);
    }
}

static void empty(struct world *w, const char *folder)
{
    char path[200];
    IGNORE(str_format(path, sizeof path, "%s/filler", folder));
    world_ok(w, sys_unlink(path, &w->err));
}

/* Two snapshots, the older one sealed, a clone, and a volume of nothing else. */
static void furnish(struct world *w)
{
    world_ok(w, vault_volume_create(w->vault, "orcl", &w->err));
    world_ok(w, vault_volume_create(w->vault, "spare", &w->err));
    world_write(w, "orcl", NULL, "a", 'a', 500000, 0);
    world_snapshot(w, "orcl", "one");
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
    world_write(w, "orcl", NULL, "a", 'b', 500000, 0);
    world_snapshot(w, "orcl", "two");
    world_ok(w, vault_clone_create(w->vault, "orcl", "c", "one", NULL, 0, &w->err));
    world_write(w, "orcl", "c", "a", 'c', 100000, 0);
}

static void open_at(struct world *w, const char *box)
{
    *w = (struct world){.options = {.seal_by_hand = true, .reserve_bytes = RESERVE}};
    w->options.store.threads = 1;
    IGNORE(str_copy(w->box, sizeof w->box, box));
    w->io = memory_io_open(0, &w->memory, &w->err);
    world_ok(w, w->io != NULL);
    world_open(w);
}

static bool scratch_or_skip(struct scratch *scratch, const char *name)
{
    struct err err = {0};
    bool ok = scratch_mount(scratch, "tmpfs", SMALL_MB, &err);
    if (!ok)
        privileged_skipped("full", name, &err);
    return ok;
}

static const char *numbered(unsigned i, char ret[20])
{
    IGNORE(str_format(ret, 20, "s%u", i));
    return ret;
}

Test(full, a_full_box_opens_and_lets_everything_be_deleted)
{
    AUTO(scratch) struct scratch scratch = {0};
    struct world w;
    struct err err = {0};
    char box[160], why[400], name[20];
    if (!scratch_or_skip(&scratch, "a_full_box_opens_and_lets_everything_be_deleted"))
        return;
    IGNORE(str_format(box, sizeof box, "%s/box", scratch.mount));
    open_at(&w, box);
    furnish(&w);
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        world_snapshot(&w, "orcl", numbered(i, name));
    fill(&w, scratch.mount);
    cr_assert(has_reserve(&w));
    vault_abandon(w.vault);                  /* a stop would write too */
    world_open(&w);                          /* before the first deletion */
    for (unsigned i = 0; i < SNAPSHOTS; i++) /* the journal's last page takes some */
        world_ok(&w, vault_snapshot_drop(w.vault, "orcl", numbered(i, name), &w.err));
    cr_assert_not(has_reserve(&w));
    cr_assert(strstr(why_closed(&w, why), "full"), "'%s'", why);
    AUTO(view) struct view *view = world_view(&w, "spare", NULL, NULL);
    struct view_file file;
    cr_assert_not(
        view_create(view, NULL, VIEW_ROOT, "x", INODE_FILE, NULL, NULL, &file, NULL, &err));
    cr_assert_eq(err.code, ERR_NO_SPACE, "%s", err.text);
    view_close(TAKE(view));
    vault_abandon(w.vault);
    world_open(&w); /* and behind it */
    cr_assert_not(has_reserve(&w), "a part of it stayed");
    cr_assert(strstr(why_closed(&w, why), "full"), "'%s'", why);
    world_ok(&w, vault_clone_drop(w.vault, "orcl", "c", &w.err));
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "one", &w.err));
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "two", &w.err));
    world_ok(&w, vault_volume_drop(w.vault, "spare", &w.err));
    empty(&w, scratch.mount);
    wait_for_reserve(&w);
    world_write(&w, "orcl", NULL, "a", 'd', 100000, 0);
    cr_assert_str_eq(why_closed(&w, why), "");
    world_expect(&w, "orcl", NULL, NULL, "a", 'b', 400000, 100000);
    vault_close(w.vault);
    io_close(w.io);
}

/* Wherever an opening finds the disk full, it goes on with the reserve's room. */
Test(full, an_opening_that_hears_of_a_full_disk_is_tried_once_more)
{
    struct world w;
    bool fired = true;
    world_begin(&w);
    furnish(&w);
    long nth = 1;
    for (; fired; nth++) {
        vault_close(TAKE(w.vault));
        IGNORE(sys_fault(nth, ENOSPC) < 0);
        w.vault = vault_open(w.box, w.io, &w.options, &w.err);
        fired = sys_fault(0, 0) >= nth;
        cr_assert(w.vault != NULL, "call %ld: %s", nth, w.err.text);
        wait_for_reserve(&w);
        world_expect(&w, "orcl", "one", NULL, "a", 'a', 500000, 0);
    }
    cr_assert_gt(nth, 20);
    world_end(&w);
}

/* ret_ok: it was deleted. */
typedef bool deletion(struct world *w);
static bool drop_snapshot(struct world *w)
{
    return vault_snapshot_drop(w->vault, "orcl", "two", &w->err);
}
static bool drop_clone(struct world *w) { return vault_clone_drop(w->vault, "orcl", "c", &w->err); }
static bool drop_volume(struct world *w) { return vault_volume_drop(w->vault, "spare", &w->err); }

/* Of a journal whose sync failed nothing is known before the box is opened anew: then it was
 * deleted, or can be. */
static bool deleted_anew(struct world *w, deletion *drop)
{
    char why[400];
    if (!strstr(why_closed(w, why), "closed to changes"))
        return false;
    err_clear(&w->err);
    world_reopen(w);
    return drop(w) || w->err.code == ERR_NOT_FOUND;
}

/* Whichever call of it finds no room. */
Test(full, every_deletion_goes_on_with_the_reserves_room)
{
    static deletion *const deletions[] = {drop_snapshot, drop_clone, drop_volume};
    for (size_t i = 0; i < sizeof deletions / sizeof *deletions; i++) {
        bool fired = true;
        for (long nth = 1; fired; nth++) {
            struct world w;
            world_begin(&w);
            furnish(&w);
            IGNORE(sys_fault(nth, ENOSPC) < 0);
            bool ok = deletions[i](&w);
            fired = sys_fault(0, 0) >= nth;
            cr_assert(ok || deleted_anew(&w, deletions[i]), "deletion %zu, call %ld: %s", i, nth,
                      w.err.text);
            wait_for_reserve(&w);
            world_end(&w);
        }
    }
}

/* ---- the store ---- */

/* What it takes in the store is what it is. */
static void write_noise(struct world *w, const char *name, uint64_t seed, size_t size)
{
    AUTO(view) struct view *view = world_view(w, "orcl", NULL, NULL);
    AUTO(mem) char *bytes = own_alloc(size, &w->err);
    struct rnd noise = {seed};
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word = rnd_next(&noise);
        memcpy(bytes + i, &word, 8);
    }
    world_ok(w, view_write(view, world_file(w, view, name), bytes, size, 0, true, NULL, &w->err));
}

static uint64_t stored(struct world *w)
{
    struct vault_volume_info info;
    world_ok(w, vault_volume_info(w->vault, "orcl", &info, &w->err));
    return info.stored_bytes;
}

static uint64_t store_reserved(struct world *w)
{
    uint64_t bytes = 0;
    world_ok(w, store_reserve(w->io, &bytes, &w->err));
    return bytes;
}

static void seal_snapshot(struct world *w, const char *name)
{
    world_snapshot(w, "orcl", name);
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
}

/* Of "old" three quarters are overwritten; then a layer that is not sealed yet. */
static void furnish_store(struct world *w)
{
    world_ok(w, vault_volume_create(w->vault, "orcl", &w->err));
    write_noise(w, "data", 1, DATA);
    seal_snapshot(w, "old");
    write_noise(w, "data", 2, DATA * 3 / 4);
    seal_snapshot(w, "new");
    world_ok(w, vault_clone_create(w->vault, "orcl", "c", "new", NULL, 0, &w->err));
    write_noise(w, "more", 3, 100000);
    world_snapshot(w, "orcl", "last");
    cr_assert_geq(store_reserved(w), DATA, "less than the largest pack");
}

static void expect_no_seal(struct world *w)
{
    struct err err = {0};
    cr_assert_not(vault_seal(w->vault, "orcl", &err), "it is sealed on a full store");
    cr_assert_eq(err.code, ERR_NO_SPACE, "%s", err.text);
}

/* Not a byte is free. Whenever it is restarted, all can be deleted, and room comes of it. */
static void empty_full_store(struct world *w)
{
    uint64_t freed = 0, full = stored(w);
    expect_no_seal(w);
    vault_abandon(w->vault);
    world_open(w);
    world_ok(w, vault_snapshot_drop(w->vault, "orcl", "old", &w->err));
    cr_assert_eq(store_reserved(w), 0, "neither opening nor deleting needed it");
    expect_no_seal(w);
    vault_abandon(w->vault);
    world_open(w);
    world_ok(w, vault_thin(w->vault, "orcl", &freed, &w->err));
    cr_assert_gt(freed, DATA / 2);
    cr_assert_lt(stored(w), full - DATA / 2);
    world_ok(w, vault_clone_drop(w->vault, "orcl", "c", &w->err));
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
    cr_assert_gt(store_reserved(w), DATA / 4, "it is not there again");
    world_reopen(w);
    for (const char *const *name = (const char *[]){"new", "last", NULL}; *name; name++)
        world_ok(w, vault_snapshot_drop(w->vault, "orcl", *name, &w->err));
    world_ok(w, vault_volume_drop(w->vault, "orcl", &w->err));
}

static void begin_limited(struct world *w)
{
    world_begin(w);
    vault_close(TAKE(w->vault));
    memory_io_limit(w->memory, (uint64_t)STORE_MB << 20);
    world_open(w);
    furnish_store(w);
}

/* Somebody else's: it holds all that was free. */
static void fill_memory(struct world *w)
{
    uint64_t room = ((uint64_t)STORE_MB << 20) - memory_io_bytes(w->memory);
    AUTO(mem) char *bytes = own_alloc(room, &w->err);
    world_ok(w, bytes && memory_io_set(w->memory, "filler", bytes, room, &w->err));
}

Test(full, a_store_without_a_free_byte_can_be_emptied)
{
    struct world w;
    begin_limited(&w);
    fill_memory(&w);
    empty_full_store(&w);
    world_end(&w);
}

Test(full, a_store_on_a_full_disk_can_be_emptied)
{
    AUTO(scratch) struct scratch scratch = {0};
    struct world w = {.options = {.seal_by_hand = true, .reserve_bytes = 4096}};
    struct err err = {0};
    char store[160];
    if (!scratch_mount(&scratch, "tmpfs", STORE_MB, &err)) {
        privileged_skipped("full", "a_store_on_a_full_disk_can_be_emptied", &err);
        return;
    }
    IGNORE(str_format(store, sizeof store, "%s/store", scratch.mount));
    IGNORE(str_format(w.box, sizeof w.box, "%s/evercopy-vault.XXXXXX", P_tmpdir));
    cr_assert(mkdtemp(w.box));
    w.io = io_open(store, NULL, 0, &w.err);
    world_ok(&w, w.io != NULL);
    world_open(&w);
    furnish_store(&w);
    fill(&w, scratch.mount);
    empty_full_store(&w);
    world_end(&w);
}

/* Nobody thins or seals by hand. */
Test(full, what_a_deletion_frees_on_a_full_store_lets_sealing_go_on)
{
    struct world w;
    bool sealed = false;
    begin_limited(&w);
    fill_memory(&w);
    w.options.seal_by_hand = false;
    world_reopen(&w);
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "old", &w.err));
    world_ok(&w, vault_snapshot_wait(w.vault, "orcl", "last", WAIT_MS, &sealed, &w.err));
    cr_assert(sealed && store_reserved(&w) >= DATA, "it is not there again");
    world_end(&w);
}

/* In the middle of a seal somebody deletes: what that frees is not for the seal. */
static bool drop_meanwhile(void *arg, const struct memory_call *call, struct err *err)
{
    struct world *w = arg;
    (void)err;
    if (call->op != MEMORY_CREATE || !strstr(call->name, "/pack/"))
        return true;
    memory_io_hook(w->memory, NULL, NULL);
    fill_memory(w);
    world_ok(w, vault_snapshot_drop(w->vault, "orcl", "old", &w->err));
    cr_assert_eq(store_reserved(w), 0, "it was not needed");
    return true;
}

Test(full, what_a_reserve_leaves_free_is_not_for_a_seal_that_had_begun)
{
    struct world w;
    begin_limited(&w);
    memory_io_hook(w.memory, drop_meanwhile, &w);
    expect_no_seal(&w);
    uint64_t freed = 0;
    world_ok(&w, vault_thin(w.vault, "orcl", &freed, &w.err));
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    cr_assert_gt(store_reserved(&w), 0);
    world_end(&w);
}

/* The older pack has more to keep than there is room for. */
Test(full, thinning_takes_what_it_has_room_for)
{
    struct world w;
    struct err err = {0};
    uint64_t freed = 0;
    world_begin(&w);
    world_ok(&w, vault_volume_create(w.vault, "orcl", &w.err));
    write_noise(&w, "large", 1, (size_t)4 * DATA);
    seal_snapshot(&w, "one");
    write_noise(&w, "data", 2, DATA);
    seal_snapshot(&w, "two");
    write_noise(&w, "large", 3, (size_t)4 * DATA / 3);
    write_noise(&w, "data", 4, DATA * 3 / 4);
    seal_snapshot(&w, "three");
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "one", &w.err));
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "two", &w.err));
    memory_io_limit(w.memory, memory_io_bytes(w.memory) + DATA / 3);
    cr_assert_not(vault_thin(w.vault, "orcl", &freed, &err));
    cr_assert_eq(err.code, ERR_NO_SPACE, "%s", err.text);
    cr_assert_gt(freed, DATA / 2);
    memory_io_limit(w.memory, UINT64_MAX);
    world_ok(&w, vault_thin(w.vault, "orcl", &freed, &w.err));
    cr_assert_gt(freed, DATA);
    world_end(&w);
}
