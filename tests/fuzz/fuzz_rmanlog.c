/* Fuzz target: RMAN's output, cut into lines at line ends. */
#include "agent/shim/rmanlog.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(rmanlog) struct rmanlog *log = rmanlog_new(&err);
    const char *text = (const char *)data;
    while (log && size) {
        const char *end = memchr(text, '\n', size);
        size_t len = end ? (size_t)(end - text) : size;
        struct rmanlog_line meaning;
        rmanlog_feed(log, text, len, &meaning);
        if (len == 1 && *text == '!')
            rmanlog_session(log);
        text += len + (end != NULL);
        size -= len + (end != NULL);
    }
    if (log && !rmanlog_facts(log))
        abort();
    return 0;
}
