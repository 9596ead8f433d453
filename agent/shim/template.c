/* Scripts for RMAN and SQL*Plus, from templates in which no value can leave its place. */
#include "agent/shim/template.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <ctype.h>
#include <string.h>

enum { TEXT_MAX = 1 << 20, VALUE_MAX = 1024, NAME_MAX_BYTES = 64 };

struct field {
    char *name, *text;
};
struct row {
    struct field *fields;
    size_t count, capacity;
};
enum var_kind { VAR_TEXT, VAR_FLAG, VAR_LIST };
struct var {
    enum var_kind kind;
    char *name, *text;
    bool flag;
    struct row *rows;
    size_t row_count, row_capacity;
};
struct template_vars {
    struct var *vars;
    size_t count, capacity;
};

/* One template being rendered. */
struct render {
    const char *name;
    unsigned line;
    bool rman;
    const struct template_vars *vars;
    struct str out;
};

struct template_vars *template_vars_new(struct err *err)
{
    return own_alloc(sizeof(struct template_vars), err);
}

static void field_done(struct field *field)
{
    own_free(field->name);
    own_free(field->text);
}

static void var_done(struct var *var)
{
    own_free(var->name);
    own_free(var->text);
    for (size_t r = 0; r < var->row_count; r++) {
        for (size_t f = 0; f < var->rows[r].count; f++)
            field_done(&var->rows[r].fields[f]);
        own_free(var->rows[r].fields);
    }
    own_free(var->rows);
}

void template_vars_free(struct template_vars *vars)
{
    if (!vars)
        return;
    for (size_t i = 0; i < vars->count; i++)
        var_done(&vars->vars[i]);
    own_free(vars->vars);
    own_free(vars);
}

static struct var *find_var(const struct template_vars *vars, const char *name)
{
    for (size_t i = 0; vars && i < vars->count; i++)
        if (str_equal(vars->vars[i].name, name))
            return &vars->vars[i];
    return NULL;
}

/* What may not stand inside a quoted value. An incomplete UTF-8 sequence could swallow the quote
 * that ends it, so such values are refused as well. */
static bool check_value(const char *name, const char *value, struct err *err)
{
    size_t len = strlen(value);
    if (len > VALUE_MAX)
        return err_set(err, ERR_INVALID, "value of '%s' is longer than %d bytes", name, VALUE_MAX);
    if (!str_is_utf8(value, len))
        return err_set(err, ERR_INVALID, "value of '%s' is not valid UTF-8", name);
    for (const char *p = value; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < ' ' || c == 0x7f)
            return err_set(err, ERR_INVALID, "value of '%s' holds a control character", name);
        if (strchr("'\";", c))
            return err_set(err, ERR_INVALID, "value of '%s' holds the sign %c, refused in scripts",
                           name, c);
    }
    return true;
}

/* The variable of that name, emptied and of that kind. */
static struct var *fresh_var(struct template_vars *vars, const char *name, enum var_kind kind,
                             struct err *err)
{
    AUTO(mem) char *copy = own_strdup(name, err);
    if (!copy)
        return NULL;
    struct var *var = find_var(vars, name);
    if (var)
        var_done(var);
    else if (!own_grow((void **)&vars->vars, &vars->capacity, vars->count, sizeof *vars->vars, err))
        return NULL;
    else
        var = &vars->vars[vars->count++];
    *var = (struct var){.kind = kind, .name = TAKE(copy)};
    return var;
}

bool template_vars_text(struct template_vars *vars, const char *name, const char *value,
                        struct err *err)
{
    if (!check_value(name, value, err))
        return false;
    AUTO(mem) char *text = own_strdup(value, err);
    struct var *var = text ? fresh_var(vars, name, VAR_TEXT, err) : NULL;
    if (!var)
        return false;
    var->text = TAKE(text);
    return true;
}

bool template_vars_number(struct template_vars *vars, const char *name, uint64_t value,
                          struct err *err)
{
    char text[32];
    str_format(text, sizeof text, "%llu", (unsigned long long)value);
    return template_vars_text(vars, name, text, err);
}

bool template_vars_flag(struct template_vars *vars, const char *name, bool value, struct err *err)
{
    struct var *var = fresh_var(vars, name, VAR_FLAG, err);
    if (var)
        var->flag = value;
    return var != NULL;
}

bool template_vars_list(struct template_vars *vars, const char *list, struct err *err)
{
    return fresh_var(vars, list, VAR_LIST, err) != NULL;
}

bool template_list_row(struct template_vars *vars, const char *list, struct err *err)
{
    struct var *var = find_var(vars, list);
    if (!var || var->kind != VAR_LIST)
        var = fresh_var(vars, list, VAR_LIST, err);
    if (!var ||
        !own_grow((void **)&var->rows, &var->row_capacity, var->row_count, sizeof *var->rows, err))
        return false;
    var->rows[var->row_count++] = (struct row){0};
    return true;
}

