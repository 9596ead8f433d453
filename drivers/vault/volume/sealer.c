/* Sealing: the oldest frozen layer of a volume becomes packs and a commit; then the layer goes. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "drivers/vault/volume/vault_int.h"
#include <stdlib.h>
#include <string.h>

enum {
    RUN_RECORDS = 64,
    HEAD_RECORDS = 2,
    SLOTS_A_RECORD = RECORD_BYTES / INODE_BYTES,
    BACK_OFF_MAX_MS = 60000,
    UNHEARD_MS = 1000,
};

struct sealing {
    struct volume *v;
    struct slot *slot;
    struct seal *seal;
    struct index base; /* roots as they will be */
    struct layer_file *files;
    size_t file_count;
    uint64_t *slots; /* of the file table that change; sorted, each once */
    size_t slot_count, slot_capacity;
    uint8_t *bytes;
    uint8_t head[HEAD_RECORDS * RECORD_BYTES]; /* of the file that is sealed, when has_head */
    bool has_head;
    struct bad_list bad;                                    /* as it will be */
    uint64_t refused;                                       /* of them, by this seal */
    char refused_path[TREE_PATH_MAX + 1], refused_why[200]; /* the first */
    uint64_t refused_record;
};

static void sealing_done(struct sealing *s)
{
    seal_abandon(s->seal);
    index_done(&s->base);
    own_free(s->files);
    own_free(s->slots);
    own_free(s->bytes);
    bad_list_done(&s->bad);
}
OWN_DEFINE_INPLACE(sealing, struct sealing, sealing_done);

static bool goes_on(struct sealing *s, struct err *err)
{
    struct vault *vault = s->v->vault;
    pthread_mutex_lock(&vault->lock);
    bool stop = vault->stopping || s->v->gone;
    pthread_mutex_unlock(&vault->lock);
    return !stop ||
           err_set(err, ERR_CANCELLED, "sealing is given up: the vault stops or the volume goes");
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool add_slot(struct sealing *s, uint64_t file, struct err *err)
{
    if (!own_grow((void **)&s->slots, &s->slot_capacity, s->slot_count, sizeof s->slots[0], err))
        return false;
    s->slots[s->slot_count++] = file;
    return true;
}

/* Files the layer wrote, names that changed; all there are, when there is no table yet. */
static bool find_slots(struct sealing *s, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < s->file_count; i++)
        ok = add_slot(s, s->files[i].file, err);
    for (size_t i = 0; ok && i < s->slot->dirty_count; i++)
        ok = add_slot(s, s->slot->dirty[i], err);
    uint64_t file = 0, b = 0;
    while (ok && !s->v->table.stored && index_after(&s->slot->tree.files, file, b, &file, &b, NULL))
        ok = add_slot(s, file, err);
    if (!ok)
        return false;
    if (s->slot_count > 0)
        qsort(s->slots, s->slot_count, sizeof s->slots[0], by_number);
    size_t kept = 0;
    for (size_t i = 0; i < s->slot_count; i++)
        if (kept == 0 || s->slots[kept - 1] != s->slots[i])
            s->slots[kept++] = s->slots[i];
    s->slot_count = kept;
    return true;
}

static const struct root *base_root(const struct sealing *s, uint64_t file)
{
    const struct root_item *item = index_get(&s->base, file, 0);
    return item && item->root.stored ? &item->root : NULL;
}

/* ---- a file's records ---- */

static bool check(struct sealing *s, const char *path, const struct entry *entry, uint64_t record,
                  const uint8_t *bytes, struct err *err)
{
    const struct vault_options *o = &s->v->vault->options;
    struct err why = {0};
    if (!o->check || entry->kind != INODE_FILE ||
        o->check(o->check_arg, path, entry->size, s->has_head ? s->head : NULL, record, bytes,
                 &why))
        return true;
    if (s->refused++ == 0) {
        s->refused_record = record;
        IGNORE(str_copy(s->refused_path, sizeof s->refused_path, path));
        IGNORE(str_copy(s->refused_why, sizeof s->refused_why, why.text));
    }
    return bad_add(&s->bad, &(struct bad_record){entry->file, record}, err);
}

