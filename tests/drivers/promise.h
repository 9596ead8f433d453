/* Promises: functions that say whether a driver keeps its word, run for every sandbox row. */
#pragma once
#include "agent/base/str.h"
#include "tests/lib/sandbox.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

/* Inside a promise; `why` gets the broken line. */
#define WANT(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return err_set(why, ERR_INTERNAL, "line %d: not so: %s", __LINE__, #condition);        \
    } while (0)
#define DO(call)                                                                                   \
    do {                                                                                           \
        if (!(call))                                                                               \
            return err_wrap(why, "line %d: %s", __LINE__, #call);                                  \
    } while (0)
/* The call reports through &e. */
#define WANT_CODE(call, wanted)                                                                    \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        if (call)                                                                                  \
            return err_set(why, ERR_INTERNAL, "line %d: went well: %s", __LINE__, #call);          \
        if (e.code != ERR_##wanted)                                                                \
            return err_set(why, ERR_INTERNAL, "line %d: %s instead of " #wanted ": %s", __LINE__,  \
                           err_code_name(e.code), e.text);                                         \
    } while (0)

typedef bool promise_fn(struct sandbox *s, struct err *why);

static inline void keep(size_t row, const char *name, promise_fn *promise)
{
    AUTO(sandbox) struct sandbox s = {0};
    struct err err = {0};
    if (!sandbox_begin(&s, sandbox_row(row), &err)) {
        privileged_skipped(sandbox_row(row)->name, name, &err);
        cr_skip_test("%s", err.text);
    }
    cr_assert(promise(&s, &err), "%s breaks '%s': %s", sandbox_row(row)->name, name, err.text);
}

static inline struct criterion_test_params every_row(void)
{
    static size_t rows[16];
    for (size_t i = 0; i < sandbox_count(); i++)
        rows[i] = i;
    return cr_make_param_array(size_t, rows, sandbox_count());
}

#define PROMISE(title)                                                                             \
    static promise_fn title;                                                                       \
    ParameterizedTestParameters(contract, title) { return every_row(); }                           \
    ParameterizedTest(const size_t *row, contract, title) { keep(*row, #title, title); }           \
    static bool title(struct sandbox *s, struct err *why)

/* ---- what promises are made of ---- */

static inline bool text_is(struct sandbox *s, const char *volume, const char *snapshot,
                           const char *clone, const char *path, const char *wanted, struct err *why)
{
    AUTO(mem) char *text = sandbox_read(s, volume, snapshot, clone, path, why);
    if (!text)
        return false;
    return str_equal(text, wanted) ||
           err_set(why, ERR_INTERNAL, "'%s' holds '%.40s', not '%.40s'", path, text, wanted);
}

static inline bool put(struct sandbox *s, const char *volume, const char *clone, const char *path,
                       const char *text, struct err *why)
{
    return sandbox_write(s, volume, clone, path, text, strlen(text), 0, why);
}

/* A volume as RMAN leaves it, small. */
static inline bool make_volume(struct sandbox *s, const char *volume, struct err *why)
{
    return driver_volume_create(s->d, volume, why) &&
           put(s, volume, NULL, "data/system01.dbf", "system", why) &&
           put(s, volume, NULL, "data/users01.dbf", "users", why) &&
           put(s, volume, NULL, "log_1_7.arc", "log", why);
}

/* The three files of make_volume, nothing else. */
static inline bool is_whole(struct sandbox *s, const char *volume, const char *snapshot,
                            const char *clone, struct err *why)
{
    AUTO(area) struct area *area = driver_area(s->d, volume, snapshot, clone, why);
    AUTO(area_list) struct area_list list = {0};
    if (!area || !area_list(area, 100, &list, why))
        return false;
    if (list.count != 3)
        return err_set(why, ERR_INTERNAL, "%zu files, not 3", list.count);
    return text_is(s, volume, snapshot, clone, "data/system01.dbf", "system", why) &&
           text_is(s, volume, snapshot, clone, "data/users01.dbf", "users", why) &&
           text_is(s, volume, snapshot, clone, "log_1_7.arc", "log", why);
}

static inline bool take(struct sandbox *s, const char *volume, const char *name, struct err *why)
{
    return driver_snapshot_create(s->d, &volume, 1, name, NULL, NULL, why);
}

static inline bool clone_of(struct sandbox *s, const char *volume, const char *name,
                            const char *snapshot, struct err *why)
{
    return driver_clone_create(s->d, volume, name, snapshot, NULL, 0, NULL, why);
}

/* Names of the snapshots, in listed order, with a blank behind each. */
static inline bool snapshots_are(struct sandbox *s, const char *volume, const char *wanted,
                                 struct err *why)
{
    size_t count = 0;
    AUTO(mem) struct driver_snapshot_info *rows = driver_snapshot_list(s->d, volume, &count, why);
    AUTO(str) struct str names = {0};
    for (size_t i = 0; rows && i < count; i++)
        str_printf(&names, "%s ", rows[i].name);
    if (!rows || !str_ok(&names, why))
        return false;
    return str_equal(names.text, wanted) ||
           err_set(why, ERR_INTERNAL, "snapshots are '%s', not '%s'", names.text, wanted);
}

static inline bool clones_are(struct sandbox *s, const char *volume, const char *wanted,
                              struct err *why)
{
    size_t count = 0;
    AUTO(mem) struct driver_clone_info *rows = driver_clone_list(s->d, volume, &count, why);
    AUTO(str) struct str names = {0};
    for (size_t i = 0; rows && i < count; i++)
        str_printf(&names, "%s ", rows[i].name);
    if (!rows || !str_ok(&names, why))
        return false;
    return str_equal(names.text, wanted) ||
           err_set(why, ERR_INTERNAL, "clones are '%s', not '%s'", names.text, wanted);
}

static inline uint32_t residue(const struct sandbox *s)
{
    return s->row->residue ? s->row->residue(s) : 0;
}
