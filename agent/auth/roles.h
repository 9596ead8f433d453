/* Who may do what. Default deny. */
#pragma once
#include "agent/base/own.h"
#include "agent/rpc/rpc.h"

enum role_bit {
    ROLE_DBHOST = 1 << 0,   /* its databases: back up, read */
    ROLE_RESTORE = 1 << 1,  /* clone, restore tests */
    ROLE_OPERATOR = 1 << 2, /* retention, delete, holds */
    ROLE_MONITOR = 1 << 3,  /* read */
    ROLE_ADMIN = 1 << 4,
    ROLE_ANY = 31,
    ROLE_CERTIFICATE = 1 << 5, /* beside it: any valid certificate, also one without a role */
};

/* The bit of a role's name, 0 for an unknown one. */
uint32_t role_from_name(const char *name);
const char *role_name(uint32_t bit);
/* The certificate's role must be among roles, and the certificate not expired. DENIED or
 * UNAUTHENTICATED with a sentence that names what would be needed. */
bool roles_check(const struct rpc_peer *peer, uint32_t roles, struct err *err) MUST;
/* A dbhost may touch the databases its certificate names; other roles every one. */
bool roles_check_database(const struct rpc_peer *peer, const char *db_unique_name, struct err *err)
    MUST;
