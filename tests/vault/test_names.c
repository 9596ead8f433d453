/* Names and attributes as a client of a network file system needs them: what a change did and
 * nothing else, guards, creates that tell their own from others', answers given once more. */
#include "tests/vault/volume_world.h"

static void expect_code(struct world *w, bool ok, enum err_code code)
{
    cr_assert(!ok, "that should have failed");
    cr_assert_eq(w->err.code, code, "%s: %s", err_code_name(w->err.code), w->err.text);
    err_clear(&w->err);
}

static struct view *begin(struct world *w)
{
    world_begin(w);
    world_ok(w, vault_volume_create(w->vault, "orcl", &w->err));
    return world_view(w, "orcl", NULL, NULL);
}

static void end(struct world *w, struct view *view)
{
    view_close(view);
    world_end(w);
}

static struct view *crashed(struct world *w, struct view *view)
{
    view_close(view);
    world_crash(w);
    return world_view(w, "orcl", NULL, NULL);
}

static struct view_file stat_of(struct world *w, struct view *view, uint64_t file)
{
    struct view_file now;
    world_ok(w, view_stat(view, file, 0, &now, &w->err));
    return now;
}

static void expect_same(const struct view_file *a, const struct view_file *b)
{
    cr_assert_eq(a->file, b->file);
    cr_assert_eq(a->links, b->links);
    cr_assert_eq(a->size, b->size);
    cr_assert_eq(a->mtime_us, b->mtime_us);
    cr_assert_eq(a->ctime_us, b->ctime_us);
    cr_assert_eq(a->atime_us, b->atime_us);
}

/* Before is what was there, after what is: with nothing of anybody else between. */
static void expect_change(struct world *w, struct view *view, const struct view_file *before,
                          const struct view_change *change, bool mtime_too)
{
    struct view_file now = stat_of(w, view, before->file);
    expect_same(&change->before, before);
    expect_same(&change->after, &now);
    cr_assert_gt(now.ctime_us, before->ctime_us);
    if (mtime_too)
        cr_assert_gt(now.mtime_us, before->mtime_us);
}

Test(names, every_change_of_a_folder_is_told_and_makes_its_times_later)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_file d, e, f, root = stat_of(&w, v, VIEW_ROOT);
    struct view_change c = {0}, to = {0};
    world_ok(&w, view_create(v, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &d, &c, &w.err));
    expect_change(&w, v, &root, &c, true);
    for (int i = 0; i < 200; i++) { /* many in a microsecond's reach */
        char name[8];
        str_format(name, sizeof name, "n%d", i);
        d = stat_of(&w, v, d.file);
        world_ok(&w, view_create(v, NULL, d.file, name, INODE_FILE, NULL, NULL, &f, &c, &w.err));
        expect_change(&w, v, &d, &c, true);
    }
    d = stat_of(&w, v, d.file);
    root = stat_of(&w, v, VIEW_ROOT);
    world_ok(&w, view_rename(v, NULL, d.file, "n199", VIEW_ROOT, "moved", &c, &to, &w.err));
    expect_change(&w, v, &d, &c, true);
    expect_change(&w, v, &root, &to, true);
    cr_assert_gt(stat_of(&w, v, f.file).ctime_us, f.ctime_us);
    cr_assert_eq(stat_of(&w, v, f.file).mtime_us, f.mtime_us);
    d = stat_of(&w, v, d.file);
    world_ok(&w, view_remove(v, NULL, d.file, "n0", false, &c, &w.err));
    expect_change(&w, v, &d, &c, true);
    d = stat_of(&w, v, d.file);
    world_ok(&w, view_create(v, NULL, d.file, "e", INODE_DIRECTORY, NULL, NULL, &e, &c, &w.err));
    cr_assert_eq(c.after.links, c.before.links + 1);
    world_ok(&w, view_remove(v, NULL, d.file, "e", true, &c, &w.err));
    cr_assert_eq(c.after.links, d.links);
    d = stat_of(&w, v, d.file);
    v = crashed(&w, v);
    e = stat_of(&w, v, d.file);
    expect_same(&d, &e);
    end(&w, v);
}

