/* TLS 1.2 with certificates on both sides, over a non-blocking socket. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>
#include <sys/types.h>

enum tls_side { TLS_SERVER, TLS_CLIENT };
enum { TLS_TICKET_SECONDS = 4 * 3600 }; /* the longest a session can be resumed */

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

/* A digest of our certificate, the authorities we trust, and a text: what a kept session belongs
 * to.
 */
bool tls_context_digest(const struct tls_context *context, const char *text, uint8_t ret[32],
                        struct err *err) MUST;

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
/* Client: the session to come back with, owned bytes as secret as a key, and for how long it
 * serves. NOT_FOUND when the server gave no ticket. */
bool tls_session_save(struct tls *tls, uint8_t **ret_bytes, size_t *ret_len, uint32_t *ret_seconds,
                      struct err *err) MUST;
/* Client, before the handshake. False when these bytes are no session or its certificate is not
 * valid now; the handshake is then a whole one, as it is when the server knows the ticket no more.
 */
bool tls_session_use(struct tls *tls, const uint8_t *bytes, size_t len) MUST;
bool tls_is_resumed(const struct tls *tls);
/* Valid as long as the connection; NULL before the handshake is done. Resumed or not, the names are
 * those of a certificate that was verified in full and is valid now. */
const struct tls_peer *tls_peer(const struct tls *tls);
/* Gives back what memory a connection needs only while bytes move. */
void tls_rest(struct tls *tls);

/* DONE with *ret_len > 0 bytes read, or what is missing. Bytes may wait inside TLS where poll does
 * not see them: read until WANT_READ. */
enum tls_step tls_read(struct tls *tls, void *to, size_t size, size_t *ret_len, struct err *err)
    MUST;
/* DONE with the part that was taken; after WANT_WRITE the same bytes must be given again. */
enum tls_step tls_write(struct tls *tls, const void *from, size_t len, size_t *ret_len,
                        struct err *err) MUST;
