/* MOUNT's procedures, byte for byte, without a server. */
#include "drivers/vault/nfs/handle.h"
#include "drivers/vault/nfs/mount.h"
#include "tests/vault/exports_world.h"
#include <endian.h>

enum { OK = 0, NOENT = 2, ACCES = 13, NOTDIR = 20, INVAL = 22, NAMETOOLONG = 63 };
enum { MNT = 1, DUMP, UMNT, UMNTALL, EXPORT };

/* What the server does for a program, here without one. */
static size_t room_max = RPC_RECORD_MAX;
static bool may_wait = true;
bool nfsd_results_room(struct nfsd_call *call, size_t size, struct err *err)
{
    if (size > room_max)
        return err_set(err, ERR_LIMIT, "too much");
    call->results_max = size > call->results_max ? size : call->results_max;
    return true;
}
void nfsd_call_is_slow(struct nfsd_call *call) { (void)call; }
void nfsd_call_is_large(struct nfsd_call *call) { (void)call; }
bool nfsd_call_may_wait(const struct nfsd_call *call, enum nfsd_share share)
{
    return call && share && may_wait;
}

struct asked {
    struct ew w;
    uint8_t results[RPC_RECORD_MAX];
    size_t len;
    enum rpc_accept accept;
};

static void ask_raw(struct asked *a, uint32_t procedure, const char *address, void *args,
                    size_t len)
{
    struct nfsd_peer peer = ew_peer(address, 900);
    struct nfsd_call call = {.peer = &peer,
                             .rpc = {.procedure = procedure, .args = args, .args_len = len},
                             .results = a->results,
                             .results_max = NFSD_RESULTS_FEW};
    struct nfsd_program program = mount3_program(a->w.exports);
    a->accept = program.run(program.arg, &call);
    a->len = call.results_len;
    cr_assert(a->len % 4 == 0 && a->len <= call.results_max);
}

static uint32_t word(const struct asked *a, size_t at)
{
    uint32_t n;
    cr_assert_leq(at + 4, a->len);
    memcpy(&n, a->results + at, 4);
    return be32toh(n);
}

/* Its first word. */
static uint32_t ask(struct asked *a, uint32_t procedure, const char *address, const char *path)
{
    uint8_t args[2048] = {0};
    uint32_t len = path ? (uint32_t)strlen(path) : 0, wire = htobe32(len);
    memcpy(args, &wire, 4);
    if (path)
        memcpy(args + 4, path, len);
    ask_raw(a, procedure, address, args, path ? 4 + (len + 3) / 4 * 4 : 0);
    cr_assert_eq(a->accept, RPC_SUCCESS);
    return a->len ? word(a, 0) : 0;
}

static struct handle mounted(struct asked *a, const char *path)
{
    struct handle handle;
    cr_assert_eq(ask(a, MNT, "10.0.0.1", path), OK, "%s", path);
    cr_assert_eq(word(a, 4), HANDLE_BYTES);
    cr_assert(handle_decode(a->results + 8, HANDLE_BYTES, &handle));
    cr_assert(word(a, 8 + HANDLE_BYTES) == 1 && word(a, 12 + HANDLE_BYTES) == 1, "AUTH_SYS alone");
    cr_assert_eq(a->len, 16 + HANDLE_BYTES);
    return handle;
}

static struct asked *begin(void)
{
    struct err err = {0};
    struct asked *a = own_alloc(sizeof *a, &err);
    ew_begin(&a->w);
    ew_add(&a->w, 1, "ORCL", "10.0.0.0/24");
    ew_add(&a->w, 2, "ORCL/test", "10.0.0.0/24");
    ew_add(&a->w, 3, "OTHER", "192.168.0.0/16");
    ew_add(&a->w, 4, "ORCL/deny", "192.168.0.0/16");
    return a;
}

static void end(struct asked *a)
{
    ew_end(&a->w);
    own_free(a);
}

