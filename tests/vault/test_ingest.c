/* Ingest: what a source shows becomes a snapshot, byte for byte; what did not change costs reading
 * alone; what is not proven is not believed. */
#include "agent/base/exec.h"
#include "agent/base/log.h"
#include "drivers/vault/ingest/ingest.h"
#include "drivers/vault/volume/claim.h"
#include "tests/lib/nfs_server.h"
#include "tests/lib/random.h"
#include "tests/lib/vault_server.h"
#include "tests/vault/volume_world.h"
#include <fcntl.h>
#include <sys/stat.h>

struct source_world {
    struct world w;
    char dir[64], folder[128];
    struct ingest_options options;
    struct ingest_report report;
};

static void begin(struct source_world *s)
{
    log_set_level(LOG_LEVEL_ERROR);
    *s = (struct source_world){0};
    world_begin(&s->w);
    str_format(s->dir, sizeof s->dir, "%s-source", s->w.box);
    str_format(s->folder, sizeof s->folder, "%s/ingest", s->w.box);
    s->options.folder = s->folder;
    world_ok(&s->w, sys_mkdir(s->dir, 0700, &s->w.err));
    world_ok(&s->w, vault_volume_create(s->w.vault, "V", &s->w.err));
}

static void end(struct source_world *s)
{
    ingest_report_done(&s->report);
    world_ok(&s->w, sys_remove_tree(s->dir, &s->w.err));
    world_end(&s->w);
}

static bool ingest_from(struct source_world *s, struct area *area, const char *name)
{
    ingest_report_done(&s->report);
    s->report = (struct ingest_report){0};
    struct ingest_one one = {"V", area, &s->report};
    return vault_ingest(s->w.vault, &one, 1, name, &s->options, &s->w.err);
}

static bool try_ingest(struct source_world *s, const char *name)
{
    AUTO(area) struct area *area = ingest_source(s->dir, NULL, &s->w.err);
    world_ok(&s->w, area != NULL);
    return ingest_from(s, area, name);
}

static void ingest(struct source_world *s, const char *name)
{
    world_ok(&s->w, try_ingest(s, name));
}

static void put(struct source_world *s, const char *path, const void *bytes, size_t len,
                uint64_t offset)
{
    char full[300];
    str_format(full, sizeof full, "%s/%s", s->dir, path);
    for (char *p = strchr(full + strlen(s->dir) + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        IGNORE(mkdir(full, 0700)); /* may be there */
        *p = '/';
    }
    AUTO(fd) int fd = sys_open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0600, &s->w.err);
    world_ok(&s->w, fd >= 0 && sys_pwrite(fd, bytes, len, offset, full, &s->w.err));
}

static void fill(struct source_world *s, const char *path, char with, size_t len, uint64_t offset)
{
    AUTO(mem) char *bytes = own_alloc(len, &s->w.err);
    memset(bytes, with, len);
    put(s, path, bytes, len, offset);
}

static void cut(struct source_world *s, const char *path, uint64_t size)
{
    char full[300];
    str_format(full, sizeof full, "%s/%s", s->dir, path);
    cr_assert_eq(truncate(full, (off_t)size), 0);
}

static void drop(struct source_world *s, const char *path)
{
    char full[300];
    str_format(full, sizeof full, "%s/%s", s->dir, path);
    cr_assert_eq(unlink(full), 0);
}

/* ---- the snapshot against the source ---- */

struct count {
    struct view *view;
    size_t files;
};

static bool count_one(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    struct count *c = arg;
    bool end;
    struct err err = {0};
    (void)cookie;
    (void)name;
    c->files += file->kind == INODE_FILE;
    return file->kind != INODE_DIRECTORY ||
           view_list(c->view, file->file, 0, count_one, c, &end, &err);
}

static void same_file(struct source_world *s, struct view *view, struct area *area,
                      const struct area_file *file)
{
    struct view_file mine;
    AUTO(area_handle) struct area_handle *handle = area_file_open(area, file->path, &s->w.err);
    AUTO(mem) char *a = own_alloc(file->size + 1, &s->w.err);
    AUTO(mem) char *b = own_alloc(file->size + 1, &s->w.err);
    world_ok(&s->w, handle && view_find(view, file->path, &mine, &s->w.err));
    cr_assert_eq(mine.size, file->size, "%s: size", file->path);
    cr_assert_eq(mine.mtime_us, file->mtime_us, "%s: time", file->path);
    world_ok(&s->w, area_file_read(handle, a, file->size, 0, &s->w.err) >= 0);
    world_ok(&s->w, view_read(view, mine.file, b, file->size, 0, &s->w.err) >= 0);
    for (size_t i = 0; i < file->size; i++)
        cr_assert_eq(a[i], b[i], "%s differs from byte %zu on", file->path, i);
}

