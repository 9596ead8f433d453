/* Datafile headers (kcvfh, block 1): what a file is, and from which SCN on it can be recovered. */
#include "agent/oracle/datafile.h"

#include "agent/base/str.h"
#include "agent/oracle/bytes.h"
#include <inttypes.h>

/* Offsets in block 1, the same from 10.2 to 19c: one complete real 11.2.0.4 header, two prefixes,
 * and printed 12.2 and 19c headers. */
enum {
    AT_CREATION_SCN = 100,
    AT_CREATION_TIME = 108,
    AT_RESETLOGS_ID = 112,
    AT_RESETLOGS_SCN = 116,
    AT_BEGIN_BACKUP_TIME = 124,
    AT_BEGIN_BACKUP_SCN = 128,
    AT_STATUS = 138,
    AT_CHECKPOINT_COUNT = 140,
    AT_TS_NO = 332,
    AT_TABLESPACE_LENGTH = 336,
    AT_TABLESPACE = 338,
    AT_RFILE_NO = 368,
    AT_RECOVERY_FUZZY_SCN = 372, /* this and the next from BBED's field list only */
    AT_ABSOLUTE_FUZZY_SCN = 384,
    AT_COMPLETION_TIME = 408,
    AT_PRIOR_RESETLOGS_ID = 416,
    AT_PRIOR_RESETLOGS_SCN = 420,
    AT_CHECKPOINT_SCN = 484,
    AT_CHECKPOINT_TIME = 492,
    AT_CHECKPOINT_THREAD = 496,
    AT_CHECKPOINT_SEQUENCE = 500,
    AT_CHECKPOINT_BLOCK = 504,
    TABLESPACE_BYTES = 30,
    HEADER_BLOCK_TYPE = 0x0b,
};

void datafile_header_read(const uint8_t *block, enum byte_order order,
                          struct datafile_header *ret_header)
{
    struct datafile_header h = {
        .creation_scn = scn_read(block + AT_CREATION_SCN, order),
        .creation_time = bytes_u4(block + AT_CREATION_TIME, order),
        .resetlogs_id = bytes_u4(block + AT_RESETLOGS_ID, order),
        .resetlogs_scn = scn_read(block + AT_RESETLOGS_SCN, order),
        .begin_backup_time = bytes_u4(block + AT_BEGIN_BACKUP_TIME, order),
        .begin_backup_scn = scn_read(block + AT_BEGIN_BACKUP_SCN, order),
        .status = bytes_u2(block + AT_STATUS, order),
        .checkpoint_count = bytes_u4(block + AT_CHECKPOINT_COUNT, order),
        .ts_no = bytes_u4(block + AT_TS_NO, order),
        .tablespace_length = bytes_u2(block + AT_TABLESPACE_LENGTH, order),
        .rfile_no = bytes_u4(block + AT_RFILE_NO, order),
        .recovery_fuzzy_scn = scn_read(block + AT_RECOVERY_FUZZY_SCN, order),
        .absolute_fuzzy_scn = scn_read(block + AT_ABSOLUTE_FUZZY_SCN, order),
        .completion_time = bytes_u4(block + AT_COMPLETION_TIME, order),
        .prior_resetlogs_id = bytes_u4(block + AT_PRIOR_RESETLOGS_ID, order),
        .prior_resetlogs_scn = scn_read(block + AT_PRIOR_RESETLOGS_SCN, order),
        .checkpoint_scn = scn_read(block + AT_CHECKPOINT_SCN, order),
        .checkpoint_time = bytes_u4(block + AT_CHECKPOINT_TIME, order),
        .checkpoint_thread = bytes_u2(block + AT_CHECKPOINT_THREAD, order),
        .checkpoint_sequence = bytes_u4(block + AT_CHECKPOINT_SEQUENCE, order),
        .checkpoint_block_no = bytes_u4(block + AT_CHECKPOINT_BLOCK, order),
    };
    file_header_read(block + FILE_HEADER_AT, order, &h.file);
    bytes_name(block + AT_TABLESPACE, TABLESPACE_BYTES, h.tablespace);
    *ret_header = h;
}

