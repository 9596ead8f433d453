/* Hashes, lent to other rooms so that mbedTLS keeps its one address. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { CRYPTO_SHA256_BYTES = 32, CRYPTO_SHA256_HEX = 65 };

/* SHA-256 as lower-case hex with its NUL. */
void crypto_sha256_hex(const void *bytes, size_t len, char ret[CRYPTO_SHA256_HEX]);
