/* MOUNT version 3: paths to handles, and the list of who has mounted what. */
#include "drivers/vault/nfs/mount.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "drivers/vault/nfs/handle.h"
#include <endian.h>
#include <stdatomic.h>
#include <string.h>

enum { PROGRAM = 100005, VERSION = 3, PATH_BYTES = 1024, NAME_BYTES = 255, DEPTH_MAX = 64 };
enum {
    MNT_OK = 0,
    MNT_NOENT = 2,
    MNT_IO = 5,
    MNT_ACCES = 13,
    MNT_NOTDIR = 20,
    MNT_INVAL = 22,
    MNT_NAMETOOLONG = 63,
    MNT_SERVERFAULT = 10006
};
/* AUTH_NONE is not listed: Linux reads it as "any flavour will do". */
enum { AUTH_SYS = 1 };

/* ---- bytes ---- */

/* Results under construction; what does not fit is left out, whole. */
struct reply {
    struct nfsd_call *call;
    bool full;
};

static bool room_for(struct reply *reply, size_t size)
{
    struct nfsd_call *call = reply->call;
    struct err err = {0};
    size_t need = call->results_len + size + 4; /* the end of the list always fits */
    if (need > call->results_max && !reply->full) {
        size_t wish = 2 * need < RPC_RECORD_MAX ? 2 * need : RPC_RECORD_MAX;
        reply->full = need > RPC_RECORD_MAX || !nfsd_results_room(call, wish, &err);
    }
    return !reply->full;
}

static void put_u32(struct reply *reply, uint32_t n)
{
    uint32_t wire = htobe32(n);
    memcpy(reply->call->results + reply->call->results_len, &wire, sizeof wire);
    reply->call->results_len += sizeof wire;
}

static size_t padded(size_t len) { return (len + 3) & ~(size_t)3; }

static void put_bytes(struct reply *reply, const void *bytes, size_t len)
{
    uint8_t *to = reply->call->results + reply->call->results_len + 4;
    put_u32(reply, (uint32_t)len);
    memset(to, 0, padded(len));
    memcpy(to, bytes, len);
    reply->call->results_len += padded(len);
}

static bool take_path(const struct nfsd_call *call, char ret[PATH_BYTES + 1])
{
    uint32_t len;
    if (call->rpc.args_len < sizeof len)
        return false;
    memcpy(&len, call->rpc.args, sizeof len);
    len = be32toh(len);
    if (len > PATH_BYTES || padded(len) > call->rpc.args_len - sizeof len)
        return false;
    memcpy(ret, call->rpc.args + sizeof len, len);
    ret[len] = '\0';
    return true;
}

/* ---- paths ---- */

/* A path's names, in a copy of it. */
struct names {
    char text[PATH_BYTES + 1];
    const char *at[DEPTH_MAX];
    size_t count;
};

static bool split(const char *path, struct names *ret, struct err *err)
{
    IGNORE(!str_copy(ret->text, sizeof ret->text, path)); /* as long as it may be */
    if (path[0] != '/')
        return err_set(err, ERR_NOT_FOUND, "'%.100s' does not begin with '/'", path);
    for (char *cursor = ret->text; cursor;) {
        const char *name = str_field(&cursor, '/');
        if (!*name)
            continue;
        if (str_equal(name, ".") || str_equal(name, ".."))
            return err_set(err, ERR_INVALID, "'%.100s' holds '%s'", path, name);
        if (strlen(name) > NAME_BYTES || ret->count == DEPTH_MAX)
            return err_set(err, ERR_LIMIT, "'%.100s' is too long", path);
        ret->at[ret->count++] = name;
    }
    return ret->count > 0 || err_set(err, ERR_NOT_FOUND, "no export '%.100s'", path);
}

/* A clone's name hides a folder of that name in its landing volume. */
static const struct export *export_of(struct exports *exports, const struct names *names,
                                      const struct nfsd_peer *peer, size_t *ret_used,
                                      struct err *err)
{
    char path[EXPORT_PATH_MAX];
    struct err e = {0};
    for (size_t used = names->count > 1 ? 2 : 1; used > 0; used--) {
        e = (struct err){0};
        *ret_used = used;
        if (!str_format(path, sizeof path, "/%s%s%s", names->at[0], used > 1 ? "/" : "",
                        used > 1 ? names->at[1] : "")) {
            err_set(&e, ERR_NOT_FOUND, "no export has so long a name");
            continue;
        }
        const struct export *export = exports_get_path(exports, path, peer, &e);
        if (export)
            return export;
        if (e.code != ERR_NOT_FOUND)
            break;
    }
    *err = e;
    return NULL;
}