static void fill(struct manifest_entry *entry, const struct datafile_header *h)
{
    entry->compatible = h->file.compatible;
    entry->dbid = h->file.dbid;
    entry->resetlogs_id = h->resetlogs_id;
    entry->resetlogs_scn = h->resetlogs_scn;
    entry->prior_resetlogs_id = h->prior_resetlogs_id;
    entry->prior_resetlogs_scn = h->prior_resetlogs_scn;
    entry->datafile.file_no = h->file.file_no;
    entry->datafile.rfile_no = h->rfile_no;
    entry->datafile.ts_no = h->ts_no;
    entry->datafile.creation_scn = h->creation_scn;
    entry->datafile.checkpoint_scn = h->checkpoint_scn;
    entry->datafile.absolute_fuzzy_scn = h->absolute_fuzzy_scn;
    entry->datafile.recovery_fuzzy_scn = h->recovery_fuzzy_scn;
    entry->datafile.checkpoint_time = h->checkpoint_time;
    entry->datafile.checkpoint_count = h->checkpoint_count;
    entry->datafile.checkpoint_thread = h->checkpoint_thread;
    entry->datafile.checkpoint_sequence = h->checkpoint_sequence;
    entry->datafile.status = h->status;
    entry->datafile.type = h->file.type;
    str_copy(entry->db_name, sizeof entry->db_name, h->file.db_name);
    str_copy(entry->datafile.tablespace, sizeof entry->datafile.tablespace, h->tablespace);
    str_copy(entry->datafile.tag, sizeof entry->datafile.tag, h->file.tag);
}

static bool name_fits(const struct datafile_header *h)
{
    size_t len = strlen(h->tablespace);
    return len == h->tablespace_length ||
           (h->tablespace_length > TABLESPACE_BYTES && len == TABLESPACE_BYTES);
}

/* False with the sentence when header and block 0, or the header's own fields, disagree. */
static bool is_consistent(const struct datafile_header *h, const struct block_zero *zero,
                          struct manifest_entry *entry)
{
    const char *what = NULL;
    if (h->file.block_size != zero->block_size)
        what = "block size in the header differs from block 0";
    else if (h->file.blocks != zero->blocks)
        what = "number of blocks in the header differs from block 0";
    else if (h->file.file_no == 0 || h->rfile_no == 0 || h->rfile_no > BLOCK_BIGFILE_RFILE)
        what = "file number in the header is impossible";
    else if (!name_fits(h))
        what = "tablespace name and its length disagree";
    else if (scn_is_none(h->checkpoint_scn) || scn_less(h->checkpoint_scn, h->creation_scn))
        what = "checkpoint lies before the file's creation";
    if (!what)
        return true;
    entry->state = STATE_DAMAGED;
    str_copy(entry->why, sizeof entry->why, what);
    return false;
}

static bool is_usable(const struct datafile_header *h, struct manifest_entry *entry)
{
    const char *what = NULL;
    if (h->file.type == TYPE_UNFINISHED_DATAFILE)
        what = "its restore was not finished (file type 11)";
    else if (h->status & DATAFILE_RESETLOGS_UNFINISHED)
        what = "an open resetlogs was not finished on it (status 0x0200)";
    else if (h->status & DATAFILE_PROXY_COPY)
        what = "a proxy copy is in progress (status 0x1000)";
    if (!what)
        return true;
    entry->state = STATE_UNUSABLE;
    str_copy(entry->why, sizeof entry->why, what);
    return false;
}

void datafile_header_check(const uint8_t *block, const struct block_zero *zero,
                           struct manifest_entry *entry)
{
    entry->kind = FILE_DATAFILE;
    entry->order = zero->order;
    entry->block_size = zero->block_size;
    entry->blocks = zero->blocks;
    if (bytes_are_zero(block, zero->block_size)) {
        entry->state = STATE_IN_FLIGHT;
        str_copy(entry->why, sizeof entry->why, "its header block is not written yet");
        return;
    }
    struct datafile_header h;
    datafile_header_read(block, zero->order, &h);
    fill(entry, &h);
    struct block_header generic;
    struct block_place place = datafile_place(entry, 1);
    enum block_verdict verdict = block_verify(block, &place, 1, &generic);
    if (block_verdict_is_bad(verdict) || generic.type != HEADER_BLOCK_TYPE ||
        !file_type_is_datafile(h.file.type)) {
        entry->state = STATE_DAMAGED;
        str_format(entry->why, sizeof entry->why, "its header block is damaged: %s",
                   block_verdict_is_bad(verdict) ? block_verdict_text(verdict) : "type wrong");
        return;
    }
    if (!is_usable(&h, entry) || !is_consistent(&h, zero, entry))
        return;
    manifest_entry_check_size(entry);
}