static void same(struct source_world *s, const char *snapshot)
{
    bool is_end = false;
    AUTO(area) struct area *area = ingest_source(s->dir, NULL, &s->w.err);
    AUTO(view) struct view *view = world_view(&s->w, "V", snapshot, NULL);
    AUTO(area_list) struct area_list list = {0};
    world_ok(&s->w, area && area_list(area, 1000, &list, &s->w.err));
    struct count c = {view, 0};
    world_ok(&s->w, view_list(view, VIEW_ROOT, 0, count_one, &c, &is_end, &s->w.err));
    cr_assert_eq(c.files, list.count, "%zu files, the source has %zu", c.files, list.count);
    for (size_t i = 0; i < list.count; i++)
        same_file(s, view, area, &list.files[i]);
}

/* ---- tests ---- */

Test(ingest, makes_a_snapshot_that_is_the_source)
{
    struct source_world s;
    begin(&s);
    fill(&s, "a/b/data.dbf", 'a', 3000000, 0);
    fill(&s, "a/small", 's', 5, 0);
    fill(&s, "sparse", 'e', 10, 5 << 20);
    fill(&s, "empty", 0, 0, 0);
    ingest(&s, "one");
    same(&s, "one");
    cr_assert_eq(s.report.files, 4);
    cr_assert_eq(s.report.made, 4);
    cr_assert_eq(s.report.records_written, 367 + 1 + 1, "%llu records: holes are not written",
                 (unsigned long long)s.report.records_written);
    end(&s);
}

Test(ingest, an_unchanged_source_is_read_once_and_nothing_is_written_or_compared)
{
    struct source_world s;
    begin(&s);
    fill(&s, "data", 'a', 3000000, 0);
    fill(&s, "more/data", 'b', 100000, 0);
    ingest(&s, "one");
    for (int sealed = 0; sealed < 2; sealed++) {
        ingest(&s, sealed ? "three" : "two");
        cr_assert_eq(s.report.bytes_read, 3100000);
        cr_assert_eq(s.report.records_written, 0);
        cr_assert_eq(s.report.records_compared, 0);
        cr_assert_eq(s.report.changed, 0);
        world_ok(&s.w, vault_seal(s.w.vault, "V", &s.w.err));
    }
    fill(&s, "data", 'c', 1, 8192 * 7);
    world_reopen(&s.w);
    ingest(&s, "four");
    cr_assert_eq(s.report.records_written, 1);
    cr_assert_eq(s.report.records_compared, 0);
    same(&s, "four");
    end(&s);
}

Test(ingest, what_went_goes_and_what_changed_its_kind_is_made_anew)
{
    struct source_world s;
    char from[300], to[300];
    begin(&s);
    fill(&s, "gone", 'g', 10, 0);
    fill(&s, "old-name", 'n', 20000, 0);
    fill(&s, "thing", 't', 10, 0);
    fill(&s, "box/inner/deep", 'd', 10, 0);
    fill(&s, "box-side", 'x', 10, 0);
    ingest(&s, "one");
    drop(&s, "gone");
    drop(&s, "thing");
    fill(&s, "thing/inside", 'i', 10, 0);
    str_format(from, sizeof from, "%s/box", s.dir);
    world_ok(&s.w, sys_remove_tree(from, &s.w.err));
    fill(&s, "box", 'f', 10, 0);
    str_format(from, sizeof from, "%s/old-name", s.dir);
    str_format(to, sizeof to, "%s/new-name", s.dir);
    world_ok(&s.w, sys_rename(from, to, &s.w.err));
    ingest(&s, "two");
    same(&s, "two");
    cr_assert_eq(s.report.removed, 4);
    cr_assert_eq(s.report.made, 3);
    end(&s);
}

