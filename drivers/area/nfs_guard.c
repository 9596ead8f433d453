/* The shape of replies: every length is checked against what is there and what the protocol allows.
 */
#include "drivers/area/nfs_guard.h"

#include <string.h>

enum { HANDLE_MAX = 64, NAME_MAX_BYTES = 255, FLAVORS_MAX = 32, ATTRIBUTES = 84, BEFORE = 24 };

struct walk {
    const uint8_t *bytes;
    size_t len, at;
    struct err *err;
};

static bool lie(const struct walk *walk, const char *what)
{
    return err_set(walk->err, ERR_IO, "reply is malformed at byte %zu: %s", walk->at, what);
}

static bool skip(struct walk *walk, size_t n)
{
    if (walk->len - walk->at < n)
        return lie(walk, "it ends too early");
    walk->at += n;
    return true;
}

static bool take_u32(struct walk *walk, uint32_t *ret)
{
    const uint8_t *p = walk->bytes + walk->at;
    if (!skip(walk, 4))
        return false;
    *ret = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    return true;
}

static bool take_flag(struct walk *walk, uint32_t *ret)
{
    return take_u32(walk, ret) && (*ret <= 1 || lie(walk, "a flag that is neither 0 nor 1"));
}

/* Bytes with their length in front, padded to four. */
static bool take_opaque(struct walk *walk, size_t max, const char *what, const uint8_t **ret,
                        uint32_t *ret_len)
{
    if (!take_u32(walk, ret_len))
        return false;
    if (*ret_len == 0 || *ret_len > max)
        return lie(walk, what);
    *ret = walk->bytes + walk->at;
    return skip(walk, ((size_t)*ret_len + 3) & ~(size_t)3);
}

static bool take_name(struct walk *walk)
{
    const uint8_t *name = NULL;
    uint32_t len = 0;
    if (!take_opaque(walk, NAME_MAX_BYTES, "a name of an impossible length", &name, &len))
        return false;
    return (!memchr(name, '/', len) && !memchr(name, '\0', len)) ||
           lie(walk, "a name with '/' or NUL in it");
}

static bool take_one(struct walk *walk, char kind)
{
    const uint8_t *bytes;
    uint32_t n;
    switch (kind) {
    case 'u':
        return skip(walk, 4);
    case 'h':
    case '8':
        return skip(walk, 8);
    case 'b':
        return take_flag(walk, &n);
    case 'A':
        return skip(walk, ATTRIBUTES);
    case 'W':
        return skip(walk, BEFORE);
    case 'F':
        return take_opaque(walk, HANDLE_MAX, "a file handle of an impossible length", &bytes, &n);
    case 'N':
        return take_name(walk);
    case 'V':
        return take_u32(walk, &n) &&
               (n <= FLAVORS_MAX || lie(walk, "more flavours than there are")) &&
               skip(walk, (size_t)n * 4);
    default:
        return lie(walk, "its shape is not known");
    }
}

/* One after the other, up to the shape's end; no repetition in it. */
static bool take_row(struct walk *walk, const char *shape, size_t shape_len)
{
    for (size_t i = 0; i < shape_len; i++) {
        uint32_t follows = 1;
        if (shape[i] == '?') {
            if (!take_flag(walk, &follows))
                return false;
            i++;
        }
        if (follows && !take_one(walk, shape[i]))
            return false;
    }
    return true;
}

static bool take_all(struct walk *walk, const char *shape)
{
    const char *open = strstr(shape, "*(");
    const char *close = open ? strchr(open, ')') : NULL;
    if (!close)
        return take_row(walk, shape, strlen(shape));
    if (!take_row(walk, shape, (size_t)(open - shape)))
        return false;
    for (;;) { /* ends: each round takes four bytes at least */
        uint32_t more;
        if (!take_flag(walk, &more))
            return false;
        if (!more)
            return take_row(walk, close + 1, strlen(close + 1));
        if (!take_row(walk, open + 2, (size_t)(close - open - 2)))
            return false;
    }
}

bool nfs_guard(const char *shape, const uint8_t *bytes, size_t len, struct err *err)
{
    struct walk walk = {.bytes = bytes, .len = len, .err = err};
    return take_all(&walk, shape) &&
           (walk.at == len || lie(&walk, "more bytes than the answer has"));
}
