/* What is exported to whom, who uses it, and how it is taken away. */
#include "agent/base/clock.h"
#include "agent/base/waiting.h"
#include "tests/vault/exports_world.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

static void expect_denied(struct ew *w, uint64_t id, const char *address, uint16_t port)
{
    struct err err = {0};
    struct nfsd_peer peer = ew_peer(address, port);
    const struct export *export = exports_get(w->exports, id, &peer, &err);
    cr_expect(!export, "%s came in", address);
    cr_expect_eq(err.code, ERR_DENIED, "%s: %s", address, err.text);
    export_put(w->exports, export);
}

static void expect_code(struct ew *w, uint64_t id, const char *address, enum err_code code)
{
    struct err err = {0};
    struct nfsd_peer peer = ew_peer(address, 900);
    const struct export *export = exports_get(w->exports, id, &peer, &err);
    cr_expect(!export && err.code == code, "%s: %s, not %s", address, err_code_name(err.code),
              err_code_name(code));
    export_put(w->exports, export);
}

static void call(struct ew *w, uint64_t id, const char *address, int times)
{
    struct nfsd_peer peer = ew_peer(address, 900);
    for (int i = 0; i < times; i++) {
        struct err err = {0};
        const struct export *export = exports_get(w->exports, id, &peer, &err);
        EW_OK(export);
        cr_assert_eq(export->id, id);
        export_put(w->exports, export);
    }
}

Test(nfs_exports, networks_let_in_exactly_their_addresses)
{
    struct ew w;
    ew_begin(&w);
    struct ew_volume *v = ew_add(&w, 1, "ORCL", "10.1.0.0/16, 192.168.7.4 fd00:1::/33\nfd00:9::1");
    cr_assert_eq(v->rule.net_count, 4);
    call(&w, 1, "10.1.255.3", 1);
    call(&w, 1, "192.168.7.4", 1);
    call(&w, 1, "fd00:1:7fff::1", 1);
    call(&w, 1, "fd00:9::1", 1);
    expect_denied(&w, 1, "10.2.0.1", 900);
    expect_denied(&w, 1, "192.168.7.5", 900);
    expect_denied(&w, 1, "fd00:1:8000::1", 900);
    expect_denied(&w, 1, "fd00:9::2", 900);
    expect_denied(&w, 1, "::a01:1", 900); /* not the mapped form */
    ew_end(&w);
}

Test(nfs_exports, no_networks_let_nobody_in_and_all_are_two)
{
    struct ew w;
    ew_begin(&w);
    ew_add(&w, 1, "NONE", "");
    ew_add(&w, 2, "FOUR", "0.0.0.0/0");
    ew_add(&w, 3, "SIX", "::/0");
    ew_add(&w, 4, "ALL", "::/0 0.0.0.0/0");
    expect_denied(&w, 1, "127.0.0.1", 900);
    call(&w, 2, "8.8.8.8", 1);
    expect_denied(&w, 2, "::1", 900);
    expect_denied(&w, 3, "8.8.8.8", 900); /* as "::" listens to no IPv4 */
    call(&w, 3, "2001:db8::1", 1);
    call(&w, 4, "8.8.8.8", 1);
    call(&w, 4, "2001:db8::1", 1);
    cr_assert_eq(w.volumes[0].opened, 0, "a stranger made a tree be opened");
    ew_end(&w);
}

Test(nfs_exports, words_that_are_no_network_are_named)
{
    static const char *const wrong[] = {"10.1.0.0/33",
                                        "10.1.2.3/16",
                                        "dbhost",
                                        "fd00::/129",
                                        "10.1.0.0/",
                                        "10.1.0.0/-1",
                                        "300.1.1.1",
                                        "/8",
                                        "fd00::1/",
                                        "10.1.0.0/ 8",
                                        "10.0.0.0/+8",
                                        "1.2.3",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct export_rule rule = {.net_count = 3};
        struct err err = {0};
        char text[200];
        str_format(text, sizeof text, "127.0.0.1 %s", wrong[i]);
        cr_expect(!export_nets_parse(text, &rule, &err), "'%s' passed", wrong[i]);
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect(strstr(err.text, "is no network") || strstr(err.text, "'"), "%s", err.text);
        cr_expect_eq(rule.net_count, 3, "'%s' changed the rule", wrong[i]);
    }
}

