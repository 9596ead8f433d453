/* The procedures on names as a client sees them. */
#include "tests/vault/nfs_world.h"

TestSuite(nfs_names);

static struct fh made_folder(struct client *c, struct fh *dir, const char *name, uint32_t mode)
{
    struct fh fh;
    STATUS(do_mkdir(c, dir, name, mode, &fh), NFS3_OK);
    return fh;
}

Test(nfs_names, are_bytes_without_slash_and_nul)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    char longest[258];
    memset(longest, 'n', sizeof longest);
    longest[255] = '\0';
    const char *const fine[] = {" ",        "a b\n",    "\xff\xfe", "-rf",  "...",         "%s%n",
                                "\xc3\xa4", ".nfs0001", "\x01",     "a\\b", ".oracle_tmp", longest};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        struct fh made = made_file(&c, &c.root, fine[i], 0600), found;
        STATUS(do_lookup(&c, &c.root, fine[i], &found, NULL), NFS3_OK);
        cr_assert(made.len == found.len && memcmp(made.bytes, found.bytes, made.len) == 0);
        STATUS(do_rename(&c, &c.root, fine[i], &c.root, "other"), NFS3_OK);
        STATUS(do_rename(&c, &c.root, "other", &c.root, fine[i]), NFS3_OK);
        STATUS(do_remove(&c, &c.root, fine[i]), NFS3_OK);
        STATUS(do_lookup(&c, &c.root, fine[i], NULL, NULL), NFS3ERR_NOENT);
    }
    longest[255] = 'n';
    longest[256] = '\0';
    const struct {
        const char *name;
        enum nfsstat3 status;
    } wrong[] = {{"", NFS3ERR_INVAL},     {"/", NFS3ERR_INVAL},           {"a/b", NFS3ERR_INVAL},
                 {"../v", NFS3ERR_INVAL}, {longest, NFS3ERR_NAMETOOLONG}, {".", NFS3ERR_INVAL},
                 {"..", NFS3ERR_INVAL}};
    struct fh file = made_file(&c, &c.root, "file", 0600);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        STATUS(do_create(&c, &c.root, wrong[i].name, UNCHECKED, NULL, 0, NULL), wrong[i].status);
        STATUS(do_mkdir(&c, &c.root, wrong[i].name, 0700, NULL), wrong[i].status);
        STATUS(do_symlink(&c, &c.root, wrong[i].name, "t", NULL), wrong[i].status);
        STATUS(do_remove(&c, &c.root, wrong[i].name), wrong[i].status);
        STATUS(do_rmdir(&c, &c.root, wrong[i].name), wrong[i].status);
        STATUS(do_rename(&c, &c.root, "file", &c.root, wrong[i].name), wrong[i].status);
        STATUS(do_rename(&c, &c.root, wrong[i].name, &c.root, "x"), wrong[i].status);
        STATUS(do_link(&c, &file, &c.root, wrong[i].name), wrong[i].status);
    }
    STATUS(do_lookup(&c, &c.root, "", NULL, NULL), NFS3ERR_INVAL);
    STATUS(do_lookup(&c, &c.root, "a/b", NULL, NULL), NFS3ERR_INVAL);
    STATUS(do_lookup(&c, &c.root, longest, NULL, NULL), NFS3ERR_NAMETOOLONG);
    nfs_world_end(&n);
}

Test(nfs_names, lead_up_to_the_exports_top_and_no_further)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh folder = made_folder(&c, &c.root, "d", 0755), up;
    struct fh file = made_file(&c, &folder, "f", 0600);
    struct fattr3 attr, root;
    STATUS(do_getattr(&c, &c.root, &root), NFS3_OK);
    STATUS(do_lookup(&c, &folder, "..", &up, &attr), NFS3_OK);
    cr_assert_eq(attr.fileid, root.fileid);
    STATUS(do_lookup(&c, &up, "..", &up, &attr), NFS3_OK);
    cr_assert(attr.fileid == root.fileid && attr.fsid == root.fsid);
    STATUS(do_lookup(&c, &c.root, ".", NULL, &attr), NFS3_OK);
    cr_assert_eq(attr.fileid, root.fileid);
    STATUS(do_lookup(&c, &file, "f", NULL, NULL), NFS3ERR_NOTDIR);
    STATUS(do_create(&c, &file, "f", UNCHECKED, NULL, 0, NULL), NFS3ERR_NOTDIR);
    STATUS(do_remove(&c, &file, "f"), NFS3ERR_NOTDIR);
    nfs_world_end(&n);
}

