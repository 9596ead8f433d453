/* An export, as somebody meets it who is about to use it. Three short calls to MOUNT and one or two
 * to NFS; a vault takes no single call for use (drivers/vault/nfs/exports.h). */
#include "drivers/area/nfs_probe.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/area/nfs_calls_int.h"
#include <arpa/inet.h>
#include <string.h>

#include <nfsc/libnfs-raw-mount.h>

enum { PORTMAPPER_PORT = 111, EXPORT_PATH_MAX = 1024, GROUPS_OF_ONE_MAX = 4096 };
enum {
    MAY_READ = ACCESS3_READ | ACCESS3_LOOKUP,
    MAY_WRITE = ACCESS3_MODIFY | ACCESS3_EXTEND,
    MAY_ALL = MAY_READ | MAY_WRITE,
    SAID_NOTHING = -1
};

/* ---- the list of exports ---- */

struct walk {
    const uint8_t *bytes;
    size_t len, at;
};

static bool take_u32(struct walk *walk, uint32_t *ret)
{
    if (walk->len - walk->at < sizeof *ret)
        return false;
    memcpy(ret, walk->bytes + walk->at, sizeof *ret);
    *ret = ntohl(*ret);
    walk->at += sizeof *ret;
    return true;
}

static bool take_text(struct walk *walk, const uint8_t **ret, uint32_t *ret_len)
{
    if (!take_u32(walk, ret_len) || *ret_len > EXPORT_PATH_MAX)
        return false;
    size_t padded = (*ret_len + 3U) & ~3U;
    if (walk->len - walk->at < padded)
        return false;
    *ret = walk->bytes + walk->at;
    walk->at += padded;
    return true;
}

/* A path, and the groups it is exported to, whose names do not matter here. */
static bool take_export(struct walk *walk, const uint8_t **ret_path, uint32_t *ret_len)
{
    const uint8_t *group = NULL;
    uint32_t more = 0, len = 0;
    if (!take_text(walk, ret_path, ret_len))
        return false;
    for (unsigned i = 0; i < GROUPS_OF_ONE_MAX; i++) {
        if (!take_u32(walk, &more) || more > 1)
            return false;
        if (!more)
            return true;
        if (!take_text(walk, &group, &len))
            return false;
    }
    return false;
}

bool nfs_probe_lists(const uint8_t *bytes, size_t len, const char *path)
{
    struct walk walk = {.bytes = bytes, .len = len};
    const uint8_t *text = NULL;
    uint32_t more = 0, text_len = 0;
    bool holds = false;
    while (take_u32(&walk, &more) && more == 1) { /* each round takes twelve bytes at least */
        if (!take_export(&walk, &text, &text_len))
            return false;
        holds |= text_len == strlen(path) && memcmp(text, path, text_len) == 0;
    }
    return holds && more == 0 && walk.at == walk.len;
}

/* ---- one look ---- */

struct look {
    const struct nfs_probe *probe;
    struct nfs_found *found;
    struct nfs_patience patience;
    struct nfs_asking mount, nfs;
    int64_t said; /* the last answer's status */
    struct nfs_handle top;
};

static bool ends(struct look *look, enum nfs_finding finding, const char *why)
{
    look->found->finding = finding;
    IGNORE(!str_copy(look->found->why, sizeof look->found->why, why)); /* cut still helps */
    return false;
}

/* What no status of MOUNT or NFS says. */
static bool ends_by(struct look *look, enum nfs_outcome outcome, const struct err *err)
{
    enum nfs_finding finding = NFS_FOUND_UNCLEAR;
    if (outcome == NFS_BROKEN)
        finding = NFS_FOUND_NO_ANSWER;
    else if (err->code == ERR_UNSUPPORTED || (err->code == ERR_IO && look->said == SAID_NOTHING))
        finding = NFS_FOUND_NO_NFS;
    return ends(look, finding, err->text);
}

static struct nfs_link *open_link(struct look *look, uint16_t port, struct nfs_asking *ret_ask)
{
    struct err err = {0};
    struct nfs_link *link = nfs_link_open(look->probe->host, port, &look->patience, &err);
    *ret_ask = (struct nfs_asking){.link = link,
                                   .patience = &look->patience,
                                   .uid = look->probe->uid,
                                   .gid = look->probe->gid,
                                   .groups = look->probe->groups,
                                   .group_count = look->probe->group_count,
                                   .said = &look->said};
    if (!link)
        ends(look, err.code == ERR_NOT_FOUND ? NFS_FOUND_NO_ADDRESS : NFS_FOUND_NO_ANSWER,
             err.text);
    return link;
}

static bool is_offered(const struct look *look)
{
    struct nfs_call call = NFS_CALL(MOUNT_PROGRAM, MOUNT_V3, MOUNT3_EXPORT, NULL, NULL);
    struct err err = {0};
    size_t len = 0;
    return nfs_converse(&look->mount, &call, &len, &err) == NFS_DONE &&
           nfs_probe_lists(nfs_link_scratch(look->mount.link), len, look->probe->path);
}

/* Who is not admitted is not offered it, by a vault at least: then it was the port. */
static bool refused(struct look *look)
{
    bool by_port = !nfs_link_is_low(look->mount.link) && is_offered(look);
    return ends(look, by_port ? NFS_FOUND_LOW_PORT : NFS_FOUND_NOT_ADMITTED, "");
}

