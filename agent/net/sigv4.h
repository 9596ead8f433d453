/* Requests signed as Amazon's version 4 says, by a key that lies in a file and is never shown. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

/* The file: access key, secret key and, when there is one, session token, a line each; a plain file
 * of mode 0600 or less that belongs to root or to us. Errors name the file, never what it holds. */
struct sigv4;
struct sigv4 *sigv4_open(const char *credentials, const char *region, const char *service,
                         struct err *err) MUST;
void sigv4_close(struct sigv4 *signer); /* NULL is fine */
OWN_DEFINE(sigv4, struct sigv4, sigv4_close);
/* Reads the file again: somebody may have changed the keys. */
bool sigv4_reload(struct sigv4 *signer, bool *ret_changed, struct err *err) MUST;

struct sigv4_field {
    const char *name; /* lower case */
    const char *value;
};
enum { SIGV4_FIELDS = 6, SIGV4_SIGNED_MAX = 24, SIGV4_VALUE_MAX = 4096 };
struct sigv4_request {
    const char *method, *host;
    const char *path;  /* encoded as it is sent */
    const char *query; /* the same: "a=1&b=", in byte order; "" for none */
    const struct sigv4_field *fields;
    size_t field_count;
    const void *body;
    size_t body_len;
    bool body_unsigned; /* TLS looks after it: hashing costs more than sending */
    uint64_t wall_us;
};
/* What has to be sent besides; names are static, values live here. */
struct sigv4_signed {
    struct sigv4_field fields[SIGV4_FIELDS];
    size_t count;
    char date[20], hash[65], token[SIGV4_VALUE_MAX], authorization[1024];
};
/* Any thread. Signs the host, all fields given, date and content. */
bool sigv4_sign(struct sigv4 *signer, const struct sigv4_request *request,
                struct sigv4_signed *ret_signed, struct err *err) MUST;
void sigv4_signed_done(struct sigv4_signed *what); /* wipes */
OWN_DEFINE_INPLACE(sigv4_signed, struct sigv4_signed, sigv4_signed_done);
