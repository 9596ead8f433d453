/* The vault's driver: a client of evercopy-vaultd's control socket.
 * Atomic: a set of volumes is one instant. Safe with: any number of agents' threads and hosts that
 * write meanwhile. A crash of the agent leaves nothing half made: every call is one request, and
 * the vault does it whole or not. Snapshots are durable on the box at once, `sealed` a little
 * later. */
#include "agent/base/str.h"
#include "drivers/area/nfs_url.h"
#include "drivers/driver.h"
#include "drivers/vault/place.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    KIND_FILE = 1,
    KIND_FOLDER = 2,
    READ_MAX = WIRE_DATA_MAX,
    NFS_PORT = 2049,
    WATCH_LATE_MS = 4000
};

struct driver_instance {
    char socket[108];
    char source[1024]; /* of vault-ingest */
    char host[256];    /* how database hosts call this box */
    struct place_owner owner;
    struct links *links;
};

static void vault_shut(struct driver_instance *d)
{
    if (!d)
        return;
    links_free(d->links);
    own_free(d);
}
OWN_DEFINE(instance, struct driver_instance, vault_shut);

struct asked_options {
    const char *socket, *source, *host;
};

static bool read_options(const struct driver_option *options, size_t count, bool has_source,
                         struct asked_options *ret, struct err *err)
{
    *ret = (struct asked_options){.socket = "/run/evercopy/vault.sock"};
    for (size_t i = 0; i < count; i++) {
        if (str_equal(options[i].key, "socket"))
            ret->socket = options[i].value;
        else if (str_equal(options[i].key, "nfshost"))
            ret->host = options[i].value;
        else if (has_source && str_equal(options[i].key, "source"))
            ret->source = options[i].value;
        else
            return err_set(
                err, ERR_CONFIG, "unknown option '%.60s'; hint: known are 'socket'%s 'nfshost'%s",
                options[i].key, has_source ? "," : " and", has_source ? " and 'source'" : "");
    }
    return true;
}

/* A name, an IPv4 address, or an IPv6 address, which gets the brackets of a mount text. */
static bool keep_host(struct driver_instance *d, const char *host, struct err *err)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    char own[256] = "";
    if (!host && gethostname(own, sizeof own - 1) != 0)
        return err_errno(err, errno, "name of this host");
    host = host ? host : own;
    size_t len = strlen(host);
    bool six = strchr(host, ':') && strspn(host, "0123456789abcdefABCDEF:.") == len;
    if (!len || len > 253 || *host == '-' || (!six && strspn(host, letters) != len))
        return err_set(err, ERR_CONFIG,
                       "'%.120s' is no host name or address; hint: 'nfshost' is how database hosts "
                       "call this box",
                       host);
    IGNORE(!str_format(d->host, sizeof d->host, six ? "[%s]" : "%s", host)); /* it fits */
    return true;
}

static struct driver_instance *connect_at(const struct asked_options *asked, struct err *err)
{
    const char *path = asked->socket;
    AUTO(instance) struct driver_instance *d = own_alloc(sizeof *d, err);
    if (!d || !keep_host(d, asked->host, err))
        return NULL;
    if (path[0] != '/' || !str_copy(d->socket, sizeof d->socket, path)) {
        err_set(err, ERR_CONFIG, "'%.120s' is no absolute path of a socket", path);
        return NULL;
    }
    d->links = links_new(path, NULL, NULL, NULL, err);
    AUTO(message) struct message answer = {0};
    json_t *ask = d->links ? links_ask("volume.list", err) : NULL;
    return ask && links_call(d->links, ask, NULL, 0, &answer, err) ? TAKE(d) : NULL;
}

static struct driver_instance *vault_connect(const struct driver_option *options, size_t count,
                                             struct err *err)
{
    struct asked_options asked;
    return read_options(options, count, false, &asked, err) ? connect_at(&asked, err) : NULL;
}

/* ---- requests of one or two names ---- */

struct asked {
    const char *volume, *snapshot, *clone, *name;
};

static json_t *ask_names(const char *op, const struct asked *names, struct err *err)
{
    AUTO(json) json_t *head = links_ask(op, err);
    return head && wire_put_name(head, "volume", names->volume, err) &&
                   wire_put_name(head, "snapshot", names->snapshot, err) &&
                   wire_put_name(head, "clone", names->clone, err) &&
                   wire_put_name(head, "name", names->name, err)
               ? TAKE(head)
               : NULL;
}

