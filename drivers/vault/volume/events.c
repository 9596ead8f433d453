/* Events: names tell theirs when they change; a write that extends a file only puts it on the list
 * of its volume, at which the keeper looks. */
#include "drivers/vault/volume/events.h"
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/volume/vault_int.h"

enum { KEPT = 4096, EXTENDED_MS = 1000, QUIET_MS = 2000 };

struct event_ring {
    struct vault_event rows[KEPT]; /* by sequence */
    uint64_t first, next;          /* the oldest that is kept; the one to come */
};

/* A file that was extended, until it is quiet. */
struct watched {
    struct item item;
    uint64_t told_size, told_ms;     /* by the last event; told_ms 0: none yet */
    uint64_t seen_ctime_us, seen_ms; /* its latest change, and when that was seen */
};

const char *vault_event_name(enum vault_event_kind kind)
{
    static const char *const names[] = {"?", "created", "extended", "quiet", "renamed", "removed"};
    return kind <= VAULT_REMOVED ? names[kind] : names[0];
}

static void event_done(struct vault_event *event)
{
    own_free(event->volume);
    own_free(event->path);
    own_free(event->from);
    *event = (struct vault_event){0};
}

void vault_events_free(struct vault_event *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        event_done(&rows[i]);
}

/* Numbers go on over starts as time does, so that an older start's are known for what they are. */
struct event_ring *event_ring_new(struct err *err)
{
    struct event_ring *events = own_alloc(sizeof *events, err);
    if (events)
        events->first = events->next = clock_wall_us();
    return events;
}

void event_ring_free(struct event_ring *events)
{
    for (size_t i = 0; events && i < KEPT; i++)
        event_done(&events->rows[i]);
    own_free(events);
}

/* ---- telling; vault.lock is held ---- */

/* What does not fit into memory is lost, and whoever asks learns that. */
static void lose(struct event_ring *events) { events->first = ++events->next; }

static char *volume_name(const struct volume *v, struct err *err)
{
    return v->clone ? own_printf(err, "%s/%s", v->landing->name, v->name)
                    : own_strdup(v->name, err);
}

static bool path_of(const struct tree *tree, uint64_t number, char **ret, struct err *err)
{
    char path[TREE_PATH_MAX + 1];
    *ret = tree_path(tree, number, path, sizeof path, err) ? own_strdup(path, err) : NULL;
    return *ret;
}

/* number: a name's, in tree; from: the tree in which it had another one, NULL. */
static void tell(struct volume *v, enum vault_event_kind kind, const struct tree *tree,
                 uint64_t number, const struct tree *from)
{
    struct vault *vault = v->vault;
    struct event_ring *events = vault->events;
    struct err err = {0};
    const struct entry *entry = tree_named(tree, tree_find(tree, number));
    if (!entry)
        return;
    struct vault_event event = {.sequence = events->next,
                                .time_us = clock_wall_us(),
                                .volume_id = v->id,
                                .file = entry->file,
                                .size = entry->size,
                                .kind = kind,
                                .file_kind = entry->kind,
                                .volume = volume_name(v, &err)};
    if (event.volume && path_of(tree, number, &event.path, &err) &&
        (!from || path_of(from, number, &event.from, &err))) {
        struct vault_event *row = &events->rows[events->next++ % KEPT];
        event_done(row);
        *row = event;
        if (events->next - events->first > KEPT)
            events->first++;
    } else {
        event_done(&event);
        lose(events);
    }
    pthread_cond_broadcast(&vault->told);
}

void event_names_changed(struct volume *v, const struct tree *old, const struct record *record)
{
    struct vault *vault = v->vault;
    if (!atomic_load(&vault->listened))
        return;
    pthread_mutex_lock(&vault->lock);
    if (record->kind == RECORD_CREATE || record->kind == RECORD_LINK)
        tell(v, VAULT_CREATED, &v->tree, record->file, NULL);
    else if (record->kind == RECORD_RENAME)
        tell(v, VAULT_RENAMED, &v->tree, record->file, old);
    else if (record->kind == RECORD_REMOVE)
        tell(v, VAULT_REMOVED, old, record->file, NULL);
    pthread_mutex_unlock(&vault->lock);
}

