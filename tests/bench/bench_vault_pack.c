/* What packs cost: bench_vault_pack FILE MIB makes FILE of blocks such as a table's are, presses
 * them as a seal does, and reads the pack back. A line per figure; CPU of all threads, and wall. */
#include "drivers/vault/store/cache.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { BLOCK = RECORD_BYTES };

static double wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void die(const struct err *err)
{
    fprintf(stderr, "bench_vault_pack: %s\n", err->text);
    exit(1);
}

/* ---- blocks ---- */

static uint64_t state = 88172645463325252;
static uint32_t any(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20) % below;
}

static size_t row(uint8_t *to, uint64_t id)
{
    static const char *const first[] = {"MARIA", "JOHN",  "WEI",   "FATIMA", "IVAN", "AIKO",
                                        "PEDRO", "CHLOE", "AMARA", "LARS",   "NOOR", "OLGA"};
    static const char *const city[] = {"VIENNA",    "GRAZ",       "LINZ",    "SALZBURG",
                                       "INNSBRUCK", "KLAGENFURT", "BREGENZ", "STEYR"};
    static const char *const status[] = {"OPEN", "SHIPPED", "PAID", "RETURNED"};
    size_t at = 0;
    to[at++] = 0x2c;
    to[at++] = (uint8_t)any(3);
    to[at++] = 8;
    char text[64];
    int lens[6];
    const char *fields[6] = {0};
    lens[0] = snprintf(text, sizeof text, "\xc5%c%c%c", (int)(id / 10000 % 100) + 1,
                       (int)(id / 100 % 100) + 1, (int)(id % 100) + 1);
    fields[0] = text;
    fields[1] = first[any(12)], lens[1] = (int)strlen(fields[1]);
    fields[2] = city[any(8)], lens[2] = (int)strlen(fields[2]);
    fields[3] = status[any(4)], lens[3] = (int)strlen(fields[3]);
    for (int i = 0; i < 4; i++) {
        to[at++] = (uint8_t)lens[i];
        memcpy(to + at, fields[i], (size_t)lens[i]);
        at += (size_t)lens[i];
    }
    /* a date, an amount, a reference */
    const uint8_t date[] = {7,
                            0x78,
                            (uint8_t)(120 + any(6)),
                            (uint8_t)(1 + any(12)),
                            (uint8_t)(1 + any(28)),
                            (uint8_t)(1 + any(24)),
                            (uint8_t)(1 + any(60)),
                            (uint8_t)(1 + any(60))};
    memcpy(to + at, date, sizeof date);
    at += sizeof date;
    to[at++] = 4;
    for (int i = 0; i < 4; i++)
        to[at++] = (uint8_t)(1 + any(100));
    to[at++] = 8;
    for (int i = 0; i < 8; i++)
        to[at++] = (uint8_t) "0123456789ABCDEF"[any(16)];
    int len = snprintf((char *)to + at + 1, 40, "ORDER LINE FOR ITEM %06u", any(50000));
    to[at] = (uint8_t)len;
    return at + 1 + (size_t)len;
}

static void block(uint8_t *b, uint32_t no)
{
    memset(b, 0, BLOCK);
    b[0] = 6, b[1] = 0xa2;
    uint32_t address = 0x01000000 | no, scn = 5000000 + no * 3 + any(1000), check = any(65536);
    memcpy(b + 4, &address, 4);
    memcpy(b + 8, &scn, 4);
    b[14] = 1, b[15] = 4;
    memcpy(b + 16, &check, 2);
    for (size_t i = 0; i < 48; i++)
        b[20 + i] = (uint8_t)(i % 24 < 8 ? any(256) : i);
    size_t end = BLOCK - 4, head = 100;
    for (uint32_t i = 0;; i++) {
        uint8_t one[160];
        size_t len = row(one, (uint64_t)no * 80 + i);
        if (head + 2 + len + 900 > end) /* a tenth stays free */
            break;
        end -= len;
        memcpy(b + end, one, len);
        uint16_t at = (uint16_t)end;
        memcpy(b + head, &at, 2);
        head += 2;
    }
    uint32_t tail = (scn << 16) | 0x0601;
    memcpy(b + BLOCK - 4, &tail, 4);
}

/* ---- what a seal does with them ---- */

struct job {
    const uint8_t *data;
    size_t frames; /* whole ones */
    bool hash;
    int level;
};

