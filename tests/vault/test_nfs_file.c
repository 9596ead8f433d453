/* The procedures on files as a client sees them: attributes, rights, bytes. */
#include "tests/vault/nfs_world.h"

TestSuite(nfs_file);

static sattr3 of_mode(uint32_t mode) { return (sattr3){.mode = {1, {mode}}}; }
static sattr3 of_size(uint64_t size) { return (sattr3){.size = {1, {.size = size}}}; }

Test(nfs_file, is_described_by_one_fsid_and_a_number_that_stays)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fattr3 root, file, again;
    struct fh fh = made_file(&c, &c.root, "f", 0640);
    STATUS(do_getattr(&c, &c.root, &root), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &file), NFS3_OK);
    cr_assert_eq(root.type, NF3DIR);
    cr_assert_eq(root.nlink, 2);
    cr_assert_eq(file.type, NF3REG);
    cr_assert_eq(file.mode, 0640);
    cr_assert_eq(file.nlink, 1);
    cr_assert(file.fsid == root.fsid && file.fileid != root.fileid);
    STATUS(do_rename(&c, &c.root, "f", &c.root, "g"), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &again), NFS3_OK);
    cr_assert_eq(again.fileid, file.fileid);
    nfs_world_unserve(&n);
    world_crash(&n.w);
    nfs_world_serve(&n);
    AUTO(client) struct client later;
    client_open(&later, n.port, "/v");
    STATUS(do_getattr(&later, &fh, &again), NFS3_OK);
    cr_assert(again.fileid == file.fileid && again.fsid == file.fsid && again.mode == 0640);
    nfs_world_end(&n);
}

struct seen {
    struct fh fh;
    struct fattr3 attr;
};

static struct seen see(struct nfs_world *n, const char *export_path, const char *path)
{
    AUTO(client) struct client c;
    struct seen s = {0};
    char copy[80];
    client_open(&c, n->port, export_path);
    s.fh = c.root;
    STATUS(do_getattr(&c, &s.fh, &s.attr), NFS3_OK);
    str_copy(copy, sizeof copy, path);
    for (char *at = copy; at && *at;) {
        struct fh dir = s.fh;
        STATUS(do_lookup(&c, &dir, str_field(&at, '/'), &s.fh, &s.attr), NFS3_OK);
    }
    return s;
}

/* A host that has the area, a clone of it and a composed one mounted must never take a file of one
 * for another's. */
Test(nfs_file, of_a_composed_clone_is_none_of_those_it_was_made_of)
{
    enum { PLACES = 5 };
    static const char *const places[PLACES] = {"", "old.dbf", "new.dbf", "arch", "arch/1.arc"};
    struct nfs_world n;
    struct seen first[PLACES];
    nfs_world_begin(&n);
    world_write(&n.w, "v", NULL, "data", 'a', 20000, 0);
    world_snapshot(&n.w, "v", "s");
    world_write(&n.w, "v", NULL, "data", 'b', 20000, 0);
    world_write(&n.w, "v", NULL, "log", 'l', 5000, 0);
    /* One file twice, of two moments. */
    struct vault_part parts[] = {
        {"s", "data", "old.dbf"}, {NULL, "data", "new.dbf"}, {NULL, "log", "arch/1.arc"}};
    world_ok(&n.w, vault_clone_create(n.w.vault, "v", "plain", "s", NULL, 0, &n.w.err));
    world_ok(&n.w, vault_clone_create(n.w.vault, "v", "mixed", NULL, parts, 3, &n.w.err));
    struct seen live = see(&n, "/v", "data"), plain = see(&n, "/v/plain", "data");
    for (size_t i = 0; i < PLACES; i++) {
        first[i] = see(&n, "/v/mixed", places[i]);
        cr_expect_eq(first[i].attr.fsid, first[0].attr.fsid, "%s", places[i]);
        for (size_t j = 0; j < i; j++)
            cr_expect_neq(first[i].attr.fileid, first[j].attr.fileid, "%s %s", places[i],
                          places[j]);
    }
    cr_expect(live.attr.fsid != plain.attr.fsid && live.attr.fsid != first[0].attr.fsid &&
              plain.attr.fsid != first[0].attr.fsid);
    cr_expect_eq(live.attr.fileid, plain.attr.fileid, "the same file, of another moment");
    for (int round = 0; round < 2; round++) {
        if (round == 1)
            world_ok(&n.w, vault_seal(n.w.vault, "v/mixed", &n.w.err));
        nfs_world_unserve(&n);
        world_crash(&n.w);
        nfs_world_serve(&n);
        for (size_t i = 0; i < PLACES; i++) {
            struct seen now = see(&n, "/v/mixed", places[i]);
            cr_expect(now.attr.fsid == first[i].attr.fsid &&
                          now.attr.fileid == first[i].attr.fileid &&
                          now.fh.len == first[i].fh.len &&
                          memcmp(now.fh.bytes, first[i].fh.bytes, now.fh.len) == 0,
                      "%s, round %d", places[i], round);
        }
    }
    nfs_world_end(&n);
}

