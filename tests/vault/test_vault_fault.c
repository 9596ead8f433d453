/* The vault when calls fail, one after the other: each run is done or says why, and what it had
 * acknowledged before is there when the vault is opened again. */
#include "agent/base/sys.h"
#include "tests/lib/fault_loop.h"
#include "tests/vault/volume_world.h"
#include <errno.h>

struct story {
    struct vault_options options;
    enum { NOTHING, WRITTEN, TAKEN, SEALED, CLONED, CLONE_WRITTEN, RENAMED, ALL } got;
};

static bool open_both(const struct story *s, const char *dir, struct io **ret_io,
                      struct vault **ret_vault, struct err *err)
{
    char box[256], store[256];
    str_format(box, sizeof box, "%s/box", dir);
    str_format(store, sizeof store, "%s/store", dir);
    *ret_io = io_open(store, NULL, 0, err);
    *ret_vault = *ret_io ? vault_open(box, *ret_io, &s->options, err) : NULL;
    return *ret_vault != NULL;
}

static bool write_file(struct vault *vault, const char *clone, char fill, struct err *err)
{
    AUTO(view) struct view *view = view_open(vault, "v", NULL, clone, err);
    char bytes[20000];
    struct view_file file;
    struct err missing = {0};
    memset(bytes, fill, sizeof bytes);
    return view &&
           (view_find(view, "a", &file, &missing) ||
            view_create(view, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &file, NULL, err)) &&
           view_write(view, file.file, bytes, sizeof bytes, 0, true, NULL, err);
}

static bool expect(struct vault *vault, const char *snapshot, const char *clone, const char *name,
                   char fill, struct err *err)
{
    AUTO(view) struct view *view = view_open(vault, "v", snapshot, clone, err);
    char bytes[20000];
    struct view_file file;
    if (!view || !view_find(view, name, &file, err) ||
        view_read(view, file.file, bytes, sizeof bytes, 0, err) != sizeof bytes)
        return err_wrap(err, "%s of %s", name, snapshot ? snapshot : clone ? clone : "live");
    for (size_t i = 0; i < sizeof bytes; i++)
        if (bytes[i] != fill)
            return err_set(err, ERR_INTERNAL, "byte %zu of %s is '%c'", i, name, bytes[i]);
    return true;
}

static bool setup(void *arg, const char *dir, struct err *err)
{
    struct story *s = arg;
    struct io *io = NULL;
    struct vault *vault = NULL;
    s->got = NOTHING;
    bool ok = open_both(s, dir, &io, &vault, err) && vault_volume_create(vault, "v", err) &&
              write_file(vault, NULL, 'a', err);
    vault_close(vault);
    io_close(io);
    return ok;
}

static bool tell(struct story *s, bool ok, int got)
{
    if (ok)
        s->got = got;
    return ok;
}

static bool rename_it(struct vault *vault, struct err *err)
{
    AUTO(view) struct view *view = view_open(vault, "v", NULL, NULL, err);
    return view && view_rename(view, NULL, VIEW_ROOT, "a", VIEW_ROOT, "b", NULL, NULL, err);
}

static bool run(void *arg, const char *dir, struct err *err)
{
    struct story *s = arg;
    struct io *io = NULL;
    struct vault *vault = NULL;
    const char *name = "v";
    bool ok = open_both(s, dir, &io, &vault, err) &&
              tell(s, write_file(vault, NULL, 'b', err), WRITTEN) &&
              tell(s, vault_snapshot_create(vault, &name, 1, "s", err), TAKEN) &&
              tell(s, vault_seal(vault, "v", err), SEALED) &&
              tell(s, vault_clone_create(vault, "v", "c", "s", NULL, 0, err), CLONED) &&
              tell(s, write_file(vault, "c", 'c', err), CLONE_WRITTEN) &&
              tell(s, rename_it(vault, err), RENAMED) &&
              tell(s, vault_snapshot_drop(vault, "v", "s", err), ALL);
    if (ok)
        vault_close(vault);
    else
        vault_abandon(vault);
    io_close(io);
    return ok;
}

