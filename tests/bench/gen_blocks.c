/* Oracle-like datafiles for figures, the same for the same seed, and changes to them in place.
 *
 *   gen_blocks make FILE BYTES SEED                 8 KiB blocks: rows, indexes, some never used
 *   gen_blocks change FILE PERCENT SEED [LIST]      rewrites so many blocks, scattered, each with a
 *                                                   new SCN and changed rows; their numbers to LIST
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BLOCK = 8192,
    EXTENT = 128, /* blocks: 1 MiB */
    HEADER = 20,
    ROWS_AT = 100, /* of the row directory */
    ROWS_MAX = 120,
    TAIL = 4,
    KEPT_FREE = 800, /* PCTFREE 10 */
    BATCH = 256,
};
enum kind { ORDERS, CUSTOMERS, INDEX, LOB, UNUSED, ZEROS };
static const uint32_t base_scn = 0x00a3c1f0;

struct rnd {
    uint64_t n;
};

static uint64_t mix(uint64_t v)
{
    v += 0x9e3779b97f4a7c15U;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9U;
    v = (v ^ v >> 27) * 0x94d049bb133111ebU;
    return v ^ v >> 31;
}

static uint32_t below(struct rnd *r, uint32_t max)
{
    r->n ^= r->n << 13;
    r->n ^= r->n >> 7;
    r->n ^= r->n << 17;
    return (uint32_t)((r->n >> 32) * max >> 32);
}

static void put2(uint8_t *b, unsigned v)
{
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}

static void put4(uint8_t *b, uint32_t v)
{
    put2(b, v & 0xffff);
    put2(b + 2, v >> 16);
}

static unsigned get2(const uint8_t *b) { return b[0] | (unsigned)b[1] << 8; }

/* Header, tail and the XOR of all words that makes them 0. */
static void seal(uint8_t *b, uint8_t type, uint32_t block, uint32_t scn)
{
    uint64_t fold = 0;
    b[0] = type;
    b[1] = 0xa2;
    put2(b + 2, 0);
    put4(b + 4, 4U << 22 | block);
    put4(b + 8, scn);
    put2(b + 12, 0);
    b[14] = type ? 2 : 1;
    b[15] = type ? 6 : 4;
    put2(b + 16, 0);
    put2(b + 18, 0);
    put4(b + BLOCK - TAIL, (scn & 0xffff) << 16 | (uint32_t)type << 8 | b[14]);
    for (size_t i = 0; i < BLOCK; i += 8) {
        uint64_t word;
        memcpy(&word, b + i, 8);
        fold ^= word;
    }
    fold ^= fold >> 32;
    fold ^= fold >> 16;
    put2(b + 16, fold & 0xffff);
}

/* ---- columns ---- */

static const char *const words[] = {
    "Vienna",    "Anderson", "delivered", "pending", "Main Street", "invoice",  "monthly",
    "GmbH",      "Maria",    "Berlin",    "account", "Customer",    "returned", "express",
    "Wilson",    "credit",   "warehouse", "EUR",     "Novak",       "standard", "order",
    "Johann",    "London",   "partial",   "paid",    "Schmidt",     "Limited",  "transfer",
    "Strasse",   "priority", "Elena",     "closed",  "Rossi",       "domestic", "shipment",
    "reference", "Paris",    "approved",  "Martin",  "cancelled",
};
enum { WORDS = sizeof words / sizeof *words };

static uint8_t *number(uint8_t *at, uint64_t n, int digits)
{
    *at++ = (uint8_t)(digits + 1);
    *at++ = (uint8_t)(0xc0 + digits);
    for (int i = digits - 1; i >= 0; i--, n /= 100)
        at[i] = (uint8_t)(n % 100 + 1);
    return at + digits;
}

static uint8_t *date(uint8_t *at, struct rnd *r, uint64_t day)
{
    *at++ = 7;
    *at++ = 120;
    *at++ = (uint8_t)(118 + day / 372 % 8);
    *at++ = (uint8_t)(1 + day / 31 % 12);
    *at++ = (uint8_t)(1 + day % 31);
    *at++ = (uint8_t)(1 + 6 + below(r, 16));
    *at++ = (uint8_t)(1 + below(r, 60));
    *at++ = (uint8_t)(1 + below(r, 60));
    return at;
}

