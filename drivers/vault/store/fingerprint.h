/* Fingerprints of records: 128 bits that only who has the secret can foresee (ingest/README.md). */
#pragma once
#include "drivers/vault/store/format.h"

enum { FINGERPRINT_BYTES = 16, FINGERPRINT_SECRET_BYTES = 192 };

struct fingerprint {
    uint8_t bytes[FINGERPRINT_BYTES];
};
/* secret: FINGERPRINT_SECRET_BYTES random bytes. */
void fingerprint_of(const uint8_t *secret, const void *data, size_t len, struct fingerprint *ret);
bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b);