static bool tell(struct driver_instance *d, const char *op, const struct asked *names,
                 struct err *err)
{
    AUTO(message) struct message answer = {0};
    json_t *head = ask_names(op, names, err);
    return head && links_call(d->links, head, NULL, 0, &answer, err);
}

static bool vault_volume_make(struct driver_instance *d, const char *volume, struct err *err)
{
    return tell(d, "volume.create", &(struct asked){.name = volume}, err);
}

static bool name_into(const json_t *row, const char *key, char *ret, size_t size, struct err *err)
{
    AUTO(mem) char *name = NULL;
    if (!wire_get_name(row, key, &name, err))
        return false;
    return str_copy(ret, size, name ? name : "") ||
           err_set(err, ERR_LIMIT, "a name of the vault is too long: '%.60s'", name);
}

static struct driver_space space_of(const json_t *row)
{
    return (struct driver_space){
        .logical = wire_get_u64(row, "logical"),
        .stored = wire_get_u64(row, "stored"),
        .unique = json_object_get(row, "unique") ? wire_get_u64(row, "unique") : DRIVER_UNKNOWN};
}

static bool vault_info(struct driver_instance *d, const char *volume,
                       struct driver_volume_info *ret, struct err *err)
{
    AUTO(message) struct message answer = {0};
    json_t *head = ask_names("volume.info", &(struct asked){.name = volume}, err);
    if (!head || !links_call(d->links, head, NULL, 0, &answer, err))
        return false;
    const json_t *row = json_object_get(answer.head, "volume");
    struct driver_volume_info info = {.capacity = wire_get_u64(answer.head, "capacity"),
                                      .available = wire_get_u64(answer.head, "available"),
                                      .space = space_of(row)};
    if (!name_into(row, "name", info.name, sizeof info.name, err) ||
        (json_object_get(row, "closed") &&
         !name_into(row, "closed", info.closed, sizeof info.closed, err)))
        return false;
    *ret = info;
    return true;
}

/* ---- snapshots ---- */

static bool vault_snap(struct driver_instance *d, const char *const *volumes, size_t count,
                       const char *name, struct driver_handle *ret_handles, bool *ret_atomic,
                       struct err *err)
{
    AUTO(json) json_t *head = ask_names("snapshot.create", &(struct asked){.name = name}, err);
    AUTO(message) struct message answer = {0};
    json_t *list = head ? json_array() : NULL;
    if (!head || !json_put(head, "volumes", list, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        AUTO(mem) char *text = wire_escape(volumes[i], err);
        if (!text || !json_add(list, json_string(text), err))
            return false;
        ret_handles[i].text[0] = '\0';
    }
    if (!links_call(d->links, TAKE(head), NULL, 0, &answer, err))
        return false;
    *ret_atomic = true;
    return true;
}

static bool snapshot_of(const json_t *row, const char *volume, struct driver_snapshot_info *ret,
                        struct err *err)
{
    *ret = (struct driver_snapshot_info){
        .created_us = wire_get_u64(row, "created_us"),
        .durability = json_flag(row, "copied")   ? DURABILITY_COPIED
                      : json_flag(row, "sealed") ? DURABILITY_SEALED
                                                 : DURABILITY_LOCAL,
        .bad_blocks = wire_get_u64(row, "bad_records"),
        .locked_until_boot_ms = wire_get_u64(row, "locked_until_boot_ms"),
        .clone_count = (uint32_t)json_u64(row, "clones"),
        .space = space_of(row),
    };
    str_format(ret->id, sizeof ret->id, "%016llx", (unsigned long long)wire_get_u64(row, "id"));
    return str_copy(ret->volume, sizeof ret->volume, volume) &&
           name_into(row, "name", ret->name, sizeof ret->name, err);
}

static struct driver_snapshot_info *vault_snaps(struct driver_instance *d, const char *volume,
                                                size_t *ret_count, struct err *err)
{
    AUTO(mem) struct driver_snapshot_info *rows = own_alloc(sizeof *rows, err);
    size_t count = 0, capacity = 1;
    for (bool more = rows != NULL; more;) {
        AUTO(message) struct message answer = {0};
        json_t *head = ask_names("snapshot.list", &(struct asked){.volume = volume}, err);
        if (!head || !json_put_u64(head, "skip", count, err)) {
            json_decref(head);
            return NULL;
        }
        if (!links_call(d->links, head, NULL, 0, &answer, err))
            return NULL;
        const json_t *page = json_object_get(answer.head, "snapshots");
        for (size_t i = 0; i < json_array_size(page); i++) {
            if (!own_grow((void **)&rows, &capacity, count, sizeof *rows, err) ||
                !snapshot_of(json_array_get(page, i), volume, &rows[count], err))
                return NULL;
            count++;
        }
        more = json_flag(answer.head, "more") && json_array_size(page) > 0;
    }
    *ret_count = count;
    return TAKE(rows);
}

static bool vault_snap_drop(struct driver_instance *d, const char *volume, const char *name,
                            struct driver_handle *ret_handle, struct err *err)
{
    ret_handle->text[0] = '\0';
    return tell(d, "snapshot.drop", &(struct asked){.volume = volume, .name = name}, err);
}

static bool vault_snap_lock(struct driver_instance *d, const char *volume, const char *name,
                            uint64_t until_boot_ms, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json)
    json_t *head = ask_names("snapshot.lock", &(struct asked){.volume = volume, .name = name}, err);
    return head && wire_put_u64(head, "until_boot_ms", until_boot_ms, err) &&
           links_call(d->links, TAKE(head), NULL, 0, &answer, err);
}

