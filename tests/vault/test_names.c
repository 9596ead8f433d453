/* Names and attributes as a client of a network file system needs them: what a change did and
 * nothing else, guards, creates that tell their own from others', answers given once more. */
#include "drivers/vault/store/export.h"
#include "drivers/vault/store/fsck.h"
#include "drivers/vault/store/scrub.h"
#include "tests/vault/volume_world.h"
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

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

enum { WRITERS = 4, WRITES = 150 };
struct writing {
    struct world *w;
    uint64_t file;
    struct view_change changes[WRITES];
};

static void *write_many(void *arg)
{
    struct writing *mine = arg;
    struct err err = {0};
    AUTO(view) struct view *v = view_open(mine->w->vault, "orcl", NULL, NULL, &err);
    for (int i = 0; v && i < WRITES; i++)
        if (!view_write(v, mine->file, "x", 1, 0, i % 50 == 0, &mine->changes[i], &err))
            return mine;
    return v ? NULL : mine;
}

static int by_before(const void *a, const void *b)
{
    const struct view_change *x = a, *y = b;
    return x->before.ctime_us < y->before.ctime_us ? -1 : x->before.ctime_us > y->before.ctime_us;
}

Test(names, nothing_of_other_writers_is_between_before_and_after)
{
    static struct writing writers[WRITERS];
    static struct view_change all[WRITERS * WRITES];
    struct world w;
    struct view *v = begin(&w);
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writing){.w = &w, .file = world_file(&w, v, "a")};
        cr_assert_eq(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        cr_assert_null(failed);
        memcpy(&all[(ptrdiff_t)i * WRITES], writers[i].changes, sizeof writers[i].changes);
    }
    /* All changes make one chain: each begins where one ended. */
    qsort(all, WRITERS * WRITES, sizeof *all, by_before);
    for (int i = 1; i < WRITERS * WRITES; i++)
        expect_same(&all[i].before, &all[i - 1].after);
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

/* A workload of names alone writes no data, so no layer ever fills. */
Test(names, a_journal_of_names_alone_is_shortened_and_answers_outlive_that)
{
    struct world w;
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    world_begin_with(&w, &(struct vault_options){.seal_threads = 1});
    world_ok(&w, vault_volume_create(w.vault, "orcl", &w.err));
    struct view *v = world_view(&w, "orcl", NULL, NULL);
    struct view_file f, again;
    struct view_caller first = {.client = 8, .xid = 1}, last = {.client = 8, .xid = 2};
    struct view_attributes size = {.set_size = true, .size = 5, .guard = true};
    world_ok(&w, view_create(v, &first, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &f, NULL, &w.err));
    size.guard_ctime_us = f.ctime_us;
    world_ok(&w, view_set(v, &last, f.file, &size, &again, NULL, &w.err));
    for (int i = 0; i < 20000; i++) {
        name[i % 255] = name[i % 255] == 'n' ? 'm' : 'n';
        struct view_file other;
        world_ok(&w, view_create(v, NULL, VIEW_ROOT, name, INODE_FILE, NULL, NULL, &other, NULL,
                                 &w.err));
        world_ok(&w, view_remove(v, NULL, VIEW_ROOT, name, false, NULL, &w.err));
    }
    struct stat st = {.st_size = 1 << 30};
    uint64_t until_ms = clock_mono_ms() + 20000;
    struct sys_names volumes = {0};
    char path[300];
    str_format(path, sizeof path, "%s/v", w.box);
    world_ok(&w, sys_list(path, &volumes, &w.err));
    str_format(path, sizeof path, "%s/v/%s/journal", w.box, volumes.names[0]);
    sys_names_done(&volumes);
    while (st.st_size > 4 << 20 && clock_mono_ms() < until_ms) {
        sched_yield();
        cr_assert_eq(stat(path, &st), 0);
    }
    cr_assert_leq(st.st_size, 4 << 20, "the journal is as long as ever");
    v = crashed(&w, v);
    world_ok(&w,
             view_create(v, &first, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &again, NULL, &w.err));
    cr_assert_eq(again.file, f.file);
    world_ok(&w, view_set(v, &last, f.file, &size, &again, NULL, &w.err));
    cr_assert_eq(again.size, 5);
    end(&w, v);
}

/* ---- several names ---- */

