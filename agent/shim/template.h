/* Scripts for RMAN and SQL*Plus, from templates in which no value can leave its place. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

/* Generated from agent/shim/templates/ by templates.awk. */
struct template_builtin {
    const char *name; /* "merge.rman" */
    const char *text;
};
extern const struct template_builtin template_builtins[];
extern const size_t template_builtin_count;

/* What a template may name: texts, numbers, flags, and lists of rows. Setting a name again replaces
 * it. Every setter is false with NO_MEMORY or, for hostile values, INVALID: values are UTF-8
 * without control characters, quotes, semicolons (and, in .rman, '&'); where the template does not
 * quote the value, it is made of letters, digits and '_' alone (the latter two are checked while
 * rendering). */
struct template_vars;
struct template_vars *template_vars_new(struct err *err) MUST;
void template_vars_free(struct template_vars *vars);
OWN_DEFINE(template_vars, struct template_vars, template_vars_free);
bool template_vars_text(struct template_vars *vars, const char *name, const char *value,
                        struct err *err) MUST;
bool template_vars_number(struct template_vars *vars, const char *name, uint64_t value,
                          struct err *err) MUST;
bool template_vars_flag(struct template_vars *vars, const char *name, bool value, struct err *err)
    MUST;
/* Declares a list, empty at first; a template that names an undeclared one is in error. */
bool template_vars_list(struct template_vars *vars, const char *list, struct err *err) MUST;
/* Adds a row of one field, `item`. */
bool template_list_item(struct template_vars *vars, const char *list, const char *value,
                        struct err *err) MUST;
/* Begins a row; the two below put fields into the row begun last. */
bool template_list_row(struct template_vars *vars, const char *list, struct err *err) MUST;
bool template_row_text(struct template_vars *vars, const char *list, const char *field,
                       const char *value, struct err *err) MUST;
bool template_row_number(struct template_vars *vars, const char *list, const char *field,
                         uint64_t value, struct err *err) MUST;

/* The template's text: `dir`/name when that file exists (dir may be NULL), else built in. Owned. */
char *template_load(const char *dir, const char *name, struct err *err) MUST;
/* Loads and renders; owned. vars may be NULL. Errors name template and line. Comment lines ('#' in
 * .rman, '--' in .sql) are left out. */
char *template_render(const char *dir, const char *name, const struct template_vars *vars,
                      struct err *err) MUST;
/* Renders text that is at hand; name serves messages and, by its ending, the comment sign. */
char *template_render_text(const char *name, const char *text, const struct template_vars *vars,
                           struct err *err) MUST;
