/* The reflink driver's own ways: what the contract cannot ask of every storage. */
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/drivers/promise.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROW = 1 }; /* of the sandboxes */

static void begin(struct sandbox *s)
{
    struct err err = {0};
    cr_assert_str_eq(sandbox_row(ROW)->driver, "reflink");
    if (!sandbox_begin(s, sandbox_row(ROW), &err)) {
        privileged_skipped("reflink", "sandbox", &err);
        cr_skip_test("%s", err.text);
    }
    cr_assert(make_volume(s, "v", &err), "%s", err.text);
}

static const char *at(const struct sandbox *s, const char *path)
{
    static char full[1024];
    str_format(full, sizeof full, "%s/%s", s->root, path);
    return full;
}

static void refuses_root(const char *root, enum err_code code, const char *word)
{
    struct err err = {0};
    const struct driver_option option = {"root", root};
    AUTO(driver) struct driver_ref *d = driver_open("reflink", &option, 1, &err);
    cr_expect_null(d);
    cr_expect_eq(err.code, code, "%s", err.text);
    cr_expect(strstr(err.text, word), "%s", err.text);
}

Test(reflink, refuses_a_root_that_is_missing_or_relative)
{
    refuses_root("/nonexistent/evercopy", ERR_NOT_FOUND, "/nonexistent/evercopy");
    refuses_root("relative", ERR_CONFIG, "absolute");
}

Test(reflink, sends_people_to_the_vault_where_files_cannot_be_cloned)
{
    static const char *const without[] = {"ext4", "tmpfs"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        AUTO(scratch) struct scratch scratch = {0};
        struct err err = {0};
        if (!scratch_mount(&scratch, without[i], 16, &err)) {
            privileged_skipped("reflink", without[i], &err);
            continue;
        }
        AUTO(sys_names) struct sys_names names = {0};
        refuses_root(scratch.mount, ERR_UNSUPPORTED, "'vault'");
        cr_assert(sys_list(scratch.mount, &names, &err));
        for (size_t j = 0; j < names.count; j++)
            cr_expect_str_eq(names.names[j], "lost+found", "left behind: %s", names.names[j]);
    }
}

Test(reflink, never_follows_links_but_names_them)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    begin(&s);
    cr_assert_eq(symlink("/etc/passwd", at(&s, "volumes/v/evil")), 0);
    cr_assert_eq(symlink("/etc", at(&s, "volumes/v/data/dir%")), 0);
    cr_assert_eq(mkfifo(at(&s, "volumes/v/pipe\xff"), 0600), 0);
    cr_assert(take(&s, "v", "s", &err), "%s", err.text);
    cr_assert(is_whole(&s, "v", "s", NULL, &err), "%s", err.text);
    size_t len = 0;
    AUTO(mem)
    char *text = sys_read_file(at(&s, "snapshots/v/s/snapshot.json"), 1 << 20, &len, &err);
    AUTO(json) json_t *record = json_parse(text, len, &err);
    const json_t *odd = json_object_get(record, "odd");
    cr_assert_eq(json_array_size(odd), 3);
    cr_expect_eq(json_u64(record, "odd_count"), 3);
    cr_expect_str_eq(json_string_value(json_array_get(odd, 0)), "data/dir%25");
    cr_expect_str_eq(json_string_value(json_array_get(odd, 1)), "evil");
    cr_expect_str_eq(json_string_value(json_array_get(odd, 2)), "pipe%FF");
}

static mode_t mode_of(const struct sandbox *s, const char *path)
{
    struct stat st;
    cr_assert_eq(stat(at(s, path), &st), 0, "%s", path);
    return st.st_mode & 07777;
}

