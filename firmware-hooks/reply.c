/* What a hook says: two keys are understood, all else is but text for the log. */
#include "firmware-hooks/reply.h"

#include "agent/base/str.h"
#include <string.h>

enum { NUMBER_MAX = 12 };

static bool take_message(struct reply *reply, const char *value, size_t len)
{
    char *to = reply->message;
    if (len > REPLY_MESSAGE_MAX)
        for (len = REPLY_MESSAGE_MAX; len && ((unsigned char)value[len] & 0xc0) == 0x80;)
            len--;
    bool text = str_is_utf8(value, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        bool plain = c >= 0x20 && c != 0x7f && (c < 0x80 || text);
        *to++ = (char)(plain ? c : '?');
    }
    *to = '\0';
    return true;
}

static bool take_again(struct reply *reply, const char *value, size_t len)
{
    char text[NUMBER_MAX];
    uint64_t ms;
    if (len >= sizeof text)
        return false;
    memcpy(text, value, len);
    text[len] = '\0';
    if (strlen(text) != len || !str_to_u64(text, REPLY_AGAIN_MAX_MS, &ms) ||
        ms < REPLY_AGAIN_MIN_MS)
        return false;
    reply->again_ms = ms;
    return true;
}

bool reply_line(struct reply *reply, const char *line, size_t len)
{
    static const struct {
        const char *key;
        bool (*take)(struct reply *reply, const char *value, size_t len);
    } keys[] = {{"message", take_message}, {"again_ms", take_again}};
    const char *sign = len ? memchr(line, '=', len) : NULL;
    size_t key_len = sign ? (size_t)(sign - line) : 0;
    for (size_t i = 0; sign && i < sizeof keys / sizeof *keys; i++)
        if (strlen(keys[i].key) == key_len && !memcmp(keys[i].key, line, key_len))
            return keys[i].take(reply, sign + 1, len - key_len - 1);
    return false;
}
