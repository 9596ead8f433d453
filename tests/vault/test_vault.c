/* The vault in stories: what is written is read, what was acknowledged survives, what was deleted
 * frees its room. */
#include "agent/base/sys_record.h"
#include "agent/base/waiting.h"
#include "tests/vault/between.h"
#include "tests/vault/volume_world.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

static void create(struct world *w, const char *volume)
{
    world_ok(w, vault_volume_create(w->vault, volume, &w->err));
}

Test(vault, keeps_a_file_over_snapshots_seals_and_crashes)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a.dbf", 'a', 40000, 0);
    world_snapshot(&w, "orcl", "s1");
    world_write(&w, "orcl", NULL, "a.dbf", 'b', 10000, 5000);
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'b', 10000, 5000);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'a', 5000, 0);
    world_crash(&w);
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'b', 10000, 5000);
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'b', 10000, 5000);
    world_crash(&w);
    world_expect(&w, "orcl", "s1", NULL, "a.dbf", 'a', 40000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'a', 5000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a.dbf", 'a', 25000, 15000);
    world_end(&w);
}

static void expect_code(struct world *w, bool ok, enum err_code code)
{
    cr_assert(!ok, "that should have failed");
    cr_assert_eq(w->err.code, code, "%s: %s", err_code_name(w->err.code), w->err.text);
    err_clear(&w->err);
}

static struct vault_snapshot_info snapshot_info(struct world *w, const char *volume,
                                                const char *name)
{
    size_t count = 0;
    AUTO(mem)
    struct vault_snapshot_info *list = vault_snapshot_list(w->vault, volume, &count, &w->err);
    world_ok(w, list != NULL);
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return list[i];
    return (struct vault_snapshot_info){0};
}

static void make_clone(struct world *w, const char *volume, const char *name, const char *snapshot)
{
    world_ok(w, vault_clone_create(w->vault, volume, name, snapshot, NULL, 0, &w->err));
}

Test(vault, clones_an_unsealed_snapshot_and_a_clone_of_it)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 30000, 0);
    world_snapshot(&w, "orcl", "s");
    make_clone(&w, "orcl", "c1", "s");
    world_write(&w, "orcl", "c1", "a", 'b', 10000, 0);
    world_write(&w, "orcl", NULL, "a", 'z', 30000, 0);
    world_snapshot(&w, "orcl/c1", "t");
    make_clone(&w, "orcl/c1", "c2", "t");
    world_write(&w, "orcl", "c2", "a", 'c', 100, 0);
    for (int round = 0; round < 3; round++) {
        world_expect(&w, "orcl", NULL, NULL, "a", 'z', 30000, 0);
        world_expect(&w, "orcl", NULL, "c1", "a", 'b', 10000, 0);
        world_expect(&w, "orcl", NULL, "c1", "a", 'a', 20000, 10000);
        world_expect(&w, "orcl", NULL, "c2", "a", 'c', 100, 0);
        world_expect(&w, "orcl", NULL, "c2", "a", 'b', 9900, 100);
        world_expect(&w, "orcl", NULL, "c2", "a", 'a', 20000, 10000);
        if (round == 0)
            world_crash(&w);
        else
            world_ok(&w, vault_seal(w.vault, "orcl/c1", &w.err));
    }
    world_end(&w);
}

Test(vault, lets_a_deleted_snapshot_go_with_the_last_clone_of_it)
{
    struct world w;
    uint64_t freed;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 300000, 0);
    world_snapshot(&w, "orcl", "s");
    make_clone(&w, "orcl", "c", "s");
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err));
    expect_code(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err), ERR_NOT_FOUND);
    world_write(&w, "orcl", NULL, "a", 'b', 300000, 0);
    world_snapshot(&w, "orcl", "s"); /* the name is free again */
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_expect(&w, "orcl", NULL, "c", "a", 'a', 300000, 0);
    world_crash(&w);
    world_expect(&w, "orcl", NULL, "c", "a", 'a', 300000, 0);
    struct view *view = world_view(&w, "orcl", NULL, "c");
    expect_code(&w, vault_clone_drop(w.vault, "orcl", "c", &w.err), ERR_BUSY);
    view_close(view);
    world_ok(&w, vault_clone_drop(w.vault, "orcl", "c", &w.err));
    expect_code(&w, vault_clone_drop(w.vault, "orcl", "c", &w.err), ERR_NOT_FOUND);
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err));
    world_ok(&w, vault_thin(w.vault, "orcl", &freed, &w.err));
    world_reopen(&w);
    world_expect(&w, "orcl", NULL, NULL, "a", 'b', 300000, 0);
    world_end(&w);
}

Test(vault, composes_a_clone_of_several_snapshots_and_the_live_area)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "data", 'a', 20000, 0);
    world_snapshot(&w, "orcl", "old");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_write(&w, "orcl", NULL, "data", 'b', 20000, 0);
    world_write(&w, "orcl", NULL, "log", 'l', 5000, 0);
    struct vault_part parts[] = {{"old", "data", "u/data.dbf"}, {NULL, "log", "arch/1.arc"}};
    world_ok(&w, vault_clone_create(w.vault, "orcl", "c", NULL, parts, 2, &w.err));
    world_write(&w, "orcl", NULL, "log", 'x', 9000, 0);
    for (int round = 0; round < 4; round++) {
        world_expect(&w, "orcl", NULL, "c", "u/data.dbf", 'a', 20000, 0);
        world_expect(&w, "orcl", NULL, "c", "arch/1.arc", 'l', 5000, 0);
        size_t count = 0;
        AUTO(mem)
        struct vault_snapshot_info *list = vault_snapshot_list(w.vault, "orcl", &count, &w.err);
        cr_assert_eq(count, 1, "what the clone holds of the live area is nobody's snapshot");
        if (round == 0)
            world_crash(&w);
        else
            world_ok(&w, vault_swap(w.vault, "orcl", "c", &w.err));
        if (round > 0)
            world_ok(&w, vault_seal(w.vault, "orcl/c", &w.err));
    }
    struct vault_part missing = {"old", "nothing", NULL};
    expect_code(&w, vault_clone_create(w.vault, "orcl", "d", NULL, &missing, 1, &w.err),
                ERR_NOT_FOUND);
    world_ok(&w, vault_clone_drop(w.vault, "orcl", "c", &w.err));
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "old", &w.err));
    world_reopen(&w);
    world_expect(&w, "orcl", NULL, NULL, "log", 'x', 9000, 0);
    world_end(&w);
}