Test(nfs_file, gives_back_what_was_written_wherever_it_lies)
{
    enum { SIZE = 70000, MAX = 1 << 20 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0600);
    AUTO(mem) uint8_t *bytes = own_alloc(MAX, &c.err), *back = own_alloc(MAX, &c.err);
    clock_random(bytes, MAX);
    uint32_t len = 0;
    bool end = false;
    STATUS(do_write(&c, &fh, 8191, bytes, SIZE, UNSTABLE), NFS3_OK);
    STATUS(do_read(&c, &fh, 8191, back, SIZE - 1, &len, &end), NFS3_OK);
    cr_assert(len == SIZE - 1 && !end && memcmp(bytes, back, len) == 0);
    STATUS(do_read(&c, &fh, 8191, back, SIZE, &len, &end), NFS3_OK);
    cr_assert(len == SIZE && end && memcmp(bytes, back, len) == 0);
    STATUS(do_read(&c, &fh, 0, back, 8191, &len, &end), NFS3_OK);
    for (int i = 0; i < 8191; i++)
        cr_assert_eq(back[i], 0);
    STATUS(do_read(&c, &fh, 8191 + SIZE, back, 10, &len, &end), NFS3_OK);
    cr_assert(len == 0 && end);
    STATUS(do_read(&c, &fh, UINT64_MAX, back, UINT32_MAX, &len, &end), NFS3_OK);
    cr_assert(len == 0 && end);
    STATUS(do_read(&c, &fh, 100, back, 0, &len, &end), NFS3_OK);
    cr_assert(len == 0 && !end);
    STATUS(do_write(&c, &fh, 0, bytes, MAX, FILE_SYNC), NFS3_OK);
    STATUS(do_read(&c, &fh, 0, back, UINT32_MAX, &len, &end), NFS3_OK);
    cr_assert(len == MAX && end && memcmp(bytes, back, MAX) == 0);
    STATUS(do_write(&c, &fh, UINT64_MAX - 4, bytes, 8, UNSTABLE), NFS3ERR_FBIG);
    STATUS(do_write(&c, &fh, (uint64_t)1 << 46, bytes, 8, UNSTABLE), NFS3ERR_FBIG);
    nfs_world_end(&n);
}

