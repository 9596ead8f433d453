/* SCNs and header times: the two numbers everything is ordered and told by. */
#pragma once
#include "agent/base/err.h"
#include <stdint.h>

/* A system change number. A struct, so that the compiler refuses a block number in its place. */
struct scn {
    uint64_t n;
};

#define SCN_NONE ((struct scn){UINT64_MAX}) /* "infinite": an open log's next SCN, no stop SCN */

static inline bool scn_is_none(struct scn s) { return s.n == UINT64_MAX; }
static inline bool scn_less(struct scn a, struct scn b) { return a.n < b.n; }
static inline struct scn scn_max(struct scn a, struct scn b) { return a.n > b.n ? a : b; }
static inline struct scn scn_min(struct scn a, struct scn b) { return a.n < b.n ? a : b; }

/* Byte order of the platform that made the file; every multi-byte read says which. */
enum byte_order { ORDER_LITTLE, ORDER_BIG };

/* Reads the 6- or 8-byte form in a file header (the 8-byte form has bit 15 of the third u2 word
 * set); six FF bytes are SCN_NONE. `at` must have 8 readable bytes.
 * Source: OpenLogReplicator's reader; flagged form seen in a real 19c block. */
struct scn scn_read(const uint8_t *at, enum byte_order order);

/* Header times count seconds of a calendar from 1988-01-01 whose months have 31 days: local time of
 * the database host, no zone. Source: two headers whose times the database also printed. */
struct header_time {
    int year, month, day, hour, minute, second;
};
/* False when the day does not exist in that month (sanity check); 0 means "not set" and is false.
 */
bool header_time_read(uint32_t value, struct header_time *ret_time) MUST;
/* "2018-04-08 16:34:42"; "-" when not set or impossible. */
void header_time_format(uint32_t value, char ret[32]);
/* Microseconds UTC for a host at offset_min from UTC; false when header_time_read is false. */
bool header_time_to_utc(uint32_t value, int offset_min, uint64_t *ret_wall_us) MUST;