Test(nfs_names, are_made_in_each_of_three_ways)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh one, two;
    struct fattr3 attr;
    sattr3 mode = {.mode = {1, {0640}}}, cut = {.mode = {1, {0777}}, .size = {1, {.size = 0}}};
    STATUS(do_create(&c, &c.root, "g", GUARDED, &mode, 0, &one), NFS3_OK);
    STATUS(do_create(&c, &c.root, "g", GUARDED, &mode, 0, NULL), NFS3ERR_EXIST);
    STATUS(do_write(&c, &one, 0, "abc", 3, UNSTABLE), NFS3_OK);
    STATUS(do_create(&c, &c.root, "g", UNCHECKED, &mode, 0, &two), NFS3_OK);
    cr_assert(memcmp(one.bytes, two.bytes, one.len) == 0);
    STATUS(do_getattr(&c, &one, &attr), NFS3_OK);
    cr_assert_eq(attr.size, 3);
    STATUS(do_create(&c, &c.root, "g", UNCHECKED, &cut, 0, &two), NFS3_OK);
    STATUS(do_getattr(&c, &one, &attr), NFS3_OK);
    cr_assert(attr.size == 0 && attr.mode == 0640, "opened, not made: its mode is its own");
    made_folder(&c, &c.root, "d", 0755);
    STATUS(do_create(&c, &c.root, "d", UNCHECKED, &mode, 0, NULL), NFS3ERR_EXIST);
    STATUS(do_create(&c, &c.root, "x", EXCLUSIVE, NULL, 77, &one), NFS3_OK);
    STATUS(do_create(&c, &c.root, "x", EXCLUSIVE, NULL, 78, NULL), NFS3ERR_EXIST);
    STATUS(do_create(&c, &c.root, "x", EXCLUSIVE, NULL, 77, &two), NFS3_OK);
    cr_assert(memcmp(one.bytes, two.bytes, one.len) == 0);
    STATUS(do_setattr(&c, &one, &mode, NULL), NFS3_OK);
    STATUS(do_create(&c, &c.root, "x", EXCLUSIVE, NULL, 77, NULL), NFS3ERR_EXIST);
    nfs_world_end(&n);
}

Test(nfs_names, of_folders_go_when_they_are_empty)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh folder = made_folder(&c, &c.root, "d", 0755);
    made_file(&c, &folder, "f", 0600);
    STATUS(do_mkdir(&c, &c.root, "d", 0755, NULL), NFS3ERR_EXIST);
    STATUS(do_remove(&c, &c.root, "d"), NFS3ERR_ISDIR);
    STATUS(do_rmdir(&c, &folder, "f"), NFS3ERR_NOTDIR);
    STATUS(do_rmdir(&c, &c.root, "d"), NFS3ERR_NOTEMPTY);
    STATUS(do_remove(&c, &folder, "f"), NFS3_OK);
    STATUS(do_rmdir(&c, &c.root, "d"), NFS3_OK);
    STATUS(do_rmdir(&c, &c.root, "d"), NFS3ERR_NOENT);
    STATUS(do_remove(&c, &c.root, "d"), NFS3ERR_NOENT);
    STATUS(do_lookup(&c, &folder, "f", NULL, NULL), NFS3ERR_STALE);
    STATUS(do_create(&c, &folder, "f", UNCHECKED, NULL, 0, NULL), NFS3ERR_STALE);
    nfs_world_end(&n);
}

Test(nfs_names, are_changed_and_replace_what_they_may)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh a = made_folder(&c, &c.root, "a", 0755), b = made_folder(&c, &c.root, "b", 0755);
    struct fh f = made_file(&c, &a, "f", 0600), g = made_file(&c, &b, "g", 0600), found;
    STATUS(do_rename(&c, &a, "f", &b, "g"), NFS3_OK);
    STATUS(do_lookup(&c, &b, "g", &found, NULL), NFS3_OK);
    cr_assert(memcmp(found.bytes, f.bytes, f.len) == 0);
    STATUS(do_getattr(&c, &g, NULL), NFS3ERR_STALE);
    STATUS(do_rename(&c, &b, "g", &b, "g"), NFS3_OK);
    STATUS(do_rename(&c, &b, "none", &b, "x"), NFS3ERR_NOENT);
    STATUS(do_rename(&c, &b, "g", &c.root, "a"), NFS3ERR_ISDIR);
    STATUS(do_rename(&c, &c.root, "a", &b, "g"), NFS3ERR_NOTDIR);
    STATUS(do_rename(&c, &c.root, "a", &c.root, "b"), NFS3ERR_NOTEMPTY);
    STATUS(do_rename(&c, &c.root, "b", &b, "self"), NFS3ERR_INVAL);
    STATUS(do_rename(&c, &c.root, "b", &c.root, "a"), NFS3_OK);
    STATUS(do_getattr(&c, &a, NULL), NFS3ERR_STALE);
    STATUS(do_lookup(&c, &b, "g", NULL, NULL), NFS3_OK);
    nfs_world_end(&n);
}

