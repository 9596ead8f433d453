/* The area reader against hostile trees. */
#include "drivers/area/area.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct yard {
    char dir[64];
    struct area *area;
};

static void yard_done(struct yard *yard)
{
    struct err ignored = {0};
    area_close(yard->area);
    IGNORE(sys_remove_tree(yard->dir, &ignored)); /* in a temporary directory */
}
OWN_DEFINE_INPLACE(yard, struct yard, yard_done);

static void yard_init(struct yard *yard)
{
    struct err err = {0};
    bool has_shm = access("/dev/shm", W_OK) == 0; /* ten thousand files are made faster there */
    str_format(yard->dir, sizeof yard->dir, "%s/evercopy-area-XXXXXX",
               has_shm ? "/dev/shm" : "/tmp");
    cr_assert(mkdtemp(yard->dir));
    cr_assert((yard->area = area_open_path(yard->dir, &err)), "%s", err.text);
}

static char *at(const struct yard *yard, const char *path)
{
    static char full[8192];
    str_format(full, sizeof full, "%s/%s", yard->dir, path);
    return full;
}

static void put(const struct yard *yard, const char *path, const char *text)
{
    int fd = open(at(yard, path), O_WRONLY | O_CREAT, 0640);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", path);
    close(fd);
}

static void refuses(const struct yard *yard, const char *path, enum err_code code)
{
    struct err err = {0};
    AUTO(area_handle) struct area_handle *file = area_file_open(yard->area, path, &err);
    cr_expect_null(file, "'%s' was opened", path);
    cr_expect_eq(err.code, code, "'%s': %s: %s", path, err_code_name(err.code), err.text);
}

Test(area, lists_plain_files_sorted_by_path_and_the_rest_as_odd)
{
    AUTO(yard) struct yard yard = {0};
    AUTO(area_list) struct area_list list = {0};
    struct err err = {0};
    yard_init(&yard);
    cr_assert_eq(mkdir(at(&yard, "a"), 0755), 0);
    put(&yard, "a/z", "12345");
    put(&yard, "a.b", "1");
    put(&yard, "A", "");
    put(&yard, "new\nline", "n");
    put(&yard, "\xff\xfe", "b");
    cr_assert_eq(symlink("/etc/passwd", at(&yard, "link")), 0);
    cr_assert_eq(symlink("/etc", at(&yard, "a/dirlink")), 0);
    cr_assert_eq(symlink("loop", at(&yard, "loop")), 0);
    cr_assert_eq(mkfifo(at(&yard, "fifo"), 0600), 0);
    struct timespec times[2] = {{7, 1000}, {7, 1000}};
    cr_assert_eq(utimensat(AT_FDCWD, at(&yard, "a/z"), times, 0), 0);
    cr_assert(area_list(yard.area, 5, &list, &err), "%s", err.text);
    const char *const files[] = {"A", "a.b", "a/z", "new\nline", "\xff\xfe"};
    const char *const odd[] = {"a/dirlink", "fifo", "link", "loop"};
    cr_assert_eq(list.count, 5);
    cr_assert_eq(list.odd_count, 4);
    for (size_t i = 0; i < 5; i++)
        cr_expect_str_eq(list.files[i].path, files[i]);
    for (size_t i = 0; i < 4; i++)
        cr_expect_str_eq(list.odd[i], odd[i]);
    cr_expect_eq(list.files[2].size, 5);
    cr_expect_eq(list.files[2].mtime_us, 7000001);
}