/* ---- clones ---- */

static json_t *part_of(const struct driver_part *part, struct err *err)
{
    AUTO(json) json_t *row = json_object();
    if (!row)
        return err_null(err, "part");
    return wire_put_name(row, "snapshot", part->snapshot, err) &&
                   wire_put_name(row, "path", part->path, err) &&
                   wire_put_name(row, "to", part->to, err)
               ? TAKE(row)
               : NULL;
}

static bool vault_clone(struct driver_instance *d, const char *volume, const char *name,
                        const char *snapshot, const struct driver_part *parts, size_t part_count,
                        struct driver_handle *ret_handle, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json)
    json_t *head = ask_names(
        "clone.create", &(struct asked){.volume = volume, .snapshot = snapshot, .name = name}, err);
    json_t *list = head && part_count ? json_array() : NULL;
    if (!head || (part_count && !json_put(head, "parts", list, err)))
        return false;
    for (size_t i = 0; i < part_count; i++) {
        json_t *row = part_of(&parts[i], err);
        if (!row || !json_add(list, row, err))
            return false;
    }
    ret_handle->text[0] = '\0';
    return links_call(d->links, TAKE(head), NULL, 0, &answer, err);
}

static struct driver_clone_info *vault_clones(struct driver_instance *d, const char *volume,
                                              size_t *ret_count, struct err *err)
{
    AUTO(message) struct message answer = {0};
    json_t *head = ask_names("clone.list", &(struct asked){.volume = volume}, err);
    if (!head || !links_call(d->links, head, NULL, 0, &answer, err))
        return NULL;
    const json_t *list = json_object_get(answer.head, "clones");
    size_t count = json_array_size(list);
    AUTO(mem) struct driver_clone_info *rows = own_alloc((count + 1) * sizeof *rows, err);
    for (size_t i = 0; rows && i < count; i++) {
        const json_t *row = json_array_get(list, i);
        rows[i].created_us = wire_get_u64(row, "created_us");
        rows[i].space = space_of(row);
        str_format(rows[i].id, sizeof rows[i].id, "%016llx",
                   (unsigned long long)wire_get_u64(row, "id"));
        if (!str_copy(rows[i].volume, sizeof rows[i].volume, volume) ||
            !name_into(row, "name", rows[i].name, sizeof rows[i].name, err) ||
            !name_into(row, "origin", rows[i].snapshot, sizeof rows[i].snapshot, err))
            return NULL;
    }
    *ret_count = count;
    return TAKE(rows);
}

/* What is exported, to whom; an empty answer by a vault that knows no such question. */
static bool ask_exports(struct driver_instance *d, struct message *ret, struct err *err)
{
    struct err why = {0};
    json_t *head = links_ask("exports", err);
    if (!head)
        return false;
    if (links_call(d->links, head, NULL, 0, ret, &why) || why.code == ERR_UNSUPPORTED)
        return true;
    *err = why;
    return false;
}