Test(nfs_file, tells_each_change_by_what_was_before_and_after)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0600);
    for (int i = 0; i < 20; i++) {
        struct fattr3 before;
        WRITE3args write = {
            .file = fh3(&fh), .count = 5, .data = {5, (char[]){"hello"}}, .offset = i};
        WRITE3res wrote;
        STATUS(do_getattr(&c, &fh, &before), NFS3_OK);
        client_ok(&c, NFS_CALL(&c.nfs, WRITE, &write, &wrote, &c.err));
        STATUS(wrote.status, NFS3_OK);
        wcc_is_right(&wrote.WRITE3res_u.resok.file_wcc, &before);
        SETATTR3args set = {.object = fh3(&fh), .new_attributes = of_mode(0600 + i)};
        SETATTR3res was_set;
        STATUS(do_getattr(&c, &fh, &before), NFS3_OK);
        client_ok(&c, NFS_CALL(&c.nfs, SETATTR, &set, &was_set, &c.err));
        STATUS(was_set.status, NFS3_OK);
        wcc_is_right(&was_set.SETATTR3res_u.resok.obj_wcc, &before);
        char name[16];
        str_format(name, sizeof name, "n%d", i);
        CREATE3args create = {.where = {fh3(&c.root), name}};
        CREATE3res created;
        STATUS(do_getattr(&c, &c.root, &before), NFS3_OK);
        client_ok(&c, NFS_CALL(&c.nfs, CREATE, &create, &created, &c.err));
        STATUS(created.status, NFS3_OK);
        wcc_is_right(&created.CREATE3res_u.resok.dir_wcc, &before);
        REMOVE3args remove = {.object = {fh3(&c.root), name}};
        REMOVE3res removed;
        STATUS(do_getattr(&c, &c.root, &before), NFS3_OK);
        client_ok(&c, NFS_CALL(&c.nfs, REMOVE, &remove, &removed, &c.err));
        STATUS(removed.status, NFS3_OK);
        wcc_is_right(&removed.REMOVE3res_u.resok.dir_wcc, &before);
    }
    nfs_world_end(&n);
}

Test(nfs_file, is_set_only_while_the_guard_holds)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0600);
    struct fattr3 now;
    sattr3 set = of_mode(0644);
    STATUS(do_getattr(&c, &fh, &now), NFS3_OK);
    nfstime3 other = {now.ctime.seconds, now.ctime.nseconds ^ 4096};
    STATUS(do_setattr(&c, &fh, &set, &other), NFS3ERR_NOT_SYNC);
    STATUS(do_setattr(&c, &fh, &set, &now.ctime), NFS3_OK);
    STATUS(do_setattr(&c, &fh, &set, &now.ctime), NFS3ERR_NOT_SYNC);
    nfs_world_end(&n);
}

Test(nfs_file, keeps_times_that_were_set_to_the_microsecond)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0600);
    struct fattr3 now;
    sattr3 set = {.mtime = {SET_TO_CLIENT_TIME, {{1000000000, 123456789}}},
                  .atime = {SET_TO_CLIENT_TIME, {{2000000000, 999999999}}}};
    STATUS(do_setattr(&c, &fh, &set, NULL), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &now), NFS3_OK);
    cr_assert(now.mtime.seconds == 1000000000 && now.mtime.nseconds == 123456000);
    cr_assert(now.atime.seconds == 2000000000 && now.atime.nseconds == 999999000);
    set = (sattr3){.mtime = {SET_TO_SERVER_TIME, {{0}}}};
    STATUS(do_setattr(&c, &fh, &set, NULL), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &now), NFS3_OK);
    cr_assert_leq(llabs((long long)now.mtime.seconds - (long long)time(NULL)), 60);
    cr_assert_eq(now.atime.seconds, 2000000000);
    set = (sattr3){.mtime = {SET_TO_CLIENT_TIME, {{5, 1000000000}}}};
    STATUS(do_setattr(&c, &fh, &set, NULL), NFS3ERR_INVAL);
    nfs_world_end(&n);
}

Test(nfs_file, is_cut_and_grows_with_zeros)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0600);
    char back[20000];
    uint32_t len = 0;
    memset(back, 'x', sizeof back);
    STATUS(do_write(&c, &fh, 0, back, sizeof back, FILE_SYNC), NFS3_OK);
    sattr3 cut = of_size(5000), grow = of_size(15000), huge = of_size(UINT64_MAX);
    STATUS(do_setattr(&c, &fh, &cut, NULL), NFS3_OK);
    STATUS(do_setattr(&c, &fh, &grow, NULL), NFS3_OK);
    STATUS(do_setattr(&c, &fh, &huge, NULL), NFS3ERR_FBIG);
    STATUS(do_setattr(&c, &c.root, &cut, NULL), NFS3ERR_ISDIR);
    STATUS(do_read(&c, &fh, 0, back, sizeof back, &len, NULL), NFS3_OK);
    cr_assert_eq(len, 15000);
    for (unsigned i = 0; i < len; i++)
        cr_assert_eq(back[i], i < 5000 ? 'x' : 0, "byte %u", i);
    nfs_world_end(&n);
}

