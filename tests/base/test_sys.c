/* Files: nothing leaves its directory, writes are all or nothing, every call may fail. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/privileged.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static char path_text[4][4200];
static int path_next;

/* "dir/name", good for the next three calls. */
static const char *at(const char *dir, const char *name)
{
    char *to = path_text[path_next++ % 4];
    snprintf(to, sizeof path_text[0], "%s/%s", dir, name);
    return to;
}

static void put(const char *path, const char *text)
{
    struct err err = {0};
    cr_assert(sys_write_file(path, text, strlen(text), 0600, &err), "%s", err.text);
}

Test(sys, open_beneath_cannot_leave)
{
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    cr_assert(sys_mkdirs(at(dir, "area/sub"), 0700, &err));
    put(at(dir, "secret"), "s");
    put(at(dir, "area/file"), "f");
    put(at(dir, "area/sub/deep"), "d");
    cr_assert_eq(symlink("../secret", at(dir, "area/up")), 0);
    cr_assert_eq(symlink("file", at(dir, "area/inside")), 0);
    cr_assert_eq(symlink("..", at(dir, "area/sub/parent")), 0);
    cr_assert_eq(symlink(at(dir, "secret"), at(dir, "area/whole")), 0);
    AUTO(fd) int area = sys_open(at(dir, "area"), O_RDONLY | O_DIRECTORY, 0, &err);
    cr_assert_geq(area, 0);
    const char *absolute = at(dir, "area/file");
    const char *bad[] = {"..",
                         "../secret",
                         "sub/../../secret",
                         "/etc/passwd",
                         absolute,
                         "/",
                         "up",
                         "inside",
                         "whole",
                         "sub/parent/file",
                         "./../area/file",
                         "",
                         "none",
                         "/proc/self/cwd/agent"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err_clear(&err);
        AUTO(fd) int fd = sys_open_beneath(area, bad[i], O_RDONLY, 0, &err);
        cr_expect_eq(fd, -1, "'%s' was opened", bad[i]);
        cr_expect_neq(err.code, ERR_NONE);
        err_clear(&err);
        AUTO(fd) int made = sys_open_beneath(area, bad[i], O_WRONLY | O_CREAT | O_EXCL, 0600, &err);
        cr_expect(made < 0 || str_equal(bad[i], "none"), "'%s' was made", bad[i]);
    }
    AUTO(fd) int file = sys_open_beneath(area, "file", O_RDONLY, 0600, &err);
    AUTO(fd) int deep = sys_open_beneath(area, "sub/deep", O_RDONLY, 0, &err);
    cr_expect(file >= 0 && deep >= 0);
    cr_expect(fcntl(file, F_GETFD) & FD_CLOEXEC);
}

Test(sys, reads_and_writes_at_offsets_and_says_what_is_short)
{
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(fd) int fd = sys_open(at(dir, "f"), O_RDWR | O_CREAT, 0600, &err);
    char bytes[16] = {0};
    struct stat st;
    cr_assert(sys_pwrite(fd, "hello", 5, 10, "f", &err));
    cr_expect_eq(sys_pread(fd, bytes, sizeof bytes, 8, "f", &err), 7);
    cr_expect_arr_eq(bytes, "\0\0hello", 7);
    cr_expect_eq(sys_pread(fd, bytes, sizeof bytes, 100, "f", &err), 0);
    cr_expect(sys_pwrite(fd, NULL, 0, 0, "f", &err));
    cr_assert(sys_fstat(fd, &st, "f", &err));
    cr_expect_eq(st.st_size, 15);
    cr_expect(sys_fsync(fd, "f", &err) && sys_fsync_dir(dir, &err));
    cr_expect(sys_close(&fd, &err));
    cr_expect_eq(fd, -1);
    cr_expect(sys_close(&fd, &err), "closing nothing is fine");
    cr_expect_not(sys_fsync(-1, "gone", &err));
    cr_expect_not_null(strstr(err.text, "'gone'"));
}

