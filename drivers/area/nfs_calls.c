/* NFSv3 calls: encoded and decoded by libnfs, guarded by us. */
#include "drivers/area/nfs_calls.h"

#include "agent/base/str.h"
#include "drivers/area/nfs_calls_int.h"
#include "drivers/area/nfs_guard.h"
#include <arpa/inet.h>
#include <string.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-portmap.h>

enum {
    CALL_BYTES = 2048, /* a path of 1024 and the header fit */
    VERIFIER_MAX = 400,
    PAGE_BYTES = 64 << 10,
    READ_HEAD_MAX = 4096, /* of an answer around its data */
    SHORT_ANSWER_MAX = NFS_SCRATCH_BYTES + 512,
    SECOND_US = 1000000,
    WHO_BYTES = 20, /* of an AUTH_SYS identity, besides the machine's name */
};

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    uint32_t wire = htonl(value);
    memcpy(at, &wire, sizeof wire);
    return at + sizeof wire;
}

static enum nfs_outcome outcome_of(const struct err *err)
{
    bool again = err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT;
    return again ? NFS_BROKEN : NFS_FAILED;
}

static enum nfs_outcome failed(struct nfs_link *link, struct err *err, const char *what)
{
    nfs_link_lied(link, err, "%s", what);
    return NFS_FAILED;
}

static enum nfs_outcome send_call(const struct nfs_asking *ask, const struct nfs_call *call,
                                  uint32_t *ret_xid, struct err *err)
{
    static const char machine[8] = "evercopy";
    uint8_t bytes[CALL_BYTES];
    uint32_t xid = nfs_link_next_xid(ask->link);
    const uint32_t head[] = {xid,
                             CALL,
                             RPC_MSG_VERSION,
                             call->program,
                             call->version,
                             call->procedure,
                             AUTH_UNIX,
                             WHO_BYTES + sizeof machine + sizeof(uint32_t) * ask->group_count,
                             0,
                             sizeof machine};
    uint8_t *at = bytes;
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        at = put_u32(at, head[i]);
    memcpy(at, machine, sizeof machine);
    at = put_u32(at + sizeof machine, ask->uid);
    at = put_u32(at, ask->gid);
    at = put_u32(at, ask->group_count);
    for (unsigned i = 0; i < ask->group_count; i++)
        at = put_u32(at, ask->groups[i]);
    at = put_u32(at, 0); /* verifier: none, empty */
    at = put_u32(at, 0);
    size_t len = (size_t)(at - bytes);
    if (call->encode) {
        ZDR zdr;
        libnfs_zdrmem_create(&zdr, (caddr_t)at, (uint32_t)(sizeof bytes - 4 - len), ZDR_ENCODE);
        bool ok = call->encode(&zdr, call->args);
        len += libnfs_zdr_getpos(&zdr);
        libnfs_zdr_destroy(&zdr);
        if (!ok) {
            err_set(err, ERR_LIMIT, "a name or path is too long for a call");
            return NFS_FAILED;
        }
    }
    if (call->data)
        len = (size_t)(put_u32(bytes + len, (uint32_t)call->data_len) - bytes);
    if (!nfs_link_send(ask->link, bytes, len, call->data, call->data_len, ask->patience, err))
        return outcome_of(err);
    *ret_xid = xid;
    return NFS_DONE;
}

/* Denied: 0 is a version's mismatch, 1 an authentication error with its number. */
static enum nfs_outcome denied(const struct nfs_asking *ask, struct err *err)
{
    size_t len;
    uint32_t why;
    if (!nfs_link_take_u32(ask->link, &why, ask->patience, err) ||
        !nfs_link_take_rest(ask->link, &len, ask->patience, err))
        return outcome_of(err);
    if (why == 1)
        err_set(err, ERR_DENIED, "it does not accept who asks (uid and gid of the URL)");
    else
        err_set(err, ERR_UNSUPPORTED, "it speaks another version of RPC");
    return NFS_FAILED;
}

