/* Ownership: cleanup attributes, and the one door to the heap. */
#pragma once
#include "agent/base/err.h"
#include <stddef.h>

/* AUTO(thing) struct thing *t = ...; frees t with thing_free() at scope end.
 * OWN_DEFINE(thing, struct thing, thing_free) makes the word `thing` usable in AUTO. The release
 * function must accept NULL. */
#define AUTO(word) __attribute__((cleanup(own_auto_##word), unused))
#define OWN_DEFINE(word, type, release)                                                            \
    static inline void own_auto_##word(type **p) { release(*p); }                                  \
    struct own_semicolon_##word
/* For objects in place: AUTO(str) struct str s = {0}; */
#define OWN_DEFINE_INPLACE(word, type, release)                                                    \
    static inline void own_auto_##word(type *p) { release(p); }                                    \
    struct own_semicolon_##word

/* Hands the pointer to the caller; the local is NULL afterwards. */
#define TAKE(p)                                                                                    \
    ({                                                                                             \
        __typeof__(p) own_taken = (p);                                                             \
        (p) = NULL;                                                                                \
        own_taken;                                                                                 \
    })

/* Zeroed memory, released with own_free (plain free works too). NULL with NO_MEMORY. */
void *own_alloc(size_t size, struct err *err) MUST;
/* Grows or shrinks; the old block stays valid on failure. New bytes are not zeroed. */
void *own_realloc(void *old, size_t size, struct err *err) MUST;
char *own_strdup(const char *text, struct err *err) MUST;
/* At most len bytes, always terminated. */
char *own_strndup(const char *text, size_t len, struct err *err) MUST;
char *own_printf(struct err *err, const char *fmt, ...) PRINTF(2, 3) MUST;
void own_free(void *p);
/* Gives what was freed back to the system, after much of it was; costs milliseconds. */
void own_trim(void);

/* Makes room for one more element in *items (capacity doubles). False with NO_MEMORY. */
bool own_grow(void **items, size_t *capacity, size_t count, size_t item_size, struct err *err) MUST;

/* Test hook: the nth allocation from now fails; 0 turns it and the counting off. Returns how many
 * were counted since the last call. */
long own_fault(long nth);

/* AUTO(mem) char *text = ...; for plain heap blocks. */
static inline void own_auto_mem(void *p) { own_free(*(void **)p); }
/* AUTO(fd) int fd = -1; closes when >= 0. */
void own_auto_fd(int *fd);
