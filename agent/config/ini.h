/* INI text, in the syntax of Python's ConfigParser, to one event per section and key. */
#pragma once
#include "agent/base/err.h"

enum { INI_SIZE_MAX = 1 << 20 };

struct ini_event {
    const char *section;
    const char *key;   /* lower case; NULL when a section begins */
    const char *value; /* without outer blanks; continuation lines joined by '\n' */
    unsigned line;     /* where the section or key stands, from 1 */
};

/* Calls `on` for each section and key in order; stops at the first false. `key: value` and
 * `key = value`; lines that begin with '#' or ';' are comments; lines indented deeper than their
 * key continue its value. Errors name file and line: NUL bytes, text outside a section, a key twice
 * in a section, a section twice, '%(' interpolation, more than INI_SIZE_MAX bytes. Pointers in the
 * event live until `on` returns. */
bool ini_parse(const char *text, size_t len, const char *file,
               bool (*on)(void *arg, const struct ini_event *event, struct err *err), void *arg,
               struct err *err) MUST;
