/* Fuzz target: a datafile header beside a block 0, and what is promised from it. */
#include "agent/oracle/datafile.h"
#include "agent/oracle/describe.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct block_zero zero;
    if (block_zero_read(data, size, &zero) != BLOCK_ZERO_GOOD || size < 2 * (size_t)zero.block_size)
        return 0;
    struct manifest_entry entry = {.size = size};
    AUTO(str) struct str out = {0};
    datafile_header_check(data + zero.block_size, &zero, &entry);
    oracle_describe(&entry, &out);
    return 0;
}
