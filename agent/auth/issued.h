/* The register of certificates: who was given what, so that a name leads to serial numbers. */
#pragma once
#include "agent/auth/list.h"
#include "agent/net/x509.h"
#include "agent/rpc/rpc.h"

struct issued_row { /* borrowed texts of the register's list */
    const char *when, *serial, *fingerprint, *cn, *role, *databases, *not_after, *days;
    const char *from; /* serial of the certificate it renews, "-" */
};
enum { ISSUED_FIELDS = 9 };

/* An empty list when there is no register yet. */
bool issued_read(const char *pki, struct list *ret, struct err *err) MUST;
void issued_row(const struct list *list, size_t i, struct issued_row *ret);
/* Adds a certificate (PEM); from "" unless it renews one. All or nothing. */
bool issued_add(const char *pki, const char *cert, int days, const char *from, struct err *err)
    MUST;
/* Adds one that renews the peer's, unless that is denied by now: denying takes the same turns, and
 * reaches what is in the register. UNAUTHENTICATED then. */
bool issued_renew(const char *pki, const char *cert, int days, const struct rpc_peer *peer,
                  struct err *err) MUST;
/* Takes one out again whose bundle could not be written. */
bool issued_remove(const char *pki, const char *cert, struct err *err) MUST;
/* Days the certificate of that serial was issued for; 0 when the register does not know it. */
int issued_days(const char *pki, const char *serial);
