/* Packs of a map test, in memory. */
#include "tests/lib/map_memory.h"

void map_memory_done(struct map_memory *memory)
{
    for (size_t i = 0; i < memory->pack_count; i++) {
        for (size_t k = 0; memory->packs[i].nodes && k < memory->packs[i].count; k++)
            bytes_done(&memory->packs[i].nodes[k]);
        own_free(memory->packs[i].nodes);
        own_free(memory->packs[i].hashes);
    }
    own_free(memory->packs);
    own_free(memory->deaths);
    *memory = (struct map_memory){0};
}

bool map_memory_generation(struct map_memory *memory, struct err *err)
{
    for (int i = 0; i < 2; i++) {
        if (!own_grow((void **)&memory->packs, &memory->pack_capacity, memory->pack_count,
                      sizeof *memory->packs, err))
            return false;
        memory->packs[memory->pack_count++] = (struct map_memory_pack){0};
    }
    return true;
}

static bool disturbed(struct map_memory *memory, struct err *err)
{
    if (memory->fail == 0 || --memory->fail > 0)
        return false;
    err_set(err, ERR_IO, "as the test wished");
    return true;
}

static struct addr addr_of(size_t pack, size_t n)
{
    return (struct addr){(uint32_t)pack, (uint32_t)(n / FRAME_ITEMS), (uint8_t)(n % FRAME_ITEMS)};
}

static struct map_memory_pack *pack_of(struct map_memory *memory, struct addr addr, size_t *ret_n)
{
    *ret_n = (size_t)addr.frame * FRAME_ITEMS + addr.item;
    if ((memory->sealing > 0 && addr.pack >= memory->sealing) || addr.pack >= memory->pack_count ||
        *ret_n >= memory->packs[addr.pack].count)
        return NULL;
    return &memory->packs[addr.pack];
}

bool map_memory_record(struct map_memory *memory, const struct hash *hash, struct addr *ret,
                       struct err *err)
{
    size_t number = memory->pack_count - 2;
    struct map_memory_pack *pack = &memory->packs[number];
    if (!own_grow((void **)&pack->hashes, &pack->capacity, pack->count, sizeof *pack->hashes, err))
        return false;
    *ret = addr_of(number, pack->count);
    pack->hashes[pack->count++] = *hash;
    return true;
}

bool map_memory_put(void *arg, const struct bytes *chunk, struct addr *ret_addr, struct err *err)
{
    struct map_memory *memory = arg;
    size_t number = memory->pack_count - 1;
    struct map_memory_pack *pack = &memory->packs[number];
    struct bytes copy = {0};
    if (disturbed(memory, err) ||
        !own_grow((void **)&pack->nodes, &pack->capacity, pack->count, sizeof *pack->nodes, err) ||
        !bytes_add(&copy, chunk->data, chunk->len, err))
        return false;
    *ret_addr = addr_of(number, pack->count);
    pack->nodes[pack->count++] = copy;
    memory->nodes_written++;
    memory->node_bytes += chunk->len;
    return true;
}

static bool read_node(void *arg, struct addr addr, struct bytes *ret, struct err *err)
{
    struct map_memory *memory = arg;
    size_t n;
    const struct map_memory_pack *pack = pack_of(memory, addr, &n);
    memory->nodes_read++;
    if (disturbed(memory, err))
        return false;
    if (!pack || !pack->nodes)
        return err_set(err, ERR_CORRUPT, "no node at %u/%u/%u", addr.pack, addr.frame, addr.item);
    return bytes_add(ret, pack->nodes[n].data, pack->nodes[n].len, err);
}

static bool read_hash(void *arg, struct addr addr, struct hash *ret, struct err *err)
{
    struct map_memory *memory = arg;
    size_t n;
    const struct map_memory_pack *pack = pack_of(memory, addr, &n);
    memory->hashes_read++;
    if (disturbed(memory, err))
        return false;
    if (!pack || !pack->hashes)
        return err_set(err, ERR_CORRUPT, "no record at %u/%u/%u", addr.pack, addr.frame, addr.item);
    *ret = pack->hashes[n];
    return true;
}

static bool died(void *arg, struct addr addr, uint64_t birth, struct err *err)
{
    struct map_memory *memory = arg;
    if (disturbed(memory, err) || !own_grow((void **)&memory->deaths, &memory->death_capacity,
                                            memory->death_count, sizeof *memory->deaths, err))
        return false;
    memory->deaths[memory->death_count++] = (struct map_memory_death){addr, birth};
    return true;
}

struct map_source map_memory_source(struct map_memory *memory)
{
    return (struct map_source){.node = read_node, .record_hash = read_hash, .arg = memory};
}

struct map_sink map_memory_sink(struct map_memory *memory)
{
    return (struct map_sink){.node = map_memory_put, .dead = died, .arg = memory};
}
