/* What a hook reads: key=value lines (README.md, FORMAT), written here and read by the runner. */
#pragma once
#include "agent/base/str.h"

enum { INPUT_BYTES_MAX = 64 * 1024, INPUT_VALUE_MAX = 4000, INPUT_KEY_MAX = 32 };

/* [a-z][a-z0-9_]*, at most 32 bytes */
bool input_key_is_valid(const char *key, size_t len);
/* One line; a value over the limit is cut, where a sign begins. Memory: str_ok tells. */
void input_put(struct str *to, const char *key, const char *value);

/* Texts as they were before they were escaped; key, value, ..., NULL. Owned by the object. */
struct input {
    char *text;
    const char **pairs;
    size_t count; /* of pairs */
};
/* Reads lines, whoever wrote them: INVALID with the line's number. text is copied. */
bool input_parse(struct input *ret, const char *text, size_t len, struct err *err) MUST;
const char *input_value(const struct input *input, const char *key); /* "" when there is none */
void input_done(struct input *input);
OWN_DEFINE_INPLACE(input, struct input, input_done);
