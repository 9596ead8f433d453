/* Stores that released versions wrote: code of today sees in them what was seen then, and goes on
 * with them. EVERCOPY_KEEP_RELEASED=FOLDER keeps what the code of today writes. */
#include "tests/vault/released_kept.h"

static const char *const released[] = {"vault-store-v1"};

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
        kept_expect_lines(&now, copy, beginning);
    }
}

static void use(const char *version, const char *which)
{
    struct kept k;
    struct ingest_report report = {0};
    struct sync_result sync = {0};
    kept_unpack(&k, version, which);
    kept_open(&k);
    AUTO(mem) char *text = kept_lines(&k.w, version, which);
    AUTO(mem) char *again = own_strdup(text, &k.w.err);
    AUTO(seen) struct seen seen = seen_all(&k.w, false);
    cr_assert_eq(kept_expect_lines(&seen, again, ""), seen.count, "more is seen than there was");
    world_ok(&k.w, vault_fsck(k.w.vault, &k.w.err));
    kept_expect_sound(&k);
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
    kept_expect_sound(&k);
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
        kept_unpack(&k, released[i], "closed");
        world_ok(&k.w, sys_remove_tree(k.w.box, &k.w.err));
        kept_open(&k);
        AUTO(seen) struct seen seen = seen_all(&k.w, true);
        for (const char *const *known =
                 (const char *const[]){"A@s2", "A@s3", "A@set", "B@set", "I@taken", NULL};
             *known; known++) {
            char beginning[40];
            AUTO(mem) char *text = kept_lines(&k.w, released[i], "closed");
            AUTO(mem) char *again = own_strdup(text, &k.w.err);
            IGNORE(str_format(beginning, sizeof beginning, "file %s ", *known));
            kept_expect_lines(&seen, text, beginning);
            IGNORE(str_format(beginning, sizeof beginning, "snapshot %s ", *known));
            kept_expect_lines(&seen, again, beginning);
        }
        kept_end(&k);
    }
}

Test(released, a_second_store_is_whole_by_itself)
{
    for (size_t i = 0; i < sizeof released / sizeof *released; i++) {
        struct kept k;
        kept_unpack(&k, released[i], "crashed");
        IGNORE(str_copy(k.store, sizeof k.store, k.far));
        k.w.io = io_open(k.store, NULL, 0, &k.w.err);
        world_ok(&k.w, k.w.io != NULL);
        kept_expect_sound(&k);
        kept_end(&k);
    }
}

/* ---- what is kept for later versions ---- */

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
    kept_keep(&k, "closed");
    kept_open(&k);
    expect_same(&k, &closed);
    released_write(&k.w, (struct released_at){"A", NULL, "data/system.dbf"}, 4400, 1, 2, false);
    released_write(&k.w, (struct released_at){"B", NULL, "f"}, 4500, 2, 3, true);
    AUTO(seen) struct seen crashed = seen_all(&k.w, false);
    vault_abandon(TAKE(k.w.vault));
    io_close(TAKE(k.w.io));
    kept_keep(&k, "crashed");
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
