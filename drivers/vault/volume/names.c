/* Names: each change is in the journal, on disk, before it is answered; asked again, the answer is
 * the same. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

/* ---- what a record does, live and at opening ---- */

bool slot_mark(struct slot *slot, uint64_t file, struct err *err)
{
    if (slot->dirty_count > 0 && slot->dirty[slot->dirty_count - 1] == file)
        return true;
    if (!own_grow((void **)&slot->dirty, &slot->dirty_capacity, slot->dirty_count,
                  sizeof slot->dirty[0], err))
        return false;
    slot->dirty[slot->dirty_count++] = file;
    return true;
}

static bool apply_create(struct tree *tree, const struct slot *slot, const struct record *record,
                         struct err *err)
{
    struct inode inode = {.file = record->file,
                          .parent = record->folder,
                          .generation =
                              (uint32_t)slot->sequence, /* grows, whoever had the number */
                          .kind = record->file_kind,
                          .mode = record->mode,
                          .uid = record->uid,
                          .gid = record->gid,
                          .size = record->size,
                          .mtime_us = record->mtime_us,
                          .ctime_us = record->time_us,
                          .atime_us = record->atime_us,
                          .name_len = (uint8_t)strlen(record->name)};
    if (inode.kind < INODE_FILE || inode.kind > INODE_SYMLINK)
        return err_set(err, ERR_CORRUPT, "a file of kind %u", inode.kind);
    IGNORE(str_copy(inode.name, sizeof inode.name, record->name));
    return tree_add(tree, &inode, record->time_us, err);
}

static bool apply_link(struct tree *tree, const struct slot *slot, const struct record *record,
                       struct err *err)
{
    struct inode inode = {.file = record->file,
                          .parent = record->folder,
                          .generation = (uint32_t)slot->sequence,
                          .kind = INODE_LINK,
                          .target = record->below,
                          .name_len = (uint8_t)strlen(record->name)};
    IGNORE(str_copy(inode.name, sizeof inode.name, record->name));
    return tree_link(tree, &inode, record->time_us, err);
}

static bool apply_rename(struct tree *tree, const struct record *record, struct err *err)
{
    AUTO(tree) struct tree work = tree_copy(tree);
    if (record->replaced && !tree_remove(&work, record->replaced, record->time_us, err))
        return false;
    if (!tree_rename(&work, record->file, record->to_folder, record->name, record->time_us, err))
        return false;
    struct tree old = *tree;
    *tree = work;
    work = old;
    return true;
}

static bool apply_attributes(struct tree *tree, const struct record *record, struct err *err)
{
    struct entry *entry = tree_own(tree, record->file, err);
    if (!entry)
        return false;
    if (record->mask & SET_MODE)
        entry->mode = record->mode;
    if (record->mask & SET_UID)
        entry->uid = record->uid;
    if (record->mask & SET_GID)
        entry->gid = record->gid;
    if (record->mask & SET_MTIME)
        entry->mtime_us = record->mtime_us;
    if (record->mask & SET_ATIME)
        entry->atime_us = record->atime_us;
    else if (entry->atime_us & ENTRY_EXCLUSIVE)
        entry->atime_us = record->time_us;
    entry->ctime_us = record->time_us;
    return true;
}

/* The number and the file that it is a further name of. */
static bool mark_name(const struct tree *tree, struct slot *slot, uint64_t number, struct err *err)
{
    const struct entry *entry = tree_find(tree, number);
    bool link = entry && entry->kind == INODE_LINK;
    return slot_mark(slot, number, err) && (!link || slot_mark(slot, entry->target, err));
}

