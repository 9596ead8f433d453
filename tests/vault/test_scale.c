/* A vault near its limits: what an operation costs does not grow with what is there, memory and
 * opening stay within bounds, and one more than there may be is refused by the name of the limit.
 * EVERCOPY_LONG goes to the limits themselves. */
#include "agent/base/log.h"
#include "drivers/vault/store/family_int.h"
#include "drivers/vault/store/listing.h"
#include "drivers/vault/store/rows.h"
#include "tests/vault/vault_world.h"
#include "tests/vault/volume_world.h"
#include <malloc.h>
#include <sys/resource.h>

enum { PARTS = 5, SLOTS_A_RECORD = RECORD_BYTES / INODE_BYTES };
enum { FILES_MAX = 100000, NUMBERS = 1 << 24, SNAPSHOTS_MAX = 10000, VOLUMES_MAX = 1000 };
enum { CLONES_MAX = 10000, SET_MAX = 16 };

static bool is_long(void) { return getenv("EVERCOPY_LONG") != NULL; }

/* Of this process: what runs beside it does not count. */
static double cpu_ms(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
}

static double resident_mib(void)
{
    char line[200];
    double kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        kib = str_starts(line, "VmRSS:") ? strtod(line + 6, NULL) : kib;
    if (status)
        fclose(status);
    return kib / 1024;
}

/* Of `count` operations, a fifth at a time. */
struct cost {
    const char *what;
    size_t count, done;
    double ms[PARTS], begun, mib;
};

static struct cost cost_begin(const char *what, size_t count)
{
    return (struct cost){.what = what, .count = count, .begun = cpu_ms(), .mib = resident_mib()};
}

static void cost_step(struct cost *c)
{
    size_t part = c->done++ * PARTS / c->count;
    if (c->done * PARTS / c->count == part)
        return;
    double now = cpu_ms();
    c->ms[part] = now - c->begun;
    c->begun = now;
}

/* The last fifth may cost so many times what the second did, the first one warms up. Sanitizers
 * keep what is freed, so memory is printed and not judged. */
static void cost_end(const struct cost *c, double growth)
{
    double each = (double)c->count / PARTS, last = c->ms[PARTS - 1];
    printf("%s: %zu, us each:", c->what, c->count);
    for (size_t i = 0; i < PARTS; i++)
        printf(" %.1f", c->ms[i] * 1e3 / each);
    printf("; %.1f MiB more\n", resident_mib() - c->mib);
    fflush(stdout);
    cr_assert_leq(last, c->ms[1] * growth + 50, /* ms: what neighbours and clocks may do */
                  "%s: the last of %zu took %.1f ms, the second fifth %.1f", c->what, c->count,
                  last, c->ms[1]);
}

static void reopen(struct world *w, const char *what, double allowed_ms)
{
    vault_close(TAKE(w->vault));
    double mib = resident_mib(), begun = cpu_ms();
    world_open(w);
    double spent = cpu_ms() - begun;
    printf("%s: opened in %.1f ms, %.1f MiB more\n", what, spent, resident_mib() - mib);
    fflush(stdout);
    cr_assert_leq(spent, allowed_ms, "%s: opening took %.1f ms", what, spent);
}

static void seal(struct world *w, const char *volume)
{
    world_ok(w, vault_seal(w->vault, volume, &w->err));
}

static void expect_limit(struct world *w, bool done, const char *text)
{
    cr_assert_not(done);
    cr_assert_eq(w->err.code, ERR_LIMIT, "%s", w->err.text);
    cr_assert(strstr(w->err.text, text), "%s", w->err.text);
    err_clear(&w->err);
}

static bool make_file(struct world *w, struct view *view, const char *name)
{
    struct view_file file;
    return view_create(view, NULL, VIEW_ROOT, name, INODE_FILE, NULL, NULL, &file, NULL, &w->err);
}

/* ---- a sealed state that would take long to get to ---- */