Test(nfs_exports, a_network_is_shown_as_it_was_written)
{
    static const char *const nets[] = {"10.1.0.0/16", "192.168.7.4", "0.0.0.0/0",
                                       "fd00::/8",    "::1",         "::/0"};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        struct export_rule rule = {0};
        struct err err = {0};
        char text[EXPORT_NET_TEXT];
        EW_OK(export_nets_parse(nets[i], &rule, &err));
        export_net_text(&rule.nets[0], text);
        cr_expect_str_eq(text, nets[i]);
    }
}

Test(nfs_exports, a_privileged_export_wants_a_port_of_roots)
{
    struct ew w;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8")->rule.privileged = true;
    call(&w, 1, "10.0.0.1", 1);
    expect_denied(&w, 1, "10.0.0.1", 1024);
    ew_end(&w);
}

Test(nfs_exports, a_tree_is_opened_once_and_closed_at_the_end)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    struct ew_volume *v = ew_add(&w, 5, "ORCL", "10.0.0.0/8");
    call(&w, 5, "10.0.0.1", 3);
    call(&w, 5, "10.0.0.2", 3);
    struct nfsd_peer peer = ew_peer("10.0.0.3", 900);
    const struct export *export = exports_get_path(w.exports, "/ORCL", &peer, &err);
    EW_OK(export);
    cr_assert_str_eq(export->path, "/ORCL");
    export_put(w.exports, export);
    cr_assert_eq(v->opened, 1);
    cr_assert_eq(v->closed, 0);
    ew_end(&w);
    cr_assert_eq(v->closed, 1);
}

Test(nfs_exports, a_reload_changes_the_next_call_and_not_the_one_under_way)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    struct ew_volume *v = ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
    const struct export *before = exports_get(w.exports, 1, &peer, &err);
    EW_OK(before);
    EW_OK(export_nets_parse("192.168.0.0/16", &v->rule, &err));
    v->rule.read_only = true;
    EW_OK(exports_reload(w.exports, &err));
    expect_denied(&w, 1, "10.0.0.1", 900);
    call(&w, 1, "192.168.0.9", 1);
    cr_assert(!before->rule.read_only && before->rule.nets[0].address[12] == 10);
    export_put(w.exports, before);
    for (int i = 0; i < 50; i++)
        EW_OK(exports_reload(w.exports, &err));
    cr_assert_eq(v->opened, 1, "a reload opened the tree anew");
    ew_end(&w);
}

static void take_rights_away(struct ew *w)
{
    struct err err = {0};
    EW_OK(export_nets_parse("192.168.0.0/16", &w->volumes[0].rule, &err));
    EW_OK(exports_reload(w->exports, &err));
}

Test(nfs_exports, a_reload_while_an_export_is_opened_counts_for_it)
{
    struct ew w;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    w.while_opening = take_rights_away;
    expect_denied(&w, 1, "10.0.0.1", 900);
    expect_denied(&w, 1, "10.0.0.1", 900);
    call(&w, 1, "192.168.0.9", 1);
    ew_end(&w);
}

Test(nfs_exports, files_are_made_as_configured_at_opening_and_after_a_reload_until_it_succeeds)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    call(&w, 1, "10.0.0.1", 3);
    cr_expect_eq(w.settles, 1);
    w.settle_fails = true;
    EW_OK(exports_reload(w.exports, &err));
    call(&w, 1, "10.0.0.1", 3); /* is served meanwhile */
    cr_expect_eq(w.settles, 2);
    w.settle_fails = false;
    clock_test_shift(10000);
    call(&w, 1, "10.0.0.1", 3);
    cr_expect_eq(w.settles, 3);
    clock_test_shift(20000);
    call(&w, 1, "10.0.0.1", 3);
    cr_expect_eq(w.settles, 3);
    clock_test_shift(0);
    ew_end(&w);
}

static sem_t told;
static void tell(void *arg) { sem_post(arg); }

static void await_told(struct ew *w)
{
    struct timespec until;
    (void)w;
    cr_assert_eq(clock_gettime(CLOCK_REALTIME, &until), 0);
    until.tv_sec += 20;
    cr_assert_eq(sem_timedwait(&told, &until), 0, "nobody said that this call waits");
}