/* All its sources are sealed, itself it has no row in the store before its own first seal. */
Test(vault, keeps_what_a_composed_clone_stands_on_though_its_source_is_deleted)
{
    struct world w;
    uint64_t freed;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "data", 'a', 300000, 0);
    world_snapshot(&w, "orcl", "old");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    struct vault_part part = {"old", "data", "u/data.dbf"};
    world_ok(&w, vault_clone_create(w.vault, "orcl", "c", NULL, &part, 1, &w.err));
    world_write(&w, "orcl", NULL, "data", 'b', 300000, 0);
    world_snapshot(&w, "orcl", "new");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "old", &w.err));
    world_ok(&w, vault_thin(w.vault, "orcl", &freed, &w.err));
    world_expect(&w, "orcl", NULL, "c", "u/data.dbf", 'a', 300000, 0);
    world_crash(&w);
    world_expect(&w, "orcl", NULL, "c", "u/data.dbf", 'a', 300000, 0);
    world_ok(&w, vault_clone_drop(w.vault, "orcl", "c", &w.err));
    world_end(&w);
}

Test(vault, serves_what_is_sealed_when_the_box_is_lost)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 50000, 0);
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_note_put(w.vault, "orcl", "s", NULL, "{\"hold\":1}", &w.err));
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    make_clone(&w, "orcl", "c", "s");
    world_write(&w, "orcl", "c", "a", 'c', 100, 0);
    world_snapshot(&w, "orcl/c", "t");
    world_ok(&w, vault_seal(w.vault, "orcl/c", &w.err));
    world_write(&w, "orcl", NULL, "a", 'b', 50000, 0);
    struct hash before = snapshot_info(&w, "orcl", "s").identity;
    vault_abandon(w.vault);
    world_ok(&w, sys_remove_tree(w.box, &w.err));
    world_open(&w);
    world_expect(&w, "orcl", "s", NULL, "a", 'a', 50000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a", 'a', 50000, 0);
    world_expect(&w, "orcl", NULL, "c", "a", 'c', 100, 0);
    world_expect(&w, "orcl/c", "t", NULL, "a", 'a', 40000, 10000);
    struct hash after = snapshot_info(&w, "orcl", "s").identity;
    cr_assert(hash_equal(&before, &after));
    AUTO(mem) char *note = vault_note_get(w.vault, "orcl", "s", NULL, &w.err);
    world_ok(&w, note != NULL);
    cr_assert_str_eq(note, "{\"hold\":1}");
    world_write(&w, "orcl", NULL, "a", 'd', 50000, 0);
    world_expect(&w, "orcl", NULL, NULL, "a", 'd', 50000, 0);
    world_end(&w);
}

Test(vault, gives_a_replayed_request_its_first_answer_also_after_a_crash)
{
    struct world w;
    struct view_file first, again;
    struct view_caller caller = {.client = 9, .xid = 1}, other = {.client = 9, .xid = 2};
    world_begin(&w);
    create(&w, "orcl");
    struct view *view = world_view(&w, "orcl", NULL, NULL);
    world_ok(&w, view_create(view, &caller, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &first, NULL,
                             &w.err));
    view_close(view);
    world_crash(&w);
    view = world_view(&w, "orcl", NULL, NULL);
    world_ok(&w, view_create(view, &caller, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &again, NULL,
                             &w.err));
    cr_assert_eq(first.file, again.file);
    expect_code(
        &w, view_create(view, &other, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &again, NULL, &w.err),
        ERR_EXISTS);
    world_ok(&w, view_remove(view, &other, VIEW_ROOT, "a", false, NULL, &w.err));
    world_ok(&w, view_remove(view, &other, VIEW_ROOT, "a", false, NULL, &w.err));
    other.xid++;
    expect_code(&w, view_remove(view, &other, VIEW_ROOT, "a", false, NULL, &w.err), ERR_NOT_FOUND);
    view_close(view);
    world_end(&w);
}

Test(vault, counts_a_lock_in_time_the_box_was_up)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 100, 0);
    world_snapshot(&w, "orcl", "s");
    clock_test_boot_id("first");
    uint64_t until = clock_boot_ms() + 100000;
    world_ok(&w, vault_snapshot_lock(w.vault, "orcl", "s", until, &w.err));
    expect_code(&w, vault_snapshot_lock(w.vault, "orcl", "s", 5, &w.err), ERR_PRECONDITION);
    expect_code(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err), ERR_PRECONDITION);
    clock_test_wall(clock_wall_us() + 1000000000ull * 86400);
    expect_code(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err), ERR_PRECONDITION);
    clock_test_wall(0);
    world_crash(&w);
    cr_assert_eq(snapshot_info(&w, "orcl", "s").locked_until_boot_ms, until);
    clock_test_shift(60000);
    world_reopen(&w); /* the orderly stop tells what remains */
    clock_test_boot_id("second");
    vault_abandon(w.vault);
    world_open(&w);
    uint64_t left = snapshot_info(&w, "orcl", "s").locked_until_boot_ms - clock_boot_ms();
    cr_assert(left > 30000 && left <= 40000, "%llu ms are left", (unsigned long long)left);
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    expect_code(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err), ERR_PRECONDITION);
    clock_test_shift(60000 + 41000);
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err));
    clock_test_shift(0);
    clock_test_boot_id(NULL);
    world_end(&w);
}

