/* Stores that released versions wrote: code of today sees in them what was seen then, and goes on
 * with them. EVERCOPY_KEEP_RELEASED=FOLDER keeps what the code of today writes. */
#include "agent/base/log.h"
#include "drivers/vault/store/fsck.h"
#include "drivers/vault/store/scrub.h"
#include "tests/lib/vault_fsck.h"
#include "tests/vault/released_world.h"
#include "tests/vault/tools_world.h"

static const char *const released[] = {"vault-store-v1"};

struct kept {
    char dir[64], store[100], far[100];
    struct world w;
};

static void kept_paths(struct kept *k)
{
    *k = (struct kept){.w.options = {.seal_by_hand = true, .reserve_bytes = 4096}};
    k->w.options.store.threads = 1;
    log_set_level(LOG_LEVEL_ERROR);
    IGNORE(str_format(k->dir, sizeof k->dir, "%s/evercopy-released.XXXXXX",
                      access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir));
    cr_assert(mkdtemp(k->dir));
    IGNORE(str_format(k->w.box, sizeof k->w.box, "%s/box", k->dir));
    IGNORE(str_format(k->store, sizeof k->store, "%s/store", k->dir));
    IGNORE(str_format(k->far, sizeof k->far, "%s/far", k->dir));
}

static void kept_open(struct kept *k)
{
    k->w.io = io_open(k->store, NULL, 0, &k->w.err);
    world_ok(&k->w, k->w.io != NULL);
    world_open(&k->w);
}

static void kept_close(struct kept *k)
{
    vault_close(TAKE(k->w.vault));
    io_close(TAKE(k->w.io));
}

static void kept_end(struct kept *k)
{
    kept_close(k);
    world_ok(&k->w, sys_remove_tree(k->dir, &k->w.err));
}

static void run(struct world *w, const char *const *argv)
{
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    struct exec exec = {.argv = argv, .envp = envp, .deadline_ms = 60000};
    struct exec_result result = {0};
    world_ok(w, exec_run(&exec, &result, &w->err));
    cr_assert_eq(result.exit_code, 0, "%s failed", argv[0]);
}

static void unpack(struct kept *k, const char *version, const char *which)
{
    char archive[300], here[200];
    kept_paths(k);
    cr_assert(getcwd(here, sizeof here));
    IGNORE(str_format(archive, sizeof archive, "%s/tests/data/%s/%s.tar.gz", here, version, which));
    run(&k->w, (const char *const[]){"/bin/tar", "-xzf", archive, "-C", k->dir, NULL});
}

static char *lines_of(struct world *w, const char *version, const char *which)
{
    char path[300];
    size_t len;
    IGNORE(str_format(path, sizeof path, "tests/data/%s/%s.lines", version, which));
    char *text = sys_read_file(path, 1 << 20, &len, &w->err);
    world_ok(w, text != NULL);
    return text;
}

/* Every line of `text` (of those that begin so) is among what is seen. */
static size_t expect_lines(const struct seen *s, char *text, const char *beginning)
{
    size_t count = 0;
    for (char *cursor = text; cursor && *cursor;) {
        char *line = str_field(&cursor, '\n');
        if (!str_starts(line, beginning))
            continue;
        if (!bsearch(&line, s->lines, s->count, sizeof s->lines[0], seen_order)) {
            for (size_t i = 0; i < s->count; i++)
                printf("  %s\n", s->lines[i]);
            fflush(stdout);
            cr_assert_fail("is not seen any more: %s", line);
        }
        count++;
    }
    cr_assert_gt(count, 0, "no line begins with '%s'", beginning);
    return count;
}

static void expect_sound(struct kept *k)
{
    static struct tells tells;
    struct fsck_result fsck = {0};
    struct scrub_result scrub = {0};
    tells = (struct tells){0};
    world_ok(&k->w, fsck_store(k->w.io, &(struct fsck_options){.found = tw_tell, .arg = &tells},
                               &fsck, &k->w.err));
    world_ok(&k->w, scrub_store(k->w.io, &(struct scrub_options){.found = tw_tell, .arg = &tells},
                                &scrub, &k->w.err));
    tw_print(&tells);
    cr_assert_eq(tells.count, 0, "%zu findings", tells.count);
    cr_assert_gt(scrub.states, 0);
}