static void press(const struct job *job, struct io *io, const struct pack_key *key,
                  uint64_t *ret_bytes)
{
    struct err err = {0};
    struct pack_writer *writer = io ? pack_create(io, key, job->level, &err) : NULL;
    struct frame f = {.kind = FRAME_DATA, .file = 2, .birth = 7, .items = 16, .present = 0xffff};
    uint64_t stored = 0;
    uint32_t number;
    if (io && !writer)
        die(&err);
    for (size_t i = 0; i < job->frames; i++) {
        f.raw = (uint8_t *)(uintptr_t)job->data + i * FRAME_RAW_MAX;
        f.raw_len = FRAME_RAW_MAX;
        for (uint32_t k = 0; k < FRAME_ITEMS; k++) {
            f.records[k] = i * FRAME_ITEMS + k;
            if (job->hash)
                hash_bytes(f.raw + (size_t)k * BLOCK, BLOCK, &f.hashes[k]);
        }
        if (!frame_press(&f, job->level, &err) || (writer && !pack_add(writer, &f, &number, &err)))
            die(&err);
        stored += f.pressed_plain ? f.raw_len : f.stored.len;
    }
    if (writer && !pack_finish(writer, &stored, &err))
        die(&err);
    frame_done(&f);
    *ret_bytes = stored;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of five, after one to warm up. */
static double press_cpu(const struct job *job, uint64_t *ret_bytes)
{
    double spent[5];
    press(job, NULL, NULL, ret_bytes);
    for (int i = 0; i < 5; i++) {
        double begin = cpu();
        press(job, NULL, NULL, ret_bytes);
        spent[i] = cpu() - begin;
    }
    qsort(spent, 5, sizeof *spent, compare);
    return spent[2];
}

static void read_back(struct io *io, const struct pack_key *key, uint64_t bytes,
                      const struct job *job, bool alone)
{
    struct err err = {0};
    struct cache_options options = {.no_stream = alone};
    double walls[5], cpus[5];
    static uint8_t to[FRAME_RAW_MAX];
    for (int i = 0; i < 5; i++) {
        struct cache *cache = cache_new(io, &options, &err);
        if (!cache)
            die(&err);
        struct cache_pack pack = {.key = *key, .object_bytes = bytes};
        double begin = wall(), begin_cpu = cpu();
        for (uint32_t k = 0; k < job->frames; k++) {
            struct cache_frame *frame = cache_get(cache, &pack, k, &err);
            size_t len;
            if (!frame)
                die(&err);
            const uint8_t *raw = cache_raw(frame, &len);
            memcpy(to, raw, len); /* as a reader would have it */
            cache_release(frame);
        }
        walls[i] = wall() - begin;
        cpus[i] = cpu() - begin_cpu;
        cache_free(cache);
    }
    qsort(walls, 5, sizeof *walls, compare);
    qsort(cpus, 5, sizeof *cpus, compare);
    printf("read_%s_wall %.4f\nread_%s_cpu %.4f\n", alone ? "alone" : "ahead", walls[2],
           alone ? "alone" : "ahead", cpus[2]);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: bench_vault_pack FILE MIB STORE\n");
        return 2;
    }
    size_t len = (size_t)strtoul(argv[2], NULL, 10) << 20;
    uint8_t *data = aligned_alloc(1 << 21, len);
    FILE *file = data ? fopen(argv[1], "wb") : NULL;
    if (!file)
        return 1;
    IGNORE(madvise(data, len, MADV_HUGEPAGE)); /* fewer page walks where allowed */
    for (size_t i = 0; i < len / BLOCK; i++)
        block(data + i * BLOCK, (uint32_t)i);
    if (fwrite(data, 1, len, file) != len || fclose(file) != 0)
        return 1;
    struct job job = {.data = data, .frames = len / FRAME_RAW_MAX, .level = 1};
    uint64_t stored, bytes;
    printf("raw %zu\n", len);
    printf("press_cpu %.4f\n", press_cpu(&job, &stored));
    printf("stored %llu\n", (unsigned long long)stored);
    job.hash = true;
    printf("press_hash_cpu %.4f\n", press_cpu(&job, &stored));
    struct io *io = io_open(argv[3], NULL, 0, &err);
    struct pack_key key = {.family = 1, .seed = 3, .pack = 1};
    if (!io)
        die(&err);
    double begin = wall(), begin_cpu = cpu();
    press(&job, io, &key, &bytes);
    printf("pack_wall %.4f\npack_cpu %.4f\n", wall() - begin, cpu() - begin_cpu);
    read_back(io, &key, bytes, &job, true);
    read_back(io, &key, bytes, &job, false);
    io_close(io);
    free(data);
    return 0;
}