bool names_apply(struct tree *tree, struct slot *slot, const struct record *record, struct err *err)
{
    if (!mark_name(tree, slot, record->file, err))
        return false;
    switch (record->kind) {
    case RECORD_CREATE:
        return slot_mark(slot, record->folder, err) && apply_create(tree, slot, record, err);
    case RECORD_REMOVE:
        return slot_mark(slot, record->folder, err) &&
               tree_remove(tree, record->file, record->time_us, err);
    case RECORD_RENAME:
        return slot_mark(slot, record->folder, err) && slot_mark(slot, record->to_folder, err) &&
               (!record->replaced || mark_name(tree, slot, record->replaced, err)) &&
               apply_rename(tree, record, err);
    case RECORD_LINK:
        return slot_mark(slot, record->folder, err) && slot_mark(slot, record->below, err) &&
               apply_link(tree, slot, record, err);
    case RECORD_ATTRIBUTES:
        return apply_attributes(tree, record, err);
    case RECORD_PART:
        return tree_resize(tree, record->file, record->size, record->mtime_us, 0, err);
    default:
        return true;
    }
}

/* ---- replayed requests ---- */

static struct answer *answer_same(struct volume *v, const struct record *record)
{
    for (size_t i = 0; record->client && i < v->answer_count; i++) {
        struct answer *a = &v->answers[i];
        if (a->client == record->client && a->xid == record->xid && a->sum == record->sum)
            return a;
    }
    return NULL;
}

void answer_keep(struct volume *v, const struct record *record, enum answer_how how)
{
    struct err none = {0};
    if (!record->client)
        return;
    if (!v->answers)
        v->answers = own_alloc(ANSWERS * sizeof *v->answers, &none);
    if (!v->answers)
        return;
    struct answer *there = answer_same(v, record);
    if (there && how != ANSWER_SURE) /* sure is sure */
        return;
    struct answer *a = there ? there : &v->answers[v->answer_next];
    *a = (struct answer){.client = record->client,
                         .sum = record->sum,
                         .file = record->file,
                         .xid = record->xid,
                         .how = how,
                         .asked = record->kind == RECORD_ANSWER ? record->asked : record->kind};
    if (there)
        return;
    v->answer_next = (v->answer_next + 1) % ANSWERS;
    if (v->answer_count < ANSWERS)
        v->answer_count++;
}

static void who_asks(struct record *record, const struct view_caller *caller,
                     const struct format_piece *asked, size_t count)
{
    if (caller) {
        record->client = caller->client;
        record->xid = caller->xid;
    }
    record->sum = format_sum_of(record->kind, asked, count);
}

/* What attributes ask for, without padding. */
struct asked {
    uint64_t words[9];
};
static struct asked asked_of(const struct view_attributes *a)
{
    struct asked asked = {0};
    if (!a)
        return asked;
    const bool flags[] = {a->set_mode,  a->set_uid,   a->set_gid,   a->set_size,
                          a->set_mtime, a->set_atime, a->mtime_now, a->atime_now,
                          a->exclusive, a->unchecked, a->guard};
    for (size_t i = 0; i < sizeof flags; i++)
        asked.words[0] |= (uint64_t)flags[i] << i;
    asked.words[1] = a->set_mode ? a->mode : 0;
    asked.words[2] = a->set_uid ? a->uid : 0;
    asked.words[3] = a->set_gid ? a->gid : 0;
    asked.words[4] = a->set_size ? a->size : 0;
    asked.words[5] = a->set_mtime && !a->mtime_now ? a->mtime_us : 0;
    asked.words[6] = a->set_atime && !a->atime_now ? a->atime_us : 0;
    asked.words[7] = a->exclusive ? a->verifier : 0;
    asked.words[8] = a->guard ? a->guard_ctime_us : 0;
    return asked;
}

/* Later than whatever the change touches was changed; volume.write is held. */
static void stamp(struct volume *v, struct record *record)
{
    const uint64_t files[] = {record->file, record->folder, record->to_folder, record->replaced,
                              record->below};
    pthread_mutex_lock(&v->vault->lock);
    record->time_us = tree_later(&v->tree, clock_wall_us(), files, sizeof files / sizeof files[0]);
    pthread_mutex_unlock(&v->vault->lock);
}

/* As it is now; file 0 when there is none. */
static void look(struct volume *v, uint64_t file, struct view_file *ret)
{
    pthread_mutex_lock(&v->vault->lock);
    const struct entry *entry = tree_file(&v->tree, file);
    *ret = (struct view_file){0};
    if (entry)
        view_show(entry, ret);
    pthread_mutex_unlock(&v->vault->lock);
}

