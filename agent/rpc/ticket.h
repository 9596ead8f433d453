/* A kept TLS session in memory and in a file: a cache, so that whatever is wrong with it is silent.
 */
#pragma once
#include "agent/net/tls.h"

enum { TICKET_DIGEST = 32 };

/* bytes NULL: none. As secret as the key of the certificate it belongs to. */
struct ticket {
    uint8_t *bytes;
    size_t len;
    uint64_t saved_us, until_us; /* UTC */
};
/* Nothing unless the file is ours alone (owner, 0600, no link), of this digest, and still good. */
void ticket_load(struct ticket *ret_ticket, const char *path, const uint8_t digest[TICKET_DIGEST]);
/* False when it cannot be written; an old file then stays or is gone. */
bool ticket_save(const struct ticket *ticket, const char *path, const uint8_t digest[TICKET_DIGEST])
    MUST;
bool ticket_is_good(const struct ticket *ticket); /* there, and not too old */
/* Takes what the connection's server gave; without a ticket it stays as it is. */
bool ticket_take(struct ticket *ticket, struct tls *tls) MUST;
void ticket_done(struct ticket *ticket); /* wipes */
