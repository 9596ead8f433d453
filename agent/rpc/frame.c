/* gRPC on the wire, as pure functions. */
#include "agent/rpc/frame.h"

#include <string.h>

enum { FIRST_CHUNK = 4096, TIMEOUT_DIGITS = 8 };

void frame_reader_done(struct frame_reader *reader)
{
    own_free(reader->bytes);
    *reader = (struct frame_reader){0};
}

bool frame_is_between(const struct frame_reader *reader)
{
    return reader->complete || reader->prefix_len == 0;
}

static bool read_prefix(struct frame_reader *reader, size_t max, struct err *err)
{
    const uint8_t *p = reader->prefix;
    if (p[0] == 1)
        return err_set(err, ERR_UNSUPPORTED, "compressed messages are not supported");
    if (p[0] != 0)
        return err_set(err, ERR_INVALID, "not a gRPC message (flag byte %u)", p[0]);
    size_t wanted = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (wanted > max)
        return err_set(err, ERR_LIMIT, "message of %zu bytes is larger than the limit of %zu",
                       wanted, max);
    reader->wanted = wanted;
    return true;
}

static bool take(struct frame_reader *reader, const uint8_t *bytes, size_t len, struct err *err)
{
    size_t need = reader->len + len;
    if (need > reader->capacity) {
        size_t capacity = reader->capacity ? reader->capacity * 2 : FIRST_CHUNK;
        while (capacity < need)
            capacity *= 2;
        if (capacity > reader->wanted)
            capacity = reader->wanted;
        uint8_t *grown = own_realloc(reader->bytes, capacity, err);
        if (!grown)
            return false;
        reader->bytes = grown;
        reader->capacity = capacity;
    }
    memcpy(reader->bytes + reader->len, bytes, len);
    reader->len = need;
    return true;
}

enum frame_event frame_read(struct frame_reader *reader, const uint8_t **bytes, size_t *len,
                            size_t max, struct err *err)
{
    if (reader->complete) {
        reader->complete = false;
        reader->prefix_len = reader->len = reader->wanted = 0;
    }
    while (*len && reader->prefix_len < FRAME_PREFIX) {
        reader->prefix[reader->prefix_len++] = **bytes;
        ++*bytes;
        --*len;
        if (reader->prefix_len == FRAME_PREFIX && !read_prefix(reader, max, err))
            return FRAME_FAILED;
    }
    if (reader->prefix_len < FRAME_PREFIX)
        return FRAME_MORE;
    size_t missing = reader->wanted - reader->len;
    size_t n = *len < missing ? *len : missing;
    if (n && !take(reader, *bytes, n, err))
        return FRAME_FAILED;
    *bytes += n;
    *len -= n;
    reader->complete = reader->len == reader->wanted;
    return reader->complete ? FRAME_MESSAGE : FRAME_MORE;
}

void frame_write_prefix(uint8_t to[FRAME_PREFIX], size_t message_len)
{
    to[0] = 0;
    for (int i = 1; i < FRAME_PREFIX; i++)
        to[i] = (uint8_t)(message_len >> (8 * (FRAME_PREFIX - 1 - i)));
}

static const struct unit {
    char letter;
    uint64_t us;
} units[] = {
    {'m', 1000}, {'S', 1000000}, {'u', 1}, {'M', 60 * 1000000ull}, {'H', 3600 * 1000000ull},
    {'n', 0}, /* below a microsecond: counted as one ms */
};

bool frame_parse_timeout(const char *text, uint64_t *ret_ms)
{
    size_t len = strlen(text);
    char digits[TIMEOUT_DIGITS + 1];
    uint64_t value;
    if (len < 2 || len > TIMEOUT_DIGITS + 1)
        return false;
    memcpy(digits, text, len - 1);
    digits[len - 1] = '\0';
    if (!str_to_u64(digits, 99999999, &value))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].letter == text[len - 1]) {
            uint64_t us = units[i].us ? value * units[i].us : value / 1000 + 1;
            *ret_ms = (us + 999) / 1000;
            return true;
        }
    return false;
}

void frame_format_timeout(uint64_t ms, char ret[16])
{
    if (ms <= 99999999)
        str_format(ret, 16, "%llum", (unsigned long long)ms);
    else
        str_format(ret, 16, "%lluS",
                   (unsigned long long)(ms / 1000 > 99999999 ? 99999999 : ms / 1000));
}

void frame_percent_encode(struct str *to, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p > 0x7e || *p == '%')
            str_printf(to, "%%%02X", *p);
        else
            str_append_n(to, p, 1);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

void frame_percent_decode(char *to, size_t size, const char *text)
{
    size_t at = 0;
    while (*text && at + 1 < size) {
        int high = text[0] == '%' ? hex_value(text[1]) : -1;
        int low = high >= 0 ? hex_value(text[2]) : -1;
        /* A NUL would hide the rest of the sentence. */
        if (low >= 0 && (high || low)) {
            to[at++] = (char)(high << 4 | low);
            text += 3;
        } else {
            to[at++] = *text++;
        }
    }
    to[at] = '\0';
}

static const char base64_signs[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void frame_base64_encode(struct str *to, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? bytes[i + 2] : 0;
        char text[4];
        for (int k = 0; k < 4; k++)
            text[k] = base64_signs[group >> (18 - 6 * k) & 63];
        if (i + 1 >= len)
            text[2] = '=';
        if (i + 2 >= len)
            text[3] = '=';
        str_append_n(to, text, 4);
    }
}

bool frame_base64_decode(const char *text, uint8_t *ret, size_t *ret_len)
{
    uint32_t group = 0;
    unsigned bits = 0;
    size_t len = 0;
    size_t end = strlen(text);
    while (end && text[end - 1] == '=')
        end--;
    for (size_t i = 0; i < end; i++) {
        const char *sign = strchr(base64_signs, text[i]);
        if (!sign)
            return false;
        group = group << 6 | (uint32_t)(sign - base64_signs);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            ret[len++] = (uint8_t)(group >> bits);
        }
    }
    *ret_len = len;
    return end % 4 != 1;
}