static void look_before(struct volume *v, uint64_t file, struct view_change *ret)
{
    if (ret)
        look(v, file, &ret->before);
}

static void look_after(struct volume *v, uint64_t file, struct view_change *ret)
{
    if (ret)
        look(v, file, &ret->after);
}

static void forget_change(struct view_change *ret)
{
    if (ret)
        *ret = (struct view_change){0};
}

/* Journal, then memory; both or neither. volume.write is held. */
static bool change(struct volume *v, const struct record *record, struct err *err)
{
    AUTO(tree) struct tree work = {0};
    struct slot *slot = slot_active(v);
    pthread_mutex_lock(&v->vault->lock);
    work = tree_copy(&v->tree);
    pthread_mutex_unlock(&v->vault->lock);
    if (!names_apply(&work, slot, record, err) || !volume_note(v, record, err))
        return false;
    pthread_mutex_lock(&v->vault->lock);
    struct tree old = v->tree;
    v->tree = work;
    work = old;
    pthread_mutex_unlock(&v->vault->lock);
    event_names_changed(v, &work, record);
    answer_keep(v, record, record->mask & SET_CONTENT ? ANSWER_UNDERWAY : ANSWER_SURE);
    return true;
}

/* What the active layer has of a file that is gone for good may go. */
static void forget(struct volume *v, uint64_t file)
{
    struct err ignored = {0};
    if (!file)
        return;
    pthread_mutex_lock(&v->write);
    pthread_mutex_lock(&v->vault->lock);
    bool gone = !tree_find(&v->tree, file);
    v->landing->changes++;
    v->cuts++;
    pthread_mutex_unlock(&v->vault->lock);
    if (gone)
        IGNORE(layer_forget(slot_active(v)->layer, file, &ignored)); /* the seal leaves it out */
    pthread_mutex_unlock(&v->write);
}

/* ---- changes ---- */

static bool may_change(const struct view *view, struct err *err)
{
    return !view->snap || err_set(err, ERR_DENIED, "snapshot '%s' is read-only", view->snap->name);
}

static bool is_folder(struct volume *v, uint64_t folder, struct err *err)
{
    struct view_file file;
    look(v, folder, &file);
    if (file.kind == INODE_FREE)
        return err_set(err, ERR_NOT_FOUND, "no folder %llu", (unsigned long long)folder);
    return file.kind == INODE_DIRECTORY ||
           err_set(err, ERR_PRECONDITION, "file %llu is no folder", (unsigned long long)folder);
}

/* A name's number and its file; 0 and INODE_FREE: nothing has that name. */
struct named {
    uint64_t number;
    struct view_file file;
};

static bool find_name(struct volume *v, uint64_t folder, const char *name, struct named *ret,
                      struct err *err)
{
    *ret = (struct named){0};
    if (!is_folder(v, folder, err))
        return false;
    pthread_mutex_lock(&v->vault->lock);
    const struct entry *entry = tree_child(&v->tree, folder, name);
    if (entry) {
        ret->number = entry->file;
        view_show(tree_named(&v->tree, entry), &ret->file);
    }
    pthread_mutex_unlock(&v->vault->lock);
    return true;
}

static bool must_find_name(struct volume *v, uint64_t folder, const char *name, struct named *ret,
                           struct err *err)
{
    return find_name(v, folder, name, ret, err) &&
           (ret->number || err_set(err, ERR_NOT_FOUND, "no '%.255s'", name));
}

/* ---- attributes ---- */

static uint8_t set_mask(const struct view_attributes *a)
{
    return (uint8_t)((a->set_mode ? SET_MODE : 0) | (a->set_uid ? SET_UID : 0) |
                     (a->set_gid ? SET_GID : 0) | (a->set_atime ? SET_ATIME : 0) |
                     (a->set_mtime ? SET_MTIME : 0));
}