Test(nfs_file, is_reached_as_its_mode_says)
{
    enum { OWNER = 1000, GROUP = 100, OTHER = 2000 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    sattr3 open_to_all = of_mode(0777), secret = of_mode(0640), none = of_mode(0);
    STATUS(do_setattr(&c, &c.root, &open_to_all, NULL), NFS3_OK);
    client_as(&c, OWNER, GROUP);
    struct fh fh = made_file(&c, &c.root, "f", 0640);
    struct fattr3 attr;
    STATUS(do_getattr(&c, &fh, &attr), NFS3_OK);
    cr_assert(attr.uid == OWNER && attr.gid == GROUP);
    STATUS(do_write(&c, &fh, 0, "abc", 3, UNSTABLE), NFS3_OK);
    cr_assert_eq(do_access(&c, &fh), ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND);
    client_as(&c, OTHER, GROUP);
    cr_assert_eq(do_access(&c, &fh), ACCESS3_READ);
    STATUS(do_read(&c, &fh, 0, NULL, 3, NULL, NULL), NFS3_OK);
    STATUS(do_write(&c, &fh, 0, "abc", 3, UNSTABLE), NFS3ERR_ACCES);
    STATUS(do_commit(&c, &fh, NULL), NFS3ERR_ACCES);
    STATUS(do_setattr(&c, &fh, &secret, NULL), NFS3ERR_PERM);
    client_as(&c, OTHER, OTHER);
    cr_assert_eq(do_access(&c, &fh), 0);
    STATUS(do_read(&c, &fh, 0, NULL, 3, NULL, NULL), NFS3ERR_ACCES);
    c.nfs.group_count = 2;
    c.nfs.groups[1] = GROUP;
    STATUS(do_read(&c, &fh, 0, NULL, 3, NULL, NULL), NFS3_OK);
    struct fh in, out;
    client_as(&c, 0, 0);
    STATUS(do_mkdir(&c, &c.root, "in", 0757, &in), NFS3_OK);
    STATUS(do_mkdir(&c, &c.root, "out", 0756, &out), NFS3_OK);
    client_as(&c, OWNER, OWNER);
    cr_assert_eq(do_access(&c, &in),
                 ACCESS3_READ | ACCESS3_LOOKUP | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE);
    cr_assert_eq(do_access(&c, &out), ACCESS3_READ, "nothing is made in what is not entered");
    client_as(&c, OWNER, GROUP); /* who opened it before may go on */
    STATUS(do_setattr(&c, &fh, &none, NULL), NFS3_OK);
    cr_assert_eq(do_access(&c, &fh), 0);
    STATUS(do_read(&c, &fh, 0, NULL, 3, NULL, NULL), NFS3_OK);
    STATUS(do_write(&c, &fh, 0, "abc", 3, UNSTABLE), NFS3_OK);
    client_as(&c, 0, 0);
    cr_assert_eq(do_access(&c, &fh), ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND);
    nfs_world_end(&n);
}

Test(nfs_file, is_given_away_by_root_alone)
{
    enum { OWNER = 1000, GROUP = 100, SECOND = 101, OTHER = 2000 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    sattr3 open_to_all = of_mode(0777);
    STATUS(do_setattr(&c, &c.root, &open_to_all, NULL), NFS3_OK);
    client_as(&c, OWNER, GROUP);
    struct fh fh = made_file(&c, &c.root, "f", 0755);
    sattr3 to_other = {.uid = {1, {OTHER}}}, to_self = {.uid = {1, {OWNER}}};
    sattr3 second = {.gid = {1, {SECOND}}};
    STATUS(do_setattr(&c, &fh, &to_other, NULL), NFS3ERR_PERM);
    STATUS(do_setattr(&c, &fh, &to_self, NULL), NFS3_OK);
    STATUS(do_setattr(&c, &fh, &second, NULL), NFS3ERR_PERM);
    c.nfs.group_count = 1;
    c.nfs.groups[0] = SECOND;
    STATUS(do_setattr(&c, &fh, &second, NULL), NFS3_OK);
    client_as(&c, 0, 0);
    sattr3 with_ids = of_mode(06755);
    struct fattr3 attr;
    STATUS(do_setattr(&c, &fh, &with_ids, NULL), NFS3_OK);
    STATUS(do_setattr(&c, &fh, &to_other, NULL), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &attr), NFS3_OK);
    cr_assert(attr.uid == OTHER && attr.gid == SECOND && attr.mode == 0755, "%o", attr.mode);
    nfs_world_end(&n);
}

Test(nfs_file, loses_its_id_bits_when_another_writes)
{
    enum { OTHER = 2000 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0666);
    sattr3 with_ids = of_mode(06777), cut = of_size(1);
    struct fattr3 attr;
    STATUS(do_setattr(&c, &fh, &with_ids, NULL), NFS3_OK);
    STATUS(do_write(&c, &fh, 0, "abc", 3, UNSTABLE), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &attr), NFS3_OK);
    cr_assert_eq(attr.mode, 06777);
    client_as(&c, OTHER, OTHER);
    STATUS(do_write(&c, &fh, 0, "abc", 3, UNSTABLE), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &attr), NFS3_OK);
    cr_assert_eq(attr.mode, 0777);
    client_as(&c, 0, 0);
    STATUS(do_setattr(&c, &fh, &with_ids, NULL), NFS3_OK);
    client_as(&c, OTHER, OTHER);
    STATUS(do_setattr(&c, &fh, &cut, NULL), NFS3_OK);
    STATUS(do_getattr(&c, &fh, &attr), NFS3_OK);
    cr_assert_eq(attr.mode, 0777);
    nfs_world_end(&n);
}