Test(sys, write_to_a_full_device_says_no_space)
{
    struct err err = {0};
    AUTO(fd) int fd = sys_open("/dev/full", O_WRONLY, 0, &err);
    cr_assert_geq(fd, 0);
    cr_expect_not(sys_write(fd, "x", 1, "full", &err));
    cr_expect_eq(err.code, ERR_NO_SPACE);
}

Test(sys, read_file_has_limits)
{
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    size_t len = 0;
    put(at(dir, "f"), "12345");
    put(at(dir, "empty"), "");
    AUTO(mem) char *whole = sys_read_file(at(dir, "f"), 5, &len, &err);
    cr_assert(whole && len == 5);
    cr_expect_str_eq(whole, "12345");
    AUTO(mem) char *empty = sys_read_file(at(dir, "empty"), 0, &len, &err);
    cr_assert(empty && len == 0);
    cr_expect_str_eq(empty, "");
    len = 77;
    AUTO(mem) char *over = sys_read_file(at(dir, "f"), 4, &len, &err);
    cr_expect(!over && err.code == ERR_LIMIT);
    AUTO(mem) char *absent = sys_read_file(at(dir, "none"), 4, &len, &err);
    cr_expect(!absent && err.code == ERR_NOT_FOUND);
    AUTO(mem) char *folder = sys_read_file(dir, 4, &len, &err);
    cr_expect(!folder && err.code == ERR_INVALID);
    cr_assert_eq(mkfifo(at(dir, "pipe"), 0600), 0);
    AUTO(mem) char *fifo = sys_read_file(at(dir, "pipe"), 4, &len, &err);
    cr_expect(!fifo && err.code == ERR_INVALID, "and does not wait for a writer");
    cr_expect_eq(len, 77, "untouched on failure");
}

Test(sys, write_file_sets_the_mode_and_leaves_nothing_else)
{
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(sys_names) struct sys_names names = {0};
    struct stat st;
    umask(022);
    cr_assert(sys_write_file(at(dir, "f"), "a\0b", 3, 0640, &err));
    cr_assert(sys_stat(at(dir, "f"), &st, &err));
    cr_expect_eq(st.st_mode & 07777, 0640);
    cr_expect_eq(st.st_size, 3);
    cr_assert(sys_list(dir, &names, &err));
    cr_expect_eq(names.count, 1);
    cr_assert_eq(chdir(dir), 0);
    cr_expect(sys_write_file("here", "x", 1, 0600, &err), "without a directory in its name");
    cr_expect_not(sys_write_file(at(dir, "none/f"), "x", 1, 0600, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    char endless[5000];
    memset(endless, 'p', sizeof endless - 1);
    endless[4999] = '\0';
    cr_expect_not(sys_write_file(endless, "x", 1, 0600, &err));
    cr_expect_eq(err.code, ERR_INVALID);
}

Test(sys, write_file_replaces_a_link_and_not_what_it_points_to)
{
    struct err err = {0};
    size_t len;
    AUTO(drive_dir) char *dir = drive_dir();
    put(at(dir, "target"), "old");
    cr_assert_eq(symlink("target", at(dir, "link")), 0);
    put(at(dir, "link"), "new");
    AUTO(mem) char *target = sys_read_file(at(dir, "target"), 9, &len, &err);
    cr_expect_str_eq(target, "old");
}

/* What write_file may leave: one image or the other under the name, and at most a .tmp beside. */
static void check_images(const char *dir, bool ok, long nth)
{
    struct err err = {0};
    size_t len = 0;
    AUTO(mem) char *text = sys_read_file(at(dir, "f"), 100, &len, &err);
    cr_assert(text, "fault %ld: %s", nth, err.text);
    cr_assert(str_equal(text, "after") || (!ok && str_equal(text, "before")), "fault %ld", nth);
    AUTO(sys_names) struct sys_names names = {0};
    cr_assert(sys_list(dir, &names, &err));
    for (size_t i = 0; i < names.count; i++)
        cr_assert(str_equal(names.names[i], "f") || str_ends(names.names[i], ".tmp"), "%s",
                  names.names[i]);
    cr_assert_leq(names.count, 2);
}

Test(sys, write_file_is_all_or_nothing_under_every_fault)
{
    static const int kinds[] = {EIO, ENOSPC, EDQUOT, EROFS};
    AUTO(drive_dir) char *dir = drive_dir();
    for (size_t k = 0; k < 4; k++) {
        bool ok = false;
        for (long nth = 1; !ok; nth++) {
            struct err err = {0};
            cr_assert(sys_remove_tree(dir, &err) && sys_mkdir(dir, 0700, &err));
            put(at(dir, "f"), "before");
            size_t descriptors = descriptors_count();
            sys_fault(nth, kinds[k]);
            ok = sys_write_file(at(dir, "f"), "after", 5, 0600, &err);
            long calls = sys_fault(0, 0);
            cr_assert_eq(ok, calls < nth, "fault %ld was swallowed", nth);
            cr_expect_eq(err.code, ok ? ERR_NONE : err_from_errno(kinds[k]));
            check_images(dir, ok, nth);
            cr_assert_eq(descriptors_count(), descriptors);
            cr_assert_lt(nth, 30);
        }
    }
}

static bool read_whole(const char *path, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, 100, &len, err);
    return text && str_equal(text, "content");
}

static bool list_all(const char *path, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    return sys_list(path, &names, err) && names.count == 1;
}

static bool list_behind(const char *path, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0, err);
    return fd >= 0 && sys_list_at(fd, path, &names, err) && names.count == 1;
}

