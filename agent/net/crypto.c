/* What the files of this room share about mbedTLS, and the hash it lends. */
#include "agent/net/crypto.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/net/crypto_int.h"
#include <assert.h>
#include <mbedtls/error.h>
#include <mbedtls/sha256.h>

void crypto_sha256_hex(const void *bytes, size_t len, char ret[CRYPTO_SHA256_HEX])
{
    uint8_t hash[CRYPTO_SHA256_BYTES];
    int rc = mbedtls_sha256_ret(bytes, len, hash, 0);
    assert(rc == 0); /* in software it cannot fail */
    str_hex(hash, sizeof hash, ret);
}

int crypto_random(void *unused, unsigned char *bytes, size_t len)
{
    (void)unused;
    clock_random(bytes, len);
    return 0;
}

bool crypto_failed(struct err *err, enum err_code code, int rc, const char *what)
{
    char text[128];
    mbedtls_strerror(rc, text, sizeof text);
    return err_set(err, code, "%s: %s", what, text);
}

uint64_t crypto_time_us(const mbedtls_x509_time *time)
{
    int64_t seconds = clock_days_from_civil(time->year, time->mon, time->day) * 86400;
    seconds += time->hour * 3600 + time->min * 60 + time->sec;
    return seconds > 0 ? (uint64_t)seconds * 1000000u : 0;
}
