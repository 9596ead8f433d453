/* TLS 1.2 with certificates on both sides, over mbedTLS 2.28. */
#include "agent/net/tls.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/crypto_int.h"
#include "agent/net/sock.h"
#include "agent/net/tls_int.h"
#include "agent/net/x509.h"
#include <assert.h>
#include <errno.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/sha256.h>
#include <mbedtls/ssl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CERT_FILE_MAX = 1 << 20,
    HEAD_BYTES = 64,        /* of a record buffer: counter, header, and a nonce */
    RECEIVES_PER_READ = 64, /* alerts and empty records must not keep the loop */
};

struct tls_context {
    size_t refs;
    enum tls_side side;
    mbedtls_ssl_config conf;
    mbedtls_x509_crt ca, cert;
    mbedtls_pk_context key;
    struct tls_tickets tickets; /* a server's */
};

struct tls {
    struct tls_context *context;
    mbedtls_ssl_context ssl;
    int fd;
    int socket_errno; /* of the last failed send or recv */
    int receives;     /* within one tls_read */
    bool established, gentle, verified, resting;
    struct tls_peer peer;
};

/* AEAD with forward secrecy only: RFC 9113 appendix A forbids the rest for HTTP/2. */
static const int cipher_suites[] = {
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    0,
};
static const mbedtls_ecp_group_id curves[] = {MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_SECP384R1,
                                              MBEDTLS_ECP_DP_NONE};
static const char *alpn_protocols[] = {"h2", NULL};

void tls_context_ref(struct tls_context *context) { context->refs++; }

void tls_context_free(struct tls_context *context)
{
    if (!context || --context->refs)
        return;
    mbedtls_ssl_ticket_free(&context->tickets.keys);
    mbedtls_ssl_config_free(&context->conf);
    mbedtls_x509_crt_free(&context->ca);
    mbedtls_x509_crt_free(&context->cert);
    mbedtls_pk_free(&context->key);
    own_free(context);
}

static bool load_certificates(mbedtls_x509_crt *crt, const char *path, const char *what,
                              struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, CERT_FILE_MAX, &len, err);
    if (!text)
        return err_wrap(err, "%s", what);
    int rc = mbedtls_x509_crt_parse(crt, (unsigned char *)text, len + 1);
    if (rc == 0)
        return true;
    crypto_failed(err, ERR_CONFIG, rc < 0 ? rc : MBEDTLS_ERR_X509_INVALID_FORMAT, "cannot be read");
    return err_wrap(err, "%s '%s'", what, path);
}

static bool load_files(struct tls_context *context, const struct tls_files *files, struct err *err)
{
    if (!load_certificates(&context->ca, files->ca_file, "certificate authority", err) ||
        !load_certificates(&context->cert, files->cert_file, "certificate", err))
        return false;
    AUTO(x509_key) char *text = x509_read_key(files->key_file, err);
    if (!text)
        return false;
    int rc = mbedtls_pk_parse_key(&context->key, (unsigned char *)text, strlen(text) + 1, NULL, 0);
    if (rc != 0) {
        crypto_failed(err, ERR_CONFIG, rc, "cannot be read");
        return err_wrap(err, "private key '%s'", files->key_file);
    }
    if (mbedtls_pk_check_pair(&context->cert.pk, &context->key) != 0)
        return err_set(err, ERR_CONFIG, "private key '%s' does not belong to certificate '%s'",
                       files->key_file, files->cert_file);
    return true;
}

/* A client uses its key once or, with a ticket, not at all. */
static int prepare_keys(struct tls_context *context)
{
    int rc = context->side == TLS_SERVER ? tls_key_prepare(&context->key) : 0;
    for (mbedtls_x509_crt *ca = &context->ca; rc == 0 && ca && context->side == TLS_SERVER;
         ca = ca->next)
        rc = tls_key_prepare(&ca->pk);
    return rc;
}