Test(nfs_mount, gives_the_handle_of_a_volume_a_clone_and_folders_below)
{
    struct asked *a = begin();
    struct handle h = mounted(a, "/ORCL");
    cr_assert(h.volume == 1 && h.file == VIEW_ROOT && h.generation == 7);
    h = mounted(a, "//ORCL/");
    cr_assert(h.volume == 1 && h.file == VIEW_ROOT);
    h = mounted(a, "/ORCL/test");
    cr_assert(h.volume == 2 && h.file == VIEW_ROOT);
    h = mounted(a, "/ORCL/data/deep");
    cr_assert(h.volume == 1 && h.file == 3 && h.generation == 8);
    h = mounted(a, "/ORCL/test/data");
    cr_assert(h.volume == 2 && h.file == 2);
    end(a);
}

Test(nfs_mount, refuses_with_the_right_word)
{
    static const struct {
        const char *path;
        uint32_t status;
    } cases[] = {
        {"/NONE", NOENT},
        {"/ORCL/none", NOENT},
        {"/ORCL/data/none", NOENT},
        {"/OTHER", ACCES},
        {"/ORCL/deny", ACCES},
        {"/ORCL/deny/data", ACCES},
        {"/ORCL/data/file", NOTDIR},
        {"/ORCL/data/link", NOTDIR},
        {"/ORCL/..", INVAL},
        {"/ORCL/data/../data", INVAL},
        {"/ORCL/./data", INVAL},
        {"/..", INVAL},
        {"", NOENT},
        {"/", NOENT},
        {"ORCL", NOENT},
        {"///", NOENT},
    };
    struct asked *a = begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(ask(a, MNT, "10.0.0.1", cases[i].path), cases[i].status, "'%s': %u",
                     cases[i].path, word(a, 0));
        cr_expect_eq(a->len, 4);
    }
    char path[700] = "/ORCL/";
    memset(path + 6, 'x', 600);
    cr_expect_eq(ask(a, MNT, "10.0.0.1", path), NAMETOOLONG);
    for (size_t i = 0; i < 699; i++)
        path[i] = i % 2 ? 'x' : '/';
    cr_expect_eq(ask(a, MNT, "10.0.0.1", path), NAMETOOLONG);
    end(a);
}

Test(nfs_mount, a_stranger_learns_no_name)
{
    static const char *const paths[] = {"/ORCL", "/NONE", "/ORCL/test", "/ORCL/none", "/", "/.."};
    struct asked *a = begin();
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        cr_expect_eq(ask(a, MNT, "172.16.0.1", paths[i]), ACCES, "'%s'", paths[i]);
    cr_assert_eq(ask(a, EXPORT, "172.16.0.1", NULL), 0);
    cr_assert_eq(a->len, 4);
    cr_assert_eq(a->w.volumes[0].opened, 0);
    ask(a, UMNT, "172.16.0.1", "/ORCL");
    cr_assert_eq(ask(a, DUMP, "172.16.0.1", NULL), 0);
    cr_assert(a->w.finds == 0 && a->w.lists == 0, "volumes were looked at for a stranger");
    end(a);
}

/* An error would end the mount for good. */
Test(nfs_mount, what_may_not_wait_is_not_answered)
{
    struct asked *a = begin();
    may_wait = false;
    uint8_t path[12] = {0, 0, 0, 5, '/', 'O', 'R', 'C', 'L'};
    ask_raw(a, MNT, "10.0.0.1", path, sizeof path);
    cr_assert_eq(a->accept, RPC_SILENCE);
    ask_raw(a, UMNT, "10.0.0.1", path, sizeof path);
    cr_assert_eq(a->accept, RPC_SILENCE);
    ask_raw(a, EXPORT, "10.0.0.1", NULL, 0);
    cr_assert_eq(a->accept, RPC_SILENCE);
    cr_assert_eq(a->w.volumes[0].opened, 0);
    cr_assert_eq(ask(a, MNT, "172.16.0.1", "/ORCL"), ACCES, "who may nothing is told so");
    may_wait = true;
    mounted(a, "/ORCL");
    end(a);
}

