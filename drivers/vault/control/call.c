/* The operations of the control socket: a row each, from request to the vault and back. */
#include "drivers/vault/control/call.h"

#include "agent/base/str.h"
#include <string.h>

enum { NAMES_MAX = 16, PARTS_MAX = 100000, LINK_MAX = 4096 };

/* ---- names of a request: unescaped, owned by the frame of the call ---- */

struct names {
    char *volume, *snapshot, *clone, *name;
};

static void names_done(struct names *names)
{
    own_free(names->volume);
    own_free(names->snapshot);
    own_free(names->clone);
    own_free(names->name);
}
OWN_DEFINE_INPLACE(names, struct names, names_done);

static bool names_of(const struct call *call, struct names *ret, struct err *err)
{
    return wire_get_name(call->ask, "volume", &ret->volume, err) &&
           wire_get_name(call->ask, "snapshot", &ret->snapshot, err) &&
           wire_get_name(call->ask, "clone", &ret->clone, err) &&
           wire_get_name(call->ask, "name", &ret->name, err);
}

static bool need(const char *value, const char *key, struct err *err)
{
    return value || err_set(err, ERR_INVALID, "the request lacks '%s'", key);
}

/* Names of a call of which `volume` must be there. */
static bool volume_names(const struct call *call, struct names *ret, struct err *err)
{
    return names_of(call, ret, err) && need(ret->volume, "volume", err);
}

static bool volume_and_name(const struct call *call, struct names *ret, struct err *err)
{
    return volume_names(call, ret, err) && need(ret->name, "name", err);
}

/* ---- volumes ---- */

static bool op_hello(struct call *call, struct err *err)
{
    if (json_u64(call->ask, "version") != WIRE_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "control version %llu; this vault speaks %d",
                       (unsigned long long)json_u64(call->ask, "version"), WIRE_VERSION);
    return json_put_u64(call->answer, "version", WIRE_VERSION, err) &&
           wire_put_u64(call->answer, "verifier", vault_verifier(call->vault), err);
}

static bool op_volume_create(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    return names_of(call, &n, err) && need(n.name, "name", err) &&
           vault_volume_create(call->vault, n.name, err);
}

/* Nobody on the network reaches it while `drop` runs, nor afterwards when it went well. */
static bool drop_unexported(struct call *call, const char *volume, const char *clone,
                            bool (*drop)(struct vault *vault, const char *volume, const char *clone,
                                         struct err *err),
                            struct err *err)
{
    const struct exporter *exporter = call->exporter;
    uint64_t id = 0;
    AUTO(mem) char *name = own_printf(err, "%s%s%s", volume, clone ? "/" : "", clone ? clone : "");
    if (!name)
        return false;
    if (exporter &&
        !exporter->revoke(exporter->arg, name, json_flag(call->ask, "force"), call->uid, &id, err))
        return false;
    bool ok = drop(call->vault, volume, clone, err);
    if (exporter)
        exporter->restore(exporter->arg, id);
    return ok;
}

static bool drop_volume(struct vault *vault, const char *volume, const char *clone, struct err *err)
{
    (void)clone;
    return vault_volume_drop(vault, volume, err);
}

static bool op_volume_drop(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    return names_of(call, &n, err) && need(n.name, "name", err) &&
           drop_unexported(call, n.name, NULL, drop_volume, err);
}

static bool op_exports(struct call *call, struct err *err)
{
    const struct exporter *exporter = call->exporter;
    return exporter ? exporter->tell(exporter->arg, call->answer, err)
                    : json_put_u64(call->answer, "port", 0, err);
}