Test(nfs_names, do_not_cross_exports)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    world_ok(&n.w, vault_volume_create(n.w.vault, "other", &n.w.err));
    AUTO(client) struct client c;
    AUTO(client) struct client o;
    client_open(&c, n.port, "/v");
    client_open(&o, n.port, "/other");
    struct fh f = made_file(&c, &c.root, "f", 0600);
    STATUS(do_rename(&c, &c.root, "f", &o.root, "f"), NFS3ERR_XDEV);
    STATUS(do_link(&c, &f, &o.root, "f"), NFS3ERR_XDEV);
    STATUS(do_lookup(&c, &o.root, "f", NULL, NULL), NFS3ERR_NOENT);
    struct fattr3 one, two;
    STATUS(do_getattr(&c, &c.root, &one), NFS3_OK);
    STATUS(do_getattr(&c, &o.root, &two), NFS3_OK);
    cr_assert_neq(one.fsid, two.fsid);
    nfs_world_end(&n);
}

Test(nfs_names, of_symbolic_links_are_bytes_that_nobody_here_follows)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    char target[1025];
    memset(target, 't', sizeof target);
    target[1023] = '\0';
    struct fh link;
    struct fattr3 attr = {0};
    STATUS(do_symlink(&c, &c.root, "l", target, &link), NFS3_OK);
    STATUS(do_getattr(&c, &link, &attr), NFS3_OK);
    cr_assert(attr.type == NF3LNK && attr.size == 1023 && attr.mode == 0777);
    target[1023] = 't';
    target[1024] = '\0';
    STATUS(do_symlink(&c, &c.root, "m", target, NULL), NFS3ERR_NAMETOOLONG);
    STATUS(do_symlink(&c, &c.root, "m", "", NULL), NFS3ERR_INVAL);
    STATUS(do_symlink(&c, &c.root, "up", "../../etc", &link), NFS3_OK);
    STATUS(do_lookup(&c, &link, "passwd", NULL, NULL), NFS3ERR_NOTDIR);
    STATUS(do_remove(&c, &c.root, "up"), NFS3_OK);
    char ingested[4097];
    memset(ingested, 'i', sizeof ingested);
    ingested[4096] = '\0';
    struct view_file made;
    {
        AUTO(view) struct view *view = world_view(&n.w, "v", NULL, NULL);
        world_ok(&n.w, view_create(view, NULL, VIEW_ROOT, "long", INODE_SYMLINK, ingested, NULL,
                                   &made, NULL, &n.w.err));
    }
    STATUS(do_lookup(&c, &c.root, "long", &link, NULL), NFS3_OK);
    READLINK3args args = {fh3(&link)};
    READLINK3res res;
    client_ok(&c, NFS_CALL(&c.nfs, READLINK, &args, &res, &c.err));
    STATUS(res.status, NFS3_OK);
    cr_assert_str_eq(res.READLINK3res_u.resok.data, ingested);
    nfs_world_end(&n);
}

Test(nfs_names, of_nodes_are_refused)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    const enum ftype3 kinds[] = {NF3CHR, NF3BLK, NF3FIFO, NF3SOCK, NF3REG, NF3DIR, NF3LNK};
    for (size_t i = 0; i < 7; i++) {
        MKNOD3args args = {.where = {fh3(&c.root), (char[]){"node"}}, .what = {.type = kinds[i]}};
        MKNOD3res res;
        client_ok(&c, NFS_CALL(&c.nfs, MKNOD, &args, &res, &c.err));
        STATUS(res.status, i < 4 ? NFS3ERR_NOTSUPP : NFS3ERR_BADTYPE);
    }
    nfs_world_end(&n);
}