Test(nfs_mount, arguments_that_lie_are_garbage)
{
    static const struct {
        uint8_t bytes[12];
        size_t len;
    } cases[] = {
        {{0}, 0},
        {{0, 0, 0}, 3},
        {{0, 0, 0, 5, '/', 'O', 'R', 'C'}, 8},
        {{0xff, 0xff, 0xff, 0xf0, '/', 'O', 'R', 'C'}, 8},
        {{0xff, 0xff, 0xff, 0xff, '/', 'O', 'R', 'C'}, 8},
        {{0, 0, 4, 1, '/', 'O', 'R', 'C', 'L'}, 12},
    };
    struct asked *a = begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[12];
        memcpy(bytes, cases[i].bytes, sizeof bytes);
        ask_raw(a, MNT, "10.0.0.1", bytes, cases[i].len);
        cr_expect(a->accept == RPC_GARBAGE_ARGS && a->len == 0, "case %zu", i);
        ask_raw(a, UMNT, "10.0.0.1", bytes, cases[i].len);
        cr_expect(a->accept == RPC_GARBAGE_ARGS && a->len == 0, "case %zu", i);
    }
    ask_raw(a, 6, "10.0.0.1", NULL, 0);
    cr_assert_eq(a->accept, RPC_PROC_UNAVAIL);
    end(a);
}

static const char *text_at(const struct asked *a, size_t *at, char ret[300])
{
    uint32_t len = word(a, *at);
    cr_assert(len < 300 && *at + 4 + len <= a->len);
    memcpy(ret, a->results + *at + 4, len);
    ret[len] = '\0';
    *at += 4 + (len + 3) / 4 * 4;
    return ret;
}

Test(nfs_mount, lists_what_this_client_may_see)
{
    struct asked *a = begin();
    char text[300];
    size_t at = 4;
    cr_assert_eq(ask(a, EXPORT, "10.0.0.1", NULL), 1);
    cr_expect_str_eq(text_at(a, &at, text), "/ORCL");
    cr_assert_eq(word(a, at), 1);
    at += 4;
    cr_expect_str_eq(text_at(a, &at, text), "10.0.0.0/24");
    cr_assert(word(a, at) == 0 && word(a, at + 4) == 1);
    at += 8;
    cr_expect_str_eq(text_at(a, &at, text), "/ORCL/test");
    at += 4;
    text_at(a, &at, text);
    cr_assert(word(a, at) == 0 && word(a, at + 4) == 0, "the end");
    cr_assert_eq(at + 8, a->len);
    end(a);
}

Test(nfs_mount, a_list_without_memory_ends_where_it_fits)
{
    struct asked *a = begin();
    for (uint64_t i = a->w.count; i < EW_VOLUMES; i++) {
        char name[60];
        memset(name, 'n', sizeof name);
        str_format(name + 50, 10, "%d", (int)i);
        ew_add(&a->w, 100 + i, name, "10.0.0.0/24");
    }
    room_max = 0;
    uint8_t none[4] = {0};
    struct nfsd_peer peer = ew_peer("10.0.0.1", 900);
    struct nfsd_call call = {.peer = &peer,
                             .rpc = {.procedure = EXPORT, .args = none},
                             .results = a->results,
                             .results_max = 500};
    struct nfsd_program program = mount3_program(a->w.exports);
    cr_assert_eq(program.run(program.arg, &call), RPC_SUCCESS);
    cr_assert(call.results_len <= 500 && call.results_len > 300);
    a->len = call.results_len;
    cr_assert_eq(word(a, a->len - 4), 0);
    end(a);
}

Test(nfs_mount, mounts_are_listed_to_their_client_until_it_unmounts)
{
    struct asked *a = begin();
    char text[300];
    size_t at = 4;
    mounted(a, "/ORCL/test/data");
    cr_assert_eq(ask(a, DUMP, "10.0.0.1", NULL), 1);
    cr_expect_str_eq(text_at(a, &at, text), "10.0.0.1");
    cr_expect_str_eq(text_at(a, &at, text), "/ORCL/test");
    cr_assert(word(a, at) == 0 && at + 4 == a->len);
    cr_assert_eq(ask(a, DUMP, "10.0.0.2", NULL), 0);
    ask(a, UMNT, "10.0.0.1", "/ORCL/test/data");
    cr_assert_eq(ask(a, DUMP, "10.0.0.1", NULL), 0);
    mounted(a, "/ORCL");
    mounted(a, "/ORCL/test");
    ask(a, UMNTALL, "10.0.0.1", NULL);
    cr_assert_eq(ask(a, DUMP, "10.0.0.1", NULL), 0);
    end(a);
}
