/* What tls.c and tls_peer.c share: reading names out of a certificate. */
#pragma once
#include "agent/net/tls.h"
#include <mbedtls/x509_crt.h>

bool tls_peer_read(struct tls_peer *peer, const mbedtls_x509_crt *crt, struct err *err) MUST;
void tls_peer_done(struct tls_peer *peer);
/* True when a subject alternative name is this DNS name or IP; the CN does not count. */
bool tls_peer_named(const mbedtls_x509_crt *crt, const char *name);
