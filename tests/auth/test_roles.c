/* Roles: default deny, and sentences that say what would be needed. */
#include "agent/auth/roles.h"

#include "agent/base/clock.h"
#include <criterion/criterion.h>
#include <string.h>

static struct rpc_peer peer_of(const char *role)
{
    struct rpc_peer peer = {.cn = "someone", .not_after_us = clock_wall_us() + 1000000000};
    strncpy(peer.role, role, sizeof peer.role - 1);
    return peer;
}

Test(roles, knows_its_names_both_ways)
{
    for (uint32_t bit = 1; bit <= ROLE_ADMIN; bit *= 2)
        cr_expect_eq(role_from_name(role_name(bit)), bit);
    static const char *const strangers[] = {"", "Admin", "admin ", "root", "unknown", "dbhost2"};
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        cr_expect_eq(role_from_name(strangers[i]), 0, "%s", strangers[i]);
    cr_expect_eq(role_from_name(NULL), 0);
}

Test(roles, lets_pass_only_who_is_named)
{
    for (uint32_t has = 1; has <= ROLE_ADMIN; has *= 2)
        for (uint32_t wanted = 0; wanted <= ROLE_ANY; wanted++) {
            struct err err = {0};
            struct rpc_peer peer = peer_of(role_name(has));
            cr_expect_eq(roles_check(&peer, wanted, &err), (has & wanted) != 0);
            cr_expect_eq(err.code, has & wanted ? ERR_NONE : ERR_DENIED);
        }
}

Test(roles, denies_certificates_without_a_role)
{
    struct err err = {0};
    struct rpc_peer peer = peer_of("");
    cr_assert(!roles_check(&peer, ROLE_ANY, &err));
    cr_assert_eq(err.code, ERR_DENIED);
    cr_assert_str_eq(err.text, "the certificate of 'someone' names no role; needed: dbhost, "
                               "restore, operator, monitor or admin");
}

Test(roles, names_what_would_be_needed)
{
    struct err err = {0};
    struct rpc_peer peer = peer_of("monitor");
    cr_assert(!roles_check(&peer, ROLE_OPERATOR | ROLE_ADMIN, &err));
    cr_assert_str_eq(err.text, "'someone' has the role 'monitor'; needed: operator or admin");
}

Test(roles, ends_with_the_certificate)
{
    struct err err = {0};
    struct rpc_peer peer = peer_of("admin");
    clock_test_wall(peer.not_after_us);
    cr_assert(!roles_check(&peer, ROLE_ANY, &err));
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED);
    err_clear(&err);
    cr_assert(!roles_check_database(&peer, "ORCL", &err));
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED);
    clock_test_wall(peer.not_after_us - 1);
    cr_assert(roles_check(&peer, ROLE_ANY, &err));
    clock_test_wall(0);
}

Test(roles, keeps_a_database_host_to_its_databases)
{
    char orcl[] = "ORCL";
    char *databases[] = {orcl};
    struct err err = {0};
    struct rpc_peer peer = peer_of("dbhost");
    peer.databases = databases;
    peer.database_count = 1;
    cr_assert(roles_check_database(&peer, "ORCL", &err));
    cr_assert(roles_check_database(&peer, "orcl", &err));
    cr_assert(!roles_check_database(&peer, "ORCL2", &err));
    cr_assert_eq(err.code, ERR_DENIED);
    cr_assert(strstr(err.text, "does not name database 'ORCL2'"));
    struct rpc_peer other = peer_of("operator");
    cr_assert(roles_check_database(&other, "ANY", &err));
    struct rpc_peer nobody = peer_of("");
    nobody.databases = databases;
    nobody.database_count = 1;
    cr_assert(!roles_check_database(&nobody, "ORCL", &err));
}
