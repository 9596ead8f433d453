/* TLS alone, both ends in one thread over a socket pair: resumption, and what must not resume. */
#include "agent/auth/ca.h"
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/tls.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define cr_ok(expression, err) cr_assert((expression), "%s", (err).text)
#define HOUR_US 3600000000ull

static char dir[64];
static struct tls_context *server_side, *client_side;

static const char *in_dir(const char *name)
{
    static char paths[4][128];
    static int turn;
    char *path = paths[turn++ % 4];
    str_format(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static struct tls_context *context_of(enum tls_side side, const char *cert, const char *key)
{
    struct err err = {0};
    struct tls_files files = {in_dir("pki/ca.crt"), in_dir(cert), in_dir(key)};
    struct tls_context *context = tls_context_new(side, &files, &err);
    cr_ok(context, err);
    return context;
}

static void begin(void)
{
    static const char *const names[] = {"localhost"};
    static const char *const databases[] = {"ORCL"};
    struct err err = {0};
    str_copy(dir, sizeof dir, "/tmp/evercopy-tls-XXXXXX");
    cr_assert(mkdtemp(dir));
    struct ca_request agent = {.name = "agent", .server_names = names, .server_name_count = 1};
    struct ca_request host = {
        .name = "host", .role = "dbhost", .databases = databases, .database_count = 1, .days = 1};
    cr_ok(ca_init(in_dir("pki"), &agent, &err), err);
    cr_ok(ca_enroll(in_dir("pki"), &host, in_dir("bundle"), &err), err);
    server_side = context_of(TLS_SERVER, "pki/server.crt", "pki/server.key");
    client_side = context_of(TLS_CLIENT, "bundle/host.crt", "bundle/host.key");
}

static void end(void)
{
    struct err err = {0};
    clock_test_wall(0);
    tls_context_free(server_side);
    tls_context_free(client_side);
    cr_ok(sys_remove_tree(dir, &err), err);
}

TestSuite(tls, .init = begin, .fini = end, .timeout = 60);

struct pair {
    struct tls *server, *client;
};

static void pair_done(struct pair *pair)
{
    tls_free(pair->client);
    tls_free(pair->server);
}
OWN_DEFINE_INPLACE(pair, struct pair, pair_done);

static void pair_open(struct pair *pair)
{
    struct err err = {0};
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    pair->server = tls_new(server_side, fds[0], &err);
    pair->client = tls_new(client_side, fds[1], &err);
    cr_ok(pair->server && pair->client, err);
}

static bool shake_hands(struct pair *pair, struct err *err)
{
    enum tls_step client = TLS_WANT_READ;
    enum tls_step server = TLS_WANT_READ;
    for (int turn = 0; turn < 100 && (client != TLS_DONE || server != TLS_DONE); turn++) {
        if (client != TLS_DONE)
            client = tls_handshake(pair->client, err);
        if (server != TLS_DONE && client != TLS_FAILED)
            server = tls_handshake(pair->server, err);
        if (client == TLS_FAILED || server == TLS_FAILED)
            return false;
    }
    return client == TLS_DONE && server == TLS_DONE;
}

struct kept {
    uint8_t *bytes;
    size_t len;
    uint32_t seconds;
};

static void kept_done(struct kept *kept) { own_free(kept->bytes); }
OWN_DEFINE_INPLACE(kept, struct kept, kept_done);

/* A whole handshake and what the client keeps of it. */
static void keep(struct kept *kept)
{
    struct err err = {0};
    AUTO(pair) struct pair pair = {0};
    pair_open(&pair);
    cr_ok(shake_hands(&pair, &err), err);
    cr_assert(!tls_is_resumed(pair.client) && !tls_is_resumed(pair.server));
    cr_ok(tls_session_save(pair.client, &kept->bytes, &kept->len, &kept->seconds, &err), err);
}

static bool comes_back(const struct kept *kept)
{
    struct err err = {0};
    AUTO(pair) struct pair pair = {0};
    pair_open(&pair);
    cr_assert(tls_session_use(pair.client, kept->bytes, kept->len));
    cr_ok(shake_hands(&pair, &err), err);
    cr_assert_eq(tls_is_resumed(pair.client), tls_is_resumed(pair.server));
    return tls_is_resumed(pair.server);
}

static void same_peer(const struct tls_peer *a, const struct tls_peer *b)
{
    cr_assert_str_eq(a->cn, b->cn);
    cr_assert_str_eq(a->serial, b->serial);
    cr_assert_str_eq(a->fingerprint, b->fingerprint);
    cr_assert_eq(a->not_after_us, b->not_after_us);
    cr_assert_eq(a->uri_count, b->uri_count);
    for (size_t i = 0; i < a->uri_count; i++)
        cr_assert_str_eq(a->uris[i], b->uris[i]);
}

Test(tls, knows_the_whole_peer_on_a_resumed_connection)
{
    struct err err = {0};
    AUTO(kept) struct kept kept = {0};
    AUTO(pair) struct pair whole = {0};
    AUTO(pair) struct pair again = {0};
    pair_open(&whole);
    cr_ok(shake_hands(&whole, &err), err);
    cr_ok(tls_session_save(whole.client, &kept.bytes, &kept.len, &kept.seconds, &err), err);
    pair_open(&again);
    cr_assert(tls_session_use(again.client, kept.bytes, kept.len));
    cr_ok(shake_hands(&again, &err), err);
    cr_assert(tls_is_resumed(again.server) && tls_is_resumed(again.client));
    cr_assert_geq(tls_peer(again.server)->uri_count, 2);
    same_peer(tls_peer(whole.server), tls_peer(again.server));
    same_peer(tls_peer(whole.client), tls_peer(again.client));
    cr_ok(tls_check_name(again.client, "localhost", &err), err);
    cr_assert(!tls_check_name(again.client, "elsewhere", &err));
}

Test(tls, carries_bytes_on_a_resumed_connection_that_has_rested)
{
    struct err err = {0};
    char text[8] = {0};
    size_t len = 0;
    AUTO(kept) struct kept kept = {0};
    AUTO(pair) struct pair pair = {0};
    keep(&kept);
    pair_open(&pair);
    cr_assert(tls_session_use(pair.client, kept.bytes, kept.len));
    cr_ok(shake_hands(&pair, &err), err);
    for (int round = 0; round < 3; round++) {
        tls_rest(pair.server);
        tls_rest(pair.client);
        cr_assert_eq(tls_write(pair.client, "ask", 3, &len, &err), TLS_DONE, "%s", err.text);
        cr_assert_eq(tls_read(pair.server, text, sizeof text, &len, &err), TLS_DONE);
        cr_assert(len == 3 && memcmp(text, "ask", 3) == 0);
        cr_assert_eq(tls_write(pair.server, "told", 4, &len, &err), TLS_DONE);
        cr_assert_eq(tls_read(pair.client, text, sizeof text, &len, &err), TLS_DONE);
        cr_assert(len == 4 && memcmp(text, "told", 4) == 0);
    }
}

/* Bytes of a record that has half arrived are not given back. */
Test(tls, rests_in_the_middle_of_a_record_without_losing_it)
{
    struct err err = {0};
    static uint8_t sent[12000];
    static uint8_t got[12000];
    size_t len = 0;
    AUTO(pair) struct pair pair = {0};
    pair_open(&pair);
    cr_ok(shake_hands(&pair, &err), err);
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (uint8_t)(i * 7 >> 2);
    cr_assert_eq(tls_write(pair.client, sent, sizeof sent, &len, &err), TLS_DONE);
    for (size_t have = 0; have < sizeof got; have += len) {
        cr_assert_eq(tls_read(pair.server, got + have, 1000, &len, &err), TLS_DONE);
        tls_rest(pair.server);
    }
    cr_assert_eq(memcmp(sent, got, sizeof got), 0);
}

Test(tls, a_ticket_dies_with_its_certificate)
{
    AUTO(kept) struct kept kept = {0};
    keep(&kept);
    cr_assert(comes_back(&kept));
    struct err err = {0};
    AUTO(pair) struct pair pair = {0};
    pair_open(&pair);
    cr_assert(tls_session_use(pair.client, kept.bytes, kept.len));
    clock_test_wall(clock_wall_us() + 25 * HOUR_US);
    IGNORE(shake_hands(&pair, &err)); /* whole: mbedTLS itself looks at the real clock */
    cr_assert(!tls_is_resumed(pair.server));
}

Test(tls, a_ticket_is_promised_for_no_longer_than_its_certificate)
{
    AUTO(kept) struct kept kept = {0};
    clock_test_wall(clock_wall_us() + 23 * HOUR_US);
    keep(&kept);
    cr_assert(kept.seconds > 3000 && kept.seconds <= 3600, "%u", kept.seconds);
}

Test(tls, a_ticket_grows_old)
{
    AUTO(kept) struct kept kept = {0};
    keep(&kept);
    cr_assert_eq(kept.seconds, TLS_TICKET_SECONDS);
    clock_test_wall(clock_wall_us() + TLS_TICKET_SECONDS * 1000000ull - HOUR_US / 60);
    cr_assert(comes_back(&kept));
    clock_test_wall(clock_wall_us() + HOUR_US / 30);
    cr_assert(!comes_back(&kept));
}

Test(tls, a_server_with_new_keys_asks_for_a_whole_handshake)
{
    AUTO(kept) struct kept kept = {0};
    keep(&kept);
    tls_context_free(server_side);
    server_side = context_of(TLS_SERVER, "pki/server.crt", "pki/server.key");
    cr_assert(!comes_back(&kept));
}

Test(tls, a_kept_session_of_an_expired_agent_is_not_used)
{
    AUTO(kept) struct kept kept = {0};
    AUTO(pair) struct pair pair = {0};
    keep(&kept);
    pair_open(&pair);
    clock_test_wall(clock_wall_us() + 40 * 365 * 24 * HOUR_US);
    cr_assert(!tls_session_use(pair.client, kept.bytes, kept.len));
}

/* A damaged file must cost a whole handshake at most; whoever writes it owns the key anyway. */
Test(tls, damaged_sessions_are_refused_or_harmless)
{
    AUTO(kept) struct kept kept = {0};
    struct err err = {0};
    keep(&kept);
    for (size_t len = 0; len < kept.len; len++) {
        AUTO(pair) struct pair pair = {0};
        AUTO(mem) uint8_t *cut = own_alloc(len + 1, &err);
        pair_open(&pair);
        memcpy(cut, kept.bytes, len);
        cr_assert(!tls_session_use(pair.client, cut, len), "cut at %zu", len);
    }
    for (size_t at = 0; at < kept.len; at += 3) {
        AUTO(pair) struct pair pair = {0};
        pair_open(&pair);
        kept.bytes[at] ^= 0x55;
        IGNORE(tls_session_use(pair.client, kept.bytes, kept.len));
        kept.bytes[at] ^= 0x55;
    }
    cr_assert(comes_back(&kept));
}