static bool check(void *arg, const char *dir, bool done, struct err *err)
{
    struct story *s = arg;
    struct io *io = NULL;
    struct vault *vault = NULL;
    (void)done;
    bool ok =
        open_both(s, dir, &io, &vault, err) &&
        (s->got < WRITTEN || s->got >= CLONE_WRITTEN || expect(vault, NULL, NULL, "a", 'b', err)) &&
        (s->got < TAKEN || s->got >= RENAMED || expect(vault, "s", NULL, "a", 'b', err)) &&
        (s->got < CLONE_WRITTEN || expect(vault, NULL, "c", "a", 'c', err)) &&
        (s->got < RENAMED || expect(vault, NULL, NULL, "b", 'b', err)) &&
        vault_seal(vault, "v", err) && (s->got < CLONED || vault_seal(vault, "v/c", err));
    vault_close(vault);
    io_close(io);
    return ok;
}

static void loop(enum fault_kind kind, long few, long many)
{
    static struct story story = {
        .options = {.seal_by_hand = true, .reserve_bytes = 4096, .store = {.threads = 1}}};
    struct fault_case fault = {
        .name = "vault", .setup = setup, .run = run, .check = check, .arg = &story, .least = 50};
    struct fault_report report;
    struct err err = {0};
    bool ok = fault_loop_run(&fault, kind, getenv("EVERCOPY_LONG") ? many : few, &report, &err);
    cr_assert(ok, "%s", err.text);
    cr_log_info("%ld rounds of %ld calls", report.rounds, report.calls);
}

Test(vault_fault, survives_input_and_output_errors) { loop(FAULT_IO, 5, 1); }
Test(vault_fault, survives_a_full_disk) { loop(FAULT_FULL, 7, 1); }
Test(vault_fault, survives_without_memory) { loop(FAULT_MEMORY, 11, 1); }
Test(vault_fault, goes_on_after_half_a_read_or_write) { loop(FAULT_SHORT, 3, 1); }
Test(vault_fault, survives_a_disk_that_is_full_after_half_a_write) { loop(FAULT_CUT, 3, 1); }

/* ---- sizes: a change that fails leaves the file as it was ---- */

enum { OLD_SIZE = 5000, LONG_SIZE = 20000, ADDED = 30000, GROWN = 60000 };

struct sizes {
    struct vault_options options;
    struct io *io;
    struct vault *vault;
    struct view *view;
    struct view_file file;
    size_t begins_with;
};

static bool sizes_setup(void *arg, const char *dir, struct err *err)
{
    struct sizes *s = arg;
    const struct story open = {.options = s->options};
    char bytes[LONG_SIZE];
    memset(bytes, 'a', sizeof bytes);
    if (!open_both(&open, dir, &s->io, &s->vault, err) || !vault_volume_create(s->vault, "v", err))
        return false;
    s->view = view_open(s->vault, "v", NULL, NULL, err);
    return s->view &&
           view_create(s->view, NULL, VIEW_ROOT, "a", INODE_FILE, NULL, NULL, &s->file, NULL,
                       err) &&
           view_write(s->view, s->file.file, bytes, s->begins_with, 0, true, NULL, err);
}

static void sizes_end(struct sizes *s)
{
    view_close(TAKE(s->view));
    vault_close(TAKE(s->vault));
    io_close(TAKE(s->io));
}

/* All of it: `a` times 'a', then `b` times 'b', then zeros. */
static bool content_is(struct sizes *s, size_t size, size_t a, size_t b, struct err *err)
{
    char bytes[GROWN + 1];
    ssize_t n = view_read(s->view, s->file.file, bytes, sizeof bytes, 0, err);
    if (n < 0)
        return false;
    if ((size_t)n != size)
        return err_set(err, ERR_INTERNAL, "%zd bytes, not %zu", n, size);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (i < a ? 'a' : i < a + b ? 'b' : 0))
            return err_set(err, ERR_INTERNAL, "byte %zu is %d", i, bytes[i]);
    return true;
}

