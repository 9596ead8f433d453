/* Every volume and clone of a vault exported by one rule, for tests. */
#include "tests/lib/vault_exports.h"

#include "agent/base/str.h"
#include <string.h>

static bool is_it(const struct vault_volume_info *info, const char *full, uint64_t id,
                  const char *name, struct export *ret)
{
    if (name ? strcmp(name, full) != 0 : id != info->id)
        return false;
    ret->id = info->id;
    str_format(ret->path, sizeof ret->path, "/%s", full);
    return true;
}

static bool find_clone(struct vault_exports *of, const char *volume, uint64_t id, const char *name,
                       struct export *ret)
{
    size_t count = 0;
    char full[300];
    struct err gone = {0};
    AUTO(mem) struct vault_volume_info *clones = vault_clone_list(of->vault, volume, &count, &gone);
    for (size_t i = 0; clones && i < count; i++) {
        str_format(full, sizeof full, "%s/%s", volume, clones[i].name);
        if (is_it(&clones[i], full, id, name, ret))
            return true;
    }
    return false;
}

static bool find(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err)
{
    struct vault_exports *of = arg;
    size_t count = 0;
    *ret = (struct export){.rule = of->rule};
    AUTO(mem) struct vault_volume_info *all = vault_volume_list(of->vault, &count, err);
    for (size_t i = 0; all && i < count; i++)
        if (is_it(&all[i], all[i].name, id, name, ret) ||
            find_clone(of, all[i].name, id, name, ret))
            return true;
    return all && err_set(err, ERR_NOT_FOUND, "no such export");
}

static bool open_tree(void *arg, struct export *export, struct err *err)
{
    struct vault_exports *of = arg;
    uint64_t id = 0;
    export->ops = of->ops ? of->ops : &nfsd_vault_tree;
    export->tree = nfsd_vault_tree_open(of->vault, export->path + 1, &id, err);
    if (export->tree && id != export->id) { /* made again meanwhile, under the same name */
        nfsd_vault_tree.close(export->tree);
        return err_set(err, ERR_NOT_FOUND, "no such export");
    }
    return export->tree != NULL;
}

static bool each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err)
{
    (void)arg, (void)fn, (void)to, (void)err;
    return true;
}

struct exports_options vault_exports(struct vault_exports *of)
{
    return (struct exports_options){.find = find, .open = open_tree, .each = each, .arg = of};
}