static uint8_t *text(uint8_t *at, struct rnd *r, unsigned count)
{
    uint8_t *len = at++;
    for (unsigned i = 0; i < count; i++) {
        /* A few words are much more frequent than the others. */
        const char *word = words[below(r, 1 + below(r, WORDS))];
        size_t n = strlen(word);
        if (i)
            *at++ = ' ';
        memcpy(at, word, n);
        at += n;
    }
    *len = (uint8_t)(at - len - 1);
    return at;
}

static uint8_t *noise(uint8_t *at, struct rnd *r, uint8_t len)
{
    *at++ = len;
    for (uint8_t i = 0; i < len; i++)
        *at++ = (uint8_t)below(r, 256);
    return at;
}

static uint8_t *hex(uint8_t *at, struct rnd *r, uint8_t len)
{
    *at++ = len;
    for (uint8_t i = 0; i < len; i++)
        *at++ = (uint8_t) "0123456789ABCDEF"[below(r, 16)];
    return at;
}

static size_t row(uint8_t *to, enum kind kind, struct rnd *r, uint64_t id)
{
    uint8_t *at = to;
    *at++ = 0x2c;
    *at++ = (uint8_t)(below(r, 8) ? 0 : 1 + below(r, 2));
    if (kind == ORDERS) {
        *at++ = 9;
        at = number(at, id, 4);
        at = number(at, below(r, 800000), 3);
        at = date(at, r, id / 9000);
        at = number(at, below(r, 100) * 100 + 99, 3);
        at = number(at, 1 + below(r, 9), 1);
        at = text(at, r, 1);
        at = number(at, below(r, 500000), 3);
        at = text(at, r, 3 + below(r, 5));
        at = hex(at, r, 8);
    } else if (kind == CUSTOMERS) {
        *at++ = 7;
        at = number(at, id, 4);
        at = text(at, r, 2);
        at = text(at, r, 3);
        at = hex(at, r, 20);
        at = date(at, r, below(r, 2900));
        at = number(at, below(r, 1000000), 3);
        at = text(at, r, 8 + below(r, 10));
    } else {
        at = number(at, id * 3 + below(r, 3), 4);
        *at++ = 6;
        put4(at, 4U << 22 | (uint32_t)(id / 60));
        put2(at + 4, (unsigned)(id % 60));
        at += 6;
        at = noise(at, r, 3);
    }
    return (size_t)(at - to);
}

/* ---- blocks ---- */

static enum kind kind_of(uint64_t seed, uint32_t block)
{
    struct rnd r = {mix(seed ^ (uint64_t)(block / EXTENT) << 20)};
    uint32_t n = below(&r, 1000);
    return n < 470   ? ORDERS
           : n < 745 ? CUSTOMERS
           : n < 885 ? INDEX
           : n < 925 ? LOB
           : n < 985 ? UNUSED
                     : ZEROS;
}

static void fill_rows(uint8_t *b, enum kind kind, struct rnd *r, uint32_t block)
{
    uint8_t one[512];
    size_t top = BLOCK - TAIL;
    unsigned rows = 0;
    unsigned max = kind == INDEX ? ROWS_MAX * 3 : ROWS_MAX;
    for (; rows < max; rows++) {
        size_t len = row(one, kind, r, (uint64_t)block * 60 + rows);
        if (top - len < ROWS_AT + 2 * (size_t)max + KEPT_FREE)
            break;
        top -= len;
        memcpy(b + top, one, len);
        put2(b + ROWS_AT + 2 * rows, (unsigned)(top - 92));
    }
    b[HEADER] = kind == INDEX ? 2 : 1;
    put4(b + HEADER + 4, 73000 + block / 4096); /* the object */
    put4(b + HEADER + 8, base_scn - below(r, 100000));
    put2(b + HEADER + 16, 2); /* transaction slots */
    for (int i = 0; i < 2; i++) {
        put4(b + 44 + 24 * i, below(r, 32) << 16 | (1 + below(r, 10)));
        put4(b + 48 + 24 * i, below(r, 90000));
        put4(b + 56 + 24 * i, base_scn + below(r, 50000));
    }
    put2(b + 92, 1 << 8);
    put2(b + 94, rows);
    put2(b + 96, (unsigned)top - 92);
}

