/* Reading: layers newest first, what was cut, then the sealed map. */
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

void plan_done(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        layer_unref(plan->steps[i].layer);
    if (plan->steps != plan->few)
        own_free(plan->steps);
    plan->steps = NULL;
    plan->count = 0;
}

static bool plan_add(struct plan *plan, struct layer *layer, uint64_t file, struct err *err)
{
    if (plan->count == plan->capacity) {
        size_t wanted = plan->capacity * 2;
        struct plan_step *more = own_alloc(wanted * sizeof *more, err);
        if (!more)
            return false;
        memcpy(more, plan->steps, plan->count * sizeof *more);
        if (plan->steps != plan->few)
            own_free(plan->steps);
        plan->steps = more;
        plan->capacity = wanted;
    }
    plan->steps[plan->count++] = (struct plan_step){layer_ref(layer), file};
    return true;
}

static void plan_root(struct plan *plan, const struct index *base, uint64_t file)
{
    const struct root_item *item = index_get(base, file, 0);
    if (item)
        plan->root = item->root;
}

/* Down from a volume's layers to its base, or through its origin to theirs. */
static bool plan_descend(struct plan *plan, const struct volume *v, const struct snap *snap,
                         uint64_t file, struct err *err)
{
    for (;;) {
        if (snap && snap->sealed) {
            plan_root(plan, &snap->base, file);
            return true;
        }
        for (size_t i = v->slot_count; i-- > 0;)
            if ((!snap || v->slots[i]->sequence <= snap->sequence) &&
                !plan_add(plan, v->slots[i]->layer, file, err))
                return false;
        if (v->ready) {
            plan_root(plan, &v->base, file);
            return true;
        }
        size_t source = 0;
        if (v->mapped) {
            const struct part_item *part = index_get(&v->parts, file, 0);
            if (!part)
                return true;
            source = part->source;
            file = part->below;
        }
        snap = v->origins[source];
        v = snap->volume;
    }
}

bool plan_make(struct volume *v, const struct snap *snap, uint64_t file, struct plan *ret,
               struct err *err)
{
    const struct entry *entry = tree_file(snap ? &snap->tree : &v->tree, file);
    if (!entry)
        return err_set(err, ERR_NOT_FOUND, "no file %llu", (unsigned long long)file);
    plan_done(ret);
    ret->steps = ret->few;
    ret->capacity = sizeof ret->few / sizeof ret->few[0];
    ret->root = (struct root){0};
    ret->family = v->family;
    ret->changes = v->landing->changes;
    ret->cuts = v->cuts;
    ret->size = entry->size;
    ret->kind = entry->kind;
    return plan_descend(ret, v, snap, file, err);
}

static bool root_read(const struct plan *plan, uint64_t record, uint64_t count, uint8_t *to,
                      struct err *err)
{
    uint64_t covered = (uint64_t)NODE_FAN << (8 * plan->root.level);
    if (!plan->root.stored || record >= covered) {
        memset(to, 0, (size_t)count * RECORD_BYTES);
        return true;
    }
    uint64_t there = count < covered - record ? count : covered - record;
    memset(to + there * RECORD_BYTES, 0, (size_t)(count - there) * RECORD_BYTES);
    return family_read(plan->family, &plan->root, record, there, to, err);
}

bool plan_read(const struct plan *plan, uint64_t record, uint64_t count, uint8_t *to,
               struct err *err)
{
    while (count > 0) {
        uint64_t run = count;
        enum layer_has has = LAYER_BELOW;
        const struct plan_step *step = plan->steps;
        for (size_t i = 0; i < plan->count && has == LAYER_BELOW; i++) {
            step = &plan->steps[i];
            run = layer_span(step->layer, step->file, record, run, &has);
        }
        bool ok = true;
        if (has == LAYER_PRESENT)
            ok = layer_read(step->layer, step->file, record, run, to, err);
        else if (has == LAYER_HOLE)
            memset(to, 0, (size_t)run * RECORD_BYTES);
        else
            ok = root_read(plan, record, run, to, err);
        if (!ok)
            return false;
        record += run;
        count -= run;
        to += run * RECORD_BYTES;
    }
    return true;
}

/* True when what the plan relied on may have gone while it was read. */
static bool plan_is_stale(const struct volume *v, const struct plan *plan)
{
    pthread_mutex_lock(&v->vault->lock);
    /* A seal's commit frees before we hear of it: then it is waited for. */
    while (plan->changes == v->landing->changes && v->landing->committing > 0)
        IGNORE(vault_wait_until(v->vault, UINT64_MAX));
    bool stale = plan->changes != v->landing->changes;
    pthread_mutex_unlock(&v->vault->lock);
    return stale;
}

