/* Byte writers for the oracle tests: files as the format notes describe them, made a second way. */
#pragma once
#include "agent/oracle/scn.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void put_u2(uint8_t *at, enum byte_order order, unsigned value)
{
    at[order == ORDER_LITTLE ? 0 : 1] = (uint8_t)value;
    at[order == ORDER_LITTLE ? 1 : 0] = (uint8_t)(value >> 8);
}

static inline void put_u4(uint8_t *at, enum byte_order order, uint32_t value)
{
    put_u2(at + (order == ORDER_LITTLE ? 0 : 2), order, value & 0xffff);
    put_u2(at + (order == ORDER_LITTLE ? 2 : 0), order, value >> 16);
}

static inline void put_scn(uint8_t *at, enum byte_order order, uint64_t scn, bool big)
{
    put_u4(at, order, (uint32_t)scn);
    put_u2(at + 4, order,
           big ? 0x8000u | (unsigned)(scn >> 48 & 0x7fff) : (unsigned)(scn >> 32) & 0xffff);
    put_u2(at + 6, order, big ? (unsigned)(scn >> 32) & 0xffff : 0);
}

static inline void seal(uint8_t *block, size_t size, size_t at)
{
    uint8_t low = 0, high = 0;
    block[at] = block[at + 1] = 0;
    for (size_t i = 0; i < size; i += 2) {
        low ^= block[i];
        high ^= block[i + 1];
    }
    block[at] = low;
    block[at + 1] = high;
}

static inline uint8_t code_of(uint32_t size)
{
    static const struct {
        uint32_t size;
        uint8_t code;
    } codes[] = {{512, 0x22},  {1024, 0x42},  {2048, 0x62}, {4096, 0x82},
                 {8192, 0xa2}, {16384, 0xc2}, {32768, 0xe2}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].size == size)
            return codes[i].code;
    return 0;
}

static inline void write_block_zero(uint8_t *b, enum byte_order order, uint32_t size,
                                    uint32_t blocks)
{
    memset(b, 0, size);
    b[1] = code_of(size);
    put_u4(b + 4, order, 0xffc00000);
    put_u4(b + 20, order, size);
    put_u4(b + 24, order, blocks);
    put_u4(b + 28, order, 0x7a7b7c7d);
    put_u4(b + 32, order, 0x81a0);
    seal(b, size, 16);
}

/* Generic header, tail and checksum around whatever the body holds. */
static inline void write_kcbh(uint8_t *b, enum byte_order order, uint32_t size, uint8_t type,
                              uint32_t rdba, uint64_t scn)
{
    b[0] = type;
    b[1] = code_of(size);
    put_u2(b + 2, order, (unsigned)(scn >> 48));
    put_u4(b + 4, order, rdba);
    put_u4(b + 8, order, (uint32_t)scn);
    put_u2(b + 12, order, (unsigned)(scn >> 32) & 0xffff);
    b[14] = 1;
    b[15] = type == 0 ? 0x05 : 0x04;
    put_u4(b + size - 4, order, (uint32_t)(scn & 0xffff) << 16 | (uint32_t)type << 8 | 1);
    seal(b, size, 16);
}

static inline uint32_t rdba_of(uint32_t rfile_no, uint32_t block_no)
{
    return rfile_no == 1024 ? block_no : rfile_no << 22 | block_no;
}

struct a_datafile {
    enum byte_order order;
    uint32_t size, blocks, rfile_no, file_no, dbid, compatible;
    unsigned type, status;
    uint64_t creation, checkpoint, absolute_fuzzy, recovery_fuzzy, resetlogs;
};
static const struct a_datafile plain_datafile = {
    .size = 8192,
    .blocks = 40,
    .rfile_no = 5,
    .file_no = 5,
    .dbid = 1433672784,
    .type = 3,
    .compatible = 0x13000000,
    .creation = 1000,
    .checkpoint = 5000,
    .resetlogs = 900,
};

static inline void write_datafile_header(uint8_t *b, const struct a_datafile *f)
{
    enum byte_order o = f->order;
    bool big = f->compatible >= 0x0c200000;
    memset(b, 0, f->size);
    put_u4(b + 24, o, f->compatible);
    put_u4(b + 28, o, f->dbid);
    memcpy(b + 32, "ORCL", 4);
    put_u4(b + 44, o, f->blocks);
    put_u4(b + 48, o, f->size);
    put_u2(b + 52, o, f->file_no);
    put_u2(b + 54, o, f->type);
    memcpy(b + 64, "EVERCOPY", 8);
    put_scn(b + 100, o, f->creation, big);
    put_u4(b + 112, o, 928161908);
    put_scn(b + 116, o, f->resetlogs, big);
    put_u2(b + 138, o, f->status);
    put_u4(b + 140, o, 19);
    put_u4(b + 332, o, 6);
    put_u2(b + 336, o, 5);
    memcpy(b + 338, "USERS", 5);
    put_u4(b + 368, o, f->rfile_no);
    put_scn(b + 372, o, f->recovery_fuzzy, big);
    put_scn(b + 384, o, f->absolute_fuzzy, big);
    put_scn(b + 484, o, f->checkpoint, big);
    put_u4(b + 492, o, 972923682);
    put_u2(b + 496, o, 1);
    put_u4(b + 500, o, 648);
    write_kcbh(b, o, f->size, 0x0b, rdba_of(f->rfile_no, 1), 0);
}