/* Its top folder's owner is set under a lock that a WRITE may have, which a disk may hold. */
Test(nfs_exports, a_call_that_waits_while_its_export_is_made_as_configured_is_told_of)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    sem_init(&told, 0, 0);
    EW_OK(waiting_watch_start(&err));
    w.while_settling = await_told;
    waiting_listen(tell, &told);
    call(&w, 1, "10.0.0.1", 1);
    EW_OK(exports_reload(w.exports, &err));
    waiting_listen(tell, &told);
    call(&w, 1, "10.0.0.1", 1);
    waiting_listen(NULL, NULL);
    cr_expect_eq(w.settles, 2);
    waiting_watch_stop();
    sem_destroy(&told);
    ew_end(&w);
}

Test(nfs_exports, a_client_that_does_not_let_go_is_cut_off_by_force_alone)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
    w.held = exports_get(w.exports, 1, &peer, &err);
    EW_OK(w.held);
    cr_assert(!exports_revoke(w.exports, 1, false, &err));
    cr_assert(w.held, "cut off without force");
    err = (struct err){0};
    EW_OK(exports_revoke(w.exports, 1, true, &err));
    cr_assert(memcmp(w.cut, peer.address, sizeof w.cut) == 0);
    exports_restore(w.exports, 1);
    ew_end(&w);
}

static void *revoke_by_force(void *arg)
{
    struct ew *w = arg;
    struct err err = {0};
    cr_expect(!exports_revoke(w->exports, 1, true, &err), "with a call inside");
    cr_expect_eq(err.code, ERR_BUSY, "%s", err.text);
    return NULL;
}

Test(nfs_exports, a_reload_while_a_drop_waits_in_vain_counts_once_it_is_given_up)
{
    struct ew w;
    struct err err = {0};
    pthread_t thread;
    enum err_code code = ERR_NONE;
    uint64_t until = clock_mono_ms() + 20000;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
    const struct export *inside = exports_get(w.exports, 1, &peer, &err);
    EW_OK(inside);
    cr_assert_eq(pthread_create(&thread, NULL, revoke_by_force, &w), 0);
    while (code != ERR_BUSY && clock_mono_ms() < until) {
        struct err e = {0};
        export_put(w.exports, exports_get(w.exports, 1, &peer, &e));
        code = e.code;
    }
    take_rights_away(&w);
    expect_code(&w, 1, "192.168.0.9", ERR_BUSY);
    pthread_join(thread, NULL);
    expect_denied(&w, 1, "10.0.0.1", 900);
    call(&w, 1, "192.168.0.9", 1);
    export_put(w.exports, inside);
    ew_end(&w);
}

Test(nfs_exports, a_reload_says_which_rules_it_could_not_learn_and_what_is_not_found_admits_nobody)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    for (uint64_t id = 1; id <= 3; id++) {
        char name[16];
        str_format(name, sizeof name, "V%llu", (unsigned long long)id);
        ew_add(&w, id, name, "10.0.0.0/8");
        call(&w, id, "10.0.0.1", 1);
        EW_OK(export_nets_parse("192.168.0.0/16", &w.volumes[id - 1].rule, &err));
    }
    w.volumes[0].find_fails = ERR_IO;
    w.volumes[1].gone = true;
    cr_expect(!exports_reload(w.exports, &err));
    cr_expect_eq(err.code, ERR_IO);
    cr_expect(strstr(err.text, "'/V1'") && !strstr(err.text, "'/V2'"), "%s", err.text);
    call(&w, 1, "10.0.0.1", 1);
    expect_denied(&w, 2, "10.0.0.1", 900);
    expect_denied(&w, 2, "192.168.0.9", 900);
    expect_denied(&w, 3, "10.0.0.1", 900);
    w.volumes[0].find_fails = ERR_NONE;
    w.volumes[1].gone = false;
    err = (struct err){0};
    EW_OK(exports_reload(w.exports, &err));
    for (uint64_t id = 1; id <= 3; id++) {
        expect_denied(&w, id, "10.0.0.1", 900);
        call(&w, id, "192.168.0.9", 1);
    }
    ew_end(&w);
}

