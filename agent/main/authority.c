/* evercopyd's commands around certificates and the audit. */
#include "agent/main/authority.h"

#include "agent/auth/audit.h"
#include "agent/auth/deny.h"
#include "agent/base/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* One deed on its way: announced before, told afterwards. */
struct deed {
    struct audit *audit;
    struct audit_record record;
};

static void deed_done(struct deed *deed) { audit_close(deed->audit); }
OWN_DEFINE_INPLACE(deed, struct deed, deed_done);

static bool announce(struct deed *deed, const struct authority *a, const char *method,
                     const char *object, const char *text, struct err *err)
{
    deed->audit = audit_open(a->state, AUDIT_ROTATE_BYTES, err);
    if (!deed->audit)
        return false;
    if (audit_notice(deed->audit)[0])
        fprintf(stderr, "evercopyd: %s\n", audit_notice(deed->audit));
    deed->record =
        (struct audit_record){.kind = "intent", .method = method, .object = object, .text = text};
    return audit_write(deed->audit, &deed->record, &deed->record.of, err);
}

/* The result passes through; a deed that cannot be told is still done, and its intent stands. */
static bool tell(struct deed *deed, bool ok, struct err *err)
{
    uint64_t number;
    struct err why = {0};
    deed->record.kind = "outcome";
    deed->record.code = ok ? "ok" : err_code_name(err->code);
    if (!ok)
        deed->record.text = err->text;
    if (!audit_write(deed->audit, &deed->record, &number, &why))
        fprintf(stderr, "evercopyd: %s\n", why.text);
    return ok;
}

bool authority_init(const struct authority *a, const struct ca_request *server, struct err *err)
{
    AUTO(deed) struct deed deed = {0};
    return announce(&deed, a, "evercopyd init", a->pki, "", err) &&
           tell(&deed, ca_init(a->pki, server, err), err);
}

bool authority_enroll(const struct authority *a, const struct ca_request *request, const char *out,
                      struct err *err)
{
    AUTO(deed) struct deed deed = {0};
    AUTO(str) struct str text = {0};
    str_printf(&text, "role %s", request->role);
    for (size_t i = 0; i < request->database_count; i++)
        str_printf(&text, " %s", request->databases[i]);
    return str_ok(&text, err) &&
           announce(&deed, a, "evercopyd enroll", request->name, text.text, err) &&
           tell(&deed, ca_enroll(a->pki, request, out, err), err);
}

bool authority_renew_server(const struct authority *a, const struct ca_request *server,
                            struct err *err)
{
    AUTO(deed) struct deed deed = {0};
    if (!announce(&deed, a, "evercopyd renew-server", "server", "", err) ||
        !tell(&deed, ca_renew_server(a->pki, server, err), err))
        return false;
    printf("the agent's certificate is renewed in %s; a running agent takes it at "
           "'systemctl reload evercopyd' (SIGHUP)\n",
           a->pki);
    return true;
}

static const char *plural(size_t count) { return count == 1 ? "" : "s"; }

bool authority_deny(const struct authority *a, const char *what, const char *reason,
                    struct err *err)
{
    size_t count = 0;
    AUTO(deed) struct deed deed = {0};
    if (!announce(&deed, a, "evercopyd deny", what, reason, err) ||
        !tell(&deed, deny_add(a->pki, what, reason, &count, err), err))
        return false;
    printf("%zu certificate%s denied; a running agent sees it at its next call\n", count,
           plural(count));
    return true;
}

bool authority_allow(const struct authority *a, const char *what, struct err *err)
{
    size_t count = 0;
    AUTO(deed) struct deed deed = {0};
    if (!announce(&deed, a, "evercopyd allow", what, "", err) ||
        !tell(&deed, deny_remove(a->pki, what, &count, err), err))
        return false;
    printf("%zu certificate%s allowed again\n", count, plural(count));
    return true;
}

bool authority_begin_list(const struct authority *a, struct err *err)
{
    AUTO(deed) struct deed deed = {0};
    return announce(&deed, a, "evercopyd deny --empty", a->pki, "", err) &&
           tell(&deed, deny_begin(a->pki, err), err);
}