/* A state has what was refused before and is there still: neither written since nor cut away. */
static bool bad_stays(const struct sealing *s, const struct bad_record *row)
{
    const struct entry *entry = tree_find(&s->slot->tree, row->file);
    if (!bad_rest(row))
        return entry && row->record < (entry->size + RECORD_BYTES - 1) >> RECORD_SHIFT &&
               layer_has(s->slot->layer, row->file, row->record) == LAYER_BELOW;
    if (row->file == INODE_TABLE)
        return true;
    for (size_t i = 0; i < s->file_count; i++) /* of a rest only the end of all is known */
        if (s->files[i].file == row->file)
            return entry && s->files[i].cut > 0;
    return entry != NULL;
}

static bool bad_load(struct volume *v, struct err *err)
{
    struct err own = {0};
    size_t count = 0;
    if (v->bad_known)
        return true;
    AUTO(mem) struct bad_record *rows = family_bad_head(v->family, v->id, &count, &own);
    if (!rows && own.code != ERR_CORRUPT) {
        *err = own;
        return false;
    }
    if (!rows) /* a seal must not wait for it; scrub tells of the frame */
        log_error("what the block check refused before is not known volume=%s error=%s", v->name,
                  own.text);
    bad_list_done(&v->bad);
    for (size_t i = 0; rows && i < count; i++)
        if (!bad_add(&v->bad, &rows[i], err))
            return false;
    return v->bad_known = true;
}

static bool bad_keep(struct sealing *s, struct err *err)
{
    if (!bad_load(s->v, err))
        return false;
    for (size_t i = 0; i < s->v->bad.count; i++)
        if (bad_stays(s, &s->v->bad.rows[i]) && !bad_add(&s->bad, &s->v->bad.rows[i], err))
            return false;
    return true;
}

/* Of the layer that is sealed already: as the store says. */
static bool bad_found(struct sealing *s, struct err *err)
{
    s->v->bad_known = false;
    if (!bad_load(s->v, err))
        return false;
    bad_list_done(&s->bad);
    s->bad = s->v->bad;
    s->v->bad = (struct bad_list){0};
    return true;
}

/* Once a layer, however often its seal is tried; told before the commit, of which nobody may hear.
 */
static void bad_tell(struct sealing *s, const struct seal_result *result)
{
    struct volume *v = s->v;
    uint64_t sequence = s->slot->sequence;
    if (s->refused == 0 || v->bad_told == sequence)
        return;
    v->bad_told = sequence;
    log_error("the block check refused records volume=%s snapshot=%s sequence=%llu count=%llu "
              "path=%s record=%llu reason=%s",
              v->name, result->named ? result->name : "", (unsigned long long)sequence,
              (unsigned long long)s->refused, s->refused_path,
              (unsigned long long)s->refused_record, s->refused_why);
}

/* A run of records of which the layer says the same. */
static bool seal_run(struct sealing *s, const struct entry *entry, const char *path,
                     uint64_t record, uint64_t max, uint64_t *ret_run, struct err *err)
{
    enum layer_has has;
    uint64_t run = layer_span(s->slot->layer, entry->file, record, max, &has);
    *ret_run = run;
    if (has == LAYER_BELOW)
        return true;
    if (has == LAYER_PRESENT &&
        !layer_read(s->slot->layer, entry->file, record, run, s->bytes, err))
        return false;
    for (uint64_t i = 0; i < run; i++) {
        const uint8_t *bytes = has == LAYER_PRESENT ? s->bytes + i * RECORD_BYTES : NULL;
        if ((bytes && !check(s, path, entry, record + i, bytes, err)) ||
            !seal_record(s->seal, record + i, bytes, err))
            return false;
    }
    return true;
}

/* The stretch of consecutive records from `i` on, not over the cut. */
static size_t stretch(const uint64_t *records, size_t i, size_t count, uint64_t end, uint64_t cut)
{
    size_t joined = 1;
    while (i + joined < count && joined < RUN_RECORDS &&
           records[i + joined] == records[i] + joined && records[i + joined] < end &&
           records[i + joined] != cut)
        joined++;
    return joined;
}

