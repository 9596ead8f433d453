/* Squashing and modes: a table of who asks for what. */
#include "drivers/vault/nfs/permit.h"
#include <criterion/criterion.h>

enum { ANON = 65534 };

static struct who who_of(enum export_squash squash, bool known, uint32_t uid, uint32_t gid)
{
    struct export_rule rule = {.squash = squash, .anon_uid = ANON, .anon_gid = ANON};
    struct rpc_cred cred = {
        .known = known, .uid = uid, .gid = gid, .groups = {0, 300}, .group_count = 2};
    return permit_who(&rule, &cred);
}

Test(nfs_permit, root_is_squashed_and_others_are_not)
{
    struct who root = who_of(EXPORT_SQUASH_ROOT, true, 0, 0);
    cr_assert(root.uid == ANON && root.gid == ANON && !root.root);
    cr_assert(root.groups[0] == ANON && root.groups[1] == 300 && root.group_count == 2);
    struct who user = who_of(EXPORT_SQUASH_ROOT, true, 54321, 54321);
    cr_assert(user.uid == 54321 && user.gid == 54321 && !user.root);
    cr_assert_eq(user.groups[0], ANON, "group 0 is root's");
}

Test(nfs_permit, without_squashing_root_is_root)
{
    struct who root = who_of(EXPORT_SQUASH_NONE, true, 0, 0);
    cr_assert(root.uid == 0 && root.gid == 0 && root.root && root.groups[0] == 0);
    struct who user = who_of(EXPORT_SQUASH_NONE, true, 5, 0);
    cr_assert(user.uid == 5 && user.gid == 0 && !user.root);
}

Test(nfs_permit, all_squashed_and_unknown_are_anonymous_without_groups)
{
    struct who all = who_of(EXPORT_SQUASH_ALL, true, 54321, 54321);
    cr_assert(all.uid == ANON && all.gid == ANON && !all.root && all.group_count == 0);
    struct who unknown = who_of(EXPORT_SQUASH_NONE, false, 0, 0);
    cr_assert(unknown.uid == ANON && unknown.gid == ANON && !unknown.root &&
              unknown.group_count == 0);
}

Test(nfs_permit, a_mode_counts_for_the_first_class_that_fits)
{
    static const struct {
        uint16_t mode;
        uint32_t uid, gid;
        unsigned wanted;
        bool may, may_data;
    } cases[] = {
        {0640, 10, 20, MAY_READ | MAY_WRITE, true, true},
        {0640, 11, 20, MAY_READ, true, true},
        {0640, 11, 20, MAY_WRITE, false, false},
        {0640, 11, 21, MAY_READ, false, false},
        {0640, 11, 300, MAY_READ, true, true},
        {0077, 10, 20, MAY_READ, false, true}, /* the owner is shut out, but for open descriptors */
        {0707, 11, 20, MAY_READ, false, false}, /* the group is */
        {0001, 11, 21, MAY_READ, false, true},  /* reading to run it */
        {0001, 11, 21, MAY_WRITE, false, false},
        {0755, 11, 21, MAY_EXECUTE, true, true},
        {0755, 11, 21, MAY_EXECUTE | MAY_WRITE, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct view_file file = {.kind = INODE_FILE, .mode = cases[i].mode, .uid = 10, .gid = 20};
        struct who who = {.uid = cases[i].uid, .gid = cases[i].gid};
        if (cases[i].gid == 300)
            who = (struct who){.uid = 11, .gid = 21, .groups = {4, 20}, .group_count = 2};
        cr_expect_eq(permit_mode(&who, &file, cases[i].wanted), cases[i].may, "case %zu", i);
        cr_expect_eq(permit_data(&who, &file, cases[i].wanted), cases[i].may_data, "case %zu", i);
    }
}

Test(nfs_permit, root_may_all_but_run_what_nobody_may)
{
    struct who root = {.root = true};
    struct view_file file = {.kind = INODE_FILE, .mode = 0600, .uid = 10};
    struct view_file folder = {.kind = INODE_DIRECTORY, .mode = 0, .uid = 10};
    cr_assert(permit_mode(&root, &file, MAY_READ | MAY_WRITE));
    cr_assert(!permit_mode(&root, &file, MAY_EXECUTE));
    file.mode = 0010;
    cr_assert(permit_mode(&root, &file, MAY_EXECUTE));
    cr_assert(permit_mode(&root, &folder, MAY_READ | MAY_WRITE | MAY_EXECUTE));
}

Test(nfs_permit, a_sticky_folder_keeps_entries_from_others)
{
    struct view_file folder = {.mode = 01777, .uid = 10}, entry = {.uid = 11};
    struct who of_folder = {.uid = 10}, of_entry = {.uid = 11}, other = {.uid = 12};
    struct who root = {.root = true};
    cr_assert(permit_remove(&of_folder, &folder, &entry));
    cr_assert(permit_remove(&of_entry, &folder, &entry));
    cr_assert(permit_remove(&root, &folder, &entry));
    cr_assert(!permit_remove(&other, &folder, &entry));
    folder.mode = 0777;
    cr_assert(permit_remove(&other, &folder, &entry));
}