static void put_slot(struct vw *w, uint8_t *record, uint64_t file)
{
    struct inode inode = {.file = file, .parent = INODE_ROOT, .links = 1, .kind = INODE_FILE};
    if (file == INODE_ROOT) {
        inode.kind = INODE_DIRECTORY;
        inode.links = 2;
    } else {
        IGNORE(str_format(inode.name, sizeof inode.name, "f%llu", (unsigned long long)file));
        inode.name_len = (uint8_t)strlen(inode.name);
    }
    inode_encode(&inode, store_seed(w->store), record + file % SLOTS_A_RECORD * INODE_BYTES);
}

/* Empty files numbered from 2 on, a table of so many slots, as snapshot "forged". */
static void forge(struct vw *w, uint64_t files, uint64_t slots)
{
    struct err err = {0};
    struct seal_result result = {.slots = slots, .named = true, .id = 7, .created_us = 1};
    AUTO(seal) struct seal *seal = seal_begin(w->family, w->volumes[0].id, ++w->sequence, &err);
    VW_OK(seal && seal_file_begin(seal, INODE_TABLE, NULL, &err));
    for (uint64_t file = 0; file < files + 2;) {
        uint8_t record[RECORD_BYTES] = {0};
        uint64_t number = file / SLOTS_A_RECORD;
        for (; file < files + 2 && file / SLOTS_A_RECORD == number; file++)
            if (file != INODE_TABLE)
                put_slot(w, record, file);
        VW_OK(seal_record(seal, number, record, &err));
    }
    VW_OK(seal_file_end(seal, slots * INODE_BYTES, &result.table, &err));
    IGNORE(str_copy(result.name, sizeof result.name, "forged"));
    VW_OK(seal_commit(TAKE(seal), &result, &err));
}

static void forged_begin(struct vw *w)
{
    struct err err = {0};
    log_set_level(LOG_LEVEL_ERROR);
    vw_begin(w, 1);
    VW_OK(vw_add_landing(w, &err));
}

/* The vault that finds this store, and its box gone. */
static void forged_open(struct vw *from, struct world *w)
{
    vw_close(from);
    *w = (struct world){.io = from->io, .memory = from->memory};
    w->options = (struct vault_options){.seal_by_hand = true, .reserve_bytes = 4096};
    IGNORE(str_format(w->box, sizeof w->box, "%s/evercopy-scale.XXXXXX",
                      access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir));
    cr_assert(mkdtemp(w->box));
    double begun = cpu_ms();
    world_open(w);
    printf("opened without a box in %.1f ms\n", cpu_ms() - begun);
}

/* ---- files ---- */

Test(scale, the_file_that_is_one_too_many_is_refused_and_the_next_seal_is_whole)
{
    struct vw *v = calloc(1, sizeof *v);
    struct world w;
    struct view_file file;
    forged_begin(v);
    forge(v, FILES_MAX - 1, FILES_MAX + 1);
    forged_open(v, &w);
    AUTO(view) struct view *view = world_view(&w, "landing", NULL, NULL);
    world_ok(&w, make_file(&w, view, "last"));
    expect_limit(&w, make_file(&w, view, "more"), "at most 100000 files");
    world_snapshot(&w, "landing", "full");
    seal(&w, "landing");
    view_close(TAKE(view));
    reopen(&w, "100,000 files", 20000);
    view = world_view(&w, "landing", NULL, NULL);
    world_ok(&w, view_find(view, "last", &file, &w.err));
    expect_limit(&w, make_file(&w, view, "more"), "at most 100000 files");
    world_ok(&w, view_remove(view, NULL, VIEW_ROOT, "f77", false, NULL, &w.err));
    world_ok(&w, make_file(&w, view, "more"));
    view_close(TAKE(view));
    world_end(&w);
    free(v);
}

