/* The survey: reads an area and writes down what the bytes say. */
#include "agent/engine/survey.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/oracle/datafile.h"
#include "agent/oracle/identify.h"
#include "agent/oracle/redo.h"
#include <string.h>

static bool goes_on(const struct survey_options *options, struct err *err)
{
    return !options->cancelled || !options->cancelled(options->arg) ||
           err_set(err, ERR_CANCELLED, "reading the area was cancelled");
}

/* Noted, unless it says more of the moment than of the file. */
static bool cannot_read(const struct survey_options *options, struct manifest_entry *entry,
                        const struct err *why, struct err *err)
{
    if (why->code == ERR_CANCELLED || (options->whole && err_is_transient(why->code))) {
        *err = *why;
        return false;
    }
    entry->state = STATE_UNREADABLE;
    IGNORE(str_copy(entry->why, sizeof entry->why, why->text)); /* a cut sentence still helps */
    return true;
}

/* The whole log, every block: only then does it count. */
static bool check_log(struct area_handle *file, const struct survey_options *options,
                      uint8_t *buffer, struct manifest_entry *entry, struct err *err)
{
    AUTO(mem) struct redo_check *check = own_alloc(sizeof *check, err);
    if (!check)
        return false;
    redo_check_init(check, entry->size);
    struct err why = {0};
    for (uint64_t offset = 0; offset < entry->size; offset += SURVEY_CHUNK_BYTES) {
        if (!goes_on(options, err))
            return false;
        ssize_t n = area_file_read(file, buffer, SURVEY_CHUNK_BYTES, offset, &why);
        if (n < 0)
            return cannot_read(options, entry, &why, err);
        redo_check_feed(check, buffer, (size_t)n);
        if (n < SURVEY_CHUNK_BYTES)
            break;
    }
    return redo_check_finish(check, entry, err);
}

static bool scan_datafile(struct area_handle *file, const struct survey_options *options,
                          uint8_t *buffer, struct manifest_entry *entry, struct err *err)
{
    AUTO(mem) struct block_summary *summary = own_alloc(sizeof *summary, err);
    if (!summary)
        return false;
    uint64_t end = (entry->blocks + 1) * entry->block_size;
    struct err why = {0};
    for (uint64_t offset = 0; offset < end; offset += SURVEY_CHUNK_BYTES) {
        uint64_t left = end - offset;
        size_t wanted = left < SURVEY_CHUNK_BYTES ? (size_t)left : SURVEY_CHUNK_BYTES;
        if (!goes_on(options, err))
            return false;
        ssize_t n = area_file_read(file, buffer, wanted, offset, &why);
        if (n < 0)
            return cannot_read(options, entry, &why, err);
        struct block_place place = datafile_place(entry, offset / entry->block_size);
        block_verify_run(buffer, (uint64_t)n / entry->block_size, &place, summary, NULL, NULL);
        if ((size_t)n < wanted)
            break;
    }
    datafile_scan_note(entry, summary);
    return true;
}

/* Copies a counted log's facts from the earlier survey when nothing about the file changed. */
static bool take_earlier(const struct survey_options *options, struct manifest_entry *entry,
                         bool *ret_taken, struct err *err)
{
    const struct manifest_entry *old = manifest_find(options->earlier, entry->path);
    *ret_taken = false;
    if (!old || old->kind != FILE_ARCHIVED_LOG || old->state != STATE_GOOD ||
        old->size != entry->size || old->mtime_us != entry->mtime_us)
        return true;
    struct log_moment *moments = NULL;
    size_t bytes = old->log.moment_count * sizeof *moments;
    if (bytes && !(moments = own_alloc(bytes, err)))
        return false;
    if (bytes)
        memcpy(moments, old->log.moments, bytes);
    char *path = entry->path;
    *entry = *old;
    entry->path = path;
    entry->log.moments = moments;
    *ret_taken = true;
    return true;
}

static bool look_closer(struct area_handle *file, const struct survey_options *options,
                        uint8_t *buffer, struct manifest_entry *entry, struct err *err)
{
    if (entry->kind == FILE_ARCHIVED_LOG && options->headers_only && entry->state == STATE_GOOD) {
        entry->state = STATE_OPEN;
        IGNORE(str_copy(entry->why, sizeof entry->why, "only its header was read"));
        return true;
    }
    if (entry->kind == FILE_ARCHIVED_LOG && !options->headers_only &&
        (entry->state == STATE_GOOD || entry->state == STATE_DAMAGED))
        return check_log(file, options, buffer, entry, err);
    if (entry->kind == FILE_DATAFILE && options->scan_blocks && entry->state == STATE_GOOD)
        return scan_datafile(file, options, buffer, entry, err);
    return true;
}