static int configure(struct tls_context *context)
{
    mbedtls_ssl_config *conf = &context->conf;
    int endpoint = context->side == TLS_SERVER ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;
    int rc = mbedtls_ssl_config_defaults(conf, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                         MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc != 0)
        return rc;
    mbedtls_ssl_conf_min_version(conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_ciphersuites(conf, cipher_suites);
    mbedtls_ssl_conf_curves(conf, curves);
    mbedtls_ssl_conf_cert_profile(conf, &mbedtls_x509_crt_profile_next);
    mbedtls_ssl_conf_renegotiation(conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_session_tickets(conf, MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
    mbedtls_ssl_conf_rng(conf, crypto_random, NULL);
    mbedtls_ssl_conf_authmode(conf, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(conf, &context->ca, NULL);
    rc = mbedtls_ssl_conf_own_cert(conf, &context->cert, &context->key);
    if (rc == 0 && context->side == TLS_SERVER)
        rc = tls_tickets_setup(&context->tickets, conf, &context->ca);
    return rc ? rc : mbedtls_ssl_conf_alpn_protocols(conf, alpn_protocols);
}

struct tls_context *tls_context_new(enum tls_side side, const struct tls_files *files,
                                    struct err *err)
{
    AUTO(tls_context) struct tls_context *context = own_alloc(sizeof *context, err);
    if (!context)
        return NULL;
    context->refs = 1;
    context->side = side;
    mbedtls_ssl_config_init(&context->conf);
    mbedtls_x509_crt_init(&context->ca);
    mbedtls_x509_crt_init(&context->cert);
    mbedtls_pk_init(&context->key);
    mbedtls_ssl_ticket_init(&context->tickets.keys);
    if (!load_files(context, files, err))
        return NULL;
    int rc = prepare_keys(context);
    if (rc == 0)
        rc = configure(context);
    if (rc != 0) {
        crypto_failed(err, ERR_INTERNAL, rc, "configure TLS");
        return NULL;
    }
    return TAKE(context);
}

bool tls_context_digest(const struct tls_context *context, const char *text, uint8_t ret[32],
                        struct err *err)
{
    mbedtls_sha256_context sha;
    mbedtls_sha256_init(&sha);
    int rc = mbedtls_sha256_starts_ret(&sha, 0);
    if (rc == 0)
        rc = mbedtls_sha256_update_ret(&sha, (const uint8_t *)text, strlen(text) + 1);
    if (rc == 0)
        rc = mbedtls_sha256_update_ret(&sha, context->cert.raw.p, context->cert.raw.len);
    for (const mbedtls_x509_crt *ca = &context->ca; rc == 0 && ca; ca = ca->next)
        rc = mbedtls_sha256_update_ret(&sha, ca->raw.p, ca->raw.len);
    if (rc == 0)
        rc = mbedtls_sha256_finish_ret(&sha, ret);
    mbedtls_sha256_free(&sha);
    return rc == 0 || crypto_failed(err, ERR_INTERNAL, rc, "digest of a certificate");
}

static int bio_send(void *arg, const unsigned char *bytes, size_t len)
{
    struct tls *tls = arg;
    ssize_t n = send(tls->fd, bytes, len, MSG_NOSIGNAL);
    if (n >= 0)
        return (int)n;
    if (errno == EAGAIN || errno == EINTR)
        return MBEDTLS_ERR_SSL_WANT_WRITE;
    tls->socket_errno = errno;
    return MBEDTLS_ERR_NET_SEND_FAILED;
}

static int bio_recv(void *arg, unsigned char *bytes, size_t size)
{
    struct tls *tls = arg;
    if (tls->receives++ >= RECEIVES_PER_READ && tls->established)
        return MBEDTLS_ERR_SSL_WANT_READ;
    ssize_t n = recv(tls->fd, bytes, size, 0);
    if (n >= 0)
        return (int)n;
    if (errno == EAGAIN || errno == EINTR)
        return MBEDTLS_ERR_SSL_WANT_READ;
    tls->socket_errno = errno;
    return MBEDTLS_ERR_NET_RECV_FAILED;
}

/* Asked in a whole handshake only; the verdict stays mbedTLS's. */
/* NOLINTNEXTLINE(readability-non-const-parameter): mbedTLS's type */
static int on_verify(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    (void)crt;
    (void)depth;
    (void)flags;
    struct tls *tls = arg;
    tls->verified = true;
    return 0;
}

struct tls *tls_new(struct tls_context *context, int fd, struct err *err)
{
    AUTO(tls) struct tls *tls = own_alloc(sizeof *tls, err);
    if (!tls)
        return NULL;
    tls->fd = -1;
    tls->context = context;
    tls_context_ref(context);
    mbedtls_ssl_init(&tls->ssl);
    int rc = mbedtls_ssl_setup(&tls->ssl, &context->conf);
    if (rc != 0) {
        crypto_failed(err, ERR_NO_MEMORY, rc, "set up TLS connection");
        return NULL;
    }
    mbedtls_ssl_set_verify(&tls->ssl, on_verify, tls);
    mbedtls_ssl_set_bio(&tls->ssl, tls, bio_send, bio_recv, NULL);
    tls->fd = fd;
    return TAKE(tls);
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    if (tls->established)
        IGNORE(mbedtls_ssl_close_notify(&tls->ssl)); /* a courtesy to the other side */
    mbedtls_ssl_free(&tls->ssl);
    if (tls->fd >= 0 && tls->gentle)
        sock_close_gently(tls->fd);
    else if (tls->fd >= 0)
        close(tls->fd);
    tls_peer_done(&tls->peer);
    tls_context_free(tls->context);
    own_free(tls);
}

int tls_fd(const struct tls *tls) { return tls->fd; }
bool tls_is_resumed(const struct tls *tls) { return tls->established && !tls->verified; }
mbedtls_ssl_context *tls_ssl(struct tls *tls) { return &tls->ssl; }
const mbedtls_x509_crt *tls_authorities(const struct tls *tls) { return &tls->context->ca; }

const struct tls_peer *tls_peer(const struct tls *tls)
{
    return tls->established ? &tls->peer : NULL;
}

static bool fail_verify(uint32_t flags, struct err *err)
{
    const char *why = "is not acceptable";
    if (flags & MBEDTLS_X509_BADCERT_MISSING)
        why = "is missing";
    else if (flags & MBEDTLS_X509_BADCERT_EXPIRED)
        why = "has expired";
    else if (flags & MBEDTLS_X509_BADCERT_FUTURE)
        why = "is not valid yet; hint: compare the clocks";
    else if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
        why = "is not signed by our certificate authority";
    else if (flags & (MBEDTLS_X509_BADCERT_EXT_KEY_USAGE | MBEDTLS_X509_BADCERT_KEY_USAGE))
        why = "was issued for another use";
    return err_set(err, ERR_UNAUTHENTICATED, "its certificate %s", why);
}

static void fail_alert(unsigned alert, struct err *err)
{
    static const struct {
        unsigned alert;
        const char *why;
    } table[] = {
        {MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED, "our certificate: it was revoked"},
        {MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED, "our certificate: it has expired"},
        {MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA, "our certificate: it is of another authority"},
        {MBEDTLS_SSL_ALERT_MSG_BAD_CERT, "our certificate"},
        {MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT, "our certificate: it was issued for another use"},
        {MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN, "our certificate"},
        {MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED, "our certificate"},
        {MBEDTLS_SSL_ALERT_MSG_NO_CERT, "us: it wants a certificate"},
    };
    const char *why = "our certificate or our TLS settings";
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].alert == alert)
            why = table[i].why;
    err_set(err, ERR_UNAUTHENTICATED, "it refuses %s (TLS alert %u)", why, alert);
}

/* What the server said before it closed: it waits behind the failure of what we were sending. */
static bool read_last_alert(struct tls *tls, unsigned *ret_alert)
{
    uint8_t record[7]; /* alert, version, length 2, level, what */
    return recv(tls->fd, record, sizeof record, MSG_DONTWAIT) == (ssize_t)sizeof record &&
           record[0] == MBEDTLS_SSL_MSG_ALERT && record[1] == 3 && record[3] == 0 &&
           record[4] == 2 && record[5] == MBEDTLS_SSL_ALERT_LEVEL_FATAL &&
           (*ret_alert = record[6], true);
}

static enum tls_step fail_handshake(struct tls *tls, int rc, struct err *err)
{
    tls->gentle = true;
    unsigned alert;
    uint32_t flags = mbedtls_ssl_get_verify_result(&tls->ssl);
    if (rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED && flags && flags != UINT32_MAX)
        fail_verify(flags, err);
    else if (rc == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE)
        err_set(err, ERR_UNAUTHENTICATED, "it shows no certificate");
    else if (rc == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
        fail_alert(tls->ssl.in_msg[1], err);
    else if (rc == MBEDTLS_ERR_NET_SEND_FAILED && read_last_alert(tls, &alert))
        fail_alert(alert, err);
    else if (rc == MBEDTLS_ERR_SSL_CONN_EOF || rc == MBEDTLS_ERR_NET_RECV_FAILED ||
             rc == MBEDTLS_ERR_NET_SEND_FAILED)
        /* Its alert is often lost behind what we were still sending. */
        err_set(err, ERR_UNAVAILABLE, "it closed the connection during the TLS handshake%s",
                tls->ssl.conf->endpoint == MBEDTLS_SSL_IS_CLIENT
                    ? "; hint: was our certificate issued by its authority?"
                    : "");
    else
        crypto_failed(err, ERR_UNAVAILABLE, rc, "TLS handshake");
    return TLS_FAILED;
}

static enum tls_step finish_handshake(struct tls *tls, struct err *err)
{
    /* mbedTLS accepts a peer that names no protocol at all. */
    const char *protocol = mbedtls_ssl_get_alpn_protocol(&tls->ssl);
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&tls->ssl);
    bool ok = false;
    if (!protocol || strcmp(protocol, "h2") != 0)
        err_set(err, ERR_UNAVAILABLE, "it does not speak HTTP/2 (no ALPN 'h2')");
    else if (!crt)
        err_set(err, ERR_UNAUTHENTICATED, "it shows no certificate");
    else if (!tls->verified && !tls_peer_is_current(crt, &tls->context->ca))
        err_set(err, ERR_UNAUTHENTICATED, "the resumed certificate is not valid now");
    else
        ok = tls_peer_read(&tls->peer, crt, err);
    tls->established = ok;
    return ok ? TLS_DONE : TLS_FAILED;
}

enum tls_step tls_handshake(struct tls *tls, struct err *err)
{
    int rc = mbedtls_ssl_handshake(&tls->ssl);
    if (rc == MBEDTLS_ERR_SSL_WANT_READ)
        return TLS_WANT_READ;
    if (rc == MBEDTLS_ERR_SSL_WANT_WRITE)
        return TLS_WANT_WRITE;
    return rc ? fail_handshake(tls, rc, err) : finish_handshake(tls, err);
}

bool tls_check_name(struct tls *tls, const char *name, struct err *err)
{
    assert(tls->established);
    if (tls_peer_named(mbedtls_ssl_get_peer_cert(&tls->ssl), name))
        return true;
    return err_set(err, ERR_UNAUTHENTICATED, "its certificate is not issued for '%s'", name);
}

/* Whole pages inside a record buffer, which holds more than one record's worth of bytes. */
static void give_back(const unsigned char *buffer)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)buffer + HEAD_BYTES + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)buffer + MBEDTLS_SSL_MAX_CONTENT_LEN) & ~(page - 1);
    if (to > from)
        IGNORE(madvise((void *)from, to - from, MADV_DONTNEED)); /* then it stays: no harm */
}