/* A whole datafile: (blocks + 1) * size bytes, random bodies, a tenth of them never used. */
static inline uint8_t *write_datafile(const struct a_datafile *f, uint32_t (*random)(void))
{
    uint8_t *file = calloc(f->blocks + 1, f->size);
    write_block_zero(file, f->order, f->size, f->blocks);
    write_datafile_header(file + f->size, f);
    for (uint32_t n = 2; n <= f->blocks; n++) {
        uint8_t *b = file + (size_t)n * f->size;
        if (n % 10 == 0)
            continue;
        for (uint32_t i = 20; i < f->size - 4; i += 4)
            put_u4(b + i, f->order, random());
        write_kcbh(b, f->order, f->size, 6, rdba_of(f->rfile_no, n), 2000 + n);
    }
    return file;
}

struct a_log {
    enum byte_order order;
    uint32_t size, blocks, sequence, thread, dbid, compatible;
    uint64_t first, next;
    uint32_t lwn; /* blocks per log write */
};
static const struct a_log plain_log = {
    .size = 512,
    .blocks = 400,
    .sequence = 648,
    .thread = 1,
    .dbid = 1433672784,
    .compatible = 0x13000000,
    .first = 10000,
    .next = 20000,
    .lwn = 4,
};
static const uint64_t scn_open = UINT64_MAX;

static inline void write_redo_block(uint8_t *b, const struct a_log *l, uint32_t block_no,
                                    unsigned first_record)
{
    b[0] = 1;
    b[1] = code_of(l->size);
    put_u4(b + 4, l->order, block_no);
    put_u4(b + 8, l->order, l->sequence);
    put_u2(b + 12, l->order, 0x8000 | first_record);
    seal(b, l->size, 14);
}

static inline void write_redo_header(uint8_t *b, const struct a_log *l)
{
    enum byte_order o = l->order;
    bool big = l->compatible >= 0x0c200000;
    memset(b, 0, l->size);
    put_u4(b + 20, o, l->compatible);
    put_u4(b + 24, o, l->dbid);
    memcpy(b + 28, "ORCL", 4);
    put_u4(b + 40, o, l->blocks);
    put_u4(b + 44, o, l->size);
    put_u2(b + 48, o, 2);
    put_u2(b + 50, o, 2);
    put_u4(b + 52, o, 77);
    memcpy(b + 92, "Thread 0001, Seq# 0000000648", 28);
    put_u4(b + 156, o, l->next == scn_open ? UINT32_MAX : l->blocks + 1);
    put_u4(b + 160, o, 928161908);
    put_scn(b + 164, o, 900, big);
    put_u2(b + 176, o, l->thread);
    put_scn(b + 180, o, l->first, big);
    put_u4(b + 188, o, 972923682);
    if (l->next == scn_open)
        memset(b + 192, 0xff, 6);
    else
        put_scn(b + 192, o, l->next, big);
    put_u4(b + 200, o, 972923682 + 600);
    write_redo_block(b, l, 1, 0);
}

static inline uint8_t *write_log(const struct a_log *l, uint32_t (*random)(void))
{
    uint8_t *file = calloc(l->blocks + 1, l->size);
    write_block_zero(file, l->order, l->size, l->blocks);
    write_redo_header(file + l->size, l);
    for (uint32_t n = 2; n <= l->blocks; n++) {
        uint8_t *b = file + (size_t)n * l->size;
        bool starts = (n - 2) % l->lwn == 0;
        for (uint32_t i = 16; i < l->size; i += 4)
            put_u4(b + i, l->order, random());
        if (starts) {
            uint32_t left = l->blocks + 1 - n;
            put_u4(b + 16, l->order, 100);
            b[20] = 0x05;
            put_u4(b + 44, l->order, left < l->lwn ? left : l->lwn);
            put_scn(b + 56, l->order, l->first + n, l->compatible >= 0x0c200000);
            put_u4(b + 80, l->order, 972923682 + n % 50);
        }
        write_redo_block(b, l, n, starts ? 16 : 0);
    }
    return file;
}

/* Seeded randomness; EVERCOPY_SEED repeats a run. */
static uint64_t test_random_state;

static inline uint32_t test_random(void)
{
    test_random_state ^= test_random_state << 13;
    test_random_state ^= test_random_state >> 7;
    test_random_state ^= test_random_state << 17;
    return (uint32_t)(test_random_state >> 16);
}

static inline uint32_t test_random_below(uint32_t limit) { return test_random() % limit; }

static inline void test_random_start(const char *name)
{
    const char *given = getenv("EVERCOPY_SEED");
    test_random_state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
    fprintf(stderr, "%s: EVERCOPY_SEED=%llu\n", name, (unsigned long long)test_random_state);
    test_random_state |= 1;
}

/* The sample of that name, read whole; NULL (said once) when the folder was not given. */
static inline const char *samples_dir(void)
{
    const char *dir = getenv("EVERCOPY_SAMPLES");
    if (!dir)
        fprintf(stderr, "SKIPPED oracle/samples: EVERCOPY_SAMPLES is not set\n");
    return dir;
}

static inline uint8_t *read_sample(const char *dir, const char *name, size_t *ret_len)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/oracle-blocks/%s", dir, name);
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "cannot open '%s'", path);
    uint8_t *bytes = calloc(1, 65536);
    *ret_len = fread(bytes, 1, 65536, f);
    fclose(f);
    return bytes;
}
