/* Deny list and register: who is denied stays denied, and no broken file lets anybody in. */
#include "agent/auth/ca.h"
#include "agent/auth/deny.h"
#include "agent/auth/issued.h"
#include "agent/auth/list.h"
#include "agent/base/sys.h"
#include "agent/net/bundle.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static const char *in(const char *name)
{
    static char paths[8][160];
    static int turn;
    char *path = paths[turn++ % 8];
    str_format(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void begin(void)
{
    static const char *const names[] = {"localhost"};
    struct ca_request server = {.name = "agent", .server_names = names, .server_name_count = 1};
    struct err err = {0};
    str_copy(dir, sizeof dir, "/tmp/evercopy-deny-XXXXXX");
    cr_assert(mkdtemp(dir));
    cr_assert(ca_init(in("pki"), &server, &err), "%s", err.text);
}

static void end(void)
{
    struct err err = {0};
    cr_assert(sys_remove_tree(dir, &err), "%s", err.text);
}

TestSuite(deny, .init = begin, .fini = end, .timeout = 60);

static char *read_text(const char *path)
{
    struct err err = {0};
    size_t len;
    char *text = sys_read_file(path, 1 << 20, &len, &err);
    cr_assert(text, "%s", err.text);
    return text;
}

static void write_text(const char *path, const char *text)
{
    struct err err = {0};
    cr_assert(sys_write_file(path, text, strlen(text), 0600, &err), "%s", err.text);
}

/* The peer a certificate makes. */
static struct rpc_peer peer_of(const char *cert)
{
    static char orcl[] = "ORCL";
    static char *databases[] = {orcl};
    struct err err = {0};
    struct rpc_peer peer = {.databases = databases, .database_count = 1};
    AUTO(x509_facts) struct x509_facts facts = {0};
    cr_assert(x509_read(cert, &facts, &err), "%s", err.text);
    str_copy(peer.cn, sizeof peer.cn, facts.peer.cn);
    str_copy(peer.role, sizeof peer.role, "dbhost");
    str_copy(peer.serial, sizeof peer.serial, facts.peer.serial);
    str_copy(peer.fingerprint, sizeof peer.fingerprint, facts.peer.fingerprint);
    peer.not_after_us = facts.peer.not_after_us;
    return peer;
}

static struct rpc_peer enroll(const char *name, int days)
{
    static const char *const databases[] = {"ORCL"};
    struct ca_request request = {
        .name = name, .role = "dbhost", .databases = databases, .database_count = 1, .days = days};
    char path[64];
    struct err err = {0};
    cr_assert(ca_enroll(in("pki"), &request, in("out"), &err), "%s", err.text);
    str_format(path, sizeof path, "out/%s.crt", name);
    AUTO(mem) char *cert = read_text(in(path));
    return peer_of(cert);
}

static bool is_denied(const struct rpc_peer *peer)
{
    struct err err = {0};
    AUTO(deny) struct deny *deny = deny_open(in("pki"), &err);
    cr_assert(deny, "%s", err.text);
    return !deny_check(deny, peer, &err);
}

static size_t deny_it(const char *what)
{
    struct err err = {0};
    size_t count = 0;
    cr_assert(deny_add(in("pki"), what, "a reason\twith\na tab", &count, &err), "%s", err.text);
    return count;
}

Test(deny, by_name_serial_or_fingerprint_and_lets_the_others_in)
{
    struct rpc_peer one = enroll("one", 0);
    struct rpc_peer two = enroll("two", 0);
    struct rpc_peer three = enroll("three", 0);
    struct rpc_peer four = enroll("four", 0);
    struct err err = {0};
    cr_assert_eq(deny_it("one"), 1);
    cr_assert_eq(deny_it("one"), 0, "twice is once");
    cr_assert_eq(deny_it(two.serial), 1);
    cr_assert_eq(deny_it(three.fingerprint), 1);
    cr_assert(is_denied(&one) && is_denied(&two) && is_denied(&three));
    cr_assert(!is_denied(&four));
    size_t count;
    cr_assert(deny_remove(in("pki"), "two", &count, &err), "%s", err.text);
    cr_assert(!is_denied(&two) && is_denied(&one));
    cr_assert(!deny_add(in("pki"), "fuor", "x", &count, &err));
    cr_assert_eq(err.code, ERR_NOT_FOUND);
    cr_assert(strstr(err.text, "did you mean 'four'"), "%s", err.text);
}

Test(deny, takes_a_serial_the_register_does_not_know_as_openssl_prints_it)
{
    struct rpc_peer stranger = {.cn = "x", .serial = "0abbccddeeff00112233445566778899"};
    cr_assert_eq(deny_it("0A:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99"), 1);
    cr_assert(is_denied(&stranger));
}

static char *must_renew(const struct rpc_peer *peer, char **ret_key)
{
    struct err err = {0};
    char *cert = NULL;
    AUTO(mem) char *csr = NULL;
    cr_assert(x509_ask("someone-else", ret_key, &csr, &err), "%s", err.text);
    cr_assert(ca_renew(in("pki"), peer, csr, &cert, &err), "%s", err.text);
    return cert;
}

Test(deny, reaches_what_was_renewed_from_a_stolen_certificate)
{
    struct rpc_peer stolen = enroll("host", 7);
    AUTO(x509_key) char *key = NULL;
    AUTO(mem) char *cert = must_renew(&stolen, &key);
    struct rpc_peer second = peer_of(cert);
    AUTO(x509_key) char *key2 = NULL;
    AUTO(mem) char *cert2 = must_renew(&second, &key2);
    struct rpc_peer third = peer_of(cert2);
    cr_assert_eq(deny_it(stolen.serial), 3);
    cr_assert(is_denied(&stolen) && is_denied(&second) && is_denied(&third));
}

/* Its call was let in before the denial, and came to its turn after it. */
Test(deny, a_stolen_certificate_is_not_renewed_once_it_is_denied)
{
    struct rpc_peer stolen = enroll("host", 7);
    struct rpc_peer stranger = stolen; /* the register was lost since */
    str_copy(stranger.serial, sizeof stranger.serial, "0abbccddeeff00112233445566778899");
    memset(stranger.fingerprint, 'a', 64);
    cr_assert_eq(deny_it(stolen.serial) + deny_it(stranger.fingerprint), 2);
    const struct rpc_peer *const peers[] = {&stolen, &stranger};
    for (size_t i = 0; i < 2; i++) {
        struct err err = {0};
        AUTO(x509_key) char *key = NULL;
        AUTO(mem) char *csr = NULL;
        AUTO(mem) char *cert = NULL;
        AUTO(list) struct list issued = {0};
        cr_assert(x509_ask("someone-else", &key, &csr, &err), "%s", err.text);
        cr_expect(!ca_renew(in("pki"), peers[i], csr, &cert, &err), "%zu", i);
        cr_expect_eq(err.code, ERR_UNAUTHENTICATED, "%s", err.text);
        cr_expect_null(cert);
        cr_assert(issued_read(in("pki"), &issued, &err));
        cr_expect_eq(issued.count, 2, "the agent's and the stolen one, and no third");
    }
}

Test(deny, a_renewal_keeps_name_role_databases_and_days_whatever_is_asked)
{
    struct rpc_peer old = enroll("host", 7);
    AUTO(x509_key) char *key = NULL;
    AUTO(mem) char *cert = must_renew(&old, &key);
    struct err err = {0};
    AUTO(x509_facts) struct x509_facts facts = {0};
    cr_assert(x509_read(cert, &facts, &err));
    cr_assert_str_eq(facts.peer.cn, "host");
    cr_assert_eq(facts.peer.uri_count, 2);
    cr_assert_str_eq(facts.peer.uris[0], "evercopy:db/ORCL");
    cr_assert_str_eq(facts.peer.uris[1], "evercopy:role/dbhost");
    uint64_t days = (facts.peer.not_after_us - facts.not_before_us) / (86400ull * 1000000);
    cr_assert_eq(days, 7);
    cr_assert(x509_belong(cert, key));
}

Test(deny, a_request_that_is_none_is_refused)
{
    struct rpc_peer peer = enroll("host", 0);
    struct err err = {0};
    AUTO(x509_key) char *key = NULL;
    AUTO(mem) char *csr = NULL;
    cr_assert(x509_ask("host", &key, &csr, &err));
    AUTO(mem) char *cert = read_text(in("out/host.crt"));
    const char *bad[] = {"", "x", cert, key, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"};
    size_t refused = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err why = {0};
        char *ret = NULL;
        refused += !ca_renew(in("pki"), &peer, bad[i], &ret, &why) && why.code == ERR_INVALID;
        own_free(ret);
    }
    cr_assert_eq(refused, 5);
    /* Another byte is another key, another name, or another signature: the highest bit of a sign is
     * turned, as the lowest ones before a '=' say nothing. */
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(csr);
    for (size_t i = 40; i + 36 < len; i += 3) {
        struct err why = {0};
        char *ret = NULL;
        char kept = csr[i];
        const char *sign = strchr(alphabet, kept);
        if (!sign || !kept)
            continue;
        csr[i] = alphabet[(sign - alphabet) ^ 32];
        cr_expect(!ca_renew(in("pki"), &peer, csr, &ret, &why), "byte %zu", i);
        own_free(ret);
        csr[i] = kept;
    }
    struct list issued;
    cr_assert(issued_read(in("pki"), &issued, &err));
    cr_assert_eq(issued.count, 2, "a refused request leaves no line");
    list_done(&issued);
}

Test(deny, a_broken_list_is_an_error_with_its_line_and_never_empty)
{
    static const struct {
        const char *text, *says;
    } table[] = {
        {"", ":1: "},
        {"evercopy denied certificates 2\nend 0\n", ":1: "},
        {"evercopy denied certificates 1\n", "cut off"},
        {"evercopy denied certificates 1\nend 1\n", ":2: "},
        {"evercopy denied certificates 1\nend 0\nmore\n", ":3: "},
        {"evercopy denied certificates 1\nw\tserial\tab\tn\nend 1\n", ":2: "},
        {"evercopy denied certificates 1\nw\tserial\tab\tn\tr\tx\nend 1\n", ":2: "},
        {"evercopy denied certificates 1\nw\tserial\tAB\tn\tr\nend 1\n", ":2: 'AB' is no serial"},
        {"evercopy denied certificates 1\nw\tnumber\tab\tn\tr\nend 1\n", ":2: 'number' is"},
        {"evercopy denied certificates 1\nw\tfingerprint\tab\tn\tr\nend 1\n", ":2: 'ab' is no"},
        {"evercopy denied certificates 1\nw\tserial\tabcd\tn\t\xff\nend 1\n", "UTF-8"},
        {"evercopy denied certificates 1\nw\tserial\tabcd\tn\t\x01\nend 1\n", "control sign"},
        {"evercopy denied certificates 1\r\nend 0\r\n", ":1: "},
    };
    enroll("host", 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err err = {0};
        write_text(in("pki/deny.list"), table[i].text);
        AUTO(deny) struct deny *deny = deny_open(in("pki"), &err);
        cr_expect(!deny, "case %zu was taken", i);
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect(strstr(err.text, "deny.list") && strstr(err.text, table[i].says), "case %zu: %s",
                  i, err.text);
        size_t count;
        cr_expect(!deny_add(in("pki"), "host", "x", &count, &err), "nor is it written over");
    }
    struct err err = {0};
    cr_assert_eq(unlink(in("pki/deny.list")), 0);
    cr_assert(!deny_open(in("pki"), &err));
    cr_assert(strstr(err.text, "is missing, though there is a register"), "%s", err.text);
}

Test(deny, every_shorter_list_is_refused)
{
    struct rpc_peer peer = enroll("host", 0);
    deny_it("host");
    AUTO(mem) char *text = read_text(in("pki/deny.list"));
    for (size_t len = strlen(text); len-- > 0;) {
        struct err err = {0};
        char kept = text[len];
        text[len] = '\0';
        FILE *f = fopen(in("pki/deny.list"), "w");
        cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
        AUTO(deny) struct deny *deny = deny_open(in("pki"), &err);
        cr_expect(!deny || !deny_check(deny, &peer, &err), "cut to %zu bytes", len);
        text[len] = kept;
    }
}

Test(deny, a_running_reader_sees_a_change_and_keeps_the_old_list_when_broken)
{
    struct rpc_peer peer = enroll("host", 0);
    struct err err = {0};
    bool changed;
    AUTO(deny) struct deny *deny = deny_open(in("pki"), &err);
    cr_assert(deny_refresh(deny, &changed, &err) && !changed);
    deny_it("host");
    cr_assert(deny_refresh(deny, &changed, &err) && changed);
    cr_assert(!deny_check(deny, &peer, &err));
    cr_assert_eq(err.code, ERR_UNAUTHENTICATED);
    cr_assert(strstr(err.text, "a reason with a tab"), "%s", err.text);
    write_text(in("pki/deny.list"), "");
    cr_assert(!deny_refresh(deny, &changed, &err) && !changed);
    cr_assert(deny_refresh(deny, &changed, &err), "told once");
    cr_assert(!deny_check(deny, &peer, &err), "and the list before stays");
}

/* Every call that touches files fails in turn: denied or not, but never a list that cannot be read.
 */
Test(deny, is_written_whole_or_not_at_all)
{
    struct rpc_peer peer = enroll("host", 0);
    bool done = false;
    for (long nth = 1; !done && nth < 100; nth++) {
        struct err err = {0};
        size_t count;
        sys_fault(nth, ENOSPC);
        bool ok = deny_add(in("pki"), "host", "x", &count, &err);
        done = sys_fault(0, 0) < nth;
        cr_expect(!ok || is_denied(&peer), "call %ld", nth);
        struct err why = {0};
        if (is_denied(&peer))
            cr_assert(deny_remove(in("pki"), "host", &count, &why), "%s", why.text);
    }
    cr_assert(done);
}

/* Each state a crash can leave between the two renames, and before and after them. */
Test(deny, a_pair_half_replaced_is_made_whole_at_the_next_use)
{
    struct rpc_peer peer = enroll("host", 0);
    struct err err = {0};
    AUTO(x509_key) char *key = NULL;
    AUTO(mem) char *cert = must_renew(&peer, &key);
    const char *cert_path = in("out/host.crt");
    const char *key_path = in("out/host.key");
    cr_assert(bundle_stage(cert_path, key_path, cert, key, &err), "%s", err.text);
    cr_assert(bundle_settle(cert_path, key_path, &err), "staged only: the old pair stays");
    AUTO(mem) char *still = read_text(cert_path);
    cr_assert_str_neq(still, cert);
    cr_assert_eq(rename(in("out/host.key.next"), key_path), 0);
    cr_assert(bundle_settle(cert_path, key_path, &err), "%s", err.text);
    AUTO(mem) char *now = read_text(cert_path);
    cr_assert_str_eq(now, cert);
    AUTO(x509_key) char *other = NULL;
    AUTO(mem) char *next = must_renew(&peer, &other);
    cr_assert(!bundle_stage(cert_path, key_path, next, key, &err), "a pair that is none");
    cr_assert(bundle_stage(cert_path, key_path, next, other, &(struct err){0}));
    cr_assert(bundle_swap(cert_path, key_path, &(struct err){0}));
    AUTO(mem) char *old = read_text(in("out/host.crt.old"));
    cr_assert_str_eq(old, cert);
    struct stat info;
    cr_assert(stat(in("out/host.key.old"), &info) == 0 && (info.st_mode & 0777) == 0600);
    cr_assert(stat(key_path, &info) == 0 && (info.st_mode & 0777) == 0600);
}

Test(deny, the_agents_own_certificate_is_renewed_with_its_names)
{
    struct ca_request none = {.name = "agent", .role = ""};
    struct err err = {0};
    AUTO(mem) char *before = read_text(in("pki/server.crt"));
    cr_assert(ca_renew_server(in("pki"), &none, &err), "%s", err.text);
    AUTO(mem) char *after = read_text(in("pki/server.crt"));
    AUTO(mem) char *key = read_text(in("pki/server.key"));
    AUTO(x509_facts) struct x509_facts facts = {0};
    cr_assert_str_neq(before, after);
    cr_assert(x509_read(after, &facts, &err) && x509_belong(after, key));
    cr_assert_eq(facts.name_count, 1);
    cr_assert_str_eq(facts.names[0], "localhost");
}

Test(deny, an_end_in_sight_is_told)
{
    struct ca_request soon = {.name = "agent", .role = "", .days = 5};
    struct err err = {0};
    char text[300];
    cr_assert(ca_warning(in("pki"), text, &err), "%s", err.text);
    cr_assert_str_eq(text, "");
    cr_assert(ca_renew_server(in("pki"), &soon, &err), "%s", err.text);
    cr_assert(ca_warning(in("pki"), text, &err), "%s", err.text);
    cr_assert(strstr(text, "the agent's own certificate ends in"), "%s", text);
}

Test(deny, a_list_half_written_by_a_killed_program_is_swept_unless_somebody_writes)
{
    struct err err = {0};
    const char *left = in("pki/issued.list.0123456789abcdef.tmp");
    write_text(left, "half");
    AUTO(fd) int lock = list_lock(in("pki"), &err);
    cr_assert(lock >= 0, "%s", err.text);
    cr_expect_neq(access(left, F_OK), 0, "whoever has the lock sweeps");
    write_text(left, "half");
    list_sweep(in("pki"));
    cr_expect_eq(access(left, F_OK), 0, "somebody may be writing it");
    sys_unlock(lock);
    list_sweep(in("pki"));
    cr_expect_neq(access(left, F_OK), 0);
    cr_expect_eq(access(in("pki/issued.list"), F_OK), 0);
}
