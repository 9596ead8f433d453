/* The block check: records of datafiles, one or more blocks each. */
#include "drivers/vault/check.h"

#include "agent/oracle/block.h"
#include "agent/oracle/fileheader.h"
#include <stddef.h>

enum { CHECK_RECORD_BYTES = 8192, LOG_BLOCK_MAX = 1024 };

/* Pieces of backups and files of other kinds have a block 0 like a datafile's, and blocks that
 * carry other addresses: block 1 says what the file is. While that is not written, nobody knows. */
static bool is_datafile(const uint8_t *head, const struct block_zero *zero)
{
    struct file_header header;
    file_header_read(head + zero->block_size + FILE_HEADER_AT, zero->order, &header);
    return file_type_is_datafile(header.type);
}

bool check_record(void *arg, const char *path, uint64_t size, const uint8_t *head, uint64_t record,
                  const uint8_t *bytes, struct err *why)
{
    struct block_zero zero;
    (void)arg;
    (void)path;
    if (!head || block_zero_read(head, CHECK_RECORD_BYTES, &zero) != BLOCK_ZERO_GOOD)
        return true;
    /* Logs have blocks of 512 or 1024 bytes and checks of their own; larger blocks span records. A
     * file that block 0 says is longer than it is, is still being written. */
    if (zero.block_size <= LOG_BLOCK_MAX || zero.block_size > CHECK_RECORD_BYTES ||
        head[1] != block_size_code(zero.block_size) || block_zero_file_size(&zero) > size ||
        !is_datafile(head, &zero))
        return true;
    uint64_t count = CHECK_RECORD_BYTES / zero.block_size;
    struct block_place place = {
        .order = zero.order, .block_size = zero.block_size, .first_block_no = record * count};
    for (uint64_t i = 0; i < count; i++) {
        struct block_header header;
        uint64_t block_no = place.first_block_no + i;
        if (block_no > zero.blocks)
            break;
        if (block_no == 0)
            continue;
        enum block_verdict verdict =
            block_verify(bytes + i * zero.block_size, &place, block_no, &header);
        if (block_verdict_is_bad(verdict))
            return err_set(why, ERR_CORRUPT, "block %llu: %s", (unsigned long long)block_no,
                           block_verdict_text(verdict));
    }
    return true;
}
