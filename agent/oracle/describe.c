/* One file, told to people: readable lines and JSON. */
#include "agent/oracle/describe.h"

#include "agent/oracle/datafile.h"
#include "agent/oracle/manifest_int.h"
#include <inttypes.h>

static void line(struct str *out, const char *label, const char *value)
{
    str_printf(out, "  %-18s %s\n", label, value);
}

static void line_u64(struct str *out, const char *label, uint64_t value)
{
    str_printf(out, "  %-18s %" PRIu64 "\n", label, value);
}

static void line_scn(struct str *out, const char *label, struct scn scn)
{
    if (scn_is_none(scn))
        line(out, label, "none");
    else
        line_u64(out, label, scn.n);
}

static void line_time(struct str *out, const char *label, uint32_t value)
{
    char text[32];
    header_time_format(value, text);
    str_printf(out, "  %-18s %s (local to the database host)\n", label, text);
}

/* An SCN with its time when the header knows one. */
static void line_moment(struct str *out, const char *label, struct scn scn, uint32_t time)
{
    char text[32];
    header_time_format(time, text);
    if (scn_is_none(scn))
        line(out, label, "none, the log is open");
    else
        str_printf(out, "  %-18s SCN %" PRIu64 ", %s\n", label, scn.n, text);
}

static const struct {
    uint16_t bit;
    const char *words;
} status_words[] = {
    {DATAFILE_HOT_BACKUP, "in hot backup"},
    {DATAFILE_ONLINE_FUZZY, "was open when copied"},
    {DATAFILE_MEDIA_FUZZY, "in media recovery"},
    {DATAFILE_ABSOLUTELY_FUZZY, "fuzzy by file scan"},
    {DATAFILE_BAD_CHECKPOINT, "bad checkpoint"},
    {DATAFILE_RESETLOGS_UNFINISHED, "resetlogs not finished"},
    {DATAFILE_PROXY_COPY, "proxy copy in progress"},
    {DATAFILE_BOOTSTRAP, "holds the bootstrap table"},
    {DATAFILE_STANDBY_FUZZY, "in standby apply"},
    {DATAFILE_LEVEL_0, "level 0 copy"},
};

static void status_text(uint16_t status, struct str *out)
{
    str_printf(out, "0x%04x", status);
    const char *separator = " (";
    for (size_t i = 0; i < sizeof status_words / sizeof *status_words; i++)
        if (status & status_words[i].bit) {
            str_printf(out, "%s%s", separator, status_words[i].words);
            separator = ", ";
        }
    str_append(out, *separator == ',' ? ")" : "");
}

static void describe_datafile(const struct manifest_entry *e, struct str *out)
{
    str_printf(out, "  %-18s %s, number %" PRIu32 "\n", "tablespace", e->datafile.tablespace,
               e->datafile.ts_no);
    str_printf(out, "  %-18s %" PRIu32 ", relative %" PRIu32 "%s\n", "file number",
               e->datafile.file_no, e->datafile.rfile_no,
               e->datafile.rfile_no == BLOCK_BIGFILE_RFILE ? " (bigfile)" : "");
    line_scn(out, "created at SCN", e->datafile.creation_scn);
    line_scn(out, "checkpoint SCN", e->datafile.checkpoint_scn);
    line_time(out, "checkpoint time", e->datafile.checkpoint_time);
    str_printf(out, "  %-18s thread %" PRIu32 ", sequence %" PRIu32 "\n", "needs redo from",
               e->datafile.checkpoint_thread, e->datafile.checkpoint_sequence);
    line_scn(out, "absolute fuzzy SCN", e->datafile.absolute_fuzzy_scn);
    line_scn(out, "recovery fuzzy SCN", e->datafile.recovery_fuzzy_scn);
    struct scn target = datafile_earliest_target(e);
    if (scn_is_none(target))
        line(out, "earliest target", "unknown until its blocks are read");
    else
        line_scn(out, "earliest target", target);
    str_printf(out, "  %-18s ", "status");
    status_text(e->datafile.status, out);
    str_append(out, "\n");
    if (e->datafile.type == TYPE_DATAFILE_COPY || e->datafile.type == TYPE_UNFINISHED_DATAFILE)
        line(out, "file type",
             e->datafile.type == TYPE_DATAFILE_COPY ? "datafile copy" : "restore not finished");
    if (datafile_is_suspect(e))
        line(out, "suspect", "holds blocks newer than its header admits");
}

