/* Errors: one object, passed last. Untouched on success, so calls chain with ||. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define MUST __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define IGNORE(x)                                                                                  \
    do {                                                                                           \
        if (x) {                                                                                   \
        }                                                                                          \
    } while (0)

/* code, text, gRPC status, exit code of scheduler verbs (CONTRACTS: 160..164), worth a retry */
#define ERR_TABLE(X)                                                                               \
    X(INVALID, "invalid argument", 3, 160, false)                                                  \
    X(CONFIG, "configuration error", 9, 160, false)                                                \
    X(NOT_FOUND, "not found", 5, 160, false)                                                       \
    X(EXISTS, "already exists", 6, 160, false)                                                     \
    X(DENIED, "permission denied", 7, 160, false)                                                  \
    X(UNAUTHENTICATED, "not authenticated", 16, 160, false)                                        \
    X(BUSY, "busy", 10, 160, true)                                                                 \
    X(PRECONDITION, "precondition failed", 9, 160, false)                                          \
    X(FENCED, "lease lost", 10, 161, false)                                                        \
    X(LIMIT, "limit exceeded", 8, 160, false)                                                      \
    X(QUOTA, "quota exceeded", 8, 160, false)                                                      \
    X(NO_SPACE, "no space left", 8, 161, false)                                                    \
    X(NO_MEMORY, "out of memory", 8, 161, true)                                                    \
    X(TIMEOUT, "deadline exceeded", 4, 161, true)                                                  \
    X(UNAVAILABLE, "unavailable", 14, 163, true)                                                   \
    X(CANCELLED, "cancelled", 1, 164, false)                                                       \
    X(CORRUPT, "data corrupt", 15, 161, false)                                                     \
    X(UNSUPPORTED, "not supported", 12, 160, false)                                                \
    X(IO, "input/output error", 13, 161, false)                                                    \
    X(EXTERNAL, "external program failed", 13, 161, false)                                         \
    X(UNKNOWN, "could not tell", 2, 162, false)                                                    \
    X(INTERNAL, "internal error", 13, 161, false)

#define ERR_ENUM(name, text, grpc, exit_code, transient) ERR_##name,
enum err_code { ERR_NONE, ERR_TABLE(ERR_ENUM) ERR_CODE_COUNT };
#undef ERR_ENUM

/* Never passed as NULL. Start with `struct err err = {0};`. */
struct err {
    enum err_code code;
    char text[512]; /* NUL-terminated; cut with "..." when longer */
};

/* Sets code and text; returns false, for `return err_set(...)`. */
bool err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF(3, 4);
/* As err_set, with the errno's text appended and the code chosen from errno_value. */
bool err_errno(struct err *err, int errno_value, const char *fmt, ...) PRINTF(3, 4);
/* Puts context in front: "context: text". Returns false. */
bool err_wrap(struct err *err, const char *fmt, ...) PRINTF(2, 3);
/* err_wrap for functions that return pointers. */
void *err_null(struct err *err, const char *fmt, ...) PRINTF(2, 3);
/* Empties, so that the object can be used again. */
void err_clear(struct err *err);

/* The table's columns. Codes out of range read as INTERNAL. */
const char *err_code_name(enum err_code code); /* "NO_SPACE" */
const char *err_code_text(enum err_code code);
int err_grpc_status(enum err_code code);
int err_exit_code(enum err_code code);
bool err_is_transient(enum err_code code);
/* The code whose gRPC status this is (first in the table), for errors that came over the wire. */
enum err_code err_from_grpc(int grpc_status);
enum err_code err_from_errno(int errno_value);
/* The code of that name, ERR_INTERNAL when there is none. */
enum err_code err_from_name(const char *name);
