/* Drivers as callers see them: arguments checked, errors given their context, faults let in. */
#include "drivers/driver.h"

#include "agent/base/json.h"
#include "agent/base/str.h"
#include "drivers/area/nfs_url.h"
#include "drivers/registry.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { NOTE_MAX = 64 << 10 };

struct driver_ref {
    const struct driver *table;
    _Atomic(struct driver_instance *) instance; /* NULL: the storage is away */
    char away[300];
    char *reader; /* areas are read through this URL; NULL: as the driver says */
};

/* One call on its way through. */
struct call {
    const struct driver_ref *d;
    const char *volume; /* for messages */
    bool lose_answer;   /* a test wants it to fail after the driver did its work */
};

static _Atomic long fault_nth;
static _Atomic long fault_count;
static _Atomic int fault_code;
static _Atomic bool fault_after;

long driver_fault(long nth, enum err_code code, bool after)
{
    long seen = fault_count;
    fault_count = 0;
    fault_code = code;
    fault_after = after;
    fault_nth = nth;
    return seen;
}

static bool injected(struct err *err)
{
    return err_set(err, (enum err_code)fault_code, "fault set by a test");
}

static bool is_here(const struct driver_ref *d, struct err *err)
{
    return d->instance || err_set(err, ERR_UNAVAILABLE, "the storage is away: %s", d->away);
}

/* False: a test wants this call to fail before it reaches the driver. */
static bool let_through(struct call *call, struct err *err)
{
    long nth = fault_nth;
    bool hit = ++fault_count == nth && nth > 0;
    call->lose_answer = hit && fault_after;
    return !hit || fault_after || injected(err);
}

bool driver_name_is_valid(const char *name)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789$#_";
    if (!name || !*name || !strchr(letters, *name))
        return false;
    for (const char *p = name; *p; p++)
        if (!strchr(letters, *p) && *p != '.' && *p != '-')
            return false;
    return strlen(name) < DRIVER_NAME_MAX && !strstr(name, "..");
}

static bool name_ok(const char *kind, const char *name, struct err *err)
{
    return driver_name_is_valid(name) ||
           err_set(err, ERR_INVALID,
                   "%s name '%.150s' is not allowed; hint: letters, digits and "
                   "'$#_.-', below %d signs, not led by '.' or '-'",
                   kind, name ? name : "", DRIVER_NAME_MAX);
}

static bool in_context(const struct call *call, struct err *err)
{
    const char *name = call->d->table->name;
    if (!call->volume || !*call->volume)
        return err_wrap(err, "driver '%s'", name);
    return err_wrap(err, "driver '%s' volume '%.*s'", name, DRIVER_NAME_MAX, call->volume);
}

/* The checks every call passes: the driver has it, the volume's name is one, no fault is due. */
static bool begin(struct call *call, struct driver_ref *d, const char *volume, bool present,
                  struct err *err)
{
    *call = (struct call){.d = d, .volume = volume};
    if (!present)
        err_set(err, ERR_UNSUPPORTED, "this storage cannot do that");
    else if (name_ok("volume", volume, err) && is_here(d, err) && let_through(call, err))
        return true;
    return in_context(call, err);
}

static bool finish(const struct call *call, bool ok, struct err *err)
{
    if (ok && call->lose_answer)
        ok = injected(err);
    return ok || in_context(call, err);
}

void driver_close(struct driver_ref *d)
{
    if (!d)
        return;
    if (d->instance)
        d->table->close(d->instance);
    own_free(d->reader);
    own_free(d);
}

/* Takes `reader` out of the options: it is the same for every driver. */
static bool take_reader(struct driver_ref *d, const struct driver_option *options, size_t count,
                        struct driver_option *rest, size_t *ret_rest, struct err *err)
{
    struct nfs_url url;
    *ret_rest = 0;
    for (size_t i = 0; i < count; i++) {
        if (!str_equal(options[i].key, "reader")) {
            rest[(*ret_rest)++] = options[i];
            continue;
        }
        if (!d->table->area_path)
            return err_set(err, ERR_CONFIG,
                           "areas of this storage are read in one way only; "
                           "hint: leave out option 'reader'");
        if (!nfs_url_parse(options[i].value, &url, err))
            return err_wrap(err, "option 'reader'");
        own_free(d->reader);
        d->reader = own_strdup(options[i].value, err);
        if (!d->reader)
            return false;
    }
    return true;
}