static bool list_json(const struct list *list, struct err *err)
{
    static const char *const keys[] = {"denied", "kind", "value", "name", "reason"};
    AUTO(json) json_t *doc = json_object();
    json_t *rows = json_array();
    if (!json_put(doc, "denied", rows, err))
        return false;
    for (size_t i = 0; i < list->count; i++) {
        json_t *row = json_object();
        if (!json_add(rows, row, err))
            return false;
        for (size_t k = 0; k < DENY_FIELDS; k++)
            if (!json_put_text(row, keys[k], list->rows[i].fields[k], err))
                return false;
    }
    AUTO(mem) char *text = json_format_pretty(doc, err);
    return text && fputs(text, stdout) >= 0;
}

bool authority_list(const struct authority *a, struct err *err)
{
    AUTO(list) struct list list = {0};
    if (!deny_read(a->pki, &list, err))
        return false;
    if (a->json)
        return list_json(&list, err);
    for (size_t i = 0; i < list.count; i++) {
        const char *const *f = list.rows[i].fields;
        printf("%s  %-20s %s %s  %s\n", f[0], f[3], f[1], f[2], f[4]);
    }
    if (!list.count)
        printf("no certificate is denied\n");
    return true;
}

static bool report_json(const struct audit_report *r, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    if (!json_put_flag(doc, "sound", r->sound, err) ||
        !json_put_u64(doc, "records", r->records, err) ||
        !json_put_u64(doc, "first", r->first, err) || !json_put_u64(doc, "last", r->last, err) ||
        !json_put_text(doc, "head", r->head, err) ||
        !json_put_u64(doc, "open_intents", r->open_intents, err) ||
        !json_put_u64(doc, "alarms", r->alarms, err) || !json_put_text(doc, "file", r->file, err) ||
        !json_put_u64(doc, "line", r->line, err) || !json_put_text(doc, "why", r->why, err))
        return false;
    AUTO(mem) char *text = json_format_pretty(doc, err);
    return text && fputs(text, stdout) >= 0;
}

static void report_text(const struct audit_report *r)
{
    if (r->sound)
        printf("ok %" PRIu64 " records, %" PRIu64 "..%" PRIu64 ", head %s\n", r->records, r->first,
               r->last, r->head);
    else
        printf("NOT AS WRITTEN %s:%" PRIu64 ": %s (%" PRIu64 " records before it are sound)\n",
               r->file, r->line, r->why, r->records);
    if (r->open_intents)
        printf("%" PRIu64 " intents have no outcome: under way, or a program died in them\n",
               r->open_intents);
    if (r->alarms)
        printf("%" PRIu64 " times a writer found the audit damaged: evercopyd audit show\n",
               r->alarms);
}

bool authority_verify(const struct authority *a, const char *file, bool *ret_sound, struct err *err)
{
    struct audit_report report;
    if (!audit_verify(file ? NULL : a->state, file, &report, err))
        return false;
    *ret_sound = report.sound;
    if (a->json)
        return report_json(&report, err);
    report_text(&report);
    return true;
}

static bool show_line(void *arg, const char *line)
{
    const struct authority *a = arg;
    struct err why = {0};
    AUTO(json) json_t *doc = json_parse(line, strlen(line), &why);
    if (a->json || !doc)
        return puts(line) >= 0;
    char of[40] = "";
    if (json_u64(doc, "of"))
        snprintf(of, sizeof of, " of %" PRIu64, json_u64(doc, "of"));
    return printf("%6" PRIu64 " %.19sZ %-7s%s %s (%s)%s%s %s %s %s %s %s\n", json_u64(doc, "seq"),
                  json_text(doc, "time"), json_text(doc, "kind"), of, json_text(doc, "cn"),
                  json_text(doc, "role"), json_text(doc, "address")[0] ? " from " : "",
                  json_text(doc, "address"), json_text(doc, "method"), json_text(doc, "database"),
                  json_text(doc, "object"), json_text(doc, "code"), json_text(doc, "text")) >= 0;
}

bool authority_show(const struct authority *a, const char *database, const char *since,
                    struct err *err)
{
    return audit_each(a->state, database ? database : "", since ? since : "", show_line, (void *)a,
                      err);
}
