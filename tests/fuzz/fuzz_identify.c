/* Fuzz target: the beginning of any file; size and name come from the first byte. */
#include "agent/oracle/describe.h"
#include "agent/oracle/identify.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest_entry entry = {0};
    AUTO(str) struct str out = {0};
    uint64_t more = size ? (uint64_t)data[0] << data[0] % 32 : 0;
    if (size)
        oracle_identify(data + 1, size - 1, size - 1 + more, data[0] & 1 ? "a/.b" : "b", &entry);
    oracle_describe(&entry, &out);
    return 0;
}