static bool make_deep(const char *path, struct err *err)
{
    char deep[4200];
    return str_format(deep, sizeof deep, "%s/a/b/c", path) && sys_mkdirs(deep, 0700, err);
}

Test(sys, each_failed_call_is_reported_and_nothing_leaks)
{
    static const struct {
        const char *name;
        bool (*fn)(const char *path, struct err *err);
    } table[] = {{"file/f", read_whole},
                 {"file", list_all},
                 {"file", list_behind},
                 {"new", make_deep},
                 {"tree", sys_remove_tree}};
    AUTO(drive_dir) char *dir = drive_dir();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int heap = 0; heap < 2; heap++) {
            bool ok = false;
            for (long nth = 1; !ok; nth++) {
                struct err err = {0};
                cr_assert(sys_remove_tree(dir, &err) && sys_mkdirs(at(dir, "file"), 0700, &err));
                cr_assert(sys_mkdirs(at(dir, "tree/x/y"), 0700, &err));
                put(at(dir, "tree/x/g"), "g");
                put(at(dir, "file/f"), "content");
                size_t descriptors = descriptors_count();
                if (heap)
                    own_fault(nth);
                else
                    sys_fault(nth, EIO);
                ok = table[i].fn(at(dir, table[i].name), &err);
                long calls = heap ? own_fault(0) : sys_fault(0, 0);
                cr_assert_eq(ok, calls < nth, "row %zu: fault %ld of heap %d", i, nth, heap);
                cr_assert_eq(err.code, ok ? ERR_NONE : heap ? ERR_NO_MEMORY : ERR_IO);
                cr_assert_eq(descriptors_count(), descriptors);
                cr_assert_lt(nth, 60);
            }
        }
}

Test(sys, a_fault_gives_its_errno_once)
{
    struct err err = {0};
    struct stat st;
    sys_fault(2, ENOSPC);
    cr_expect(sys_stat("/", &st, &err));
    cr_expect_not(sys_stat("/", &st, &err));
    cr_expect_eq(err.code, ERR_NO_SPACE);
    cr_expect(sys_stat("/", &st, &err));
    cr_expect_eq(sys_fault(0, 0), 3);
    cr_expect(sys_stat("/", &st, &err));
    cr_expect_eq(sys_fault(0, 0), 0);
}