struct block_place datafile_place(const struct manifest_entry *entry, uint64_t first_block_no)
{
    return (struct block_place){
        .order = entry->order,
        .block_size = entry->block_size,
        .rfile_no = entry->datafile.rfile_no,
        .first_block_no = first_block_no,
        .big_scn = compatible_has_big_scn(entry->compatible),
    };
}

void datafile_scan_note(struct manifest_entry *entry, const struct block_summary *summary)
{
    entry->datafile.scanned = true;
    entry->datafile.highest_block_scn = summary->highest_scn;
    entry->datafile.blocks_checked = summary->checked;
    entry->datafile.blocks_empty = summary->counts[BLOCK_EMPTY];
    entry->datafile.blocks_bad = summary->bad;
    entry->datafile.first_bad_block = summary->first_bad_block;
    /* Blocks Oracle marked itself are reported, but no damage of ours. */
    uint64_t damaged = summary->bad - summary->counts[BLOCK_MARKED_CORRUPT];
    if (damaged && entry->state == STATE_GOOD) {
        entry->state = STATE_DAMAGED;
        str_format(entry->why, sizeof entry->why,
                   "%" PRIu64 " of %" PRIu64 " blocks are damaged, the first bad one is %" PRIu64,
                   damaged, summary->checked, summary->first_bad_block);
    }
}

bool datafile_is_fuzzy(const struct manifest_entry *entry)
{
    return entry->datafile.status &
           (DATAFILE_HOT_BACKUP | DATAFILE_ONLINE_FUZZY | DATAFILE_MEDIA_FUZZY |
            DATAFILE_ABSOLUTELY_FUZZY | DATAFILE_PROXY_COPY | DATAFILE_STANDBY_FUZZY);
}

bool datafile_needs_end_backup(const struct manifest_entry *entry)
{
    return entry->datafile.status & DATAFILE_HOT_BACKUP;
}

bool datafile_needs_crash_recovery(const struct manifest_entry *entry)
{
    return entry->datafile.status & DATAFILE_ONLINE_FUZZY;
}

bool datafile_is_usable(const struct manifest_entry *entry)
{
    return entry->datafile.type != TYPE_UNFINISHED_DATAFILE &&
           !(entry->datafile.status & (DATAFILE_RESETLOGS_UNFINISHED | DATAFILE_PROXY_COPY));
}

bool datafile_is_suspect(const struct manifest_entry *entry)
{
    struct scn admitted =
        scn_max(entry->datafile.checkpoint_scn,
                scn_max(entry->datafile.absolute_fuzzy_scn, entry->datafile.recovery_fuzzy_scn));
    return entry->datafile.scanned && scn_less(admitted, entry->datafile.highest_block_scn);
}

/* UNTIL SCN is exclusive: to include a change the target is one more. 0 asks for nothing. */
static struct scn target_beyond(struct scn change)
{
    return change.n == 0 || scn_is_none(change) ? change : (struct scn){change.n + 1};
}

/* A bit asks for redo of which the header does not say how much; only the blocks can. In hot backup
 * even they only come near: the end is a marker in the redo. */
static bool hides_its_end(const struct manifest_entry *entry)
{
    struct scn fuzzy =
        scn_max(entry->datafile.absolute_fuzzy_scn, entry->datafile.recovery_fuzzy_scn);
    bool told = scn_less(entry->datafile.checkpoint_scn, fuzzy);
    return !entry->datafile.scanned && datafile_is_fuzzy(entry) &&
           (datafile_needs_end_backup(entry) || !told);
}

struct scn datafile_earliest_target(const struct manifest_entry *entry)
{
    if (hides_its_end(entry))
        return SCN_NONE;
    struct scn target = entry->datafile.checkpoint_scn;
    target = scn_max(target, target_beyond(entry->datafile.absolute_fuzzy_scn));
    target = scn_max(target, target_beyond(entry->datafile.recovery_fuzzy_scn));
    if (entry->datafile.scanned)
        target = scn_max(target, target_beyond(entry->datafile.highest_block_scn));
    return target;
}