/* Where NFS and MOUNT answer; 0: nowhere. */
static bool serving_port(struct driver_instance *d, unsigned *ret_port, struct err *err)
{
    AUTO(message) struct message answer = {0};
    if (!ask_exports(d, &answer, err))
        return false;
    uint64_t port = json_u64(answer.head, "port");
    *ret_port = port <= UINT16_MAX ? (unsigned)port : 0;
    return true;
}

/* What the export's rules say: whoever writes over the network must own what is put beside it. */
static bool owner_of(struct driver_instance *d, const char *volume, struct place_owner *ret,
                     struct err *err)
{
    AUTO(message) struct message answer = {0};
    *ret = (struct place_owner){0};
    if (!ask_exports(d, &answer, err))
        return false;
    const json_t *rows = json_object_get(answer.head, "exports");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        AUTO(mem) char *path = NULL;
        if (!wire_get_name(row, "path", &path, err))
            return false;
        if (path && path[0] == '/' && str_equal(path + 1, volume))
            *ret = (struct place_owner){(uint32_t)json_u64(row, "owner"),
                                        (uint32_t)json_u64(row, "group")};
    }
    return true;
}

static bool vault_put(struct driver_instance *d, const char *volume, const char *path,
                      const void *bytes, size_t len, struct err *err)
{
    struct place_owner owner;
    if (!owner_of(d, volume, &owner, err))
        return false;
    AUTO(links) struct links *links = links_new(d->socket, volume, NULL, NULL, err);
    return links && (bytes ? place_file(links, path, bytes, len, &owner, err)
                           : place_folder(links, path, &owner, err));
}

static bool is_clone(struct driver_instance *d, const char *volume, const char *name,
                     struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct driver_clone_info *rows = vault_clones(d, volume, &count, err);
    for (size_t i = 0; rows && i < count; i++)
        if (str_equal(rows[i].name, name))
            return true;
    return rows && err_set(err, ERR_NOT_FOUND, "no clone '%s'", name);
}

/* Of a vault that serves no NFS a name: who may use the control socket reaches the files by it. */
static bool vault_where(struct driver_instance *d, const char *volume, const char *name, char *ret,
                        size_t size, struct err *err)
{
    unsigned port;
    char at[16] = "";
    struct driver_volume_info info;
    const char *slash = name ? "/" : "", *clone = name ? name : "";
    if (!(name ? is_clone(d, volume, name, err) : vault_info(d, volume, &info, err)) ||
        !serving_port(d, &port, err))
        return false;
    if (port && port != NFS_PORT)
        IGNORE(!str_format(at, sizeof at, "?port=%u", port)); /* it fits */
    bool fits = port ? str_format(ret, size, "nfs:%s:/%s%s%s%s", d->host, volume, slash, clone, at)
                     : str_format(ret, size, "vault:%s%s%s", volume, slash, clone);
    return fits || err_set(err, ERR_LIMIT, "the mount text is longer than %zu bytes", size);
}

/* A live area lies in its own storage, of which only its administrator knows who may reach it. */
static bool ingest_where(struct driver_instance *d, const char *volume, const char *name, char *ret,
                         size_t size, struct err *err)
{
    struct driver_volume_info info;
    struct nfs_url url;
    char at[32] = "";
    if (name)
        return vault_where(d, volume, name, ret, size, err);
    if (!vault_info(d, volume, &info, err))
        return false;
    bool far = str_starts(d->source, "nfs://");
    if (far && !nfs_url_parse(d->source, &url, err))
        return false;
    if (far && url.nfs_port && url.nfs_port != NFS_PORT)
        IGNORE(!str_format(at, sizeof at, "?port=%u", url.nfs_port)); /* it fits */
    const char *bracket = far && strchr(url.host, ':') ? "[" : "";
    bool fits = far ? str_format(ret, size, "nfs:%s%s%s:%s/%s%s", bracket, url.host,
                                 *bracket ? "]" : "", url.path, volume, at)
                    : str_format(ret, size, "path:%s/%s", d->source, volume);
    return fits || err_set(err, ERR_LIMIT, "the mount text is longer than %zu bytes", size);
}

