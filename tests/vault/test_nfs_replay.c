/* Calls that come twice: the answer was lost, the connection or the server went away meanwhile. */
#include "tests/vault/nfs_world.h"

TestSuite(nfs_replay);

enum { CALLS = 8, XID = 5000 };

struct made {
    enum nfsstat3 status;
    struct fh fh;
};

/* One of each call that changes names or is guarded, with a number of its own. */
static struct made change(struct client *c, int which, uint32_t xid, struct fh *file,
                          const nfstime3 *guard)
{
    struct made made = {0};
    nfs_fh3 root = fh3(&c->root);
    char name[] = "created", dir[] = "folder", link[] = "symlink", gone[] = "gone",
         empty[] = "empty";
    char old[] = "old", new[] = "new", further[] = "further", target[] = "target";
    CREATE3args create = {.where = {root, name}, .how = {.mode = GUARDED}};
    CREATE3res created;
    MKDIR3args mkdir = {.where = {root, dir}};
    MKDIR3res mkdired;
    SYMLINK3args symlink = {.where = {root, link}, .symlink = {.symlink_data = target}};
    SYMLINK3res symlinked;
    REMOVE3args remove = {.object = {root, gone}};
    REMOVE3res removed;
    RMDIR3args rmdir = {.object = {root, empty}};
    RMDIR3res rmdired;
    RENAME3args rename = {.from = {root, old}, .to = {root, new}};
    RENAME3res renamed;
    LINK3args link_to = {.file = fh3(file), .link = {root, further}};
    LINK3res linked;
    SETATTR3args set = {.object = fh3(file),
                        .new_attributes = {.mode = {1, {0604}}},
                        .guard = {1, {.obj_ctime = *guard}}};
    SETATTR3res was_set;
    switch (which) {
    case 0:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, CREATE, &create, &created, &c->err));
        made.status = created.status;
        if (made.status == NFS3_OK)
            made.fh = fh_of(&created.CREATE3res_u.resok.obj.post_op_fh3_u.handle);
        break;
    case 1:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, MKDIR, &mkdir, &mkdired, &c->err));
        made.status = mkdired.status;
        if (made.status == NFS3_OK)
            made.fh = fh_of(&mkdired.MKDIR3res_u.resok.obj.post_op_fh3_u.handle);
        break;
    case 2:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, SYMLINK, &symlink, &symlinked, &c->err));
        made.status = symlinked.status;
        if (made.status == NFS3_OK)
            made.fh = fh_of(&symlinked.SYMLINK3res_u.resok.obj.post_op_fh3_u.handle);
        break;
    case 3:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, REMOVE, &remove, &removed, &c->err));
        made.status = removed.status;
        break;
    case 4:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, RMDIR, &rmdir, &rmdired, &c->err));
        made.status = rmdired.status;
        break;
    case 5:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, RENAME, &rename, &renamed, &c->err));
        made.status = renamed.status;
        break;
    case 6:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, LINK, &link_to, &linked, &c->err));
        made.status = linked.status;
        break;
    default:
        client_ok(c, NFS_CALL_AS(&c->nfs, xid, SETATTR, &set, &was_set, &c->err));
        made.status = was_set.status;
        break;
    }
    return made;
}

static const enum nfsstat3 anew[CALLS] = {NFS3ERR_EXIST, NFS3ERR_EXIST,   NFS3ERR_EXIST,
                                          NFS3ERR_NOENT, NFS3ERR_NOENT,   NFS3ERR_NOENT,
                                          NFS3ERR_EXIST, NFS3ERR_NOT_SYNC};

static void again(struct nfs_world *n, struct fh *file, const nfstime3 *guard,
                  const struct made first[CALLS], const char *when)
{
    AUTO(client) struct client c;
    client_open(&c, n->port, "/v");
    for (int i = 0; i < CALLS; i++) {
        struct made made = change(&c, i, XID + i, file, guard);
        cr_assert_eq(made.status, NFS3_OK, "call %d %s: %d", i, when, made.status);
        cr_assert(made.fh.len == first[i].fh.len &&
                      memcmp(made.fh.bytes, first[i].fh.bytes, made.fh.len) == 0,
                  "call %d %s gives another file", i, when);
    }
    c.nfs.machine = "another";
    for (int i = 0; i < CALLS; i++)
        STATUS(change(&c, i, XID + i, file, guard).status, anew[i]);
}

