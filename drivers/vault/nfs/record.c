/* Records out of a stream of fragments, in place. */
#include "drivers/vault/nfs/record.h"

#include <string.h>

enum { MARKER = 4 };
static const uint32_t LAST = 0x80000000u;

static uint32_t marker_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Judged before its bytes are waited for. */
static bool is_lie(const struct record *record, size_t size, bool last)
{
    size_t whole = record->len + size;
    return size > RPC_RECORD_MAX - record->len || record->fragments >= RECORD_FRAGMENTS_MAX ||
           (last ? whole == 0 || whole % 4 != 0 : size == 0);
}

static enum record_step wants(struct record *record, size_t until)
{
    record->need = until - record->begin;
    return RECORD_MORE;
}

enum record_step record_next(struct record *record, uint8_t *bytes, size_t filled, size_t *ret_at,
                             size_t *ret_len)
{
    for (;;) {
        if (filled < record->at + MARKER)
            return wants(record, record->at + MARKER);
        uint32_t marker = marker_at(bytes + record->at);
        size_t size = marker & ~LAST;
        bool last = (marker & LAST) != 0;
        if (is_lie(record, size, last))
            return RECORD_LIE;
        size_t end = record->at + MARKER + size;
        if (filled < end)
            return wants(record, end);
        if (record->fragments > 0)
            memmove(bytes + record->begin + MARKER + record->len, bytes + record->at + MARKER,
                    size);
        record->len += size;
        record->at = end;
        record->fragments++;
        if (!last)
            continue;
        *ret_at = record->begin + MARKER;
        *ret_len = record->len;
        *record = (struct record){.begin = end, .at = end, .need = MARKER};
        return RECORD_WHOLE;
    }
}

void record_moved(struct record *record)
{
    record->at -= record->begin;
    record->begin = 0;
}