struct refusing {
    uint32_t failures;
    enum err_code code;
};
static bool refuse(void *arg, const struct memory_call *call, struct err *err)
{
    struct refusing *r = arg;
    if (r->failures == 0 || call->op == MEMORY_READ || call->op == MEMORY_SIZE)
        return true;
    r->failures--;
    return err_set(err, r->code, "the store says no");
}

Test(vault, keeps_layers_while_the_store_refuses_and_seals_them_later)
{
    struct world w;
    struct refusing refusing = {0, ERR_NO_SPACE};
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 50000, 0);
    world_snapshot(&w, "orcl", "s");
    memory_io_hook(w.memory, refuse, &refusing);
    refusing.failures = 1;
    expect_code(&w, vault_seal(w.vault, "orcl", &w.err), ERR_NO_SPACE);
    refusing = (struct refusing){1, ERR_UNAVAILABLE};
    expect_code(&w, vault_seal(w.vault, "orcl", &w.err), ERR_UNAVAILABLE);
    world_expect(&w, "orcl", "s", NULL, "a", 'a', 50000, 0);
    cr_assert(!snapshot_info(&w, "orcl", "s").sealed);
    refusing.failures = 0;
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    cr_assert(snapshot_info(&w, "orcl", "s").sealed);
    world_expect(&w, "orcl", "s", NULL, "a", 'a', 50000, 0);
    memory_io_hook(w.memory, NULL, NULL);
    world_end(&w);
}

Test(vault, tells_writers_to_come_again_when_the_store_cannot_keep_up)
{
    struct world w;
    struct vault_options options = {
        .seal_by_hand = true, .frozen_bytes = 100000, .layer_bytes = 50000, .wait_ms = 50};
    world_begin_with(&w, &options);
    create(&w, "orcl");
    struct view *view = world_view(&w, "orcl", NULL, NULL);
    uint64_t file = world_file(&w, view, "a");
    AUTO(mem) char *bytes = own_alloc(60000, &w.err);
    bool ok = true;
    for (uint64_t i = 0; ok && i < 40; i++)
        ok = view_write(view, file, bytes, 60000, i * 60000, true, NULL, &w.err) &&
             (memset(bytes, (int)i + 1, 60000), true);
    expect_code(&w, ok, ERR_BUSY);
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    uint64_t until = clock_mono_ms() + 30000; /* a swap's sync may take longer than wait_ms */
    do {
        w.err = (struct err){0};
        ok = view_write(view, file, "x", 1, 0, true, NULL, &w.err);
    } while (!ok && w.err.code == ERR_BUSY && clock_mono_ms() < until);
    world_ok(&w, ok);
    view_close(view);
    world_end(&w);
}

Test(vault, seals_by_itself_and_says_when)
{
    struct world w;
    bool sealed = false;
    world_begin_with(&w, &(struct vault_options){.layer_bytes = 100000});
    create(&w, "orcl");
    for (uint64_t i = 0; i < 20; i++)
        world_write(&w, "orcl", NULL, "a", (char)('a' + i), 40000, i * 40000);
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_snapshot_wait(w.vault, "orcl", "s", 30000, &sealed, &w.err));
    cr_assert(sealed);
    for (uint64_t i = 0; i < 20; i++)
        world_expect(&w, "orcl", "s", NULL, "a", (char)('a' + i), 40000, i * 40000);
    struct vault_volume_info info;
    world_ok(&w, vault_volume_info(w.vault, "orcl", &info, &w.err));
    cr_assert_eq(info.unsealed_bytes, 0);
    cr_assert_eq(info.logical_bytes, 800000);
    world_end(&w);
}

static bool no_b(void *arg, const char *path, uint64_t size, const uint8_t *first, uint64_t record,
                 const uint8_t *bytes, struct err *why)
{
    struct world *w = arg;
    cr_assert(first, "the file begins with a record");
    cr_assert_str_eq(path, "d/a.dbf");
    cr_assert_eq(size, 5 * RECORD_BYTES);
    cr_assert(w && first && first[0] == 'b');
    return bytes[0] != 'b' || record != 3 || err_set(why, ERR_CORRUPT, "no b");
}

Test(vault, keeps_and_names_the_records_that_the_check_refuses)
{
    struct world w;
    struct vault_options options = {.seal_by_hand = true, .check = no_b, .check_arg = &w};
    struct view_file folder, file;
    world_begin_with(&w, &options);
    create(&w, "orcl");
    struct view *view = world_view(&w, "orcl", NULL, NULL);
    world_ok(&w, view_create(view, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &folder, NULL,
                             &w.err));
    world_ok(&w, view_create(view, NULL, folder.file, "a.dbf", INODE_FILE, NULL, NULL, &file, NULL,
                             &w.err));
    char bytes[5 * RECORD_BYTES];
    memset(bytes, 'b', sizeof bytes);
    world_ok(&w, view_write(view, file.file, bytes, sizeof bytes, 0, true, NULL, &w.err));
    view_close(view);
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    cr_assert_eq(snapshot_info(&w, "orcl", "s").bad_records, 1);
    world_expect(&w, "orcl", "s", NULL, "d/a.dbf", 'b', sizeof bytes, 0);
    world_reopen(&w);
    cr_assert_eq(snapshot_info(&w, "orcl", "s").bad_records, 1);
    world_end(&w);
}

struct entries {
    size_t count;
    uint64_t last;
};
static bool take_three(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    struct entries *e = arg;
    cr_assert_gt(cookie, e->last);
    cr_assert(name[0] && file->file == cookie);
    e->last = cookie;
    return ++e->count % 3 != 0;
}