Test(ingest, links_are_told_and_left_out)
{
    struct source_world s;
    char link[300];
    begin(&s);
    fill(&s, "data", 'd', 10, 0);
    str_format(link, sizeof link, "%s/link", s.dir);
    cr_assert_eq(symlink("/etc/passwd", link), 0);
    ingest(&s, "one");
    cr_assert_eq(s.report.odd, 1);
    cr_assert_eq(s.report.note_count, 1);
    cr_assert_eq(s.report.notes[0].why, INGEST_ODD);
    cr_assert_str_eq(s.report.notes[0].path, "link");
    same(&s, "one");
    end(&s);
}

Test(ingest, an_empty_source_is_refused_unless_it_is_meant)
{
    struct source_world s;
    begin(&s);
    fill(&s, "data", 'd', 10, 0);
    ingest(&s, "one");
    drop(&s, "data");
    cr_assert_not(try_ingest(&s, "two"));
    cr_assert_eq(s.w.err.code, ERR_PRECONDITION);
    world_expect(&s.w, "V", NULL, NULL, "data", 'd', 10, 0);
    s.options.allow_empty = true;
    ingest(&s, "two");
    same(&s, "two");
    end(&s);
}

Test(ingest, a_name_that_is_taken_is_refused_before_anything_is_read)
{
    struct source_world s;
    begin(&s);
    fill(&s, "data", 'd', 10, 0);
    ingest(&s, "one");
    cr_assert_not(try_ingest(&s, "one"));
    cr_assert_eq(s.w.err.code, ERR_EXISTS);
    cr_assert_eq(s.report.bytes_read, 0);
    end(&s);
}

/* ---- fingerprints that prove nothing ---- */

static void print_path(struct source_world *s, const char *name, char ret[300])
{
    AUTO(view) struct view *view = world_view(&s->w, "V", NULL, NULL);
    struct view_file file;
    world_ok(&s->w, view_find(view, name, &file, &s->w.err));
    str_format(ret, 300, "%s/%016llx/%06llx", s->folder, (unsigned long long)view_volume_id(view),
               (unsigned long long)file.file);
}

Test(ingest, fingerprints_of_another_snapshot_are_not_believed)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        struct source_world s;
        char path[300];
        size_t len = 0;
        begin(&s);
        fill(&s, "data", 'a', 100000, 0);
        ingest(&s, "one");
        print_path(&s, "data", path);
        AUTO(mem) char *old = sys_read_file(path, 1 << 20, &len, &s.w.err);
        fill(&s, "data", 'b', 50000, 0);
        ingest(&s, "two");
        /* The source is again what it was at `one`, and so are the fingerprints; the volume is not.
         */
        fill(&s, "data", 'a', 100000, 0);
        world_ok(&s.w, old && sys_write_file(path, old, len, 0600, &s.w.err));
        if (sealed)
            world_ok(&s.w, vault_seal(s.w.vault, "V", &s.w.err));
        ingest(&s, "three");
        same(&s, "three");
        cr_assert_eq(s.report.records_compared, 13);
        end(&s);
    }
}

Test(ingest, forged_and_damaged_fingerprints_are_not_believed)
{
    struct source_world s;
    char path[300], other[300];
    size_t len = 0, other_len = 0;
    begin(&s);
    fill(&s, "data", 'a', 100000, 0);
    fill(&s, "other", 'b', 100000, 0);
    ingest(&s, "one");
    print_path(&s, "data", path);
    print_path(&s, "other", other);
    AUTO(mem) char *bytes = sys_read_file(path, 1 << 20, &len, &s.w.err);
    AUTO(mem) char *others = sys_read_file(other, 1 << 20, &other_len, &s.w.err);
    world_ok(&s.w, bytes && others);
    fill(&s, "data", 'b', 100000, 0);
    /* Another file's, as it is and with our header; then a byte of each field, and a cut. */
    for (size_t turn = 0; turn < 10; turn++) {
        char name[32];
        AUTO(mem) char *forged = own_alloc(len, &s.w.err);
        memcpy(forged, turn == 0 ? others : bytes, len);
        if (turn == 1)
            memcpy(forged + 80, others + 80, len - 80);
        if (turn >= 2)
            forged[(turn - 2) * 8 + 1] ^= 4;
        world_ok(&s.w, sys_write_file(path, forged, turn == 2 ? len - 16 : len, 0600, &s.w.err));
        s.options.distrust = turn == 1; /* entries prove nothing against who owns the box */
        str_format(name, sizeof name, "s%zu", turn);
        fill(&s, "data", turn % 2 ? 'b' : 'c', 100000, 0);
        ingest(&s, name);
        same(&s, name);
    }
    end(&s);
}

