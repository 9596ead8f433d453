/* What the store says of a sealed state: a file table becomes names and roots. */
#include "drivers/vault/volume/vault_int.h"

enum { SLOTS_A_RECORD = RECORD_BYTES / INODE_BYTES };

struct loading {
    struct volume *v;
    const struct root *table;
    uint64_t *records; /* of the table that are not holes */
    size_t count, capacity;
    struct tree tree;
    struct index base;
};

static bool note_record(void *arg, uint64_t record, const struct place *place,
                        const struct pattern *pattern, struct err *err)
{
    struct loading *l = arg;
    (void)pattern;
    if (place->kind == PLACE_HOLE)
        return true;
    if (l->count >= TREE_FILES_MAX + 1)
        return err_set(err, ERR_CORRUPT, "a file table has more files than there may be");
    if (!own_grow((void **)&l->records, &l->capacity, l->count, sizeof l->records[0], err))
        return false;
    l->records[l->count++] = record;
    return true;
}

bool root_put(struct index *base, uint64_t file, const struct root *root, struct err *err)
{
    struct root_item *item = item_new(sizeof *item, err);
    if (!item)
        return false;
    item->root = *root;
    return index_put(base, file, 0, item, err);
}

static bool load_record(struct loading *l, uint64_t record, struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    if (!family_read(l->v->family, l->table, record, 1, bytes, err))
        return false;
    for (size_t i = 0; i < SLOTS_A_RECORD; i++) {
        struct inode inode;
        uint64_t file = record * SLOTS_A_RECORD + i;
        if (!inode_decode(bytes + i * INODE_BYTES, store_seed(l->v->vault->store), &inode, err))
            return false;
        if (inode.kind == INODE_FREE)
            continue;
        if (inode.file != file)
            return err_set(err, ERR_CORRUPT, "slot %llu of a file table says it is file %llu",
                           (unsigned long long)file, (unsigned long long)inode.file);
        if (!tree_load(&l->tree, &inode, err) ||
            (inode.kind != INODE_LINK && !root_put(&l->base, inode.file, &inode.root, err)))
            return false;
    }
    return true;
}

bool table_load(struct volume *v, const struct root *table, uint64_t slots, struct tree *ret_tree,
                struct index *ret_base, struct err *err)
{
    struct loading l = {.v = v, .table = table};
    struct map_source source = family_source(v->family);
    uint64_t records = (slots + SLOTS_A_RECORD - 1) / SLOTS_A_RECORD;
    bool ok = tree_init(&l.tree, store_seed(v->vault->store), v->created_us, err) &&
              (!table->stored || map_walk(&source, table, 0, records, note_record, &l, err));
    for (size_t i = 0; ok && i < l.count; i++)
        ok = load_record(&l, l.records[i], err);
    ok = ok && tree_load_end(&l.tree, err);
    own_free(l.records);
    if (!ok) {
        tree_done(&l.tree);
        index_done(&l.base);
        return err_wrap(err, "file table of '%s'", v->name);
    }
    /* Numbers are not used again, also not those of files that are gone. */
    if (l.tree.next_file < slots)
        l.tree.next_file = slots;
    *ret_tree = l.tree;
    *ret_base = l.base;
    return true;
}
