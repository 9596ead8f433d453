/* Reading names out of a certificate: raw values with their lengths, no trust in NUL. */
#include "agent/net/tls_int.h"

#include "agent/base/str.h"
#include "agent/net/crypto_int.h"
#include "agent/net/x509.h"
#include <mbedtls/oid.h>
#include <mbedtls/sha256.h>
#include <string.h>
#include <strings.h>

enum { TAG_NUMBER = 0x1f, TAG_DNS = 2, TAG_URI = 6, TAG_IP = 7, URI_MAX = 256, URIS_MAX = 256 };

static bool is_printable(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] <= 0x20 || bytes[i] > 0x7e)
            return false;
    return len > 0;
}

static void read_cn(const mbedtls_x509_crt *crt, char *ret, size_t size)
{
    for (const mbedtls_x509_name *name = &crt->subject; name; name = name->next) {
        bool is_cn = name->oid.len == MBEDTLS_OID_SIZE(MBEDTLS_OID_AT_CN) &&
                     memcmp(name->oid.p, MBEDTLS_OID_AT_CN, name->oid.len) == 0;
        if (is_cn && name->val.len < size && is_printable(name->val.p, name->val.len)) {
            memcpy(ret, name->val.p, name->val.len);
            ret[name->val.len] = '\0';
            return;
        }
    }
}

static bool read_uris(struct tls_peer *peer, const mbedtls_x509_crt *crt, struct err *err)
{
    size_t capacity = 0;
    const mbedtls_x509_sequence *san = &crt->subject_alt_names;
    for (; san && san->buf.p && peer->uri_count < URIS_MAX; san = san->next) {
        if ((san->buf.tag & TAG_NUMBER) != TAG_URI || san->buf.len > URI_MAX ||
            !is_printable(san->buf.p, san->buf.len))
            continue;
        if (!own_grow((void **)&peer->uris, &capacity, peer->uri_count, sizeof *peer->uris, err))
            return false;
        char *uri = own_strndup((const char *)san->buf.p, san->buf.len, err);
        if (!uri)
            return false;
        peer->uris[peer->uri_count++] = uri;
    }
    return true;
}

bool tls_peer_read(struct tls_peer *peer, const mbedtls_x509_crt *crt, struct err *err)
{
    read_cn(crt, peer->cn, sizeof peer->cn);
    size_t serial_len = crt->serial.len;
    if (serial_len > (sizeof peer->serial - 1) / 2)
        serial_len = (sizeof peer->serial - 1) / 2;
    str_hex(crt->serial.p, serial_len, peer->serial);
    uint8_t digest[32];
    if (mbedtls_sha256_ret(crt->raw.p, crt->raw.len, digest, 0) != 0)
        return err_set(err, ERR_INTERNAL, "cannot take a certificate's fingerprint");
    str_hex(digest, sizeof digest, peer->fingerprint);
    peer->not_after_us = crypto_time_us(&crt->valid_to);
    return read_uris(peer, crt, err);
}

void tls_peer_done(struct tls_peer *peer)
{
    for (size_t i = 0; i < peer->uri_count; i++)
        own_free(peer->uris[i]);
    own_free(peer->uris);
    *peer = (struct tls_peer){0};
}

bool tls_peer_named(const mbedtls_x509_crt *crt, const char *name)
{
    uint8_t ip[16];
    size_t ip_len;
    bool is_ip = x509_parse_ip(name, ip, &ip_len);
    const mbedtls_x509_sequence *san = &crt->subject_alt_names;
    for (; san && san->buf.p; san = san->next) {
        int tag = san->buf.tag & TAG_NUMBER;
        if (is_ip && tag == TAG_IP && san->buf.len == ip_len && memcmp(san->buf.p, ip, ip_len) == 0)
            return true;
        if (!is_ip && tag == TAG_DNS && san->buf.len == strlen(name) &&
            strncasecmp((const char *)san->buf.p, name, san->buf.len) == 0)
            return true;
    }
    return false;
}