/* Sizes and times of regular files go with the layer, so that their order with writes is one; the
 * journal says the rest, and the ctime of all. */
static bool set_now(struct volume *v, struct record *record, const struct view_attributes *a,
                    const struct view_file *now, struct err *err)
{
    record->mask = set_mask(a);
    record->mode = a->mode & 07777;
    record->uid = a->uid;
    record->gid = a->gid;
    stamp(v, record);
    record->mtime_us = a->mtime_now ? record->time_us : a->mtime_us;
    record->atime_us = (a->atime_now ? record->time_us : a->atime_us) & ~ENTRY_EXCLUSIVE;
    if (now->kind == INODE_FILE && (a->set_size || a->set_mtime)) {
        uint64_t mtime_us = a->set_mtime ? record->mtime_us : record->time_us;
        if (!write_size(v, record->file, a->set_size ? a->size : now->size, mtime_us,
                        record->time_us, err))
            return false;
        pthread_mutex_lock(&v->vault->lock);
        v->landing->changes++;
        pthread_mutex_unlock(&v->vault->lock);
        record->mask |= SET_CONTENT;
    }
    return change(v, record, err);
}

static bool set_locked(struct volume *v, struct record *record, const struct view_attributes *a,
                       struct err *err)
{
    struct view_file now;
    const struct answer *answer = answer_same(v, record);
    look(v, record->file, &now);
    if (now.kind == INODE_FREE)
        return err_set(err, ERR_NOT_FOUND, "no file %llu", (unsigned long long)record->file);
    if (answer && answer->how != ANSWER_UNSURE)
        return true;
    if (a->set_size && now.kind != INODE_FILE)
        return err_set(err, ERR_INVALID, "file %llu has no size to set",
                       (unsigned long long)record->file);
    if (!answer && a->guard && now.ctime_us != a->guard_ctime_us)
        return err_set(err, ERR_PRECONDITION, "file %llu was changed meanwhile",
                       (unsigned long long)record->file);
    return set_now(v, record, a, &now, err);
}

/* First that it was asked is on disk, so that asked again after a crash it is not refused for what
 * it did itself; then what the layer has of it, and the answer is one to repeat. Not synced: a
 * journal that loses that has the change done once more. */
static bool set_settle(struct volume *v, const struct record *record, struct err *err)
{
    struct record answer = {.kind = RECORD_ANSWER,
                            .client = record->client,
                            .xid = record->xid,
                            .sum = record->sum,
                            .asked = record->kind,
                            .file = record->file};
    if (!volume_sync(v, err) || !volume_commit(v, record->file, err))
        return false;
    if (!record->client || !(record->mask & SET_CONTENT))
        return true;
    pthread_mutex_lock(&v->write);
    bool ok = volume_note(v, &answer, err);
    if (ok)
        answer_keep(v, &answer, ANSWER_SURE);
    pthread_mutex_unlock(&v->write);
    return ok;
}

bool view_set(struct view *view, const struct view_caller *caller, uint64_t file,
              const struct view_attributes *attributes, struct view_file *ret,
              struct view_change *ret_change, struct err *err)
{
    struct volume *v = view->volume;
    struct record record = {.kind = RECORD_ATTRIBUTES, .file = file};
    forget_change(ret_change);
    if (!may_change(view, err) || !volume_room(v, err) ||
        (attributes->set_size && !write_fetch(v, file, 0, attributes->size, err)))
        return false;
    struct asked asked = asked_of(attributes);
    who_asks(&record, caller, (struct format_piece[]){{&file, sizeof file}, {&asked, sizeof asked}},
             2);
    pthread_mutex_lock(&v->write);
    look_before(v, file, ret_change);
    bool ok = write_allowed(view, err) && set_locked(v, &record, attributes, err);
    look_after(v, file, ret_change);
    struct view_file now;
    look(v, file, &now);
    pthread_mutex_unlock(&v->write);
    if (!ok || !set_settle(v, &record, err))
        return false;
    *ret = now;
    return true;
}

/* ---- new names ---- */