Test(nfs_file, has_its_times_set_by_its_owner_or_to_now_by_a_writer)
{
    enum { OWNER = 1000, OTHER = 2000 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    sattr3 owner = {.uid = {1, {OWNER}}}, closed = of_mode(0600);
    struct fh fh = made_file(&c, &c.root, "f", 0666);
    STATUS(do_setattr(&c, &fh, &owner, NULL), NFS3_OK);
    sattr3 then = {.mtime = {SET_TO_CLIENT_TIME, {{7, 0}}}};
    sattr3 now = {.mtime = {SET_TO_SERVER_TIME, {{0}}}, .atime = {SET_TO_SERVER_TIME, {{0}}}};
    client_as(&c, OTHER, OTHER);
    STATUS(do_setattr(&c, &fh, &then, NULL), NFS3ERR_PERM);
    STATUS(do_setattr(&c, &fh, &now, NULL), NFS3_OK);
    client_as(&c, OWNER, OWNER);
    STATUS(do_setattr(&c, &fh, &then, NULL), NFS3_OK);
    STATUS(do_setattr(&c, &fh, &closed, NULL), NFS3_OK);
    client_as(&c, OTHER, OTHER);
    STATUS(do_setattr(&c, &fh, &now, NULL), NFS3ERR_ACCES);
    nfs_world_end(&n);
}

Test(nfs_file, changes_nothing_where_the_export_is_read_only)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0666);
    STATUS(do_write(&c, &fh, 0, "abc", 3, FILE_SYNC), NFS3_OK);
    n.of.rule.read_only = true;
    world_ok(&n.w, exports_reload(n.exports, &n.w.err));
    sattr3 set = of_mode(0644);
    STATUS(do_read(&c, &fh, 0, NULL, 3, NULL, NULL), NFS3_OK);
    STATUS(do_write(&c, &fh, 0, "abc", 3, UNSTABLE), NFS3ERR_ROFS);
    STATUS(do_commit(&c, &fh, NULL), NFS3_OK); /* what was acknowledged before is made durable */
    STATUS(do_setattr(&c, &fh, &set, NULL), NFS3ERR_ROFS);
    STATUS(do_create(&c, &c.root, "g", UNCHECKED, &set, 0, NULL), NFS3ERR_ROFS);
    STATUS(do_mkdir(&c, &c.root, "g", 0755, NULL), NFS3ERR_ROFS);
    STATUS(do_symlink(&c, &c.root, "g", "f", NULL), NFS3ERR_ROFS);
    STATUS(do_remove(&c, &c.root, "f"), NFS3ERR_ROFS);
    STATUS(do_rmdir(&c, &c.root, "f"), NFS3ERR_ROFS);
    STATUS(do_rename(&c, &c.root, "f", &c.root, "g"), NFS3ERR_ROFS);
    STATUS(do_link(&c, &fh, &c.root, "g"), NFS3ERR_ROFS);
    cr_assert_eq(do_access(&c, &fh), ACCESS3_READ);
    cr_assert_eq(do_access(&c, &c.root), ACCESS3_READ | ACCESS3_LOOKUP);
    nfs_world_end(&n);
}

