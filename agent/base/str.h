/* Text that grows, and the few string questions everybody asks. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

/* Start with {0}. `text` is NULL while empty and never appended to. When memory runs out `failed`
 * is set, later appends do nothing, and str_ok() reports it once at the end. */
struct str {
    char *text;
    size_t len;
    size_t capacity;
    bool failed;
};

void str_append(struct str *s, const char *text);
void str_append_n(struct str *s, const void *bytes, size_t len);
void str_printf(struct str *s, const char *fmt, ...) PRINTF(2, 3);
/* True when nothing failed; then s->text is non-NULL and terminated. */
bool str_ok(struct str *s, struct err *err) MUST;
/* The text, owned by the caller; s is empty afterwards. NULL with NO_MEMORY. */
char *str_take(struct str *s, struct err *err) MUST;
void str_clear(struct str *s); /* keeps the memory */
void str_done(struct str *s);
OWN_DEFINE_INPLACE(str, struct str, str_done);

bool str_equal(const char *a, const char *b);      /* NULL equals only NULL */
bool str_equal_fold(const char *a, const char *b); /* ASCII, case ignored */
bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);
/* Whole decimal number; false when empty, signed, with blanks, or above max. */
bool str_to_u64(const char *text, uint64_t max, uint64_t *ret_value) MUST;
/* Copies with cut; returns false when it did not fit. Always terminates. */
bool str_copy(char *to, size_t size, const char *from);
/* snprintf into a fixed buffer; false when it did not fit. Always terminates. */
bool str_format(char *to, size_t size, const char *fmt, ...) PRINTF(3, 4);
/* Without leading and trailing blanks, in place; returns the first kept sign. */
char *str_trim(char *text);
/* Next field up to sep; *cursor moves behind it, NULL when none is left. Fields may be empty. */
char *str_field(char **cursor, char sep);
/* Edit distance, for "nearest known key"; at most 64 signs of each are compared. */
int str_distance(const char *a, const char *b);
/* The candidate nearest to word, NULL when none comes close enough to be meant. */
const char *str_nearest(const char *word, const char *const *candidates, size_t count);
/* Lower-case hex; ret must hold 2 * len + 1. */
void str_hex(const void *bytes, size_t len, char *ret);
/* True for valid UTF-8 without NUL. */
bool str_is_utf8(const char *text, size_t len);