/* Ascending, with the cut in its place: what lay behind it dies, what follows is new. */
static bool seal_records(struct sealing *s, const struct entry *entry, const char *path,
                         uint64_t cut, struct err *err)
{
    size_t count = 0;
    struct err own = {0};
    AUTO(mem) uint64_t *records = layer_records_of(s->slot->layer, entry->file, &count, &own);
    if (own.code != ERR_NONE) {
        *err = own;
        return false;
    }
    uint64_t end = (entry->size + RECORD_BYTES - 1) >> RECORD_SHIFT;
    bool due = cut != UINT64_MAX;
    for (size_t i = 0; records && i < count && records[i] < end;) {
        if (due && records[i] >= cut) {
            if (!seal_cut(s->seal, cut, err))
                return false;
            due = false;
        }
        size_t joined = stretch(records, i, count, end, due ? cut : UINT64_MAX);
        uint64_t run = 0;
        if (!goes_on(s, err) || !seal_run(s, entry, path, records[i], joined, &run, err))
            return false;
        i += run > 0 ? (size_t)run : 1;
    }
    return !due || seal_cut(s->seal, cut, err);
}

/* The first records as the file will have them: what tells the check what kind of file it is. */
static bool find_head(struct sealing *s, const struct entry *entry, struct err *err)
{
    const struct root *root = base_root(s, entry->file);
    bool ok = true;
    memset(s->head, 0, sizeof s->head);
    for (uint64_t i = 0; ok && i < HEAD_RECORDS; i++) {
        enum layer_has has = layer_has(s->slot->layer, entry->file, i);
        if (has == LAYER_PRESENT)
            ok = layer_read(s->slot->layer, entry->file, i, 1, s->head + i * RECORD_BYTES, err);
        else if (has == LAYER_BELOW && root)
            ok = family_read(s->v->family, root, i, 1, s->head + i * RECORD_BYTES, err);
    }
    s->has_head = ok && !format_is_zero(s->head, RECORD_BYTES);
    return ok;
}

static bool seal_one(struct sealing *s, const struct layer_file *file, struct err *err)
{
    const struct entry *entry = tree_find(&s->slot->tree, file->file);
    char path[TREE_PATH_MAX + 1] = "";
    uint64_t cut = file->cut == UINT64_MAX
                       ? UINT64_MAX
                       : (file->cut >> RECORD_SHIFT) + ((file->cut & (RECORD_BYTES - 1)) != 0);
    struct root root;
    if (!entry || entry->kind == INODE_DIRECTORY)
        return true;
    if (s->v->vault->options.check &&
        (!tree_path(&s->slot->tree, entry->file, path, sizeof path, err) ||
         !find_head(s, entry, err)))
        return false;
    return seal_file_begin(s->seal, entry->file, base_root(s, entry->file), err) &&
           seal_records(s, entry, path, cut, err) &&
           seal_file_end(s->seal, entry->size, &root, err) &&
           root_put(&s->base, entry->file, &root, err);
}

static bool seal_files(struct sealing *s, struct err *err)
{
    for (size_t i = 0; i < s->file_count; i++)
        if (!seal_one(s, &s->files[i], err))
            return err_wrap(err, "file %llu", (unsigned long long)s->files[i].file);
    for (size_t i = 0; i < s->slot_count; i++) {
        uint64_t file = s->slots[i];
        if (tree_find(&s->slot->tree, file))
            continue;
        const struct root *root = base_root(s, file);
        if ((root && !seal_file_gone(s->seal, root, err)) || !index_remove(&s->base, file, 0, err))
            return false;
    }
    return true;
}

/* ---- the file table ---- */

static struct root root_of(const struct sealing *s, const struct entry *entry)
{
    const struct root_item *item = index_get(&s->base, entry->file, 0);
    if (item)
        return item->root;
    struct root empty = {.level = map_level(entry->size)};
    empty.hash = *hash_zero(empty.level);
    return empty;
}

static void show_slots(const struct sealing *s, uint64_t record, uint8_t *ret)
{
    memset(ret, 0, RECORD_BYTES);
    for (size_t i = 0; i < SLOTS_A_RECORD; i++) {
        const struct entry *entry = tree_find(&s->slot->tree, record * SLOTS_A_RECORD + i);
        if (!entry)
            continue;
        struct inode inode;
        tree_show(entry, &inode);
        if (entry->kind != INODE_LINK)
            inode.root = root_of(s, entry);
        inode_encode(&inode, store_seed(s->v->vault->store), ret + i * INODE_BYTES);
    }
}

