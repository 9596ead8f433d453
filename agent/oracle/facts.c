/* The fact sheet: what only the database can say, as JSON both ways, hostile until checked. */
#include "agent/oracle/facts.h"

#include "agent/base/str.h"
#include "agent/oracle/block.h"
#include "agent/oracle/codec.h"
#include <inttypes.h>
#include <string.h>

enum {
    FILE_NO_MAX = 65535, /* two bytes in every header */
    THREADS_MAX = 1024,  /* V$THREAD: far above any real cluster */
    ROWS_MAX = 65536,
    OFFSET_MAX_MIN = 14 * 60, /* the furthest zones from UTC */
    DATA_BLOCK_MIN = 2048,
};

#define TOP(kind, member) CODEC_FIELD(kind, struct facts, member)
static const struct codec_field top_fields[] = {
    TOP(TEXT, run),
    TOP(TEXT, phase),
    TOP(TEXT, shim_host),
    TOP(U32, dbid),
    TOP(TEXT, db_name),
    TOP(TEXT, db_unique_name),
    TOP(TEXT, role),
    TOP(TEXT, open_mode),
    TOP(TEXT, log_mode),
    TOP(TEXT, release),
    TOP(TEXT, edition),
    TOP(TEXT, compatible),
    TOP(BOOL, cdb),
    TOP(BOOL, force_logging),
    TOP(BOOL, flashback),
    TOP(BOOL, tracking),
    TOP(U32, resetlogs_id),
    TOP(SCN, resetlogs_scn),
    TOP(TEXT, zone_name),
    TOP(BOOL, complete),
    TOP(SCN, preview_start_scn),
    TOP(SCN, preview_fuzzy_scn),
    TOP(TEXT, controlfile_piece),
    TOP(TEXT, controlfile_raw),
    TOP(TEXT, spfile_piece),
};

#define INCARNATION(kind, member) CODEC_FIELD(kind, struct facts_incarnation, member)
static const struct codec_field incarnation_fields[] = {
    INCARNATION(U32, number),
    INCARNATION(U32, prior),
    INCARNATION(U32, resetlogs_id),
    INCARNATION(SCN, resetlogs_scn),
    INCARNATION(SCN, prior_resetlogs_scn),
    INCARNATION(TEXT, status),
};

#define THREAD(kind, member) CODEC_FIELD(kind, struct facts_thread, member)
static const struct codec_field thread_fields[] = {
    THREAD(U32, number),        THREAD(BOOL, open),      THREAD(BOOL, enabled),
    THREAD(U32, sequence),      THREAD(SCN, enable_scn), THREAD(SCN, disable_scn),
    THREAD(U32, last_sequence), THREAD(SCN, last_scn),   THREAD(TEXT, instance),
};

#define DATAFILE(kind, member) CODEC_FIELD(kind, struct facts_file, member)
static const struct codec_field file_fields[] = {
    DATAFILE(U32, file_no),
    DATAFILE(U32, con_id),
    DATAFILE(U32, ts_no),
    DATAFILE(U32, rfile_no),
    DATAFILE(SCN, creation_scn),
    DATAFILE(TEXT, status),
    DATAFILE(TEXT, enabled),
    DATAFILE(SCN, checkpoint_scn),
    DATAFILE(SCN, header_scn),
    DATAFILE(SCN, stop_scn),
    DATAFILE(SCN, offline_scn),
    DATAFILE(SCN, online_scn),
    DATAFILE(SCN, unrecoverable_scn),
    DATAFILE(TEXT, unrecoverable_time),
    DATAFILE(BOOL, plugged_in),
    DATAFILE(SCN, plugin_scn),
    DATAFILE(U32, foreign_dbid),
    DATAFILE(BOOL, fuzzy),
    DATAFILE(BOOL, encrypted),
    DATAFILE(BOOL, bigfile),
    DATAFILE(U64, blocks),
    DATAFILE(U32, block_size),
    DATAFILE(TEXT, tablespace),
    DATAFILE(TEXT, name),
};

#define PDB(kind, member) CODEC_FIELD(kind, struct facts_pdb, member)
static const struct codec_field pdb_fields[] = {
    PDB(U32, con_id),
    PDB(U32, dbid),
    PDB(TEXT, open_mode),
    PDB(TEXT, name),
};

#define COPY(kind, member) CODEC_FIELD(kind, struct facts_copy, member)
static const struct codec_field copy_fields[] = {
    COPY(U32, file_no),
    COPY(SCN, creation_scn),
    COPY(SCN, checkpoint_scn),
    COPY(SCN, absolute_fuzzy_scn),
    COPY(SCN, recovery_fuzzy_scn),
    COPY(CHAR, status),
    COPY(INT, level),
    COPY(TEXT, tag),
    COPY(TEXT, name),
};

#define MOMENT(kind, member) CODEC_FIELD(kind, struct facts_moment, member)
static const struct codec_field moment_fields[] = {
    MOMENT(TEXT, phase),
    MOMENT(SCN, scn),
    MOMENT(U64, utc_us),
    MOMENT(INT, offset_min),
};