Test(scale, the_last_file_number_is_given_and_then_the_volume_says_so)
{
    struct vw *v = calloc(1, sizeof *v);
    struct world w;
    struct err err = {0};
    forged_begin(v);
    forge(v, 10, NUMBERS - 1);
    forged_open(v, &w);
    AUTO(view) struct view *view = world_view(&w, "landing", NULL, NULL);
    world_ok(&w, make_file(&w, view, "last"));
    expect_limit(&w, make_file(&w, view, "more"), "all of its 16777216 file numbers");
    world_ok(&w, view_remove(view, NULL, VIEW_ROOT, "f5", false, NULL, &w.err));
    expect_limit(&w, make_file(&w, view, "more"), "all of its 16777216 file numbers");
    view_close(TAKE(view));
    world_write(&w, "landing", NULL, "last", 'l', 9000, 0);
    world_snapshot(&w, "landing", "end");
    seal(&w, "landing");
    reopen(&w, "2^24 file numbers", 20000);
    world_expect(&w, "landing", "end", NULL, "last", 'l', 9000, 0);
    view = world_view(&w, "landing", NULL, NULL);
    expect_limit(&w, make_file(&w, view, "more"), "all of its 16777216 file numbers");
    view_close(TAKE(view));
    vault_close(TAKE(w.vault));

    double begun = cpu_ms();
    VW_OK(vw_try_open(v, false, &err));
    AUTO(listing) struct listing listing = {0};
    struct snapshot_row row = vw_row(v, v->volumes[0].id, v->sequence);
    VW_OK(listing_read(v->family, &row.table, row.slots, &listing, &err));
    cr_assert_eq(listing.count, 10);
    printf("listed in %.1f ms\n", cpu_ms() - begun);
    vw_close(v);
    world_open(&w);
    world_end(&w);
    free(v);
}

Test(scale, making_files_in_many_folders_costs_the_same_from_the_first_to_the_last)
{
    struct world w;
    char name[40];
    struct view_file folder = {0}, file;
    size_t count = is_long() ? FILES_MAX : 2500, folders = is_long() ? 1000 : 25;
    log_set_level(LOG_LEVEL_ERROR);
    world_begin(&w);
    world_ok(&w, vault_volume_create(w.vault, "V", &w.err));
    AUTO(view) struct view *view = world_view(&w, "V", NULL, NULL);
    struct cost cost = cost_begin("files made", count);
    for (size_t i = 0; i < count; i++) {
        bool is_folder = i % (count / folders) == 0;
        IGNORE(str_format(name, sizeof name, "%zu", i));
        world_ok(&w, view_create(view, NULL, is_folder ? VIEW_ROOT : folder.file, name,
                                 is_folder ? INODE_DIRECTORY : INODE_FILE, NULL, NULL, &file, NULL,
                                 &w.err));
        folder = is_folder ? file : folder;
        cost_step(&cost);
    }
    cost_end(&cost, 3);
    world_snapshot(&w, "V", "all");
    seal(&w, "V");
    /* A change of one record among so many files: what a day costs. */
    double begun = cpu_ms();
    world_ok(&w, view_write(view, file.file, "x", 1, 0, true, NULL, &w.err));
    double wrote = cpu_ms();
    world_snapshot(&w, "V", "one");
    double taken = cpu_ms();
    seal(&w, "V");
    printf("one of them written in %.1f ms, snapshot %.1f ms, seal %.1f ms\n", wrote - begun,
           taken - wrote, cpu_ms() - taken);
    cr_assert_leq(taken - wrote, 100, "a snapshot looks at every file");
    view_close(TAKE(view));
    reopen(&w, "files", 20000);
    world_end(&w);
}

/* ---- snapshots ---- */

/* The one that is there, under ever other names. */
static void forge_snapshots(struct vw *w, size_t count)
{
    struct err err = {0};
    AUTO(table) struct table *now = family_table(w->family);
    AUTO(table) struct table *rows = table_copy(now, &err);
    VW_OK(rows);
    for (size_t i = 0; i < count; i++) {
        VW_OK(own_grow((void **)&rows->snapshots, &rows->snapshot_capacity, rows->snapshot_count,
                       sizeof *rows->snapshots, &err));
        struct table_snapshot *row = &rows->snapshots[rows->snapshot_count++];
        *row = rows->snapshots[0];
        row->bad = NULL;
        row->deaths = (struct deaths){0};
        row->row.sequence = ++w->sequence;
        row->row.id = 1000 + i;
        IGNORE(str_format(row->row.name, sizeof row->row.name, "s%zu", i));
    }
    rows->volumes[0].row.sealed = w->sequence;
    VW_OK(rows_write(w->store, rows, true, &err));
}