/* What anybody would do with it: write, snapshot, clone, seal, delete, thin. */
static void go_on(struct kept *k)
{
    struct world *w = &k->w;
    uint64_t freed;
    released_write(w, (struct released_at){"A", NULL, "data/system.dbf"}, 5000, 3, 20, true);
    released_write(w, (struct released_at){"A", NULL, "data/deep/moved"}, 5050, 0, 5, true);
    released_write(w, (struct released_at){"A", "c1", "data/system.dbf"}, 5100, 3, 7, true);
    released_write(w, (struct released_at){"A", "mix", "mixed/system.dbf"}, 5200, 3, 7, true);
    released_write(w, (struct released_at){"A", "c2", "data/other"}, 5300, 0, 7, true);
    released_snapshot(w, "A", "today", true);
    released_snapshot(w, "A/c2", "today", true);
    for (const char *const *clone = (const char *const[]){"c1", "c1c", "mix", "mixed", NULL};
         *clone; clone++) {
        char path[20];
        IGNORE(str_format(path, sizeof path, "A/%s", *clone));
        world_ok(w, vault_swap(w->vault, "A", *clone, &w->err));
        world_ok(w, vault_seal(w->vault, path, &w->err));
    }
    world_ok(w, vault_clone_create(w->vault, "A", "again", "s2", NULL, 0, &w->err));
    released_write(w, (struct released_at){"B", NULL, "f"}, 5400, 0, 48, true);
    released_snapshot(w, "B", "today", true);
    released_drop(w, "B", "r35");
    world_ok(w, vault_thin(w->vault, "B", &freed, &w->err));
}

static void expect_kept_snapshots(struct kept *k, char *text)
{
    static const char *const snapshots[] = {"A@s2", "A@s3", "A@set", "A@late", "B@set", "I@taken"};
    AUTO(seen) struct seen now = seen_all(&k->w, false);
    for (size_t i = 0; i < sizeof snapshots / sizeof *snapshots; i++) {
        char beginning[40];
        AUTO(mem) char *copy = own_strdup(text, &k->w.err);
        IGNORE(str_format(beginning, sizeof beginning, "file %s ", snapshots[i]));
        expect_lines(&now, copy, beginning);
    }
}

static void use(const char *version, const char *which)
{
    struct kept k;
    struct ingest_report report = {0};
    struct sync_result sync = {0};
    unpack(&k, version, which);
    kept_open(&k);
    AUTO(mem) char *text = lines_of(&k.w, version, which);
    AUTO(mem) char *again = own_strdup(text, &k.w.err);
    AUTO(seen) struct seen seen = seen_all(&k.w, false);
    cr_assert_eq(expect_lines(&seen, again, ""), seen.count, "more is seen than there was");
    world_ok(&k.w, vault_fsck(k.w.vault, &k.w.err));
    expect_sound(&k);
    released_copy(&k.w, k.far, &sync);
    cr_assert_eq(sync.copied, 0, "what was copied then is copied again");
    released_ingest(&k.w, "unchanged", &report);
    cr_assert_eq(report.records_written + report.records_compared, 0, "fingerprints do not count");
    ingest_report_done(&report);
    go_on(&k);
    expect_kept_snapshots(&k, text);
    world_reopen(&k.w);
    expect_kept_snapshots(&k, text);
    world_ok(&k.w, vault_seal(k.w.vault, "I", &k.w.err));
    world_ok(&k.w, vault_fsck(k.w.vault, &k.w.err));
    expect_sound(&k);
    released_copy(&k.w, k.far, &sync);
    cr_assert_geq(sync.copied, 3, "today, today, unchanged, late");
    kept_end(&k);
}

Test(released, a_store_that_was_closed_is_seen_as_it_was_and_goes_on)
{
    for (size_t i = 0; i < sizeof released / sizeof *released; i++)
        use(released[i], "closed");
}

Test(released, a_store_that_crashed_is_seen_as_it_was_and_goes_on)
{
    for (size_t i = 0; i < sizeof released / sizeof *released; i++)
        use(released[i], "crashed");
}