Test(ingest, a_volume_written_by_somebody_else_is_put_right)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        struct source_world s;
        begin(&s);
        fill(&s, "data", 'a', 100000, 0);
        ingest(&s, "one");
        world_write(&s.w, "V", NULL, "data", 'Z', 10, 50000);
        world_write(&s.w, "V", NULL, "stranger", 'Z', 10, 0);
        if (sealed) {
            world_ok(&s.w, vault_swap(s.w.vault, "V", NULL, &s.w.err));
            world_ok(&s.w, vault_seal(s.w.vault, "V", &s.w.err));
        }
        ingest(&s, "two");
        same(&s, "two");
        cr_assert_eq(s.report.records_written, 1);
        end(&s);
    }
}

Test(ingest, two_names_of_one_file_become_two_files)
{
    struct source_world s;
    struct view_file f;
    begin(&s);
    fill(&s, "a", 'a', 100000, 0);
    fill(&s, "b", 'b', 100000, 0);
    ingest(&s, "one");
    struct view *v = world_view(&s.w, "V", NULL, NULL);
    world_ok(&s.w, view_find(v, "a", &f, &s.w.err));
    world_ok(&s.w, view_remove(v, NULL, VIEW_ROOT, "b", false, NULL, &s.w.err));
    world_ok(&s.w, view_link(v, NULL, f.file, VIEW_ROOT, "b", &f, NULL, &s.w.err));
    world_ok(&s.w, view_link(v, NULL, f.file, VIEW_ROOT, "stranger", &f, NULL, &s.w.err));
    view_close(v);
    ingest(&s, "two");
    same(&s, "two");
    world_expect(&s.w, "V", "two", NULL, "a", 'a', 100000, 0);
    world_expect(&s.w, "V", "two", NULL, "b", 'b', 100000, 0);
    end(&s);
}

Test(ingest, a_claimed_volume_takes_no_other_writes)
{
    struct source_world s;
    struct view_file file;
    struct err err = {0};
    begin(&s);
    AUTO(view) struct view *mine = world_view(&s.w, "V", NULL, NULL);
    AUTO(view) struct view *other = world_view(&s.w, "V", NULL, NULL);
    uint64_t data = world_file(&s.w, mine, "data");
    world_ok(&s.w, view_claim(mine, &s.w.err));
    world_ok(&s.w, view_write(mine, data, "x", 1, 0, true, NULL, &s.w.err));
    cr_assert_not(view_write(other, data, "y", 1, 0, true, NULL, &err));
    cr_assert_eq(err.code, ERR_BUSY);
    cr_assert_not(
        view_create(other, NULL, VIEW_ROOT, "new", INODE_FILE, NULL, NULL, &file, NULL, &err));
    cr_assert_not(view_remove(other, NULL, VIEW_ROOT, "data", false, NULL, &err));
    cr_assert_not(view_rename(other, NULL, VIEW_ROOT, "data", VIEW_ROOT, "x", NULL, NULL, &err));
    cr_assert_not(view_set(other, NULL, data, &(struct view_attributes){.set_size = true}, &file,
                           NULL, &err));
    cr_assert_not(view_claim(other, &err));
    view_close(TAKE(mine));
    world_ok(&s.w, view_write(other, data, "y", 1, 0, true, NULL, &s.w.err));
    view_close(TAKE(other));
    world_expect(&s.w, "V", NULL, NULL, "data", 'y', 1, 0);
    end(&s);
}

/* ---- sources that do not hold still ---- */

struct shifty {
    uint8_t bytes[300000];
    uint64_t mtime_us;
    unsigned reads, restless; /* changes with each of the first reads */
    bool gone;
};

static bool shifty_list(void *state, size_t max, struct area_list *ret, struct err *err)
{
    const struct shifty *s = state;
    (void)max;
    return area_list_add(ret, "data", sizeof s->bytes, s->mtime_us, err) &&
           area_list_add(ret, "late", 0, 1, err);
}

static void *shifty_open(void *state, const char *path, struct err *err)
{
    if (str_equal(path, "data"))
        return state;
    err_set(err, ERR_NOT_FOUND, "'%s' went", path);
    return NULL;
}

