/* Results of the NFSv3 procedures, piece by piece. */
#include "drivers/vault/nfs/nfs3_put.h"

#include <endian.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <string.h>

uint8_t *nfs3_put_u32(uint8_t *at, uint32_t n)
{
    n = htobe32(n);
    memcpy(at, &n, sizeof n);
    return at + sizeof n;
}

uint8_t *nfs3_put_u64(uint8_t *at, uint64_t n)
{
    n = htobe64(n);
    memcpy(at, &n, sizeof n);
    return at + sizeof n;
}

uint8_t *nfs3_put_time(uint8_t *at, uint64_t time_us)
{
    enum { US = 1000000, NS_OF_US = 1000 };
    at = nfs3_put_u32(at, (uint32_t)(time_us / US));
    return nfs3_put_u32(at, (uint32_t)(time_us % US) * NS_OF_US);
}

uint8_t *nfs3_put_opaque(uint8_t *at, const void *bytes, size_t len)
{
    at = nfs3_put_u32(at, (uint32_t)len);
    memcpy(at, bytes, len);
    at += len;
    for (; len & 3; len++)
        *at++ = 0;
    return at;
}

uint8_t *nfs3_put_handle(uint8_t *at, const struct export *export, const struct view_file *file)
{
    struct handle handle = {export->id, file->file, file->generation};
    at = nfs3_put_u32(at, HANDLE_BYTES);
    handle_encode(&handle, at);
    return at + HANDLE_BYTES;
}

uint8_t *nfs3_put_attributes(uint8_t *at, const struct export *export, const struct view_file *file)
{
    static const uint8_t kinds[] = {
        [INODE_FILE] = NF3REG, [INODE_DIRECTORY] = NF3DIR, [INODE_SYMLINK] = NF3LNK};
    at = nfs3_put_u32(at, kinds[file->kind]);
    at = nfs3_put_u32(at, file->mode);
    at = nfs3_put_u32(at, file->links);
    at = nfs3_put_u32(at, file->uid);
    at = nfs3_put_u32(at, file->gid);
    at = nfs3_put_u64(at, file->size);
    at = nfs3_put_u64(at, file->used_bytes);
    at = nfs3_put_u64(at, 0); /* a device's numbers */
    at = nfs3_put_u64(at, export->id);
    at = nfs3_put_u64(at, file->file);
    at = nfs3_put_time(at, file->atime_us);
    at = nfs3_put_time(at, file->mtime_us);
    return nfs3_put_time(at, file->ctime_us);
}

uint8_t *nfs3_put_after(uint8_t *at, const struct export *export, const struct view_file *file)
{
    bool known = export && file && file->file;
    at = nfs3_put_u32(at, known);
    return known ? nfs3_put_attributes(at, export, file) : at;
}

uint8_t *nfs3_put_change(uint8_t *at, const struct export *export, const struct view_change *change)
{
    const struct view_file *before = &change->before;
    at = nfs3_put_u32(at, before->file != 0);
    if (before->file) {
        at = nfs3_put_u64(at, before->size);
        at = nfs3_put_time(at, before->mtime_us);
        at = nfs3_put_time(at, before->ctime_us);
    }
    return nfs3_put_after(at, export, &change->after);
}