Test(vault, keeps_names_as_a_file_system_does)
{
    struct world w;
    struct view_file d, e, f, again;
    char target[64];
    bool end = false;
    world_begin(&w);
    create(&w, "orcl");
    struct view *v = world_view(&w, "orcl", NULL, NULL);
    world_ok(&w,
             view_create(v, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &d, NULL, &w.err));
    world_ok(&w, view_create(v, NULL, d.file, "e", INODE_DIRECTORY, NULL, NULL, &e, NULL, &w.err));
    world_ok(&w, view_create(v, NULL, e.file, "l", INODE_SYMLINK, "../x", NULL, &f, NULL, &w.err));
    world_ok(&w, view_readlink(v, f.file, target, sizeof target, &w.err));
    cr_assert_str_eq(target, "../x");
    expect_code(&w, view_remove(v, NULL, VIEW_ROOT, "d", true, NULL, &w.err), ERR_EXISTS);
    expect_code(&w, view_remove(v, NULL, VIEW_ROOT, "d", false, NULL, &w.err), ERR_PRECONDITION);
    expect_code(&w, view_rename(v, NULL, VIEW_ROOT, "d", e.file, "d", NULL, NULL, &w.err),
                ERR_INVALID);
    expect_code(&w, view_create(v, NULL, VIEW_ROOT, "..", INODE_FILE, NULL, NULL, &f, NULL, &w.err),
                ERR_INVALID);
    expect_code(&w,
                view_create(v, NULL, VIEW_ROOT, "a/b", INODE_FILE, NULL, NULL, &f, NULL, &w.err),
                ERR_INVALID);
    world_ok(&w, view_rename(v, NULL, d.file, "e", VIEW_ROOT, "moved", NULL, NULL, &w.err));
    world_ok(&w, view_remove(v, NULL, VIEW_ROOT, "d", true, NULL, &w.err));
    struct view_attributes a = {.set_mode = true,
                                .mode = 0640,
                                .set_uid = true,
                                .uid = 54321,
                                .set_mtime = true,
                                .mtime_us = 77};
    world_ok(&w, view_set(v, NULL, e.file, &a, &again, NULL, &w.err));
    for (int i = 0; i < 20; i++) {
        char name[8];
        str_format(name, sizeof name, "n%d", i);
        world_ok(&w, view_create(v, NULL, e.file, name, INODE_FILE, NULL, &a, &f, NULL, &w.err));
    }
    world_snapshot(&w, "orcl", "s");
    view_close(v);
    for (int round = 0; round < 3; round++) {
        v = world_view(&w, "orcl", round == 2 ? "s" : NULL, NULL);
        world_ok(&w, view_find(v, "moved/l", &f, &w.err));
        world_ok(&w, view_readlink(v, f.file, target, sizeof target, &w.err));
        cr_assert_str_eq(target, "../x");
        world_ok(&w, view_lookup(v, f.parent, "..", &again, &w.err));
        cr_assert_eq(again.file, VIEW_ROOT);
        cr_assert_eq(again.links, 3);
        world_ok(&w, view_stat(v, f.parent, 0, &again, &w.err));
        cr_assert_eq(again.mode, 0640);
        cr_assert_eq(again.uid, 54321);
        cr_assert_geq(again.mtime_us, 77);
        world_ok(&w, view_find(v, "moved/n7", &again, &w.err));
        cr_assert_eq(again.mtime_us, 77);
        struct entries entries = {0};
        size_t calls = 0;
        for (end = false; !end; calls++)
            world_ok(&w, view_list(v, f.parent, entries.last, take_three, &entries, &end, &w.err));
        cr_assert_eq(entries.count, 21);
        cr_assert_eq(calls, 8);
        if (round == 2)
            expect_code(&w, view_remove(v, NULL, f.parent, "l", false, NULL, &w.err), ERR_DENIED);
        view_close(v);
        world_crash(&w);
        if (round == 1)
            world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    }
    world_end(&w);
}

Test(vault, refuses_a_box_that_belongs_to_another_store_or_process)
{
    struct world w, other;
    world_begin(&w);
    world_begin(&other);
    create(&w, "orcl");
    struct err err = {0};
    cr_assert_null(vault_open(w.box, w.io, &w.options, &err));
    cr_assert_eq(err.code, ERR_BUSY, "%s", err.text);
    vault_close(w.vault);
    cr_assert_null(vault_open(w.box, other.io, &other.options, &err));
    cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
    world_open(&w);
    world_end(&w);
    world_end(&other);
}

static void long_names(struct world *w, unsigned count, unsigned round)
{
    struct view *v = world_view(w, "orcl", NULL, NULL);
    struct view_file file;
    for (unsigned i = 0; i < count; i++) {
        char name[250];
        str_format(name, sizeof name, "%0200u.%u", i, round);
        world_ok(
            w, view_create(v, NULL, VIEW_ROOT, name, INODE_FILE, NULL, NULL, &file, NULL, &w->err));
    }
    view_close(v);
}

Test(vault, forgets_a_long_journal_and_keeps_what_it_said)
{
    struct world w;
    struct view_file file;
    world_begin(&w);
    create(&w, "orcl");
    for (unsigned round = 0; round < 3; round++) {
        long_names(&w, 700, round);
        world_snapshot(&w, "orcl", round == 0 ? "s0" : round == 1 ? "s1" : "s2");
        if (round < 2)
            world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    }
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "s1", &w.err));
    struct view_file before;
    struct view *v = world_view(&w, "orcl", "s2", NULL);
    world_ok(&w, view_stat(v, VIEW_ROOT, 0, &before, &w.err));
    view_close(v);
    world_crash(&w);
    struct vault_volume_info info;
    world_ok(&w, vault_volume_info(w.vault, "orcl", &info, &w.err));
    v = world_view(&w, "orcl", "s2", NULL);
    world_ok(&w, view_stat(v, VIEW_ROOT, 0, &file, &w.err));
    cr_assert_eq(file.mtime_us, before.mtime_us);
    struct entries entries = {.count = 1};
    bool end = false;
    while (!end)
        world_ok(&w, view_list(v, VIEW_ROOT, entries.last, take_three, &entries, &end, &w.err));
    cr_assert_eq(entries.count, 2101);
    view_close(v);
    world_end(&w);
}