static bool shifty_stat(void *file, uint64_t *ret_size, uint64_t *ret_mtime_us, struct err *err)
{
    const struct shifty *s = file;
    (void)err;
    *ret_size = sizeof s->bytes;
    *ret_mtime_us = s->mtime_us;
    return true;
}

static ssize_t shifty_read(void *file, void *to, size_t size, uint64_t offset, struct err *err)
{
    struct shifty *s = file;
    (void)err;
    size_t left = offset < sizeof s->bytes ? sizeof s->bytes - (size_t)offset : 0;
    size_t n = left < size ? left : size;
    memcpy(to, s->bytes + offset, n);
    if (++s->reads <= s->restless) {
        memset(s->bytes + 9000 * s->reads, (int)s->reads, 5000);
        s->mtime_us++;
    }
    return (ssize_t)n;
}

static void shifty_close(void *state) { (void)state; }

static struct area *shifty_area(struct shifty *shifty, struct err *err)
{
    static const struct area_backend backend = {.list = shifty_list,
                                                .file_open = shifty_open,
                                                .file_stat = shifty_stat,
                                                .file_read = shifty_read,
                                                .file_close = shifty_close,
                                                .close = shifty_close};
    return area_new(&backend, shifty, err);
}

static void expect_shifty(struct source_world *s, const struct shifty *shifty, const char *snapshot)
{
    struct view_file file;
    AUTO(view) struct view *view = world_view(&s->w, "V", snapshot, NULL);
    AUTO(mem) uint8_t *bytes = own_alloc(sizeof shifty->bytes, &s->w.err);
    world_ok(&s->w, view_find(view, "data", &file, &s->w.err));
    cr_assert_eq(file.mtime_us, shifty->mtime_us);
    cr_assert_eq(view_read(view, file.file, bytes, sizeof shifty->bytes, 0, &s->w.err),
                 (ssize_t)sizeof shifty->bytes);
    cr_assert_arr_eq(bytes, shifty->bytes, sizeof shifty->bytes);
}

Test(ingest, a_file_that_changes_while_it_is_read_is_read_again_or_told)
{
    static struct shifty shifty;
    struct source_world s;
    begin(&s);
    memset(shifty.bytes, 7, sizeof shifty.bytes);
    AUTO(area) struct area *area = shifty_area(&shifty, &s.w.err);
    shifty.restless = 2;
    world_ok(&s.w, area && ingest_from(&s, area, "settled"));
    cr_assert_eq(shifty.reads, 3);
    cr_assert_eq(s.report.unstable, 0);
    expect_shifty(&s, &shifty, "settled");
    shifty.restless = 100;
    world_ok(&s.w, ingest_from(&s, area, "restless"));
    cr_assert_eq(shifty.reads, 6, "it is tried three times, not %u", shifty.reads - 3);
    cr_assert_eq(s.report.unstable, 1);
    cr_assert_eq(s.report.notes[0].why, INGEST_UNSTABLE);
    cr_assert_str_eq(s.report.notes[0].path, "data");
    shifty.restless = 0;
    world_ok(&s.w, ingest_from(&s, area, "quiet"));
    expect_shifty(&s, &shifty, "quiet");
    end(&s);
}

/* ---- ends in the middle ---- */

static bool counts_down(void *arg)
{
    unsigned *left = arg;
    return *left == 0 || (*left)-- == 1;
}

Test(ingest, cut_off_anywhere_leaves_no_snapshot_and_the_next_one_is_right)
{
    struct source_world s;
    begin(&s);
    s.options.cancelled = counts_down;
    for (unsigned at = 1;; at++) {
        unsigned left = at;
        char name[32];
        size_t count = 0, after = 0;
        fill(&s, "a", (char)('a' + at % 26), 2500000, 0);
        fill(&s, "b", (char)('b' + at % 26), 3000, at * 3000);
        IGNORE(str_format(name, sizeof name, "x%u", at));
        if (at % 3 == 0)
            drop(&s, "b");
        s.options.arg = &left;
        AUTO(mem) void *rows = vault_snapshot_list(s.w.vault, "V", &count, &s.w.err);
        struct err before = s.w.err;
        if (try_ingest(&s, name))
            break;
        cr_assert_eq(s.w.err.code, ERR_CANCELLED, "%s", s.w.err.text);
        s.w.err = before;
        if (at % 2)
            world_crash(&s.w);
        AUTO(mem) void *rows_after = vault_snapshot_list(s.w.vault, "V", &after, &s.w.err);
        cr_assert_eq(count, after, "an ingest that ended left a snapshot");
        left = UINT32_MAX;
        IGNORE(str_format(name, sizeof name, "y%u", at));
        ingest(&s, name);
        same(&s, name);
        cr_assert_lt(at, 40);
    }
    end(&s);
}