static bool mounts(struct look *look)
{
    struct err err = {0};
    look->said = SAID_NOTHING;
    enum nfs_outcome outcome = nfs_call_mount(&look->mount, look->probe->path, &look->top, &err);
    if (outcome == NFS_DONE)
        return true;
    if (look->said == MNT3ERR_ACCES || look->said == MNT3ERR_PERM)
        return refused(look);
    if (look->said == MNT3ERR_NOENT || look->said == MNT3ERR_NOTDIR)
        return ends(look, NFS_FOUND_NO_EXPORT, "");
    return ends_by(look, outcome, &err);
}

static bool asks_access(struct look *look, uint32_t *ret_may)
{
    static const struct nfs_answer answer = {"access", "?Au", "?A", (zdrproc_t)zdr_ACCESS3res};
    ACCESS3args args = {.object = nfs_to_fh3(&look->top), .access = MAY_ALL};
    struct nfs_call call = NFS_CALL(NFS_PROGRAM, NFS_V3, NFS3_ACCESS, zdr_ACCESS3args, &args);
    struct err err = {0};
    AUTO(zdr) ZDR zdr = {0};
    ACCESS3res result = {0};
    look->said = SAID_NOTHING;
    enum nfs_outcome outcome = nfs_ask_for(&look->nfs, &call, &answer, &zdr, &result, &err);
    if (outcome != NFS_DONE)
        return look->said == NFS3ERR_ACCES || look->said == NFS3ERR_PERM
                   ? ends(look, NFS_FOUND_NOT_READ, "")
                   : ends_by(look, outcome, &err);
    const ACCESS3resok *ok = &result.ACCESS3res_u.resok;
    const fattr3 *top = &ok->obj_attributes.post_op_attr_u.attributes;
    struct nfs_found *found = look->found;
    found->has_top = ok->obj_attributes.attributes_follow;
    if (found->has_top)
        found->uid = top->uid, found->gid = top->gid, found->mode = top->mode & 07777;
    *ret_may = ok->access;
    return true;
}

/* ACCESS does not say why. Removing what nobody can have named does, and removes nothing. */
static bool is_read_only(struct look *look)
{
    uint64_t random[2];
    char name[64];
    struct err err = {0};
    clock_random(random, sizeof random);
    IGNORE(!str_format(name, sizeof name, ".evercopy-%016llx%016llx", (unsigned long long)random[0],
                       (unsigned long long)random[1])); /* it fits */
    look->said = SAID_NOTHING;
    IGNORE(nfs_call_remove(&look->nfs, &look->top, name, &err) == NFS_DONE); /* `said` tells */
    return look->said == NFS3ERR_ROFS;
}

static void looks_into(struct look *look)
{
    uint32_t may = 0;
    AUTO(nfs_link) struct nfs_link *link = open_link(look, look->probe->port, &look->nfs);
    if (!link || !asks_access(look, &may))
        return;
    if ((may & MAY_READ) != MAY_READ)
        ends(look, NFS_FOUND_NOT_READ, "");
    else if ((may & MAY_WRITE) != MAY_WRITE)
        ends(look, is_read_only(look) ? NFS_FOUND_READ_ONLY : NFS_FOUND_NOT_WRITTEN, "");
}

static void unmounts(const struct look *look)
{
    struct err err = {0};
    size_t len = 0;
    char *dir = (char *)look->probe->path; /* the encoder does not write */
    struct nfs_call call = NFS_CALL(MOUNT_PROGRAM, MOUNT_V3, MOUNT3_UMNT, zdr_dirpath, &dir);
    IGNORE(nfs_converse(&look->mount, &call, &len, &err) == NFS_DONE); /* its list is a courtesy */
}

void nfs_probe(const struct nfs_probe *probe, struct nfs_found *ret)
{
    *ret = (struct nfs_found){.finding = NFS_FOUND_GOOD};
    struct look look = {.probe = probe,
                        .found = ret,
                        .patience = {.until_ms = clock_mono_ms() + probe->timeout_ms}};
    AUTO(nfs_link) struct nfs_link *link = open_link(&look, probe->port, &look.mount);
    if (!link || !mounts(&look))
        return;
    looks_into(&look);
    if (!probe->is_mounted)
        unmounts(&look);
}

/* ---- the port mapper ---- */

static enum nfs_mapped map_one(const struct nfs_asking *ask, uint32_t program, uint16_t port)
{
    enum { VERSION = 3 };
    struct err err = {0};
    uint16_t at = 0;
    enum nfs_outcome outcome = nfs_call_port(ask, program, VERSION, &at, &err);
    if (outcome == NFS_DONE)
        return at == port ? NFS_MAPPED_GOOD : NFS_MAPPED_ELSEWHERE;
    if (outcome == NFS_BROKEN)
        return NFS_MAPPED_NO_MAPPER;
    return err.code == ERR_UNAVAILABLE ? NFS_MAPPED_NOTHING : NFS_MAPPED_UNCLEAR;
}

enum nfs_mapped nfs_probe_mapper(const char *host, uint16_t port, unsigned timeout_ms)
{
    struct err err = {0};
    const struct nfs_patience patience = {.until_ms = clock_mono_ms() + timeout_ms};
    AUTO(nfs_link) struct nfs_link *link = nfs_link_open(host, PORTMAPPER_PORT, &patience, &err);
    if (!link)
        return err.code == ERR_NOT_FOUND ? NFS_MAPPED_UNCLEAR : NFS_MAPPED_NO_MAPPER;
    const struct nfs_asking ask = {.link = link, .patience = &patience};
    enum nfs_mapped mount = map_one(&ask, MOUNT_PROGRAM, port);
    return mount == NFS_MAPPED_GOOD ? map_one(&ask, NFS_PROGRAM, port) : mount;
}