Test(reflink, snapshots_are_read_only_and_clones_are_as_the_area_was)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    struct stat st;
    begin(&s);
    cr_assert_eq(chown(at(&s, "volumes/v"), 1234, 4321), 0);
    cr_assert_eq(chown(at(&s, "volumes/v/log_1_7.arc"), 1234, 4321), 0);
    cr_assert_eq(chmod(at(&s, "volumes/v/log_1_7.arc"), 06640), 0);
    cr_assert(take(&s, "v", "s", &err), "%s", err.text);
    cr_assert(clone_of(&s, "v", "c", "s", &err), "%s", err.text);
    const struct driver_part part = {"s", "log_1_7.arc", "deep/er/log"};
    cr_assert(driver_clone_create(s.d, "v", "p", NULL, &part, 1, NULL, &err), "%s", err.text);
    cr_expect_eq(mode_of(&s, "snapshots/v/s/data/log_1_7.arc"), 0440);
    cr_expect_eq(mode_of(&s, "snapshots/v/s/data/data") & 0222, 0);
    cr_expect_eq(mode_of(&s, "snapshots/v/s/data") & 0222, 0);
    cr_expect_eq(mode_of(&s, "clones/v/c/data/log_1_7.arc"), 0640);
    cr_expect_eq(mode_of(&s, "clones/v/c/data") & 0700, 0700);
    static const char *const owned[] = {
        "snapshots/v/s/data/log_1_7.arc", "snapshots/v/s/data", "clones/v/c/data",
        "clones/v/c/data/log_1_7.arc",    "clones/v/p/data",    "clones/v/p/data/deep/er",
        "clones/v/p/data/deep/er/log"};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) {
        cr_assert_eq(stat(at(&s, owned[i]), &st), 0, "%s", owned[i]);
        cr_expect(st.st_uid == 1234 && st.st_gid == 4321, "%s", owned[i]);
    }
}

Test(reflink, sweep_removes_what_the_dead_left_and_spares_the_living)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    uint32_t swept = 0;
    begin(&s);
    cr_assert(take(&s, "v", "s", &err), "%s", err.text);
    cr_assert(sys_mkdirs(at(&s, "snapshots/v/.tmp-dead/data"), 0750, &err));
    cr_assert(sys_mkdirs(at(&s, "clones/v/.tmp-alive"), 0750, &err));
    AUTO(fd) int note = open(at(&s, "snapshots/v/s/note.json.0123.tmp"), O_CREAT | O_WRONLY, 0600);
    AUTO(fd) int probe = open(at(&s, ".tmp-probe-1-0"), O_CREAT | O_WRONLY, 0600);
    AUTO(fd) int alive = open(at(&s, "clones/v/.tmp-alive"), O_RDONLY | O_DIRECTORY);
    cr_assert(note >= 0 && probe >= 0 && flock(alive, LOCK_EX) == 0);
    cr_assert(driver_sweep(s.d, &swept, &err), "%s", err.text);
    cr_expect_eq(swept, 3);
    cr_expect_eq(access(at(&s, "clones/v/.tmp-alive"), F_OK), 0);
    cr_assert_eq(flock(alive, LOCK_UN), 0);
    cr_assert(driver_sweep(s.d, &swept, &err));
    cr_expect_eq(swept, 1);
    cr_expect(is_whole(&s, "v", "s", NULL, &err), "%s", err.text);
}

Test(reflink, lists_neither_foreign_directories_nor_hides_damage)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    size_t count = 0;
    begin(&s);
    cr_assert(take(&s, "v", "s", &err), "%s", err.text);
    cr_assert(sys_mkdir(at(&s, "snapshots/v/foreign"), 0755, &err));
    cr_expect(snapshots_are(&s, "v", "s ", &err), "%s", err.text);
    cr_assert(sys_write_file(at(&s, "snapshots/v/s/snapshot.json"), "{", 1, 0440, &err));
    cr_expect_null(driver_snapshot_list(s.d, "v", &count, &err));
    cr_expect_eq(err.code, ERR_CORRUPT);
    cr_expect(strstr(err.text, "snapshot.json"), "%s", err.text);
}

Test(reflink, reaches_the_snapshots_of_a_volume_whose_area_is_lost)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    begin(&s);
    cr_assert(take(&s, "v", "s", &err), "%s", err.text);
    cr_assert(sys_remove_tree(at(&s, "volumes/v"), &err), "%s", err.text);
    cr_expect(snapshots_are(&s, "v", "s ", &err), "%s", err.text);
    cr_expect(is_whole(&s, "v", "s", NULL, &err), "%s", err.text);
    cr_expect(clone_of(&s, "v", "c", "s", &err), "%s", err.text);
    cr_expect(is_whole(&s, "v", NULL, "c", &err), "%s", err.text);
}