/* ---- at random ---- */

static void change_source(struct source_world *s, struct rnd *random)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c", "f", "d/g"};
    for (uint64_t n = rnd_below(random, 6); n-- > 0;) {
        const char *path = paths[rnd_below(random, 5)];
        char full[300];
        str_format(full, sizeof full, "%s/%s", s->dir, path);
        switch (rnd_below(random, 5)) {
        case 0:
            if (access(full, F_OK) == 0)
                cut(s, path, rnd_below(random, 400000));
            break;
        case 1:
            if (access(full, F_OK) == 0)
                drop(s, path);
            break;
        default:
            fill(s, path, (char)rnd_below(random, 4), 1 + rnd_below(random, 60000),
                 rnd_below(random, 400000));
        }
    }
    fill(s, "always", 1, 1, rnd_below(random, 10));
}

static void one_round(struct source_world *s, struct rnd *random, unsigned round)
{
    char name[32];
    unsigned left = 1 + (unsigned)rnd_below(random, 12);
    str_format(name, sizeof name, "r%u", round);
    change_source(s, random);
    s->options.cancelled = NULL;
    if (rnd_below(random, 4) == 0) {
        struct err before = s->w.err;
        s->options.cancelled = counts_down;
        s->options.arg = &left;
        if (!try_ingest(s, name)) {
            cr_assert_eq(s->w.err.code, ERR_CANCELLED, "%s", s->w.err.text);
            s->w.err = before;
            return;
        }
    } else {
        ingest(s, name);
    }
    same(s, name);
}

Test(ingest, random_changes_are_followed_byte_for_byte)
{
    struct source_world s;
    struct rnd random = rnd_begin("ingest");
    unsigned rounds = getenv("EVERCOPY_LONG") ? 2000 : 60;
    begin(&s);
    for (unsigned round = 0; round < rounds; round++) {
        one_round(&s, &random, round);
        switch (rnd_below(&random, 8)) {
        case 0:
            world_ok(&s.w, vault_seal(s.w.vault, "V", &s.w.err));
            break;
        case 1:
            world_crash(&s.w);
            break;
        case 2:
            world_reopen(&s.w);
            break;
        case 3:
            world_write(&s.w, "V", NULL, "a", 'Z', 20000, rnd_below(&random, 400000));
            break;
        case 4:
            world_ok(&s.w, vault_swap(s.w.vault, "V", NULL, &s.w.err));
            break;
        default:
            break;
        }
    }
    end(&s);
}

/* ---- sets ---- */

Test(ingest, a_set_is_snapshotted_of_all_or_of_none)
{
    struct source_world s;
    static struct ingest_report reports[2];
    struct err err = {0};
    begin(&s);
    fill(&s, "v/data", 'v', 20000, 0);
    fill(&s, "w/data", 'w', 30000, 0);
    world_ok(&s.w, vault_volume_create(s.w.vault, "W", &s.w.err));
    AUTO(area) struct area *v = ingest_source(s.dir, "v", &s.w.err);
    AUTO(area) struct area *w = ingest_source(s.dir, "w", &s.w.err);
    struct ingest_one ones[2] = {{"V", v, &reports[0]}, {"W", w, &reports[1]}};
    world_ok(&s.w, v && w && vault_ingest(s.w.vault, ones, 2, "set", &s.options, &s.w.err));
    world_expect(&s.w, "V", "set", NULL, "data", 'v', 20000, 0);
    world_expect(&s.w, "W", "set", NULL, "data", 'w', 30000, 0);
    drop(&s, "w/data");
    fill(&s, "v/data", 'x', 20000, 0);
    cr_assert_not(vault_ingest(s.w.vault, ones, 2, "half", &s.options, &err));
    cr_assert_eq(err.code, ERR_PRECONDITION, "%s", err.text);
    cr_assert_null(view_open(s.w.vault, "V", "half", NULL, &err));
    cr_assert_null(view_open(s.w.vault, "W", "half", NULL, &err));
    end(&s);
}

