/* Writing certificates and reading key files. */
#include "agent/net/x509.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/crypto_int.h"
#include "agent/net/tls_int.h"
#include <arpa/inet.h>
#include <mbedtls/asn1write.h>
#include <mbedtls/oid.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/x509_crt.h>
#include <mbedtls/x509_csr.h>
#include <stdio.h>
#include <string.h>

enum { PEM_MAX = 16 << 10, KEY_FILE_MAX = 64 << 10, EXTENSION_MAX = 8 << 10, SERIAL_BYTES = 16 };
enum { TAG_DNS = 2, TAG_URI = 6, TAG_IP = 7 }; /* GeneralName, RFC 5280 section 4.2.1.6 */

struct writer {
    mbedtls_x509write_cert crt;
    mbedtls_pk_context subject_key, issuer_key;
    mbedtls_x509_crt issuer;
    mbedtls_mpi serial;
};

static void writer_done(struct writer *w)
{
    mbedtls_x509write_crt_free(&w->crt);
    mbedtls_pk_free(&w->subject_key);
    mbedtls_pk_free(&w->issuer_key);
    mbedtls_x509_crt_free(&w->issuer);
    mbedtls_mpi_free(&w->serial);
}
OWN_DEFINE_INPLACE(writer, struct writer, writer_done);

static void writer_init(struct writer *w)
{
    mbedtls_x509write_crt_init(&w->crt);
    mbedtls_pk_init(&w->subject_key);
    mbedtls_pk_init(&w->issuer_key);
    mbedtls_x509_crt_init(&w->issuer);
    mbedtls_mpi_init(&w->serial);
}

void x509_key_free(char *key)
{
    if (key)
        mbedtls_platform_zeroize(key, strlen(key));
    own_free(key);
}

void x509_pair_done(struct x509_pair *pair)
{
    own_free(pair->cert);
    x509_key_free(pair->key);
    *pair = (struct x509_pair){0};
}

char *x509_read_key(const char *path, struct err *err)
{
    struct stat info;
    if (!sys_stat(path, &info, err))
        return err_null(err, "private key");
    if (info.st_mode & 0177) {
        err_set(err, ERR_CONFIG, "private key '%s' is open to others (mode %04o); hint: chmod 0600",
                path, (unsigned)(info.st_mode & 07777));
        return NULL;
    }
    size_t len;
    char *text = sys_read_file(path, KEY_FILE_MAX, &len, err);
    return text ? text : err_null(err, "private key");
}

bool x509_parse_ip(const char *text, uint8_t ret_bytes[16], size_t *ret_len)
{
    if (inet_pton(AF_INET, text, ret_bytes) == 1)
        *ret_len = 4;
    else if (inet_pton(AF_INET6, text, ret_bytes) == 1)
        *ret_len = 16;
    else
        return false;
    return true;
}

/* ASN.1 is written backwards: values first, then their length and tag. */
static int write_name(unsigned char **at, unsigned char *start, int tag, const void *value,
                      size_t len)
{
    int total = 0;
    int ret = 0;
    MBEDTLS_ASN1_CHK_ADD(total, mbedtls_asn1_write_raw_buffer(at, start, value, len));
    MBEDTLS_ASN1_CHK_ADD(total, mbedtls_asn1_write_len(at, start, len));
    MBEDTLS_ASN1_CHK_ADD(
        total,
        mbedtls_asn1_write_tag(at, start, (unsigned char)(MBEDTLS_ASN1_CONTEXT_SPECIFIC | tag)));
    return total;
}

static int write_names(unsigned char **at, unsigned char *start, const struct x509_request *request)
{
    int total = 0;
    int ret = 0;
    for (size_t i = 0; i < request->uri_count; i++)
        MBEDTLS_ASN1_CHK_ADD(
            total, write_name(at, start, TAG_URI, request->uris[i], strlen(request->uris[i])));
    for (size_t i = 0; i < request->name_count; i++) {
        uint8_t ip[16];
        size_t len;
        if (x509_parse_ip(request->names[i], ip, &len))
            MBEDTLS_ASN1_CHK_ADD(total, write_name(at, start, TAG_IP, ip, len));
        else
            MBEDTLS_ASN1_CHK_ADD(total, write_name(at, start, TAG_DNS, request->names[i],
                                                   strlen(request->names[i])));
    }
    return total;
}

