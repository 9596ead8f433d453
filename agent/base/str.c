/* Text that grows, and the few string questions everybody asks. */
#include "agent/base/str.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool reserve(struct str *s, size_t more)
{
    if (s->failed)
        return false;
    size_t wanted = s->len + more + 1;
    if (wanted <= s->capacity)
        return true;
    size_t capacity = s->capacity ? s->capacity : 64;
    while (capacity < wanted)
        capacity *= 2;
    struct err err = {0};
    char *grown = own_realloc(s->text, capacity, &err);
    if (!grown) {
        s->failed = true;
        return false;
    }
    s->text = grown;
    s->capacity = capacity;
    return true;
}

void str_append_n(struct str *s, const void *bytes, size_t len)
{
    if (!reserve(s, len))
        return;
    if (len)
        memcpy(s->text + s->len, bytes, len);
    s->len += len;
    s->text[s->len] = '\0';
}

void str_append(struct str *s, const char *text) { str_append_n(s, text, strlen(text)); }

void str_printf(struct str *s, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0 || !reserve(s, (size_t)len)) {
        s->failed = true;
        return;
    }
    va_start(args, fmt);
    IGNORE(vsnprintf(s->text + s->len, (size_t)len + 1, fmt, args) < 0); /* measured just above */
    va_end(args);
    s->len += (size_t)len;
}

bool str_ok(struct str *s, struct err *err)
{
    str_append_n(s, "", 0);
    if (s->failed)
        return err_set(err, ERR_NO_MEMORY, "cannot build text of %zu bytes", s->len);
    return true;
}

char *str_take(struct str *s, struct err *err)
{
    if (!str_ok(s, err))
        return NULL;
    char *text = s->text;
    *s = (struct str){0};
    return text;
}

void str_clear(struct str *s)
{
    s->len = 0;
    s->failed = false;
    if (s->text)
        s->text[0] = '\0';
}

void str_done(struct str *s)
{
    own_free(s->text);
    *s = (struct str){0};
}

bool str_equal(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

bool str_equal_fold(const char *a, const char *b)
{
    return a && b ? strcasecmp(a, b) == 0 : a == b;
}

bool str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
    size_t text_len = strlen(text);
    size_t len = strlen(suffix);
    return text_len >= len && memcmp(text + text_len - len, suffix, len) == 0;
}

bool str_to_u64(const char *text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (!text || !*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value > max)
        return false;
    *ret_value = value;
    return true;
}

bool str_copy(char *to, size_t size, const char *from)
{
    size_t len = strlen(from);
    bool fits = len < size;
    if (!fits)
        len = size - 1;
    memcpy(to, from, len);
    to[len] = '\0';
    return fits;
}

bool str_format(char *to, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(to, size, fmt, args);
    va_end(args);
    return len >= 0 && (size_t)len < size;
}

char *str_trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t len = strlen(text);
    while (len && isspace((unsigned char)text[len - 1]))
        text[--len] = '\0';
    return text;
}

char *str_field(char **cursor, char sep)
{
    char *field = *cursor;
    if (!field)
        return NULL;
    char *end = strchr(field, sep);
    if (end)
        *end++ = '\0';
    *cursor = end;
    return field;
}

enum { DISTANCE_MAX = 64 };

int str_distance(const char *a, const char *b)
{
    size_t a_len = strnlen(a, DISTANCE_MAX);
    size_t b_len = strnlen(b, DISTANCE_MAX);
    int row[DISTANCE_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a_len; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_len; j++) {
            int above = row[j];
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[b_len];
}

const char *str_nearest(const char *word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    int best_distance = (int)strnlen(word, DISTANCE_MAX) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        int distance = str_distance(word, candidates[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    return best;
}

void str_hex(const void *bytes, size_t len, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = bytes;
    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = digits[b[i] >> 4];
        ret[2 * i + 1] = digits[b[i] & 15];
    }
    ret[2 * len] = '\0';
}

/* Length of the UTF-8 sequence at p (shortest form, no surrogates), 0 when it is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t c = p[0];
    size_t len = c < 0x80                ? 1
                 : c >= 0xc2 && c < 0xe0 ? 2
                 : (c & 0xf0) == 0xe0    ? 3
                 : c >= 0xf0 && c < 0xf5 ? 4
                                         : 0;
    if (!len || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if (len > 2) {
        static const struct {
            uint8_t lead, low, high;
        } edges[] = {
            {0xe0, 0xa0, 0xbf}, {0xed, 0x80, 0x9f}, {0xf0, 0x90, 0xbf}, {0xf4, 0x80, 0x8f}};
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
            if (c == edges[i].lead && (p[1] < edges[i].low || p[1] > edges[i].high))
                return 0;
    }
    return len;
}

bool str_is_utf8(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    while (len) {
        size_t n = utf8_sequence(p, len);
        if (!n || *p == 0)
            return false;
        p += n;
        len -= n;
    }
    return true;
}
