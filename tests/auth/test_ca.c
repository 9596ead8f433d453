/* The certificate authority: what it writes, what it refuses, what a fault leaves behind. */
#include "agent/auth/ca.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/descriptors.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static void begin(void)
{
    str_copy(dir, sizeof dir, "/tmp/evercopy-ca-XXXXXX");
    cr_assert(mkdtemp(dir));
}

static void end(void)
{
    struct err err = {0};
    cr_assert(sys_remove_tree(dir, &err), "%s", err.text);
}

TestSuite(ca, .init = begin, .fini = end, .timeout = 60);

static const char *in(const char *name)
{
    static char paths[8][128];
    static int turn;
    char *path = paths[turn++ % 8];
    str_format(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static const char *const server_names[] = {"agent.example", "127.0.0.1", "fd00::7"};
static const char *const databases[] = {"ORCL", "CDB$1"};

static bool init(struct err *err)
{
    struct ca_request request = {
        .name = "agent", .server_names = server_names, .server_name_count = 3};
    return ca_init(in("pki"), &request, err);
}

static bool enroll(const char *name, const char *role, struct err *err)
{
    struct ca_request request = {
        .name = name, .role = role, .databases = databases, .database_count = 2};
    return ca_enroll(in("pki"), &request, in("out"), err);
}

static void must_init(void)
{
    struct err err = {0};
    cr_assert(init(&err), "%s", err.text);
}

/* Runs openssl with what it prints in `ret`; its exit code, -1 when it is not installed. */
static int openssl(char *const argv[], char *ret, size_t size)
{
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], 1);
        dup2(pipes[1], 2);
        close(pipes[0]);
        execvp("openssl", argv);
        _exit(127);
    }
    close(pipes[1]);
    size_t len = 0;
    ssize_t n;
    while (len + 1 < size && (n = read(pipes[0], ret + len, size - 1 - len)) > 0)
        len += (size_t)n;
    ret[len] = '\0';
    close(pipes[0]);
    int status;
    waitpid(child, &status, 0);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 126;
    return code == 127 ? -1 : code;
}

#define ARGV(...) ((char *const[]){(char *)"openssl", __VA_ARGS__, NULL})
#define ARG(text) (char *)(text)

static bool verify(const char *purpose, const char *path, char *ret, size_t size)
{
    int code = openssl(ARGV(ARG("verify"), ARG("-x509_strict"), ARG("-purpose"), ARG(purpose),
                            ARG("-CAfile"), ARG(in("pki/ca.crt")), ARG(path)),
                       ret, size);
    if (code < 0)
        cr_log_warn("SKIPPED: no openssl to ask for a second opinion");
    return code <= 0;
}

static void show(const char *path, char *ret, size_t size)
{
    if (openssl(ARGV(ARG("x509"), ARG("-noout"), ARG("-text"), ARG("-in"), ARG(path)), ret, size) <
        0)
        ret[0] = '\0';
}

Test(ca, satisfies_openssl)
{
    char text[8192];
    struct err err = {0};
    must_init();
    cr_assert(enroll("host.example", "dbhost", &err), "%s", err.text);
    cr_assert(verify("sslserver", in("pki/server.crt"), text, sizeof text), "%s", text);
    cr_assert(verify("sslclient", in("out/host.example.crt"), text, sizeof text), "%s", text);
    show(in("out/host.example.crt"), text, sizeof text);
    if (!text[0])
        return;
    cr_assert(!verify("sslserver", in("out/host.example.crt"), text, sizeof text));
    cr_assert(!verify("sslclient", in("pki/server.crt"), text, sizeof text));
}

Test(ca, writes_names_and_uses)
{
    char text[8192];
    struct err err = {0};
    must_init();
    cr_assert(enroll("host", "dbhost", &err), "%s", err.text);
    show(in("out/host.crt"), text, sizeof text);
    if (!text[0])
        return;
    cr_expect(strstr(text, "URI:evercopy:role/dbhost"), "%s", text);
    cr_expect(strstr(text, "URI:evercopy:db/ORCL"));
    cr_expect(strstr(text, "URI:evercopy:db/CDB$1"));
    cr_expect(strstr(text, "TLS Web Client Authentication"));
    cr_expect(strstr(text, "CN = host"));
    cr_expect(strstr(text, "prime256v1"));
    cr_expect(strstr(text, "CA:FALSE"));
    show(in("pki/server.crt"), text, sizeof text);
    cr_expect(strstr(text, "DNS:agent.example"), "%s", text);
    cr_expect(strstr(text, "IP Address:127.0.0.1"));
    cr_expect(strstr(text, "IP Address:FD00:0:0:0:0:0:0:7"));
    cr_expect(strstr(text, "TLS Web Server Authentication"));
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    struct err err = {0};
    cr_assert(sys_stat(path, &info, &err), "%s", err.text);
    return info.st_mode & 07777;
}

Test(ca, keeps_keys_to_itself)
{
    struct err err = {0};
    must_init();
    cr_assert(enroll("host", "dbhost", &err), "%s", err.text);
    cr_expect_eq(mode_of(in("pki")), 0700);
    cr_expect_eq(mode_of(in("pki/ca.key")), 0600);
    cr_expect_eq(mode_of(in("pki/server.key")), 0600);
    cr_expect_eq(mode_of(in("out/host.key")), 0600);
    cr_assert(sys_chmod(in("pki/ca.key"), 0644, &err));
    cr_assert(!enroll("other", "dbhost", &err));
    cr_assert_eq(err.code, ERR_CONFIG);
}

