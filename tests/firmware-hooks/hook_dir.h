/* A folder of hooks for a test: written, run, and their log read back. */
#pragma once
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "firmware-hooks/hooks.h"
#include "firmware-hooks/input.h"
#include "tests/lib/engine_drive.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hook_dir {
    char *dir;
    char hooks[300], log[300];
    struct hooks_config config;
};

/* The log of this process goes to a file of the folder. */
static inline void hook_dir_begin(struct hook_dir *h)
{
    struct err err = {0};
    h->dir = drive_dir();
    str_format(h->hooks, sizeof h->hooks, "%s/hook.d", h->dir);
    str_format(h->log, sizeof h->log, "%s/log", h->dir);
    cr_assert(sys_mkdir(h->hooks, 0755, &err), "%s", err.text);
    AUTO(fd) int fd = sys_open(h->log, O_WRONLY | O_CREAT | O_APPEND, 0600, &err);
    cr_assert(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    h->config = (struct hooks_config){h->hooks, "", "", 20000};
}

static inline void hook_dir_done(struct hook_dir *h) { drive_dir_free(h->dir); }
OWN_DEFINE_INPLACE(hook_dir, struct hook_dir, hook_dir_done);

static inline char *hook_text(const char *path)
{
    struct err err = {0};
    size_t len;
    char *text = sys_read_file(path, 1 << 20, &len, &err);
    return text ? text : own_strdup("", &err);
}

/* True when the log has that part; logs are small. */
static inline bool hook_logged(const struct hook_dir *h, const char *part)
{
    AUTO(mem) char *text = hook_text(h->log);
    return strstr(text, part) != NULL;
}

/* "DIR/name" */
static inline const char *hook_path(const struct hook_dir *h, const char *name)
{
    static char paths[4][400];
    static int turn;
    char *path = paths[turn++ % 4];
    str_format(path, sizeof paths[0], "%s/%s", h->dir, name);
    return path;
}

/* A shell script below hook.d, such as "job.end/10-a"; $D is the folder. */
static inline void hook_put(const struct hook_dir *h, const char *name, const char *script)
{
    struct err err = {0};
    char path[400];
    AUTO(mem)
    char *text = own_printf(&err, "#!/bin/sh\nD='%s'\n%s\n", h->dir, script);
    str_format(path, sizeof path, "%s/%s", h->hooks, name);
    *strrchr(path, '/') = '\0';
    cr_assert(sys_mkdirs(path, 0755, &err), "%s", err.text);
    str_format(path, sizeof path, "%s/%s", h->hooks, name);
    cr_assert(sys_write_file(path, text, strlen(text), 0755, &err), "%s", err.text);
}

/* Calls the event's hooks with one pair. */
static inline struct hooks_result hook_run(const struct hook_dir *h, const char *event,
                                           uint64_t within_ms)
{
    AUTO(str) struct str input = {0};
    struct err err = {0};
    struct hooks_result result;
    input_put(&input, "event", event);
    input_put(&input, "db", "ORCL");
    cr_assert(str_ok(&input, &err));
    struct hooks_call call = {.config = &h->config,
                              .event = hooks_event_find(event),
                              .input = input.text,
                              .input_len = input.len,
                              .until_ms = within_ms ? clock_mono_ms() + within_ms : 0};
    cr_assert(call.event, "%s", event);
    hooks_run(&call, &result);
    return result;
}
