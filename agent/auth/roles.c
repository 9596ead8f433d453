/* Who may do what. Default deny. */
#include "agent/auth/roles.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"

static const struct role_row {
    uint32_t bit;
    const char *name;
} rows[] = {
    {ROLE_DBHOST, "dbhost"},   {ROLE_RESTORE, "restore"}, {ROLE_OPERATOR, "operator"},
    {ROLE_MONITOR, "monitor"}, {ROLE_ADMIN, "admin"},
};
enum { ROW_COUNT = sizeof rows / sizeof *rows };

uint32_t role_from_name(const char *name)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (str_equal(rows[i].name, name))
            return rows[i].bit;
    return 0;
}

const char *role_name(uint32_t bit)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (rows[i].bit == bit)
            return rows[i].name;
    return "unknown";
}

/* "dbhost, restore or admin"; 128 bytes hold all of them. */
static void list_roles(uint32_t roles, char ret[128])
{
    AUTO(str) struct str text = {0};
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (!(roles & rows[i].bit))
            continue;
        bool last = !(roles & ~(rows[i].bit * 2 - 1));
        if (text.len)
            str_append(&text, last ? " or " : ", ");
        str_append(&text, rows[i].name);
    }
    str_copy(ret, 128, text.len ? text.text : "none");
}

static bool check_valid(const struct rpc_peer *peer, struct err *err)
{
    uint64_t now = clock_wall_us();
    if (peer->not_after_us > now)
        return true;
    char when[32];
    clock_format_utc(peer->not_after_us, when);
    return err_set(err, ERR_UNAUTHENTICATED,
                   "the certificate of '%s' expired at %s; hint: evercopyd enroll", peer->cn, when);
}

bool roles_check(const struct rpc_peer *peer, uint32_t roles, struct err *err)
{
    if (!check_valid(peer, err))
        return false;
    if (role_from_name(peer->role) & roles || roles & ROLE_CERTIFICATE)
        return true;
    char wanted[128];
    list_roles(roles, wanted);
    if (!peer->role[0])
        return err_set(err, ERR_DENIED, "the certificate of '%s' names no role; needed: %s",
                       peer->cn, wanted);
    return err_set(err, ERR_DENIED, "'%s' has the role '%s'; needed: %s", peer->cn, peer->role,
                   wanted);
}

bool roles_check_database(const struct rpc_peer *peer, const char *db_unique_name, struct err *err)
{
    if (!check_valid(peer, err))
        return false;
    uint32_t role = role_from_name(peer->role);
    if (role && role != ROLE_DBHOST)
        return true;
    /* Oracle keeps db_unique_name apart from others without regard to case. */
    for (size_t i = 0; role && i < peer->database_count; i++)
        if (str_equal_fold(peer->databases[i], db_unique_name))
            return true;
    return err_set(err, ERR_DENIED,
                   "the certificate of '%s' does not name database '%s'; hint: evercopyd enroll "
                   "with --db",
                   peer->cn, db_unique_name);
}
