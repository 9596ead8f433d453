/* INI text, in the syntax of Python's ConfigParser, to one event per section and key. */
#include "agent/config/ini.h"

#include "agent/base/str.h"
#include <ctype.h>
#include <string.h>

enum { NAMES_MAX = 4000 }; /* per list; the search for twins is linear */

struct name {
    char *text;
    unsigned line;
};

struct names {
    struct name *names;
    size_t count, capacity;
};

struct reader {
    const char *file;
    bool (*on)(void *arg, const struct ini_event *event, struct err *err);
    void *arg;
    unsigned line;               /* being read */
    char *section;               /* NULL before the first */
    struct names sections, keys; /* seen so far; keys of this section */
    char *key;                   /* whose value is being gathered, NULL: none */
    unsigned key_line;
    size_t key_indent;
    struct str value;
    size_t blanks; /* empty lines inside the value, kept only when more follows */
};

static bool fail_at(const struct reader *reader, unsigned line, struct err *err)
{
    err->code = ERR_CONFIG;
    return err_wrap(err, "%s:%u", reader->file, line);
}

static void names_clear(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        own_free(names->names[i].text);
    names->count = 0;
}

static void reader_done(struct reader *reader)
{
    names_clear(&reader->sections);
    names_clear(&reader->keys);
    own_free(reader->sections.names);
    own_free(reader->keys.names);
    own_free(reader->section);
    own_free(reader->key);
    str_done(&reader->value);
}

/* Notes a name; false when it was there before. */
static bool names_add(const struct reader *reader, struct names *names, const char *what,
                      const char *text, struct err *err)
{
    for (size_t i = 0; i < names->count; i++)
        if (str_equal(names->names[i].text, text)) {
            err_set(err, ERR_CONFIG, "%s '%s' stands here twice, first at line %u", what, text,
                    names->names[i].line);
            return fail_at(reader, reader->line, err);
        }
    if (names->count >= NAMES_MAX)
        return err_set(err, ERR_CONFIG, "%s:%u: too many names", reader->file, reader->line);
    if (!own_grow((void **)&names->names, &names->capacity, names->count, sizeof *names->names,
                  err))
        return false;
    char *copy = own_strdup(text, err);
    if (copy)
        names->names[names->count++] = (struct name){copy, reader->line};
    return copy != NULL;
}

/* Hands over the key whose value has ended. */
static bool end_value(struct reader *reader, struct err *err)
{
    if (!reader->key)
        return true;
    AUTO(mem) char *key = TAKE(reader->key);
    if (!str_ok(&reader->value, err))
        return false;
    char *value = str_trim(reader->value.text);
    if (strstr(value, "%(")) {
        err_set(err, ERR_CONFIG, "key '%s': interpolation with '%%(' is not supported", key);
        return fail_at(reader, reader->key_line, err);
    }
    struct ini_event event = {reader->section, key, value, reader->key_line};
    bool ok = reader->on(reader->arg, &event, err);
    str_clear(&reader->value);
    return ok;
}

static bool begin_section(struct reader *reader, char *text, struct err *err)
{
    char *close = strrchr(text, ']');
    if (!close || close == text + 1 || close[1]) {
        err_set(err, ERR_CONFIG, "a section is written [name]");
        return fail_at(reader, reader->line, err);
    }
    *close = '\0';
    if (!names_add(reader, &reader->sections, "section", text + 1, err))
        return false;
    own_free(reader->section);
    reader->section = own_strdup(text + 1, err);
    names_clear(&reader->keys);
    struct ini_event event = {reader->section, NULL, "", reader->line};
    return reader->section && reader->on(reader->arg, &event, err);
}

static bool begin_key(struct reader *reader, char *text, size_t indent, struct err *err)
{
    if (!reader->section) {
        err_set(err, ERR_CONFIG, "text before the first [section]");
        return fail_at(reader, reader->line, err);
    }
    size_t len = strcspn(text, "=:");
    if (!text[len] || !len) {
        err_set(err, ERR_CONFIG, "'%.60s' is neither 'key = value' nor '[section]'", text);
        return fail_at(reader, reader->line, err);
    }
    text[len] = '\0';
    str_append(&reader->value, text + len + 1);
    char *key = str_trim(text);
    for (char *p = key; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    if (!names_add(reader, &reader->keys, "key", key, err))
        return false;
    reader->key = own_strdup(key, err);
    reader->key_line = reader->line;
    reader->key_indent = indent;
    reader->blanks = 0;
    return reader->key != NULL;
}

static bool take_line(struct reader *reader, char *text, struct err *err)
{
    size_t indent = strspn(text, " \t");
    char *trimmed = str_trim(text);
    if (*trimmed == '#' || *trimmed == ';')
        return true;
    if (!*trimmed) {
        reader->blanks++;
        return true;
    }
    if (reader->key && indent > reader->key_indent) {
        for (; reader->blanks; reader->blanks--)
            str_append(&reader->value, "\n");
        str_append(&reader->value, "\n");
        str_append(&reader->value, trimmed);
        return true;
    }
    if (!end_value(reader, err))
        return false;
    return *trimmed == '[' ? begin_section(reader, trimmed, err)
                           : begin_key(reader, trimmed, indent, err);
}

static bool read_lines(struct reader *reader, const char *text, size_t len, struct err *err)
{
    while (len) {
        const char *newline = memchr(text, '\n', len);
        size_t line_len = newline ? (size_t)(newline - text) : len;
        AUTO(mem) char *line = own_strndup(text, line_len, err);
        reader->line++;
        if (!line || !take_line(reader, line, err))
            return false;
        size_t used = line_len + (newline != NULL);
        text += used;
        len -= used;
    }
    return end_value(reader, err);
}

bool ini_parse(const char *text, size_t len, const char *file,
               bool (*on)(void *arg, const struct ini_event *event, struct err *err), void *arg,
               struct err *err)
{
    if (len > INI_SIZE_MAX)
        return err_set(err, ERR_CONFIG, "%s: %zu bytes are no configuration, at most %d", file, len,
                       INI_SIZE_MAX);
    struct reader reader = {.file = file, .on = on, .arg = arg};
    const char *nul = memchr(text, '\0', len);
    if (nul) {
        reader.line = 1;
        for (const char *p = text; p < nul; p++)
            reader.line += *p == '\n';
        err_set(err, ERR_CONFIG, "a NUL byte, so this is no text");
        return fail_at(&reader, reader.line, err);
    }
    if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        len -= 3;
    }
    bool ok = read_lines(&reader, text, len, err);
    reader_done(&reader);
    return ok;
}