static bool vault_clone_end(struct driver_instance *d, const char *volume, const char *name,
                            struct driver_handle *ret_handle, struct err *err)
{
    ret_handle->text[0] = '\0';
    return tell(d, "clone.drop", &(struct asked){.volume = volume, .name = name}, err);
}

static bool vault_clone_wrest(struct driver_instance *d, const char *volume, const char *name,
                              struct driver_handle *ret_handle, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json)
    json_t *head = ask_names("clone.drop", &(struct asked){.volume = volume, .name = name}, err);
    ret_handle->text[0] = '\0';
    return head && json_put_flag(head, "force", true, err) &&
           links_call(d->links, TAKE(head), NULL, 0, &answer, err);
}

static bool vault_note(struct driver_instance *d, const char *volume, const char *snapshot,
                       const char *clone, const char *text, struct err *err)
{
    AUTO(message) struct message answer = {0};
    json_t *head = ask_names(
        "note.put", &(struct asked){.volume = volume, .snapshot = snapshot, .clone = clone}, err);
    return head && links_call(d->links, head, text, strlen(text), &answer, err);
}

static char *vault_note_of(struct driver_instance *d, const char *volume, const char *snapshot,
                           const char *clone, struct err *err)
{
    AUTO(message) struct message answer = {0};
    json_t *head = ask_names(
        "note.get", &(struct asked){.volume = volume, .snapshot = snapshot, .clone = clone}, err);
    if (!head || !links_call(d->links, head, NULL, 0, &answer, err))
        return NULL;
    return own_strndup(answer.data ? (const char *)answer.data : "", answer.data_len, err);
}

/* The vault sweeps at its own start: a call that the agent's crash cut off has no halves there.
 * What the agent before us had asked for may still be under way, and is waited for. */
static bool vault_sweep(struct driver_instance *d, uint32_t *ret_swept, struct err *err)
{
    *ret_swept = 0;
    return tell(d, "settle", &(struct asked){0}, err);
}

/* ---- areas ---- */

struct vault_file {
    struct links *links; /* the area's */
    uint64_t file, generation;
};

static bool list_folder(struct links *links, uint64_t folder, const char *above, int depth,
                        size_t max, struct area_list *ret, struct err *err);

static bool list_entry(struct links *links, const json_t *entry, const char *above, int depth,
                       size_t max, struct area_list *ret, struct err *err)
{
    AUTO(mem) char *name = NULL;
    if (!wire_get_name(entry, "name", &name, err))
        return false;
    AUTO(mem)
    char *path = name ? own_printf(err, "%s%s%s", above, *above ? "/" : "", name) : NULL;
    if (!path)
        return name ? false : err_set(err, ERR_CORRUPT, "an entry without a name");
    uint64_t kind = json_u64(entry, "kind");
    if (kind == KIND_FOLDER)
        return list_folder(links, wire_get_u64(entry, "file"), path, depth + 1, max, ret, err);
    if (kind != KIND_FILE || strlen(path) >= AREA_PATH_MAX)
        return area_list_add_odd(ret, path, err);
    if (ret->count >= max)
        return err_set(err, ERR_LIMIT, "more than %zu files", max);
    return area_list_add(ret, path, wire_get_u64(entry, "size"), wire_get_u64(entry, "mtime_us"),
                         err);
}

static bool list_folder(struct links *links, uint64_t folder, const char *above, int depth,
                        size_t max, struct area_list *ret, struct err *err)
{
    if (depth > AREA_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "'%.200s' lies deeper than %d folders", above,
                       AREA_DEPTH_MAX);
    uint64_t cookie = 0;
    for (bool end = false; !end;) {
        AUTO(message) struct message answer = {0};
        AUTO(json) json_t *head = links_ask("file.list", err);
        if (!head || !wire_put_u64(head, "folder", folder, err) ||
            !wire_put_u64(head, "cookie", cookie, err) ||
            !links_call(links, TAKE(head), NULL, 0, &answer, err))
            return false;
        const json_t *entries = json_object_get(answer.head, "entries");
        size_t count = json_array_size(entries);
        for (size_t i = 0; i < count; i++)
            if (!list_entry(links, json_array_get(entries, i), above, depth, max, ret, err))
                return false;
        if (count)
            cookie = wire_get_u64(json_array_get(entries, count - 1), "cookie");
        end = json_flag(answer.head, "end") || count == 0;
    }
    return true;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct area_file *)a)->path, ((const struct area_file *)b)->path);
}