Test(reflink, refuses_a_tree_deeper_than_it_could_list)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    begin(&s);
    AUTO(str) struct str path = {0};
    str_append(&path, at(&s, "volumes/v"));
    for (int i = 0; i <= AREA_DEPTH_MAX; i++)
        str_append(&path, "/d");
    cr_assert(str_ok(&path, &err) && sys_mkdirs(path.text, 0755, &err), "%s", err.text);
    cr_expect_not(take(&s, "v", "s", &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_eq(residue(&s), 0);
}

Test(reflink, deletes_a_clone_however_deep_a_host_nested_it)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    enum { LEVELS = 3000 };
    begin(&s);
    cr_assert(take(&s, "v", "s", &err) && clone_of(&s, "v", "c", "s", &err), "%s", err.text);
    int dir = open(at(&s, "clones/v/c/data"), O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < LEVELS; i++) {
        cr_assert(mkdirat(dir, "d", 0755) == 0 && mkdirat(dir, "e", 0755) == 0);
        int next = openat(dir, "d", O_RDONLY | O_DIRECTORY);
        close(dir);
        dir = next;
    }
    close(dir);
    cr_expect(clones_are(&s, "v", "c ", &err), "%s", err.text);
    cr_expect(driver_clone_delete(s.d, "v", "c", NULL, &err), "%s", err.text);
    cr_expect_eq(residue(&s), 0);
}

/* The whole of a volume's life as a user who may neither give files away nor write read-only. */
static bool live_without_root(struct sandbox *s, struct err *why)
{
    DO(sandbox_reopen(s, why));
    DO(make_volume(s, "w", why) && take(s, "w", "s", why) && clone_of(s, "w", "c", "s", why));
    DO(put(s, "w", "c", "data/system01.dbf", "opened", why));
    DO(is_whole(s, "w", "s", NULL, why));
    WANT(faccessat(AT_FDCWD, at(s, "snapshots/w/s/data/log_1_7.arc"), W_OK, AT_EACCESS) != 0);
    DO(driver_snapshot_delete(s->d, "w", "s", NULL, why));
    DO(driver_clone_delete(s->d, "w", "c", NULL, why));
    WANT(residue(s) == 0);
    return snapshots_are(s, "w", "", why);
}

Test(reflink, needs_no_root)
{
    enum { NOBODY = 65534 };
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    begin(&s);
    static const char *const places[] = {"", "volumes", "snapshots", "clones"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        cr_assert_eq(chown(at(&s, places[i]), NOBODY, NOBODY), 0);
    cr_assert_eq(seteuid(NOBODY), 0);
    bool ok = live_without_root(&s, &err);
    cr_assert_eq(seteuid(0), 0);
    cr_assert(ok, "%s", err.text);
}

Test(reflink, says_when_a_volume_lies_on_another_file_system)
{
    AUTO(sandbox) struct sandbox s = {0};
    AUTO(scratch) struct scratch other = {0};
    struct err err = {0};
    begin(&s);
    cr_assert(scratch_mount(&other, "tmpfs", 4, &err), "%s", err.text);
    cr_assert_eq(symlink(other.mount, at(&s, "volumes/far")), 0);
    cr_assert(put(&s, "far", NULL, "f", "x", &err), "%s", err.text);
    cr_expect_not(take(&s, "far", "s", &err));
    cr_expect_eq(err.code, ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "another file system"), "%s", err.text);
    cr_expect_eq(residue(&s), 0);
}

Test(reflink, gives_new_volumes_to_their_owner)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    struct stat st;
    begin(&s);
    s.options[s.option_count++] = (struct driver_option){"uid", "54321"};
    s.options[s.option_count++] = (struct driver_option){"gid", "54322"};
    cr_assert(sandbox_reopen(&s, &err), "%s", err.text);
    cr_assert(driver_volume_create(s.d, "w", &err), "%s", err.text);
    cr_assert_eq(stat(at(&s, "volumes/w"), &st), 0);
    cr_expect(st.st_uid == 54321 && st.st_gid == 54322);
    cr_expect_eq(st.st_mode & 0777, 0750);
    s.options[1].value = "oracle";
    cr_expect_not(sandbox_reopen(&s, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
}
