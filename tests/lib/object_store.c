/* Object stores for tests: programs started, told what to do by lines, ended. */
#include "tests/lib/object_store.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <stdlib.h>
#include <string.h>

enum { ANSWER_MS = 120000, ARGS_MAX = 16 };

static bool begin(struct object_store *s, const char *dir, const char *access, const char *secret,
                  struct err *err)
{
    char text[256];
    *s = (struct object_store){.script = {.to = -1, .from = -1}};
    str_format(s->credentials, sizeof s->credentials, "%s/credentials", dir);
    str_format(text, sizeof text, "%s\n%s\n", access, secret);
    return sys_write_file(s->credentials, text, strlen(text), 0600, err);
}

static bool await_port(struct object_store *s, struct err *err)
{
    char line[SCRIPT_LINE];
    do {
        if (!script_read(&s->script, ANSWER_MS, line, err))
            return false;
    } while (!str_starts(line, "port "));
    s->port = (unsigned)strtoul(line + 5, NULL, 10);
    return true;
}

bool object_store_fake(struct object_store *s, const char *dir, const char *const *flags,
                       struct err *err)
{
    const char *argv[ARGS_MAX] = {"/usr/bin/python3", "tests/lib/fake_s3.py", "vault"};
    size_t count = 3;
    if (!begin(s, dir, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", err))
        return false;
    argv[count++] = s->credentials;
    for (; flags && *flags && count + 1 < ARGS_MAX; flags++)
        argv[count++] = *flags;
    return script_begin(&s->script, argv, err) && await_port(s, err);
}

bool object_store_s3rver(struct object_store *s, const char *dir, struct err *err)
{
    const char *argv[] = {"tests/lib/s3rver.sh", dir, NULL};
    return begin(s, dir, "S3RVER", "S3RVER", err) && script_begin(&s->script, argv, err) &&
           await_port(s, err);
}

bool object_store_swift(struct object_store *s, const char *dir, struct err *err)
{
    const char *argv[] = {"tests/lib/swift.sh", dir, NULL};
    return begin(s, dir, "test:tester", "testing", err) && script_begin(&s->script, argv, err) &&
           await_port(s, err);
}

long object_store_tell(struct object_store *s, const char *line)
{
    char answer[SCRIPT_LINE];
    struct err err = {0};
    if (!script_tell(&s->script, line) || !script_read(&s->script, ANSWER_MS, answer, &err))
        return -1;
    return str_equal(answer, "ok") ? 0 : strtol(answer, NULL, 10);
}

struct io *object_store_open(struct object_store *s, const char *prefix,
                             const struct io_option *more, size_t count, struct err *err)
{
    char url[128];
    char endpoint[64];
    struct io_option options[ARGS_MAX] = {{"endpoint", endpoint}, {"credentials", s->credentials}};
    str_format(endpoint, sizeof endpoint, "http://127.0.0.1:%u", s->port);
    for (size_t i = 0; i < count && i + 2 < ARGS_MAX; i++)
        options[i + 2] = more[i];
    str_format(url, sizeof url, "s3://vault/%s", prefix);
    return io_open(url, options, count + 2, err);
}

void object_store_done(struct object_store *s) { script_kill(&s->script); }
