/* Writing certificates and reading key files: the little X.509 that the certificate authority and
 * those who renew need. */
#pragma once
#include "agent/net/tls.h"
#include <stdint.h>

enum { X509_NAMES_MAX = 16, X509_CSR_MAX = 8 << 10 };
enum x509_use { X509_AUTHORITY, X509_SERVER, X509_CLIENT };

struct x509_request {
    const char *common_name; /* letters, digits, blank . _ - only; checked by the caller */
    enum x509_use use;
    const char *const *uris; /* subject alternative names */
    size_t uri_count;
    const char *const *names; /* DNS names or IP addresses */
    size_t name_count;
    uint64_t not_before_us, not_after_us; /* UTC */
};

/* PEM texts; start with {0}. The key is wiped when done. */
struct x509_pair {
    char *cert, *key;
};
void x509_pair_done(struct x509_pair *pair);
OWN_DEFINE_INPLACE(x509_pair, struct x509_pair, x509_pair_done);

/* Makes a P-256 key and a certificate for it with a random 128-bit serial, signed by issuer, or by
 * itself when issuer is NULL. Never valid for longer than its issuer. */
bool x509_issue(const struct x509_request *request, const struct x509_pair *issuer,
                struct x509_pair *ret_pair, struct err *err) MUST;
/* As x509_issue, for the public key of a PKCS#10 request (PEM), of which nothing else counts: names
 * and use are the request's. INVALID when it is none, is not signed by its own key, or the key is
 * not P-256. */
bool x509_certify(const struct x509_request *request, const char *csr,
                  const struct x509_pair *issuer, char **ret_cert, struct err *err) MUST;
/* A new P-256 key (x509_key_free) and a request to certify it; both PEM, owned. */
bool x509_ask(const char *common_name, char **ret_key, char **ret_csr, struct err *err) MUST;

/* What a certificate says. */
struct x509_facts {
    struct tls_peer peer;
    uint64_t not_before_us;
    char names[X509_NAMES_MAX][256]; /* DNS names and IP addresses */
    size_t name_count;
};
bool x509_read(const char *cert, struct x509_facts *ret, struct err *err) MUST;
void x509_facts_done(struct x509_facts *facts);
OWN_DEFINE_INPLACE(x509_facts, struct x509_facts, x509_facts_done);
/* Is this the certificate of that key? */
bool x509_belong(const char *cert, const char *key);

/* The text of a private key file, owned (x509_key_free). Refused when others may read the file. */
char *x509_read_key(const char *path, struct err *err) MUST;
void x509_key_free(char *key); /* wipes it */
OWN_DEFINE(x509_key, char, x509_key_free);
/* True for an IPv4 or IPv6 address; ret_bytes holds 16, *ret_len is 4 or 16. */
bool x509_parse_ip(const char *text, uint8_t ret_bytes[16], size_t *ret_len);