Test(scale, the_snapshot_that_is_one_too_many_is_refused)
{
    struct vw *v = calloc(1, sizeof *v);
    struct world w;
    const char *volume = "landing";
    forged_begin(v);
    forge(v, 3, 5);
    forge_snapshots(v, SNAPSHOTS_MAX - 2);
    forged_open(v, &w);
    world_write(&w, volume, NULL, "x", 'x', 9000, 0);
    world_snapshot(&w, volume, "last");
    seal(&w, volume);
    expect_limit(&w, vault_snapshot_create(w.vault, &volume, 1, "more", &w.err),
                 "has 10000 snapshots");
    reopen(&w, "10,000 snapshots", 20000);
    expect_limit(&w, vault_snapshot_create(w.vault, &volume, 1, "more", &w.err),
                 "has 10000 snapshots");
    world_ok(&w, vault_snapshot_drop(w.vault, volume, "s77", &w.err));
    world_snapshot(&w, volume, "more");
    seal(&w, volume);
    world_expect(&w, volume, "last", NULL, "x", 'x', 9000, 0);
    world_end(&w);
    free(v);
}

/* Each carries the rows of all in its commit's copy: that share grows, by half a microsecond each.
 */
Test(scale, snapshots_are_taken_sealed_and_deleted_beside_many_others)
{
    struct world w;
    char name[40];
    size_t count = is_long() ? SNAPSHOTS_MAX : 150;
    log_set_level(LOG_LEVEL_ERROR);
    world_begin(&w);
    world_ok(&w, vault_volume_create(w.vault, "V", &w.err));
    struct cost cost = cost_begin("snapshots taken and sealed", count);
    for (size_t i = 0; i < count; i++) {
        IGNORE(str_format(name, sizeof name, "s%zu", i));
        world_write(&w, "V", NULL, "f", (char)i, RECORD_BYTES, i % 100 * RECORD_BYTES);
        world_snapshot(&w, "V", name);
        seal(&w, "V");
        cost_step(&cost);
    }
    cost_end(&cost, is_long() ? 15 : 3);
    reopen(&w, "snapshots", is_long() ? 5000 : 500);
    cost = cost_begin("snapshots deleted", count / 2);
    for (size_t i = 0; i < count / 2; i++) {
        IGNORE(str_format(name, sizeof name, "s%zu", 2 * i));
        world_ok(&w, vault_snapshot_drop(w.vault, "V", name, &w.err));
        cost_step(&cost);
    }
    cost_end(&cost, 3);
    for (size_t i = 1; i < count; i += count / 5 + (count / 5) % 2) { /* those that are left */
        IGNORE(str_format(name, sizeof name, "s%zu", i));
        world_expect(&w, "V", name, NULL, "f", (char)i, RECORD_BYTES, i % 100 * RECORD_BYTES);
    }
    world_end(&w);
}

/* ---- volumes ---- */

Test(scale, the_volume_that_is_one_too_many_is_refused)
{
    struct world w;
    char name[40];
    log_set_level(LOG_LEVEL_ERROR);
    world_begin(&w);
    struct cost cost = cost_begin("volumes made", VOLUMES_MAX);
    for (size_t i = 0; i < VOLUMES_MAX; i++) {
        IGNORE(str_format(name, sizeof name, "v%zu", i));
        world_ok(&w, vault_volume_create(w.vault, name, &w.err));
        cost_step(&cost);
    }
    cost_end(&cost, 5);
    expect_limit(&w, vault_volume_create(w.vault, "more", &w.err), "at most 1000 volumes");
    world_write(&w, "v999", NULL, "f", 'x', 9000, 0);
    world_snapshot(&w, "v999", "s");
    world_ok(&w, vault_clone_create(w.vault, "v999", "c", "s", NULL, 0, &w.err));
    for (size_t i = 100; is_long() && i < VOLUMES_MAX; i++) {
        IGNORE(str_format(name, sizeof name, "v%zu", i));
        world_write(&w, name, NULL, "f", (char)i, 9000, 0);
        world_snapshot(&w, name, "sealed");
        seal(&w, name);
    }
    reopen(&w, "1,000 volumes", 20000);
    world_expect(&w, "v999", NULL, "c", "f", 'x', 9000, 0);
    expect_limit(&w, vault_volume_create(w.vault, "more", &w.err), "at most 1000 volumes");
    world_ok(&w, vault_volume_drop(w.vault, "v77", &w.err));
    world_ok(&w, vault_volume_create(w.vault, "more", &w.err));
    world_end(&w);
}

