/* The manifest: what the bytes in a snapshot say. Derived by reading it; can always be made again.
 */
#include "agent/oracle/manifest.h"

#include "agent/base/str.h"
#include "agent/oracle/block.h"
#include "agent/oracle/codec.h"
#include "agent/oracle/manifest_int.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MANIFEST_VERSION = 1,
    MANIFEST_ENTRIES_MAX = 1 << 20,
    MANIFEST_PATH_MAX = 4096,
    MOMENTS_MAX = 64,
};

static const struct {
    const char *name, *text;
} kinds[FILE_KIND_COUNT] = {
    [FILE_UNKNOWN] = {"unknown", "unknown file"},
    [FILE_EMPTY] = {"empty", "empty file"},
    [FILE_TEXT] = {"text", "text"},
    [FILE_DATAFILE] = {"datafile", "datafile"},
    [FILE_ARCHIVED_LOG] = {"archived_log", "archived log"},
    [FILE_ONLINE_LOG] = {"online_log", "online log"},
    [FILE_CONTROLFILE] = {"controlfile", "control file"},
    [FILE_BACKUP_PIECE] = {"backup_piece", "backup piece"},
    [FILE_SPFILE] = {"spfile", "server parameter file"},
    [FILE_TEMPFILE] = {"tempfile", "tempfile"},
    [FILE_TRACKING] = {"tracking", "block change tracking file"},
    [FILE_FLASHBACK_LOG] = {"flashback_log", "flashback log"},
    [FILE_DUMP] = {"dump", "Data Pump dump"},
    [FILE_EXP_DUMP] = {"exp_dump", "export dump"},
    [FILE_PASSWORD] = {"password", "password file"},
    [FILE_OLD_ORACLE] = {"old_oracle", "Oracle file from before 10g"},
};

static const struct {
    const char *name, *text;
} states[FILE_STATE_COUNT] = {
    [STATE_GOOD] = {"good", "good"},
    [STATE_IN_FLIGHT] = {"in_flight", "still being written"},
    [STATE_TRUNCATED] = {"truncated", "truncated"},
    [STATE_DAMAGED] = {"damaged", "damaged"},
    [STATE_OPEN] = {"open", "online"},
    [STATE_FOREIGN] = {"foreign", "of another database"},
    [STATE_OTHER_INCARNATION] = {"other_incarnation", "of another incarnation"},
    [STATE_UNUSABLE] = {"unusable", "unusable"},
    [STATE_UNREADABLE] = {"unreadable", "cannot be read"},
    [STATE_OTHER] = {"other", "no Oracle file"},
};

const char *file_kind_text(enum file_kind kind)
{
    return kinds[(unsigned)kind < FILE_KIND_COUNT ? kind : FILE_UNKNOWN].text;
}

const char *file_kind_name(enum file_kind kind)
{
    return kinds[(unsigned)kind < FILE_KIND_COUNT ? kind : FILE_UNKNOWN].name;
}

const char *file_state_text(enum file_state state)
{
    return states[(unsigned)state < FILE_STATE_COUNT ? state : STATE_OTHER].text;
}

const char *file_state_name(enum file_state state)
{
    return states[(unsigned)state < FILE_STATE_COUNT ? state : STATE_OTHER].name;
}

struct manifest *manifest_new(struct err *err) { return own_alloc(sizeof(struct manifest), err); }

void manifest_entry_done(struct manifest_entry *entry)
{
    own_free(entry->path);
    own_free(entry->log.moments);
    *entry = (struct manifest_entry){0};
}

void manifest_free(struct manifest *manifest)
{
    if (!manifest)
        return;
    for (size_t i = 0; i < manifest->count; i++)
        manifest_entry_done(&manifest->entries[i]);
    own_free(manifest->entries);
    own_free(manifest);
}

struct manifest_entry *manifest_add(struct manifest *manifest, const char *path, struct err *err)
{
    if (manifest->count >= MANIFEST_ENTRIES_MAX) {
        err_set(err, ERR_LIMIT, "more than %d files in a manifest", MANIFEST_ENTRIES_MAX);
        return NULL;
    }
    AUTO(mem) char *copy = own_strdup(path, err);
    if (!copy || !own_grow((void **)&manifest->entries, &manifest->capacity, manifest->count,
                           sizeof *manifest->entries, err))
        return err_null(err, "add '%s' to the manifest", path);
    struct manifest_entry *entry = &manifest->entries[manifest->count++];
    *entry = (struct manifest_entry){.path = TAKE(copy)};
    return entry;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const struct manifest_entry *)a)->path,
                  ((const struct manifest_entry *)b)->path);
}