static void make_block(uint8_t *b, uint64_t seed, uint32_t block, uint32_t blocks)
{
    struct rnd r = {mix(seed + (uint64_t)block * 0x10001) | 1};
    enum kind kind = kind_of(seed, block);
    memset(b, 0, BLOCK);
    if (block == 0) {
        static const uint8_t mark[] = {0x7d, 0x7c, 0x7b, 0x7a};
        b[1] = 0xa2;
        put4(b + 4, 0xffc00000);
        put4(b + 20, BLOCK);
        put4(b + 24, blocks - 1);
        memcpy(b + 28, mark, sizeof mark);
        return;
    }
    if (kind == ZEROS && block > 1)
        return;
    if (kind == UNUSED && block > 1) {
        seal(b, 0, block, 0);
        return;
    }
    if (kind == LOB) {
        for (size_t i = HEADER + 36; i < BLOCK - TAIL; i += 4)
            put4(b + i, below(&r, UINT32_MAX));
        seal(b, 0x28, block, base_scn + below(&r, 50000));
        return;
    }
    fill_rows(b, kind, &r, block);
    seal(b, 0x06, block, base_scn + below(&r, 50000));
}

/* As an UPDATE leaves it: a slot, a few rows with other numbers and dates, all else as it was. */
static void change_block(uint8_t *b, uint32_t block, uint64_t round)
{
    struct rnd r = {mix(round * 0x9e3779b97f4a7c15U + block) | 1};
    uint32_t scn = base_scn + 60000 + (uint32_t)(round % 10000) * 1000 + below(&r, 1000);
    if (b[0] != 6) { /* a block that comes into use */
        memset(b, 0, BLOCK);
        fill_rows(b, ORDERS, &r, block);
        seal(b, 6, block, scn);
        return;
    }
    unsigned rows = get2(b + 94);
    bool index = b[HEADER] == 2;
    for (unsigned i = 0, count = 2 + below(&r, 6); i < count && rows; i++) {
        unsigned n = below(&r, rows);
        uint8_t *at = b + 92 + get2(b + ROWS_AT + 2 * n);
        at[index ? 0 : 1] ^= 2;
        if (index)
            continue;
        for (uint8_t *column = at + 3, columns = at[2]; columns; column += *column + 1, columns--)
            if (*column == 4 && column[1] == 0xc3)
                number(column, below(&r, 1000000), 3);
            else if (*column == 7 && column[1] == 120)
                date(column, &r, 2800 + round);
    }
    put4(b + 44, below(&r, 32) << 16 | (1 + below(&r, 10)));
    put4(b + 48, 90000 + below(&r, 9000));
    put4(b + 56, scn);
    seal(b, 6, block, scn);
}

/* ---- verbs ---- */

static int fail(const char *path)
{
    perror(path);
    return 1;
}

static int make(const char *path, uint64_t bytes, uint64_t seed)
{
    static uint8_t batch[BATCH][BLOCK];
    uint32_t blocks = (uint32_t)(bytes / BLOCK);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return fail(path);
    for (uint32_t at = 0; at < blocks; at += BATCH) {
        uint32_t count = blocks - at < BATCH ? blocks - at : BATCH;
        for (uint32_t i = 0; i < count; i++)
            make_block(batch[i], seed, at + i, blocks);
        if (write(fd, batch, (size_t)count * BLOCK) != (ssize_t)count * BLOCK)
            return fail(path);
    }
    return close(fd) == 0 ? 0 : fail(path);
}

/* Each block of the file with that chance, in order. */
static int change(const char *path, double percent, uint64_t seed, const char *list)
{
    uint8_t b[BLOCK];
    struct stat st;
    FILE *to = list ? fopen(list, "w") : NULL;
    int fd = open(path, O_RDWR);
    if (fd < 0 || fstat(fd, &st) != 0 || (list && !to))
        return fail(path);
    struct rnd r = {mix(seed) | 1};
    uint32_t limit = (uint32_t)(percent * 10000);
    for (uint32_t block = 2; block < st.st_size / BLOCK; block++) {
        off_t at = (off_t)block * BLOCK;
        if (below(&r, 1000000) >= limit)
            continue;
        if (pread(fd, b, BLOCK, at) != BLOCK)
            return fail(path);
        change_block(b, block, seed);
        if (pwrite(fd, b, BLOCK, at) != BLOCK)
            return fail(path);
        if (to)
            fprintf(to, "%" PRIu32 "\n", block);
    }
    return (!to || fclose(to) == 0) && close(fd) == 0 ? 0 : fail(path);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "make") == 0)
        return make(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    if ((argc == 5 || argc == 6) && strcmp(argv[1], "change") == 0)
        return change(argv[2], strtod(argv[3], NULL), strtoull(argv[4], NULL, 10),
                      argc == 6 ? argv[5] : NULL);
    fprintf(stderr, "usage: gen_blocks make FILE BYTES SEED\n"
                    "       gen_blocks change FILE PERCENT SEED [LIST]\n");
    return 2;
}