/* ---- clones and sets ---- */

static void make_clone(struct world *w, const char *name, bool of_b)
{
    world_ok(w, vault_clone_create(w->vault, of_b ? "b" : "a", name, "s", NULL, 0, &w->err));
}

static void expect_no_more_clones(struct world *w)
{
    for (const char *const *v = (const char *const[]){"a", "b", NULL}; *v; v++)
        expect_limit(w, vault_clone_create(w->vault, *v, "more", "s", NULL, 0, &w->err),
                     "at most 10000 clones");
}

/* Of all volumes together. */
Test(scale, the_clone_that_is_one_too_many_is_refused)
{
    struct world w;
    char name[40];
    if (!is_long())
        cr_skip_test("a long test: EVERCOPY_LONG");
    log_set_level(LOG_LEVEL_ERROR);
    world_begin(&w);
    for (const char *const *v = (const char *const[]){"a", "b", NULL}; *v; v++) {
        world_ok(&w, vault_volume_create(w.vault, *v, &w.err));
        world_write(&w, *v, NULL, "f", **v, 9000, 0);
        world_snapshot(&w, *v, "s");
    }
    seal(&w, "a");
    struct cost cost = cost_begin("clones made", CLONES_MAX);
    for (size_t i = 0; i < CLONES_MAX; i++) {
        IGNORE(str_format(name, sizeof name, "c%zu", i));
        make_clone(&w, name, i % 2);
        cost_step(&cost);
    }
    cost_end(&cost, 8); /* each looks at the names of all */
    expect_no_more_clones(&w);
    reopen(&w, "10,000 clones", 60000);
    expect_no_more_clones(&w);
    world_ok(&w, vault_clone_drop(w.vault, "a", "c0", &w.err));
    make_clone(&w, "again", true);
    expect_no_more_clones(&w);
    world_expect(&w, "b", NULL, "again", "f", 'b', 9000, 0);
    world_end(&w);
}

Test(scale, a_set_of_one_volume_too_many_is_refused_as_a_whole)
{
    struct world w;
    char names[SET_MAX + 1][8];
    const char *volumes[SET_MAX + 1];
    size_t count = 0;
    world_begin(&w);
    for (size_t i = 0; i < SET_MAX + 1; i++) {
        IGNORE(str_format(names[i], sizeof names[i], "v%zu", i));
        volumes[i] = names[i];
        world_ok(&w, vault_volume_create(w.vault, names[i], &w.err));
        world_write(&w, names[i], NULL, "f", (char)('a' + i), 9000, 0);
    }
    expect_limit(&w, vault_snapshot_create(w.vault, volumes, SET_MAX + 1, "set", &w.err),
                 "1 to 16 volumes");
    expect_limit(&w, vault_snapshot_create(w.vault, volumes, 0, "set", &w.err), "1 to 16 volumes");
    for (size_t i = 0; i < SET_MAX + 1; i++) {
        AUTO(mem)
        struct vault_snapshot_info *rows = vault_snapshot_list(w.vault, names[i], &count, &w.err);
        world_ok(&w, rows && count == 0);
    }
    world_ok(&w, vault_snapshot_create(w.vault, volumes, SET_MAX, "set", &w.err));
    reopen(&w, "a set of 16", 20000);
    for (size_t i = 0; i < SET_MAX; i++)
        world_expect(&w, names[i], "set", NULL, "f", (char)('a' + i), 9000, 0);
    world_end(&w);
}