static enum nfs_outcome not_accepted(const struct nfs_asking *ask, uint32_t why, struct err *err)
{
    static const char *const texts[] = {
        "", "it does not serve the program", "it does not serve version 3 of the program",
        "it does not know the procedure", "it did not understand the call"};
    size_t len;
    if (!nfs_link_take_rest(ask->link, &len, ask->patience, err))
        return outcome_of(err);
    if (why > 5)
        return failed(ask->link, err, "its answer's status is not one of RPC's");
    if (why == 5) {
        err_set(err, ERR_UNAVAILABLE, "it has an error of its own (SYSTEM_ERR)");
        return NFS_LATER;
    }
    err_set(err, ERR_UNSUPPORTED, "%s", texts[why]);
    return NFS_FAILED;
}

/* Up to where the results begin. */
static enum nfs_outcome take_head(const struct nfs_asking *ask, size_t limit, uint32_t *ret_xid,
                                  struct err *err)
{
    enum { XID, DIRECTION, STATE, WORDS };
    struct nfs_link *link = ask->link;
    uint32_t words[WORDS];
    uint32_t flavor;
    uint32_t verifier_len;
    uint32_t status;
    uint8_t verifier[VERIFIER_MAX];
    if (!nfs_link_begin(link, limit, ask->patience, err))
        return outcome_of(err);
    for (size_t i = 0; i < WORDS; i++)
        if (!nfs_link_take_u32(link, &words[i], ask->patience, err))
            return outcome_of(err);
    if (words[DIRECTION] != REPLY || words[STATE] > 1)
        return failed(link, err, "what it sends is no reply");
    if (words[STATE] == 1)
        return denied(ask, err);
    if (!nfs_link_take_u32(link, &flavor, ask->patience, err) ||
        !nfs_link_take_u32(link, &verifier_len, ask->patience, err))
        return outcome_of(err);
    if (verifier_len > VERIFIER_MAX)
        return failed(link, err, "its verifier is longer than any");
    if (!nfs_link_take(link, verifier, (verifier_len + 3) & ~3U, ask->patience, err) ||
        !nfs_link_take_u32(link, &status, ask->patience, err))
        return outcome_of(err);
    *ret_xid = words[XID];
    return status == 0 ? NFS_DONE : not_accepted(ask, status, err);
}

enum nfs_outcome nfs_converse(const struct nfs_asking *ask, const struct nfs_call *call,
                              size_t *ret_len, struct err *err)
{
    uint32_t xid = 0;
    uint32_t answered = 0;
    enum nfs_outcome outcome = send_call(ask, call, &xid, err);
    if (outcome == NFS_DONE)
        outcome = take_head(ask, SHORT_ANSWER_MAX, &answered, err);
    if (outcome != NFS_DONE)
        return outcome;
    if (answered != xid)
        return failed(ask->link, err, "it answers what nobody asked");
    if (!nfs_link_take_rest(ask->link, ret_len, ask->patience, err))
        return outcome_of(err);
    return NFS_DONE;
}

