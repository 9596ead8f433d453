/* Fuzz target: calls of NFS and MOUNT, run to their replies over a tree of a few made-up files.
 * Handles are made right, as no fuzzer guesses their sums; a reply holds no byte nobody wrote. */
#include "drivers/vault/nfs/handle.h"
#include "drivers/vault/nfs/mount.h"
#include "drivers/vault/nfs/nfs3.h"
#include "drivers/vault/nfs/server_int.h"

#include "agent/base/log.h"
#include "agent/base/str.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOLUME = 5, FILES = 8, POISON = 0xa5, POISONED = 12, FILE_BYTES = 9000 };

/* ---- a tree: the root, files, a folder, a link; the rest is not there ---- */

static bool tree_stat(void *tree, uint64_t file, uint32_t generation, struct view_file *ret,
                      struct err *err)
{
    static const uint8_t kinds[FILES] = {INODE_FREE, INODE_DIRECTORY, INODE_FILE,
                                         INODE_FILE, INODE_DIRECTORY, INODE_SYMLINK};
    (void)tree;
    if (file >= FILES || kinds[file] == INODE_FREE || generation > 1)
        return err_set(err, ERR_NOT_FOUND, "no file");
    *ret = (struct view_file){.file = file,
                              .parent = VIEW_ROOT,
                              .generation = 1,
                              .kind = kinds[file],
                              .mode = 0777,
                              .uid = (uint32_t)file,
                              .links = 1,
                              .size = FILE_BYTES,
                              .ctime_us = 5};
    return true;
}

static bool tree_lookup(void *tree, uint64_t folder, const char *name, struct view_file *ret,
                        struct err *err)
{
    return tree_stat(tree, (folder + (uint8_t)name[0]) % FILES, 1, ret, err);
}

static bool tree_list(void *tree, uint64_t folder, uint64_t cookie, view_entry *fn, void *arg,
                      bool *ret_end, struct err *err)
{
    (void)folder;
    *ret_end = true;
    for (uint64_t i = cookie + 1; i < 600; i++) {
        struct view_file file;
        char name[16];
        str_format(name, sizeof name, "name-%llu", (unsigned long long)i);
        if (!tree_stat(tree, 2, 1, &file, err))
            return false;
        if (!fn(arg, i, name, &file)) {
            *ret_end = false;
            break;
        }
    }
    return true;
}

static bool change(uint64_t file, struct view_change *ret, struct err *err)
{
    return tree_stat(NULL, file, 1, &ret->before, err) &&
           tree_stat(NULL, file, 1, &ret->after, err);
}

static bool tree_create(void *tree, const struct view_caller *caller, uint64_t folder,
                        const char *name, uint8_t kind, const char *target,
                        const struct view_attributes *attributes, struct view_file *ret,
                        struct view_change *ret_folder, struct err *err)
{
    (void)caller, (void)attributes;
    assert(strlen(name) <= INODE_NAME_MAX && (kind != INODE_SYMLINK || strlen(target) > 0));
    return change(folder, ret_folder, err) && tree_lookup(tree, folder, name, ret, err);
}

static bool tree_link(void *tree, const struct view_caller *caller, uint64_t file, uint64_t folder,
                      const char *name, struct view_file *ret, struct view_change *ret_folder,
                      struct err *err)
{
    (void)caller;
    assert(strlen(name) <= INODE_NAME_MAX);
    return change(folder, ret_folder, err) && tree_stat(tree, file, 1, ret, err);
}

static bool tree_remove(void *tree, const struct view_caller *caller, uint64_t folder,
                        const char *name, bool folder_wanted, struct view_change *ret_folder,
                        struct err *err)
{
    struct view_file file;
    (void)caller, (void)folder_wanted;
    return change(folder, ret_folder, err) && tree_lookup(tree, folder, name, &file, err);
}

static bool tree_rename(void *tree, const struct view_caller *caller, uint64_t from_folder,
                        const char *from, uint64_t to_folder, const char *to,
                        struct view_change *ret_from, struct view_change *ret_to, struct err *err)
{
    struct view_file file;
    (void)caller;
    assert(strlen(to) <= INODE_NAME_MAX);
    return change(from_folder, ret_from, err) && change(to_folder, ret_to, err) &&
           tree_lookup(tree, from_folder, from, &file, err);
}

static bool tree_set(void *tree, const struct view_caller *caller, uint64_t file,
                     const struct view_attributes *attributes, struct view_change *ret_change,
                     struct err *err)
{
    (void)tree, (void)caller;
    return change(file, ret_change, err) &&
           (!attributes->guard || attributes->guard_ctime_us == 5 ||
            err_set(err, ERR_PRECONDITION, "not that time"));
}

static bool tree_readlink(void *tree, uint64_t file, char *ret, size_t size, struct err *err)
{
    (void)tree, (void)file, (void)err;
    return str_copy(ret, size, "somewhere/else");
}

static ssize_t tree_read(void *tree, uint64_t file, void *to, size_t size, uint64_t offset,
                         struct err *err)
{
    (void)tree, (void)file, (void)err;
    if (offset >= FILE_BYTES)
        return 0;
    size = size < FILE_BYTES - offset ? size : (size_t)(FILE_BYTES - offset);
    if (offset % 2) /* cut meanwhile */
        size /= 2;
    memset(to, 1, size);
    return (ssize_t)size;
}