struct listed {
    size_t count;
    uint64_t files[8], cookies[8];
};
static bool list_entry(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    struct listed *l = arg;
    (void)name;
    cr_assert_lt(l->count, 8);
    l->cookies[l->count] = cookie;
    l->files[l->count++] = file->file;
    return true;
}

static struct view_file found(struct world *w, struct view *view, const char *path)
{
    struct view_file file;
    world_ok(w, view_find(view, path, &file, &w->err));
    return file;
}

/* a and d/b are one file of `links` names with that content; each has a cookie of its own. */
static void expect_two_names(struct world *w, struct view *v, uint32_t links, const char *content)
{
    struct view_file a = found(w, v, "a"), b = found(w, v, "d/b");
    struct listed l = {0};
    bool done = false;
    char bytes[16] = "";
    cr_assert_eq(a.file, b.file);
    cr_assert_eq(a.generation, b.generation);
    cr_assert_eq(a.links, links);
    cr_assert_eq(b.links, links);
    cr_assert_eq(a.kind, INODE_FILE);
    cr_assert_eq(b.kind, INODE_FILE);
    cr_assert_eq(a.parent, VIEW_ROOT);
    cr_assert_eq(b.parent, found(w, v, "d").file);
    cr_assert_eq(view_read(v, b.file, bytes, sizeof bytes, 0, &w->err), strlen(content));
    cr_assert_str_eq(bytes, content);
    world_ok(w, view_list(v, VIEW_ROOT, 0, list_entry, &l, &done, &w->err));
    world_ok(w, view_list(v, b.parent, 0, list_entry, &l, &done, &w->err));
    size_t same = 0;
    for (size_t i = 0; i < l.count; i++)
        same += l.files[i] == a.file;
    cr_assert_eq(same, 2);
}

/* So that what comes next has its slot in another record of the file table. */
static void spend_numbers(struct world *w, struct view *v)
{
    for (int i = 0; i < 20; i++) {
        world_file(w, v, "x");
        world_ok(w, view_remove(v, NULL, VIEW_ROOT, "x", false, NULL, &w->err));
    }
}

static struct view *begin_linked(struct world *w)
{
    struct view *v = begin(w);
    struct view_file f, d, root;
    struct view_change c;
    world_ok(w,
             view_create(v, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &d, NULL, &w->err));
    spend_numbers(w, v);
    uint64_t a = world_file(w, v, "a");
    world_ok(w, view_write(v, a, "content", 7, 0, true, NULL, &w->err));
    /* The store knows the file by one name before it gets another. */
    spend_numbers(w, v);
    world_ok(w, vault_swap(w->vault, "orcl", NULL, &w->err));
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
    root = stat_of(w, v, a);
    d = stat_of(w, v, d.file);
    world_ok(w, view_link(v, NULL, a, d.file, "b", &f, &c, &w->err));
    expect_change(w, v, &d, &c, true);
    cr_assert_eq(f.file, a);
    cr_assert_gt(f.ctime_us, root.ctime_us);
    cr_assert_eq(f.mtime_us, root.mtime_us);
    return v;
}

static struct hash identity_of(struct world *w, const char *volume, const char *name)
{
    size_t count = 0;
    struct hash identity = {0};
    AUTO(mem)
    struct vault_snapshot_info *list = vault_snapshot_list(w->vault, volume, &count, &w->err);
    world_ok(w, list != NULL);
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0) {
            cr_assert(list[i].sealed);
            identity = list[i].identity;
        }
    return identity;
}

/* The store's own tools agree with it. */
static void expect_sound(struct world *w)
{
    struct fsck_result fsck;
    struct scrub_result scrub;
    world_ok(w, fsck_store(w->io, &(struct fsck_options){0}, &fsck, &w->err));
    cr_assert_eq(fsck.findings, 0);
    world_ok(w, fsck_store(w->io, &(struct fsck_options){.rebuild = true}, &fsck, &w->err));
    cr_assert_eq(fsck.damages, 0);
    world_ok(w, scrub_store(w->io, &(struct scrub_options){0}, &scrub, &w->err));
    cr_assert_eq(scrub.findings, 0);
    cr_assert_gt(scrub.states, 0);
}

