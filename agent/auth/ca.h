/* The agent's own certificate authority: init, enroll. Files are PEM, keys 0600. */
#pragma once
#include "agent/rpc/rpc.h"

enum { CA_DAYS_DEFAULT = 825, CA_SERVER_NAMES_MAX = 16 };

struct ca_request {
    const char *name;             /* CN, for people; [A-Za-z0-9._-]{1,64} */
    const char *role;             /* dbhost, restore, operator, monitor, admin; "" for the server */
    const char *const *databases; /* db_unique_names; required for dbhost */
    size_t database_count;
    const char *const *server_names; /* DNS names or IPs, for the server's own certificate */
    size_t server_name_count;
    int days; /* 0: CA_DAYS_DEFAULT */
};

/* Makes dir (0700) with ca.crt, ca.key, server.crt, server.key. EXISTS when there is one already.
 */
bool ca_init(const char *dir, const struct ca_request *server, struct err *err) MUST;
/* Writes <out_dir>/<name>.crt, .key and ca.crt: the bundle for a host or a person; all or nothing.
 */
bool ca_enroll(const char *dir, const struct ca_request *request, const char *out_dir,
               struct err *err) MUST;
/* A new certificate for a peer's own new key (a PKCS#10 request, PEM): the same name, role and
 * databases whatever the request says, for as long as the present one was issued. */
bool ca_renew(const char *dir, const struct rpc_peer *peer, const char *csr, char **ret_cert,
              struct err *err) MUST;
/* The agent's own: a new key and certificate in place of the present ones, of the same names unless
 * others are given; the present ones stay as server.crt.old and server.key.old. */
bool ca_renew_server(const char *dir, const struct ca_request *server, struct err *err) MUST;
/* A sentence when the authority or the agent's own certificate ends soon, else "". */
bool ca_warning(const char *dir, char ret[300], struct err *err) MUST;
