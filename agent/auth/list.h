/* Small files of tab-separated lines with a title and a counted end: written whole, read as if a
 * stranger had written them. FORMAT: README.md. */
#pragma once
#include "agent/base/str.h"

enum { LIST_FIELDS_MAX = 10, LIST_FILE_MAX = 64 << 20 };

struct list_row {
    const char *fields[LIST_FIELDS_MAX]; /* into the list's text */
    unsigned line;
};
struct list {
    char *text;
    struct list_row *rows;
    size_t count, capacity;
};
/* Rows of exactly `fields` non-empty fields. NOT_FOUND when there is no file; CONFIG with file:line
 * for whatever else is not as it is written. */
bool list_read(struct list *ret, const char *path, const char *title, size_t fields,
               struct err *err) MUST;
void list_done(struct list *list);
OWN_DEFINE_INPLACE(list, struct list, list_done);

/* A list to write: begin, add rows, end. Fields lose tabs, line ends and other control signs; an
 * empty one becomes "-". */
void list_begin(struct str *to, const char *title);
void list_add(struct str *to, const char *const *fields, size_t count);
bool list_write(struct str *to, const char *path, size_t rows, struct err *err) MUST;
/* Holds the directory's lock, so that programs change its lists in turn; -1. Closing releases. */
int list_lock(const char *dir, struct err *err) MUST;
/* Removes what a killed program left half written beside the directory's lists, unless somebody
 * works on them now. What cannot be removed stays. */
void list_sweep(const char *dir);