Test(names, a_refused_change_tells_how_the_folder_stands)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_file f, root;
    struct view_change c, to;
    world_ok(&w, view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &f, NULL, &w.err));
    world_ok(&w,
             view_create(v, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &f, NULL, &w.err));
    root = stat_of(&w, v, VIEW_ROOT);
    expect_code(&w, view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &f, &c, &w.err),
                ERR_EXISTS);
    expect_same(&c.before, &root);
    expect_same(&c.after, &root);
    expect_code(&w, view_remove(v, NULL, VIEW_ROOT, "x", false, &c, &w.err), ERR_NOT_FOUND);
    expect_same(&c.after, &root);
    expect_code(&w, view_remove(v, NULL, VIEW_ROOT, "d", false, &c, &w.err), ERR_PRECONDITION);
    expect_same(&c.after, &root);
    expect_code(&w, view_rename(v, NULL, VIEW_ROOT, "a", VIEW_ROOT, "d", &c, &to, &w.err),
                ERR_PRECONDITION);
    expect_same(&c.after, &root);
    expect_same(&to.before, &root);
    expect_code(&w, view_remove(v, NULL, 999, "x", false, &c, &w.err), ERR_NOT_FOUND);
    cr_assert_eq(c.before.file, 0);
    end(&w, v);
}

Test(names, every_change_of_a_file_is_told_and_survives)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_change c = {0};
    struct view_file f = stat_of(&w, v, world_file(&w, v, "a"));
    for (int i = 0; i < 200; i++) {
        world_ok(&w, view_write(v, f.file, "x", 1, 0, false, &c, &w.err));
        expect_change(&w, v, &f, &c, true);
        f = stat_of(&w, v, f.file);
    }
    struct view_attributes size = {.set_size = true, .size = 1}, mode = {.set_mode = true};
    struct view_attributes past = {.set_mtime = true, .mtime_us = 77};
    struct view_attributes future = {.set_mtime = true, .mtime_us = f.mtime_us + 1000000000};
    world_ok(&w, view_set(v, NULL, f.file, &size, &f, &c, &w.err));
    expect_change(&w, v, &c.before, &c, true);
    world_ok(&w, view_set(v, NULL, f.file, &mode, &f, &c, &w.err));
    expect_change(&w, v, &c.before, &c, false);
    cr_assert_eq(c.after.mtime_us, c.before.mtime_us);
    const struct view_attributes *times[] = {&past, &future};
    for (int i = 0; i < 2; i++) {
        world_ok(&w, view_set(v, NULL, f.file, times[i], &f, &c, &w.err));
        expect_change(&w, v, &c.before, &c, false);
        cr_assert_eq(f.mtime_us, times[i]->mtime_us);
        v = crashed(&w, v);
        struct view_file again = stat_of(&w, v, f.file);
        expect_same(&f, &again);
        world_ok(&w, view_write(v, f.file, "xyz", 3, 0, true, &c, &w.err));
        cr_assert_neq(c.after.mtime_us, times[i]->mtime_us);
        cr_assert_eq(c.after.mtime_us, c.after.ctime_us);
        cr_assert_gt(c.after.ctime_us, c.before.ctime_us);
        world_ok(&w, view_commit(v, f.file, &c, &w.err));
        f = stat_of(&w, v, f.file);
        expect_same(&c.before, &f);
        expect_same(&c.after, &f);
        v = crashed(&w, v);
        again = stat_of(&w, v, f.file);
        expect_same(&f, &again);
    }
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    v = crashed(&w, v);
    struct view_file sealed = stat_of(&w, v, f.file);
    expect_same(&f, &sealed);
    end(&w, v);
}

