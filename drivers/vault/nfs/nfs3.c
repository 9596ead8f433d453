/* NFS version 3: from a call's bytes to its procedure, and from errors to statuses. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "drivers/vault/nfs/nfs3_int.h"
#include <string.h>

enum { AFTER = NFS3_TELLS_AFTER, CHANGE = NFS3_TELLS_CHANGE };
enum { CHANGES = NFS3_CHANGES, SLOW = NFS3_SLOW, STORE = NFS3_STORE, NAMES = CHANGES | SLOW };
enum { STALE = NFS3ERR_STALE, NOTDIR = NFS3ERR_NOTDIR, ISDIR = NFS3ERR_ISDIR, FBIG = NFS3ERR_FBIG };

/* What a replay of a call must find again is kept by the tree, not here (README.md, 3). */
static const struct nfs3_row rows[NFS3_PROCEDURES] = {
    [NFS3_GETATTR] = {nfs3_getattr, "getattr", 1, 0, {0}, {0}},
    [NFS3_SETATTR] = {nfs3_setattr, "setattr", 1, NAMES, {CHANGE}, {STALE, NFS3ERR_NOT_SYNC, FBIG}},
    [NFS3_LOOKUP] = {nfs3_lookup, "lookup", 1, 0, {AFTER}, {0, NOTDIR}},
    [NFS3_ACCESS] = {nfs3_access, "access", 1, 0, {AFTER}, {0}},
    [NFS3_READLINK] = {nfs3_readlink, "readlink", 1, STORE, {AFTER}, {STALE}},
    [NFS3_READ] = {nfs3_read, "read", 1, STORE, {AFTER}, {STALE, ISDIR}},
    [NFS3_WRITE] = {nfs3_write, "write", 1, CHANGES, {CHANGE}, {STALE, ISDIR, FBIG}},
    [NFS3_CREATE] = {nfs3_create, "create", 1, NAMES, {CHANGE}, {STALE, NOTDIR}},
    [NFS3_MKDIR] = {nfs3_mkdir, "mkdir", 1, NAMES, {CHANGE}, {STALE, NOTDIR}},
    [NFS3_SYMLINK] = {nfs3_symlink, "symlink", 1, NAMES, {CHANGE}, {STALE, NOTDIR}},
    [NFS3_MKNOD] = {nfs3_mknod, "mknod", 1, CHANGES, {CHANGE}, {0}},
    [NFS3_REMOVE] = {nfs3_remove, "remove", 1, NAMES, {CHANGE}, {0, ISDIR}},
    [NFS3_RMDIR] = {nfs3_rmdir, "rmdir", 1, NAMES, {CHANGE}, {0, NOTDIR}},
    [NFS3_RENAME] =
        {nfs3_rename, "rename", 2, NAMES, {CHANGE, CHANGE}, {0, NOTDIR, NFS3ERR_NAMETOOLONG}},
    [NFS3_LINK] = {nfs3_link, "link", 2, NAMES, {AFTER, CHANGE}, {STALE, NOTDIR, NFS3ERR_MLINK}},
    [NFS3_READDIR] = {nfs3_readdir, "readdir", 1, 0, {AFTER}, {STALE, NOTDIR}},
    [NFS3_READDIRPLUS] = {nfs3_readdirplus, "readdirplus", 1, 0, {AFTER}, {STALE, NOTDIR}},
    [NFS3_FSSTAT] = {nfs3_fsstat, "fsstat", 1, SLOW | STORE, {AFTER}, {0}},
    [NFS3_FSINFO] = {nfs3_fsinfo, "fsinfo", 1, 0, {AFTER}, {0}},
    [NFS3_PATHCONF] = {nfs3_pathconf, "pathconf", 1, 0, {AFTER}, {0}},
    [NFS3_COMMIT] = {nfs3_commit, "commit", 1, SLOW, {CHANGE}, {STALE}},
};

/* JUKEBOX: the client asks again after a while, and nobody is told of an error. */
static const enum nfsstat3 statuses[ERR_CODE_COUNT] = {
    [ERR_INVALID] = NFS3ERR_INVAL,       [ERR_NOT_FOUND] = NFS3ERR_NOENT,
    [ERR_EXISTS] = NFS3ERR_EXIST,        [ERR_DENIED] = NFS3ERR_ROFS,
    [ERR_BUSY] = NFS3ERR_JUKEBOX,        [ERR_PRECONDITION] = NFS3ERR_INVAL,
    [ERR_LIMIT] = NFS3ERR_NOSPC,         [ERR_QUOTA] = NFS3ERR_DQUOT,
    [ERR_NO_SPACE] = NFS3ERR_NOSPC,      [ERR_NO_MEMORY] = NFS3ERR_JUKEBOX,
    [ERR_TIMEOUT] = NFS3ERR_JUKEBOX,     [ERR_UNAVAILABLE] = NFS3ERR_JUKEBOX,
    [ERR_CANCELLED] = NFS3ERR_JUKEBOX,   [ERR_CORRUPT] = NFS3ERR_IO,
    [ERR_UNSUPPORTED] = NFS3ERR_NOTSUPP, [ERR_IO] = NFS3ERR_IO,
};