static bool files_list(void *state, size_t max_files, struct area_list *ret, struct err *err)
{
    if (!list_folder(state, 1, "", 0, max_files, ret, err))
        return false;
    if (ret->count)
        qsort(ret->files, ret->count, sizeof *ret->files, by_path);
    return true;
}

static void *files_open(void *state, const char *path, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("file.find", err);
    if (!head || !wire_put_name(head, "path", path, err) ||
        !links_call(state, TAKE(head), NULL, 0, &answer, err))
        return NULL;
    if (json_u64(answer.head, "kind") != KIND_FILE) {
        err_set(err, ERR_INVALID, "'%.200s' is no plain file", path);
        return NULL;
    }
    struct vault_file *file = own_alloc(sizeof *file, err);
    if (file)
        *file = (struct vault_file){state, wire_get_u64(answer.head, "file"),
                                    json_u64(answer.head, "generation")};
    return file;
}

static bool files_stat(void *handle, uint64_t *ret_size, uint64_t *ret_mtime_us, struct err *err)
{
    const struct vault_file *file = handle;
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("file.stat", err);
    if (!head || !wire_put_u64(head, "file", file->file, err) ||
        !json_put_u64(head, "generation", file->generation, err) ||
        !links_call(file->links, TAKE(head), NULL, 0, &answer, err))
        return false;
    *ret_size = wire_get_u64(answer.head, "size");
    *ret_mtime_us = wire_get_u64(answer.head, "mtime_us");
    return true;
}

static ssize_t files_read(void *handle, void *to, size_t size, uint64_t offset, struct err *err)
{
    const struct vault_file *file = handle;
    size_t got = 0;
    while (got < size) {
        size_t part = size - got < READ_MAX ? size - got : READ_MAX;
        AUTO(message) struct message answer = {0};
        AUTO(json) json_t *head = links_ask("file.read", err);
        if (!head || !wire_put_u64(head, "file", file->file, err) ||
            !wire_put_u64(head, "offset", offset + got, err) ||
            !wire_put_u64(head, "size", part, err) ||
            !links_call(file->links, TAKE(head), NULL, 0, &answer, err))
            return -1;
        if (answer.data_len > part) {
            err_set(err, ERR_CORRUPT, "the vault answered more than was asked");
            return -1;
        }
        if (answer.data_len)
            memcpy((uint8_t *)to + got, answer.data, answer.data_len);
        got += answer.data_len;
        if (answer.data_len < part)
            break;
    }
    return (ssize_t)got;
}

static void files_close(void *handle) { own_free(handle); }

static void files_end(void *state) { links_free(state); }

static struct area *vault_area(struct driver_instance *d, const char *volume, const char *snapshot,
                               const char *clone, struct err *err)
{
    static const struct area_backend backend = {.list = files_list,
                                                .file_open = files_open,
                                                .file_stat = files_stat,
                                                .file_read = files_read,
                                                .file_close = files_close,
                                                .close = files_end};
    AUTO(links) struct links *links = links_new(d->socket, volume, snapshot, clone, err);
    AUTO(message) struct message answer = {0};
    json_t *head = links ? links_ask("file.find", err) : NULL;
    if (!head || !json_put_text(head, "path", "", err)) {
        json_decref(head);
        return NULL;
    }
    /* Opens the view now, so that what is not there is said at once. */
    if (!links_call(links, head, NULL, 0, &answer, err))
        return NULL;
    return area_new(&backend, TAKE(links), err);
}

/* ---- events ---- */

/* The vault's number 0 is none of its own: ours is one more, and 0 stays "from now on". */
static bool take_event(const json_t *row, struct driver_event *ret, bool *ret_mine, struct err *err)
{
    const char *kind = json_text(row, "kind");
    bool arrived = str_equal(kind, "quiet") || str_equal(kind, "renamed");
    AUTO(mem) char *volume = NULL;
    AUTO(mem) char *path = NULL;
    if (!wire_get_name(row, "volume", &volume, err) || !wire_get_name(row, "path", &path, err))
        return false;
    /* "LANDING/CLONE" is a clone's; what is too long for an area no survey shows. */
    *ret_mine = volume && path && !strchr(volume, '/') &&
                str_copy(ret->volume, sizeof ret->volume, volume) &&
                str_copy(ret->path, sizeof ret->path, path);
    ret->kind = arrived ? DRIVER_FILE_ARRIVED : DRIVER_FILE_CHANGED;
    return true;
}

