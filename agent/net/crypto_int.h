/* What the files of this room share about mbedTLS: randomness, errors, times. */
#pragma once
#include "agent/base/err.h"
#include <mbedtls/x509.h>
#include <stdint.h>

/* For mbedTLS's f_rng: the kernel's randomness, safe from any thread. */
int crypto_random(void *unused, unsigned char *bytes, size_t len);
/* err_set with mbedTLS's own words appended. */
bool crypto_failed(struct err *err, enum err_code code, int rc, const char *what);
uint64_t crypto_time_us(const mbedtls_x509_time *time);
