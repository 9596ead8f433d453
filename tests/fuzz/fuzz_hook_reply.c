/* Fuzz target: what a hook says, line by line; and what a hook reads, which must survive the way.
 */
#include "firmware-hooks/input.h"
#include "firmware-hooks/reply.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reply(const char *text, size_t size)
{
    struct reply reply = {0};
    while (size) {
        const char *end = memchr(text, '\n', size);
        size_t len = end ? (size_t)(end - text) : size;
        reply_line(&reply, text, len);
        size_t said = strlen(reply.message);
        if (!str_is_utf8(reply.message, said) || memchr(reply.message, '\n', said) ||
            (reply.again_ms &&
             (reply.again_ms < REPLY_AGAIN_MIN_MS || reply.again_ms > REPLY_AGAIN_MAX_MS)))
            abort();
        text += len + (end != NULL);
        size -= len + (end != NULL);
    }
}

/* What was read can be written again, and is read the same. */
static void check_input(const char *text, size_t size)
{
    struct err err = {0};
    AUTO(input) struct input first = {0};
    AUTO(input) struct input second = {0};
    AUTO(str) struct str again = {0};
    if (!input_parse(&first, text, size, &err) || !first.count)
        return;
    for (size_t i = 0; i < first.count; i++)
        input_put(&again, first.pairs[2 * i], first.pairs[2 * i + 1]);
    if (again.failed || again.len > INPUT_BYTES_MAX)
        return; /* escaped it is larger */
    if (!input_parse(&second, again.text, again.len, &err) || second.count != first.count)
        abort();
    for (size_t i = 0; i < 2 * first.count; i++)
        if (strncmp(first.pairs[i], second.pairs[i], INPUT_VALUE_MAX - 4) != 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_reply((const char *)data, size);
    check_input((const char *)data, size);
    return 0;
}
