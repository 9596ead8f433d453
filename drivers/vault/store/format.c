/* The format's bytes: numbers, sums, hashes, and a reader that never runs over. */
#include "drivers/vault/store/format.h"
#include <assert.h>
#include <endian.h>
#include <gcrypt.h>
#include <pthread.h>
#include <string.h>
#include <xxhash.h>
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> /* the same sums, as fast as this processor can */
#endif

void bytes_done(struct bytes *b)
{
    own_free(b->data);
    *b = (struct bytes){0};
}

bool bytes_add(struct bytes *b, const void *data, size_t len, struct err *err)
{
    if (len > b->capacity - b->len) {
        size_t wanted = b->capacity ? b->capacity : 64;
        while (wanted - b->len < len) {
            if (wanted > SIZE_MAX / 2)
                return err_set(err, ERR_LIMIT, "%zu bytes and %zu more", b->len, len);
            wanted *= 2;
        }
        uint8_t *grown = own_realloc(b->data, wanted, err);
        if (!grown)
            return false;
        b->data = grown;
        b->capacity = wanted;
    }
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return true;
}

bool bytes_u8(struct bytes *b, uint8_t n, struct err *err) { return bytes_add(b, &n, 1, err); }

bool bytes_u16(struct bytes *b, uint16_t n, struct err *err)
{
    uint16_t little = htole16(n);
    return bytes_add(b, &little, sizeof little, err);
}

bool bytes_u32(struct bytes *b, uint32_t n, struct err *err)
{
    uint32_t little = htole32(n);
    return bytes_add(b, &little, sizeof little, err);
}

bool bytes_u64(struct bytes *b, uint64_t n, struct err *err)
{
    uint64_t little = htole64(n);
    return bytes_add(b, &little, sizeof little, err);
}

bool bytes_varint(struct bytes *b, uint64_t n, struct err *err)
{
    uint8_t coded[10];
    size_t len = 0;
    for (; n >= 0x80; n >>= 7)
        coded[len++] = (uint8_t)(n | 0x80);
    coded[len++] = (uint8_t)n;
    return bytes_add(b, coded, len, err);
}

bool bytes_text(struct bytes *b, const char *text, struct err *err)
{
    size_t len = strlen(text);
    return bytes_varint(b, len, err) && bytes_add(b, text, len, err);
}

struct cursor cursor_over(const void *data, size_t len)
{
    static const uint8_t nothing[1];
    const uint8_t *at = data ? data : nothing;
    return (struct cursor){.at = at, .end = at + (data ? len : 0)};
}

const uint8_t *cursor_take(struct cursor *c, size_t len)
{
    if (c->bad || len > cursor_left(c)) {
        c->bad = true;
        c->at = c->end;
        return NULL;
    }
    const uint8_t *taken = c->at;
    c->at += len;
    return taken;
}

static uint64_t number(struct cursor *c, size_t bytes)
{
    uint64_t n = 0;
    const uint8_t *p = cursor_take(c, bytes);
    if (p)
        memcpy(&n, p, bytes);
    return le64toh(n);
}

uint8_t cursor_u8(struct cursor *c) { return (uint8_t)number(c, 1); }

uint16_t cursor_u16(struct cursor *c) { return (uint16_t)number(c, 2); }

uint32_t cursor_u32(struct cursor *c) { return (uint32_t)number(c, 4); }

uint64_t cursor_u64(struct cursor *c) { return number(c, 8); }

uint64_t cursor_varint(struct cursor *c)
{
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t part = cursor_u8(c);
        if (c->bad || (shift == 63 && part > 1))
            break;
        n |= (uint64_t)(part & 0x7f) << shift;
        if (!(part & 0x80))
            return n;
    }
    c->bad = true;
    c->at = c->end;
    return 0;
}

bool cursor_text(struct cursor *c, char *ret, size_t max)
{
    uint64_t len = cursor_varint(c);
    const uint8_t *p = len < max ? cursor_take(c, (size_t)len) : NULL;
    if (!p || memchr(p, 0, (size_t)len)) {
        c->bad = true;
        c->at = c->end;
        ret[0] = 0;
        return false;
    }
    memcpy(ret, p, (size_t)len);
    ret[len] = 0;
    return true;
}

uint64_t format_sum(uint64_t seed, const void *data, size_t len)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t format_sum_of(uint64_t seed, const struct format_piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++)
        seed = format_sum(seed, pieces[i].data, pieces[i].len);
    return seed;
}

static pthread_once_t hash_once = PTHREAD_ONCE_INIT;
enum { ZERO_LEVELS = 8 }; /* record, then levels 0..6: more than 64 TiB needs */
static struct hash zeros[ZERO_LEVELS];

static void hash_raw(const struct format_piece *pieces, size_t count, struct hash *ret)
{
    gcry_buffer_t parts[4] = {0};
    assert(count <= sizeof parts / sizeof *parts);
    for (size_t i = 0; i < count; i++) {
        parts[i].data = (void *)(uintptr_t)pieces[i].data; /* libgcrypt only reads it */
        parts[i].len = pieces[i].len;
    }
    gcry_error_t code = gcry_md_hash_buffers(GCRY_MD_SHA256, 0, ret->bytes, parts, (int)count);
    assert(code == 0); /* SHA-256 of memory cannot fail */
}

static void hash_begin(void)
{
    static const uint8_t record[RECORD_BYTES];
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    hash_raw(&(struct format_piece){record, sizeof record}, 1, &zeros[0]);
    for (unsigned i = 1; i < ZERO_LEVELS; i++) {
        struct hash children[NODE_FAN];
        for (size_t k = 0; k < NODE_FAN; k++)
            children[k] = zeros[i - 1];
        uint8_t level = (uint8_t)(i - 1);
        hash_raw((struct format_piece[]){{&level, 1}, {children, sizeof children}}, 2, &zeros[i]);
    }
}

void hash_pieces(const struct format_piece *pieces, size_t count, struct hash *ret)
{
    IGNORE(pthread_once(&hash_once, hash_begin)); /* fails only for arguments that are wrong */
    hash_raw(pieces, count, ret);
}

void hash_bytes(const void *data, size_t len, struct hash *ret)
{
    hash_pieces(&(struct format_piece){data, len}, 1, ret);
}

const struct hash *hash_zero(int level)
{
    assert(level >= -1 && level < ZERO_LEVELS - 1);
    IGNORE(pthread_once(&hash_once, hash_begin));
    return &zeros[level + 1];
}

bool hash_equal(const struct hash *a, const struct hash *b) { return memcmp(a, b, sizeof *a) == 0; }

bool format_is_zero(const void *data, size_t len)
{
    const uint8_t *p = data;
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}