Test(nfs_replay, of_a_change_gets_its_first_answer_also_after_a_crash)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh file = made_file(&c, &c.root, "file", 0600);
    made_file(&c, &c.root, "gone", 0600);
    made_file(&c, &c.root, "old", 0600);
    STATUS(do_mkdir(&c, &c.root, "empty", 0700, NULL), NFS3_OK);
    struct made first[CALLS];
    struct fattr3 attr;
    for (int i = 0; i < CALLS; i++) {
        STATUS(do_getattr(&c, &file, &attr), NFS3_OK);
        first[i] = change(&c, i, XID + i, &file, &attr.ctime);
        STATUS(first[i].status, NFS3_OK);
    }
    again(&n, &file, &attr.ctime, first, "on a new connection");
    nfs_world_unserve(&n);
    world_crash(&n.w);
    nfs_world_serve(&n);
    again(&n, &file, &attr.ctime, first, "after a crash");
    nfs_world_unserve(&n);
    world_reopen(&n.w);
    nfs_world_serve(&n);
    again(&n, &file, &attr.ctime, first, "after an orderly stop");
    nfs_world_end(&n);
}

struct twin {
    struct nfs_world *n;
    pthread_barrier_t *begin;
    uint32_t xid;
    enum nfsstat3 status;
};

static void *make_once(void *arg)
{
    struct twin *twin = arg;
    AUTO(client) struct client c;
    client_open(&c, twin->n->port, "/v");
    char name[32];
    str_format(name, sizeof name, "f%u", twin->xid);
    CREATE3args args = {.where = {fh3(&c.root), name}, .how = {.mode = GUARDED}};
    CREATE3res res;
    pthread_barrier_wait(twin->begin);
    client_ok(&c, NFS_CALL_AS(&c.nfs, twin->xid, CREATE, &args, &res, &c.err));
    twin->status = res.status;
    return NULL;
}

Test(nfs_replay, of_a_call_under_way_waits_for_its_answer)
{
    enum { ROUNDS = 20, TWINS = 3 };
    struct nfs_world n;
    nfs_world_begin(&n);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        pthread_barrier_t begin;
        pthread_t threads[TWINS];
        struct twin twins[TWINS];
        pthread_barrier_init(&begin, NULL, TWINS);
        for (int i = 0; i < TWINS; i++) {
            twins[i] = (struct twin){&n, &begin, XID + round, NFS3_OK};
            cr_assert_eq(pthread_create(&threads[i], NULL, make_once, &twins[i]), 0);
        }
        for (int i = 0; i < TWINS; i++) {
            pthread_join(threads[i], NULL);
            STATUS(twins[i].status, NFS3_OK);
        }
        pthread_barrier_destroy(&begin);
    }
    nfs_world_end(&n);
}

Test(nfs_replay, is_none_when_the_arguments_are_others)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh one = made_file(&c, &c.root, "one", 0600);
    made_file(&c, &c.root, "two", 0600);
    char names[2][8] = {"one", "two"};
    for (int i = 0; i < 2; i++) {
        REMOVE3args args = {.object = {fh3(&c.root), names[i]}};
        REMOVE3res res;
        client_ok(&c, NFS_CALL_AS(&c.nfs, XID, REMOVE, &args, &res, &c.err));
        STATUS(res.status, NFS3_OK);
        STATUS(do_lookup(&c, &c.root, names[i], NULL, NULL), NFS3ERR_NOENT);
    }
    STATUS(do_getattr(&c, &one, NULL), NFS3ERR_STALE);
    nfs_world_end(&n);
}

/* A truncation that was sent again must not cut what was written since. */
Test(nfs_replay, of_a_truncation_cuts_nothing_twice)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh file = made_file(&c, &c.root, "file", 0600);
    SETATTR3args set = {.object = fh3(&file), .new_attributes = {.size = {1, {.size = 0}}}};
    SETATTR3res was_set;
    CREATE3args open = {
        .where = {fh3(&c.root), (char[]){"file"}},
        .how = {.mode = UNCHECKED, .createhow3_u = {.obj_attributes = {.size = {1, {.size = 0}}}}}};
    CREATE3res opened;
    for (int which = 0; which < 2; which++)
        for (int turn = 0; turn < 2; turn++) {
            struct fattr3 attr;
            if (which == 0) {
                client_ok(&c, NFS_CALL_AS(&c.nfs, XID, SETATTR, &set, &was_set, &c.err));
                STATUS(was_set.status, NFS3_OK);
            } else {
                client_ok(&c, NFS_CALL_AS(&c.nfs, XID, CREATE, &open, &opened, &c.err));
                STATUS(opened.status, NFS3_OK);
            }
            STATUS(do_getattr(&c, &file, &attr), NFS3_OK);
            cr_assert_eq(attr.size, turn ? 5 : 0, "call %d, turn %d", which, turn);
            c.nfs.xid += 100 * (uint32_t)(2 * which + turn); /* no replay, this one */
            STATUS(do_write(&c, &file, 0, "bytes", 5, UNSTABLE), NFS3_OK);
        }
    nfs_world_end(&n);
}