static bool seal_table(struct sealing *s, struct seal_result *result, struct err *err)
{
    const struct root *old = s->v->table.stored ? &s->v->table : NULL;
    result->slots = s->slot->tree.next_file;
    if (result->slots < s->v->table_slots)
        result->slots = s->v->table_slots;
    if (!seal_file_begin(s->seal, INODE_TABLE, old, err))
        return false;
    uint64_t last = UINT64_MAX;
    for (size_t i = 0; i < s->slot_count; i++) {
        uint64_t record = s->slots[i] / SLOTS_A_RECORD;
        if (record == last)
            continue;
        last = record;
        show_slots(s, record, s->bytes);
        if (!seal_record(s->seal, record, s->bytes, err))
            return false;
    }
    return seal_file_end(s->seal, result->slots * INODE_BYTES, &result->table, err);
}

/* ---- what the snapshot is ---- */

struct named_path {
    char *path;
    const struct entry *entry;
};

static int by_path(const void *a, const void *b)
{
    const struct named_path *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static bool list_paths(const struct tree *tree, struct named_path *list, size_t *count,
                       struct err *err)
{
    uint64_t file = 0, b = 0;
    void *item = NULL;
    while (index_after(&tree->files, file, b, &file, &b, &item)) {
        char path[TREE_PATH_MAX + 1];
        const struct entry *entry = item;
        if (file == INODE_ROOT || !entry->parent)
            continue;
        if (!tree_path(tree, file, path, sizeof path, err))
            return false;
        list[*count] = (struct named_path){own_strdup(path, err), tree_named(tree, entry)};
        if (!list[*count].path)
            return false;
        ++*count;
    }
    return true;
}

static bool identify(struct sealing *s, struct hash *ret, struct err *err)
{
    const struct tree *tree = &s->slot->tree;
    size_t count = 0;
    AUTO(mem) struct named_path *list = own_alloc((tree->count + 1) * sizeof *list, err);
    struct identity *identity = list ? identity_begin(err) : NULL;
    bool ok = identity && list_paths(tree, list, &count, err);
    if (ok && count > 0)
        qsort(list, count, sizeof *list, by_path);
    for (size_t i = 0; ok && i < count; i++) {
        struct root root = root_of(s, list[i].entry);
        ok = identity_add(identity, list[i].entry->kind, list[i].path, list[i].entry->size, &root,
                          err);
    }
    for (size_t i = 0; list && i < count; i++)
        own_free(list[i].path);
    if (identity)
        identity_end(identity, ret);
    return ok;
}

/* ---- the whole ---- */

/* A deleted one that clones need is sealed under a name nobody can give. */
static void name_result(struct sealing *s, struct seal_result *result)
{
    pthread_mutex_lock(&s->v->vault->lock);
    const struct snap *snap = snap_at(s->v, s->slot->sequence);
    if (snap) {
        result->named = true;
        result->id = snap->id;
        result->created_us = snap->created_us;
        if (snap->hidden && snap->name[0] != '.')
            IGNORE(str_format(result->name, sizeof result->name, ".%016llx",
                              (unsigned long long)snap->id));
        else
            IGNORE(str_copy(result->name, sizeof result->name, snap->name));
    }
    pthread_mutex_unlock(&s->v->vault->lock);
    result->logical_bytes = s->slot->tree.bytes;
}

/* Until settle() readers may meet what this frees. */
static bool commit(struct sealing *s, const struct seal_result *result, struct err *err)
{
    struct vault *vault = s->v->vault;
    pthread_mutex_lock(&vault->lock);
    s->v->landing->committing++;
    pthread_mutex_unlock(&vault->lock);
    if (seal_commit(TAKE(s->seal), result, err))
        return true;
    pthread_mutex_lock(&vault->lock);
    s->v->unheard = err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT;
    s->v->landing->committing--;
    pthread_cond_broadcast(&vault->changed);
    pthread_mutex_unlock(&vault->lock);
    return false;
}

/* The snapshot that the commit named. One that was deleted meanwhile had gone from memory by its
 * name alone: it is there again, hidden, until it is let go in the store too. */
static bool found_snapshot(struct sealing *s, struct seal_result *result, struct err *err)
{
    struct volume *v = s->v;
    uint64_t sequence = s->slot->sequence;
    size_t count = 0;
    AUTO(mem) struct snapshot_row *rows = family_snapshots(v->family, v->id, &count, err);
    const struct snapshot_row *row = NULL;
    for (size_t i = 0; rows && i < count; i++)
        if (rows[i].sequence == sequence)
            row = &rows[i];
    if (!row)
        return rows != NULL;
    AUTO(snap) struct snap *hidden = snap_new(v, sequence, row->name, err);
    if (!hidden)
        return false;
    result->logical_bytes = row->logical_bytes;
    result->identity = row->identity;
    hidden->id = row->id;
    hidden->created_us = row->created_us;
    hidden->hidden = hidden->whole = true;
    pthread_mutex_lock(&v->vault->lock);
    bool ok = snap_at(v, sequence) || snap_enlist(v, hidden, err);
    if (ok && snap_at(v, sequence) == hidden)
        hidden = NULL;
    pthread_mutex_unlock(&v->vault->lock);
    return ok;
}

/* The commit of a try before was there after all: what it said is taken from the rows. */
static bool found_sealed(struct sealing *s, struct seal_result *result, struct err *err)
{
    struct volume *v = s->v;
    AUTO(tree) struct tree tree = {0};
    AUTO(index) struct index base = {0};
    size_t count = 0, at = 0;
    AUTO(mem) struct volume_row *rows = family_volumes(v->family, &count, err);
    while (rows && at < count && rows[at].id != v->id)
        at++;
    if (!rows)
        return false;
    if (at == count || rows[at].sealed != s->slot->sequence)
        return err_set(err, ERR_CORRUPT, "the store says that more is sealed than there was");
    result->table = rows[at].table;
    result->slots = rows[at].slots;
    if (!table_load(v, &result->table, result->slots, &tree, &base, err) ||
        !found_snapshot(s, result, err) || !bad_found(s, err))
        return false;
    index_done(&s->base);
    s->base = base;
    base = (struct index){0};
    pthread_mutex_lock(&v->vault->lock);
    v->landing->committing++; /* settle() ends it */
    pthread_mutex_unlock(&v->vault->lock);
    return true;
}

/* No seal begins before it is known what became of the commit before. */
static void was_heard(struct volume *v)
{
    pthread_mutex_lock(&v->vault->lock);
    v->unheard = false;
    pthread_mutex_unlock(&v->vault->lock);
}

static bool seal_layer(struct sealing *s, struct seal_result *result, struct err *err)
{
    struct volume *v = s->v;
    struct err own = {0};
    s->bytes = own_alloc((size_t)RUN_RECORDS * RECORD_BYTES, err);
    s->files = s->bytes ? layer_files(s->slot->layer, &s->file_count, &own) : NULL;
    if (own.code != ERR_NONE)
        *err = own;
    if (!s->bytes || own.code != ERR_NONE || !find_slots(s, err))
        return false;
    s->seal = seal_begin(v->family, v->id, s->slot->sequence, &own);
    if (!s->seal && own.code == ERR_EXISTS)
        return found_sealed(s, result, err);
    if (!s->seal)
        *err = own;
    else
        was_heard(v);
    if (!s->seal || !bad_keep(s, err) || !seal_files(s, err) || !seal_table(s, result, err))
        return false;
    name_result(s, result);
    if (result->named && !identify(s, &result->identity, err))
        return false;
    result->bad = s->bad.rows;
    result->bad_count = s->bad.count;
    bad_tell(s, result);
    return commit(s, result, err);
}

/* The store has it: in memory from here on too. vault.lock is held. */
static void settle(struct sealing *s, const struct seal_result *result)
{
    struct volume *v = s->v;
    struct vault *vault = v->vault;
    struct index old = v->base;
    v->base = s->base;
    s->base = old;
    v->table = result->table;
    v->table_slots = result->slots;
    v->sealed = s->slot->sequence;
    struct bad_list bad = v->bad;
    v->bad = s->bad;
    s->bad = bad;
    struct snap *snap = snap_at(v, s->slot->sequence);
    if (snap) {
        snap->sealed = true;
        snap->table = result->table;
        snap->slots = result->slots;
        snap->logical_bytes = result->logical_bytes;
        snap->identity = result->identity;
        snap->bad_records = bad_total(v->bad.rows, v->bad.count);
        snap->base = index_copy(&v->base);
    }
    vault->frozen_bytes -= s->slot->bytes;
    memmove(&v->slots[0], &v->slots[1], --v->slot_count * sizeof(struct slot *));
    unique_forget(v, s->slot->sequence);
    v->landing->changes++;
    v->landing->committing--;
    for (size_t i = 0; snap && snap->pins > 0 && i < vault->volume_count; i++) {
        struct volume *clone = vault->volumes[i];
        struct err later = {0};
        if (clone->landing == v->landing && !clone->ready && !clone->making && !clone->gone &&
            !clone_ready(clone, &later))
            log_warning("a clone waits for memory clone=%s error=%s", clone->name, later.text);
    }
    if (snap)
        snap_unload(snap);
    vault->work = true;
    pthread_cond_signal(&vault->attend);
    pthread_cond_broadcast(&vault->changed);
}

/* What follows a seal and may be late: all of it is done again, or found done. */
static void follow_up(struct volume *v, uint64_t sequence, struct err *err)
{
    struct record record = {.kind = RECORD_SEALED, .sequence = sequence};
    struct err full = {0};
    pthread_mutex_lock(&v->write);
    /* A full journal takes no note; a state says what is sealed, and makes room. */
    bool noted = volume_note(v, &record, &full);
    bool ok = volume_compact(v, err);
    pthread_mutex_unlock(&v->write);
    if (ok && !noted && full.code != ERR_LIMIT)
        *err = full;
    ok = ok && (noted || full.code == ERR_LIMIT);
    pthread_mutex_lock(&v->admin);
    pthread_mutex_lock(&v->vault->lock);
    struct snap *snap = snap_at(v, sequence);
    pthread_mutex_unlock(&v->vault->lock);
    if (snap && !snap->hidden)
        ok = note_move(v, snap->id, err) && snap_lock_store(snap, err) && ok;
    if (snap && snap->hidden)
        ok = snap_reap(snap, err) && ok;
    pthread_mutex_unlock(&v->admin);
    if (!ok)
        log_warning("after a seal volume=%s error=%s", v->name, err->text);
}

/* volume.sealing is set by the caller, who is alone at it. */
bool seal_oldest(struct volume *v, struct err *err)
{
    struct vault *vault = v->vault;
    AUTO(sealing) struct sealing s = {.v = v};
    struct seal_result result = {0};
    if (v->clone && !clone_register(v, err))
        return false;
    pthread_mutex_lock(&vault->lock);
    s.slot = v->slots[0];
    s.base = index_copy(&v->base);
    pthread_mutex_unlock(&vault->lock);
    if (!seal_layer(&s, &result, err))
        return err_wrap(err, "seal layer %llu of '%s'", (unsigned long long)s.slot->sequence,
                        v->name);
    pthread_mutex_lock(&vault->lock);
    settle(&s, &result);
    pthread_mutex_unlock(&vault->lock);
    uint64_t sequence = s.slot->sequence;
    layer_drop(s.slot->layer);
    slot_free(s.slot);
    struct err later = {0};
    follow_up(v, sequence, &later);
    return true;
}

bool seal_is_due(const struct volume *v)
{
    if (v->making)
        return false;
    const struct slot *oldest = v->slot_count > 1 ? v->slots[0] : NULL;
    return oldest && !v->gone && !v->sealing && v->ready && oldest->frozen && oldest->committed &&
           oldest->decided;
}

static bool seal_marked(struct volume *v, struct err *err)
{
    struct vault *vault = v->vault;
    bool ok = seal_oldest(v, err);
    pthread_mutex_lock(&vault->lock);
    v->sealing = false;
    v->failures = ok ? 0 : v->failures + 1;
    v->unheard = v->unheard && !ok;
    uint64_t wait = v->failures < 7 ? (uint64_t)1000 << v->failures : BACK_OFF_MAX_MS;
    if (wait > BACK_OFF_MAX_MS)
        wait = BACK_OFF_MAX_MS;
    /* Once another change finds out, readers miss what it freed until we have heard too. */
    if (v->unheard)
        wait = UNHEARD_MS;
    v->seal_after_ms = ok ? 0 : clock_mono_ms() + wait;
    if (ok)
        thin_want(v);
    pthread_cond_broadcast(&vault->changed);
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

/* ---- threads ---- */

/* Round robin, so that one busy volume does not keep the others waiting. */
static struct volume *pick(struct vault *vault, uint64_t after)
{
    uint64_t now = clock_mono_ms();
    for (size_t i = 0, from = 0; i < vault->volume_count; i++) {
        while (i == 0 && from < vault->volume_count && vault->volumes[from]->id <= after)
            from++;
        struct volume *v = vault->volumes[(from + i) % vault->volume_count];
        if (seal_is_due(v) && v->seal_after_ms <= now) {
            v->sealing = true;
            volume_ref(v);
            return v;
        }
    }
    return NULL;
}

/* While nothing waits to be sealed. vault.lock is held, and given up meanwhile. */
static bool count_unique(struct vault *vault)
{
    struct volume *v = unique_pick(vault);
    struct err err = {0};
    bool more = false;
    if (!v)
        return false;
    pthread_mutex_unlock(&vault->lock);
    bool ok = unique_count(v, &more, &err);
    pthread_mutex_lock(&vault->lock);
    if (ok && more) /* else when somebody asks again */
        v->unique_asked = vault->unique_asked = true;
    pthread_mutex_unlock(&vault->lock);
    volume_put(v);
    pthread_mutex_lock(&vault->lock);
    return true;
}

/* A failure that is met each second is told each minute. */
static bool is_news(struct volume *v)
{
    pthread_mutex_lock(&v->vault->lock);
    bool news = !v->unheard || v->failures < 7 || v->failures % 60 == 0;
    pthread_mutex_unlock(&v->vault->lock);
    return news;
}

void *sealer_run(void *arg)
{
    struct vault *vault = arg;
    uint64_t after = 0;
    pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; i < vault->volume_count; i++)
        thin_want(vault->volumes[i]); /* what a crash left undone */
    while (!vault->stopping) {
        struct volume *v = pick(vault, after);
        if (!v && (count_unique(vault) || thin_some(vault)))
            continue;
        if (!v) {
            copies_look(vault);
            if (!vault->stopping)
                IGNORE(vault_wait_until(vault, clock_mono_ms() + 1000));
            continue;
        }
        after = v->id;
        pthread_mutex_unlock(&vault->lock);
        struct err err = {0};
        if (!seal_marked(v, &err) && err.code != ERR_CANCELLED && is_news(v))
            log_warning("sealing waits volume=%s code=%s error=%s", v->name,
                        err_code_name(err.code), err.text);
        volume_put(v);
        pthread_mutex_lock(&vault->lock);
    }
    pthread_mutex_unlock(&vault->lock);
    return NULL;
}

/* ---- by hand ---- */

/* What a volume stands on, when that must be sealed before it; referenced. vault.lock is held. */
static struct volume *blocker(struct volume *v)
{
    for (size_t i = 0; !v->ready && i < v->origin_count; i++)
        if (!v->origins[i]->sealed)
            return v->origins[i]->volume;
    return NULL;
}

static bool seal_until(struct volume *v, uint64_t sequence, struct err *err)
{
    struct vault *vault = v->vault;
    bool ok = true;
    pthread_mutex_lock(&vault->lock);
    while (ok && !v->gone && v->slot_count > 1 && v->slots[0]->sequence <= sequence) {
        struct volume *at = v, *below;
        while ((below = blocker(at)))
            at = below;
        if (!seal_is_due(at)) { /* somebody is at it, or about to be */
            ok = !vault->stopping || err_set(err, ERR_CANCELLED, "the vault is closing");
            if (ok)
                IGNORE(vault_wait_until(vault, UINT64_MAX));
            continue;
        }
        at->sealing = true;
        volume_ref(at);
        pthread_mutex_unlock(&vault->lock);
        ok = seal_marked(at, err);
        volume_put(at);
        pthread_mutex_lock(&vault->lock);
    }
    pthread_mutex_unlock(&vault->lock);
    return ok;
}

bool vault_seal(struct vault *vault, const char *volume, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get(vault, volume, err);
    if (!v)
        return false;
    pthread_mutex_lock(&vault->lock);
    uint64_t sequence = v->slot_count > 1 ? v->slots[v->slot_count - 2]->sequence : 0;
    pthread_mutex_unlock(&vault->lock);
    return seal_until(v, sequence, err);
}

bool vault_swap(struct vault *vault, const char *volume, const char *clone, struct err *err)
{
    AUTO(volume) struct volume *v = volume_get_clone(vault, volume, clone, err);
    if (!v)
        return false;
    pthread_mutex_lock(&v->admin);
    bool ok = swap_quietly(v, err);
    pthread_mutex_unlock(&v->admin);
    return ok;
}