Test(sys, a_short_read_or_write_is_gone_on_with_or_told)
{
    static const char wanted[] = "0123456789";
    char got[sizeof wanted] = "";
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(fd) int fd = sys_open(at(dir, "f"), O_RDWR | O_CREAT, 0600, &err);
    AUTO(fd) int other = sys_open(at(dir, "g"), O_RDWR | O_CREAT, 0600, &err);
    cr_assert(fd >= 0 && other >= 0, "%s", err.text);
    for (long nth = 1; nth <= 4; nth++) {
        sys_short(nth, 0);
        cr_expect(sys_pwrite(fd, wanted, 10, 0, "f", &err), "%s", err.text);
        cr_expect(sys_write(other, wanted, 10, "g", &err), "%s", err.text);
        cr_expect_eq(sys_pread(fd, got, 10, 0, "f", &err), 10);
        cr_expect_str_eq(got, wanted);
        cr_expect_eq(sys_pread(other, got, 10, (uint64_t)(nth - 1) * 10, "g", &err), 10);
        cr_expect_str_eq(got, wanted);
        cr_expect_eq(sys_short(0, 0), 5, "one of four in two parts");
    }
    sys_short(1, ENOSPC);
    cr_expect_not(sys_pwrite(fd, wanted, 10, 10, "f", &err));
    cr_expect_eq(err.code, ERR_NO_SPACE);
    err_clear(&err);
    cr_expect_eq(sys_short(0, 0), 2);
    cr_expect_eq(sys_pread(fd, got, 10, 10, "f", &err), 5, "half of it is there");
}

Test(sys, remove_tree_never_follows_links)
{
    struct err err = {0};
    struct stat st;
    AUTO(drive_dir) char *dir = drive_dir();
    cr_assert(sys_mkdirs(at(dir, "kept/sub"), 0700, &err));
    cr_assert(sys_mkdirs(at(dir, "tree/a/b"), 0700, &err));
    put(at(dir, "kept/sub/f"), "kept");
    put(at(dir, "tree/.hidden"), "x");
    cr_assert_eq(symlink(at(dir, "kept"), at(dir, "tree/whole")), 0);
    cr_assert_eq(symlink("../../../kept/sub", at(dir, "tree/a/b/relative")), 0);
    cr_assert_eq(symlink("nowhere", at(dir, "tree/dangling")), 0);
    cr_assert_eq(mkfifo(at(dir, "tree/pipe"), 0600), 0);
    cr_assert_eq(symlink("kept", at(dir, "link")), 0);
    cr_expect(sys_remove_tree(at(dir, "tree"), &err), "%s", err.text);
    cr_expect_not(sys_lstat(at(dir, "tree"), &st, &err));
    err_clear(&err);
    cr_expect(sys_stat(at(dir, "kept/sub/f"), &st, &err), "%s", err.text);
    cr_expect(sys_remove_tree(at(dir, "tree"), &err), "missing is fine");
    cr_expect_not(sys_remove_tree(at(dir, "link"), &err));
    cr_expect_not(sys_remove_tree(at(dir, "kept/sub/f"), &err), "a file is no tree");
    err_clear(&err);
    cr_expect(sys_stat(at(dir, "kept/sub/f"), &st, &err), "%s", err.text);
}

