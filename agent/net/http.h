/* HTTP/1.1 for drivers and stores, lent so that curl keeps its one address. Blocking; any thread.
 * TLS is always verified, redirects are not followed, no proxy is taken from the environment. */
#pragma once
#include "agent/base/str.h"

struct sigv4;
struct http;

struct http_options {
    const char *ca_file; /* PEM; NULL: the system's authorities */
    const char *pin; /* "sha256//BASE64" of the server's public key, demanded besides; or NULL */
    struct sigv4 *signer; /* of every request; borrowed; NULL: none */
    unsigned connections; /* requests under way at once, further ones wait; 0: 4 */
    unsigned connect_ms;  /* 0: 5 s */
    unsigned stall_s;     /* slower than 1 KiB/s for so long ends it; 0: 20 */
};
/* The library is set up with the first client. */
struct http *http_new(const struct http_options *options, struct err *err) MUST;
void http_free(struct http *http); /* NULL is fine; nothing is under way any more */
OWN_DEFINE(http, struct http, http_free);

struct http_field {
    const char *name, *value; /* names in lower case; signs that would end a header are INVALID */
};
struct http_request {
    const char *method, *url; /* GET HEAD PUT POST DELETE; http:// or https://, encoded */
    const struct http_field *fields;
    size_t field_count;
    const void *body;
    size_t body_len;
    unsigned total_ms;
    /* Where the body of a 200 or 206 goes: `to`, `take`, or else the reply's text. */
    void *to;
    size_t room;
    bool (*take)(void *arg, const void *bytes, size_t len, struct err *err);
    void *arg;
    size_t text_max; /* of the reply's text; LIMIT above */
};
struct http_reply {
    int status;        /* 100..599 */
    struct str text;   /* the body, unless it went elsewhere */
    size_t len;        /* bytes of the body, wherever they went */
    struct str fields; /* http_reply_field */
};
/* True when a whole answer came, whatever its status. False: UNAVAILABLE or TIMEOUT (transient),
 * UNAUTHENTICATED (the server's certificate), LIMIT, INVALID, IO; *ret_sent then tells whether the
 * server may have done what was asked. */
bool http_do(struct http *http, const struct http_request *request, struct http_reply *ret_reply,
             bool *ret_sent, struct err *err) MUST;
/* The last header of that name (lower case), NULL when there is none. Valid as long as the reply.
 */
const char *http_reply_field(const struct http_reply *reply, const char *name);
void http_reply_done(struct http_reply *reply);
OWN_DEFINE_INPLACE(http_reply, struct http_reply, http_reply_done);

/* Appends text with everything but letters, digits and "-._~" as %XX; keep: further signs left. */
void http_encode(struct str *to, const char *text, const char *keep);
/* Whether plain http to it stays on this host: localhost, 127.0.0.0/8 or [::1]. */
bool http_url_is_loopback(const char *url);