static int add_sequence(mbedtls_x509write_cert *crt, const char *oid, size_t oid_len,
                        unsigned char *at, unsigned char *start, int body)
{
    int total = body;
    int ret = 0;
    if (body < 0)
        return body;
    MBEDTLS_ASN1_CHK_ADD(total, mbedtls_asn1_write_len(&at, start, (size_t)body));
    MBEDTLS_ASN1_CHK_ADD(total, mbedtls_asn1_write_tag(
                                    &at, start, MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE));
    return mbedtls_x509write_crt_set_extension(crt, oid, oid_len, 0, at, (size_t)total);
}

/* 2.28 has no setter for these two, so their few bytes are written here. */
static int add_names_and_use(mbedtls_x509write_cert *crt, const struct x509_request *request)
{
    unsigned char buffer[EXTENSION_MAX];
    unsigned char *at = buffer + sizeof buffer;
    int rc = 0;
    if (request->uri_count + request->name_count) {
        int body = write_names(&at, buffer, request);
        rc = add_sequence(crt, MBEDTLS_OID_SUBJECT_ALT_NAME,
                          MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), at, buffer, body);
    }
    if (rc != 0 || request->use == X509_AUTHORITY)
        return rc;
    const char *use =
        request->use == X509_SERVER ? MBEDTLS_OID_SERVER_AUTH : MBEDTLS_OID_CLIENT_AUTH;
    at = buffer + sizeof buffer;
    int body = mbedtls_asn1_write_oid(&at, buffer, use, MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH));
    return add_sequence(crt, MBEDTLS_OID_EXTENDED_KEY_USAGE,
                        MBEDTLS_OID_SIZE(MBEDTLS_OID_EXTENDED_KEY_USAGE), at, buffer, body);
}

static int make_key(mbedtls_pk_context *key)
{
    int rc = mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    return rc ? rc
              : mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key), crypto_random,
                                    NULL);
}

static int set_serial(struct writer *w)
{
    uint8_t bytes[SERIAL_BYTES];
    clock_random(bytes, sizeof bytes);
    bytes[0] &= 0x7f; /* positive, and not a byte longer for it */
    bytes[0] |= 0x40;
    int rc = mbedtls_mpi_read_binary(&w->serial, bytes, sizeof bytes);
    return rc ? rc : mbedtls_x509write_crt_set_serial(&w->crt, &w->serial);
}

/* "20261121143207", cut from the readable form. */
static void format_time(uint64_t wall_us, char ret[16])
{
    char text[32];
    clock_format_compact(wall_us, text);
    str_format(ret, 16, "%.8s%.6s", text, text + 9);
}

static int set_validity(struct writer *w, const struct x509_request *request, bool self_signed)
{
    char from[16];
    char until[16];
    format_time(request->not_before_us, from);
    uint64_t end = request->not_after_us;
    if (!self_signed) {
        uint64_t issuer_end = crypto_time_us(&w->issuer.valid_to);
        end = issuer_end < end ? issuer_end : end;
    }
    format_time(end, until);
    return mbedtls_x509write_crt_set_validity(&w->crt, from, until);
}

static int set_names(struct writer *w, const struct x509_request *request, bool self_signed)
{
    char subject[160];
    char issuer[256];
    str_format(subject, sizeof subject, "CN=%s", request->common_name);
    str_copy(issuer, sizeof issuer, subject);
    if (!self_signed) {
        int len = mbedtls_x509_dn_gets(issuer, sizeof issuer, &w->issuer.subject);
        if (len < 0)
            return len;
    }
    int rc = mbedtls_x509write_crt_set_subject_name(&w->crt, subject);
    return rc ? rc : mbedtls_x509write_crt_set_issuer_name(&w->crt, issuer);
}

static int set_usage(struct writer *w, const struct x509_request *request)
{
    bool authority = request->use == X509_AUTHORITY;
    unsigned usage = authority ? MBEDTLS_X509_KU_KEY_CERT_SIGN | MBEDTLS_X509_KU_CRL_SIGN
                               : MBEDTLS_X509_KU_DIGITAL_SIGNATURE;
    int rc = mbedtls_x509write_crt_set_basic_constraints(&w->crt, authority, authority ? 0 : -1);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_key_usage(&w->crt, usage);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_subject_key_identifier(&w->crt);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_authority_key_identifier(&w->crt);
    return rc ? rc : add_names_and_use(&w->crt, request);
}