Test(area, is_never_led_out)
{
    AUTO(yard) struct yard yard = {0};
    yard_init(&yard);
    cr_assert_eq(mkdir(at(&yard, "d"), 0755), 0);
    put(&yard, "d/f", "inside");
    cr_assert_eq(symlink("/etc", at(&yard, "out")), 0);
    cr_assert_eq(symlink("d", at(&yard, "in")), 0);
    cr_assert_eq(symlink("d/f", at(&yard, "to-file")), 0);
    cr_assert_eq(mkfifo(at(&yard, "fifo"), 0600), 0);
    refuses(&yard, "out/passwd", ERR_IO);
    refuses(&yard, "in/f", ERR_IO);
    refuses(&yard, "to-file", ERR_INVALID);
    refuses(&yard, "fifo", ERR_INVALID);
    refuses(&yard, "d", ERR_INVALID);
    refuses(&yard, "none", ERR_NOT_FOUND);
    const char *const shapes[] = {"",     "/etc/passwd", "..",   "../x", "d/../d/f",
                                  "d//f", "./d/f",       "d/f/", "d/.",  "/"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        refuses(&yard, shapes[i], ERR_INVALID);
    refuses(&yard, NULL, ERR_INVALID);
}

Test(area, reads_any_range_and_shows_size_and_time_as_they_are_now)
{
    AUTO(yard) struct yard yard = {0};
    struct err err = {0};
    char bytes[16];
    uint64_t size = 0, mtime_us = 0;
    yard_init(&yard);
    put(&yard, "f", "0123456789");
    AUTO(area_handle) struct area_handle *file = area_file_open(yard.area, "f", &err);
    cr_assert(file, "%s", err.text);
    cr_expect_eq(area_file_read(file, bytes, 4, 3, &err), 4);
    cr_expect_eq(memcmp(bytes, "3456", 4), 0);
    cr_expect_eq(area_file_read(file, bytes, sizeof bytes, 8, &err), 2);
    cr_expect_eq(area_file_read(file, bytes, sizeof bytes, 10, &err), 0);
    cr_expect_eq(area_file_read(file, bytes, sizeof bytes, 1ULL << 40, &err), 0);
    cr_assert_eq(truncate(at(&yard, "f"), 3), 0);
    cr_assert(area_file_stat(file, &size, &mtime_us, &err));
    cr_expect_eq(size, 3);
    cr_expect_gt(mtime_us, 0);
    sys_fault(1, EIO);
    cr_expect_eq(area_file_read(file, bytes, 1, 0, &err), -1);
    cr_expect_eq(err.code, ERR_IO);
    sys_fault(0, 0);
}

Test(area, lists_ten_thousand_files_and_stops_at_the_limit)
{
    AUTO(yard) struct yard yard = {0};
    AUTO(area_list) struct area_list list = {0};
    struct err err = {0};
    char name[32];
    enum { MANY = 10000 };
    yard_init(&yard);
    for (int i = 0; i < MANY; i++) {
        str_format(name, sizeof name, "log_%05d.arc", i);
        int fd = open(at(&yard, name), O_WRONLY | O_CREAT, 0600);
        cr_assert(fd >= 0);
        close(fd);
    }
    cr_assert(area_list(yard.area, MANY, &list, &err), "%s", err.text);
    cr_expect_eq(list.count, MANY);
    cr_expect_str_eq(list.files[MANY - 1].path, "log_09999.arc");
    area_list_done(&list);
    cr_expect_not(area_list(yard.area, MANY - 1, &list, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_null(list.files, "results stay untouched on failure");
}

/* Directories named with len letters, one in the other; the deepest holds a file when it can. */
static void nest(const struct yard *yard, int levels, size_t len)
{
    char name[256];
    memset(name, 'd', len);
    name[len] = '\0';
    int dir = open(yard->dir, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < levels; i++) {
        cr_assert_eq(mkdirat(dir, name, 0755), 0);
        int next = openat(dir, name, O_RDONLY | O_DIRECTORY);
        close(dir);
        dir = next;
    }
    int fd = openat(dir, "f", O_WRONLY | O_CREAT, 0600);
    cr_assert(fd >= 0);
    close(fd);
    close(dir);
}

Test(area, goes_thirty_two_levels_deep_and_no_deeper)
{
    AUTO(yard) struct yard yard = {0};
    AUTO(yard) struct yard deeper = {0};
    AUTO(area_list) struct area_list list = {0};
    struct err err = {0};
    yard_init(&yard);
    yard_init(&deeper);
    nest(&yard, AREA_DEPTH_MAX, 1);
    nest(&deeper, AREA_DEPTH_MAX + 1, 1);
    cr_assert(area_list(yard.area, 9, &list, &err), "%s", err.text);
    cr_expect_eq(list.count, 1);
    AUTO(area_handle)
    struct area_handle *file = area_file_open(yard.area, list.files[0].path, &err);
    cr_expect(file, "%s", err.text);
    AUTO(area_list) struct area_list none = {0};
    cr_expect_not(area_list(deeper.area, 9, &none, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
}

Test(area, calls_a_path_odd_that_nobody_could_open)
{
    AUTO(yard) struct yard yard = {0};
    AUTO(area_list) struct area_list list = {0};
    struct err err = {0};
    yard_init(&yard);
    nest(&yard, 20, 250);
    cr_assert(area_list(yard.area, 9, &list, &err), "%s", err.text);
    cr_expect_eq(list.count, 0);
    cr_expect_eq(list.odd_count, 1);
}

Test(area, opens_only_directories)
{
    AUTO(yard) struct yard yard = {0};
    struct err err = {0};
    yard_init(&yard);
    put(&yard, "f", "x");
    cr_expect_null(area_open_path(at(&yard, "none"), &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect_null(area_open_path(at(&yard, "f"), &err));
    cr_assert_eq(symlink(yard.dir, at(&yard, "self")), 0);
    AUTO(area) struct area *linked = area_open_path(at(&yard, "self"), &err);
    cr_expect(linked, "the root itself may be a link");
    area_close(NULL);
    area_file_close(NULL);
}

static bool list_and_open(const struct yard *yard, struct err *err)
{
    AUTO(area_list) struct area_list list = {0};
    AUTO(area) struct area *area = area_open_path(yard->dir, err);
    if (!area || !area_list(area, 9, &list, err))
        return false;
    cr_assert_eq(list.count, 2);
    AUTO(area_handle) struct area_handle *file = area_file_open(area, "d/f", err);
    return file;
}

Test(area, reports_whatever_call_fails)
{
    AUTO(yard) struct yard yard = {0};
    yard_init(&yard);
    cr_assert_eq(mkdir(at(&yard, "d"), 0755), 0);
    put(&yard, "d/f", "x");
    put(&yard, "g", "x");
    cr_assert_eq(symlink("g", at(&yard, "l")), 0);
    for (int kind = 0; kind < 2; kind++) {
        bool hit = true;
        for (long nth = 1; hit; nth++) {
            struct err err = {0};
            IGNORE(kind ? own_fault(nth) : sys_fault(nth, EIO)); /* counts from before */
            bool ok = list_and_open(&yard, &err);
            hit = (kind ? own_fault(0) : sys_fault(0, 0)) >= nth;
            cr_assert_eq(ok, !hit, "fault %ld: %s", nth, err.text);
            cr_assert_eq(err.code, ok ? ERR_NONE : kind ? ERR_NO_MEMORY : ERR_IO);
        }
    }
}
