/* ONC RPC calls read and reply heads written, by hand: libnfs's own message decoder trusts lengths.
 */
#include "drivers/vault/nfs/rpc.h"

enum {
    CALL = 0,
    REPLY = 1,
    RPC_VERSION = 2,
    ACCEPTED = 0,
    DENIED = 1,
    MISMATCH = 0,   /* of the RPC version */
    AUTH_ERROR = 1, /* and its reasons: */
    BAD_CREDENTIALS = 1,
    BAD_VERIFIER = 3,
    TOO_WEAK = 5,
    FLAVOR_NONE = 0,
    FLAVOR_SYS = 1,
    AUTH_BYTES_MAX = 400,
    MACHINE_MAX = 255,
    MARKER = 4,
};
static const uint32_t LAST = 0x80000000u;

static void put_u32(uint8_t *to, uint32_t n)
{
    to[0] = (uint8_t)(n >> 24);
    to[1] = (uint8_t)(n >> 16);
    to[2] = (uint8_t)(n >> 8);
    to[3] = (uint8_t)n;
}

/* What is left to read. */
struct rest {
    uint8_t *at;
    size_t len;
};

static bool take_u32(struct rest *rest, uint32_t *ret)
{
    const uint8_t *p = rest->at;
    if (rest->len < 4)
        return false;
    *ret = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    rest->at += 4;
    rest->len -= 4;
    return true;
}

/* Bytes with their length in front, padded to four. */
static bool take_opaque(struct rest *rest, size_t max, struct rest *ret)
{
    uint32_t len;
    if (!take_u32(rest, &len) || len > max)
        return false;
    size_t padded = ((size_t)len + 3) & ~(size_t)3;
    if (padded > rest->len)
        return false;
    *ret = (struct rest){rest->at, len};
    rest->at += padded;
    rest->len -= padded;
    return true;
}

/* Bytes behind the groups are no harm: the length says where the credentials end. */
static bool take_sys(struct rest body, struct rpc_cred *ret)
{
    uint32_t stamp;
    struct rest machine;
    if (!take_u32(&body, &stamp) || !take_opaque(&body, MACHINE_MAX, &machine) ||
        !take_u32(&body, &ret->uid) || !take_u32(&body, &ret->gid) ||
        !take_u32(&body, &ret->group_count) || ret->group_count > RPC_GROUPS_MAX)
        return false;
    for (uint32_t i = 0; i < ret->group_count; i++)
        if (!take_u32(&body, &ret->groups[i]))
            return false;
    ret->machine = (const char *)machine.at;
    ret->machine_len = (uint32_t)machine.len;
    ret->known = true;
    return true;
}

static enum rpc_kind refuse(uint8_t *reply, size_t *ret_len, uint32_t xid, uint32_t why,
                            uint32_t first)
{
    uint32_t words[] = {0, xid, REPLY, DENIED, why, first, RPC_VERSION};
    size_t count = why == MISMATCH ? 7 : 6;
    words[0] = LAST | (uint32_t)(count * 4 - MARKER);
    for (size_t i = 0; i < count; i++)
        put_u32(reply + i * 4, words[i]);
    *ret_len = count * 4;
    return RPC_IS_REFUSED;
}

enum rpc_kind rpc_parse(uint8_t *record, size_t len, struct rpc_call *ret, uint8_t *reply,
                        size_t *ret_reply_len)
{
    struct rest rest = {.len = len};
    struct rest body;
    uint32_t direction;
    uint32_t version;
    uint32_t flavor;
    rest.at = record;
    ret->cred = (struct rpc_cred){0};
    if (!take_u32(&rest, &ret->xid) || !take_u32(&rest, &direction) || direction != CALL ||
        !take_u32(&rest, &version))
        return RPC_IS_NONSENSE;
    if (version != RPC_VERSION)
        return refuse(reply, ret_reply_len, ret->xid, MISMATCH, RPC_VERSION);
    if (!take_u32(&rest, &ret->program) || !take_u32(&rest, &ret->version) ||
        !take_u32(&rest, &ret->procedure))
        return RPC_IS_NONSENSE;
    if (!take_u32(&rest, &flavor) || !take_opaque(&rest, AUTH_BYTES_MAX, &body))
        return refuse(reply, ret_reply_len, ret->xid, AUTH_ERROR, BAD_CREDENTIALS);
    if (flavor != FLAVOR_NONE && flavor != FLAVOR_SYS)
        return refuse(reply, ret_reply_len, ret->xid, AUTH_ERROR, TOO_WEAK);
    if (flavor == FLAVOR_SYS && !take_sys(body, &ret->cred))
        return refuse(reply, ret_reply_len, ret->xid, AUTH_ERROR, BAD_CREDENTIALS);
    if (!take_u32(&rest, &flavor) || !take_opaque(&rest, AUTH_BYTES_MAX, &body))
        return refuse(reply, ret_reply_len, ret->xid, AUTH_ERROR, BAD_VERIFIER);
    ret->args = rest.at;
    ret->args_len = rest.len;
    return RPC_IS_CALL;
}

size_t rpc_head(uint8_t *to, uint32_t xid, enum rpc_accept accept, uint32_t version_low,
                uint32_t version_high, size_t results_len)
{
    size_t versions = accept == RPC_PROG_MISMATCH ? 8 : 0;
    size_t size = RPC_HEAD_BYTES + versions;
    put_u32(to, LAST | (uint32_t)(size + results_len - MARKER));
    put_u32(to + 4, xid);
    put_u32(to + 8, REPLY);
    put_u32(to + 12, ACCEPTED);
    put_u32(to + 16, FLAVOR_NONE); /* our verifier: none, empty */
    put_u32(to + 20, 0);
    put_u32(to + 24, (uint32_t)accept);
    if (versions) {
        put_u32(to + 28, version_low);
        put_u32(to + 32, version_high);
    }
    return size;
}