Test(names, a_file_of_two_names_is_one_in_snapshots_clones_and_after_crashes)
{
    struct world w;
    struct view *v = begin_linked(&w);
    struct view_file f;
    expect_two_names(&w, v, 2, "content");
    v = crashed(&w, v);
    expect_two_names(&w, v, 2, "content");
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, view_write(v, found(&w, v, "d/b").file, "changed", 7, 0, true, NULL, &w.err));
    expect_two_names(&w, v, 2, "changed");
    view_close(v);
    for (int round = 0; round < 3; round++) {
        struct view *s = world_view(&w, "orcl", "s", NULL);
        expect_two_names(&w, s, 2, "content");
        view_close(s);
        if (round == 0)
            world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
        world_crash(&w);
    }
    expect_sound(&w);
    world_ok(&w, vault_clone_create(w.vault, "orcl", "c", "s", NULL, 0, &w.err));
    v = world_view(&w, "orcl", NULL, "c");
    expect_two_names(&w, v, 2, "content");
    world_ok(&w, view_remove(v, NULL, VIEW_ROOT, "a", false, NULL, &w.err));
    cr_assert_eq(found(&w, v, "d/b").links, 1);
    view_close(v);
    v = world_view(&w, "orcl", NULL, NULL);
    expect_two_names(&w, v, 2, "changed");
    /* In a composed clone each part is a file of its own. */
    struct vault_part parts[] = {{.snapshot = "s", .path = "a"}, {.path = "d/b", .to = "b"}};
    world_ok(&w, vault_clone_create(w.vault, "orcl", "m", NULL, parts, 2, &w.err));
    view_close(v);
    v = world_view(&w, "orcl", NULL, "m");
    f = found(&w, v, "a");
    cr_assert_neq(f.file, found(&w, v, "b").file);
    cr_assert_eq(f.links, 1);
    view_close(v);
    world_expect(&w, "orcl", NULL, "m", "b", 'c', 1, 0);
    v = world_view(&w, "orcl", NULL, NULL);
    end(&w, v);
}

Test(names, a_file_stays_until_its_last_name_goes)
{
    struct world w;
    for (int first = 0; first < 2; first++) {
        struct view *v = begin_linked(&w);
        struct view_file a = found(&w, v, "a"), now;
        uint64_t d = found(&w, v, "d").file;
        struct err gone = {0};
        world_ok(&w, view_remove(v, NULL, first ? VIEW_ROOT : d, first ? "a" : "b", false, NULL,
                                 &w.err));
        now = stat_of(&w, v, a.file);
        cr_assert_eq(now.links, 1);
        cr_assert_gt(now.ctime_us, a.ctime_us);
        world_snapshot(&w, "orcl", "s");
        for (int round = 0; round < 3; round++) {
            v = crashed(&w, v);
            cr_assert_eq(found(&w, v, first ? "d/b" : "a").file, a.file);
            cr_assert_eq(stat_of(&w, v, a.file).links, 1);
            cr_assert_not(view_find(v, first ? "a" : "d/b", &now, &gone));
            cr_assert_eq(gone.code, ERR_NOT_FOUND);
            err_clear(&gone);
            if (round == 0)
                world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
        }
        expect_sound(&w);
        /* Whatever name is left can be moved, linked anew and removed. */
        world_ok(&w, view_rename(v, NULL, first ? d : VIEW_ROOT, first ? "b" : "a", VIEW_ROOT, "x",
                                 NULL, NULL, &w.err));
        world_ok(&w, view_link(v, NULL, a.file, VIEW_ROOT, "y", &now, NULL, &w.err));
        cr_assert_eq(now.links, 2);
        world_ok(&w, view_remove(v, NULL, VIEW_ROOT, "x", false, NULL, &w.err));
        world_ok(&w, view_remove(v, NULL, VIEW_ROOT, "y", false, NULL, &w.err));
        cr_assert_not(view_stat(v, a.file, 0, &now, &gone));
        world_snapshot(&w, "orcl", "t");
        world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
        v = crashed(&w, v);
        cr_assert_not(view_stat(v, a.file, 0, &now, &gone));
        expect_sound(&w);
        end(&w, v);
    }
}

