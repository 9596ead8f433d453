/* The whole NFS room over a vault, for the thread sanitizer: clients that share a volume and its
 * clones, names and bytes changed at once, snapshots, clones that come and go with their exports.
 */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/nfs/mount.h"
#include "drivers/vault/nfs/nfs3.h"
#include "tests/lib/memory_io.h"
#include "tests/lib/nfs_caller.h"
#include "tests/lib/random.h"
#include "tests/lib/vault_exports.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 4, CLONES = 6, BYTES = 20000 };

static uint16_t port;
static atomic_bool over;
static atomic_ulong calls;

static void fine(bool ok, const struct err *err)
{
    if (ok)
        return;
    fprintf(stderr, "stress_nfs3: %s\n", err->text);
    abort();
}

/* Whatever is answered: others change the same names. */
static void any_call(struct nfs_caller *c, struct rnd *rnd, nfs_fh3 root, struct err *err)
{
    static char names[][4] = {"a", "b", "c", "d"};
    static char bytes[BYTES];
    char *one = names[rnd_below(rnd, 4)], *two = names[rnd_below(rnd, 4)];
    LOOKUP3args lookup = {.what = {root, one}};
    LOOKUP3res found;
    CREATE3args create = {.where = {root, one}};
    CREATE3res created;
    RENAME3args rename = {.from = {root, one}, .to = {root, two}};
    RENAME3res renamed;
    REMOVE3args remove = {.object = {root, one}};
    REMOVE3res removed;
    READDIRPLUS3args list = {.dir = root, .dircount = 4096, .maxcount = 4096};
    READDIRPLUS3res listed;
    char handle[64];
    fine(NFS_CALL(c, LOOKUP, &lookup, &found, err), err);
    atomic_fetch_add(&calls, 1);
    nfs_fh3 file = found.LOOKUP3res_u.resok.object;
    if (found.status != NFS3_OK) {
        fine(NFS_CALL(c, CREATE, &create, &created, err), err);
        return;
    }
    memcpy(handle, file.data.data_val, file.data.data_len);
    file.data.data_val = handle;
    WRITE3args write = {.file = file,
                        .offset = rnd_below(rnd, BYTES),
                        .count = BYTES,
                        .stable = (enum stable_how)rnd_below(rnd, 3),
                        .data = {BYTES, bytes}};
    WRITE3res wrote;
    READ3args read = {.file = file, .offset = rnd_below(rnd, BYTES), .count = BYTES};
    READ3res got;
    COMMIT3args commit = {.file = file};
    COMMIT3res committed;
    LINK3args link = {.file = file, .link = {root, two}};
    LINK3res linked;
    SETATTR3args set = {.object = file, .new_attributes = {.size = {1, {rnd_below(rnd, BYTES)}}}};
    SETATTR3res was_set;
    switch (rnd_below(rnd, 8)) {
    case 0:
        fine(NFS_CALL(c, RENAME, &rename, &renamed, err), err);
        break;
    case 1:
        fine(NFS_CALL(c, REMOVE, &remove, &removed, err), err);
        break;
    case 2:
        fine(NFS_CALL(c, LINK, &link, &linked, err), err);
        break;
    case 3:
        fine(NFS_CALL(c, SETATTR, &set, &was_set, err), err);
        break;
    case 4:
        fine(NFS_CALL(c, COMMIT, &commit, &committed, err), err);
        break;
    case 5:
        fine(NFS_CALL(c, READDIRPLUS, &list, &listed, err), err);
        break;
    case 6:
        fine(NFS_CALL(c, READ, &read, &got, err), err);
        break;
    default:
        fine(NFS_CALL(c, WRITE, &write, &wrote, err), err);
        break;
    }
}