void manifest_sort(struct manifest *manifest)
{
    if (manifest->count)
        qsort(manifest->entries, manifest->count, sizeof *manifest->entries, compare_paths);
}

static int compare_path(const void *key, const void *element)
{
    return strcmp(key, ((const struct manifest_entry *)element)->path);
}

const struct manifest_entry *manifest_find(const struct manifest *manifest, const char *path)
{
    return manifest && manifest->count ? bsearch(path, manifest->entries, manifest->count,
                                                 sizeof *manifest->entries, compare_path)
                                       : NULL;
}

void manifest_entry_check_size(struct manifest_entry *entry)
{
    uint64_t wanted = (entry->blocks + 1) * entry->block_size;
    bool is_log = entry->kind == FILE_ARCHIVED_LOG || entry->kind == FILE_ONLINE_LOG;
    entry->state = STATE_GOOD;
    entry->why[0] = '\0';
    if (entry->size < wanted) {
        bool inside = entry->size % entry->block_size != 0;
        entry->state = inside ? STATE_TRUNCATED : STATE_IN_FLIGHT;
        str_format(entry->why, sizeof entry->why, "%s: it holds %" PRIu64 " of %" PRIu64 " bytes",
                   inside ? "truncated inside a block" : "still being written or cut", entry->size,
                   wanted);
    } else if (is_log && entry->size > wanted) {
        entry->state = STATE_DAMAGED;
        str_format(entry->why, sizeof entry->why, "%" PRIu64 " bytes more than its header says",
                   entry->size - wanted);
    }
}

static bool has_database(enum file_kind kind)
{
    return kind == FILE_DATAFILE || kind == FILE_ARCHIVED_LOG || kind == FILE_ONLINE_LOG ||
           kind == FILE_CONTROLFILE || kind == FILE_BACKUP_PIECE;
}

