/* The register of certificates. */
#include "agent/auth/issued.h"

#include "agent/auth/deny.h"
#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define TITLE "evercopy issued certificates"

static bool name_path(char ret[PATH_MAX], const char *pki, struct err *err)
{
    return str_format(ret, PATH_MAX, "%s/issued.list", pki) ||
           err_set(err, ERR_INVALID, "path is too long: '%.80s...'", pki);
}

static bool check_rows(const struct list *list, const char *path, struct err *err)
{
    for (size_t i = 0; i < list->count; i++) {
        struct issued_row row;
        uint64_t days;
        issued_row(list, i, &row);
        if (strspn(row.serial, "0123456789abcdef") != strlen(row.serial) ||
            strspn(row.fingerprint, "0123456789abcdef") != 64 || strlen(row.fingerprint) != 64 ||
            !str_to_u64(row.days, 100000, &days))
            return err_set(err, ERR_CONFIG, "%s:%u: serial, fingerprint or days is none", path,
                           list->rows[i].line);
    }
    return true;
}

bool issued_read(const char *pki, struct list *ret, struct err *err)
{
    char path[PATH_MAX];
    struct err why = {0};
    AUTO(list) struct list list = {0};
    if (!name_path(path, pki, err))
        return false;
    if (!list_read(&list, path, TITLE, ISSUED_FIELDS, &why)) {
        *ret = (struct list){0};
        if (why.code != ERR_NOT_FOUND)
            *err = why;
        return why.code == ERR_NOT_FOUND;
    }
    if (!check_rows(&list, path, err))
        return false;
    *ret = list;
    list = (struct list){0};
    return true;
}

void issued_row(const struct list *list, size_t i, struct issued_row *ret)
{
    const char *const *f = list->rows[i].fields;
    *ret = (struct issued_row){f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8]};
}

/* The role and databases as the certificate names them. */
static void read_uris(const struct tls_peer *peer, const char **ret_role, struct str *databases)
{
    *ret_role = "server";
    for (size_t i = 0; i < peer->uri_count; i++) {
        const char *uri = peer->uris[i];
        if (str_starts(uri, "evercopy:role/"))
            *ret_role = uri + strlen("evercopy:role/");
        else if (str_starts(uri, "evercopy:db/"))
            str_printf(databases, "%s%s", databases->len ? "," : "", uri + strlen("evercopy:db/"));
    }
}

static void add_cert(struct str *to, const struct x509_facts *facts, int days, const char *from)
{
    char when[32];
    char until[32];
    char number[16];
    const char *role;
    AUTO(str) struct str databases = {0};
    clock_format_utc(clock_wall_us(), when);
    clock_format_utc(facts->peer.not_after_us, until);
    IGNORE(!str_format(number, sizeof number, "%d", days));
    read_uris(&facts->peer, &role, &databases);
    const char *fields[ISSUED_FIELDS] = {when,
                                         facts->peer.serial,
                                         facts->peer.fingerprint,
                                         facts->peer.cn,
                                         role,
                                         databases.len ? databases.text : "",
                                         until,
                                         number,
                                         from};
    to->failed |= databases.failed;
    list_add(to, fields, ISSUED_FIELDS);
}

static bool may_renew(const char *pki, const struct rpc_peer *peer, struct err *err)
{
    AUTO(deny) struct deny *deny = peer ? deny_open(pki, err) : NULL;
    return !peer || (deny && deny_check(deny, peer, err));
}

/* The whole register anew, with one certificate added or left out. peer: whose it renews, or NULL.
 */
static bool rewrite(const char *pki, const struct x509_facts *facts, bool add, int days,
                    const char *from, const struct rpc_peer *peer, struct err *err)
{
    char path[PATH_MAX];
    AUTO(fd) int lock = list_lock(pki, err);
    AUTO(list) struct list list = {0};
    AUTO(str) struct str text = {0};
    size_t count = 0;
    if (lock < 0 || !name_path(path, pki, err) || !may_renew(pki, peer, err) ||
        !issued_read(pki, &list, err))
        return false;
    list_begin(&text, TITLE);
    for (size_t i = 0; i < list.count; i++) {
        if (str_equal(list.rows[i].fields[2], facts->peer.fingerprint))
            continue;
        list_add(&text, list.rows[i].fields, ISSUED_FIELDS);
        count++;
    }
    if (add)
        add_cert(&text, facts, days, from);
    return list_write(&text, path, count + add, err);
}

bool issued_add(const char *pki, const char *cert, int days, const char *from, struct err *err)
{
    AUTO(x509_facts) struct x509_facts facts = {0};
    return (x509_read(cert, &facts, err) && rewrite(pki, &facts, true, days, from, NULL, err)) ||
           err_wrap(err, "register a certificate");
}

bool issued_renew(const char *pki, const char *cert, int days, const struct rpc_peer *peer,
                  struct err *err)
{
    AUTO(x509_facts) struct x509_facts facts = {0};
    return (x509_read(cert, &facts, err) &&
            rewrite(pki, &facts, true, days, peer->serial, peer, err)) ||
           err_wrap(err, "register a certificate");
}

bool issued_remove(const char *pki, const char *cert, struct err *err)
{
    AUTO(x509_facts) struct x509_facts facts = {0};
    return x509_read(cert, &facts, err) && rewrite(pki, &facts, false, 0, "", NULL, err);
}

int issued_days(const char *pki, const char *serial)
{
    struct err none = {0};
    AUTO(list) struct list list = {0};
    if (!issued_read(pki, &list, &none))
        return 0;
    for (size_t i = 0; i < list.count; i++)
        if (str_equal(list.rows[i].fields[1], serial))
            return (int)strtol(list.rows[i].fields[7], NULL, 10);
    return 0;
}