/* One line of a file in ten seconds, and never more than NFS3_TOLD: a client asks as often as it
 * likes. */
static void tell(struct nfs3_call *call, const struct err *err)
{
    enum { PAUSE_US = 10000000 };
    uint64_t now = clock_mono_us();
    const struct handle *of = &call->args.handle[0];
    uint64_t *told = &call->nfs3->told_us[(of->volume + of->file) % NFS3_TOLD];
    uint64_t last = __atomic_load_n(told, __ATOMIC_RELAXED);
    if (last && now - last < PAUSE_US)
        return;
    if (!__atomic_compare_exchange_n(told, &last, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    log_warning("an NFS call failed call=%s client=%s export=%s file=%llu code=%s error=%s",
                call->row->name, call->rpc->peer->text, call->of[0] ? call->of[0]->path : "",
                (unsigned long long)call->args.handle[0].file, err_code_name(err->code), err->text);
}

enum nfsstat3 nfs3_failed(struct nfs3_call *call, const struct err *err)
{
    enum err_code code = err->code < ERR_CODE_COUNT ? err->code : ERR_INTERNAL;
    static const enum err_code own[] = {ERR_NOT_FOUND, ERR_PRECONDITION, ERR_LIMIT};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (code == own[i] && call->row->status[i])
            return call->row->status[i];
    enum nfsstat3 status = statuses[code] ? statuses[code] : NFS3ERR_SERVERFAULT;
    bool expected = status != NFS3ERR_IO && status != NFS3ERR_SERVERFAULT &&
                    status != NFS3ERR_JUKEBOX && code != ERR_NO_SPACE;
    if (!expected)
        tell(call, err);
    return status;
}

/* ACCES, not STALE, for a client that may not: a mount outlives a mistake in the configuration. */
static enum nfsstat3 enter(struct nfs3_call *call, unsigned i)
{
    struct err err = {0};
    const struct handle *handle = &call->args.handle[i];
    if (!call->args.known[i])
        return NFS3ERR_BADHANDLE;
    const struct export *export =
        exports_get(call->nfs3->exports, handle->volume, call->rpc->peer, &err);
    if (!export && err.code == ERR_NOT_FOUND)
        return NFS3ERR_STALE;
    if (!export && err.code == ERR_DENIED)
        return NFS3ERR_ACCES;
    if (!export)
        return nfs3_failed(call, &err);
    call->of[i] = export;
    if (!export->ops->stat(export->tree, handle->file, handle->generation, &call->file[i], &err))
        return err.code == ERR_NOT_FOUND ? NFS3ERR_STALE : nfs3_failed(call, &err);
    if (call->file[i].generation != handle->generation)
        return NFS3ERR_STALE; /* 0 asks for any */
    call->change[i].after = call->file[i];
    return NFS3_OK;
}

enum nfsstat3 nfs3_folder(struct nfs3_call *call, unsigned which, unsigned wanted)
{
    const struct view_file *file = &call->file[which];
    if (file->kind != INODE_DIRECTORY)
        return NFS3ERR_NOTDIR;
    return permit_mode(&call->who, file, wanted) ? NFS3_OK : NFS3ERR_ACCES;
}

/* The address and the machine's name: a client keeps both when it connects again. */
struct view_caller nfs3_caller(const struct nfs3_call *call)
{
    const uint64_t prime = 0x100000001b3;
    const struct rpc_call *rpc = &call->rpc->rpc;
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < sizeof call->rpc->peer->address; i++)
        sum = (sum ^ call->rpc->peer->address[i]) * prime;
    for (size_t i = 0; rpc->cred.machine && i < rpc->cred.machine_len; i++)
        sum = (sum ^ (uint8_t)rpc->cred.machine[i]) * prime;
    return (struct view_caller){
        .client = sum ? sum : 1, .xid = rpc->xid, .uid = call->who.uid, .gid = call->who.gid};
}

bool nfs3_in_group(const struct who *who, uint32_t gid)
{
    bool is = who->root || who->gid == gid;
    for (uint32_t i = 0; !is && i < who->group_count; i++)
        is = who->groups[i] == gid;
    return is;
}

uint16_t nfs3_without_ids(uint16_t mode)
{
    enum { SET_UID_BIT = 04000, SET_GID_BIT = 02000, GROUP_EXECUTE = 00010 };
    return (uint16_t)(mode & ~(SET_UID_BIT | (mode & GROUP_EXECUTE ? SET_GID_BIT : 0)));
}

/* A copy of one that was called off may still come, over a connection its client has given up. */
static enum nfsstat3 change_names(struct nfs3_call *call)
{
    struct nfs3_seen *seen = call->nfs3->seen;
    const struct rpc_call *rpc = &call->rpc->rpc;
    struct view_caller caller = nfs3_caller(call);
    uint64_t key = nfs3_seen_key_of(seen, &caller, rpc->procedure, rpc->args, rpc->args_len);
    if (nfs3_seen_begin(seen, key) != NFS3_SEEN_NOT)
        return NFS3ERR_JUKEBOX;
    call->rpc->late_changing = false; /* not before: the export may have been settled */
    enum nfsstat3 status = call->row->run(call);
    bool late = nfsd_call_was_late(call->rpc);
    nfs3_seen_end(seen, key, late ? NFS3_SEEN_CALLED_OFF : NFS3_SEEN_NOT);
    return status;
}

static enum nfsstat3 run(struct nfs3_call *call)
{
    const struct nfs3_row *row = call->row;
    enum nfsstat3 status = NFS3_OK;
    call->who.uid = call->who.gid = 0;
    if (!nfsd_call_may_wait(call->rpc, row->flags & STORE ? NFSD_HALF : NFSD_MOST))
        return NFS3ERR_JUKEBOX;
    for (unsigned i = 0; i < row->handles && status == NFS3_OK; i++)
        status = enter(call, i);
    if (status == NFS3_OK && (row->flags & CHANGES) && call->of[0]->rule.read_only)
        status = NFS3ERR_ROFS;
    if (status != NFS3_OK)
        return status;
    call->who = permit_who(&call->of[0]->rule, &call->rpc->rpc.cred);
    if (row->flags & SLOW)
        nfsd_call_is_slow(call->rpc);
    call->at = call->rpc->results + 4;
    return (row->flags & NAMES) == NAMES ? change_names(call) : row->run(call);
}

/* JUKEBOX, and no attributes: also of a WRITE that has begun, for it may be done twice. */
static void may_be_late(const struct nfs3_row *row, struct nfsd_call *rpc)
{
    static const uint8_t words[] = {
        [NFS3_TELLS_NOTHING] = 0, [NFS3_TELLS_AFTER] = 1, [NFS3_TELLS_CHANGE] = 2};
    uint8_t *at = nfs3_put_u32(rpc->late, NFS3ERR_JUKEBOX);
    for (int left = words[row->tells[0]] + words[row->tells[1]]; left > 0; left--)
        at = nfs3_put_u32(at, 0);
    rpc->late_len = (size_t)(at - rpc->late);
    rpc->late_changing = true;
}

static enum rpc_accept nfs3_run(void *arg, struct nfsd_call *rpc)
{
    struct nfs3_call call = {.nfs3 = arg, .rpc = rpc};
    uint32_t procedure = rpc->rpc.procedure;
    if (!nfs3_args_decode(procedure, rpc->rpc.args, rpc->rpc.args_len, &call.args))
        return RPC_GARBAGE_ARGS;
    rpc->results_len = 0;
    if (procedure == NFS3_NULL)
        return RPC_SUCCESS;
    call.row = &rows[procedure];
    may_be_late(call.row, rpc);
    enum nfsstat3 status = run(&call);
    nfs3_put_u32(rpc->results, status);
    if (status != NFS3_OK) {
        call.at = rpc->results + 4;
        for (unsigned i = 0; i < 2; i++) {
            if (call.row->tells[i] == NFS3_TELLS_CHANGE)
                call.at = nfs3_put_change(call.at, call.of[i], &call.change[i]);
            else if (call.row->tells[i] == NFS3_TELLS_AFTER)
                call.at = nfs3_put_after(call.at, call.of[i], &call.file[i]);
        }
    }
    rpc->results_len = (size_t)(call.at - rpc->results);
    for (unsigned i = 0; i < 2; i++)
        if (call.of[i])
            export_put(call.nfs3->exports, call.of[i]);
    return RPC_SUCCESS;
}

static void nfs3_gone(void *arg, const struct nfsd_peer *peer)
{
    struct nfs3 *nfs3 = arg;
    exports_peer_gone(nfs3->exports, peer);
}

struct nfs3 *nfs3_new(const struct nfs3_options *options, struct err *err)
{
    AUTO(nfs3) struct nfs3 *nfs3 = own_alloc(sizeof *nfs3, err);
    if (!nfs3 || !(nfs3->seen = nfs3_seen_new(err)))
        return NULL;
    nfs3->exports = options->exports;
    nfs3->verifier = options->verifier;
    return TAKE(nfs3);
}

void nfs3_free(struct nfs3 *nfs3)
{
    if (nfs3)
        nfs3_seen_free(nfs3->seen);
    own_free(nfs3);
}

struct nfsd_program nfs3_program(struct nfs3 *nfs3)
{
    return (struct nfsd_program){.program = NFS_PROGRAM,
                                 .version_low = NFS_V3,
                                 .version_high = NFS_V3,
                                 .procedures = NFS3_PROCEDURES,
                                 .run = nfs3_run,
                                 .arg = nfs3,
                                 .gone = nfs3_gone};
}
