/* Redo logs: the header, and the full check that decides whether an archived log counts. */
#pragma once
#include "agent/oracle/block.h"
#include "agent/oracle/fileheader.h"
#include "agent/oracle/manifest.h"

enum {
    REDO_BLOCK_MAX = 4096,
    REDO_HEADER_BYTES = 512,
    REDO_MOMENTS_MAX = 64,
};

struct redo_header {
    struct file_header file; /* file_no is the group */
    uint32_t sequence;
    char description[65];
    uint32_t next_block; /* blocks used, block 0 included; UINT32_MAX while the log is current */
    uint32_t resetlogs_id, prior_resetlogs_id;
    struct scn resetlogs_scn, prior_resetlogs_scn;
    uint16_t thread;
    struct scn first_scn, next_scn; /* next is SCN_NONE while open */
    uint32_t first_time, next_time;
    bool end_of_thread;
    struct scn enabled_scn, closed_scn; /* of the thread */
    uint32_t flags;
};
/* block holds at least REDO_HEADER_BYTES of block 1. */
void redo_header_read(const uint8_t *block, enum byte_order order, struct redo_header *ret_header);
/* True when block 1 looks like a log's, for telling kinds apart. */
bool redo_header_fits(const uint8_t *block, const struct block_zero *zero);
/* Fills kind, header facts, state and why from a whole block 1; entry->size must be set. GOOD says
 * nothing of the blocks behind it. */
void redo_header_check(const uint8_t *block, const struct block_zero *zero,
                       struct manifest_entry *entry);

/* Why a block of a log is not what it must be. */
enum redo_fault {
    REDO_FAULT_NONE,
    REDO_FAULT_ZERO, /* never written */
    REDO_FAULT_FORMAT,
    REDO_FAULT_NUMBER,   /* another block's number */
    REDO_FAULT_SEQUENCE, /* old content of a reused file */
    REDO_FAULT_CHECKSUM,
    REDO_FAULT_COUNT,
};

/* A check under way, in place; no allocation until finish. Fields are the room's own. */
struct redo_check {
    uint64_t file_size, fed;
    uint8_t carry[REDO_BLOCK_MAX];
    size_t carried;
    bool knows_zero, knows_header, refused;
    struct block_zero zero;
    uint32_t sequence;
    uint64_t end_block; /* first block not judged */
    uint64_t block_no;  /* of the next block */
    uint64_t bad, first_bad, unverifiable;
    enum redo_fault first_fault;
    bool mixed_faults;
    struct scn first_scn, next_scn;
    struct log_moment moments[REDO_MOMENTS_MAX], last_moment;
    size_t moment_count;
    uint64_t moments_seen, moment_stride;
    struct manifest_entry entry; /* header facts; owns nothing */
    /* Hears of every moment, not only of those kept; set after init, may be NULL. */
    void (*on_moment)(void *arg, const struct log_moment *moment);
    void *arg;
};

void redo_check_init(struct redo_check *check, uint64_t file_size);
/* The file's bytes in order, in pieces of any size. */
void redo_check_feed(struct redo_check *check, const void *bytes, size_t len);
/* Fills kind, state, why, header facts, unverifiable and moments (owned) of the entry; its path and
 * mtime stay. GOOD means the log counts. False with NO_MEMORY only. */
bool redo_check_finish(struct redo_check *check, struct manifest_entry *entry, struct err *err)
    MUST;