void tls_rest(struct tls *tls)
{
    mbedtls_ssl_context *ssl = &tls->ssl;
    if (tls->resting || !tls->established || ssl->in_left || ssl->in_offt || ssl->out_left)
        return;
    /* Between two records mbedTLS keeps only counters there, in the first bytes. */
    give_back(ssl->in_buf);
    give_back(ssl->out_buf);
    tls->resting = true;
}

static enum tls_step fail_io(struct tls *tls, int rc, struct err *err)
{
    if (rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || rc == MBEDTLS_ERR_SSL_CONN_EOF)
        return TLS_CLOSED;
    if (tls->socket_errno)
        err_errno(err, tls->socket_errno, "connection");
    else
        crypto_failed(err, ERR_UNAVAILABLE, rc, "connection");
    err->code = ERR_UNAVAILABLE;
    return TLS_FAILED;
}

static enum tls_step judge_io(struct tls *tls, int rc, size_t *ret_len, struct err *err)
{
    if (rc > 0) {
        tls->resting = false;
        *ret_len = (size_t)rc;
        return TLS_DONE;
    }
    if (rc == MBEDTLS_ERR_SSL_WANT_READ)
        return TLS_WANT_READ;
    if (rc == MBEDTLS_ERR_SSL_WANT_WRITE)
        return TLS_WANT_WRITE;
    return fail_io(tls, rc, err);
}

enum tls_step tls_read(struct tls *tls, void *to, size_t size, size_t *ret_len, struct err *err)
{
    tls->receives = 0;
    return judge_io(tls, mbedtls_ssl_read(&tls->ssl, to, size), ret_len, err);
}

enum tls_step tls_write(struct tls *tls, const void *from, size_t len, size_t *ret_len,
                        struct err *err)
{
    return judge_io(tls, mbedtls_ssl_write(&tls->ssl, from, len), ret_len, err);
}