/* ---- a real server ---- */

Test(ingest, an_nfs_export_is_taken_like_a_folder, .timeout = 60)
{
    AUTO(nfs_server) struct nfs_server server = {0};
    struct source_world s;
    struct err err = {0};
    if (!nfs_server_begin(&server, 64, &err)) {
        printf("SKIPPED ingest/an_nfs_export_is_taken_like_a_folder: %s\n", err.text);
        cr_skip_test("%s", err.text);
    }
    begin(&s);
    IGNORE(sys_rmdir(s.dir, &err)); /* the server's folder is the source */
    str_format(s.dir, sizeof s.dir, "%s", server.dir);
    fill(&s, "d/data", 'a', 3000000, 0);
    fill(&s, "small", 's', 77, 0);
    for (int turn = 0; turn < 3; turn++) {
        const char *name = (const char *[]){"one", "two", "three"}[turn];
        AUTO(area) struct area *area = ingest_source(server.url, NULL, &s.w.err);
        world_ok(&s.w, area != NULL);
        world_ok(&s.w, ingest_from(&s, area, name));
        same(&s, name);
        cr_assert_eq(s.report.records_written, turn == 0 ? 368 : turn == 1 ? 0 : 1);
        if (turn == 1)
            fill(&s, "d/data", 'b', 10, 1 << 20);
    }
    ingest_report_done(&s.report);
    world_end(&s.w);
}

/* ---- through the vault that serves ---- */

struct served {
    char dir[64], source[128];
    struct vault_server server;
    struct err err;
};

static void served_ok(struct served *s, bool ok) { cr_assert(ok, "%s", s->err.text); }

static void serve(struct served *s)
{
    *s = (struct served){0};
    str_format(s->dir, sizeof s->dir, "%s/evercopy-ingest.XXXXXX",
               access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
    cr_assert(mkdtemp(s->dir));
    str_format(s->source, sizeof s->source, "%s/source", s->dir);
    served_ok(s, sys_mkdir(s->source, 0700, &s->err));
    served_ok(s, vault_server_begin(&s->server, s->dir, NULL, NULL, &s->err));
}

static void served_end(struct served *s)
{
    vault_server_done(&s->server);
    served_ok(s, sys_remove_tree(s->dir, &s->err));
}

static json_t *ask(struct served *s, json_t *head_taken, struct err *err)
{
    AUTO(json) json_t *head = head_taken;
    AUTO(wire) struct wire *wire = wire_connect(s->server.socket, err);
    AUTO(message) struct message answer = {0};
    if (!wire || !wire_call(wire, head, NULL, 0, 30000, &answer, NULL, err))
        return NULL;
    return json_incref(answer.head);
}

static bool begin_ingest(struct served *s, const char *name, char handle[64], struct err *err)
{
    AUTO(json)
    json_t *answer = ask(s,
                         json_pack("{s:s, s:s, s:[s], s:[s]}", "op", "ingest", "name", name,
                                   "volumes", "V", "sources", s->source),
                         err);
    return answer && str_copy(handle, 64, json_text(answer, "handle"));
}

static bool is_done(struct served *s, const char *handle, struct err *err)
{
    AUTO(json)
    json_t *answer = ask(
        s, json_pack("{s:s, s:s, s:i}", "op", "ingest.poll", "handle", handle, "timeout_ms", 10000),
        err);
    return answer && json_flag(answer, "done");
}

static void grow_source(struct served *s, const char *name, size_t mib)
{
    char path[200];
    AUTO(mem) char *bytes = own_alloc(1 << 20, &s->err);
    str_format(path, sizeof path, "%s/%s", s->source, name);
    AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600, &s->err);
    served_ok(s, bytes && fd >= 0);
    for (size_t i = 0; i < mib; i++) {
        memset(bytes, (int)i + 1, 1 << 20);
        served_ok(s, sys_pwrite(fd, bytes, 1 << 20, i << 20, path, &s->err));
    }
}

