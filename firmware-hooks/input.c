/* What a hook reads: key=value lines, newline-free whatever the values hold. */
#include "firmware-hooks/input.h"

#include <ctype.h>
#include <string.h>

bool input_key_is_valid(const char *key, size_t len)
{
    if (!len || len > INPUT_KEY_MAX || key[0] < 'a' || key[0] > 'z')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!(key[i] >= 'a' && key[i] <= 'z') && !(key[i] >= '0' && key[i] <= '9') && key[i] != '_')
            return false;
    return true;
}

/* How much of the value fits, without cutting a sign of UTF-8 in two. */
static size_t fitting(const char *value)
{
    size_t len = strnlen(value, INPUT_VALUE_MAX + 1);
    if (len <= INPUT_VALUE_MAX)
        return len;
    len = INPUT_VALUE_MAX;
    for (int i = 0; i < 3 && ((unsigned char)value[len] & 0xc0) == 0x80; i++)
        len--;
    return len;
}

void input_put(struct str *to, const char *key, const char *value)
{
    size_t len = fitting(value);
    bool text = str_is_utf8(value, len);
    str_printf(to, "%s=", key);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c == '\\')
            str_append(to, "\\\\");
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !text))
            str_printf(to, "\\x%02x", c);
        else
            str_append_n(to, &value[i], 1);
    }
    str_append(to, "\n");
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; false when an escape is none of ours, or hides a NUL. */
static bool unescape(char *value)
{
    char *to = value;
    for (const char *from = value; *from; from++) {
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        if (from[1] == '\\') {
            *to++ = *++from;
            continue;
        }
        int high = from[1] == 'x' ? digit(from[2]) : -1;
        int low = high >= 0 ? digit(from[3]) : -1;
        if (low < 0 || (high == 0 && low == 0))
            return false;
        *to++ = (char)(high * 16 + low);
        from += 3;
    }
    *to = '\0';
    return true;
}

static bool parse_line(struct input *input, size_t *capacity, char *line, struct err *err)
{
    char *value = strchr(line, '=');
    if (!value || !input_key_is_valid(line, (size_t)(value - line)))
        return err_set(err, ERR_INVALID, "no key=value");
    *value++ = '\0';
    if (!unescape(value))
        return err_set(err, ERR_INVALID, "an escape is neither \\\\ nor \\xNN");
    /* Room for this pair and for the NULL behind the last one. */
    if (!own_grow((void **)&input->pairs, capacity, 2 * input->count + 2, sizeof *input->pairs,
                  err))
        return false;
    input->pairs[2 * input->count] = line;
    input->pairs[2 * input->count + 1] = value;
    input->pairs[2 * ++input->count] = NULL;
    return true;
}

bool input_parse(struct input *ret, const char *text, size_t len, struct err *err)
{
    AUTO(input) struct input input = {0};
    size_t capacity = 0;
    size_t number = 1;
    if (len > INPUT_BYTES_MAX || memchr(text, '\0', len))
        return err_set(err, ERR_INVALID, "the event is larger than %d bytes, or no text",
                       INPUT_BYTES_MAX);
    input.text = own_strndup(text, len, err);
    if (!input.text || !own_grow((void **)&input.pairs, &capacity, 0, sizeof *input.pairs, err))
        return false;
    input.pairs[0] = NULL;
    for (char *cursor = input.text, *line; (line = str_field(&cursor, '\n')); number++)
        if ((*line || cursor) && !parse_line(&input, &capacity, line, err))
            return err_wrap(err, "line %zu", number);
    *ret = input;
    input = (struct input){0};
    return true;
}

const char *input_value(const struct input *input, const char *key)
{
    for (size_t i = 0; i < input->count; i++)
        if (str_equal(input->pairs[2 * i], key))
            return input->pairs[2 * i + 1];
    return "";
}

void input_done(struct input *input)
{
    own_free(input->text);
    own_free(input->pairs);
    *input = (struct input){0};
}