bool survey_file(struct area *area, const struct area_file *file,
                 const struct survey_options *options, struct manifest *manifest, struct err *err)
{
    struct manifest_entry *entry = manifest_add(manifest, file->path, err);
    if (!entry)
        return false;
    entry->mtime_us = file->mtime_us;
    struct err why = {0};
    AUTO(area_handle) struct area_handle *handle = area_file_open(area, file->path, &why);
    AUTO(mem) uint8_t *buffer = own_alloc(SURVEY_CHUNK_BYTES, err);
    if (!buffer)
        return false;
    uint64_t size = file->size;
    if (handle && !area_file_stat(handle, &size, &entry->mtime_us, &why))
        handle = (area_file_close(handle), NULL);
    entry->size = size;
    bool taken = false;
    if (handle && !take_earlier(options, entry, &taken, err))
        return false;
    if (taken)
        return true;
    ssize_t head = handle ? area_file_read(handle, buffer, IDENTIFY_HEAD_BYTES, 0, &why) : -1;
    if (head < 0)
        return cannot_read(options, entry, &why, err);
    oracle_identify(buffer, (size_t)head, size, file->path, entry);
    entry->size = size;
    if (!look_closer(handle, options, buffer, entry, err))
        return false;
    uint64_t size_now;
    uint64_t mtime_now;
    if (area_file_stat(handle, &size_now, &mtime_now, &why) &&
        (size_now != entry->size || mtime_now != entry->mtime_us) && entry->state == STATE_GOOD) {
        entry->state = STATE_IN_FLIGHT;
        IGNORE(str_copy(entry->why, sizeof entry->why, "changed while it was read"));
    }
    return true;
}

struct manifest *survey_area(struct area *area, const struct survey_options *options,
                             struct err *err)
{
    AUTO(area_list) struct area_list list = {0};
    AUTO(manifest) struct manifest *manifest = manifest_new(err);
    size_t files_max = options->files_max ? options->files_max : SURVEY_FILES_MAX;
    if (!manifest || !area_list(area, files_max, &list, err))
        return NULL;
    manifest->made_us = clock_wall_us();
    manifest->blocks_scanned = options->scan_blocks;
    for (size_t i = 0; i < list.count; i++) {
        if (!goes_on(options, err))
            return NULL;
        if (!survey_file(area, &list.files[i], options, manifest, err))
            return err_null(err, "read '%s'", list.files[i].path);
    }
    for (size_t i = 0; i < list.odd_count; i++) {
        struct manifest_entry *entry = manifest_add(manifest, list.odd[i], err);
        if (!entry)
            return NULL;
        entry->state = STATE_OTHER;
        IGNORE(str_copy(entry->why, sizeof entry->why, "no plain file: not followed"));
    }
    manifest_sort(manifest);
    return TAKE(manifest);
}

struct seeking {
    uint64_t from_us;
    int offset_min;
    struct scn found;
};

static void seek_moment(void *arg, const struct log_moment *moment)
{
    struct seeking *s = arg;
    uint64_t us;
    if (scn_is_none(s->found) && header_time_to_utc(moment->time, s->offset_min, &us) &&
        us >= s->from_us)
        s->found = moment->scn;
}

bool survey_scn_from(struct area *area, const char *path, uint64_t from_us, int offset_min,
                     struct scn *ret_scn, struct err *err)
{
    struct seeking seeking = {from_us, offset_min, SCN_NONE};
    uint64_t size;
    uint64_t mtime_us;
    AUTO(mem) struct redo_check *check = own_alloc(sizeof *check, err);
    AUTO(mem) uint8_t *buffer = own_alloc(SURVEY_CHUNK_BYTES, err);
    AUTO(area_handle) struct area_handle *file = area_file_open(area, path, err);
    if (!check || !buffer || !file || !area_file_stat(file, &size, &mtime_us, err))
        return false;
    redo_check_init(check, size);
    check->on_moment = seek_moment;
    check->arg = &seeking;
    for (uint64_t offset = 0; offset < size && scn_is_none(seeking.found);
         offset += SURVEY_CHUNK_BYTES) {
        ssize_t n = area_file_read(file, buffer, SURVEY_CHUNK_BYTES, offset, err);
        if (n < 0)
            return false;
        redo_check_feed(check, buffer, (size_t)n);
    }
    *ret_scn = seeking.found;
    return true;
}
