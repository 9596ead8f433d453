/* The record stream of one TCP connection (RFC 5531, 11): bytes in, whole records out, put together
 * in the buffer they arrived in. Pure; the buffer belongs to the caller. */
#pragma once
#include "drivers/vault/nfs/rpc.h"

enum {
    RECORD_FRAGMENTS_MAX = 1024,
    /* The longest record in its fragments: no buffer needs more. */
    RECORD_BUFFER_MAX = RPC_RECORD_MAX + 4 + 4 * RECORD_FRAGMENTS_MAX,
};

enum record_step {
    RECORD_MORE,  /* bytes are missing: `need` of them, counted from `begin`, lead on */
    RECORD_WHOLE, /* one is there */
    RECORD_LIE,   /* too long, empty, no multiple of four, endless fragments: hang up */
};
/* All 0 at the start. Bytes before begin are no longer wanted. */
struct record {
    size_t begin, need;
    /* record.c's: what is put together behind the first marker, and the next marker */
    size_t len, at;
    unsigned fragments;
};
/* bytes[0 .. filled) is what has come. Fragments are moved together in place. */
enum record_step record_next(struct record *record, uint8_t *bytes, size_t filled, size_t *ret_at,
                             size_t *ret_len) MUST;
/* The bytes from begin on now lie at 0. */
void record_moved(struct record *record);