Test(names, a_guarded_change_is_made_only_to_what_its_caller_saw)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_change c;
    struct view_file f = stat_of(&w, v, world_file(&w, v, "a")), now;
    struct view_attributes a = {
        .set_size = true, .size = 9, .guard = true, .guard_ctime_us = f.ctime_us};
    world_ok(&w, view_write(v, f.file, "x", 1, 0, false, NULL, &w.err));
    f = stat_of(&w, v, f.file);
    expect_code(&w, view_set(v, NULL, f.file, &a, &now, &c, &w.err), ERR_PRECONDITION);
    expect_same(&c.before, &f);
    expect_same(&c.after, &f);
    a.guard_ctime_us = f.ctime_us;
    struct view_caller caller = {.client = 3, .xid = 4};
    world_ok(&w, view_set(v, &caller, f.file, &a, &now, &c, &w.err));
    cr_assert_eq(now.size, 9);
    /* Once more, as a client does that lost the answer: not the guard, but what was said. */
    world_ok(&w, view_set(v, &caller, f.file, &a, &now, &c, &w.err));
    cr_assert_eq(now.size, 9);
    v = crashed(&w, v);
    world_ok(&w, view_set(v, &caller, f.file, &a, &now, &c, &w.err));
    cr_assert_eq(now.size, 9);
    a.size = 10; /* the same number on another request */
    expect_code(&w, view_set(v, &caller, f.file, &a, &now, &c, &w.err), ERR_PRECONDITION);
    end(&w, v);
}

Test(names, an_exclusive_create_knows_its_own_file_again)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_file first, again;
    struct view_attributes mine = {.exclusive = true, .verifier = 0x8000000000000001};
    struct view_attributes other = {.exclusive = true, .verifier = 1};
    struct view_attributes mode = {.set_mode = true, .mode = 0600};
    world_ok(&w,
             view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, &mine, &first, NULL, &w.err));
    cr_assert_lt(first.atime_us, clock_wall_us() + 60000000);
    for (int round = 0; round < 3; round++) {
        struct view_caller another = {.client = 7, .xid = (uint32_t)round};
        world_ok(&w, view_create(v, &another, VIEW_ROOT, "a", INODE_FILE, NULL, &mine, &again, NULL,
                                 &w.err));
        cr_assert_eq(first.file, again.file);
        expect_code(
            &w,
            view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, &other, &again, NULL, &w.err),
            ERR_EXISTS);
        expect_code(
            &w, view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &again, NULL, &w.err),
            ERR_EXISTS);
        if (round == 1) {
            world_snapshot(&w, "orcl", "s");
            world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
        }
        v = crashed(&w, v);
    }
    world_ok(&w, view_set(v, NULL, first.file, &mode, &again, NULL, &w.err));
    expect_code(&w,
                view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, &mine, &again, NULL, &w.err),
                ERR_EXISTS);
    end(&w, v);
}

Test(names, an_unchecked_create_takes_the_file_that_is_there)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_file first, again;
    struct view_attributes a = {.unchecked = true, .set_mode = true, .mode = 0600};
    world_ok(&w, view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, &a, &first, NULL, &w.err));
    cr_assert_eq(first.mode, 0600);
    world_ok(&w, view_write(v, first.file, "x", 1, 0, true, NULL, &w.err));
    a.mode = 0644;
    world_ok(&w, view_create(v, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, &a, &again, NULL, &w.err));
    cr_assert_eq(first.file, again.file);
    cr_assert_eq(again.size, 1);
    a.set_size = true;
    struct view_caller caller = {.client = 3, .xid = 4};
    world_ok(&w,
             view_create(v, &caller, VIEW_ROOT, "a", INODE_FILE, NULL, &a, &again, NULL, &w.err));
    cr_assert_eq(again.size, 0);
    cr_assert_eq(again.mode, 0600);
    world_ok(&w, view_write(v, first.file, "x", 1, 0, true, NULL, &w.err));
    v = crashed(&w, v);
    world_ok(&w,
             view_create(v, &caller, VIEW_ROOT, "a", INODE_FILE, NULL, &a, &again, NULL, &w.err));
    cr_assert_eq(again.size, 1, "asked once more it truncated what was written since");
    world_ok(&w, view_create(v, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &again, NULL,
                             &w.err));
    expect_code(&w,
                view_create(v, NULL, VIEW_ROOT, "d", INODE_FILE, NULL, &a, &again, NULL, &w.err),
                ERR_EXISTS);
    end(&w, v);
}
