/* The record stream of one TCP connection (RFC 5531, 11): bytes in, whole records out. Never holds
 * more than RPC_RECORD_MAX bytes of a record, however many fragments it comes in. Pure. */
#pragma once
#include "drivers/vault/nfs/rpc.h"

enum record_step {
    RECORD_MORE,  /* more bytes are needed */
    RECORD_WHOLE, /* one is there */
    RECORD_LIE,   /* too long, empty, endless fragments: hang up */
};
/* Where records are put together; the buffer belongs to the owner. An idle connection needs none:
 * the first bytes fit into `few`. */
struct record {
    uint8_t few[512];
    uint8_t *bytes; /* few, or a large buffer */
    size_t capacity, len;
    /* as the writer of record.c needs */
    size_t begin, end, fragments;
    bool last;
};