static bool load_issuer(struct writer *w, const struct x509_pair *issuer, struct err *err)
{
    int rc = mbedtls_x509_crt_parse(&w->issuer, (const unsigned char *)issuer->cert,
                                    strlen(issuer->cert) + 1);
    if (rc != 0)
        return crypto_failed(err, ERR_CONFIG, rc, "read the authority's certificate");
    rc = mbedtls_pk_parse_key(&w->issuer_key, (const unsigned char *)issuer->key,
                              strlen(issuer->key) + 1, NULL, 0);
    if (rc != 0)
        return crypto_failed(err, ERR_CONFIG, rc, "read the authority's key");
    if (mbedtls_pk_check_pair(&w->issuer.pk, &w->issuer_key) != 0)
        return err_set(err, ERR_CONFIG,
                       "the authority's certificate and key do not belong together");
    return true;
}

static bool write_pem(struct writer *w, struct x509_pair *ret_pair, struct err *err)
{
    AUTO(x509_pair) struct x509_pair pair = {0};
    unsigned char pem[PEM_MAX];
    int rc = mbedtls_x509write_crt_pem(&w->crt, pem, sizeof pem, crypto_random, NULL);
    if (rc != 0)
        return crypto_failed(err, ERR_INTERNAL, rc, "write certificate");
    pair.cert = own_strdup((char *)pem, err);
    rc = mbedtls_pk_write_key_pem(&w->subject_key, pem, sizeof pem);
    if (rc == 0)
        pair.key = own_strdup((char *)pem, err);
    mbedtls_platform_zeroize(pem, sizeof pem);
    if (rc != 0)
        return crypto_failed(err, ERR_INTERNAL, rc, "write private key");
    if (!pair.cert || !pair.key)
        return false;
    *ret_pair = pair;
    pair = (struct x509_pair){0};
    return true;
}

/* Everything but the writing out; the subject's key is in the writer. */
static bool sign(struct writer *w, const struct x509_request *request,
                 const struct x509_pair *issuer, struct err *err)
{
    mbedtls_x509write_crt_set_version(&w->crt, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&w->crt, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_issuer_key(&w->crt, issuer ? &w->issuer_key : &w->subject_key);
    int rc = set_serial(w);
    if (rc == 0)
        rc = set_validity(w, request, !issuer);
    if (rc == 0)
        rc = set_names(w, request, !issuer);
    if (rc == 0)
        rc = set_usage(w, request);
    return rc == 0 || crypto_failed(err, ERR_INTERNAL, rc, "make certificate");
}

bool x509_issue(const struct x509_request *request, const struct x509_pair *issuer,
                struct x509_pair *ret_pair, struct err *err)
{
    AUTO(writer) struct writer w;
    writer_init(&w);
    if (issuer && !load_issuer(&w, issuer, err))
        return false;
    int rc = make_key(&w.subject_key);
    if (rc != 0)
        return crypto_failed(err, ERR_INTERNAL, rc, "make certificate");
    mbedtls_x509write_crt_set_subject_key(&w.crt, &w.subject_key);
    return sign(&w, request, issuer, err) && write_pem(&w, ret_pair, err);
}

/* ---- renewal: a key that never leaves its host ---- */

static void csr_done(mbedtls_x509_csr *csr) { mbedtls_x509_csr_free(csr); }
OWN_DEFINE_INPLACE(csr, mbedtls_x509_csr, csr_done);

/* mbedTLS parses a request but does not check that its own key signed it. */
static bool check_csr(mbedtls_x509_csr *csr, struct err *err)
{
    unsigned char hash[MBEDTLS_MD_MAX_SIZE];
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(csr->sig_md);
    bool p256 = mbedtls_pk_get_type(&csr->pk) == MBEDTLS_PK_ECKEY &&
                mbedtls_pk_ec(csr->pk)->grp.id == MBEDTLS_ECP_DP_SECP256R1;
    if (!p256)
        return err_set(err, ERR_INVALID, "the request's key is not of curve P-256");
    if (csr->sig_md != MBEDTLS_MD_SHA256 || !md ||
        mbedtls_md(md, csr->cri.p, csr->cri.len, hash) != 0 ||
        mbedtls_pk_verify(&csr->pk, csr->sig_md, hash, mbedtls_md_get_size(md), csr->sig.p,
                          csr->sig.len) != 0)
        return err_set(err, ERR_INVALID, "the request is not signed by its own key");
    return true;
}

bool x509_certify(const struct x509_request *request, const char *csr_text,
                  const struct x509_pair *issuer, char **ret_cert, struct err *err)
{
    unsigned char pem[PEM_MAX];
    AUTO(writer) struct writer w;
    AUTO(csr) mbedtls_x509_csr csr;
    writer_init(&w);
    mbedtls_x509_csr_init(&csr);
    size_t len = strlen(csr_text);
    if (len > X509_CSR_MAX || !str_starts(csr_text, "-----BEGIN CERTIFICATE REQUEST-----"))
        return err_set(err, ERR_INVALID, "this is no certificate request (PEM, at most %d bytes)",
                       X509_CSR_MAX);
    int rc = mbedtls_x509_csr_parse(&csr, (const unsigned char *)csr_text, len + 1);
    if (rc != 0)
        return crypto_failed(err, ERR_INVALID, rc, "certificate request");
    if (!check_csr(&csr, err) || !load_issuer(&w, issuer, err))
        return false;
    mbedtls_x509write_crt_set_subject_key(&w.crt, &csr.pk);
    if (!sign(&w, request, issuer, err))
        return false;
    rc = mbedtls_x509write_crt_pem(&w.crt, pem, sizeof pem, crypto_random, NULL);
    if (rc != 0)
        return crypto_failed(err, ERR_INTERNAL, rc, "write certificate");
    *ret_cert = own_strdup((char *)pem, err);
    return *ret_cert != NULL;
}

static void request_done(mbedtls_x509write_csr *csr) { mbedtls_x509write_csr_free(csr); }
OWN_DEFINE_INPLACE(request, mbedtls_x509write_csr, request_done);

bool x509_ask(const char *common_name, char **ret_key, char **ret_csr, struct err *err)
{
    unsigned char pem[PEM_MAX];
    char subject[160];
    AUTO(writer) struct writer w; /* for its key */
    AUTO(request) mbedtls_x509write_csr csr;
    writer_init(&w);
    mbedtls_x509write_csr_init(&csr);
    IGNORE(!str_format(subject, sizeof subject, "CN=%s", common_name));
    int rc = make_key(&w.subject_key);
    mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&csr, &w.subject_key);
    if (rc == 0)
        rc = mbedtls_x509write_csr_set_subject_name(&csr, subject);
    if (rc == 0)
        rc = mbedtls_x509write_csr_pem(&csr, pem, sizeof pem, crypto_random, NULL);
    if (rc != 0)
        return crypto_failed(err, ERR_INTERNAL, rc, "make certificate request");
    AUTO(mem) char *request = own_strdup((char *)pem, err);
    rc = request ? mbedtls_pk_write_key_pem(&w.subject_key, pem, sizeof pem) : 0;
    AUTO(x509_key) char *key = request && rc == 0 ? own_strdup((char *)pem, err) : NULL;
    mbedtls_platform_zeroize(pem, sizeof pem);
    if (rc != 0)
        return crypto_failed(err, ERR_INTERNAL, rc, "write private key");
    if (!request || !key)
        return false;
    *ret_key = TAKE(key);
    *ret_csr = TAKE(request);
    return true;
}