static json_t *volume_row(const struct vault_volume_info *info, struct err *err)
{
    AUTO(json) json_t *row = json_object();
    if (!row)
        return err_null(err, "volume row");
    bool ok = wire_put_name(row, "name", info->name, err) &&
              wire_put_name(row, "landing", info->landing, err) &&
              wire_put_name(row, "origin", info->origin, err) &&
              json_put_flag(row, "clone", info->clone, err) &&
              wire_put_u64(row, "id", info->id, err) &&
              wire_put_u64(row, "created_us", info->created_us, err) &&
              wire_put_u64(row, "origins", info->origin_count, err) &&
              wire_put_u64(row, "logical", info->logical_bytes, err) &&
              wire_put_u64(row, "stored", info->stored_bytes, err) &&
              wire_put_u64(row, "unsealed", info->unsealed_bytes, err) &&
              wire_put_u64(row, "users", info->users, err) &&
              (!info->closed[0] || wire_put_name(row, "closed", info->closed, err)) &&
              (!info->damaged || json_put_flag(row, "damaged", true, err));
    return ok ? TAKE(row) : NULL;
}

static bool volume_rows(struct call *call, const char *key, const struct vault_volume_info *infos,
                        size_t count, struct err *err)
{
    json_t *rows = json_array();
    if (!json_put(call->answer, key, rows, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        json_t *row = volume_row(&infos[i], err);
        if (!row || !json_add(rows, row, err))
            return false;
    }
    return true;
}

static bool op_volume_info(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    struct vault_volume_info info = {0};
    uint64_t total = UINT64_MAX, room = UINT64_MAX;
    if (!names_of(call, &n, err) || !need(n.name, "name", err) ||
        !vault_volume_info(call->vault, n.name, &info, err) ||
        !io_space(store_io(vault_store(call->vault)), &total, &room, err))
        return false;
    json_t *row = volume_row(&info, err);
    return row && json_put(call->answer, "volume", row, err) &&
           wire_put_u64(call->answer, "capacity", total, err) &&
           wire_put_u64(call->answer, "available", room, err);
}

static bool op_volume_list(struct call *call, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *infos = vault_volume_list(call->vault, &count, err);
    return infos && volume_rows(call, "volumes", infos, count, err);
}

/* ---- snapshots ---- */

struct text_list {
    char **texts;
    size_t count;
};

static void text_list_done(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        own_free(list->texts[i]);
    own_free(list->texts);
}
OWN_DEFINE_INPLACE(text_list, struct text_list, text_list_done);

static bool texts_of(const struct call *call, const char *key, size_t max, struct text_list *ret,
                     struct err *err)
{
    const json_t *array = json_object_get(call->ask, key);
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count == 0 || count > max)
        return err_set(err, ERR_INVALID, "'%s' is no list of 1 to %zu names", key, max);
    ret->texts = own_alloc(count * sizeof *ret->texts, err);
    for (size_t i = 0; ret->texts && i < count; i++) {
        const char *text = json_string_value(json_array_get(array, i));
        if (!text)
            return err_set(err, ERR_INVALID, "'%s' holds what is no text", key);
        ret->texts[i] = wire_unescape(text, err);
        if (!ret->texts[i])
            return false;
        ret->count++;
    }
    return ret->texts;
}

static bool op_snapshot_create(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    AUTO(text_list) struct text_list volumes = {0};
    return names_of(call, &n, err) && need(n.name, "name", err) &&
           texts_of(call, "volumes", NAMES_MAX, &volumes, err) &&
           vault_snapshot_create(call->vault, (const char *const *)volumes.texts, volumes.count,
                                 n.name, err);
}

static json_t *snapshot_row(const struct vault_snapshot_info *info, struct err *err)
{
    AUTO(json) json_t *row = json_object();
    char identity[2 * HASH_BYTES + 1] = "";
    if (!row)
        return err_null(err, "snapshot row");
    if (info->sealed)
        str_hex(info->identity.bytes, HASH_BYTES, identity);
    bool ok = wire_put_name(row, "name", info->name, err) &&
              wire_put_u64(row, "id", info->id, err) &&
              wire_put_u64(row, "sequence", info->sequence, err) &&
              wire_put_u64(row, "created_us", info->created_us, err) &&
              json_put_flag(row, "sealed", info->sealed, err) &&
              json_put_flag(row, "copied", info->copied, err) &&
              json_put_text(row, "identity", identity, err) &&
              wire_put_u64(row, "bad_records", info->bad_records, err) &&
              wire_put_u64(row, "locked_until_boot_ms", info->locked_until_boot_ms, err) &&
              wire_put_u64(row, "logical", info->logical_bytes, err) &&
              wire_put_u64(row, "stored", info->stored_bytes, err) &&
              wire_put_u64(row, "unique", info->unique_bytes, err) &&
              wire_put_u64(row, "clones", info->clones, err);
    return ok ? TAKE(row) : NULL;
}