bool template_row_text(struct template_vars *vars, const char *list, const char *field,
                       const char *value, struct err *err)
{
    struct var *var = find_var(vars, list);
    if (!var || var->kind != VAR_LIST || !var->row_count)
        return err_set(err, ERR_INTERNAL, "list '%s' has no row for field '%s'", list, field);
    if (!check_value(field, value, err))
        return err_wrap(err, "list '%s' row %zu", list, var->row_count);
    struct row *row = &var->rows[var->row_count - 1];
    struct field added = {own_strdup(field, err), own_strdup(value, err)};
    if (!added.name || !added.text ||
        !own_grow((void **)&row->fields, &row->capacity, row->count, sizeof *row->fields, err)) {
        field_done(&added);
        return false;
    }
    row->fields[row->count++] = added;
    return true;
}

bool template_row_number(struct template_vars *vars, const char *list, const char *field,
                         uint64_t value, struct err *err)
{
    char text[32];
    str_format(text, sizeof text, "%llu", (unsigned long long)value);
    return template_row_text(vars, list, field, text, err);
}

bool template_list_item(struct template_vars *vars, const char *list, const char *value,
                        struct err *err)
{
    return template_list_row(vars, list, err) && template_row_text(vars, list, "item", value, err);
}

/* Fails at the line being rendered. */
static bool fail(const struct render *render, struct err *err)
{
    return err_wrap(err, "template '%s' line %u", render->name, render->line);
}

static bool fail_unknown(const struct render *render, const char *what, const char *name,
                         struct err *err)
{
    if (find_var(render->vars, name)) {
        err_set(err, ERR_INVALID, "'%s' is no %s", name, what);
        return fail(render, err);
    }
    const char *known[256];
    size_t count = 0;
    for (size_t i = 0; render->vars && i < render->vars->count && count < 256; i++)
        known[count++] = render->vars->vars[i].name;
    const char *nearest = str_nearest(name, known, count);
    err_set(err, ERR_INVALID, "unknown %s '%s'%s%s%s", what, name, nearest ? ", nearest: '" : "",
            nearest ? nearest : "", nearest ? "'" : "");
    return fail(render, err);
}

static const char *lookup(const struct render *render, const struct row *row, const char *name)
{
    for (size_t i = row ? row->count : 0; i-- > 0;)
        if (str_equal(row->fields[i].name, name))
            return row->fields[i].text;
    const struct var *var = find_var(render->vars, name);
    return var && var->kind == VAR_TEXT ? var->text : NULL;
}

static bool is_word(const char *text)
{
    size_t len = strlen(text);
    for (const char *p = text; *p; p++)
        if (!(isascii((unsigned char)*p) && (isalnum((unsigned char)*p) || *p == '_')))
            return false;
    return len > 0;
}

/* Puts a value where {{name}} stands; `quote` is the open quote there or 0. */
static bool put_value(struct render *render, const struct row *row, const char *name, char quote,
                      struct err *err)
{
    const char *value = lookup(render, row, name);
    if (!value)
        return fail_unknown(render, "variable", name, err);
    if (!quote && !is_word(value)) {
        err_set(err, ERR_INVALID,
                "value of '%s' may hold only letters, digits and '_' where it is not quoted", name);
        return fail(render, err);
    }
    if (render->rman && strchr(value, '&')) {
        err_set(err, ERR_INVALID, "value of '%s' holds the sign &, refused in RMAN scripts", name);
        return fail(render, err);
    }
    str_append(&render->out, value);
    return true;
}

/* Copies one line, its {{names}} replaced. */
static bool put_line(struct render *render, const char *text, size_t len, const struct row *row,
                     struct err *err)
{
    char quote = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '{' || i + 1 >= len || text[i + 1] != '{') {
            if (quote && text[i] == quote)
                quote = '\0';
            else if (!quote && (text[i] == '\'' || text[i] == '"'))
                quote = text[i];
            str_append_n(&render->out, &text[i], 1);
            continue;
        }
        const char *start = text + i + 2;
        const char *end = memmem(start, len - i - 2, "}}", 2);
        char name[NAME_MAX_BYTES] = "";
        if (end && (size_t)(end - start) < sizeof name)
            memcpy(name, start, (size_t)(end - start));
        if (!is_word(name)) {
            err_set(err, ERR_INVALID, "'{{' without a name and '}}'");
            return fail(render, err);
        }
        if (!put_value(render, row, name, quote, err))
            return false;
        i = (size_t)(end - text) + 1;
    }
    if (quote) {
        err_set(err, ERR_INVALID, "quote %c is not closed on its line", quote);
        return fail(render, err);
    }
    str_append(&render->out, "\n");
    return true;
}

