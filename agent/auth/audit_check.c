/* The audit's readers: is the chain whole, and what stands in it. */
#include "agent/auth/audit_int.h"

#include "agent/base/json.h"
#include "agent/base/sys.h"
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 30 };

struct checking {
    struct audit_report *report;
    char hash[AUDIT_HASH_HEX]; /* of the line before */
    struct audit_head head;
    bool has_head, head_seen;
    uint64_t *intents; /* numbers of those without an outcome yet */
    size_t intent_count, intent_capacity;
};

static bool fail(struct checking *c, const char *file, uint64_t line, const char *why)
{
    struct audit_report *r = c->report;
    r->sound = false;
    r->line = line;
    IGNORE(!str_copy(r->file, sizeof r->file, file));
    IGNORE(!str_copy(r->why, sizeof r->why, why));
    return false;
}

static bool note_intent(struct checking *c, const json_t *doc, uint64_t number, struct err *err)
{
    const char *kind = json_text(doc, "kind");
    c->report->alarms += str_equal(kind, AUDIT_KIND_ALARM);
    if (str_equal(kind, "intent")) {
        if (!own_grow((void **)&c->intents, &c->intent_capacity, c->intent_count,
                      sizeof *c->intents, err))
            return false;
        c->intents[c->intent_count++] = number;
    }
    if (str_equal(kind, "outcome"))
        for (size_t i = c->intent_count; i-- > 0;)
            if (c->intents[i] == json_u64(doc, "of")) {
                c->intents[i] = c->intents[--c->intent_count];
                break;
            }
    return true;
}

/* False with the report filled: the chain ends here. */
static bool check_link(struct checking *c, const char *file, uint64_t line_no,
                       const struct audit_link *link)
{
    char why[200];
    struct audit_report *r = c->report;
    if (r->records && link->number != r->last + 1) {
        IGNORE(!str_format(why, sizeof why,
                           "it has number %" PRIu64 ", expected %" PRIu64
                           ": lines are missing, moved or inserted",
                           link->number, r->last + 1));
        return fail(c, file, line_no, why);
    }
    if (r->records && !str_equal(link->prev, c->hash))
        return fail(c, file, line_no, "it does not follow the line before: that one was replaced");
    if (c->has_head && link->number == c->head.count) {
        c->head_seen = true;
        if (!str_equal(link->hash, c->head.hash))
            return fail(c, file, line_no, "it is another line than the head knows");
    }
    return true;
}

static bool check_line(struct checking *c, const char *file, uint64_t line_no, const char *line,
                       size_t len, struct err *err)
{
    struct audit_link link;
    struct err why = {0};
    if (!audit_line_check(line, len, &link, &why))
        return fail(c, file, line_no, why.text);
    if (!check_link(c, file, line_no, &link))
        return false;
    AUTO(json) json_t *doc = json_parse(line, len, err);
    if (!doc || !note_intent(c, doc, link.number, err))
        return false;
    struct audit_report *r = c->report;
    if (!r->records++)
        r->first = link.number;
    r->last = link.number;
    IGNORE(!str_copy(c->hash, sizeof c->hash, link.hash));
    return true;
}

/* False: stop, with the report's verdict or with err set. */
static bool check_text(struct checking *c, const char *file, const char *text, size_t len,
                       struct err *err)
{
    uint64_t line_no = 1;
    for (size_t at = 0; at < len; line_no++) {
        const char *end = memchr(text + at, '\n', len - at);
        if (!end)
            return fail(c, file, line_no,
                        "it is torn; after a crash the agent heals this at its next start");
        size_t line_len = (size_t)(end - text) - at;
        if (!check_line(c, file, line_no, text + at, line_len, err))
            return false;
        at += line_len + 1;
    }
    return len || fail(c, file, 1, "the file is empty");
}

/* The head, and the length audit.log has at that moment: no writer is in mid-line then. */
static bool look_at_once(struct checking *c, const char *dir, uint64_t *ret_size, struct err *err)
{
    char path[PATH_MAX];
    struct stat info;
    struct err why = {0};
    if (!audit_path(path, dir, "audit.head", err))
        return false;
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_NOFOLLOW, 0, &why);
    if (fd >= 0 && !sys_lock(fd, path, err))
        return false;
    c->has_head = fd >= 0 && audit_head_read(fd, &c->head, &why);
    if (!c->has_head)
        fail(c, "audit.head", 0,
             why.code == ERR_NOT_FOUND ? "it is missing: whether lines were cut off cannot be told"
                                       : why.text);
    why = (struct err){0};
    *ret_size = UINT64_MAX;
    if (!audit_path(path, dir, "audit.log", err))
        return false;
    if (sys_lstat(path, &info, &why))
        *ret_size = (uint64_t)info.st_size;
    return true;
}

