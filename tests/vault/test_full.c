/* Full disks: whatever is full, what is there can be deleted, and what that frees comes back. */
#include "tests/lib/privileged.h"
#include "tests/vault/volume_world.h"
#include <errno.h>
#include <fcntl.h>

enum { SMALL_MB = 12, RESERVE = 1 << 20, WAIT_MS = 20000, SNAPSHOTS = 150 };

static bool has_reserve(const struct world *w)
{
    char path[200];
    struct stat st;
    struct err missing = {0};
    IGNORE(str_format(path, sizeof path, "%s/reserve", w->box));
    return sys_lstat(path, &st, &missing);
}

static void wait_for_reserve(const struct world *w)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (!has_reserve(w)) {
        cr_assert(clock_mono_ms() < until, "the box has no reserve yet");
        usleep(10000); /* a bounded poll: nobody is told */
    }
}

static const char *why_closed(struct world *w, char ret[400])
{
    struct vault_volume_info info;
    world_ok(w, vault_volume_info(w->vault, "orcl", &info, &w->err));
    IGNORE(str_copy(ret, 400, info.closed));
    return ret;
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
