/* What the files of this room share about mbedTLS, and the hash it lends. */
#include "agent/net/crypto.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/net/crypto_int.h"
#include <assert.h>
#include <mbedtls/base64.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/md5.h>
#include <mbedtls/sha256.h>

void crypto_sha256_hex(const void *bytes, size_t len, char ret[CRYPTO_SHA256_HEX])
{
    uint8_t hash[CRYPTO_SHA256_BYTES];
    int rc = mbedtls_sha256_ret(bytes, len, hash, 0);
    assert(rc == 0); /* in software it cannot fail */
    str_hex(hash, sizeof hash, ret);
}

void crypto_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                        uint8_t ret[CRYPTO_SHA256_BYTES])
{
    const mbedtls_md_info_t *sha256 = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    int rc = mbedtls_md_hmac(sha256, key, key_len, bytes, len, ret);
    assert(rc == 0); /* in software it fails for lack of memory alone */
}

void crypto_md5_base64(const void *bytes, size_t len, char ret[CRYPTO_MD5_BASE64])
{
    uint8_t hash[16];
    size_t written;
    int rc = mbedtls_md5_ret(bytes, len, hash);
    assert(rc == 0);
    rc = mbedtls_base64_encode((unsigned char *)ret, CRYPTO_MD5_BASE64, &written, hash, 16);
    assert(rc == 0);
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
