/* Notes: small texts kept with snapshots and clones; on the box until what they belong to is in the
 * store. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault_int.h"
#include <string.h>

enum { NOTE_MAX = 64 << 10 };

static bool note_path(const struct volume *v, uint64_t id, char ret[600], struct err *err)
{
    return str_format(ret, 600, "%s/notes/%016llx", v->vault->box, (unsigned long long)id) ||
           err_set(err, ERR_LIMIT, "the path of box '%s' is too long", v->vault->box);
}

/* Forgets a box's file; missing is fine. */
static bool note_unlink(const struct volume *v, uint64_t id, bool *ret_there, struct err *err)
{
    char path[600], folder[600];
    struct stat st;
    struct err own = {0};
    *ret_there = false;
    if (!note_path(v, id, path, err))
        return false;
    if (!sys_lstat(path, &st, &own))
        return own.code == ERR_NOT_FOUND || err_set(err, own.code, "%s", own.text);
    *ret_there = true;
    return sys_unlink(path, err) && str_format(folder, sizeof folder, "%s/notes", v->vault->box) &&
           sys_fsync_dir(folder, err);
}

void note_forget(struct volume *v, uint64_t id)
{
    struct err ignored = {0};
    bool there;
    IGNORE(note_unlink(v, id, &there, &ignored));
}

bool note_move(struct volume *v, uint64_t id, struct err *err)
{
    char path[600];
    size_t len = 0;
    struct err own = {0};
    bool there;
    if (!note_path(v, id, path, err))
        return false;
    AUTO(mem) char *text = sys_read_file(path, NOTE_MAX, &len, &own);
    if (!text)
        return own.code == ERR_NOT_FOUND || err_set(err, own.code, "%s", own.text);
    return family_note_put(v->family, id, text, err) && note_unlink(v, id, &there, err);
}

/* Which id, and whether the store keeps its notes already. */
static struct volume *note_of(struct vault *vault, const char *volume, const char *snapshot,
                              const char *clone, uint64_t *ret_id, bool *ret_stored,
                              struct err *err)
{
    AUTO(volume) struct volume *v = volume_get_clone(vault, volume, snapshot ? NULL : clone, err);
    if (!v)
        return NULL;
    bool ok = true;
    pthread_mutex_lock(&vault->lock);
    if (snapshot) {
        const struct snap *snap = snap_find(v, snapshot);
        ok = snap != NULL;
        *ret_id = ok ? snap->id : 0;
        *ret_stored = ok && snap->sealed;
    } else {
        *ret_id = v->id;
        *ret_stored = v->in_family;
    }
    pthread_mutex_unlock(&vault->lock);
    if (!ok)
        return err_set(err, ERR_NOT_FOUND, "no snapshot '%s' of '%s'", snapshot, volume), NULL;
    return TAKE(v);
}

static bool put(struct volume *v, uint64_t id, bool stored, const char *text, struct err *err)
{
    char path[600];
    bool there;
    if (!stored && text)
        return note_path(v, id, path, err) && sys_write_file(path, text, strlen(text), 0600, err);
    if (!note_unlink(v, id, &there, err))
        return false;
    if (!stored)
        return there || err_set(err, ERR_NOT_FOUND, "no note");
    struct err own = {0};
    if (family_note_put(v->family, id, text, &own) || (there && own.code == ERR_NOT_FOUND))
        return true;
    *err = own;
    return false;
}

bool vault_note_put(struct vault *vault, const char *volume, const char *snapshot,
                    const char *clone, const char *text, struct err *err)
{
    uint64_t id;
    bool stored;
    if (text && strlen(text) > NOTE_MAX)
        return err_set(err, ERR_LIMIT, "a note has at most %d bytes", NOTE_MAX);
    AUTO(volume) struct volume *v = note_of(vault, volume, snapshot, clone, &id, &stored, err);
    if (!v)
        return false;
    pthread_mutex_lock(&v->admin);
    /* Asked again: a seal may have moved it meanwhile. */
    struct volume *again = note_of(vault, volume, snapshot, clone, &id, &stored, err);
    bool ok = again && put(v, id, stored, text, err);
    volume_put(again);
    pthread_mutex_unlock(&v->admin);
    return ok;
}

char *vault_note_get(struct vault *vault, const char *volume, const char *snapshot,
                     const char *clone, struct err *err)
{
    uint64_t id;
    bool stored;
    char path[600];
    size_t len;
    struct err own = {0};
    AUTO(volume) struct volume *v = note_of(vault, volume, snapshot, clone, &id, &stored, err);
    if (!v || !note_path(v, id, path, err))
        return NULL;
    pthread_mutex_lock(&v->admin);
    char *text = sys_read_file(path, NOTE_MAX, &len, &own);
    if (!text && own.code != ERR_NOT_FOUND)
        *err = own;
    else if (!text && stored)
        text = family_note_get(v->family, id, err);
    else if (!text)
        err_set(err, ERR_NOT_FOUND, "no note");
    pthread_mutex_unlock(&v->admin);
    return text;
}
