/* Every volume and clone of a vault exported by one rule, for tests: what exports.h asks for. */
#pragma once
#include "drivers/vault/nfs/exports.h"

struct vault_exports {
    struct vault *vault;
    struct export_rule rule;         /* change it, then exports_reload */
    const struct nfsd_tree_ops *ops; /* over the vault's; NULL: those */
};
/* Borrows both; the options of exports_new. */
struct exports_options vault_exports(struct vault_exports *of);