Test(ca, begins_five_minutes_ago_and_ends_as_asked)
{
    char text[512];
    struct err err = {0};
    must_init();
    struct ca_request request = {.name = "short", .role = "monitor", .days = 7};
    cr_assert(ca_enroll(in("pki"), &request, in("out"), &err), "%s", err.text);
    const char *path = in("out/short.crt");
    static const struct {
        const char *seconds;
        int exit_code;
    } table[] = {{"604000", 0}, {"605600", 1}};
    for (size_t i = 0; i < 2; i++) {
        int code = openssl(ARGV(ARG("x509"), ARG("-noout"), ARG("-checkend"), ARG(table[i].seconds),
                                ARG("-in"), ARG(path)),
                           text, sizeof text);
        cr_expect(code < 0 || code == table[i].exit_code, "%zu: %s", i, text);
    }
}

Test(ca, is_made_once_only)
{
    struct err err = {0};
    must_init();
    cr_assert(!init(&err));
    cr_assert_eq(err.code, ERR_EXISTS);
}

Test(ca, does_not_overwrite_a_bundle)
{
    struct err err = {0};
    must_init();
    cr_assert(enroll("host", "dbhost", &err), "%s", err.text);
    cr_assert(enroll("second", "restore", &err), "%s", err.text);
    cr_assert(!enroll("host", "admin", &err));
    cr_assert_eq(err.code, ERR_EXISTS);
    struct ca_request other = {
        .name = "agent", .server_names = server_names, .server_name_count = 1};
    err_clear(&err);
    cr_assert(ca_init(in("other"), &other, &err), "%s", err.text);
    struct ca_request stranger = {.name = "third", .role = "admin"};
    cr_assert(!ca_enroll(in("other"), &stranger, in("out"), &err));
    cr_assert_eq(err.code, ERR_EXISTS);
}

Test(ca, refuses_names_that_are_none)
{
    static const char *const names[] = {"",  ".",   "..",  ".x",  "-x", "a b", "a/b", "../x",
                                        "ü", "a,b", "a=b", "a+b", "ca", "a\n", NULL};
    must_init();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct err err = {0};
        cr_expect(!enroll(names[i], "dbhost", &err), "'%s'", names[i]);
        cr_expect_eq(err.code, ERR_INVALID);
    }
    static const char *const bad_databases[] = {"",    "a b", "a/b",
                                                "x,y", "ü",   "a123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof bad_databases / sizeof *bad_databases; i++) {
        struct err err = {0};
        struct ca_request request = {
            .name = "x", .role = "dbhost", .databases = &bad_databases[i], .database_count = 1};
        cr_expect(!ca_enroll(in("pki"), &request, in("out"), &err), "'%s'", bad_databases[i]);
        cr_expect_eq(err.code, ERR_INVALID);
    }
}

Test(ca, refuses_roles_that_are_none)
{
    struct err err = {0};
    must_init();
    cr_assert(!enroll("host", "root", &err));
    cr_assert_eq(err.code, ERR_INVALID);
    struct ca_request request = {.name = "x", .role = "dbhost"};
    err_clear(&err);
    cr_assert(!ca_enroll(in("pki"), &request, in("out"), &err));
    cr_assert(strstr(err.text, "needs its databases"), "%s", err.text);
    struct ca_request server = {.name = "x"};
    err_clear(&err);
    cr_assert(!ca_enroll(in("pki"), &server, in("out"), &err));
    cr_assert_eq(err.code, ERR_INVALID);
}

static size_t count_in(const char *path)
{
    struct err err = {0};
    AUTO(sys_names) struct sys_names names = {0};
    return sys_list(path, &names, &err) ? names.count : 0;
}

/* Every system call fails in turn: the bundle is either whole or absent, without residue. */
Test(ca, enrolls_all_or_nothing)
{
    must_init();
    bool done = false;
    for (long nth = 1; !done && nth < 200; nth++) {
        struct err err = {0};
        size_t files = descriptors_count();
        sys_fault(nth, ENOSPC);
        bool ok = enroll("host", "dbhost", &err);
        done = sys_fault(0, 0) < nth;
        cr_expect_eq(descriptors_count(), files, "call %ld left a file open", nth);
        cr_expect_eq(ok, err.code == ERR_NONE);
        cr_expect(ok || count_in(in("out")) == 0, "call %ld left %zu files", nth,
                  count_in(in("out")));
        cr_expect(!ok || count_in(in("out")) == 3);
        err_clear(&err);
        cr_assert(sys_remove_tree(in("out"), &err), "%s", err.text);
    }
    cr_assert(done);
}

Test(ca, survives_lack_of_memory)
{
    must_init();
    bool done = false;
    for (long nth = 1; !done && nth < 500; nth++) {
        struct err err = {0};
        own_fault(nth);
        bool ok = enroll("host", "dbhost", &err);
        done = own_fault(0) < nth;
        cr_expect_eq(ok, err.code == ERR_NONE);
        cr_expect_eq(count_in(in("out")), ok ? 3 : 0, "allocation %ld", nth);
        err_clear(&err);
        cr_assert(sys_remove_tree(in("out"), &err), "%s", err.text);
    }
    cr_assert(done);
}

Test(ca, init_can_be_repeated_after_any_fault)
{
    bool done = false;
    for (long nth = 1; !done && nth < 200; nth++) {
        struct err err = {0};
        sys_fault(nth, EIO);
        bool ok = init(&err);
        done = sys_fault(0, 0) < nth;
        cr_expect_eq(ok, access(in("pki/ca.crt"), F_OK) == 0, "call %ld", nth);
        err_clear(&err);
        if (!ok)
            cr_expect(init(&err), "call %ld: %s", nth, err.text);
        err_clear(&err);
        cr_assert(sys_remove_tree(in("pki"), &err), "%s", err.text);
    }
    cr_assert(done);
}
