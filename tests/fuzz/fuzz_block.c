/* Fuzz target: blocks of any size and place. */
#include "agent/oracle/block.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct block_summary summary;
    if (size < 2)
        return 0;
    struct block_place place = {.order = data[0] & 1 ? ORDER_BIG : ORDER_LITTLE,
                                .block_size = BLOCK_SIZE_MIN << (data[0] >> 1) % 7,
                                .rfile_no = data[1] == 0xff ? BLOCK_BIGFILE_RFILE : data[1],
                                .big_scn = data[0] & 0x80};
    struct block_zero zero;
    summary = (struct block_summary){0};
    if (block_zero_read(data + 2, size - 2, &zero) == BLOCK_ZERO_GOOD)
        place.block_size = zero.block_size;
    block_verify_run(data + 2, (size - 2) / place.block_size, &place, &summary, NULL, NULL);
    return 0;
}