static uint32_t sum;

static bool tree_write(void *tree, uint64_t file, const void *from, size_t size, uint64_t offset,
                       bool stable, struct view_change *ret_change, struct err *err)
{
    const uint8_t *bytes = from;
    (void)tree, (void)stable;
    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    return change(file, ret_change, err) &&
           (offset < UINT64_MAX / 2 || err_set(err, ERR_LIMIT, "too far"));
}

static bool tree_commit(void *tree, uint64_t file, struct view_change *ret_change, struct err *err)
{
    (void)tree;
    return change(file, ret_change, err);
}

static bool tree_space(void *tree, struct nfsd_space *ret, struct err *err)
{
    (void)tree, (void)err;
    *ret = (struct nfsd_space){4, 3, 2, 1};
    return true;
}

static void tree_close(void *tree) { (void)tree; }

static const struct nfsd_tree_ops tree_ops = {
    tree_stat, tree_lookup,   tree_list, tree_create, tree_link,   tree_remove, tree_rename,
    tree_set,  tree_readlink, tree_read, tree_write,  tree_commit, tree_space,  tree_close};

static bool find(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err)
{
    (void)arg;
    if (name ? strcmp(name, "v") != 0 : id != VOLUME)
        return err_set(err, ERR_NOT_FOUND, "no such export");
    *ret = (struct export){.id = VOLUME, .path = "/v"};
    return export_nets_parse("127.0.0.0/8", &ret->rule, err);
}

static bool open_tree(void *arg, struct export *export, struct err *err)
{
    (void)arg, (void)err;
    export->ops = &tree_ops;
    return true;
}

static bool each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err)
{
    struct export export;
    return find(arg, VOLUME, NULL, &export, err) && fn(to, &export);
}

/* ---- a connection that is none ---- */

static struct nfsd nfsd;
static struct client client;
static struct nfsd_connection connection;
static struct worker worker;
static struct nfsd_program programs[2];
static struct exports *exports;

static void begin(void)
{
    struct err err = {0};
    const struct exports_options options = {.find = find, .open = open_tree, .each = each};
    struct nfs3 *nfs3;
    log_set_level(LOG_LEVEL_ERROR);
    stock_init(&nfsd.stock, 64 << 20);
    connection.nfsd = &nfsd;
    nfsd.options.slow_max = 4;
    worker.slow = true; /* so nothing is handed on */
    connection.client = &client;
    connection.peer = (struct nfsd_peer){.address = {[10] = 0xff, 0xff, 127, 0, 0, 1}, .port = 700};
    worker_init(&worker, &nfsd);
    exports = exports_new(&options, &err);
    assert(exports);
    nfs3 = nfs3_new(&(struct nfs3_options){exports, 77}, &err);
    assert(nfs3);
    programs[0] = nfs3_program(nfs3);
    programs[1] = mount3_program(exports);
}

static void make_right(uint8_t *args, size_t len, size_t at)
{
    static const uint8_t marker[4] = {0, 0, 0, HANDLE_BYTES};
    if (at + 4 + HANDLE_BYTES > len || memcmp(args + at, marker, 4) != 0)
        return;
    const struct handle handle = {VOLUME, args[at + 4] % FILES, 1};
    if (args[at + 5] < 250)
        handle_encode(&handle, args + at + 4);
}

static void check_reply(const struct nfsd_call *call)
{
    size_t run = 0;
    assert(call->results_len <= call->results_max && call->results_len % 4 == 0);
    for (size_t i = 0; i < call->results_len; i++) {
        run = call->results[i] == POISON ? run + 1 : 0;
        assert(run < POISONED);
    }
}

static void run(const struct nfsd_program *program, struct rpc_call *rpc)
{
    struct nfsd_call *call = &worker.call;
    if (rpc->procedure >= program->procedures)
        return;
    memset(worker.few, POISON, sizeof worker.few);
    *call = (struct nfsd_call){.connection = &connection,
                               .peer = &connection.peer,
                               .rpc = *rpc,
                               .results = worker.few + RPC_HEAD_BYTES,
                               .results_max = NFSD_RESULTS_FEW};
    if (program->run(program->arg, call) == RPC_SUCCESS)
        check_reply(call);
    if (worker.large)
        memset(worker.large->bytes, POISON, 65536);
    worker_rest(&worker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX = 20000 };
    struct err err = {0};
    struct rpc_call rpc;
    uint8_t reply[RPC_REFUSAL_MAX];
    size_t reply_len = 0;
    if (!exports)
        begin();
    if (size > MAX)
        return 0;
    AUTO(mem) uint8_t *record = own_alloc(size, &err); /* its own: a byte beyond is seen */
    assert(record);
    memcpy(record, data, size);
    if (rpc_parse(record, size, &rpc, reply, &reply_len) != RPC_IS_CALL)
        return 0;
    make_right(rpc.args, rpc.args_len, 0);
    for (size_t at = 4; rpc.program == 100003 && at < rpc.args_len; at += 4)
        make_right(rpc.args, rpc.args_len, at); /* of LINK and RENAME */
    for (size_t i = 0; i < 2; i++)
        if (rpc.program == programs[i].program)
            run(&programs[i], &rpc);
    return 0;
}