/* A text decides by being there, a flag by its value. */
static bool put_if(struct render *render, const char *name, const char *text, size_t len,
                   struct err *err)
{
    const struct var *var = find_var(render->vars, name);
    if (!var || var->kind == VAR_LIST)
        return fail_unknown(render, "flag", name, err);
    bool holds = var->kind == VAR_FLAG ? var->flag : var->text[0] != '\0';
    return !holds || put_line(render, text, len, NULL, err);
}

static bool put_each(struct render *render, const char *name, const char *text, size_t len,
                     struct err *err)
{
    const struct var *var = find_var(render->vars, name);
    if (!var || var->kind != VAR_LIST)
        return fail_unknown(render, "list", name, err);
    for (size_t i = 0; i < var->row_count; i++)
        if (!put_line(render, text, len, &var->rows[i], err))
            return err_wrap(err, "row %zu of '%s'", i + 1, name);
    return true;
}

/* "@if name: line" and "@each list: line". */
static bool put_directive(struct render *render, const char *text, size_t len, struct err *err)
{
    bool each = len > 6 && !memcmp(text, "@each ", 6);
    bool only_if = len > 4 && !memcmp(text, "@if ", 4);
    const char *start = text + (each ? 6 : 4);
    const char *colon = each || only_if ? memchr(start, ':', len - (size_t)(start - text)) : NULL;
    char name[NAME_MAX_BYTES] = "";
    if (colon && (size_t)(colon - start) < sizeof name)
        memcpy(name, start, (size_t)(colon - start));
    if (!colon || !is_word(name)) {
        err_set(err, ERR_INVALID,
                "a line that begins with '@' is '@if NAME: line' or '@each LIST: line'");
        return fail(render, err);
    }
    const char *body = colon + 1;
    if (body < text + len && *body == ' ')
        body++;
    size_t body_len = len - (size_t)(body - text);
    return each ? put_each(render, name, body, body_len, err)
                : put_if(render, name, body, body_len, err);
}

static bool is_comment(const char *name, const char *text, size_t len)
{
    while (len && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }
    if (str_ends(name, ".sql"))
        return len >= 2 && text[0] == '-' && text[1] == '-';
    return len >= 1 && text[0] == '#';
}

char *template_render_text(const char *name, const char *text, const struct template_vars *vars,
                           struct err *err)
{
    struct render render = {.name = name, .vars = vars, .rman = str_ends(name, ".rman")};
    bool ok = true;
    while (ok && *text) {
        size_t len = strcspn(text, "\n");
        const char *next = text + len + (text[len] == '\n');
        render.line++;
        if (len && text[len - 1] == '\r')
            len--;
        if (*text == '@')
            ok = put_directive(&render, text, len, err);
        else if (!is_comment(name, text, len))
            ok = put_line(&render, text, len, NULL, err);
        text = next;
    }
    char *rendered = ok ? str_take(&render.out, err) : NULL;
    str_done(&render.out);
    return rendered;
}

static char *load_builtin(const char *name, struct err *err)
{
    const char *known[128];
    size_t count = 0;
    for (size_t i = 0; i < template_builtin_count; i++) {
        if (str_equal(template_builtins[i].name, name))
            return own_strdup(template_builtins[i].text, err);
        if (count < 128)
            known[count++] = template_builtins[i].name;
    }
    const char *nearest = str_nearest(name, known, count);
    err_set(err, ERR_NOT_FOUND, "no template '%s'%s%s%s", name, nearest ? ", nearest: '" : "",
            nearest ? nearest : "", nearest ? "'" : "");
    return NULL;
}

char *template_load(const char *dir, const char *name, struct err *err)
{
    if (!*name || *name == '.' || strchr(name, '/')) {
        err_set(err, ERR_INVALID, "'%s' is no template name", name);
        return NULL;
    }
    if (!dir || !*dir)
        return load_builtin(name, err);
    AUTO(mem) char *path = own_printf(err, "%s/%s", dir, name);
    struct err why = {0};
    size_t len = 0;
    AUTO(mem) char *text = path ? sys_read_file(path, TEXT_MAX, &len, &why) : NULL;
    if (!path)
        return NULL;
    if (!text && why.code == ERR_NOT_FOUND)
        return load_builtin(name, err);
    if (!text) {
        *err = why;
        return err_null(err, "template '%s'", name);
    }
    if (strlen(text) != len) {
        err_set(err, ERR_INVALID, "template '%s' holds a NUL byte", path);
        return NULL;
    }
    return TAKE(text);
}

char *template_render(const char *dir, const char *name, const struct template_vars *vars,
                      struct err *err)
{
    AUTO(mem) char *text = template_load(dir, name, err);
    return text ? template_render_text(name, text, vars, err) : NULL;
}
