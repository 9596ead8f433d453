/* The header all Oracle files share (kccfh): whose it is, how large, and of which type. */
#pragma once
#include "agent/oracle/scn.h"

enum {
    FILE_HEADER_AT = 20,      /* in block 1 of all but redo logs */
    FILE_HEADER_AT_REDO = 16, /* their block header is shorter */
    FILE_HEADER_BYTES = 76,
};

/* kccfhtyp; 1, 2 and 3 seen, the rest from published notes on Oracle's internals. */
enum file_type {
    TYPE_CONTROLFILE = 1,
    TYPE_LOG = 2, /* archived copies keep it */
    TYPE_DATAFILE = 3,
    TYPE_BACKUP_CONTROLFILE = 4,
    TYPE_BACKUP_PIECE = 5,
    TYPE_TEMPFILE = 6,
    TYPE_TRACKING = 7,
    TYPE_FLASHBACK_LOG = 8,
    TYPE_ARCHIVED_LOG = 9,
    TYPE_DATAFILE_COPY = 10, /* whether RMAN's copies carry 3 or 10 is not known: both are read */
    TYPE_UNFINISHED_DATAFILE = 11,
    TYPE_FOREIGN_LOG = 12,
};

struct file_header {
    uint32_t compatible; /* COMPATIBLE when the header was last written, not the release */
    uint32_t dbid;
    char db_name[9];
    uint32_t control_sequence;
    uint32_t blocks; /* without block 0 */
    uint32_t block_size;
    uint16_t file_no;
    uint16_t type;
    uint32_t activation;
    char tag[33];
};
/* at points to FILE_HEADER_BYTES readable bytes. */
void file_header_read(const uint8_t *at, enum byte_order order, struct file_header *ret_header);

/* Also copies, and those that a restore has not finished. */
bool file_type_is_datafile(uint16_t type);

/* "19.0.0.0", "11.2.0.4" from the packed number; "-" for 0. */
void compatible_format(uint32_t compatible, char ret[20]);
/* From 12.2 on SCNs are wider and block headers carry a third part. */
bool compatible_has_big_scn(uint32_t compatible);
