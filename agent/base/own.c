/* Ownership: the one door to the heap, with a fault that tests can set. */
#include "agent/base/own.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic long fault_nth;
static _Atomic long fault_count;

static bool fault_hits(void)
{
    long nth = fault_nth;
    return nth > 0 && ++fault_count == nth;
}

long own_fault(long nth)
{
    long seen = fault_count;
    fault_count = 0;
    fault_nth = nth;
    return seen;
}

void *own_alloc(size_t size, struct err *err)
{
    void *p = fault_hits() ? NULL : calloc(1, size ? size : 1);
    if (!p)
        err_set(err, ERR_NO_MEMORY, "cannot allocate %zu bytes", size);
    return p;
}

void *own_realloc(void *old, size_t size, struct err *err)
{
    void *p = fault_hits() ? NULL : realloc(old, size ? size : 1);
    if (!p)
        err_set(err, ERR_NO_MEMORY, "cannot allocate %zu bytes", size);
    return p;
}

char *own_strndup(const char *text, size_t len, struct err *err)
{
    len = strnlen(text, len);
    char *copy = own_alloc(len + 1, err);
    if (copy)
        memcpy(copy, text, len);
    return copy;
}

char *own_strdup(const char *text, struct err *err) { return own_strndup(text, strlen(text), err); }

char *own_printf(struct err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0) {
        err_set(err, ERR_INTERNAL, "cannot format text");
        return NULL;
    }
    char *text = own_alloc((size_t)len + 1, err);
    if (!text)
        return NULL;
    va_start(args, fmt);
    IGNORE(vsnprintf(text, (size_t)len + 1, fmt, args) < 0); /* measured just above */
    va_end(args);
    return text;
}

void own_trim(void) { malloc_trim(0); }

void own_free(void *p) { free(p); }

bool own_grow(void **items, size_t *capacity, size_t count, size_t item_size, struct err *err)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 8;
    if (wanted > SIZE_MAX / item_size)
        return err_set(err, ERR_LIMIT, "list too long: %zu items", count);
    void *grown = own_realloc(*items, wanted * item_size, err);
    if (!grown)
        return false;
    *items = grown;
    *capacity = wanted;
    return true;
}

void own_auto_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
