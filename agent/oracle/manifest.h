/* The manifest: what the bytes in a snapshot say. Derived by reading it; can always be made again.
 */
#pragma once
#include "agent/base/own.h"
#include "agent/oracle/scn.h"

/* What a file is, by its content and never by its name. */
enum file_kind {
    FILE_UNKNOWN, /* none of the below */
    FILE_EMPTY,   /* zero length */
    FILE_TEXT,
    FILE_DATAFILE,     /* an image copy or a datafile */
    FILE_ARCHIVED_LOG, /* closed redo log */
    FILE_ONLINE_LOG,   /* redo log without a next SCN, or not cut to its end: never counted */
    FILE_CONTROLFILE,  /* raw */
    FILE_BACKUP_PIECE,
    FILE_SPFILE,
    FILE_TEMPFILE,
    FILE_TRACKING,
    FILE_FLASHBACK_LOG,
    FILE_DUMP,     /* Data Pump */
    FILE_EXP_DUMP, /* original exp */
    FILE_PASSWORD,
    FILE_OLD_ORACLE, /* made before 10g: not supported */
    FILE_KIND_COUNT,
};
const char *file_kind_text(enum file_kind kind); /* "archived log" */
const char *file_kind_name(enum file_kind kind); /* "archived_log", in JSON */

/* Whether a file counts for recovery, and if not, why. */
enum file_state {
    STATE_GOOD,      /* header (and for a log: every block) is as it must be */
    STATE_IN_FLIGHT, /* dot file, or whole blocks are missing: still being written or cut */
    STATE_TRUNCATED, /* ends inside a block */
    STATE_DAMAGED,   /* checksum, tail, number or sequence wrong */
    STATE_OPEN,      /* a log that is not closed, or an online log's file */
    STATE_FOREIGN,   /* another database's dbid */
    STATE_OTHER_INCARNATION,
    STATE_UNUSABLE,   /* type 11, status 0x0200 or 0x1000 */
    STATE_UNREADABLE, /* input/output error while reading */
    STATE_OTHER,      /* no Oracle file */
    FILE_STATE_COUNT,
};
const char *file_state_text(enum file_state state); /* "still being written" */
const char *file_state_name(enum file_state state);

/* SCN and time of a point inside a log (an LWN's header). */
struct log_moment {
    struct scn scn;
    uint32_t time; /* header time */
};

struct manifest_entry {
    char *path;    /* relative to the area, no leading slash; bytes, not UTF-8 by force; owned */
    uint64_t size; /* bytes */
    uint64_t mtime_us;
    enum file_kind kind;
    enum file_state state;
    char why[160]; /* one sentence when the state is not good */

    enum byte_order order;
    uint32_t block_size;
    uint64_t blocks; /* as the header says, without block 0 */
    uint32_t dbid;
    char db_name[9];
    uint32_t compatible;
    uint32_t resetlogs_id;
    struct scn resetlogs_scn;
    struct scn prior_resetlogs_scn;
    uint32_t prior_resetlogs_id;

    struct { /* FILE_DATAFILE */
        uint32_t file_no, rfile_no, ts_no;
        char tablespace[31];
        struct scn creation_scn, checkpoint_scn, absolute_fuzzy_scn, recovery_fuzzy_scn;
        uint32_t checkpoint_time, checkpoint_count;
        uint32_t checkpoint_thread, checkpoint_sequence;
        uint16_t status; /* kcvfhsta */
        uint16_t type;   /* kccfhtyp */
        char tag[33];
        /* Filled by a full block scan only; scanned says whether. */
        bool scanned;
        struct scn highest_block_scn;
        uint64_t blocks_checked, blocks_empty, blocks_bad, first_bad_block;
    } datafile;
    struct { /* FILE_ARCHIVED_LOG, FILE_ONLINE_LOG */
        uint32_t thread, sequence, activation;
        struct scn first_scn, next_scn;
        uint32_t first_time, next_time;
        bool end_of_thread;
        uint64_t unverifiable;      /* blocks without checksum */
        struct log_moment *moments; /* thinned to at most 64, ascending; owned */
        size_t moment_count;
    } log;
};

struct manifest {
    uint64_t made_us;               /* UTC */
    bool blocks_scanned;            /* every datafile was read block by block */
    struct manifest_entry *entries; /* owned, sorted by path */
    size_t count, capacity;
};

struct manifest *manifest_new(struct err *err) MUST;
void manifest_free(struct manifest *manifest);
OWN_DEFINE(manifest, struct manifest, manifest_free);

/* Appends a zeroed entry of that path (copied). The pointer is valid until the next add. */
struct manifest_entry *manifest_add(struct manifest *manifest, const char *path, struct err *err)
    MUST;
void manifest_sort(struct manifest *manifest);
/* The entry of that path in a sorted manifest; NULL when there is none, or no manifest. */
const struct manifest_entry *manifest_find(const struct manifest *manifest, const char *path);
/* Marks foreign and other-incarnation entries, once dbid and resetlogs ancestry are known.
 * Incarnations: resetlogs ids of the database's own chain; with none given they are not judged. */
void manifest_judge(struct manifest *manifest, uint32_t dbid, const uint32_t *resetlogs_ids,
                    size_t resetlogs_count);
/* JSON, for the catalog and for people. Paths that are not UTF-8 go as {"path_hex": ...}. */
char *manifest_to_json(const struct manifest *manifest, struct err *err) MUST;
struct manifest *manifest_from_json(const char *text, size_t len, struct err *err) MUST;
/* State of an entry whose header is good, by its size: GOOD, or IN_FLIGHT when whole blocks are
 * missing, TRUNCATED when it ends inside a block; a log may not be longer either. */
void manifest_entry_check_size(struct manifest_entry *entry);
/* Removes a released entry's contents; for builders that give up on one. */
void manifest_entry_done(struct manifest_entry *entry);
