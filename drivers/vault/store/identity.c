/* A snapshot's identity: what a tree of files hashes to, wherever it lies (FORMAT.md 2.2). */
#include "drivers/vault/store/store.h"
#include <gcrypt.h>
#include <string.h>

enum { PATH_BYTES_MAX = 4096 };

struct identity {
    gcry_md_hd_t md;
    bool begun;
    char last[PATH_BYTES_MAX + 1]; /* the path before: they must ascend */
};

void identity_abandon(struct identity *identity)
{
    if (identity && identity->md)
        gcry_md_close(identity->md);
    own_free(identity);
}

struct identity *identity_begin(struct err *err)
{
    static const char word[] = "tree";
    AUTO(identity) struct identity *identity = own_alloc(sizeof *identity, err);
    if (!identity)
        return NULL;
    IGNORE(hash_zero(0) == NULL); /* the library is ready once anything was hashed */
    gcry_error_t code = gcry_md_open(&identity->md, GCRY_MD_SHA256, 0);
    if (code != 0) {
        identity->md = NULL;
        err_set(err, ERR_NO_MEMORY, "SHA-256: %s", gcry_strerror(code));
        return NULL;
    }
    gcry_md_write(identity->md, word, sizeof word - 1);
    return TAKE(identity);
}

/* A directory is its path; whatever size its volume says it has is not content. */
static bool file_hash(uint8_t kind, uint64_t size, const struct root *root, struct hash *ret,
                      struct err *err)
{
    uint8_t head[4 + 8 + 1] = "file";
    if (kind == INODE_DIRECTORY)
        size = 0;
    uint8_t level = map_level(size);
    bool stored = kind != INODE_DIRECTORY && root && root->stored;
    if (stored && root->level != level)
        return err_set(err, ERR_CORRUPT, "a file of %llu bytes has a map of level %u",
                       (unsigned long long)size, root->level);
    for (size_t i = 0; i < 8; i++)
        head[4 + i] = (uint8_t)(size >> (8 * i));
    head[12] = level;
    const struct hash *top = stored ? &root->hash : hash_zero(level);
    hash_pieces((struct format_piece[]){{head, sizeof head}, {top, sizeof *top}}, 2, ret);
    return true;
}

bool identity_add(struct identity *identity, uint8_t kind, const char *path, uint64_t size,
                  const struct root *root, struct err *err)
{
    struct hash hash;
    size_t len = strnlen(path, PATH_BYTES_MAX + 1);
    if (len > PATH_BYTES_MAX || kind < INODE_FILE || kind > INODE_SYMLINK)
        return err_set(err, ERR_INVALID, "an entry of kind %u with a path of %zu bytes", kind, len);
    if (identity->begun && strcmp(path, identity->last) <= 0)
        return err_set(err, ERR_INVALID, "paths must ascend: '%s' after '%s'", path,
                       identity->last);
    if (!file_hash(kind, size, root, &hash, err))
        return err_wrap(err, "'%s'", path);
    uint8_t head[3] = {kind, (uint8_t)len, (uint8_t)(len >> 8)};
    gcry_md_write(identity->md, head, sizeof head);
    gcry_md_write(identity->md, path, len);
    gcry_md_write(identity->md, hash.bytes, sizeof hash.bytes);
    memcpy(identity->last, path, len + 1);
    identity->begun = true;
    return true;
}

void identity_end(struct identity *identity, struct hash *ret)
{
    memcpy(ret->bytes, gcry_md_read(identity->md, GCRY_MD_SHA256), HASH_BYTES);
    identity_abandon(identity);
}
