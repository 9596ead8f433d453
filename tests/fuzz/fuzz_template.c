/* Fuzz target: a hostile value in a good template must be refused or stay in its place; a hostile
 * template must be refused or rendered. The first byte divides value from template. */
#include "agent/base/str.h"
#include "agent/shim/template.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One line, and a quote at either end only. */
static void check_place(const char *text)
{
    size_t quotes = 0;
    for (const char *p = text; *p; p++)
        quotes += *p == '\'' || *p == '"' || *p == ';' || *p == '\n';
    if (quotes != 4)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    if (!size)
        return 0;
    size_t value_len = data[0] < size ? data[0] : size - 1;
    AUTO(mem) char *value = own_strndup((const char *)data + 1, value_len, &err);
    AUTO(mem)
    char *text = own_strndup((const char *)data + 1 + value_len, size - 1 - value_len, &err);
    AUTO(template_vars) struct template_vars *vars = template_vars_new(&err);
    if (!value || !text || !vars || !template_vars_text(vars, "v", value, &err) ||
        !template_list_item(vars, "l", value, &err))
        return 0;
    AUTO(mem) char *good = template_render_text("x.rman", "log '{{v}}';", vars, &err);
    if (good)
        check_place(good);
    AUTO(mem) char *wild = template_render_text("x.sql", text, vars, &err);
    return 0;
}
