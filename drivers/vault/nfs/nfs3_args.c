/* Arguments of the NFSv3 procedures: a text of signs for each says what comes. */
#include "drivers/vault/nfs/nfs3_args.h"

#include <endian.h>
#include <string.h>

/* f handle   n name   a attributes to set   g guard   c how to create   t symbolic link's target
 * k kind of a node, with attributes   h 64 bits   v verifier   u 32 bits   d data */
static const char *const shapes[NFS3_PROCEDURES] = {
    [NFS3_NULL] = "",      [NFS3_GETATTR] = "f",    [NFS3_SETATTR] = "fag",
    [NFS3_LOOKUP] = "fn",  [NFS3_ACCESS] = "fu",    [NFS3_READLINK] = "f",
    [NFS3_READ] = "fhu",   [NFS3_WRITE] = "fhuud",  [NFS3_CREATE] = "fnc",
    [NFS3_MKDIR] = "fna",  [NFS3_SYMLINK] = "fnat", [NFS3_MKNOD] = "fnk",
    [NFS3_REMOVE] = "fn",  [NFS3_RMDIR] = "fn",     [NFS3_RENAME] = "fnfn",
    [NFS3_LINK] = "ffn",   [NFS3_READDIR] = "fhvu", [NFS3_READDIRPLUS] = "fhvuu",
    [NFS3_FSSTAT] = "f",   [NFS3_FSINFO] = "f",     [NFS3_PATHCONF] = "f",
    [NFS3_COMMIT] = "fhu",
};

struct walk {
    uint8_t *at, *end;
    struct nfs3_args *args;
    unsigned handles, names, numbers;
};

static bool take(struct walk *walk, size_t n, uint8_t **ret)
{
    if ((size_t)(walk->end - walk->at) < n)
        return false;
    *ret = walk->at;
    walk->at += n;
    return true;
}

static bool take_u32(struct walk *walk, uint32_t *ret)
{
    uint8_t *p;
    if (!take(walk, sizeof *ret, &p))
        return false;
    memcpy(ret, p, sizeof *ret);
    *ret = be32toh(*ret);
    return true;
}

static bool take_u64(struct walk *walk, uint64_t *ret)
{
    uint8_t *p;
    if (!take(walk, sizeof *ret, &p))
        return false;
    memcpy(ret, p, sizeof *ret);
    *ret = be64toh(*ret);
    return true;
}

static bool take_flag(struct walk *walk, bool *ret)
{
    uint32_t n;
    if (!take_u32(walk, &n) || n > 1)
        return false;
    *ret = n == 1;
    return true;
}

/* Bytes with their length in front, padded to four. */
static bool take_opaque(struct walk *walk, uint8_t **ret, uint32_t *ret_len)
{
    uint8_t *padding;
    return take_u32(walk, ret_len) && take(walk, *ret_len, ret) &&
           take(walk, (4 - (*ret_len & 3)) & 3, &padding);
}

static bool take_handle(struct walk *walk)
{
    uint8_t *bytes;
    uint32_t len;
    unsigned i = walk->handles++;
    if (!take_opaque(walk, &bytes, &len) || len > NFS3_FHSIZE)
        return false;
    walk->args->known[i] = handle_decode(bytes, len, &walk->args->handle[i]);
    return true;
}

/* Its length was read: where that was is room for the NUL at the end. */
static bool take_text(struct walk *walk, struct nfs3_text *ret, size_t max, bool path)
{
    uint8_t *bytes;
    uint32_t len;
    if (!take_opaque(walk, &bytes, &len))
        return false;
    if (len > max)
        ret->wrong = NFS3ERR_NAMETOOLONG;
    else if (len == 0 || memchr(bytes, '\0', len) || (!path && memchr(bytes, '/', len)))
        ret->wrong = NFS3ERR_INVAL;
    uint8_t *text = bytes - 1;
    memmove(text, bytes, len);
    text[len] = '\0';
    ret->text = (const char *)text;
    return true;
}