static bool walk(const struct export *export, const struct names *names, size_t used,
                 struct handle *ret, struct err *err)
{
    struct view_file file;
    if (!export->ops->stat(export->tree, VIEW_ROOT, 0, &file, err))
        return false;
    for (size_t i = used; i < names->count; i++) {
        struct view_file next;
        if (!export->ops->lookup(export->tree, file.file, names->at[i], &next, err))
            return false;
        if (next.kind != INODE_DIRECTORY)
            return err_set(err, ERR_PRECONDITION, "'%.100s' is no folder", names->at[i]);
        file = next;
    }
    *ret = (struct handle){export->id, file.file, file.generation};
    return true;
}

/* ---- answers ---- */

static uint32_t status_of(enum err_code code)
{
    switch (code) {
    case ERR_NOT_FOUND:
        return MNT_NOENT;
    case ERR_DENIED:
        return MNT_ACCES;
    case ERR_PRECONDITION:
        return MNT_NOTDIR;
    case ERR_INVALID:
        return MNT_INVAL;
    case ERR_LIMIT:
        return MNT_NAMETOOLONG;
    case ERR_IO:
    case ERR_CORRUPT:
        return MNT_IO;
    default:
        return MNT_SERVERFAULT;
    }
}

/* One line a second at most: clients ask as often as they like. */
static bool may_say(atomic_ullong *last_s)
{
    unsigned long long now = clock_mono_ms() / 1000 + 1, last = atomic_load(last_s);
    return last != now && atomic_compare_exchange_strong(last_s, &last, now);
}

static void log_refused(const struct nfsd_peer *peer, const char *path, const char *why)
{
    static atomic_ullong last_s;
    if (may_say(&last_s))
        log_warning("mount refused client=%s port=%u path='%.200s': %s", peer->text, peer->port,
                    path, why);
}

/* Of who mounts and unmounts all day long, too; exports_users knows the rest. */
static void log_mount(const char *what, const struct nfsd_peer *peer, const char *path)
{
    static atomic_ullong last_s;
    if (may_say(&last_s))
        log_info("%s client=%s path='%.200s'", what, peer->text, path);
}

static void answer_mount(struct exports *exports, struct nfsd_call *call, const char *path)
{
    struct reply reply = {call, false};
    struct names names = {.count = 0};
    struct handle handle;
    struct err err = {0};
    size_t used = 0;
    const struct export *export =
        split(path, &names, &err) ? export_of(exports, &names, call->peer, &used, &err) : NULL;
    if (export && walk(export, &names, used, &handle, &err)) {
        uint8_t bytes[HANDLE_BYTES];
        handle_encode(&handle, bytes);
        put_u32(&reply, MNT_OK);
        put_bytes(&reply, bytes, sizeof bytes);
        put_u32(&reply, 1);
        put_u32(&reply, AUTH_SYS);
        exports_mounted(exports, export, call->peer, true);
        log_mount("mounted", call->peer, path);
    } else {
        put_u32(&reply, status_of(err.code));
        log_refused(call->peer, path, err.text);
    }
    export_put(exports, export);
}

static enum rpc_accept run_mount(struct exports *exports, struct nfsd_call *call)
{
    char path[PATH_BYTES + 1];
    if (!take_path(call, path))
        return RPC_GARBAGE_ARGS;
    if (!exports_knows(exports, call->peer)) {
        struct reply reply = {call, false};
        put_u32(&reply, MNT_ACCES); /* whatever it asks for */
        log_refused(call->peer, path, "nothing is exported to it");
        return RPC_SUCCESS;
    }
    if (!nfsd_call_may_wait(call, NFSD_MOST))
        return RPC_SILENCE;  /* an error would end the mount; this way it is tried again */
    nfsd_call_is_slow(call); /* a tree may have to be opened */
    answer_mount(exports, call, path);
    return RPC_SUCCESS;
}