Test(nfs_file, is_stale_when_it_has_gone_and_refused_to_strangers)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fh = made_file(&c, &c.root, "f", 0666), wrong = fh, nonsense = {"nonsense", 8};
    struct fh none = {"", 0};
    STATUS(do_getattr(&c, &nonsense, NULL), NFS3ERR_BADHANDLE);
    STATUS(do_getattr(&c, &none, NULL), NFS3ERR_BADHANDLE);
    wrong.bytes[9] ^= 1;
    STATUS(do_getattr(&c, &wrong, NULL), NFS3ERR_BADHANDLE);
    struct handle made;
    cr_assert(handle_decode(fh.bytes, fh.len, &made));
    struct handle others[] = {{made.volume, made.file, made.generation + 1},
                              {made.volume, made.file, 0},
                              {made.volume, made.file + 100, made.generation},
                              {made.volume + 100, made.file, made.generation}};
    for (size_t i = 0; i < 4; i++) {
        handle_encode(&others[i], (uint8_t *)wrong.bytes);
        if (others[i].generation != made.generation || others[i].file != made.file || i == 3)
            STATUS(do_getattr(&c, &wrong, NULL), NFS3ERR_STALE);
    }
    STATUS(do_remove(&c, &c.root, "f"), NFS3_OK);
    STATUS(do_getattr(&c, &fh, NULL), NFS3ERR_STALE);
    STATUS(do_read(&c, &fh, 0, NULL, 1, NULL, NULL), NFS3ERR_STALE);
    STATUS(do_write(&c, &fh, 0, "a", 1, UNSTABLE), NFS3ERR_STALE);
    STATUS(do_commit(&c, &fh, NULL), NFS3ERR_STALE);
    n.of.rule.net_count = 0;
    world_ok(&n.w, exports_reload(n.exports, &n.w.err));
    STATUS(do_getattr(&c, &c.root, NULL), NFS3ERR_ACCES);
    nfs_world_end(&n);
}

Test(nfs_file, of_the_wrong_kind_is_neither_read_nor_written)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh link, fh = made_file(&c, &c.root, "f", 0666);
    STATUS(do_symlink(&c, &c.root, "l", "/etc/passwd", &link), NFS3_OK);
    STATUS(do_read(&c, &c.root, 0, NULL, 1, NULL, NULL), NFS3ERR_ISDIR);
    STATUS(do_read(&c, &link, 0, NULL, 1, NULL, NULL), NFS3ERR_INVAL);
    STATUS(do_write(&c, &c.root, 0, "a", 1, UNSTABLE), NFS3ERR_ISDIR);
    STATUS(do_write(&c, &link, 0, "a", 1, UNSTABLE), NFS3ERR_INVAL);
    READLINK3args args = {fh3(&link)};
    READLINK3res res;
    client_ok(&c, NFS_CALL(&c.nfs, READLINK, &args, &res, &c.err));
    STATUS(res.status, NFS3_OK);
    cr_assert_str_eq(res.READLINK3res_u.resok.data, "/etc/passwd");
    args.symlink = fh3(&fh);
    client_ok(&c, NFS_CALL(&c.nfs, READLINK, &args, &res, &c.err));
    STATUS(res.status, NFS3ERR_INVAL);
    nfs_world_end(&n);
}

