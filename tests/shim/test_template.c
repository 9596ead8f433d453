/* Templates: what they say, what they refuse, and that no value leaves its place. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/shim/template.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct template_vars *vars_new(void)
{
    struct err err = {0};
    struct template_vars *vars = template_vars_new(&err);
    cr_assert(vars);
    return vars;
}

static void renders(const char *name, const char *text, const struct template_vars *vars,
                    const char *wanted)
{
    struct err err = {0};
    AUTO(mem) char *got = template_render_text(name, text, vars, &err);
    cr_assert(got, "%s", err.text);
    cr_expect_str_eq(got, wanted);
}

static void refuses(const char *name, const char *text, const struct template_vars *vars,
                    const char *wanted)
{
    struct err err = {0};
    AUTO(mem) char *got = template_render_text(name, text, vars, &err);
    cr_assert_not(got, "rendered: %s", got);
    cr_expect_eq(err.code, ERR_INVALID);
    cr_expect_str_eq(err.text, wanted);
}

Test(shim, template_puts_texts_numbers_and_lists_in_place)
{
    struct err err = {0};
    AUTO(template_vars) struct template_vars *vars = vars_new();
    cr_assert(template_vars_text(vars, "area", "/nfs/b c/ORCL", &err) &&
              template_vars_number(vars, "scn", 18446744073709551615u, &err) &&
              template_list_item(vars, "channels", "c1", &err) &&
              template_list_item(vars, "channels", "c2", &err) &&
              template_list_row(vars, "logs", &err) &&
              template_row_number(vars, "logs", "thread", 1, &err) &&
              template_row_text(vars, "logs", "path", "/a", &err) &&
              template_vars_list(vars, "none", &err));
    renders("x.rman",
            "@each channels: allocate channel {{item}} format '{{area}}/%U';\n"
            "@each logs: log {{thread}} '{{path}}' {{scn}}\n@each none: never\nend",
            vars,
            "allocate channel c1 format '/nfs/b c/ORCL/%U';\n"
            "allocate channel c2 format '/nfs/b c/ORCL/%U';\n"
            "log 1 '/a' 18446744073709551615\nend\n");
}

Test(shim, template_drops_comments_and_false_lines)
{
    struct err err = {0};
    AUTO(template_vars) struct template_vars *vars = vars_new();
    cr_assert(template_vars_flag(vars, "yes", true, &err) &&
              template_vars_flag(vars, "no", false, &err) &&
              template_vars_text(vars, "section", "64G", &err) &&
              template_vars_text(vars, "empty", "", &err));
    const char *text = "# isn't {{here}}\n@if yes: a\n@if no: b {{unknown}}\n"
                       "@if section: size {{section}}\n@if empty: c\n-- d\n";
    renders("x.rman", text, vars, "a\nsize 64G\n-- d\n");
    renders("x.sql", "-- it's off\nselect 1 from dual;\r\n", vars, "select 1 from dual;\n");
}

Test(shim, template_refuses_hostile_values_before_they_get_in)
{
    static const char *const hostile[] = {
        "a'b",    "a\"b",      "a;b",  "a\nb",      "a\rb",         "a\tb",
        "a\x01",  "a\x7f",     "\xe3", "a\xc0\xaf", "\xed\xa0\x80", "x' ; host 'rm -rf /",
        "$(id);", "';\n!id\n",
    };
    AUTO(template_vars) struct template_vars *vars = vars_new();
    struct err err = {0};
    cr_assert(template_list_row(vars, "l", &err));
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct err why = {0};
        cr_expect_not(template_vars_text(vars, "v", hostile[i], &why), "%s", hostile[i]);
        cr_expect_eq(why.code, ERR_INVALID);
        cr_expect_not(template_list_item(vars, "m", hostile[i], &why));
        cr_expect_not(template_row_text(vars, "l", "f", hostile[i], &why));
    }
    char longest[1100];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    cr_expect_not(template_vars_text(vars, "v", longest, &err));
    cr_expect(template_vars_text(vars, "v", "/nfs/\xc3\xbc b/$x#_%U\\y", &err));
}

Test(shim, template_lets_only_words_stand_without_quotes)
{
    static const char *const values[] = {"1 or 1", "a-b", "", "a,b", "(x)", "/x", "--", "#"};
    struct err err = {0};
    AUTO(template_vars) struct template_vars *vars = vars_new();
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        cr_assert(template_vars_text(vars, "v", values[i], &err));
        refuses("t.sql", "\nselect {{v}} from dual;", vars,
                "template 't.sql' line 2: value of 'v' may hold only letters, digits and '_' where "
                "it is not quoted");
        char wanted[64];
        str_format(wanted, sizeof wanted, "select '%s' x;\n", values[i]);
        renders("t.sql", "select '{{v}}' x;", vars, wanted);
    }
}

Test(shim, template_refuses_rmans_substitution_sign)
{
    struct err err = {0};
    AUTO(template_vars) struct template_vars *vars = vars_new();
    cr_assert(template_vars_text(vars, "v", "/a&1", &err));
    refuses("t.rman", "x '{{v}}';", vars,
            "template 't.rman' line 1: value of 'v' holds the sign &, refused in RMAN scripts");
    renders("t.sql", "x '{{v}}';", vars, "x '/a&1';\n");
}

Test(shim, template_errors_name_template_and_line)
{
    struct err err = {0};
    AUTO(template_vars) struct template_vars *vars = vars_new();
    cr_assert(template_vars_text(vars, "section", "1", &err) &&
              template_list_item(vars, "channels", "c1", &err));
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"a\nb '{{sction}}'", "template 't' line 2: unknown variable 'sction', nearest: 'section'"},
        {"{{zzzzzzzzz}}", "template 't' line 1: unknown variable 'zzzzzzzzz'"},
        {"{{channels}}", "template 't' line 1: 'channels' is no variable"},
        {"@if sectio: x", "template 't' line 1: unknown flag 'sectio', nearest: 'section'"},
        {"@each channel: x", "template 't' line 1: unknown list 'channel', nearest: 'channels'"},
        {"@each section: x", "template 't' line 1: 'section' is no list"},
        {"@each channels: {{field}}",
         "row 1 of 'channels': template 't' line 1: unknown variable 'field'"},
        {"{{section", "template 't' line 1: '{{' without a name and '}}'"},
        {"{{ section }}", "template 't' line 1: '{{' without a name and '}}'"},
        {"{{}}", "template 't' line 1: '{{' without a name and '}}'"},
        {"a 'b", "template 't' line 1: quote ' is not closed on its line"},
        {"@fi x: y", "template 't' line 1: a line that begins with '@' is '@if NAME: line' or "
                     "'@each LIST: line'"},
        {"@if section", "template 't' line 1: a line that begins with '@' is '@if NAME: line' or "
                        "'@each LIST: line'"},
        {"@", "template 't' line 1: a line that begins with '@' is '@if NAME: line' or '@each "
              "LIST: line'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuses("t", cases[i].text, vars, cases[i].wanted);
}

Test(shim, template_is_looked_for_in_the_folder_then_built_in)
{
    char dir[] = "/tmp/evercopy-template-XXXXXX";
    cr_assert(mkdtemp(dir));
    struct err err = {0};
    char path[64];
    str_format(path, sizeof path, "%s/shutdown.sql", dir);
    AUTO(mem) char *before = template_render(dir, "shutdown.sql", NULL, &err);
    cr_expect_str_eq(before, "shutdown abort\n");
    cr_assert(sys_write_file(path, "shutdown immediate\n", 19, 0644, &err));
    AUTO(mem) char *after = template_render(dir, "shutdown.sql", NULL, &err);
    cr_expect_str_eq(after, "shutdown immediate\n");
    cr_assert(sys_write_file(path, "a\0b", 3, 0644, &err));
    cr_expect_null(template_load(dir, "shutdown.sql", &err));
    cr_expect(strstr(err.text, "NUL"));
    cr_expect_null(template_load(dir, "../shutdown.sql", &err));
    cr_expect_null(template_load(NULL, "shutdwn.sql", &err));
    cr_expect_str_eq(err.text, "no template 'shutdwn.sql', nearest: 'shutdown.sql'");
    cr_assert(sys_remove_tree(dir, &err));
}

/* Sets every {{name}} and @if name of a template, as text, and every @each list. */
static void set_names(struct template_vars *vars, const char *text)
{
    struct err err = {0};
    char name[64];
    for (const char *p = text; (p = strstr(p, "{{")); p += 2) {
        str_format(name, sizeof name, "%.*s", (int)strcspn(p + 2, "}"), p + 2);
        cr_assert(template_vars_text(vars, name, "v1", &err));
    }
    for (const char *p = text; (p = strstr(p, "@if ")); p += 4) {
        str_format(name, sizeof name, "%.*s", (int)strcspn(p + 4, ":"), p + 4);
        cr_assert(template_vars_text(vars, name, "v1", &err));
    }
    for (const char *p = text; (p = strstr(p, "@each ")); p += 6) {
        str_format(name, sizeof name, "%.*s", (int)strcspn(p + 6, ":"), p + 6);
        cr_assert(template_list_item(vars, name, "v2", &err));
    }
}