static bool op_snapshot_list(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    size_t count = 0, skip = json_u64(call->ask, "skip");
    if (!volume_names(call, &n, err))
        return false;
    AUTO(mem)
    struct vault_snapshot_info *infos = vault_snapshot_list(call->vault, n.volume, &count, err);
    json_t *rows = infos ? json_array() : NULL;
    if (!infos || !json_put(call->answer, "snapshots", rows, err))
        return false;
    size_t end = skip < count && count - skip > CALL_PAGE ? skip + CALL_PAGE : count;
    for (size_t i = skip; i < end; i++) {
        json_t *row = snapshot_row(&infos[i], err);
        if (!row || !json_add(rows, row, err))
            return false;
    }
    return json_put_flag(call->answer, "more", end < count, err);
}

static bool op_snapshot_drop(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    return volume_and_name(call, &n, err) &&
           vault_snapshot_drop(call->vault, n.volume, n.name, err);
}

static bool op_snapshot_lock(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    return volume_and_name(call, &n, err) &&
           vault_snapshot_lock(call->vault, n.volume, n.name,
                               wire_get_u64(call->ask, "until_boot_ms"), err);
}

static bool op_snapshot_wait(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    bool sealed = false;
    return volume_and_name(call, &n, err) &&
           vault_snapshot_wait(call->vault, n.volume, n.name, json_u64(call->ask, "timeout_ms"),
                               &sealed, err) &&
           json_put_flag(call->answer, "sealed", sealed, err);
}

/* The server has waited already. */
static bool op_settle(struct call *call, struct err *err)
{
    (void)call;
    (void)err;
    return true;
}

static bool op_reclaimable(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    AUTO(text_list) struct text_list names = {0};
    uint64_t now = 0, later = 0;
    return volume_names(call, &n, err) && texts_of(call, "names", PARTS_MAX, &names, err) &&
           vault_reclaimable(call->vault, n.volume, (const char *const *)names.texts, names.count,
                             &now, &later, err) &&
           wire_put_u64(call->answer, "now", now, err) &&
           wire_put_u64(call->answer, "later", later, err);
}

static bool op_seal(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    return volume_names(call, &n, err) && vault_seal(call->vault, n.volume, err);
}

static bool op_thin(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    uint64_t freed = 0;
    return volume_names(call, &n, err) && vault_thin(call->vault, n.volume, &freed, err) &&
           wire_put_u64(call->answer, "freed", freed, err);
}

/* ---- ingests ---- */

/* Waiting is in steps, so that a vault that stops is not held up. */
enum { INGEST_WAIT_MAX_MS = 10000 };

static bool op_ingest(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    AUTO(text_list) struct text_list volumes = {0};
    AUTO(text_list) struct text_list sources = {0};
    char handle[INGEST_HANDLE_MAX];
    if (!names_of(call, &n, err) || !need(n.name, "name", err) ||
        !texts_of(call, "volumes", NAMES_MAX, &volumes, err) ||
        !texts_of(call, "sources", NAMES_MAX, &sources, err))
        return false;
    if (volumes.count != sources.count)
        return err_set(err, ERR_INVALID, "%zu volumes and %zu sources", volumes.count,
                       sources.count);
    struct ingest_ask ask = {.volumes = (const char *const *)volumes.texts,
                             .sources = (const char *const *)sources.texts,
                             .count = volumes.count,
                             .name = n.name,
                             .tries = (unsigned)(json_u64(call->ask, "tries") % 100),
                             .allow_empty = json_flag(call->ask, "allow_empty"),
                             .distrust = json_flag(call->ask, "distrust"),
                             .by_volume = json_flag(call->ask, "by_volume")};
    return ingests_begin(call->ingests, &ask, handle, err) &&
           json_put_text(call->answer, "handle", handle, err);
}

