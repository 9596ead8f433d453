/* Claims of a live area, and the newest layer that changed each file. */
#include "drivers/vault/volume/claim.h"

#include "drivers/vault/volume/vault_int.h"
#include <stdlib.h>

bool view_claim(struct view *view, struct err *err)
{
    struct volume *v = view->volume;
    if (view->snap || v->clone)
        return err_set(err, ERR_UNSUPPORTED, "only a landing volume's live area is claimed");
    pthread_mutex_lock(&v->write);
    bool free = !v->claim;
    if (free)
        v->claim = view;
    pthread_mutex_unlock(&v->write);
    return free || err_set(err, ERR_BUSY, "volume '%s' is being filled already", v->name);
}

/* What lies above the base, and the base, of one moment. */
struct moment {
    struct tree tree;
    struct index base;
    struct layer **layers;
    size_t count;
};

static void moment_done(struct moment *m)
{
    for (size_t i = 0; i < m->count; i++)
        layer_unref(m->layers[i]);
    own_free(m->layers);
    index_done(&m->base);
    tree_done(&m->tree);
}
OWN_DEFINE_INPLACE(moment, struct moment, moment_done);

static bool moment_take(struct volume *v, struct moment *ret, struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    ret->layers = own_alloc((v->slot_count + 1) * sizeof(struct layer *), err);
    if (ret->layers) {
        for (size_t i = 0; i < v->slot_count; i++)
            ret->layers[ret->count++] = layer_ref(v->slots[i]->layer);
        ret->tree = tree_copy(&v->tree);
        ret->base = index_copy(&v->base);
    }
    pthread_mutex_unlock(&v->vault->lock);
    return ret->layers;
}

static int by_file(const void *key, const void *row)
{
    uint64_t file = *(const uint64_t *)key, other = ((const struct view_touch *)row)->file;
    return file < other ? -1 : file > other;
}

/* Layers come oldest first: what a newer one says counts. */
static bool add_layer(struct layer *layer, struct view_touch *rows, size_t count, struct err *err)
{
    size_t files = 0;
    AUTO(mem) struct layer_file *said = layer_files(layer, &files, err);
    for (size_t i = 0; said && i < files; i++) {
        struct view_touch *row = bsearch(&said[i].file, rows, count, sizeof *rows, by_file);
        if (row && (said[i].records > 0 || said[i].cut != UINT64_MAX))
            row->sequence = layer_sequence(layer);
    }
    return said;
}

struct view_touch *view_touches(struct view *view, size_t *ret_count, struct err *err)
{
    AUTO(moment) struct moment m = {0};
    if (!moment_take(view->volume, &m, err))
        return NULL;
    AUTO(mem) struct view_touch *rows = own_alloc((m.tree.count + 1) * sizeof *rows, err);
    size_t count = 0, capacity = m.tree.count + 1;
    uint64_t file = 0, none = 0;
    void *item = NULL;
    while (rows && index_after(&m.tree.files, file, none, &file, &none, &item)) {
        const struct entry *entry = item;
        const struct root_item *root = index_get(&m.base, file, 0);
        if (entry->kind == INODE_LINK)
            continue;
        if (!own_grow((void **)&rows, &capacity, count, sizeof *rows, err))
            return NULL;
        rows[count++] = (struct view_touch){
            file, entry->generation,
            root && root->root.stored ? root->root.birth : UINT64_MAX /* zeros tell no birth */};
    }
    for (size_t i = 0; rows && i < m.count; i++)
        if (!add_layer(m.layers[i], rows, count, err))
            return NULL;
    *ret_count = count;
    return TAKE(rows);
}