Test(names, renames_of_a_file_of_two_names_do_what_posix_says)
{
    struct world w;
    struct view *v = begin_linked(&w);
    struct view_file now, root = stat_of(&w, v, VIEW_ROOT);
    uint64_t d = found(&w, v, "d").file, a = found(&w, v, "a").file;
    struct view_change c, to;
    world_ok(&w, view_rename(v, NULL, VIEW_ROOT, "a", d, "b", &c, &to, &w.err));
    expect_same(&c.after, &root);
    expect_two_names(&w, v, 2, "content");
    /* Over one of the names: the file keeps the other. */
    world_ok(&w, view_write(v, world_file(&w, v, "n"), "new", 3, 0, true, NULL, &w.err));
    world_ok(&w, view_rename(v, NULL, VIEW_ROOT, "n", VIEW_ROOT, "a", NULL, NULL, &w.err));
    v = crashed(&w, v);
    cr_assert_neq(found(&w, v, "a").file, a);
    cr_assert_eq(found(&w, v, "d/b").file, a);
    cr_assert_eq(found(&w, v, "d/b").links, 1);
    char bytes[8] = "";
    cr_assert_eq(view_read(v, a, bytes, sizeof bytes, 0, &w.err), 7);
    world_ok(&w, view_rename(v, NULL, VIEW_ROOT, "a", d, "b", NULL, NULL, &w.err));
    struct err gone = {0};
    cr_assert_not(view_stat(v, a, 0, &now, &gone), "its last name was replaced");
    end(&w, v);
}

/* So many folders, each in the one before; ret_last is the last. */
static void chain(struct world *w, struct view *v, const char *name, unsigned depth,
                  struct view_file *ret_last)
{
    uint64_t at = VIEW_ROOT;
    for (unsigned i = 0; i < depth; i++) {
        world_ok(w, view_create(v, NULL, at, i ? "f" : name, INODE_DIRECTORY, NULL, NULL, ret_last,
                                NULL, &w->err));
        at = ret_last->file;
    }
}

/* A path that no snapshot could list would hold up every seal. */
Test(names, a_rename_makes_no_path_too_long_for_what_hangs_below)
{
    struct world w;
    struct view *v = begin(&w);
    struct view_file fits, far, last, now;
    struct view_change from, to;
    chain(&w, v, "b", 1500, &last); /* paths of 2,998 bytes below b */
    chain(&w, v, "c", 548, &fits);
    chain(&w, v, "d", 549, &far);
    expect_code(&w, view_rename(v, NULL, VIEW_ROOT, "b", far.file, "b", &from, &to, &w.err),
                ERR_LIMIT);
    expect_code(&w, view_rename(v, NULL, VIEW_ROOT, "b", fits.file, "bbb", &from, &to, &w.err),
                ERR_LIMIT);
    world_ok(&w, view_rename(v, NULL, VIEW_ROOT, "b", fits.file, "b", &from, &to, &w.err));
    world_write(&w, "orcl", NULL, "file", 'x', 10000, 0);
    world_snapshot(&w, "orcl", "s");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    v = crashed(&w, v);
    world_ok(&w, view_lookup(v, fits.file, "b", &now, &w.err));
    world_ok(&w, view_rename(v, NULL, fits.file, "b", VIEW_ROOT, "b", &from, &to, &w.err));
    end(&w, v);
}

Test(names, only_regular_files_are_linked_and_a_link_is_answered_once)
{
    struct world w;
    struct view *v = begin_linked(&w);
    struct view_file f, l;
    struct view_caller caller = {.client = 5, .xid = 6};
    uint64_t d = found(&w, v, "d").file, a = found(&w, v, "a").file;
    world_ok(&w, view_create(v, NULL, VIEW_ROOT, "l", INODE_SYMLINK, "a", NULL, &l, NULL, &w.err));
    expect_code(&w, view_link(v, NULL, l.file, d, "x", &f, NULL, &w.err), ERR_UNSUPPORTED);
    expect_code(&w, view_link(v, NULL, d, VIEW_ROOT, "x", &f, NULL, &w.err), ERR_PRECONDITION);
    expect_code(&w, view_link(v, NULL, 999, d, "x", &f, NULL, &w.err), ERR_NOT_FOUND);
    expect_code(&w, view_link(v, NULL, a, 999, "x", &f, NULL, &w.err), ERR_NOT_FOUND);
    expect_code(&w, view_link(v, NULL, a, a, "x", &f, NULL, &w.err), ERR_PRECONDITION);
    expect_code(&w, view_link(v, NULL, a, d, "b", &f, NULL, &w.err), ERR_EXISTS);
    expect_code(&w, view_link(v, NULL, a, d, "..", &f, NULL, &w.err), ERR_INVALID);
    struct listed listed = {0};
    bool done;
    world_ok(&w, view_list(v, d, 0, list_entry, &listed, &done, &w.err));
    /* The number of a name is no file's: nobody gets at it by that. */
    expect_code(&w, view_stat(v, listed.cookies[0], 0, &f, &w.err), ERR_NOT_FOUND);
    expect_code(&w, view_write(v, listed.cookies[0], "x", 1, 0, true, NULL, &w.err), ERR_NOT_FOUND);
    for (int round = 0; round < 2; round++) {
        world_ok(&w, view_link(v, &caller, a, d, "x", &f, NULL, &w.err));
        cr_assert_eq(f.links, 3);
        if (round == 0)
            v = crashed(&w, v);
    }
    expect_code(&w, view_link(v, &caller, a, d, "b", &f, NULL, &w.err), ERR_EXISTS);
    end(&w, v);
}