Test(released, a_store_without_its_box_has_every_sealed_snapshot)
{
    for (size_t i = 0; i < sizeof released / sizeof *released; i++) {
        struct kept k;
        unpack(&k, released[i], "closed");
        world_ok(&k.w, sys_remove_tree(k.w.box, &k.w.err));
        kept_open(&k);
        AUTO(seen) struct seen seen = seen_all(&k.w, true);
        for (const char *const *known =
                 (const char *const[]){"A@s2", "A@s3", "A@set", "B@set", "I@taken", NULL};
             *known; known++) {
            char beginning[40];
            AUTO(mem) char *text = lines_of(&k.w, released[i], "closed");
            AUTO(mem) char *again = own_strdup(text, &k.w.err);
            IGNORE(str_format(beginning, sizeof beginning, "file %s ", *known));
            expect_lines(&seen, text, beginning);
            IGNORE(str_format(beginning, sizeof beginning, "snapshot %s ", *known));
            expect_lines(&seen, again, beginning);
        }
        kept_end(&k);
    }
}

Test(released, a_second_store_is_whole_by_itself)
{
    for (size_t i = 0; i < sizeof released / sizeof *released; i++) {
        struct kept k;
        unpack(&k, released[i], "crashed");
        IGNORE(str_copy(k.store, sizeof k.store, k.far));
        k.w.io = io_open(k.store, NULL, 0, &k.w.err);
        world_ok(&k.w, k.w.io != NULL);
        expect_sound(&k);
        kept_end(&k);
    }
}

/* ---- what is kept for later versions ---- */

static void keep(struct kept *k, const char *which)
{
    const char *to = getenv("EVERCOPY_KEEP_RELEASED");
    char archive[300], path[300];
    if (!to)
        return;
    AUTO(str) struct str text = {0};
    world_ok(&k->w, sys_mkdirs(to, 0755, &k->w.err));
    IGNORE(str_format(archive, sizeof archive, "%s/%s.tar.gz", to, which));
    IGNORE(str_format(path, sizeof path, "%s/%s.lines", to, which));
    run(&k->w,
        (const char *const[]){"/bin/tar", "-cSf", archive, "--use-compress-program=gzip -9n",
                              "--owner=0", "--group=0", "-C", k->dir, "box", "store", "far", NULL});
    kept_open(k);
    AUTO(seen) struct seen seen = seen_all(&k->w, false);
    for (size_t i = 0; i < seen.count; i++)
        str_printf(&text, "%s\n", seen.lines[i]);
    world_ok(&k->w, str_ok(&text, &k->w.err) &&
                        sys_write_file(path, text.text, text.len, 0644, &k->w.err));
    kept_close(k);
}

static void expect_same(struct kept *k, const struct seen *before)
{
    AUTO(seen) struct seen now = seen_all(&k->w, false);
    cr_assert_eq(now.count, before->count);
    for (size_t i = 0; i < now.count; i++) {
        /* Of what was not committed the bytes are there, but not when that was. */
        bool uncommitted = str_starts(now.lines[i], "file A@ /data/system.dbf ");
        const char *what = uncommitted ? "sha256=" : "";
        cr_assert_str_eq(strstr(now.lines[i], what), strstr(before->lines[i], what));
    }
}

Test(released, what_is_kept_has_one_of_everything)
{
    struct kept k;
    bool thinned = false;
    kept_paths(&k);
    kept_open(&k);
    released_story(&k.w, k.far);
    AUTO(seen) struct seen closed = seen_all(&k.w, false);
    kept_close(&k);
    keep(&k, "closed");
    kept_open(&k);
    expect_same(&k, &closed);
    released_write(&k.w, (struct released_at){"A", NULL, "data/system.dbf"}, 4400, 1, 2, false);
    released_write(&k.w, (struct released_at){"B", NULL, "f"}, 4500, 2, 3, true);
    AUTO(seen) struct seen crashed = seen_all(&k.w, false);
    vault_abandon(TAKE(k.w.vault));
    io_close(TAKE(k.w.io));
    keep(&k, "crashed");
    kept_open(&k);
    expect_same(&k, &crashed);
    AUTO(io_list) struct io_list families = {0};
    world_ok(&k.w, io_list(k.w.io, "f", &families, &k.w.err));
    for (size_t i = 0; i < families.count; i++) {
        char folder[IO_NAME_MAX];
        AUTO(io_list) struct io_list packs = {0};
        IGNORE(str_format(folder, sizeof folder, "f/%s/pack", families.entries[i].name));
        world_ok(&k.w, io_list(k.w.io, folder, &packs, &k.w.err));
        for (size_t p = 0; p < packs.count; p++)
            thinned |= !str_ends(packs.entries[p].name, "-0000");
    }
    cr_assert(thinned, "no pack of a later generation");
    kept_end(&k);
}