static bool vault_watch(struct driver_instance *d, uint64_t *io_position, uint64_t timeout_ms,
                        struct driver_event *ret, size_t max, size_t *ret_count, bool *ret_lost,
                        struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("events", err);
    if (!head || (*io_position && !wire_put_u64(head, "after", *io_position - 1, err)) ||
        !json_put_u64(head, "timeout_ms", timeout_ms, err) ||
        !links_call_within(d->links, TAKE(head), timeout_ms + WATCH_LATE_MS, &answer, err))
        return false;
    const json_t *rows = json_object_get(answer.head, "events");
    bool lost = json_flag(answer.head, "lost");
    struct driver_event spare = {0};
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        bool mine = false;
        struct driver_event *to = count < max ? &ret[count] : &spare;
        if (!take_event(json_array_get(rows, i), to, &mine, err))
            return false;
        lost = lost || (mine && count >= max);
        count += mine && count < max;
    }
    *io_position = wire_get_u64(answer.head, "last") + 1;
    *ret_count = count;
    *ret_lost = lost;
    return true;
}

/* ---- a vault that is filled from somebody else's storage ---- */

enum { INGEST_WAIT_MS = 2000, ASKED_AGAIN = 2, SOURCE_FILES_MAX = 100000 };

static struct driver_instance *ingest_connect(const struct driver_option *options, size_t count,
                                              struct err *err)
{
    struct asked_options asked;
    if (!read_options(options, count, true, &asked, err))
        return NULL;
    const char *source = asked.source;
    if (!source || (source[0] != '/' && !str_starts(source, "nfs://"))) {
        err_set(err, ERR_CONFIG, "'source' must be an absolute path or nfs://HOST/PATH");
        return NULL;
    }
    AUTO(instance) struct driver_instance *d = connect_at(&asked, err);
    if (d && !str_copy(d->source, sizeof d->source, source)) {
        err_set(err, ERR_CONFIG, "'source' is too long");
        return NULL;
    }
    return TAKE(d);
}

/* Its own storage is what a live area shows, not what was last taken of it. */
static struct area *ingest_area(struct driver_instance *d, const char *volume, const char *snapshot,
                                const char *clone, struct err *err)
{
    struct driver_volume_info info;
    if (snapshot || clone)
        return vault_area(d, volume, snapshot, clone, err);
    if (!vault_info(d, volume, &info, err))
        return NULL;
    if (str_starts(d->source, "nfs://"))
        return area_nfs_open(d->source, volume, NULL, err);
    AUTO(mem) char *path = own_printf(err, "%s/%s", d->source, volume);
    return path ? area_open_path(path, err) : NULL;
}

/* What files show is the source's; where that cannot be asked, it is unknown. */
static bool ingest_info(struct driver_instance *d, const char *volume,
                        struct driver_volume_info *ret, struct err *err)
{
    struct err away = {0};
    AUTO(area_list) struct area_list list = {0};
    if (!vault_info(d, volume, ret, err))
        return false;
    AUTO(area) struct area *area = ingest_area(d, volume, NULL, NULL, &away);
    ret->space.logical = DRIVER_UNKNOWN;
    if (!area || !area_list(area, SOURCE_FILES_MAX, &list, &away))
        return true;
    ret->space.logical = 0;
    for (size_t i = 0; i < list.count; i++)
        ret->space.logical += list.files[i].size;
    return true;
}

static bool add_names(json_t *head, const struct driver_instance *d, const char *const *volumes,
                      size_t count, struct err *err)
{
    json_t *names = json_array(), *sources = json_array();
    AUTO(mem) char *source = wire_escape(d->source, err);
    bool ok = json_put(head, "volumes", names, err);
    ok = json_put(head, "sources", sources, err) && ok && source;
    for (size_t i = 0; ok && i < count; i++) {
        AUTO(mem) char *name = wire_escape(volumes[i], err);
        ok = name && json_add(names, json_string(name), err) &&
             json_add(sources, json_string(source), err);
    }
    return ok;
}