struct overtaking {
    struct world *w;
    char state[200];
    pthread_t thread;
    bool begun;
};

static void *seal_now(void *arg)
{
    struct world *w = arg;
    struct err err = {0};
    cr_assert(vault_seal(w->vault, "orcl", &err), "%s", err.text);
    return NULL;
}

/* Between a deletion's record and its sync: a seal replaces the journal. */
static void overtake(void *arg)
{
    struct overtaking *o = arg;
    struct stat st;
    struct err missing = {0};
    uint64_t until = clock_mono_ms() + 20000;
    o->begun = pthread_create(&o->thread, NULL, seal_now, o->w) == 0;
    while (!sys_lstat(o->state, &st, &missing)) {
        cr_assert(clock_mono_ms() < until, "there is no state");
        usleep(1000); /* a bounded poll: nobody is told */
    }
}

Test(vault, a_deletion_stays_one_when_a_state_replaces_its_record)
{
    struct world w;
    struct overtaking o = {.w = &w};
    struct vault_volume_info info;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 50000, 0);
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    make_clone(&w, "orcl", "c", "s"); /* so that the store keeps it */
    long_names(&w, 1300, 0);
    world_snapshot(&w, "orcl", "t");
    world_ok(&w, vault_volume_info(w.vault, "orcl", &info, &w.err));
    str_format(o.state, sizeof o.state, "%s/v/%016llx/state", w.box, (unsigned long long)info.id);
    waiting_listen(overtake, &o);
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err));
    waiting_listen(NULL, NULL);
    cr_assert(o.begun, "the deletion did not wait for its record");
    pthread_join(o.thread, NULL);
    world_crash(&w);
    cr_assert_eq(snapshot_info(&w, "orcl", "s").id, 0, "it is back");
    world_expect(&w, "orcl", NULL, "c", "a", 'a', 50000, 0);
    world_end(&w);
}

static uint64_t lock_in_store(struct world *w)
{
    static const uint8_t box[16] = "looks only";
    struct store_options options = {.threads = 1, .read_only = true};
    size_t count = 0;
    AUTO(store) struct store *store = store_open(w->io, box, &options, &w->err);
    AUTO(mem) uint64_t *ids = store_families(store, &count, &w->err);
    AUTO(family) struct family *family = family_open(store, ids[0], false, &w->err);
    AUTO(mem) struct snapshot_row *row = family_snapshots(family, ids[0], &count, &w->err);
    world_ok(w, count == 1);
    return row[0].lock_remaining_ms;
}

Test(vault, a_lock_that_the_store_did_not_take_is_asked_for_again)
{
    struct world w;
    struct refusing refusing = {1, ERR_UNAVAILABLE};
    uint64_t until = clock_boot_ms() + 600000;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 50000, 0);
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    memory_io_hook(w.memory, refuse, &refusing);
    expect_code(&w, vault_snapshot_lock(w.vault, "orcl", "s", until, &w.err), ERR_UNAVAILABLE);
    memory_io_hook(w.memory, NULL, NULL);
    cr_assert_eq(lock_in_store(&w), 0);
    world_ok(&w, vault_snapshot_lock(w.vault, "orcl", "s", until, &w.err));
    cr_assert_gt(lock_in_store(&w), 500000);
    world_end(&w);
}

/* The first name, from `*number` on, that is refused. */
static enum err_code fill_journal(struct world *w, unsigned *number)
{
    struct view *v = world_view(w, "orcl", NULL, NULL);
    struct view_file file;
    struct err err = {0};
    char name[250];
    do
        str_format(name, sizeof name, "%0200u", ++*number);
    while (*number < 20000 &&
           view_create(v, NULL, VIEW_ROOT, name, INODE_FILE, NULL, NULL, &file, NULL, &err));
    view_close(v);
    return err.code;
}

/* Until the vault's own room is used up too. */
static void fill_with_locks(struct world *w, const char *snapshot)
{
    struct err err = {0};
    for (uint64_t until = clock_boot_ms() + 1000; err.code == ERR_NONE; until++)
        IGNORE(vault_snapshot_lock(w->vault, "orcl", snapshot, until, &err));
    cr_assert_eq(err.code, ERR_LIMIT, "%s", err.text);
}

Test(vault, a_full_journal_is_mended_by_a_snapshot_and_its_seal)
{
    struct world w;
    struct err err = {0};
    unsigned number = 0;
    world_begin_with(&w, &(struct vault_options){.seal_by_hand = true, .journal_bytes = 1 << 20});
    create(&w, "orcl");
    cr_assert_eq(fill_journal(&w, &number), ERR_LIMIT);
    world_snapshot(&w, "orcl", "s");
    cr_assert_eq(fill_journal(&w, &number), ERR_LIMIT, "there was no room to come");
    fill_with_locks(&w, "s");
    for (int i = 0; i < 5; i++) /* each leaves a mark: now not even the seal can be noted */
        world_crash(&w);
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    unsigned before = number;
    cr_assert_eq(fill_journal(&w, &number), ERR_LIMIT);
    cr_assert_gt(number, before + 2000, "%u names fitted after the seal", number - before);
    world_snapshot(&w, "orcl", "t");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "t", &w.err));
    world_crash(&w);
    struct view *v = world_view(&w, "orcl", NULL, NULL);
    char name[250];
    struct view_file file;
    str_format(name, sizeof name, "%0200u", number - 1);
    world_ok(&w, view_lookup(v, VIEW_ROOT, name, &file, &w.err));
    str_format(name, sizeof name, "%0200u", number);
    cr_assert(!view_lookup(v, VIEW_ROOT, name, &file, &err) && err.code == ERR_NOT_FOUND);
    view_close(v);
    world_end(&w);
}

