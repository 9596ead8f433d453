/* Export and figures: a snapshot's files as they were, sparse, or an error with the file's name. */
#include "agent/base/sys.h"
#include "drivers/vault/store/export.h"
#include "drivers/vault/store/figures.h"
#include "drivers/vault/store/listing.h"
#include "tests/vault/tools_world.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool export_to(struct vw *w, size_t nth, const char *folder, const char *under,
                      struct export_result *ret, struct err *err)
{
    struct snapshot_row row = vw_row(w, w->snapshots[nth].volume, w->snapshots[nth].sequence);
    struct export_options options = {.under = under};
    return export_state(w->family, &row, folder, &options, ret, err);
}

Test(export, writes_each_file_as_it_was_with_its_holes)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    char folder[] = "/tmp/evercopy-export-XXXXXX", path[100];
    uint8_t expected[RECORD_BYTES], got[RECORD_BYTES];
    struct export_result result = {0};
    cr_assert(mkdtemp(folder));
    tw_small(w, 4, 600);
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    *next = w->volumes[0].now;
    memset(next->records[0] + 100, 0, 400 * sizeof next->records[0][0]);
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    VW_OK(export_to(w, 2, folder, NULL, &result, &err));
    cr_assert_eq(result.files, 2);
    for (size_t i = 0; i < 2; i++) {
        struct stat stat;
        IGNORE(str_format(path, sizeof path, "%s/%c", folder, (char)('a' + i)));
        VW_OK(sys_stat(path, &stat, &err));
        cr_assert_eq((uint64_t)stat.st_size, next->sizes[i] * RECORD_BYTES);
        if (i == 0)
            cr_assert_lt((uint64_t)stat.st_blocks * 512, 210ULL * RECORD_BYTES, "holes are sparse");
        AUTO(fd) int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0, &err);
        for (uint64_t r = 0; r < next->sizes[i]; r++) {
            vw_record(next->records[i][r], expected);
            cr_assert_eq(sys_pread(fd, got, sizeof got, r * RECORD_BYTES, path, &err),
                         RECORD_BYTES);
            cr_assert(memcmp(got, expected, sizeof got) == 0);
        }
    }
    cr_assert_not(export_to(w, 2, folder, NULL, &result, &err));
    cr_assert_eq(err.code, ERR_EXISTS, "%s", err.text);
    err_clear(&err);
    VW_OK(sys_remove_tree(folder, &err));
    VW_OK(export_to(w, 0, folder, "b", &result, &err));
    cr_assert_eq(result.files, 1);
    VW_OK(sys_remove_tree(folder, &err));
    cr_assert_not(export_to(w, 0, folder, "no-such", &result, &err));
    cr_assert_eq(err.code, ERR_NOT_FOUND, "%s", err.text);
    err_clear(&err);
    VW_OK(sys_remove_tree(folder, &err));
    vw_end(w);
}

Test(export, fails_with_the_path_of_a_damaged_file)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    char folder[] = "/tmp/evercopy-export-XXXXXX", name[IO_NAME_MAX];
    struct export_result result = {0};
    cr_assert(mkdtemp(folder));
    tw_small(w, 4, 300);
    for (size_t i = 0; memory_io_name(w->memory, i, name) && !strstr(name, "/pack/"); i++)
        ;
    cr_assert(memory_io_flip(w->memory, name, 3000, 8));
    cr_assert_not(export_to(w, 0, folder, NULL, &result, &err));
    cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
    cr_assert(strstr(err.text, "'a'"), "%s", err.text);
    err_clear(&err);
    VW_OK(sys_remove_tree(folder, &err));
    vw_end(w);
}

/* A listing must not be led out of the folder, nor in circles. */
Test(listing, refuses_slots_that_are_no_tree)
{
    static const struct {
        uint64_t file, parent;
        const char *name;
    } rows[][2] = {
        {{20, 21, "a"}, {21, 20, "b"}},                 /* a circle */
        {{20, 30, "a"}, {21, INODE_ROOT, "b"}},         /* a parent that there is not */
        {{20, INODE_ROOT, "a"}, {21, INODE_ROOT, "a"}}, /* twice */
        {{20, INODE_ROOT, ""}, {21, INODE_ROOT, "a"}},  /* no name */
    };
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    tw_small(w, 4, 10);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t slots[2 * RECORD_BYTES] = {0};
        struct root root;
        AUTO(listing) struct listing listing = {0};
        for (size_t k = 0; k < 2; k++) {
            struct inode inode = {.file = rows[i][k].file,
                                  .parent = rows[i][k].parent,
                                  .kind = INODE_DIRECTORY,
                                  .links = 1,
                                  .name_len = (uint8_t)strlen(rows[i][k].name)};
            memcpy(inode.name, rows[i][k].name, inode.name_len);
            inode_encode(&inode, store_seed(w->store), slots + inode.file * INODE_BYTES);
        }
        AUTO(seal)
        struct seal *seal = seal_begin(w->family, w->volumes[0].id, ++w->sequence, &err);
        struct seal_result result = {.slots = 32};
        VW_OK(seal);
        VW_OK(seal_file_begin(seal, INODE_TABLE, &w->volumes[0].table, &err) &&
              seal_record(seal, 1, slots + RECORD_BYTES, &err) &&
              seal_file_end(seal, sizeof slots, &root, &err));
        result.table = root;
        VW_OK(seal_commit(TAKE(seal), &result, &err));
        w->volumes[0].table = root;
        cr_assert_not(listing_read(w->family, &root, 32, &listing, &err));
        cr_assert_eq(err.code, ERR_CORRUPT, "%s", err.text);
        err_clear(&err);
    }
    vw_end(w);
}

Test(figures, say_what_a_state_refers_to)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    struct family_stat stat;
    uint64_t first = 0, second = 0, logical = 0, now = 0, later = 0;
    tw_small(w, 4, 600);
    struct snapshot_row a = vw_row(w, w->snapshots[0].volume, w->snapshots[0].sequence);
    struct snapshot_row b = vw_row(w, w->snapshots[1].volume, w->snapshots[1].sequence);
    VW_OK(figures_stored(w->family, &a.table, &first, &err));
    VW_OK(figures_stored(w->family, &b.table, &second, &err));
    VW_OK(figures_logical(w->family, &a.table, a.slots, &logical, &err));
    VW_OK(family_stat(w->family, &stat, &err));
    VW_OK(family_reclaimable(w->family, a.volume, &a.sequence, 1, &now, &later, &err));
    cr_assert_eq(logical, 602ULL * RECORD_BYTES);
    cr_assert_gt(first, stat.stored_bytes / 2);
    cr_assert_lt(first + (second - (second > first ? first : second)), stat.stored_bytes + 1);
    cr_assert_lt(now + later, first / 10, "the second shares nearly all of it");
    vw_end(w);
}