/* Of another file system, or of the very same one. */
Test(sys, remove_tree_leaves_what_is_mounted_below_alone)
{
    struct err err = {0};
    struct stat st;
    char tree[300], kept[300], path[400];
    if (!privileged_enter(false, &err)) {
        privileged_skipped("sys", "remove_tree_leaves_what_is_mounted_below_alone", &err);
        return;
    }
    str_format(tree, sizeof tree, "%s/tree", privileged_dir());
    str_format(kept, sizeof kept, "%s/kept", privileged_dir());
    for (int same = 0; same < 2; same++) {
        str_format(path, sizeof path, "%s/a/b", tree);
        cr_assert(sys_mkdirs(path, 0700, &err) && sys_mkdirs(kept, 0700, &err), "%s", err.text);
        cr_assert_eq(
            mount(same ? kept : "none", path, same ? NULL : "tmpfs", same ? MS_BIND : 0, NULL), 0);
        str_format(path, sizeof path, "%s/a/b/f", tree);
        put(path, "kept");
        cr_expect_not(sys_remove_tree(tree, &err));
        cr_expect(err.code == ERR_PRECONDITION && strstr(err.text, "mounted at 'b'"), "%s",
                  err.text);
        err_clear(&err);
        cr_expect(sys_stat(path, &st, &err), "what was mounted there lost a file");
        err_clear(&err);
        str_format(path, sizeof path, "%s/a/b", tree);
        cr_assert_eq(umount(path), 0);
        cr_expect(sys_remove_tree(tree, &err), "%s", err.text);
    }
}

Test(sys, remove_tree_removes_what_is_deeper_than_any_path)
{
    struct err err = {0};
    struct stat st;
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(fd) int fd = sys_open(dir, O_RDONLY | O_DIRECTORY, 0, &err);
    cr_assert_eq(mkdirat(fd, "tree", 0700), 0);
    for (int i = 0; i < 300; i++) {
        int sub = openat(fd, i ? "a-name-of-twenty-signs" : "tree", O_RDONLY | O_DIRECTORY);
        cr_assert_geq(sub, 0);
        cr_assert_eq(mkdirat(sub, "a-name-of-twenty-signs", 0700), 0);
        close(openat(sub, "f", O_WRONLY | O_CREAT, 0600));
        close(fd);
        fd = sub;
    }
    size_t descriptors = descriptors_count();
    cr_expect(sys_remove_tree(at(dir, "tree"), &err), "%s", err.text);
    cr_expect_not(sys_lstat(at(dir, "tree"), &st, &err));
    cr_expect_eq(descriptors_count(), descriptors);
}

Test(sys, mkdirs_makes_what_is_missing_and_nothing_else)
{
    struct err err = {0};
    struct stat st;
    AUTO(drive_dir) char *dir = drive_dir();
    cr_expect(sys_mkdirs(at(dir, "a/b/c"), 0700, &err));
    cr_expect(sys_mkdirs(at(dir, "a/b/c"), 0700, &err), "existing is fine");
    cr_expect(sys_mkdirs(at(dir, "a//b/c/d/"), 0700, &err));
    cr_expect(sys_stat(at(dir, "a/b/c/d"), &st, &err) && S_ISDIR(st.st_mode));
    cr_expect(sys_mkdirs("/", 0700, &err));
    put(at(dir, "file"), "x");
    cr_expect_not(sys_mkdirs(at(dir, "file"), 0700, &err));
    cr_expect_not(sys_mkdirs(at(dir, "file/sub"), 0700, &err));
    cr_expect_not(sys_mkdirs("", 0700, &err));
    cr_assert_eq(symlink("nowhere", at(dir, "dangling")), 0);
    cr_expect_not(sys_mkdirs(at(dir, "dangling"), 0700, &err));
}

Test(sys, rename_new_never_replaces)
{
    struct err err = {0};
    size_t len;
    AUTO(drive_dir) char *dir = drive_dir();
    put(at(dir, "a"), "a");
    put(at(dir, "b"), "b");
    cr_expect_not(sys_rename_new(at(dir, "a"), at(dir, "b"), &err));
    cr_expect_eq(err.code, ERR_EXISTS);
    AUTO(mem) char *text = sys_read_file(at(dir, "b"), 9, &len, &err);
    cr_expect_str_eq(text, "b");
    cr_expect(sys_rename_new(at(dir, "a"), at(dir, "c"), &err));
    cr_expect(sys_rename(at(dir, "c"), at(dir, "b"), &err));
    cr_expect(sys_unlink(at(dir, "b"), &err));
    cr_expect_not(sys_unlink(at(dir, "b"), &err));
    cr_expect(sys_mkdir(at(dir, "d"), 0700, &err));
    cr_expect_not(sys_mkdir(at(dir, "d"), 0700, &err));
    cr_expect_eq(err.code, ERR_EXISTS);
    put(at(dir, "d/f"), "f");
    cr_expect_not(sys_rmdir(at(dir, "d"), &err));
}

