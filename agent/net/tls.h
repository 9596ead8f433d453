/* TLS 1.2 with certificates on both sides, over a non-blocking socket. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>
#include <sys/types.h>

enum tls_side { TLS_SERVER, TLS_CLIENT };

struct tls_files {
    const char *ca_file, *cert_file, *key_file; /* PEM; the key is refused when wider than 0600 */
};

/* Keys, trust and rules, shared by many connections; read-only once made. */
struct tls_context;
struct tls_context *tls_context_new(enum tls_side side, const struct tls_files *files,
                                    struct err *err) MUST;
/* Counted: connections and listeners hold the context until they are freed (all on one thread). */
void tls_context_ref(struct tls_context *context);
void tls_context_free(struct tls_context *context);
OWN_DEFINE(tls_context, struct tls_context, tls_context_free);

/* Who is at the other end, from the verified certificate. */
struct tls_peer {
    char cn[128];
    char **uris; /* SAN URIs of printable ASCII; others are left out */
    size_t uri_count;
    char serial[48];
    char fingerprint[65]; /* SHA-256, hex */
    uint64_t not_after_us;
};

enum tls_step { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_CLOSED, TLS_FAILED };

/* One connection; belongs to one thread at a time. Takes the socket over on success. */
struct tls;
struct tls *tls_new(struct tls_context *context, int fd, struct err *err) MUST;
void tls_free(struct tls *tls);
OWN_DEFINE(tls, struct tls, tls_free);
int tls_fd(const struct tls *tls);
/* Goes as far as the socket allows. DONE only with ALPN h2 and a verified certificate. FAILED with
 * UNAUTHENTICATED when certificates are the reason, else UNAVAILABLE; it costs milliseconds. */
enum tls_step tls_handshake(struct tls *tls, struct err *err) MUST;
/* Client: does the server's certificate name this DNS name or IP address? */
bool tls_check_name(struct tls *tls, const char *name, struct err *err) MUST;
/* Valid as long as the connection; NULL before the handshake is done. */
const struct tls_peer *tls_peer(const struct tls *tls);

/* DONE with *ret_len > 0 bytes read, or what is missing. Bytes may wait inside TLS where poll does
 * not see them: read until WANT_READ. */
enum tls_step tls_read(struct tls *tls, void *to, size_t size, size_t *ret_len, struct err *err)
    MUST;
/* DONE with the part that was taken; after WANT_WRITE the same bytes must be given again. */
enum tls_step tls_write(struct tls *tls, const void *from, size_t len, size_t *ret_len,
                        struct err *err) MUST;