void event_file_extended(struct volume *v, uint64_t file)
{
    struct err err = {0};
    if (!atomic_load(&v->vault->listened) || index_get(&v->watched, file, 0))
        return;
    struct watched *watched = item_new(sizeof *watched, &err);
    if (!watched || !index_put(&v->watched, file, 0, watched, &err))
        lose(v->vault->events);
    else
        volume_want(v);
}

/* ---- the keeper's part ---- */

/* False when the file needs no watching any more. */
static bool look_at(struct volume *v, uint64_t file, struct watched *w, uint64_t now)
{
    const struct entry *entry = tree_file(&v->tree, file);
    if (!entry)
        return false;
    if (w->seen_ms == 0 || w->seen_ctime_us != entry->ctime_us) {
        w->seen_ctime_us = entry->ctime_us;
        w->seen_ms = now;
    }
    bool quiet = now - w->seen_ms >= QUIET_MS;
    bool grew = w->told_ms == 0 || entry->size > w->told_size;
    if (grew && (quiet || w->told_ms == 0 || now - w->told_ms >= EXTENDED_MS)) {
        tell(v, VAULT_EXTENDED, &v->tree, file, NULL);
        w->told_size = entry->size;
        w->told_ms = now;
    }
    if (quiet)
        tell(v, VAULT_QUIET, &v->tree, file, NULL);
    return !quiet;
}

void event_files_look(struct volume *v)
{
    uint64_t file = 0, b = 0, now = clock_mono_ms();
    pthread_mutex_lock(&v->vault->lock);
    while (index_after(&v->watched, file, b, &file, &b, NULL)) {
        struct err err = {0};
        struct watched *w = index_own(&v->watched, file, 0, &err); /* nobody shares it: no copy */
        if (w && !look_at(v, file, w, now))
            IGNORE(index_remove(&v->watched, file, 0, &err)); /* or it is told quiet once more */
    }
    pthread_mutex_unlock(&v->vault->lock);
}

/* ---- asking ---- */

uint64_t vault_events_now(struct vault *vault)
{
    atomic_store(&vault->listened, true);
    pthread_mutex_lock(&vault->lock);
    uint64_t last = vault->events->next - 1;
    pthread_mutex_unlock(&vault->lock);
    return last;
}

static bool copy_text(const char *from, char **ret, struct err *err)
{
    *ret = from ? own_strdup(from, err) : NULL;
    return *ret || !from;
}

static bool copy_event(const struct vault_event *from, struct vault_event *ret)
{
    struct err err = {0};
    *ret = *from;
    ret->volume = ret->path = ret->from = NULL;
    if (copy_text(from->volume, &ret->volume, &err) && copy_text(from->path, &ret->path, &err) &&
        copy_text(from->from, &ret->from, &err))
        return true;
    event_done(ret);
    return false;
}

size_t vault_events_wait(struct vault *vault, uint64_t after, uint64_t timeout_ms,
                         struct vault_event *ret, size_t max, bool *ret_lost)
{
    struct event_ring *events = vault->events;
    uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
    size_t count = 0;
    atomic_store(&vault->listened, true);
    pthread_mutex_lock(&vault->lock);
    bool lost = false;
    do {
        lost = after + 1 < events->first || after >= events->next;
    } while (!lost && after + 1 == events->next && !vault->stopping &&
             vault_wait_on(vault, &vault->told, deadline_ms));
    uint64_t from = lost ? events->first : after + 1;
    while (count < max && from < events->next &&
           copy_event(&events->rows[from % KEPT], &ret[count])) {
        count++;
        from++;
    }
    pthread_mutex_unlock(&vault->lock);
    *ret_lost = lost;
    return count;
}
