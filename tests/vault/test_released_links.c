/* What came later within version 1: files of several names, in slots of kind 4 and records of kind
 * 15. A store that was kept with them is seen as it was, and gone on with. EVERCOPY_KEEP_RELEASED=
 * FOLDER keeps what the code of today writes. */
#include "drivers/vault/store/family_int.h"
#include "tests/vault/released_kept.h"

#define VERSION "vault-store-v1-links"
enum { RECORD_LINK = 15, JOURNAL_FRAME = 20, SLOTS = RECORD_BYTES / INODE_BYTES };

static uint64_t number_of(struct world *w, struct view *view, const char *path)
{
    struct view_file file;
    world_ok(w, view_find(view, path, &file, &w->err));
    return file.file;
}

static void link_name(struct world *w, const char *clone, const char *path, const char *folder,
                      const char *name)
{
    struct view_file file;
    AUTO(view) struct view *view = world_view(w, "L", NULL, clone);
    world_ok(w, view_link(view, NULL, number_of(w, view, path), number_of(w, view, folder), name,
                          &file, NULL, &w->err));
}

static void remove_name(struct world *w, const char *folder, const char *name)
{
    AUTO(view) struct view *view = world_view(w, "L", NULL, NULL);
    world_ok(w, view_remove(view, NULL, number_of(w, view, folder), name, false, NULL, &w->err));
}

static void write_some(struct world *w, const char *clone, const char *path, uint32_t content)
{
    released_write(w, (struct released_at){"L", clone, path}, content, content % 4, 3, true);
}

/* Two names in two folders, one in the same; the first one goes; a further one is renamed; a file
 * goes with its last name. */
static void story(struct world *w, const char *far)
{
    struct sync_result result = {0};
    world_ok(w, vault_volume_create(w->vault, "L", &w->err));
    write_some(w, NULL, "data/one", 100);
    write_some(w, NULL, "data/single", 110);
    write_some(w, NULL, "other/gone", 120);
    link_name(w, NULL, "data/one", "other", "two");
    link_name(w, NULL, "data/one", "data", "three");
    link_name(w, NULL, "other/gone", "data", "gone-too");
    released_snapshot(w, "L", "s1", true);
    {
        AUTO(view) struct view *view = world_view(w, "L", NULL, NULL);
        world_ok(w, view_rename(view, NULL, number_of(w, view, "data"), "three",
                                number_of(w, view, "other"), "four", NULL, NULL, &w->err));
    }
    remove_name(w, "data", "one");
    remove_name(w, "other", "gone");
    remove_name(w, "data", "gone-too");
    write_some(w, NULL, "other/two", 200);
    released_snapshot(w, "L", "s2", true);
    world_ok(w, vault_clone_create(w->vault, "L", "c", "s1", NULL, 0, &w->err));
    link_name(w, "c", "data/single", "other", "of-the-clone");
    write_some(w, "c", "other/two", 300);
    world_ok(w, vault_seal(w->vault, "L/c", &w->err));
    released_copy(w, far, &result);
    cr_assert_eq(result.copied, 2);
    link_name(w, NULL, "data/single", "data", "unsealed");
    released_snapshot(w, "L", "late", false);
    link_name(w, NULL, "other/two", "data", "after-it");
    remove_name(w, "data", "single");
}

/* ---- that it has them ---- */

static size_t slots_of(struct family *family, const struct snapshot_row *row)
{
    struct inode slots[SLOTS];
    struct err err = {0};
    size_t found = 0;
    for (uint64_t record = 0; record * SLOTS < row->slots; record++) {
        VW_OK(family_inodes(family, &row->table, record, slots, &err));
        for (size_t i = 0; i < SLOTS; i++)
            found += slots[i].kind == INODE_LINK;
    }
    return found;
}

static size_t further_names(const struct kept *k)
{
    static const uint8_t nobody[16];
    const struct store_options reading = {.threads = 1, .read_only = true};
    struct err err = {0};
    size_t families = 0, volumes = 0, snapshots = 0, found = 0;
    AUTO(io) struct io *io = io_open(k->store, NULL, 0, &err);
    AUTO(store) struct store *store = io ? store_open(io, nobody, &reading, &err) : NULL;
    AUTO(mem) uint64_t *ids = store ? store_families(store, &families, &err) : NULL;
    cr_assert(ids && families == 1, "%s", err.text);
    AUTO(family) struct family *family = family_open(store, ids[0], false, &err);
    VW_OK(family);
    AUTO(mem) struct volume_row *rows = family_volumes(family, &volumes, &err);
    VW_OK(rows);
    for (size_t i = 0; i < volumes; i++) {
        AUTO(mem)
        struct snapshot_row *of = family_snapshots(family, rows[i].id, &snapshots, &err);
        VW_OK(of);
        for (size_t s = 0; s < snapshots; s++)
            found += slots_of(family, &of[s]);
    }
    return found;
}

/* In the journals of the box: length of the payload u32, kind u8, u8[3] 0, number u64, payload,
 * sum u32. */