struct driver_ref *driver_open(const char *driver_name, const struct driver_option *options,
                               size_t count, struct err *err)
{
    const struct driver *table = registry_find(driver_name, err);
    AUTO(driver) struct driver_ref *d = table ? own_alloc(sizeof *d, err) : NULL;
    if (!d)
        return NULL;
    d->table = table;
    struct call call = {.d = d};
    size_t rest = 0;
    AUTO(mem) struct driver_option *own = own_alloc((count + 1) * sizeof *own, err);
    if (own && take_reader(d, options, count, own, &rest, err) && let_through(&call, err))
        d->instance = table->open(own, rest, err);
    return finish(&call, d->instance, err) ? TAKE(d) : NULL;
}

struct driver_ref *driver_open_later(const char *driver_name, const char *why, struct err *err)
{
    const struct driver *table = registry_find(driver_name, err);
    AUTO(driver) struct driver_ref *d = table ? own_alloc(sizeof *d, err) : NULL;
    if (!d)
        return NULL;
    d->table = table;
    IGNORE(!str_copy(d->away, sizeof d->away, why)); /* cut is fine */
    return TAKE(d);
}

bool driver_open_again(struct driver_ref *d, const struct driver_option *options, size_t count,
                       uint32_t *ret_swept, struct err *err)
{
    struct call call = {.d = d};
    uint32_t swept = 0;
    size_t rest = 0;
    AUTO(mem) struct driver_option *own = own_alloc((count + 1) * sizeof *own, err);
    struct driver_instance *instance =
        own && take_reader(d, options, count, own, &rest, err) && let_through(&call, err)
            ? d->table->open(own, rest, err)
            : NULL;
    bool ok = instance && d->table->sweep(instance, &swept, err);
    if (!finish(&call, ok, err)) {
        if (instance)
            d->table->close(instance);
        return false;
    }
    *ret_swept = swept;
    d->instance = instance; /* from now on everybody sees it */
    return true;
}

bool driver_is_away(const struct driver_ref *d) { return !d->instance; }

uint32_t driver_abilities(const struct driver_ref *d) { return d->table->can; }

const char *driver_label(const struct driver_ref *d) { return d->table->name; }

bool driver_volume_create(struct driver_ref *d, const char *volume, struct err *err)
{
    struct call call;
    return begin(&call, d, volume, d->table->volume_create, err) &&
           finish(&call, d->table->volume_create(d->instance, volume, err), err);
}

bool driver_volume_info(struct driver_ref *d, const char *volume, struct driver_volume_info *ret,
                        struct err *err)
{
    struct call call;
    struct driver_volume_info info = {0};
    if (!begin(&call, d, volume, true, err) ||
        !finish(&call, d->table->volume_info(d->instance, volume, &info, err), err))
        return false;
    *ret = info;
    return true;
}

static struct area *open_area(struct driver_ref *d, const char *volume, const char *snapshot,
                              const char *clone, const struct area_nfs_options *options,
                              struct err *err)
{
    char path[AREA_PATH_MAX];
    if (!d->reader)
        return d->table->area(d->instance, volume, snapshot, clone, err);
    if (!d->table->area_path(d->instance, volume, snapshot, clone, path, sizeof path, err))
        return NULL;
    return area_nfs_open(d->reader, path, options, err);
}

struct area *driver_area(struct driver_ref *d, const char *volume, const char *snapshot,
                         const char *clone, struct err *err)
{
    return driver_area_until(d, volume, snapshot, clone, NULL, NULL, err);
}