Test(shim, every_built_in_template_renders)
{
    cr_assert(template_builtin_count > 20);
    for (size_t i = 0; i < template_builtin_count; i++) {
        struct err err = {0};
        AUTO(template_vars) struct template_vars *vars = vars_new();
        set_names(vars, template_builtins[i].text);
        AUTO(mem) char *text = template_render(NULL, template_builtins[i].name, vars, &err);
        cr_expect(text, "%s", err.text);
        cr_expect(!text || !strstr(text, "{{"));
    }
}

Test(shim, template_reports_every_allocation_that_fails)
{
    for (long nth = 1; nth < 200; nth++) {
        struct err err = {0};
        own_fault(nth);
        AUTO(template_vars) struct template_vars *vars = template_vars_new(&err);
        AUTO(mem) char *text = NULL;
        if (vars && template_vars_text(vars, "a", "x", &err) &&
            template_vars_number(vars, "a", 2, &err) && template_list_item(vars, "l", "y", &err))
            text = template_render_text("t", "{{a}}\n@each l: {{item}}", vars, &err);
        bool untouched = own_fault(0) < nth;
        cr_assert(text || err.code == ERR_NO_MEMORY, "call %ld: %s", nth, err.text);
        if (untouched) {
            cr_expect_str_eq(text, "2\ny\n");
            return;
        }
    }
    cr_assert_fail("more than 200 allocations");
}
