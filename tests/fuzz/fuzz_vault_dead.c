/* Fuzz target: a chunk of a dead list; what is told is what its head says. */
#include "drivers/vault/store/dead.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    const uint8_t *data;
    size_t size;
} input;

static bool read_chunk(void *arg, struct addr addr, struct bytes *ret, struct err *err)
{
    (void)arg;
    (void)addr;
    return bytes_add(ret, input.data, input.size, err);
}

static bool count(void *arg, struct addr addr, uint64_t birth, struct err *err)
{
    uint64_t *told = arg;
    assert(birth > 0 && addr.frame < FRAMES_MAX && addr.item < FRAME_ITEMS);
    if (++*told > 100000)
        return err_set(err, ERR_LIMIT, "enough");
    return true;
}

/* The head's births and items first, then the chunk. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct dead_chunk chunk = {0};
    struct dead_list list = {.chunks = &chunk, .count = 1};
    struct map_source source = {.node = read_chunk};
    uint64_t told = 0;
    if (size < 6)
        return 0;
    chunk.birth_min = data[0];
    chunk.birth_max = data[1];
    memcpy(&chunk.items, data + 2, 4);
    input.data = data + 6;
    input.size = size - 6;
    if (dead_walk(&source, &list, 0, UINT64_MAX, count, &told, &err))
        assert(chunk.birth_max == 0 || told == chunk.items);
    else
        assert(err.code == ERR_LIMIT || (err.code == ERR_CORRUPT && told == 0));
    return 0;
}
