/* Datafile headers (kcvfh, block 1): what a file is, and from which SCN on it can be recovered. */
#pragma once
#include "agent/oracle/block.h"
#include "agent/oracle/fileheader.h"
#include "agent/oracle/manifest.h"

enum { DATAFILE_HEADER_BYTES = 512 }; /* all fields read here lie within */

/* kcvfhsta bits: published notes on Oracle's internals; 0x0004 and 0x2000 seen in real headers. */
enum datafile_status {
    DATAFILE_HOT_BACKUP = 0x0001,
    DATAFILE_ONLINE_FUZZY = 0x0004,
    DATAFILE_MEDIA_FUZZY = 0x0010,
    DATAFILE_ABSOLUTELY_FUZZY = 0x0040,
    DATAFILE_BAD_CHECKPOINT = 0x0100,
    DATAFILE_RESETLOGS_UNFINISHED = 0x0200,
    DATAFILE_PROXY_COPY = 0x1000,
    DATAFILE_BOOTSTRAP = 0x2000, /* always set on file 1 */
    DATAFILE_STANDBY_FUZZY = 0x4000,
    DATAFILE_LEVEL_0 = 0x8000,
};

struct datafile_header {
    struct file_header file;
    struct scn creation_scn;
    uint32_t creation_time;
    uint32_t resetlogs_id, prior_resetlogs_id;
    struct scn resetlogs_scn, prior_resetlogs_scn;
    uint32_t begin_backup_time;
    struct scn begin_backup_scn;
    uint16_t status;
    uint32_t ts_no, rfile_no;
    uint16_t tablespace_length; /* as stored; may exceed the 30 bytes kept, from 12.2 on */
    char tablespace[31];
    struct scn recovery_fuzzy_scn, absolute_fuzzy_scn;
    uint32_t completion_time;
    struct scn checkpoint_scn;
    uint32_t checkpoint_time, checkpoint_count;
    uint16_t checkpoint_thread;
    uint32_t checkpoint_sequence, checkpoint_block_no;
};
/* block holds at least DATAFILE_HEADER_BYTES. Takes what it finds; judging is the next function. */
void datafile_header_read(const uint8_t *block, enum byte_order order,
                          struct datafile_header *ret_header);

/* Fills kind DATAFILE, header facts, state and why from a whole block 1; entry->size must be set.
 * Checks the block itself, its agreement with block 0, type, status, and the file's length. */
void datafile_header_check(const uint8_t *block, const struct block_zero *zero,
                           struct manifest_entry *entry);

/* Where a scan of that file stands at a block. */
struct block_place datafile_place(const struct manifest_entry *entry, uint64_t first_block_no);
/* Keeps the outcome of a full scan; a bad block makes a good file damaged. */
void datafile_scan_note(struct manifest_entry *entry, const struct block_summary *summary);

/* Predicates on a datafile's entry. Clear bits prove nothing: RMAN clears them in hot copies. */
bool datafile_is_fuzzy(const struct manifest_entry *entry); /* any bit that asks for more redo */
bool datafile_needs_end_backup(const struct manifest_entry *entry);     /* 0x0001 */
bool datafile_needs_crash_recovery(const struct manifest_entry *entry); /* 0x0004: an OS copy */
bool datafile_is_usable(const struct manifest_entry *entry); /* not type 11, 0x0200, 0x1000 */
/* A scan saw a block newer than the header admits: an interrupted merge. */
bool datafile_is_suspect(const struct manifest_entry *entry);
/* Smallest UNTIL SCN (exclusive) the file allows by its header and scan; SCN_NONE when unknown: a
 * fuzzy bit without a fuzzy SCN, and no scan. */
struct scn datafile_earliest_target(const struct manifest_entry *entry);
