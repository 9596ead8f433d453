/* Small files of tab-separated lines with a title and a counted end. */
#include "agent/auth/list.h"

#include "agent/base/sys.h"
#include <fcntl.h>
#include <string.h>

enum { LINE_MAX_BYTES = 8 << 10, FILE_MODE = 0600 };

void list_done(struct list *list)
{
    own_free(list->text);
    own_free(list->rows);
    *list = (struct list){0};
}

static bool broken(struct err *err, const char *path, unsigned line, const char *why)
{
    return err_set(err, ERR_CONFIG, "%s:%u: %s", path, line, why);
}

static bool read_row(struct list *list, char *text, const char *path, unsigned line, size_t fields,
                     struct err *err)
{
    if (!own_grow((void **)&list->rows, &list->capacity, list->count, sizeof *list->rows, err))
        return false;
    struct list_row *row = &list->rows[list->count];
    *row = (struct list_row){.line = line};
    size_t count = 0;
    for (char *cursor = text; cursor; count++) {
        const char *field = str_field(&cursor, '\t');
        if (count == fields || !field[0])
            return broken(err, path, line, "the line has another number of fields than it should");
        row->fields[count] = field;
    }
    if (count != fields)
        return broken(err, path, line, "the line has another number of fields than it should");
    list->count++;
    return true;
}

static bool check_line(const char *text, const char *path, unsigned line, struct err *err)
{
    size_t len = strlen(text);
    if (len > LINE_MAX_BYTES)
        return broken(err, path, line, "the line is too long");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f)
            return broken(err, path, line, "a control sign stands in the line");
    return str_is_utf8(text, len) || broken(err, path, line, "the line is not UTF-8");
}

static bool read_lines(struct list *list, const char *path, const char *title, size_t fields,
                       struct err *err)
{
    char wanted[80];
    char end[40];
    char *cursor = list->text;
    unsigned line = 1;
    IGNORE(!str_format(wanted, sizeof wanted, "%s 1", title));
    if (!str_equal(str_field(&cursor, '\n'), wanted))
        return err_set(err, ERR_CONFIG, "%s:1: this is no '%s' list of version 1", path, title);
    while (cursor) {
        char *text = str_field(&cursor, '\n');
        line++;
        if (!cursor && !*text)
            break;
        IGNORE(!str_format(end, sizeof end, "end %zu", list->count));
        if (str_equal(text, end))
            return (cursor && !*cursor) ||
                   broken(err, path, line + 1, "something stands behind the end");
        if (!check_line(text, path, line, err) || !read_row(list, text, path, line, fields, err))
            return false;
    }
    return broken(err, path, line, "the list has no end: it was cut off");
}

bool list_read(struct list *ret, const char *path, const char *title, size_t fields,
               struct err *err)
{
    size_t len;
    AUTO(list) struct list list = {0};
    list.text = sys_read_file(path, LIST_FILE_MAX, &len, err);
    if (!list.text)
        return false;
    if (strlen(list.text) != len)
        return err_set(err, ERR_CONFIG, "%s: a NUL stands in it", path);
    if (!read_lines(&list, path, title, fields, err))
        return false;
    *ret = list;
    list = (struct list){0};
    return true;
}

void list_begin(struct str *to, const char *title) { str_printf(to, "%s 1\n", title); }

void list_add(struct str *to, const char *const *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = fields[i] && fields[i][0] ? fields[i] : "-";
        bool odd = !str_is_utf8(text, strlen(text));
        if (i)
            str_append(to, "\t");
        for (const unsigned char *p = (const unsigned char *)text; *p; p++)
            str_append_n(to, *p < 0x20 || *p == 0x7f || (odd && *p >= 0x80) ? (const void *)" " : p,
                         1);
    }
    str_append(to, "\n");
}

bool list_write(struct str *to, const char *path, size_t rows, struct err *err)
{
    str_printf(to, "end %zu\n", rows);
    return str_ok(to, err) && sys_write_file(path, to->text, to->len, FILE_MODE, err);
}

/* The lock is held: who wrote them is dead. */
static void sweep(const char *dir)
{
    static const char *const lists[] = {"issued.list", "deny.list"};
    struct err none = {0};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        IGNORE(!sys_sweep_written(dir, lists[i], &none)); /* they are in nobody's way */
}

void list_sweep(const char *dir)
{
    struct err none = {0};
    bool locked = false;
    AUTO(fd) int fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, &none);
    if (fd >= 0 && sys_try_lock(fd, &locked, dir, &none) && locked)
        sweep(dir);
}

int list_lock(const char *dir, struct err *err)
{
    AUTO(fd) int fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, err);
    if (fd < 0 || !sys_lock(fd, dir, err))
        return -1;
    sweep(dir);
    int ret = fd;
    fd = -1;
    return ret;
}