static bool put_notes(json_t *row, const struct ingest_report *report, struct err *err)
{
    json_t *lists[2] = {json_array(), json_array()};
    bool ok = json_put(row, "unstable", lists[INGEST_UNSTABLE], err);
    ok = json_put(row, "odd", lists[INGEST_ODD], err) && ok;
    for (size_t i = 0; ok && i < report->note_count; i++) {
        AUTO(mem) char *text = wire_escape(report->notes[i].path, err);
        ok = text && json_add(lists[report->notes[i].why], json_string(text), err);
    }
    return ok;
}

static bool put_report(json_t *rows, const struct ingest_report *r, struct err *err)
{
    json_t *row = json_object();
    return row && json_add(rows, row, err) && wire_put_u64(row, "files", r->files, err) &&
           wire_put_u64(row, "made", r->made, err) &&
           wire_put_u64(row, "removed", r->removed, err) &&
           wire_put_u64(row, "changed", r->changed, err) &&
           wire_put_u64(row, "bytes_read", r->bytes_read, err) &&
           wire_put_u64(row, "records", r->records, err) &&
           wire_put_u64(row, "records_written", r->records_written, err) &&
           wire_put_u64(row, "records_compared", r->records_compared, err) &&
           wire_put_u64(row, "unstable_count", r->unstable, err) &&
           wire_put_u64(row, "odd_count", r->odd, err) && put_notes(row, r, err);
}

static bool tell_reports(void *arg, const struct ingest_report *reports, size_t count,
                         struct err *err)
{
    struct call *call = arg;
    json_t *rows = json_array();
    bool ok = json_put(call->answer, "reports", rows, err);
    for (size_t i = 0; ok && i < count; i++)
        ok = put_report(rows, &reports[i], err);
    return ok;
}

static bool op_ingest_poll(struct call *call, struct err *err)
{
    const char *handle = json_text(call->ask, "handle");
    uint64_t wait_ms = json_u64(call->ask, "timeout_ms");
    bool done = false;
    if (!handle[0] || strlen(handle) >= INGEST_HANDLE_MAX)
        return err_set(err, ERR_INVALID, "the request lacks 'handle'");
    return ingests_poll(call->ingests, handle,
                        wait_ms < INGEST_WAIT_MAX_MS ? wait_ms : INGEST_WAIT_MAX_MS, &done,
                        tell_reports, call, err) &&
           json_put_flag(call->answer, "done", done, err);
}

/* ---- clones ---- */

struct part_list {
    struct vault_part *parts;
    size_t count;
};

static void part_list_done(struct part_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        own_free((char *)(uintptr_t)list->parts[i].snapshot);
        own_free((char *)(uintptr_t)list->parts[i].path);
        own_free((char *)(uintptr_t)list->parts[i].to);
    }
    own_free(list->parts);
}
OWN_DEFINE_INPLACE(part_list, struct part_list, part_list_done);

static bool parts_of(const struct call *call, struct part_list *ret, struct err *err)
{
    const json_t *array = json_object_get(call->ask, "parts");
    size_t count = json_array_size(array);
    if (count == 0)
        return true;
    if (count > PARTS_MAX)
        return err_set(err, ERR_LIMIT, "%zu parts; at most %d", count, PARTS_MAX);
    ret->parts = own_alloc(count * sizeof *ret->parts, err);
    for (size_t i = 0; ret->parts && i < count; i++) {
        const json_t *part = json_array_get(array, i);
        char *snapshot = NULL, *path = NULL, *to = NULL;
        bool ok = wire_get_name(part, "snapshot", &snapshot, err) &&
                  wire_get_name(part, "path", &path, err) && wire_get_name(part, "to", &to, err) &&
                  need(path, "path", err);
        ret->parts[ret->count++] = (struct vault_part){snapshot, path, to};
        if (!ok)
            return false;
    }
    return ret->parts;
}

