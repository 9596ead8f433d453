/* Another io, for reading only and at a bounded rate: what inspects a store needs no more. */
#pragma once
#include "drivers/vault/io/io.h"

struct paced_options {
    uint64_t bytes_per_s;    /* 0: no bound */
    bool (*stop)(void *arg); /* asked between reads and while waiting: CANCELLED. NULL: never */
    void *arg;
};
/* Borrows io. All that would change the store is DENIED here already. */
struct io *paced_open(struct io *io, const struct paced_options *options, struct err *err) MUST;