static enum nfsstat3 write_as(struct client *c, uint32_t xid, struct fh *file, uint64_t offset,
                              char fill, uint32_t len)
{
    char bytes[8192];
    memset(bytes, fill, sizeof bytes);
    WRITE3args args = {.file = fh3(file),
                       .offset = offset,
                       .count = len,
                       .stable = FILE_SYNC,
                       .data = {len, bytes}};
    WRITE3res res;
    client_ok(c, NFS_CALL_AS(&c->nfs, xid, WRITE, &args, &res, &c->err));
    if (res.status == NFS3_OK)
        cr_assert(res.WRITE3res_u.resok.count == len &&
                  res.WRITE3res_u.resok.committed == FILE_SYNC);
    return res.status;
}

Test(nfs_replay, of_a_write_does_not_undo_a_later_one)
{
    enum { LEN = 8192 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    AUTO(client) struct client late;
    client_open(&c, n.port, "/v");
    client_open(&late, n.port, "/v");
    struct fh file = made_file(&c, &c.root, "file", 0600);
    char back[LEN];
    STATUS(write_as(&c, XID, &file, 0, 'a', LEN), NFS3_OK);
    STATUS(write_as(&c, XID + 1, &file, 0, 'b', LEN), NFS3_OK);
    STATUS(write_as(&late, XID, &file, 0, 'a', LEN), NFS3_OK);
    STATUS(do_read(&c, &file, 0, back, LEN, NULL, NULL), NFS3_OK);
    cr_assert(back[0] == 'b' && back[LEN - 1] == 'b');
    /* The number alone is no replay. */
    STATUS(write_as(&c, XID, &file, 0, 'c', LEN), NFS3_OK);
    STATUS(do_read(&c, &file, 0, back, LEN, NULL, NULL), NFS3_OK);
    cr_assert(back[0] == 'c' && back[LEN - 1] == 'c');
    STATUS(write_as(&c, XID, &file, LEN, 'c', LEN), NFS3_OK);
    STATUS(do_read(&c, &file, LEN, back, LEN, NULL, NULL), NFS3_OK);
    cr_assert(back[0] == 'c' && back[LEN - 1] == 'c');
    late.nfs.machine = "another";
    STATUS(write_as(&late, XID, &file, 0, 'a', LEN), NFS3_OK);
    STATUS(do_read(&c, &file, 0, back, LEN, NULL, NULL), NFS3_OK);
    cr_assert_eq(back[0], 'a');
    /* What failed is done when it is sent again. */
    STATUS(write_as(&c, XID + 2, &file, (uint64_t)1 << 46, 'x', LEN), NFS3ERR_FBIG);
    STATUS(write_as(&c, XID + 2, &file, (uint64_t)1 << 46, 'x', LEN), NFS3ERR_FBIG);
    nfs_world_end(&n);
}

/* As of one who sends a block again with the number it had, but for one byte anywhere in it. */
Test(nfs_replay, of_a_write_is_none_when_any_byte_is_another)
{
    enum { LEN = 1 << 20, STEP = 4099 };
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh file = made_file(&c, &c.root, "file", 0600);
    AUTO(mem) char *bytes = own_alloc(LEN, &c.err);
    AUTO(mem) char *back = own_alloc(LEN, &c.err);
    client_ok(&c, bytes && back);
    WRITE3args args = {.file = fh3(&file), .count = LEN, .data = {LEN, bytes}};
    for (uint32_t at = 100; at < LEN; at += LEN / 16 + STEP) {
        WRITE3res res;
        bytes[at] = 'x';
        client_ok(&c, NFS_CALL_AS(&c.nfs, XID, WRITE, &args, &res, &c.err));
        STATUS(res.status, NFS3_OK);
        STATUS(do_read(&c, &file, 0, back, LEN, NULL, NULL), NFS3_OK);
        cr_assert_eq(back[at], 'x', "byte %u was acknowledged and not written", at);
    }
    nfs_world_end(&n);
}