static bool op_clone_create(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    AUTO(part_list) struct part_list parts = {0};
    return volume_and_name(call, &n, err) && parts_of(call, &parts, err) &&
           vault_clone_create(call->vault, n.volume, n.name, n.snapshot, parts.parts, parts.count,
                              err);
}

static bool op_clone_list(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    size_t count = 0;
    if (!volume_names(call, &n, err))
        return false;
    AUTO(mem)
    struct vault_volume_info *infos = vault_clone_list(call->vault, n.volume, &count, err);
    return infos && volume_rows(call, "clones", infos, count, err);
}

static bool op_clone_drop(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    return volume_and_name(call, &n, err) &&
           drop_unexported(call, n.volume, n.name, vault_clone_drop, err);
}

static bool op_note_put(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    AUTO(mem)
    char *text = call->data_len ? own_strndup((const char *)call->data, call->data_len, err) : NULL;
    return (text || !call->data_len) && volume_names(call, &n, err) &&
           vault_note_put(call->vault, n.volume, n.snapshot, n.clone, text, err);
}

static bool op_note_get(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    if (!volume_names(call, &n, err))
        return false;
    AUTO(mem) char *text = vault_note_get(call->vault, n.volume, n.snapshot, n.clone, err);
    size_t len = text ? strlen(text) : 0;
    if (!text)
        return false;
    if (len > WIRE_DATA_MAX)
        return err_set(err, ERR_LIMIT, "a note of %zu bytes", len);
    memcpy(call->reply, text, len);
    call->reply_len = len;
    return true;
}

/* ---- views and their files ---- */

static bool op_view_open(struct call *call, struct err *err)
{
    AUTO(names) struct names n = {0};
    size_t place = 0;
    while (place < CALL_VIEWS_MAX && call->views[place])
        place++;
    if (place == CALL_VIEWS_MAX)
        return err_set(err, ERR_LIMIT, "a connection has at most %d views", CALL_VIEWS_MAX);
    if (!volume_names(call, &n, err))
        return false;
    call->views[place] = view_open(call->vault, n.volume, n.snapshot, n.clone, err);
    return call->views[place] && json_put_u64(call->answer, "view", place, err);
}

static struct view *view_of(const struct call *call, struct err *err)
{
    uint64_t place = json_u64(call->ask, "view");
    if (place < CALL_VIEWS_MAX && call->views[place])
        return call->views[place];
    err_set(err, ERR_INVALID, "no view %llu is open here", (unsigned long long)place);
    return NULL;
}

static bool op_view_close(struct call *call, struct err *err)
{
    if (!view_of(call, err))
        return false;
    struct view **place = &call->views[json_u64(call->ask, "view")];
    view_close(*place);
    *place = NULL;
    return true;
}

static bool put_file(json_t *row, const struct view_file *file, struct err *err)
{
    return wire_put_u64(row, "file", file->file, err) &&
           json_put_u64(row, "generation", file->generation, err) &&
           json_put_u64(row, "kind", file->kind, err) &&
           json_put_u64(row, "mode", file->mode, err) &&
           wire_put_u64(row, "size", file->size, err) &&
           wire_put_u64(row, "used", file->used_bytes, err) &&
           wire_put_u64(row, "mtime_us", file->mtime_us, err) &&
           json_put_u64(row, "links", file->links, err);
}

static bool op_file_find(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    struct view_file file = {0};
    AUTO(mem) char *path = NULL;
    return view && wire_get_name(call->ask, "path", &path, err) && need(path, "path", err) &&
           view_find(view, path, &file, err) && put_file(call->answer, &file, err);
}

static bool op_file_stat(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    struct view_file file = {0};
    return view &&
           view_stat(view, wire_get_u64(call->ask, "file"),
                     (uint32_t)json_u64(call->ask, "generation"), &file, err) &&
           put_file(call->answer, &file, err);
}