static enum nfs_outcome outcome_of_status(uint32_t status, const char *what, struct err *err)
{
    static const struct {
        uint32_t status;
        enum nfs_outcome outcome;
        enum err_code code;
        const char *text;
    } known[] = {
        {NFS3ERR_NOENT, NFS_FAILED, ERR_NOT_FOUND, "there is no such file or directory"},
        {NFS3ERR_ACCES, NFS_FAILED, ERR_DENIED, "permission denied for uid and gid of the URL"},
        {NFS3ERR_PERM, NFS_FAILED, ERR_DENIED, "not permitted for uid and gid of the URL"},
        {NFS3ERR_IO, NFS_FAILED, ERR_IO, "input/output error on the server"},
        {NFS3ERR_NOTDIR, NFS_FAILED, ERR_IO, "a part of the path is no directory"},
        {NFS3ERR_STALE, NFS_STALE, ERR_UNAVAILABLE, "stale file handle"},
        {NFS3ERR_BADHANDLE, NFS_STALE, ERR_UNAVAILABLE, "the file handle is no longer known"},
        {NFS3ERR_BAD_COOKIE, NFS_COOKIE, ERR_UNAVAILABLE, "the directory changed"},
        {NFS3ERR_JUKEBOX, NFS_LATER, ERR_UNAVAILABLE, "the server is busy (JUKEBOX)"},
        {NFS3ERR_SERVERFAULT, NFS_LATER, ERR_UNAVAILABLE, "the server failed (SERVERFAULT)"},
        {NFS3ERR_NAMETOOLONG, NFS_FAILED, ERR_INVALID, "the name is too long"},
        {NFS3ERR_EXIST, NFS_FAILED, ERR_EXISTS, "there is such a name already"},
        {NFS3ERR_NOSPC, NFS_FAILED, ERR_NO_SPACE, "no space left on the server"},
        {NFS3ERR_DQUOT, NFS_FAILED, ERR_QUOTA, "the quota on the server is used up"},
        {NFS3ERR_ROFS, NFS_FAILED, ERR_DENIED, "the export may only be read"},
        {NFS3ERR_FBIG, NFS_FAILED, ERR_LIMIT, "longer than a file may be on the server"},
        {NFS3ERR_ISDIR, NFS_FAILED, ERR_INVALID, "it is a directory"},
        {NFS3ERR_NOTSUPP, NFS_FAILED, ERR_UNSUPPORTED, "the server cannot do that"},
    };
    if (status == NFS3_OK)
        return NFS_DONE;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status) {
            err_set(err, known[i].code, "%s: %s", what, known[i].text);
            return known[i].outcome;
        }
    err_set(err, ERR_IO, "%s: NFS status %u", what, status);
    return NFS_FAILED;
}

/* Guards and decodes what lies in the scratch room. */
static enum nfs_outcome decode(const struct nfs_asking *ask, size_t len,
                               const struct nfs_answer *answer, ZDR *zdr, void *result,
                               struct err *err)
{
    uint8_t *bytes = nfs_link_scratch(ask->link);
    uint32_t status;
    struct err why = {0};
    if (len < sizeof status)
        return failed(ask->link, err, "its answer has no status");
    memcpy(&status, bytes, sizeof status);
    status = ntohl(status);
    if (ask->said)
        *ask->said = status;
    if (!nfs_guard(status == NFS3_OK ? answer->good : answer->bad, bytes + 4, len - 4, &why))
        return failed(ask->link, err, why.text);
    enum nfs_outcome outcome = outcome_of_status(status, answer->what, err);
    if (outcome != NFS_DONE)
        return outcome;
    libnfs_zdrmem_create(zdr, (caddr_t)bytes, (uint32_t)len, ZDR_DECODE);
    if (!answer->decode(zdr, result) || libnfs_zdr_getpos(zdr) > len)
        return failed(ask->link, err, "its answer cannot be decoded");
    return NFS_DONE;
}

/* Asks, guards, decodes; `result` has to be freed by zdr_destroy whatever comes back. */
enum nfs_outcome nfs_ask_for(const struct nfs_asking *ask, const struct nfs_call *call,
                             const struct nfs_answer *answer, ZDR *zdr, void *result,
                             struct err *err)
{
    size_t len;
    enum nfs_outcome outcome = nfs_converse(ask, call, &len, err);
    return outcome == NFS_DONE ? decode(ask, len, answer, zdr, result, err) : outcome;
}

enum nfs_outcome nfs_send_call(const struct nfs_asking *ask, const struct nfs_call *call,
                               uint32_t *ret_xid, struct err *err)
{
    return send_call(ask, call, ret_xid, err);
}

enum nfs_outcome nfs_next_answer(const struct nfs_asking *ask, const struct nfs_answer *answer,
                                 uint32_t *ret_xid, ZDR *zdr, void *result, struct err *err)
{
    size_t len;
    enum nfs_outcome outcome = take_head(ask, SHORT_ANSWER_MAX, ret_xid, err);
    if (outcome != NFS_DONE)
        return outcome;
    if (!nfs_link_take_rest(ask->link, &len, ask->patience, err))
        return outcome_of(err);
    return decode(ask, len, answer, zdr, result, err);
}

