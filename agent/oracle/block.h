/* Oracle blocks: block 0, the generic header and tail, and verification in dbverify's order. */
#pragma once
#include "agent/oracle/scn.h"
#include <stdbool.h>
#include <stddef.h>

enum {
    BLOCK_SIZE_MIN = 512,
    BLOCK_SIZE_MAX = 32768,
    BLOCK_ZERO_BYTES = 64,      /* enough of block 0 to read it */
    BLOCK_BIGFILE_RFILE = 1024, /* kcvfhrfn of a bigfile tablespace (real 11.2.0.4 header) */
    BLOCK_FAULTS_KEPT = 100,
};

/* Block 0: written by Oracle for the file system's sake, not protected by RMAN. */
struct block_zero {
    enum byte_order order;
    uint32_t block_size;
    uint32_t blocks; /* without block 0 */
};
enum block_zero_verdict {
    BLOCK_ZERO_GOOD,
    BLOCK_ZERO_ABSENT,       /* no such block here */
    BLOCK_ZERO_OLD,          /* the layout used before 10g */
    BLOCK_ZERO_INCONSISTENT, /* the mark is there, size and size code make no sense */
};
/* Any len is safe; fewer than BLOCK_ZERO_BYTES are ABSENT. ret_zero is set when GOOD. */
enum block_zero_verdict block_zero_read(const uint8_t *bytes, size_t len,
                                        struct block_zero *ret_zero);
/* Checksum and address of a whole block 0. */
bool block_zero_is_intact(const uint8_t *bytes, const struct block_zero *zero);
/* Bytes the file must have by block 0. */
uint64_t block_zero_file_size(const struct block_zero *zero);
/* The second byte of every block: 0x22 for 512 up to 0xe2 for 32768; 0 for any other size. */
uint8_t block_size_code(uint32_t block_size);

/* XOR of all 16-bit words, the stored checksum included: 0 when right. len must be even. */
uint16_t block_fold(const uint8_t *bytes, size_t len);
uint16_t block_fold_portable(const uint8_t *bytes, size_t len); /* the same, word by word */
/* Test hook: which of the twins block_fold uses. */
enum block_fold_way { BLOCK_FOLD_BEST, BLOCK_FOLD_VEC16, BLOCK_FOLD_PORTABLE };
void block_test_fold(enum block_fold_way way);

/* kcbh, the 20 bytes every block of a datafile begins with, and the last four. */
struct block_header {
    uint8_t type, format, sequence, flags;
    uint16_t checksum;
    uint32_t rdba;
    uint32_t tail;
    struct scn scn; /* of the last change */
};
/* big_scn: the file was written at compatible 12.2 or later, the SCN has a third part. */
void block_header_read(const uint8_t *block, uint32_t block_size, enum byte_order order,
                       bool big_scn, struct block_header *ret_header);
uint32_t block_tail_expected(const struct block_header *header);

enum block_verdict {
    BLOCK_GOOD,
    BLOCK_EMPTY,       /* all zero: never used */
    BLOCK_UNFORMATTED, /* has a header, type 0 */
    BLOCK_NO_CHECKSUM, /* structure right, no checksum was kept */
    BLOCK_MISPLACED,   /* carries another block's address, or none */
    BLOCK_BAD_FORMAT,
    BLOCK_MARKED_CORRUPT, /* by Oracle itself: no transport damage */
    BLOCK_FRACTURED,      /* head and tail come from different writes */
    BLOCK_BAD_CHECKSUM,
    BLOCK_VERDICT_COUNT,
};
const char *block_verdict_text(enum block_verdict verdict); /* "checksum wrong" */
const char *block_verdict_name(enum block_verdict verdict); /* "bad_checksum", in JSON */
bool block_verdict_is_bad(enum block_verdict verdict);      /* from MISPLACED on */

/* Where a run of blocks was read from. */
struct block_place {
    enum byte_order order;
    uint32_t block_size;
    uint32_t rfile_no;       /* 0 unknown: only the block number is compared; 1024 bigfile */
    uint64_t first_block_no; /* 0 is judged as block 0 */
    bool big_scn;
};

struct block_fault {
    uint64_t block_no;
    enum block_verdict verdict;
    struct block_header header;
    uint16_t computed; /* what the checksum should be */
};

/* Adds up over any number of runs. Start with {0}. */
struct block_summary {
    uint64_t checked;
    uint64_t counts[BLOCK_VERDICT_COUNT];
    struct scn highest_scn; /* of blocks that are not bad */
    uint64_t highest_block_no;
    uint64_t first_bad_block; /* 0 while bad is 0 */
    uint64_t bad;
    struct block_fault faults[BLOCK_FAULTS_KEPT]; /* the first ones of those seen */
    size_t fault_count;
};

/* One block. ret_header is always filled. */
enum block_verdict block_verify(const uint8_t *block, const struct block_place *place,
                                uint64_t block_no, struct block_header *ret_header);
/* count whole blocks in one pass; on_bad (may be NULL) hears of every bad one. The place's block
 * size must be one that block_size_code knows. */
void block_verify_run(const uint8_t *bytes, uint64_t count, const struct block_place *place,
                      struct block_summary *summary,
                      void (*on_bad)(const struct block_fault *fault, void *context),
                      void *context);
/* Adds the part to the total, for files read by several workers. */
void block_summary_add(struct block_summary *total, const struct block_summary *part);