Test(nfs_exports, what_is_used_is_not_dropped_and_its_clients_are_named)
{
    struct ew w;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    call(&w, 1, "10.0.0.1", 5);
    call(&w, 1, "10.0.0.2", 5);
    struct err err = {0};
    cr_assert(!exports_revoke(w.exports, 1, false, &err));
    cr_assert_eq(err.code, ERR_BUSY);
    cr_assert(strstr(err.text, "10.0.0.1") && strstr(err.text, "10.0.0.2"), "%s", err.text);
    call(&w, 1, "10.0.0.1", 1); /* and goes on */
    err = (struct err){0};
    EW_OK(exports_revoke(w.exports, 1, true, &err));
    cr_assert_eq(w.volumes[0].closed, 1);
    expect_code(&w, 1, "10.0.0.1", ERR_BUSY); /* the drop may yet fail */
    w.volumes[0].gone = true;
    exports_restore(w.exports, 1);
    expect_code(&w, 1, "10.0.0.1", ERR_NOT_FOUND);
    ew_end(&w);
}

Test(nfs_exports, a_drop_that_fails_gives_the_export_back)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    call(&w, 1, "10.0.0.1", 5);
    EW_OK(exports_revoke(w.exports, 1, true, &err));
    cr_assert(!exports_revoke(w.exports, 1, true, &err), "revoked twice at once");
    exports_restore(w.exports, 1);
    call(&w, 1, "10.0.0.1", 1);
    cr_assert_eq(w.volumes[0].opened, 2);
    ew_end(&w);
}

static bool is_in_use(struct ew *w, uint64_t id)
{
    struct err err = {0};
    bool free = exports_revoke(w->exports, id, false, &err);
    if (free)
        exports_restore(w->exports, id);
    else
        cr_assert_eq(err.code, ERR_BUSY, "%s", err.text);
    return !free;
}

Test(nfs_exports, a_client_that_unmounts_and_hangs_up_uses_it_no_more)
{
    struct ew w;
    struct err err = {0};
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
    const struct export *export = exports_get_path(w.exports, "/ORCL", &peer, &err);
    EW_OK(export);
    exports_mounted(w.exports, export, &peer, true);
    cr_expect(!is_in_use(&w, 2));
    call(&w, 1, "10.0.0.1", 5);
    exports_mounted(w.exports, export, &peer, false);
    call(&w, 1, "10.0.0.1", 1); /* a late COMMIT */
    export_put(w.exports, export);
    cr_expect(is_in_use(&w, 1));
    exports_peer_gone(w.exports, &peer);
    cr_expect(!is_in_use(&w, 1));
    ew_end(&w);
}

Test(nfs_exports, a_client_that_vanished_uses_it_for_two_minutes)
{
    struct ew w;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
    call(&w, 1, "10.0.0.1", 5);
    clock_test_shift(EXPORT_USE_MS * 2);
    cr_expect(is_in_use(&w, 1), "it is still connected");
    call(&w, 1, "10.0.0.1", 1);
    exports_peer_gone(w.exports, &peer);
    cr_expect(is_in_use(&w, 1), "it may come back");
    clock_test_shift(EXPORT_USE_MS * 4);
    cr_expect(!is_in_use(&w, 1));
    clock_test_shift(0);
    ew_end(&w);
}

Test(nfs_exports, looking_once_is_no_use)
{
    struct ew w;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    call(&w, 1, "10.0.0.1", 1);
    cr_expect(!is_in_use(&w, 1));
    call(&w, 1, "10.0.0.1", 5);
    cr_expect(is_in_use(&w, 1));
    ew_end(&w);
}

Test(nfs_exports, users_are_listed_with_what_they_did)
{
    struct ew w;
    struct err err = {0};
    size_t count = 0;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    ew_add(&w, 2, "ORCL/test", "10.0.0.0/8");
    call(&w, 1, "10.0.0.1", 5);
    call(&w, 2, "10.0.0.2", 7);
    AUTO(mem) struct export_user *users = exports_users(w.exports, 2, NULL, &count, &err);
    EW_OK(users);
    cr_assert_eq(count, 1);
    cr_assert_str_eq(users[0].client, "10.0.0.2");
    cr_assert_str_eq(users[0].path, "/ORCL/test");
    cr_assert(users[0].calls == 7 && users[0].connected && users[0].uses && !users[0].mounted);
    cr_assert(clock_wall_us() - users[0].last_us < 60000000);
    own_free(TAKE(users));
    users = exports_users(w.exports, 0, NULL, &count, &err);
    cr_assert_eq(count, 2);
    ew_end(&w);
}