void nfs_zdr_done(ZDR *zdr)
{
    if (zdr->buf)
        libnfs_zdr_destroy(zdr);
}

static struct nfs_attr attr_of(const fattr3 *from)
{
    uint32_t below = from->mtime.nseconds < 1000 * SECOND_US ? from->mtime.nseconds / 1000 : 0;
    return (struct nfs_attr){.known = true,
                             .kind = (uint32_t)from->type,
                             .size = from->size,
                             .mtime_us = (uint64_t)from->mtime.seconds * SECOND_US + below,
                             .fsid = from->fsid,
                             .fileid = from->fileid};
}

bool nfs_attr_ok(struct nfs_link *link, const struct nfs_attr *attr, struct err *err)
{
    if (attr->known && (attr->kind < NF3REG || attr->kind > NF3FIFO))
        return nfs_link_lied(link, err, "a file of no kind that there is (%u)", attr->kind);
    return !attr->known || attr->size <= INT64_MAX ||
           nfs_link_lied(link, err, "a file larger than any");
}

struct nfs_attr nfs_post_attr_of(const post_op_attr *from)
{
    return from->attributes_follow ? attr_of(&from->post_op_attr_u.attributes)
                                   : (struct nfs_attr){0};
}

struct nfs_handle nfs_handle_of(const char *bytes, uint32_t len)
{
    struct nfs_handle handle = {.len = len < sizeof handle.bytes ? len : sizeof handle.bytes};
    memcpy(handle.bytes, bytes, handle.len); /* the guard saw to it that it fits */
    return handle;
}

nfs_fh3 nfs_to_fh3(const struct nfs_handle *handle)
{
    nfs_fh3 fh = {.data = {.data_len = handle->len, .data_val = (char *)handle->bytes}};
    return fh;
}

enum nfs_outcome nfs_call_port(const struct nfs_asking *ask, uint32_t program, uint32_t version,
                               uint16_t *ret_port, struct err *err)
{
    pmap2_mapping mapping = {.prog = program, .vers = version, .prot = IPPROTO_TCP};
    struct nfs_call call =
        NFS_CALL(PMAP_PROGRAM, PMAP_V2, PMAP2_GETPORT, zdr_pmap2_mapping, &mapping);
    size_t len;
    uint32_t port;
    struct err why = {0};
    enum nfs_outcome outcome = nfs_converse(ask, &call, &len, err);
    if (outcome != NFS_DONE)
        return outcome;
    if (!nfs_guard("u", nfs_link_scratch(ask->link), len, &why))
        return failed(ask->link, err, why.text);
    memcpy(&port, nfs_link_scratch(ask->link), sizeof port);
    port = ntohl(port);
    if (port > UINT16_MAX)
        return failed(ask->link, err, "its portmapper names a port that cannot be");
    if (port == 0) {
        err_set(err, ERR_UNAVAILABLE, "its portmapper knows no program %u version %u", program,
                version);
        return NFS_FAILED;
    }
    *ret_port = (uint16_t)port;
    return NFS_DONE;
}

enum nfs_outcome nfs_call_mount(const struct nfs_asking *ask, const char *path,
                                struct nfs_handle *ret_root, struct err *err)
{
    static const struct nfs_answer answer = {"mount", "FV", "", (zdrproc_t)zdr_mountres3};
    char *dir = (char *)path; /* the encoder does not write */
    struct nfs_call call = NFS_CALL(MOUNT_PROGRAM, MOUNT_V3, MOUNT3_MNT, zdr_dirpath, &dir);
    AUTO(zdr) ZDR zdr = {0};
    mountres3 result = {0};
    enum nfs_outcome outcome = nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    const fhandle3 *handle = &result.mountres3_u.mountinfo.fhandle;
    *ret_root = nfs_handle_of(handle->fhandle3_val, handle->fhandle3_len);
    return NFS_DONE;
}

