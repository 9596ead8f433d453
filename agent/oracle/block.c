/* Oracle blocks: block 0, the generic header and tail, and verification in dbverify's order. */
#include "agent/oracle/block.h"

#include "agent/oracle/bytes.h"
#include <assert.h>
#include <stdatomic.h>

/* Offsets and values: seen in real block 0s of 10.2, 11.2 and 12.1 and in real data blocks of 10g,
 * 11g and 19c, except where said. */
enum {
    ZERO_RDBA = 4,
    ZERO_BLOCK_SIZE = 20,
    ZERO_BLOCKS = 24,
    ZERO_MAGIC = 28,
    KCBH_CHECKSUM = 16,
    FLAG_CHECKSUM = 0x04,
    SEQUENCE_CORRUPT = 0xff,
    FORMAT_LEGACY = 0x02, /* blocks of 8i and 9i keep it until they are rewritten */
    FORMAT_512 = 0x22,
    RFILE_SHIFT = 22,
};
static const uint8_t magic_little[4] = {0x7d, 0x7c, 0x7b, 0x7a};
static const uint8_t magic_big[4] = {0x7a, 0x7b, 0x7c, 0x7d}; /* OpenLogReplicator */
static const uint32_t zero_rdba = 0xffc00000;                 /* file 1023, block 0 */

uint8_t block_size_code(uint32_t block_size)
{
    for (unsigned n = 1; n < 8; n++)
        if (block_size == 256u << n)
            return (uint8_t)((n << 5) + 2);
    return 0;
}

/* 9.2 files: size at 4, marks 0x5a5b5c5d or 0x6a6b6c6d at 12, in either order. */
static bool is_old_zero(const uint8_t *b)
{
    if (b[0] || b[1] || b[2] || b[3])
        return false;
    enum byte_order order = b[12] > b[15] ? ORDER_LITTLE : ORDER_BIG;
    uint32_t mark = bytes_u4(b + 12, order);
    return (mark == 0x5a5b5c5d || mark == 0x6a6b6c6d) && block_size_code(bytes_u4(b + 4, order));
}

enum block_zero_verdict block_zero_read(const uint8_t *bytes, size_t len,
                                        struct block_zero *ret_zero)
{
    if (len < BLOCK_ZERO_BYTES)
        return BLOCK_ZERO_ABSENT;
    struct block_zero zero = {0};
    if (memcmp(bytes + ZERO_MAGIC, magic_big, sizeof magic_big) == 0)
        zero.order = ORDER_BIG;
    else if (memcmp(bytes + ZERO_MAGIC, magic_little, sizeof magic_little) != 0)
        return is_old_zero(bytes) ? BLOCK_ZERO_OLD : BLOCK_ZERO_ABSENT;
    zero.block_size = bytes_u4(bytes + ZERO_BLOCK_SIZE, zero.order);
    zero.blocks = bytes_u4(bytes + ZERO_BLOCKS, zero.order);
    uint8_t code = block_size_code(zero.block_size);
    /* OpenLogReplicator accepts the code of 512 on 1024-byte logs, oracdc wants 0x42. */
    bool agree = code && (bytes[1] == code || (zero.block_size == 1024 && bytes[1] == FORMAT_512));
    if (bytes[0] != 0 || !agree)
        return BLOCK_ZERO_INCONSISTENT;
    *ret_zero = zero;
    return BLOCK_ZERO_GOOD;
}

bool block_zero_is_intact(const uint8_t *bytes, const struct block_zero *zero)
{
    bool no_checksum = bytes[KCBH_CHECKSUM] == 0 && bytes[KCBH_CHECKSUM + 1] == 0;
    return bytes_u4(bytes + ZERO_RDBA, zero->order) == zero_rdba &&
           (no_checksum || block_fold(bytes, zero->block_size) == 0);
}

uint64_t block_zero_file_size(const struct block_zero *zero)
{
    return ((uint64_t)zero->blocks + 1) * zero->block_size;
}

static uint16_t fold_u8(uint64_t x)
{
    x ^= x >> 32;
    x ^= x >> 16;
    return (uint16_t)x;
}

uint16_t block_fold_portable(const uint8_t *bytes, size_t len)
{
    uint64_t sum = 0;
    for (; len >= sizeof sum; len -= sizeof sum, bytes += sizeof sum) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        sum ^= word;
    }
    uint64_t rest = 0;
    memcpy(&rest, bytes, len);
    return fold_u8(sum ^ rest);
}

/* Hardware prefetch stops at page borders; asking this far ahead carries it over them. */
enum { PREFETCH_BYTES = 2048, STRIDE = 256 };

static inline void prefetch_ahead(const uint8_t *at)
{
    for (unsigned line = 0; line < STRIDE; line += 64)
        __builtin_prefetch((const void *)((uintptr_t)at + PREFETCH_BYTES + line));
}