static enum rpc_accept run_unmount(struct exports *exports, struct nfsd_call *call)
{
    char path[PATH_BYTES + 1];
    struct names names = {.count = 0};
    struct err err = {0};
    size_t used = 0;
    if (!take_path(call, path))
        return RPC_GARBAGE_ARGS;
    if (!exports_knows(exports, call->peer))
        return RPC_SUCCESS;
    if (!nfsd_call_may_wait(call, NFSD_MOST))
        return RPC_SILENCE;
    nfsd_call_is_slow(call);
    const struct export *export =
        split(path, &names, &err) ? export_of(exports, &names, call->peer, &used, &err) : NULL;
    if (export) {
        exports_mounted(exports, export, call->peer, false);
        log_mount("unmounted", call->peer, path);
    }
    export_put(exports, export);
    return RPC_SUCCESS;
}

/* Its own mounts only: whose else they are is nobody's business. */
static enum rpc_accept run_dump(struct exports *exports, struct nfsd_call *call)
{
    struct reply reply = {call, false};
    struct err err = {0};
    size_t count = 0;
    AUTO(mem) struct export_user *users = exports_users(exports, 0, call->peer, &count, &err);
    for (size_t i = 0; users && i < count; i++) {
        const struct export_user *user = &users[i];
        if (!user->mounted)
            continue;
        size_t client = strlen(user->client), path = strlen(user->path);
        if (!room_for(&reply, 12 + padded(client) + padded(path)))
            break;
        put_u32(&reply, 1);
        put_bytes(&reply, user->client, client);
        put_bytes(&reply, user->path, path);
    }
    put_u32(&reply, 0);
    return users ? RPC_SUCCESS : RPC_SYSTEM_ERR;
}

struct listed {
    struct reply reply;
    const struct nfsd_peer *peer;
};

/* With the network that lets the asker in; the others are not told. */
static bool put_export(void *to, const struct export *export)
{
    struct listed *listed = to;
    char net_text[EXPORT_NET_TEXT];
    struct nfsd_peer any_port = *listed->peer;
    any_port.port = 0;
    const struct export_net *net = export_admits(&export->rule, &any_port);
    size_t path = strlen(export->path);
    if (!net)
        return true;
    export_net_text(net, net_text);
    if (!room_for(&listed->reply, 20 + padded(path) + padded(strlen(net_text))))
        return false;
    put_u32(&listed->reply, 1);
    put_bytes(&listed->reply, export->path, path);
    put_u32(&listed->reply, 1);
    put_bytes(&listed->reply, net_text, strlen(net_text));
    put_u32(&listed->reply, 0);
    return true;
}

static enum rpc_accept run_export(struct exports *exports, struct nfsd_call *call)
{
    struct listed listed = {{call, false}, call->peer};
    struct err err = {0};
    bool stranger = !exports_knows(exports, call->peer);
    if (!stranger && !nfsd_call_may_wait(call, NFSD_MOST))
        return RPC_SILENCE;
    if (!stranger)
        nfsd_call_is_slow(call);
    bool ok = stranger || exports_each(exports, call->peer, put_export, &listed, &err);
    put_u32(&listed.reply, 0);
    return ok ? RPC_SUCCESS : RPC_SYSTEM_ERR;
}

static enum rpc_accept run_unmount_all(struct exports *exports, struct nfsd_call *call)
{
    exports_unmounted_all(exports, call->peer);
    return RPC_SUCCESS;
}

static enum rpc_accept run(void *arg, struct nfsd_call *call)
{
    static enum rpc_accept (*const procedures[])(struct exports *, struct nfsd_call *) = {
        NULL, run_mount, run_dump, run_unmount, run_unmount_all, run_export,
    };
    uint32_t procedure = call->rpc.procedure;
    if (procedure == 0)
        return RPC_SUCCESS;
    return procedure < sizeof procedures / sizeof *procedures ? procedures[procedure](arg, call)
                                                              : RPC_PROC_UNAVAIL;
}

static void gone(void *arg, const struct nfsd_peer *peer) { exports_peer_gone(arg, peer); }

struct nfsd_program mount3_program(struct exports *exports)
{
    enum { PROCEDURES = 6 };
    return (struct nfsd_program){.program = PROGRAM,
                                 .version_low = VERSION,
                                 .version_high = VERSION,
                                 .procedures = PROCEDURES,
                                 .run = run,
                                 .arg = exports,
                                 .gone = gone};
}
