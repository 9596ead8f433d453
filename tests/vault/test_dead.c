/* Dead lists: bytes pinned by hand, every item told, only what overlaps read, hostile chunks. */
#include "tests/lib/map_memory.h"
#include "tests/lib/random.h"
#include <criterion/criterion.h>
#include <string.h>

#define NO_ERR(call)                                                                               \
    do {                                                                                           \
        struct err no_err = {0};                                                                   \
        struct err *err = &no_err;                                                                 \
        cr_assert(call, "%s: %s", #call, no_err.text);                                             \
    } while (0)

struct lists {
    struct dead_list *at;
    size_t count;
};
static void lists_done(struct lists *lists)
{
    for (size_t i = 0; i < lists->count; i++)
        dead_list_done(&lists->at[i]);
    own_free(lists->at);
}
OWN_DEFINE_INPLACE(lists, struct lists, lists_done);

static struct map_memory_death item(uint32_t pack, uint32_t frame, uint8_t n, uint64_t birth)
{
    return (struct map_memory_death){{pack, frame, n}, birth};
}

static bool write_lists(struct map_memory *memory, size_t bound,
                        const struct map_memory_death *items, size_t count, struct lists *ret,
                        struct err *err)
{
    AUTO(dead_writer)
    struct dead_writer *writer = dead_writer_new(bound, map_memory_put, memory, err);
    for (size_t i = 0; writer && i < count; i++)
        if (!dead_add(writer, items[i].addr, items[i].birth, err))
            return false;
    return writer && dead_finish(TAKE(writer), &ret->at, &ret->count, err);
}

static bool note(void *arg, struct addr addr, uint64_t birth, struct err *err)
{
    struct map_sink sink = map_memory_sink(arg);
    return sink.dead(arg, addr, birth, err);
}

static int by_birth(const void *a, const void *b)
{
    const struct map_memory_death *x = a, *y = b;
    if (x->birth != y->birth)
        return x->birth < y->birth ? -1 : 1;
    if (x->addr.pack != y->addr.pack)
        return x->addr.pack < y->addr.pack ? -1 : 1;
    if (x->addr.frame != y->addr.frame)
        return x->addr.frame < y->addr.frame ? -1 : 1;
    return x->addr.item - y->addr.item;
}

static const uint8_t chunk_bytes[] = {
    3,                      /* runs */
    5, 9,    46,   3,       /* born at 5, pack 9, frame 2 item 14, three of them */
    0, 9,    0x90, 0x01, 1, /* at 5 as well, frame 9 */
    2, 0xac, 0x02, 1,    1, /* born at 7, pack 300 */
};

Test(dead, a_list_is_these_bytes_in_whatever_order_its_items_came)
{
    const struct map_memory_death items[] = {item(300, 0, 1, 7), item(9, 9, 0, 5), item(9, 3, 0, 5),
                                             item(9, 2, 14, 5), item(9, 2, 15, 5)};
    AUTO(map_memory) struct map_memory memory = {0};
    AUTO(lists) struct lists lists = {0};
    NO_ERR(map_memory_generation(&memory, err));
    NO_ERR(write_lists(&memory, 0, items, 5, &lists, err));
    cr_assert_eq(lists.count, 1);
    const struct dead_list *list = lists.at;
    cr_assert(list->count == 1 && list->items == 5 && list->chunks[0].items == 5);
    cr_assert(list->chunks[0].birth_min == 5 && list->chunks[0].birth_max == 7);
    cr_assert_eq(memory.packs[1].nodes[0].len, sizeof chunk_bytes);
    cr_assert_arr_eq(memory.packs[1].nodes[0].data, chunk_bytes, sizeof chunk_bytes);
}

Test(dead, nothing_that_died_makes_no_list)
{
    AUTO(map_memory) struct map_memory memory = {0};
    AUTO(lists) struct lists lists = {0};
    NO_ERR(write_lists(&memory, 0, NULL, 0, &lists, err));
    cr_assert_eq(lists.count, 0);
}

Test(dead, an_item_that_died_twice_is_refused)
{
    const struct map_memory_death items[] = {item(1, 1, 3, 7), item(2, 1, 3, 7), item(1, 1, 2, 7),
                                             item(1, 1, 3, 7)};
    AUTO(map_memory) struct map_memory memory = {0};
    AUTO(lists) struct lists lists = {0};
    struct err failure = {0};
    NO_ERR(map_memory_generation(&memory, err));
    cr_assert_not(write_lists(&memory, 0, items, 4, &lists, &failure));
    cr_assert_eq(failure.code, ERR_CORRUPT);
    cr_assert(strstr(failure.text, "item 3 of frame 1 of pack 1"), "%s", failure.text);
}

/* Items of many births: neighbours as a map tells them, and lone ones; shuffled in stretches. */
static size_t random_items(struct rnd *rnd, struct map_memory_death *items, size_t max)
{
    size_t count = 0;
    uint64_t at = 0;
    while (count < max) {
        uint64_t run = rnd_chance(rnd, 5) ? 1 + rnd_below(rnd, 40) : 1;
        uint64_t birth = 1 + rnd_below(rnd, 50);
        at += 1 + rnd_below(rnd, 30);
        for (; run > 0 && count < max; run--, at++)
            items[count++] =
                item((uint32_t)(at >> 15), (uint32_t)(at / 16 % 2048), (uint8_t)(at % 16), birth);
    }
    for (size_t i = count - 1; rnd_chance(rnd, 50) && i > 0; i--) {
        size_t other = rnd_below(rnd, i + 1);
        struct map_memory_death kept = items[i];
        items[i] = items[other];
        items[other] = kept;
    }
    return count;
}

static void check_walk(struct map_memory *memory, const struct lists *lists,
                       const struct map_memory_death *items, size_t count, uint64_t after,
                       uint64_t cut)
{
    struct map_source source = map_memory_source(memory);
    size_t wanted = 0, chunks = 0;
    memory->death_count = 0;
    memory->nodes_read = 0;
    for (size_t i = 0; i < lists->count; i++) {
        NO_ERR(dead_walk(&source, &lists->at[i], after, cut, note, memory, err));
        for (size_t k = 0; k < lists->at[i].count; k++)
            chunks +=
                lists->at[i].chunks[k].birth_max > after && lists->at[i].chunks[k].birth_min <= cut;
    }
    cr_assert_eq(memory->nodes_read, chunks, "it read what does not overlap");
    if (memory->death_count > 0)
        qsort(memory->deaths, memory->death_count, sizeof *memory->deaths, by_birth);
    for (size_t i = 0; i < count; i++) {
        if (items[i].birth <= after || items[i].birth > cut)
            continue;
        cr_assert_lt(wanted, memory->death_count);
        cr_assert_eq(by_birth(&items[i], &memory->deaths[wanted]), 0);
        wanted++;
    }
    cr_assert_eq(wanted, memory->death_count);
}

static void random_round(struct rnd *rnd, struct map_memory_death *items, size_t count)
{
    AUTO(map_memory) struct map_memory memory = {0};
    AUTO(lists) struct lists lists = {0};
    uint64_t total = 0;
    count = random_items(rnd, items, count);
    NO_ERR(map_memory_generation(&memory, err));
    NO_ERR(write_lists(&memory, 0, items, count, &lists, err));
    if (count > 60000)
        cr_assert_gt(lists.count, 1, "so many do not fit");
    for (size_t i = 0; i < lists.count; i++)
        total += lists.at[i].items;
    cr_assert_eq(total, count);
    qsort(items, count, sizeof *items, by_birth);
    check_walk(&memory, &lists, items, count, 0, UINT64_MAX);
    for (int i = 0; i < 3; i++)
        check_walk(&memory, &lists, items, count, rnd_below(rnd, 52), rnd_below(rnd, 52));
}

Test(dead, every_item_is_told_once_to_who_asks_for_its_birth)
{
    struct rnd rnd = rnd_begin("test_dead");
    struct err failure = {0};
    AUTO(mem) struct map_memory_death *items = own_alloc(100000 * sizeof *items, &failure);
    random_round(&rnd, items, 100000);
    for (int round = getenv("EVERCOPY_LONG") ? 300 : 10; round > 0; round--)
        random_round(&rnd, items, 1 + rnd_below(&rnd, 20000));
}

Test(dead, a_failing_store_or_heap_is_told_and_leaks_nothing)
{
    struct err failure = {0};
    struct rnd rnd = rnd_begin("dead faults");
    AUTO(mem) struct map_memory_death *items = own_alloc(50000 * sizeof *items, &failure);
    size_t count = random_items(&rnd, items, 50000);
    for (long n = 1; n < 30; n++) {
        AUTO(map_memory) struct map_memory memory = {0};
        AUTO(lists) struct lists lists = {0};
        NO_ERR(map_memory_generation(&memory, err));
        memory.fail = n % 2 ? n : 0;
        own_fault(n % 2 ? 0 : n);
        struct err said = {0};
        bool done = write_lists(&memory, 0, items, count, &lists, &said);
        own_fault(0);
        cr_assert(done || said.code == ERR_IO || said.code == ERR_NO_MEMORY, "%s", said.text);
    }
}

static const struct hostile {
    const char *what;
    uint8_t len, bytes[16];
} hostile[] = {
    {"nothing", 0, {0}},
    {"no runs", 1, {0}},
    {"4,097 runs", 7, {0x81, 0x20, 5, 9, 46, 1, 0}},
    {"birth 0", 5, {1, 0, 9, 46, 1}},
    {"another birth", 5, {1, 6, 9, 46, 1}},
    {"more items than told", 5, {1, 5, 9, 46, 2}},
    {"no items", 5, {1, 5, 9, 46, 0}},
    {"a byte behind", 6, {1, 5, 9, 46, 1, 0}},
    {"cut short", 4, {1, 5, 9, 46}},
    {"a place twice", 9, {2, 5, 9, 46, 1, 0, 9, 46, 1}},
    {"places back", 9, {2, 5, 9, 46, 1, 0, 9, 40, 1}},
    {"runs that touch", 9, {2, 5, 9, 46, 1, 0, 9, 47, 1}},
    {"packs back", 9, {2, 5, 9, 46, 1, 0, 8, 48, 1}},
    {"frame 2^20", 8, {1, 5, 9, 0x80, 0x80, 0x80, 0x08, 1}},
    {"a pack over 32 bits", 9, {1, 5, 0x80, 0x80, 0x80, 0x80, 0x10, 46, 1}},
};

Test(dead, a_chunk_that_makes_no_sense_is_refused_and_nothing_of_it_told)
{
    AUTO(map_memory) struct map_memory memory = {0};
    struct map_source source = map_memory_source(&memory);
    NO_ERR(map_memory_generation(&memory, err));
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct bytes bytes = {(uint8_t *)(uintptr_t)hostile[i].bytes, hostile[i].len, 0};
        struct dead_chunk chunk = {.birth_min = 5, .birth_max = 5, .items = 1};
        struct dead_list list = {.chunks = &chunk, .count = 1, .items = 1};
        struct err failure = {0};
        if (hostile[i].len > 8 && hostile[i].bytes[0] == 2)
            chunk.items = 2;
        NO_ERR(map_memory_put(&memory, &bytes, &chunk.addr, err));
        cr_expect_not(dead_walk(&source, &list, 0, UINT64_MAX, note, &memory, &failure), "%s",
                      hostile[i].what);
        cr_expect_eq(failure.code, ERR_CORRUPT, "%s", hostile[i].what);
        cr_expect_eq(memory.death_count, 0);
    }
}