#define PARAMETER(kind, member) CODEC_FIELD(kind, struct facts_parameter, member)
static const struct codec_field parameter_fields[] = {
    PARAMETER(TEXT, name),
    PARAMETER(TEXT, value),
};

#define DEST(kind, member) CODEC_FIELD(kind, struct facts_dest, member)
static const struct codec_field dest_fields[] = {
    DEST(U32, id),       DEST(TEXT, status),      DEST(TEXT, target),
    DEST(TEXT, binding), DEST(TEXT, destination),
};

static const struct codec_field suspect_fields[] = {{"file_no", CODEC_U32, 0, sizeof(uint32_t)}};

#define LIST(name, noun, limit, rows, text_limit)                                                  \
    {                                                                                              \
        .key = #name, .items_offset = offsetof(struct facts, name),                                \
        .count_offset = offsetof(struct facts, noun##_count),                                      \
        .capacity_offset = offsetof(struct facts, noun##_capacity),                                \
        .item_size = sizeof(*((struct facts *)0)->name), .max = (limit), .table = rows,            \
        .text_max = (text_limit)                                                                   \
    }
#define ROWS(array)                                                                                \
    {                                                                                              \
        array, sizeof(array) / sizeof *(array)                                                     \
    }

static const struct codec_list lists[] = {
    LIST(incarnations, incarnation, ROWS_MAX, ROWS(incarnation_fields), 0),
    LIST(threads, thread, THREADS_MAX, ROWS(thread_fields), 0),
    LIST(files, file, FACTS_FILES_MAX, ROWS(file_fields), 0),
    LIST(pdbs, pdb, ROWS_MAX, ROWS(pdb_fields), 0),
    LIST(copies, copy, (size_t)4 * FACTS_FILES_MAX, ROWS(copy_fields), 0),
    LIST(moments, moment, ROWS_MAX, ROWS(moment_fields), 0),
    LIST(parameters, parameter, ROWS_MAX, ROWS(parameter_fields), 0),
    LIST(dests, dest, ROWS_MAX, ROWS(dest_fields), 0),
    LIST(suspect_files, suspect, FACTS_FILES_MAX, ROWS(suspect_fields), 0),
    LIST(tempfiles, tempfile, FACTS_FILES_MAX, {0}, FACTS_NAME_MAX),
    LIST(logfiles, logfile, ROWS_MAX, {0}, FACTS_NAME_MAX),
    LIST(controlfiles, controlfile, ROWS_MAX, {0}, FACTS_NAME_MAX),
};
enum { LIST_COUNT = sizeof lists / sizeof *lists };

struct facts *facts_new(struct err *err) { return own_alloc(sizeof(struct facts), err); }

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        own_free(texts[i]);
    own_free(texts);
}

void facts_free(struct facts *facts)
{
    if (!facts)
        return;
    free_texts(facts->tempfiles, facts->tempfile_count);
    free_texts(facts->logfiles, facts->logfile_count);
    free_texts(facts->controlfiles, facts->controlfile_count);
    own_free(facts->incarnations);
    own_free(facts->threads);
    own_free(facts->files);
    own_free(facts->pdbs);
    own_free(facts->copies);
    own_free(facts->moments);
    own_free(facts->parameters);
    own_free(facts->dests);
    own_free(facts->suspect_files);
    own_free(facts);
}

char *facts_to_json(const struct facts *facts, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    if (!json_put_u64(doc, "version", FACTS_VERSION, err) ||
        !codec_write(doc, facts, CODEC_TABLE(top_fields), err))
        return err_null(err, "write fact sheet");
    for (size_t i = 0; i < LIST_COUNT; i++)
        if (!codec_write_list(doc, facts, &lists[i], err))
            return err_null(err, "write fact sheet");
    return json_format_pretty(doc, err);
}

/* A bit per file number: true when it was seen before. */
static bool seen_before(uint8_t *bits, uint32_t number)
{
    uint8_t bit = (uint8_t)(1u << number % 8);
    bool seen = bits[number / 8] & bit;
    bits[number / 8] |= bit;
    return seen;
}

static bool check_files(const struct facts *facts, struct err *err)
{
    uint8_t seen[(FILE_NO_MAX + 1) / 8] = {0};
    for (size_t i = 0; i < facts->file_count; i++) {
        const struct facts_file *f = &facts->files[i];
        if (f->file_no == 0 || f->file_no > FILE_NO_MAX)
            return err_set(err, ERR_INVALID, "file number %" PRIu32 " is impossible", f->file_no);
        if (seen_before(seen, f->file_no))
            return err_set(err, ERR_CORRUPT, "file %" PRIu32 " is listed twice", f->file_no);
        if (f->rfile_no > BLOCK_BIGFILE_RFILE)
            return err_set(err, ERR_INVALID, "file %" PRIu32 ": relative number %" PRIu32,
                           f->file_no, f->rfile_no);
        if (f->block_size && (f->block_size < DATA_BLOCK_MIN || !block_size_code(f->block_size)))
            return err_set(err, ERR_INVALID, "file %" PRIu32 ": block size %" PRIu32, f->file_no,
                           f->block_size);
    }
    return true;
}

static bool check_rows(const struct facts *facts, struct err *err)
{
    for (size_t i = 0; i < facts->thread_count; i++) {
        uint32_t number = facts->threads[i].number;
        if (number == 0 || number > UINT16_MAX)
            return err_set(err, ERR_INVALID, "thread number %" PRIu32 " is impossible", number);
        for (size_t j = 0; j < i; j++)
            if (facts->threads[j].number == number)
                return err_set(err, ERR_CORRUPT, "thread %" PRIu32 " is listed twice", number);
    }
    for (size_t i = 0; i < facts->copy_count; i++)
        if (facts->copies[i].file_no == 0 || facts->copies[i].file_no > FILE_NO_MAX)
            return err_set(err, ERR_INVALID, "copy of file %" PRIu32, facts->copies[i].file_no);
    for (size_t i = 0; i < facts->suspect_count; i++)
        if (facts->suspect_files[i] == 0 || facts->suspect_files[i] > FILE_NO_MAX)
            return err_set(err, ERR_INVALID, "suspect file %" PRIu32, facts->suspect_files[i]);
    for (size_t i = 0; i < facts->moment_count; i++) {
        int offset = facts->moments[i].offset_min;
        if (offset < -OFFSET_MAX_MIN || offset > OFFSET_MAX_MIN)
            return err_set(err, ERR_INVALID, "%d minutes from UTC is no zone", offset);
    }
    return true;
}

struct facts *facts_from_json(const char *text, size_t len, struct err *err)
{
    AUTO(json) json_t *doc = json_parse(text, len, err);
    if (!doc)
        return err_null(err, "fact sheet");
    if (!json_is_object(doc) || json_u64(doc, "version") != FACTS_VERSION) {
        err_set(err, ERR_INVALID, "not a fact sheet of version %d", FACTS_VERSION);
        return NULL;
    }
    AUTO(facts) struct facts *facts = facts_new(err);
    if (!facts || !codec_read(doc, facts, CODEC_TABLE(top_fields), err))
        return err_null(err, "fact sheet");
    for (size_t i = 0; i < LIST_COUNT; i++)
        if (!codec_read_list(doc, facts, &lists[i], err))
            return err_null(err, "fact sheet");
    if (!check_files(facts, err) || !check_rows(facts, err))
        return err_null(err, "fact sheet");
    return TAKE(facts);
}

const struct facts_file *facts_file_find(const struct facts *facts, uint32_t file_no)
{
    for (size_t i = 0; i < facts->file_count; i++)
        if (facts->files[i].file_no == file_no)
            return &facts->files[i];
    return NULL;
}

const char *facts_parameter_find(const struct facts *facts, const char *name)
{
    for (size_t i = 0; i < facts->parameter_count; i++)
        if (str_equal_fold(facts->parameters[i].name, name))
            return facts->parameters[i].value;
    return "";
}

static bool names_its_incarnation(const struct facts *facts)
{
    for (size_t i = 0; i < facts->incarnation_count; i++)
        if (facts->incarnations[i].resetlogs_id == facts->resetlogs_id)
            return true;
    return false;
}

static bool files_are_complete(const struct facts *facts, struct err *err)
{
    if (!facts->complete || facts->file_count == 0)
        return err_set(err, ERR_PRECONDITION, "fact sheet: the file list is not complete");
    for (size_t i = 0; i < facts->file_count; i++) {
        const struct facts_file *f = &facts->files[i];
        if (!f->status[0] || !f->enabled[0] || !f->name[0])
            return err_set(err, ERR_PRECONDITION,
                           "fact sheet: file %" PRIu32 " lacks status, enabled or name",
                           f->file_no);
    }
    return true;
}

static bool threads_are_complete(const struct facts *facts, struct err *err)
{
    bool any_enabled = false;
    for (size_t i = 0; i < facts->thread_count; i++) {
        const struct facts_thread *t = &facts->threads[i];
        any_enabled |= t->enabled;
        if (t->enabled && t->sequence == 0)
            return err_set(err, ERR_PRECONDITION,
                           "fact sheet: thread %" PRIu32 " lacks its current sequence", t->number);
    }
    return any_enabled || err_set(err, ERR_PRECONDITION, "fact sheet: no enabled thread");
}

bool facts_are_complete(const struct facts *facts, struct err *err)
{
    if (facts->dbid == 0 || !facts->db_name[0] || facts->resetlogs_id == 0)
        return err_set(err, ERR_PRECONDITION, "fact sheet: dbid, name or resetlogs id is missing");
    if (!names_its_incarnation(facts))
        return err_set(err, ERR_PRECONDITION,
                       "fact sheet: the current incarnation is not in the list");
    if (facts->moment_count == 0)
        return err_set(err, ERR_PRECONDITION, "fact sheet: no SCN was noted with its time");
    return files_are_complete(facts, err) && threads_are_complete(facts, err);
}
