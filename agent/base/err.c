/* Errors: one object, passed last. */
#include "agent/base/err.h"

#include "agent/base/str.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    const char *name;
    const char *text;
    int grpc_status;
    int exit_code;
    bool transient;
};

#define ERR_ROW(name, text, grpc, exit_code, transient) {#name, text, grpc, exit_code, transient},
static const struct err_row err_rows[] = {{"NONE", "no error", 0, 0, false}, ERR_TABLE(ERR_ROW)};
#undef ERR_ROW

static const struct err_row *row_of(enum err_code code)
{
    if ((unsigned)code >= ERR_CODE_COUNT)
        code = ERR_INTERNAL;
    return &err_rows[code];
}

/* Never inside a UTF-8 sign: half a sign would make the text unfit for JSON and the wire. */
static void mark_cut(char *text, size_t size, bool cut)
{
    size_t at = size - 4;
    if (!cut)
        return;
    while (at && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    memcpy(text + at, "...", 4);
}

/* Names of files are bytes, and this text goes into JSON, the catalog and the wire. */
static void mend(char *text)
{
    for (unsigned char *p = (unsigned char *)text; !str_is_utf8(text, strlen(text)) && *p; p++)
        if (*p & 0x80)
            *p = '?';
}

static void print(char *text, size_t size, const char *fmt, va_list args)
{
    int wanted = vsnprintf(text, size, fmt, args);
    mark_cut(text, size, wanted >= 0 && (size_t)wanted >= size);
    mend(text);
}

bool err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    err->code = code;
    print(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return false;
}

bool err_errno(struct err *err, int errno_value, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    err->code = err_from_errno(errno_value);
    print(err->text, sizeof err->text, fmt, args);
    va_end(args);
    char reason[96];
    const char *text = strerror_r(errno_value, reason, sizeof reason);
    size_t used = strlen(err->text);
    int wanted = snprintf(err->text + used, sizeof err->text - used, ": %s", text);
    mark_cut(err->text, sizeof err->text, used + (size_t)wanted >= sizeof err->text);
    return false;
}

static void prepend(struct err *err, const char *fmt, va_list args)
{
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    char context[sizeof err->text];
    print(context, sizeof context, fmt, args);
    int wanted = snprintf(err->text, sizeof err->text, "%s: %s", context, old);
    mark_cut(err->text, sizeof err->text, (size_t)wanted >= sizeof err->text);
}

bool err_wrap(struct err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    prepend(err, fmt, args);
    va_end(args);
    return false;
}

void *err_null(struct err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    prepend(err, fmt, args);
    va_end(args);
    return NULL;
}

void err_clear(struct err *err)
{
    err->code = ERR_NONE;
    err->text[0] = '\0';
}

const char *err_code_name(enum err_code code) { return row_of(code)->name; }
const char *err_code_text(enum err_code code) { return row_of(code)->text; }
int err_grpc_status(enum err_code code) { return row_of(code)->grpc_status; }
int err_exit_code(enum err_code code) { return row_of(code)->exit_code; }
bool err_is_transient(enum err_code code) { return row_of(code)->transient; }

enum err_code err_from_grpc(int grpc_status)
{
    for (int code = 1; code < ERR_CODE_COUNT; code++)
        if (err_rows[code].grpc_status == grpc_status)
            return (enum err_code)code;
    return grpc_status == 0 ? ERR_NONE : ERR_INTERNAL;
}

enum err_code err_from_name(const char *name)
{
    for (int code = 0; name && code < ERR_CODE_COUNT; code++)
        if (strcmp(err_rows[code].name, name) == 0)
            return (enum err_code)code;
    return ERR_INTERNAL;
}

enum err_code err_from_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case EPIPE:
        return ERR_UNAVAILABLE;
    case EOPNOTSUPP:
    case ENOSYS:
        return ERR_UNSUPPORTED;
    case EINVAL:
    case ENAMETOOLONG:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}
