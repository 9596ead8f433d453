/* The deny list: certificates that count no more. */
#include "agent/auth/deny.h"

#include "agent/auth/issued.h"
#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TITLE "evercopy denied certificates"
enum { WHEN, KIND, VALUE, NAME, REASON };
enum { FINGERPRINT_HEX = 64, SERIAL_HEX_MAX = 46 };

struct deny {
    char *pki;
    char path[PATH_MAX];
    struct list list; /* sorted by value */
    struct stat seen; /* of the file as it was last looked at; zero: none */
};

static bool name_path(char ret[PATH_MAX], const char *pki, const char *name, struct err *err)
{
    return str_format(ret, PATH_MAX, "%s/%s", pki, name) ||
           err_set(err, ERR_INVALID, "path is too long: '%.80s...'", pki);
}

static bool is_hex(const char *text, size_t min, size_t max)
{
    size_t len = strlen(text);
    return len >= min && len <= max && strspn(text, "0123456789abcdef") == len;
}

static bool check_row(const struct list_row *row, const char *path, struct err *err)
{
    bool fingerprint = str_equal(row->fields[KIND], "fingerprint");
    if (!fingerprint && !str_equal(row->fields[KIND], "serial"))
        return err_set(err, ERR_CONFIG, "%s:%u: '%.40s' is neither serial nor fingerprint", path,
                       row->line, row->fields[KIND]);
    return is_hex(row->fields[VALUE], fingerprint ? FINGERPRINT_HEX : 2,
                  fingerprint ? FINGERPRINT_HEX : SERIAL_HEX_MAX) ||
           err_set(err, ERR_CONFIG, "%s:%u: '%.70s' is no %s in lower-case hex", path, row->line,
                   row->fields[VALUE], row->fields[KIND]);
}

bool deny_read(const char *pki, struct list *ret, struct err *err)
{
    char path[PATH_MAX];
    char beside[PATH_MAX];
    struct err why = {0};
    AUTO(list) struct list list = {0};
    *ret = (struct list){0};
    if (!name_path(path, pki, "deny.list", err) || !name_path(beside, pki, "issued.list", err))
        return false;
    if (!list_read(&list, path, TITLE, DENY_FIELDS, &why)) {
        if (why.code == ERR_NOT_FOUND && access(beside, F_OK) != 0)
            return true; /* an authority from before there were lists */
        if (why.code == ERR_NOT_FOUND)
            err_set(&why, ERR_CONFIG,
                    "'%s' is missing, though there is a register; hint: put it back, or "
                    "'evercopyd deny --empty' when nothing was ever denied",
                    path);
        *err = why;
        return false;
    }
    for (size_t i = 0; i < list.count; i++)
        if (!check_row(&list.rows[i], path, err))
            return false;
    *ret = list;
    list = (struct list){0};
    return true;
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const struct list_row *)a)->fields[VALUE],
                  ((const struct list_row *)b)->fields[VALUE]);
}

static bool load(struct deny *deny, struct err *err)
{
    AUTO(list) struct list list = {0};
    if (!deny_read(deny->pki, &list, err))
        return false;
    if (list.count)
        qsort(list.rows, list.count, sizeof *list.rows, compare_rows);
    list_done(&deny->list);
    deny->list = list;
    list = (struct list){0};
    return true;
}

static void look(const struct deny *deny, struct stat *ret)
{
    struct err none = {0};
    *ret = (struct stat){0};
    IGNORE(!sys_stat(deny->path, ret, &none)); /* missing stays zero, and reading it says so */
}

struct deny *deny_open(const char *pki, struct err *err)
{
    AUTO(deny) struct deny *deny = own_alloc(sizeof *deny, err);
    if (!deny || !(deny->pki = own_strdup(pki, err)) ||
        !name_path(deny->path, pki, "deny.list", err))
        return NULL;
    look(deny, &deny->seen);
    return load(deny, err) ? TAKE(deny) : NULL;
}

void deny_close(struct deny *deny)
{
    if (!deny)
        return;
    list_done(&deny->list);
    own_free(deny->pki);
    own_free(deny);
}

static const struct list_row *find(const struct deny *deny, const char *value)
{
    struct list_row key = {.fields = {[VALUE] = value}};
    return deny->list.count ? bsearch(&key, deny->list.rows, deny->list.count,
                                      sizeof *deny->list.rows, compare_rows)
                            : NULL;
}