struct area *driver_area_until(struct driver_ref *d, const char *volume, const char *snapshot,
                               const char *clone, bool (*cancelled)(void *arg), void *arg,
                               struct err *err)
{
    struct call call;
    const struct area_nfs_options options = {.cancelled = cancelled, .arg = arg};
    if (!begin(&call, d, volume, true, err))
        return NULL;
    bool ok = snapshot && clone ? err_set(err, ERR_INVALID, "an area is a snapshot's or a clone's")
                                : (!snapshot || name_ok("snapshot", snapshot, err)) &&
                                      (!clone || name_ok("clone", clone, err));
    AUTO(area)
    struct area *area = ok ? open_area(d, volume, snapshot, clone, &options, err) : NULL;
    return finish(&call, area, err) ? TAKE(area) : NULL;
}

static bool set_ok(const char *const *volumes, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!name_ok("volume", volumes[i], err))
            return false;
        for (size_t j = 0; j < i; j++)
            if (str_equal(volumes[i], volumes[j]))
                return err_set(err, ERR_INVALID, "volume '%s' is twice in the set", volumes[i]);
    }
    return true;
}

bool driver_snapshot_create(struct driver_ref *d, const char *const *volumes, size_t count,
                            const char *name, struct driver_handle *ret_handles, bool *ret_atomic,
                            struct err *err)
{
    struct call call;
    struct driver_handle handles[DRIVER_SET_MAX] = {0};
    bool atomic = false;
    if (count == 0 || count > DRIVER_SET_MAX)
        return err_set(err, ERR_INVALID, "a snapshot takes 1 to %d volumes, not %zu",
                       DRIVER_SET_MAX, count);
    if (!begin(&call, d, volumes[0], d->table->can & DRIVER_CAN_SNAPSHOT, err))
        return false;
    bool ok = set_ok(volumes, count, err) && name_ok("snapshot", name, err) &&
              d->table->snapshot_create(d->instance, volumes, count, name, handles, &atomic, err);
    if (!finish(&call, ok, err))
        return false;
    if (ret_handles)
        memcpy(ret_handles, handles, count * sizeof *handles);
    if (ret_atomic)
        *ret_atomic = atomic;
    return true;
}

struct driver_snapshot_info *driver_snapshot_list(struct driver_ref *d, const char *volume,
                                                  size_t *ret_count, struct err *err)
{
    struct call call;
    if (!begin(&call, d, volume, true, err))
        return NULL;
    size_t count = 0;
    AUTO(mem)
    struct driver_snapshot_info *rows = d->table->snapshot_list(d->instance, volume, &count, err);
    if (!finish(&call, rows, err))
        return NULL;
    *ret_count = count;
    return TAKE(rows);
}

bool driver_snapshot_delete(struct driver_ref *d, const char *volume, const char *name,
                            struct driver_handle *ret_handle, struct err *err)
{
    struct call call;
    struct driver_handle handle = {0};
    if (!begin(&call, d, volume, true, err))
        return false;
    bool ok = name_ok("snapshot", name, err) &&
              d->table->snapshot_delete(d->instance, volume, name, &handle, err);
    if (!finish(&call, ok, err))
        return false;
    if (ret_handle)
        *ret_handle = handle;
    return true;
}

bool driver_sweep(struct driver_ref *d, uint32_t *ret_swept, struct err *err)
{
    struct call call = {.d = d};
    uint32_t swept = 0;
    bool ok =
        is_here(d, err) && let_through(&call, err) && d->table->sweep(d->instance, &swept, err);
    if (!finish(&call, ok, err))
        return false;
    if (ret_swept)
        *ret_swept = swept;
    return true;
}