enum nfs_outcome nfs_call_fsinfo(const struct nfs_asking *ask, const struct nfs_handle *root,
                                 uint32_t *ret_read_max, uint32_t *ret_write_max, struct err *err)
{
    static const struct nfs_answer answer = {"fsinfo", "?Auuuuuuuh8u", "?A",
                                             (zdrproc_t)zdr_FSINFO3res};
    FSINFO3args args = {.fsroot = nfs_to_fh3(root)};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_FSINFO, zdr_FSINFO3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    FSINFO3res result = {0};
    enum nfs_outcome outcome = nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    *ret_read_max = result.FSINFO3res_u.resok.rtmax;
    *ret_write_max = result.FSINFO3res_u.resok.wtmax;
    return NFS_DONE;
}

enum nfs_outcome nfs_call_getattr(const struct nfs_asking *ask, const struct nfs_handle *handle,
                                  struct nfs_attr *ret_attr, struct err *err)
{
    static const struct nfs_answer answer = {"getattr", "A", "", (zdrproc_t)zdr_GETATTR3res};
    GETATTR3args args = {.object = nfs_to_fh3(handle)};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_GETATTR, zdr_GETATTR3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    GETATTR3res result = {0};
    enum nfs_outcome outcome = nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    struct nfs_attr attr = attr_of(&result.GETATTR3res_u.resok.obj_attributes);
    if (!nfs_attr_ok(ask->link, &attr, err))
        return NFS_FAILED;
    *ret_attr = attr;
    return NFS_DONE;
}

enum nfs_outcome nfs_call_lookup(const struct nfs_asking *ask, const struct nfs_handle *dir,
                                 const char *name, struct nfs_handle *ret_handle,
                                 struct nfs_attr *ret_attr, struct err *err)
{
    static const struct nfs_answer answer = {"lookup", "F?A?A", "?A", (zdrproc_t)zdr_LOOKUP3res};
    LOOKUP3args args = {.what = {.dir = nfs_to_fh3(dir), .name = (char *)name}};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_LOOKUP, zdr_LOOKUP3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    LOOKUP3res result = {0};
    enum nfs_outcome outcome = nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    const LOOKUP3resok *ok = &result.LOOKUP3res_u.resok;
    struct nfs_attr attr = nfs_post_attr_of(&ok->obj_attributes);
    if (!nfs_attr_ok(ask->link, &attr, err))
        return NFS_FAILED;
    *ret_handle = nfs_handle_of(ok->object.data.data_val, ok->object.data.data_len);
    *ret_attr = attr;
    return NFS_DONE;
}

static bool hand_out(const struct nfs_asking *ask, const entryplus3 *from, struct nfs_page *page,
                     struct err *err)
{
    struct nfs_handle handle = {0};
    bool told = from->name_handle.handle_follows;
    if (told)
        handle = nfs_handle_of(from->name_handle.post_op_fh3_u.handle.data.data_val,
                               from->name_handle.post_op_fh3_u.handle.data.data_len);
    struct nfs_entry entry = {.name = from->name,
                              .cookie = from->cookie,
                              .attr = nfs_post_attr_of(&from->name_attributes),
                              .handle = told ? &handle : NULL};
    return nfs_attr_ok(ask->link, &entry.attr, err) && page->entry(page->arg, &entry, err);
}

enum nfs_outcome nfs_call_list(const struct nfs_asking *ask, const struct nfs_handle *dir,
                               struct nfs_page *page, struct err *err)
{
    static const struct nfs_answer answer = {"list", "?A8*(hNh?A?F)b", "?A",
                                             (zdrproc_t)zdr_READDIRPLUS3res};
    READDIRPLUS3args args = {.dir = nfs_to_fh3(dir),
                             .cookie = page->cookie,
                             .dircount = PAGE_BYTES / 4,
                             .maxcount = PAGE_BYTES};
    memcpy(args.cookieverf, page->verifier, sizeof page->verifier);
    struct nfs_call call =
        NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_READDIRPLUS, zdr_READDIRPLUS3args, &args);
    AUTO(zdr) ZDR zdr = {0};
    READDIRPLUS3res result = {0};
    enum nfs_outcome outcome = nfs_ask_for(ask, &call, &answer, &zdr, &result, err);
    if (outcome != NFS_DONE)
        return outcome;
    const READDIRPLUS3resok *ok = &result.READDIRPLUS3res_u.resok;
    page->count = 0;
    entryplus3 e;
    for (const void *next = ok->reply.entries; next; next = e.nextentry) {
        memcpy(&e, next, sizeof e); /* libnfs lays them out unaligned */
        if (!hand_out(ask, &e, page, err))
            return NFS_FAILED;
        page->cookie = e.cookie;
        page->count++;
    }
    memcpy(page->verifier, ok->cookieverf, sizeof page->verifier);
    page->at_end = ok->reply.eof;
    return NFS_DONE;
}