/* Up to the next layer. */
static size_t syncs_in(const struct sys_record *record)
{
    size_t count = 0;
    for (size_t i = 0; i < record->count && record->ops[i].kind != SYS_OP_MKDIR; i++)
        count += record->ops[i].kind == SYS_OP_SYNC;
    return count;
}

static bool holds_byte(struct world *w, const char *clone, uint64_t offset, char expected)
{
    AUTO(view) struct view *v = world_view(w, "orcl", NULL, clone);
    char byte = 0;
    uint64_t file = world_file(w, v, "a");
    return view_read(v, file, &byte, 1, offset, &w->err) == 1 && byte == expected;
}

Test(vault, makes_a_clone_with_three_syncs_and_its_layer_with_the_first_write)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 9000, 0);
    world_snapshot(&w, "orcl", "s1");
    sys_record_begin();
    world_ok(&w, vault_clone_create(w.vault, "orcl", "c1", "s1", NULL, 0, &w.err));
    AUTO(sys_record) struct sys_record record = sys_record_end();
    size_t syncs = 0;
    for (size_t i = 0; i < record.count; i++)
        syncs += record.ops[i].kind == SYS_OP_SYNC;
    cr_assert_leq(syncs, 3);
    world_crash(&w);
    cr_assert(holds_byte(&w, "c1", 8999, 'a'));
    world_reopen(&w);
    world_write(&w, "orcl", "c1", "a", 'b', 1, 8999);
    world_crash(&w);
    cr_assert(holds_byte(&w, "c1", 8998, 'a'));
    cr_assert(holds_byte(&w, "c1", 8999, 'b'));
    cr_assert(holds_byte(&w, NULL, 8999, 'a'));
    world_end(&w);
}

/* What is told of a snapshot once it is counted. */
static uint64_t unique_of(struct world *w, const char *name)
{
    uint64_t until = clock_mono_ms() + 10000, unique = UINT64_MAX;
    while (unique == UINT64_MAX && clock_mono_ms() < until) {
        size_t count = 0;
        AUTO(mem)
        struct vault_snapshot_info *list = vault_snapshot_list(w->vault, "orcl", &count, &w->err);
        world_ok(w, list != NULL);
        for (size_t i = 0; i < count; i++)
            if (strcmp(list[i].name, name) == 0)
                unique = list[i].unique_bytes;
        usleep(1000);
    }
    return unique;
}

static void sealed_snapshot(struct world *w, const char *name)
{
    bool sealed = false;
    world_snapshot(w, "orcl", name);
    world_ok(w, vault_snapshot_wait(w->vault, "orcl", name, 20000, &sealed, &w->err));
}

/* Thinning in the background may change both figures between two questions, never for long. */
static void check_unique(struct world *w, const char *name)
{
    uint64_t until = clock_mono_ms() + 10000, now = 0, later = 0, unique = 0;
    do {
        world_ok(w, vault_reclaimable(w->vault, "orcl", &name, 1, &now, &later, &w->err));
        unique = unique_of(w, name);
    } while (unique != now + later && clock_mono_ms() < until);
    cr_assert_eq(unique, now + later, "'%s' would free %llu, not %llu", name,
                 (unsigned long long)(now + later), (unsigned long long)unique);
}

Test(vault, tells_what_deleting_a_snapshot_would_free_also_after_its_neighbours_changed)
{
    struct world w;
    world_begin_with(&w, &(struct vault_options){0});
    create(&w, "orcl");
    for (int i = 0; i < 4; i++) {
        char name[8];
        str_format(name, sizeof name, "s%d", i);
        world_write(&w, "orcl", NULL, "a", (char)('a' + i), 400000, 0);
        sealed_snapshot(&w, name);
        for (int k = 0; k <= i; k++) {
            str_format(name, sizeof name, "s%d", k);
            check_unique(&w, name);
        }
    }
    cr_assert_gt(unique_of(&w, "s1"), 0);
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "s2", &w.err));
    check_unique(&w, "s1");
    check_unique(&w, "s3");
    world_ok(&w, vault_clone_create(w.vault, "orcl", "c1", "s1", NULL, 0, &w.err));
    world_reopen(&w);
    check_unique(&w, "s1");
    world_ok(&w, vault_clone_drop(w.vault, "orcl", "c1", &w.err));
    check_unique(&w, "s1");
    world_end(&w);
}

/* The keeper makes a spare; its folder is the newest. */
static bool has_spare(struct world *w, unsigned layers)
{
    AUTO(sys_names) struct sys_names volumes = {0}, folders = {0};
    char path[400];
    unsigned found = 0;
    str_format(path, sizeof path, "%s/v", w->box);
    world_ok(w, sys_list(path, &volumes, &w->err));
    str_format(path, sizeof path, "%s/v/%s", w->box, volumes.names[0]);
    world_ok(w, sys_list(path, &folders, &w->err));
    for (size_t i = 0; i < folders.count; i++)
        found += str_starts(folders.names[i], "l-");
    return found == layers;
}

