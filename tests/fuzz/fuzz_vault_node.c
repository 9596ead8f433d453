/* Fuzz target: a map's node; what is read has one encoding. */
#include "drivers/vault/store/map.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(node) struct node node;
    AUTO(bytes) struct bytes again = {0};
    if (!node_decode(data, size, &node, &err)) {
        assert(err.code == ERR_CORRUPT && node.patterns == NULL);
        return 0;
    }
    bool encoded = node_encode(&node, &again, &err);
    assert(encoded && again.len == size && memcmp(again.data, data, size) == 0);
    return 0;
}