/* ---- reading ---- */

enum nfs_outcome nfs_read_ask(const struct nfs_asking *ask, const struct nfs_handle *handle,
                              uint64_t offset, uint32_t count, uint32_t *ret_xid, struct err *err)
{
    READ3args args = {.file = nfs_to_fh3(handle), .offset = offset, .count = count};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_READ, zdr_READ3args, &args);
    return send_call(ask, &call, ret_xid, err);
}

enum nfs_outcome nfs_read_next(const struct nfs_asking *ask, uint32_t largest, uint32_t *ret_xid,
                               struct err *err)
{
    return take_head(ask, (size_t)largest + READ_HEAD_MAX, ret_xid, err);
}

/* A flag and, when it is 1, attributes. */
static bool take_attr(const struct nfs_asking *ask, struct nfs_attr *ret, struct err *err)
{
    uint32_t follows;
    uint8_t bytes[84 + 64] = {0};
    if (!nfs_link_take_u32(ask->link, &follows, ask->patience, err))
        return false;
    if (follows > 1)
        return nfs_link_lied(ask->link, err, "a flag that is neither 0 nor 1");
    *ret = (struct nfs_attr){0};
    if (!follows)
        return true;
    if (!nfs_link_take(ask->link, bytes, 84, ask->patience, err))
        return false;
    ZDR zdr = {0};
    fattr3 attributes = {0};
    libnfs_zdrmem_create(&zdr, (caddr_t)bytes, 84, ZDR_DECODE);
    bool ok = zdr_fattr3(&zdr, &attributes);
    libnfs_zdr_destroy(&zdr);
    *ret = attr_of(&attributes);
    return (ok || nfs_link_lied(ask->link, err, "attributes that cannot be decoded")) &&
           nfs_attr_ok(ask->link, ret, err);
}

enum nfs_outcome nfs_read_take(const struct nfs_asking *ask, void *to, uint32_t asked,
                               struct nfs_read *ret_read, struct err *err)
{
    enum { COUNT, AT_END, DATA_LEN, WORDS };
    struct nfs_link *link = ask->link;
    struct nfs_read read = {0};
    uint32_t status;
    uint32_t words[WORDS];
    uint8_t padding[3];
    if (!nfs_link_take_u32(link, &status, ask->patience, err) || !take_attr(ask, &read.attr, err))
        return outcome_of(err);
    if (status != NFS3_OK) {
        if (!nfs_link_end(link, err))
            return NFS_FAILED;
        *ret_read = read;
        return outcome_of_status(status, "read", err);
    }
    for (size_t i = 0; i < WORDS; i++)
        if (!nfs_link_take_u32(link, &words[i], ask->patience, err))
            return outcome_of(err);
    if (words[DATA_LEN] > asked || words[COUNT] != words[DATA_LEN])
        return failed(link, err, "it sends another number of bytes than were asked for");
    if (words[AT_END] > 1 || (words[COUNT] == 0 && !words[AT_END]))
        return failed(link, err, "it sends nothing, and does not say that the file ends");
    if (!nfs_link_take(link, to, words[DATA_LEN], ask->patience, err) ||
        !nfs_link_take(link, padding, -words[DATA_LEN] & 3, ask->patience, err))
        return outcome_of(err);
    read.got = words[COUNT];
    read.at_end = words[AT_END];
    if (!nfs_link_end(link, err))
        return NFS_FAILED;
    *ret_read = read;
    return NFS_DONE;
}