Test(nfs_names, are_changed_by_those_who_may_write_the_folder)
{
    enum { OWNER = 1000, OTHER = 2000 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh open_to_all = made_folder(&c, &c.root, "tmp", 0777);
    struct fh sticky = made_folder(&c, &c.root, "sticky", 01777);
    struct fh closed = made_folder(&c, &c.root, "closed", 0700);
    made_file(&c, &closed, "f", 0666);
    client_as(&c, OWNER, OWNER);
    made_file(&c, &open_to_all, "f", 0600);
    made_file(&c, &sticky, "f", 0600);
    client_as(&c, OTHER, OTHER);
    made_file(&c, &sticky, "mine", 0600);
    STATUS(do_lookup(&c, &closed, "f", NULL, NULL), NFS3ERR_ACCES);
    STATUS(do_create(&c, &closed, "g", UNCHECKED, NULL, 0, NULL), NFS3ERR_ACCES);
    STATUS(do_mkdir(&c, &c.root, "d", 0777, NULL), NFS3ERR_ACCES);
    STATUS(do_symlink(&c, &c.root, "d", "x", NULL), NFS3ERR_ACCES);
    STATUS(do_remove(&c, &sticky, "f"), NFS3ERR_ACCES);
    STATUS(do_rename(&c, &sticky, "f", &open_to_all, "g"), NFS3ERR_ACCES);
    STATUS(do_rename(&c, &sticky, "mine", &sticky, "f"), NFS3ERR_ACCES);
    STATUS(do_remove(&c, &open_to_all, "f"), NFS3_OK);
    STATUS(do_remove(&c, &sticky, "mine"), NFS3_OK);
    client_as(&c, OWNER, OWNER);
    STATUS(do_remove(&c, &sticky, "f"), NFS3_OK);
    nfs_world_end(&n);
}

Test(nfs_names, below_a_set_gid_folder_are_of_its_group)
{
    enum { OWNER = 1000, TEAM = 500 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh team = made_folder(&c, &c.root, "team", 0777);
    sattr3 set = {.mode = {1, {02777}}, .gid = {1, {TEAM}}};
    STATUS(do_setattr(&c, &team, &set, NULL), NFS3_OK);
    set = (sattr3){.mode = {1, {02777}}};
    STATUS(do_setattr(&c, &team, &set, NULL), NFS3_OK);
    client_as(&c, OWNER, OWNER);
    struct fattr3 attr;
    struct fh folder = made_folder(&c, &team, "d", 0755), file = made_file(&c, &team, "f", 02755);
    STATUS(do_getattr(&c, &folder, &attr), NFS3_OK);
    cr_assert(attr.gid == TEAM && attr.mode == 02755 && attr.uid == OWNER, "%o", attr.mode);
    STATUS(do_getattr(&c, &file, &attr), NFS3_OK);
    cr_assert(attr.gid == TEAM && attr.mode == 0755, "%o", attr.mode);
    nfs_world_end(&n);
}

Test(nfs_names, of_one_file_may_be_several)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh folder = made_folder(&c, &c.root, "d", 0755), found, link;
    struct fh file = made_file(&c, &c.root, "first", 0600);
    struct fattr3 attr, again;
    STATUS(do_link(&c, &file, &folder, "second"), NFS3_OK);
    STATUS(do_link(&c, &file, &folder, "second"), NFS3ERR_EXIST);
    STATUS(do_lookup(&c, &folder, "second", &found, &attr), NFS3_OK);
    STATUS(do_getattr(&c, &file, &again), NFS3_OK);
    cr_assert(attr.nlink == 2 && attr.fileid == again.fileid);
    cr_assert(found.len == file.len && memcmp(found.bytes, file.bytes, file.len) == 0);
    STATUS(do_write(&c, &found, 0, "both", 4, UNSTABLE), NFS3_OK);
    STATUS(do_rename(&c, &c.root, "first", &folder, "second"), NFS3_OK);
    STATUS(do_lookup(&c, &c.root, "first", NULL, NULL), NFS3_OK);
    STATUS(do_remove(&c, &c.root, "first"), NFS3_OK);
    char back[4];
    STATUS(do_read(&c, &file, 0, back, 4, NULL, NULL), NFS3_OK);
    cr_assert(memcmp(back, "both", 4) == 0);
    STATUS(do_getattr(&c, &file, &attr), NFS3_OK);
    cr_assert_eq(attr.nlink, 1);
    STATUS(do_remove(&c, &folder, "second"), NFS3_OK);
    STATUS(do_getattr(&c, &file, &attr), NFS3ERR_STALE);
    STATUS(do_symlink(&c, &c.root, "l", "x", &link), NFS3_OK);
    STATUS(do_link(&c, &link, &c.root, "m"), NFS3ERR_INVAL);
    STATUS(do_link(&c, &folder, &c.root, "m"), NFS3ERR_INVAL);
    nfs_world_end(&n);
}