Test(nfs_exports, clients_without_number_are_let_in_and_the_list_stays_bounded)
{
    enum { CLIENTS = 5000, REMEMBERED = 4096 };
    struct ew w;
    struct err err = {0};
    size_t count = 0;
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "fd00::/8");
    for (unsigned i = 0; i < CLIENTS; i++) {
        char address[64];
        str_format(address, sizeof address, "fd00::%x", i);
        call(&w, 1, address, 2);
    }
    AUTO(mem) struct export_user *users = exports_users(w.exports, 0, NULL, &count, &err);
    cr_assert_eq(count, REMEMBERED);
    ew_end(&w);
}

/* All that an export goes through; errors may be of memory, nothing else. */
static void live_through(struct ew *w)
{
    struct exports_options options = {.find = ew_find, .open = ew_open, .each = ew_each, .arg = w};
    struct err err = {0};
    size_t count = 0;
    struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
    AUTO(exports) struct exports *exports = exports_new(&options, &err);
    if (!exports)
        return;
    const struct export *export = exports_get(exports, 1, &peer, &err);
    cr_expect(export || err.code == ERR_NO_MEMORY, "%s", err.text);
    if (export)
        exports_mounted(exports, export, &peer, true);
    IGNORE(exports_reload(exports, &err));
    export_put(exports, export);
    export = exports_get_path(exports, "/ORCL", &peer, &err);
    export_put(exports, export);
    own_free(exports_users(exports, 0, NULL, &count, &err));
    if (exports_revoke(exports, 1, true, &err))
        exports_restore(exports, 1);
    err = (struct err){0};
    export = exports_get(exports, 1, &peer, &err);
    cr_expect(export || err.code == ERR_NO_MEMORY, "%s", err.text);
    export_put(exports, export);
}

Test(nfs_exports, memory_that_is_refused_anywhere_is_told_and_nothing_stays_open)
{
    static struct ew w;
    long n = 0, calls;
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    do {
        n++;
        own_fault(n);
        live_through(&w);
        calls = own_fault(0);
        cr_expect_eq(w.volumes[0].opened, w.volumes[0].closed, "call %ld", n);
    } while (calls >= n && n < 1000);
    cr_expect_gt(n, 10, "the loop does not loop");
    cr_expect_lt(n, 1000);
}

/* ---- many at once ---- */

struct caller {
    struct ew *w;
    pthread_t thread;
    int number;
    atomic_bool *stop;
    atomic_ulong calls;
};

static void *call_on(void *arg)
{
    struct caller *c = arg;
    char address[32];
    str_format(address, sizeof address, "10.0.0.%d", c->number);
    struct nfsd_peer peer = ew_peer(address, 900);
    while (!atomic_load(c->stop)) {
        struct err err = {0};
        const struct export *export = exports_get(c->w->exports, 1, &peer, &err);
        struct ew_volume *tree = export ? export->tree : NULL;
        cr_assert(export || err.code == ERR_BUSY, "%s", err.text);
        /* Nothing that is closed may be in anybody's hands. */
        cr_assert(!tree || tree->opened > tree->closed);
        export_put(c->w->exports, export);
        c->calls++;
    }
    return NULL;
}

/* Somebody has called since: there is something to take away. */
static void wait_for_calls(struct caller *callers, int count, uint64_t *before)
{
    uint64_t until = clock_mono_ms() + 20000, now = 0;
    do {
        now = 0;
        for (int i = 0; i < count; i++)
            now += atomic_load(&callers[i].calls);
        if (now == *before)
            sched_yield();
    } while (now == *before && clock_mono_ms() < until);
    cr_assert_gt(now, *before, "nobody calls");
    *before = now;
}

Test(nfs_exports, trees_are_closed_only_when_no_call_is_inside)
{
    enum { CALLERS = 3, ROUNDS = 30 };
    struct ew w;
    atomic_bool stop = false;
    struct caller callers[CALLERS];
    struct err err = {0};
    ew_begin(&w);
    ew_add(&w, 1, "ORCL", "10.0.0.0/8");
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.w = &w, .number = i + 1, .stop = &stop};
        cr_assert_eq(pthread_create(&callers[i].thread, NULL, call_on, &callers[i]), 0);
    }
    uint64_t calls = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
        EW_OK(exports_revoke(w.exports, 1, true, &err));
        exports_restore(w.exports, 1);
        wait_for_calls(callers, CALLERS, &calls);
        EW_OK(exports_reload(w.exports, &err));
        exports_peer_gone(w.exports, &peer);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    cr_assert_gt(w.volumes[0].opened, 1);
    ew_end(&w);
}
