/* The states that rows name (heads and snapshots), looked at one by one: what scrub, fsck and sync
 * have to say of them. */
#pragma once
#include "drivers/vault/store/finding.h"
#include "drivers/vault/store/survey.h"

struct teller {
    finding_fn *fn; /* NULL: only counted */
    void *arg;
    uint64_t findings, damages;
};
void teller_tell(struct teller *teller, const struct finding *finding);

struct states_result {
    uint64_t states, damaged;
};
/* Checks all; what is damaged is told when teller is not NULL: volume, snapshot, file, records. */
bool states_check(struct survey *survey, struct family *family, struct teller *teller,
                  struct states_result *ret, struct err *err) MUST;
/* One state: its map, then its identity (of zeros: not known). */
bool state_check(struct survey *survey, struct family *family, const struct root *table,
                 uint64_t slots, const struct hash *identity, bool *ret_whole, struct err *err)
    MUST;