static void describe_log(const struct manifest_entry *e, struct str *out)
{
    str_printf(out, "  %-18s %" PRIu32 ", sequence %" PRIu32 "\n", "thread", e->log.thread,
               e->log.sequence);
    line_moment(out, "first", e->log.first_scn, e->log.first_time);
    line_moment(out, "next", e->log.next_scn, e->log.next_time);
    line_u64(out, "activation", e->log.activation);
    if (e->log.end_of_thread)
        line(out, "end of thread", "yes");
    if (e->log.unverifiable)
        line_u64(out, "no checksum in", e->log.unverifiable);
}

static void describe_oracle_file(const struct manifest_entry *e, struct str *out)
{
    char compatible[20];
    compatible_format(e->compatible, compatible);
    str_printf(out, "  %-18s %" PRIu64 " of %" PRIu32 " bytes and block 0, %s endian\n", "blocks",
               e->blocks, e->block_size, e->order == ORDER_BIG ? "big" : "little");
    if (e->dbid)
        str_printf(out, "  %-18s %s, dbid %" PRIu32 "\n", "database", e->db_name, e->dbid);
    if (e->compatible)
        line(out, "compatible", compatible);
    if (e->resetlogs_id)
        str_printf(out, "  %-18s id %" PRIu32 ", SCN %" PRIu64 "\n", "resetlogs", e->resetlogs_id,
                   e->resetlogs_scn.n);
    if (e->prior_resetlogs_id)
        str_printf(out, "  %-18s id %" PRIu32 ", SCN %" PRIu64 "\n", "prior resetlogs",
                   e->prior_resetlogs_id, e->prior_resetlogs_scn.n);
    if (e->datafile.tag[0])
        line(out, "tag", e->datafile.tag);
    if (e->kind == FILE_DATAFILE && e->datafile.type)
        describe_datafile(e, out);
    else if (e->kind == FILE_ARCHIVED_LOG || e->kind == FILE_ONLINE_LOG)
        describe_log(e, out);
}

void oracle_describe(const struct manifest_entry *entry, struct str *out)
{
    str_printf(out, "%s: %s\n", entry->path ? entry->path : "file", file_kind_text(entry->kind));
    str_printf(out, "  %-18s %s%s%s\n", "state", file_state_text(entry->state),
               entry->why[0] ? ": " : "", entry->why);
    str_printf(out, "  %-18s %" PRIu64 " bytes\n", "size", entry->size);
    if (entry->block_size)
        describe_oracle_file(entry, out);
}

static bool put_time(json_t *object, const char *key, uint32_t value, struct err *err)
{
    char text[32];
    header_time_format(value, text);
    return json_put_text(object, key, text, err);
}

static bool put_datafile(json_t *object, const struct manifest_entry *e, struct err *err)
{
    AUTO(str) struct str status = {0};
    struct scn target = datafile_earliest_target(e);
    status_text(e->datafile.status, &status);
    return str_ok(&status, err) && json_put_text(object, "status_text", status.text, err) &&
           put_time(object, "checkpoint_time_text", e->datafile.checkpoint_time, err) &&
           json_put_flag(object, "fuzzy", datafile_is_fuzzy(e), err) &&
           json_put_flag(object, "suspect", datafile_is_suspect(e), err) &&
           json_put(object, "earliest_target",
                    scn_is_none(target) ? json_null() : json_integer((json_int_t)target.n), err);
}