static const char *part_target(const struct driver_part *part)
{
    return part->to ? part->to : part->path;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "a" and "a/b" cannot both be files; sorted, an ancestor need not be the neighbour. */
static bool is_inside_file(const char *path, const char **targets, size_t count)
{
    char above[AREA_PATH_MAX];
    IGNORE(str_copy(above, sizeof above, path)); /* checked: paths are shorter */
    for (char *slash; (slash = strrchr(above, '/'));) {
        *slash = '\0';
        const char *key = above;
        if (bsearch(&key, targets, count, sizeof *targets, compare_texts))
            return true;
    }
    return false;
}

static bool targets_ok(const char **targets, size_t count, struct err *err)
{
    qsort(targets, count, sizeof *targets, compare_texts);
    for (size_t i = 0; i < count; i++) {
        if (i && str_equal(targets[i], targets[i - 1]))
            return err_set(err, ERR_INVALID, "two parts go to '%.200s'", targets[i]);
        if (is_inside_file(targets[i], targets, count))
            return err_set(err, ERR_INVALID, "part '%.200s' lies inside another part", targets[i]);
    }
    return true;
}

static bool parts_ok(const struct driver_part *parts, size_t count, struct err *err)
{
    AUTO(mem) const char **targets = own_alloc(count * sizeof *targets, err);
    if (!targets)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].snapshot && !name_ok("snapshot", parts[i].snapshot, err))
            return false;
        targets[i] = part_target(&parts[i]);
        if (!area_path_is_valid(parts[i].path) || !area_path_is_valid(targets[i]))
            return err_set(err, ERR_INVALID, "part '%.100s' to '%.100s' does not name files",
                           parts[i].path ? parts[i].path : "", targets[i] ? targets[i] : "");
    }
    return targets_ok(targets, count, err);
}

static bool can_compose(const struct driver_ref *d, struct err *err)
{
    return d->table->can & DRIVER_CAN_COMPOSE ||
           err_set(err, ERR_UNSUPPORTED, "this storage cannot compose clones");
}

bool driver_clone_create(struct driver_ref *d, const char *volume, const char *name,
                         const char *snapshot, const struct driver_part *parts, size_t part_count,
                         struct driver_handle *ret_handle, struct err *err)
{
    struct call call;
    struct driver_handle handle = {0};
    if (!begin(&call, d, volume, d->table->clone_create, err))
        return false;
    bool ok = (!part_count || can_compose(d, err)) && name_ok("clone", name, err) &&
              ((part_count && !snapshot) || name_ok("snapshot", snapshot, err)) &&
              (!part_count || parts_ok(parts, part_count, err)) &&
              d->table->clone_create(d->instance, volume, name, snapshot, parts, part_count,
                                     &handle, err);
    if (!finish(&call, ok, err))
        return false;
    if (ret_handle)
        *ret_handle = handle;
    return true;
}

struct driver_clone_info *driver_clone_list(struct driver_ref *d, const char *volume,
                                            size_t *ret_count, struct err *err)
{
    struct call call;
    if (!begin(&call, d, volume, d->table->clone_list, err))
        return NULL;
    size_t count = 0;
    AUTO(mem)
    struct driver_clone_info *rows = d->table->clone_list(d->instance, volume, &count, err);
    if (!finish(&call, rows, err))
        return NULL;
    *ret_count = count;
    return TAKE(rows);
}

static bool clone_end(struct driver_ref *d, const char *volume, const char *name, bool wrest,
                      struct driver_handle *ret_handle, struct err *err)
{
    struct call call;
    struct driver_handle handle = {0};
    if (!begin(&call, d, volume, d->table->clone_delete, err))
        return false;
    bool ok = name_ok("clone", name, err) &&
              (wrest && d->table->clone_wrest
                   ? d->table->clone_wrest(d->instance, volume, name, &handle, err)
                   : d->table->clone_delete(d->instance, volume, name, &handle, err));
    if (!finish(&call, ok, err))
        return false;
    if (ret_handle)
        *ret_handle = handle;
    return true;
}

bool driver_clone_delete(struct driver_ref *d, const char *volume, const char *name,
                         struct driver_handle *ret_handle, struct err *err)
{
    return clone_end(d, volume, name, false, ret_handle, err);
}

bool driver_clone_wrest(struct driver_ref *d, const char *volume, const char *name,
                        struct driver_handle *ret_handle, struct err *err)
{
    return clone_end(d, volume, name, true, ret_handle, err);
}