struct listing {
    json_t *rows;
    struct err err;
    size_t count;
};

static bool list_entry(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    struct listing *l = arg;
    json_t *row = json_object();
    if (l->count == CALL_PAGE || !row) {
        json_decref(row);
        if (l->count < CALL_PAGE)
            err_set(&l->err, ERR_NO_MEMORY, "listing");
        return false;
    }
    l->count++;
    bool ok = wire_put_name(row, "name", name, &l->err) &&
              wire_put_u64(row, "cookie", cookie, &l->err) && put_file(row, file, &l->err);
    if (!ok) {
        json_decref(row);
        return false;
    }
    return json_add(l->rows, row, &l->err);
}

static bool op_file_list(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    struct listing l = {.rows = view ? json_array() : NULL};
    bool end = false;
    if (!view || !json_put(call->answer, "entries", l.rows, err) ||
        !view_list(view, wire_get_u64(call->ask, "folder"), wire_get_u64(call->ask, "cookie"),
                   list_entry, &l, &end, err))
        return false;
    if (l.err.code)
        *err = l.err;
    return !l.err.code && json_put_flag(call->answer, "end", end, err);
}

static bool op_file_read(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    uint64_t size = wire_get_u64(call->ask, "size");
    if (!view)
        return false;
    if (size > WIRE_DATA_MAX)
        return err_set(err, ERR_LIMIT, "at most %d bytes a read", WIRE_DATA_MAX);
    ssize_t n = view_read(view, wire_get_u64(call->ask, "file"), call->reply, (size_t)size,
                          wire_get_u64(call->ask, "offset"), err);
    call->reply_len = n > 0 ? (size_t)n : 0;
    return n >= 0;
}

static bool op_file_write(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    return view &&
           view_write(view, wire_get_u64(call->ask, "file"), call->data, call->data_len,
                      wire_get_u64(call->ask, "offset"), json_flag(call->ask, "stable"), NULL, err);
}

static bool op_file_create(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    AUTO(names) struct names n = {0};
    AUTO(mem) char *target = NULL;
    struct view_file file = {0};
    uint64_t kind = json_u64(call->ask, "kind");
    uint64_t mode = json_u64(call->ask, "mode");
    struct view_attributes attributes = {.set_mode = mode != 0, .mode = (uint16_t)(mode & 07777)};
    return view && names_of(call, &n, err) && need(n.name, "name", err) &&
           wire_get_name(call->ask, "target", &target, err) &&
           view_create(view, &(struct view_caller){0}, wire_get_u64(call->ask, "folder"), n.name,
                       kind <= INODE_SYMLINK ? (uint8_t)kind : 0, target, &attributes, &file, NULL,
                       err) &&
           put_file(call->answer, &file, err);
}

static bool op_file_set(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    struct view_file file = {0};
    struct view_attributes attributes = {
        .set_size = json_object_get(call->ask, "size") != NULL,
        .set_mtime = json_object_get(call->ask, "mtime_us") != NULL,
        .set_mode = json_object_get(call->ask, "mode") != NULL,
        .set_uid = json_object_get(call->ask, "uid") != NULL,
        .set_gid = json_object_get(call->ask, "gid") != NULL,
        .size = wire_get_u64(call->ask, "size"),
        .mtime_us = wire_get_u64(call->ask, "mtime_us"),
        .mode = (uint16_t)(json_u64(call->ask, "mode") & 07777),
        .uid = (uint32_t)json_u64(call->ask, "uid"),
        .gid = (uint32_t)json_u64(call->ask, "gid"),
    };
    return view &&
           view_set(view, &(struct view_caller){0}, wire_get_u64(call->ask, "file"), &attributes,
                    &file, NULL, err) &&
           put_file(call->answer, &file, err);
}

static bool op_file_commit(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    return view && view_commit(view, wire_get_u64(call->ask, "file"), NULL, err);
}

