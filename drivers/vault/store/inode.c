/* Slots of the file table: encoded and checked. */
#include "drivers/vault/store/inode.h"
#include <string.h>

enum { AT_ROOT = 64, AT_LINKS = 116, AT_NAME_BYTES = 120, AT_NAME = 122, AT_SUM = 508 };

bool inode_name_is_valid(const char *name, size_t len)
{
    if (len == 0 || len > INODE_NAME_MAX || memchr(name, '/', len) || memchr(name, 0, len))
        return false;
    return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

/* The slot is written by hand, so that no compiler's padding is part of the format. */
static void put(uint8_t *to, uint64_t n, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(n >> (8 * i));
}

void inode_encode(const struct inode *inode, uint64_t seed, uint8_t ret[INODE_BYTES])
{
    const struct root *root = &inode->root;
    memset(ret, 0, INODE_BYTES);
    put(ret, inode->file, 8);
    put(ret + 8, inode->parent, 8);
    put(ret + 16, inode->generation, 4);
    put(ret + 20, inode->kind, 1);
    put(ret + 22, inode->mode, 2);
    put(ret + 24, inode->uid, 4);
    put(ret + 28, inode->gid, 4);
    put(ret + 32, inode->kind == INODE_LINK ? inode->target : inode->size, 8);
    put(ret + 40, inode->mtime_us, 8);
    put(ret + 48, inode->ctime_us, 8);
    put(ret + 56, inode->atime_us, 8);
    put(ret + AT_ROOT, root->level, 1);
    put(ret + AT_ROOT + 1, root->stored, 1);
    put(ret + AT_ROOT + 2, root->addr.item, 1);
    put(ret + AT_ROOT + 4, root->addr.pack, 4);
    put(ret + AT_ROOT + 8, root->addr.frame, 4);
    put(ret + AT_ROOT + 12, root->birth, 8);
    memcpy(ret + AT_ROOT + 20, root->hash.bytes, HASH_BYTES);
    put(ret + AT_LINKS, inode->links, 4);
    put(ret + AT_NAME_BYTES, inode->name_len, 2);
    memcpy(ret + AT_NAME, inode->name, inode->name_len);
    put(ret + AT_SUM, format_sum(seed, ret, AT_SUM) & UINT32_MAX, 4);
}

static void decode_root(struct cursor *c, struct root *ret)
{
    ret->level = cursor_u8(c);
    uint8_t stored = cursor_u8(c);
    c->bad |= stored > 1 || ret->level > 4;
    ret->stored = stored == 1;
    ret->addr.item = cursor_u8(c);
    c->bad |= ret->addr.item >= FRAME_ITEMS;
    IGNORE(cursor_u8(c));
    ret->addr.pack = cursor_u32(c);
    ret->addr.frame = cursor_u32(c);
    ret->birth = cursor_u64(c);
    const uint8_t *hash = cursor_take(c, HASH_BYTES);
    if (hash)
        memcpy(ret->hash.bytes, hash, HASH_BYTES);
}

bool inode_decode(const uint8_t slot[INODE_BYTES], uint64_t seed, struct inode *ret,
                  struct err *err)
{
    struct inode inode = {0};
    if (format_is_zero(slot, INODE_BYTES)) {
        *ret = inode;
        return true;
    }
    struct cursor sum = cursor_over(slot + AT_SUM, 4);
    if (cursor_u32(&sum) != (uint32_t)format_sum(seed, slot, AT_SUM))
        return err_set(err, ERR_CORRUPT, "a slot of a file table has a wrong sum");
    struct cursor c = cursor_over(slot, AT_SUM);
    inode.file = cursor_u64(&c);
    inode.parent = cursor_u64(&c);
    inode.generation = cursor_u32(&c);
    inode.kind = cursor_u8(&c);
    IGNORE(cursor_u8(&c));
    inode.mode = cursor_u16(&c);
    inode.uid = cursor_u32(&c);
    inode.gid = cursor_u32(&c);
    inode.size = cursor_u64(&c);
    inode.mtime_us = cursor_u64(&c);
    inode.ctime_us = cursor_u64(&c);
    inode.atime_us = cursor_u64(&c);
    decode_root(&c, &inode.root);
    inode.links = cursor_u32(&c);
    uint16_t name_len = cursor_u16(&c);
    bool link = inode.kind == INODE_LINK;
    if (link) {
        inode.target = inode.size;
        inode.size = 0;
    }
    if (c.bad || inode.kind > INODE_LINK || (link && (inode.root.stored || name_len == 0)) ||
        name_len > INODE_NAME_MAX || inode.size > (uint64_t)1 << FILE_MAX_SHIFT)
        return err_set(err, ERR_CORRUPT, "a slot of a file table makes no sense");
    inode.name_len = (uint8_t)name_len;
    memcpy(inode.name, slot + AT_NAME, name_len);
    if (name_len > 0 && !inode_name_is_valid(inode.name, name_len))
        return err_set(err, ERR_CORRUPT, "a slot of a file table has a name that may not be");
    *ret = inode;
    return true;
}