/* GCC splits or widens these to what the target function allows: SSE2, NEON, AVX2. */
typedef uint64_t vec16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t vec32 __attribute__((vector_size(32), aligned(1), may_alias));

static uint16_t fold_vec16(const uint8_t *bytes, size_t len)
{
    vec16 a = {0}, b = {0}, c = {0}, d = {0};
    for (; len >= STRIDE; len -= STRIDE, bytes += STRIDE) {
        const vec16 *v = (const vec16 *)bytes;
        prefetch_ahead(bytes);
        a ^= v[0] ^ v[4] ^ v[8] ^ v[12];
        b ^= v[1] ^ v[5] ^ v[9] ^ v[13];
        c ^= v[2] ^ v[6] ^ v[10] ^ v[14];
        d ^= v[3] ^ v[7] ^ v[11] ^ v[15];
    }
    a ^= b ^ c ^ d;
    return fold_u8(a[0] ^ a[1]) ^ block_fold_portable(bytes, len);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint16_t fold_vec32(const uint8_t *bytes, size_t len)
{
    vec32 a = {0}, b = {0}, c = {0}, d = {0};
    for (; len >= STRIDE; len -= STRIDE, bytes += STRIDE) {
        const vec32 *v = (const vec32 *)bytes;
        prefetch_ahead(bytes);
        a ^= v[0] ^ v[4];
        b ^= v[1] ^ v[5];
        c ^= v[2] ^ v[6];
        d ^= v[3] ^ v[7];
    }
    a ^= b ^ c ^ d;
    return fold_u8(a[0] ^ a[1] ^ a[2] ^ a[3]) ^ block_fold_portable(bytes, len);
}
#endif

static atomic_int forced_way;

void block_test_fold(enum block_fold_way way) { atomic_store(&forced_way, (int)way); }

uint16_t block_fold(const uint8_t *bytes, size_t len)
{
    int way = atomic_load_explicit(&forced_way, memory_order_relaxed);
    if (way == BLOCK_FOLD_PORTABLE)
        return block_fold_portable(bytes, len);
#ifdef __x86_64__
    if (way == BLOCK_FOLD_BEST && __builtin_cpu_supports("avx2"))
        return fold_vec32(bytes, len);
#endif
    return fold_vec16(bytes, len);
}

void block_header_read(const uint8_t *block, uint32_t block_size, enum byte_order order,
                       bool big_scn, struct block_header *ret_header)
{
    uint64_t scn = bytes_u4(block + 8, order) | (uint64_t)bytes_u2(block + 12, order) << 32;
    if (big_scn) /* no 0x8000 flag here, unlike in file headers (real 19c block) */
        scn |= (uint64_t)bytes_u2(block + 2, order) << 48;
    *ret_header = (struct block_header){
        .type = block[0],
        .format = block[1],
        .sequence = block[14],
        .flags = block[15],
        .checksum = bytes_u2(block + KCBH_CHECKSUM, order),
        .rdba = bytes_u4(block + 4, order),
        .tail = bytes_u4(block + block_size - 4, order),
        .scn = {scn},
    };
}

uint32_t block_tail_expected(const struct block_header *header)
{
    return (uint32_t)(header->scn.n & 0xffff) << 16 | (uint32_t)header->type << 8 |
           header->sequence;
}

static const struct {
    const char *name, *text;
} verdicts[BLOCK_VERDICT_COUNT] = {
    [BLOCK_GOOD] = {"good", "good"},
    [BLOCK_EMPTY] = {"empty", "never used"},
    [BLOCK_UNFORMATTED] = {"unformatted", "formatted but unused"},
    [BLOCK_NO_CHECKSUM] = {"no_checksum", "without checksum"},
    [BLOCK_MISPLACED] = {"misplaced", "carries another block's address"},
    [BLOCK_BAD_FORMAT] = {"bad_format", "format byte wrong"},
    [BLOCK_MARKED_CORRUPT] = {"marked_corrupt", "marked corrupt by Oracle"},
    [BLOCK_FRACTURED] = {"fractured", "fractured: head and tail disagree"},
    [BLOCK_BAD_CHECKSUM] = {"bad_checksum", "checksum wrong"},
};

const char *block_verdict_text(enum block_verdict verdict)
{
    return (unsigned)verdict < BLOCK_VERDICT_COUNT ? verdicts[verdict].text : "unknown";
}

const char *block_verdict_name(enum block_verdict verdict)
{
    return (unsigned)verdict < BLOCK_VERDICT_COUNT ? verdicts[verdict].name : "unknown";
}

bool block_verdict_is_bad(enum block_verdict verdict) { return verdict >= BLOCK_MISPLACED; }

static bool address_fits(uint32_t rdba, const struct block_place *place, uint64_t block_no)
{
    if (place->rfile_no == BLOCK_BIGFILE_RFILE)
        return rdba == block_no;
    uint32_t low = rdba & ((1u << RFILE_SHIFT) - 1);
    return low == block_no && (place->rfile_no == 0 || rdba >> RFILE_SHIFT == place->rfile_no);
}

static enum block_verdict verify_zero(const uint8_t *block, const struct block_place *place)
{
    struct block_zero zero;
    if (block_zero_read(block, place->block_size, &zero) != BLOCK_ZERO_GOOD ||
        zero.block_size != place->block_size || zero.order != place->order)
        return BLOCK_BAD_FORMAT;
    return block_zero_is_intact(block, &zero) ? BLOCK_GOOD : BLOCK_BAD_CHECKSUM;
}

static bool is_empty(const uint8_t *block, uint32_t block_size)
{
    uint64_t head;
    memcpy(&head, block, sizeof head);
    return head == 0 && bytes_are_zero(block, block_size);
}

enum block_verdict block_verify(const uint8_t *block, const struct block_place *place,
                                uint64_t block_no, struct block_header *ret_header)
{
    block_header_read(block, place->block_size, place->order, place->big_scn, ret_header);
    if (block_no == 0)
        return verify_zero(block, place);
    if (block_no > 1 && is_empty(block, place->block_size))
        return BLOCK_EMPTY;
    if (!address_fits(ret_header->rdba, place, block_no))
        return BLOCK_MISPLACED;
    if (ret_header->format != block_size_code(place->block_size) &&
        ret_header->format != FORMAT_LEGACY)
        return BLOCK_BAD_FORMAT;
    if (ret_header->sequence == SEQUENCE_CORRUPT)
        return BLOCK_MARKED_CORRUPT;
    if (ret_header->tail != block_tail_expected(ret_header))
        return BLOCK_FRACTURED;
    if (!(ret_header->flags & FLAG_CHECKSUM))
        return BLOCK_NO_CHECKSUM;
    if (block_fold(block, place->block_size) != 0)
        return BLOCK_BAD_CHECKSUM;
    return ret_header->type == 0 ? BLOCK_UNFORMATTED : BLOCK_GOOD;
}

static uint16_t checksum_wanted(const uint8_t *block, const struct block_place *place)
{
    uint16_t sum = block_fold(block, place->block_size);
    uint8_t bytes[2];
    memcpy(bytes, &sum, sizeof bytes);
    return bytes_u2(bytes, place->order) ^ bytes_u2(block + KCBH_CHECKSUM, place->order);
}

static void keep_fault(struct block_summary *summary, const struct block_fault *fault)
{
    if (!summary->bad || fault->block_no < summary->first_bad_block)
        summary->first_bad_block = fault->block_no;
    summary->bad++;
    if (summary->fault_count < BLOCK_FAULTS_KEPT)
        summary->faults[summary->fault_count++] = *fault;
}

void block_verify_run(const uint8_t *bytes, uint64_t count, const struct block_place *place,
                      struct block_summary *summary,
                      void (*on_bad)(const struct block_fault *fault, void *context), void *context)
{
    assert(block_size_code(place->block_size));
    for (uint64_t i = 0; i < count; i++, bytes += place->block_size) {
        uint64_t block_no = place->first_block_no + i;
        struct block_header header;
        enum block_verdict verdict = block_verify(bytes, place, block_no, &header);
        summary->counts[verdict]++;
        if (block_verdict_is_bad(verdict)) {
            struct block_fault fault = {block_no, verdict, header, checksum_wanted(bytes, place)};
            keep_fault(summary, &fault);
            if (on_bad)
                on_bad(&fault, context);
        } else if (block_no && scn_less(summary->highest_scn, header.scn)) {
            summary->highest_scn = header.scn;
            summary->highest_block_no = block_no;
        }
    }
    summary->checked += count;
}

void block_summary_add(struct block_summary *total, const struct block_summary *part)
{
    if (part->bad && (!total->bad || part->first_bad_block < total->first_bad_block))
        total->first_bad_block = part->first_bad_block;
    if (scn_less(total->highest_scn, part->highest_scn)) {
        total->highest_scn = part->highest_scn;
        total->highest_block_no = part->highest_block_no;
    }
    total->checked += part->checked;
    total->bad += part->bad;
    for (int i = 0; i < BLOCK_VERDICT_COUNT; i++)
        total->counts[i] += part->counts[i];
    for (size_t i = 0; i < part->fault_count && total->fault_count < BLOCK_FAULTS_KEPT; i++)
        total->faults[total->fault_count++] = part->faults[i];
}