Test(ingest, goes_on_without_its_asker_and_a_vault_that_was_killed_knows_what_became_of_it,
     .timeout = 60)
{
    struct served s;
    struct err err = {0};
    char handle[64], again[64];
    serve(&s);
    AUTO(json)
    json_t *made = ask(&s, json_pack("{s:s, s:s}", "op", "volume.create", "name", "V"), &s.err);
    served_ok(&s, made != NULL);
    grow_source(&s, "data", 8);
    served_ok(&s, begin_ingest(&s, "one", handle, &s.err));
    cr_assert(is_done(&s, handle, &s.err), "%s", s.err.text);
    vault_server_kill(&s.server);
    served_ok(&s, vault_server_start(&s.server, &s.err));
    cr_assert(is_done(&s, handle, &s.err), "the snapshot is there: %s", s.err.text);
    cr_assert_not(begin_ingest(&s, "one", again, &err));
    cr_assert_eq(err.code, ERR_EXISTS);
    /* Killed in the middle: not done, said so, and begun again it is right. */
    grow_source(&s, "large", 48);
    served_ok(&s, begin_ingest(&s, "two", handle, &s.err));
    served_ok(&s, begin_ingest(&s, "two", again, &s.err));
    cr_assert_str_eq(handle, again, "the same ingest is one");
    vault_server_kill(&s.server);
    served_ok(&s, vault_server_start(&s.server, &s.err));
    err_clear(&err);
    if (!is_done(&s, handle, &err)) {
        cr_assert_eq(err.code, ERR_UNAVAILABLE, "%s", err.text);
        served_ok(&s, begin_ingest(&s, "two", handle, &s.err));
        while (!is_done(&s, handle, &s.err))
            served_ok(&s, s.err.code == ERR_NONE);
    }
    served_end(&s);
}

Test(ingest, its_error_is_told_to_who_polls)
{
    struct served s;
    struct err err = {0};
    char handle[64];
    serve(&s);
    AUTO(json)
    json_t *made = ask(&s, json_pack("{s:s, s:s}", "op", "volume.create", "name", "V"), &s.err);
    served_ok(&s, made != NULL);
    served_ok(&s, sys_rmdir(s.source, &s.err));
    served_ok(&s, begin_ingest(&s, "one", handle, &s.err));
    cr_assert_not(is_done(&s, handle, &err));
    cr_assert_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
    served_end(&s);
}

static void keep_line(void *arg, const char *line, size_t len)
{
    str_append_n(arg, line, len);
    str_append(arg, "\n");
}

/* stdout and stderr into text; its exit code. */
static int run_verb(struct served *s, const char *name, char *text, size_t size)
{
    char here[200], program[500], conf[200];
    const char *build = getenv("EVERCOPY_BUILD");
    struct exec_result result = {0};
    AUTO(str) struct str out = {0};
    build = build ? build : "build/san-address-undefined";
    cr_assert(getcwd(here, sizeof here));
    str_format(program, sizeof program, "%s%s%s/evercopy-vaultd", build[0] == '/' ? "" : here,
               build[0] == '/' ? "" : "/", build);
    str_format(conf, sizeof conf, "%s/vaultd.conf", s->dir);
    const char *const argv[] = {program, "ingest", "--config", conf,      "--volume",
                                "V",     "--name", name,       s->source, NULL};
    const char *const envp[] = {NULL};
    struct exec exec = {
        .argv = argv, .envp = envp, .deadline_ms = 30000, .line = keep_line, .arg = &out};
    served_ok(s, exec_run(&exec, &result, &s->err));
    str_copy(text, size, out.text ? out.text : "");
    return result.exit_code;
}

Test(ingest, the_verb_works_through_the_vault_that_serves_or_alone, .timeout = 60)
{
    struct served s;
    char text[1000];
    serve(&s);
    AUTO(json)
    json_t *made = ask(&s, json_pack("{s:s, s:s}", "op", "volume.create", "name", "V"), &s.err);
    served_ok(&s, made != NULL);
    grow_source(&s, "data", 2);
    cr_assert_eq(run_verb(&s, "one", text, sizeof text), 0, "%s", text);
    cr_assert(strstr(text, "1 files (1 changed, 1 new, 0 gone), 2097152 bytes read, 256 of 256"),
              "%s", text);
    cr_assert_neq(run_verb(&s, "one", text, sizeof text), 0);
    served_ok(&s, vault_server_stop(&s.server, &s.err));
    cr_assert_eq(run_verb(&s, "two", text, sizeof text), 0, "%s", text);
    cr_assert(strstr(text, "0 of 256 records written"), "%s", text);
    served_end(&s);
}