static bool op_file_remove(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    AUTO(names) struct names n = {0};
    return view && names_of(call, &n, err) && need(n.name, "name", err) &&
           view_remove(view, &(struct view_caller){0}, wire_get_u64(call->ask, "folder"), n.name,
                       json_flag(call->ask, "folder_wanted"), NULL, err);
}

static bool op_file_rename(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    AUTO(names) struct names n = {0};
    AUTO(mem) char *to = NULL;
    return view && names_of(call, &n, err) && need(n.name, "name", err) &&
           wire_get_name(call->ask, "to", &to, err) && need(to, "to", err) &&
           view_rename(view, &(struct view_caller){0}, wire_get_u64(call->ask, "folder"), n.name,
                       wire_get_u64(call->ask, "to_folder"), to, NULL, NULL, err);
}

static bool op_file_link(struct call *call, struct err *err)
{
    struct view *view = view_of(call, err);
    AUTO(names) struct names n = {0};
    struct view_file file = {0};
    return view && names_of(call, &n, err) && need(n.name, "name", err) &&
           view_link(view, &(struct view_caller){0}, wire_get_u64(call->ask, "file"),
                     wire_get_u64(call->ask, "folder"), n.name, &file, NULL, err) &&
           put_file(call->answer, &file, err);
}

enum {
    CHANGES = 1, /* asked twice under one key it is done once */
    ALONE = 2,   /* after views of askers who have gone are closed, which would keep it */
};

static const struct op {
    const char *name;
    bool (*run)(struct call *call, struct err *err);
    unsigned how;
} ops[] = {
    {"hello", op_hello, 0},
    {"volume.create", op_volume_create, CHANGES},
    {"volume.drop", op_volume_drop, CHANGES | ALONE},
    {"volume.info", op_volume_info, 0},
    {"volume.list", op_volume_list, 0},
    {"snapshot.create", op_snapshot_create, CHANGES},
    {"snapshot.list", op_snapshot_list, 0},
    {"snapshot.drop", op_snapshot_drop, CHANGES},
    {"snapshot.lock", op_snapshot_lock, CHANGES},
    {"snapshot.wait", op_snapshot_wait, 0},
    {"reclaimable", op_reclaimable, 0},
    {"ingest", op_ingest, CHANGES},
    {"ingest.poll", op_ingest_poll, 0},
    {"clone.create", op_clone_create, CHANGES},
    {"clone.list", op_clone_list, 0},
    {"clone.drop", op_clone_drop, CHANGES | ALONE},
    {"note.put", op_note_put, CHANGES},
    {"note.get", op_note_get, 0},
    {"exports", op_exports, 0},
    {"settle", op_settle, ALONE},
    {"seal", op_seal, 0},
    {"thin", op_thin, 0},
    {"view.open", op_view_open, 0},
    {"view.close", op_view_close, 0},
    {"file.find", op_file_find, 0},
    {"file.stat", op_file_stat, 0},
    {"file.list", op_file_list, 0},
    {"file.read", op_file_read, 0},
    {"file.write", op_file_write, 0},
    {"file.create", op_file_create, 0},
    {"file.set", op_file_set, 0},
    {"file.commit", op_file_commit, 0},
    {"file.remove", op_file_remove, 0},
    {"file.rename", op_file_rename, 0},
    {"file.link", op_file_link, 0},
    {"events", call_events, 0},
};

static const struct op *op_of(const struct call *call)
{
    const char *name = json_text(call->ask, "op");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (str_equal(ops[i].name, name))
            return &ops[i];
    return NULL;
}

bool call_changes(const struct call *call)
{
    const struct op *op = op_of(call);
    return op && op->how & CHANGES;
}

bool call_settles(const struct call *call)
{
    const struct op *op = op_of(call);
    return op && op->how & ALONE;
}

bool call_run(struct call *call, struct err *err)
{
    const struct op *op = op_of(call);
    return op ? op->run(call, err)
              : err_set(err, ERR_UNSUPPORTED, "this vault knows no '%.60s'",
                        json_text(call->ask, "op"));
}