bool deny_check(const struct deny *deny, const struct rpc_peer *peer, struct err *err)
{
    const struct list_row *row = find(deny, peer->serial);
    if (!row)
        row = find(deny, peer->fingerprint);
    return !row ||
           err_set(err, ERR_UNAUTHENTICATED, "the certificate of '%s' was denied at %s: %.200s",
                   peer->cn, row->fields[WHEN], row->fields[REASON]);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

bool deny_refresh(struct deny *deny, bool *ret_changed, struct err *err)
{
    struct stat now;
    *ret_changed = false;
    look(deny, &now);
    if (is_same(&now, &deny->seen))
        return true;
    deny->seen = now;
    if (!load(deny, err))
        return err_wrap(err, "the deny list before stays in force");
    *ret_changed = true;
    return true;
}

/* ---- changes ---- */

struct change {
    struct list list;
    struct str text;
    size_t count, added;
    const char *reason;
    char when[32];
};

static void change_done(struct change *c)
{
    list_done(&c->list);
    str_done(&c->text);
}
OWN_DEFINE_INPLACE(change, struct change, change_done);

static void deny_one(struct change *c, const char *kind, const char *value, const char *name)
{
    for (size_t i = 0; i < c->list.count; i++)
        if (str_equal(c->list.rows[i].fields[VALUE], value))
            return;
    const char *fields[DENY_FIELDS] = {c->when, kind, value, name, c->reason};
    list_add(&c->text, fields, DENY_FIELDS);
    c->count++;
    c->added++;
}

/* Rows come in the order of issue, so that what was renewed from a chosen one comes after it. */
static size_t deny_registered(struct change *c, const struct list *issued, const char *what,
                              struct err *err)
{
    size_t matches = 0;
    AUTO(mem) bool *chosen = own_alloc(issued->count + 1, err);
    for (size_t i = 0; chosen && i < issued->count; i++) {
        struct issued_row row;
        issued_row(issued, i, &row);
        chosen[i] = str_equal(row.cn, what) || str_equal(row.serial, what) ||
                    str_equal(row.fingerprint, what);
        for (size_t k = 0; k < i && !chosen[i]; k++)
            chosen[i] = chosen[k] && str_equal(row.from, issued->rows[k].fields[1]);
        if (!chosen[i])
            continue;
        matches++;
        deny_one(c, "serial", row.serial, row.cn);
    }
    return matches;
}

/* "AB:CD:..." as openssl prints it becomes "abcd...". */
static void plain_hex(const char *what, char ret[80])
{
    size_t len = 0;
    for (; *what && len < 79; what++) {
        if (*what == ':')
            continue;
        ret[len] = *what;
        if (*what >= 'A' && *what <= 'F')
            ret[len] = (char)(*what - 'A' + 'a');
        len++;
    }
    ret[len] = '\0';
}

static bool no_such(const struct list *issued, const char *what, struct err *err)
{
    AUTO(mem) const char **names = own_alloc(sizeof(char *) * (issued->count + 1), err);
    if (!names)
        return false;
    for (size_t i = 0; i < issued->count; i++)
        names[i] = issued->rows[i].fields[3];
    const char *near = str_nearest(what, names, issued->count);
    return err_set(err, ERR_NOT_FOUND,
                   "'%.80s' is no name of the register, no serial number and no "
                   "fingerprint%s%s%s",
                   what, near ? "; hint: did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool change_begin(struct change *c, const char *pki, struct err *err)
{
    clock_format_utc(clock_wall_us(), c->when);
    if (!deny_read(pki, &c->list, err))
        return false;
    list_begin(&c->text, TITLE);
    return true;
}

static bool change_write(struct change *c, const char *pki, struct err *err)
{
    char path[PATH_MAX];
    return name_path(path, pki, "deny.list", err) && list_write(&c->text, path, c->count, err);
}

bool deny_add(const char *pki, const char *what, const char *reason, size_t *ret_count,
              struct err *err)
{
    char hex[80];
    AUTO(fd) int lock = list_lock(pki, err);
    AUTO(list) struct list issued = {0};
    AUTO(change) struct change c = {.reason = reason};
    if (lock < 0 || !change_begin(&c, pki, err) || !issued_read(pki, &issued, err))
        return false;
    for (size_t i = 0; i < c.list.count; i++, c.count++)
        list_add(&c.text, c.list.rows[i].fields, DENY_FIELDS);
    plain_hex(what, hex);
    size_t matches = deny_registered(&c, &issued, what, err);
    if (!matches && !str_equal(hex, what))
        matches = deny_registered(&c, &issued, hex, err);
    bool fingerprint = is_hex(hex, FINGERPRINT_HEX, FINGERPRINT_HEX);
    if (!matches && !fingerprint && !is_hex(hex, 16, SERIAL_HEX_MAX))
        return no_such(&issued, what, err);
    if (!matches) /* not in the register: lost, or of an authority from before it */
        deny_one(&c, fingerprint ? "fingerprint" : "serial", hex, "-");
    *ret_count = c.added;
    return !c.added || change_write(&c, pki, err);
}

bool deny_remove(const char *pki, const char *what, size_t *ret_count, struct err *err)
{
    char hex[80];
    AUTO(fd) int lock = list_lock(pki, err);
    AUTO(change) struct change c = {0};
    if (lock < 0 || !change_begin(&c, pki, err))
        return false;
    plain_hex(what, hex);
    for (size_t i = 0; i < c.list.count; i++) {
        const char *const *fields = c.list.rows[i].fields;
        if (str_equal(fields[NAME], what) || str_equal(fields[VALUE], hex))
            continue;
        list_add(&c.text, fields, DENY_FIELDS);
        c.count++;
    }
    *ret_count = c.list.count - c.count;
    if (!*ret_count)
        return err_set(err, ERR_NOT_FOUND, "'%.80s' is not on the deny list", what);
    return change_write(&c, pki, err);
}

bool deny_begin(const char *pki, struct err *err)
{
    char path[PATH_MAX];
    AUTO(fd) int lock = list_lock(pki, err);
    AUTO(str) struct str text = {0};
    if (lock < 0 || !name_path(path, pki, "deny.list", err))
        return false;
    if (access(path, F_OK) == 0)
        return true;
    list_begin(&text, TITLE);
    return list_write(&text, path, 0, err);
}
