/* The header all Oracle files share (kccfh): whose it is, how large, and of which type. */
#include "agent/oracle/fileheader.h"

#include "agent/base/str.h"
#include "agent/oracle/bytes.h"

/* Offsets from the header's start; seen in real datafile, control file and redo headers. */
enum {
    AT_COMPATIBLE = 4,
    AT_DBID = 8,
    AT_DB_NAME = 12,
    AT_CONTROL_SEQUENCE = 20,
    AT_BLOCKS = 24,
    AT_BLOCK_SIZE = 28,
    AT_FILE_NO = 32,
    AT_TYPE = 34,
    AT_ACTIVATION = 36,
    AT_TAG = 44, /* RMAN's tag: published field list, no bytes seen */
    DB_NAME_BYTES = 8,
    TAG_BYTES = 32,
    MAJOR_PLAIN = 18, /* from 18c on the bytes are plain numbers (OpenLogReplicator) */
};
static const uint32_t big_scn_from = 0x0c200000; /* 12.2.0.0; 12.1 has at most 0x0c100200 */

void file_header_read(const uint8_t *at, enum byte_order order, struct file_header *ret_header)
{
    struct file_header h = {
        .compatible = bytes_u4(at + AT_COMPATIBLE, order),
        .dbid = bytes_u4(at + AT_DBID, order),
        .control_sequence = bytes_u4(at + AT_CONTROL_SEQUENCE, order),
        .blocks = bytes_u4(at + AT_BLOCKS, order),
        .block_size = bytes_u4(at + AT_BLOCK_SIZE, order),
        .file_no = bytes_u2(at + AT_FILE_NO, order),
        .type = bytes_u2(at + AT_TYPE, order),
        .activation = bytes_u4(at + AT_ACTIVATION, order),
    };
    bytes_name(at + AT_DB_NAME, DB_NAME_BYTES, h.db_name);
    bytes_name(at + AT_TAG, TAG_BYTES, h.tag);
    *ret_header = h;
}

void compatible_format(uint32_t compatible, char ret[20])
{
    unsigned major = compatible >> 24;
    unsigned second = compatible >> 16 & 0xff;
    unsigned third = compatible >> 8 & 0xff;
    if (compatible == 0)
        str_copy(ret, 20, "-");
    else if (major >= MAJOR_PLAIN)
        str_format(ret, 20, "%u.%u.%u.%u", major, second, third, compatible & 0xff);
    else
        str_format(ret, 20, "%u.%u.%u.%u", major, second >> 4, second & 15, third);
}

bool compatible_has_big_scn(uint32_t compatible) { return compatible >= big_scn_from; }

bool file_type_is_datafile(uint16_t type)
{
    return type == TYPE_DATAFILE || type == TYPE_DATAFILE_COPY || type == TYPE_UNFINISHED_DATAFILE;
}
