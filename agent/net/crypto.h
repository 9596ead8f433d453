/* Hashes, lent to other rooms so that mbedTLS keeps its one address. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { CRYPTO_SHA256_BYTES = 32, CRYPTO_SHA256_HEX = 65 };

/* SHA-256 as lower-case hex with its NUL. */
void crypto_sha256_hex(const void *bytes, size_t len, char ret[CRYPTO_SHA256_HEX]);
void crypto_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                        uint8_t ret[CRYPTO_SHA256_BYTES]);
/* For protocols that still ask for it (Content-MD5), as base64 with its NUL; never for trust. */
enum { CRYPTO_MD5_BASE64 = 25 };
void crypto_md5_base64(const void *bytes, size_t len, char ret[CRYPTO_MD5_BASE64]);