Test(sys, names_come_sorted_and_without_dots)
{
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    static const char *const made[] = {"b", "a", "B", ".hidden", "10", "9", "a b", "\xff"};
    static const char *const sorted[] = {".hidden", "10", "9", "B", "a", "a b", "b", "\xff"};
    AUTO(sys_names) struct sys_names none = {0};
    cr_assert(sys_list(dir, &none, &err));
    cr_expect_eq(none.count, 0);
    for (size_t i = 0; i < 8; i++)
        put(at(dir, made[i]), "");
    AUTO(sys_names) struct sys_names names = {0};
    cr_assert(sys_list(dir, &names, &err));
    cr_assert_eq(names.count, 8);
    for (size_t i = 0; i < 8; i++)
        cr_expect_str_eq(names.names[i], sorted[i]);
    cr_expect_not(sys_list(at(dir, "a"), &names, &err));
    cr_expect_eq(names.count, 8, "untouched on failure");
}

Test(sys, a_lock_has_one_holder)
{
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    put(at(dir, "f"), "");
    AUTO(fd) int one = sys_open(at(dir, "f"), O_RDONLY, 0, &err);
    AUTO(fd) int two = sys_open(at(dir, "f"), O_RDONLY, 0, &err);
    bool locked = false;
    cr_expect(sys_try_lock(one, &locked, "f", &err) && locked);
    cr_expect(sys_try_lock(two, &locked, "f", &err) && !locked);
    sys_unlock(one);
    cr_expect(sys_try_lock(two, &locked, "f", &err) && locked);
    cr_expect_not(sys_try_lock(-1, &locked, "f", &err));
}

Test(sys, modes_and_times_are_set)
{
    struct err err = {0};
    struct stat st;
    AUTO(drive_dir) char *dir = drive_dir();
    put(at(dir, "f"), "");
    AUTO(fd) int fd = sys_open(at(dir, "f"), O_RDWR, 0, &err);
    struct timespec when = {.tv_sec = 1000000000, .tv_nsec = 123456789};
    cr_assert(sys_fchmod(fd, 0400, "f", &err) && sys_set_time(fd, &when, "f", &err));
    cr_assert(sys_fstat(fd, &st, "f", &err));
    cr_expect_eq(st.st_mode & 07777, 0400);
    cr_expect(st.st_mtim.tv_sec == 1000000000 && st.st_atim.tv_nsec == 123456789);
    cr_assert(sys_chmod(at(dir, "f"), 0600, &err) && sys_lstat(at(dir, "f"), &st, &err));
    cr_expect_eq(st.st_mode & 07777, 0600);
}

Test(sys, what_a_killed_writer_left_is_swept_and_nothing_else)
{
    struct err err = {0};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(sys_names) struct sys_names names = {0};
    static const char *const files[] = {
        "a.list", "a.list.0123456789abcdef.tmp",  "a.list.0123456789abcdeX.tmp",
        "a.tmp",  "a.list-0123456789abcdef.tmp",  "b.list.0123456789abcdef.tmp",
        "a.",     "a.list.x.fedcba9876543210.tmp"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        put(at(dir, files[i]), "");
    cr_assert(sys_sweep_written(dir, "a.", &err), "%s", err.text);
    cr_assert(sys_list(dir, &names, &err), "%s", err.text);
    cr_expect_eq(names.count, 6);
    cr_expect_str_eq(names.names[4], "a.tmp");
    cr_expect_str_eq(names.names[5], "b.list.0123456789abcdef.tmp");
    cr_expect_not(sys_sweep_written(at(dir, "none"), "a.", &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
}