/* A new file's content before its name: a link's target, or a size. */
static bool create_content(struct volume *v, struct record *record, const char *target,
                           const struct view_attributes *a, struct err *err)
{
    struct layer *layer = slot_active(v)->layer;
    size_t len = target ? strlen(target) : 0;
    if (!active_ready(v, err))
        return false;
    if (record->file_kind == INODE_SYMLINK) {
        uint8_t bytes[RECORD_BYTES] = {0};
        if (len == 0 || len > TREE_TARGET_MAX)
            return err_set(err, ERR_INVALID, "a link's target has 1 to %d bytes", TREE_TARGET_MAX);
        memcpy(bytes, target, len); /* NOLINT(bugprone-not-null-terminated-result) */
        record->size = len;
        if (!layer_write(layer, record->file, 0, 1, bytes, err))
            return false;
    } else if (record->file_kind == INODE_FILE && a && a->set_size && a->size > 0) {
        if (a->size > (uint64_t)1 << FILE_MAX_SHIFT)
            return err_set(err, ERR_LIMIT, "a file holds at most 64 TiB");
        record->size = a->size;
    } else {
        return true;
    }
    layer_attributes(layer, record->file, record->size, record->mtime_us);
    return layer_commit(layer, record->file, err);
}

/* 63 bits are as good as 64 to tell verifiers apart. */
static uint64_t exclusive_atime(uint64_t verifier)
{
    return ENTRY_EXCLUSIVE | format_sum(0, &verifier, sizeof verifier);
}

/* The name is there: only some ways of asking put up with that. */
static bool create_there(struct volume *v, struct record *record, const struct view_attributes *a,
                         const struct view_file *there, struct err *err)
{
    bool files = record->file_kind == INODE_FILE && there->kind == INODE_FILE;
    record->file = there->file;
    if (files && a && a->exclusive) {
        pthread_mutex_lock(&v->vault->lock);
        bool same = tree_find(&v->tree, there->file)->atime_us == exclusive_atime(a->verifier);
        pthread_mutex_unlock(&v->vault->lock);
        if (same)
            return true;
    }
    if (!files || !a || !a->unchecked)
        return err_set(err, ERR_EXISTS, "'%s' is there", record->name);
    struct view_attributes size = {.set_size = true, .size = a->size};
    record->kind = RECORD_ATTRIBUTES;
    return !a->set_size || set_now(v, record, &size, there, err);
}

static void create_attributes(struct record *record, const struct view_caller *caller,
                              const struct view_attributes *a)
{
    uint64_t now = record->time_us;
    record->mode = a && a->set_mode                       ? a->mode & 07777
                   : record->file_kind == INODE_DIRECTORY ? 0755
                                                          : 0644;
    record->uid = a && a->set_uid ? a->uid : caller ? caller->uid : 0;
    record->gid = a && a->set_gid ? a->gid : caller ? caller->gid : 0;
    record->mtime_us = a && a->set_mtime && !a->mtime_now ? a->mtime_us : now;
    record->atime_us = a && a->set_atime && !a->atime_now ? a->atime_us & ~ENTRY_EXCLUSIVE : now;
    if (a && a->exclusive && record->file_kind == INODE_FILE)
        record->atime_us = exclusive_atime(a->verifier);
}

/* volume.write is held. */
static bool next_number(struct volume *v, struct record *record, struct err *err)
{
    pthread_mutex_lock(&v->vault->lock);
    record->file = v->tree.next_file;
    pthread_mutex_unlock(&v->vault->lock);
    return record->file < TREE_NUMBERS ||
           err_set(err, ERR_LIMIT,
                   "volume '%s' has given out all of its %d file numbers. hint: copy its files to "
                   "a new volume",
                   v->name, TREE_NUMBERS);
}