static void *client(void *arg)
{
    struct err err = {0};
    struct rnd rnd = {(uint64_t)(uintptr_t)arg};
    while (!atomic_load(&over)) {
        AUTO(nfs_caller) struct nfs_caller c = {0};
        uint8_t handle[64];
        size_t len = 0;
        char path[16];
        uint64_t which = rnd_below(&rnd, CLONES + 1);
        struct err missing = {0};
        str_format(path, sizeof path, which == CLONES ? "/v" : "/v/c%d", (int)which);
        fine(nfs_caller_open(&c, NULL, port, &err), &err);
        c.uid = (uint32_t)rnd_below(&rnd, 2);
        if (!nfs_caller_mount(&c, path, handle, &len, &missing))
            continue;
        nfs_fh3 root = {.data = {(unsigned)len, (char *)handle}};
        for (uint64_t i = rnd_below(&rnd, 40); i > 0; i--)
            any_call(&c, &rnd, root, &err);
    }
    return NULL;
}

static void clone_again(struct vault *vault, struct exports *exports, int round)
{
    struct err err = {0};
    struct vault_volume_info info;
    char name[16], full[24];
    const char *volume = "v";
    str_format(name, sizeof name, "c%d", round % CLONES);
    str_format(full, sizeof full, "v/%s", name);
    if (vault_volume_info(vault, full, &info, &err)) {
        fine(exports_revoke(exports, info.id, true, &err), &err);
        fine(vault_clone_drop(vault, "v", name, &err), &err);
        exports_restore(exports, info.id);
        fine(vault_snapshot_drop(vault, "v", name, &err), &err);
    }
    fine(vault_snapshot_create(vault, &volume, 1, name, &err), &err);
    fine(vault_clone_create(vault, "v", name, name, NULL, 0, &err), &err);
    fine(exports_reload(exports, &err), &err);
}

int main(void)
{
    enum { ROUNDS = 60 };
    static const char *const listen[] = {"127.0.0.1"};
    struct err err = {0};
    char box[] = "/tmp/evercopy-stress-nfs3-XXXXXX";
    struct memory_io *memory = NULL;
    log_set_level(LOG_LEVEL_ERROR);
    if (!mkdtemp(box))
        abort();
    struct io *io = memory_io_open(0, &memory, &err);
    fine(io != NULL, &err);
    struct vault_options options = {.reserve_bytes = 4096, .layer_bytes = 4 << 20};
    struct vault *vault = vault_open(box, io, &options, &err);
    fine(vault != NULL, &err);
    struct vault_exports of = {.vault = vault, .rule = {.squash = EXPORT_SQUASH_NONE}};
    fine(export_nets_parse("127.0.0.1", &of.rule, &err) && vault_volume_create(vault, "v", &err),
         &err);
    struct exports_options exported = vault_exports(&of);
    struct exports *exports = exports_new(&exported, &err);
    fine(exports != NULL, &err);
    struct nfs3 *nfs3 = nfs3_new(&(struct nfs3_options){exports, vault_verifier(vault)}, &err);
    fine(nfs3 != NULL, &err);
    struct nfsd_program programs[] = {nfs3_program(nfs3), mount3_program(exports)};
    struct nfsd_options serving = {
        .listen = listen,
        .listen_count = 1,
        .programs = programs,
        .program_count = 2,
        .late_ms = 4, /* some are told to come again while they wait for each other */
    };
    struct nfsd *nfsd = nfsd_start(&serving, &err);
    fine(nfsd != NULL, &err);
    port = nfsd_port(nfsd);
    pthread_t threads[CLIENTS];
    for (uintptr_t i = 0; i < CLIENTS; i++)
        fine(pthread_create(&threads[i], NULL, client, (void *)(i + 1)) == 0, &err);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned long goal = atomic_load(&calls) + 20;
        while (atomic_load(&calls) < goal)
            sched_yield();
        clone_again(vault, exports, round);
    }
    atomic_store(&over, true);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    nfsd_stop(nfsd);
    nfs3_free(nfs3);
    exports_free(exports);
    vault_close(vault);
    io_close(io);
    fine(sys_remove_tree(box, &err), &err);
    printf("stress_nfs3: %lu calls, clean\n", atomic_load(&calls));
    return 0;
}