static bool set_size(struct sizes *s, uint64_t size, struct err *err)
{
    struct view_attributes how = {.set_size = true, .size = size};
    struct view_file file;
    return view_set(s->view, NULL, s->file.file, &how, &file, NULL, err);
}

static bool extend(void *arg, const char *dir, struct err *err)
{
    struct sizes *s = arg;
    char bytes[ADDED];
    (void)dir;
    memset(bytes, 'b', sizeof bytes);
    return view_write(s->view, s->file.file, bytes, sizeof bytes, OLD_SIZE, false, NULL, err);
}

static bool grows_with_zeros(void *arg, const char *dir, bool done, struct err *err)
{
    struct sizes *s = arg;
    (void)dir;
    bool ok = set_size(s, GROWN, err) && content_is(s, GROWN, OLD_SIZE, done ? ADDED : 0, err);
    sizes_end(s);
    return ok;
}

static bool shrink(void *arg, const char *dir, struct err *err)
{
    (void)dir;
    return set_size(arg, OLD_SIZE, err);
}

static bool has_all_of_its_size(void *arg, const char *dir, bool done, struct err *err)
{
    struct sizes *s = arg;
    struct view_file now;
    (void)dir;
    bool ok = view_stat(s->view, s->file.file, 0, &now, err) &&
              (now.size == OLD_SIZE || (!done && now.size == LONG_SIZE) ||
               err_set(err, ERR_INTERNAL, "%llu bytes", (unsigned long long)now.size)) &&
              content_is(s, now.size, now.size, 0, err);
    sizes_end(s);
    return ok;
}

static void loop_sizes(struct fault_case fault, size_t begins_with)
{
    static const enum fault_kind kinds[] = {FAULT_IO, FAULT_FULL, FAULT_MEMORY, FAULT_SHORT,
                                            FAULT_CUT};
    struct sizes s = {
        .options = {.seal_by_hand = true, .reserve_bytes = 4096, .store = {.threads = 1}},
        .begins_with = begins_with};
    fault.setup = sizes_setup;
    fault.arg = &s;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct fault_report report;
        struct err err = {0};
        cr_expect(fault_loop_run(&fault, kinds[i], 1, &report, &err), "%s", err.text);
    }
}

Test(vault_fault, a_write_that_fails_leaves_nothing_behind_the_size)
{
    loop_sizes(
        (struct fault_case){.name = "extend", .run = extend, .check = grows_with_zeros, .least = 4},
        OLD_SIZE);
}

Test(vault_fault, a_cut_that_fails_leaves_a_file_that_has_all_of_its_size)
{
    loop_sizes(
        (struct fault_case){
            .name = "shrink", .run = shrink, .check = has_all_of_its_size, .least = 4},
        LONG_SIZE);
}

/* ---- room that never comes ---- */

Test(vault_fault, writers_are_told_of_a_failed_sync_and_do_not_wait_for_room)
{
    enum { PIECE = 64 << 10 };
    struct world w;
    struct vault_options options = {.seal_by_hand = true, .debt_bytes = PIECE / 2, .wait_ms = 50};
    world_begin_with(&w, &options);
    world_ok(&w, vault_volume_create(w.vault, "v", &w.err));
    struct view *view = world_view(&w, "v", NULL, NULL);
    uint64_t file = world_file(&w, view, "a");
    AUTO(mem) char *bytes = own_alloc(PIECE, &w.err);
    for (bool failed = false; !failed;) { /* the keeper may sync it before the fault is set */
        world_ok(&w, view_write(view, file, bytes, PIECE, 0, false, NULL, &w.err));
        sys_fault(1, EIO);
        failed = !view_commit(view, file, NULL, &w.err);
        sys_fault(0, 0);
    }
    err_clear(&w.err);
    cr_assert(!view_write(view, file, bytes, PIECE, 0, false, NULL, &w.err));
    cr_expect_eq(w.err.code, ERR_IO, "%s", w.err.text);
    err_clear(&w.err);
    view_close(view);
    world_end(&w);
}
