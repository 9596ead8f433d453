/* Fuzz target: a manifest; what is read can be written and read again. */
#include "agent/oracle/manifest.h"
#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(manifest) struct manifest *manifest = manifest_from_json((const char *)data, size, &err);
    AUTO(mem) char *text = manifest ? manifest_to_json(manifest, &err) : NULL;
    AUTO(manifest)
    struct manifest *again = text ? manifest_from_json(text, strlen(text), &err) : NULL;
    assert(!manifest || again);
    return 0;
}
