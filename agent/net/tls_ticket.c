/* Session tickets: what a peer shows instead of a handshake, never longer than its certificate. */
#include "agent/net/tls_int.h"

#include "agent/base/clock.h"
#include "agent/net/crypto_int.h"
#include <string.h>

enum { SESSION_MAX = 1 << 16 };

int tls_tickets_setup(struct tls_tickets *tickets, mbedtls_ssl_config *conf,
                      const mbedtls_x509_crt *authorities)
{
    tickets->authorities = authorities;
    mbedtls_ssl_conf_session_tickets_cb(conf, tls_ticket_write, tls_ticket_parse, tickets);
    return mbedtls_ssl_ticket_setup(&tickets->keys, crypto_random, NULL, MBEDTLS_CIPHER_AES_256_GCM,
                                    TLS_TICKET_SECONDS);
}

static bool is_valid_now(const mbedtls_x509_crt *crt, uint64_t now_us)
{
    return crypto_time_us(&crt->valid_from) <= now_us && now_us < crypto_time_us(&crt->valid_to);
}

bool tls_peer_is_current(const mbedtls_x509_crt *crt, const mbedtls_x509_crt *authorities)
{
    uint64_t now_us = clock_wall_us();
    if (!is_valid_now(crt, now_us))
        return false;
    for (const mbedtls_x509_crt *ca = authorities; ca; ca = ca->next)
        if (ca->subject_raw.len == crt->issuer_raw.len &&
            memcmp(ca->subject_raw.p, crt->issuer_raw.p, ca->subject_raw.len) == 0 &&
            is_valid_now(ca, now_us))
            return true;
    return false;
}

int tls_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *start,
                     const unsigned char *end, size_t *ret_len, uint32_t *ret_lifetime)
{
    struct tls_tickets *tickets = arg;
    int rc = mbedtls_ssl_ticket_write(&tickets->keys, session, start, end, ret_len, ret_lifetime);
    if (rc != 0 || !session->peer_cert)
        return rc;
    uint64_t now_us = clock_wall_us();
    uint64_t until_us = crypto_time_us(&session->peer_cert->valid_to);
    uint64_t left_s = until_us > now_us ? (until_us - now_us) / 1000000 : 0;
    if (left_s < *ret_lifetime)
        *ret_lifetime = left_s ? (uint32_t)left_s : 1; /* 0 would mean: as long as you like */
    return 0;
}

/* A refusal costs the peer a whole handshake, where it hears the reason in words. */
int tls_ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *bytes, size_t len)
{
    struct tls_tickets *tickets = arg;
    int rc = mbedtls_ssl_ticket_parse(&tickets->keys, session, bytes, len);
    if (rc != 0)
        return rc;
    uint64_t now_s = clock_wall_us() / 1000000;
    uint64_t start_s = (uint64_t)session->start;
    if (now_s + 1 < start_s || now_s > start_s + TLS_TICKET_SECONDS || !session->peer_cert ||
        !tls_peer_is_current(session->peer_cert, tickets->authorities))
        return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
    return 0;
}

bool tls_session_save(struct tls *tls, uint8_t **ret_bytes, size_t *ret_len, uint32_t *ret_seconds,
                      struct err *err)
{
    const mbedtls_ssl_session *session = mbedtls_ssl_get_session_pointer(tls_ssl(tls));
    if (!session || !session->ticket_len)
        return err_set(err, ERR_NOT_FOUND, "the other side gave no ticket");
    size_t len = 0;
    int rc = mbedtls_ssl_session_save(session, NULL, 0, &len);
    if (rc != MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL || len > SESSION_MAX)
        return crypto_failed(err, ERR_INTERNAL, rc, "keep the TLS session");
    AUTO(mem) uint8_t *bytes = own_alloc(len, err);
    if (!bytes)
        return false;
    rc = mbedtls_ssl_session_save(session, bytes, len, &len);
    if (rc != 0)
        return crypto_failed(err, ERR_INTERNAL, rc, "keep the TLS session");
    uint32_t seconds = session->ticket_lifetime;
    *ret_seconds = seconds && seconds < TLS_TICKET_SECONDS ? seconds : TLS_TICKET_SECONDS;
    *ret_len = len;
    *ret_bytes = TAKE(bytes);
    return true;
}

bool tls_session_use(struct tls *tls, const uint8_t *bytes, size_t len)
{
    mbedtls_ssl_session session;
    mbedtls_ssl_session_init(&session);
    bool ok = mbedtls_ssl_session_load(&session, bytes, len) == 0 && session.peer_cert &&
              session.ticket_len && tls_peer_is_current(session.peer_cert, tls_authorities(tls)) &&
              mbedtls_ssl_set_session(tls_ssl(tls), &session) == 0;
    mbedtls_ssl_session_free(&session);
    return ok;
}
