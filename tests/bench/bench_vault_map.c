/* Figures: a map of a 1 TiB file that ages 50 generations, 2 % of its records changed in each. */
#include "tests/lib/map_memory.h"
#include "tests/lib/random.h"
#include <zstd.h>

/* 16 GiB of the file are in use, so that all fits in memory; a leaf costs the same anywhere. */
enum { USED = 1 << 21, GENERATIONS = 50, PERCENT = 2 };
static const uint64_t SIZE = (uint64_t)1 << 40;

struct aged {
    struct map_memory memory;
    struct bytes frame;
    size_t in_frame;
    uint64_t raw, packed;
    char out[1 << 18];
};
static struct aged aged;

static bool press_frame(void)
{
    size_t len = ZSTD_compress(aged.out, sizeof aged.out, aged.frame.data, aged.frame.len, 1);
    if (ZSTD_isError(len))
        return false;
    aged.raw += aged.frame.len;
    aged.packed += len;
    aged.frame.len = aged.in_frame = 0;
    return true;
}

/* Nodes go 16 to a frame, as a seal writes them. */
static bool put_node(void *arg, const struct bytes *encoded, struct addr *ret_addr, struct err *err)
{
    (void)arg;
    if ((aged.in_frame == FRAME_ITEMS || aged.frame.len + encoded->len > FRAME_RAW_MAX) &&
        !press_frame())
        return err_set(err, ERR_INTERNAL, "zstd");
    aged.in_frame++;
    return bytes_add(&aged.frame, encoded->data, encoded->len, err) &&
           map_memory_put(&aged.memory, encoded, ret_addr, err);
}

static bool dead(void *arg, struct addr addr, uint64_t birth, struct err *err)
{
    (void)arg;
    (void)birth;
    (void)err;
    struct map_memory_pack *pack = &aged.memory.packs[addr.pack];
    if (pack->nodes)
        bytes_done(&pack->nodes[addr.frame * FRAME_ITEMS + addr.item]);
    return true;
}

static bool generation(struct rnd *rnd, struct root *root, uint64_t birth, unsigned percent,
                       uint64_t *ret_changed, struct err *err)
{
    struct map_source source = map_memory_source(&aged.memory);
    struct map_sink sink = {.node = put_node, .dead = dead};
    AUTO(map_update)
    struct map_update *update = map_update_begin(&source, &sink, root, birth, err);
    if (!update || !map_memory_generation(&aged.memory, err))
        return false;
    for (uint64_t record = 0; record < USED; record++) {
        struct map_change change = {.record = record, .kind = PLACE_STORED};
        if (percent < 100 && !rnd_chance(rnd, percent))
            continue;
        uint64_t content = rnd_next(rnd);
        for (size_t i = 0; i < 8; i++)
            change.hash.bytes[i] = (uint8_t)(content >> (8 * i));
        if (!map_memory_record(&aged.memory, &change.hash, &change.addr, err) ||
            !map_update_set(update, &change, err))
            return false;
        ++*ret_changed;
    }
    return map_update_end(TAKE(update), SIZE, root, err) && press_frame();
}

static bool count_items(void *arg, int level, uint64_t first_record, struct addr addr,
                        uint64_t birth, struct err *err)
{
    (void)level;
    (void)first_record;
    (void)addr;
    (void)birth;
    (void)err;
    ++*(uint64_t *)arg;
    return true;
}

/* The processor's time of this process: whoever else runs beside it is not measured. */
static uint64_t cpu_us(void)
{
    struct timespec t;
    IGNORE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)); /* always there */
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool run(struct err *err)
{
    struct rnd rnd = {42};
    struct root root = {0};
    uint64_t changed = 0, items = 0, spent = 0;
    if (!generation(&rnd, &root, 1, 100, &changed, err))
        return false;
    printf("map_first_bytes_per_record %.3f\n", (double)aged.packed / (double)changed);
    for (uint64_t birth = 2; birth <= GENERATIONS; birth++) {
        changed = aged.raw = aged.packed = aged.memory.nodes_written = 0;
        uint64_t begun = cpu_us();
        if (!generation(&rnd, &root, birth, PERCENT, &changed, err))
            return false;
        spent = cpu_us() - begun;
    }
    printf("map_nodes_s %.0f\n", (double)aged.memory.nodes_written / ((double)spent / 1e6));
    printf("map_update_us_per_record %.2f\n", (double)spent / (double)changed);
    printf("map_raw_bytes_per_record %.1f\n", (double)aged.raw / (double)changed);
    printf("map_bytes_per_record %.1f\n", (double)aged.packed / (double)changed);
    struct map_source source = map_memory_source(&aged.memory);
    uint64_t begun = cpu_us();
    if (!map_items(&source, &root, GENERATIONS - 1, count_items, &items, err))
        return false;
    printf("map_items_young_s %.0f\n", (double)items / ((double)(cpu_us() - begun) / 1e6));
    return true;
}

int main(void)
{
    struct err err = {0};
    bool good = run(&err);
    if (!good)
        fprintf(stderr, "bench_vault_map: %s\n", err.text);
    map_memory_done(&aged.memory);
    bytes_done(&aged.frame);
    return good ? 0 : 1;
}
