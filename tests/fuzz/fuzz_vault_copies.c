/* Fuzz target: what a second store has, under a sum that is right. What is read is written the
 * same. */
#include "drivers/vault/store/copies.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED = 5, FAMILY = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(bytes) struct bytes bytes = {0}, again = {0};
    AUTO(copies_of) struct copies_of copies = {0};
    if (!bytes_add(&bytes, data, size, &err) ||
        !bytes_u64(&bytes, format_sum(SEED, bytes.data, bytes.len), &err) ||
        !copies_decode(bytes.data, bytes.len, FAMILY, SEED, &copies, &err))
        return 0;
    assert(copies_encode(&copies, FAMILY, SEED, &again, &err));
    assert(again.len == bytes.len && memcmp(again.data, bytes.data, bytes.len) == 0);
    return 0;
}
