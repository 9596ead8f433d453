/* Every volume and clone of a vault exported by one rule, for tests. */
#include "tests/lib/vault_exports.h"

#include "agent/base/str.h"
#include <string.h>

/* By name, or by id when there is none. */
static bool find_clone(struct vault_exports *of, const char *volume, uint64_t id, const char *name,
                       char ret[300], struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *clones = vault_clone_list(of->vault, volume, &count, err);
    for (size_t i = 0; clones && i < count; i++) {
        str_format(ret, 300, "%s/%s", volume, clones[i].name);
        if (name ? strcmp(name, ret) == 0 : id == clones[i].id)
            return true;
    }
    return false;
}

static bool find(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err)
{
    struct vault_exports *of = arg;
    size_t count = 0;
    char full[300];
    bool found = false;
    AUTO(mem) struct vault_volume_info *all = vault_volume_list(of->vault, &count, err);
    for (size_t i = 0; all && i < count && !found; i++) {
        struct err gone = {0};
        str_copy(full, sizeof full, all[i].name);
        found = (name ? strcmp(name, full) == 0 : id == all[i].id) ||
                find_clone(of, all[i].name, id, name, full, &gone);
    }
    if (!all || !found)
        return err_set(err, ERR_NOT_FOUND, "no such export");
    *ret = (struct export){.ops = &nfsd_vault_tree, .rule = of->rule};
    str_format(ret->path, sizeof ret->path, "/%s", full);
    ret->tree = nfsd_vault_tree_open(of->vault, full, &ret->id, err);
    return ret->tree != NULL;
}

static bool each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err)
{
    (void)arg, (void)fn, (void)to, (void)err;
    return true;
}

struct exports_options vault_exports(struct vault_exports *of)
{
    return (struct exports_options){.find = find, .each = each, .arg = of};
}