/* What is cut away reads as zeros, which are no content: false when some of what was read up to
 * `end` may be such. Most reads meet no cut and take no lock. */
static bool is_content(struct volume *v, const struct plan *plan, uint64_t file, uint64_t end)
{
    if (plan->cuts == v->cuts)
        return true;
    pthread_mutex_lock(&v->vault->lock);
    const struct entry *entry = tree_file(&v->tree, file);
    bool there = entry && entry->size >= end;
    pthread_mutex_unlock(&v->vault->lock);
    return there;
}

static bool plan_under_lock(struct volume *v, struct snap *snap, uint64_t file, struct plan *plan,
                            struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    bool ok = plan_make(v, snap, file, plan, err);
    pthread_mutex_unlock(&v->vault->lock);
    return ok;
}

/* What could not be read, in words that an operator can act on; only where something is wrong. */
static void name_it(struct volume *v, const struct snap *snap, uint64_t file, uint64_t first,
                    uint64_t end, struct err *err)
{
    struct err none = {0};
    char path[TREE_PATH_MAX + 1] = "";
    pthread_mutex_lock(&v->vault->lock);
    IGNORE(tree_path(snap ? &snap->tree : &v->tree, file, path, sizeof path, &none)); /* gone */
    pthread_mutex_unlock(&v->vault->lock);
    IGNORE(err_wrap(err, "volume '%s'%s%s%s%s%s%s file '%.200s' bytes %llu to %llu",
                    v->landing->name, v->clone ? " clone '" : "", v->clone ? v->name : "",
                    v->clone ? "'" : "", snap ? " snapshot '" : "", snap ? snap->name : "",
                    snap ? "'" : "", path, (unsigned long long)first, (unsigned long long)end - 1));
}

bool volume_read(struct volume *v, struct snap *snap, uint64_t file, uint64_t record,
                 uint64_t count, void *to, struct err *err)
{
    for (;;) {
        AUTO(plan) struct plan plan = {0};
        struct err own = {0};
        if (!plan_under_lock(v, snap, file, &plan, err))
            return false;
        if (plan_read(&plan, record, count, to, &own))
            return true;
        /* A seal or a removal moved it under us: where does it lie now? */
        if (plan_is_stale(v, &plan))
            continue;
        *err = own;
        name_it(v, snap, file, record << RECORD_SHIFT, (record + count) << RECORD_SHIFT, err);
        return false;
    }
}

/* All of it by one plan; of the first and last record maybe only a part. */
static bool read_bytes(const struct plan *plan, uint8_t *to, size_t size, uint64_t offset,
                       struct err *err)
{
    for (size_t done = 0, part; done < size; done += part) {
        uint64_t at = offset + done, record = at >> RECORD_SHIFT;
        size_t skip = at & (RECORD_BYTES - 1), left = size - done;
        uint8_t bytes[RECORD_BYTES];
        if (skip == 0 && left >= RECORD_BYTES) {
            part = left & ~(size_t)(RECORD_BYTES - 1);
            if (!plan_read(plan, record, part >> RECORD_SHIFT, to + done, err))
                return false;
            continue;
        }
        part = left < RECORD_BYTES - skip ? left : RECORD_BYTES - skip;
        if (!plan_read(plan, record, 1, bytes, err))
            return false;
        memcpy(to + done, bytes + skip, part);
    }
    return true;
}

ssize_t view_read(struct view *view, uint64_t file, void *to, size_t size, uint64_t offset,
                  struct err *err)
{
    struct volume *v = view->volume;
    for (;;) {
        AUTO(plan) struct plan plan = {0};
        struct err own = {0};
        if (!plan_under_lock(v, view->snap, file, &plan, err))
            return -1;
        if (plan.kind == INODE_DIRECTORY)
            return err_set(err, ERR_PRECONDITION, "file %llu is a folder",
                           (unsigned long long)file),
                   -1;
        if (offset >= plan.size)
            return 0;
        size_t some = size < plan.size - offset ? size : (size_t)(plan.size - offset);
        bool ok = read_bytes(&plan, to, some, offset, &own);
        if (ok && (view->snap || is_content(v, &plan, file, offset + some)))
            return (ssize_t)some;
        if (ok || plan_is_stale(v, &plan))
            continue;
        *err = own;
        name_it(v, view->snap, file, offset, offset + some, err);
        return -1;
    }
}