bool driver_clone_mount(struct driver_ref *d, const char *volume, const char *name, char *ret,
                        size_t size, struct err *err)
{
    struct call call;
    if (!begin(&call, d, volume, d->table->clone_mount, err))
        return false;
    return finish(&call,
                  (!name || name_ok("clone", name, err)) &&
                      d->table->clone_mount(d->instance, volume, name, ret, size, err),
                  err);
}

bool driver_snapshot_lock(struct driver_ref *d, const char *volume, const char *name,
                          uint64_t until_boot_ms, struct err *err)
{
    struct call call;
    if (!begin(&call, d, volume, d->table->snapshot_lock, err))
        return false;
    return finish(&call,
                  name_ok("snapshot", name, err) &&
                      d->table->snapshot_lock(d->instance, volume, name, until_boot_ms, err),
                  err);
}

static bool note_owner_ok(const char *snapshot, const char *clone, struct err *err)
{
    if (clone)
        return name_ok("clone", clone, err);
    return name_ok("snapshot", snapshot, err);
}

static bool note_ok(const char *text, struct err *err)
{
    size_t len = strlen(text);
    if (len > NOTE_MAX)
        return err_set(err, ERR_LIMIT, "a note of %zu bytes; %d are allowed", len, NOTE_MAX);
    AUTO(json) json_t *doc = json_parse(text, len, err);
    return doc || err_wrap(err, "note");
}

bool driver_note_put(struct driver_ref *d, const char *volume, const char *snapshot,
                     const char *clone, const char *text, struct err *err)
{
    struct call call;
    if (!begin(&call, d, volume, d->table->note_put, err))
        return false;
    bool ok = note_owner_ok(snapshot, clone, err) && note_ok(text, err) &&
              d->table->note_put(d->instance, volume, snapshot, clone, text, err);
    return finish(&call, ok, err);
}

char *driver_note_get(struct driver_ref *d, const char *volume, const char *snapshot,
                      const char *clone, struct err *err)
{
    struct call call;
    if (!begin(&call, d, volume, d->table->note_get, err))
        return NULL;
    AUTO(mem)
    char *text = note_owner_ok(snapshot, clone, err)
                     ? d->table->note_get(d->instance, volume, snapshot, clone, err)
                     : NULL;
    return finish(&call, text, err) ? TAKE(text) : NULL;
}

bool driver_area_put(struct driver_ref *d, const char *volume, const char *path, const void *bytes,
                     size_t len, struct err *err)
{
    struct call call;
    if (!begin(&call, d, volume, d->table->area_put, err))
        return false;
    bool ok = (area_path_is_valid(path) ||
               err_set(err, ERR_INVALID, "'%.100s' names no file", path ? path : "")) &&
              d->table->area_put(d->instance, volume, path, bytes, len, err);
    return finish(&call, ok, err);
}

bool driver_can_watch(const struct driver_ref *d) { return d->table && d->table->watch; }

bool driver_watch(struct driver_ref *d, uint64_t *io_position, uint64_t timeout_ms,
                  struct driver_event *ret, size_t max, size_t *ret_count, bool *ret_lost,
                  struct err *err)
{
    struct call call = {.d = d};
    *ret_count = 0;
    *ret_lost = false;
    bool ok = is_here(d, err) && let_through(&call, err);
    if (ok)
        ok = d->table->watch ? d->table->watch(d->instance, io_position, timeout_ms, ret, max,
                                               ret_count, ret_lost, err)
                             : err_set(err, ERR_UNSUPPORTED, "this storage tells of no changes");
    return finish(&call, ok, err);
}

bool driver_poll(struct driver_ref *d, const struct driver_handle *handle, bool *ret_done,
                 struct err *err)
{
    struct call call = {.d = d};
    bool done = !*handle->text; /* finished within the call */
    bool ok = is_here(d, err) && let_through(&call, err);
    if (ok && !done)
        ok = d->table->poll ? d->table->poll(d->instance, handle, &done, err)
                            : err_set(err, ERR_INVALID, "this storage gave no such handle");
    if (!finish(&call, ok, err))
        return false;
    *ret_done = done;
    return true;
}