static bool create_locked(struct volume *v, struct record *record, const struct view_caller *caller,
                          const char *target, const struct view_attributes *a, struct err *err)
{
    struct vault *vault = v->vault;
    const struct answer *answer = answer_same(v, record);
    struct named there;
    if (answer && answer->how != ANSWER_UNSURE) {
        record->file = answer->file;
        record->kind = answer->asked;
        return true;
    }
    if (!find_name(v, record->folder, record->name, &there, err))
        return false;
    if (there.number)
        return create_there(v, record, a, &there.file, err);
    if (!next_number(v, record, err))
        return false;
    stamp(v, record);
    create_attributes(record, caller, a);
    if (!create_content(v, record, target, a, err) || !change(v, record, err)) {
        /* The number may have content now: it is not given to anybody else. */
        pthread_mutex_lock(&vault->lock);
        if (v->tree.next_file == record->file && record->size > 0)
            v->tree.next_file++;
        pthread_mutex_unlock(&vault->lock);
        return false;
    }
    return true;
}

bool view_create(struct view *view, const struct view_caller *caller, uint64_t folder,
                 const char *name, uint8_t kind, const char *target,
                 const struct view_attributes *attributes, struct view_file *ret,
                 struct view_change *ret_folder, struct err *err)
{
    struct volume *v = view->volume;
    struct record record = {.kind = RECORD_CREATE, .folder = folder, .file_kind = kind};
    forget_change(ret_folder);
    if (!may_change(view, err))
        return false;
    if (kind < INODE_FILE || kind > INODE_SYMLINK || !inode_name_is_valid(name, strlen(name)))
        return err_set(err, ERR_INVALID, "'%.255s' cannot be made", name);
    if (!volume_room(v, err))
        return false;
    IGNORE(str_copy(record.name, sizeof record.name, name));
    struct asked asked = asked_of(attributes);
    who_asks(&record, caller,
             (struct format_piece[]){{&folder, sizeof folder},
                                     {name, strlen(name)},
                                     {&kind, 1},
                                     {&asked, sizeof asked},
                                     {target, target ? strlen(target) : 0}},
             5);
    pthread_mutex_lock(&v->write);
    look_before(v, folder, ret_folder);
    bool ok =
        write_allowed(view, err) && create_locked(v, &record, caller, target, attributes, err);
    look_after(v, folder, ret_folder);
    struct view_file now;
    look(v, record.file, &now);
    pthread_mutex_unlock(&v->write);
    if (!ok || !(record.kind == RECORD_CREATE ? volume_sync(v, err) : set_settle(v, &record, err)))
        return false;
    if (now.kind == INODE_FREE) /* asked again, after somebody removed it */
        return err_set(err, ERR_NOT_FOUND, "'%s' is gone again", name);
    *ret = now;
    return true;
}

static bool link_locked(struct volume *v, struct record *record, struct err *err)
{
    struct named there;
    if (answer_same(v, record))
        return true;
    if (!find_name(v, record->folder, record->name, &there, err))
        return false;
    if (there.number)
        return err_set(err, ERR_EXISTS, "'%s' is there", record->name);
    if (!next_number(v, record, err))
        return false;
    stamp(v, record);
    return change(v, record, err);
}

bool view_link(struct view *view, const struct view_caller *caller, uint64_t file, uint64_t folder,
               const char *name, struct view_file *ret, struct view_change *ret_folder,
               struct err *err)
{
    struct volume *v = view->volume;
    struct record record = {.kind = RECORD_LINK, .below = file, .folder = folder};
    forget_change(ret_folder);
    if (!may_change(view, err))
        return false;
    if (!inode_name_is_valid(name, strlen(name)))
        return err_set(err, ERR_INVALID, "'%.255s' cannot be a name", name);
    IGNORE(str_copy(record.name, sizeof record.name, name));
    who_asks(&record, caller,
             (struct format_piece[]){
                 {&file, sizeof file}, {&folder, sizeof folder}, {name, strlen(name)}},
             3);
    pthread_mutex_lock(&v->write);
    look_before(v, folder, ret_folder);
    bool ok = write_allowed(view, err) && link_locked(v, &record, err);
    look_after(v, folder, ret_folder);
    struct view_file now;
    look(v, file, &now);
    pthread_mutex_unlock(&v->write);
    if (!ok || !volume_sync(v, err))
        return false;
    *ret = now;
    return true;
}