static bool take_time(struct walk *walk, uint64_t *ret_us)
{
    enum { NS = 1000000000, NS_OF_US = 1000, US = 1000000 };
    uint32_t seconds, ns;
    if (!take_u32(walk, &seconds) || !take_u32(walk, &ns))
        return false;
    if (ns >= NS)
        walk->args->set_wrong = NFS3ERR_INVAL;
    *ret_us = (uint64_t)seconds * US + ns / NS_OF_US;
    return true;
}

static bool take_time_to_set(struct walk *walk, bool *ret_set, bool *ret_now, uint64_t *ret_us)
{
    uint32_t how;
    if (!take_u32(walk, &how) || how > SET_TO_CLIENT_TIME)
        return false;
    *ret_set = how != DONT_CHANGE;
    *ret_now = how == SET_TO_SERVER_TIME;
    return how != SET_TO_CLIENT_TIME || take_time(walk, ret_us);
}

static bool take_set(struct walk *walk)
{
    enum { MODE_BITS = 07777 };
    struct view_attributes *set = &walk->args->set;
    uint32_t mode = 0;
    if (!take_flag(walk, &set->set_mode) || (set->set_mode && !take_u32(walk, &mode)) ||
        !take_flag(walk, &set->set_uid) || (set->set_uid && !take_u32(walk, &set->uid)) ||
        !take_flag(walk, &set->set_gid) || (set->set_gid && !take_u32(walk, &set->gid)) ||
        !take_flag(walk, &set->set_size) || (set->set_size && !take_u64(walk, &set->size)))
        return false;
    set->mode = (uint16_t)(mode & MODE_BITS);
    return take_time_to_set(walk, &set->set_atime, &set->atime_now, &set->atime_us) &&
           take_time_to_set(walk, &set->set_mtime, &set->mtime_now, &set->mtime_us);
}

static bool take_guard(struct walk *walk)
{
    struct view_attributes *set = &walk->args->set;
    return take_flag(walk, &set->guard) && (!set->guard || take_time(walk, &set->guard_ctime_us));
}

static bool take_how(struct walk *walk)
{
    struct view_attributes *set = &walk->args->set;
    uint32_t how;
    if (!take_u32(walk, &how) || how > EXCLUSIVE)
        return false;
    set->unchecked = how == UNCHECKED;
    set->exclusive = how == EXCLUSIVE;
    return set->exclusive ? take_u64(walk, &set->verifier) : take_set(walk);
}

/* The kind is all that MKNOD's answer needs; a kind that is none has no more. */
static bool take_node(struct walk *walk)
{
    uint32_t kind, major, minor;
    if (!take_u32(walk, &kind))
        return false;
    walk->args->n[0] = kind;
    if (kind == NF3CHR || kind == NF3BLK)
        return take_set(walk) && take_u32(walk, &major) && take_u32(walk, &minor);
    return (kind != NF3SOCK && kind != NF3FIFO) || take_set(walk);
}

static bool take_one(struct walk *walk, char sign)
{
    struct nfs3_args *args = walk->args;
    switch (sign) {
    case 'f':
        return take_handle(walk);
    case 'n':
        return take_text(walk, &args->name[walk->names++], INODE_NAME_MAX, false);
    case 'a':
        return take_set(walk);
    case 'g':
        return take_guard(walk);
    case 'c':
        return take_how(walk);
    case 't':
        return take_text(walk, &args->target, NFS3_TARGET_MAX, true);
    case 'k':
        return take_node(walk);
    case 'h':
        return take_u64(walk, &args->offset);
    case 'v':
        return take_u64(walk, &args->verifier);
    case 'u':
        return take_u32(walk, &args->n[walk->numbers++]);
    default:
        return take_opaque(walk, &args->data, &args->data_len);
    }
}

bool nfs3_args_decode(uint32_t procedure, uint8_t *bytes, size_t len, struct nfs3_args *ret)
{
    struct walk walk = {.args = ret};
    walk.at = bytes;
    walk.end = bytes + len;
    *ret = (struct nfs3_args){0};
    if (procedure >= NFS3_PROCEDURES)
        return false;
    for (const char *sign = shapes[procedure]; *sign; sign++)
        if (!take_one(&walk, *sign))
            return false;
    return walk.at == walk.end;
}
