/* What one client wrote or read is in no reply to another, however its calls are bent. */
#include "tests/lib/nfs_raw.h"
#include "tests/lib/random.h"
#include "tests/vault/nfs_world.h"

enum { SECRET_BYTES = 200000, ROUNDS = 400, REPLY_MAX = RPC_RECORD_MAX + 64 };
static const char secret[] = "EVERCOPY-SECRET!";

struct files {
    uint8_t dark[4 + HANDLE_BYTES], plain[4 + HANDLE_BYTES], root[4 + HANDLE_BYTES];
};

static void put_handle(uint8_t *to, uint64_t volume, uint64_t file, uint32_t generation)
{
    const struct handle handle = {volume, file, generation};
    raw_put(to, HANDLE_BYTES);
    handle_encode(&handle, to + 4);
}

static struct files make_files(struct nfs_world *n)
{
    const struct view_attributes all = {.set_mode = true, .mode = 0666};
    struct files files;
    struct view_file dark;
    struct view_file plain;
    struct err *err = &n->w.err;
    AUTO(view) struct view *view = view_open(n->w.vault, "v", NULL, NULL, err);
    uint64_t id = view_volume_id(view);
    char bytes[5001];
    memset(bytes, 'b', sizeof bytes);
    world_ok(&n->w,
             view_create(view, NULL, VIEW_ROOT, "dark", INODE_FILE, NULL, &all, &dark, NULL, err));
    world_ok(&n->w, view_create(view, NULL, VIEW_ROOT, "plain", INODE_FILE, NULL, &all, &plain,
                                NULL, err));
    world_ok(&n->w, view_write(view, plain.file, bytes, sizeof bytes, 0, false, NULL, err));
    struct view_file root;
    world_ok(&n->w, view_stat(view, VIEW_ROOT, 0, &root, err));
    put_handle(files.dark, id, dark.file, dark.generation);
    put_handle(files.plain, id, plain.file, plain.generation);
    put_handle(files.root, id, VIEW_ROOT, root.generation);
    return files;
}

/* Buffers, stacks and heap now hold it. */
static void spread(uint16_t port, const struct files *files)
{
    uint8_t *args = calloc(1, SECRET_BYTES + 100);
    uint8_t *call = malloc(SECRET_BYTES + 200);
    uint8_t *reply = malloc(REPLY_MAX);
    int fd = raw_connect(port, 0);
    memcpy(args, files->dark, sizeof files->dark);
    size_t at = sizeof files->dark;
    raw_put(args + at + 8, SECRET_BYTES);
    raw_put(args + at + 16, SECRET_BYTES);
    for (size_t i = 0; i < SECRET_BYTES; i++)
        args[at + 20 + i] = (uint8_t)secret[i % 16];
    cr_assert(
        raw_send(fd, call, raw_call(call, 1, NFS_PROGRAM, 3, 7, args, at + 20 + SECRET_BYTES)));
    cr_assert_gt(raw_reply(fd, reply, REPLY_MAX), 28);
    cr_assert_eq(raw_get(reply + 24), 0);
    cr_assert(raw_send(fd, call, raw_call(call, 2, NFS_PROGRAM, 3, 6, args, at + 12)));
    cr_assert_gt(raw_reply(fd, reply, REPLY_MAX), SECRET_BYTES);
    cr_assert(memmem(reply, REPLY_MAX, secret, 16), "it is there for who may read it");
    for (uint32_t i = 0; i < 50; i++) /* small ones, too */
        cr_assert(raw_send(fd, call, raw_call(call, i, NFS_PROGRAM, 3, 7, args, at + 20 + 4000)) &&
                  raw_reply(fd, reply, REPLY_MAX));
    close(fd);
    free(args);
    free(call);
    free(reply);
}

static size_t make_call(struct rnd *rnd, uint8_t *call, const struct files *files, uint32_t xid)
{
    static const uint32_t procedures[] = {1, 3, 4, 5, 6, 6, 6, 16, 17, 18, 19, 20, 21};
    uint8_t args[400];
    size_t len = sizeof files->plain;
    uint32_t procedure = procedures[rnd_below(rnd, sizeof procedures / 4)];
    memcpy(args, procedure == 16 || procedure == 17 ? files->root : files->plain, len);
    for (size_t words = rnd_below(rnd, 10); words > 0; words--, len += 4)
        raw_put(args + len, (uint32_t)rnd_below(rnd, rnd_chance(rnd, 70) ? 6000 : UINT32_MAX));
    if (procedure == 6 && rnd_chance(rnd, 70)) { /* a good READ, of any length */
        len = sizeof files->plain;
        memset(args + len, 0, 8);
        raw_put(args + len + 4, (uint32_t)rnd_below(rnd, 5100));
        raw_put(args + len + 8, (uint32_t)rnd_below(rnd, 1 << 20));
        len += 12;
    }
    size_t size = raw_call(call, xid, NFS_PROGRAM, 3, procedure, args, len);
    if (rnd_chance(rnd, 30))
        call[RAW_HEAD + rnd_below(rnd, len)] = (uint8_t)rnd_next(rnd);
    return size;
}

Test(nfs_leak, no_reply_holds_what_another_client_sent_or_read)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    struct rnd rnd = rnd_begin("nfs_leak");
    struct files files = make_files(&n);
    uint8_t *reply = malloc(REPLY_MAX);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint8_t call[600];
        if (i % 40 == 0)
            spread(n.port, &files);
        int fd = raw_connect(n.port, 0);
        for (uint32_t k = 0; k < 5; k++) {
            memset(reply, 0, 64);
            cr_assert(raw_send(fd, call, make_call(&rnd, call, &files, k)));
            size_t len = raw_reply(fd, reply, REPLY_MAX);
            cr_assert_geq(len, 24);
            cr_assert(!memmem(reply, len, secret, 8));
        }
        close(fd);
    }
    free(reply);
    nfs_world_end(&n);
}