static bool ask_done(struct driver_instance *d, const char *handle, uint64_t timeout_ms,
                     bool *ret_done, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("ingest.poll", err);
    if (!head || !json_put_text(head, "handle", handle, err) ||
        !json_put_u64(head, "timeout_ms", timeout_ms, err) ||
        !links_call(d->links, TAKE(head), NULL, 0, &answer, err))
        return false;
    *ret_done = json_flag(answer.head, "done");
    return true;
}

/* From here on it goes on without us: who cannot wait polls later. */
static bool is_done_soon(struct driver_instance *d, const char *handle, bool *ret_done,
                         struct err *err)
{
    *ret_done = false;
    struct err own = {0};
    for (int tries = 0; tries <= ASKED_AGAIN; tries++) {
        own = (struct err){0};
        if (ask_done(d, handle, INGEST_WAIT_MS, ret_done, &own))
            return true;
    }
    bool may_run = own.code == ERR_UNAVAILABLE || own.code == ERR_NO_MEMORY;
    if (!may_run)
        *err = own;
    return may_run;
}

/* What is done soon needs no handle. */
static bool ingest_snap(struct driver_instance *d, const char *const *volumes, size_t count,
                        const char *name, struct driver_handle *ret_handles, bool *ret_atomic,
                        struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = ask_names("ingest", &(struct asked){.name = name}, err);
    if (!head || !json_put_flag(head, "by_volume", true, err) ||
        !add_names(head, d, volumes, count, err) ||
        !links_call(d->links, TAKE(head), NULL, 0, &answer, err))
        return false;
    const char *handle = json_text(answer.head, "handle");
    bool done = false;
    if (!is_done_soon(d, handle, &done, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!str_copy(ret_handles[i].text, sizeof ret_handles[i].text, done ? "" : handle))
            return err_set(err, ERR_CORRUPT, "the vault's handle '%.80s' is too long", handle);
    *ret_atomic = false;
    return true;
}

static bool ingest_poll(struct driver_instance *d, const struct driver_handle *handle,
                        bool *ret_done, struct err *err)
{
    return ask_done(d, handle->text, 0, ret_done, err);
}

extern const struct driver driver_vault_ingest;
const struct driver driver_vault_ingest = {
    .name = "vault-ingest",
    .can = DRIVER_CAN_SNAPSHOT | DRIVER_CAN_CLONE | DRIVER_CAN_LOCK | DRIVER_CAN_VOLUME_CREATE |
           DRIVER_SEALS_LATER | DRIVER_IS_SLOW_SNAPSHOT | DRIVER_NEEDS_QUIET,
    .open = ingest_connect,
    .close = vault_shut,
    .volume_info = ingest_info,
    .area = ingest_area,
    .snapshot_create = ingest_snap,
    .snapshot_list = vault_snaps,
    .snapshot_delete = vault_snap_drop,
    .sweep = vault_sweep,
    .volume_create = vault_volume_make,
    .clone_create = vault_clone,
    .clone_list = vault_clones,
    .clone_delete = vault_clone_end,
    .clone_wrest = vault_clone_wrest,
    .clone_mount = ingest_where,
    .snapshot_lock = vault_snap_lock,
    .note_put = vault_note,
    .note_get = vault_note_of,
    .poll = ingest_poll,
};

extern const struct driver driver_vault;
const struct driver driver_vault = {
    .name = "vault",
    .can = DRIVER_CAN_SNAPSHOT | DRIVER_CAN_CLONE | DRIVER_CAN_COMPOSE | DRIVER_CAN_LOCK |
           DRIVER_CAN_SET_ATOMIC | DRIVER_CAN_VOLUME_CREATE | DRIVER_SEALS_LATER,
    .open = vault_connect,
    .close = vault_shut,
    .volume_info = vault_info,
    .area = vault_area,
    .snapshot_create = vault_snap,
    .snapshot_list = vault_snaps,
    .snapshot_delete = vault_snap_drop,
    .sweep = vault_sweep,
    .volume_create = vault_volume_make,
    .clone_create = vault_clone,
    .clone_list = vault_clones,
    .clone_delete = vault_clone_end,
    .clone_wrest = vault_clone_wrest,
    .clone_mount = vault_where,
    .snapshot_lock = vault_snap_lock,
    .note_put = vault_note,
    .note_get = vault_note_of,
    .area_put = vault_put,
    .watch = vault_watch,
};
