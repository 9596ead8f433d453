/* Fingerprints of records: XXH3 of 128 bits with a secret of full length. */
#include "drivers/vault/store/fingerprint.h"

#include <string.h>
#include <xxhash.h>
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> /* the same sums, as fast as this processor can */
#endif

void fingerprint_of(const uint8_t *secret, const void *data, size_t len, struct fingerprint *ret)
{
    XXH128_hash_t hash = XXH3_128bits_withSecret(data, len, secret, FINGERPRINT_SECRET_BYTES);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(ret->bytes, canonical.digest, FINGERPRINT_BYTES);
}

bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b)
{
    return memcmp(a->bytes, b->bytes, FINGERPRINT_BYTES) == 0;
}
