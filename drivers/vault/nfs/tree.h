/* What an export serves: a file tree. The vault's view in the product; a plain folder, in the
 * benchmark, parts the protocol's cost from the store's. */
#pragma once
#include "drivers/vault/volume/vault.h"

struct nfsd_space {
    uint64_t total_bytes, free_bytes, total_files, free_files;
};
/* As the calls of vault.h of the same names, which say what each promises; file numbers and
 * generations are the tree's own and never come again. */
struct nfsd_tree_ops {
    bool (*stat)(void *tree, uint64_t file, uint32_t generation, struct view_file *ret,
                 struct err *err);
    bool (*lookup)(void *tree, uint64_t folder, const char *name, struct view_file *ret,
                   struct err *err);
    bool (*list)(void *tree, uint64_t folder, uint64_t cookie, view_entry *fn, void *arg,
                 bool *ret_end, struct err *err);
    bool (*create)(void *tree, const struct view_caller *caller, uint64_t folder, const char *name,
                   uint8_t kind, const char *target, const struct view_attributes *attributes,
                   struct view_file *ret, struct view_change *ret_folder, struct err *err);
    bool (*link)(void *tree, const struct view_caller *caller, uint64_t file, uint64_t folder,
                 const char *name, struct view_file *ret, struct view_change *ret_folder,
                 struct err *err);
    bool (*remove)(void *tree, const struct view_caller *caller, uint64_t folder, const char *name,
                   bool folder_wanted, struct view_change *ret_folder, struct err *err);
    bool (*rename)(void *tree, const struct view_caller *caller, uint64_t from_folder,
                   const char *from, uint64_t to_folder, const char *to,
                   struct view_change *ret_from, struct view_change *ret_to, struct err *err);
    bool (*set)(void *tree, const struct view_caller *caller, uint64_t file,
                const struct view_attributes *attributes, struct view_change *ret_change,
                struct err *err);
    bool (*readlink)(void *tree, uint64_t file, char *ret, size_t size, struct err *err);
    ssize_t (*read)(void *tree, uint64_t file, void *to, size_t size, uint64_t offset,
                    struct err *err);
    bool (*write)(void *tree, uint64_t file, const void *from, size_t size, uint64_t offset,
                  bool stable, struct view_change *ret_change, struct err *err);
    bool (*commit)(void *tree, uint64_t file, struct view_change *ret_change, struct err *err);
    bool (*space)(void *tree, struct nfsd_space *ret, struct err *err);
    void (*close)(void *tree);
};
/* The live area of a volume ("NAME") or clone ("LANDING/CLONE"). */
extern const struct nfsd_tree_ops nfsd_vault_tree;
void *nfsd_vault_tree_open(struct vault *vault, const char *volume, uint64_t *ret_id,
                           struct err *err) MUST;
