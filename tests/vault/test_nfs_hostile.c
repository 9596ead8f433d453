/* Calls of each procedure, mutilated at random: every answer is whole, nobody else is touched. */
#include "tests/vault/nfs_world.h"

#include "drivers/vault/nfs/nfs3_args.h"
#include "tests/lib/random.h"

TestSuite(nfs_hostile);

enum { ARGS_MAX = 4096, PROCEDURES = 22 };

union args {
    GETATTR3args getattr;
    SETATTR3args setattr;
    LOOKUP3args lookup;
    ACCESS3args access;
    READLINK3args readlink;
    READ3args read;
    WRITE3args write;
    CREATE3args create;
    MKDIR3args mkdir;
    SYMLINK3args symlink;
    MKNOD3args mknod;
    REMOVE3args remove;
    RMDIR3args rmdir;
    RENAME3args rename;
    LINK3args link;
    READDIR3args readdir;
    READDIRPLUS3args readdirplus;
    FSSTAT3args fsstat;
    FSINFO3args fsinfo;
    PATHCONF3args pathconf;
    COMMIT3args commit;
};
union results {
    GETATTR3res getattr;
    SETATTR3res setattr;
    LOOKUP3res lookup;
    READ3res read;
    WRITE3res write;
    CREATE3res create;
    RENAME3res rename;
    LINK3res link;
    READDIR3res readdir;
    READDIRPLUS3res readdirplus;
    FSSTAT3res fsstat;
    FSINFO3res fsinfo;
    PATHCONF3res pathconf;
};

#define CODEC(NAME) [NFS3_##NAME] = {(zdrproc_t)zdr_##NAME##3args, (zdrproc_t)zdr_##NAME##3res}
static const struct {
    zdrproc_t encode, decode;
} codecs[PROCEDURES] = {CODEC(GETATTR),     CODEC(SETATTR), CODEC(LOOKUP), CODEC(ACCESS),
                        CODEC(READLINK),    CODEC(READ),    CODEC(WRITE),  CODEC(CREATE),
                        CODEC(MKDIR),       CODEC(SYMLINK), CODEC(MKNOD),  CODEC(REMOVE),
                        CODEC(RMDIR),       CODEC(RENAME),  CODEC(LINK),   CODEC(READDIR),
                        CODEC(READDIRPLUS), CODEC(FSSTAT),  CODEC(FSINFO), CODEC(PATHCONF),
                        CODEC(COMMIT)};

static char *some_name(struct rnd *rnd)
{
    static char names[][12] = {"a", "b", "c", "d/e", "..", ".", "", "f", "a b"};
    return names[rnd_below(rnd, sizeof names / sizeof names[0])];
}

static sattr3 some_set(struct rnd *rnd)
{
    sattr3 set = {.mode = {rnd_chance(rnd, 50), {(uint32_t)rnd_next(rnd) & 0777}},
                  .mtime = {rnd_below(rnd, 3), {{(uint32_t)rnd_next(rnd), 5}}}};
    if (rnd_chance(rnd, 10)) {
        set.size.set_it = 1;
        set.size.set_size3_u.size = rnd_below(rnd, 100000);
    }
    return set;
}

/* Right arguments; every procedure begins with a handle. */
static size_t right(struct rnd *rnd, uint32_t procedure, struct fh *one, struct fh *two,
                    uint8_t bytes[ARGS_MAX])
{
    static char data[600];
    union args a;
    memset(&a, 0, sizeof a);
    a.getattr.object = fh3(one);
    switch (procedure) {
    case NFS3_SETATTR:
        a.setattr.new_attributes = some_set(rnd);
        break;
    case NFS3_ACCESS:
        a.access.access = 63;
        break;
    case NFS3_READ:
        a.read.count = (uint32_t)rnd_below(rnd, 20000);
        a.read.offset = rnd_below(rnd, 20000);
        break;
    case NFS3_WRITE:
        a.write.count = a.write.data.data_len = (uint32_t)rnd_below(rnd, sizeof data);
        a.write.data.data_val = data;
        a.write.offset = rnd_below(rnd, 20000);
        a.write.stable = (enum stable_how)rnd_below(rnd, 3);
        break;
    case NFS3_CREATE:
        a.create.where.name = some_name(rnd);
        a.create.how.mode = (enum createmode3)rnd_below(rnd, 3);
        if (a.create.how.mode != EXCLUSIVE)
            a.create.how.createhow3_u.obj_attributes = some_set(rnd);
        break;
    case NFS3_SYMLINK:
        a.symlink.where.name = some_name(rnd);
        a.symlink.symlink.symlink_data = some_name(rnd);
        break;
    case NFS3_MKNOD:
        a.mknod.where.name = some_name(rnd);
        a.mknod.what.type = NF3FIFO;
        break;
    case NFS3_RENAME:
        a.rename.from.name = some_name(rnd);
        a.rename.to = (diropargs3){fh3(two), some_name(rnd)};
        break;
    case NFS3_LINK:
        a.link.link = (diropargs3){fh3(two), some_name(rnd)};
        break;
    case NFS3_READDIR:
        a.readdir.count = 4096;
        break;
    case NFS3_READDIRPLUS:
        a.readdirplus.dircount = a.readdirplus.maxcount = 4096;
        break;
    case NFS3_LOOKUP:
    case NFS3_MKDIR:
    case NFS3_REMOVE:
    case NFS3_RMDIR:
        a.lookup.what.name = some_name(rnd);
        break;
    default:
        break;
    }
    ZDR zdr;
    libnfs_zdrmem_create(&zdr, (char *)bytes, ARGS_MAX, ZDR_ENCODE);
    cr_assert(codecs[procedure].encode(&zdr, &a));
    size_t len = libnfs_zdr_getpos(&zdr);
    libnfs_zdr_destroy(&zdr);
    return len;
}

