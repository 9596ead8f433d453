/* evercopy-hook-host LIBRARY: gives one event, read from stdin, to a hook library, in a process of
 * its own; the library's answer is the exit code. */
#include "firmware-hooks/evercopy_hooks.h"
#include "firmware-hooks/input.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { EXIT_UNUSABLE = 120 };

/* The interface of 1: up to and with its last member. */
#define SIZE_OF_1 (offsetof(struct evercopy_hooks, on_event) + sizeof(void *))

static void on_reply(void *self, const char *key, const char *value)
{
    struct str line = {0};
    struct err err = {0};
    (void)self;
    if (!key || !value || !input_key_is_valid(key, strnlen(key, INPUT_KEY_MAX + 1)))
        return;
    input_put(&line, key, value);
    if (str_ok(&line, &err))
        fputs(line.text, stdout);
    str_done(&line);
}

static bool read_event(struct input *ret, struct err *err)
{
    static char text[INPUT_BYTES_MAX + 1];
    size_t len = fread(text, 1, sizeof text, stdin);
    if (ferror(stdin))
        return err_set(err, ERR_IO, "the event cannot be read");
    return input_parse(ret, text, len, err);
}

typedef const struct evercopy_hooks *entry_fn(const struct evercopy_hooks_host *host);

static const struct evercopy_hooks *load(const char *path, const struct evercopy_hooks_host *host,
                                         struct err *err)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* until the process ends */
    entry_fn *entry = library ? (entry_fn *)dlsym(library, "evercopy_hooks_entry") : NULL;
    if (!entry)
        return err_null((err_set(err, ERR_EXTERNAL, "%s", dlerror()), err), "load");
    const struct evercopy_hooks *hooks = entry(host);
    if (!hooks)
        return err_null((err_set(err, ERR_EXTERNAL, "'%s' refuses this agent", path), err), "load");
    if (hooks->size < SIZE_OF_1 || hooks->version < 1 || !hooks->on_event)
        return err_null((err_set(err, ERR_EXTERNAL, "'%s' is no hook library", path), err), "load");
    return hooks;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    AUTO(input) struct input input = {0};
    const struct evercopy_hooks_host host = {
        .size = sizeof host, .version = EVERCOPY_HOOKS_VERSION, .reply = on_reply};
    if (argc != 2) {
        fputs("usage: evercopy-hook-host LIBRARY < event\n", stderr);
        return EXIT_UNUSABLE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct evercopy_hooks *hooks =
        read_event(&input, &err) ? load(argv[1], &host, &err) : NULL;
    if (!hooks) {
        fprintf(stderr, "evercopy-hook-host: %s\n", err.text);
        return EXIT_UNUSABLE;
    }
    const struct evercopy_hooks_event event = {
        .size = sizeof event,
        .version = EVERCOPY_HOOKS_VERSION,
        .name = input_value(&input, "event"),
        .pairs = input.pairs,
    };
    int answer = hooks->on_event(&host, &event);
    return answer >= 0 && answer <= EVERCOPY_HOOKS_FAILED ? answer : EVERCOPY_HOOKS_FAILED;
}
