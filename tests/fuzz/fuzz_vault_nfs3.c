/* Fuzz target: arguments of NFSv3 calls. The first byte is the procedure. */
#include "drivers/vault/nfs/nfs3_args.h"

#include "agent/base/own.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct nfs3_text *text, const uint8_t *bytes, size_t len, size_t max)
{
    if (!text->text)
        return;
    const char *end = (const char *)bytes + len;
    assert(text->text >= (const char *)bytes && text->text < end);
    size_t there = strnlen(text->text, (size_t)(end - text->text));
    assert(text->text + there < end);
    assert(text->wrong || (there > 0 && there <= max));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { NAME_MAX_BYTES = 255, MODE_BITS = 07777 };
    struct err err = {0};
    struct nfs3_args args;
    if (size < 1)
        return 0;
    /* In memory of its own, so that a byte beyond is seen. */
    AUTO(mem) uint8_t *bytes = own_alloc(size, &err);
    assert(bytes);
    memcpy(bytes, data + 1, size - 1);
    AUTO(mem) uint8_t *exact = size > 1 ? own_realloc(TAKE(bytes), size - 1, &err) : TAKE(bytes);
    if (!nfs3_args_decode(data[0] % (NFS3_PROCEDURES + 1), exact, size - 1, &args))
        return 0;
    for (int i = 0; i < 2; i++)
        check_text(&args.name[i], exact, size - 1, NAME_MAX_BYTES);
    check_text(&args.target, exact, size - 1, NFS3_TARGET_MAX);
    assert(!args.data || (args.data >= exact && args.data + args.data_len <= exact + size - 1));
    assert(args.set.mode <= MODE_BITS);
    return 0;
}