Test(nfs_file, is_durable_after_a_stable_write_or_a_commit_and_the_verifier_tells_of_a_restart)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh one = made_file(&c, &c.root, "one", 0666), two = made_file(&c, &c.root, "two", 0666);
    char bytes[20000], back[20000];
    uint32_t len = 0;
    uint64_t verifier = 0, later_verifier = 0;
    memset(bytes, 's', sizeof bytes);
    STATUS(do_write(&c, &one, 0, bytes, sizeof bytes, DATA_SYNC), NFS3_OK);
    STATUS(do_write(&c, &two, 0, bytes, sizeof bytes, UNSTABLE), NFS3_OK);
    STATUS(do_commit(&c, &two, &verifier), NFS3_OK);
    nfs_world_unserve(&n);
    world_crash(&n.w);
    nfs_world_serve(&n);
    AUTO(client) struct client later;
    client_open(&later, n.port, "/v");
    STATUS(do_read(&later, &one, 0, back, sizeof back, &len, NULL), NFS3_OK);
    cr_assert(len == sizeof back && memcmp(bytes, back, len) == 0);
    memset(back, 0, sizeof back);
    STATUS(do_read(&later, &two, 0, back, sizeof back, &len, NULL), NFS3_OK);
    cr_assert(len == sizeof back && memcmp(bytes, back, len) == 0);
    STATUS(do_commit(&later, &two, &later_verifier), NFS3_OK);
    cr_assert_neq(verifier, later_verifier);
    nfs_world_end(&n);
}

Test(nfs_file, system_says_what_it_can)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    FSINFO3args info_args = {fh3(&c.root)};
    FSINFO3res info;
    client_ok(&c, NFS_CALL(&c.nfs, FSINFO, &info_args, &info, &c.err));
    STATUS(info.status, NFS3_OK);
    FSINFO3resok *i = &info.FSINFO3res_u.resok;
    cr_assert(i->rtmax == 1 << 20 && i->wtmax == 1 << 20 && i->dtpref >= 4096);
    cr_assert_eq(i->maxfilesize, (uint64_t)1 << 46);
    cr_assert_eq(i->properties, 0x1b);
    cr_assert(i->time_delta.seconds == 0 && i->time_delta.nseconds == 1000);
    PATHCONF3args path_args = {fh3(&c.root)};
    PATHCONF3res path;
    client_ok(&c, NFS_CALL(&c.nfs, PATHCONF, &path_args, &path, &c.err));
    STATUS(path.status, NFS3_OK);
    cr_assert_eq(path.PATHCONF3res_u.resok.name_max, 255);
    cr_assert(path.PATHCONF3res_u.resok.no_trunc && path.PATHCONF3res_u.resok.chown_restricted);
    FSSTAT3args stat_args = {fh3(&c.root)};
    FSSTAT3res stat;
    client_ok(&c, NFS_CALL(&c.nfs, FSSTAT, &stat_args, &stat, &c.err));
    STATUS(stat.status, NFS3_OK);
    cr_assert(stat.FSSTAT3res_u.resok.tbytes >= stat.FSSTAT3res_u.resok.fbytes);
    cr_assert(stat.FSSTAT3res_u.resok.abytes > 0);
    uint64_t files = stat.FSSTAT3res_u.resok.ffiles;
    made_file(&c, &c.root, "one more", 0600);
    client_ok(&c, NFS_CALL(&c.nfs, FSSTAT, &stat_args, &stat, &c.err));
    cr_assert_eq(stat.FSSTAT3res_u.resok.ffiles, files - 1);
    nfs_world_end(&n);
}