Test(names, identity_and_export_tell_the_content_at_each_name)
{
    struct world w;
    struct view *v = begin_linked(&w);
    struct view_file f;
    world_snapshot(&w, "orcl", "s");
    /* The same content in two files is the same content. */
    world_ok(&w, vault_volume_create(w.vault, "copy", &w.err));
    struct view *other = world_view(&w, "copy", NULL, NULL);
    world_ok(&w, view_create(other, NULL, VIEW_ROOT, "d", INODE_DIRECTORY, NULL, NULL, &f, NULL,
                             &w.err));
    world_ok(&w, view_create(other, NULL, f.file, "b", INODE_FILE, NULL, NULL, &f, NULL, &w.err));
    world_ok(&w, view_write(other, f.file, "content", 7, 0, true, NULL, &w.err));
    uint64_t a = world_file(&w, other, "a");
    world_ok(&w, view_write(other, a, "content", 7, 0, true, NULL, &w.err));
    view_close(other);
    world_snapshot(&w, "copy", "s");
    world_ok(&w, vault_seal(w.vault, "orcl", &w.err));
    world_ok(&w, vault_seal(w.vault, "copy", &w.err));
    struct hash x = identity_of(&w, "orcl", "s"), y = identity_of(&w, "copy", "s");
    cr_assert(hash_equal(&x, &y));
    size_t families = 0, rows = 0;
    AUTO(mem) uint64_t *ids = store_families(vault_store(w.vault), &families, &w.err);
    size_t linked = 0;
    for (size_t i = 0; i < families; i++) {
        AUTO(family)
        struct family *family = family_open(vault_store(w.vault), ids[i], false, &w.err);
        AUTO(mem) struct volume_row *volumes = family_volumes(family, &rows, &w.err);
        AUTO(mem)
        struct snapshot_row *row = family_snapshots(family, volumes[0].id, &rows, &w.err);
        char folder[100], path[120];
        struct stat one, two;
        struct export_result result;
        str_format(folder, sizeof folder, "%s/export%zu", w.box, i);
        world_ok(&w,
                 export_state(family, row, folder, &(struct export_options){0}, &result, &w.err));
        cr_assert_eq(result.files, 2);
        str_format(path, sizeof path, "%s/a", folder);
        cr_assert_eq(stat(path, &one), 0);
        str_format(path, sizeof path, "%s/d/b", folder);
        cr_assert_eq(stat(path, &two), 0);
        cr_assert_eq(one.st_size, 7);
        cr_assert_eq(two.st_size, 7);
        linked += one.st_ino == two.st_ino && one.st_nlink == 2;
        /* Of one name alone the content comes. */
        str_format(folder, sizeof folder, "%s/part%zu", w.box, i);
        world_ok(&w, export_state(family, row, folder, &(struct export_options){.under = "d"},
                                  &result, &w.err));
        str_format(path, sizeof path, "%s/d/b", folder);
        cr_assert_eq(stat(path, &two), 0);
        cr_assert_eq(two.st_size, 7);
        cr_assert_eq(two.st_nlink, 1);
    }
    cr_assert_eq(families, 2);
    cr_assert_eq(linked, 1);
    end(&w, v);
}