Test(vault, takes_a_snapshot_with_the_syncs_of_data_log_and_journal)
{
    struct world w;
    world_begin(&w);
    create(&w, "orcl");
    for (unsigned i = 0; i < 5; i++) {
        char name[8];
        AUTO(view) struct view *v = world_view(&w, "orcl", NULL, NULL);
        uint64_t file = world_file(&w, v, "a");
        world_ok(&w, view_write(v, file, "x", 1, i * 10000, false, NULL, &w.err));
        str_format(name, sizeof name, "s%u", i);
        sys_record_begin();
        world_snapshot(&w, "orcl", name);
        AUTO(sys_record) struct sys_record record = sys_record_end();
        /* Data, its name, log, journal: then the keeper may have begun with the next layer. */
        cr_assert(i == 0 || (syncs_in(&record) >= 3 && syncs_in(&record) <= 4));
        uint64_t until = clock_mono_ms() + 5000;
        while (!has_spare(&w, i + 3) && clock_mono_ms() < until)
            usleep(1000);
        cr_assert(has_spare(&w, i + 3), "no layer was made ahead");
        /* Changes nothing, but waits until the keeper is done with it. */
        world_ok(&w, vault_snapshot_lock(w.vault, "orcl", name, 0, &w.err));
    }
    world_crash(&w);
    world_snapshot(&w, "orcl", "last");
    world_end(&w);
}

/* A call of the store has been made, of any kind. */
struct stir {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static bool see_stir(void *arg, const struct memory_call *call, struct err *err)
{
    struct stir *stir = arg;
    (void)call, (void)err;
    pthread_mutex_lock(&stir->lock);
    pthread_cond_broadcast(&stir->changed);
    pthread_mutex_unlock(&stir->lock);
    return true;
}

/* In whatever generation: a thinned pack is another object. */
static bool has_object(struct world *w, const char *part)
{
    char name[IO_NAME_MAX];
    for (size_t i = 0; memory_io_name(w->memory, i, name); i++)
        if (strstr(name, part))
            return true;
    return false;
}

Test(vault, gives_back_what_a_deleted_snapshot_had_and_the_live_area_has_overwritten)
{
    struct world w;
    struct stir stir = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
    const char *records = "/pack/00000001-";
    bool sealed = false;
    world_begin_with(&w, &(struct vault_options){.seal_threads = 1});
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 500000, 0);
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_snapshot_wait(w.vault, "orcl", "s", 20000, &sealed, &w.err) && sealed);
    cr_assert(has_object(&w, records));
    world_write(&w, "orcl", NULL, "a", 'b', 500000, 0);
    memory_io_hook(w.memory, see_stir, &stir);
    world_ok(&w, vault_snapshot_drop(w.vault, "orcl", "s", &w.err));
    uint64_t end = clock_mono_ms() + 20000;
    while (has_object(&w, records) && clock_mono_ms() < end) {
        struct timespec soon; /* the call was told of before it was made */
        clock_gettime(CLOCK_MONOTONIC, &soon);
        soon.tv_sec += 1;
        pthread_mutex_lock(&stir.lock);
        IGNORE(pthread_cond_clockwait(&stir.changed, &stir.lock, CLOCK_MONOTONIC, &soon));
        pthread_mutex_unlock(&stir.lock);
    }
    bool gone = !has_object(&w, records);
    world_expect(&w, "orcl", NULL, NULL, "a", 'b', 500000, 0);
    vault_close(TAKE(w.vault)); /* nobody calls the hook any more */
    memory_io_hook(w.memory, NULL, NULL);
    world_end(&w);
    cr_assert(gone, "its records stay until somebody takes the next snapshot");
}

Test(vault, holds_writers_for_a_moment_only_whatever_was_written)
{
    struct world w;
    uint64_t longest = 0;
    world_begin(&w);
    create(&w, "orcl");
    for (int i = 0; i < 9; i++) {
        char name[8];
        world_write(&w, "orcl", NULL, "a", 'a', (size_t)4096 << i, 0);
        str_format(name, sizeof name, "s%d", i);
        world_snapshot(&w, "orcl", name);
        uint64_t us = vault_pause_us(w.vault);
        longest = us > longest ? us : longest;
    }
    cr_log_info("the longest pause took %llu us", (unsigned long long)longest);
    cr_assert_lt(longest, 1000000);
    world_end(&w);
}

/* ---- a reader in its call while the file is cut, or goes ---- */

struct reader {
    struct view *view;
    uint64_t file;
    size_t size;
    char *bytes;
    ssize_t n;
    struct err err;
};
static sem_t in_call, go_on;
static _Thread_local bool held_once;

static bool hold_the_reader(const char *name)
{
    if (held_once && strcmp(name, "pread") == 0) {
        held_once = false;
        sem_post(&in_call);
        sem_wait(&go_on);
    }
    return true;
}

static void *read_and_be_held(void *arg)
{
    struct reader *r = arg;
    held_once = true;
    r->n = view_read(r->view, r->file, r->bytes, r->size, 0, &r->err);
    return NULL;
}

static void cut_to_ten(struct world *w, struct view *view, uint64_t file)
{
    struct view_attributes ten = {.set_size = true, .size = 10};
    struct view_file now;
    world_ok(w, view_set(view, NULL, file, &ten, &now, NULL, &w->err));
}

static void remove_it(struct world *w, struct view *view, uint64_t file)
{
    (void)file;
    world_ok(w, view_remove(view, NULL, VIEW_ROOT, "a", false, NULL, &w->err));
}

