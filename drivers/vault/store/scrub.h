/* Scrub: everything a store holds is read and compared: objects against the rows, frames against
 * their sums, records against their content hashes, maps up to the identity of each snapshot.
 * Repairs nothing, changes nothing, takes no ownership: it runs beside the owner. */
#pragma once
#include "drivers/vault/store/finding.h"

struct scrub_options {
    uint64_t bytes_per_s;    /* 0: no bound */
    const char *position;    /* a local file: where the next run goes on; NULL: none */
    bool (*stop)(void *arg); /* CANCELLED; asked often. NULL: never */
    finding_fn *found;       /* NULL: only counted */
    void *arg;               /* of both */
};
struct scrub_result {
    uint64_t objects, bytes;    /* read by this run */
    uint64_t records, states;   /* whose hashes, identities were compared */
    uint64_t findings, damages; /* told; of them what makes the store less than it should be */
    bool resumed;               /* it went on where another run ended */
};
/* False only when it could not be done to the end (then the position says how far it came). */
bool scrub_store(struct io *io, const struct scrub_options *options, struct scrub_result *ret,
                 struct err *err) MUST;