static bool contains(const uint32_t *ids, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

void manifest_judge(struct manifest *manifest, uint32_t dbid, const uint32_t *resetlogs_ids,
                    size_t resetlogs_count)
{
    for (size_t i = 0; i < manifest->count; i++) {
        struct manifest_entry *e = &manifest->entries[i];
        if (!has_database(e->kind) || (e->state != STATE_GOOD && e->state != STATE_OPEN))
            continue;
        bool incarnates =
            resetlogs_count > 0 && (e->kind == FILE_DATAFILE || e->kind == FILE_ARCHIVED_LOG ||
                                    e->kind == FILE_ONLINE_LOG);
        if (e->dbid != dbid) {
            e->state = STATE_FOREIGN;
            str_format(e->why, sizeof e->why, "it belongs to dbid %" PRIu32 ", not %" PRIu32,
                       e->dbid, dbid);
        } else if (incarnates && !contains(resetlogs_ids, resetlogs_count, e->resetlogs_id)) {
            e->state = STATE_OTHER_INCARNATION;
            str_format(e->why, sizeof e->why,
                       "its resetlogs id %" PRIu32 " is not in the database's own line",
                       e->resetlogs_id);
        }
    }
}

#define ENTRY(kind, member) CODEC_FIELD(kind, struct manifest_entry, member)
#define DATA(kind, member) CODEC_FIELD_AS(kind, struct manifest_entry, datafile.member, #member)
#define LOG(kind, member) CODEC_FIELD_AS(kind, struct manifest_entry, log.member, #member)

static const struct codec_field any_fields[] = {
    ENTRY(U64, size),
    ENTRY(U64, mtime_us),
    ENTRY(TEXT, why),
};
static const struct codec_field oracle_fields[] = {
    ENTRY(U32, block_size),
    ENTRY(U64, blocks),
    ENTRY(U32, dbid),
    ENTRY(TEXT, db_name),
    ENTRY(U32, compatible),
    ENTRY(U32, resetlogs_id),
    ENTRY(SCN, resetlogs_scn),
    ENTRY(SCN, prior_resetlogs_scn),
    ENTRY(U32, prior_resetlogs_id),
};
static const struct codec_field datafile_fields[] = {
    DATA(U32, file_no),
    DATA(U32, rfile_no),
    DATA(U32, ts_no),
    DATA(TEXT, tablespace),
    DATA(SCN, creation_scn),
    DATA(SCN, checkpoint_scn),
    DATA(SCN, absolute_fuzzy_scn),
    DATA(SCN, recovery_fuzzy_scn),
    DATA(U32, checkpoint_time),
    DATA(U32, checkpoint_count),
    DATA(U32, checkpoint_thread),
    DATA(U32, checkpoint_sequence),
    DATA(U16, status),
    DATA(U16, type),
    DATA(TEXT, tag),
    DATA(BOOL, scanned),
    DATA(SCN, highest_block_scn),
    DATA(U64, blocks_checked),
    DATA(U64, blocks_empty),
    DATA(U64, blocks_bad),
    DATA(U64, first_bad_block),
};
static const struct codec_field log_fields[] = {
    LOG(U32, thread),    LOG(U32, sequence),       LOG(U32, activation),
    LOG(SCN, first_scn), LOG(SCN, next_scn),       LOG(U32, first_time),
    LOG(U32, next_time), LOG(BOOL, end_of_thread), LOG(U64, unverifiable),
};
static const struct codec_field moment_fields[] = {
    CODEC_FIELD(SCN, struct log_moment, scn),
    CODEC_FIELD(U32, struct log_moment, time),
};

static bool moments_to_json(json_t *log, const struct manifest_entry *e, struct err *err)
{
    AUTO(json) json_t *array = json_array();
    for (size_t i = 0; i < e->log.moment_count; i++) {
        AUTO(json) json_t *moment = json_object();
        if (!moment || !codec_write(moment, &e->log.moments[i], CODEC_TABLE(moment_fields), err) ||
            !json_add(array, TAKE(moment), err))
            return err_wrap(err, "write moments");
    }
    return json_put(log, "moments", TAKE(array), err);
}

static bool part_to_json(json_t *object, const char *key, const struct manifest_entry *e,
                         struct codec_table table, struct err *err)
{
    json_t *part = json_object();
    return json_put(object, key, part, err) && codec_write(part, e, table, err);
}

bool manifest_entry_to_json(const struct manifest_entry *e, json_t *object, struct err *err)
{
    if (!codec_write_bytes(object, "path", e->path ? e->path : "", err) ||
        !json_put_text(object, "kind", file_kind_name(e->kind), err) ||
        !json_put_text(object, "state", file_state_name(e->state), err) ||
        !codec_write(object, e, CODEC_TABLE(any_fields), err))
        return false;
    if (e->block_size == 0)
        return true;
    if (!json_put_text(object, "order", e->order == ORDER_BIG ? "big" : "little", err) ||
        !codec_write(object, e, CODEC_TABLE(oracle_fields), err))
        return false;
    if (e->datafile.type && !part_to_json(object, "datafile", e, CODEC_TABLE(datafile_fields), err))
        return false;
    bool is_log = e->kind == FILE_ARCHIVED_LOG || e->kind == FILE_ONLINE_LOG;
    return !is_log || (part_to_json(object, "log", e, CODEC_TABLE(log_fields), err) &&
                       moments_to_json(json_object_get(object, "log"), e, err));
}

char *manifest_to_json(const struct manifest *manifest, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    AUTO(json) json_t *files = json_array();
    for (size_t i = 0; i < manifest->count; i++) {
        AUTO(json) json_t *object = json_object();
        if (!object || !manifest_entry_to_json(&manifest->entries[i], object, err) ||
            !json_add(files, TAKE(object), err))
            return err_null(err, "write manifest entry %zu", i);
    }
    if (!json_put_u64(doc, "version", MANIFEST_VERSION, err) ||
        !json_put_u64(doc, "made_us", manifest->made_us, err) ||
        !json_put_flag(doc, "blocks_scanned", manifest->blocks_scanned, err) ||
        !json_put(doc, "files", TAKE(files), err))
        return err_null(err, "write manifest");
    return json_format(doc, err);
}

/* A relative path that stays inside the area. */
static bool path_is_safe(const char *path)
{
    if (*path == '/' || *path == '\0')
        return false;
    for (const char *part = path;; part++) {
        size_t len = strcspn(part, "/");
        if (len == 2 && part[0] == '.' && part[1] == '.')
            return false;
        part += len;
        if (!*part)
            return true;
    }
}

static bool words_from_json(const json_t *object, struct manifest_entry *e, struct err *err)
{
    const char *kind = json_text(object, "kind");
    const char *state = json_text(object, "state");
    const char *order = json_text(object, "order");
    bool known_kind = false, known_state = false;
    for (unsigned i = 0; i < FILE_KIND_COUNT && !known_kind; i++) {
        known_kind = str_equal(kind, kinds[i].name);
        e->kind = (enum file_kind)i;
    }
    for (unsigned i = 0; i < FILE_STATE_COUNT && !known_state; i++) {
        known_state = str_equal(state, states[i].name);
        e->state = (enum file_state)i;
    }
    e->order = str_equal(order, "big") ? ORDER_BIG : ORDER_LITTLE;
    if (!known_kind || !known_state)
        return err_set(err, ERR_INVALID, "kind or state is not known");
    if (*order && !str_equal(order, "big") && !str_equal(order, "little"))
        return err_set(err, ERR_INVALID, "byte order is not known");
    return true;
}

static bool moments_from_json(const json_t *log, struct manifest_entry *e, struct err *err)
{
    const json_t *array = json_object_get(log, "moments");
    size_t count = json_array_size(array);
    if (array && !json_is_array(array))
        return err_set(err, ERR_INVALID, "'moments' is not a list");
    if (count > MOMENTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d moments", MOMENTS_MAX);
    if (!count)
        return true;
    e->log.moments = own_alloc(count * sizeof *e->log.moments, err);
    if (!e->log.moments)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct log_moment *m = &e->log.moments[i];
        const json_t *row = json_array_get(array, i);
        if (!json_is_object(row))
            return err_set(err, ERR_INVALID, "moment %zu is not an object", i);
        if (!codec_read(row, m, CODEC_TABLE(moment_fields), err))
            return err_wrap(err, "moment %zu", i);
        if (i && !scn_less(m[-1].scn, m->scn))
            return err_set(err, ERR_CORRUPT, "moments do not ascend");
    }
    e->log.moment_count = count;
    return true;
}

static bool entry_from_json(const json_t *object, struct manifest_entry *e, struct err *err)
{
    const json_t *data = json_object_get(object, "datafile");
    const json_t *log = json_object_get(object, "log");
    if ((data && !json_is_object(data)) || (log && !json_is_object(log)))
        return err_set(err, ERR_INVALID, "'datafile' or 'log' is not an object");
    if (!words_from_json(object, e, err) || !codec_read(object, e, CODEC_TABLE(any_fields), err) ||
        !codec_read(object, e, CODEC_TABLE(oracle_fields), err) ||
        (data && !codec_read(data, e, CODEC_TABLE(datafile_fields), err)) ||
        (log && !codec_read(log, e, CODEC_TABLE(log_fields), err)) ||
        (log && !moments_from_json(log, e, err)))
        return false;
    if (e->block_size && !block_size_code(e->block_size))
        return err_set(err, ERR_INVALID, "block size %" PRIu32 " is impossible", e->block_size);
    return true;
}

static bool entries_from_json(const json_t *files, struct manifest *manifest, struct err *err)
{
    if (json_array_size(files) > MANIFEST_ENTRIES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files in a manifest", MANIFEST_ENTRIES_MAX);
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *object = json_array_get(files, i);
        if (!json_is_object(object))
            return err_set(err, ERR_INVALID, "manifest entry %zu is not an object", i);
        AUTO(mem) char *path = codec_read_bytes(object, "path", MANIFEST_PATH_MAX, err);
        if (path && !path_is_safe(path))
            return err_set(err, ERR_INVALID, "manifest entry %zu: path leaves the area", i);
        struct manifest_entry *entry = path ? manifest_add(manifest, path, err) : NULL;
        if (!entry || !entry_from_json(object, entry, err))
            return err_wrap(err, "manifest entry %zu", i);
    }
    manifest_sort(manifest);
    for (size_t i = 1; i < manifest->count; i++)
        if (str_equal(manifest->entries[i - 1].path, manifest->entries[i].path))
            return err_set(err, ERR_CORRUPT, "manifest names a file twice");
    return true;
}

struct manifest *manifest_from_json(const char *text, size_t len, struct err *err)
{
    AUTO(json) json_t *doc = json_parse(text, len, err);
    if (!doc)
        return err_null(err, "manifest");
    const json_t *files = json_object_get(doc, "files");
    if (!json_is_array(files) || json_u64(doc, "version") != MANIFEST_VERSION) {
        err_set(err, ERR_INVALID, "not a manifest of version %d", MANIFEST_VERSION);
        return NULL;
    }
    AUTO(manifest) struct manifest *manifest = manifest_new(err);
    if (!manifest)
        return NULL;
    manifest->made_us = json_u64(doc, "made_us");
    manifest->blocks_scanned = json_flag(doc, "blocks_scanned");
    if (!entries_from_json(files, manifest, err))
        return NULL;
    return TAKE(manifest);
}
