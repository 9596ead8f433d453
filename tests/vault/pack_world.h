/* Packs for tests: random frames written to a store in memory, and what they are made of. */
#pragma once
#include "drivers/vault/store/pack_int.h"
#include "tests/lib/memory_io.h"
#include "tests/oracle/writers.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        cr_assert(call, "%s: %s: %s", #call, err_code_name(e.code), e.text);                       \
    } while (0)
#define FAILS(wanted, call)                                                                        \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        cr_assert(!(call), "%s did not fail", #call);                                              \
        cr_assert_eq(e.code, wanted, "%s: %s: %s", #call, err_code_name(e.code), e.text);          \
    } while (0)

/* What was put into a frame. */
struct made {
    struct frame frame; /* raw is owned by the world */
    struct bytes nodes[FRAME_ITEMS];
};
struct pack_world {
    struct io *io;
    struct memory_io *memory;
    struct pack_key key;
    struct made *made;
    uint32_t count;
    uint64_t bytes; /* of the object */
};

/* A record such as a database block is: half random, half of few values. */
static inline void world_record(uint8_t *to, uint32_t kind)
{
    for (size_t i = 0; i < RECORD_BYTES; i++)
        to[i] = kind == 0                           ? (uint8_t)test_random()
                : kind == 1 && i < RECORD_BYTES / 2 ? (uint8_t)(test_random() % 16)
                                                    : (uint8_t)(i / 512);
}

static inline void world_data(struct frame *f, uint32_t file, uint32_t kind)
{
    f->kind = FRAME_DATA;
    f->file = file;
    f->items = (uint8_t)(1 + test_random_below(FRAME_ITEMS));
    f->present = (uint16_t)(1 + test_random_below((1U << f->items) - 1));
    size_t present = (size_t)__builtin_popcount(f->present);
    uint64_t record = test_random_below(1 << 30);
    f->raw = malloc(present * RECORD_BYTES);
    f->raw_len = present * RECORD_BYTES;
    for (size_t i = 0; i < present; i++) {
        world_record(f->raw + i * RECORD_BYTES, kind);
        hash_bytes(f->raw + i * RECORD_BYTES, RECORD_BYTES, &f->hashes[i]);
        f->records[i] = record;
        record += 1 + test_random_below(3);
    }
}

static inline void world_nodes(struct made *m)
{
    struct frame *f = &m->frame;
    f->kind = FRAME_NODES;
    f->items = (uint8_t)(1 + test_random_below(FRAME_ITEMS));
    f->present = (uint16_t)((1U << f->items) - 1);
    for (size_t i = 0; i < f->items; i++) {
        size_t len = test_random_below(300);
        for (size_t k = 0; k < len; k++)
            OK(bytes_u8(&m->nodes[i], (uint8_t)(k % 7 ? k : test_random()), &e));
    }
    struct bytes raw = {0};
    OK(frame_join(m->nodes, f->items, &raw, &e));
    f->raw = raw.data;
    f->raw_len = raw.len;
}

static inline void world_other(struct frame *f, enum frame_kind kind)
{
    f->kind = kind;
    f->items = f->present = 1;
    f->raw_len = 1 + test_random_below(4000);
    f->raw = malloc(f->raw_len);
    for (size_t i = 0; i < f->raw_len; i++)
        f->raw[i] = (uint8_t)(i % 3 ? 'x' : test_random());
}

/* tiny: a pack of a few hundred bytes, for tests that visit each of them. */
static inline void world_begin(struct pack_world *w, uint32_t count, bool tiny)
{
    struct err err = {0};
    *w = (struct pack_world){.key = {.family = 7, .seed = 99, .pack = 5, .generation = 2}};
    w->io = memory_io_open(0, &w->memory, &err);
    cr_assert(w->io, "%s", err.text);
    w->made = calloc(count, sizeof *w->made);
    w->count = count;
    struct pack_writer *writer = pack_create(w->io, &w->key, 1, &err);
    cr_assert(writer, "%s", err.text);
    for (uint32_t i = 0; i < count; i++) {
        struct frame *f = &w->made[i].frame;
        uint32_t what = i < 6 ? i : test_random_below(8), frame;
        if (what == 1)
            world_nodes(&w->made[i]);
        else if (what == 2)
            world_other(f, FRAME_DEAD);
        else if (what == 3)
            world_other(f, FRAME_SEAL);
        else if (what != 4) /* 4: nothing of it is left */
            world_data(f, what, tiny ? 2 : what % 3);
        f->birth = 1000 + i / 3;
        if (f->present)
            OK(frame_press(f, 1, &e));
        OK(pack_add(writer, f, &frame, &e));
        cr_assert_eq(frame, i);
    }
    cr_assert(pack_finish(writer, &w->bytes, &err), "%s", err.text);
}

static inline void world_end(struct pack_world *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        free(w->made[i].frame.raw);
        frame_done(&w->made[i].frame);
        for (size_t k = 0; k < FRAME_ITEMS; k++)
            bytes_done(&w->made[i].nodes[k]);
    }
    free(w->made);
    io_close(w->io);
}
