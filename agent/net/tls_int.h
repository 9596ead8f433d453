/* What the tls files share: names out of a certificate, tickets. */
#pragma once
#include "agent/net/tls.h"
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/x509_crt.h>

bool tls_peer_read(struct tls_peer *peer, const mbedtls_x509_crt *crt, struct err *err) MUST;
void tls_peer_done(struct tls_peer *peer);
/* True when a subject alternative name is this DNS name or IP; the CN does not count. */
bool tls_peer_named(const mbedtls_x509_crt *crt, const char *name);
/* What a resumed session does not ask by itself: certificate and authority valid at this moment. */
bool tls_peer_is_current(const mbedtls_x509_crt *crt, const mbedtls_x509_crt *authorities);

/* For a key that many connections use: EC arithmetic with it costs less from now on. */
int tls_key_prepare(mbedtls_pk_context *key) MUST;

/* A server's ticket keys: in memory only, two of them, changed every TLS_TICKET_SECONDS. */
struct tls_tickets {
    mbedtls_ssl_ticket_context keys;
    const mbedtls_x509_crt *authorities;
};
int tls_tickets_setup(struct tls_tickets *tickets, mbedtls_ssl_config *conf,
                      const mbedtls_x509_crt *authorities) MUST;
mbedtls_ssl_ticket_write_t tls_ticket_write;
mbedtls_ssl_ticket_parse_t tls_ticket_parse;

mbedtls_ssl_context *tls_ssl(struct tls *tls);
const mbedtls_x509_crt *tls_authorities(const struct tls *tls);