static size_t mutilate(struct rnd *rnd, uint8_t bytes[ARGS_MAX], size_t len)
{
    static const uint32_t numbers[] = {0,          1,          UINT32_MAX, 0x7fffffff, 0x80000000,
                                       0xfffffff0, 0xfffffffc, 0x100000,   65,         256};
    size_t at = len >= 4 ? rnd_below(rnd, len / 4) * 4 : 0;
    uint32_t number = htobe32(numbers[rnd_below(rnd, sizeof numbers / sizeof numbers[0])]);
    switch (rnd_below(rnd, 4)) {
    case 0:
        return rnd_below(rnd, len + 1);
    case 1:
        memcpy(bytes + at, &number, len >= 4 ? 4 : 0);
        return len;
    case 2:
        bytes[rnd_below(rnd, len + 1)] ^= (uint8_t)(1U << rnd_below(rnd, 8));
        return len;
    default:
        memset(bytes + len, (int)rnd_below(rnd, 256), 64);
        return len + rnd_below(rnd, 64);
    }
}

Test(nfs_hostile, calls_are_answered_whole_or_not_understood)
{
    const int rounds = getenv("EVERCOPY_LONG") ? 200000 : 6000;
    struct rnd rnd = rnd_begin("nfs_hostile");
    struct nfs_world n;
    nfs_world_begin(&n);
    world_ok(&n.w, vault_volume_create(n.w.vault, "bystander", &n.w.err));
    world_write(&n.w, "bystander", NULL, "kept", 'k', 50000, 0);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh fhs[4] = {c.root, made_file(&c, &c.root, "a", 0666)};
    STATUS(do_mkdir(&c, &c.root, "b", 0777, &fhs[2]), NFS3_OK);
    STATUS(do_symlink(&c, &c.root, "c", "a", &fhs[3]), NFS3_OK);
    unsigned understood = 0, garbage = 0;
    for (int i = 0; i < rounds; i++) {
        uint8_t bytes[ARGS_MAX + 64];
        uint32_t procedure = 1 + (uint32_t)rnd_below(&rnd, PROCEDURES - 1);
        size_t len =
            right(&rnd, procedure, &fhs[rnd_below(&rnd, 4)], &fhs[rnd_below(&rnd, 4)], bytes);
        if (rnd_chance(&rnd, 70)) /* in whole words, or the server hangs up */
            len = mutilate(&rnd, bytes, len) & ~(size_t)3;
        struct nfs_caller_answer answer;
        client_ok(&c,
                  nfs_caller_send(&c.nfs, (uint32_t)i, NFS_PROGRAM, procedure, bytes, len, &c.err));
        client_ok(&c, nfs_caller_receive(&c.nfs, &answer, &c.err));
        cr_assert_eq(answer.xid, i);
        if (answer.accepted == 4) {
            garbage++;
            continue;
        }
        cr_assert_eq(answer.accepted, 0, "procedure %u: %u", procedure, answer.accepted);
        union results results;
        ZDR zdr;
        understood++;
        memset(&results, 0, sizeof results);
        libnfs_zdrmem_create(&zdr, (char *)answer.results, (uint32_t)answer.len, ZDR_DECODE);
        bool whole =
            codecs[procedure].decode(&zdr, &results) && libnfs_zdr_getpos(&zdr) == answer.len;
        cr_assert(whole, "procedure %u: results of %zu bytes, decoded to %u", procedure, answer.len,
                  libnfs_zdr_getpos(&zdr));
        libnfs_zdr_destroy(&zdr);
    }
    cr_assert(understood > (unsigned)rounds / 4 && garbage > (unsigned)rounds / 20, "%u, %u",
              understood, garbage);
    world_expect(&n.w, "bystander", NULL, NULL, "kept", 'k', 50000, 0);
    nfs_world_end(&n);
}

/* Exactly as long as it is, on the heap, so that a byte read beyond is seen. */
Test(nfs_hostile, arguments_are_never_read_beyond_their_end)
{
    const int rounds = getenv("EVERCOPY_LONG") ? 3000000 : 60000;
    struct rnd rnd = rnd_begin("nfs_hostile arguments");
    struct err err = {0};
    struct fh fh = {.len = HANDLE_BYTES};
    handle_encode(&(struct handle){3, 5, 7}, (uint8_t *)fh.bytes);
    unsigned taken = 0;
    for (int i = 0; i < rounds; i++) {
        uint8_t bytes[ARGS_MAX + 64];
        struct nfs3_args args;
        uint32_t procedure = 1 + (uint32_t)rnd_below(&rnd, PROCEDURES - 1);
        size_t len = right(&rnd, procedure, &fh, &fh, bytes);
        for (uint64_t times = rnd_below(&rnd, 3); times > 0 && len < ARGS_MAX; times--)
            len = mutilate(&rnd, bytes, len);
        AUTO(mem) uint8_t *exact = own_alloc(len ? len : 1, &err);
        memcpy(exact, bytes, len);
        if (!nfs3_args_decode(procedure, exact, len, &args))
            continue;
        taken++;
        for (int j = 0; j < 2; j++)
            if (args.name[j].text && !args.name[j].wrong)
                cr_assert(strlen(args.name[j].text) <= 255 && !strchr(args.name[j].text, '/'));
        if (args.data)
            cr_assert(args.data >= exact && args.data + args.data_len <= exact + len);
    }
    cr_assert_gt(taken, rounds / 10);
}