static void read_while(void (*happens)(struct world *w, struct view *view, uint64_t file),
                       struct reader *ret)
{
    struct world w;
    pthread_t thread;
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 100 * RECORD_BYTES, 0);
    struct view *view = world_view(&w, "orcl", NULL, NULL);
    AUTO(mem) char *bytes = own_alloc(100 * RECORD_BYTES, &w.err);
    *ret = (struct reader){.view = view,
                           .file = world_file(&w, view, "a"),
                           .size = 100 * RECORD_BYTES,
                           .bytes = bytes};
    sem_init(&in_call, 0, 0);
    sem_init(&go_on, 0, 0);
    between = hold_the_reader;
    cr_assert_eq(pthread_create(&thread, NULL, read_and_be_held, ret), 0);
    sem_wait(&in_call);
    happens(&w, view, ret->file);
    sem_post(&go_on);
    pthread_join(thread, NULL);
    between = NULL;
    for (ssize_t i = 0; i < ret->n; i++)
        cr_assert_eq(bytes[i], 'a', "byte %zd is %d", i, bytes[i]);
    view_close(view);
    world_end(&w);
}

Test(vault, a_read_takes_no_zeros_for_what_was_cut_meanwhile)
{
    struct reader r;
    read_while(cut_to_ten, &r);
    cr_expect_eq(r.n, 10, "%zd: %s", r.n, r.err.text);
}

Test(vault, a_read_takes_no_zeros_for_a_file_that_went_meanwhile)
{
    struct reader r;
    read_while(remove_it, &r);
    cr_expect(r.n < 0 && r.err.code == ERR_NOT_FOUND, "%zd: %s", r.n, r.err.text);
}

/* ---- a writer that waits for room while the keeper is held ---- */

struct writer {
    struct view *view;
    uint64_t file;
    bool ok;
    struct err err;
};
static sem_t waits;
static _Thread_local bool patient;
static atomic_bool slept_long;

/* A writer's waits are cut into slices of a second; without them only a broadcast ends one. */
int pthread_cond_timedwait(pthread_cond_t *on, pthread_mutex_t *lock, const struct timespec *until)
{
    enum { LONG_S = 60 };
    struct timespec later = *until;
    later.tv_sec += patient ? LONG_S : 0;
    int code = pthread_cond_clockwait(on, lock, CLOCK_MONOTONIC, &later);
    slept_long = slept_long || (patient && code != 0);
    return code;
}

static void tell_that_it_waits(void *arg)
{
    (void)arg;
    sem_post(&waits);
}

static void *write_when_there_is_room(void *arg)
{
    struct writer *wr = arg;
    patient = true;
    waiting_listen(tell_that_it_waits, NULL);
    wr->ok = view_write(wr->view, wr->file, "b", 1, 0, false, NULL, &wr->err);
    return NULL;
}

/* Where it begins to write back what the writers owe. */
static bool hold_the_keeper(const char *name)
{
    if (strcmp(name, "sync_file_range") == 0) {
        sem_post(&in_call);
        sem_wait(&go_on);
    }
    return true;
}

/* A writer goes on with anybody's commit that makes room, not only with the keeper's. */
Test(vault, writers_wait_for_a_commit_and_no_longer)
{
    enum { DEBT = 64 << 10 };
    struct world w;
    pthread_t thread;
    world_begin_with(&w, &(struct vault_options){.seal_by_hand = true, .debt_bytes = DEBT});
    create(&w, "orcl");
    struct view *view = world_view(&w, "orcl", NULL, NULL);
    struct writer writer = {.view = view, .file = world_file(&w, view, "a")};
    AUTO(mem) char *bytes = own_alloc(2 * DEBT, &w.err);
    memset(bytes, 'a', 2 * DEBT);
    sem_init(&waits, 0, 0);
    sem_init(&in_call, 0, 0);
    sem_init(&go_on, 0, 0);
    between = hold_the_keeper;
    world_ok(&w, view_write(view, writer.file, bytes, 2 * DEBT, 0, false, NULL, &w.err));
    cr_assert_eq(pthread_create(&thread, NULL, write_when_there_is_room, &writer), 0);
    sem_wait(&in_call);
    sem_wait(&waits);
    world_ok(&w, view_commit(view, writer.file, NULL, &w.err));
    pthread_join(thread, NULL);
    between = NULL;
    sem_post(&go_on);
    cr_expect(writer.ok, "%s", writer.err.text);
    cr_expect(!slept_long, "nobody told the writer that there was room");
    view_close(view);
    world_end(&w);
}

/* ---- a disk that takes one more write ---- */

static _Thread_local int writes_left = -1; /* no limit */

static bool let_one_write_go(const char *name)
{
    if (strcmp(name, "pwrite") != 0 || writes_left < 0)
        return true;
    errno = ENOSPC;
    return writes_left > 0 && writes_left--;
}

/* What a write left behind the size and could not clear shows neither now nor later. */
Test(vault, nothing_grows_over_what_a_failed_write_could_not_clear)
{
    struct world w;
    struct view_attributes grow = {.set_size = true, .size = 30000};
    struct view_file now;
    char bytes[30000];
    world_begin(&w);
    create(&w, "orcl");
    world_write(&w, "orcl", NULL, "a", 'a', 5000, 0);
    struct view *view = world_view(&w, "orcl", NULL, NULL);
    uint64_t file = world_file(&w, view, "a");
    memset(bytes, 'b', sizeof bytes);
    writes_left = 1;
    between = let_one_write_go;
    bool ok = view_write(view, file, bytes, 20000, 5000, false, NULL, &w.err);
    between = NULL;
    expect_code(&w, ok, ERR_NO_SPACE);
    expect_code(&w, view_set(view, NULL, file, &grow, &now, NULL, &w.err), ERR_IO);
    view_close(view);
    world_reopen(&w);
    view = world_view(&w, "orcl", NULL, NULL);
    world_ok(&w, view_set(view, NULL, file, &grow, &now, NULL, &w.err));
    world_ok(&w, view_read(view, file, bytes, sizeof bytes, 0, &w.err) == sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        cr_assert_eq(bytes[i], i < 5000 ? 'a' : 0, "byte %zu is %d", i, bytes[i]);
    view_close(view);
    world_end(&w);
}