json_t *oracle_describe_json(const struct manifest_entry *entry, struct err *err)
{
    AUTO(json) json_t *object = json_object();
    char compatible[20];
    compatible_format(entry->compatible, compatible);
    if (!object || !manifest_entry_to_json(entry, object, err) ||
        !json_put_text(object, "kind_text", file_kind_text(entry->kind), err) ||
        !json_put_text(object, "state_text", file_state_text(entry->state), err) ||
        !json_put_text(object, "compatible_text", compatible, err))
        return err_null(err, "describe a file");
    json_t *data = json_object_get(object, "datafile");
    json_t *log = json_object_get(object, "log");
    if ((data && entry->kind == FILE_DATAFILE && !put_datafile(data, entry, err)) ||
        (log && (!put_time(log, "first_time_text", entry->log.first_time, err) ||
                 !put_time(log, "next_time_text", entry->log.next_time, err))))
        return err_null(err, "describe a file");
    return TAKE(object);
}

void oracle_describe_scan(const struct block_summary *summary, struct str *out)
{
    line_u64(out, "blocks read", summary->checked);
    line_u64(out, "bad", summary->bad);
    for (int i = 0; i < BLOCK_VERDICT_COUNT; i++)
        if (i != BLOCK_GOOD && summary->counts[i])
            str_printf(out, "    %12" PRIu64 "  %s\n", summary->counts[i],
                       block_verdict_text((enum block_verdict)i));
    str_printf(out, "  %-18s %" PRIu64 ", in block %" PRIu64 "\n", "highest SCN",
               summary->highest_scn.n, summary->highest_block_no);
    for (size_t i = 0; i < summary->fault_count; i++) {
        const struct block_fault *f = &summary->faults[i];
        str_printf(out,
                   "  block %" PRIu64 ": %s (type 0x%02x, format 0x%02x, rdba 0x%08" PRIx32
                   ", SCN %" PRIu64 ", seq 0x%02x, tail 0x%08" PRIx32
                   ", check 0x%04x, computed 0x%04x)\n",
                   f->block_no, block_verdict_text(f->verdict), f->header.type, f->header.format,
                   f->header.rdba, f->header.scn.n, f->header.sequence, f->header.tail,
                   f->header.checksum, f->computed);
    }
    if (summary->bad > summary->fault_count)
        str_printf(out, "  and %" PRIu64 " more bad blocks\n", summary->bad - summary->fault_count);
}

static bool add_fault(json_t *array, const struct block_fault *f, struct err *err)
{
    AUTO(json) json_t *object = json_object();
    return json_put_u64(object, "block_no", f->block_no, err) &&
           json_put_text(object, "verdict", block_verdict_name(f->verdict), err) &&
           json_put_text(object, "reason", block_verdict_text(f->verdict), err) &&
           json_put_u64(object, "type", f->header.type, err) &&
           json_put_u64(object, "format", f->header.format, err) &&
           json_put_u64(object, "rdba", f->header.rdba, err) &&
           json_put_u64(object, "scn", f->header.scn.n & INT64_MAX, err) &&
           json_put_u64(object, "sequence", f->header.sequence, err) &&
           json_put_u64(object, "tail", f->header.tail, err) &&
           json_put_u64(object, "checksum", f->header.checksum, err) &&
           json_put_u64(object, "checksum_computed", f->computed, err) &&
           json_add(array, TAKE(object), err);
}

json_t *oracle_describe_scan_json(const struct block_summary *summary, struct err *err)
{
    AUTO(json) json_t *object = json_object();
    AUTO(json) json_t *faults = json_array();
    AUTO(json) json_t *counts = json_object();
    for (int i = 0; i < BLOCK_VERDICT_COUNT; i++)
        if (!json_put_u64(counts, block_verdict_name((enum block_verdict)i), summary->counts[i],
                          err))
            return NULL;
    for (size_t i = 0; i < summary->fault_count; i++)
        if (!add_fault(faults, &summary->faults[i], err))
            return NULL;
    if (!json_put_u64(object, "checked", summary->checked, err) ||
        !json_put_u64(object, "bad", summary->bad, err) ||
        !json_put_u64(object, "first_bad_block", summary->first_bad_block, err) ||
        !json_put_u64(object, "highest_scn", summary->highest_scn.n & INT64_MAX, err) ||
        !json_put_u64(object, "highest_block_no", summary->highest_block_no, err) ||
        !json_put(object, "counts", TAKE(counts), err) ||
        !json_put(object, "faults", TAKE(faults), err))
        return err_null(err, "describe a scan");
    return TAKE(object);
}