static bool check_file(struct checking *c, const char *path, const char *name, uint64_t limit,
                       struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, FILE_BYTES_MAX, &len, err);
    if (!text)
        return false;
    return check_text(c, name, text, len < limit ? len : (size_t)limit, err);
}

static void check_begin(struct checking *c, const char *file, uint64_t first)
{
    char why[160];
    char name[40];
    if (first == 1)
        return;
    audit_file_name(1, name);
    IGNORE(!str_format(why, sizeof why,
                       "it begins with number %" PRIu64
                       ": the files before it are missing (%s ...)",
                       first, name));
    fail(c, file, 1, why);
}

static void check_end(struct checking *c, const char *file)
{
    char why[160];
    if (!c->has_head || c->report->last >= c->head.count)
        return;
    IGNORE(!str_format(why, sizeof why,
                       "%" PRIu64 " lines were written, it ends with number %" PRIu64
                       ": the end was cut off",
                       c->head.count, c->report->last));
    fail(c, file, 0, why);
}

static bool check_all(struct checking *c, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    uint64_t size;
    AUTO(sys_names) struct sys_names names = {0};
    if (!look_at_once(c, dir, &size, err) || !audit_files(dir, &names, err))
        return false;
    if (!c->report->sound)
        return true;
    const char *last = "audit.log";
    for (size_t i = 0; i < names.count; i++) {
        bool current = str_equal(names.names[i], "audit.log");
        last = names.names[i];
        uint64_t before = c->report->last;
        if (!audit_path(path, dir, last, err))
            return false;
        bool went_on = check_file(c, path, last, current ? size : UINT64_MAX, err);
        if (err->code != ERR_NONE)
            return false;
        if (!before && c->report->sound && c->report->records)
            check_begin(c, last, c->report->first);
        if (!went_on || !c->report->sound)
            return true;
    }
    check_end(c, last);
    return true;
}

bool audit_verify(const char *dir, const char *file, struct audit_report *ret, struct err *err)
{
    struct checking c = {.report = ret};
    *ret = (struct audit_report){.sound = true};
    bool ok;
    if (dir)
        ok = check_all(&c, dir, err);
    else /* told apart by err: a chain that ends is a verdict, not a failure */
        ok = check_file(&c, file, file, UINT64_MAX, err) || err->code == ERR_NONE;
    ret->open_intents = c.intent_count;
    IGNORE(!str_copy(ret->head, sizeof ret->head, c.hash));
    own_free(c.intents);
    return ok || err_wrap(err, "verify the audit");
}

/* ---- show ---- */

static bool is_wanted(const char *line, size_t len, const char *database, const char *since)
{
    struct err why = {0};
    AUTO(json) json_t *doc = json_parse(line, len, &why);
    if (!doc) /* a line that cannot be read is shown: hiding it would help who spoilt it */
        return true;
    return (!since[0] || strcmp(json_text(doc, "time"), since) >= 0) &&
           (!database[0] || str_equal_fold(json_text(doc, "database"), database));
}

static bool each_of_text(char *text, const char *database, const char *since,
                         bool (*each)(void *arg, const char *line), void *arg)
{
    char *cursor = text;
    while (cursor && *cursor) {
        const char *line = str_field(&cursor, '\n');
        if (is_wanted(line, strlen(line), database, since) && !each(arg, line))
            return false;
    }
    return true;
}

bool audit_each(const char *dir, const char *database, const char *since,
                bool (*each)(void *arg, const char *line), void *arg, struct err *err)
{
    char path[PATH_MAX];
    AUTO(sys_names) struct sys_names names = {0};
    if (!audit_files(dir, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        size_t len;
        if (!audit_path(path, dir, names.names[i], err))
            return false;
        AUTO(mem) char *text = sys_read_file(path, FILE_BYTES_MAX, &len, err);
        if (!text)
            return false;
        if (!each_of_text(text, database, since, each, arg))
            return true;
    }
    return true;
}