/* ---- names that go ---- */

static bool remove_locked(struct volume *v, struct record *record, const char *name,
                          bool folder_wanted, uint64_t *ret_file, struct err *err)
{
    struct named there;
    *ret_file = 0;
    if (answer_same(v, record))
        return true;
    if (!must_find_name(v, record->folder, name, &there, err))
        return false;
    if ((there.file.kind == INODE_DIRECTORY) != folder_wanted)
        return err_set(err, ERR_PRECONDITION,
                       folder_wanted ? "'%s' is no folder" : "'%s' is a folder", name);
    record->file = there.number;
    *ret_file = there.file.file;
    stamp(v, record);
    return change(v, record, err);
}

bool view_remove(struct view *view, const struct view_caller *caller, uint64_t folder,
                 const char *name, bool folder_wanted, struct view_change *ret_folder,
                 struct err *err)
{
    struct volume *v = view->volume;
    struct record record = {.kind = RECORD_REMOVE, .folder = folder};
    uint8_t wanted = folder_wanted;
    uint64_t file = 0;
    forget_change(ret_folder);
    if (!may_change(view, err))
        return false;
    who_asks(&record, caller,
             (struct format_piece[]){{&folder, sizeof folder}, {name, strlen(name)}, {&wanted, 1}},
             3);
    pthread_mutex_lock(&v->write);
    look_before(v, folder, ret_folder);
    bool ok =
        write_allowed(view, err) && remove_locked(v, &record, name, folder_wanted, &file, err);
    look_after(v, folder, ret_folder);
    pthread_mutex_unlock(&v->write);
    if (!ok || !volume_sync(v, err))
        return false;
    forget(v, file);
    return true;
}

/* Nothing happens when both are names of one file already. ret_file: what lost a name. */
static bool rename_locked(struct volume *v, struct record *record, const char *from,
                          uint64_t *ret_file, struct err *err)
{
    struct named there, target;
    *ret_file = 0;
    if (answer_same(v, record))
        return true;
    if (!must_find_name(v, record->folder, from, &there, err) ||
        !find_name(v, record->to_folder, record->name, &target, err))
        return false;
    if (there.file.file == target.file.file)
        return true;
    if (target.number &&
        (target.file.kind == INODE_DIRECTORY) != (there.file.kind == INODE_DIRECTORY))
        return err_set(err, ERR_PRECONDITION, "'%s' is of another kind", record->name);
    record->file = there.number;
    record->replaced = target.number;
    *ret_file = target.file.file;
    stamp(v, record);
    return change(v, record, err);
}

bool view_rename(struct view *view, const struct view_caller *caller, uint64_t from_folder,
                 const char *from, uint64_t to_folder, const char *to, struct view_change *ret_from,
                 struct view_change *ret_to, struct err *err)
{
    struct volume *v = view->volume;
    struct record record = {.kind = RECORD_RENAME, .folder = from_folder, .to_folder = to_folder};
    forget_change(ret_from);
    forget_change(ret_to);
    if (!may_change(view, err))
        return false;
    if (!inode_name_is_valid(to, strlen(to)))
        return err_set(err, ERR_INVALID, "'%.255s' cannot be a name", to);
    IGNORE(str_copy(record.name, sizeof record.name, to));
    who_asks(&record, caller,
             (struct format_piece[]){{&from_folder, sizeof from_folder},
                                     {from, strlen(from)},
                                     {&to_folder, sizeof to_folder},
                                     {to, strlen(to)}},
             4);
    pthread_mutex_lock(&v->write);
    look_before(v, from_folder, ret_from);
    look_before(v, to_folder, ret_to);
    uint64_t replaced = 0;
    bool ok = write_allowed(view, err) && rename_locked(v, &record, from, &replaced, err);
    look_after(v, from_folder, ret_from);
    look_after(v, to_folder, ret_to);
    pthread_mutex_unlock(&v->write);
    if (!ok || !volume_sync(v, err))
        return false;
    forget(v, replaced);
    return true;
}