/* ---- reading ---- */

void x509_facts_done(struct x509_facts *facts) { tls_peer_done(&facts->peer); }

static void add_name(struct x509_facts *facts, const mbedtls_x509_buf *san)
{
    int tag = san->tag & 0x1f;
    if (facts->name_count >= X509_NAMES_MAX || san->len >= sizeof facts->names[0])
        return;
    char *to = facts->names[facts->name_count];
    if (tag == TAG_IP && (san->len == 4 || san->len == 16))
        facts->name_count +=
            inet_ntop(san->len == 4 ? AF_INET : AF_INET6, san->p, to, sizeof facts->names[0]) != 0;
    else if (tag == TAG_DNS && san->len && !memchr(san->p, 0, san->len)) {
        memcpy(to, san->p, san->len);
        to[san->len] = '\0';
        facts->name_count++;
    }
}

bool x509_read(const char *cert, struct x509_facts *ret, struct err *err)
{
    AUTO(writer) struct writer w; /* for its certificate */
    writer_init(&w);
    *ret = (struct x509_facts){0};
    int rc = mbedtls_x509_crt_parse(&w.issuer, (const unsigned char *)cert, strlen(cert) + 1);
    if (rc != 0)
        return crypto_failed(err, ERR_INVALID, rc, "read certificate");
    ret->not_before_us = crypto_time_us(&w.issuer.valid_from);
    const mbedtls_x509_sequence *san = &w.issuer.subject_alt_names;
    for (; san && san->buf.p; san = san->next)
        add_name(ret, &san->buf);
    if (tls_peer_read(&ret->peer, &w.issuer, err))
        return true;
    x509_facts_done(ret);
    return false;
}

bool x509_belong(const char *cert, const char *key)
{
    struct err none = {0};
    struct x509_pair pair = {.cert = (char *)cert, .key = (char *)key};
    AUTO(writer) struct writer w;
    writer_init(&w);
    return load_issuer(&w, &pair, &none);
}
