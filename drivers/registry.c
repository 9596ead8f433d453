/* The drivers this build knows: one line here and a driver has joined. */
#include "drivers/registry.h"

#include "agent/base/str.h"
#include <assert.h>

#define REGISTRY_ROWS(X) X(reflink) X(vault) X(vault_ingest)

#define REGISTRY_DECLARE(name) extern const struct driver driver_##name;
REGISTRY_ROWS(REGISTRY_DECLARE)
#undef REGISTRY_DECLARE

#define REGISTRY_ROW(name) &driver_##name,
static const struct driver *const built_in[] = {REGISTRY_ROWS(REGISTRY_ROW)};
#undef REGISTRY_ROW

#define REGISTRY_ONE(name) +1
enum { BUILT_IN = 0 REGISTRY_ROWS(REGISTRY_ONE), ADDED_MAX = 16 };
#undef REGISTRY_ONE

static const struct driver *added[ADDED_MAX];
static size_t added_count;

size_t registry_count(void) { return BUILT_IN + added_count; }

const struct driver *registry_row(size_t index)
{
    assert(index < registry_count());
    return index < BUILT_IN ? built_in[index] : added[index - BUILT_IN];
}

const struct driver *registry_find(const char *name, struct err *err)
{
    const char *names[BUILT_IN + ADDED_MAX];
    size_t count = registry_count();
    for (size_t i = 0; i < count; i++) {
        names[i] = registry_row(i)->name;
        if (str_equal(names[i], name))
            return registry_row(i);
    }
    const char *nearest = name ? str_nearest(name, names, count) : NULL;
    if (nearest)
        err_set(err, ERR_NOT_FOUND, "no driver '%.100s'; hint: did you mean '%s'?", name, nearest);
    else
        err_set(err, ERR_NOT_FOUND, "no driver '%.100s'", name ? name : "");
    return NULL;
}

void registry_add_for_tests(const struct driver *row)
{
    for (size_t i = 0; i < added_count; i++)
        if (added[i] == row)
            return;
    assert(added_count < ADDED_MAX);
    added[added_count++] = row;
}