static size_t link_records(const struct kept *k)
{
    struct err err = {0};
    char path[300];
    size_t found = 0;
    AUTO(sys_names) struct sys_names names = {0};
    IGNORE(!str_format(path, sizeof path, "%s/v", k->w.box));
    VW_OK(sys_list(path, &names, &err));
    for (size_t i = 0; i < names.count; i++) {
        size_t len = 0;
        uint32_t payload = 0;
        IGNORE(!str_format(path, sizeof path, "%s/v/%s/journal", k->w.box, names.names[i]));
        AUTO(mem) char *bytes = sys_read_file(path, 1 << 20, &len, &err);
        VW_OK(bytes);
        for (size_t at = 0; at + JOURNAL_FRAME <= len; at += payload + JOURNAL_FRAME) {
            memcpy(&payload, bytes + at, sizeof payload);
            found += bytes[at + 4] == RECORD_LINK;
        }
    }
    return found;
}

static void expect_both(const struct kept *k)
{
    cr_expect_eq(further_names(k), 3 + 2, "of s1, and of s2, where a first name had gone");
    cr_expect_geq(link_records(k), 2, "of what was not sealed");
}

/* ---- kept ---- */

static const char *const kept_snapshots[] = {"file L@s1 ", "file L@s2 ", "file L@late "};

static void expect_snapshots(struct kept *k, const char *text, size_t count)
{
    AUTO(seen) struct seen now = seen_all(&k->w, false);
    for (size_t i = 0; i < count; i++) {
        AUTO(mem) char *copy = own_strdup(text, &k->w.err);
        kept_expect_lines(&now, copy, kept_snapshots[i]);
    }
}

/* Names that came then go now, the last ones too; new ones come. */
static void go_on(struct world *w)
{
    link_name(w, NULL, "data/after-it", "data", "today");
    remove_name(w, "other", "two");
    write_some(w, NULL, "data/today", 400);
    remove_name(w, "other", "four");
    remove_name(w, "data", "unsealed");
    link_name(w, "c", "data/three", "data", "today");
    released_snapshot(w, "L", "today", true);
    world_ok(w, vault_swap(w->vault, "L", "c", &w->err));
    world_ok(w, vault_seal(w->vault, "L/c", &w->err));
}

static void use(const char *which)
{
    struct kept k;
    struct sync_result sync = {0};
    kept_unpack(&k, VERSION, which);
    expect_both(&k);
    kept_open(&k);
    AUTO(mem) char *text = kept_lines(&k.w, VERSION, which);
    AUTO(mem) char *again = own_strdup(text, &k.w.err);
    AUTO(seen) struct seen seen = seen_all(&k.w, false);
    cr_assert_eq(kept_expect_lines(&seen, again, ""), seen.count, "more is seen than there was");
    kept_expect_sound(&k);
    released_copy(&k.w, k.far, &sync);
    cr_expect_eq(sync.copied, 0, "what was copied then is copied again");
    go_on(&k.w);
    expect_snapshots(&k, text, 3);
    world_reopen(&k.w);
    expect_snapshots(&k, text, 3);
    world_ok(&k.w, vault_fsck(k.w.vault, &k.w.err));
    kept_expect_sound(&k);
    released_copy(&k.w, k.far, &sync);
    cr_expect_eq(sync.copied, 2, "late, today");
    kept_end(&k);
}

Test(released_links, a_store_that_was_closed_is_seen_as_it_was_and_goes_on) { use("closed"); }
Test(released_links, a_store_that_crashed_is_seen_as_it_was_and_goes_on) { use("crashed"); }

Test(released_links, a_store_without_its_box_has_every_sealed_name)
{
    struct kept k;
    kept_unpack(&k, VERSION, "closed");
    world_ok(&k.w, sys_remove_tree(k.w.box, &k.w.err));
    kept_open(&k);
    AUTO(mem) char *text = kept_lines(&k.w, VERSION, "closed");
    expect_snapshots(&k, text, 2);
    kept_end(&k);
}

Test(released_links, a_second_store_is_whole_by_itself)
{
    struct kept k;
    kept_unpack(&k, VERSION, "crashed");
    IGNORE(str_copy(k.store, sizeof k.store, k.far));
    k.w.io = io_open(k.store, NULL, 0, &k.w.err);
    world_ok(&k.w, k.w.io != NULL);
    kept_expect_sound(&k);
    kept_end(&k);
}

/* ---- for later versions ---- */

static void expect_same(struct kept *k, const struct seen *before)
{
    AUTO(seen) struct seen now = seen_all(&k->w, false);
    cr_assert_eq(now.count, before->count);
    for (size_t i = 0; i < now.count; i++)
        cr_assert_str_eq(now.lines[i], before->lines[i]);
}

Test(released_links, what_is_kept_has_names_of_all_sorts)
{
    struct kept k;
    kept_paths(&k);
    kept_open(&k);
    story(&k.w, k.far);
    AUTO(seen) struct seen closed = seen_all(&k.w, false);
    kept_close(&k);
    expect_both(&k);
    kept_keep(&k, "closed");
    kept_open(&k);
    expect_same(&k, &closed);
    link_name(&k.w, NULL, "data/after-it", "other", "not-closed");
    write_some(&k.w, NULL, "other/not-closed", 500);
    AUTO(seen) struct seen crashed = seen_all(&k.w, false);
    vault_abandon(TAKE(k.w.vault));
    io_close(TAKE(k.w.io));
    expect_both(&k);
    kept_keep(&k, "crashed");
    kept_open(&k);
    expect_same(&k, &crashed);
    kept_end(&k);
}
